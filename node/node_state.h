/* Inside of a node, shared by the files of node/. */
#ifndef HM_NODE_NODE_STATE_H
#define HM_NODE_NODE_STATE_H

#include "node/combiner.h"
#include "node/curve.h"
#include "node/env.h"
#include "node/feed.h"
#include "node/node.h"
#include "node/rounds.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { CACHE_LINE = 64 };

/* What workers read and the driver writes, once a turn. Relaxed throughout: a batch may run on
 * numbers that are a turn old, as it may run on weights that are. */
struct for_workers {
    _Atomic uint64_t steps;       /* mesh-wide, published and applied here */
    _Atomic uint64_t taken;       /* own steps that have been published */
    _Atomic uint64_t steps_cap;   /* own unflushed steps at which a worker waits for the driver */
    _Atomic uint64_t claims_max;  /* examples that a staleness bound lets be handed out */
    _Atomic uint64_t round;       /* rounds opened. Release: what belongs to this one is there */
    _Atomic float scale, divisor; /* of the combination in force */
    _Atomic float reach;          /* of look-ahead */
    _Atomic uint32_t n_live;
    _Atomic uint32_t extracts_done;
    atomic_bool running, ended;
};

/* A batch that takes its time (worker_paced.c). */
struct pace {
    struct hm_rng step_rng, delay_rng;
    uint32_t step_position, delay_position;
    uint64_t due_ns;        /* when it is over */
    uint64_t from;          /* of the shard */
    float scale;            /* of the combination when its gradient was taken */
    struct hm_grad grad;    /* value NULL: the step is taken when the time is over */
    float *read;            /* what it was taken at, where the model wants that */
    uint64_t read_steps;    /* mesh-wide steps in W then */
    struct hm_gauge *gauge; /* of its staleness; NULL: not measured */
};

struct worker {
    _Alignas(CACHE_LINE) _Atomic uint64_t steps; /* made by this thread; written by it alone */
    _Atomic uint64_t settled;            /* of these, in W: what a delta may count; the same */
    _Atomic uint64_t n_sampled, n_wiped; /* the same */
    _Atomic uint32_t claimed;            /* examples of the batch under way; the same */
    _Atomic uint64_t reads;              /* gradients read and added, as in hm_event; the same */
    _Alignas(CACHE_LINE) struct hm_step step; /* from here on the thread's own */
    struct hm_node *node;
    pthread_t thread;
    struct pace pace;
    const struct hm_shard *shard; /* the node's, or that of a fed batch: */
    struct hm_feed_slot *slot;    /* being trained on, up to slot_at; NULL: none */
    uint64_t slot_at;
    int waits_for_batch;
    uint64_t round;    /* the last one that it took part in */
    float *state_kept; /* [state_floats] a copy of the step's state, for checkpoints; NULL: none are
                          taken. The thread's between asked and given, else the driver's. */
    uint64_t extracting;        /* the driver's: what was settled when the extract began */
    _Atomic uint64_t extracted; /* the driver's: settled steps that an ended extract has covered */
    _Atomic uint32_t state_asked, state_given; /* counts; the driver writes asked, the thread given;
                                                  release: it is done with state_kept */
    bool started, settled_last;
};

/* What a worker wants after a step. */
enum worker_says {
    WORKER_STEPPED, /* to go on */
    WORKER_PAUSES,  /* to go on at pace.due_ns */
    WORKER_WAITS,   /* nothing to do before the driver's next turn */
    WORKER_ENDED,   /* nothing any more */
};

/* What workers could go by when the gate was last opened for somebody. */
struct seen {
    bool valid;
    uint64_t steps, taken, steps_cap, claims_max;
    uint32_t n_live, extracts_done;
};

/* Where workers wait until the driver has done something for them. */
struct gate {
    struct seen seen; /* the driver's */
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    _Atomic uint64_t generation; /* times that it was opened; changes under mutex */
    atomic_uint
        n_waiting; /* relaxed: a driver that misses a newcomer opens the gate again a turn later */
};

struct scorer {
    pthread_t thread;
    bool started;
    atomic_bool wanted, ready,
        end;    /* ready: release by the driver, acquire by the scorer: b and `at` are filled */
    sem_t over; /* posted with `end`: ends its pauses */
    uint32_t *b;
    uint64_t due;             /* steps that it has at least; the scorer's, before `wanted` */
    struct hm_curve_point at; /* where it stands */
    pthread_mutex_t mutex;    /* of what follows */
    struct hm_score newest;
    struct hm_curve curve;
    atomic_bool target_reached;
};

