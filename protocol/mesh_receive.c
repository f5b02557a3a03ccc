/* Deltas of others: in order, once, checked before anything changes. */
#include "protocol/mesh_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void drop_held(struct hm_mesh *mesh, struct stream *stream, size_t i)
{
    mesh->held_bytes -= stream->held[i].payload ? stream->held[i].payload->n : 0;
    hm_blob_drop(stream->held[i].payload);
    stream->held[i] = stream->held[--stream->n_held];
}

void hm_mesh_drop_held(struct hm_mesh *mesh, struct stream *stream)
{
    while (stream->n_held)
        drop_held(mesh, stream, stream->n_held - 1);
}

static size_t farthest_held(const struct stream *stream)
{
    size_t far = 0;
    for (size_t i = 1; i < stream->n_held; i++)
        if (stream->held[i].head.hi > stream->held[far].head.hi)
            far = i;
    return far;
}

/* Room for one more of so many bytes; when the stream has as many as it may, a nearer delta
 * replaces the farthest: the near ones are needed first. */
static bool make_room(struct hm_mesh *mesh, struct stream *stream, uint32_t hi, size_t bytes)
{
    if (stream->n_held == HELD_MAX) {
        size_t far = farthest_held(stream);
        if (stream->held[far].head.hi < hi)
            return false;
        drop_held(mesh, stream, far);
        mesh->counters.refused_overflow++;
    }
    return mesh->held_bytes + bytes <= HELD_BYTES_MAX;
}

/* Keeps a delta that came before those it follows. When there is no room it is dropped: it will be
 * asked for. */
bool hm_mesh_hold(struct hm_mesh *mesh, struct stream *stream, const struct hm_delta_head *head,
                  struct hm_blob *payload)
{
    size_t bytes = payload ? payload->n : 0;
    for (size_t i = 0; i < stream->n_held; i++)
        if (stream->held[i].head.hi == head->hi) {
            mesh->counters.duplicates++;
            return false;
        }
    if (!stream->held)
        stream->held = malloc(HELD_MAX * sizeof *stream->held);
    if (!stream->held || !make_room(mesh, stream, head->hi, bytes)) {
        mesh->counters.refused_overflow++;
        return false;
    }
    stream->held[stream->n_held++] = (struct held){*head, hm_blob_share(payload)};
    mesh->held_bytes += bytes;
    mesh->counters.held++;
    return true;
}

/* What a bit may have flipped in is not believed in any of its parts: whatever it says of a stream
 * has to come from somewhere else. When that is true, what is missing shows by the next delta or
 * beat, as if this one had been lost. */
static bool refuse_damaged(struct hm_mesh *mesh, const struct hm_delta_head *head,
                           struct hm_blob *payload)
{
    if (mesh->params.without & HM_WITHOUT_DIGEST || hm_decode_intact(mesh->decoder, head, payload))
        return false;
    const struct member *origin = hm_mesh_member_of(mesh, head->stream);
    char life[HM_LABEL_MAX + 1];
    snprintf(life, sizeof life, "%016llx", (unsigned long long)head->stream);
    mesh->counters.refused_digest++;
    hm_mesh_note(mesh, HM_NOTE_WARNING,
                 "refused delta %u of node %s: it fails its check; asking for it again", head->hi,
                 origin ? origin->label : life);
    struct stream *stream = hm_mesh_stream(mesh, head->stream);
    if (stream && stream->head > stream->link.seq)
        hm_mesh_want(mesh, stream, 50000);
    return true;
}

/* The delta as it may be applied, or NULL when it is not what it says it is. */
static const struct hm_decoded *decode(struct hm_mesh *mesh, const struct stream *stream,
                                       const struct hm_delta_head *head, struct hm_blob *payload)
{
    bool believed = mesh->params.without & HM_WITHOUT_DIGEST;
    const struct hm_decoded *decoded = believed ? hm_decode_anyway(mesh->decoder, head, payload)
                                                : hm_decode(mesh->decoder, head, payload);
    if (!decoded) {
        mesh->counters.refused_malformed++;
        return NULL;
    }
    if (believed || (mesh->params.without & HM_WITHOUT_ORDER && head->lo != stream->link.seq))
        return decoded;
    if (stream->digest + decoded->digest != head->digest || head->steps < stream->link.steps ||
        (head->steps != stream->link.steps && !head->last_piece) ||
        head->flush != stream->flush + 1) {
        mesh->counters.refused_digest++;
        return NULL;
    }
    return decoded;
}

