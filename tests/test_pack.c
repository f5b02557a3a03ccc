/* Bodies of DELTA: packing, LZ4 and what a receiver refuses.
 *
 * HOGMESH_SEED=N repeats a random test, HOGMESH_FUZZ=N sets its number of mutations.
 */
#include "tests/golden.h"

#include "protocol/wire.h"
#include "sparse/digest.h"

#include <lz4.h>

#define N_OF(array) (sizeof(array) / sizeof *(array))

static const struct hm_kernels *const kernels = &hm_kernels_ref;

/* A model, a delta of it and the message that carries the delta. */
struct scene {
    struct hm_layout layout;
    struct hm_delta delta, read;
    struct hm_delta_head head;
    uint8_t *body, *scratch;
    size_t body_n;
};

static void add(struct scene *s, const char *name, uint32_t rows, uint32_t cols)
{
    struct hm_err err;
    assert_int_equal(hm_layout_add(&s->layout, name, rows, cols, -10, &err), HM_OK);
}

static void open_scene(struct scene *s)
{
    uint32_t n_blocks = s->layout.n_blocks;
    size_t body_max = hm_pack_bound(n_blocks, n_blocks);
    assert_int_equal(hm_delta_init(&s->delta, n_blocks, NULL), HM_OK);
    assert_int_equal(hm_delta_init(&s->read, n_blocks, NULL), HM_OK);
    s->body = malloc(body_max < HM_PAYLOAD_MAX ? HM_PAYLOAD_MAX + 1 : body_max);
    s->scratch = malloc(HM_RAW_MAX);
    assert_non_null(s->body);
    assert_non_null(s->scratch);
}

/* Tensors of all kinds: padded rows, a column, whole blocks. */
static void open_model(struct scene *s)
{
    memset(s, 0, sizeof *s);
    add(s, "padded", 3, 5);
    add(s, "column", 70, 1);
    add(s, "rows", 40, 100);
    add(s, "blocks", 64, 64);
    open_scene(s);
}

static void close_model(struct scene *s)
{
    hm_delta_fini(&s->delta);
    hm_delta_fini(&s->read);
    free(s->body);
    free(s->scratch);
}

static void clear(struct scene *s)
{
    s->delta.n_blocks = s->delta.n_nonzero = 0;
}

/* Lists `block` with the values that `value` gives for its weights. */
static void list(struct scene *s, uint32_t block, int32_t (*value)(void *context, unsigned lane),
                 void *context)
{
    uint64_t mask = hm_layout_block_mask(&s->layout, block);
    int32_t *q = s->delta.q[s->delta.n_blocks];
    uint32_t n = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        q[j] = mask >> j & 1 ? value(context, j) : 0;
        n += q[j] != 0;
    }
    if (n == 0)
        return;
    s->delta.block[s->delta.n_blocks++] = block;
    s->delta.n_nonzero += n;
}

struct dice {
    struct hm_rng rng;
    uint32_t of_16; /* so many of 16 weights change, */
    unsigned bits;  /* by numbers of so many bits */
};

static int32_t throw(void *context, unsigned lane)
{
    struct dice *dice = context;
    (void)lane;
    if (hm_rng_below(&dice->rng, 16) >= dice->of_16)
        return 0;
    int32_t q = 1 + (int32_t)hm_rng_below(&dice->rng, 1u << dice->bits);
    return hm_rng_below(&dice->rng, 2) ? q : -q;
}

static void throw_delta(struct scene *s, struct dice *dice)
{
    clear(s);
    dice->of_16 = 1 + hm_rng_below(&dice->rng, 16);
    dice->bits = hm_rng_below(&dice->rng, 20);
    for (uint32_t block = 0; block < s->layout.n_blocks; block++)
        if (hm_rng_below(&dice->rng, 4))
            list(s, block, throw, dice);
}

static void pack_range(struct scene *s, uint32_t block, uint32_t n_blocks)
{
    s->head = (struct hm_delta_head){
        .block = block, .n_blocks = n_blocks, .n_nonzero = s->delta.n_nonzero};
    s->body_n = hm_pack(kernels, &s->delta, block, n_blocks, s->body, s->scratch, &s->head.encoding,
                        &s->head.raw_n);
}

static void pack(struct scene *s)
{
    pack_range(s, 0, s->layout.n_blocks);
}

