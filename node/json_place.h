/* Where a value stands in a JSON text. The parser that we use knows lines of syntax errors only;
 * who finds a value wrong asks here. */
#ifndef HM_NODE_JSON_PLACE_H
#define HM_NODE_JSON_PLACE_H

#include <stddef.h>

struct hm_json_place {
    unsigned line, column; /* from 1; columns count characters */
};

/* The place of the value that path[depth] leads to from the outermost one: each step is the
 * position of a member in its object or of an element in its array, from 0. key: the place of the
 * last member's name instead. `text` [n] is JSON that a parser has accepted and holds the path. */
struct hm_json_place hm_json_place(const char *text, size_t n, const size_t *path, unsigned depth,
                                   int key);

#endif
