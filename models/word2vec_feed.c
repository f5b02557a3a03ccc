/* Word2Vec at a feeder and at the trainers that it feeds. A message is a run of words with the ends
 * of its lines; windows of context do not reach from one message into another. */
#include "models/feed.h"
#include "models/feed_codec.h"
#include "models/word2vec.h"

#include <stdlib.h>
#include <string.h>

enum {
    EPOCHS = 5,
    BATCH = 8192,
    BATCH_MIN = 16,
    TOLD_RUNS = 64, /* of a set, as far from each other as can be */
    TOLD_WORDS = 1024,
};

/* ---- the feeder ---- */

static void facts(const struct hm_model *model, struct hm_fields *facts)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    hm_fields_set(facts, "vocabulary", "%016llx", (unsigned long long)w2v->vocab->fingerprint);
    hm_fields_set(facts, "words", "%u", w2v->vocab->n);
}

static enum hm_status bulk(struct hm_model *model, struct hm_fed_piece *bulk, struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    bulk->n = hm_vocab_packed_bytes(w2v->vocab);
    bulk->bytes = malloc(bulk->n);
    if (!bulk->bytes)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for a vocabulary of %u words",
                       w2v->vocab->n);
    hm_vocab_pack(w2v->vocab, bulk->bytes);
    return HM_OK;
}

static const struct hm_w2v_text *text_of(const struct hm_w2v_model *w2v, enum hm_set set)
{
    return set == HM_TEST_SET ? &w2v->held_out : &w2v->text;
}

static int told(const struct hm_model *model, enum hm_set set, unsigned i, uint64_t *from,
                uint64_t *n)
{
    const uint64_t all = text_of(hm_w2v_of(model), set)->n_words;
    const unsigned runs = all > (uint64_t)TOLD_RUNS * TOLD_WORDS ? TOLD_RUNS : 1;
    *from = all * i / runs;
    *n = runs > 1 ? TOLD_WORDS : all;
    return i < runs && all;
}

/* Behind the end of a line, if there is one within an eighth of a message. */
static uint64_t begins(const struct hm_model *model, uint64_t block, uint64_t blocks,
                       uint32_t batch)
{
    const struct hm_w2v_text *text = &hm_w2v_of(model)->text;
    const uint64_t number = (uint64_t)((unsigned __int128)text->n_words * block / blocks);
    if (!block || block == blocks)
        return number;
    uint64_t at = hm_w2v_text_seek(text, number), reach = batch / 8;
    if (text->id[at - 1] == text->mark)
        return number;
    for (uint64_t words = 0; at < text->n_ids && words < reach; at++, words++)
        if (text->id[at] == text->mark)
            return number + words;
    return number;
}

static size_t encode(const struct hm_model *model, enum hm_set set, uint64_t key, uint64_t from,
                     uint64_t n, uint8_t *out, size_t room, uint64_t *taken)
{
    const struct hm_w2v_text *text = text_of(hm_w2v_of(model), set);
    const uint64_t at = hm_w2v_text_seek(text, from);
    (void)key;
    const size_t most = (room - HM_FEED_ID_BYTES_MAX) / HM_FEED_ID_BYTES_MAX;
    uint32_t n_ids = 0;
    for (*taken = 0; *taken < n && n_ids < most; n_ids++)
        *taken += text->id[at + n_ids] != text->mark;
    if (*taken == n && n_ids < most && at + n_ids < text->n_ids &&
        text->id[at + n_ids] == text->mark)
        n_ids++;
    return hm_feed_put_words(text->id + at, n_ids, text->mark, out);
}

/* ---- a trainer ---- */

