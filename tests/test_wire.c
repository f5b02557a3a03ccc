/* Headers and payloads: what we write we read back, and what is not exactly right is refused.
 *
 * HOGMESH_SEED=N repeats a random test, HOGMESH_FUZZ=N sets its number of mutations.
 */
#include "tests/golden.h"
#include "tests/wire_check.h"

#include "protocol/bytes.h"
#include "protocol/text.h"
#include "sparse/rng.h"

#define N_OF(array) (sizeof(array) / sizeof *(array))

enum { LEAD = 4 /* version, type, fingerprint, life */ };

static const uint64_t ANNA = 0x0102030405060708, BERT = 0x1112131415161718,
                      CARL = 0x2122232425262728, MESH = 0x00c0ffee00c0ffee;

static const uint8_t TYPES[] = {HM_DELTA, HM_BEAT,   HM_HELLO,     HM_HELLO_OK,   HM_REJECT,
                                HM_WANT,  HM_NOHAVE, HM_STATE_REQ, HM_STATE_META, HM_CHUNK_REQ,
                                HM_CHUNK, HM_YIELD,  HM_LEAVE,     HM_ASK,        HM_STATUS};

/* ---- the messages of the examples: anna trains, bert joins ---- */

static const uint64_t SNAPSHOT = 0xee55805fca74c5c2; /* hm_snapshot_id of VECTOR */

static struct hm_header example_header(uint8_t type)
{
    struct hm_header h;
    memset(&h, 0, sizeof h);
    h.type = type;
    h.fingerprint = MESH;
    h.life = ANNA;
    switch (type) {
    case HM_DELTA:
        h.delta.stream = ANNA;
        h.delta.lo = 41;
        h.delta.hi = 42;
        h.delta.flush = 40;
        h.delta.last_piece = 1;
        h.delta.digest = 0x8877665544332211;
        h.delta.steps = 5000;
        h.delta.encoding = HM_PACKED_LZ4;
        h.delta.block = 7;
        h.delta.n_blocks = 70000;
        h.delta.n_nonzero = 300;
        h.delta.raw_n = 1000;
        h.delta.vectors_n = 33;
        h.delta.check = 0xfedcba9876543210;
        break;
    case HM_BEAT:
        h.beat.number = 7;
        strcpy(h.beat.label, "anna");
        h.beat.phase = HM_RUNNING;
        h.beat.digest = 0x1122334455667788;
        h.beat.steps = 5200;
        h.beat.lag = 1;
        strcpy(h.beat.rpc, "tcp://10.0.0.1:5100");
        strcpy(h.beat.pub, "tcp://10.0.0.1:5101");
        break;
    case HM_HELLO:
        h.fingerprint = 0;
        h.life = BERT;
        strcpy(h.hello.label, "bert");
        strcpy(h.hello.rpc, "tcp://10.0.0.2:5100");
        strcpy(h.hello.pub, "tcp://10.0.0.2:5101");
        break;
    case HM_HELLO_OK:
        strcpy(h.hello.label, "anna");
        strcpy(h.hello.rpc, "tcp://10.0.0.1:5100");
        strcpy(h.hello.pub, "tcp://10.0.0.1:5101");
        break;
    case HM_REJECT:
        strcpy(h.reject.field, "lambda");
        strcpy(h.reject.ours, "0.0001");
        strcpy(h.reject.yours, "0.001");
        strcpy(h.reject.reason, "the mesh has another lambda");
        break;
    case HM_WANT:
        h.life = BERT;
        h.want.stream = ANNA;
        h.want.from = 38;
        h.want.bytes_max = HM_PAYLOAD_MAX;
        break;
    case HM_NOHAVE:
        h.nohave.stream = ANNA;
        h.nohave.have_from = 40;
        break;
    case HM_STATE_REQ:
        h.life = BERT;
        h.state_req.decide = 1;
        break;
    case HM_STATE_META:
        h.state_meta.id = SNAPSHOT;
        h.state_meta.verdict = HM_STATE_ADOPT;
        h.state_meta.n_chunks = 2;
        h.state_meta.chunk_blocks = 3;
        h.state_meta.digest = 0x1122334455667788;
        h.state_meta.steps = 5300;
        break;
    case HM_CHUNK_REQ:
        h.life = BERT;
        h.chunk_req.id = SNAPSHOT;
        h.chunk_req.chunk = 1;
        break;
    case HM_CHUNK:
        h.chunk.id = SNAPSHOT;
        h.chunk.chunk = 1;
        h.chunk.encoding = HM_PACKED;
        h.chunk.raw_n = 2;
        h.chunk.n_nonzero = 1;
        break;
    case HM_YIELD:
        h.life = BERT;
        h.yield.successor = CARL;
        h.yield.seq = 8;
        h.yield.renounced = 21;
        break;
    case HM_ASK:
        h.fingerprint = 0;
        h.life = BERT;
        h.ask.number = 9;
        h.ask.what = HM_ASK_STATE;
        break;
    case HM_STATUS:
        h.ask.number = 9;
        h.ask.what = HM_ASK_STATE;
        break;
    default:
        h.leave.seq = 42;
        h.leave.digest = 0x1122334455667788;
        h.leave.clean = 1;
    }
    return h;
}

static const struct hm_span_entry SPANS[] = {
    {ANNA, 30, 39, 3000, 4900},
    {BERT, 7, 8, 200, 300},
};

static const struct hm_vv_entry VECTOR[] = {
    {ANNA, 42, 40, 5000, 0x8877665544332211},
    {BERT, 8, 8, 300, 0xfedcba9876543210},
};

static const struct hm_peer_entry PEERS[] = {
    {BERT, "bert", "tcp://10.0.0.2:5100", "tcp://10.0.0.2:5101", HM_RUNNING, 0, 12, 150000},
};

static const struct hm_field FIELDS[] = {
    {"lambda", "0.0001"},
    {"seed", "1"},
    {"tensors", "v:1x256:-10"},
    {"workload", "svm"},
};

static size_t example_beat(uint8_t *out)
{
    return hm_beat_encode(VECTOR, N_OF(VECTOR), PEERS, N_OF(PEERS), out);
}

static size_t example_hello_ok(uint8_t *out)
{
    return hm_hello_encode(FIELDS, N_OF(FIELDS), PEERS, N_OF(PEERS), (const uint8_t *)"\1\2\3", 3,
                           out);
}

/* ---- headers: there and back ---- */

static void fill(char *text, const char *start, size_t n)
{
    memset(text, 'x', n);
    memcpy(text, start, strlen(start));
    text[n] = 0;
}

