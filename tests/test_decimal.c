/* Writing decimal numbers: what printf writes, byte for byte. (Reading them: test_rows.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/decimal.h"
#include "sparse/rng.h"
#include "tests/seeds.h"

#include <math.h>

static void check(float value)
{
    char expected[40], text[40];
    size_t n = (size_t)sprintf(expected, "%.9g", (double)value);
    memset(text, '~', sizeof text);
    char *end = hm_decimal_put(text, value);
    if (end != text + n || memcmp(text, expected, n) != 0 || *end != '~')
        fail_msg("%a is written as '%.*s', not '%s'", (double)value, (int)(end - text), text,
                 expected);
    assert_true(n <= HM_DECIMAL_BYTES_MAX);
}

static void test_round_numbers(void **state)
{
    (void)state;
    for (int e = -45; e < 38; e++)
        for (int digit = 1; digit < 10; digit++) {
            float value = strtof((char[]){(char)('0' + digit), 0}, NULL) * powf(10, (float)e);
            check(value);
            check(-value);
            check(nextafterf(value, 0));
            check(nextafterf(value, INFINITY));
        }
    check(0);
    check(-0.F);
    check(999999936);
    check(1e9F);
    check(3.4028235e38F);
    check(1e-45F);
}

/* Weights are whole multiples of a power of two; some are half-way between two decimals. */
static void test_grids(void **state)
{
    (void)state;
    for (int e = -30; e <= -4; e++)
        for (int i = -3000; i < 3000; i++) {
            check(ldexpf((float)i, e));
            check(ldexpf((float)(i * 4099 + 1), e));
        }
}

static void any_floats(uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 5);
    for (int i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)hm_rng_next(&rng);
        float value;
        if (i % 3) /* of the size of weights */
            bits = (bits & 0x807FFFFF) | (110 + hm_rng_below(&rng, 40)) << 23;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value))
            check(value);
    }
}

static void test_any_floats(void **state)
{
    (void)state;
    for_each_seed(1, any_floats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_numbers),
        cmocka_unit_test(test_grids),
        cmocka_unit_test(test_any_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
