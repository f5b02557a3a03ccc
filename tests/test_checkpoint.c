/* Files that are kept: written whole or not at all, checked when read. And the checkpoint: what is
 * written is what is read, and whatever else the bytes are, they are refused. */
#include "node/kept_file.h"
#include "tests/checkpoint_check.h"
#include "tests/simnet.h"
#include "tests/temp_folder.h"

#include <dirent.h>
#include <math.h>

enum { SECOND = 1000000 };

/* ---- kept files ---- */

static enum hm_status keep(const char *name, const char *text, const char *previous,
                           enum hm_status so_far, struct hm_err *err)
{
    struct hm_kept_writer writer;
    hm_kept_begin(&writer, temp_path(name), "test");
    hm_kept_put(&writer, text, strlen(text));
    return hm_kept_commit(&writer, so_far, previous ? temp_path(previous) : NULL, err);
}

static void holds(const char *name, const char *text)
{
    uint8_t *bytes;
    size_t n;
    struct hm_err err;
    struct hm_reader r;
    assert_int_equal(hm_kept_read(temp_path(name), NULL, &bytes, &n, &err), HM_OK);
    assert_int_equal(hm_kept_open(bytes, n, "test", "a test", &r, &err), HM_OK);
    assert_int_equal(hm_reader_left(&r), strlen(text));
    assert_memory_equal(r.at, text, strlen(text));
    free(bytes);
}

static void two_generations_are_kept(void **state)
{
    (void)state;
    struct hm_err err;
    assert_int_equal(keep("a", "one", "a.prev", HM_OK, &err), HM_OK);
    holds("a", "one");
    assert_int_equal(access(temp_path("a.prev"), F_OK), -1);
    assert_int_equal(keep("a", "two", "a.prev", HM_OK, &err), HM_OK);
    assert_int_equal(keep("a", "three", "a.prev", HM_OK, &err), HM_OK);
    holds("a", "three");
    holds("a.prev", "two");
    assert_int_equal(keep("a", "four", NULL, HM_OK, &err), HM_OK);
    holds("a", "four");
    holds("a.prev", "two");
    assert_int_equal(temp_count(".tmp"), 0);
}

static void failure_leaves_what_was_there(void **state)
{
    (void)state;
    struct hm_err err = {""};
    assert_int_equal(keep("a", "one", "a.prev", HM_OK, &err), HM_OK);
    hm_fail(&err, HM_ENOMEM, "no memory");
    assert_int_equal(keep("a", "two", "a.prev", HM_ENOMEM, &err), HM_ENOMEM);
    assert_non_null(strstr(err.text, temp_path("a")));
    holds("a", "one");
    assert_int_equal(keep("no/such/a", "two", NULL, HM_OK, &err), HM_EIO);
    assert_non_null(strstr(err.text, "no/such/a"));
    assert_non_null(strstr(err.text, "No such file or directory"));
    assert_int_equal(mkdir(temp_path("folder"), 0755), 0);
    assert_int_equal(keep("folder", "two", NULL, HM_OK, &err), HM_EIO);
    assert_int_equal(mkdir(temp_path("prev"), 0755), 0);
    assert_int_equal(keep("a", "two", "prev", HM_OK, &err), HM_EIO);
    holds("a", "one");
    assert_int_equal(temp_count(".tmp"), 0);
}

static void failed_rename_leaves_the_name(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_kept_writer writer;
    assert_int_equal(keep("a", "one", NULL, HM_OK, &err), HM_OK);
    hm_kept_begin(&writer, temp_path("a"), "test");
    hm_kept_put(&writer, "two", 3);
    unlink(writer.temporary);
    assert_int_equal(hm_kept_commit(&writer, HM_OK, temp_path("a.prev"), &err), HM_EIO);
    holds("a", "one");
    holds("a.prev", "one");
    /* Two names of one file now, as when a process ends between the two renames. */
    assert_int_equal(keep("a", "three", "a.prev", HM_OK, &err), HM_OK);
    holds("a", "three");
    holds("a.prev", "one");
    assert_int_equal(temp_count(".tmp"), 0);
}

static void leftovers_of_dead_writers_go(void **state)
{
    (void)state;
    const char *stay[] = {"a.tmp", "a.tmpx", "b.tmp12"};
    for (unsigned i = 0; i < 3; i++)
        temp_text(stay[i], "x");
    temp_text("a.tmp12", "x");
    struct hm_kept_writer writer;
    hm_kept_begin(&writer, temp_path("a"), "test");
    hm_kept_clean(temp_path("a"));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(access(temp_path(stay[i]), F_OK), 0);
    assert_int_equal(access(temp_path("a.tmp12"), F_OK), -1);
    assert_int_equal(hm_kept_commit(&writer, HM_OK, NULL, NULL), HM_OK);
    holds("a", "");
    hm_kept_clean("/no/such/folder/a");
}

