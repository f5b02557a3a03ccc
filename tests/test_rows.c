/* Reading labelled sparse rows: what is read, what is refused and in which words, the cache,
 * renumbering. */
#include "tests/temp_folder.h"

#include "models/decimal.h"
#include "models/input.h"
#include "models/rows.h"
#include "sparse/rng.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- helpers ---- */

static enum hm_status open_file(struct hm_rows *rows, const char *path, int no_cache,
                                struct hm_err *err)
{
    struct hm_rows_source source = {.file = {path}, .n_files = 1, .no_cache = no_cache};
    err->text[0] = 0;
    return hm_rows_open(rows, &source, NULL, NULL, err);
}

/* Rows from text, which must be right. */
static struct hm_rows rows_of(const char *text)
{
    struct hm_rows rows;
    struct hm_err err;
    if (open_file(&rows, temp_text("rows.svm", text), 1, &err) != HM_OK)
        fail_msg("%s", err.text);
    return rows;
}

static uint32_t id_at(const struct hm_rows *rows, uint64_t k)
{
    return rows->id16 ? rows->id16[k] : rows->id32[k];
}

/* What every dataset promises, whatever its text. */
static void check_rows(const struct hm_rows *rows)
{
    uint64_t n_positive = 0;
    uint8_t *met = calloc(rows->n_features, 1);
    assert_non_null(met);
    assert_true((rows->id16 != NULL) != (rows->id32 != NULL));
    assert_true((rows->id16 != NULL) == (rows->n_features <= 65536));
    assert_int_equal(rows->start[0], 0);
    assert_int_equal(rows->start[rows->n_rows], rows->n_nonzero);
    for (uint64_t r = 0; r < rows->n_rows; r++) {
        assert_true(rows->start[r] <= rows->start[r + 1]);
        assert_true(rows->label[r] == 1 || rows->label[r] == -1);
        n_positive += rows->label[r] > 0;
        for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
            assert_true(id_at(rows, k) < rows->n_features);
            assert_true(k == rows->start[r] || id_at(rows, k - 1) < id_at(rows, k));
            assert_true(isfinite(rows->value[k]));
        }
    }
    assert_int_equal(rows->n_positive, n_positive);
    assert_true(rows->order_hash == hm_order_hash(rows->order, rows->n_features));
    for (uint32_t i = 0; i < rows->n_features; i++) {
        assert_true(rows->order[i] < HM_FEATURES_MAX);
        if (rows->order[i] < rows->n_features)
            assert_int_equal(met[rows->order[i]]++, 0);
    }
    free(met);
}

static void check_equal(const struct hm_rows *a, const struct hm_rows *b)
{
    assert_true(a->n_rows == b->n_rows && a->n_nonzero == b->n_nonzero &&
                a->n_features == b->n_features);
    assert_true(a->n_positive == b->n_positive && a->order_hash == b->order_hash);
    assert_memory_equal(a->order, b->order, 4 * a->n_features);
    assert_memory_equal(a->start, b->start, 8 * (a->n_rows + 1));
    assert_memory_equal(a->label, b->label, a->n_rows);
    assert_memory_equal(a->value, b->value, 4 * a->n_nonzero);
    for (uint64_t k = 0; k < a->n_nonzero; k++)
        assert_int_equal(id_at(a, k), id_at(b, k));
}

/* The value of source feature f (from 1) in row r; NAN when it is not there. */
static float value_of(const struct hm_rows *rows, uint64_t r, uint32_t f)
{
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
        if (rows->order[id_at(rows, k)] + 1 == f)
            return rows->value[k];
    return NAN;
}

/* The row whose feature f has the value x, wherever the shuffle put it. */
static uint64_t row_with(const struct hm_rows *rows, uint32_t f, float x)
{
    for (uint64_t r = 0; r < rows->n_rows; r++)
        if (value_of(rows, r, f) == x)
            return r;
    fail_msg("no row has feature %u = %g", f, (double)x);
    return 0;
}

