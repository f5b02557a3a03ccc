/* A net that catches nothing is no net: with each safeguard of the protocol switched off the random
 * suite has to fail. The programs beside this one are run for that, within a limit of processor
 * time, for a mesh without a safeguard may also never come to an end. */
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

static char folder[4096];

static void begin(const char *program, unsigned without, const char *runs)
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

static int passes(const char *name, unsigned without, const char *runs)
{
    char program[4200];
    int status;
    snprintf(program, sizeof program, "%s/%s", folder, name);
    if (access(program, X_OK))
        fail_msg("%s is not there; build it first", program);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child)
        begin(program, without, runs);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void they_pass_with_all_safeguards(void **state)
{
    (void)state;
    assert_true(passes("test_mesh_random", 0, "5"));
    assert_true(passes("test_mesh_sides", 0, "5"));
}

static void fails_without(const char *safeguard, unsigned without, const char *program)
{
    if (passes(program, without, "200"))
        fail_msg("%s passes without %s", program, safeguard);
}

static void repair(void **state)
{
    (void)state;
    fails_without("repair", HM_WITHOUT_REPAIR, "test_mesh_random");
}

static void digests(void **state)
{
    (void)state;
    fails_without("checking digests", HM_WITHOUT_DIGEST, "test_mesh_random");
}

static void renewal(void **state)
{
    (void)state;
    fails_without("another life for who yields", HM_WITHOUT_RENEWAL, "test_mesh_sides");
}

static void order(void **state)
{
    (void)state;
    fails_without("the order of streams", HM_WITHOUT_ORDER, "test_mesh_random");
}

static void arbiter(void **state)
{
    (void)state;
    fails_without("an arbiter", HM_WITHOUT_ARBITER, "test_mesh_sides");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_pass_with_all_safeguards),
        cmocka_unit_test(repair),
        cmocka_unit_test(digests),
        cmocka_unit_test(renewal),
        cmocka_unit_test(order),
        cmocka_unit_test(arbiter),
    };
    char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - argv[0]) : 1,
             slash ? argv[0] : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
