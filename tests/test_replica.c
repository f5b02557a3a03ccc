/* The public interface, hogmesh.h: several replicas in one process, over loopback. */
#include "tests/replica_check.h"

#include <math.h>
#include <pthread.h>

static void add_line(struct hm_replica *replica, const float *initial)
{
    struct hm_err err;
    must(hm_replica_add(replica, "line", 1, (uint32_t[]){2}, initial, &err), &err);
}

/* y = 2 x + 1 */
static void *fit(void *argument)
{
    struct hm_replica *replica = argument;
    float *w = hm_replica_weights(replica, "line", NULL);
    for (unsigned i = 0; hm_replica_step(replica, i > 0, -1) > 0; i++) {
        float x = (float)(i % 8) / 8, error = get(&w[0]) * x + get(&w[1]) - (2 * x + 1);
        float scale = hm_replica_scale(replica);
        add(&w[0], -scale * .1f * error * x);
        add(&w[1], -scale * .1f * error);
        hm_replica_touch(replica, w, 2);
    }
    return NULL;
}

/* Trains both until the budget is used up; they end alike. How well they fit depends on how many
 * steps are made between two deltas, that is on the machine. */
static void train_two(struct hm_replica *first, struct hm_replica *second,
                      struct hm_replica_result *result)
{
    struct hm_err err;
    struct hm_replica_result other;
    pthread_t thread;
    pthread_create(&thread, NULL, fit, first);
    fit(second);
    pthread_join(thread, NULL);
    must(hm_replica_finish(first, -1, result, sizeof *result, &err), &err);
    must(hm_replica_finish(second, -1, &other, sizeof other, &err), &err);
    assert_string_equal(result->hash, other.hash);
    assert_int_equal(strlen(result->hash), 64);
    assert_int_equal(result->clean, 1);
    assert_int_equal(result->lost, 0);
    assert_int_equal(result->steps, other.steps);
    assert_int_equal(result->own_steps + other.own_steps, result->steps);
    const float *w = hm_replica_weights(first, "line", NULL),
                *v = hm_replica_weights(second, "line", NULL);
    assert_memory_equal(w, v, 2 * sizeof *w);
    assert_true(isfinite(w[0]) && isfinite(w[1]));
}

static void check_pair(struct hm_replica *first, struct hm_replica *second)
{
    struct hm_replica_result result;
    add_line(first, NULL);
    add_line(second, NULL);
    start_two(first, second);
    train_two(first, second, &result);
    if (result.steps < 20000 - 20000 / 1000 - 2)
        fail_msg("%llu steps: %s", (unsigned long long)result.steps, result.text);
    hm_replica_close(first);
    hm_replica_close(second);
}

static void test_two_replicas_end_alike(void **state)
{
    (void)state;
    check_pair(REPLICA("expect", "2", "steps", "20k"), REPLICA("expect", "2"));
}

