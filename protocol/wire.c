/* Headers. One table row describes a field for encoding and decoding alike; what holds between
 * fields follows in the message's `consistent`. msgpack-c sees only bytes that our own scan has
 * passed. */
#include "protocol/wire.h"

#include "protocol/bytes.h"
#include "protocol/text.h"

#include <msgpack.h>

enum { DEPTH_MAX = 3 };

/* ---- what the messages consist of ---- */

struct field {
    uint16_t offset;
    uint16_t size;         /* of the struct's member; a text's NUL included */
    hm_text_rule *text_ok; /* NULL: an unsigned integer of `size` bytes */
    uint64_t least, most;  /* of the integer */
};

struct message {
    const struct field *field;
    size_t n_fields;
    int (*consistent)(const struct hm_header *header); /* NULL: nothing to check between fields */
};

#define MEMBER(name) offsetof(struct hm_header, name), sizeof(((struct hm_header *)0)->name)
#define INTEGER(name, least, most)                                                                 \
    {                                                                                              \
        MEMBER(name), NULL, least, most                                                            \
    }
#define TEXT(name, ok)                                                                             \
    {                                                                                              \
        MEMBER(name), ok, 0, 0                                                                     \
    }
#define N_OF(array) (sizeof(array) / sizeof *(array))

static const struct field common_fields[] = {
    INTEGER(type, 0, UINT8_MAX),
    INTEGER(fingerprint, 0, UINT64_MAX),
    INTEGER(life, 1, UINT64_MAX),
};

static const struct field delta_fields[] = {
    INTEGER(delta.stream, 1, UINT64_MAX),
    INTEGER(delta.lo, 0, HM_SEQ_MAX - 1),
    INTEGER(delta.hi, 1, HM_SEQ_MAX),
    INTEGER(delta.flush, 1, UINT32_MAX),
    INTEGER(delta.last_piece, 0, 1),
    INTEGER(delta.digest, 0, UINT64_MAX),
    INTEGER(delta.steps, 0, UINT64_MAX),
    INTEGER(delta.encoding, 0, HM_ENCODINGS - 1),
    INTEGER(delta.block, 0, HM_BLOCKS_MAX),
    INTEGER(delta.n_blocks, 0, HM_BLOCKS_MAX),
    INTEGER(delta.n_nonzero, 0, UINT32_MAX),
    INTEGER(delta.raw_n, 0, HM_RAW_MAX),
    INTEGER(delta.vectors_n, 0, HM_PAYLOAD_MAX),
    INTEGER(delta.check, 0, UINT64_MAX),
};

static const struct field beat_fields[] = {
    INTEGER(beat.number, 1, UINT32_MAX),   TEXT(beat.label, hm_label_ok),
    INTEGER(beat.phase, 0, HM_PHASES - 1), INTEGER(beat.stop, 0, 1),
    TEXT(beat.stop_reason, hm_text_ok),    INTEGER(beat.digest, 0, UINT64_MAX),
    INTEGER(beat.steps, 0, UINT64_MAX),    INTEGER(beat.lag, 0, UINT32_MAX),
    TEXT(beat.rpc, hm_endpoint_ok),        TEXT(beat.pub, hm_endpoint_ok),
};

static const struct field hello_fields[] = {
    TEXT(hello.label, hm_label_ok),
    TEXT(hello.rpc, hm_endpoint_ok),
    TEXT(hello.pub, hm_endpoint_ok),
};

static const struct field reject_fields[] = {
    TEXT(reject.field, hm_text_ok),
    TEXT(reject.ours, hm_text_ok),
    TEXT(reject.yours, hm_text_ok),
    TEXT(reject.reason, hm_text_ok),
};

static const struct field want_fields[] = {
    INTEGER(want.stream, 1, UINT64_MAX),
    INTEGER(want.from, 1, HM_SEQ_MAX),
    INTEGER(want.bytes_max, 1, UINT32_MAX),
};

