/* Announcements and what a node makes of them. Datagrams go over loopback; time is told. */
#include "node/discover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct hm_announcement anna = {.life = 0x0102030405060708,
                                            .fingerprint = 0x00c0ffee00c0ffee,
                                            .mesh = "lab",
                                            .workload = "svm",
                                            .label = "anna",
                                            .rpc = "tcp://127.0.0.1:5100",
                                            .pub = "tcp://127.0.0.1:5101"};
static struct hm_announce_keys none;

static struct hm_announce_keys keys_of(uint8_t first, unsigned n)
{
    struct hm_keys keys = {.n = n};
    struct hm_announce_keys out;
    for (unsigned i = 0; i < n; i++)
        keys.key[i].secret[0] = (uint8_t)(first + i);
    hm_announce_keys_of(&out, &keys);
    return out;
}

static void it_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct hm_announce_keys key = keys_of(1, 1);
    uint8_t bytes[HM_ANNOUNCE_MAX];
    struct hm_announcement a;
    size_t n = hm_announce_encode(&anna, &none, bytes);
    assert_int_equal(hm_announce_decode(bytes, n, &none, &a), HM_ANNOUNCE_OK);
    assert_memory_equal(&a, &anna, sizeof a);
    n = hm_announce_encode(&anna, &key, bytes);
    assert_int_equal(hm_announce_decode(bytes, n, &key, &a), HM_ANNOUNCE_OK);
    assert_memory_equal(&a, &anna, sizeof a);
}

/* The example of WIRE.md, section 14. */
static void the_worked_example(void **state)
{
    (void)state;
    uint8_t bytes[HM_ANNOUNCE_MAX];
    char hex[2 * HM_ANNOUNCE_MAX + 1];
    struct hm_keys keys = {.n = 1};
    struct hm_announce_keys key;
    for (uint8_t i = 0; i < HM_KEY_BYTES; i++)
        keys.key[0].secret[i] = i;
    hm_announce_keys_of(&key, &keys);
    size_t n = hm_announce_encode(&anna, &key, bytes);
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(hex, "686f676d65736801"
                             "0807060504030201"
                             "eeffc000eeffc000"
                             "036c6162"
                             "0373766d"
                             "04616e6e61"
                             "147463703a2f2f3132372e302e302e313a35313030"
                             "147463703a2f2f3132372e302e302e313a35313031"
                             "293207bc7f2c819a4cc0015ec686e6a0"
                             "38abb67d0f99dd69e6cb50e41137c06c");
}

static void without_the_key_it_is_forged(void **state)
{
    (void)state;
    struct hm_announce_keys one = keys_of(1, 1), other = keys_of(7, 1), both = keys_of(1, 2),
                            second = keys_of(2, 1);
    uint8_t bytes[HM_ANNOUNCE_MAX];
    struct hm_announcement a;
    size_t n = hm_announce_encode(&anna, &none, bytes);
    assert_int_equal(hm_announce_decode(bytes, n, &one, &a), HM_ANNOUNCE_FORGED);
    n = hm_announce_encode(&anna, &one, bytes);
    assert_int_equal(hm_announce_decode(bytes, n, &none, &a), HM_ANNOUNCE_FORGED);
    assert_int_equal(hm_announce_decode(bytes, n, &other, &a), HM_ANNOUNCE_FORGED);
    /* While keys are changed, each in the file is good. */
    n = hm_announce_encode(&anna, &second, bytes);
    assert_int_equal(hm_announce_decode(bytes, n, &both, &a), HM_ANNOUNCE_OK);
}

static void no_flipped_bit_and_no_cut_is_believed(void **state)
{
    (void)state;
    struct hm_announce_keys key = keys_of(1, 1);
    uint8_t bytes[HM_ANNOUNCE_MAX + 1] = {0};
    struct hm_announcement a;
    size_t n = hm_announce_encode(&anna, &key, bytes);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(hm_announce_decode(bytes, n, &key, &a), HM_ANNOUNCE_OK);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(hm_announce_decode(bytes, i, &key, &a), HM_ANNOUNCE_OK);
    assert_int_not_equal(hm_announce_decode(bytes, n + 1, &key, &a), HM_ANNOUNCE_OK);
}

