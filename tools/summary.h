/* What a run comes to: each node's report as JSON, the summary of all, the tables for people. */
#ifndef HM_TOOLS_SUMMARY_H
#define HM_TOOLS_SUMMARY_H

#include "tools/cli.h"

#include <jansson.h>

/* A message as JSON: names of files in it may be no UTF-8, which JSON does not take. */
json_t *summary_text(const char *text);

/* A node's report, as it goes to the launcher and into per_node. The caller owns the result. */
json_t *summary_of_node(const struct hm_node_report *report);

/* The summary object of a run from the reports of its nodes (array; a dead node has "hash": null).
 * `mode` is "run" or "join". The caller owns the result. */
json_t *summary_of_run(const struct cli *cli, const char *mode, json_t *nodes);

/* HM_EIO when a node could not write what it was to write beside the model; err names it. */
enum hm_status summary_outputs(const json_t *nodes, struct hm_err *err);

/* Tables for people, to `out`. */
void summary_print(const json_t *summary, FILE *out);

/* Writes DIR/summary.json and DIR/curve.jsonl. */
enum hm_status summary_keep(const json_t *summary, const struct hm_node_report *report,
                            const char *dir, struct hm_err *err);

/* Makes DIR if it is missing. */
enum hm_status make_directory(const char *dir, struct hm_err *err);

#endif
