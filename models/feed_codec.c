#include "models/feed_codec.h"

#include <assert.h>
#include <string.h>

enum { VARINT32_MAX = 5 };

struct in {
    const uint8_t *at, *end;
    int bad;
};

static inline uint8_t *put_varint(uint8_t *out, uint32_t x)
{
    for (; x >= 0x80; x >>= 7)
        *out++ = (uint8_t)(x | 0x80);
    *out++ = (uint8_t)x;
    return out;
}

static size_t varint_bytes(uint32_t x)
{
    size_t n = 1;
    for (; x >= 0x80; x >>= 7)
        n++;
    return n;
}

/* What goes beyond 32 bits or is not the shortest form is bad. */
static uint32_t get_long_varint(struct in *in, uint32_t x)
{
    for (unsigned shift = 7; in->at < in->end; shift += 7) {
        const uint32_t byte = *in->at++;
        if (shift == 28 && byte > 0xf)
            break;
        x |= (byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            in->bad |= !byte;
            return x;
        }
    }
    in->bad = 1;
    return 0;
}

static inline uint32_t get_varint(struct in *in)
{
    if (in->at == in->end) {
        in->bad = 1;
        return 0;
    }
    const uint32_t byte = *in->at++;
    return byte & 0x80 ? get_long_varint(in, byte & 0x7f) : byte;
}

static struct in in_of(const uint8_t *bytes, size_t n)
{
    return (struct in){bytes, n ? bytes + n : bytes, 0};
}

static size_t left(const struct in *in)
{
    return (size_t)(in->end - in->at);
}

/* ---- words ---- */

size_t hm_feed_words_bound(size_t n_ids)
{
    return VARINT32_MAX + n_ids * HM_FEED_ID_BYTES_MAX;
}

size_t hm_feed_put_words(const uint32_t *id, uint32_t n_ids, uint32_t mark, uint8_t *out)
{
    uint8_t *at = put_varint(out, n_ids);
    for (uint32_t i = 0; i < n_ids; i++)
        at = put_varint(at, id[i] == mark ? 0 : id[i] + 1);
    return (size_t)(at - out);
}

int hm_feed_get_words(const uint8_t *bytes, size_t n, uint32_t n_vocab, uint32_t *id, size_t room,
                      uint32_t *n_ids, uint32_t *n_words)
{
    struct in in = in_of(bytes, n);
    const uint32_t count = get_varint(&in);
    uint32_t marks = 0, last = 0;
    if (in.bad || count > room || count > left(&in))
        return -1;
    for (uint32_t i = 0; i < count && !in.bad; i++) {
        const uint32_t code = get_varint(&in);
        in.bad |= code > n_vocab || (!code && !last);
        id[i] = code ? code - 1 : n_vocab;
        marks += !code;
        last = code;
    }
    *n_ids = count;
    *n_words = count - marks;
    return in.bad || left(&in) || !*n_words ? -1 : 0;
}

/* ---- rows ---- */

static uint32_t id_of(const struct hm_rows *rows, uint64_t k)
{
    return rows->id16 ? rows->id16[k] : rows->id32[k];
}

static size_t row_bytes(const struct hm_rows *rows, uint64_t r)
{
    const uint64_t from = rows->start[r], to = rows->start[r + 1];
    size_t n = varint_bytes((uint32_t)(2 * (to - from) + 1)) + (to - from) * sizeof(float);
    for (uint64_t k = from; k < to; k++)
        n += varint_bytes(k > from ? id_of(rows, k) - id_of(rows, k - 1) - 1 : id_of(rows, k));
    return n;
}

static uint8_t *put_row(const struct hm_rows *rows, uint64_t r, uint8_t *at)
{
    const uint64_t from = rows->start[r], to = rows->start[r + 1];
    at = put_varint(at, (uint32_t)(2 * (to - from)) + (rows->label[r] > 0));
    for (uint64_t k = from; k < to; k++)
        at = put_varint(at, k > from ? id_of(rows, k) - id_of(rows, k - 1) - 1 : id_of(rows, k));
    for (uint64_t k = from; k < to; k++) {
        uint32_t bits;
        memcpy(&bits, &rows->value[k], sizeof bits);
        for (int i = 0; i < 4; i++)
            *at++ = (uint8_t)(bits >> 8 * i);
    }
    return at;
}

