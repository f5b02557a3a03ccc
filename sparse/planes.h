/* Bytes to bit planes and back: plane i holds bit i of each of 64 bytes, lane j in bit j. Internal
 * to sparse/.
 *
 * One body for each instruction set that has a good way, and a portable one in 64-bit words.
 */
#ifndef HM_SPARSE_PLANES_H
#define HM_SPARSE_PLANES_H

#include "sparse/bits.h"

#if defined(HM_PORTABLE)
#define PLANES_WORDS
#elif defined(__AVX512BW__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <immintrin.h>
#else
#define PLANES_WORDS
#endif

#if defined(PLANES_WORDS)

static inline void planes_of_bytes(const uint8_t byte[64], unsigned n, uint64_t *plane)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t bits = 0;
        for (unsigned g = 0; g < 8; g++) {
            uint64_t ones = load_le64(byte + 8 * g) >> i & 0x0101010101010101;
            bits |= (ones * 0x0102040810204080 >> 56) << 8 * g;
        }
        plane[i] = bits;
    }
}

static inline void bytes_of_planes(const uint64_t *plane, unsigned n, uint8_t byte[64])
{
    for (unsigned g = 0; g < 8; g++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < n; i++) {
            uint64_t bit = (plane[i] >> 8 * g & 0xff) * 0x0101010101010101 & 0x8040201008040201;
            sum |= ((bit + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101) << i;
        }
        store_le64(byte + 8 * g, sum);
    }
}

#elif defined(__AVX512BW__)

static inline void planes_of_bytes(const uint8_t byte[64], unsigned n, uint64_t *plane)
{
    __m512i x = _mm512_loadu_si512(byte);
    for (unsigned i = 0; i < n; i++)
        plane[i] = _mm512_test_epi8_mask(x, _mm512_set1_epi8((char)(1u << i)));
}

static inline void bytes_of_planes(const uint64_t *plane, unsigned n, uint8_t byte[64])
{
    __m512i sum = _mm512_setzero_si512();
    for (unsigned i = 0; i < n; i++)
        sum = _mm512_mask_add_epi8(sum, plane[i], sum, _mm512_set1_epi8((char)(1u << i)));
    _mm512_storeu_si512(byte, sum);
}

#elif defined(__AVX2__)

static inline void planes_of_bytes(const uint8_t byte[64], unsigned n, uint64_t *plane)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)byte);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(byte + 32));
    for (unsigned i = 0; i < n; i++) {
        __m128i up = _mm_cvtsi32_si128((int)(7 - i)); /* bit i to the top of its byte */
        uint32_t a = (uint32_t)_mm256_movemask_epi8(_mm256_sll_epi16(low, up));
        uint32_t b = (uint32_t)_mm256_movemask_epi8(_mm256_sll_epi16(high, up));
        plane[i] = a | (uint64_t)b << 32;
    }
}

/* 32 lanes, all ones where the bit is set. */
static inline __m256i spread32(uint32_t bits)
{
    const __m256i from =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i x = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), from);
    return _mm256_cmpeq_epi8(_mm256_and_si256(x, own), own);
}

static inline void bytes_of_planes(const uint64_t *plane, unsigned n, uint8_t byte[64])
{
    __m256i low = _mm256_setzero_si256(), high = low;
    for (unsigned i = 0; i < n; i++) {
        __m256i one = _mm256_set1_epi8((char)(1u << i));
        low = _mm256_or_si256(low, _mm256_and_si256(spread32((uint32_t)plane[i]), one));
        high = _mm256_or_si256(high, _mm256_and_si256(spread32((uint32_t)(plane[i] >> 32)), one));
    }
    _mm256_storeu_si256((__m256i *)(void *)byte, low);
    _mm256_storeu_si256((__m256i *)(void *)(byte + 32), high);
}

#else /* SSE2 */

static inline void planes_of_bytes(const uint8_t byte[64], unsigned n, uint64_t *plane)
{
    const __m128i *x = (const __m128i *)(const void *)byte;
    for (unsigned i = 0; i < n; i++) {
        __m128i up = _mm_cvtsi32_si128((int)(7 - i)); /* bit i to the top of its byte */
        uint64_t bits = 0;
        for (unsigned g = 0; g < 4; g++) {
            __m128i top = _mm_sll_epi16(_mm_loadu_si128(x + g), up);
            bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(top) << 16 * g;
        }
        plane[i] = bits;
    }
}

/* Adds `one` to the lanes of sum[0..3] whose bit is set. */
static inline void add_plane(__m128i sum[4], uint64_t bits, __m128i one)
{
    const __m128i own = _mm_set1_epi64x((long long)0x8040201008040201);
    __m128i x = _mm_cvtsi64_si128((long long)bits);
    x = _mm_unpacklo_epi8(x, x);
    __m128i half[2] = {_mm_unpacklo_epi16(x, x), _mm_unpackhi_epi16(x, x)};
    for (unsigned g = 0; g < 4; g++) {
        __m128i y = half[g / 2];
        y = g % 2 ? _mm_unpackhi_epi32(y, y) : _mm_unpacklo_epi32(y, y);
        y = _mm_cmpeq_epi8(_mm_and_si128(y, own), own);
        sum[g] = _mm_or_si128(sum[g], _mm_and_si128(y, one));
    }
}

static inline void bytes_of_planes(const uint64_t *plane, unsigned n, uint8_t byte[64])
{
    __m128i sum[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(),
                      _mm_setzero_si128()};
    for (unsigned i = 0; i < n; i++)
        add_plane(sum, plane[i], _mm_set1_epi8((char)(1u << i)));
    for (unsigned g = 0; g < 4; g++)
        _mm_storeu_si128((__m128i *)(void *)(byte + 16 * g), sum[g]);
}

#endif
#endif
