/* A small network of meshes in one process, for tests of the protocol: virtual time, one queue of
 * events, every choice from one seed, so a failing run can be repeated.
 *
 * Nodes are what node/driver.c makes of a mesh, with weights of a few blocks and a fake worker that
 * adds numbers to W. Channels behave as the sockets do: each keeps its order (PUB, requests and
 * answers are three channels that overtake each other), a publisher reaches who is connected and
 * drops what a full queue does not hold, a connection announces itself to the publisher. Beyond
 * that the links lose, duplicate and reorder as told.
 *
 * The harness keeps every delta that was ever published and checks after every event, on every
 * node:
 *   - the deltas applied are the ones published, each stream in order, without gaps, each once;
 *   - B is B0 plus the deltas that the vector names; the digest and the steps are theirs;
 *   - the staleness reported is the symmetric difference of explicit sets of flushes, in flushes
 * and in steps;
 *   - what a repair sends is byte for byte what was published;
 *   - no (stream, seq) is published twice, over whatever lives;
 *   - the log stays within its budget.
 */
#ifndef HM_TESTS_SIMNET_H
#define HM_TESTS_SIMNET_H

#include "node/checkpoint.h"
#include "protocol/mesh.h"
#include "sparse/rng.h"

#include <stdbool.h>

enum {
    SIM_NODES_MAX = 32,
    SIM_LIVES_MAX = 512,
    SIM_HWM = 64, /* messages on the way in one channel of a link */
    SIM_NOTES_MAX = 8192,
};

struct sim_options {
    uint64_t seed;
    unsigned expect;
    struct hm_combine combine;
    uint64_t log_bytes_least; /* not 0: logs of nodes differ, between this and log_bytes_max */
    uint64_t budget_steps, flush_us, bandwidth, log_bytes_max, join_timeout_us, suspect_us, gone_us;
    uint32_t cost_us; /* of the protocol, between two flushes */
    bool crowded;
    uint32_t step_us; /* between two steps of a worker, on average; 0: workers stay idle */
    uint32_t rows;    /* of the larger tensor, 20 columns wide; 0: the model is one coordinate */
    bool fractions;   /* workers add fractions of a grid unit; else whole ones */
    bool dense;       /* a step touches every coordinate */
};

/* One direction between two nodes. Probabilities are parts of 1. */
struct sim_link {
    uint32_t latency_us, jitter_us;
    double drop, duplicate, reorder;
    bool cut;      /* everything is lost */
    bool sub_dead; /* the subscription's session has ended for good: only a new connection helps */
};

struct sim_message {
    unsigned from, to;
    unsigned epoch; /* of the receiver */
    enum hm_channel channel;
    uint8_t header[HM_HEADER_BOUND];
    size_t header_n;
    struct hm_blob *payload;
};

/* Explicit set of flushes of all lives, by the order in which they were made. */
struct sim_set {
    uint64_t *word; /* [n] */
    size_t n;
};

/* A delta as published. */
struct sim_record {
    struct hm_delta_head head;
    struct hm_blob *payload;
    struct hm_delta delta;
    struct sim_set start; /* what the origin had applied when its accumulation began */
    uint32_t flush;       /* of all, by order */
    int anew_in;          /* index of the life that published it anew; -1: none */
    uint32_t anew_seq;
    bool is_anew; /* it is such a one itself */
};

/* All that one life has published. */
struct sim_life {
    uint64_t life;
    unsigned node, epoch;
    struct sim_record *record;
    size_t n_records;
};

/* A node's checkpoint, and what the harness knows of the node at that instant. */
struct sim_saved {
    unsigned node;
    struct hm_checkpoint checkpoint;
    size_t bytes;
    uint32_t seq[SIM_LIVES_MAX]; /* deltas applied, by life */
    struct sim_set applied;
};

struct sim_tally {
    uint64_t n, sum, max;
};

struct sim_slot {
    bool used, up;
    unsigned target, generation;
};

struct sim_node {
    struct hm_mesh *mesh;
    struct hm_mesh_params params;
    struct hm_weights weights;
    struct hm_delta delta;
    bool up; /* started, and neither crashed nor ended */
    bool crashed, ended, paused, working, told_to_leave;
    bool tampered;         /* a test has changed its W: what it owes is not what its worker added */
    unsigned epoch;        /* how often it was started again */
    uint64_t ahead_us;     /* of its clock */
    uint64_t steps, taken; /* made by the worker; handed to the mesh */
    uint64_t turn_at, n_turns;
    uint64_t working_us, ended_us;
    struct sim_slot slot[HM_PEERS_MAX];
    struct sim_message **backlog; /* what waits for a paused node */
    size_t n_backlog;
    uint64_t bytes_handed; /* to sockets, all copies */
    char notes[SIM_NOTES_MAX];

