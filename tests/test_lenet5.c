/* The LeNet5 workload: its order of examples, its shards, its configuration, and that a step is the
 * gradient and its application, whichever way it is taken. */
#include "tests/temp_folder.h"

#include "models/lenet5.h"
#include "models/shuffle.h"
#include "models/synth_images.h"

#include <math.h>
#include <stdbool.h>

enum { TRAIN = 700, TEST = 90, BATCH = 20 };

struct scene {
    struct hm_model *model;
    const struct hm_lenet5_model *lenet5;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_shard shard;
    struct hm_step step;
    struct hm_grad grad;
};

static struct hm_train_options options(void)
{
    static char folder[256];
    snprintf(folder, sizeof folder, "%s", temp_folder);
    return (struct hm_train_options){
        .data = folder, .batch = BATCH, .no_cache = 1, .threads = 1, .nodes = 1, .seed = 4};
}

static int setup(void **state)
{
    struct hm_synth_images synth = {1, TRAIN, TEST};
    struct hm_err err;
    return temp_setup(state) || hm_synth_images_write(&synth, temp_folder, NULL, &err);
}

static void *zeroed(size_t bytes)
{
    size_t n = (bytes + 64) / 64 * 64;
    void *memory = aligned_alloc(64, n);
    assert_non_null(memory);
    return memset(memory, 0, n);
}

static struct scene open_scene(const struct hm_train_options *o)
{
    struct scene s = {0};
    struct hm_err err = {""};
    if (hm_lenet5.open(&s.model, o, NULL, &err) || hm_lenet5.found(s.model, &s.config, &err) ||
        hm_lenet5.adopt(s.model, &s.config, NULL, 0, &s.layout, &err) ||
        hm_weights_init(&s.weights, &s.layout, &err) ||
        hm_lenet5.shard(s.model, HM_PARTITION_NONE, 0, 1, &s.shard, &err))
        fail_msg("%s", err.text);
    s.lenet5 = hm_lenet5_of(s.model);
    hm_lenet5.init(s.model, &s.weights);
    hm_weights_settle(&s.weights);
    s.step = (struct hm_step){.w = s.weights.w,
                              .scale = 1,
                              .t_per_step = 1,
                              .n = BATCH,
                              .scratch = zeroed(s.model->scratch_bytes),
                              .state = zeroed(s.model->state_floats * sizeof(float))};
    s.grad.span = malloc(s.model->grad_max * sizeof *s.grad.span);
    s.grad.value = malloc(s.model->grad_max * sizeof *s.grad.value);
    return s;
}

static void close_scene(struct scene *s)
{
    free(s->step.scratch);
    free(s->step.state);
    free(s->step.read);
    free(s->grad.span);
    free(s->grad.value);
    hm_weights_fini(&s->weights);
    hm_lenet5.close(s->model);
}

/* ---- order and shards ---- */

static void test_shuffle_is_a_permutation(void **state)
{
    (void)state;
    static const uint32_t size[] = {1, 2, 3, 5, 16, 17, 1000, 4096, 60000};
    for (size_t k = 0; k < sizeof size / sizeof size[0]; k++)
        for (uint64_t key = 0; key < 5; key++) {
            uint8_t *met = calloc(size[k], 1);
            assert_non_null(met);
            for (uint32_t i = 0; i < size[k]; i++) {
                uint32_t at = hm_shuffle(i, size[k], key);
                assert_true(at < size[k]);
                assert_int_equal(met[at]++, 0);
            }
            free(met);
        }
}

/* Neighbours end up apart, and another key is another order: as far as can be told by what chance
 * would give. */
static void test_shuffle_looks_random(void **state)
{
    (void)state;
    enum { N = 60000, CELLS = 20 };
    unsigned cell[CELLS][CELLS] = {{0}}, same = 0, rising = 0;
    for (uint32_t i = 0; i + 1 < N; i++) {
        uint32_t a = hm_shuffle(i, N, 7), b = hm_shuffle(i + 1, N, 7);
        cell[a * (uint64_t)CELLS / N][b * (uint64_t)CELLS / N]++;
        rising += b > a;
        same += a == hm_shuffle(i, N, 8);
    }
    assert_in_range(rising, N / 2 - 600, N / 2 + 600);
    assert_true(same < 15);
    for (int y = 0; y < CELLS; y++)
        for (int x = 0; x < CELLS; x++)
            assert_in_range(cell[y][x], 150 - 90, 150 + 90);
}

