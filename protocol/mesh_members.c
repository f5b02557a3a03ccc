/* Who is there: greeting, beats, liveness, dialling. Advisory only: it picks whom to ask and whom
 * to wait for, never what is applied. */
#include "protocol/mesh_state.h"

#include <stdio.h>
#include <string.h>

/* A first greeting is mostly lost: sockets refuse what is sent before the connection stands. So
 * greet often at first. */
enum { CONTRADICTIONS = 2 /* beats in a row */, LINGER_US = 2000000, RTT_STEP_US = 5000 };

enum { GREET_US = 2000, GREET_DOUBLINGS = 11, REDIAL_MAX_US = 4000000 };

/* Lives are random numbers, but odd: from the middle they need no hashing. */
static size_t place_of(uint64_t life)
{
    return (life >> 20) % SLOT_INDEX;
}

struct member *hm_mesh_member_of(struct hm_mesh *mesh, uint64_t life)
{
    for (size_t i = place_of(life); life && mesh->slot_life[i]; i = (i + 1) % SLOT_INDEX)
        if (mesh->slot_life[i] == life)
            return &mesh->member[mesh->slot_index[i]];
    return NULL;
}

/* Anew whenever a slot gets another life. */
static void index_members(struct hm_mesh *mesh)
{
    memset(mesh->slot_life, 0, sizeof mesh->slot_life);
    mesh->n_members = 0;
    for (unsigned k = 0; k < mesh->n_slots; k++) {
        uint64_t life = mesh->member[k].life;
        size_t i = place_of(life);
        while (mesh->slot_life[i])
            i = (i + 1) % SLOT_INDEX;
        if (life) {
            mesh->slot_life[i] = life;
            mesh->slot_index[i] = (uint16_t)k;
            mesh->n_members++;
        }
    }
}

bool hm_member_live(const struct member *member)
{
    return member->life && member->heard_us && !member->gone && !member->left;
}

static unsigned slot_of(const struct hm_mesh *mesh, const struct member *member)
{
    return (unsigned)(member - mesh->member);
}

static void dial(struct hm_mesh *mesh, struct member *member)
{
    struct hm_action *action = hm_mesh_act(mesh, HM_ACT_CONNECT);
    action->slot = slot_of(mesh, member);
    memcpy(action->rpc, member->rpc, sizeof member->rpc);
    memcpy(action->pub, member->pub, sizeof member->pub);
    member->greeted = false;
    member->dial_us = mesh->now_us + GREET_US;
}

/* A free slot, else that of a peer that has left or is long gone. */
static struct member *free_slot(struct hm_mesh *mesh)
{
    struct member *old = NULL;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        struct member *m = &mesh->member[i];
        if (!m->life)
            return m;
        if ((m->left || m->gone) && (!old || m->heard_us < old->heard_us))
            old = m;
    }
    return mesh->n_slots < MEMBERS_MAX ? &mesh->member[mesh->n_slots++] : old;
}

static void empty_slot(struct hm_mesh *mesh, struct member *member)
{
    unsigned slot = slot_of(mesh, member);
    hm_vector_drop(member->vector);
    *member = (struct member){.in_step = member->in_step};
    hm_mesh_count(mesh, member);
    for (size_t i = 0; i < mesh->n_streams; i++)
        /* what the slot's former peer did not have says nothing of the next one */
        mesh->stream[i]->nohave[slot / 64] &= ~((uint64_t)1 << slot % 64);
}

/* Who else is reached at a member's address. */
static struct member *at_address(struct hm_mesh *mesh, uint64_t life, const char *rpc)
{
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        struct member *m = &mesh->member[i];
        if (m->life && m->life != life && !m->replaced && !m->hung_up && strcmp(m->rpc, rpc) == 0)
            return m;
    }
    return NULL;
}

/* An address has one process: the life that had it before is over. Its connections have to go, for
 * they would lead to the new one and take its answers away: a ROUTER gives a name, here ours, to
 * the newest connection. */
