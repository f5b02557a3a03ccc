#include "node/sim_state.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deltas that are kept decoded: as many as may be on their way, if there is memory for so many of
 * the whole model. */
enum { DECODED_MAX = 4096, DECODED_LEAST = 16, DECODED_BYTES = 1 << 30 };

void *hm_sim_must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* ---- what happens ---- */

const char *hm_sim_what_name(enum hm_sim_what what)
{
    static const char *const name[] = {
        [HM_SIM_STARTED] = "started",     [HM_SIM_TRAINING] = "training",
        [HM_SIM_CONNECTED] = "connected", [HM_SIM_SENT] = "sent",
        [HM_SIM_HEARD] = "heard",         [HM_SIM_LOST] = "lost",
        [HM_SIM_DROPPED] = "dropped",     [HM_SIM_PAUSED] = "paused",
        [HM_SIM_RESUMED] = "resumed",     [HM_SIM_KILLED] = "killed",
        [HM_SIM_LEAVING] = "leaving",     [HM_SIM_STOPPED] = "stopped",
        [HM_SIM_RESET] = "reset",         [HM_SIM_FLIPPED] = "flipped",
        [HM_SIM_CLOCK] = "clock",         [HM_SIM_SCORED] = "scored",
        [HM_SIM_UPDATED] = "updated",     [HM_SIM_ENDED] = "ended",
    };
    return what < HM_SIM_WHATS ? name[what] : "?";
}

static void mix(struct hm_sim *sim, uint64_t x)
{
    sim->hash = hm_mix(sim->hash ^ x) + 0x9E3779B97F4A7C15u;
}

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 0;
    for (; text && *text; text++)
        hash = hm_mix(hash ^ (uint64_t)(unsigned char)*text) + 1;
    return hash;
}

void hm_sim_happen(struct hm_sim *sim, const struct hm_sim_happening *happening)
{
    struct hm_sim_happening h = *happening;
    h.at_us = sim->now_us;
    if (h.what != HM_SIM_SCORED) { /* who looks changes nothing */
        mix(sim, h.at_us);
        mix(sim, (uint64_t)h.what << 56 ^ (uint64_t)h.node << 32 ^ h.peer);
        mix(sim, h.message ? h.message->hash : 0);
        mix(sim, h.steps ^ hash_text(h.hash));
    }
    if (sim->options.observe)
        sim->options.observe(sim->options.context, sim, &h);
}

static void tell(struct sim_node *node, enum hm_sim_what what)
{
    hm_sim_happen(node->sim, &(struct hm_sim_happening){
                                 .what = what, .node = node->index, .peer = UINT32_MAX});
}

static void on_log(void *context, enum hm_note_level level, const char *text)
{
    struct sim_node *node = context;
    const struct hm_sim_options *o = &node->sim->options;
    if (o->log)
        o->log(o->context, node->sim, node->index, level, text);
}

/* ---- trajectories ---- */

/* Where a node stands; the time is the world's. */
static struct hm_curve_point point_of(const struct sim_node *node, const uint32_t **b)
{
    const struct hm_sim *sim = node->sim;
    struct hm_curve_point point = hm_node_point(node->node, b);
    point.seconds = (double)(sim->now_us - sim->train_us) / 1e6;
    return point;
}

static enum hm_status begin_trajectory(struct sim_node *node, struct hm_err *err)
{
    const struct hm_sim_options *o = &node->sim->options;
    const char *label = node->node->options.label;
    char path[PATH_BYTES];
    if (!o->trajectory_dir)
        return HM_OK;
    node->trajectory_due = 0;
    snprintf(path, sizeof path, "%s/trajectory-%s", o->trajectory_dir, label);
    return hm_trajectory_open(&node->trajectory, o->model, label, path, false, err);
}

static void record(struct sim_node *node, bool final)
{
    struct hm_node_report *report = &node->node->report;
    uint64_t every = node->sim->options.trajectory_every;
    if (!node->trajectory || report->trajectory_err.text[0] ||
        (!final && (!node->trained || hm_node_point_steps(node->node) < node->trajectory_due)))
        return;
    const uint32_t *b;
    struct hm_curve_point point = point_of(node, &b);
    node->trajectory_due = point.steps - point.steps % every + every;
    if (hm_trajectory_add(node->trajectory, b, &point, final, &report->trajectory_err))
        hm_node_log(node->node, HM_NOTE_WARNING, "%s; no more points are taken",
                    report->trajectory_err.text);
    report->n_trajectory = hm_trajectory_points(node->trajectory);
}

