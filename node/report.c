/* What a node tells of itself: while it runs, and at the end. */
#include "node/node_state.h"

#include <stdlib.h>
#include <string.h>

/* What a node that was ever a member takes in libzmq's connections, which are tried again as long
 * as it may come back, in vectors and statistics. Measured: 130 to 170 KiB. */
enum { MEMBER_BYTES = 192 << 10 };

void hm_node_fill_status(struct hm_node *node, struct hm_node_status *status)
{
    *status = (struct hm_node_status){.stage = !node->train_us  ? "join"
                                               : node->agree_us ? "agree"
                                                                : "train",
                                      .budget = node->model ? node->model->budget_steps : 0};
    if (node->mesh) {
        const struct hm_counters *counters = hm_mesh_counters(node->mesh);
        struct hm_tally staleness = {0};
        status->phase = hm_mesh_phase(node->mesh);
        status->steps = hm_mesh_steps(node->mesh);
        status->n_live = hm_mesh_n_live(node->mesh);
        status->seq = counters->published;
        status->repaired = counters->repaired;
        status->bytes_sent = counters->bytes_sent;
        status->bytes_received = counters->bytes_received;
        for (size_t i = 1; i < hm_mesh_n_streams(node->mesh); i++) {
            const struct hm_link *link = hm_mesh_link(node->mesh, i);
            staleness.n += link->flushes.n;
            staleness.sum += link->flushes.sum;
        }
        status->staleness = hm_tally_mean(&staleness);
        for (size_t i = 0; i < hm_mesh_n_members(node->mesh); i++) {
            struct hm_member_info info = hm_mesh_member(node->mesh, i, hm_node_now(node));
            if (!info.gone && !info.left && info.lag_flushes > status->lag)
                status->lag = info.lag_flushes;
        }
    }
    status->own_steps = hm_node_made(node);
    status->own_rate = node->rate;
    status->seconds = hm_node_trained_seconds(node);
    pthread_mutex_lock(&node->scorer.mutex);
    status->score = node->scorer.newest;
    pthread_mutex_unlock(&node->scorer.mutex);
}

void hm_node_tell_status(struct hm_node *node)
{
    struct hm_node_status status;
    if (!node->options.status)
        return;
    hm_node_fill_status(node, &status);
    node->options.status(node->options.context, &status);
}

/* The mesh lives as long as the report does. */
static void copy_links(struct hm_node *node)
{
    struct hm_node_report *report = &node->report;
    size_t n = hm_mesh_n_streams(node->mesh);
    node->links = calloc(n ? n : 1, sizeof *node->links);
    for (size_t i = 0; i < n; i++) {
        const struct hm_link *link = hm_mesh_link(node->mesh, i);
        report->vector_seq += link->seq;
        if (link->from == hm_mesh_life(node->mesh)) {
            report->own_seq = link->seq;
            continue;
        }
        hm_tally_merge(&report->staleness, &link->flushes);
        hm_tally_merge(&report->staleness_steps, &link->step);
        if (node->links)
            node->links[report->n_links++] = *link; /* tallies stay the mesh's */
    }
    report->link = node->links;
}

enum hm_status hm_report_scores(struct hm_node_report *report, struct hm_model *model,
                                const uint32_t *b, unsigned threads, bool all, struct hm_err *err)
{
    const struct hm_model_ops *ops = model->ops;
    uint64_t steps = report->steps;
    enum hm_status status = ops->score(model, b, steps, HM_TEST_SET, threads, &report->test, err);
    if (!status && all)
        status = ops->score(model, b, steps, HM_TRAIN_SET, threads, &report->train, err);
    if (!status && all && report->test.n && ops->confusion)
        report->n_classes = ops->confusion(model, b, HM_TEST_SET, report->confusion);
    return status;
}

void hm_node_fill_report(struct hm_node *node)
{
    struct hm_node_report *report = &node->report;
    const struct hm_result *result = hm_mesh_result(node->mesh);
    report->status = result->status;
    report->clean = result->clean;
    report->life = hm_mesh_life(node->mesh);
    memcpy(report->text, result->text, sizeof report->text);
    report->steps = hm_mesh_steps(node->mesh);
    report->own_steps = hm_mesh_own_published_steps(node->mesh);
    report->counters = *hm_mesh_counters(node->mesh);
    report->lost = result->lost;
    report->n_dropped = node->env->n_dropped;
    if (node->env->ops->refusals)
        node->env->ops->refusals(node->env, report->refused);
    report->log_bytes = hm_mesh_log_bytes(node->mesh);
    report->memory_bound += hm_mesh_n_members(node->mesh) * MEMBER_BYTES;
    report->is_first = hm_mesh_is_first(node->mesh);
    report->n_sampled = node->n_sampled;
    report->n_wiped = node->n_wiped;
    for (unsigned i = 0; i < node->n_workers; i++) {
        report->n_sampled += atomic_load(&node->worker[i].n_sampled);
        report->n_wiped += atomic_load(&node->worker[i].n_wiped);
        if (node->worker[i].pace.gauge)
            hm_currencies_merge(&report->currencies,
                                hm_gauge_currencies(node->worker[i].pace.gauge));
    }
    copy_links(node);
    hm_model_hash(&node->config, report->steps, node->weights.b, node->weights.n,
                  report->model_hash);
    report->n_curve = node->scorer.curve.n;
    report->curve = node->scorer.curve.point;
    if (report->first_step_us)
        report->train_seconds = (double)(report->last_apply_us - report->first_step_us) / 1e6;
    if (node->agree_us)
        report->agree_seconds = (double)(hm_node_now(node) - node->agree_us) / 1e6;
}