static void replace(struct hm_mesh *mesh, struct member *member, const char *label)
{
    hm_mesh_act(mesh, HM_ACT_DISCONNECT)->slot = slot_of(mesh, member);
    hm_mesh_note(mesh, HM_NOTE_INFO, "node %s is at the address of %s, which has ended", label,
                 member->label);
    member->replaced = member->gone = true;
    member->hears_us = false;
    hm_mesh_count(mesh, member);
}

/* `direct`: the life itself has spoken to us. What others say of an address may be old. */
struct member *hm_mesh_member_add(struct hm_mesh *mesh, const struct hm_peer_entry *peer,
                                  bool direct)
{
    struct member *member = hm_mesh_member_of(mesh, peer->life);
    if (member && !(direct && member->replaced))
        return member;
    if (peer->life == mesh->params.life || !peer->rpc[0] || !peer->pub[0] ||
        strcmp(peer->rpc, mesh->params.rpc) == 0) /* a former life of this node */
        return NULL;
    struct member *former = at_address(mesh, peer->life, peer->rpc);
    if (former && !direct && hm_member_live(former))
        return NULL;
    if (former)
        replace(mesh, former, peer->label);
    if (member) {
        member->replaced = false;
        dial(mesh, member);
        return member;
    }
    member = free_slot(mesh);
    if (!member) {
        mesh->counters.refused_overflow++;
        return NULL;
    }
    empty_slot(mesh, member);
    member->life = peer->life;
    member->added_us = mesh->now_us;
    index_members(mesh);
    memcpy(member->label, peer->label, sizeof member->label);
    memcpy(member->rpc, peer->rpc, sizeof member->rpc);
    memcpy(member->pub, peer->pub, sizeof member->pub);
    dial(mesh, member);
    return member;
}

/* Its connections are closed for good: whoever comes to its endpoints next must not be heard twice.
 */
void hm_mesh_hang_up(struct hm_mesh *mesh, struct member *member)
{
    member->left = true;
    if (member->hung_up)
        return;
    member->hung_up = true;
    hm_mesh_count(mesh, member);
    hm_mesh_act(mesh, HM_ACT_DISCONNECT)->slot = slot_of(mesh, member);
}

/* A member's process goes on as another life. That one counts as live from now on: else the others
 * could end without it before it has been heard. */
void hm_mesh_succeed(struct hm_mesh *mesh, struct member *member, uint64_t life)
{
    struct hm_peer_entry peer = {.life = life};
    memcpy(peer.label, member->label, sizeof peer.label);
    memcpy(peer.rpc, member->rpc, sizeof peer.rpc);
    memcpy(peer.pub, member->pub, sizeof peer.pub);
    hm_mesh_hang_up(mesh, member);
    struct member *successor = life ? hm_mesh_member_add(mesh, &peer, false) : NULL;
    if (!successor || successor->heard_us)
        return;
    successor->heard_us = mesh->now_us;
    successor->phase = HM_RUNNING;
    hm_mesh_count(mesh, successor);
}

/* ---- beats ---- */

static struct hm_peer_entry entry_of(const struct hm_mesh *mesh, const struct member *m)
{
    uint64_t age = m->beat ? mesh->now_us - m->beat_us : 0;
    struct hm_peer_entry entry = {.life = m->life,
                                  .phase = (uint8_t)m->phase,
                                  .gone = m->gone,
                                  .beat = m->beat,
                                  .age_us = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX};
    memcpy(entry.label, m->label, sizeof m->label);
    memcpy(entry.rpc, m->rpc, sizeof m->rpc);
    memcpy(entry.pub, m->pub, sizeof m->pub);
    return entry;
}

struct named {
    uint64_t life;
    const struct member *member;
};

/* The list is sorted by life. */
static void insert(struct named *named, size_t n, const struct member *m)
{
    for (; n && named[n - 1].life > m->life; n--)
        named[n] = named[n - 1];
    named[n] = (struct named){m->life, m};
}

