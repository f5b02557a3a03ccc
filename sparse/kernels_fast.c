/* The fast kernels: one source, compiled once for each instruction set.
 *
 * The build names the table (HM_TABLE), its name (HM_TABLE_NAME) and the flags. Loops over the 64
 * lanes of a block are plain and vectorise; bit planes (sparse/planes.h) and lane sets
 * (sparse/bits.h) use what the instruction set offers. HM_PORTABLE leaves all intrinsics out.
 *
 * The codec works on planes: a 64-bit word for each bit of the magnitudes. "Over D" of the format
 * is then one pack, a layer v >= 2^j is the OR of the planes from j on, and counting is popcount.
 */
#include "sparse/cell_vec.h"
#include "sparse/codec.h"
#include "sparse/digest.h"
#include "sparse/digest_table.h"
#include "sparse/planes.h"
#include "sparse/rule.h"

/* ---- extract ---- */

/* The bits of a float; without the sign they compare like its magnitude, infinities and NaN above
 * all else. */
typedef int32_t __attribute__((may_alias)) float_bits;

enum { MAGNITUDE = 0x7fffffff, INFINITE = 0x7f800000 };

static inline int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* What a block's W owes: d = W - B * grid. Returns 1 if some lane is to be published, 2 if some W
 * is not finite (its d is anything), 3 for both, else 0. */
static inline int owed(const float *restrict w, const uint32_t *restrict b, const struct rule *rule,
                       float *restrict d)
{
    const float_bits *w_bits = (const float_bits *)(const void *)w;
    const float_bits *d_bits = (const float_bits *)(const void *)d;
    const float grid = rule->grid;
    const int32_t least = bits_of(rule->least);
    int32_t due = 0, broken = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++)
        d[j] = w[j] - (float)(int32_t)b[j] * grid;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        due |= (d_bits[j] & MAGNITUDE) >= least ? 1 : 0;
        broken |= (w_bits[j] & MAGNITUDE) >= INFINITE ? 2 : 0;
    }
    return due | broken;
}

/* Sets the cells of the block at `at` that are not finite back to B * grid, and their d to 0. */
static __attribute__((noinline)) void reset_nonfinite(struct hm_weights *weights, size_t at,
                                                      const float *w, float grid, float *d,
                                                      struct hm_extract_stats *stats)
{
    for (unsigned j = 0; j < HM_BLOCK; j++)
        if (!isfinite(w[j])) {
            int32_t b = (int32_t)weights->b[at + j];
            hm_cell_set(&weights->w[at + j], (float)b * grid);
            d[j] = 0;
            rule_note_nonfinite(stats, at + j, w[j], b);
        }
}

/* Looks again at a block some of whose lanes were clipped, for what they wanted; b is moved
 * already.
 */
static __attribute__((noinline)) void note_leaps(size_t at, const float *w, const float *d,
                                                 const uint32_t *b, const int32_t *q,
                                                 const struct rule *rule,
                                                 struct hm_extract_stats *stats)
{
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        int32_t wanted = rule_wanted(d[j], rule);
        if (wanted != q[j])
            rule_note_leap(stats, wanted, at + j, w[j], (int32_t)(b[j] - (uint32_t)q[j]));
    }
}

/* q = x rounded to nearest-even; |x| is below 2^24. */
static inline void round_lanes(const float *x, int32_t *q)
{
#if defined(__AVX512F__) && !defined(HM_PORTABLE)
    for (unsigned j = 0; j < HM_BLOCK; j += 16)
        _mm512_storeu_si512(q + j, _mm512_cvtps_epi32(_mm512_loadu_ps(x + j)));
#elif defined(__AVX2__) && !defined(HM_PORTABLE)
    for (unsigned j = 0; j < HM_BLOCK; j += 8)
        _mm256_storeu_si256((__m256i *)(void *)(q + j), _mm256_cvtps_epi32(_mm256_loadu_ps(x + j)));
#elif defined(__SSE2__) && !defined(HM_PORTABLE)
    for (unsigned j = 0; j < HM_BLOCK; j += 4)
        _mm_storeu_si128((__m128i *)(void *)(q + j), _mm_cvtps_epi32(_mm_loadu_ps(x + j)));
#else
    for (unsigned j = 0; j < HM_BLOCK; j++)
        q[j] = (int32_t)lrintf(x[j]);
#endif
}

