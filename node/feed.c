#include "node/feed.h"

#include "node/feed_sides.h"
#include "protocol/config.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ASK_US = 100000, /* between questions that no socket took, and ... */
    ASK_AGAIN_US = 1000000,
    WINDOW = 4,          /* pieces that are asked for at once */
    SETTLE_US = 3000000, /* connections are tried every 2 s: one may stand before the other */
    NEWS = 4,            /* batches after which a feeder is told, before the next beat is due */
    LINES_MAX = 16,
    LINGER_MS = 200,
};

/* ---- feeders as a trainer sees them ---- */

struct feeder {
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
    struct hm_feed_facts_head facts; /* of the first answer */
    int answered;
    uint64_t life;        /* whose batches count below */
    uint64_t life_before; /* of which some may still be in a queue */
    uint64_t received, trained, lost_before;
    uint64_t told; /* received, by the last beat */
    int is_gone, has_ended, is_other;
    int in_doubt; /* somebody whom we do not know answers, or sends: it may have come back */
    uint64_t heard_us, beat_us; /* last heard; next beat */
    uint64_t back_us;           /* when it was dialled, or came back */
    unsigned unsent;            /* beats in a row that no socket took */
};

struct line {
    enum hm_note_level level;
    char text[HM_NOTE_MAX + 1];
};

struct hm_feed {
    struct hm_feed_options options;
    struct hm_env *env;
    uint64_t began_us;
    struct hm_fed fed;
    uint64_t fingerprint; /* of the facts */
    struct feeder feeder[HM_FEEDS_MAX];

    const struct hm_model *model;
    void (*came)(void *context);
    void *context;
    struct hm_feed_buffer buffer;
    pthread_t thread;
    int started;
    atomic_bool end, ended; /* end: asked for by stop; ended: all feeders have delivered all */
    atomic_uint_fast64_t n_waits;
    pthread_mutex_t mutex; /* of what follows, and of the feeders' counts */
    struct line line[LINES_MAX];
    unsigned n_lines;
    struct hm_feed_report report; /* the thread's until it has ended */
    uint64_t idle_since_us;       /* 0: not idle; the thread's */
    int has_news;                 /* of a feeder, whose beat is due; the same */
};

static uint64_t now_us(const struct hm_feed *feed)
{
    return feed->env->ops->now_us(feed->env);
}

static void __attribute__((format(printf, 3, 4)))
say(struct hm_feed *feed, enum hm_note_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&feed->mutex);
    if (feed->n_lines < LINES_MAX) {
        struct line *line = &feed->line[feed->n_lines++];
        line->level = level;
        vsnprintf(line->text, sizeof line->text, format, args);
    }
    pthread_mutex_unlock(&feed->mutex);
    va_end(args);
    if (feed->came)
        feed->came(feed->context);
}

int hm_feed_note(struct hm_feed *feed, enum hm_note_level *level, char text[HM_NOTE_MAX + 1])
{
    pthread_mutex_lock(&feed->mutex);
    const int any = feed->n_lines > 0;
    if (any) {
        *level = feed->line[0].level;
        memcpy(text, feed->line[0].text, HM_NOTE_MAX + 1);
        memmove(feed->line, feed->line + 1, --feed->n_lines * sizeof feed->line[0]);
    }
    pthread_mutex_unlock(&feed->mutex);
    return any;
}

static int ask(struct hm_feed *feed, unsigned i, struct hm_header *header)
{
    struct hm_action action = {.type = HM_ACT_SEND, .slot = i};
    header->life = feed->options.life;
    header->fingerprint = feed->fingerprint;
    return hm_feed_send(feed->env, &action, header, NULL);
}

static int ask_facts(struct hm_feed *feed, unsigned i)
{
    struct hm_header header = {.type = HM_FEED_HELLO};
    snprintf(header.feed_hello.label, sizeof header.feed_hello.label, "%s", feed->options.label);
    return ask(feed, i, &header);
}

