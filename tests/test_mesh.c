/* Stories about meshes: set the scene, let something happen, look at what became of it. What must
 * hold at every moment is checked by tests/simnet.c all along. */
#include "protocol/mesh_state.h"
#include "tests/simnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_OF(array) (sizeof(array) / sizeof *(array))

enum { MS = 1000, SECOND = 1000000 };

/* What the filters go by. */
static struct {
    unsigned from, to;
    uint32_t seq;     /* of the delta that is lost, or the first that is */
    bool answers_too; /* not only what is published */
    bool on;
    uint64_t n; /* how often the filter acted */
    struct sim_message caught;
} act;

/* ---- helpers ---- */

static struct sim *scene(const struct sim_options *options, unsigned n)
{
    act.on = act.answers_too = false;
    act.n = 0;
    struct sim *sim = sim_open(options);
    sim_start_all(sim, n);
    return sim;
}

static struct sim *running(const struct sim_options *options, unsigned n)
{
    struct sim *sim = scene(options, n);
    if (!sim_run_until(sim, sim_all_running, 5 * SECOND))
        sim_fail(sim, 0, "not all nodes have started");
    return sim;
}

static void ends(struct sim *sim, uint64_t within_us)
{
    if (!sim_run_until(sim, sim_all_ended, within_us))
        sim_fail(sim, 0, "the mesh does not end");
    sim_check_end(sim);
}

static void stop_and_close(struct sim *sim, unsigned who, uint64_t within_us)
{
    sim_stop(sim, who, "enough");
    ends(sim, within_us);
    sim_close(sim);
}

static const struct hm_counters *counters(const struct sim *sim, unsigned node)
{
    return hm_mesh_counters(sim->node[node].mesh);
}

static const char *result(const struct sim *sim, unsigned node)
{
    return hm_mesh_result(sim->node[node].mesh)->text;
}

static void says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}

static struct hm_member_info member(const struct sim *sim, unsigned of, unsigned who)
{
    const struct hm_mesh *mesh = sim->node[of].mesh;
    for (size_t i = 0; i < hm_mesh_n_members(mesh); i++) {
        struct hm_member_info info = hm_mesh_member(mesh, i, sim->now_us);
        if (info.life == sim->node[who].params.life)
            return info;
    }
    sim_fail(sim, of, "does not know node %u", who);
}

static uint64_t last_end_us(const struct sim *sim)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++)
        last = sim->node[i].ended_us > last ? sim->node[i].ended_us : last;
    return last;
}

/* Hands a node a message that nobody sent; `route` is whom an answer goes to. */
static void inject(struct sim *sim, unsigned to, unsigned route, enum hm_channel channel,
                   const struct hm_header *header, struct hm_blob *payload)
{
    uint8_t bytes[HM_HEADER_BOUND], way[2] = {'n', (uint8_t)route};
    struct hm_event event = {.type = HM_EV_MESSAGE,
                             .message = {.channel = channel,
                                         .header = bytes,
                                         .header_n = hm_wire_encode(header, bytes),
                                         .payload = payload,
                                         .route = way,
                                         .route_n = channel == HM_CH_REQUEST ? 2 : 0}};
    sim_happen(sim, to, &event);
}

static void inject_bytes(struct sim *sim, unsigned to, const uint8_t *header, size_t header_n,
                         struct hm_blob *payload)
{
    struct hm_event event = {.type = HM_EV_MESSAGE,
                             .message = {.channel = HM_CH_PUBLISHED,
                                         .header = header,
                                         .header_n = header_n,
                                         .payload = payload}};
    sim_happen(sim, to, &event);
}

/* ---- filters ---- */

static bool is_delta_of(const struct sim *sim, const struct sim_message *m, unsigned origin)
{
    struct hm_header h = sim_header(m);
    return h.type == HM_DELTA && h.delta.stream == sim->node[origin].params.life;
}

/* Deltas of `from` to `to` from `seq` on are lost. */
static bool lose_from_seq_on(struct sim *sim, struct sim_message *m)
{
    struct hm_header h = sim_header(m);
    if (!act.on || m->to != act.to || !is_delta_of(sim, m, act.from) || h.delta.hi < act.seq ||
        (m->channel != HM_CH_PUBLISHED && !act.answers_too))
        return true;
    act.n++;
    return false;
}

/* One delta of `from` is lost on every way. */
static bool lose_one(struct sim *sim, struct sim_message *m)
{
    if (!is_delta_of(sim, m, act.from) || sim_header(m).delta.hi != act.seq)
        return true;
    act.n++;
    return false;
}

/* Once on, node `from` reaches nobody but node `to`. */
static bool reach_one(struct sim *sim, struct sim_message *m)
{
    (void)sim;
    return !act.on || m->from != act.from || m->to == act.to;
}

/* Keeps a copy of the newest message of `from` to `to` of a type (in `seq`). */
static bool catch_type(struct sim *sim, struct sim_message *m)
{
    (void)sim;
    if (m->from == act.from && m->to == act.to && sim_header(m).type == act.seq) {
        hm_blob_drop(act.caught.payload);
        act.caught = *m;
        hm_blob_share(act.caught.payload);
        act.n++;
    }
    return true;
}

/* One beat of `from` to `to` arrives with a flipped bit in its number. */
static bool flip_beat(struct sim *sim, struct sim_message *m)
{
    struct hm_header h = sim_header(m);
    (void)sim;
    if (!act.on || m->from != act.from || m->to != act.to || h.type != HM_BEAT)
        return true;
    h.beat.number |= 1u << 30;
    m->header_n = hm_wire_encode(&h, m->header);
    act.on = false;
    act.n++;
    return true;
}

/* As catch_type, for DELTA, and it does not arrive. */
static bool catch_delta(struct sim *sim, struct sim_message *m)
{
    if (!act.on || m->to != act.to || !is_delta_of(sim, m, act.from))
        return true;
    if (!act.n++) {
        hm_blob_drop(act.caught.payload);
        act.caught = *m;
        hm_blob_share(act.caught.payload);
    }
    return false;
}

static struct hm_blob *copy_with_a_flipped_bit(const struct hm_blob *right, size_t bit)
{
    struct hm_blob *wrong = hm_blob_new(right->n);
    assert_non_null(wrong);
    memcpy(wrong->bytes, right->bytes, right->n);
    wrong->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return wrong;
}

/* One bit of every published delta is wrong. */
static bool flip_a_bit(struct sim *sim, struct sim_message *m)
{
    struct hm_header h = sim_header(m);
    if (h.type != HM_DELTA || m->channel != HM_CH_PUBLISHED || !act.on)
        return true;
    struct hm_blob *wrong =
        copy_with_a_flipped_bit(m->payload, hm_rng_below(&sim->rng, (uint32_t)(8 * m->payload->n)));
    hm_blob_drop(m->payload);
    m->payload = wrong;
    act.n++;
    return true;
}

static void forget_caught(void)
{
    hm_blob_drop(act.caught.payload);
    act.caught.payload = NULL;
}

/* ---- finding each other ---- */

static void nodes_find_each_other_from_one_address(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(1, 8);
    struct sim *sim = running(&o, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(hm_mesh_n_members(sim->node[i].mesh), 7);
        assert_int_equal(hm_mesh_n_live(sim->node[i].mesh), 8);
    }
    assert_true(sim->now_us < 2 * SECOND);
    stop_and_close(sim, 0, SECOND);
}

static void nobody_starts_before_all_expected_are_there(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(2, 3);
    struct sim *sim = scene(&o, 2);
    sim_run(sim, 3 * SECOND);
    uint64_t before = sim->now_us;
    assert_int_equal(hm_mesh_phase(sim->node[0].mesh), HM_JOINING);
    assert_int_equal(hm_mesh_phase(sim->node[1].mesh), HM_JOINING);
    sim_start(sim, 1);
    assert_true(sim_run_until(sim, sim_all_running, SECOND));
    for (unsigned i = 0; i < 3; i++)
        assert_true(sim->node[i].working_us > before);
    stop_and_close(sim, 2, SECOND);
}

static void who_hears_too_few_gives_up_with_a_sentence(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(3, 2);
    struct sim *alone = scene(&o, 1);
    assert_true(sim_run_until(alone, sim_all_ended, 11 * SECOND));
    assert_int_equal(hm_mesh_result(alone->node[0].mesh)->status, HM_ETIMEOUT);
    says(result(alone, 0), "found no other node in 10 s (2 expected); check --peer");
    sim_close(alone);

    o.expect = 3;
    struct sim *two = scene(&o, 2);
    assert_true(sim_run_until(two, sim_all_ended, 11 * SECOND));
    says(result(two, 1), "only 2 of 3 expected nodes after 10 s; heard: n0;");
    sim_close(two);
}

static void a_late_joiner_catches_up_and_trains(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(4, 2);
    struct sim *sim = running(&o, 2);
    sim_run(sim, SECOND);
    unsigned late = sim_start(sim, 1);
    assert_true(sim_run_until(sim, sim_all_running, 2 * SECOND));
    assert_true(counters(sim, late)->repaired > 10);
    sim_run(sim, SECOND);
    assert_true(sim->life[late].n_records > 10);
    assert_int_equal(sim->node[0].seq[late] > 5, 1);
    stop_and_close(sim, late, SECOND);
}

static void who_died_comes_back_as_a_new_life(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(5, 3);
    struct sim *sim = running(&o, 3);
    for (unsigned again = 0; again < 3; again++) {
        sim_run(sim, 300 * MS);
        sim_crash(sim, 2 + again);
        sim_start(sim, 1);
        assert_true(sim_run_until(sim, sim_all_running, 15 * SECOND));
    }
    stop_and_close(sim, 0, 20 * SECOND);
}

/* A process that begins anew at its old address: the connections of the life before would lead to
 * it and take its answers away, so they go as soon as it speaks, and what others still say of that
 * life brings none back. */
static void an_address_has_one_life(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(6, 3);
    struct sim *sim = running(&o, 3);
    sim_crash(sim, 2);
    sim_run(sim, 10 * MS); /* what it said last has arrived */
    struct hm_header hello = {.type = HM_HELLO,
                              .fingerprint = hm_mesh_fingerprint(sim->node[0].mesh),
                              .life = 4711,
                              .hello = {.label = "again"}};
    memcpy(hello.hello.rpc, sim->node[2].params.rpc, sizeof hello.hello.rpc);
    memcpy(hello.hello.pub, sim->node[2].params.pub, sizeof hello.hello.pub);
    uint8_t nothing[16];
    size_t n = hm_hello_encode(NULL, 0, NULL, 0, NULL, 0, nothing);
    struct hm_blob *payload = hm_blob_new(n);
    memcpy(payload->bytes, nothing, n);
    inject(sim, 0, 2, HM_CH_REQUEST, &hello, payload);
    hm_blob_drop(payload);
    for (unsigned i = 0; i < 2;
         i++) { /* at once, and after beats of node 1, which knows the old life only */
        assert_true(member(sim, 0, 2).gone);
        assert_int_equal(hm_mesh_n_members(sim->node[0].mesh), 3);
        unsigned to_it = 0;
        for (unsigned k = 0; k < HM_PEERS_MAX; k++)
            to_it += sim->node[0].slot[k].used && sim->node[0].slot[k].target == 2;
        assert_int_equal(to_it, 1);
        sim_run(sim, SECOND);
    }
    says(sim->node[0].notes, "which has ended");
    stop_and_close(sim, 0, 20 * SECOND);
}

