/* The driver: feeds the mesh what happens, carries out what it says. The one thread that owns
 * sockets, B and the mesh. */
#include "node/discover.h"
#include "node/node_state.h"
#include "node/recorder.h"
#include "node/saver.h"
#include "node/top.h"
#include "node/view.h"
#include "sparse/install.h"

#include <math.h>
#include <string.h>

enum { MESSAGES_A_TURN = 256, STATUS_US = 250000, DISCOVER_US = 200000, RELEASE_US = 1000 };

/* What every event brings. A gradient that is in the steps has been read before. */
static void fill_in(struct hm_node *node, struct hm_event *event)
{
    event->now_us = hm_node_now(node);
    event->own_steps = hm_node_settled(node) - node->taken;
    event->readers = node->readers;
    for (unsigned i = 0; node->readers && i < node->n_workers; i++)
        node->readers[i] = atomic_load_explicit(&node->worker[i].reads, memory_order_acquire);
}

static struct hm_event event_of(struct hm_node *node, enum hm_event_type type)
{
    struct hm_event event = {.type = type};
    fill_in(node, &event);
    return event;
}

/* How far a gradient looks ahead. */
static float reach(const struct hm_node *node)
{
    const struct hm_model *model = node->model;
    if (node->combiner.rule != HM_RULE_LOOKAHEAD)
        return 0;
    double step_us = node->rate ? model->batch * 1e6 * node->n_workers / (double)node->rate : 0;
    return hm_combiner_reach(model->momentum, (double)hm_mesh_delay_us(node->mesh), step_us);
}

/* Whether nothing of the round before is missing. Who has ended its work is waited for no more:
 * whether its part of the last round is here shows in the steps. */
static bool round_is_complete(const struct hm_node *node, uint64_t lead)
{
    const struct hm_rounds *rounds = &node->rounds;
    uint64_t steps = hm_mesh_steps(node->mesh) - rounds->early_steps;
    if (rounds->over && steps < node->model->budget_steps)
        return false;
    return lead >= node->model->batch; /* the last batches may be smaller: not any lead will do */
}

/* The examples that a staleness bound lets this node hand out. Where that is 0, a round is opened
 * when nothing of the one before is missing; what belongs to it has been told by then. */
static uint64_t claims_max(struct hm_node *node)
{
    uint64_t lead = hm_mesh_steps_lead(node->mesh);
    if (!node->rounds.weights && hm_mesh_n_live(node->mesh) == 1)
        return UINT64_MAX;
    if (node->rounds.weights && !round_is_complete(node, lead))
        return node->taken;
    if (node->rounds.weights && hm_rounds_open(&node->rounds, hm_mesh_steps(node->mesh),
                                               hm_mesh_own_published_steps(node->mesh)))
        atomic_fetch_add_explicit(&node->shared.round, 1, memory_order_release);
    return lead < UINT64_MAX ? node->taken + lead : lead;
}

/* Numbers that workers go by. */
static void tell_workers(struct hm_node *node)
{
    struct for_workers *shared = &node->shared;
    struct hm_combination combination = hm_mesh_combination(node->mesh);
    atomic_store_explicit(&shared->steps, hm_mesh_steps(node->mesh) - node->rounds.early_steps,
                          memory_order_relaxed);
    atomic_store_explicit(&shared->taken, node->taken, memory_order_relaxed);
    atomic_store_explicit(&shared->scale, combination.step, memory_order_relaxed);
    atomic_store_explicit(&shared->divisor, combination.divisor, memory_order_relaxed);
    atomic_store_explicit(&shared->n_live, hm_mesh_n_live(node->mesh), memory_order_relaxed);
    atomic_store_explicit(&shared->steps_cap, hm_mesh_steps_cap(node->mesh), memory_order_relaxed);
    atomic_store_explicit(&shared->reach, reach(node), memory_order_relaxed);
    atomic_store_explicit(&shared->claims_max, claims_max(node), memory_order_relaxed);
    if (atomic_load_explicit(&node->gate.n_waiting, memory_order_seq_cst) &&
        hm_workers_may_go(node))
        hm_workers_open_gate(node);
}

static void measure_rate(struct hm_node *node, uint64_t steps)
{
    uint64_t now = hm_node_now(node);
    node->rate_steps += steps;
    if (now - node->rate_us < 1000)
        return;
    uint64_t rate = node->rate_steps * 1000000 / (now - node->rate_us);
    node->rate = node->rate ? (3 * node->rate + rate) / 4 : rate;
    node->rate_us = now;
    node->rate_steps = 0;
}

