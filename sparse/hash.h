/* A strong hash, BLAKE2b with 256 bits: names a model, a configuration, a vocabulary.
 *
 *     struct hm_hash hash;
 *     hm_hash_init(&hash);
 *     hm_hash_update(&hash, bytes, len);
 *     hm_hash_final(&hash, out);
 */
#ifndef HM_SPARSE_HASH_H
#define HM_SPARSE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HM_HASH_BYTES = 32, HM_HASH_HEX = 2 * HM_HASH_BYTES + 1 };

/* The state between init and final; its contents belong to hash.c. Owns nothing, may be copied. */
struct hm_hash {
    _Alignas(64) uint8_t state[384];
};

void hm_hash_init(struct hm_hash *hash);

/* Appends len bytes. */
void hm_hash_update(struct hm_hash *hash, const void *bytes /* [len] */, size_t len);

/* Writes the hash of all that was appended; `hash` is used up. */
void hm_hash_final(struct hm_hash *hash, uint8_t out[HM_HASH_BYTES]);

/* The hash in lower-case hexadecimal digits, NUL-terminated. */
void hm_hash_hex(const uint8_t hash[HM_HASH_BYTES], char out[HM_HASH_HEX]);

#endif
