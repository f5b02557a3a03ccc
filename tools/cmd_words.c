/* hogmesh vocab, similar, and eval of word vectors. */
#include "tools/cli.h"
#include "tools/screen.h"
#include "tools/vectors.h"

#include "models/corpus_read.h"
#include "models/word_eval.h"
#include "node/view.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOP = 10, TOP_MAX = 100000, QUERY_MAX = 2 * LIST_MAX + ARGUMENTS_MAX };

/* All cores, unless the user says otherwise. */
static unsigned threads_of(const struct cli *cli)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cli->node.train.threads > 1)
        return cli->node.train.threads;
    return cores > 1 ? (unsigned)cores : 1;
}

/* ---- vocab ---- */

static void say_vocab(struct screen *screen, const struct cli *cli, const struct hm_vocab *vocab,
                      const struct hm_text *text)
{
    char of[96] = "";
    if (text)
        snprintf(of, sizeof of, " (of %u different words and %" PRIu64 ")", text->n_different,
                 text->n_tokens);
    screen_say(screen, "hogmesh: wrote %s: %u words, counted %" PRIu64 " times in all%s", cli->to,
               vocab->n, vocab->total, of);
}

static enum hm_status count_words(struct cli *cli, struct screen *screen, struct hm_err *err)
{
    struct hm_progress progress = {screen_progress, screen};
    const struct hm_train_options *train = &cli->node.train;
    struct hm_corpus_options options = {.min_count = train->min_count,
                                        .vocab_max = train->vocab_max,
                                        .lowercase = train->lowercase,
                                        .threads = threads_of(cli)};
    struct hm_text text;
    enum hm_status status =
        hm_text_read(&text, cli->argument, cli->n_arguments, &options, -1, &progress, err);
    if (!status)
        status = hm_vocab_write(&text.vocab, cli->to, err);
    screen_frame(screen, "");
    if (!status && !cli->quiet) {
        hm_corpus_remark(text.n_invalid, text.n_too_long, screen_remark, screen);
        say_vocab(screen, cli, &text.vocab, &text);
    }
    hm_text_close(&text);
    return status;
}

static enum hm_status merge_vocabs(struct cli *cli, struct screen *screen, struct hm_err *err)
{
    struct hm_progress progress = {screen_progress, screen};
    const struct hm_train_options *train = &cli->node.train;
    uint64_t min_count = train->min_count ? train->min_count : HM_CORPUS_MIN_COUNT;
    struct hm_vocab vocab;
    if (train->lowercase)
        return hm_fail(err, HM_EUSAGE, "--lowercase is about texts, not about --merge");
    enum hm_status status = hm_vocab_read(&vocab, cli->argument, cli->n_arguments, min_count,
                                          train->vocab_max, &progress, err);
    if (!status)
        status = hm_vocab_write(&vocab, cli->to, err);
    screen_frame(screen, "");
    if (!status && !cli->quiet)
        say_vocab(screen, cli, &vocab, NULL);
    hm_vocab_close(&vocab);
    return status;
}

int cmd_vocab(struct cli *cli)
{
    struct hm_err err = {""};
    struct screen screen = screen_open(cli->quiet);
    if (!cli->n_arguments || !cli->to) {
        fprintf(stderr, "hogmesh vocab: %s; see 'hogmesh vocab --help'\n",
                cli->to ? "a FILE is missing" : "--to FILE is missing");
        return EXIT_USAGE;
    }
    enum hm_status status =
        cli->merge ? merge_vocabs(cli, &screen, &err) : count_words(cli, &screen, &err);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}

/* ---- eval ---- */

static json_t *section_json(const struct hm_section *s)
{
    json_t *name = json_string(s->name);
    return json_pack("{s:o, s:I, s:I, s:I, s:o}", "section", name ? name : json_null(), "n",
                     (json_int_t)s->n, "right", (json_int_t)s->n_right, "unknown",
                     (json_int_t)s->n_unknown, "accuracy",
                     s->n ? json_real((double)s->n_right / (double)s->n) : json_null());
}

static json_t *analogies_json(const struct hm_analogies *analogies, const char *path)
{
    json_t *json = section_json(&analogies->total), *sections = json_array();
    json_object_del(json, "section");
    for (unsigned i = 0; i < analogies->n_sections; i++)
        json_array_append_new(sections, section_json(&analogies->section[i]));
    json_object_set_new(json, "file", json_string(path));
    json_object_set_new(json, "sections", sections);
    return json;
}