/* Unpacks from a copy of exactly the body's size, so that the sanitizers see a read past its end.
 */
static int unpack(struct scene *s, const struct hm_delta_head *head, const uint8_t *body, size_t n)
{
    uint8_t *copy = calloc(1, n);
    assert_true(copy || n == 0);
    if (n)
        memcpy(copy, body, n);
    int refused = hm_unpack(kernels, &s->layout, head, copy, n, s->scratch, &s->read);
    free(copy);
    if (refused) {
        assert_int_equal(refused, -1);
        assert_int_equal(s->read.n_blocks, 0);
        assert_int_equal(s->read.n_nonzero, 0);
    }
    return refused;
}

static int unpack_head(struct scene *s, struct hm_delta_head head)
{
    return unpack(s, &head, s->body, s->body_n);
}

static void assert_same(const struct hm_delta *a, const struct hm_delta *b)
{
    assert_int_equal(a->n_blocks, b->n_blocks);
    assert_int_equal(a->n_nonzero, b->n_nonzero);
    assert_memory_equal(a->block, b->block, a->n_blocks * sizeof a->block[0]);
    assert_memory_equal(a->q, b->q, a->n_blocks * sizeof a->q[0]);
}

static int32_t counting(void *context, unsigned lane)
{
    (void)context;
    return (int32_t)(lane % 7) - 3;
}

/* The same block again and again: LZ4's case. */
static void list_pattern(struct scene *s)
{
    clear(s);
    for (uint32_t block = 0; block < s->layout.n_blocks; block++)
        list(s, block, counting, NULL);
}

/* ---- there and back ---- */

static void test_round_trip(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    struct dice dice = {.rng = hm_rng_seed(1, 0)};
    for (int i = 0; i < 300; i++) {
        throw_delta(&s, &dice);
        if (s.delta.n_blocks == 0)
            continue;
        uint32_t first = s.delta.block[0], last = s.delta.block[s.delta.n_blocks - 1];
        pack_range(&s, i % 2 ? first : 0, i % 2 ? last + 1 - first : s.layout.n_blocks);
        assert_true(s.body_n <= hm_pack_bound(s.delta.n_blocks, s.head.n_blocks));
        assert_int_equal(unpack(&s, &s.head, s.body, s.body_n), 0);
        assert_same(&s.read, &s.delta);
    }
    close_model(&s);
}

static void test_lz4_is_kept_when_it_pays(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    list_pattern(&s);
    pack(&s);
    assert_int_equal(s.head.encoding, HM_PACKED_LZ4);
    assert_true(s.body_n * 100 <= s.head.raw_n * 97u);
    assert_int_equal(unpack(&s, &s.head, s.body, s.body_n), 0);
    assert_same(&s.read, &s.delta);

    struct dice dice = {.rng = hm_rng_seed(2, 0), .of_16 = 16, .bits = 10};
    clear(&s);
    for (uint32_t block = 0; block < s.layout.n_blocks; block++)
        list(&s, block, throw, &dice);
    pack(&s);
    assert_int_equal(s.head.encoding, HM_PACKED);
    assert_int_equal(s.body_n, s.head.raw_n);
    close_model(&s);
}

static void test_steps_without_coordinates(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    clear(&s);
    pack_range(&s, 0, 0);
    assert_int_equal(s.body_n, 0);
    assert_int_equal(s.head.raw_n, 0);
    assert_int_equal(s.head.encoding, HM_PACKED);
    assert_int_equal(unpack(&s, &s.head, NULL, 0), 0);
    assert_int_equal(s.read.n_blocks, 0);
    assert_int_equal(unpack(&s, &s.head, (const uint8_t *)"", 1),
                     -1); /* a body where none belongs */
    s.head.encoding = HM_PACKED_LZ4;
    assert_int_equal(unpack(&s, &s.head, NULL, 0), -1);
    close_model(&s);
}

/* ---- what is refused ---- */

