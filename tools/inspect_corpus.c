/* hogmesh inspect: the cache of a text (models/corpus_cache.h), read piece by piece as that of rows
 * is. */
#include "tools/inspect.h"

#include "models/corpus_cache.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { WORDS_SHOWN = 10 };

static json_t *head_json(const struct hm_corpus_header *h)
{
    json_t *json = json_pack("{s:s}", "kind", "text cache"), *fingerprint = json_array();
    const struct {
        const char *name;
        uint64_t value;
    } number[] = {{"vocabulary", h->n_vocab},
                  {"words", h->n_words},
                  {"lines", h->n_lines},
                  {"words_in_text", h->n_tokens},
                  {"text_bytes", h->n_bytes},
                  {"invalid_bytes", h->n_invalid},
                  {"too_long_words", h->n_too_long},
                  {"vocabulary_total", h->total}};
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
        json_object_set_new(json, number[i].name, inspect_u64(number[i].value));
    for (int i = 0; i < 2; i++)
        json_array_append_new(fingerprint, inspect_hex64(h->fingerprint[i]));
    json_object_set_new(json, "vocabulary_fingerprint", inspect_hex64(h->vocab_fingerprint));
    json_object_set_new(json, "sources_fingerprint", fingerprint);
    return json;
}

/* The first words of the vocabulary. */
static void put_words(json_t *json, FILE *file, const struct hm_corpus_layout *layout)
{
    char text[WORDS_SHOWN * (HM_WORD_BYTES_MAX + 1) + 1];
    json_t *words = json_array();
    size_t n = layout->bytes[HM_CORPUS_TEXT] < sizeof text - 1
                   ? (size_t)layout->bytes[HM_CORPUS_TEXT]
                   : sizeof text - 1;
    if (fseeko(file, (off_t)layout->at[HM_CORPUS_TEXT], SEEK_SET) != 0 ||
        fread(text, 1, n, file) != n)
        n = 0;
    text[n] = 0;
    for (size_t at = 0; at < n && json_array_size(words) < WORDS_SHOWN;
         at += strlen(text + at) + 1) {
        json_t *word = json_string(text + at); /* NULL when it is not UTF-8 */
        json_array_append_new(words, word ? word : json_null());
    }
    json_object_set_new(json, "first_words", words);
}

static enum hm_status inspect(FILE *file, json_t **json, struct hm_err *err)
{
    static const char *const name[HM_CORPUS_SECTIONS] = {"count", "start", "text", "id"};
    struct hm_corpus_header h;
    struct hm_corpus_layout layout;
    struct inspect_section section[HM_CORPUS_SECTIONS];
    struct stat st;
    if (fstat(fileno(file), &st) != 0 || fread(&h, 1, sizeof h, file) != sizeof h)
        return hm_fail(err, HM_ECORRUPT, "the cache is truncated within its first page");
    enum hm_status status = inspect_cache_head(
        (const uint8_t *)&h, offsetof(struct hm_corpus_header, self), HM_CORPUS_VERSION, err);
    if (status)
        return status;
    if (hm_corpus_layout(&h, (uint64_t)st.st_size, &layout) != 0)
        return hm_fail(err, HM_ECORRUPT,
                       "a cache of %u words of vocabulary and %llu ids is not %llu bytes long: it "
                       "was truncated or altered",
                       h.n_vocab, (unsigned long long)h.n_ids, (unsigned long long)st.st_size);
    for (int s = 0; s < HM_CORPUS_SECTIONS; s++)
        section[s] =
            (struct inspect_section){name[s], layout.at[s], layout.bytes[s], h.checksum[s]};
    *json = head_json(&h);
    put_words(*json, file, &layout);
    return inspect_sections(*json, file, section, HM_CORPUS_SECTIONS, err);
}

enum hm_status inspect_corpus(const char *path, json_t **json, struct hm_err *err)
{
    *json = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    enum hm_status status = inspect(file, json, err);
    fclose(file);
    return status;
}
