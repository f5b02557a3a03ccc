/* Files for --config: lines "NAME = VALUE", or a JSON object. */
#include "tests/fuzzing.h"
#include "tools/cli.h"
#include "tools/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_entry *entry = NULL;
    unsigned n = 0;
    FILE *err = stderr;
    stderr = fuzz_nowhere();
    int code = config_read(fuzz_file(0, data, size), &entry, &n);
    stderr = err;
    assert(code == EXIT_DONE || code == EXIT_FAILED);
    if (code != EXIT_DONE)
        return 0;
    assert(n <= CONFIG_ENTRIES_MAX);
    for (unsigned i = 0; i < n; i++) {
        assert(entry[i].name[0] && memchr(entry[i].name, 0, sizeof entry[i].name));
        assert(memchr(entry[i].value, 0, sizeof entry[i].value));
        for (unsigned k = 0; k < i; k++)
            assert(strcmp(entry[k].name, entry[i].name) != 0);
    }
    return 0;
}
