#include "tools/bench_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *room(size_t n)
{
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "hogmesh-bench: no memory\n");
        exit(1);
    }
    return p;
}

void must(enum hm_status status, const struct hm_err *err)
{
    if (!status)
        return;
    fprintf(stderr, "hogmesh-bench: %s\n", err->text);
    exit(1);
}

void add(json_t *json, const char *name, double x)
{
    json_t *list = json_object_get(json, name);
    if (!list) {
        list = json_array();
        json_object_set_new(json, name, list);
    }
    json_array_append_new(list, json_real(x));
}

struct walk walk_open(const char *train)
{
    struct walk walk = {0};
    struct hm_err err = {""};
    struct hm_train_options options = {
        .train = {train}, .n_train = 1, .epochs = 1, .nodes = 1, .threads = 1};
    static struct hm_fields config;
    must(hm_svm.open(&walk.model, &options, NULL, &err), &err);
    must(hm_svm.found(walk.model, &config, &err), &err);
    must(hm_svm.adopt(walk.model, &config, NULL, 0, &walk.layout, &err), &err);
    must(hm_weights_init(&walk.weights, &walk.layout, &err), &err);
    must(hm_svm.shard(walk.model, HM_PARTITION_NONE, 0, 1, &walk.shard, &err), &err);
    walk.step = (struct hm_step){.w = walk.weights.w,
                                 .scale = 1,
                                 .t_per_step = 1,
                                 .scratch = room(walk.model->scratch_bytes)};
    memset(walk.step.scratch, 0, walk.model->scratch_bytes);
    return walk;
}

void walk_restart(struct walk *walk)
{
    hm_svm.init(walk->model, &walk->weights);
    hm_weights_settle(&walk->weights);
    walk->at = 0;
    walk->step.t = 0;
}

void walk_on(struct walk *walk, uint64_t n)
{
    for (uint64_t left = n; left; left -= walk->step.n) {
        walk->step.from = walk->at % walk->shard.n;
        walk->step.n = left < walk->model->chunk ? left : walk->model->chunk;
        hm_svm.step(walk->model, &walk->shard, &walk->step);
        walk->step.t += (double)walk->step.n;
        walk->at += walk->step.n;
    }
}

void walk_close(struct walk *walk)
{
    free(walk->step.scratch);
    hm_weights_fini(&walk->weights);
    hm_svm.close(walk->model);
}
