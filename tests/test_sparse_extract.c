/* A flush and a receive on W and B: every kernel table equals the reference bit for bit, nothing
 * that is owed gets lost, and other threads may add meanwhile.
 *
 * HOGMESH_SEED=N repeats a random test, HOGMESH_FUZZ=N makes it N / 64 flushes long.
 */
#include "tests/sparse_scene.h"

#include "sparse/cell_vec.h"

#include <math.h>
#include <pthread.h>

#include <sys/mman.h>

/* ---- scenes ---- */

/* Tensors on unlike grids, with padded rows and a part of a block. */
static struct hm_weights open_weights(void)
{
    struct hm_layout layout;
    struct hm_weights weights;
    memset(&layout, 0, sizeof layout);
    assert_int_equal(hm_layout_add(&layout, "fine", 3, 100, -30, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "column", 70, 1, 4, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "usual", 20, 64, -10, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "finest", 1, 64, -60, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "coarsest", 1, 65, 60, NULL), HM_OK);
    assert_int_equal(hm_weights_init(&weights, &layout, NULL), HM_OK);
    return weights;
}

static struct hm_weights copy_of(const struct hm_weights *weights)
{
    struct hm_weights copy;
    assert_int_equal(hm_weights_init(&copy, &weights->layout, NULL), HM_OK);
    memcpy(copy.w, weights->w, weights->n * sizeof *copy.w);
    memcpy(copy.b, weights->b, weights->n * sizeof *copy.b);
    return copy;
}

static void assert_same_weights(const struct hm_weights *a, const struct hm_weights *b)
{
    assert_memory_equal(a->w, b->w, a->n * sizeof *a->w);
    assert_memory_equal(a->b, b->b, a->n * sizeof *a->b);
}

static float grid_at(const struct hm_weights *weights, size_t i)
{
    uint32_t block = (uint32_t)(i / HM_BLOCK);
    return hm_exp2i(hm_layout_tensor_of(&weights->layout, block)->grid_exp);
}

/* What stands in W beside B * grid, in grid units. */
static double owed(const struct hm_weights *weights, size_t i)
{
    double w = (double)hm_cell_get(&weights->w[i]) / (double)grid_at(weights, i);
    return w - (int32_t)weights->b[i];
}

struct weather {
    int32_t range; /* |B| */
    double spread; /* |W - B * grid| in grid units */
    int broken;    /* NaN, infinities and other monsters */
    int escaped;   /* B beyond its range, by what other nodes published */
};

static float monster(struct hm_rng *rng, float grid)
{
    static const float monsters[] = {NAN,   -NAN,   INFINITY, -INFINITY, 1e30f,  -1e30f,
                                     3e38f, -3e38f, -0.0f,    1e-45f,    -1e-38f};
    uint32_t n = hm_rng_below(rng, N_OF(monsters) + 3);
    if (n < N_OF(monsters))
        return monsters[n];
    return (float)(1 << 22) * grid * (n % 2 ? 1.0f : -2.0f);
}

static void blow(struct hm_weights *weights, struct hm_rng *rng, const struct weather *weather)
{
    static const int32_t beyond[] = {INT32_MIN, INT32_MAX,  1 << 23,      -(1 << 23),
                                     1 << 24,   -(1 << 24), HM_RANGE + 1, -HM_RANGE - 1};
    for (size_t i = 0; i < weights->n; i++) {
        uint32_t width = 2 * (uint32_t)weather->range + 1;
        int32_t b = (int32_t)hm_rng_below(rng, width) - weather->range;
        if (weather->escaped && !hm_rng_below(rng, 9))
            b = beyond[hm_rng_below(rng, N_OF(beyond))];
        float grid = grid_at(weights, i), d = 0;
        uint32_t dice = hm_rng_below(rng, 16);
        if (dice < 8)
            d = (float)((hm_rng_unit(rng) * 2 - 1) * weather->spread);
        else if (dice < 10) /* on the edges of rounding and of the dead zone */
            d = (float)((int)hm_rng_below(rng, 65) - 32) / 4;
        weights->b[i] = (uint32_t)b;
        hm_cell_set(&weights->w[i], ((float)b + d) * grid);
        if (weather->broken && !hm_rng_below(rng, 9))
            hm_cell_set(&weights->w[i], monster(rng, grid));
    }
}

