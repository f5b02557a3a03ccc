/* Key files. An odd first byte: a sound key, made of the 32 bytes that follow, stands before the
 * rest, which nobody could guess otherwise. */
#include "node/keys.h"
#include "tests/fuzzing.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Keys are read from regular files of their owner's alone; others would be refused unread. */
static char path[64];

static void remove_file(void)
{
    unlink(path);
}

static int key_file(void)
{
    static int fd;
    if (!fd) {
        const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(path, sizeof path, "%s/hogmesh-fuzz-XXXXXX", folder);
        fd = mkstemp(path);
        assert(fd > 0);
        atexit(remove_file);
    }
    int failed = ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET) != 0;
    assert(!failed);
    return fd;
}

/* The line of the key that the input chooses. */
static int put_key(char *text, size_t room, struct fuzz *fuzz)
{
    struct hm_key key;
    char digits[2 * HM_KEY_BYTES + 1];
    for (int i = 0; i < HM_KEY_BYTES; i++)
        key.secret[i] = fuzz_u8(fuzz);
    for (int i = 0; i < HM_KEY_BYTES; i++)
        snprintf(digits + 2 * i, 3, "%02x", key.secret[i]);
    hm_key_derive(&key);
    return snprintf(text, room, "hogmesh key file 1\nkey %s %s\n", key.fingerprint, digits);
}

static void check(const struct hm_keys *keys)
{
    assert(keys->n >= 1 && keys->n <= HM_KEYS_MAX);
    for (unsigned i = 0; i < keys->n; i++) {
        struct hm_key again;
        memcpy(again.secret, keys->key[i].secret, sizeof again.secret);
        hm_key_derive(&again);
        assert(strcmp(again.fingerprint, keys->key[i].fingerprint) == 0);
        for (unsigned k = 0; k < i; k++)
            assert(memcmp(keys->key[k].secret, keys->key[i].secret, HM_KEY_BYTES) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    struct hm_keys keys;
    struct hm_err err = {""};
    char text[256];
    int fd = key_file(), n = fuzz_u8(&fuzz) & 1 ? put_key(text, sizeof text, &fuzz) : 0;
    ssize_t written = write(fd, text, (size_t)n);
    written += write(fd, fuzz.at, fuzz_left(&fuzz));
    if (n)
        written += write(fd, "end\n", 4);
    assert(written >= (ssize_t)fuzz_left(&fuzz));
    enum hm_status status = hm_keys_read(&keys, path, &err);
    assert((status == HM_OK) == !err.text[0]);
    if (status == HM_OK)
        check(&keys);
    else
        assert(!keys.n);
    hm_keys_wipe(&keys);
    return 0;
}
