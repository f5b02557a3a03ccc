/* Taking over another node's state: its base, and on top of it whatever the own logs hold beyond
 * its vector. And going on as another life when own deltas cannot be kept that way. */
#include "protocol/mesh_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- what becomes of a stream ---- */

/* How far a stream may be kept here: all that is applied but what its origin has renounced. */
static uint32_t worth_keeping(const struct stream *s)
{
    return s->renounced && s->link.seq >= s->renounced ? s->renounced - 1 : s->link.seq;
}

/* Whether the log continues what ends at seq `from`. */
static bool log_reaches(const struct stream *s, uint32_t from)
{
    return hm_log_get(&s->log, from + 1) != NULL;
}

static struct hm_vv_entry entry_at(const struct hm_vv_entry *vv, size_t n, uint64_t life)
{
    const struct hm_vv_entry *e = hm_mesh_entry(vv, n, life);
    return e ? *e : (struct hm_vv_entry){.life = life};
}

/* Where a stream will stand after adopting a snapshot that has it at `at`, the own log replayed. */
static struct hm_vv_entry adopted(const struct stream *s, struct hm_vv_entry at)
{
    uint32_t keep = worth_keeping(s);
    if (keep <= at.seq || !log_reaches(s, at.seq))
        return at;
    const struct hm_delta_head *head = &hm_log_get(&s->log, keep)->head;
    return (struct hm_vv_entry){s->link.from, keep,
                                head->last_piece ? head->flush : head->flush - 1, head->steps,
                                head->digest};
}

static bool loses(const struct stream *s, const struct hm_vv_entry *vv, size_t n)
{
    uint32_t at = entry_at(vv, n, s->link.from).seq;
    return worth_keeping(s) > at && !log_reaches(s, at);
}

bool hm_mesh_would_lose(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    for (size_t i = 0; i < mesh->n_streams; i++)
        if (loses(mesh->stream[i], vv, n))
            return true;
    return false;
}

/* ---- the new base ---- */

static bool add_logged(struct hm_mesh *mesh, const struct stream *s, uint32_t seq, uint32_t *base)
{
    const struct hm_log_entry *entry = hm_log_get(&s->log, seq);
    const struct hm_decoded *decoded =
        entry ? hm_decode(mesh->decoder, &entry->head, entry->payload) : NULL;
    if (!decoded)
        return false;
    for (uint32_t i = 0; i < decoded->delta.n_blocks; i++) {
        uint32_t *b = base + (size_t)decoded->delta.block[i] * HM_BLOCK;
        for (unsigned j = 0; j < HM_BLOCK; j++)
            b[j] += (uint32_t)decoded->delta.q[i][j];
    }
    return true;
}

static bool replay(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        struct hm_vv_entry at = entry_at(f->vv, f->n_vv, s->link.from);
        for (uint32_t seq = at.seq + 1; seq <= adopted(s, at).seq; seq++)
            if (seq > at.seq && !add_logged(mesh, s, seq, f->base))
                return false;
    }
    return true;
}

/* What the log holds of the own stream beyond a hole comes anew as deltas of another life. */
static bool replay_beyond_hole(struct hm_mesh *mesh)
{
    const struct stream *own = mesh->stream[0];
    for (uint32_t seq = hm_log_oldest(&own->log); own->log.n && seq <= own->link.seq; seq++)
        if (!add_logged(mesh, own, seq, mesh->fetch.base))
            return false;
    return true;
}

/* At a tick nothing is being applied or extracted, so vector, logs and B are those of one moment.
 * Whether something gets lost is asked once more: there was training since the answer came. */
void hm_mesh_install(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    bool renews = loses(mesh->stream[0], f->vv, f->n_vv);
    if (mesh->applying || mesh->extracting)
        return;
    bool theirs_void = hm_mesh_holds_void(mesh, f->vv, f->n_vv);
    if ((!f->yielding && hm_mesh_would_lose(mesh, f->vv, f->n_vv)) ||
        (f->yielding && theirs_void && !hm_mesh_needs_void_gone(mesh))) {
        hm_mesh_stop_fetching(mesh, 0);
        return;
    }
    if (!replay(mesh) || (renews && !replay_beyond_hole(mesh))) {
        hm_mesh_stop_fetching(mesh, 1000000);
        return;
    }
    mesh->installing = true;
    mesh->renewing = renews;
    hm_mesh_act(mesh, HM_ACT_INSTALL)->base = f->base;
}

