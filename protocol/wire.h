/* Messages as structs, and their two-frame form on the wire (protocol/WIRE.md is the normative
 * description).
 *
 * Frame 1, the header: a msgpack array of at most HM_HEADER_MAX bytes: version, type, fingerprint,
 * sender's life, then the fields of the type. Frame 2, the payload: flat bytes of at most
 * HM_PAYLOAD_MAX, empty for some types.
 *
 * Headers are decoded by hm_wire_decode, payloads by the functions below; each validates everything
 * before it returns success, allocates nothing that the bytes could make large, and changes nothing
 * but its outputs. All functions are pure and thread-safe.
 */
#ifndef HM_PROTOCOL_WIRE_H
#define HM_PROTOCOL_WIRE_H

#include "protocol/bytes.h"
#include "sparse/fields.h"
#include "sparse/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* HM_FEW: tables that a few messages fill. Fuzzing compiles the mesh so: every input opens one, and
 * what happens when a table is full is to be met often. */
enum {
    HM_WIRE_VERSION = 2,
    HM_HEADER_MAX = 4096,     /* bytes of a header that we accept */
    HM_HEADER_BOUND = 640,    /* bytes of any header that we write */
    HM_PAYLOAD_MAX = 1 << 20, /* bytes of a payload */
    HM_LABEL_MAX =
        31, /* bytes of a node's name, without NUL: printable ASCII, no spaces or quotes */
    HM_ENDPOINT_MAX = 127, /* "tcp://host:port" */
    HM_REASON_MAX = 127,   /* text fields of REJECT and of a stop */
#ifdef HM_FEW
    HM_STREAMS_MAX = 96,
    HM_PEERS_MAX = 64,
    HM_RAW_MAX = 1 << 17,
#else
    HM_STREAMS_MAX = 2048, /* entries of a version vector */
    HM_PEERS_MAX = 1024,   /* entries of a list of peers */
    HM_RAW_MAX = 8 << 20,  /* bytes of a packed delta before LZ4 */
#endif
    HM_CHUNK_BLOCKS_MAX = 4096,    /* of a snapshot's chunk: packed, they fit into any payload */
    HM_FEED_BATCH_MAX = 65536,     /* examples of a message of a feeder */
    HM_FEED_LONGEST_MAX = 1 << 20, /* numbers of an example */
    HM_FEED_PIECES_MAX = 4096,     /* messages of what trainers ask a feeder for */
};

/* The largest seq; what follows it still fits a uint32_t. */
#define HM_SEQ_MAX (UINT32_MAX - 1)

enum hm_message_type {
    HM_DELTA = 1,
    HM_BEAT = 2,
    HM_HELLO = 3,
    HM_HELLO_OK = 4,
    HM_REJECT = 5,
    HM_WANT = 6,
    HM_NOHAVE = 7,
    HM_STATE_REQ = 8,
    HM_STATE_META = 9,
    HM_CHUNK_REQ = 10,
    HM_CHUNK = 11,
    HM_YIELD = 12,
    HM_LEAVE = 13,
    HM_ASK = 14,
    HM_STATUS = 15,
    /* Between feeders and trainers, on sockets of their own. */
    HM_FEED_HELLO = 16,
    HM_FEED_FACTS = 17,
    HM_FEED_WANT = 18,
    HM_FEED_PIECE = 19,
    HM_FEED_BEAT = 20,
    HM_FEED_STATE = 21,
    HM_FEED_BATCH = 22,
};

enum hm_phase {
    HM_JOINING = 0, /* looking for peers, catching up */
    HM_READY = 1,   /* heard everybody that is expected */
    HM_RUNNING = 2, /* training */
    HM_DONE = 3,    /* final flush published */
    HM_QUIET = 4,   /* and everybody is DONE with the same vector and digest */
    HM_EXITING = 5, /* and everybody is QUIET */
    HM_PHASES,
};

enum hm_encoding {
    HM_PACKED = 0,     /* sparse/kernels.h encode */
    HM_PACKED_LZ4 = 1, /* the same, compressed as one LZ4 block */
    HM_ENCODINGS,
};

