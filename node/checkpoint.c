#include "node/checkpoint.h"

#include "node/kept_file.h"
#include "protocol/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = HM_BLOCK * sizeof(float) };

static const char damaged[] = "its checksum holds, but what it says contradicts itself";

void hm_checkpoint_fini(struct hm_checkpoint *c)
{
    free(c->bulk);
    free(c->b);
    free(c->owed);
    free(c->state);
    hm_mesh_resume_fini(&c->mesh);
    *c = (struct hm_checkpoint){.life = 0};
}

/* ---- taking ---- */

static void copy_owed(const struct hm_weights *weights, float *owed)
{
    for (uint32_t i = 0; i < weights->layout.n_tensors; i++) {
        const struct hm_tensor *t = &weights->layout.tensor[i];
        float grid = hm_exp2i(t->grid_exp);
        size_t at = hm_tensor_at(t), end = at + (size_t)t->n_blocks * HM_BLOCK;
        for (size_t k = at; k < end; k++)
            owed[k] = hm_cell_get(&weights->w[k]) - (float)(int32_t)weights->b[k] * grid;
    }
}

enum hm_status hm_checkpoint_take(struct hm_checkpoint *c, const struct hm_mesh *mesh,
                                  const struct hm_weights *weights, const struct hm_vv_entry *since,
                                  size_t n_since, struct hm_err *err)
{
    if (!c->b)
        c->b = malloc(weights->n * sizeof *c->b);
    if (!c->owed)
        c->owed = malloc(weights->n * sizeof *c->owed);
    if (!c->b || !c->owed)
        return hm_fail(err, HM_ENOMEM, "no memory for a copy of the weights");
    hm_mesh_resume_fini(&c->mesh);
    c->layout = weights->layout;
    c->divisor = hm_mesh_combination(mesh).divisor;
    memcpy(c->b, weights->b, weights->n * sizeof *c->b);
    copy_owed(weights, c->owed);
    return hm_mesh_save(mesh, since, n_since, &c->mesh, err);
}

/* ---- writing ---- */

/* What is no number any more is the next flush's to report; it is not owed. */
static int make_finite(float block[HM_BLOCK])
{
    int any = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        if (!isfinite(block[j]))
            block[j] = 0;
        any |= block[j] != 0;
    }
    return any;
}

/* The next block from `from` on that is owed something, copied to block; n_blocks: none. */
static uint32_t next_owed(const struct hm_checkpoint *c, uint32_t from, float block[HM_BLOCK])
{
    for (; c->owed && from < c->layout.n_blocks; from++) {
        memcpy(block, c->owed + (size_t)from * HM_BLOCK, BLOCK_BYTES);
        if (make_finite(block))
            return from;
    }
    return c->layout.n_blocks;
}

static void put_owed(const struct hm_checkpoint *c, const struct hm_sink *sink)
{
    float block[HM_BLOCK];
    uint32_t n = 0, end = c->layout.n_blocks;
    for (uint32_t at = next_owed(c, 0, block); at < end; at = next_owed(c, at + 1, block))
        n++;
    hm_sink_varint(sink, n);
    uint32_t before = UINT32_MAX;
    for (uint32_t at = next_owed(c, 0, block); at < end; at = next_owed(c, at + 1, block)) {
        hm_sink_varint(sink, at - before);
        hm_sink_bytes(sink, block, BLOCK_BYTES);
        before = at;
    }
}

/* What is no number would be refused. */
static void put_floats(const struct hm_sink *sink, const float *from, size_t n)
{
    float block[HM_BLOCK] = {0};
    for (size_t at = 0; at < n; at += HM_BLOCK) {
        size_t some = n - at < HM_BLOCK ? n - at : HM_BLOCK;
        memcpy(block, from + at, some * sizeof *from);
        make_finite(block);
        hm_sink_bytes(sink, block, some * sizeof *from);
    }
}

static void put_states(const struct hm_checkpoint *c, const struct hm_sink *sink)
{
    uint8_t head[2 * HM_VARINT_MAX];
    struct hm_writer w = hm_writer_of(head, sizeof head);
    size_t n = c->n_states * c->state_floats;
    if (n) {
        hm_put_varint(&w, c->n_states);
        hm_put_varint(&w, c->state_floats);
    }
    hm_sink_varint(sink, (size_t)(w.at - head) + n * sizeof *c->state);
    hm_sink_bytes(sink, head, (size_t)(w.at - head));
    put_floats(sink, c->state, n);
}

