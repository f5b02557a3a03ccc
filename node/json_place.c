#include "node/json_place.h"

#include <stdint.h>
#include <string.h>

struct cursor {
    const char *p, *end;
};

static void skip_space(struct cursor *c)
{
    while (c->p < c->end && strchr(" \t\r\n", *c->p))
        c->p++;
}

static void skip_string(struct cursor *c)
{
    for (c->p++; c->p < c->end && *c->p != '"'; c->p++)
        c->p += *c->p == '\\';
    c->p++;
}

/* To the first character after the value that begins here, or to the comma or bracket that follows
 * it. */
static void skip_value(struct cursor *c)
{
    unsigned depth = 0;
    while (c->p < c->end) {
        if (*c->p == '"') {
            skip_string(c);
            continue;
        }
        if (!depth && strchr(",]}", *c->p))
            return;
        depth += *c->p == '{' || *c->p == '[';
        depth -= *c->p == '}' || *c->p == ']';
        c->p++;
    }
}

/* Into the object or array that begins here, to its i-th member or element. */
static void enter(struct cursor *c, size_t i, int key)
{
    int object = *c->p == '{';
    c->p++;
    for (size_t k = 0; k < i && c->p < c->end; k++) {
        skip_value(c);
        c->p++; /* comma */
    }
    skip_space(c);
    if (!object || key)
        return;
    skip_string(c);
    skip_space(c);
    c->p++; /* colon */
    skip_space(c);
}

struct hm_json_place hm_json_place(const char *text, size_t n, const size_t *path, unsigned depth,
                                   int key)
{
    struct hm_json_place place = {1, 1};
    struct cursor c = {text, text + n};
    skip_space(&c);
    for (unsigned i = 0; i < depth && c.p < c.end; i++)
        enter(&c, path[i], key && i + 1 == depth);
    for (const char *p = text; p < c.p && p < c.end; p++) {
        place.column += ((uint8_t)*p & 0xC0) != 0x80;
        if (*p == '\n')
            place = (struct hm_json_place){place.line + 1, 1};
    }
    return place;
}
