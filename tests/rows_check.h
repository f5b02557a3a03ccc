/* What must hold for rows that were read from any bytes whatever, for the fuzz targets: refusal in
 * words, or rows of which every index can be followed. */
#ifndef HM_TESTS_ROWS_CHECK_H
#define HM_TESTS_ROWS_CHECK_H

#include "models/rows.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* More than 16 bits hold, so that both widths of indexes occur; not so many that each input would
 * sort millions of features. */
enum { ROWS_CHECK_FEATURES = 70000 };

static inline uint32_t rows_check_id(const struct hm_rows *rows, uint64_t k)
{
    return rows->id16 ? rows->id16[k] : rows->id32[k];
}

static inline void rows_check_row(const struct hm_rows *rows, uint64_t r)
{
    assert(rows->start[r] <= rows->start[r + 1]);
    assert(rows->label[r] == 1 || rows->label[r] == -1);
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
        assert(rows_check_id(rows, k) < rows->n_features);
        assert(k == rows->start[r] || rows_check_id(rows, k - 1) < rows_check_id(rows, k));
        assert(isfinite(rows->value[k]));
    }
}

static inline void rows_check(const struct hm_rows *rows)
{
    uint64_t n_positive = 0;
    uint8_t *met = calloc(rows->n_features + 1u, 1);
    assert(met);
    assert(rows->n_rows && rows->start[0] == 0);
    assert(rows->start[rows->n_rows] == rows->n_nonzero);
    for (uint64_t r = 0; r < rows->n_rows; r++) {
        rows_check_row(rows, r);
        n_positive += rows->label[r] > 0;
    }
    assert(n_positive == rows->n_positive);
    for (uint32_t i = 0; i < rows->n_features; i++) {
        assert(rows->order[i] < rows->n_features);
        assert(!met[rows->order[i]]++);
    }
    assert(rows->order_hash == hm_order_hash(rows->order, rows->n_features));
    free(met);
}

static inline void rows_check_source(const struct hm_rows_source *source)
{
    struct hm_rows rows;
    struct hm_err err = {""};
    enum hm_status status = hm_rows_open(&rows, source, NULL, NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    if (status == HM_OK)
        rows_check(&rows);
    else
        assert(!rows.map);
    hm_rows_close(&rows);
}

#endif
