/* The public interface: a node of the workload "custom" whose steps are the caller's. */
#include "node/replica.h"

#include "node/node_state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE_BYTES = 4096 };

#define TEXT_OF(x)                        #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

unsigned hm_version(void)
{
    return HM_VERSION_NUMBER;
}

const char *hm_version_text(void)
{
    return VERSION_TEXT(HM_VERSION_MAJOR, HM_VERSION_MINOR, HM_VERSION_PATCH);
}

/* ---- waiting ---- */

static struct timespec deadline(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9);
    t.tv_sec += ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

/* Until *flag, under the mutex, or something has `over`; false: `seconds` have passed. */
static bool await(struct hm_replica *r, const bool *flag, double seconds)
{
    struct timespec until = deadline(seconds < 0 ? 0 : seconds);
    int late = 0;
    while (!*flag && !r->over && !late)
        late = seconds < 0 ? pthread_cond_wait(&r->moved, &r->mutex)
                           : pthread_cond_clockwait(&r->moved, &r->mutex, CLOCK_MONOTONIC, &until);
    return *flag || r->over;
}

/* ---- what the node tells ---- */

static void on_log(void *context, enum hm_note_level level, const char *text)
{
    struct hm_replica *r = context;
    if (r->log)
        r->log(r->log_context, (int)level, text);
}

static void on_bound(void *context, const char *endpoint)
{
    struct hm_replica *r = context;
    static const char scheme[] = "tcp://";
    size_t skip = strncmp(endpoint, scheme, sizeof scheme - 1) == 0 ? sizeof scheme - 1 : 0;
    snprintf(r->endpoint, sizeof r->endpoint, "%s", endpoint + skip);
}

static void set_stage(struct hm_replica *r, const char *stage)
{
    snprintf(r->status.stage, sizeof r->status.stage, "%s", stage);
}

static void on_status(void *context, const struct hm_node_status *s)
{
    struct hm_replica *r = context;
    pthread_mutex_lock(&r->mutex);
    struct hm_replica_status *to = &r->status;
    set_stage(r, s->stage);
    to->steps = s->steps;
    to->budget = s->budget;
    to->own_steps = s->own_steps;
    to->own_rate = s->own_rate;
    to->published = s->seq;
    to->repaired = s->repaired;
    to->bytes_sent = s->bytes_sent;
    to->bytes_received = s->bytes_received;
    to->seconds = s->seconds;
    to->staleness = s->staleness;
    to->n_live = s->n_live;
    to->lag = s->lag;
    if (strcmp(s->stage, "join") != 0 && !r->training) {
        hm_cell *w = r->node->callers_w ? r->node->callers_w : r->node->weights.w;
        atomic_store(&r->w, (float *)(void *)w); /* for those who do not know cells */
        r->training = true;
        pthread_cond_broadcast(&r->moved);
    }
    pthread_mutex_unlock(&r->mutex);
}

/* ---- who may call ---- */

/* A fork has the memory, but not the threads: whatever waits for them would wait forever. The
 * kernel clears the page in the child, so that looking costs nothing. */
static bool is_ours(const struct hm_replica *r)
{
    return r && *(volatile const char *)r->ours;
}

static enum hm_status make_ours(struct hm_replica *r, struct hm_err *err)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return hm_fail(err, HM_ENOMEM, "no memory for a replica");
    madvise(page, PAGE_BYTES, MADV_WIPEONFORK); /* without it forks go unnoticed */
    r->ours = page;
    *r->ours = 1;
    return HM_OK;
}

static enum hm_status usable(const struct hm_replica *r, struct hm_err *err)
{
    if (!r)
        return hm_fail(err, HM_EUSAGE, "no replica (NULL); hm_replica_new makes one");
    return is_ours(r) ? HM_OK
                      : hm_fail(err, HM_EUSAGE,
                                "the replica is that of the process which forked this one; make "
                                "one of its own here, after the fork");
}

/* Signals are the program's own, and come to its threads: those that begin here inherit a mask
 * that lets none through. What is returned is to be set again. */
static sigset_t keep_signals_off(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    return before;
}

/* ---- before the run ---- */

enum hm_status hm_replica_new(struct hm_replica **out, struct hm_err *err)
{
    if (!out)
        return hm_fail(err, HM_EUSAGE, "a place for the replica is expected, not NULL");
    struct hm_replica *r = calloc(1, sizeof *r);
    enum hm_status status =
        r ? make_ours(r, err) : hm_fail(err, HM_ENOMEM, "no memory for a replica");
    *out = status ? NULL : r;
    if (status) {
        free(r);
        return status;
    }
    r->options = hm_node_defaults();
    r->options.workload = hm_custom.name;
    r->options.train.custom = &r->custom;
    r->options.train.combine.rule = HM_RULE_MEAN;
    r->options.log = on_log;
    r->options.bound = on_bound;
    r->options.status = on_status;
    r->options.context = r;
    r->grid_exp = HM_CUSTOM_GRID_EXP;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->moved, NULL);
    set_stage(r, "new");
    return HM_OK;
}