/* q of every lane, and B moved by it. Returns the number of non-zero lanes. */
static inline uint32_t publish_lanes(const float *restrict d, uint32_t *restrict b,
                                     const struct rule *rule, int32_t *restrict q,
                                     uint32_t *n_clipped)
{
    float x[HM_BLOCK] __attribute__((aligned(64)));
    const float_bits *d_bits = (const float_bits *)(const void *)d;
    const float per_unit = rule->per_unit;
    const int32_t least = bits_of(rule->least);
    uint32_t n_nonzero = 0, n_cut = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        float y = d[j] * per_unit;
        y = y > RULE_Q_CUT ? RULE_Q_CUT : y;
        x[j] = y < -RULE_Q_CUT ? -RULE_Q_CUT : y;
    }
    round_lanes(x, q);
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        int32_t unit = d_bits[j] >> 31 | 1; /* 1 or -1, as d's sign */
        int32_t wanted = q[j] == 0 ? unit : q[j];
        wanted = (d_bits[j] & MAGNITUDE) >= least ? wanted : 0;
        int32_t given = rule_clip(wanted, (int32_t)b[j]);
        q[j] = given;
        b[j] += (uint32_t)given;
        n_cut += given != wanted ? 1u : 0u;
        n_nonzero += given != 0 ? 1u : 0u;
    }
    *n_clipped = n_cut;
    return n_nonzero;
}

static inline void take_back(hm_cell *w, const int32_t *q, float back)
{
    float u[HM_BLOCK] __attribute__((aligned(64)));
    for (unsigned j = 0; j < HM_BLOCK; j++)
        u[j] = -(back * (float)q[j]);
    hm_cells_add(w, u, HM_BLOCK);
}

static inline void extract_block(struct hm_weights *weights, uint32_t block,
                                 const struct rule *rule, struct hm_delta *out,
                                 struct hm_extract_stats *stats)
{
    float w[HM_BLOCK] __attribute__((aligned(64))), d[HM_BLOCK] __attribute__((aligned(64)));
    size_t at = (size_t)block * HM_BLOCK;
    hm_cells_get(&weights->w[at], w, HM_BLOCK);
    int found = owed(w, &weights->b[at], rule, d);
    if (!found)
        return;
    if (found & 2)
        reset_nonfinite(weights, at, w, rule->grid, d, stats);
    int32_t *q = out->q[out->n_blocks];
    uint32_t n_clipped, n_nonzero = publish_lanes(d, &weights->b[at], rule, q, &n_clipped);
    if (__builtin_expect(n_clipped != 0, 0)) {
        stats->n_clipped += n_clipped;
        note_leaps(at, w, d, &weights->b[at], q, rule, stats);
    }
    if (!n_nonzero)
        return;
    if (rule->back > 0)
        take_back(&weights->w[at], q, rule->back);
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
    for (uint32_t block = from; block < to;) {
        const struct hm_tensor *tensor = hm_layout_tensor_of(&weights->layout, block);
        const struct rule rule = rule_of(tensor->grid_exp, publish);
        for (uint32_t end = rule_part_end(tensor, to); block < end; block++)
            extract_block(weights, block, &rule, out, stats);
    }
}

/* ---- apply ---- */

/* gain: w[j] += u[j] in place, j < 64. Cells that gain nothing are not written, lest adds of others
 * to them get lost: lane by lane where a vector can be stored in part, else (branches cost more
 * than they save) 16 lanes at a time. */
#if defined(HM_TSAN)

static inline void gain(hm_cell *restrict w, const float *restrict u)
{
    for (unsigned j = 0; j < HM_BLOCK; j++)
        if (u[j] != 0)
            hm_cell_add(&w[j], u[j]);
}

#elif defined(__AVX512F__) && !defined(HM_PORTABLE)