/* Who waits for being named: it counts beats that name it as a sign that we hear it. */
static bool is_new(const struct member *m)
{
    return m->phase < HM_RUNNING;
}

/* Everybody known; or, for beats of a mesh that runs and knows itself, who is new and in turn some
 * of the others: a list of all in every beat would be most of what a large mesh sends. */
static size_t peers(const struct hm_mesh *mesh, bool all, struct hm_peer_entry *entry, size_t room)
{
    struct named named[GATHERING_PEERS];
    size_t n = 0;
    unsigned in_turn = 0, first = mesh->beat * (all ? (unsigned)room : BEAT_PEERS);
    for (unsigned k = 0; k < mesh->n_slots && n < room; k++) {
        const struct member *m = &mesh->member[(first + k) % mesh->n_slots];
        if (!m->life || m->left || m->refused || (!all && !is_new(m) && in_turn == BEAT_PEERS))
            continue;
        in_turn += !is_new(m);
        insert(named, n++, m);
    }
    for (size_t i = 0; i < n; i++)
        entry[i] = entry_of(mesh, named[i].member);
    return n;
}

static uint32_t worst_lag(const struct hm_mesh *mesh)
{
    uint32_t lag = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (hm_member_live(&mesh->member[i]) && mesh->flush - mesh->member[i].flush_acked > lag)
            lag = mesh->flush - mesh->member[i].flush_acked;
    return lag;
}

/* A beat goes to everybody and names everybody, so what all of them cost grows with the cube of the
 * mesh. */
uint64_t hm_mesh_crowd(const struct hm_mesh *mesh)
{
    return mesh->n_members > BEAT_FEW ? mesh->n_members / BEAT_FEW : 1;
}

uint64_t hm_mesh_beat_soon_us(const struct hm_mesh *mesh)
{
    return mesh->beat
               ? mesh->beat_sent_us[mesh->beat % BEATS_KEPT] + BEAT_SOON_US * hm_mesh_crowd(mesh)
               : 0;
}

void hm_mesh_beat(struct hm_mesh *mesh)
{
    struct hm_header header = hm_mesh_header(mesh, HM_BEAT);
    struct hm_beat_head *beat = &header.beat;
    beat->number = ++mesh->beat;
    beat->phase = (uint8_t)mesh->phase;
    beat->stop = mesh->stop;
    beat->digest = hm_mesh_digest(mesh);
    beat->steps = hm_mesh_steps(mesh);
    beat->lag = worst_lag(mesh);
    memcpy(beat->label, mesh->params.label, sizeof beat->label);
    memcpy(beat->rpc, mesh->params.rpc, sizeof beat->rpc);
    memcpy(beat->pub, mesh->params.pub, sizeof beat->pub);
    if (mesh->stop)
        memcpy(beat->stop_reason, mesh->stop_reason, sizeof beat->stop_reason);
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    struct hm_peer_entry peer[GATHERING_PEERS];
    size_t n_vv = hm_mesh_vector(mesh, vv),
           n_peers = peers(mesh, mesh->phase < HM_RUNNING, peer, GATHERING_PEERS);
    struct hm_blob *payload = hm_blob_new(HM_BEAT_BOUND(n_vv, n_peers));
    if (payload) {
        payload = hm_blob_shrink(payload, hm_beat_encode(vv, n_vv, peer, n_peers, payload->bytes));
        hm_mesh_broadcast(mesh, &header, payload);
    }
    uint32_t spread = BEAT_MAX_US - BEAT_MIN_US;
    uint64_t interval = BEAT_MIN_US + hm_rng_below(&mesh->rng, spread),
             busy = BEAT_BUSY_US * hm_mesh_crowd(mesh);
    if (mesh->phase != HM_RUNNING && busy < interval)
        interval = busy;
    mesh->beat_sent_us[mesh->beat % BEATS_KEPT] = mesh->now_us;
    mesh->beat_due_us = mesh->now_us + interval;
    mesh->beat_soon = false;
}

