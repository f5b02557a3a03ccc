/* Synchronous rounds: with a staleness bound of 0 every node takes each of its gradients at the
 * base of its round, which is the same on all nodes to the bit.
 *
 * That base is B without what belongs to later rounds: a peer that has heard everybody sooner may
 * have published its next delta while another's last one is still on its way to us. Such early
 * deltas are applied like any other, and kept apart here until this node has published its own of
 * that round.
 *
 * A node's own step goes to weights of its own, which begin each round with that base and what
 * quantisation has kept back so far; deltas are extracted from them. In W it would be rounded
 * differently according to what has come from others by then. So what is learned depends on nothing
 * but the data, and W is B as floats.
 *
 * Behind the last round there is one more base, for who looks at it. What nodes owed is published
 * by then, sooner by some than by others: it is early, this node's as well, and its own weights do
 * not begin again.
 *
 * The driver's, but for w and own.w, which a worker uses once a round has been opened.
 */
#ifndef HM_NODE_ROUNDS_H
#define HM_NODE_ROUNDS_H

#include "models/model.h"

#include <stdbool.h>

struct hm_rounds {
    struct hm_weights *weights; /* the node's; NULL: there are no rounds */
    uint32_t *base;             /* [n] of the round: gradients are taken there */
    hm_cell *w;                 /* [n] the same as floats */
    struct hm_weights own; /* b: the base and what is published; w: own steps, and what is owed */
    int32_t *early;        /* [n] sum of early deltas, in grid units */
    uint64_t early_steps;
    uint64_t steps, own_steps; /* mesh-wide, and this node's, in the base */
    bool open, any_early, over;
    bool based; /* the base is one that B has gone on from */
};

/* The first base is what weights hold now, without any steps. */
enum hm_status hm_rounds_init(struct hm_rounds *rounds, struct hm_weights *weights,
                              struct hm_err *err);
void hm_rounds_fini(struct hm_rounds *rounds);

/* Bytes that they take for a model of n weights. */
uint64_t hm_rounds_bytes(uint64_t n);

/* An early delta of so many steps has been added to B. */
void hm_rounds_keep(struct hm_rounds *rounds, const struct hm_delta *delta, uint64_t steps);

/* Own work has been published: the round is over, and what was early belongs to the next one. */
void hm_rounds_close(struct hm_rounds *rounds);

/* No gradient will be taken any more. */
void hm_rounds_end(struct hm_rounds *rounds);

/* B is another one. */
void hm_rounds_forget(struct hm_rounds *rounds);

/* Everybody's delta of the round before is here: sets the base; B has so many mesh-wide steps,
 * of these so many own ones. False: it is open already. */
bool hm_rounds_open(struct hm_rounds *rounds, uint64_t steps, uint64_t own_steps);

/* What W is beyond B, as when a former life owed something, becomes own. */
void hm_rounds_take(struct hm_rounds *rounds);

/* W := B and what is owed, for a checkpoint; hm_weights_settle takes it out again. */
void hm_rounds_show(struct hm_rounds *rounds);

#endif
