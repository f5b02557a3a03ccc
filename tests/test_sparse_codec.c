/* The bytes of a delta (sparse/codec.h): there and back, byte for byte, and what is refused. Each
 * case runs through every kernel table, which must give the same bytes and the same answers.
 *
 * HOGMESH_SEED=N repeats a random test, HOGMESH_FUZZ=N sets its number of messages.
 */
#include "tests/sparse_scene.h"

#include "sparse/codec.h"

/* ---- there and back ---- */

enum { UNTOUCHED = 0xa5, AHEAD = 8 };

/* Encodes into memory of exactly the bound's size. The bytes are to be freed. */
static uint8_t *encode(const struct hm_kernels *kernels, const struct hm_delta *delta,
                       uint32_t from, uint32_t to, size_t *n)
{
    size_t bound = hm_encode_bound(delta->n_blocks, to - from);
    uint8_t *bytes = malloc(bound);
    assert_non_null(bytes);
    memset(bytes, UNTOUCHED, bound);
    *n = kernels->encode(delta, from, to, bytes);
    assert_true(*n + AHEAD <= bound);
    for (size_t i = *n + AHEAD; i < bound; i++)
        assert_int_equal(bytes[i], UNTOUCHED);
    return bytes;
}

static void there_and_back(const struct hm_delta *delta, uint32_t from, uint32_t to)
{
    struct hm_delta read = open_delta(to - from);
    size_t n, again;
    uint8_t *bytes = encode(&hm_kernels_ref, delta, from, to, &n);
    for_each_table(kernels)
    {
        uint8_t *same = encode(kernels, delta, from, to, &again);
        assert_int_equal(again, n);
        assert_memory_equal(same, bytes, n);
        free(same);
        assert_int_equal(decode_exactly(kernels, bytes, n, from, to, &read), 0);
        assert_same_delta(&read, delta);
    }
    free(bytes);
    hm_delta_fini(&read);
}

static void test_every_count_and_size(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(1, 0);
    struct hm_delta delta = open_delta(3);
    for (unsigned n = 1; n <= HM_BLOCK; n++)
        for (unsigned bits = 0; bits <= 23; bits++) {
            clear_delta(&delta);
            list_random(&delta, &rng, 7, n, bits);
            there_and_back(&delta, 7, 8);
            list_random(&delta, &rng, 9, n, bits);
            there_and_back(&delta, 5, 10);
        }
    hm_delta_fini(&delta);
}

static void test_ranges_and_densities(void **state)
{
    (void)state;
    static const uint32_t size[] = {0, 1, 2, 3, 7, 31, 63, 64, 65, 127, 200, 739};
    static const unsigned one_of[] = {1, 2, 10, 300}, n[] = {1, 4, 20, 64}, bits[] = {0, 3, 9, 23};
    struct hm_rng rng = hm_rng_seed(2, 0);
    struct hm_delta delta = open_delta(739);
    for (size_t s = 0; s < N_OF(size); s++)
        for (size_t o = 0; o < N_OF(one_of); o++)
            for (size_t i = 0; i < N_OF(n); i++) {
                uint32_t from = hm_rng_below(&rng, 3) * 1000;
                list_range(&delta, &rng, from, from + size[s], one_of[o], n[i], bits[i]);
                there_and_back(&delta, from, from + size[s]);
            }
    hm_delta_fini(&delta);
}

/* Runs up to the whole of the largest layout. */
static void test_runs(void **state)
{
    (void)state;
    struct hm_delta delta = open_delta(2), read = open_delta(2);
    read.capacity = HM_BLOCKS_MAX; /* of which two are used */
    struct hm_rng rng = hm_rng_seed(3, 0);
    uint8_t bytes[64 + 2 * 256];
    for (unsigned e = 0; e <= CODEC_RUN_EXP_MAX; e++)
        for (int more = -1; more <= 1; more++) {
            uint32_t to = (1u << e) + (uint32_t)more;
            if (to < 2 || to > HM_BLOCKS_MAX)
                continue;
            for (unsigned listed = 0; listed <= 2; listed++) {
                clear_delta(&delta);
                if (listed > 1)
                    list_random(&delta, &rng, 0, 3, 4);
                if (listed > 0)
                    list_random(&delta, &rng, to - 1, 3, 4);
                size_t n = hm_kernels_ref.encode(&delta, 0, to, bytes);
                for_each_table(kernels)
                {
                    uint8_t same[sizeof bytes];
                    assert_int_equal(kernels->encode(&delta, 0, to, same), n);
                    assert_memory_equal(same, bytes, n);
                    assert_int_equal(decode_exactly(kernels, bytes, n, 0, to, &read), 0);
                    assert_same_delta(&read, &delta);
                }
            }
        }
    hm_delta_fini(&delta);
    hm_delta_fini(&read);
}

