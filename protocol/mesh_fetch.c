/* State transfer, the taking side: finds out that deltas alone do not help any more, asks somebody
 * for a snapshot, pulls it chunk by chunk. Nobody stops working meanwhile; nothing here changes
 * until the whole has passed its checks. */
#include "protocol/mesh_state.h"

#include <stdlib.h>
#include <string.h>

enum {
    JOIN_LAG = 64,      /* deltas that a joiner fetches one by one, */
    RUN_LAG = 1024,     /* and a node that trains */
    ASKS_MAX = 5,       /* of one node without an answer */
    RETRY_US = 150000,  /* until another is asked */
    LATER_US = 1000000, /* until the same is asked again that said no */
    SILENT_US = 4000000,
    LAG_CHECK_US = 250000,
    BAD_MAX = 3, /* chunks that fail, until the snapshot does */
    CALM_US = 4000000,
};

/* ---- why ---- */

const struct hm_vv_entry *hm_mesh_entry(const struct hm_vv_entry *vv, size_t n, uint64_t life)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (vv[mid].life < life)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && vv[lo].life == life ? &vv[lo] : NULL;
}

static uint64_t missing(const struct hm_mesh *mesh)
{
    uint64_t n = 0;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        n += s->head > s->link.seq ? s->head - s->link.seq : 0;
    }
    return n;
}

/* Bytes of so many deltas, by those in the logs; 0: no idea. */
static uint64_t bytes_of(const struct hm_mesh *mesh, uint64_t n_deltas)
{
    uint64_t n = 0;
    for (size_t i = 0; i < mesh->n_streams; i++)
        n += mesh->stream[i]->log.n;
    return n ? mesh->log_bytes / n * n_deltas : 0;
}

static bool lags(const struct hm_mesh *mesh)
{
    bool joins = mesh->phase == HM_JOINING;
    if (joins && !mesh->goal_marked)
        return false; /* who has what is not known yet */
    uint64_t n = missing(mesh), bytes = bytes_of(mesh, n);
    uint64_t model = hm_layout_n(mesh->params.layout) * sizeof(uint32_t);
    return n > (joins ? JOIN_LAG : RUN_LAG) && (!bytes || bytes > model);
}

static bool stuck(const struct hm_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_streams; i++)
        if (mesh->stream[i]->stuck && mesh->stream[i]->head > mesh->stream[i]->link.seq)
            return true;
    return false;
}

bool hm_mesh_needs_void_gone(const struct hm_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_streams; i++)
        if (mesh->stream[i]->renounced && mesh->stream[i]->link.seq >= mesh->stream[i]->renounced)
            return true;
    return false;
}

enum need { NOTHING, CATCH_UP, MUST };

static enum need need(const struct hm_mesh *mesh)
{
    if (mesh->phase == HM_EXITING || mesh->leaving || mesh->withdrawn)
        return NOTHING;
    if (stuck(mesh) || hm_mesh_needs_void_gone(mesh))
        return MUST;
    return lags(mesh) ? CATCH_UP : NOTHING;
}

/* Who needs another's state keeps its own steps to itself for that time; nothing is lost by that.
 * Where logs last for less than it takes to get a state, each delta more would push out what joins
 * the two, one after the other would give way, and what they publish anew would make it worse. */
bool hm_mesh_keeps_calm(struct hm_mesh *mesh)
{
    if (need(mesh) != MUST)
        mesh->fetch.calm_us = 0;
    else if (!mesh->fetch.calm_us)
        mesh->fetch.calm_us = mesh->now_us;
    return mesh->fetch.calm_us && mesh->now_us - mesh->fetch.calm_us < CALM_US;
}

/* ---- whom to ask ---- */

