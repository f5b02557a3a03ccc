/* A world of virtual nodes: production drivers, workers, protocol, W and B, in one process and one
 * thread, under virtual time.
 *
 * Everything that happens is an event in one queue; equal times are served in the order in which
 * they were asked for; every draw comes from the seed. So the same options, build and instruction
 * set give the same events, the same trace and the same models on every machine.
 *
 * Channels behave as the sockets do: each keeps its order (publications, requests and answers are
 * three channels that overtake each other), a publisher reaches who is connected and drops what a
 * full queue does not hold, a connection takes its time and announces itself to the publisher, one
 * that broke is dialled again at growing intervals. Beyond that links lose, duplicate, reorder, and
 * can be cut in one direction alone. What is sent over a cut is lost, as when a connection ends.
 *
 * A driver's turn takes the time that its work is reckoned at (SIM_..._NS below), a worker's batch
 * what the speed, the step time and the delay of the node say. Each thread has a processor of its
 * own; scoring takes no time and leaves no mark: with and without it the same happens.
 *
 *     hm_sim_open(&sim, &options, &err);
 *     hm_sim_start_all(sim, &err);
 *     while (hm_sim_step(sim)) ...          or hm_sim_run(sim, until_us)
 *     hm_node_report(hm_sim_node(sim, 0))
 *     hm_sim_close(sim);
 *
 * One thread at a time per world. Times are microseconds of virtual time; the world begins at
 * HM_SIM_BORN_US, so that no time is 0.
 */
#ifndef HM_NODE_SIM_H
#define HM_NODE_SIM_H

#include "node/faults.h"
#include "node/node.h"

enum {
    HM_SIM_BORN_US = 1000000,
    HM_SIM_HWM = 64, /* messages on the way in one channel of a link */

    /* What a driver's work is reckoned at, nanoseconds of one processor. */
    HM_SIM_TURN_NS = 4000,
    HM_SIM_MESSAGE_NS = 2000,   /* heard */
    HM_SIM_KILOBYTE_NS = 100,   /* of it */
    HM_SIM_EXTRACT_NS = 2000,   /* and for every */
    HM_SIM_SCAN_1000_NS = 400,  /* thousand coordinates gone through, */
    HM_SIM_PACK_BLOCK_NS = 40,  /* block of 64 made a delta of, */
    HM_SIM_APPLY_BLOCK_NS = 50, /* block of others applied */
};

struct hm_sim;

/* One direction between two nodes, as it is when no fault plan says otherwise. Probabilities are
 * parts of 1. */
struct hm_sim_link {
    struct hm_dist latency;
    double bandwidth; /* bytes a second; 0: no limit */
    double drop, duplicate, reorder;
    bool cut;      /* everything is lost */
    bool sub_dead; /* the subscription's session has ended for good: only a new connection helps */
};

/* A message on its way. `header` has room for HM_HEADER_BOUND when there is a filter. */
struct hm_sim_message {
    uint32_t n_owners, from;
    enum hm_channel channel;
    struct hm_blob *payload;
    uint64_t hash; /* of the header, which has the digest of a delta in it */
    size_t header_n;
    uint8_t header[];
};

enum hm_sim_what {
    HM_SIM_STARTED,   /* node begins a life */
    HM_SIM_TRAINING,  /* its workers begin */
    HM_SIM_CONNECTED, /* node has a connection to peer */
    HM_SIM_SENT,      /* by node; peer is UINT32_MAX for a publication */
    HM_SIM_HEARD,     /* what peer sent has come to node */
    HM_SIM_LOST,      /* what node sent to peer: on the link */
    HM_SIM_DROPPED,   /* likewise: by a full queue, or nobody is there */
    HM_SIM_PAUSED,
    HM_SIM_RESUMED,
    HM_SIM_KILLED,
    HM_SIM_LEAVING,
    HM_SIM_STOPPED, /* told to end the run */
    HM_SIM_RESET,   /* connections between node and peer are broken */
    HM_SIM_FLIPPED, /* a bit of what node sends */
    HM_SIM_CLOCK,   /* node's clock has jumped */
    HM_SIM_SCORED,  /* for the observer alone: no part of hm_sim_hash */
    HM_SIM_UPDATED, /* the server's weights, by a gradient of worker `node` */
    HM_SIM_ENDED,   /* node's run is over */
    HM_SIM_WHATS,
};

/* One thing that has happened. */
struct hm_sim_happening {
    uint64_t at_us;
    enum hm_sim_what what;
    uint32_t node, peer;                  /* peer: UINT32_MAX where there is none */
    const struct hm_sim_message *message; /* of SENT, HEARD, LOST, DROPPED; else NULL */
    const struct hm_score *score;         /* of SCORED */
    uint64_t steps;                       /* of SCORED, UPDATED and ENDED: mesh-wide */
    uint64_t staleness; /* of UPDATED: updates between the gradient's weights and this one */
    const char *hash;   /* of ENDED: the model's */
};

struct hm_sim_options {
    /* Of every node; label, life, rank, addresses and callbacks are the world's to set, and the
     * pace where the fault plan says so. */
    struct hm_node_options node;
    struct hm_model *model; /* borrowed: open, neither founded nor adopted */
    uint32_t n;             /* nodes at the start */
    uint64_t seed;          /* of links, lives; node.train.seed is that of work */
    struct hm_sim_link link;
    const struct hm_faults *faults;                          /* borrowed; NULL: none */
    const struct hm_node_set *step_time_nodes, *delay_nodes; /* whom node.step_time and node.delay
                                                                are for; NULL: all */
    uint32_t n_known; /* peers that a node knows when it starts, of those that are up; 0: all */
    uint32_t n_max;   /* nodes in all, with those that start later; 0: n and the plan's */

