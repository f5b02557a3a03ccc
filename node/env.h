/* The environment of a node: clock, randomness, and the wires to its peers.
 *
 * The driver runs over this table, so the same driver runs over sockets (node/env_zmq.c) and in the
 * simulator (node/sim.h). All calls come from the driver thread, except wake.
 */
#ifndef HM_NODE_ENV_H
#define HM_NODE_ENV_H

#include "node/keys.h"
#include "node/strangers.h"
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

    /* The next line that is worth a warning; returns 0 when there is none. NULL: there never is. */
    int (*note)(struct hm_env *env, char text[HM_NOTE_MAX + 1]);

    /* Connections of strangers refused so far, n[HM_REFUSALS]. NULL: none ever. */
    void (*refusals)(struct hm_env *env, uint64_t *n);
};

/* What became of dialling a peer. */
enum hm_dial {
    HM_DIAL_FINE,        /* or not known yet */
    HM_DIAL_PLAIN_PEER,  /* it speaks without encryption, and this node has a key */
    HM_DIAL_KEY_WANTED,  /* it has a key, and this node has none */
    HM_DIAL_KEY_REFUSED, /* it has another key than all of this node's, or none */
    HM_DIAL_HANGS_UP,    /* it may have a key, and this node has none; it may be no hogmesh */
};

/* What is wrong with a peer and what to do, to follow its address; NULL: nothing that is known. */
const char *hm_dial_complaint(enum hm_dial dial);

/* What an environment is for. Sockets have the same places in all of them. */
enum hm_env_kind {
    HM_ENV_MESH,    /* ROUTER, XPUB, SUB, DEALERs */
    HM_ENV_FEEDER,  /* ROUTER, and PUSH instead of XPUB: BROADCAST is taken by one of the others */
    HM_ENV_TRAINER, /* DEALERs, and PULL instead of SUB; nothing is bound */
};

/* Batches that a feeder keeps for each trainer, and a trainer unread of each feeder; what the
 * system keeps beside, in bytes, of either. */
enum { HM_FEED_QUEUE = 2, HM_FEED_SYSTEM_BYTES = 64 << 10 };

struct hm_env {
    const struct hm_env_ops *ops;
    /* Of feeders and trainers, the owner's to set: */
    int wants_room; /* a wait ends, too, when a BROADCAST would be taken */
    int deaf;       /* what is published stays in its queue */
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1]; /* where peers reach this node */
    uint64_t n_dropped;                                      /* messages that queues refused */
    enum hm_dial dial[HM_PEERS_MAX];                         /* of each slot that was dialled */
};

struct hm_env_zmq_options {
    enum hm_env_kind kind;
    uint64_t life;
    /* "HOST:PORT"; port 0 takes any, otherwise PORT + 1 is taken too (the publisher). */
    const char *bind;
    /* "HOST" or "HOST:PORT" as peers are to dial it, NULL: the bound address, and for a wildcard
     * the first address of this host that is not loopback. */
    const char *advertise;
    const struct hm_keys *keys; /* copied; NULL or none in it: traffic in clear */
    int insecure;               /* traffic in clear is fine beyond loopback too */
};

/* Sockets of a node. With keys all traffic is encrypted, and a thread of their own lets peers in
 * that hold the first of them and nobody else. Without, and unless insecure is said, nothing is
 * bound, advertised or dialled but loopback. Errors say what to do (port in use, unknown host). */
enum hm_status hm_env_zmq_open(struct hm_env **env, const struct hm_env_zmq_options *options,
                               struct hm_err *err);

/* HM_EUSAGE: what this flag says would bring traffic in clear beyond this host. */
enum hm_status hm_env_refuse_clear(struct hm_err *err, const char *flag, const char *text);

/* Whether nobody beyond this host is reached by an endpoint. */
int hm_endpoint_is_loopback(const char *endpoint);

/* "HOST:PORT" or "tcp://HOST:PORT" to an endpoint; HM_EUSAGE when it is neither. */
enum hm_status hm_endpoint_parse(const char *text, char *endpoint /* [HM_ENDPOINT_MAX + 1] */,
                                 struct hm_err *err);

#endif
