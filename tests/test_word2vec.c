/* The Word2Vec workload: words by number, subsampling, draws of negatives, what blocks are made of,
 * that a step is the gradient and its application, shards, configuration, and that it learns. */
#include "tests/temp_folder.h"

#include "models/word2vec.h"

#include <math.h>
#include <stdbool.h>

enum { WORDS = 30000, VOCAB = 200, TOPICS = 10 };

struct scene {
    struct hm_model *model;
    const struct hm_w2v_model *w2v;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_shard shard;
    struct hm_step step;
    struct hm_grad grad;
};

/* Lines of 1 to 30 words; words of a line are of one topic mostly, and by Zipf's law. */
static char *draw_text(uint64_t seed, unsigned n)
{
    char *text = malloc(n * 8), *at = text;
    struct hm_rng rng = hm_rng_seed(seed, 1);
    assert_non_null(text);
    for (unsigned done = 0; done < n;) {
        uint32_t topic = hm_rng_below(&rng, TOPICS), length = 1 + hm_rng_below(&rng, 30);
        for (uint32_t i = 0; i < length && done < n; i++, done++) {
            uint32_t z = (uint32_t)((double)(VOCAB / TOPICS) * pow(hm_rng_unit(&rng), 2));
            uint32_t of = hm_rng_below(&rng, 5) ? topic : hm_rng_below(&rng, TOPICS);
            at += sprintf(at, "%sw%u", i ? " " : "", z * TOPICS + of);
        }
        *at++ = '\n';
    }
    *at = 0;
    return text;
}

static struct hm_train_options options(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s", temp_path("text"));
    struct hm_train_options o = {
        .no_cache = 1, .threads = 1, .nodes = 1, .seed = 4, .dim = 24, .epochs = 3};
    o.sample = 1e-3;
    o.sample_given = 1;
    o.train[o.n_train++] = path;
    return o;
}

static int setup(void **state)
{
    int failed = temp_setup(state);
    char *text = draw_text(1, WORDS);
    temp_text("text", text);
    free(text);
    return failed;
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
    if (hm_word2vec.open(&s.model, o, NULL, &err) || hm_word2vec.found(s.model, &s.config, &err) ||
        hm_word2vec.adopt(s.model, &s.config, NULL, 0, &s.layout, &err) ||
        hm_weights_init(&s.weights, &s.layout, &err) ||
        hm_word2vec.shard(s.model, HM_PARTITION_NONE, 0, 1, &s.shard, &err))
        fail_msg("%s", err.text);
    s.w2v = hm_w2v_of(s.model);
    hm_word2vec.init(s.model, &s.weights);
    hm_weights_settle(&s.weights);
    s.step = (struct hm_step){
        .w = s.weights.w, .scale = 1, .t_per_step = 1, .scratch = zeroed(s.model->scratch_bytes)};
    s.grad.span = malloc(s.model->grad_max * sizeof *s.grad.span);
    s.grad.value = malloc(s.model->grad_max * sizeof *s.grad.value);
    return s;
}

static void close_scene(struct scene *s)
{
    free(s->step.scratch);
    free(s->grad.span);
    free(s->grad.value);
    hm_weights_fini(&s->weights);
    hm_word2vec.close(s->model);
}

/* Steps up to so many words in all. */
static void walk(struct scene *s, uint64_t to, unsigned chunk)
{
    while (s->step.from < to) {
        s->step.n = to - s->step.from < chunk ? to - s->step.from : chunk;
        s->step.t = (double)s->step.from;
        hm_word2vec.step(s->model, &s->shard, &s->step);
        s->step.from += s->step.n;
    }
}

static double loss_of(struct scene *s, enum hm_set set)
{
    struct hm_publish publish = {1, 0, 0};
    struct hm_extract_stats stats = {0};
    struct hm_delta delta;
    struct hm_score score;
    struct hm_err err;
    assert_int_equal(hm_delta_init(&delta, s->layout.n_blocks, &err), HM_OK);
    hm_kernels_ref.extract(&s->weights, 0, s->layout.n_blocks, &publish, &delta, &stats);
    hm_delta_fini(&delta);
    assert_int_equal(hm_word2vec.score(s->model, s->weights.b, 0, set, 2, &score, &err), HM_OK);
    return score.n ? score.loss : 0;
}

/* ---- words by number ---- */

