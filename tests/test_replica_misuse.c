/* What programs do to a replica that they should not, or at a bad moment: it says so, or nothing
 * happens; nothing hangs, and no memory but its own is touched (tests run under sanitizers, too).
 */
#include "tests/replica_check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void add_table(struct hm_replica *replica, uint32_t n)
{
    struct hm_err err;
    must(hm_replica_add(replica, "table", 1, &n, NULL, &err), &err);
}

static void begin(struct hm_replica *replica)
{
    struct hm_err err;
    must(hm_replica_open(replica, &err), &err);
    must(hm_replica_start(replica, -1, &err), &err);
}

/* ---- arguments ---- */

static void test_null_is_refused_where_something_is_expected(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_status status;
    const uint32_t two = 2;
    struct hm_replica *none = NULL, *replica = REPLICA("expect", "1");
    assert_int_equal(hm_replica_set(replica, NULL, "1", &err), HM_EUSAGE);
    assert_int_equal(hm_replica_set(replica, "expect", NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_set(replica, "expect", NULL, NULL), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, NULL, 1, &two, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_add(replica, "a", 1, NULL, NULL, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "dimensions"));
    assert_null(hm_replica_weights(replica, NULL, NULL));
    hm_replica_touch(replica, NULL, 0); /* before there are any */
    hm_replica_stop(replica, 0);
    assert_int_equal(hm_replica_save(replica, NULL, &err), HM_EUSAGE);
    hm_replica_close(replica);

    assert_int_equal(hm_replica_set(none, "expect", "1", &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "hm_replica_new"));
    assert_int_equal(hm_replica_add(none, "a", 1, &two, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_open(none, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_start(none, 0, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_finish(none, 0, NULL, 0, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_checkpoint(none, &err), HM_EUSAGE);
    assert_int_equal(hm_replica_save(none, "a.npy", &err), HM_EUSAGE);
    assert_null(hm_replica_weights(none, "a", NULL));
    assert_string_equal(hm_replica_endpoint(none), "");
    assert_int_equal(hm_replica_step(none, 0, 0), 0);
    assert_true(hm_replica_scale(none) == 1);
    hm_replica_status(none, &status, sizeof status);
    assert_string_equal(status.stage, "");
    hm_replica_status(none, NULL, sizeof status);
    assert_int_equal(hm_replica_new(NULL, &err), HM_EUSAGE);
    hm_replica_on_log(none, NULL, NULL);
    hm_replica_touch(none, NULL, 0);
    hm_replica_stop(none, 0);
    hm_replica_close(none);
}

static void test_options_may_be_said_again(void **state)
{
    (void)state;
    struct hm_err err;
    char path[32];
    struct hm_replica *replica = REPLICA("bind", "nowhere.invalid:1");
    add_table(replica, 2);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "%d.ckpt", i);
        must(hm_replica_set(replica, "checkpoint", path, &err), &err);
    }
    for (int i = 0; i < 64; i++)
        must(hm_replica_set(replica, "peer", "127.0.0.1:1", &err), &err);
    assert_int_equal(hm_replica_set(replica, "peer", "127.0.0.1:1", &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "64"));
    must(hm_replica_set(replica, "bind", "127.0.0.1:0", &err), &err);
    must(hm_replica_open(replica, &err), &err);
    assert_memory_equal(hm_replica_endpoint(replica), "127.0.0.1:", 10);
    hm_replica_close(replica);
}

static void test_numbers_without_end_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"seconds", "1e300"},
        {"seconds", "inf"},
        {"join-timeout", "1e300s"},
        {"flush", "1e300s"},
        {"bandwidth", "1e300"},
        {"checkpoint-every", "99999h"},
        {"steps", "1e20"},
        {"seed", "18446744073709551616"},
        {"log-bytes", "1e30"},
        {"expect", "1e300"},
        {"staleness-bound", "1e10"},
        {"grid", "-1e300"},
        {"amplify", "nan"},
        {"batch", "-1"},
        {"label", "0123456789abcdef0123456789abcdef"},
    };
    struct hm_err err;
    struct hm_replica *replica = REPLICA("expect", "1");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err.text[0] = 0;
        if (hm_replica_set(replica, bad[i][0], bad[i][1], &err) != HM_EUSAGE ||
            !strstr(err.text, bad[i][0]) || !strstr(err.text, "expected"))
            fail_msg("%s = '%s': '%s'", bad[i][0], bad[i][1], err.text);
    }
    hm_replica_close(replica);
}

