/* What every workload agrees on with its mesh: how long to train, batches, seed, combination.
 * Fields "workload", "epochs", "steps", "seconds", "budget", "rows", "batch", "seed", "combine",
 * "amplify", and "staleness_bound", "initial" and "coarser" where there are any.
 */
#ifndef HM_MODELS_PLAN_H
#define HM_MODELS_PLAN_H

#include "models/model.h"

/* Of these fields, those that explicit options fix. */
void hm_plan_insist(const char *workload, const struct hm_train_options *options,
                    struct hm_fields *fields);

/* Sets all of them, for a training set of n examples; returns the budget in examples, 0: only time
 * ends the run. */
uint64_t hm_plan_found(const char *workload, const struct hm_train_options *options, uint64_t n,
                       double epochs_default, unsigned batch, struct hm_fields *config);

/* As hm_model_ops.extend. */
enum hm_status hm_plan_extend(const struct hm_train_options *options, struct hm_fields *config,
                              struct hm_err *err);

/* Takes them from a configuration into the model: budget, seconds, batch (up to batch_max), the
 * rule. Refuses another workload, and fields that are neither these nor among own[n_own]: what this
 * program does not know it cannot do as the others do. */
enum hm_status hm_plan_adopt(const char *workload, const struct hm_fields *config,
                             const char *const *own, size_t n_own, unsigned batch_max,
                             struct hm_model *model, uint64_t *seed, struct hm_err *err);

#endif
