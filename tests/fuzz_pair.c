/* Two or three real nodes, and the input is their network, their clock and their work: it says
 * which message arrives, twice, late, damaged or never, who gets a turn and when. Beside what
 * mesh_bed.h checks of each, replicas with the same vector have the same base, and as long as
 * nothing is damaged nobody ever finds fault with a replica. At the end the network heals: nodes
 * that then end CLEAN have equal bases. */
#include "tests/mesh_bed.h"

#include <stdlib.h>

enum { EVENTS_MAX = 600, NODES_MAX = 3, QUEUE_MAX = 256, HEAL_TURNS = 48, LIFE = 0x51 };

struct message {
    uint8_t header[HM_HEADER_BOUND];
    size_t header_n;
    struct hm_blob *payload;
    enum hm_channel channel;
    unsigned from, to;
};

struct pair {
    struct bed_node node[NODES_MAX];
    unsigned n_nodes;
    uint8_t queue[QUEUE_MAX]; /* places: of messages, oldest first, then those that are free */
    unsigned n_queued;
    bool damaged;
    struct fuzz fuzz;
};

static struct message place[QUEUE_MAX];

/* ---- the network ---- */

static void post(struct pair *pair, unsigned from, unsigned to, enum hm_channel channel,
                 const struct hm_action *action)
{
    if (pair->n_queued == QUEUE_MAX || to == from)
        return; /* a full queue loses the newest */
    struct message *m = &place[pair->queue[pair->n_queued++]];
    memcpy(m->header, action->header, action->header_n);
    m->header_n = action->header_n;
    m->payload = hm_blob_share(action->payload);
    m->channel = channel;
    m->from = from;
    m->to = to;
}

static void sent(struct bed_node *node, const struct hm_action *action,
                 const struct hm_header *header)
{
    struct pair *pair = node->context;
    unsigned from = (unsigned)(node - pair->node);
    (void)header;
    if (action->type == HM_ACT_REPLY)
        post(pair, from, action->route[1], HM_CH_ANSWER, action);
    for (unsigned to = 0; to < pair->n_nodes; to++)
        if (action->type == HM_ACT_BROADCAST ||
            (action->type == HM_ACT_SEND &&
             strcmp(node->mesh->member[action->slot].rpc, pair->node[to].params.rpc) == 0))
            post(pair, from, to, action->type == HM_ACT_SEND ? HM_CH_REQUEST : HM_CH_PUBLISHED,
                 action);
}

/* It stays as it is until the next is posted. */
static struct message *take(struct pair *pair, unsigned i)
{
    uint8_t taken = pair->queue[i];
    pair->n_queued--;
    memmove(&pair->queue[i], &pair->queue[i + 1], pair->n_queued - i);
    pair->queue[pair->n_queued] = taken;
    return &place[taken];
}

static void hand_over(struct pair *pair, const struct message *m)
{
    bed_receive(&pair->node[m->to], m->channel, m->header, m->header_n, m->payload,
                (uint8_t)m->from);
}

static struct hm_blob *damaged_copy(const struct hm_blob *blob, size_t bit)
{
    struct hm_blob *copy = hm_blob_new(blob->n);
    assert(copy);
    memcpy(copy->bytes, blob->bytes, blob->n);
    copy->bytes[bit / 8 % blob->n] ^= (uint8_t)(1u << bit % 8);
    return copy;
}

static void damage(struct pair *pair, struct message *m)
{
    size_t bit = fuzz_uint(&pair->fuzz, 2);
    pair->damaged = pair->node[0].said->damaged = true;
    if (bit & 0x8000 && m->payload && m->payload->n) {
        struct hm_blob *copy = damaged_copy(m->payload, bit & 0x7fff);
        hm_blob_drop(m->payload);
        m->payload = copy;
    } else {
        m->header[bit / 8 % m->header_n] ^= (uint8_t)(1u << bit % 8);
    }
}

/* A copy: what follows from it may be posted in its place. */
static void arrive(struct pair *pair, unsigned i, bool last, uint8_t how)
{
    struct message m = place[pair->queue[i]];
    if (last)
        take(pair, i);
    else
        hm_blob_share(m.payload);
    if (last && (how & 0x4f) == 0x4f)
        damage(pair, &m);
    if (!last || (how & 0x4f) != 0x4e)
        hand_over(pair, &m);
    hm_blob_drop(m.payload);
}

static void deliver(struct pair *pair, uint8_t how)
{
    if (!pair->n_queued)
        return;
    unsigned late = how & 0x10 ? fuzz_u8(&pair->fuzz) % pair->n_queued : 0;
    if (how & 0x20) /* twice */
        arrive(pair, late, false, how);
    arrive(pair, late, true, how);
}

/* ---- what must hold between nodes ---- */

