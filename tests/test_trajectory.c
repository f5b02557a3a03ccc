/* Trajectories in files: what is added can be loaded after every point, whatever comes next. */
#include "node/trajectory.h"

#include "models/npy.h"
#include "tests/temp_folder.h"

#include <signal.h>
#include <sys/resource.h>

/* A model whose weights are B and the steps. */
enum { NUMBERS = 7, ROW_BYTES = NUMBERS * sizeof(float) };

static void parts_of(const struct hm_model *model, struct hm_parts *parts)
{
    uint32_t two_by_three[] = {2, 3}, one = 1;
    (void)model;
    *parts = (struct hm_parts){0};
    hm_parts_add(parts, "a.weight", 2, two_by_three);
    hm_parts_add(parts, "a.bias", 1, &one);
}

static void weights_of(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out)
{
    (void)model;
    for (unsigned i = 0; i + 1 < NUMBERS; i++)
        out[i] = (float)b[i];
    out[NUMBERS - 1] = (float)steps;
}

static const struct hm_model_ops ops = {.name = "test", .parts = parts_of, .weights = weights_of};
static const struct hm_model model = {.ops = &ops};

static struct hm_trajectory *open_one(bool goes_on)
{
    struct hm_err err = {""};
    struct hm_trajectory *t;
    if (hm_trajectory_open(&t, &model, "anna", temp_path("t"), goes_on, &err))
        fail_msg("%s", err.text);
    return t;
}

static enum hm_status add(struct hm_trajectory *t, uint64_t steps, struct hm_err *err)
{
    uint32_t b[NUMBERS] = {1, 2, 3, 4, 5, (uint32_t)steps};
    struct hm_curve_point point = {.steps = steps, .own_steps = steps / 2, .seconds = .5};
    return hm_trajectory_add(t, b, &point, false, err);
}

static size_t size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(temp_path(name), &st), 0);
    return (size_t)st.st_size;
}

