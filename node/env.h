/* The environment of a node: clock, randomness, and the wires to its peers.
 *
 * The driver runs over this table, so the same driver runs over sockets (node/env_zmq.c) and in the
 * simulator (node/sim.h). All calls come from the driver thread, except wake.
 */
#ifndef HM_NODE_ENV_H
#define HM_NODE_ENV_H

#include "protocol/mesh.h"

struct hm_env;

/* What a driver has done so far, for those who reckon its processor time instead of measuring it.
 */
struct hm_driver_work {
    uint64_t messages, bytes;   /* heard */
    uint64_t scanned, extracts; /* coordinates of W that extracts went through, and extracts */
    uint64_t published;         /* blocks that they made */
    uint64_t applied;           /* blocks of others' deltas */
};

struct hm_env_ops {
    /* Monotonic microseconds. Any thread. */
    uint64_t (*now_us)(struct hm_env *env);

    /* Processor time of the driver, in microseconds: measured, or reckoned from its work. A wall
     * clock would count the workers that share the core. */
    uint64_t (*processor_us)(struct hm_env *env, const struct hm_driver_work *work);

    /* Carries out CONNECT, DISCONNECT, SEND, REPLY or BROADCAST. Never blocks; what a full queue or
     * a missing peer refuses is dropped, as a network would, and counted. */
    void (*carry_out)(struct hm_env *env, const struct hm_action *action);

    /* Takes the next thing that arrived as MESSAGE or SUBSCRIBED event (time and steps are the
     * caller's to fill in). Returns 1, or 0 when nothing is there. What the event points to is
     * valid until the next call. */
    int (*receive)(struct hm_env *env, struct hm_event *event);

    /* Blocks until something arrives, wake is called, or the time has come. */
    void (*wait)(struct hm_env *env, uint64_t until_us);

    /* Ends a wait. Any thread, and signal handlers. */
    void (*wake)(struct hm_env *env);

    /* Closes everything; what was sent last gets up to linger_ms to leave. */
    void (*close)(struct hm_env *env, int linger_ms);
};

struct hm_env {
    const struct hm_env_ops *ops;
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1]; /* where peers reach this node */
    uint64_t n_dropped;                                      /* messages that queues refused */
};

/* Sockets of a node with this life. bind: "HOST:PORT"; port 0 takes any, otherwise PORT + 1 is
 * taken too (the publisher). advertise: "HOST" or "HOST:PORT" as peers are to dial it, NULL: the
 * bound address, and for a wildcard the first address of this host that is not loopback. Errors say
 * what to do (port in use, unknown host). */
enum hm_status hm_env_zmq_open(struct hm_env **env, uint64_t life, const char *bind,
                               const char *advertise, struct hm_err *err);

/* "HOST:PORT" or "tcp://HOST:PORT" to an endpoint; HM_EUSAGE when it is neither. */
enum hm_status hm_endpoint_parse(const char *text, char *endpoint /* [HM_ENDPOINT_MAX + 1] */,
                                 struct hm_err *err);

#endif
