#include "node/sim_server.h"

#include "models/import.h"

#include "node/sim_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_UPDATES = 256 };

/* A worker with the gradient that it will bring. */
struct pupil {
    struct hm_node_options options; /* those of node k, for its pace */
    struct pace pace;
    struct hm_rng link_rng;
    uint32_t link_position;
    struct hm_shard shard;
    uint64_t cursor;  /* examples of its shard taken */
    uint64_t version; /* of the weights that its gradient was taken on */
    uint64_t due_ns, order;
    unsigned n; /* examples of the gradient */
    struct hm_link link;
    struct hm_node_report report;
};

struct hm_server {
    struct hm_sim_options options;
    bool in_turns, stopped;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_step step; /* of one thread: scratch, and the optimiser's state */
    struct pupil *pupil; /* [options.n] */
    uint64_t now_ns, order, updates, steps, hash;
    uint64_t score_next_steps, score_next_ns;
    uint32_t *b; /* weights on the grid, for scores */
    struct hm_curve curve;
    struct hm_trajectory *trajectory;
    uint64_t trajectory_due;          /* steps */
    uint64_t look_due;                /* updates; then weights are looked at for divergence */
    char divergence[HM_NOTE_MAX + 1]; /* empty: there is none */
};

static void happen(struct hm_server *server, struct hm_sim_happening h)
{
    h.at_us = hm_server_now(server);
    h.peer = UINT32_MAX;
    uint64_t words[] = {h.at_us, (uint64_t)h.what << 32 | h.node, h.steps, h.staleness};
    for (size_t i = 0; h.what != HM_SIM_SCORED && i < sizeof words / sizeof *words; i++)
        server->hash = hm_mix(server->hash ^ words[i]) + 0x9E3779B97F4A7C15u;
    if (server->options.observe)
        server->options.observe(server->options.context, NULL, &h);
}

/* ---- workers ---- */

static uint64_t trip_ns(struct hm_server *server, struct pupil *pupil)
{
    const struct hm_dist *latency = &server->options.link.latency;
    return hm_dist_draw(latency, &pupil->link_rng, &pupil->link_position) * 1000;
}

/* Fetches the weights as they are and sets out with a gradient on them. */
static void fetch(struct hm_server *server, struct pupil *pupil)
{
    const struct hm_model *model = server->options.model;
    struct hm_step step = server->step;
    step.t = (double)server->steps;
    pupil->n = model->batch;
    pupil->version = server->updates;
    pupil->order = server->order++;
    pupil->due_ns = server->now_ns + trip_ns(server, pupil) + trip_ns(server, pupil) +
                    hm_pace_draw_ns(&pupil->pace, &pupil->options, pupil->n);
    hm_gauge_read(pupil->pace.gauge, step.w, server->steps);
    hm_pace_gradient(&pupil->pace, model, &pupil->shard, step, pupil->cursor, pupil->n);
    pupil->cursor += pupil->n;
}

static struct pupil *next(struct hm_server *server)
{
    uint32_t m = server->options.n;
    if (server->in_turns)
        return &server->pupil[server->updates % m];
    struct pupil *first = &server->pupil[0];
    for (struct pupil *p = first + 1; p < server->pupil + m; p++)
        if (p->due_ns < first->due_ns || (p->due_ns == first->due_ns && p->order < first->order))
            first = p;
    return first;
}

/* The pupil's gradient, which is about to be added. */
static void measure(struct hm_server *server, struct pupil *pupil)
{
    struct hm_step step = server->step;
    step.t = (double)server->steps;
    step.from = pupil->cursor - pupil->n;
    step.n = pupil->n;
    hm_gauge_add(pupil->pace.gauge, server->options.model, &pupil->shard, &step, &pupil->pace.grad,
                 server->steps);
}