static inline void gain(hm_cell *restrict cells, const float *restrict u)
{
    hm_plain *w = (hm_plain *)(void *)cells;
    for (unsigned j = 0; j < HM_BLOCK; j += 16) {
        __m512 x = _mm512_loadu_ps(u + j);
        __mmask16 some = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_OQ);
        _mm512_mask_storeu_ps(w + j, some, _mm512_add_ps(_mm512_loadu_ps(w + j), x));
    }
}

#elif defined(__AVX2__) && !defined(HM_PORTABLE)

static inline void gain(hm_cell *restrict cells, const float *restrict u)
{
    hm_plain *w = (hm_plain *)(void *)cells;
    for (unsigned j = 0; j < HM_BLOCK; j += 8) {
        __m256 x = _mm256_loadu_ps(u + j);
        __m256 some = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NEQ_OQ);
        __m256 sum = _mm256_add_ps(_mm256_loadu_ps(w + j), x);
        _mm256_maskstore_ps(w + j, _mm256_castps_si256(some), sum);
    }
}

#else

enum { GROUP = 16 };

/* Of +0.0 and -0.0: all bits but the signs. */
static inline int group_is_zero(const float *u)
{
    uint64_t any = 0;
    for (unsigned j = 0; j < GROUP; j += 2) {
        uint64_t two;
        memcpy(&two, u + j, sizeof two);
        any |= two;
    }
    return !(any & 0x7fffffff7fffffff);
}

static inline void gain(hm_cell *restrict w, const float *restrict u)
{
    for (unsigned g = 0; g < HM_BLOCK; g += GROUP)
        if (!group_is_zero(u + g))
            hm_cells_add(w + g, u + g, GROUP);
}

#endif

static inline void add_to_base(uint32_t *restrict b, const int32_t *restrict q)
{
    for (unsigned j = 0; j < HM_BLOCK; j++)
        b[j] += (uint32_t)q[j];
}

static inline void apply_block(const int32_t *restrict q, hm_cell *restrict w, uint32_t *restrict b,
                               float grid)
{
    float u[HM_BLOCK] __attribute__((aligned(64)));
    add_to_base(b, q);
    for (unsigned j = 0; j < HM_BLOCK; j++)
        u[j] = rule_gain(q[j], grid);
    gain(w, u);
}

static void apply_block_metered(const int32_t *q, hm_cell *w, uint32_t *b, float grid,
                                uint64_t *n_sampled, uint64_t *n_wiped)
{
    add_to_base(b, q);
    rule_add_metered(w, q, grid, n_sampled, n_wiped);
}

enum { FETCH_AHEAD = 8 /* blocks: further on gains nothing, nearer less */ };

/* Listed blocks are anywhere in W: asked for in time, more of them are under way at once than a
 * processor finds by itself. */
static inline void fetch_ahead(const struct hm_delta *delta, uint32_t i,
                               const struct hm_weights *weights)
{
    if (i + FETCH_AHEAD >= delta->n_blocks)
        return;
    size_t at = (size_t)delta->block[i + FETCH_AHEAD] * HM_BLOCK;
    for (unsigned j = 0; j < HM_BLOCK; j += 16) {
        __builtin_prefetch(&weights->w[at + j], 1);
        __builtin_prefetch(&weights->b[at + j], 1);
    }
}

static void apply(const struct hm_delta *delta, struct hm_weights *weights, uint64_t *n_sampled,
                  uint64_t *n_wiped)
{
    for (uint32_t i = 0; i < delta->n_blocks;) {
        const struct hm_tensor *tensor = hm_layout_tensor_of(&weights->layout, delta->block[i]);
        const float grid = hm_exp2i(tensor->grid_exp);
        uint32_t end = tensor->block + tensor->n_blocks;
        for (; i < delta->n_blocks && delta->block[i] < end; i++) {
            size_t at = (size_t)delta->block[i] * HM_BLOCK;
            fetch_ahead(delta, i, weights);
            if (rule_metered(delta, i))
                apply_block_metered(delta->q[i], &weights->w[at], &weights->b[at], grid, n_sampled,
                                    n_wiped);
            else
                apply_block(delta->q[i], &weights->w[at], &weights->b[at], grid);
        }
    }
}

