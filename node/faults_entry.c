#include "node/faults_state.h"
#include "node/json_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 1024 };

enum kind { COMMENT, NODES, TIME, SPAN, DIST, RATE, CHANCE, DO, FLAG, WHAT, JUMP, COUNT };

static const struct field {
    const char *name;
    enum kind kind;
    size_t at; /* in struct hm_fault_entry */
} fields[HM_F_FIELDS] = {
    [HM_F_COMMENT] = {"comment", COMMENT, 0},
    [HM_F_FROM] = {"from", NODES, offsetof(struct hm_fault_entry, from)},
    [HM_F_TO] = {"to", NODES, offsetof(struct hm_fault_entry, to)},
    [HM_F_SINCE] = {"since", TIME, offsetof(struct hm_fault_entry, since_us)},
    [HM_F_UNTIL] = {"until", TIME, offsetof(struct hm_fault_entry, until_us)},
    [HM_F_LATENCY] = {"latency", DIST, offsetof(struct hm_fault_entry, latency)},
    [HM_F_BANDWIDTH] = {"bandwidth", RATE, offsetof(struct hm_fault_entry, bandwidth)},
    [HM_F_DROP] = {"drop", CHANCE, offsetof(struct hm_fault_entry, drop)},
    [HM_F_DUPLICATE] = {"duplicate", CHANCE, offsetof(struct hm_fault_entry, duplicate)},
    [HM_F_REORDER] = {"reorder", CHANCE, offsetof(struct hm_fault_entry, reorder)},
    [HM_F_NODE] = {"node", NODES, offsetof(struct hm_fault_entry, nodes)},
    [HM_F_SPEED] = {"speed", RATE, offsetof(struct hm_fault_entry, speed)},
    [HM_F_STEP_TIME] = {"step_time", DIST, offsetof(struct hm_fault_entry, step_time)},
    [HM_F_DELAY] = {"delay", DIST, offsetof(struct hm_fault_entry, delay)},
    [HM_F_AT] = {"at", TIME, offsetof(struct hm_fault_entry, at_us)},
    [HM_F_DO] = {"do", DO, 0},
    [HM_F_FOR] = {"for", SPAN, offsetof(struct hm_fault_entry, for_us)},
    [HM_F_RESTART_AFTER] = {"restart_after", SPAN,
                            offsetof(struct hm_fault_entry, restart_after_us)},
    [HM_F_ONE_WAY] = {"one_way", FLAG, 0},
    [HM_F_WHAT] = {"what", WHAT, 0},
    [HM_F_BY] = {"by", JUMP, 0},
    [HM_F_COUNT] = {"count", COUNT, 0},
};

static const unsigned part_fields[HM_FAULT_PARTS] = {
    [HM_PART_LINKS] = HM_F_BIT(HM_F_COMMENT) | HM_F_LINKS | HM_F_BIT(HM_F_SINCE) |
                      HM_F_BIT(HM_F_UNTIL) | HM_F_LINK_SETTINGS,
    [HM_PART_NODES] = HM_F_BIT(HM_F_COMMENT) | HM_F_BIT(HM_F_NODE) | HM_F_NODE_SETTINGS,
    [HM_PART_EVENTS] = HM_F_BIT(HM_F_COMMENT) | HM_F_LINKS | HM_F_BIT(HM_F_NODE) |
                       HM_F_BIT(HM_F_AT) | HM_F_BIT(HM_F_DO) | HM_F_BIT(HM_F_FOR) |
                       HM_F_BIT(HM_F_RESTART_AFTER) | HM_F_BIT(HM_F_ONE_WAY) | HM_F_BIT(HM_F_WHAT) |
                       HM_F_BIT(HM_F_BY) | HM_F_BIT(HM_F_COUNT),
};

/* ---- saying what is wrong ---- */

enum hm_status hm_fault_fail_at(struct hm_fault_reader *r, const size_t *path, unsigned depth,
                                int key, const char *format, va_list args)
{
    struct hm_json_place place = hm_json_place(r->text->text, r->text->n, path, depth, key);
    if (r->err)
        vsnprintf(r->err->text, sizeof r->err->text, format, args);
    return hm_context(r->err, HM_EINPUT, "%s:%u:%u", r->text->name, place.line, place.column);
}

enum hm_status hm_fault_fail(struct hm_fault_reader *r, long k, int key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum hm_status status = hm_fault_fail_at(
        r, (size_t[]){r->text->at[r->part], r->entry, k == HM_F_NONE ? 0 : (size_t)k},
        k == HM_F_NONE ? 2 : 3, key, format, args);
    va_end(args);
    return status;
}

struct hm_fault_place_name hm_fault_where(const struct hm_fault_reader *r, const char *field)
{
    struct hm_fault_place_name name;
    snprintf(name.text, sizeof name.text, "%s[%zu]%s%s", hm_fault_part_name(r->part), r->entry,
             field ? "." : "", field ? field : "");
    return name;
}

struct hm_quote hm_fault_met(const json_t *json)
{
    struct hm_quote quote;
    char inner[sizeof quote.text - 2];
    if (json_is_string(json)) {
        hm_text_clean(inner, sizeof inner, json_string_value(json));
        snprintf(quote.text, sizeof quote.text, "'%s'", inner);
        return quote;
    }
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    quote = hm_quote(json_is_array(json)    ? "a list"
                     : json_is_object(json) ? "an object"
                     : text                 ? text
                                            : "a value");
    free(text);
    return quote;
}

/* ---- values ---- */

static enum hm_status take_time(const json_t *json, uint64_t *us, struct hm_err *err)
{
    double x;
    if (!json_is_string(json))
        return hm_fail(err, HM_EINPUT,
                       "%s is no duration; expected text with a unit us, ms, s, m or h, such as "
                       "\"1.5s\"",
                       hm_fault_met(json).text);
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
                       hm_fault_met(json).text);
    return HM_OK;
}

