/* Labelled sparse rows in memory: what the SVM trains on.
 *
 * Compressed sparse rows. Features are numbered by falling document frequency ("rank order"): the
 * weights that nearly every row touches lie together, which is faster (+8 %) and makes deltas
 * smaller on the wire (-18 to -33 %). `order` maps back: order[rank] = feature number in the
 * source, counted from 0. Rows are shuffled once when they are read, by a fixed seed, so that a
 * contiguous shard is a random sample.
 */
#ifndef HM_MODELS_ROWS_H
#define HM_MODELS_ROWS_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_FEATURES_MAX = 1 << 27, /* of one dataset */
    HM_ROW_NONZEROS_MAX = 1 << 20,
    HM_ROWS_FILES_MAX = 64,
};

struct hm_rows {
    uint64_t n_rows, n_nonzero;
    uint32_t n_features;
    const uint64_t *start; /* [n_rows + 1] offsets into id and value */
    const uint16_t *
        id16; /* [n_nonzero] feature ranks, ascending within a row; NULL when n_features > 65,536 */
    const uint32_t *id32;  /* the same for wider sets; NULL when id16 is used */
    const float *value;    /* [n_nonzero], finite */
    const int8_t *label;   /* [n_rows] +1 or -1 */
    const uint32_t *order; /* [n_features] source feature (from 0) of each rank */
    uint64_t order_hash;   /* of n_features and order: equal hashes, same numbering */
    uint64_t n_positive;   /* rows with label +1 */
    void *map; /* private: the mapped cache file or the one allocation behind the arrays */
    size_t map_bytes;
    int map_is_file;
};

/* Where rows come from. */
struct hm_rows_source {
    const char *file[HM_ROWS_FILES_MAX]; /* read one after the other as one dataset; plain, .gz,
                                            .bz2, .xz, .zst */
    unsigned n_files;
    const char *topics; /* qrels file ("TOPIC DOCID 1") for LYRL2004 vectors; NULL: svmlight text */
    const char *topic;  /* LYRL2004: the positive topic; svmlight with label lists ("3,17,33"): the
                           positive label */
    uint32_t n_features; /* 0: the largest feature number met; else a larger number in the file is
                            an error */
    int no_cache;        /* 1: neither read nor write the binary cache */
};

struct hm_rows_load_stats {
    int from_cache;        /* the binary cache was current and used */
    double text_bytes;     /* uncompressed bytes parsed; 0 from cache */
    char cache_path[4096]; /* the cache used or written; empty when none could be written */
};

/* Reads svmlight/LIBSVM text or LYRL2004 vectors, or maps the binary cache beside the source when
 * it is current (its checksums are verified, so all its pages have been touched then). svmlight:
 * "LABEL INDEX:VALUE ... [# comment]", label > 0 is +1, otherwise -1; indexes from 1, strictly
 * ascending; "qid:N" is skipped; blank and comment lines are skipped. LYRL2004: "DOCID  INDEX:VALUE
 * ...". Errors name file, line and field and what was expected: label missing or not a number,
 * feature 0, descending or repeated feature, NaN or infinite or unparsable value, missing ':',
 * truncated archive, no rows at all, a document without topics in the qrels file, all rows of one
 * class (with the labels seen), a source that changed while it was read. The cache ("FILE.hmcache";
 * "FILE.HASH.hmcache" for several files, topics or a given n_features; in $XDG_CACHE_HOME/hogmesh
 * or ~/.cache/hogmesh when the folder is not writable) appears under its name only when complete,
 * records size and modification time of every source and topic, and is rebuilt when they change or
 * when it fails its checksums. Of several processes that miss it at once, one builds it and the
 * others wait, reporting that they do. Where no cache can be written, rows are private memory;
 * sources that are no regular files have none. On failure *rows owns nothing and nothing
 * half-written stays. stats may be NULL. Threads: any; not the same file from two threads. */
enum hm_status hm_rows_open(struct hm_rows *rows, const struct hm_rows_source *source,
                            const struct hm_progress *progress, struct hm_rows_load_stats *stats,
                            struct hm_err *err);

void hm_rows_close(struct hm_rows *rows);

/* Renumbers rows to another order: order[rank] = source feature, [n_features]. Features that the
 * order does not list are dropped when `drop_unknown`, else an error. Replaces *rows by a private
 * copy; on failure *rows is as it was. When the rows have that order already, nothing happens. Used
 * for a test set (the training set's order) and by a joiner (the mesh's order). */
enum hm_status hm_rows_reorder(struct hm_rows *rows, const uint32_t *order, uint32_t n_features,
                               int drop_unknown, struct hm_err *err);

/* Touches the pages of rows [from, to) ahead of use, so that training does not pay for page faults.
 */
void hm_rows_populate(const struct hm_rows *rows, uint64_t from, uint64_t to);

/* The hash of an order, as kept in hm_rows.order_hash. */
uint64_t hm_order_hash(const uint32_t *order, uint32_t n_features);

#endif
