/* The checks of a DELTA and of a snapshot's vector: what the cumulative digests do not cover, a
 * damaged byte may not change either. */
#include "protocol/wire.h"

#include <xxhash.h>

enum { FIELDS_BYTES = 58 };

static void put_u32(struct hm_writer *w, uint32_t x)
{
    for (unsigned i = 0; i < 4; i++)
        hm_put_u8(w, (uint8_t)(x >> 8 * i));
}

/* In the order of the header, each in its width: the widths on the wire, and the sender's life,
 * depend on who writes. */
static size_t put_fields(const struct hm_delta_head *head, uint8_t out[FIELDS_BYTES])
{
    struct hm_writer w = hm_writer_of(out, FIELDS_BYTES);
    hm_put_u64(&w, head->stream);
    put_u32(&w, head->lo);
    put_u32(&w, head->hi);
    put_u32(&w, head->flush);
    hm_put_u8(&w, head->last_piece);
    hm_put_u64(&w, head->digest);
    hm_put_u64(&w, head->steps);
    hm_put_u8(&w, head->encoding);
    put_u32(&w, head->block);
    put_u32(&w, head->n_blocks);
    put_u32(&w, head->n_nonzero);
    put_u32(&w, head->raw_n);
    put_u32(&w, head->vectors_n);
    return (size_t)(w.at - out);
}

/* The payload first, so that no state is needed: its hash is the seed of the fields'. */
uint64_t hm_delta_check(const struct hm_delta_head *head, const uint8_t *payload, size_t n)
{
    uint8_t fields[FIELDS_BYTES];
    size_t fields_n = put_fields(head, fields);
    assert(fields_n == FIELDS_BYTES);
    return XXH64(fields, fields_n, XXH64(payload, n, 0));
}

uint64_t hm_snapshot_id(const uint8_t *payload, size_t n)
{
    uint64_t id = XXH64(payload, n, 0);
    return id ? id : 1;
}