/* Each pass over a shard takes every example of it once, in another order than the one before. */
static void check_passes(const struct scene *s, const struct hm_shard *shard, uint8_t *met)
{
    unsigned same = 0;
    for (uint64_t pass = 0; pass < 3; pass++)
        for (uint64_t i = 0; i < shard->n; i++) {
            uint32_t example = hm_lenet5_example(s->lenet5, shard, pass * shard->n + i);
            assert_true(example < TRAIN);
            met[example]++;
            same += example == hm_lenet5_example(s->lenet5, shard, (pass + 1) * shard->n + i);
        }
    assert_true(same < shard->n / 4);
}

static void test_shards_are_parts(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    for (int partition = HM_PARTITION_SPLIT; partition <= HM_PARTITION_LABELS; partition++) {
        uint8_t met[TRAIN] = {0};
        for (unsigned rank = 0; rank < 10; rank++) {
            struct hm_shard shard;
            uint8_t own[TRAIN] = {0};
            unsigned label[HM_CLASSES] = {0}, n = 0, kinds = 0;
            assert_int_equal(
                hm_lenet5.shard(s.model, (enum hm_partition)partition, rank, 10, &shard, NULL),
                HM_OK);
            check_passes(&s, &shard, own);
            for (unsigned i = 0; i < TRAIN; i++) {
                assert_true(own[i] == 0 || own[i] == 3);
                n += own[i] == 3;
                met[i] = (uint8_t)(met[i] + own[i]);
                label[s.lenet5->train.label[i]] += own[i] == 3;
            }
            assert_int_equal(n, shard.n);
            for (unsigned c = 0; c < HM_CLASSES; c++)
                kinds += label[c] > 0;
            if (partition == HM_PARTITION_LABELS)
                assert_in_range(kinds, 1, 3);
            else
                assert_in_range(kinds, 8, 10);
        }
        for (unsigned i = 0; i < TRAIN; i++)
            assert_int_equal(met[i], 3);
    }
    close_scene(&s);
}

static void test_nodes_with_all_the_data_take_it_in_different_orders(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    struct hm_shard a, b;
    uint8_t met[TRAIN] = {0};
    unsigned same = 0;
    assert_int_equal(hm_lenet5.shard(s.model, HM_PARTITION_NONE, 0, 2, &a, NULL), HM_OK);
    assert_int_equal(hm_lenet5.shard(s.model, HM_PARTITION_NONE, 1, 2, &b, NULL), HM_OK);
    check_passes(&s, &a, met);
    check_passes(&s, &b, met);
    for (unsigned i = 0; i < TRAIN; i++) {
        assert_int_equal(met[i], 6);
        same += hm_lenet5_example(s.lenet5, &a, i) == hm_lenet5_example(s.lenet5, &b, i);
    }
    assert_true(same < 20);
    close_scene(&s);
}

/* ---- steps ---- */

/* The fused step, and grad followed by apply, end at the same bits. */
static void check_step(const struct hm_train_options *o)
{
    struct scene fused = open_scene(o), apart = open_scene(o);
    if (apart.model->read_floats)
        apart.step.read = malloc(apart.model->read_floats * sizeof(float));
    for (uint64_t i = 0; i < 40; i++) {
        fused.step.from = apart.step.from = i * BATCH; /* across the end of the shard */
        fused.step.t = apart.step.t = (double)(i * BATCH);
        hm_lenet5.step(fused.model, &fused.shard, &fused.step);
        apart.grad.n_spans = apart.grad.n_values = 0;
        hm_lenet5.grad(apart.model, &apart.shard, &apart.step, &apart.grad);
        assert_true(apart.grad.n_values <= apart.model->grad_max);
        hm_model_apply(apart.model, &apart.step, &apart.grad);
    }
    for (size_t i = 0; i < fused.weights.n; i++) {
        assert_true(hm_cell_get(&fused.weights.w[i]) == hm_cell_get(&apart.weights.w[i]));
        uint64_t used = hm_layout_block_mask(&fused.layout, (uint32_t)(i / HM_BLOCK));
        assert_true((used >> i % HM_BLOCK & 1) || hm_cell_get(&fused.weights.w[i]) == 0);
    }
    assert_true(fused.step.n_sampled > 100);
    assert_int_equal(fused.step.n_wiped, 0);
    close_scene(&fused);
    close_scene(&apart);
}

static void test_step_is_gradient_and_apply(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    check_step(&o);
    o.momentum_given = 1;
    check_step(&o); /* plain SGD */
    o.dropout = .3;
    o.compensate_given = o.adaptive = 1;
    o.compensate = 1;
    check_step(&o);
}