static struct hm_header largest_header(uint8_t type)
{
    struct hm_header h;
    memset(&h, 0, sizeof h);
    h.type = type;
    h.fingerprint = h.life = UINT64_MAX;
    switch (type) {
    case HM_DELTA:
        h.delta.stream = h.delta.digest = h.delta.steps = h.delta.check = UINT64_MAX;
        h.delta.lo = HM_SEQ_MAX - 1;
        h.delta.hi = HM_SEQ_MAX;
        h.delta.flush = UINT32_MAX;
        h.delta.last_piece = 1;
        h.delta.encoding = HM_ENCODINGS - 1;
        h.delta.block = 1;
        h.delta.n_blocks = HM_BLOCKS_MAX - 1;
        h.delta.n_nonzero = (HM_BLOCKS_MAX - 1u) * HM_BLOCK;
        h.delta.raw_n = HM_RAW_MAX;
        h.delta.vectors_n = HM_PAYLOAD_MAX;
        break;
    case HM_BEAT:
        h.beat.number = h.beat.lag = UINT32_MAX;
        h.beat.phase = HM_PHASES - 1;
        h.beat.stop = 1;
        h.beat.digest = h.beat.steps = UINT64_MAX;
        fill(h.beat.label, "", HM_LABEL_MAX);
        fill(h.beat.stop_reason, "", HM_REASON_MAX);
        fill(h.beat.rpc, "tcp://", HM_ENDPOINT_MAX);
        fill(h.beat.pub, "inproc://", HM_ENDPOINT_MAX);
        break;
    case HM_HELLO:
    case HM_HELLO_OK:
        fill(h.hello.label, "!", HM_LABEL_MAX);
        fill(h.hello.rpc, "tcp://", HM_ENDPOINT_MAX);
        fill(h.hello.pub, "ipc://", HM_ENDPOINT_MAX);
        break;
    case HM_REJECT:
        fill(h.reject.field, "", HM_FIELD_NAME_MAX);
        fill(h.reject.ours, "\xc3\xa9", HM_REASON_MAX);
        fill(h.reject.yours, "\xf0\x9f\x90\x97", HM_REASON_MAX);
        fill(h.reject.reason, "a b ", HM_REASON_MAX);
        break;
    case HM_WANT:
        h.want.stream = UINT64_MAX;
        h.want.from = HM_SEQ_MAX;
        h.want.bytes_max = UINT32_MAX;
        break;
    case HM_NOHAVE:
        h.nohave.stream = UINT64_MAX;
        h.nohave.have_from = HM_SEQ_MAX;
        break;
    case HM_STATE_REQ:
        h.state_req.decide = 1;
        break;
    case HM_STATE_META:
        h.state_meta.id = h.state_meta.digest = h.state_meta.steps = UINT64_MAX;
        h.state_meta.n_chunks = HM_BLOCKS_MAX / HM_CHUNK_BLOCKS_MAX;
        h.state_meta.chunk_blocks = HM_CHUNK_BLOCKS_MAX;
        break;
    case HM_CHUNK_REQ:
        h.chunk_req.id = UINT64_MAX;
        h.chunk_req.chunk = HM_BLOCKS_MAX - 1;
        break;
    case HM_CHUNK:
        h.chunk.id = UINT64_MAX;
        h.chunk.chunk = HM_BLOCKS_MAX - 1;
        h.chunk.encoding = HM_ENCODINGS - 1;
        h.chunk.raw_n = HM_RAW_MAX;
        h.chunk.n_nonzero = HM_CHUNK_BLOCKS_MAX * HM_BLOCK;
        break;
    case HM_YIELD:
        h.yield.successor = UINT64_MAX - 1;
        h.yield.seq = HM_SEQ_MAX;
        h.yield.renounced = HM_SEQ_MAX + 1;
        break;
    case HM_ASK:
    case HM_STATUS:
        h.ask.number = UINT64_MAX;
        h.ask.what = HM_QUESTIONS - 1;
        break;
    default:
        h.leave.seq = HM_SEQ_MAX;
        h.leave.digest = UINT64_MAX;
        h.leave.clean = 1;
    }
    return h;
}

static struct hm_header smallest_header(uint8_t type)
{
    struct hm_header h;
    memset(&h, 0, sizeof h);
    h.type = type;
    h.life = 1;
    if (type == HM_DELTA) { /* steps without coordinates */
        h.delta.stream = h.delta.hi = h.delta.flush = 1;
    } else if (type == HM_BEAT) {
        h.beat.number = 1;
        strcpy(h.beat.label, "a");
    } else if (type == HM_HELLO || type == HM_HELLO_OK) {
        strcpy(h.hello.label, "~");
    } else if (type == HM_WANT) {
        h.want.stream = h.want.from = h.want.bytes_max = 1;
    } else if (type == HM_NOHAVE) {
        h.nohave.stream = 1;
    } else if (type == HM_STATE_META) { /* without a snapshot */
        h.state_meta.verdict = HM_STATE_KEEP;
    } else if (type == HM_CHUNK_REQ) {
        h.chunk_req.id = 1;
    } else if (type == HM_CHUNK) { /* all zero */
        h.chunk.id = 1;
    } else if (type == HM_YIELD) {
        h.yield.successor = 2;
        h.yield.renounced = 1;
    }
    return h;
}

static void assert_round_trip(const struct hm_header *header)
{
    uint8_t bytes[HM_HEADER_BOUND];
    struct hm_header read;
    size_t n = hm_wire_encode(header, bytes);
    assert_int_equal(hm_wire_decode(bytes, n, &read), HM_WIRE_OK);
    assert_memory_equal(&read, header, sizeof read);
}

static void test_headers_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(TYPES); i++) {
        struct hm_header header[] = {smallest_header(TYPES[i]), example_header(TYPES[i]),
                                     largest_header(TYPES[i])};
        for (size_t k = 0; k < N_OF(header); k++)
            assert_round_trip(&header[k]);
    }
}

/* A text that was cut short in the middle of a character, or that names a file with odd bytes, is
 * mended. */
static void test_free_texts_are_mended(void **state)
{
    (void)state;
    struct hm_header h = example_header(HM_REJECT), read;
    uint8_t bytes[HM_HEADER_BOUND];
    memset(h.reject.ours, 0xc3, HM_REASON_MAX);
    strcpy(h.reject.yours, "a\tb\nc\x1b[2J caf\xc3\xa9 \xc3");
    assert_int_equal(hm_wire_decode(bytes, hm_wire_encode(&h, bytes), &read), HM_WIRE_OK);
    assert_string_equal(read.reject.yours, "a?b?c?[2J caf\xc3\xa9 ?");
    assert_int_equal(strspn(read.reject.ours, "?"), HM_REASON_MAX);
}

/* ---- headers: what is refused ---- */

static enum hm_wire_error decode(const uint8_t *bytes, size_t n)
{
    struct hm_header header;
    uint8_t *copy = wire_exact_copy(bytes, n);
    enum hm_wire_error error = hm_wire_decode(copy, n, &header);
    free(copy);
    wire_check_header(bytes, n);
    return error;
}

static void test_truncated_and_extended_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(TYPES); i++) {
        struct hm_header header = largest_header(TYPES[i]);
        uint8_t bytes[HM_HEADER_BOUND + 1];
        size_t n = hm_wire_encode(&header, bytes);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(decode(bytes, cut), HM_WIRE_MALFORMED);
        for (unsigned trailing = 0; trailing < 256; trailing++) {
            bytes[n] = (uint8_t)trailing;
            assert_int_equal(decode(bytes, n + 1), HM_WIRE_MALFORMED);
        }
    }
    assert_int_equal(decode(NULL, 0), HM_WIRE_MALFORMED);
}

