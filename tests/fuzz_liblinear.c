/* Models of LIBLINEAR, plain or compressed, for an SVM whose data has six features. */
#include "models/svm.h"
#include "tests/fuzzing.h"

#include <math.h>

enum { FEATURES = 6 };

static void hear(void *context, const char *text)
{
    unsigned *n_said = context;
    assert(strstr(text, "left out"));
    ++*n_said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint32_t order[FEATURES] = {5, 0, 3, 1, 4, 2};
    struct hm_svm_model svm = {.base.ops = &hm_svm, .n_features = FEATURES, .order = order};
    float w[FEATURES + 1];
    unsigned n_said = 0;
    struct hm_err err = {""};
    for (unsigned i = 0; i <= FEATURES; i++)
        w[i] = NAN; /* where nothing is put, it shows */
    enum hm_status status =
        hm_svm_import(&svm.base, fuzz_file(0, data, size), w, hear, &n_said, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO && n_said <= !status);
    for (unsigned i = 0; i <= FEATURES && !status; i++)
        assert(isfinite(w[i]));
    return 0;
}
