/* Batches between the thread that receives them and the workers that train on them: a fixed number
 * of slots, each free, filled, or with a worker. First come, first served. */
#ifndef HM_NODE_FEED_BUFFER_H
#define HM_NODE_FEED_BUFFER_H

#include "models/model.h"

#include <pthread.h>

enum { HM_FEED_SLOTS_MAX = 1024 };

struct hm_feed_slot {
    struct hm_shard shard; /* the examples; they lie in memory */
    void *memory;          /* [slot_bytes] */
    unsigned feeder;       /* whose they are */
    uint64_t life;         /* and of which life of it */
    struct hm_feed_slot *next;
};

struct hm_feed_buffer {
    pthread_mutex_t mutex; /* of all that follows */
    struct hm_feed_slot *slot, *free, *first, *last;
    unsigned n, n_free, n_filled;
    void *memory;
};

/* Memory for n slots (n <= HM_FEED_SLOTS_MAX) of slot_bytes, a multiple of 64, each. Close it also
 * after a failure. */
enum hm_status hm_feed_buffer_open(struct hm_feed_buffer *buffer, unsigned n, size_t slot_bytes,
                                   struct hm_err *err);
void hm_feed_buffer_close(struct hm_feed_buffer *buffer);

/* The one thread that fills: a free slot, which stays free until it is pushed; NULL: none. */
struct hm_feed_slot *hm_feed_buffer_room(struct hm_feed_buffer *buffer);
void hm_feed_buffer_push(struct hm_feed_buffer *buffer, struct hm_feed_slot *slot);

/* Any thread: the oldest filled slot, until it is given back; NULL: none. */
struct hm_feed_slot *hm_feed_buffer_take(struct hm_feed_buffer *buffer);
void hm_feed_buffer_give_back(struct hm_feed_buffer *buffer, struct hm_feed_slot *slot);

/* All slots are free: nobody has anything to work on. */
int hm_feed_buffer_is_idle(struct hm_feed_buffer *buffer);

#endif