/* What a STATE_META says to who asked. */
enum hm_verdict {
    HM_STATE_GIVEN = 0,   /* here is a snapshot; fetch its chunks */
    HM_STATE_ADOPT = 1,   /* the same, and of the two of us it is you who gives way */
    HM_STATE_KEEP = 2,    /* keep what you have: I am the one who gives way */
    HM_STATE_NOT_NOW = 3, /* no snapshot here: joining myself, no memory, or no budget */
    HM_STATE_GONE = 4,    /* the snapshot that you asked for is not kept any more */
    HM_VERDICTS,
};

enum hm_question {
    HM_ASK_ECHO = 0,  /* nothing but an answer */
    HM_ASK_STATE = 1, /* the state of node and mesh */
    HM_QUESTIONS,
};

struct hm_delta_head {
    uint64_t stream; /* life id whose steps these are */
    uint32_t lo,
        hi; /* takes the stream from seq lo to seq hi = lo + 1 (composites may span more, later) */
    uint32_t flush;           /* number of the flush, from 1; pieces of one flush share it */
    uint8_t last_piece;       /* 1 on the last piece of its flush, which also carries its steps */
    uint64_t digest;          /* cumulative digest C of the stream after hi */
    uint64_t steps;           /* cumulative steps of the stream after hi */
    uint8_t encoding;         /* enum hm_encoding */
    uint32_t block, n_blocks; /* range of blocks covered */
    uint32_t n_nonzero;       /* coordinates with q != 0 */
    uint32_t raw_n;           /* bytes of the packed form before LZ4 */
    uint32_t vectors_n; /* bytes at the head of the payload that hold the two version vectors */
    uint64_t check;     /* hm_delta_check of all of the above and of the payload */
};

struct hm_beat_head {
    uint32_t number; /* of this beat in this life, from 1 */
    char label[HM_LABEL_MAX + 1];
    uint8_t phase; /* enum hm_phase */
    uint8_t stop;  /* 1: training is to stop (OR-ed through all beats) */
    char stop_reason[HM_REASON_MAX + 1];
    uint64_t digest; /* H(B) of the sender */
    uint64_t steps;  /* mesh-wide steps the sender knows of */
    uint32_t lag;    /* flushes that the sender's slowest peer has not acknowledged */
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1]; /* where to reach the sender */
};

struct hm_hello_head { /* HELLO and HELLO_OK */
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
};

struct hm_reject_head {
    char field[HM_FIELD_NAME_MAX +
               1];                 /* the field that contradicts; "" when it is not about a field */
    char ours[HM_REASON_MAX + 1];  /* what the refusing node has */
    char yours[HM_REASON_MAX + 1]; /* what was asked for */
    char reason[HM_REASON_MAX + 1]; /* one sentence */
};

struct hm_want_head {
    uint64_t stream;
    uint32_t from;      /* first seq wanted */
    uint32_t bytes_max; /* stop after this many payload bytes */
};

struct hm_nohave_head {
    uint64_t stream;
    uint32_t have_from; /* oldest seq held; 0: nothing of that stream */
};

struct hm_leave_head {
    uint32_t seq;    /* final seq of the sender's own stream */
    uint64_t digest; /* H(B) it leaves with */
    uint8_t clean;   /* 1: after an agreed end; 0: leaving early */
};

struct hm_state_req_head {
    uint8_t decide; /* 1: adopting would lose deltas here; say which of us gives way */
};

struct hm_state_meta_head {
    uint64_t id;     /* hm_snapshot_id of the payload; 0 exactly without a snapshot */
    uint8_t verdict; /* enum hm_verdict */
    uint32_t n_chunks;
    uint32_t chunk_blocks; /* blocks in each chunk but the last */
    uint64_t digest;       /* H(B) of the snapshot */
    uint64_t steps;        /* mesh-wide steps in it */
};

struct hm_chunk_req_head {
    uint64_t id;
    uint32_t chunk;
};

