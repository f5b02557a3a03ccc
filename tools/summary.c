#include "tools/summary.h"

#include "protocol/text.h"
#include "tools/class_report.h"
#include "tools/curve_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one node ---- */

static json_t *integer(uint64_t x)
{
    return json_integer((json_int_t)x);
}

/* A distribution with its buckets, so that those of several nodes can be merged. */
static json_t *tally_json(const struct hm_tally *tally)
{
    json_t *buckets = json_array();
    for (uint32_t i = 0; i < tally->n_buckets; i++)
        if (tally->bucket[i]) {
            json_array_append_new(buckets, integer(tally->first + i));
            json_array_append_new(buckets, integer(tally->bucket[i]));
        }
    return json_pack("{s:I, s:f, s:I, s:o}", "n", (json_int_t)tally->n, "sum", tally->sum, "max",
                     (json_int_t)tally->max, "buckets", buckets);
}

static struct hm_tally tally_of_json(const json_t *json)
{
    struct hm_tally tally = {.n = (uint64_t)json_integer_value(json_object_get(json, "n")),
                             .sum = json_number_value(json_object_get(json, "sum")),
                             .max = (uint64_t)json_integer_value(json_object_get(json, "max"))};
    const json_t *buckets = json_object_get(json, "buckets");
    for (size_t i = 0; i + 1 < json_array_size(buckets); i += 2) {
        json_int_t at = json_integer_value(json_array_get(buckets, i));
        if (at >= 0 && at < HM_TALLY_BUCKETS)
            hm_tally_fill(&tally, (uint32_t)at,
                          (uint32_t)json_integer_value(json_array_get(buckets, i + 1)));
    }
    return tally;
}

static json_t *quantiles(const struct hm_tally *tally)
{
    return json_pack("{s:f, s:I, s:I, s:I, s:I, s:I}", "mean", hm_tally_mean(tally), "p50",
                     (json_int_t)hm_tally_quantile(tally, .5), "p95",
                     (json_int_t)hm_tally_quantile(tally, .95), "p99",
                     (json_int_t)hm_tally_quantile(tally, .99), "max", (json_int_t)tally->max, "n",
                     (json_int_t)tally->n);
}

/* ---- staleness in three currencies ---- */

static const char *const currency_names[HM_CURRENCIES] = {
    [HM_CURRENCY_UPDATES] = "updates",
    [HM_CURRENCY_DISTANCE] = "distance",
    [HM_CURRENCY_RELATIVE] = "distance_relative",
    [HM_CURRENCY_TOUCHED] = "distance_touched",
    [HM_CURRENCY_IN_STEPS] = "distance_in_steps",
    [HM_CURRENCY_TURN] = "turn",
};

/* As tallies, which those of other nodes can be added to. */
static json_t *currencies_json(const struct hm_currencies *c)
{
    json_t *json =
        json_pack("{s:I, s:I}", "gradients", (json_int_t)c->n, "zero", (json_int_t)c->n_zero);
    for (unsigned i = 0; i < HM_CURRENCIES; i++)
        json_object_set_new(json, currency_names[i], tally_json(&c->tally[i]));
    return json;
}

static struct hm_currencies currencies_of_json(const json_t *json)
{
    struct hm_currencies c = {.n = (uint64_t)json_integer_value(json_object_get(json, "gradients")),
                              .n_zero =
                                  (uint64_t)json_integer_value(json_object_get(json, "zero"))};
    for (unsigned i = 0; i < HM_CURRENCIES; i++)
        c.tally[i] = tally_of_json(json_object_get(json, currency_names[i]));
    return c;
}

static json_t *currency_quantiles(const struct hm_tally *tally, double unit)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:I}", "mean", unit * hm_tally_mean(tally), "p50",
                     unit * (double)hm_tally_quantile(tally, .5), "p95",
                     unit * (double)hm_tally_quantile(tally, .95), "max", unit * (double)tally->max,
                     "n", (json_int_t)tally->n);
}

