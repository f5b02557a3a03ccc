#include "sparse/hash.h"

#include <assert.h>
#include <sodium.h>

_Static_assert(sizeof(struct hm_hash) >= sizeof(crypto_generichash_state), "the state fits");
_Static_assert(_Alignof(struct hm_hash) >= _Alignof(crypto_generichash_state), "and is aligned");

static crypto_generichash_state *state_of(struct hm_hash *hash)
{
    return (crypto_generichash_state *)(void *)hash->state;
}

void hm_hash_init(struct hm_hash *hash)
{
    int failed = crypto_generichash_init(state_of(hash), NULL, 0, HM_HASH_BYTES);
    assert(!failed);
    (void)failed;
}

void hm_hash_update(struct hm_hash *hash, const void *bytes, size_t len)
{
    int failed = crypto_generichash_update(state_of(hash), bytes, len);
    assert(!failed);
    (void)failed;
}

void hm_hash_final(struct hm_hash *hash, uint8_t out[HM_HASH_BYTES])
{
    int failed = crypto_generichash_final(state_of(hash), out, HM_HASH_BYTES);
    assert(!failed);
    (void)failed;
}

void hm_hash_hex(const uint8_t hash[HM_HASH_BYTES], char out[HM_HASH_HEX])
{
    static const char digit[] = "0123456789abcdef";
    for (unsigned i = 0; i < HM_HASH_BYTES; i++) {
        out[2 * i] = digit[hash[i] >> 4];
        out[2 * i + 1] = digit[hash[i] & 15];
    }
    out[HM_HASH_HEX - 1] = 0;
}