/* The peer's list names us: it hears us, and tells how long our beat took to go there and its to
 * come back. */
static void heard_by(struct hm_mesh *mesh, struct member *member, const struct hm_peer_entry *us)
{
    if (!us->beat)
        return;
    member->hears_us = true;
    if (us->beat > mesh->beat || mesh->beat - us->beat >= BEATS_KEPT || us->age_us == UINT32_MAX)
        return;
    uint64_t away = mesh->now_us - mesh->beat_sent_us[us->beat % BEATS_KEPT];
    uint64_t rtt = away > us->age_us ? away - us->age_us : 0,
             most = 2 * member->rtt_us + RTT_STEP_US;
    if (!member->rtt_us)
        member->rtt_us = rtt;
    else /* one of us stood still, or the link has become slow: several beats will tell */
        member->rtt_us = (3 * member->rtt_us + (rtt < most ? rtt : most)) / 4;
}

/* Whether a life is known, looked for from `from` on in the order of lives; vectors list them in
 * that order, so each search is a step. */
static bool find_next(const struct hm_mesh *mesh, uint64_t life, size_t *from)
{
    while (*from < mesh->n_streams && mesh->now.life[*from] < life)
        ++*from;
    return *from < mesh->n_streams && mesh->now.life[*from] == life;
}

static void learn_own(struct hm_mesh *mesh, struct member *member, const struct hm_vv_entry *e)
{
    /* Of one beat a bit may be wrong. */
    member->clones = e->seq > mesh->stream[0]->link.seq ? member->clones + 1 : 0;
    if (member->clones == CONTRADICTIONS)
        hm_mesh_finish(mesh, HM_ECORRUPT,
                       "another process publishes under this node's life id; restart it");
    else if (e->flush > member->flush_acked && e->flush <= mesh->flush)
        member->flush_acked = e->flush;
}

static void learn_vector(struct hm_mesh *mesh, struct member *member)
{
    size_t from = 0;
    uint64_t patience = 0;
    for (size_t i = 0; i < member->vector->n; i++) {
        const struct hm_vv_entry *e = &member->vector->entry[i];
        if (e->life == mesh->params.life) {
            learn_own(mesh, member, e);
            continue;
        }
        if (find_next(mesh, e->life, &from) && e->seq <= mesh->now.seq[from])
            continue;
        struct stream *s = hm_mesh_stream_make(mesh, e->life);
        if (!s) {
            mesh->counters.refused_overflow++;
            continue;
        }
        uint32_t seq = hm_mesh_sound(s, e->seq);
        if (seq > s->head)
            s->head = seq;
        /* The origin's own beat comes down the same pipe as its deltas, so what it names and we
         * lack is lost; a third party's beat may only have been faster. */
        if (seq > s->link.seq && !patience)
            patience = hm_mesh_patience_us(mesh);
        if (seq > s->link.seq)
            hm_mesh_want(mesh, s, e->life == member->life ? 5000 : patience);
    }
}

/* Streams are compared one by one: where both have applied the same deltas of a life, their sums
 * and steps must be equal, whatever else either of them has applied. */
static bool agrees(const struct hm_vv_entry *e, const struct columns *now, size_t i)
{
    return e->seq != now->seq[i] || (e->digest == now->digest[i] && e->steps == now->steps[i]);
}

static void check_digest(struct hm_mesh *mesh, struct member *member)
{
    bool same = true;
    size_t from = 0;
    for (size_t i = 0; i < member->vector->n && same; i++) {
        const struct hm_vv_entry *e = &member->vector->entry[i];
        same = !find_next(mesh, e->life, &from) || agrees(e, &mesh->now, from);
    }
    if (same && hm_mesh_same_vector(mesh, member->vector))
        same = member->digest == hm_mesh_digest(mesh);
    member->contradictions = same ? 0 : member->contradictions + 1;
    if (member->contradictions < CONTRADICTIONS || mesh->params.without & HM_WITHOUT_DIGEST)
        return;
    mesh->suspect = member->life;
    hm_mesh_act(mesh, HM_ACT_VERIFY);
}

