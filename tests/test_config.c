/* The configuration: adopted only when it is well formed, contradicted by name, fingerprinted. */
#include "protocol/config.h"
#include "sparse/layout_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct hm_fields example(void)
{
    struct hm_fields c = {0};
    hm_fields_set(&c, "workload", "svm");
    hm_fields_set(&c, "lambda", "0.0001");
    hm_fields_set(&c, "seed", "1");
    hm_fields_set(&c, "tensors", "v:1x256:-10");
    return c;
}

/* WIRE.md, section 8. */
static void the_fingerprint_is_that_of_the_wire_page(void **state)
{
    (void)state;
    struct hm_fields c = example();
    assert_true(hm_config_fingerprint(&c) == 0x46b395bc72229b11u);
}

static void every_change_changes_the_fingerprint(void **state)
{
    (void)state;
    struct hm_fields c = example(), other = example();
    uint64_t ours = hm_config_fingerprint(&c);
    hm_fields_set(&other, "seed", "2");
    assert_true(hm_config_fingerprint(&other) != ours);
    other = example();
    hm_fields_set(&other, "budget", "9");
    assert_true(hm_config_fingerprint(&other) != ours);
    other = example();
    other.n--;
    assert_true(hm_config_fingerprint(&other) != ours);
    other.n = 0;
    assert_true(hm_config_fingerprint(&other) != ours);
    /* The same bytes, cut at another place. */
    struct hm_fields a = {0}, b = {0};
    hm_fields_set(&a, "ab", "c");
    hm_fields_set(&b, "a", "bc");
    assert_true(hm_config_fingerprint(&a) != hm_config_fingerprint(&b));
}

static void sorted_and_unique_fields_are_adopted(void **state)
{
    (void)state;
    struct hm_fields c = example(), ours = {0};
    struct hm_err err = {{0}};
    assert_int_equal(hm_config_adopt(&ours, c.field, c.n, &err), HM_OK);
    assert_int_equal(ours.n, c.n);
    assert_true(hm_config_fingerprint(&ours) == hm_config_fingerprint(&c));
    assert_int_equal(hm_config_adopt(&ours, c.field, 0, &err), HM_OK);
    assert_int_equal(ours.n, 0);
}

static void others_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct hm_fields c = example(), ours = example();
    uint64_t before = hm_config_fingerprint(&ours);
    struct hm_err err = {{0}};
    struct hm_field swapped = c.field[1];
    c.field[1] = c.field[2];
    c.field[2] = swapped;
    assert_int_equal(hm_config_adopt(&ours, c.field, c.n, &err), HM_EINPUT);
    assert_string_equal(err.text, "configuration: fields are not sorted by name at 'seed'");
    c = example();
    c.field[1] = c.field[0];
    assert_int_equal(hm_config_adopt(&ours, c.field, c.n, &err), HM_EINPUT);
    assert_int_equal(hm_config_adopt(&ours, c.field, HM_FIELDS_MAX + 1, &err), HM_EINPUT);
    assert_true(hm_config_fingerprint(&ours) == before);
}

static void the_first_contradiction_is_found(void **state)
{
    (void)state;
    struct hm_fields c = example();
    struct hm_field asked[] = {{"lambda", "0.0001"},
                               {"seed", "1"},
                               {"seed", "01"},
                               {"colour", "red"},
                               {"workload", "svm"}};
    assert_null(hm_config_conflict(&c, asked, 0));
    assert_null(hm_config_conflict(&c, asked, 2));
    assert_ptr_equal(hm_config_conflict(&c, asked, 5), &asked[2]);
    assert_ptr_equal(hm_config_conflict(&c, &asked[3], 2), &asked[3]);
    assert_null(hm_config_conflict(&c, &asked[4], 1));
}

static void a_layout_survives_as_text(void **state)
{
    (void)state;
    struct hm_layout layout = {0}, read;
    struct hm_fields c = {0};
    assert_int_equal(hm_layout_add(&layout, "conv1.w", 6, 25, -12, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "column", 70, 1, 3, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "b", 1, 1, -60, NULL), HM_OK);
    hm_fields_set_layout(&c, &layout);
    assert_string_equal(hm_fields_get(&c, "tensors"), "conv1.w:6x25:-12,column:70x1:3,b:1x1:-60");
    assert_int_equal(hm_fields_layout(&c, &read, NULL), HM_OK);
    assert_int_equal(read.n_tensors, 3);
    assert_int_equal(read.n_blocks, layout.n_blocks);
    for (unsigned i = 0; i < 3; i++)
        assert_memory_equal(&read.tensor[i], &layout.tensor[i], sizeof read.tensor[i]);
}

static void wrong_layouts_are_refused(void **state)
{
    (void)state;
    static const char *const WRONG[] = {
        "v",
        "v:1x256",
        "v:1x256:-10;w:1x1:0",
        "v:1:256:-10",
        "V:1x256:-10",
        ":1x1:0",
        "v:1x1:0 ",
        "v:0x5:0",
        "v:5x0:0",
        "v:1x1:61",
        "v:1x1:-61",
        "v:1x1:0,v:1x1:0",
        "v:1x1:0x0",
        ",v:1x1:0",
        "v:-1x1:0",
        "v:1x1:",
        "v:4294967295x4294967295:0",
        "abcdefghijklmnopqrstuvwxyz0123456:1x1:0",
    };
    for (unsigned i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        struct hm_fields c = {0};
        struct hm_layout layout;
        struct hm_err err = {{0}};
        hm_fields_set(&c, "tensors", "%s", WRONG[i]);
        if (hm_fields_layout(&c, &layout, &err) == HM_OK)
            fail_msg("'%s' was taken for a layout", WRONG[i]);
        assert_non_null(strstr(err.text, "configuration: field 'tensors'"));
    }
    struct hm_fields none = {0};
    struct hm_layout layout;
    struct hm_err err = {{0}};
    assert_int_equal(hm_fields_layout(&none, &layout, &err), HM_EINPUT);
    assert_string_equal(err.text, "configuration: field 'tensors' is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fingerprint_is_that_of_the_wire_page),
        cmocka_unit_test(every_change_changes_the_fingerprint),
        cmocka_unit_test(sorted_and_unique_fields_are_adopted),
        cmocka_unit_test(others_are_refused_and_change_nothing),
        cmocka_unit_test(the_first_contradiction_is_found),
        cmocka_unit_test(a_layout_survives_as_text),
        cmocka_unit_test(wrong_layouts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