/* The bound is tight for blocks of largest numbers: 26 bits a coordinate and a header. */
static void test_largest_numbers(void **state)
{
    (void)state;
    static const int32_t largest[] = {CODEC_Q_MAX, -CODEC_Q_MAX, CODEC_Q_MAX - 1, 1 - CODEC_Q_MAX};
    struct hm_delta delta = open_delta(50);
    for (size_t l = 0; l < N_OF(largest); l++)
        for (unsigned gap = 1; gap <= 9; gap += 4) {
            clear_delta(&delta);
            for (uint32_t i = 0; i < 50; i++) {
                delta.block[delta.n_blocks++] = i * gap;
                for (unsigned j = 0; j < HM_BLOCK; j++)
                    delta.q[i][j] = largest[j % 7 ? l : 0];
                delta.n_nonzero += HM_BLOCK;
            }
            there_and_back(&delta, 0, 50 * gap);
        }
    clear_delta(&delta);
    delta.n_blocks = 1;
    delta.block[0] = 0;
    delta.n_nonzero = HM_BLOCK;
    for (unsigned j = 0; j < HM_BLOCK; j++)
        delta.q[0][j] = CODEC_Q_MAX;
    size_t n;
    free(encode(&hm_kernels_ref, &delta, 0, 1, &n));
    assert_int_equal(n, 26 * HM_BLOCK / 8 + 1);
    hm_delta_fini(&delta);
}

/* One large number among small ones: the layers thin out to it. */
static void test_outliers(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(4, 0);
    struct hm_delta delta = open_delta(1);
    for (unsigned n = 2; n <= HM_BLOCK; n++)
        for (unsigned bits = 1; bits <= 23; bits++) {
            clear_delta(&delta);
            list_random(&delta, &rng, 0, n, hm_rng_below(&rng, bits));
            unsigned lane = 0;
            while (!delta.q[0][lane])
                lane++;
            delta.q[0][lane] = -(1 << bits);
            there_and_back(&delta, 0, 1);
        }
    hm_delta_fini(&delta);
}

/* ---- messages written by hand ---- */

struct message {
    uint8_t bytes[2048];
    size_t n_bits;
};

static void add_number(struct message *m, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, m->n_bits++) {
        assert_true(m->n_bits < 8 * sizeof m->bytes);
        m->bytes[m->n_bits / 8] |= (uint8_t)((value >> i & 1) << m->n_bits % 8);
    }
}

/* Bits in the order of the string, as the description writes them; other characters are for the
 * eye. */
static void add_bits(struct message *m, const char *text)
{
    for (; *text; text++)
        if (*text == '0' || *text == '1')
            add_number(m, *text == '1', 1);
}

static void add_same(struct message *m, unsigned bit, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        add_number(m, bit, 1);
}

static struct message message_of(const char *text)
{
    struct message m = {{0}, 0};
    add_bits(&m, text);
    return m;
}

/* Every table gives this answer to the bytes. */
static void answer_bytes(const uint8_t *bytes, size_t n, uint32_t n_blocks, int answer)
{
    struct hm_delta read = open_delta(n_blocks);
    for_each_table(kernels)
    {
        int got = decode_exactly(kernels, bytes, n, 30, 30 + n_blocks, &read);
        if (got != answer)
            print_error("table %s\n", kernels->name);
        assert_int_equal(got, answer);
    }
    hm_delta_fini(&read);
}

static void refuse(const struct message *m, uint32_t n_blocks)
{
    answer_bytes(m->bytes, (m->n_bits + 7) / 8, n_blocks, -1);
}