static void set_mtime(const char *path, long second)
{
    struct timespec times[2] = {{.tv_sec = second}, {.tv_sec = second}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Random svmlight text, to be freed: n rows over n_features features, both classes. */
static char *random_text(uint64_t seed, unsigned n, uint32_t n_features, size_t *length)
{
    struct hm_rng rng = hm_rng_seed(seed, 1);
    size_t room = (size_t)n * 1200 + 1, at = 0;
    char *text = malloc(room);
    assert_non_null(text);
    for (unsigned r = 0; r < n; r++) {
        at += (size_t)sprintf(text + at, "%s", r % 2 ? "-1" : "+1");
        uint32_t id = 0;
        for (unsigned k = hm_rng_below(&rng, 50); k > 0; k--) {
            id += 1 + hm_rng_below(&rng, hm_rng_below(&rng, n_features / 25) + 1);
            if (id > n_features)
                break;
            at += (size_t)sprintf(text + at, " %u:%.6g", id, hm_rng_unit(&rng) + 1e-3);
        }
        text[at++] = '\n';
    }
    text[at] = 0;
    *length = at;
    return text;
}

/* ---- what is read ---- */

static void test_reads_rows(void **state)
{
    (void)state;
    struct hm_rows rows = rows_of("+1 2:0.5 7:-1.25\n-1 7:3 9:1e-3\n+1 1:4 2:5 7:6\n");
    check_rows(&rows);
    assert_int_equal(rows.n_rows, 3);
    assert_int_equal(rows.n_nonzero, 7);
    assert_int_equal(rows.n_features, 9);
    assert_int_equal(rows.n_positive, 2);
    uint64_t r = row_with(&rows, 7, -1.25f);
    assert_int_equal(rows.label[r], 1);
    assert_true(value_of(&rows, r, 2) == 0.5f && isnan(value_of(&rows, r, 9)));
    r = row_with(&rows, 9, 1e-3f);
    assert_int_equal(rows.label[r], -1);
    assert_true(value_of(&rows, r, 7) == 3);
    hm_rows_close(&rows);
    assert_null(rows.map);
}

/* Feature 7 is in 3 rows, 2 in two; 1 and 9 in one, so their numbers decide; then those that no row
 * has. */
static void test_orders_by_document_frequency(void **state)
{
    (void)state;
    static const uint32_t expected[9] = {7, 2, 1, 9, 3, 4, 5, 6, 8};
    struct hm_rows rows = rows_of("+1 2:0.5 7:-1.25\n-1 7:3 9:1e-3\n+1 1:4 2:5 7:6\n");
    for (int i = 0; i < 9; i++)
        assert_int_equal(rows.order[i] + 1, expected[i]);
    hm_rows_close(&rows);
}

static void test_accepts_what_is_found_in_the_wild(void **state)
{
    (void)state;
    struct hm_rows rows = rows_of("\xEF\xBB\xBF# a comment\r\n"
                                  "+1 qid:3 1:0.5 2:.25 # and another\r\n"
                                  "\r\n"
                                  "   \n"
                                  "0\t1:+3\t 4:1e2  \r\n"
                                  "1.0 3:5.\n"
                                  "-1#no features\n"
                                  "  2 00005:-0.0");
    check_rows(&rows);
    assert_int_equal(rows.n_rows, 5);
    assert_int_equal(rows.n_nonzero, 6);
    assert_int_equal(rows.n_positive, 3);
    assert_int_equal(rows.label[row_with(&rows, 1, 3)], -1);
    assert_true(value_of(&rows, row_with(&rows, 1, 3), 4) == 100);
    assert_int_equal(rows.label[row_with(&rows, 3, 5)], 1);
    hm_rows_close(&rows);
}

/* Every row of a larger set is there, unchanged, at the place that the fixed shuffle gives it. */
static void test_keeps_every_row(void **state)
{
    (void)state;
    enum { N = 3000 };
    size_t length;
    char *text = random_text(5, N, 2000, &length), *p = text;
    struct hm_rows rows = rows_of(text), again = rows_of(text);
    check_rows(&rows);
    check_equal(&rows, &again);
    uint32_t place[N], row[N];
    struct hm_rng rng = hm_rng_seed(0x686F676D657368u, 0);
    for (uint32_t i = 0; i < N; i++)
        row[i] = i;
    for (uint32_t i = N; i > 1; i--) {
        uint32_t j = hm_rng_below(&rng, i), t = row[i - 1];
        row[i - 1] = row[j];
        row[j] = t;
    }
    for (uint32_t i = 0; i < N; i++)
        place[row[i]] = i;
    for (unsigned r = 0; r < N; r++) {
        uint64_t at = place[r], n = 0;
        assert_int_equal(rows.label[at], strtol(p, &p, 10));
        while (*p == ' ') {
            uint32_t f = (uint32_t)strtoul(p, &p, 10);
            assert_true(value_of(&rows, at, f) == strtof(p + 1, &p));
            n++;
        }
        assert_int_equal(rows.start[at + 1] - rows.start[at], n);
        p++;
    }
    hm_rows_close(&rows);
    hm_rows_close(&again);
    free(text);
}

static void test_wide_features(void **state)
{
    (void)state;
    struct hm_rows rows = rows_of("+1 1:1 65536:2\n-1 3:1\n");
    check_rows(&rows);
    assert_non_null(rows.id16);
    hm_rows_close(&rows);
    rows = rows_of("+1 1:1 65536:2\n-1 3:1\n+1 65537:4\n-1 2:1 65536:8 134217728:9\n");
    check_rows(&rows);
    assert_non_null(rows.id32);
    assert_int_equal(rows.n_features, 1 << 27);
    assert_true(value_of(&rows, row_with(&rows, 1, 1), 65536) == 2);
    assert_true(value_of(&rows, row_with(&rows, 134217728, 9), 65536) == 8);
    hm_rows_close(&rows);
}

/* Lines longer than the read buffer, which is half a MiB, and lines that lie across its end. */
static void test_long_lines(void **state)
{
    (void)state;
    enum { N = 400000 };
    struct hm_rows rows;
    struct hm_err err;
    FILE *file = fopen(temp_path("long.svm"), "w");
    assert_non_null(file);
    for (int r = 0; r < 2; r++) {
        fprintf(file, "%d", r);
        for (int i = 1; i <= N; i++)
            fprintf(file, " %d:%d", i, i % 1000 + 1);
        fprintf(file, "\n");
    }
    fclose(file);
    assert_int_equal(open_file(&rows, temp_path("long.svm"), 1, &err), HM_OK);
    assert_int_equal(rows.n_nonzero, 2 * N);
    for (uint64_t k = 0; k < 2 * N; k++)
        assert_true(rows.value[k] == (float)((rows.order[id_at(&rows, k)] + 1) % 1000 + 1));
    hm_rows_close(&rows);
}

static void test_several_files_are_one_dataset(void **state)
{
    (void)state;
    struct hm_rows a, b = rows_of("+1 1:1\n-1 2:2\n+1 1:3 5:1\n");
    struct hm_err err;
    struct hm_rows_source source = {.n_files = 2, .no_cache = 1};
    source.file[0] = temp_text("one.svm", "+1 1:1\n-1 2:2");
    source.file[1] = temp_text("two.svm", "+1 1:3 5:1\n");
    assert_int_equal(hm_rows_open(&a, &source, NULL, NULL, &err), HM_OK);
    check_equal(&a, &b);
    hm_rows_close(&a);
    hm_rows_close(&b);
}

static void test_n_features_can_be_given(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    struct hm_rows_source source = {.n_files = 1, .no_cache = 1, .n_features = 70000};
    source.file[0] = temp_text("rows.svm", "+1 1:1\n-1 2:2\n");
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_OK);
    check_rows(&rows);
    assert_int_equal(rows.n_features, 70000);
    hm_rows_close(&rows);
    source.n_features = 1;
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "line 2: feature 2: the largest feature allowed here is 1"));
}

static void test_label_lists(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    struct hm_rows_source source = {.n_files = 1, .no_cache = 1, .topic = "33"};
    source.file[0] = temp_text("lists.svm", "3,17,33 1:1\n33 1:2\n333 1:3\n 1:4\n3,17 1:5\n");
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_OK);
    check_rows(&rows);
    assert_int_equal(rows.n_rows, 5);
    assert_int_equal(rows.n_positive, 2);
    assert_int_equal(rows.label[row_with(&rows, 1, 1)], 1);
    assert_int_equal(rows.label[row_with(&rows, 1, 2)], 1);
    hm_rows_close(&rows);
    source.topic = "4";
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_EINPUT);
    assert_non_null(
        strstr(err.text, "none of the 5 rows has the label '4' (labels seen: 3, 17, 33, 333)"));
    source.topic = "CCAT";
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "CCAT"));
}

/* ---- numbers ---- */

static void check_number(const char *text)
{
    char line[1200];
    float value = -1, expected = strtof(text, NULL);
    memset(line, '\n', sizeof line);
    memcpy(line, text, strlen(text));
    const char *end = hm_decimal_float(line, &value);
    if (end != line + strlen(text) || memcmp(&value, &expected, 4) != 0)
        fail_msg("'%s' read as %.9g, not %.9g", text, (double)value, (double)expected);
}

