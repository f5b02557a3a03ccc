/* From text to a corpus: what is a word, who gets which id, vocabularies in files, the cache. */
#include "tests/temp_folder.h"

#include "models/corpus.h"
#include "models/corpus_cache.h"
#include "models/tokens.h"
#include "models/words.h"
#include "sparse/rng.h"
#include "tests/seeds.h"

#include <errno.h>
#include <sys/wait.h>
#include <xxhash.h>

/* ---- words ---- */

static enum hm_token last_token; /* that `divided` met */

/* "the|cat|/|sat|/": words and line ends, as the rules give them. */
static const char *divided(const char *text, size_t n, int lowercase, struct hm_tokens *tokens)
{
    static char out[20000];
    char *copy = malloc(n + 1);
    size_t at = 0;
    assert_non_null(copy);
    memcpy(copy, text, n);
    copy[n] = '\n';
    hm_tokens_init(tokens, copy, n, lowercase);
    for (enum hm_token token; (token = hm_tokens_next(tokens)) <= HM_TOKEN_LINE;) {
        const char *word = token == HM_TOKEN_WORD ? (const char *)tokens->word : "/";
        size_t length = token == HM_TOKEN_WORD ? tokens->length : 1;
        memcpy(out + at, word, length);
        at += length;
        out[at++] = '|';
    }
    last_token = hm_tokens_next(tokens); /* it stays what it is */
    out[at ? at - 1 : 0] = 0;
    free(copy);
    return out;
}

static void check_words(const char *text, int lowercase, const char *expected)
{
    struct hm_tokens tokens;
    assert_string_equal(divided(text, strlen(text), lowercase, &tokens), expected);
}

static void test_white_space_separates_words(void **state)
{
    (void)state;
    check_words("", 0, "");
    check_words(" \t\r\v\f ", 0, "");
    check_words("the cat,\tSat.\r\non  it", 0, "the|cat,|Sat.|/|on|it");
    check_words("\n\na\n", 0, "/|/|a|/");
    check_words("a </s> b </s>x", 0, "a|/|b|</s>x");
    /* No-break, en quad, ideographic: they are white space to whoever reads our files in Python. */
    check_words("a\xC2\xA0"
                "b\xE2\x80\x80"
                "c\xE3\x80\x80"
                "d\xC2\x85"
                "e",
                0, "a|b|c|d|e");
    check_words("Stra\xC3\x9F"
                "e \xE6\x9D\xB1\xE4\xBA\xAC \xF0\x9F\x98\x80",
                0,
                "Stra\xC3\x9F"
                "e|\xE6\x9D\xB1\xE4\xBA\xAC|\xF0\x9F\x98\x80");
}

static void test_lowercase_keeps_letters_and_digits(void **state)
{
    (void)state;
    check_words("The cat's 2nd-best x_y, e-mail!", 1, "the|cat|s|2nd|best|x|y|e|mail");
    check_words("a </s> b\nC", 1, "a|s|b|/|c");
    /* Ä Straße, ΑΘΗΝΑ, Москва, Ŀ: each character has its own lower case. */
    check_words("\xC3\x84 Stra\xC3\x9F"
                "e \xCE\x91\xCE\x98\xCE\x97\xCE\x9D\xCE\x91 "
                "\xD0\x9C\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0",
                1,
                "\xC3\xA4|stra\xC3\x9F"
                "e|\xCE\xB1\xCE\xB8\xCE\xB7\xCE\xBD\xCE\xB1|"
                "\xD0\xBC\xD0\xBE\xD1\x81\xD0\xBA\xD0\xB2\xD0\xB0");
    /* Quotes, dashes, signs and pictures separate; marks belong to their letters. */
    check_words("\xE2\x80\x9C"
                "Hi\xE2\x80\x9D\xE2\x80\x94you \xC2\xBFno? \xC3\x97 \xF0\x9F\x98\x80 e\xCC\x81t",
                1, "hi|you|no|e\xCC\x81t");
    check_words("\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80", 1,
                "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\xA8\xE0\xA5\x8D\xE0\xA4\xA6\xE0\xA5\x80");
    check_words("\xC4\xB0 \xC8\xBA", 1, "i|\xE2\xB1\xA5"); /* shorter and longer in lower case */
}

