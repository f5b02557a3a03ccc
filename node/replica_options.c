/* Options of a replica: one table. */
#include "node/replica.h"

#include "node/units.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(HM_REPLICA_TEXTS_MAX >= HM_SEEDS_MAX + 16, "a place for each text");

enum kind {
    TEXT,
    LABEL,
    COUNT,
    LONG,
    SECONDS,
    SPAN,
    BYTES,
    FLAG,
    PEER,
    RULE,
    AMPLIFY,
    BOUND,
    FLUSH,
    GRID
};

struct option {
    const char *name;
    enum kind kind;
    size_t at; /* in struct hm_replica */
    const char *expected;
};

#define AT(field) offsetof(struct hm_replica, field)

/* Of what is counted in 64 bits, and of what is counted there in microseconds. */
#define AMOUNT_MAX  0x1p62
#define SECONDS_MAX 1e9
#define SPAN_MAX_US ((double)HM_DURATION_MAX_US)

static const char WHOLE[] = "a whole number from 1", TIME[] = "a time such as 30s",
                  YES[] = "yes or no", AMOUNT[] = "an amount such as 50MB", ADDRESS[] = "HOST:PORT";

static const struct option table[] = {
    {"peer", PEER, 0, ADDRESS},
    {"bind", TEXT, AT(options.bind), ADDRESS},
    {"advertise", TEXT, AT(options.advertise), "HOST[:PORT]"},
    {"key", TEXT, AT(options.key), "a file"},
    {"insecure", FLAG, AT(options.insecure), YES},
    {"expect", COUNT, AT(options.expect), WHOLE},
    {"join-timeout", SPAN, AT(options.join_timeout), TIME},
    {"label", LABEL, 0, "1 to 31 printable characters without spaces and quotes"},
    {"steps", LONG, AT(options.train.steps), "a number such as 20k"},
    {"seconds", SECONDS, AT(options.train.seconds), "a number of seconds above 0"},
    {"batch", COUNT, AT(options.train.batch), WHOLE},
    {"combine", RULE, 0, "mean, sum, amplify or hold"},
    {"amplify", AMPLIFY, 0, "auto, or a factor from 1 to 1e6"},
    {"staleness-bound", BOUND, 0, "a whole number of batches from 1"},
    {"flush", FLUSH, 0, "auto, step, or a time such as 20ms"},
    {"bandwidth", BYTES, AT(options.bandwidth), AMOUNT},
    {"log-bytes", LONG, AT(options.log_bytes), AMOUNT},
    {"local-nodes", COUNT, AT(options.local_nodes), WHOLE},
    {"seed", LONG, AT(options.train.seed), "a whole number"},
    {"grid", GRID, 0, "the exponent of a power of two from -60 to 60"},
    {"adopt", FLAG, AT(custom.adopts), YES},
    {"marks", FLAG, AT(custom.marks), YES},
    {"checkpoint", TEXT, AT(options.checkpoint_path), "a file"},
    {"checkpoint-every", SPAN, AT(options.checkpoint_every), TIME},
    {"resume", FLAG, AT(options.resume), YES},
};

static const struct option *find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* A copy in *at that lives as long as the replica, in the place of what was there; 0 without
 * memory. */
static int keep(struct hm_replica *replica, const char *text, const char **at)
{
    unsigned i = 0;
    while (i < replica->n_texts && (!*at || replica->text[i] != *at))
        i++;
    assert(i < HM_REPLICA_TEXTS_MAX); /* peers, and as many more as there are options */
    char *copy = strdup(text);
    if (!copy)
        return 0;
    if (i < replica->n_texts)
        free(replica->text[i]);
    else
        replica->n_texts++;
    replica->text[i] = copy;
    *at = copy;
    return 1;
}

static int add_peer(struct hm_replica *replica, const char *value)
{
    struct hm_node_options *o = &replica->options;
    const char *peer = NULL;
    if (!*value || o->n_peers == HM_SEEDS_MAX || !keep(replica, value, &peer))
        return 0;
    o->peer[o->n_peers++] = peer;
    return 1;
}

static int set_label(struct hm_replica *replica, const char *value)
{
    size_t n = strlen(value);
    for (size_t i = 0; i < n; i++)
        if (value[i] <= ' ' || value[i] > '~' || strchr("\"'\\", value[i]))
            return 0;
    if (!n || n > HM_LABEL_MAX)
        return 0;
    memcpy(replica->options.label, value, n + 1);
    return 1;
}

