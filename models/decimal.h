/* Reading and writing decimal numbers fast and exactly, whatever the locale.
 *
 * Eight characters are examined at a time (Langdale and Lemire: Parsing gigabytes of JSON per
 * second, VLDB Journal 2019). A mantissa below 2^53 and a power of ten up to 22 are both exact in
 * double, so one division or product is correctly rounded (Clinger 1990); rounding that double to
 * float is correct too unless it lies half-way between two floats. Those, and everything unusual,
 * go to strtod in the C locale.
 *
 * Readers take a pointer into a line that ends with '\n' and has HM_DECIMAL_SLACK readable bytes
 * after it.
 */
#ifndef HM_MODELS_DECIMAL_H
#define HM_MODELS_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HM_DECIMAL_SLACK = 16 };

/* The next 8 characters, the first one in the lowest byte. */
static inline uint64_t hm_load8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* How many of the 8 characters, from the first on, are digits. */
static inline unsigned hm_digits8(uint64_t chars)
{
    uint64_t t = chars ^ 0x3030303030303030u; /* digits become 0 to 9 */
    /* A carry only spoils bytes behind the first non-digit. */
    uint64_t other = ((t + 0x7676767676767676u) | t) & 0x8080808080808080u;
    return other ? (unsigned)__builtin_ctzll(other) >> 3 : 8;
}

/* The value of the first n (0 to 8) characters, which are digits. */
static inline uint32_t hm_value8(uint64_t chars, unsigned n)
{
    uint64_t t = chars ^ 0x3030303030303030u;
    if (n == 0)
        return 0;
    t <<= (8 - n) * 8; /* zeros in front */
    t = t * 10 + (t >> 8);
    t = ((t & 0x000000FF000000FFu) * 0x000F424000000064u +
         ((t >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u) >>
        32;
    return (uint32_t)t;
}

/* Reads "[+-]digits[.digits][e[+-]digits]" at p as the float nearest to it. Returns the first
 * character after it; NULL when there is no number; *value may be infinite (1e99) or NaN (never
 * from digits; "nan" is no number here). */
const char *hm_decimal_float_slow(const char *p, float *value);

enum { HM_DECIMAL_BYTES_MAX = 16 };

/* Writes a finite number with 9 digits, which tell every float from every other, as printf("%.9g")
 * has them, byte for byte; at most HM_DECIMAL_BYTES_MAX, no NUL behind. Returns the end. */
char *hm_decimal_put(char *to, float value);

/* The same number as a double, correctly rounded. */
const char *hm_decimal_double(const char *p, double *value);

static inline const char *hm_decimal_float(const char *p, float *value)
{
    static const double power[17] = {1,   1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7, 1e8,
                                     1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16};
    static const uint32_t scale[9] = {1,      10,      100,      1000,     10000,
                                      100000, 1000000, 10000000, 100000000};
    const char *q = p + (*p == '-');
    uint64_t chars = hm_load8(q);
    unsigned whole = hm_digits8(chars);
    uint64_t m = hm_value8(chars, whole);
    unsigned n = 0;
    q += whole;
    if (*q == '.') {
        chars = hm_load8(++q);
        n = hm_digits8(chars);
        m = m * scale[n] + hm_value8(chars, n);
        q += n;
        if (n == 8) { /* long fractions, as in the LYRL2004 files */
            chars = hm_load8(q);
            unsigned more = hm_digits8(chars);
            m = m * scale[more] + hm_value8(chars, more);
            n += more;
            q += more;
        }
    }
    double d = (double)m / power[n];
    uint64_t bits;
    memcpy(&bits, &d, 8);
    unsigned char end = (unsigned char)*q;
    int plain = (end == ' ' || end == '\n') && whole < 8 && n < 17 && whole + n > 0 &&
                (n <= 8 || (whole <= 2 && m <= (uint64_t)1 << 53));
    if (__builtin_expect(!plain || (bits & 0x1FFFFFFF) == 0x10000000, 0))
        return hm_decimal_float_slow(p, value);
    *value = (float)(*p == '-' ? -d : d);
    return q;
}

#endif