static void test_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    struct hm_tokens tokens;
    const char *bad = "caf\xE9 \xC0\xAF \xED\xA0\x80 \xF4\x90\x80\x80 ok\xE2\x82";
    assert_string_equal(divided(bad, strlen(bad), 0, &tokens),
                        "caf\xEF\xBF\xBD|\xEF\xBF\xBD\xEF\xBF\xBD|\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF"
                        "\xBD|\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD|ok\xEF\xBF\xBD"
                        "\xEF\xBF\xBD");
    assert_int_equal(tokens.n_invalid, 1 + 2 + 3 + 4 + 2);
    assert_string_equal(divided(bad, strlen(bad), 1, &tokens), "caf|ok");
    const char *long_form = "\xE0\x80\xAF \xF0\x8F\xBF\xBF";
    divided(long_form, strlen(long_form), 0, &tokens);
    assert_int_equal(tokens.n_invalid, 7);
    assert_string_equal(divided("a\0b", 3, 0, &tokens), "a");
    assert_int_equal(last_token, HM_TOKEN_NUL);
}

static void test_words_that_are_too_long(void **state)
{
    (void)state;
    char text[3 * HM_WORD_BYTES_MAX + 8];
    struct hm_tokens tokens;
    for (int lowercase = 0; lowercase < 2; lowercase++) {
        memset(text, 'x', sizeof text);
        text[HM_WORD_BYTES_MAX] = ' '; /* just short enough, then one that is not */
        memcpy(text + sizeof text - 3, " yz", 3);
        divided(text, sizeof text, lowercase, &tokens);
        assert_int_equal(tokens.n_too_long, 1);
        const char *out = divided(text, sizeof text, lowercase, &tokens);
        assert_int_equal(strlen(out), HM_WORD_BYTES_MAX + 3);
        assert_string_equal(out + HM_WORD_BYTES_MAX, "|yz");
        for (size_t i = 0; i + 1 < sizeof text; i += 2)
            memcpy(text + i, "\xC3\xA4", 2);
        assert_string_equal(divided(text, sizeof text, lowercase, &tokens), "");
        assert_int_equal(tokens.n_too_long, 1);
    }
}

static void test_a_set_of_words(void **state)
{
    (void)state;
    struct hm_words words = {0};
    char text[32];
    enum { N = 300000 }; /* as many of one beginning have some of the same hash among them */
    assert_int_equal(hm_words_find(&words, "a", 1), HM_WORD_NONE);
    for (uint32_t i = 0; i < N; i++)
        if (hm_words_add(&words, text, (size_t)sprintf(text, "beginning-%x", i)) != i)
            fail_msg("'%s' is taken for another word", text);
    for (uint32_t i = 0; i < N; i++) {
        size_t n = (size_t)sprintf(text, "beginning-%x", i);
        if (hm_words_add(&words, text, n) != i || hm_words_find(&words, text, n) != i ||
            strcmp(hm_words_text(&words, i), text) != 0 || hm_words_length(&words, i) != n)
            fail_msg("'%s' is not word %u", text, i);
    }
    assert_int_equal(hm_words_find(&words, "xyz", 3), HM_WORD_NONE);
    hm_words_fini(&words);
}

/* ---- corpora ---- */

static struct hm_corpus_options options_of(uint64_t min_count)
{
    return (struct hm_corpus_options){.min_count = min_count, .no_cache = 1, .threads = 2};
}

static struct hm_corpus opened(const char *path, const struct hm_corpus_options *options)
{
    struct hm_corpus corpus;
    struct hm_err err = {""};
    if (hm_corpus_open(&corpus, &path, 1, options, NULL, &err) != HM_OK)
        fail_msg("%s", err.text);
    return corpus;
}

/* The corpus as text again: "the the cat/the/". */
static const char *text_of(const struct hm_corpus *corpus)
{
    static char out[4096];
    char *p = out;
    for (uint64_t i = 0; i < corpus->n_ids; i++)
        if (corpus->id[i] == corpus->vocab.n) {
            p[-1] = '/';
        } else {
            p = stpcpy(p, hm_vocab_word(&corpus->vocab, corpus->id[i]));
            *p++ = ' ';
        }
    *p = 0;
    return out;
}

/* "the:3 cat:1 " */
static const char *vocab_text(const struct hm_vocab *vocab)
{
    static char out[4096];
    char *p = out;
    for (uint32_t i = 0; i < vocab->n; i++)
        p += sprintf(p, "%s:%llu ", hm_vocab_word(vocab, i), (unsigned long long)vocab->count[i]);
    *p = 0;
    return out;
}