/* Dials a feeder: to ask it, and with `all` also to have its batches. */
static void dial(struct hm_feed *feed, unsigned i, int all)
{
    struct hm_action action = {.type = HM_ACT_CONNECT, .slot = i};
    memcpy(action.rpc, feed->feeder[i].rpc, sizeof action.rpc);
    if (all)
        memcpy(action.pub, feed->feeder[i].pub, sizeof action.pub);
    feed->env->ops->carry_out(feed->env, &action);
}

/* ---- before training: what feeders tell ---- */

static const char *address(const struct feeder *feeder)
{
    return feeder->rpc + 6;
}

static enum hm_status wrong_key(const struct hm_feed *feed, unsigned i, struct hm_err *err)
{
    switch (feed->env->dial[i]) {
    case HM_DIAL_PLAIN_PEER:
        return hm_fail(err, HM_EREFUSED, "%s speaks without encryption: start it with --key too",
                       address(&feed->feeder[i]));
    case HM_DIAL_KEY_WANTED:
        return hm_fail(err, HM_EREFUSED,
                       "%s wants a key: copy its key file here and add --key FILE",
                       address(&feed->feeder[i]));
    case HM_DIAL_KEY_REFUSED:
        return hm_fail(err, HM_EREFUSED,
                       "%s refuses this node's key; copy the key file of the feeder here",
                       address(&feed->feeder[i]));
    default:
        return HM_OK;
    }
}

/* Waits for a message of a type until a time; *got is set when it has come. What else comes in the
 * meantime is left. */
static enum hm_status listen(struct hm_feed *feed, uint64_t until_us, struct hm_header *header,
                             struct hm_blob **payload, int *got, struct hm_err *err)
{
    struct hm_event event;
    *got = 0;
    do {
        while (feed->env->ops->receive(feed->env, &event)) {
            if (event.type != HM_EV_MESSAGE || event.message.channel != HM_CH_ANSWER)
                continue;
            switch (hm_wire_decode(event.message.header, event.message.header_n, header)) {
            case HM_WIRE_OK:
                *payload = event.message.payload;
                *got = 1;
                return HM_OK;
            case HM_WIRE_BAD_VERSION:
                return hm_fail(err, HM_EREFUSED,
                               "a feeder speaks another version of the protocol than this program "
                               "(%d); install the same version everywhere",
                               HM_WIRE_VERSION);
            default:
                continue;
            }
        }
        if (hm_report(feed->options.progress, "wait for the feeder",
                      (double)(now_us(feed) - feed->began_us) / 1e6, feed->options.timeout, " s"))
            return hm_fail(err, HM_ESTOPPED, "stopped before the feeder answered");
        const uint64_t now = now_us(feed), soon = now + ASK_US;
        if (now < until_us)
            feed->env->ops->wait(feed->env, soon < until_us ? soon : until_us);
    } while (now_us(feed) < until_us);
    return HM_OK;
}