/* ---- deltas ---- */

static void deltas_apply_in_order_once_on_bad_links(void **state)
{
    (void)state;
    static const double DROP[] = {0, .1, .3, .6};
    for (unsigned i = 0; i < N_OF(DROP); i++) {
        struct sim_options o = sim_defaults(10 + i, 4);
        o.flush_us = 10 * MS;
        struct sim *sim = scene(&o, 4);
        struct sim_link link = {
            .latency_us = 300, .jitter_us = 900, .drop = DROP[i], .duplicate = .2, .reorder = .3};
        sim_links(sim, &link);
        assert_true(sim_run_until(sim, sim_all_running, 60 * SECOND));
        sim_run(sim, SECOND);
        sim_stop(sim, 1, "enough");
        ends(sim, 120 * SECOND);
        assert_true(counters(sim, 0)->duplicates > 0);
        assert_true(!i || counters(sim, 0)->repaired > 0);
        sim_close(sim);
    }
}

static void the_last_delta_before_silence_is_repaired_through_beats(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(20, 3);
    o.flush_us = 10 * MS;
    struct sim *sim = running(&o, 3);
    sim->filter = lose_from_seq_on;
    sim_run(sim, SECOND + 5 * MS); /* between two flushes, so that one is left to be made */
    act.from = 1;
    act.to = 2;
    act.seq = (uint32_t)sim->life[1].n_records + 1;
    act.on = true;
    sim_stop(sim, 1, "enough");
    ends(sim, SECOND);
    assert_true(act.n > 0);
    assert_int_equal(sim->node[2].seq[1], sim->life[1].n_records);
    assert_true(counters(sim, 2)->repaired >= act.n);
    sim_close(sim);
}

static void any_holder_repairs_when_the_origin_is_dead(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(21, 5);
    struct sim *sim = running(&o, 5);
    sim->filter = reach_one;
    sim_run(sim, SECOND);
    act.from = 0;
    act.to = 3;
    act.on = true;
    size_t n = sim->life[0].n_records;
    while (sim->life[0].n_records == n)
        sim_run(sim, 100);
    sim_crash(sim, 0);
    sim_run(sim, 2 * SECOND);
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(sim->node[i].seq[0], sim->life[0].n_records);
    assert_true(counters(sim, 3)->wants_served > 0);
    stop_and_close(sim, 1, 10 * SECOND);
}

static void a_gap_goes_with_its_dead_origin(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(22, 4);
    struct sim *sim = running(&o, 4);
    sim_run(sim, SECOND);
    act.from = 0;
    act.seq = (uint32_t)sim->life[0].n_records + 1;
    sim->filter = lose_one;
    while (sim->life[0].n_records < act.seq + 2)
        sim_run(sim, 100);
    sim_run(sim, MS);
    sim_crash(sim, 0);
    assert_true(counters(sim, 1)->held > 0);
    sim_stop(sim, 2, "enough");
    ends(sim, 15 * SECOND);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(sim->node[i].seq[0], act.seq - 1);
        assert_int_equal(hm_mesh_result(sim->node[i].mesh)->lost,
                         sim->life[0].n_records - sim->node[i].seq[0]);
    }
    sim_close(sim);
}

/* Cuts every node of `side` (a bit each) off all others, or heals that. */
static void split(struct sim *sim, unsigned side, bool cut)
{
    for (unsigned a = 0; a < sim->n_nodes; a++)
        for (unsigned b = 0; b < a; b++)
            if ((side >> a ^ side >> b) & 1)
                sim_cut(sim, a, b, cut);
}

static uint64_t sum_of(const struct sim *sim, size_t counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++)
        sum += *(const uint64_t *)(const void *)((const char *)counters(sim, i) + counter);
    return sum;
}
#define SUM(sim, name) sum_of(sim, offsetof(struct hm_counters, name))

/* Both sides have gone on for longer than any log lasts. */
static void a_long_partition_beyond_the_logs_ends_with_one_side_yielding(void **state)
{
    (void)state;
    for (unsigned n = 2; n <= 4; n++) {
        struct sim_options o = sim_defaults(23 + n, n);
        o.log_bytes_max = 8000;
        o.flush_us = 5 * MS;
        struct sim *sim = running(&o, n);
        sim->chunk_blocks = 1;
        split(sim, 1u << (n - 1), true);
        sim_run(sim, 3 * SECOND);
        split(sim, 1u << (n - 1), false);
        sim_run(sim, 6 * SECOND);
        assert_true(SUM(sim, renewals) >= 1);
        assert_true(SUM(sim, renewals) < n);
        assert_true(SUM(sim, abandoned) > 0);
        assert_true(SUM(sim, renewed) > 0);
        stop_and_close(sim, 0, 3 * SECOND);
    }
}

static void a_partition_within_the_logs_loses_nothing(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(27, 4);
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 4);
    split(sim, 3, true);
    sim_run(sim, 12 * SECOND); /* they count as gone meanwhile */
    split(sim, 3, false);
    sim_run(sim, 5 * SECOND);
    assert_int_equal(SUM(sim, renewals), 0);
    assert_int_equal(SUM(sim, abandoned), 0);
    stop_and_close(sim, 0, 3 * SECOND);
}

static void a_late_nohave_rules_nobody_out(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(27, 2);
    o.flush_us = 20 * MS;
    struct sim *sim = running(&o, 2);
    act.from = 0;
    act.to = 1;
    act.seq = (uint32_t)sim->life[0].n_records + 5;
    act.on = act.answers_too = true;
    sim->filter = lose_from_seq_on;
    sim_run(sim, SECOND);
    assert_true(counters(sim, 1)->wants_sent > 0);
    struct hm_header late = {.type = HM_NOHAVE,
                             .fingerprint = hm_mesh_fingerprint(sim->node[0].mesh),
                             .life = sim->node[0].params.life,
                             .nohave = {sim->node[0].params.life, 2}};
    inject(sim, 1, 0, HM_CH_ANSWER, &late, NULL);
    sim_run(sim, 2 * SECOND);
    act.on = false;
    sim_run(sim, 3 * SECOND);
    assert_true(sim->node[1].up);
    stop_and_close(sim, 0, SECOND);
}

static void the_log_stays_within_its_budget_and_repairs(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(30, 4);
    o.log_bytes_max = 220000;
    o.flush_us = 3 * MS;
    struct sim *sim = running(&o, 4);
    struct sim_link link = {.latency_us = 300, .jitter_us = 100, .drop = .1};
    sim_links(sim, &link);
    sim_run(sim, 10 * SECOND);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(counters(sim, i)->bytes_received > 4 * o.log_bytes_max);
        assert_true(hm_mesh_log_bytes(sim->node[i].mesh) > o.log_bytes_max / 4);
        assert_true(counters(sim, i)->repaired > 10);
    }
    stop_and_close(sim, 0, 10 * SECOND);
}

static void only_so_many_deltas_are_held(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(31, 2);
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 2);
    sim_run(sim, 100 * MS);
    act.from = 0;
    act.seq = sim->node[1].seq[0] + 1;
    sim->filter = lose_one;
    sim_run(sim, SECOND);
    assert_true(sim->life[0].n_records > act.seq + 80);
    assert_int_equal(counters(sim, 1)->held, 64);
    assert_true(counters(sim, 1)->refused_overflow > 0);
    assert_int_equal(sim->node[1].seq[0], act.seq - 1);
    sim->filter = NULL;
    sim_run(sim, 3 * SECOND);
    assert_true(sim->node[1].seq[0] > act.seq + 80);
    stop_and_close(sim, 0, SECOND);
}

static void repair_keeps_up_with_a_lossy_stream(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(32, 2);
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 2);
    struct sim_link link = {.latency_us = 200, .drop = .2};
    sim_links(sim, &link);
    sim_run(sim, 10 * SECOND);
    assert_true(sim->life[0].n_records > 1500);
    assert_true(sim->node[1].seq[0] + 150 > sim->life[0].n_records);
    stop_and_close(sim, 0, 60 * SECOND);
}

static void a_flush_of_several_pieces_is_one_flush(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(33, 2);
    o.rows = 8100; /* 4050 blocks; a piece has 3900 at most */
    o.dense = true;
    o.flush_us = 50 * MS;
    o.step_us = 40 * MS;
    struct sim *sim = running(&o, 2);
    struct sim_link link = {.latency_us = 200, .drop = .2};
    sim_links(sim, &link);
    sim_run(sim, 300 * MS);
    assert_int_equal(sim->life[0].record[0].head.flush, sim->life[0].record[1].head.flush);
    assert_false(sim->life[0].record[0].head.last_piece);
    assert_true(sim->life[0].record[1].head.last_piece);
    stop_and_close(sim, 0, 30 * SECOND);
}

static void connections_that_break_all_the_time_lose_nothing(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(34, 4);
    struct sim *sim = running(&o, 4);
    for (unsigned i = 0; i < 100; i++) {
        sim_reset(sim, hm_rng_below(&sim->rng, 4), hm_rng_below(&sim->rng, 4));
        sim_run(sim, 15 * MS);
    }
    stop_and_close(sim, 0, 10 * SECOND);
}

/* ---- staleness ---- */

/* The numbers themselves are checked by the harness, delta by delta. */
static void staleness_is_the_difference_of_sets(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(40, 5);
    o.flush_us = 4 * MS;
    struct sim *sim = running(&o, 5);
    for (unsigned a = 0; a < 5; a++)
        for (unsigned b = 0; b < 5; b++)
            sim->link[a][b] = (struct sim_link){
                .latency_us = 100 + 7000 * a + 3000 * b, .jitter_us = 5000, .drop = .02};
    sim_run(sim, 2 * SECOND);
    for (unsigned i = 0; i < 5; i++) {
        const struct sim_tally *flushes = &sim->node[i].stale_flushes[(i + 1) % 5];
        assert_true(flushes->n > 100);
        assert_true(flushes->max > 5);
        assert_true(sim->node[i].stale_steps[(i + 1) % 5].sum > flushes->sum);
    }
    stop_and_close(sim, 0, 20 * SECOND);
}

/* ---- strangers and damage ---- */

static void an_old_beat_changes_nothing(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(50, 2);
    act.from = 1;
    act.to = 0;
    act.seq = HM_BEAT;
    struct sim *sim = scene(&o, 2);
    sim->filter = catch_type;
    while (!act.n)
        sim_run(sim, 100);
    sim->filter = NULL;
    assert_true(sim_run_until(sim, sim_all_running, SECOND));
    sim_run(sim, SECOND);
    struct hm_member_info before = member(sim, 0, 1);
    assert_int_equal(before.phase, HM_RUNNING);
    for (unsigned i = 0; i < 3; i++)
        inject_bytes(sim, 0, act.caught.header, act.caught.header_n, act.caught.payload);
    assert_int_equal(member(sim, 0, 1).phase, HM_RUNNING);
    assert_int_equal(member(sim, 0, 1).rtt_us, before.rtt_us);
    forget_caught();
    for (unsigned k = 0; k < 2; k++)
        sim->link[k][1 - k].duplicate = 1;
    stop_and_close(sim, 0, SECOND);
}