static const struct field nohave_fields[] = {
    INTEGER(nohave.stream, 1, UINT64_MAX),
    INTEGER(nohave.have_from, 0, HM_SEQ_MAX),
};

static const struct field leave_fields[] = {
    INTEGER(leave.seq, 0, HM_SEQ_MAX),
    INTEGER(leave.digest, 0, UINT64_MAX),
    INTEGER(leave.clean, 0, 1),
};

static const struct field state_req_fields[] = {
    INTEGER(state_req.decide, 0, 1),
};

static const struct field state_meta_fields[] = {
    INTEGER(state_meta.id, 0, UINT64_MAX),
    INTEGER(state_meta.verdict, 0, HM_VERDICTS - 1),
    INTEGER(state_meta.n_chunks, 0, HM_BLOCKS_MAX),
    INTEGER(state_meta.chunk_blocks, 0, HM_CHUNK_BLOCKS_MAX),
    INTEGER(state_meta.digest, 0, UINT64_MAX),
    INTEGER(state_meta.steps, 0, UINT64_MAX),
};

static const struct field chunk_req_fields[] = {
    INTEGER(chunk_req.id, 1, UINT64_MAX),
    INTEGER(chunk_req.chunk, 0, HM_BLOCKS_MAX - 1),
};

static const struct field chunk_fields[] = {
    INTEGER(chunk.id, 1, UINT64_MAX),
    INTEGER(chunk.chunk, 0, HM_BLOCKS_MAX - 1),
    INTEGER(chunk.encoding, 0, HM_ENCODINGS - 1),
    INTEGER(chunk.raw_n, 0, HM_RAW_MAX),
    INTEGER(chunk.n_nonzero, 0, HM_CHUNK_BLOCKS_MAX *HM_BLOCK),
};

static const struct field yield_fields[] = {
    INTEGER(yield.successor, 1, UINT64_MAX),
    INTEGER(yield.seq, 0, HM_SEQ_MAX),
    INTEGER(yield.renounced, 1, HM_SEQ_MAX + 1),
};

static const struct field ask_fields[] = {
    INTEGER(ask.number, 0, UINT64_MAX),
    INTEGER(ask.what, 0, HM_QUESTIONS - 1),
};

static const struct field feed_hello_fields[] = {
    TEXT(feed_hello.label, hm_label_ok),
};

static const struct field feed_facts_fields[] = {
    TEXT(feed_facts.label, hm_label_ok),
    TEXT(feed_facts.pub, hm_endpoint_ok),
    INTEGER(feed_facts.examples, 1, INT64_MAX),
    INTEGER(feed_facts.total, 1, INT64_MAX),
    INTEGER(feed_facts.batch, 1, HM_FEED_BATCH_MAX),
    INTEGER(feed_facts.longest, 0, HM_FEED_LONGEST_MAX),
    INTEGER(feed_facts.n_bulk, 0, HM_FEED_PIECES_MAX),
    INTEGER(feed_facts.n_sample, 0, HM_FEED_PIECES_MAX),
    INTEGER(feed_facts.n_test, 0, HM_FEED_PIECES_MAX),
};

static const struct field feed_piece_fields[] = {
    INTEGER(feed_piece.set, 0, HM_FEED_SETS - 1),
    INTEGER(feed_piece.piece, 0, HM_FEED_PIECES_MAX - 1),
};

static const struct field feed_beat_fields[] = {
    INTEGER(feed_beat.feeder, 1, UINT64_MAX),  INTEGER(feed_beat.received, 0, UINT64_MAX),
    INTEGER(feed_beat.trained, 0, UINT64_MAX), INTEGER(feed_beat.idle, 0, 1),
    INTEGER(feed_beat.leaving, 0, 1),
};

static const struct field feed_state_fields[] = {
    INTEGER(feed_state.sent, 0, UINT64_MAX),
    INTEGER(feed_state.ended, 0, 1),
};