static void test_ids_go_by_count_then_bytes(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(1);
    const char *path = temp_text("a.txt", "b a\n\nc b a\n\xC3\xA4 b\nZ\n");
    struct hm_corpus corpus = opened(path, &options);
    assert_string_equal(vocab_text(&corpus.vocab), "b:3 a:2 Z:1 c:1 \xC3\xA4:1 ");
    assert_string_equal(text_of(&corpus), "b a/c b a/\xC3\xA4 b/Z/");
    assert_int_equal(corpus.id[0], 0);
    assert_int_equal(corpus.n_words, 8);
    assert_int_equal(corpus.n_lines, 4);
    assert_int_equal(corpus.n_ids, 12);
    assert_int_equal(corpus.n_tokens, 8);
    assert_int_equal(corpus.vocab.total, 8);
    hm_corpus_close(&corpus);
    corpus = opened(
        temp_text("b.txt", "beginning-b beginning-c beginning-a beginning-\xC3\xA4 beginnin"),
        &options);
    assert_string_equal(vocab_text(&corpus.vocab),
                        "beginnin:1 beginning-a:1 beginning-b:1 beginning-c:1 "
                        "beginning-\xC3\xA4:1 ");
    hm_corpus_close(&corpus);

    options.min_count = 2; /* whole lines go */
    corpus = opened(path, &options);
    assert_string_equal(text_of(&corpus), "b a/b a/b/");
    assert_int_equal(corpus.n_tokens, 8);
    assert_int_equal(corpus.vocab.total, 5);
    hm_corpus_close(&corpus);

    options.min_count = 1;
    options.vocab_max = 3; /* of the four that occur once, the first in order */
    corpus = opened(path, &options);
    assert_string_equal(vocab_text(&corpus.vocab), "b:3 a:2 Z:1 ");
    assert_string_equal(text_of(&corpus), "b a/b a/b/Z/");
    hm_corpus_close(&corpus);
}

static void test_min_count_is_five_unless_given(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(0);
    struct hm_corpus corpus = opened(temp_text("a.txt", "a a a a a b b b b\n"), &options);
    assert_string_equal(vocab_text(&corpus.vocab), "a:5 ");
    hm_corpus_close(&corpus);
}

static void test_files_end_lines(void **state)
{
    (void)state;
    struct hm_corpus corpus;
    struct hm_err err;
    struct hm_corpus_options options = options_of(1);
    const char *file[] = {temp_text("a.txt", "\xEF\xBB\xBF"
                                             "a b"),
                          temp_text("b.txt", ""), temp_text("c.txt", "a </s> c\r\n")};
    assert_int_equal(hm_corpus_open(&corpus, file, 3, &options, NULL, &err), HM_OK);
    assert_string_equal(text_of(&corpus), "a b/a/c/");
    hm_corpus_close(&corpus);
}

/* A text that is larger than a block or two, to be freed: lines of 0 to 30 words, or one. */
static char *random_text(uint64_t seed, size_t n_words, int one_line, size_t *length)
{
    struct hm_rng rng = hm_rng_seed(seed, 1);
    char *text = malloc(16 * n_words + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < n_words; i++) {
        uint32_t word = hm_rng_below(&rng, hm_rng_below(&rng, 60000) + 1);
        p += sprintf(p, "%s%x", word % 7 ? "" : "\xC3\xBC", word * 2654435761u >> 8);
        *p++ = one_line || hm_rng_below(&rng, 30) ? ' ' : '\n';
    }
    *length = (size_t)(p - text);
    return text;
}

/* The corpus as simply as can be: every word that is in the vocabulary, in its place. */
static void check_corpus(const struct hm_corpus *corpus, const char *text, size_t n,
                         uint64_t min_count)
{
    struct hm_words words = {0};
    uint64_t at = 0, n_tokens = 0, in_line = 0;
    uint64_t *count = calloc(corpus->vocab.n, sizeof *count);
    assert_non_null(count);
    assert_int_equal(hm_words_of_vocab(&words, &corpus->vocab, NULL), HM_OK);
    for (const char *p = text, *end = text + n; p < end; p++) {
        size_t length = strcspn(p, " \n");
        uint32_t id = length ? hm_words_find(&words, p, length) : HM_WORD_NONE;
        n_tokens += length > 0;
        p += length;
        if (id != HM_WORD_NONE) {
            if (at >= corpus->n_ids || corpus->id[at] != id)
                fail_msg("id %llu is another one", (unsigned long long)at);
            at++;
            count[id]++;
            in_line++;
        }
        if (p + 1 >= end || *p == '\n') {
            if (in_line && corpus->id[at++] != corpus->vocab.n)
                fail_msg("id %llu is not the end of a line", (unsigned long long)at - 1);
            in_line = 0;
        }
    }
    assert_int_equal(at, corpus->n_ids);
    assert_int_equal(n_tokens, corpus->n_tokens);
    assert_int_equal(n, corpus->n_bytes);
    for (uint32_t i = 0; i < corpus->vocab.n; i++) {
        assert_int_equal(count[i], corpus->vocab.count[i]);
        assert_true(count[i] >= min_count);
        assert_true(i == 0 || count[i] < count[i - 1] ||
                    (count[i] == count[i - 1] && strcmp(hm_vocab_word(&corpus->vocab, i - 1),
                                                        hm_vocab_word(&corpus->vocab, i)) < 0));
    }
    free(count);
    hm_words_fini(&words);
}