static void test_numbers_equal_strtof(void **state)
{
    (void)state;
    static const char *const hard[] = {"0",
                                       "-0",
                                       "0.0",
                                       ".5",
                                       "5.",
                                       "-.25",
                                       "+1",
                                       "1e0",
                                       "1E+2",
                                       "1e-2",
                                       "123456789",
                                       "16777217",
                                       "16777219",
                                       "0.1",
                                       "3.4028235e38",
                                       "3.4028236e38",
                                       "1e39",
                                       "1e-45",
                                       "7e-46",
                                       "1.17549435e-38",
                                       "1e-40",
                                       "1e999999",
                                       "1e-999999",
                                       "9007199254740993",
                                       "18446744073709551616",
                                       "0.000000000000000000000000000001",
                                       "1.00000005960464477539062500",
                                       "1.00000005960464477539062501",
                                       "1.00000005960464477539062499",
                                       "0.0497399253756197",
                                       "12345678.12345678",
                                       "00000000000000000000001.5",
                                       "33554435",
                                       "8388608.5",
                                       "0."
                                       "00000000000000000000000000000000000000000000000000000000000"
                                       "000000000000000000000000000000001e90"};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++)
        check_number(hard[i]);
    struct hm_rng rng = hm_rng_seed(7, 0);
    char text[64];
    for (int i = 0; i < 400000; i++) {
        double x = hm_rng_unit(&rng) * (i % 7 == 0 ? 1e6 : 1);
        static const char *const format[] = {"%.6g",  "%.9g",  "%.6f", "%.7f",
                                             "%.17g", "%.16f", "%.3e", "-%.8f"};
        snprintf(text, sizeof text, format[i % 8], x);
        check_number(text);
    }
    /* half-way between two floats, and next to it: where rounding twice goes wrong */
    for (int i = 0; i < 100000; i++) {
        uint32_t bits = 0x3C000000u + hm_rng_below(&rng, 0x08000000u), next = bits + 1;
        float low, high;
        memcpy(&low, &bits, 4);
        memcpy(&high, &next, 4);
        snprintf(text, sizeof text, "%.*g", 7 + i % 20, ((double)low + (double)high) / 2);
        check_number(text);
    }
}

static void test_long_numbers(void **state)
{
    (void)state;
    char text[1100] = "0.";
    memset(text + 2, '3', 1000);
    check_number(text);
    memset(text + 2, '0', 1000);
    strcpy(text + 1002, "1e1001");
    check_number(text);
}

static void test_values_are_kept_as_written(void **state)
{
    (void)state;
    struct hm_rows rows = rows_of("+1 1:0.0497399253756197\n-1 1:0.100000001490116\n");
    row_with(&rows, 1, 0.0497399253756197f);
    row_with(&rows, 1, 0.1f);
    hm_rows_close(&rows);
}

/* ---- what is refused ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } refusal[] = {
        {"", "there are no rows"},
        {"# nothing\n\n", "there are no rows"},
        {"+1 1:1\n-1 2:1\n+1 0:1\n",
         "rows.svm: line 3: feature 0: features count from 1; renumber them"},
        {"+1 1:1 15:2 12:1\n", "line 1: feature 12 after 15: features must ascend"},
        {"+1 4:1 4:2\n", "line 1: feature 4 after 4: features must ascend"},
        {"+1 1:1\n-1 4:nan\n", "line 2: value of feature 4 is 'nan': a finite number is expected"},
        {"+1 4:-inf\n", "value of feature 4 is '-inf': a finite number is expected"},
        {"+1 4:1e99\n", "value of feature 4 is '1e99': a finite 32-bit number is expected"},
        {"+1 4:\n", "feature 4 has no value after its ':'"},
        {"+1 4: 5:1\n", "feature 4 has no value after its ':'"},
        {"+1 4:1x\n", "value of feature 4 is '1x'"},
        {"+1 4:0x10\n", "value of feature 4 is '0x10'"},
        {"+1 4:1,5\n", "value of feature 4 is '1,5'"},
        {"+1 4:1:5\n", "value of feature 4 is '1:5'"},
        {"+1 4:1e\n", "value of feature 4 is '1e'"},
        {"+1 4 5:1\n", "'4': a ':' is expected after the feature number"},
        {"+1 word\n", "'word': a field FEATURE:VALUE is expected"},
        {"+1 -4:1\n", "'-4:1': a field FEATURE:VALUE is expected"},
        {"+1 4.0:1\n", "'4.0:1': a ':' is expected"},
        {"+1 134217729:1\n", "feature 134217729: the largest feature allowed here is 134217728"},
        {"+1 4294967297:1\n", "feature 4294967297: the largest feature allowed here is 134217728"},
        {"+1 99999999999999999999999:1\n", "the largest feature allowed here is 134217728"},
        {"1:1 2:1\n", "line 1: the label is missing"},
        {"+1 1:1\n 1:1 2:1\n", "line 2: the label is missing"},
        {"spam 1:1\n", "label 'spam': a finite number is expected"},
        {"nan 1:1\n", "label 'nan': a finite number is expected"},
        {"1e999 1:1\n", "label '1e999': a finite number is expected"},
        {"+-1 1:1\n", "label '+-1': a finite number is expected"},
        {"3,17,33 1:1\n",
         "label '3,17,33' is a list: choose the label that counts as +1 with --topic"},
        {"1 1:1\n2 1:1\n", "all 2 rows count as +1 (labels seen: 1, 2): two classes are needed, "
                           "labels must be +1 and -1"},
        {"-1 1:1\n0 1:1\n", "all 2 rows count as -1 (labels seen: -1, 0)"},
        {"1\n2\n3\n4\n5\n6\n7\n8\n", "(labels seen: 1, 2, 3, 4, 5, 6, ...)"},
        {"+1\n-1\n", "none of the 2 rows has a feature"},
        {"\x80\x81 1:1\n", "the label is not text"},
        {"+1 \x80:1\n", "'?:1': a field FEATURE:VALUE is expected"},
    };
    for (size_t i = 0; i < sizeof refusal / sizeof refusal[0]; i++) {
        struct hm_rows rows;
        struct hm_err err;
        memset(&rows, 1, sizeof rows);
        enum hm_status status = open_file(&rows, temp_text("rows.svm", refusal[i].text), 0, &err);
        if (status != HM_EINPUT || !strstr(err.text, refusal[i].expected))
            fail_msg("'%s' gave %s: %s", refusal[i].text, hm_status_name(status), err.text);
        assert_null(rows.map);
        assert_int_equal(temp_count("rows.svm"), 1); /* no cache, no lock, no draft */
    }
}

static void test_refuses_nul_bytes_and_endless_lines(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    const char *path = temp_write("nul.svm", "+1 1:1\n-1 2:1 # \0\n", 18);
    assert_int_equal(open_file(&rows, path, 0, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "nul.svm: line 2: a NUL byte"));
    size_t n = (size_t)70 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, ' ', n);
    path = temp_write("long.svm", text, n);
    free(text);
    assert_int_equal(open_file(&rows, path, 0, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "long.svm: line 1: longer than 64 MiB"));
}

