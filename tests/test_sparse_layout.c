/* How tensors lie in the flat array (sparse/layout.h), and W and B over it (sparse/weights.h). */
#include "tests/sparse_scene.h"

static struct hm_layout layout;

static void setup_empty(void)
{
    memset(&layout, 0, sizeof layout);
}

static const struct hm_tensor *add(const char *name, uint32_t rows, uint32_t cols)
{
    struct hm_err err;
    assert_int_equal(hm_layout_add(&layout, name, rows, cols, -10, &err), HM_OK);
    return &layout.tensor[layout.n_tensors - 1];
}

static void test_offsets(void **state)
{
    (void)state;
    setup_empty();
    static const struct {
        uint32_t rows, cols, stride, block, n_blocks;
        const char *name;
    } row[] = {
        {1, 1, 1, 0, 1, "one"},
        {3, 5, 16, 1, 1, "padded"},
        {70, 1, 1, 2, 2, "column"},
        {1, 47236, 47248, 4, 739, "features"},
        {40, 100, 112, 743, 70, "rows"},
        {64, 64, 64, 813, 64, "blocks"},
        {4, 16, 16, 877, 1, "exactly"},
        {5, 16, 16, 878, 2, "one_more"},
        {64, 1, 1, 880, 1, "full.column"},
        {1, 64, 64, 881, 1, "full.row"},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        const struct hm_tensor *tensor = add(row[i].name, row[i].rows, row[i].cols);
        assert_string_equal(tensor->name, row[i].name);
        assert_int_equal(tensor->rows, row[i].rows);
        assert_int_equal(tensor->cols, row[i].cols);
        assert_int_equal(tensor->stride, row[i].stride);
        assert_int_equal(tensor->grid_exp, -10);
        assert_int_equal(tensor->block, row[i].block);
        assert_int_equal(tensor->n_blocks, row[i].n_blocks);
        assert_int_equal(hm_tensor_at(tensor), (size_t)row[i].block * HM_BLOCK);
    }
    assert_int_equal(layout.n_blocks, 882);
    assert_int_equal(hm_layout_n(&layout), 882 * HM_BLOCK);
    for (size_t i = 0; i < N_OF(row); i++)
        for (uint32_t block = 0; block < row[i].n_blocks; block++)
            assert_ptr_equal(hm_layout_tensor_of(&layout, row[i].block + block), &layout.tensor[i]);
}

/* Lane by lane: is the coordinate an element (row, column)? */
static uint64_t naive_mask(const struct hm_tensor *tensor, uint32_t block)
{
    uint64_t mask = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        uint64_t at = (uint64_t)block * HM_BLOCK + j;
        if (at / tensor->stride < tensor->rows && at % tensor->stride < tensor->cols)
            mask |= (uint64_t)1 << j;
    }
    return mask;
}

static void test_block_masks(void **state)
{
    (void)state;
    static const uint32_t rows[] = {1, 2, 3, 4, 5, 7, 63, 64, 65, 130};
    for (size_t r = 0; r < N_OF(rows); r++)
        for (uint32_t cols = 1; cols <= 200; cols++) {
            setup_empty();
            add("before", 3, 5);
            const struct hm_tensor *tensor = add("tensor", rows[r], cols);
            add("behind", 1, 1);
            uint64_t n = 0;
            for (uint32_t block = 0; block < tensor->n_blocks; block++) {
                uint64_t mask = hm_layout_block_mask(&layout, tensor->block + block);
                assert_true(mask == naive_mask(tensor, block));
                n += (uint64_t)__builtin_popcountll(mask);
            }
            assert_int_equal(n, (uint64_t)rows[r] * cols);
            assert_int_equal(hm_layout_block_mask(&layout, layout.n_blocks - 1), 1);
        }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "0", "layer.0.weight_x",
                                       "_", ".", "a234567890123456789012345678901"};
    static const char *const bad[] = {"",         "A",   "a b", "a-b",
                                      "\xc3\xa4", "a\n", "a:",  "a2345678901234567890123456789012"};
    setup_empty();
    for (size_t i = 0; i < N_OF(good); i++)
        add(good[i], 1, 1);
    struct hm_layout before = layout;
    for (size_t i = 0; i < N_OF(bad); i++) {
        struct hm_err err = {""};
        assert_int_equal(hm_layout_add(&layout, bad[i], 1, 1, 0, &err), HM_EUSAGE);
        assert_non_null(strstr(err.text, "tensor name"));
        assert_int_equal(hm_layout_add(&layout, bad[i], 1, 1, 0, NULL), HM_EUSAGE);
    }
    struct hm_err err;
    assert_int_equal(hm_layout_add(&layout, "a", 1, 1, 0, &err), HM_EUSAGE);
    assert_string_equal(err.text, "tensor a: the name is taken");
    assert_memory_equal(&layout, &before, sizeof layout);
}

