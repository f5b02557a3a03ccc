#include "tests/simnet.h"

#include "sparse/install.h"
#include "sparse/layout_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sparse/hash.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BORN_US = 1000000,
    CONNECT_US = 300,
    RECONNECT_US = 20000,
    TURN_US = 20, /* the least that a turn of the driver takes */
};

enum what { TURN, MESSAGE, SUBSCRIBED, CONNECTED, WORK };

struct sim_event {
    uint64_t at, order;
    enum what what;
    unsigned node, slot, generation, epoch;
    struct sim_message *message;
};

static void print_node(const struct sim *sim, unsigned i)
{
    const struct sim_node *node = &sim->node[i];
    const char *what = node->crashed  ? "crashed"
                       : node->ended  ? "ended"
                       : node->paused ? "paused"
                                      : "up";
    print_error("  node %u %016llx %s, phase %d, deltas", i,
                (unsigned long long)hm_mesh_life(node->mesh), what, (int)hm_mesh_phase(node->mesh));
    for (unsigned k = 0; k < sim->n_lives; k++)
        print_error(" %u:%u%s", sim->life[k].node, node->seq[k], k == node->life ? "*" : "");
    print_error(" of %zu; live %u; %s\n", sim->life[node->life].n_records,
                hm_mesh_n_live(node->mesh), hm_mesh_result(node->mesh)->text);
}

void sim_fail(const struct sim *sim, unsigned node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_error("%.6f s, node %u: ", (double)(sim->now_us - BORN_US) * 1e-6, node);
    vprint_error(format, args);
    print_error("\n");
    va_end(args);
    for (unsigned i = 0; i < sim->n_nodes; i++)
        print_node(sim, i);
    print_error("to repeat: HOGMESH_SEED=%llu HOGMESH_RUNS=1 %s\n",
                (unsigned long long)sim->options.seed, program_invocation_short_name);
    fail();
    abort();
}

static void *must(void *memory)
{
    assert_non_null(memory);
    return memory;
}

static bool chance(struct sim *sim, double p)
{
    return p > 0 && hm_rng_unit(&sim->rng) < p;
}

/* ---- the queue ---- */

static bool sooner(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim *sim, struct sim_event event)
{
    if (sim->n_events == sim->events_room) {
        sim->events_room = sim->events_room ? 2 * sim->events_room : 256;
        sim->event = must(realloc(sim->event, sim->events_room * sizeof event));
    }
    event.order = sim->order++;
    size_t i = sim->n_events++;
    for (; i && sooner(&event, &sim->event[(i - 1) / 2]); i = (i - 1) / 2)
        sim->event[i] = sim->event[(i - 1) / 2];
    sim->event[i] = event;
}

static struct sim_event pop(struct sim *sim)
{
    struct sim_event first = sim->event[0], last = sim->event[--sim->n_events];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < sim->n_events; i = child) {
        if (child + 1 < sim->n_events && sooner(&sim->event[child + 1], &sim->event[child]))
            child++;
        if (!sooner(&sim->event[child], &last))
            break;
        sim->event[i] = sim->event[child];
    }
    sim->event[i] = last;
    return first;
}

/* ---- links ---- */

static void free_message(struct sim_message *message)
{
    hm_blob_drop(message->payload);
    free(message);
}

static void post(struct sim *sim, const struct sim_message *message)
{
    const struct sim_link *link = &sim->link[message->from][message->to];
    struct sim_pipe *pipe = &sim->pipe[message->from][message->to][message->channel];
    if (pipe->n >= SIM_HWM) {
        sim->n_overflowed++;
        return;
    }
    uint64_t at = sim->now_us + link->latency_us + hm_rng_below(&sim->rng, link->jitter_us + 1);
    if (at <= pipe->last_us && !chance(sim, link->reorder))
        at = pipe->last_us + 1;
    pipe->last_us = at > pipe->last_us ? at : pipe->last_us;
    pipe->n++;
    struct sim_message *copy = must(malloc(sizeof *copy));
    *copy = *message;
    hm_blob_share(copy->payload);
    push(sim, (struct sim_event){.at = at, .what = MESSAGE, .node = message->to, .message = copy});
}

static void hand_over(struct sim *sim, unsigned from, unsigned to, enum hm_channel channel,
                      const struct hm_action *action)
{
    struct sim_message message = {.from = from,
                                  .to = to,
                                  .epoch = sim->node[to].epoch,
                                  .channel = channel,
                                  .header_n = action->header_n};
    const struct sim_link *link = &sim->link[from][to];
    memcpy(message.header, action->header, action->header_n);
    message.payload = hm_blob_share(action->payload);
    sim->node[from].bytes_handed += action->header_n + (action->payload ? action->payload->n : 0);
    bool lost = sim->filter && !sim->filter(sim, &message);
    if (lost || link->cut || (link->sub_dead && channel == HM_CH_PUBLISHED) ||
        chance(sim, link->drop)) {
        sim->n_lost++;
    } else {
        post(sim, &message);
        if (chance(sim, link->duplicate))
            post(sim, &message);
    }
    hm_blob_drop(message.payload);
}

static struct sim_slot *slot_to(struct sim_node *node, unsigned target)
{
    for (unsigned i = 0; i < HM_PEERS_MAX; i++)
        if (node->slot[i].up && node->slot[i].target == target)
            return &node->slot[i];
    return NULL;
}

static void connect_slot(struct sim *sim, unsigned node, const struct hm_action *action)
{
    struct sim_slot *slot = &sim->node[node].slot[action->slot];
    unsigned rpc, pub;
    *slot = (struct sim_slot){.generation = slot->generation + 1};
    if (sscanf(action->rpc, "inproc://r%u", &rpc) != 1 ||
        sscanf(action->pub, "inproc://p%u", &pub) != 1 || rpc != pub || rpc >= SIM_NODES_MAX)
        return;
    slot->used = true;
    slot->target = rpc;
    push(sim, (struct sim_event){.at = sim->now_us + CONNECT_US,
                                 .what = CONNECTED,
                                 .node = node,
                                 .slot = action->slot,
                                 .generation = slot->generation});
}

static void connected(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->node[event->node];
    struct sim_slot *slot = &node->slot[event->slot];
    if (!node->up || !slot->used || slot->generation != event->generation)
        return;
    struct sim_link *there = &sim->link[event->node][slot->target],
                    *back = &sim->link[slot->target][event->node];
    if (!sim->node[slot->target].up || there->cut || back->cut) {
        struct sim_event again = *event;
        again.at = sim->now_us + RECONNECT_US;
        push(sim, again);
        return;
    }
    back->sub_dead = false;
    slot->up = true;
    push(sim, (struct sim_event){
                  .at = sim->now_us + there->latency_us, .what = SUBSCRIBED, .node = slot->target});
}