static const struct weather weathers[] = {
    {100, 2, 0, 0},   {1000, 300, 0, 0},     {HM_RANGE, 3, 0, 0}, {HM_RANGE, 1e7, 0, 0},
    {1000, 10, 1, 0}, {HM_RANGE, 1e4, 1, 1}, {0, .6, 0, 0},       {HM_RANGE, 20, 0, 1},
};

static const float divisors[] = {1, 2, 4, 7.5f, 1.3f, 64};

static struct hm_publish random_publish(struct hm_rng *rng)
{
    float divisor = divisors[hm_rng_below(rng, N_OF(divisors))];
    /* Bounds of any size, as the grids are. */
    float least = hm_rng_below(rng, 3) ? 0 : hm_exp2i((int)hm_rng_below(rng, 60) - 50) * 1.3f;
    return (struct hm_publish){divisor, (int)hm_rng_below(rng, 2), least};
}

/* ---- extract ---- */

static void assert_same_offender(const struct hm_offender *a, const struct hm_offender *b)
{
    assert_int_equal(a->at, b->at);
    assert_memory_equal(&a->w, &b->w, sizeof a->w); /* NaN is equal to itself here */
    assert_int_equal(a->b, b->b);
}

static void assert_same_stats(const struct hm_extract_stats *a, const struct hm_extract_stats *b)
{
    assert_int_equal(a->n_nonfinite, b->n_nonfinite);
    assert_int_equal(a->n_clipped, b->n_clipped);
    assert_int_equal(a->n_leaps, b->n_leaps);
    assert_same_offender(&a->first_nonfinite, &b->first_nonfinite);
    assert_same_offender(&a->first_leap, &b->first_leap);
}

static void test_tables_agree(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1);
    uint64_t fuzz = from_environment("HOGMESH_FUZZ", 200000), times = fuzz / 64 + 1;
    print_message("%llu flushes; to repeat: HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu "
                  "test_sparse_extract\n",
                  (unsigned long long)times, (unsigned long long)seed, (unsigned long long)fuzz);
    struct hm_rng rng = hm_rng_seed(seed, 2);
    struct hm_weights before = open_weights();
    uint32_t n_blocks = before.layout.n_blocks;
    struct hm_delta expected = open_delta(n_blocks), delta = open_delta(n_blocks);
    for (uint64_t i = 0; i < times; i++) {
        struct hm_publish publish = random_publish(&rng);
        uint32_t from = hm_rng_below(&rng, 2) ? 0 : hm_rng_below(&rng, n_blocks);
        uint32_t to =
            hm_rng_below(&rng, 2) ? n_blocks : from + hm_rng_below(&rng, n_blocks - from + 1);
        blow(&before, &rng, &weathers[i % N_OF(weathers)]);
        struct hm_weights right = copy_of(&before);
        struct hm_extract_stats right_stats = {0};
        clear_delta(&expected);
        hm_kernels_ref.extract(&right, from, to, &publish, &expected, &right_stats);
        for_each_table(kernels)
        {
            struct hm_weights weights = copy_of(&before);
            struct hm_extract_stats stats = {0};
            clear_delta(&delta);
            kernels->extract(&weights, from, to, &publish, &delta, &stats);
            assert_same_delta(&delta, &expected);
            assert_same_weights(&weights, &right);
            assert_same_stats(&stats, &right_stats);
            hm_weights_fini(&weights);
        }
        hm_weights_fini(&right);
    }
    hm_delta_fini(&expected);
    hm_delta_fini(&delta);
    hm_weights_fini(&before);
}

