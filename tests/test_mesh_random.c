/* Meshes of 2 to 16 nodes under random faults. What must hold after every event is checked by
 * simnet; what must hold at the end (equal bases, clean exits, nothing lost) once the faults have
 * ended.
 *
 * Links lose, repeat and reorder; nodes crash, come back as new lives, join and leave, stand still,
 * have clocks that leap; the network is cut in any way, in one direction too, within what the logs
 * hold and beyond; bits of deltas and snapshots flip.
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

#include <string.h>

enum { RUNS = 1000, FAULTS_MAX = 12, FAULT_US = 1500000, END_US = 1000000000 };

static uint32_t below(struct hm_rng *rng, uint32_t n)
{
    return hm_rng_below(rng, n);
}

static bool one_in(struct hm_rng *rng, uint32_t n)
{
    return below(rng, n) == 0;
}

/* The scene: settings and links. Short time-outs, so that a run takes seconds. */
static struct sim_options options_of(struct hm_rng *rng, uint64_t seed)
{
    static const enum hm_rule RULES[] = {HM_RULE_SUM, HM_RULE_AMPLIFY, HM_RULE_MEAN};
    struct sim_options o =
        sim_defaults(seed, one_in(rng, 4) ? 2 + below(rng, 4) : 6 + below(rng, 11));
    o.combine.rule = RULES[below(rng, 3)];
    o.combine.amplify = one_in(rng, 3) ? 2.0f : 0;
    o.fractions = one_in(rng, 2);
    o.flush_us = one_in(rng, 2) ? 6000 + below(rng, 40000) : 0;
    o.step_us = 500 + below(rng, 10000);
    o.bandwidth = one_in(rng, 6) ? 100000 + below(rng, 1000000) : 0;
    o.suspect_us = 700000;
    o.gone_us = 3000000;
    o.join_timeout_us = END_US;
    if (one_in(rng, 2)) {
        o.log_bytes_least = 6000 * o.expect;
        o.log_bytes_max = o.log_bytes_least + 1 + below(rng, 30000 * o.expect);
    }
    return o;
}

static struct sim_link link_of(struct hm_rng *rng)
{
    struct sim_link link = {.latency_us = 20 + below(rng, 5000), .jitter_us = below(rng, 2000)};
    if (one_in(rng, 2))
        link.drop = below(rng, 61) / 100.0;
    if (one_in(rng, 3))
        link.duplicate = below(rng, 30) / 100.0;
    if (one_in(rng, 3))
        link.reorder = below(rng, 50) / 100.0;
    return link;
}

/* ---- faults ---- */

struct faults {
    struct hm_rng *rng;
    bool joiners; /* where links lose much, nobody catches up with a mesh that keeps training */
    unsigned n_deaths; /* crashes and leaves, of nodes that started together */
};

static unsigned somebody(const struct sim *sim, struct hm_rng *rng)
{
    unsigned i = below(rng, sim->n_nodes);
    while (!sim->node[i].up || sim->node[i].told_to_leave)
        i = (i + 1) % sim->n_nodes;
    return i;
}

static bool may_lose_one(const struct sim *sim, const struct faults *faults)
{
    return 2 * (faults->n_deaths + 1) < sim->n_nodes;
}

/* Cuts a random part of the nodes off the others, in two parts or three, in one direction or both,
 * here and there not at all; or heals all. */
static void partition(struct sim *sim, struct hm_rng *rng, bool cut)
{
    unsigned part[SIM_NODES_MAX], n_parts = 2 + one_in(rng, 4);
    bool one_way = one_in(rng, 4), partial = one_in(rng, 4);
    for (unsigned i = 0; i < SIM_NODES_MAX; i++)
        part[i] = below(rng, n_parts);
    for (unsigned a = 0; a < sim->n_nodes; a++)
        for (unsigned b = 0; b < sim->n_nodes; b++)
            sim->link[a][b].cut = cut && part[a] != part[b] && !(one_way && part[a] > part[b]) &&
                                  !(partial && one_in(rng, 3));
}