static void check_same(const struct hm_corpus *a, const struct hm_corpus *b)
{
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->id, b->id, 4 * a->n_ids);
    assert_true(a->vocab.fingerprint == b->vocab.fingerprint);
    assert_int_equal(a->vocab.n, b->vocab.n);
    assert_memory_equal(a->vocab.text, b->vocab.text, a->vocab.start[a->vocab.n]);
    assert_true(a->n_tokens == b->n_tokens && a->n_bytes == b->n_bytes);
}

static void read_by_threads(uint64_t seed)
{
    for (int one_line = 0; one_line < 2; one_line++) {
        size_t n;
        char *text = random_text(seed, 300000, one_line,
                                 &n); /* of a few blocks; many: test_corpus_blocks.c */
        const char *path = temp_write("a.txt", text, n);
        struct hm_corpus_options options = options_of(3);
        options.threads = 1;
        struct hm_corpus first = opened(path, &options);
        check_corpus(&first, text, n, 3);
        assert_true(!one_line || first.n_lines == 1);
        for (options.threads = 2; options.threads <= 5; options.threads += one_line ? 3 : 9) {
            struct hm_corpus corpus = opened(path, &options);
            check_same(&first, &corpus);
            hm_corpus_close(&corpus);
        }
        hm_corpus_close(&first);
        free(text);
    }
}

static void test_any_number_of_threads(void **state)
{
    (void)state;
    for_each_seed(1, read_by_threads);
}

static void test_where_to_cut(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(1);
    struct hm_corpus corpus = opened(temp_text("a.txt", "a b c\na\nb c\n"), &options);
    const uint64_t expected[] = {0, 4, 4, 4, 4, 6, 6, 9, 9, 9};
    for (uint64_t at = 0; at <= corpus.n_ids; at++)
        assert_int_equal(hm_corpus_cut(&corpus, at), expected[at]);
    hm_corpus_close(&corpus);

    enum { N = 3 * HM_CORPUS_CUT_REACH };
    char *line = malloc(2 * N);
    assert_non_null(line);
    for (int i = 0; i < N; i++)
        memcpy(line + 2 * i, "a ", 2);
    corpus = opened(temp_write("a.txt", line, 2 * N), &options);
    assert_int_equal(corpus.n_ids, N + 1);
    assert_int_equal(hm_corpus_cut(&corpus, 10), 10); /* one endless line */
    assert_int_equal(hm_corpus_cut(&corpus, N), N + 1);
    hm_corpus_close(&corpus);
    free(line);
}

/* ---- vocabularies ---- */

static enum hm_status read_vocab(struct hm_vocab *vocab, const char *text, struct hm_err *err)
{
    const char *path = temp_text("v.txt", text);
    err->text[0] = 0;
    return hm_vocab_read(vocab, &path, 1, 1, 0, NULL, err);
}

static void test_a_vocabulary_for_shards(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(0);
    options.vocab_file = temp_text("v.txt", "</s> 0\nc 70\na\t9\n\nb 70\nabsent 1\n");
    struct hm_corpus corpus = opened(temp_text("a.txt", "a b x\nx y\nc c\n"), &options);
    assert_string_equal(vocab_text(&corpus.vocab), "b:70 c:70 a:9 absent:1 ");
    assert_string_equal(text_of(&corpus), "a b/c c/");
    assert_int_equal(corpus.n_tokens, 7);
    assert_int_equal(corpus.vocab.total, 150);

    struct hm_corpus_options same = options_of(0); /* for a test set, from memory */
    same.vocab = &corpus.vocab;
    struct hm_corpus other = opened(temp_text("b.txt", "c x absent"), &same);
    assert_string_equal(text_of(&other), "c absent/");
    assert_true(other.vocab.fingerprint == corpus.vocab.fingerprint);
    hm_corpus_close(&other);
    hm_corpus_close(&corpus);
}

static void test_counts_of_shards_add_up(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(1);
    struct hm_vocab merged;
    struct hm_corpus part[2], whole;
    struct hm_err err;
    const char *file[] = {temp_text("a.txt", "a b c\nb d\n"), temp_text("b.txt", "d d a\n")};
    const char *name[] = {temp_path("a.vocab"), temp_path("b.vocab")};
    for (int i = 0; i < 2; i++) {
        part[i] = opened(file[i], &options);
        assert_int_equal(hm_vocab_write(&part[i].vocab, name[i], &err), HM_OK);
        hm_corpus_close(&part[i]);
    }
    assert_int_equal(hm_vocab_read(&merged, name, 2, 2, 0, NULL, &err), HM_OK);
    options.min_count = 2;
    assert_int_equal(hm_corpus_open(&whole, file, 2, &options, NULL, &err), HM_OK);
    assert_true(merged.fingerprint == whole.vocab.fingerprint);
    assert_string_equal(vocab_text(&merged), "d:3 a:2 b:2 ");
    hm_vocab_close(&merged);
    hm_corpus_close(&whole);
}

