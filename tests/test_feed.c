/* What feeders send: examples as bytes and back, what is refused, golden bytes; and the buffer that
 * batches wait in.
 *
 * HOGMESH_SEED=N repeats a random test.
 */
#include "tests/feed_check.h"
#include "tests/golden.h"
#include "tests/wire_check.h"

#include "node/feed_buffer.h"
#include "sparse/rng.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { VOCAB = 70000, LONGEST = 40 };

static uint64_t seed_of_test(uint64_t test)
{
    const char *text = getenv("HOGMESH_SEED");
    const uint64_t seed = text && *text ? strtoull(text, NULL, 10) : 1;
    print_message("to repeat: HOGMESH_SEED=%llu test_feed\n", (unsigned long long)seed);
    return hm_mix(seed + test);
}

/* ---- words ---- */

static void test_words_are_read_back(void **state)
{
    static const uint32_t id[] = {5, 0, 127, VOCAB, 128, 16383, VOCAB, VOCAB - 1};
    enum { N = sizeof id / sizeof id[0] };
    uint8_t bytes[64];
    uint32_t got[N], n_ids, n_words;
    (void)state;
    assert_true(hm_feed_words_bound(N) <= sizeof bytes);
    size_t n = hm_feed_put_words(id, N, VOCAB, bytes);
    assert_int_equal(n,
                     1 + 1 + 1 + 2 + 1 + 2 + 3 + 1 + 3); /* count; ids, the frequent ones short */
    assert_int_equal(hm_feed_get_words(bytes, n, VOCAB, got, N, &n_ids, &n_words), 0);
    assert_int_equal(n_ids, N);
    assert_int_equal(n_words, N - 2);
    assert_memory_equal(got, id, sizeof id);
    assert_true(feed_check_words(bytes, n, VOCAB, N));
    assert_false(feed_check_words(bytes, n, VOCAB - 1, N)); /* an id beyond the vocabulary */
    assert_false(feed_check_words(bytes, n, VOCAB, N - 1)); /* more than there is room for */
    for (size_t cut = 0; cut < n; cut++)
        assert_false(feed_check_words(bytes, cut, VOCAB, N));
    bytes[n] = 1;
    assert_false(feed_check_words(bytes, n + 1, VOCAB, N)); /* something behind the end */
}

