/* Publishing only what has moved most: of a flush the k largest steps, while the others stay in W
 * and add up until it is their turn (gradient dropping, Aji and Heafield, arXiv 1704.05021; deep
 * gradient compression, Lin et al., arXiv 1712.01887, who call it local accumulation). Nothing is
 * lost: the last flush of a run publishes all there is.
 *
 * The k-th largest is found by counting in bins a sixteenth of an octave wide, in one pass over W
 * and B. Of the bin that would exceed k nothing goes out, unless it is the largest one of all:
 * where steps are as good as alike there is no choice to make.
 */
#ifndef HM_NODE_TOP_H
#define HM_NODE_TOP_H

#include "sparse/kernels.h"

/* `publish` with the bound that leaves the `most` largest of what it would publish of `weights`; as
 * it is when they are not more, or when most is 0. The driver's thread; workers may add to W
 * meanwhile. */
struct hm_publish hm_top(const struct hm_weights *weights, const struct hm_publish *publish,
                         uint64_t most);

/* How many numbers of a layout, without its padding, that part is: at least 1; 0 for part = 0. */
uint64_t hm_top_of(const struct hm_layout *layout, double part);

#endif