static void test_an_address_in_use_is_named_and_another_one_taken(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica *first = REPLICA("bind", "127.0.0.1:0"), *second;
    add_table(first, 2);
    must(hm_replica_open(first, &err), &err);
    assert_int_equal(hm_replica_open(first, &err), HM_EUSAGE); /* twice */
    second = REPLICA("bind", hm_replica_endpoint(first));
    add_table(second, 2);
    assert_int_equal(hm_replica_open(second, &err), HM_EIO);
    assert_non_null(strstr(err.text, hm_replica_endpoint(first)));
    assert_string_equal(hm_replica_endpoint(second), "");
    must(hm_replica_set(second, "bind", "127.0.0.1:0", &err), &err);
    must(hm_replica_open(second, &err), &err);
    hm_replica_close(first);
    hm_replica_close(second);
}

/* ---- marks ---- */

enum { BLOCKS = 4096, PER_BLOCK = 64, PROBES = 32 };

/* Two nodes over a table that is large enough for a flush to leave out what is not marked: each
 * takes its turn every 64th time. */
static void begin_two(struct hm_replica *node[2])
{
    for (int i = 0; i < 2; i++) {
        node[i] = REPLICA("expect", "2", "combine", "sum", "marks", "yes", "flush", "step");
        add_table(node[i], BLOCKS * PER_BLOCK);
    }
    start_two(node[0], node[1]);
}

static void end_two(struct hm_replica *node[2])
{
    struct hm_err err;
    hm_replica_stop(node[0], 0);
    for (int i = 0; i < 2; i++) {
        must(hm_replica_finish(node[i], -1, NULL, 0, &err), &err);
        hm_replica_close(node[i]);
    }
}

/* How many of the probes have come to the other node. */
static int n_arrived(float *table, float value)
{
    int n = 0;
    for (size_t i = 0; i < PROBES; i++)
        n += get(&table[i * BLOCKS / PROBES * PER_BLOCK + 7]) == value;
    return n;
}

/* What a thread says that it has touched goes out with the next flush; what it does not say waits
 * for its turn. */
static void test_what_was_touched_goes_out_at_once(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    float *w[2];
    begin_two(node);
    for (int i = 0; i < 2; i++)
        w[i] = hm_replica_weights(node[i], "table", NULL);
    put(&w[0][1], 1);
    hm_replica_touch(node[0], &w[0][1], 1);
    for (int i = 0; i < 3; i++) /* all is marked at first */
        assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
    for (int untold = 0; untold < 2; untold++) {
        const float value = untold ? 3 : 2;
        for (size_t i = 0; i < PROBES; i++) {
            float *number = &w[0][i * BLOCKS / PROBES * PER_BLOCK + 7];
            put(number, value);
            if (!untold)
                hm_replica_touch(node[0], number, 1);
        }
        assert_int_equal(hm_replica_step(node[0], 1, -1), 1); /* it is published now */
        for (int i = 0; i < (untold ? 500 : 20000) && n_arrived(w[1], value) < PROBES; i++)
            nap();
        if (untold)
            assert_in_range(n_arrived(w[1], value), 0, PROBES / 2);
        else
            assert_int_equal(n_arrived(w[1], value), PROBES);
    }
    hm_replica_touch(node[0], NULL, 0);
    assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
    for (int i = 0; i < 20000 && n_arrived(w[1], 3) < PROBES; i++)
        nap();
    assert_int_equal(n_arrived(w[1], 3), PROBES);
    end_two(node);
}