static void test_words_that_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint8_t n, bytes[12];
    } bad[] = {
        {"no id at all", 1, {0}},
        {"an empty line at the beginning", 3, {2, 0, 1}},
        {"an empty line", 5, {4, 1, 0, 0, 1}},
        {"only the end of a line", 2, {1, 0}},
        {"more ids than bytes", 2, {2, 1}},
        {"a count of 2^32 - 1", 6, {0xff, 0xff, 0xff, 0xff, 0x0f, 1}},
        {"a count beyond 32 bits", 6, {0xff, 0xff, 0xff, 0xff, 0x1f, 1}},
        {"an id that is not in its shortest form", 3, {1, 0x81, 0}},
        {"an id of 2^32 - 1", 6, {1, 0xff, 0xff, 0xff, 0xff, 0x0f}},
        {"an id without an end", 7, {1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (feed_check_words(bad[i].bytes, bad[i].n, VOCAB, 100))
            fail_msg("%s is taken", bad[i].what);
}

/* ---- rows ---- */

/* Random rows, with labels and ids of all kinds. */
static struct hm_feed_rows some_rows(struct hm_rng *rng, uint32_t n_features, uint64_t n)
{
    struct hm_feed_rows rows = feed_rows_room(n_features, LONGEST, n, n * LONGEST);
    rows.start[0] = 0;
    for (rows.n_rows = 0; rows.n_rows < n; rows.n_rows++) {
        uint32_t count = hm_rng_below(rng, LONGEST + 1), id = hm_rng_below(rng, n_features / 100);
        for (uint32_t k = 0; k < count && id < n_features; k++) {
            if (rows.id16)
                rows.id16[rows.n_nonzero] = (uint16_t)id;
            else
                rows.id32[rows.n_nonzero] = id;
            rows.value[rows.n_nonzero++] = (float)(hm_rng_unit(rng) - .5);
            id += 1 + hm_rng_below(rng, n_features / 50);
        }
        rows.label[rows.n_rows] = hm_rng_next(rng) & 1 ? 1 : -1;
        rows.start[rows.n_rows + 1] = rows.n_nonzero;
    }
    return rows;
}

static void test_rows_are_read_back(void **state)
{
    const uint64_t seed = seed_of_test(1);
    static uint8_t bytes[1 << 16];
    (void)state;
    for (uint32_t n_features = 1000; n_features < 200000; n_features *= 12) {
        struct hm_rng rng = hm_rng_seed(seed, n_features);
        struct hm_feed_rows all = some_rows(&rng, n_features, 100);
        struct hm_rows rows = feed_rows_view(&all);
        uint64_t taken;
        size_t n = hm_feed_put_rows(&rows, 0, 100, bytes, sizeof bytes, &taken);
        assert_int_equal(taken, 100);
        assert_true(feed_check_rows(bytes, n, n_features, LONGEST, 100, 100 * LONGEST));
        assert_false(feed_check_rows(bytes, n, n_features, LONGEST, 99, 100 * LONGEST));
        assert_false(feed_check_rows(bytes, n, n_features, LONGEST - 1, 100, 100 * LONGEST));
        assert_false(feed_check_rows(bytes, n, n_features, LONGEST, 100, rows.n_nonzero - 1));
        for (size_t cut = 0; cut < n; cut += 1 + cut / 50)
            assert_false(feed_check_rows(bytes, cut, n_features, LONGEST, 100, 100 * LONGEST));
        for (int i = 0; i < 2000; i++) { /* whatever becomes of it, nothing worse than a refusal */
            const uint32_t at = hm_rng_below(&rng, (uint32_t)n);
            const uint8_t was = bytes[at];
            bytes[at] ^= (uint8_t)(1 + hm_rng_below(&rng, 255));
            feed_check_rows(bytes, n, n_features, LONGEST, 100, 100 * LONGEST);
            bytes[at] = was;
        }
        feed_rows_free(&all);
    }
}

/* As many rows as fit, and none of a row that does not. */
static void test_rows_fill_messages(void **state)
{
    struct hm_rng rng = hm_rng_seed(seed_of_test(2), 0);
    struct hm_feed_rows all = some_rows(&rng, 5000, 50);
    struct hm_rows rows = feed_rows_view(&all);
    uint8_t bytes[600];
    uint64_t from = 0, taken;
    (void)state;
    for (unsigned messages = 0; from < 50; from += taken, messages++) {
        memset(bytes, 0xee, sizeof bytes);
        size_t n = hm_feed_put_rows(&rows, from, 50 - from, bytes, 500, &taken);
        assert_true(taken && n <= 500 && bytes[500] == 0xee);
        assert_true(feed_check_rows(bytes, n, 5000, LONGEST, 50, 50 * LONGEST));
        assert_true(messages < 50);
    }
    uint64_t longest = 0;
    for (uint64_t r = 0; r < 50; r++)
        longest = rows.start[r + 1] - rows.start[r] > rows.start[longest + 1] - rows.start[longest]
                      ? r
                      : longest;
    assert_int_equal(hm_feed_put_rows(&rows, longest, 1, bytes, 16, &taken), 0);
    assert_int_equal(taken, 0);
    feed_rows_free(&all);
}

static void test_rows_that_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint8_t n, bytes[24];
    } bad[] = {
        {"no rows", 1, {0}},
        {"a row less than announced", 2, {2, 1}},
        {"a feature beyond the last", 7, {1, 3, 100, 0, 0, 0x80, 0x3f}},
        {"a second feature beyond the last", 12, {1, 5, 99, 0, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f}},
        {"an infinite value", 7, {1, 3, 7, 0, 0, 0x80, 0x7f}},
        {"a value that is no number", 7, {1, 3, 7, 1, 0, 0xc0, 0xff}},
        {"fewer values than features", 10, {1, 5, 1, 1, 0, 0, 0x80, 0x3f, 0, 0}},
        {"2^31 - 1 features", 7, {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 7}},
        {"a label that is not in its shortest form", 8, {1, 0x83, 0, 7, 0, 0, 0x80, 0x3f}},
        {"something behind the end", 8, {1, 3, 7, 0, 0, 0x80, 0x3f, 0}},
    };
    static const uint8_t good[] = {1, 3, 99, 0, 0, 0x80, 0x3f};
    (void)state;
    assert_true(feed_check_rows(good, sizeof good, 100, LONGEST, 4, 40));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (feed_check_rows(bad[i].bytes, bad[i].n, 100, LONGEST, 4, 40))
            fail_msg("%s is taken", bad[i].what);
}

