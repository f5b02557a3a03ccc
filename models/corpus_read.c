#include "models/corpus_read.h"

#include "models/input.h"
#include "models/tokens.h"
#include "models/whole_file.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HM_SMALL_BUFFERS /* for fuzzing, where a text is a kilobyte */
enum { BLOCK_BYTES = 64, BLOCK_BYTES_MAX = 2048, PIECE = 16 };
#else
enum { BLOCK_BYTES = 1 << 20, BLOCK_BYTES_MAX = 64 << 20, PIECE = 1 << 16 };
#endif

/* Of words that are looked up together, SLACK behind them may be read. */
enum { BATCH = 32, BATCH_BYTES = 256, SLACK = 16 };

/* In a reader's numbers. */
#define MARK UINT32_MAX

/* ---- blocks ---- */

enum state { EMPTY, FILLED, CLAIMED, DONE };

/* A piece of text between words, and what became of it. Only `state` is shared: who makes it
 * CLAIMED under the mutex owns the rest until it says DONE. */
struct block {
    enum state state;
    unsigned file; /* which one */
    int ends_file;
    char *text; /* [room + 1] */
    size_t room, n_text;
    uint32_t *number; /* [number_room] */
    size_t number_room, n_numbers;
    unsigned reader; /* whose numbers they are */
    enum hm_token end;
    enum hm_status status;
    struct hm_err err;
    uint64_t n_tokens, n_newlines, n_invalid, n_too_long;
};

/* Words on their way: found in the text, not yet among the words. Their bytes lie one behind the
 * other. */
struct batch {
    unsigned n;
    size_t used;
    struct hm_word_key key[BATCH]; /* n = 0: the end of a line */
    char text[BATCH_BYTES + HM_WORD_BYTES_MAX + SLACK];
};

struct reader {
    struct press *press;
    unsigned which;
    struct hm_words words;
    struct batch batch;
    pthread_t thread;
};

/* Blocks go round in a ring: filled, claimed and taken back in order. claimed and stop under the
 * mutex. */
struct press {
    int lowercase;
    const struct hm_words *fixed; /* a given vocabulary, or NULL */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t claimed;
    int stop;
    unsigned n_blocks, n_readers;
    struct block block[2 * HM_READERS_MAX];
    struct reader reader[HM_READERS_MAX];
};

/* ---- readers ---- */

static int make_room(struct block *block)
{
    size_t room = block->n_text + 2; /* a word or a line end takes a character; the file's end */
    if (room <= block->number_room)
        return 0;
    free(block->number);
    block->number = malloc(room * sizeof *block->number);
    block->number_room = block->number ? room : 0;
    return block->number ? 0 : -1;
}

static void put_word(struct reader *reader, struct batch *batch, const struct hm_tokens *tokens)
{
    const struct hm_words *fixed = reader->press->fixed;
    char *to = batch->text + batch->used;
    if (tokens->length <= SLACK)
        memcpy(to, tokens->word, SLACK); /* of a known size, which is faster */
    else
        memcpy(to, tokens->word, tokens->length);
    batch->key[batch->n++] = hm_words_key(fixed ? fixed : &reader->words, to, tokens->length);
    batch->used += tokens->length;
}

/* Puts the numbers of a batch behind those of the block; those of words outside of a given
 * vocabulary are left out. */
static enum hm_status settle(struct reader *reader, struct batch *batch, struct block *block)
{
    const struct hm_words *fixed = reader->press->fixed;
    uint32_t *number = block->number + block->n_numbers, *to = number;
    for (unsigned k = 0; k < batch->n; k++) {
        const struct hm_word_key *key = &batch->key[k];
        uint32_t i = !key->n ? MARK
                     : fixed ? hm_words_find_key(fixed, key)
                             : hm_words_add_key(&reader->words, key);
        if (key->n && i == HM_WORD_NONE && fixed)
            continue;
        if (key->n && i == HM_WORD_NONE)
            return hm_words_full(&reader->words, &block->err);
        if (key->n && !fixed)
            ++*hm_words_count(&reader->words, i);
        *to++ = i;
    }
    block->n_numbers += (size_t)(to - number);
    batch->n = 0;
    batch->used = 0;
    return HM_OK;
}

