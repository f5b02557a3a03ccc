/* hogmesh inspect, which says of any file what it is. */
#include "tests/fuzzing.h"
#include "tools/cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *argv[] = {fuzz_file(0, data, size)};
    struct cli cli = {.argument = {argv[0]}, .n_arguments = 1, .argv = argv, .argc = 1};
    FILE *out = stdout, *err = stderr;
    stdout = stderr = fuzz_nowhere();
    int code = cmd_inspect(&cli);
    stdout = out;
    stderr = err;
    assert(code == EXIT_DONE || code == EXIT_FAILED);
    return 0;
}
