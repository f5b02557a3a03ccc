/* One node for fuzzing the protocol: what node/driver.c makes of a mesh, with a model of a few
 * blocks, and after every event a look at what must hold whatever peers do:
 *
 *   - B is what the deltas say that were published here and applied here, and its digest is the one
 * that the vector promises; W is finite
 *   - own deltas are numbered without gaps, and nobody ever says (stream, seq) in two ways
 *   - every message that goes out decodes, fits its limits and holds no text that may not travel
 *   - the log keeps to its budget, held deltas and actions to their limits
 *   - once it has finished, nothing happens any more
 *
 * An assertion tells; the fuzzer's input repeats it.
 */
#ifndef HM_TESTS_MESH_BED_H
#define HM_TESTS_MESH_BED_H

#include "protocol/mesh_state.h"
#include "tests/fuzzing.h"

enum { BED_SAID_MAX = 1 << 12 };

/* Deltas that any node has sent, by stream and seq; what comes when it is full is not remembered.
 */
struct bed_said {
    struct bed_one {
        uint64_t stream, hash;
        uint32_t seq;
    } one[BED_SAID_MAX];
    unsigned used[BED_SAID_MAX / 2], n;
    bool damaged; /* on the way: what is not in a digest may be repeated as it came */
};

struct bed_node {
    struct hm_mesh *mesh;
    struct hm_mesh_params params;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_delta delta, read; /* extracted; unpacked again from what was published */
    int64_t *shadow;             /* [weights.n] B as the deltas say, without wrapping */
    struct bed_said *said;
    uint64_t now_us, steps, taken;
    uint64_t n_applied, n_before; /* here; in streams that did not begin here */
    uint64_t own_life, beat_life; /* under which deltas and beats last went out */
    uint32_t own_seq, own_beat;
    bool working, ended, touched;
    bool installed; /* since the last extract: own deltas that go out are in the base already */

    /* Sees every message that goes out. */
    void (*sent)(struct bed_node *node, const struct hm_action *action,
                 const struct hm_header *header);
    void *context;
};

struct bed_said *bed_said(void); /* emptied; one at a time */

/* A node with life `life`, whose other parameters the input chooses. said is borrowed. */
void bed_open(struct bed_node *node, uint64_t life, unsigned expect, struct fuzz *fuzz,
              struct bed_said *said);
void bed_close(struct bed_node *node);

/* As after years: the own stream and that of `peer` are a few deltas before the end of what seq,
 * flush and steps can count. Before the first event. */
void bed_grow_old(struct bed_node *node, uint64_t peer);

/* Lets one event happen now, carries out what follows, and checks. */
void bed_step(struct bed_node *node, struct hm_event *event);

/* Time passes, then the node gets its turn. */
void bed_tick(struct bed_node *node, uint64_t us);

/* A worker makes so many steps and adds `units` of the grid to a coordinate. */
void bed_work(struct bed_node *node, uint32_t coordinate, float units, uint64_t steps);

/* A message arrives. The payload stays the caller's; it may be NULL. */
void bed_receive(struct bed_node *node, enum hm_channel channel, const uint8_t *header,
                 size_t header_n, struct hm_blob *payload, uint8_t from);

#endif