/* The facts of all feeders are the same; counts may differ. */
static enum hm_status take_facts(struct hm_feed *feed, unsigned i, const struct hm_header *header,
                                 const struct hm_blob *payload, struct hm_err *err)
{
    static struct hm_field field[HM_FIELDS_MAX];
    struct feeder *feeder = &feed->feeder[i];
    struct hm_fields facts;
    size_t n_fields, n_peers, n_bulk;
    const uint8_t *bulk;
    if (!payload || hm_hello_decode(payload->bytes, payload->n, field, HM_FIELDS_MAX, &n_fields,
                                    NULL, 0, &n_peers, &bulk, &n_bulk))
        return hm_fail(err, HM_ECORRUPT, "feeder %s answered with malformed facts",
                       header->feed_facts.label);
    enum hm_status status = hm_config_adopt(&facts, field, n_fields, err);
    if (status)
        return status;
    const char *workload = hm_fields_get(&facts, "workload");
    if (!workload || strcmp(workload, feed->options.workload) != 0)
        return hm_fail(err, HM_EREFUSED, "feeder %s at %s feeds %.31s, this node trains %s",
                       header->feed_facts.label, address(feeder), workload ? workload : "?",
                       feed->options.workload);
    if (hm_config_fingerprint(&facts) != header->fingerprint)
        return hm_fail(err, HM_ECORRUPT, "feeder %s's facts do not have the fingerprint it names",
                       header->feed_facts.label);
    const struct hm_field *conflict =
        i ? hm_config_conflict(&feed->fed.facts, facts.field, facts.n) : NULL;
    if (conflict)
        return hm_fail(err, HM_EREFUSED,
                       "the feeders differ: field '%s' is '%.60s' at %s and '%.60s' at %s; all "
                       "feeders of a node must agree (for word2vec: one --vocab FILE)",
                       conflict->name, conflict->value, address(feeder),
                       hm_fields_get(&feed->fed.facts, conflict->name), address(&feed->feeder[0]));
    feed->fed.facts = facts;
    feed->fingerprint = header->fingerprint;
    feeder->facts = header->feed_facts;
    feeder->life = header->life;
    feeder->answered = 1;
    memcpy(feeder->pub, header->feed_facts.pub, sizeof feeder->pub);
    return HM_OK;
}

static enum hm_status fetch_facts(struct hm_feed *feed, unsigned i, uint64_t until_us,
                                  struct hm_err *err)
{
    struct feeder *feeder = &feed->feeder[i];
    struct hm_header header = {0};
    struct hm_blob *payload = NULL;
    enum hm_status status = HM_OK;
    int reached = 0;
    dial(feed, i, 0);
    while (!status && !feeder->answered && now_us(feed) < until_us) {
        const int asked = ask_facts(feed, i);
        reached |= asked;
        uint64_t again = now_us(feed) + (asked ? ASK_AGAIN_US : ASK_US / 10);
        int got;
        status = listen(feed, again < until_us ? again : until_us, &header, &payload, &got, err);
        if (!status)
            status = wrong_key(feed, i, err);
        if (!status && got && header.type == HM_FEED_FACTS)
            status = take_facts(feed, i, &header, payload, err);
    }
    if (!status && !feeder->answered)
        status = hm_fail(err, HM_ETIMEOUT,
                         "no feeder answered within %.0f s at %s%s; start one there: hogmesh feed "
                         "%s --bind %s ...",
                         feed->options.timeout, address(feeder),
                         feed->env->dial[i] == HM_DIAL_HANGS_UP
                             ? ", which hangs up at once (it may want --key FILE)"
                         : reached ? " (somebody is there: a feeder may be reading its data still)"
                                   : "",
                         feed->options.workload, address(feeder));
    return status;
}

static enum hm_status keep(struct hm_fed_piece *piece, const struct hm_blob *payload,
                           struct hm_err *err)
{
    const size_t n = payload ? payload->n : 0;
    piece->bytes = malloc(n ? n : 1);
    if (!piece->bytes)
        return hm_fail(err, HM_ENOMEM, "no memory for what the feeder tells");
    piece->n = n;
    if (n)
        memcpy(piece->bytes, payload->bytes, n);
    return HM_OK;
}

