#include "tools/watch.h"

#include "protocol/text.h"
#include "tools/http.h"
#include "tools/screen.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double SAMPLE_SECONDS = .5, STALLED_SECONDS = 10;

static void add_point(struct watch_series *series, const struct watch_point *point)
{
    if (++series->skipped < series->stride)
        return;
    series->skipped = 0;
    if (series->n == WATCH_POINTS) {
        for (unsigned i = 0; i < WATCH_POINTS / 2; i++)
            series->point[i] = series->point[2 * i];
        series->n = WATCH_POINTS / 2;
        series->stride *= 2;
    }
    series->point[series->n++] = *point;
}

/* ---- what is put in ---- */

static void sample(struct watch *watch, const struct hm_view *view)
{
    const struct hm_node_status *s = &view->status;
    if (s->seconds <= 0 || s->seconds - watch->sampled < SAMPLE_SECONDS)
        return;
    watch->sampled = s->seconds;
    add_point(&watch->state.history, &(struct watch_point){.seconds = s->seconds,
                                                           .steps = s->steps,
                                                           .own_steps = s->own_steps,
                                                           .bytes_sent = s->bytes_sent,
                                                           .bytes_received = s->bytes_received,
                                                           .staleness = s->staleness,
                                                           .lag = s->lag,
                                                           .live = s->n_live});
}

static void add_events(struct watch *watch)
{
    struct watch_state *state = &watch->state;
    for (unsigned i = 0; i < watch->n_pending; i++)
        state->event[state->n_events++ % WATCH_EVENTS] = watch->pending[i];
    watch->n_pending = 0;
}

double watch_cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Not while somebody copies: a quarter of a second later again. */
static void put_in(struct watch *watch)
{
    if (pthread_mutex_trylock(&watch->mutex) != 0)
        return;
    watch->state.view = watch->view;
    watch->state.published = screen_now();
    watch->state.look_seconds = watch->look_seconds;
    sample(watch, &watch->view);
    add_events(watch);
    pthread_mutex_unlock(&watch->mutex);
}

void watch_look(struct watch *watch, struct hm_node *node)
{
    if (!watch)
        return;
    double began = watch_cpu_seconds();
    hm_node_look(node, &watch->view);
    watch->seconds = watch->view.status.seconds > 0 ? watch->view.status.seconds : -1;
    put_in(watch);
    watch->look_seconds += watch_cpu_seconds() - began;
}

void watch_log(struct watch *watch, enum hm_note_level level, const char *text)
{
    if (!watch)
        return;
    if (watch->n_pending < WATCH_PENDING) {
        struct watch_event *event = &watch->pending[watch->n_pending++];
        *event = (struct watch_event){watch->seconds, time(NULL), level, ""};
        hm_text_clean(event->text, sizeof event->text, text); /* names of files may be no UTF-8 */
    }
    if (pthread_mutex_trylock(&watch->mutex) != 0)
        return;
    add_events(watch);
    pthread_mutex_unlock(&watch->mutex);
}

void watch_scored(struct watch *watch, const struct hm_curve_point *point)
{
    if (!watch || !point->score.n)
        return;
    pthread_mutex_lock(&watch->mutex);
    add_point(&watch->state.curve, &(struct watch_point){.seconds = point->seconds,
                                                         .steps = point->steps,
                                                         .own_steps = point->own_steps,
                                                         .loss = point->score.loss,
                                                         .train_loss = point->train_loss,
                                                         .accuracy = point->score.accuracy});
    pthread_mutex_unlock(&watch->mutex);
}

void watch_progress(struct watch *watch, const char *what, double done, double total)
{
    if (!watch || pthread_mutex_trylock(&watch->mutex) != 0)
        return;
    hm_text_clean(watch->state.loading, sizeof watch->state.loading, what);
    watch->state.loaded = done;
    watch->state.to_load = total;
    pthread_mutex_unlock(&watch->mutex);
}

void watch_end(struct watch *watch, enum hm_status status, const char *reason)
{
    if (!watch)
        return;
    if (status)
        watch_log(watch, HM_NOTE_ERROR, reason);
    pthread_mutex_lock(&watch->mutex);
    watch->state.stage = status ? "failed" : "done";
    add_events(watch);
    pthread_mutex_unlock(&watch->mutex);
}

/* ---- what is taken out ---- */

void watch_copy(struct watch *watch, struct watch_state *state)
{
    pthread_mutex_lock(&watch->mutex);
    *state = watch->state;
    pthread_mutex_unlock(&watch->mutex);
}

int watch_has_ended(const struct watch_state *state)
{
    return state->stage != NULL;
}

int watch_is_healthy(const struct watch_state *state)
{
    const char *stage = state->stage ? state->stage : state->view.status.stage;
    int works = stage && (strcmp(stage, "join") == 0 || strcmp(stage, "train") == 0);
    return !works || !state->published || screen_now() - state->published < STALLED_SECONDS;
}

/* ---- curves ---- */

enum { NUMBER_MAX = 24 };

static const struct column {
    const char *name;
    size_t at;
    enum { REAL, COUNT, SMALL } kind; /* double, uint64_t, uint32_t */
} history_column[] = {{"seconds", offsetof(struct watch_point, seconds), REAL},
                      {"steps", offsetof(struct watch_point, steps), COUNT},
                      {"own_steps", offsetof(struct watch_point, own_steps), COUNT},
                      {"bytes_sent", offsetof(struct watch_point, bytes_sent), COUNT},
                      {"bytes_received", offsetof(struct watch_point, bytes_received), COUNT},
                      {"staleness", offsetof(struct watch_point, staleness), REAL},
                      {"lag", offsetof(struct watch_point, lag), SMALL},
                      {"live", offsetof(struct watch_point, live), SMALL}},
  curve_column[] = {{"seconds", offsetof(struct watch_point, seconds), REAL},
                    {"steps", offsetof(struct watch_point, steps), COUNT},
                    {"loss", offsetof(struct watch_point, loss), REAL},
                    {"train_loss", offsetof(struct watch_point, train_loss), REAL},
                    {"accuracy", offsetof(struct watch_point, accuracy), REAL}};

