#include "models/synth_model.h"

#include "models/portable_math.h"
#include "sparse/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEATURES = HM_SYNTH_SVM_FEATURES,
    TOPICS = HM_SYNTH_TOPICS,
    CATEGORIES = HM_SYNTH_CATEGORIES
};
enum { IDF_ROWS = 23149, CURVE = 11 };

/* Labels flipped: what remains of a linear SVM's error on this model then makes 6.0 % in all, as on
 * CCAT. */
#define LABEL_NOISE 0.033

/* Random streams: documents use the numbers from 0 on. */
#define STREAM_SHUFFLE  (UINT64_MAX - 0)
#define STREAM_TOPICS   (UINT64_MAX - 1)
#define STREAM_CATEGORY (UINT64_MAX - 100)
#define STREAM_TOPIC    (UINT64_MAX - 1000)

static const int category_topics[CATEGORIES] = {40, 18, 26, 19};
static const double category_share[CATEGORIES] = {.47, .15, .24, .14};

/* The share of documents that have the feature of each rank, as measured on RCV1; between the
 * points we interpolate on a doubly logarithmic scale. */
static const double curve_rank[CURVE] = {1, 3, 9, 27, 81, 243, 729, 2187, 6561, 19683, FEATURES};
static const double curve_share[CURVE] = {.425,  .341,  .2715,  .199,   .120,  .059,
                                          .0225, .0053, .00085, .00011, .00002};

/* popularity[rank] = the rate per document of a feature that so many documents have at least once.
 */
static void make_popularity(double *popularity)
{
    int s = 0;
    for (int i = 0; i < FEATURES; i++) {
        double rank = i + 1;
        while (s < CURVE - 2 && rank > curve_rank[s + 1])
            s++;
        double a = hm_portable_log(curve_share[s]), b = hm_portable_log(curve_share[s + 1]);
        double f = hm_portable_log(rank / curve_rank[s]) /
                   hm_portable_log(curve_rank[s + 1] / curve_rank[s]);
        popularity[i] = -hm_portable_log(1 - hm_portable_exp(a * (1 - f) + b * f));
    }
}

/* Feature numbers say nothing about popularity, as in an alphabetical vocabulary. */
static void make_numbers(uint64_t seed, uint16_t *number)
{
    struct hm_rng rng = hm_rng_seed(seed, STREAM_SHUFFLE);
    for (int i = 0; i < FEATURES; i++)
        number[i] = (uint16_t)i;
    for (int i = FEATURES - 1; i > 0; i--) {
        uint32_t j = hm_rng_below(&rng, (uint32_t)i + 1);
        uint16_t t = number[i];
        number[i] = number[j];
        number[j] = t;
    }
}

/* Within a category, topics have log-normal shares. */
static void make_topics(struct hm_synth_model *model)
{
    struct hm_rng rng = hm_rng_seed(model->seed, STREAM_TOPICS);
    double end = 0;
    for (int c = 0, topic = 0; c < CATEGORIES; c++) {
        double weight[TOPICS], sum = 0;
        for (int k = 0; k < category_topics[c]; k++)
            sum += weight[k] = hm_portable_exp(hm_portable_normal(&rng));
        for (int k = 0; k < category_topics[c]; k++)
            model->topic_end[topic++] = end += weight[k] / sum * category_share[c];
        model->category_end[c] = topic;
    }
}

static void make_category(uint64_t seed, int category, double *multiplier)
{
    struct hm_rng rng = hm_rng_seed(seed, STREAM_CATEGORY - (uint64_t)category);
    for (int i = 0; i < FEATURES; i++)
        multiplier[i] = hm_portable_exp(0.8 * hm_portable_normal(&rng));
}

/* A topic lifts 6 % of the features a lot and lowers the others a little. */
static void make_topic(uint64_t seed, int topic, const double *popularity, const double *multiplier,
                       double *weight)
{
    struct hm_rng rng = hm_rng_seed(seed, STREAM_TOPIC - (uint64_t)topic);
    for (int i = 0; i < FEATURES; i++) {
        int lifted = hm_rng_unit(&rng) < 0.06;
        double g = hm_portable_normal(&rng);
        double own = lifted ? hm_portable_exp(1.6 + 0.9 * g) : 0.6 * hm_portable_exp(0.25 * g);
        weight[i] = popularity[i] * multiplier[i] * own;
    }
}