struct hm_header sim_header(const struct sim_message *message)
{
    struct hm_header header;
    if (hm_wire_decode(message->header, message->header_n, &header) != HM_WIRE_OK)
        header = (struct hm_header){0};
    return header;
}

/* ---- what the harness knows ---- */

static unsigned index_of(const struct sim *sim, unsigned node, uint64_t life)
{
    for (unsigned i = 0; i < sim->n_lives; i++)
        if (sim->life[i].life == life)
            return i;
    sim_fail(sim, node, "applied a delta of %016llx, who never lived", (unsigned long long)life);
}

static bool same_bytes(const struct hm_blob *a, const struct hm_blob *b)
{
    size_t a_n = a ? a->n : 0, b_n = b ? b->n : 0;
    return a_n == b_n && (!a_n || memcmp(a->bytes, b->bytes, a_n) == 0);
}

static void unpack(struct sim *sim, unsigned node, struct sim_record *record)
{
    static uint8_t scratch[HM_RAW_MAX];
    const struct hm_delta_head *head = &record->head;
    assert_int_equal(hm_delta_init(&record->delta, head->n_blocks, NULL), HM_OK);
    if (hm_unpack(&hm_kernels_ref, &sim->layout, head, record->payload->bytes + head->vectors_n,
                  record->payload->n - head->vectors_n, scratch, &record->delta) != 0)
        sim_fail(sim, node, "published a delta that does not unpack");
}

/* ---- sets of flushes ---- */

static void set_copy(struct sim_set *to, const struct sim_set *from)
{
    to->word = must(realloc(to->word, (from->n + 1) * sizeof *to->word));
    to->n = from->n;
    if (from->n)
        memcpy(to->word, from->word, from->n * sizeof *to->word);
}

static void set_put(struct sim_set *set, uint32_t flush, bool in)
{
    size_t need = flush / 64 + 1;
    if (need > set->n) {
        set->word = must(realloc(set->word, (need + 1) * sizeof *set->word));
        memset(set->word + set->n, 0, (need - set->n) * sizeof *set->word);
        set->n = need;
    }
    uint64_t bit = (uint64_t)1 << flush % 64;
    set->word[flush / 64] = (set->word[flush / 64] & ~bit) | (in ? bit : 0);
}

static uint64_t set_word(const struct sim_set *set, size_t i)
{
    return i < set->n ? set->word[i] : 0;
}

static void set_narrow(struct sim_set *set, const struct sim_set *to)
{
    for (size_t i = 0; i < set->n; i++)
        set->word[i] &= set_word(to, i);
}

static void tally(struct sim_tally *tally, uint64_t x)
{
    tally->n++;
    tally->sum += x;
    tally->max = x > tally->max ? x : tally->max;
}

/* Flushes that are in one of the sets only, counted and weighed by their steps. */
static void measure(struct sim *sim, struct sim_node *at, unsigned origin,
                    const struct sim_set *start)
{
    uint64_t flushes = 0, steps = at->steps - at->taken;
    for (size_t w = 0; w < at->applied.n || w < start->n; w++)
        for (uint64_t odd = set_word(&at->applied, w) ^ set_word(start, w); odd; odd &= odd - 1) {
            flushes++;
            steps += sim->flush_steps[64 * w + (unsigned)__builtin_ctzll(odd)];
        }
    tally(&at->stale_flushes[origin], flushes);
    tally(&at->stale_steps[origin], steps);
}

static void add_to_shadow(struct sim_node *at, const struct sim_record *record, bool in)
{
    for (uint32_t i = 0; i < record->delta.n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            uint32_t q = (uint32_t)record->delta.q[i][j];
            at->shadow[(size_t)record->delta.block[i] * HM_BLOCK + j] += in ? q : 0 - q;
        }
    if (record->head.last_piece)
        set_put(&at->applied, record->flush, in);
}

static void follow_delta(struct sim *sim, unsigned node, unsigned life)
{
    struct sim_node *at = &sim->node[node];
    const struct sim_life *from = &sim->life[life];
    if (at->seq[life] == from->n_records)
        sim_fail(sim, node, "applied delta %u of node %u, which was never published",
                 at->seq[life] + 1, from->node);
    add_to_shadow(at, &from->record[at->seq[life]++], true);
}

/* Follows the vector of others' streams; the own one is followed as its deltas are handed out. */
static void follow(struct sim *sim, unsigned node)
{
    struct sim_node *at = &sim->node[node];
    for (size_t i = 1; i < hm_mesh_n_streams(at->mesh); i++) {
        const struct hm_link *link = hm_mesh_link(at->mesh, i);
        unsigned life = link->seq ? index_of(sim, node, link->from) : 0;
        while (link->seq && at->seq[life] < link->seq) {
            if (at->seq[life] < sim->life[life].n_records)
                measure(sim, at, life, &sim->life[life].record[at->seq[life]].start);
            follow_delta(sim, node, life);
            at->n_applied++;
        }
    }
}

static void begin_life(struct sim *sim, unsigned node, uint64_t life)
{
    for (unsigned i = 0; i < sim->n_lives; i++)
        if (sim->life[i].life == life)
            sim_fail(sim, node, "life %016llx begins for a second time", (unsigned long long)life);
    assert_true(sim->n_lives < SIM_LIVES_MAX);
    sim->node[node].life = sim->n_lives;
    sim->life[sim->n_lives++] =
        (struct sim_life){.life = life, .node = node, .epoch = sim->node[node].epoch};
}

/* The vector after an install: any stream may have gone either way. */
static void follow_install(struct sim *sim, unsigned node)
{
    struct sim_node *at = &sim->node[node];
    for (size_t i = 0; i < hm_mesh_n_streams(at->mesh); i++) {
        const struct hm_link *link = hm_mesh_link(at->mesh, i);
        if (link->from == hm_mesh_life(at->mesh))
            continue; /* its deltas are handed out */
        unsigned life = 0;
        while (life < sim->n_lives && sim->life[life].life != link->from)
            life++;
        if (life == sim->n_lives && !link->seq)
            continue;
        life = index_of(sim, node, link->from);
        bool yields = life == at->life; /* what was its own until now */
        for (; at->seq[life] < link->seq; at->n_covered++)
            follow_delta(sim, node, life);
        for (; at->seq[life] > link->seq; at->n_undone += !yields)
            add_to_shadow(at, &sim->life[life].record[--at->seq[life]], false);
    }
    set_narrow(&at->start, &at->applied);
    if (hm_mesh_life(at->mesh) != sim->life[at->life].life)
        begin_life(sim, node, hm_mesh_life(at->mesh));
}