/* What a member's newest beat promises beyond what is here; 0: nothing that would help. */
static uint64_t worth(const struct hm_mesh *mesh, const struct member *m)
{
    uint64_t sum = 0;
    bool void_here = hm_mesh_needs_void_gone(mesh);
    if (!hm_member_live(m) || m->phase == HM_JOINING || !m->vector)
        return 0;
    for (size_t i = 0; i < m->vector->n; i++) {
        const struct stream *s = hm_mesh_stream(mesh, m->vector->entry[i].life);
        uint32_t seq = m->vector->entry[i].seq;
        if (s && !void_here)
            seq = hm_mesh_sound(s, seq);
        sum += s && seq > s->link.seq ? seq - s->link.seq : 0;
    }
    /* Without what is void is worth as much as with more. */
    if (void_here && !hm_mesh_holds_void(mesh, m->vector->entry, m->vector->n))
        sum++;
    return sum;
}

static bool avoided(const struct hm_mesh *mesh, uint64_t life)
{
    for (size_t i = 0; i < AVOIDED_MAX; i++)
        if (mesh->fetch.avoid[i].life == life && mesh->now_us < mesh->fetch.avoid[i].until_us)
            return true;
    return false;
}

static void avoid(struct hm_mesh *mesh, uint64_t life, uint64_t us)
{
    struct fetch *f = &mesh->fetch;
    f->avoid[f->n_avoided++ % AVOIDED_MAX].life = life;
    f->avoid[(f->n_avoided - 1) % AVOIDED_MAX].until_us = mesh->now_us + us;
}

static unsigned choose(struct hm_mesh *mesh)
{
    unsigned candidate[MEMBERS_MAX], n = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (worth(mesh, &mesh->member[i]) && !avoided(mesh, mesh->member[i].life))
            candidate[n++] = i;
    return n ? candidate[(mesh->fetch.attempts++ + mesh->params.life) % n] : MEMBERS_MAX;
}

static struct member *server(struct hm_mesh *mesh)
{
    struct member *m = hm_mesh_member_of(mesh, mesh->fetch.server);
    return m && hm_member_live(m) ? m : NULL;
}

static void send_to(struct hm_mesh *mesh, const struct member *m, const struct hm_header *header,
                    struct hm_blob *payload)
{
    hm_mesh_send(mesh, (unsigned)(m - mesh->member), header, payload);
}

void hm_mesh_stop_fetching(struct hm_mesh *mesh, uint64_t pause_us)
{
    struct fetch *f = &mesh->fetch;
    free(f->base);
    free(f->got);
    f->base = NULL;
    f->got = NULL;
    f->step = FETCH_IDLE;
    f->server = 0;
    f->n_vv = 0;
    f->due_us = mesh->now_us + pause_us;
}

static void ask(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    const struct member *m = server(mesh);
    if (!m || f->asks == ASKS_MAX) {
        if (m)
            avoid(mesh, m->life, LATER_US);
        hm_mesh_stop_fetching(mesh, RETRY_US);
        return;
    }
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    size_t n = hm_mesh_vector(mesh, vv);
    struct hm_blob *payload = hm_blob_new(HM_VECTOR_BOUND(n));
    if (payload) {
        struct hm_header header = hm_mesh_header(mesh, HM_STATE_REQ);
        header.state_req.decide = f->decide;
        payload = hm_blob_shrink(payload, hm_vector_encode(vv, n, payload->bytes));
        send_to(mesh, m, &header, payload);
    }
    uint64_t wait = hm_mesh_patience_us(mesh) << f->asks++;
    f->due_us = mesh->now_us + wait + hm_rng_below(&mesh->rng, (uint32_t)wait / 2);
}

static void begin(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    unsigned slot = choose(mesh);
    if (!f->vv)
        f->vv = malloc(HM_STREAMS_MAX * sizeof *f->vv);
    if (slot == MEMBERS_MAX || !f->vv) {
        f->due_us = mesh->now_us + RETRY_US;
        return;
    }
    f->server = mesh->member[slot].life;
    f->step = FETCH_ASKED;
    f->asks = 0;
    f->decide = f->yielding = false;
    ask(mesh);
}

/* ---- the answer ---- */

