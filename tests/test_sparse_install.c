/* A base in place of another: B is the new one, and what was owed is still owed. */
#include "sparse/install.h"
#include "sparse/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static uint32_t random_base(struct hm_rng *rng)
{
    return hm_rng_below(rng, 2 * HM_RANGE + 1) - (uint32_t)HM_RANGE;
}

static void test_what_is_owed_stays(void **state)
{
    (void)state;
    const struct hm_kernels *kernels;
    for (unsigned k = 0; (kernels = hm_kernels_at(k)) != NULL; k++) {
        struct hm_layout layout = {0};
        struct hm_weights weights;
        struct hm_rng rng = hm_rng_seed(3, k);
        uint64_t n_sampled = 0, n_wiped = 0;
        assert_int_equal(hm_layout_add(&layout, "a", 37, 64, -5, NULL), HM_OK);
        assert_int_equal(hm_layout_add(&layout, "b", 1, 1, 3, NULL), HM_OK);
        assert_int_equal(hm_weights_init(&weights, &layout, NULL), HM_OK);
        uint32_t *base = calloc(weights.n, sizeof *base);
        size_t b = hm_tensor_at(&layout.tensor[1]);
        for (size_t i = 0; i < b + 1; i++) {
            base[i] = random_base(&rng);
            weights.b[i] = i / HM_BLOCK % 3 ? random_base(&rng) : base[i];
        }
        hm_weights_settle(&weights);
        for (size_t i = 0; i < b + 1; i += 3) /* three units are owed */
            hm_cell_add(&weights.w[i], i < b ? 3 * 0x1p-5f : 3 * 8.0f);
        hm_weights_install(kernels, &weights, base, &n_sampled, &n_wiped);
        assert_memory_equal(weights.b, base, weights.n * sizeof *base);
        for (size_t i = 0; i < b + 1; i++) {
            float grid = i < b ? 0x1p-5f : 8.0f;
            float owed = hm_cell_get(&weights.w[i]) - (float)(int32_t)weights.b[i] * grid;
            assert_true(owed == (i % 3 ? 0 : 3 * grid));
        }
        assert_int_equal(n_wiped, 0);
        free(base);
        hm_weights_fini(&weights);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_owed_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
