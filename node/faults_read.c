/* Reads fault plans. Each entry is read by a table of fields into a struct that has room for all of
 * them, then becomes a link, a node or events; what only the whole of the events can show (a node
 * is restarted that nobody killed) is checked at the end, on the sorted events. */
#include "node/faults_state.h"
#include "node/json_place.h"
#include "node/small_file.h"
#include "protocol/text.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTE_BYTES = 80, LIST_MAX = 1024, NO_ENTRY = -1 };

enum field_id {
    F_COMMENT,
    F_FROM,
    F_TO,
    F_SINCE,
    F_UNTIL,
    F_LATENCY,
    F_BANDWIDTH,
    F_DROP,
    F_DUPLICATE,
    F_REORDER,
    F_NODE,
    F_SPEED,
    F_STEP_TIME,
    F_DELAY,
    F_AT,
    F_DO,
    F_FOR,
    F_RESTART_AFTER,
    F_ONE_WAY,
    F_WHAT,
    F_BY,
    F_COUNT,
    N_FIELDS
};

#define BIT(field) (1u << (field))

enum kind { COMMENT, NODES, TIME, SPAN, DIST, RATE, CHANCE, DO, FLAG, WHAT, JUMP, COUNT };

/* An entry as the file has it. */
struct entry {
    unsigned given;           /* bits of fields */
    size_t ordinal[N_FIELDS]; /* which member of the entry a given field is */
    struct hm_node_set from, to, nodes;
    struct hm_dist latency, step_time, delay;
    uint64_t since_us, until_us, at_us, for_us, restart_after_us;
    double bandwidth, drop, duplicate, reorder, speed;
    enum hm_fault_type type;
    enum hm_fault_what what;
    int64_t jump_us;
    uint32_t count;
    bool one_way;
};

static const struct field {
    const char *name;
    enum kind kind;
    size_t at; /* in struct entry */
} fields[N_FIELDS] = {
    [F_COMMENT] = {"comment", COMMENT, 0},
    [F_FROM] = {"from", NODES, offsetof(struct entry, from)},
    [F_TO] = {"to", NODES, offsetof(struct entry, to)},
    [F_SINCE] = {"since", TIME, offsetof(struct entry, since_us)},
    [F_UNTIL] = {"until", TIME, offsetof(struct entry, until_us)},
    [F_LATENCY] = {"latency", DIST, offsetof(struct entry, latency)},
    [F_BANDWIDTH] = {"bandwidth", RATE, offsetof(struct entry, bandwidth)},
    [F_DROP] = {"drop", CHANCE, offsetof(struct entry, drop)},
    [F_DUPLICATE] = {"duplicate", CHANCE, offsetof(struct entry, duplicate)},
    [F_REORDER] = {"reorder", CHANCE, offsetof(struct entry, reorder)},
    [F_NODE] = {"node", NODES, offsetof(struct entry, nodes)},
    [F_SPEED] = {"speed", RATE, offsetof(struct entry, speed)},
    [F_STEP_TIME] = {"step_time", DIST, offsetof(struct entry, step_time)},
    [F_DELAY] = {"delay", DIST, offsetof(struct entry, delay)},
    [F_AT] = {"at", TIME, offsetof(struct entry, at_us)},
    [F_DO] = {"do", DO, 0},
    [F_FOR] = {"for", SPAN, offsetof(struct entry, for_us)},
    [F_RESTART_AFTER] = {"restart_after", SPAN, offsetof(struct entry, restart_after_us)},
    [F_ONE_WAY] = {"one_way", FLAG, 0},
    [F_WHAT] = {"what", WHAT, 0},
    [F_BY] = {"by", JUMP, 0},
    [F_COUNT] = {"count", COUNT, 0},
};

#define LINK_SETTINGS                                                                              \
    (BIT(F_LATENCY) | BIT(F_BANDWIDTH) | BIT(F_DROP) | BIT(F_DUPLICATE) | BIT(F_REORDER))
