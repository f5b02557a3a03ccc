/* The small things under everything: errors, configuration fields, hashes, random numbers and the
 * combination rules. */
#include "tests/sparse_scene.h"

#include "sparse/combine.h"
#include "sparse/fields.h"
#include "sparse/hash.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- status ---- */

static void test_errors_gain_context(void **state)
{
    (void)state;
    struct hm_err err = {"old"};
    assert_int_equal(hm_fail(&err, HM_EINPUT, "line %d", 3), HM_EINPUT);
    assert_string_equal(err.text, "line 3");
    assert_int_equal(hm_context(&err, HM_EINPUT, "header"), HM_EINPUT);
    assert_int_equal(hm_context(&err, HM_EIO, "load %s", "train.gz"), HM_EIO);
    assert_string_equal(err.text, "load train.gz: header: line 3");
    assert_int_equal(hm_fail(NULL, HM_ENOMEM, "nobody hears %d", 1), HM_ENOMEM);
    assert_int_equal(hm_context(NULL, HM_ENOMEM, "nobody hears %d", 1), HM_ENOMEM);
}

static void fill(char *text, size_t n, char c)
{
    memset(text, c, n);
    text[n] = 0;
}

/* Whatever the lengths, the text is context, ": " and what was said, cut at the end. */
static void test_errors_are_cut_at_the_end(void **state)
{
    (void)state;
    static const size_t length[] = {0, 1, 2, 500, 1000, 1019, 1020, 1021, 1022, 1023};
    enum { ROOM = sizeof((struct hm_err *)0)->text };
    char said[ROOM], context[2 * ROOM], expected[4 * ROOM];
    for (size_t s = 0; s < N_OF(length); s++)
        for (size_t c = 0; c < N_OF(length); c++) {
            struct {
                struct hm_err err;
                char behind[8];
            } guarded = {.behind = "behind"};
            fill(said, length[s], 's');
            fill(context, length[c], 'c');
            strcpy(expected, context);
            strcat(strcat(expected, ": "), said);
            expected[ROOM - 1] = 0;
            hm_fail(&guarded.err, HM_EIO, "%s", said);
            assert_string_equal(guarded.err.text, said);
            hm_context(&guarded.err, HM_EIO, "%s", context);
            assert_string_equal(guarded.err.text, expected);
            assert_string_equal(guarded.behind, "behind");
        }
    struct hm_err err;
    fill(context, 2 * ROOM - 1, 'c');
    fill(expected, ROOM - 1, 'c');
    hm_fail(&err, HM_EIO, "%s", context);
    assert_string_equal(err.text, expected);
    hm_context(&err, HM_EIO, "%s", context);
    assert_string_equal(err.text, expected);
}

static void test_every_status_has_a_name(void **state)
{
    (void)state;
    for (int a = HM_OK; a <= HM_ESTOPPED; a++) {
        const char *name = hm_status_name((enum hm_status)a);
        assert_true(strlen(name) >= 2);
        assert_string_not_equal(name, "unknown");
        for (int b = HM_OK; b < a; b++)
            assert_string_not_equal(name, hm_status_name((enum hm_status)b));
    }
    assert_string_equal(hm_status_name((enum hm_status)99), "unknown");
}

/* ---- fields ---- */

static void test_fields_are_sorted_and_unique(void **state)
{
    (void)state;
    static struct hm_fields a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    static const char *const name[] = {"m", "a", "z", "aa", "m_1", "m1", "b"};
    static const char *const sorted[] = {"a", "aa", "b", "m", "m1", "m_1", "z"};
    for (size_t i = 0; i < N_OF(name); i++) {
        hm_fields_set(&a, name[i], "old");
        hm_fields_set(&b, name[N_OF(name) - 1 - i], "value of %s", name[N_OF(name) - 1 - i]);
    }
    for (size_t i = 0; i < N_OF(name); i++)
        hm_fields_set(&a, name[i], "value of %s", name[i]);
    assert_int_equal(a.n, N_OF(name));
    for (size_t i = 0; i < a.n; i++) {
        char value[64] = "value of ";
        assert_string_equal(a.field[i].name, sorted[i]);
        assert_string_equal(a.field[i].value, strcat(value, sorted[i]));
        assert_string_equal(hm_fields_get(&a, sorted[i]), value);
        assert_string_equal(hm_fields_get(&b, sorted[i]), value);
    }
    assert_null(hm_fields_get(&a, ""));
    assert_null(hm_fields_get(&a, "c"));
    assert_null(hm_fields_get(&a, "zz"));
}

