/* A thread that scores the published base while training goes on: for the learning curve, for the
 * live table, and to stop at a target. It works on a copy of B that the driver makes when asked,
 * and takes a small part of a core. */
#include "node/node_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double LOOK_SECONDS = .005, PART = .05, TARGET_PART = .25;

/* The end of the run is not held up. */
static void pause_seconds(struct hm_node *node, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    double whole = floor(seconds), ns = (double)until.tv_nsec + 1e9 * (seconds - whole);
    until.tv_sec += (time_t)whole + (ns >= 1e9);
    until.tv_nsec = (long)(ns >= 1e9 ? ns - 1e9 : ns);
    int waited;
    do
        waited = sem_clockwait(&node->scorer.over, CLOCK_MONOTONIC, &until);
    while (waited && errno == EINTR);
    if (!waited)
        sem_post(&node->scorer.over); /* the next pause has an end at once, too */
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

static void record(struct hm_node *node, const struct hm_curve_point *point)
{
    struct scorer *scorer = &node->scorer;
    pthread_mutex_lock(&scorer->mutex);
    scorer->newest = point->score;
    hm_curve_add(&scorer->curve, point);
    pthread_mutex_unlock(&scorer->mutex);
    if (node->options.scored)
        node->options.scored(node->options.context, point);
}

/* Measures the copy of B. */
static enum hm_status measure(struct hm_node *node, enum hm_set set, struct hm_curve_point *point)
{
    *point = node->scorer.at;
    return hm_curve_measure(node->model, node->scorer.b, set, point, NULL);
}

/* Looks out for the next multiple of so many steps. */
static void await_steps(struct hm_node *node, uint64_t every)
{
    uint64_t last = node->scorer.at.steps, next = last - last % every + every;
    node->scorer.due = next;
    while (!atomic_load(&node->scorer.end) &&
           atomic_load_explicit(&node->shared.steps, memory_order_relaxed) < next)
        pause_seconds(node, LOOK_SECONDS);
}

/* Until the next score, by what this one has cost, in seconds. */
static void rest(struct hm_node *node, double cost)
{
    double target = node->options.target_accuracy;
    double least = target > 0 ? .002 : node->options.score_every;
    double part = target > 0                     ? TARGET_PART
                  : node->options.score_part > 0 ? node->options.score_part
                                                 : PART;
    if (node->options.score_every_steps)
        await_steps(node, node->options.score_every_steps);
    else
        pause_seconds(node, fmax(cost / part, least));
}

static void *scorer_main(void *argument)
{
    struct hm_node *node = argument;
    enum hm_set set = node->model->n_test ? HM_TEST_SET : HM_TRAIN_SET;
    double target = node->options.target_accuracy;
    pthread_setname_np(pthread_self(), "score");
    while (!atomic_load(&node->scorer.end)) {
        if (!fetch(node))
            break;
        struct hm_curve_point point;
        uint64_t from = hm_node_now(node);
        if (measure(node, set, &point))
            break;
        record(node, &point);
        if (target > 0 && point.score.n && point.score.accuracy >= target) {
            atomic_store(&node->scorer.target_reached, true);
            node->env->ops->wake(node->env);
            break;
        }
        rest(node, (double)(hm_node_now(node) - from) / 1e6);
    }
    return NULL;
}

enum hm_status hm_scorer_start(struct hm_node *node, struct hm_err *err)
{
    struct scorer *scorer = &node->scorer;
    const struct hm_node_options *o = &node->options;
    if (o->target_accuracy <= 0 && o->score_every <= 0 && !o->score_every_steps)
        return HM_OK;
    scorer->b = malloc(node->weights.n * sizeof *scorer->b);
    sem_init(&scorer->over, 0, 0);
    if (!scorer->b || pthread_create(&scorer->thread, NULL, scorer_main, node) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory to score while training");
    scorer->started = true;
    return HM_OK;
}

void hm_scorer_serve(struct hm_node *node)
{
    struct scorer *scorer = &node->scorer;
    if (!atomic_load(&scorer->wanted) || hm_node_point_steps(node) < scorer->due)
        return; /* not asked for, or within a round */
    const uint32_t *b;
    scorer->at = hm_node_point(node, &b);
    memcpy(scorer->b, b, node->weights.n * sizeof *scorer->b);
    atomic_store(&scorer->wanted, false);
    atomic_store_explicit(&scorer->ready, true, memory_order_release);
}

void hm_scorer_stop(struct hm_node *node)
{
    if (!node->scorer.started)
        return;
    atomic_store(&node->scorer.end, true);
    sem_post(&node->scorer.over);
    pthread_join(node->scorer.thread, NULL);
    sem_destroy(&node->scorer.over);
    node->scorer.started = false;
}
