/* Named values: how a workload says what all nodes of a mesh must agree on.
 *
 * Values are text; numbers are written so that reading them back gives the same number (%.17g). The
 * list is sorted by name and names are unique, so equal lists are equal bytes. protocol/config.h
 * makes a fingerprint of it.
 */
#ifndef HM_SPARSE_FIELDS_H
#define HM_SPARSE_FIELDS_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HM_FIELDS_MAX = 64, HM_FIELD_NAME_MAX = 31, HM_FIELD_VALUE_MAX = 1023 };

struct hm_field {
    char name[HM_FIELD_NAME_MAX + 1]; /* [a-z0-9_]+ */
    char value[HM_FIELD_VALUE_MAX + 1];
};

struct hm_fields {
    size_t n;
    struct hm_field field[HM_FIELDS_MAX]; /* sorted by name, names unique */
};

/* Sets a field, replacing an older value. Asserts room, name and length: configurations are made by
 * us. */
void hm_fields_set(struct hm_fields *fields, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The value, or NULL. */
const char *hm_fields_get(const struct hm_fields *fields, const char *name);

/* Reads a number; HM_EINPUT naming the field when it is missing or not a number in [lo, hi]. */
enum hm_status hm_fields_number(const struct hm_fields *fields, const char *name, double lo,
                                double hi, double *out, struct hm_err *err);
enum hm_status hm_fields_u64(const struct hm_fields *fields, const char *name, uint64_t *out,
                             struct hm_err *err);

#endif
