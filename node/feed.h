/* A trainer's end of feeding: it asks feeders for what their data is, and a thread takes the
 * batches that they push into a buffer, from which workers take them.
 *
 * The thread owns the sockets. It reads no batch as long as there is no room for it: then the
 * queues fill, its own and the feeder's for it, and the feeder gives the next batch to somebody
 * else, or waits.
 */
#ifndef HM_NODE_FEED_H
#define HM_NODE_FEED_H

#include "models/feed.h"
#include "node/env.h"
#include "node/feed_buffer.h"

enum { HM_FEEDS_MAX = 16 };

struct hm_feed;

struct hm_feed_options {
    const char *feeder[HM_FEEDS_MAX]; /* "HOST:PORT"; borrowed */
    unsigned n_feeders;
    const char *workload;
    const char *label; /* this node's; borrowed, as what follows */
    const char *key;   /* as in hm_node_options */
    int insecure;
    uint64_t life;
    double timeout; /* seconds that feeders may take to answer */
    unsigned threads;
    const struct hm_progress *progress;
};

/* How it went. */
struct hm_feed_report {
    unsigned n_feeders;                /* 0: the node was not fed */
    uint64_t batches, examples, bytes; /* received; trained on are those but the lost */
    uint64_t lost;                     /* batches that came, and were not trained on to the end */
    uint64_t refused;                  /* malformed, or of another feeder than was asked for */
    uint64_t waits;                    /* times that a thread found no batch */
    uint64_t gone;                     /* times that a feeder was gone */
    double waited;                     /* seconds without any batch, from the first one on */
    uint64_t buffer_bytes;             /* memory of the buffer */
};

/* Asks all feeders, until they have answered or the time-out. HM_ETIMEOUT: one has not;
 * HM_EREFUSED: they feed something else, or different things, or no key fits; HM_ESTOPPED. Blocks.
 */
enum hm_status hm_feed_open(struct hm_feed **feed, const struct hm_feed_options *options,
                            struct hm_err *err);

/* What they said, for the model; valid until close. */
const struct hm_fed *hm_feed_told(const struct hm_feed *feed);

/* Has batches come, for this model, which has adopted. `came` is called, from the thread, after
 * each batch and when the feeders have ended; `context` goes with it. */
enum hm_status hm_feed_start(struct hm_feed *feed, const struct hm_model *model,
                             void (*came)(void *context), void *context, struct hm_err *err);

/* Memory that it takes, started: the buffer, what was told, and what queues hold. */
uint64_t hm_feed_bytes(const struct hm_feed *feed);

/* Workers: the next batch, to be given back when it has been trained on; NULL: none now. *waits is
 * the worker's own, 0 at first. */
struct hm_feed_slot *hm_feed_take(struct hm_feed *feed, int *waits);
void hm_feed_give_back(struct hm_feed *feed, struct hm_feed_slot *slot);

/* All feeders have said that everything is delivered. Any thread. */
int hm_feed_has_ended(const struct hm_feed *feed);

/* The next line for the log, if there is one: returns 1. Any one thread. */
int hm_feed_note(struct hm_feed *feed, enum hm_note_level *level, char text[HM_NOTE_MAX + 1]);

/* Says goodbye, and ends the thread. */
void hm_feed_stop(struct hm_feed *feed);

/* After stop, and when workers have ended. */
struct hm_feed_report hm_feed_report(const struct hm_feed *feed);

void hm_feed_close(struct hm_feed *feed); /* NULL is fine */

#endif