static const struct field feed_batch_fields[] = {
    INTEGER(feed_batch.number, 1, UINT64_MAX),
    INTEGER(feed_batch.key, 0, UINT64_MAX),
};

static int feed_beat_consistent(const struct hm_header *header)
{
    return header->feed_beat.trained <= header->feed_beat.received;
}

static int state_meta_consistent(const struct hm_header *header)
{
    const struct hm_state_meta_head *m = &header->state_meta;
    if (m->verdict == HM_STATE_GIVEN || m->verdict == HM_STATE_ADOPT)
        return m->id && m->n_chunks && m->chunk_blocks &&
               (uint64_t)(m->n_chunks - 1) * m->chunk_blocks < HM_BLOCKS_MAX;
    return !m->id && !m->n_chunks && !m->chunk_blocks && !m->digest && !m->steps;
}

static int chunk_consistent(const struct hm_header *header)
{
    const struct hm_chunk_head *c = &header->chunk;
    return c->n_nonzero == 0 ? c->raw_n == 0 && c->encoding == HM_PACKED : c->raw_n > 0;
}

static int yield_consistent(const struct hm_header *header)
{
    return header->yield.seq < header->yield.renounced && header->yield.successor != header->life;
}

static int delta_consistent(const struct hm_header *header)
{
    const struct hm_delta_head *d = &header->delta;
    int is_empty = d->n_nonzero == 0;
    int fits_range = (uint64_t)d->block + d->n_blocks <= HM_BLOCKS_MAX &&
                     d->n_nonzero <= (uint64_t)d->n_blocks * HM_BLOCK;
    int empty_has_no_body = is_empty ? d->raw_n == 0 && d->encoding == HM_PACKED : d->raw_n > 0;
    return d->hi == d->lo + 1 && fits_range && empty_has_no_body;
}

static const struct message *message_of(uint8_t type)
{
#define FIELDS(fields) .field = fields, .n_fields = N_OF(fields)
    static const struct message messages[] = {
        [HM_DELTA] = {FIELDS(delta_fields), .consistent = delta_consistent},
        [HM_BEAT] = {FIELDS(beat_fields)},
        [HM_HELLO] = {FIELDS(hello_fields)},
        [HM_HELLO_OK] = {FIELDS(hello_fields)},
        [HM_REJECT] = {FIELDS(reject_fields)},
        [HM_WANT] = {FIELDS(want_fields)},
        [HM_NOHAVE] = {FIELDS(nohave_fields)},
        [HM_STATE_REQ] = {FIELDS(state_req_fields)},
        [HM_STATE_META] = {FIELDS(state_meta_fields), .consistent = state_meta_consistent},
        [HM_CHUNK_REQ] = {FIELDS(chunk_req_fields)},
        [HM_CHUNK] = {FIELDS(chunk_fields), .consistent = chunk_consistent},
        [HM_YIELD] = {FIELDS(yield_fields), .consistent = yield_consistent},
        [HM_LEAVE] = {FIELDS(leave_fields)},
        [HM_ASK] = {FIELDS(ask_fields)},
        [HM_STATUS] = {FIELDS(ask_fields)},
        [HM_FEED_HELLO] = {FIELDS(feed_hello_fields)},
        [HM_FEED_FACTS] = {FIELDS(feed_facts_fields)},
        [HM_FEED_WANT] = {FIELDS(feed_piece_fields)},
        [HM_FEED_PIECE] = {FIELDS(feed_piece_fields)},
        [HM_FEED_BEAT] = {FIELDS(feed_beat_fields), .consistent = feed_beat_consistent},
        [HM_FEED_STATE] = {FIELDS(feed_state_fields)},
        [HM_FEED_BATCH] = {FIELDS(feed_batch_fields)},
    };
#undef FIELDS
    return type < N_OF(messages) && messages[type].field ? &messages[type] : NULL;
}

/* ---- the scan: what msgpack is allowed at all ---- */

