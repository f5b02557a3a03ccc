/* Another base in place of the one that is there. */
#ifndef HM_SPARSE_INSTALL_H
#define HM_SPARSE_INSTALL_H

#include "sparse/kernels.h"

/* W += (base - B) * grid in place, B := base [weights->n]: what is owed to the mesh, W - B * grid,
 * stays. Workers may add to W meanwhile; the adds are metered as those of kernels->apply are, and
 * added to the same counters. |base - B| <= 4 HM_RANGE, or the float loses bits. */
void hm_weights_install(const struct hm_kernels *kernels, struct hm_weights *weights,
                        const uint32_t *base, uint64_t *n_sampled, uint64_t *n_wiped);

#endif