static void test_refuses_what_is_no_file(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    assert_int_equal(open_file(&rows, temp_path("missing.svm"), 0, &err), HM_EIO);
    assert_non_null(strstr(err.text, "missing.svm: No such file"));
    assert_int_equal(open_file(&rows, temp_folder, 0, &err), HM_EIO);
    assert_non_null(strstr(err.text, "is a folder"));
    struct hm_rows_source none = {.n_files = 0};
    assert_int_equal(hm_rows_open(&rows, &none, NULL, NULL, &err), HM_EUSAGE);
}

static int stop_at_once(void *context, const char *what, double done, double total,
                        const char *unit)
{
    (void)what, (void)done, (void)total, (void)unit;
    return --*(int *)context <= 0;
}

/* Stopped at its first report, at its second, and so on: nothing half-written stays. */
static void test_stops_when_asked(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    enum hm_status status = HM_ESTOPPED;
    struct hm_rows_source source = {.file = {temp_text("rows.svm", "+1 1:1\n-1 2:1\n")},
                                    .n_files = 1};
    for (int reports = 1; status == HM_ESTOPPED; reports++) {
        int left = reports;
        struct hm_progress progress = {stop_at_once, &left};
        status = hm_rows_open(&rows, &source, &progress, NULL, &err);
        assert_true(reports < 20);
        assert_true(status == HM_OK || (!rows.map && temp_count("rows.svm") == 1));
    }
    assert_int_equal(status, HM_OK);
    hm_rows_close(&rows);
}

/* ---- archives: one tiny dataset, "+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n", in five wrappings ----
 */

static const uint8_t gz_bytes[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
                                   0xd3, 0x36, 0x54, 0x30, 0xb4, 0x32, 0xd0, 0x33, 0x55, 0x30,
                                   0x06, 0x92, 0x46, 0xa6, 0x5c, 0xba, 0x86, 0x0a, 0x46, 0x56,
                                   0x86, 0xa9, 0xba, 0xc6, 0x5c, 0xda, 0x86, 0x40, 0x31, 0x73,
                                   0x2e, 0x00, 0x11, 0x21, 0xcb, 0xdb, 0x21, 0x00, 0x00, 0x00};

static const uint8_t xz_bytes[] = {
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01,
    0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x20, 0x2b, 0x31, 0x20, 0x31, 0x3a,
    0x30, 0x2e, 0x35, 0x20, 0x33, 0x3a, 0x30, 0x2e, 0x32, 0x35, 0x0a, 0x2d, 0x31, 0x20, 0x32, 0x3a,
    0x31, 0x65, 0x2d, 0x33, 0x0a, 0x2b, 0x31, 0x20, 0x33, 0x3a, 0x37, 0x0a, 0x00, 0x00, 0x00, 0x00,
    0x92, 0xef, 0x52, 0x47, 0xaa, 0xbb, 0x1a, 0xb1, 0x00, 0x01, 0x39, 0x21, 0xcf, 0x28, 0x6b, 0x62,
    0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a};

static const uint8_t bz2_bytes[] = {
    0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0x76, 0x67, 0x07, 0xfd, 0x00, 0x00,
    0x03, 0xd9, 0x00, 0x00, 0x10, 0x40, 0x0b, 0x7a, 0x90, 0x02, 0x00, 0x20, 0x00, 0x31, 0x00, 0xd0,
    0x00, 0xd4, 0xf4, 0x6a, 0x0d, 0xa2, 0x3a, 0x74, 0x09, 0x5a, 0xc6, 0x30, 0x53, 0x2e, 0x6e, 0x11,
    0x19, 0x2a, 0xda, 0x88, 0xf8, 0xbb, 0x92, 0x29, 0xc2, 0x84, 0x83, 0xb3, 0x38, 0x3f, 0xe8};

static const uint8_t zst_bytes[] = {
    0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x21, 0x09, 0x01, 0x00, 0x2b, 0x31, 0x20, 0x31, 0x3a, 0x30, 0x2e,
    0x35, 0x20, 0x33, 0x3a, 0x30, 0x2e, 0x32, 0x35, 0x0a, 0x2d, 0x31, 0x20, 0x32, 0x3a, 0x31, 0x65,
    0x2d, 0x33, 0x0a, 0x2b, 0x31, 0x20, 0x33, 0x3a, 0x37, 0x0a, 0xd9, 0xe9, 0xdf, 0xa5};

static const uint8_t zip_bytes[] = {
    0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x50, 0x11,
    0x21, 0xcb, 0xdb, 0x20, 0x00, 0x00, 0x00, 0x21, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
    0x74, 0x69, 0x6e, 0x79, 0x2e, 0x73, 0x76, 0x6d, 0xd3, 0x36, 0x54, 0x30, 0xb4, 0x32, 0xd0,
    0x33, 0x55, 0x30, 0x06, 0x92, 0x46, 0xa6, 0x5c, 0xba, 0x86, 0x0a, 0x46, 0x56, 0x86, 0xa9,
    0xba, 0xc6, 0x5c, 0xda, 0x86, 0x40, 0x31, 0x73, 0x2e, 0x00, 0x50, 0x4b, 0x01, 0x02, 0x14,
    0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x50, 0x11, 0x21, 0xcb, 0xdb,
    0x20, 0x00, 0x00, 0x00, 0x21, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x74, 0x69, 0x6e, 0x79,
    0x2e, 0x73, 0x76, 0x6d, 0x50, 0x4b, 0x05, 0x06, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01,
    0x00, 0x36, 0x00, 0x00, 0x00, 0x46, 0x00, 0x00, 0x00, 0x00, 0x00};

static const uint8_t pair_zip_bytes[] = {
    0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x50, 0x11, 0x21,
    0xcb, 0xdb, 0x20, 0x00, 0x00, 0x00, 0x21, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x74, 0x69,
    0x6e, 0x79, 0x2e, 0x73, 0x76, 0x6d, 0xd3, 0x36, 0x54, 0x30, 0xb4, 0x32, 0xd0, 0x33, 0x55, 0x30,
    0x06, 0x92, 0x46, 0xa6, 0x5c, 0xba, 0x86, 0x0a, 0x46, 0x56, 0x86, 0xa9, 0xba, 0xc6, 0x5c, 0xda,
    0x86, 0x40, 0x31, 0x73, 0x2e, 0x00, 0x50, 0x4b, 0x03, 0x04, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x21, 0x50, 0x3a, 0x58, 0xd2, 0x19, 0x07, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
    0x05, 0x00, 0x00, 0x00, 0x62, 0x2e, 0x73, 0x76, 0x6d, 0x2b, 0x31, 0x20, 0x31, 0x3a, 0x31, 0x0a,
    0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x21, 0x50,
    0x11, 0x21, 0xcb, 0xdb, 0x20, 0x00, 0x00, 0x00, 0x21, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x74, 0x69,
    0x6e, 0x79, 0x2e, 0x73, 0x76, 0x6d, 0x50, 0x4b, 0x01, 0x02, 0x14, 0x03, 0x14, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x21, 0x50, 0x3a, 0x58, 0xd2, 0x19, 0x07, 0x00, 0x00, 0x00, 0x07, 0x00,
    0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01,
    0x46, 0x00, 0x00, 0x00, 0x62, 0x2e, 0x73, 0x76, 0x6d, 0x50, 0x4b, 0x05, 0x06, 0x00, 0x00, 0x00,
    0x00, 0x02, 0x00, 0x02, 0x00, 0x69, 0x00, 0x00, 0x00, 0x70, 0x00, 0x00, 0x00, 0x00, 0x00};

