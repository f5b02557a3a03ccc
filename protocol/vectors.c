/* Payloads of DELTA (its head), BEAT, HELLO, HELLO_OK, STATE_REQ and STATE_META. Each entry has a
 * put and a get that mirror each other; the getters only ever mark the reader bad, and the decoders
 * look once, at the end. */
#include "protocol/wire.h"

#include "protocol/bytes.h"
#include "protocol/text.h"

static uint64_t get_number(struct hm_reader *r, uint64_t most)
{
    uint64_t x = hm_get_varint(r);
    if (x > most)
        r->bad = 1;
    return r->bad ? 0 : x;
}

/* How many entries follow. No loop trusts it: the first entry that is not there ends the reading.
 */
static size_t get_count(struct hm_reader *r, size_t room, size_t most)
{
    return (size_t)get_number(r, room < most ? room : most);
}

/* Lists are sorted by life, which makes them canonical, free of duplicates and quick to merge. */
static uint64_t get_life(struct hm_reader *r, uint64_t previous)
{
    uint64_t life = hm_get_u64(r);
    if (life <= previous)
        r->bad = 1;
    return life;
}

static void put_text(struct hm_writer *w, const char *text, size_t n_max, hm_text_rule *text_ok)
{
    size_t n = strnlen(text, n_max + 1);
    assert(n <= n_max);
    assert(text_ok(text, n));
    hm_put_string(w, text, n);
}

static void get_text(struct hm_reader *r, char *text, size_t n_max, hm_text_rule *text_ok)
{
    hm_get_text(r, text, n_max);
    if (!text_ok(text, strlen(text)))
        r->bad = 1;
}

static struct hm_reader payload_reader(const uint8_t *in, size_t n)
{
    struct hm_reader r = hm_reader_of(in, n);
    r.bad = n > HM_PAYLOAD_MAX;
    return r;
}

static int is_complete(const struct hm_reader *r)
{
    return !r->bad && hm_reader_left(r) == 0;
}

/* ---- the two vectors of a DELTA ---- */

static void put_span(struct hm_writer *w, const struct hm_span_entry *span)
{
    assert(span->flush_end >= span->flush_start);
    assert(span->steps_end >= span->steps_start);
    hm_put_u64(w, span->life);
    hm_put_varint(w, span->flush_start);
    hm_put_varint(w, span->flush_end - span->flush_start);
    hm_put_varint(w, span->steps_start);
    hm_put_varint(w, span->steps_end - span->steps_start);
}

static void get_span(struct hm_reader *r, uint64_t previous, struct hm_span_entry *span)
{
    span->life = get_life(r, previous);
    span->flush_start = (uint32_t)get_number(r, UINT32_MAX);
    span->flush_end = span->flush_start + (uint32_t)get_number(r, UINT32_MAX - span->flush_start);
    span->steps_start = hm_get_varint(r);
    span->steps_end = span->steps_start + get_number(r, UINT64_MAX - span->steps_start);
}

size_t hm_spans_encode(const struct hm_span_entry *span, size_t n, uint8_t *out)
{
    assert(n <= HM_STREAMS_MAX);
    struct hm_writer w = hm_writer_of(out, HM_SPANS_BOUND(n));
    hm_put_varint(&w, n);
    for (size_t i = 0; i < n; i++) {
        assert(span[i].life > (i ? span[i - 1].life : 0));
        put_span(&w, &span[i]);
    }
    return (size_t)(w.at - out);
}

int hm_spans_decode(const uint8_t *in, size_t in_n, struct hm_span_entry *span, size_t room,
                    size_t *n)
{
    struct hm_reader r = payload_reader(in, in_n);
    size_t count = get_count(&r, room, HM_STREAMS_MAX);
    for (size_t i = 0; i < count && !r.bad; i++)
        get_span(&r, i ? span[i - 1].life : 0, &span[i]);
    *n = is_complete(&r) ? count : 0;
    return is_complete(&r) ? 0 : -1;
}

/* ---- vectors and peers ---- */

