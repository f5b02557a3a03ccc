#include "node/feeder.h"

#include "models/feed.h"
#include "models/shuffle.h"
#include "node/feed_sides.h"
#include "protocol/config.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    BATCHES_A_TURN = 16,
    QUIET_US = 2000000,    /* without news, before what has not come counts as lost */
    FAREWELL_US = 3000000, /* for trainers to leave after the end */
    LINGER_MS = 500,
};

static const double EXAMPLES_MAX = 1e18;

struct trainer {
    uint64_t life;
    char label[HM_LABEL_MAX + 1];
    uint8_t route[HM_ROUTE_MAX];
    size_t route_n;
    uint64_t received, trained, heard_us;
    int idle, left, gone;
};

struct pieces {
    struct hm_blob **blob;
    unsigned n;
};

/* Where the stream of batches stands. */
struct stream {
    uint64_t pass, block;    /* the block within the order of its pass */
    uint64_t from, to;       /* examples of the block that are left */
    uint64_t number;         /* of the last message */
    struct hm_blob *pending; /* the next message, which nobody had room for */
    struct hm_header header; /* its header */
    uint64_t pending_n;      /* its examples */
};

struct hm_feeder {
    struct hm_feeder_options options;
    struct hm_model *model;
    const struct hm_feed_ops *ops;
    struct hm_env *env;
    uint64_t life, fingerprint, key;
    uint32_t batch;
    uint64_t total, blocks;
    struct hm_fields facts;
    struct hm_blob *facts_blob;
    uint32_t longest;
    struct pieces pieces[HM_FEED_SETS];
    struct trainer trainer[HM_FEED_TRAINERS_MAX];
    unsigned n_trainers;
    struct { /* of trainers that have left, whose places others took */
        uint64_t received, trained;
        unsigned n;
    } past;
    struct stream stream;
    atomic_int stop_wanted;
    uint64_t first_us, refused_us, news_us, status_due_us; /* refused: since when nobody has room */
    int full_said;
    struct hm_feeder_report report;
};

static uint64_t now_us(const struct hm_feeder *feeder)
{
    return feeder->env->ops->now_us(feeder->env);
}

static void __attribute__((format(printf, 3, 4)))
say(const struct hm_feeder *feeder, enum hm_note_level level, const char *format, ...)
{
    char text[HM_NOTE_MAX + 1];
    va_list args;
    if (!feeder->options.log)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    feeder->options.log(feeder->options.context, level, text);
}

/* ---- what trainers are told ---- */

static enum hm_status add_piece(struct pieces *pieces, const uint8_t *bytes, size_t n,
                                struct hm_err *err)
{
    if (pieces->n == HM_FEED_PIECES_MAX)
        return hm_fail(err, HM_EINPUT,
                       "what trainers are to be told (test rows, vocabulary) takes more than %d "
                       "messages; give fewer --test rows",
                       HM_FEED_PIECES_MAX);
    struct hm_blob **blob = realloc(pieces->blob, (pieces->n + 1) * sizeof *blob);
    if (blob)
        pieces->blob = blob;
    struct hm_blob *piece = blob ? hm_blob_new(n) : NULL;
    if (!piece)
        return hm_fail(err, HM_ENOMEM, "no memory for what trainers are told");
    memcpy(piece->bytes, bytes, n);
    pieces->blob[pieces->n++] = piece;
    return HM_OK;
}

static enum hm_status too_long(const struct hm_feeder *feeder, uint64_t example, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT,
                   "%s: example %llu does not fit into a message of %d bytes, so it cannot be fed",
                   feeder->options.workload, (unsigned long long)example, HM_PAYLOAD_MAX);
}

