#include "sparse/kernels.h"

#include <string.h>

#if defined(__x86_64__)

extern const struct hm_kernels hm_kernels_sse2, hm_kernels_avx2, hm_kernels_avx512;

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("popcnt");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

#elif defined(__aarch64__)

extern const struct hm_kernels hm_kernels_neon;

#endif

#if !defined(__aarch64__)
extern const struct hm_kernels hm_kernels_portable;
#endif

static int always(void)
{
    return 1;
}

/* Best first. */
static const struct {
    const struct hm_kernels *kernels;
    int (*runs_here)(void);
} tables[] = {
#if defined(__x86_64__)
    {&hm_kernels_avx512, has_avx512}, {&hm_kernels_avx2, has_avx2}, {&hm_kernels_sse2, always},
#endif
#if defined(__aarch64__)
    {&hm_kernels_neon, always},
#else
    {&hm_kernels_portable, always},
#endif
    {&hm_kernels_ref, always},
};

enum { N_TABLES = sizeof tables / sizeof tables[0] };

const struct hm_kernels *hm_kernels_at(unsigned n)
{
    for (unsigned i = 0; i < N_TABLES; i++)
        if (tables[i].runs_here() && n-- == 0)
            return tables[i].kernels;
    return NULL;
}

const struct hm_kernels *hm_kernels_find(const char *name)
{
    if (!strcmp(name, "auto"))
        return hm_kernels_at(0);
    for (unsigned i = 0; i < N_TABLES; i++)
        if (!strcmp(name, tables[i].kernels->name))
            return tables[i].runs_here() ? tables[i].kernels : NULL;
    return NULL;
}
