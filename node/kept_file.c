#include "node/kept_file.h"
#include "sparse/layout_field.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { READ_BYTES = 4 << 20, HEAD_BYTES = 64 };

static const char temporary_mark[] = ".tmp";

/* ---- writing ---- */

static void failed(struct hm_kept_writer *w, int error)
{
    if (!w->error)
        w->error = error ? error : EIO;
}

void hm_kept_begin(struct hm_kept_writer *w, const char *path, const char *kind)
{
    char head[HEAD_BYTES];
    *w = (struct hm_kept_writer){.n = 0};
    hm_hash_init(&w->hash);
    if (strlen(path) > HM_KEPT_PATH_MAX) {
        failed(w, ENAMETOOLONG);
        return;
    }
    snprintf(w->path, sizeof w->path, "%s", path);
    snprintf(w->temporary, sizeof w->temporary, "%s%s%d", w->path, temporary_mark, (int)getpid());
    w->file = fopen(w->temporary, "wbe");
    if (!w->file)
        failed(w, errno);
    else
        flock(fileno(w->file), LOCK_EX | LOCK_NB); /* where there are no locks nothing is cleaned */
    int n = snprintf(head, sizeof head, "hogmesh %s %d\n", kind, HM_KEPT_VERSION);
    hm_kept_put(w, head, (size_t)n);
}

void hm_kept_put(void *writer, const void *bytes, size_t n)
{
    struct hm_kept_writer *w = writer;
    if (w->error)
        return;
    hm_hash_update(&w->hash, bytes, n);
    w->n += n;
    if (fwrite(bytes, 1, n, w->file) != n)
        failed(w, errno);
}

/* The part of a path up to its last slash, "." when it has none. */
static void folder_of(const char *path, char folder[HM_KEPT_PATH_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path + 1) : 0;
    snprintf(folder, HM_KEPT_PATH_MAX + 1, "%.*s", n ? n : 1, n ? path : ".");
}

/* A rename is on the disk when its folder is. Some file systems know no such thing; there is
 * nothing to be done about it. */
