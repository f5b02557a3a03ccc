#include "models/custom.h"

#include "models/npy.h"
#include "models/plan.h"
#include "models/safetensors.h"
#include "models/whole_file.h"
#include "sparse/hash.h"
#include "sparse/layout_field.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char NAME[] = "custom";

enum { FIRST_MAX = HM_RANGE / 2 /* grid units: room to grow */, UNIT_BYTES = 3 };

/* ---- what is brought along ---- */

static int name_is_fine(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~' || strchr("\"'\\", name[i]))
            return 0;
    return n > 0 && n <= HM_CUSTOM_NAME_MAX;
}

static enum hm_status check_name(const struct hm_custom *custom, const char *name,
                                 struct hm_err *err)
{
    if (!name || !name_is_fine(name))
        return hm_fail(err, HM_EUSAGE,
                       "tensor '%.40s': a name of 1 to %d printable characters without spaces and "
                       "quotes is expected",
                       name ? name : "", HM_CUSTOM_NAME_MAX);
    for (unsigned i = 0; i < custom->n; i++)
        if (strcmp(custom->tensor[i].name, name) == 0)
            return hm_fail(err, HM_EUSAGE, "tensor '%s' is there already", name);
    return HM_OK;
}

static enum hm_status check_shape(struct hm_custom_tensor *tensor, const uint32_t *dim,
                                  const struct hm_custom *custom, struct hm_err *err)
{
    const size_t most = (size_t)HM_BLOCKS_MAX * HM_BLOCK - custom->n_numbers;
    if (tensor->n_dims > HM_CUSTOM_DIMS_MAX)
        return hm_fail(err, HM_EUSAGE, "tensor '%s' has %u dimensions; at most %d are expected",
                       tensor->name, tensor->n_dims, HM_CUSTOM_DIMS_MAX);
    tensor->n = 1;
    for (unsigned d = 0; d < tensor->n_dims; d++) {
        if (!dim[d] || tensor->n > most / dim[d])
            return hm_fail(err, HM_EUSAGE,
                           "tensor '%s': dimension %u is %u; at least 1, and less than 2^31 "
                           "numbers in all, is expected",
                           tensor->name, d + 1, dim[d]);
        tensor->dim[d] = dim[d];
        tensor->n *= dim[d];
    }
    return HM_OK;
}

static enum hm_status take_first(const struct hm_custom_tensor *tensor, const float *initial,
                                 int32_t *first, struct hm_err *err)
{
    const double grid = ldexp(1, tensor->grid_exp);
    for (size_t i = 0; i < tensor->n; i++) {
        double units = rint((double)initial[i] / grid);
        if (!(fabs(units) <= FIRST_MAX))
            return hm_fail(err, HM_EINPUT,
                           "tensor '%s': value %zu is %g; with a grid of 2^%d at most %g is "
                           "expected; a coarser grid has more room",
                           tensor->name, i, (double)initial[i], tensor->grid_exp, FIRST_MAX * grid);
        first[i] = (int32_t)units;
    }
    return HM_OK;
}

static enum hm_status make_room(struct hm_custom *custom, struct hm_err *err)
{
    if (custom->n == HM_CUSTOM_TENSORS_MAX)
        return hm_fail(err, HM_EUSAGE, "more than %d tensors", HM_CUSTOM_TENSORS_MAX);
    if (custom->n < custom->room)
        return HM_OK;
    unsigned room = custom->room ? 2 * custom->room : 16;
    void *moved = realloc(custom->tensor, room * sizeof *custom->tensor);
    if (!moved)
        return hm_fail(err, HM_ENOMEM, "no memory for %u tensors", room);
    custom->tensor = moved;
    custom->room = room;
    return HM_OK;
}

/* A tensor as it is to be appended, with room for it, but not for its values. */
static enum hm_status describe(struct hm_custom *custom, const char *name, unsigned n_dims,
                               const uint32_t *dim, int grid_exp, struct hm_custom_tensor *tensor,
                               struct hm_err *err)
{
    *tensor = (struct hm_custom_tensor){
        .n_dims = n_dims, .number = custom->n_numbers, .grid_exp = grid_exp};
    enum hm_status status = check_name(custom, name, err);
    if (status)
        return status;
    memcpy(tensor->name, name, strlen(name) + 1);
    if (grid_exp < HM_GRID_EXP_MIN || grid_exp > HM_GRID_EXP_MAX)
        return hm_fail(err, HM_EUSAGE, "tensor '%s': a grid of 2^%d; 2^%d to 2^%d is expected",
                       name, grid_exp, HM_GRID_EXP_MIN, HM_GRID_EXP_MAX);
    status = check_shape(tensor, dim, custom, err);
    return status ? status : make_room(custom, err);
}

