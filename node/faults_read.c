#include "node/faults_state.h"
#include "node/small_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an event takes besides comment, at and do. */
static const struct {
    unsigned must, may;
} takes[HM_FAULT_TYPES] = {
    [HM_FAULT_PAUSE] = {HM_F_BIT(HM_F_NODE), HM_F_BIT(HM_F_FOR)},
    [HM_FAULT_RESUME] = {HM_F_BIT(HM_F_NODE), 0},
    [HM_FAULT_KILL] = {HM_F_BIT(HM_F_NODE), HM_F_BIT(HM_F_RESTART_AFTER)},
    [HM_FAULT_RESTART] = {HM_F_BIT(HM_F_NODE), 0},
    [HM_FAULT_LEAVE] = {HM_F_BIT(HM_F_NODE), 0},
    [HM_FAULT_JOIN] = {0, HM_F_BIT(HM_F_COUNT)},
    [HM_FAULT_CUT] = {HM_F_LINKS, HM_F_BIT(HM_F_ONE_WAY) | HM_F_BIT(HM_F_FOR)},
    [HM_FAULT_HEAL] = {0, HM_F_LINKS | HM_F_BIT(HM_F_ONE_WAY)},
    [HM_FAULT_RESET] = {0, HM_F_LINKS},
    [HM_FAULT_FLIP] = {HM_F_BIT(HM_F_NODE), HM_F_BIT(HM_F_WHAT)},
    [HM_FAULT_CLOCK] = {HM_F_BIT(HM_F_NODE) | HM_F_BIT(HM_F_BY), 0},
};

/* ---- entries ---- */

/* What is not given of from and to is all nodes. A link from a node to itself is none. */
static enum hm_status complete_links(struct hm_fault_reader *r, struct hm_fault_entry *entry)
{
    struct hm_node_set *set[] = {&entry->from, &entry->to};
    for (int i = 0; i < 2; i++)
        if (!set[i]->n && hm_node_set_add(set[i], 0, UINT32_MAX, NULL))
            return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
    const struct hm_node_range *a = entry->from.range, *b = entry->to.range;
    if (entry->from.n == 1 && entry->to.n == 1 && a->first == a->last && b->first == b->last &&
        a->first == b->first)
        return hm_fault_fail(r, HM_F_NONE, 0,
                             "%s: from and to are both node %u alone: that is no link",
                             hm_fault_where(r, NULL).text, a->first);
    return HM_OK;
}

static enum hm_status take_link(struct hm_fault_reader *r, struct hm_fault_entry *entry)
{
    if (!(entry->given & HM_F_LINK_SETTINGS))
        return hm_fault_fail(r, HM_F_NONE, 0,
                             "%s: nothing is set; expected latency, bandwidth, drop, duplicate or "
                             "reorder",
                             hm_fault_where(r, NULL).text);
    if (entry->until_us <= entry->since_us)
        return hm_fault_fail(r, (long)entry->ordinal[HM_F_UNTIL], 0,
                             "%s: this is not after since; expected a later time",
                             hm_fault_where(r, "until").text);
    enum hm_status status = complete_links(r, entry);
    if (status)
        return status;
    r->faults->link[r->faults->n_links++] =
        (struct hm_fault_link){.from = entry->from,
                               .to = entry->to,
                               .since_us = entry->since_us,
                               .until_us = entry->until_us,
                               .sets = (entry->given & HM_F_LINK_SETTINGS) >> HM_F_LATENCY,
                               .latency = entry->latency,
                               .bandwidth = entry->bandwidth,
                               .drop = entry->drop,
                               .duplicate = entry->duplicate,
                               .reorder = entry->reorder};
    *entry = (struct hm_fault_entry){0};
    return HM_OK;
}

_Static_assert(HM_F_BANDWIDTH - HM_F_LATENCY == HM_LINK_BANDWIDTH &&
                   HM_F_REORDER - HM_F_LATENCY == HM_LINK_REORDER,
               "fields of links are in the order of their bits");

static enum hm_status missing(struct hm_fault_reader *r, enum hm_fault_field field, const char *who)
{
    return hm_fault_fail(r, HM_F_NONE, 0, "%s: '%s' is missing, which %s needs",
                         hm_fault_where(r, NULL).text, hm_fault_field_name(field), who);
}