/* ---- encode ---- */

struct planes {
    uint64_t bit[CODEC_LAYERS + 1];   /* bit i of v */
    uint64_t layer[CODEC_LAYERS + 2]; /* v >= 2^i */
    unsigned width;                   /* planes from here on are zero */
};

/* Planes of v = |q| - less where q is not zero. */
static inline void planes_of_lanes(const int32_t *q, int32_t less, struct planes *planes)
{
    uint8_t byte[3][HM_BLOCK] __attribute__((aligned(64)));
    uint32_t v[HM_BLOCK] __attribute__((aligned(64))), all = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        int32_t m = q[j] < 0 ? -q[j] : q[j];
        v[j] = (uint32_t)(m - (m ? less : 0));
        all |= v[j];
        byte[0][j] = (uint8_t)v[j];
    }
    unsigned width = all ? 32 - (unsigned)__builtin_clz(all) : 0;
    assert(width <= CODEC_LAYERS);
    planes_of_bytes(byte[0], width < 8 ? width : 8, planes->bit);
    for (unsigned s = 8; s < width; s += 8) {
        for (unsigned j = 0; j < HM_BLOCK; j++)
            byte[s / 8][j] = (uint8_t)(v[j] >> s);
        planes_of_bytes(byte[s / 8], width - s < 8 ? width - s : 8, planes->bit + s);
    }
    planes->width = width;
    planes->layer[width] = planes->layer[width + 1] = 0;
    for (unsigned i = width; i-- > 0;)
        planes->layer[i] = planes->layer[i + 1] | planes->bit[i];
}

static inline unsigned best_k(const struct planes *planes, unsigned n, unsigned k_max)
{
    unsigned k = 0, here = count_bits(planes->layer[0]);
    while (k < k_max && k < planes->width) {
        unsigned above = count_bits(planes->layer[k + 1]);
        if (here + above <= n)
            break;
        here = above;
        k++;
    }
    return k;
}

static inline uint64_t plane_at(const struct planes *planes, unsigned i)
{
    return i < planes->width ? planes->bit[i] : 0;
}

static inline uint64_t layer_at(const struct planes *planes, unsigned i)
{
    return i < planes->width ? planes->layer[i] : 0;
}

static inline void put_magnitudes(struct bit_writer *bits, const struct planes *planes,
                                  const struct lanes *set, unsigned k)
{
    struct lanes in = *set;
    for (unsigned i = 0; i < k; i++)
        put_word(bits, lanes_pack(set, plane_at(planes, i)), set->n);
    for (unsigned j = k;; j++) {
        uint64_t layer = layer_at(planes, j);
        put_word(bits, lanes_pack(&in, layer), in.n);
        if (!layer)
            return;
        in = lanes_of(layer);
        if (j > k)
            put_word(bits, lanes_pack(&in, plane_at(planes, j - 1)), in.n);
    }
}

static inline void put_run(struct bit_writer *bits, uint32_t length)
{
    if (!length)
        return;
    unsigned e = 31 - (unsigned)__builtin_clz(length);
    uint64_t rest = length - ((uint32_t)1 << e);
    put_bits(bits, (uint64_t)1 << (2 + e) | rest << (3 + e), 3 + 2 * e);
}

static inline void put_positions(struct bit_writer *bits, uint64_t mask, unsigned n)
{
    unsigned r = codec_gap_bits(n), low_at = 0, high_at = 0;
    uint64_t low = 0, high = 0;
    for (unsigned next = 0; mask; mask &= mask - 1) {
        unsigned at = (unsigned)__builtin_ctzll(mask), gap = at - next;
        low |= (gap & low_bits(r)) << low_at;
        low_at += r;
        high_at += gap >> r;
        high |= (uint64_t)1 << high_at++;
        next = at + 1;
    }
    put_bits(bits, low, low_at);
    put_bits(bits, high, high_at);
}

