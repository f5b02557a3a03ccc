/* exp, log and normal deviates with the same bits on every machine.
 *
 * The libraries' exp and log differ in the last bit from one to the next. These use only additions,
 * multiplications and divisions of doubles, which IEEE 754 defines exactly, and need nothing more
 * than that doubles are computed as doubles and products are not fused into additions
 * (-ffp-contract=off, as the whole project is built). They are good to a few units in the last
 * place, and not made to be fast. sqrt needs no replacement: IEEE 754 defines it too.
 */
#ifndef HM_MODELS_PORTABLE_MATH_H
#define HM_MODELS_PORTABLE_MATH_H

#include "sparse/rng.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

_Static_assert(FLT_EVAL_METHOD == 0, "doubles are computed as doubles");

#define HM_LN2_HIGH                                                                                \
    0x1.62e42fee00000p-1 /* 33 bits of ln 2: products with small integers are exact */
#define HM_LN2_LOW 0x1.a39ef35793c76p-33

/* e^x for |x| <= 700: Taylor's series on [-ln2/2, ln2/2] times a power of two. */
static inline double hm_portable_exp(double x)
{
    int n = (int)(x * 0x1.71547652b82fep+0 + (x < 0 ? -0.5 : 0.5));
    double r = (x - n * HM_LN2_HIGH) - n * HM_LN2_LOW, sum = 1;
    for (int k = 14; k > 0; k--)
        sum = sum * r / k + 1;
    uint64_t bits = (uint64_t)(1023 + n) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return sum * power;
}

/* ln x for normal x > 0: 2 artanh((m - 1) / (m + 1)) for the mantissa m in [sqrt(1/2), sqrt(2)). */
static inline double hm_portable_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int e = (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m /= 2;
        e++;
    }
    double s = (m - 1) / (m + 1), sum = 0;
    for (int k = 21; k > 0; k -= 2)
        sum = sum * s * s + 1.0 / k;
    return e * HM_LN2_HIGH + (2 * s * sum + e * HM_LN2_LOW);
}

/* Nearly normal, mean 0, variance 1: the sum of 12 uniform 16-bit integers (Irwin and Hall), within
 * +-6. */
static inline double hm_portable_normal(struct hm_rng *rng)
{
    int32_t sum = -6 * 65535;
    for (int i = 0; i < 3; i++)
        for (uint64_t bits = hm_rng_next(rng), k = 0; k < 4; k++, bits >>= 16)
            sum += (int32_t)(bits & 0xFFFF);
    return sum * 0x1p-16;
}

#endif
