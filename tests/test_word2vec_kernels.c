/* Word2Vec's blocks: every table against the reference, the reference against finite differences of
 * its loss and against the definition of the loss, and adds in place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/word2vec_check.h"

static void test_tables_agree_with_the_reference(void **state)
{
    (void)state;
    for (unsigned k = 0; hm_w2v_kernels_at(k); k++) {
        char worst[160];
        double error = w2v_error_of(hm_w2v_kernels_at(k), worst);
        print_message("%s: %s is off by %.2g\n", hm_w2v_kernels_at(k)->name, worst, error);
        if (!(error <= W2V_TOLERANCE))
            fail_msg("%s: %s: off by %g", hm_w2v_kernels_at(k)->name, worst, error);
    }
}

/* ---- finite differences ---- */

static const struct hm_w2v_kernels *ref(void)
{
    return hm_w2v_kernels_find("ref");
}

/* The loss after a step of d along cell `at`. */
static double loss_at(struct w2v_scene *s, size_t at, float d)
{
    float w = hm_cell_get(s->w + at);
    hm_cell_set(s->w + at, w + d);
    w2v_run(s, ref());
    hm_cell_set(s->w + at, w);
    return s->loss;
}

/* Words and negatives that all differ, so that each row has one part in the loss. */
static void make_different(struct w2v_scene *s)
{
    unsigned band = HM_W2V_INPUTS + 2 * s->block.window;
    for (unsigned j = 0; j < band; j++)
        s->word[j] = s->word[j] == W2V_ROWS ? W2V_ROWS : j;
    for (unsigned i = 0; i < HM_W2V_CENTRED_MAX; i++)
        s->noise[i] = band + i % (W2V_ROWS - band);
}

/* By what the gradient of row r, as added, exceeds the derivative of the loss: only some negatives
 * move, so much further; with CBOW the words of a window each move by the whole gradient. */
static double excess(const struct w2v_scene *s, int out, uint32_t r, unsigned input)
{
    const struct hm_w2v_block *b = &s->block;
    unsigned band = HM_W2V_INPUTS + 2 * b->window;
    if (out && !b->centred && r >= band)
        return r < band + HM_W2V_UPDATED ? HM_W2V_SHARED / HM_W2V_UPDATED : 0;
    double n = 0;
    for (unsigned m = 0; m < 2 * b->window; m++)
        n += b->mask ? (double)s->mask[input * 2 * b->window + m] : 1;
    return b->cbow && !out ? n : 1;
}

static void check_gradient(const struct w2v_kind *kind, int holes, unsigned seed)
{
    enum { DIM = 6, WINDOW = 2, INPUT = 5 };
    const float d = 1e-2f;
    struct w2v_scene s = w2v_scene(kind, DIM, WINDOW, kind->centred ? 3 : 5, holes, seed);
    make_different(&s);
    for (unsigned i = 0; kind->cbow && i < HM_W2V_INPUTS; i++)
        s.block.count[i] = i == INPUT; /* the windows of others overlap with its own */
    w2v_run(&s, ref());
    float *g = w2v_zeroed(w2v_cells(&s) * sizeof *g);
    memcpy(g, (void *)s.sum, w2v_cells(&s) * sizeof *g);
    for (int out = 0; out < 2; out++)
        for (uint32_t r = 0; r < W2V_ROWS; r++)
            for (unsigned k = 0; k < DIM; k++) {
                size_t at = (size_t)(w2v_row(&s, s.w, out, r) - s.w) + k;
                double slope = (loss_at(&s, at, d) - loss_at(&s, at, -d)) / (2 * (double)d);
                double expected = slope * excess(&s, out, r, INPUT);
                if (fabs(expected - (double)g[at]) > 2e-3 * fmax(1, fabs(expected)))
                    fail_msg("%s, seed %u: table %d, row %u, column %u: gradient %g, difference %g",
                             kind->name, seed, out, r, k, (double)g[at], expected);
            }
    free(g);
    w2v_close(&s);
}

static void test_reference_is_the_gradient_of_its_loss(void **state)
{
    (void)state;
    for (unsigned k = 0; k < W2V_KINDS; k++)
        for (unsigned seed = 1; seed <= 4; seed++)
            check_gradient(&w2v_kind[k], seed % 2, seed);
}

