/* Bodies of DELTA against a layout: every kernel table gives the same verdict and the same bits,
 * and what was accepted packs to bytes that say the same. */
#include "protocol/wire.h"
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

enum { BLOCKS_MAX = 128 };

/* Rows with padding between them, a last row with padding behind it, one without any. */
static const struct hm_layout *small_layout(void)
{
    static struct hm_layout layout;
    if (!layout.n_blocks) {
        int failed = hm_layout_add(&layout, "wide", 1, 200, -10, NULL) ||
                     hm_layout_add(&layout, "rows", 5, 20, -12, NULL) ||
                     hm_layout_add(&layout, "one", 1, 1, 0, NULL) ||
                     hm_layout_add(&layout, "long", 100, 64, -20, NULL);
        assert(!failed);
        assert(layout.n_blocks <= BLOCKS_MAX);
    }
    return &layout;
}

static struct hm_delta *scratch_delta(unsigned which)
{
    static struct hm_delta delta[3];
    if (!delta[which].capacity) {
        int failed = hm_delta_init(&delta[which], BLOCKS_MAX, NULL);
        assert(!failed);
    }
    delta[which].n_blocks = delta[which].n_nonzero = 0;
    return &delta[which];
}

static void check_same(const struct hm_delta *a, const struct hm_delta *b)
{
    assert(a->n_blocks == b->n_blocks);
    assert(a->n_nonzero == b->n_nonzero);
    assert(memcmp(a->block, b->block, a->n_blocks * sizeof a->block[0]) == 0);
    assert(memcmp(a->q, b->q, a->n_blocks * sizeof a->q[0]) == 0);
}

/* Nothing but weights is ever touched. */
static void check_padding(const struct hm_delta *delta)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        uint64_t mask = hm_layout_block_mask(small_layout(), delta->block[i]);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            assert(!delta->q[i][j] || mask >> j & 1);
    }
}

/* Every table packs it to the same bytes, and they unpack to the same delta. */
static void check_again(const struct hm_delta *delta, const struct hm_delta_head *head)
{
    static uint8_t made[BLOCKS_MAX * 256], first[BLOCKS_MAX * 256], raw[BLOCKS_MAX * 256];
    struct hm_delta_head again = *head;
    size_t n = 0;
    for (unsigned i = 0; hm_kernels_at(i); i++) {
        size_t made_n = hm_pack(hm_kernels_at(i), delta, head->block, head->n_blocks, made, raw,
                                &again.encoding, &again.raw_n);
        if (!i)
            memcpy(first, made, n = made_n);
        assert(made_n == n);
        assert(memcmp(made, first, n) == 0);
    }
    struct hm_delta *read = scratch_delta(2);
    uint8_t *copy = wire_exact_copy(first, n);
    int refused = hm_unpack(hm_kernels_at(0), small_layout(), &again, copy, n, raw, read);
    free(copy);
    assert(!refused);
    check_same(read, delta);
}

/* Counts that only an honest sender knows are found out for the input where it does not give them,
 * so that most inputs come past the first check. */
static void complete(struct hm_delta_head *head, uint8_t honest, const uint8_t *body, size_t n)
{
    static uint8_t raw[HM_RAW_MAX];
    if (honest & 1 && head->encoding == HM_PACKED)
        head->raw_n = (uint32_t)n;
    if (!(honest & 2))
        return;
    struct hm_delta *delta = scratch_delta(0);
    for (head->n_nonzero = 1; head->n_nonzero < 3; head->n_nonzero++) {
        hm_unpack(&hm_kernels_ref, small_layout(), head, body, n, raw, delta);
        if (delta->n_nonzero)
            return;
    }
    uint64_t end = (uint64_t)head->block + head->n_blocks;
    if (head->encoding == HM_PACKED && end <= small_layout()->n_blocks &&
        !hm_kernels_ref.decode(body, n, head->block, (uint32_t)end, delta))
        head->n_nonzero = delta->n_nonzero;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t raw[HM_RAW_MAX];
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t honest = fuzz_u8(&fuzz);
    struct hm_delta_head head = {.encoding = honest >> 2 & 1,
                                 .block = (uint32_t)fuzz_number(&fuzz),
                                 .n_blocks = (uint32_t)fuzz_number(&fuzz),
                                 .n_nonzero = (uint32_t)fuzz_number(&fuzz),
                                 .raw_n = (uint32_t)fuzz_number(&fuzz)};
    size_t n = fuzz_left(&fuzz);
    uint8_t *body = wire_exact_copy(fuzz.at, n);
    complete(&head, honest, body, n);
    struct hm_delta *ref = scratch_delta(0), *other = scratch_delta(1);
    int refused = hm_unpack(&hm_kernels_ref, small_layout(), &head, body, n, raw, ref);
    assert(!refused || (!ref->n_blocks && !ref->n_nonzero));
    for (unsigned i = 0; hm_kernels_at(i); i++) {
        const struct hm_kernels *kernels = hm_kernels_at(i);
        int verdict = hm_unpack(kernels, small_layout(), &head, body, n, raw, other);
        assert(verdict == refused);
        check_same(other, ref);
        assert(kernels->digest(other) == hm_kernels_ref.digest(ref));
    }
    check_padding(ref);
    if (!refused && ref->n_blocks)
        check_again(ref, &head);
    free(body);
    return 0;
}
