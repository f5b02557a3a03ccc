/* hogmesh inspect: messages. A DELTA is decoded without its layout: blocks and integers, but not
 * which weights. */
#include "tools/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The ranges that are tried for a packed body alone. */
enum { PACKED_TRIES = 4096, PACKED_BYTES_MAX = 65536 };

json_t *inspect_u64(uint64_t x)
{
    char text[24];
    if (x <= INT64_MAX)
        return json_integer((json_int_t)x);
    snprintf(text, sizeof text, "%" PRIu64, x);
    return json_string(text);
}

json_t *inspect_hex64(uint64_t x)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, x);
    return json_string(text);
}

static void put(json_t *json, const char *name, json_t *value)
{
    json_object_set_new(json, name, value);
}

static const char *type_name(unsigned type)
{
    static const char *const name[] = {
        [HM_DELTA] = "DELTA",
        [HM_BEAT] = "BEAT",
        [HM_HELLO] = "HELLO",
        [HM_HELLO_OK] = "HELLO_OK",
        [HM_REJECT] = "REJECT",
        [HM_WANT] = "WANT",
        [HM_NOHAVE] = "NOHAVE",
        [HM_LEAVE] = "LEAVE",
        [HM_STATE_REQ] = "STATE_REQ",
        [HM_STATE_META] = "STATE_META",
        [HM_CHUNK_REQ] = "CHUNK_REQ",
        [HM_CHUNK] = "CHUNK",
        [HM_ASK] = "ASK",
        [HM_STATUS] = "STATUS",
        [HM_YIELD] = "YIELD",
        [HM_FEED_HELLO] = "FEED_HELLO",
        [HM_FEED_FACTS] = "FEED_FACTS",
        [HM_FEED_WANT] = "FEED_WANT",
        [HM_FEED_PIECE] = "FEED_PIECE",
        [HM_FEED_BEAT] = "FEED_BEAT",
        [HM_FEED_STATE] = "FEED_STATE",
        [HM_FEED_BATCH] = "FEED_BATCH",
    };
    return type < sizeof name / sizeof name[0] && name[type] ? name[type] : "unknown";
}

static json_t *phase_name(unsigned phase)
{
    static const char *const name[HM_PHASES] = {"JOINING", "READY", "RUNNING",
                                                "DONE",    "QUIET", "EXITING"};
    return json_string(phase < HM_PHASES ? name[phase] : "unknown");
}

/* ---- headers ---- */

static void put_delta_head(json_t *json, const struct hm_delta_head *h)
{
    put(json, "stream", inspect_hex64(h->stream));
    put(json, "lo", json_integer(h->lo));
    put(json, "hi", json_integer(h->hi));
    put(json, "flush", json_integer(h->flush));
    put(json, "last_piece", json_boolean(h->last_piece));
    put(json, "digest", inspect_hex64(h->digest));
    put(json, "steps", inspect_u64(h->steps));
    put(json, "encoding", json_string(h->encoding == HM_PACKED_LZ4 ? "packed, LZ4" : "packed"));
    put(json, "block", json_integer(h->block));
    put(json, "n_blocks", json_integer(h->n_blocks));
    put(json, "n_nonzero", json_integer(h->n_nonzero));
    put(json, "raw_n", json_integer(h->raw_n));
    put(json, "vectors_n", json_integer(h->vectors_n));
    put(json, "check", inspect_hex64(h->check));
}

static void put_beat_head(json_t *json, const struct hm_beat_head *h)
{
    put(json, "number", json_integer(h->number));
    put(json, "label", json_string(h->label));
    put(json, "phase", phase_name(h->phase));
    put(json, "stop", json_boolean(h->stop));
    put(json, "stop_reason", json_string(h->stop_reason));
    put(json, "digest", inspect_hex64(h->digest));
    put(json, "steps", inspect_u64(h->steps));
    put(json, "lag", json_integer(h->lag));
    put(json, "rpc", json_string(h->rpc));
    put(json, "pub", json_string(h->pub));
}

