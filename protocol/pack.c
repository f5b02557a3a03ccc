/* The bodies of DELTA and CHUNK: the codec's bytes, and LZ4 around them where that pays. */
#include "protocol/wire.h"

#include <assert.h>
#include <lz4.h>
#include <string.h>

enum {
    LZ4_RATIO_MAX = 255, /* no LZ4 block expands by more, */
    LZ4_SLACK = 64,      /* but for the literals at its end */
    KEEP_PERCENT = 97,   /* LZ4 stays when it leaves at most so much */
};

size_t hm_pack_bound(size_t listed, size_t range)
{
    return hm_encode_bound(listed, range);
}

size_t hm_pack(const struct hm_kernels *kernels, const struct hm_delta *delta, uint32_t block,
               uint32_t n_blocks, uint8_t *out, uint8_t *scratch, uint8_t *encoding,
               uint32_t *raw_n)
{
    *encoding = HM_PACKED;
    *raw_n = 0;
    if (delta->n_blocks == 0)
        return 0;
    size_t packed_n = kernels->encode(delta, block, block + n_blocks, scratch);
    assert(packed_n > 0);
    assert(packed_n <= HM_RAW_MAX);
    *raw_n = (uint32_t)packed_n;
    /* We offer the room that LZ4 may use at most; it gives up by itself where it does not pay. */
    int room = (int)(packed_n * KEEP_PERCENT / 100);
    int kept_n = LZ4_compress_default((const char *)scratch, (char *)out, (int)packed_n, room);
    if (kept_n > 0) {
        *encoding = HM_PACKED_LZ4;
        return (size_t)kept_n;
    }
    memcpy(out, scratch, packed_n);
    return packed_n;
}

/* The packed bytes of a body, as long as the head says, or NULL. */
static const uint8_t *packed_bytes(const struct hm_delta_head *head, const uint8_t *body,
                                   size_t body_n, uint8_t *scratch)
{
    if (body_n > HM_PAYLOAD_MAX || head->raw_n > HM_RAW_MAX)
        return NULL;
    if (head->encoding == HM_PACKED)
        return body_n == head->raw_n ? body : NULL;
    if (head->encoding != HM_PACKED_LZ4 || head->raw_n > LZ4_RATIO_MAX * body_n + LZ4_SLACK)
        return NULL;
    int n = LZ4_decompress_safe((const char *)body, (char *)scratch, (int)body_n, (int)head->raw_n);
    return n == (int)head->raw_n ? scratch : NULL;
}

/* Only between rows and behind a tensor's last row is there padding. */
static int may_be_padded(const struct hm_tensor *tensor, uint32_t block)
{
    return tensor->stride != tensor->cols || block + 1 == tensor->block + tensor->n_blocks;
}

static int padding_is_zero(const struct hm_delta *delta, const struct hm_layout *layout)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++) {
        if (!may_be_padded(hm_layout_tensor_of(layout, delta->block[i]), delta->block[i]))
            continue;
        uint64_t padding = ~hm_layout_block_mask(layout, delta->block[i]);
        int32_t any = 0;
        for (; padding; padding &= padding - 1)
            any |= delta->q[i][__builtin_ctzll(padding)];
        if (any)
            return 0;
    }
    return 1;
}

static int unpack(const struct hm_kernels *kernels, const struct hm_layout *layout,
                  const struct hm_delta_head *head, const uint8_t *body, size_t body_n,
                  uint8_t *scratch, struct hm_delta *out)
{
    if ((uint64_t)head->block + head->n_blocks > layout->n_blocks || head->n_blocks > out->capacity)
        return -1;
    if (head->n_nonzero == 0)
        return body_n == 0 && head->raw_n == 0 && head->encoding == HM_PACKED ? 0 : -1;
    const uint8_t *packed = packed_bytes(head, body, body_n, scratch);
    if (!packed ||
        kernels->decode(packed, head->raw_n, head->block, head->block + head->n_blocks, out))
        return -1;
    return out->n_nonzero == head->n_nonzero && padding_is_zero(out, layout) ? 0 : -1;
}

int hm_unpack(const struct hm_kernels *kernels, const struct hm_layout *layout,
              const struct hm_delta_head *head, const uint8_t *body, size_t body_n,
              uint8_t *scratch, struct hm_delta *out)
{
    out->n_blocks = out->n_nonzero = 0;
    int status = unpack(kernels, layout, head, body, body_n, scratch, out);
    if (status)
        out->n_blocks = out->n_nonzero = 0;
    return status;
}

/* ---- chunks of snapshots ---- */

/* Appends block `from` of b unless it is all zero; -1 when a value is out of range. */
static int list_block(struct hm_delta *delta, const uint32_t *b, uint32_t block)
{
    const uint32_t *from = b + (size_t)block * HM_BLOCK;
    uint32_t n = 0;
    int32_t *q = delta->q[delta->n_blocks];
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        q[j] = (int32_t)from[j];
        if (q[j] > 2 * HM_RANGE || q[j] < -2 * HM_RANGE)
            return -1;
        n += q[j] != 0;
    }
    if (n)
        delta->block[delta->n_blocks++] = block;
    delta->n_nonzero += n;
    return 0;
}

long hm_pack_chunk(const struct hm_kernels *kernels, const uint32_t *b, uint32_t block,
                   uint32_t n_blocks, uint8_t *out, uint8_t *scratch, struct hm_delta *delta,
                   struct hm_chunk_head *head)
{
    assert(n_blocks <= HM_CHUNK_BLOCKS_MAX);
    assert(n_blocks <= delta->capacity);
    delta->n_blocks = delta->n_nonzero = 0;
    for (uint32_t i = block; i < block + n_blocks; i++)
        if (list_block(delta, b, i))
            return -1;
    head->n_nonzero = delta->n_nonzero;
    return (long)hm_pack(kernels, delta, block, n_blocks, out, scratch, &head->encoding,
                         &head->raw_n);
}

int hm_unpack_chunk(const struct hm_kernels *kernels, const struct hm_layout *layout,
                    const struct hm_chunk_head *head, const uint8_t *body, size_t body_n,
                    uint32_t block, uint32_t n_blocks, uint8_t *scratch, struct hm_delta *delta,
                    uint32_t *b)
{
    struct hm_delta_head as_delta = {.encoding = head->encoding,
                                     .block = block,
                                     .n_blocks = n_blocks,
                                     .n_nonzero = head->n_nonzero,
                                     .raw_n = head->raw_n};
    if (hm_unpack(kernels, layout, &as_delta, body, body_n, scratch, delta))
        return -1;
    memset(b + (size_t)block * HM_BLOCK, 0, (size_t)n_blocks * HM_BLOCK * sizeof *b);
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        memcpy(b + (size_t)delta->block[i] * HM_BLOCK, delta->q[i], sizeof delta->q[i]);
    return 0;
}