static void print_section(const struct hm_section *s, const char *name)
{
    char part[16] = "-";
    if (s->n)
        snprintf(part, sizeof part, "%.2f %%", 100 * (double)s->n_right / (double)s->n);
    printf("%-32s %9s %7" PRIu64 " of %7" PRIu64 "   %7" PRIu64 " unknown\n", name, part,
           s->n_right, s->n, s->n_unknown);
}

static enum hm_status ask(const struct cli *cli, const struct hm_vectors *vectors,
                          const struct hm_eval_options *options, const struct hm_progress *progress,
                          json_t *json, struct hm_err *err)
{
    struct hm_analogies analogies;
    if (!cli->words.analogies)
        return HM_OK;
    enum hm_status status =
        hm_eval_analogies(vectors, cli->words.analogies, options, &analogies, progress, err);
    if (status)
        return status;
    if (cli->json)
        json_object_set_new(json, "analogies", analogies_json(&analogies, cli->words.analogies));
    for (unsigned i = 0; i < analogies.n_sections && !cli->json; i++)
        print_section(&analogies.section[i], analogies.section[i].name);
    if (!cli->json)
        print_section(&analogies.total, "all analogies");
    free(analogies.section);
    return HM_OK;
}

static double unknown_part(const struct hm_pairs *pairs)
{
    return (double)pairs->n_unknown / (double)(pairs->n + pairs->n_unknown);
}

static enum hm_status compare(const struct cli *cli, const struct hm_vectors *vectors,
                              const struct hm_eval_options *options,
                              const struct hm_progress *progress, json_t *json, struct hm_err *err)
{
    json_t *array = json_array();
    enum hm_status status = HM_OK;
    for (unsigned i = 0; i < cli->words.pairs.n && !status; i++) {
        const char *path = cli->words.pairs.at[i], *slash = strrchr(path, '/');
        struct hm_pairs pairs;
        status = hm_eval_pairs(vectors, path, options, &pairs, progress, err);
        if (!status && !cli->json)
            printf("%-32s Spearman %.4f   Pearson %.4f   %" PRIu64 " pairs   %.1f %% unknown\n",
                   slash ? slash + 1 : path, pairs.spearman, pairs.pearson, pairs.n,
                   100 * unknown_part(&pairs));
        if (!status)
            json_array_append_new(
                array, json_pack("{s:s, s:o, s:o, s:I, s:I, s:f}", "file", path, "spearman",
                                 hm_json_number(pairs.spearman), "pearson",
                                 hm_json_number(pairs.pearson), "n", (json_int_t)pairs.n, "unknown",
                                 (json_int_t)pairs.n_unknown, "unknown_part",
                                 unknown_part(&pairs)));
    }
    json_object_set_new(json, "pairs", array);
    return status;
}

int cmd_eval_words(struct cli *cli)
{
    struct hm_err err = {""};
    struct screen screen = screen_open(cli->quiet);
    struct hm_progress progress = {screen_progress, &screen};
    struct hm_eval_options options = {.restrict_vocab = cli->words.restrict_vocab,
                                      .case_sensitive = cli->words.case_sensitive,
                                      .threads = threads_of(cli),
                                      .isa = cli->node.train.isa};
    struct hm_vectors vectors = {0};
    if (cli->n_arguments != 1) {
        fprintf(stderr, "hogmesh eval: a folder written by --out or a file of word vectors is "
                        "expected as argument\n");
        return EXIT_USAGE;
    }
    enum hm_status status = vectors_load(&vectors, cli->argument[0], &progress, &err);
    json_t *json =
        json_pack("{s:I, s:I}", "vectors", (json_int_t)vectors.n, "dim", (json_int_t)vectors.dim);
    if (!status && vectors.n_twice && !cli->quiet)
        screen_say(&screen, "hogmesh: %u words came again; the first vector of each counts",
                   vectors.n_twice);
    if (!status)
        status = ask(cli, &vectors, &options, &progress, json, &err);
    if (!status)
        status = compare(cli, &vectors, &options, &progress, json, &err);
    screen_frame(&screen, "");
    if (!status && cli->json) {
        json_dumpf(json, stdout, JSON_COMPACT);
        printf("\n");
    }
    json_decref(json);
    hm_vectors_close(&vectors);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}

