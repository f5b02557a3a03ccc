/* The world of virtual nodes: it repeats itself, takes the time that it is told to, carries out
 * what goes wrong, and ends as a mesh must. */
#include "tests/temp_folder.h"

#include "models/synth_svm.h"
#include "node/node_state.h"
#include "node/sim_server.h"

#include <math.h>

enum { ROWS = 3000, SECOND = 1000000 };

struct scene {
    struct hm_sim_options options;
    struct hm_model *model;
    struct hm_sim *sim;
    struct hm_faults faults;
    struct hm_dist step_time, delay;
    char *trace; /* lines, when they are kept */
    size_t trace_n, trace_room;
};

static void keep_line(void *context, const struct hm_sim *sim, const struct hm_sim_happening *h)
{
    struct scene *s = context;
    char line[HM_SIM_LINE_MAX];
    size_t n = hm_sim_line(h, line);
    (void)sim;
    if (s->trace_n + n + 1 > s->trace_room) {
        s->trace_room = 2 * s->trace_room + 65536;
        s->trace = realloc(s->trace, s->trace_room);
        assert_non_null(s->trace);
    }
    memcpy(s->trace + s->trace_n, line, n);
    s->trace_n += n;
    s->trace[s->trace_n++] = '\n';
}

static struct hm_dist dist(const char *text)
{
    struct hm_dist d;
    struct hm_err err;
    if (hm_dist_parse(&d, text, NULL, &err))
        fail_msg("%s", err.text);
    return d;
}

/* n nodes of 1 M examples/s, links of 100 us, 60,000 examples. */
static void plan(struct scene *s, uint32_t n)
{
    *s = (struct scene){0};
    struct hm_node_options node = hm_node_defaults();
    node.train.train[node.train.n_train++] = temp_path("train.svm");
    node.train.nodes = n;
    node.train.steps = 60000;
    node.speed = 1e6;
    s->options = (struct hm_sim_options){
        .node = node, .n = n, .link = {.latency = dist("const:100us")}, .seed = 1, .context = s};
}

static void load(struct scene *s)
{
    struct hm_err err = {""};
    const struct hm_progress silent = {0};
    if (hm_svm.open(&s->model, &s->options.node.train, &silent, &err))
        fail_msg("%s", err.text);
    s->options.model = s->model;
}

static void open_scene(struct scene *s)
{
    struct hm_err err = {""};
    load(s);
    if (hm_sim_open(&s->sim, &s->options, &err) || hm_sim_start_all(s->sim, &err))
        fail_msg("%s", err.text);
}

static void close_scene(struct scene *s)
{
    hm_sim_close(s->sim);
    if (s->model)
        hm_svm.close(s->model);
    hm_faults_close(&s->faults);
    hm_dist_fini(&s->options.link.latency);
    hm_dist_fini(&s->step_time);
    hm_dist_fini(&s->delay);
    free(s->trace);
}

static void add_faults(struct scene *s, const char *text)
{
    struct hm_err err = {""};
    if (hm_faults_parse(&s->faults, text, strlen(text), "plan", NULL, s->options.n, &err))
        fail_msg("%s", err.text);
    s->options.faults = &s->faults;
}

static void run_to_the_end(struct scene *s)
{
    if (hm_sim_run(s->sim, HM_SIM_BORN_US + (uint64_t)600 * SECOND))
        fail_msg("not over after 600 virtual seconds");
}

static const struct hm_node_report *report(struct scene *s, uint32_t i)
{
    const struct hm_node *node = hm_sim_node(s->sim, i);
    return node ? hm_node_report(node) : NULL;
}

/* All that were there at the end agree, and nothing is missing. */
static void check_end(struct scene *s)
{
    const char *hash = NULL;
    for (uint32_t i = 0; i < hm_sim_n(s->sim); i++) {
        const struct hm_node_report *r = report(s, i);
        if (!r)
            continue;
        if (!r->clean)
            fail_msg("node %u ended unclean: %s", i, r->text);
        hash = hash ? hash : r->model_hash;
        assert_string_equal(r->model_hash, hash);
        assert_int_equal(r->counters.applied + r->counters.covered, r->vector_seq - r->own_seq);
        assert_int_equal(r->lost, 0);
    }
    assert_non_null(hash);
}