static const struct {
    const char *name;
    const uint8_t *bytes;
    size_t n;
} archive[] = {{"tiny.gz", gz_bytes, sizeof gz_bytes},
               {"tiny.xz", xz_bytes, sizeof xz_bytes},
               {"tiny.bz2", bz2_bytes, sizeof bz2_bytes},
               {"tiny.zst", zst_bytes, sizeof zst_bytes},
               {"tiny.zip", zip_bytes, sizeof zip_bytes}};
enum { N_ARCHIVES = sizeof archive / sizeof archive[0] };

static void test_reads_archives(void **state)
{
    (void)state;
    struct hm_rows plain = rows_of("+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n"), rows;
    struct hm_err err;
    for (int i = 0; i < N_ARCHIVES; i++) {
        const char *path = temp_write("wrapped", archive[i].bytes, archive[i].n);
        if (open_file(&rows, path, 1, &err) != HM_OK)
            fail_msg("%s: %s", archive[i].name, err.text);
        check_equal(&rows, &plain);
        hm_rows_close(&rows);
    }
    hm_rows_close(&plain);
}

static void test_gzip_members_are_one_stream(void **state)
{
    (void)state;
    uint8_t bytes[2 * sizeof gz_bytes + 3] = {0};
    struct hm_rows rows,
        plain = rows_of("+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n");
    struct hm_err err;
    memcpy(bytes, gz_bytes, sizeof gz_bytes);
    memcpy(bytes + sizeof gz_bytes, gz_bytes, sizeof gz_bytes);
    assert_int_equal(open_file(&rows, temp_write("two.gz", bytes, sizeof bytes), 1, &err), HM_OK);
    check_equal(&rows, &plain);
    hm_rows_close(&rows);
    hm_rows_close(&plain);
}

static void test_refuses_several_files_in_one(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    assert_int_equal(
        open_file(&rows, temp_write("pair.zip", pair_zip_bytes, sizeof pair_zip_bytes), 0, &err),
        HM_EINPUT);
    assert_non_null(strstr(err.text, "pair.zip: the archive holds several files"));
    assert_int_equal(temp_count("pair"), 1);
}

/* Cut at every byte. A zip may lose its directory, a zstd frame may be whole before the file is:
 * never other rows. */
static void test_truncated_archives(void **state)
{
    (void)state;
    struct hm_rows rows, plain = rows_of("+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n");
    struct hm_err err;
    for (int i = 0; i < N_ARCHIVES; i++)
        for (size_t n = 0; n < archive[i].n; n++) {
            const char *path = temp_write("cut", archive[i].bytes, n);
            enum hm_status status = open_file(&rows, path, 0, &err);
            if (status == HM_OK) {
                if (strcmp(archive[i].name, "tiny.zip") != 0)
                    fail_msg("%s cut to %zu bytes was accepted", archive[i].name, n);
                check_equal(&rows, &plain);
                hm_rows_close(&rows);
                unlink(temp_path("cut.hmcache"));
            } else if (n > 6 && i != 4 && status != HM_ECORRUPT) {
                fail_msg("%s cut to %zu bytes: %s: %s", archive[i].name, n, hm_status_name(status),
                         err.text);
            }
            assert_int_equal(temp_count("cut"), 1);
        }
    hm_rows_close(&plain);
}

/* One bit flipped anywhere is noticed or does not matter (a time stamp, a name). */
static void test_damaged_archives(void **state)
{
    (void)state;
    struct hm_rows rows, plain = rows_of("+1 1:0.5 3:0.25\n-1 2:1e-3\n+1 3:7\n");
    struct hm_err err;
    uint8_t bytes[256];
    for (int i = 0; i < N_ARCHIVES; i++)
        for (size_t bit = 0; bit < 8 * archive[i].n; bit++) {
            memcpy(bytes, archive[i].bytes, archive[i].n);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (open_file(&rows, temp_write("flipped", bytes, archive[i].n), 1, &err) != HM_OK)
                continue;
            check_equal(&rows, &plain);
            hm_rows_close(&rows);
        }
    hm_rows_close(&plain);
}

/* ---- LYRL2004 ---- */

static const char lyrl_vectors[] = "2286  864:0.0497399253756197 1523:0.044664135988103\n"
                                   "2287  9:0.073 864:0.5\n"
                                   "2288  9:0.25\n";
static const char lyrl_topics[] =
    "E11 2286 1\nECAT 2286 1\nCCAT 2287 1\nC15 2287 1\nGCAT 2288 1\nCCAT 2288 0\n";

static enum hm_status open_lyrl(struct hm_rows *rows, const char *vectors, const char *topics,
                                const char *topic, struct hm_err *err)
{
    struct hm_rows_source source = {.n_files = 1, .topic = topic};
    source.file[0] = temp_text("vectors.dat", vectors);
    source.topics = temp_text("topics.qrels", topics);
    return hm_rows_open(rows, &source, NULL, NULL, err);
}

static void test_reads_lyrl2004(void **state)
{
    (void)state;
    struct hm_rows rows;
    struct hm_err err;
    assert_int_equal(open_lyrl(&rows, lyrl_vectors, lyrl_topics, "CCAT", &err), HM_OK);
    check_rows(&rows);
    assert_int_equal(rows.n_rows, 3);
    assert_int_equal(rows.n_positive, 1);
    assert_int_equal(rows.n_features, 1523);
    assert_int_equal(rows.label[row_with(&rows, 864, 0.5f)], 1);
    assert_int_equal(rows.label[row_with(&rows, 864, 0.0497399253756197f)], -1);
    hm_rows_close(&rows);
    assert_int_equal(open_lyrl(&rows, lyrl_vectors, lyrl_topics, "ECAT", &err),
                     HM_OK); /* not CCAT's cache */
    assert_int_equal(rows.label[row_with(&rows, 864, 0.5f)], -1);
    hm_rows_close(&rows);
}

