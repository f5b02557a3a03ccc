#include "models/gunzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK_BYTES = 1 << 17, GZIP_WINDOW = 15 + 16 };

struct hm_gunzip {
    z_stream stream;
    int fd;
    int at_end;   /* of the file */
    int between;  /* members: the last one was complete */
    int finished; /* nothing more comes */
    uint64_t position;
    uint8_t chunk[CHUNK_BYTES];
};

struct hm_gunzip *hm_gunzip_open(int fd)
{
    struct hm_gunzip *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->fd = fd;
    /* The position is touched last: whoever gets NULL may go on reading. */
    if (inflateInit2(&g->stream, GZIP_WINDOW) == Z_OK && lseek(fd, 0, SEEK_SET) == 0)
        return g;
    hm_gunzip_close(g);
    return NULL;
}

/* Keeps what is left of the chunk in front and fills it up. */
static enum hm_status fill(struct hm_gunzip *g, struct hm_err *err)
{
    ssize_t n;
    if (g->stream.avail_in)
        memmove(g->chunk, g->stream.next_in, g->stream.avail_in);
    g->stream.next_in = g->chunk;
    do
        n = read(g->fd, g->chunk + g->stream.avail_in, CHUNK_BYTES - g->stream.avail_in);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return hm_fail(err, HM_EIO, "%s", strerror(errno));
    g->at_end = n == 0;
    g->position += (uint64_t)n;
    g->stream.avail_in += (uInt)n;
    return HM_OK;
}

/* After a member: another one, padding, or the end? */
static enum hm_status next_member(struct hm_gunzip *g, struct hm_err *err)
{
    while (g->stream.avail_in < 2 && !g->at_end) {
        enum hm_status status = fill(g, err);
        if (status != HM_OK)
            return status;
    }
    g->finished =
        g->stream.avail_in < 2 || g->stream.next_in[0] != 0x1F || g->stream.next_in[1] != 0x8B;
    g->between = 0;
    if (!g->finished)
        inflateReset(&g->stream);
    return HM_OK;
}

/* Inflates what the chunk holds, filling it first when it is empty. */
static enum hm_status inflate_more(struct hm_gunzip *g, struct hm_err *err)
{
    if (g->stream.avail_in == 0 && !g->at_end) {
        enum hm_status status = fill(g, err);
        if (status != HM_OK)
            return status;
    }
    int rc = inflate(&g->stream, Z_NO_FLUSH);
    if (rc == Z_MEM_ERROR)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    if (rc == Z_BUF_ERROR && g->at_end)
        return hm_fail(err, HM_ECORRUPT, "the gzip data is cut off");
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return hm_fail(err, HM_ECORRUPT, "damaged gzip data (%s)",
                       g->stream.msg ? g->stream.msg : "dictionary");
    g->between = rc == Z_STREAM_END;
    return HM_OK;
}

enum hm_status hm_gunzip_read(struct hm_gunzip *g, void *into, size_t room, size_t *n_read,
                              struct hm_err *err)
{
    uInt wanted = room < INT_MAX ? (uInt)room : INT_MAX;
    enum hm_status status = HM_OK;
    g->stream.next_out = into;
    g->stream.avail_out = wanted;
    while (g->stream.avail_out && !g->finished && status == HM_OK)
        status = g->between ? next_member(g, err) : inflate_more(g, err);
    *n_read = wanted - g->stream.avail_out;
    return status;
}

uint64_t hm_gunzip_position(const struct hm_gunzip *g)
{
    return g->position;
}

void hm_gunzip_close(struct hm_gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->stream);
    free(g);
}
