/* How a text goes through the ring of blocks, with blocks so small that a few kilobytes of it go
 * round many times. The reader is compiled into this program with its sizes for fuzzing, and a
 * block can be made to take long. */
#include "tests/temp_folder.h"

#include "models/tokens.h"
#include "sparse/rng.h"
#include "tests/seeds.h"

static void start_tokens(struct hm_tokens *tokens, const void *text, size_t n, int lowercase);

#define HM_SMALL_BUFFERS
#define hm_tokens_init start_tokens
#include "models/corpus_read.c"
#undef hm_tokens_init

enum { SLOW_US = 30000 };

/* A reader that is given a text that begins so is long about it. */
static void start_tokens(struct hm_tokens *tokens, const void *text, size_t n, int lowercase)
{
    if (n >= 4 && memcmp(text, "slow", 4) == 0)
        usleep(SLOW_US);
    hm_tokens_init(tokens, text, n, lowercase);
}

/* ---- the text as it comes out ---- */

struct result {
    const struct hm_text *text;
    char *p;
};

static enum hm_status put(void *context, const uint32_t *id, size_t n, struct hm_err *err)
{
    struct result *result = context;
    (void)err;
    for (size_t i = 0; i < n; i++)
        if (id[i] == result->text->vocab.n) {
            result->p[-1] = '\n';
        } else {
            result->p = stpcpy(result->p, hm_vocab_word(&result->text->vocab, id[i]));
            *result->p++ = ' ';
        }
    return HM_OK;
}

static int spool(void)
{
    char name[] = "/tmp/hogmesh-spool-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

/* Reads text [n], in which one blank or line end is between words and a line end at the end. */
static void check_text(const char *text, size_t n, unsigned threads, uint64_t n_words)
{
    const char *path = temp_write("a.txt", text, n);
    struct hm_corpus_options options = {.min_count = 1, .threads = threads};
    struct hm_text read;
    struct hm_err err = {""};
    char *out = malloc(n + 1);
    struct result result = {&read, out};
    assert_non_null(out);
    if (hm_text_read(&read, &path, 1, &options, spool(), NULL, &err) ||
        hm_text_ids(&read, put, &result, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(read.n_tokens, n_words);
    assert_int_equal(read.vocab.total, n_words);
    assert_int_equal(result.p - out, n);
    assert_memory_equal(out, text, n);
    hm_text_close(&read);
    free(out);
}

/* ---- the tests ---- */

/* While one reader is at the first block the others go round the ring, and find it there. */
static void test_a_slow_reader_keeps_its_block(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        char text[4000] = "slow", *p = text + 4;
        unsigned n_words = 1;
        while (p < text + 3500) {
            int end = n_words % 97 == 0, slow = n_words % 211 == 0;
            p += sprintf(p, "%c%s%u", end ? '\n' : ' ', slow ? "slow" : "w", n_words++);
        }
        *p++ = '\n';
        check_text(text, (size_t)(p - text), threads, n_words);
    }
}

/* Lines of 1 to 300 words of which some come often, some once; words up to the longest. */
static void any_text(uint64_t seed)
{
    enum { N = 20000 };
    struct hm_rng rng = hm_rng_seed(seed, 3);
    char *text = malloc(HM_WORD_BYTES_MAX * (size_t)N / 50 + 12 * N), *p = text;
    assert_non_null(text);
    for (unsigned i = 0; i < N; i++) {
        uint32_t word = hm_rng_below(&rng, hm_rng_below(&rng, 5000) + 1);
        p += sprintf(p, "%x", word);
        if (word % 300 == 1) { /* the same at each of its places */
            memset(p, 'x', word % 900);
            p += word % 900;
        }
        *p++ = hm_rng_below(&rng, 300) ? ' ' : '\n';
    }
    p[-1] = '\n';
    for (unsigned threads = 1; threads <= HM_READERS_MAX; threads += threads < 4 ? 1 : 6)
        check_text(text, (size_t)(p - text), threads, N);
    free(text);
}

static void test_any_text(void **state)
{
    (void)state;
    for_each_seed(2, any_text);
}

/* What has no white space grows its block, up to a limit. */
static void test_text_without_white_space(void **state)
{
    (void)state;
    char text[BLOCK_BYTES_MAX + 200];
    const char *path;
    struct hm_corpus_options options = {.min_count = 1, .threads = 2};
    struct hm_text read;
    struct hm_err err = {""};
    memset(text, 'x', sizeof text);
    memcpy(text + BLOCK_BYTES_MAX - 300, " a ", 3);
    path = temp_write("a.txt", text, sizeof text - 200);
    assert_int_equal(hm_text_read(&read, &path, 1, &options, -1, NULL, &err), HM_OK);
    assert_int_equal(read.n_too_long, 1);
    assert_int_equal(read.n_tokens, 2);
    hm_text_close(&read);
    memset(text, 'x', sizeof text);
    path = temp_write("a.txt", text, sizeof text);
    assert_int_equal(hm_text_read(&read, &path, 1, &options, -1, NULL, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "a.txt: "));
    assert_non_null(strstr(err.text, "MiB without white space"));
    hm_text_close(&read);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temp_setup, temp_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_slow_reader_keeps_its_block),
        TEST(test_any_text),
        TEST(test_text_without_white_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