static void accept(const struct message *m, uint32_t n_blocks)
{
    answer_bytes(m->bytes, (m->n_bits + 7) / 8, n_blocks, 0);
}

/* The message says that block 0 of 1 is q, though our encoder might say it in another way. */
static void says(const struct message *m, const int32_t q[HM_BLOCK])
{
    struct hm_delta read = open_delta(1);
    for_each_table(kernels)
    {
        assert_int_equal(decode_exactly(kernels, m->bytes, (m->n_bits + 7) / 8, 0, 1, &read), 0);
        assert_int_equal(read.n_blocks, 1);
        assert_memory_equal(read.q[0], q, HM_BLOCK * sizeof *q);
    }
    hm_delta_fini(&read);
}

/* The encoder says q of block 0 of 1 with these bits. */
static void encodes_to(const int32_t q[HM_BLOCK], const struct message *m)
{
    uint8_t bytes[512];
    uint32_t block = 0;
    struct hm_delta delta = {.n_blocks = 1, .capacity = 1, .block = &block};
    delta.q = aligned_alloc(64, sizeof *delta.q);
    assert_non_null(delta.q);
    memcpy(delta.q, q, sizeof *delta.q);
    for (unsigned j = 0; j < HM_BLOCK; j++)
        delta.n_nonzero += q[j] != 0;
    for_each_table(kernels)
    {
        assert_int_equal(kernels->encode(&delta, 0, 1, bytes), (m->n_bits + 7) / 8);
        assert_memory_equal(bytes, m->bytes, (m->n_bits + 7) / 8);
    }
    free(delta.q);
    says(m, q);
}

static void test_golden_runs(void **state)
{
    (void)state;
    static const struct {
        uint32_t length;
        const char *bits;
    } row[] = {
        {1, "00 1"},
        {2, "00 01 0"},
        {3, "00 01 1"},
        {4, "00 001 00"},
        {7, "00 001 11"},
        {739, "00 0000000001 110001110"},
        {1u << 25, "00 0000000000000000000000000 1 0000000000000000000000000"},
    };
    struct hm_delta none = open_delta(0);
    for (size_t i = 0; i < N_OF(row); i++) {
        uint8_t bytes[64];
        struct message m = message_of(row[i].bits);
        for_each_table(kernels)
        {
            assert_int_equal(kernels->encode(&none, 5, 5 + row[i].length, bytes),
                             (m.n_bits + 7) / 8);
            assert_memory_equal(bytes, m.bytes, (m.n_bits + 7) / 8);
        }
    }
    hm_delta_fini(&none);
}

static void test_golden_lists(void **state)
{
    (void)state;
    struct message m = message_of("1 0000 000 11111 01  0 0");
    encodes_to((int32_t[HM_BLOCK]){[63] = 1}, &m);
    assert_memory_equal(m.bytes, "\x01\x5f", 3);

    /* v = 5 with k 2: bits 0 and 1, layers 2 and 3, sign. */
    m = message_of("1 0000 010 00000 1  1 0  1 0  1");
    encodes_to((int32_t[HM_BLOCK]){[0] = -6}, &m);

    /* v = 0, 1, 6 at gaps 1, 2, 19: layer 0; layer 1, bit 0; layer 2, bit 1; layer 3; signs. */
    m = message_of("1 0100 000  1000 0100 1100  1 1 01  0 1 1  0 1 0  1 1  0  0 1 0");
    encodes_to((int32_t[HM_BLOCK]){[1] = 1, [4] = -2, [24] = 7}, &m);

    /* Sixteen neighbours at the end. */
    m = message_of("1 1111 000  0000 0000 0000 0000");
    add_bits(&m, "000000000000000000000000 1 111 1111 1111 1111");
    add_same(&m, 0, 16);
    add_same(&m, 1, 16);
    int32_t q[HM_BLOCK] = {0};
    for (unsigned j = 48; j < HM_BLOCK; j++)
        q[j] = -1;
    encodes_to(q, &m);
}

