/* Lists of parameters that programs bring along, as a peer or a file gives them. */
#include "models/custom.h"
#include "sparse/layout.h"
#include "tests/fuzzing.h"

#include <stdlib.h>

/* Read in full: it lies within its layout, and reading what is written of it gives the same. */
static void check(struct hm_custom *custom, int with_first)
{
    struct hm_custom again = {0};
    struct hm_layout layout;
    struct hm_err err = {""};
    char text[4][HM_CUSTOM_TEXT];
    int again_first;
    size_t n, sum = 0;
    assert(custom->n > 0 && custom->n <= HM_CUSTOM_TENSORS_MAX);
    assert(!with_first == !custom->first);
    for (unsigned i = 0; i < custom->n; i++) {
        assert(custom->tensor[i].number == sum && custom->tensor[i].n > 0);
        sum += custom->tensor[i].n;
    }
    assert(sum == custom->n_numbers);
    enum hm_status status = hm_custom_arrange(custom, &layout, &err);
    assert((status == HM_OK) == !err.text[0]);
    for (unsigned i = 0; i < custom->n && !status; i++)
        assert(custom->tensor[i].at + custom->tensor[i].n <= hm_layout_n(&layout));
    uint8_t *bytes = hm_custom_pack(custom, &n);
    assert(bytes);
    status = hm_custom_unpack(&again, bytes, n, &again_first, &err);
    assert(status == HM_OK);
    hm_custom_describe(custom, text[0]);
    hm_custom_describe(&again, text[1]);
    hm_custom_describe_first(custom, text[2]);
    hm_custom_describe_first(&again, text[3]);
    assert(strcmp(text[0], text[1]) == 0 && strcmp(text[2], text[3]) == 0);
    hm_custom_fini(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hm_custom custom = {0};
    struct hm_err err = {""};
    int with_first = 0;
    uint8_t *bytes = malloc(size + !size); /* of its own length, also where there is none */
    assert(bytes);
    if (size)
        memcpy(bytes, data, size);
    enum hm_status status = hm_custom_unpack(&custom, bytes, size, &with_first, &err);
    free(bytes);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    if (status == HM_OK)
        check(&custom, with_first);
    hm_custom_fini(&custom);
    return 0;
}