static void refuse_wrong_heads(struct scene *s)
{
    const struct hm_delta_head right = s->head;
    struct hm_delta_head head = right;
    assert_int_equal(unpack_head(s, head), 0);
    head.n_nonzero++;
    assert_int_equal(unpack_head(s, head), -1);
    head.n_nonzero -= 2;
    assert_int_equal(unpack_head(s, head), -1);
    head.n_nonzero = 0;
    assert_int_equal(unpack_head(s, head), -1);
    head = right;
    head.raw_n++;
    assert_int_equal(unpack_head(s, head), -1);
    head.raw_n -= 2;
    assert_int_equal(unpack_head(s, head), -1);
    head = right;
    head.n_blocks--; /* the last block is outside */
    assert_int_equal(unpack_head(s, head), -1);
    head.n_blocks += 2; /* beyond the layout */
    assert_int_equal(unpack_head(s, head), -1);
    head.n_blocks = UINT32_MAX;
    assert_int_equal(unpack_head(s, head), -1);
    head = right;
    head.block = 1;
    assert_int_equal(unpack_head(s, head), -1);
    head.block = UINT32_MAX;
    assert_int_equal(unpack_head(s, head), -1);
    head = right;
    head.encoding = head.encoding == HM_PACKED ? HM_PACKED_LZ4 : HM_PACKED;
    assert_int_equal(unpack_head(s, head), -1);
    head.encoding = HM_ENCODINGS;
    assert_int_equal(unpack_head(s, head), -1);
    head = right;
    s->read.capacity--; /* a receiver with less room than the range has blocks */
    assert_int_equal(unpack_head(s, head), -1);
    s->read.capacity++;
}

static void test_heads_that_do_not_fit(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    list_pattern(&s);
    pack(&s);
    assert_int_equal(s.head.encoding, HM_PACKED_LZ4);
    refuse_wrong_heads(&s);

    struct dice dice = {.rng = hm_rng_seed(3, 0), .of_16 = 16, .bits = 10};
    clear(&s);
    for (uint32_t block = 0; block < s.layout.n_blocks; block++)
        list(&s, block, throw, &dice);
    pack(&s);
    assert_int_equal(s.head.encoding, HM_PACKED);
    refuse_wrong_heads(&s);
    close_model(&s);
}

static void test_truncated_and_extended_bodies(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    for (int compressed = 0; compressed < 2; compressed++) {
        struct dice dice = {.rng = hm_rng_seed(4, 0), .of_16 = 16, .bits = 10};
        clear(&s);
        for (uint32_t block = 0; block < s.layout.n_blocks; block++)
            list(&s, block, compressed ? counting : throw, &dice);
        pack(&s);
        assert_int_equal(s.head.encoding, compressed ? HM_PACKED_LZ4 : HM_PACKED);
        for (size_t cut = 0; cut < s.body_n; cut++) {
            assert_int_equal(unpack(&s, &s.head, s.body, cut), -1);
            struct hm_delta_head head = s.head;
            head.raw_n = (uint32_t)cut; /* the head agrees that it is shorter */
            assert_int_equal(unpack(&s, &head, s.body, cut), -1);
        }
        for (unsigned trailing = 0; trailing < 256; trailing++) {
            s.body[s.body_n] = (uint8_t)trailing;
            assert_int_equal(unpack(&s, &s.head, s.body, s.body_n + 1), -1);
        }
    }
    close_model(&s);
}

static void test_lz4_bombs(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    static uint8_t zeros[HM_RAW_MAX];
    static uint8_t bomb[LZ4_COMPRESSBOUND(HM_RAW_MAX)];
    int bomb_n = LZ4_compress_default((const char *)zeros, (char *)bomb, HM_RAW_MAX, sizeof bomb);
    assert_true(bomb_n > 0);
    struct hm_delta_head head = {.encoding = HM_PACKED_LZ4,
                                 .n_blocks = s.layout.n_blocks,
                                 .n_nonzero = 1,
                                 .raw_n = HM_RAW_MAX};
    assert_int_equal(unpack(&s, &head, bomb, (size_t)bomb_n), -1); /* inflates, and is no delta */
    head.raw_n = HM_RAW_MAX + 1u;
    assert_int_equal(unpack(&s, &head, bomb, (size_t)bomb_n), -1);
    head.raw_n = HM_RAW_MAX;
    assert_int_equal(unpack(&s, &head, bomb, 20), -1); /* promises more than LZ4 can hold */
    head.raw_n = 64;
    assert_int_equal(unpack(&s, &head, NULL, 0), -1);
    head.raw_n = 255 + 64;
    assert_int_equal(unpack(&s, &head, (const uint8_t *)"\xff", 1), -1);
    assert_int_equal(unpack(&s, &head, s.body, HM_PAYLOAD_MAX + 1), -1);
    close_model(&s);
}

