/* What must hold for any bytes whatever that meet a decoder, for the tests and the fuzzer alike: no
 * reading past the end (the bytes are copied to a block of exactly their size, so the sanitizers
 * see it), refusal or success in full, and what was accepted encodes to bytes that say the same.
 * Returns 1 when the bytes were accepted. */
#ifndef HM_TESTS_WIRE_CHECK_H
#define HM_TESTS_WIRE_CHECK_H

#include "protocol/wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static inline uint8_t *wire_exact_copy(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = calloc(1, n);
    assert(copy || !n);
    if (n)
        memcpy(copy, bytes, n);
    return copy;
}

static inline int wire_check_header(const uint8_t *bytes, size_t n)
{
    static const struct hm_header zero;
    struct hm_header header, again;
    uint8_t *copy = wire_exact_copy(bytes, n), made[HM_HEADER_BOUND];
    enum hm_wire_error error = hm_wire_decode(copy, n, &header);
    free(copy);
    if (error != HM_WIRE_OK) {
        assert(error == HM_WIRE_BAD_VERSION || memcmp(&header, &zero, sizeof zero) == 0);
        return 0;
    }
    /* Wider integers than needed are accepted, so the bytes may differ, but not what they say. */
    size_t made_n = hm_wire_encode(&header, made);
    assert(made_n <= n);
    error = hm_wire_decode(made, made_n, &again);
    assert(error == HM_WIRE_OK);
    assert(memcmp(&header, &again, sizeof header) == 0);
    return 1;
}

/* Payloads have one form only. */
static inline void wire_check_same(const uint8_t *made, size_t made_n, const uint8_t *bytes,
                                   size_t n)
{
    assert(made_n == n);
    assert(memcmp(made, bytes, n) == 0);
}

static inline int wire_check_spans(const uint8_t *bytes, size_t n)
{
    static struct hm_span_entry span[HM_STREAMS_MAX];
    static uint8_t made[HM_SPANS_BOUND(HM_STREAMS_MAX)];
    size_t count = 1;
    uint8_t *copy = wire_exact_copy(bytes, n);
    int refused = hm_spans_decode(copy, n, span, HM_STREAMS_MAX, &count);
    free(copy);
    assert(!refused || !count);
    if (!refused)
        wire_check_same(made, hm_spans_encode(span, count, made), bytes, n);
    return !refused;
}

static inline int wire_check_beat(const uint8_t *bytes, size_t n)
{
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    static uint8_t made[HM_BEAT_BOUND(HM_STREAMS_MAX, HM_PEERS_MAX)];
    size_t n_vv = 1, n_peers = 1;
    uint8_t *copy = wire_exact_copy(bytes, n);
    int refused = hm_beat_decode(copy, n, vv, HM_STREAMS_MAX, &n_vv, peer, HM_PEERS_MAX, &n_peers);
    free(copy);
    assert(!refused || (!n_vv && !n_peers));
    if (!refused)
        wire_check_same(made, hm_beat_encode(vv, n_vv, peer, n_peers, made), bytes, n);
    return !refused;
}

static inline int wire_check_vector(const uint8_t *bytes, size_t n)
{
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    static uint8_t made[HM_VECTOR_BOUND(HM_STREAMS_MAX)];
    size_t count = 1;
    uint8_t *copy = wire_exact_copy(bytes, n);
    int refused = hm_vector_decode(copy, n, vv, HM_STREAMS_MAX, &count);
    free(copy);
    assert(!refused || !count);
    if (!refused)
        wire_check_same(made, hm_vector_encode(vv, count, made), bytes, n);
    return !refused;
}

static inline int wire_check_hello(const uint8_t *bytes, size_t n)
{
    static struct hm_field field[HM_FIELDS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    size_t n_fields = 1, n_peers = 1, n_bulk = 1;
    uint8_t *copy = wire_exact_copy(bytes, n);
    const uint8_t *bulk;
    int refused = hm_hello_decode(copy, n, field, HM_FIELDS_MAX, &n_fields, peer, HM_PEERS_MAX,
                                  &n_peers, &bulk, &n_bulk);
    assert(!refused || (!n_fields && !n_peers && !bulk && !n_bulk));
    if (!refused) {
        uint8_t *made = malloc(hm_hello_bound(field, n_fields, n_peers, n_bulk));
        assert(made);
        size_t made_n = hm_hello_encode(field, n_fields, peer, n_peers, bulk, n_bulk, made);
        wire_check_same(made, made_n, bytes, n);
        free(made);
    }
    free(copy);
    return !refused;
}

#endif