static enum hm_status take_node_entry(struct hm_fault_reader *r, struct hm_fault_entry *entry)
{
    if (!(entry->given & HM_F_BIT(HM_F_NODE)))
        return missing(r, HM_F_NODE, "an entry of nodes");
    if (!(entry->given & HM_F_NODE_SETTINGS))
        return hm_fault_fail(r, HM_F_NONE, 0,
                             "%s: nothing is set; expected speed, step_time or delay",
                             hm_fault_where(r, NULL).text);
    r->faults->node[r->faults->n_node_entries++] =
        (struct hm_fault_node){.nodes = entry->nodes,
                               .speed = entry->speed,
                               .step_time = entry->step_time,
                               .delay = entry->delay};
    *entry = (struct hm_fault_entry){0};
    return HM_OK;
}

/* ---- events ---- */

static enum hm_status fields_fit(struct hm_fault_reader *r, const struct hm_fault_entry *entry)
{
    const unsigned always = HM_F_BIT(HM_F_COMMENT) | HM_F_BIT(HM_F_AT) | HM_F_BIT(HM_F_DO);
    const char *name = hm_fault_name(entry->type);
    if (!(entry->given & HM_F_BIT(HM_F_DO)))
        return missing(r, HM_F_DO, "every event");
    unsigned must = HM_F_BIT(HM_F_AT) | takes[entry->type].must;
    unsigned fit = always | must | takes[entry->type].may;
    for (unsigned i = 0; i < HM_F_FIELDS; i++) {
        if (entry->given & ~fit & HM_F_BIT(i)) {
            char known[128];
            hm_fault_list_fields(fit & ~HM_F_BIT(HM_F_COMMENT), known, sizeof known);
            return hm_fault_fail(
                r, (long)entry->ordinal[i], 1, "%s: %s takes no such field; it takes %s",
                hm_fault_where(r, hm_fault_field_name((enum hm_fault_field)i)).text, name, known);
        }
        if (~entry->given & must & HM_F_BIT(i))
            return missing(r, (enum hm_fault_field)i, name);
    }
    return HM_OK;
}

enum hm_status hm_fault_push(struct hm_fault_reader *r, const struct hm_fault_event *event)
{
    struct hm_faults *faults = r->faults;
    if (faults->n_events == HM_FAULTS_ENTRIES_MAX)
        return hm_fault_fail(r, HM_F_NONE, 0,
                             "%s: with this there are more than %d events, one a node",
                             hm_fault_where(r, NULL).text, HM_FAULTS_ENTRIES_MAX);
    if (faults->n_events == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        struct hm_fault_event *grown = realloc(faults->event, room * sizeof *grown);
        if (!grown)
            return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
        faults->event = grown;
        r->room = room;
    }
    faults->event[faults->n_events++] = *event;
    return HM_OK;
}

/* Times that a plan can name, sums of them included, end somewhere. */
static enum hm_status ends_in_time(struct hm_fault_reader *r, const struct hm_fault_entry *entry)
{
    enum hm_fault_field field = entry->for_us ? HM_F_FOR : HM_F_RESTART_AFTER;
    if (entry->at_us + entry->for_us + entry->restart_after_us <= HM_DURATION_MAX_US)
        return HM_OK;
    return hm_fault_fail(r, (long)entry->ordinal[field], 0, "%s: this ends after 1000h",
                         hm_fault_where(r, hm_fault_field_name(field)).text);
}

/* The event, and what follows from what it says of durations. */
static enum hm_status push_one(struct hm_fault_reader *r, const struct hm_fault_entry *entry,
                               struct hm_fault_event event)
{
    enum hm_status status = hm_fault_push(r, &event);
    if (!status && event.type == HM_FAULT_PAUSE && entry->for_us) {
        event.at_us += entry->for_us;
        event.type = HM_FAULT_RESUME;
        status = hm_fault_push(r, &event);
    }
    if (!status && event.type == HM_FAULT_KILL && entry->restart_after_us) {
        event.at_us += entry->restart_after_us;
        event.type = HM_FAULT_RESTART;
        status = hm_fault_push(r, &event);
    }
    return status;
}

