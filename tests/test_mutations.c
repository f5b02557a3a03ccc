/* A net that catches nothing is no net: with each safeguard of the protocol switched off the random
 * suite has to fail. The program beside this one is run for that, within a limit of processor time,
 * for a mesh without a safeguard may also never come to an end. */
#include "protocol/mesh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CPU_S = 60 };

static char program[4096];

static void begin(unsigned without, const char *runs)
{
    char number[16];
    struct rlimit limit = {CPU_S, CPU_S}, none = {0, 0};
    int null = open("/dev/null", O_WRONLY);
    snprintf(number, sizeof number, "%u", without);
    setenv("HOGMESH_WITHOUT", number, 1);
    setenv("HOGMESH_RUNS", runs, 1);
    unsetenv("HOGMESH_SEED");
    setrlimit(RLIMIT_CPU, &limit);
    setrlimit(RLIMIT_CORE, &none);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execl(program, program, (char *)NULL);
    _exit(0); /* as if all were well, which is noticed */
}

static int passes(unsigned without, const char *runs)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child)
        begin(without, runs);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void the_suite_passes_with_all_safeguards(void **state)
{
    (void)state;
    assert_true(passes(0, "5"));
}

static void the_suite_fails_without(const char *name, unsigned without)
{
    if (passes(without, "200"))
        fail_msg("the random suite passes without %s", name);
}

static void repair(void **state)
{
    (void)state;
    the_suite_fails_without("repair", HM_WITHOUT_REPAIR);
}

static void digests(void **state)
{
    (void)state;
    the_suite_fails_without("checking digests", HM_WITHOUT_DIGEST);
}

static void renewal(void **state)
{
    (void)state;
    the_suite_fails_without("another life for who yields", HM_WITHOUT_RENEWAL);
}

static void order(void **state)
{
    (void)state;
    the_suite_fails_without("the order of streams", HM_WITHOUT_ORDER);
}

static void arbiter(void **state)
{
    (void)state;
    the_suite_fails_without("an arbiter", HM_WITHOUT_ARBITER);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_suite_passes_with_all_safeguards),
        cmocka_unit_test(repair),
        cmocka_unit_test(digests),
        cmocka_unit_test(renewal),
        cmocka_unit_test(order),
        cmocka_unit_test(arbiter),
    };
    char *slash = strrchr(argv[0], '/');
    snprintf(program, sizeof program, "%.*s/test_mesh_random", slash ? (int)(slash - argv[0]) : 1,
             slash ? argv[0] : ".");
    if (argc < 1 || access(program, X_OK)) {
        fprintf(stderr, "%s is not there; build it first\n", program);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
