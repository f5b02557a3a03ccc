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
 * The driver's, but for w and own.w, which a worker uses once a round has been opened.
 */
#ifndef HM_NODE_ROUNDS_H
#define HM_NODE_ROUNDS_H

#include "models/model.h"

#include <stdbool.h>

struct hm_rounds {
    struct hm_weights *weights; /* the node's; NULL: there are no rounds */
    struct hm_weights own;      /* b: the base of the round; w: with own steps and what is owed */
    hm_cell *w;                 /* [n] that base as floats: gradients are taken at it */
    int32_t *early;             /* [n] sum of early deltas, in grid units */
    uint64_t early_steps;
    bool open, any_early;
};

enum hm_status hm_rounds_init(struct hm_rounds *rounds, struct hm_weights *weights,
                              struct hm_err *err);
void hm_rounds_fini(struct hm_rounds *rounds);

/* Bytes that they take for a model of n weights. */
uint64_t hm_rounds_bytes(uint64_t n);

/* An early delta of so many steps has been applied. */
void hm_rounds_keep(struct hm_rounds *rounds, const struct hm_delta *delta, uint64_t steps);

/* Own work has been published: the round is over, and what was early belongs to the next one. Also
 * after B has been replaced. */
void hm_rounds_close(struct hm_rounds *rounds);

/* Everybody's delta of the round before is here: sets the base. False: it is open already. */
bool hm_rounds_open(struct hm_rounds *rounds);

/* What W is beyond B, as when a former life owed something, becomes own. */
void hm_rounds_take(struct hm_rounds *rounds);

/* W := B and what is owed, for a checkpoint; hm_weights_settle takes it out again. */
void hm_rounds_show(struct hm_rounds *rounds);

#endif