static enum hm_status take_words(struct reader *reader, struct block *block,
                                 struct hm_tokens *tokens)
{
    struct batch *batch = &reader->batch;
    enum hm_status status = HM_OK;
    batch->n = 0;
    batch->used = 0;
    while (!status) {
        block->end = hm_tokens_next(tokens);
        if (block->end == HM_TOKEN_WORD)
            put_word(reader, batch, tokens);
        else if (block->end == HM_TOKEN_LINE)
            batch->key[batch->n++].n = 0;
        else
            break;
        block->n_tokens += block->end == HM_TOKEN_WORD;
        if (batch->n == BATCH || batch->used > BATCH_BYTES)
            status = settle(reader, batch, block);
    }
    if (!status)
        status = settle(reader, batch, block);
    if (!status && block->ends_file)
        block->number[block->n_numbers++] = MARK;
    assert(block->n_numbers <= block->number_room);
    return status;
}

static void read_block(struct reader *reader, struct block *block)
{
    struct hm_tokens tokens;
    block->reader = reader->which;
    block->n_tokens = 0;
    block->n_numbers = 0;
    block->text[block->n_text] = '\n';
    hm_tokens_init(&tokens, block->text, block->n_text, reader->press->lowercase);
    block->status = make_room(block) != 0 ? hm_fail(&block->err, HM_ENOMEM, "out of memory")
                                          : take_words(reader, block, &tokens);
    block->n_newlines = tokens.n_newlines;
    block->n_invalid = tokens.n_invalid;
    block->n_too_long = tokens.n_too_long;
}

/* The next block in order, once it is filled; NULL at the end. */
static struct block *claim(struct press *press)
{
    pthread_mutex_lock(&press->mutex);
    struct block *block;
    for (;;) {
        block = &press->block[press->claimed % press->n_blocks];
        if (press->stop || block->state == FILLED)
            break;
        pthread_cond_wait(&press->changed, &press->mutex);
    }
    if (block->state == FILLED && !press->stop) {
        block->state = CLAIMED; /* or who goes round the ring faster would take it again */
        press->claimed++;
    } else {
        block = NULL;
    }
    pthread_mutex_unlock(&press->mutex);
    return block;
}

static void set_state(struct press *press, struct block *block, enum state state)
{
    pthread_mutex_lock(&press->mutex);
    block->state = state;
    pthread_cond_broadcast(&press->changed);
    pthread_mutex_unlock(&press->mutex);
}

static void *work(void *argument)
{
    struct reader *reader = argument;
    for (struct block *block; (block = claim(reader->press));) {
        read_block(reader, block);
        set_state(reader->press, block, DONE);
    }
    return NULL;
}

static enum hm_status start(struct press *press, unsigned threads, struct hm_err *err)
{
    pthread_mutex_init(&press->mutex, NULL);
    pthread_cond_init(&press->changed, NULL);
    press->n_blocks = 2 * threads;
    while (press->n_readers < threads) {
        struct reader *reader = &press->reader[press->n_readers];
        *reader = (struct reader){.press = press, .which = press->n_readers};
        if (pthread_create(&reader->thread, NULL, work, reader) != 0)
            break;
        press->n_readers++;
    }
    return press->n_readers ? HM_OK : hm_fail(err, HM_ENOMEM, "no thread could be started");
}

static void finish(struct press *press)
{
    pthread_mutex_lock(&press->mutex);
    press->stop = 1;
    pthread_cond_broadcast(&press->changed);
    pthread_mutex_unlock(&press->mutex);
    for (unsigned i = 0; i < press->n_readers; i++)
        pthread_join(press->reader[i].thread, NULL);
    for (unsigned i = 0; i < press->n_blocks; i++) {
        free(press->block[i].text);
        free(press->block[i].number);
    }
    pthread_cond_destroy(&press->changed);
    pthread_mutex_destroy(&press->mutex);
}

/* ---- the thread that reads ---- */

/* What reads the files and takes blocks back. */
struct source {
    struct hm_text *text;
    struct press *press;
    const char *const *file;
    const struct hm_progress *progress;
    char what[128];
    uint64_t filled, taken; /* blocks */
    uint64_t n_lines;       /* of the file whose blocks are taken back */
    char *rest;             /* [rest_room] what follows the last cut */
    size_t n_rest, rest_room;
};

/* The head of a block in the spool, before its numbers. */
struct spooled {
    uint32_t reader, n;
};

static enum hm_status no_text(const struct source *source, const struct block *block,
                              struct hm_err *err)
{
    const char *path = source->file[block->file];
    unsigned long long line = source->n_lines + block->n_newlines + 1;
    if (block->status) {
        if (err)
            *err = block->err;
        return hm_context(err, block->status, "%s", path);
    }
    return hm_fail(err, HM_EINPUT, "%s: line %llu: a NUL byte; this is not a text file", path,
                   line);
}