static double residual_norm(const struct hm_weights *weights)
{
    double sum = 0;
    for (uint32_t i = 0; i < weights->layout.n_tensors; i++) {
        const struct hm_tensor *t = &weights->layout.tensor[i];
        double grid = ldexp(1, t->grid_exp);
        size_t at = hm_tensor_at(t), n = (size_t)t->n_blocks * HM_BLOCK;
        for (size_t k = at; k < at + n; k++) {
            double owed = (double)hm_cell_get(&weights->w[k]) / grid - (int32_t)weights->b[k];
            sum += owed * owed;
        }
    }
    return sqrt(sum / (double)weights->n);
}

static void rescale(struct hm_weights *weights, float factor)
{
    for (uint32_t i = 0; i < weights->layout.n_tensors; i++) {
        const struct hm_tensor *t = &weights->layout.tensor[i];
        float grid = hm_exp2i(t->grid_exp);
        size_t at = hm_tensor_at(t), n = (size_t)t->n_blocks * HM_BLOCK;
        for (size_t k = at; k < at + n; k++) {
            float owed = hm_cell_get(&weights->w[k]) - (float)(int32_t)weights->b[k] * grid;
            if (owed != 0)
                hm_cell_add(&weights->w[k], factor * owed);
        }
    }
}

static uint64_t processor_us(const struct hm_node *node)
{
    return node->env->ops->processor_us(node->env, &node->work);
}

/* What own steps are in: W, but in rounds. */
static struct hm_weights *worked_on(struct hm_node *node)
{
    return node->rounds.weights ? &node->rounds.own : &node->weights;
}

static uint32_t saturate(struct hm_node *node, const struct hm_action *action, uint64_t steps,
                         struct hm_delta *delta, struct hm_extract_stats *stats)
{
    const double delay_s = (double)hm_mesh_unseen_us(node->mesh) * 1e-6;
    const struct hm_saturator_turn turn = {.own_steps = node->taken + steps,
                                           .mesh_steps = hm_mesh_steps(node->mesh) + steps,
                                           .pass_steps = action->extract.pass_steps,
                                           .room_blocks = action->extract.room_blocks,
                                           .delay_steps = delay_s * (double)node->rate,
                                           .n_live = hm_mesh_n_live(node->mesh),
                                           .final = action->extract.verify};
    return hm_saturator_extract(&node->combiner.saturator, node->kernels, &action->extract.publish,
                                &turn, delta, stats);
}

/* Makes the delta, and adds it to B. Returns the blocks that were looked at. */
static uint32_t make_delta(struct hm_node *node, const struct hm_action *action, uint64_t steps,
                           struct hm_delta *delta, struct hm_extract_stats *stats)
{
    bool final = action->extract.verify || action->extract.rescale != 0;
    if (node->rounds.weights) {
        hm_rounds_take(&node->rounds);
        const struct hm_publish top =
            hm_top(&node->rounds.own, &action->extract.publish, final ? 0 : node->combiner.most);
        node->kernels->extract(&node->rounds.own, 0, node->layout.n_blocks, &top, delta, stats);
        node->kernels->apply(delta, &node->weights, &node->n_sampled, &node->n_wiped);
        if (node->rounds.over && !steps)
            hm_rounds_keep(&node->rounds, delta, 0);
        return node->layout.n_blocks;
    }
    if (node->combiner.rule == HM_RULE_SATURATE)
        return saturate(node, action, steps, delta, stats);
    return hm_combiner_extract(&node->combiner, node->kernels, &action->extract.publish, final,
                               hm_node_now(node) + hm_mesh_delay_us(node->mesh),
                               atomic_load_explicit(&node->cursor, memory_order_relaxed), delta,
                               stats);
}

enum { PLACE_BYTES = 224 };

/* What the workload calls the number that went wrong; NULL: nothing, or as the layout does. */
static const char *place_of(const struct hm_node *node, const struct hm_extract_stats *stats,
                            char text[PLACE_BYTES])
{
    if (!node->model->ops->place || (!stats->n_nonfinite && !stats->n_leaps))
        return NULL;
    node->model->ops->place(node->model,
                            stats->n_nonfinite ? stats->first_nonfinite.at : stats->first_leap.at,
                            text, PLACE_BYTES);
    return text;
}

