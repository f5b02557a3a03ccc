/* What a node shows of itself over HTTP: a page, its data, and metrics (README, "Watching").
 *
 * The node's threads put in what they have, and never wait for whoever looks: what cannot be taken
 * at once is left for the next time. A thread of its own, with the least claim on processors, makes
 * documents of it and serves them.
 */
#ifndef HM_TOOLS_WATCH_H
#define HM_TOOLS_WATCH_H

#include "node/view.h"

#include <pthread.h>

enum { WATCH_POINTS = 512, WATCH_EVENTS = 64, WATCH_PENDING = 16 };

/* Numbers over time, equally far apart; when there is no more room every other one goes. */
struct watch_series {
    unsigned n;
    unsigned stride, skipped; /* of what is added, one in `stride` is kept */
    struct watch_point {
        double seconds;
        uint64_t steps, own_steps, bytes_sent, bytes_received;
        double staleness;
        uint32_t lag;
        unsigned live;
        double loss, train_loss, accuracy; /* of a curve; NaN: none */
    } point[WATCH_POINTS];
};

struct watch_event {
    double seconds; /* of training; below 0: before it */
    int64_t time;   /* Unix */
    enum hm_note_level level;
    char text[HM_NOTE_MAX + 1];
};

/* All that is shown; copied as a whole by who shows it. */
struct watch_state {
    double look_seconds; /* of the processor: what the node's thread has put in took */
    double published;    /* seconds of the monotonic clock; 0: no view yet */
    const char *stage;   /* overrides the view's; NULL: not */
    struct hm_view view;
    struct watch_series history, curve;
    struct watch_event event[WATCH_EVENTS]; /* a ring */
    unsigned n_events;                      /* ever */
    char loading[128];
    double loaded, to_load;
};

struct watch {
    pthread_mutex_t mutex; /* of state */
    struct watch_state state;
    struct watch_event pending[WATCH_PENDING]; /* the node's thread's, until it gets the mutex */
    unsigned n_pending;
    double sampled, seconds; /* the same */
    double look_seconds;     /* the same */
    struct hm_view view;     /* the same */
    struct http *http;
    char url[HM_ENDPOINT_MAX + 16];
};

/* Begins to serve at "[HOST:]PORT" (127.0.0.1; port 0: any); watch->url says where. Errors say what
 * to do. */
enum hm_status watch_open(struct watch **watch, const char *at, struct hm_err *err);
void watch_close(struct watch *watch); /* NULL is fine, here and below */

/* From the thread that runs the node: in its status callback, and in its log. */
void watch_look(struct watch *watch, struct hm_node *node);
void watch_log(struct watch *watch, enum hm_note_level level, const char *text);

/* Any thread. */
void watch_scored(struct watch *watch, const struct hm_curve_point *point);
void watch_progress(struct watch *watch, const char *what, double done, double total);

/* How it ended, from the thread that ran the node: "done", or "failed" for a reason. */
void watch_end(struct watch *watch, enum hm_status status, const char *reason);

/* ---- for who serves it ---- */

/* A copy of all. */
void watch_copy(struct watch *watch, struct watch_state *state);

/* The document of /status.json; the caller frees it. NULL without memory. */
char *watch_document(const struct watch_state *state);

/* Metrics in Prometheus' text format; the caller, the thread that serves, frees them. requests:
 * answered so far. */
char *watch_metrics(const struct watch_state *state, uint64_t requests);

/* Whether there is nothing more to come. */
int watch_has_ended(const struct watch_state *state);

/* Processor time of the calling thread. */
double watch_cpu_seconds(void);

/* Whether the node is at work, or has reason not to be. */
int watch_is_healthy(const struct watch_state *state);

#endif