/* ---- repetition ---- */

static void a_bad_network(struct scene *s)
{
    s->options.link.latency = dist("lognormal:200us,0.5");
    s->options.link.drop = .1;
    s->options.link.duplicate = .1;
    s->options.link.reorder = .2;
    s->options.link.bandwidth = 20e6;
    s->options.observe = keep_line;
}

static void run_badly(struct scene *s, uint64_t seed, const char *isa)
{
    plan(s, 3);
    a_bad_network(s);
    s->options.seed = s->options.node.train.seed = seed;
    s->options.node.train.isa = isa;
    open_scene(s);
    run_to_the_end(s);
    check_end(s);
}

static void test_same_seed_same_trace(void **state)
{
    (void)state;
    struct scene a, b, c;
    run_badly(&a, 1, "auto");
    run_badly(&b, 1, "auto");
    run_badly(&c, 2, "auto");
    assert_true(a.trace_n > 10000);
    assert_int_equal(a.trace_n, b.trace_n);
    assert_memory_equal(a.trace, b.trace, a.trace_n);
    assert_true(hm_sim_hash(a.sim) == hm_sim_hash(b.sim));
    assert_true(hm_sim_hash(a.sim) != hm_sim_hash(c.sim));
    assert_string_equal(report(&a, 0)->model_hash, report(&b, 0)->model_hash);
    assert_string_not_equal(report(&a, 0)->model_hash, report(&c, 0)->model_hash);
    close_scene(&a);
    close_scene(&b);
    close_scene(&c);
}

/* Kernels compute the same whatever their instructions, so worlds do. */
static void test_every_isa_same_trace(void **state)
{
    (void)state;
    struct scene first;
    run_badly(&first, 3, "ref");
    for (unsigned i = 0; hm_kernels_at(i); i++) {
        struct scene other;
        run_badly(&other, 3, hm_kernels_at(i)->name);
        if (hm_sim_hash(first.sim) != hm_sim_hash(other.sim))
            fail_msg("%s: another trace than that of plain C", hm_kernels_at(i)->name);
        assert_string_equal(report(&first, 0)->model_hash, report(&other, 0)->model_hash);
        close_scene(&other);
    }
    close_scene(&first);
}

/* tests/golden/sim: "ISA TRACE MODEL" a line; HOGMESH_GOLDEN=write writes it anew, which every
 * deliberate change of the protocol, the schedule or the links needs. */
static void test_golden_trace(void **state)
{
    (void)state;
    static const char *const isa[] = {"portable", "sse2"};
    const char *source = getenv("HOGMESH_SOURCE"), *mode = getenv("HOGMESH_GOLDEN");
    char path[4096], now[1024] = "", golden[1024] = "";
    if (!source)
        skip();
    for (unsigned i = 0; i < 2; i++) {
        struct scene s;
        size_t at = strlen(now);
        if (!hm_kernels_find(isa[i]))
            skip(); /* another architecture */
        run_badly(&s, 1, isa[i]);
        snprintf(now + at, sizeof now - at, "%s %016llx %s\n", isa[i],
                 (unsigned long long)hm_sim_hash(s.sim), report(&s, 0)->model_hash);
        close_scene(&s);
    }
    snprintf(path, sizeof path, "%s/tests/golden/sim", source);
    FILE *file = fopen(path, mode && strcmp(mode, "write") == 0 ? "w" : "r");
    assert_non_null(file);
    if (mode && strcmp(mode, "write") == 0)
        fputs(now, file);
    else
        golden[fread(golden, 1, sizeof golden - 1, file)] = 0;
    fclose(file);
    if (!(mode && strcmp(mode, "write") == 0) && strcmp(now, golden) != 0)
        fail_msg("the trace is not the one recorded in tests/golden/sim:\n%snow:\n%sIf protocol, "
                 "schedule or links were changed on purpose: HOGMESH_GOLDEN=write meson test -C "
                 "build sim",
                 golden, now);
}

