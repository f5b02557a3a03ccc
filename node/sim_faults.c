/* A fault plan in the simulator: its events at their times. What it says of links is looked up when
 * something is sent (sim_wire.c), what it says of nodes when they start. */
#include "node/sim_state.h"

void hm_sim_plan(struct hm_sim *sim)
{
    const struct hm_faults *faults = sim->options.faults;
    for (size_t i = 0; faults && i < faults->n_events; i++) {
        sim->n_restarts += faults->event[i].type == HM_FAULT_RESTART;
        hm_sim_push(sim, (struct event){.at = sim->train_us + faults->event[i].at_us,
                                        .what = EV_FAULT,
                                        .which = (uint32_t)i});
    }
    /* What links were asked for before is not what they are from now on. */
    for (uint32_t i = 0; faults && i < sim->n_max; i++)
        for (uint32_t k = 0; sim->node[i].pair && k < sim->n_max; k++)
            if (sim->node[i].pair[k].now)
                sim->node[i].pair[k].now->until_us = 0;
}

static void reset_between(struct hm_sim *sim, const struct hm_fault_event *event)
{
    for (uint32_t a = 0; a < sim->n_max; a++)
        for (uint32_t b = 0; b < sim->n_max; b++)
            if (a != b && hm_node_set_has(event->from, a) && hm_node_set_has(event->to, b))
                hm_sim_reset(sim, a, b);
}

static void start(struct hm_sim *sim, uint32_t index)
{
    struct hm_err err = {""};
    if (sim->node[index].up || !hm_sim_start(sim, index, &err) || !sim->options.log)
        return;
    sim->options.log(sim->options.context, sim, index, HM_NOTE_ERROR, err.text);
}

void hm_sim_fault(struct hm_sim *sim, uint32_t which)
{
    const struct hm_fault_event *event = &sim->options.faults->event[which];
    sim->n_restarts -= event->type == HM_FAULT_RESTART;
    switch (event->type) {
    case HM_FAULT_PAUSE:
        hm_sim_pause(sim, event->node);
        break;
    case HM_FAULT_RESUME:
        hm_sim_resume(sim, event->node);
        break;
    case HM_FAULT_KILL:
        hm_sim_kill(sim, event->node);
        break;
    case HM_FAULT_RESTART:
    case HM_FAULT_JOIN:
        start(sim, event->node);
        break;
    case HM_FAULT_LEAVE:
        hm_sim_leave(sim, event->node);
        break;
    case HM_FAULT_RESET:
        reset_between(sim, event);
        break;
    case HM_FAULT_FLIP:
        hm_sim_flip(sim, event->node);
        break;
    case HM_FAULT_CLOCK:
        hm_sim_jump(sim, event->node, event->jump_us);
        break;
    case HM_FAULT_CUT: /* links know by themselves */
    case HM_FAULT_CUT_ENDS:
    case HM_FAULT_HEAL:
    case HM_FAULT_TYPES:
        break;
    }
}