/* The own base was looked at first: when it is what its vector promises, the damage is there. */
void hm_mesh_on_verified(struct hm_mesh *mesh, uint64_t digest)
{
    struct member *member = hm_mesh_member_of(mesh, mesh->suspect);
    mesh->suspect = 0;
    if (!hm_mesh_check_base(mesh, digest, hm_mesh_digest(mesh)) || !member || member->damaged)
        return;
    member->damaged = true;
    mesh->counters.peers_damaged++;
    hm_mesh_note(mesh, HM_NOTE_ERROR,
                 "the replica of node %s is damaged: it differs from this one although both "
                 "applied the same deltas (digests %016llx there, %016llx here, and this node's "
                 "weights are what its digest says); going on without it",
                 member->label, (unsigned long long)member->digest,
                 (unsigned long long)hm_mesh_digest(mesh));
    hm_mesh_hang_up(mesh, member);
}

/* False when all slots are taken and one that it names now has its own, because it had left. */
static bool learn_peers(struct hm_mesh *mesh, struct member *member,
                        const struct hm_peer_entry *peer, size_t n)
{
    uint64_t life = member->life;
    for (size_t i = 0; i < n && member->life == life; i++) {
        if (peer[i].life == mesh->params.life)
            heard_by(mesh, member, &peer[i]);
        else if (!peer[i].gone)
            hm_mesh_member_add(mesh, &peer[i], false);
    }
    return member->life == life;
}

/* What the origin's own beat says of its stream is all there is: what others claimed beyond that
 * was wrong. */
static void correct_head(struct hm_mesh *mesh, const struct member *member)
{
    struct stream *s = hm_mesh_stream(mesh, member->life);
    const struct hm_vv_entry *e = hm_vector_find(member->vector, member->life);
    uint32_t seq = e ? e->seq : 0;
    if (s && s->head > seq)
        s->head = seq > s->link.seq ? seq : s->link.seq;
}

void hm_mesh_on_beat(struct hm_mesh *mesh, const struct hm_event *event,
                     const struct hm_header *header)
{
    const struct hm_beat_head *beat = &header->beat;
    const struct hm_decoded_beat *decoded = hm_decode_beat(mesh->decoder, event->message.payload);
    if (!decoded) {
        mesh->counters.refused_malformed++;
        return;
    }
    struct hm_peer_entry sender = {.life = header->life};
    memcpy(sender.label, beat->label, sizeof sender.label);
    memcpy(sender.rpc, beat->rpc, sizeof sender.rpc);
    memcpy(sender.pub, beat->pub, sizeof sender.pub);
    struct member *member = hm_mesh_member_add(mesh, &sender, true);
    if (!member || (beat->number <= member->beat && member->beat - beat->number < BEATS_OVERTAKEN))
        return; /* no room for it, or an old beat that was overtaken */
    hm_mesh_life_sign(mesh, header->life);
    bool moved = !member->beat || member->phase != (enum hm_phase)beat->phase;
    if (moved)
        mesh->beat_soon = true; /* it should learn that we hear it, or see where we stand by now */
    member->beat = beat->number;
    member->beat_us = mesh->now_us;
    member->slept_us = 0;
    member->dials = 0;
    member->phase = (enum hm_phase)beat->phase;
    if (moved)
        hm_mesh_count(mesh, member);
    member->digest = beat->digest;
    member->steps = beat->steps;
    memcpy(member->label, beat->label, sizeof member->label);
    hm_vector_drop(member->vector);
    member->vector = hm_vector_share(decoded->vector);
    learn_vector(mesh, member);
    correct_head(mesh, member);
    if (!learn_peers(mesh, member, decoded->peer, decoded->n_peers))
        return;
    check_digest(mesh, member);
    struct stream *stream = hm_mesh_stream(mesh, header->life);
    if (stream)
        memcpy(stream->link.label, beat->label, sizeof stream->link.label);
    if (beat->stop)
        hm_mesh_raise_stop(mesh, beat->stop_reason);
}

