/* A feeder: a node without a model, which pushes batches of a dataset to trainers that have none
 * (the mini-batch generator of "Convergence time analysis of Asynchronous Distributed Artificial
 * Neural Networks", CODS-COMAD 2022).
 *
 * Batches go to whoever has room for one, in turn. Where nobody has, the feeder waits: nothing
 * piles up. As in node.h, the library prints nothing; callbacks come from the thread that runs.
 */
#ifndef HM_NODE_FEEDER_H
#define HM_NODE_FEEDER_H

#include "node/node.h"

enum { HM_FEED_TRAINERS_MAX = 256 };

struct hm_feeder_status {
    double seconds;              /* since the first batch; 0: none yet */
    uint64_t batches, under_way; /* sent; not received as yet, as far as is known */
    uint64_t examples, total;    /* sent; of all passes */
    unsigned n_trainers;         /* that are there */
};

struct hm_feeder_options {
    const char *workload;
    struct hm_train_options train;      /* its data; seed; epochs: passes, 0: the workload's; batch:
                                           examples of a message, 0: the workload's */
    char label[HM_LABEL_MAX + 1];       /* empty: host name and process id */
    const char *bind, *advertise, *key; /* as in hm_node_options */
    int insecure;
    struct hm_progress progress;
    void (*log)(void *context, enum hm_note_level level, const char *text);
    void (*bound)(void *context, const char *endpoint);
    void (*status)(void *context, const struct hm_feeder_status *status); /* four times a second */
    void *context;
};

struct hm_feeder_report {
    char label[HM_LABEL_MAX + 1];
    int complete;                      /* all passes were sent */
    uint64_t batches, examples, bytes; /* sent */
    uint64_t received;                 /* batches, of those, as trainers said */
    uint64_t lost; /* sent and not trained on to the end: received by nobody, or by a trainer that
                      was gone or had ended before it was done with them */
    uint64_t most_under_way;       /* batches sent and not known to be received, at the most */
    unsigned trainers, gone;       /* that took batches; of these, that went without a goodbye */
    uint64_t waits;                /* times that nobody had room for the next batch */
    double waited;                 /* seconds of that */
    double load_seconds, seconds;  /* before; from the first batch to the end */
    uint64_t pieces_bytes;         /* of what trainers are told before they train */
    uint64_t refused[HM_REFUSALS]; /* connections, as in hm_node_report */
    char key[HM_FINGERPRINT_DIGITS + 1];
};

struct hm_feeder;

/* Reads the data and listens. Options are copied, strings borrowed until close. */
enum hm_status hm_feeder_open(struct hm_feeder **feeder, const struct hm_feeder_options *options,
                              struct hm_err *err);

/* Feeds until all is delivered, or hm_feeder_stop. Call once. */
enum hm_status hm_feeder_run(struct hm_feeder *feeder, struct hm_err *err);

/* No further batch is begun; what was sent is delivered, and trainers are told that it was all. Any
 * thread, and signal handlers. */
void hm_feeder_stop(struct hm_feeder *feeder);

const struct hm_feeder_report *hm_feeder_report(const struct hm_feeder *feeder);
void hm_feeder_close(struct hm_feeder *feeder); /* NULL is fine */

#endif
