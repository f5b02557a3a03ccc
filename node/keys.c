#include "node/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Numbers of the subkeys; the context keeps them apart from what else may be made of a secret. */
enum { SUBKEY_SERVER = 1, SUBKEY_CLIENT = 2, SUBKEY_FINGERPRINT = 3, SUBKEY_ANNOUNCE = 4 };

#define CONTEXT "hogmesh1"

static const char family[] = "hogmesh key file ", version[] = "1";
static const char introduction[] =
    "# Whoever has this file is in the mesh: keep it secret, mode 600, and copy it to every node.\n"
    "# A node listens with the first key and dials with each; see 'hogmesh keygen --help'.\n"
    "# A line is: key FINGERPRINT SECRET.\n";

_Static_assert(sizeof CONTEXT - 1 == crypto_kdf_CONTEXTBYTES, "libsodium's contexts");
_Static_assert(HM_KEY_BYTES == crypto_kdf_KEYBYTES, "a secret is a master key of libsodium");
_Static_assert(HM_KEY_BYTES == crypto_scalarmult_BYTES, "CURVE's keys are points of Curve25519");

/* ---- deriving ---- */

void hm_key_derive(struct hm_key *key)
{
    uint8_t digest[crypto_kdf_BYTES_MIN];
    crypto_kdf_derive_from_key(key->server_secret, HM_KEY_BYTES, SUBKEY_SERVER, CONTEXT,
                               key->secret);
    crypto_kdf_derive_from_key(key->client_secret, HM_KEY_BYTES, SUBKEY_CLIENT, CONTEXT,
                               key->secret);
    crypto_scalarmult_base(key->server_public, key->server_secret);
    crypto_scalarmult_base(key->client_public, key->client_secret);
    crypto_kdf_derive_from_key(digest, sizeof digest, SUBKEY_FINGERPRINT, CONTEXT, key->secret);
    sodium_bin2hex(key->fingerprint, sizeof key->fingerprint, digest, HM_FINGERPRINT_DIGITS / 2);
}

void hm_key_announce(const struct hm_key *key, uint8_t out[HM_KEY_BYTES])
{
    crypto_kdf_derive_from_key(out, HM_KEY_BYTES, SUBKEY_ANNOUNCE, CONTEXT, key->secret);
}

void hm_keys_wipe(struct hm_keys *keys)
{
    sodium_memzero(keys, sizeof *keys);
}

static enum hm_status draw(struct hm_key *key, struct hm_err *err)
{
    if (getrandom(key->secret, sizeof key->secret, 0) != sizeof key->secret)
        return hm_fail(err, HM_EIO, "the system gives no random numbers");
    hm_key_derive(key);
    return HM_OK;
}

/* ---- reading ---- */