#define NODE_SETTINGS (BIT(F_SPEED) | BIT(F_STEP_TIME) | BIT(F_DELAY))
#define LINKS         (BIT(F_FROM) | BIT(F_TO))

static const unsigned part_fields[HM_FAULT_PARTS] = {
    [HM_PART_LINKS] = BIT(F_COMMENT) | LINKS | BIT(F_SINCE) | BIT(F_UNTIL) | LINK_SETTINGS,
    [HM_PART_NODES] = BIT(F_COMMENT) | BIT(F_NODE) | NODE_SETTINGS,
    [HM_PART_EVENTS] = BIT(F_COMMENT) | LINKS | BIT(F_NODE) | BIT(F_AT) | BIT(F_DO) | BIT(F_FOR) |
                       BIT(F_RESTART_AFTER) | BIT(F_ONE_WAY) | BIT(F_WHAT) | BIT(F_BY) |
                       BIT(F_COUNT),
};

/* What an event takes besides comment, at and do. */
static const struct {
    unsigned must, may;
} takes[HM_FAULT_TYPES] = {
    [HM_FAULT_PAUSE] = {BIT(F_NODE), BIT(F_FOR)},
    [HM_FAULT_RESUME] = {BIT(F_NODE), 0},
    [HM_FAULT_KILL] = {BIT(F_NODE), BIT(F_RESTART_AFTER)},
    [HM_FAULT_RESTART] = {BIT(F_NODE), 0},
    [HM_FAULT_LEAVE] = {BIT(F_NODE), 0},
    [HM_FAULT_JOIN] = {0, BIT(F_COUNT)},
    [HM_FAULT_CUT] = {LINKS, BIT(F_ONE_WAY) | BIT(F_FOR)},
    [HM_FAULT_HEAL] = {0, LINKS | BIT(F_ONE_WAY)},
    [HM_FAULT_RESET] = {0, LINKS},
    [HM_FAULT_FLIP] = {BIT(F_NODE), BIT(F_WHAT)},
    [HM_FAULT_CLOCK] = {BIT(F_NODE) | BIT(F_BY), 0},
};

/* Where the reader stands, and what it fills. Members of objects are counted as the file has them:
 * the parser keeps their order. */
struct reader {
    struct hm_faults *faults;
    struct hm_fault_text *text;
    const char *folder;
    struct hm_err *err;
    uint32_t n_nodes_ever;
    enum hm_faults_part part;
    size_t entry; /* of the part */
    size_t room;  /* of events */
};

/* ---- saying what is wrong ---- */

/* "FILE:LINE:COLUMN: " and the text. */
static enum hm_status fail_at(struct reader *r, const size_t *path, unsigned depth, int key,
                              const char *format, va_list args)
{
    struct hm_json_place place = hm_json_place(r->text->text, r->text->n, path, depth, key);
    if (r->err)
        vsnprintf(r->err->text, sizeof r->err->text, format, args);
    return hm_context(r->err, HM_EINPUT, "%s:%u:%u", r->text->name, place.line, place.column);
}

/* About the plan (depth 0) or its k-th member (depth 1). */
static enum hm_status fail_top(struct reader *r, unsigned depth, size_t k, int key,
                               const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum hm_status status = fail_at(r, &k, depth, key, format, args);
    va_end(args);
    return status;
}

/* About the k-th member of the entry; NO_ENTRY: about the entry as a whole. */
static enum hm_status fail_member(struct reader *r, long k, int key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum hm_status status =
        fail_at(r, (size_t[]){r->text->at[r->part], r->entry, k == NO_ENTRY ? 0 : (size_t)k},
                k == NO_ENTRY ? 2 : 3, key, format, args);
    va_end(args);
    return status;
}

/* The name of what a message is about: "events[3]" or "events[3].for". */
struct name {
    char text[QUOTE_BYTES + 40];
};