static enum hm_status take_dist(struct hm_fault_reader *r, const json_t *json, struct hm_dist *dist,
                                struct hm_err *err)
{
    if (!json_is_string(json))
        return hm_fail(err, HM_EINPUT,
                       "%s is no distribution; expected text such as \"const:90ms\" or "
                       "\"lognormal:200us,0.5\"",
                       hm_fault_met(json).text);
    return hm_dist_parse(dist, json_string_value(json), r->folder, err);
}

static enum hm_status take_chance(const json_t *json, double *x, struct hm_err *err)
{
    *x = json_number_value(json);
    if (json_is_number(json) && *x >= 0 && *x <= 1)
        return HM_OK;
    return hm_fail(err, HM_EINPUT, "%s is no probability; expected a number from 0 to 1",
                   hm_fault_met(json).text);
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
                   hm_fault_met(json).text, example);
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
                       hm_fault_met(json).text);
    return hm_node_set_add(set, (uint32_t)number, (uint32_t)number, err);
}

static enum hm_status take_nodes(struct hm_fault_reader *r, const json_t *json,
                                 struct hm_node_set *set, struct hm_err *err)
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
                   hm_fault_met(json).text);
}

static enum hm_status take_what(const json_t *json, enum hm_fault_what *what, struct hm_err *err)
{
    for (int i = HM_FLIP_DELTA; json_is_string(json) && i <= HM_FLIP_SNAPSHOT; i++)
        if (strcmp(json_string_value(json), hm_flip_name((enum hm_fault_what)i)) == 0) {
            *what = (enum hm_fault_what)i;
            return HM_OK;
        }
    return hm_fail(err, HM_EINPUT, "%s cannot be damaged; expected delta or snapshot",
                   hm_fault_met(json).text);
}

static enum hm_status take_count(struct hm_fault_reader *r, const json_t *json, uint32_t *count,
                                 struct hm_err *err)
{
    uint32_t most = HM_NODE_NUMBER_MAX + 1 - r->faults->n_nodes;
    if (!json_is_integer(json) || json_integer_value(json) < 1 || json_integer_value(json) > most)
        return hm_fail(err, HM_EINPUT, "%s is no count; expected 1 to %u", hm_fault_met(json).text,
                       most);
    *count = (uint32_t)json_integer_value(json);
    return HM_OK;
}

static enum hm_status take_value(struct hm_fault_reader *r, const struct field *field,
                                 const json_t *json, struct hm_fault_entry *entry,
                                 struct hm_err *err)
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
                           hm_fault_met(json).text);
        return status;
    case DIST:
        return take_dist(r, json, at, err);
    case RATE:
        return take_rate(json, at, field == &fields[HM_F_SPEED] ? "20000 or \"20k\"" : "\"10MB\"",
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
                   : hm_fail(err, HM_EINPUT, "%s; expected true or false", hm_fault_met(json).text);
    case COMMENT:
        return json_is_string(json)
                   ? HM_OK
                   : hm_fail(err, HM_EINPUT, "%s; expected text", hm_fault_met(json).text);
    }
    return status;
}
/* ---- entries ---- */

void hm_fault_list_fields(unsigned bits, char *text, size_t room)
{
    size_t at = 0;
    *text = 0;
    for (unsigned i = 0; i < HM_F_FIELDS; i++)
        if (bits & HM_F_BIT(i)) {
            bits &= ~HM_F_BIT(i);
            at += (size_t)snprintf(text + at, room - at, "%s%s", fields[i].name,
                                   bits & (bits - 1) ? ", "
                                   : bits            ? " and "
                                                     : "");
        }
}

static enum hm_status unknown_field(struct hm_fault_reader *r, size_t k, const char *key)
{
    char known[256];
    hm_fault_list_fields(part_fields[r->part], known, sizeof known);
    return hm_fault_fail(r, (long)k, 1, "%s: there is no such field; known are %s",
                         hm_fault_where(r, hm_quote(key).text).text, known);
}

enum hm_status hm_fault_entry_read(struct hm_fault_reader *r, json_t *json,
                                   struct hm_fault_entry *entry)
{
    const char *key;
    json_t *value;
    size_t k = 0;
    *entry = (struct hm_fault_entry){.until_us = HM_FAULTS_FOREVER, .count = 1};
    if (!json_is_object(json))
        return hm_fault_fail(r, HM_F_NONE, 0, "%s: %s; expected an object in braces",
                             hm_fault_where(r, NULL).text, hm_fault_met(json).text);
    json_object_foreach(json, key, value)
    {
        unsigned i = 0;
        struct hm_err err = {""};
        while (i < HM_F_FIELDS &&
               (!(part_fields[r->part] & HM_F_BIT(i)) || strcmp(fields[i].name, key) != 0))
            i++;
        if (i == HM_F_FIELDS)
            return unknown_field(r, k, key);
        enum hm_status status = take_value(r, &fields[i], value, entry, &err);
        if (status) {
            hm_fault_fail(r, (long)k, 0, "%s: %s", hm_fault_where(r, key).text, err.text);
            return status;
        }
        entry->given |= HM_F_BIT(i);
        entry->ordinal[i] = k++;
    }
    return HM_OK;
}

void hm_fault_entry_fini(struct hm_fault_entry *entry)
{
    hm_node_set_fini(&entry->from);
    hm_node_set_fini(&entry->to);
    hm_node_set_fini(&entry->nodes);
    hm_dist_fini(&entry->latency);
    hm_dist_fini(&entry->step_time);
    hm_dist_fini(&entry->delay);
}

const char *hm_fault_field_name(enum hm_fault_field field)
{
    return fields[field].name;
}