    /* what the harness knows better */
    unsigned life;               /* index of the present one */
    uint32_t *shadow;            /* B0 plus the recorded deltas that the vector names */
    uint32_t seq[SIM_LIVES_MAX]; /* of them, by life */
    struct sim_tally stale_flushes[SIM_LIVES_MAX], stale_steps[SIM_LIVES_MAX];
    uint64_t n_applied, n_covered, n_undone, n_published;
    struct sim_set applied, start;
    bool accumulating;       /* a step was made since the last extract: `start` holds */
    bool touched;            /* B was, since the last check */
    double *credit;          /* what the worker added, in grid units as published */
    double *published;       /* what the own streams say, in grid units; what came anew once */
    struct sim_saved *saved; /* that it began with, until it begins to work; borrowed */
    bool dropped;            /* what it owed was known to be published */
};

struct sim {
    struct sim_options options;
    uint64_t now_us, order, last_delta_us;
    struct hm_rng rng;
    struct hm_fields config;
    struct hm_layout layout;
    const struct hm_kernels *kernels;
    uint32_t *coordinate; /* [n_coordinates] that are no padding */
    uint32_t n_coordinates;
    unsigned n_nodes;
    struct sim_node node[SIM_NODES_MAX];
    struct sim_life life[SIM_LIVES_MAX];
    unsigned n_lives;
    uint64_t *flush_steps; /* [n_flushes] of all flushes */
    uint32_t n_flushes;
    struct sim_link link[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_pipe {
        uint64_t last_us;
        unsigned n;
    } pipe[SIM_NODES_MAX][SIM_NODES_MAX][3];
    struct sim_event *event; /* heap */
    size_t n_events, events_room;
    uint64_t n_lost, n_overflowed; /* messages, by links and by full queues */

    /* Sees every message as it is sent; may change it. False: it is lost. */
    bool (*filter)(struct sim *sim, struct sim_message *message);
    bool unchecked;                 /* B may be wrong: a test has damaged it */
    uint32_t chunk_blocks, seq_max; /* as in hm_mesh_params */
    unsigned without;               /* of the nodes that are started from now on */
    uint64_t n_doubled;             /* deltas that count both as they were and anew */
};

/* Plain settings: 100 us links, a step per millisecond, expect as given, no limits. */
struct sim_options sim_defaults(uint64_t seed, unsigned expect);

struct sim *sim_open(const struct sim_options *options);
void sim_close(struct sim *sim);

/* Starts one more node, which knows the first `n_known` nodes that are up, and returns its number.
 */
unsigned sim_start(struct sim *sim, unsigned n_known);

/* Takes a node's checkpoint, through its bytes, with the logs from `since` on (NULL: all). To be
 * given to sim_saved_free. */
uint8_t *sim_checkpoint(struct sim *sim, unsigned node, const struct sim_saved *since,
                        size_t *n); /* the bytes of its file, to be freed */
struct sim_saved *sim_save(struct sim *sim, unsigned node, const struct sim_saved *since);
void sim_saved_free(struct sim_saved *saved); /* NULL is fine */

/* sim_start for a new life that begins with a checkpoint (NULL: with none), which has to stay until
 * the simulation is closed. */
unsigned sim_start_saved(struct sim *sim, unsigned n_known, struct sim_saved *saved);

/* Starts n nodes; all know the first one only. */
void sim_start_all(struct sim *sim, unsigned n);

/* For all links, those of later nodes too. */
void sim_links(struct sim *sim, const struct sim_link *link);

void sim_run(struct sim *sim, uint64_t us);
/* Until `done` says so; false when that takes longer than `us`. */
bool sim_run_until(struct sim *sim, bool (*done)(const struct sim *sim), uint64_t us);
bool sim_all_running(const struct sim *sim);
bool sim_all_ended(const struct sim *sim);

void sim_crash(struct sim *sim, unsigned node);

/* A new process in the place of one that has crashed: another life at the same addresses. */
void sim_restart(struct sim *sim, unsigned node, unsigned n_known);

/* Its clock leaps forward, as when the machine slept. */
void sim_leap(struct sim *sim, unsigned node, uint64_t us);

void sim_pause(struct sim *sim, unsigned node);
void sim_resume(struct sim *sim, unsigned node);
void sim_cut(struct sim *sim, unsigned a, unsigned b, bool cut); /* both ways */
void sim_reset(struct sim *sim, unsigned a,
               unsigned b); /* connections between them break and come back */
void sim_stop(struct sim *sim, unsigned node, const char *reason);
void sim_leave(struct sim *sim, unsigned node, const char *reason);

/* Hands a node an event that the network did not make, and carries out what follows. */
void sim_happen(struct sim *sim, unsigned node, struct hm_event *event);

/* The header of a message, decoded; type 0 when it cannot be. */
struct hm_header sim_header(const struct sim_message *message);

/* Checks what must hold once all nodes have ended: those that neither crashed nor left are CLEAN,
 * with equal vectors, bases and steps, and owe at most half a published unit; the ledger balances;
 * nothing that a worker added is missing (exactly for whole units under the sum rule, within a
 * quarter of a grid unit otherwise). */
void sim_check_end(struct sim *sim);

/* Fails the test, naming time, node and seed. */
void sim_fail(const struct sim *sim, unsigned node, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#endif