static void says(const uint8_t *bytes, size_t n, enum hm_status status, const char *part)
{
    struct hm_err err = {""};
    struct hm_checkpoint c;
    assert_int_equal(hm_checkpoint_decode(bytes, n, NULL, &c, &err), status);
    if (!strstr(err.text, part))
        fail_msg("'%s' does not say '%s'", err.text, part);
    assert_null(c.b);
    assert_null(c.mesh.stream);
}

/* ---- a checkpoint to look at ---- */

static struct {
    uint8_t *file; /* [n] */
    size_t n;
    const uint8_t *contents; /* [contents_n] */
    size_t contents_n;
} made;

/* Of a node that has peers, logs, and work that is not published. */
static int make(void **state)
{
    (void)state;
    struct sim_options o = sim_defaults(1, 3);
    o.flush_us = 50000;
    struct sim *sim = sim_open(&o);
    sim_start_all(sim, 3);
    assert_true(sim_run_until(sim, sim_all_running, 5 * SECOND));
    sim_run(sim, SECOND / 3);
    made.file = sim_checkpoint(sim, 1, NULL, &made.n);
    made.contents = made.file + sizeof checkpoint_line - 1;
    made.contents_n = made.n - (sizeof checkpoint_line - 1) - HM_HASH_BYTES;
    sim_close(sim);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    free(made.file);
    return 0;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct hm_checkpoint c;
    struct hm_err err;
    assert_int_equal(hm_checkpoint_decode(made.file, made.n, NULL, &c, &err), HM_OK);
    assert_string_equal(c.label, "n1");
    assert_int_equal(c.mesh.n_streams, 3);
    assert_true(c.owed_steps > 0);
    struct checkpoint_bytes again = checkpoint_contents(&c);
    assert_int_equal(again.n, made.contents_n);
    assert_memory_equal(again.at, made.contents, again.n);
    free(again.at);
    hm_checkpoint_fini(&c);
    assert_true(checkpoint_check(made.contents, made.contents_n));
}

/* The contents with states of the optimiser, and where these begin in them. */
static struct checkpoint_bytes with_states(const float *x, unsigned threads, size_t each,
                                           size_t *at)
{
    struct hm_checkpoint c;
    assert_int_equal(hm_checkpoint_decode(made.file, made.n, NULL, &c, NULL), HM_OK);
    assert_int_equal(c.n_states, 0); /* one byte says so: the length of nothing */
    struct checkpoint_bytes without = checkpoint_contents(&c);
    c.state = (float *)(uintptr_t)x;
    c.n_states = threads;
    c.state_floats = each;
    struct checkpoint_bytes bytes = checkpoint_contents(&c);
    for (*at = 0; bytes.at[*at] == without.at[*at];)
        ++*at;
    c.state = NULL;
    hm_checkpoint_fini(&c);
    free(without.at);
    return bytes;
}

static void states_of_the_optimiser_are_kept(void **state)
{
    (void)state;
    float velocity[3 * 70];
    size_t at;
    for (unsigned i = 0; i < 210; i++)
        velocity[i] = (float)i * -.3f;
    for (unsigned threads = 1; threads <= 3; threads++) {
        size_t each = threads == 2 ? 70 : threads == 1 ? 64 : 1;
        struct hm_checkpoint back;
        struct checkpoint_bytes bytes = with_states(velocity, threads, each, &at);
        assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, NULL), HM_OK);
        assert_int_equal(back.n_states, threads);
        assert_int_equal(back.state_floats, each);
        assert_memory_equal(back.state, velocity, threads * each * sizeof *velocity);
        hm_checkpoint_fini(&back);
        assert_true(checkpoint_check(bytes.at, bytes.n));
        free(bytes.at);
    }
    velocity[5] = (float)NAN; /* it diverged: the file would be refused for it */
    struct hm_checkpoint back;
    struct checkpoint_bytes bytes = with_states(velocity, 1, 70, &at);
    assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, NULL), HM_OK);
    assert_true(back.state[5] == 0 && back.state[6] == velocity[6] &&
                back.state[69] == velocity[69]);
    hm_checkpoint_fini(&back);
    free(bytes.at);
}