/* Whose file it is and who may read it. */
static enum hm_status check_owner(const struct stat *st, const char *path, struct hm_err *err)
{
    if (!S_ISREG(st->st_mode))
        return hm_fail(err, HM_EINPUT, "%s is not a file; a key file is expected", path);
    if (st->st_uid != geteuid())
        return hm_fail(
            err, HM_EINPUT,
            "%s belongs to user %u, and you are %u: whoever owns a key file could change "
            "it; take a copy of your own (cp, then chmod 600)",
            path, (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & 077)
        return hm_fail(
            err, HM_EINPUT,
            "%s has mode %03o: others may read or change the key; run 'chmod 600 %s', and "
            "if anybody else could have read it, make a new one",
            path, (unsigned)(st->st_mode & 0777), path);
    return HM_OK;
}

/* The text of a file, NUL-terminated, into text[HM_KEY_FILE_MAX + 2]; *n starts at 0. */
static enum hm_status read_text(char *text, size_t *n, const char *path, struct hm_err *err)
{
    /* O_NONBLOCK: opening a pipe would wait for its other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP)
        return hm_fail(
            err, HM_EINPUT,
            "%s is a symbolic link, which somebody else may turn elsewhere; name the file "
            "itself",
            path);
    if (fd < 0)
        return hm_fail(err, HM_EIO, "%s: %s%s", path, strerror(errno),
                       errno == ENOENT
                           ? "; copy the mesh's key file here, or make the first one with "
                             "'hogmesh keygen FILE'"
                           : "");
    struct stat st;
    enum hm_status status = fstat(fd, &st) == 0
                                ? check_owner(&st, path, err)
                                : hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    for (ssize_t got = 1; !status && got > 0 && *n <= HM_KEY_FILE_MAX; *n += (size_t)got) {
        got = read(fd, text + *n, HM_KEY_FILE_MAX + 1 - *n);
        if (got < 0)
            status = hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
        got = got < 0 ? 0 : got;
    }
    close(fd);
    if (!status && *n > HM_KEY_FILE_MAX)
        return hm_fail(err, HM_EINPUT, "%s is longer than %d bytes: it is not a key file", path,
                       HM_KEY_FILE_MAX);
    text[*n] = 0;
    return status;
}

/* What is read, line by line. */
struct lines {
    const char *path;
    unsigned number;  /* of the line, from 1 */
    int began, ended; /* the first line, the last line was met */
};

static enum hm_status bad(const struct lines *at, struct hm_err *err, const char *what)
{
    return hm_fail(err, HM_EINPUT, "%s: line %u: %s", at->path, at->number, what);
}

/* A line of another program's, or of a damaged file, must not get into logs: it may be a secret. So
 * what is wrong is told by its place. */
static enum hm_status check_characters(const struct lines *at, const char *line, size_t n,
                                       struct hm_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] < ' ' || line[i] > '~')
            return hm_fail(
                err, HM_EINPUT,
                "%s: line %u: character %zu is 0x%02x; only printable ASCII is expected%s",
                at->path, at->number, i + 1, (unsigned)(uint8_t)line[i],
                line[i] == '\r' ? ", and lines that end in a line feed alone: convert it "
                                  "with 'dos2unix', or copy it as binary"
                                : "");
    return HM_OK;
}

static enum hm_status check_first(struct lines *at, const char *line, size_t n, struct hm_err *err)
{
    const size_t n_family = sizeof family - 1;
    at->began = 1;
    if (n < n_family || memcmp(line, family, n_family) != 0)
        return hm_fail(err, HM_EINPUT,
                       "%s: line 1: 'hogmesh key file 1' is expected; this is no key file of "
                       "'hogmesh keygen'",
                       at->path);
    if (n != n_family + 1 || line[n_family] != version[0])
        return hm_fail(err, HM_EINPUT,
                       "%s: line 1: format %.*s; this program reads format 1: install the same "
                       "version everywhere, or make a new key with this one",
                       at->path, n - n_family < 20 ? (int)(n - n_family) : 20, line + n_family);
    return HM_OK;
}

/* So many lower-case hexadecimal digits, and no more. */
static int take_hex(const char *text, size_t n_digits, uint8_t *out)
{
    return strspn(text, "0123456789abcdef") == n_digits &&
           sodium_hex2bin(out, n_digits / 2, text, n_digits, NULL, NULL, NULL) == 0;
}

/* "key FINGERPRINT SECRET", NUL-terminated. */
static enum hm_status take_key(const struct lines *at, const char *line, struct hm_keys *keys,
                               struct hm_err *err)
{
    uint8_t digest[HM_FINGERPRINT_DIGITS / 2];
    const char *fingerprint = line + 4, *secret = fingerprint + HM_FINGERPRINT_DIGITS + 1;
    if (keys->n == HM_KEYS_MAX)
        return hm_fail(err, HM_EINPUT,
                       "%s: line %u: more than %d keys; take old ones out with 'hogmesh keygen "
                       "--revoke'",
                       at->path, at->number, HM_KEYS_MAX);
    struct hm_key *key = &keys->key[keys->n++];
    if (!take_hex(fingerprint, HM_FINGERPRINT_DIGITS, digest))
        return bad(at, err,
                   "a fingerprint of 16 lower-case hexadecimal digits is expected after 'key '");
    if (secret[-1] != ' ' || !take_hex(secret, 2 * HM_KEY_BYTES, key->secret) ||
        secret[2 * HM_KEY_BYTES])
        return bad(
            at, err,
            "a space and a secret of 64 lower-case hexadecimal digits are expected after the "
            "fingerprint; copy the file again from a node that has it whole");
    hm_key_derive(key);
    if (strncmp(key->fingerprint, fingerprint, HM_FINGERPRINT_DIGITS) != 0)
        return bad(at, err,
                   "the secret is not that of the fingerprint: the line was changed; copy the file "
                   "again from a node that has it whole");
    for (unsigned i = 0; i + 1 < keys->n; i++)
        if (strcmp(keys->key[i].fingerprint, key->fingerprint) == 0)
            return bad(at, err, "the same key as on a line before; take one of them out");
    return HM_OK;
}

