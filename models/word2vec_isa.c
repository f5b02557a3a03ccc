#include "models/word2vec_kernels.h"

#include "sparse/kernels.h"

#include <string.h>

extern const struct hm_w2v_kernels hm_w2v_ref;
#if defined(__x86_64__)
extern const struct hm_w2v_kernels hm_w2v_sse2, hm_w2v_avx2, hm_w2v_avx512;
#elif defined(__aarch64__)
extern const struct hm_w2v_kernels hm_w2v_neon;
#else
extern const struct hm_w2v_kernels hm_w2v_portable;
#endif

/* By the tables of sparse/, as LeNet5's. */
static const struct {
    const char *isa;
    const struct hm_w2v_kernels *kernels;
} table[] = {
#if defined(__x86_64__)
    {"avx512", &hm_w2v_avx512}, {"avx2", &hm_w2v_avx2},
    {"sse2", &hm_w2v_sse2},     {"portable", &hm_w2v_sse2},
#elif defined(__aarch64__)
    {"neon", &hm_w2v_neon},
#else
    {"portable", &hm_w2v_portable},
#endif
    {"ref", &hm_w2v_ref},
};

const struct hm_w2v_kernels *hm_w2v_kernels_find(const char *isa)
{
    const struct hm_kernels *known = hm_kernels_find(isa ? isa : "auto");
    for (unsigned i = 0; known && i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].isa, known->name) == 0)
            return table[i].kernels;
    return NULL;
}

const struct hm_w2v_kernels *hm_w2v_kernels_at(unsigned n)
{
    const struct hm_kernels *known = hm_kernels_at(n);
    return known ? hm_w2v_kernels_find(known->name) : NULL;
}

/* Everything that any kind of block keeps, each thing in whole lines. */
size_t hm_w2v_scratch_bytes(unsigned padded, unsigned window, unsigned negative, int centred)
{
    const size_t pairs = (size_t)HM_W2V_INPUTS * 2 * window, band = HM_W2V_INPUTS + 2 * window,
                 pitch = padded + 16, cols = negative + HM_W2V_LANES_MAX;
    size_t rows = 4 * band + (centred && cols > HM_W2V_SHARED ? cols : HM_W2V_SHARED);
    size_t floats = rows * pitch + pairs * (2 + HM_W2V_LANES_MAX) + HM_W2V_INPUTS * HM_W2V_SHARED +
                    2 * window * cols + 16 * 16;
    return floats * sizeof(float) / 64 * 64 + 64;
}
