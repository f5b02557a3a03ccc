/* What the files of fault plans share. */
#ifndef HM_NODE_FAULTS_STATE_H
#define HM_NODE_FAULTS_STATE_H

#include "node/faults.h"

enum { HM_FAULT_PARTS = 3 };

/* The file, for messages. */
struct hm_fault_text {
    char *name;
    size_t at[HM_FAULT_PARTS]; /* which member of the plan is its "links", "nodes", "events" */
    uint32_t *cut;             /* [n_cuts] events that are a cut or a heal, in their order */
    size_t n_cuts, n;
    char text[]; /* [n] */
};

const char *hm_fault_part_name(enum hm_faults_part part);
const char *hm_flip_name(enum hm_fault_what what);

#endif