static double loss_after(const struct hm_train_options *o, unsigned steps)
{
    struct scene s = open_scene(o);
    struct hm_score score;
    for (uint64_t i = 0; i < steps; i++) {
        s.step.from = i * BATCH;
        s.step.t = (double)(i * BATCH);
        hm_lenet5.step(s.model, &s.shard, &s.step);
    }
    for (size_t i = 0; i < s.weights.n; i++)
        s.weights.b[i] = (uint32_t)(int32_t)lrintf(hm_cell_get(&s.weights.w[i]) * 0x1p13f);
    assert_int_equal(hm_lenet5.score(s.model, s.weights.b, 0, HM_TEST_SET, 3, &score, NULL), HM_OK);
    assert_int_equal(score.n, TEST);
    close_scene(&s);
    return score.loss;
}

static void test_it_learns(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    double before = loss_after(&o, 0), after = loss_after(&o, 300);
    if (!(before > 2 && after < .5 * before))
        fail_msg("loss %g, then %g", before, after);
    o.isa = "ref"; /* the same network, whatever computes it */
    double ref = loss_after(&o, 20);
    o.isa = NULL;
    double fast = loss_after(&o, 20);
    assert_true(fabs(ref - fast) < 1e-3);
}

/* A gradient in a mesh has the mean over its own examples: one of half the size is no half. */
static void test_short_batch_is_a_mean(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    float *whole = zeroed(s.lenet5->n * sizeof *whole);
    for (unsigned half = 0; half < 3; half++) {
        s.step.from = half == 2 ? BATCH / 2 : 0;
        s.step.n = half ? BATCH / 2 : BATCH;
        s.grad.n_spans = s.grad.n_values = 0;
        hm_lenet5.grad(s.model, &s.shard, &s.step, &s.grad);
        for (size_t i = 0; i < s.lenet5->n; i++)
            whole[i] += (half ? -.5f : 1.f) * s.grad.value[i];
    }
    for (size_t i = 0; i < s.lenet5->n; i++)
        assert_true(fabsf(whole[i]) < 1e-5f);
    free(whole);
    close_scene(&s);
}

/* ---- configuration ---- */

static void test_configuration_travels(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    o.lr = .005;
    o.schedule = "cosine";
    o.momentum = .5;
    o.momentum_given = 1;
    o.clip_given = 1;
    o.lambda = 1e-4;
    o.dropout = .25;
    o.staleness_aware = 1;
    struct scene s = open_scene(&o);
    struct hm_train_options plain = options();
    struct hm_model *joiner;
    struct hm_layout layout;
    assert_int_equal(hm_lenet5.open(&joiner, &plain, NULL, NULL), HM_OK);
    assert_int_equal(hm_lenet5.adopt(joiner, &s.config, NULL, 0, &layout, NULL), HM_OK);
    const struct hm_lenet5_model *theirs = hm_lenet5_of(joiner);
    assert_memory_equal(&theirs->optimiser, &s.lenet5->optimiser, sizeof theirs->optimiser);
    assert_true(theirs->optimiser.lr == .005 && theirs->optimiser.momentum == .5f);
    assert_true(theirs->optimiser.clip == 0 && !theirs->optimiser.nesterov);
    assert_true(theirs->dropout == .25f && theirs->base.batch == BATCH);
    assert_true(theirs->base.budget_steps == 10 * TRAIN);
    hm_lenet5.close(joiner);
    close_scene(&s);
}

/* What serves nodes whose labels differ does harm to others, and the other way round. */
static void test_rule_goes_by_the_partition(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    for (int partition = HM_PARTITION_NONE; partition <= HM_PARTITION_LABELS; partition++) {
        o.partition = (enum hm_partition)partition;
        o.combine_given = 0;
        struct scene s = open_scene(&o);
        bool apart = partition == HM_PARTITION_LABELS;
        assert_int_equal(s.model->combine.rule, apart ? HM_RULE_LOOKAHEAD : HM_RULE_HOLD);
        assert_true(s.lenet5->optimiser.clip == (apart ? 6 : 1));
        assert_true((s.lenet5->optimiser.warmup > 0) == apart);
        assert_true(s.model->momentum == .9f);
        close_scene(&s);
        o.combine_given = 1;
        o.combine.rule = HM_RULE_SUM;
        s = open_scene(&o);
        assert_int_equal(s.model->combine.rule, HM_RULE_SUM);
        close_scene(&s);
    }
}