/* Waits for the oldest block and puts its numbers into the spool. */
static enum hm_status take_back(struct source *source, struct hm_err *err)
{
    struct press *press = source->press;
    struct hm_text *text = source->text;
    struct block *block = &press->block[source->taken++ % press->n_blocks];
    pthread_mutex_lock(&press->mutex);
    while (block->state != DONE)
        pthread_cond_wait(&press->changed, &press->mutex);
    block->state = EMPTY; /* readers that have gone round the ring look at it, too */
    pthread_mutex_unlock(&press->mutex);
    if (block->status || block->end == HM_TOKEN_NUL)
        return no_text(source, block, err);
    text->n_tokens += block->n_tokens;
    text->n_bytes += block->n_text;
    text->n_invalid += block->n_invalid;
    text->n_too_long += block->n_too_long;
    text->n_spooled += block->n_numbers;
    source->n_lines = block->ends_file ? 0 : source->n_lines + block->n_newlines;
    struct spooled head = {block->reader, (uint32_t)block->n_numbers};
    if (text->spool < 0)
        return HM_OK;
    enum hm_status status = hm_file_put(text->spool, &head, sizeof head, err);
    return status ? status : hm_file_put(text->spool, block->number, 4 * block->n_numbers, err);
}

/* Where text [n] can be cut: behind the last white space, 0 if there is none. */
static size_t cut_of(const char *text, size_t n)
{
    while (n && !((unsigned char)text[n - 1] <= ' ' && hm_is_space((unsigned char)text[n - 1])))
        n--;
    return n;
}

static enum hm_status enlarge(const struct source *source, struct block *block, struct hm_err *err)
{
    size_t room = block->room ? 2 * block->room : BLOCK_BYTES;
    if (room > BLOCK_BYTES_MAX)
        return hm_fail(err, HM_EINPUT,
                       "%s: %d MiB without white space; is this a text, with words between "
                       "blanks?",
                       source->file[block->file], BLOCK_BYTES_MAX >> 20);
    char *text = realloc(block->text, room + 1);
    if (!text)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", source->file[block->file]);
    block->text = text;
    block->room = room;
    return HM_OK;
}

/* Keeps what follows the cut for the next block. */
static enum hm_status keep_rest(struct source *source, const struct block *block, size_t cut,
                                struct hm_err *err)
{
    size_t n = block->n_text - cut;
    if (n > source->rest_room) {
        free(source->rest);
        source->rest = malloc(n);
        source->rest_room = source->rest ? n : 0;
        if (!source->rest)
            return hm_fail(err, HM_ENOMEM, "out of memory");
    }
    if (n)
        memcpy(source->rest, block->text + cut, n);
    source->n_rest = n;
    return HM_OK;
}

static enum hm_status read_more(struct source *source, struct hm_input *input, struct block *block,
                                struct hm_err *err)
{
    size_t n;
    enum hm_status status = HM_OK;
    if (block->n_text == block->room)
        status = enlarge(source, block, err);
    if (!status)
        status =
            hm_input_read(input, block->text + block->n_text, block->room - block->n_text, &n, err);
    if (status)
        return status;
    block->n_text += n;
    block->ends_file = n == 0;
    if (hm_report(source->progress, source->what, (double)hm_input_position(input),
                  (double)hm_input_size(input), "bytes"))
        return hm_fail(err, HM_ESTOPPED, "%s: stopped while reading", source->file[block->file]);
    return HM_OK;
}

/* Reads on until the block is full and can be cut, or the file is over. */
static enum hm_status fill(struct source *source, struct hm_input *input, struct block *block,
                           struct hm_err *err)
{
    enum hm_status status = HM_OK;
    size_t cut = 0;
    block->n_text = source->n_rest;
    while (block->room < source->n_rest && !status)
        status = enlarge(source, block, err);
    if (status)
        return status;
    if (source->n_rest)
        memcpy(block->text, source->rest, source->n_rest);
    source->n_rest = 0;
    for (block->ends_file = 0; !status && !block->ends_file && !cut;) {
        status = read_more(source, input, block, err);
        if (!status && !block->ends_file && block->n_text == block->room)
            cut = cut_of(block->text, block->n_text);
    }
    if (status || block->ends_file)
        return status;
    status = keep_rest(source, block, cut, err);
    block->n_text = cut;
    return status;
}

/* Some editors put a byte order mark before a text. */
static void drop_mark(struct block *block)
{
    if (block->n_text < 3 || memcmp(block->text, "\xEF\xBB\xBF", 3) != 0)
        return;
    memmove(block->text, block->text + 3, block->n_text - 3);
    block->n_text -= 3;
}