/* What the contract says of one coordinate, in double. */
static void check_lane(const struct hm_weights *before, const struct hm_weights *after, size_t i,
                       int32_t q, const struct hm_publish *publish)
{
    float w = hm_cell_get(&before->w[i]), w_after = hm_cell_get(&after->w[i]);
    int32_t b = (int32_t)before->b[i];
    double grid = (double)grid_at(before, i), divisor = (double)publish->divisor;
    assert_int_equal(after->b[i], before->b[i] + (uint32_t)q);
    assert_in_range(q + 2 * HM_RANGE, 0, 4 * HM_RANGE);
    if (abs(b / 2) <= HM_RANGE / 2 && b != INT32_MIN)
        assert_true(abs(b + q) <= HM_RANGE || q == 0);
    else
        assert_true(q == 0 || (q < 0) == (b > 0));
    if (!isfinite(w)) {
        assert_int_equal(q, 0);
        assert_true(w_after == (float)b * grid_at(before, i));
        return;
    }
    double d = (double)w - (double)(float)b * grid, unit = divisor * grid;
    double error = fabs(d) * 0x1p-22 + fabs((double)w) * 0x1p-23;
    if (q)
        assert_true(fabs(d) >=
                    fmax(publish->dead_zone ? unit : unit / 2, (double)publish->least) - error);
    if (q && divisor > 1) { /* published times divisor plus what stays is what was owed */
        double stays = (double)w_after - ((double)b + q) * grid;
        double tolerance = error + fabs(q * unit) * 0x1p-21 + fabs((double)w_after) * 0x1p-23;
        assert_true(fabs(d - (q * unit + stays)) <= tolerance);
    } else {
        assert_memory_equal(&after->w[i], &before->w[i], sizeof w);
    }
    int free_to_go = fabs((double)b) + fabs(d / unit) + 1 < HM_RANGE;
    double slack = rint(2 * divisor) == 2 * divisor ? 0 : grid / 4;
    if (free_to_go &&
        fabs(d) >
            fmax(publish->dead_zone ? unit : unit / 2 + slack, (double)publish->least) + error)
        assert_true(fabs(q - d / unit) <= .5 + error / unit + fabs(d / unit) * 0x1p-21);
}

static void test_contract(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(1, 0);
    struct hm_weights before = open_weights();
    uint32_t n_blocks = before.layout.n_blocks;
    struct hm_delta delta = open_delta(n_blocks);
    for (int times = 0; times < 400; times++) {
        struct hm_publish publish = random_publish(&rng);
        blow(&before, &rng, &weathers[times % (int)N_OF(weathers)]);
        struct hm_weights after = copy_of(&before);
        struct hm_extract_stats stats = {0};
        clear_delta(&delta);
        hm_kernels_ref.extract(&after, 0, n_blocks, &publish, &delta, &stats);
        uint32_t listed = 0, n_nonzero = 0;
        for (uint32_t block = 0; block < n_blocks; block++) {
            int here = listed < delta.n_blocks && delta.block[listed] == block;
            for (unsigned j = 0; j < HM_BLOCK; j++) {
                int32_t q = here ? delta.q[listed][j] : 0;
                check_lane(&before, &after, (size_t)block * HM_BLOCK + j, q, &publish);
                n_nonzero += q != 0;
            }
            listed += (uint32_t)here;
        }
        assert_int_equal(listed, delta.n_blocks);
        assert_int_equal(n_nonzero, delta.n_nonzero);
        hm_weights_fini(&after);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&before);
}