/* All pieces of a set of the first feeder, a few at a time. */
static enum hm_status fetch_set(struct hm_feed *feed, enum hm_feed_set which, unsigned n,
                                struct hm_fed_set *set, struct hm_err *err)
{
    const uint64_t patience_us = (uint64_t)(feed->options.timeout * 1e6);
    uint64_t until_us = now_us(feed) + patience_us; /* renewed by each piece */
    enum hm_status status = HM_OK;
    unsigned missing = n, first = 0;
    set->n = n;
    set->piece = calloc(n ? n : 1, sizeof *set->piece);
    if (!set->piece)
        return hm_fail(err, HM_ENOMEM, "no memory for what the feeder tells");
    while (!status && missing && now_us(feed) < until_us) {
        unsigned asked = 0;
        while (set->piece[first].bytes)
            first++;
        for (unsigned i = first; i < n && asked < WINDOW; i++) {
            struct hm_header want = {.type = HM_FEED_WANT};
            want.feed_piece.set = (uint8_t)which;
            want.feed_piece.piece = i;
            asked += !set->piece[i].bytes && ask(feed, 0, &want);
        }
        const uint64_t again = now_us(feed) + (asked ? ASK_AGAIN_US : ASK_US / 10);
        for (int got = 1; !status && got && asked;) {
            struct hm_header header = {0};
            struct hm_blob *payload = NULL;
            status = listen(feed, again, &header, &payload, &got, err);
            const uint32_t i = header.feed_piece.piece;
            if (status || !got || header.type != HM_FEED_PIECE || header.feed_piece.set != which ||
                i >= n || set->piece[i].bytes || header.fingerprint != feed->fingerprint)
                continue;
            status = keep(&set->piece[i], payload, err);
            until_us = now_us(feed) + patience_us;
            missing--;
            asked--;
        }
        if (!status && !asked && now_us(feed) < again && missing && !set->piece[first].bytes)
            feed->env->ops->wait(feed->env, again);
    }
    if (!status && missing)
        status = hm_fail(err, HM_ETIMEOUT, "feeder %s stopped answering, %u of %u pieces missing",
                         address(&feed->feeder[0]), missing, n);
    return status;
}

static void drop(struct hm_fed_set *set)
{
    for (unsigned i = 0; set->piece && i < set->n; i++)
        free(set->piece[i].bytes);
    free(set->piece);
    *set = (struct hm_fed_set){0};
}

/* What is cut into pieces, whole again. */
static enum hm_status fetch_bulk(struct hm_feed *feed, struct hm_err *err)
{
    struct hm_fed_set set = {0};
    struct hm_fed_piece *bulk = &feed->fed.bulk;
    enum hm_status status = fetch_set(feed, HM_FEED_BULK, feed->feeder[0].facts.n_bulk, &set, err);
    size_t n = 0;
    for (unsigned i = 0; !status && i < set.n; i++)
        n += set.piece[i].n;
    if (!status && !(bulk->bytes = malloc(n ? n : 1)))
        status = hm_fail(err, HM_ENOMEM, "no memory for what the feeder tells");
    for (unsigned i = 0; !status && i < set.n; i++) {
        memcpy(bulk->bytes + bulk->n, set.piece[i].bytes, set.piece[i].n);
        bulk->n += set.piece[i].n;
    }
    drop(&set);
    return status;
}

static enum hm_status fetch_all(struct hm_feed *feed, struct hm_err *err)
{
    const struct hm_feed_facts_head *head = &feed->feeder[0].facts;
    struct hm_fed *fed = &feed->fed;
    const uint64_t until_us = now_us(feed) + (uint64_t)(feed->options.timeout * 1e6);
    double total = 0;
    enum hm_status status = HM_OK;
    for (unsigned i = 0; !status && i < feed->options.n_feeders; i++)
        status = fetch_facts(feed, i, until_us, err);
    for (unsigned i = 0; !status && i < feed->options.n_feeders; i++) {
        const struct hm_feed_facts_head *one = &feed->feeder[i].facts;
        fed->examples += one->examples;
        total += (double)one->total;
        fed->batch = one->batch > fed->batch ? one->batch : fed->batch;
        fed->longest = one->longest > fed->longest ? one->longest : fed->longest;
    }
    if (status)
        return status;
    fed->epochs = total / (double)fed->examples;
    fed->bytes_max = HM_PAYLOAD_MAX;
    if ((status = fetch_bulk(feed, err)) ||
        (status = fetch_set(feed, HM_FEED_SAMPLE, head->n_sample, &fed->sample, err)) ||
        (status = fetch_set(feed, HM_FEED_TEST, head->n_test, &fed->test, err)))
        return status;
    return HM_OK;
}

