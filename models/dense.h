/* Steps on a model of which every weight moves: gradients to changes of W, one table for each
 * instruction set.
 *
 *     g' = clip g + decay w                                 w as it is
 *     g' += lambda g'^2 (w - w_read)                        delay compensation, where asked for
 *     v = momentum v + g'
 *     w -= rate v              or, Nesterov's,  w -= rate (g' + momentum v)
 *
 * Delay compensation: Zheng and others, Asynchronous Stochastic Gradient Descent with Delay
 * Compensation, arXiv 1609.08326; w_read is the W that the gradient was taken at. With the adaptive
 * lambda, lambda / sqrt(mean square of g + 1e-7), the mean square being kept as .95 of itself.
 *
 * Velocities and mean squares below HM_DENSE_LEAST are 0: no weight would notice.
 */
#ifndef HM_MODELS_DENSE_H
#define HM_MODELS_DENSE_H

#include "sparse/cell.h"

#include <stddef.h>

#define HM_DENSE_LEAST 1e-30f

struct hm_dense_step {
    float rate; /* learning rate, with the combination rule's factor */
    float momentum;
    int nesterov;
    float decay;
    float clip;   /* factor on g; 1: none */
    float lambda; /* of delay compensation; 0: none */
    int adaptive;
};

struct hm_dense {
    const char *name; /* of the instruction set */

    /* out[i] = w[i], each read once. */
    void (*read)(const hm_cell *w, float *out, size_t n);

    /* out[i] += reach * v[i]. */
    void (*read_ahead)(const hm_cell *v, float reach, float *out, size_t n);

    /* The sum of g's squares, in a fixed order. */
    double (*square_sum)(const float *g, size_t n);

    /* One step. n is a multiple of 64. velocity [n] may be NULL when momentum is 0, read [n] when
     * lambda is 0, mean_square [n] when it is not adaptive. W is added to in place. Floats repeat
     * from run to run on one instruction set. */
    void (*step)(const struct hm_dense_step *step, const float *g, const float *read, hm_cell *w,
                 float *velocity, float *mean_square, size_t n);
};

/* The table for `isa` as hm_kernels_find takes it; NULL when this processor or build has none. */
const struct hm_dense *hm_dense_find(const char *isa);

#endif