static void another_configuration_is_ignored_and_counted(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(51, 2);
    struct sim *sim = running(&o, 2);
    act.from = 1;
    act.to = 0;
    act.on = true;
    sim->filter = catch_delta;
    while (!act.n)
        sim_run(sim, 100);
    struct hm_header stranger = sim_header(&act.caught);
    stranger.fingerprint ^= 1;
    stranger.life = 99;
    uint32_t before = sim->node[0].seq[1];
    for (unsigned i = 1; i <= 3; i++) {
        inject(sim, 0, 0, HM_CH_PUBLISHED, &stranger, act.caught.payload);
        assert_int_equal(counters(sim, 0)->refused_fingerprint, i);
    }
    assert_int_equal(sim->node[0].seq[1], before);
    const char *notes = sim->node[0].notes;
    says(notes, "ignoring node 0000000000000063: it trains another configuration");
    assert_null(strstr(strstr(notes, "ignoring") + 1, "ignoring")); /* once is enough */
    assert_int_equal(hm_mesh_n_members(sim->node[0].mesh), 1);
    sim->filter = NULL;
    forget_caught();
    stop_and_close(sim, 0, SECOND);
}

static struct hm_header greet(struct sim *sim, uint64_t fingerprint, const char *name,
                              const char *value)
{
    struct hm_header hello = {.type = HM_HELLO, .fingerprint = fingerprint, .life = 4711};
    strcpy(hello.hello.label, "stranger");
    strcpy(hello.hello.rpc, "inproc://r9");
    strcpy(hello.hello.pub, "inproc://p9");
    struct hm_field field = {0};
    snprintf(field.name, sizeof field.name, "%s", name ? name : "");
    snprintf(field.value, sizeof field.value, "%s", value ? value : "");
    struct hm_blob *payload = hm_blob_new(hm_hello_bound(&field, 1, 0, 0));
    assert_non_null(payload);
    payload = hm_blob_shrink(
        payload, hm_hello_encode(&field, name != NULL, NULL, 0, NULL, 0, payload->bytes));
    act.n = 0;
    sim->filter = catch_type;
    inject(sim, 0, 1, HM_CH_REQUEST, &hello, payload);
    sim->filter = NULL;
    hm_blob_drop(payload);
    struct hm_header answer = act.n ? sim_header(&act.caught) : (struct hm_header){0};
    forget_caught();
    return answer;
}

static void a_contradiction_is_rejected_by_name(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(52, 2);
    struct sim *sim = running(&o, 2);
    act.from = 0;
    act.to = 1;
    act.seq = HM_REJECT;
    struct hm_header r = greet(sim, 0, "lambda", "0.5");
    assert_int_equal(r.type, HM_REJECT);
    assert_string_equal(r.reject.field, "lambda");
    assert_string_equal(r.reject.ours, "0.0001");
    assert_string_equal(r.reject.yours, "0.5");
    r = greet(sim, 0, "colour", "red");
    assert_string_equal(r.reject.field, "colour");
    assert_string_equal(r.reject.ours, "(none)");
    r = greet(sim, 12345, NULL, NULL);
    assert_string_equal(r.reject.field, "fingerprint");
    assert_int_equal(counters(sim, 0)->refused_hello, 3);
    assert_int_equal(hm_mesh_n_members(sim->node[0].mesh), 1);

    act.seq = HM_HELLO_OK;
    assert_int_equal(greet(sim, 0, "lambda", "0.0001").type, HM_HELLO_OK);
    assert_int_equal(greet(sim, 0, NULL, NULL).type, HM_HELLO_OK);
    assert_int_equal(hm_mesh_n_members(sim->node[0].mesh), 1);
    stop_and_close(sim, 0, SECOND);
}

static void flipped_bits_are_counted_and_repaired(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(53, 3);
    o.flush_us = 10 * MS;
    struct sim *sim = running(&o, 3);
    act.on = true;
    sim->filter = flip_a_bit;
    sim_run(sim, 2 * SECOND);
    act.on = false;
    sim_run(sim, SECOND);
    uint64_t refused = 0, repaired = 0;
    for (unsigned i = 0; i < 3; i++) {
        refused += counters(sim, i)->refused_malformed + counters(sim, i)->refused_digest;
        repaired += counters(sim, i)->repaired;
    }
    assert_true(act.n > 100);
    assert_true(refused > 20);
    assert_true(repaired > 20);
    const char *note = strstr(sim->node[1].notes, "refused delta ");
    unsigned seq, origin;
    assert_non_null(note); /* names what and whose */
    assert_int_equal(
        sscanf(note, "refused delta %u of node n%u: it fails its check; asking for", &seq, &origin),
        2);
    assert_in_range(seq, 1, sim->life[origin].n_records);
    assert_true(origin != 1);
    stop_and_close(sim, 0, 10 * SECOND);
}

/* Whether a header says the same of the delta: only who sent it may differ, which is the sender's
 * alone to say. */
static bool same_delta(const struct hm_header *a, const struct hm_header *b)
{
    return a->type == b->type && memcmp(&a->delta, &b->delta, sizeof a->delta) == 0 &&
           a->fingerprint == b->fingerprint;
}

/* The next delta of node 0, which node 1 does not get until we say so. */
static struct sim *scene_with_a_delta_caught(uint64_t seed)
{
    struct sim_options o = sim_defaults(seed, 2);
    struct sim *sim = running(&o, 2);
    sim_run(sim, 100 * MS);
    act.from = 0;
    act.to = 1;
    act.n = 0;
    act.on = true;
    sim->filter = catch_delta;
    while (!act.n)
        sim_run(sim, 100);
    struct hm_header right = sim_header(&act.caught);
    assert_int_equal(right.delta.lo, sim->node[1].seq[0]);
    return sim;
}

/* What node 1 has applied and what it has heard of. */
static void check_unchanged(const struct sim *sim, uint32_t seq, uint32_t head, size_t bit)
{
    const struct hm_mesh *mesh = sim->node[1].mesh;
    const struct stream *stream = hm_mesh_stream(mesh, sim->node[0].params.life);
    if (sim->node[1].seq[0] != seq || stream->head != head || stream->n_held ||
        mesh->n_streams != 2)
        sim_fail(sim, 1, "a delta with bit %zu wrong has left traces", bit);
}

static void no_wrong_bit_of_a_delta_changes_anything(void **state)
{
    (void)state;
    struct sim *sim = scene_with_a_delta_caught(54);
    struct hm_header right = sim_header(&act.caught);
    uint32_t before = sim->node[1].seq[0],
             head = hm_mesh_stream(sim->node[1].mesh, right.delta.stream)->head;
    for (size_t bit = 0; bit < 8 * act.caught.header_n; bit++) {
        struct sim_message m = act.caught;
        m.header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct hm_header wrong = sim_header(&m);
        if (!same_delta(&wrong, &right))
            inject_bytes(sim, 1, m.header, m.header_n, m.payload);
        check_unchanged(sim, before, head, bit);
    }
    uint64_t refused = counters(sim, 1)->refused_digest;
    size_t n = act.caught.payload->n;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        struct hm_blob *wrong = copy_with_a_flipped_bit(act.caught.payload, bit);
        inject_bytes(sim, 1, act.caught.header, act.caught.header_n, wrong);
        check_unchanged(sim, before, head, 8 * act.caught.header_n + bit);
        hm_blob_drop(wrong);
    }
    assert_int_equal(counters(sim, 1)->refused_digest - refused, 8 * n);
    sim->filter = NULL;
    forget_caught();
    stop_and_close(sim, 0, 5 * SECOND);
}

/* Once on, the next published delta of `from` to `to` arrives with bit `seq` of its header, or of
 * its payload behind that, wrong. */
static bool flip_that_bit(struct sim *sim, struct sim_message *m)
{
    if (!act.on || m->to != act.to || m->channel != HM_CH_PUBLISHED ||
        !is_delta_of(sim, m, act.from))
        return true;
    act.on = false;
    act.n++;
    size_t bit = act.seq, header_bits = 8 * m->header_n;
    if (bit < header_bits) {
        m->header[bit / 8] ^= (uint8_t)(1u << bit % 8);
    } else if (bit - header_bits < 8 * m->payload->n) {
        struct hm_blob *wrong = copy_with_a_flipped_bit(m->payload, bit - header_bits);
        hm_blob_drop(m->payload);
        m->payload = wrong;
    } else {
        act.answers_too = true; /* no such bit: all were flipped */
    }
    return true;
}

/* One mesh for each bit, which is stopped at once: the damaged delta may be the last but one. */
static void whichever_bit_flips_the_mesh_ends_with_equal_replicas(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(56, 2);
    o.flush_us = 10 * MS;
    uint64_t refused = 0;
    uint32_t bit = 0;
    for (bool any_left = true; any_left; bit++) {
        struct sim *sim = running(&o, 2);
        act.from = 0;
        act.to = 1;
        act.seq = bit;
        act.on = true;
        sim->filter = flip_that_bit;
        while (!act.n)
            sim_run(sim, MS);
        sim_run(sim, MS);
        any_left = !act.answers_too;
        refused += counters(sim, 1)->refused_digest;
        sim->filter = NULL;
        stop_and_close(sim, 0, 20 * SECOND);
    }
    assert_true(bit > 500);
    assert_true(refused > bit / 2);
}

/* One published delta of `from` to `to` says so many steps more than were made. */
static bool flip_steps(struct sim *sim, struct sim_message *m)
{
    struct hm_header h = sim_header(m);
    if (!act.on || m->to != act.to || !is_delta_of(sim, m, act.from) || !h.delta.last_piece)
        return true;
    h.delta.steps ^= (uint64_t)1 << act.seq;
    m->header_n = hm_wire_encode(&h, m->header);
    act.on = false;
    act.n++;
    return true;
}

/* The steps of a stream are part of its vector: with wrong ones nodes never agree that all is done,
 * and a budget seems to be used up. */
static void a_flipped_bit_of_the_steps_does_not_keep_the_mesh_from_ending(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(57, 3);
    o.flush_us = 10 * MS;
    o.budget_steps = 3000;
    for (uint32_t bit = 4; bit < 64; bit += 12) {
        struct sim *sim = running(&o, 3);
        act.from = 0;
        act.to = 1;
        act.seq = bit;
        act.on = true;
        sim->filter = flip_steps;
        while (!act.n)
            sim_run(sim, MS);
        ends(sim, 20 * SECOND);
        assert_int_equal(counters(sim, 1)->refused_digest, 1);
        assert_true(counters(sim, 1)->repaired > 0);
        assert_true(hm_mesh_steps(sim->node[1].mesh) >= o.budget_steps);
        assert_true(hm_mesh_steps(sim->node[1].mesh) < 2 * o.budget_steps);
        sim_close(sim);
    }
}

