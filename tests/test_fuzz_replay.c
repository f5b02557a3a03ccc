/* What fuzzing found before, once more: every target over its corpus (tests/golden/fuzz/NAME.hex,
 * an input a line; what was written by hand are the files of tests/golden/fuzz/NAME) and over the
 * inputs that once made it fail (the files of tests/golden/crash/NAME). tests/fuzz.sh makes both.
 * Each target has a process of its own, so that an input that ends it (an assertion, a sanitizer,
 * which may end a process in ways that nobody in it can catch) is named and the other targets still
 * run.
 *
 *     test_fuzz_replay NAME FILE...     replays these alone; FILE.hex:LINE is a line of a corpus
 */
#include "tests/fuzzing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

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

enum { CURRENT_MAX = 4096 };

static char *current; /* [CURRENT_MAX] what is replayed; who waits for the end sees it too */

/* The bytes get a block of their size, so that reading past it is noticed. */
static void replay(const struct target *target, const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert(copy);
    memcpy(copy, bytes, n);
    target->run(copy, n);
    free(copy);
}

static int replay_file(const struct target *target, const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    snprintf(current, CURRENT_MAX, "%s", path);
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
        if (replay_file(target, path) != 0) {
            perror(path);
            exit(1);
        }
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

/* Line `only` of a corpus, or all of them for 0; returns how many it was. */
static int replay_lines(const struct target *target, const char *path, int only)
{
    char *line = NULL;
    size_t room = 0;
    int n = 0, n_replayed = 0;
    FILE *file = fopen(path, "r");
    for (ssize_t length; file && (length = getline(&line, &room, file)) > 0;) {
        if (++n != only && only)
            continue;
        uint8_t *bytes = malloc((size_t)length);
        assert(bytes);
        snprintf(current, CURRENT_MAX, "%.4000s:%d", path, n);
        replay(target, bytes, unhex(line, bytes));
        free(bytes);
        n_replayed++;
    }
    free(line);
    if (file)
        fclose(file);
    return n_replayed;
}

static int replay_corpus(const struct target *target)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/fuzz/%s.hex", getenv("HOGMESH_SOURCE"),
             target->name);
    return replay_lines(target, path, 0);
}

/* In a process of its own: leaks, too, are found at its end. */
static void replay_all(const struct target *target)
{
    static const int cmocka_catches[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
    for (size_t i = 0; i < sizeof cmocka_catches / sizeof cmocka_catches[0]; i++)
        signal(cmocka_catches[i], SIG_DFL);
    snprintf(current, CURRENT_MAX, "no bytes at all");
    target->run(NULL, 0);
    int n_crashes = replay_folder(target, "crash"), n_files = replay_folder(target, "fuzz");
    int n = n_files + replay_corpus(target);
    snprintf(current, CURRENT_MAX, "all %d inputs: see the leaks above", n_crashes + n);
    if (!n)
        snprintf(
            current, CURRENT_MAX,
            "nothing: there is no tests/golden/fuzz/%s.hex; 'tests/fuzz.sh --keep %s' makes it",
            target->name, target->name);
    exit(n ? 0 : 1);
}

static void test_target(void **state)
{
    const struct target *target = *state;
    int status = 0;
    if (!getenv("HOGMESH_SOURCE"))
        skip();
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child)
        replay_all(target);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        fail_msg("%s: %s while replaying %s", target->name, strsignal(WTERMSIG(status)), current);
    if (status)
        fail_msg("%s: exit %d after replaying %s", target->name, WEXITSTATUS(status), current);
}

static int replay_argument(const struct target *target, char *path)
{
    char *line = strstr(path, ".hex:");
    if (!line)
        return replay_file(target, path);
    line[4] = 0;
    return replay_lines(target, path, atoi(line + 5)) == 1 ? 0 : -1;
}

static int replay_arguments(char **argv)
{
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++)
        if (strcmp(argv[1], targets[t].name) == 0) {
            for (char **path = argv + 2; *path; path++)
                if (replay_argument(&targets[t], *path) != 0)
                    return 1;
            return 0;
        }
    fprintf(stderr, "no target '%s'\n", argv[1]);
    return 2;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[sizeof targets / sizeof targets[0]] = {0};
    current = mmap(NULL, CURRENT_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(current != MAP_FAILED);
    if (argc > 1)
        return replay_arguments(argv);
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++)
        tests[t] = (struct CMUnitTest){.name = targets[t].name,
                                       .test_func = test_target,
                                       .initial_state = (void *)&targets[t]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