static void test_flipped_bits_never_do_harm(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(TYPES); i++) {
        struct hm_header header = example_header(TYPES[i]);
        uint8_t bytes[HM_HEADER_BOUND];
        size_t n = hm_wire_encode(&header, bytes);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            wire_check_header(bytes, n);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

#define BYTES(literal)                                                                             \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

struct bytes {
    const uint8_t *at;
    size_t n;
};

static void test_bombs(void **state)
{
    (void)state;
    static const struct bytes bomb[] = {
        BYTES(
            "\xdd\xff\xff\xff\xff"), /* an array of 4 Gi elements: msgpack-c would allocate them */
        BYTES("\xdd\x10\x00\x00\x00\x01"),
        BYTES("\xdc\xff\xff\x01"),
        BYTES("\x91\xdd\xff\xff\xff\xff"),
        BYTES("\x91\x91\xdd\xff\xff\xff\xff"),
        BYTES("\xdb\xff\xff\xff\xff"), /* a text of 4 GiB */
        BYTES("\x91\xdb\xff\xff\xff\xff"),
        BYTES("\x91\xda\xff\xff"),
        BYTES("\x91\xd9\xff"),
        BYTES("\xdf\xff\xff\xff\xff"),
        BYTES("\xde\xff\xff"),
        BYTES("\xc6\xff\xff\xff\xff"),
        BYTES("\xc9\xff\xff\xff\xff\x01"),
        BYTES("\x91\x91\x91\x91\x01"),
        BYTES("\x90"),
        BYTES("\x91\x01"),
        BYTES("\x93\x02\x01\x01"),
        BYTES("\x01"),
        BYTES("\xa3"
              "abc"),
        BYTES("\x94\x02\x01\x90\x01"),
        BYTES("\x94\xa1\x02\x01\x01\x01"),
        BYTES("GET / HTTP/1.1\r\n\r\n"),
    };
    for (size_t i = 0; i < N_OF(bomb); i++)
        assert_int_equal(decode(bomb[i].at, bomb[i].n), HM_WIRE_MALFORMED);

    uint8_t deep[HM_HEADER_MAX + 1];
    memset(deep, 0x91, sizeof deep);
    assert_int_equal(decode(deep, HM_HEADER_MAX), HM_WIRE_MALFORMED);
    memset(deep, 0xdd, sizeof deep);
    assert_int_equal(decode(deep, HM_HEADER_MAX), HM_WIRE_MALFORMED);
}

/* Another version's header may look otherwise behind the life: nesting of 3 and 4 KiB are what
 * tells. */
static void test_limits_of_the_scan(void **state)
{
    (void)state;
    static const struct bytes three = BYTES("\x95\x03\x01\x05\x07\x91\x90");
    static const struct bytes four = BYTES("\x95\x03\x01\x05\x07\x91\x91\x90");
    assert_int_equal(decode(three.at, three.n), HM_WIRE_BAD_VERSION);
    assert_int_equal(decode(four.at, four.n), HM_WIRE_MALFORMED);

    uint8_t large[HM_HEADER_MAX + 1];
    memset(large, 'x', sizeof large);
    memcpy(large, "\x95\x03\x01\x05\x07\xda", 6);
    large[6] = (HM_HEADER_MAX - 8) >> 8;
    large[7] = (uint8_t)(HM_HEADER_MAX - 8);
    assert_int_equal(decode(large, HM_HEADER_MAX), HM_WIRE_BAD_VERSION);
    large[7]++;
    assert_int_equal(decode(large, HM_HEADER_MAX + 1), HM_WIRE_MALFORMED);
}

static void test_other_versions_and_types(void **state)
{
    (void)state;
    struct hm_header header = example_header(HM_WANT), read;
    uint8_t bytes[HM_HEADER_BOUND];
    size_t n = hm_wire_encode(&header, bytes);
    bytes[1] = HM_WIRE_VERSION + 1;
    assert_int_equal(hm_wire_decode(bytes, n, &read), HM_WIRE_BAD_VERSION);
    assert_int_equal(read.type, HM_WANT);
    assert_int_equal(read.fingerprint, MESH);
    assert_int_equal(read.life, BERT);
    bytes[1] = 0;
    assert_int_equal(decode(bytes, n), HM_WIRE_BAD_VERSION);

    static const struct bytes vague =
        BYTES("\x94\x7f\xa1x\x05\x90"); /* type is a text, life an array */
    assert_int_equal(hm_wire_decode(vague.at, vague.n, &read), HM_WIRE_BAD_VERSION);
    assert_int_equal(read.type, 0);
    assert_int_equal(read.fingerprint, 5);
    assert_int_equal(read.life, 0);

    bytes[1] = HM_WIRE_VERSION;
    static const uint8_t unknown[] = {0, 23, 99, 127};
    for (size_t i = 0; i < N_OF(unknown); i++) {
        bytes[2] = unknown[i];
        assert_int_equal(decode(bytes, n), HM_WIRE_UNKNOWN_TYPE);
    }
}

/* Bytes of the msgpack value at `at`, of those that our encoder writes. */
static size_t value_n(const uint8_t *at)
{
    if (*at <= 0x7f)
        return 1;
    if (*at >= 0xa0 && *at <= 0xbf)
        return 1 + (*at & 0x1fu);
    if (*at == 0xd9)
        return 2 + (size_t)at[1];
    return 1 + ((size_t)1 << (*at - 0xcc));
}

static size_t first_element(const uint8_t *header)
{
    return *header == 0xdc ? 3 : 1;
}

/* The example of `type` with element `index` replaced by other bytes. */
static enum hm_wire_error decode_with(uint8_t type, size_t index, const uint8_t *value, size_t n)
{
    struct hm_header header = example_header(type);
    uint8_t bytes[HM_HEADER_BOUND], changed[HM_HEADER_BOUND + HM_HEADER_MAX];
    size_t bytes_n = hm_wire_encode(&header, bytes), at = first_element(bytes);
    while (index--)
        at += value_n(bytes + at);
    size_t after = at + value_n(bytes + at);
    memcpy(changed, bytes, at);
    memcpy(changed + at, value, n);
    memcpy(changed + at + n, bytes + after, bytes_n - after);
    return decode(changed, at + n + bytes_n - after);
}

static size_t n_elements(uint8_t type)
{
    struct hm_header header = example_header(type);
    uint8_t bytes[HM_HEADER_BOUND];
    size_t bytes_n = hm_wire_encode(&header, bytes), at = first_element(bytes), n = 0;
    for (; at < bytes_n; n++)
        at += value_n(bytes + at);
    return n;
}

static void test_wrong_kinds_of_values(void **state)
{
    (void)state;
    static const struct bytes wrong[] = {
        BYTES("\xc0"),
        BYTES("\xc1"),
        BYTES("\xc2"),
        BYTES("\xc3"),
        BYTES("\xc4\x01x"),
        BYTES("\xc7\x01\x05x"),
        BYTES("\xca\x3f\x80\x00\x00"),
        BYTES("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        BYTES("\xd0\x01"),
        BYTES("\xd0\xff"),
        BYTES("\xd1\x00\x01"),
        BYTES("\xd2\x00\x00\x00\x01"),
        BYTES("\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
        BYTES("\xd4\x01\x01"),
        BYTES("\xe0"),
        BYTES("\xff"),
        BYTES("\x80"),
        BYTES("\x81\x01\x01"),
        BYTES("\x90"),
        BYTES("\x91\x01"),
        BYTES("\xde\x00\x00"),
        BYTES(""),
    };
    for (size_t i = 0; i < N_OF(TYPES); i++)
        for (size_t k = 0; k < n_elements(TYPES[i]); k++)
            for (size_t w = 0; w < N_OF(wrong); w++)
                assert_int_equal(decode_with(TYPES[i], k, wrong[w].at, wrong[w].n),
                                 HM_WIRE_MALFORMED);
}

static void test_extra_and_missing_elements(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(TYPES); i++) {
        struct hm_header header = example_header(TYPES[i]);
        uint8_t bytes[HM_HEADER_BOUND + 1];
        size_t n = hm_wire_encode(&header, bytes);
        bytes[first_element(bytes) - 1]++; /* one more is announced, and there */
        bytes[n] = 0;
        assert_int_equal(decode(bytes, n + 1), HM_WIRE_MALFORMED);
        bytes[first_element(bytes) - 1] -= 2; /* one less, and the last one goes */
        size_t at = first_element(bytes), last = at;
        for (; at < n; at += value_n(bytes + at))
            last = at;
        assert_int_equal(decode(bytes, last), HM_WIRE_MALFORMED);
    }
}

#define GOOD HM_WIRE_OK
#define BAD  HM_WIRE_MALFORMED

/* The widest form of an integer is fine: another msgpack library may not use the shortest. */
static enum hm_wire_error decode_with_integer(uint8_t type, size_t index, uint64_t x)
{
    uint8_t bytes[9] = {0xcf};
    for (unsigned i = 0; i < 8; i++)
        bytes[1 + i] = (uint8_t)(x >> (56 - 8 * i));
    return decode_with(type, index, bytes, sizeof bytes);
}

static void test_ranges_of_integers(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        size_t index;
        uint64_t value;
        enum hm_wire_error expected;
    } row[] = {
        {HM_WANT, 1, 256, BAD},         /* type */
        {HM_WANT, 2, UINT64_MAX, GOOD}, /* fingerprint */
        {HM_WANT, 3, 0, BAD},           /* life */
        {HM_DELTA, LEAD + 0, 0, BAD},   /* stream */
        {HM_DELTA, LEAD + 1, 42, BAD},  /* lo == hi */
        {HM_DELTA, LEAD + 1, 40, BAD},  /* two deltas in one */
        {HM_DELTA, LEAD + 1, 43, BAD},
        {HM_DELTA, LEAD + 1, UINT32_MAX, BAD},
        {HM_DELTA, LEAD + 2, 43, BAD}, /* hi */
        {HM_DELTA, LEAD + 2, 42 + ((uint64_t)1 << 32), BAD},
        {HM_DELTA, LEAD + 3, 0, BAD}, /* flush */
        {HM_DELTA, LEAD + 3, UINT32_MAX, GOOD},
        {HM_DELTA, LEAD + 3, (uint64_t)UINT32_MAX + 1, BAD},
        {HM_DELTA, LEAD + 4, 2, BAD},                      /* last_piece */
        {HM_DELTA, LEAD + 5, UINT64_MAX, GOOD},            /* digest */
        {HM_DELTA, LEAD + 6, UINT64_MAX, GOOD},            /* steps */
        {HM_DELTA, LEAD + 7, HM_ENCODINGS, BAD},           /* encoding */
        {HM_DELTA, LEAD + 8, HM_BLOCKS_MAX - 70000, GOOD}, /* block */
        {HM_DELTA, LEAD + 8, HM_BLOCKS_MAX - 69999, BAD},
        {HM_DELTA, LEAD + 8, UINT32_MAX, BAD},
        {HM_DELTA, LEAD + 9, 0, BAD}, /* n_blocks */
        {HM_DELTA, LEAD + 9, 4, BAD}, /* 300 coordinates do not fit */
        {HM_DELTA, LEAD + 9, 5, GOOD},
        {HM_DELTA, LEAD + 9, HM_BLOCKS_MAX, BAD},
        {HM_DELTA, LEAD + 10, 0, BAD}, /* n_nonzero, but there are raw bytes */
        {HM_DELTA, LEAD + 10, 70000 * 64, GOOD},
        {HM_DELTA, LEAD + 10, 70000 * 64 + 1, BAD},
        {HM_DELTA, LEAD + 11, 0, BAD}, /* raw_n */
        {HM_DELTA, LEAD + 11, HM_RAW_MAX, GOOD},
        {HM_DELTA, LEAD + 11, HM_RAW_MAX + 1, BAD},
        {HM_DELTA, LEAD + 12, HM_PAYLOAD_MAX, GOOD}, /* vectors_n */
        {HM_DELTA, LEAD + 12, HM_PAYLOAD_MAX + 1, BAD},
        {HM_DELTA, LEAD + 13, 0, GOOD}, /* check */
        {HM_DELTA, LEAD + 13, UINT64_MAX, GOOD},
        {HM_BEAT, LEAD + 0, 0, BAD},                        /* number */
        {HM_BEAT, LEAD + 2, HM_PHASES, BAD},                /* phase */
        {HM_BEAT, LEAD + 3, 2, BAD},                        /* stop */
        {HM_BEAT, LEAD + 7, (uint64_t)UINT32_MAX + 1, BAD}, /* lag */
        {HM_WANT, LEAD + 0, 0, BAD},                        /* stream */
        {HM_WANT, LEAD + 1, 0, BAD},                        /* from */
        {HM_WANT, LEAD + 1, UINT32_MAX, BAD},
        {HM_WANT, LEAD + 2, 0, BAD},            /* bytes_max */
        {HM_NOHAVE, LEAD + 0, 0, BAD},          /* stream */
        {HM_NOHAVE, LEAD + 1, UINT32_MAX, BAD}, /* have_from */
        {HM_STATE_REQ, LEAD + 0, 2, BAD},       /* decide */
        {HM_STATE_META, LEAD + 0, 0, BAD},      /* id */
        {HM_STATE_META, LEAD + 1, HM_STATE_GIVEN, GOOD},
        {HM_STATE_META, LEAD + 1, HM_STATE_KEEP, BAD}, /* with a snapshot */
        {HM_STATE_META, LEAD + 1, HM_VERDICTS, BAD},
        {HM_STATE_META, LEAD + 2, 0, BAD}, /* n_chunks */
        {HM_STATE_META, LEAD + 2, HM_BLOCKS_MAX / 3 + 1, GOOD},
        {HM_STATE_META, LEAD + 2, HM_BLOCKS_MAX / 3 + 2, BAD},
        {HM_STATE_META, LEAD + 2, (uint64_t)1 << 32, BAD},
        {HM_STATE_META, LEAD + 3, 0, BAD}, /* chunk_blocks */
        {HM_STATE_META, LEAD + 3, HM_CHUNK_BLOCKS_MAX, GOOD},
        {HM_STATE_META, LEAD + 3, HM_CHUNK_BLOCKS_MAX + 1, BAD},
        {HM_CHUNK_REQ, LEAD + 0, 0, BAD}, /* id */
        {HM_CHUNK_REQ, LEAD + 1, HM_BLOCKS_MAX, BAD},
        {HM_CHUNK, LEAD + 0, 0, BAD},             /* id */
        {HM_CHUNK, LEAD + 1, HM_BLOCKS_MAX, BAD}, /* chunk */
        {HM_CHUNK, LEAD + 2, HM_ENCODINGS, BAD},  /* encoding */
        {HM_CHUNK, LEAD + 3, 0, BAD},             /* raw_n, but there is something */
        {HM_CHUNK, LEAD + 3, HM_RAW_MAX + 1, BAD},
        {HM_CHUNK, LEAD + 4, 0, BAD}, /* n_nonzero, but there are raw bytes */
        {HM_CHUNK, LEAD + 4, HM_CHUNK_BLOCKS_MAX * HM_BLOCK + 1, BAD},
        {HM_YIELD, LEAD + 0, 0, BAD},    /* successor */
        {HM_YIELD, LEAD + 0, BERT, BAD}, /* itself */
        {HM_YIELD, LEAD + 1, 20, GOOD},  /* seq */
        {HM_YIELD, LEAD + 1, 21, BAD},   /* which is renounced */
        {HM_YIELD, LEAD + 2, 0, BAD},
        {HM_YIELD, LEAD + 2, UINT32_MAX, GOOD},
        {HM_LEAVE, LEAD + 0, UINT32_MAX, BAD}, /* seq */
        {HM_LEAVE, LEAD + 2, 2, BAD},          /* clean */
        {HM_ASK, LEAD + 0, UINT64_MAX, GOOD},  /* number */
        {HM_ASK, LEAD + 1, HM_QUESTIONS, BAD}, /* what */
        {HM_STATUS, LEAD + 1, HM_QUESTIONS, BAD},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        enum hm_wire_error error = decode_with_integer(row[i].type, row[i].index, row[i].value);
        if (error != row[i].expected)
            fail_msg("row %zu: type %u, element %zu, value %llu: %d", i, row[i].type, row[i].index,
                     (unsigned long long)row[i].value, error);
    }
}

/* A delta of steps without coordinates carries no body at all. */
static void test_empty_delta(void **state)
{
    (void)state;
    struct hm_header header = smallest_header(HM_DELTA);
    header.delta.block = 5;
    header.delta.n_blocks = 3;
    header.delta.steps = 100;
    assert_round_trip(&header);
    uint8_t bytes[HM_HEADER_BOUND];
    size_t n = hm_wire_encode(&header, bytes),
           last = n - 2; /* vectors_n; raw_n and n_nonzero stand before it, the check behind it */
    bytes[last - 1] = 1;
    assert_int_equal(decode(bytes, n), HM_WIRE_MALFORMED);
    bytes[last - 2] = 1;
    assert_int_equal(decode(bytes, n), HM_WIRE_OK);
    bytes[last - 2] = bytes[last - 1] = 0;
    bytes[last - 5] = HM_PACKED_LZ4;
    assert_int_equal(decode(bytes, n), HM_WIRE_MALFORMED);
}

static void test_texts_in_headers(void **state)
{
    (void)state;
    static const char long_text[] =
        "tcp://"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    _Static_assert(sizeof long_text - 1 == HM_ENDPOINT_MAX + 1, "one too many");
#define ROW(type, index, text, expected)                                                           \
    {                                                                                              \
        type, index, text, sizeof(text) - 1, expected                                              \
    }
    static const struct {
        uint8_t type;
        size_t index;
        const char *text;
        size_t n;
        enum hm_wire_error expected;
    } row[] = {
        ROW(HM_BEAT, LEAD + 1, "", BAD), /* label */
        ROW(HM_BEAT, LEAD + 1, "a b", BAD),
        ROW(HM_BEAT, LEAD + 1, "a\"b", BAD),
        ROW(HM_BEAT, LEAD + 1, "a'b", BAD),
        ROW(HM_BEAT, LEAD + 1, "a`b", BAD),
        ROW(HM_BEAT, LEAD + 1, "a\0b", BAD),
        ROW(HM_BEAT, LEAD + 1, "a\x7f", BAD),
        ROW(HM_BEAT, LEAD + 1, "caf\xc3\xa9", BAD),
        ROW(HM_BEAT, LEAD + 1, "0123456789012345678901234567890", GOOD),
        ROW(HM_BEAT, LEAD + 1, "01234567890123456789012345678901", BAD),
        ROW(HM_BEAT, LEAD + 4, "", GOOD), /* stop_reason */
        ROW(HM_BEAT, LEAD + 4, "caf\xc3\xa9 'x' \"y\"", GOOD),
        ROW(HM_BEAT, LEAD + 4, "a\nb", BAD),
        ROW(HM_BEAT, LEAD + 4, "a\x1b[2J", BAD),
        ROW(HM_BEAT, LEAD + 4, "a\0b", BAD),
        ROW(HM_BEAT, LEAD + 4, long_text, BAD),
        ROW(HM_BEAT, LEAD + 8, "", GOOD), /* rpc */
        ROW(HM_BEAT, LEAD + 8, "tcp://", BAD),
        ROW(HM_BEAT, LEAD + 8, "tcp://[::1]:5", GOOD),
        ROW(HM_BEAT, LEAD + 8, "ipc://@hogmesh", GOOD),
        ROW(HM_BEAT, LEAD + 8, "inproc://a", GOOD),
        ROW(HM_BEAT, LEAD + 8, "TCP://a:5", BAD),
        ROW(HM_BEAT, LEAD + 8, "http://a:5", BAD),
        ROW(HM_BEAT, LEAD + 8, "pgm://a:5", BAD),
        ROW(HM_BEAT, LEAD + 8, "tcp://a b:5", BAD),
        ROW(HM_BEAT, LEAD + 8, "tcp://a:5\n", BAD),
        ROW(HM_BEAT, LEAD + 9, long_text, BAD), /* pub */
        ROW(HM_HELLO, LEAD + 0, "", BAD),
        ROW(HM_HELLO_OK, LEAD + 1, "a", BAD),
        ROW(HM_HELLO_OK, LEAD + 2, "b", BAD),
        ROW(HM_REJECT, LEAD + 0, "", GOOD),
        ROW(HM_REJECT, LEAD + 0, "01234567890123456789012345678901", BAD),
        ROW(HM_REJECT, LEAD + 1, "\xff", BAD),
        ROW(HM_REJECT, LEAD + 2, "\t", BAD),
        ROW(HM_REJECT, LEAD + 3, "\xc2\x85", BAD),
        ROW(HM_WANT, LEAD + 1, "1", BAD), /* a text where a number belongs */
    };
#undef ROW
    for (size_t i = 0; i < N_OF(row); i++) {
        uint8_t value[2 + UINT8_MAX] = {0xd9, (uint8_t)row[i].n};
        memcpy(value + 2, row[i].text, row[i].n);
        enum hm_wire_error error = decode_with(row[i].type, row[i].index, value, 2 + row[i].n);
        if (error != row[i].expected)
            fail_msg("row %zu: type %u, element %zu: %d", i, row[i].type, row[i].index, error);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct bytes good[] = {
        BYTES(""),
        BYTES(" ~"),
        BYTES("\xc2\xa0"),
        BYTES("\xdf\xbf"),
        BYTES("\xe0\xa0\x80"),
        BYTES("\xed\x9f\xbf"),
        BYTES("\xee\x80\x80"),
        BYTES("\xef\xbf\xbf"),
        BYTES("\xf0\x90\x80\x80"),
        BYTES("\xf4\x8f\xbf\xbf"),
    };
    static const struct bytes bad[] = {
        BYTES("\0"),
        BYTES("\x1f"),
        BYTES("\x7f"),
        BYTES("\x80"),
        BYTES("\xc2\x80"),
        BYTES("\xc2\x9f"),
        BYTES("\xc0\x80"),
        BYTES("\xc1\xbf"),
        BYTES("\xc2"),
        BYTES("\xc2x"),
        BYTES("\xe0\x9f\xbf"),
        BYTES("\xed\xa0\x80"),
        BYTES("\xed\xbf\xbf"),
        BYTES("\xe2\x82"),
        BYTES("\xf0\x8f\xbf\xbf"),
        BYTES("\xf4\x90\x80\x80"),
        BYTES("\xf5\x80\x80\x80"),
        BYTES("\xf8\x90\x80\x80"),
        BYTES("\xff"),
        BYTES("ok\xe2\x82\xacno\xe2"),
    };
    for (size_t i = 0; i < N_OF(good); i++)
        assert_true(hm_text_ok((const char *)good[i].at, good[i].n));
    for (size_t i = 0; i < N_OF(bad); i++)
        assert_false(hm_text_ok((const char *)bad[i].at, bad[i].n));
    char out[4];
    hm_text_clean(out, sizeof out, "a\xe2\x82\xac");
    assert_string_equal(out, "a"); /* the euro sign does not fit */
    hm_text_clean(out, 1, "a");
    assert_string_equal(out, "");
}

/* ---- payloads: there and back ---- */

static void largest_peers(struct hm_peer_entry *peer, size_t n)
{
    memset(peer, 0, n * sizeof *peer);
    for (size_t i = 0; i < n; i++) {
        peer[i].life = UINT64_MAX - n + 1 + i;
        fill(peer[i].label, "", HM_LABEL_MAX);
        fill(peer[i].rpc, "tcp://", HM_ENDPOINT_MAX);
        fill(peer[i].pub, "ipc://", HM_ENDPOINT_MAX);
        peer[i].phase = HM_PHASES - 1;
        peer[i].gone = 1;
        peer[i].beat = peer[i].age_us = UINT32_MAX;
    }
}

static void test_spans_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 64, HM_STREAMS_MAX};
    static struct hm_span_entry span[HM_STREAMS_MAX], read[HM_STREAMS_MAX];
    static uint8_t bytes[HM_SPANS_BOUND(HM_STREAMS_MAX)];
    for (size_t i = 0; i < HM_STREAMS_MAX; i++)
        span[i] =
            (struct hm_span_entry){UINT64_MAX - (HM_STREAMS_MAX - 1) + i, i % 3 ? 0 : UINT32_MAX,
                                   UINT32_MAX, i % 2 ? 0 : 1 + i, UINT64_MAX};
    for (size_t i = 0; i < N_OF(sizes); i++) {
        size_t count, n = hm_spans_encode(span, sizes[i], bytes);
        assert_true(n <= HM_SPANS_BOUND(sizes[i]));
        assert_int_equal(hm_spans_decode(bytes, n, read, sizes[i], &count), 0);
        assert_int_equal(count, sizes[i]);
        assert_memory_equal(read, span, count * sizeof *span);
        if (sizes[i]) {
            assert_int_equal(hm_spans_decode(bytes, n, read, sizes[i] - 1, &count), -1);
            assert_int_equal(count, 0);
        }
    }
}

