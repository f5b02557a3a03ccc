#include "node/combiner.h"

#include "node/top.h"
#include "sparse/cell_vec.h"
#include "sparse/zeroed.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static bool open_hold(struct hm_combiner *c)
{
    size_t n = c->weights->n;
    c->hold.walk = *c->weights;
    c->hold.walk.w = hm_zeroed(n * sizeof *c->hold.walk.w);
    c->hold.sum = hm_zeroed(n * sizeof *c->hold.sum);
    return c->hold.walk.w && c->hold.sum;
}

enum hm_status hm_combiner_open(struct hm_combiner *c, enum hm_rule rule, bool marks,
                                struct hm_weights *weights, struct hm_err *err)
{
    *c = (struct hm_combiner){.rule = rule, .weights = weights};
    bool ok = true;
    if (marks && rule != HM_RULE_HOLD)
        ok = hm_dirty_init(&c->dirty, weights->layout.n_blocks, NULL) == HM_OK;
    if (rule == HM_RULE_HOLD)
        ok = open_hold(c);
    else if (rule == HM_RULE_LOOKAHEAD && ok)
        ok = (c->ahead.v = hm_zeroed(weights->n * sizeof *c->ahead.v)) != NULL;
    return ok ? HM_OK : hm_fail(err, HM_ENOMEM, "no memory to combine the nodes' steps");
}

enum hm_status hm_combiner_open_saturator(struct hm_combiner *c, const struct hm_model *model,
                                          const char *isa, struct hm_err *err)
{
    return hm_saturator_open(&c->saturator, model, isa, &c->dirty, c->weights, err);
}

void hm_combiner_close(struct hm_combiner *c)
{
    hm_saturator_close(&c->saturator);
    for (unsigned i = 0; i < HM_HELD_MAX; i++)
        hm_delta_fini(&c->hold.ring[i].delta);
    for (unsigned i = 0; i < c->ahead.n; i++)
        hm_delta_fini(&c->ahead.last[i].delta);
    free(c->hold.walk.w);
    free(c->hold.sum);
    free(c->ahead.v);
    hm_dirty_fini(&c->dirty);
    *c = (struct hm_combiner){0};
}

uint64_t hm_combiner_bytes(enum hm_rule rule, uint64_t n, unsigned peers)
{
    uint64_t delta = n * sizeof(int32_t) + n / HM_BLOCK * sizeof(uint32_t);
    if (rule == HM_RULE_HOLD)
        return 2 * n * sizeof(float) + HM_HELD_MAX * delta;
    return rule == HM_RULE_LOOKAHEAD
               ? n * sizeof(float) + (peers < HM_AHEAD_MAX ? peers : HM_AHEAD_MAX) * delta
               : 0;
}

/* A copy; false without memory, and then it is empty. */
static bool keep(struct hm_delta *to, const struct hm_delta *from, uint32_t n_blocks)
{
    if (!to->capacity && hm_delta_init(to, n_blocks, NULL))
        return false;
    to->n_blocks = from->n_blocks;
    to->n_nonzero = from->n_nonzero;
    memcpy(to->block, from->block, from->n_blocks * sizeof *from->block);
    memcpy(to->q, from->q, from->n_blocks * sizeof *from->q);
    return true;
}

/* ---- hold ---- */

/* W += factor q grid, and h += sign q. */
static void move(struct hm_combiner *c, const struct hm_delta *delta, float factor, int32_t sign)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        const size_t at = (size_t)delta->block[i] * HM_BLOCK;
        const struct hm_tensor *tensor = hm_layout_tensor_of(&c->weights->layout, delta->block[i]);
        const float unit = factor * hm_exp2i(tensor->grid_exp);
        float u[HM_BLOCK];
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            c->hold.sum[at + j] += sign * delta->q[i][j];
            u[j] = unit * (float)delta->q[i][j];
        }
        if (factor != 0)
            hm_cells_add(&c->weights->w[at], u, HM_BLOCK);
    }
}

static void let_go_oldest(struct hm_combiner *c)
{
    struct held *held = &c->hold.ring[c->hold.first];
    move(c, &held->delta, 1 - held->divisor, -1);
    c->hold.first = (c->hold.first + 1) % HM_HELD_MAX;
    c->hold.n--;
}

void hm_combiner_release(struct hm_combiner *c, uint64_t now_us, uint64_t claimed)
{
    while (c->hold.n) {
        const struct held *held = &c->hold.ring[c->hold.first];
        if (held->due_us > now_us || claimed <= held->claimed)
            return;
        let_go_oldest(c);
    }
}

void hm_combiner_release_all(struct hm_combiner *c)
{
    while (c->hold.n)
        let_go_oldest(c);
}

void hm_combiner_forget(struct hm_combiner *c)
{
    c->hold.n = 0;
    if (c->hold.sum)
        memset(c->hold.sum, 0, c->weights->n * sizeof *c->hold.sum);
}

uint64_t hm_combiner_due_us(const struct hm_combiner *c)
{
    return c->hold.n ? c->hold.ring[c->hold.first].due_us : UINT64_MAX;
}