static enum hm_status take_event(struct hm_fault_reader *r, struct hm_fault_entry *entry)
{
    struct hm_faults *faults = r->faults;
    enum hm_status status = fields_fit(r, entry);
    struct hm_fault_event event = {.at_us = entry->at_us,
                                   .type = entry->type,
                                   .one_way = entry->one_way,
                                   .until_us = HM_FAULTS_FOREVER,
                                   .what = entry->what,
                                   .jump_us = entry->jump_us,
                                   .entry = (uint32_t)r->entry};
    if (!status)
        status = ends_in_time(r, entry);
    if (status)
        return status;
    if (takes[entry->type].must & HM_F_BIT(HM_F_NODE)) {
        for (uint32_t i = 0; i < entry->nodes.n; i++)
            for (uint32_t k = entry->nodes.range[i].first;
                 k <= entry->nodes.range[i].last &&
                 (k < faults->n_nodes || !hm_node_set_is_all(&entry->nodes));
                 k++) {
                event.node = k;
                if ((status = push_one(r, entry, event)))
                    return status;
            }
        return HM_OK;
    }
    if (entry->type == HM_FAULT_JOIN) {
        for (uint32_t i = 0; !status && i < entry->count; i++)
            status = push_one(r, entry, event);
        return status;
    }
    if ((status = complete_links(r, entry)))
        return status;
    if (entry->for_us)
        event.until_us = entry->at_us + entry->for_us;
    event.from = &faults->set[faults->n_sets];
    event.to = &faults->set[faults->n_sets + 1];
    faults->set[faults->n_sets++] = entry->from;
    faults->set[faults->n_sets++] = entry->to;
    entry->from = entry->to = (struct hm_node_set){0};
    return push_one(r, entry, event);
}
/* ---- the whole ---- */

/* About the plan (depth 0) or its k-th member (depth 1). */
static enum hm_status fail_top(struct hm_fault_reader *r, unsigned depth, size_t k, int key,
                               const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum hm_status status = hm_fault_fail_at(r, &k, depth, key, format, args);
    va_end(args);
    return status;
}

/* Nodes that will ever be, so that numbers can be checked where they stand. What is wrong with a
 * join is found when it is read. */
static uint32_t count_nodes(const json_t *events, uint32_t n_nodes)
{
    json_int_t n = n_nodes;
    for (size_t i = 0; i < json_array_size(events) && n <= HM_NODE_NUMBER_MAX; i++) {
        const json_t *event = json_array_get(events, i);
        const json_t *count = json_object_get(event, "count");
        const char *what = json_string_value(json_object_get(event, "do"));
        if (what && strcmp(what, hm_fault_name(HM_FAULT_JOIN)) == 0)
            n += !json_is_integer(count)                          ? 1
                 : json_integer_value(count) <= 0                 ? 0
                 : json_integer_value(count) > HM_NODE_NUMBER_MAX ? HM_NODE_NUMBER_MAX
                                                                  : json_integer_value(count);
    }
    return n > HM_NODE_NUMBER_MAX ? HM_NODE_NUMBER_MAX + 1 : (uint32_t)n;
}

static enum hm_status read_part(struct hm_fault_reader *r, json_t *list)
{
    static enum hm_status (*const take[HM_FAULT_PARTS])(
        struct hm_fault_reader *, struct hm_fault_entry *) = {take_link, take_node_entry,
                                                              take_event};
    size_t n = json_array_size(list);
    struct hm_faults *faults = r->faults;
    enum hm_status status = HM_OK;
    if (r->part == HM_PART_LINKS)
        faults->link = calloc(n + 1, sizeof *faults->link);
    else if (r->part == HM_PART_NODES)
        faults->node = calloc(n + 1, sizeof *faults->node);
    else
        faults->set = calloc(2 * n + 1, sizeof *faults->set);
    if (r->part == HM_PART_LINKS   ? !faults->link
        : r->part == HM_PART_NODES ? !faults->node
                                   : !faults->set)
        return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
    for (r->entry = 0; !status && r->entry < n; r->entry++) {
        struct hm_fault_entry entry;
        status = hm_fault_entry_read(r, json_array_get(list, r->entry), &entry);
        if (!status)
            status = take[r->part](r, &entry);
        hm_fault_entry_fini(&entry);
    }
    return status;
}