/* ---- time ---- */

static double train_seconds(struct scene *s)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (uint32_t i = 0; i < s->options.n; i++) {
        const struct hm_node_report *r = report(s, i);
        first = r->first_step_us < first ? r->first_step_us : first;
        last = r->last_apply_us > last ? r->last_apply_us : last;
    }
    return (double)(last - first) / 1e6;
}

static double time_of(uint32_t n, double speed, const char *latency, uint64_t steps)
{
    struct scene s;
    plan(&s, n);
    hm_dist_fini(&s.options.link.latency);
    s.options.link.latency = dist(latency);
    s.options.node.speed = speed;
    s.options.node.train.steps = steps;
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    double seconds = train_seconds(&s);
    close_scene(&s);
    return seconds;
}

static void test_speed_is_what_was_said(void **state)
{
    (void)state;
    double one = time_of(1, 1e6, "const:100us", 1000000);
    double twice = time_of(1, 2e6, "const:100us", 1000000);
    double four = time_of(4, 1e6, "const:100us", 1000000);
    assert_true(fabs(one - 1) < .005); /* the last flush */
    assert_true(fabs(twice - .5) < .005);
    assert_true(fabs(four - .25) < .02); /* what is on the way at the end is beyond the budget */
}

static void test_latency_delays_what_is_heard(void **state)
{
    (void)state;
    double near = time_of(2, 1e6, "const:30us", 100000);
    double far = time_of(2, 1e6, "const:50ms", 100000);
    assert_true(near < .06);
    assert_true(far > near + .05);
    assert_true(far < near + .3);
}

/* Batches of 20 ms, once a worker with 60 ms more on top. */
static void test_delays_make_a_node_slow(void **state)
{
    (void)state;
    struct scene s;
    plan(&s, 2);
    s.options.node.train.batch = 32;
    s.options.node.train.steps = 32 * 500;
    s.options.node.flush = HM_FLUSH_STEP;
    s.step_time = dist("const:20ms");
    s.options.node.step_time = &s.step_time;
    add_faults(&s, "{\"nodes\": [{\"node\": 1, \"delay\": \"const:60ms\"}]}");
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    double fast = (double)report(&s, 0)->own_steps, slow = (double)report(&s, 1)->own_steps;
    assert_true(fabs(fast / slow - 4) < .1);
    assert_true(fabs(train_seconds(&s) - 400 * .02) < .1);
    close_scene(&s);
}

/* ---- faults ---- */

static void run_plan(struct scene *s, const char *faults)
{
    plan(s, 4);
    s->options.node.train.steps = 600000;
    s->options.node.speed = 100e3;
    add_faults(s, faults);
    open_scene(s);
}

static void test_a_killed_node_is_missed_by_nobody(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"kill\", \"node\": 2}]}");
    run_to_the_end(&s);
    check_end(&s);
    assert_null(hm_sim_node(s.sim, 2));
    assert_int_equal(hm_sim_n_dead(s.sim), 1);
    assert_int_equal(hm_sim_dead(s.sim, 0)->node, 2);
    assert_true(hm_sim_dead(s.sim, 0)->steps > 20000);
    close_scene(&s);
}

static void test_a_killed_node_comes_back(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"200ms\", \"do\": \"kill\", \"node\": 0},"
                 "{\"at\": \"500ms\", \"do\": \"restart\", \"node\": 0}]}");
    run_to_the_end(&s);
    check_end(&s);
    assert_true(report(&s, 0)->own_steps > 20000);
    assert_true(report(&s, 0)->life != hm_sim_dead(s.sim, 0)->life);
    assert_string_equal(report(&s, 0)->label, "node0.2");
    close_scene(&s);
}