/* ---- turns ---- */

uint64_t hm_sim_reckon_ns(const struct hm_driver_work *work)
{
    return work->messages * HM_SIM_MESSAGE_NS + work->bytes * HM_SIM_KILOBYTE_NS / 1000 +
           work->extracts * HM_SIM_EXTRACT_NS + work->scanned * HM_SIM_SCAN_1000_NS / 1000 +
           work->published * HM_SIM_PACK_BLOCK_NS + work->applied * HM_SIM_APPLY_BLOCK_NS;
}

uint64_t hm_sim_acting_us(const struct sim_node *node)
{
    uint64_t spent = hm_sim_reckon_ns(&node->node->work) - node->turn_began_ns;
    return node->sim->now_us + spent / 1000;
}

void hm_sim_wake(struct sim_node *node, uint64_t at)
{
    if (!node->up || node->paused)
        return;
    if (at < node->busy_until)
        at = node->busy_until;
    if (at < node->sim->now_us)
        at = node->sim->now_us;
    if (node->turn_at && node->turn_at <= at)
        return;
    node->turn_at = at;
    hm_sim_push(
        node->sim,
        (struct event){.at = at, .what = EV_TURN, .node = node->index, .epoch = node->epoch});
}

static void schedule_worker(struct sim_node *node, uint32_t which, uint64_t at)
{
    hm_sim_push(
        node->sim,
        (struct event){
            .at = at, .what = EV_WORK, .node = node->index, .epoch = node->epoch, .which = which});
}

static bool anyone_waits(const struct sim_node *node)
{
    for (uint32_t i = 0; i < node->node->n_workers; i++)
        if (node->waiting[i])
            return true;
    return false;
}

/* The gate opens when there is something new, as it does for threads. */
static void release_workers(struct sim_node *node)
{
    if (!atomic_load(&node->node->shared.running) || atomic_load(&node->node->shared.ended) ||
        !anyone_waits(node) || !hm_workers_may_go(node->node))
        return;
    for (uint32_t i = 0; i < node->node->n_workers; i++)
        if (node->waiting[i]) {
            node->waiting[i] = false;
            schedule_worker(node, i, node->busy_until);
        }
}

static void begin_training(struct sim_node *node)
{
    struct hm_sim *sim = node->sim;
    node->trained = true;
    tell(node, HM_SIM_TRAINING);
    if (sim->train_us)
        return;
    sim->train_us = sim->now_us;
    hm_sim_plan(sim);
    if (sim->options.score_every > 0)
        sim->score_next_us = sim->now_us;
}

static void end_life(struct sim_node *node)
{
    struct hm_node *n = node->node;
    node->up = false;
    node->sim->n_up--;
    node->sim->n_ended++;
    hm_node_fill_report(n);
    n->report.status = hm_mesh_result(n->mesh)->status;
    n->report.end_us = node->sim->now_us;
    if (n->train_us)
        n->report.join_seconds = (double)(n->train_us - n->report.start_us) / 1e6;
    hm_sim_happen(node->sim, &(struct hm_sim_happening){.what = HM_SIM_ENDED,
                                                        .node = node->index,
                                                        .peer = UINT32_MAX,
                                                        .steps = n->report.steps,
                                                        .hash = n->report.model_hash});
    hm_sim_hang_up(node);
    hm_sim_empty_inbox(node);
}

static void turn(struct sim_node *node)
{
    struct hm_sim *sim = node->sim;
    struct hm_node *n = node->node;
    node->turn_at = 0;
    node->turn_began_ns = hm_sim_reckon_ns(&n->work);
    uint64_t wake = hm_driver_turn(n);
    uint64_t cost_ns = hm_sim_reckon_ns(&n->work) - node->turn_began_ns + HM_SIM_TURN_NS;
    node->turn_began_ns = hm_sim_reckon_ns(&n->work);
    node->busy_until = sim->now_us + (cost_ns + 999) / 1000;
    if (n->train_us && !node->trained)
        begin_training(node);
    if (n->ended) {
        end_life(node);
        if (!n->report.status)
            record(node, true);
        return;
    }
    wake -= (uint64_t)node->clock_us;
    if (node->inbox_n || (int64_t)(wake - sim->now_us) < 0)
        wake = sim->now_us;
    hm_sim_wake(node, wake);
    release_workers(node);
}