static enum hm_status open_env(struct hm_feed *feed, struct hm_err *err)
{
    const struct hm_feed_options *o = &feed->options;
    struct hm_keys keys = {0};
    enum hm_status status = HM_OK;
    for (unsigned i = 0; !status && i < o->n_feeders; i++) {
        status = hm_endpoint_parse(o->feeder[i], feed->feeder[i].rpc, err);
        if (status)
            return hm_context(err, status, "--feed");
        if (!o->key && !o->insecure && !hm_endpoint_is_loopback(feed->feeder[i].rpc))
            return hm_env_refuse_clear(err, "--feed", o->feeder[i]);
    }
    if (o->key && (status = hm_keys_read(&keys, o->key, err)))
        return hm_context(err, status, "--key");
    struct hm_env_zmq_options env = {
        .kind = HM_ENV_TRAINER, .life = o->life, .keys = &keys, .insecure = o->insecure};
    status = hm_env_zmq_open(&feed->env, &env, err);
    hm_keys_wipe(&keys);
    return status;
}

enum hm_status hm_feed_open(struct hm_feed **out, const struct hm_feed_options *options,
                            struct hm_err *err)
{
    struct hm_feed *feed = calloc(1, sizeof *feed);
    *out = NULL;
    if (!feed)
        return hm_fail(err, HM_ENOMEM, "no memory for a feed");
    assert(options->n_feeders && options->n_feeders <= HM_FEEDS_MAX);
    feed->options = *options;
    feed->report.n_feeders = options->n_feeders;
    pthread_mutex_init(&feed->mutex, NULL);
    enum hm_status status = open_env(feed, err);
    feed->began_us = status ? 0 : now_us(feed);
    if (!status)
        status = fetch_all(feed, err);
    if (status) {
        hm_feed_close(feed);
        return status;
    }
    *out = feed;
    return HM_OK;
}

const struct hm_fed *hm_feed_told(const struct hm_feed *feed)
{
    return &feed->fed;
}

/* ---- while it trains ---- */

static struct feeder *find_life(struct hm_feed *feed, uint64_t life)
{
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        if (feed->feeder[i].life == life)
            return &feed->feeder[i];
    return NULL;
}

/* A feeder that has come back: what it feeds is the same, and it counts anew. */
static void begin_life(struct hm_feed *feed, struct feeder *feeder, uint64_t life)
{
    pthread_mutex_lock(&feed->mutex);
    feeder->lost_before += feeder->received - feeder->trained;
    feeder->received = feeder->trained = feeder->told = 0;
    feeder->life_before = feeder->life;
    feeder->life = life;
    pthread_mutex_unlock(&feed->mutex);
    feeder->has_ended = 0;
}

static void back(struct hm_feed *feed, struct feeder *feeder, uint64_t life)
{
    const int anew = feeder->life != life;
    if (anew)
        begin_life(feed, feeder, life);
    if (feeder->is_gone || anew) {
        feeder->back_us = now_us(feed);
        say(feed, HM_NOTE_WARNING, "the feeder at %s is back%s", address(feeder),
            anew ? ", and begins anew; training goes on with what it sends" : "");
    }
    feeder->is_gone = feeder->in_doubt = 0;
    feeder->unsent = 0;
    feeder->heard_us = now_us(feed);
}

static void doubt(struct hm_feed *feed)
{
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        feed->feeder[i].in_doubt = 1;
}

static void lose(struct hm_feed *feed, struct feeder *feeder)
{
    feeder->is_gone = 1;
    feed->report.gone++;
    say(feed, HM_NOTE_WARNING,
        "the feeder at %s is gone; training goes on with what has come, then waits: start it again "
        "at that address (hogmesh feed %s --bind %s ...), or end with Ctrl-C",
        address(feeder), feed->options.workload, address(feeder));
}

static void refuse(struct hm_feed *feed, const char *why)
{
    if (!feed->report.refused++)
        say(feed, HM_NOTE_WARNING, "a batch was refused: %s; further ones are counted only", why);
}