static void test_rules_flushes_and_bounds(void **state)
{
    (void)state;
    static const char *const options[][4] = {{"combine", "sum", "flush", "5ms"},
                                             {"combine", "amplify", "flush", "step"},
                                             {"combine", "hold", "flush", "auto"},
                                             {"combine", "mean", "staleness-bound", "20"},
                                             {"combine", "sum", "marks", "yes"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const char *const *o = options[i];
        print_message("%s %s, %s %s\n", o[0], o[1], o[2], o[3]);
        check_pair(REPLICA("expect", "2", "steps", "20k", o[0], o[1], o[2], o[3]),
                   REPLICA("expect", "2", o[0], o[1], o[2], o[3]));
    }
}

static void test_scale_is_the_number_of_nodes(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica *first = REPLICA("expect", "2", "combine", "amplify"),
                      *second = REPLICA("expect", "2");
    add_line(first, NULL);
    add_line(second, NULL);
    start_two(first, second);
    assert_true(hm_replica_scale(first) == 2);
    assert_true(hm_replica_scale(second) == 2);
    hm_replica_stop(first, 0);
    must(hm_replica_finish(second, -1, NULL, 0, &err), &err);
    hm_replica_close(first);
    hm_replica_close(second);
}

/* ---- what travels ---- */

/* Waits until a number that the other node changes has come here. */
static void await_value(struct hm_replica *replica, float *w, float value)
{
    for (int i = 0; i < 20000 && fabsf(get(w) - value) > 1e-3f; i++) {
        assert_int_equal(hm_replica_step(replica, 1, -1), 1);
        nap();
    }
    assert_true(fabsf(get(w) - value) < 1e-3f);
}

static void test_live_weights_shapes_and_marks(void **state)
{
    (void)state;
    struct hm_err err;
    size_t n;
    const float initial[6] = {1, 2, 3, 4, 5, 6};
    struct hm_replica *node[2];
    for (int i = 0; i < 2; i++) {
        node[i] = REPLICA("expect", "2", "combine", "sum", "marks", "yes");
        must(hm_replica_add(node[i], "layer.0.weight", 2, (uint32_t[]){2, 3}, initial, &err), &err);
        must(hm_replica_set(node[i], "grid", "-10", &err), &err);
        must(hm_replica_add(node[i], "scalar", 0, NULL, NULL, &err), &err);
        must(hm_replica_add(node[i], "table", 3, (uint32_t[]){100, 3, 7}, NULL, &err), &err);
    }
    start_two(node[0], node[1]);
    float *ours = hm_replica_weights(node[0], "layer.0.weight", &n);
    assert_int_equal(n, 6);
    assert_memory_equal(ours, initial, sizeof initial);
    assert_int_equal((uintptr_t)ours % 64, 0);
    assert_null(hm_replica_weights(node[0], "layer", &n));
    float *scalar = hm_replica_weights(node[0], "scalar", &n);
    assert_int_equal(n, 1);
    float *table = hm_replica_weights(node[0], "table", &n);
    assert_int_equal(n, 2100);
    float *theirs = hm_replica_weights(node[1], "table", NULL);
    add(&theirs[2099], 3);
    hm_replica_touch(node[1], &theirs[2099], 1);
    add(hm_replica_weights(node[1], "scalar", NULL), .5f);
    hm_replica_touch(node[1], NULL, 0);
    assert_int_equal(hm_replica_step(node[1], 1, -1), 1);
    await_value(node[0], &table[2099], 3);
    await_value(node[0], scalar, .5f);
    assert_true(get(table) == 0);
    struct hm_replica_status status;
    hm_replica_status(node[0], &status, sizeof status);
    assert_int_equal(status.n_live, 2);
    hm_replica_stop(node[0], 0);
    for (int i = 0; i < 2; i++) {
        must(hm_replica_finish(node[i], -1, NULL, 0, &err), &err);
        hm_replica_close(node[i]);
    }
}

/* What is added after the end is in nobody's model. */
static void test_late_adds_are_left_out(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_result result[2];
    struct hm_replica *node[2] = {REPLICA("expect", "2"), REPLICA("expect", "2")};
    add_line(node[0], NULL);
    add_line(node[1], NULL);
    start_two(node[0], node[1]);
    float *w = hm_replica_weights(node[0], "line", NULL);
    hm_replica_stop(node[1], 0);
    while (hm_replica_step(node[0], 0, .01) != 0)
        ;
    add(&w[0], 30);
    assert_int_equal(hm_replica_step(node[0], 1, -1), 0);
    for (int i = 0; i < 2; i++)
        must(hm_replica_finish(node[i], -1, &result[i], sizeof result[i], &err), &err);
    assert_string_equal(result[0].hash, result[1].hash);
    assert_true(w[0] == 0);
    assert_int_equal(result[0].own_steps, 0);
    w[0] = 5; /* private now */
    hm_replica_close(node[0]);
    hm_replica_close(node[1]);
}

/* ---- refusals ---- */

static void refuse(struct hm_replica *second, const char *field)
{
    struct hm_err err;
    struct hm_replica_status status;
    struct hm_replica_result result;
    struct hm_replica *first = REPLICA("expect", "2");
    add_line(first, (float[]){.25f, -4});
    join_mesh_of(first, NULL);
    join_mesh_of(second, first);
    assert_int_equal(hm_replica_start(first, 0, &err), HM_ETIMEOUT);
    assert_null(hm_replica_weights(first, "line", NULL));
    assert_int_equal(hm_replica_step(first, 0, -1), 0);
    assert_int_equal(hm_replica_start(second, -1, &err), HM_EREFUSED);
    if (!strstr(err.text, field))
        fail_msg("'%s' does not name %s", err.text, field);
    assert_int_equal(hm_replica_finish(second, -1, &result, sizeof result, &err), HM_EREFUSED);
    assert_int_equal(result.clean, 0);
    hm_replica_status(second, &status, sizeof status);
    assert_string_equal(status.stage, "failed");
    assert_null(hm_replica_weights(second, "line", NULL));
    assert_int_equal(hm_replica_step(second, 0, -1), 0);
    assert_int_equal(hm_replica_save(second, temp_path("none.hm"), &err), HM_EUSAGE);
    hm_replica_close(second);
    hm_replica_close(first); /* while it waits */
}

static void test_others_are_refused_by_name(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica *second = REPLICA("expect", "2");
    must(hm_replica_add(second, "line", 1, (uint32_t[]){3}, NULL, &err), &err);
    refuse(second, "'parameters'");
    second = REPLICA("expect", "2", "grid", "-15");
    add_line(second, (float[]){.25f, -4});
    refuse(second, "'parameters'");
    second = REPLICA("expect", "2");
    add_line(second, (float[]){.25f, 4});
    refuse(second, "'values'");
    second = REPLICA("expect", "2", "combine", "sum");
    add_line(second, (float[]){.25f, -4});
    refuse(second, "'combine'");
}

static void test_first_values_can_be_adopted(void **state)
{
    (void)state;
    struct hm_err err;
    for (int zero = 0; zero < 2; zero++) {
        struct hm_replica *first = REPLICA("expect", "2"),
                          *second = REPLICA("expect", "2", "adopt", "yes");
        add_line(first, zero ? NULL : (float[]){.25f, -4});
        add_line(second, (float[]){1, 1});
        start_two(first, second);
        const float *w = hm_replica_weights(second, "line", NULL);
        assert_true(w[0] == (zero ? 0 : .25f));
        assert_true(w[1] == (zero ? 0 : -4));
        hm_replica_stop(first, 0);
        must(hm_replica_finish(second, -1, NULL, 0, &err), &err);
        hm_replica_close(first);
        hm_replica_close(second);
    }
}

static void test_bad_input_is_named(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"perr", "127.0.0.1:1", "'perr'"},
        {"expect", "0", "'expect'"},
        {"expect", "2.5", "'expect'"},
        {"steps", "many", "'steps'"},
        {"seconds", "0", "'seconds'"},
        {"combine", "lookahead", "mean, sum"},
        {"combine", "saturate", "mean, sum"},
        {"staleness-bound", "0", "from 1"},
        {"flush", "1us", "20ms"},
        {"flush", "", "20ms"},
        {"bandwidth", "-1", "50MB"},
        {"grid", "--3", "power of two"},
        {"grid", "61", "power of two"},
        {"insecure", "1", "yes or no"},
        {"label", "two words", "characters"},
        {"join-timeout", "soon", "30s"},
        {"amplify", ".5", "from 1"},
        {"bind", "", "HOST:PORT"},
    };
    struct hm_err err;
    struct hm_replica *replica = REPLICA("expect", "1");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err.text[0] = 0;
        if (hm_replica_set(replica, bad[i][0], bad[i][1], &err) != HM_EUSAGE ||
            !strstr(err.text, bad[i][2]))
            fail_msg("%s = '%s': '%s' does not say %s", bad[i][0], bad[i][1], err.text, bad[i][2]);
    }
    const uint32_t four = 4, none = 0, large[2] = {1u << 31, 1u << 31};
    assert_int_equal(hm_replica_open(replica, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "without tensors"));
    assert_int_equal(hm_replica_add(replica, "a b", 1, &four, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "", 1, &four, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "a", 1, &none, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "a", 2, large, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "a", 9, large, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "a", 1, &four, (float[]){0, 1, NAN, 0}, &err),
                     HM_EINPUT);
    assert_non_null(strstr(err.text, "value 2"));
    assert_int_equal(hm_replica_add(replica, "a", 1, &four, (float[]){0, 1, 0, 33}, &err),
                     HM_EINPUT);
    assert_non_null(strstr(err.text, "coarser grid"));
    must(hm_replica_add(replica, "a", 1, &four, (float[]){0, 1, 0, 32}, &err), &err);
    assert_int_equal(hm_replica_add(replica, "a", 1, &four, NULL, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "already"));
    assert_int_equal(hm_replica_start(replica, -1, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_finish(replica, -1, NULL, 0, &err), HM_EUSAGE);
    must(hm_replica_open(replica, &err), &err);
    assert_int_equal(hm_replica_set(replica, "seed", "1", &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "b", 1, &four, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_checkpoint(replica, &err), HM_EUSAGE);
    hm_replica_close(replica);
    hm_replica_close(NULL);
}

static void test_strangers_beyond_loopback_need_a_key(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica *replica = REPLICA("bind", "0.0.0.0:0");
    add_line(replica, NULL);
    assert_int_equal(hm_replica_open(replica, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "insecure"));
    hm_replica_close(replica);
}

/* ---- files ---- */

static void train_alone(struct hm_replica *replica, struct hm_replica_result *result)
{
    struct hm_err err;
    must(hm_replica_open(replica, &err), &err);
    must(hm_replica_start(replica, -1, &err), &err);
    fit(replica);
    must(hm_replica_finish(replica, -1, result, sizeof *result, &err), &err);
}

static void test_a_checkpoint_goes_on(void **state)
{
    (void)state;
    struct hm_replica_result result;
    char path[512];
    snprintf(path, sizeof path, "%s", temp_path("a.ckpt"));
    struct hm_replica *replica = REPLICA("steps", "3000", "checkpoint", path);
    add_line(replica, (float[]){.5f, .5f});
    train_alone(replica, &result);
    const uint64_t steps = result.steps;
    assert_in_range(steps, 2990, 3000);
    const float *w = hm_replica_weights(replica, "line", NULL);
    assert_true(fabsf(w[0] - 2) < .05f);
    assert_true(fabsf(w[1] - 1) < .05f);
    float before[2];
    memcpy(before, w, sizeof before);
    hm_replica_close(replica);
    assert_int_equal(access(path, F_OK), 0);
    replica = REPLICA("steps", "6000", "checkpoint", path, "resume", "yes");
    add_line(replica, (float[]){.5f, .5f});
    struct hm_err err;
    must(hm_replica_open(replica, &err), &err);
    must(hm_replica_start(replica, -1, &err), &err);
    for (int i = 0; i < 2; i++) /* what it owes is less than a unit of the grid */
        assert_true(fabsf(before[i] - hm_replica_weights(replica, "line", NULL)[i]) < 0x1p-16f);
    fit(replica);
    must(hm_replica_finish(replica, -1, &result, sizeof result, &err), &err);
    if (result.steps < 5990 || result.steps > 6000)
        fail_msg("%llu steps: %s", (unsigned long long)result.steps, result.text);
    assert_int_equal(result.own_steps, result.steps - steps);
    hm_replica_close(replica);
}

static size_t read_whole(const char *path, char *to, size_t room)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(to, 1, room, file);
    fclose(file);
    return n;
}

