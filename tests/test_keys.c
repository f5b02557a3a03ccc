/* Key files: what keygen writes is read back; whatever else is refused, by line, without telling
 * the secret. */
#include "node/env.h"
#include "node/keys.h"
#include "node/node.h"
#include "tests/temp_folder.h"

#include <errno.h>

#define FIRST  "hogmesh key file 1\n"
#define PRINT  "1a2f188ed66323b2"
#define SECRET "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY    "key " PRINT " " SECRET "\n"

static struct hm_keys keys;
static struct hm_err err;

static const char *key_text(const char *name, const char *text)
{
    const char *path = temp_text(name, text);
    assert_int_equal(chmod(path, 0600), 0);
    return path;
}

static void assert_bytes(const uint8_t *bytes, const char *hex)
{
    char text[2 * HM_KEY_BYTES + 1];
    for (unsigned i = 0; i < HM_KEY_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, hex);
}

/* WIRE.md, section 2.1. */
static void keys_are_derived_as_the_wire_page_says(void **state)
{
    (void)state;
    struct hm_key key;
    for (unsigned i = 0; i < HM_KEY_BYTES; i++)
        key.secret[i] = (uint8_t)i;
    hm_key_derive(&key);
    assert_bytes(key.server_secret,
                 "223755ce7fa0ecbc365f1d2abc83d1ffc9b5c9d5377f41cd1f4a754ebbe0bf9f");
    assert_bytes(key.server_public,
                 "568caca054c52b33e2be869a1f1b3d83a16a9665b294aa3ece3f2cd601458269");
    assert_bytes(key.client_secret,
                 "548f7f3dc5374d9a8cfdda2b5a4058be07a59e5c6ce32d045662d6ce783357c2");
    assert_bytes(key.client_public,
                 "78c68f9cd24e200ad8febe4f61cd1a25d63f6acd10eac017b3f783d09bb5be0e");
    assert_string_equal(key.fingerprint, PRINT);
}

static void a_new_file_is_private_and_read_back(void **state)
{
    (void)state;
    const char *path = temp_path("new.key");
    struct hm_keys made;
    struct stat st;
    mode_t before = umask(0);
    assert_int_equal(hm_keys_create(&made, path, &err), HM_OK);
    umask(before);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(hm_keys_read(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, 1);
    assert_memory_equal(&keys, &made, sizeof keys);
    assert_int_equal(hm_keys_create(&keys, temp_path("other.key"), &err), HM_OK);
    assert_memory_not_equal(keys.key[0].secret, made.key[0].secret, HM_KEY_BYTES);
}

static void what_is_there_is_never_overwritten(void **state)
{
    (void)state;
    const char *path = temp_text("there", "precious"), *dangling = temp_path("dangling");
    assert_int_equal(hm_keys_create(&keys, path, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "never overwritten"));
    assert_int_equal(symlink(temp_path("elsewhere"), dangling), 0);
    assert_int_equal(hm_keys_create(&keys, dangling, &err), HM_EUSAGE);
    assert_int_equal(access(temp_path("elsewhere"), F_OK), -1);
    assert_int_equal(hm_keys_create(&keys, temp_path("no/such/folder"), &err), HM_EIO);
    size_t n;
    uint8_t *bytes = temp_read(path, &n);
    assert_int_equal(n, 8);
    assert_memory_equal(bytes, "precious", 8);
    free(bytes);
}

static void comments_and_a_missing_last_line_feed_are_fine(void **state)
{
    (void)state;
    const char *path = key_text("a.key", FIRST "# a comment\n\n" KEY "end");
    assert_int_equal(hm_keys_read(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, 1);
    assert_string_equal(keys.key[0].fingerprint, PRINT);
}

struct refusal {
    const char *name, *text, *said;
};

static const struct refusal refusals[] = {
    {"empty", "", "the file is empty"},
    {"another format", "-----BEGIN PRIVATE KEY-----\n", "line 1: 'hogmesh key file 1' is expected"},
    {"a later format", "hogmesh key file 2\n" KEY "end\n", "line 1: format 2; this program reads"},
    {"a format without number", "hogmesh key file \n" KEY "end\n", "line 1: format "},
    {"no key", FIRST "end\n", "no key in it"},
    {"cut off before the end", FIRST KEY, "it is cut off"},
    {"cut off within the secret", FIRST "key " PRINT " 0001020304", "line 2: a space and a secret"},
    {"cut off within the fingerprint", FIRST "key 1a2f", "line 2: a fingerprint of 16"},
    {"cut off after the fingerprint", FIRST "key " PRINT, "line 2: a space and a secret"},
    {"a digit too many", FIRST "key " PRINT " " SECRET "0\nend\n", "line 2: a space and a secret"},
    {"capital digits", FIRST "key 1A2F188ED66323B2 " SECRET "\nend\n", "line 2: a fingerprint"},
    {"a blank too many", FIRST "key  " PRINT " " SECRET "\nend\n", "line 2: a fingerprint"},
    {"wrong letters",
     FIRST "key " PRINT " g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\nend\n",
     "line 2: a space and a secret of 64 lower-case"},
    {"a changed secret",
     FIRST "key " PRINT " 100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\nend\n",
     "line 2: the secret is not that of the fingerprint"},
    {"the same key twice", FIRST KEY "# and\n" KEY "end\n", "line 4: the same key"},
    {"something behind the end", FIRST KEY "end\n" KEY, "line 4: there is more after"},
    {"an unknown word", FIRST "kex " PRINT "\nend\n", "line 2: 'key FINGERPRINT SECRET', 'end'"},
    {"lines of DOS", "hogmesh key file 1\r\n", "line 1: character 19 is 0x0d"},
    {"bytes that are no text", FIRST "# gr\xfc\xdf\nend\n", "line 2: character 5 is 0xfc"},
};

static void other_files_are_refused_by_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        const char *path = key_text("bad.key", r->text);
        enum hm_status status = hm_keys_read(&keys, path, &err);
        if (status != HM_EINPUT || strncmp(err.text, path, strlen(path)) != 0 ||
            !strstr(err.text, r->said))
            fail_msg("%s: status %d, '%s'", r->name, status, err.text);
        if (strstr(err.text, "00102030405060708"))
            fail_msg("%s: tells the secret: %s", r->name, err.text);
        for (size_t k = 0; k < sizeof keys; k++)
            assert_int_equal(((const uint8_t *)&keys)[k], 0);
    }
}

