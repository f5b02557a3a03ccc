/* Payloads of deltas and beats, decoded and checked once.
 *
 * A payload that a thousand virtual nodes of one process receive is the same blob for all of them,
 * so what its bytes say is worked out once and remembered for a while. Nodes of their own processes
 * have a decoder of their own with one place.
 *
 * A decoder belongs to one thread.
 */
#ifndef HM_PROTOCOL_DECODED_H
#define HM_PROTOCOL_DECODED_H

#include "protocol/log.h"

/* The vectors at the start of an accumulation, by column: sums over them are most of what a receive
 * in a large mesh costs. Lives ascending. */
struct hm_starts {
    size_t n, room;
    uint64_t *life, *steps; /* [n] */
    uint32_t *flush;        /* [n] */
};

struct hm_decoded {
    struct hm_log_entry *entry; /* head and payload, a share; NULL: the place is free */
    int intact;                 /* the check holds */
    int unpacked, malformed;    /* what follows is there; no, it cannot be */
    struct hm_starts start;     /* where the origin stood when its first gradient read W */
    size_t n_spans;
    struct hm_span_entry *span; /* [n_spans] */
    struct hm_delta delta;
    uint64_t digest; /* of the delta */
};

/* The version vector of a beat. Immutable and counted: every node that heard the beat keeps it
 * until the next one, a thousand of them in one process keep one. One thread. */
struct hm_vector {
    unsigned n_owners;
    size_t n;
    struct hm_vv_entry entry[]; /* [n] lives ascending */
};

struct hm_vector *hm_vector_share(struct hm_vector *vector); /* NULL in, NULL out */
void hm_vector_drop(struct hm_vector *vector);               /* NULL is fine */

/* The entry of that life, or NULL; NULL has none. */
const struct hm_vv_entry *hm_vector_find(const struct hm_vector *vector, uint64_t life);

struct hm_decoded_beat {
    struct hm_blob *payload;  /* a share; NULL: the place is free */
    struct hm_vector *vector; /* NULL: the bytes are malformed, or there is no memory */
    size_t n_peers;
    struct hm_peer_entry *peer; /* [n_peers] */
};

struct hm_decoder;

/* layout and kernels are borrowed. n_places >= 1 deltas are remembered, and as many beats. */
enum hm_status hm_decoder_open(struct hm_decoder **decoder, const struct hm_kernels *kernels,
                               const struct hm_layout *layout, unsigned n_places,
                               struct hm_err *err);
void hm_decoder_close(struct hm_decoder *decoder);

/* Whether head and payload are what their origin published: the check holds. NULL never is. */
int hm_decode_intact(struct hm_decoder *decoder, const struct hm_delta_head *head,
                     struct hm_blob *payload);

/* What the message says, or NULL when it is not intact or its bytes are not what its header says
 * they are (its digest chain, which depends on the receiver's stream, is the caller's to check).
 * Valid until the next call. */
const struct hm_decoded *hm_decode(struct hm_decoder *decoder, const struct hm_delta_head *head,
                                   struct hm_blob *payload);

/* The same of a message that need not be intact: for tests of what the check is good for. */
const struct hm_decoded *hm_decode_anyway(struct hm_decoder *decoder,
                                          const struct hm_delta_head *head,
                                          struct hm_blob *payload);

/* What a beat's payload says, or NULL when it is malformed. Valid until the next call. */
const struct hm_decoded_beat *hm_decode_beat(struct hm_decoder *decoder, struct hm_blob *payload);

#endif
