/* Stories about nodes that come back from their checkpoints. What must hold at every moment (each
 * delta applied once, in order; B the sum of them) is checked by tests/simnet.c all along.
 *
 * HOGMESH_SEED=N begins the random ones with seed N, HOGMESH_RUNS=N makes so many.
 */
#include "tests/seeds.h"
#include "tests/simnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MS = 1000, SECOND = 1000000, RUNS = 60 };

/* ---- helpers ---- */

static struct sim *running(const struct sim_options *options, unsigned n)
{
    struct sim *sim = sim_open(options);
    sim_start_all(sim, n);
    if (!sim_run_until(sim, sim_all_running, 5 * SECOND))
        sim_fail(sim, 0, "not all nodes have started");
    return sim;
}

static void ends(struct sim *sim, unsigned who)
{
    sim_stop(sim, who, "enough");
    if (!sim_run_until(sim, sim_all_ended, 30 * SECOND))
        sim_fail(sim, who, "the mesh does not end");
    sim_check_end(sim);
}

static void crash_all(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (sim->node[i].up)
            sim_crash(sim, i);
}

/* A new life from each checkpoint; returns the number of the first. */
static unsigned power_on(struct sim *sim, struct sim_saved **saved, unsigned n)
{
    unsigned first = sim->n_nodes;
    for (unsigned i = 0; i < n; i++)
        sim_start_saved(sim, 1, saved[i]);
    if (!sim_run_until(sim, sim_all_running, 20 * SECOND))
        sim_fail(sim, first, "not all nodes have come back");
    return first;
}

static uint64_t steps_of(const struct sim_saved *saved)
{
    return hm_mesh_resume_steps(&saved->checkpoint.mesh);
}

static void runs_for(struct sim *sim, uint64_t us)
{
    sim_run(sim, us);
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (!sim->node[i].crashed && !sim->node[i].up)
            sim_fail(sim, i, "has ended: %s", hm_mesh_result(sim->node[i].mesh)->text);
}

/* ---- stories ---- */

/* The others have gone on; its former stream is one of many now, and goes on from what they heard
 * of it. */
static void crashed_node_comes_back(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(1, 3);
    struct sim *sim = running(&o, 3);
    runs_for(sim, 2 * SECOND);
    struct sim_saved *saved = sim_save(sim, 2, NULL);
    runs_for(sim, SECOND);
    sim_crash(sim, 2);
    runs_for(sim, SECOND);
    assert_true(sim->node[0].seq[2] > saved->seq[2]);
    unsigned back = power_on(sim, &saved, 1);
    runs_for(sim, SECOND);
    assert_int_equal(sim->node[back].seq[2], sim->node[0].seq[2]);
    assert_true(sim->life[back].n_records > 0);
    assert_true(hm_mesh_counters(sim->node[back].mesh)->covered > 0);
    ends(sim, 0);
    sim_saved_free(saved);
    sim_close(sim);
}

/* Power fails everywhere. The files are of different moments, and every delta that any of them
 * names is in all of them in the end. */
static void all_come_back_from_states_of_different_ages(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(2, 3);
    struct sim *sim = running(&o, 3);
    struct sim_saved *saved[3];
    for (unsigned i = 0; i < 3; i++) {
        runs_for(sim, SECOND);
        saved[i] = sim_save(sim, i, NULL);
    }
    runs_for(sim, SECOND);
    crash_all(sim);
    unsigned first = power_on(sim, saved, 3);
    runs_for(sim, SECOND);
    for (unsigned k = 0; k < 3; k++) {
        uint32_t most = 0;
        for (unsigned i = 0; i < 3; i++)
            most = saved[i]->seq[k] > most ? saved[i]->seq[k] : most;
        for (unsigned i = first; i < first + 3; i++)
            assert_int_equal(sim->node[i].seq[k], most);
    }
    ends(sim, first);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(hm_mesh_steps(sim->node[first].mesh) > steps_of(saved[i]));
        sim_saved_free(saved[i]);
    }
    sim_close(sim);
}

