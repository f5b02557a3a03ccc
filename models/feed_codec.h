/* Examples as bytes: what a feeder sends its trainers, one format for each workload
 * (protocol/WIRE.md, section 13). Varints are LEB128 in their shortest form, other numbers
 * little-endian.
 *
 * Encoders write what fits; decoders take nothing on trust: everything is within its range, nothing
 * is left over, and no room is exceeded, or the answer is -1. Pure and thread-safe.
 */
#ifndef HM_MODELS_FEED_CODEC_H
#define HM_MODELS_FEED_CODEC_H

#include "models/images.h"
#include "models/rows.h"

#include <stddef.h>
#include <stdint.h>

/* ---- words: count of ids (varint); then each id + 1 as a varint, 0 for the end of a line ---- */

enum { HM_FEED_ID_BYTES_MAX = 5 };

/* Bytes that n_ids ids may need. */
size_t hm_feed_words_bound(size_t n_ids);

/* id [n_ids], at least one, `mark` ends a line. Returns the bytes written to out, at most
 * hm_feed_words_bound. */
size_t hm_feed_put_words(const uint32_t *id, uint32_t n_ids, uint32_t mark, uint8_t *out);

/* Ids below n_vocab, and n_vocab for the end of a line, into id [room]. Refused: no word at all,
 * more ids than there is room, an empty line. 0 or -1. */
int hm_feed_get_words(const uint8_t *in, size_t n, uint32_t n_vocab, uint32_t *id, size_t room,
                      uint32_t *n_ids, uint32_t *n_words);

/* ---- rows: count of rows; of each 2 x non-zeros + (label is +1); the first feature, gaps to the
 * next ones less 1; then the values as float32 ---- */

/* Rows from .. from + most as far as they fit into out [room]: bytes written, and *taken rows; 0
 * when not even the first fits. */
size_t hm_feed_put_rows(const struct hm_rows *rows, uint64_t from, uint64_t most, uint8_t *out,
                        size_t room, uint64_t *taken);

/* Where rows are decoded to; id16 is used when it is not NULL. */
struct hm_feed_rows {
    uint64_t n_rows_max, n_nonzero_max; /* room */
    uint32_t n_features, longest;       /* most non-zeros of a row */
    uint64_t *start;                    /* [n_rows_max + 1] */
    uint16_t *id16;                     /* [n_nonzero_max], or */
    uint32_t *id32;
    float *value; /* [n_nonzero_max] */
    int8_t *label;
    uint64_t n_rows, n_nonzero; /* out */
};

/* 0, or -1: then the arrays hold anything. */
int hm_feed_get_rows(const uint8_t *in, size_t n, struct hm_feed_rows *rows);

/* ---- images: count; the labels; the pixels ---- */

size_t hm_feed_images_bytes(uint32_t n, size_t image_bytes);

/* Points label [*n_images] and pixel [*n_images][image_bytes] into `in`. At most n_max. 0 or -1. */
int hm_feed_get_images(const uint8_t *in, size_t n, uint32_t n_max, size_t image_bytes,
                       uint32_t *n_images, const uint8_t **label, const uint8_t **pixel);

/* The head of such a message, of n images: returns where labels and pixels go, to be filled in. */
void hm_feed_put_images(uint32_t n, uint8_t *out, uint8_t **label, uint8_t **pixel);

#endif
