/* What a node does with checkpoints: goes on from one, and takes them while it trains. */
#ifndef HM_NODE_SAVER_H
#define HM_NODE_SAVER_H

#include "node/checkpoint.h"
#include "node/kept_file.h"

struct hm_node;

/* ---- resume.c: going on ---- */

struct hm_resumed {
    struct hm_checkpoint checkpoint; /* without B and logs once the mesh is open, without what is
                                        owed once training began */
    int found;       /* there was a file; without, a node can still join those who had one */
    int from_newest; /* it is NAME itself, not NAME.prev */
    uint64_t steps;  /* mesh-wide, when it was taken */
};

/* Reads NAME, or NAME.prev when that will not do, as the options say; warns of what it leaves
 * aside, and fails when a file is there and none is fit to go on from. */
enum hm_status hm_resume_load(struct hm_node *node, struct hm_err *err);

/* The first node of the mesh takes the file's configuration, with the budget that is asked for. */
enum hm_status hm_resume_found(struct hm_node *node, struct hm_err *err);

/* Others ask for it, all but the budget, and check what they are given. */
void hm_resume_insist(const struct hm_node *node, struct hm_fields *wishes);
enum hm_status hm_resume_check(const struct hm_node *node, struct hm_err *err);

/* Which examples: those of the former life, unless the options say otherwise; then where it was. */
void hm_resume_shard(const struct hm_node *node, unsigned *rank, unsigned *ranks);
void hm_resume_cursor(struct hm_node *node);

/* B and W, once B0 stands in the weights, and the mesh's part. */
enum hm_status hm_resume_install(struct hm_node *node, struct hm_mesh_params *params,
                                 struct hm_err *err);
void hm_resume_installed(struct hm_node *node); /* hm_mesh_open has what it needs */

/* The optimisers' states of the workers, which are open and do not run yet. Those of another number
 * of threads, or of another size, are left aside with a warning. */
void hm_resume_states(struct hm_node *node);

/* Before the first step or the first delta: what the former life owed is this one's now. Driver;
 * nothing when it has been done. */
void hm_resume_hand_over(struct hm_node *node);

void hm_resume_close(struct hm_node *node);

/* ---- saver.c: taking them ---- */

struct hm_saver;

/* Nothing when the options name no file. */
enum hm_status hm_saver_open(struct hm_node *node, struct hm_err *err);

/* Once a turn of the driver, when its actions are done: takes a checkpoint when one is due, for
 * another thread to write, and hears how the last one went. */
void hm_saver_serve(struct hm_node *node);

/* After the run, when nothing moves any more: waits for the thread and writes the last one. */
void hm_saver_finish(struct hm_node *node);

void hm_saver_close(struct hm_node *node);

#endif