static void test_beat_round_trip(void **state)
{
    (void)state;
    static struct hm_vv_entry vv[HM_STREAMS_MAX], vv_read[HM_STREAMS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX], peer_read[HM_PEERS_MAX];
    static uint8_t bytes[HM_BEAT_BOUND(HM_STREAMS_MAX, HM_PEERS_MAX)];
    for (size_t i = 0; i < HM_STREAMS_MAX; i++)
        vv[i] = (struct hm_vv_entry){i + 1, HM_SEQ_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX};
    largest_peers(peer, HM_PEERS_MAX);
    for (int full = 0; full < 2; full++) {
        size_t n_vv = full ? HM_STREAMS_MAX : 0, n_peers = full ? HM_PEERS_MAX : 0, n_vv_read,
               n_peers_read;
        size_t n = hm_beat_encode(vv, n_vv, peer, n_peers, bytes);
        assert_true(n <= HM_BEAT_BOUND(n_vv, n_peers));
        assert_int_equal(
            hm_beat_decode(bytes, n, vv_read, n_vv, &n_vv_read, peer_read, n_peers, &n_peers_read),
            0);
        assert_int_equal(n_vv_read, n_vv);
        assert_int_equal(n_peers_read, n_peers);
        assert_memory_equal(vv_read, vv, n_vv * sizeof *vv);
        assert_int_equal(wire_check_beat(bytes, n), 1);
        for (size_t i = 0; i < n_peers; i++)
            assert_string_equal(peer_read[i].pub, peer[i].pub);
        if (full) {
            assert_int_equal(hm_beat_decode(bytes, n, vv_read, n_vv - 1, &n_vv_read, peer_read,
                                            n_peers, &n_peers_read),
                             -1);
            assert_int_equal(hm_beat_decode(bytes, n, vv_read, n_vv, &n_vv_read, peer_read,
                                            n_peers - 1, &n_peers_read),
                             -1);
            assert_int_equal(n_vv_read, 0);
            assert_int_equal(n_peers_read, 0);
        }
    }
}