static enum hm_status read_blocks(struct source *source, struct hm_input *input, unsigned file,
                                  struct hm_err *err)
{
    struct press *press = source->press;
    enum hm_status status = HM_OK;
    for (int first = 1, over = 0; !status && !over; first = 0) {
        if (source->filled - source->taken == press->n_blocks)
            status = take_back(source, err);
        struct block *block = &press->block[source->filled % press->n_blocks];
        block->file = file;
        if (!status)
            status = fill(source, input, block, err);
        if (status)
            break;
        if (first)
            drop_mark(block);
        over = block->ends_file;
        source->filled++;
        set_state(press, block, FILLED);
    }
    return status;
}

static enum hm_status read_file(struct source *source, unsigned file, struct hm_err *err)
{
    struct hm_input *input;
    const char *path = source->file[file], *slash = strrchr(path, '/');
    snprintf(source->what, sizeof source->what, "read %s", slash && slash[1] ? slash + 1 : path);
    enum hm_status status = hm_input_hint(hm_input_open(&input, path, err), path, err);
    if (!status)
        status = read_blocks(source, input, file, err);
    hm_input_close(input);
    return status;
}

static enum hm_status read_files(struct source *source, unsigned n_files, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (unsigned file = 0; file < n_files && !status; file++)
        status = read_file(source, file, err);
    while (source->taken < source->filled && !status)
        status = take_back(source, err);
    free(source->rest);
    return status;
}

/* ---- one vocabulary ---- */

/* Adds a reader's words to those of all; its numbers become theirs in id_of. */
static enum hm_status add_words(struct hm_words *all, const struct hm_words *own, uint32_t *id_of,
                                struct hm_err *err)
{
    for (uint32_t i = 0; i < own->n; i++) {
        id_of[i] = hm_words_add(all, hm_words_text(own, i), hm_words_length(own, i));
        if (id_of[i] == HM_WORD_NONE)
            return hm_words_full(all, err);
        *hm_words_count(all, id_of[i]) += *hm_words_count(own, i);
    }
    return HM_OK;
}

static enum hm_status join_words(struct press *press, struct hm_text *text, struct hm_words *all,
                                 struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (unsigned r = 0; r < press->n_readers && !status; r++) {
        struct hm_words *own = &press->reader[r].words;
        text->id_of[r] = malloc((own->n + (size_t)1) * sizeof **text->id_of);
        status = text->id_of[r] ? add_words(all, own, text->id_of[r], err)
                                : hm_fail(err, HM_ENOMEM, "out of memory");
        hm_words_fini(own);
    }
    text->n_readers = press->n_readers;
    return status;
}

static enum hm_status too_rare(const struct hm_words *words, const char *path, uint64_t min_count,
                               struct hm_err *err)
{
    if (!words->n)
        return hm_fail(err, HM_EINPUT, "%s: there are no words in it", path);
    return hm_fail(err, HM_EINPUT,
                   "%s: none of the %u different words occurs %llu times or more; lower "
                   "--min-count",
                   path, words->n, (unsigned long long)min_count);
}

static enum hm_status rank(struct press *press, struct hm_text *text, const char *path,
                           const struct hm_corpus_options *options, struct hm_err *err)
{
    struct hm_words all = {0};
    uint32_t n[HM_READERS_MAX] = {0}, *rank_of = NULL;
    uint64_t min_count = options->min_count ? options->min_count : HM_CORPUS_MIN_COUNT;
    for (unsigned r = 0; r < press->n_readers; r++)
        n[r] = press->reader[r].words.n;
    enum hm_status status = join_words(press, text, &all, err);
    if (!status && !(rank_of = malloc((all.n + (size_t)1) * sizeof *rank_of)))
        status = hm_fail(err, HM_ENOMEM, "out of memory");
    if (!status)
        status = hm_words_rank(&all, min_count, options->vocab_max, &text->vocab, rank_of, err);
    text->n_different = all.n;
    if (!status && !text->vocab.n)
        status = too_rare(&all, path, min_count, err);
    for (unsigned r = 0; r < text->n_readers && !status; r++)
        for (uint32_t i = 0; i < n[r]; i++)
            text->id_of[r][i] = rank_of[text->id_of[r][i]];
    free(rank_of);
    hm_words_fini(&all);
    return status;
}

/* ---- all of it ---- */

/* The vocabulary that the options give, if they do. */
static enum hm_status given(struct hm_text *text, struct hm_words *fixed,
                            const struct hm_corpus_options *options,
                            const struct hm_progress *progress, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    if (options->vocab_file)
        status = hm_vocab_read(&text->vocab, &options->vocab_file, 1,
                               options->min_count ? options->min_count : 1, options->vocab_max,
                               progress, err);
    else if (options->vocab)
        status = hm_vocab_copy(&text->vocab, options->vocab, err);
    if (!status && text->vocab.n)
        status = hm_words_of_vocab(fixed, &text->vocab, err);
    return status;
}