/* The delta of a former life whose payload this is: it comes anew. */
static struct sim_record *published_before(struct sim *sim, unsigned node,
                                           const struct hm_blob *payload)
{
    for (unsigned i = 0; i < sim->n_lives; i++)
        for (size_t k = 0;
             sim->life[i].node == node && i != sim->node[node].life && k < sim->life[i].n_records;
             k++)
            if (sim->life[i].record[k].payload == payload && sim->life[i].record[k].anew_in < 0)
                return &sim->life[i].record[k];
    return NULL;
}

static uint32_t flush_of(struct sim *sim, const struct sim_life *from,
                         const struct hm_delta_head *head)
{
    const struct sim_record *before =
        from->n_records > 1 ? &from->record[from->n_records - 2] : NULL;
    if (before && !before->head.last_piece)
        return before->flush;
    sim->flush_steps =
        must(realloc(sim->flush_steps, (sim->n_flushes + 1) * sizeof *sim->flush_steps));
    sim->flush_steps[sim->n_flushes] = 0;
    if (head->flush != (before ? before->head.flush : 0) + 1)
        sim_fail(sim, from->node, "published flush %u out of turn", head->flush);
    return sim->n_flushes++;
}

static void record_delta(struct sim *sim, unsigned node, const struct hm_delta_head *head,
                         struct hm_blob *payload)
{
    struct sim_node *at = &sim->node[node];
    if (head->stream != sim->life[at->life].life)
        begin_life(sim, node, head->stream);
    struct sim_life *from = &sim->life[at->life];
    if (head->stream != hm_mesh_life(at->mesh) || head->lo != from->n_records)
        sim_fail(sim, node, "published delta %u, flush %u after %zu deltas", head->hi, head->flush,
                 from->n_records);
    uint64_t before = from->n_records ? from->record[from->n_records - 1].head.steps : 0;
    from->record = must(realloc(from->record, (from->n_records + 1) * sizeof *from->record));
    struct sim_record *record = &from->record[from->n_records++];
    *record = (struct sim_record){.head = *head, .payload = hm_blob_share(payload), .anew_in = -1};
    record->flush = flush_of(sim, from, head);
    unpack(sim, node, record);
    sim->flush_steps[record->flush] += head->steps - before;
    struct sim_record *original = published_before(sim, node, payload);
    set_copy(&record->start, original ? &original->start : &at->start);
    if (original) {
        original->anew_in = (int)at->life;
        original->anew_seq = head->hi;
        record->is_anew = true;
        if (record->head.last_piece)
            set_put(&at->start, record->flush, true); /* W has had it all the time */
    }
    for (uint32_t i = 0; !original && i < record->delta.n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            at->published[(size_t)record->delta.block[i] * HM_BLOCK + j] += record->delta.q[i][j];
    at->n_published++;
    sim->last_delta_us = sim->now_us;
    follow_delta(sim, node, at->life);
}

/* Where bits flip on the way other bytes may say the same. */
static bool same_delta(struct sim *sim, unsigned node, const struct sim_record *record,
                       struct hm_blob *payload)
{
    struct sim_record other = {.head = record->head, .payload = payload};
    if (!sim->filter || payload->n != record->payload->n ||
        memcmp(payload->bytes, record->payload->bytes, record->head.vectors_n) != 0)
        return false;
    unpack(sim, node, &other);
    bool same =
        other.delta.n_blocks == record->delta.n_blocks &&
        memcmp(other.delta.block, record->delta.block,
               other.delta.n_blocks * sizeof *other.delta.block) == 0 &&
        memcmp(other.delta.q, record->delta.q, other.delta.n_blocks * sizeof *other.delta.q) == 0;
    hm_delta_fini(&other.delta);
    return same;
}

static void check_repair(struct sim *sim, unsigned node, const struct hm_action *action)
{
    struct hm_header header;
    if (hm_wire_decode(action->header, action->header_n, &header) != HM_WIRE_OK ||
        header.type != HM_DELTA)
        return;
    const struct sim_life *origin = &sim->life[index_of(sim, node, header.delta.stream)];
    const struct sim_record *record =
        header.delta.hi <= origin->n_records ? &origin->record[header.delta.lo] : NULL;
    if (!record || memcmp(&record->head, &header.delta, sizeof header.delta) != 0 ||
        (!same_bytes(record->payload, action->payload) &&
         !same_delta(sim, node, record, action->payload)))
        sim_fail(sim, node, "repairs with another delta %u than was published", header.delta.hi);
}

static void check_tally(const struct sim *sim, unsigned node, const char *what,
                        const struct hm_tally *said, const struct sim_tally *is)
{
    if (said->n != is->n || said->sum != (double)is->sum || said->max != is->max)
        sim_fail(
            sim, node, "staleness in %s: n %llu, sum %.0f, max %llu instead of %llu, %llu, %llu",
            what, (unsigned long long)said->n, said->sum, (unsigned long long)said->max,
            (unsigned long long)is->n, (unsigned long long)is->sum, (unsigned long long)is->max);
}

static void check_stream(const struct sim *sim, unsigned node, const struct hm_link *link)
{
    const struct sim_node *at = &sim->node[node];
    if (!link->seq)
        return;
    unsigned origin = index_of(sim, node, link->from);
    if (at->seq[origin] != link->seq)
        sim_fail(sim, node, "has %u deltas of node %u, %u by the vector", at->seq[origin], origin,
                 link->seq);
    if (link->steps != sim->life[origin].record[link->seq - 1].head.steps)
        sim_fail(sim, node, "counts %llu steps of node %u", (unsigned long long)link->steps,
                 origin);
    check_tally(sim, node, "flushes", &link->flushes, &at->stale_flushes[origin]);
    check_tally(sim, node, "steps", &link->step, &at->stale_steps[origin]);
}

static void check(struct sim *sim, unsigned node)
{
    struct sim_node *at = &sim->node[node];
    if (hm_mesh_log_bytes(at->mesh) > at->params.log_bytes_max)
        sim_fail(sim, node, "keeps %llu bytes of log",
                 (unsigned long long)hm_mesh_log_bytes(at->mesh));
    if (!at->touched || sim->unchecked)
        return;
    at->touched = false;
    for (size_t i = 0; i < hm_mesh_n_streams(at->mesh); i++)
        check_stream(sim, node, hm_mesh_link(at->mesh, i));
    if (memcmp(at->shadow, at->weights.b, at->weights.n * sizeof *at->shadow) != 0)
        sim_fail(sim, node, "B is not the sum of the deltas applied");
    if (hm_mesh_digest(at->mesh) != sim->kernels->digest_dense(at->weights.b, sim->layout.n_blocks))
        sim_fail(sim, node, "the digest is not that of B");
}

/* ---- the driver ---- */

static struct hm_event event_of(const struct sim *sim, const struct sim_node *node,
                                enum hm_event_type type)
{
    return (struct hm_event){.type = type,
                             .now_us = sim->now_us + node->ahead_us,
                             .own_steps = node->steps - node->taken};
}

static void rescale(struct sim *sim, struct sim_node *node, float factor)
{
    for (uint32_t k = 0; k < sim->n_coordinates; k++) {
        uint32_t i = sim->coordinate[k];
        float grid = hm_exp2i(hm_layout_tensor_of(&sim->layout, i / HM_BLOCK)->grid_exp);
        float owed = hm_cell_get(&node->weights.w[i]) - (float)(int32_t)node->weights.b[i] * grid;
        hm_cell_add(&node->weights.w[i], factor * owed);
    }
}

/* What the former life owed is work of this one, from its first step on. */
static void take_over(struct sim *sim, struct sim_node *node)
{
    struct sim_saved *saved = node->saved;
    if (!saved)
        return;
    node->saved = NULL;
    for (uint32_t k = 0; k < sim->n_coordinates; k++) {
        uint32_t i = sim->coordinate[k];
        float grid = hm_exp2i(hm_layout_tensor_of(&sim->layout, i / HM_BLOCK)->grid_exp);
        node->credit[i] =
            (double)saved->checkpoint.owed[i] / (double)(grid * saved->checkpoint.divisor);
    }
    int dropped;
    node->steps = hm_checkpoint_hand_over(&saved->checkpoint, node->mesh, &node->weights, &dropped);
    node->dropped = dropped;
    if (dropped)
        memset(node->credit, 0, node->weights.n * sizeof *node->credit);
    node->accumulating = node->steps > 0;
    set_copy(&node->start, &node->applied);
}

static void extract(struct sim *sim, struct sim_node *node, const struct hm_action *action)
{
    take_over(sim, node);
    struct hm_extract_stats stats = {0};
    uint64_t steps = node->steps - node->taken;
    node->delta.n_blocks = node->delta.n_nonzero = 0;
    sim->kernels->extract(&node->weights, 0, sim->layout.n_blocks, &action->extract.publish,
                          &node->delta, &stats);
    node->taken += steps;
    if (action->extract.rescale != 0)
        rescale(sim, node, action->extract.rescale);
    if (!node->accumulating)
        set_copy(&node->start, &node->applied);
    node->accumulating = false;
    node->touched = true;
    struct hm_event event = event_of(sim, node, HM_EV_EXTRACTED);
    event.extracted.delta = &node->delta;
    event.extracted.steps = steps;
    event.extracted.stats = stats;
    event.extracted.cost_us = sim->options.cost_us;
    if (action->extract.verify || stats.n_leaps)
        event.extracted.digest = sim->kernels->digest_dense(node->weights.b, sim->layout.n_blocks);
    hm_mesh_step(node->mesh, &event);
}

static void tell_status(struct sim *sim, struct sim_node *node)
{
    struct hm_event event = event_of(sim, node, HM_EV_STATUS);
    event.status = must(hm_blob_new(2));
    memcpy(event.status->bytes, "{}", 2);
    hm_mesh_step(node->mesh, &event);
}

static void verify(struct sim *sim, struct sim_node *node)
{
    struct hm_event event = event_of(sim, node, HM_EV_VERIFIED);
    event.digest = sim->kernels->digest_dense(node->weights.b, sim->layout.n_blocks);
    hm_mesh_step(node->mesh, &event);
}

static void apply(struct sim *sim, unsigned i, const struct hm_action *action)
{
    struct sim_node *node = &sim->node[i];
    uint64_t n_sampled = 0, n_wiped = 0;
    sim->kernels->apply(action->delta, &node->weights, &n_sampled, &n_wiped);
    node->touched = true;
    sim->last_delta_us = sim->now_us;
    struct hm_event event = event_of(sim, node, HM_EV_APPLIED);
    hm_mesh_step(node->mesh, &event);
    follow(sim, i);
}

static void snapshot(struct sim *sim, struct sim_node *node)
{
    size_t n = node->weights.n * sizeof *node->weights.b;
    struct hm_event event = event_of(sim, node, HM_EV_SNAPSHOT);
    event.base = must(hm_blob_new(n));
    memcpy(event.base->bytes, node->weights.b, n);
    hm_mesh_step(node->mesh, &event);
}

static void install(struct sim *sim, unsigned i, const uint32_t *base)
{
    struct sim_node *node = &sim->node[i];
    uint64_t n_sampled = 0, n_wiped = 0;
    hm_weights_install(sim->kernels, &node->weights, base, &n_sampled, &n_wiped);
    node->touched = true;
    sim->last_delta_us = sim->now_us;
    struct hm_event event = event_of(sim, node, HM_EV_INSTALLED);
    hm_mesh_step(node->mesh, &event);
    follow_install(sim, i);
}

static void begin_work(struct sim *sim, unsigned i)
{
    take_over(sim, &sim->node[i]);
    sim->node[i].working = true;
    sim->node[i].working_us = sim->now_us;
    if (sim->options.step_us)
        push(sim, (struct sim_event){.at = sim->now_us + sim->options.step_us,
                                     .what = WORK,
                                     .node = i,
                                     .epoch = sim->node[i].epoch});
}

static void end_work(struct sim *sim, struct sim_node *node)
{
    node->working = false;
    struct hm_event event = event_of(sim, node, HM_EV_WORK_ENDED);
    hm_mesh_step(node->mesh, &event);
}

static void broadcast(struct sim *sim, unsigned from, const struct hm_action *action)
{
    struct hm_header header;
    assert_int_equal(hm_wire_decode(action->header, action->header_n, &header), HM_WIRE_OK);
    if (header.type == HM_DELTA)
        record_delta(sim, from, &header.delta, action->payload);
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (slot_to(&sim->node[i], from))
            hand_over(sim, from, i, HM_CH_PUBLISHED, action);
}

static void reply(struct sim *sim, unsigned from, const struct hm_action *action)
{
    check_repair(sim, from, action);
    unsigned to = action->route[1];
    assert_int_equal(action->route_n, 2);
    if (slot_to(&sim->node[to], from))
        hand_over(sim, from, to, HM_CH_ANSWER, action);
}

static void finish(struct sim *sim, struct sim_node *node)
{
    node->up = node->working = false;
    node->ended = true;
    node->ended_us = sim->now_us;
}

static void note(struct sim_node *node, const char *text)
{
    size_t at = strlen(node->notes);
    snprintf(node->notes + at, sizeof node->notes - at, "%s\n", text);
}

static void act(struct sim *sim, unsigned i, const struct hm_action *action)
{
    struct sim_node *node = &sim->node[i];
    switch (action->type) {
    case HM_ACT_CONNECT:
        connect_slot(sim, i, action);
        break;
    case HM_ACT_DISCONNECT:
        node->slot[action->slot] =
            (struct sim_slot){.generation = node->slot[action->slot].generation + 1};
        break;
    case HM_ACT_SEND:
        if (node->slot[action->slot].up)
            hand_over(sim, i, node->slot[action->slot].target, HM_CH_REQUEST, action);
        break;
    case HM_ACT_REPLY:
        reply(sim, i, action);
        break;
    case HM_ACT_BROADCAST:
        broadcast(sim, i, action);
        break;
    case HM_ACT_EXTRACT:
        extract(sim, node, action);
        break;
    case HM_ACT_RETRACT:
        hm_delta_retract(action->delta, node->weights.b);
        hm_weights_settle(&node->weights);
        break;
    case HM_ACT_APPLY:
        apply(sim, i, action);
        break;
    case HM_ACT_SNAPSHOT:
        snapshot(sim, node);
        break;
    case HM_ACT_INSTALL:
        install(sim, i, action->base);
        break;
    case HM_ACT_VERIFY:
        verify(sim, node);
        break;
    case HM_ACT_STATUS:
        tell_status(sim, node);
        break;
    case HM_ACT_START:
        begin_work(sim, i);
        break;
    case HM_ACT_END_WORK:
        end_work(sim, node);
        break;
    case HM_ACT_NOTE:
        note(node, action->note);
        break;
    case HM_ACT_FINISH:
        finish(sim, node);
        break;
    }
}

static void step(struct sim *sim, unsigned i, const struct hm_event *event)
{
    struct sim_node *node = &sim->node[i];
    hm_mesh_step(node->mesh, event);
    for (const struct hm_action *action; (action = hm_mesh_next(node->mesh)) != NULL;)
        act(sim, i, action);
    check(sim, i);
}

static void wake(struct sim *sim, unsigned i, uint64_t at)
{
    struct sim_node *node = &sim->node[i];
    if (at < sim->now_us + TURN_US)
        at = sim->now_us + TURN_US;
    if (at != node->turn_at)
        push(sim, (struct sim_event){.at = at, .what = TURN, .node = i});
    node->turn_at = at;
}

static void turn(struct sim *sim, unsigned i)
{
    struct sim_node *node = &sim->node[i];
    struct hm_event tick = event_of(sim, node, HM_EV_TICK);
    node->n_turns++;
    node->turn_at = 0;
    step(sim, i, &tick);
    uint64_t at = hm_mesh_wake_us(node->mesh, node->working);
    if (node->up)
        wake(sim, i, at > node->ahead_us ? at - node->ahead_us : 0);
}

/* As the driver does: what has come is heard, then the mesh gets its tick. */
void sim_happen(struct sim *sim, unsigned i, struct hm_event *event)
{
    struct sim_node *node = &sim->node[i];
    if (!node->up)
        return;
    event->now_us = sim->now_us + node->ahead_us;
    event->own_steps = node->steps - node->taken;
    step(sim, i, event);
    if (node->up)
        wake(sim, i, sim->now_us);
}

static void deliver(struct sim *sim, struct sim_message *message)
{
    struct sim_node *node = &sim->node[message->to];
    if (node->up && node->paused) {
        node->backlog =
            must(realloc(node->backlog, (node->n_backlog + 1) * sizeof(struct sim_message *)));
        node->backlog[node->n_backlog++] =
            message; /* still counts in its channel: the queue fills up */
        return;
    }
    sim->pipe[message->from][message->to][message->channel].n--;
    if (message->epoch != node->epoch) {
        free_message(message); /* it was for another process */
        return;
    }
    uint8_t route[2] = {'n', (uint8_t)message->from};
    struct hm_event event = {
        .type = HM_EV_MESSAGE,
        .message = {.channel = message->channel,
                    .header = message->header,
                    .header_n = message->header_n,
                    .payload = message->payload,
                    .route = message->channel == HM_CH_REQUEST ? route : NULL,
                    .route_n = message->channel == HM_CH_REQUEST ? sizeof route : 0}};
    sim_happen(sim, message->to, &event);
    free_message(message);
}

/* ---- the worker ---- */

static void add(struct sim *sim, struct sim_node *node, uint32_t i,
                const struct hm_combination *combination)
{
    float grid = hm_exp2i(hm_layout_tensor_of(&sim->layout, i / HM_BLOCK)->grid_exp);
    float units = (float)hm_rng_below(&sim->rng, 17) - 8;
    if (sim->options.fractions)
        units = (float)(hm_rng_unit(&sim->rng) * 4 - 2);
    hm_cell_add(&node->weights.w[i], combination->step * units * grid);
    node->credit[i] += (double)combination->step * units / combination->divisor;
}

static void work(struct sim *sim, unsigned i)
{
    struct sim_node *node = &sim->node[i];
    if (!node->up || !node->working)
        return;
    uint32_t wait =
        sim->options.step_us / 2 + hm_rng_below(&sim->rng, sim->options.step_us * (1 + i % 3) + 1);
    push(sim, (struct sim_event){
                  .at = sim->now_us + wait, .what = WORK, .node = i, .epoch = node->epoch});
    if (node->paused)
        return;
    if (!node->accumulating)
        set_copy(&node->start, &node->applied);
    node->accumulating = true;
    struct hm_combination combination = hm_mesh_combination(node->mesh);
    uint32_t n = sim->options.dense ? sim->n_coordinates : 1 + hm_rng_below(&sim->rng, 6);
    for (uint32_t k = 0; k < n; k++)
        add(sim, node,
            sim->coordinate[sim->options.dense ? k : hm_rng_below(&sim->rng, sim->n_coordinates)],
            &combination);
    node->steps += 1 + hm_rng_below(&sim->rng, 3);
}

/* ---- running ---- */

static void happen(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->node[event->node];
    struct hm_event subscribed = {.type = HM_EV_SUBSCRIBED};
    switch (event->what) {
    case TURN:
        if (node->up && node->turn_at == event->at && !node->paused)
            turn(sim, event->node);
        break;
    case MESSAGE:
        deliver(sim, event->message);
        break;
    case SUBSCRIBED:
        if (!node->paused)
            sim_happen(sim, event->node, &subscribed);
        break;
    case CONNECTED:
        connected(sim, event);
        break;
    case WORK:
        if (event->epoch == node->epoch)
            work(sim, event->node);
        break;
    }
}

bool sim_run_until(struct sim *sim, bool (*done)(const struct sim *sim), uint64_t us)
{
    uint64_t end = sim->now_us + us;
    while (!(done && done(sim))) {
        if (!sim->n_events || sim->event[0].at > end) {
            sim->now_us = end;
            return false;
        }
        struct sim_event event = pop(sim);
        sim->now_us = event.at;
        happen(sim, &event);
    }
    return true;
}

void sim_run(struct sim *sim, uint64_t us)
{
    sim_run_until(sim, NULL, us);
}

bool sim_all_running(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (sim->node[i].up && hm_mesh_phase(sim->node[i].mesh) < HM_RUNNING)
            return false;
    return true;
}

bool sim_all_ended(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (sim->node[i].up)
            return false;
    return true;
}

/* ---- faults ---- */

static void reset_one(struct sim *sim, unsigned a, unsigned b)
{
    struct sim_slot *slot = slot_to(&sim->node[a], b);
    if (!slot)
        return;
    slot->up = false;
    push(sim,
         (struct sim_event){.at = sim->now_us + CONNECT_US + hm_rng_below(&sim->rng, RECONNECT_US),
                            .what = CONNECTED,
                            .node = a,
                            .slot = (unsigned)(slot - sim->node[a].slot),
                            .generation = slot->generation});
}

void sim_crash(struct sim *sim, unsigned i)
{
    struct sim_node *node = &sim->node[i];
    node->up = node->working = false;
    node->crashed = true;
    for (unsigned k = 0; k < HM_PEERS_MAX; k++)
        node->slot[k] = (struct sim_slot){.generation = node->slot[k].generation + 1};
    for (unsigned k = 0; k < sim->n_nodes; k++)
        reset_one(sim, k, i); /* they will find whoever comes there next */
}

void sim_pause(struct sim *sim, unsigned i)
{
    sim->node[i].paused = true;
}

void sim_resume(struct sim *sim, unsigned i)
{
    struct sim_node *node = &sim->node[i];
    node->paused = false;
    for (size_t k = 0; k < node->n_backlog; k++)
        push(sim, (struct sim_event){
                      .at = sim->now_us, .what = MESSAGE, .node = i, .message = node->backlog[k]});
    node->n_backlog = 0;
    wake(sim, i, sim->now_us);
}

void sim_cut(struct sim *sim, unsigned a, unsigned b, bool cut)
{
    sim->link[a][b].cut = sim->link[b][a].cut = cut;
}

void sim_reset(struct sim *sim, unsigned a, unsigned b)
{
    reset_one(sim, a, b);
    reset_one(sim, b, a);
}

void sim_stop(struct sim *sim, unsigned i, const char *reason)
{
    struct hm_event event = {.type = HM_EV_STOP, .reason = reason};
    sim_happen(sim, i, &event);
}

void sim_leave(struct sim *sim, unsigned i, const char *reason)
{
    struct hm_event event = {.type = HM_EV_LEAVE, .reason = reason};
    sim->node[i].told_to_leave = true;
    sim_happen(sim, i, &event);
}

/* ---- the end ---- */

static bool stayed(const struct sim_node *node)
{
    return !node->crashed && !node->told_to_leave;
}

static void check_replica(const struct sim *sim, unsigned i, const struct sim_node *other)
{
    const struct sim_node *node = &sim->node[i];
    const struct hm_result *result = hm_mesh_result(node->mesh);
    if (!node->ended || !result->clean || result->status)
        sim_fail(sim, i, "did not end clean, in phase %d: %s", (int)hm_mesh_phase(node->mesh),
                 result->text);
    if (memcmp(node->seq, other->seq, sim->n_lives * sizeof node->seq[0]) != 0)
        sim_fail(sim, i, "ended with another vector");
    if (memcmp(node->weights.b, other->weights.b, node->weights.n * sizeof *node->weights.b) != 0)
        sim_fail(sim, i, "ended with another base");
    if (hm_mesh_steps(node->mesh) != hm_mesh_steps(other->mesh))
        sim_fail(sim, i, "ended with another count of steps");
}

static void check_ledger(const struct sim *sim, unsigned i)
{
    const struct sim_node *node = &sim->node[i];
    const struct hm_counters *counters = hm_mesh_counters(node->mesh);
    if (counters->applied != node->n_applied || counters->covered != node->n_covered ||
        counters->undone != node->n_undone || counters->published != node->n_published)
        sim_fail(sim, i,
                 "counts %llu deltas applied of %llu, %llu covered of %llu, %llu undone of %llu, "
                 "%llu published of %llu",
                 (unsigned long long)counters->applied, (unsigned long long)node->n_applied,
                 (unsigned long long)counters->covered, (unsigned long long)node->n_covered,
                 (unsigned long long)counters->undone, (unsigned long long)node->n_undone,
                 (unsigned long long)counters->published, (unsigned long long)node->n_published);
}

/* What this process has published and the mesh has not is published anew or counted as abandoned;
 * nothing is there twice. */
static void check_abandoned(struct sim *sim, unsigned i)
{
    const struct sim_node *node = &sim->node[i];
    const struct hm_counters *counters = hm_mesh_counters(node->mesh);
    uint64_t missing = 0;
    for (unsigned k = 0; k < sim->n_lives; k++) {
        const struct sim_life *life = &sim->life[k];
        if (life->node != i || life->epoch != node->epoch)
            continue;
        missing += life->n_records - node->seq[k];
        for (uint32_t seq = 0; seq < node->seq[k]; seq++)
            sim->n_doubled += life->record[seq].anew_in >= 0 &&
                              node->seq[life->record[seq].anew_in] >= life->record[seq].anew_seq;
    }
    if (missing + counters->doubled != counters->renewed + counters->abandoned - counters->orphaned)
        sim_fail(sim, i, "%llu of its deltas are in no vector; it counts %llu anew, %llu abandoned",
                 (unsigned long long)missing, (unsigned long long)counters->renewed,
                 (unsigned long long)(counters->abandoned - counters->orphaned));
}

/* What the worker added is what was published and what is still owed. */
static void check_conserved(const struct sim *sim, unsigned i, bool drained)
{
    const struct sim_node *node = &sim->node[i];
    double divisor = (double)hm_mesh_combination(node->mesh).divisor;
    bool exact = sim->options.combine.rule == HM_RULE_SUM && !sim->options.fractions;
    for (uint32_t k = 0; k < sim->n_coordinates; k++) {
        uint32_t at = sim->coordinate[k];
        double grid = ldexp(1, hm_layout_tensor_of(&sim->layout, at / HM_BLOCK)->grid_exp);
        double owed =
            (double)hm_cell_get(&node->weights.w[at]) / grid - (int32_t)node->weights.b[at];
        double off = fabs(node->published[at] + owed / divisor - node->credit[at]);
        if (off > (exact ? 0 : .25))
            sim_fail(sim, i, "coordinate %u: added %g units, published %g, owes %g / %g", at,
                     node->credit[at], node->published[at], owed, divisor);
        if (drained && fabs(owed) > divisor / 2 + .01)
            sim_fail(sim, i, "coordinate %u: still owes %g units with divisor %g", at, owed,
                     divisor);
    }
}

void sim_check_end(struct sim *sim)
{
    unsigned first = SIM_NODES_MAX;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        check_ledger(sim, i);
        if (!sim->node[i].tampered)
            check_conserved(sim, i, stayed(&sim->node[i]));
        if (!stayed(&sim->node[i]))
            continue;
        check_abandoned(sim, i);
        first = first == SIM_NODES_MAX ? i : first;
        check_replica(sim, i, &sim->node[first]);
    }
}