static enum hm_status not_open(const struct hm_replica *r, struct hm_err *err)
{
    enum hm_status status = usable(r, err);
    if (!status && r->node)
        status = hm_fail(err, HM_EUSAGE, "the replica is open already: too late for this");
    return status;
}

enum hm_status hm_replica_set(struct hm_replica *r, const char *option, const char *value,
                              struct hm_err *err)
{
    enum hm_status status = not_open(r, err);
    return status ? status : hm_replica_option(r, option, value, err);
}

void hm_replica_on_log(struct hm_replica *r,
                       void (*log)(void *context, int level, const char *text), void *context)
{
    if (!is_ours(r))
        return;
    r->log = log;
    r->log_context = context;
}

enum hm_status hm_replica_add(struct hm_replica *r, const char *name, unsigned n_dims,
                              const uint32_t *dim, const float *initial, struct hm_err *err)
{
    enum hm_status status = not_open(r, err);
    if (!status && n_dims && !dim)
        status = hm_fail(err, HM_EUSAGE, "tensor '%.40s': %u dimensions are expected, not NULL",
                         name ? name : "", n_dims);
    return status ? status
                  : hm_custom_add(&r->custom, name, n_dims, dim, r->grid_exp, initial, err);
}

enum hm_status hm_replica_open(struct hm_replica *r, struct hm_err *err)
{
    enum hm_status status = not_open(r, err);
    if (status)
        return status;
    if (!r->custom.n)
        return hm_fail(err, HM_EUSAGE, "a replica without tensors; hm_replica_add adds them");
    if (r->options.resume && !r->options.checkpoint_path)
        return hm_fail(err, HM_EUSAGE, "option 'resume' needs option 'checkpoint', the file");
    r->options.train.nodes = r->options.expect;
    sigset_t before = keep_signals_off();
    status = hm_node_open(&r->node, &r->options, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!status)
        set_stage(r, "open");
    return status;
}

const char *hm_replica_endpoint(const struct hm_replica *r)
{
    return r ? r->endpoint : "";
}

/* ---- the run ---- */

