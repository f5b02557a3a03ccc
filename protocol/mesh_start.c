/* What a delta was accumulated from: the vector at which the first of its gradients read W. Peers
 * get it with the delta, and measure its staleness by it.
 *
 * As a rule that is the vector when the first step was made. Gradients that take their time, or are
 * held up, are read long before they are added: their readers (the node's threads) each have a mark
 * of their own, which becomes the delta's when the gradient has been added.
 */
#include "protocol/mesh_state.h"

#include <stdlib.h>
#include <string.h>

/* Columns are filled in when they begin to differ from those of `now`: in a large mesh that is
 * seldom, and long. */
static void keep(const struct hm_mesh *mesh, struct mark *mark)
{
    memcpy(mark->steps, mesh->now.steps, mesh->n_streams * sizeof mark->steps[0]);
    memcpy(mark->flush, mesh->now.flush, mesh->n_streams * sizeof mark->flush[0]);
    mark->is_now = false;
}

static bool reads(const struct mark *reader)
{
    return reader->count & 1;
}

bool hm_mesh_starts_open(struct hm_mesh *mesh)
{
    mesh->start.is_now = true;
    if (!mesh->params.n_readers)
        return true;
    mesh->reader = calloc(mesh->params.n_readers, sizeof *mesh->reader);
    return mesh->reader;
}

void hm_mesh_starts_close(struct hm_mesh *mesh)
{
    free(mesh->reader);
}

static unsigned n_readers(const struct hm_mesh *mesh)
{
    return mesh->reader ? mesh->params.n_readers : 0;
}

static void insert(struct mark *mark, size_t i, size_t behind)
{
    memmove(&mark->steps[i + 1], &mark->steps[i], behind * sizeof mark->steps[0]);
    memmove(&mark->flush[i + 1], &mark->flush[i], behind * sizeof mark->flush[0]);
    mark->steps[i] = mark->flush[i] = 0;
}

void hm_mesh_starts_insert(struct hm_mesh *mesh, size_t i)
{
    size_t behind = mesh->n_streams - i;
    insert(&mesh->start, i, behind);
    for (unsigned k = 0; k < n_readers(mesh); k++)
        insert(&mesh->reader[k], i, behind);
}

void hm_mesh_starts_keep(struct hm_mesh *mesh)
{
    if (mesh->start.is_now && (mesh->own_steps || mesh->start_read))
        keep(mesh, &mesh->start);
    for (unsigned k = 0; k < n_readers(mesh); k++)
        if (mesh->reader[k].is_now && reads(&mesh->reader[k]))
            keep(mesh, &mesh->reader[k]);
}

void hm_mesh_mark_start(struct hm_mesh *mesh)
{
    mesh->start.is_now = true;
    mesh->start_read = false;
}

void hm_mesh_mark_idle(struct hm_mesh *mesh)
{
    if (!mesh->own_steps && !mesh->start_read)
        mesh->start.is_now = true;
}

/* A gradient has been added: the delta starts where it was read, or before. */
static void take(struct hm_mesh *mesh, const struct mark *reader)
{
    struct mark *start = &mesh->start;
    if (!mesh->start_read || start->is_now) {
        start->is_now = reader->is_now;
        memcpy(start->steps, reader->steps, mesh->n_streams * sizeof start->steps[0]);
        memcpy(start->flush, reader->flush, mesh->n_streams * sizeof start->flush[0]);
    }
    for (size_t i = 0; !start->is_now && !reader->is_now && i < mesh->n_streams; i++) {
        if (start->steps[i] > reader->steps[i])
            start->steps[i] = reader->steps[i];
        if (start->flush[i] > reader->flush[i])
            start->flush[i] = reader->flush[i];
    }
    mesh->start_read = true;
}

void hm_mesh_heed_readers(struct hm_mesh *mesh, const uint64_t *count)
{
    for (unsigned k = 0; count && k < n_readers(mesh); k++) {
        struct mark *reader = &mesh->reader[k];
        if (count[k] == reader->count)
            continue;
        if (reads(reader))
            take(mesh, reader);
        reader->count = count[k];
        reader->is_now = true;
    }
}

static void at_now(struct hm_mesh *mesh, struct mark *mark, size_t i)
{
    mark->flush[i] = mesh->now.flush[i];
    mark->steps[i] = mesh->now.steps[i];
}

void hm_mesh_start_at_now(struct hm_mesh *mesh, const struct stream *stream)
{
    at_now(mesh, &mesh->start, stream->rank);
    for (unsigned k = 0; k < n_readers(mesh); k++)
        at_now(mesh, &mesh->reader[k], stream->rank);
}

static void at_most_now(struct hm_mesh *mesh, struct mark *mark, size_t i)
{
    if (mark->flush[i] > mesh->now.flush[i])
        mark->flush[i] = mesh->now.flush[i];
    if (mark->steps[i] > mesh->now.steps[i])
        mark->steps[i] = mesh->now.steps[i];
}

void hm_mesh_start_at_most_now(struct hm_mesh *mesh, const struct stream *stream)
{
    at_most_now(mesh, &mesh->start, stream->rank);
    for (unsigned k = 0; k < n_readers(mesh); k++)
        at_most_now(mesh, &mesh->reader[k], stream->rank);
}

size_t hm_mesh_spans(const struct hm_mesh *mesh, struct hm_span_entry *span)
{
    const uint32_t *flush = mesh->start.is_now ? mesh->now.flush : mesh->start.flush;
    const uint64_t *steps = mesh->start.is_now ? mesh->now.steps : mesh->start.steps;
    size_t n = 0;
    for (size_t i = 0; i < mesh->n_streams; i++)
        if (mesh->now.flush[i])
            span[n++] = (struct hm_span_entry){mesh->now.life[i], flush[i], mesh->now.flush[i],
                                               steps[i], mesh->now.steps[i]};
    return n;
}