struct alias_scratch {
    double load[FEATURES]; /* 1 is a full slot */
    int low[FEATURES], high[FEATURES];
};

/* Vose's way of filling an alias table: each slot below its share is topped up from one above. */
static void make_slots(const double *weight, const uint16_t *number, struct alias_scratch *scratch,
                       struct hm_synth_slot *slot)
{
    double sum = 0;
    int n_low = 0, n_high = 0;
    for (int i = 0; i < FEATURES; i++)
        sum += weight[i];
    for (int i = 0; i < FEATURES; i++) {
        scratch->load[i] = weight[i] * FEATURES / sum;
        slot[i] = (struct hm_synth_slot){UINT32_MAX, number[i], number[i]};
        if (scratch->load[i] < 1)
            scratch->low[n_low++] = i;
        else
            scratch->high[n_high++] = i;
    }
    while (n_low && n_high) {
        int i = scratch->low[--n_low], j = scratch->high[n_high - 1];
        slot[i].threshold = (uint32_t)(scratch->load[i] * 4294967295.0);
        slot[i].other = number[j];
        scratch->load[j] -= 1 - scratch->load[i];
        if (scratch->load[j] < 1)
            scratch->low[n_low++] = scratch->high[--n_high];
    }
}

static struct hm_synth_slot *table(const struct hm_synth_model *model, int topic)
{
    return model->slot + (size_t)topic * FEATURES;
}

struct workspace {
    double popularity[FEATURES], multiplier[FEATURES], weight[FEATURES];
    uint16_t number[FEATURES];
    uint32_t frequency[FEATURES];
    struct alias_scratch alias;
    struct hm_synth_document document;
};

static void make_tables(struct hm_synth_model *model, struct workspace *w)
{
    for (int c = 0, topic = 0; c < CATEGORIES; c++) {
        make_category(model->seed, c, w->multiplier);
        for (; topic < model->category_end[c]; topic++) {
            make_topic(model->seed, topic, w->popularity, w->multiplier, w->weight);
            make_slots(w->weight, w->number, &w->alias, table(model, topic));
        }
    }
    make_slots(w->popularity, w->number, &w->alias, table(model, TOPICS));
}

/* From a fixed sample of documents, whatever part of them is asked for: all shards weigh features
 * alike. */
static void make_idf(struct hm_synth_model *model, struct workspace *w)
{
    for (int i = 0; i < FEATURES; i++)
        model->idf[i] = 1;
    for (uint64_t row = 0; row < IDF_ROWS; row++) {
        hm_synth_draw(model, row, &w->document);
        for (unsigned i = 0; i < w->document.n; i++)
            w->frequency[w->document.feature[i]]++;
    }
    for (int i = 0; i < FEATURES; i++)
        model->idf[i] = hm_portable_log((IDF_ROWS + 1.0) / (w->frequency[i] + 0.5));
}

enum hm_status hm_synth_model_init(struct hm_synth_model *model, uint64_t seed, struct hm_err *err)
{
    *model = (struct hm_synth_model){.seed = seed};
    struct workspace *w = calloc(1, sizeof *w);
    model->slot = malloc((TOPICS + 1) * FEATURES * sizeof *model->slot);
    model->idf = malloc(FEATURES * sizeof *model->idf);
    if (!w || !model->slot || !model->idf) {
        free(w);
        hm_synth_model_fini(model);
        return hm_fail(err, HM_ENOMEM, "no memory for the synthetic topics (40 MB)");
    }
    for (int n = 1; n <= HM_SYNTH_TOKENS_MAX; n++)
        model->log_tf[n] = 1 + hm_portable_log(n);
    make_popularity(w->popularity);
    make_numbers(seed, w->number);
    make_topics(model);
    make_tables(model, w);
    make_idf(model, w);
    free(w);
    return HM_OK;
}

void hm_synth_model_fini(struct hm_synth_model *model)
{
    free(model->slot);
    free(model->idf);
    *model = (struct hm_synth_model){0};
}

/* ---- drawing ---- */

