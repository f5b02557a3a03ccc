#include "models/import.h"
#include "node/discover.h"
#include "node/node_state.h"
#include "node/recorder.h"
#include "node/saver.h"
#include "node/top.h"
#include "node/trajectory.h"

#include <assert.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { LINGER_MS = 1000 };

uint64_t hm_node_now(const struct hm_node *node)
{
    return node->env->ops->now_us(node->env);
}

void hm_node_wake(struct hm_node *node)
{
    atomic_fetch_add(&node->waking, 1); /* before looking: see put_to_rest */
    struct hm_env *env = atomic_load(&node->waker);
    if (env)
        env->ops->wake(env);
    atomic_fetch_sub(&node->waking, 1);
}

/* Nobody uses the environment any more but whoever closes it. */
static struct hm_env *put_to_rest(struct hm_node *node)
{
    struct hm_env *env = node->env;
    atomic_store(&node->waker, NULL);
    while (atomic_load(&node->waking)) /* for the length of a system call */
        sched_yield();
    node->env = NULL;
    return env;
}

double hm_node_trained_seconds(const struct hm_node *node)
{
    return node->train_us ? (double)(hm_node_now(node) - node->train_us) / 1e6 : 0;
}

static bool shows_base(const struct hm_node *node)
{
    return node->rounds.based && !node->ended;
}

uint64_t hm_node_point_steps(const struct hm_node *node)
{
    return shows_base(node) ? node->rounds.steps : hm_mesh_steps(node->mesh);
}

struct hm_curve_point hm_node_point(const struct hm_node *node, const uint32_t **b)
{
    const bool base = shows_base(node);
    struct hm_curve_point point = {.seconds = hm_node_trained_seconds(node),
                                   .steps = hm_node_point_steps(node),
                                   .own_steps = base ? node->rounds.own_steps
                                                     : hm_mesh_own_published_steps(node->mesh)};
    memcpy(point.label, node->options.label, sizeof point.label);
    *b = base ? node->rounds.base : node->weights.b;
    return point;
}