static void test_words_by_number(void **state)
{
    (void)state;
    enum { N = 5000, MARK = 7 };
    uint32_t id[N];
    struct hm_rng rng = hm_rng_seed(3, 3);
    struct hm_w2v_text text;
    struct hm_err err;
    for (unsigned i = 0; i < N; i++)
        id[i] = i && id[i - 1] != MARK && hm_rng_below(&rng, 9) == 0 ? MARK : hm_rng_below(&rng, 7);
    assert_int_equal(hm_w2v_text_open(&text, id, N, MARK, &err), HM_OK);
    uint64_t number = 0;
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(hm_w2v_text_number(&text, i), number);
        if (id[i] == MARK)
            continue;
        assert_int_equal(hm_w2v_text_seek(&text, number), i);
        number++;
    }
    assert_int_equal(text.n_words, number);
    assert_int_equal(hm_w2v_text_number(&text, N), number);
    hm_w2v_text_close(&text);
}

/* ---- chances ---- */

static void test_chances_are_word2vecs(void **state)
{
    (void)state;
    enum { DRAWS = 2000000 };
    static const uint64_t count[] = {100000, 20000, 5000, 5000, 700, 30, 6, 5};
    enum { N = sizeof count / sizeof count[0] };
    struct hm_w2v_sampler sampler;
    struct hm_err err;
    struct hm_rng rng = hm_rng_seed(5, 5);
    uint64_t drawn[N] = {0}, kept[N] = {0};
    double total = 0, power = 0;
    for (unsigned i = 0; i < N; i++) {
        total += (double)count[i];
        power += pow((double)count[i], .75);
    }
    assert_int_equal(hm_w2v_sampler_open(&sampler, count, N, 1e-2, &err), HM_OK);
    for (unsigned i = 0; i < DRAWS; i++) {
        drawn[hm_w2v_draw(&sampler, hm_rng_next(&rng))]++;
        kept[i % N] += (uint64_t)hm_w2v_keeps(&sampler, 99, i, i % N);
    }
    for (unsigned i = 0; i < N; i++) {
        double p = pow((double)count[i], .75) / power, f = (double)count[i] / total;
        double keep = fmin(1, (sqrt(f / 1e-2) + 1) * 1e-2 / f), n = (double)DRAWS / N;
        assert_true(fabs((double)drawn[i] - p * DRAWS) < 5 * sqrt(p * DRAWS) + 1);
        assert_true(fabs((double)kept[i] - keep * n) <= 5 * sqrt(keep * (1 - keep) * n) + 1);
    }
    hm_w2v_sampler_close(&sampler);
    assert_int_equal(hm_w2v_sampler_open(&sampler, count, N, 0, &err), HM_OK);
    for (unsigned i = 0; i < N; i++)
        assert_true(hm_w2v_keeps(&sampler, i, i, i));
    hm_w2v_sampler_close(&sampler);
}

/* ---- runs ---- */

/* Whoever takes which pieces: the same words are left, and each sees the same neighbours. */
static void test_pieces_see_what_the_whole_sees(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    enum { MOST = 3000, REACH = 5 };
    uint32_t *room[2] = {malloc(hm_w2v_run_room(MOST, REACH) * 4),
                         malloc(hm_w2v_run_room(MOST, REACH) * 4)};
    struct hm_rng rng = hm_rng_seed(8, 8);
    const struct hm_w2v_text *text = &s.w2v->text;
    struct hm_w2v_run whole =
        hm_w2v_take(text, &s.w2v->sampler, 77, 1000, MOST, 0, text->n_words, MOST, REACH, room[0]);
    unsigned met = 0;
    assert_true(whole.n > MOST / 4 && whole.n < MOST);
    for (uint64_t from = 1000; from < 1000 + MOST;) {
        uint64_t left = 1000 + MOST - from;
        unsigned n = 1 + hm_rng_below(&rng, 90);
        n = n < left ? n : (unsigned)left;
        struct hm_w2v_run run =
            hm_w2v_take(text, &s.w2v->sampler, 77, from, n, 0, text->n_words, MOST, REACH, room[1]);
        for (unsigned i = 0; i < run.n; i++, met++)
            for (int off = -REACH; off <= REACH; off++) {
                bool same = run.line[(int)i + off] == run.line[i];
                assert_int_equal(same, whole.line[(int)met + off] == whole.line[met]);
                if (same)
                    assert_int_equal(run.word[(int)i + off], whole.word[(int)met + off]);
            }
        from += n;
    }
    assert_int_equal(met, whole.n);
    free(room[0]);
    free(room[1]);
    close_scene(&s);
}

/* ---- blocks ---- */

