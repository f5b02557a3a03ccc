/* A thread that scores the published base while training goes on: for the learning curve, for the
 * live table, and to stop at a target. It works on a copy of B that the driver makes when asked,
 * and takes a small part of a core. */
#include "node/node_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void pause_seconds(const struct hm_node *node, double seconds)
{
    /* In short naps, so that the end of the run is not held up. */
    for (; seconds > 0 && !atomic_load(&node->scorer.end); seconds -= .005) {
        double nap = seconds < .005 ? seconds : .005;
        struct timespec t = {0, (long)(nap * 1e9)};
        nanosleep(&t, NULL);
    }
}

static bool fetch(struct hm_node *node)
{
    struct scorer *scorer = &node->scorer;
    atomic_store(&scorer->ready, false);
    atomic_store(&scorer->wanted, true);
    node->env->ops->wake(node->env);
    while (!atomic_load_explicit(&scorer->ready, memory_order_acquire)) {
        if (atomic_load(&scorer->end))
            return false;
        struct timespec t = {0, 100000};
        nanosleep(&t, NULL);
    }
    return true;
}

static void record(struct hm_node *node, const struct hm_score *score, uint64_t steps)
{
    struct scorer *scorer = &node->scorer;
    uint64_t began = node->train_us; /* 0 when the first score is over before training begins */
    double seconds = began ? (double)(hm_node_now(node) - began) / 1e6 : 0;
    pthread_mutex_lock(&scorer->mutex);
    scorer->newest = *score;
    if (scorer->n_curve == HM_CURVE_MAX) { /* halve the resolution of what is past */
        for (size_t i = 0; i < HM_CURVE_MAX / 2; i++)
            scorer->curve[i] = scorer->curve[2 * i];
        scorer->n_curve = HM_CURVE_MAX / 2;
    }
    scorer->curve[scorer->n_curve++] = (struct hm_curve_point){seconds, steps, *score};
    pthread_mutex_unlock(&scorer->mutex);
}

static void *scorer_main(void *argument)
{
    struct hm_node *node = argument;
    enum hm_set set = node->model->n_test ? HM_TEST_SET : HM_TRAIN_SET;
    double target = node->options.target_accuracy;
    while (!atomic_load(&node->scorer.end)) {
        if (!fetch(node))
            break;
        struct hm_score score;
        uint64_t from = hm_node_now(node);
        if (node->model->ops->score(node->model, node->scorer.b, node->scorer.steps, set, 1, &score,
                                    NULL))
            break;
        record(node, &score, node->scorer.steps);
        if (target > 0 && score.n && score.accuracy >= target) {
            atomic_store(&node->scorer.target_reached, true);
            node->env->ops->wake(node->env);
            break;
        }
        double cost = (double)(hm_node_now(node) - from) / 1e6;
        double least = target > 0 ? .002 : node->options.score_every;
        pause_seconds(node,
                      cost * (target > 0 ? 4 : 20) > least ? cost * (target > 0 ? 4 : 20) : least);
    }
    return NULL;
}

enum hm_status hm_scorer_start(struct hm_node *node, struct hm_err *err)
{
    struct scorer *scorer = &node->scorer;
    if (node->options.target_accuracy <= 0 && node->options.score_every <= 0)
        return HM_OK;
    scorer->b = malloc(node->weights.n * sizeof *scorer->b);
    scorer->curve = malloc(HM_CURVE_MAX * sizeof *scorer->curve);
    if (!scorer->b || !scorer->curve ||
        pthread_create(&scorer->thread, NULL, scorer_main, node) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory to score while training");
    scorer->started = true;
    return HM_OK;
}

void hm_scorer_serve(struct hm_node *node)
{
    struct scorer *scorer = &node->scorer;
    if (!atomic_load(&scorer->wanted))
        return;
    memcpy(scorer->b, node->weights.b, node->weights.n * sizeof *scorer->b);
    scorer->steps = hm_mesh_steps(node->mesh);
    atomic_store(&scorer->wanted, false);
    atomic_store_explicit(&scorer->ready, true, memory_order_release);
}

void hm_scorer_stop(struct hm_node *node)
{
    if (!node->scorer.started)
        return;
    atomic_store(&node->scorer.end, true);
    pthread_join(node->scorer.thread, NULL);
    node->scorer.started = false;
}