static void *run(void *argument)
{
    struct hm_replica *r = argument;
    struct hm_err err = {""};
    enum hm_status status = hm_node_run(r->node, &err);
    pthread_mutex_lock(&r->mutex);
    r->ended = status;
    r->err = err;
    r->over = true;
    set_stage(r, status ? "failed" : "done");
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

static enum hm_status how_it_ended(const struct hm_replica *r, struct hm_err *err)
{
    return r->ended ? hm_fail(err, r->ended, "%s", r->err.text) : HM_OK;
}

static enum hm_status start_thread(struct hm_replica *r, struct hm_err *err)
{
    sigset_t before = keep_signals_off();
    r->started = pthread_create(&r->thread, NULL, run, r) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r->started ? HM_OK
                      : hm_fail(err, HM_ENOMEM,
                                "cannot start the thread of the protocol; are "
                                "there too many threads?");
}

enum hm_status hm_replica_start(struct hm_replica *r, double seconds, struct hm_err *err)
{
    enum hm_status status = usable(r, err);
    if (!status && !r->node)
        status = hm_fail(err, HM_EUSAGE, "open comes before start");
    if (!status && !r->started)
        status = start_thread(r, err);
    if (status)
        return status;
    pthread_mutex_lock(&r->mutex);
    if (!await(r, &r->training, seconds))
        status = hm_fail(err, HM_ETIMEOUT, "training has not begun within %g s", seconds);
    else if (!r->training)
        status = r->ended ? how_it_ended(r, err)
                          : hm_fail(err, HM_ESTOPPED, "stopped before training began");
    pthread_mutex_unlock(&r->mutex);
    return status;
}

float *hm_replica_weights(const struct hm_replica *r, const char *name, size_t *n)
{
    float *w = r && name ? atomic_load(&r->w) : NULL;
    for (unsigned i = 0; w && i < r->custom.n; i++) {
        const struct hm_custom_tensor *tensor = &r->custom.tensor[i];
        if (strcmp(tensor->name, name) != 0)
            continue;
        if (n)
            *n = tensor->n;
        return w + tensor->at;
    }
    return NULL;
}

/* Of what lies beyond the weights nothing is marked. */
static void mark(struct hm_replica *r, const float *w, const float *from, size_t n)
{
    const uintptr_t begin = (uintptr_t)w, at = (uintptr_t)from;
    const size_t all = hm_layout_n(&r->node->layout);
    const size_t first = at < begin ? all : (at - begin) / sizeof *w;
    if (first < all && n)
        hm_dirty_mark(r->node->combiner.dirty.mark, first, n < all - first ? n : all - first);
}

void hm_replica_touch(struct hm_replica *r, const float *from, size_t n)
{
    const float *w = is_ours(r) ? atomic_load(&r->w) : NULL;
    if (!w || !r->node->combiner.dirty.mark)
        return;
    if (from)
        mark(r, w, from, n);
    else
        mark(r, w, w, hm_layout_n(&r->node->layout));
}

int hm_replica_step(struct hm_replica *r, uint64_t examples, double seconds)
{
    struct timespec until = deadline(seconds < 0 ? 0 : seconds);
    if (!is_ours(r) || !atomic_load(&r->w))
        return 0;
    return hm_caller_step(r->node, examples, seconds < 0 ? NULL : &until);
}

float hm_replica_scale(const struct hm_replica *r)
{
    return r && r->node ? atomic_load_explicit(&r->node->shared.scale, memory_order_relaxed) : 1;
}

void hm_replica_status(const struct hm_replica *replica, struct hm_replica_status *status,
                       size_t size)
{
    struct hm_replica *r = (struct hm_replica *)(uintptr_t)replica; /* for the mutex alone */
    if (status)
        memset(status, 0, size);
    if (!status || !is_ours(r))
        return;
    pthread_mutex_lock(&r->mutex);
    memcpy(status, &r->status, size < sizeof r->status ? size : sizeof r->status);
    pthread_mutex_unlock(&r->mutex);
}

enum hm_status hm_replica_checkpoint(struct hm_replica *r, struct hm_err *err)
{
    enum hm_status status = usable(r, err);
    if (status)
        return status;
    if (!r->options.checkpoint_path)
        return hm_fail(err, HM_EUSAGE, "option 'checkpoint' is missing: the file to write");
    if (!atomic_load(&r->w))
        return hm_fail(err, HM_EUSAGE, "nothing is to be saved before training begins");
    atomic_store(&r->node->checkpoint_wanted, true);
    hm_node_wake(r->node);
    return HM_OK;
}

void hm_replica_stop(struct hm_replica *r, int leave)
{
    int before = errno; /* a signal handler's caller has it, too */
    if (is_ours(r) && r->node)
        hm_node_stop(r->node, leave);
    errno = before;
}

/* ---- the end ---- */

/* W := B * grid, in the place that the caller knows. */
static void give_back(struct hm_replica *r)
{
    struct hm_node *node = r->node;
    if (node->callers_w) {
        hm_cell *copy = node->weights.w;
        node->weights.w = node->callers_w;
        node->callers_w = NULL;
        free(copy);
    }
    if (node->weights.w)
        hm_weights_settle(&node->weights);
}

static void join(struct hm_replica *r)
{
    if (r->joined || !r->started)
        return;
    pthread_join(r->thread, NULL);
    r->joined = true;
    give_back(r);
}

static void fill(const struct hm_replica *r, struct hm_replica_result *result, size_t size)
{
    const struct hm_node_report *report = hm_node_report(r->node);
    struct hm_replica_result all = {.steps = report->steps,
                                    .own_steps = report->own_steps,
                                    .lost = report->lost,
                                    .seconds = report->train_seconds,
                                    .clean = report->clean};
    snprintf(all.hash, sizeof all.hash, "%s", report->model_hash);
    snprintf(all.text, sizeof all.text, "%s", report->text);
    memset(result, 0, size);
    memcpy(result, &all, size < sizeof all ? size : sizeof all);
}

enum hm_status hm_replica_finish(struct hm_replica *r, double seconds,
                                 struct hm_replica_result *result, size_t size, struct hm_err *err)
{
    enum hm_status status = usable(r, err);
    if (!status && !r->started)
        status = hm_fail(err, HM_EUSAGE, "start comes before finish");
    if (status)
        return status;
    pthread_mutex_lock(&r->mutex);
    bool over = await(r, &r->over, seconds);
    pthread_mutex_unlock(&r->mutex);
    if (!over)
        return hm_fail(err, HM_ETIMEOUT, "the run has not ended within %g s", seconds);
    join(r);
    if (result)
        fill(r, result, size);
    return how_it_ended(r, err);
}

enum hm_status hm_replica_save(const struct hm_replica *r, const char *path, struct hm_err *err)
{
    enum hm_status status = usable(r, err);
    if (!status && !path)
        status = hm_fail(err, HM_EUSAGE, "the name of a file is expected, not NULL");
    if (status)
        return status;
    const char *dot = strrchr(path, '.');
    if (!r->joined || !atomic_load(&r->w))
        return hm_fail(err, HM_EUSAGE, "%s: there is no model before the run has finished", path);
    if (dot && strcmp(dot, ".hm") == 0)
        return hm_node_save(r->node, path, err);
    return hm_custom.save(r->node->model, r->node->weights.b, r->node->report.steps, path, err);
}

void hm_replica_close(struct hm_replica *r)
{
    if (!is_ours(r)) /* the memory of a fork goes with it */
        return;
    if (r->started && !r->joined)
        hm_node_stop(r->node, 1);
    join(r);
    hm_node_close(r->node);
    hm_custom_fini(&r->custom);
    for (unsigned i = 0; i < r->n_texts; i++)
        free(r->text[i]);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->moved);
    munmap(r->ours, PAGE_BYTES);
    free(r);
}
