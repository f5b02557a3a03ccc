/* The public interface, hogmesh.h: what each option and each number that it gives is good for. */
#include "tests/replica_check.h"

#include <sys/stat.h>
#include <unistd.h>

enum { TABLE = 20000 };

static void add_table(struct hm_replica *replica)
{
    struct hm_err err;
    must(hm_replica_add(replica, "table", 1, (uint32_t[]){TABLE}, NULL, &err), &err);
}

/* Two nodes that train; `more` is an option of both, or NULL. */
static void begin(struct hm_replica *node[2], const char *more, const char *value)
{
    struct hm_err err;
    for (int i = 0; i < 2; i++) {
        node[i] = REPLICA("expect", "2", "combine", "sum");
        if (more)
            must(hm_replica_set(node[i], more, value, &err), &err);
        add_table(node[i]);
    }
    start_two(node[0], node[1]);
}

static void end(struct hm_replica *node[2])
{
    struct hm_replica_result result;
    hm_replica_stop(node[0], 0);
    for (int i = 0; i < 2; i++) {
        finish(node[i], &result);
        hm_replica_close(node[i]);
    }
}

static struct hm_replica_status status_of(const struct hm_replica *replica)
{
    struct hm_replica_status status;
    hm_replica_status(replica, &status, sizeof status);
    return status;
}

/* ---- numbers ---- */

/* One node of two trains, and what it changes cannot be said in few bytes. */
static void test_status_tells_who_did_what(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin(node, "steps", "1000000");
    float *w = hm_replica_weights(node[0], "table", NULL);
    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < TABLE; k++)
            add(&w[k], (float)((i * 7919 + k * 104729) % 1009) / 0x1p16f);
        assert_int_equal(hm_replica_step(node[0], 10, -1), 1);
        nap();
    }
    struct hm_replica_status sent, got;
    for (int i = 0; i < 20000; i++) {
        sent = status_of(node[0]);
        got = status_of(node[1]);
        if (sent.own_steps == 300 && sent.lag == 0 && got.steps == 300 &&
            got.bytes_received > 4 * got.bytes_sent && sent.bytes_sent > 4 * sent.bytes_received)
            break;
        nap();
    }
    assert_int_equal(sent.own_steps, 300);
    assert_int_equal(sent.lag, 0);
    assert_int_equal(sent.n_live, 2);
    assert_int_equal(sent.budget, 1000000);
    assert_true(sent.published > 0);
    assert_true(sent.seconds > 0);
    assert_true(sent.bytes_sent > 4 * sent.bytes_received);
    assert_int_equal(got.steps, 300);
    assert_int_equal(got.own_steps, 0);
    assert_true(got.bytes_received > 4 * got.bytes_sent);
    end(node);
}

/* Deltas that cross each other on their way are stale where they are applied. */
static void test_status_tells_how_stale_deltas_are(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin(node, "flush", "step");
    float *w[2] = {hm_replica_weights(node[0], "table", NULL),
                   hm_replica_weights(node[1], "table", NULL)};
    double stale = 0;
    for (int i = 0; i < 20000 && !(stale > 0); i++) {
        for (int k = 0; k < 2; k++) {
            add(&w[k][k], 1 / 0x1p10f);
            assert_int_equal(hm_replica_step(node[k], 1, 0) != 0, 1);
        }
        stale = status_of(node[0]).staleness + status_of(node[1]).staleness;
        if (i % 16 == 0)
            nap();
    }
    assert_true(stale > 0);
    end(node);
}

/* Programs of other versions have other sizes. */
static void test_only_what_there_is_room_for_is_written(void **state)
{
    (void)state;
    struct {
        struct hm_replica_status status;
        char beyond[64];
    } large;
    struct {
        struct hm_replica_result result;
        char beyond[64];
    } end;
    struct hm_err err;
    struct hm_replica *replica = REPLICA("steps", "10");
    add_table(replica);
    memset(&large, 1, sizeof large);
    hm_replica_status(replica, &large.status, 4);
    assert_memory_equal(large.status.stage, "new", 4);
    assert_int_equal(large.status.stage[4], 1);
    assert_int_equal(large.status.lag, 0x01010101);
    hm_replica_status(replica, &large.status, sizeof large);
    assert_int_equal(large.status.lag, 0);
    assert_int_equal(large.beyond[63], 0);
    join_mesh_of(replica, NULL);
    must(hm_replica_start(replica, -1, &err), &err);
    while (hm_replica_step(replica, 1, -1) > 0)
        ;
    memset(&end, 1, sizeof end);
    must(hm_replica_finish(replica, -1, &end.result, 8, &err), &err);
    assert_int_equal(end.result.hash[8], 1);
    assert_int_equal(end.result.clean, 0x01010101);
    must(hm_replica_finish(replica, -1, &end.result, sizeof end, &err), &err);
    assert_int_equal(end.result.clean, 1);
    assert_int_equal(end.beyond[63], 0);
    hm_replica_close(replica);
}

