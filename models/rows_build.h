/* Collects rows as the parsers read them, then shuffles them, numbers features by falling document
 * frequency and writes the image. Between the two, memory holds the dataset once, with 16-bit
 * features as long as that is enough. */
#ifndef HM_MODELS_ROWS_BUILD_H
#define HM_MODELS_ROWS_BUILD_H

#include "models/grow.h"
#include "models/rows_arrange.h"
#include "models/rows_features.h"
#include "models/rows_image.h"

enum { HM_LABELS_SEEN_MAX = 6 };

struct hm_rows_builder {
    struct hm_grow start, id, value, label;
    struct hm_grow frequency; /* uint32_t for every feature met: how many rows have it */
    uint64_t n_rows, n_nonzero, n_positive;
    uint32_t n_features; /* the largest feature number met, from 1 */
    int wide;            /* ids are uint32_t, not uint16_t */
    double text_bytes;
    double seen[HM_LABELS_SEEN_MAX + 1]; /* the first different labels met, for messages */
    unsigned n_seen;
};

void hm_builder_init(struct hm_rows_builder *builder);
void hm_builder_fini(struct hm_rows_builder *builder);

/* Remembers that a label was met. */
void hm_builder_see(struct hm_rows_builder *builder, double label);

/* The labels met as "1, 2, 3", cut short with "..."; returns text. */
const char *hm_builder_seen(const struct hm_rows_builder *builder, char text[static 256]);

/* Appends a row; label is +1 or -1. Errors: memory; more than 2^32 - 1 rows. */
enum hm_status hm_builder_add(struct hm_rows_builder *builder, const struct hm_row_scratch *row,
                              int8_t label, struct hm_err *err);

/* What hm_builder_write needs, made once from all the rows; hm_builder_plan_fini frees it, also
 * after failure. */
struct hm_builder_plan {
    uint32_t *row;     /* [n_rows] the shuffle */
    uint32_t *order;   /* [n_features] */
    uint32_t *rank_of; /* [n_features] */
    struct hm_image image;
};

/* n_features: 0 or a number not below the largest feature met. */
enum hm_status hm_builder_plan(struct hm_rows_builder *builder, uint32_t n_features,
                               struct hm_builder_plan *plan, struct hm_err *err);
void hm_builder_plan_fini(struct hm_builder_plan *plan);

/* Writes the rows as planned; can be repeated with another writer. */
enum hm_status hm_builder_write(const struct hm_rows_builder *builder,
                                const struct hm_builder_plan *plan, struct hm_image_writer *writer,
                                const struct hm_progress *progress, struct hm_err *err);

#endif