/* Work that no flush had taken yet is published by the next life, at the next life's divisor: here
 * another one than that of the checkpoint, for one node of three does not come back. */
static void what_was_owed_is_published(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(3, 2);
    o.combine.rule = HM_RULE_AMPLIFY;
    o.flush_us = 3 * SECOND;
    struct sim *sim = running(&o, 3);
    runs_for(sim, 5 * SECOND);
    struct sim_saved *saved[2] = {sim_save(sim, 0, NULL), sim_save(sim, 1, NULL)};
    assert_true(saved[0]->checkpoint.divisor == 3);
    assert_true(saved[0]->checkpoint.owed_steps > 100);
    crash_all(sim);
    unsigned first = power_on(sim, saved, 2);
    assert_false(sim->node[first].dropped);
    assert_true(sim->node[first].steps >= saved[0]->checkpoint.owed_steps);
    assert_true(hm_mesh_combination(sim->node[first].mesh).divisor == 2);
    runs_for(sim, 4 * SECOND);
    ends(sim, first); /* checks that all that was owed is published */
    for (unsigned i = 0; i < 2; i++)
        sim_saved_free(saved[i]);
    sim_close(sim);
}

/* The same, but the former life has flushed once more and a peer has it: it is not published a
 * second time. */
static void what_was_owed_is_published_once(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(4, 2);
    o.flush_us = 3 * SECOND;
    struct sim *sim = running(&o, 2);
    runs_for(sim, 5 * SECOND);
    struct sim_saved *saved = sim_save(sim, 1, NULL);
    assert_true(saved->checkpoint.owed_steps > 100);
    runs_for(sim, 4 * SECOND);
    assert_true(sim->node[0].seq[1] > saved->seq[1]);
    sim_crash(sim, 1);
    unsigned back = power_on(sim, &saved, 1);
    assert_true(sim->node[back].dropped);
    assert_int_equal(sim->node[back].seq[1], sim->node[0].seq[1]);
    ends(sim, 0);
    sim_saved_free(saved);
    sim_close(sim);
}

/* Before the first flush nothing has been published: the file is that of a node without a stream.
 */
static void nothing_was_published_yet(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(5, 2);
    o.flush_us = 10 * SECOND;
    struct sim *sim = running(&o, 2);
    runs_for(sim, SECOND);
    struct sim_saved *saved[2] = {sim_save(sim, 0, NULL), sim_save(sim, 1, NULL)};
    assert_int_equal(saved[0]->checkpoint.mesh.n_streams, 0);
    crash_all(sim);
    unsigned first = power_on(sim, saved, 2);
    ends(sim, first);
    for (unsigned i = 0; i < 2; i++)
        sim_saved_free(saved[i]);
    sim_close(sim);
}

/* What all have acknowledged is in no log that is kept from the last save but one on, unless it is
 * newer than that. */
static void old_and_acknowledged_deltas_are_not_kept(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(6, 2);
    o.flush_us = 10 * MS;
    struct sim *sim = running(&o, 2);
    runs_for(sim, 3 * SECOND);
    struct sim_saved *one = sim_save(sim, 0, NULL);
    runs_for(sim, 3 * SECOND);
    struct sim_saved *two = sim_save(sim, 0, one), *all = sim_save(sim, 0, NULL);
    for (size_t i = 0; i < 2; i++) {
        const struct hm_resume_stream *was = &one->checkpoint.mesh.stream[i],
                                      *is = &two->checkpoint.mesh.stream[i];
        assert_true(is->n_log >= is->at.seq - was->at.seq);
        assert_true(is->n_log < is->at.seq - was->at.seq + 200);
        assert_int_equal(all->checkpoint.mesh.stream[i].n_log, is->at.seq);
    }
    ends(sim, 0);
    sim_saved_free(one);
    sim_saved_free(two);
    sim_saved_free(all);
    sim_close(sim);
}