static void work(struct sim_node *node, uint32_t which)
{
    struct hm_sim *sim = node->sim;
    struct worker *worker = &node->node->worker[which];
    switch (hm_worker_step(worker)) {
    case WORKER_STEPPED:
        schedule_worker(node, which, sim->now_us);
        break;
    case WORKER_PAUSES: {
        uint64_t due = hm_pace_due_us(worker) - (uint64_t)node->clock_us;
        schedule_worker(node, which, (int64_t)(due - sim->now_us) > 0 ? due : sim->now_us);
        break;
    }
    case WORKER_WAITS:
        node->waiting[which] = true;
        if (atomic_load(&node->node->shared.running))
            hm_sim_wake(node, sim->now_us);
        break;
    case WORKER_ENDED:
        break;
    }
}

/* The node is paused: its worker goes on after the next turn, whatever that brings. */
static void hold_back(struct sim_node *node, uint32_t which)
{
    node->waiting[which] = true;
    node->node->gate.seen.valid = false;
}

/* ---- scoring ---- */

static struct sim_node *first_up(struct hm_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_max; i++)
        if (sim->node[i].up && sim->node[i].trained)
            return &sim->node[i];
    return NULL;
}

enum hm_status hm_sim_score(struct hm_sim *sim, enum hm_set set, struct hm_score *score,
                            uint64_t *steps, struct hm_err *err)
{
    struct sim_node *node = first_up(sim);
    for (uint32_t i = 0; !node && i < sim->n_max; i++)
        if (sim->node[i].node)
            node = &sim->node[i];
    *score = (struct hm_score){0};
    if (!node)
        return HM_OK;
    *steps = hm_mesh_steps(node->node->mesh);
    struct hm_model *model = sim->options.model;
    return model->ops->score(model, node->node->weights.b, *steps, set, 1, score, err);
}

enum hm_status hm_sim_conclude(struct hm_sim *sim, struct hm_node **scored, struct hm_err *err)
{
    struct hm_model *model = sim->options.model;
    struct hm_node *node = NULL;
    for (uint32_t i = 0; i < sim->n_max && !node; i++)
        if (sim->node[i].node && sim->node[i].node->ended && sim->node[i].node->report.clean)
            node = sim->node[i].node;
    *scored = node;
    if (!node)
        return HM_OK;
    struct hm_node_report *report = &node->report;
    report->curve = sim->curve.point;
    report->n_curve = sim->curve.n;
    return hm_report_scores(report, model, node->weights.b, 1, true, err);
}

uint64_t hm_sim_steps(struct hm_sim *sim, uint64_t *budget)
{
    const struct sim_node *node = first_up(sim);
    *budget = sim->options.model->budget_steps;
    return node ? hm_mesh_steps(node->node->mesh) : 0;
}

/* False: it cannot be scored. */
static bool measure(const struct sim_node *node, struct hm_curve_point *point)
{
    const struct hm_sim_options *o = &node->sim->options;
    const uint32_t *b;
    *point = point_of(node, &b);
    return !hm_curve_measure(o->model, b, o->score_set, point, NULL) && point->score.n;
}

/* The other nodes, for curves of their own. */
static void score_others(struct hm_sim *sim, const struct sim_node *first)
{
    const struct hm_sim_options *o = &sim->options;
    struct hm_curve_point point;
    for (uint32_t i = 0; i < sim->n_max; i++) {
        const struct sim_node *node = &sim->node[i];
        if (node != first && node->up && node->trained && measure(node, &point))
            o->scored(o->context, i, &point);
    }
}

static void take_currencies(const struct sim_node *node, struct hm_currency_sums *sums)
{
    for (uint32_t i = 0; node->up && i < node->node->n_workers; i++)
        hm_gauge_take(node->node->worker[i].pace.gauge, sums);
}