static void no_part_of_a_delta_will_do(void **state)
{
    (void)state;
    struct sim *sim = scene_with_a_delta_caught(55);
    uint32_t before = sim->node[1].seq[0];
    uint64_t malformed = counters(sim, 1)->refused_malformed,
             refused = counters(sim, 1)->refused_digest;
    size_t n = act.caught.payload->n;
    for (size_t part = 0; part < n; part++) {
        struct hm_blob *short_one = hm_blob_new(part);
        assert_non_null(short_one);
        memcpy(short_one->bytes, act.caught.payload->bytes, part);
        inject_bytes(sim, 1, act.caught.header, act.caught.header_n, short_one);
        hm_blob_drop(short_one);
    }
    for (size_t part = 0; part < act.caught.header_n; part++)
        inject_bytes(sim, 1, act.caught.header, part, act.caught.payload);
    assert_int_equal(sim->node[1].seq[0], before);
    assert_int_equal(counters(sim, 1)->refused_malformed - malformed, act.caught.header_n);
    assert_int_equal(counters(sim, 1)->refused_digest - refused, n);
    inject_bytes(sim, 1, act.caught.header, act.caught.header_n, act.caught.payload);
    assert_true(sim->node[1].seq[0] > before);
    before = sim->node[1].seq[0];
    uint64_t duplicates = counters(sim, 1)->duplicates;
    inject_bytes(sim, 1, act.caught.header, act.caught.header_n, act.caught.payload);
    assert_int_equal(sim->node[1].seq[0], before);
    assert_int_equal(counters(sim, 1)->duplicates, duplicates + 1);
    sim->filter = NULL;
    forget_caught();
    stop_and_close(sim, 0, 5 * SECOND);
}

static void a_damaged_base_is_noticed_by_its_owner(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(56, 2);
    struct sim *sim = running(&o, 2);
    sim_run(sim, 200 * MS);
    struct sim_node *node = &sim->node[1];
    node->weights.b[sim->coordinate[5]] ^= 1;
    sim->unchecked = true; /* the harness would say so first */
    node->tampered = node->told_to_leave = true;
    sim_stop(sim, 0, "enough");
    ends(sim, SECOND);
    assert_int_equal(hm_mesh_result(node->mesh)->status, HM_ECORRUPT);
    says(result(sim, 1), "node n1 is damaged: this replica's base differs from the sum");
    sim_close(sim);
}

/* Long before the end, and without asking anybody. */
static void a_flipped_bit_of_a_base_takes_its_node_out(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(58, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 200 * MS);
    struct sim_node *node = &sim->node[2];
    node->weights.b[sim->coordinate[7]] ^= 2;
    sim->unchecked = true;
    node->tampered = node->told_to_leave = true;
    sim_run(sim, SECOND + 200 * MS);
    assert_true(node->ended);
    assert_int_equal(hm_mesh_result(node->mesh)->status, HM_ECORRUPT);
    says(result(sim, 2), "node n2 is damaged");
    says(sim->node[0].notes, "node n2 has left the mesh");
    sim->unchecked = false;
    sim_run(sim, SECOND);
    stop_and_close(sim, 0, SECOND);
}

/* Bit 31 looks like weights that leap: the node says what it is. */
static void a_flipped_sign_of_a_base_is_no_divergence(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(59, 2);
    struct sim *sim = running(&o, 2);
    sim_run(sim, 200 * MS);
    sim->node[1].weights.b[sim->coordinate[7]] ^= 0x80000000;
    sim->unchecked = true;
    sim->node[1].tampered = sim->node[1].told_to_leave = true;
    sim_run(sim, SECOND);
    assert_int_equal(hm_mesh_result(sim->node[1].mesh)->status, HM_ECORRUPT);
    sim->unchecked = false;
    stop_and_close(sim, 0, SECOND);
}

/* ---- divergence ---- */

static void spoil(struct sim *sim, unsigned i, unsigned k, float w)
{
    sim->node[i].tampered = true;
    hm_cell_set(&sim->node[i].weights.w[sim->coordinate[k]], w);
}

/* The node has gone by itself, with a report; the others have had nothing of it, go on and end
 * well. */
static void leaves_diverged(struct sim *sim, unsigned i, const char *where)
{
    struct sim_node *node = &sim->node[i];
    node->told_to_leave = true;
    sim_run(sim, SECOND);
    assert_true(node->ended);
    assert_int_equal(hm_mesh_result(node->mesh)->status, HM_EDIVERGED);
    says(result(sim, i), where);
    says(result(sim, i), "training diverged on node n1");
    uint64_t published = counters(sim, 0)->published;
    sim_run(sim, SECOND);
    assert_true(counters(sim, 0)->published > published);
    for (uint32_t k = 0; k < sim->n_coordinates; k++)
        assert_true(abs((int32_t)sim->node[0].weights.b[sim->coordinate[k]]) < 1 << 16);
    stop_and_close(sim, 0, SECOND);
}

static void a_stray_nan_is_set_back_and_counted(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(80, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 100 * MS);
    spoil(sim, 1, 5, NAN);
    sim_run(sim, SECOND);
    spoil(sim, 1, 6, INFINITY);
    sim_run(sim, SECOND);
    assert_int_equal(counters(sim, 1)->nonfinite, 2);
    says(sim->node[1].notes, "tensor 'v', row 0, column 5: nan where");
    stop_and_close(sim, 0, SECOND);
}

static void many_nans_take_their_node_out(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(81, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 100 * MS);
    for (unsigned k = 21; k < 21 + 17; k++)
        spoil(sim, 1, k, NAN);
    leaves_diverged(sim, 1, "tensor 'v', row 1, column 1: nan where");
}

static void nans_that_return_take_their_node_out(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(82, 3);
    o.flush_us = 20 * MS;
    struct sim *sim = running(&o, 3);
    for (unsigned k = 0; k < 20 && hm_mesh_result(sim->node[1].mesh)->status == HM_OK; k++) {
        spoil(sim, 1, 60, -INFINITY);
        sim_run(sim, 20 * MS);
    }
    assert_in_range(counters(sim, 1)->nonfinite, 3, 4);
    leaves_diverged(sim, 1, "tensor 'b', row 0, column 0: -inf where");
}

static void a_leap_takes_its_node_out(void **state)
{
    (void)state;
    static const float leap[] = {1e30f, -3e38f, (HM_RANGE + 100) / 32.f};
    for (unsigned i = 0; i < 3; i++) {
        struct sim_options o = sim_defaults(83 + i, 3);
        o.combine.rule = i ? HM_RULE_AMPLIFY : HM_RULE_SUM;
        struct sim *sim = running(&o, 3);
        sim_run(sim, 100 * MS);
        spoil(sim, 1, 41, leap[i] * (i == 2 ? 3 : 1));
        leaves_diverged(sim, 1, "tensor 'v', row 2, column 1: ");
    }
}

static void a_leap_of_the_only_node_ends_it(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(86, 1);
    struct sim *sim = running(&o, 1);
    sim_run(sim, 100 * MS);
    spoil(sim, 0, 3, 1e30f);
    sim_run(sim, SECOND);
    assert_int_equal(hm_mesh_result(sim->node[0].mesh)->status, HM_EDIVERGED);
    sim_close(sim);
}

/* In the last flush of all, too. */
static void a_leap_at_the_end_takes_its_node_out(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(87, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 100 * MS);
    sim_stop(sim, 0, "enough");
    spoil(sim, 1, 3, 1e30f);
    sim->node[1].told_to_leave = true;
    ends(sim, 3 * SECOND);
    assert_int_equal(hm_mesh_result(sim->node[1].mesh)->status, HM_EDIVERGED);
    sim_close(sim);
}

/* A weight that comes to the end of its range with all replicas ends the run of all, well. */
static void an_exhausted_range_stops_all(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(88, 3);
    struct sim *sim = running(&o, 3);
    const float step = HM_RANGE / 32.f / 8;
    for (unsigned k = 1; k <= 9 && sim_all_running(sim); k++) {
        spoil(sim, 1, 3, (float)k * step);
        sim_run(sim, 200 * MS);
    }
    sim->node[0].tampered = sim->node[2].tampered = true;
    ends(sim, 3 * SECOND);
    for (unsigned i = 0; i < 3; i++)
        says(result(sim, i), "schedule exhausted");
    sim_close(sim);
}

/* Of one beat a bit may be wrong; after the second the peer's replica is. */
static void a_peer_that_differs_at_an_equal_vector_is_named_and_excluded(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(57, 3);
    o.step_us = 0;
    struct sim *sim = scene(&o, 3);
    act.from = 1;
    act.to = 0;
    act.seq = HM_BEAT;
    sim->filter = catch_type;
    assert_true(sim_run_until(sim, sim_all_running, SECOND));
    sim_run(sim, SECOND);
    struct hm_header beat = sim_header(&act.caught);
    beat.beat.digest ^= 1;
    beat.beat.number += 1000;
    inject(sim, 0, 0, HM_CH_PUBLISHED, &beat, act.caught.payload);
    assert_int_equal(counters(sim, 0)->peers_damaged, 0);
    beat.beat.number++;
    inject(sim, 0, 0, HM_CH_PUBLISHED, &beat, act.caught.payload);
    assert_int_equal(counters(sim, 0)->peers_damaged, 1);
    says(sim->node[0].notes, "the replica of node n1 is damaged");
    assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), 2);
    sim_run(sim, SECOND);
    assert_true(sim->node[0].up);
    forget_caught();
    sim_close(sim);
}

static void a_stop_spreads(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(60, 5);
    struct sim *sim = running(&o, 5);
    sim_run(sim, 200 * MS);
    sim_stop(sim, 3, "the user has seen enough");
    ends(sim, SECOND);
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(result(sim, i), "the user has seen enough");
    sim_close(sim);
}

static void a_budget_ends_the_mesh_with_the_sum_of_steps(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(61, 4);
    o.budget_steps = 3000;
    struct sim *sim = running(&o, 4);
    ends(sim, 20 * SECOND);
    uint64_t made = 0;
    for (unsigned i = 0; i < 4; i++)
        made += sim->node[i].steps;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(hm_mesh_steps(sim->node[i].mesh), made);
        assert_string_equal(result(sim, i), "budget used up");
    }
    assert_true(made >= 2997);
    assert_true(made < 3300);
    sim_close(sim);
}

static void a_healthy_mesh_ends_within_300_ms(void **state)
{
    (void)state;
    for (unsigned n = 2; n <= 8; n++) {
        struct sim_options o = sim_defaults(62 + n, n);
        struct sim *sim = running(&o, n);
        sim_run(sim, SECOND);
        sim_stop(sim, 0, "enough");
        ends(sim, SECOND);
        if (last_end_us(sim) - sim->last_delta_us >= 300 * MS)
            sim_fail(sim, 0, "%u nodes end %llu us after the last delta", n,
                     (unsigned long long)(last_end_us(sim) - sim->last_delta_us));
        sim_close(sim);
    }
}

static void who_leaves_hands_over_what_it_owes(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(70, 4);
    struct sim *sim = running(&o, 4);
    sim_run(sim, SECOND);
    for (unsigned i = 0; i < 4; i++)
        sim->link[i][2].latency_us = 200 * MS; /* it waits long for its last acknowledgement */
    sim_run(sim, 500 * MS);
    uint64_t turns = sim->node[2].n_turns;
    sim_leave(sim, 2, "left by request");
    sim_run(sim, 2 * SECOND);
    assert_true(sim->node[2].ended);
    assert_true(sim->node[2].n_turns - turns < 1500); /* it waits, it does not spin */
    assert_int_equal(hm_mesh_result(sim->node[2].mesh)->status, HM_OK);
    assert_int_equal(hm_mesh_result(sim->node[2].mesh)->clean, 0);
    assert_string_equal(result(sim, 2), "left by request");
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(sim->node[i].seq[2], sim->life[2].n_records);
        if (i == 2)
            continue;
        assert_true(member(sim, i, 2).left);
        assert_int_equal(hm_mesh_n_live(sim->node[i].mesh), 3);
        says(sim->node[i].notes, "node n2 has left the mesh");
    }
    assert_int_equal(sim->node[2].steps, hm_mesh_own_published_steps(sim->node[2].mesh));
    stop_and_close(sim, 0, SECOND);
}