#define COLUMNS(of) (sizeof of / sizeof of[0])

static char *put_count(char *out, uint64_t x)
{
    char digits[NUMBER_MAX];
    unsigned n = 0;
    do
        digits[n++] = (char)('0' + x % 10);
    while (x /= 10);
    while (n)
        *out++ = digits[--n];
    return out;
}

/* Millionths will do, but for what is very small or large. */
static char *put_real(char *out, double x)
{
    if (!isfinite(x))
        return stpcpy(out, "null");
    if (!(x >= .01 && x < 1e9))
        return out + snprintf(out, NUMBER_MAX, "%.9g", x);
    uint64_t millionths = (uint64_t)(x * 1e6 + .5);
    out = put_count(out, millionths / 1000000);
    if (millionths % 1000000 == 0)
        return out;
    *out++ = '.';
    for (uint64_t rest = millionths % 1000000, unit = 100000; rest; rest %= unit, unit /= 10)
        *out++ = (char)('0' + rest / unit);
    return out;
}

static char *put_number(char *out, const struct column *column, const struct watch_point *point)
{
    const char *at = (const char *)point + column->at;
    if (column->kind == REAL)
        return put_real(out, *(const double *)(const void *)at);
    return put_count(out, column->kind == COUNT ? *(const uint64_t *)(const void *)at
                                                : *(const uint32_t *)(const void *)at);
}

/* Columns: shorter than objects, and what a plot wants. Thousands of numbers, every second, so they
 * are written as they are. */
static void write_series(FILE *out, const char *name, const struct watch_series *series,
                         const struct column *column, size_t n_columns)
{
    char text[NUMBER_MAX + 2];
    fprintf(out, ",\"%s\":{", name);
    for (size_t c = 0; series->n && c < n_columns; c++) {
        fprintf(out, "%s\"%s\":", c ? "," : "", column[c].name);
        for (unsigned i = 0; i < series->n; i++) {
            text[0] = i ? ',' : '[';
            const char *end = put_number(text + 1, &column[c], &series->point[i]);
            fwrite_unlocked(text, 1, (size_t)(end - text), out);
        }
        fputc(']', out);
    }
    fputc('}', out);
}

static json_t *of_events(const struct watch_state *state)
{
    static const char *const level[] = {"info", "warning", "error"};
    json_t *json = json_array();
    unsigned first = state->n_events > WATCH_EVENTS ? state->n_events - WATCH_EVENTS : 0;
    for (unsigned i = first; i < state->n_events; i++) {
        const struct watch_event *e = &state->event[i % WATCH_EVENTS];
        json_array_append_new(
            json,
            json_pack("{s:I, s:o, s:s, s:o}", "time", (json_int_t)e->time, "seconds",
                      e->seconds < 0 ? json_null() : hm_json_number(e->seconds), "level",
                      level[e->level], "text", json_stringn_nocheck(e->text, strlen(e->text))));
    }
    return json;
}

static json_t *without_curves(const struct watch_state *state)
{
    json_t *json = state->published ? hm_view_json(&state->view)
                                    : json_pack("{s:i, s:i, s:s}", "schema", 1, "protocol",
                                                HM_WIRE_VERSION, "version", HM_VERSION);
    if (!json)
        return NULL;
    json_object_set_new(json, "stage",
                        json_string(state->stage       ? state->stage
                                    : state->published ? state->view.status.stage
                                                       : "load"));
    if (!state->published && state->loading[0])
        json_object_set_new(json, "loading",
                            json_pack("{s:s, s:o, s:o}", "what", state->loading, "done",
                                      hm_json_number(state->loaded), "total",
                                      hm_json_number(state->to_load)));
    json_object_set_new(json, "healthy", json_boolean(watch_is_healthy(state)));
    json_object_set_new(json, "events", of_events(state));
    return json;
}

char *watch_document(const struct watch_state *state)
{
    char *text = NULL;
    size_t n = 0;
    json_t *json = without_curves(state);
    char *start = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    FILE *out = start ? open_memstream(&text, &n) : NULL;
    json_decref(json);
    if (out) {
        fwrite(start, 1, strlen(start) - 1, out); /* without the brace */
        write_series(out, "history", &state->history, history_column, COLUMNS(history_column));
        write_series(out, "curve", &state->curve, curve_column, COLUMNS(curve_column));
        fputc('}', out);
    }
    free(start);
    if (out && fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- life ---- */

enum hm_status watch_open(struct watch **out, const char *at, struct hm_err *err)
{
    *out = NULL;
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return hm_fail(err, HM_ENOMEM, "no memory to serve HTTP");
    pthread_mutex_init(&watch->mutex, NULL);
    watch->state.history.stride = watch->state.curve.stride = 1;
    watch->sampled = -SAMPLE_SECONDS;
    watch->seconds = -1;
    enum hm_status status = http_open(&watch->http, watch, at, watch->url, sizeof watch->url, err);
    if (status) {
        watch_close(watch);
        return status;
    }
    *out = watch;
    return HM_OK;
}

void watch_close(struct watch *watch)
{
    if (!watch)
        return;
    http_close(watch->http);
    pthread_mutex_destroy(&watch->mutex);
    free(watch);
}