static void score(struct hm_sim *sim)
{
    const struct hm_sim_options *o = &sim->options;
    struct sim_node *node = first_up(sim);
    struct hm_curve_point point;
    if (!node || !measure(node, &point))
        return;
    struct hm_curve_point worlds = point;
    for (uint32_t i = 0; i < sim->n_max; i++)
        take_currencies(&sim->node[i], &worlds.currencies);
    hm_curve_add(&sim->curve, &worlds);
    hm_sim_happen(sim, &(struct hm_sim_happening){.what = HM_SIM_SCORED,
                                                  .node = node->index,
                                                  .peer = UINT32_MAX,
                                                  .steps = point.steps,
                                                  .score = &point.score});
    if (o->scored) {
        o->scored(o->context, node->index, &point);
        score_others(sim, node);
    }
    const struct hm_score *result = &point.score;
    if (sim->stopped || !((o->target_cost > 0 && result->cost <= o->target_cost) ||
                          (o->target_accuracy > 0 && result->accuracy >= o->target_accuracy)))
        return;
    sim->stopped = true;
    atomic_store(&node->node->scorer.target_reached, true);
    hm_sim_wake(node, sim->now_us);
}

static void score_when_due(struct hm_sim *sim, struct sim_node *node)
{
    uint64_t every = sim->options.score_every_steps;
    if (!every || !node->trained || sim->stopped || node != first_up(sim))
        return;
    uint64_t steps = hm_node_point_steps(node->node);
    if (steps < sim->score_next_steps)
        return;
    sim->score_next_steps = steps - steps % every + every;
    score(sim);
}

/* Between events, not as one of them: a world that is looked at goes as one that is not. */
static void score_in_time(struct hm_sim *sim)
{
    uint64_t every = (uint64_t)(sim->options.score_every * 1e6);
    while (sim->score_next_us && sim->score_next_us <= sim->heap[0].at && !sim->stopped) {
        if (sim->now_us < sim->score_next_us)
            sim->now_us = sim->score_next_us;
        sim->score_next_us += every ? every : 1;
        score(sim);
    }
}

/* ---- running ---- */

static bool is_current(const struct hm_sim *sim, const struct event *event)
{
    const struct sim_node *node = &sim->node[event->node];
    if (!node->up || event->epoch != node->epoch || node->paused)
        return false;
    return event->what != EV_TURN || node->turn_at == event->at;
}

static void happen(struct hm_sim *sim, const struct event *event)
{
    struct sim_node *node = &sim->node[event->node];
    switch (event->what) {
    case EV_TURN:
        if (is_current(sim, event)) {
            turn(node);
            if (node->up)
                score_when_due(sim, node);
            if (node->up)
                record(node, false);
        }
        break;
    case EV_WORK:
        if (is_current(sim, event))
            work(node, event->which);
        else if (node->up && event->epoch == node->epoch)
            hold_back(node, event->which); /* until the resumption's turn */
        break;
    case EV_ARRIVAL:
        hm_sim_arrive(sim, event);
        break;
    case EV_CONNECT:
        if (node->up && event->epoch == node->epoch)
            hm_sim_connect(sim, event);
        break;
    case EV_FAULT:
        hm_sim_fault(sim, event->which);
        break;
    }
}

/* A node is up, or all were killed and one comes back. */
static bool goes_on(const struct hm_sim *sim)
{
    return sim->n_heap && (sim->n_up || (sim->n_restarts && !sim->n_ended));
}

bool hm_sim_step(struct hm_sim *sim)
{
    if (!goes_on(sim))
        return false;
    score_in_time(sim);
    struct event event = hm_sim_pop(sim);
    sim->now_us = event.at;
    sim->n_events++;
    happen(sim, &event);
    if (sim->options.inspect)
        sim->options.inspect(sim->options.context, sim, event.node);
    return goes_on(sim);
}

bool hm_sim_run(struct hm_sim *sim, uint64_t until_us)
{
    while (goes_on(sim) && sim->heap[0].at <= until_us)
        hm_sim_step(sim);
    if (goes_on(sim) && sim->now_us < until_us)
        sim->now_us = until_us;
    return goes_on(sim);
}

/* ---- lives ---- */

static uint64_t life_of(const struct sim_node *node)
{
    uint64_t place = (uint64_t)node->index << 20 | node->epoch;
    return hm_mix(hm_mix(node->sim->options.seed + 1) ^ (place + 1)) | 1;
}