static void test_hello_round_trip(void **state)
{
    (void)state;
    static struct hm_field field[HM_FIELDS_MAX], field_read[HM_FIELDS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX], peer_read[HM_PEERS_MAX];
    static uint8_t bulk[600000];
    for (size_t i = 0; i < HM_FIELDS_MAX; i++) {
        fill(field[i].name, "", HM_FIELD_NAME_MAX);
        field[i].name[0] = (char)('a' + i / 26);
        field[i].name[1] = (char)('a' + i % 26);
        fill(field[i].value, "\xc3\xa9 ", HM_FIELD_VALUE_MAX);
    }
    largest_peers(peer, HM_PEERS_MAX);
    size_t bound = hm_hello_bound(field, HM_FIELDS_MAX, HM_PEERS_MAX, sizeof bulk);
    uint8_t *bytes = malloc(bound);
    assert_non_null(bytes);
    size_t n = hm_hello_encode(field, HM_FIELDS_MAX, peer, HM_PEERS_MAX, bulk, sizeof bulk, bytes);
    assert_true(n <= bound);
    size_t n_fields, n_peers, n_bulk;
    const uint8_t *bulk_read;
    assert_int_equal(hm_hello_decode(bytes, n, field_read, HM_FIELDS_MAX, &n_fields, peer_read,
                                     HM_PEERS_MAX, &n_peers, &bulk_read, &n_bulk),
                     0);
    assert_int_equal(n_fields, HM_FIELDS_MAX);
    assert_int_equal(n_peers, HM_PEERS_MAX);
    assert_int_equal(n_bulk, sizeof bulk);
    assert_ptr_equal(bulk_read, bytes + n - sizeof bulk);
    assert_memory_equal(field_read, field, sizeof field);
    assert_int_equal(wire_check_hello(bytes, n), 1);
    assert_int_equal(hm_hello_decode(bytes, n, field_read, HM_FIELDS_MAX - 1, &n_fields, peer_read,
                                     HM_PEERS_MAX, &n_peers, &bulk_read, &n_bulk),
                     -1);
    assert_null(bulk_read);

    n = hm_hello_encode(NULL, 0, NULL, 0, NULL, 0, bytes);
    assert_int_equal(n, 3);
    assert_int_equal(wire_check_hello(bytes, n), 1);
    free(bytes);
}

