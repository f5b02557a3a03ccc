/* Arrays of numpy as files: what is read, and what is refused with which words. That numpy reads
 * and writes the same is in test_outputs.py. */
#include "models/npy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/hm-npy-XXXXXX";

static void write_file(const char *text, size_t n_text, const void *numbers, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n_text, file), n_text);
    assert_int_equal(fwrite(numbers, 1, n, file), n);
    fclose(file);
}

static void write_array(const char *descr, const char *shape, const void *numbers, size_t n)
{
    char head[HM_NPY_HEADER];
    hm_npy_header(descr, shape, head);
    write_file(head, sizeof head, numbers, n);
}

static void rows_come_one_by_one(void **state)
{
    const float x[6] = {1, 2.5f, -3, 4, 5, 6e-20f};
    struct hm_npy_file file;
    float row[3];
    (void)state;
    write_array("<f4", "(2, 3)", x, sizeof x);
    assert_int_equal(hm_npy_open(&file, path, NULL), HM_OK);
    assert_int_equal(file.npy.n_rows, 2);
    assert_int_equal(file.npy.n_columns, 3);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hm_npy_next(&file, row, NULL), HM_OK);
        assert_memory_equal(row, x + 3 * i, sizeof row);
    }
    hm_npy_close(&file);
    write_array("<f4", "(3,)", x, sizeof x);
    assert_int_equal(hm_npy_open(&file, path, NULL), HM_OK);
    assert_true(file.npy.n_rows == 1 && file.npy.n_columns == 3);
    hm_npy_close(&file);
}

static void refused(const char *says)
{
    struct hm_npy_file file;
    struct hm_err err = {""};
    assert_int_equal(hm_npy_open(&file, path, &err), HM_EINPUT);
    if (!strstr(err.text, says) || !strstr(err.text, path))
        fail_msg("'%s' is not in: %s", says, err.text);
}

static void what_is_wrong_is_refused(void **state)
{
    const float x[6] = {0};
    (void)state;
    write_array("<i4", "(2, 3)", x, sizeof x);
    refused("not float32");
    write_array("<f4", "(2, 3, 1)", x, sizeof x);
    refused("its shape is not");
    write_array("<f4", "(2, 4)", x, sizeof x);
    refused("ends before its 2 x 4 numbers");
    write_array("<f4", "(4294967295, 4294967295)", x, sizeof x);
    refused("ends before");
    write_array("<f4", "(99999999999999999999,)", x, sizeof x);
    refused("its shape is not");
    write_file("hello, world", 12, x, sizeof x);
    refused("no array of numpy");
    static const char columns[] = "\x93NUMPY\x01\x00\x3B\x00{'descr': '<f4', 'fortran_order': "
                                  "True, 'shape': (1, 1)}      \n";
    write_file(columns, sizeof columns - 1, x, sizeof x);
    refused("column by column");
}

static void numbers_are_finite(void **state)
{
    const float x[4] = {1, 2, 3, NAN};
    struct hm_npy_file file;
    struct hm_err err = {""};
    float row[2];
    (void)state;
    write_array("<f4", "(2, 2)", x, sizeof x);
    assert_int_equal(hm_npy_open(&file, path, NULL), HM_OK);
    assert_int_equal(hm_npy_next(&file, row, NULL), HM_OK);
    assert_int_equal(hm_npy_next(&file, row, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "row 1, column 1"));
    hm_npy_close(&file);
}

static int make(void **state)
{
    int fd = mkstemp(path);
    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int clear(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_one_by_one),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(numbers_are_finite),
    };
    return cmocka_run_group_tests(tests, make, clear);
}