/* ---- ends ---- */

/* By stop, or by close alone: the other one goes on alone. */
static void test_a_node_that_leaves_does_not_end_the_mesh(void **state)
{
    (void)state;
    for (int by_close = 0; by_close < 2; by_close++) {
        struct hm_replica *node[2];
        struct hm_replica_result result;
        begin(node, NULL, NULL);
        float *w = hm_replica_weights(node[0], "table", NULL);
        add(hm_replica_weights(node[1], "table", NULL) + 3, 2);
        assert_int_equal(hm_replica_step(node[1], 5, -1), 1);
        if (!by_close) {
            hm_replica_stop(node[1], 1);
            finish(node[1], &result);
            assert_int_equal(result.own_steps, 5);
        }
        hm_replica_close(node[1]);
        for (int i = 0; i < 20000 && status_of(node[0]).n_live > 1; i++)
            nap();
        assert_int_equal(status_of(node[0]).n_live, 1);
        assert_true(get(&w[3]) == 2); /* it has handed over what it owed */
        assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
        hm_replica_stop(node[0], 0);
        finish(node[0], &result);
        assert_int_equal(result.steps, 6);
        hm_replica_close(node[0]);
    }
}

static void test_the_run_ends_when_its_seconds_are_over(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_result result;
    struct hm_replica *replica = REPLICA("seconds", ".2");
    add_table(replica);
    join_mesh_of(replica, NULL);
    must(hm_replica_start(replica, -1, &err), &err);
    while (hm_replica_step(replica, 1, -1) > 0)
        nap();
    finish(replica, &result);
    assert_true(result.seconds >= .19);
    hm_replica_close(replica);
}

/* ---- checkpoints ---- */

static void test_a_checkpoint_is_taken_when_it_is_wanted(void **state)
{
    (void)state;
    struct hm_err err;
    char path[512];
    struct stat st;
    for (int by_time = 0; by_time < 2; by_time++) {
        snprintf(path, sizeof path, "%s", temp_path(by_time ? "b.ckpt" : "a.ckpt"));
        struct hm_replica *replica =
            REPLICA("checkpoint", path, "checkpoint-every", by_time ? "50ms" : "0");
        add_table(replica);
        join_mesh_of(replica, NULL);
        must(hm_replica_start(replica, -1, &err), &err);
        assert_int_equal(hm_replica_step(replica, 1, -1), 1);
        if (!by_time) {
            for (int i = 0; i < 100; i++)
                nap();
            assert_int_not_equal(stat(path, &st), 0); /* not before the end, unless asked for */
            must(hm_replica_checkpoint(replica, &err), &err);
        }
        for (int i = 0; i < 20000 && stat(path, &st) != 0; i++)
            nap();
        assert_int_equal(stat(path, &st), 0);
        hm_replica_close(replica);
    }
}

/* ---- what nodes agree on ---- */

/* What a mesh was founded with, a joiner that says otherwise is refused by. */
static void test_what_contradicts_the_mesh_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const other[][3] = {
        {"batch", "7", "'batch'"},
        {"staleness-bound", "3", "'staleness_bound'"},
        {"seed", "5", "'seed'"},
        {"steps", "99", "'steps'"},
        {"seconds", "99", "'seconds'"},
        {"combine", "hold", "'combine'"},
        {"combine", "amplify", "'combine'"},
        {"grid", "-16", NULL},
        {"grid", "16", "'parameters'"},
    };
    struct hm_err err;
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        struct hm_replica *first = REPLICA("expect", "2", "combine", "sum"),
                          *second = REPLICA("expect", "2", "label", "the-second-one", other[i][0],
                                            other[i][1]);
        add_table(first);
        add_table(second);
        join_mesh_of(first, NULL);
        join_mesh_of(second, first);
        hm_replica_start(first, 0, &err);
        enum hm_status status = hm_replica_start(second, -1, &err);
        if (!other[i][2])
            must(status, &err);
        else if (status != HM_EREFUSED || !strstr(err.text, other[i][2]))
            fail_msg("%s %s: '%s'", other[i][0], other[i][1], err.text);
        hm_replica_close(second);
        hm_replica_close(first);
    }
}