static void test_fields_at_their_limits(void **state)
{
    (void)state;
    static struct hm_fields fields;
    memset(&fields, 0, sizeof fields);
    char name[HM_FIELD_NAME_MAX + 1], value[HM_FIELD_VALUE_MAX + 1];
    fill(value, HM_FIELD_VALUE_MAX, 'v');
    for (unsigned i = HM_FIELDS_MAX; i-- > 0;) {
        fill(name, HM_FIELD_NAME_MAX, 'n');
        name[HM_FIELD_NAME_MAX - 1] = (char)('0' + i);
        hm_fields_set(&fields, name, "%s", value);
    }
    assert_int_equal(fields.n, HM_FIELDS_MAX);
    for (unsigned i = 0; i < HM_FIELDS_MAX; i++) {
        name[HM_FIELD_NAME_MAX - 1] = (char)('0' + i);
        assert_string_equal(fields.field[i].name, name);
        assert_string_equal(hm_fields_get(&fields, name), value);
    }
    hm_fields_set(&fields, name, "%s", ""); /* full, but this one is there */
    assert_string_equal(hm_fields_get(&fields, name), "");
}

static void test_numbers_come_back(void **state)
{
    (void)state;
    static struct hm_fields fields;
    struct hm_rng rng = hm_rng_seed(1, 0);
    memset(&fields, 0, sizeof fields);
    for (int times = 0; times < 1000; times++) {
        double x = (hm_rng_unit(&rng) - .5) * exp2((int)hm_rng_below(&rng, 600) - 300), y = 0;
        uint64_t u = hm_rng_next(&rng) >> hm_rng_below(&rng, 64), v = 0;
        hm_fields_set(&fields, "x", "%.17g", x);
        hm_fields_set(&fields, "u", "%llu", (unsigned long long)u);
        assert_int_equal(hm_fields_number(&fields, "x", -1e300, 1e300, &y, NULL), HM_OK);
        assert_true(x == y);
        assert_int_equal(hm_fields_u64(&fields, "u", &v, NULL), HM_OK);
        assert_true(u == v);
    }
}

/* A locale with a decimal comma, made for the test: few machines have one installed. */
static const char *comma_locale(void)
{
    static char folder[64] = "/tmp/hogmesh-locale-XXXXXX";
    char command[256];
    if (!mkdtemp(folder))
        return NULL;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
             folder);
    int made = system(command);
    setenv("LOCPATH", folder, 1);
    const char *name = setlocale(LC_ALL, "de_DE.UTF-8");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 && made >= 0 ? name : NULL;
}

static void test_the_callers_locale_does_not_matter(void **state)
{
    (void)state;
    static struct hm_fields fields;
    double x = 0;
    char text[32];
    memset(&fields, 0, sizeof fields);
    if (!comma_locale())
        skip(); /* needs the package locales */
    snprintf(text, sizeof text, "%g", .5);
    assert_string_equal(text, "0,5");
    hm_fields_set(&fields, "lambda", "%.17g", .5);
    assert_string_equal(hm_fields_get(&fields, "lambda"), "0.5");
    assert_int_equal(hm_fields_number(&fields, "lambda", 0, 1, &x, NULL), HM_OK);
    assert_true(x == .5);
    snprintf(text, sizeof text, "%g", .5);
    assert_string_equal(text, "0,5"); /* it is still the caller's */
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
}

static void refuse(const char *value, int number)
{
    static struct hm_fields fields;
    struct hm_err err = {""};
    double x = 42;
    uint64_t u = 42;
    memset(&fields, 0, sizeof fields);
    hm_fields_set(&fields, "eta", "%s", value);
    if (number)
        assert_int_equal(hm_fields_number(&fields, "eta", -1, 100, &x, &err), HM_EINPUT);
    else
        assert_int_equal(hm_fields_u64(&fields, "eta", &u, &err), HM_EINPUT);
    assert_true(x == 42);
    assert_int_equal(u, 42);
    assert_non_null(strstr(err.text, "'eta'"));
    assert_non_null(strstr(err.text, "expected"));
}

