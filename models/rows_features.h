/* The "INDEX:VALUE INDEX:VALUE ..." part of a line, shared by svmlight and LYRL2004 text. */
#ifndef HM_MODELS_ROWS_FEATURES_H
#define HM_MODELS_ROWS_FEATURES_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

/* One row as read; the arrays are as long as the longest row allowed (HM_ROW_NONZEROS_MAX). */
struct hm_row_scratch {
    uint32_t *id; /* features from 0, strictly ascending */
    float *value; /* finite */
    size_t n;
};

enum hm_status hm_row_scratch_init(struct hm_row_scratch *row, struct hm_err *err);
void hm_row_scratch_fini(struct hm_row_scratch *row);

/* Parses the features from p to the '\n' that ends the line (see hm_lines_next) into row; "#
 * comment" and "qid:N" are skipped. n_features_max: the largest feature number allowed, counted
 * from 1. The error says field and reason, the caller adds file and line. */
enum hm_status hm_row_parse(struct hm_row_scratch *row, const char *p, uint32_t n_features_max,
                            struct hm_err *err);

#endif
