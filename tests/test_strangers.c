/* Who was refused, from the events that a listener tells: counted each time, said now and then. */
#include "node/strangers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { LIMIT = 3000000 };

static struct hm_strangers s;
static char line[HM_STRANGER_LINE_MAX + 1];

static int setup(void **state)
{
    (void)state;
    hm_strangers_init(&s, LIMIT);
    return 0;
}

static void assert_counts(uint64_t key, uint64_t plain, uint64_t garbage)
{
    assert_int_equal(s.n[HM_REFUSED_KEY], key);
    assert_int_equal(s.n[HM_REFUSED_PLAIN], plain);
    assert_int_equal(s.n[HM_REFUSED_GARBAGE], garbage);
}

static void wrong_keys_are_told_once_and_counted_always(void **state)
{
    (void)state;
    uint64_t now = 1000;
    unsigned lines = 0;
    for (unsigned i = 0; i < 1000; i++, now += 1000) { /* a second of it */
        hm_strangers_accepted(&s, 0, 9, "10.0.0.5", now);
        hm_strangers_failed(&s, 0, HM_REFUSED_KEY);
        hm_strangers_disconnected(&s, 0, 9, now);
        if (hm_strangers_line(&s, now, line)) {
            lines++;
            assert_string_equal(line,
                                "refused connections from 10.0.0.5: 1 with a key that is not ours");
        }
    }
    assert_int_equal(lines, 1);
    assert_counts(1000, 0, 0);
    assert_int_equal(hm_strangers_line(&s, 1000 + HM_STRANGER_QUIET_US, line), 1);
    assert_string_equal(line, "refused connections from 10.0.0.5: 999 with a key that is not ours");
    assert_int_equal(hm_strangers_line(&s, now + 3ull * HM_STRANGER_QUIET_US, line), 0);
}

static void each_address_has_its_line(void **state)
{
    (void)state;
    hm_strangers_refused(&s, "10.0.0.5", HM_REFUSED_KEY);
    hm_strangers_refused(&s, "10.0.0.6", HM_REFUSED_PLAIN);
    hm_strangers_refused(&s, "10.0.0.6", HM_REFUSED_GARBAGE);
    hm_strangers_refused(&s, "", HM_REFUSED_GARBAGE);
    assert_int_equal(hm_strangers_line(&s, 1, line), 1);
    assert_int_equal(hm_strangers_line(&s, 1, line), 1);
    assert_string_equal(line, "refused connections from 10.0.0.6: 1 without encryption, 1 with "
                              "something that is no hogmesh");
    assert_int_equal(hm_strangers_line(&s, 1, line), 1);
    assert_string_equal(line,
                        "refused connections from an address that is not known any more: 1 with "
                        "something that is no hogmesh");
    assert_int_equal(hm_strangers_line(&s, 1, line), 0);
}

/* libzmq hangs up on what is no ZMTP 3 without a failed handshake. */
static void garbage_is_known_by_its_end_alone(void **state)
{
    (void)state;
    hm_strangers_accepted(&s, 1, 7, "10.0.0.5", 1);
    hm_strangers_disconnected(&s, 1, 7, 100);
    assert_counts(0, 0, 1);
}

static void peers_that_come_and_go_are_no_strangers(void **state)
{
    (void)state;
    hm_strangers_accepted(&s, 0, 7, "10.0.0.5", 1);
    hm_strangers_succeeded(&s, 0);
    hm_strangers_disconnected(&s, 0, 7, 100);
    hm_strangers_accepted(&s, 0, 7, "10.0.0.5", 200); /* hangs up within the handshake */
    hm_strangers_failed(&s, 0, HM_BROKE_OFF);
    hm_strangers_disconnected(&s, 0, 7, 300);
    assert_counts(0, 0, 0);
    assert_int_equal(s.n[HM_BROKE_OFF], 1);
    assert_int_equal(hm_strangers_line(&s, 300, line), 0);
}

static void who_says_nothing_is_refused_in_the_end(void **state)
{
    (void)state;
    hm_strangers_accepted(&s, 0, 7, "10.0.0.5", 1);
    hm_strangers_failed(&s, 0, HM_BROKE_OFF);
    hm_strangers_disconnected(&s, 0, 7, 1 + LIMIT);
    assert_counts(0, 0, 1);
}

/* Of which connection a handshake succeeded is not told. Whom the guess wrongs is not called a
 * stranger later: no handshake lasts that long. */
static void a_wrong_guess_harms_nobody(void **state)
{
    (void)state;
    hm_strangers_accepted(&s, 0, 7, "10.0.0.5", 1); /* will say nothing */
    hm_strangers_accepted(&s, 0, 8, "10.0.0.6", 2); /* a peer */
    hm_strangers_succeeded(&s, 0);
    hm_strangers_failed(&s, 0, HM_BROKE_OFF);
    hm_strangers_disconnected(&s, 0, 7, 1 + LIMIT);
    assert_counts(0, 0, 1);
    hm_strangers_disconnected(&s, 0, 8, 3 + LIMIT);
    assert_counts(0, 0, 1);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    char address[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(address, sizeof address, "10.0.%d.%d", i / 256, i % 256);
        hm_strangers_accepted(&s, 0, i, address, 1 + (uint64_t)i);
        hm_strangers_refused(&s, address, HM_REFUSED_KEY);
    }
    unsigned lines = 0;
    while (hm_strangers_line(&s, 1, line))
        lines++;
    assert_int_equal(lines, HM_STRANGERS_MAX + 1);
    assert_int_equal(s.n[HM_REFUSED_KEY], 5000);
    assert_string_equal(line,
                        "refused connections from more addresses: 4936 with a key that is not "
                        "ours");
    /* Long after, they are forgotten and others have room. */
    hm_strangers_line(&s, 2 + HM_STRANGER_QUIET_US, line);
    hm_strangers_refused(&s, "10.9.9.9", HM_REFUSED_KEY);
    assert_int_equal(hm_strangers_line(&s, 3 + HM_STRANGER_QUIET_US, line), 1);
    assert_string_equal(line, "refused connections from 10.9.9.9: 1 with a key that is not ours");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(wrong_keys_are_told_once_and_counted_always, setup),
        cmocka_unit_test_setup(each_address_has_its_line, setup),
        cmocka_unit_test_setup(garbage_is_known_by_its_end_alone, setup),
        cmocka_unit_test_setup(peers_that_come_and_go_are_no_strangers, setup),
        cmocka_unit_test_setup(who_says_nothing_is_refused_in_the_end, setup),
        cmocka_unit_test_setup(a_wrong_guess_harms_nobody, setup),
        cmocka_unit_test_setup(memory_is_bounded, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
