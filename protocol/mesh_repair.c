/* Gaps: asking any holder for what is missing, and answering those who ask. */
#include "protocol/mesh_state.h"

#include <string.h>

enum {
    WANT_BYTES = HM_PAYLOAD_MAX,
    SERVE_BYTES_MAX = 4 << 20,
    SERVE_DELTAS_MAX = 2048, /* of one answer: small ones would be more actions than there may be */
    FOLLOW_US = 20000,       /* between the deltas of one answer it takes less */
    STUCK_US = 1000000,      /* between two attempts where logs do not reach */
    STUCK_AFTER_US = 8000000,
    PATIENCE_LEAST_US = 100000,
    PATIENCE_MOST_US = 4000000,
    PATIENCE_US = 2 * BEAT_MAX_US, /* until nobody's having a delta is believed */
};

_Static_assert((int)SERVE_DELTAS_MAX < (int)ACTIONS_MAX, "an answer fits");

/* How long what is missing may only be late: two round trips of the farthest peer, for a host where
 * processes wait for their turn has long ones, and asking for what is on its way makes them longer.
 */
static uint64_t patience_us(uint64_t rtt)
{
    uint64_t twice = 2 * rtt;
    return twice < PATIENCE_LEAST_US  ? PATIENCE_LEAST_US
           : twice < PATIENCE_MOST_US ? twice
                                      : PATIENCE_MOST_US;
}

uint64_t hm_mesh_patience_us(const struct hm_mesh *mesh)
{
    return patience_us(hm_mesh_rtt_us(mesh));
}

/* When a stream's request goes out. */
static void want_at(struct hm_mesh *mesh, struct stream *stream, uint64_t at_us)
{
    stream->want_at = at_us;
    if (at_us < mesh->wants_due_us)
        mesh->wants_due_us = at_us;
}

/* Arms a request for what follows the stream's vector, unless one is armed already. */
void hm_mesh_want(struct hm_mesh *mesh, struct stream *stream, uint64_t delay_us)
{
    if (stream->want_at)
        return;
    stream->want_since = mesh->now_us;
    stream->want_tries = 0;
    memset(stream->nohave, 0, sizeof stream->nohave);
    want_at(mesh, stream,
            mesh->now_us + delay_us / 2 + hm_rng_below(&mesh->rng, (uint32_t)delay_us + 1));
}

/* Something of an answer came that we can use: the next request need not wait for the time-out, it
 * goes out as soon as nothing follows any more. */
void hm_mesh_answered(struct hm_mesh *mesh, struct stream *stream)
{
    if (!stream->want_at || !stream->want_tries)
        return;
    stream->want_tries = 0;
    want_at(mesh, stream, mesh->now_us + FOLLOW_US + hm_rng_below(&mesh->rng, FOLLOW_US / 2));
}

/* Whether a member's newest beat, or its being the origin, says that it has applied what we miss.
 */
static bool claims(const struct member *m, const struct stream *stream)
{
    if (!hm_member_live(m))
        return false;
    if (m->life == stream->link.from)
        return true;
    const struct hm_vv_entry *entry = hm_vector_find(m->vector, stream->link.from);
    return entry && hm_mesh_sound(stream, entry->seq) > stream->link.seq;
}

static bool may_have(const struct hm_mesh *mesh, const struct stream *stream, unsigned slot)
{
    return claims(&mesh->member[slot], stream) && !(stream->nohave[slot / 64] >> slot % 64 & 1);
}

/* The origin first, then the other holders in turn. MEMBERS_MAX when there is none. */
static unsigned choose_holder(const struct hm_mesh *mesh, const struct stream *stream)
{
    unsigned holder[MEMBERS_MAX], n = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (may_have(mesh, stream, i)) {
            holder[n++] = i;
            if (mesh->member[i].life == stream->link.from) {
                holder[n - 1] = holder[0];
                holder[0] = i;
            }
        }
    return n ? holder[stream->want_tries % n] : MEMBERS_MAX;
}

static bool anybody_claims(const struct hm_mesh *mesh, const struct stream *stream)
{
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (claims(&mesh->member[i], stream))
            return true;
    return false;
}

/* All holders have trimmed what we miss: only the state of one of them helps. Who comes later may
 * have it in its log yet, so now and then everybody is asked anew. */
static void unobtainable(struct hm_mesh *mesh, struct stream *stream)
{
    stream->stuck = true;
    memset(stream->nohave, 0, sizeof stream->nohave);
    want_at(mesh, stream, mesh->now_us + STUCK_US + hm_rng_below(&mesh->rng, STUCK_US));
}

/* The origin is dead or gone and nobody who lives has more than we: what was heard of beyond that
 * has died with it. Should a holder come back, its beat says so and everything begins anew. */
static void forget(struct hm_mesh *mesh, struct stream *stream)
{
    hm_mesh_drop_held(mesh, stream);
    stream->named = stream->head > stream->named ? stream->head : stream->named;
    stream->head = stream->link.seq;
    if (stream->join_goal > stream->head)
        stream->join_goal = stream->head; /* or a joiner would wait for ever */
    stream->want_at = 0;
}