/* Masks of the lanes that are not zero and of those below zero. */
static inline void masks_of_lanes(const int32_t *q, uint64_t mask[2])
{
#if defined(__AVX512F__) && !defined(HM_PORTABLE)
    mask[0] = mask[1] = 0;
    for (unsigned g = 0; g < 4; g++) {
        __m512i x = _mm512_loadu_si512(q + 16 * g);
        mask[0] |= (uint64_t)_mm512_test_epi32_mask(x, x) << 16 * g;
        mask[1] |= (uint64_t)_mm512_movepi32_mask(x) << 16 * g;
    }
#else
    uint8_t byte[HM_BLOCK] __attribute__((aligned(64)));
    for (unsigned j = 0; j < HM_BLOCK; j++)
        byte[j] = (uint8_t)((q[j] != 0) | (q[j] < 0) << 1);
    planes_of_bytes(byte, 2, mask);
#endif
}

static inline void put_block(struct bit_writer *bits, const int32_t *q)
{
    struct planes planes;
    uint64_t mask[2];
    masks_of_lanes(q, mask);
    assert(mask[0]);
    const struct lanes some = lanes_of(mask[0]);
    planes_of_lanes(q, 1, &planes);
    unsigned k = best_k(&planes, some.n, some.n <= CODEC_LIST_MAX ? CODEC_LIST_K_MAX : CODEC_K_MAX);
    if (some.n <= CODEC_LIST_MAX) {
        put_bits(bits, 1 | (some.n - 1) << 1 | k << 5, 8);
        put_positions(bits, mask[0], some.n);
        put_magnitudes(bits, &planes, &some, k);
    } else if ((HM_BLOCK - some.n) * (k + 1) >= HM_BLOCK) {
        put_bits(bits, 2 | k << 3, 8);
        put_word(bits, mask[0], 64);
        put_magnitudes(bits, &planes, &some, k);
    } else {
        const struct lanes all = lanes_of(~(uint64_t)0);
        planes_of_lanes(q, 0, &planes);
        k = best_k(&planes, HM_BLOCK, CODEC_K_MAX);
        put_bits(bits, 6 | k << 3, 8);
        put_magnitudes(bits, &planes, &all, k);
    }
    put_word(bits, lanes_pack(&some, mask[1]), some.n);
}

static size_t encode(const struct hm_delta *delta, uint32_t from, uint32_t to, uint8_t *out)
{
    struct bit_writer bits = {out, 0, 0};
    uint32_t next = from;
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        assert(delta->block[i] >= next);
        assert(delta->block[i] < to);
        put_run(&bits, delta->block[i] - next);
        put_block(&bits, delta->q[i]);
        next = delta->block[i] + 1;
    }
    put_run(&bits, to - next);
    return (size_t)(bits.at - out) + (bits.n_held > 0);
}

/* ---- decode ---- */

/* Reads the values over `set` into planes. Returns -1 on what must be refused. */
static inline int get_magnitudes(struct bit_reader *bits, const struct lanes *set, unsigned k,
                                 struct planes *planes)
{
    uint64_t layer = set->mask;
    struct lanes in = *set;
    unsigned j;
    for (unsigned i = 0; i < k; i++)
        planes->bit[i] = lanes_spread(set, get_word(bits, set->n));
    for (j = k;; j++) {
        uint64_t before = layer;
        layer = lanes_spread(&in, get_word(bits, in.n));
        if (j > k)
            planes->bit[j - 1] = before & ~layer; /* left here: the top bit is implied */
        if (!layer)
            break;
        if (j >= CODEC_LAYERS)
            return -1;
        in = lanes_of(layer);
        if (j > k)
            planes->bit[j - 1] |= lanes_spread(&in, get_word(bits, in.n));
    }
    planes->width = j;
    return 0;
}

/* Is some v of a dense block above 2^23? Plane 23 alone may be set. */
static inline int too_large(const struct planes *planes)
{
    uint64_t low = 0;
    if (planes->width < CODEC_LAYERS)
        return 0;
    for (unsigned i = 0; i + 1 < CODEC_LAYERS; i++)
        low |= planes->bit[i];
    return (planes->bit[CODEC_LAYERS - 1] & low) != 0;
}