static void put_hello_head(json_t *json, const struct hm_hello_head *h)
{
    put(json, "label", json_string(h->label));
    put(json, "rpc", json_string(h->rpc));
    put(json, "pub", json_string(h->pub));
}

static void put_reject_head(json_t *json, const struct hm_reject_head *h)
{
    put(json, "field", json_string(h->field));
    put(json, "ours", json_string(h->ours));
    put(json, "yours", json_string(h->yours));
    put(json, "reason", json_string(h->reason));
}

static void put_state_meta_head(json_t *json, const struct hm_state_meta_head *h)
{
    static const char *const verdict[HM_VERDICTS] = {"given", "adopt", "keep", "not now", "gone"};
    put(json, "id", inspect_u64(h->id));
    put(json, "verdict", json_string(h->verdict < HM_VERDICTS ? verdict[h->verdict] : "unknown"));
    put(json, "n_chunks", json_integer(h->n_chunks));
    put(json, "chunk_blocks", json_integer(h->chunk_blocks));
    put(json, "digest", inspect_hex64(h->digest));
    put(json, "steps", inspect_u64(h->steps));
}

static void put_chunk_head(json_t *json, const struct hm_chunk_head *h)
{
    put(json, "id", inspect_u64(h->id));
    put(json, "chunk", json_integer(h->chunk));
    put(json, "encoding", json_string(h->encoding == HM_PACKED_LZ4 ? "packed, LZ4" : "packed"));
    put(json, "raw_n", json_integer(h->raw_n));
    put(json, "n_nonzero", json_integer(h->n_nonzero));
}

static void put_feed_head(json_t *json, const struct hm_header *h)
{
    switch (h->type) {
    case HM_FEED_HELLO:
        put(json, "label", json_string(h->feed_hello.label));
        break;
    case HM_FEED_FACTS:
        put(json, "label", json_string(h->feed_facts.label));
        put(json, "pub", json_string(h->feed_facts.pub));
        put(json, "examples", inspect_u64(h->feed_facts.examples));
        put(json, "total", inspect_u64(h->feed_facts.total));
        put(json, "batch", json_integer(h->feed_facts.batch));
        put(json, "longest", json_integer(h->feed_facts.longest));
        put(json, "n_bulk", json_integer(h->feed_facts.n_bulk));
        put(json, "n_sample", json_integer(h->feed_facts.n_sample));
        put(json, "n_test", json_integer(h->feed_facts.n_test));
        break;
    case HM_FEED_WANT:
    case HM_FEED_PIECE:
        put(json, "set", json_integer(h->feed_piece.set));
        put(json, "piece", json_integer(h->feed_piece.piece));
        break;
    case HM_FEED_BEAT:
        put(json, "feeder", inspect_hex64(h->feed_beat.feeder));
        put(json, "received", inspect_u64(h->feed_beat.received));
        put(json, "trained", inspect_u64(h->feed_beat.trained));
        put(json, "idle", json_boolean(h->feed_beat.idle));
        put(json, "leaving", json_boolean(h->feed_beat.leaving));
        break;
    case HM_FEED_STATE:
        put(json, "sent", inspect_u64(h->feed_state.sent));
        put(json, "ended", json_boolean(h->feed_state.ended));
        break;
    case HM_FEED_BATCH:
        put(json, "number", inspect_u64(h->feed_batch.number));
        put(json, "key", inspect_hex64(h->feed_batch.key));
        break;
    default:
        break;
    }
}

