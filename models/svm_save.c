/* The SVM in the formats of others: LIBLINEAR's model file, and numpy's .npy. */
#include "models/npy.h"
#include "models/svm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

/* Features that the source has numbers for. */
static uint32_t n_source_of(const struct hm_svm_model *svm)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < svm->n_features; i++)
        n = svm->order[i] >= n ? svm->order[i] + 1 : n;
    return n;
}

static double bias_of(const struct hm_svm_model *svm, const uint32_t *b)
{
    const struct hm_tensor *bias = &svm->layout.tensor[1];
    return ldexp((int32_t)b[hm_tensor_at(bias)], bias->grid_exp);
}

/* Weights by source feature number, the bias last: what both formats hold. [n_source + 1], to be
 * freed. */
static double *in_source_order(const struct hm_svm_model *svm, const uint32_t *b, uint64_t steps,
                               uint32_t *n_source)
{
    const uint32_t *v = b + hm_tensor_at(&svm->layout.tensor[0]);
    *n_source = n_source_of(svm);
    double *w = calloc((size_t)*n_source + 1, sizeof *w), scale = hm_svm_unit(svm, steps);
    for (uint32_t i = 0; w && i < svm->n_features; i++)
        w[svm->order[i]] = (int32_t)v[i] * scale;
    if (w)
        w[*n_source] = bias_of(svm, b);
    return w;
}

void hm_svm_parts(const struct hm_model *model, struct hm_parts *parts)
{
    uint32_t n = n_source_of(of(model)), one = 1;
    *parts = (struct hm_parts){0};
    hm_parts_add(parts, "w", 1, &n);
    hm_parts_add(parts, "bias", 1, &one);
}

void hm_svm_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out)
{
    const struct hm_svm_model *svm = of(model);
    const uint32_t *v = b + hm_tensor_at(&svm->layout.tensor[0]);
    uint32_t n = n_source_of(svm);
    double scale = hm_svm_unit(svm, steps);
    memset(out, 0, n * sizeof *out);
    for (uint32_t i = 0; i < svm->n_features; i++)
        out[svm->order[i]] = (float)((int32_t)v[i] * scale);
    out[n] = (float)bias_of(svm, b);
}

enum hm_status hm_svm_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err)
{
    const struct hm_svm_model *svm = of(model);
    const struct hm_tensor *bias = &svm->layout.tensor[1];
    uint32_t *v = b + hm_tensor_at(&svm->layout.tensor[0]), n = n_source_of(svm);
    double unit = hm_svm_unit(svm, steps);
    enum hm_status status = HM_OK;
    memset(b, 0, hm_layout_n(&svm->layout) * sizeof *b);
    for (uint32_t i = 0; i < svm->n_features && !status; i++)
        status = hm_parts_units(w[svm->order[i]], unit, svm->order[i], &v[i], err);
    return status ? status
                  : hm_parts_units(w[n], ldexp(1, bias->grid_exp), n, &b[hm_tensor_at(bias)], err);
}

static void write_liblinear(FILE *file, const double *w, uint32_t n)
{
    fprintf(file,
            "solver_type L2R_L1LOSS_SVC_DUAL\nnr_class 2\nlabel 1 -1\nnr_feature %u\nbias 1\nw\n",
            n);
    for (uint32_t i = 0; i <= n; i++)
        fprintf(file, "%.17g \n", w[i]);
}

/* Little-endian floats, (n + 1,). */
static void write_npy(FILE *file, const double *w, uint32_t n)
{
    char header[HM_NPY_HEADER], shape[16];
    snprintf(shape, sizeof shape, "(%u,)", n + 1);
    hm_npy_header("<f8", shape, header);
    fwrite(header, 1, sizeof header, file);
    fwrite(w, sizeof *w, (size_t)n + 1, file);
}

enum hm_status hm_svm_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err)
{
    const struct hm_svm_model *svm = hm_svm_of(model);
    const char *dot = strrchr(path, '.');
    int npy = dot && strcmp(dot, ".npy") == 0;
    if (!npy && (!dot || strcmp(dot, ".model") != 0))
        return hm_fail(err, HM_EUSAGE,
                       "%s: unknown format; svm exports .model (LIBLINEAR) and .npy", path);
    uint32_t n;
    double *w = in_source_order(svm, b, steps, &n);
    char temporary[4096];
    if (!w || (size_t)snprintf(temporary, sizeof temporary, "%s.tmp%d", path, (int)getpid()) >=
                  sizeof temporary) {
        free(w);
        return hm_fail(err, HM_ENOMEM, "%s: no memory or path too long", path);
    }
    FILE *file = fopen(temporary, "wb");
    if (file)
        (npy ? write_npy : write_liblinear)(file, w, n);
    free(w);
    int failed = !file || fflush(file) || ferror(file);
    if (file)
        failed |= fclose(file) != 0;
    if (failed || rename(temporary, path) != 0) {
        int e = errno;
        unlink(temporary);
        return hm_fail(err, HM_EIO, "%s: cannot write: %s", path, strerror(e));
    }
    return HM_OK;
}
