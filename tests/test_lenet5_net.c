/* LeNet5's kernels: the gradient is the loss' derivative, the same on every instruction set as far
 * as floats go, and to the bit where it is asked for twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lenet5_check.h"

static struct lenet5_scene *scene[2]; /* of 1 and of 3 channels */

static int setup(void **state)
{
    (void)state;
    scene[0] = lenet5_scene(1);
    scene[1] = lenet5_scene(3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(scene[0]);
    free(scene[1]);
    return 0;
}

static float *floats(void)
{
    float *g = malloc(sizeof scene[0]->w);
    assert_non_null(g);
    return g;
}

static void test_scene_is_trained(void **state)
{
    (void)state;
    for (int c = 0; c < 2; c++) {
        float *g = floats();
        double loss = lenet5_grad(hm_lenet5_kernels_at(0, scene[c]->channels), scene[c], 0,
                                  LENET5_IMAGES, 0, g);
        free(g);
        if (!(loss / LENET5_IMAGES < 1.5))
            fail_msg("loss %g", loss / LENET5_IMAGES);
    }
}

static void check_against_ref(const unsigned *size, size_t n_sizes, float dropout)
{
    const char *worst = "";
    for (int c = 0; c < 2; c++)
        for (unsigned k = 0; hm_lenet5_kernels_at(k, scene[c]->channels); k++)
            for (size_t i = 0; i < n_sizes; i++) {
                const struct hm_lenet5_kernels *kernels =
                    hm_lenet5_kernels_at(k, scene[c]->channels);
                double error =
                    lenet5_error(scene[c], kernels, (unsigned)i * 7, size[i], dropout, &worst);
                if (!(error <= LENET5_TOLERANCE))
                    fail_msg("%s, %u channels, batch of %u: %s is off by %g", kernels->name,
                             scene[c]->channels, size[i], worst, error);
            }
}

static void test_every_table_agrees_with_ref(void **state)
{
    (void)state;
    static const unsigned size[] = {1, 2, 3, 4, 5, 31, 32, 33, 67};
    check_against_ref(size, sizeof size / sizeof size[0], 0);
}

static void test_dropout_agrees_with_ref(void **state)
{
    (void)state;
    static const unsigned size[] = {1, 35};
    check_against_ref(size, 2, .4f);
}

/* On weights as they are at the start, nearly equal elements of a window may be told apart in
 * another way; the gradient is then that of another, equally good, choice. */
static void test_untrained_weights_agree_nearly(void **state)
{
    (void)state;
    const char *worst = "";
    struct lenet5_scene *fresh = malloc(sizeof *fresh);
    assert_non_null(fresh);
    memcpy(fresh, scene[0], sizeof *fresh);
    for (unsigned i = 0; i < LENET5_IMAGES; i++)
        fresh->image[i] = fresh->pixel[i];
    lenet5_init(fresh, 11);
    for (unsigned k = 0; hm_lenet5_kernels_at(k, 1); k++)
        assert_true(lenet5_error(fresh, hm_lenet5_kernels_at(k, 1), 0, 32, 0, &worst) < 1e-2);
    free(fresh);
}

/* Half the difference of the losses at w + step and w - step, and what the gradient says of it. */
static void test_gradient_is_the_derivative(void **state)
{
    (void)state;
    const unsigned n = 6;
    for (int c = 0; c < 2; c++) {
        unsigned channels = scene[c]->channels;
        const struct hm_lenet5_kernels *ref = hm_lenet5_kernels_find("ref", channels);
        float *g = floats(), *waste = floats(), *w = scene[c]->w;
        lenet5_grad(ref, scene[c], 0, n, .3f, g);
        for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
            struct hm_lenet5_tensor tensor = hm_lenet5_tensor(channels, t);
            struct hm_rng rng = hm_rng_seed(t, 3);
            float *kept = floats();
            double expected = 0, at[2];
            memcpy(kept, w, sizeof scene[c]->w);
            for (int side = 0; side < 2; side++) {
                rng = hm_rng_seed(t, 3);
                for (uint32_t i = 0; i < tensor.n; i++) {
                    size_t place = hm_lenet5_place(channels, t, i);
                    float step = (float)(2e-6 * (hm_rng_unit(&rng) - .5));
                    w[place] = kept[place] + (side ? -step : step);
                    expected +=
                        (side ? -1 : 1) * (double)g[place] * (double)(w[place] - kept[place]);
                }
                at[side] = lenet5_grad(ref, scene[c], 0, n, .3f, waste) / n;
            }
            memcpy(w, kept, sizeof scene[c]->w);
            free(kept);
            if (!(fabs(at[0] - at[1] - expected) <= 1e-3 * fabs(expected) + 1e-11))
                fail_msg("%u channels, %s: the loss moves by %g, the gradient says %g", channels,
                         tensor.name, at[0] - at[1], expected);
        }
        free(g);
        free(waste);
    }
}