/* Correct in everything but its size. */
static void test_body_of_more_than_a_mebibyte(void **state)
{
    (void)state;
    struct scene s;
    memset(&s, 0, sizeof s);
    add(&s, "large", 1, 6000 * HM_BLOCK);
    open_scene(&s);
    for (uint32_t n_blocks = 4000; n_blocks <= 6000; n_blocks += 2000) {
        struct dice dice = {.rng = hm_rng_seed(5, 0), .of_16 = 16, .bits = 22};
        clear(&s);
        for (uint32_t block = 0; block < n_blocks; block++)
            list(&s, block, throw, &dice);
        pack(&s);
        assert_int_equal(s.head.encoding, HM_PACKED);
        assert_int_equal(s.body_n > HM_PAYLOAD_MAX, n_blocks == 6000);
        assert_int_equal(unpack(&s, &s.head, s.body, s.body_n), n_blocks == 6000 ? -1 : 0);
    }
    close_model(&s);
}

/* Padding is zero in every replica, for ever: a delta that says otherwise is refused. */
static void test_padding_stays_zero(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    static const struct {
        uint32_t block, lane;
    } padding[] = {
        {0, 5},  {0, 15}, {0, 63}, /* behind a row, and behind the last one */
        {2, 6},                    /* the column's second block holds 6 weights */
        {4, 37},                   /* the row that began in the block before */
    };
    for (size_t i = 0; i < N_OF(padding); i++) {
        uint32_t lane = padding[i].lane;
        assert_false(hm_layout_block_mask(&s.layout, padding[i].block) >> lane & 1);
        for (uint32_t wrong = 0; wrong < 2; wrong++) {
            clear(&s);
            list(&s, padding[i].block, counting, NULL);
            if (wrong) {
                s.delta.q[0][lane] = -1;
                s.delta.n_nonzero++;
            }
            pack(&s);
            assert_int_equal(unpack(&s, &s.head, s.body, s.body_n), wrong ? -1 : 0);
        }
    }
    close_model(&s);
}

/* ---- random mutations ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void assert_invariants(const struct scene *s, const struct hm_delta_head *head)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->read.n_blocks; i++) {
        uint64_t mask = hm_layout_block_mask(&s->layout, s->read.block[i]);
        uint32_t before = n;
        assert_true(s->read.block[i] >= head->block);
        assert_true(s->read.block[i] - head->block < head->n_blocks);
        assert_true(i == 0 || s->read.block[i] > s->read.block[i - 1]);
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            int32_t q = s->read.q[i][j];
            assert_true(q == 0 || (mask >> j & 1));
            assert_true(q <= 2 * HM_RANGE && q >= -2 * HM_RANGE);
            n += q != 0;
        }
        assert_true(n > before);
    }
    assert_int_equal(n, head->n_nonzero);
}

static void mutate(struct hm_rng *rng, struct scene *s)
{
    for (uint32_t times = 1 + hm_rng_below(rng, 3); times; times--) {
        uint8_t *byte = &s->body[hm_rng_below(rng, (uint32_t)s->body_n)];
        if (hm_rng_below(rng, 2))
            *byte ^= (uint8_t)(1 << hm_rng_below(rng, 8));
        else
            *byte = (uint8_t)hm_rng_next(rng);
    }
    if (hm_rng_below(rng, 8) == 0)
        s->body_n = 1 + hm_rng_below(rng, (uint32_t)s->body_n);
    if (s->head.encoding == HM_PACKED)
        s->head.raw_n = (uint32_t)s->body_n;
    if (hm_rng_below(rng, 2)) /* half of the time the count is not what stops it */
        s->head.n_nonzero += hm_rng_below(rng, 3) - 1;
}

