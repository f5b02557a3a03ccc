/* The live table of run and join: a line that sums up, and a row for each node where there is a
 * terminal to show it on. */
#ifndef HM_TOOLS_TABLE_H
#define HM_TOOLS_TABLE_H

#include "protocol/wire.h"

#include <stddef.h>

/* How fast a number grows, over the last second or two. */
struct table_meter {
    uint64_t id; /* the caller's */
    int begun;
    double at, value, rate; /* rate NaN: not known yet */
};

/* Takes the newest value and returns what it grows a second. */
double table_measure(struct table_meter *meter, double seconds, double value);

/* NaN: not known. */
struct table_row {
    char label[HM_LABEL_MAX + 1];
    const char *state;
    double examples, rate, staleness, lag, repaired, megabytes; /* rates a second */
};

struct table_head {
    const char *stage;
    unsigned n_nodes;
    double examples, budget, rate; /* of the whole mesh; budget 0: none */
    double seconds, limit;         /* since training began; limit 0: none */
    double accuracy, loss, cost;
    double staleness, lag, repaired, megabytes;
};

/* One line, for logs. Returns its length; cut at room. */
size_t table_line(const struct table_head *head, char *out, size_t room);

/* The table for a window: columns and rows that do not fit are left out, what matters most last.
 * Returns its length. */
size_t table_draw(const struct table_head *head, const struct table_row *row, size_t n,
                  unsigned width, unsigned height, char *out, size_t room);

#endif