/* Runs on while cut in two, for longer than small logs last. */
static void long_partition(struct sim *sim, struct hm_rng *rng)
{
    partition(sim, rng, true);
    sim_run(sim, FAULT_US + below(rng, 3 * FAULT_US));
    if (one_in(rng, 2))
        partition(sim, rng, false);
}

static void come_back(struct sim *sim, struct hm_rng *rng)
{
    unsigned i = below(rng, sim->n_nodes);
    for (unsigned k = 0; k < sim->n_nodes; k++, i = (i + 1) % sim->n_nodes)
        if (sim->node[i].crashed) {
            sim_restart(sim, i, SIM_NODES_MAX);
            return;
        }
}

static void one_fault(struct sim *sim, struct faults *faults)
{
    struct hm_rng *rng = faults->rng;
    unsigned node = somebody(sim, rng), other = somebody(sim, rng);
    switch (below(rng, 11)) {
    case 0:
        if (may_lose_one(sim, faults)) {
            faults->n_deaths++;
            sim_crash(sim, node);
        }
        break;
    case 1:
        if (may_lose_one(sim, faults)) {
            faults->n_deaths++;
            sim_leave(sim, node, "tired");
        }
        break;
    case 2:
        sim_pause(sim, node);
        break;
    case 3:
        if (sim->node[node].paused)
            sim_resume(sim, node);
        break;
    case 4:
        partition(sim, rng, true);
        break;
    case 5:
        partition(sim, rng, false);
        break;
    case 6:
        sim_reset(sim, node, other);
        break;
    case 7:
        if (faults->joiners && sim->n_nodes < sim->options.expect + 6)
            sim_start(sim, SIM_NODES_MAX);
        break;
    case 8:
        if (faults->joiners)
            come_back(sim, rng);
        break;
    case 9:
        long_partition(sim, rng);
        break;
    case 10:
        sim_leap(sim, node, below(rng, 20000000));
        break;
    }
}

static void heal(struct sim *sim, struct hm_rng *rng)
{
    partition(sim, rng, false);
    for (unsigned i = 0; i < sim->n_nodes; i++)
        if (sim->node[i].up && sim->node[i].paused)
            sim_resume(sim, i);
}

/* A bit flips on the way: of a delta, wherever it is, or of a chunk's body. */
static bool flip(struct sim *sim, struct sim_message *message)
{
    struct hm_header header = sim_header(message);
    uint32_t n = message->payload ? (uint32_t)message->payload->n : 0;
    if ((header.type != HM_DELTA && header.type != HM_CHUNK) || !n || hm_rng_below(&sim->rng, 50))
        return true;
    if (header.type == HM_DELTA && !hm_rng_below(&sim->rng, 4)) {
        uint32_t bit = hm_rng_below(&sim->rng, 8 * (uint32_t)message->header_n);
        message->header[bit / 8] ^= (uint8_t)(1 << bit % 8);
        return true;
    }
    struct hm_blob *odd = hm_blob_new(n);
    assert_non_null(odd);
    memcpy(odd->bytes, message->payload->bytes, n);
    uint32_t bit = hm_rng_below(&sim->rng, 8 * n);
    odd->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    hm_blob_drop(message->payload);
    message->payload = odd;
    return true;
}

/* Everybody hears everybody who is there. */
static bool whole(const struct sim *sim)
{
    unsigned n_up = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++)
        n_up += sim->node[i].up && !sim->node[i].told_to_leave;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        const struct hm_mesh *mesh = sim->node[i].mesh;
        unsigned n = 1;
        for (size_t k = 0; k < hm_mesh_n_members(mesh); k++) {
            struct hm_member_info member = hm_mesh_member(mesh, k, sim->now_us);
            n += !member.gone && !member.left && member.phase == HM_RUNNING;
        }
        if (sim->node[i].up && !sim->node[i].told_to_leave &&
            (n < n_up || hm_mesh_phase(mesh) != HM_RUNNING))
            return false;
    }
    return true;
}

