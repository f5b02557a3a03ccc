/* What one life of a node leaves to the next: which deltas are applied, and a part of the logs.
 *
 * A node that comes back is a new life with a new stream, whatever it remembers: its former life
 * may have published more after it was remembered, and no delta is ever numbered twice. So the
 * former own stream is resumed as one of many, with its log, and what follows it is asked of those
 * who heard it.
 *
 * A mesh writes this down with hm_mesh_save and is made of it through hm_mesh_params.resume
 * (protocol/mesh.h). B has to be that of the same instant. In bytes it is the vector (string), as
 * in STATE_REQ, then for each of its streams the label (string), the number of logged deltas
 * (varint), and of each delta the header as on the wire and the payload (strings).
 */
#ifndef HM_PROTOCOL_RESUME_H
#define HM_PROTOCOL_RESUME_H

#include "protocol/decoded.h"
#include "protocol/sink.h"
#include "sparse/progress.h"

struct hm_mesh;

struct hm_resume_stream {
    struct hm_vv_entry at; /* what is applied; seq >= 1 */
    char label[HM_LABEL_MAX + 1];
    size_t n_log;
    struct hm_log_entry **log; /* [n_log] consecutive, the last one takes the stream to at.seq */
};

/* Zeroed memory is that of a node that has applied nothing. */
struct hm_mesh_resume {
    size_t n_streams;
    struct hm_resume_stream *stream; /* [n_streams], lives ascending */
};

/* Drops what *resume owns and empties it. */
void hm_mesh_resume_fini(struct hm_mesh_resume *resume);

/* Drops the logs alone. */
void hm_mesh_resume_drop_logs(struct hm_mesh_resume *resume);

/* Writes down the vector and of every log what somebody alive has not acknowledged and what was
 * applied after the vector `since` [n_since] (none: everything). Payloads are shared, not copied.
 * On failure *out owns nothing. */
enum hm_status hm_mesh_save(const struct hm_mesh *mesh, const struct hm_vv_entry *since,
                            size_t n_since, struct hm_mesh_resume *out, struct hm_err *err);

uint64_t hm_mesh_resume_steps(const struct hm_mesh_resume *resume);
uint64_t hm_mesh_resume_deltas(const struct hm_mesh_resume *resume);

/* Sum of the streams' digests: H(B) - H(B0). */
uint64_t hm_mesh_resume_digest(const struct hm_mesh_resume *resume);

/* NULL when that life has published nothing that is known. */
const struct hm_resume_stream *hm_mesh_resume_find(const struct hm_mesh_resume *resume,
                                                   uint64_t life);

void hm_mesh_resume_encode(const struct hm_mesh_resume *resume, const struct hm_sink *sink);

/* Reads from *r on. Everything is checked: every logged delta has its check, unpacks within the
 * layout, continues the one before in number, flush, steps and digest, and the last one is where
 * the vector says. Memory is in proportion to the bytes there are. On failure *resume owns nothing.
 * `progress` may be NULL. */
enum hm_status hm_mesh_resume_decode(struct hm_reader *r, const struct hm_layout *layout,
                                     const struct hm_kernels *kernels,
                                     const struct hm_progress *progress,
                                     struct hm_mesh_resume *resume, struct hm_err *err);

#endif
