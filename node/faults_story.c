#include "node/faults_state.h"

#include <stdio.h>
#include <stdlib.h>

/* By time; ends of cuts come first, the rest stays in the order of the file. */
static int in_order(const void *x, const void *y)
{
    const struct hm_fault_event *a = x, *b = y;
    if (a->at_us != b->at_us)
        return a->at_us < b->at_us ? -1 : 1;
    int ends_a = a->type == HM_FAULT_CUT_ENDS, ends_b = b->type == HM_FAULT_CUT_ENDS;
    if (ends_a != ends_b)
        return ends_b - ends_a;
    return (a->order > b->order) - (a->order < b->order);
}

static void sort_events(struct hm_faults *faults)
{
    for (size_t i = 0; i < faults->n_events; i++)
        faults->event[i].order = (uint32_t)i;
    if (faults->n_events)
        qsort(faults->event, faults->n_events, sizeof *faults->event, in_order);
}

/* Sorted before the ends of cuts are added, so that those of one time follow their cuts' order. */
static enum hm_status arrange(struct hm_fault_reader *r)
{
    struct hm_faults *faults = r->faults;
    sort_events(faults);
    for (size_t i = 0, n = faults->n_events; i < n; i++) {
        struct hm_fault_event event = faults->event[i];
        if (event.type != HM_FAULT_CUT || event.until_us == HM_FAULTS_FOREVER)
            continue;
        event.type = HM_FAULT_CUT_ENDS;
        event.at_us = event.until_us;
        r->entry = event.entry;
        enum hm_status status = hm_fault_push(r, &event);
        if (status)
            return status;
    }
    sort_events(faults);
    for (size_t i = 0; i < faults->n_events; i++)
        if (faults->event[i].type == HM_FAULT_JOIN)
            faults->event[i].node = faults->n_nodes + faults->n_joins++;
    return HM_OK;
}

/* ---- contradictions ---- */

enum standing { ABSENT, WORKS, STANDS_STILL, IS_DEAD, HAS_LEFT };

struct life {
    enum standing standing;
    const struct hm_fault_event *since; /* what made it so; NULL: the start */
};

/* What a fault makes of a node; the state in which it has to find it. */
static const struct {
    unsigned found; /* bits of enum standing */
    enum standing becomes;
} effects[HM_FAULT_TYPES] = {
    [HM_FAULT_PAUSE] = {1 << WORKS, STANDS_STILL},
    [HM_FAULT_RESUME] = {1 << STANDS_STILL, WORKS},
    [HM_FAULT_KILL] = {1 << WORKS | 1 << STANDS_STILL, IS_DEAD},
    [HM_FAULT_RESTART] = {1 << IS_DEAD, WORKS},
    [HM_FAULT_LEAVE] = {1 << WORKS, HAS_LEFT},
    [HM_FAULT_JOIN] = {1 << ABSENT, WORKS},
    [HM_FAULT_FLIP] = {1 << WORKS | 1 << STANDS_STILL, ABSENT},
    [HM_FAULT_CLOCK] = {1 << WORKS | 1 << STANDS_STILL, ABSENT},
};

static enum hm_status contradiction(struct hm_fault_reader *r, const struct hm_fault_event *event,
                                    const struct life *life)
{
    static const char *const standings[] = {[WORKS] = "works",
                                            [STANDS_STILL] = "is paused",
                                            [IS_DEAD] = "is dead",
                                            [HAS_LEFT] = "has left"};
    char at[HM_NUMBER_TEXT_MAX], then[HM_NUMBER_TEXT_MAX], since[128] = "since the start";
    hm_duration_print((double)event->at_us, at);
    if (life->since) {
        hm_duration_print((double)life->since->at_us, then);
        snprintf(since, sizeof since, "since the %s at %s (events[%u])",
                 hm_fault_name(life->since->type), then, life->since->entry);
    }
    if (life->standing == ABSENT)
        return hm_fault_fail(r, HM_F_NONE, 0, "%s: %s of node %u at %s: it has not joined yet",
                             hm_fault_where(r, NULL).text, hm_fault_name(event->type), event->node,
                             at);
    return hm_fault_fail(r, HM_F_NONE, 0, "%s: %s of node %u at %s: it %s %s",
                         hm_fault_where(r, NULL).text, hm_fault_name(event->type), event->node, at,
                         standings[life->standing], since);
}

static enum hm_status follow(struct hm_fault_reader *r, struct life *life)
{
    for (size_t i = 0, n_cuts = 0; i < r->faults->n_events; i++) {
        const struct hm_fault_event *event = &r->faults->event[i];
        r->entry = event->entry;
        n_cuts += event->type == HM_FAULT_CUT;
        if (event->type == HM_FAULT_HEAL && !n_cuts)
            return hm_fault_fail(r, HM_F_NONE, 0, "%s: nothing was cut before that could heal",
                                 hm_fault_where(r, NULL).text);
        if (!effects[event->type].found)
            continue;
        struct life *one = &life[event->node];
        if (!(effects[event->type].found & 1u << one->standing))
            return contradiction(r, event, one);
        if (effects[event->type].becomes != ABSENT)
            *one = (struct life){effects[event->type].becomes, event};
    }
    return HM_OK;
}

static enum hm_status check_story(struct hm_fault_reader *r)
{
    struct life *life = calloc(r->n_nodes_ever, sizeof *life);
    if (!life)
        return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
    for (uint32_t i = 0; i < r->faults->n_nodes; i++)
        life[i].standing = WORKS;
    enum hm_status status = follow(r, life);
    free(life);
    return status;
}

static enum hm_status index_cuts(struct hm_fault_reader *r)
{
    const struct hm_faults *faults = r->faults;
    r->text->cut = calloc(faults->n_events + 1, sizeof *r->text->cut);
    if (!r->text->cut)
        return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
    for (uint32_t i = 0; i < faults->n_events; i++)
        if (faults->event[i].type == HM_FAULT_CUT || faults->event[i].type == HM_FAULT_HEAL)
            r->text->cut[r->text->n_cuts++] = i;
    return HM_OK;
}

enum hm_status hm_fault_story(struct hm_fault_reader *r)
{
    enum hm_status status = arrange(r);
    if (!status)
        status = check_story(r);
    return status ? status : index_cuts(r);
}
