/* What both ends of feeding share: a letter to send. */
#ifndef HM_NODE_FEED_SIDES_H
#define HM_NODE_FEED_SIDES_H

#include "node/env.h"
#include "protocol/blob.h"

/* Seconds of silence after which the other end counts as gone; beats come four times a second. */
enum { HM_FEED_BEAT_US = 250000, HM_FEED_GONE_US = 5000000 };

/* Sends a header and a payload (NULL: none; the caller's). Returns 1 when a queue took it. */
static inline int hm_feed_send(struct hm_env *env, struct hm_action *action,
                               const struct hm_header *header, struct hm_blob *payload)
{
    const uint64_t dropped = env->n_dropped;
    action->header_n = hm_wire_encode(header, action->header);
    action->payload = payload;
    env->ops->carry_out(env, action);
    return env->n_dropped == dropped;
}

#endif
