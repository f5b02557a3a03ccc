/* A checkpoint: all that a node needs to go on after its process has ended, whatever ended it.
 *
 * It is taken by the driver between two turns, which is a consistent cut: B, the vector and the
 * logs belong to the driver and stand still. What is still owed, W - B * grid, is copied beside
 * running workers; of an add that races with the copy a part may be missing. That is no loss of its
 * own: the missing part was never published, and work that was not published is lost with a process
 * anyway.
 *
 * As a kept file (node/kept_file.h) of kind HM_CHECKPOINT_KIND it holds, in this order:
 *
 *     configuration and bulk data
 *     label (string), life (u64), seconds since 1970 (varint), number of the save (varint)
 *     H(B0) (u64), divisor (the bits of a float32, u64), own steps not published (varint)
 *     training time in microseconds, partition, rank, ranks (varints)
 *     examples of the shard, cursor (varints)
 *     number of coordinates (u64), B (u32 each)
 *     what is owed: number of blocks (varint), then for each the distance to the one before
 *         (varint, the first counts from -1) and 64 float32; blocks without any are left out
 *     states of the optimiser (string): empty, or number of workers, numbers of each (varints,
 *         from 1 on), and so many float32, worker after worker: velocities, mean squares
 *     vector and logs (protocol/resume.h)
 *
 * All integers little-endian. A program that knows no states refuses a file that has some. What is
 * read is checked whole: H(B) = H(B0) + the sum over the vector, and each log against itself and
 * the vector.
 */
#ifndef HM_NODE_CHECKPOINT_H
#define HM_NODE_CHECKPOINT_H

#include "models/model.h"
#include "protocol/mesh.h"
#include "protocol/resume.h"

#define HM_CHECKPOINT_KIND "checkpoint"

enum { HM_STATES_MAX = 4096 }; /* workers of a node whose states are kept */

struct hm_checkpoint {
    struct hm_fields config;
    uint8_t *bulk; /* [bulk_n] */
    size_t bulk_n;
    struct hm_layout layout;
    char label[HM_LABEL_MAX + 1];
    uint64_t life;   /* that took it, and ended */
    uint64_t time_s; /* seconds since 1970 */
    uint64_t number; /* of this save in its life, from 1 */
    uint64_t digest0;
    float divisor; /* in force: what is owed is as many times as large as it will be published */
    uint64_t owed_steps; /* in W and unpublished */
    uint64_t trained_us;
    unsigned partition, rank, ranks; /* which examples, and of them how many were handed out */
    uint64_t shard_n, cursor;
    uint32_t *b;       /* [hm_layout_n] */
    float *owed;       /* [hm_layout_n] W - B * grid; NULL: nothing any more */
    float *state;      /* [n_states][state_floats] of the optimiser, one of each worker */
    unsigned n_states; /* 0: none */
    size_t state_floats;
    struct hm_mesh_resume mesh;
};

/* Frees all it owns and empties it. */
void hm_checkpoint_fini(struct hm_checkpoint *checkpoint);

/* Fills in divisor, B, what is owed and the mesh's part, which begins after the vector `since` as
 * in hm_mesh_save; the rest is the caller's. b and owed are used again when they are there. Driver
 * thread. */
enum hm_status hm_checkpoint_take(struct hm_checkpoint *checkpoint, const struct hm_mesh *mesh,
                                  const struct hm_weights *weights, const struct hm_vv_entry *since,
                                  size_t n_since, struct hm_err *err);

enum hm_status hm_checkpoint_encode(const struct hm_checkpoint *checkpoint,
                                    const struct hm_sink *sink, struct hm_err *err);

/* Checks and reads a whole file; pure but for `progress`, which may be NULL. Memory is in
 * proportion to n. On failure *checkpoint owns nothing. */
enum hm_status hm_checkpoint_decode(const uint8_t *bytes, size_t n,
                                    const struct hm_progress *progress,
                                    struct hm_checkpoint *checkpoint, struct hm_err *err);

/* B as it was, W = B * grid; for weights of the same layout. What is owed comes later, by
 * hm_checkpoint_hand_over. */
void hm_checkpoint_install(const struct hm_checkpoint *checkpoint, struct hm_weights *weights);

/* Adds what the former life owed to W, in terms of the divisor now in force, and returns the steps
 * that belong to it. Once, when training begins. Nothing and 0 when the former life's stream is
 * known to have gone on after the checkpoint: its next flush published what was owed, and that is
 * in B. *dropped tells. */
uint64_t hm_checkpoint_hand_over(struct hm_checkpoint *checkpoint, struct hm_mesh *mesh,
                                 struct hm_weights *weights, int *dropped);

#endif
