#include "models/input.h"

#include "models/gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HM_SMALL_BUFFERS /* for fuzzing, where a file is a kilobyte */
enum { BLOCK_BYTES = 1 << 12 };
#else
enum { BLOCK_BYTES = 1 << 20 };
#endif

struct hm_input {
    char *path;
    int fd;
    struct archive *
        archive; /* exactly one of these two, or neither for a plain file, whose read() is enough */
    struct hm_gunzip *gunzip;
    uint64_t position; /* of plain files */
    uint64_t size;
    uint64_t delivered; /* bytes handed out, for the message about what was good */
    int ended;
};

/* What libarchive met: a damaged file, or a failing disk? It reports its own findings as negative
 * or EILSEQ/EINVAL-like codes and passes errno through when a system call failed. */
static enum hm_status archive_status(struct archive *a)
{
    int code = archive_errno(a);
    if (code == ENOMEM)
        return HM_ENOMEM;
    return code == EIO || code == ESTALE || code == EISDIR || code == EACCES ? HM_EIO : HM_ECORRUPT;
}

static const char *archive_text(struct archive *a)
{
    const char *text = archive_error_string(a);
    return text ? text : "the archive cannot be read";
}

/* The magic number of a compressed file. libarchive takes a file cut off inside its header for
 * plain bytes; this is how we know better. */