/* The weights with which a block counts pairs, against a plain count of them: positives within the
 * window and the line, negatives K / HM_W2V_SHARED for each positive that is another word. */
static void test_blocks_count_pairs(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    uint32_t *room = malloc(hm_w2v_run_room(400, 5) * 4), noise[HM_W2V_SHARED];
    struct hm_rng rng = hm_rng_seed(1, 2);
    struct hm_w2v_tables tables = hm_w2v_tables_of(s.w2v, s.weights.w);
    struct hm_w2v_run run = hm_w2v_take(&s.w2v->text, &s.w2v->sampler, 5, 50, 400, 0,
                                        s.w2v->text.n_words, 400, 5, room);
    static struct hm_w2v_place place;
    for (unsigned first = 0; first < run.n; first += HM_W2V_INPUTS) {
        const int window = 1 + (int)hm_rng_below(&rng, 5);
        for (unsigned n = 0; n < HM_W2V_SHARED; n++)
            noise[n] = hm_rng_below(&rng, 40);
        struct hm_w2v_draws draws = {(unsigned)window, noise};
        hm_w2v_prepare(&place, &s.w2v->shape, &tables, &run, first, &draws, .1f, NULL);
        const struct hm_w2v_block *b = &place.block;
        double weight[HM_W2V_INPUTS][HM_W2V_SHARED];
        for (unsigned i = 0; i < HM_W2V_INPUTS; i++)
            for (unsigned n = 0; n < HM_W2V_SHARED; n++)
                weight[i][n] = (double)b->count[i];
        for (uint32_t f = 0; f < b->n_fixes; f++)
            weight[b->fix[f].input][b->fix[f].negative] *= (double)b->fix[f].factor;
        for (unsigned i = 0; i < HM_W2V_INPUTS; i++)
            for (unsigned n = 0; n < HM_W2V_SHARED; n++) {
                const uint32_t *word = run.word + first + i, *line = run.line + first + i;
                double expected = 0;
                for (int off = -window; off <= window; off++)
                    expected +=
                        first + i < run.n && off && line[off] == line[0] && word[off] != noise[n];
                assert_true(fabs(weight[i][n] - expected) < 1e-5);
            }
    }
    free(room);
    close_scene(&s);
}

/* ---- steps ---- */

/* A batch is the gradient, all of it at the same weights, and its application. */
static void test_step_is_gradient_and_apply(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++)
        for (unsigned batch = 32; batch <= 512; batch *= 4) {
            struct hm_train_options o = options();
            o.batch = batch;
            o.cbow = kind == 1;
            o.hogbatch = kind == 2;
            struct scene a = open_scene(&o), b = open_scene(&o);
            a.step.from = b.step.from = WORDS - batch; /* across the end of a pass, in the end */
            for (int i = 0; i < 3; i++) {
                a.step.n = b.step.n = batch;
                a.step.t = b.step.t = (double)a.step.from;
                hm_word2vec.step(a.model, &a.shard, &a.step);
                b.grad.n_spans = b.grad.n_values = 0;
                b.grad.loss = 0;
                hm_word2vec.grad(b.model, &b.shard, &b.step, &b.grad);
                assert_true(b.grad.loss > 0);
                assert_true(b.grad.n_values <= b.model->grad_max);
                hm_model_apply(b.model, &b.step, &b.grad);
                a.step.from += batch - 3;
                b.step.from += batch - 3;
            }
            for (size_t i = 0; i < a.weights.n; i++)
                assert_true(hm_cell_get(&a.weights.w[i]) == hm_cell_get(&b.weights.w[i]));
            close_scene(&a);
            close_scene(&b);
        }
}

/* In chunks of any size it does the same work: only windows and negatives are drawn differently. */
static void test_it_learns(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct hm_train_options o = options();
        o.cbow = kind == 1;
        o.hogbatch = kind == 2;
        o.batch = kind == 3 ? 128 : 0;
        o.test_fraction = .1;
        struct scene s = open_scene(&o);
        double before = loss_of(&s, HM_TEST_SET), untrained = 6 * log(2);
        assert_true(fabs(before - untrained) < .25); /* some negatives are positives */
        walk(&s, 3 * s.model->n_train, o.batch ? o.batch : 1000);
        double test = loss_of(&s, HM_TEST_SET), train = loss_of(&s, HM_TRAIN_SET);
        print_message("kind %d: loss %.3f, trained %.3f, on the training text %.3f\n", kind, before,
                      test, train);
        assert_true(test < before - .3);
        assert_true(fabs(train - test) < .1);
        close_scene(&s);
    }
}

