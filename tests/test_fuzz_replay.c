/* What fuzzing found before, once more: every target over its corpus (tests/golden/fuzz/NAME.hex,
 * an input a line; what was written by hand are the files of tests/golden/fuzz/NAME) and over the
 * inputs that once made it fail (the files of tests/golden/crash/NAME). tests/fuzz.sh makes both.
 *
 *     test_fuzz_replay NAME FILE...     replays these files alone
 */
#include "tests/fuzzing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>

enum { INPUT_BYTES_MAX = 1 << 20 };

#define TARGET(name) int fuzz_##name(const uint8_t *data, size_t size);
FUZZ_TARGETS
#undef TARGET

static const struct target {
    const char *name;
    int (*run)(const uint8_t *data, size_t size);
} targets[] = {
#define TARGET(name) {#name, fuzz_##name},
    FUZZ_TARGETS
#undef TARGET
};

static char current[4096]; /* the file that is replayed, for whoever looks at a crash */

static void on_abort(int number)
{
    static const char text[] = "\nwhile replaying ";
    (void)number;
    if (write(2, text, sizeof text - 1) > 0 && write(2, current, strlen(current)) > 0 &&
        write(2, "\n", 1) > 0)
        signal(SIGABRT, SIG_DFL);
}

/* Called by the sanitizers, where they are linked. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
static void on_death(void)
{
    on_abort(0);
}

/* The bytes get a block of their size, so that reading past it is noticed. */
static void replay(const struct target *target, const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    target->run(copy, n);
    free(copy);
}

static int replay_file(const struct target *target, const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    snprintf(current, sizeof current, "%s", path);
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    replay(target, bytes, n);
    return 0;
}

static int replay_folder(const struct target *target, const char *kind)
{
    char folder[4000], path[4096];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/tests/golden/%s/%s", getenv("HOGMESH_SOURCE"), kind,
             target->name);
    DIR *dir = opendir(folder);
    if (!dir)
        return 0; /* nothing ever made it fail, or nobody wrote an input by hand */
    for (struct dirent *entry; (entry = readdir(dir));) {
        int needed = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || needed >= (int)sizeof path)
            continue;
        if (replay_file(target, path) != 0)
            fail_msg("cannot read %s", path);
        n++;
    }
    closedir(dir);
    return n;
}

static size_t unhex(const char *line, uint8_t *bytes)
{
    size_t n = 0;
    for (unsigned byte; sscanf(line, "%2x", &byte) == 1; line += 2)
        bytes[n++] = (uint8_t)byte;
    return n;
}

static int replay_corpus(const struct target *target)
{
    char path[4096], *line = NULL;
    size_t room = 0;
    int n = 0;
    snprintf(path, sizeof path, "%s/tests/golden/fuzz/%s.hex", getenv("HOGMESH_SOURCE"),
             target->name);
    FILE *file = fopen(path, "r");
    for (ssize_t length; file && (length = getline(&line, &room, file)) > 0; n++) {
        uint8_t *bytes = malloc((size_t)length);
        assert_non_null(bytes);
        snprintf(current, sizeof current, "%.4000s:%d", path, n + 1);
        replay(target, bytes, unhex(line, bytes));
        free(bytes);
    }
    free(line);
    if (file)
        fclose(file);
    return n;
}

static void test_target(void **state)
{
    const struct target *target = *state;
    if (!getenv("HOGMESH_SOURCE"))
        skip();
    target->run(NULL, 0);
    replay_folder(target, "crash");
    int n = replay_folder(target, "fuzz") + replay_corpus(target);
    if (!n)
        fail_msg("no corpus in tests/golden/fuzz/%s.hex; 'tests/fuzz.sh --keep %s' makes one",
                 target->name, target->name);
}

static int replay_arguments(char **argv)
{
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++)
        if (strcmp(argv[1], targets[t].name) == 0) {
            for (char **path = argv + 2; *path; path++)
                if (replay_file(&targets[t], *path) != 0)
                    return 1;
            return 0;
        }
    fprintf(stderr, "no target '%s'\n", argv[1]);
    return 2;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[sizeof targets / sizeof targets[0]] = {0};
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(on_death);
    if (argc > 1)
        return replay_arguments(argv);
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++)
        tests[t] = (struct CMUnitTest){.name = targets[t].name,
                                       .test_func = test_target,
                                       .initial_state = (void *)&targets[t]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