static void test_mutated_bodies(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1),
             times = from_environment("HOGMESH_FUZZ", 100000);
    print_message("%llu mutated bodies; to repeat: HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu test_pack\n",
                  (unsigned long long)times, (unsigned long long)seed, (unsigned long long)times);
    struct scene s;
    memset(&s, 0, sizeof s);
    add(&s, "padded", 3, 5);
    add(&s, "column", 300, 1);
    open_scene(&s);
    struct dice dice = {.rng = hm_rng_seed(seed, 3)};
    uint64_t accepted = 0, compressed = 0;
    for (uint64_t i = 0; i < times; i++) {
        throw_delta(&s, &dice);
        if (i % 4 == 0)
            list_pattern(&s);
        if (s.delta.n_blocks == 0)
            continue;
        pack(&s);
        compressed += s.head.encoding == HM_PACKED_LZ4;
        mutate(&dice.rng, &s);
        if (unpack(&s, &s.head, s.body, s.body_n) != 0)
            continue;
        assert_invariants(&s, &s.head);
        accepted++;
    }
    print_message("%llu of them are valid; %llu were under LZ4\n", (unsigned long long)accepted,
                  (unsigned long long)compressed);
    assert_true(accepted < times);
    close_model(&s);
}

/* ---- golden bytes: the model "v", one row of 256, on a grid of 2^-10 ---- */

static void open_example(struct scene *s)
{
    memset(s, 0, sizeof *s);
    add(s, "v", 1, 256);
    assert_int_equal(s->layout.n_blocks, 4);
    open_scene(s);
}

static int32_t one_down(void *context, unsigned lane)
{
    (void)context;
    return lane == 3 ? -1 : 0;
}

static int32_t every_third(void *context, unsigned lane)
{
    (void)context;
    return lane % 3 ? 0 : lane % 2 ? -(int32_t)lane : (int32_t)lane + 1;
}

static int32_t ramp(void *context, unsigned lane)
{
    (void)context;
    return (int32_t)lane - 31;
}

/* ---- chunks of snapshots ---- */

static void test_chunks_round_trip(void **state)
{
    (void)state;
    struct scene s;
    open_model(&s);
    uint32_t n_blocks = s.layout.n_blocks;
    size_t n = hm_layout_n(&s.layout);
    uint32_t *b = calloc(n, sizeof *b), *read = malloc(n * sizeof *read);
    struct hm_rng rng = hm_rng_seed(1, 9);
    for (uint32_t block = 0; block < n_blocks; block++)
        for (uint64_t mask = block % 5 ? hm_layout_block_mask(&s.layout, block) : 0; mask;
             mask &= mask - 1)
            b[block * HM_BLOCK + (uint32_t)__builtin_ctzll(mask)] =
                block % 7 == 1 ? (uint32_t)-2 * HM_RANGE : hm_rng_below(&rng, 2001) - 1000u;
    memset(read, 0xaa, n * sizeof *read);
    for (uint32_t at = 0; at < n_blocks; at += 9) {
        uint32_t some = n_blocks - at < 9 ? n_blocks - at : 9;
        struct hm_chunk_head head = {0};
        long body_n = hm_pack_chunk(kernels, b, at, some, s.body, s.scratch, &s.delta, &head);
        assert_true(body_n >= 0);
        assert_int_equal(hm_unpack_chunk(kernels, &s.layout, &head, s.body, (size_t)body_n, at,
                                         some, s.scratch, &s.read, read),
                         0);
        if (body_n)
            assert_int_equal(hm_unpack_chunk(kernels, &s.layout, &head, s.body, (size_t)body_n - 1,
                                             at, some, s.scratch, &s.read, read),
                             -1);
    }
    assert_memory_equal(read, b, n * sizeof *b);
    free(b);
    free(read);
    close_model(&s);
}

/* The largest chunk there may be fits into a payload, and what the codec does not hold is said. */
static void test_chunks_at_their_limits(void **state)
{
    (void)state;
    struct scene s;
    memset(&s, 0, sizeof s);
    add(&s, "wide", HM_CHUNK_BLOCKS_MAX, HM_BLOCK);
    open_scene(&s);
    size_t n = hm_layout_n(&s.layout);
    uint32_t *b = malloc(n * sizeof *b);
    struct hm_rng rng = hm_rng_seed(2, 9);
    for (size_t i = 0; i < n; i++)
        b[i] = hm_rng_below(&rng, 4 * HM_RANGE + 1) - 2u * HM_RANGE;
    struct hm_chunk_head head;
    long body_n =
        hm_pack_chunk(kernels, b, 0, HM_CHUNK_BLOCKS_MAX, s.body, s.scratch, &s.delta, &head);
    assert_true(body_n > 0);
    assert_true(body_n <= HM_PAYLOAD_MAX);
    b[n - 1] = 2 * HM_RANGE + 1;
    assert_int_equal(
        hm_pack_chunk(kernels, b, 0, HM_CHUNK_BLOCKS_MAX, s.body, s.scratch, &s.delta, &head), -1);
    b[n - 1] = (uint32_t)INT32_MIN;
    assert_int_equal(
        hm_pack_chunk(kernels, b, 0, HM_CHUNK_BLOCKS_MAX, s.body, s.scratch, &s.delta, &head), -1);
    free(b);
    close_model(&s);
}

