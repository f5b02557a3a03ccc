/* What can be seen of a node and its mesh while it runs: a copy in plain memory, and its JSON.
 *
 * The thread that runs the node takes the copy (hm_node_look, from its status callback); whoever
 * shows it does so elsewhere, with as much time as it takes.
 */
#ifndef HM_NODE_VIEW_H
#define HM_NODE_VIEW_H

#include "node/node.h"

#include <jansson.h>

enum {
    HM_VIEW_PEERS = 128, /* of each, at most: of a larger mesh it shows so many */
    HM_VIEW_LINKS = 128,
    HM_VIEW_BOUNDS = 13, /* buckets of a histogram, without the last, which has no bound */
};

/* Upper bounds of the buckets of staleness, in flushes; those of hm_tally are exact there. */
extern const uint64_t hm_view_bound[HM_VIEW_BOUNDS];

enum hm_peer_state { HM_PEER_LIVE, HM_PEER_SILENT, HM_PEER_GONE, HM_PEER_LEFT, HM_PEER_STATES };

const char *hm_peer_state_name(enum hm_peer_state state);

struct hm_view_peer {
    struct hm_member_info info;
    enum hm_peer_state state;
    uint64_t steps; /* of its stream, as far as applied here */
};

/* What comes from one origin. */
struct hm_view_link {
    uint64_t from;
    char label[HM_LABEL_MAX + 1];
    uint32_t seq;                   /* deltas applied */
    uint64_t n, max;                /* deltas whose staleness was measured; the largest */
    double sum;                     /* of staleness, in flushes */
    double mean_steps;              /* the same in steps of the mesh */
    uint64_t median, p95;           /* in flushes */
    uint64_t below[HM_VIEW_BOUNDS]; /* deltas whose staleness is at most the bound */
};

struct hm_view {
    struct hm_node_status status;
    char label[HM_LABEL_MAX + 1], rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
    const char *workload, *isa;          /* valid as long as the node */
    char key[HM_FINGERPRINT_DIGITS + 1]; /* "": none */
    double time;                         /* Unix, when it was taken */
    uint64_t life, fingerprint;          /* fingerprint 0: no configuration yet */
    unsigned threads, rank, ranks;
    uint64_t published_steps; /* own */
    double limit_seconds;     /* of training, which the mesh agreed on; 0: none */
    double flush_seconds;     /* between own flushes, now */
    int stopping;
    char stop_reason[HM_REASON_MAX + 1];
    struct hm_counters counters;
    uint64_t refused[HM_REFUSALS], n_dropped;
    uint64_t log_bytes, log_budget, memory_bound;
    uint64_t n_checkpoints, n_checkpoint_failures;
    unsigned n_peers, n_links;
    struct hm_view_peer peer[HM_VIEW_PEERS];
    struct hm_view_link link[HM_VIEW_LINKS];
    const struct hm_fields *config; /* of the mesh; NULL before it is known, unchanging after */
};

/* Fills *view. From the callback `status` alone: it reads what belongs to the thread that runs the
 * node. Takes microseconds and allocates nothing. */
void hm_node_look(struct hm_node *node, struct hm_view *view);

/* The same at once as JSON, the payload of STATUS; NULL without memory. From the thread that runs
 * the node. */
struct hm_blob *hm_node_describe(struct hm_node *node);

/* The view as a JSON object, the caller's to free; NULL without memory. Any thread that owns the
 * view. */
json_t *hm_view_json(const struct hm_view *view);

/* What is no number (a loss that diverged, what is not known) is null. */
json_t *hm_json_number(double x);

#endif
