/* The part of the combination rules (sparse/combine.h) that needs memory: what a node keeps of the
 * deltas that it has published or received. The driver's.
 *
 * hold: the amplified part of an own delta stays in W after the delta was published, for as long as
 * it takes to reach the others, and until the next gradient has read W: so long this node alone has
 * walked, and its own amplified walk stands in for the others'. With h, own deltas on hold,
 *
 *     W = B + L u + (L - 1) h,    q = round((W - B - (L - 1) h) / L)    in grid units
 *
 * and when its time is over a delta leaves: W -= (L - 1) q.
 *
 * saturate: node/saturator.h.
 *
 * lookahead: V is the sum over the peers of the last delta of each. Workers take gradients at
 * W + c V, where the peers' momentum will have taken them by the time the step arrives:
 * c = m (1 - m^T) / (1 - m), with momentum m and T = (delay + step) / step.
 */
#ifndef HM_NODE_COMBINER_H
#define HM_NODE_COMBINER_H

#include "node/saturator.h"
#include "sparse/kernels.h"

#include <stdbool.h>

enum {
    HM_HELD_MAX = 32,  /* deltas; the oldest leaves early when there are more */
    HM_AHEAD_MAX = 64, /* peers whose last delta is kept */
};

struct hm_combiner {
    enum hm_rule rule;
    struct hm_weights *weights; /* the node's */
    struct hm_dirty dirty;      /* its blocks, where the model marks them; no marks: all are */
    uint64_t most; /* numbers that a flush publishes, the last one excepted (node/top.h); 0: all */
    struct {
        struct hm_weights
            walk;     /* W without what is on hold, B the node's: what is extracted from */
        int32_t *sum; /* [n] of the deltas below, in grid units */
        struct held {
            struct hm_delta delta;
            float divisor;
            uint64_t due_us, claimed; /* examples handed out when it was published */
        } ring[HM_HELD_MAX];
        unsigned first, n;
    } hold;
    struct hm_saturator saturator;
    struct {
        hm_cell *v; /* [n] in weights' units; workers read it */
        struct last {
            uint64_t from;
            struct hm_delta delta;
        } last[HM_AHEAD_MAX];
        unsigned n;
    } ahead;
};

/* marks: steps mark the blocks that they add to. What is on hold, however, is all over W. */
enum hm_status hm_combiner_open(struct hm_combiner *combiner, enum hm_rule rule, bool marks,
                                struct hm_weights *weights, struct hm_err *err);

/* What the saturating sum needs besides; after open. */
enum hm_status hm_combiner_open_saturator(struct hm_combiner *combiner,
                                          const struct hm_model *model, const char *isa,
                                          struct hm_err *err);
void hm_combiner_close(struct hm_combiner *combiner);

/* Bytes that it takes at the most, for a model of n weights and so many peers. */
uint64_t hm_combiner_bytes(enum hm_rule rule, uint64_t n, unsigned peers);

/* As hm_kernels.extract of all blocks that may have something, but what is on hold stays so. The
 * delta is held until due_us, and until more than `claimed` examples have been handed out. `final`:
 * of all blocks, and nothing is held any more. Returns the blocks that it went through. */
uint32_t hm_combiner_extract(struct hm_combiner *combiner, const struct hm_kernels *kernels,
                             const struct hm_publish *publish, bool final, uint64_t due_us,
                             uint64_t claimed, struct hm_delta *delta,
                             struct hm_extract_stats *stats);

/* A delta of `from` has been applied. */
void hm_combiner_note(struct hm_combiner *combiner, uint64_t from, const struct hm_delta *delta);

/* Lets go of what has been held long enough; of everything. */
void hm_combiner_release(struct hm_combiner *combiner, uint64_t now_us, uint64_t claimed);
void hm_combiner_release_all(struct hm_combiner *combiner);

/* W has been set to B: nothing is on hold in it. */
void hm_combiner_forget(struct hm_combiner *combiner);

/* When the next one is due; UINT64_MAX: none. */
uint64_t hm_combiner_due_us(const struct hm_combiner *combiner);

/* c, for a delay and a step in microseconds. */
float hm_combiner_reach(float momentum, double delay_us, double step_us);

#endif