static enum hm_phase awaited;

static bool node_2_is_there(const struct sim *sim)
{
    return hm_mesh_phase(sim->node[2].mesh) >= awaited;
}

static bool lose_what_tells_of_the_phase(struct sim *sim, struct sim_message *m)
{
    return m->from != 2 || !node_2_is_there(sim);
}

/* In the moment in which it enters the phase, before anybody can have heard of it. */
static void dies_entering(enum hm_phase phase)
{
    struct sim_options o = sim_defaults(80 + phase, 4);
    o.gone_us = 3 * SECOND;
    awaited = phase;
    struct sim *sim = running(&o, 4);
    sim->filter = lose_what_tells_of_the_phase;
    sim_run(sim, 300 * MS);
    if (phase > HM_RUNNING)
        sim_stop(sim, 0, "enough");
    assert_true(sim_run_until(sim, node_2_is_there, SECOND));
    sim_crash(sim, 2);
    sim_run(sim, 5 * SECOND);
    sim_stop(sim, 0, "enough");
    ends(sim, 9 * SECOND);
    sim_close(sim);
}

/* Node 2's beats say that it is still looking for the others. */
static bool seem_to_be_joining(struct sim *sim, struct sim_message *m)
{
    (void)sim;
    struct hm_header h = sim_header(m);
    if (m->from == 2 && h.type == HM_BEAT) {
        h.beat.phase = HM_JOINING;
        m->header_n = hm_wire_encode(&h, m->header);
    }
    return true;
}

static void dies_before_it_is_ready(void)
{
    struct sim_options o = sim_defaults(79, 4);
    o.gone_us = 3 * SECOND;
    o.step_us = 0;
    struct sim *sim = scene(&o, 4);
    sim->filter = seem_to_be_joining;
    sim_run(sim, 500 * MS);
    for (unsigned i = 0; i < 4; i++)
        assert_true(i == 2 || hm_mesh_phase(sim->node[i].mesh) == HM_READY);
    sim_crash(sim, 2);
    assert_true(sim_run_until(sim, sim_all_running, 4 * SECOND));
    stop_and_close(sim, 0, SECOND);
}

static void the_dead_are_no_obstacle_in_any_phase(void **state)
{
    (void)state;
    dies_before_it_is_ready();
    for (enum hm_phase phase = HM_RUNNING; phase < HM_PHASES; phase++)
        dies_entering(phase);
}

static void half_the_mesh_may_die_at_once(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(90, 6);
    struct sim *sim = running(&o, 6);
    sim_run(sim, 500 * MS);
    for (unsigned i = 0; i < 3; i++)
        sim_crash(sim, i);
    sim_run(sim, 10 * SECOND);
    assert_int_equal(hm_mesh_n_live(sim->node[5].mesh), 3);
    says(sim->node[5].notes, "node n1 has been silent for 8.");
    stop_and_close(sim, 4, SECOND);
}

/* ---- the slow, the frozen, the deaf ---- */

static void a_frozen_peer_slows_nobody(void **state)
{
    (void)state;
    for (unsigned fixed = 0; fixed < 2; fixed++) {
        struct sim_options o = sim_defaults(100 + fixed, 4);
        o.flush_us = fixed ? 10 * MS : 0;
        struct sim *sim = running(&o, 4);
        sim_run(sim, 2 * SECOND);
        uint64_t interval = hm_mesh_flush_interval_us(sim->node[0].mesh);
        size_t n = sim->life[0].n_records;
        sim_run(sim, 2 * SECOND);
        size_t before = sim->life[0].n_records - n;
        sim_pause(sim, 3);
        n = sim->life[0].n_records;
        sim_run(sim, 2 * SECOND);
        assert_true(hm_mesh_flush_interval_us(sim->node[0].mesh) < interval + interval / 4);
        assert_true(sim->life[0].n_records - n > before * 3 / 4);
        sim_resume(sim, 3);
        sim_run(sim, 2 * SECOND);
        stop_and_close(sim, 0, 5 * SECOND);
    }
}

/* Frozen for longer than the time-out, and what came meanwhile is lost: a node that wakes up has no
 * reason to think that all others are dead, and must not end on its own. */
static void who_was_frozen_does_not_bury_the_others(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(102, 2);
    o.gone_us = 3 * SECOND;
    struct sim *sim = running(&o, 2);
    sim_run(sim, 500 * MS);
    sim_pause(sim, 1);
    sim_cut(sim, 0, 1, true);
    sim_run(sim, 2500 * MS);
    sim_cut(sim, 0, 1, false);
    sim->link[0][1].cut = true;
    sim_run(sim, 1000 * MS);
    sim->link[0][1].cut = false;
    sim_resume(sim, 1);
    stop_and_close(sim, 1, 5 * SECOND);
}

/* As on a busy host: the time that it stood still is no silence of others, all other time is. */
static void who_freezes_again_and_again_buries_the_dead_alone(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(105, 3);
    o.gone_us = 3 * SECOND;
    struct sim *sim = running(&o, 3);
    sim_run(sim, 500 * MS);
    sim_crash(sim, 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(counters(sim, 1)->peers_gone, 0);
        sim_pause(sim, 1);
        sim_run(sim, 2500 * MS);
        sim_resume(sim, 1);
        sim_run(sim, i < 2 ? SECOND : 900 * MS);
    }
    assert_int_equal(counters(sim, 1)->peers_gone, 1);
    assert_int_equal(hm_mesh_n_live(sim->node[1].mesh), 2);
    stop_and_close(sim, 0, 5 * SECOND);
}

static uint64_t longest_rtt(const struct sim *sim)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < sim->n_nodes; i++) {
        const struct hm_mesh *mesh = sim->node[i].mesh;
        for (size_t k = 0; k < hm_mesh_n_members(mesh); k++) {
            uint64_t rtt = hm_mesh_member(mesh, k, sim->now_us).rtt_us;
            most = rtt > most ? rtt : most;
        }
    }
    return most;
}

/* Beats that waited for a frozen node say nothing of the way: who takes them for slow waits for
 * seconds before it asks again. */
static void a_freeze_is_not_taken_for_a_slow_link(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(104, 4);
    o.flush_us = 20 * MS;
    struct sim *sim = running(&o, 4);
    struct sim_link link = {.latency_us = 100, .drop = .1};
    sim_links(sim, &link);
    sim_run(sim, 5 * SECOND);
    assert_true(longest_rtt(sim) < 5 * MS);
    sim_pause(sim, 3);
    sim_run(sim, 5 * SECOND);
    uint32_t head = (uint32_t)sim->life[0].n_records;
    sim_resume(sim, 3);
    sim_run(sim, 2 * SECOND);
    assert_true(longest_rtt(sim) < 50 * MS);
    assert_true(sim->node[3].seq[0] >= head);
    link.drop = 0;
    sim_links(sim, &link);
    stop_and_close(sim, 0, 5 * SECOND);
}

static void a_subscription_that_died_is_dialled_anew(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(103, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 200 * MS);
    sim->link[0][1].sub_dead = true;
    sim_run(sim, 5 * SECOND);
    assert_true(counters(sim, 1)->redials > 0);
    assert_false(sim->link[0][1].sub_dead);
    assert_int_equal(counters(sim, 1)->peers_gone, 0);
    assert_true(sim->node[1].seq[0] + 10 > sim->life[0].n_records);
    stop_and_close(sim, 0, SECOND);
}

static void a_partition_heals(void **state)
{
    (void)state;
    static const uint64_t FOR[] = {500 * MS, 3 * SECOND, 12 * SECOND};
    for (unsigned i = 0; i < N_OF(FOR); i++) {
        struct sim_options o = sim_defaults(104 + i, 5);
        o.combine.rule = HM_RULE_AMPLIFY;
        o.fractions = true;
        struct sim *sim = running(&o, 5);
        sim_run(sim, 300 * MS);
        for (unsigned a = 0; a < 2; a++)
            for (unsigned b = 2; b < 5; b++)
                sim_cut(sim, a, b, true);
        sim_run(sim, FOR[i]);
        assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), FOR[i] > 8 * SECOND ? 2 : 5);
        for (unsigned a = 0; a < 2; a++)
            for (unsigned b = 2; b < 5; b++)
                sim_cut(sim, a, b, false);
        sim_run(sim, 5 * SECOND);
        assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), 5);
        stop_and_close(sim, 4, SECOND);
    }
}

/* ---- the budget of bytes ---- */

static void the_bandwidth_cap_is_kept(void **state)
{
    (void)state;
    enum { CAP = 60000, BURST = CAP / 4, LARGEST = 3 * 600 };
    struct sim_options o = sim_defaults(110, 4);
    o.bandwidth = CAP;
    o.dense = true;
    struct sim *sim = running(&o, 4);
    struct sim_link link = {.latency_us = 200, .drop = .05};
    sim_links(sim, &link);
    uint64_t from = sim->now_us, handed[4];
    for (unsigned i = 0; i < 4; i++)
        handed[i] = sim->node[i].bytes_handed;
    for (unsigned second = 1; second <= 8; second++) {
        sim_run(sim, SECOND);
        for (unsigned i = 0; i < 4; i++) {
            uint64_t bytes = sim->node[i].bytes_handed - handed[i],
                     may = CAP * (sim->now_us - from) / SECOND;
            if (bytes > may + 2 * BURST + LARGEST)
                sim_fail(sim, i, "handed %llu bytes over in %u s", (unsigned long long)bytes,
                         second);
            assert_true(second < 4 || bytes > may / 2);
        }
    }
    assert_null(strstr(sim->node[0].notes, "too few"));
    stop_and_close(sim, 0, 30 * SECOND);
}

/* The most frequent rows go out ten times in the interval that is asked for, but not within two
 * delays; a node alone has no rotation. */
static void rows_in_rotation_flush_ten_times_in_a_pass(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 3; n += 2) {
        struct sim_options o = sim_defaults(115, n);
        o.combine.rule = HM_RULE_SATURATE;
        o.flush_us = 200 * MS;
        struct sim *sim = running(&o, n);
        struct sim_link link = {.latency_us = 200};
        sim_links(sim, &link);
        sim_run(sim, 2 * SECOND);
        const uint64_t interval = hm_mesh_flush_interval_us(sim->node[0].mesh);
        assert_in_range(interval, n == 1 ? 200 * MS : 20 * MS, n == 1 ? 201 * MS : 25 * MS);
        link.latency_us = 30 * MS;
        sim_links(sim, &link);
        sim_run(sim, 8 * SECOND);
        assert_true(n == 1 || hm_mesh_flush_interval_us(sim->node[0].mesh) >= 55 * MS);
        stop_and_close(sim, 0, 10 * SECOND);
    }
}