/* The cosine is what is left of 1: its fifth of a hundred is the other's ninety-fifth. */
static json_t *cosine_quantiles(const struct hm_tally *turn)
{
    const double unit = hm_currency_unit[HM_CURRENCY_TURN];
    return json_pack("{s:f, s:f, s:f, s:f, s:I}", "mean", 1 - unit * hm_tally_mean(turn), "p50",
                     1 - unit * (double)hm_tally_quantile(turn, .5), "p5",
                     1 - unit * (double)hm_tally_quantile(turn, .95), "min",
                     1 - unit * (double)turn->max, "n", (json_int_t)turn->n);
}

static json_t *currencies_summary(const struct hm_currencies *c)
{
    json_t *json =
        json_pack("{s:I, s:I}", "gradients", (json_int_t)c->n, "zero", (json_int_t)c->n_zero);
    for (unsigned i = 0; i < HM_CURRENCY_TURN; i++)
        json_object_set_new(json, currency_names[i],
                            currency_quantiles(&c->tally[i], hm_currency_unit[i]));
    json_object_set_new(json, "cosine", cosine_quantiles(&c->tally[HM_CURRENCY_TURN]));
    return json;
}

/* Of all nodes; what each has becomes as readable. NULL: nobody has measured. */
static json_t *all_currencies(const json_t *nodes)
{
    struct hm_currencies all = {0};
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        json_t *node = json_array_get(nodes, i), *own = json_object_get(node, "currencies");
        if (!own)
            continue;
        struct hm_currencies one = currencies_of_json(own);
        hm_currencies_merge(&all, &one);
        json_object_set_new(node, "currencies", currencies_summary(&one));
        hm_currencies_fini(&one);
    }
    json_t *json = all.n ? currencies_summary(&all) : NULL;
    hm_currencies_fini(&all);
    return json;
}

/* [[count, how often], ...], ascending; counts as exact as quantiles are. */
static json_t *histogram(const struct hm_tally *tally)
{
    json_t *json = json_array();
    for (uint32_t i = 0; i < tally->n_buckets; i++)
        if (tally->bucket[i])
            json_array_append_new(json,
                                  json_pack("[I, I]", (json_int_t)hm_tally_floor(tally->first + i),
                                            (json_int_t)tally->bucket[i]));
    return json;
}

static json_t *score_json(const struct hm_score *score)
{
    if (!score->n)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:I}", "loss", score->loss, "cost", score->cost, "accuracy",
                     score->accuracy, "n", (json_int_t)score->n);
}

static const struct {
    const char *name;
    size_t at;
} counter_names[] = {
#define COUNTER(name)                                                                              \
    {                                                                                              \
#name, offsetof(struct hm_counters, name)                                                  \
    }
    COUNTER(published),
    COUNTER(pieces_empty),
    COUNTER(applied),
    COUNTER(duplicates),
    COUNTER(repaired),
    COUNTER(held),
    COUNTER(covered),
    COUNTER(abandoned),
    COUNTER(refused_malformed),
    COUNTER(refused_fingerprint),
    COUNTER(refused_version),
    COUNTER(refused_digest),
    COUNTER(refused_overflow),
    COUNTER(refused_hello),
    COUNTER(wants_sent),
    COUNTER(wants_served),
    COUNTER(nohaves),
    COUNTER(bytes_sent),
    COUNTER(bytes_received),
    COUNTER(bytes_published),
    COUNTER(coordinates_sent),
    COUNTER(blocks_sent),
    COUNTER(redials),
    COUNTER(peers_gone),
    COUNTER(residual_age),
    COUNTER(nonfinite),
    COUNTER(undone),
    COUNTER(renewed),
    COUNTER(renewals),
    COUNTER(orphaned),
    COUNTER(doubled),
    COUNTER(snapshots_cut),
    COUNTER(snapshots_installed),
    COUNTER(snapshots_refused),
    COUNTER(chunks_served),
    COUNTER(peers_damaged),
#undef COUNTER
};

