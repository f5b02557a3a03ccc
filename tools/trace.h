/* Traces of simulated runs: a first line that says how to run it again, a line for everything that
 * happened, a last one with the hash of all of it. Written, or compared with what happens now. */
#ifndef HM_TOOLS_TRACE_H
#define HM_TOOLS_TRACE_H

#include "node/sim.h"
#include "tools/cli.h"

#include <jansson.h>

struct trace {
    const char *path;
    FILE *out, *in;
    char *recorded; /* line of `in` */
    size_t room;
    uint64_t line; /* lines so far, the first one included */
    int differs;
    char difference[3 * HM_SIM_LINE_MAX]; /* the first */
};

/* Begins a file with its head, whose reference stays the caller's. */
enum hm_status trace_write(struct trace *trace, const char *path, const json_t *head,
                           struct hm_err *err);

/* Opens one for comparison. *head is the caller's. */
enum hm_status trace_read(struct trace *trace, const char *path, json_t **head, struct hm_err *err);

/* One more line: written, or compared with the one that was recorded. */
void trace_line(struct trace *trace, const char *line);

/* HM_EIO when something could not be written; HM_ECORRUPT, naming the first difference, when the
 * recorded run was another. */
enum hm_status trace_close(struct trace *trace, struct hm_err *err);

#endif