static void test_refuses_bad_lyrl2004(void **state)
{
    (void)state;
    static const struct {
        const char *vectors, *topics, *topic, *expected;
    } refusal[] = {
        {lyrl_vectors, lyrl_topics, "XCAT",
         "topics.qrels: no document has the topic 'XCAT'; topics there are, for example, E11, "
         "ECAT, CCAT, C15, GCAT"},
        {"2286 1:1\n2299 1:1\n", lyrl_topics, "CCAT", "line 2: document 2299 has no topics in"},
        {"spam 1:1\n", lyrl_topics, "CCAT", "line 1: a document number is expected"},
        {"2286 1\n", lyrl_topics, "CCAT", "vectors.dat: line 1: '1': a ':' is expected"},
        {"99999999999 1:1\n", lyrl_topics, "CCAT", "line 1: a document number is expected"},
        {lyrl_vectors, "CCAT 2286\n", "CCAT",
         "topics.qrels: line 1: a line TOPIC DOCUMENT 1 is expected"},
        {lyrl_vectors, "CCAT x 1\n", "CCAT", "line 1: a line TOPIC DOCUMENT 1 is expected"},
        {lyrl_vectors, "CCAT 2286 1 1\n", "CCAT", "line 1: a line TOPIC DOCUMENT 1 is expected"},
        {lyrl_vectors, "\n", "CCAT", "no topics in the file"},
        {"2287 1:1\n", lyrl_topics, "CCAT", "all of the 1 documents have the topic 'CCAT'"},
        {lyrl_vectors, lyrl_topics, NULL, "say with --topic which topic counts as +1"},
    };
    for (size_t i = 0; i < sizeof refusal / sizeof refusal[0]; i++) {
        struct hm_rows rows;
        struct hm_err err = {""};
        if (open_lyrl(&rows, refusal[i].vectors, refusal[i].topics, refusal[i].topic, &err) ==
                HM_OK ||
            !strstr(err.text, refusal[i].expected))
            fail_msg("expected \"%s\", got \"%s\"", refusal[i].expected, err.text);
        assert_int_equal(temp_count("vectors.dat"), 1);
    }
}

/* ---- the cache ---- */

static int from_cache(const char *path, struct hm_rows *rows)
{
    struct hm_rows_load_stats stats;
    struct hm_err err;
    struct hm_rows_source source = {.file = {path}, .n_files = 1};
    if (hm_rows_open(rows, &source, NULL, &stats, &err) != HM_OK)
        fail_msg("%s", err.text);
    return stats.from_cache;
}

static void test_cache_is_used_and_renewed(void **state)
{
    (void)state;
    struct hm_rows first, rows;
    const char *path = temp_text("rows.svm", "+1 1:1\n-1 2:2\n");
    set_mtime(path, 1000);
    assert_int_equal(from_cache(path, &first), 0);
    assert_int_equal(first.map_is_file, 1);
    assert_int_equal(temp_count("rows.svm"), 2);
    assert_int_equal(access(temp_path("rows.svm.hmcache"), R_OK), 0);
    assert_int_equal(from_cache(path, &rows), 1);
    check_equal(&rows, &first);
    hm_rows_close(&rows);
    /* the same size, another time: what is mapped stays as it was, what is opened is new */
    set_mtime(temp_text("rows.svm", "+1 1:1\n-1 2:3\n"), 1001);
    assert_int_equal(from_cache(path, &rows), 0);
    row_with(&rows, 2, 3);
    row_with(&first, 2, 2);
    hm_rows_close(&rows);
    hm_rows_close(&first);
    set_mtime(temp_text("rows.svm", "+1 1:1\n-1 2:3 3:1\n"), 1001);
    assert_int_equal(from_cache(path, &rows), 0);
    hm_rows_close(&rows);
    assert_int_equal(temp_count("rows.svm"), 2);
}

/* As root every folder can be written; one that forbids it to all is respected nevertheless. */
static void test_cache_goes_home_from_read_only_folders(void **state)
{
    (void)state;
    struct hm_rows rows;
    char home[512], folder[512], path[600];
    snprintf(home, sizeof home, "%s", temp_path("cache/deep"));
    snprintf(folder, sizeof folder, "%s", temp_path("data"));
    assert_int_equal(mkdir(folder, 0755), 0);
    snprintf(path, sizeof path, "%s", temp_text("data/rows.svm", "+1 1:1\n-1 2:2\n"));
    assert_int_equal(chmod(folder, 0555), 0);
    setenv("XDG_CACHE_HOME", home, 1);
    assert_int_equal(from_cache(path, &rows), 0);
    assert_int_equal(rows.map_is_file, 1);
    hm_rows_close(&rows);
    assert_int_equal(from_cache(path, &rows), 1);
    hm_rows_close(&rows);
    assert_int_equal(access(temp_path("cache/deep/hogmesh"), X_OK), 0);
    assert_int_not_equal(access(temp_path("data/rows.svm.hmcache"), F_OK), 0);
    /* and when that cannot be written either, rows are private */
    setenv("XDG_CACHE_HOME", "/proc/none", 1);
    assert_int_equal(from_cache(path, &rows), 0);
    assert_int_equal(rows.map_is_file, 0);
    check_rows(&rows);
    hm_rows_close(&rows);
    unsetenv("XDG_CACHE_HOME");
    chmod(folder, 0755);
}

/* A disk that is full (here: a limit on the size of files) costs the cache, not the run. */
static void test_full_disk(void **state)
{
    (void)state;
    size_t length;
    char *text = random_text(3, 2000, 1000, &length);
    const char *path = temp_write("rows.svm", text, length);
    free(text);
    pid_t pid = fork();
    if (pid == 0) {
        struct hm_rows rows;
        struct hm_err err;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){16384, 16384});
        int good =
            open_file(&rows, path, 0, &err) == HM_OK && !rows.map_is_file && rows.n_rows == 2000;
        _exit(good ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    assert_int_equal(temp_count("rows.svm"), 1);
}

enum { PROCESSES = 4 };

/* Four processes start at once: one reads the text, three wait and take its cache. */
static void test_processes_that_start_together(void **state)
{
    (void)state;
    size_t length;
    char *text = random_text(4, 20000, 5000, &length);
    const char *path = temp_write("rows.svm", text, length);
    pid_t pid[PROCESSES];
    free(text);
    for (int i = 0; i < PROCESSES; i++)
        if ((pid[i] = fork()) == 0) {
            struct hm_rows rows;
            int cached = from_cache(path, &rows);
            _exit(rows.n_rows == 20000 ? cached : 9);
        }
    int built = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int how;
        assert_int_equal(waitpid(pid[i], &how, 0), pid[i]);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) <= 1);
        built += WEXITSTATUS(how) == 0;
    }
    assert_int_equal(built, 1);
    assert_int_equal(temp_count("rows.svm"), 2);
}