static void test_steps_repeat(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene a = open_scene(&o), b = open_scene(&o);
    walk(&a, 9000, 1000);
    walk(&b, 9000, 1000);
    for (size_t i = 0; i < a.weights.n; i++)
        assert_true(hm_cell_get(&a.weights.w[i]) == hm_cell_get(&b.weights.w[i]));
    close_scene(&a);
    close_scene(&b);
}

static void test_rate_falls_to_a_floor(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    double budget = (double)s.model->budget_steps;
    assert_int_equal(s.model->budget_steps, 3 * s.model->n_train);
    assert_true(fabs(hm_word2vec.rate(s.model, 0) - .025) < 1e-12);
    assert_true(fabs(hm_word2vec.rate(s.model, budget / 2) - .0125) < 1e-12);
    assert_true(fabs(hm_word2vec.rate(s.model, budget) - .025e-4) < 1e-12);
    assert_true(fabs(hm_word2vec.rate(s.model, 2 * budget) - .025e-4) < 1e-12);
    close_scene(&s);
}

/* As word2vec.c: input vectors within +-1/2 / dim, output vectors zero. */
static void test_first_weights(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    struct hm_w2v_tables tables = hm_w2v_tables_of(s.w2v, s.weights.w);
    const unsigned padded = s.w2v->shape.padded, dim = s.w2v->shape.dim;
    double most = 0, sum = 0;
    for (uint32_t r = 0; r < s.w2v->vocab->n; r++)
        for (unsigned k = 0; k < padded; k++) {
            double x = (double)hm_cell_get(&tables.in[r * padded + k]);
            assert_true(hm_cell_get(&tables.out[r * padded + k]) == 0);
            assert_true(k < dim || x == 0);
            most = fmax(most, fabs(x));
            sum += x;
        }
    const double grid = ldexp(1, s.w2v->layout.tensor[0].grid_exp);
    assert_true(.5 / dim >= grid);
    assert_true(most <= .5 / dim + grid / 2 && most > .5 / dim - grid);
    assert_true(fabs(sum) < 4); /* 5 deviations */
    close_scene(&s);
}

/* ---- shards ---- */

static void test_shards_are_parts(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    struct hm_shard part, all;
    struct hm_err err;
    uint64_t next = 0;
    for (unsigned rank = 0; rank < 7; rank++) {
        assert_int_equal(hm_word2vec.shard(s.model, HM_PARTITION_SPLIT, rank, 7, &part, &err), 0);
        assert_int_equal(hm_word2vec.shard(s.model, HM_PARTITION_NONE, rank, 7, &all, &err), 0);
        assert_int_equal(part.begin, next);
        assert_int_equal(all.begin, next);
        assert_int_equal(all.n, s.model->n_train);
        assert_in_range(part.n, WORDS / 7 - 40, WORDS / 7 + 40);
        uint64_t at = hm_w2v_text_seek(&s.w2v->text, part.begin);
        assert_true(!at || s.w2v->text.id[at - 1] == s.w2v->text.mark); /* a line begins */
        next += part.n;
    }
    assert_int_equal(next, s.model->n_train);
    assert_int_equal(hm_word2vec.shard(s.model, HM_PARTITION_LABELS, 0, 7, &part, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "no labels"));
    close_scene(&s);
}

static void test_held_out_part(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    o.test_fraction = .15;
    struct scene s = open_scene(&o);
    uint64_t all = s.model->n_train + s.model->n_test;
    assert_int_equal(all, s.w2v->train.n_words);
    assert_in_range(s.model->n_test, all * 15 / 100 - 40, all * 15 / 100 + 40);
    close_scene(&s);
}

/* ---- configuration ---- */

static void test_configuration_travels(void **state)
{
    (void)state;
    struct hm_train_options o = options(), theirs = options();
    o.window = 3;
    o.negative = 7;
    struct scene s = open_scene(&o);
    struct hm_model *joiner;
    struct hm_layout layout;
    struct hm_err err = {""};
    size_t n;
    theirs.n_train = 0; /* brings no text: the words come with the configuration */
    theirs.dim = 0;
    const uint8_t *bulk = hm_word2vec.bulk(s.model, &n);
    assert_int_equal(hm_word2vec.open(&joiner, &theirs, NULL, &err), HM_OK);
    assert_int_equal(hm_word2vec.adopt(joiner, &s.config, bulk, n, &layout, &err), HM_OK);
    const struct hm_w2v_model *w2v = hm_w2v_of(joiner);
    assert_memory_equal(&w2v->shape, &s.w2v->shape, sizeof w2v->shape);
    assert_memory_equal(&layout, &s.layout, sizeof layout);
    assert_string_equal(hm_vocab_word(w2v->vocab, 11), hm_vocab_word(s.w2v->vocab, 11));
    hm_word2vec.close(joiner);
    close_scene(&s);
}