void hm_mesh_life_sign(struct hm_mesh *mesh, uint64_t life)
{
    struct member *member = hm_mesh_member_of(mesh, life);
    if (!member)
        return;
    if (member->replaced)
        return; /* what it said before it ended */
    if (member->gone) {
        hm_mesh_note(mesh, HM_NOTE_INFO, "node %s is back after %.1f s of silence", member->label,
                     (double)(mesh->now_us - member->heard_us) / 1e6);
        member->gone = false;
        member->heard_us = mesh->now_us;
        hm_mesh_count(mesh, member);
    }
    member->heard_us = mesh->now_us;
}

void hm_mesh_on_leave(struct hm_mesh *mesh, const struct hm_header *header)
{
    struct member *member = hm_mesh_member_of(mesh, header->life);
    struct stream *stream = hm_mesh_stream(mesh, header->life);
    if (stream && header->leave.seq > stream->link.seq) {
        stream->head = header->leave.seq > stream->head ? header->leave.seq : stream->head;
        hm_mesh_want(mesh, stream, 5000);
    }
    if (!member || member->left)
        return;
    member->left = true;
    hm_mesh_count(mesh, member);
    member->left_clean = header->leave.clean;
    member->left_digest = header->leave.digest;
    if (!header->leave.clean)
        hm_mesh_note(mesh, HM_NOTE_INFO, "node %s has left the mesh", member->label);
}

/* ---- greeting ---- */

static void greet(struct hm_mesh *mesh, struct member *member)
{
    struct hm_header header = hm_mesh_header(mesh, HM_HELLO);
    memcpy(header.hello.label, mesh->params.label, sizeof header.hello.label);
    memcpy(header.hello.rpc, mesh->params.rpc, sizeof header.hello.rpc);
    memcpy(header.hello.pub, mesh->params.pub, sizeof header.hello.pub);
    struct hm_blob *payload = hm_blob_new(hm_hello_bound(NULL, 0, 0, 0));
    if (!payload)
        return;
    payload = hm_blob_shrink(payload, hm_hello_encode(NULL, 0, NULL, 0, NULL, 0, payload->bytes));
    hm_mesh_send(mesh, slot_of(mesh, member), &header, payload);
}

static void answer_hello(struct hm_mesh *mesh, const struct hm_event *event, bool full)
{
    struct hm_header header = hm_mesh_header(mesh, HM_HELLO_OK);
    memcpy(header.hello.label, mesh->params.label, sizeof header.hello.label);
    memcpy(header.hello.rpc, mesh->params.rpc, sizeof header.hello.rpc);
    memcpy(header.hello.pub, mesh->params.pub, sizeof header.hello.pub);
    const struct hm_fields *config = mesh->params.config;
    struct hm_peer_entry peer[HELLO_PEERS];
    bool others_tell = !full && mesh->n_members > HELLO_PEERS; /* it greets all of them as well */
    size_t n_peers = peers(mesh, true, peer, others_tell ? HELLO_PEERS / 8 : HELLO_PEERS),
           n_fields = full ? config->n : 0, n_bulk = full ? mesh->params.bulk_n : 0;
    struct hm_blob *payload = hm_blob_new(hm_hello_bound(config->field, n_fields, n_peers, n_bulk));
    if (!payload)
        return;
    size_t n = hm_hello_encode(config->field, n_fields, peer, n_peers, mesh->params.bulk, n_bulk,
                               payload->bytes);
    hm_mesh_reply(mesh, event, &header, hm_blob_shrink(payload, n));
}