static json_t *counters_json(const struct hm_counters *counters)
{
    json_t *json = json_object();
    for (size_t i = 0; i < sizeof counter_names / sizeof counter_names[0]; i++)
        json_object_set_new(json, counter_names[i].name,
                            integer(*(const uint64_t *)(const void *)((const char *)counters +
                                                                      counter_names[i].at)));
    return json;
}

/* Connections that were refused belong to no peer, so the protocol does not count them. */
static void add_refusals(json_t *counters, const struct hm_node_report *r)
{
    static const char *const names[HM_REFUSALS] = {[HM_REFUSED_KEY] = "refused_key",
                                                   [HM_REFUSED_PLAIN] = "refused_plain",
                                                   [HM_REFUSED_GARBAGE] = "refused_garbage",
                                                   [HM_BROKE_OFF] = "broke_off"};
    for (unsigned i = 0; i < HM_REFUSALS; i++)
        json_object_set_new(counters, names[i], integer(r->refused[i]));
}

/* Of a node that has its examples from feeders. */
static json_t *feed_json(const struct hm_feed_report *feed)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "feeders",
                     (json_int_t)feed->n_feeders, "batches", (json_int_t)feed->batches, "examples",
                     (json_int_t)feed->examples, "bytes", (json_int_t)feed->bytes, "lost",
                     (json_int_t)feed->lost, "refused", (json_int_t)feed->refused, "gone",
                     (json_int_t)feed->gone, "waits", (json_int_t)feed->waits, "waited_seconds",
                     feed->waited, "buffer_bytes", (json_int_t)feed->buffer_bytes);
}

json_t *summary_text(const char *text)
{
    char clean[sizeof(struct hm_err)];
    hm_text_clean(clean, sizeof clean, text);
    return json_string(clean);
}

json_t *summary_of_node(const struct hm_node_report *r)
{
    char life[17];
    snprintf(life, sizeof life, "%016llx", (unsigned long long)r->life);
    json_t *links = json_array();
    for (size_t i = 0; i < r->n_links; i++)
        json_array_append_new(links,
                              json_pack("{s:s, s:s, s:I, s:o, s:o}", "from", r->link[i].label, "to",
                                        r->label, "seq", (json_int_t)r->link[i].seq, "staleness",
                                        tally_json(&r->link[i].flushes), "staleness_steps",
                                        tally_json(&r->link[i].step)));
    json_t *json = json_pack("{s:s, s:s, s:i, s:I, s:I, s:s?, s:b, s:s, s:I, s:I, s:I, s:I, s:I}",
                             "label", r->label, "life", life, "pid", (int)getpid(), "steps",
                             (json_int_t)r->own_steps, "examples", (json_int_t)r->own_steps, "hash",
                             r->model_hash[0] ? r->model_hash : NULL, "clean", r->clean, "ended",
                             r->text, "mesh_steps", (json_int_t)r->steps, "own_seq",
                             (json_int_t)r->own_seq, "vector_seq", (json_int_t)r->vector_seq,
                             "lost", (json_int_t)r->lost, "dropped", (json_int_t)r->n_dropped);
    json_t *counters = counters_json(&r->counters);
    add_refusals(counters, r);
    json_object_set_new(json, "counters", counters);
    json_object_set_new(json, "key", r->key[0] ? json_string(r->key) : json_null());
    json_object_set_new(json, "links", links);
    json_object_set_new(json, "race",
                        json_pack("{s:I, s:I}", "sampled", (json_int_t)r->n_sampled, "wiped",
                                  (json_int_t)r->n_wiped));
    json_object_set_new(json, "residual_norm",
                        json_real(isfinite(r->residual_norm) ? r->residual_norm : 0));
    json_object_set_new(json, "test", score_json(&r->test));
    json_object_set_new(json, "train", score_json(&r->train));
    uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX];
    memcpy(table, r->confusion, sizeof table);
    json_object_set_new(json, "report",
                        r->n_classes ? class_report(table, r->n_classes) : json_null());
    json_object_set_new(json, "isa", json_string(r->isa));
    json_object_set_new(
        json, "times",
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "start_us",
                  (json_int_t)r->start_us, "first_step_us", (json_int_t)r->first_step_us,
                  "last_apply_us", (json_int_t)r->last_apply_us, "end_us", (json_int_t)r->end_us,
                  "load", r->load_seconds, "join", r->join_seconds, "train", r->train_seconds,
                  "agree", r->agree_seconds, "score", r->score_seconds));
    json_object_set_new(
        json, "checkpoints",
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "written", (json_int_t)r->n_checkpoints, "failed",
                  (json_int_t)r->n_checkpoint_failures, "bytes", (json_int_t)r->checkpoint_bytes,
                  "steps", (json_int_t)r->checkpoint_steps, "resumed_steps",
                  (json_int_t)r->resumed_steps));
    json_object_set_new(json, "trajectory_points", integer(r->n_trajectory));
    json_object_set_new(json, "output_error",
                        r->trajectory_err.text[0] ? summary_text(r->trajectory_err.text)
                                                  : json_null());
    if (r->feed.n_feeders)
        json_object_set_new(json, "feed", feed_json(&r->feed));
    if (r->currencies.n)
        json_object_set_new(json, "currencies", currencies_json(&r->currencies));
    json_object_set_new(json, "memory",
                        json_pack("{s:I, s:I, s:I}", "bound", (json_int_t)r->memory_bound, "log",
                                  (json_int_t)r->log_bytes, "log_budget",
                                  (json_int_t)r->log_budget));
    return json;
}

