/* Synchronous rounds: with a staleness bound of 0 every node takes each of its gradients at the
 * base of its round, which is the same on all nodes to the bit.
 *
 * That base is B without what belongs to later rounds: a peer that has heard everybody sooner may
 * have published its next delta while another's last one is still on its way to us. Such early
 * deltas are applied like any other, and kept apart here until this node has published its own of
 * that round. What quantisation keeps back stays in W and goes out with the next delta.
 *
 * The driver's, but for w, which a worker reads once a round has been opened.
 */
#ifndef HM_NODE_ROUNDS_H
#define HM_NODE_ROUNDS_H

#include "models/model.h"

#include <stdbool.h>

struct hm_rounds {
    const struct hm_weights *weights; /* the node's; NULL: there are no rounds */
    hm_cell *w;                       /* [n] the base of the round that is open */
    int32_t *early;                   /* [n] sum of early deltas, in grid units */
    uint64_t early_steps;
    bool open, any_early;
};

enum hm_status hm_rounds_init(struct hm_rounds *rounds, const struct hm_weights *weights,
                              struct hm_err *err);
void hm_rounds_fini(struct hm_rounds *rounds);

/* An early delta of so many steps has been applied. */
void hm_rounds_keep(struct hm_rounds *rounds, const struct hm_delta *delta, uint64_t steps);

/* Own work has been published: the round is over, and what was early belongs to the next one. Also
 * after B has been replaced. */
void hm_rounds_close(struct hm_rounds *rounds);

/* Everybody's delta of the round before is here: sets w. False: it is open already. */
bool hm_rounds_open(struct hm_rounds *rounds);

#endif