static inline unsigned at_most_8(unsigned n)
{
    return n < 8 ? n : 8;
}

/* q = +-(v + more) by lanes: `more` holds the lanes of a list or bitmap, `minus` those below zero.
 */
static inline void lanes_of_planes(const struct planes *planes, uint64_t more, uint64_t minus,
                                   int32_t *q)
{
    uint8_t byte[HM_BLOCK] __attribute__((aligned(64))),
        sign[HM_BLOCK] __attribute__((aligned(64)));
    uint64_t pair[2] = {minus, more};
    bytes_of_planes(pair, 2, sign);
    bytes_of_planes(planes->bit, at_most_8(planes->width), byte);
    if (planes->width <= 8) {
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            int32_t m = byte[j] + (sign[j] >> 1), s = -(sign[j] & 1);
            q[j] = (m ^ s) - s;
        }
        return;
    }
    for (unsigned j = 0; j < HM_BLOCK; j++)
        q[j] = byte[j];
    for (unsigned s = 8; s < planes->width; s += 8) {
        bytes_of_planes(planes->bit + s, at_most_8(planes->width - s), byte);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            q[j] |= (int32_t)((uint32_t)byte[j] << s);
    }
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        int32_t m = q[j] + (sign[j] >> 1), s = -(sign[j] & 1);
        q[j] = (m ^ s) - s;
    }
}

/* The mask of a list of n positions; 0 if one is beyond the block. */
static inline uint64_t get_positions(struct bit_reader *bits, unsigned n)
{
    unsigned r = codec_gap_bits(n), at = 0;
    uint64_t low = peek_bits(bits) & low_bits(n * r), mask = 0;
    bits->n += n * r;
    uint64_t high = peek_bits(bits) & low_bits(57);
    for (unsigned i = 0; i < n; i++) {
        if (!high)
            return 0;
        unsigned zeros = (unsigned)__builtin_ctzll(high);
        at += zeros << r | (unsigned)(low & low_bits(r));
        if (at >= HM_BLOCK)
            return 0;
        mask |= (uint64_t)1 << at++;
        low >>= r;
        high >>= zeros;
        high >>= 1;
        bits->n += zeros + 1;
    }
    return mask;
}

/* One listed block. Returns the number of non-zero coordinates, 0 on refusal; it may have read too
 * far. */
static inline uint32_t get_block(struct bit_reader *bits, int32_t *q)
{
    struct planes planes;
    unsigned head = (unsigned)peek_bits(bits) & 0xff, k = head >> 3;
    uint64_t mask, some = ~(uint64_t)0;
    bits->n += 8;
    if (head & 1) {
        k = head >> 5;
        mask = get_positions(bits, 1 + (head >> 1 & 15));
    } else {
        mask = head & 4 ? some : get_word(bits, 64);
    }
    int dense = (head & 5) == 4;
    if (!mask || k > CODEC_K_MAX)
        return 0;
    const struct lanes set = lanes_of(mask);
    if (get_magnitudes(bits, &set, k, &planes))
        return 0;
    if (dense) {
        some = 0;
        for (unsigned i = 0; i < planes.width; i++)
            some |= planes.bit[i];
        if (!some || too_large(&planes))
            return 0;
        const struct lanes nonzero = lanes_of(some);
        lanes_of_planes(&planes, 0, lanes_spread(&nonzero, get_word(bits, nonzero.n)), q);
        return nonzero.n;
    }
    if (planes.width >= CODEC_LAYERS)
        return 0;
    lanes_of_planes(&planes, mask, lanes_spread(&set, get_word(bits, set.n)), q);
    return set.n;
}

/* The length of a run, whose two token bits come first; 0 on refusal. */
static inline uint32_t get_run(struct bit_reader *bits)
{
    uint64_t x = peek_bits(bits) >> 2;
    unsigned e = x ? (unsigned)__builtin_ctzll(x) : 64;
    if (e > CODEC_RUN_EXP_MAX)
        return 0;
    bits->n += 3 + 2 * e;
    return (uint32_t)1 << e | (uint32_t)(x >> (e + 1) & low_bits(e));
}

