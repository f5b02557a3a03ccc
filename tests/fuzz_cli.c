/* Command lines: the first byte chooses the command, then lines are arguments, and after a zero
 * comes the file that --config names. */
#include "tests/fuzzing.h"
#include "tools/cli.h"

#include <math.h>
#include <stdlib.h>

enum { ARGUMENTS = 64 };

/* The groups of flags of the commands in tools/main.c. */
static const struct command commands[] = {
    {.name = "run", .flags = "dtomenrwkc"},
    {.name = "join", .flags = "dtomenjwkc"},
    {.name = "eval", .flags = "dtwmab", .n_arguments = 1},
    {.name = "export", .flags = "x", .n_arguments = 1},
    {.name = "inspect", .flags = "", .n_arguments = -1},
    {.name = "synth", .flags = "s"},
    {.name = "sim", .flags = "dtomevwc"},
    {.name = "keygen", .flags = "g", .n_arguments = 1},
    {.name = "vocab", .flags = "tu", .n_arguments = ARGUMENTS_MAX},
    {.name = "similar", .flags = "bq", .n_arguments = ARGUMENTS_MAX},
};

static void check(const struct cli *cli)
{
    const struct hm_train_options *train = &cli->node.train;
    assert(cli->n <= HM_PEERS_MAX && cli->node.expect <= HM_PEERS_MAX);
    assert(cli->n_arguments <= ARGUMENTS_MAX);
    assert(train->n_train <= HM_FILES_MAX && train->n_test <= HM_FILES_MAX);
    assert(cli->node.n_peers <= HM_SEEDS_MAX);
    assert(strlen(cli->node.label) <= HM_LABEL_MAX);
    assert(isfinite(train->epochs) && isfinite(train->lambda) && isfinite(train->lr));
    assert(isfinite(train->seconds) && isfinite(cli->node.bandwidth));
    assert(cli->node.rank < (int)cli->node.ranks || cli->node.rank <= 0);
}

/* What --config names is the rest of the input, whichever name is given and however --config is
 * abbreviated: an input may not depend on the files of this machine. */
static void give_config(char **argv, const char *path)
{
    static char joined[64];
    for (; *argv; argv++) {
        size_t n = strcspn(*argv, "=");
        if (strncmp(*argv, "--con", 5) != 0)
            continue;
        if (!argv[0][n] && argv[1])
            argv[1] = (char *)path;
        if (argv[0][n] && snprintf(joined, sizeof joined, "%.*s=%s", (int)n, *argv, path) > 0)
            *argv = joined;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    const struct command *command =
        &commands[fuzz_u8(&fuzz) % (sizeof commands / sizeof commands[0])];
    size_t n = fuzz_left(&fuzz);
    char *text = malloc(n + 1), *argv[ARGUMENTS + 2] = {"hogmesh"};
    int argc = 1;
    assert(text);
    memcpy(text, n ? (const char *)fuzz.at : "", n);
    text[n] = 0;
    size_t line = strlen(text) + 1; /* after a zero, the file begins */
    for (char *at = text; at && argc <= ARGUMENTS;) {
        char *end = strchr(at, '\n');
        if (end)
            *end++ = 0;
        argv[argc++] = at;
        at = end;
    }
    give_config(argv, fuzz_file(0, line < n ? text + line : "", line < n ? n - line : 0));
    struct cli cli;
    optind = 0; /* getopt forgets how far it was in the letters of an earlier input */
    getopt(1, argv, "");
    FILE *out = stdout, *err = stderr;
    stdout = stderr = fuzz_nowhere();
    int code = cli_parse(&cli, command, argc, argv);
    stdout = out;
    stderr = err;
    if (code == EXIT_FAILED)
        assert(cli.config); /* which cannot be read, or says what cannot be had */
    else
        assert(code == EXIT_DONE || code == EXIT_USAGE || code == -1);
    if (code == EXIT_DONE)
        check(&cli);
    free(text);
    return 0;
}