static int set_rule(struct hm_train_options *train, const char *value)
{
    static const struct {
        const char *name;
        enum hm_rule rule;
    } rules[] = {{"mean", HM_RULE_MEAN},
                 {"sum", HM_RULE_SUM},
                 {"amplify", HM_RULE_AMPLIFY},
                 {"hold", HM_RULE_HOLD}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(value, rules[i].name) == 0) {
            train->combine.rule = rules[i].rule;
            train->combine_given = 1;
            return 1;
        }
    return 0;
}

static int set_flush(struct hm_node_options *o, const char *value)
{
    double us;
    if (strcmp(value, "auto") == 0) {
        o->flush = HM_FLUSH_AUTO;
    } else if (strcmp(value, "step") == 0) {
        o->flush = HM_FLUSH_STEP;
    } else {
        if (!hm_units_duration(value, 1e6, &us) || !(us >= 100 && us <= SPAN_MAX_US))
            return 0;
        o->flush = HM_FLUSH_EVERY;
        o->flush_interval = us / 1e6;
    }
    return 1;
}

/* A whole number of [lo, hi], which may have a unit. */
static int whole(const char *value, double lo, double hi, double *x)
{
    return hm_units_amount(value, x) && *x >= lo && *x <= hi && *x == floor(*x);
}

static int set_bound(struct hm_train_options *train, const char *value)
{
    double x;
    if (!whole(value, 1, 1e9, &x))
        return 0;
    train->staleness_bound = x;
    train->staleness_bound_given = 1;
    return 1;
}

static int set_amplify(struct hm_train_options *train, const char *value)
{
    double x = 0;
    if (strcmp(value, "auto") != 0 && (!hm_units_amount(value, &x) || !(x >= 1 && x <= 1e6)))
        return 0;
    train->combine.amplify = (float)x;
    return 1;
}

/* A sign, then a whole number. */
static int set_grid(struct hm_replica *replica, const char *value)
{
    double x;
    if (!whole(value + (*value == '-'), 0, HM_GRID_EXP_MAX, &x))
        return 0;
    replica->grid_exp = *value == '-' ? -(int)x : (int)x;
    return 1;
}

static int set_flag(int *at, const char *value)
{
    int yes = strcmp(value, "yes") == 0;
    *at = yes;
    return yes || strcmp(value, "no") == 0;
}

static int set_number(enum kind kind, void *at, const char *value)
{
    double x;
    switch (kind) {
    case COUNT:
        return whole(value, 1, 1e9, &x) && (*(unsigned *)at = (unsigned)x, 1);
    case LONG:
        return whole(value, 0, AMOUNT_MAX, &x) && (*(uint64_t *)at = (uint64_t)x, 1);
    case SECONDS:
        return hm_units_amount(value, &x) && x > 0 && x <= SECONDS_MAX && (*(double *)at = x, 1);
    case SPAN:
        return hm_units_duration(value, 1e6, &x) && x >= 0 && x <= SPAN_MAX_US &&
               (*(double *)at = x / 1e6, 1);
    default:
        return hm_units_amount(value, &x) && x >= 0 && x <= AMOUNT_MAX && (*(double *)at = x, 1);
    }
}

static int set(struct hm_replica *replica, const struct option *option, const char *value)
{
    void *at = (char *)replica + option->at;
    struct hm_node_options *o = &replica->options;
    switch (option->kind) {
    case TEXT:
        return *value && keep(replica, value, at);
    case PEER:
        return add_peer(replica, value);
    case LABEL:
        return set_label(replica, value);
    case FLAG:
        return set_flag(at, value);
    case RULE:
        return set_rule(&o->train, value);
    case AMPLIFY:
        return set_amplify(&o->train, value);
    case BOUND:
        return set_bound(&o->train, value);
    case FLUSH:
        return set_flush(o, value);
    case GRID:
        return set_grid(replica, value);
    default:
        return set_number(option->kind, at, value);
    }
}

enum hm_status hm_replica_option(struct hm_replica *replica, const char *name, const char *value,
                                 struct hm_err *err)
{
    if (!name || !value)
        return hm_fail(err, HM_EUSAGE, "a name and a value of an option are expected, not NULL");
    const struct option *option = find(name);
    if (!option)
        return hm_fail(err, HM_EUSAGE, "no option '%.40s'; hogmesh.h lists those that there are",
                       name);
    if (set(replica, option, value))
        return HM_OK;
    if (option->kind == PEER && replica->options.n_peers == HM_SEEDS_MAX)
        return hm_fail(err, HM_EUSAGE,
                       "option 'peer': %d are there already, which is the most; one that can be "
                       "reached is enough",
                       HM_SEEDS_MAX);
    return hm_fail(err, HM_EUSAGE, "option '%s' is '%.60s'; %s is expected", name, value,
                   option->expected);
}
