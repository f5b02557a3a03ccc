/* Inside of a replica (hogmesh.h), shared by node/replica*.c. */
#ifndef HM_NODE_REPLICA_H
#define HM_NODE_REPLICA_H

#include "models/custom.h"
#include "node/node.h"

#include "node/hogmesh.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { HM_REPLICA_TEXTS_MAX = 96 };

struct hm_replica {
    char *ours; /* a page of its own: 1, and 0 in a process that has been forked from this one */
    struct hm_node_options options;
    struct hm_custom custom;
    int grid_exp;                     /* of tensors to come */
    char *text[HM_REPLICA_TEXTS_MAX]; /* that options borrow; peers, and one an option */
    unsigned n_texts;
    void (*log)(void *context, int level, const char *text);
    void *log_context;

    struct hm_node *node;               /* from open on */
    char endpoint[HM_ENDPOINT_MAX + 1]; /* the same */
    pthread_t thread;                   /* runs the node, from the first start on: */
    bool started, joined;
    _Atomic(float *) w; /* NULL until training begins; written by the thread */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t moved;
    bool training, over;
    struct hm_replica_status status;
    enum hm_status ended; /* once it is over */
    struct hm_err err;
};

/* replica_options.c: as hm_replica_set, of a replica that is not open yet. */
enum hm_status hm_replica_option(struct hm_replica *replica, const char *name, const char *value,
                                 struct hm_err *err);

#endif
