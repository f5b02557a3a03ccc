/* What comes from strangers' files and peers' lists of tensors: whatever is cut off or flipped, it
 * is refused with a sentence or read as something that is sound. */
#include "tests/temp_folder.h"

#include "models/custom.h"
#include "models/import.h"
#include "models/safetensors.h"
#include "models/svm.h"
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

/* A file with this header, and eight numbers; an error that says `says`, or none. */
static void expect(const char *header, const char *says)
{
    uint8_t bytes[2048] = {0};
    float w[8];
    struct hm_err err;
    size_t n = strlen(header);
    assert_true(8 + n + sizeof w <= sizeof bytes);
    for (int i = 0; i < 2; i++)
        bytes[i] = (uint8_t)(n >> 8 * i);
    memcpy(bytes + 8, header, n);
    for (int i = 0; i < 8; i++)
        memcpy(bytes + 8 + n + 4 * i, &(float){(float)(i + 1)}, 4);
    enum hm_status status = take(bytes, 8 + n + sizeof w, w, &err);
    if (says ? !status || !strstr(err.text, says) : status)
        fail_msg("%s: '%s' instead of '%s'", header, err.text, says ? says : "");
    for (int i = 0; !says && i < 8; i++)
        assert_true(w[i] == (float)(i + 1));
}

#define A(shape, offsets)                                                                          \
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define B(offsets)  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}"
#define GOOD_A      A("[2,3]", "[0,24]")
#define GOOD_B      B("[24,32]")
#define UNKNOWN(is) "\"other\":{\"dtype\":\"I64\"," is "}"

/* What others' writers put there is read, too. */
static void test_headers_of_others_are_read(void **state)
{
    (void)state;
    expect("{" GOOD_B "," GOOD_A "}", NULL);
    expect("{" GOOD_A "," GOOD_B "}   \n\t ", NULL);
    expect("{\"__metadata__\":{}," GOOD_A "," GOOD_B "}", NULL);
    expect("{" GOOD_A ",\"__metadata__\":{\"config\":\"{\\\"a\\\": [\\\\]}\"}," GOOD_B "}", NULL);
    expect("{" UNKNOWN("\"shape\":[0],\"data_offsets\":[32,32]") "," GOOD_A "," GOOD_B "}", NULL);
}

static void test_headers_that_lie_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{" GOOD_A "," GOOD_A "," GOOD_B "}", "'a.weight' is there twice"},
        {"{" GOOD_A "," B("[16,24]") "}", "'a.weight' and 'b' lie in the same bytes"},
        {"{" GOOD_A "," B("[32,40]") "}", "'b' lies at 32 to 40 of 32 bytes; 8 bytes"},
        {"{" GOOD_A "," B("[32,24]") "}", "'b' lies at"},
        {"{" GOOD_A "," B("[24,28]") "}", "'b' lies at"},
        {"{" GOOD_A "," B("[18446744073709551608,18446744073709551615]") "}", "says of 'b'"},
        {"{" A("[6]", "[0,24]") "," GOOD_B "}", "the shape 6, another shape than 2 x 3"},
        {"{" A("[]", "[0,24]") "," GOOD_B "}", "the shape one number"},
        {"{" A("[4294967298,3]", "[0,24]") "," GOOD_B "}", "another shape"},
        {"{" A("[1,1,1,1,1,1,1,2,3]", "[0,24]") "," GOOD_B "}", "says of 'a.weight'"},
        {"{" A("[2,-3]", "[0,24]") "," GOOD_B "}", "says of 'a.weight'"},
        {"{" A("[2,3.0]", "[0,24]") "," GOOD_B "}", "says of 'a.weight'"},
        {"{" GOOD_A "," GOOD_B "} {}", "its header"},
        {"{" GOOD_A "," GOOD_B ",}", "its header"},
        {"{" GOOD_A "," GOOD_B, "its header"},
        {"{" GOOD_A "}", "'b' is missing"},
        {"{}", "'a.weight' is missing"},
        {"[]", "from character 1 on"},
        {"{\"b\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"dtype\":\"F32\"}}", "says of 'b'"},
        {"{\"b\":{\"b\":{\"b\":{\"b\":{\"b\":{}}}}}}", "says of 'b'"},
        {"{\"b", "its header"},
        {"{\"b\\", "its header"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect(bad[i][0], bad[i][1]);
    struct hm_err err;
    float w[8];
    for (int i = 0; i < 8; i++) { /* lengths of headers, up to 2^64 - 1 */
        uint8_t bytes[16] = {[8] = '{', '}'};
        bytes[i] = i ? 0x80 : 0xff;
        assert_int_equal(take(bytes, sizeof bytes, w, &err), HM_EINPUT);
        assert_non_null(strstr(err.text, "cut off"));
    }
}