/* A batch whose feeder is new here is of one that came back, and was faster than its answer. */
static struct feeder *whose(struct hm_feed *feed, const struct hm_header *header)
{
    struct feeder *feeder = find_life(feed, header->life);
    for (unsigned i = 0; !feeder && i < feed->options.n_feeders; i++)
        if (feed->feeder[i].life_before == header->life)
            feeder = &feed->feeder[i];
    for (unsigned i = 0; !feeder && i < feed->options.n_feeders; i++)
        if (feed->feeder[i].is_gone || feed->options.n_feeders == 1) {
            feeder = &feed->feeder[i];
            back(feed, feeder, header->life);
            feeder->in_doubt = 1; /* which facts, if they are others, are told later */
        }
    return feeder;
}

static void hear_batch(struct hm_feed *feed, const struct hm_header *header,
                       const struct hm_blob *payload)
{
    struct hm_feed_slot *slot = hm_feed_buffer_room(&feed->buffer);
    assert(slot);
    if (header->fingerprint != feed->fingerprint) {
        refuse(feed, "its feeder has other data than the one that this node began with");
        return;
    }
    struct feeder *feeder = whose(feed, header);
    if (!feeder) {
        refuse(feed, "its feeder has just come back");
        doubt(feed);
        return;
    }
    const struct hm_feed_ops *ops = feed->model->ops->feed;
    if (!payload || payload->n > feed->fed.bytes_max ||
        ops->decode(feed->model, payload->bytes, payload->n, slot->memory, &slot->shard)) {
        refuse(feed, "it is malformed");
        pthread_mutex_lock(&feed->mutex);
        feeder->received += feeder->life == header->life; /* and done with */
        feeder->trained += feeder->life == header->life;
        pthread_mutex_unlock(&feed->mutex);
        return;
    }
    slot->shard.key = header->feed_batch.key;
    slot->feeder = (unsigned)(feeder - feed->feeder);
    slot->life = header->life;
    pthread_mutex_lock(&feed->mutex);
    if (feeder->life == header->life)
        feeder->received++;
    else
        feeder->lost_before++;
    pthread_mutex_unlock(&feed->mutex);
    feeder->heard_us = now_us(feed);
    feed->report.batches++;
    feed->report.examples += slot->shard.n;
    feed->report.bytes += payload->n;
    hm_feed_buffer_push(&feed->buffer, slot);
    if (feeder->received >= feeder->told + NEWS) {
        feeder->beat_us = 0;
        feed->has_news = 1;
    }
    feed->came(feed->context);
}

static void hear_facts(struct hm_feed *feed, const struct hm_header *header)
{
    struct feeder *feeder = NULL;
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        if (strcmp(feed->feeder[i].pub, header->feed_facts.pub) == 0)
            feeder = &feed->feeder[i];
    if (!feeder)
        return;
    const struct hm_fed *fed = &feed->fed;
    const int fits = header->fingerprint == feed->fingerprint &&
                     header->feed_facts.batch <= fed->batch &&
                     header->feed_facts.longest <= fed->longest;
    feeder->in_doubt = 0;
    if (fits) {
        back(feed, feeder, header->life);
        feeder->is_other = 0;
    } else if (!feeder->is_other) {
        feeder->is_other = 1;
        say(feed, HM_NOTE_WARNING,
            "the feeder at %s has come back with other data, or larger batches; nothing of it is "
            "taken: start it as before",
            address(feeder));
    }
}

static void check_end(struct hm_feed *feed)
{
    int all = 1;
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        all &= feed->feeder[i].has_ended;
    if (!all)
        return;
    atomic_store(&feed->ended, true);
    feed->came(feed->context);
}

static void hear_state(struct hm_feed *feed, const struct hm_header *header)
{
    struct feeder *feeder = find_life(feed, header->life);
    if (!feeder) { /* another life: it is asked for its facts first */
        doubt(feed);
        return;
    }
    back(feed, feeder, header->life);
    if (!header->feed_state.ended || feeder->has_ended)
        return;
    feeder->has_ended = 1;
    say(feed, HM_NOTE_INFO, "the feeder at %s has delivered all, %llu batches", address(feeder),
        (unsigned long long)header->feed_state.sent);
    check_end(feed);
}