/* ---- the vector follows ---- */

static void clear_log(struct hm_mesh *mesh, struct stream *s)
{
    mesh->log_bytes -= s->log.bytes;
    hm_log_fini(&s->log);
}

/* The log goes on behind a hole: its deltas wait for what is missing, as those that come too early
 * do. */
static void hold_log(struct hm_mesh *mesh, struct stream *s)
{
    const struct hm_log_entry *entry;
    for (uint32_t seq = hm_log_oldest(&s->log); (entry = hm_log_get(&s->log, seq)) != NULL; seq++)
        if (!s->renounced || seq < s->renounced)
            hm_mesh_hold(mesh, s, &entry->head, entry->payload);
    clear_log(mesh, s);
}

static void trim_newest(struct hm_mesh *mesh, struct stream *s, uint32_t keep)
{
    while (s->log.n && hm_log_oldest(&s->log) + s->log.n - 1 > keep)
        mesh->log_bytes -= hm_log_drop_newest(&s->log);
}

static bool held_elsewhere(const struct hm_mesh *mesh, const struct stream *s, uint32_t seq)
{
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        const struct hm_vv_entry *e =
            hm_member_live(m) ? hm_vector_find(m->vector, s->link.from) : NULL;
        if (e && e->seq >= seq)
            return true;
    }
    return false;
}

static void set_lost(struct hm_mesh *mesh, struct stream *s, uint32_t from, uint32_t to)
{
    uint64_t more = (uint64_t)(to - from) - (s->lost_to - s->lost_from);
    s->lost_from = from;
    s->lost_to = to;
    mesh->counters.abandoned += more;
    mesh->counters.orphaned += s->former ? 0 : more;
}

/* Deltas of a dead origin that nobody can connect to the state that remains are abandoned. Their
 * origin cannot count them: the last one who lets go of them does, so far as its peers' newest
 * beats tell that it is the last. Who lives counts for itself, and so does who has yielded. */
static void count_abandoned(struct hm_mesh *mesh, struct stream *s, uint32_t from, uint32_t was)
{
    const struct member *origin = hm_mesh_member_of(mesh, s->link.from);
    if (s->former && s->lost_to > from)
        set_lost(mesh, s, from, s->lost_to);
    if (s->renounced || s == mesh->stream[0] || (origin && hm_member_live(origin)))
        return;
    while (from < was && held_elsewhere(mesh, s, from + 1))
        from++;
    if (from < was)
        set_lost(mesh, s, from, was > s->lost_to ? was : s->lost_to);
}

/* What was counted as abandoned comes back. */
void hm_mesh_regain(struct hm_mesh *mesh, struct stream *s, uint32_t seq)
{
    if (seq > s->lost_from && s->lost_from < s->lost_to)
        set_lost(mesh, s, seq < s->lost_to ? seq : s->lost_to, s->lost_to);
}

static void move_to(struct hm_mesh *mesh, struct stream *s, const struct hm_vv_entry *to)
{
    uint32_t was = s->link.seq, kept = worth_keeping(s);
    if (to->seq > was) {
        mesh->counters.covered += to->seq - was;
        hm_mesh_regain(mesh, s, to->seq);
        clear_log(mesh, s);
    } else if (to->seq < was) {
        mesh->counters.undone += was - to->seq;
        count_abandoned(mesh, s, to->seq, was);
        if (to->seq < kept)
            hold_log(mesh, s);
        else
            trim_newest(mesh, s, to->seq);
    }
    s->link.seq = to->seq;
    s->link.steps = to->steps;
    s->flush = to->flush;
    s->digest = to->digest;
    s->head = s->head > to->seq ? s->head : to->seq;
    s->head = hm_mesh_sound(s, s->head);
    s->head = s->head > to->seq ? s->head : to->seq;
    s->stuck = false;
    s->want_at = 0;
    memset(s->nohave, 0, sizeof s->nohave);
    /* Own steps that are not published yet were made with weights that have since got what the
     * snapshot brought: the accumulation goes on, and starts where it started. Deltas that an
     * install takes back are taken back from W, too: they count as never seen. */
    hm_mesh_show_progress(mesh, s);
    hm_mesh_start_at_most_now(mesh, s);
    if (s->head > s->link.seq)
        hm_mesh_want(mesh, s, 50000);
}

/* ---- another life ---- */