/* A fifth of a core is little for a thread that has one, and too much where workers wait for it. */
static void rotation_slows_down_where_it_takes_the_time_of_workers(void **state)
{
    (void)state;
    for (unsigned crowded = 0; crowded < 2; crowded++) {
        struct sim_options o = sim_defaults(116, 2);
        o.combine.rule = HM_RULE_SATURATE;
        o.budget_steps = 2 * 40 * 10000;
        o.cost_us = 70 * MS;
        o.crowded = crowded;
        struct sim *sim = running(&o, 2);
        sim_run(sim, 20 * SECOND);
        const uint64_t interval = hm_mesh_flush_interval_us(sim->node[0].mesh);
        assert_in_range(interval, crowded ? 650 * MS : 400 * MS, crowded ? 950 * MS : 600 * MS);
        stop_and_close(sim, 0, 10 * SECOND);
    }
}

static void a_bandwidth_cap_below_the_beats_is_said(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(95, 3);
    o.bandwidth = 500;
    struct sim *sim = running(&o, 3);
    sim_run(sim, 12 * SECOND);
    for (unsigned i = 0; i < 3; i++) {
        says(sim->node[i].notes, "500 bytes a second are too few");
        assert_null(strstr(strstr(sim->node[i].notes, "too few") + 1, "too few"));
    }
    stop_and_close(sim, 0, 5 * SECOND);
}

static void a_bandwidth_cap_does_not_starve_repair(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(111, 4);
    o.bandwidth = 20000;
    o.dense = true;
    struct sim *sim = running(&o, 4);
    sim_run(sim, 2 * SECOND);
    sim->filter = lose_from_seq_on;
    act.from = 1;
    act.to = 2;
    act.seq = (uint32_t)sim->life[1].n_records + 1;
    act.on = true;
    sim_run(sim, SECOND);
    assert_true(sim->node[2].seq[1] + 12 > sim->life[1].n_records);
    stop_and_close(sim, 0, 2 * SECOND);
}

/* ---- the rules of combination ---- */

static void every_rule_conserves_what_workers_add(void **state)
{
    (void)state;
    static const struct hm_combine COMBINE[] = {{HM_RULE_SUM, 0},
                                                {HM_RULE_MEAN, 0},
                                                {HM_RULE_AMPLIFY, 0},
                                                {HM_RULE_AMPLIFY, 1},
                                                {HM_RULE_AMPLIFY, 3}};
    for (unsigned i = 0; i < 2 * N_OF(COMBINE); i++) {
        struct sim_options o = sim_defaults(120 + i, 4);
        o.combine = COMBINE[i / 2];
        o.fractions = i % 2;
        struct sim *sim = running(&o, 4);
        sim_run(sim, SECOND);
        stop_and_close(sim, 0, SECOND); /* checks it, exactly for whole units under the sum rule */
    }
}

/* Whole units under the sum rule, nobody dies: what all workers added is B - B0, to the last unit.
 */
static void the_sum_of_all_work_is_the_model(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(130, 5);
    struct sim *sim = running(&o, 5);
    struct sim_link link = {.latency_us = 500, .jitter_us = 2000, .drop = .2, .duplicate = .2};
    sim_links(sim, &link);
    sim_run(sim, SECOND);
    sim_stop(sim, 0, "enough");
    ends(sim, 60 * SECOND);
    for (uint32_t k = 0; k < sim->n_coordinates; k++) {
        uint32_t at = sim->coordinate[k];
        double all = (double)(k % 7) - 3; /* B0 */
        for (unsigned i = 0; i < 5; i++)
            all += sim->node[i].credit[at];
        assert_true(all == (double)(int32_t)sim->node[3].weights.b[at]);
        assert_true(hm_cell_get(&sim->node[3].weights.w[at]) ==
                    (float)all *
                        hm_exp2i(hm_layout_tensor_of(&sim->layout, at / HM_BLOCK)->grid_exp));
    }
    sim_close(sim);
}

static void the_divisor_follows_the_live_nodes(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(131, 2);
    o.combine.rule = HM_RULE_AMPLIFY;
    o.fractions = true;
    struct sim *sim = running(&o, 2);
    sim_run(sim, 500 * MS);
    assert_true(hm_mesh_combination(sim->node[0].mesh).divisor == 2);
    unsigned late = sim_start(sim, 1);
    sim_run(sim, SECOND);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(hm_mesh_combination(sim->node[i].mesh).divisor == 3);
        assert_true(hm_mesh_combination(sim->node[i].mesh).step == 3);
    }
    sim_leave(sim, late, "left by request");
    sim_run(sim, 2 * SECOND);
    assert_true(hm_mesh_combination(sim->node[0].mesh).divisor == 2);
    assert_true(hm_mesh_combination(sim->node[1].mesh).divisor == 2);
    sim_crash(sim, 1);
    sim_run(sim, 10 * SECOND);
    assert_true(hm_mesh_combination(sim->node[0].mesh).divisor == 1);
    stop_and_close(sim, 0, SECOND);
}

/* Header numbers stand under no digest. A node that took a damaged one for the newest would ignore
 * its peer from then on, and never agree with it on the end. */
static void one_damaged_beat_silences_nobody(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(67, 3);
    struct sim *sim = running(&o, 3);
    act.from = 1;
    act.to = 0;
    act.on = true;
    sim->filter = flip_beat;
    sim_run(sim, SECOND);
    assert_int_equal(act.n, 1);
    stop_and_close(sim, 2, 10 * SECOND);
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    uint64_t digest[2], bytes[2];
    for (unsigned i = 0; i < 2; i++) {
        struct sim_options o = sim_defaults(140, 4);
        struct sim *sim = scene(&o, 4);
        struct sim_link link = {
            .latency_us = 500, .jitter_us = 2000, .drop = .2, .duplicate = .2, .reorder = .2};
        sim_links(sim, &link);
        sim_run(sim, 3 * SECOND);
        sim_stop(sim, 0, "enough");
        ends(sim, 60 * SECOND);
        digest[i] = hm_mesh_digest(sim->node[0].mesh);
        bytes[i] = counters(sim, 1)->bytes_received;
        sim_close(sim);
    }
    assert_true(digest[0] == digest[1]);
    assert_true(bytes[0] == bytes[1]);
}

/* ---- snapshots, lives ---- */

static bool lose_chunks_of(struct sim *sim, struct sim_message *message)
{
    (void)sim;
    if (!act.on || message->from != act.from || sim_header(message).type != HM_CHUNK)
        return true;
    act.n++;
    return act.n <= act.seq;
}

/* A node that was cut off for so long that only somebody's state helps, and published nothing. */
static struct sim *outdated(uint64_t seed, unsigned n)
{
    struct sim_options o = sim_defaults(seed, n);
    o.log_bytes_max = 10000;
    o.flush_us = 5 * MS;
    struct sim *sim = scene(&o, 0);
    sim->chunk_blocks = 1;
    sim_start_all(sim, n);
    if (!sim_run_until(sim, sim_all_running, 5 * SECOND))
        sim_fail(sim, 0, "not all nodes have started");
    sim->node[n - 1].working = false; /* it stands still, or it would yield */
    sim_run(sim, 100 * MS);
    split(sim, 1u << (n - 1), true);
    sim_run(sim, 3 * SECOND);
    return sim;
}

static void a_snapshot_server_that_dies_midway_is_replaced(void **state)
{
    (void)state;
    for (unsigned dead = 0; dead < 2; dead++) {
        struct sim *sim = outdated(200 + dead, 4);
        act.from = dead;
        act.seq = 1;
        act.on = true;
        sim->filter = lose_chunks_of;
        split(sim, 8, false);
        for (unsigned k = 0; k < 500 && act.n < 2; k++)
            sim_run(sim, 10 * MS);
        sim_crash(sim, dead);
        sim_run(sim, 10 * SECOND);
        assert_true(counters(sim, 3)->snapshots_installed >= 1);
        assert_int_equal(counters(sim, 3)->renewals, 0);
        stop_and_close(sim, 2, 5 * SECOND);
    }
}

/* Of whoever is asked first: in a chunk, or (act.seq) in how far the vector says that a stream has
 * come. */
static bool flip_snapshot(struct sim *sim, struct sim_message *message)
{
    (void)sim;
    if (!act.on || !message->payload || message->payload->n < 10 ||
        sim_header(message).type != (act.seq ? HM_STATE_META : HM_CHUNK) ||
        (act.n && message->from != act.from))
        return true;
    act.from = message->from;
    struct hm_blob *odd = hm_blob_new(message->payload->n);
    memcpy(odd->bytes, message->payload->bytes, odd->n);
    odd->bytes[act.seq ? 9 : odd->n - 3] ^= 8;
    hm_blob_drop(message->payload);
    message->payload = odd;
    act.n++;
    return true;
}

/* The server is named, nothing has changed, and another one has it right. */
static void a_flipped_bit_in_a_snapshot_is_named(void **state)
{
    (void)state;
    for (unsigned vector = 0; vector < 2; vector++) {
        struct sim *sim = outdated(210, 3);
        act.seq = vector;
        act.on = true;
        sim->filter = flip_snapshot;
        split(sim, 4, false);
        sim_run(sim, 10 * SECOND);
        assert_true(act.n >= 1);
        assert_true(counters(sim, 2)->snapshots_refused + counters(sim, 2)->refused_malformed >= 1);
        if (counters(sim, 2)->snapshots_refused)
            says(sim->node[2].notes, act.from ? "refused the state of node n1: its "
                                              : "refused the state of node n0: its ");
        if (vector)
            says(sim->node[2].notes, "its vector fails its check");
        assert_true(counters(sim, 2)->snapshots_installed >= 1);
        stop_and_close(sim, 1, 5 * SECOND);
    }
}

static void a_late_joiner_takes_the_state_and_covers(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(220, 2);
    o.log_bytes_max = 20000;
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 2);
    sim_run(sim, 5 * SECOND);
    unsigned late = sim_start(sim, 1);
    sim_run(sim, 5 * SECOND);
    assert_int_equal(hm_mesh_phase(sim->node[late].mesh), HM_RUNNING);
    assert_true(counters(sim, late)->covered > 500);
    assert_true(counters(sim, late)->published > 0);
    stop_and_close(sim, late, 3 * SECOND);
}

/* The two have each other first; the old one's model wins, for they have nothing. */
static void two_fresh_nodes_and_an_old_one(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(221, 1);
    o.log_bytes_max = 20000;
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 1);
    sim_run(sim, 3 * SECOND);
    sim_start(sim, 1);
    sim_start(sim, 2);
    sim_run(sim, 5 * SECOND);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(hm_mesh_phase(sim->node[i].mesh), HM_RUNNING);
        assert_true(sim->node[i].seq[0] > 500);
    }
    assert_int_equal(SUM(sim, renewals), 0);
    stop_and_close(sim, 1, 3 * SECOND);
}

static void a_three_way_partition_beyond_the_logs_converges(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(222, 6);
    o.log_bytes_max = 60000;
    o.flush_us = 8 * MS;
    struct sim *sim = running(&o, 6);
    for (unsigned a = 0; a < 6; a++)
        for (unsigned b = 0; b < a; b++)
            sim_cut(sim, a, b, a / 2 != b / 2);
    sim_run(sim, 6 * SECOND);
    for (unsigned a = 0; a < 6; a++)
        for (unsigned b = 0; b < a; b++)
            sim_cut(sim, a, b, false);
    sim_run(sim, 10 * SECOND);
    assert_in_range(SUM(sim, renewals), 2, 5);
    stop_and_close(sim, 3, 5 * SECOND);
}