static struct name name_of(const struct reader *r, const char *field)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "%s[%zu]%s%.70s", hm_fault_part_name(r->part), r->entry,
             field ? "." : "", field ? field : "");
    return name;
}

/* Text of the file for a message. */
static struct name quoted(const char *text)
{
    struct name name;
    hm_text_clean(name.text, QUOTE_BYTES, text);
    return name;
}

/* "'2 parsec'", "2", "a list" */
static struct name met(const json_t *json)
{
    struct name name;
    char *text = json_is_string(json) ? NULL : json_dumps(json, JSON_ENCODE_ANY);
    if (json_is_string(json))
        snprintf(name.text, sizeof name.text, "'%.70s'", quoted(json_string_value(json)).text);
    else
        snprintf(name.text, sizeof name.text, "%s",
                 json_is_array(json)    ? "a list"
                 : json_is_object(json) ? "an object"
                 : text                 ? text
                                        : "a value");
    free(text);
    return name;
}

/* ---- values ---- */

static enum hm_status take_time(const json_t *json, uint64_t *us, struct hm_err *err)
{
    double x;
    if (!json_is_string(json))
        return hm_fail(err, HM_EINPUT,
                       "%s is no duration; expected text with a unit us, ms, s, m or h, such as "
                       "\"1.5s\"",
                       met(json).text);
    enum hm_status status = hm_duration_parse(json_string_value(json), &x, err);
    if (!status)
        *us = (uint64_t)(x + .5);
    return status;
}

static enum hm_status take_jump(const json_t *json, int64_t *us, struct hm_err *err)
{
    const char *text = json_string_value(json);
    int back = text && *text == '-';
    double x = 0;
    enum hm_status status =
        text ? hm_duration_parse(text + (back || *text == '+'), &x, NULL) : HM_EINPUT;
    *us = (int64_t)(x + .5) * (back ? -1 : 1);
    if (status || !*us)
        return hm_fail(err, HM_EINPUT,
                       "%s is no jump; expected a duration forward or back with its unit, such as "
                       "\"+3s\" or \"-250ms\"",
                       met(json).text);
    return HM_OK;
}

static enum hm_status take_dist(struct reader *r, const json_t *json, struct hm_dist *dist,
                                struct hm_err *err)
{
    if (!json_is_string(json))
        return hm_fail(err, HM_EINPUT,
                       "%s is no distribution; expected text such as \"const:90ms\" or "
                       "\"lognormal:200us,0.5\"",
                       met(json).text);
    return hm_dist_parse(dist, json_string_value(json), r->folder, err);
}

static enum hm_status take_chance(const json_t *json, double *x, struct hm_err *err)
{
    *x = json_number_value(json);
    if (json_is_number(json) && *x >= 0 && *x <= 1)
        return HM_OK;
    return hm_fail(err, HM_EINPUT, "%s is no probability; expected a number from 0 to 1",
                   met(json).text);
}

static enum hm_status take_rate(const json_t *json, double *x, const char *example,
                                struct hm_err *err)
{
    *x = json_number_value(json);
    int ok =
        json_is_string(json) ? hm_units_amount(json_string_value(json), x) : json_is_number(json);
    if (ok && *x >= 1e-6 && *x <= 1e18)
        return HM_OK;
    return hm_fail(err, HM_EINPUT, "%s is no rate; expected more than 0 a second, such as %s",
                   met(json).text, example);
}

static enum hm_status take_node(struct hm_node_set *set, const json_t *json, struct hm_err *err)
{
    json_int_t number = json_integer_value(json);
    if (json_is_string(json))
        return hm_node_set_parse(set, json_string_value(json), err);
    if (!json_is_integer(json) || number < 0 || number > HM_NODE_NUMBER_MAX)
        return hm_fail(err, HM_EINPUT,
                       "%s names no nodes; expected a number from 0, text such as \"0,3-5\" or "
                       "\"*\", or a list of them",
                       met(json).text);
    return hm_node_set_add(set, (uint32_t)number, (uint32_t)number, err);
}