static void test_the_model_is_saved(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_result result;
    char bytes[4096] = "";
    struct hm_replica *replica = REPLICA("steps", "3000");
    must(hm_replica_add(replica, "other", 2, (uint32_t[]){1, 1}, (float[]){7}, &err), &err);
    add_line(replica, NULL);
    train_alone(replica, &result);
    const float *w = hm_replica_weights(replica, "line", NULL);
    must(hm_replica_save(replica, temp_path("a.npy"), &err), &err);
    size_t n = read_whole(temp_path("a.npy"), bytes, sizeof bytes);
    assert_int_equal(n, 128 + 3 * sizeof *w);
    assert_memory_equal(bytes + 132, w, 2 * sizeof *w);
    must(hm_replica_save(replica, temp_path("a.safetensors"), &err), &err);
    n = read_whole(temp_path("a.safetensors"), bytes, sizeof bytes);
    assert_non_null(strstr(bytes + 8,
                           "\"other\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":"
                           "[0,4]},\"line\":{\"dtype\":\"F32\",\"shape\":[2]"));
    assert_memory_equal(bytes + n - 2 * sizeof *w, w, 2 * sizeof *w);
    assert_int_equal((n - 12) % 8, 0);
    must(hm_replica_save(replica, temp_path("a.hm"), &err), &err);
    assert_int_equal(hm_replica_save(replica, temp_path("a.txt"), &err), HM_EUSAGE);
    hm_replica_close(replica);
}