static void test_what_is_no_number(void **state)
{
    (void)state;
    static const char *const no_number[] = {"",    "x",   "1x",   "1 ",    "--1",  "1e",
                                            "nan", "inf", "-inf", "100.1", "-1.1", "1e999",
                                            "0,5", "1 2", ".",    "e1"};
    static const char *const no_u64[] = {
        "", "x", "1x", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "18446744073709551616"};
    for (size_t i = 0; i < N_OF(no_number); i++)
        refuse(no_number[i], 1);
    for (size_t i = 0; i < N_OF(no_u64); i++)
        refuse(no_u64[i], 0);
}

static void test_what_is_a_number(void **state)
{
    (void)state;
    static struct hm_fields fields;
    struct hm_err err = {""};
    double x;
    uint64_t u;
    memset(&fields, 0, sizeof fields);
    hm_fields_set(&fields, "lo", "-1");
    hm_fields_set(&fields, "hi", "100");
    hm_fields_set(&fields, "most", "18446744073709551615");
    assert_int_equal(hm_fields_number(&fields, "lo", -1, 100, &x, &err), HM_OK);
    assert_true(x == -1);
    assert_int_equal(hm_fields_number(&fields, "hi", -1, 100, &x, &err), HM_OK);
    assert_true(x == 100);
    assert_int_equal(hm_fields_u64(&fields, "most", &u, &err), HM_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(hm_fields_number(&fields, "eta", -1, 100, &x, &err), HM_EINPUT);
    assert_string_equal(err.text, "configuration: field 'eta' is missing");
    assert_int_equal(hm_fields_u64(&fields, "eta", &u, &err), HM_EINPUT);
    assert_string_equal(err.text, "configuration: field 'eta' is missing");
    assert_true(x == 100 && u == UINT64_MAX);
}

/* ---- hash ---- */

static void test_hash_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } row[] = {
        {"", "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"},
        {"abc", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"},
    };
    for (size_t i = 0; i < N_OF(row); i++)
        for (size_t cut = 0; cut <= strlen(row[i].text); cut++) {
            struct hm_hash hash;
            uint8_t out[HM_HASH_BYTES];
            char hex[HM_HASH_HEX];
            hm_hash_init(&hash);
            hm_hash_update(&hash, row[i].text, cut);
            struct hm_hash copy = hash; /* may be copied on the way */
            hm_hash_update(&copy, row[i].text + cut, strlen(row[i].text) - cut);
            hm_hash_final(&copy, out);
            hm_hash_hex(out, hex);
            assert_string_equal(hex, row[i].hex);
        }
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t bytes[HM_HASH_BYTES];
    char hex[HM_HASH_HEX], pair[3];
    for (unsigned first = 0; first < 256; first += HM_HASH_BYTES) {
        for (unsigned i = 0; i < HM_HASH_BYTES; i++)
            bytes[i] = (uint8_t)(first + i);
        hm_hash_hex(bytes, hex);
        assert_int_equal(strlen(hex), 2 * HM_HASH_BYTES);
        for (unsigned i = 0; i < HM_HASH_BYTES; i++) {
            memcpy(pair, hex + 2 * i, 2);
            pair[2] = 0;
            assert_int_equal(strtoul(pair, NULL, 16), bytes[i]);
        }
        assert_int_equal(strspn(hex, "0123456789abcdef"), 2 * HM_HASH_BYTES);
    }
}

/* ---- random numbers ---- */

