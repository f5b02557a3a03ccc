/* hogmesh-bench: what can only be measured inside a process. Every command prints one JSON object
 * with its raw measurements; tools/bench runs them beside whole meshes and other people's programs,
 * and makes medians of them.
 *
 *     hogmesh-bench about                compiler, flags, kernel tables of this processor
 *     hogmesh-bench step TRAIN N         N epochs of the SVM's bare loop: no node, no mesh
 *     hogmesh-bench micro TRAIN K        kernels on the deltas of every K examples, warm caches
 *     hogmesh-bench flush TRAIN K        a flush and a receive, with the caches as training does
 *     hogmesh-bench deltas TRAIN K       bytes of the deltas of an epoch, and their entropy
 *     hogmesh-bench reader TRAIN N       parsing, and opening the cache
 *     hogmesh-bench ledger TRAIN K       what the ledger costs
 *     hogmesh-bench lenet5 DIR           LeNet5's steps, in batches of the sizes that stdin names
 *     hogmesh-bench word2vec FILE [MIN]  epochs on that text, as the lines of stdin say, with words
 *                                        that occur MIN times (5)
 *     hogmesh-bench wire KEYFILE|- N     messages of N bytes between the sockets of two processes
 */
#include "models/rows.h"
#include "protocol/wire.h"

#include "tools/bench_walk.h"

#include <jansson.h>

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 32, REPEATS = 5, FIRST_OCTAVE = 16 /* blocks */ };

static json_t *step(const char *train, uint64_t n)
{
    struct walk walk = walk_open(train);
    json_t *json = json_pack("{s:I}", "rows", (json_int_t)walk.model->n_train);
    for (uint64_t i = 0; i < n; i++) {
        struct hm_score score;
        struct hm_err err;
        walk_restart(&walk);
        double start = now();
        walk_on(&walk, walk.model->n_train);
        add(json, "seconds", now() - start);
        struct hm_publish publish = {1, 0, 0};
        struct hm_extract_stats stats = {0};
        struct hm_delta delta;
        must(hm_delta_init(&delta, walk.layout.n_blocks, &err), &err);
        hm_kernels_find("auto")->extract(&walk.weights, 0, walk.layout.n_blocks, &publish, &delta,
                                         &stats);
        hm_delta_fini(&delta);
        must(hm_svm.score(walk.model, walk.weights.b, walk.model->n_train, HM_TRAIN_SET, 2, &score,
                          &err),
             &err);
        add(json, "cost", score.cost);
    }
    walk_close(&walk);
    return json;
}

/* ---- deltas ---- */

/* Where deltas are made, packed and applied. */
struct place {
    struct hm_delta delta, received;
    struct hm_weights peer; /* who receives */
    uint8_t *packed, *body, *scratch;
    size_t packed_n, body_n;
    struct hm_delta_head head;
};

static struct place place_open(const struct hm_layout *layout)
{
    struct place p = {0};
    struct hm_err err;
    size_t bound = hm_pack_bound(layout->n_blocks, layout->n_blocks);
    must(hm_delta_init(&p.delta, layout->n_blocks, &err), &err);
    must(hm_delta_init(&p.received, layout->n_blocks, &err), &err);
    must(hm_weights_init(&p.peer, layout, &err), &err);
    p.packed = room(bound);
    p.body = room(bound);
    p.scratch = room(bound > HM_RAW_MAX ? bound : HM_RAW_MAX);
    return p;
}

static void place_close(struct place *p)
{
    hm_delta_fini(&p->delta);
    hm_delta_fini(&p->received);
    hm_weights_fini(&p->peer);
    free(p->packed);
    free(p->body);
    free(p->scratch);
}

static void extract(const struct hm_kernels *k, struct hm_weights *weights, struct place *p)
{
    struct hm_publish publish = {1, 1, 0};
    struct hm_extract_stats stats = {0};
    p->delta.n_blocks = p->delta.n_nonzero = 0;
    k->extract(weights, 0, weights->layout.n_blocks, &publish, &p->delta, &stats);
}

static void pack(const struct hm_kernels *k, const struct hm_layout *layout, struct place *p)
{
    p->head = (struct hm_delta_head){.n_blocks = layout->n_blocks, .n_nonzero = p->delta.n_nonzero};
    p->body_n = hm_pack(k, &p->delta, 0, layout->n_blocks, p->body, p->scratch, &p->head.encoding,
                        &p->head.raw_n);
}

static void receive(const struct hm_kernels *k, const struct hm_layout *layout, struct place *p)
{
    uint64_t n_sampled = 0, n_wiped = 0;
    if (hm_unpack(k, layout, &p->head, p->body, p->body_n, p->scratch, &p->received) != 0)
        abort();
    k->apply(&p->received, &p->peer, &n_sampled, &n_wiped);
}

/* The weights as they were before a flush, to do it again. */
struct snapshot {
    hm_cell *w;
    uint32_t *b;
};