/* A snapshot that contradicts itself or us is told by name and asked of somebody else. */
static void refuse(struct hm_mesh *mesh, const char *why)
{
    const struct member *m = hm_mesh_member_of(mesh, mesh->fetch.server);
    mesh->counters.snapshots_refused++;
    hm_mesh_note(mesh, HM_NOTE_WARNING, "refused the state of node %s: %s; asking another node",
                 m ? m->label : "?", why);
    avoid(mesh, mesh->fetch.server, 10 * LATER_US);
    hm_mesh_stop_fetching(mesh, RETRY_US);
}

static bool consistent(const struct hm_mesh *mesh, const struct hm_state_meta_head *meta,
                       const struct hm_vv_entry *vv, size_t n)
{
    uint64_t digest = mesh->params.digest0, steps = 0;
    uint32_t n_blocks = mesh->params.layout->n_blocks;
    for (size_t i = 0; i < n; i++) {
        digest += vv[i].digest;
        steps += vv[i].steps;
    }
    return digest == meta->digest && steps == meta->steps &&
           (uint64_t)(meta->n_chunks - 1) * meta->chunk_blocks < n_blocks &&
           (uint64_t)meta->n_chunks * meta->chunk_blocks >= n_blocks;
}

/* Where both know a delta of a stream, they know the same one. */
static bool agrees(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct stream *s = hm_mesh_stream(mesh, vv[i].life);
        const struct hm_log_entry *entry = s ? hm_log_get(&s->log, vv[i].seq) : NULL;
        if (entry && (entry->head.digest != vv[i].digest || entry->head.steps != vv[i].steps))
            return false;
        if (s && s == mesh->stream[0] && vv[i].seq > s->link.seq)
            return false; /* nobody has more of our own stream than we */
    }
    return true;
}

/* The first byte beyond B of every vector that we may adopt: room for all its streams. */
static bool has_room(struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!hm_mesh_stream_make(mesh, vv[i].life))
            return false;
    return mesh->n_streams < HM_STREAMS_MAX; /* one more, should we go on as another life */
}

/* Scratch for chunks of so many blocks, both ways; it stays. */
int hm_mesh_chunk_room(struct hm_mesh *mesh, uint32_t n_blocks)
{
    if (!mesh->chunk_scratch)
        mesh->chunk_scratch = malloc(HM_RAW_MAX);
    if (mesh->chunk_delta.capacity < n_blocks) {
        hm_delta_fini(&mesh->chunk_delta);
        if (hm_delta_init(&mesh->chunk_delta, n_blocks, NULL))
            return -1;
    }
    return mesh->chunk_scratch ? 0 : -1;
}

static bool allocate(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    f->base = calloc(hm_layout_n(mesh->params.layout), sizeof *f->base);
    f->got = calloc(f->meta.n_chunks, 1);
    return f->base && f->got && !hm_mesh_chunk_room(mesh, f->meta.chunk_blocks);
}

static void fetch(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    const struct member *m = server(mesh);
    f->n_got = f->next = f->n_bad = 0;
    memset(f->window, 0, sizeof f->window);
    if (!allocate(mesh)) {
        hm_mesh_stop_fetching(mesh, LATER_US);
        return;
    }
    f->step = FETCH_CHUNKS;
    f->heard_us = f->due_us = mesh->now_us;
    hm_mesh_note(mesh, HM_NOTE_INFO, "taking the state of node %s: %s", m->label,
                 f->yielding ? "what is missing is in nobody's log any more, and of the two of us "
                               "this node gives way"
                 : need(mesh) == MUST ? "what is missing is in nobody's log any more"
                                      : "that is less than the deltas that are missing");
}

/* When nothing is lost by adopting, or it has been decided that we give way, the chunks are
 * fetched. Otherwise one of the two decides: who has the higher life. */
