/* Weights from files of other tools, or of a former run, to begin training with.
 *
 *     .npy              all numbers of the model in the order of its exports, or those of its first
 *                       part (word2vec: the vectors, a row for each word)
 *     .safetensors      parts by name, float32
 *     what `import` of the workload reads: LIBLINEAR's model (svm), word2vec's formats (word2vec)
 *
 * The file is told by what is in it, and part of what a mesh agrees on: field "initial" has its
 * hash.
 */
#ifndef HM_MODELS_IMPORT_H
#define HM_MODELS_IMPORT_H

#include "models/model.h"

/* The name of the file that options say, if they say one: fills options->init_hash. For open. */
enum hm_status hm_import_name(struct hm_train_options *options, struct hm_err *err);

/* First weights of a model that has adopted a configuration: B0 into weights->b, drawn as the
 * workload does, and then, where the configuration says so, from the file. HM_EREFUSED when it is
 * not named here or another one; HM_EINPUT, naming it, for what does not fit the model. `say` hears
 * what of it is left out, or of the model is not in it, or is NULL. */
enum hm_status hm_import_begin(const struct hm_model *model, const struct hm_train_options *options,
                               struct hm_weights *weights,
                               void (*say)(void *context, const char *text), void *context,
                               struct hm_err *err);

#endif