static void restore(struct hm_weights *weights, const struct snapshot *s)
{
    memcpy((void *)weights->w, (const void *)s->w, weights->n * sizeof *s->w);
    memcpy(weights->b, s->b, weights->n * sizeof *s->b);
}

static void save(const struct hm_weights *weights, struct snapshot *s)
{
    memcpy((void *)s->w, (const void *)weights->w, weights->n * sizeof *s->w);
    memcpy(s->b, weights->b, weights->n * sizeof *s->b);
}

/* Each kernel once on the delta of this moment; nanoseconds for each coordinate of the model. */
static void time_kernels(const struct hm_kernels *k, struct walk *walk,
                         const struct snapshot *before, struct place *p, json_t *json)
{
    const struct hm_layout *layout = &walk->layout;
    uint64_t n_sampled = 0, n_wiped = 0;
    volatile uint64_t digest;
    double t[7], scale = 1e9 / (double)walk->weights.n;
    restore(&walk->weights, before);
    t[0] = now();
    extract(k, &walk->weights, p);
    t[1] = now();
    p->packed_n = k->encode(&p->delta, 0, layout->n_blocks, p->packed);
    t[2] = now();
    if (k->decode(p->packed, p->packed_n, 0, layout->n_blocks, &p->received) != 0)
        abort();
    t[3] = now();
    k->apply(&p->received, &p->peer, &n_sampled, &n_wiped);
    t[4] = now();
    digest = k->digest(&p->delta);
    t[5] = now();
    (void)digest;
    static const char *const name[] = {"extract", "encode", "decode", "apply", "digest"};
    for (int i = 0; i < 5; i++)
        add(json, name[i], (t[i + 1] - t[i]) * scale);
}

static json_t *micro(const char *train, uint64_t k)
{
    struct walk walk = walk_open(train);
    struct place p = place_open(&walk.layout);
    struct snapshot before = {room(walk.weights.n * sizeof(hm_cell)),
                              room(walk.weights.n * sizeof(uint32_t))};
    json_t *tables = json_object();
    walk_restart(&walk);
    for (int point = 0; point < POINTS; point++) {
        uint64_t digest = 0;
        walk_on(&walk, k);
        save(&walk.weights, &before);
        for (unsigned i = 0; hm_kernels_at(i); i++) {
            const struct hm_kernels *table = hm_kernels_at(i);
            if (!json_object_get(tables, table->name))
                json_object_set_new(tables, table->name, json_object());
            for (int repeat = 0; repeat < REPEATS; repeat++)
                time_kernels(table, &walk, &before, &p, json_object_get(tables, table->name));
            assert(i == 0 ||
                   digest == table->digest(&p.delta)); /* all tables make the same delta */
            digest = table->digest(&p.delta);
        }
    }
    json_t *json = json_pack("{s:I, s:I, s:i, s:o}", "coordinates", (json_int_t)walk.weights.n,
                             "examples", (json_int_t)k, "deltas", POINTS, "tables", tables);
    free((void *)before.w);
    free(before.b);
    place_close(&p);
    walk_close(&walk);
    return json;
}

/* Microseconds, each right after k examples. */
static json_t *flush(const char *train, uint64_t k)
{
    struct walk walk = walk_open(train);
    struct place p = place_open(&walk.layout);
    const struct hm_kernels *table = hm_kernels_find("auto");
    json_t *json = json_pack("{s:s, s:I}", "table", table->name, "examples", (json_int_t)k);
    walk_restart(&walk);
    for (int point = 0; point < POINTS; point++) {
        double t[4];
        walk_on(&walk, k);
        t[0] = now();
        extract(table, &walk.weights, &p);
        pack(table, &walk.layout, &p);
        t[1] = now();
        walk_on(&walk, k);
        t[2] = now();
        receive(table, &walk.layout, &p);
        t[3] = now();
        add(json, "flush_us", (t[1] - t[0]) * 1e6);
        add(json, "receive_us", (t[3] - t[2]) * 1e6);
    }
    place_close(&p);
    walk_close(&walk);
    return json;
}

/* ---- how small deltas are ---- */

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static double bits_of(uint64_t count, uint64_t n)
{
    return count ? (double)count * log2((double)n / (double)count) : 0;
}

/* Order-0 entropy of the coordinates in blocks [from, to) of a delta, in bytes: what a code that
 * knows how often each value occurs there, and nothing else, needs at least. `values` has room for
 * all of them. */
static double entropy_bytes(const struct hm_delta *delta, uint32_t from, uint32_t to,
                            int32_t *values)
{
    size_t n = (size_t)(to - from) * HM_BLOCK, n_values = 0, first = 0;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; delta->block[i] >= from && delta->block[i] < to && j < HM_BLOCK; j++)
            if (delta->q[i][j])
                values[n_values++] = delta->q[i][j];
    qsort(values, n_values, sizeof *values, by_value);
    double bits = bits_of(n - n_values, n);
    for (size_t i = 1; i <= n_values; i++)
        if (i == n_values || values[i] != values[first]) {
            bits += bits_of(i - first, n);
            first = i;
        }
    return bits / 8;
}

