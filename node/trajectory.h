/* The path of a replica through the space of weights, for looking at the loss around it: its B at
 * growing numbers of mesh-wide steps, as weights, in two files.
 *
 *     PATH.npy     float32 [points][numbers], for numpy.load: each row the parts of the model
 *                  (models/parts.h) one after the other, as its export has them
 *     PATH.jsonl   first {"label","workload","numbers","parts":[{"name","shape","at","n"},...]},
 *                  then for each row {"point","label","seconds","steps","own_steps","final"}
 *
 * Rows are written as they come, in memory for one, and the header of the array says how many there
 * are when they are: whatever ends the process, the array loads, and has every row that the index
 * has.
 */
#ifndef HM_NODE_TRAJECTORY_H
#define HM_NODE_TRAJECTORY_H

#include "node/node.h"

#include <stdbool.h>

struct hm_trajectory;

/* Makes both files anew; or, when it goes on and they are there, appends to them: files of other
 * weights are refused (HM_EINPUT). The model, adopted, stays borrowed. Label and path ("DIR/NAME",
 * without extension) are copied. */
enum hm_status hm_trajectory_open(struct hm_trajectory **trajectory, const struct hm_model *model,
                                  const char *label, const char *path, bool goes_on,
                                  struct hm_err *err);

/* Appends B [grid units, by the model's layout], which stands at `point`, of which label, score and
 * norms are not looked at. `final`: the model that the run has ended with. On failure the files are
 * left with the points before, and nothing more is written: the first error is kept, and returned
 * each time. One thread at a time. */
enum hm_status hm_trajectory_add(struct hm_trajectory *trajectory, const uint32_t *b,
                                 const struct hm_curve_point *point, bool final,
                                 struct hm_err *err);

uint64_t hm_trajectory_points(const struct hm_trajectory *trajectory); /* in the files */

/* Bytes of memory for a model. */
size_t hm_trajectory_bytes(const struct hm_model *model);

void hm_trajectory_close(struct hm_trajectory *trajectory); /* NULL is fine */

#endif