static void append(struct hm_custom *custom, const struct hm_custom_tensor *tensor)
{
    custom->tensor[custom->n++] = *tensor;
    custom->n_numbers += tensor->n;
}

enum hm_status hm_custom_add(struct hm_custom *custom, const char *name, unsigned n_dims,
                             const uint32_t *dim, int grid_exp, const float *initial,
                             struct hm_err *err)
{
    struct hm_custom_tensor tensor;
    enum hm_status status = describe(custom, name, n_dims, dim, grid_exp, &tensor, err);
    if (status)
        return status;
    size_t n = custom->n_numbers + tensor.n;
    int32_t *moved = realloc(custom->first, n * sizeof *moved);
    if (!moved)
        return hm_fail(err, HM_ENOMEM, "no memory for %zu weights", n);
    custom->first = moved;
    memset(moved + tensor.number, 0, tensor.n * sizeof *moved);
    if (initial && (status = take_first(&tensor, initial, moved + tensor.number, err)) != HM_OK)
        return status;
    append(custom, &tensor);
    return HM_OK;
}

void hm_custom_fini(struct hm_custom *custom)
{
    free(custom->tensor);
    free(custom->first);
    *custom = (struct hm_custom){0};
}

/* ---- where it lies ---- */

enum hm_status hm_custom_arrange(struct hm_custom *custom, struct hm_layout *layout,
                                 struct hm_err *err)
{
    int grid[HM_TENSORS_MAX];
    size_t used[HM_TENSORS_MAX] = {0};
    unsigned n = 0, group;
    *layout = (struct hm_layout){0};
    for (unsigned i = 0; i < custom->n; i++) {
        struct hm_custom_tensor *tensor = &custom->tensor[i];
        for (group = 0; group < n && grid[group] != tensor->grid_exp; group++)
            ;
        if (group == HM_TENSORS_MAX)
            return hm_fail(err, HM_EUSAGE, "tensor '%s': more than %d different grids",
                           tensor->name, HM_TENSORS_MAX);
        n += group == n;
        grid[group] = tensor->grid_exp;
        tensor->at = used[group];
        used[group] += (tensor->n + HM_ROW_ALIGN - 1) / HM_ROW_ALIGN * HM_ROW_ALIGN;
    }
    enum hm_status status = HM_OK;
    for (group = 0; group < n && !status; group++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", group);
        if (used[group] > UINT32_MAX)
            return hm_fail(err, HM_EUSAGE, "more than 2^31 weights");
        status = hm_layout_add(layout, name, 1, (uint32_t)used[group], grid[group], err);
    }
    for (unsigned i = 0; i < custom->n && !status; i++) {
        struct hm_custom_tensor *tensor = &custom->tensor[i];
        for (group = 0; grid[group] != tensor->grid_exp; group++)
            ;
        tensor->at += hm_tensor_at(&layout->tensor[group]);
    }
    return status;
}

/* ---- as text and bytes ---- */

static uint64_t short_hash(struct hm_hash *hash)
{
    uint8_t digest[HM_HASH_BYTES];
    uint64_t out;
    hm_hash_final(hash, digest);
    memcpy(&out, digest, sizeof out);
    return __builtin_bswap64(out);
}