/* The same with the frequencies known in each octave of rank: features are numbered by falling
 * frequency, so that a code which adapts along the ranks goes below the entropy of the whole. */
static double octaves_bytes(const struct hm_delta *delta, uint32_t n_blocks, int32_t *values)
{
    double bytes = 0;
    for (uint32_t from = 0, to = FIRST_OCTAVE; from < n_blocks; from = to, to *= 2)
        bytes += entropy_bytes(delta, from, to < n_blocks ? to : n_blocks, values);
    return bytes;
}

static json_t *deltas(const char *train, uint64_t k)
{
    struct walk walk = walk_open(train);
    struct place p = place_open(&walk.layout);
    const struct hm_kernels *table = hm_kernels_find("auto");
    int32_t *values = room(walk.weights.n * sizeof *values);
    double entropy = 0, octaves = 0, encoded = 0, packed = 0, nonzero = 0, listed = 0;
    uint64_t n = walk.model->n_train / k;
    walk_restart(&walk);
    for (uint64_t i = 0; i < n; i++) {
        walk_on(&walk, k);
        extract(table, &walk.weights, &p);
        pack(table, &walk.layout, &p);
        entropy += entropy_bytes(&p.delta, 0, walk.layout.n_blocks, values);
        octaves += octaves_bytes(&p.delta, walk.layout.n_blocks, values);
        encoded += p.head.raw_n;
        packed += (double)p.body_n;
        nonzero += p.delta.n_nonzero;
        listed += p.delta.n_blocks;
    }
    double coordinates = (double)n * (double)walk.weights.n, examples = (double)n * (double)k;
    json_t *json = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "examples",
                             (json_int_t)k, "deltas", (json_int_t)n, "bytes_per_example",
                             packed / examples, "bytes_per_coordinate", packed / coordinates,
                             "bytes_per_delta", packed / (double)n, "before_lz4_per_coordinate",
                             encoded / coordinates, "entropy_per_coordinate", entropy / coordinates,
                             "octaves_per_coordinate", octaves / coordinates, "nonzero",
                             nonzero / coordinates, "listed", listed * HM_BLOCK / coordinates);
    free(values);
    place_close(&p);
    walk_close(&walk);
    return json;
}

/* ---- reading ---- */

static json_t *reader(const char *train, uint64_t n)
{
    json_t *json = json_object();
    for (uint64_t i = 0; i < 2 * n; i++) {
        struct hm_rows rows;
        struct hm_err err;
        struct hm_rows_load_stats stats;
        struct hm_rows_source source = {.file = {train}, .n_files = 1, .no_cache = i % 2 == 0};
        double start = now();
        must(hm_rows_open(&rows, &source, NULL, &stats, &err), &err);
        double seconds = now() - start;
        if (source.no_cache) {
            json_object_set_new(json, "text_bytes", json_real(stats.text_bytes));
            add(json, "parse_seconds", seconds);
        } else if (stats.from_cache)
            add(json, "cache_seconds", seconds);
        hm_rows_close(&rows);
    }
    return json;
}

static json_t *about(void)
{
    json_t *tables = json_array();
    for (unsigned i = 0; hm_kernels_at(i); i++)
        json_array_append_new(tables, json_string(hm_kernels_at(i)->name));
#ifdef __clang__
    const char *compiler = "clang " __clang_version__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    return json_pack("{s:s, s:s, s:o}", "compiler", compiler, "flags", HM_BENCH_FLAGS, "tables",
                     tables);
}

static json_t *dispatch(const char *command, const char *train, uint64_t n)
{
    if (strcmp(command, "about") == 0)
        return about();
    if (!train || !n)
        return NULL;
    static const struct {
        const char *name;
        json_t *(*main)(const char *train, uint64_t n);
    } commands[] = {{"step", step},     {"micro", micro},   {"flush", flush}, {"deltas", deltas},
                    {"reader", reader}, {"ledger", ledger}, {"wire", wire}};
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(command, commands[i].name) == 0)
            return commands[i].main(train, n);
    return NULL;
}

static void print(json_t *json)
{
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "lenet5") == 0) {
        lenet5(argv[2]);
        return 0;
    }
    if (argc >= 3 && argc <= 4 && strcmp(argv[1], "word2vec") == 0) {
        word2vec(argv[2], argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "saturate") == 0) {
        print(saturate((unsigned)atoi(argv[2]), strtoull(argv[3], NULL, 10)));
        return 0;
    }
    json_t *json = argc < 2 ? NULL
                            : dispatch(argv[1], argc > 2 ? argv[2] : NULL,
                                       argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    if (!json) {
        fprintf(stderr, "usage: hogmesh-bench about | step TRAIN N | micro|flush|deltas TRAIN K | "
                        "reader TRAIN N | ledger TRAIN K | lenet5 DIR | word2vec FILE [MIN] | "
                        "saturate DIM N | wire KEYFILE|- BYTES\n");
        return 2;
    }
    print(json);
    return 0;
}
