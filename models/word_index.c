#include "models/word_index.h"

#include "models/unicode.h"

#include <stdlib.h>
#include <string.h>

/* The word as it is compared; returns its length, or -1 when it is too long. */
static int fold(const struct hm_word_index *index, const char *word, size_t n,
                uint8_t to[HM_WORD_BYTES_MAX + 3 * HM_UTF8_BYTES_MAX])
{
    const uint8_t *p = (const uint8_t *)word, *end = p + n;
    size_t length = 0;
    while (p < end && length <= HM_WORD_BYTES_MAX) {
        uint32_t c, upper[3] = {0};
        unsigned k = hm_utf8_decode(p, end, &c), n_upper = 1;
        upper[0] = k ? c : HM_REPLACEMENT;
        if (!index->as_is)
            n_upper = hm_upper(upper[0], upper);
        for (unsigned i = 0; i < n_upper; i++)
            length += hm_utf8_encode(upper[i], to + length);
        p += k ? k : 1;
    }
    return length <= HM_WORD_BYTES_MAX ? (int)length : -1;
}

static enum hm_status add(struct hm_word_index *index, const struct hm_vectors *vectors, uint32_t i,
                          struct hm_err *err)
{
    uint8_t form[HM_WORD_BYTES_MAX + 3 * HM_UTF8_BYTES_MAX];
    int length =
        fold(index, hm_words_text(&vectors->words, i), hm_words_length(&vectors->words, i), form);
    index->form_of[i] = HM_WORD_NONE;
    if (length < 0)
        return HM_OK;
    uint32_t known = index->forms.n, f = hm_words_add(&index->forms, form, (size_t)length);
    if (f == HM_WORD_NONE)
        return hm_words_full(&index->forms, err);
    index->form_of[i] = f;
    if (f == known)
        index->first[f] = i;
    return HM_OK;
}

enum hm_status hm_word_index_init(struct hm_word_index *index, const struct hm_vectors *vectors,
                                  uint32_t n, int as_is, struct hm_err *err)
{
    n = n < vectors->n ? n : vectors->n;
    *index = (struct hm_word_index){.n = n, .as_is = as_is};
    index->form_of = malloc((n + (size_t)1) * sizeof *index->form_of);
    index->first = malloc((n + (size_t)1) * sizeof *index->first);
    enum hm_status status = HM_OK;
    if (!index->form_of || !index->first)
        status = hm_fail(err, HM_ENOMEM, "no memory for an index of %u words", n);
    for (uint32_t i = 0; i < n && !status; i++)
        status = add(index, vectors, i, err);
    return status;
}

void hm_word_index_fini(struct hm_word_index *index)
{
    hm_words_fini(&index->forms);
    free(index->form_of);
    free(index->first);
    *index = (struct hm_word_index){0};
}

uint32_t hm_word_index_find(const struct hm_word_index *index, const char *word, size_t length)
{
    uint8_t form[HM_WORD_BYTES_MAX + 3 * HM_UTF8_BYTES_MAX];
    int n = fold(index, word, length, form);
    return n < 0 ? HM_WORD_NONE : hm_words_find(&index->forms, form, (size_t)n);
}