/* ---- runs ---- */

/* Faults come and end, then somebody says stop. */
static void run_with_faults(struct sim *sim, struct hm_rng *rng)
{
    struct faults faults = {.rng = rng, .joiners = sim->link[0][1].drop <= .1};
    if (!sim_run_until(sim, sim_all_running, END_US))
        sim_fail(sim, 0, "not everybody has started");
    for (unsigned n = below(rng, FAULTS_MAX); n; n--) {
        one_fault(sim, &faults);
        sim_run(sim, below(rng, one_in(rng, 8) ? 3 * FAULT_US : FAULT_US / 10));
    }
    heal(sim, rng);
    sim_run(sim, 1000000); /* at least one beat of everybody, before anybody counts as gone */
    if (!sim_run_until(sim, whole, END_US))
        sim_fail(sim, 0, "the mesh is not whole again");
    sim_stop(sim, somebody(sim, rng), "enough");
}

static struct {
    uint64_t installed, renewals, abandoned, doubled;
} totals;

/* As long as the logs are large nobody who lives loses anything. Of the dead one thing may be lost:
 * what is in bases alone, because it came with a snapshot whose server died before anybody else had
 * its newest deltas, when two nodes have taken two such snapshots: one of them gives way, and
 * counts.
 */
static bool loses_too_much(const struct sim *sim, const struct hm_counters *c, uint64_t installed)
{
    if (sim->options.log_bytes_least)
        return false;
    return c->renewals || c->abandoned > c->orphaned || (c->orphaned && installed < 2);
}

static void add_up(const struct sim *sim)
{
    uint64_t installed = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++)
        installed += hm_mesh_counters(sim->node[i].mesh)->snapshots_installed;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        const struct hm_counters *c = hm_mesh_counters(sim->node[i].mesh);
        totals.renewals += c->renewals;
        totals.abandoned += c->abandoned;
        bool stays = !sim->node[i].crashed && !sim->node[i].told_to_leave;
        if (stays && loses_too_much(sim, c, installed))
            sim_fail(sim, i, "abandons deltas although its log is large");
    }
    totals.installed += installed;
    totals.doubled += sim->n_doubled;
}

/* One run from one seed. Links that lose keep losing to the end in half of the runs: the end must
 * come even so. */
static void run(uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 77);
    struct sim_options options = options_of(&rng, seed);
    bool budget = one_in(&rng, 3);
    if (budget)
        options.budget_steps = 100 + below(&rng, 2000);
    struct sim *sim = sim_open(&options);
    struct sim_link link = link_of(&rng);
    sim->without = without();
    sim->chunk_blocks = 1 + below(&rng, 3);
    if (one_in(&rng, 4))
        sim->filter = flip;
    sim_links(sim, &link);
    sim_start_all(sim, options.expect);
    if (!budget)
        run_with_faults(sim, &rng);
    if (one_in(&rng, 2))
        for (unsigned a = 0; a < SIM_NODES_MAX; a++)
            for (unsigned b = 0; b < SIM_NODES_MAX; b++)
                sim->link[a][b] = (struct sim_link){.latency_us = link.latency_us};
    if (!sim_run_until(sim, sim_all_ended, END_US))
        sim_fail(sim, 0, "the mesh does not end");
    sim_check_end(sim);
    add_up(sim);
    sim_close(sim);
}

static void random_faults_leave_equal_replicas(void **state)
{
    (void)state;
    uint64_t runs = for_each_seed(RUNS, run);
    print_message("%llu runs: %llu snapshots taken over, %llu lives renewed, %llu deltas "
                  "abandoned, %llu doubled\n",
                  (unsigned long long)runs, (unsigned long long)totals.installed,
                  (unsigned long long)totals.renewals, (unsigned long long)totals.abandoned,
                  (unsigned long long)totals.doubled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_faults_leave_equal_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
