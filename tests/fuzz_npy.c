/* Arrays of numpy: headers in memory, and whole files read row by row. */
#include "models/npy.h"
#include "tests/fuzzing.h"

#include <math.h>
#include <stdlib.h>

enum { COLUMNS_MAX = 4096, ROWS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hm_npy npy;
    struct hm_npy_file file;
    struct hm_err err = {""};
    enum hm_status parsed = hm_npy_parse(data, size, &npy, &err);
    assert((parsed == HM_OK) == !err.text[0]);
    assert(parsed == HM_OK || parsed == HM_EINPUT);
    assert(parsed || npy.begins <= size);
    enum hm_status opened = hm_npy_open(&file, fuzz_file(0, data, size), &err);
    assert(opened == HM_OK || opened == HM_EINPUT);
    assert(!parsed || opened);
    if (opened)
        return 0;
    assert(npy.n_rows * npy.n_columns * 4 + npy.begins <= size);
    float *row = malloc((npy.n_columns ? npy.n_columns : 1) * sizeof *row);
    assert(row);
    for (uint64_t i = 0; i < npy.n_rows && i < ROWS_MAX && npy.n_columns <= COLUMNS_MAX; i++) {
        if (hm_npy_next(&file, row, &err) != HM_OK)
            break;
        for (uint64_t k = 0; k < npy.n_columns; k++)
            assert(isfinite(row[k]));
    }
    free(row);
    hm_npy_close(&file);
    if (npy.n_rows * npy.n_columns > COLUMNS_MAX)
        return 0;
    float *all = malloc((npy.n_rows * npy.n_columns + 1) * sizeof *all);
    assert(all);
    if (hm_npy_numbers(data, size, &npy, all, &err) == HM_OK)
        for (uint64_t k = 0; k < npy.n_rows * npy.n_columns; k++)
            assert(isfinite(all[k]));
    free(all);
    return 0;
}
