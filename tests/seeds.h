/* Random runs of the simulated network, one from each seed: which ones, and how to repeat the one
 * that fails. */
#ifndef HM_TESTS_SEEDS_H
#define HM_TESTS_SEEDS_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char seeds_repeat[160];

/* An assertion of the code under test ends the process: say how to repeat it. */
static void seeds_on_abort(int signal)
{
    (void)signal;
    ssize_t n = write(STDERR_FILENO, seeds_repeat, strlen(seeds_repeat));
    (void)n;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* Safeguards that are switched off. */
static inline unsigned without(void)
{
    return (unsigned)from_environment("HOGMESH_WITHOUT", 0);
}

/* From HOGMESH_SEED on (else 1), HOGMESH_RUNS of them (else n); returns how many. */
static uint64_t for_each_seed(uint64_t n, void (*run)(uint64_t seed))
{
    uint64_t seed = from_environment("HOGMESH_SEED", 1), runs = from_environment("HOGMESH_RUNS", n);
    signal(SIGABRT, seeds_on_abort);
    for (uint64_t i = 0; i < runs; i++) {
        snprintf(seeds_repeat, sizeof seeds_repeat,
                 "to repeat: HOGMESH_SEED=%llu HOGMESH_RUNS=1 %s\n", (unsigned long long)(seed + i),
                 program_invocation_short_name);
        run(seed + i);
    }
    signal(SIGABRT, SIG_DFL);
    return runs;
}

#endif