/* ---- images ---- */

static void test_images(void **state)
{
    uint8_t bytes[1 + 3 * 5], *label, *pixel;
    (void)state;
    assert_int_equal(hm_feed_images_bytes(3, 4), sizeof bytes);
    hm_feed_put_images(3, bytes, &label, &pixel);
    memcpy(label, "\0\x09\x05", 3);
    memcpy(pixel, "aaaabbbbcccc", 12);
    assert_true(feed_check_images(bytes, sizeof bytes, 3, 4));
    assert_false(feed_check_images(bytes, sizeof bytes, 2, 4));
    assert_false(feed_check_images(bytes, sizeof bytes, 3, 5));
    assert_false(feed_check_images(bytes, sizeof bytes - 1, 3, 4));
    label[1] = HM_CLASSES;
    assert_false(feed_check_images(bytes, sizeof bytes, 3, 4));
    label[1] = 0;
    bytes[0] = 0;
    assert_false(feed_check_images(bytes, 1, 3, 4));
}

/* ---- golden bytes ---- */

static const uint64_t FEEDER = 0x3132333435363738, TRAINER = 0x1112131415161718,
                      FACTS = 0x00c0ffee00c0ffee;

static void check_header(struct hm_header *h, const char *name)
{
    uint8_t bytes[HM_HEADER_BOUND];
    h->fingerprint = h->type == HM_FEED_HELLO ? 0 : FACTS;
    h->life = h->type == HM_FEED_HELLO || h->type == HM_FEED_WANT || h->type == HM_FEED_BEAT
                  ? TRAINER
                  : FEEDER;
    size_t n = hm_wire_encode(h, bytes);
    assert_true(wire_check_header(bytes, n));
    for (size_t cut = 0; cut < n; cut++)
        assert_false(wire_check_header(bytes, cut));
    golden_check(name, bytes, n);
}

static void test_golden_headers(void **state)
{
    struct hm_header hello = {.type = HM_FEED_HELLO}, facts = {.type = HM_FEED_FACTS},
                     want = {.type = HM_FEED_WANT}, piece = {.type = HM_FEED_PIECE},
                     beat = {.type = HM_FEED_BEAT}, said = {.type = HM_FEED_STATE},
                     batch = {.type = HM_FEED_BATCH};
    (void)state;
    strcpy(hello.feed_hello.label, "bert");
    strcpy(facts.feed_facts.label, "fred");
    strcpy(facts.feed_facts.pub, "tcp://10.0.0.6:7101");
    facts.feed_facts.examples = 287634;
    facts.feed_facts.total = 862902;
    facts.feed_facts.batch = 8192;
    facts.feed_facts.n_bulk = 1;
    facts.feed_facts.n_sample = 64;
    want.feed_piece = piece.feed_piece = (struct hm_feed_piece_head){HM_FEED_SAMPLE, 2};
    beat.feed_beat = (struct hm_feed_beat_head){FEEDER, 300, 297, 0, 1};
    said.feed_state = (struct hm_feed_state_head){301, 1};
    batch.feed_batch = (struct hm_feed_batch_head){301, 0x8877665544332211};
    check_header(&hello, "feed_hello-header");
    check_header(&facts, "feed_facts-header");
    check_header(&want, "feed_want-header");
    check_header(&piece, "feed_piece-header");
    check_header(&beat, "feed_beat-header");
    check_header(&said, "feed_state-header");
    check_header(&batch, "feed_batch-header");
    beat.feed_beat.trained = beat.feed_beat.received = 5; /* and nobody trains on more than came */
    uint8_t bytes[HM_HEADER_BOUND];
    size_t n = hm_wire_encode(&beat, bytes);
    bytes[n - 3]++;
    assert_false(wire_check_header(bytes, n));
}

