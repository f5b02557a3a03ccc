#include "protocol/text.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

static int is_printable_ascii(const char *text, size_t n, const char *without)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] < 0x21 || text[i] > 0x7e || strchr(without, text[i]))
            return 0;
    }
    return 1;
}

/* Bytes of the allowed character at the head of s[n], n >= 1; 0 when there is none (RFC 3629). */
static size_t allowed_character(const char *s, size_t n)
{
    static const uint32_t least[] = {[2] = 0xa0 /* skips C1 */, [3] = 0x800, [4] = 0x10000};
    uint8_t first = (uint8_t)s[0];
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc0 || first > 0xf4 || n < len)
        return 0;
    uint32_t point = first & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | ((uint8_t)s[i] & 0x3f);
    }
    int is_surrogate = point >= 0xd800 && point <= 0xdfff;
    return point >= least[len] && point <= 0x10ffff && !is_surrogate ? len : 0;
}

int hm_text_ok(const char *text, size_t n)
{
    for (size_t at = 0, len; at < n; at += len) {
        len = allowed_character(text + at, n - at);
        if (!len)
            return 0;
    }
    return 1;
}

int hm_label_ok(const char *text, size_t n)
{
    return n > 0 && is_printable_ascii(text, n, "\"'`");
}

int hm_endpoint_ok(const char *text, size_t n)
{
    static const char *const schemes[] = {"tcp://", "ipc://", "inproc://"};
    if (n == 0)
        return 1;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i]);
        if (n > len && memcmp(text, schemes[i], len) == 0)
            return is_printable_ascii(text, n, "");
    }
    return 0;
}

int hm_field_name_ok(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int is_lower = text[i] >= 'a' && text[i] <= 'z';
        int is_digit = text[i] >= '0' && text[i] <= '9';
        if (!is_lower && !is_digit && text[i] != '_')
            return 0;
    }
    return n > 0;
}

void hm_text_clean(char *out, size_t room, const char *text)
{
    assert(room > 0);
    size_t n = strlen(text);
    size_t made = 0;
    for (size_t at = 0; at < n;) {
        size_t len = allowed_character(text + at, n - at);
        size_t taken = len ? len : 1;
        if (made + taken >= room)
            break;
        memcpy(out + made, len ? text + at : "?", taken);
        made += taken;
        at += taken;
    }
    out[made] = 0;
    assert(hm_text_ok(out, made));
}