static void test_refused_vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"", "no word in it"},
        {"</s> 5\n", "no word in it"},
        {"a 1\nb\n", "line 2: 'b': a line is WORD COUNT"},
        {"a 1\nb x\n", "line 2: count 'x' of 'b': a whole number from 1 to 2^53"},
        {"b -1\n", "line 1: count '-1' of 'b'"},
        {"b 1.5\n", "line 1: count '1.5' of 'b'"},
        {"b 9007199254740993\n", "line 1: count '9007199254740993' of 'b'"},
        {"b 99999999999999999999999\n", "line 1: count '99999999999999999999999' of 'b'"},
        {"b 0\n", "line 1: count 0 of 'b'"},
        {"a 1\nc 2\na 3\n", "line 3: the word 'a' for the second time"},
        {"a b 3\n", "line 1: word 'a b': UTF-8 without white space"},
        {"a\xC2\xA0"
         "b 3\n",
         "line 1: word"},
        {"a\xFF 3\n", "line 1: word"},
        {"a 9007199254740992\nb 1\n", "add up to more than 2^53"},
        {"2 3\nthe 0.1 0.2 0.3\n", "line 2: count '0.3'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hm_vocab vocab;
        struct hm_err err;
        assert_int_equal(read_vocab(&vocab, bad[i].text, &err), HM_EINPUT);
        assert_null(vocab.own);
        if (!strstr(err.text, bad[i].said) || !strstr(err.text, "v.txt"))
            fail_msg("'%s' is to say '%s', not '%s'", bad[i].text, bad[i].said, err.text);
    }
}

static void test_packed_vocabularies(void **state)
{
    (void)state;
    struct hm_vocab vocab, again;
    struct hm_err err;
    assert_int_equal(read_vocab(&vocab, "the 100000000000\na 7\nb 7\n", &err), HM_OK);
    size_t n = hm_vocab_packed_bytes(&vocab);
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    hm_vocab_pack(&vocab, bytes);
    assert_int_equal(hm_vocab_unpack(&again, bytes, n, &err), HM_OK);
    assert_true(again.fingerprint == vocab.fingerprint);
    assert_string_equal(vocab_text(&again), vocab_text(&vocab));
    hm_vocab_close(&again);
    for (size_t cut = 0; cut < n; cut++) /* from a peer: whatever is missing or altered */
        assert_int_equal(hm_vocab_unpack(&again, bytes, cut, &err), HM_EINPUT);
    bytes[n] = 0;
    assert_int_equal(hm_vocab_unpack(&again, bytes, n + 1, &err), HM_EINPUT);
    static const struct {
        size_t at;
        uint8_t to;
    } damage[] = {{0, 2},    {0, 4},    {3, 0x80}, {20, 200}, {20, 0},  {12, 0},
                  {28, ' '}, {31, 'a'}, {32, 'c'}, {32, 0},   {34, 'a'}};
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        uint8_t was = bytes[damage[i].at];
        bytes[damage[i].at] = damage[i].to;
        if (hm_vocab_unpack(&again, bytes, n, &err) != HM_EINPUT)
            fail_msg("byte %zu", damage[i].at);
        bytes[damage[i].at] = was;
    }
    free(bytes);
    hm_vocab_close(&vocab);
}

/* ---- what is refused ---- */

static enum hm_status open_text(const char *path, const struct hm_corpus_options *options,
                                struct hm_err *err)
{
    struct hm_corpus corpus;
    err->text[0] = 0;
    enum hm_status status = hm_corpus_open(&corpus, &path, 1, options, NULL, err);
    assert_true((status == HM_OK) == (corpus.map != NULL));
    hm_corpus_close(&corpus);
    return status;
}

static void check_refused(const char *path, const struct hm_corpus_options *options,
                          enum hm_status expected, const char *said)
{
    struct hm_err err;
    assert_int_equal(open_text(path, options, &err), expected);
    if (!strstr(err.text, said))
        fail_msg("'%s' is to be said, not '%s'", said, err.text);
}