static void test_golden_bitmap(void **state)
{
    (void)state;
    int32_t q[HM_BLOCK] = {0};
    for (unsigned j = 0; j < 17; j++)
        q[j] = j == 4 ? 16 : j % 2 ? -3 : 3;    /* v = 15 and 2 */
    struct message m = message_of("010 01000"); /* k 2 */
    add_number(&m, 0x1ffff, 64);
    add_number(&m, 1 << 4, 17);        /* bit 0 */
    add_number(&m, 0x1ffff, 17);       /* bit 1 */
    add_number(&m, 1 << 4, 17);        /* layer 2 */
    add_bits(&m, "1 1");               /* layer 3, bit 2 */
    add_bits(&m, "0");                 /* layer 4 */
    add_bits(&m, "01010101010101010"); /* signs */
    encodes_to(q, &m);
}

static void test_golden_dense(void **state)
{
    (void)state;
    int32_t q[HM_BLOCK];
    for (unsigned j = 0; j < HM_BLOCK; j++)
        q[j] = j == 9 ? 0 : 1;
    struct message m = message_of("011 00000");
    add_number(&m, ~(uint64_t)0 ^ 1 << 9, 64); /* layer 0 */
    add_same(&m, 0, 63);                       /* layer 1 */
    add_same(&m, 0, 63);                       /* signs */
    encodes_to(q, &m);
}

/* ---- refusals ---- */

static void test_cut_and_extended(void **state)
{
    (void)state;
    static const unsigned n[] = {1, 16, 17, 40, 64};
    struct hm_rng rng = hm_rng_seed(5, 0);
    struct hm_delta delta = open_delta(20);
    for (size_t i = 0; i < N_OF(n); i++)
        for (unsigned times = 0; times < 3; times++) {
            size_t bytes_n;
            list_range(&delta, &rng, 30, 50, 1 + times, n[i], 4 * times + 2);
            uint8_t *bytes = encode(&hm_kernels_ref, &delta, 30, 50, &bytes_n);
            for (size_t cut = 0; cut < bytes_n; cut++)
                answer_bytes(bytes, cut, 20, -1);
            for (unsigned last = 0; last < 256; last++) {
                bytes[bytes_n] = (uint8_t)last;
                answer_bytes(bytes, bytes_n + 1, 20, -1);
            }
            answer_bytes(bytes, bytes_n, 20, 0);
            answer_bytes(bytes, bytes_n, 19, -1);
            answer_bytes(bytes, bytes_n, 21, -1);
            free(bytes);
        }
    hm_delta_fini(&delta);
}

static void test_nothing(void **state)
{
    (void)state;
    struct message m = message_of("");
    accept(&m, 0);
    refuse(&m, 1);
    for (unsigned last = 0; last < 256; last++)
        answer_bytes((const uint8_t[]){(uint8_t)last}, 1, 0, -1);
    static const uint8_t zeros[4096];
    answer_bytes(zeros, sizeof zeros, 0, -1);
    answer_bytes(zeros, sizeof zeros, 5, -1);
}

static void test_filling_bits(void **state)
{
    (void)state;
    struct message whole = message_of("00 001 11"); /* a run of 7 and one bit to fill */
    accept(&whole, 7);
    struct message m = whole;
    add_bits(&m, "1");
    refuse(&m, 7);
    for (unsigned i = 1; i <= 5; i++) { /* "00 1" and five bits to fill */
        m = message_of("00 1");
        add_same(&m, 0, i - 1);
        add_bits(&m, "1");
        refuse(&m, 1);
    }
    m = message_of("1 0000 000 11000 1 0 1"); /* a list behind a list */
    accept(&m, 1);
    add_bits(&m, "1 0000 000 11000 1 0 1");
    refuse(&m, 1);
    accept(&m, 2);
}

static void test_runs_that_do_not_fit(void **state)
{
    (void)state;
    struct message m = message_of("00 001 00");
    accept(&m, 4);
    refuse(&m, 3);
    refuse(&m, 5);
    m = message_of("00 1 00 001 00"); /* 1 + 4 */
    accept(&m, 5);
    refuse(&m, 4);
    m = message_of("00");
    add_same(&m, 0, 26);
    add_bits(&m, "1");
    add_same(&m, 0, 26);
    refuse(&m, 1);
    m = message_of("00");
    add_same(&m, 0, 25);
    add_bits(&m, "1");
    add_same(&m, 1, 25); /* 2^26 - 1, the longest that can be said */
    refuse(&m, 100);
    m = message_of("00");
    add_same(&m, 0, 600);
    refuse(&m, 1);
    m = message_of("00 00001 1"); /* ends within the length */
    refuse(&m, 24);
}

