/* Distributions of durations as flags name them, with the nodes they are for; in the input a line
 * "=" lies between the text and the trace file that it may name as "T". */
#include "node/dist.h"
#include "tests/fuzzing.h"

#include <stdlib.h>

enum { DRAWS = 20 };

/* What was read prints to text that reads back as the same. */
static void check_printed(const struct hm_dist *dist, const char *folder)
{
    static char text[HM_DIST_TEXT_MAX];
    struct hm_dist again;
    struct hm_err err = {""};
    size_t n = hm_dist_print(dist, text);
    assert(n == strlen(text) && n < sizeof text);
    enum hm_status status = hm_dist_parse(&again, text, folder, &err);
    assert(status == HM_OK);
    assert(hm_dist_same(dist, &again));
    hm_dist_fini(&again);
}

static void check_draws(const struct hm_dist *dist)
{
    struct hm_rng rng = hm_rng_seed(1, 2);
    uint32_t position = 0;
    for (int i = 0; i < DRAWS; i++)
        assert(hm_dist_draw(dist, &rng, &position) <= HM_DURATION_MAX_US);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memmem(data, size, "\n=\n", 3) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    char *text = malloc(n + 32);
    assert(text);
    memcpy(text, n ? (const char *)data : "", n);
    text[n] = 0;
    const char *path = fuzz_file(0, cut ? cut + 3 : NULL, cut ? size - n - 3 : 0);
    if (strncmp(text, "trace:T", 7) == 0) {
        memmove(text + 6 + strlen(path), text + 7, strlen(text + 7) + 1);
        memcpy(text + 6, path, strlen(path));
    }
    struct hm_dist dist;
    struct hm_node_set nodes = {0};
    struct hm_err err = {""};
    enum hm_status status = hm_dist_parse_nodes(&dist, &nodes, text, "", &err);
    assert((status == HM_OK) == !err.text[0]);
    if (status == HM_OK) {
        check_draws(&dist);
        check_printed(&dist, "");
        hm_dist_fini(&dist);
        hm_node_set_fini(&nodes);
    } else {
        assert(dist.kind == HM_DIST_NONE);
    }
    free(text);
    return 0;
}
