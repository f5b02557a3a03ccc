/* How well each class is told from the others. */
#ifndef HM_TOOLS_CLASS_REPORT_H
#define HM_TOOLS_CLASS_REPORT_H

#include "models/model.h"

#include <jansson.h>
#include <stdio.h>

/* {"classes": [{"class", "n", "precision", "recall", "f1"}], "confusion": [[...]]} of n classes:
 * how often an example of each (row) was taken for each (column). What has no examples has figures
 * of 0. The caller owns the result. */
json_t *class_report(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n);

/* The same as a table for people. */
void class_report_print(const json_t *report, FILE *out);

#endif