enum hm_status summary_outputs(const json_t *nodes, struct hm_err *err)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *text = json_string_value(json_object_get(node, "output_error"));
        if (text)
            return hm_fail(err, HM_EIO, "%s: %s", json_string_value(json_object_get(node, "label")),
                           text);
    }
    return HM_OK;
}

/* ---- all nodes ---- */

static uint64_t field(const json_t *json, const char *group, const char *name)
{
    return (uint64_t)json_integer_value(
        json_object_get(group ? json_object_get(json, group) : json, name));
}

static uint64_t sum(const json_t *nodes, const char *group, const char *name)
{
    uint64_t total = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        total += field(json_array_get(nodes, i), group, name);
    return total;
}

static int alive(const json_t *node)
{
    return json_is_string(json_object_get(node, "hash"));
}

struct ledger {
    uint64_t published, applied, covered, owed, lost;
    unsigned n_alive;
    int equal, clean, balanced;
};

/* Deltas of a node's own, of all its lives, in its final vector. */
static uint64_t own_of(const json_t *node)
{
    return field(node, "counters", "published") + field(node, "counters", "doubled") -
           field(node, "counters", "renewed") - field(node, "counters", "abandoned") +
           field(node, "counters", "orphaned");
}

/* A node alive at the end owes one application of every delta in its final vector that is not its
 * own. */
static struct ledger ledger_of(const json_t *nodes)
{
    struct ledger l = {.equal = 1, .clean = 1};
    const char *hash = NULL;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (!alive(node))
            continue;
        const char *own = json_string_value(json_object_get(node, "hash"));
        hash = hash ? hash : own;
        l.n_alive++;
        l.equal &= strcmp(hash, own) == 0;
        l.clean &= json_is_true(json_object_get(node, "clean"));
        l.applied += field(node, "counters", "applied");
        l.covered += field(node, "counters", "covered") - field(node, "counters", "undone");
        l.owed += field(node, NULL, "vector_seq") - own_of(node);
        l.published = field(node, NULL, "vector_seq") > l.published
                          ? field(node, NULL, "vector_seq")
                          : l.published;
        l.lost = field(node, NULL, "lost") > l.lost ? field(node, NULL, "lost") : l.lost;
    }
    l.clean &= l.n_alive > 0;
    l.equal &= l.n_alive > 0;
    l.balanced = l.applied + l.covered == l.owed;
    return l;
}

