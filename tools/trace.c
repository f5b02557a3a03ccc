#include "tools/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum hm_status trace_write(struct trace *trace, const char *path, const json_t *head,
                           struct hm_err *err)
{
    *trace = (struct trace){.path = path, .out = fopen(path, "w"), .line = 1};
    if (!trace->out)
        return hm_fail(err, HM_EIO, "--trace %s: %s", path, strerror(errno));
    json_dumpf(head, trace->out, JSON_COMPACT);
    fputc('\n', trace->out);
    return HM_OK;
}

/* The next recorded line without its newline, or NULL. */
static const char *next(struct trace *trace)
{
    ssize_t n = getline(&trace->recorded, &trace->room, trace->in);
    if (n < 0)
        return NULL;
    if (n && trace->recorded[n - 1] == '\n')
        trace->recorded[n - 1] = 0;
    return trace->recorded;
}

enum hm_status trace_read(struct trace *trace, const char *path, json_t **head, struct hm_err *err)
{
    *trace = (struct trace){.path = path, .in = fopen(path, "r"), .line = 1};
    *head = NULL;
    if (!trace->in)
        return hm_fail(err, HM_EIO, "--replay %s: %s", path, strerror(errno));
    const char *line = next(trace);
    *head = line ? json_loads(line, 0, NULL) : NULL;
    if (json_integer_value(json_object_get(*head, "hogmesh_trace")) == 1)
        return HM_OK;
    json_decref(*head);
    *head = NULL;
    return hm_fail(err, HM_EINPUT,
                   "--replay %s: line 1 is not the head of a trace of this version, such as "
                   "'hogmesh sim --trace' writes",
                   path);
}

static void compare(struct trace *trace, const char *line)
{
    const char *recorded = next(trace);
    if (recorded && strcmp(recorded, line) == 0)
        return;
    trace->differs = 1;
    snprintf(trace->difference, sizeof trace->difference, "%s, line %llu: recorded %s, now %s",
             trace->path, (unsigned long long)trace->line, recorded ? recorded : "nothing more",
             line ? line : "nothing more");
}

void trace_line(struct trace *trace, const char *line)
{
    trace->line++;
    if (trace->out) {
        fputs(line, trace->out);
        fputc('\n', trace->out);
    } else if (trace->in && !trace->differs) {
        compare(trace, line);
    }
}

static void check_end(struct trace *trace)
{
    const char *rest = trace->differs ? NULL : next(trace);
    if (!rest)
        return;
    trace->differs = 1;
    snprintf(trace->difference, sizeof trace->difference,
             "%s, line %llu: recorded %.500s, now nothing more", trace->path,
             (unsigned long long)trace->line + 1, rest);
}

enum hm_status trace_close(struct trace *trace, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    if (trace->out && (ferror(trace->out) | fclose(trace->out)))
        status = hm_fail(err, HM_EIO, "--trace %s: cannot write", trace->path);
    if (trace->in) {
        check_end(trace);
        fclose(trace->in);
    }
    if (trace->differs)
        status = hm_fail(err, HM_ECORRUPT, "the run differs from the recorded one: %s",
                         trace->difference);
    free(trace->recorded);
    trace->out = trace->in = NULL;
    trace->recorded = NULL;
    return status;
}
