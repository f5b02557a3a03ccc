/* Distributions of durations, in microseconds: what a link's latency, a batch or a delay takes.
 *
 *     const:90ms              always the same
 *     uniform:10ms,20ms       any between the two alike
 *     gauss:17ms,3ms          mean and standard deviation; what would be negative is 0
 *     lognormal:200us,0.5     median, and the standard deviation of the logarithm
 *     trace:FILE              what the file says, one duration a line, in order and over again
 *
 * A duration is a number with a unit us, ms, s, m or h; 0 needs none. In a trace a bare number is
 * microseconds; empty lines and what follows a '#' are skipped. Draws use portable arithmetic only:
 * the same seed gives the same durations on every machine.
 */
#ifndef HM_NODE_DIST_H
#define HM_NODE_DIST_H

#include "node/node_set.h"
#include "node/units.h"
#include "sparse/rng.h"

enum {
    HM_DIST_TEXT_MAX = 4400,       /* bytes of a printed distribution, with its NUL */
    HM_TRACE_BYTES_MAX = 16 << 20, /* of a trace file */
    HM_TRACE_VALUES_MAX = 1 << 20,
};

enum hm_dist_kind {
    HM_DIST_NONE, /* nothing was said; draws 0 */
    HM_DIST_CONST,
    HM_DIST_UNIFORM,
    HM_DIST_GAUSS,
    HM_DIST_LOGNORMAL,
    HM_DIST_TRACE,
};

struct hm_dist_trace; /* values of a file */

/* Only read after parsing: any number of threads may draw from one. Zeros are HM_DIST_NONE. */
struct hm_dist {
    enum hm_dist_kind kind;
    double a, b; /* microseconds as above; b of a lognormal is a plain number */
    struct hm_dist_trace *trace;
};

/* Reads one. Relative names of traces start at `folder` ("" for the working directory); NULL:
 * traces are refused. HM_EINPUT or HM_EIO with a sentence that quotes what was met and says what
 * was expected; *dist is then HM_DIST_NONE. */
enum hm_status hm_dist_parse(struct hm_dist *dist, const char *text, const char *folder,
                             struct hm_err *err);

/* "DIST" or "DIST@NODES", as --delay takes it: for all nodes, or for those named. On success the
 * caller closes both, on failure there is nothing to close. */
enum hm_status hm_dist_parse_nodes(struct hm_dist *dist, struct hm_node_set *nodes,
                                   const char *text, const char *folder, struct hm_err *err);

/* The next duration. *position is where its user stands in a trace; starts as 0. Other kinds do not
 * look at it; const and trace do not look at rng. */
uint64_t hm_dist_draw(const struct hm_dist *dist, struct hm_rng *rng, uint32_t *position);

/* The text that parses to this distribution, NUL-terminated; returns its length. */
size_t hm_dist_print(const struct hm_dist *dist, char text[HM_DIST_TEXT_MAX]);

/* Whether they draw the same. */
bool hm_dist_same(const struct hm_dist *x, const struct hm_dist *y);

void hm_dist_fini(struct hm_dist *dist); /* leaves HM_DIST_NONE */

#endif