static void put_vv(struct hm_writer *w, const struct hm_vv_entry *vv, size_t n)
{
    assert(n <= HM_STREAMS_MAX);
    hm_put_varint(w, n);
    for (size_t i = 0; i < n; i++) {
        assert(vv[i].life > (i ? vv[i - 1].life : 0));
        assert(vv[i].seq <= HM_SEQ_MAX);
        hm_put_u64(w, vv[i].life);
        hm_put_varint(w, vv[i].seq);
        hm_put_varint(w, vv[i].flush);
        hm_put_varint(w, vv[i].steps);
        hm_put_u64(w, vv[i].digest);
    }
}

static size_t get_vv(struct hm_reader *r, struct hm_vv_entry *vv, size_t room)
{
    size_t n = get_count(r, room, HM_STREAMS_MAX);
    for (size_t i = 0; i < n && !r->bad; i++) {
        vv[i].life = get_life(r, i ? vv[i - 1].life : 0);
        vv[i].seq = (uint32_t)get_number(r, HM_SEQ_MAX);
        vv[i].flush = (uint32_t)get_number(r, UINT32_MAX);
        vv[i].steps = hm_get_varint(r);
        vv[i].digest = hm_get_u64(r);
    }
    return n;
}

static void put_peer(struct hm_writer *w, const struct hm_peer_entry *peer)
{
    assert(peer->phase < HM_PHASES);
    assert(peer->gone <= 1);
    hm_put_u64(w, peer->life);
    put_text(w, peer->label, HM_LABEL_MAX, hm_label_ok);
    put_text(w, peer->rpc, HM_ENDPOINT_MAX, hm_endpoint_ok);
    put_text(w, peer->pub, HM_ENDPOINT_MAX, hm_endpoint_ok);
    hm_put_u8(w, peer->phase);
    hm_put_u8(w, peer->gone);
    hm_put_varint(w, peer->beat);
    hm_put_varint(w, peer->age_us);
}

static void get_peer(struct hm_reader *r, uint64_t previous, struct hm_peer_entry *peer)
{
    peer->life = get_life(r, previous);
    get_text(r, peer->label, HM_LABEL_MAX, hm_label_ok);
    get_text(r, peer->rpc, HM_ENDPOINT_MAX, hm_endpoint_ok);
    get_text(r, peer->pub, HM_ENDPOINT_MAX, hm_endpoint_ok);
    peer->phase = hm_get_u8(r);
    peer->gone = hm_get_u8(r);
    if (peer->phase >= HM_PHASES || peer->gone > 1)
        r->bad = 1;
    peer->beat = (uint32_t)get_number(r, UINT32_MAX);
    peer->age_us = (uint32_t)get_number(r, UINT32_MAX);
}

static void put_peers(struct hm_writer *w, const struct hm_peer_entry *peer, size_t n)
{
    assert(n <= HM_PEERS_MAX);
    hm_put_varint(w, n);
    for (size_t i = 0; i < n; i++) {
        assert(peer[i].life > (i ? peer[i - 1].life : 0));
        put_peer(w, &peer[i]);
    }
}

static size_t get_peers(struct hm_reader *r, struct hm_peer_entry *peer, size_t room)
{
    size_t n = get_count(r, room, HM_PEERS_MAX);
    for (size_t i = 0; i < n && !r->bad; i++)
        get_peer(r, i ? peer[i - 1].life : 0, &peer[i]);
    return n;
}

size_t hm_beat_encode(const struct hm_vv_entry *vv, size_t n_vv, const struct hm_peer_entry *peer,
                      size_t n_peers, uint8_t *out)
{
    struct hm_writer w = hm_writer_of(out, HM_BEAT_BOUND(n_vv, n_peers));
    put_vv(&w, vv, n_vv);
    put_peers(&w, peer, n_peers);
    return (size_t)(w.at - out);
}

int hm_beat_decode(const uint8_t *in, size_t in_n, struct hm_vv_entry *vv, size_t vv_room,
                   size_t *n_vv, struct hm_peer_entry *peer, size_t peer_room, size_t *n_peers)
{
    struct hm_reader r = payload_reader(in, in_n);
    *n_vv = get_vv(&r, vv, vv_room);
    *n_peers = get_peers(&r, peer, peer_room);
    if (is_complete(&r))
        return 0;
    *n_vv = *n_peers = 0;
    return -1;
}

