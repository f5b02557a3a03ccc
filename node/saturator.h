/* What a node keeps for the saturating sum (models/saturate.h), and how it goes through its rows.
 *
 * Rows are numbered by falling frequency. The first ones, hot, are published at every flush; the
 * others in rotation, SLICES slices of them, a whole turn in the steps that the mesh asks for, or
 * as fast as a cap on bytes allows. A row's relaxation goes by the steps made since rows of its
 * class were last published, so whatever delays a flush is reckoned with.
 *
 * All of it can be lost: directions are estimated anew, and counts of steps begin with the process.
 * The driver's.
 */
#ifndef HM_NODE_SATURATOR_H
#define HM_NODE_SATURATOR_H

#include "models/model.h"
#include "models/saturate.h"

#include <stdbool.h>

enum {
    HM_HOT_ROWS = 2000,
    HM_SLICES = 64,
    HM_CHUNK_ROWS = 16, /* whole blocks, as rows are padded to 16 floats */
    HM_MET_ROWS = 1024, /* of a table that its directions are estimated from at a time */
};

/* Rows that are published together. */
struct hm_row_class {
    uint64_t at;     /* own steps when they last were */
    double rate;     /* of a step then */
    uint64_t flush;  /* number of the flush then */
    uint64_t visits; /* for the turns of what has no mark */
    double blocks;   /* that such a flush published, in the mean */
    float x;         /* of this flush: relaxation of a row for each pair that it meets and lambda */
    struct hm_saturation table;
};

struct hm_saturator {
    const struct hm_model *model;
    const struct hm_saturate_kernels *kernels;
    struct hm_weights *weights; /* the node's */
    struct hm_dirty *dirty;     /* its marks; mark NULL: everything is looked at */
    struct hm_side {
        float *mu; /* [rows] pairs per example */
        struct hm_directions directions;
        uint32_t n_chunks, n_hot;
    } side[2];
    struct hm_row_class hot, slice[HM_SLICES];
    unsigned next; /* slice whose turn it is */
    double credit; /* slices that are due */
    unsigned left; /* of a final flush that has begun: slices that it still has to go through */
    uint64_t own_steps, flushes;
    uint64_t estimated_at; /* mesh-wide steps; directions are as of then */
    struct hm_rng rng;
    float *met, *room; /* [HM_MET_ROWS][stride], [HM_DIRECTIONS][stride] */
    hm_cell *walk;     /* [HM_CHUNK_ROWS][stride] B + M (W - B) of a chunk */
    int32_t *q;        /* the same: what was published of it */
};

/* What one flush goes by. */
struct hm_saturator_turn {
    uint64_t own_steps;   /* of this process, all that are in W */
    uint64_t mesh_steps;  /* for the rate, and to tell when to estimate again */
    uint64_t pass_steps;  /* own steps in which the rest is gone through once; 0: at every flush */
    uint64_t room_blocks; /* of deltas that may be published, about; UINT64_MAX: any */
    double delay_steps;   /* own steps made while a delta is under way */
    unsigned n_live;
    bool final; /* everything, whatever its marks, as far as there is room */
};

/* On failure close it too. */
enum hm_status hm_saturator_open(struct hm_saturator *saturator, const struct hm_model *model,
                                 const char *isa, struct hm_dirty *dirty,
                                 struct hm_weights *weights, struct hm_err *err);
void hm_saturator_close(struct hm_saturator *saturator);
uint64_t hm_saturator_bytes(const struct hm_layout *layout);

/* As hm_kernels.extract, of the rows whose turn it is and that have been added to. Returns the
 * blocks that it went through. */
uint32_t hm_saturator_extract(struct hm_saturator *saturator, const struct hm_kernels *kernels,
                              const struct hm_publish *publish,
                              const struct hm_saturator_turn *turn, struct hm_delta *delta,
                              struct hm_extract_stats *stats);

#endif