enum { TAIL = CODEC_TOKEN_BITS_MAX / 8 + 17 };

/* The message may be read beyond its end, into zeros: when less than the longest token is left of
 * it, reading moves to a copy with room behind. */
struct source {
    struct bit_reader bits;
    size_t len;             /* bits of the message, counted as bits.n is */
    uint8_t copy[2 * TAIL]; /* zeros behind the rest */
    int copied;
};

static void move_to_copy(struct source *source)
{
    size_t byte = source->bits.n / 8, rest = source->len / 8 - byte;
    assert(rest <= TAIL);
    memset(source->copy, 0, sizeof source->copy);
    if (rest)
        memcpy(source->copy, source->bits.in + byte, rest);
    source->bits.in = source->copy;
    source->bits.n -= byte * 8;
    source->len -= byte * 8;
    source->copied = 1;
}

/* One token: appends its block or skips its run. Returns how many blocks it stands for; 0 on
 * refusal. */
static inline uint32_t get_token(struct bit_reader *bits, uint32_t block, struct hm_delta *out)
{
    if (!(peek_bits(bits) & 3))
        return get_run(bits);
    uint32_t n = get_block(bits, out->q[out->n_blocks]);
    if (!n)
        return 0;
    out->block[out->n_blocks++] = block;
    out->n_nonzero += n;
    return 1;
}

static int decode_all(struct source *source, uint32_t from, uint32_t to, struct hm_delta *out)
{
    struct bit_reader *bits = &source->bits;
    for (uint32_t block = from; block < to;) {
        if (!source->copied && source->len - bits->n < 8 * TAIL)
            move_to_copy(source);
        uint32_t n = get_token(bits, block, out);
        if (!n || n > to - block || bits->n > source->len)
            return -1;
        block += n;
    }
    size_t rest = source->len - bits->n;
    if (rest >= 8)
        return -1;
    if (!source->copied)
        move_to_copy(source);
    return (peek_bits(bits) & low_bits((unsigned)rest)) ? -1 : 0;
}

static int decode(const uint8_t *in, size_t len, uint32_t from, uint32_t to, struct hm_delta *out)
{
    assert(from <= to);
    assert(to - from <= out->capacity);
    struct source source;
    source.bits = (struct bit_reader){in, 0};
    source.len = len * 8;
    source.copied = 0;
    out->n_blocks = out->n_nonzero = 0;
    if (!decode_all(&source, from, to, out))
        return 0;
    out->n_blocks = out->n_nonzero = 0;
    return -1;
}

/* ---- digest ---- */

/* sum of T(j) * x[j] modulo 2^64, from 32-bit halves of T: x * T = x * low(T) + 2^32 * (x *
 * high(T)). */
static inline uint64_t digest_lanes(const int32_t *x)
{
    uint64_t low = 0; /* wraps: one product may take 63 bits */
    uint32_t high = 0;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        low += (uint64_t)((int64_t)x[j] * digest_low[j]);
        high += (uint32_t)x[j] * digest_high[j];
    }
    return low + ((uint64_t)high << 32);
}

static uint64_t digest(const struct hm_delta *delta)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        sum += digest_lanes(delta->q[i]) * hm_digest_block_factor(delta->block[i]);
    return sum;
}

static uint64_t digest_dense(const uint32_t *x, uint32_t n_blocks)
{
    uint64_t sum = 0;
    for (uint32_t block = 0; block < n_blocks; block++)
        sum += digest_lanes((const int32_t *)x + (size_t)block * HM_BLOCK) *
               hm_digest_block_factor(block);
    return sum;
}

extern const struct hm_kernels HM_TABLE;
const struct hm_kernels HM_TABLE = {
    .name = HM_TABLE_NAME,
    .extract = extract,
    .apply = apply,
    .encode = encode,
    .decode = decode,
    .digest = digest,
    .digest_dense = digest_dense,
};