/* The score, or report, that one node made for all: equal models score equally. */
static json_t *one_score(const json_t *nodes, const char *set)
{
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        json_t *score = json_object_get(json_array_get(nodes, i), set);
        if (json_is_object(score))
            return json_incref(score);
    }
    return json_null();
}

static uint64_t extreme(const json_t *nodes, const char *name, int largest)
{
    uint64_t best = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        uint64_t x = field(json_array_get(nodes, i), "times", name);
        if (x && (!best || (largest ? x > best : x < best)))
            best = x;
    }
    return best;
}

static json_t *all_links(json_t *nodes, struct hm_tally *flushes, struct hm_tally *steps)
{
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *links = json_object_get(json_array_get(nodes, i), "links");
        for (size_t k = 0; k < json_array_size(links); k++) {
            const json_t *link = json_array_get(links, k);
            struct hm_tally one = tally_of_json(json_object_get(link, "staleness")),
                            one_steps = tally_of_json(json_object_get(link, "staleness_steps"));
            hm_tally_merge(flushes, &one);
            hm_tally_merge(steps, &one_steps);
            json_array_append_new(
                all,
                json_pack("{s:O, s:O, s:O, s:o, s:o}", "from", json_object_get(link, "from"), "to",
                          json_object_get(link, "to"), "deltas", json_object_get(link, "seq"),
                          "staleness", quantiles(&one), "staleness_steps", quantiles(&one_steps)));
            hm_tally_fini(&one);
            hm_tally_fini(&one_steps);
        }
    }
    return all;
}

static json_t *ledger_json(const struct ledger *l, const json_t *nodes)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "published", (json_int_t)l->published,
                     "applied", (json_int_t)l->applied, "covered", (json_int_t)l->covered,
                     "repaired", (json_int_t)sum(nodes, "counters", "repaired"), "duplicates",
                     (json_int_t)sum(nodes, "counters", "duplicates"), "abandoned",
                     (json_int_t)sum(nodes, "counters", "abandoned"), "lost", (json_int_t)l->lost);
}

static json_t *bytes_json(const json_t *nodes, uint64_t examples)
{
    uint64_t published = sum(nodes, "counters", "bytes_published"),
             blocks = sum(nodes, "counters", "blocks_sent");
    double per = examples ? (double)published / (double)examples : 0;
    return json_pack("{s:I, s:I, s:I, s:f, s:f}", "sent",
                     (json_int_t)sum(nodes, "counters", "bytes_sent"), "received",
                     (json_int_t)sum(nodes, "counters", "bytes_received"), "published",
                     (json_int_t)published, "per_example", per, "per_coordinate",
                     blocks ? (double)published / (64. * (double)blocks) : 0);
}

static uint64_t oldest_residual(const json_t *nodes)
{
    uint64_t most = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        uint64_t age = field(json_array_get(nodes, i), "counters", "residual_age");
        most = age > most ? age : most;
    }
    return most;
}

static double largest_residual(const json_t *nodes)
{
    double most = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        most = fmax(most,
                    json_number_value(json_object_get(json_array_get(nodes, i), "residual_norm")));
    return most;
}

/* What feeders sent all nodes, and how it went. */
static json_t *feed_sums(const json_t *nodes)
{
    static const char *const name[] = {"batches", "examples", "bytes", "lost",
                                       "refused", "gone",     "waits"};
    json_t *feed = json_object();
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        json_object_set_new(feed, name[i], integer(sum(nodes, "feed", name[i])));
    return feed;
}

