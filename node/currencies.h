/* What staleness does to gradients that take their time, measured on a sample of them where they
 * are added: in updates that came between, in how far W has moved, and in how far the gradient
 * would point elsewhere now.
 *
 * A gradient is read at W and added later (node/worker_paced.c; of a server, node/sim_server.c).
 * When a sampled one is added, before it is, the same batch's gradient is taken again at W as it is
 * then. Nothing of that reaches W, the optimiser or a random number: what is learned, and in
 * virtual time when, is the same with and without. In real time it costs a second gradient and
 * three passes over the model, in the time of whoever measures.
 *
 * Memory of a gauge: three copies of W, and a thread's scratch, state and gradient. One thread.
 */
#ifndef HM_NODE_CURRENCIES_H
#define HM_NODE_CURRENCIES_H

#include "models/model.h"
#include "protocol/tally.h"

#include <stdbool.h>

/* W is as it lies in memory, which is in the SVM's V form lambda (T0 + t) times the weights: what
 * is relative to its length hardly differs. */
enum hm_currency {
    HM_CURRENCY_UPDATES,  /* batches that others added to this W between the reading and the add */
    HM_CURRENCY_DISTANCE, /* |W at the add - W at the reading|, over all coordinates */
    HM_CURRENCY_RELATIVE, /* the same divided by |W at the add| */
    HM_CURRENCY_TOUCHED,  /* the same over those coordinates where the gradient is not 0 */
    HM_CURRENCY_IN_STEPS, /* distance over all, divided by |rate * gradient| */
    HM_CURRENCY_TURN,     /* 1 - cosine of the gradient with the fresh one, both times their rates;
                             1 where one of the two is 0 */
    HM_CURRENCIES
};

/* What one unit of the tallies is worth. */
extern const double hm_currency_unit[HM_CURRENCIES];

struct hm_currencies {
    uint64_t n;      /* gradients measured */
    uint64_t n_zero; /* of these, zero as they were read and still: they have no direction to
                        compare, and no step that distances could be measured by */
    struct hm_tally tally[HM_CURRENCIES]; /* owned */
};

void hm_currencies_merge(struct hm_currencies *into, const struct hm_currencies *other);
void hm_currencies_fini(struct hm_currencies *currencies);

/* Sums since somebody last took them, for curves. */
struct hm_currency_sums {
    uint64_t n, n_turn;
    double updates, relative, turn;
};

struct hm_gauge; /* of one thread that takes gradients */

/* Measures one of `every` >= 1 gradients on a W of n cells, beginning with number every / 2. */
enum hm_status hm_gauge_open(struct hm_gauge **gauge, const struct hm_model *model, size_t n,
                             uint64_t every, struct hm_err *err);
void hm_gauge_close(struct hm_gauge *gauge); /* NULL is fine */

/* About what one takes. */
uint64_t hm_gauge_bytes(const struct hm_model *model, size_t n);

/* A gradient is read at w; `others` counts the examples that others have added to it so far. NULL
 * as a gauge is fine here and below: nothing is measured. */
void hm_gauge_read(struct hm_gauge *gauge, const hm_cell *w, uint64_t others);

/* It is about to be added: step has W, the batch, its time now and the scale that the gradient is
 * added with; what looks ahead does not (a fresh gradient is one at W itself). */
void hm_gauge_add(struct hm_gauge *gauge, const struct hm_model *model,
                  const struct hm_shard *shard, const struct hm_step *step,
                  const struct hm_grad *stale, uint64_t others);

/* All of it, valid until close; and what has come since the last call, added to *sums. */
const struct hm_currencies *hm_gauge_currencies(const struct hm_gauge *gauge);
void hm_gauge_take(struct hm_gauge *gauge, struct hm_currency_sums *sums);

#endif
