/* Three real nodes, over real sockets, of which one is damaged while it trains: weights that are no
 * numbers, weights that leap, a bit of B. It says what is wrong and ends; the others go on and end
 * clean. The damage is done from the status callback, which is the driver's own thread.
 */
#include "tests/temp_folder.h"

#include "node/node_state.h"
#include "sparse/rng.h"

#include <math.h>

enum { NODES = 3, VICTIM = 1, FEATURES = 40, ROWS = 600, SECONDS = 3 };

/* Damages a node. Weights are planted as workers add, in place, and such an add may wipe them out
 * before anybody has seen them: so it is called again until it returns true, or its node ends. */
typedef bool (*harm)(struct hm_node *node);

static struct actor {
    pthread_t thread;
    struct hm_node *node;
    struct hm_err err;
    enum hm_status status;
    harm damage; /* NULL: it comes to no harm, or has come to enough */
    char warnings[4096];
} actor[NODES];

static char address[HM_ENDPOINT_MAX + 1];

static void on_bound(void *context, const char *endpoint)
{
    if (context == &actor[0])
        snprintf(address, sizeof address, "%s", endpoint + 6);
}

static void on_status(void *context, const struct hm_node_status *status)
{
    struct actor *a = context;
    if (strcmp(status->stage, "train") != 0 || status->seconds < .2 || !a->damage)
        return;
    if (a->damage(a->node))
        a->damage = NULL;
}

static void on_log(void *context, enum hm_note_level level, const char *text)
{
    struct actor *a = context;
    size_t n = strlen(a->warnings);
    if (level >= HM_NOTE_WARNING)
        snprintf(a->warnings + n, sizeof a->warnings - n, "%s\n", text);
}

static const char *write_rows(void)
{
    static char text[ROWS * FEATURES * 12];
    struct hm_rng rng = hm_rng_seed(1, 0);
    size_t at = 0;
    for (unsigned r = 0; r < ROWS; r++) {
        int label = hm_rng_below(&rng, 2) ? 1 : -1;
        at += (size_t)snprintf(text + at, sizeof text - at, "%d", label);
        for (unsigned f = 1; f <= FEATURES; f++)
            at += (size_t)snprintf(text + at, sizeof text - at, " %u:%.3f", f,
                                   .1 * label * (f % 3) + .3 * hm_rng_unit(&rng));
        at += (size_t)snprintf(text + at, sizeof text - at, "\n");
    }
    return temp_text("rows.svm", text);
}

static void open_actor(unsigned i, const char *rows, unsigned threads)
{
    struct actor *a = &actor[i];
    struct hm_node_options o = hm_node_defaults();
    o.train.train[o.train.n_train++] = rows;
    o.train.threads = threads;
    o.train.seconds = i ? 0 : SECONDS;
    o.train.nodes = o.expect = NODES;
    o.local_nodes = NODES;
    snprintf(o.label, sizeof o.label, "node%u", i);
    if (i)
        o.peer[o.n_peers++] = address;
    o.bound = on_bound;
    o.status = on_status;
    o.log = on_log;
    o.context = a;
    if (hm_node_open(&a->node, &o, &a->err) != HM_OK)
        fail_msg("%s", a->err.text);
}

static void *run_actor(void *context)
{
    struct actor *a = context;
    a->status = hm_node_run(a->node, &a->err);
    return NULL;
}