static void put_head(json_t *json, const struct hm_header *h)
{
    switch (h->type) {
    case HM_DELTA:
        put_delta_head(json, &h->delta);
        break;
    case HM_BEAT:
        put_beat_head(json, &h->beat);
        break;
    case HM_HELLO:
    case HM_HELLO_OK:
        put_hello_head(json, &h->hello);
        break;
    case HM_REJECT:
        put_reject_head(json, &h->reject);
        break;
    case HM_WANT:
        put(json, "stream", inspect_hex64(h->want.stream));
        put(json, "from", json_integer(h->want.from));
        put(json, "bytes_max", json_integer(h->want.bytes_max));
        break;
    case HM_NOHAVE:
        put(json, "stream", inspect_hex64(h->nohave.stream));
        put(json, "have_from", json_integer(h->nohave.have_from));
        break;
    case HM_STATE_REQ:
        put(json, "decide", json_boolean(h->state_req.decide));
        break;
    case HM_STATE_META:
        put_state_meta_head(json, &h->state_meta);
        break;
    case HM_CHUNK_REQ:
        put(json, "id", inspect_u64(h->chunk_req.id));
        put(json, "chunk", json_integer(h->chunk_req.chunk));
        break;
    case HM_CHUNK:
        put_chunk_head(json, &h->chunk);
        break;
    case HM_YIELD:
        put(json, "successor", inspect_hex64(h->yield.successor));
        put(json, "seq", json_integer(h->yield.seq));
        put(json, "renounced", json_integer(h->yield.renounced));
        break;
    case HM_ASK:
    case HM_STATUS:
        put(json, "number", inspect_u64(h->ask.number));
        put(json, "what", json_string(h->ask.what == HM_ASK_STATE ? "state" : "echo"));
        break;
    case HM_LEAVE:
        put(json, "seq", json_integer(h->leave.seq));
        put(json, "digest", inspect_hex64(h->leave.digest));
        put(json, "clean", json_boolean(h->leave.clean));
        break;
    default:
        put_feed_head(json, h);
    }
}

/* ---- payloads ---- */

/* What the coordinates of a delta come to. */
static void put_sums(json_t *json, const struct hm_kernels *kernels, const struct hm_delta *delta)
{
    int32_t least = 0, most = 0;
    int64_t sum = 0, sum_abs = 0;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++) {
            int32_t q = delta->q[i][j];
            least = q < least ? q : least;
            most = q > most ? q : most;
            sum += q;
            sum_abs += q < 0 ? -q : q;
        }
    put(json, "blocks", json_integer(delta->n_blocks));
    put(json, "nonzero", json_integer(delta->n_nonzero));
    put(json, "min", json_integer(least));
    put(json, "max", json_integer(most));
    put(json, "sum", json_integer(sum));
    put(json, "sum_abs", json_integer(sum_abs));
    put(json, "digest", inspect_hex64(kernels->digest(delta)));
}

static enum hm_status put_body(json_t *json, const struct hm_delta_head *head, const uint8_t *body,
                               size_t n, struct hm_err *err)
{
    /* No layout is known, so any range is within it and no coordinate is padding. */
    struct hm_layout any = {0};
    struct hm_delta delta;
    const struct hm_kernels *kernels = hm_kernels_find("auto");
    uint8_t *scratch = malloc(HM_RAW_MAX);
    if (!scratch)
        return hm_fail(err, HM_ENOMEM, "no memory to unpack a delta");
    enum hm_status status = hm_layout_add(&any, "any", HM_BLOCKS_MAX, HM_BLOCK, 0, err);
    if (!status)
        status = hm_delta_init(&delta, head->n_blocks, err);
    if (!status) {
        if (hm_unpack(kernels, &any, head, body, n, scratch, &delta))
            status = hm_fail(err, HM_ECORRUPT,
                             "the body of the DELTA is malformed: %u non-zero coordinates in "
                             "blocks %u to %u are expected",
                             head->n_nonzero, head->block, head->block + head->n_blocks);
        else
            put_sums(json, kernels, &delta);
        hm_delta_fini(&delta);
    }
    free(scratch);
    return status;
}