struct hm_chunk_head {
    uint64_t id;
    uint32_t chunk;
    uint8_t encoding;   /* enum hm_encoding */
    uint32_t raw_n;     /* bytes of the packed form before LZ4 */
    uint32_t n_nonzero; /* coordinates with B != 0 */
};

struct hm_yield_head { /* the sender's life ends; its process goes on as another */
    uint64_t successor;
    uint32_t seq;       /* deltas 1..seq of the life that ends stay valid at the sender */
    uint32_t renounced; /* those from this one on are never valid: they come anew in the successor's
                           stream; HM_SEQ_MAX + 1: none */
};

/* ---- a feeder and its trainers ---- */

/* What a trainer asks a feeder for before it trains. */
enum hm_feed_set {
    HM_FEED_BULK = 0,   /* what goes with the facts: a vocabulary, an order of features */
    HM_FEED_SAMPLE = 1, /* examples of the training set, to estimate on */
    HM_FEED_TEST = 2,   /* examples that are held out */
    HM_FEED_SETS,
};

struct hm_feed_hello_head { /* a trainer asks for the facts */
    char label[HM_LABEL_MAX + 1];
};

struct hm_feed_facts_head { /* the payload is the facts, as fields of a HELLO */
    char label[HM_LABEL_MAX + 1];
    char pub[HM_ENDPOINT_MAX + 1];     /* where batches are pushed */
    uint64_t examples;                 /* of one pass */
    uint64_t total;                    /* of all passes */
    uint32_t batch;                    /* most examples of a message */
    uint32_t longest;                  /* most numbers of an example, where these differ; else 0 */
    uint32_t n_bulk, n_sample, n_test; /* pieces */
};

struct hm_feed_piece_head { /* WANT and PIECE */
    uint8_t set;            /* enum hm_feed_set */
    uint32_t piece;
};

struct hm_feed_beat_head {      /* a trainer */
    uint64_t feeder;            /* life of the feeder that it means */
    uint64_t received, trained; /* batches of that */
    uint8_t idle;               /* 1: it has none, and waits */
    uint8_t leaving;            /* 1: it takes no more */
};

struct hm_feed_state_head { /* the answer */
    uint64_t sent;          /* batches */
    uint8_t ended;          /* 1: all are delivered, there will be no more */
};

struct hm_feed_batch_head {
    uint64_t number; /* of the message in this life of the feeder, from 1 */
    uint64_t key;    /* for what trainers draw with it */
};

struct hm_ask_head { /* ASK and STATUS */
    uint64_t number; /* the asker's, which the answer repeats */
    uint8_t what;    /* of ASK: enum hm_question; of STATUS the same */
};

struct hm_header {
    uint8_t type;         /* enum hm_message_type */
    uint64_t fingerprint; /* of the configuration; 0 in HELLO before one is known */
    uint64_t life;        /* of the sender; never 0 */
    union {
        struct hm_delta_head delta;
        struct hm_beat_head beat;
        struct hm_hello_head hello;
        struct hm_reject_head reject;
        struct hm_want_head want;
        struct hm_nohave_head nohave;
        struct hm_leave_head leave;
        struct hm_state_req_head state_req;
        struct hm_state_meta_head state_meta;
        struct hm_chunk_req_head chunk_req;
        struct hm_chunk_head chunk;
        struct hm_yield_head yield;
        struct hm_ask_head ask;
        struct hm_feed_hello_head feed_hello;
        struct hm_feed_facts_head feed_facts;
        struct hm_feed_piece_head feed_piece;
        struct hm_feed_beat_head feed_beat;
        struct hm_feed_state_head feed_state;
        struct hm_feed_batch_head feed_batch;
    };
};

enum hm_wire_error {
    HM_WIRE_OK = 0,
    HM_WIRE_MALFORMED,   /* not the msgpack that is allowed, or fields out of range */
    HM_WIRE_BAD_VERSION, /* another version of the protocol: *header has type, fingerprint and life
                            if they parsed */
    HM_WIRE_UNKNOWN_TYPE,
};