/* ---- life ---- */

struct sim_options sim_defaults(uint64_t seed, unsigned expect)
{
    return (struct sim_options){.seed = seed,
                                .expect = expect,
                                .combine = {.rule = HM_RULE_SUM},
                                .log_bytes_max = 64 << 20,
                                .join_timeout_us = 10000000,
                                .suspect_us = 2000000,
                                .gone_us = 8000000,
                                .cost_us = 10,
                                .step_us = 1000,
                                .rows = 3};
}

static void list_coordinates(struct sim *sim)
{
    sim->coordinate = must(malloc(hm_layout_n(&sim->layout) * sizeof *sim->coordinate));
    for (uint32_t block = 0; block < sim->layout.n_blocks; block++)
        for (uint64_t mask = hm_layout_block_mask(&sim->layout, block); mask; mask &= mask - 1)
            sim->coordinate[sim->n_coordinates++] =
                block * HM_BLOCK + (uint32_t)__builtin_ctzll(mask);
}

void sim_links(struct sim *sim, const struct sim_link *link)
{
    for (unsigned i = 0; i < SIM_NODES_MAX; i++)
        for (unsigned k = 0; k < SIM_NODES_MAX; k++)
            sim->link[i][k] = *link;
}

struct sim *sim_open(const struct sim_options *options)
{
    struct sim *sim = must(calloc(1, sizeof *sim));
    sim->options = *options;
    sim->now_us = BORN_US;
    sim->rng = hm_rng_seed(options->seed, 0);
    sim->kernels = hm_kernels_find("auto");
    struct sim_link link = {.latency_us = 100, .jitter_us = 20};
    sim_links(sim, &link);
    if (options->rows)
        assert_int_equal(hm_layout_add(&sim->layout, "v", options->rows, 20, -5, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&sim->layout, "b", 1, 1, -10, NULL), HM_OK);
    hm_fields_set(&sim->config, "lambda", "0.0001");
    hm_fields_set(&sim->config, "workload", "fake");
    hm_fields_set_layout(&sim->config, &sim->layout);
    list_coordinates(sim);
    return sim;
}

