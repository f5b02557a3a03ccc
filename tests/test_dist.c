/* Distributions of durations: what texts mean, what they refuse, and that draws are the same on
 * every machine. */
#include "tests/temp_folder.h"

#include "node/dist.h"

#include <math.h>

enum { DRAWS = 100000 };

static struct hm_dist dist_of(const char *text)
{
    struct hm_dist dist;
    struct hm_err err = {""};
    if (hm_dist_parse(&dist, text, temp_folder, &err))
        fail_msg("%s: %s", text, err.text);
    return dist;
}

static void assert_dist(const char *text, enum hm_dist_kind kind, double a, double b)
{
    struct hm_dist dist = dist_of(text);
    assert_int_equal(dist.kind, kind);
    assert_true(dist.a == a);
    assert_true(dist.b == b);
}

static void assert_refused(const char *text, const char *expected)
{
    struct hm_dist dist;
    struct hm_err err = {""};
    assert_int_equal(hm_dist_parse(&dist, text, temp_folder, &err), HM_EINPUT);
    assert_string_equal(err.text, expected);
    assert_int_equal(dist.kind, HM_DIST_NONE);
}

static void test_texts(void **state)
{
    (void)state;
    assert_dist("const:90ms", HM_DIST_CONST, 90000, 0);
    assert_dist("const:0", HM_DIST_CONST, 0, 0);
    assert_dist("const:.5us", HM_DIST_CONST, .5, 0);
    assert_dist("uniform:10us,1.5ms", HM_DIST_UNIFORM, 10, 1500);
    assert_dist("gauss:17ms,3ms", HM_DIST_GAUSS, 17000, 3000);
    assert_dist("lognormal:200us,0.5", HM_DIST_LOGNORMAL, 200, .5);
    assert_dist("uniform:1m,1h", HM_DIST_UNIFORM, 6e7, 3.6e9);
}

#define DURATION                                                                                   \
    "is no duration; expected a number from 0 to 1000h with a unit us, ms, s, m or h, such as "    \
    "\"1.5s\""

static void test_refusals(void **state)
{
    (void)state;
    const char *kinds = "is no distribution; expected const:90ms, uniform:10ms,20ms, "
                        "gauss:17ms,3ms, lognormal:200us,0.5 or trace:FILE";
    char text[200];
    for (unsigned i = 0; i < 5; i++) {
        const char *bad = (const char *[]){"", "90ms", "const", "constant:1s", "Const:1s"}[i];
        snprintf(text, sizeof text, "'%s' %s", bad, kinds);
        assert_refused(bad, text);
    }
    assert_refused("const:", "'const:': '' " DURATION);
    assert_refused("const:90", "'const:90': '90' " DURATION);
    assert_refused("const:-1s", "'const:-1s': '-1s' " DURATION);
    assert_refused("const:nan", "'const:nan': 'nan' " DURATION);
    assert_refused("const:1e999s", "'const:1e999s': '1e999s' " DURATION);
    assert_refused("const:1001h", "'const:1001h': '1001h' " DURATION);
    assert_refused("const:1 s", "'const:1 s': '1 s' " DURATION);
    assert_refused("const:1parsec", "'const:1parsec': '1parsec' " DURATION);
    assert_refused("const:1s,2s",
                   "'const:1s,2s': more was said than expected, which is const:90ms");
    assert_refused("uniform:1s",
                   "'uniform:1s': two numbers are expected, separated by a comma, such "
                   "as uniform:10ms,20ms");
    assert_refused("uniform:2s,1s", "'uniform:2s,1s': the second duration is below the first");
    assert_refused("gauss:1s,2", "'gauss:1s,2': '2' " DURATION);
    assert_refused("lognormal:1s,2s", "'lognormal:1s,2s': '2s' is no deviation of a logarithm; "
                                      "expected a number from 0 to 20");
    assert_refused("lognormal:1s,21", "'lognormal:1s,21': '21' is no deviation of a logarithm; "
                                      "expected a number from 0 to 20");
    assert_refused("const:\033[2J1s", "'const:?[2J1s': '?[2J1s' " DURATION);
}