size_t hm_feed_put_rows(const struct hm_rows *rows, uint64_t from, uint64_t most, uint8_t *out,
                        size_t room, uint64_t *taken)
{
    size_t bytes = VARINT32_MAX;
    *taken = 0;
    for (size_t next;
         *taken < most && (next = row_bytes(rows, from + *taken)) <= room && bytes <= room - next;
         ++*taken)
        bytes += next;
    if (!*taken)
        return 0;
    uint8_t *at = put_varint(out, (uint32_t)*taken);
    for (uint64_t r = from; r < from + *taken; r++)
        at = put_row(rows, r, at);
    return (size_t)(at - out);
}

/* Ascending, below n_features. */
static void get_ids(struct in *in, struct hm_feed_rows *rows, uint32_t n)
{
    uint64_t id = 0;
    for (uint32_t i = 0; i < n && !in->bad; i++) {
        id += (uint64_t)get_varint(in) + (i > 0);
        in->bad |= id >= rows->n_features;
        if (rows->id16)
            rows->id16[rows->n_nonzero + i] = (uint16_t)id;
        else
            rows->id32[rows->n_nonzero + i] = (uint32_t)id;
    }
}

static void get_values(struct in *in, float *value, uint32_t n)
{
    if (in->bad || left(in) / sizeof(float) < n) {
        in->bad = 1;
        return;
    }
    for (uint32_t i = 0; i < n; i++, in->at += 4) {
        const uint8_t *b = in->at;
        uint32_t bits =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        in->bad |= (bits >> 23 & 0xff) == 0xff; /* infinite, or no number */
        memcpy(&value[i], &bits, sizeof bits);
    }
}

int hm_feed_get_rows(const uint8_t *bytes, size_t n, struct hm_feed_rows *rows)
{
    struct in in = in_of(bytes, n);
    const uint32_t count = get_varint(&in);
    rows->n_rows = rows->n_nonzero = rows->start[0] = 0;
    if (in.bad || !count || count > rows->n_rows_max || count > left(&in))
        return -1;
    while (rows->n_rows < count) {
        const uint32_t head = get_varint(&in), n_nonzero = head >> 1;
        if (in.bad || n_nonzero > rows->longest || n_nonzero > left(&in) ||
            n_nonzero > rows->n_nonzero_max - rows->n_nonzero)
            return -1;
        get_ids(&in, rows, n_nonzero);
        get_values(&in, rows->value + rows->n_nonzero, n_nonzero);
        if (in.bad)
            return -1;
        rows->n_nonzero += n_nonzero;
        rows->label[rows->n_rows++] = head & 1 ? 1 : -1;
        rows->start[rows->n_rows] = rows->n_nonzero;
    }
    return left(&in) ? -1 : 0;
}

/* ---- images ---- */

size_t hm_feed_images_bytes(uint32_t n, size_t image_bytes)
{
    return varint_bytes(n) + (size_t)n * (1 + image_bytes);
}

void hm_feed_put_images(uint32_t n, uint8_t *out, uint8_t **label, uint8_t **pixel)
{
    *label = put_varint(out, n);
    *pixel = *label + n;
}

int hm_feed_get_images(const uint8_t *bytes, size_t n, uint32_t n_max, size_t image_bytes,
                       uint32_t *n_images, const uint8_t **label, const uint8_t **pixel)
{
    struct in in = in_of(bytes, n);
    const uint32_t count = get_varint(&in);
    if (in.bad || !count || count > n_max || left(&in) != (size_t)count * (1 + image_bytes))
        return -1;
    for (uint32_t i = 0; i < count; i++)
        if (in.at[i] >= HM_CLASSES)
            return -1;
    *n_images = count;
    *label = in.at;
    *pixel = in.at + count;
    return 0;
}