static enum hm_status put_delta(json_t *json, const struct hm_delta_head *head,
                                const uint8_t *bytes, size_t n, struct hm_err *err)
{
    static struct hm_span_entry span[HM_STREAMS_MAX];
    size_t n_spans;
    put(json, "check_holds", json_boolean(hm_delta_check(head, bytes, n) == head->check));
    if (head->vectors_n > n ||
        hm_spans_decode(bytes, head->vectors_n, span, HM_STREAMS_MAX, &n_spans))
        return hm_fail(err, HM_ECORRUPT,
                       "the payload of the DELTA does not begin with %u bytes of version vectors",
                       head->vectors_n);
    json_t *spans = json_array();
    for (size_t i = 0; i < n_spans; i++) {
        json_t *one = json_object();
        put(one, "life", inspect_hex64(span[i].life));
        put(one, "flush_start", json_integer(span[i].flush_start));
        put(one, "flush_end", json_integer(span[i].flush_end));
        put(one, "steps_start", inspect_u64(span[i].steps_start));
        put(one, "steps_end", inspect_u64(span[i].steps_end));
        json_array_append_new(spans, one);
    }
    put(json, "spans", spans);
    return put_body(json, head, bytes + head->vectors_n, n - head->vectors_n, err);
}

static json_t *peers_json(const struct hm_peer_entry *peer, size_t n)
{
    json_t *peers = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_object();
        put(one, "life", inspect_hex64(peer[i].life));
        put(one, "label", json_string(peer[i].label));
        put(one, "rpc", json_string(peer[i].rpc));
        put(one, "pub", json_string(peer[i].pub));
        put(one, "phase", phase_name(peer[i].phase));
        put(one, "gone", json_boolean(peer[i].gone));
        put(one, "beat", json_integer(peer[i].beat));
        put(one, "age_us", json_integer(peer[i].age_us));
        json_array_append_new(peers, one);
    }
    return peers;
}

static json_t *vector_json(const struct hm_vv_entry *vv, size_t n)
{
    json_t *vector = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_object();
        put(one, "life", inspect_hex64(vv[i].life));
        put(one, "seq", json_integer(vv[i].seq));
        put(one, "flush", json_integer(vv[i].flush));
        put(one, "steps", inspect_u64(vv[i].steps));
        put(one, "digest", inspect_hex64(vv[i].digest));
        json_array_append_new(vector, one);
    }
    return vector;
}

static enum hm_status put_vector(json_t *json, const char *name, const uint8_t *bytes, size_t n,
                                 struct hm_err *err)
{
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    size_t n_vv;
    if (hm_vector_decode(bytes, n, vv, HM_STREAMS_MAX, &n_vv))
        return hm_fail(err, HM_ECORRUPT, "the payload of the %s is not a version vector", name);
    put(json, "vector", vector_json(vv, n_vv));
    return HM_OK;
}

static enum hm_status put_beat(json_t *json, const uint8_t *bytes, size_t n, struct hm_err *err)
{
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    size_t n_vv, n_peers;
    if (hm_beat_decode(bytes, n, vv, HM_STREAMS_MAX, &n_vv, peer, HM_PEERS_MAX, &n_peers))
        return hm_fail(err, HM_ECORRUPT,
                       "the payload of the BEAT is not a version vector and a list of peers");
    put(json, "vector", vector_json(vv, n_vv));
    put(json, "peers", peers_json(peer, n_peers));
    return HM_OK;
}

