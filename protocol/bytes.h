/* Flat byte strings: the writer and the reader that payloads, vectors and configurations are made
 * with.
 *
 * Integers are little-endian; a varint is LEB128, at most ten bytes, shortest form required. The
 * reader never reads past its end: after the first failure it returns zeros and `bad` stays set, so
 * callers check once, at the end. The writer asserts its room: callers size buffers by the bound
 * functions of what they encode.
 */
#ifndef HM_PROTOCOL_BYTES_H
#define HM_PROTOCOL_BYTES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HM_VARINT_MAX = 10 };

struct hm_writer {
    uint8_t *at, *end;
};

struct hm_reader {
    const uint8_t *at, *end;
    int bad;
};

static inline struct hm_writer hm_writer_of(void *bytes, size_t room)
{
    return (struct hm_writer){bytes, room ? (uint8_t *)bytes + room : bytes};
}

static inline void hm_put_u8(struct hm_writer *w, uint8_t x)
{
    assert(w->at < w->end);
    *w->at++ = x;
}

static inline void hm_put_u64(struct hm_writer *w, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        hm_put_u8(w, (uint8_t)(x >> (8 * i)));
}

static inline void hm_put_varint(struct hm_writer *w, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        hm_put_u8(w, (uint8_t)(x | 0x80));
    hm_put_u8(w, (uint8_t)x);
}

static inline void hm_put_bytes(struct hm_writer *w, const void *bytes, size_t n)
{
    assert((size_t)(w->end - w->at) >= n);
    if (n)
        memcpy(w->at, bytes, n);
    w->at += n;
}

/* A varint length, then the bytes. */
static inline void hm_put_string(struct hm_writer *w, const void *bytes, size_t n)
{
    hm_put_varint(w, n);
    hm_put_bytes(w, bytes, n);
}

/* No bytes may be NULL: an empty frame often is. */
static inline struct hm_reader hm_reader_of(const void *bytes, size_t n)
{
    return (struct hm_reader){bytes, n ? (const uint8_t *)bytes + n : bytes, 0};
}

static inline size_t hm_reader_left(const struct hm_reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline uint8_t hm_get_u8(struct hm_reader *r)
{
    if (r->bad || r->at == r->end) {
        r->bad = 1;
        return 0;
    }
    return *r->at++;
}

static inline uint64_t hm_get_u64(struct hm_reader *r)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)hm_get_u8(r) << (8 * i);
    return r->bad ? 0 : x;
}

static inline uint64_t hm_get_varint(struct hm_reader *r)
{
    uint64_t x = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        uint8_t byte = hm_get_u8(r);
        if (shift == 63 && byte > 1)
            r->bad = 1;
        x |= (uint64_t)(byte & 0x7f) << (shift & 63);
        if (!(byte & 0x80)) {
            if (shift && !byte)
                r->bad = 1; /* not the shortest form */
            return r->bad ? 0 : x;
        }
    }
    r->bad = 1;
    return 0;
}

/* A pointer to the next n bytes within the reader's, or NULL. */
static inline const uint8_t *hm_get_bytes(struct hm_reader *r, size_t n)
{
    if (r->bad || hm_reader_left(r) < n) {
        r->bad = 1;
        return NULL;
    }
    const uint8_t *bytes = r->at;
    r->at += n;
    return bytes;
}

/* A string of at most n_max bytes without NUL, copied and terminated into out[n_max + 1]. */
static inline void hm_get_text(struct hm_reader *r, char *out, size_t n_max)
{
    uint64_t n = hm_get_varint(r);
    out[0] = 0;
    if (r->bad || n > n_max || n > hm_reader_left(r) || memchr(r->at, 0, (size_t)n)) {
        r->bad = 1;
        return;
    }
    memcpy(out, r->at, (size_t)n);
    out[n] = 0;
    r->at += n;
}

#endif