static void refuse(uint32_t rows, uint32_t cols, int grid_exp, enum hm_status status)
{
    struct hm_layout before = layout;
    struct hm_err err = {""};
    assert_int_equal(hm_layout_add(&layout, "refused", rows, cols, grid_exp, &err), status);
    assert_non_null(strstr(err.text, "tensor refused: "));
    assert_memory_equal(&layout, &before, sizeof layout);
}

static void test_limits(void **state)
{
    (void)state;
    const uint32_t most = (uint32_t)HM_BLOCKS_MAX * HM_BLOCK; /* 2^31 */
    setup_empty();
    refuse(0, 1, 0, HM_EUSAGE);
    refuse(1, 0, 0, HM_EUSAGE);
    refuse(1, 1, HM_GRID_EXP_MIN - 1, HM_EUSAGE);
    refuse(1, 1, HM_GRID_EXP_MAX + 1, HM_EUSAGE);
    refuse(1, most + 1, 0, HM_ENOMEM);
    refuse(most + 1, 1, 0, HM_ENOMEM);
    refuse(1, UINT32_MAX, 0, HM_ENOMEM);
    refuse(UINT32_MAX, 1, 0, HM_ENOMEM);
    refuse(UINT32_MAX, UINT32_MAX, 0, HM_ENOMEM);
    refuse(1u << 27, 17, 0, HM_ENOMEM); /* fits only without its padding */
    add("largest", 1u << 27, 16);
    assert_int_equal(layout.n_blocks, HM_BLOCKS_MAX);
    refuse(1, 1, 0, HM_ENOMEM);

    setup_empty();
    add("nearly", 1, most - HM_BLOCK);
    refuse(65, 1, 0, HM_ENOMEM);
    add("rest", 64, 1);
    assert_int_equal(layout.n_blocks, HM_BLOCKS_MAX);

    setup_empty();
    for (unsigned t = 0; t < HM_TENSORS_MAX; t++)
        add((char[]){(char)('a' + t / 10), (char)('0' + t % 10), 0}, 1, 1);
    refuse(1, 1, 0, HM_ENOMEM);

    setup_empty();
    assert_int_equal(hm_layout_add(&layout, "fine", 1, 1, HM_GRID_EXP_MIN, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "coarse", 1, 1, HM_GRID_EXP_MAX, NULL), HM_OK);
}

static void test_exp2(void **state)
{
    (void)state;
    float expected = 1;
    for (int e = 0; e <= 127; e++, expected *= 2)
        assert_true(hm_exp2i(e) == expected);
    expected = 1;
    for (int e = 0; e >= -126; e--, expected /= 2)
        assert_true(hm_exp2i(e) == expected);
}

static void test_weights_settle(void **state)
{
    (void)state;
    setup_empty();
    assert_int_equal(hm_layout_add(&layout, "a", 3, 5, -10, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "b", 100, 1, 3, NULL), HM_OK);
    struct hm_weights weights;
    assert_int_equal(hm_weights_init(&weights, &layout, NULL), HM_OK);
    assert_int_equal(weights.n, 3 * HM_BLOCK);
    assert_int_equal((uintptr_t)weights.w % 64, 0);
    assert_int_equal((uintptr_t)weights.b % 64, 0);
    for (size_t i = 0; i < weights.n; i++) {
        assert_true(hm_cell_get(&weights.w[i]) == 0);
        assert_int_equal(weights.b[i], 0);
        weights.b[i] = (uint32_t)(i % 2 ? HM_RANGE - (int32_t)i : (int32_t)i - HM_RANGE);
    }
    hm_weights_settle(&weights);
    for (size_t i = 0; i < weights.n; i++) {
        double grid = i < HM_BLOCK ? 0x1p-10 : 8;
        assert_true((double)hm_cell_get(&weights.w[i]) == (int32_t)weights.b[i] * grid);
    }
    hm_weights_fini(&weights);
    assert_null(weights.w);
    assert_null(weights.b);
    hm_weights_fini(&weights);
}

static void test_a_model_without_tensors(void **state)
{
    (void)state;
    setup_empty();
    struct hm_weights weights;
    assert_int_equal(hm_weights_init(&weights, &layout, NULL), HM_OK);
    assert_int_equal(weights.n, 0);
    hm_weights_settle(&weights);
    hm_weights_fini(&weights);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_block_masks),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_exp2),
        cmocka_unit_test(test_weights_settle),
        cmocka_unit_test(test_a_model_without_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