/* Looking ahead, a gradient is that of other weights. */
static void test_gradient_ahead(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    float *there = zeroed(s.lenet5->n * sizeof *there);
    hm_cell *v = zeroed(s.lenet5->n * sizeof *v);
    for (size_t i = 0; i < s.lenet5->n; i++)
        hm_cell_set(&v[i], hm_cell_get(&s.weights.w[i]) * .25f);
    s.step.ahead = v;
    s.step.reach = 2;
    hm_lenet5.grad(s.model, &s.shard, &s.step, &s.grad);
    memcpy(there, s.grad.value, s.lenet5->n * sizeof *there);
    s.step.ahead = NULL;
    for (size_t i = 0; i < s.lenet5->n; i++)
        hm_cell_set(&s.weights.w[i], hm_cell_get(&s.weights.w[i]) * 1.5f);
    s.grad.n_spans = s.grad.n_values = 0;
    hm_lenet5.grad(s.model, &s.shard, &s.step, &s.grad);
    assert_memory_equal(there, s.grad.value, s.lenet5->n * sizeof *there);
    free(there);
    free(v);
    close_scene(&s);
}

static void test_refuses_what_it_cannot_do(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *says;
    } bad[] = {
        {"workload", "svm", "the mesh trains 'svm'"},
        {"channels", "2", "1 or 3"},
        {"channels", "3", "this node's have 1"},
        {"momentum", "1", "momentum"},
        {"clip", "-1", "clip"},
        {"schedule", "inverse", "t0"},
        {"schedule", "wavy", "constant, linear, step, cosine or inverse"},
        {"tensors", "conv1.w:6x25:-13", "which no lenet5 has"},
        {"tensors", "conv1.w:6x25", "is not name:ROWSxCOLS:GRID"},
        {"dropout", "1", "dropout"},
        {"batch", "1025", "batch"},
        {"combine", "vote", "sum, amplify, mean, hold, lookahead or saturate"},
        {"novelty", "1", "does not know it"},
    };
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hm_fields config = s.config;
        struct hm_layout layout;
        struct hm_err err = {""};
        hm_fields_set(&config, bad[i].name, "%s", bad[i].value);
        assert_int_not_equal(hm_lenet5.adopt(s.model, &config, NULL, 0, &layout, &err), HM_OK);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s = %s: \"%s\" says nothing of '%s'", bad[i].name, bad[i].value, err.text,
                     bad[i].says);
    }
    close_scene(&s);
}

static void test_refuses_other_images(void **state)
{
    (void)state;
    struct hm_model *model;
    struct hm_err err = {""};
    uint8_t idx[16 + 9] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3};
    uint8_t labels[9] = {0, 0, 8, 1, 0, 0, 0, 1, 5};
    struct hm_train_options o = options();
    o.data = NULL;
    o.train[o.n_train++] = temp_write("small", idx, sizeof idx);
    o.train[o.n_train++] = temp_write("small-labels", labels, sizeof labels);
    assert_int_equal(hm_lenet5.open(&model, &o, NULL, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "1 x 3 x 3"));
    assert_non_null(strstr(err.text, "1 x 28 x 28 or 3 x 32 x 32"));
}

/* ---- export ---- */

static void test_safetensors(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    size_t n;
    struct hm_err err = {""};
    const char *path = temp_path("net.safetensors");
    assert_int_equal(hm_lenet5.save(s.model, s.weights.b, 0, path, &err), HM_OK);
    uint8_t *bytes = temp_read(path, &n);
    uint64_t header;
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(n, 8 + header + 4 * 61706);
    bytes[8 + header - 1] = 0;
    assert_non_null(strstr((char *)bytes + 8, "\"conv2.weight\":{\"dtype\":\"F32\",\"shape\":[16,6,"
                                              "5,5],\"data_offsets\":[624,10224]}"));
    float first;
    memcpy(&first, bytes + 8 + header, 4);
    assert_true(first == hm_cell_get(&s.weights.w[0]));
    free(bytes);
    assert_int_equal(hm_lenet5.save(s.model, s.weights.b, 0, temp_path("net.onnx"), &err),
                     HM_EUSAGE);
    assert_non_null(strstr(err.text, ".safetensors"));
    close_scene(&s);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, temp_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_shuffle_is_a_permutation),
        CASE(test_shuffle_looks_random),
        CASE(test_shards_are_parts),
        CASE(test_nodes_with_all_the_data_take_it_in_different_orders),
        CASE(test_step_is_gradient_and_apply),
        CASE(test_it_learns),
        CASE(test_short_batch_is_a_mean),
        CASE(test_configuration_travels),
        CASE(test_rule_goes_by_the_partition),
        CASE(test_gradient_ahead),
        CASE(test_refuses_what_it_cannot_do),
        CASE(test_refuses_other_images),
        CASE(test_safetensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
