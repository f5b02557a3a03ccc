/* What the saturating sum takes of a flush: nanoseconds of the protocol thread a row, beside the
 * plain sum of the same rows, for every instruction set. */
#include "tools/bench_walk.h"

#include "node/saturator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 71480, STEPS = 1000000, NODES = 4 };

static void meetings(const struct hm_model *model, unsigned tensor, float *out)
{
    (void)model;
    (void)tensor;
    for (uint32_t i = 0; i < ROWS; i++) /* as of words by Zipf's law, subsampled */
        out[i] = (float)fmin(3e-2, 3 / (double)(i + 10));
}

static uint32_t met(const struct hm_model *model, unsigned tensor, struct hm_rng *rng)
{
    (void)model;
    (void)tensor;
    return (uint32_t)pow(ROWS, hm_rng_unit(rng)) - 1;
}

static double rate(const struct hm_model *model, double t)
{
    (void)model;
    (void)t;
    return .025;
}

struct flush {
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_dirty dirty;
    struct hm_delta delta;
    struct hm_extract_stats stats;
    struct hm_saturator saturator;
};

static double processor_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Rows with a common part and a change as a flush finds it. */
static void wander(struct flush *f, struct hm_rng *rng, float step)
{
    for (unsigned side = 0; side < 2; side++) {
        const struct hm_tensor *t = &f->layout.tensor[side];
        hm_cell *w = f->weights.w + hm_tensor_at(t);
        for (size_t r = 0; r < t->rows; r++, w += t->stride)
            for (uint32_t k = 0; k < t->cols; k++)
                hm_cell_add(w + k, step * (float)(hm_rng_unit(rng) - (k % 7 ? .5 : .2)));
    }
    hm_dirty_mark_all(&f->dirty);
}

static double plain(struct flush *f, const struct hm_kernels *kernels)
{
    const struct hm_publish publish = {1, 1, 0};
    double from = processor_s();
    f->delta.n_blocks = f->delta.n_nonzero = 0;
    hm_dirty_extract(&f->dirty, kernels, &f->weights, &publish, &f->delta, &f->stats);
    return processor_s() - from;
}

/* estimated: the part that estimating directions took. */
static double saturated(struct flush *f, const struct hm_kernels *kernels, uint64_t turn_number,
                        bool estimates)
{
    const struct hm_publish publish = {1, 1, 0};
    const struct hm_saturator_turn turn = {.own_steps = turn_number * STEPS,
                                           .mesh_steps = turn_number * STEPS * NODES,
                                           .pass_steps = STEPS,
                                           .room_blocks = UINT64_MAX,
                                           .n_live = NODES};
    if (!estimates)
        f->saturator.estimated_at = turn.mesh_steps;
    double from = processor_s();
    f->delta.n_blocks = f->delta.n_nonzero = 0;
    hm_saturator_extract(&f->saturator, kernels, &publish, &turn, &f->delta, &f->stats);
    return processor_s() - from;
}

static void open_flush(struct flush *f, const struct hm_model *model, unsigned dim, const char *isa)
{
    struct hm_err err;
    *f = (struct flush){0};
    must(hm_layout_add(&f->layout, "in", ROWS, dim, -18, &err), &err);
    must(hm_layout_add(&f->layout, "out", ROWS, dim, -18, &err), &err);
    must(hm_weights_init(&f->weights, &f->layout, &err), &err);
    must(hm_delta_init(&f->delta, f->layout.n_blocks, &err), &err);
    must(hm_dirty_init(&f->dirty, f->layout.n_blocks, &err), &err);
    must(hm_saturator_open(&f->saturator, model, isa, &f->dirty, &f->weights, &err), &err);
}

static void close_flush(struct flush *f)
{
    hm_saturator_close(&f->saturator);
    hm_dirty_fini(&f->dirty);
    hm_delta_fini(&f->delta);
    hm_weights_fini(&f->weights);
}

json_t *saturate(unsigned dim, uint64_t n)
{
    static const struct hm_model_ops ops = {.meetings = meetings, .met = met, .rate = rate};
    static const struct hm_model model = {.ops = &ops};
    json_t *all = json_object();
    for (unsigned i = 0; hm_kernels_at(i); i++) {
        const struct hm_kernels *kernels = hm_kernels_at(i);
        struct hm_rng rng = hm_rng_seed(1, i);
        struct flush f;
        json_t *json = json_object();
        open_flush(&f, &model, dim, kernels->name);
        for (uint64_t turn = 1; turn <= n + 1; turn++) {
            const double rows = 2. * ROWS;
            wander(&f, &rng, .02f);
            double sum = plain(&f, kernels) * 1e9 / rows;
            wander(&f, &rng, .02f);
            double rule = saturated(&f, kernels, 2 * turn, false) * 1e9 / rows;
            wander(&f, &rng, .02f);
            double both = saturated(&f, kernels, 2 * turn + 1, true) * 1e3;
            if (turn == 1)
                continue;
            add(json, "sum_ns", sum);
            add(json, "saturate_ns", rule);
            add(json, "estimate_ms", both - rule * rows * 1e-6);
        }
        close_flush(&f);
        json_object_set_new(all, kernels->name, json);
    }
    return all;
}