static bool is_meant(const struct hm_node_set *set, uint32_t index)
{
    return !set || hm_node_set_has(set, index);
}

static struct hm_node_options options_of(struct sim_node *node)
{
    struct hm_sim *sim = node->sim;
    struct hm_node_options o = sim->options.node;
    o.life = life_of(node);
    o.rank = (int)(node->index % sim->options.n);
    o.ranks = sim->options.n;
    o.n_peers = 0;
    o.expect = sim->options.n;
    o.local_nodes = 0;
    o.score_every = o.target_accuracy = 0;
    o.score_every_steps = 0;
    o.scored = NULL;
    o.trajectory_path = NULL;
    o.progress = (struct hm_progress){0};
    o.bound = NULL;
    o.status = NULL;
    o.log = on_log;
    o.context = node;
    if (!o.log_bytes) { /* not by this machine's memory: every machine does the same */
        uint64_t model = (uint64_t)sim->layout.n_blocks * HM_BLOCK * sizeof(float);
        o.log_bytes = 8 * model > (uint64_t)256 << 20 ? 8 * model : (uint64_t)256 << 20;
    }
    if (node->epoch > 1)
        snprintf(o.label, sizeof o.label, "node%u.%u", node->index, node->epoch);
    else
        snprintf(o.label, sizeof o.label, "node%u", node->index);
    if (!is_meant(sim->options.step_time_nodes, node->index))
        o.step_time = NULL;
    if (!is_meant(sim->options.delay_nodes, node->index))
        o.delay = NULL;
    if (sim->options.faults) {
        struct hm_node_pace pace = hm_faults_pace(sim->options.faults, node->index);
        o.speed = pace.speed > 0 ? pace.speed : o.speed;
        o.step_time = pace.step_time ? pace.step_time : o.step_time;
        o.delay = pace.delay ? pace.delay : o.delay;
    }
    return o;
}

static size_t list_peers(struct sim_node *node, struct hm_peer_entry *peer)
{
    struct hm_sim *sim = node->sim;
    size_t n = 0, most = sim->options.n_known ? sim->options.n_known : sim->n_max;
    for (uint32_t i = 0; i < sim->n_max && n < most; i++) {
        const struct sim_node *other = &sim->node[i];
        if (!other->up || other == node)
            continue;
        peer[n] = (struct hm_peer_entry){.life = hm_mesh_life(other->node->mesh)};
        memcpy(peer[n].label, other->node->options.label, sizeof peer[n].label);
        memcpy(peer[n].rpc, other->env.rpc, sizeof peer[n].rpc);
        memcpy(peer[n++].pub, other->env.pub, sizeof peer[n].pub);
    }
    return n;
}

static void equip(struct sim_node *node)
{
    struct hm_sim *sim = node->sim;
    struct hm_node *n = node->node;
    n->env = &node->env;
    atomic_store(&n->waker, n->env);
    n->model = sim->options.model;
    n->model_borrowed = true;
    n->config = sim->config;
    n->bulk = sim->bulk;
    n->bulk_n = sim->bulk_n;
    n->layout = sim->layout;
    n->delta = &sim->delta;
    n->decoder = sim->decoder;
    n->report.start_us = sim->now_us;
}

static void forget_life(struct sim_node *node)
{
    if (node->node) {
        node->node->env = NULL;
        atomic_store(&node->node->waker, NULL);
        hm_node_close(node->node);
    }
    node->node = NULL;
    hm_trajectory_close(node->trajectory);
    node->trajectory = NULL;
    free(node->waiting);
    node->waiting = NULL;
}