static uint64_t next_life(struct hm_mesh *mesh)
{
    uint64_t life = mesh->params.life;
    do
        life = hm_mix(life ^ hm_mix(mesh->params.seed + 0x79696c64));
    while (!life || hm_mesh_stream(mesh, life) || hm_mesh_member_of(mesh, life));
    return life;
}

/* Puts the stream of another life in the own one's place. */
static bool change_own_stream(struct hm_mesh *mesh, uint64_t life)
{
    struct stream *old = mesh->stream[0], *own = hm_mesh_stream_make(mesh, life);
    if (!own)
        return false;
    uint16_t index = mesh->by_life[own->rank];
    mesh->stream[0] = own;
    mesh->stream[index] = old;
    mesh->by_life[own->rank] = 0;
    mesh->by_life[old->rank] = index;
    memcpy(own->link.label, old->link.label, sizeof own->link.label);
    return true;
}

static void forget_acknowledgements(struct hm_mesh *mesh)
{
    mesh->flush = 0;
    mesh->beat = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        struct member *m = &mesh->member[i];
        m->flush_acked = 0;
        m->hears_us = m->greeted = false;
        m->dials = 0;
        m->dial_us = mesh->now_us;
    }
}

void hm_mesh_say_yield(struct hm_mesh *mesh)
{
    if (!mesh->n_formers)
        return;
    size_t known = mesh->n_formers < FORMERS_MAX ? mesh->n_formers : FORMERS_MAX;
    const struct former *former = &mesh->former[mesh->beat % known];
    struct hm_header header = hm_mesh_header(mesh, HM_YIELD);
    header.life = former->life;
    header.yield = (struct hm_yield_head){mesh->params.life, former->seq, former->renounced};
    hm_mesh_broadcast(mesh, &header, NULL);
}

void hm_mesh_no_room(struct hm_mesh *mesh)
{
    hm_mesh_finish(mesh, HM_ENOMEM, "no room for one more life of this node in the vector");
}

/* From now on this process is another life: a new stream, beats from 1. Deltas of the old one from
 * `renounced` on are void, those before it stay valid where they are. Done nodes have one more
 * flush to publish. */
bool hm_mesh_renew(struct hm_mesh *mesh, uint32_t renounced)
{
    struct stream *old = mesh->stream[0];
    uint64_t was = mesh->params.life, life = next_life(mesh);
    if (!change_own_stream(mesh, life))
        return false;
    struct former *former = &mesh->former[mesh->n_formers++ % FORMERS_MAX];
    *former = (struct former){was, old->link.seq, renounced};
    old->former = true;
    old->renounced = renounced;
    old->head = old->link.seq;
    old->want_at = 0;
    mesh->params.life = life;
    mesh->counters.renewals++;
    forget_acknowledgements(mesh);
    hm_mesh_step_anew(mesh);
    hm_mesh_say_yield(mesh);
    mesh->beat_soon = true;
    mesh->drained = false;
    if (mesh->phase > HM_RUNNING)
        hm_mesh_enter(mesh, HM_RUNNING);
    return true;
}

static void publish_anew(struct hm_mesh *mesh, const struct hm_log_entry *entry, uint64_t steps)
{
    struct stream *own = mesh->stream[0];
    struct hm_header header = hm_mesh_header(mesh, HM_DELTA);
    const struct hm_decoded *decoded = hm_decode(mesh->decoder, &entry->head, entry->payload);
    assert(decoded); /* as it was when its content was added to the base */
    header.delta = entry->head;
    header.delta.stream = mesh->params.life;
    header.delta.lo = own->link.seq;
    header.delta.hi = own->link.seq + 1;
    header.delta.flush = own->flush + 1;
    header.delta.digest = own->digest + decoded->digest;
    header.delta.steps = own->link.steps + steps;
    header.delta.check = hm_delta_check(&header.delta, entry->payload->bytes, entry->payload->n);
    own->link.seq = own->head = header.delta.hi;
    own->digest = header.delta.digest;
    own->link.steps = header.delta.steps;
    own->flush += header.delta.last_piece;
    mesh->flush = own->flush;
    hm_mesh_log(mesh, own, hm_log_entry_new(&header.delta, hm_blob_share(entry->payload)));
    mesh->counters.published++;
    mesh->counters.renewed++;
    hm_mesh_broadcast(mesh, &header, hm_blob_share(entry->payload));
}

