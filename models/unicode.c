#include "models/unicode.h"

#include "models/unicode_table.h"

#define N(table) (sizeof(table) / sizeof(table)[0])

unsigned hm_utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = *p;
    if (c < 0x80) {
        *character = c;
        return 1;
    }
    unsigned n = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || (size_t)(end - p) < n)
        return 0;
    c &= 0x7Fu >> n;
    for (unsigned i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        return 0;
    *character = c;
    return n;
}

unsigned hm_utf8_encode(uint32_t c, uint8_t *to)
{
    unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1) {
        *to = (uint8_t)c;
        return 1;
    }
    for (unsigned i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (uint8_t)(0x80 | (c & 0x3F));
    to[0] = (uint8_t)((0xF00u >> n) | c);
    return n;
}

int hm_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static int is_ascii_word(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int hm_is_word_character(uint32_t c)
{
    size_t from = 0, to = N(word_range);
    if (c < 0x80)
        return is_ascii_word(c);
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (word_range[middle].last < c)
            from = middle + 1;
        else
            to = middle;
    }
    return from < N(word_range) && word_range[from].first <= c;
}

/* The other case of c, or c. */
static uint32_t map(const struct mapping *table, size_t n, uint32_t c)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (table[middle].last < c)
            from = middle + 1;
        else
            to = middle;
    }
    if (from == n || c < table[from].first || (c - table[from].first) % table[from].stride)
        return c;
    return c + (uint32_t)table[from].delta;
}

uint32_t hm_lower(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return map(lower_case, N(lower_case), c);
}

unsigned hm_upper(uint32_t c, uint32_t upper[static 3])
{
    if (c < 0x80) {
        upper[0] = c >= 'a' && c <= 'z' ? c - 32 : c;
        return 1;
    }
    for (size_t i = 0; i < N(upper_several); i++)
        if (upper_several[i].character == c) {
            upper[0] = upper_several[i].first;
            upper[1] = upper_several[i].second;
            upper[2] = upper_several[i].third;
            return upper[2] ? 3 : 2;
        }
    upper[0] = map(upper_case, N(upper_case), c);
    return 1;
}