/* ---- LIBLINEAR ---- */

enum { FEATURES = 4 };

static char said[256];

static void hear(void *context, const char *text)
{
    (void)context;
    snprintf(said, sizeof said, "%s", text);
}

/* Six lines of header, of which one may be another, then weights. */
static enum hm_status import(unsigned line, const char *other, const char *weights, float *w,
                             struct hm_err *err)
{
    static uint32_t order[FEATURES] = {2, 0, 3, 1};
    struct hm_svm_model svm = {.base.ops = &hm_svm, .n_features = FEATURES, .order = order};
    const char *lines[6] = {"solver_type L2R_LR", "nr_class 2", "label 1 -1",
                            "nr_feature 4",       "bias 2",     "w"};
    const char *path = temp_path("a.model");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (unsigned i = 0; i < 6; i++)
        if (i != line)
            fprintf(file, "%s\n", lines[i]);
        else if (other)
            fprintf(file, "%s\n", other);
    fputs(weights, file);
    fclose(file);
    said[0] = err->text[0] = 0;
    return hm_svm_import(&svm.base, path, w, hear, NULL, err);
}

static const char WEIGHTS[] = "0.5 \n-0.25\n1e-3 \n-0 \n1.5\n";

static void test_models_of_liblinear_are_read(void **state)
{
    (void)state;
    static const float expected[FEATURES + 1] = {.5f, -.25f, 1e-3f, 0, 3};
    static const struct {
        unsigned line;
        const char *other, *weights;
        float sign;
    } good[] = {{9, NULL, WEIGHTS, 1},
                {2, "label -1 1", WEIGHTS, -1},
                {2, "label 2 1 ", WEIGHTS, 1},
                {2, "label 0 1", WEIGHTS, -1},
                {5, "w ", "0.5\r\n-.25\r\n.001\r\n0\r\n1.5", 1},
                {3, "nr_feature 4\r", WEIGHTS, 1},
                {3, "nr_feature 6", "0.5\n-0.25\n1e-3\n0\n0\n7\n1.5\n", 1}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        float w[FEATURES + 1];
        struct hm_err err;
        if (import(good[i].line, good[i].other, good[i].weights, w, &err))
            fail_msg("%s: %s", good[i].other ? good[i].other : "", err.text);
        for (int k = 0; k <= FEATURES; k++)
            assert_true(w[k] == good[i].sign * expected[k]);
        assert_true(!said[0] == (i < 6));
    }
    assert_non_null(strstr(said, "1 weights of"));
}

