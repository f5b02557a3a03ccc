/* Workers whose batches take a set time: virtual time in the simulator, a floor under the real one
 * in processes. A batch is claimed when it begins and counts when it ends. With --step-time or
 * --delay its gradient is taken at the beginning and added at the end, as the workers of an
 * asynchronous system do, and so it is in synchronous rounds; with nothing but a speed, small
 * chunks take their steps at the end. */
#include "node/node_state.h"

#include <math.h>
#include <stdlib.h>

/* Of work at a speed, between one look at W and the next: below the delay of any link. Slow nodes
 * may take longer for a chunk that is worth an event. */
static const double CHUNK_SECONDS = 20e-6, CHUNK_SECONDS_MAX = 1e-3, CHUNK_WORTH = 64;

static bool said(const struct hm_dist *dist)
{
    return dist && dist->kind != HM_DIST_NONE;
}

bool hm_pace_by_gradient(const struct hm_node *node)
{
    return said(node->options.step_time) || said(node->options.delay) || node->rounds.weights;
}

bool hm_is_paced(const struct hm_node *node)
{
    return node->options.speed > 0 || hm_pace_by_gradient(node);
}

void hm_pace_seed(struct pace *pace, uint64_t seed, uint64_t place)
{
    pace->step_rng = hm_rng_seed(seed, hm_mix(place) + 1);
    pace->delay_rng = hm_rng_seed(seed, hm_mix(place) + 2);
}

/* The draws of a node belong to its place in the mesh, so that runs that are compared share them.
 */
static uint64_t place_of(const struct worker *worker)
{
    const struct hm_node_options *o = &worker->node->options;
    uint64_t node = o->rank >= 0 ? (uint64_t)o->rank : o->life;
    return hm_pace_place(node, (unsigned)(worker - worker->node->worker));
}

enum hm_status hm_grad_open(struct hm_grad *grad, const struct hm_model *model, struct hm_err *err)
{
    size_t room = model->grad_max;
    grad->span = malloc(room * sizeof *grad->span);
    grad->value = malloc(room * sizeof *grad->value);
    if (grad->span && grad->value)
        return HM_OK;
    return hm_fail(err, HM_ENOMEM, "no memory for gradients of %zu numbers; lower --batch", room);
}

void hm_grad_close(struct hm_grad *grad)
{
    free(grad->span);
    free(grad->value);
    *grad = (struct hm_grad){0};
}

enum hm_status hm_pace_open_gradient(struct pace *pace, const struct hm_model *model, size_t n,
                                     uint64_t measure, struct hm_err *err)
{
    size_t read = model->read_floats;
    enum hm_status status = hm_grad_open(&pace->grad, model, err);
    pace->read = read ? malloc(read * sizeof *pace->read) : NULL;
    if (!status && read && !pace->read)
        status = hm_fail(err, HM_ENOMEM, "no memory for %zu weights", read);
    return status || !measure ? status : hm_gauge_open(&pace->gauge, model, n, measure, err);
}

void hm_pace_close_gradient(struct pace *pace)
{
    hm_grad_close(&pace->grad);
    hm_gauge_close(pace->gauge);
    free(pace->read);
    pace->gauge = NULL;
    pace->read = NULL;
}

enum hm_status hm_pace_open(struct worker *worker, struct hm_err *err)
{
    const struct hm_node *node = worker->node;
    struct pace *pace = &worker->pace;
    hm_pace_seed(pace, node->options.train.seed, place_of(worker));
    return hm_pace_by_gradient(node) ? hm_pace_open_gradient(pace, node->model, node->weights.n,
                                                             node->options.measure_staleness, err)
                                     : HM_OK;
}

void hm_pace_close(struct worker *worker)
{
    hm_pace_close_gradient(&worker->pace);
}

unsigned hm_pace_chunk(const struct hm_node *node)
{
    unsigned batch = node->model->batch;
    double speed = node->options.speed;
    double n = fmax(speed * CHUNK_SECONDS, fmin(speed * CHUNK_SECONDS_MAX, CHUNK_WORTH));
    if (hm_pace_by_gradient(node) || batch > 1 || n < 1)
        return batch;
    return n < node->model->chunk ? (unsigned)n : node->model->chunk;
}

uint64_t hm_pace_draw_ns(struct pace *pace, const struct hm_node_options *o, unsigned n)
{
    double ns = o->speed > 0 && !said(o->step_time) ? n * 1e9 / o->speed : 0;
    uint64_t us = 0;
    if (said(o->step_time))
        us += hm_dist_draw(o->step_time, &pace->step_rng, &pace->step_position);
    if (said(o->delay))
        us += hm_dist_draw(o->delay, &pace->delay_rng, &pace->delay_position);
    return us * 1000 + (uint64_t)ns;
}