/* A peer that hears nothing has acknowledged nothing: for it the log is kept however old it is. */
static void what_somebody_lacks_is_kept(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(7, 3);
    o.flush_us = 10 * MS;
    struct sim *sim = running(&o, 3);
    runs_for(sim, SECOND);
    sim->link[0][2].drop = sim->link[1][2].drop = 1;
    struct sim_saved *one = sim_save(sim, 0, NULL);
    runs_for(sim, SECOND);
    struct sim_saved *two = sim_save(sim, 0, one);
    runs_for(sim, SECOND);
    struct sim_saved *three = sim_save(sim, 0, two);
    uint32_t lacks = sim->node[2].seq[0];
    const struct hm_resume_stream *own =
        hm_mesh_resume_find(&three->checkpoint.mesh, sim->node[0].params.life);
    assert_true(lacks + 50 < two->seq[0]);
    assert_true(own->log[0]->head.lo <= lacks);
    sim->link[0][2].drop = sim->link[1][2].drop = 0;
    ends(sim, 0);
    sim_saved_free(one);
    sim_saved_free(two);
    sim_saved_free(three);
    sim_close(sim);
}

/* A budget smaller than that of the former life is kept from the first moment on. */
static void smaller_log_budget(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(8, 2);
    o.flush_us = 10 * MS;
    struct sim *sim = running(&o, 2);
    runs_for(sim, 5 * SECOND);
    struct sim_saved *saved[2] = {sim_save(sim, 0, NULL), sim_save(sim, 1, NULL)};
    crash_all(sim);
    sim->options.log_bytes_max = 16384;
    unsigned first = power_on(sim, saved, 2);
    ends(sim, first);
    for (unsigned i = 0; i < 2; i++)
        sim_saved_free(saved[i]);
    sim_close(sim);
}

/* No (stream, seq) is published twice: a life does not come back as itself. */
static void life_does_not_come_back_as_itself(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(9, 2);
    struct sim *sim = running(&o, 2);
    runs_for(sim, SECOND);
    struct sim_saved *saved = sim_save(sim, 0, NULL);
    struct hm_mesh_params params = sim->node[0].params;
    params.n_peers = 0;
    params.resume = &saved->checkpoint.mesh;
    struct hm_mesh *mesh = NULL;
    struct hm_err err = {""};
    assert_int_equal(hm_mesh_open(&mesh, &params, sim->now_us, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "has published before"));
    assert_null(mesh);
    ends(sim, 0);
    sim_saved_free(saved);
    sim_close(sim);
}

/* A life that came back, was saved and comes back again, twice. */
static void comes_back_again_and_again(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(10, 2);
    struct sim *sim = running(&o, 2);
    struct sim_saved *saved[4][2];
    unsigned first = 0;
    for (unsigned round = 0; round < 4; round++) {
        runs_for(sim, SECOND);
        for (unsigned i = 0; i < 2; i++)
            saved[round][i] = sim_save(sim, first + i, NULL);
        runs_for(sim, 300 * MS);
        crash_all(sim);
        first = power_on(sim, saved[round], 2);
    }
    runs_for(sim, 100 * MS);
    assert_int_equal(saved[3][0]->checkpoint.mesh.n_streams, 8);
    ends(sim, first);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < 2; i++)
            sim_saved_free(saved[round][i]);
    sim_close(sim);
}

/* ---- random ones ---- */

struct keeper {
    struct sim_saved *newest, *before, *oldest; /* two intervals in all */
    uint64_t due_us;
};

static struct sim_saved *all_saved[4096];
static size_t n_saved;

static void save(struct sim *sim, unsigned node, struct keeper *keeper)
{
    assert_true(n_saved < sizeof all_saved / sizeof *all_saved);
    keeper->oldest = keeper->before;
    keeper->before = keeper->newest;
    keeper->newest = all_saved[n_saved++] = sim_save(sim, node, keeper->oldest);
}