static enum hm_status cut_set(struct hm_feeder *feeder, enum hm_set set, struct pieces *pieces,
                              struct hm_err *err)
{
    uint8_t *room = malloc(HM_PAYLOAD_MAX);
    uint64_t from, n, taken;
    enum hm_status status = room ? HM_OK : hm_fail(err, HM_ENOMEM, "no memory to feed");
    for (unsigned i = 0; !status && feeder->ops->told(feeder->model, set, i, &from, &n); i++)
        for (; !status && n; from += taken, n -= taken) {
            const uint64_t most = n < feeder->batch ? n : feeder->batch;
            size_t bytes = feeder->ops->encode(feeder->model, set, feeder->key, from, most, room,
                                               HM_PAYLOAD_MAX, &taken);
            status = taken ? add_piece(pieces, room, bytes, err) : too_long(feeder, from, err);
        }
    free(room);
    return status;
}

static enum hm_status cut_bulk(struct hm_feeder *feeder, struct hm_err *err)
{
    struct hm_fed_piece bulk = {0};
    enum hm_status status =
        feeder->ops->bulk ? feeder->ops->bulk(feeder->model, &bulk, err) : HM_OK;
    for (size_t at = 0; !status && at < bulk.n; at += HM_PAYLOAD_MAX) {
        const size_t left = bulk.n - at;
        status = add_piece(&feeder->pieces[HM_FEED_BULK], bulk.bytes + at,
                           left < HM_PAYLOAD_MAX ? left : HM_PAYLOAD_MAX, err);
    }
    free(bulk.bytes);
    return status;
}

static enum hm_status cut_facts(struct hm_feeder *feeder, struct hm_err *err)
{
    struct hm_fields *facts = &feeder->facts;
    hm_fields_set(facts, "workload", "%s", feeder->options.workload);
    feeder->ops->facts(feeder->model, facts);
    feeder->fingerprint = hm_config_fingerprint(facts);
    feeder->longest = feeder->ops->longest ? feeder->ops->longest(feeder->model) : 0;
    struct hm_blob *blob = hm_blob_new(hm_hello_bound(facts->field, facts->n, 0, 0));
    if (!blob)
        return hm_fail(err, HM_ENOMEM, "no memory to feed");
    size_t n = hm_hello_encode(facts->field, facts->n, NULL, 0, NULL, 0, blob->bytes);
    feeder->facts_blob = hm_blob_shrink(blob, n);
    return HM_OK;
}

/* ---- opening ---- */

static enum hm_status open_data(struct hm_feeder *feeder, struct hm_err *err)
{
    struct hm_feeder_options *o = &feeder->options;
    const struct hm_model_ops *ops = hm_workload_find(o->workload);
    if (!ops)
        return hm_fail(err, HM_EUSAGE, "unknown workload '%s'", o->workload);
    feeder->ops = ops->feed;
    if (!ops->feed)
        return hm_fail(err, HM_EUSAGE, "%s cannot be fed; train it on data of its own",
                       o->workload);
    feeder->batch = o->train.batch ? o->train.batch : ops->feed->batch;
    if (feeder->batch < ops->feed->batch_min || feeder->batch > HM_FEED_BATCH_MAX)
        return hm_fail(err, HM_EUSAGE, "--batch %u: %u to %d examples of a message are expected",
                       feeder->batch, ops->feed->batch_min, HM_FEED_BATCH_MAX);
    o->train.batch = 0;
    enum hm_status status = ops->open(&feeder->model, &o->train, &o->progress, err);
    if (status)
        return status;
    const uint64_t n = feeder->model->n_train;
    if (!n)
        return hm_fail(err, HM_EUSAGE, "%s: nothing to feed; give --train FILE%s", o->workload,
                       strcmp(o->workload, "lenet5") == 0 ? " or --data DIR" : "");
    const double total = (o->train.epochs > 0 ? o->train.epochs : ops->feed->epochs) * (double)n;
    feeder->blocks = hm_feed_blocks(n, feeder->batch);
    if (total < 1 || total > EXAMPLES_MAX || feeder->blocks > UINT32_MAX)
        return hm_fail(
            err, HM_EUSAGE,
            "--epochs makes %g examples, --batch %llu messages of a pass; 1 to %g and up "
            "to 2^32 are expected",
            total, (unsigned long long)feeder->blocks, EXAMPLES_MAX);
    feeder->total = (uint64_t)total;
    if ((status = cut_facts(feeder, err)) || (status = cut_bulk(feeder, err)) ||
        (status = cut_set(feeder, HM_TRAIN_SET, &feeder->pieces[HM_FEED_SAMPLE], err)) ||
        (status = cut_set(feeder, HM_TEST_SET, &feeder->pieces[HM_FEED_TEST], err)))
        return status;
    for (int s = 0; s < HM_FEED_SETS; s++)
        for (unsigned i = 0; i < feeder->pieces[s].n; i++)
            feeder->report.pieces_bytes += feeder->pieces[s].blob[i]->n;
    return HM_OK;
}