/* ---- the loss ---- */

static double dot(const struct w2v_scene *s, uint32_t in, uint32_t out)
{
    const hm_cell *x = w2v_row(s, s->w, 0, in), *y = w2v_row(s, s->w, 1, out);
    double sum = 0;
    for (unsigned k = 0; k < s->block.dim; k++)
        sum += (double)hm_cell_get(x + k) * (double)hm_cell_get(y + k);
    return sum;
}

/* A word alone in its line with one other: K negatives for one pair each. */
static void test_loss_is_that_of_negative_sampling(void **state)
{
    (void)state;
    struct w2v_scene s = w2v_scene(&w2v_kind[0], 20, 1, 5, 0, 3);
    s.block.n_fixes = 0;
    s.block.mask = s.mask;
    memset(s.mask, 0, sizeof s.mask);
    memset(s.block.count, 0, sizeof s.block.count);
    s.mask[0 * 2 + 1] = s.mask[1 * 2 + 0] = 1; /* words 0 and 1 */
    s.block.count[0] = s.block.count[1] = 1;
    w2v_run(&s, ref());
    double expected = 0;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t in = s.word[s.block.window + i], out = s.word[s.block.window + 1 - i];
        expected += log1p(exp(-dot(&s, in, out)));
        for (unsigned n = 0; n < HM_W2V_SHARED; n++)
            expected += 5. / HM_W2V_SHARED * log1p(exp(dot(&s, in, s.noise[n])));
    }
    assert_true(fabs(s.loss - expected) <= 1e-6 * expected);
    for (uint32_t r = 0; r < W2V_ROWS; r++) {
        int moves = r == s.word[s.block.window] || r == s.word[s.block.window + 1];
        assert_int_equal(hm_cell_get(w2v_row(&s, s.sum, 0, r)) != 0, moves);
    }
    w2v_close(&s);
}

/* ---- adds ---- */

/* In place, a row that is met twice gains both parts, and the rate scales what is gained. */
static void test_adds_in_place(void **state)
{
    (void)state;
    const float rate = .05f;
    for (unsigned kind = 0; kind < 2; kind++)
        for (unsigned k = 0; hm_w2v_kernels_at(k); k++) {
            struct w2v_scene s = w2v_scene(&w2v_kind[kind], 100, 3, 5, 1, 9);
            struct hm_w2v_block *b = &s.block;
            w2v_run(&s, ref());
            size_t n = w2v_cells(&s);
            float *before = w2v_zeroed(n * sizeof *before);
            memcpy(before, (void *)s.w, n * sizeof *before);
            void *scratch = w2v_zeroed(hm_w2v_scratch_bytes(b->padded, b->window, 5, 0));
            b->mask = s.mask;
            b->fix = s.fix;
            b->factor = rate;
            w2v_aim(&s, s.w);
            hm_w2v_kernels_at(k)->block(b, scratch);
            for (size_t i = 0; i < n; i++) {
                double gained = (double)hm_cell_get(s.w + i) - (double)before[i];
                assert_true(fabs(gained + (double)rate * (double)hm_cell_get(s.sum + i)) < 2e-5);
            }
            free(before);
            free(scratch);
            w2v_close(&s);
        }
}

/* Padding is zero and stays so. */
static void test_padding_stays_zero(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < W2V_KINDS; kind++)
        for (unsigned k = 0; hm_w2v_kernels_at(k); k++) {
            struct w2v_scene s = w2v_scene(&w2v_kind[kind], 37, 4, 5, 0, 2);
            w2v_run(&s, hm_w2v_kernels_at(k));
            for (size_t r = 0; r < 2 * W2V_ROWS; r++)
                for (unsigned c = 37; c < s.stride; c++)
                    assert_true(hm_cell_get(s.sum + r * s.stride + c) == 0);
            w2v_close(&s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_agree_with_the_reference),
        cmocka_unit_test(test_reference_is_the_gradient_of_its_loss),
        cmocka_unit_test(test_loss_is_that_of_negative_sampling),
        cmocka_unit_test(test_adds_in_place),
        cmocka_unit_test(test_padding_stays_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