/* Logs that last for half a second, many nodes, links that lose: who gives way publishes anew,
 * which pushes out of all logs what would have joined others. That has to settle. */
static void yielding_does_not_breed_yielding(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(231, 12);
    o.log_bytes_max = 100000;
    o.flush_us = 8 * MS;
    o.suspect_us = 700 * MS;
    o.gone_us = 3 * SECOND;
    struct sim *sim = running(&o, 12);
    struct sim_link link = {.latency_us = 1000, .jitter_us = 250, .drop = .09};
    sim_links(sim, &link);
    split(sim, 0x38e, true);
    sim_run(sim, 4 * SECOND);
    split(sim, 0x38e, false);
    sim_run(sim, 6 * SECOND);
    uint64_t renewals = SUM(sim, renewals);
    if (renewals > 3 * 12)
        fail_msg("12 nodes have gone on as another life %llu times", (unsigned long long)renewals);
    stop_and_close(sim, 0, 60 * SECOND);
}

/* One node comes back again and again, each time as a fresh life at the same address. */
static void rejoins(unsigned n, uint64_t seed)
{
    struct sim_options o = sim_defaults(seed, 3);
    o.flush_us = 20 * MS;
    o.step_us = 4 * MS;
    struct sim *sim = running(&o, 3);
    for (unsigned k = 0; k < n; k++) {
        sim_run(sim, 100 * MS);
        sim_crash(sim, 2);
        sim_run(sim, 30 * MS);
        sim_restart(sim, 2, 1);
        if (!sim_run_until(sim, sim_all_running, 5 * SECOND))
            sim_fail(sim, 2, "does not come back for the %u. time", k + 1);
    }
    sim_run(sim, 100 * MS); /* its beats say so */
    assert_true(hm_mesh_n_streams(sim->node[0].mesh) > 3 * n / 4);
    assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), 3);
    stop_and_close(sim, 0, 3 * SECOND);
}

static void a_node_may_rejoin_100_times(void **state)
{
    (void)state;
    rejoins(100, 223);
}

static void a_node_may_rejoin_300_times(void **state)
{
    (void)state;
    rejoins(300, 224);
}

static void a_stream_that_is_full_goes_on_in_another_life(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(225, 3);
    o.flush_us = 5 * MS;
    struct sim *sim = scene(&o, 0);
    sim->seq_max = 100;
    sim_start_all(sim, 3);
    sim_run(sim, 3 * SECOND);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(counters(sim, i)->renewals >= 2);
        assert_int_equal(counters(sim, i)->abandoned + counters(sim, i)->renewed, 0);
        assert_int_not_equal(hm_mesh_life(sim->node[i].mesh), sim->node[i].params.life);
        assert_int_equal(hm_mesh_n_live(sim->node[i].mesh), 3);
    }
    stop_and_close(sim, 1, 3 * SECOND);
}

/* A joiner waits for what it heard of; that its origin then gives up for good is not among it. */
static void a_joiner_does_not_wait_for_what_is_renounced(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(229, 2);
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 2);
    sim_run(sim, 100 * MS); /* so little that logs are better than a snapshot */
    act.from = 1;
    act.seq = sim->node[0].seq[1] - 3;
    sim->filter = lose_one; /* what follows can only be held */
    unsigned late = sim_start(sim, 2);
    sim_run(sim, 100 * MS);
    assert_int_equal(hm_mesh_phase(sim->node[late].mesh), HM_JOINING);
    sim_crash(sim, 1);
    struct hm_header yield = {.type = HM_YIELD,
                              .fingerprint = hm_mesh_fingerprint(sim->node[0].mesh),
                              .life = sim->node[1].params.life,
                              .yield = {4711, act.seq - 1, act.seq}};
    inject(sim, late, 0, HM_CH_PUBLISHED, &yield, NULL);
    sim_run(sim, SECOND);
    assert_int_equal(hm_mesh_phase(sim->node[late].mesh), HM_RUNNING);
    sim->filter = NULL;
    sim_close(sim);
}

/* Of what node `from` says only that it goes on as another life arrives. */
static bool lose_all_but_yields(struct sim *sim, struct sim_message *m)
{
    (void)sim;
    return !act.on || m->from != act.from || sim_header(m).type == HM_YIELD;
}

/* Nobody ends between a node's YIELD and the first words of its next life. */
static void the_end_waits_for_who_yields(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(230, 2);
    o.log_bytes_max = 60000;
    o.flush_us = 5 * MS;
    struct sim *sim = running(&o, 2);
    sim_cut(sim, 0, 1, true);
    sim_run(sim, 4 * SECOND);
    sim_cut(sim, 0, 1, false);
    while (!SUM(sim, renewals))
        sim_run(sim, MS / 10);
    act.from = counters(sim, 1)->renewals ? 1 : 0;
    act.on = true;
    sim->filter = lose_all_but_yields;
    sim_stop(sim, 1 - act.from, "enough");
    sim_run(sim, SECOND);
    assert_false(sim->node[1 - act.from].ended);
    act.on = false;
    ends(sim, 10 * SECOND);
    sim_close(sim);
}

/* Two processes with one life: each hears from the others that there is more of its stream. */
static void a_cloned_life_is_named(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(226, 2);
    o.step_us = 0;
    struct sim *sim = scene(&o, 2);
    act.from = 1;
    act.to = 0;
    act.seq = HM_BEAT;
    sim->filter = catch_type;
    assert_true(sim_run_until(sim, sim_all_running, SECOND));
    sim_run(sim, SECOND);
    struct hm_vv_entry more = {sim->node[0].params.life, 7, 7, 70, 1};
    struct hm_header beat = sim_header(&act.caught);
    for (unsigned k = 0; k < 2; k++) {
        struct hm_blob *payload = hm_blob_new(HM_BEAT_BOUND(1, 0));
        payload = hm_blob_shrink(payload, hm_beat_encode(&more, 1, NULL, 0, payload->bytes));
        beat.beat.number += 1000;
        assert_false(sim->node[0].ended);
        inject(sim, 0, 0, HM_CH_PUBLISHED, &beat, payload);
        hm_blob_drop(payload);
    }
    assert_true(sim->node[0].ended);
    says(result(sim, 0), "another process publishes under this node's life id");
    forget_caught();
    sim_close(sim);
}

/* A beat that claims a hundred million deltas of another is contradicted by the next of that one.
 */
static void an_absurd_claim_does_not_last(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(227, 3);
    struct sim *sim = scene(&o, 3);
    act.from = 1;
    act.to = 0;
    act.seq = HM_BEAT;
    sim->filter = catch_type;
    assert_true(sim_run_until(sim, sim_all_running, SECOND));
    sim_run(sim, SECOND);
    struct hm_vv_entry more = {sim->node[2].params.life, 100000000, 7, 70, 1};
    struct hm_header beat = sim_header(&act.caught);
    struct hm_blob *payload = hm_blob_new(HM_BEAT_BOUND(1, 0));
    payload = hm_blob_shrink(payload, hm_beat_encode(&more, 1, NULL, 0, payload->bytes));
    beat.beat.number += 1;
    inject(sim, 0, 0, HM_CH_PUBLISHED, &beat, payload);
    hm_blob_drop(payload);
    forget_caught();
    sim->filter = NULL;
    sim_run(sim, 2 * SECOND);
    stop_and_close(sim, 0, 2 * SECOND);
}

static void a_clock_may_leap(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(228, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, SECOND);
    sim_leap(sim, 1, 3600 * (uint64_t)SECOND);
    sim_run(sim, 3 * SECOND);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hm_mesh_n_live(sim->node[i].mesh), 3);
    stop_and_close(sim, 0, 2 * SECOND);
}

/* ---- more that can go wrong ---- */

/* Deltas of `from` from seq `act.seq` on get through `act.to` times in all, then nothing of it
 * does: as when it dies between two sends. */
static bool die_after_sends(struct sim *sim, struct sim_message *m)
{
    if (!act.on || m->from != act.from)
        return true;
    if (is_delta_of(sim, m, act.from) && sim_header(m).delta.hi >= act.seq)
        act.n++;
    return act.n <= act.to;
}

/* A flush of two pieces goes to three peers: its origin dies before, between and after any two of
 * the six sends. Whatever got out survives in order, and the step count is that of whole flushes.
 */
static void a_crash_at_any_boundary_of_a_flush(void **state)
{
    (void)state;
    for (unsigned sends = 0; sends <= 6; sends++) {
        struct sim_options o = sim_defaults(240 + sends, 4);
        o.rows = 8100;
        o.dense = true;
        o.flush_us = 50 * MS;
        o.step_us = 40 * MS;
        o.gone_us = 3 * SECOND;
        struct sim *sim = running(&o, 4);
        while (sim->life[0].n_records < 2)
            sim_run(sim, MS);
        act.from = 0;
        act.to = sends;
        act.seq = (uint32_t)sim->life[0].n_records + 1;
        act.n = 0;
        act.on = true;
        sim->filter = die_after_sends;
        while (sim->life[0].n_records < act.seq + 1)
            sim_run(sim, MS);
        sim_crash(sim, 0);
        sim_run(sim, SECOND);
        uint32_t survived = act.seq - 1 + (sends > 0) + (sends > 3);
        for (unsigned i = 1; i < 4; i++)
            assert_int_equal(sim->node[i].seq[0], survived);
        sim->filter = NULL;
        stop_and_close(sim, 1, 20 * SECOND);
    }
}

/* One delta reaches one node, and both die: nobody can ever have it, nobody waits for it. */
static void the_only_copy_dies_with_its_holder(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(250, 5);
    struct sim *sim = running(&o, 5);
    sim->filter = reach_one;
    sim_run(sim, SECOND);
    act.from = 0;
    act.to = 3;
    act.on = true;
    size_t n = sim->life[0].n_records;
    while (sim->life[0].n_records == n || sim->node[3].seq[0] != sim->life[0].n_records)
        sim_run(sim, 100);
    sim_crash(sim, 0);
    sim_crash(sim, 3);
    stop_and_close(sim, 1, 20 * SECOND);
}

/* Node 1 hears node 0 and is not heard: the others bring it what node 0 wants of it. */
static void a_link_that_fails_in_one_direction(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(251, 4);
    struct sim *sim = running(&o, 4);
    sim_run(sim, 300 * MS);
    uint32_t before = sim->node[0].seq[1];
    sim->link[1][0].cut = true;
    sim_run(sim, 12 * SECOND);
    assert_true(sim->node[0].seq[1] > before + 100);
    assert_true(member(sim, 0, 1).gone);
    sim->link[1][0].cut = false;
    sim_run(sim, 3 * SECOND);
    assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), 4);
    stop_and_close(sim, 0, 3 * SECOND);
}

