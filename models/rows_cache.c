#include "models/rows_cache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { VERSION = 1, WAIT_MS = 20 };
#define MAGIC           "hmrows\r\n" /* the line end notices a transfer in text mode */
#define BYTE_ORDER_MARK 0x01020304u

/* Page 0 of the file, in the byte order of the machine; nothing lies between the fields. */
struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t fingerprint[2];
    uint64_t n_rows, n_nonzero, n_positive, order_hash;
    uint32_t n_features, id_bytes;
    uint64_t checksum[HM_SECTIONS]; /* XXH3 of every section */
    uint64_t self;                  /* XXH3 of the fields above */
};
_Static_assert(sizeof(struct header) == 120, "the header has no padding");
_Static_assert(sizeof(struct header) <= HM_IMAGE_ALIGN, "the header fits its page");

/* ---- where the cache lies and what it must say ---- */

static int stat_source(XXH3_state_t *hash, const char *path, int *regular, struct hm_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
        return -1;
    }
    int64_t record[3] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    XXH3_128bits_update(hash, record, sizeof record);
    *regular &= S_ISREG(st.st_mode);
    return 0;
}

static void hash_text(XXH3_state_t *hash, const char *text)
{
    const char *t = text ? text : "";
    XXH3_128bits_update(hash, t, strlen(t) + 1);
}

/* What the content of the rows depends on: size and time of every file, and the parameters. */
static int fingerprint(struct hm_cache *cache, const struct hm_rows_source *source,
                       XXH3_state_t *hash, int *regular, struct hm_err *err)
{
    XXH3_128bits_reset(hash);
    uint32_t numbers[3] = {VERSION, source->n_files, source->n_features};
    XXH3_128bits_update(hash, numbers, sizeof numbers);
    hash_text(hash, source->topic);
    *regular = 1;
    for (unsigned i = 0; i < source->n_files; i++)
        if (stat_source(hash, source->file[i], regular, err) != 0)
            return -1;
    if (source->topics && stat_source(hash, source->topics, regular, err) != 0)
        return -1;
    XXH128_hash_t h = XXH3_128bits_digest(hash);
    cache->fingerprint[0] = h.low64;
    cache->fingerprint[1] = h.high64;
    return 0;
}

static void hash_path(XXH3_state_t *hash, const char *path)
{
    char real[PATH_MAX];
    hash_text(hash, path && realpath(path, real) ? real : path);
}

/* What the name of a cache depends on, when it is not that of a single file read in the plain way.
 */
static uint64_t name_hash(const struct hm_rows_source *source, XXH3_state_t *hash)
{
    XXH3_128bits_reset(hash);
    for (unsigned i = 0; i < source->n_files; i++)
        hash_path(hash, source->file[i]);
    hash_path(hash, source->topics);
    hash_text(hash, source->topic);
    XXH3_128bits_update(hash, &source->n_features, sizeof source->n_features);
    return XXH3_128bits_digest(hash).low64;
}

