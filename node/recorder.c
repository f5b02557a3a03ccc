#include "node/recorder.h"

#include "node/node_state.h"
#include "node/trajectory.h"

#include <stdlib.h>
#include <string.h>

/* The driver fills b and point while EMPTY and sets FULL; the thread writes them and sets EMPTY.
 * Release and acquire: each finds what the other has left. */
enum recorder_state { EMPTY, FULL };

struct hm_recorder {
    struct hm_trajectory *trajectory;
    uint32_t *b;
    struct hm_curve_point point;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    _Atomic int state;
    bool end;           /* under mutex */
    uint64_t due_steps; /* the driver's, as is what follows */
    bool warned;
    enum hm_status status; /* of the last point: with `err` the thread's while FULL */
    struct hm_err err;
};

static void *recorder_main(void *argument)
{
    struct hm_recorder *r = argument;
    pthread_mutex_lock(&r->mutex);
    while (!r->end) {
        if (atomic_load_explicit(&r->state, memory_order_acquire) == EMPTY) {
            pthread_cond_wait(&r->moved, &r->mutex);
            continue;
        }
        pthread_mutex_unlock(&r->mutex);
        r->status = hm_trajectory_add(r->trajectory, r->b, &r->point, false, &r->err);
        pthread_mutex_lock(&r->mutex);
        atomic_store_explicit(&r->state, EMPTY, memory_order_release);
        pthread_cond_broadcast(&r->moved);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

/* A trajectory that cannot be written costs nothing but itself. */
static void warn(struct hm_node *node)
{
    struct hm_recorder *r = node->recorder;
    if (r->status && !r->warned)
        hm_node_log(node, HM_NOTE_WARNING, "%s; training goes on, no more points are taken",
                    r->err.text);
    r->warned |= r->status != HM_OK;
}

void hm_recorder_serve(struct hm_node *node)
{
    struct hm_recorder *r = node->recorder;
    if (!r || hm_node_point_steps(node) < r->due_steps ||
        atomic_load_explicit(&r->state, memory_order_acquire) == FULL)
        return;
    warn(node);
    uint64_t every = node->options.trajectory_every;
    const uint32_t *b;
    r->point = hm_node_point(node, &b);
    r->due_steps = r->point.steps - r->point.steps % every + every;
    memcpy(r->b, b, node->weights.n * sizeof *r->b);
    pthread_mutex_lock(&r->mutex);
    atomic_store_explicit(&r->state, FULL, memory_order_release);
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->mutex);
}

enum hm_status hm_recorder_open(struct hm_node *node, struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    if (!o->trajectory_path)
        return HM_OK;
    if (!o->trajectory_every)
        return hm_fail(err, HM_EUSAGE, "a trajectory needs a number of steps between its points");
    struct hm_recorder *r = node->recorder = calloc(1, sizeof *r);
    if (!r)
        return hm_fail(err, HM_ENOMEM, "no memory for a trajectory");
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->moved, NULL);
    r->b = malloc(node->weights.n * sizeof *r->b);
    if (!r->b)
        return hm_fail(err, HM_ENOMEM, "no memory for a trajectory");
    enum hm_status status = hm_trajectory_open(&r->trajectory, node->model, o->label,
                                               o->trajectory_path, o->resume, err);
    if (status)
        return status;
    if (pthread_create(&r->thread, NULL, recorder_main, r) != 0)
        return hm_fail(err, HM_ENOMEM, "cannot start the thread that writes the trajectory");
    r->started = true;
    hm_recorder_serve(node); /* the weights that it begins with, before it hears of others' */
    return HM_OK;
}

static void wait_for_thread(struct hm_recorder *r)
{
    pthread_mutex_lock(&r->mutex);
    while (atomic_load_explicit(&r->state, memory_order_acquire) == FULL)
        pthread_cond_wait(&r->moved, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
}

void hm_recorder_finish(struct hm_node *node)
{
    struct hm_recorder *r = node->recorder;
    struct hm_node_report *report = &node->report;
    if (!r)
        return;
    wait_for_thread(r);
    const uint32_t *b;
    struct hm_curve_point point = hm_node_point(node, &b);
    r->status = hm_trajectory_add(r->trajectory, b, &point, true, &r->err);
    warn(node);
    report->n_trajectory = hm_trajectory_points(r->trajectory);
    if (r->status)
        report->trajectory_err = r->err;
}

void hm_recorder_close(struct hm_node *node)
{
    struct hm_recorder *r = node->recorder;
    if (!r)
        return;
    if (r->started) {
        wait_for_thread(r);
        pthread_mutex_lock(&r->mutex);
        r->end = true;
        pthread_cond_broadcast(&r->moved);
        pthread_mutex_unlock(&r->mutex);
        pthread_join(r->thread, NULL);
    }
    hm_trajectory_close(r->trajectory);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->moved);
    free(r->b);
    free(r);
    node->recorder = NULL;
}