enum hm_status hm_sim_start(struct hm_sim *sim, uint32_t index, struct hm_err *err)
{
    struct sim_node *node = &sim->node[index];
    assert(index < sim->n_max);
    assert(!node->up);
    forget_life(node);
    node->epoch++;
    node->paused = node->trained = false;
    node->clock_us = 0;
    node->turn_at = node->busy_until = node->turn_began_ns = 0;
    node->flips = 0;
    node->env.n_dropped = 0;
    snprintf(node->env.rpc, sizeof node->env.rpc, "inproc://node%u.%u", index, node->epoch);
    snprintf(node->env.pub, sizeof node->env.pub, "inproc://pub%u.%u", index, node->epoch);
    struct hm_node_options options = options_of(node);
    enum hm_status status = hm_node_make(&node->node, &options, err);
    if (status)
        return status;
    equip(node);
    struct hm_peer_entry *peer = hm_sim_must(malloc(sim->n_max * sizeof *peer));
    node->node->peers = peer;
    node->node->n_peers = list_peers(node, peer);
    status = hm_node_prepare(node->node, err);
    node->node->peers = NULL; /* the mesh has read them */
    node->node->n_peers = 0;
    free(peer);
    if (!status)
        status = begin_trajectory(node, err);
    if (status)
        return status;
    node->waiting = hm_sim_must(malloc(node->node->n_workers * sizeof *node->waiting));
    memset(node->waiting, 1, node->node->n_workers * sizeof *node->waiting);
    node->up = true;
    sim->n_up++;
    tell(node, HM_SIM_STARTED);
    hm_sim_wake(node, sim->now_us);
    return HM_OK;
}

enum hm_status hm_sim_start_all(struct hm_sim *sim, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (uint32_t i = 0; i < sim->options.n && !status; i++)
        status = hm_sim_start(sim, i, err);
    return status;
}

/* ---- faults ---- */

void hm_sim_cut(struct hm_sim *sim, uint32_t from, uint32_t to, bool cut)
{
    hm_sim_link(sim, from, to)->cut = cut;
}

void hm_sim_pause(struct hm_sim *sim, uint32_t index)
{
    struct sim_node *node = &sim->node[index];
    if (!node->up || node->paused)
        return;
    node->paused = true;
    node->turn_at = 0;
    tell(node, HM_SIM_PAUSED);
}

void hm_sim_resume(struct hm_sim *sim, uint32_t index)
{
    struct sim_node *node = &sim->node[index];
    if (!node->up || !node->paused)
        return;
    node->paused = false;
    tell(node, HM_SIM_RESUMED);
    hm_sim_wake(node, sim->now_us);
}

void hm_sim_kill(struct hm_sim *sim, uint32_t index)
{
    struct sim_node *node = &sim->node[index];
    if (!node->up)
        return;
    const struct hm_node *n = node->node;
    sim->dead = hm_sim_must(realloc(sim->dead, (sim->n_dead + 1) * sizeof *sim->dead));
    struct hm_sim_dead *dead = &sim->dead[sim->n_dead++];
    *dead = (struct hm_sim_dead){.life = n->options.life,
                                 .steps = hm_node_made(n),
                                 .seq = hm_mesh_counters(n->mesh)->published,
                                 .node = index};
    memcpy(dead->label, n->options.label, sizeof dead->label);
    tell(node, HM_SIM_KILLED);
    node->up = false;
    sim->n_up--;
    hm_sim_hang_up(node);
    hm_sim_empty_inbox(node);
    forget_life(node);
}

static void ask_to_stop(struct hm_sim *sim, uint32_t index, bool leave)
{
    struct sim_node *node = &sim->node[index];
    if (!node->up)
        return;
    tell(node, leave ? HM_SIM_LEAVING : HM_SIM_STOPPED);
    node->left |= leave;
    hm_node_stop(node->node, leave);
}

void hm_sim_leave(struct hm_sim *sim, uint32_t index)
{
    ask_to_stop(sim, index, true);
}

void hm_sim_stop(struct hm_sim *sim, uint32_t index)
{
    ask_to_stop(sim, index, false);
}

void hm_sim_flip(struct hm_sim *sim, uint32_t index)
{
    sim->node[index].flips += sim->node[index].up;
}

void hm_sim_jump(struct hm_sim *sim, uint32_t index, int64_t us)
{
    struct sim_node *node = &sim->node[index];
    if (!node->up)
        return;
    node->clock_us += us;
    if (node->clock_us < -(int64_t)sim->now_us + 1) /* time 0 means "never" */
        node->clock_us = -(int64_t)sim->now_us + 1;
    tell(node, HM_SIM_CLOCK);
    hm_sim_wake(node, sim->now_us);
}

/* ---- questions ---- */

uint64_t hm_sim_now(const struct hm_sim *sim)
{
    return sim->now_us;
}

uint64_t hm_sim_events(const struct hm_sim *sim)
{
    return sim->n_events;
}

uint64_t hm_sim_hash(const struct hm_sim *sim)
{
    return sim->hash;
}