static void test_a_late_node_joins_and_one_leaves(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"join\"},"
                 "{\"at\": \"600ms\", \"do\": \"leave\", \"node\": 1}]}");
    hm_sim_run(s.sim, HM_SIM_BORN_US + SECOND * 9 / 10);
    assert_true(hm_sim_is_up(s.sim, 4));
    assert_false(hm_sim_is_up(s.sim, 1));
    run_to_the_end(&s);
    assert_true(report(&s, 4)->own_steps > 20000);
    assert_true(report(&s, 4)->clean);
    assert_string_equal(report(&s, 4)->model_hash, report(&s, 0)->model_hash);
    close_scene(&s);
}

static uint64_t made(struct scene *s, uint32_t i)
{
    return hm_node_made(hm_sim_node(s->sim, i));
}

static void test_a_paused_node_stands_still(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"pause\", \"node\": 1,"
                 "\"for\": \"400ms\"}]}");
    hm_sim_run(s.sim, HM_SIM_BORN_US + 306000);
    uint64_t one = made(&s, 1), two = made(&s, 2);
    hm_sim_run(s.sim, HM_SIM_BORN_US + 600000);
    assert_int_equal(made(&s, 1), one);
    assert_true(made(&s, 2) > two + 15000);
    run_to_the_end(&s);
    check_end(&s);
    assert_true(report(&s, 1)->own_steps > one + 20000);
    close_scene(&s);
}

static unsigned count_lines(const struct scene *s, const char *part)
{
    unsigned n = 0;
    s->trace[s->trace_n - 1] = 0;
    for (const char *at = s->trace; (at = strstr(at, part)) != NULL; at++)
        n++;
    s->trace[s->trace_n - 1] = '\n';
    return n;
}

/* While the mesh is in two halves each trains on; afterwards all have everything. */
static void test_a_partition_heals(void **state)
{
    (void)state;
    struct scene s;
    plan(&s, 4);
    s.options.node.train.steps = 400000;
    s.options.node.speed = 100e3;
    s.options.observe = keep_line;
    add_faults(&s, "{\"events\": [{\"at\": \"200ms\", \"do\": \"cut\", \"from\": \"0-1\","
                   "\"to\": \"2-3\", \"for\": \"300ms\"}]}");
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    assert_true(count_lines(&s, "\"event\":\"lost\",\"node\":0,\"peer\":2") > 3);
    assert_true(count_lines(&s, "\"event\":\"lost\",\"node\":3,\"peer\":1") > 3);
    assert_int_equal(count_lines(&s, "\"event\":\"lost\",\"node\":0,\"peer\":1"), 0);
    assert_int_equal(count_lines(&s, "\"event\":\"lost\",\"node\":2,\"peer\":3"), 0);
    uint64_t repaired = 0;
    for (uint32_t i = 0; i < 4; i++)
        repaired += report(&s, i)->counters.repaired;
    assert_true(repaired > 10);
    close_scene(&s);
}

static void test_a_one_way_cut(void **state)
{
    (void)state;
    struct scene s;
    plan(&s, 2);
    s.options.node.speed = 100e3;
    s.options.observe = keep_line;
    add_faults(&s, "{\"events\": [{\"at\": \"100ms\", \"do\": \"cut\", \"from\": \"0\", \"to\": "
                   "\"1\", \"one_way\": true, \"for\": \"100ms\"}]}");
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    assert_true(count_lines(&s, "\"event\":\"lost\",\"node\":0") > 1);
    assert_int_equal(count_lines(&s, "\"event\":\"lost\",\"node\":1"), 0);
    close_scene(&s);
}

static void test_a_flipped_bit_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"flip\", \"node\": 1,"
                 "\"what\": \"delta\"}]}");
    run_to_the_end(&s);
    check_end(&s);
    uint64_t refused = 0;
    for (uint32_t i = 0; i < 4; i++)
        refused +=
            report(&s, i)->counters.refused_digest + report(&s, i)->counters.refused_malformed;
    assert_true(refused >= 1);
    close_scene(&s);
}

static void test_clocks_jump(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"clock\", \"node\": 1, \"by\": "
                 "\"3s\"}]}");
    run_to_the_end(&s);
    check_end(&s);
    close_scene(&s);
}