/* Finds the parts and refuses everything else. */
static enum hm_status find_parts(struct hm_fault_reader *r, json_t *plan,
                                 json_t *part[HM_FAULT_PARTS])
{
    const char *key;
    json_t *value;
    size_t k = 0;
    if (!json_is_object(plan))
        return fail_top(r, 0, 0, 0, "%s; expected an object with links, nodes and events",
                        hm_fault_met(plan).text);
    json_object_foreach(plan, key, value)
    {
        unsigned i = 0;
        while (i < HM_FAULT_PARTS && strcmp(key, hm_fault_part_name((enum hm_faults_part)i)) != 0)
            i++;
        if (i == HM_FAULT_PARTS && strcmp(key, hm_fault_field_name(HM_F_COMMENT)) != 0)
            return fail_top(r, 1, k, 1,
                            "%s: there is no such part; known are links, nodes, events and comment",
                            hm_quote(key).text);
        if (i < HM_FAULT_PARTS && !json_is_array(value))
            return fail_top(r, 1, k, 0, "%s: %s; expected a list in brackets", key,
                            hm_fault_met(value).text);
        if (i < HM_FAULT_PARTS && json_array_size(value) > HM_FAULTS_ENTRIES_MAX)
            return fail_top(r, 1, k, 0, "%s: %zu entries; expected at most %d", key,
                            json_array_size(value), HM_FAULTS_ENTRIES_MAX);
        if (i < HM_FAULT_PARTS) {
            part[i] = value;
            r->text->at[i] = k;
        }
        k++;
    }
    return HM_OK;
}

static enum hm_status read_plan(struct hm_fault_reader *r, json_t *plan)
{
    json_t *part[HM_FAULT_PARTS] = {NULL};
    enum hm_status status = find_parts(r, plan, part);
    r->n_nodes_ever = count_nodes(part[HM_PART_EVENTS], r->faults->n_nodes);
    for (int i = 0; !status && i < HM_FAULT_PARTS; i++) {
        r->part = (enum hm_faults_part)i;
        status = read_part(r, part[i]);
    }
    return status ? status : hm_fault_story(r);
}

enum hm_status hm_faults_parse(struct hm_faults *faults, const char *plan, size_t n,
                               const char *name, const char *folder, uint32_t n_nodes,
                               struct hm_err *err)
{
    json_error_t error;
    *faults = (struct hm_faults){.n_nodes = n_nodes};
    if (n > HM_FAULTS_BYTES_MAX)
        return hm_fail(err, HM_EINPUT, "%s: a plan has at most %d bytes", name,
                       HM_FAULTS_BYTES_MAX);
    faults->text = calloc(1, sizeof *faults->text + n + 1);
    if (!faults->text || !(faults->text->name = strdup(name))) {
        hm_faults_close(faults);
        return hm_fail(err, HM_ENOMEM, "no memory for a fault plan");
    }
    if (n)
        memcpy(faults->text->text, plan, n);
    faults->text->n = n;
    json_t *json = json_loadb(faults->text->text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    struct hm_fault_reader r = {
        .faults = faults, .text = faults->text, .folder = folder, .err = err};
    enum hm_status status = json ? read_plan(&r, json)
                                 : hm_fail(err, HM_EINPUT, "%s:%d:%d: this is no JSON: %s", name,
                                           error.line, error.column, hm_quote(error.text).text);
    json_decref(json);
    if (status)
        hm_faults_close(faults);
    return status;
}

enum hm_status hm_faults_open(struct hm_faults *faults, const char *path, uint32_t n_nodes,
                              struct hm_err *err)
{
    char *text, folder[4096];
    size_t n;
    *faults = (struct hm_faults){0};
    enum hm_status status = hm_file_read(path, HM_FAULTS_BYTES_MAX, &text, &n, err);
    if (status)
        return status;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + (slash == path)) : 0,
             path);
    status = hm_faults_parse(faults, text, n, path, folder, n_nodes, err);
    free(text);
    return status;
}