static void test_payload_of_more_than_a_mebibyte(void **state)
{
    (void)state;
    size_t n_bulk =
        HM_PAYLOAD_MAX - 5; /* two counts and a length of three bytes: exactly the limit */
    uint8_t *bulk = calloc(1, n_bulk + 1), *bytes = malloc(hm_hello_bound(NULL, 0, 0, n_bulk + 1));
    assert_non_null(bulk);
    assert_non_null(bytes);
    size_t n = hm_hello_encode(NULL, 0, NULL, 0, bulk, n_bulk, bytes);
    assert_int_equal(n, HM_PAYLOAD_MAX);
    assert_int_equal(wire_check_hello(bytes, n), 1);
    n = hm_hello_encode(NULL, 0, NULL, 0, bulk, n_bulk + 1, bytes);
    assert_int_equal(wire_check_hello(bytes, n), 0);
    free(bytes);
    free(bulk);
}

/* ---- payloads: what is refused ---- */

enum { PAYLOADS = 4 };

struct payload {
    int (*check)(const uint8_t *bytes, size_t n);
    size_t n;
    uint8_t bytes[1024];
};

static size_t example_payloads(struct payload *payload /* [PAYLOADS] */)
{
    payload[0] = (struct payload){.check = wire_check_spans};
    payload[0].n = hm_spans_encode(SPANS, N_OF(SPANS), payload[0].bytes);
    payload[1] = (struct payload){.check = wire_check_beat};
    payload[1].n = example_beat(payload[1].bytes);
    payload[2] = (struct payload){.check = wire_check_hello};
    payload[2].n = example_hello_ok(payload[2].bytes);
    payload[3] = (struct payload){.check = wire_check_vector};
    payload[3].n = hm_vector_encode(VECTOR, N_OF(VECTOR), payload[3].bytes);
    return PAYLOADS;
}

