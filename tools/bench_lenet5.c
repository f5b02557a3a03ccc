/* LeNet5's training steps on one core, without a mesh, beside another program that takes turns.
 *
 * What a step costs depends on how many pooled windows are dead, so the network is trained for a
 * while first, and steps that are timed have a rate too small to change that. */
#include "tools/bench_walk.h"

#include "models/lenet5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_STEPS = 1500, WARM_BATCH = 32 };

static const double SECONDS = .4;

/* Of this process: others may be at work on the machine. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct walk open_walk(const char *data, unsigned batch, double lr)
{
    struct walk walk = {0};
    struct hm_fields config = {0};
    struct hm_err err;
    struct hm_train_options options = {.data = data,
                                       .batch = batch,
                                       .lr = lr,
                                       .schedule = "constant",
                                       .momentum = .9,
                                       .momentum_given = 1,
                                       .nesterov = 1,
                                       .clip_given = 1,
                                       .threads = 1,
                                       .nodes = 1};
    must(hm_lenet5.open(&walk.model, &options, NULL, &err), &err);
    must(hm_lenet5.found(walk.model, &config, &err), &err);
    must(hm_lenet5.adopt(walk.model, &config, NULL, 0, &walk.layout, &err), &err);
    must(hm_weights_init(&walk.weights, &walk.layout, &err), &err);
    must(hm_lenet5.shard(walk.model, HM_PARTITION_NONE, 0, 1, &walk.shard, &err), &err);
    size_t state = walk.model->state_floats * sizeof(float);
    walk.step = (struct hm_step){.w = walk.weights.w,
                                 .scale = 1,
                                 .t_per_step = 1,
                                 .n = batch,
                                 .scratch = room(walk.model->scratch_bytes),
                                 .state = room(state)};
    memset(walk.step.scratch, 0, walk.model->scratch_bytes);
    memset(walk.step.state, 0, state);
    hm_lenet5.init(walk.model, &walk.weights);
    hm_weights_settle(&walk.weights);
    return walk;
}

static void step_on(struct walk *walk)
{
    hm_lenet5.step(walk->model, &walk->shard, &walk->step);
    walk->step.from += walk->step.n;
}

static void close_walk(struct walk *walk)
{
    free(walk->step.scratch);
    free(walk->step.state);
    hm_weights_fini(&walk->weights);
    hm_lenet5.close(walk->model);
}

/* Samples a second in batches of that size, from trained weights. */
static double measure(const char *data, const struct walk *trained, unsigned batch)
{
    struct walk walk = open_walk(data, batch, 1e-6);
    for (size_t i = 0; i < walk.weights.n; i++)
        hm_cell_set(&walk.weights.w[i], hm_cell_get(&trained->weights.w[i]));
    uint64_t n = 0;
    step_on(&walk); /* memory is there, caches are warm */
    double from = processor_seconds(), to;
    do
        for (unsigned i = 0; i < 1 + 256 / batch; i++, n += batch)
            step_on(&walk);
    while ((to = processor_seconds()) - from < SECONDS);
    close_walk(&walk);
    return (double)n / (to - from);
}

void lenet5(const char *data)
{
    struct walk trained = open_walk(data, WARM_BATCH, .01);
    for (unsigned i = 0; i < WARM_STEPS; i++)
        step_on(&trained);
    puts("ready");
    fflush(stdout);
    for (unsigned batch; scanf("%u", &batch) == 1 && batch && batch <= HM_LENET5_BATCH_MAX;) {
        printf("%.1f\n", measure(data, &trained, batch));
        fflush(stdout);
    }
    close_walk(&trained);
}
