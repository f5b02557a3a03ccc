/* A mesh writes down what its next life needs, and begins with what a former one wrote down. */
#include "protocol/mesh_state.h"
#include "protocol/resume.h"

#include <stdlib.h>
#include <string.h>

/* ---- writing down ---- */

static uint32_t seq_of(const struct hm_vv_entry *vv, size_t n, uint64_t life)
{
    for (size_t i = 0; i < n; i++)
        if (vv[i].life == life)
            return vv[i].seq;
    return 0;
}

/* From the first delta on that is worth keeping, as far as the log goes back. */
static enum hm_status save_stream(const struct stream *stream, uint32_t from,
                                  struct hm_resume_stream *out, struct hm_err *err)
{
    out->at = (struct hm_vv_entry){stream->link.from, stream->link.seq, stream->flush,
                                   stream->link.steps, stream->digest};
    memcpy(out->label, stream->link.label, sizeof out->label);
    uint32_t oldest = hm_log_oldest(&stream->log);
    from = from > oldest ? from : oldest;
    size_t n = stream->log.n && from <= stream->link.seq ? stream->link.seq - from + 1 : 0;
    out->log = malloc((n + 1) * sizeof *out->log);
    if (!out->log)
        return hm_fail(err, HM_ENOMEM, "no memory for a copy of %zu logged deltas", n);
    for (uint32_t seq = from; out->n_log < n; seq++)
        out->log[out->n_log++] = hm_log_entry_share(hm_log_get(&stream->log, seq));
    return HM_OK;
}

enum hm_status hm_mesh_save(const struct hm_mesh *mesh, const struct hm_vv_entry *since,
                            size_t n_since, struct hm_mesh_resume *out, struct hm_err *err)
{
    *out = (struct hm_mesh_resume){0};
    out->stream = calloc(mesh->n_streams + 1, sizeof *out->stream);
    if (!out->stream)
        return hm_fail(err, HM_ENOMEM, "no memory for a copy of %zu streams", mesh->n_streams);
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[mesh->by_life[i]];
        if (!s->link.seq)
            continue;
        uint32_t seen = seq_of(since, n_since, s->link.from), acked = hm_mesh_acknowledged(mesh, s);
        enum hm_status status =
            save_stream(s, (seen < acked ? seen : acked) + 1, &out->stream[out->n_streams++], err);
        if (status) {
            hm_mesh_resume_fini(out);
            return status;
        }
    }
    return HM_OK;
}

/* ---- beginning with it ---- */

static enum hm_status resume_stream(struct hm_mesh *mesh, const struct hm_resume_stream *from,
                                    struct hm_err *err)
{
    if (from->at.life == mesh->params.life)
        return hm_fail(err, HM_EUSAGE,
                       "life %016llx has published before and cannot be resumed under the same "
                       "number; leave the choice to the program",
                       (unsigned long long)from->at.life);
    struct stream *s = hm_mesh_stream_make(mesh, from->at.life);
    if (!s)
        return hm_fail(err, HM_ENOMEM,
                       "no room for another life: the mesh counts %d at most, the resumed ones "
                       "included; start anew from the model",
                       HM_STREAMS_MAX);
    memcpy(s->link.label, from->label, sizeof s->link.label);
    s->link.seq = s->head = from->at.seq;
    s->link.steps = from->at.steps;
    s->flush = from->at.flush;
    s->digest = from->at.digest;
    mesh->counters.covered += from->at.seq;
    for (size_t i = 0; i < from->n_log; i++)
        hm_mesh_log(mesh, s, hm_log_entry_share(from->log[i]));
    hm_mesh_show_progress(mesh, s);
    return HM_OK;
}

/* The budget may be smaller than that of the former life. What was acknowledged is not known yet,
 * so the oldest of every stream go in turn. */
static void keep_budget(struct hm_mesh *mesh)
{
    for (size_t i = 0; mesh->log_bytes > mesh->params.log_bytes_max; i++)
        mesh->log_bytes -= hm_log_drop_oldest(&mesh->stream[i % mesh->n_streams]->log);
}

enum hm_status hm_mesh_begin_from(struct hm_mesh *mesh, const struct hm_mesh_resume *resume,
                                  struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (size_t i = 0; !status && i < resume->n_streams; i++)
        status = resume_stream(mesh, &resume->stream[i], err);
    if (!status)
        keep_budget(mesh);
    return status;
}
