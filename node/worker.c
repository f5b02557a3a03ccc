/* Worker threads: claim examples, step on W, count. They know nothing of peers. */
#include "node/node_state.h"
#include "sparse/zeroed.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { CROWDED_NICE = 10, NAP_US = 5000 };

static uint64_t load(const _Atomic uint64_t *x)
{
    return atomic_load_explicit(x, memory_order_relaxed);
}

uint64_t hm_node_made(const struct hm_node *node)
{
    uint64_t made = 0;
    for (unsigned i = 0; i < node->n_workers; i++)
        made += load(&node->worker[i].steps);
    return made;
}

uint64_t hm_node_settled(const struct hm_node *node)
{
    uint64_t settled = 0;
    for (unsigned i = 0; i < node->n_workers; i++)
        settled += load(&node->worker[i].settled);
    return settled;
}

uint64_t hm_workers_extract(struct hm_node *node)
{
    uint64_t settled = 0;
    for (unsigned i = 0; i < node->n_workers; i++) {
        struct worker *worker = &node->worker[i];
        worker->extracting = atomic_load_explicit(&worker->settled, memory_order_acquire);
        settled += worker->extracting;
    }
    return settled;
}

void hm_workers_extracted(struct hm_node *node)
{
    for (unsigned i = 0; i < node->n_workers; i++)
        atomic_store_explicit(&node->worker[i].extracted, node->worker[i].extracting,
                              memory_order_release);
    atomic_fetch_add(&node->shared.extracts_done, 1);
}

/* Blocks until the gate has been opened since `generation`, or `until` (CLOCK_MONOTONIC; NULL: for
 * ever); wakes the driver first. False: `until` has come. */