/* One set of the facts, as one text. */
static enum hm_status open_set(struct hm_w2v_model *w2v, enum hm_set set,
                               const struct hm_fed_set *told, struct hm_err *err)
{
    size_t room = 0, n = 0;
    const uint32_t mark = w2v->vocab->n;
    for (unsigned i = 0; i < told->n; i++)
        room += told->piece[i].n + 1;
    if (!room)
        return HM_OK;
    uint32_t *id = w2v->fed[set] = malloc(room * sizeof *id);
    if (!id)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for what the feeder tells");
    for (unsigned i = 0; i < told->n; i++) {
        uint32_t n_ids, n_words;
        if (hm_feed_get_words(told->piece[i].bytes, told->piece[i].n, mark, id + n,
                              told->piece[i].n, &n_ids, &n_words))
            return hm_fail(err, HM_ECORRUPT, "word2vec: piece %u of the feeder's %s is malformed",
                           i, set == HM_TEST_SET ? "test words" : "sample");
        n += n_ids;
        if (id[n - 1] != mark)
            id[n++] = mark;
    }
    return hm_w2v_text_open(set == HM_TEST_SET ? &w2v->held_out : &w2v->text, id, n, mark, err);
}

enum hm_status hm_w2v_open_fed(struct hm_w2v_model *w2v, struct hm_err *err)
{
    const struct hm_fed *fed = w2v->options.fed;
    struct hm_fields ours = {0};
    enum hm_status status = hm_feed_check("word2vec", &w2v->options, err);
    if (!status)
        status = hm_vocab_unpack(&w2v->own_vocab, fed->bulk.bytes, fed->bulk.n, err);
    if (status)
        return status == HM_EUSAGE ? status : hm_context(err, status, "the feeder's vocabulary");
    w2v->vocab = &w2v->own_vocab;
    facts(&w2v->base, &ours);
    for (size_t i = 0; i < ours.n; i++) {
        const char *theirs = hm_fields_get(&fed->facts, ours.field[i].name);
        if (!theirs || strcmp(theirs, ours.field[i].value) != 0)
            return hm_fail(err, HM_ECORRUPT,
                           "the feeder's fact '%s' is %.40s, but its vocabulary's is %s",
                           ours.field[i].name, theirs ? theirs : "missing", ours.field[i].value);
    }
    status = open_set(w2v, HM_TRAIN_SET, &fed->sample, err);
    if (!status && !w2v->options.n_test)
        status = open_set(w2v, HM_TEST_SET, &fed->test, err);
    if (!status && !w2v->text.n_words)
        status = hm_fail(err, HM_ECORRUPT, "the feeder tells no sample of its text");
    return status;
}

/* A message has at most as many ends of lines as words, and one. */
static size_t ids_max(const struct hm_w2v_model *w2v)
{
    return 2 * (size_t)w2v->options.fed->batch + 1;
}

struct slot {
    struct hm_w2v_text text;
    uint64_t memory[]; /* the index, then ids */
};

static size_t slot_bytes(const struct hm_model *model)
{
    const size_t n = ids_max(hm_w2v_of(model));
    size_t bytes =
        sizeof(struct slot) + hm_w2v_text_index(n) * sizeof(uint64_t) + n * sizeof(uint32_t);
    return (bytes + 63) / 64 * 64;
}

static int decode(const struct hm_model *model, const uint8_t *bytes, size_t n, void *memory,
                  struct hm_shard *shard)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    struct slot *slot = memory;
    const size_t room = ids_max(w2v);
    uint32_t *id = (uint32_t *)(void *)(slot->memory + hm_w2v_text_index(room)), n_ids, n_words;
    if (hm_feed_get_words(bytes, n, w2v->vocab->n, id, room, &n_ids, &n_words) ||
        n_words > w2v->options.fed->batch)
        return -1;
    hm_w2v_text_place(&slot->text, id, n_ids, w2v->vocab->n, slot->memory);
    *shard = (struct hm_shard){.n = n_words, .fed = &slot->text};
    return 0;
}

const struct hm_feed_ops hm_word2vec_feed = {
    .epochs = EPOCHS,
    .batch = BATCH,
    .batch_min = BATCH_MIN,
    .facts = facts,
    .bulk = bulk,
    .told = told,
    .begins = begins,
    .encode = encode,
    .slot_bytes = slot_bytes,
    .decode = decode,
};