static void serve(struct hm_server *server, struct pupil *pupil)
{
    uint64_t staleness = server->updates - pupil->version;
    struct hm_step step = server->step;
    measure(server, pupil);
    step.read = pupil->pace.read;
    step.staleness = (double)staleness;
    hm_model_apply(server->options.model, &step, &pupil->pace.grad);
    server->updates++;
    server->steps += pupil->n;
    pupil->report.own_steps += pupil->n;
    pupil->link.seq++;
    hm_tally_add(&pupil->link.flushes, staleness);
    hm_tally_add(&pupil->link.step, staleness * pupil->n);
    happen(server, (struct hm_sim_happening){.what = HM_SIM_UPDATED,
                                             .node = (uint32_t)(pupil - server->pupil),
                                             .steps = server->steps,
                                             .staleness = staleness});
    fetch(server, pupil);
}

/* ---- scores ---- */

/* "tensor 'v', row 0, column 17" */
static void note_divergence(struct hm_server *server, const struct hm_tensor *t, size_t at, float w)
{
    size_t i = at - hm_tensor_at(t);
    snprintf(
        server->divergence, sizeof server->divergence,
        "training diverged: tensor '%s', row %zu, column %zu: %g (step %llu); look at the data "
        "or lower --lr",
        t->name, i / t->stride, i % t->stride, (double)w, (unsigned long long)server->steps);
    server->stopped = true;
}

/* B: the weights on the grid. False, and the end, where one is no number or beyond what B holds. */
static bool round_weights(struct hm_server *server)
{
    for (uint32_t i = 0; i < server->layout.n_tensors; i++) {
        const struct hm_tensor *t = &server->layout.tensor[i];
        double grid = ldexp(1, t->grid_exp);
        size_t at = hm_tensor_at(t), end = at + (size_t)t->n_blocks * HM_BLOCK;
        for (size_t k = at; k < end; k++) {
            float w = hm_cell_get(&server->weights.w[k]);
            double units = rint((double)w / grid);
            if (!(fabs(units) <= HM_RANGE)) {
                note_divergence(server, t, k, w);
                return false;
            }
            server->b[k] = (uint32_t)(int32_t)units;
        }
    }
    return true;
}

static double seconds_of(const struct hm_server *server)
{
    return (double)server->now_ns / 1e9 - HM_SIM_BORN_US / 1e6;
}

static struct hm_curve_point point_of(const struct hm_server *server)
{
    return (struct hm_curve_point){.label = "server",
                                   .seconds = seconds_of(server),
                                   .steps = server->steps,
                                   .own_steps = server->steps};
}

/* The server's trajectory, reported by the first worker. */
static void record(struct hm_server *server, bool final)
{
    struct hm_node_report *report = &server->pupil[0].report;
    struct hm_curve_point point = point_of(server);
    uint64_t every = server->options.trajectory_every;
    if (!server->trajectory || report->trajectory_err.text[0] ||
        (!final && server->steps < server->trajectory_due))
        return;
    server->trajectory_due = server->steps - server->steps % every + every;
    if (!round_weights(server))
        return;
    hm_trajectory_add(server->trajectory, server->b, &point, final, &report->trajectory_err);
    report->n_trajectory = hm_trajectory_points(server->trajectory);
}

static void score(struct hm_server *server)
{
    const struct hm_sim_options *o = &server->options;
    const struct hm_score *result;
    struct hm_curve_point point = point_of(server);
    if (!round_weights(server) ||
        hm_curve_measure(o->model, server->b, o->score_set, &point, NULL) || !point.score.n)
        return;
    result = &point.score;
    struct hm_curve_point worlds = point;
    for (uint32_t i = 0; i < o->n; i++)
        hm_gauge_take(server->pupil[i].pace.gauge, &worlds.currencies);
    hm_curve_add(&server->curve, &worlds);
    happen(server, (struct hm_sim_happening){
                       .what = HM_SIM_SCORED, .steps = server->steps, .score = result});
    if (o->scored)
        o->scored(o->context, 0, &point);
    server->stopped |= (o->target_cost > 0 && result->cost <= o->target_cost) ||
                       (o->target_accuracy > 0 && result->accuracy >= o->target_accuracy);
}

static void score_when_due(struct hm_server *server)
{
    uint64_t steps = server->options.score_every_steps,
             ns = (uint64_t)(server->options.score_every * 1e9);
    if (steps && server->steps >= server->score_next_steps) {
        server->score_next_steps = server->steps - server->steps % steps + steps;
        score(server);
    } else if (ns && server->now_ns >= server->score_next_ns) {
        while (server->score_next_ns <= server->now_ns)
            server->score_next_ns += ns;
        score(server);
    }
}