static void put_path(char place[HM_CACHE_PATH_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A path that is too long is no place. */
static void put_path(char place[HM_CACHE_PATH_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(place, HM_CACHE_PATH_MAX, format, args);
    va_end(args);
    if (n < 0 || n >= HM_CACHE_PATH_MAX)
        place[0] = 0;
}

static void put_places(struct hm_cache *cache, const struct hm_rows_source *source, uint64_t hash)
{
    const char *file = source->file[0], *slash = strrchr(file, '/'),
               *base = slash ? slash + 1 : file;
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (source->n_files == 1 && !source->topics && !source->topic && !source->n_features)
        put_path(cache->place[0], "%s.hmcache", file);
    else
        put_path(cache->place[0], "%s.%08x.hmcache", file, (unsigned)hash);
    if (xdg && xdg[0] == '/')
        put_path(cache->place[1], "%s/hogmesh/%s.%016llx.hmcache", xdg, base,
                 (unsigned long long)hash);
    else if (home && home[0] == '/')
        put_path(cache->place[1], "%s/.cache/hogmesh/%s.%016llx.hmcache", home, base,
                 (unsigned long long)hash);
}

enum hm_status hm_cache_find(struct hm_cache *cache, const struct hm_rows_source *source,
                             struct hm_err *err)
{
    int regular;
    *cache = (struct hm_cache){.lock_fd = -1};
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    int bad = fingerprint(cache, source, hash, &regular, err);
    if (!bad && regular)
        put_places(cache, source, name_hash(source, hash));
    XXH3_freeState(hash);
    return bad ? HM_EIO : HM_OK;
}

/* ---- reading ---- */

static uint64_t header_hash(const struct header *h)
{
    return XXH3_64bits(h, offsetof(struct header, self));
}

static int is_current(const struct hm_cache *cache, const struct header *h)
{
    return memcmp(h->magic, MAGIC, 8) == 0 && h->version == VERSION &&
           h->byte_order == BYTE_ORDER_MARK && h->self == header_hash(h) &&
           memcmp(h->fingerprint, cache->fingerprint, sizeof h->fingerprint) == 0;
}

/* Everything is checked, so that what is mapped is what was written: no flipped bit can change a
 * result or make an index leave its array. For RCV1's 359 MB in the page cache that takes 31 ms, of
 * which 18 go into mapping the pages, which training would have to pay for anyway. */
static int is_sound(const struct header *h, const struct hm_image *image, const uint8_t *base)
{
    for (int s = 0; s < HM_SECTIONS; s++)
        if (XXH3_64bits(base + image->at[s], image->bytes[s]) != h->checksum[s])
            return 0;
    return 1;
}

/* The image of a file of that size, from counts that nobody has checked: what is more than the file
 * could hold never gets into a sum, which it might make wrap around. */
static int image_of(const struct header *h, uint64_t size, struct hm_image *image)
{
    if (h->n_rows > size || h->n_nonzero > size || h->n_features > HM_FEATURES_MAX)
        return -1;
    *image = hm_image_layout(h->n_rows, h->n_nonzero, h->n_features);
    return image->total == size && image->id_bytes == h->id_bytes ? 0 : -1;
}

static int map_image(int fd, const struct header *h, struct hm_rows *rows)
{
    struct hm_image image;
    struct stat st;
    if (fstat(fd, &st) != 0 || image_of(h, (uint64_t)st.st_size, &image) != 0)
        return -1;
    void *base = mmap(NULL, image.total, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    if (!is_sound(h, &image, base)) {
        munmap(base, image.total);
        return -1;
    }
    hm_image_view(rows, &image, base);
    rows->n_positive = h->n_positive;
    rows->order_hash = h->order_hash;
    rows->map_is_file = 1;
    return 0;
}

static int load(const struct hm_cache *cache, const char *place, struct hm_rows *rows)
{
    struct header h;
    int fd = open(place, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int bad = pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || !is_current(cache, &h) ||
              map_image(fd, &h, rows) != 0;
    close(fd);
    return bad ? -1 : 0;
}

const char *hm_cache_load(const struct hm_cache *cache, struct hm_rows *rows)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++)
        if (cache->place[i][0] && load(cache, cache->place[i], rows) == 0)
            return cache->place[i];
    return NULL;
}

/* ---- the right to build ---- */

static void folder_of(const char *place, char folder[HM_CACHE_PATH_MAX])
{
    snprintf(folder, HM_CACHE_PATH_MAX, "%s", place);
    char *slash = strrchr(folder, '/');
    if (!slash)
        strcpy(folder, ".");
    else
        slash[slash == folder] = 0;
}

static void make_parents(const char *path)
{
    char folder[HM_CACHE_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *p = folder + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(folder,
              0700); /* fails where it exists; what matters is whether the file can be made in it */
        *p = '/';
    }
}

/* root may write anywhere; a folder whose mode forbids writing to all is left alone all the same.
 */
static int is_writable(const char *place)
{
    char folder[HM_CACHE_PATH_MAX];
    struct stat st;
    folder_of(place, folder);
    return stat(folder, &st) == 0 && (st.st_mode & 0222) && access(folder, W_OK | X_OK) == 0;
}

static const char *writable_place(const struct hm_cache *cache)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++) {
        if (!cache->place[i][0])
            continue;
        if (i > 0)
            make_parents(cache->place[i]);
        if (is_writable(cache->place[i]))
            return cache->place[i];
    }
    return NULL;
}

/* The holder removes the lock file before it lets go; whoever waited on the removed one starts
 * over. */
static int is_same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* One try: 1 locked, 0 held by another, -1 locks do not work here. */
static int try_lock(struct hm_cache *cache)
{
    if (cache->lock_fd < 0)
        cache->lock_fd = open(cache->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (cache->lock_fd < 0)
        return -1;
    int got = flock(cache->lock_fd, LOCK_EX | LOCK_NB) == 0;
    if (!got && errno != EWOULDBLOCK && errno != EINTR)
        return -1;
    if (is_same_file(cache->lock_fd, cache->lock_path))
        return got;
    close(cache->lock_fd);
    cache->lock_fd = -1;
    return 0;
}

enum hm_status hm_cache_lock(struct hm_cache *cache, const struct hm_progress *progress,
                             const char **place, struct hm_err *err)
{
    *place = writable_place(cache);
    if (!*place)
        return HM_OK;
    snprintf(cache->lock_path, sizeof cache->lock_path, "%s.lock", *place);
    for (int locked; (locked = try_lock(cache)) != 1;) {
        if (locked <
            0) { /* as on some network file systems: build unlocked, temporary names are unique */
            hm_cache_unlock(cache);
            return HM_OK;
        }
        if (hm_report(progress, "wait for another process that reads the same files", 0, 0, ""))
            return hm_fail(err, HM_ESTOPPED,
                           "stopped while waiting for another process to read the same files");
        pause_ms(WAIT_MS);
    }
    return HM_OK;
}

void hm_cache_unlock(struct hm_cache *cache)
{
    if (cache->lock_fd < 0)
        return;
    if (is_same_file(cache->lock_fd, cache->lock_path))
        unlink(cache->lock_path);
    close(cache->lock_fd);
    cache->lock_fd = -1;
}

/* ---- writing ---- */

/* The file in the making: without a name where the file system can (a killed process then leaves
 * nothing), else under a temporary one. */
struct draft {
    int fd;
    char name[HM_CACHE_PATH_MAX + 32]; /* empty: it has none yet */
};

static enum hm_status open_draft(struct draft *draft, const char *place, struct hm_err *err)
{
    char folder[HM_CACHE_PATH_MAX];
    folder_of(place, folder);
    draft->name[0] = 0;
    draft->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
    if (draft->fd >= 0)
        return HM_OK;
    snprintf(draft->name, sizeof draft->name, "%s.tmp.XXXXXX", place);
    draft->fd = mkostemp(draft->name, O_CLOEXEC);
    if (draft->fd >= 0 && fchmod(draft->fd, 0644) == 0)
        return HM_OK;
    return hm_fail(err, HM_EIO, "%s: %s", draft->name, strerror(errno));
}

/* Gives a nameless draft a name that nobody else has. */
static int name_draft(struct draft *draft, const char *place)
{
    char self[64];
    struct timespec t;
    snprintf(self, sizeof self, "/proc/self/fd/%d", draft->fd);
    for (int i = 0; i < 100; i++) {
        clock_gettime(CLOCK_REALTIME, &t);
        snprintf(draft->name, sizeof draft->name, "%s.tmp.%d.%ld", place, (int)getpid(), t.tv_nsec);
        if (linkat(AT_FDCWD, self, AT_FDCWD, draft->name, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    draft->name[0] = 0;
    return -1;
}

/* Not synced to the disk: after a power cut the checksums tell, and the cache is built again. */
static enum hm_status publish(struct draft *draft, const char *place, struct hm_err *err)
{
    if ((draft->name[0] || name_draft(draft, place) == 0) && rename(draft->name, place) == 0)
        draft->name[0] = 0;
    else
        return hm_fail(err, HM_EIO, "%s: %s", place, strerror(errno));
    return HM_OK;
}

static void close_draft(struct draft *draft)
{
    if (draft->fd >= 0)
        close(draft->fd);
    if (draft->name[0])
        unlink(draft->name);
}

static enum hm_status write_header(const struct hm_cache *cache,
                                   const struct hm_rows_builder *builder,
                                   const struct hm_builder_plan *plan,
                                   const struct hm_image_writer *writer, struct hm_err *err)
{
    const struct hm_image *image = &plan->image;
    struct header h = {
        .magic = MAGIC,
        .version = VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .n_rows = image->n_rows,
        .n_nonzero = image->n_nonzero,
        .n_positive = builder->n_positive,
        .order_hash = hm_order_hash(plan->order, image->n_features),
        .n_features = image->n_features,
        .id_bytes = image->id_bytes,
    };
    memcpy(h.fingerprint, cache->fingerprint, sizeof h.fingerprint);
    memcpy(h.checksum, writer->checksum, sizeof h.checksum);
    h.self = header_hash(&h);
    if (pwrite(writer->fd, &h, sizeof h, 0) != (ssize_t)sizeof h)
        return hm_fail(err, HM_EIO, "%s", strerror(errno));
    return HM_OK;
}

static enum hm_status write_draft(const struct hm_cache *cache, int fd,
                                  const struct hm_rows_builder *builder,
                                  const struct hm_builder_plan *plan,
                                  const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_image_writer writer;
    enum hm_status status = hm_image_to_file(&writer, &plan->image, fd, err);
    if (status != HM_OK)
        return status;
    status = hm_builder_write(builder, plan, &writer, progress, err);
    if (status == HM_OK)
        status = hm_image_finish(&writer, NULL, err);
    if (status == HM_OK)
        status = write_header(cache, builder, plan, &writer, err);
    hm_image_fini(&writer);
    return status;
}

enum hm_status hm_cache_write(const struct hm_cache *cache, const char *place,
                              const struct hm_rows_builder *builder,
                              const struct hm_builder_plan *plan,
                              const struct hm_progress *progress, struct hm_err *err)
{
    struct draft draft;
    enum hm_status status = open_draft(&draft, place, err);
    if (status == HM_OK)
        status = write_draft(cache, draft.fd, builder, plan, progress, err);
    if (status == HM_OK)
        status = publish(&draft, place, err);
    close_draft(&draft);
    return status == HM_OK ? HM_OK : hm_context(err, status, "write %s", place);
}