static void test_touching_beyond_the_weights_marks_nothing_beyond(void **state)
{
    (void)state;
    struct hm_replica *node[2];
    begin_two(node);
    size_t n;
    float elsewhere[4] = {0}, *w = hm_replica_weights(node[0], "table", &n);
    assert_int_equal(n, BLOCKS * PER_BLOCK);
    hm_replica_touch(node[0], elsewhere, 4);
    hm_replica_touch(node[0], w, SIZE_MAX);
    hm_replica_touch(node[0], w + n - 1, 1000000);
    hm_replica_touch(node[0], (float *)((uintptr_t)w + 4 * n + 4096), 1);
    hm_replica_touch(node[0], (float *)((uintptr_t)w - 4), 1);
    hm_replica_touch(node[0], (float *)(uintptr_t)4, SIZE_MAX);
    hm_replica_touch(node[0], (float *)(UINTPTR_MAX - 3), SIZE_MAX);
    hm_replica_touch(node[0], w, 0);
    assert_int_equal(hm_replica_step(node[0], 1, -1), 1);
    end_two(node);
    hm_replica_touch(NULL, w, 1);
}

/* ---- moments ---- */

static void test_a_fork_can_do_nothing_to_its_parents_replica(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_status status;
    struct hm_replica *replica = REPLICA("checkpoint", temp_path("a.ckpt"));
    add_table(replica, 1000);
    begin(replica);
    hm_replica_weights(replica, "table", NULL)[3] = 1;
    assert_int_equal(hm_replica_step(replica, 1, -1), 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        alarm(60); /* it would wait for threads that are not there */
        int fine = hm_replica_weights(replica, "table", NULL)[3] == 1;
        fine &= hm_replica_step(replica, 1, -1) == 0;
        fine &= hm_replica_start(replica, -1, &err) == HM_EUSAGE;
        fine &= strstr(err.text, "fork") != NULL;
        fine &= hm_replica_finish(replica, -1, NULL, 0, &err) == HM_EUSAGE;
        fine &= hm_replica_checkpoint(replica, &err) == HM_EUSAGE;
        hm_replica_touch(replica, NULL, 0);
        hm_replica_stop(replica, 0);
        hm_replica_status(replica, &status, sizeof status);
        hm_replica_close(replica);
#ifndef HM_TSAN /* which knows no threads of forks */
        struct hm_replica *own = REPLICA("steps", "10");
        add_table(own, 2);
        begin(own);
        while (hm_replica_step(own, 1, -1) > 0)
            ;
        fine &= hm_replica_finish(own, -1, NULL, 0, &err) == HM_OK;
        hm_replica_close(own);
#endif
        _exit(fine ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    assert_int_equal(hm_replica_step(replica, 1, -1), 1); /* the parent's goes on */
    hm_replica_status(replica, &status, sizeof status);
    assert_string_equal(status.stage, "train");
    hm_replica_stop(replica, 0);
    must(hm_replica_finish(replica, -1, NULL, 0, &err), &err);
    hm_replica_close(replica);
}

static _Atomic(uint64_t) handled_by;

static void handle(int number)
{
    (void)number;
    atomic_store(&handled_by, (uint64_t)pthread_self());
}

/* Those that are sent to the process come to the program's own threads, whatever the library runs
 * beside them. */
static void test_signals_are_left_to_the_program(void **state)
{
    (void)state;
    struct hm_err err;
    sigset_t usr1, before, after;
    struct sigaction action = {.sa_handler = handle}, old;
    struct hm_replica *replica = REPLICA("expect", "1");
    add_table(replica, 2);
    sigaction(SIGUSR1, &action, &old);
    begin(replica);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    assert_false(sigismember(&before, SIGUSR1)); /* as the program had it */
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 100; i++)
        nap();
    assert_true(atomic_load(&handled_by) == 0); /* nobody takes it: it waits */
    sigpending(&after);
    assert_true(sigismember(&after, SIGUSR1));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_true(atomic_load(&handled_by) == (uint64_t)pthread_self());
    sigaction(SIGUSR1, &old, NULL);
    errno = E2BIG;
    hm_replica_stop(replica, 0);
    assert_int_equal(errno, E2BIG);
    must(hm_replica_finish(replica, -1, NULL, 0, &err), &err);
    hm_replica_close(replica);
}

static void stop_it(void *context, int level, const char *text)
{
    struct hm_replica **replica = context;
    struct hm_replica_status status;
    (void)level;
    (void)text;
    hm_replica_status(*replica, &status, sizeof status);
    assert_non_null(hm_replica_endpoint(*replica));
    hm_replica_stop(*replica, 0);
}

/* A mesh of one logs at its start that a checkpoint of another run is put aside. */
static void test_a_log_callback_may_stop_the_run(void **state)
{
    (void)state;
    struct hm_err err;
    char path[512];
    snprintf(path, sizeof path, "%s", temp_path("a.ckpt"));
    for (int again = 0; again < 2; again++) {
        struct hm_replica *replica = REPLICA("checkpoint", path, "steps", again ? "0" : "10");
        hm_replica_on_log(replica, stop_it, &replica);
        add_table(replica, 2);
        must(hm_replica_open(replica, &err), &err);
        enum hm_status status = hm_replica_start(replica, -1, &err);
        assert_true(status == HM_OK || status == HM_ESTOPPED);
        while (hm_replica_step(replica, 1, -1) > 0)
            ;
        hm_replica_finish(replica, -1, NULL, 0, &err);
        hm_replica_close(replica);
    }
}

static void test_steps_without_end_are_only_the_end(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_replica_result result;
    struct hm_replica *replica = REPLICA("steps", "1000", "batch", "10");
    add_table(replica, 2);
    begin(replica);
    assert_in_range(hm_replica_step(replica, UINT64_MAX / 4, -1), 0, 1);
    while (hm_replica_step(replica, UINT64_MAX / 4, -1) > 0)
        ;
    must(hm_replica_finish(replica, -1, &result, sizeof result, &err), &err);
    hm_replica_close(replica);
}

static void *wait_for_its_turn(void *argument)
{
    while (hm_replica_step(argument, 0, -1) > 0)
        nap();
    return NULL;
}

/* Many threads that wait, with and without a limit, hear of the end. */
static void test_all_threads_hear_of_the_end(void **state)
{
    (void)state;
    enum { THREADS = 12 };
    struct hm_err err;
    struct hm_replica_status status;
    pthread_t thread[THREADS];
    struct hm_replica *replica = REPLICA("flush", "step");
    add_table(replica, 1000);
    begin(replica);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, wait_for_its_turn, replica), 0);
    for (int i = 0; i < 50; i++) {
        hm_replica_step(replica, 1, i % 2 ? .001 : 0);
        hm_replica_status(replica, &status, sizeof status.stage);
        assert_int_equal(hm_replica_finish(replica, 0, NULL, 0, &err), HM_ETIMEOUT);
    }
    hm_replica_stop(replica, 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++)
        must(hm_replica_finish(replica, .0, NULL, 0, &err) == HM_ETIMEOUT
                 ? hm_replica_finish(replica, -1, NULL, 0, &err)
                 : HM_OK,
             &err);
    assert_string_equal((hm_replica_status(replica, &status, sizeof status), status.stage), "done");
    assert_int_equal(hm_replica_step(replica, 1, -1), 0);
    hm_replica_close(replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_refused_where_something_is_expected),
        cmocka_unit_test(test_options_may_be_said_again),
        cmocka_unit_test(test_numbers_without_end_are_refused),
        cmocka_unit_test(test_an_address_in_use_is_named_and_another_one_taken),
        cmocka_unit_test(test_what_was_touched_goes_out_at_once),
        cmocka_unit_test(test_touching_beyond_the_weights_marks_nothing_beyond),
        cmocka_unit_test_setup_teardown(test_a_fork_can_do_nothing_to_its_parents_replica,
                                        temp_setup, temp_teardown),
        cmocka_unit_test(test_signals_are_left_to_the_program),
        cmocka_unit_test_setup_teardown(test_a_log_callback_may_stop_the_run, temp_setup,
                                        temp_teardown),
        cmocka_unit_test(test_steps_without_end_are_only_the_end),
        cmocka_unit_test(test_all_threads_hear_of_the_end),
    };
    return cmocka_run_group_tests_name("replica_misuse", tests, NULL, NULL);
}
