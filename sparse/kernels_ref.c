/* The kernels in plain C, coordinate by coordinate and bit by bit: what the fast ones must equal.
 */
#include "sparse/codec.h"
#include "sparse/digest.h"
#include "sparse/rule.h"

#include <math.h>

/* ---- extract ---- */

static int32_t publish_one(struct hm_weights *weights, size_t at, const struct rule *rule,
                           struct hm_extract_stats *stats)
{
    hm_cell *cell = &weights->w[at];
    int32_t b = (int32_t)weights->b[at];
    float w = hm_cell_get(cell), base = (float)b * rule->grid;
    if (!isfinite(w)) {
        hm_cell_set(cell, base);
        rule_note_nonfinite(stats, at, w, b);
        return 0;
    }
    int32_t wanted = rule_wanted(w - base, rule), q = rule_clip(wanted, b);
    if (q != wanted) {
        stats->n_clipped++;
        rule_note_leap(stats, wanted, at, w, b);
    }
    if (q) {
        weights->b[at] += (uint32_t)q;
        if (rule->back > 0)
            hm_cell_add(cell, -(rule->back * (float)q));
    }
    return q;
}

static void extract_block(struct hm_weights *weights, uint32_t block, const struct rule *rule,
                          struct hm_delta *out, struct hm_extract_stats *stats)
{
    size_t at = (size_t)block * HM_BLOCK;
    uint32_t n_nonzero = 0;
    assert(out->n_blocks < out->capacity);
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        int32_t q = publish_one(weights, at + j, rule, stats);
        out->q[out->n_blocks][j] = q;
        n_nonzero += q != 0;
    }
    if (!n_nonzero)
        return;
    out->block[out->n_blocks++] = block;
    out->n_nonzero += n_nonzero;
}

static void extract(struct hm_weights *weights, uint32_t from, uint32_t to,
                    const struct hm_publish *publish, struct hm_delta *out,
                    struct hm_extract_stats *stats)
{
    assert(from <= to);
    assert(to <= weights->layout.n_blocks);
    assert(to - from <= out->capacity - out->n_blocks);
    for (uint32_t block = from; block < to; block++) {
        const struct hm_tensor *tensor = hm_layout_tensor_of(&weights->layout, block);
        struct rule rule = rule_of(tensor->grid_exp, publish);
        extract_block(weights, block, &rule, out, stats);
    }
}

/* ---- apply ---- */

static void apply(const struct hm_delta *delta, struct hm_weights *weights, uint64_t *n_sampled,
                  uint64_t *n_wiped)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        const int32_t *q = delta->q[i];
        size_t at = (size_t)delta->block[i] * HM_BLOCK;
        float grid = hm_exp2i(hm_layout_tensor_of(&weights->layout, delta->block[i])->grid_exp);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            weights->b[at + j] += (uint32_t)q[j];
        if (rule_metered(delta, i)) {
            rule_add_metered(&weights->w[at], q, grid, n_sampled, n_wiped);
            continue;
        }
        for (unsigned j = 0; j < HM_BLOCK; j++)
            if (q[j])
                hm_cell_add(&weights->w[at + j], rule_gain(q[j], grid));
    }
}

/* ---- encode ---- */

struct bit_writer {
    uint8_t *out;
    size_t n; /* bits written */
};

static void put(struct bit_writer *bits, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, bits->n++) {
        if (bits->n % 8 == 0)
            bits->out[bits->n / 8] = 0;
        bits->out[bits->n / 8] |= (uint8_t)((value >> i & 1) << bits->n % 8);
    }
}

static void put_run(struct bit_writer *bits, uint32_t length)
{
    unsigned e = 0;
    if (!length)
        return;
    while (length >> (e + 1))
        e++;
    put(bits, 0, 2 + e);
    put(bits, 1, 1);
    put(bits, length - ((uint32_t)1 << e), e);
}

static void put_positions(struct bit_writer *bits, const uint8_t *position, unsigned n)
{
    unsigned r = codec_gap_bits(n);
    for (unsigned i = 0; i < n; i++)
        put(bits, i ? position[i] - position[i - 1] - 1u : position[i], r);
    for (unsigned i = 0; i < n; i++) {
        unsigned gap = i ? position[i] - position[i - 1] - 1u : position[i];
        put(bits, (uint64_t)1 << (gap >> r), (gap >> r) + 1);
    }
}

static unsigned count_from(const uint32_t *v, unsigned n, unsigned j)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        count += v[i] >> j != 0;
    return count;
}

static unsigned best_k(const uint32_t *v, unsigned n, unsigned k_max)
{
    unsigned k = 0;
    while (k < k_max && count_from(v, n, k) + count_from(v, n, k + 1) > n)
        k++;
    return k;
}