/* B0 is not zero, lest a base that was never set looks right. */
static void open_weights(struct sim *sim, struct sim_node *node)
{
    assert_int_equal(hm_weights_init(&node->weights, &sim->layout, NULL), HM_OK);
    assert_int_equal(hm_delta_init(&node->delta, sim->layout.n_blocks, NULL), HM_OK);
    for (uint32_t k = 0; k < sim->n_coordinates; k++)
        node->weights.b[sim->coordinate[k]] = k % 7 - 3;
    hm_weights_settle(&node->weights);
    node->shadow = must(malloc(node->weights.n * sizeof *node->shadow));
    memcpy(node->shadow, node->weights.b, node->weights.n * sizeof *node->shadow);
    node->credit = must(calloc(node->weights.n, sizeof *node->credit));
    node->published = must(calloc(node->weights.n, sizeof *node->published));
}

static struct hm_mesh_params params_of(struct sim *sim, unsigned i)
{
    const struct sim_options *o = &sim->options;
    uint64_t more = o->log_bytes_least ? o->log_bytes_max - o->log_bytes_least : 0;
    struct hm_mesh_params params = {
        .life = hm_mix((o->seed * SIM_LIVES_MAX + sim->n_lives + 1) * 2) | 1,
        .config = &sim->config,
        .layout = &sim->layout,
        .kernels = sim->kernels,
        .digest0 = sim->kernels->digest_dense(sim->node[i].weights.b, sim->layout.n_blocks),
        .combine = o->combine,
        .expect = o->expect,
        .join_timeout_us = o->join_timeout_us,
        .budget_steps = o->budget_steps,
        .flush_us = o->flush_us,
        .bandwidth = o->bandwidth,
        .crowded = o->crowded,
        .log_bytes_max = o->log_bytes_max - (more ? hm_rng_below(&sim->rng, (uint32_t)more) : 0),
        .suspect_us = o->suspect_us,
        .gone_us = o->gone_us,
        .seed = o->seed,
        .chunk_blocks = sim->chunk_blocks,
        .seq_max = sim->seq_max,
        .without = sim->without};
    snprintf(params.label, sizeof params.label, "n%u", i);
    snprintf(params.rpc, sizeof params.rpc, "inproc://r%u", i);
    snprintf(params.pub, sizeof params.pub, "inproc://p%u", i);
    return params;
}