/* Whatever was computed in a scratch before, and padding is zero. */
static void test_same_bits_twice(void **state)
{
    (void)state;
    for (int c = 0; c < 2; c++)
        for (unsigned k = 0; hm_lenet5_kernels_at(k, scene[c]->channels); k++) {
            const struct hm_lenet5_kernels *kernels = hm_lenet5_kernels_at(k, scene[c]->channels);
            struct hm_lenet5_batch batch = {scene[c]->image, scene[c]->label, 37, 0, 0};
            struct hm_lenet5_batch other = {scene[c]->image + 50, scene[c]->label + 50, 70, .5f, 3};
            void *scratch = lenet5_scratch(kernels);
            float *a = floats(), *b = floats();
            double loss = kernels->grad(scratch, scene[c]->w, &batch, a);
            memset(b, 0xFF, sizeof scene[c]->w);
            kernels->grad(scratch, scene[c]->w, &other, b);
            memset(b, 0xFF, sizeof scene[c]->w);
            assert_true(kernels->grad(scratch, scene[c]->w, &batch, b) == loss);
            assert_memory_equal(a, b, scene[c]->n * sizeof *a);
            for (uint32_t block = 0; block < scene[c]->layout.n_blocks; block++) {
                uint64_t used = hm_layout_block_mask(&scene[c]->layout, block);
                for (unsigned i = 0; i < HM_BLOCK; i++)
                    assert_true((used >> i & 1) || a[block * HM_BLOCK + i] == 0);
            }
            free(a);
            free(b);
            free(scratch);
        }
}

/* Nothing that lies behind the last parameter matters. */
static void test_floats_beyond_do_not_matter(void **state)
{
    (void)state;
    for (unsigned k = 0; hm_lenet5_kernels_at(k, 1); k++) {
        float *a = floats(), *b = floats(), *w = scene[0]->w;
        lenet5_grad(hm_lenet5_kernels_at(k, 1), scene[0], 3, 9, 0, a);
        for (unsigned i = 0; i < HM_LENET5_BEYOND; i++)
            w[scene[0]->n + i] = 1e30f;
        lenet5_grad(hm_lenet5_kernels_at(k, 1), scene[0], 3, 9, 0, b);
        memset(w + scene[0]->n, 0, HM_LENET5_BEYOND * sizeof *w);
        assert_memory_equal(a, b, scene[0]->n * sizeof *a);
        free(a);
        free(b);
    }
}

static void test_logits_agree(void **state)
{
    (void)state;
    enum { N = 45 };
    float truth[N * HM_LENET5_LOGITS], out[N * HM_LENET5_LOGITS];
    for (int c = 0; c < 2; c++) {
        const struct hm_lenet5_kernels *ref = hm_lenet5_kernels_find("ref", scene[c]->channels);
        void *scratch = lenet5_scratch(ref);
        ref->logits(scratch, scene[c]->w, scene[c]->image, N, truth);
        free(scratch);
        for (unsigned k = 0; hm_lenet5_kernels_at(k, scene[c]->channels); k++) {
            const struct hm_lenet5_kernels *kernels = hm_lenet5_kernels_at(k, scene[c]->channels);
            scratch = lenet5_scratch(kernels);
            kernels->logits(scratch, scene[c]->w, scene[c]->image, N, out);
            free(scratch);
            for (unsigned i = 0; i < N; i++)
                for (unsigned z = 0; z < HM_LENET5_CLASSES; z++)
                    assert_true(fabsf(out[i * HM_LENET5_LOGITS + z] -
                                      truth[i * HM_LENET5_LOGITS + z]) < 2e-5f);
        }
    }
}

/* Every parameter has a place of its own, on a weight of the layout. */
static void test_places(void **state)
{
    (void)state;
    static const uint32_t total[] = {61706, 62006};
    for (int c = 0; c < 2; c++) {
        uint32_t n = 0;
        uint8_t *met = calloc(scene[c]->n, 1);
        assert_non_null(met);
        for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
            const struct hm_tensor *tensor = &scene[c]->layout.tensor[t];
            struct hm_lenet5_tensor usual = hm_lenet5_tensor(scene[c]->channels, t);
            assert_int_equal(usual.n, tensor->rows * tensor->cols);
            for (uint32_t i = 0; i < usual.n; i++, n++) {
                size_t at = hm_lenet5_place(scene[c]->channels, t, i);
                assert_true(at >= hm_tensor_at(tensor));
                assert_true(at < hm_tensor_at(tensor) + (size_t)tensor->n_blocks * HM_BLOCK);
                uint64_t used = hm_layout_block_mask(&scene[c]->layout, (uint32_t)(at / HM_BLOCK));
                assert_true(used >> at % HM_BLOCK & 1);
                assert_int_equal(met[at]++, 0);
            }
        }
        assert_int_equal(n, total[c]);
        free(met);
    }
}

static void test_tables_by_name(void **state)
{
    (void)state;
    assert_non_null(hm_lenet5_kernels_find(NULL, 1));
    assert_ptr_equal(hm_lenet5_kernels_find("auto", 3), hm_lenet5_kernels_at(0, 3));
    assert_string_equal(hm_lenet5_kernels_find("ref", 1)->name, "ref");
    assert_null(hm_lenet5_kernels_find("none", 1));
    for (unsigned k = 0; hm_lenet5_kernels_at(k, 3); k++)
        assert_int_equal(hm_lenet5_kernels_at(k, 3)->channels, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scene_is_trained),
        cmocka_unit_test(test_every_table_agrees_with_ref),
        cmocka_unit_test(test_dropout_agrees_with_ref),
        cmocka_unit_test(test_untrained_weights_agree_nearly),
        cmocka_unit_test(test_gradient_is_the_derivative),
        cmocka_unit_test(test_same_bits_twice),
        cmocka_unit_test(test_floats_beyond_do_not_matter),
        cmocka_unit_test(test_logits_agree),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_tables_by_name),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
