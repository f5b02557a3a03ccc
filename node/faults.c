#include "node/faults.h"

#include "node/faults_state.h"
#include "node/json_place.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

const char *hm_fault_name(enum hm_fault_type type)
{
    static const char *const names[HM_FAULT_TYPES] = {
        [HM_FAULT_CUT_ENDS] = "end of cut", [HM_FAULT_PAUSE] = "pause",
        [HM_FAULT_RESUME] = "resume",       [HM_FAULT_KILL] = "kill",
        [HM_FAULT_RESTART] = "restart",     [HM_FAULT_LEAVE] = "leave",
        [HM_FAULT_JOIN] = "join",           [HM_FAULT_CUT] = "cut",
        [HM_FAULT_HEAL] = "heal",           [HM_FAULT_RESET] = "reset",
        [HM_FAULT_FLIP] = "flip",           [HM_FAULT_CLOCK] = "clock",
    };
    return names[type];
}

const char *hm_fault_part_name(enum hm_faults_part part)
{
    static const char *const names[HM_FAULT_PARTS] = {"links", "nodes", "events"};
    return names[part];
}

const char *hm_flip_name(enum hm_fault_what what)
{
    return what == HM_FLIP_DELTA ? "delta" : "snapshot";
}

/* "+3s" */
static size_t print_jump(int64_t us, char text[1 + HM_NUMBER_TEXT_MAX])
{
    *text = us < 0 ? '-' : '+';
    return 1 + hm_duration_print((double)(us < 0 ? -us : us), text + 1);
}

void hm_fault_describe(const struct hm_fault_event *event, char *text, size_t room)
{
    const char *name = hm_fault_name(event->type);
    char from[80], to[80], extra[8 + HM_NUMBER_TEXT_MAX] = "";
    if (event->from) {
        hm_node_set_print(event->from, from, sizeof from);
        hm_node_set_print(event->to, to, sizeof to);
        if (event->type == HM_FAULT_CUT && event->until_us != HM_FAULTS_FOREVER) {
            memcpy(extra, " for ", 6);
            hm_duration_print((double)(event->until_us - event->at_us), extra + 5);
        }
        snprintf(text, room, "%s from %s to %s%s%s", name, from, to,
                 event->one_way ? ", one way" : "", extra);
        return;
    }
    if (event->type == HM_FAULT_CLOCK) {
        memcpy(extra, " by ", 5);
        print_jump(event->jump_us, extra + 4);
    } else if (event->type == HM_FAULT_FLIP)
        snprintf(extra, sizeof extra, " in its next %s", hm_flip_name(event->what));
    snprintf(text, room, "%s node %u%s", name, event->node, extra);
}

enum hm_status hm_faults_refuse(const struct hm_faults *faults, enum hm_faults_part part,
                                size_t entry, struct hm_err *err, const char *format, ...)
{
    const struct hm_fault_text *text = faults->text;
    struct hm_json_place place =
        hm_json_place(text->text, text->n, (size_t[]){text->at[part], entry}, 2, 0);
    va_list args;
    va_start(args, format);
    if (err)
        vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return hm_context(err, HM_EUSAGE, "%s:%u:%u: %s[%zu]", text->name, place.line, place.column,
                      hm_fault_part_name(part), entry);
}

/* ---- questions ---- */

static bool runs(const struct hm_node_set *from, const struct hm_node_set *to, uint32_t a,
                 uint32_t b)
{
    return hm_node_set_has(from, a) && hm_node_set_has(to, b);
}

static bool concerns(const struct hm_fault_event *event, uint32_t from, uint32_t to)
{
    return runs(event->from, event->to, from, to) ||
           (!event->one_way && runs(event->from, event->to, to, from));
}

static void sooner(uint64_t *until_us, uint64_t us)
{
    *until_us = us < *until_us ? us : *until_us;
}

static void set_link(struct hm_link_now *now, const struct hm_fault_link *link)
{
    if (link->sets & 1 << HM_LINK_LATENCY)
        now->latency = &link->latency;
    if (link->sets & 1 << HM_LINK_BANDWIDTH)
        now->bandwidth = link->bandwidth;
    if (link->sets & 1 << HM_LINK_DROP)
        now->drop = link->drop;
    if (link->sets & 1 << HM_LINK_DUPLICATE)
        now->duplicate = link->duplicate;
    if (link->sets & 1 << HM_LINK_REORDER)
        now->reorder = link->reorder;
}

struct hm_link_now hm_faults_link(const struct hm_faults *faults, uint32_t from, uint32_t to,
                                  uint64_t now_us)
{
    struct hm_link_now now = {.until_us = HM_FAULTS_FOREVER};
    for (size_t i = 0; i < faults->n_links; i++) {
        const struct hm_fault_link *link = &faults->link[i];
        if (now_us >= link->until_us || !runs(&link->from, &link->to, from, to))
            continue;
        sooner(&now.until_us, now_us < link->since_us ? link->since_us : link->until_us);
        if (now_us >= link->since_us)
            set_link(&now, link);
    }
    for (size_t i = 0; faults->text && i < faults->text->n_cuts; i++) {
        const struct hm_fault_event *event = &faults->event[faults->text->cut[i]];
        int over = event->type == HM_FAULT_CUT && event->until_us <= now_us;
        if (over || !concerns(event, from, to))
            continue;
        if (event->at_us > now_us) {
            sooner(&now.until_us, event->at_us);
            break;
        }
        now.cut = event->type == HM_FAULT_CUT;
        if (now.cut)
            sooner(&now.until_us, event->until_us);
    }
    return now;
}