static void ask_nobody(struct hm_mesh *mesh, struct stream *stream)
{
    want_at(mesh, stream, mesh->now_us + 50000);
    if (mesh->now_us - stream->want_since < PATIENCE_US)
        return; /* somebody may be receiving it just now: hear everybody's next beat */
    if (anybody_claims(mesh, stream))
        unobtainable(mesh, stream);
    else
        forget(mesh, stream);
}

static bool anybody_lacks(const struct hm_mesh *mesh, const struct stream *stream)
{
    for (unsigned i = 0; i < (mesh->n_slots + 63) / 64; i++)
        if (stream->nohave[i])
            return true;
    return false;
}

static void ask(struct hm_mesh *mesh, struct stream *stream)
{
    unsigned slot = choose_holder(mesh, stream);
    if (hm_mesh_fetches(mesh, stream) || mesh->params.without & HM_WITHOUT_REPAIR) {
        want_at(mesh, stream, mesh->now_us + FOLLOW_US);
        return;
    }
    if (slot == MEMBERS_MAX) {
        ask_nobody(mesh, stream);
        return;
    }
    /* Where much is lost it takes for ever until all have said that they do not have it. */
    if (mesh->now_us - stream->want_since > STUCK_AFTER_US && anybody_lacks(mesh, stream))
        stream->stuck = true;
    struct hm_header header = hm_mesh_header(mesh, HM_WANT);
    header.want = (struct hm_want_head){stream->link.from, stream->link.seq + 1, WANT_BYTES};
    hm_mesh_send(mesh, slot, &header, NULL);
    mesh->counters.wants_sent++;
    stream->want_tries++;
    uint64_t wait = patience_us(mesh->member[slot].rtt_us)
                    << (stream->want_tries < 5 ? stream->want_tries - 1 : 4);
    want_at(mesh, stream, mesh->now_us + wait + hm_rng_below(&mesh->rng, (uint32_t)wait / 2));
}

/* wants_due_us never lies behind the first request that is due; what has been answered meanwhile
 * leaves it too early, which costs one look. */
void hm_mesh_tick_repair(struct hm_mesh *mesh)
{
    if (mesh->now_us < mesh->wants_due_us)
        return;
    mesh->wants_due_us = UINT64_MAX;
    for (size_t i = 0; i < mesh->n_streams && !mesh->finished; i++) {
        struct stream *s = mesh->stream[i];
        if (!s->want_at)
            continue;
        if (s->link.seq >= s->head)
            s->want_at = 0;
        else if (mesh->now_us >= s->want_at)
            ask(mesh, s);
        else
            want_at(mesh, s, s->want_at);
    }
}

uint64_t hm_mesh_repair_wake_us(const struct hm_mesh *mesh)
{
    return mesh->wants_due_us;
}

static void nohave(struct hm_mesh *mesh, const struct hm_event *event, uint64_t life,
                   uint32_t have_from)
{
    struct hm_header header = hm_mesh_header(mesh, HM_NOHAVE);
    header.nohave = (struct hm_nohave_head){life, have_from};
    hm_mesh_reply(mesh, event, &header, NULL);
    mesh->counters.nohaves++;
}

/* Any holder answers, not only the origin. Under a bandwidth budget an answer waits until there is
 * budget: the asker asks again. */
void hm_mesh_on_want(struct hm_mesh *mesh, const struct hm_event *event,
                     const struct hm_header *header)
{
    const struct hm_want_head *want = &header->want;
    struct stream *stream = hm_mesh_stream(mesh, want->stream);
    const struct hm_log_entry *entry = stream ? hm_log_get(&stream->log, want->from) : NULL;
    if (!entry) {
        if (!stream || want->from <= stream->link.seq)
            nohave(mesh, event, want->stream, stream ? hm_log_oldest(&stream->log) : 0);
        return;
    }
    if (!hm_mesh_may_serve(mesh))
        return;
    uint64_t room = want->bytes_max < SERVE_BYTES_MAX ? want->bytes_max : SERVE_BYTES_MAX;
    struct hm_header answer = hm_mesh_header(mesh, HM_DELTA);
    for (uint32_t seq = want->from; (entry = hm_log_get(&stream->log, seq)) != NULL; seq++) {
        uint64_t n = entry->payload ? entry->payload->n : 0;
        if (seq != want->from &&
            (n + HM_HEADER_BOUND > room || seq - want->from >= SERVE_DELTAS_MAX))
            break;
        answer.delta = entry->head;
        hm_mesh_reply(mesh, event, &answer, hm_blob_share(entry->payload));
        mesh->counters.wants_served++;
        room -= room < n + HM_HEADER_BOUND ? room : n + HM_HEADER_BOUND;
    }
}

void hm_mesh_on_nohave(struct hm_mesh *mesh, const struct hm_header *header)
{
    struct stream *stream = hm_mesh_stream(mesh, header->nohave.stream);
    const struct member *member = hm_mesh_member_of(mesh, header->life);
    if (!stream || !member || !stream->want_at)
        return;
    if (header->nohave.have_from && header->nohave.have_from <= stream->link.seq + 1)
        return; /* an answer to what we have got meanwhile */
    unsigned slot = (unsigned)(member - mesh->member);
    stream->nohave[slot / 64] |= (uint64_t)1 << slot % 64;
    want_at(mesh, stream, mesh->now_us);
}