size_t hm_vector_encode(const struct hm_vv_entry *vv, size_t n, uint8_t *out)
{
    struct hm_writer w = hm_writer_of(out, HM_VECTOR_BOUND(n));
    put_vv(&w, vv, n);
    return (size_t)(w.at - out);
}

int hm_vector_decode(const uint8_t *in, size_t in_n, struct hm_vv_entry *vv, size_t room, size_t *n)
{
    struct hm_reader r = payload_reader(in, in_n);
    size_t count = get_vv(&r, vv, room);
    *n = is_complete(&r) ? count : 0;
    return is_complete(&r) ? 0 : -1;
}

/* ---- the configuration ---- */

/* Sorted by name, and so without duplicates, for the reason that lives are. */
static int in_order(const struct hm_field *field, size_t i)
{
    return i == 0 || strcmp(field[i - 1].name, field[i].name) < 0;
}

static void put_fields(struct hm_writer *w, const struct hm_field *field, size_t n)
{
    assert(n <= HM_FIELDS_MAX);
    hm_put_varint(w, n);
    for (size_t i = 0; i < n; i++) {
        assert(in_order(field, i));
        put_text(w, field[i].name, HM_FIELD_NAME_MAX, hm_field_name_ok);
        put_text(w, field[i].value, HM_FIELD_VALUE_MAX, hm_text_ok);
    }
}

static size_t get_fields(struct hm_reader *r, struct hm_field *field, size_t room)
{
    size_t n = get_count(r, room, HM_FIELDS_MAX);
    for (size_t i = 0; i < n && !r->bad; i++) {
        get_text(r, field[i].name, HM_FIELD_NAME_MAX, hm_field_name_ok);
        get_text(r, field[i].value, HM_FIELD_VALUE_MAX, hm_text_ok);
        if (!in_order(field, i))
            r->bad = 1;
    }
    return n;
}

size_t hm_hello_bound(const struct hm_field *field, size_t n_fields, size_t n_peers, size_t n_bulk)
{
    size_t bound = HM_VARINT_MAX + HM_BEAT_BOUND(0, n_peers) + HM_VARINT_MAX + n_bulk;
    for (size_t i = 0; i < n_fields; i++)
        bound += strlen(field[i].name) + strlen(field[i].value) + 2 * HM_VARINT_MAX;
    return bound;
}

size_t hm_hello_encode(const struct hm_field *field, size_t n_fields,
                       const struct hm_peer_entry *peer, size_t n_peers, const uint8_t *bulk,
                       size_t n_bulk, uint8_t *out)
{
    struct hm_writer w = hm_writer_of(out, hm_hello_bound(field, n_fields, n_peers, n_bulk));
    put_fields(&w, field, n_fields);
    put_peers(&w, peer, n_peers);
    hm_put_string(&w, bulk, n_bulk);
    return (size_t)(w.at - out);
}

int hm_hello_decode_kept(const uint8_t *in, size_t in_n, struct hm_field *field, size_t field_room,
                         size_t *n_fields, struct hm_peer_entry *peer, size_t peer_room,
                         size_t *n_peers, const uint8_t **bulk, size_t *n_bulk)
{
    struct hm_reader r = hm_reader_of(in, in_n);
    *n_fields = get_fields(&r, field, field_room);
    *n_peers = get_peers(&r, peer, peer_room);
    *n_bulk = (size_t)get_number(&r, in_n);
    *bulk = hm_get_bytes(&r, *n_bulk);
    if (is_complete(&r))
        return 0;
    *n_fields = *n_peers = *n_bulk = 0;
    *bulk = NULL;
    return -1;
}

int hm_hello_decode(const uint8_t *in, size_t in_n, struct hm_field *field, size_t field_room,
                    size_t *n_fields, struct hm_peer_entry *peer, size_t peer_room, size_t *n_peers,
                    const uint8_t **bulk, size_t *n_bulk)
{
    /* More than a message holds ends as nothing would. */
    return hm_hello_decode_kept(in, in_n > HM_PAYLOAD_MAX ? 0 : in_n, field, field_room, n_fields,
                                peer, peer_room, n_peers, bulk, n_bulk);
}
