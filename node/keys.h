/* Mesh keys: the file that holds them, and what CURVE makes of them.
 *
 *     hogmesh key file 1
 *     # comments
 *     key 0123456789abcdef 64 hexadecimal digits: fingerprint and secret
 *     end
 *
 * Whoever has a key is in the mesh. A node listens with the first key of its file, and dials with
 * each of them in turn until the peer takes one, so that keys can be changed without stopping a
 * mesh: see hm_keys_add. A key that is in no file any more opens nothing.
 *
 * Key pairs are derived from the secret (protocol/WIRE.md, section 2.1), so one file serves all
 * nodes. Nothing here logs or returns the secret but the struct; hm_keys_wipe forgets it.
 */
#ifndef HM_NODE_KEYS_H
#define HM_NODE_KEYS_H

#include "sparse/status.h"

#include <stdint.h>

enum {
    HM_KEY_BYTES = 32, /* of a secret, and of each half of a CURVE key pair */
    HM_KEYS_MAX = 8,   /* in a file */
    HM_FINGERPRINT_DIGITS = 16,
    HM_KEY_FILE_MAX = 16384, /* bytes of a file */
};

struct hm_key {
    uint8_t secret[HM_KEY_BYTES]; /* what the file holds; the rest is derived from it */
    uint8_t server_public[HM_KEY_BYTES], server_secret[HM_KEY_BYTES];
    uint8_t client_public[HM_KEY_BYTES], client_secret[HM_KEY_BYTES];
    char fingerprint[HM_FINGERPRINT_DIGITS + 1]; /* for people; says nothing of the secret */
};

struct hm_keys {
    unsigned n; /* 0: no key, traffic in clear */
    struct hm_key key[HM_KEYS_MAX];
};

/* Fills everything of *key from its secret. */
void hm_key_derive(struct hm_key *key);

/* What announcements in a LAN are signed with (node/announce.h). */
void hm_key_announce(const struct hm_key *key, uint8_t out[HM_KEY_BYTES]);

/* Reads a key file. Refused are files that others may read or that belong to somebody else, what is
 * not a regular file (a symbolic link too), and everything but the format above. Errors name file
 * and line and what to do; *keys is wiped then. */
enum hm_status hm_keys_read(struct hm_keys *keys, const char *path, struct hm_err *err);

/* Makes a file with one new key, mode 0600; never touches one that exists. *keys is what it holds.
 */
enum hm_status hm_keys_create(struct hm_keys *keys, const char *path, struct hm_err *err);

/* Change a file, by writing another one and renaming it. The steps of changing a key without
 * stopping the mesh, each taken on all nodes before the next: hm_keys_add puts a new key last, it
 * is understood from then on; hm_keys_put_first makes that of the fingerprint the one to listen
 * with; hm_keys_revoke takes the old one out, unless it is the only one. *keys is what the file
 * holds afterwards. */
enum hm_status hm_keys_add(struct hm_keys *keys, const char *path, struct hm_err *err);
enum hm_status hm_keys_put_first(struct hm_keys *keys, const char *path, const char *fingerprint,
                                 struct hm_err *err);
enum hm_status hm_keys_revoke(struct hm_keys *keys, const char *path, const char *fingerprint,
                              struct hm_err *err);

/* Overwrites all of it with zeros, in a way that compilers leave in. */
void hm_keys_wipe(struct hm_keys *keys);

#endif