void hm_pace_gradient(struct pace *pace, const struct hm_model *model, const struct hm_shard *shard,
                      struct hm_step step, uint64_t from, unsigned n)
{
    pace->grad.n_spans = pace->grad.n_values = 0;
    pace->grad.loss = 0;
    step.from = from;
    step.n = n;
    step.read = pace->read;
    model->ops->grad(model, shard, &step, &pace->grad);
}

/* Where gradients are taken. */
static hm_cell *read_at(const struct worker *worker)
{
    const struct hm_node *node = worker->node;
    return node->rounds.weights ? node->rounds.w : worker->step.w;
}

/* Examples in W that others have added: what is published and not this node's, and what its threads
 * have made; of these the worker's own do not change while it has a gradient under way. */
static uint64_t others(const struct hm_node *node)
{
    return atomic_load_explicit(&node->shared.steps, memory_order_relaxed) -
           atomic_load_explicit(&node->shared.taken, memory_order_relaxed) + hm_node_made(node);
}

bool hm_pace_begin(struct worker *worker, unsigned n)
{
    struct hm_node *node = worker->node;
    struct pace *pace = &worker->pace;
    n = hm_worker_claim(worker, n, &pace->from);
    if (!n)
        return false;
    uint64_t now_ns = hm_node_now(node) * 1000;
    /* What microseconds cut off is not lost: one batch begins where the one before ended. */
    if (pace->due_ns + 1000 <= now_ns || pace->due_ns > now_ns)
        pace->due_ns = now_ns;
    pace->due_ns += hm_pace_draw_ns(pace, &node->options, n);
    pace->scale = worker->step.scale;
    pace->read_steps = atomic_load_explicit(&node->shared.steps, memory_order_relaxed);
    atomic_store_explicit(&worker->claimed, n, memory_order_relaxed);
    if (pace->grad.value) {
        atomic_fetch_add_explicit(&worker->reads, 1, memory_order_seq_cst); /* before it reads W */
        struct hm_step step = worker->step;
        step.w = read_at(worker);
        hm_gauge_read(pace->gauge, step.w, others(node));
        hm_pace_gradient(pace, node->model, worker->shard, step, pace->from, n);
    }
    return true;
}

uint64_t hm_pace_due_us(const struct worker *worker)
{
    return (worker->pace.due_ns + 999) / 1000;
}

/* In W's name what its gradient was: worth knowing before it is added. */
static void measure(struct worker *worker, unsigned n, double t)
{
    struct pace *pace = &worker->pace;
    struct hm_step step = worker->step;
    step.w = read_at(worker);
    step.from = pace->from;
    step.n = n;
    step.t = t;
    step.scale = pace->scale;
    hm_gauge_add(pace->gauge, worker->node->model, worker->shard, &step, &pace->grad,
                 others(worker->node));
}

/* Its staleness is what has been published since, in batches. */
static void add_gradient(struct worker *worker, unsigned n)
{
    struct hm_node *node = worker->node;
    struct pace *pace = &worker->pace;
    struct hm_step *step = &worker->step;
    uint64_t steps = atomic_load_explicit(&node->shared.steps, memory_order_relaxed);
    float scale = step->scale;
    step->from = pace->from;
    step->n = n;
    step->scale = pace->scale;
    step->read = pace->read;
    step->staleness =
        steps > pace->read_steps ? (double)(steps - pace->read_steps) / node->model->batch : 0;
    hm_model_apply(node->model, step, &pace->grad);
    step->scale = scale;
}

bool hm_pace_end(struct worker *worker, double t)
{
    struct pace *pace = &worker->pace;
    unsigned n = atomic_load_explicit(&worker->claimed, memory_order_relaxed);
    if (hm_node_now(worker->node) < hm_pace_due_us(worker))
        return false;
    atomic_store_explicit(&worker->claimed, 0, memory_order_relaxed);
    if (!pace->grad.value) {
        hm_worker_take(worker, pace->from, n);
        return true;
    }
    measure(worker, n, t);
    add_gradient(worker, n);
    atomic_fetch_add_explicit(&worker->reads, 1, memory_order_release); /* before it counts */
    uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);
    atomic_store_explicit(&worker->steps, steps + n, memory_order_relaxed);
    hm_worker_show(worker);
    return true;
}
