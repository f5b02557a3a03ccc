/* Learning curves: points of what B scores and how long its weights are. */
#ifndef HM_NODE_CURVE_H
#define HM_NODE_CURVE_H

#include "node/node.h"

struct hm_curve {
    struct hm_curve_point *point; /* [n] of room for HM_CURVE_MAX; NULL before the first */
    size_t n;
};

/* Measures B [grid units] with point->steps: fills score and norms. Any thread beside workers. n =
 * 0 in the score when the model has no such set. */
enum hm_status hm_curve_measure(struct hm_model *model, const uint32_t *b, enum hm_set set,
                                struct hm_curve_point *point, struct hm_err *err);

/* Appends a point; where there is no more room the resolution of what is past is halved. Without
 * memory for a curve the point is lost. */
void hm_curve_add(struct hm_curve *curve, const struct hm_curve_point *point);

void hm_curve_fini(struct hm_curve *curve);

#endif