static void what_is_signed_must_be_sound_too(void **state)
{
    (void)state;
    struct hm_announcement bad[7], a;
    uint8_t bytes[HM_ANNOUNCE_MAX];
    for (unsigned i = 0; i < 7; i++)
        bad[i] = anna;
    bad[0].life = 0;
    bad[1].mesh[0] = 0;
    memcpy(bad[2].label, "a\x1b[2J", 6);
    memcpy(bad[3].rpc, "udp://127.0.0.1:1", 18);
    bad[4].rpc[0] = 0;
    bad[5].pub[0] = 0;
    memcpy(bad[6].workload, "s v", 4);
    for (unsigned i = 0; i < 7; i++) {
        size_t n = hm_announce_encode(&bad[i], &none, bytes);
        assert_int_equal(hm_announce_decode(bytes, n, &none, &a), HM_ANNOUNCE_FOREIGN);
    }
}

/* ---- the table ---- */

struct scene {
    struct hm_discover *d;
    int fd; /* speaks to it */
    uint16_t port;
    uint64_t now;
    char notes[4000];
};

static void note(void *context, enum hm_note_level level, const char *text)
{
    struct scene *s = context;
    (void)level;
    size_t at = strlen(s->notes);
    snprintf(s->notes + at, sizeof s->notes - at, "%s\n", text);
}

static int set(void **state)
{
    static struct scene scene;
    struct hm_err err = {""};
    char where[40];
    scene = (struct scene){.fd = socket(AF_INET, SOCK_DGRAM, 0), .now = 1000000};
    for (uint16_t port = 20000; !scene.d && port < 60000; port = (uint16_t)(port + 97)) {
        snprintf(where, sizeof where, "lab:%u", port);
        struct hm_discover_options o = {.where = where,
                                        .workload = "svm",
                                        .label = "bert",
                                        .rpc = "tcp://127.0.0.1:6000",
                                        .pub = "tcp://127.0.0.1:6001",
                                        .life = 1000,
                                        .note = note,
                                        .context = &scene};
        scene.port = (uint16_t)(port + getpid() % 97);
        snprintf(where, sizeof where, "lab:%u", scene.port);
        (void)hm_discover_open(&scene.d, &o, &err);
    }
    *state = &scene;
    return scene.d ? 0 : -1;
}

static int unset(void **state)
{
    struct scene *s = *state;
    hm_discover_close(s->d);
    close(s->fd);
    return 0;
}

static void say(struct scene *s, const uint8_t *bytes, size_t n)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    to.sin_addr.s_addr = htonl(0x7f000001);
    ssize_t sent =
        sendto(s->fd, bytes, n, 0, (const struct sockaddr *)(const void *)&to, sizeof to);
    assert_int_equal(sent, n);
    hm_discover_wait(s->d, 1000);
    hm_discover_turn(s->d, s->now, 0);
}

static void call(struct scene *s, uint64_t life, uint64_t fingerprint, const char *label)
{
    struct hm_announcement a = anna;
    uint8_t bytes[HM_ANNOUNCE_MAX];
    a.life = life;
    a.fingerprint = fingerprint;
    snprintf(a.label, sizeof a.label, "%s", label);
    snprintf(a.rpc, sizeof a.rpc, "tcp://127.0.0.1:%u", 7000 + (unsigned)life % 1000);
    say(s, bytes, hm_announce_encode(&a, &none, bytes));
}

static void who_hears_nobody_founds(void **state)
{
    struct scene *s = *state;
    const char *peer[4];
    hm_discover_turn(s->d, s->now, 0);
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 0);
}

static void of_those_that_search_the_lowest_life_founds(void **state)
{
    struct scene *s = *state;
    const char *peer[4];
    call(s, 2001, 0, "anna");
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 0);
    call(s, 7, 0, "carl");
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 2);
    assert_false(hm_discover_has_mesh(s->d));
    call(s, 3002, 5, "dora"); /* a mesh goes before all that search */
    assert_true(hm_discover_has_mesh(s->d));
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 1);
    assert_string_equal(peer[0], "tcp://127.0.0.1:7002");
}

static void an_island_is_pointed_at(void **state)
{
    struct scene *s = *state;
    struct hm_peer_entry entry;
    call(s, 2001, 5, "anna");
    call(s, 2002, 6, "carl");
    hm_discover_turn(s->d, s->now, 5);
    assert_int_equal(hm_discover_next(s->d, s->now, &entry), 1);
    assert_int_equal(entry.life, 2001);
    assert_int_equal(hm_discover_next(s->d, s->now, &entry), 0);
    /* The other one is told of, once. */
    assert_non_null(strstr(s->notes, "carl at 127.0.0.1:7002 is of another mesh"));
    s->notes[0] = 0;
    s->now += 6000000;
    call(s, 2001, 5, "anna");
    call(s, 2002, 6, "carl");
    hm_discover_turn(s->d, s->now, 5);
    assert_int_equal(hm_discover_next(s->d, s->now, &entry), 1);
    assert_string_equal(s->notes, "");
}

