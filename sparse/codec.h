/* The bytes of a delta: the normative description, and the constants that both codecs share.
 *
 * A message packs the blocks [from, to) of a layout, in order; from and to travel beside it. It is
 * one string of bits: bit i of the string is bit i % 8 (0 = least significant) of byte i / 8. A
 * field of n bits holds an unsigned number, its least significant bit first. Nothing is aligned to
 * bytes but the end of the message.
 *
 * The string is a sequence of tokens. A token stands for the next block, or for a run of blocks:
 *
 *   bits    fields, in the order of the string
 *   00      run     a number L >= 1: e zero bits, a one bit, a field of e bits with L - 2^e; e
 * <= 25. The next L blocks are zero. 1       list    n - 1 in 4 bits, k in 3 bits, positions
 * (below), values.  1 to 16 coordinates are not zero. 010     bitmap  k in 5 bits, a field of 64
 * bits (bit j: coordinate j is not zero; not all 0), values. 011     dense   k in 5 bits, values of
 * all 64 coordinates, of which at least one must not be zero.
 *
 * ("010" is written in the order of the string: the first bit is 0, the second 1, the third 0.)
 *
 * Positions of a list: gap i = position i - position (i - 1) - 1, where position -1 is -1. First
 * the low r bits of each gap, n fields of r bits; then for each gap its upper part, gap >> r, as
 * that many zero bits and a one bit. r depends on n: 5 for n = 1, 4 for 2 and 3, 3 for 4 to 6, 2
 * for 7 to 13, 1 for 14 to 16. Positions are < 64.
 *
 * Values: let S be the coordinates of the block that the token names (list, bitmap: the non-zero
 * ones; dense: all), in ascending order, and v = |q| - 1 (list, bitmap) or |q| (dense). "A over D"
 * is one bit for each coordinate of the set D, in ascending order.
 *
 *   for i = 0 .. k - 1:      bit i of v, over S
 *   D := S
 *   for j = k, k + 1, ...:   "v >= 2^j", over D; G := those where it is 1. If G is empty, stop.
 *                            if j > k: bit j - 1 of v, over G
 *                            D := G
 *   signs                    "q < 0", over the coordinates of S with q != 0
 *
 * So a coordinate that left at layer j > k (v >= 2^(j-1), v < 2^j) has bit j - 1 set and its lower
 * bits were sent; one that left at j = k has only its k low bits. It is an exponential-Golomb code
 * of order k, sorted by bit.
 *
 * Limits: k <= 23; layers j <= 23 (a 1 in layer 24 is an error); |q| <= 2 * HM_RANGE = 2^23.
 *
 * Exactly `to` blocks must have been described when the message ends; the bits after the last
 * token, fewer than 8, are zero. The message for from = to is empty.
 *
 * A decoder refuses: a message that ends within a token; a run that is 2^26 or longer or that
 * passes `to`; a token after block `to`, trailing bytes, padding bits that are not zero; positions
 * beyond 63; an empty bitmap; a dense block of zeros; k above 23; a 1 in layer 24; |q| above 2^23.
 * It accepts encodings that are not the shortest (runs that could be joined, another token or k
 * than our encoder would take).
 *
 * Our encoder joins runs as far as possible, takes a list up to 16 non-zero coordinates, else
 * computes k of the bitmap and takes the bitmap if (64 - n) * (k + 1) >= 64, else dense. With c(j)
 * the number of v >= 2^j it takes the smallest k with c(k) + c(k + 1) <= |S|, which makes the
 * values shortest: going from k to k + 1 changes their size by |S| - c(k) - c(k + 1) bits. All
 * kernel tables write the same bytes.
 *
 * Example: 4 blocks, q = -1 at coordinate 3 of block 1, all else zero: run 1, list (n 1, k 0, gap
 * 3), run 2. 00 1 | 1 0000 000 11000 1 | 0 1 | 00 01 0   ->   bits 0011 0000 0001 1000 1010 0010 ->
 * 0C 18 45
 */
#ifndef HM_SPARSE_CODEC_H
#define HM_SPARSE_CODEC_H

#include "sparse/delta.h"

#include <string.h>

enum {
    CODEC_RUN_EXP_MAX = 25,
    CODEC_LIST_MAX = 16,  /* coordinates in a list */
    CODEC_LIST_K_MAX = 7, /* largest k of a list: 3 bits */
    CODEC_K_MAX = 23,
    CODEC_LAYERS = 24, /* layer 24 holds no 1 */
    CODEC_Q_MAX = 2 * HM_RANGE,
    /* The longest token, hostile ones included: header, bitmap, a layer and a plane for every bit,
       signs. */
    CODEC_TOKEN_BITS_MAX = 8 + HM_BLOCK * (1 + 2 * (CODEC_LAYERS + 1) + 1),
};

_Static_assert(CODEC_Q_MAX == 1 << 23, "the format describes 24 bits of magnitude");
_Static_assert(HM_BLOCKS_MAX < 1 << (CODEC_RUN_EXP_MAX + 1), "a run covers any range");

/* Low bits of each gap in a list of n positions: close to log2 of the mean gap. */
static inline unsigned codec_gap_bits(unsigned n)
{
    return n == 1 ? 5 : n <= 3 ? 4 : n <= 6 ? 3 : n <= 13 ? 2 : 1;
}

#endif
