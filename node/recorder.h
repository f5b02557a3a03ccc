/* Records the trajectory of a node while it trains: the driver copies B between two of its turns, a
 * thread writes, for a disk may take its time and the protocol has none. */
#ifndef HM_NODE_RECORDER_H
#define HM_NODE_RECORDER_H

#include "sparse/status.h"

struct hm_node;

/* Makes the files, and the thread, if options ask for a trajectory. */
enum hm_status hm_recorder_open(struct hm_node *node, struct hm_err *err);

/* Once a turn of the driver, when its actions are done: takes a point when one is due. One that
 * comes due while the one before is still being written is taken later. */
void hm_recorder_serve(struct hm_node *node);

/* After the run, when nothing moves any more: adds the model that it has ended with, and reports.
 */
void hm_recorder_finish(struct hm_node *node);

void hm_recorder_close(struct hm_node *node);

#endif