/* Damage under a hash that is right: of the length, of the counts, of a number. */
static void damaged_states_are_refused(void **state)
{
    (void)state;
    float velocity[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, infinite = (float)INFINITY;
    size_t at;
    struct checkpoint_bytes bytes = with_states(velocity, 2, 5, &at);
    const struct {
        size_t at;
        uint8_t byte;
    } damage[] = {{at, 41},    {at + 1, 1}, {at + 1, 0}, {at + 1, 5},
                  {at + 1, 3}, {at + 2, 4}, {at + 2, 0}, {at + 2, 10}};
    assert_int_equal(bytes.at[at], 42);
    assert_int_equal(bytes.at[at + 1], 2);
    for (unsigned i = 0; i < sizeof damage / sizeof *damage; i++) {
        struct hm_checkpoint back;
        struct hm_err err = {""};
        uint8_t was = bytes.at[damage[i].at];
        bytes.at[damage[i].at] = damage[i].byte;
        assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, &err), HM_ECORRUPT);
        if (!strstr(err.text, "the state of the optimiser is malformed"))
            fail_msg("damage %u: '%s'", i, err.text);
        assert_null(back.state);
        bytes.at[damage[i].at] = was;
    }
    memcpy(bytes.at + at + 3 + 7 * sizeof infinite, &infinite, sizeof infinite);
    struct hm_checkpoint back;
    struct hm_err err = {""};
    assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, &err), HM_ECORRUPT);
    assert_non_null(strstr(err.text, "the state of the optimiser is malformed"));
    free(bytes.at);
}

/* A weight that is no number is not owed: the file would be refused for it. */
static void what_is_no_number_is_not_owed(void **state)
{
    (void)state;
    struct hm_checkpoint c, back;
    assert_int_equal(hm_checkpoint_decode(made.file, made.n, NULL, &c, NULL), HM_OK);
    c.owed[0] = (float)NAN;
    c.owed[1] = (float)INFINITY;
    c.owed[2] = 3;
    struct checkpoint_bytes bytes = checkpoint_contents(&c);
    assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, NULL), HM_OK);
    assert_true(back.owed[0] == 0 && back.owed[1] == 0 && back.owed[2] == 3);
    hm_checkpoint_fini(&c);
    hm_checkpoint_fini(&back);
    free(bytes.at);
}

/* ---- refusals ---- */

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct hm_checkpoint c;
    for (size_t n = 0; n < made.n; n++)
        if (hm_checkpoint_decode(made.file, n, NULL, &c, NULL) == HM_OK)
            fail_msg("%zu of %zu bytes are accepted", n, made.n);
    says(made.file, 0, HM_EINPUT, "not a checkpoint");
    says(made.file, sizeof checkpoint_line + 5, HM_ECORRUPT, "truncated");
    says(made.file, made.n - 1, HM_ECORRUPT, "checksum");
    uint8_t *longer = calloc(1, made.n + 1);
    memcpy(longer, made.file, made.n);
    says(longer, made.n + 1, HM_ECORRUPT, "checksum");
    free(longer);
}

static void every_flipped_byte_is_refused(void **state)
{
    (void)state;
    struct hm_checkpoint c;
    for (size_t i = 0; i < made.n; i++) {
        made.file[i] ^= (uint8_t)(1 << i % 8);
        if (hm_checkpoint_decode(made.file, made.n, NULL, &c, NULL) == HM_OK)
            fail_msg("byte %zu is flipped and not missed", i);
        made.file[i] ^= (uint8_t)(1 << i % 8);
    }
}

static void foreign_files_are_refused(void **state)
{
    (void)state;
    static const char model[] = "hogmesh model 1\n", newer[] = "hogmesh checkpoint 12\n";
    says((const uint8_t *)model, sizeof model - 1, HM_EINPUT, "not a checkpoint file");
    says((const uint8_t *)newer, sizeof newer - 1, HM_EINPUT, "another version");
}

/* Truncated or longer, with a hash that is right: its reader has to notice. */
static void sealed_truncations_are_refused(void **state)
{
    (void)state;
    struct hm_checkpoint c;
    for (size_t n = 0; n < made.contents_n; n++)
        if (checkpoint_decode(made.contents, n, &c, NULL) == HM_OK)
            fail_msg("%zu of %zu bytes are accepted", n, made.contents_n);
    uint8_t *longer = calloc(1, made.contents_n + 1);
    memcpy(longer, made.contents, made.contents_n);
    assert_int_equal(checkpoint_decode(longer, made.contents_n + 1, &c, NULL), HM_ECORRUPT);
    free(longer);
}

/* Flipped with a hash that is right: mostly refused, for B, the vector and the logs hold each other
 * in check; what nothing else tells (a cursor, a part of what is owed) is accepted. */
static void sealed_flips_do_no_harm(void **state)
{
    (void)state;
    size_t n = made.contents_n, n_accepted = 0;
    uint8_t *bytes = malloc(n);
    memcpy(bytes, made.contents, n);
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        n_accepted += checkpoint_check(bytes, n);
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    free(bytes);
    assert_true(n_accepted < n / 4);
}