static bool wait_for_driver(struct hm_node *node, uint64_t generation, const struct timespec *until)
{
    int late = 0;
    struct gate *gate = &node->gate;
    atomic_fetch_add_explicit(&gate->n_waiting, 1, memory_order_seq_cst);
    hm_node_wake(node);
    pthread_mutex_lock(&gate->mutex);
    while (atomic_load(&gate->generation) == generation && !atomic_load(&node->shared.ended) &&
           !late)
        late = until ? pthread_cond_clockwait(&gate->moved, &gate->mutex, CLOCK_MONOTONIC, until)
                     : pthread_cond_wait(&gate->moved, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    atomic_fetch_sub_explicit(&gate->n_waiting, 1, memory_order_seq_cst);
    return !late;
}

bool hm_workers_may_go(struct hm_node *node)
{
    const struct for_workers *shared = &node->shared;
    struct gate *gate = &node->gate;
    uint64_t steps = load(&shared->steps), taken = load(&shared->taken),
             cap = load(&shared->steps_cap), claims = load(&shared->claims_max);
    uint32_t n_live = atomic_load_explicit(&shared->n_live, memory_order_relaxed),
             extracts = atomic_load_explicit(&shared->extracts_done, memory_order_relaxed);
    bool same = gate->seen.valid && steps == gate->seen.steps && taken == gate->seen.taken &&
                cap == gate->seen.steps_cap && claims == gate->seen.claims_max &&
                n_live == gate->seen.n_live && extracts == gate->seen.extracts_done;
    gate->seen = (struct seen){true, steps, taken, cap, claims, n_live, extracts};
    return !same;
}

void hm_workers_open_gate(struct hm_node *node)
{
    struct gate *gate = &node->gate;
    pthread_mutex_lock(&gate->mutex);
    atomic_fetch_add(&gate->generation, 1);
    pthread_cond_broadcast(&gate->moved);
    pthread_mutex_unlock(&gate->mutex);
}

/* Mesh-wide steps as far as this node can tell: what is published, and that the others make as many
 * unseen steps as this node. */
struct view {
    uint64_t round, steps, unflushed, n_live;
};

static struct view view_of(const struct hm_node *node)
{
    uint64_t round = atomic_load_explicit(&node->shared.round, memory_order_acquire); /* first */
    uint64_t taken = load(&node->shared.taken), made = hm_node_made(node);
    return (struct view){round, load(&node->shared.steps), made > taken ? made - taken : 0,
                         atomic_load_explicit(&node->shared.n_live, memory_order_relaxed)};
}

/* A batch to train on, with examples left; false: there is none. */
static bool have_batch(struct worker *worker)
{
    struct hm_feed *feed = worker->node->feed;
    struct hm_feed_slot *slot = worker->slot;
    if (slot && worker->slot_at < slot->shard.n)
        return true;
    if (slot)
        hm_feed_give_back(feed, slot);
    worker->slot = slot = hm_feed_take(feed, &worker->waits_for_batch);
    worker->slot_at = 0;
    if (slot)
        worker->shard = &slot->shard;
    return slot != NULL;
}

/* What has been trained on to the end is not lost. */
static void end_batch(struct worker *worker)
{
    struct hm_feed_slot *slot = worker->slot;
    if (slot && worker->slot_at == slot->shard.n)
        hm_feed_give_back(worker->node->feed, slot);
    worker->slot = NULL;
}

/* Whether another thread's claim has used up what the bound allows shows only here. Whole batches:
 * parts of them would breed parts everywhere. */
unsigned hm_worker_claim(struct worker *worker, unsigned n, uint64_t *from)
{
    struct hm_node *node = worker->node;
    uint64_t at = load(&node->cursor);
    unsigned taken;
    if (node->feed && !have_batch(worker))
        return 0;
    if (node->feed && worker->slot->shard.n - worker->slot_at < n)
        n = (unsigned)(worker->slot->shard.n - worker->slot_at);
    do {
        uint64_t claimed = at - node->cursor_first, most = load(&node->shared.claims_max);
        uint64_t left = most > claimed ? most - claimed : 0;
        taken = left < n ? (unsigned)(left - left % node->model->batch) : n;
    } while (taken &&
             !atomic_compare_exchange_weak_explicit(&node->cursor, &at, at + taken,
                                                    memory_order_relaxed, memory_order_relaxed));
    *from = at;
    if (node->feed) {
        *from = worker->slot_at;
        worker->slot_at += taken;
    }
    return taken;
}

/* How many examples a thread may take now: 0 when it has to wait for the driver. */
static unsigned allowance(const struct hm_node *node, const struct view *view)
{
    uint64_t budget = node->model->budget_steps, n = node->model->chunk;
    if (view->unflushed >= load(&node->shared.steps_cap))
        return 0;
    if (budget) {
        uint64_t guess = view->steps + view->unflushed * view->n_live;
        uint64_t left = guess < budget ? (budget - guess + view->n_live - 1) / view->n_live : 0;
        n = left < n ? left : n;
    }
    return (unsigned)n;
}

/* What the driver may see of the thread's work. Release: a step that counts as settled has been
 * added to W. */
void hm_worker_show(struct worker *worker)
{
    const struct hm_step *step = &worker->step;
    atomic_store_explicit(&worker->n_sampled, step->n_sampled, memory_order_relaxed);
    atomic_store_explicit(&worker->n_wiped, step->n_wiped, memory_order_relaxed);
    atomic_store_explicit(&worker->settled, load(&worker->steps) - step->held,
                          memory_order_release);
}

void hm_worker_take(struct worker *worker, uint64_t from, unsigned n)
{
    struct hm_node *node = worker->node;
    struct hm_step *step = &worker->step;
    step->from = from;
    step->n = n;
    node->model->ops->step(node->model, worker->shard, step);
    atomic_store_explicit(&worker->steps, load(&worker->steps) + n, memory_order_relaxed);
    hm_worker_show(worker);
}

/* Nothing is to stay behind in the thread's scratch. */
static void settle(struct worker *worker)
{
    const struct hm_model *model = worker->node->model;
    if (model->ops->settle)
        model->ops->settle(model, &worker->step);
    hm_worker_show(worker);
}

static enum worker_says end(struct worker *worker)
{
    if (!worker->settled_last)
        settle(worker);
    worker->settled_last = true;
    end_batch(worker);
    return WORKER_ENDED;
}

/* --flush step: the thread goes on only when an extract that its steps were in has ended. */
static bool awaits_delta(const struct worker *worker)
{
    return worker->node->options.flush == HM_FLUSH_STEP &&
           atomic_load_explicit(&worker->extracted, memory_order_acquire) < load(&worker->settled);
}

static double time_of(const struct worker *worker, const struct view *view)
{
    return (double)view->steps + (double)worker->step.t_per_step * (double)view->unflushed;
}

static void look_around(struct worker *worker, const struct view *view)
{
    struct hm_step *step = &worker->step;
    const struct for_workers *shared = &worker->node->shared;
    step->scale = atomic_load_explicit(&shared->scale, memory_order_relaxed);
    step->t_per_step = atomic_load_explicit(&shared->divisor, memory_order_relaxed);
    step->ahead = worker->node->combiner.ahead.v;
    step->reach = atomic_load_explicit(&shared->reach, memory_order_relaxed);
    step->t = time_of(worker, view);
}

static enum worker_says paced_step(struct worker *worker, struct view *view)
{
    struct hm_node *node = worker->node;
    if (atomic_load_explicit(&worker->claimed, memory_order_relaxed)) {
        if (!worker->pace.grad.value)
            look_around(worker, view);
        if (!hm_pace_end(worker, time_of(worker, view)))
            return WORKER_PAUSES;
        if (node->options.flush != HM_FLUSH_STEP)
            return WORKER_STEPPED;
        settle(worker);
        return WORKER_WAITS;
    }
    look_around(worker, view);
    for (unsigned i = 0; i < node->n_workers; i++)
        view->unflushed += atomic_load_explicit(&node->worker[i].claimed, memory_order_relaxed);
    unsigned n = allowance(node, view), most = hm_pace_chunk(node);
    bool had_its_turn = node->rounds.weights && view->round == worker->round;
    if (n && !had_its_turn && hm_pace_begin(worker, n < most ? n : most)) {
        worker->round = view->round;
        return WORKER_PAUSES;
    }
    settle(worker);
    return WORKER_WAITS;
}

/* ---- the optimiser's state ---- */

static size_t state_bytes(const struct hm_node *node)
{
    return node->model->state_floats * sizeof(float);
}

static void give_state(struct worker *worker)
{
    /* Acquire: the driver has read what was given before. */
    uint32_t asked = atomic_load_explicit(&worker->state_asked, memory_order_acquire);
    if (asked == atomic_load_explicit(&worker->state_given, memory_order_relaxed))
        return;
    memcpy(worker->state_kept, worker->step.state, state_bytes(worker->node));
    atomic_store_explicit(&worker->state_given, asked, memory_order_release);
}

static bool has_given(const struct worker *worker)
{
    return atomic_load_explicit(&worker->state_asked, memory_order_relaxed) ==
           atomic_load_explicit(&worker->state_given, memory_order_acquire);
}

enum hm_status hm_states_open(struct hm_node *node, struct hm_err *err)
{
    size_t n = state_bytes(node);
    for (unsigned i = 0; n && i < node->n_workers; i++) {
        struct worker *worker = &node->worker[i];
        worker->state_kept = malloc(n);
        if (!worker->state_kept)
            return hm_fail(err, HM_ENOMEM, "no memory for a copy of the optimiser's state");
        memcpy(worker->state_kept, worker->step.state, n);
    }
    return HM_OK;
}

void hm_states_ask(struct hm_node *node)
{
    for (unsigned i = 0; i < node->n_workers; i++)
        if (node->worker[i].state_kept && has_given(&node->worker[i]))
            atomic_fetch_add_explicit(&node->worker[i].state_asked, 1, memory_order_release);
}

bool hm_states_given(const struct hm_node *node)
{
    bool given = true;
    for (unsigned i = 0; i < node->n_workers; i++)
        given &= has_given(&node->worker[i]);
    return given;
}

void hm_states_copy(const struct hm_node *node, float *out)
{
    for (unsigned i = 0; i < node->n_workers; i++, out += node->model->state_floats) {
        const struct worker *worker = &node->worker[i];
        if (!worker->started)
            memcpy(out, worker->step.state, state_bytes(node));
        else if (has_given(worker))
            memcpy(out, worker->state_kept, state_bytes(node));
    }
}

enum worker_says hm_worker_step(struct worker *worker)
{
    struct hm_node *node = worker->node;
    give_state(worker);
    if (atomic_load_explicit(&node->shared.ended, memory_order_relaxed))
        return end(worker);
    if (!atomic_load(&node->shared.running) || awaits_delta(worker))
        return WORKER_WAITS;
    struct view view = view_of(node);
    if (hm_is_paced(node))
        return paced_step(worker, &view);
    uint64_t from;
    unsigned n = allowance(node, &view);
    n = n ? hm_worker_claim(worker, n, &from) : 0;
    if (!n) {
        settle(worker);
        return WORKER_WAITS;
    }
    look_around(worker, &view);
    hm_worker_take(worker, from, n);
    if (node->options.flush == HM_FLUSH_STEP)
        settle(worker);
    return WORKER_STEPPED;
}

/* Whether the workers of all nodes on this host, and so many other threads of each, are more than
 * there are processors. */
bool hm_workers_crowd(const struct hm_node *node, unsigned others)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = node->options.train.threads + others;
    return processors > 0 && (long)(node->options.local_nodes * threads) > processors;
}