static enum hm_status open_sockets(struct hm_feeder *feeder, struct hm_err *err)
{
    const struct hm_feeder_options *o = &feeder->options;
    struct hm_keys keys = {0};
    enum hm_status status = o->key ? hm_keys_read(&keys, o->key, err) : HM_OK;
    if (status)
        return hm_context(err, status, "--key");
    struct hm_env_zmq_options env = {.kind = HM_ENV_FEEDER,
                                     .life = feeder->life,
                                     .bind = o->bind ? o->bind : "127.0.0.1:0",
                                     .advertise = o->advertise,
                                     .keys = &keys,
                                     .insecure = o->insecure};
    status = hm_env_zmq_open(&feeder->env, &env, err);
    memcpy(feeder->report.key, keys.key[0].fingerprint, sizeof feeder->report.key);
    if (!status && keys.n)
        say(feeder, HM_NOTE_INFO, "traffic is encrypted; key %s", feeder->report.key);
    hm_keys_wipe(&keys);
    return status;
}

enum hm_status hm_feeder_open(struct hm_feeder **out, const struct hm_feeder_options *options,
                              struct hm_err *err)
{
    struct hm_feeder *feeder = calloc(1, sizeof *feeder);
    *out = NULL;
    if (!feeder)
        return hm_fail(err, HM_ENOMEM, "no memory for a feeder");
    feeder->options = *options;
    feeder->key = hm_mix(options->train.seed + 0x66656564);
    if (!feeder->options.label[0])
        hm_node_default_label(feeder->options.label);
    memcpy(feeder->report.label, feeder->options.label, sizeof feeder->report.label);
    enum hm_status status = HM_OK;
    while (!status && !feeder->life)
        if (getrandom(&feeder->life, sizeof feeder->life, 0) != sizeof feeder->life)
            status = hm_fail(err, HM_EIO, "the system gives no random numbers");
    if (!status)
        status = open_sockets(feeder, err);
    const uint64_t from = status ? 0 : now_us(feeder);
    if (!status)
        status = open_data(feeder, err);
    if (status) {
        hm_feeder_close(feeder);
        return status;
    }
    feeder->report.load_seconds = (double)(now_us(feeder) - from) / 1e6;
    *out = feeder;
    return HM_OK;
}

void hm_feeder_close(struct hm_feeder *feeder)
{
    if (!feeder)
        return;
    if (feeder->env)
        feeder->env->ops->close(feeder->env, 0);
    if (feeder->model)
        feeder->model->ops->close(feeder->model);
    for (int s = 0; s < HM_FEED_SETS; s++) {
        for (unsigned i = 0; i < feeder->pieces[s].n; i++)
            hm_blob_drop(feeder->pieces[s].blob[i]);
        free(feeder->pieces[s].blob);
    }
    hm_blob_drop(feeder->facts_blob);
    hm_blob_drop(feeder->stream.pending);
    free(feeder);
}

/* ---- the stream ---- */

static int is_all_sent(const struct hm_feeder *feeder)
{
    return !feeder->stream.pending && feeder->report.examples == feeder->total;
}