static void test_positions(void **state)
{
    (void)state;
    struct message m = message_of("1 0000 000 11111 01 0 0"); /* 63 */
    accept(&m, 1);
    m = message_of("1 0000 000 00000 001 0 0"); /* 64 */
    refuse(&m, 1);
    m = message_of("1 0000 000 11111 001 0 0"); /* 95 */
    refuse(&m, 1);
    m = message_of("1 1000 000 0111 0000 0001 1 00 00"); /* 62, 63 */
    accept(&m, 1);
    m = message_of("1 1000 000 1111 0000 0001 1 00 00"); /* 63, 64 */
    refuse(&m, 1);
    m = message_of("1 1000 000 1111 1000 0001 1 00 00"); /* 63, 65 */
    refuse(&m, 1);
    for (unsigned n = 1; n <= CODEC_LIST_MAX; n++)
        for (unsigned zeros = 0; zeros < 80; zeros++) { /* only the last gap has an upper part */
            m = message_of("1");
            add_number(&m, n - 1, 4);
            add_bits(&m, "000");
            add_same(&m, 0, n * codec_gap_bits(n));
            add_same(&m, 1, n - 1);
            add_same(&m, 0, zeros);
            add_bits(&m, "1");
            add_same(&m, 0, 2 * n);
            if (n - 1 + (zeros << codec_gap_bits(n)) < HM_BLOCK)
                accept(&m, 1);
            else
                refuse(&m, 1);
        }
    m = message_of("1 1111 000");
    add_same(&m, 0, 8000);
    refuse(&m, 1);
}

/* k and the width of numbers. In one message a single coordinate has all bits up to `top`. */
static struct message with_k(int dense, unsigned k, unsigned n_layers, uint32_t low)
{
    struct message m = message_of(dense ? "011" : "010");
    add_number(&m, k, 5);
    if (!dense)
        add_number(&m, 1, 64);
    unsigned idle = dense ? 63 : 0;
    for (unsigned i = 0; i < k; i++) {
        add_number(&m, low >> i, 1);
        add_same(&m, 0, idle);
    }
    for (unsigned j = k; j < n_layers; j++) {
        add_bits(&m, "1");
        if (j == k)
            add_same(&m, 0, idle);
        else
            add_number(&m, low >> (j - 1), 1);
    }
    add_bits(&m, "0");
    if (n_layers <= k)
        add_same(&m, 0, idle);
    add_bits(&m, "1"); /* sign */
    return m;
}

static void test_width(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 32; k++) {
        for (int dense = 0; dense < 2; dense++) {
            struct message m = with_k(dense, k, k, 5);
            int32_t v = k < 24 ? (int32_t)(5 & ((1u << k) - 1)) : 0;
            if (k >= 24)
                refuse(&m, 1);
            else if (dense && !v)
                refuse(&m, 1); /* a dense block of zeros */
            else
                says(&m, (int32_t[HM_BLOCK]){-v - !dense});
        }
    }
    /* All ones: in lists of 7, bitmaps and dense blocks; k above 23 must not overflow on its way to
     * the refusal. */
    for (unsigned k = 0; k < 32; k++)
        for (unsigned token = 0; token < 3; token++) {
            struct message m = message_of(token == 0 ? "1 0110" : token == 1 ? "010" : "011");
            add_number(&m, k, token == 0 ? 3 : 5);
            add_same(&m, 1, 4000);
            refuse(&m, 1);
        }
}