void hm_node_log(const struct hm_node *node, enum hm_note_level level, const char *format, ...)
{
    if (!node->options.log)
        return;
    char text[HM_NOTE_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    node->options.log(node->options.context, level, text);
}

void hm_node_tell_notes(struct hm_node *node)
{
    char text[HM_NOTE_MAX + 1];
    enum hm_note_level level;
    while (node->feed && hm_feed_note(node->feed, &level, text))
        hm_node_log(node, level, "%s", text);
    while (node->env->ops->note && node->env->ops->note(node->env, text))
        hm_node_log(node, HM_NOTE_WARNING, "%s", text);
}

struct hm_node_options hm_node_defaults(void)
{
    return (struct hm_node_options){
        .workload = "svm",
        .train = {.threads = 1, .nodes = 1, .combine = {.rule = HM_RULE_AMPLIFY}},
        .rank = -1,
        .ranks = 1,
        .expect = 1,
        .join_timeout = 30,
        .local_nodes = 1,
        .checkpoint_every = 30,
        .suspect = 2,
        .gone = 8};
}

/* ---- opening ---- */

void hm_node_default_label(char label[HM_LABEL_MAX + 1])
{
    char host[HM_LABEL_MAX + 1] = "node";
    gethostname(host, sizeof host - 1);
    snprintf(label, HM_LABEL_MAX + 1, "%.20s.%d", host, (int)getpid());
    for (char *c = label; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("\"'\\", *c))
            *c = '-';
}

static enum hm_status name_node(struct hm_node *node, struct hm_err *err)
{
    struct hm_node_options *o = &node->options;
    while (!o->life)
        if (getrandom(&o->life, sizeof o->life, 0) != sizeof o->life)
            return hm_fail(err, HM_EIO, "the system gives no random numbers");
    if (!o->label[0])
        hm_node_default_label(o->label);
    return HM_OK;
}

enum hm_status hm_node_make(struct hm_node **out, const struct hm_node_options *options,
                            struct hm_err *err)
{
    *out = NULL;
    struct hm_node *node =
        aligned_alloc(CACHE_LINE, (sizeof *node + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!node)
        return hm_fail(err, HM_ENOMEM, "no memory for a node");
    memset(node, 0, sizeof *node);
    node->options = *options;
    pthread_mutex_init(&node->gate.mutex, NULL);
    pthread_cond_init(&node->gate.moved, NULL);
    pthread_mutex_init(&node->scorer.mutex, NULL);
    node->kernels = hm_kernels_find(options->train.isa ? options->train.isa : "auto");
    enum hm_status status = name_node(node, err);
    if (!status && !hm_workload_find(options->workload))
        status = hm_fail(err, HM_EUSAGE, "unknown workload '%s'", options->workload);
    if (!status && !node->kernels)
        status = hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                         options->train.isa);
    if (status) {
        hm_node_close(node);
        return status;
    }
    memcpy(node->report.label, node->options.label, sizeof node->report.label);
    node->report.life = node->options.life;
    node->report.isa = node->kernels->name;
    *out = node;
    return HM_OK;
}

/* A peer beyond this host would be talked to in clear. */
static enum hm_status check_peers(const struct hm_node_options *o, struct hm_err *err)
{
    for (unsigned i = 0; i < o->n_peers && !o->insecure; i++) {
        char endpoint[HM_ENDPOINT_MAX + 1];
        enum hm_status status = hm_endpoint_parse(o->peer[i], endpoint, err);
        if (status)
            return hm_context(err, status, "--peer");
        if (!hm_endpoint_is_loopback(endpoint))
            return hm_env_refuse_clear(err, "--peer", o->peer[i]);
    }
    return HM_OK;
}

static void discovered(void *context, enum hm_note_level level, const char *text)
{
    hm_node_log(context, level, "%s", text);
}

static enum hm_status open_discover(struct hm_node *node, const struct hm_keys *keys,
                                    struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    return hm_discover_open(&node->discover,
                            &(struct hm_discover_options){.where = o->discover,
                                                          .workload = o->workload,
                                                          .label = o->label,
                                                          .rpc = node->env->rpc,
                                                          .pub = node->env->pub,
                                                          .life = o->life,
                                                          .keys = keys,
                                                          .insecure = o->insecure,
                                                          .note = discovered,
                                                          .context = node},
                            err);
}

static enum hm_status open_sockets(struct hm_node *node, struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    struct hm_keys keys = {0};
    enum hm_status status = o->key ? hm_keys_read(&keys, o->key, err) : check_peers(o, err);
    if (status)
        return o->key ? hm_context(err, status, "--key") : status;
    struct hm_env_zmq_options env = {.life = o->life,
                                     .bind = o->bind ? o->bind : "127.0.0.1:0",
                                     .advertise = o->advertise,
                                     .keys = &keys,
                                     .insecure = o->insecure};
    status = hm_env_zmq_open(&node->env, &env, err);
    atomic_store(&node->waker, node->env);
    if (!status && o->discover)
        status = open_discover(node, &keys, err);
    memcpy(node->report.key, keys.key[0].fingerprint, sizeof node->report.key);
    if (!status && keys.n)
        hm_node_log(node, HM_NOTE_INFO, "traffic is encrypted; key %s%s", node->report.key,
                    keys.n > 1 ? ", others of the file are tried in dialling" : "");
    hm_keys_wipe(&keys);
    return status;
}

/* Where the examples come from, instead of files. */
static enum hm_status open_feed(struct hm_node *node, const struct hm_model_ops *ops,
                                struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    if (!ops->feed)
        return hm_fail(err, HM_EUSAGE, "--feed: %s cannot be fed; give it data of its own",
                       ops->name);
    if (o->train.staleness_bound_given && o->train.staleness_bound == 0)
        return hm_fail(err, HM_EUSAGE,
                       "--feed: synchronous rounds would wait for whoever has no batch; leave "
                       "--staleness-bound 0 away, or give all nodes the data");
    enum hm_status status = hm_feed_check(ops->name, &o->train, err);
    if (status)
        return status;
    struct hm_feed_options feed = {.n_feeders = o->n_feeds,
                                   .workload = ops->name,
                                   .label = o->label,
                                   .key = o->key,
                                   .insecure = o->insecure,
                                   .life = o->life,
                                   .timeout = o->join_timeout,
                                   .threads = o->train.threads,
                                   .progress = &o->progress};
    memcpy(feed.feeder, o->feed, sizeof feed.feeder);
    status = hm_feed_open(&node->feed, &feed, err);
    if (!status)
        node->options.train.fed = hm_feed_told(node->feed);
    return status;
}

/* Also while nobody waits yet: a worker that has just found nothing is about to. */
static void batch_came(void *context)
{
    struct hm_node *node = context;
    hm_workers_open_gate(node);
    if (hm_feed_has_ended(node->feed))
        node->env->ops->wake(node->env);
}

/* Adopted from a mesh, too, rounds have no feeders. */
static enum hm_status start_feed(struct hm_node *node, struct hm_err *err)
{
    if (!node->feed)
        return HM_OK;
    if (node->model->staleness_bound == 0)
        return hm_fail(
            err, HM_EREFUSED,
            "--feed: this mesh works in synchronous rounds, which would wait for whoever "
            "has no batch");
    enum hm_status status = hm_feed_start(node->feed, node->model, batch_came, node, err);
    node->report.memory_bound += hm_feed_bytes(node->feed);
    return status;
}

static void stop_feed(struct hm_node *node)
{
    if (!node->feed)
        return;
    hm_feed_stop(node->feed);
    node->report.feed = hm_feed_report(node->feed);
    hm_node_tell_notes(node);
}

static void say(void *context, const char *text)
{
    hm_node_log(context, HM_NOTE_WARNING, "%s", text);
}

enum hm_status hm_node_open(struct hm_node **out, const struct hm_node_options *options,
                            struct hm_err *err)
{
    *out = NULL;
    struct hm_node *node;
    enum hm_status status = hm_node_make(&node, options, err);
    if (status)
        return status;
    const struct hm_model_ops *ops = hm_workload_find(options->workload);
    status = open_sockets(node, err);
    if (!status) {
        node->report.start_us = hm_node_now(node);
        if (options->bound)
            options->bound(options->context, node->env->rpc);
        if (options->n_feeds)
            status = open_feed(node, ops, err);
    }
    if (!status)
        status = ops->open(&node->model, &node->options.train, &options->progress, err);
    if (!status && ops->remark && options->rank <= 0) /* of a host's nodes, all read the same */
        ops->remark(node->model, say, node);
    if (status) {
        hm_node_close(node);
        return status;
    }
    node->report.load_seconds = (double)(hm_node_now(node) - node->report.start_us) / 1e6;
    *out = node;
    return HM_OK;
}

/* ---- running ---- */

/* min(max(256 MiB, 8 models), memory / (4 x nodes on this host)). */
static uint64_t log_budget(const struct hm_node *node)
{
    if (node->options.log_bytes)
        return node->options.log_bytes;
    uint64_t model = node->weights.n * sizeof(float), budget = (uint64_t)256 << 20;
    if (8 * model > budget)
        budget = 8 * model;
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t share = memory / (4 * (node->options.local_nodes ? node->options.local_nodes : 1));
    return budget < share ? budget : share;
}

/* The bound that the README states: W, B, the running and the received delta, a snapshot that is
 * given and one that is taken, the log, held deltas, the workers' scratch, and for each peer what
 * the sockets may queue: 64 messages to send, 128 received, 16 requests. The report adds what each
 * member costs whom it met. */
static uint64_t memory_bound(const struct hm_node *node)
{
    uint64_t n = node->weights.n, peers = node->options.expect > 1 ? node->options.expect - 1 : 0;
    uint64_t payload = hm_pack_bound(n / HM_BLOCK, n / HM_BLOCK);
    payload = payload < HM_PAYLOAD_MAX ? payload : HM_PAYLOAD_MAX;
    uint64_t copies = node->options.checkpoint_path ? 8 * n : 0; /* B and W - B of a checkpoint */
    if (node->options.trajectory_path)                           /* B, and the weights of a point */
        copies += 4 * n + hm_trajectory_bytes(node->model);
    copies += hm_combiner_bytes(node->model->combine.rule, n, (unsigned)peers);
    copies += node->model->staleness_bound == 0 ? hm_rounds_bytes(n) : 0;
    copies += n / HM_BLOCK; /* marks */
    if (node->model->combine.rule == HM_RULE_SATURATE)
        copies += hm_saturator_bytes(&node->layout);
    if (node->options.measure_staleness && hm_pace_by_gradient(node))
        copies += hm_gauge_bytes(node->model, n) * node->options.train.threads;
    /* The optimiser's state; for checkpoints the thread's own copy, and that which is written. */
    uint64_t states = (node->options.checkpoint_path ? 3 : 1) * node->model->state_floats;
    return 8 * n + 2 * 4 * n + 2 * 4 * n + copies + node->report.log_budget + ((uint64_t)16 << 20) +
           peers * (64 + 128 + 16) * payload + HM_RAW_MAX +
           (uint64_t)node->options.train.threads *
               (node->model->scratch_bytes + states * sizeof(float));
}

static enum hm_status open_weights(struct hm_node *node, struct hm_err *err)
{
    enum hm_status status = hm_weights_init(&node->weights, &node->layout, err);
    if (!status && !node->delta) {
        node->delta = &node->own_delta;
        status = hm_delta_init(node->delta, node->layout.n_blocks, err);
    }
    if (status)
        return status;
    if (node->options.top > 0 && node->model->combine.rule == HM_RULE_SATURATE)
        return hm_fail(err, HM_EUSAGE,
                       "--top: --combine saturate publishes rows in rotation; --bandwidth says how "
                       "much of them");
    if (node->resumed && node->resumed->found) /* whatever it began with, it is further on */
        node->model->ops->init(node->model, &node->weights);
    else
        status = hm_import_begin(node->model, &node->options.train, &node->weights,
                                 node->options.rank <= 0 ? say : NULL, node, err);
    if (status)
        return status;
    hm_weights_settle(&node->weights);
    /* What is not among the largest stays, without a mark: all blocks are looked at then. */
    status = hm_combiner_open(&node->combiner, node->model->combine.rule,
                              node->model->marks && node->model->staleness_bound != 0 &&
                                  node->options.top <= 0,
                              &node->weights, err);
    node->combiner.most = hm_top_of(&node->layout, node->options.top);
    if (!status && node->model->combine.rule == HM_RULE_SATURATE)
        status = hm_combiner_open_saturator(&node->combiner, node->model, node->kernels->name, err);
    if (!status && node->model->staleness_bound == 0)
        status = hm_rounds_init(&node->rounds, &node->weights, err);
    if (status)
        return status;
    node->report.log_budget = log_budget(node);
    node->report.memory_bound = memory_bound(node);
    return HM_OK;
}

static enum hm_status open_mesh(struct hm_node *node, struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    struct hm_mesh_params params = {
        .life = o->life,
        .config = &node->config,
        .bulk = node->bulk,
        .bulk_n = node->bulk_n,
        .layout = &node->layout,
        .kernels = node->kernels,
        .decoder = node->decoder,
        .digest0 = node->kernels->digest_dense(node->weights.b, node->layout.n_blocks),
        .combine = node->model->combine,
        .expect = o->expect,
        .join_timeout_us = (uint64_t)(o->join_timeout * 1e6),
        .budget_steps = node->model->budget_steps,
        .flush_us = o->flush == HM_FLUSH_EVERY ? (uint64_t)(o->flush_interval * 1e6) : 0,
        .flush_step = o->flush == HM_FLUSH_STEP,
        .lead_max = node->model->staleness_bound < 0
                        ? 0
                        : ((uint64_t)node->model->staleness_bound + 1) * node->model->batch,
        .rounds = node->model->staleness_bound == 0,
        .bandwidth = (uint64_t)o->bandwidth,
        .crowded = hm_workers_crowd(node, 1),
        .log_bytes_max = node->report.log_budget,
        .suspect_us = (uint64_t)((o->suspect > 0 ? o->suspect : 2) * 1e6),
        .gone_us = (uint64_t)((o->gone > 0 ? o->gone : 8) * 1e6),
        .seed = o->train.seed,
        .peer = node->peers,
        .n_peers = node->n_peers};
    if (hm_pace_by_gradient(node)) {
        params.n_readers = o->train.threads;
        node->readers = calloc(params.n_readers, sizeof *node->readers);
        if (!node->readers)
            return hm_fail(err, HM_ENOMEM, "no memory for %u threads", params.n_readers);
    }
    memcpy(params.label, o->label, sizeof params.label);
    memcpy(params.rpc, node->env->rpc, sizeof params.rpc);
    memcpy(params.pub, node->env->pub, sizeof params.pub);
    node->digest0 = params.digest0;
    enum hm_status status = hm_resume_install(node, &params, err);
    if (!status)
        status = hm_mesh_open(&node->mesh, &params, hm_node_now(node), err);
    hm_resume_installed(node);
    return status;
}

static enum hm_status choose_shard(struct hm_node *node, struct hm_err *err)
{
    const struct hm_node_options *o = &node->options;
    unsigned ranks = o->rank < 0 && o->expect > o->ranks ? o->expect : o->ranks;
    unsigned rank = o->rank >= 0 ? (unsigned)o->rank : (unsigned)(hm_mix(o->life) % ranks);
    hm_resume_shard(node, &rank, &ranks);
    node->rank = rank;
    node->ranks = ranks;
    enum hm_status status = HM_OK;
    if (node->feed) /* of no use but for its length */
        node->shard = (struct hm_shard){.n = node->model->n_train};
    else
        status = node->model->ops->shard(node->model, o->train.partition, rank, ranks, &node->shard,
                                         err);
    if (!status)
        hm_resume_cursor(node);
    return status;
}

static void score_result(struct hm_node *node)
{
    uint64_t from = hm_node_now(node);
    /* What takes long and is the same on every node one of them does. */
    hm_report_scores(&node->report, node->model, node->weights.b, node->options.train.threads,
                     node->report.is_first, NULL);
    node->report.score_seconds = (double)(hm_node_now(node) - from) / 1e6;
}

/* In synchronous rounds a node contributes one gradient, and publishes it at once. */
static enum hm_status keep_rounds(struct hm_node *node, struct hm_err *err)
{
    if (node->model->staleness_bound != 0)
        return HM_OK;
    node->options.flush = HM_FLUSH_STEP;
    if (node->options.train.threads > 1)
        return hm_fail(err, HM_EUSAGE,
                       "--staleness-bound 0: a node contributes one gradient to a round; give -t 1 "
                       "and more nodes, or a larger --batch");
    return HM_OK;
}

enum hm_status hm_node_prepare(struct hm_node *node, struct hm_err *err)
{
    enum hm_status status;
    if ((status = keep_rounds(node, err)) || (status = open_weights(node, err)) ||
        (status = choose_shard(node, err)) || (status = open_mesh(node, err)))
        return status;
    status = hm_workers_open(node, err);
    if (!status)
        hm_resume_states(node);
    return status;
}

static enum hm_status train(struct hm_node *node, struct hm_err *err)
{
    enum hm_status status;
    uint64_t from = hm_node_now(node);
    if ((status = hm_resume_load(node, err)) || (status = hm_node_configure(node, err)) ||
        (status = hm_node_prepare(node, err)) || (status = hm_saver_open(node, err)) ||
        (status = hm_recorder_open(node, err)) || (status = start_feed(node, err)) ||
        (status = hm_workers_start(node, err)) || (status = hm_scorer_start(node, err)))
        return status;
    hm_driver_run(node);
    hm_scorer_stop(node);
    hm_workers_join(node);
    stop_feed(node);
    hm_node_fill_report(node);
    if (node->train_us)
        node->report.join_seconds = (double)(node->train_us - from) / 1e6;
    const struct hm_result *result = hm_mesh_result(node->mesh);
    if (result->status)
        return hm_fail(err, result->status, "%s", result->text);
    return HM_OK;
}

enum hm_status hm_node_run(struct hm_node *node, struct hm_err *err)
{
    enum hm_status status = train(node, err);
    node->report.status = status;
    /* Our LEAVE is with the sockets' own thread already, so peers do not wait for our scoring. */
    node->report.end_us = hm_node_now(node);
    if (node->mesh && !status) {
        hm_saver_finish(node);
        hm_recorder_finish(node);
        score_result(node);
    }
    struct hm_env *env = put_to_rest(node); /* hm_node_stop may come at any time */
    env->ops->close(env, LINGER_MS);
    return status;
}

void hm_node_stop(struct hm_node *node, int leave)
{
    atomic_store(&node->stop_wanted, leave ? 2 : 1);
    hm_node_wake(node);
}

const struct hm_node_report *hm_node_report(const struct hm_node *node)
{
    return &node->report;
}

void hm_node_close(struct hm_node *node)
{
    if (!node)
        return;
    hm_scorer_stop(node);
    hm_workers_join(node);
    for (unsigned i = 0; i < node->n_workers; i++) {
        hm_pace_close(&node->worker[i]);
        free(node->worker[i].state_kept);
        hm_step_close(&node->worker[i].step);
    }
    free(node->worker);
    free(node->readers);
    hm_feed_close(node->feed);
    hm_saver_close(node);
    hm_recorder_close(node);
    hm_resume_close(node);
    hm_mesh_close(node->mesh);
    if (node->env)
        node->env->ops->close(node->env, 0);
    hm_discover_close(node->discover);
    if (node->model && !node->model_borrowed)
        node->model->ops->close(node->model);
    hm_combiner_close(&node->combiner);
    hm_rounds_fini(&node->rounds);
    hm_delta_fini(&node->own_delta);
    hm_weights_fini(&node->weights);
    free(node->scorer.b);
    hm_curve_fini(&node->scorer.curve);
    free(node->links);
    hm_tally_fini(&node->report.staleness);
    hm_tally_fini(&node->report.staleness_steps);
    hm_currencies_fini(&node->report.currencies);
    free(node->peers);
    free(node->bulk_owned);
    free(node->callers_w);
    pthread_mutex_destroy(&node->gate.mutex);
    pthread_cond_destroy(&node->gate.moved);
    pthread_mutex_destroy(&node->scorer.mutex);
    free(node);
}