static void put_magnitudes(struct bit_writer *bits, const uint32_t *v, unsigned n, unsigned k)
{
    for (unsigned j = 0; j < k; j++)
        for (unsigned i = 0; i < n; i++)
            put(bits, v[i] >> j, 1);
    for (unsigned j = k;; j++) {
        for (unsigned i = 0; i < n; i++)
            if (j == k || v[i] >> (j - 1))
                put(bits, v[i] >> j != 0, 1);
        if (!count_from(v, n, j))
            return;
        for (unsigned i = 0; i < n && j > k; i++)
            if (v[i] >> j)
                put(bits, v[i] >> (j - 1), 1);
    }
}

static void put_signs(struct bit_writer *bits, const int32_t *q)
{
    for (unsigned j = 0; j < HM_BLOCK; j++)
        if (q[j])
            put(bits, q[j] < 0, 1);
}

static void put_block(struct bit_writer *bits, const int32_t *q)
{
    uint64_t mask = 0;
    uint8_t position[HM_BLOCK];
    uint32_t v[HM_BLOCK], all[HM_BLOCK];
    unsigned n = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        all[j] = (uint32_t)(q[j] < 0 ? -q[j] : q[j]);
        if (q[j]) {
            mask |= (uint64_t)1 << j;
            position[n] = (uint8_t)j;
            v[n++] = all[j] - 1;
        }
    }
    assert(n > 0);
    unsigned k = best_k(v, n, n <= CODEC_LIST_MAX ? CODEC_LIST_K_MAX : CODEC_K_MAX);
    if (n <= CODEC_LIST_MAX) {
        put(bits, 1 | (n - 1) << 1 | k << 5, 8);
        put_positions(bits, position, n);
        put_magnitudes(bits, v, n, k);
    } else if ((HM_BLOCK - n) * (k + 1) >= HM_BLOCK) {
        put(bits, 2 | k << 3, 8);
        put(bits, mask, 64);
        put_magnitudes(bits, v, n, k);
    } else {
        k = best_k(all, HM_BLOCK, CODEC_K_MAX);
        put(bits, 6 | k << 3, 8);
        put_magnitudes(bits, all, HM_BLOCK, k);
    }
    put_signs(bits, q);
}

static size_t encode(const struct hm_delta *delta, uint32_t from, uint32_t to, uint8_t *out)
{
    struct bit_writer bits = {out, 0};
    uint32_t next = from;
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        assert(delta->block[i] >= next);
        assert(delta->block[i] < to);
        put_run(&bits, delta->block[i] - next);
        put_block(&bits, delta->q[i]);
        next = delta->block[i] + 1;
    }
    put_run(&bits, to - next);
    return (bits.n + 7) / 8;
}

/* ---- decode ---- */

struct bit_reader {
    const uint8_t *in;
    size_t n, len; /* bits read, bits there */
    int failed;    /* read past the end, or met something that must be refused */
};

static uint64_t get(struct bit_reader *bits, unsigned n)
{
    uint64_t value = 0;
    if (n > bits->len - bits->n) {
        bits->failed = 1;
        return 0;
    }
    for (unsigned i = 0; i < n; i++, bits->n++)
        value |= (uint64_t)(bits->in[bits->n / 8] >> bits->n % 8 & 1) << i;
    return value;
}

/* Zero bits before the next one bit; fails when there are more than `most`. */
static unsigned get_zeros(struct bit_reader *bits, unsigned most)
{
    unsigned zeros = 0;
    while (!get(bits, 1)) {
        if (bits->failed || zeros == most) {
            bits->failed = 1;
            return 0;
        }
        zeros++;
    }
    return zeros;
}

static uint32_t get_run(struct bit_reader *bits)
{
    unsigned e = get_zeros(bits, CODEC_RUN_EXP_MAX);
    return ((uint32_t)1 << e) + (uint32_t)get(bits, e);
}

static void get_positions(struct bit_reader *bits, uint8_t *position, unsigned n)
{
    unsigned r = codec_gap_bits(n), low[CODEC_LIST_MAX], next = 0;
    for (unsigned i = 0; i < n; i++)
        low[i] = (unsigned)get(bits, r);
    for (unsigned i = 0; i < n; i++) {
        next += low[i] + (get_zeros(bits, HM_BLOCK) << r);
        bits->failed |= next >= HM_BLOCK;
        position[i] = (uint8_t)(next++ % HM_BLOCK);
    }
}