enum hm_status hm_checkpoint_encode(const struct hm_checkpoint *c, const struct hm_sink *sink,
                                    struct hm_err *err)
{
    uint32_t divisor;
    memcpy(&divisor, &c->divisor, sizeof divisor);
    enum hm_status status = hm_kept_put_config(sink, &c->config, c->bulk, c->bulk_n, err);
    if (status)
        return status;
    hm_sink_string(sink, c->label, strlen(c->label));
    hm_sink_u64(sink, c->life);
    hm_sink_varint(sink, c->time_s);
    hm_sink_varint(sink, c->number);
    hm_sink_u64(sink, c->digest0);
    hm_sink_u64(sink, divisor);
    hm_sink_varint(sink, c->owed_steps);
    hm_sink_varint(sink, c->trained_us);
    hm_sink_varint(sink, c->partition);
    hm_sink_varint(sink, c->rank);
    hm_sink_varint(sink, c->ranks);
    hm_sink_varint(sink, c->shard_n);
    hm_sink_varint(sink, c->cursor);
    hm_kept_put_b(sink, c->b, hm_layout_n(&c->layout));
    put_owed(c, sink);
    put_states(c, sink);
    hm_mesh_resume_encode(&c->mesh, sink);
    return HM_OK;
}

/* ---- reading ---- */

static unsigned get_unsigned(struct hm_reader *r)
{
    uint64_t x = hm_get_varint(r);
    if (x > UINT32_MAX)
        r->bad = 1;
    return r->bad ? 0 : (unsigned)x;
}

static enum hm_status get_head(struct hm_reader *r, struct hm_checkpoint *c, struct hm_err *err)
{
    hm_get_text(r, c->label, HM_LABEL_MAX);
    c->life = hm_get_u64(r);
    c->time_s = hm_get_varint(r);
    c->number = hm_get_varint(r);
    c->digest0 = hm_get_u64(r);
    uint64_t bits = hm_get_u64(r);
    uint32_t divisor = (uint32_t)bits;
    memcpy(&c->divisor, &divisor, sizeof divisor);
    c->owed_steps = hm_get_varint(r);
    c->trained_us = hm_get_varint(r);
    c->partition = get_unsigned(r);
    c->rank = get_unsigned(r);
    c->ranks = get_unsigned(r);
    c->shard_n = hm_get_varint(r);
    c->cursor = hm_get_varint(r);
    if (r->bad || !hm_label_ok(c->label, strlen(c->label)) || !c->life || bits > UINT32_MAX ||
        !isfinite(c->divisor) || !(c->divisor >= 1))
        return hm_fail(err, HM_ECORRUPT, "the head is malformed");
    return HM_OK;
}

static enum hm_status get_block(struct hm_reader *r, struct hm_checkpoint *c, uint32_t *at,
                                struct hm_err *err)
{
    uint64_t step = hm_get_varint(r);
    const uint8_t *bytes = hm_get_bytes(r, BLOCK_BYTES);
    if (!bytes || !step || step > c->layout.n_blocks || *at + step >= c->layout.n_blocks + 1u)
        return hm_fail(err, HM_ECORRUPT, "what is owed is malformed");
    *at += (uint32_t)step;
    float *block = c->owed + (size_t)(*at - 1) * HM_BLOCK;
    memcpy(block, bytes, BLOCK_BYTES);
    uint64_t mask = hm_layout_block_mask(&c->layout, *at - 1);
    int any = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        any |= block[j] != 0;
        if (!isfinite(block[j]) || (block[j] != 0 && !(mask >> j & 1)))
            return hm_fail(err, HM_ECORRUPT, "what is owed is malformed");
    }
    return any ? HM_OK : hm_fail(err, HM_ECORRUPT, "what is owed is malformed");
}

static enum hm_status get_owed(struct hm_reader *r, struct hm_checkpoint *c, struct hm_err *err)
{
    uint64_t n = hm_get_varint(r);
    if (r->bad || n > c->layout.n_blocks)
        return hm_fail(err, HM_ECORRUPT, "what is owed is malformed");
    c->owed = calloc(hm_layout_n(&c->layout) + 1, sizeof *c->owed);
    if (!c->owed)
        return hm_fail(err, HM_ENOMEM, "no memory for what is owed");
    enum hm_status status = HM_OK;
    uint32_t at = 0; /* blocks passed */
    for (uint64_t i = 0; !status && i < n; i++)
        status = get_block(r, c, &at, err);
    return status;
}