json_t *summary_of_run(const struct cli *cli, const char *mode, json_t *nodes)
{
    struct ledger ledger = ledger_of(nodes);
    struct hm_tally flushes = {0}, steps = {0};
    json_t *links = all_links(nodes, &flushes, &steps);
    uint64_t start = extreme(nodes, "start_us", 0), end = extreme(nodes, "end_us", 1);
    uint64_t first = extreme(nodes, "first_step_us", 0), last = extreme(nodes, "last_apply_us", 1),
             mesh_steps = 0;
    const char *hash = NULL, *isa = "";
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (!alive(node))
            continue;
        hash = json_string_value(json_object_get(node, "hash"));
        isa = json_string_value(json_object_get(node, "isa"));
        mesh_steps = field(node, NULL, "mesh_steps");
    }
    /* The steps are the model's, the examples this run's. */
    uint64_t examples =
        sum(nodes, "checkpoints", "resumed_steps") ? sum(nodes, NULL, "steps") : mesh_steps;
    uint64_t sampled = sum(nodes, "race", "sampled"), wiped = sum(nodes, "race", "wiped");
    json_t *s = json_pack("{s:s, s:s, s:i, s:i, s:I, s:s, s:b}", "workload", cli->node.workload,
                          "mode", mode, "nodes", (int)json_array_size(nodes), "threads",
                          (int)cli->node.train.threads, "seed", (json_int_t)cli->node.train.seed,
                          "isa", isa, "clean", ledger.clean);
    json_object_set_new(s, "seconds", json_real((double)(end - start) / 1e6));
    json_object_set_new(s, "train_seconds", json_real(first ? (double)(last - first) / 1e6 : 0));
    json_object_set_new(s, "start_seconds", json_real(first ? (double)(first - start) / 1e6 : 0));
    json_object_set_new(s, "agree_seconds",
                        json_real(last && end > last ? (double)(end - last) / 1e6 : 0));
    json_object_set_new(s, "steps", integer(mesh_steps));
    json_object_set_new(s, "examples", integer(examples));
    json_object_set_new(s, "model_hash", hash ? json_string(hash) : json_null());
    json_object_set_new(s, "equal_hashes", json_boolean(ledger.equal));
    json_object_set_new(s, "test", one_score(nodes, "test"));
    json_object_set_new(s, "train", one_score(nodes, "train"));
    json_object_set_new(s, "report", one_score(nodes, "report"));
    json_object_set_new(s, "deltas", ledger_json(&ledger, nodes));
    json_object_set_new(s, "balanced", json_boolean(ledger.balanced));
    json_object_set_new(s, "race_loss", json_real(sampled ? (double)wiped / (double)sampled : 0));
    json_object_set_new(s, "staleness", quantiles(&flushes));
    json_object_set_new(json_object_get(s, "staleness"), "histogram", histogram(&flushes));
    json_object_set_new(s, "staleness_steps", quantiles(&steps));
    hm_tally_fini(&flushes);
    hm_tally_fini(&steps);
    json_object_set_new(s, "links", links);
    json_t *currencies = all_currencies(nodes);
    if (currencies)
        json_object_set_new(s, "currencies", currencies);
    json_object_set_new(s, "residual",
                        json_pack("{s:f, s:I}", "norm", largest_residual(nodes), "oldest_flushes",
                                  (json_int_t)oldest_residual(nodes)));
    json_object_set_new(s, "bytes", bytes_json(nodes, examples));
    if (sum(nodes, "feed", "feeders"))
        json_object_set_new(s, "feed", feed_sums(nodes));
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        json_object_del(json_array_get(nodes, i),
                        "links"); /* they are above, merged into quantiles */
        json_object_del(json_array_get(nodes, i), "report"); /* the same */
    }
    json_object_set(s, "per_node", nodes);
    return s;
}

/* ---- for people ---- */

