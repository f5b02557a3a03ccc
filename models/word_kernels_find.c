#include "models/word_kernels.h"

#include "sparse/kernels.h"

#include <string.h>

#if defined(__x86_64__)
extern const struct hm_word_kernels hm_words_sse2, hm_words_avx2, hm_words_avx512;
#define LEAST hm_words_sse2
#elif defined(__aarch64__)
extern const struct hm_word_kernels hm_words_neon;
#define LEAST hm_words_neon
#else
extern const struct hm_word_kernels hm_words_portable;
#define LEAST hm_words_portable
#endif

/* Everything that has no table of its own is served by what the least processor can do. */
const struct hm_word_kernels *hm_word_kernels_find(const char *isa)
{
    const struct hm_kernels *known = hm_kernels_find(isa ? isa : "auto");
    if (!known)
        return NULL;
#if defined(__x86_64__)
    if (strcmp(known->name, "avx512") == 0)
        return &hm_words_avx512;
    if (strcmp(known->name, "avx2") == 0)
        return &hm_words_avx2;
#endif
    return &LEAST;
}
