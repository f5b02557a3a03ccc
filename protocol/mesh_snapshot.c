/* State transfer, the giving side: a consistent cut of B, kept while somebody fetches it, and who
 * of two gives way when their logs do not meet. */
#include "protocol/mesh_state.h"

#include <stdlib.h>
#include <string.h>

enum {
    FRESH_US = 1000000,   /* a snapshot is shared for so long whatever the asker misses */
    UNUSED_US = 4000000,  /* and dropped when nobody has asked for so long */
    DECIDED_US = 3000000, /* a decision holds, for both to act on it */
    CHUNK_BLOCKS = 2048,
};

/* ---- who gives way ---- */

struct lead {
    uint64_t ours, theirs; /* deltas that the other does not have */
    bool first_ours;       /* it is we who lead in the stream of the highest life */
};

static struct lead lead_of(const struct hm_vv_entry *own, size_t n_own,
                           const struct hm_vv_entry *vv, size_t n)
{
    struct lead lead = {0};
    for (size_t i = 0, k = 0; i < n_own || k < n;) {
        bool has_own = i < n_own && (k == n || own[i].life <= vv[k].life),
             has_vv = k < n && (i == n_own || vv[k].life <= own[i].life);
        uint32_t ours = has_own ? own[i].seq : 0, theirs = has_vv ? vv[k].seq : 0;
        lead.ours += ours > theirs ? ours - theirs : 0;
        lead.theirs += theirs > ours ? theirs - ours : 0;
        lead.first_ours = ours == theirs ? lead.first_ours : ours > theirs;
        i += has_own;
        k += has_vv;
    }
    return lead;
}

/* Where one of the two has done more than twice as much as the other since they parted, who has
 * done less gives way. Otherwise what is compared must not change while both go on, nor depend on
 * whom of a side one asks: pairs of nodes that decide differently would have both sides give way.
 */
static bool they_give_way(struct lead lead)
{
    if (lead.ours > 2 * lead.theirs || lead.theirs > 2 * lead.ours)
        return lead.theirs < lead.ours;
    return lead.first_ours;
}

/* Whether a vector holds deltas that their origin has renounced: they come anew in another stream,
 * so whoever has them must not keep them. */
bool hm_mesh_holds_void(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct stream *s = hm_mesh_stream(mesh, vv[i].life);
        if (s && s->renounced && vv[i].seq >= s->renounced)
            return true;
    }
    return false;
}

static struct decision *decision_on(struct hm_mesh *mesh, uint64_t peer)
{
    for (size_t i = 0; i < DECISIONS_MAX; i++)
        if (mesh->decision[i].peer == peer)
            return &mesh->decision[i];
    struct decision *d = &mesh->decision[mesh->n_decisions++ % DECISIONS_MAX];
    *d = (struct decision){.peer = peer};
    return d;
}

/* Of two nodes whose logs do not meet one gives way, and this node, having the higher life, decides
 * which. Both must hear the same while they act on it, though vectors grow; only that one of them
 * holds void deltas overturns it. */
bool hm_mesh_peer_gives_way(struct hm_mesh *mesh, uint64_t peer, const struct hm_vv_entry *vv,
                            size_t n)
{
    struct hm_vv_entry own[HM_STREAMS_MAX];
    size_t n_own = hm_mesh_vector(mesh, own);
    bool we_void = hm_mesh_holds_void(mesh, own, n_own),
         they_void = hm_mesh_holds_void(mesh, vv, n);
    struct decision *d = decision_on(mesh, peer);
    if (d->made && mesh->now_us - d->made_us < DECIDED_US && d->we_void == we_void &&
        d->they_void == they_void)
        return d->peer_gives_way;
    d->made = true;
    d->made_us = mesh->now_us;
    d->we_void = we_void;
    d->they_void = they_void;
    d->peer_gives_way =
        we_void != they_void ? they_void : they_give_way(lead_of(own, n_own, vv, n));
    return d->peer_gives_way;
}

/* ---- the cut ---- */

void hm_mesh_drop_snapshot(struct hm_mesh *mesh)
{
    struct snapshot *snapshot = &mesh->snapshot;
    hm_blob_drop(snapshot->base);
    hm_blob_drop(snapshot->vector);
    free(snapshot->vv);
    *snapshot = (struct snapshot){.base = NULL};
}