static void test_nodes(void **state)
{
    (void)state;
    struct hm_dist dist;
    struct hm_node_set nodes;
    struct hm_err err;
    assert_int_equal(hm_dist_parse_nodes(&dist, &nodes, "const:90ms@0,3-5", NULL, &err), HM_OK);
    assert_true(hm_node_set_has(&nodes, 0));
    assert_false(hm_node_set_has(&nodes, 1));
    assert_true(hm_node_set_has(&nodes, 4));
    assert_false(hm_node_set_has(&nodes, 6));
    assert_int_equal(hm_node_set_count(&nodes, 5), 3);
    hm_node_set_fini(&nodes);
    assert_int_equal(hm_dist_parse_nodes(&dist, &nodes, "const:90ms", NULL, &err), HM_OK);
    assert_true(hm_node_set_is_all(&nodes));
    hm_node_set_fini(&nodes);
    temp_text("a@b", "7\n");
    assert_int_equal(hm_dist_parse_nodes(&dist, &nodes, "trace:a@b", temp_folder, &err), HM_OK);
    assert_true(hm_node_set_is_all(&nodes));
    hm_node_set_fini(&nodes);
    hm_dist_fini(&dist);
    for (unsigned i = 0; i < 4; i++) {
        const char *bad = (const char *[]){"", "5-3", "1,,2", "65536"}[i];
        char text[100], expected[200];
        snprintf(text, sizeof text, "const:90ms@%s", bad);
        snprintf(
            expected, sizeof expected,
            "'%s' names no nodes; expected numbers from 0 to 65535 and ranges of them, such as "
            "\"0,3-5\", or \"*\"",
            bad);
        assert_int_equal(hm_dist_parse_nodes(&dist, &nodes, text, NULL, &err), HM_EINPUT);
        assert_string_equal(err.text, expected);
    }
}

/* Against a plain array of flags. */
static void test_sets_of_nodes(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(1, 0);
    for (int round = 0; round < 300; round++) {
        struct hm_node_set set = {0}, again = {0};
        char flags[64] = {0}, text[400];
        for (int i = 0; i < 12; i++) {
            uint32_t first = hm_rng_below(&rng, 60), last = first + hm_rng_below(&rng, 4);
            assert_int_equal(hm_node_set_add(&set, first, last, NULL), HM_OK);
            memset(flags + first, 1, last - first + 1);
        }
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(hm_node_set_has(&set, i), flags[i]);
        for (uint32_t i = 1; i < set.n; i++)
            assert_true(set.range[i].first > set.range[i - 1].last + 1);
        hm_node_set_print(&set, text, sizeof text);
        assert_int_equal(hm_node_set_parse(&again, text, NULL), HM_OK);
        assert_int_equal(again.n, set.n);
        assert_memory_equal(again.range, set.range, set.n * sizeof *set.range);
        assert_int_equal(hm_node_set_print(&set, NULL, 0), strlen(text));
        hm_node_set_fini(&set);
        hm_node_set_fini(&again);
    }
    struct hm_node_set set = {0};
    struct hm_err err;
    for (uint32_t i = 0; i < HM_NODE_RANGES_MAX; i++)
        assert_int_equal(hm_node_set_add(&set, 2 * i, 2 * i, NULL), HM_OK);
    assert_int_equal(hm_node_set_add(&set, 60000, 60000, &err), HM_ENOMEM);
    hm_node_set_fini(&set);
}

static void test_prints_what_parses(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "const:90ms",        "const:0",      "const:1h",       "const:1500ms",
        "uniform:10ms,20ms", "gauss:17ms,0", "const:0.25us",   "lognormal:200us,0.5",
        "const:90061s",      "uniform:0,1m", "lognormal:1s,0", "const:123456789us",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[HM_DIST_TEXT_MAX];
        struct hm_dist dist = dist_of(texts[i]);
        assert_int_equal(hm_dist_print(&dist, text), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
    }
    struct hm_rng rng = hm_rng_seed(2, 0);
    for (int i = 0; i < 2000; i++) {
        struct hm_dist dist = {
            .kind = HM_DIST_LOGNORMAL, .a = hm_rng_unit(&rng) * 1e9, .b = hm_rng_unit(&rng) * 9};
        char text[HM_DIST_TEXT_MAX];
        hm_dist_print(&dist, text);
        struct hm_dist again = dist_of(text);
        assert_true(fabs(again.a - dist.a) <= 1e-15 * dist.a);
        assert_true(again.b == dist.b);
    }
}

/* Mean and deviation of many draws, each within five standard errors or so. */
static void assert_moments(const char *text, double mean, double deviation)
{
    struct hm_dist dist = dist_of(text);
    struct hm_rng rng = hm_rng_seed(3, 0);
    double sum = 0, squares = 0;
    uint32_t position = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = (double)hm_dist_draw(&dist, &rng, &position);
        sum += x;
        squares += x * x;
    }
    double m = sum / DRAWS, d = sqrt(fmax(0, squares / DRAWS - m * m));
    if (fabs(m - mean) > .02 * deviation + .5 || fabs(d - deviation) > .03 * deviation + .5)
        fail_msg("%s: mean %g, deviation %g; expected %g, %g", text, m, d, mean, deviation);
}