/* The payloads go out as they are: the vectors in them say what their gradients had seen. */
static void publish_log_anew(struct hm_mesh *mesh, struct hm_log *log)
{
    uint64_t before = log->steps_before;
    const struct hm_log_entry *entry;
    for (uint32_t seq = hm_log_oldest(log); (entry = hm_log_get(log, seq)) != NULL; seq++) {
        publish_anew(mesh, entry, entry->head.steps - before);
        before = entry->head.steps;
    }
    struct stream *own = mesh->stream[0];
    hm_mesh_show_progress(mesh, own);
    hm_mesh_start_at_now(mesh, own);
}

/* The own stream falls back to what the snapshot has of it; the hole in the log is lost work. */
static void yield(struct hm_mesh *mesh, const struct hm_vv_entry *to)
{
    struct stream *old = mesh->stream[0];
    uint32_t was = old->link.seq;
    struct hm_log log = old->log;
    mesh->log_bytes -= log.bytes;
    old->log = (struct hm_log){0};
    uint32_t renounced = log.n ? hm_log_oldest(&log) : HM_SEQ_MAX + 1;
    uint32_t lost = (log.n ? renounced - 1 : was) - to->seq;
    mesh->counters.undone -= was - to->seq; /* which move_to counts: it is about others' deltas */
    move_to(mesh, old, to);
    old->want_at = 0;
    old->lost_from = to->seq; /* the hole, which is counted from now on */
    old->lost_to = to->seq;
    if (mesh->params.without & HM_WITHOUT_RENEWAL) {
        old->head = old->link.seq;
        mesh->flush = old->flush;
    } else {
        if (!hm_mesh_renew(mesh, renounced))
            hm_mesh_no_room(mesh);
        set_lost(mesh, old, to->seq, to->seq + lost);
    }
    if (!mesh->finished)
        publish_log_anew(mesh, &log);
    hm_log_fini(&log);
    hm_mesh_note(mesh, HM_NOTE_WARNING,
                 "going on as life %016llx: what this node had published meanwhile did not fit "
                 "together with the mesh's; %u deltas are published anew, %u are abandoned",
                 (unsigned long long)mesh->params.life, mesh->stream[0]->link.seq, lost);
}

void hm_mesh_on_installed(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    const struct member *m = hm_mesh_member_of(mesh, f->server);
    hm_mesh_note(mesh, HM_NOTE_INFO, "took over the state of node %s", m ? m->label : "?");
    mesh->installing = false;
    mesh->counters.snapshots_installed++;
    for (size_t i = mesh->renewing; i < mesh->n_streams; i++) {
        struct stream *s = mesh->stream[i];
        struct hm_vv_entry to = adopted(s, entry_at(f->vv, f->n_vv, s->link.from));
        if (to.seq != s->link.seq)
            move_to(mesh, s, &to);
    }
    if (mesh->renewing) {
        struct hm_vv_entry to = entry_at(f->vv, f->n_vv, mesh->stream[0]->link.from);
        mesh->renewing = false;
        yield(mesh, &to);
    }
    hm_mesh_mark_idle(mesh);
    if (f->yielding) /* those were about another state */
        memset(mesh->decision, 0, sizeof mesh->decision);
    hm_mesh_stop_fetching(mesh, 0);
    mesh->beat_soon = true;
    hm_mesh_apply_next_held(mesh);
}

/* ---- others do ---- */

void hm_mesh_on_yield(struct hm_mesh *mesh, const struct hm_header *header)
{
    const struct hm_yield_head *y = &header->yield;
    struct stream *s = hm_mesh_stream_make(mesh, header->life);
    struct member *m = hm_mesh_member_of(mesh, header->life);
    if (!s) {
        mesh->counters.refused_overflow++;
        return;
    }
    if (!s->former && (!s->renounced || y->renounced < s->renounced)) {
        s->renounced = y->renounced;
        s->head = y->seq > s->link.seq ? y->seq : s->link.seq;
        if (s->head > s->link.seq)
            hm_mesh_want(mesh, s, hm_mesh_patience_us(mesh));
        if (s->link.seq >= s->renounced)
            mesh->fetch.due_us = mesh->fetch.step == FETCH_IDLE ? mesh->now_us : mesh->fetch.due_us;
    }
    if (m && !m->left) {
        hm_mesh_note(mesh, HM_NOTE_INFO, "node %s goes on as life %016llx", m->label,
                     (unsigned long long)y->successor);
        hm_mesh_succeed(mesh, m, y->successor);
    }
}