static enum hm_status take_nodes(struct reader *r, const json_t *json, struct hm_node_set *set,
                                 struct hm_err *err)
{
    size_t n = json_array_size(json);
    enum hm_status status = HM_OK;
    if (json_is_array(json) && (n == 0 || n > LIST_MAX))
        return hm_fail(err, HM_EINPUT, "a list of %zu; expected 1 to %d", n, LIST_MAX);
    for (size_t i = 0; !status && i < n; i++)
        status = take_node(set, json_array_get(json, i), err);
    if (!json_is_array(json))
        status = take_node(set, json, err);
    uint32_t last = set->n ? set->range[set->n - 1].last : 0;
    if (!status && !hm_node_set_is_all(set) && last >= r->n_nodes_ever)
        status = hm_fail(err, HM_EINPUT, "there is no node %u; expected 0 to %u%s", last,
                         r->n_nodes_ever - 1,
                         r->n_nodes_ever > r->faults->n_nodes ? ", joining ones included" : "");
    return status;
}

static enum hm_status take_do(const json_t *json, enum hm_fault_type *type, struct hm_err *err)
{
    for (int i = HM_FAULT_PAUSE; json_is_string(json) && i < HM_FAULT_TYPES; i++)
        if (strcmp(json_string_value(json), hm_fault_name((enum hm_fault_type)i)) == 0) {
            *type = (enum hm_fault_type)i;
            return HM_OK;
        }
    return hm_fail(err, HM_EINPUT,
                   "%s is no fault; expected pause, resume, kill, restart, leave, join, cut, heal, "
                   "reset, flip or clock",
                   met(json).text);
}

static enum hm_status take_what(const json_t *json, enum hm_fault_what *what, struct hm_err *err)
{
    for (int i = HM_FLIP_DELTA; json_is_string(json) && i <= HM_FLIP_SNAPSHOT; i++)
        if (strcmp(json_string_value(json), hm_flip_name((enum hm_fault_what)i)) == 0) {
            *what = (enum hm_fault_what)i;
            return HM_OK;
        }
    return hm_fail(err, HM_EINPUT, "%s cannot be damaged; expected delta or snapshot",
                   met(json).text);
}

static enum hm_status take_count(struct reader *r, const json_t *json, uint32_t *count,
                                 struct hm_err *err)
{
    uint32_t most = HM_NODE_NUMBER_MAX + 1 - r->faults->n_nodes;
    if (!json_is_integer(json) || json_integer_value(json) < 1 || json_integer_value(json) > most)
        return hm_fail(err, HM_EINPUT, "%s is no count; expected 1 to %u", met(json).text, most);
    *count = (uint32_t)json_integer_value(json);
    return HM_OK;
}

static enum hm_status take_value(struct reader *r, const struct field *field, const json_t *json,
                                 struct entry *entry, struct hm_err *err)
{
    void *at = (char *)entry + field->at;
    enum hm_status status = HM_OK;
    switch (field->kind) {
    case NODES:
        return take_nodes(r, json, at, err);
    case TIME:
    case SPAN:
        status = take_time(json, at, err);
        if (!status && field->kind == SPAN && !*(uint64_t *)at)
            return hm_fail(err, HM_EINPUT, "%s is too short; expected 1us or longer",
                           met(json).text);
        return status;
    case DIST:
        return take_dist(r, json, at, err);
    case RATE:
        return take_rate(json, at, field == &fields[F_SPEED] ? "20000 or \"20k\"" : "\"10MB\"",
                         err);
    case CHANCE:
        return take_chance(json, at, err);
    case DO:
        return take_do(json, &entry->type, err);
    case WHAT:
        return take_what(json, &entry->what, err);
    case JUMP:
        return take_jump(json, &entry->jump_us, err);
    case COUNT:
        return take_count(r, json, &entry->count, err);
    case FLAG:
        entry->one_way = json_is_true(json);
        return json_is_boolean(json)
                   ? HM_OK
                   : hm_fail(err, HM_EINPUT, "%s; expected true or false", met(json).text);
    case COMMENT:
        return json_is_string(json) ? HM_OK
                                    : hm_fail(err, HM_EINPUT, "%s; expected text", met(json).text);
    }
    return status;
}