static void put(void *context, const void *bytes, size_t n)
{
    struct hm_writer *w = context;
    hm_put_bytes(w, bytes, n);
}

/* The bytes of a file that nobody writes: with its first line and its hash. */
static size_t file_of(const struct hm_checkpoint *checkpoint, uint8_t *file, size_t room)
{
    static const char first[] = "hogmesh checkpoint 1\n";
    struct hm_writer w = hm_writer_of(file, room);
    struct hm_sink sink = {put, &w};
    struct hm_hash hash;
    hm_put_bytes(&w, first, sizeof first - 1);
    assert_int_equal(hm_checkpoint_encode(checkpoint, &sink, NULL), HM_OK);
    hm_hash_init(&hash);
    hm_hash_update(&hash, file, (size_t)(w.at - file));
    hm_hash_final(&hash, w.at);
    return (size_t)(w.at - file) + HM_HASH_BYTES;
}

static void take_checkpoint(struct sim *sim, const struct sim_node *node,
                            const struct sim_saved *since, struct hm_checkpoint *checkpoint)
{
    struct hm_vv_entry vv[SIM_LIVES_MAX];
    size_t n = since ? since->checkpoint.mesh.n_streams : 0;
    for (size_t i = 0; i < n; i++)
        vv[i] = since->checkpoint.mesh.stream[i].at;
    *checkpoint = (struct hm_checkpoint){.config = sim->config,
                                         .life = hm_mesh_life(node->mesh),
                                         .digest0 = node->params.digest0,
                                         .owed_steps = node->steps - node->taken};
    memcpy(checkpoint->label, node->params.label, sizeof checkpoint->label);
    assert_int_equal(hm_checkpoint_take(checkpoint, node->mesh, &node->weights, vv, n, NULL),
                     HM_OK);
}