struct hm_node {
    struct hm_node_options options;
    const struct hm_kernels *kernels;
    struct hm_model *model;
    bool model_borrowed;  /* others use it too */
    struct hm_feed *feed; /* NULL: the model has its examples from files */
    struct hm_env *env;
    struct hm_discover *discover; /* NULL: peers are not looked for in the LAN */
    struct hm_mesh *mesh;
    struct hm_decoder *decoder; /* shared with others of this thread; NULL: the mesh has its own */
    struct hm_fields config;
    const uint8_t *bulk;
    size_t bulk_n;
    uint8_t *bulk_owned;
    struct hm_peer_entry *peers; /* from HELLO_OK */
    size_t n_peers;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_delta own_delta, *delta; /* of the running extract: the own one, or what nodes of one
                                          thread share */
    struct hm_combiner combiner;
    struct hm_rounds rounds;
    struct hm_driver_work work;
    struct hm_shard shard;

    struct for_workers shared;
    _Alignas(CACHE_LINE) _Atomic uint64_t
        cursor;            /* examples of the shard handed out; relaxed, it only divides work */
    uint64_t cursor_first; /* where it was when this process began */
    struct worker *worker; /* [threads] */
    unsigned n_workers;
    struct gate gate;
    struct scorer scorer;
    _Atomic(struct hm_env *) waker; /* env for hm_node_wake; NULL: none any more */
    atomic_uint waking;             /* threads that are about to use it */
    atomic_uint callers_counting;   /* threads of the caller that are adding to the counts */
    atomic_bool checkpoint_wanted;  /* by somebody, beside those that time brings */
    atomic_bool callers_parted;     /* the run is over for them, and W another */
    hm_cell *callers_w; /* by_caller, once the run is over for them: what they may still add to */
    uint64_t taken;     /* driver's */
    uint64_t *readers;  /* driver's: [n_workers] of hm_event; NULL: gradients take no time */
    uint64_t n_sampled, n_wiped; /* driver's adds */
    bool stop_told, ended;

    _Atomic int stop_wanted; /* 0, 1: the mesh, 2: this node leaves; set from signal handlers */
    uint64_t status_due_us, discover_due_us;
    uint64_t rate_steps, rate_us, rate;
    uint64_t spent_us;         /* the driver's processor time at the last extract */
    _Atomic uint64_t train_us; /* when training began; 0: not yet. The driver writes it, the scorer
                                  reads it too */
    uint64_t agree_us;         /* when agreement began */
    struct hm_link *links;

    uint64_t digest0;             /* H(B0) */
    unsigned rank, ranks;         /* of the shard */
    struct hm_resumed *resumed;   /* NULL: not asked for (saver.h) */
    uint64_t trained_before_us;   /* by former lives */
    struct hm_saver *saver;       /* NULL: no checkpoints */
    struct hm_recorder *recorder; /* NULL: no trajectory */
    struct hm_node_report report;
};

uint64_t hm_node_now(const struct hm_node *node);
double hm_node_trained_seconds(const struct hm_node *node); /* 0 before training */

/* Where the node stands, not scored, and the weights to look at: B. In synchronous rounds, until
 * the node has ended, the base of its round: beyond that B has the steps of some nodes and lacks
 * those of others, and no gradient is ever taken there. Driver, and after it. */