static void get_magnitudes(struct bit_reader *bits, uint32_t *v, unsigned n, unsigned k)
{
    uint8_t top[HM_BLOCK]; /* the number of layers that v[i] passed, plus k */
    unsigned left = n;
    memset(top, (int)k, sizeof top);
    memset(v, 0, n * sizeof *v);
    bits->failed |= k > CODEC_K_MAX;
    for (unsigned j = 0; j < k; j++)
        for (unsigned i = 0; i < n; i++)
            v[i] |= (uint32_t)get(bits, 1) << j;
    for (unsigned j = k; left && !bits->failed; j++) {
        left = 0;
        for (unsigned i = 0; i < n; i++)
            if (top[i] == j && get(bits, 1)) {
                top[i] = (uint8_t)(j + 1);
                left++;
            }
        bits->failed |= left && j >= CODEC_LAYERS;
        for (unsigned i = 0; i < n && j > k; i++)
            if (top[i] == j + 1)
                v[i] |= (uint32_t)get(bits, 1) << (j - 1);
    }
    for (unsigned i = 0; i < n && !bits->failed; i++)
        if (top[i] > k)
            v[i] |= (uint32_t)1 << (top[i] - 1);
}

/* The coordinates that a list or bitmap names; returns how many. */
static unsigned get_sparse(struct bit_reader *bits, int list, uint8_t *position, unsigned *k)
{
    unsigned n = 0;
    if (list) {
        n = 1 + (unsigned)get(bits, 4);
        *k = (unsigned)get(bits, 3);
        get_positions(bits, position, n);
        return n;
    }
    *k = (unsigned)get(bits, 5);
    uint64_t mask = get(bits, 64);
    for (unsigned j = 0; j < HM_BLOCK; j++)
        if (mask >> j & 1)
            position[n++] = (uint8_t)j;
    return n;
}

/* Returns the number of non-zero coordinates; 0, or a failed reader, is an error. */
static uint32_t get_block(struct bit_reader *bits, int list, int dense, int32_t *q)
{
    uint8_t position[HM_BLOCK];
    uint32_t v[HM_BLOCK], n_nonzero = 0;
    unsigned n = HM_BLOCK, k = 0;
    if (dense) {
        k = (unsigned)get(bits, 5);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            position[j] = (uint8_t)j;
    } else {
        n = get_sparse(bits, list, position, &k);
    }
    get_magnitudes(bits, v, n, k);
    if (bits->failed)
        return 0; /* k may be 31 then, and v + 1 beyond an int32 */
    memset(q, 0, HM_BLOCK * sizeof *q);
    for (unsigned i = 0; i < n; i++) {
        int32_t m = (int32_t)(v[i] + !dense);
        bits->failed |= m > CODEC_Q_MAX;
        if (m)
            q[position[i]] = get(bits, 1) ? -m : m;
        n_nonzero += m != 0;
    }
    return n_nonzero;
}

/* One token: appends its block or skips its run. Returns the next block, or `to` + 1 on refusal. */
static uint32_t get_token(struct bit_reader *bits, uint32_t block, uint32_t to,
                          struct hm_delta *out)
{
    int list = (int)get(bits, 1);
    int listed = list || get(bits, 1);
    if (!listed) {
        uint32_t run = get_run(bits);
        return bits->failed || run > to - block ? to + 1 : block + run;
    }
    int dense = !list && get(bits, 1);
    uint32_t n = get_block(bits, list, dense, out->q[out->n_blocks]);
    if (bits->failed || !n)
        return to + 1;
    out->block[out->n_blocks++] = block;
    out->n_nonzero += n;
    return block + 1;
}

static int ends_well(struct bit_reader *bits)
{
    size_t rest = bits->len - bits->n;
    return rest < 8 && !get(bits, (unsigned)rest);
}

static int decode(const uint8_t *in, size_t len, uint32_t from, uint32_t to, struct hm_delta *out)
{
    assert(from <= to);
    assert(to - from <= out->capacity);
    struct bit_reader bits = {in, 0, len * 8, 0};
    uint32_t block = from;
    out->n_blocks = out->n_nonzero = 0;
    while (block < to)
        block = get_token(&bits, block, to, out);
    if (block == to && ends_well(&bits))
        return 0;
    out->n_blocks = out->n_nonzero = 0;
    return -1;
}

/* ---- digest ---- */

static uint64_t digest_block(const int32_t *x, uint32_t block)
{
    uint64_t sum = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++)
        sum += (uint64_t)(int64_t)x[j] * hm_digest_lane_factor(j);
    return sum * hm_digest_block_factor(block);
}

static uint64_t digest(const struct hm_delta *delta)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        sum += digest_block(delta->q[i], delta->block[i]);
    return sum;
}

static uint64_t digest_dense(const uint32_t *x, uint32_t n_blocks)
{
    uint64_t sum = 0;
    for (uint32_t block = 0; block < n_blocks; block++)
        sum += digest_block((const int32_t *)x + (size_t)block * HM_BLOCK, block);
    return sum;
}

const struct hm_kernels hm_kernels_ref = {
    .name = "ref",
    .extract = extract,
    .apply = apply,
    .encode = encode,
    .decode = decode,
    .digest = digest,
    .digest_dense = digest_dense,
};