/* ---- entries ---- */

/* "at, do, node and for" */
static void list_fields(unsigned bits, char *text, size_t room)
{
    size_t at = 0;
    *text = 0;
    for (unsigned i = 0; i < N_FIELDS; i++)
        if (bits & BIT(i)) {
            bits &= ~BIT(i);
            at += (size_t)snprintf(text + at, room - at, "%s%s", fields[i].name,
                                   bits & (bits - 1) ? ", "
                                   : bits            ? " and "
                                                     : "");
        }
}

static enum hm_status unknown_field(struct reader *r, size_t k, const char *key)
{
    char known[256];
    list_fields(part_fields[r->part], known, sizeof known);
    return fail_member(r, (long)k, 1, "%s: there is no such field; known are %s",
                       name_of(r, quoted(key).text).text, known);
}

static enum hm_status read_entry(struct reader *r, json_t *json, struct entry *entry)
{
    const char *key;
    json_t *value;
    size_t k = 0;
    *entry = (struct entry){.until_us = HM_FAULTS_FOREVER, .count = 1};
    if (!json_is_object(json))
        return fail_member(r, NO_ENTRY, 0, "%s: %s; expected an object in braces",
                           name_of(r, NULL).text, met(json).text);
    json_object_foreach(json, key, value)
    {
        unsigned i = 0;
        struct hm_err err = {""};
        while (i < N_FIELDS &&
               (!(part_fields[r->part] & BIT(i)) || strcmp(fields[i].name, key) != 0))
            i++;
        if (i == N_FIELDS)
            return unknown_field(r, k, key);
        enum hm_status status = take_value(r, &fields[i], value, entry, &err);
        if (status) {
            fail_member(r, (long)k, 0, "%s: %s", name_of(r, key).text, err.text);
            return status;
        }
        entry->given |= BIT(i);
        entry->ordinal[i] = k++;
    }
    return HM_OK;
}

static void drop_entry(struct entry *entry)
{
    hm_node_set_fini(&entry->from);
    hm_node_set_fini(&entry->to);
    hm_node_set_fini(&entry->nodes);
    hm_dist_fini(&entry->latency);
    hm_dist_fini(&entry->step_time);
    hm_dist_fini(&entry->delay);
}

/* What is not given of from and to is all nodes. A link from a node to itself is none. */
static enum hm_status complete_links(struct reader *r, struct entry *entry)
{
    struct hm_node_set *set[] = {&entry->from, &entry->to};
    for (int i = 0; i < 2; i++)
        if (!set[i]->n && hm_node_set_add(set[i], 0, UINT32_MAX, NULL))
            return hm_fail(r->err, HM_ENOMEM, "no memory for a fault plan");
    const struct hm_node_range *a = entry->from.range, *b = entry->to.range;
    if (entry->from.n == 1 && entry->to.n == 1 && a->first == a->last && b->first == b->last &&
        a->first == b->first)
        return fail_member(r, NO_ENTRY, 0,
                           "%s: from and to are both node %u alone: that is no link",
                           name_of(r, NULL).text, a->first);
    return HM_OK;
}