static void weigh(struct hm_mesh *mesh, bool told_to_adopt)
{
    struct fetch *f = &mesh->fetch;
    bool both_void = hm_mesh_needs_void_gone(mesh) && hm_mesh_holds_void(mesh, f->vv, f->n_vv);
    bool loses = both_void || hm_mesh_would_lose(mesh, f->vv, f->n_vv);
    if (mesh->params.without & HM_WITHOUT_ARBITER)
        told_to_adopt = true;
    if (!loses || told_to_adopt) {
        f->yielding = loses;
        fetch(mesh);
        return;
    }
    bool decided_here = mesh->params.life > f->server;
    if (need(mesh) != MUST ||
        (decided_here && hm_mesh_peer_gives_way(mesh, f->server, f->vv, f->n_vv))) {
        avoid(mesh, f->server, LATER_US);
        hm_mesh_stop_fetching(mesh, RETRY_US);
    } else if (decided_here) {
        f->yielding = true;
        fetch(mesh);
    } else if (!f->decide) {
        f->decide = true;
        f->asks = 0;
        ask(mesh);
    }
}

void hm_mesh_on_state_meta(struct hm_mesh *mesh, const struct hm_event *event,
                           const struct hm_header *header)
{
    struct fetch *f = &mesh->fetch;
    const struct hm_state_meta_head *meta = &header->state_meta;
    const struct hm_blob *payload = event->message.payload;
    if (header->life != f->server || f->step == FETCH_IDLE || !server(mesh))
        return;
    if (meta->verdict > HM_STATE_ADOPT) {
        if (f->step == FETCH_CHUNKS && meta->verdict != HM_STATE_GONE)
            return; /* an answer to an earlier question */
        if (meta->verdict != HM_STATE_GONE)
            avoid(mesh, f->server, LATER_US);
        hm_mesh_stop_fetching(mesh, RETRY_US);
        return;
    }
    if (f->step != FETCH_ASKED)
        return;
    if (!payload || hm_vector_decode(payload->bytes, payload->n, f->vv, HM_STREAMS_MAX, &f->n_vv)) {
        mesh->counters.refused_malformed++;
        return;
    }
    f->meta = *meta;
    bool trusting = mesh->params.without & HM_WITHOUT_DIGEST;
    if (!trusting && meta->id != hm_snapshot_id(payload->bytes, payload->n)) {
        refuse(mesh, "its vector fails its check");
    } else if (!has_room(mesh, f->vv, f->n_vv)) {
        mesh->counters.refused_overflow++;
        hm_mesh_stop_fetching(mesh, LATER_US);
    } else if (!trusting &&
               (!consistent(mesh, meta, f->vv, f->n_vv) || !agrees(mesh, f->vv, f->n_vv))) {
        refuse(mesh, "its vector and its digest contradict each other or this node");
    } else {
        weigh(mesh, meta->verdict == HM_STATE_ADOPT);
    }
}

/* ---- chunks ---- */

static void request(struct hm_mesh *mesh, const struct member *m, struct wanted_chunk *w)
{
    struct hm_header header = hm_mesh_header(mesh, HM_CHUNK_REQ);
    header.chunk_req = (struct hm_chunk_req_head){mesh->fetch.meta.id, w->chunk};
    send_to(mesh, m, &header, NULL);
    uint64_t wait = hm_mesh_patience_us(mesh) << (w->tries < 4 ? w->tries : 4);
    w->tries++;
    w->due_us = mesh->now_us + wait + hm_rng_below(&mesh->rng, (uint32_t)wait / 2);
}

/* Keeps the window full, and asks again for what is overdue. */
static void pull(struct hm_mesh *mesh, const struct member *m)
{
    struct fetch *f = &mesh->fetch;
    f->due_us = UINT64_MAX;
    for (unsigned i = 0; i < FETCH_WINDOW; i++) {
        struct wanted_chunk *w = &f->window[i];
        if ((!w->tries || f->got[w->chunk]) && f->next < f->meta.n_chunks)
            *w = (struct wanted_chunk){.chunk = f->next++, .due_us = mesh->now_us};
        else if (!w->tries || f->got[w->chunk])
            continue;
        if (mesh->now_us >= w->due_us)
            request(mesh, m, w);
        f->due_us = w->due_us < f->due_us ? w->due_us : f->due_us;
    }
}

