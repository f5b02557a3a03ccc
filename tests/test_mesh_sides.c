/* Long partitions: two sides that their logs do not join any more.
 *
 * HOGMESH_SEED=N begins with seed N, HOGMESH_RUNS=N makes so many runs, HOGMESH_WITHOUT=N (enum
 * hm_without) switches safeguards off, which must make runs fail.
 */
#include "tests/seeds.h"
#include "tests/simnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { RUNS = 250, END_US = 300000000 };

/* One of the two stays as it is, whatever they are. */
static void one_side(uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 78);
    unsigned n = 2 + hm_rng_below(&rng, 3), stay = 0, side = 1 + hm_rng_below(&rng, (1u << n) - 2);
    struct sim_options o = sim_defaults(seed, n);
    o.flush_us = 5000 + hm_rng_below(&rng, 5000);
    o.log_bytes_max = 30000 * n + hm_rng_below(&rng, 20000 * n); /* a second or so */
    struct sim *sim = sim_open(&o);
    struct sim_link link = {.latency_us = 20 + hm_rng_below(&rng, 2000),
                            .jitter_us = hm_rng_below(&rng, 500)};
    sim_links(sim, &link);
    sim->without = without();
    sim->chunk_blocks = 1 + hm_rng_below(&rng, 3);
    sim_start_all(sim, n);
    if (!sim_run_until(sim, sim_all_running, END_US))
        sim_fail(sim, 0, "not everybody has started");
    for (int cut = 1; cut >= 0; cut--) {
        for (unsigned a = 0; a < n; a++)
            for (unsigned b = 0; b < a; b++)
                sim_cut(sim, a, b, cut && ((side >> a ^ side >> b) & 1));
        sim_run(sim, 3000000 + hm_rng_below(&rng, 2000000));
    }
    sim_stop(sim, hm_rng_below(&rng, n), "enough");
    if (!sim_run_until(sim, sim_all_ended, END_US / 10))
        sim_fail(sim, 0, "the mesh does not end");
    sim_check_end(sim);
    for (unsigned i = 0; i < n; i++)
        stay += hm_mesh_counters(sim->node[i].mesh)->renewals == 0;
    if (!stay || sim->n_doubled)
        sim_fail(sim, 0, "%u of %u nodes stay what they were, %llu deltas are doubled", stay, n,
                 (unsigned long long)sim->n_doubled);
    sim_close(sim);
}

static void of_two_sides_one_gives_way(void **state)
{
    (void)state;
    for_each_seed(RUNS, one_side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_sides_one_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