static void test_refuses_another_vocabulary(void **state)
{
    (void)state;
    struct hm_train_options o = options(), theirs = options();
    struct scene s = open_scene(&o);
    struct hm_model *joiner;
    struct hm_layout layout;
    struct hm_fields wishes = {0};
    struct hm_err err = {""};
    char *text = draw_text(2, WORDS);
    theirs.train[0] = temp_text("other", text);
    free(text);
    assert_int_equal(hm_word2vec.open(&joiner, &theirs, NULL, &err), HM_OK);
    assert_int_equal(hm_word2vec.adopt(joiner, &s.config, NULL, 0, &layout, &err), HM_EREFUSED);
    assert_non_null(strstr(err.text, "field 'vocabulary'"));
    assert_non_null(strstr(err.text, "--vocab FILE"));
    hm_word2vec.insist(joiner, &wishes); /* so the mesh refuses it, too */
    assert_string_not_equal(hm_fields_get(&wishes, "vocabulary"),
                            hm_fields_get(&s.config, "vocabulary"));
    hm_word2vec.close(joiner);
    close_scene(&s);
}

static void test_refuses_what_it_cannot_do(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *says;
    } bad[] = {
        {"workload", "svm", "the mesh trains 'svm'"},
        {"dim", "0", "dim"},
        {"dim", "1001", "dim"},
        {"dim", "25", "which no word2vec has"},
        {"window", "33", "window"},
        {"negative", "0", "negative"},
        {"sample", "-1", "sample"},
        {"lr", "nan", "lr"},
        {"cbow", "2", "cbow"},
        {"vocabulary", "1234", "vocabulary"},
        {"tensors", "in:7x24:-18,out:7x24:-18", "vocabulary of"},
        {"tensors", "in:200x24:-18", "which no word2vec has"},
        {"combine", "lookahead", "no momentum"},
        {"batch", "8193", "batch"},
        {"novelty", "1", "does not know it"},
    };
    struct hm_train_options o = options();
    struct scene s = open_scene(&o);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hm_fields config = s.config;
        struct hm_layout layout;
        struct hm_err err = {""};
        hm_fields_set(&config, bad[i].name, "%s", bad[i].value);
        assert_int_not_equal(hm_word2vec.adopt(s.model, &config, NULL, 0, &layout, &err), HM_OK);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s = %s: \"%s\" says nothing of '%s'", bad[i].name, bad[i].value, err.text,
                     bad[i].says);
    }
    close_scene(&s);
}

static void check_refused(struct hm_train_options o, const char *says)
{
    struct hm_model *model;
    struct hm_err err = {""};
    assert_int_equal(hm_word2vec.open(&model, &o, NULL, &err), HM_EUSAGE);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" says nothing of '%s'", err.text, says);
}

static void test_refuses_options(void **state)
{
    (void)state;
    struct hm_train_options o = options();
    o.dim = 1001;
    check_refused(o, "--dim 1001: 1 to 1000");
    o = options();
    o.window = 33;
    check_refused(o, "--window 33: 1 to 32");
    o = options();
    o.negative = 33;
    check_refused(o, "--negative 33: 1 to 32");
    o = options();
    o.cbow = o.hogbatch = 1;
    check_refused(o, "--cbow has no --hogbatch");
    o = options();
    o.momentum_given = 1;
    check_refused(o, "--momentum");
    o = options();
    o.data = "images";
    check_refused(o, "--train FILE");
    o = options();
    o.isa = "abacus";
    check_refused(o, "--isa abacus");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, temp_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_words_by_number),
        CASE(test_chances_are_word2vecs),
        CASE(test_pieces_see_what_the_whole_sees),
        CASE(test_blocks_count_pairs),
        CASE(test_step_is_gradient_and_apply),
        CASE(test_it_learns),
        CASE(test_steps_repeat),
        CASE(test_rate_falls_to_a_floor),
        CASE(test_first_weights),
        CASE(test_shards_are_parts),
        CASE(test_held_out_part),
        CASE(test_configuration_travels),
        CASE(test_refuses_another_vocabulary),
        CASE(test_refuses_what_it_cannot_do),
        CASE(test_refuses_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