/* Two nodes that do not hear each other, while a third hears both. */
static void a_partial_partition_is_repaired_through_others(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(252, 3);
    struct sim *sim = running(&o, 3);
    sim_run(sim, 300 * MS);
    sim_cut(sim, 0, 1, true);
    uint32_t before = sim->node[0].seq[1];
    sim_run(sim, 12 * SECOND);
    assert_true(sim->node[0].seq[1] > before + 100);
    assert_true(sim->node[1].seq[0] > before + 100);
    assert_true(member(sim, 0, 1).gone);
    sim_cut(sim, 0, 1, false);
    sim_run(sim, 3 * SECOND);
    assert_int_equal(hm_mesh_n_live(sim->node[0].mesh), 3);
    stop_and_close(sim, 0, 3 * SECOND);
}

/* Nothing to say: beats, and nothing else. */
static void an_idle_mesh_sends_beats_only(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(253, 4);
    o.step_us = 0;
    struct sim *sim = running(&o, 4);
    sim_run(sim, 2 * SECOND);
    uint64_t bytes[4];
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = sim->node[i].bytes_handed;
    sim_run(sim, 60 * SECOND);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(counters(sim, i)->published + counters(sim, i)->wants_sent, 0);
        assert_true(sim->node[i].bytes_handed - bytes[i] < 60 * 3 * 4 * (uint64_t)1024);
    }
    stop_and_close(sim, 0, SECOND);
}

static void a_model_of_one_coordinate(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(254, 3);
    o.rows = 0;
    o.fractions = true;
    struct sim *sim = running(&o, 3);
    assert_int_equal(sim->n_coordinates, 1);
    sim_run(sim, SECOND);
    unsigned late = sim_start(sim, 3);
    sim_run(sim, SECOND);
    assert_int_equal(hm_mesh_phase(sim->node[late].mesh), HM_RUNNING);
    sim_crash(sim, 1);
    stop_and_close(sim, 0, 20 * SECOND);
}

/* The first beats of node 0 that say the phase `seq`, and what it says on leaving, are lost. */
static bool lose_the_news(struct sim *sim, struct sim_message *m)
{
    struct hm_header h = sim_header(m);
    (void)sim;
    bool news =
        act.seq == HM_PHASES ? h.type == HM_LEAVE : h.type == HM_BEAT && h.beat.phase == act.seq;
    if (m->from != act.from || !news || act.n == act.to)
        return true;
    act.n++;
    return false;
}

static void lost_news_of_any_phase_only_delays_the_end(void **state)
{
    (void)state;
    for (uint32_t phase = HM_DONE; phase <= HM_PHASES; phase++) {
        struct sim_options o = sim_defaults(255 + phase, 4);
        struct sim *sim = running(&o, 4);
        sim_run(sim, 300 * MS);
        act.from = 0;
        act.seq = phase;
        act.to = phase == HM_PHASES ? 3 : 5; /* beats: to all three, and one of the next */
        act.n = 0;
        sim->filter = lose_the_news;
        sim_stop(sim, 1, "enough");
        ends(sim, 8 * SECOND);
        assert_true(act.n >= 3);
        sim_close(sim);
    }
}

static bool only_goodbyes_arrive(struct sim *sim, struct sim_message *m)
{
    (void)sim;
    return sim_header(m).type == HM_LEAVE;
}

/* Each takes the other for dead and ends with what it has. One that comes to know says so, and
 * that nothing is damaged. */
static void nodes_that_end_apart_say_so(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(263, 2);
    struct sim *sim = running(&o, 2);
    sim_run(sim, 300 * MS);
    sim->filter = only_goodbyes_arrive;
    sim_run(sim, SECOND);
    sim_stop(sim, 0, "enough");
    sim_run(sim, 20 * SECOND);
    assert_true(hm_mesh_result(sim->node[0].mesh)->clean);
    sim_stop(sim, 1, "enough");
    sim_run(sim, 20 * SECOND);
    const struct hm_result *result = hm_mesh_result(sim->node[1].mesh);
    assert_int_equal(result->status, HM_ETIMEOUT);
    assert_false(result->clean);
    assert_non_null(strstr(result->text, "ended apart from this one"));
    sim_close(sim);
}

static bool lose_one_published(struct sim *sim, struct sim_message *m)
{
    if (m->channel != HM_CH_PUBLISHED || !is_delta_of(sim, m, act.from) ||
        sim_header(m).delta.hi != act.seq)
        return true;
    act.n++;
    return false;
}

/* All peers miss the same delta and ask its origin at once. */
static void everybody_asks_one_at_once(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(262, SIM_NODES_MAX);
    o.step_us = 20 * MS;
    o.flush_us = 50 * MS;
    struct sim *sim = running(&o, SIM_NODES_MAX);
    sim_run(sim, 200 * MS);
    act.from = 0;
    act.seq = (uint32_t)sim->life[0].n_records + 1;
    sim->filter = lose_one_published;
    sim_run(sim, 2 * SECOND);
    assert_int_equal(act.n, SIM_NODES_MAX - 1);
    for (unsigned i = 1; i < SIM_NODES_MAX; i++)
        assert_true(sim->node[i].seq[0] > act.seq);
    uint64_t asked = SUM(sim, wants_sent);
    if (asked > 3 * SIM_NODES_MAX)
        fail_msg("%llu requests for one delta of %u peers", (unsigned long long)asked,
                 SIM_NODES_MAX - 1);
    stop_and_close(sim, 0, 2 * SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_find_each_other_from_one_address),
        cmocka_unit_test(nobody_starts_before_all_expected_are_there),
        cmocka_unit_test(who_hears_too_few_gives_up_with_a_sentence),
        cmocka_unit_test(a_late_joiner_catches_up_and_trains),
        cmocka_unit_test(who_died_comes_back_as_a_new_life),
        cmocka_unit_test(an_address_has_one_life),
        cmocka_unit_test(deltas_apply_in_order_once_on_bad_links),
        cmocka_unit_test(the_last_delta_before_silence_is_repaired_through_beats),
        cmocka_unit_test(any_holder_repairs_when_the_origin_is_dead),
        cmocka_unit_test(a_gap_goes_with_its_dead_origin),
        cmocka_unit_test(a_long_partition_beyond_the_logs_ends_with_one_side_yielding),
        cmocka_unit_test(a_partition_within_the_logs_loses_nothing),
        cmocka_unit_test(a_late_nohave_rules_nobody_out),
        cmocka_unit_test(the_log_stays_within_its_budget_and_repairs),
        cmocka_unit_test(only_so_many_deltas_are_held),
        cmocka_unit_test(repair_keeps_up_with_a_lossy_stream),
        cmocka_unit_test(a_flush_of_several_pieces_is_one_flush),
        cmocka_unit_test(connections_that_break_all_the_time_lose_nothing),
        cmocka_unit_test(staleness_is_the_difference_of_sets),
        cmocka_unit_test(an_old_beat_changes_nothing),
        cmocka_unit_test(another_configuration_is_ignored_and_counted),
        cmocka_unit_test(a_contradiction_is_rejected_by_name),
        cmocka_unit_test(flipped_bits_are_counted_and_repaired),
        cmocka_unit_test(no_wrong_bit_of_a_delta_changes_anything),
        cmocka_unit_test(whichever_bit_flips_the_mesh_ends_with_equal_replicas),
        cmocka_unit_test(a_flipped_bit_of_the_steps_does_not_keep_the_mesh_from_ending),
        cmocka_unit_test(no_part_of_a_delta_will_do),
        cmocka_unit_test(a_damaged_base_is_noticed_by_its_owner),
        cmocka_unit_test(a_flipped_bit_of_a_base_takes_its_node_out),
        cmocka_unit_test(a_flipped_sign_of_a_base_is_no_divergence),
        cmocka_unit_test(a_stray_nan_is_set_back_and_counted),
        cmocka_unit_test(many_nans_take_their_node_out),
        cmocka_unit_test(nans_that_return_take_their_node_out),
        cmocka_unit_test(a_leap_takes_its_node_out),
        cmocka_unit_test(a_leap_of_the_only_node_ends_it),
        cmocka_unit_test(a_leap_at_the_end_takes_its_node_out),
        cmocka_unit_test(an_exhausted_range_stops_all),
        cmocka_unit_test(a_peer_that_differs_at_an_equal_vector_is_named_and_excluded),
        cmocka_unit_test(a_stop_spreads),
        cmocka_unit_test(a_budget_ends_the_mesh_with_the_sum_of_steps),
        cmocka_unit_test(a_healthy_mesh_ends_within_300_ms),
        cmocka_unit_test(who_leaves_hands_over_what_it_owes),
        cmocka_unit_test(the_dead_are_no_obstacle_in_any_phase),
        cmocka_unit_test(half_the_mesh_may_die_at_once),
        cmocka_unit_test(a_frozen_peer_slows_nobody),
        cmocka_unit_test(who_was_frozen_does_not_bury_the_others),
        cmocka_unit_test(who_freezes_again_and_again_buries_the_dead_alone),
        cmocka_unit_test(a_freeze_is_not_taken_for_a_slow_link),
        cmocka_unit_test(a_subscription_that_died_is_dialled_anew),
        cmocka_unit_test(a_partition_heals),
        cmocka_unit_test(the_bandwidth_cap_is_kept),
        cmocka_unit_test(rows_in_rotation_flush_ten_times_in_a_pass),
        cmocka_unit_test(rotation_slows_down_where_it_takes_the_time_of_workers),
        cmocka_unit_test(a_bandwidth_cap_below_the_beats_is_said),
        cmocka_unit_test(a_bandwidth_cap_does_not_starve_repair),
        cmocka_unit_test(every_rule_conserves_what_workers_add),
        cmocka_unit_test(the_sum_of_all_work_is_the_model),
        cmocka_unit_test(the_divisor_follows_the_live_nodes),
        cmocka_unit_test(one_damaged_beat_silences_nobody),
        cmocka_unit_test(a_snapshot_server_that_dies_midway_is_replaced),
        cmocka_unit_test(a_flipped_bit_in_a_snapshot_is_named),
        cmocka_unit_test(a_late_joiner_takes_the_state_and_covers),
        cmocka_unit_test(two_fresh_nodes_and_an_old_one),
        cmocka_unit_test(a_three_way_partition_beyond_the_logs_converges),
        cmocka_unit_test(yielding_does_not_breed_yielding),
        cmocka_unit_test(a_node_may_rejoin_100_times),
        cmocka_unit_test(a_node_may_rejoin_300_times),
        cmocka_unit_test(a_stream_that_is_full_goes_on_in_another_life),
        cmocka_unit_test(a_joiner_does_not_wait_for_what_is_renounced),
        cmocka_unit_test(the_end_waits_for_who_yields),
        cmocka_unit_test(a_cloned_life_is_named),
        cmocka_unit_test(an_absurd_claim_does_not_last),
        cmocka_unit_test(a_clock_may_leap),
        cmocka_unit_test(a_crash_at_any_boundary_of_a_flush),
        cmocka_unit_test(the_only_copy_dies_with_its_holder),
        cmocka_unit_test(a_link_that_fails_in_one_direction),
        cmocka_unit_test(a_partial_partition_is_repaired_through_others),
        cmocka_unit_test(an_idle_mesh_sends_beats_only),
        cmocka_unit_test(a_model_of_one_coordinate),
        cmocka_unit_test(lost_news_of_any_phase_only_delays_the_end),
        cmocka_unit_test(nodes_that_end_apart_say_so),
        cmocka_unit_test(everybody_asks_one_at_once),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