/* Writes the header's bytes to out[HM_HEADER_BOUND]; returns how many. Cannot fail: numbers, labels
 * and endpoints are in range (asserted; protocol/text.h has the rules of texts). The texts of
 * REJECT and of a stop may hold anything: what must not travel in them is replaced, as
 * hm_text_clean does. */
size_t hm_wire_encode(const struct hm_header *header, uint8_t *out);

/* Validates and decodes bytes of a header from a peer. On any error but BAD_VERSION *header is
 * zeroed. */
enum hm_wire_error hm_wire_decode(const uint8_t *bytes, size_t n, struct hm_header *header);

/* ---- version vectors in payloads ---- */

/* One stream of a version vector. */
struct hm_vv_entry {
    uint64_t life;
    uint32_t seq;    /* deltas 1..seq are applied */
    uint32_t flush;  /* flushes completely applied */
    uint64_t steps;  /* cumulative */
    uint64_t digest; /* cumulative */
};

/* What a DELTA carries of each stream: where its origin stood when accumulation began and when it
 * flushed. */
struct hm_span_entry {
    uint64_t life;
    uint32_t flush_start, flush_end; /* end >= start */
    uint64_t steps_start, steps_end;
};

/* A peer as listed in beats and hello answers. */
struct hm_peer_entry {
    uint64_t life;
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
    uint8_t phase;
    uint8_t gone;    /* 1: the sender thinks this peer is dead */
    uint32_t beat;   /* newest beat of that peer that the sender has heard; 0: none */
    uint32_t age_us; /* and how long ago, for round-trip times; saturates */
};

#define HM_SPANS_BOUND(n) (HM_VARINT_MAX + (n) * (8 + 4 * HM_VARINT_MAX))
#define HM_BEAT_BOUND(n_streams, n_peers)                                                          \
    (2 * HM_VARINT_MAX + (n_streams) * (16 + 3 * HM_VARINT_MAX) +                                  \
     (n_peers) * (8 + 4 + HM_LABEL_MAX + 2 * HM_ENDPOINT_MAX + 2 + 2 * HM_VARINT_MAX))

/* Two vectors, as at the head of a DELTA payload; returns bytes written, at most HM_SPANS_BOUND(n).
 */
size_t hm_spans_encode(const struct hm_span_entry *span, size_t n, uint8_t *out);
/* 0 and *n entries, lives strictly ascending and not 0; -1 when malformed or more than `room` or
 * trailing bytes. */
int hm_spans_decode(const uint8_t *in, size_t in_n, struct hm_span_entry *span, size_t room,
                    size_t *n);

/* Payload of a BEAT: the vector, then the peers. Lives in both lists strictly ascending and not 0.
 */
size_t hm_beat_encode(const struct hm_vv_entry *vv, size_t n_vv, const struct hm_peer_entry *peer,
                      size_t n_peers, uint8_t *out);
int hm_beat_decode(const uint8_t *in, size_t in_n, struct hm_vv_entry *vv, size_t vv_room,
                   size_t *n_vv, struct hm_peer_entry *peer, size_t peer_room, size_t *n_peers);

#define HM_VECTOR_BOUND(n) (HM_VARINT_MAX + (n) * (16 + 3 * HM_VARINT_MAX))

/* Payload of STATE_REQ and STATE_META: a vector alone, as a BEAT begins. */
size_t hm_vector_encode(const struct hm_vv_entry *vv, size_t n, uint8_t *out);
int hm_vector_decode(const uint8_t *in, size_t in_n, struct hm_vv_entry *vv, size_t room,
                     size_t *n);

/* Payload of HELLO (fields the sender insists on) and HELLO_OK (the configuration; then the peers;
 * then bulk data of the workload, such as the order of features, opaque here). Names are [a-z0-9_]+
 * and strictly ascending (strcmp); values are hm_text_ok. The whole must fit HM_PAYLOAD_MAX, or
 * peers refuse it: the caller's to check. */