static void test_all_are_killed_and_come_back(void **state)
{
    (void)state;
    struct scene s;
    run_plan(&s, "{\"events\": [{\"at\": \"300ms\", \"do\": \"kill\", \"node\": \"*\"},"
                 "{\"at\": \"600ms\", \"do\": \"restart\", \"node\": \"*\"}]}");
    run_to_the_end(&s);
    check_end(&s);
    assert_int_equal(hm_sim_n_dead(s.sim), 4);
    close_scene(&s);
}

/* ---- hooks ---- */

static bool lose_seq_3(void *context, struct hm_sim *sim, struct hm_sim_message *message,
                       uint32_t to)
{
    struct hm_header header;
    unsigned *lost = (unsigned *)(void *)&((struct scene *)context)->trace_room;
    (void)sim;
    if (message->from != 0 || to != 1 || message->channel != HM_CH_PUBLISHED ||
        hm_wire_decode(message->header, message->header_n, &header) != HM_WIRE_OK ||
        header.type != HM_DELTA || header.delta.hi != 3)
        return true;
    ++*lost;
    return false;
}

static void test_a_filter_loses_one_delta(void **state)
{
    (void)state;
    struct scene s;
    plan(&s, 3);
    s.options.filter = lose_seq_3;
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    assert_int_equal(s.trace_room, 1);
    assert_int_equal(report(&s, 1)->counters.repaired, 1);
    assert_int_equal(report(&s, 2)->counters.repaired, 0);
    close_scene(&s);
}

static void test_targets_stop_the_mesh(void **state)
{
    (void)state;
    struct scene s;
    plan(&s, 2);
    s.options.node.train.steps = 10000000;
    s.options.score_every_steps = 2000;
    s.options.target_accuracy = .85;
    s.options.score_set = HM_TRAIN_SET;
    open_scene(&s);
    run_to_the_end(&s);
    check_end(&s);
    size_t n;
    const struct hm_curve_point *point = hm_sim_curve(s.sim, &n);
    assert_true(n >= 1);
    assert_true(point[n - 1].score.accuracy >= .85);
    for (size_t i = 0; i + 1 < n; i++)
        assert_true(point[i].score.accuracy < .85);
    assert_true(report(&s, 0)->steps < 5000000);
    close_scene(&s);
}

/* ---- the server ---- */

static struct hm_server *serve(struct scene *s, uint32_t m, bool in_turns)
{
    struct hm_err err = {""};
    struct hm_server *server;
    plan(s, m);
    s->options.node.train.batch = 8;
    s->options.node.train.steps = 16000;
    s->options.node.train.combine.rule = HM_RULE_SUM;
    load(s);
    if (hm_server_open(&server, &s->options, in_turns, &err))
        fail_msg("%s", err.text);
    while (hm_server_step(server)) {
    }
    assert_int_equal(hm_server_conclude(server, &err), HM_OK);
    return server;
}

/* The same in a loop: batch after batch, each on the weights that the one before has left. */
static void test_one_worker_is_sequential_sgd(void **state)
{
    (void)state;
    struct scene s;
    struct hm_server *server = serve(&s, 1, true);
    struct hm_weights plain;
    struct hm_layout layout;
    struct hm_fields config = {0};
    struct hm_shard shard;
    struct hm_err err = {""};
    if (hm_svm.found(s.model, &config, &err))
        fail_msg("%s", err.text);
    hm_svm.adopt(s.model, &config, NULL, 0, &layout, &err);
    assert_int_equal(hm_weights_init(&plain, &layout, &err), HM_OK);
    assert_int_equal(hm_svm.shard(s.model, HM_PARTITION_NONE, 0, 1, &shard, &err), HM_OK);
    void *scratch = aligned_alloc(64, (s.model->scratch_bytes + 63) / 64 * 64);
    memset(scratch, 0, s.model->scratch_bytes);
    for (uint64_t at = 0; at < 16000; at += 8) {
        struct hm_step step = {.w = plain.w,
                               .from = at % ROWS,
                               .n = 8,
                               .t = (double)at,
                               .scale = 1,
                               .t_per_step = 1,
                               .scratch = scratch};
        hm_svm.step(s.model, &shard, &step);
    }
    const struct hm_weights *served = hm_server_weights(server);
    double most = 0;
    for (size_t i = 0; i < plain.n; i++)
        most =
            fmax(most, fabs((double)hm_cell_get(&plain.w[i]) - (double)hm_cell_get(&served->w[i])));
    assert_true(most < 1e-4); /* of weights up to 10: rounding of gradients, 2,000 times */
    assert_int_equal(hm_server_steps(server, &(uint64_t){0}), 16000);
    free(scratch);
    hm_weights_fini(&plain);
    hm_server_close(server);
    close_scene(&s);
}