static void reply_reject(struct hm_mesh *mesh, const struct hm_event *event, const char *field,
                         const char *ours, const char *yours)
{
    struct hm_header header = hm_mesh_header(mesh, HM_REJECT);
    snprintf(header.reject.field, sizeof header.reject.field, "%s", field);
    snprintf(header.reject.ours, sizeof header.reject.ours, "%.*s", HM_REASON_MAX, ours);
    snprintf(header.reject.yours, sizeof header.reject.yours, "%.*s", HM_REASON_MAX, yours);
    snprintf(header.reject.reason, sizeof header.reject.reason, "the mesh has another %.60s",
             field);
    hm_mesh_reply(mesh, event, &header, NULL);
    mesh->counters.refused_hello++;
}

/* In our own version: that it is another is what the asker has to learn. */
void hm_mesh_on_other_version(struct hm_mesh *mesh, const struct hm_event *event,
                              const struct hm_header *header, bool first)
{
    char ours[16];
    snprintf(ours, sizeof ours, "%d", HM_WIRE_VERSION);
    reply_reject(mesh, event, "version", ours, "another");
    if (first)
        hm_mesh_note(mesh, HM_NOTE_WARNING,
                     "refused node %016llx: it speaks another version of the protocol than this "
                     "program (%s); install the same version everywhere",
                     (unsigned long long)header->life, ours);
}

static void reject(struct hm_mesh *mesh, const struct hm_event *event, const char *label,
                   const char *field, const char *ours, const char *yours)
{
    reply_reject(mesh, event, field, ours, yours);
    hm_mesh_note(mesh, HM_NOTE_WARNING, "refused node %s: its %s is '%.60s', the mesh's is '%.60s'",
                 label, field, yours, ours);
}

/* The payload of HELLO and HELLO_OK. */
struct greeting {
    struct hm_field field[HM_FIELDS_MAX];
    struct hm_peer_entry peer[MEMBERS_MAX];
    size_t n_fields, n_peers, n_bulk;
    const uint8_t *bulk;
};

static bool read_greeting(struct hm_mesh *mesh, const struct hm_event *event, struct greeting *g)
{
    const struct hm_blob *payload = event->message.payload;
    if (payload &&
        hm_hello_decode(payload->bytes, payload->n, g->field, HM_FIELDS_MAX, &g->n_fields, g->peer,
                        MEMBERS_MAX, &g->n_peers, &g->bulk, &g->n_bulk) == 0)
        return true;
    mesh->counters.refused_malformed++;
    return false;
}

/* A stranger greets with fingerprint 0 and what it insists on, and gets the configuration; a member
 * greets with the fingerprint, so that we learn where to subscribe. */
void hm_mesh_on_hello(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header)
{
    struct greeting greeting;
    if (!read_greeting(mesh, event, &greeting))
        return;
    if (header->fingerprint && header->fingerprint != mesh->fingerprint) {
        char ours[17], yours[17];
        snprintf(ours, sizeof ours, "%016llx", (unsigned long long)mesh->fingerprint);
        snprintf(yours, sizeof yours, "%016llx", (unsigned long long)header->fingerprint);
        reject(mesh, event, header->hello.label, "fingerprint", ours, yours);
        return;
    }
    const struct hm_field *conflict =
        hm_config_conflict(mesh->params.config, greeting.field, greeting.n_fields);
    if (conflict) {
        const char *ours = hm_fields_get(mesh->params.config, conflict->name);
        reject(mesh, event, header->hello.label, conflict->name, ours ? ours : "(none)",
               conflict->value);
        return;
    }
    if (header->fingerprint) {
        struct hm_peer_entry sender = {.life = header->life};
        memcpy(sender.label, header->hello.label, sizeof sender.label);
        memcpy(sender.rpc, header->hello.rpc, sizeof sender.rpc);
        memcpy(sender.pub, header->hello.pub, sizeof sender.pub);
        hm_mesh_member_add(mesh, &sender, true);
    }
    answer_hello(mesh, event, header->fingerprint == 0);
}