/* ---- running ---- */

static bool is_over(const struct hm_server *server)
{
    const struct hm_model *model = server->options.model;
    return server->stopped || (model->budget_steps && server->steps >= model->budget_steps) ||
           (model->seconds > 0 && seconds_of(server) >= model->seconds);
}

/* What has diverged is not worth going on with. Seldom: it takes as long as a small step. */
static void look_for_divergence(struct hm_server *server)
{
    if (server->updates < server->look_due)
        return;
    server->look_due = server->updates + LOOK_UPDATES;
    round_weights(server);
}

bool hm_server_step(struct hm_server *server)
{
    if (is_over(server))
        return false;
    struct pupil *pupil = next(server);
    if (!server->steps)
        record(server, false);
    if (pupil->due_ns > server->now_ns)
        server->now_ns = pupil->due_ns;
    serve(server, pupil);
    score_when_due(server);
    look_for_divergence(server);
    record(server, false);
    return !is_over(server);
}

void hm_server_stop(struct hm_server *server)
{
    server->stopped = true;
}

enum hm_status hm_server_conclude(struct hm_server *server, struct hm_err *err)
{
    struct hm_model *model = server->options.model;
    struct hm_node_report *first = &server->pupil[0].report;
    char hash[65] = "";
    bool sound = round_weights(server);
    if (sound)
        hm_model_hash(&server->config, server->steps, server->b, server->weights.n, hash);
    for (uint32_t i = 0; i < server->options.n; i++) {
        struct pupil *pupil = &server->pupil[i];
        struct hm_node_report *r = &pupil->report;
        memcpy(r->model_hash, hash, sizeof hash);
        r->steps = server->steps;
        r->clean = sound;
        r->status = sound ? HM_OK : HM_EDIVERGED;
        r->first_step_us = r->start_us = HM_SIM_BORN_US;
        r->last_apply_us = r->end_us = hm_server_now(server);
        if (pupil->pace.gauge)
            hm_currencies_merge(&r->currencies, hm_gauge_currencies(pupil->pace.gauge));
        r->link = &pupil->link;
        r->n_links = 1;
        snprintf(r->text, sizeof r->text, "%s", sound ? "the run is over" : server->divergence);
    }
    record(server, true);
    first->curve = server->curve.point;
    first->n_curve = server->curve.n;
    happen(server, (struct hm_sim_happening){
                       .what = HM_SIM_ENDED, .steps = server->steps, .hash = first->model_hash});
    return sound ? hm_report_scores(first, model, server->b, 1, true, err) : HM_OK;
}

enum hm_status hm_server_save(const struct hm_server *server, const char *path, struct hm_err *err)
{
    size_t n_bulk;
    const uint8_t *bulk = server->options.model->ops->bulk(server->options.model, &n_bulk);
    return hm_model_file_write(path, &server->config, bulk, n_bulk, server->steps, server->b,
                               server->weights.n, err);
}

uint64_t hm_server_now(const struct hm_server *server)
{
    return server->now_ns / 1000;
}

uint64_t hm_server_updates(const struct hm_server *server)
{
    return server->updates;
}

uint64_t hm_server_steps(const struct hm_server *server, uint64_t *budget)
{
    *budget = server->options.model->budget_steps;
    return server->steps;
}

uint64_t hm_server_hash(const struct hm_server *server)
{
    return server->hash;
}

const struct hm_weights *hm_server_weights(const struct hm_server *server)
{
    return &server->weights;
}

const struct hm_curve_point *hm_server_curve(const struct hm_server *server, size_t *n)
{
    *n = server->curve.n;
    return server->curve.point;
}

const struct hm_node_report *hm_server_report(const struct hm_server *server, uint32_t worker)
{
    return &server->pupil[worker].report;
}

/* ---- opening ---- */