static void test_refused_texts(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(2);
    check_refused(temp_path("none.txt"), &options, HM_EIO, "none.txt: No such file");
    check_refused(temp_text("a.txt", ""), &options, HM_EINPUT, "there are no words in it");
    check_refused(temp_text("a.txt", " \n\n"), &options, HM_EINPUT, "there are no words in it");
    check_refused(temp_text("a.txt", "a b c\n"), &options, HM_EINPUT,
                  "none of the 3 different words occurs 2 times or more; lower --min-count");
    check_refused(temp_write("a.txt", "a a\nb\0\n", 7), &options, HM_EINPUT,
                  "a.txt: line 2: a NUL byte");
    check_refused(temp_write("a.gz", "\x1F\x8B\x08\0\0\0\0\0", 8), &options, HM_ECORRUPT, "a.gz");
    options.vocab_file = temp_text("v.txt", "x 5\n");
    check_refused(temp_text("a.txt", "a a a\n"), &options, HM_EINPUT,
                  "a.txt: none of its 3 words is in");
    options.vocab_file = temp_text("v.txt", "x\n");
    check_refused(temp_text("a.txt", "a a a\n"), &options, HM_EINPUT, "v.txt: line 1");
}

static int stop_at(void *context, const char *what, double done, double total, const char *unit)
{
    (void)what, (void)done, (void)total, (void)unit;
    return --*(int *)context < 0;
}

static void test_stopped(void **state)
{
    (void)state;
    struct hm_corpus_options options = options_of(1);
    const char *path = temp_text("a.txt", "a b c d\n");
    struct hm_corpus corpus;
    struct hm_err err;
    int stopped = 0;
    options.no_cache = 0;
    for (int left = 0; left < 10 && !stopped; left++) {
        int budget = left;
        struct hm_progress progress = {stop_at, &budget};
        enum hm_status status = hm_corpus_open(&corpus, &path, 1, &options, &progress, &err);
        assert_true(status == HM_ESTOPPED || status == HM_OK);
        stopped = status == HM_OK && left > 0;
        hm_corpus_close(&corpus);
        if (status)
            assert_int_equal(temp_count("a.txt"), 1); /* no cache, no lock, no draft */
    }
    assert_true(stopped);
}

/* ---- the cache ---- */

static struct hm_corpus_options cached_options(void)
{
    return (struct hm_corpus_options){.threads = 1};
}

static const char five[] = "a a a a a b b b b b c\n";

static void test_cache_is_used_and_renewed(void **state)
{
    (void)state;
    struct hm_corpus_options options = cached_options();
    const char *path = temp_text("a.txt", five);
    struct hm_corpus first = opened(path, &options), again = opened(path, &options);
    assert_int_equal(first.from_cache, 0);
    assert_string_equal(first.cache_path, temp_path("a.txt.hmcache"));
    assert_int_equal(again.from_cache, 1);
    assert_int_equal(again.n_tokens, 11);
    check_same(&first, &again);
    hm_corpus_close(&again);
    hm_corpus_close(&first);

    options.lowercase = 1; /* another corpus, and another cache */
    first = opened(path, &options);
    assert_int_equal(first.from_cache, 0);
    assert_string_not_equal(first.cache_path, temp_path("a.txt.hmcache"));
    hm_corpus_close(&first);
    options = cached_options();
    options.vocab_file = temp_text("v.txt", "b 5\n");
    first = opened(path, &options);
    assert_string_equal(text_of(&first), "b b b b b/");
    hm_corpus_close(&first);
    temp_text("v.txt", "b 5\na 55\n");
    first = opened(path, &options);
    assert_int_equal(first.from_cache, 0);
    assert_int_equal(first.vocab.n, 2);
    hm_corpus_close(&first);

    options = cached_options();
    temp_text("a.txt", "a a a a a b b b b b c c c c c\n");
    first = opened(path, &options);
    assert_int_equal(first.from_cache, 0);
    assert_int_equal(first.cache_was_damaged, 0);
    assert_int_equal(first.vocab.n, 3);
    hm_corpus_close(&first);
    options.no_cache = 1;
    first = opened(path, &options);
    assert_int_equal(first.from_cache, 0);
    assert_string_equal(first.cache_path, "");
    hm_corpus_close(&first);
}