static void test_draws(void **state)
{
    (void)state;
    assert_moments("const:90ms", 90000, 0);
    assert_moments("uniform:10ms,20ms", 15000, 10000 / sqrt(12));
    assert_moments("gauss:17ms,3ms", 17000, 3000);
    assert_moments("gauss:0,1ms", 1000 / sqrt(2 * M_PI),
                   1000 * sqrt(.5 - 1 / (2 * M_PI))); /* half of them were cut off at 0 */
    assert_moments("lognormal:200us,0.5", 200 * exp(.125), 200 * exp(.125) * sqrt(exp(.25) - 1));
    struct hm_dist none = {0}, huge = dist_of("lognormal:1000h,20");
    struct hm_rng rng = hm_rng_seed(4, 0);
    uint32_t position = 0;
    assert_int_equal(hm_dist_draw(&none, &rng, &position), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(hm_dist_draw(&huge, &rng, &position) <= HM_DURATION_MAX_US);
}

/* These numbers were drawn once and must come out everywhere. */
static void test_draws_are_the_same_everywhere(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us[4];
    } known[] = {
        {"uniform:10ms,20ms", {17696, 12875, 12282, 19530}},
        {"gauss:17ms,3ms", {18729, 12731, 18877, 13113}},
        {"lognormal:200us,0.5", {267, 98, 273, 105}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct hm_dist dist = dist_of(known[i].text);
        struct hm_rng rng = hm_rng_seed(42, 7);
        uint32_t position = 0;
        for (int k = 0; k < 4; k++)
            assert_int_equal(hm_dist_draw(&dist, &rng, &position), known[i].us[k]);
    }
}

static void test_trace(void **state)
{
    (void)state;
    temp_text("t", "# measured\n  1500\r\n\n2ms # slow\n0\n.5s");
    struct hm_dist dist = dist_of("trace:t");
    static const uint64_t expected[] = {1500, 2000, 0, 500000, 1500, 2000};
    uint32_t a = 0, b = 0;
    for (int i = 0; i < 6; i++)
        assert_int_equal(hm_dist_draw(&dist, NULL, &a), expected[i]);
    assert_int_equal(hm_dist_draw(&dist, NULL, &b), 1500); /* each user has its own place */
    char text[HM_DIST_TEXT_MAX];
    hm_dist_print(&dist, text);
    assert_string_equal(text, "trace:t");
    struct hm_dist again = dist_of(text);
    assert_true(hm_dist_same(&dist, &again));
    hm_dist_fini(&again);
    temp_text("t", "1500\n");
    again = dist_of(text);
    assert_false(hm_dist_same(&dist, &again));
    hm_dist_fini(&again);
    hm_dist_fini(&dist);
}

static void test_bad_traces(void **state)
{
    (void)state;
    char expected[700];
    struct hm_dist dist;
    struct hm_err err;
    temp_text("empty", "# nothing\n\n");
    snprintf(expected, sizeof expected, "%s holds no durations; expected one a line",
             temp_path("empty"));
    assert_refused("trace:empty", expected);
    temp_text("bad", "1ms\n\n2 ms\n");
    snprintf(expected, sizeof expected,
             "%s:3: '2 ms' is no duration; expected one a line: microseconds, or a number with a "
             "unit us, ms, s, m or h, up to 1000h",
             temp_path("bad"));
    assert_refused("trace:bad", expected);
    temp_write("nul", "1\n2\0003\n", 6);
    assert_int_equal(hm_dist_parse(&dist, "trace:nul", temp_folder, &err), HM_EINPUT);
    assert_refused("trace:", "'trace:': expected the name of a file after the colon");
    snprintf(expected, sizeof expected, "%s/. is no regular file", temp_folder);
    assert_refused("trace:.", expected);
    assert_int_equal(hm_dist_parse(&dist, "trace:none", temp_folder, &err), HM_EIO);
    snprintf(expected, sizeof expected, "cannot read %s: No such file or directory",
             temp_path("none"));
    assert_string_equal(err.text, expected);
    assert_int_equal(hm_dist_parse(&dist, "trace:empty", NULL, &err), HM_EINPUT);
    assert_string_equal(err.text, "'trace:empty': traces cannot be used here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test_setup_teardown(test_nodes, temp_setup, temp_teardown),
        cmocka_unit_test(test_sets_of_nodes),
        cmocka_unit_test(test_prints_what_parses),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_draws_are_the_same_everywhere),
        cmocka_unit_test_setup_teardown(test_trace, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_bad_traces, temp_setup, temp_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