/* Whoever dies while building takes its lock along: the file alone holds up nobody. */
static void test_lock_of_the_dead(void **state)
{
    (void)state;
    struct hm_rows rows;
    const char *path = temp_text("rows.svm", "+1 1:1\n-1 2:2\n");
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(temp_path("rows.svm.hmcache.lock"), O_RDWR | O_CREAT, 0644);
        _exit(fd >= 0 && flock(fd, LOCK_EX) == 0 ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    assert_int_equal(temp_count(".lock"), 1);
    assert_int_equal(from_cache(path, &rows), 0);
    hm_rows_close(&rows);
    assert_int_equal(temp_count(".lock"), 0);
}

static int stop_with_count(void *context, const char *what, double done, double total,
                           const char *unit)
{
    (void)done, (void)total, (void)unit;
    if (!strstr(what, "wait"))
        return 0;
    return ++*(int *)context == 3;
}

static void test_waiting_can_be_stopped(void **state)
{
    (void)state;
    int count = 0, fd = open(temp_path("rows.svm.hmcache.lock"), O_RDWR | O_CREAT, 0644);
    struct hm_rows rows;
    struct hm_err err;
    struct hm_progress progress = {stop_with_count, &count};
    struct hm_rows_source source = {.file = {temp_text("rows.svm", "+1 1:1\n-1 2:2\n")},
                                    .n_files = 1};
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(hm_rows_open(&rows, &source, &progress, NULL, &err), HM_ESTOPPED);
    assert_int_equal(count, 3);
    close(fd);
}

/* ---- renumbering ---- */

static void test_reorders_a_test_set(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_rows train = rows_of("+1 2:1 3:1\n-1 2:1 5:1\n+1 2:1 3:1\n"); /* order 2 3 5 1 4 */
    struct hm_rows test = rows_of("+1 1:1 3:2 6:9\n-1 5:4\n-1 6:1\n");
    struct hm_rows before = test;
    assert_int_equal(hm_rows_reorder(&test, train.order, train.n_features, 0, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "feature 6 is not among the 5 features"));
    assert_memory_equal(&test, &before, sizeof test);
    assert_int_equal(hm_rows_reorder(&test, train.order, train.n_features, 1, &err), HM_OK);
    check_rows(&test);
    assert_true(test.order_hash == train.order_hash);
    assert_int_equal(test.map_is_file, 0);
    assert_int_equal(test.n_rows, 3);
    assert_int_equal(test.n_nonzero, 3);
    assert_int_equal(test.n_positive, 1);
    uint64_t r = row_with(&test, 3, 2);
    assert_int_equal(id_at(&test, test.start[r]), 1);
    assert_int_equal(test.label[r], 1);
    assert_int_equal(id_at(&test, test.start[row_with(&test, 5, 4)]), 2);
    before = test; /* already in that order: nothing to do */
    assert_int_equal(hm_rows_reorder(&test, train.order, train.n_features, 0, &err), HM_OK);
    assert_memory_equal(&test, &before, sizeof test);
    hm_rows_close(&train);
    hm_rows_close(&test);
}

static void test_refuses_orders_that_are_none(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_rows rows = rows_of("+1 1:1\n-1 2:1\n"), before = rows;
    uint32_t twice[3] = {0, 1, 0}, beyond[2] = {0, UINT32_MAX};
    assert_int_equal(hm_rows_reorder(&rows, twice, 3, 1, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "feature 1 twice"));
    assert_int_equal(hm_rows_reorder(&rows, beyond, 2, 1, &err), HM_EINPUT);
    assert_int_equal(hm_rows_reorder(&rows, twice, 0, 1, &err), HM_EINPUT);
    assert_memory_equal(&rows, &before, sizeof rows);
    hm_rows_close(&rows);
}

/* There and back, through an order so wide that features need 32 bits. */
static void test_reorders_there_and_back(void **state)
{
    (void)state;
    enum { WIDE = 70000 };
    size_t length;
    char *text = random_text(11, 1500, 3000, &length);
    struct hm_rows rows = rows_of(text), original = rows_of(text);
    struct hm_err err;
    struct hm_rng rng = hm_rng_seed(12, 0);
    uint32_t *order = malloc(WIDE * sizeof *order);
    assert_non_null(order);
    for (uint32_t i = 0; i < WIDE; i++)
        order[i] = i;
    for (uint32_t i = WIDE; i > 1; i--) {
        uint32_t j = hm_rng_below(&rng, i), t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
    assert_int_equal(hm_rows_reorder(&rows, order, WIDE, 0, &err), HM_OK);
    check_rows(&rows);
    assert_non_null(rows.id32);
    hm_rows_populate(&rows, 0, rows.n_rows);
    hm_rows_populate(&rows, 10, 10);
    assert_int_equal(hm_rows_reorder(&rows, original.order, original.n_features, 0, &err), HM_OK);
    check_equal(&rows, &original);
    hm_rows_close(&rows);
    hm_rows_close(&original);
    free(order);
    free(text);
}

/* ---- mutations ---- */

/* HOGMESH_SEED repeats a run, HOGMESH_FUZZ sets the number of mutations. */
static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void say_seed(const char *test, uint64_t seed, uint64_t n)
{
    printf("%s: repeat with HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu HOGMESH_TEST=%s test_rows\n", test,
           (unsigned long long)seed, (unsigned long long)n, test);
}

static void mutate(uint8_t *bytes, size_t *n, struct hm_rng *rng)
{
    static const char alphabet[] = "0123456789.:+-eE, \t\r\n#naifq\0\xFF";
    for (unsigned k = 1 + hm_rng_below(rng, 4); k > 0; k--) {
        size_t at = hm_rng_below(rng, (uint32_t)*n);
        switch (hm_rng_below(rng, 6)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << hm_rng_below(rng, 8));
            break;
        case 1:
            bytes[at] = (uint8_t)alphabet[hm_rng_below(rng, sizeof alphabet)];
            break;
        case 2: /* remove a few bytes */
            for (unsigned m = 1 + hm_rng_below(rng, 8); m > 0 && *n > at + m + 1; m = 0) {
                memmove(bytes + at, bytes + at + m, *n - at - m);
                *n -= m;
            }
            break;
        case 3: /* repeat a few bytes in place */
            for (unsigned m = 1 + hm_rng_below(rng, 30); *n > at + 2 * m && m > 0; m = 0)
                memcpy(bytes + at + m, bytes + at, m);
            break;
        case 4: /* end early */
            if (hm_rng_below(rng, 8) == 0 && at > 0)
                *n = at;
            break;
        default: /* a long run of one digit */
            for (unsigned m = hm_rng_below(rng, 40); m > 0 && at + m < *n; m--)
                bytes[at + m] = (uint8_t)('0' + at % 10);
        }
    }
}

static void test_mutated_text(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1), n = from_environment("HOGMESH_FUZZ", 2000),
             accepted = 0;
    size_t length, m;
    char *text = random_text(21, 40, 70000, &length);
    uint8_t *bytes = malloc(length + 1);
    assert_non_null(bytes);
    say_seed("test_mutated_text", seed, n);
    for (uint64_t i = 0; i < n; i++) {
        struct hm_rng rng = hm_rng_seed(seed, i);
        struct hm_rows rows;
        struct hm_err err;
        memcpy(bytes, text, length);
        m = length;
        mutate(bytes, &m, &rng);
        enum hm_status status = open_file(&rows, temp_write("rows.svm", bytes, m), 1, &err);
        assert_true(status == HM_OK || (status == HM_EINPUT && err.text[0] && !rows.map));
        if (status != HM_OK)
            continue;
        accepted++;
        check_rows(&rows);
        hm_rows_close(&rows);
    }
    assert_true(n < 500 || (accepted > 0 && accepted < n));
    free(bytes);
    free(text);
}

