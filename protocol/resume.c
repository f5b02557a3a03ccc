#include "protocol/resume.h"

#include "protocol/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_BYTES_LEAST = 16, /* of a logged delta in a file: its header alone takes more */
    REPORT_EVERY = 64,      /* deltas */
};

static void drop_log(struct hm_resume_stream *stream)
{
    for (size_t k = 0; k < stream->n_log; k++)
        hm_log_entry_drop(stream->log[k]);
    free(stream->log);
    stream->log = NULL;
    stream->n_log = 0;
}

void hm_mesh_resume_drop_logs(struct hm_mesh_resume *resume)
{
    for (size_t i = 0; i < resume->n_streams; i++)
        drop_log(&resume->stream[i]);
}

void hm_mesh_resume_fini(struct hm_mesh_resume *resume)
{
    hm_mesh_resume_drop_logs(resume);
    free(resume->stream);
    *resume = (struct hm_mesh_resume){0};
}

uint64_t hm_mesh_resume_steps(const struct hm_mesh_resume *resume)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < resume->n_streams; i++)
        steps += resume->stream[i].at.steps;
    return steps;
}

uint64_t hm_mesh_resume_deltas(const struct hm_mesh_resume *resume)
{
    uint64_t n = 0;
    for (size_t i = 0; i < resume->n_streams; i++)
        n += resume->stream[i].at.seq;
    return n;
}

uint64_t hm_mesh_resume_digest(const struct hm_mesh_resume *resume)
{
    uint64_t digest = 0;
    for (size_t i = 0; i < resume->n_streams; i++)
        digest += resume->stream[i].at.digest;
    return digest;
}

const struct hm_resume_stream *hm_mesh_resume_find(const struct hm_mesh_resume *resume,
                                                   uint64_t life)
{
    for (size_t i = 0; i < resume->n_streams; i++)
        if (resume->stream[i].at.life == life)
            return &resume->stream[i];
    return NULL;
}

/* ---- writing ---- */

static void put_entry(const struct hm_sink *sink, const struct hm_log_entry *entry)
{
    struct hm_header header = {.type = HM_DELTA, .life = entry->head.stream, .delta = entry->head};
    uint8_t bytes[HM_HEADER_BOUND];
    hm_sink_string(sink, bytes, hm_wire_encode(&header, bytes));
    hm_sink_string(sink, entry->payload ? entry->payload->bytes : NULL,
                   entry->payload ? entry->payload->n : 0);
}

void hm_mesh_resume_encode(const struct hm_mesh_resume *resume, const struct hm_sink *sink)
{
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    uint8_t bytes[HM_VECTOR_BOUND(HM_STREAMS_MAX)];
    for (size_t i = 0; i < resume->n_streams; i++)
        vv[i] = resume->stream[i].at;
    hm_sink_string(sink, bytes, hm_vector_encode(vv, resume->n_streams, bytes));
    for (size_t i = 0; i < resume->n_streams; i++) {
        const struct hm_resume_stream *s = &resume->stream[i];
        hm_sink_string(sink, s->label, strlen(s->label));
        hm_sink_varint(sink, s->n_log);
        for (size_t k = 0; k < s->n_log; k++)
            put_entry(sink, s->log[k]);
    }
}

/* ---- reading ---- */

struct reading {
    struct hm_reader *r;
    const struct hm_progress *progress;
    const uint8_t *begin;
    struct hm_decoder *decoder;
    uint64_t n_read;
};

static enum hm_status bad_entry(const struct hm_resume_stream *s, size_t k, const char *what,
                                struct hm_err *err)
{
    return hm_fail(err, HM_ECORRUPT, "stream %016llx of %s: logged delta %zu %s",
                   (unsigned long long)s->at.life, s->label[0] ? s->label : "?", k + 1, what);
}

static enum hm_status get_entry(struct reading *in, struct hm_resume_stream *s, size_t k,
                                struct hm_err *err)
{
    struct hm_header header;
    size_t header_n = (size_t)hm_get_varint(in->r);
    const uint8_t *header_at = hm_get_bytes(in->r, header_n);
    size_t n = (size_t)hm_get_varint(in->r);
    const uint8_t *at = hm_get_bytes(in->r, n);
    if (!header_at || !at || n > HM_PAYLOAD_MAX)
        return bad_entry(s, k, "is cut short", err);
    enum hm_wire_error wire = hm_wire_decode(header_at, header_n, &header);
    if (wire == HM_WIRE_BAD_VERSION)
        return bad_entry(s, k, "is of another version of the protocol", err);
    if (wire != HM_WIRE_OK || header.type != HM_DELTA || header.delta.stream != s->at.life ||
        header.life != s->at.life || header.delta.vectors_n > n)
        return bad_entry(s, k, "is malformed", err);
    struct hm_blob *payload = hm_blob_new(n);
    s->log[k] = payload ? hm_log_entry_new(&header.delta, payload) : NULL;
    if (!s->log[k]) {
        hm_blob_drop(payload);
        return hm_fail(err, HM_ENOMEM, "no memory for the log");
    }
    memcpy(payload->bytes, at, n);
    s->n_log = k + 1;
    return HM_OK;
}