static enum hm_status open_pupil(struct hm_server *server, uint32_t index, const char *isa,
                                 struct hm_err *err)
{
    const struct hm_sim_options *o = &server->options;
    struct pupil *pupil = &server->pupil[index];
    *pupil = (struct pupil){.options = o->node, .link = {.label = "server"}};
    if (o->step_time_nodes && !hm_node_set_has(o->step_time_nodes, index))
        pupil->options.step_time = NULL;
    if (o->delay_nodes && !hm_node_set_has(o->delay_nodes, index))
        pupil->options.delay = NULL;
    hm_pace_seed(&pupil->pace, o->node.train.seed, hm_pace_place(index, 0));
    pupil->link_rng = hm_rng_seed(o->seed, hm_mix(index + 1));
    snprintf(pupil->report.label, sizeof pupil->report.label, "worker%u", index);
    pupil->report.life = index + 1;
    pupil->report.isa = isa;
    enum hm_status status = hm_pace_open_gradient(&pupil->pace, o->model, server->weights.n,
                                                  o->node.measure_staleness, err);
    if (status)
        return status;
    return o->model->ops->shard(o->model, o->node.train.partition, index, o->n, &pupil->shard, err);
}

static enum hm_status open_trajectory(struct hm_server *server, struct hm_err *err)
{
    const struct hm_sim_options *o = &server->options;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/trajectory-server", o->trajectory_dir);
    return hm_trajectory_open(&server->trajectory, o->model, "server", path, false, err);
}

static enum hm_status open_all(struct hm_server *server, struct hm_err *err)
{
    const struct hm_sim_options *o = &server->options;
    struct hm_model *model = o->model;
    const struct hm_kernels *kernels =
        hm_kernels_find(o->node.train.isa ? o->node.train.isa : "auto");
    enum hm_status status;
    if (!kernels)
        return hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                       o->node.train.isa);
    if ((status = model->ops->found(model, &server->config, err)) ||
        (status = model->ops->adopt(model, &server->config, NULL, 0, &server->layout, err)) ||
        (status = hm_weights_init(&server->weights, &server->layout, err)) ||
        (status = hm_step_open(&server->step, model, server->weights.w, err)))
        return status;
    status = hm_import_begin(model, &o->node.train, &server->weights, NULL, NULL, err);
    if (status)
        return status;
    hm_weights_settle(&server->weights);
    server->b = calloc(server->weights.n, sizeof *server->b);
    server->pupil = calloc(o->n, sizeof *server->pupil);
    if (!server->b || !server->pupil)
        return hm_fail(err, HM_ENOMEM, "no memory for a server of %u workers", o->n);
    for (uint32_t i = 0; i < o->n && !status; i++)
        status = open_pupil(server, i, kernels->name, err);
    if (!status && o->trajectory_dir)
        status = open_trajectory(server, err);
    for (uint32_t i = 0; i < o->n && !status; i++)
        fetch(server, &server->pupil[i]);
    return status;
}

enum hm_status hm_server_open(struct hm_server **out, const struct hm_sim_options *options,
                              bool in_turns, struct hm_err *err)
{
    *out = NULL;
    struct hm_server *server = calloc(1, sizeof *server);
    if (!server)
        return hm_fail(err, HM_ENOMEM, "no memory for a server");
    server->options = *options;
    server->in_turns = in_turns;
    server->now_ns = server->score_next_ns = (uint64_t)HM_SIM_BORN_US * 1000;
    enum hm_status status = open_all(server, err);
    if (status)
        hm_server_close(server);
    else
        *out = server;
    return status;
}

void hm_server_close(struct hm_server *server)
{
    if (!server)
        return;
    for (uint32_t i = 0; server->pupil && i < server->options.n; i++) {
        struct pupil *pupil = &server->pupil[i];
        hm_pace_close_gradient(&pupil->pace);
        hm_currencies_fini(&pupil->report.currencies);
        hm_tally_fini(&pupil->link.flushes);
        hm_tally_fini(&pupil->link.step);
    }
    hm_step_close(&server->step);
    hm_weights_fini(&server->weights);
    free(server->pupil);
    hm_curve_fini(&server->curve);
    hm_trajectory_close(server->trajectory);
    free(server->b);
    free(server);
}