/* Everything on hold was published with one divisor: when that changes, all of it has to go. */
static void copy_walk(struct hm_combiner *c, float divisor)
{
    for (uint32_t t = 0; t < c->weights->layout.n_tensors; t++) {
        const struct hm_tensor *tensor = &c->weights->layout.tensor[t];
        const float unit = (divisor - 1) * hm_exp2i(tensor->grid_exp);
        size_t at = hm_tensor_at(tensor), end = at + (size_t)tensor->n_blocks * HM_BLOCK;
        for (; at < end; at++)
            hm_cell_set(&c->hold.walk.w[at],
                        hm_cell_get(&c->weights->w[at]) - unit * (float)c->hold.sum[at]);
    }
}

/* What was no number in W and has been set back in the copy. */
static void set_back(struct hm_combiner *c)
{
    for (size_t i = 0; i < c->weights->n; i++)
        if (!isfinite(hm_cell_get(&c->weights->w[i])))
            hm_cell_set(&c->weights->w[i], hm_cell_get(&c->hold.walk.w[i]));
}

static void extract_holding(struct hm_combiner *c, const struct hm_kernels *kernels,
                            const struct hm_publish *publish, uint64_t due_us, uint64_t claimed,
                            struct hm_delta *delta, struct hm_extract_stats *stats)
{
    const uint32_t n_blocks = c->weights->layout.n_blocks;
    if (c->hold.n && c->hold.ring[c->hold.first].divisor != publish->divisor)
        hm_combiner_release_all(c);
    if (c->hold.n == HM_HELD_MAX)
        let_go_oldest(c);
    copy_walk(c, publish->divisor);
    const struct hm_publish top = hm_top(&c->hold.walk, publish, c->most);
    kernels->extract(&c->hold.walk, 0, n_blocks, &top, delta, stats);
    if (stats->n_nonfinite)
        set_back(c);
    struct held *held = &c->hold.ring[(c->hold.first + c->hold.n) % HM_HELD_MAX];
    if (!keep(&held->delta, delta, n_blocks)) {
        move(c, delta, 1 - publish->divisor, 0); /* without memory: as the amplified walk does */
        return;
    }
    held->divisor = publish->divisor;
    held->due_us = due_us;
    held->claimed = claimed;
    c->hold.n++;
    move(c, delta, 0, 1);
}

uint32_t hm_combiner_extract(struct hm_combiner *c, const struct hm_kernels *kernels,
                             const struct hm_publish *publish, bool final, uint64_t due_us,
                             uint64_t claimed, struct hm_delta *delta,
                             struct hm_extract_stats *stats)
{
    if (c->rule == HM_RULE_HOLD && !final) {
        extract_holding(c, kernels, publish, due_us, claimed, delta, stats);
        return c->weights->layout.n_blocks;
    }
    hm_combiner_release_all(c);
    if (c->dirty.mark && !final)
        return hm_dirty_extract(&c->dirty, kernels, c->weights, publish, delta, stats);
    const struct hm_publish top = hm_top(c->weights, publish, final ? 0 : c->most);
    kernels->extract(c->weights, 0, c->weights->layout.n_blocks, &top, delta, stats);
    return c->weights->layout.n_blocks;
}

/* ---- look-ahead ---- */

/* Those of peers that have gone for good make room for new ones: V would remember them for ever. */
static struct last *last_of(struct hm_combiner *c, uint64_t from)
{
    for (unsigned i = 0; i < c->ahead.n; i++)
        if (c->ahead.last[i].from == from)
            return &c->ahead.last[i];
    if (c->ahead.n == HM_AHEAD_MAX)
        return NULL;
    struct last *last = &c->ahead.last[c->ahead.n++];
    last->from = from;
    return last;
}

static void add_to_v(struct hm_combiner *c, const struct hm_delta *delta, float sign)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        const size_t at = (size_t)delta->block[i] * HM_BLOCK;
        const struct hm_tensor *tensor = hm_layout_tensor_of(&c->weights->layout, delta->block[i]);
        const float unit = sign * hm_exp2i(tensor->grid_exp);
        float u[HM_BLOCK];
        for (unsigned j = 0; j < HM_BLOCK; j++)
            u[j] = unit * (float)delta->q[i][j];
        hm_cells_add(&c->ahead.v[at], u, HM_BLOCK);
    }
}

void hm_combiner_note(struct hm_combiner *c, uint64_t from, const struct hm_delta *delta)
{
    struct last *last = c->rule == HM_RULE_LOOKAHEAD ? last_of(c, from) : NULL;
    if (!last)
        return;
    add_to_v(c, &last->delta, -1);
    if (keep(&last->delta, delta, c->weights->layout.n_blocks))
        add_to_v(c, &last->delta, 1);
}

float hm_combiner_reach(float momentum, double delay_us, double step_us)
{
    double m = (double)momentum, t = step_us > 0 ? (delay_us + step_us) / step_us : 1;
    return (float)(m * (1 - pow(m, t)) / (1 - m));
}
