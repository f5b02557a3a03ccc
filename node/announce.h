/* What a node calls into the LAN: the datagram of discovery (protocol/WIRE.md, section 14).
 *
 * Where there is a key, the datagram ends in a code that only who holds the key can make; without,
 * in a plain checksum. Nothing here is secret: whoever listens reads names and addresses. All
 * functions are pure and thread-safe. */
#ifndef HM_NODE_ANNOUNCE_H
#define HM_NODE_ANNOUNCE_H

#include "node/keys.h"
#include "protocol/wire.h"

enum { HM_ANNOUNCE_MAX = 512, HM_ANNOUNCE_CODE = 32 };

struct hm_announcement {
    uint64_t life;
    uint64_t fingerprint;        /* of the configuration; 0: the sender has none yet */
    char mesh[HM_LABEL_MAX + 1]; /* the name that nodes of one mesh are given */
    char workload[HM_LABEL_MAX + 1];
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
};

/* What codes are made with: of each key of a file the one derived for it. n 0: plain checksums. */
struct hm_announce_keys {
    unsigned n;
    uint8_t key[HM_KEYS_MAX][HM_KEY_BYTES];
};

enum hm_announce_verdict {
    HM_ANNOUNCE_OK,
    HM_ANNOUNCE_FOREIGN, /* no announcement at all, of another version, or malformed */
    HM_ANNOUNCE_FORGED,  /* its code is of none of the keys */
};

void hm_announce_keys_of(struct hm_announce_keys *out, const struct hm_keys *keys);

/* The code is that of the first key. All texts keep to their rules. Returns the bytes written. */
size_t hm_announce_encode(const struct hm_announcement *a, const struct hm_announce_keys *keys,
                          uint8_t out[HM_ANNOUNCE_MAX]);

/* Checks all of it in one call. *a is written only when the verdict is HM_ANNOUNCE_OK. */
enum hm_announce_verdict hm_announce_decode(const uint8_t *in, size_t n,
                                            const struct hm_announce_keys *keys,
                                            struct hm_announcement *a);

#endif
