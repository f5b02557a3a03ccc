/* Announcements of the LAN. An odd first byte: the code that nobody could guess is put behind the
 * rest. */
#include "node/announce.h"
#include "tests/fuzzing.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    const uint8_t first = fuzz_u8(&fuzz);
    struct hm_announce_keys keys = {.n = first >> 1 & 1};
    uint8_t bytes[HM_ANNOUNCE_MAX + 64], again[HM_ANNOUNCE_MAX];
    size_t n = 0;
    while (fuzz_left(&fuzz) && n < HM_ANNOUNCE_MAX + 8)
        bytes[n++] = fuzz_u8(&fuzz);
    if (first & 1) {
        crypto_generichash(bytes + n, HM_ANNOUNCE_CODE, bytes, n, keys.n ? keys.key[0] : NULL,
                           keys.n ? HM_KEY_BYTES : 0);
        n += HM_ANNOUNCE_CODE;
    }
    struct hm_announcement a;
    if (hm_announce_decode(bytes, n, &keys, &a) == HM_ANNOUNCE_OK) {
        size_t n_again = hm_announce_encode(&a, &keys, again);
        assert(n_again == n && memcmp(again, bytes, n) == 0);
    }
    return 0;
}