/* Whatever is flipped or cut: the same corpus, and where the cache was to blame, said so. */
static void damage_cache(uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 7);
    struct hm_corpus_options options = cached_options();
    char path[512]; /* temp_path's buffers go round */
    snprintf(path, sizeof path, "%s", temp_text("a.txt", five));
    struct hm_corpus original = opened(path, &options), corpus;
    size_t size;
    unsigned n_damaged = 0;
    uint8_t *good = temp_read(temp_path("a.txt.hmcache"), &size), *bytes = malloc(size);
    assert_non_null(bytes);
    for (int i = 0; i < 300; i++) {
        size_t m = i % 5 ? size : hm_rng_below(&rng, (uint32_t)size);
        memcpy(bytes, good, size);
        size_t page = 4096 * (size_t)hm_rng_below(&rng, 5);
        if (m == size)
            bytes[page + hm_rng_below(&rng, page ? 24 : 160)] ^=
                (uint8_t)(1 << hm_rng_below(&rng, 8));
        unlink(temp_path("a.txt.hmcache")); /* it is mapped: never write to it */
        temp_write("a.txt.hmcache", bytes, m);
        corpus = opened(path, &options);
        check_same(&original, &corpus);
        n_damaged += corpus.cache_was_damaged != 0;
        assert_true(!corpus.cache_was_damaged || !corpus.from_cache);
        hm_corpus_close(&corpus);
    }
    assert_true(n_damaged > 100);
    free(bytes);
    free(good);
    hm_corpus_close(&original);
}

static void test_damaged_cache(void **state)
{
    (void)state;
    for_each_seed(1, damage_cache);
}

/* Gives a file checksums that hold, whatever is in it; but for one of the vocabulary, perhaps. */
static void seal(uint8_t *bytes, size_t size, int vocabulary)
{
    struct hm_corpus_header *h = (void *)bytes;
    struct hm_corpus_layout layout;
    assert_int_equal(hm_corpus_layout(h, size, &layout), 0);
    for (int i = 0; i < HM_CORPUS_SECTIONS; i++)
        h->checksum[i] = XXH3_64bits(bytes + layout.at[i], layout.bytes[i]);
    if (vocabulary)
        h->vocab_fingerprint = XXH3_64bits_withSeed(
            bytes + layout.at[HM_CORPUS_COUNT], layout.bytes[HM_CORPUS_COUNT],
            XXH3_64bits(bytes + layout.at[HM_CORPUS_TEXT], layout.bytes[HM_CORPUS_TEXT]));
    h->self = XXH3_64bits(h, offsetof(struct hm_corpus_header, self));
}

static int mapped(const uint8_t *bytes, size_t size)
{
    struct hm_corpus corpus;
    int fd = open(temp_write("b.hmcache", bytes, size), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    int bad = hm_corpus_map(fd, &corpus);
    close(fd);
    if (!bad)
        hm_corpus_close(&corpus);
    return !bad;
}

/* Checksums that hold say who wrote a file, not that it is right. The text is "a" and "b", five
 * times each. */
static void test_caches_that_lie(void **state)
{
    (void)state;
    struct hm_corpus_options options = cached_options();
    struct hm_corpus corpus = opened(temp_text("a.txt", five), &options);
    size_t size;
    uint8_t *good = temp_read(temp_path("a.txt.hmcache"), &size), *bytes = malloc(size + 1);
    struct hm_corpus_layout layout;
    assert_non_null(bytes);
    assert_int_equal(hm_corpus_layout((void *)good, size, &layout), 0);
    const size_t count = layout.at[HM_CORPUS_COUNT], start = layout.at[HM_CORPUS_START],
                 text = layout.at[HM_CORPUS_TEXT], id = layout.at[HM_CORPUS_ID];
#define FIELD(name) offsetof(struct hm_corpus_header, name)
    const struct {
        struct {
            size_t at;
            uint8_t to;
        } byte[3]; /* at 0: no more */
    } lie[] = {
        {{{id, 3}}},                                                  /* no word, no mark */
        {{{id + 4, 2}}},                                              /* a line more */
        {{{size - 4, 0}, {FIELD(n_lines), 0}, {FIELD(n_words), 11}}}, /* the last has no end */
        {{{FIELD(n_lines), 2}}},                                      /* fewer than are said */
        {{{FIELD(n_words), 9}}},                                      /* and words */
        {{{FIELD(total), 11}}},                                       /* another sum of counts */
        {{{count + 7, 0x20}, {FIELD(total) + 7, 0x20}}},              /* too large to count */
        {{{count + 8, 0}, {FIELD(total), 5}}},                        /* a word never seen */
        {{{start, 1}}},                                               /* no text begins there */
        {{{start + 4, 4}}},                                           /* or ends there */
        {{{text + 1, 'x'}}},                                          /* a word without end */
        {{{text + 2, 'a'}}},                                          /* a word twice */
        {{{text, ' '}}},                                              /* no word at all */
        {{{FIELD(vocab_fingerprint), (uint8_t)~good[FIELD(vocab_fingerprint)]}}},
    };
    memcpy(bytes, good, size);
    seal(bytes, size, 1);
    assert_memory_equal(bytes, good, size);
    assert_true(mapped(bytes, size));
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        memcpy(bytes, good, size);
        for (int k = 0; k < 3 && lie[i].byte[k].at; k++)
            bytes[lie[i].byte[k].at] = lie[i].byte[k].to;
        assert_memory_not_equal(bytes, good, size);
        seal(bytes, size, lie[i].byte[0].at != FIELD(vocab_fingerprint));
        if (mapped(bytes, size))
            fail_msg("lie %zu is believed", i);
    }
    memcpy(bytes, good, size);
    bytes[size] = 0;
    assert_false(mapped(bytes, size + 1)); /* longer than it says */
    bytes[FIELD(n_tokens)] ^= 1;
    assert_false(mapped(bytes, size)); /* its header is not what was written */
    free(bytes);
    free(good);
    hm_corpus_close(&corpus);
}