static enum hm_status take_link(struct reader *r, struct entry *entry)
{
    if (!(entry->given & LINK_SETTINGS))
        return fail_member(r, NO_ENTRY, 0,
                           "%s: nothing is set; expected latency, bandwidth, drop, duplicate or "
                           "reorder",
                           name_of(r, NULL).text);
    if (entry->until_us <= entry->since_us)
        return fail_member(r, (long)entry->ordinal[F_UNTIL], 0,
                           "%s: this is not after since; expected a later time",
                           name_of(r, "until").text);
    enum hm_status status = complete_links(r, entry);
    if (status)
        return status;
    r->faults->link[r->faults->n_links++] =
        (struct hm_fault_link){.from = entry->from,
                               .to = entry->to,
                               .since_us = entry->since_us,
                               .until_us = entry->until_us,
                               .sets = (entry->given & LINK_SETTINGS) >> F_LATENCY,
                               .latency = entry->latency,
                               .bandwidth = entry->bandwidth,
                               .drop = entry->drop,
                               .duplicate = entry->duplicate,
                               .reorder = entry->reorder};
    *entry = (struct entry){0};
    return HM_OK;
}

_Static_assert(F_BANDWIDTH - F_LATENCY == HM_LINK_BANDWIDTH &&
                   F_REORDER - F_LATENCY == HM_LINK_REORDER,
               "fields of links are in the order of their bits");

static enum hm_status missing(struct reader *r, enum field_id field, const char *who)
{
    return fail_member(r, NO_ENTRY, 0, "%s: '%s' is missing, which %s needs", name_of(r, NULL).text,
                       fields[field].name, who);
}

static enum hm_status take_node_entry(struct reader *r, struct entry *entry)
{
    if (!(entry->given & BIT(F_NODE)))
        return missing(r, F_NODE, "an entry of nodes");
    if (!(entry->given & NODE_SETTINGS))
        return fail_member(r, NO_ENTRY, 0, "%s: nothing is set; expected speed, step_time or delay",
                           name_of(r, NULL).text);
    r->faults->node[r->faults->n_node_entries++] =
        (struct hm_fault_node){.nodes = entry->nodes,
                               .speed = entry->speed,
                               .step_time = entry->step_time,
                               .delay = entry->delay};
    *entry = (struct entry){0};
    return HM_OK;
}

/* ---- events ---- */

static enum hm_status fields_fit(struct reader *r, const struct entry *entry)
{
    const unsigned always = BIT(F_COMMENT) | BIT(F_AT) | BIT(F_DO);
    const char *name = hm_fault_name(entry->type);
    if (!(entry->given & BIT(F_DO)))
        return missing(r, F_DO, "every event");
    unsigned must = BIT(F_AT) | takes[entry->type].must;
    unsigned fit = always | must | takes[entry->type].may;
    for (unsigned i = 0; i < N_FIELDS; i++) {
        if (entry->given & ~fit & BIT(i)) {
            char known[128];
            list_fields(fit & ~BIT(F_COMMENT), known, sizeof known);
            return fail_member(r, (long)entry->ordinal[i], 1,
                               "%s: %s takes no such field; it takes %s",
                               name_of(r, fields[i].name).text, name, known);
        }
        if (~entry->given & must & BIT(i))
            return missing(r, (enum field_id)i, name);
    }
    return HM_OK;
}

