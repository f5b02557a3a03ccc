/* The log of a stream: a ring that grows, gives what it has and drops the oldest. */
#include "protocol/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>

static void append(struct hm_log *log, uint32_t hi, size_t n)
{
    struct hm_delta_head head = {.stream = 7, .lo = hi - 1, .hi = hi, .steps = 10 * hi};
    struct hm_blob *payload = n ? hm_blob_new(n) : NULL;
    assert_int_equal(hm_log_append(log, &head, payload), 0);
}

/* What the allocator has taken for an entry, and its place in a ring that is half full. */
static uint64_t bytes_of(struct hm_log_entry *entry)
{
    size_t payload = entry->payload ? malloc_usable_size(entry->payload) + sizeof(size_t) : 0;
    return malloc_usable_size(entry) + sizeof(size_t) + payload + 2 * sizeof entry;
}

static void check_bytes(struct hm_log_entry *entry)
{
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* which allocate otherwise */
    assert_int_equal(hm_log_entry_bytes(entry), bytes_of(entry));
#else
    (void)bytes_of;
    assert_true(hm_log_entry_bytes(entry) > sizeof *entry);
#endif
}

static void an_empty_log_has_nothing(void **state)
{
    (void)state;
    struct hm_log log = {0};
    assert_null(hm_log_get(&log, 0));
    assert_null(hm_log_get(&log, 1));
    assert_int_equal(hm_log_oldest(&log), 0);
    assert_int_equal(hm_log_drop_oldest(&log), 0);
    hm_log_fini(&log);
}

static void what_was_appended_is_there(void **state)
{
    (void)state;
    struct hm_log log = {0};
    for (uint32_t hi = 1; hi <= 1000; hi++)
        append(&log, hi, hi);
    assert_int_equal(log.n, 1000);
    uint64_t bytes = 0;
    for (uint32_t hi = 1; hi <= 1000; hi++) {
        struct hm_log_entry *entry = hm_log_get(&log, hi);
        assert_non_null(entry);
        check_bytes(entry);
        bytes += hm_log_entry_bytes(entry);
        assert_int_equal(entry->head.hi, hi);
        assert_int_equal(entry->head.steps, 10 * hi);
        assert_int_equal(entry->payload->n, hi);
    }
    assert_int_equal(log.bytes, bytes);
    assert_null(hm_log_get(&log, 0));
    assert_null(hm_log_get(&log, 1001));
    hm_log_fini(&log);
    assert_int_equal(log.n, 0);
    assert_null(log.entry);
}

static void the_oldest_goes_first_and_the_ring_turns(void **state)
{
    (void)state;
    struct hm_log log = {0};
    uint32_t oldest = 1, newest = 0;
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 3; i++) {
            newest++;
            append(&log, newest, 100 + newest % 7);
        }
        for (unsigned i = 0; i < (round < 100 ? 2 : 3) && log.n > 1; i++) {
            uint64_t bytes = hm_log_entry_bytes(hm_log_get(&log, oldest));
            assert_int_equal(hm_log_drop_oldest(&log), bytes);
            oldest++;
        }
        assert_int_equal(hm_log_oldest(&log), oldest);
        assert_int_equal(log.n, newest - oldest + 1);
        assert_null(hm_log_get(&log, oldest - 1));
        assert_int_equal(hm_log_get(&log, oldest)->head.hi, oldest);
        assert_int_equal(hm_log_get(&log, newest)->head.hi, newest);
        assert_null(hm_log_get(&log, newest + 1));
    }
    assert_true(log.capacity <= 256);
    hm_log_fini(&log);
}

static void it_may_begin_anywhere_and_go_to_the_last_seq(void **state)
{
    (void)state;
    struct hm_log log = {0};
    for (uint32_t i = 0; i < 40; i++)
        append(&log, HM_SEQ_MAX - 39 + i, 1);
    assert_int_equal(hm_log_oldest(&log), HM_SEQ_MAX - 39);
    assert_non_null(hm_log_get(&log, HM_SEQ_MAX));
    assert_null(hm_log_get(&log, 1));
    assert_null(hm_log_get(&log, UINT32_MAX));
    hm_log_fini(&log);
}

static void an_empty_payload_costs_its_entry(void **state)
{
    (void)state;
    struct hm_log log = {0};
    append(&log, 1, 0);
    append(&log, 2, 5);
    check_bytes(hm_log_get(&log, 1));
    check_bytes(hm_log_get(&log, 2));
    assert_null(hm_log_get(&log, 1)->payload);
    assert_true(hm_log_drop_oldest(&log) > 0 && hm_log_drop_oldest(&log) > 0);
    assert_int_equal(log.bytes, 0);
    append(&log, 9, 3); /* an emptied log may go on anywhere */
    assert_int_equal(hm_log_oldest(&log), 9);
    hm_log_fini(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_log_has_nothing),
        cmocka_unit_test(what_was_appended_is_there),
        cmocka_unit_test(the_oldest_goes_first_and_the_ring_turns),
        cmocka_unit_test(it_may_begin_anywhere_and_go_to_the_last_seq),
        cmocka_unit_test(an_empty_payload_costs_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
