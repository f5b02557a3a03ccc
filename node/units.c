#include "node/units.h"

#include "models/decimal.h"
#include "node/quote.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit durations[] = {
    {"h", 3.6e9}, {"m", 6e7}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}};

static const struct unit amounts[] = {
    {"", 1},     {"k", 1e3},  {"K", 1e3},  {"M", 1e6},    {"G", 1e9},       {"kB", 1e3},
    {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

enum {
    N_DURATIONS = sizeof durations / sizeof durations[0],
    N_AMOUNTS = sizeof amounts / sizeof amounts[0],
};

static bool scale(const char *name, const struct unit *unit, unsigned n, double *x)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(name, unit[i].name) == 0) {
            *x *= unit[i].factor;
            return isfinite(*x);
        }
    return false;
}

bool hm_units_duration(const char *text, double bare_us, double *us)
{
    const char *unit = hm_decimal_double(text, us);
    if (!unit || !isfinite(*us))
        return false;
    if (*unit)
        return scale(unit, durations, N_DURATIONS, us);
    int fine = bare_us > 0 || *us == 0;
    *us *= bare_us;
    return fine && isfinite(*us);
}

bool hm_units_amount(const char *text, double *x)
{
    const char *unit = hm_decimal_double(text, x);
    return unit && isfinite(*x) && scale(unit, amounts, N_AMOUNTS, x);
}

enum hm_status hm_duration_parse(const char *text, double *us, struct hm_err *err)
{
    if (hm_units_duration(text, 0, us) && *us >= 0 && *us <= (double)HM_DURATION_MAX_US)
        return HM_OK;
    *us = 0;
    return hm_fail(err, HM_EINPUT,
                   "'%s' is no duration; expected a number from 0 to 1000h with a unit us, ms, s, "
                   "m or h, such as \"1.5s\"",
                   hm_quote(text).text);
}

size_t hm_number_print(double x, char text[HM_NUMBER_TEXT_MAX])
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        double back;
        n = snprintf(text, HM_NUMBER_TEXT_MAX, "%.*g", digits, x);
        for (char *p = text; *p; p++)
            *p = *p == ',' ? '.' : *p;
        if (hm_decimal_double(text, &back) && back == x)
            break;
    }
    return (size_t)n;
}

size_t hm_duration_print(double us, char text[HM_NUMBER_TEXT_MAX])
{
    unsigned i = 0;
    if (us == 0)
        return (size_t)snprintf(text, HM_NUMBER_TEXT_MAX, "0");
    for (; i < N_DURATIONS - 1; i++) {
        double x = us / durations[i].factor;
        if (x == floor(x) && x * durations[i].factor == us)
            break;
    }
    size_t n = hm_number_print(us / durations[i].factor, text);
    return n + (size_t)snprintf(text + n, HM_NUMBER_TEXT_MAX - n, "%s", durations[i].name);
}
