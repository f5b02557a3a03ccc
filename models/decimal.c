#include "models/decimal.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGITS_MAX = 19, TEXT_MAX = 512 };

/* A number's parts as they were read. */
struct decimal {
    const char *end;
    uint64_t mantissa; /* the first 19 significant digits */
    int exponent;      /* of ten */
    int negative, n_digits, exact;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *take_digits(const char *p, struct decimal *d, int after_point)
{
    for (; is_digit(*p); p++) {
        d->n_digits++;
        if (d->mantissa >= 1000000000000000000u) { /* 19 digits are held already */
            d->exact &= *p == '0';
            d->exponent += !after_point;
            continue;
        }
        d->mantissa = d->mantissa * 10 + (uint64_t)(*p - '0');
        d->exponent -= after_point;
    }
    return p;
}

/* An exponent without digits ("1e", "2e+") is not a part of the number. */
static const char *take_exponent(const char *p, struct decimal *d)
{
    if (*p != 'e' && *p != 'E')
        return p;
    const char *q = p + 1;
    int negative = *q == '-', e = 0;
    q += *q == '-' || *q == '+';
    if (!is_digit(*q))
        return p;
    for (; is_digit(*q); q++)
        e = e < 100000 ? e * 10 + (*q - '0') : e;
    d->exponent += negative ? -e : e;
    return q;
}

static int scan(const char *p, struct decimal *d)
{
    *d = (struct decimal){.exact = 1, .negative = *p == '-'};
    p += *p == '-' || *p == '+';
    p = take_digits(p, d, 0);
    if (*p == '.')
        p = take_digits(p + 1, d, 1);
    if (d->n_digits == 0)
        return 0;
    d->end = take_exponent(p, d);
    return 1;
}

static int exact_double(const struct decimal *d, double *value)
{
    static const double power[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (!d->exact || d->mantissa > (uint64_t)1 << 53 || d->exponent < -22 || d->exponent > 22)
        return 0;
    double m = (double)d->mantissa;
    *value = d->exponent < 0 ? m / power[-d->exponent] : m * power[d->exponent];
    *value = d->negative ? -*value : *value;
    return 1;
}

/* A copy for strtod, which needs an end and would read "0x10" and "1e" its own way. Numbers of more
 * than TEXT_MAX characters are rewritten from their first 19 digits: what follows cannot matter to
 * a float unless they were made to. */
static void text_of(const char *p, const struct decimal *d, char *text)
{
    size_t n = (size_t)(d->end - p);
    if (n < TEXT_MAX) {
        memcpy(text, p, n);
        text[n] = 0;
        return;
    }
    char digits[24];
    int k = 0;
    uint64_t m = d->mantissa;
    do
        digits[k++] = (char)('0' + m % 10);
    while (m /= 10);
    char *q = text;
    if (d->negative)
        *q++ = '-';
    while (k)
        *q++ = digits[--k];
    *q++ = 'e';
    int e = d->exponent < -99999 ? -99999 : d->exponent > 99999 ? 99999 : d->exponent;
    *q++ = e < 0 ? '-' : '+';
    e = e < 0 ? -e : e;
    for (int unit = 10000; unit; unit /= 10)
        *q++ = (char)('0' + e / unit % 10);
    *q = 0;
}

const char *hm_decimal_double(const char *p, double *value)
{
    struct decimal d;
    char text[TEXT_MAX];
    if (!scan(p, &d))
        return NULL;
    if (exact_double(&d, value))
        return d.end;
    pthread_once(&once, make_locale);
    text_of(p, &d, text);
    *value = c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
    return d.end;
}

const char *hm_decimal_float_slow(const char *p, float *value)
{
    struct decimal d;
    double x;
    uint64_t bits;
    char text[TEXT_MAX];
    if (!scan(p, &d))
        return NULL;
    if (exact_double(&d, &x)) {
        memcpy(&bits, &x, 8);
        double size = fabs(x);
        int half_way = (bits & 0x1FFFFFFF) == 0x10000000;
        if (x == 0 || (size >= (double)FLT_MIN && size <= (double)FLT_MAX && !half_way)) {
            *value = (float)x;
            return d.end;
        }
    }
    pthread_once(&once, make_locale);
    text_of(p, &d, text);
    *value = c_locale ? strtof_l(text, NULL, c_locale) : strtof(text, NULL);
    return d.end;
}

/* ---- writing ---- */

static char *put_slow(char *to, float value)
{
    char text[32];
    pthread_once(&once, make_locale);
    locale_t callers = uselocale(c_locale);
    int n = snprintf(text, sizeof text, "%.9g", (double)value);
    uselocale(callers);
    memcpy(to, text, (size_t)n);
    return to + n;
}

/* The digits d1 d2 ... d9 of d1.d2... x 10^exponent, without zeros at the end. */
static char *put_digits(char *to, uint32_t digits, int exponent)
{
    char text[9];
    int n = 9, before = exponent + 1; /* digits before the point */
    for (int i = 8; i >= 0; i--, digits /= 10)
        text[i] = (char)('0' + digits % 10);
    while (n > 1 && text[n - 1] == '0')
        n--;
    if (before <= 0) {
        *to++ = '0';
        *to++ = '.';
        for (int i = before; i < 0; i++)
            *to++ = '0';
        before = 0;
    }
    for (int i = 0; i < n || i < before; i++) {
        if (i == before && i)
            *to++ = '.';
        *to++ = i < n ? text[i] : '0';
    }
    return to;
}

/* What is printed without an exponent, and is not so near the middle between two decimals that one
 * rounded product could miss the right one. */
char *hm_decimal_put(char *to, float value)
{
    static const double power[14] = {1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2,
                                     1e3,  1e4,  1e5,  1e6,  1e7, 1e8, 1e9};
    static const double scale[13] = {1e12, 1e11, 1e10, 1e9, 1e8, 1e7, 1e6,
                                     1e5,  1e4,  1e3,  1e2, 1e1, 1e0};
    const double x = fabs((double)value);
    int at = 0;
    if (!(x >= 1e-4 && x < 999999999.))
        return put_slow(to, value);
    while (x >= power[at + 1])
        at++;
    const double scaled = x * scale[at];
    uint32_t digits = (uint32_t)(scaled + .5);
    const double off = scaled - (double)digits;
    if (fabs(fabs(off) - .5) < 1e-6 || digits >= 1000000000)
        return put_slow(to, value);
    if (value < 0)
        *to++ = '-';
    return put_digits(to, digits, at - 4);
}