static void test_golden_packing(void **state)
{
    (void)state;
    golden_skip_without_source();
    static const struct {
        int32_t (*value)(void *context, unsigned lane);
        uint32_t block, n_blocks; /* the range; the values stand in block 1 */
        const char *name;
    } row[] = {
        {one_down, 0, 4, "packed-list"},
        {every_third, 1, 1, "packed-bitmap"},
        {ramp, 1, 1, "packed-dense"},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        struct scene s;
        uint8_t packed[512];
        open_example(&s);
        list(&s, 1, row[i].value, NULL);
        size_t n = kernels->encode(&s.delta, row[i].block, row[i].block + row[i].n_blocks, packed);
        assert_true(n <= sizeof packed);
        golden_check(row[i].name, packed, n);
        close_model(&s);
    }
}

static void test_golden_digest(void **state)
{
    (void)state;
    golden_skip_without_source();
    struct scene s;
    open_example(&s);
    list(&s, 1, one_down, NULL);
    uint64_t block_factor = hm_digest_block_factor(1), lane_factor = hm_digest_lane_factor(3);
    assert_true(kernels->digest(&s.delta) == -(block_factor * lane_factor));
    const uint64_t number[] = {hm_mix(1), block_factor, lane_factor, block_factor * lane_factor,
                               kernels->digest(&s.delta)};
    for (size_t i = 0; i < N_OF(number); i++) {
        char text[24];
        snprintf(text, sizeof text, "0x%016llx", (unsigned long long)number[i]);
        golden_mentions(text);
    }
    close_model(&s);
}

/* The first delta of a stream, whole. Its origin had heard of one other stream. */
static void test_golden_delta(void **state)
{
    (void)state;
    golden_skip_without_source();
    struct scene s;
    open_example(&s);
    list(&s, 1, one_down, NULL);
    pack_range(&s, 1, 1);
    assert_int_equal(s.head.encoding, HM_PACKED);
    static const struct hm_span_entry span[] = {{0x1112131415161718, 7, 8, 200, 300}};
    uint8_t payload[256], bytes[HM_HEADER_BOUND];
    size_t vectors_n = hm_spans_encode(span, N_OF(span), payload);
    memcpy(payload + vectors_n, s.body, s.body_n);

    struct hm_header header;
    memset(&header, 0, sizeof header);
    header.type = HM_DELTA;
    header.fingerprint = 0x00c0ffee00c0ffee;
    header.life = 0x0102030405060708;
    header.delta = s.head;
    header.delta.stream = header.life;
    header.delta.hi = header.delta.flush = header.delta.last_piece = 1;
    header.delta.digest = kernels->digest(&s.delta);
    header.delta.steps = 25;
    header.delta.vectors_n = (uint32_t)vectors_n;
    header.delta.check = hm_delta_check(&header.delta, payload, vectors_n + s.body_n);
    golden_check("delta-header", bytes, hm_wire_encode(&header, bytes));
    golden_check("delta-payload", payload, vectors_n + s.body_n);
    close_model(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_lz4_is_kept_when_it_pays),
        cmocka_unit_test(test_steps_without_coordinates),
        cmocka_unit_test(test_heads_that_do_not_fit),
        cmocka_unit_test(test_truncated_and_extended_bodies),
        cmocka_unit_test(test_lz4_bombs),
        cmocka_unit_test(test_body_of_more_than_a_mebibyte),
        cmocka_unit_test(test_padding_stays_zero),
        cmocka_unit_test(test_mutated_bodies),
        cmocka_unit_test(test_chunks_round_trip),
        cmocka_unit_test(test_chunks_at_their_limits),
        cmocka_unit_test(test_golden_packing),
        cmocka_unit_test(test_golden_digest),
        cmocka_unit_test(test_golden_delta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
