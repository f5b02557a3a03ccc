#include "models/cache_file.h"
#include "models/input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { WAIT_MS = 20 };

/* ---- where the cache lies and what it must say ---- */

static int stat_source(XXH3_state_t *hash, const char *path, int *regular, struct hm_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        hm_input_hint(hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno)), path, err);
        return -1;
    }
    int64_t record[3] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    XXH3_128bits_update(hash, record, sizeof record);
    *regular &= S_ISREG(st.st_mode);
    return 0;
}

/* What the content depends on: the parameters, and size and time of every file. */
static int fingerprint(struct hm_cache *cache, const struct hm_cache_key *key, XXH3_state_t *hash,
                       int *regular, struct hm_err *err)
{
    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, key->parameters, key->n_parameters);
    *regular = 1;
    for (unsigned i = 0; i < key->n_files; i++)
        if (stat_source(hash, key->file[i], regular, err) != 0)
            return -1;
    XXH128_hash_t h = XXH3_128bits_digest(hash);
    cache->fingerprint[0] = h.low64;
    cache->fingerprint[1] = h.high64;
    return 0;
}

static void hash_path(XXH3_state_t *hash, const char *path)
{
    char real[PATH_MAX];
    const char *text = realpath(path, real) ? real : path;
    XXH3_128bits_update(hash, text, strlen(text) + 1);
}

/* What the name of a cache depends on, when it is not that of a single file read in the plain way.
 */
static uint64_t name_hash(const struct hm_cache_key *key, XXH3_state_t *hash)
{
    XXH3_128bits_reset(hash);
    for (unsigned i = 0; i < key->n_files; i++)
        hash_path(hash, key->file[i]);
    XXH3_128bits_update(hash, key->parameters, key->n_parameters);
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

static void put_places(struct hm_cache *cache, const struct hm_cache_key *key, uint64_t hash)
{
    const char *file = key->file[0], *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (key->plain)
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

enum hm_status hm_cache_find(struct hm_cache *cache, const struct hm_cache_key *key,
                             struct hm_err *err)
{
    int regular;
    *cache = (struct hm_cache){.lock_fd = -1};
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    int bad = fingerprint(cache, key, hash, &regular, err);
    if (!bad && regular)
        put_places(cache, key, name_hash(key, hash));
    XXH3_freeState(hash);
    return bad ? HM_EIO : HM_OK;
}

void hm_cache_forbid(struct hm_cache *cache)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++)
        cache->place[i][0] = 0;
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

enum hm_status hm_cache_publish(const char *place,
                                enum hm_status (*write)(void *context, int fd, struct hm_err *err),
                                void *context, struct hm_err *err)
{
    struct draft draft;
    enum hm_status status = open_draft(&draft, place, err);
    if (status == HM_OK)
        status = write(context, draft.fd, err);
    if (status == HM_OK)
        status = publish(&draft, place, err);
    close_draft(&draft);
    return status == HM_OK ? HM_OK : hm_context(err, status, "write %s", place);
}