/* The next block of this pass, or of the next one. */
static void next_block(struct hm_feeder *feeder)
{
    struct stream *s = &feeder->stream;
    if (s->block == feeder->blocks) {
        s->block = 0;
        s->pass++;
    }
    const uint32_t b =
        hm_shuffle((uint32_t)s->block++, (uint32_t)feeder->blocks, feeder->key + s->pass);
    s->from = feeder->ops->begins(feeder->model, b, feeder->blocks, feeder->batch);
    s->to = feeder->ops->begins(feeder->model, (uint64_t)b + 1, feeder->blocks, feeder->batch);
}

/* Makes the next message, of which nothing depends on who takes it, or when. */
static enum hm_status make_batch(struct hm_feeder *feeder, struct hm_err *err)
{
    struct stream *s = &feeder->stream;
    uint64_t left = feeder->total - feeder->report.examples, taken;
    while (s->from == s->to)
        next_block(feeder);
    left = s->to - s->from < left ? s->to - s->from : left;
    struct hm_blob *blob = hm_blob_new(HM_PAYLOAD_MAX);
    if (!blob)
        return hm_fail(err, HM_ENOMEM, "no memory for a batch");
    size_t n = feeder->ops->encode(feeder->model, HM_TRAIN_SET, feeder->key + s->pass, s->from,
                                   left, blob->bytes, HM_PAYLOAD_MAX, &taken);
    if (!taken) {
        hm_blob_drop(blob);
        return too_long(feeder, s->from, err);
    }
    s->from += taken;
    s->pending = hm_blob_shrink(blob, n);
    s->pending_n = taken;
    s->header = (struct hm_header){
        .type = HM_FEED_BATCH, .life = feeder->life, .fingerprint = feeder->fingerprint};
    s->header.feed_batch.number = ++s->number;
    s->header.feed_batch.key = hm_mix(feeder->key + hm_mix(s->number));
    return HM_OK;
}

static uint64_t received(const struct hm_feeder *feeder)
{
    uint64_t n = feeder->past.received;
    for (unsigned i = 0; i < feeder->n_trainers; i++)
        n += feeder->trainer[i].received;
    return n;
}

static uint64_t under_way(const struct hm_feeder *feeder)
{
    const uint64_t n = received(feeder);
    return feeder->report.batches > n ? feeder->report.batches - n : 0;
}

static unsigned present(const struct hm_feeder *feeder)
{
    unsigned n = 0;
    for (unsigned i = 0; i < feeder->n_trainers; i++)
        n += !feeder->trainer[i].left && !feeder->trainer[i].gone;
    return n;
}

static void sent(struct hm_feeder *feeder)
{
    struct stream *s = &feeder->stream;
    struct hm_feeder_report *report = &feeder->report;
    const uint64_t now = now_us(feeder);
    if (!feeder->first_us)
        feeder->first_us = now;
    if (feeder->refused_us)
        report->waited += (double)(now - feeder->refused_us) / 1e6;
    feeder->refused_us = 0;
    feeder->news_us = now;
    report->batches++;
    report->examples += s->pending_n;
    report->bytes += s->pending->n;
    hm_blob_drop(s->pending);
    s->pending = NULL;
    const uint64_t n = under_way(feeder);
    report->most_under_way = n > report->most_under_way ? n : report->most_under_way;
}

/* Sends what there is room for. */
static enum hm_status feed(struct hm_feeder *feeder, struct hm_err *err)
{
    struct hm_action action = {.type = HM_ACT_BROADCAST};
    enum hm_status status = HM_OK;
    feeder->env->wants_room = 0;
    for (int i = 0; !status && i < BATCHES_A_TURN && !is_all_sent(feeder); i++) {
        if (!feeder->stream.pending && (status = make_batch(feeder, err)))
            break;
        if (!hm_feed_send(feeder->env, &action, &feeder->stream.header, feeder->stream.pending)) {
            feeder->env->wants_room = 1;
            if (!feeder->refused_us && feeder->first_us)
                feeder->report.waits++;
            if (!feeder->refused_us && feeder->first_us)
                feeder->refused_us = now_us(feeder);
            break;
        }
        sent(feeder);
    }
    return status;
}

