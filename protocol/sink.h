/* Where bytes go that are never in memory as a whole: the pieces of bytes.h, handed on one by one.
 * What a sink does with them is its own: a file, a hash, a block of memory. */
#ifndef HM_PROTOCOL_SINK_H
#define HM_PROTOCOL_SINK_H

#include "protocol/bytes.h"

struct hm_sink {
    void (*put)(void *context, const void *bytes /* [n] */, size_t n);
    void *context;
};

static inline void hm_sink_bytes(const struct hm_sink *sink, const void *bytes, size_t n)
{
    if (n)
        sink->put(sink->context, bytes, n);
}

static inline void hm_sink_u64(const struct hm_sink *sink, uint64_t x)
{
    uint8_t bytes[8];
    struct hm_writer w = hm_writer_of(bytes, sizeof bytes);
    hm_put_u64(&w, x);
    hm_sink_bytes(sink, bytes, sizeof bytes);
}

static inline void hm_sink_varint(const struct hm_sink *sink, uint64_t x)
{
    uint8_t bytes[HM_VARINT_MAX];
    struct hm_writer w = hm_writer_of(bytes, sizeof bytes);
    hm_put_varint(&w, x);
    hm_sink_bytes(sink, bytes, (size_t)(w.at - bytes));
}

/* A varint length, then the bytes. */
static inline void hm_sink_string(const struct hm_sink *sink, const void *bytes, size_t n)
{
    hm_sink_varint(sink, n);
    hm_sink_bytes(sink, bytes, n);
}

#endif
