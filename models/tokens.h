/* From text to words.
 *
 * By default words are what stands between white space, as in word2vec: that of Unicode, so that no
 * word contains any. "</s>" is the end of a line, not a word. With `lowercase` words are runs of
 * letters, marks and numbers (Unicode's categories L, M, N), in lower case, character by character;
 * all else separates them. A byte that is not UTF-8 counts as U+FFFD, which no word has that is
 * made of letters.
 */
#ifndef HM_MODELS_TOKENS_H
#define HM_MODELS_TOKENS_H

#include "models/unicode.h"
#include "models/vocab.h"

struct hm_tokens {
    const uint8_t *at, *end;
    const uint8_t *fold; /* [256] what becomes of an ASCII character; 0: not a part of a word */
    int lowercase;
    uint64_t n_newlines, n_invalid, n_too_long; /* met so far */
    size_t length;                              /* of the word */
    uint8_t word[HM_WORD_BYTES_MAX + HM_UTF8_BYTES_MAX];
};

enum hm_token {
    HM_TOKEN_WORD, /* word [length] */
    HM_TOKEN_LINE, /* the end of one */
    HM_TOKEN_END,  /* of the text */
    HM_TOKEN_NUL,  /* a NUL byte: this is not a text; nothing more comes */
};

/* text[n] must be there to be read, and '\n'. The text must begin and end between words. */
void hm_tokens_init(struct hm_tokens *tokens, const void *text, size_t n, int lowercase);

enum hm_token hm_tokens_next(struct hm_tokens *tokens);

/* 1 when text [n] is a word as the default rules have it: UTF-8, without white space and NUL, of 1
 * to HM_WORD_BYTES_MAX bytes, not "</s>". */
int hm_is_word(const void *text, size_t n);

#endif