uint8_t *sim_checkpoint(struct sim *sim, unsigned i, const struct sim_saved *since, size_t *n)
{
    struct hm_checkpoint taken;
    take_checkpoint(sim, &sim->node[i], since, &taken);
    size_t room = 65536 + 8 * sim->node[i].weights.n;
    for (size_t k = 0; k < taken.mesh.n_streams; k++)
        for (size_t e = 0; e < taken.mesh.stream[k].n_log; e++)
            room += hm_log_entry_bytes(taken.mesh.stream[k].log[e]) + HM_HEADER_BOUND;
    uint8_t *file = must(malloc(room));
    *n = file_of(&taken, file, room);
    hm_checkpoint_fini(&taken);
    return file;
}

struct sim_saved *sim_save(struct sim *sim, unsigned i, const struct sim_saved *since)
{
    const struct sim_node *node = &sim->node[i];
    struct sim_saved *saved = must(calloc(1, sizeof *saved));
    struct hm_err err;
    uint8_t *file = sim_checkpoint(sim, i, since, &saved->bytes);
    if (hm_checkpoint_decode(file, saved->bytes, NULL, &saved->checkpoint, &err))
        sim_fail(sim, i, "cannot read its checkpoint: %s", err.text);
    free(file);
    saved->node = i;
    set_copy(&saved->applied, &node->applied);
    memcpy(saved->seq, node->seq, sizeof saved->seq);
    return saved;
}