void hm_custom_describe(const struct hm_custom *custom, char text[HM_CUSTOM_TEXT])
{
    struct hm_hash hash;
    hm_hash_init(&hash);
    for (unsigned i = 0; i < custom->n; i++) {
        const struct hm_custom_tensor *tensor = &custom->tensor[i];
        char line[HM_CUSTOM_NAME_MAX + 16 + 12 * HM_CUSTOM_DIMS_MAX];
        int n = snprintf(line, sizeof line, "%s %d", tensor->name, tensor->grid_exp);
        for (unsigned d = 0; d < tensor->n_dims; d++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %u", tensor->dim[d]);
        hm_hash_update(&hash, line, (size_t)n + 1);
    }
    snprintf(text, HM_CUSTOM_TEXT, "%u tensors, %zu numbers, %016llx", custom->n, custom->n_numbers,
             (unsigned long long)short_hash(&hash));
}

static int all_zero(const struct hm_custom *custom)
{
    for (size_t i = 0; custom->first && i < custom->n_numbers; i++)
        if (custom->first[i])
            return 0;
    return 1;
}

void hm_custom_describe_first(const struct hm_custom *custom, char text[HM_CUSTOM_TEXT])
{
    struct hm_hash hash;
    snprintf(text, HM_CUSTOM_TEXT, "zero");
    if (all_zero(custom))
        return;
    hm_hash_init(&hash);
    hm_hash_update(&hash, custom->first, custom->n_numbers * sizeof *custom->first);
    snprintf(text, HM_CUSTOM_TEXT, "%016llx", (unsigned long long)short_hash(&hash));
}

static uint8_t *put(uint8_t *to, uint32_t x, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *to++ = (uint8_t)(x >> 8 * i);
    return to;
}

static size_t packed_bytes(const struct hm_custom *custom)
{
    size_t n = 5;
    for (unsigned i = 0; i < custom->n; i++)
        n += 3 + strlen(custom->tensor[i].name) + 4 * custom->tensor[i].n_dims;
    return n;
}

uint8_t *hm_custom_pack(const struct hm_custom *custom, size_t *n)
{
    size_t names = packed_bytes(custom), all = names + UNIT_BYTES * custom->n_numbers;
    int with_first = all <= HM_CUSTOM_BULK_MAX && !all_zero(custom);
    *n = with_first ? all : names;
    uint8_t *bytes = malloc(*n), *p = bytes;
    if (!bytes)
        return NULL;
    p = put(p, custom->n, 4);
    p = put(p, (uint32_t)with_first, 1);
    for (unsigned i = 0; i < custom->n; i++) {
        const struct hm_custom_tensor *tensor = &custom->tensor[i];
        size_t length = strlen(tensor->name);
        p = put(p, (uint32_t)length, 1);
        memcpy(p, tensor->name, length);
        p = put(p + length, (uint32_t)tensor->grid_exp, 1);
        p = put(p, tensor->n_dims, 1);
        for (unsigned d = 0; d < tensor->n_dims; d++)
            p = put(p, tensor->dim[d], 4);
    }
    for (size_t i = 0; with_first && i < custom->n_numbers; i++)
        p = put(p, (uint32_t)custom->first[i], UNIT_BYTES);
    assert(p == bytes + *n);
    return bytes;
}

struct cursor {
    const uint8_t *at, *end;
    int bad;
};

static uint32_t get(struct cursor *c, unsigned bytes)
{
    uint32_t x = 0;
    if ((size_t)(c->end - c->at) < bytes) {
        c->bad = 1;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        x |= (uint32_t)*c->at++ << 8 * i;
    return x;
}

static enum hm_status unpack_tensor(struct hm_custom *custom, struct cursor *c, struct hm_err *err)
{
    char name[256] = "";
    uint32_t dim[HM_CUSTOM_DIMS_MAX], length = get(c, 1);
    if ((size_t)(c->end - c->at) < length)
        return hm_fail(err, HM_ECORRUPT, "the list of tensors ends within a name");
    memcpy(name, c->at, length);
    c->at += length;
    int grid_exp = (int8_t)get(c, 1);
    uint32_t n_dims = get(c, 1);
    for (unsigned d = 0; d < n_dims && d < HM_CUSTOM_DIMS_MAX; d++)
        dim[d] = get(c, 4);
    if (c->bad || n_dims > HM_CUSTOM_DIMS_MAX)
        return hm_fail(err, HM_ECORRUPT, "the list of tensors ends within one");
    struct hm_custom_tensor tensor;
    enum hm_status status = describe(custom, name, n_dims, dim, grid_exp, &tensor, err);
    if (!status)
        append(custom, &tensor);
    return status;
}

enum hm_status hm_custom_unpack(struct hm_custom *custom, const uint8_t *bytes, size_t n,
                                int *with_first, struct hm_err *err)
{
    struct cursor c = {bytes, bytes + n, 0};
    uint32_t count = get(&c, 4);
    *with_first = get(&c, 1) != 0;
    if (c.bad || !count || count > HM_CUSTOM_TENSORS_MAX)
        return hm_fail(err, HM_ECORRUPT, "the list of tensors is damaged");
    enum hm_status status = HM_OK;
    for (uint32_t i = 0; i < count && !status; i++)
        status = unpack_tensor(custom, &c, err);
    if (status)
        return status;
    if ((size_t)(c.end - c.at) != (*with_first ? UNIT_BYTES * custom->n_numbers : 0))
        return hm_fail(err, HM_ECORRUPT, "the list of tensors has another length than it says");
    if (*with_first) /* of which there are as many as bytes are there */
        custom->first = malloc(custom->n_numbers * sizeof *custom->first);
    if (*with_first && !custom->first)
        return hm_fail(err, HM_ENOMEM, "no memory for %zu weights", custom->n_numbers);
    for (size_t i = 0; *with_first && i < custom->n_numbers; i++) {
        int32_t units = (int32_t)(get(&c, UNIT_BYTES) << 8) >> 8;
        if (units > FIRST_MAX || units < -FIRST_MAX)
            return hm_fail(err, HM_ECORRUPT, "first value %zu is out of range", i);
        custom->first[i] = units;
    }
    return HM_OK;
}

/* ---- the workload ---- */

struct model {
    struct hm_model base;
    struct hm_train_options options;
    struct hm_custom *custom; /* the program's, or own; NULL: not known yet */
    struct hm_custom own;     /* of a file */
    uint8_t *packed;          /* of custom */
    size_t n_packed;
    struct hm_layout layout;
    uint64_t seed;
};

static struct model *of(const struct hm_model *model)
{
    return (struct model *)(void *)(uintptr_t)model;
}

static enum hm_status open_model(struct hm_model **out, const struct hm_train_options *options,
                                 const struct hm_progress *progress, struct hm_err *err)
{
    (void)progress;
    if (options->n_train || options->n_test || options->data || options->fed)
        return hm_fail(err, HM_EUSAGE,
                       "custom: the program that trains has the data; --train, --test, --data and "
                       "--feed are for the other workloads");
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return hm_fail(err, HM_ENOMEM, "custom: no memory");
    model->base = (struct hm_model){
        .ops = &hm_custom, .batch = options->batch ? options->batch : 1, .by_caller = 1};
    model->options = *options;
    model->custom = options->custom;
    *out = &model->base;
    return HM_OK;
}

static void close_model(struct hm_model *base)
{
    struct model *model = of(base);
    hm_custom_fini(&model->own);
    free(model->packed);
    free(model);
}

static void set_tensors(const struct hm_custom *custom, struct hm_fields *fields)
{
    char text[HM_CUSTOM_TEXT];
    hm_custom_describe(custom, text);
    hm_fields_set(fields, "parameters", "%s", text);
}

static void set_first(const struct hm_custom *custom, struct hm_fields *fields)
{
    char text[HM_CUSTOM_TEXT];
    hm_custom_describe_first(custom, text);
    hm_fields_set(fields, "values", "%s", text);
}

static void insist(const struct hm_model *base, struct hm_fields *fields)
{
    const struct model *model = of(base);
    hm_plan_insist(NAME, &model->options, fields);
    if (!model->custom)
        return;
    set_tensors(model->custom, fields);
    if (!model->custom->adopts)
        set_first(model->custom, fields);
}

static enum hm_status found(struct hm_model *base, struct hm_fields *config, struct hm_err *err)
{
    struct model *model = of(base);
    struct hm_train_options o = model->options;
    struct hm_layout layout;
    if (!model->custom || !model->custom->n)
        return hm_fail(err, HM_EUSAGE,
                       "custom: no parameters; programs bring theirs along (hogmesh.h)");
    if (!o.combine_given)
        o.combine.rule = HM_RULE_MEAN;
    if (o.combine.rule == HM_RULE_LOOKAHEAD)
        return hm_fail(err, HM_EUSAGE,
                       "custom: combine lookahead goes by a momentum that is not known here; mean, "
                       "sum, amplify or hold is expected");
    enum hm_status status = hm_custom_arrange(model->custom, &layout, err);
    if (status)
        return status;
    hm_plan_found(NAME, &o, 0, 0, base->batch, config);
    set_tensors(model->custom, config);
    set_first(model->custom, config);
    hm_fields_set_layout(config, &layout);
    return HM_OK;
}

static enum hm_status extend(const struct hm_model *base, struct hm_fields *config,
                             struct hm_err *err)
{
    return hm_plan_extend(&of(base)->options, config, err);
}

static const uint8_t *bulk(const struct hm_model *base, size_t *n)
{
    *n = of(base)->n_packed;
    return of(base)->packed;
}

/* The first values of the mesh, where this node does not insist on its own. */
static enum hm_status adopt_first(struct hm_custom *own, const struct hm_fields *config,
                                  const uint8_t *bytes, size_t n_bytes, struct hm_err *err)
{
    struct hm_custom theirs = {0};
    struct hm_fields ours = {0};
    const char *first = hm_fields_get(config, "values");
    const size_t n = own->n_numbers * sizeof *own->first;
    int with_first = 0;
    set_first(own, &ours);
    if (first && strcmp(first, hm_fields_get(&ours, "values")) == 0)
        return HM_OK;
    if (first && strcmp(first, "zero") == 0 && own->adopts) {
        memset(own->first, 0, n);
        return HM_OK;
    }
    enum hm_status status = HM_OK;
    if (own->adopts && bytes && n_bytes)
        status = hm_custom_unpack(&theirs, bytes, n_bytes, &with_first, err);
    if (!status && (!with_first || theirs.n_numbers != own->n_numbers))
        status = hm_fail(err, HM_EREFUSED,
                         "field 'values': the mesh begins with other values (%.20s) than this "
                         "node (%.20s)%s; let all nodes begin with the same, as by one seed",
                         first ? first : "none", hm_fields_get(&ours, "values"),
                         own->adopts ? ", which are too many to be sent" : "");
    if (!status)
        memcpy(own->first, theirs.first, n);
    hm_custom_fini(&theirs);
    return status;
}

static enum hm_status adopt_tensors(struct model *model, const struct hm_fields *config,
                                    const uint8_t *bytes, size_t n_bytes, struct hm_err *err)
{
    struct hm_fields ours = {0};
    const char *theirs = hm_fields_get(config, "parameters");
    int with_first;
    if (!model->custom && (!bytes || !n_bytes))
        return hm_fail(err, HM_EUSAGE, "custom: no parameters; programs bring theirs along");
    if (!model->custom) { /* a file says it all */
        model->custom = &model->own;
        return hm_custom_unpack(&model->own, bytes, n_bytes, &with_first, err);
    }
    set_tensors(model->custom, &ours);
    const char *own = hm_fields_get(&ours, "parameters");
    if (theirs && strcmp(theirs, own) == 0)
        return adopt_first(model->custom, config, bytes, n_bytes, err);
    return hm_fail(err, HM_EREFUSED,
                   "field 'parameters': the mesh has others (%.60s) than this node (%s)",
                   theirs ? theirs : "none", own);
}

static enum hm_status adopt(struct hm_model *base, const struct hm_fields *config,
                            const uint8_t *bulk_bytes, size_t n_bulk, struct hm_layout *layout,
                            struct hm_err *err)
{
    static const char *const own[] = {"parameters", "tensors", "values"};
    struct model *model = of(base);
    struct hm_fields ours = {0};
    enum hm_status status;
    if ((status =
             hm_plan_adopt(NAME, config, own, 3, HM_CUSTOM_BATCH_MAX, base, &model->seed, err)) ||
        (status = adopt_tensors(model, config, bulk_bytes, n_bulk, err)) ||
        (status = hm_custom_arrange(model->custom, &model->layout, err)))
        return status;
    hm_fields_set_layout(&ours, &model->layout);
    const char *theirs = hm_fields_get(config, "tensors");
    if (!theirs || strcmp(theirs, hm_fields_get(&ours, "tensors")) != 0)
        return hm_fail(err, HM_EINPUT,
                       "field 'tensors' is '%.60s', which these parameters do not "
                       "have",
                       theirs ? theirs : "");
    if (base->staleness_bound == 0)
        return hm_fail(err, HM_EUSAGE,
                       "field 'staleness_bound' is 0: synchronous rounds are for the workloads "
                       "that are built in; at least 1 is expected");
    free(model->packed);
    model->packed = hm_custom_pack(model->custom, &model->n_packed);
    if (!model->packed)
        return hm_fail(err, HM_ENOMEM, "custom: no memory");
    base->chunk = base->batch;
    base->marks = model->custom->marks;
    *layout = model->layout;
    return HM_OK;
}

static void init(const struct hm_model *base, struct hm_weights *weights)
{
    const struct hm_custom *custom = of(base)->custom;
    memset(weights->b, 0, weights->n * sizeof weights->b[0]);
    for (unsigned i = 0; custom->first && i < custom->n; i++)
        memcpy(weights->b + custom->tensor[i].at, custom->first + custom->tensor[i].number,
               custom->tensor[i].n * sizeof *weights->b);
}

static enum hm_status shard(struct hm_model *base, enum hm_partition partition, unsigned rank,
                            unsigned n, struct hm_shard *out, struct hm_err *err)
{
    (void)base;
    (void)partition;
    (void)rank;
    (void)n;
    (void)err;
    *out = (struct hm_shard){.n = 1};
    return HM_OK;
}

static void step(const struct hm_model *base, const struct hm_shard *shard_unused,
                 struct hm_step *step_unused)
{
    (void)base;
    (void)shard_unused;
    (void)step_unused;
    assert(!"the caller's threads make the steps");
}

static double rate(const struct hm_model *base, double t)
{
    (void)base;
    (void)t;
    return 0;
}

/* What the model is worth only the program knows. */
static enum hm_status score(struct hm_model *base, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *out,
                            struct hm_err *err)
{
    (void)base;
    (void)b;
    (void)steps;
    (void)set;
    (void)threads;
    (void)err;
    *out = (struct hm_score){0};
    return HM_OK;
}

/* ---- weights for others ---- */

static void parts(const struct hm_model *base, struct hm_parts *out)
{
    uint32_t n = (uint32_t)of(base)->custom->n_numbers;
    *out = (struct hm_parts){0};
    hm_parts_add(out, "weights", 1, &n);
}

static void weights_of(const struct hm_model *base, const uint32_t *b, uint64_t steps, float *out)
{
    const struct hm_custom *custom = of(base)->custom;
    (void)steps;
    for (unsigned t = 0; t < custom->n; t++) {
        const struct hm_custom_tensor *tensor = &custom->tensor[t];
        const float grid = hm_exp2i(tensor->grid_exp);
        for (size_t i = 0; i < tensor->n; i++)
            *out++ = (float)(int32_t)b[tensor->at + i] * grid;
    }
}

static enum hm_status unweights(const struct hm_model *base, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err)
{
    const struct model *model = of(base);
    const struct hm_custom *custom = model->custom;
    enum hm_status status = HM_OK;
    size_t number = 0;
    (void)steps;
    memset(b, 0, hm_layout_n(&model->layout) * sizeof *b);
    for (unsigned t = 0; t < custom->n; t++) {
        const struct hm_custom_tensor *tensor = &custom->tensor[t];
        for (size_t i = 0; i < tensor->n && !status; i++, number++)
            status = hm_parts_units(w[number], ldexp(1, tensor->grid_exp), number,
                                    &b[tensor->at + i], err);
    }
    return status;
}

static enum hm_status save(struct hm_model *base, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err)
{
    const struct hm_custom *custom = of(base)->custom;
    const char *dot = strrchr(path, '.');
    int npy = dot && strcmp(dot, ".npy") == 0;
    if (!npy && (!dot || strcmp(dot, ".safetensors") != 0))
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; custom exports .safetensors and .npy",
                       path);
    float *w = malloc(custom->n_numbers * sizeof *w);
    struct hm_safetensor *tensor = malloc(custom->n * sizeof *tensor);
    enum hm_status status =
        w && tensor ? HM_OK : hm_fail(err, HM_ENOMEM, "%s: out of memory", path);
    for (unsigned t = 0; tensor && t < custom->n; t++) {
        const struct hm_custom_tensor *from = &custom->tensor[t];
        tensor[t] =
            (struct hm_safetensor){from->name, from->n_dims, from->dim, from->number, from->n};
    }
    if (!status)
        weights_of(base, b, steps, w);
    if (!status)
        status = npy ? hm_npy_write(path, w, 1, custom->n_numbers, err)
                     : hm_safetensors_write(path, tensor, custom->n, w, err);
    free(w);
    free(tensor);
    return status;
}

static void place(const struct hm_model *base, size_t at, char *text, size_t room)
{
    const struct hm_custom *custom = of(base)->custom;
    snprintf(text, room, "no tensor");
    for (unsigned t = 0; t < custom->n; t++)
        if (at >= custom->tensor[t].at && at - custom->tensor[t].at < custom->tensor[t].n)
            snprintf(text, room, "tensor '%s', number %zu of %zu", custom->tensor[t].name,
                     at - custom->tensor[t].at, custom->tensor[t].n);
}

const struct hm_model_ops hm_custom = {
    .name = NAME,
    .help = "parameters of a program that trains them itself (hogmesh.h)",
    .combine_default = HM_DEFAULT_SUM,
    .speed = 1e6,
    .open = open_model,
    .insist = insist,
    .found = found,
    .extend = extend,
    .bulk = bulk,
    .adopt = adopt,
    .init = init,
    .shard = shard,
    .step = step,
    .rate = rate,
    .score = score,
    .parts = parts,
    .weights = weights_of,
    .unweights = unweights,
    .save = save,
    .close = close_model,
    .place = place,
};