static uint32_t seq_in(const struct hm_vv_entry *vv, size_t n, uint64_t life)
{
    const struct hm_vv_entry *e = hm_mesh_entry(vv, n, life);
    return e ? e->seq : 0;
}

/* Whether somebody at vector vv gets all that we have from the snapshot and our logs, without going
 * back on anything on the way. */
static bool leads_here(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    const struct snapshot *snapshot = &mesh->snapshot;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        uint32_t theirs = seq_in(vv, n, s->link.from),
                 cut = seq_in(snapshot->vv, snapshot->n_vv, s->link.from);
        uint32_t from = theirs > cut ? theirs : cut;
        uint32_t common = theirs < s->link.seq ? theirs : s->link.seq;
        if (cut < common || (from < s->link.seq && !hm_log_get(&s->log, from + 1)))
            return false;
    }
    return true;
}

static bool may_share(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n)
{
    const struct snapshot *snapshot = &mesh->snapshot;
    if (!snapshot->base)
        return false;
    return mesh->now_us - snapshot->cut_us <= FRESH_US || leads_here(mesh, vv, n);
}

static void answer(struct hm_mesh *mesh, const struct hm_event *request, enum hm_verdict verdict)
{
    struct hm_header header = hm_mesh_header(mesh, HM_STATE_META);
    header.state_meta = (struct hm_state_meta_head){.verdict = (uint8_t)verdict};
    hm_mesh_reply(mesh, request, &header, NULL);
}

static void give(struct hm_mesh *mesh, const struct hm_event *request, bool adopt)
{
    struct snapshot *snapshot = &mesh->snapshot;
    struct hm_header header = hm_mesh_header(mesh, HM_STATE_META);
    header.state_meta = snapshot->meta;
    header.state_meta.verdict = adopt ? HM_STATE_ADOPT : HM_STATE_GIVEN;
    snapshot->used_us = mesh->now_us;
    hm_mesh_reply(mesh, request, &header, hm_blob_share(snapshot->vector));
}

/* Remembers who asks until the copy is made. Who finds no place asks again. */
static void queue(struct hm_mesh *mesh, const struct hm_event *event, bool adopt)
{
    if (mesh->n_askers == ASKERS_MAX)
        return;
    struct asker *asker = &mesh->asker[mesh->n_askers++];
    memcpy(asker->route, event->message.route, event->message.route_n);
    asker->route_n = event->message.route_n;
    asker->adopt = adopt;
    if (mesh->n_askers == 1)
        hm_mesh_act(mesh, HM_ACT_SNAPSHOT);
}

void hm_mesh_on_state_req(struct hm_mesh *mesh, const struct hm_event *event,
                          const struct hm_header *header)
{
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    size_t n;
    const struct hm_blob *payload = event->message.payload;
    if (!payload || hm_vector_decode(payload->bytes, payload->n, vv, HM_STREAMS_MAX, &n)) {
        mesh->counters.refused_malformed++;
        return;
    }
    bool decide = header->state_req.decide && mesh->params.life > header->life,
         adopt = decide && hm_mesh_peer_gives_way(mesh, header->life, vv, n);
    if (mesh->phase == HM_JOINING || mesh->installing || mesh->withdrawn)
        answer(mesh, event, HM_STATE_NOT_NOW);
    else if (decide && !adopt)
        answer(mesh, event, HM_STATE_KEEP);
    else if (may_share(mesh, vv, n))
        give(mesh, event, adopt);
    else
        queue(mesh, event, adopt);
}

static struct hm_event request_of(struct asker *asker)
{
    return (struct hm_event){.message = {.route = asker->route, .route_n = asker->route_n}};
}

static void answer_all(struct hm_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_askers; i++) {
        struct hm_event request = request_of(&mesh->asker[i]);
        if (mesh->snapshot.base)
            give(mesh, &request, mesh->asker[i].adopt);
        else
            answer(mesh, &request, HM_STATE_NOT_NOW);
    }
    mesh->n_askers = 0;
}