static const char *compressed_name(const uint8_t *head, size_t n)
{
    static const struct {
        const char *name;
        uint8_t magic[6];
        size_t length;
    } known[] = {
        {"gzip", {0x1F, 0x8B}, 2},
        {"bzip2", {'B', 'Z', 'h'}, 3},
        {"xz", {0xFD, '7', 'z', 'X', 'Z', 0}, 6},
        {"zstd", {0x28, 0xB5, 0x2F, 0xFD}, 4},
        {"zip", {'P', 'K', 3, 4}, 4},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (n >= known[i].length && memcmp(head, known[i].magic, known[i].length) == 0)
            return known[i].name;
    return NULL;
}

static struct archive *new_reader(void)
{
    struct archive *a = archive_read_new();
    if (!a)
        return NULL;
    /* ARCHIVE_WARN (an external program is used) is as good as ARCHIVE_OK here. */
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_format_zip(a);
    archive_read_support_format_tar(a);
    archive_read_support_format_raw(a);
    return a;
}

/* Moves to the next regular file of the archive; *found = 0 at its end. */
static enum hm_status next_file(struct hm_input *input, int *found, struct hm_err *err)
{
    struct archive_entry *entry;
    for (;;) {
        int rc = archive_read_next_header(input->archive, &entry);
        *found = rc == ARCHIVE_OK || rc == ARCHIVE_WARN;
        if (rc == ARCHIVE_EOF)
            return HM_OK;
        if (!*found)
            return hm_fail(err, archive_status(input->archive), "%s: %s", input->path,
                           archive_text(input->archive));
        if (archive_entry_filetype(entry) == AE_IFREG)
            return HM_OK;
    }
}

static int is_raw(struct archive *a)
{
    return (archive_format(a) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_RAW;
}

/* A plain file leaves libarchive's hands here; what only looks plain is refused. */
static enum hm_status take_plain(struct hm_input *input, struct hm_err *err)
{
    uint8_t head[8];
    ssize_t n = pread(input->fd, head, sizeof head, 0);
    if (n < 0) /* a pipe: libarchive goes on reading it */
        return HM_OK;
    const char *name = compressed_name(head, (size_t)n);
    if (name)
        return hm_fail(
            err, HM_ECORRUPT,
            "%s: starts like a %s file but its header is damaged or cut off; fetch it again",
            input->path, name);
    if (lseek(input->fd, 0, SEEK_SET) != 0)
        return hm_fail(err, HM_EIO, "%s: %s", input->path, strerror(errno));
    archive_read_free(input->archive);
    input->archive = NULL;
    return HM_OK;
}

static enum hm_status take_gzip(struct hm_input *input)
{
    input->gunzip = hm_gunzip_open(input->fd);
    if (input->gunzip) { /* else libarchive goes on */
        archive_read_free(input->archive);
        input->archive = NULL;
    }
    return HM_OK;
}

static enum hm_status open_archive(struct hm_input *input, struct hm_err *err)
{
    input->archive = new_reader();
    if (!input->archive)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", input->path);
    if (archive_read_open_fd(input->archive, input->fd, BLOCK_BYTES) != ARCHIVE_OK)
        return hm_fail(err, archive_status(input->archive), "%s: %s", input->path,
                       archive_text(input->archive));
    int found;
    enum hm_status status = next_file(input, &found, err);
    if (status != HM_OK)
        return status;
    if (!found)
        return hm_fail(err, HM_EINPUT, "%s: the archive holds no file", input->path);
    if (is_raw(input->archive) && archive_filter_code(input->archive, 0) == ARCHIVE_FILTER_NONE)
        return take_plain(input, err);
    if (is_raw(input->archive) && archive_filter_count(input->archive) == 2 &&
        archive_filter_code(input->archive, 0) == ARCHIVE_FILTER_GZIP)
        return take_gzip(input);
    return HM_OK;
}

static enum hm_status open_file(struct hm_input *input, struct hm_err *err)
{
    struct stat st;
    input->fd = open(input->path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0)
        return hm_fail(err, HM_EIO, "%s: %s", input->path, strerror(errno));
    if (fstat(input->fd, &st) != 0)
        return hm_fail(err, HM_EIO, "%s: %s", input->path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return hm_fail(err, HM_EIO, "%s: is a folder; name a file in it", input->path);
    input->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    input->ended = S_ISREG(st.st_mode) && st.st_size == 0; /* nothing to recognise */
    return input->ended ? HM_OK : open_archive(input, err);
}

enum hm_status hm_input_open(struct hm_input **input, const char *path, struct hm_err *err)
{
    assert(input && path);
    *input = NULL;
    struct hm_input *in = calloc(1, sizeof *in);
    if (!in)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", path);
    in->fd = -1;
    in->path = strdup(path);
    enum hm_status status =
        in->path ? open_file(in, err) : hm_fail(err, HM_ENOMEM, "%s: out of memory", path);
    if (status == HM_OK)
        *input = in;
    else
        hm_input_close(in);
    return status;
}

enum hm_status hm_input_hint(enum hm_status status, const char *path, struct hm_err *err)
{
    struct stat st;
    if (status != HM_EIO || !err || stat(path, &st) == 0 || errno != ENOENT)
        return status;
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n,
             "; tools/get-data fetches published data (tools/get-data --list)");
    return status;
}

static enum hm_status read_plain(struct hm_input *input, void *into, size_t room, size_t *n_read,
                                 struct hm_err *err)
{
    ssize_t n;
    do
        n = read(input->fd, into, room);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return hm_fail(err, HM_EIO, "%s: %s after %llu bytes", input->path, strerror(errno),
                       (unsigned long long)input->delivered);
    input->position += (uint64_t)n;
    *n_read = (size_t)n;
    return HM_OK;
}

/* At the end of an archive's first file there must be no second one. */
static enum hm_status check_single(struct hm_input *input, struct hm_err *err)
{
    if (is_raw(input->archive))
        return HM_OK;
    int found;
    enum hm_status status = next_file(input, &found, err);
    if (status != HM_OK || !found)
        return status;
    return hm_fail(err, HM_EINPUT,
                   "%s: the archive holds several files; unpack it and name the one to read",
                   input->path);
}

static enum hm_status read_gzip(struct hm_input *input, void *into, size_t room, size_t *n_read,
                                struct hm_err *err)
{
    enum hm_status status = hm_gunzip_read(input->gunzip, into, room, n_read, err);
    if (status == HM_OK)
        return HM_OK;
    hm_context(err, status, "%s: after %llu bytes", input->path,
               (unsigned long long)(input->delivered + *n_read));
    *n_read = 0;
    return status;
}

static enum hm_status read_archive(struct hm_input *input, void *into, size_t room, size_t *n_read,
                                   struct hm_err *err)
{
    la_ssize_t n;
    do
        n = archive_read_data(input->archive, into, room);
    while (n == ARCHIVE_RETRY);
    if (n < 0)
        return hm_fail(err, archive_status(input->archive),
                       "%s: %s; the first %llu bytes were good, fetch or compress it again",
                       input->path, archive_text(input->archive),
                       (unsigned long long)input->delivered);
    *n_read = (size_t)n;
    return n == 0 ? check_single(input, err) : HM_OK;
}

enum hm_status hm_input_read(struct hm_input *input, void *into, size_t room, size_t *n_read,
                             struct hm_err *err)
{
    assert(input && into && n_read);
    assert(room > 0);
    *n_read = 0;
    if (input->ended)
        return HM_OK;
    enum hm_status status = input->archive  ? read_archive(input, into, room, n_read, err)
                            : input->gunzip ? read_gzip(input, into, room, n_read, err)
                                            : read_plain(input, into, room, n_read, err);
    input->ended = status != HM_OK || *n_read == 0;
    input->delivered += *n_read;
    return status;
}

uint64_t hm_input_position(const struct hm_input *input)
{
    if (input->gunzip)
        return hm_gunzip_position(input->gunzip);
    return input->archive ? (uint64_t)archive_filter_bytes(input->archive, -1) : input->position;
}

uint64_t hm_input_size(const struct hm_input *input)
{
    return input->size;
}

void hm_input_close(struct hm_input *input)
{
    if (!input)
        return;
    if (input->archive)
        archive_read_free(input->archive);
    hm_gunzip_close(input->gunzip);
    if (input->fd >= 0)
        close(input->fd);
    free(input->path);
    free(input);
}
