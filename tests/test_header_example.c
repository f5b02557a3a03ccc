/* The example at the head of node/node.h: it compiles as it stands there, and what it prints
 * when its dataset is missing says so. */
#include "tests/temp_folder.h"

#include "node/node.h"

static void run_example(void)
{
#include "tests/header_example.inc"
    hm_node_close(node);
}

static void test_example_compiles_and_reports(void **state)
{
    (void)state;
    char text[2048] = "";
    assert_int_equal(chdir(temp_folder), 0);
    int before = dup(STDERR_FILENO);
    assert_non_null(freopen("stderr.txt", "w", stderr));
    run_example();
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    FILE *file = fopen("stderr.txt", "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_int_equal(chdir("/"), 0);
    if (!strstr(text, "train.svm"))
        fail_msg("'%s' does not name train.svm", text);
}

static void test_defaults_need_only_data(void **state)
{
    (void)state;
    struct hm_node_options options = hm_node_defaults();
    assert_string_equal(options.workload, "svm");
    assert_int_equal(options.expect, 1);
    assert_int_equal(options.n_peers, 0);
    assert_true(options.join_timeout > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_example_compiles_and_reports, temp_setup,
                                        temp_teardown),
        cmocka_unit_test(test_defaults_need_only_data),
    };
    return cmocka_run_group_tests_name("header_example", tests, NULL, NULL);
}