static void complete(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    uint64_t digest = mesh->params.kernels->digest_dense(f->base, mesh->params.layout->n_blocks);
    if (digest != f->meta.digest && !(mesh->params.without & HM_WITHOUT_DIGEST)) {
        refuse(mesh, "its bytes fail their digest");
        return;
    }
    f->step = FETCH_READY;
    f->due_us = mesh->now_us;
}

void hm_mesh_on_chunk(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header)
{
    struct fetch *f = &mesh->fetch;
    const struct hm_chunk_head *head = &header->chunk;
    const struct hm_blob *payload = event->message.payload;
    if (f->step != FETCH_CHUNKS || header->life != f->server || head->id != f->meta.id ||
        head->chunk >= f->meta.n_chunks || f->got[head->chunk])
        return;
    uint32_t all = mesh->params.layout->n_blocks, some = f->meta.chunk_blocks,
             block = head->chunk * some;
    if (hm_unpack_chunk(mesh->params.kernels, mesh->params.layout, head,
                        payload ? payload->bytes : NULL, payload ? payload->n : 0, block,
                        all - block < some ? all - block : some, mesh->chunk_scratch,
                        &mesh->chunk_delta, f->base)) {
        mesh->counters.refused_malformed++;
        if (++f->n_bad == BAD_MAX)
            refuse(mesh, "its chunks cannot be read");
        return; /* it will be asked for again */
    }
    f->got[head->chunk] = 1;
    f->heard_us = mesh->now_us;
    const struct member *m = server(mesh);
    if (++f->n_got == f->meta.n_chunks)
        complete(mesh);
    else if (m)
        pull(mesh, m);
}

/* ---- in time ---- */

/* Nothing may be the matter any more: the deltas came after all. */
static bool in_vain(const struct hm_mesh *mesh)
{
    return need(mesh) == NOTHING;
}

static void go_on_fetching(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    const struct member *m = server(mesh);
    if (in_vain(mesh)) {
        hm_mesh_stop_fetching(mesh, LAG_CHECK_US);
    } else if (!m || mesh->now_us - f->heard_us > SILENT_US) {
        if (m)
            avoid(mesh, m->life, LATER_US);
        hm_mesh_stop_fetching(mesh, RETRY_US);
    } else {
        pull(mesh, m);
    }
}

void hm_mesh_tick_fetch(struct hm_mesh *mesh)
{
    struct fetch *f = &mesh->fetch;
    if (mesh->now_us < f->due_us || mesh->params.without & HM_WITHOUT_REPAIR)
        return;
    switch (f->step) {
    case FETCH_IDLE:
        if (need(mesh) == NOTHING)
            f->due_us = mesh->now_us + LAG_CHECK_US;
        else
            begin(mesh);
        break;
    case FETCH_ASKED:
        if (in_vain(mesh))
            hm_mesh_stop_fetching(mesh, LAG_CHECK_US);
        else
            ask(mesh);
        break;
    case FETCH_CHUNKS:
        go_on_fetching(mesh);
        break;
    case FETCH_READY:
        if (in_vain(mesh))
            hm_mesh_stop_fetching(mesh, LAG_CHECK_US);
        else
            hm_mesh_install(mesh);
        break;
    }
}

uint64_t hm_mesh_fetch_wake_us(const struct hm_mesh *mesh)
{
    return mesh->fetch.step == FETCH_IDLE ? UINT64_MAX : mesh->fetch.due_us;
}

/* What a snapshot on its way will bring need not be asked for. */
bool hm_mesh_fetches(const struct hm_mesh *mesh, const struct stream *stream)
{
    if (mesh->fetch.step < FETCH_CHUNKS)
        return false;
    const struct hm_vv_entry *e =
        hm_mesh_entry(mesh->fetch.vv, mesh->fetch.n_vv, stream->link.from);
    return e && e->seq > stream->link.seq;
}