static void test_golden_payloads(void **state)
{
    static const uint32_t id[] = {0, 300, 2, 700, 5};
    static const uint64_t start[] = {0, 2, 3};
    static const uint16_t feature[] = {1, 200, 0};
    static const float value[] = {1, -.5f, .25f};
    static const int8_t label[] = {1, -1};
    const struct hm_rows rows = {.n_rows = 2,
                                 .n_nonzero = 3,
                                 .start = start,
                                 .id16 = feature,
                                 .value = value,
                                 .label = label};
    uint8_t bytes[64], *labels, *pixels;
    uint64_t taken;
    (void)state;
    golden_check("feed_batch-words", bytes, hm_feed_put_words(id, 5, 700, bytes));
    golden_check("feed_batch-rows", bytes,
                 hm_feed_put_rows(&rows, 0, 2, bytes, sizeof bytes, &taken));
    hm_feed_put_images(2, bytes, &labels, &pixels);
    memcpy(labels, "\x03\x09", 2);
    memcpy(pixels, "\0\x40\x80\xff\x01\x02\x03\x04", 8);
    golden_check("feed_batch-images", bytes, hm_feed_images_bytes(2, 4));
}

/* ---- the buffer ---- */

static void test_buffer_keeps_to_its_slots(void **state)
{
    struct hm_feed_buffer buffer;
    struct hm_feed_slot *slot[3], *taken;
    (void)state;
    assert_int_equal(hm_feed_buffer_open(&buffer, 3, 128, NULL), HM_OK);
    assert_null(hm_feed_buffer_take(&buffer));
    assert_true(hm_feed_buffer_is_idle(&buffer));
    for (int i = 0; i < 3; i++) {
        slot[i] = hm_feed_buffer_room(&buffer);
        assert_non_null(slot[i]);
        memset(slot[i]->memory, i, 128);
        slot[i]->shard.n = (uint64_t)i;
        hm_feed_buffer_push(&buffer, slot[i]);
    }
    assert_null(hm_feed_buffer_room(&buffer)); /* full: the next one stays in its queue */
    assert_false(hm_feed_buffer_is_idle(&buffer));
    taken = hm_feed_buffer_take(&buffer);
    assert_ptr_equal(taken, slot[0]);          /* the oldest */
    assert_null(hm_feed_buffer_room(&buffer)); /* a worker has it */
    hm_feed_buffer_give_back(&buffer, taken);
    assert_ptr_equal(hm_feed_buffer_room(&buffer), slot[0]);
    hm_feed_buffer_push(&buffer, slot[0]);
    for (int i = 1; i < 4; i++) {
        taken = hm_feed_buffer_take(&buffer);
        assert_ptr_equal(taken, slot[i % 3]);
        assert_int_equal(*(uint8_t *)taken->memory, i % 3);
        hm_feed_buffer_give_back(&buffer, taken);
    }
    assert_true(hm_feed_buffer_is_idle(&buffer));
    hm_feed_buffer_close(&buffer);
}

enum { BATCHES = 20000, WORKERS = 3 };

static struct {
    struct hm_feed_buffer buffer;
    atomic_int done;
    atomic_uint_fast64_t sum, n;
} shared;

static void *work(void *argument)
{
    (void)argument;
    for (;;) {
        const int done = atomic_load(&shared.done);
        struct hm_feed_slot *slot = hm_feed_buffer_take(&shared.buffer);
        if (!slot && done)
            return NULL;
        if (!slot) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&shared.sum, *(uint64_t *)slot->memory);
        atomic_fetch_add(&shared.n, 1);
        hm_feed_buffer_give_back(&shared.buffer, slot);
    }
}

/* Each batch reaches one worker, once. */
static void test_buffer_among_threads(void **state)
{
    pthread_t thread[WORKERS];
    (void)state;
    assert_int_equal(hm_feed_buffer_open(&shared.buffer, 4, 64, NULL), HM_OK);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, NULL), 0);
    for (uint64_t i = 1; i <= BATCHES;) {
        struct hm_feed_slot *slot = hm_feed_buffer_room(&shared.buffer);
        if (!slot) {
            sched_yield();
            continue;
        }
        *(uint64_t *)slot->memory = i++;
        hm_feed_buffer_push(&shared.buffer, slot);
    }
    atomic_store(&shared.done, 1);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&shared.n), BATCHES);
    assert_int_equal(atomic_load(&shared.sum), (uint64_t)BATCHES * (BATCHES + 1) / 2);
    hm_feed_buffer_close(&shared.buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_read_back),
        cmocka_unit_test(test_words_that_are_refused),
        cmocka_unit_test(test_rows_are_read_back),
        cmocka_unit_test(test_rows_fill_messages),
        cmocka_unit_test(test_rows_that_are_refused),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_golden_headers),
        cmocka_unit_test(test_golden_payloads),
        cmocka_unit_test(test_buffer_keeps_to_its_slots),
        cmocka_unit_test(test_buffer_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