/* ---- trainers ---- */

static void reply(struct hm_feeder *feeder, const uint8_t *route, size_t route_n,
                  struct hm_header *header, struct hm_blob *payload)
{
    struct hm_action action = {.type = HM_ACT_REPLY, .route_n = route_n};
    memcpy(action.route, route, route_n);
    header->life = feeder->life;
    header->fingerprint = feeder->fingerprint;
    hm_feed_send(feeder->env, &action, header, payload);
}

static void tell_facts(struct hm_feeder *feeder, const struct hm_event *event)
{
    struct hm_header header = {.type = HM_FEED_FACTS};
    struct hm_feed_facts_head *head = &header.feed_facts;
    memcpy(head->label, feeder->options.label, sizeof head->label);
    memcpy(head->pub, feeder->env->pub, sizeof head->pub);
    head->examples = feeder->model->n_train;
    head->total = feeder->total;
    head->batch = feeder->batch;
    head->longest = feeder->longest;
    head->n_bulk = feeder->pieces[HM_FEED_BULK].n;
    head->n_sample = feeder->pieces[HM_FEED_SAMPLE].n;
    head->n_test = feeder->pieces[HM_FEED_TEST].n;
    reply(feeder, event->message.route, event->message.route_n, &header, feeder->facts_blob);
}

static void tell_piece(struct hm_feeder *feeder, const struct hm_event *event,
                       const struct hm_header *want)
{
    const struct pieces *pieces = &feeder->pieces[want->feed_piece.set];
    struct hm_header header = {.type = HM_FEED_PIECE, .feed_piece = want->feed_piece};
    if (want->feed_piece.piece < pieces->n)
        reply(feeder, event->message.route, event->message.route_n, &header,
              pieces->blob[want->feed_piece.piece]);
}

static void tell_state(struct hm_feeder *feeder, const struct trainer *trainer, int ended)
{
    struct hm_header header = {.type = HM_FEED_STATE};
    header.feed_state.sent = feeder->report.batches;
    header.feed_state.ended = (uint8_t)ended;
    reply(feeder, trainer->route, trainer->route_n, &header, NULL);
}

/* Who has left does not come back: a process that does is another life. */
static struct trainer *place_of_former(struct hm_feeder *feeder)
{
    for (unsigned i = 0; i < feeder->n_trainers; i++) {
        struct trainer *trainer = &feeder->trainer[i];
        if (!trainer->left)
            continue;
        feeder->past.received += trainer->received;
        feeder->past.trained += trainer->trained;
        feeder->past.n += trainer->received > 0;
        return trainer;
    }
    return NULL;
}

static struct trainer *find_trainer(struct hm_feeder *feeder, uint64_t life)
{
    for (unsigned i = 0; i < feeder->n_trainers; i++)
        if (feeder->trainer[i].life == life)
            return &feeder->trainer[i];
    struct trainer *trainer = feeder->n_trainers < HM_FEED_TRAINERS_MAX
                                  ? &feeder->trainer[feeder->n_trainers++]
                                  : place_of_former(feeder);
    if (!trainer)
        return NULL;
    *trainer = (struct trainer){.life = life, .label = "a trainer"};
    return trainer;
}

static struct trainer *hear_trainer(struct hm_feeder *feeder, const struct hm_event *event,
                                    uint64_t life)
{
    struct trainer *trainer = find_trainer(feeder, life);
    if (!trainer)
        return NULL;
    memcpy(trainer->route, event->message.route, event->message.route_n);
    trainer->route_n = event->message.route_n;
    trainer->heard_us = now_us(feeder);
    if (trainer->gone) {
        say(feeder, HM_NOTE_INFO, "trainer %s is heard again", trainer->label);
        feeder->report.gone--;
    }
    trainer->gone = 0;
    return trainer;
}