static void print_nodes(const json_t *nodes, FILE *out)
{
    fprintf(out, "%-16s %8s %12s %7s %8s %9s %8s  %-16s %s\n", "node", "pid", "steps", "deltas",
            "applied", "repaired", "MB sent", "model", "end");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i);
        if (!alive(n)) {
            fprintf(out, "%-16s %8lld %s\n", json_string_value(json_object_get(n, "label")),
                    (long long)field(n, NULL, "pid"),
                    json_string_value(json_object_get(n, "ended")));
            continue;
        }
        fprintf(out, "%-16s %8lld %12lld %7lld %8lld %9lld %8.2f  %.16s %s\n",
                json_string_value(json_object_get(n, "label")), (long long)field(n, NULL, "pid"),
                (long long)field(n, NULL, "steps"), (long long)field(n, NULL, "own_seq"),
                (long long)field(n, "counters", "applied"),
                (long long)field(n, "counters", "repaired"),
                (double)field(n, "counters", "bytes_sent") / 1e6,
                json_string_value(json_object_get(n, "hash")),
                json_is_true(json_object_get(n, "clean"))
                    ? "clean"
                    : json_string_value(json_object_get(n, "ended")));
    }
}

static void print_score(const json_t *summary, const char *set, FILE *out)
{
    const json_t *score = json_object_get(summary, set);
    if (json_is_object(score))
        fprintf(out, "%-11s accuracy %.2f %%   cost %.5f   loss %.5f   (%lld rows)\n", set,
                100 * json_number_value(json_object_get(score, "accuracy")),
                json_number_value(json_object_get(score, "cost")),
                json_number_value(json_object_get(score, "loss")),
                (long long)field(score, NULL, "n"));
}

static double number(const json_t *json, const char *group, const char *name)
{
    return json_number_value(json_object_get(group ? json_object_get(json, group) : json, name));
}

/* How far the fault plan was carried out. */
static void print_faults(const json_t *faults, FILE *out)
{
    size_t done = 0;
    for (size_t i = 0; i < json_array_size(faults); i++)
        done += json_is_true(json_object_get(json_array_get(faults, i), "done"));
    fprintf(out, "faults      %zu of %zu carried out\n", done, json_array_size(faults));
    for (size_t i = 0; i < json_array_size(faults); i++) {
        const json_t *fault = json_array_get(faults, i);
        if (!json_is_true(json_object_get(fault, "done")))
            fprintf(out, "            not: %s node %lld at %g s: %s\n",
                    json_string_value(json_object_get(fault, "do")),
                    (long long)field(fault, NULL, "node"), number(fault, NULL, "at"),
                    json_string_value(json_object_get(fault, "note")));
    }
}

/* What nodes were fed. */
static void print_feed(const json_t *nodes, FILE *out)
{
    double bytes = (double)sum(nodes, "feed", "bytes"),
           examples = (double)sum(nodes, "feed", "examples"), waited = 0;
    if (!(examples > 0))
        return;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        waited += number(json_array_get(nodes, i), "feed", "waited_seconds");
    fprintf(out,
            "fed         %lld batches, %.2f bytes an example, %lld lost, %lld refused; %lld waits, "
            "%.2f s without a batch\n",
            (long long)sum(nodes, "feed", "batches"), bytes / examples,
            (long long)sum(nodes, "feed", "lost"), (long long)sum(nodes, "feed", "refused"),
            (long long)sum(nodes, "feed", "waits"), waited);
}

static void print_currencies(const json_t *c, FILE *out)
{
    if (!c)
        return;
    fprintf(out,
            "gradients   %.2f updates old, weights %.3g %% away, cosine %.4f with a fresh one "
            "(5 %% below %.4f; %lld measured)\n",
            number(c, "updates", "mean"), 100 * number(c, "distance_relative", "mean"),
            number(c, "cosine", "mean"), number(c, "cosine", "p5"),
            (long long)field(c, NULL, "gradients"));
}