enum hm_status hm_text_read(struct hm_text *text, const char *const *file, unsigned n_files,
                            const struct hm_corpus_options *options, int spool,
                            const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_words fixed = {0};
    unsigned threads = options->threads < 1                ? 1
                       : options->threads > HM_READERS_MAX ? HM_READERS_MAX
                                                           : options->threads;
    *text = (struct hm_text){.spool = spool};
    struct press *press = calloc(1, sizeof *press);
    if (!press)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    struct source source = {.text = text, .press = press, .file = file, .progress = progress};
    enum hm_status status = given(text, &fixed, options, progress, err);
    press->lowercase = options->lowercase;
    press->fixed = text->vocab.n ? &fixed : NULL;
    if (!status) {
        status = start(press, threads, err);
        if (!status)
            status = read_files(&source, n_files, err);
        finish(press);
    }
    if (!status && !press->fixed)
        status = rank(press, text, file[0], options, err);
    for (unsigned r = 0; r < press->n_readers; r++)
        hm_words_fini(&press->reader[r].words);
    hm_words_fini(&fixed);
    free(press);
    return status;
}

void hm_text_close(struct hm_text *text)
{
    hm_vocab_close(&text->vocab);
    for (unsigned r = 0; r < HM_READERS_MAX; r++)
        free(text->id_of[r]);
    if (text->spool >= 0)
        close(text->spool);
    *text = (struct hm_text){.spool = -1};
}

/* ---- once more ---- */

/* Where numbers come from and ids go to. */
struct pass {
    const struct hm_text *text;
    enum hm_status (*put)(void *context, const uint32_t *id, size_t n, struct hm_err *err);
    void *context;
    uint64_t at, done; /* bytes of the spool; numbers */
    uint32_t last;     /* id before this one; a mark at first */
    uint32_t *number;  /* [PIECE] */
};

static enum hm_status get(struct pass *pass, void *into, size_t n, struct hm_err *err)
{
    for (uint8_t *to = into; n;) {
        ssize_t got = pread(pass->text->spool, to, n, (off_t)pass->at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return hm_fail(err, HM_EIO, "read back what was put aside: %s",
                           got ? strerror(errno) : "it is gone");
        to += got;
        pass->at += (uint64_t)got;
        n -= (size_t)got;
    }
    return HM_OK;
}

/* Numbers become ids in place; what has none is left out, and so are lines without any. */
static size_t translate(struct pass *pass, const uint32_t *id_of, size_t n)
{
    uint32_t *to = pass->number, mark = pass->text->vocab.n, last = pass->last;
    size_t n_ids = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t x = to[i], id = x == MARK ? mark : id_of ? id_of[x] : x;
        if (id == HM_WORD_NONE || (id == mark && last == mark))
            continue;
        to[n_ids++] = last = id;
    }
    pass->last = last;
    return n_ids;
}

static enum hm_status pass_block(struct pass *pass, const struct hm_progress *progress,
                                 struct hm_err *err)
{
    struct spooled head;
    enum hm_status status = get(pass, &head, sizeof head, err);
    const uint32_t *id_of = status ? NULL : pass->text->id_of[head.reader];
    for (uint32_t left = status ? 0 : head.n; left && !status;) {
        size_t n = left < PIECE ? left : PIECE;
        status = get(pass, pass->number, 4 * n, err);
        if (status)
            break;
        size_t n_ids = translate(pass, id_of, n);
        if (n_ids)
            status = pass->put(pass->context, pass->number, n_ids, err);
        left -= (uint32_t)n;
        pass->done += n;
    }
    if (!status && hm_report(progress, "number words", (double)pass->done,
                             (double)pass->text->n_spooled, "words"))
        status = hm_fail(err, HM_ESTOPPED, "stopped while numbering words");
    return status;
}

enum hm_status hm_text_ids(const struct hm_text *text,
                           enum hm_status (*put)(void *context, const uint32_t *id, size_t n,
                                                 struct hm_err *err),
                           void *context, const struct hm_progress *progress, struct hm_err *err)
{
    struct pass pass = {.text = text, .put = put, .context = context, .last = text->vocab.n};
    enum hm_status status = HM_OK;
    pass.number = malloc(PIECE * sizeof *pass.number);
    if (!pass.number)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    while (pass.done < text->n_spooled && !status)
        status = pass_block(&pass, progress, err);
    free(pass.number);
    return status;
}