static void extract(struct hm_node *node, const struct hm_action *action)
{
    struct hm_extract_stats stats = {0};
    hm_resume_hand_over(node);
    if (action->extract.verify)
        hm_combiner_release_all(&node->combiner);
    if (action->extract.verify && !node->report.residual_norm)
        node->report.residual_norm = residual_norm(worked_on(node));
    uint64_t steps = hm_workers_extract(node) - node->taken;
    struct hm_delta *delta = node->delta;
    delta->n_blocks = delta->n_nonzero = 0;
    node->work.scanned += (uint64_t)HM_BLOCK * make_delta(node, action, steps, delta, &stats);
    node->work.extracts++;
    node->work.published += delta->n_blocks;
    node->taken += steps;
    if (steps || delta->n_blocks)
        node->report.last_apply_us = hm_node_now(node);
    if (action->extract.rescale != 0) {
        rescale(worked_on(node), action->extract.rescale);
        hm_dirty_mark_all(&node->combiner.dirty);
    }
    measure_rate(node, steps);
    struct hm_event event = event_of(node, HM_EV_EXTRACTED);
    event.extracted.delta = delta;
    event.extracted.steps = steps;
    event.extracted.stats = stats;
    uint64_t spent = processor_us(node);
    event.extracted.cost_us = (uint32_t)(spent - node->spent_us);
    node->spent_us = spent;
    event.extracted.rate =
        node->model->ops->rate(node->model, (double)(hm_mesh_steps(node->mesh) + steps));
    char place[PLACE_BYTES];
    event.extracted.place = place_of(node, &stats, place);
    if (action->extract.verify || stats.n_leaps)
        event.extracted.digest =
            node->kernels->digest_dense(node->weights.b, node->layout.n_blocks);
    hm_mesh_step(node->mesh, &event);
    if (steps)
        hm_rounds_close(&node->rounds);
    hm_workers_extracted(node);
}

static void retract(struct hm_node *node, const struct hm_action *action)
{
    hm_delta_retract(action->delta, node->weights.b);
    hm_weights_settle(&node->weights);
    hm_combiner_forget(&node->combiner);
    if (node->rounds.weights)
        hm_weights_settle(&node->rounds.own);
    hm_rounds_forget(&node->rounds);
}

static void apply(struct hm_node *node, const struct hm_action *action)
{
    node->kernels->apply(action->delta, &node->weights, &node->n_sampled, &node->n_wiped);
    node->work.applied += action->delta->n_blocks;
    hm_combiner_note(&node->combiner, action->from, action->delta);
    if (action->early)
        hm_rounds_keep(&node->rounds, action->delta, action->steps);
    struct hm_event event = event_of(node, HM_EV_APPLIED);
    node->report.last_apply_us = event.now_us;
    hm_mesh_step(node->mesh, &event);
}

static void snapshot(struct hm_node *node)
{
    size_t n = node->weights.n * sizeof *node->weights.b;
    struct hm_event event = event_of(node, HM_EV_SNAPSHOT);
    event.base = hm_blob_new(n);
    if (event.base)
        memcpy(event.base->bytes, node->weights.b, n);
    hm_mesh_step(node->mesh, &event);
}

static void install(struct hm_node *node, const uint32_t *base)
{
    hm_weights_install(node->kernels, &node->weights, base, &node->n_sampled, &node->n_wiped);
    hm_rounds_forget(&node->rounds);
    struct hm_event event = event_of(node, HM_EV_INSTALLED);
    node->report.last_apply_us = event.now_us;
    hm_mesh_step(node->mesh, &event);
}

static void verify(struct hm_node *node)
{
    uint64_t digest = node->kernels->digest_dense(node->weights.b, node->layout.n_blocks);
    struct hm_event event = event_of(node, HM_EV_VERIFIED);
    event.digest = digest;
    hm_mesh_step(node->mesh, &event);
}

static void start(struct hm_node *node)
{
    node->train_us = node->rate_us = hm_node_now(node);
    node->spent_us = processor_us(node);
    node->report.first_step_us = node->train_us;
    node->report.last_apply_us = node->train_us;
    node->status_due_us = 0; /* who watches may go by this moment */
    hm_resume_hand_over(node);
    tell_workers(node);
    atomic_store(&node->shared.running, true);
    hm_workers_open_gate(node);
}

static void end_work(struct hm_node *node)
{
    hm_workers_join(node);
    hm_rounds_end(&node->rounds);
    node->agree_us = hm_node_now(node);
    struct hm_event event = event_of(node, HM_EV_WORK_ENDED);
    hm_mesh_step(node->mesh, &event);
}

static void tell_who_asks(struct hm_node *node)
{
    struct hm_event event = event_of(node, HM_EV_STATUS);
    event.status = hm_node_describe(node);
    hm_mesh_step(node->mesh, &event);
}