static void test_truncated_flipped_and_extended_payloads(void **state)
{
    (void)state;
    struct payload payload[PAYLOADS];
    size_t n_payloads = example_payloads(payload);
    for (struct payload *p = payload; p < payload + n_payloads; p++) {
        assert_int_equal(p->check(p->bytes, p->n), 1);
        for (size_t cut = 0; cut < p->n; cut++)
            assert_int_equal(p->check(p->bytes, cut), 0);
        for (unsigned trailing = 0; trailing < 256; trailing++) {
            p->bytes[p->n] = (uint8_t)trailing;
            assert_int_equal(p->check(p->bytes, p->n + 1), 0);
        }
        for (size_t bit = 0; bit < 8 * p->n; bit++) {
            p->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            p->check(p->bytes, p->n);
            p->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(p->check(NULL, 0), 0);
    }
}

/* Payloads written by hand, wrong in one thing each. The lives are eight bytes, least significant
 * first. */
#define LIFE(x)                            x "\0\0\0\0\0\0\0"
#define FF4                                "\xff\xff\xff\xff"
#define MAX32                              "\xff\xff\xff\xff\x0f"
#define MAX64                              "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
#define PEER(label, rpc, pub, phase, gone) "\0\1" LIFE("\1") label rpc pub phase gone "\0\0"

static void test_refused_payloads(void **state)
{
    (void)state;
    static const struct {
        int (*check)(const uint8_t *bytes, size_t n);
        int accepted;
        struct bytes payload;
        const char *why;
    } row[] = {
        {wire_check_spans, 1, BYTES("\0"), "no streams"},
        {wire_check_spans, 1, BYTES("\1" LIFE("\1") "\0\0\0\0"), "one"},
        {wire_check_spans, 1, BYTES("\1" LIFE("\1") MAX32 "\0" MAX64 "\0"), "extremes"},
        {wire_check_spans, 0, BYTES("\x80\x00"), "count not in the shortest form"},
        {wire_check_spans, 0, BYTES("\1" LIFE("\1") "\x81\x80\x00\0\0\0"),
         "number not in the shortest form"},
        {wire_check_spans, 0, BYTES("\1" LIFE("\0") "\0\0\0\0"), "life 0"},
        {wire_check_spans, 0, BYTES("\2" LIFE("\1") "\0\0\0\0" LIFE("\1") "\0\0\0\0"),
         "life twice"},
        {wire_check_spans, 0, BYTES("\2" LIFE("\2") "\0\0\0\0" LIFE("\1") "\0\0\0\0"),
         "lives descend"},
        {wire_check_spans, 0,
         BYTES("\1" LIFE("\1") "\xff\xff\xff\xff\x10"
                               "\0\0\0"),
         "flush of 2^32 and more"},
        {wire_check_spans, 0, BYTES("\1" LIFE("\1") MAX32 "\1\0\0"), "end of flushes overflows"},
        {wire_check_spans, 0, BYTES("\1" LIFE("\1") "\0\0" MAX64 "\1"), "end of steps overflows"},
        {wire_check_spans, 0,
         BYTES("\1" LIFE("\1") "\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0"), "65 bits"},
        {wire_check_spans, 0, BYTES("\1" LIFE("\1") "\0\0" FF4 FF4 "\xff\xff\xff\0"),
         "varint of 12 bytes"},
        {wire_check_spans, 0, BYTES("\x81\x02"), "257 streams, none there"},
        {wire_check_spans, 0, BYTES(MAX64), "2^64 - 1 streams"},
        {wire_check_beat, 1, BYTES("\0\0"), "nothing known"},
        {wire_check_beat, 1,
         BYTES("\1" LIFE("\1") "\xfe\xff\xff\xff\x0f"
                               "\0\0" LIFE("\0") "\0"),
         "largest seq"},
        {wire_check_beat, 0, BYTES("\1" LIFE("\1") MAX32 "\0\0" LIFE("\0") "\0"),
         "seq of 2^32 - 1"},
        {wire_check_beat, 0, BYTES("\1" LIFE("\0") "\0\0\0" LIFE("\0") "\0"), "life 0"},
        {wire_check_beat, 1, BYTES(PEER("\1x", "\0", "\0", "\5", "\1")), "a peer"},
        {wire_check_beat, 0, BYTES(PEER("\0", "\0", "\0", "\0", "\0")), "no label"},
        {wire_check_beat, 0, BYTES(PEER("\1 ", "\0", "\0", "\0", "\0")), "a space as label"},
        {wire_check_beat, 0, BYTES(PEER("\3x\0y", "\0", "\0", "\0", "\0")), "NUL in a label"},
        {wire_check_beat, 0,
         BYTES(PEER("\x20"
                    "0123456789abcdef0123456789abcdef",
                    "\0", "\0", "\0", "\0")),
         "label of 32"},
        {wire_check_beat, 0, BYTES(PEER("\1x", "\3a:1", "\0", "\0", "\0")), "rpc without a scheme"},
        {wire_check_beat, 0, BYTES(PEER("\1x", "\0", "\6tcp://", "\0", "\0")),
         "pub without an address"},
        {wire_check_beat, 0, BYTES(PEER("\1x", "\0", "\0", "\6", "\0")), "phase 6"},
        {wire_check_beat, 0, BYTES(PEER("\1x", "\0", "\0", "\0", "\2")), "gone 2"},
        {wire_check_beat, 0, BYTES("\0\x41"), "65 peers, none there"},
        {wire_check_hello, 1, BYTES("\0\0\0"), "asks for nothing"},
        {wire_check_hello, 1, BYTES("\1\1a\0\0\0"), "empty value"},
        {wire_check_hello, 1, BYTES("\2\1a\0\1b\0\0\0"), "two fields"},
        {wire_check_hello, 0, BYTES("\2\1b\0\1a\0\0\0"), "names descend"},
        {wire_check_hello, 0, BYTES("\2\1a\0\1a\0\0\0"), "name twice"},
        {wire_check_hello, 0, BYTES("\1\0\0\0\0"), "empty name"},
        {wire_check_hello, 0, BYTES("\1\1A\0\0\0"), "upper case name"},
        {wire_check_hello, 0, BYTES("\1\3a b\0\0\0"), "space in a name"},
        {wire_check_hello, 0, BYTES("\1\1a\1\n\0\0"), "line end in a value"},
        {wire_check_hello, 0, BYTES("\1\1a\1\xff\0\0"), "value not UTF-8"},
        {wire_check_hello, 0, BYTES("\1\1a\x80\x08\0\0"), "value of 1024 bytes, not there"},
        {wire_check_hello, 0, BYTES("\0\0\1"), "bulk not there"},
        {wire_check_hello, 0, BYTES("\0\0" MAX64), "bulk of 2^64 - 1"},
        {wire_check_hello, 0, BYTES("\x41\0\0\0"), "65 fields, none there"},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        if (row[i].check(row[i].payload.at, row[i].payload.n) != row[i].accepted)
            fail_msg("%s: %s", row[i].why, row[i].accepted ? "refused" : "accepted");
    }
}

/* Lists one entry longer than the limits, correct in everything else. */
static void test_too_many_entries(void **state)
{
    (void)state;
    static uint8_t bytes[64 << 10];
    static struct hm_span_entry room[HM_STREAMS_MAX + 1];
    size_t n;
    struct hm_writer w = hm_writer_of(bytes, sizeof bytes);
    hm_put_varint(&w, HM_STREAMS_MAX + 1);
    for (uint64_t i = 0; i < HM_STREAMS_MAX + 1; i++) {
        hm_put_u64(&w, i + 1);
        hm_put_bytes(&w, "\0\0\0\0", 4);
    }
    assert_int_equal(hm_spans_decode(bytes, (size_t)(w.at - bytes), room, HM_STREAMS_MAX + 1, &n),
                     -1);

    w = hm_writer_of(bytes, sizeof bytes);
    hm_put_varint(&w, HM_STREAMS_MAX + 1);
    for (uint64_t i = 0; i < HM_STREAMS_MAX + 1; i++) {
        hm_put_u64(&w, i + 1);
        hm_put_bytes(&w, "\1\1\1", 3);
        hm_put_u64(&w, i);
    }
    hm_put_u8(&w, 0);
    assert_int_equal(wire_check_beat(bytes, (size_t)(w.at - bytes)), 0);

    w = hm_writer_of(bytes, sizeof bytes);
    hm_put_u8(&w, 0);
    hm_put_varint(&w, HM_PEERS_MAX + 1);
    for (uint64_t i = 0; i < HM_PEERS_MAX + 1; i++) {
        hm_put_u64(&w, i + 1);
        hm_put_bytes(&w, "\1x\0\0\0\0\0\0", 8);
    }
    assert_int_equal(wire_check_beat(bytes, (size_t)(w.at - bytes)), 0);

    w = hm_writer_of(bytes, sizeof bytes);
    hm_put_varint(&w, HM_FIELDS_MAX + 1);
    for (unsigned i = 0; i < HM_FIELDS_MAX + 1; i++) {
        hm_put_bytes(&w, (uint8_t[]){2, (uint8_t)('a' + i / 10), (uint8_t)('0' + i % 10), 0}, 4);
    }
    hm_put_bytes(&w, "\0\0", 2);
    assert_int_equal(wire_check_hello(bytes, (size_t)(w.at - bytes)), 0);
    bytes[0]--;
    memmove(bytes + 1, bytes + 5, (size_t)(w.at - bytes) - 5);
    assert_int_equal(wire_check_hello(bytes, (size_t)(w.at - bytes) - 4), 1); /* one less is fine */
}

/* ---- random mutations ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Bytes that matter to a decoder more often than chance would have them. */
static uint8_t odd_byte(struct hm_rng *rng)
{
    static const uint8_t odd[] = {0x00, 0x01, 0x7f, 0x80, 0x90, 0x91, 0xa0, 0xa1, 0xc0, 0xcc, 0xcf,
                                  0xd0, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xfe, 0xff};
    return hm_rng_below(rng, 2) ? odd[hm_rng_below(rng, N_OF(odd))] : (uint8_t)hm_rng_next(rng);
}

static size_t mutate(struct hm_rng *rng, uint8_t *bytes, size_t n, size_t room)
{
    for (uint32_t times = 1 + hm_rng_below(rng, 4); times && n; times--) {
        size_t at = hm_rng_below(rng, (uint32_t)n), some = 1 + hm_rng_below(rng, 8);
        switch (hm_rng_below(rng, 6)) {
        case 0:
            bytes[at] = odd_byte(rng);
            break;
        case 1:
            bytes[at] ^= (uint8_t)(1 << hm_rng_below(rng, 8));
            break;
        case 2:
            bytes[at] = (uint8_t)(bytes[at] + (hm_rng_below(rng, 2) ? 1 : 255));
            break;
        case 3: /* insert */
            if (n == room)
                break;
            memmove(bytes + at + 1, bytes + at, n - at);
            bytes[at] = odd_byte(rng);
            n++;
            break;
        case 4: /* delete */
            some = some < n - at ? some : n - at;
            memmove(bytes + at, bytes + at + some, n - at - some);
            n -= some;
            break;
        default: /* copy a piece over another */
            some = some < n - at ? some : n - at;
            memmove(bytes + hm_rng_below(rng, (uint32_t)(n - some + 1)), bytes + at, some);
        }
    }
    return n;
}

static void test_mutated_headers(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1),
             times = from_environment("HOGMESH_FUZZ", 250000);
    print_message(
        "%llu mutated headers; to repeat: HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu test_wire\n",
        (unsigned long long)times, (unsigned long long)seed, (unsigned long long)times);
    struct hm_rng rng = hm_rng_seed(seed, 1);
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < times; i++) {
        uint8_t type = TYPES[i % N_OF(TYPES)], bytes[HM_HEADER_BOUND + 8];
        struct hm_header header = i / N_OF(TYPES) % 2 ? largest_header(type) : example_header(type);
        size_t n = mutate(&rng, bytes, hm_wire_encode(&header, bytes), sizeof bytes);
        accepted += (uint64_t)wire_check_header(bytes, n);
    }
    print_message("%llu of them are valid\n", (unsigned long long)accepted);
    assert_true(accepted < times);
}