    /* Scoring of the first live node's B. */
    double score_every;         /* virtual seconds; 0: not */
    uint64_t score_every_steps; /* mesh-wide; 0: not */
    enum hm_set score_set;

    /* Each node's trajectory (node/trajectory.h): DIR/trajectory-LABEL, of a server
     * DIR/trajectory-server. It takes no time either. NULL: none. */
    const char *trajectory_dir;
    uint64_t trajectory_every;           /* mesh-wide steps between points */
    double target_cost, target_accuracy; /* reached: the run is stopped; 0: none */

    /* Hooks. The filter sees every message before a link does, once for each receiver; it may
     * change header, header_n and payload (dropping the old one), or lose it by returning false.
     * The observer sees everything that happens; the inspector is called after every event. */
    bool (*filter)(void *context, struct hm_sim *sim, struct hm_sim_message *message, uint32_t to);
    void (*observe)(void *context, const struct hm_sim *sim,
                    const struct hm_sim_happening *happening);
    void (*inspect)(void *context, struct hm_sim *sim, uint32_t node);
    void (*log)(void *context, const struct hm_sim *sim, uint32_t node, enum hm_note_level level,
                const char *text);
    /* When B of the first live node is scored, that of each is, at its own vector. NULL: only that
     * one's is. Of a server: the server's. */
    void (*scored)(void *context, uint32_t node, const struct hm_curve_point *point);
    void *context;
};

/* How a life went that did not end by itself. */
struct hm_sim_dead {
    char label[HM_LABEL_MAX + 1];
    uint64_t life, steps, seq;
    uint32_t node;
};

enum { HM_SIM_LINE_MAX = 512 };

/* What has happened as one JSON object, NUL-terminated, without a newline; returns its length. */
size_t hm_sim_line(const struct hm_sim_happening *happening, char line[HM_SIM_LINE_MAX]);

/* Founds the configuration. Everything in options stays borrowed until close. */
enum hm_status hm_sim_open(struct hm_sim **sim, const struct hm_sim_options *options,
                           struct hm_err *err);
void hm_sim_close(struct hm_sim *sim); /* NULL is fine */

/* Starts node `index` (< n_max), which is not up, as a new life. */
enum hm_status hm_sim_start(struct hm_sim *sim, uint32_t index, struct hm_err *err);
enum hm_status hm_sim_start_all(struct hm_sim *sim, struct hm_err *err); /* 0 to n - 1 */

/* Lets one event happen. False when no node is up. */
bool hm_sim_step(struct hm_sim *sim);
/* Until that time, or no node is up; returns whether one is. */
bool hm_sim_run(struct hm_sim *sim, uint64_t until_us);

uint64_t hm_sim_now(const struct hm_sim *sim);
uint64_t hm_sim_events(const struct hm_sim *sim);
uint64_t hm_sim_hash(const struct hm_sim *sim); /* of all that has happened */
uint32_t hm_sim_n(const struct hm_sim *sim);    /* n_max */
struct hm_node *hm_sim_node(struct hm_sim *sim,
                            uint32_t index); /* NULL: never started, or killed */
bool hm_sim_is_up(const struct hm_sim *sim, uint32_t index);
bool hm_sim_has_left(const struct hm_sim *sim, uint32_t index); /* by hm_sim_leave */
const struct hm_fields *hm_sim_config(const struct hm_sim *sim);
size_t hm_sim_n_dead(const struct hm_sim *sim);
const struct hm_sim_dead *hm_sim_dead(const struct hm_sim *sim, size_t index);
const struct hm_curve_point *hm_sim_curve(const struct hm_sim *sim, size_t *n);
/* Mesh-wide, as the first live node has them, and how many there are to be (0: not said). */
uint64_t hm_sim_steps(struct hm_sim *sim, uint64_t *budget);
const char *hm_sim_what_name(enum hm_sim_what what); /* "heard" */

/* ---- faults; on a node that is not up they do nothing ---- */

/* The link from one to another, to be changed. */
struct hm_sim_link *hm_sim_link(struct hm_sim *sim, uint32_t from, uint32_t to);
void hm_sim_cut(struct hm_sim *sim, uint32_t from, uint32_t to, bool cut); /* this direction only */
void hm_sim_reset(struct hm_sim *sim, uint32_t a, uint32_t b); /* their connections break */
void hm_sim_pause(struct hm_sim *sim, uint32_t index);
void hm_sim_resume(struct hm_sim *sim, uint32_t index);
void hm_sim_kill(struct hm_sim *sim, uint32_t index);
void hm_sim_leave(struct hm_sim *sim, uint32_t index);
void hm_sim_stop(struct hm_sim *sim, uint32_t index); /* it ends the run of the whole mesh */
void hm_sim_flip(struct hm_sim *sim, uint32_t index); /* a bit of the next delta it sends */
void hm_sim_jump(struct hm_sim *sim, uint32_t index, int64_t us); /* its clock */

/* When all is over: scores the first node that ended, on both sets, into its report, which gets the
 * curve too. NULL: none has. */
enum hm_status hm_sim_conclude(struct hm_sim *sim, struct hm_node **scored, struct hm_err *err);

/* Scores B of the first live node, as the curve does. */
enum hm_status hm_sim_score(struct hm_sim *sim, enum hm_set set, struct hm_score *score,
                            uint64_t *steps, struct hm_err *err);

#endif