/* The driver has copied B between two other actions, so the copy is what the vector says now. */
void hm_mesh_on_snapshot(struct hm_mesh *mesh, struct hm_blob *base)
{
    struct snapshot *snapshot = &mesh->snapshot;
    uint32_t n_blocks = mesh->params.layout->n_blocks;
    size_t bytes = hm_layout_n(mesh->params.layout) * sizeof(uint32_t);
    hm_mesh_drop_snapshot(mesh);
    snapshot->vv = base && base->n == bytes ? malloc(HM_STREAMS_MAX * sizeof *snapshot->vv) : NULL;
    snapshot->vector = hm_blob_new(HM_VECTOR_BOUND(HM_STREAMS_MAX));
    if (!snapshot->vv || !snapshot->vector) {
        hm_mesh_drop_snapshot(mesh);
        hm_blob_drop(base);
        answer_all(mesh);
        return;
    }
    uint64_t digest =
        mesh->params.kernels->digest_dense((const uint32_t *)(const void *)base->bytes, n_blocks);
    if (!hm_mesh_check_base(mesh, digest, hm_mesh_digest(mesh))) {
        hm_mesh_drop_snapshot(mesh);
        hm_blob_drop(base);
        mesh->n_askers = 0;
        return;
    }
    uint32_t chunk = mesh->params.chunk_blocks ? mesh->params.chunk_blocks : CHUNK_BLOCKS;
    snapshot->base = base;
    snapshot->n_vv = hm_mesh_vector(mesh, snapshot->vv);
    snapshot->cut_us = mesh->now_us;
    size_t n = hm_vector_encode(snapshot->vv, snapshot->n_vv, snapshot->vector->bytes);
    snapshot->vector = hm_blob_shrink(snapshot->vector, n);
    snapshot->meta = (struct hm_state_meta_head){.id = hm_snapshot_id(snapshot->vector->bytes, n),
                                                 .n_chunks = (n_blocks + chunk - 1) / chunk,
                                                 .chunk_blocks = chunk,
                                                 .digest = digest,
                                                 .steps = hm_mesh_steps(mesh)};
    mesh->counters.snapshots_cut++;
    answer_all(mesh);
}

/* ---- chunks ---- */

static struct hm_blob *pack_chunk(struct hm_mesh *mesh, uint32_t block, uint32_t n_blocks,
                                  struct hm_chunk_head *head)
{
    const uint32_t *b = (const uint32_t *)(const void *)mesh->snapshot.base->bytes;
    if (hm_mesh_chunk_room(mesh, n_blocks))
        return NULL;
    struct hm_blob *payload = hm_blob_new(hm_pack_bound(n_blocks, n_blocks));
    if (!payload)
        return NULL;
    long n = hm_pack_chunk(mesh->params.kernels, b, block, n_blocks, payload->bytes,
                           mesh->chunk_scratch, &mesh->chunk_delta, head);
    if (n >= 0)
        return hm_blob_shrink(payload, (size_t)n);
    hm_blob_drop(payload);
    return NULL;
}

/* Under a bandwidth budget a chunk waits until there is budget: the asker asks again. */
void hm_mesh_on_chunk_req(struct hm_mesh *mesh, const struct hm_event *event,
                          const struct hm_header *header)
{
    struct snapshot *snapshot = &mesh->snapshot;
    if (!snapshot->base || header->chunk_req.id != snapshot->meta.id ||
        header->chunk_req.chunk >= snapshot->meta.n_chunks) {
        answer(mesh, event, HM_STATE_GONE);
        return;
    }
    snapshot->used_us = mesh->now_us;
    if (!hm_mesh_may_serve(mesh))
        return;
    uint32_t all = mesh->params.layout->n_blocks, some = snapshot->meta.chunk_blocks,
             block = header->chunk_req.chunk * some;
    struct hm_header reply = hm_mesh_header(mesh, HM_CHUNK);
    reply.chunk.id = snapshot->meta.id;
    reply.chunk.chunk = header->chunk_req.chunk;
    struct hm_blob *payload =
        pack_chunk(mesh, block, all - block < some ? all - block : some, &reply.chunk);
    if (!payload) {
        answer(mesh, event, HM_STATE_GONE); /* beyond the codec, or no memory: nothing to fetch */
        return;
    }
    hm_mesh_reply(mesh, event, &reply, payload);
    mesh->counters.chunks_served++;
}

void hm_mesh_tick_snapshot(struct hm_mesh *mesh)
{
    if (mesh->snapshot.base && mesh->now_us - mesh->snapshot.used_us > UNUSED_US)
        hm_mesh_drop_snapshot(mesh);
}