static size_t read_file(const char *name, char *bytes, size_t room)
{
    FILE *file = fopen(temp_path(name), "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, room - 1, file);
    bytes[n] = 0;
    fclose(file);
    return n;
}

/* The array has so many points, by its header and its size, the k-th of them after 10 k steps. */
static void holds(unsigned n)
{
    char bytes[4096], shape[64];
    size_t got = read_file("t.npy", bytes, sizeof bytes);
    assert_true(got >= HM_NPY_HEADER + n * ROW_BYTES);
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00", 8);
    snprintf(shape, sizeof shape, "'<f4', 'fortran_order': False, 'shape': (%u, 7), }", n);
    if (!strstr(bytes + 10, shape))
        fail_msg("no '%s' in '%.118s'", shape, bytes + 10);
    for (unsigned i = 0; i < n; i++) {
        float row[NUMBERS];
        memcpy(row, bytes + HM_NPY_HEADER + i * ROW_BYTES, ROW_BYTES);
        assert_true(row[0] == 1 && row[4] == 5);
        assert_true(row[5] == (float)(10 * i) && row[6] == (float)(10 * i));
    }
}

static void test_points_are_there_as_they_come(void **state)
{
    char index[4096];
    (void)state;
    struct hm_trajectory *t = open_one(false);
    for (unsigned i = 0; i < 5; i++) {
        holds(i);
        assert_int_equal(size_of("t.npy"), HM_NPY_HEADER + i * ROW_BYTES);
        assert_int_equal(add(t, 10 * i, NULL), HM_OK);
        assert_int_equal(hm_trajectory_points(t), i + 1);
    }
    hm_trajectory_close(t);
    holds(5);
    read_file("t.jsonl", index, sizeof index);
    const char *first = "{\"label\":\"anna\",\"workload\":\"test\",\"numbers\":7,\"parts\":["
                        "{\"name\":\"a.weight\",\"shape\":[2,3],\"at\":0,\"n\":6},"
                        "{\"name\":\"a.bias\",\"shape\":[1],\"at\":6,\"n\":1}]}\n";
    assert_memory_equal(index, first, strlen(first));
    assert_non_null(strstr(index,
                           "\n{\"point\":3,\"label\":\"anna\",\"seconds\":0.500000,\"steps\":30,"
                           "\"own_steps\":15,\"final\":false}\n"));
}

static void test_goes_on_behind_a_row_that_was_cut_off(void **state)
{
    (void)state;
    struct hm_trajectory *t = open_one(false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(add(t, 10 * i, NULL), HM_OK);
    hm_trajectory_close(t);
    FILE *file = fopen(temp_path("t.npy"), "ab"); /* the process ended within the third row */
    assert_int_equal(fwrite("half a row", 1, 10, file), 10);
    fclose(file);
    holds(2);
    t = open_one(true);
    assert_int_equal(hm_trajectory_points(t), 2);
    for (unsigned i = 2; i < 4; i++)
        assert_int_equal(add(t, 10 * i, NULL), HM_OK);
    hm_trajectory_close(t);
    holds(4);
    assert_int_equal(size_of("t.npy"), HM_NPY_HEADER + 4 * ROW_BYTES);
    hm_trajectory_close(open_one(false));
    holds(0);
    assert_int_equal(size_of("t.npy"), HM_NPY_HEADER);
}

static void refuses(const char *says, const char *file)
{
    struct hm_err err = {""};
    struct hm_trajectory *t;
    assert_int_equal(hm_trajectory_open(&t, &model, "anna", temp_path("t"), true, &err), HM_EINPUT);
    assert_null(t);
    if (!strstr(err.text, says) || !strstr(err.text, file))
        fail_msg("'%s' does not say '%s' of %s", err.text, says, file);
}

static void test_does_not_go_on_in_what_is_something_else(void **state)
{
    char index[4096];
    (void)state;
    struct hm_trajectory *t = open_one(false);
    assert_int_equal(add(t, 0, NULL), HM_OK);
    hm_trajectory_close(t);
    size_t n = read_file("t.jsonl", index, sizeof index);
    memcpy(strstr(index, "a.bias"), "b.bias", 6);
    temp_write("t.jsonl", index, n);
    refuses("line 1: the index of", "t.jsonl");
    temp_write("t.jsonl", index, 20);
    refuses("line 1: the index of", "t.jsonl");
    /* Another number of weights, points that are missing, too short for a header, no array. */
    char head[HM_NPY_HEADER];
    const char *shape[] = {"(0, 8)", "(1, 7)", "(18446744073709551615, 7)", "(7,)", "(x, 7)"};
    for (unsigned i = 0; i < 5; i++) {
        hm_npy_header("<f4", shape[i], head);
        temp_write("t.npy", head, sizeof head);
        refuses("an array of points of 7 float32 is expected", "t.npy");
    }
    hm_npy_header("<f8", "(0, 7)", head);
    temp_write("t.npy", head, sizeof head);
    refuses("an array of points of 7 float32", "t.npy");
    temp_write("t.npy", head, 100);
    refuses("an array of points of 7 float32", "t.npy");
    temp_write("t.npy", "", 0);
    refuses("an array of points of 7 float32", "t.npy");
}

static void limit(size_t bytes)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes ? bytes : l.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void test_no_room_costs_the_points_that_follow_alone(void **state)
{
    struct hm_err err = {""}, again = {""};
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    struct hm_trajectory *t = open_one(false);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(add(t, 10 * i, NULL), HM_OK);
    limit(HM_NPY_HEADER + 20 * ROW_BYTES + 5); /* of the next row a part has room */
    assert_int_equal(add(t, 200, &err), HM_EIO);
    limit(0);
    assert_non_null(strstr(err.text, "t.npy"));
    assert_non_null(strstr(err.text, "point 20"));
    assert_non_null(strstr(err.text, "File too large"));
    assert_int_equal(add(t, 210, &again), HM_EIO); /* though there is room again */
    assert_string_equal(again.text, err.text);
    assert_int_equal(hm_trajectory_points(t), 20);
    hm_trajectory_close(t);
    holds(20);
    assert_int_equal(size_of("t.npy"), HM_NPY_HEADER + 20 * ROW_BYTES);
}

static void test_no_folder(void **state)
{
    struct hm_err err = {""};
    struct hm_trajectory *t;
    (void)state;
    assert_int_equal(hm_trajectory_open(&t, &model, "anna", temp_path("no/such/t"), false, &err),
                     HM_EIO);
    assert_null(t);
    assert_non_null(strstr(err.text, "no/such/t.npy: No such file or directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_points_are_there_as_they_come, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_behind_a_row_that_was_cut_off, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_does_not_go_on_in_what_is_something_else, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_no_room_costs_the_points_that_follow_alone, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_no_folder, temp_setup, temp_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