static void test_golden_random_numbers(void **state)
{
    (void)state;
    /* splitmix64 from state 0 and 1234567, as published. */
    struct hm_rng rng = {0};
    assert_true(hm_rng_next(&rng) == 0xe220a8397b1dcdaf);
    assert_true(hm_rng_next(&rng) == 0x6e789e6aa1b965f4);
    assert_true(hm_rng_next(&rng) == 0x06c45d188009454f);
    rng.state = 1234567;
    assert_true(hm_rng_next(&rng) == 6457827717110365317u);
    assert_true(hm_rng_next(&rng) == 3203168211198807973u);
    assert_true(hm_mix(1) == 0x5692161d100b05e5);
    /* Seeds and streams: B0 and the order of rows depend on these. */
    static const struct {
        uint64_t seed, stream, first;
    } row[] = {
        {0, 0, 0x346dbc0b5711d830}, {1, 0, 0x017daf0019666393},          {0, 1, 0xd68f940882e6e04b},
        {1, 1, 0xe8d53078c045a3e8}, {UINT64_MAX, 7, 0xe015907408ef0c76},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        rng = hm_rng_seed(row[i].seed, row[i].stream);
        assert_true(hm_rng_next(&rng) == row[i].first);
    }
}

static void test_random_numbers_keep_their_range(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(1, 2);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        uint32_t n = 1 + (uint32_t)(hm_rng_next(&rng) >> (32 + i % 32));
        assert_true(n == 0 || hm_rng_below(&rng, n) < n);
        double x = hm_rng_unit(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(fabs(sum / 100000 - .5) < .01);
    assert_int_equal(hm_rng_below(&rng, 1), 0);
    unsigned count[6] = {0};
    for (int i = 0; i < 60000; i++)
        count[hm_rng_below(&rng, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(count[i], 9500, 10500);
}

/* ---- combination ---- */

static void combines(enum hm_rule rule, float amplify, unsigned n_live, float step, float divisor)
{
    struct hm_combine combine = {rule, amplify};
    struct hm_combination combination = hm_combine(&combine, n_live);
    assert_true(combination.step == step);
    assert_true(combination.divisor == divisor);
    assert_true(combination.divisor >= 1);
}

static void test_rules(void **state)
{
    (void)state;
    combines(HM_RULE_SUM, 0, 8, 1, 1);
    combines(HM_RULE_SUM, 3, 8, 1, 1);
    combines(HM_RULE_MEAN, 0, 8, 1, 8);
    combines(HM_RULE_MEAN, 3, 1, 1, 1);
    combines(HM_RULE_AMPLIFY, 0, 8, 8, 8);
    combines(HM_RULE_HOLD, 0, 8, 8, 8);
    combines(HM_RULE_HOLD, 2.5f, 8, 2.5f, 2.5f);
    combines(HM_RULE_LOOKAHEAD, 0, 8, 1, 1);
    combines(HM_RULE_AMPLIFY, 0, 1, 1, 1);
    combines(HM_RULE_AMPLIFY, 2.5f, 8, 2.5f, 2.5f);
    /* Before anybody is known to live we are one. */
    combines(HM_RULE_SUM, 0, 0, 1, 1);
    combines(HM_RULE_MEAN, 0, 0, 1, 1);
    combines(HM_RULE_AMPLIFY, 0, 0, 1, 1);
}

/* ---- tables ---- */

static void test_tables_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(hm_kernels_find("auto"), hm_kernels_at(0));
    assert_ptr_equal(hm_kernels_find("ref"), &hm_kernels_ref);
    assert_null(hm_kernels_find(""));
    assert_null(hm_kernels_find("mmx"));
    unsigned n = 0;
    for_each_table(kernels)
    {
        assert_ptr_equal(hm_kernels_find(kernels->name), kernels);
        n++;
    }
    assert_true(n >= 2);
    assert_ptr_equal(hm_kernels_at(n - 1), &hm_kernels_ref);
    assert_null(hm_kernels_at(n));
    assert_null(hm_kernels_at(1000));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_gain_context),
        cmocka_unit_test(test_errors_are_cut_at_the_end),
        cmocka_unit_test(test_every_status_has_a_name),
        cmocka_unit_test(test_fields_are_sorted_and_unique),
        cmocka_unit_test(test_fields_at_their_limits),
        cmocka_unit_test(test_numbers_come_back),
        cmocka_unit_test(test_the_callers_locale_does_not_matter),
        cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_what_is_a_number),
        cmocka_unit_test(test_hash_vectors),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_golden_random_numbers),
        cmocka_unit_test(test_random_numbers_keep_their_range),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_tables_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
