/* Sets of node numbers, as flags and fault plans name them: "2", "0,3-5", "*". */
#ifndef HM_NODE_NODE_SET_H
#define HM_NODE_NODE_SET_H

#include "sparse/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HM_NODE_NUMBER_MAX = 65535,
    HM_NODE_RANGES_MAX = 1024, /* of one set */
};

struct hm_node_range {
    uint32_t first, last; /* both belong to it */
};

/* Ranges in ascending order with a gap between any two; "*" is the one range from 0 to UINT32_MAX,
 * which later nodes belong to as well. Zeros are the empty set. */
struct hm_node_set {
    struct hm_node_range *range;
    uint32_t n, room;
};

/* Adds first to last; HM_ENOMEM at HM_NODE_RANGES_MAX. */
enum hm_status hm_node_set_add(struct hm_node_set *set, uint32_t first, uint32_t last,
                               struct hm_err *err);

/* Adds what the text names: numbers up to HM_NODE_NUMBER_MAX and ranges of them, separated by
 * commas, or "*". HM_EINPUT with a sentence that quotes the text. */
enum hm_status hm_node_set_parse(struct hm_node_set *set, const char *text, struct hm_err *err);

bool hm_node_set_has(const struct hm_node_set *set, uint32_t node);

/* "*" */
bool hm_node_set_is_all(const struct hm_node_set *set);

/* How many of the nodes 0 to n - 1 belong to it. */
uint32_t hm_node_set_count(const struct hm_node_set *set, uint32_t n);

/* The text that parses to this set, cut off at the end of the room like snprintf; returns the
 * length of all of it. */
size_t hm_node_set_print(const struct hm_node_set *set, char *text, size_t room);

void hm_node_set_fini(struct hm_node_set *set); /* leaves the empty set */

#endif