static enum hm_status put_hello(json_t *json, const uint8_t *bytes, size_t n, struct hm_err *err)
{
    static struct hm_field field[HM_FIELDS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    const uint8_t *bulk;
    size_t n_fields, n_peers, n_bulk;
    if (hm_hello_decode(bytes, n, field, HM_FIELDS_MAX, &n_fields, peer, HM_PEERS_MAX, &n_peers,
                        &bulk, &n_bulk))
        return hm_fail(err, HM_ECORRUPT,
                       "the payload of the HELLO is not fields, peers and bulk data");
    json_t *config = json_object();
    for (size_t i = 0; i < n_fields; i++)
        put(config, field[i].name, json_string(field[i].value));
    put(json, "config", config);
    put(json, "peers", peers_json(peer, n_peers));
    put(json, "bulk_bytes", json_integer((json_int_t)n_bulk));
    return HM_OK;
}

static enum hm_status put_status(json_t *json, const uint8_t *bytes, size_t n, struct hm_err *err)
{
    json_t *status = n ? json_loadb((const char *)bytes, n, 0, NULL) : json_null();
    if (!status)
        return hm_fail(err, HM_ECORRUPT, "the payload of the STATUS is not a JSON object");
    put(json, "status", status);
    return HM_OK;
}

static enum hm_status put_payload(json_t *json, const struct hm_header *header,
                                  const uint8_t *bytes, size_t n, struct hm_err *err)
{
    put(json, "bytes", json_integer((json_int_t)n));
    if (n > HM_PAYLOAD_MAX)
        return hm_fail(err, HM_ECORRUPT, "a payload of %zu bytes; at most %d are allowed", n,
                       HM_PAYLOAD_MAX);
    switch (header->type) {
    case HM_DELTA:
        return put_delta(json, &header->delta, bytes, n, err);
    case HM_BEAT:
        return put_beat(json, bytes, n, err);
    case HM_HELLO:
    case HM_HELLO_OK:
        return put_hello(json, bytes, n, err);
    case HM_STATE_REQ:
    case HM_STATE_META:
        return put_vector(json, type_name(header->type), bytes, n, err);
    case HM_STATUS:
        return put_status(json, bytes, n, err);
    case HM_ASK: /* padding */
    case HM_CHUNK:
        return HM_OK; /* means nothing without the layout and the STATE_META */
    default:
        return n ? hm_fail(err, HM_ECORRUPT, "%zu bytes of payload; %s has none", n,
                           type_name(header->type))
                 : HM_OK;
    }
}

/* ---- messages ---- */

static enum hm_status decode_header(const uint8_t *bytes, size_t n, struct hm_header *header,
                                    struct hm_err *err)
{
    switch (hm_wire_decode(bytes, n, header)) {
    case HM_WIRE_OK:
        return HM_OK;
    case HM_WIRE_BAD_VERSION:
        return hm_fail(err, HM_EINPUT,
                       "a message of another version of the protocol; version %d is expected",
                       HM_WIRE_VERSION);
    case HM_WIRE_UNKNOWN_TYPE:
        return hm_fail(err, HM_EINPUT, "a message of an unknown type");
    case HM_WIRE_MALFORMED:
        break;
    }
    return hm_fail(
        err, HM_ECORRUPT,
        "%zu bytes are not the header of a message (a MessagePack array, see protocol/WIRE.md)", n);
}

enum hm_status inspect_message(const uint8_t *header_bytes, size_t header_n,
                               const uint8_t *payload_bytes, size_t payload_n, json_t **json,
                               struct hm_err *err)
{
    struct hm_header header;
    *json = NULL;
    enum hm_status status = decode_header(header_bytes, header_n, &header, err);
    if (status)
        return status;
    *json = json_pack("{s:s, s:s}", "kind", "message", "type", type_name(header.type));
    put(*json, "fingerprint", inspect_hex64(header.fingerprint));
    put(*json, "life", inspect_hex64(header.life));
    put(*json, "header_bytes", json_integer((json_int_t)header_n));
    put_head(*json, &header);
    if (!payload_bytes) {
        put(*json, "payload", json_null());
        return HM_OK;
    }
    json_t *payload = json_object();
    put(*json, "payload", payload);
    return put_payload(payload, &header, payload_bytes, payload_n, err);
}

enum hm_status inspect_packed(const uint8_t *packed, size_t n, json_t **json, struct hm_err *err)
{
    const struct hm_kernels *kernels = hm_kernels_find("auto");
    struct hm_delta delta;
    *json = NULL;
    if (!n || n > PACKED_BYTES_MAX)
        return hm_fail(err, HM_EINPUT, "not a packed delta");
    enum hm_status status = hm_delta_init(&delta, PACKED_TRIES, err);
    if (status)
        return status;
    uint32_t range = 1;
    while (range <= PACKED_TRIES && kernels->decode(packed, n, 0, range, &delta))
        range++;
    if (range <= PACKED_TRIES) {
        *json =
            json_pack("{s:s, s:i, s:i}", "kind", "packed", "bytes", (int)n, "n_blocks", (int)range);
        put_sums(*json, kernels, &delta);
    } else
        status = hm_fail(err, HM_EINPUT, "not a packed delta");
    hm_delta_fini(&delta);
    return status;
}
