/* Strings of bits and sets of lanes in 64-bit words, for the fast codec. Internal to sparse/. */
#ifndef HM_SPARSE_BITS_H
#define HM_SPARSE_BITS_H

#include <stdint.h>
#include <string.h>
#if defined(__BMI2__) && !defined(HM_PORTABLE)
#include <immintrin.h>
#endif

static inline uint64_t load_le64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static inline void store_le64(uint8_t *p, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    memcpy(p, &x, sizeof x);
}

/* The lowest n bits set, n <= 64. */
static inline uint64_t low_bits(unsigned n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

static inline unsigned count_bits(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

/* ---- writer and reader ---- */

struct bit_writer {
    uint8_t *at;   /* where `held` goes */
    uint64_t held; /* fewer than 8 bits between calls */
    unsigned n_held;
};

/* Appends the low n <= 56 bits of value, whose other bits are zero. Writes 8 bytes, some of them
 * ahead. */
static inline void put_bits(struct bit_writer *bits, uint64_t value, unsigned n)
{
    bits->held |= value << bits->n_held;
    bits->n_held += n;
    store_le64(bits->at, bits->held);
    bits->at += bits->n_held / 8;
    bits->held >>= bits->n_held & 56;
    bits->n_held &= 7;
}

/* The same for n <= 64. */
static inline void put_word(struct bit_writer *bits, uint64_t value, unsigned n)
{
    if (n <= 56) {
        put_bits(bits, value, n);
        return;
    }
    put_bits(bits, value & low_bits(32), 32);
    put_bits(bits, value >> 32, n - 32);
}

struct bit_reader {
    const uint8_t *in; /* readable for 16 bytes beyond any position read */
    size_t n;          /* bits read */
};

/* The next bits; the low 57 are valid. Does not advance. */
static inline uint64_t peek_bits(const struct bit_reader *bits)
{
    return load_le64(bits->in + bits->n / 8) >> bits->n % 8;
}

/* The next n <= 64 bits. */
static inline uint64_t get_word(struct bit_reader *bits, unsigned n)
{
    const uint8_t *p = bits->in + bits->n / 8;
    unsigned shift = (unsigned)bits->n % 8;
    uint64_t high = (uint64_t)p[8] << 1 << (63 - shift);
    bits->n += n;
    return (load_le64(p) >> shift | high) & low_bits(n);
}

/* ---- sets of lanes ---- */

/* A subset of 64 lanes, prepared for packing words to it and spreading words from it. */
struct lanes {
    uint64_t mask;
    unsigned n;
#if !defined(__BMI2__) || defined(HM_PORTABLE)
    uint64_t move[6]; /* lanes that move by 2^i on their way to the bottom */
#endif
};

#if defined(__BMI2__) && !defined(HM_PORTABLE)
static inline struct lanes lanes_of(uint64_t mask)
{
    return (struct lanes){mask, count_bits(mask)};
}

/* Bits of x in the set, moved together at the bottom. */
static inline uint64_t lanes_pack(const struct lanes *lanes, uint64_t x)
{
    return _pext_u64(x, lanes->mask);
}

/* The inverse: the low n bits of x, moved to the lanes of the set. */
static inline uint64_t lanes_spread(const struct lanes *lanes, uint64_t x)
{
    return _pdep_u64(x, lanes->mask);
}
#else
/* Parallel suffix method: Warren, Hacker's Delight, "Compress, or Generalized Extract". */
static inline struct lanes lanes_of(uint64_t mask)
{
    struct lanes lanes = {.mask = mask, .n = count_bits(mask)};
    uint64_t left = mask, zeros = ~mask << 1;
    for (unsigned i = 0; i < 6; i++) {
        uint64_t parity = zeros ^ zeros << 1;
        parity ^= parity << 2;
        parity ^= parity << 4;
        parity ^= parity << 8;
        parity ^= parity << 16;
        parity ^= parity << 32;
        uint64_t move = parity & left;
        left = (left ^ move) | move >> (1u << i);
        zeros &= ~parity;
        lanes.move[i] = move;
    }
    return lanes;
}

/* Bits of x in the set, moved together at the bottom. */
static inline uint64_t lanes_pack(const struct lanes *lanes, uint64_t x)
{
    x &= lanes->mask;
    for (unsigned i = 0; i < 6; i++) {
        uint64_t moving = x & lanes->move[i];
        x = (x ^ moving) | moving >> (1u << i);
    }
    return x;
}

/* The inverse: the low n bits of x, moved to the lanes of the set. */
static inline uint64_t lanes_spread(const struct lanes *lanes, uint64_t x)
{
    for (unsigned i = 6; i-- > 0;) {
        uint64_t move = lanes->move[i];
        x = (x & ~move) | (x << (1u << i) & move);
    }
    return x & lanes->mask;
}
#endif

#endif
