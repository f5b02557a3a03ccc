#include "tools/watch.h"

#include "tools/http.h"
#include "tools/screen.h"

#include <math.h>
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

void watch_look(struct watch *watch, struct hm_node *node)
{
    if (!watch)
        return;
    hm_node_look(node, &watch->view);
    watch->seconds = watch->view.status.seconds > 0 ? watch->view.status.seconds : -1;
    if (pthread_mutex_trylock(&watch->mutex) != 0)
        return; /* somebody copies: a quarter of a second later again */
    watch->state.view = watch->view;
    watch->state.published = screen_now();
    watch->state.generation++;
    sample(watch, &watch->view);
    add_events(watch);
    pthread_mutex_unlock(&watch->mutex);
}

void watch_log(struct watch *watch, enum hm_note_level level, const char *text)
{
    if (!watch)
        return;
    if (watch->n_pending < WATCH_PENDING) {
        struct watch_event *event = &watch->pending[watch->n_pending++];
        *event = (struct watch_event){watch->seconds, time(NULL), level, ""};
        snprintf(event->text, sizeof event->text, "%s", text);
    }
    if (pthread_mutex_trylock(&watch->mutex) != 0)
        return;
    add_events(watch);
    watch->state.generation++;
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
    watch->state.generation++;
    pthread_mutex_unlock(&watch->mutex);
}

void watch_progress(struct watch *watch, const char *what, double done, double total)
{
    if (!watch || pthread_mutex_trylock(&watch->mutex) != 0)
        return;
    snprintf(watch->state.loading, sizeof watch->state.loading, "%s", what);
    watch->state.loaded = done;
    watch->state.to_load = total;
    watch->state.generation++;
    pthread_mutex_unlock(&watch->mutex);
}

void watch_stage(struct watch *watch, const char *stage)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->mutex);
    watch->state.stage = stage;
    watch->state.generation++;
    pthread_mutex_unlock(&watch->mutex);
}

/* ---- what is taken out ---- */

void watch_copy(struct watch *watch, struct watch_state *state)
{
    pthread_mutex_lock(&watch->mutex);
    *state = watch->state;
    pthread_mutex_unlock(&watch->mutex);
}

int watch_is_healthy(const struct watch_state *state)
{
    const char *stage = state->stage ? state->stage : state->view.status.stage;
    int works = stage && (strcmp(stage, "join") == 0 || strcmp(stage, "train") == 0);
    return !works || !state->published || screen_now() - state->published < STALLED_SECONDS;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void append(json_t *object, const char *name, json_t *value)
{
    json_t *array = json_object_get(object, name);
    if (!array)
        json_object_set_new(object, name, array = json_array());
    json_array_append_new(array, value);
}

/* Columns: shorter than objects, and what a plot wants. */
static json_t *of_history(const struct watch_series *series)
{
    json_t *json = json_object();
    for (unsigned i = 0; i < series->n; i++) {
        const struct watch_point *p = &series->point[i];
        append(json, "seconds", number(p->seconds));
        append(json, "steps", json_integer((json_int_t)p->steps));
        append(json, "own_steps", json_integer((json_int_t)p->own_steps));
        append(json, "bytes_sent", json_integer((json_int_t)p->bytes_sent));
        append(json, "bytes_received", json_integer((json_int_t)p->bytes_received));
        append(json, "staleness", number(p->staleness));
        append(json, "lag", json_integer(p->lag));
        append(json, "live", json_integer(p->live));
    }
    return json;
}

static json_t *of_curve(const struct watch_series *series)
{
    json_t *json = json_object();
    for (unsigned i = 0; i < series->n; i++) {
        const struct watch_point *p = &series->point[i];
        append(json, "seconds", number(p->seconds));
        append(json, "steps", json_integer((json_int_t)p->steps));
        append(json, "loss", number(p->loss));
        append(json, "train_loss", number(p->train_loss));
        append(json, "accuracy", number(p->accuracy));
    }
    return json;
}

static json_t *of_events(const struct watch_state *state)
{
    static const char *const level[] = {"info", "warning", "error"};
    json_t *json = json_array();
    unsigned first = state->n_events > WATCH_EVENTS ? state->n_events - WATCH_EVENTS : 0;
    for (unsigned i = first; i < state->n_events; i++) {
        const struct watch_event *e = &state->event[i % WATCH_EVENTS];
        json_array_append_new(json, json_pack("{s:I, s:o, s:s, s:o}", "time", (json_int_t)e->time,
                                              "seconds",
                                              e->seconds < 0 ? json_null() : number(e->seconds),
                                              "level", level[e->level], "text",
                                              json_stringn_nocheck(e->text, strlen(e->text))));
    }
    return json;
}

char *watch_document(const struct watch_state *state)
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
                                      number(state->loaded), "total", number(state->to_load)));
    json_object_set_new(json, "healthy", json_boolean(watch_is_healthy(state)));
    json_object_set_new(json, "history", of_history(&state->history));
    json_object_set_new(json, "curve", of_curve(&state->curve));
    json_object_set_new(json, "events", of_events(state));
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(json);
    return text;
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