/* Trains until the power fails at `until`, each node saving once an interval. */
static void train(struct sim *sim, struct keeper *keeper, unsigned first, unsigned n,
                  uint64_t interval_us, uint64_t until_us)
{
    while (sim->now_us < until_us) {
        uint64_t next = until_us;
        for (unsigned i = 0; i < n; i++)
            next = keeper[i].due_us < next ? keeper[i].due_us : next;
        runs_for(sim, next > sim->now_us ? next - sim->now_us : 0);
        for (unsigned i = 0; i < n; i++)
            if (keeper[i].due_us <= sim->now_us && sim->now_us < until_us) {
                save(sim, first + i, &keeper[i]);
                keeper[i].due_us = sim->now_us + interval_us;
            }
    }
    crash_all(sim);
}

static void run(uint64_t seed)
{
    static const enum hm_rule RULES[] = {HM_RULE_SUM, HM_RULE_AMPLIFY, HM_RULE_MEAN};
    struct hm_rng rng = hm_rng_seed(seed, 78);
    unsigned n = 2 + hm_rng_below(&rng, 3), first = 0;
    struct sim_options o = sim_defaults(seed, n);
    o.combine.rule = RULES[hm_rng_below(&rng, 3)];
    o.fractions = hm_rng_below(&rng, 2);
    o.flush_us = hm_rng_below(&rng, 2) ? 6000 + hm_rng_below(&rng, 200 * MS) : 0;
    o.step_us = 500 + hm_rng_below(&rng, 10 * MS);
    struct sim *sim = sim_open(&o);
    struct sim_link link = {.latency_us = hm_rng_below(&rng, 20 * MS),
                            .jitter_us = hm_rng_below(&rng, 5 * MS),
                            .drop = hm_rng_unit(&rng) * .1,
                            .duplicate = hm_rng_unit(&rng) * .1,
                            .reorder = hm_rng_unit(&rng) * .3};
    sim_links(sim, &link);
    sim_start_all(sim, n);
    if (!sim_run_until(sim, sim_all_running, 20 * SECOND))
        sim_fail(sim, 0, "not all nodes have started");
    struct keeper keeper[4] = {{0}};
    uint64_t interval_us = 2 * SECOND + hm_rng_below(&rng, 2 * SECOND);
    for (unsigned life = 0; life < 2; life++) {
        for (unsigned i = 0; i < n; i++)
            keeper[i].due_us = sim->now_us + hm_rng_below(&rng, (uint32_t)interval_us);
        train(sim, keeper, first, n, interval_us,
              sim->now_us + interval_us + hm_rng_below(&rng, 8 * SECOND));
        struct sim_saved *saved[4];
        for (unsigned i = 0; i < n; i++) {
            saved[i] = keeper[i].newest;
            keeper[i] = (struct keeper){.newest = NULL};
        }
        first = power_on(sim, saved, n);
    }
    runs_for(sim, SECOND);
    ends(sim, first);
    sim_close(sim);
    while (n_saved)
        sim_saved_free(all_saved[--n_saved]);
}

static void power_fails_at_random(void **state)
{
    (void)state;
    for_each_seed(RUNS, run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crashed_node_comes_back),
        cmocka_unit_test(all_come_back_from_states_of_different_ages),
        cmocka_unit_test(what_was_owed_is_published),
        cmocka_unit_test(what_was_owed_is_published_once),
        cmocka_unit_test(nothing_was_published_yet),
        cmocka_unit_test(old_and_acknowledged_deltas_are_not_kept),
        cmocka_unit_test(what_somebody_lacks_is_kept),
        cmocka_unit_test(smaller_log_budget),
        cmocka_unit_test(life_does_not_come_back_as_itself),
        cmocka_unit_test(comes_back_again_and_again),
        cmocka_unit_test(power_fails_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
