/* What comes from strangers' files and peers' lists of tensors: whatever is cut off or flipped, it
 * is refused with a sentence or read as something that is sound. */
#include "tests/temp_folder.h"

#include "models/custom.h"
#include "models/safetensors.h"
#include "sparse/rng.h"

#include <math.h>

enum { FLIPS = 20000 };

static const uint64_t SEED = 7;

static struct hm_parts parts_of(void)
{
    struct hm_parts parts = {0};
    hm_parts_add(&parts, "a.weight", 2, (uint32_t[]){2, 3});
    hm_parts_add(&parts, "b", 1, (uint32_t[]){2});
    return parts;
}

/* A file as hm_safetensors_write writes it; returns its length. */
static size_t file_of(uint8_t *to, size_t room)
{
    const float w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint32_t dim[2][2] = {{2, 3}, {2, 0}};
    const struct hm_safetensor tensor[2] = {{"a.weight", 2, dim[0], 0, 6}, {"b", 1, dim[1], 6, 2}};
    struct hm_err err;
    const char *path = temp_path("a.safetensors");
    assert_int_equal(hm_safetensors_write(path, tensor, 2, w, &err), HM_OK);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(to, 1, room, file);
    fclose(file);
    assert_true(n < room);
    return n;
}

/* A copy of its own length, so that a sanitizer sees what lies beyond. */
static enum hm_status take(const uint8_t *bytes, size_t n, float *w, struct hm_err *err)
{
    const struct hm_parts parts = parts_of();
    uint8_t *copy = malloc(n + !n);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    err->text[0] = 0;
    enum hm_status status = hm_safetensors_take(copy, n, &parts, w, err);
    assert_int_equal(status != HM_OK, err->text[0] != 0);
    free(copy);
    return status;
}

static void test_safetensors_are_read_back(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    float w[8] = {0};
    struct hm_err err;
    size_t n = file_of(bytes, sizeof bytes);
    assert_int_equal((n - sizeof w) % 8, 0);
    assert_int_equal(take(bytes, n, w, &err), HM_OK);
    for (int i = 0; i < 8; i++)
        assert_true(w[i] == (float)(i + 1));
}

static void test_what_is_cut_off_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    float w[8];
    struct hm_err err;
    size_t n = file_of(bytes, sizeof bytes);
    for (size_t length = 0; length < n; length++)
        assert_int_equal(take(bytes, length, w, &err), HM_EINPUT);
}

static void test_flipped_files_are_refused_or_sound(void **state)
{
    (void)state;
    uint8_t bytes[1024], flipped[1024];
    struct hm_rng rng = hm_rng_seed(SEED, 1);
    size_t n = file_of(bytes, sizeof bytes);
    for (int i = 0; i < FLIPS; i++) {
        float w[8] = {0};
        struct hm_err err;
        memcpy(flipped, bytes, n);
        for (uint32_t k = 1 + hm_rng_below(&rng, 3); k; k--)
            flipped[hm_rng_below(&rng, (uint32_t)n)] ^= (uint8_t)(1 + hm_rng_below(&rng, 255));
        if (take(flipped, n, w, &err) == HM_OK)
            for (int k = 0; k < 8; k++)
                assert_true(isfinite(w[k]));
    }
}

static struct hm_custom custom_of(void)
{
    struct hm_custom custom = {0};
    struct hm_err err;
    assert_int_equal(hm_custom_add(&custom, "a.weight", 2, (uint32_t[]){2, 3}, -16,
                                   (float[]){1, -2, 3, -4, 5, -6}, &err),
                     HM_OK);
    assert_int_equal(hm_custom_add(&custom, "b", 0, NULL, 3, (float[]){-8}, &err), HM_OK);
    return custom;
}

static void test_lists_of_tensors_are_read_back(void **state)
{
    (void)state;
    struct hm_custom custom = custom_of(), back = {0};
    struct hm_err err;
    size_t n;
    int with_first;
    char text[2][HM_CUSTOM_TEXT];
    uint8_t *bytes = hm_custom_pack(&custom, &n);
    assert_int_equal(hm_custom_unpack(&back, bytes, n, &with_first, &err), HM_OK);
    assert_int_equal(with_first, 1);
    hm_custom_describe(&custom, text[0]);
    hm_custom_describe(&back, text[1]);
    assert_string_equal(text[0], text[1]);
    hm_custom_describe_first(&custom, text[0]);
    hm_custom_describe_first(&back, text[1]);
    assert_string_equal(text[0], text[1]);
    free(bytes);
    hm_custom_fini(&custom);
    hm_custom_fini(&back);
}

static void test_flipped_lists_are_refused_or_sound(void **state)
{
    (void)state;
    struct hm_custom custom = custom_of();
    struct hm_rng rng = hm_rng_seed(SEED, 2);
    size_t n;
    uint8_t *bytes = hm_custom_pack(&custom, &n);
    for (int i = 0; i < FLIPS + (int)n; i++) {
        struct hm_custom back = {0};
        struct hm_err err = {""};
        struct hm_layout layout;
        int with_first;
        size_t length = i < (int)n ? (size_t)i : n;
        uint8_t *copy = malloc(length + !length);
        assert_non_null(copy);
        memcpy(copy, bytes, length);
        if (i >= (int)n)
            copy[hm_rng_below(&rng, (uint32_t)n)] ^= (uint8_t)(1 + hm_rng_below(&rng, 255));
        enum hm_status status = hm_custom_unpack(&back, copy, length, &with_first, &err);
        assert_int_equal(status != HM_OK, err.text[0] != 0);
        assert_true(i >= (int)n || status != HM_OK);
        if (!status)
            hm_custom_arrange(&back, &layout, &err);
        hm_custom_fini(&back);
        free(copy);
    }
    free(bytes);
    hm_custom_fini(&custom);
}

static void test_tensors_of_a_grid_lie_together(void **state)
{
    (void)state;
    struct hm_custom custom = {0};
    struct hm_layout layout;
    struct hm_err err;
    static const int grid[4] = {-16, -10, -16, -10};
    static const uint32_t n[4] = {3, 70, 17, 1};
    for (unsigned i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i), 0};
        assert_int_equal(hm_custom_add(&custom, name, 1, &n[i], grid[i], NULL, &err), HM_OK);
    }
    assert_int_equal(hm_custom_arrange(&custom, &layout, &err), HM_OK);
    assert_int_equal(layout.n_tensors, 2);
    for (unsigned i = 0; i < 4; i++) {
        const struct hm_custom_tensor *tensor = &custom.tensor[i];
        assert_int_equal(tensor->at % 16, 0);
        for (size_t k = tensor->at; k < tensor->at + tensor->n; k++) {
            const uint32_t block = (uint32_t)(k / HM_BLOCK);
            assert_int_equal(hm_layout_tensor_of(&layout, block)->grid_exp, grid[i]);
            assert_true(hm_layout_block_mask(&layout, block) >> k % HM_BLOCK & 1);
        }
        for (unsigned j = 0; j < i; j++)
            assert_true(custom.tensor[j].at + custom.tensor[j].n <= tensor->at ||
                        tensor->at + tensor->n <= custom.tensor[j].at);
    }
    hm_custom_fini(&custom);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_safetensors_are_read_back, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_cut_off_is_refused, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_flipped_files_are_refused_or_sound, temp_setup,
                                        temp_teardown),
        cmocka_unit_test(test_lists_of_tensors_are_read_back),
        cmocka_unit_test(test_flipped_lists_are_refused_or_sound),
        cmocka_unit_test(test_tensors_of_a_grid_lie_together),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