static void clones_and_namesakes_are_told(void **state)
{
    struct scene *s = *state;
    const char *peer[4];
    call(s, 1000, 0, "ghost");
    call(s, 1000, 0, "ghost");
    assert_non_null(strstr(s->notes, "node ghost at 127.0.0.1:7000 goes by the same number"));
    assert_null(strstr(strchr(s->notes, '\n'), "ghost"));
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 0);
    call(s, 7, 0, "bert");
    assert_non_null(strstr(s->notes, "127.0.0.1:7007 is called bert, too"));
}

static void a_flood_of_names_fills_the_table_and_no_more(void **state)
{
    struct scene *s = *state;
    const char *peer[200];
    for (uint64_t life = 1; life <= 200; life++)
        call(s, life, 0, "x");
    assert_int_equal(hm_discover_seeds(s->d, peer, 200), HM_DISCOVER_MAX);
    assert_non_null(strstr(s->notes, "more than 64 nodes call here"));
    s->now += 60000000; /* who was never heard again makes room */
    call(s, 900, 0, "anna");
    assert_int_equal(hm_discover_seeds(s->d, peer, 200), HM_DISCOVER_MAX);
}

static void a_flood_of_clashes_fills_no_log(void **state)
{
    struct scene *s = *state;
    unsigned n = 0;
    for (uint64_t life = 2000; life < 2200; life++, s->now += 1000000)
        call(s, life, life, "bert"); /* a namesake in another mesh each time */
    hm_discover_turn(s->d, s->now, 5);
    for (const char *c = s->notes; (c = strchr(c, '\n')) != NULL; c++)
        n++;
    assert_in_range(n, 9, 10); /* eight, that there are more, and that the table is full */
    assert_non_null(strstr(s->notes, "they are not reported"));
}

static void other_meshes_workloads_hosts_and_noise_are_not_heard(void **state)
{
    struct scene *s = *state;
    const char *peer[4];
    struct hm_announcement a[3] = {anna, anna, anna};
    struct hm_announce_keys key = keys_of(1, 1);
    uint8_t bytes[HM_ANNOUNCE_MAX] = "hogmesh\x01";
    memcpy(a[0].mesh, "lob", 4);
    memcpy(a[1].workload, "lenet5", 7);
    memcpy(a[2].rpc, "tcp://10.0.0.1:1", 17); /* in clear, and nobody said --insecure */
    for (unsigned i = 0; i < 3; i++) {
        a[i].life = 1;
        say(s, bytes, hm_announce_encode(&a[i], &none, bytes));
    }
    say(s, bytes, hm_announce_encode(&anna, &key, bytes));
    say(s, bytes, 7);
    say(s, bytes, sizeof bytes);
    assert_int_equal(hm_discover_seeds(s->d, peer, 4), 0);
    assert_non_null(strstr(s->notes, "trains lenet5 under the name lab, this node svm"));
    assert_non_null(strstr(s->notes, "does not hold this node's key"));
}

static void names_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "a b",     "a:",
                                      "a:0", "a:65536", "a:b",
                                      ":7",  "a:7:8",   "12345678901234567890123456789012"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hm_discover *d;
        struct hm_err err = {""};
        struct hm_discover_options o = {.where = bad[i],
                                        .workload = "svm",
                                        .label = "x",
                                        .rpc = "tcp://127.0.0.1:1",
                                        .pub = "tcp://127.0.0.1:2",
                                        .life = 1,
                                        .note = note};
        assert_int_equal(hm_discover_open(&d, &o, &err), HM_EUSAGE);
        assert_null(d);
        assert_non_null(strstr(err.text, "--discover"));
    }
}

int main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set, unset)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_read_as_it_was_written),
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(without_the_key_it_is_forged),
        cmocka_unit_test(no_flipped_bit_and_no_cut_is_believed),
        cmocka_unit_test(what_is_signed_must_be_sound_too),
        cmocka_unit_test(names_that_are_none),
        WITH_SCENE(who_hears_nobody_founds),
        WITH_SCENE(of_those_that_search_the_lowest_life_founds),
        WITH_SCENE(an_island_is_pointed_at),
        WITH_SCENE(clones_and_namesakes_are_told),
        WITH_SCENE(a_flood_of_names_fills_the_table_and_no_more),
        WITH_SCENE(a_flood_of_clashes_fills_no_log),
        WITH_SCENE(other_meshes_workloads_hosts_and_noise_are_not_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
