/* Streams and version vectors: what is applied here, and how stale a delta was. */
#include "protocol/mesh_state.h"

#include <stdlib.h>
#include <string.h>

/* Index into by_life of the first stream whose life is not below. */
static size_t lower_bound(const struct hm_mesh *mesh, uint64_t life)
{
    size_t lo = 0, hi = mesh->n_streams;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (mesh->stream[mesh->by_life[mid]]->link.from < life)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct stream *hm_mesh_stream(const struct hm_mesh *mesh, uint64_t life)
{
    size_t i = lower_bound(mesh, life);
    if (i == mesh->n_streams || mesh->stream[mesh->by_life[i]]->link.from != life)
        return NULL;
    return mesh->stream[mesh->by_life[i]];
}

uint32_t hm_mesh_sound(const struct stream *s, uint32_t seq)
{
    return s->renounced && s->link.seq < s->renounced && seq >= s->renounced ? s->renounced - 1
                                                                             : seq;
}

static void show(struct hm_mesh *mesh, const struct stream *stream)
{
    mesh->now.seq[stream->rank] = stream->link.seq;
    mesh->now.flush[stream->rank] = stream->flush;
    mesh->now.steps[stream->rank] = stream->link.steps;
    mesh->now.digest[stream->rank] = stream->digest;
}

struct stream *hm_mesh_stream_make(struct hm_mesh *mesh, uint64_t life)
{
    struct stream *stream = hm_mesh_stream(mesh, life);
    if (stream || mesh->n_streams == HM_STREAMS_MAX)
        return stream;
    stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->link.from = life;
    const struct member *member = hm_mesh_member_of(mesh, life);
    if (member)
        memcpy(stream->link.label, member->label, sizeof member->label);
    size_t i = lower_bound(mesh, life);
    memmove(&mesh->by_life[i + 1], &mesh->by_life[i],
            (mesh->n_streams - i) * sizeof mesh->by_life[0]);
    hm_mesh_starts_insert(mesh, i);
    mesh->by_life[i] = (uint16_t)mesh->n_streams;
    mesh->stream[mesh->n_streams++] = stream;
    for (; i < mesh->n_streams; i++) { /* those behind it have moved */
        stream = mesh->stream[mesh->by_life[i]];
        stream->rank = (uint16_t)i;
        mesh->now.life[i] = stream->link.from;
        show(mesh, stream);
    }
    return mesh->stream[mesh->n_streams - 1];
}

void hm_mesh_show_progress(struct hm_mesh *mesh, const struct stream *stream)
{
    hm_mesh_starts_keep(mesh);
    show(mesh, stream);
}

size_t hm_mesh_vector(const struct hm_mesh *mesh, struct hm_vv_entry *vv)
{
    size_t n = 0;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[mesh->by_life[i]];
        if (s->link.seq)
            vv[n++] =
                (struct hm_vv_entry){s->link.from, s->link.seq, s->flush, s->link.steps, s->digest};
    }
    return n;
}

bool hm_mesh_same_vector(const struct hm_mesh *mesh, const struct hm_vector *vector)
{
    const struct hm_vv_entry *vv = vector ? vector->entry : NULL;
    size_t at = 0, n = vector ? vector->n : 0;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        if (!mesh->now.seq[i])
            continue;
        if (at == n || vv[at].life != mesh->now.life[i] || vv[at].seq != mesh->now.seq[i])
            return false;
        at++;
    }
    return at == n;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static uint64_t flushes_between(const uint32_t *a, const uint32_t *b, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    return sum;
}

static uint64_t steps_between(const uint64_t *a, const uint64_t *b, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += distance(a[i], b[i]);
    return sum;
}

/* The same where one of the two knows streams that the other does not. */
static void measure_unlike(const struct hm_mesh *mesh, const struct hm_starts *start,
                           uint64_t *flushes, uint64_t *steps)
{
    const struct columns *now = &mesh->now;
    size_t at = 0;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        for (; at < start->n && start->life[at] < now->life[i]; at++) {
            *flushes += start->flush[at];
            *steps += start->steps[at];
        }
        bool listed = at < start->n && start->life[at] == now->life[i];
        *flushes += distance(listed ? start->flush[at] : 0, now->flush[i]);
        *steps += distance(listed ? start->steps[at] : 0, now->steps[i]);
        at += listed;
    }
    for (; at < start->n; at++) {
        *flushes += start->flush[at];
        *steps += start->steps[at];
    }
}

/* Size of the symmetric difference between what the origin had applied when it began to accumulate
 * and what is applied here now, just before its delta is. Sets of applied deltas are prefixes of
 * streams, so the difference is a sum of distances, exactly: over the streams the origin lists, and
 * over those that only we know. */
void hm_mesh_measure_staleness(struct hm_mesh *mesh, struct stream *stream,
                               const struct hm_starts *start)
{
    uint64_t flushes = 0, steps = mesh->own_steps;
    size_t n = mesh->n_streams;
    if (start->n == n && memcmp(start->life, mesh->now.life, n * sizeof start->life[0]) == 0) {
        flushes += flushes_between(start->flush, mesh->now.flush, n);
        steps += steps_between(start->steps, mesh->now.steps, n);
    } else {
        measure_unlike(mesh, start, &flushes, &steps);
    }
    hm_tally_add(&stream->link.flushes, flushes);
    hm_tally_add(&stream->link.step, steps);
}