struct hm_node_pace hm_faults_pace(const struct hm_faults *faults, uint32_t node)
{
    struct hm_node_pace pace = {0};
    for (size_t i = 0; i < faults->n_node_entries; i++) {
        const struct hm_fault_node *entry = &faults->node[i];
        if (!hm_node_set_has(&entry->nodes, node))
            continue;
        if (entry->speed > 0)
            pace.speed = entry->speed;
        if (entry->step_time.kind != HM_DIST_NONE)
            pace.step_time = &entry->step_time;
        if (entry->delay.kind != HM_DIST_NONE)
            pace.delay = &entry->delay;
    }
    return pace;
}

/* ---- writing ---- */

static json_t *set_json(const struct hm_node_set *set)
{
    size_t n = hm_node_set_print(set, NULL, 0);
    char *text = malloc(n + 1);
    if (!text)
        return NULL;
    hm_node_set_print(set, text, n + 1);
    json_t *json = json_string(text);
    free(text);
    return json;
}

static json_t *duration_json(uint64_t us)
{
    char text[HM_NUMBER_TEXT_MAX];
    hm_duration_print((double)us, text);
    return json_string(text);
}

static void add_dist(json_t *json, const char *name, const struct hm_dist *dist)
{
    char text[HM_DIST_TEXT_MAX];
    if (hm_dist_print(dist, text))
        json_object_set_new(json, name, json_string(text));
}

static json_t *link_json(const struct hm_fault_link *link)
{
    static const struct {
        const char *name;
        int bit;
        size_t at;
    } numbers[] = {
        {"bandwidth", HM_LINK_BANDWIDTH, offsetof(struct hm_fault_link, bandwidth)},
        {"drop", HM_LINK_DROP, offsetof(struct hm_fault_link, drop)},
        {"duplicate", HM_LINK_DUPLICATE, offsetof(struct hm_fault_link, duplicate)},
        {"reorder", HM_LINK_REORDER, offsetof(struct hm_fault_link, reorder)},
    };
    json_t *json =
        json_pack("{s:o, s:o}", "from", set_json(&link->from), "to", set_json(&link->to));
    if (link->since_us)
        json_object_set_new(json, "since", duration_json(link->since_us));
    if (link->until_us != HM_FAULTS_FOREVER)
        json_object_set_new(json, "until", duration_json(link->until_us));
    if (link->sets & 1 << HM_LINK_LATENCY)
        add_dist(json, "latency", &link->latency);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (link->sets & 1u << numbers[i].bit)
            json_object_set_new(
                json, numbers[i].name,
                json_real(*(const double *)(const void *)((const char *)link + numbers[i].at)));
    return json;
}

static json_t *node_json(const struct hm_fault_node *node)
{
    json_t *json = json_pack("{s:o}", "node", set_json(&node->nodes));
    if (node->speed > 0)
        json_object_set_new(json, "speed", json_real(node->speed));
    add_dist(json, "step_time", &node->step_time);
    add_dist(json, "delay", &node->delay);
    return json;
}

static json_t *event_json(const struct hm_fault_event *event)
{
    json_t *json = json_pack("{s:o, s:s}", "at", duration_json(event->at_us), "do",
                             hm_fault_name(event->type));
    if (event->from) {
        json_object_set_new(json, "from", set_json(event->from));
        json_object_set_new(json, "to", set_json(event->to));
    } else if (event->type != HM_FAULT_JOIN)
        json_object_set_new(json, "node", json_integer(event->node));
    if (event->one_way)
        json_object_set_new(json, "one_way", json_true());
    if (event->type == HM_FAULT_CUT && event->until_us != HM_FAULTS_FOREVER)
        json_object_set_new(json, "for", duration_json(event->until_us - event->at_us));
    if (event->type == HM_FAULT_FLIP)
        json_object_set_new(json, "what", json_string(hm_flip_name(event->what)));
    if (event->type == HM_FAULT_CLOCK) {
        char text[1 + HM_NUMBER_TEXT_MAX];
        print_jump(event->jump_us, text);
        json_object_set_new(json, "by", json_string(text));
    }
    return json;
}

char *hm_faults_write(const struct hm_faults *faults)
{
    json_t *links = json_array(), *nodes = json_array(), *events = json_array();
    for (size_t i = 0; i < faults->n_links; i++)
        json_array_append_new(links, link_json(&faults->link[i]));
    for (size_t i = 0; i < faults->n_node_entries; i++)
        json_array_append_new(nodes, node_json(&faults->node[i]));
    for (size_t i = 0; i < faults->n_events; i++)
        if (faults->event[i].type != HM_FAULT_CUT_ENDS) /* the cut says when */
            json_array_append_new(events, event_json(&faults->event[i]));
    json_t *json = json_pack("{s:o, s:o, s:o}", "links", links, "nodes", nodes, "events", events);
    char *text = json ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(json);
    return text;
}

void hm_faults_close(struct hm_faults *faults)
{
    for (size_t i = 0; i < faults->n_links; i++) {
        hm_node_set_fini(&faults->link[i].from);
        hm_node_set_fini(&faults->link[i].to);
        hm_dist_fini(&faults->link[i].latency);
    }
    for (size_t i = 0; i < faults->n_node_entries; i++) {
        hm_node_set_fini(&faults->node[i].nodes);
        hm_dist_fini(&faults->node[i].step_time);
        hm_dist_fini(&faults->node[i].delay);
    }
    for (size_t i = 0; i < faults->n_sets; i++)
        hm_node_set_fini(&faults->set[i]);
    free(faults->link);
    free(faults->node);
    free(faults->event);
    free(faults->set);
    if (faults->text) {
        free(faults->text->name);
        free(faults->text->cut);
    }
    free(faults->text);
    *faults = (struct hm_faults){0};
}