/* ---- the rest ---- */

static void hear(void *context, int level, const char *text)
{
    (void)level;
    strncat(context, text, 2000 - strlen(context));
}

static void test_the_log_is_the_callers(void **state)
{
    (void)state;
    char heard[2048] = "";
    struct hm_replica_result result;
    char path[512];
    snprintf(path, sizeof path, "%s", temp_path("b.ckpt"));
    for (int i = 0; i < 2; i++) {
        assert_string_equal(heard, "");
        struct hm_replica *replica = REPLICA("steps", "1000", "checkpoint", path);
        hm_replica_on_log(replica, hear, heard);
        add_line(replica, NULL);
        train_alone(replica, &result);
        hm_replica_close(replica);
    }
    assert_non_null(strstr(heard, "of a former run"));
}

static void test_versions_agree(void **state)
{
    (void)state;
    char text[32];
    assert_int_equal(hm_version(), HM_VERSION_NUMBER);
    snprintf(text, sizeof text, "%d.%d.%d", HM_VERSION_MAJOR, HM_VERSION_MINOR, HM_VERSION_PATCH);
    assert_string_equal(hm_version_text(), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_replicas_end_alike),
        cmocka_unit_test(test_rules_flushes_and_bounds),
        cmocka_unit_test(test_scale_is_the_number_of_nodes),
        cmocka_unit_test(test_live_weights_shapes_and_marks),
        cmocka_unit_test(test_late_adds_are_left_out),
        cmocka_unit_test_setup_teardown(test_others_are_refused_by_name, temp_setup, temp_teardown),
        cmocka_unit_test(test_first_values_can_be_adopted),
        cmocka_unit_test(test_bad_input_is_named),
        cmocka_unit_test(test_strangers_beyond_loopback_need_a_key),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_goes_on, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_the_model_is_saved, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_the_log_is_the_callers, temp_setup, temp_teardown),
        cmocka_unit_test(test_versions_agree),
    };
    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