static void too_many_and_too_long(void **state)
{
    (void)state;
    const char *path = temp_path("many.key");
    assert_int_equal(hm_keys_create(&keys, path, &err), HM_OK);
    for (unsigned i = 1; i < HM_KEYS_MAX; i++)
        assert_int_equal(hm_keys_add(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, HM_KEYS_MAX);
    assert_int_equal(hm_keys_add(&keys, path, &err), HM_EUSAGE);
    assert_int_equal(hm_keys_read(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, HM_KEYS_MAX);
    char *text = calloc(1, HM_KEY_FILE_MAX + 2);
    snprintf(text, HM_KEY_FILE_MAX + 2, FIRST KEY "end\n");
    memset(text + strlen(text), '#', HM_KEY_FILE_MAX + 1 - strlen(text));
    assert_int_equal(hm_keys_read(&keys, key_text("long.key", text), &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "longer than"));
    free(text);
}

static void nobody_else_may_read_or_write_it(void **state)
{
    (void)state;
    const char *path = key_text("mode.key", FIRST KEY "end\n");
    static const mode_t loose[] = {0604, 0602, 0601, 0640, 0620, 0610, 0644, 0666, 0777};
    for (unsigned i = 0; i < sizeof loose / sizeof loose[0]; i++) {
        chmod(path, loose[i]);
        assert_int_equal(hm_keys_read(&keys, path, &err), HM_EINPUT);
        assert_non_null(strstr(err.text, "chmod 600"));
        assert_int_equal(keys.n, 0);
    }
    static const mode_t tight[] = {0600, 0400, 0700};
    for (unsigned i = 0; i < sizeof tight / sizeof tight[0]; i++) {
        chmod(path, tight[i]);
        assert_int_equal(hm_keys_read(&keys, path, &err), HM_OK);
    }
    chmod(path, 0600);
    if (chown(path, 4321, (gid_t)-1) != 0)
        return; /* takes root */
    assert_int_equal(hm_keys_read(&keys, path, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "belongs to user 4321"));
}

static void links_pipes_and_folders_are_refused(void **state)
{
    (void)state;
    const char *path = key_text("real.key", FIRST KEY "end\n"), *link = temp_path("link.key");
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(hm_keys_read(&keys, link, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_int_equal(hm_keys_add(&keys, link, &err), HM_EINPUT);
    assert_int_equal(hm_keys_read(&keys, temp_folder, &err), HM_EINPUT);
    const char *pipe = temp_path("pipe.key");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(hm_keys_read(&keys, pipe, &err), HM_EINPUT);
    assert_int_equal(hm_keys_read(&keys, temp_path("missing.key"), &err), HM_EIO);
    assert_non_null(strstr(err.text, "hogmesh keygen"));
}

/* The three steps of changing a key, and what each leaves in the file. */
static void keys_are_added_moved_and_revoked(void **state)
{
    (void)state;
    const char *path = temp_path("mesh.key");
    struct stat st;
    assert_int_equal(hm_keys_create(&keys, path, &err), HM_OK);
    struct hm_key old = keys.key[0];
    assert_int_equal(hm_keys_revoke(&keys, path, old.fingerprint, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "only key"));
    assert_int_equal(hm_keys_add(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, 2);
    assert_memory_equal(&keys.key[0], &old, sizeof old);
    struct hm_key new = keys.key[1];
    assert_int_equal(hm_keys_put_first(&keys, path, "0123456789abcdefg", &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, old.fingerprint));
    assert_int_equal(hm_keys_put_first(&keys, path, "", &err), HM_EUSAGE);
    assert_int_equal(hm_keys_put_first(&keys, path, new.fingerprint, &err), HM_OK);
    assert_memory_equal(&keys.key[0], &new, sizeof new);
    assert_memory_equal(&keys.key[1], &old, sizeof old);
    assert_int_equal(hm_keys_revoke(&keys, path, old.fingerprint, &err), HM_OK);
    assert_int_equal(hm_keys_read(&keys, path, &err), HM_OK);
    assert_int_equal(keys.n, 1);
    assert_memory_equal(&keys.key[0], &new, sizeof new);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(temp_count("mesh.key"), 1);
}

static void only_literal_loopback_is_loopback(void **state)
{
    (void)state;
    static const char *const inside[] = {"tcp://127.0.0.1:7000", "tcp://127.9.8.7:0",
                                         "tcp://localhost:7000"},
                             *const outside[] = {"tcp://0.0.0.0:7000",
                                                 "tcp://192.168.1.7:7000",
                                                 "tcp://127.evil.example:7000",
                                                 "tcp://127.0.0.1.evil.example:7000",
                                                 "tcp://localhost.evil.example:1",
                                                 "tcp://*:7000",
                                                 "tcp://eth0:7000",
                                                 "tcp://[::1]:7000",
                                                 "tcp://:7000",
                                                 "tcp://",
                                                 "tcp:",
                                                 "",
                                                 "127.0.0.1:7000",
                                                 "inproc://127.0.0.1:7000"};
    for (unsigned i = 0; i < sizeof inside / sizeof inside[0]; i++)
        assert_true(hm_endpoint_is_loopback(inside[i]));
    for (unsigned i = 0; i < sizeof outside / sizeof outside[0]; i++)
        assert_false(hm_endpoint_is_loopback(outside[i]));
}

/* ---- sockets ---- */

static struct hm_env *open_env(const struct hm_keys *with)
{
    static uint64_t life;
    struct hm_env *env = NULL;
    struct hm_env_zmq_options options = {.life = ++life, .bind = "127.0.0.1:0", .keys = with};
    if (hm_env_zmq_open(&env, &options, &err))
        fail_msg("%s", err.text);
    return env;
}

static uint64_t refused_by(struct hm_env *env, enum hm_refusal why)
{
    uint64_t n[HM_REFUSALS];
    env->ops->refusals(env, n);
    return n[why];
}

/* Dials and turns both drivers until the listener has refused somebody or heard a word of him.
 * Returns whether he was heard. */
static int is_heard(const struct hm_keys *listens, const struct hm_keys *dials, uint64_t *n_refused)
{
    struct hm_env *listener = open_env(listens), *dialler = open_env(dials);
    struct hm_action dial = {.type = HM_ACT_CONNECT}, say = {.type = HM_ACT_SEND, .header_n = 3};
    struct hm_event event;
    int heard = 0;
    snprintf(dial.rpc, sizeof dial.rpc, "%s", listener->rpc);
    snprintf(dial.pub, sizeof dial.pub, "%s", listener->pub);
    dialler->ops->carry_out(dialler, &dial);
    for (unsigned turn = 0; turn < 1000 && !heard && !refused_by(listener, HM_REFUSED_KEY);
         turn++) {
        dialler->ops->carry_out(dialler, &say);
        dialler->ops->wait(dialler, dialler->ops->now_us(dialler) + 5000);
        while (dialler->ops->receive(dialler, &event)) {
        }
        while (listener->ops->receive(listener, &event))
            heard |= event.type == HM_EV_MESSAGE;
    }
    *n_refused = refused_by(listener, HM_REFUSED_KEY);
    dialler->ops->close(dialler, 0);
    listener->ops->close(listener, 0);
    return heard;
}

/* The public half of a key lets nobody in: who listens asks for the client's half too. */
static void who_knows_the_public_half_alone_is_refused(void **state)
{
    (void)state;
    struct hm_keys forged, other;
    uint64_t n_refused;
    assert_int_equal(hm_keys_create(&keys, temp_path("a.key"), &err), HM_OK);
    assert_int_equal(hm_keys_create(&other, temp_path("b.key"), &err), HM_OK);
    assert_true(is_heard(&keys, &keys, &n_refused));
    assert_int_equal(n_refused, 0);
    assert_false(is_heard(&keys, &other, &n_refused));
    assert_true(n_refused > 0);
    forged = other;
    memcpy(forged.key[0].server_public, keys.key[0].server_public, HM_KEY_BYTES);
    assert_false(is_heard(&keys, &forged, &n_refused));
    assert_true(n_refused > 0);
}

/* What a peer announces may be any text. */
static void only_tcp_is_dialled(void **state)
{
    (void)state;
    static const char *const endpoints[] = {"inproc://zeromq.zap.01", "inproc://monitor-0",
                                            "ipc:///tmp/x", "tcp://192.0.2.1:7000", "tcp://"};
    for (unsigned i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        struct hm_env *env = open_env(NULL);
        struct hm_action dial = {.type = HM_ACT_CONNECT};
        snprintf(dial.rpc, sizeof dial.rpc, "%s", endpoints[i]);
        env->ops->carry_out(env, &dial);
        assert_int_equal(env->n_dropped, 1);
        env->ops->close(env, 0);
    }
}

/* Not the command line alone: whoever embeds a node is kept from it too. */
static void the_library_binds_nothing_in_clear_beyond_this_host(void **state)
{
    (void)state;
    static const struct {
        const char *bind, *advertise, *peer, *flag;
    } ways[] = {{"0.0.0.0:0", NULL, NULL, "--bind"},
                {"*:0", NULL, NULL, "--bind"},
                {"127.0.0.1:0", "192.0.2.7", NULL, "--advertise"},
                {"127.0.0.1:0", "192.0.2.7:7000", NULL, "--advertise"},
                {NULL, NULL, "192.0.2.7:7000", "--peer"}};
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct hm_node_options options = hm_node_defaults();
        struct hm_node *node;
        options.bind = ways[i].bind;
        options.advertise = ways[i].advertise;
        if (ways[i].peer)
            options.peer[options.n_peers++] = ways[i].peer;
        assert_int_equal(hm_node_open(&node, &options, &err), HM_EUSAGE);
        assert_null(node);
        assert_non_null(strstr(err.text, ways[i].flag));
        assert_non_null(strstr(err.text, "keygen"));
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, temp_setup, temp_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_derived_as_the_wire_page_says),
        CASE(a_new_file_is_private_and_read_back),
        CASE(what_is_there_is_never_overwritten),
        CASE(comments_and_a_missing_last_line_feed_are_fine),
        CASE(other_files_are_refused_by_line),
        CASE(too_many_and_too_long),
        CASE(nobody_else_may_read_or_write_it),
        CASE(links_pipes_and_folders_are_refused),
        CASE(keys_are_added_moved_and_revoked),
        CASE(who_knows_the_public_half_alone_is_refused),
        cmocka_unit_test(only_tcp_is_dialled),
        cmocka_unit_test(the_library_binds_nothing_in_clear_beyond_this_host),
        cmocka_unit_test(only_literal_loopback_is_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