/* Until nothing is there, or a feeder is to be told how much has come. */
static void hear(struct hm_feed *feed)
{
    struct hm_event event;
    struct hm_header header;
    feed->has_news = 0;
    while (!feed->has_news) {
        feed->env->deaf = !hm_feed_buffer_room(&feed->buffer);
        if (!feed->env->ops->receive(feed->env, &event))
            return;
        if (event.type != HM_EV_MESSAGE ||
            hm_wire_decode(event.message.header, event.message.header_n, &header) != HM_WIRE_OK)
            continue;
        if (event.message.channel == HM_CH_PUBLISHED && header.type == HM_FEED_BATCH)
            hear_batch(feed, &header, event.message.payload);
        else if (event.message.channel == HM_CH_ANSWER && header.type == HM_FEED_FACTS)
            hear_facts(feed, &header);
        else if (event.message.channel == HM_CH_ANSWER && header.type == HM_FEED_STATE)
            hear_state(feed, &header);
    }
}

/* A feeder that was gone is asked for its facts: it may be another one when it answers. */
static void beat(struct hm_feed *feed, unsigned i, int idle, int leaving)
{
    struct feeder *feeder = &feed->feeder[i];
    struct hm_header header = {.type = HM_FEED_BEAT};
    pthread_mutex_lock(&feed->mutex);
    header.feed_beat.feeder = feeder->life;
    header.feed_beat.received = feeder->received;
    header.feed_beat.trained = feeder->trained;
    pthread_mutex_unlock(&feed->mutex);
    header.feed_beat.idle = (uint8_t)idle;
    header.feed_beat.leaving = (uint8_t)leaving;
    feeder->told = header.feed_beat.received;
    const int sent =
        feeder->is_gone || feeder->in_doubt ? ask_facts(feed, i) : ask(feed, i, &header);
    feeder->unsent = sent ? 0 : feeder->unsent + 1;
}

/* A connection that ended takes no beats: that shows at once. One that hangs shows by silence. */
static void look_after(struct hm_feed *feed, unsigned i, uint64_t now, int idle)
{
    struct feeder *feeder = &feed->feeder[i];
    if (now < feeder->beat_us)
        return;
    feeder->beat_us = now + HM_FEED_BEAT_US;
    beat(feed, i, idle, 0);
    const int silent = now > feeder->heard_us + HM_FEED_GONE_US;
    const int cut_off = feeder->unsent > 2 && now > feeder->back_us + SETTLE_US;
    if (!feeder->is_gone && !feeder->has_ended && (cut_off || silent))
        lose(feed, feeder);
    if (feeder->is_gone && silent) {
        dial(feed, i, 1);
        feeder->heard_us = now;
    }
}

static void measure_idleness(struct hm_feed *feed, uint64_t now, int idle)
{
    if (idle && !feed->idle_since_us && feed->report.batches) {
        feed->idle_since_us = now;
        for (unsigned i = 0; i < feed->options.n_feeders; i++)
            feed->feeder[i].beat_us = now; /* feeders wait for that */
    }
    if (!idle && feed->idle_since_us) {
        feed->report.waited += (double)(now - feed->idle_since_us) / 1e6;
        feed->idle_since_us = 0;
    }
}

static void *feed_main(void *argument)
{
    struct hm_feed *feed = argument;
    const unsigned n = feed->options.n_feeders;
    for (unsigned i = 0; i < n; i++) {
        dial(feed, i, 1);
        feed->feeder[i].heard_us = feed->feeder[i].back_us = now_us(feed);
        feed->feeder[i].beat_us = feed->feeder[i].heard_us + HM_FEED_BEAT_US;
    }
    while (!atomic_load(&feed->end)) {
        hear(feed);
        const uint64_t now = now_us(feed);
        const int idle = hm_feed_buffer_is_idle(&feed->buffer);
        uint64_t until = now + HM_FEED_BEAT_US;
        measure_idleness(feed, now, idle);
        for (unsigned i = 0; i < n; i++) {
            look_after(feed, i, now, idle);
            until = feed->feeder[i].beat_us < until ? feed->feeder[i].beat_us : until;
        }
        feed->env->ops->wait(feed->env, until);
    }
    measure_idleness(feed, now_us(feed), 0);
    return NULL;
}

