/* hogmesh inspect: what is in a file of ours, as JSON. */
#include "tools/cli.h"

#include <string.h>

int cmd_inspect(struct cli *cli)
{
    (void)cli;
    return EXIT_USAGE;
}