/* The topic whose part of [0, 1) holds u. */
static int find_topic(const struct hm_synth_model *model, double u)
{
    int low = 0, high = TOPICS - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (u < model->topic_end[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int category_of(const struct hm_synth_model *model, int topic)
{
    int c = 0;
    while (topic >= model->category_end[c])
        c++;
    return c;
}

/* Another topic of the document: 7 times out of 10 from the category of the first. */
static int second_topic(const struct hm_synth_model *model, int category, struct hm_rng *rng)
{
    int same = hm_rng_below(rng, 10) < 7;
    double u = hm_rng_unit(rng);
    int first = category ? model->category_end[category - 1] : 0;
    double from = first ? model->topic_end[first - 1] : 0;
    double to = model->topic_end[model->category_end[category] - 1];
    return find_topic(model, same ? from + u * (to - from) : u);
}

/* Of 2^32, how many for a share that may exceed 1. */
static uint64_t parts(double share)
{
    return (uint64_t)((share < 1 ? share : 1) * 0x1p32);
}

static unsigned draw_length(struct hm_rng *rng)
{
    double length = hm_portable_exp(4.20 + 0.72 * hm_portable_normal(rng));
    return length < HM_SYNTH_TOKENS_MIN   ? HM_SYNTH_TOKENS_MIN
           : length > HM_SYNTH_TOKENS_MAX ? HM_SYNTH_TOKENS_MAX
                                          : (unsigned)length;
}

/* Chooses and prefetches all slots before any is looked at: the tables are larger than the caches.
 */
static unsigned draw_slots(const struct hm_synth_model *model, int first, struct hm_rng *rng,
                           struct hm_synth_document *document)
{
    int category = category_of(model, first);
    int second = second_topic(model, category, rng), third = second_topic(model, category, rng);
    double main_share = 0.3 + 0.6 * hm_rng_unit(rng);
    double other_share = 0.6 * main_share * hm_rng_unit(rng);
    uint64_t end[3] = {parts(main_share), parts(main_share + other_share),
                       parts(main_share + 1.3 * other_share)};
    const struct hm_synth_slot *from[4] = {table(model, first), table(model, second),
                                           table(model, third), table(model, TOPICS)};
    unsigned n = draw_length(rng);
    for (unsigned i = 0; i < n; i++) {
        uint64_t which = hm_rng_next(rng) >> 32, r = hm_rng_next(rng);
        int t = (which >= end[0]) + (which >= end[1]) + (which >= end[2]);
        document->drawn[i] = from[t] + (((r >> 32) * FEATURES) >> 32);
        document->fraction[i] = (uint32_t)r;
        __builtin_prefetch(document->drawn[i]);
    }
    return n;
}

static void count_tokens(struct hm_synth_document *document, unsigned n_tokens)
{
    for (unsigned i = 0; i < n_tokens; i++) {
        const struct hm_synth_slot *slot = document->drawn[i];
        uint16_t f = document->fraction[i] < slot->threshold ? slot->feature : slot->other;
        document->count[f]++;
        document->met[f / 64] |= (uint64_t)1 << (f % 64);
    }
}

/* Lists the features met, in their order, with (1 + ln tf) idf, and wipes the counters. */
static void list_features(const struct hm_synth_model *model, struct hm_synth_document *document)
{
    unsigned n = 0;
    for (unsigned w = 0; w < sizeof document->met / sizeof document->met[0]; w++) {
        for (uint64_t bits = document->met[w]; bits; bits &= bits - 1) {
            unsigned f = w * 64 + (unsigned)__builtin_ctzll(bits);
            document->feature[n] = (uint16_t)f;
            document->value[n++] = model->log_tf[document->count[f]] * model->idf[f];
            document->count[f] = 0;
        }
        document->met[w] = 0;
    }
    document->n = n;
}

static void normalise(struct hm_synth_document *document)
{
    double sum = 0;
    for (unsigned i = 0; i < document->n; i++)
        sum += document->value[i] * document->value[i];
    double scale = 1 / sqrt(sum);
    for (unsigned i = 0; i < document->n; i++)
        document->value[i] *= scale;
}

void hm_synth_draw(const struct hm_synth_model *model, uint64_t row,
                   struct hm_synth_document *document)
{
    struct hm_rng rng = hm_rng_seed(model->seed, row);
    int first = find_topic(model, hm_rng_unit(&rng));
    int flipped = hm_rng_unit(&rng) < LABEL_NOISE;
    document->label = (category_of(model, first) == 0) != flipped ? 1 : -1;
    count_tokens(document, draw_slots(model, first, &rng, document));
    list_features(model, document);
    normalise(document);
}