static uint64_t get_big_endian(struct hm_reader *r, unsigned n)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < n; i++)
        x = x << 8 | hm_get_u8(r);
    return x;
}

static void scan_value(struct hm_reader *r, unsigned depth);

static void scan_array(struct hm_reader *r, uint64_t n, unsigned depth)
{
    /* An element is at least one byte: a count that promises more than is there ends here, before
     * any allocation or loop of that size. */
    if (depth == DEPTH_MAX || n > hm_reader_left(r))
        r->bad = 1;
    for (uint64_t i = 0; i < n && !r->bad; i++)
        scan_value(r, depth + 1);
}

static void scan_value(struct hm_reader *r, unsigned depth)
{
    uint8_t tag = hm_get_u8(r);
    if (tag <= 0x7f)
        return; /* positive fixint */
    if (tag >= 0x90 && tag <= 0x9f)
        scan_array(r, tag & 0x0f, depth);
    else if (tag >= 0xa0 && tag <= 0xbf)
        hm_get_bytes(r, tag & 0x1f);
    else if (tag >= 0xcc && tag <= 0xcf)
        hm_get_bytes(r, (size_t)1 << (tag - 0xcc)); /* uint 8 to 64 */
    else if (tag >= 0xd9 && tag <= 0xdb)
        hm_get_bytes(r, get_big_endian(r, 1u << (tag - 0xd9))); /* str 8 to 32 */
    else if (tag == 0xdc || tag == 0xdd)
        scan_array(r, get_big_endian(r, tag == 0xdc ? 2 : 4), depth); /* array 16, 32 */
    else
        r->bad = 1; /* map, nil, bool, bin, ext, float, signed and negative integers */
}

static int scan_ok(const uint8_t *bytes, size_t n)
{
    if (n > HM_HEADER_MAX)
        return 0;
    struct hm_reader r = hm_reader_of(bytes, n);
    scan_value(&r, 0);
    return !r.bad && hm_reader_left(&r) == 0;
}

/* ---- members of the struct, by their table row ---- */

static uint64_t load_integer(const void *member, size_t size)
{
    uint8_t u8;
    uint32_t u32;
    uint64_t u64;
    switch (size) {
    case sizeof u8:
        memcpy(&u8, member, sizeof u8);
        return u8;
    case sizeof u32:
        memcpy(&u32, member, sizeof u32);
        return u32;
    default:
        assert(size == sizeof u64);
        memcpy(&u64, member, sizeof u64);
        return u64;
    }
}

static void store_integer(void *member, size_t size, uint64_t x)
{
    uint8_t u8 = (uint8_t)x;
    uint32_t u32 = (uint32_t)x;
    switch (size) {
    case sizeof u8:
        memcpy(member, &u8, sizeof u8);
        break;
    case sizeof u32:
        memcpy(member, &u32, sizeof u32);
        break;
    default:
        assert(size == sizeof x);
        memcpy(member, &x, sizeof x);
    }
}

/* ---- encoding ---- */

static int append(void *writer, const char *bytes, size_t n)
{
    hm_put_bytes(writer, bytes, n);
    return 0;
}

static void put_text(msgpack_packer *packer, const struct field *field, const char *text)
{
    char clean[HM_ENDPOINT_MAX + HM_REASON_MAX];
    assert(field->size <= sizeof clean);
    /* Free text may quote a file name or be cut short by snprintf: it is mended rather than
     * asserted. */
    if (field->text_ok == hm_text_ok) {
        hm_text_clean(clean, field->size, text);
        text = clean;
    }
    size_t n = strnlen(text, field->size);
    assert(n < field->size);
    assert(field->text_ok(text, n));
    msgpack_pack_str_with_body(packer, text, n);
}

static void put_fields(msgpack_packer *packer, const struct field *field, size_t n,
                       const struct hm_header *header)
{
    for (const struct field *f = field; f < field + n; f++) {
        const char *member = (const char *)header + f->offset;
        if (f->text_ok) {
            put_text(packer, f, member);
            continue;
        }
        uint64_t x = load_integer(member, f->size);
        assert(x >= f->least);
        assert(x <= f->most);
        msgpack_pack_uint64(packer, x);
    }
}

