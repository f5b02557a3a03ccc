#include "node/view.h"

#include "node/node_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const uint64_t hm_view_bound[HM_VIEW_BOUNDS] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 127};

enum { VIEW_JSON = JSON_COMPACT | JSON_REAL_PRECISION(12) };

enum { SILENT_US = 2000000 }; /* longer than any two beats are apart: the default of `suspect` */

static enum hm_peer_state state_of(const struct hm_member_info *info, double suspect)
{
    uint64_t silent_us = suspect > 0 ? (uint64_t)(suspect * 1e6) : SILENT_US;
    return info->left                    ? HM_PEER_LEFT
           : info->gone                  ? HM_PEER_GONE
           : info->silent_us > silent_us ? HM_PEER_SILENT
                                         : HM_PEER_LIVE;
}

static void look_at_link(const struct hm_link *from, struct hm_view_link *to)
{
    *to = (struct hm_view_link){.from = from->from,
                                .seq = from->seq,
                                .n = from->flushes.n,
                                .max = from->flushes.max,
                                .sum = from->flushes.sum,
                                .mean_steps = hm_tally_mean(&from->step),
                                .median = hm_tally_quantile(&from->flushes, .5),
                                .p95 = hm_tally_quantile(&from->flushes, .95)};
    memcpy(to->label, from->label, sizeof to->label);
    hm_tally_below(&from->flushes, hm_view_bound, to->below, HM_VIEW_BOUNDS);
}

static void look_at_peers(const struct hm_node *node, struct hm_view *view)
{
    size_t n = hm_mesh_n_members(node->mesh);
    for (size_t i = 0; i < n && view->n_peers < HM_VIEW_PEERS; i++) {
        struct hm_view_peer *peer = &view->peer[view->n_peers++];
        *peer = (struct hm_view_peer){.info = hm_mesh_member(node->mesh, i, hm_node_now(node))};
        peer->state = state_of(&peer->info, node->options.suspect);
    }
}

static void look_at_streams(const struct hm_node *node, struct hm_view *view)
{
    size_t n = hm_mesh_n_streams(node->mesh);
    for (size_t i = 0; i < n; i++) {
        const struct hm_link *link = hm_mesh_link(node->mesh, i);
        for (unsigned k = 0; k < view->n_peers; k++)
            if (view->peer[k].info.life == link->from)
                view->peer[k].steps = link->steps;
        if (link->from != view->life && view->n_links < HM_VIEW_LINKS)
            look_at_link(link, &view->link[view->n_links++]);
    }
}

static void look_at_mesh(const struct hm_node *node, struct hm_view *view)
{
    const char *reason = "";
    view->life = hm_mesh_life(node->mesh);
    view->fingerprint = hm_mesh_fingerprint(node->mesh);
    view->published_steps = hm_mesh_own_published_steps(node->mesh);
    view->flush_seconds = (double)hm_mesh_flush_interval_us(node->mesh) / 1e6;
    view->stopping = hm_mesh_stopping(node->mesh, &reason);
    if (view->stopping)
        strncpy(view->stop_reason, reason, sizeof view->stop_reason - 1);
    view->counters = *hm_mesh_counters(node->mesh);
    view->log_bytes = hm_mesh_log_bytes(node->mesh);
    look_at_peers(node, view);
    look_at_streams(node, view);
}

void hm_node_look(struct hm_node *node, struct hm_view *view)
{
    const struct hm_node_options *o = &node->options;
    *view = (struct hm_view){.workload = o->workload,
                             .isa = node->kernels->name,
                             .life = o->life,
                             .threads = o->train.threads,
                             .rank = node->rank,
                             .ranks = node->ranks,
                             .n_dropped = node->env ? node->env->n_dropped : 0,
                             .log_budget = node->report.log_budget,
                             .memory_bound = node->report.memory_bound,
                             .n_checkpoints = node->report.n_checkpoints,
                             .n_checkpoint_failures = node->report.n_checkpoint_failures,
                             .limit_seconds = node->model ? node->model->seconds : 0,
                             .config = node->config.n ? &node->config : NULL};
    memcpy(view->label, o->label, sizeof view->label);
    memcpy(view->key, node->report.key, sizeof view->key);
    hm_node_fill_status(node, &view->status);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    view->time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    if (node->env) {
        memcpy(view->rpc, node->env->rpc, sizeof view->rpc);
        memcpy(view->pub, node->env->pub, sizeof view->pub);
        if (node->env->ops->refusals)
            node->env->ops->refusals(node->env, view->refused);
    }
    if (node->mesh)
        look_at_mesh(node, view);
}

struct hm_blob *hm_node_describe(struct hm_node *node)
{
    struct hm_view *view = malloc(sizeof *view);
    if (!view)
        return NULL;
    hm_node_look(node, view);
    json_t *json = hm_view_json(view);
    free(view);
    size_t n = json ? json_dumpb(json, NULL, 0, VIEW_JSON) : 0;
    struct hm_blob *blob = n && n <= HM_PAYLOAD_MAX ? hm_blob_new(n) : NULL;
    if (blob)
        json_dumpb(json, (char *)blob->bytes, n, VIEW_JSON);
    json_decref(json);
    return blob;
}