static void act(struct hm_node *node, const struct hm_action *action)
{
    switch (action->type) {
    case HM_ACT_EXTRACT:
        extract(node, action);
        break;
    case HM_ACT_RETRACT:
        retract(node, action);
        break;
    case HM_ACT_APPLY:
        apply(node, action);
        break;
    case HM_ACT_SNAPSHOT:
        snapshot(node);
        break;
    case HM_ACT_INSTALL:
        install(node, action->base);
        break;
    case HM_ACT_VERIFY:
        verify(node);
        break;
    case HM_ACT_STATUS:
        tell_who_asks(node);
        break;
    case HM_ACT_START:
        start(node);
        break;
    case HM_ACT_END_WORK:
        end_work(node);
        break;
    case HM_ACT_NOTE:
        hm_node_log(node, action->level, "%s", action->note);
        break;
    case HM_ACT_FINISH:
        node->ended = true;
        break;
    default:
        node->env->ops->carry_out(node->env, action);
    }
}

static void step(struct hm_node *node, const struct hm_event *event)
{
    hm_mesh_step(node->mesh, event);
    for (const struct hm_action *action; (action = hm_mesh_next(node->mesh)) != NULL;)
        act(node, action);
}

static void hear(struct hm_node *node)
{
    struct hm_event event;
    for (unsigned i = 0;
         i < MESSAGES_A_TURN && !node->ended && node->env->ops->receive(node->env, &event); i++) {
        fill_in(node, &event);
        if (event.type == HM_EV_MESSAGE) {
            const struct hm_blob *payload = event.message.payload;
            node->work.messages++;
            node->work.bytes += event.message.header_n + (payload ? payload->n : 0);
        }
        step(node, &event);
    }
}

static void heed_stops(struct hm_node *node)
{
    int wanted = atomic_load(&node->stop_wanted);
    double seconds = node->model->seconds;
    struct hm_event event = event_of(node, wanted == 2 ? HM_EV_LEAVE : HM_EV_STOP);
    event.reason = NULL;
    if (wanted)
        event.reason = wanted == 2 ? "left by request" : "stopped by request";
    else if (atomic_load(&node->scorer.target_reached))
        event.reason = "target accuracy reached";
    else if (node->feed && hm_feed_has_ended(node->feed))
        event.reason = "the feeder has delivered all";
    else if (seconds > 0 && node->train_us &&
             (double)(event.now_us - node->train_us) >= seconds * 1e6)
        event.reason = "time is up";
    if (event.reason && !node->stop_told) {
        node->stop_told = true;
        step(node, &event);
    }
}

/* Nodes of this mesh that call out in the LAN: those of an island of it are not known yet. */
static void discover(struct hm_node *node)
{
    struct hm_peer_entry peer;
    uint64_t now = hm_node_now(node);
    if (!node->discover || now < node->discover_due_us)
        return;
    node->discover_due_us = now + DISCOVER_US;
    hm_discover_turn(node->discover, now, hm_config_fingerprint(&node->config));
    while (hm_discover_next(node->discover, now, &peer)) {
        struct hm_event event = event_of(node, HM_EV_POINTED_AT);
        event.peer = &peer;
        step(node, &event);
    }
}

/* When the mesh or the time limit wants the next turn. */
static uint64_t wake_us(const struct hm_node *node)
{
    uint64_t wake = hm_mesh_wake_us(node->mesh, atomic_load(&node->shared.running));
    uint64_t release = hm_combiner_due_us(&node->combiner), now = hm_node_now(node);
    if (release < now) /* it waits for a worker to begin another batch */
        release = now + RELEASE_US;
    wake = release < wake ? release : wake;
    double seconds = node->model->seconds;
    uint64_t end = node->train_us + (uint64_t)(seconds * 1e6);
    if (seconds > 0 && node->train_us && end > hm_node_now(node) && end < wake)
        return end;
    return wake;
}

uint64_t hm_driver_turn(struct hm_node *node)
{
    hm_combiner_release(&node->combiner, hm_node_now(node),
                        atomic_load_explicit(&node->cursor, memory_order_relaxed));
    hear(node);
    heed_stops(node);
    if (node->ended)
        return 0;
    discover(node);
    struct hm_event tick = event_of(node, HM_EV_TICK);
    step(node, &tick);
    hm_node_tell_notes(node);
    hm_saver_serve(node);
    if (!node->ended) { /* what it ends with is no point on the way */
        hm_scorer_serve(node);
        hm_recorder_serve(node);
    }
    tell_workers(node);
    if (tick.now_us >= node->status_due_us) {
        node->status_due_us = tick.now_us + STATUS_US;
        hm_node_tell_status(node);
    }
    return node->ended ? 0 : wake_us(node);
}

void hm_driver_run(struct hm_node *node)
{
    while (!node->ended) {
        uint64_t wake = hm_driver_turn(node);
        if (!node->ended && wake > hm_node_now(node))
            node->env->ops->wait(node->env, wake);
    }
}