static void hear_beat(struct hm_feeder *feeder, const struct hm_event *event,
                      const struct hm_header *header, int ended)
{
    const struct hm_feed_beat_head *beat = &header->feed_beat;
    struct trainer *trainer = hear_trainer(feeder, event, header->life);
    if (!trainer || trainer->left)
        return;
    if (beat->received != trainer->received || beat->trained != trainer->trained)
        feeder->news_us = trainer->heard_us;
    /* What it says it has had of this life of ours cannot fall, nor exceed what there is. */
    if (beat->feeder == feeder->life && beat->received >= trainer->received &&
        beat->received <= feeder->report.batches && beat->trained >= trainer->trained) {
        trainer->received = beat->received;
        trainer->trained = beat->trained;
    }
    trainer->idle = beat->idle && beat->feeder == feeder->life;
    if (!beat->leaving) {
        tell_state(feeder, trainer, ended);
        return;
    }
    trainer->left = 1;
    say(feeder, HM_NOTE_INFO, "trainer %s has ended: %llu batches trained on, %llu left over%s",
        trainer->label, (unsigned long long)trainer->trained,
        (unsigned long long)(trainer->received - trainer->trained),
        present(feeder) || ended ? "" : "; nobody takes batches now, waiting for trainers");
}

static void hear_hello(struct hm_feeder *feeder, const struct hm_event *event,
                       const struct hm_header *header)
{
    struct trainer *trainer = hear_trainer(feeder, event, header->life);
    if (trainer && strcmp(trainer->label, header->feed_hello.label) != 0) {
        memcpy(trainer->label, header->feed_hello.label, sizeof trainer->label);
        say(feeder, HM_NOTE_INFO, "trainer %s is here", trainer->label);
    }
    if (!trainer && !feeder->full_said++)
        say(feeder, HM_NOTE_WARNING, "more than %d trainers at once: further ones are not answered",
            HM_FEED_TRAINERS_MAX);
    if (trainer)
        tell_facts(feeder, event);
}

static void hear(struct hm_feeder *feeder, int ended)
{
    struct hm_event event;
    struct hm_header header;
    char text[HM_NOTE_MAX + 1];
    while (feeder->env->ops->receive(feeder->env, &event)) {
        if (event.type != HM_EV_MESSAGE || event.message.channel != HM_CH_REQUEST ||
            hm_wire_decode(event.message.header, event.message.header_n, &header) != HM_WIRE_OK)
            continue;
        if (header.type == HM_FEED_HELLO)
            hear_hello(feeder, &event, &header);
        else if (header.type == HM_FEED_WANT)
            tell_piece(feeder, &event, &header);
        else if (header.type == HM_FEED_BEAT && header.fingerprint == feeder->fingerprint)
            hear_beat(feeder, &event, &header, ended);
    }
    while (feeder->env->ops->note(feeder->env, text))
        say(feeder, HM_NOTE_WARNING, "%s", text);
}

static void look_after(struct hm_feeder *feeder, uint64_t now)
{
    for (unsigned i = 0; i < feeder->n_trainers; i++) {
        struct trainer *t = &feeder->trainer[i];
        if (t->left || t->gone || now < t->heard_us + HM_FEED_GONE_US)
            continue;
        t->gone = 1;
        feeder->report.gone++;
        feeder->news_us = now;
        say(feeder, HM_NOTE_WARNING,
            "trainer %s is gone: %llu batches that it had received, and what was on its way to it, "
            "are lost; %s",
            t->label, (unsigned long long)(t->received - t->trained),
            present(feeder) ? "the others get the rest"
                            : "nobody takes batches now, waiting for trainers");
    }
}

/* Everything has been sent: whether all that can be trained on has been. */
static int is_delivered(const struct hm_feeder *feeder, uint64_t now)
{
    for (unsigned i = 0; i < feeder->n_trainers; i++) {
        const struct trainer *t = &feeder->trainer[i];
        if (!t->left && !t->gone && (!t->idle || t->received != t->trained) && t->received)
            return 0;
    }
    return received(feeder) == feeder->report.batches || now > feeder->news_us + QUIET_US;
}

