/* The parsers of row text: each reads one file into the builder. */
#ifndef HM_MODELS_ROWS_PARSE_H
#define HM_MODELS_ROWS_PARSE_H

#include "models/grow.h"
#include "models/rows.h"
#include "models/rows_build.h"

/* Reads svmlight text. The error names file and line. */
enum hm_status hm_svmlight_read(struct hm_rows_builder *builder, const char *path,
                                const struct hm_rows_source *source,
                                const struct hm_progress *progress, struct hm_err *err);

/* Which documents have topics, and which have the one that is looked for. */
struct hm_topics {
    struct hm_grow document; /* one byte for each document number: 0 unknown, else HM_TOPICS_* */
    const char *path;
};
enum { HM_TOPICS_SOME = 1, HM_TOPICS_WANTED = 2, HM_DOCUMENT_MAX = 1 << 30 };

/* Reads a qrels file ("TOPIC DOCID 1"). Errors: a malformed line; a topic that no line names, with
 * some that are named. The caller finishes with hm_topics_fini, also after failure. path must
 * outlive topics. */
enum hm_status hm_topics_read(struct hm_topics *topics, const char *path, const char *topic,
                              const struct hm_progress *progress, struct hm_err *err);
void hm_topics_fini(struct hm_topics *topics);

/* Reads LYRL2004 vectors, labelled by topics. The error names file and line. */
enum hm_status hm_lyrl_read(struct hm_rows_builder *builder, const char *path,
                            const struct hm_topics *topics, const struct hm_rows_source *source,
                            const struct hm_progress *progress, struct hm_err *err);

#endif