static void test_mutated_payloads(void **state)
{
    (void)state;
    uint64_t seed = from_environment("HOGMESH_SEED", 1),
             times = from_environment("HOGMESH_FUZZ", 250000);
    print_message(
        "%llu mutated payloads; to repeat: HOGMESH_SEED=%llu HOGMESH_FUZZ=%llu test_wire\n",
        (unsigned long long)times, (unsigned long long)seed, (unsigned long long)times);
    struct hm_rng rng = hm_rng_seed(seed, 2);
    struct payload payload[PAYLOADS];
    size_t n_payloads = example_payloads(payload);
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < times; i++) {
        struct payload changed = payload[i % n_payloads];
        changed.n = mutate(&rng, changed.bytes, changed.n, sizeof changed.bytes);
        accepted += (uint64_t)changed.check(changed.bytes, changed.n);
    }
    print_message("%llu of them are valid\n", (unsigned long long)accepted);
    assert_true(accepted < times);
}

/* ---- golden bytes ---- */

static void test_golden_headers(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        const char *name;
    } row[] = {
        {HM_BEAT, "beat-header"},
        {HM_HELLO, "hello-header"},
        {HM_HELLO_OK, "hello_ok-header"},
        {HM_REJECT, "reject-header"},
        {HM_WANT, "want-header"},
        {HM_NOHAVE, "nohave-header"},
        {HM_STATE_REQ, "state_req-header"},
        {HM_STATE_META, "state_meta-header"},
        {HM_CHUNK_REQ, "chunk_req-header"},
        {HM_CHUNK, "chunk-header"},
        {HM_YIELD, "yield-header"},
        {HM_LEAVE, "leave-header"},
        {HM_ASK, "ask-header"},
        {HM_STATUS, "status-header"},
    };
    for (size_t i = 0; i < N_OF(row); i++) {
        struct hm_header header = example_header(row[i].type);
        uint8_t bytes[HM_HEADER_BOUND];
        golden_check(row[i].name, bytes, hm_wire_encode(&header, bytes));
    }
}

static void test_golden_payloads(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    golden_check("beat-payload", bytes, example_beat(bytes));
    size_t n = hm_vector_encode(VECTOR, N_OF(VECTOR), bytes);
    golden_check("vector-payload", bytes, n);
    assert_int_equal(SNAPSHOT, hm_snapshot_id(bytes, n));
    golden_check("hello-payload", bytes, hm_hello_encode(&FIELDS[3], 1, NULL, 0, NULL, 0, bytes));
    golden_check("hello_ok-payload", bytes, example_hello_ok(bytes));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_round_trip),
        cmocka_unit_test(test_free_texts_are_mended),
        cmocka_unit_test(test_truncated_and_extended_headers),
        cmocka_unit_test(test_flipped_bits_never_do_harm),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_limits_of_the_scan),
        cmocka_unit_test(test_other_versions_and_types),
        cmocka_unit_test(test_wrong_kinds_of_values),
        cmocka_unit_test(test_extra_and_missing_elements),
        cmocka_unit_test(test_ranges_of_integers),
        cmocka_unit_test(test_empty_delta),
        cmocka_unit_test(test_texts_in_headers),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_spans_round_trip),
        cmocka_unit_test(test_beat_round_trip),
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_payload_of_more_than_a_mebibyte),
        cmocka_unit_test(test_truncated_flipped_and_extended_payloads),
        cmocka_unit_test(test_refused_payloads),
        cmocka_unit_test(test_too_many_entries),
        cmocka_unit_test(test_mutated_headers),
        cmocka_unit_test(test_mutated_payloads),
        cmocka_unit_test(test_golden_headers),
        cmocka_unit_test(test_golden_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