/* A damaged cache is built anew, or the damage lies between the sections: the rows are the same in
 * any case. */
static void test_mutated_cache(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1), n = from_environment("HOGMESH_FUZZ", 2000),
             kept = 0;
    size_t length, size;
    char *text = random_text(22, 300, 4000, &length);
    struct hm_rows rows, original;
    char path[512];
    snprintf(path, sizeof path, "%s", temp_write("rows.svm", text, length));
    free(text);
    say_seed("test_mutated_cache", seed, n);
    set_mtime(path, 1000);
    assert_int_equal(from_cache(path, &original), 0);
    uint8_t *good = temp_read(temp_path("rows.svm.hmcache"), &size), *bytes = malloc(size + 64);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < n; i++) {
        struct hm_rng rng = hm_rng_seed(seed, i);
        size_t m = size;
        memcpy(bytes, good, size);
        memset(bytes + size, 0, 64);
        for (unsigned k = 1 + hm_rng_below(&rng, 3); k > 0;
             k--) /* half of the flips in the header */
            bytes[hm_rng_below(&rng, hm_rng_below(&rng, 2) ? (uint32_t)size : 120)] ^=
                (uint8_t)(1u << hm_rng_below(&rng, 8));
        if (hm_rng_below(&rng, 10) == 0)
            m = hm_rng_below(&rng, (uint32_t)size + 64);
        unlink(temp_path("rows.svm.hmcache")); /* it is mapped: never write to it */
        temp_write("rows.svm.hmcache", bytes, m);
        kept += (uint64_t)from_cache(path, &rows);
        check_equal(&rows, &original);
        hm_rows_close(&rows);
    }
    assert_true(kept < n);
    hm_rows_close(&original);
    free(bytes);
    free(good);
}

/* ---- real data ---- */

static void test_real_rcv1(void **state)
{
    (void)state;
    const char *data = getenv("HOGMESH_DATA");
    char path[1024];
    if (!data) {
        printf("HOGMESH_DATA (the folder that holds rcv1/) is not set: skipped\n");
        skip();
    }
    struct hm_rows rows, test;
    struct hm_err err;
    snprintf(path, sizeof path, "%s/rcv1/rcv1v2_subset.binary.train.svm.xz", data);
    if (open_file(&rows, path, 1, &err) != HM_OK)
        fail_msg("%s", err.text);
    check_rows(&rows);
    assert_int_equal(rows.n_rows, 18749);
    assert_int_equal(rows.n_positive, 9348);
    snprintf(path, sizeof path, "%s/rcv1/rcv1v2_subset.binary.test.svm.xz", data);
    if (open_file(&test, path, 1, &err) != HM_OK ||
        hm_rows_reorder(&test, rows.order, rows.n_features, 1, &err) != HM_OK)
        fail_msg("%s", err.text);
    check_rows(&test);
    assert_int_equal(test.n_rows, 5000);
    assert_int_equal(test.n_positive, 2481);
    hm_rows_close(&test);
    hm_rows_close(&rows);
}

/* The published topics file with a few documents of our own making: 2286 has E11, ECAT, M11, M12
 * and MCAT. */
static void test_real_topics(void **state)
{
    (void)state;
    const char *data = getenv("HOGMESH_DATA");
    char path[1024];
    if (!data) {
        printf("HOGMESH_DATA (the folder that holds rcv1/) is not set: skipped\n");
        skip();
    }
    struct hm_rows rows;
    struct hm_err err;
    struct hm_rows_source source = {.n_files = 1, .no_cache = 1, .topic = "MCAT", .topics = path};
    snprintf(path, sizeof path, "%s/rcv1/rcv1-v2.topics.qrels.xz", data);
    source.file[0] = temp_text("vectors.dat", "2286  1:1\n2287  1:2\n810596  1:3\n");
    if (hm_rows_open(&rows, &source, NULL, NULL, &err) != HM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(rows.label[row_with(&rows, 1, 1)], 1);
    hm_rows_close(&rows);
    source.topic = "NONE";
    assert_int_equal(hm_rows_open(&rows, &source, NULL, NULL, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "no document has the topic 'NONE'"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, temp_setup, temp_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reads_rows),
        TEST(test_orders_by_document_frequency),
        TEST(test_accepts_what_is_found_in_the_wild),
        TEST(test_keeps_every_row),
        TEST(test_wide_features),
        TEST(test_long_lines),
        TEST(test_several_files_are_one_dataset),
        TEST(test_n_features_can_be_given),
        TEST(test_label_lists),
        TEST(test_numbers_equal_strtof),
        TEST(test_long_numbers),
        TEST(test_values_are_kept_as_written),
        TEST(test_refusals),
        TEST(test_refuses_nul_bytes_and_endless_lines),
        TEST(test_refuses_what_is_no_file),
        TEST(test_stops_when_asked),
        TEST(test_reads_archives),
        TEST(test_gzip_members_are_one_stream),
        TEST(test_refuses_several_files_in_one),
        TEST(test_truncated_archives),
        TEST(test_damaged_archives),
        TEST(test_reads_lyrl2004),
        TEST(test_refuses_bad_lyrl2004),
        TEST(test_cache_is_used_and_renewed),
        TEST(test_cache_goes_home_from_read_only_folders),
        TEST(test_full_disk),
        TEST(test_processes_that_start_together),
        TEST(test_lock_of_the_dead),
        TEST(test_waiting_can_be_stopped),
        TEST(test_reorders_a_test_set),
        TEST(test_refuses_orders_that_are_none),
        TEST(test_reorders_there_and_back),
        TEST(test_mutated_text),
        TEST(test_mutated_cache),
        TEST(test_real_rcv1),
        TEST(test_real_topics),
    };
    const char *filter = getenv("HOGMESH_TEST");
    if (filter)
        cmocka_set_test_filter(filter);
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