struct hm_curve_point hm_node_point(const struct hm_node *node, const uint32_t **b);
uint64_t hm_node_point_steps(const struct hm_node *node);
void hm_node_log(const struct hm_node *node, enum hm_note_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The driver's next turn is to begin now. Any thread and signal handlers; nothing once the run is
 * over. */
void hm_node_wake(struct hm_node *node);

/* Logs what the environment has to say. Driver, and before and after it. */
void hm_node_tell_notes(struct hm_node *node);

/* Own steps of all threads, published or not: made, and of these those that are in W. */
uint64_t hm_node_made(const struct hm_node *node);
uint64_t hm_node_settled(const struct hm_node *node);

/* The same, by an extract that begins; and that it has ended. */
uint64_t hm_workers_extract(struct hm_node *node);
void hm_workers_extracted(struct hm_node *node);

/* join.c: founds a configuration or fetches one from a peer. */
enum hm_status hm_node_configure(struct hm_node *node, struct hm_err *err);

/* node.c: a node in two steps, for those who bring environment and model. make: only options, name
 * and kernels; prepare: once the configuration is adopted (model, config, layout, bulk, peers), all
 * that is needed before the first turn. What is NULL in the node is made, the rest is borrowed. */
enum hm_status hm_node_make(struct hm_node **node, const struct hm_node_options *options,
                            struct hm_err *err);
enum hm_status hm_node_prepare(struct hm_node *node, struct hm_err *err);

/* worker.c. open: everything but threads; start: the threads. Without start, whoever runs the node
 * calls hm_worker_step from the thread that takes the driver's turns. */
enum hm_status hm_workers_open(struct hm_node *node, struct hm_err *err);
bool hm_workers_crowd(const struct hm_node *node, unsigned others);
enum hm_status hm_workers_start(struct hm_node *node, struct hm_err *err);
/* Where the model is by_caller: a thread of the caller has added n steps to W and wants to make
 * more. Blocks until it may, 1; or until the run is over, 0: what is added from now on is left out;
 * or until a moment (CLOCK_MONOTONIC), -1; NULL: there is none. */
int hm_caller_step(struct hm_node *node, uint64_t n, const struct timespec *until);
/* One chunk of work, or the news that there is none; never blocks. */
enum worker_says hm_worker_step(struct worker *worker);
/* Takes up to n examples of the worker's shard, `from` its position on; 0: a staleness bound
 * forbids it, or there is no batch of a feeder. */
unsigned hm_worker_claim(struct worker *worker, unsigned n, uint64_t *from);
/* The driver has changed what workers that wait go by, since this was last true. */
bool hm_workers_may_go(struct hm_node *node);
void hm_workers_open_gate(struct hm_node *node);
void hm_workers_join(struct hm_node *node);

/* Memory for the steps of a thread, or of a server, on w. Close it also after a failure. */
enum hm_status hm_step_open(struct hm_step *step, const struct hm_model *model, hm_cell *w,
                            struct hm_err *err);
void hm_step_close(struct hm_step *step);

/* The optimisers' states, for checkpoints. A thread that runs copies its own, between two steps:
 * open makes room for that, ask has them do it, and given tells whether all have. copy puts them
 * into out [n_workers][state_floats]: what was given, or, before the threads begin and once they
 * have ended, what they have; what a thread has been asked for and not given yet stays as it was in
 * out. Driver, and before and after it. */
enum hm_status hm_states_open(struct hm_node *node, struct hm_err *err);
void hm_states_ask(struct hm_node *node);
bool hm_states_given(const struct hm_node *node);
void hm_states_copy(const struct hm_node *node, float *out);

void hm_worker_take(struct worker *worker, uint64_t from, unsigned n); /* steps and counts */
void hm_worker_show(struct worker *worker); /* to the driver, what has been done */

/* worker_paced.c: workers whose batches take a set time. */
/* Draws of the worker at a place of the mesh: what a batch of n examples takes. */
static inline uint64_t hm_pace_place(uint64_t node, unsigned worker)
{
    return hm_mix(node + 1) + worker;
}
/* Whether gradients are taken at the beginning of a batch's time and added at its end. */
bool hm_pace_by_gradient(const struct hm_node *node);
void hm_pace_seed(struct pace *pace, uint64_t seed, uint64_t place);
uint64_t hm_pace_draw_ns(struct pace *pace, const struct hm_node_options *options, unsigned n);
enum hm_status hm_grad_open(struct hm_grad *grad, const struct hm_model *model, struct hm_err *err);
void hm_grad_close(struct hm_grad *grad);
/* n: cells of W; measure: as in hm_node_options. */
enum hm_status hm_pace_open_gradient(struct pace *pace, const struct hm_model *model, size_t n,
                                     uint64_t measure, struct hm_err *err);
void hm_pace_close_gradient(struct pace *pace);
/* The gradient of n examples from a position on, at the step's W; what it was taken at is kept. */
void hm_pace_gradient(struct pace *pace, const struct hm_model *model, const struct hm_shard *shard,
                      struct hm_step step, uint64_t from, unsigned n);
bool hm_is_paced(const struct hm_node *node);
enum hm_status hm_pace_open(struct worker *worker, struct hm_err *err);
void hm_pace_close(struct worker *worker);
unsigned
hm_pace_chunk(const struct hm_node *node); /* examples that are worth waiting for at once */
/* Claims up to n examples, takes their gradient now or later; false: none can be had. */
bool hm_pace_begin(struct worker *worker, unsigned n);
uint64_t hm_pace_due_us(const struct worker *worker); /* when the batch under way is over */
/* True: the time is over, and the step is in W. t: mesh-wide steps as far as one can tell. */
bool hm_pace_end(struct worker *worker, double t);

/* scorer.c */
enum hm_status hm_scorer_start(struct hm_node *node, struct hm_err *err);
void hm_scorer_serve(struct hm_node *node); /* driver: copies B when the scorer asks */
void hm_scorer_stop(struct hm_node *node);

/* driver.c: one turn, which hears what has come and does what the mesh says, without waiting;
 * returns when it wants the next one at the latest, if nothing comes before. node->ended: none. */
uint64_t hm_driver_turn(struct hm_node *node);

/* Turns until the mesh has finished. */
void hm_driver_run(struct hm_node *node);

/* report.c */
/* Scores b with the report's steps on both sets, the training set only where `all`, and counts what
 * is taken for what on the test set. */
enum hm_status hm_report_scores(struct hm_node_report *report, struct hm_model *model,
                                const uint32_t *b, unsigned threads, bool all, struct hm_err *err);

void hm_node_fill_report(struct hm_node *node);
void hm_node_fill_status(struct hm_node *node, struct hm_node_status *status);
void hm_node_tell_status(struct hm_node *node);

#endif