static void test_magnitudes(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= CODEC_K_MAX; k++) {
        struct message m = with_k(0, k, 23, 0x7fffff); /* v = 2^23 - 1 */
        says(&m, (int32_t[HM_BLOCK]){-CODEC_Q_MAX});
        m = with_k(0, k, 24, 0); /* v = 2^23 */
        refuse(&m, 1);
        m = with_k(1, k, 24, 0);
        says(&m, (int32_t[HM_BLOCK]){-CODEC_Q_MAX});
        for (unsigned bit = 0; bit < 23; bit++) { /* 2^23 + 2^bit */
            m = with_k(1, k, 24, 1u << bit);
            refuse(&m, 1);
        }
        m = with_k(1, k, 25, 0); /* a 1 in layer 24 */
        refuse(&m, 1);
        m = with_k(0, k, 25, 0);
        refuse(&m, 1);
    }
    for (unsigned k = 0; k <= CODEC_LIST_K_MAX; k++) {
        struct message m = message_of("1 0000");
        add_number(&m, k, 3);
        add_bits(&m, "00000 1");
        add_same(&m, 1, k);
        for (unsigned j = k; j < 23; j++)
            add_bits(&m, j == k ? "1" : "11");
        struct message beyond = m;
        add_bits(&m, "0 0");
        says(&m, (int32_t[HM_BLOCK]){CODEC_Q_MAX});
        add_bits(&beyond, "1 0 0 0");
        refuse(&beyond, 1);
    }
}

static void test_empty_blocks(void **state)
{
    (void)state;
    struct message m = message_of("010 00000");
    add_same(&m, 0, 64 + 300);
    refuse(&m, 1);
    for (unsigned k = 0; k <= CODEC_K_MAX; k++) {
        m = message_of("011");
        add_number(&m, k, 5);
        add_same(&m, 0, 64 * (k + 1));
        refuse(&m, 1);
    }
}

/* What our encoder would say more shortly is accepted. */
static void test_longer_forms(void **state)
{
    (void)state;
    struct message m = message_of("00 1 00 1 00 01 0 00 1"); /* five zero blocks */
    accept(&m, 5);
    for (unsigned k = 0; k <= CODEC_LIST_K_MAX; k++) {
        m = message_of("1 0000");
        add_number(&m, k, 3);
        add_bits(&m, "11000 1");
        add_same(&m, 0, k + 1);
        add_bits(&m, "1");
        says(&m, (int32_t[HM_BLOCK]){[3] = -1});
    }
    m = message_of("010 00000");
    add_number(&m, 8, 64);
    add_bits(&m, "0 1");
    says(&m, (int32_t[HM_BLOCK]){[3] = -1});
    m = message_of("011 00000");
    add_number(&m, 8, 64); /* layer 0 */
    add_bits(&m, "0 1");   /* layer 1, sign */
    says(&m, (int32_t[HM_BLOCK]){[3] = -1});
}

/* ---- random messages ---- */

static void assert_invariants(const struct hm_delta *delta, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        uint32_t before = n;
        assert_true(delta->block[i] >= from && delta->block[i] < to);
        assert_true(i == 0 || delta->block[i] > delta->block[i - 1]);
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            assert_in_range(delta->q[i][j] + CODEC_Q_MAX, 0, 2 * CODEC_Q_MAX);
            n += delta->q[i][j] != 0;
        }
        assert_true(n > before);
    }
    assert_int_equal(n, delta->n_nonzero);
}

static void mutate(struct hm_rng *rng, uint8_t *bytes, size_t *n)
{
    for (uint32_t times = 1 + hm_rng_below(rng, 3); times && *n; times--) {
        uint8_t *byte = &bytes[hm_rng_below(rng, (uint32_t)*n)];
        switch (hm_rng_below(rng, 3)) {
        case 0:
            *byte = (uint8_t)hm_rng_next(rng);
            break;
        default:
            *byte ^= (uint8_t)(1 << hm_rng_below(rng, 8));
        }
    }
    if (!hm_rng_below(rng, 16))
        *n = hm_rng_below(rng, (uint32_t)*n + 1);
    if (!hm_rng_below(rng, 16))
        bytes[(*n)++] = (uint8_t)(hm_rng_below(rng, 2) ? 0 : hm_rng_next(rng));
}