static enum hm_status take_line(struct lines *at, char *line, size_t n, struct hm_keys *keys,
                                struct hm_err *err)
{
    enum hm_status status = check_characters(at, line, n, err);
    line[n] = 0;
    if (status)
        return status;
    if (!at->began)
        return check_first(at, line, n, err);
    if (at->ended)
        return bad(at, err, "there is more after the line 'end', which has to be the last");
    if (strcmp(line, "end") == 0)
        at->ended = 1;
    else if (strncmp(line, "key ", 4) == 0)
        return take_key(at, line, keys, err);
    else if (n && line[0] != '#')
        return bad(at, err, "'key FINGERPRINT SECRET', 'end' or a comment after # is expected");
    return HM_OK;
}

static enum hm_status parse(struct hm_keys *keys, char *text, size_t n, const char *path,
                            struct hm_err *err)
{
    struct lines at = {.path = path};
    char *line = text, *end = text + n;
    while (line < end) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline ? newline : end) - line);
        at.number++;
        enum hm_status status = take_line(&at, line, length, keys, err);
        if (status)
            return status;
        line += length + 1;
    }
    if (!at.ended)
        return hm_fail(err, HM_EINPUT, "%s: %s; copy it again from a node that has it whole", path,
                       n ? "it is cut off: the last line has to be 'end'" : "the file is empty");
    if (!keys->n)
        return hm_fail(err, HM_EINPUT, "%s: no key in it; make a new file with 'hogmesh keygen'",
                       path);
    return HM_OK;
}

enum hm_status hm_keys_read(struct hm_keys *keys, const char *path, struct hm_err *err)
{
    char text[HM_KEY_FILE_MAX + 2]; /* a NUL after each line */
    size_t n = 0;
    memset(keys, 0, sizeof *keys);
    enum hm_status status = read_text(text, &n, path, err);
    if (!status)
        status = parse(keys, text, n, path, err);
    sodium_memzero(text, sizeof text);
    if (status)
        hm_keys_wipe(keys);
    return status;
}

/* ---- writing ---- */

static size_t format(const struct hm_keys *keys, char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "%s%s\n%s", family, version, introduction);
    for (unsigned i = 0; i < keys->n; i++) {
        char secret[2 * HM_KEY_BYTES + 1];
        sodium_bin2hex(secret, sizeof secret, keys->key[i].secret, HM_KEY_BYTES);
        at +=
            (size_t)snprintf(text + at, room - at, "key %s %s\n", keys->key[i].fingerprint, secret);
        sodium_memzero(secret, sizeof secret);
    }
    return at + (size_t)snprintf(text + at, room - at, "end\n");
}

/* Writes a file that must not be there yet, readable by its owner alone from the first moment on.
 */
static enum hm_status write_new(const struct hm_keys *keys, const char *path, struct hm_err *err)
{
    char text[HM_KEY_FILE_MAX];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    size_t n = format(keys, text, sizeof text);
    int failed = fchmod(fd, 0600) != 0 || write(fd, text, n) != (ssize_t)n || fsync(fd) != 0;
    int e = errno;
    sodium_memzero(text, sizeof text);
    if (close(fd) != 0 && !failed) {
        failed = 1;
        e = errno;
    }
    if (!failed)
        return HM_OK;
    unlink(path);
    return hm_fail(err, HM_EIO, "%s: cannot write: %s", path, strerror(e));
}

