/* The SVM in the formats of others: LIBLINEAR's model file, and numpy's .npy. */
#include "models/svm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Weights by source feature number, the bias last: what both formats hold. [n_source + 1], to be
 * freed. */
static double *in_source_order(const struct hm_svm_model *svm, const uint32_t *b, uint64_t steps,
                               uint32_t *n_source)
{
    const struct hm_tensor *v = &svm->layout.tensor[0], *bias = &svm->layout.tensor[1];
    *n_source = 0;
    for (uint32_t i = 0; i < svm->n_features; i++)
        *n_source = svm->order[i] >= *n_source ? svm->order[i] + 1 : *n_source;
    double *w = calloc((size_t)*n_source + 1, sizeof *w);
    double scale = ldexp(1, v->grid_exp) / (svm->lambda * (svm->t0 + (double)steps));
    for (uint32_t i = 0; w && i < svm->n_features; i++)
        w[svm->order[i]] = (int32_t)b[hm_tensor_at(v) + i] * scale;
    if (w)
        w[*n_source] = ldexp((int32_t)b[hm_tensor_at(bias)], bias->grid_exp);
    return w;
}

static void write_liblinear(FILE *file, const double *w, uint32_t n)
{
    fprintf(file,
            "solver_type L2R_L1LOSS_SVC_DUAL\nnr_class 2\nlabel 1 -1\nnr_feature %u\nbias 1\nw\n",
            n);
    for (uint32_t i = 0; i <= n; i++)
        fprintf(file, "%.17g \n", w[i]);
}

/* Version 1.0 of the format: magic, header of a multiple of 64 bytes, then little-endian floats, (n
 * + 1,). */
static void write_npy(FILE *file, const double *w, uint32_t n)
{
    char header[118];
    int used = snprintf(header, sizeof header,
                        "{'descr': '<f8', 'fortran_order': False, 'shape': (%u,), }", n + 1);
    memset(header + used, ' ', sizeof header - (size_t)used);
    header[sizeof header - 1] = '\n';
    fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file);
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