size_t hm_hello_bound(const struct hm_field *field, size_t n_fields, size_t n_peers, size_t n_bulk);
size_t hm_hello_encode(const struct hm_field *field, size_t n_fields,
                       const struct hm_peer_entry *peer, size_t n_peers, const uint8_t *bulk,
                       size_t n_bulk, uint8_t *out);
/* *bulk points into `in`. */
int hm_hello_decode(const uint8_t *in, size_t in_n, struct hm_field *field, size_t field_room,
                    size_t *n_fields, struct hm_peer_entry *peer, size_t peer_room, size_t *n_peers,
                    const uint8_t **bulk, size_t *n_bulk);

/* The same of a file, where bulk data may be more than a message holds. */
int hm_hello_decode_kept(const uint8_t *in, size_t in_n, struct hm_field *field, size_t field_room,
                         size_t *n_fields, struct hm_peer_entry *peer, size_t peer_room,
                         size_t *n_peers, const uint8_t **bulk, size_t *n_bulk);

/* ---- packed deltas in payloads (the one place that knows LZ4) ---- */

/* Bytes that hm_pack may need for `listed` blocks in a range of `range`. */
size_t hm_pack_bound(size_t listed, size_t range);

/* Packs a delta whose blocks are all within [block, block + n_blocks); LZ4 is tried and kept when
 * it saves at least 3 %. Returns the bytes written to `out`, sets *encoding and *raw_n. `out` and
 * `scratch` have hm_pack_bound bytes each, and that is at most HM_RAW_MAX. An empty delta gives 0
 * bytes, raw_n 0, HM_PACKED. */
size_t hm_pack(const struct hm_kernels *kernels, const struct hm_delta *delta, uint32_t block,
               uint32_t n_blocks, uint8_t *out, uint8_t *scratch, uint8_t *encoding,
               uint32_t *raw_n);

/* What `check` has to be in the head of a DELTA with that payload [n]; head->check is not looked
 * at. Any damage on the way changes one of the two, but for one chance in 2^64. */
uint64_t hm_delta_check(const struct hm_delta_head *head, const uint8_t *payload, size_t n);

/* What `id` has to be in the head of a STATE_META with that payload [n], its vector; never 0. One
 * vector, one snapshot: the id names it, and shows damage to what says how far B has come. */
uint64_t hm_snapshot_id(const uint8_t *payload, size_t n);

/* Unpacks the body (payload after the vectors) of the DELTA that `head` describes into `out`,
 * checking lengths, range and count against the head and the layout (padding stays zero). `scratch`
 * has HM_RAW_MAX bytes, `out` room for head->n_blocks blocks (more are refused). 0, or -1 with
 * `out` emptied. Digest and check are the caller's to look at. */
int hm_unpack(const struct hm_kernels *kernels, const struct hm_layout *layout,
              const struct hm_delta_head *head, const uint8_t *body, size_t body_n,
              uint8_t *scratch, struct hm_delta *out);

/* A chunk of a snapshot: the values of B in blocks [block, block + n_blocks) as a delta from zero,
 * packed as above into out[hm_pack_bound(n_blocks, n_blocks)]; sets all of the head but id and
 * chunk. `delta` is scratch with room for the blocks. Returns the bytes, or -1 when a value is
 * beyond what the format holds, +-2 HM_RANGE. n_blocks <= HM_CHUNK_BLOCKS_MAX. */
long hm_pack_chunk(const struct hm_kernels *kernels, const uint32_t *b, uint32_t block,
                   uint32_t n_blocks, uint8_t *out, uint8_t *scratch, struct hm_delta *delta,
                   struct hm_chunk_head *head);

/* Unpacks such a chunk over b's blocks [block, block + n_blocks), all of them. 0, or -1 and b
 * unchanged. `scratch` has HM_RAW_MAX bytes, `delta` room for n_blocks. */
int hm_unpack_chunk(const struct hm_kernels *kernels, const struct hm_layout *layout,
                    const struct hm_chunk_head *head, const uint8_t *body, size_t body_n,
                    uint32_t block, uint32_t n_blocks, uint8_t *scratch, struct hm_delta *delta,
                    uint32_t *b);

#endif
