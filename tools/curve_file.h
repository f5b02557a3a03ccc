/* Points of learning curves as JSON, and the file of one node's: DIR/curve-LABEL.jsonl, one object
 * a line, written as the points come. */
#ifndef HM_TOOLS_CURVE_FILE_H
#define HM_TOOLS_CURVE_FILE_H

#include "node/node.h"

#include <jansson.h>
#include <stdio.h>

/* The caller owns the result. What is no number is null. */
json_t *curve_point_json(const struct hm_curve_point *point);

/* One line. */
void curve_point_write(const struct hm_curve_point *point, FILE *file);

struct curve_file {
    char label[HM_LABEL_MAX + 1]; /* of the last point; empty: none yet */
    enum hm_status status;        /* of the first point that could not be written, */
    struct hm_err *err;           /* with its error, or NULL for want of memory */
};

/* Appends a point. The first one of a label begins the file anew, unless `goes_on`. After a failure
 * nothing more is written. */
void curve_file_add(struct curve_file *curve, const char *dir, int goes_on,
                    const struct hm_curve_point *point);

/* How that went, and frees what it owns. */
enum hm_status curve_file_close(struct curve_file *curve, struct hm_err *err);

#endif