/* The text is written anew when all of it has been read. */
static int change_text(void *context, const char *what, double done, double total, const char *unit)
{
    (void)what, (void)unit;
    if (done == total && !*(int *)context) {
        temp_text("a.txt", "b b b b b b b b b\n");
        *(int *)context = 1;
    }
    return 0;
}

static void test_text_that_changes_meanwhile(void **state)
{
    (void)state;
    struct hm_corpus corpus;
    struct hm_err err;
    int changed = 0;
    struct hm_corpus_options options = cached_options();
    struct hm_progress progress = {change_text, &changed};
    const char *path = temp_text("a.txt", five);
    assert_int_equal(hm_corpus_open(&corpus, &path, 1, &options, &progress, &err), HM_EINPUT);
    assert_int_equal(changed, 1);
    assert_non_null(strstr(err.text, "a.txt: changed while it was read"));
    assert_int_equal(temp_count("a.txt"), 1); /* no cache */
}

static void test_wrong_usage(void **state)
{
    (void)state;
    struct hm_corpus corpus;
    struct hm_vocab vocab;
    struct hm_err err;
    struct hm_corpus_options options = options_of(1);
    const char *path = temp_text("a.txt", five), *many[HM_VOCAB_FILES_MAX + 1];
    assert_int_equal(hm_corpus_open(&corpus, &path, 0, &options, NULL, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "1 to 64 files, not 0"));
    options.vocab_max = HM_WORDS_MAX + 1;
    assert_int_equal(hm_corpus_open(&corpus, &path, 1, &options, NULL, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "at most"));
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++)
        many[i] = path;
    assert_int_equal(hm_vocab_read(&vocab, many, 0, 1, 0, NULL, &err), HM_EUSAGE);
    assert_int_equal(hm_vocab_read(&vocab, many, HM_VOCAB_FILES_MAX + 1, 1, 0, NULL, &err),
                     HM_EUSAGE);
    many[0] = temp_text("a.vocab", "a 9007199254740992\n");
    many[1] = temp_text("b.vocab", "b 1\na 1\n");
    assert_int_equal(hm_vocab_read(&vocab, many, 2, 1, 0, NULL, &err), HM_EINPUT);
    assert_non_null(
        strstr(err.text, "b.vocab: line 2: the counts of 'a' add up to more than 2^53"));
}

/* Four processes start at once: one reads the text, three take its cache. */
static void test_one_builds_for_all(void **state)
{
    (void)state;
    size_t n;
    char *text = random_text(1, 300000, 0, &n);
    const char *path = temp_write("a.txt", text, n);
    struct hm_corpus_options options = cached_options();
    int n_cached = 0, status;
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            struct hm_corpus corpus;
            if (hm_corpus_open(&corpus, &path, 1, &options, NULL, NULL) != HM_OK)
                _exit(9);
            _exit(corpus.from_cache);
        }
    for (int i = 0; i < 4; i++) {
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        n_cached += WEXITSTATUS(status);
    }
    assert_int_equal(n_cached, 3);
    assert_int_equal(temp_count("a.txt"), 2); /* the text and the cache */
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temp_setup, temp_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_white_space_separates_words),
        TEST(test_lowercase_keeps_letters_and_digits),
        TEST(test_bytes_that_are_not_utf8),
        TEST(test_words_that_are_too_long),
        TEST(test_a_set_of_words),
        TEST(test_ids_go_by_count_then_bytes),
        TEST(test_min_count_is_five_unless_given),
        TEST(test_files_end_lines),
        TEST(test_any_number_of_threads),
        TEST(test_where_to_cut),
        TEST(test_a_vocabulary_for_shards),
        TEST(test_counts_of_shards_add_up),
        TEST(test_refused_vocabularies),
        TEST(test_packed_vocabularies),
        TEST(test_refused_texts),
        TEST(test_stopped),
        TEST(test_cache_is_used_and_renewed),
        TEST(test_damaged_cache),
        TEST(test_caches_that_lie),
        TEST(test_text_that_changes_meanwhile),
        TEST(test_wrong_usage),
        TEST(test_one_builds_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