static void every_weight_of_b_is_checked(void **state)
{
    (void)state;
    struct hm_checkpoint c, back;
    struct hm_err err;
    assert_int_equal(hm_checkpoint_decode(made.file, made.n, NULL, &c, NULL), HM_OK);
    for (size_t i = 0; i < hm_layout_n(&c.layout); i++) {
        c.b[i] ^= 1;
        struct checkpoint_bytes bytes = checkpoint_contents(&c);
        assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, &err), HM_ECORRUPT);
        free(bytes.at);
        c.b[i] ^= 1;
    }
    hm_checkpoint_fini(&c);
}

/* Numbers that promise more than there is, at every place where a number may stand. */
static void hostile_lengths_are_refused(void **state)
{
    (void)state;
    static const uint8_t huge[][10] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
        {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
        {0xff, 0xff, 0xff, 0xff, 0x07},
        {0xff, 0xff, 0x3f},
    };
    static const size_t length[] = {10, 10, 5, 3};
    size_t n = made.contents_n;
    uint8_t *bytes = malloc(n + 10);
    for (unsigned k = 0; k < 4; k++)
        for (size_t i = 0; i < n; i++) {
            memcpy(bytes, made.contents, i);
            memcpy(bytes + i, huge[k], length[k]);
            memcpy(bytes + i + length[k], made.contents + i + 1, n - i - 1);
            checkpoint_check(bytes, n - 1 + length[k]);
        }
    free(bytes);
}

/* A delta of the log that is not the one that was published. */
static void log_that_does_not_fit_the_vector(void **state)
{
    (void)state;
    struct hm_checkpoint c, back;
    struct hm_err err;
    for (unsigned what = 0; what < 6; what++) {
        assert_int_equal(hm_checkpoint_decode(made.file, made.n, NULL, &c, NULL), HM_OK);
        struct hm_resume_stream *s = &c.mesh.stream[0];
        assert_true(s->n_log > 2);
        struct hm_delta_head *head = &s->log[1]->head;
        const struct hm_blob *payload = s->log[1]->payload;
        head->digest += what == 0;
        head->steps += what == 1 ? 1000000 : 0;
        head->flush += what == 2;
        assert_true((hm_delta_check(head, payload->bytes, payload->n) == head->check) ==
                    (what > 2));
        head->check = hm_delta_check(head, payload->bytes, payload->n) + (what == 5);
        s->at.steps -= what == 3;
        if (what == 4) {
            hm_log_entry_drop(s->log[s->n_log - 1]);
            s->n_log--;
        }
        struct checkpoint_bytes bytes = checkpoint_contents(&c);
        hm_checkpoint_fini(&c);
        assert_int_equal(checkpoint_decode(bytes.at, bytes.n, &back, &err), HM_ECORRUPT);
        assert_non_null(strstr(err.text, "stream "));
        free(bytes.at);
    }
}

static void write_input(const char *folder, const char *name, const uint8_t *bytes, size_t n)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

/* The first inputs of the fuzzer are made here: HOGMESH_GOLDEN=write. */
static void corpus(void **state)
{
    (void)state;
    const char *mode = getenv("HOGMESH_GOLDEN"), *source = getenv("HOGMESH_SOURCE");
    if (!source)
        skip();
    char folder[4096], path[4400];
    snprintf(folder, sizeof folder, "%s/tests/golden/fuzz/checkpoint", source);
    if (mode && strcmp(mode, "write") == 0) {
        float velocity[] = {1, -2, .5f, 0, 1e-20f, 3e20f};
        size_t at;
        struct checkpoint_bytes states = with_states(velocity, 2, 3, &at);
        write_input(folder, "three-nodes", made.contents, made.contents_n);
        write_input(folder, "two-threads", states.at, states.n);
        free(states.at);
    }
    DIR *dir = opendir(folder);
    if (!dir)
        fail_msg("cannot read %s", folder);
    unsigned n_accepted = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        size_t n;
        uint8_t *bytes = temp_read(path, &n);
        n_accepted += (unsigned)checkpoint_check(bytes, n);
        free(bytes);
    }
    closedir(dir);
    assert_true(n_accepted > 0);
}

int main(void)
{
    const struct CMUnitTest files[] = {
        cmocka_unit_test_setup_teardown(two_generations_are_kept, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(failure_leaves_what_was_there, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(failed_rename_leaves_the_name, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(leftovers_of_dead_writers_go, temp_setup, temp_teardown),
    };
    const struct CMUnitTest checkpoints[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(states_of_the_optimiser_are_kept),
        cmocka_unit_test(damaged_states_are_refused),
        cmocka_unit_test(what_is_no_number_is_not_owed),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_refused),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(sealed_truncations_are_refused),
        cmocka_unit_test(sealed_flips_do_no_harm),
        cmocka_unit_test(every_weight_of_b_is_checked),
        cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(log_that_does_not_fit_the_vector),
        cmocka_unit_test(corpus),
    };
    int failed = cmocka_run_group_tests(files, NULL, NULL);
    return failed + cmocka_run_group_tests(checkpoints, make, unmake);
}