static enum hm_status push(struct reader *r, const struct hm_fault_event *event)
{
    struct hm_faults *faults = r->faults;
    if (faults->n_events == HM_FAULTS_ENTRIES_MAX)
        return fail_member(r, NO_ENTRY, 0,
                           "%s: with this there are more than %d events, one a node",
                           name_of(r, NULL).text, HM_FAULTS_ENTRIES_MAX);
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

/* The event, and what follows from what it says of durations. */
static enum hm_status push_one(struct reader *r, const struct entry *entry,
                               struct hm_fault_event event)
{
    enum hm_status status = push(r, &event);
    if (!status && event.type == HM_FAULT_PAUSE && entry->for_us) {
        event.at_us += entry->for_us;
        event.type = HM_FAULT_RESUME;
        status = push(r, &event);
    }
    if (!status && event.type == HM_FAULT_KILL && entry->restart_after_us) {
        event.at_us += entry->restart_after_us;
        event.type = HM_FAULT_RESTART;
        status = push(r, &event);
    }
    return status;
}

static enum hm_status take_event(struct reader *r, struct entry *entry)
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
    if (status)
        return status;
    if (takes[entry->type].must & BIT(F_NODE)) {
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
static enum hm_status arrange_events(struct reader *r)
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
        enum hm_status status = push(r, &event);
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

static enum hm_status contradiction(struct reader *r, const struct hm_fault_event *event,
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
        return fail_member(r, NO_ENTRY, 0, "%s: %s of node %u at %s: it has not joined yet",
                           name_of(r, NULL).text, hm_fault_name(event->type), event->node, at);
    return fail_member(r, NO_ENTRY, 0, "%s: %s of node %u at %s: it %s %s", name_of(r, NULL).text,
                       hm_fault_name(event->type), event->node, at, standings[life->standing],
                       since);
}

static enum hm_status follow(struct reader *r, struct life *life)
{
    for (size_t i = 0, n_cuts = 0; i < r->faults->n_events; i++) {
        const struct hm_fault_event *event = &r->faults->event[i];
        r->entry = event->entry;
        n_cuts += event->type == HM_FAULT_CUT;
        if (event->type == HM_FAULT_HEAL && !n_cuts)
            return fail_member(r, NO_ENTRY, 0, "%s: nothing was cut before that could heal",
                               name_of(r, NULL).text);
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

static enum hm_status check_story(struct reader *r)
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

static enum hm_status index_cuts(struct reader *r)
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

/* ---- the whole ---- */

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

static enum hm_status read_part(struct reader *r, json_t *list)
{
    static enum hm_status (*const take[HM_FAULT_PARTS])(struct reader *, struct entry *) = {
        take_link, take_node_entry, take_event};
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
        struct entry entry;
        status = read_entry(r, json_array_get(list, r->entry), &entry);
        if (!status)
            status = take[r->part](r, &entry);
        drop_entry(&entry);
    }
    return status;
}

/* Finds the parts and refuses everything else. */
static enum hm_status find_parts(struct reader *r, json_t *plan, json_t *part[HM_FAULT_PARTS])
{
    const char *key;
    json_t *value;
    size_t k = 0;
    if (!json_is_object(plan))
        return fail_top(r, 0, 0, 0, "%s; expected an object with links, nodes and events",
                        met(plan).text);
    json_object_foreach(plan, key, value)
    {
        unsigned i = 0;
        while (i < HM_FAULT_PARTS && strcmp(key, hm_fault_part_name((enum hm_faults_part)i)) != 0)
            i++;
        if (i == HM_FAULT_PARTS && strcmp(key, fields[F_COMMENT].name) != 0)
            return fail_top(r, 1, k, 1,
                            "%s: there is no such part; known are links, nodes, events and comment",
                            quoted(key).text);
        if (i < HM_FAULT_PARTS && !json_is_array(value))
            return fail_top(r, 1, k, 0, "%s: %s; expected a list in brackets", key,
                            met(value).text);
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

static enum hm_status read_plan(struct reader *r, json_t *plan)
{
    json_t *part[HM_FAULT_PARTS] = {NULL};
    enum hm_status status = find_parts(r, plan, part);
    r->n_nodes_ever = count_nodes(part[HM_PART_EVENTS], r->faults->n_nodes);
    for (int i = 0; !status && i < HM_FAULT_PARTS; i++) {
        r->part = (enum hm_faults_part)i;
        status = read_part(r, part[i]);
    }
    if (!status)
        status = arrange_events(r);
    if (!status)
        status = check_story(r);
    return status ? status : index_cuts(r);
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
    memcpy(faults->text->text, plan, n);
    faults->text->n = n;
    json_t *json = json_loadb(plan, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    struct reader r = {.faults = faults, .text = faults->text, .folder = folder, .err = err};
    enum hm_status status = json ? read_plan(&r, json)
                                 : hm_fail(err, HM_EINPUT, "%s:%d:%d: this is no JSON: %s", name,
                                           error.line, error.column, quoted(error.text).text);
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
