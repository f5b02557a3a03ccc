/* Numbers with units, as flags and fault plans have them. The decimal point is a point in every
 * locale; nothing may follow. */
#ifndef HM_NODE_UNITS_H
#define HM_NODE_UNITS_H

#include "sparse/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HM_DURATION_MAX_US ((uint64_t)3600000000000) /* 1000 h */

enum { HM_NUMBER_TEXT_MAX = 40 };

/* A duration in us, ms, s, m or h to microseconds. bare_us: what a number without a unit counts; 0:
 * only 0 can do without one. Negative numbers are read too. */
bool hm_units_duration(const char *text, double bare_us, double *us);

/* An amount such as 10000, 20k, 1.5G, 50MB or 256KiB. */
bool hm_units_amount(const char *text, double *x);

/* "1.5s" to microseconds from 0 to HM_DURATION_MAX_US, fractions of which are kept; HM_EINPUT with
 * a sentence that quotes the text and says what was expected. */
enum hm_status hm_duration_parse(const char *text, double *us, struct hm_err *err);

/* Microseconds >= 0 in the largest unit that needs no fraction ("1500ms"); fractions of a
 * microsecond are kept. Parses to the same number. Returns the length. */
size_t hm_duration_print(double us, char text[HM_NUMBER_TEXT_MAX]);

/* The shortest text that reads back as x. */
size_t hm_number_print(double x, char text[HM_NUMBER_TEXT_MAX]);

#endif