size_t hm_wire_encode(const struct hm_header *header, uint8_t *out)
{
    const struct message *message = message_of(header->type);
    assert(message);
    assert(!message->consistent || message->consistent(header));
    struct hm_writer writer = hm_writer_of(out, HM_HEADER_BOUND);
    msgpack_packer packer;
    msgpack_packer_init(&packer, &writer, append);
    msgpack_pack_array(&packer, 1 + N_OF(common_fields) + message->n_fields);
    msgpack_pack_uint64(&packer, HM_WIRE_VERSION);
    put_fields(&packer, common_fields, N_OF(common_fields), header);
    put_fields(&packer, message->field, message->n_fields, header);
    return (size_t)(writer.at - out);
}

/* ---- decoding ---- */

static int get_text(const msgpack_object *value, const struct field *field, char *text)
{
    const msgpack_object_str *str = &value->via.str;
    if (value->type != MSGPACK_OBJECT_STR || str->size >= field->size ||
        !field->text_ok(str->ptr, str->size))
        return 0;
    if (str->size) /* ptr of an empty one may be NULL */
        memcpy(text, str->ptr, str->size);
    return 1; /* the rest is zero: terminated */
}

static int get_integer(const msgpack_object *value, const struct field *field, void *member)
{
    if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER || value->via.u64 < field->least ||
        value->via.u64 > field->most)
        return 0;
    store_integer(member, field->size, value->via.u64);
    return 1;
}

static int get_field(const msgpack_object *value, const struct field *field,
                     struct hm_header *header)
{
    char *member = (char *)header + field->offset;
    return field->text_ok ? get_text(value, field, member) : get_integer(value, field, member);
}

/* Goes on after a bad field: of another version's header we report what can be understood. */
static int get_fields(const msgpack_object *value, const struct field *field, size_t n,
                      struct hm_header *header)
{
    int ok = 1;
    for (size_t i = 0; i < n; i++)
        ok &= get_field(&value[i], &field[i], header);
    return ok;
}

static enum hm_wire_error get_header(const msgpack_object *object, struct hm_header *header)
{
    enum { LEAD = 1 + N_OF(common_fields) };
    const msgpack_object *value = object->via.array.ptr;
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size < LEAD ||
        value[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return HM_WIRE_MALFORMED;
    int common_ok = get_fields(value + 1, common_fields, N_OF(common_fields), header);
    if (value[0].via.u64 != HM_WIRE_VERSION)
        return HM_WIRE_BAD_VERSION;
    if (!common_ok)
        return HM_WIRE_MALFORMED;
    const struct message *message = message_of(header->type);
    if (!message)
        return HM_WIRE_UNKNOWN_TYPE;
    if (object->via.array.size != LEAD + message->n_fields ||
        !get_fields(value + LEAD, message->field, message->n_fields, header))
        return HM_WIRE_MALFORMED;
    if (message->consistent && !message->consistent(header))
        return HM_WIRE_MALFORMED;
    return HM_WIRE_OK;
}

enum hm_wire_error hm_wire_decode(const uint8_t *bytes, size_t n, struct hm_header *header)
{
    memset(header, 0, sizeof *header);
    if (!scan_ok(bytes, n))
        return HM_WIRE_MALFORMED;
    enum hm_wire_error error = HM_WIRE_MALFORMED; /* also when there is no memory */
    size_t used = 0;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, (const char *)bytes, n, &used) == MSGPACK_UNPACK_SUCCESS)
        error = get_header(&unpacked.data, header);
    msgpack_unpacked_destroy(&unpacked);
    if (error != HM_WIRE_OK && error != HM_WIRE_BAD_VERSION)
        memset(header, 0, sizeof *header);
    return error;
}