uint32_t hm_sim_n(const struct hm_sim *sim)
{
    return sim->n_max;
}

struct hm_node *hm_sim_node(struct hm_sim *sim, uint32_t index)
{
    return sim->node[index].node;
}

bool hm_sim_is_up(const struct hm_sim *sim, uint32_t index)
{
    return sim->node[index].up;
}

bool hm_sim_has_left(const struct hm_sim *sim, uint32_t index)
{
    return sim->node[index].left;
}

const struct hm_fields *hm_sim_config(const struct hm_sim *sim)
{
    return &sim->config;
}

size_t hm_sim_n_dead(const struct hm_sim *sim)
{
    return sim->n_dead;
}

const struct hm_sim_dead *hm_sim_dead(const struct hm_sim *sim, size_t index)
{
    return &sim->dead[index];
}

const struct hm_curve_point *hm_sim_curve(const struct hm_sim *sim, size_t *n)
{
    *n = sim->curve.n;
    return sim->curve.point;
}

/* ---- opening ---- */

static unsigned decoded_places(const struct hm_layout *layout)
{
    uint64_t fit = DECODED_BYTES / ((uint64_t)layout->n_blocks * HM_BLOCK * sizeof(int32_t));
    return fit > DECODED_MAX ? DECODED_MAX : fit < DECODED_LEAST ? DECODED_LEAST : (unsigned)fit;
}

static enum hm_status found(struct hm_sim *sim, struct hm_err *err)
{
    struct hm_model *model = sim->options.model;
    enum hm_status status = model->ops->found(model, &sim->config, err);
    if (!status)
        status = model->ops->adopt(model, &sim->config, NULL, 0, &sim->layout, err);
    if (status)
        return status;
    sim->bulk = model->ops->bulk(model, &sim->bulk_n);
    status = hm_delta_init(&sim->delta, sim->layout.n_blocks, err);
    if (!status)
        status = hm_decoder_open(&sim->decoder, sim->kernels, &sim->layout,
                                 decoded_places(&sim->layout), err);
    return status;
}

enum hm_status hm_sim_open(struct hm_sim **out, const struct hm_sim_options *options,
                           struct hm_err *err)
{
    const struct hm_faults *faults = options->faults;
    *out = NULL;
    struct hm_sim *sim = calloc(1, sizeof *sim);
    if (!sim)
        return hm_fail(err, HM_ENOMEM, "no memory for a world");
    sim->options = *options;
    sim->now_us = HM_SIM_BORN_US;
    sim->rng = hm_rng_seed(options->seed, 1);
    sim->n_max = options->n + (faults ? faults->n_joins : 0);
    if (options->n_max > sim->n_max)
        sim->n_max = options->n_max;
    sim->kernels = hm_kernels_find(options->node.train.isa ? options->node.train.isa : "auto");
    sim->node = calloc(sim->n_max, sizeof *sim->node);
    enum hm_status status = HM_OK;
    if (!sim->node)
        status = hm_fail(err, HM_ENOMEM, "no memory for %u nodes", sim->n_max);
    else if (!sim->kernels)
        status = hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                         options->node.train.isa);
    for (uint32_t i = 0; !status && i < sim->n_max; i++)
        sim->node[i] = (struct sim_node){.env = {.ops = &hm_sim_env_ops}, .sim = sim, .index = i};
    if (!status)
        status = found(sim, err);
    if (status) {
        hm_sim_close(sim);
        return status;
    }
    *out = sim;
    return HM_OK;
}

static void close_node(struct sim_node *node)
{
    hm_sim_empty_inbox(node);
    forget_life(node);
    for (uint32_t i = 0; node->pair && i < node->sim->n_max; i++) {
        free(node->pair[i].own);
        free(node->pair[i].now);
    }
    free(node->pair);
    free(node->slot);
    free(node->subscriber);
    free(node->inbox);
}

void hm_sim_close(struct hm_sim *sim)
{
    if (!sim)
        return;
    for (uint32_t i = 0; sim->node && i < sim->n_max; i++)
        close_node(&sim->node[i]);
    hm_sim_queue_close(sim);
    hm_decoder_close(sim->decoder);
    hm_delta_fini(&sim->delta);
    free(sim->node);
    free(sim->dead);
    hm_curve_fini(&sim->curve);
    free(sim);
}
