/* Puts rows into another order and features under other numbers: the second half of reading a
 * dataset, and all of renumbering one. */
#ifndef HM_MODELS_ROWS_ARRANGE_H
#define HM_MODELS_ROWS_ARRANGE_H

#include "models/rows.h"
#include "models/rows_image.h"

/* In rank_of: the feature is dropped. */
#define HM_RANK_NONE UINT32_MAX

struct hm_arrange {
    const struct hm_rows *from; /* its order, counts and map are not looked at */
    const uint32_t *row;     /* [from->n_rows] which row comes at each place; NULL: as they are */
    const uint32_t *rank_of; /* [from->n_features] new number of each feature, or HM_RANK_NONE */
    const uint32_t *order;   /* [image.n_features] what the new image records as its order */
};

/* Writes all sections of the arranged rows to the writer, whose image has the new shape. */
enum hm_status hm_arrange_write(const struct hm_arrange *arrange, struct hm_image_writer *writer,
                                const struct hm_progress *progress, struct hm_err *err);

/* Sorts n keys ascending; scratch is as long. Keys are rank << 32 | bits of the value, ranks below
 * 2^rank_bits. */
void hm_arrange_sort(uint64_t *key, uint64_t *scratch, size_t n, unsigned rank_bits);

#endif
