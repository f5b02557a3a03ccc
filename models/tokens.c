#include "models/tokens.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

static uint8_t plain[256], lowered[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (unsigned c = 1; c < 0x80; c++) {
        plain[c] = hm_is_space(c) ? 0 : (uint8_t)c;
        lowered[c] = hm_is_word_character(c) ? (uint8_t)hm_lower(c) : 0;
    }
}

void hm_tokens_init(struct hm_tokens *t, const void *text, size_t n, int lowercase)
{
    pthread_once(&once, make_tables);
    t->at = text;
    t->end = t->at + n;
    t->fold = lowercase ? lowered : plain;
    t->lowercase = lowercase;
    t->n_newlines = t->n_invalid = t->n_too_long = 0;
    t->length = 0;
    assert(*t->end == '\n');
}

/* Takes a character beyond ASCII; returns what becomes of it, or 0 when it separates words. */
static uint32_t take_wide(struct hm_tokens *t, const uint8_t **p)
{
    uint32_t c;
    unsigned n = hm_utf8_decode(*p, t->end, &c);
    if (!n) {
        t->n_invalid++;
        c = HM_REPLACEMENT;
        n = 1;
    }
    *p += n;
    if (t->lowercase)
        return hm_is_word_character(c) ? hm_lower(c) : 0;
    return hm_is_space(c) ? 0 : c;
}

/* Takes a word; where a separator beyond ASCII stands, none, and the separator. A word that is too
 * long is swallowed. */
static void take_word(struct hm_tokens *t)
{
    const uint8_t *p = t->at, *fold = t->fold;
    size_t n = 0;
    int too_long = 0;
    for (;;) {
        uint8_t folded;
        for (; n <= HM_WORD_BYTES_MAX && (folded = fold[*p]); p++)
            t->word[n++] = folded;
        if (n > HM_WORD_BYTES_MAX) {
            too_long = 1;
            n = 0;
            continue;
        }
        uint32_t c = *p < 0x80 ? 0 : take_wide(t, &p);
        if (!c)
            break;
        n += hm_utf8_encode(c, t->word + n);
    }
    t->at = p;
    t->length = too_long ? 0 : n;
    t->n_too_long += (uint64_t)too_long;
}

static int is_line_end(const struct hm_tokens *t)
{
    return t->length == 4 && memcmp(t->word, "</s>", 4) == 0;
}

enum hm_token hm_tokens_next(struct hm_tokens *t)
{
    for (;;) {
        uint8_t c = *t->at;
        if (t->fold[c] || c >= 0x80) {
            take_word(t);
            if (t->length)
                return is_line_end(t) ? HM_TOKEN_LINE : HM_TOKEN_WORD;
        } else if (t->at == t->end) {
            return HM_TOKEN_END;
        } else if (c == 0) {
            return HM_TOKEN_NUL;
        } else {
            t->at++;
            if (c != '\n')
                continue;
            t->n_newlines++;
            return HM_TOKEN_LINE;
        }
    }
}

int hm_is_word(const void *text, size_t n)
{
    const uint8_t *p = text, *end = p + n;
    uint32_t c;
    if (n == 0 || n > HM_WORD_BYTES_MAX || (n == 4 && memcmp(text, "</s>", 4) == 0))
        return 0;
    while (p < end) {
        unsigned k = hm_utf8_decode(p, end, &c);
        if (!k || !c || hm_is_space(c))
            return 0;
        p += k;
    }
    return 1;
}