enum hm_status hm_keys_create(struct hm_keys *keys, const char *path, struct hm_err *err)
{
    struct stat st;
    memset(keys, 0, sizeof *keys);
    if (lstat(path, &st) == 0)
        return hm_fail(
            err, HM_EUSAGE,
            "%s is there already and is never overwritten; choose another name, or add a "
            "key to it with 'hogmesh keygen --add %s'",
            path, path);
    enum hm_status status = draw(&keys->key[keys->n++], err);
    if (!status)
        status = write_new(keys, path, err);
    if (status)
        hm_keys_wipe(keys);
    return status;
}

/* Puts another file in the place of one that was read. */
static enum hm_status replace(struct hm_keys *keys, const char *path, struct hm_err *err)
{
    char draft[4096];
    if ((size_t)snprintf(draft, sizeof draft, "%s.new", path) >= sizeof draft)
        return hm_fail(err, HM_EUSAGE, "%.100s...: the name is too long", path);
    enum hm_status status = write_new(keys, draft, err);
    if (!status && rename(draft, path) != 0) {
        status = hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
        unlink(draft);
    }
    return status;
}

/* Ends a change: written, or forgotten. */
static enum hm_status finish(enum hm_status status, struct hm_keys *keys, const char *path,
                             struct hm_err *err)
{
    if (!status)
        status = replace(keys, path, err);
    if (status)
        hm_keys_wipe(keys);
    return status;
}

enum hm_status hm_keys_add(struct hm_keys *keys, const char *path, struct hm_err *err)
{
    enum hm_status status = hm_keys_read(keys, path, err);
    if (!status && keys->n == HM_KEYS_MAX)
        status = hm_fail(err, HM_EUSAGE,
                         "%s has %d keys, the most there may be; take old ones out with 'hogmesh "
                         "keygen --revoke'",
                         path, HM_KEYS_MAX);
    if (!status)
        status = draw(&keys->key[keys->n++], err);
    return finish(status, keys, path, err);
}

/* Reads a file and finds a key in it by its fingerprint, or by a beginning that only one has. */
static enum hm_status find(struct hm_keys *keys, unsigned *at, const char *path,
                           const char *fingerprint, struct hm_err *err)
{
    char known[HM_KEYS_MAX * (HM_FINGERPRINT_DIGITS + 1) + 1] = "";
    unsigned n_found = 0;
    enum hm_status status = hm_keys_read(keys, path, err);
    if (status)
        return status;
    for (unsigned i = 0; i < keys->n; i++) {
        snprintf(known + strlen(known), sizeof known - strlen(known), " %s",
                 keys->key[i].fingerprint);
        if (*fingerprint &&
            strncmp(keys->key[i].fingerprint, fingerprint, strlen(fingerprint)) == 0) {
            *at = i;
            n_found++;
        }
    }
    if (n_found == 1)
        return HM_OK;
    return hm_fail(err, HM_EUSAGE, "%s: %s key has the fingerprint %.40s; it holds%s", path,
                   n_found ? "more than one" : "no", fingerprint, known);
}

enum hm_status hm_keys_put_first(struct hm_keys *keys, const char *path, const char *fingerprint,
                                 struct hm_err *err)
{
    unsigned at = 0;
    enum hm_status status = find(keys, &at, path, fingerprint, err);
    if (!status) {
        struct hm_key key = keys->key[at];
        memmove(&keys->key[1], &keys->key[0], at * sizeof key);
        keys->key[0] = key;
        sodium_memzero(&key, sizeof key);
    }
    return finish(status, keys, path, err);
}

enum hm_status hm_keys_revoke(struct hm_keys *keys, const char *path, const char *fingerprint,
                              struct hm_err *err)
{
    unsigned at = 0;
    enum hm_status status = find(keys, &at, path, fingerprint, err);
    if (!status && keys->n == 1)
        status = hm_fail(err, HM_EUSAGE,
                         "%s: %s is its only key; add another one before, or make a new file and "
                         "remove this one",
                         path, keys->key[0].fingerprint);
    if (!status) {
        memmove(&keys->key[at], &keys->key[at + 1], (keys->n - at - 1) * sizeof keys->key[0]);
        keys->n--;
        sodium_memzero(&keys->key[keys->n], sizeof keys->key[0]);
    }
    return finish(status, keys, path, err);
}