void hm_mesh_on_hello_ok(struct hm_mesh *mesh, const struct hm_event *event,
                         const struct hm_header *header)
{
    struct greeting greeting;
    struct member *member = hm_mesh_member_of(mesh, header->life);
    if (!read_greeting(mesh, event, &greeting))
        return;
    if (member)
        member->greeted = true;
    for (size_t i = 0; i < greeting.n_peers; i++)
        if (!greeting.peer[i].gone)
            hm_mesh_member_add(mesh, &greeting.peer[i], false);
}

void hm_mesh_on_reject(struct hm_mesh *mesh, const struct hm_header *header)
{
    struct member *member = hm_mesh_member_of(mesh, header->life);
    if (!member || member->refused)
        return;
    member->refused = true;
    hm_mesh_note(mesh, HM_NOTE_WARNING, "node %s refuses us: %s (%s there, %s here)", member->label,
                 header->reject.reason, header->reject.ours, header->reject.yours);
}

/* ---- liveness ---- */

static void declare_gone(struct hm_mesh *mesh, struct member *member)
{
    member->gone = true;
    member->hears_us = false;
    hm_mesh_count(mesh, member);
    mesh->counters.peers_gone++;
    mesh->beat_soon = true;
    hm_mesh_note(mesh, HM_NOTE_WARNING,
                 "node %s has been silent for %.1f s and counts as dead; going on without it",
                 member->label, (double)(mesh->now_us - member->heard_us) / 1e6);
}

void hm_mesh_slept(struct hm_mesh *mesh, uint64_t us)
{
    for (unsigned i = 0; i < mesh->n_slots; i++)
        mesh->member[i].slept_us += us;
}

/* How long a member has said nothing from then on. While we stood still ourselves it may have; that
 * is all that is let pass: who stands still again and again must notice the dead, too. */
static uint64_t silence(const struct hm_mesh *mesh, const struct member *member, uint64_t since)
{
    uint64_t silent = mesh->now_us - since;
    return silent > member->slept_us ? silent - member->slept_us : 0;
}

static void tick_member(struct hm_mesh *mesh, struct member *member)
{
    if (member->life && member->left && !member->hung_up &&
        mesh->now_us - member->heard_us > LINGER_US)
        hm_mesh_hang_up(mesh, member); /* nothing comes any more */
    if (!member->life || member->left || member->refused || member->replaced)
        return;
    uint64_t silent = silence(mesh, member, member->heard_us ? member->heard_us : member->added_us);
    if (member->heard_us && !member->gone && silent > mesh->params.gone_us)
        declare_gone(mesh, member);
    if (!member->heard_us && silent > mesh->params.gone_us + mesh->params.join_timeout_us) {
        /* Never heard, by whomever it was named: forget it, so that its slot serves somebody real.
         */
        hm_mesh_act(mesh, HM_ACT_DISCONNECT)->slot = slot_of(mesh, member);
        empty_slot(mesh, member);
        index_members(mesh);
        return;
    }
    if (mesh->now_us < member->dial_us)
        return;
    /* Beats, not any life sign: it may be the subscription alone that libzmq has given up for good.
     */
    uint64_t since = member->beat ? member->beat_us : member->added_us;
    bool deaf = silence(mesh, member, since) > mesh->params.suspect_us;
    if (deaf && member->dials) {
        dial(mesh, member);
        mesh->counters.redials++;
    }
    if ((!member->greeted && !member->hears_us) || deaf)
        greet(mesh, member);
    uint64_t wait = (uint64_t)GREET_US
                    << (member->dials < GREET_DOUBLINGS ? member->dials : GREET_DOUBLINGS);
    member->dials++;
    member->dial_us = mesh->now_us + (wait < REDIAL_MAX_US ? wait : REDIAL_MAX_US);
}

/* Nothing here is in more of a hurry than a greeting, and of a thousand none. */
void hm_mesh_tick_members(struct hm_mesh *mesh)
{
    if (mesh->now_us < mesh->members_due_us)
        return;
    mesh->members_due_us = mesh->now_us + GREET_US / 2 + mesh->n_members * 10;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        tick_member(mesh, &mesh->member[i]);
}