static int all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static enum hm_status get_states(struct hm_reader *r, struct hm_checkpoint *c, struct hm_err *err)
{
    static const char malformed[] = "the state of the optimiser is malformed";
    size_t n_bytes = (size_t)hm_get_varint(r);
    const uint8_t *bytes = hm_get_bytes(r, n_bytes);
    if (!bytes)
        return hm_fail(err, HM_ECORRUPT, malformed);
    if (!n_bytes)
        return HM_OK;
    struct hm_reader inner = hm_reader_of(bytes, n_bytes);
    uint64_t n_states = hm_get_varint(&inner), each = hm_get_varint(&inner);
    size_t left = hm_reader_left(&inner), n = left / sizeof *c->state;
    if (inner.bad || !n_states || n_states > HM_STATES_MAX || !each || each > n ||
        each * n_states * sizeof *c->state != left)
        return hm_fail(err, HM_ECORRUPT, malformed);
    c->state = malloc(left);
    if (!c->state)
        return hm_fail(err, HM_ENOMEM, "no memory for the state of the optimiser");
    memcpy(c->state, inner.at, left);
    c->n_states = (unsigned)n_states;
    c->state_floats = each;
    return all_finite(c->state, n) ? HM_OK : hm_fail(err, HM_ECORRUPT, malformed);
}

static enum hm_status check_base(const struct hm_checkpoint *c, const struct hm_kernels *kernels,
                                 struct hm_err *err)
{
    uint64_t is = kernels->digest_dense(c->b, c->layout.n_blocks),
             said = c->digest0 + hm_mesh_resume_digest(&c->mesh);
    if (is == said)
        return HM_OK;
    return hm_fail(err, HM_ECORRUPT,
                   "the base is not the sum of the deltas that the vector names (digest %016llx, "
                   "expected %016llx)",
                   (unsigned long long)is, (unsigned long long)said);
}

static enum hm_status get_all(struct hm_reader *r, const struct hm_progress *progress,
                              struct hm_checkpoint *c, struct hm_err *err)
{
    const struct hm_kernels *kernels = hm_kernels_find("auto");
    enum hm_status status;
    if ((status = hm_kept_get_config(r, &c->config, &c->layout, &c->bulk, &c->bulk_n, err)) ||
        (status = get_head(r, c, err)) || (status = hm_kept_get_b(r, &c->layout, &c->b, err)) ||
        (status = get_owed(r, c, err)) || (status = get_states(r, c, err)) ||
        (status = hm_mesh_resume_decode(r, &c->layout, kernels, progress, &c->mesh, err)))
        return status;
    if (hm_reader_left(r))
        return hm_fail(err, HM_ECORRUPT, "%zu bytes too many", hm_reader_left(r));
    return check_base(c, kernels, err);
}

enum hm_status hm_checkpoint_decode(const uint8_t *bytes, size_t n,
                                    const struct hm_progress *progress, struct hm_checkpoint *c,
                                    struct hm_err *err)
{
    struct hm_reader r;
    *c = (struct hm_checkpoint){.life = 0};
    enum hm_status status = hm_kept_open(bytes, n, HM_CHECKPOINT_KIND,
                                         "NAME.ckpt, as a run with --out keeps it", &r, err);
    if (status)
        return status;
    status = get_all(&r, progress, c, err);
    if (status)
        hm_checkpoint_fini(c);
    return status == HM_ECORRUPT ? hm_context(err, status, "%s", damaged) : status;
}

/* ---- going on ---- */

void hm_checkpoint_install(const struct hm_checkpoint *c, struct hm_weights *weights)
{
    memcpy(weights->b, c->b, weights->n * sizeof *c->b);
    hm_weights_settle(weights);
}

static uint32_t seq_known(struct hm_mesh *mesh, uint64_t life)
{
    for (size_t i = 0; i < hm_mesh_n_streams(mesh); i++)
        if (hm_mesh_link(mesh, i)->from == life)
            return hm_mesh_link(mesh, i)->seq;
    return 0;
}

uint64_t hm_checkpoint_hand_over(struct hm_checkpoint *c, struct hm_mesh *mesh,
                                 struct hm_weights *weights, int *dropped)
{
    const struct hm_resume_stream *former = hm_mesh_resume_find(&c->mesh, c->life);
    *dropped = seq_known(mesh, c->life) > (former ? former->at.seq : 0);
    float factor = hm_mesh_combination(mesh).divisor / c->divisor;
    for (size_t i = 0; !*dropped && i < weights->n; i++)
        if (c->owed[i] != 0)
            hm_cell_add(&weights->w[i], factor * c->owed[i]);
    free(c->owed);
    c->owed = NULL;
    return *dropped ? 0 : c->owed_steps;
}