/* All trained to their ends, the victim with `status`; the others must be well and equal. */
static void stage(harm damage, unsigned threads, enum hm_status status)
{
    memset(actor, 0, sizeof actor);
    const char *rows = write_rows();
    for (unsigned i = 0; i < NODES; i++)
        open_actor(i, rows, threads);
    actor[VICTIM].damage = damage;
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(pthread_create(&actor[i].thread, NULL, run_actor, &actor[i]), 0);
    for (unsigned i = 0; i < NODES; i++)
        pthread_join(actor[i].thread, NULL);
    const struct hm_node_report *first = hm_node_report(actor[0].node);
    for (unsigned i = 0; i < NODES; i++) {
        const struct hm_node_report *r = hm_node_report(actor[i].node);
        if (actor[i].status != (i == VICTIM ? status : HM_OK))
            fail_msg("node %u: %s: %s", i, hm_status_name(actor[i].status), actor[i].err.text);
        if (actor[i].status)
            continue;
        assert_true(r->clean);
        assert_string_equal(r->model_hash, first->model_hash);
        assert_true(r->train.n == 0 || r->train.accuracy > .9);
        for (size_t k = 0; k < actor[i].node->weights.n; k++)
            assert_in_range((int32_t)actor[i].node->weights.b[k] + HM_RANGE, 0, 2 * HM_RANGE);
    }
    if (status)
        assert_true(hm_node_report(actor[VICTIM].node)->train_seconds < SECONDS - .5);
}

static void leave_stage(void)
{
    for (unsigned i = 0; i < NODES; i++)
        hm_node_close(actor[i].node);
}

static void says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}

static bool three_nans_one_by_one(struct hm_node *node)
{
    if (hm_mesh_counters(node->mesh)->nonfinite >= 3)
        return true;
    hm_cell_set(&node->weights.w[7], NAN);
    return false;
}

static bool many_nans(struct hm_node *node)
{
    for (unsigned i = 3; i < 30; i++)
        hm_cell_set(&node->weights.w[i], NAN);
    return false;
}

static bool leap(struct hm_node *node)
{
    hm_cell_set(&node->weights.w[11], 1e30f);
    return false;
}

static bool flip(struct hm_node *node)
{
    node->weights.b[13] ^= 1u << 9;
    return true;
}

static void test_stray_nan_is_survived(void **state)
{
    (void)state;
    stage(three_nans_one_by_one, 1, HM_OK);
    assert_int_equal(hm_node_report(actor[VICTIM].node)->counters.nonfinite, 3);
    says(actor[VICTIM].warnings, "tensor 'v', row 0, column 7: nan where");
    leave_stage();
}

/* Threads with copies of their own do not bring it back. */
static void test_stray_nan_is_survived_by_threads(void **state)
{
    (void)state;
    stage(three_nans_one_by_one, 2, HM_OK);
    assert_in_range(hm_node_report(actor[VICTIM].node)->counters.nonfinite, 3, 6);
    leave_stage();
}

static void test_many_nans_end_their_node(void **state)
{
    (void)state;
    stage(many_nans, 1, HM_EDIVERGED);
    const char *text = actor[VICTIM].err.text;
    const char *place = "training diverged on node node1: tensor 'v', row 0, column ";
    says(text, place);
    char *end;
    assert_in_range(strtol(strstr(text, place) + strlen(place), &end, 10), 3, 29);
    says(end, ": nan where");
    says(text, "step ");
    says(text, "learning rate ");
    says(text, "--lr");
    leave_stage();
}

static void test_leap_ends_its_node(void **state)
{
    (void)state;
    stage(leap, 1, HM_EDIVERGED);
    says(actor[VICTIM].err.text, "tensor 'v', row 0, column 11: 1e+30 where");
    leave_stage();
}

static void test_flipped_bit_of_b_ends_its_node(void **state)
{
    (void)state;
    stage(flip, 1, HM_ECORRUPT);
    says(actor[VICTIM].err.text, "node node1 is damaged: this replica's base differs from the sum");
    leave_stage();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stray_nan_is_survived, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_stray_nan_is_survived_by_threads, temp_setup,
                                        temp_teardown),
        cmocka_unit_test_setup_teardown(test_many_nans_end_their_node, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_leap_ends_its_node, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bit_of_b_ends_its_node, temp_setup,
                                        temp_teardown),
    };
    return cmocka_run_group_tests_name("node_damage", tests, NULL, NULL);
}