/* One weight of a tensor on grid 1/1024, through every table. */
static void publishes(double w, int32_t b, struct hm_publish publish, int32_t q, double w_after,
                      uint64_t n_nonfinite, uint64_t n_clipped)
{
    struct hm_weights weights = open_weights();
    const struct hm_tensor *usual = &weights.layout.tensor[2];
    size_t i = hm_tensor_at(usual) + 5;
    struct hm_delta delta = open_delta(1);
    for_each_table(kernels)
    {
        struct hm_extract_stats stats = {0};
        clear_delta(&delta);
        weights.b[i] = (uint32_t)b;
        hm_cell_set(&weights.w[i], (float)w);
        kernels->extract(&weights, usual->block, usual->block + 1, &publish, &delta, &stats);
        assert_int_equal(delta.n_blocks, q != 0);
        if (q) {
            assert_int_equal(delta.q[0][5], q);
            assert_int_equal(delta.block[0], usual->block);
        }
        assert_int_equal(weights.b[i], (uint32_t)(b + q));
        assert_true((double)hm_cell_get(&weights.w[i]) == w_after);
        assert_int_equal(stats.n_nonfinite, n_nonfinite);
        assert_int_equal(stats.n_clipped, n_clipped);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

static void test_cases_by_hand(void **state)
{
    (void)state;
    const double g = 0x1p-10;
    const struct hm_publish final = {1, 0, 0}, dead = {1, 1, 0}, four = {4, 0, 0},
                            dead_four = {4, 1, 0};
    const int32_t most = HM_RANGE;
    publishes(.5 * g, 0, final, 0, .5 * g, 0, 0); /* half a unit stays */
    publishes(.51 * g, 0, final, 1, (double)(float)(.51 * g), 0, 0);
    publishes(-.51 * g, 0, final, -1, (double)(float)(-.51 * g), 0, 0);
    publishes(1.5 * g, 0, final, 2, 1.5 * g, 0, 0); /* to even */
    publishes(2.5 * g, 0, final, 2, 2.5 * g, 0, 0);
    publishes(.75 * g, 0, dead, 0, .75 * g, 0, 0);
    publishes(1 * g, 0, dead, 1, 1 * g, 0, 0);
    publishes(-1.25 * g, 0, dead, -1, -1.25 * g, 0, 0);
    publishes(12.25 * g, 10, four, 1, 9.25 * g, 0, 0); /* owed 2.25: one out, three back */
    publishes(12 * g, 10, four, 0, 12 * g, 0, 0);
    publishes(13.5 * g, 10, dead_four, 0, 13.5 * g, 0, 0);
    publishes(14 * g, 10, dead_four, 1, 11 * g, 0, 0);
    publishes((double)NAN, 77, four, 0, 77 * g, 1, 0);
    publishes((double)INFINITY, -77, dead, 0, -77 * g, 1, 0);
    publishes(0x1p99, 5, final, most - 5, 0x1p99, 0, 1);
    publishes(-0x1p99, 5, final, -most - 5, -0x1p99, 0, 1);
    publishes(0x1p99, -most, final, 2 * most, 0x1p99, 0, 1);
    publishes((most + 7) * g, most, final, 0, (most + 7) * g, 0, 1);
    publishes((most + 7) * g, most - 2, final, 2, (most + 7) * g, 0, 1);
    /* Others took B out: it is led back, never further out. */
    publishes((most + 9) * g, most + 5, final, 0, (most + 9) * g, 0, 1);
    publishes((most + 1) * g, most + 5, final, -4, (most + 1) * g, 0, 0);
    publishes(-0x1p99, 4 * most, final, -2 * most, -0x1p99, 0, 1);
}

/* The first of each kind is named as it was found, also when others follow. */
static void test_offenders_are_named(void **state)
{
    (void)state;
    const float g = 0x1p-10f;
    struct hm_weights before = open_weights();
    size_t at = hm_tensor_at(&before.layout.tensor[2]);
    const struct {
        size_t i;
        int32_t b;
        float w;
    } scene[] = {
        {1, HM_RANGE - 1, (HM_RANGE + 3) * g},                   /* creeps over the end: no leap */
        {2, HM_RANGE / 2 + 1, (HM_RANGE / 2 + 1 + HM_LEAP) * g}, /* as far as is no leap */
        {3, HM_RANGE / 2, (HM_RANGE / 2 + HM_LEAP) * g},         /* far, but stays inside */
        {70, 5, NAN},                                            /* the first that is not finite */
        {71, -HM_RANGE, (HM_LEAP - HM_RANGE - 1e6f) * g},        /* inside */
        {130, HM_RANGE / 2 - 1, (HM_RANGE + 2) * g},             /* the first leap */
        {131, 7, 1e30f},
        {400, 0, -INFINITY},
    };
    for (size_t k = 0; k < N_OF(scene); k++) {
        before.b[at + scene[k].i] = (uint32_t)scene[k].b;
        hm_cell_set(&before.w[at + scene[k].i], scene[k].w);
    }
    struct hm_delta delta = open_delta(before.layout.n_blocks);
    for_each_table(kernels)
    {
        struct hm_weights weights = copy_of(&before);
        struct hm_extract_stats stats = {0};
        clear_delta(&delta);
        kernels->extract(&weights, 0, weights.layout.n_blocks, &(struct hm_publish){1, 1, 0},
                         &delta, &stats);
        assert_int_equal(stats.n_nonfinite, 2);
        assert_int_equal(stats.n_clipped, 4);
        assert_int_equal(stats.n_leaps, 2);
        assert_int_equal(stats.first_nonfinite.at, at + 70);
        assert_true(isnan(stats.first_nonfinite.w));
        assert_int_equal(stats.first_nonfinite.b, 5);
        assert_int_equal(stats.first_leap.at, at + 130);
        assert_true(stats.first_leap.w == (HM_RANGE + 2) * g);
        assert_int_equal(stats.first_leap.b, HM_RANGE / 2 - 1);
        hm_weights_fini(&weights);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&before);
}

/* With divisor 1 a flush takes nothing back: W may as well be read-only. */
static void test_divisor_1_does_not_write_w(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(2, 0);
    struct hm_weights weights = open_weights();
    struct hm_delta delta = open_delta(weights.layout.n_blocks);
    hm_cell *own = weights.w;
    size_t bytes = weights.n * sizeof *own;
    for (size_t i = 0; i < N_OF(weathers); i++) {
        if (weathers[i].broken)
            continue;
        blow(&weights, &rng, &weathers[i]);
        void *locked =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(locked != MAP_FAILED);
        memcpy(locked, own, bytes);
        assert_int_equal(mprotect(locked, bytes, PROT_READ), 0);
        for_each_table(kernels)
        {
            struct hm_extract_stats stats = {0};
            struct hm_weights flushed = copy_of(&weights);
            hm_cell *freed = flushed.w;
            flushed.w = locked;
            clear_delta(&delta);
            kernels->extract(&flushed, 0, weights.layout.n_blocks, &(struct hm_publish){1, 0, 0},
                             &delta, &stats);
            assert_true(delta.n_blocks > 0);
            flushed.w = freed;
            hm_weights_fini(&flushed);
        }
        munmap(locked, bytes);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

/* Flushes of a node that has stopped: they come to an end, and leave at most half of what one unit
 * of q stands for. Odd divisors get an allowance for the rounding of W. */
static void test_final_flushes_end(void **state)
{
    (void)state;
    static const float odd[] = {1, 2, 3, 7.5f, 64, 1.3f, 2.7f, 7.45f, 9.99f, 1000.1f};
    struct hm_rng rng = hm_rng_seed(3, 0);
    struct hm_weights weights = open_weights();
    uint32_t n_blocks = weights.layout.n_blocks;
    struct hm_delta delta = open_delta(n_blocks);
    for (int times = 0; times < 1000; times++) {
        struct hm_publish final = {odd[times % (int)N_OF(odd)], 0, 0};
        struct hm_extract_stats stats = {0};
        int32_t range = HM_RANGE >> hm_rng_below(&rng, 22);
        blow(&weights, &rng, &(struct weather){range - range / 16, 1000, 0, 0});
        int rounds = 0;
        do {
            clear_delta(&delta);
            hm_kernels_at(0)->extract(&weights, 0, n_blocks, &final, &delta, &stats);
        } while (delta.n_blocks && ++rounds < 20);
        assert_in_range(rounds, 1, 4 + final.divisor);
        float most =
            final.divisor / 2 + (roundf(final.divisor * 2) == final.divisor * 2 ? 0 : .25f);
        if (!stats.n_clipped)
            for (size_t i = 0; i < weights.n; i++)
                assert_true(fabs(owed(&weights, i)) <= (double)most * (1 + 0x1p-23));
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

/* ---- apply ---- */

static void test_apply_agrees(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(4, 0);
    struct hm_weights before = open_weights();
    uint32_t n_blocks = before.layout.n_blocks;
    struct hm_delta delta = open_delta(n_blocks);
    for (int times = 0; times < 1000; times++) {
        blow(&before, &rng, &weathers[times % (int)N_OF(weathers)]);
        list_range(&delta, &rng, 0, n_blocks, 1 + hm_rng_below(&rng, 4), 64, 23);
        struct hm_weights right = copy_of(&before);
        uint64_t right_sampled = 3, right_wiped = 4;
        hm_kernels_ref.apply(&delta, &right, &right_sampled, &right_wiped);
        for_each_table(kernels)
        {
            uint64_t n_sampled = 3, n_wiped = 4;
            struct hm_weights weights = copy_of(&before);
            kernels->apply(&delta, &weights, &n_sampled, &n_wiped);
            for (size_t i = 0; i < weights.n; i++) { /* sums with NaN are NaN, whichever */
                float a = hm_cell_get(&weights.w[i]), b = hm_cell_get(&right.w[i]);
                assert_true((isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a));
            }
            assert_memory_equal(weights.b, right.b, weights.n * sizeof *weights.b);
            assert_int_equal(n_sampled, right_sampled);
            hm_weights_fini(&weights);
        }
        hm_weights_fini(&right);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&before);
}

/* Every 16th listed block is metered; which one comes first depends on the delta. */
static void test_apply_adds_and_meters(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(5, 0);
    struct hm_weights weights = open_weights();
    uint32_t n_blocks = weights.layout.n_blocks;
    struct hm_delta delta = open_delta(n_blocks);
    for_each_table(kernels)
    {
        for (int times = 0; times < 50; times++) {
            blow(&weights, &rng, &(struct weather){1000, 0, 0, 0});
            hm_weights_settle(&weights);
            struct hm_weights before = copy_of(&weights);
            list_range(&delta, &rng, 0, n_blocks, 1, 64, 10);
            uint64_t n_sampled = 0, n_wiped = 0, expected = 0;
            kernels->apply(&delta, &weights, &n_sampled, &n_wiped);
            for (uint32_t i = 0; i < delta.n_blocks; i++)
                for (unsigned j = 0; j < HM_BLOCK; j++) {
                    size_t at = (size_t)delta.block[i] * HM_BLOCK + j;
                    assert_int_equal(weights.b[at], before.b[at] + (uint32_t)delta.q[i][j]);
                    expected += (i + delta.n_nonzero) % 16 == 0 && delta.q[i][j];
                }
            hm_weights_settle(&before);
            for (size_t i = 0; i < weights.n; i++)
                assert_true(owed(&weights, i) == 0);
            assert_int_equal(n_sampled, expected);
            assert_int_equal(n_wiped, 0);
            hm_weights_fini(&before);
        }
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

static void test_apply_wraps(void **state)
{
    (void)state;
    static const struct {
        uint32_t b;
        int32_t q;
        uint32_t sum;
    } row[] = {
        {0x7fffffff, 1, 0x80000000}, {0x80000000, -1, 0x7fffffff},      {0xffffffff, 1, 0},
        {0, -1, 0xffffffff},         {0x7fffffff, 1 << 23, 0x807fffff},
    };
    struct hm_weights weights = open_weights();
    struct hm_delta delta = open_delta(1);
    for (size_t r = 0; r < N_OF(row); r++)
        for_each_table(kernels)
        {
            uint64_t n_sampled = 0, n_wiped = 0;
            delta.n_blocks = 1;
            delta.n_nonzero = HM_BLOCK;
            delta.block[0] = 0;
            for (unsigned j = 0; j < HM_BLOCK; j++) {
                delta.q[0][j] = row[r].q;
                weights.b[j] = row[r].b;
            }
            kernels->apply(&delta, &weights, &n_sampled, &n_wiped);
            for (unsigned j = 0; j < HM_BLOCK; j++)
                assert_int_equal(weights.b[j], row[r].sum);
        }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

/* 16 lanes without a change are not written: the cache line stays with whom it is, and no add of
 * his is lost. An add of nothing would make this signalling NaN a quiet one. */
static void test_apply_leaves_idle_lanes_alone(void **state)
{
    (void)state;
    const uint32_t signalling = 0x7f800001;
    struct hm_weights weights = open_weights();
    struct hm_delta delta = open_delta(1);
    for_each_table(kernels) for (unsigned busy = 0; busy < 4; busy++)
    {
        uint64_t n_sampled = 0, n_wiped = 0;
        for (unsigned j = 0; j < HM_BLOCK; j++)
            memcpy(&weights.w[j], &signalling, sizeof signalling);
        memset(delta.q[0], 0, sizeof delta.q[0]);
        delta.n_blocks = delta.n_nonzero = 1;
        delta.block[0] = 0;
        delta.q[0][16 * busy + 3] = 1;
        kernels->apply(&delta, &weights, &n_sampled, &n_wiped);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            if (j / 16 != busy)
                assert_memory_equal(&weights.w[j], &signalling, sizeof signalling);
    }
    hm_delta_fini(&delta);
    hm_weights_fini(&weights);
}

/* ---- other threads ---- */

enum { RACE_BLOCKS = 1024, RACE_N = RACE_BLOCKS * HM_BLOCK };

struct worker {
    hm_cell *w;
    float u;
    atomic_int stop;
    atomic_uint passes;
};

static void *add_again_and_again(void *context)
{
    struct worker *worker = context;
    float u[HM_BLOCK];
    for (unsigned j = 0; j < HM_BLOCK; j++)
        u[j] = worker->u;
    /* Relaxed: it only ends the loop; joining the thread orders the rest. */
    while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
        for (size_t i = 0; i < RACE_N; i += HM_BLOCK)
            for (unsigned g = 0; g < HM_BLOCK; g += 16)
                hm_cells_add(&worker->w[i + g], &u[g], 16);
        /* Relaxed: it only says when there was enough to lose. */
        atomic_fetch_add_explicit(&worker->passes, 1, memory_order_relaxed);
    }
    return NULL;
}

static int enough(struct worker *worker)
{
    return atomic_load_explicit(&worker->passes, memory_order_relaxed) >= 1000;
}

/* Adds up what `delta` did to each weight: `times` its coordinates. */
static void note(const struct hm_delta *delta, int times, double *sum, double *moved)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            size_t at = (size_t)delta->block[i] * HM_BLOCK + j;
            sum[at] += times * delta->q[i][j];
            moved[at] += abs(delta->q[i][j]);
        }
}

/* A worker adds 1/16 unit to all weights, over and over, while this thread flushes and receives.
 * All sums are exact, so that what is missing at the end was lost to races: up to .0013 where both
 * have a processor to themselves, less where they share; .010 to .012 if a flush works on a copy of
 * W and stores that back. */
static void test_adds_of_others_survive(void **state)
{
    (void)state;
    static double taken[RACE_N], moved[RACE_N];
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_rng rng = hm_rng_seed(6, 0);
    memset(&layout, 0, sizeof layout);
    assert_int_equal(hm_layout_add(&layout, "raced", 1, RACE_N, 0, NULL), HM_OK);
    struct hm_delta own = open_delta(RACE_BLOCKS), other = open_delta(RACE_BLOCKS);
    for_each_table(kernels)
    {
        assert_int_equal(hm_weights_init(&weights, &layout, NULL), HM_OK);
        struct worker worker = {.w = weights.w, .u = .0625f};
        uint64_t n_sampled = 0, n_wiped = 0;
        memset(taken, 0, sizeof taken);
        memset(moved, 0, sizeof moved);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, add_again_and_again, &worker), 0);
        for (int round = 0; round < 300 || (!enough(&worker) && round < 20000); round++) {
            struct hm_extract_stats stats = {0};
            clear_delta(&own);
            kernels->extract(&weights, 0, RACE_BLOCKS, &(struct hm_publish){2, 1, 0}, &own, &stats);
            note(&own, 2, taken, moved); /* published, and taken back */
            list_range(&other, &rng, 0, RACE_BLOCKS, 4, 64, 2);
            note(&other, 0, taken, moved);
            kernels->apply(&other, &weights, &n_sampled, &n_wiped);
            assert_int_equal(stats.n_nonfinite + stats.n_clipped, 0);
        }
        atomic_store_explicit(&worker.stop, 1, memory_order_relaxed);
        pthread_join(thread, NULL);
        double each = worker.passes * .0625, lost = 0, all = 0;
        for (size_t i = 0; i < RACE_N; i++) {
            lost += fabs(each - taken[i] - owed(&weights, i));
            all += each + moved[i];
        }
        print_message("%s: %u passes, %.1e of what was added is lost\n", kernels->name,
                      worker.passes, lost / all);
        assert_true(worker.passes > 0);
        assert_true(lost <= 4e-3 * all);
        assert_true((double)n_wiped <= (double)n_sampled * 1e-2);
        hm_weights_fini(&weights);
    }
    hm_delta_fini(&own);
    hm_delta_fini(&other);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_agree),
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_cases_by_hand),
        cmocka_unit_test(test_offenders_are_named),
        cmocka_unit_test(test_divisor_1_does_not_write_w),
        cmocka_unit_test(test_final_flushes_end),
        cmocka_unit_test(test_apply_agrees),
        cmocka_unit_test(test_apply_adds_and_meters),
        cmocka_unit_test(test_apply_wraps),
        cmocka_unit_test(test_apply_leaves_idle_lanes_alone),
        cmocka_unit_test(test_adds_of_others_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
