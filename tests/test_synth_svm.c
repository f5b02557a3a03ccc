/* The synthetic dataset: the same bytes everywhere, the shape of RCV1, and something to learn in
 * it. */
#include "tests/temp_folder.h"

#include "models/portable_math.h"
#include "models/rows.h"
#include "models/synth_model.h"
#include "models/synth_svm.h"

#include <math.h>

static void make(const char *folder, uint64_t seed, uint64_t train, uint64_t test, unsigned threads)
{
    struct hm_err err;
    struct hm_synth_svm synth = {
        .seed = seed, .train_rows = train, .test_rows = test, .threads = threads};
    if (hm_synth_svm_write(&synth, temp_path(folder), NULL, &err) != HM_OK)
        fail_msg("%s", err.text);
}

static uint8_t *text_of(const char *name, size_t *n)
{
    return temp_read(temp_path(name), n);
}

static int is_same(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = text_of(a, &n), *y = text_of(b, &m);
    int same = n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

/* FNV-1a (Fowler, Noll, Vo), 64 bits: enough to notice another byte. */
static uint64_t fnv(const char *name)
{
    size_t n;
    uint64_t hash = 0xCBF29CE484222325u;
    uint8_t *bytes = text_of(name, &n);
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    free(bytes);
    return hash;
}

/* These numbers hold for every machine and compiler; whoever changes them changes the dataset. */
static void test_same_bytes_everywhere(void **state)
{
    (void)state;
    make("a", 1, 2000, 500, 2);
    if (fnv("a/train.svm") != 0x2dbeedf21a0e5e6du || fnv("a/test.svm") != 0xb3a3dfe458966317u)
        fail_msg("train.svm %016llx, test.svm %016llx", (unsigned long long)fnv("a/train.svm"),
                 (unsigned long long)fnv("a/test.svm"));
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    make("a", 7, 3000, 300, 1);
    for (unsigned threads = 2; threads <= 5; threads++) {
        make("b", 7, 3000, 300, threads);
        assert_true(is_same("a/train.svm", "b/train.svm"));
        assert_true(is_same("a/test.svm", "b/test.svm"));
    }
    make("c", 8, 3000, 300, 1);
    assert_false(is_same("a/train.svm", "c/train.svm"));
}

/* The test rows are those that would come next; how many are asked for changes none of them. */
static void test_rows_depend_on_their_number_alone(void **state)
{
    (void)state;
    size_t n, m, k;
    make("a", 3, 700, 0, 1);
    make("b", 3, 300, 400, 1);
    assert_int_not_equal(access(temp_path("a/test.svm"), F_OK), 0);
    uint8_t *all = text_of("a/train.svm", &n), *first = text_of("b/train.svm", &m),
            *rest = text_of("b/test.svm", &k);
    assert_int_equal(n, m + k);
    assert_memory_equal(all, first, m);
    assert_memory_equal(all + m, rest, k);
    free(all);
    free(first);
    free(rest);
}

/* "0.0123456": six digits from the first that is not 0. */
static void check_digits(const char *field)
{
    if (strcmp(field, "1") == 0)
        return;
    assert_int_equal(strncmp(field, "0.", 2), 0);
    assert_int_equal(strlen(field + 2 + strspn(field + 2, "0")), 6);
}

static void test_text(void **state)
{
    (void)state;
    size_t n;
    make("a", 1, 300, 1, 2);
    char *text = (char *)text_of("a/train.svm", &n), *save, *save_field;
    text[n] = 0;
    int rows = 0;
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save), rows++) {
        char *field = strtok_r(line, " ", &save_field);
        long previous = 0;
        double norm = 0;
        assert_true(strcmp(field, "+1") == 0 || strcmp(field, "-1") == 0);
        while ((field = strtok_r(NULL, " ", &save_field))) {
            char *value;
            long f = strtol(field, &value, 10);
            assert_true(f > previous && f <= HM_SYNTH_SVM_FEATURES && *value == ':');
            check_digits(value + 1);
            norm += atof(value + 1) * atof(value + 1);
            previous = f;
        }
        assert_true(fabs(norm - 1) < 1e-4);
    }
    assert_int_equal(rows, 300);
    free(text);
}

static struct hm_rows open_rows(const char *name)
{
    struct hm_rows rows;
    struct hm_err err;
    struct hm_rows_source source = {.file = {temp_path(name)}, .n_files = 1, .no_cache = 1};
    if (hm_rows_open(&rows, &source, NULL, NULL, &err) != HM_OK)
        fail_msg("%s", err.text);
    return rows;
}