static void test_the_factor_of_amplify_is_the_programs(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica *replica = REPLICA("combine", "amplify", "amplify", "3.5");
    add_table(replica);
    join_mesh_of(replica, NULL);
    must(hm_replica_start(replica, -1, &err), &err);
    assert_true(hm_replica_scale(replica) == 3.5f);
    hm_replica_close(replica);
}

/* ---- pace ---- */

/* Nobody is more than so many batches ahead of the slowest. */
static void test_who_is_ahead_waits(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin(node, "staleness-bound", "3");
    unsigned made = 0;
    for (int waits = 0; waits < 200 && made < 1000;) { /* the other one stands still */
        if (hm_replica_step(node[0], 1, .005) == 1) {
            made++;
            continue;
        }
        while (waits < 200 && hm_replica_step(node[0], 0, .005) < 0)
            waits++;
    }
    assert_in_range(made, 1, 50);
    end(node);
}

/* Every step is a delta; by time there are few. */
static void test_deltas_come_as_often_as_flush_says(void **state)
{
    (void)state;
    static const char *const flush[2] = {"step", "2s"};
    for (int i = 0; i < 2; i++) {
        struct hm_replica *node[2];
        begin(node, "flush", flush[i]);
        float *w = hm_replica_weights(node[0], "table", NULL);
        for (int k = 0; k < 40; k++) {
            add(&w[k], 1);
            assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
        }
        for (int k = 0; k < 500; k++) /* the status is a quarter of a second old at most */
            nap();
        if (i)
            assert_in_range(status_of(node[0]).published, 0, 20);
        else
            assert_in_range(status_of(node[0]).published, 40, 60);
        end(node);
    }
}

static void test_deltas_come_by_time(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin(node, "flush", "5ms");
    float *w = hm_replica_weights(node[0], "table", NULL);
    for (int i = 0; i < 20000 && status_of(node[0]).published < 5; i++) {
        add(&w[i % TABLE], 1 / 0x1p10f);
        assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
        nap();
    }
    assert_in_range(status_of(node[0]).published, 5, 20000);
    end(node);
}

/* A node that may send 20 kB a second has not sent 400 kB in one. */
static void test_bandwidth_is_kept(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin(node, "bandwidth", "20kB");
    float *w = hm_replica_weights(node[0], "table", NULL);
    for (int i = 0; i < 500; i++) {
        for (int k = 0; k < TABLE; k++)
            add(&w[k], (float)((i * 7919 + k * 104729) % 1009 - 504) / 0x1p16f);
        assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
        nap();
    }
    struct hm_replica_status status = status_of(node[0]);
    assert_true((double)status.bytes_sent < 20000. * status.seconds + 300000);
    end(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_tells_who_did_what),
        cmocka_unit_test(test_status_tells_how_stale_deltas_are),
        cmocka_unit_test(test_only_what_there_is_room_for_is_written),
        cmocka_unit_test(test_a_node_that_leaves_does_not_end_the_mesh),
        cmocka_unit_test(test_the_run_ends_when_its_seconds_are_over),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_is_taken_when_it_is_wanted, temp_setup,
                                        temp_teardown),
        cmocka_unit_test(test_what_contradicts_the_mesh_is_refused_by_name),
        cmocka_unit_test(test_the_factor_of_amplify_is_the_programs),
        cmocka_unit_test(test_who_is_ahead_waits),
        cmocka_unit_test(test_deltas_come_as_often_as_flush_says),
        cmocka_unit_test(test_deltas_come_by_time),
        cmocka_unit_test(test_bandwidth_is_kept),
    };
    return cmocka_run_group_tests_name("replica_options", tests, NULL, NULL);
}