static size_t random_message(struct hm_rng *rng, struct hm_delta *delta, uint32_t n_blocks,
                             uint8_t *bytes)
{
    size_t n;
    if (!hm_rng_below(rng, 8)) { /* noise, with ones and zeros in unequal parts */
        n = hm_rng_below(rng, 500);
        unsigned thin = hm_rng_below(rng, 3);
        for (size_t i = 0; i < n; i++) {
            uint64_t x = hm_rng_next(rng);
            bytes[i] = (uint8_t)(thin == 0 ? x : thin == 1 ? x & x >> 8 : x | x >> 8);
        }
        return n;
    }
    /* Drawn one by one: compilers differ in the order of arguments. */
    unsigned one_of = 1 + hm_rng_below(rng, 4), most = 1 + hm_rng_below(rng, 64);
    list_range(delta, rng, 0, n_blocks, one_of, most, hm_rng_below(rng, 24));
    n = hm_kernels_ref.encode(delta, 0, n_blocks, bytes);
    if (hm_rng_below(rng, 8))
        mutate(rng, bytes, &n);
    return n;
}

static void test_random_messages(void **state)
{
    (void)state;
    enum { BLOCKS = 8 };
    uint64_t seed = from_environment("HOGMESH_SEED", 1);
    uint64_t times = from_environment("HOGMESH_FUZZ", 200000), accepted = 0;
    print_message("%llu messages; to repeat: HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu "
                  "test_sparse_codec\n",
                  (unsigned long long)times, (unsigned long long)seed, (unsigned long long)times);
    struct hm_rng rng = hm_rng_seed(seed, 1);
    struct hm_delta made = open_delta(BLOCKS), expected = open_delta(BLOCKS);
    struct hm_delta read = open_delta(BLOCKS);
    uint8_t bytes[4096], again[4096];
    for (uint64_t i = 0; i < times; i++) {
        uint32_t n_blocks = 1 + hm_rng_below(&rng, BLOCKS);
        size_t n = random_message(&rng, &made, n_blocks, bytes);
        int refused = decode_exactly(&hm_kernels_ref, bytes, n, 0, n_blocks, &expected);
        for_each_table(kernels)
        {
            assert_int_equal(decode_exactly(kernels, bytes, n, 0, n_blocks, &read), refused);
            assert_same_delta(&read, &expected);
        }
        if (refused)
            continue;
        accepted++;
        assert_invariants(&expected, 0, n_blocks);
        assert_true(hm_encode_bound(expected.n_blocks, n_blocks) <= sizeof again);
        n = hm_kernels_at(0)->encode(&expected, 0, n_blocks, again);
        assert_int_equal(hm_kernels_ref.decode(again, n, 0, n_blocks, &read), 0);
        assert_same_delta(&read, &expected);
    }
    print_message("%llu of them are valid\n", (unsigned long long)accepted);
    assert_true(accepted < times || times < 100);
    assert_true(accepted >= times / 10);
    hm_delta_fini(&made);
    hm_delta_fini(&expected);
    hm_delta_fini(&read);
}

static void test_slices(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(6, 0);
    struct hm_delta delta = open_delta(9);
    list_range(&delta, &rng, 0, 9, 1, 64, 5);
    assert_int_equal(delta.n_blocks, 9);
    for (uint32_t from = 0; from <= 9; from++)
        for (uint32_t to = from; to <= 9; to++) {
            struct hm_delta a = hm_delta_slice(&delta, 0, from);
            struct hm_delta b = hm_delta_slice(&delta, from, to);
            struct hm_delta c = hm_delta_slice(&delta, to, 9);
            assert_int_equal(b.n_blocks, to - from);
            assert_ptr_equal(b.q, delta.q + from);
            assert_int_equal(a.n_nonzero + b.n_nonzero + c.n_nonzero, delta.n_nonzero);
            there_and_back(&b, from, to);
        }
    hm_delta_fini(&delta);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_count_and_size),
        cmocka_unit_test(test_ranges_and_densities),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_largest_numbers),
        cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_golden_runs),
        cmocka_unit_test(test_golden_lists),
        cmocka_unit_test(test_golden_bitmap),
        cmocka_unit_test(test_golden_dense),
        cmocka_unit_test(test_cut_and_extended),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_filling_bits),
        cmocka_unit_test(test_runs_that_do_not_fit),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_magnitudes),
        cmocka_unit_test(test_empty_blocks),
        cmocka_unit_test(test_longer_forms),
        cmocka_unit_test(test_random_messages),
        cmocka_unit_test(test_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
