#include "tools/vectors.h"

#include "models/vocab.h"
#include "node/node.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A model's first tensor has a row for each word of the vocabulary that is its bulk data; its first
 * `dim` columns are the vector. */
static enum hm_status take_rows(struct hm_vectors *vectors, const struct hm_model_file *file,
                                const struct hm_vocab *vocab, uint32_t dim, struct hm_err *err)
{
    const struct hm_tensor *tensor = &file->layout.tensor[0];
    float *value = malloc(dim * sizeof *value);
    enum hm_status status = value ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    hm_vectors_init(vectors, dim);
    for (uint32_t i = 0; i < vocab->n && !status; i++) {
        const uint32_t *row = file->b + hm_tensor_at(tensor) + (size_t)i * tensor->stride;
        for (uint32_t k = 0; k < dim; k++)
            value[k] = (float)ldexp((int32_t)row[k], tensor->grid_exp);
        status =
            hm_vectors_add(vectors, hm_vocab_word(vocab, i), hm_vocab_length(vocab, i), value, err);
    }
    free(value);
    return status;
}

static enum hm_status of_model(struct hm_vectors *vectors, const char *path, struct hm_err *err)
{
    struct hm_model_file file;
    struct hm_vocab vocab = {0};
    double dim;
    enum hm_status status = hm_model_file_open(&file, path, err);
    const char *workload = status ? NULL : hm_fields_get(&file.config, "workload");
    if (!status && (!workload || strcmp(workload, "word2vec") != 0))
        status = hm_fail(err, HM_EINPUT, "%s: a model of %s has no word vectors", path,
                         workload ? workload : "another workload");
    if (!status)
        status = hm_fields_number(&file.config, "dim", 1, HM_VECTOR_MAX, &dim, err);
    if (!status)
        status = hm_vocab_unpack(&vocab, file.bulk, file.bulk_n, err);
    if (!status && (!file.layout.n_tensors || file.layout.tensor[0].rows != vocab.n ||
                    file.layout.tensor[0].cols < dim))
        status =
            hm_fail(err, HM_ECORRUPT, "%s: the vocabulary does not belong to the weights", path);
    if (!status)
        status = take_rows(vectors, &file, &vocab, (uint32_t)dim, err);
    hm_vocab_close(&vocab);
    hm_model_file_close(&file);
    return status;
}

static int is_model(const char *path)
{
    char first[20] = "";
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(first, 1, sizeof first - 1, file) : 0;
    if (file)
        fclose(file);
    first[n] = 0;
    return strncmp(first, "hogmesh model ", 14) == 0 ||
           strncmp(first, "hogmesh checkpoint ", 19) == 0;
}

enum hm_status vectors_load(struct hm_vectors *vectors, const char *path,
                            const struct hm_progress *progress, struct hm_err *err)
{
    char inside[4096];
    struct stat st;
    *vectors = (struct hm_vectors){0};
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        if ((size_t)snprintf(inside, sizeof inside, "%s/model.hm", path) >= sizeof inside)
            return hm_fail(err, HM_EUSAGE, "%.40s...: the path is too long", path);
        path = inside;
    }
    return is_model(path) || path == inside ? of_model(vectors, path, err)
                                            : hm_vectors_read(vectors, path, progress, err);
}