enum hm_status hm_feed_start(struct hm_feed *feed, const struct hm_model *model,
                             void (*came)(void *context), void *context, struct hm_err *err)
{
    const size_t slot_bytes = model->ops->feed->slot_bytes(model);
    const unsigned slots = 2 * feed->options.threads + 2;
    feed->model = model;
    feed->came = came;
    feed->context = context;
    enum hm_status status = hm_feed_buffer_open(&feed->buffer, slots, slot_bytes, err);
    if (status)
        return status;
    feed->report.buffer_bytes = slots * slot_bytes;
    feed->started = pthread_create(&feed->thread, NULL, feed_main, feed) == 0;
    return feed->started ? HM_OK : hm_fail(err, HM_ENOMEM, "cannot start a thread to receive");
}

static uint64_t bytes_of(const struct hm_fed_set *set)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < set->n; i++)
        bytes += set->piece[i].n;
    return bytes;
}

/* A message that is read, that is decoded, and those in the queue of each connection. */
uint64_t hm_feed_bytes(const struct hm_feed *feed)
{
    const uint64_t messages = 2 + HM_FEED_QUEUE * (uint64_t)feed->options.n_feeders;
    return feed->report.buffer_bytes + feed->fed.bulk.n + bytes_of(&feed->fed.sample) +
           bytes_of(&feed->fed.test) + messages * feed->fed.bytes_max;
}

struct hm_feed_slot *hm_feed_take(struct hm_feed *feed, int *waits)
{
    struct hm_feed_slot *slot = hm_feed_buffer_take(&feed->buffer);
    if (!slot && !*waits) /* relaxed: it is only counted */
        atomic_fetch_add_explicit(&feed->n_waits, 1, memory_order_relaxed);
    *waits = !slot;
    return slot;
}

void hm_feed_give_back(struct hm_feed *feed, struct hm_feed_slot *slot)
{
    struct feeder *feeder = &feed->feeder[slot->feeder];
    pthread_mutex_lock(&feed->mutex);
    if (feeder->life == slot->life)
        feeder->trained++;
    else
        feeder->lost_before--; /* of its former life, and trained on after all */
    pthread_mutex_unlock(&feed->mutex);
    hm_feed_buffer_give_back(&feed->buffer, slot);
    feed->env->ops->wake(feed->env);
}

int hm_feed_has_ended(const struct hm_feed *feed)
{
    return atomic_load(&feed->ended);
}

void hm_feed_stop(struct hm_feed *feed)
{
    if (!feed->started)
        return;
    atomic_store(&feed->end, true);
    feed->env->ops->wake(feed->env);
    pthread_join(feed->thread, NULL);
    feed->started = 0;
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        if (!feed->feeder[i].is_gone)
            beat(feed, i, 0, 1);
    struct feeder *feeder = feed->feeder;
    for (unsigned i = 0; i < feed->options.n_feeders; i++)
        feed->report.lost += feeder[i].lost_before + feeder[i].received - feeder[i].trained;
    feed->report.waits = atomic_load(&feed->n_waits);
}

struct hm_feed_report hm_feed_report(const struct hm_feed *feed)
{
    return feed->report;
}

void hm_feed_close(struct hm_feed *feed)
{
    if (!feed)
        return;
    hm_feed_stop(feed);
    if (feed->env)
        feed->env->ops->close(feed->env, LINGER_MS);
    hm_feed_buffer_close(&feed->buffer);
    drop(&feed->fed.sample);
    drop(&feed->fed.test);
    free(feed->fed.bulk.bytes);
    pthread_mutex_destroy(&feed->mutex);
    free(feed);
}