/* ---- the caller's threads ---- */

/* The others' threads may each be a batch ahead of what is counted here. */
static bool caller_may_go(struct hm_node *node)
{
    struct view view = view_of(node);
    uint64_t made = hm_node_made(node), most = load(&node->shared.claims_max);
    return allowance(node, &view) && most > made && most - made >= node->model->batch;
}

/* Counts steps, unless the run is over. */
static bool count(struct hm_node *node, uint64_t n)
{
    struct worker *worker = &node->worker[0];
    atomic_fetch_add(&node->callers_counting, 1); /* before looking: see hm_workers_join */
    bool ended = atomic_load(&node->shared.ended);
    if (!ended) {
        atomic_fetch_add_explicit(&worker->steps, n, memory_order_relaxed);
        /* Release: what counts as settled has been added to W. */
        atomic_fetch_add_explicit(&worker->settled, n, memory_order_release);
    }
    atomic_fetch_sub(&node->callers_counting, 1);
    return !ended;
}

/* Nothing that this thread adds from now on is in the model. */
static int over(struct hm_node *node)
{
    struct gate *gate = &node->gate;
    pthread_mutex_lock(&gate->mutex);
    while (!atomic_load(&node->callers_parted))
        pthread_cond_wait(&gate->moved, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    return 0;
}

/* The caller's threads notice the end later, some in the midst of a batch: the node goes on with a
 * copy. Without memory for one they had better come to their ends soon. */
static void part_from_callers(struct hm_node *node)
{
    while (atomic_load(&node->callers_counting)) /* for a few instructions */
        sched_yield();
    if (atomic_load(&node->callers_parted))
        return;
    const size_t n = node->weights.n;
    hm_cell *copy = node->weights.w ? hm_zeroed(n * sizeof *copy) : NULL;
    for (size_t i = 0; copy && i < n; i++)
        hm_cell_set(&copy[i], hm_cell_get(&node->weights.w[i]));
    if (copy) {
        node->callers_w = node->weights.w;
        node->weights.w = copy;
    }
    atomic_store(&node->callers_parted, true);
    hm_workers_open_gate(node);
}

int hm_caller_step(struct hm_node *node, uint64_t n, const struct timespec *until)
{
    if (!count(node, n))
        return over(node);
    for (;;) {
        uint64_t generation = atomic_load(&node->gate.generation); /* before looking, not after */
        if (atomic_load(&node->shared.ended))
            return over(node);
        if (atomic_load(&node->shared.running) && !awaits_delta(&node->worker[0]) &&
            caller_may_go(node)) {
            atomic_fetch_add_explicit(&node->cursor, 1, memory_order_relaxed);
            return 1;
        }
        if (!wait_for_driver(node, generation, until))
            return -1;
    }
}

/* With more workers on this host than processors, protocol threads, which need little, go first: a
 * peer that does not get its turn for seconds looks dead to the others. */
static void make_way(const struct hm_node *node)
{
    if (hm_workers_crowd(node, 0))
        setpriority(PRIO_PROCESS, (id_t)gettid(), CROWDED_NICE);
}

/* In naps, so that the end of the run is not held up. */
static void sleep_until(const struct hm_node *node, uint64_t due_us)
{
    for (uint64_t now; (now = hm_node_now(node)) < due_us;) {
        if (atomic_load_explicit(&node->shared.ended, memory_order_relaxed))
            return;
        uint64_t nap = due_us - now < NAP_US ? due_us - now : NAP_US;
        struct timespec t = {0, (long)nap * 1000};
        nanosleep(&t, NULL);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct hm_node *node = worker->node;
    make_way(node);
    for (;;) {
        uint64_t generation = atomic_load(&node->gate.generation); /* before looking, not after */
        switch (hm_worker_step(worker)) {
        case WORKER_STEPPED:
            break;
        case WORKER_PAUSES:
            sleep_until(node, hm_pace_due_us(worker));
            break;
        case WORKER_WAITS:
            wait_for_driver(node, generation, NULL);
            break;
        case WORKER_ENDED:
            return NULL;
        }
    }
}

/* Zeroed, a cache line longer than asked for, so that threads share none. */
static void *own_memory(size_t bytes)
{
    size_t n = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE + CACHE_LINE;
    void *memory = aligned_alloc(CACHE_LINE, n);
    return memory ? memset(memory, 0, n) : NULL;
}

enum hm_status hm_step_open(struct hm_step *step, const struct hm_model *model, hm_cell *w,
                            struct hm_err *err)
{
    *step = (struct hm_step){.w = w, .scale = 1, .t_per_step = 1};
    step->scratch = own_memory(model->scratch_bytes);
    step->state = own_memory(model->state_floats * sizeof *step->state);
    if (step->scratch && step->state)
        return HM_OK;
    return hm_fail(err, HM_ENOMEM, "no memory for the scratch of a thread");
}

void hm_step_close(struct hm_step *step)
{
    free(step->scratch);
    free(step->state);
    *step = (struct hm_step){0};
}

enum hm_status hm_workers_open(struct hm_node *node, struct hm_err *err)
{
    /* Threads of the caller share one place to count in. */
    unsigned n = node->model->by_caller ? 1 : node->options.train.threads;
    node->worker = aligned_alloc(CACHE_LINE, n * sizeof *node->worker);
    if (!node->worker)
        return hm_fail(err, HM_ENOMEM, "no memory for %u threads", n);
    memset(node->worker, 0, n * sizeof *node->worker);
    node->n_workers = n;
    for (unsigned i = 0; i < n; i++) {
        struct worker *worker = &node->worker[i];
        hm_cell *w = node->rounds.weights ? node->rounds.own.w : node->weights.w;
        worker->node = node;
        worker->shard = &node->shard;
        if (hm_step_open(&worker->step, node->model, w, err) ||
            (hm_is_paced(node) && hm_pace_open(worker, err)))
            return HM_ENOMEM;
        worker->step.dirty = node->combiner.dirty.mark;
    }
    return HM_OK;
}

enum hm_status hm_workers_start(struct hm_node *node, struct hm_err *err)
{
    for (unsigned i = 0; !node->model->by_caller && i < node->n_workers; i++) {
        struct worker *worker = &node->worker[i];
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
            return hm_fail(err, HM_ENOMEM, "cannot start thread %u of %u; lower -t", i + 1,
                           node->n_workers);
        worker->started = true;
    }
    return HM_OK;
}

void hm_workers_join(struct hm_node *node)
{
    atomic_store(&node->shared.ended, true);
    if (node->model && node->model->by_caller) {
        part_from_callers(node);
        return;
    }
    for (unsigned i = 0; i < node->n_workers; i++) {
        struct worker *worker = &node->worker[i];
        if (!worker->started) { /* stepped by somebody else's thread, which is this one */
            if (worker->step.scratch)
                hm_worker_step(worker);
            continue;
        }
        hm_workers_open_gate(node);
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}