static double dot(const struct hm_rows *rows, uint64_t r, const float *w)
{
    double sum = 0;
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
        sum += (double)w[rows->id16 ? rows->id16[k] : rows->id32[k]] * (double)rows->value[k];
    return sum;
}

/* One pass of stochastic gradient descent on the hinge loss, eta = 1 / (lambda (t0 + t)). */
static void learn(const struct hm_rows *rows, float *v)
{
    for (uint64_t t = 0; t < rows->n_rows; t++) {
        double c = 1e-4 * (20000 + (double)t), y = rows->label[t];
        if (y * dot(rows, t, v) < c)
            for (uint64_t k = rows->start[t]; k < rows->start[t + 1]; k++)
                v[rows->id16 ? rows->id16[k] : rows->id32[k]] += (float)y * rows->value[k];
    }
}

/* RCV1 has 75 features a row and 47.4 % CCAT; a linear SVM trained on 40,000 of our rows ends near
 * 7 %. */
static void test_shape_and_difficulty(void **state)
{
    (void)state;
    struct hm_err err;
    make("a", 1, 40000, 5000, 2);
    struct hm_rows train = open_rows("a/train.svm"), test = open_rows("a/test.svm");
    double per_row = (double)train.n_nonzero / 40000, positive = (double)train.n_positive / 40000;
    assert_true(per_row > 73 && per_row < 77);
    assert_true(positive > 0.46 && positive < 0.485);
    assert_int_equal(hm_rows_reorder(&test, train.order, train.n_features, 1, &err), HM_OK);
    float *v = calloc(train.n_features, sizeof *v);
    assert_non_null(v);
    learn(&train, v);
    double wrong = 0;
    for (uint64_t r = 0; r < test.n_rows; r++)
        wrong += test.label[r] * dot(&test, r, v) <= 0;
    printf("%.2f features a row, %.2f %% positive, %.2f %% error\n", per_row, 100 * positive,
           wrong / 50);
    assert_true(wrong / 5000 > 0.05 && wrong / 5000 < 0.085);
    free(v);
    hm_rows_close(&train);
    hm_rows_close(&test);
}

static int stop_later(void *context, const char *what, double done, double total, const char *unit)
{
    (void)what, (void)done, (void)total, (void)unit;
    return --*(int *)context == 0;
}

static void test_stops_and_leaves_nothing(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_synth_svm synth = {.seed = 1, .train_rows = 20000, .test_rows = 10, .threads = 3};
    for (int left = 1; left < 8; left += 3) {
        int reports = left;
        struct hm_progress progress = {stop_later, &reports};
        assert_int_equal(hm_synth_svm_write(&synth, temp_folder, &progress, &err), HM_ESTOPPED);
        assert_int_equal(temp_count("svm"), 0);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_synth_svm synth = {.seed = 1, .train_rows = 0, .test_rows = 10, .threads = 1};
    assert_int_equal(hm_synth_svm_write(&synth, temp_folder, NULL, &err), HM_EUSAGE);
    synth.train_rows = 10;
    temp_text("file", "");
    assert_int_equal(hm_synth_svm_write(&synth, temp_path("file"), NULL, &err), HM_EIO);
    assert_non_null(strstr(err.text, "file: "));
    assert_int_equal(hm_synth_svm_write(&synth, "/proc/none", NULL, &err), HM_EIO);
}

static void test_portable_math(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(5, 0);
    double mean = 0, square = 0;
    for (int i = 0; i < 100000; i++) {
        double x = (hm_rng_unit(&rng) - 0.5) * 60, u = hm_portable_exp(x),
               g = hm_portable_normal(&rng);
        assert_true(fabs(u / exp(x) - 1) < 1e-15 * 4);
        assert_true(fabs(hm_portable_log(u) - log(u)) <= 4e-16 * (1 + fabs(log(u))));
        mean += g / 100000;
        square += g * g / 100000;
    }
    assert_true(hm_portable_exp(0) == 1 && hm_portable_log(1) == 0);
    assert_true(fabs(mean) < 0.02 && fabs(square - 1) < 0.03);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_setup, temp_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_bytes_everywhere),
        TEST(test_threads_do_not_matter),
        TEST(test_rows_depend_on_their_number_alone),
        TEST(test_text),
        TEST(test_shape_and_difficulty),
        TEST(test_stops_and_leaves_nothing),
        TEST(test_refusals),
        TEST(test_portable_math),
    };
    return cmocka_run_group_tests_name("synth_svm", tests, NULL, NULL);
}
