#include "node/node_set.h"

#include "node/quote.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int grow_by_one(struct hm_node_set *set)
{
    if (set->n < set->room)
        return 1;
    uint32_t room = set->room ? 2 * set->room : 1;
    struct hm_node_range *range = realloc(set->range, room * sizeof *range);
    if (!range)
        return 0;
    set->range = range;
    set->room = room;
    return 1;
}

enum hm_status hm_node_set_add(struct hm_node_set *set, uint32_t first, uint32_t last,
                               struct hm_err *err)
{
    uint32_t at = 0, behind;
    while (at < set->n && (uint64_t)set->range[at].last + 1 < first)
        at++;
    for (behind = at; behind < set->n && set->range[behind].first <= (uint64_t)last + 1; behind++) {
        first = set->range[behind].first < first ? set->range[behind].first : first;
        last = set->range[behind].last > last ? set->range[behind].last : last;
    }
    if (behind == at) {
        if (set->n == HM_NODE_RANGES_MAX)
            return hm_fail(err, HM_ENOMEM, "a set of nodes has at most %d ranges",
                           HM_NODE_RANGES_MAX);
        if (!grow_by_one(set))
            return hm_fail(err, HM_ENOMEM, "no memory for a set of nodes");
        memmove(set->range + at + 1, set->range + at, (set->n - at) * sizeof *set->range);
        set->n++;
    } else {
        memmove(set->range + at + 1, set->range + behind, (set->n - behind) * sizeof *set->range);
        set->n -= behind - at - 1;
    }
    set->range[at] = (struct hm_node_range){first, last};
    return HM_OK;
}

static const char *take_number(const char *p, uint32_t *number)
{
    const char *from = p;
    *number = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if ((*number = *number * 10 + (uint32_t)(*p - '0')) > HM_NODE_NUMBER_MAX)
            return NULL;
    return p == from ? NULL : p;
}

enum hm_status hm_node_set_parse(struct hm_node_set *set, const char *text, struct hm_err *err)
{
    if (strcmp(text, "*") == 0)
        return hm_node_set_add(set, 0, UINT32_MAX, err);
    for (const char *p = text;; p++) {
        uint32_t first, last;
        p = take_number(p, &first);
        last = first;
        if (p && *p == '-')
            p = take_number(p + 1, &last);
        if (!p || last < first || (*p && *p != ','))
            break;
        enum hm_status status = hm_node_set_add(set, first, last, err);
        if (status || !*p)
            return status;
    }
    return hm_fail(err, HM_EINPUT,
                   "'%s' names no nodes; expected numbers from 0 to %d and ranges of them, such as "
                   "\"0,3-5\", or \"*\"",
                   hm_quote(text).text, HM_NODE_NUMBER_MAX);
}

bool hm_node_set_has(const struct hm_node_set *set, uint32_t node)
{
    uint32_t low = 0, high = set->n;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (set->range[middle].last < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->n && set->range[low].first <= node;
}

bool hm_node_set_is_all(const struct hm_node_set *set)
{
    return set->n == 1 && set->range[0].first == 0 && set->range[0].last == UINT32_MAX;
}

uint32_t hm_node_set_count(const struct hm_node_set *set, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->n && set->range[i].first < n; i++)
        count += (set->range[i].last < n ? set->range[i].last : n - 1) - set->range[i].first + 1;
    return count;
}

size_t hm_node_set_print(const struct hm_node_set *set, char *text, size_t room)
{
    if (hm_node_set_is_all(set))
        return (size_t)snprintf(text, room, "*");
    size_t at = 0;
    if (room)
        *text = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        struct hm_node_range r = set->range[i];
        char one[32];
        int n = r.first == r.last ? snprintf(one, sizeof one, "%s%" PRIu32, i ? "," : "", r.first)
                                  : snprintf(one, sizeof one, "%s%" PRIu32 "-%" PRIu32,
                                             i ? "," : "", r.first, r.last);
        if (at < room)
            snprintf(text + at, room - at, "%s", one);
        at += (size_t)n;
    }
    return at;
}

void hm_node_set_fini(struct hm_node_set *set)
{
    free(set->range);
    *set = (struct hm_node_set){0};
}