static void print_refusals(const json_t *nodes, FILE *out)
{
    uint64_t key = sum(nodes, "counters", "refused_key"),
             plain = sum(nodes, "counters", "refused_plain"),
             garbage = sum(nodes, "counters", "refused_garbage");
    if (key + plain + garbage)
        fprintf(out,
                "refused     %llu connections with another key, %llu without encryption, %llu with "
                "something else\n",
                (unsigned long long)key, (unsigned long long)plain, (unsigned long long)garbage);
}

void summary_print(const json_t *s, FILE *out)
{
    const json_t *staleness = json_object_get(s, "staleness");
    const char *hash = json_string_value(json_object_get(s, "model_hash"));
    fputc('\n', out);
    print_nodes(json_object_get(s, "per_node"), out);
    fputc('\n', out);
    print_score(s, "test", out);
    print_score(s, "train", out);
    if (json_is_object(json_object_get(s, "report"))) {
        fputc('\n', out);
        class_report_print(json_object_get(s, "report"), out);
        fputc('\n', out);
    }
    fprintf(out, "model       %s, %s\n", hash ? hash : "(none)",
            json_is_true(json_object_get(s, "equal_hashes")) ? "the same on every node"
                                                             : "NOT the same on every node");
    fprintf(out, "ledger      %lld deltas published, %lld applied, %lld repaired, %lld lost: %s\n",
            (long long)field(s, "deltas", "published"), (long long)field(s, "deltas", "applied"),
            (long long)field(s, "deltas", "repaired"), (long long)field(s, "deltas", "lost"),
            json_is_true(json_object_get(s, "balanced")) ? "balanced" : "NOT balanced");
    fprintf(out,
            "staleness   mean %.2f flushes, median %lld, 95 %% %lld, most %lld; race loss %.1e\n",
            number(staleness, NULL, "mean"), (long long)field(staleness, NULL, "p50"),
            (long long)field(staleness, NULL, "p95"), (long long)field(staleness, NULL, "max"),
            number(s, NULL, "race_loss"));
    print_currencies(json_object_get(s, "currencies"), out);
    double seconds = number(s, NULL, "train_seconds");
    double rate = seconds > 0 ? number(s, NULL, "examples") / seconds : 0;
    fprintf(out,
            "time        %.3f s training (%.1f %s examples/s), %.3f s before, %.3f s to agree\n",
            seconds, rate < 1e6 ? rate / 1e3 : rate / 1e6, rate < 1e6 ? "thousand" : "million",
            number(s, NULL, "start_seconds"), number(s, NULL, "agree_seconds"));
    fprintf(out, "traffic     %.2f MB sent, %.2f bytes published an example\n",
            number(s, "bytes", "sent") / 1e6, number(s, "bytes", "per_example"));
    print_feed(json_object_get(s, "per_node"), out);
    if (json_object_get(s, "faults"))
        print_faults(json_object_get(s, "faults"), out);
    print_refusals(json_object_get(s, "per_node"), out);
}

/* ---- in files ---- */

enum hm_status make_directory(const char *dir, struct hm_err *err)
{
    struct stat st;
    if (mkdir(dir, 0777) == 0 || (errno == EEXIST && stat(dir, &st) == 0 && S_ISDIR(st.st_mode)))
        return HM_OK;
    return hm_fail(err, HM_EIO, "--out %s: %s", dir, strerror(errno));
}

enum hm_status summary_keep(const json_t *summary, const struct hm_node_report *report,
                            const char *dir, struct hm_err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/summary.json", dir);
    if (summary && json_dump_file(summary, path, JSON_INDENT(1)) != 0)
        return hm_fail(err, HM_EIO, "%s: cannot write", path);
    if (!report)
        return HM_OK;
    snprintf(path, sizeof path, "%s/curve.jsonl", dir);
    FILE *file = fopen(path, "w");
    if (!file)
        return hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < report->n_curve; i++)
        curve_point_write(&report->curve[i], file);
    int failed = ferror(file);
    failed |= fclose(file) != 0;
    return failed ? hm_fail(err, HM_EIO, "%s: cannot write", path) : HM_OK;
}