static void test_models_of_other_kinds_are_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned line;
        const char *other, *weights, *says;
    } bad[] = {
        {1, "nr_class 3", WEIGHTS, "line 2: 'nr_class 3'; two classes"},
        {1, "nr_class\n2", WEIGHTS, "line 2"},
        {1, "nr_class 2 2", WEIGHTS, "line 2"},
        {2, "label 1", WEIGHTS, "two labels"},
        {2, "label 1 1", WEIGHTS, "two labels"},
        {2, "label 1 -1 0", WEIGHTS, "two labels"},
        {2, "label 1 99999999999", WEIGHTS, "two labels"},
        {2, NULL, WEIGHTS, "no line 'label'"}, /* regression */
        {3, NULL, WEIGHTS, "no line 'nr_feature'"},
        {3, "nr_feature -4", WEIGHTS, "a whole number"},
        {3, "nr_feature 99999999999999999999", WEIGHTS, "a whole number"},
        {3, "nr_feature 4.5", WEIGHTS, "a whole number"},
        {3, "nr_feature 3", WEIGHTS, "more weights than the 3 features"},
        {3, "nr_feature 5", WEIGHTS, "ends after 5 weights; 6 are expected"},
        {4, "bias nan", WEIGHTS, "a finite number"},
        {4, "bias inf", WEIGHTS, "a finite number"},
        {4, "bias -1", WEIGHTS, "more weights than the 4 features"},
        {4, "bias 1e300", WEIGHTS, "line 11: '1.5'; times the bias"},
        {4, "rho 0.5", WEIGHTS, "line 5: 'rho 0.5'; this is no model"},
        {5, "", WEIGHTS, "line 6: ''; this is no model"},
        {5, "W", WEIGHTS, "no model"},
        {9, NULL, "0,5\n", "line 7: '0,5'; one finite number is expected, with a point"},
        {9, NULL, "nan\n", "line 7: 'nan'"},
        {9, NULL, "-inf\n", "line 7"},
        {9, NULL, "1e39\n", "line 7: '1e39'"},
        {9, NULL, "0x10\n", "line 7"},
        {9, NULL, "1 2\n", "line 7"},
        {9, NULL, "\n", "line 7"},
        {9, NULL, "", "ends after 0 weights; 5 are expected"},
        {5, "solver_type L2R_LR", "", "ends without a line 'w'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float w[FEATURES + 1];
        struct hm_err err;
        enum hm_status status = import(bad[i].line, bad[i].other, bad[i].weights, w, &err);
        if (status != HM_EINPUT || !strstr(err.text, bad[i].says) || !strstr(err.text, "a.model"))
            fail_msg("%s: '%s' instead of '%s'", bad[i].other ? bad[i].other : bad[i].weights,
                     err.text, bad[i].says);
    }
}

static void init_nothing(const struct hm_model *model, struct hm_weights *weights)
{
    (void)model;
    (void)weights;
}

static void weights_nothing(const struct hm_model *model, const uint32_t *b, uint64_t steps,
                            float *out)
{
    (void)model;
    (void)b;
    (void)steps;
    (void)out;
}

static enum hm_status unweights_nothing(const struct hm_model *model, const float *w,
                                        uint64_t steps, uint32_t *b, struct hm_err *err)
{
    (void)model;
    (void)w;
    (void)steps;
    (void)b;
    (void)err;
    return HM_OK;
}

/* Hears that a weight is left out, and grows the file meanwhile. */
static void grow(void *context, const char *text)
{
    FILE *file = fopen(context, "a");
    (void)text;
    assert_non_null(file);
    fputs("1\n", file);
    fclose(file);
}

/* Whoever writes it at this moment would have nodes begin with different weights. */
static void test_a_file_that_changes_meanwhile_is_refused(void **state)
{
    (void)state;
    static uint32_t order[FEATURES] = {2, 0, 3, 1};
    struct hm_model_ops ops = hm_svm;
    ops.init = init_nothing;
    ops.weights = weights_nothing;
    ops.unweights = unweights_nothing;
    struct hm_svm_model svm = {.base.ops = &ops, .n_features = FEATURES, .order = order};
    struct hm_weights none = {0};
    struct hm_train_options options = {0};
    struct hm_err err;
    float w[FEATURES + 1];
    assert_int_equal(import(3, "nr_feature 5", "1\n1\n1\n1\n1\n1\n", w, &err), HM_OK);
    options.init = temp_path("a.model");
    for (int grows = 0; grows < 2; grows++) {
        assert_int_equal(hm_import_name(&options, &err), HM_OK);
        snprintf(svm.base.initial, sizeof svm.base.initial, "%s", options.init_hash);
        enum hm_status status = hm_import_begin(&svm.base, &options, &none, grows ? grow : hear,
                                                (void *)(uintptr_t)options.init, &err);
        assert_int_equal(status, grows ? HM_EINPUT : HM_OK);
    }
    assert_non_null(strstr(err.text, "was changed"));
}

/* ---- lists of tensors ---- */

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
        cmocka_unit_test(test_headers_of_others_are_read),
        cmocka_unit_test(test_headers_that_lie_are_refused),
        cmocka_unit_test_setup_teardown(test_models_of_liblinear_are_read, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_models_of_other_kinds_are_refused, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_changes_meanwhile_is_refused, temp_setup,
                                        temp_teardown),
        cmocka_unit_test(test_lists_of_tensors_are_read_back),
        cmocka_unit_test(test_flipped_lists_are_refused_or_sound),
        cmocka_unit_test(test_tensors_of_a_grid_lie_together),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