/* Begins to apply the next delta of a stream; false when it is not what it says it is. */
static bool apply(struct hm_mesh *mesh, struct stream *stream, const struct hm_delta_head *head,
                  struct hm_blob *payload)
{
    const struct hm_decoded *decoded = decode(mesh, stream, head, payload);
    if (!decoded) {
        hm_mesh_note(mesh, HM_NOTE_WARNING,
                     "refused delta %u of node %s: it fails its check; asking for it again",
                     head->hi, stream->link.label);
        hm_mesh_want(mesh, stream, 50000);
        return false;
    }
    hm_mesh_measure_staleness(mesh, stream, &decoded->start);
    struct member *origin = hm_mesh_member_of(mesh, stream->link.from);
    if (origin)
        hm_mesh_feel_lag(mesh, origin, decoded);
    mesh->applying = true;
    mesh->applying_stream = stream;
    mesh->applying_head = *head;
    hm_mesh_log(mesh, stream, hm_log_entry_share(decoded->entry));
    struct hm_action *action = hm_mesh_act(mesh, HM_ACT_APPLY);
    action->delta = &decoded->delta;
    action->from = stream->link.from;
    action->steps = head->steps - stream->link.steps;
    action->early = hm_mesh_is_early(mesh, stream);
    return true;
}

void hm_mesh_on_delta(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header)
{
    const struct hm_delta_head *head = &header->delta;
    struct stream *stream = hm_mesh_stream(mesh, head->stream);
    if (stream && (stream == mesh->stream[0] || head->hi <= stream->link.seq)) {
        mesh->counters.duplicates++;
        return;
    }
    if (stream && hm_mesh_sound(stream, head->hi) < head->hi)
        return; /* on its way when its origin gave it up */
    if (refuse_damaged(mesh, head, event->message.payload))
        return;
    stream = hm_mesh_stream_make(mesh, head->stream);
    if (!stream) {
        mesh->counters.refused_overflow++;
        return;
    }
    if (head->hi > stream->head)
        stream->head = head->hi;
    bool answer = event->message.channel != HM_CH_PUBLISHED;
    if ((head->lo > stream->link.seq && !(mesh->params.without & HM_WITHOUT_ORDER)) ||
        mesh->applying || mesh->installing) {
        if (hm_mesh_hold(mesh, stream, head, event->message.payload) && answer)
            hm_mesh_answered(mesh, stream);
        if (head->lo > stream->link.seq)
            hm_mesh_want(mesh, stream, 5000);
        return;
    }
    if ((head->lo == stream->link.seq || mesh->params.without & HM_WITHOUT_ORDER) &&
        apply(mesh, stream, head, event->message.payload) && answer) {
        mesh->counters.repaired++;
        hm_mesh_answered(mesh, stream);
    }
}

/* The held delta that continues its stream, if there is one; on the way, drops those that came
 * otherwise. */
static bool next_held(struct hm_mesh *mesh, struct stream *stream, size_t *found)
{
    bool any = false;
    for (size_t i = 0; i < stream->n_held;) {
        if (stream->held[i].head.hi <= stream->link.seq ||
            hm_mesh_sound(stream, stream->held[i].head.hi) < stream->held[i].head.hi) {
            drop_held(mesh, stream, i);
            continue;
        }
        if (stream->held[i].head.lo == stream->link.seq) {
            *found = i;
            any = true;
        }
        i++;
    }
    return any;
}

static bool apply_held(struct hm_mesh *mesh, struct stream *stream)
{
    size_t i;
    if (!next_held(mesh, stream, &i))
        return false;
    struct held held = stream->held[i];
    hm_blob_share(held.payload);
    drop_held(mesh, stream, i);
    bool applied = apply(mesh, stream, &held.head, held.payload);
    hm_blob_drop(held.payload);
    return applied;
}

void hm_mesh_on_applied(struct hm_mesh *mesh)
{
    struct stream *stream = mesh->applying_stream;
    const struct hm_delta_head *head = &mesh->applying_head;
    hm_mesh_regain(mesh, stream, head->hi);
    stream->link.seq = head->hi;
    stream->stuck = false;
    stream->digest = head->digest;
    stream->link.steps = head->steps;
    if (head->last_piece)
        stream->flush = head->flush;
    hm_mesh_show_progress(mesh, stream);
    mesh->applying = false;
    mesh->counters.applied++;
    memset(stream->nohave, 0, sizeof stream->nohave);
    if (stream->head <= stream->link.seq)
        stream->want_at = 0;
    hm_mesh_mark_idle(mesh);
    if (!apply_held(mesh, stream))
        hm_mesh_apply_next_held(mesh);
}

void hm_mesh_apply_next_held(struct hm_mesh *mesh)
{
    for (size_t i = 0; mesh->held_bytes && i < mesh->n_streams; i++)
        if (mesh->stream[i]->n_held && apply_held(mesh, mesh->stream[i]))
            return;
    hm_mesh_trim(mesh);
}