static void tell_status(struct hm_feeder *feeder, uint64_t now)
{
    if (!feeder->options.status || now < feeder->status_due_us)
        return;
    feeder->status_due_us = now + HM_FEED_BEAT_US;
    struct hm_feeder_status status = {
        .seconds = feeder->first_us ? (double)(now - feeder->first_us) / 1e6 : 0,
        .batches = feeder->report.batches,
        .under_way = under_way(feeder),
        .examples = feeder->report.examples,
        .total = feeder->total,
        .n_trainers = present(feeder)};
    feeder->options.status(feeder->options.context, &status);
}

/* Sends until all is sent, or no more is wanted, and what was sent is delivered. */
static enum hm_status deliver(struct hm_feeder *feeder, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    int stopped = 0;
    while (!status) {
        hear(feeder, 0);
        if (atomic_load(&feeder->stop_wanted) && !stopped) {
            stopped = 1;
            feeder->env->wants_room = 0;
            feeder->news_us = now_us(feeder);
            say(feeder, HM_NOTE_INFO, "stopping: what is on its way is delivered first");
        }
        if (!stopped)
            status = feed(feeder, err);
        const uint64_t now = now_us(feeder);
        look_after(feeder, now);
        tell_status(feeder, now);
        if ((stopped || is_all_sent(feeder)) && is_delivered(feeder, now))
            break;
        if (!status && (feeder->env->wants_room || stopped || is_all_sent(feeder)))
            feeder->env->ops->wait(feeder->env, now + HM_FEED_BEAT_US);
    }
    return status;
}

/* Trainers hear of the end, and leave. */
static void say_goodbye(struct hm_feeder *feeder)
{
    const uint64_t until = now_us(feeder) + FAREWELL_US;
    for (unsigned i = 0; i < feeder->n_trainers; i++)
        if (!feeder->trainer[i].left)
            tell_state(feeder, &feeder->trainer[i], 1);
    while (present(feeder) && now_us(feeder) < until && atomic_load(&feeder->stop_wanted) < 2) {
        feeder->env->ops->wait(feeder->env, now_us(feeder) + HM_FEED_BEAT_US);
        hear(feeder, 1);
        look_after(feeder, now_us(feeder));
    }
}

static void fill_report(struct hm_feeder *feeder, uint64_t ended_us)
{
    struct hm_feeder_report *report = &feeder->report;
    uint64_t trained = feeder->past.trained;
    report->trainers = feeder->past.n;
    for (unsigned i = 0; i < feeder->n_trainers; i++) {
        trained += feeder->trainer[i].trained;
        report->trainers += feeder->trainer[i].received > 0;
    }
    report->received = received(feeder);
    report->lost = report->batches - trained;
    report->complete = is_all_sent(feeder);
    if (feeder->first_us)
        report->seconds = (double)(ended_us - feeder->first_us) / 1e6;
    feeder->env->ops->refusals(feeder->env, report->refused);
}

enum hm_status hm_feeder_run(struct hm_feeder *feeder, struct hm_err *err)
{
    if (feeder->options.bound)
        feeder->options.bound(feeder->options.context, feeder->env->rpc);
    feeder->news_us = now_us(feeder);
    enum hm_status status = deliver(feeder, err);
    const uint64_t ended_us = now_us(feeder);
    if (!status)
        say_goodbye(feeder);
    fill_report(feeder, ended_us);
    return status;
}

void hm_feeder_stop(struct hm_feeder *feeder)
{
    atomic_fetch_add(&feeder->stop_wanted, 1);
    feeder->env->ops->wake(feeder->env);
}

const struct hm_feeder_report *hm_feeder_report(const struct hm_feeder *feeder)
{
    return &feeder->report;
}
