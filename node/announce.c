#include "node/announce.h"

#include "protocol/bytes.h"
#include "protocol/text.h"

#include <sodium.h>
#include <string.h>

static const char magic[8] = "hogmesh\x01"; /* the last byte is the version */

_Static_assert(8 + 2 * 8 + 3 * (HM_VARINT_MAX + HM_LABEL_MAX) +
                       2 * (HM_VARINT_MAX + HM_ENDPOINT_MAX) + HM_ANNOUNCE_CODE <=
                   HM_ANNOUNCE_MAX,
               "the longest announcement fits");

void hm_announce_keys_of(struct hm_announce_keys *out, const struct hm_keys *keys)
{
    out->n = keys->n;
    for (unsigned i = 0; i < keys->n; i++)
        hm_key_announce(&keys->key[i], out->key[i]);
}

/* With a key of length 0 it is the plain hash. */
static void code_of(const uint8_t *in, size_t n, const uint8_t *key, uint8_t out[HM_ANNOUNCE_CODE])
{
    crypto_generichash(out, HM_ANNOUNCE_CODE, in, n, key, key ? HM_KEY_BYTES : 0);
}

static void put_text(struct hm_writer *w, const char *text)
{
    hm_put_string(w, text, strlen(text));
}

size_t hm_announce_encode(const struct hm_announcement *a, const struct hm_announce_keys *keys,
                          uint8_t out[HM_ANNOUNCE_MAX])
{
    struct hm_writer w = hm_writer_of(out, HM_ANNOUNCE_MAX - HM_ANNOUNCE_CODE);
    hm_put_bytes(&w, magic, sizeof magic);
    hm_put_u64(&w, a->life);
    hm_put_u64(&w, a->fingerprint);
    put_text(&w, a->mesh);
    put_text(&w, a->workload);
    put_text(&w, a->label);
    put_text(&w, a->rpc);
    put_text(&w, a->pub);
    size_t n = (size_t)(w.at - out);
    code_of(out, n, keys->n ? keys->key[0] : NULL, out + n);
    return n + HM_ANNOUNCE_CODE;
}

static int is_genuine(const uint8_t *in, size_t n, const struct hm_announce_keys *keys)
{
    uint8_t code[HM_ANNOUNCE_CODE];
    unsigned i = 0;
    do {
        code_of(in, n, keys->n ? keys->key[i] : NULL, code);
        if (sodium_memcmp(code, in + n, sizeof code) == 0)
            return 1;
    } while (++i < keys->n);
    return 0;
}

static void get_text(struct hm_reader *r, char *out, size_t n_max, hm_text_rule *rule)
{
    hm_get_text(r, out, n_max);
    if (!r->bad && !rule(out, strlen(out)))
        r->bad = 1;
}

enum hm_announce_verdict hm_announce_decode(const uint8_t *in, size_t n,
                                            const struct hm_announce_keys *keys,
                                            struct hm_announcement *a)
{
    if (n > HM_ANNOUNCE_MAX || n < sizeof magic + HM_ANNOUNCE_CODE ||
        memcmp(in, magic, sizeof magic) != 0)
        return HM_ANNOUNCE_FOREIGN;
    n -= HM_ANNOUNCE_CODE;
    if (!is_genuine(in, n, keys))
        return HM_ANNOUNCE_FORGED;
    struct hm_announcement read;
    struct hm_reader r = hm_reader_of(in + sizeof magic, n - sizeof magic);
    memset(&read, 0, sizeof read);
    read.life = hm_get_u64(&r);
    read.fingerprint = hm_get_u64(&r);
    get_text(&r, read.mesh, HM_LABEL_MAX, hm_label_ok);
    get_text(&r, read.workload, HM_LABEL_MAX, hm_label_ok);
    get_text(&r, read.label, HM_LABEL_MAX, hm_label_ok);
    get_text(&r, read.rpc, HM_ENDPOINT_MAX, hm_endpoint_ok);
    get_text(&r, read.pub, HM_ENDPOINT_MAX, hm_endpoint_ok);
    if (r.bad || hm_reader_left(&r) || !read.life || !read.rpc[0] || !read.pub[0])
        return HM_ANNOUNCE_FOREIGN;
    *a = read;
    return HM_ANNOUNCE_OK;
}