static void sync_folder(const char *path)
{
    char folder[HM_KEPT_PATH_MAX + 1];
    folder_of(path, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* Where a file can have two names, it gets the second before it loses the first, so that the first
 * is never missing; elsewhere it moves. Returns errno, *moved tells. */
static int set_aside(const struct hm_kept_writer *w, const char *previous, int *moved)
{
    char second[HM_KEPT_PATH_MAX + 64];
    *moved = 0;
    snprintf(second, sizeof second, "%s%s%d", previous, temporary_mark, (int)getpid());
    unlink(second);
    if (link(w->path, second) == 0) {
        int error = rename(second, previous) == 0 ? 0 : errno;
        unlink(second); /* it stays when both are the same file already */
        return error;
    }
    *moved = rename(w->path, previous) == 0;
    return *moved || errno == ENOENT ? 0 : errno;
}

static void give_name(struct hm_kept_writer *w, const char *previous)
{
    int moved = 0, error = previous ? set_aside(w, previous, &moved) : 0;
    if (error) {
        failed(w, error);
        return;
    }
    if (rename(w->temporary, w->path) == 0)
        return;
    failed(w, errno);
    if (moved)
        rename(previous, w->path);
}

/* What is put is on the disk afterwards. */
static void end(struct hm_kept_writer *w)
{
    uint8_t digest[HM_HASH_BYTES];
    hm_hash_final(&w->hash, digest);
    if (!w->error && fwrite(digest, 1, sizeof digest, w->file) != sizeof digest)
        failed(w, errno);
    w->n += sizeof digest;
    if (!w->error && (fflush(w->file) || fsync(fileno(w->file))))
        failed(w, errno);
}

enum hm_status hm_kept_commit(struct hm_kept_writer *w, enum hm_status status, const char *previous,
                              struct hm_err *err)
{
    if (!status)
        end(w);
    if (w->file && fclose(w->file) != 0)
        failed(w, errno);
    if (!status && !w->error)
        give_name(w, previous);
    if (!status && !w->error) {
        sync_folder(w->path);
        return HM_OK;
    }
    if (w->file)
        unlink(w->temporary);
    if (status)
        return hm_context(err, status, "%s", w->path);
    return hm_fail(err, HM_EIO, "%s: cannot write: %s", w->path, strerror(w->error));
}

static int is_temporary(const char *entry, const char *name)
{
    size_t n = strlen(name), n_mark = sizeof temporary_mark - 1;
    const char *digits = entry + n + n_mark;
    return strncmp(entry, name, n) == 0 && strncmp(entry + n, temporary_mark, n_mark) == 0 &&
           *digits && strspn(digits, "0123456789") == strlen(digits);
}

/* A writer holds the lock of its file for as long as its process lives; a process id would also be
 * that of a stranger, or of one that is dead and not yet buried. */
static int is_abandoned(int folder, const char *entry)
{
    int fd = openat(folder, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int abandoned = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0)
        close(fd);
    return abandoned;
}

void hm_kept_clean(const char *path)
{
    char folder[HM_KEPT_PATH_MAX + 1];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    folder_of(path, folder);
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (is_temporary(entry->d_name, name) && is_abandoned(dirfd(dir), entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
}

/* ---- reading ---- */

static enum hm_status read_into(FILE *file, uint8_t *bytes, size_t n,
                                const struct hm_progress *progress, struct hm_err *err)
{
    for (size_t at = 0; at < n;) {
        size_t want = n - at < READ_BYTES ? n - at : READ_BYTES;
        size_t got = fread(bytes + at, 1, want, file);
        if (!got)
            return hm_fail(err, HM_EIO, "cannot read: %s",
                           ferror(file) ? strerror(errno) : "it became shorter meanwhile");
        at += got;
        if (hm_report(progress, "read", (double)at, (double)n, "B"))
            return hm_fail(err, HM_ESTOPPED, "stopped by request");
    }
    return HM_OK;
}

enum hm_status hm_kept_read(const char *path, const struct hm_progress *progress, uint8_t **bytes,
                            size_t *n, struct hm_err *err)
{
    *bytes = NULL;
    *n = 0;
    FILE *file = fopen(path, "rbe");
    long size = -1;
    if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
        if (file)
            fclose(file);
        return HM_EIO;
    }
    rewind(file);
    *bytes = malloc((size_t)size + 1);
    enum hm_status status = *bytes ? read_into(file, *bytes, (size_t)size, progress, err)
                                   : hm_fail(err, HM_ENOMEM, "no memory for %ld bytes", size);
    fclose(file);
    *n = (size_t)size;
    if (status) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* Length of "hogmesh KIND " when the bytes begin with it, else 0. */
static size_t head_of(const uint8_t *bytes, size_t n, const char *kind)
{
    char head[HEAD_BYTES];
    size_t n_head = (size_t)snprintf(head, sizeof head, "hogmesh %s ", kind);
    return n >= n_head && memcmp(bytes, head, n_head) == 0 ? n_head : 0;
}

int hm_kept_is(const uint8_t *bytes, size_t n, const char *kind)
{
    return head_of(bytes, n, kind) != 0;
}

static int holds_hash(const uint8_t *bytes, size_t n)
{
    uint8_t digest[HM_HASH_BYTES];
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, bytes, n - HM_HASH_BYTES);
    hm_hash_final(&hash, digest);
    return memcmp(digest, bytes + n - HM_HASH_BYTES, HM_HASH_BYTES) == 0;
}

enum hm_status hm_kept_open(const uint8_t *bytes, size_t n, const char *kind, const char *expected,
                            struct hm_reader *contents, struct hm_err *err)
{
    size_t at = head_of(bytes, n, kind);
    if (!at)
        return hm_fail(err, HM_EINPUT, "not a %s file (expected %s)", kind, expected);
    char version[HEAD_BYTES];
    size_t n_version = (size_t)snprintf(version, sizeof version, "%d\n", HM_KEPT_VERSION);
    if (n - at < n_version || memcmp(bytes + at, version, n_version) != 0)
        return hm_fail(err, HM_EINPUT,
                       "a %s file of another version of the format; this program reads version %d",
                       kind, HM_KEPT_VERSION);
    at += n_version;
    if (n < at + HM_HASH_BYTES)
        return hm_fail(err, HM_ECORRUPT, "the file is truncated after %zu bytes", n);
    if (!holds_hash(bytes, n))
        return hm_fail(err, HM_ECORRUPT,
                       "the file fails its checksum: it was truncated or altered");
    *contents = hm_reader_of(bytes + at, n - at - HM_HASH_BYTES);
    return HM_OK;
}

/* ---- contents ---- */

enum hm_status hm_kept_put_config(const struct hm_sink *sink, const struct hm_fields *config,
                                  const uint8_t *bulk, size_t bulk_n, struct hm_err *err)
{
    uint8_t *hello = malloc(hm_hello_bound(config->field, config->n, 0, bulk_n));
    if (!hello)
        return hm_fail(err, HM_ENOMEM, "no memory to write the configuration");
    hm_sink_string(sink, hello,
                   hm_hello_encode(config->field, config->n, NULL, 0, bulk, bulk_n, hello));
    free(hello);
    return HM_OK;
}

static enum hm_status adopt(const struct hm_field *field, size_t n, struct hm_fields *config,
                            struct hm_layout *layout, struct hm_err *err)
{
    enum hm_status status = hm_config_adopt(config, field, n, err);
    return status ? status : hm_fields_layout(config, layout, err);
}

enum hm_status hm_kept_get_config(struct hm_reader *r, struct hm_fields *config,
                                  struct hm_layout *layout, uint8_t **bulk, size_t *bulk_n,
                                  struct hm_err *err)
{
    size_t n_hello = (size_t)hm_get_varint(r), n_fields, n_peers;
    const uint8_t *hello = hm_get_bytes(r, n_hello), *from;
    struct hm_field *field = calloc(HM_FIELDS_MAX, sizeof *field);
    struct hm_peer_entry peer[1];
    *bulk = NULL;
    if (!field)
        return hm_fail(err, HM_ENOMEM, "no memory for the configuration");
    int bad = !hello || hm_hello_decode_kept(hello, n_hello, field, HM_FIELDS_MAX, &n_fields, peer,
                                             1, &n_peers, &from, bulk_n);
    enum hm_status status = bad ? hm_fail(err, HM_ECORRUPT, "malformed configuration")
                                : adopt(field, n_fields, config, layout, err);
    free(field);
    if (status)
        return status;
    *bulk = malloc(*bulk_n + 1);
    if (!*bulk)
        return hm_fail(err, HM_ENOMEM, "no memory for the configuration");
    if (*bulk_n)
        memcpy(*bulk, from, *bulk_n);
    return HM_OK;
}

void hm_kept_put_b(const struct hm_sink *sink, const uint32_t *b, size_t n)
{
    hm_sink_u64(sink, n);
    hm_sink_bytes(sink, b, n * sizeof b[0]);
}

enum hm_status hm_kept_get_b(struct hm_reader *r, const struct hm_layout *layout, uint32_t **b,
                             struct hm_err *err)
{
    size_t n = hm_layout_n(layout);
    uint64_t said = hm_get_u64(r);
    const uint8_t *bytes = hm_get_bytes(r, said == n ? n * sizeof **b : SIZE_MAX);
    *b = NULL;
    if (!bytes)
        return hm_fail(err, HM_ECORRUPT, "the weights do not fit the configuration");
    *b = malloc(n * sizeof **b + 1);
    if (!*b)
        return hm_fail(err, HM_ENOMEM, "no memory for the weights");
    memcpy(*b, bytes, n * sizeof **b);
    for (uint32_t block = 0; block < layout->n_blocks; block++) {
        uint64_t mask = hm_layout_block_mask(layout, block);
        for (unsigned j = 0; j < HM_BLOCK; j++)
            if (!(mask >> j & 1) && (*b)[(size_t)block * HM_BLOCK + j])
                return hm_fail(err, HM_ECORRUPT, "a weight stands where the layout has none");
    }
    return HM_OK;
}
