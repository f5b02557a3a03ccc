/* Inside of the world, shared by node/sim*.c. */
#ifndef HM_NODE_SIM_STATE_H
#define HM_NODE_SIM_STATE_H

#include "node/node_state.h"
#include "node/sim.h"
#include "node/trajectory.h"
#include "protocol/decoded.h"

enum {
    CONNECT_US = 300, /* beside two round trips */
    RECONNECT_MIN_US = 2000,
    RECONNECT_MAX_US = 2000000,
    CHANNELS = 3,
    PATH_BYTES = 4096,
};

enum event_what { EV_TURN, EV_ARRIVAL, EV_CONNECT, EV_WORK, EV_FAULT };

struct event {
    uint64_t at, order;
    struct hm_sim_message *message; /* of ARRIVAL; NULL: news of a subscription */
    enum event_what what;
    uint32_t node, epoch;
    uint32_t which, generation; /* slot, worker, fault */
};

/* What waits to be heard. */
struct letter {
    struct hm_sim_message *message; /* NULL: somebody has subscribed */
};

/* A DEALER and a subscription. */
struct slot {
    uint32_t target, target_epoch, generation;
    uint32_t backoff_us;
    bool used, up;
};

/* One direction between two nodes: from the node that has it. */
struct pair {
    uint64_t free_ns; /* when the line is free again */
    struct hm_rng rng;
    uint32_t position; /* in the latency's trace */
    uint32_t n[CHANNELS];
    uint64_t last_us[CHANNELS];
    bool subscribed;         /* the other one has a connection to this node */
    struct hm_sim_link *own; /* differs from the world's link; NULL: does not */
    struct hm_link_now *now; /* what the fault plan says; NULL: not asked yet */
};

struct sim_node {
    struct hm_env env; /* first: the node's environment is this */
    struct hm_sim *sim;
    uint32_t index, epoch; /* epoch: life, as far as messages on the way are concerned */
    struct hm_node *node;
    bool up, paused, trained, left; /* left: asked to, ahead of the others */
    int64_t clock_us;               /* of its own clock against the world's */
    uint64_t turn_at;               /* 0: none is due */
    uint64_t busy_until, turn_began_ns;
    unsigned flips;
    struct letter *inbox; /* ring */
    uint32_t inbox_at, inbox_n, inbox_room;
    struct hm_sim_message *in_hand; /* heard last */
    uint8_t route[2 * sizeof(uint32_t)];
    struct slot *slot;
    uint32_t n_slots;
    uint32_t *subscriber; /* ascending */
    uint32_t n_subscribers, subscribers_room;
    struct pair *pair; /* [n_max] */
    bool *waiting;     /* [threads] workers that wait for a turn */
    struct hm_trajectory *trajectory;
    uint64_t trajectory_due; /* steps */
};

struct hm_sim {
    struct hm_sim_options options;
    const struct hm_kernels *kernels;
    struct hm_fields config;
    struct hm_layout layout;
    const uint8_t *bulk;
    size_t bulk_n;
    struct hm_delta delta; /* of extracts, one at a time */
    struct hm_decoder *decoder;
    uint32_t n_max, n_up, n_ended;
    struct sim_node *node; /* [n_max] */
    struct hm_sim_dead *dead;
    size_t n_dead;

    uint64_t now_us, order, n_events, hash;
    uint64_t train_us; /* when the first node began to train; 0: not yet */
    struct event *heap;
    size_t n_heap, heap_room;
    struct hm_rng rng;

    uint32_t n_restarts;                      /* that the plan has yet to bring */
    uint64_t score_next_steps, score_next_us; /* us 0: not by time, or not yet */
    struct hm_curve curve;
    bool stopped; /* by a target */
};

/* sim_queue.c: by time, then by order of asking. */
void hm_sim_push(struct hm_sim *sim, struct event event);
struct event hm_sim_pop(struct hm_sim *sim);
void hm_sim_queue_close(struct hm_sim *sim);

/* sim_wire.c: messages and connections. */
extern const struct hm_env_ops hm_sim_env_ops;
struct pair *hm_sim_pair(struct hm_sim *sim, uint32_t from, uint32_t to);
void hm_sim_arrive(struct hm_sim *sim, const struct event *event);
void hm_sim_connect(struct hm_sim *sim, const struct event *event);
void hm_sim_hang_up(struct sim_node *node); /* both ways: its connections and those to it */
void hm_sim_empty_inbox(struct sim_node *node);
void hm_sim_drop(struct hm_sim_message *message);

/* sim.c */
void *hm_sim_must(void *memory); /* there is no world without memory */
void hm_sim_wake(struct sim_node *node, uint64_t at_us);
void hm_sim_happen(struct hm_sim *sim, const struct hm_sim_happening *happening);
uint64_t hm_sim_reckon_ns(const struct hm_driver_work *work);
uint64_t
hm_sim_acting_us(const struct sim_node *node); /* now, and what its turn has taken so far */

/* sim_faults.c */
void hm_sim_plan(struct hm_sim *sim); /* training has begun: the plan's clock runs */
void hm_sim_fault(struct hm_sim *sim, uint32_t which);

#endif