/* ---- similar ---- */

/* What is asked for: words, each with its weight. */
struct query {
    uint32_t word[QUERY_MAX];
    float weight[QUERY_MAX];
    unsigned n;
};

/* A word that is meant, perhaps, by one that is unknown: the same but for its case. */
static enum hm_status unknown(const struct hm_vectors *vectors, const char *word,
                              struct hm_err *err)
{
    int shown = strlen(word) < 60 ? (int)strlen(word) : 60;
    for (uint32_t i = 0; i < vectors->n; i++)
        if (strcasecmp(hm_words_text(&vectors->words, i), word) == 0)
            return hm_fail(err, HM_EUSAGE, "'%.*s' is not among the %u words; '%s' is", shown, word,
                           vectors->n, hm_words_text(&vectors->words, i));
    return hm_fail(err, HM_EUSAGE, "'%.*s' is not among the %u words", shown, word, vectors->n);
}

static enum hm_status add_words(const struct hm_vectors *vectors, struct query *query,
                                const char *const *word, unsigned n, float weight,
                                struct hm_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        size_t length = strlen(word[i]);
        uint32_t at = length > HM_WORD_BYTES_MAX ? HM_WORD_NONE
                                                 : hm_words_find(&vectors->words, word[i], length);
        if (at == HM_WORD_NONE)
            return unknown(vectors, word[i], err);
        query->word[query->n] = at;
        query->weight[query->n++] = weight;
    }
    return HM_OK;
}

static enum hm_status read_query(const struct cli *cli, const struct hm_vectors *vectors,
                                 struct query *query, struct hm_err *err)
{
    query->n = 0;
    enum hm_status status =
        add_words(vectors, query, (const char *const *)cli->argument, cli->n_arguments, 1, err);
    if (!status)
        status = add_words(vectors, query, cli->words.plus.at, cli->words.plus.n, 1, err);
    if (!status)
        status = add_words(vectors, query, cli->words.minus.at, cli->words.minus.n, -1, err);
    return status;
}

static void print_near(const struct hm_vectors *vectors, const struct hm_near *near, int n,
                       int json)
{
    json_t *array = json_array();
    for (int i = 0; i < n; i++) {
        const char *word = hm_words_text(&vectors->words, near[i].word);
        if (json)
            json_array_append_new(
                array, json_pack("{s:s, s:f}", "word", word, "cosine", (double)near[i].cosine));
        else
            printf("%.4f  %s\n", (double)near[i].cosine, word);
    }
    if (json) {
        json_t *object = json_pack("{s:O}", "similar", array);
        json_dumpf(object, stdout, JSON_COMPACT);
        printf("\n");
        json_decref(object);
    }
    json_decref(array);
}

static enum hm_status print_similar(const struct cli *cli, const struct hm_vectors *vectors,
                                    struct hm_err *err)
{
    unsigned top = cli->words.top ? cli->words.top : TOP;
    struct query query;
    enum hm_status status = read_query(cli, vectors, &query, err);
    struct hm_near *near = malloc(top * sizeof *near);
    int n = -1;
    if (!status && near)
        n = hm_nearest(vectors, query.word, query.weight, query.n, cli->words.restrict_vocab, near,
                       top);
    if (!status && n < 0)
        status = hm_fail(err, HM_ENOMEM, "out of memory");
    if (!status)
        print_near(vectors, near, n, cli->json);
    free(near);
    return status;
}

int cmd_similar(struct cli *cli)
{
    struct hm_err err = {""};
    struct screen screen = screen_open(cli->quiet);
    struct hm_progress progress = {screen_progress, &screen};
    struct hm_vectors vectors = {0};
    const char *wrong = NULL;
    if (!cli->words.model)
        wrong = "--model DIR|FILE is missing";
    else if (!cli->n_arguments && !cli->words.plus.n)
        wrong = "a WORD is missing";
    else if (cli->words.top > TOP_MAX)
        wrong = "--top: at most 100000 words";
    if (wrong) {
        fprintf(stderr, "hogmesh similar: %s; see 'hogmesh similar --help'\n", wrong);
        return EXIT_USAGE;
    }
    enum hm_status status = vectors_load(&vectors, cli->words.model, &progress, &err);
    screen_frame(&screen, "");
    if (!status)
        status = print_similar(cli, &vectors, &err);
    hm_vectors_close(&vectors);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}