void sim_saved_free(struct sim_saved *saved)
{
    if (!saved)
        return;
    hm_checkpoint_fini(&saved->checkpoint);
    free(saved->applied.word);
    free(saved);
}

static void begin_with(struct sim_node *node, struct sim_saved *saved)
{
    hm_checkpoint_install(&saved->checkpoint, &node->weights);
    memcpy(node->shadow, node->weights.b, node->weights.n * sizeof *node->shadow);
    memcpy(node->seq, saved->seq, sizeof node->seq);
    set_copy(&node->applied, &saved->applied);
    for (unsigned k = 0; k < SIM_LIVES_MAX; k++)
        node->n_covered += saved->seq[k];
    node->params.resume = &saved->checkpoint.mesh;
    node->saved = saved;
    node->touched = true;
}

static void open_node(struct sim *sim, unsigned i, unsigned n_known, struct sim_saved *saved)
{
    unsigned n = 0;
    struct sim_node *node = &sim->node[i];
    open_weights(sim, node);
    node->params = params_of(sim, i);
    struct hm_peer_entry peer[SIM_NODES_MAX];
    for (unsigned k = 0; k < sim->n_nodes && n < n_known; k++) {
        const struct hm_mesh_params *known = &sim->node[k].params;
        if (!sim->node[k].up || k == i)
            continue;
        peer[n] = (struct hm_peer_entry){.life = hm_mesh_life(sim->node[k].mesh)};
        memcpy(peer[n].label, known->label, sizeof known->label);
        memcpy(peer[n].rpc, known->rpc, sizeof known->rpc);
        memcpy(peer[n++].pub, known->pub, sizeof known->pub);
    }
    node->params.peer = peer;
    node->params.n_peers = n;
    if (saved)
        begin_with(node, saved);
    begin_life(sim, i, node->params.life);
    assert_int_equal(hm_mesh_open(&node->mesh, &node->params, sim->now_us + node->ahead_us, NULL),
                     HM_OK);
    node->up = true;
    turn(sim, i);
}

unsigned sim_start(struct sim *sim, unsigned n_known)
{
    return sim_start_saved(sim, n_known, NULL);
}

unsigned sim_start_saved(struct sim *sim, unsigned n_known, struct sim_saved *saved)
{
    unsigned i = sim->n_nodes++;
    assert_true(i < SIM_NODES_MAX);
    open_node(sim, i, n_known, saved);
    return i;
}

void sim_start_all(struct sim *sim, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sim_start(sim, 1);
}

static void close_life(struct sim_life *life)
{
    for (size_t i = 0; i < life->n_records; i++) {
        hm_blob_drop(life->record[i].payload);
        hm_delta_fini(&life->record[i].delta);
        free(life->record[i].start.word);
    }
    free(life->record);
}

static void close_node(struct sim_node *node)
{
    for (size_t i = 0; i < node->n_backlog; i++)
        free_message(node->backlog[i]);
    hm_mesh_close(node->mesh);
    hm_weights_fini(&node->weights);
    hm_delta_fini(&node->delta);
    free(node->backlog);
    free(node->applied.word);
    free(node->start.word);
    free(node->shadow);
    free(node->credit);
    free(node->published);
}

void sim_restart(struct sim *sim, unsigned i, unsigned n_known)
{
    struct sim_node *node = &sim->node[i], old = *node;
    assert_false(node->up);
    for (size_t k = 0; k < node->n_backlog; k++)
        sim->pipe[node->backlog[k]->from][i][node->backlog[k]->channel].n--;
    close_node(node);
    *node = (struct sim_node){.epoch = old.epoch + 1, .ahead_us = old.ahead_us};
    for (unsigned k = 0; k < HM_PEERS_MAX; k++)
        node->slot[k].generation = old.slot[k].generation + 1;
    open_node(sim, i, n_known, NULL);
}

void sim_leap(struct sim *sim, unsigned i, uint64_t us)
{
    sim->node[i].ahead_us += us;
    wake(sim, i, sim->now_us);
}

void sim_close(struct sim *sim)
{
    for (size_t i = 0; i < sim->n_events; i++)
        if (sim->event[i].message)
            free_message(sim->event[i].message);
    for (unsigned i = 0; i < sim->n_nodes; i++)
        close_node(&sim->node[i]);
    for (unsigned i = 0; i < sim->n_lives; i++)
        close_life(&sim->life[i]);
    free(sim->flush_steps);
    free(sim->event);
    free(sim->coordinate);
    free(sim);
}