static void test_turns_are_m_less_one_old(void **state)
{
    (void)state;
    struct scene s;
    struct hm_server *server = serve(&s, 10, true);
    for (uint32_t i = 0; i < 10; i++) {
        const struct hm_link *link = hm_server_report(server, i)->link;
        assert_int_equal(link->flushes.max, 9);
        assert_int_equal(hm_tally_quantile(&link->flushes, .5), 9);
        assert_int_equal(hm_server_report(server, i)->own_steps, 1600);
    }
    hm_server_close(server);
    close_scene(&s);
}

static void test_who_comes_first_is_served_first(void **state)
{
    (void)state;
    struct scene s;
    struct hm_node_set slow = {0};
    struct hm_err err = {""};
    plan(&s, 3);
    s.step_time = dist("const:10ms");
    s.delay = dist("const:30ms");
    assert_int_equal(hm_node_set_add(&slow, 2, 2, &err), HM_OK);
    s.options.node.step_time = &s.step_time;
    s.options.node.delay = &s.delay;
    s.options.delay_nodes = &slow;
    s.options.node.train.batch = 8;
    s.options.node.train.steps = 9000;
    load(&s);
    struct hm_server *server;
    assert_int_equal(hm_server_open(&server, &s.options, false, &err), HM_OK);
    while (hm_server_step(server)) {
    }
    assert_int_equal(hm_server_conclude(server, &err), HM_OK);
    double fast = (double)hm_server_report(server, 0)->own_steps,
           slowly = (double)hm_server_report(server, 2)->own_steps;
    assert_true(fabs(fast / slowly - 4) < .2);
    assert_true(hm_server_report(server, 2)->link->flushes.max > 6);
    hm_server_close(server);
    hm_node_set_fini(&slow);
    close_scene(&s);
}

static int setup(void **state)
{
    struct hm_err err;
    struct hm_synth_svm synth = {.seed = 1, .train_rows = ROWS, .test_rows = 500, .threads = 1};
    if (temp_setup(state))
        return -1;
    return hm_synth_svm_write(&synth, temp_path(""), NULL, &err) == HM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_trace),
        cmocka_unit_test(test_every_isa_same_trace),
        cmocka_unit_test(test_golden_trace),
        cmocka_unit_test(test_speed_is_what_was_said),
        cmocka_unit_test(test_latency_delays_what_is_heard),
        cmocka_unit_test(test_delays_make_a_node_slow),
        cmocka_unit_test(test_a_killed_node_is_missed_by_nobody),
        cmocka_unit_test(test_a_killed_node_comes_back),
        cmocka_unit_test(test_a_late_node_joins_and_one_leaves),
        cmocka_unit_test(test_a_paused_node_stands_still),
        cmocka_unit_test(test_a_partition_heals),
        cmocka_unit_test(test_a_one_way_cut),
        cmocka_unit_test(test_a_flipped_bit_changes_nothing),
        cmocka_unit_test(test_clocks_jump),
        cmocka_unit_test(test_all_are_killed_and_come_back),
        cmocka_unit_test(test_a_filter_loses_one_delta),
        cmocka_unit_test(test_targets_stop_the_mesh),
        cmocka_unit_test(test_one_worker_is_sequential_sgd),
        cmocka_unit_test(test_turns_are_m_less_one_old),
        cmocka_unit_test(test_who_comes_first_is_served_first),
    };
    return cmocka_run_group_tests(tests, setup, temp_teardown);
}