static bool same_vector(const struct bed_node *a, const struct bed_node *b)
{
    static struct hm_vv_entry x[HM_STREAMS_MAX], y[HM_STREAMS_MAX];
    size_t n = hm_mesh_vector(a->mesh, x);
    if (hm_mesh_vector(b->mesh, y) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (x[i].life != y[i].life || x[i].seq != y[i].seq)
            return false;
    return true;
}

static void check_replicas(const struct pair *pair, const struct bed_node *a,
                           const struct bed_node *b)
{
    size_t n = a->weights.n;
    if (!pair->damaged && same_vector(a, b))
        assert(memcmp(a->weights.b, b->weights.b, n * sizeof a->weights.b[0]) == 0);
    if (!pair->damaged && (a->ended || b->ended))
        assert(hm_mesh_result(a->mesh)->status != HM_ECORRUPT &&
               hm_mesh_result(b->mesh)->status != HM_ECORRUPT);
}

static void check_all(const struct pair *pair)
{
    for (unsigned a = 0; a < pair->n_nodes; a++)
        for (unsigned b = 0; b < a; b++)
            check_replicas(pair, &pair->node[a], &pair->node[b]);
}

/* ---- what happens ---- */

/* One clock for all: only the order of turns is the input's. */
static void turn(struct pair *pair, unsigned i, uint64_t us)
{
    uint64_t now = pair->node[i].now_us + us;
    for (unsigned k = 0; k < pair->n_nodes; k++)
        pair->node[k].now_us = now;
    bed_tick(&pair->node[i], 0);
}

static void happen(struct pair *pair)
{
    static const uint32_t pause[] = {50, 1000, 5000, 30000, 120000, 600000, 2500000, 9000000};
    struct hm_event event = {.type = HM_EV_SUBSCRIBED};
    uint8_t kind = fuzz_u8(&pair->fuzz);
    unsigned i = kind % pair->n_nodes;
    if (kind < 0x80) {
        deliver(pair, kind & 0x7f);
    } else if (kind < 0xc0) {
        turn(pair, i, pause[kind >> 3 & 7]);
    } else if (kind < 0xf0) {
        uint8_t what = fuzz_u8(&pair->fuzz);
        bed_work(&pair->node[i], what * 2u, (float)(what % 32) - 15.5f, 1 + what % 3);
        turn(pair, i, pause[kind >> 3 & 3]);
    } else if (kind < 0xfc) {
        bed_step(&pair->node[i], &event);
    } else {
        event.type = kind & 1 ? HM_EV_STOP : HM_EV_LEAVE;
        event.reason = "by request";
        bed_step(&pair->node[i], &event);
    }
}

static bool all_ended(const struct pair *pair)
{
    for (unsigned i = 0; i < pair->n_nodes; i++)
        if (!pair->node[i].ended)
            return false;
    return true;
}

/* Who has something to do first gets the next turn, at its time. What is not over after the first
 * turns waits for somebody to count as gone, which takes seconds. */
static void next_turn(struct pair *pair, unsigned turns)
{
    uint64_t now = pair->node[0].now_us, least = now + (turns < HEAL_TURNS / 2 ? 100 : 150000);
    uint64_t at = UINT64_MAX;
    unsigned first = 0;
    for (unsigned k = 0; k < pair->n_nodes; k++) {
        unsigned i = (turns + k) % pair->n_nodes;
        const struct bed_node *node = &pair->node[i];
        uint64_t wake = hm_mesh_wake_us(node->mesh, node->working);
        wake = node->ended ? UINT64_MAX - 1 : wake < least ? least : wake;
        if (wake < at) {
            at = wake;
            first = i;
        }
    }
    turn(pair, first, at - now);
}

/* Everything arrives, once and in order, and everybody gets turns until the mesh has ended. */
static void heal(struct pair *pair)
{
    struct hm_event stop = {.type = HM_EV_STOP, .reason = "the end"};
    bed_step(&pair->node[0], &stop);
    for (unsigned turns = 0; turns < HEAL_TURNS && !all_ended(pair); turns++) {
        while (pair->n_queued)
            deliver(pair, 0);
        next_turn(pair, turns);
    }
    for (unsigned a = 0; a < pair->n_nodes; a++)
        for (unsigned b = 0; b < a; b++)
            if (hm_mesh_result(pair->node[a].mesh)->clean &&
                hm_mesh_result(pair->node[b].mesh)->clean)
                check_replicas(pair, &pair->node[a], &pair->node[b]);
}

static void introduce(struct pair *pair, unsigned i)
{
    const struct hm_mesh_params *them = &pair->node[0].params;
    struct hm_peer_entry peer = {.life = them->life};
    memcpy(peer.label, them->label, sizeof peer.label);
    memcpy(peer.rpc, them->rpc, sizeof peer.rpc);
    memcpy(peer.pub, them->pub, sizeof peer.pub);
    hm_mesh_member_add(pair->node[i].mesh, &peer, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pair pair;
    memset(&pair, 0, sizeof pair);
    for (unsigned i = 0; i < QUEUE_MAX; i++)
        pair.queue[i] = (uint8_t)i;
    pair.fuzz = fuzz_of(data, size);
    uint8_t shape = fuzz_u8(&pair.fuzz);
    pair.n_nodes = 2 + (shape & 1);
    struct bed_said *said = bed_said();
    for (unsigned i = 0; i < pair.n_nodes; i++) {
        struct bed_node *node = &pair.node[i];
        bed_open(node, LIFE + i, shape & 2 ? pair.n_nodes : 1 + i, &pair.fuzz, said);
        node->context = &pair;
        node->sent = sent;
        if (i)
            introduce(&pair, i);
    }
    for (unsigned i = 0; i < EVENTS_MAX && fuzz_left(&pair.fuzz); i++) {
        happen(&pair);
        check_all(&pair);
    }
    heal(&pair);
    check_all(&pair);
    while (pair.n_queued)
        hm_blob_drop(take(&pair, 0)->payload);
    for (unsigned i = 0; i < pair.n_nodes; i++)
        bed_close(&pair.node[i]);
    return 0;
}