/* The state of a stream between two deltas; the deltas that follow are held against it. */
static bool follows(const struct hm_delta_head *head, const struct hm_vv_entry *at, int whole)
{
    return head->lo == at->seq && head->hi == at->seq + 1 &&
           head->flush == at->flush + (whole ? 1 : 0) && head->steps >= at->steps &&
           (head->last_piece || head->steps == at->steps);
}

/* What the log begins with is known only when it is the stream's first delta. */
static enum hm_status check_entry(struct reading *in, const struct hm_resume_stream *s, size_t k,
                                  struct hm_err *err)
{
    const struct hm_delta_head *head = &s->log[k]->head, *before = k ? &s->log[k - 1]->head : NULL;
    if (!hm_decode_intact(in->decoder, head, s->log[k]->payload))
        return bad_entry(s, k, "fails its check", err);
    const struct hm_decoded *decoded = hm_decode(in->decoder, head, s->log[k]->payload);
    if (!decoded)
        return bad_entry(s, k, "does not unpack", err);
    if (!before && head->lo)
        return HM_OK;
    struct hm_vv_entry at = {.life = s->at.life};
    if (before)
        at = (struct hm_vv_entry){s->at.life, before->hi, before->flush, before->steps,
                                  before->digest};
    if (!follows(head, &at, !before || before->last_piece))
        return bad_entry(s, k, "does not continue the one before", err);
    if (head->digest != at.digest + decoded->digest)
        return bad_entry(s, k, "fails its digest", err);
    return HM_OK;
}

static bool ends_at(const struct hm_delta_head *head, const struct hm_vv_entry *at)
{
    return head->hi == at->seq && head->digest == at->digest && head->steps == at->steps &&
           head->flush == at->flush + (head->last_piece ? 0 : 1);
}

static enum hm_status get_log(struct reading *in, struct hm_resume_stream *s, struct hm_err *err)
{
    uint64_t n = hm_get_varint(in->r);
    if (in->r->bad || n > s->at.seq || n > hm_reader_left(in->r) / ENTRY_BYTES_LEAST)
        return hm_fail(err, HM_ECORRUPT, "stream %016llx: %llu logged deltas cannot be",
                       (unsigned long long)s->at.life, (unsigned long long)n);
    s->log = calloc((size_t)n + 1, sizeof *s->log);
    if (!s->log)
        return hm_fail(err, HM_ENOMEM, "no memory for the log");
    for (size_t k = 0; k < n; k++) {
        enum hm_status status = get_entry(in, s, k, err);
        if (!status)
            status = check_entry(in, s, k, err);
        if (status)
            return status;
        double done = (double)(in->r->at - in->begin);
        if (++in->n_read % REPORT_EVERY == 0 &&
            hm_report(in->progress, "checkpoint, log", done, done + (double)hm_reader_left(in->r),
                      "B"))
            return hm_fail(err, HM_ESTOPPED, "stopped by request");
    }
    if (n && !ends_at(&s->log[n - 1]->head, &s->at))
        return bad_entry(s, n - 1, "does not end where the vector says", err);
    return HM_OK;
}

static enum hm_status get_stream(struct reading *in, struct hm_resume_stream *s, struct hm_err *err)
{
    hm_get_text(in->r, s->label, HM_LABEL_MAX);
    if (in->r->bad || (s->label[0] && !hm_label_ok(s->label, strlen(s->label))) || !s->at.seq ||
        s->at.flush > s->at.seq)
        return hm_fail(err, HM_ECORRUPT, "the vector of streams is malformed");
    return get_log(in, s, err);
}

static enum hm_status get_streams(struct reading *in, struct hm_mesh_resume *resume,
                                  struct hm_err *err)
{
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    size_t n_vv = 0, n = (size_t)hm_get_varint(in->r);
    const uint8_t *vector = hm_get_bytes(in->r, n);
    if (!vector || hm_vector_decode(vector, n, vv, HM_STREAMS_MAX, &n_vv))
        return hm_fail(err, HM_ECORRUPT, "the vector of streams is malformed");
    resume->stream = calloc(n_vv + 1, sizeof *resume->stream);
    if (!resume->stream)
        return hm_fail(err, HM_ENOMEM, "no memory for %zu streams", n_vv);
    resume->n_streams = n_vv;
    for (size_t i = 0; i < n_vv; i++) {
        resume->stream[i].at = vv[i];
        enum hm_status status = get_stream(in, &resume->stream[i], err);
        if (status)
            return status;
    }
    return HM_OK;
}

enum hm_status hm_mesh_resume_decode(struct hm_reader *r, const struct hm_layout *layout,
                                     const struct hm_kernels *kernels,
                                     const struct hm_progress *progress,
                                     struct hm_mesh_resume *resume, struct hm_err *err)
{
    struct reading in = {.r = r, .progress = progress, .begin = r->at};
    *resume = (struct hm_mesh_resume){0};
    enum hm_status status = hm_decoder_open(&in.decoder, kernels, layout, 1, err);
    if (!status)
        status = get_streams(&in, resume, err);
    if (status)
        hm_mesh_resume_fini(resume);
    hm_decoder_close(in.decoder);
    return status;
}
