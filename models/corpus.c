#include "models/corpus.h"

#include "models/corpus_cache.h"
#include "models/corpus_read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is opened, and how. */
struct job {
    const char *const *file;
    unsigned n_files;
    struct hm_corpus_options options;
    const struct hm_progress *progress;
    struct hm_cache cache;
    struct hm_text text;
};

static enum hm_status check_usage(const struct job *job, struct hm_err *err)
{
    if (job->n_files == 0 || job->n_files > HM_CORPUS_FILES_MAX)
        return hm_fail(err, HM_EUSAGE, "a corpus is 1 to %d files, not %u", HM_CORPUS_FILES_MAX,
                       job->n_files);
    if (job->options.vocab_max > HM_WORDS_MAX)
        return hm_fail(err, HM_EUSAGE, "a vocabulary of %u words: at most %d are possible",
                       job->options.vocab_max, HM_WORDS_MAX);
    return HM_OK;
}

/* The files must be the ones that the fingerprint was taken of. */
static enum hm_status check_unchanged(const struct job *job, struct hm_err *err)
{
    struct hm_cache now;
    enum hm_status status = hm_corpus_cache_find(&now, job->file, job->n_files, &job->options, err);
    if (!status && memcmp(now.fingerprint, job->cache.fingerprint, sizeof now.fingerprint) != 0)
        return hm_fail(err, HM_EINPUT,
                       "%s: changed while it was read; start again when it is complete",
                       job->file[0]);
    return status;
}

static enum hm_status no_words(const struct job *job, struct hm_err *err)
{
    const struct hm_corpus_options *options = &job->options;
    return hm_fail(err, HM_EINPUT, "%s: none of its %llu words is in %s", job->file[0],
                   (unsigned long long)job->text.n_tokens,
                   options->vocab_file ? options->vocab_file : "the vocabulary");
}

/* A file without a name: beside the cache, where there is room for as much, or in memory. */
static int open_spool(const char *place)
{
    char folder[HM_CACHE_PATH_MAX];
    int fd = -1;
    if (place) {
        snprintf(folder, sizeof folder, "%s", place);
        char *slash = strrchr(folder, '/');
        if (slash)
            slash[slash == folder] = 0;
        fd = open(slash ? folder : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    return fd >= 0 ? fd : memfd_create("hogmesh corpus", MFD_CLOEXEC);
}

static enum hm_status write_corpus(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    return hm_corpus_write(&job->text, job->cache.fingerprint, fd, job->progress, err);
}

/* Into the cache at `place`, and from there into the address space. */
static enum hm_status settle_in_cache(struct job *job, const char *place, struct hm_corpus *corpus,
                                      struct hm_err *err)
{
    int damaged = 0;
    enum hm_status status = hm_cache_publish(place, write_corpus, job, err);
    if (!status && !hm_corpus_cache_load(&job->cache, corpus, &damaged))
        status = hm_fail(err, HM_EIO, "%s: gone as soon as it was written", place);
    return status;
}

/* Into a file that is nowhere but in memory. */
static enum hm_status settle_in_memory(struct job *job, struct hm_corpus *corpus,
                                       struct hm_err *err)
{
    int fd = memfd_create("hogmesh corpus", MFD_CLOEXEC);
    if (fd < 0)
        return hm_fail(err, HM_ENOMEM, "no memory for the corpus: %s", strerror(errno));
    enum hm_status status = write_corpus(job, fd, err);
    if (!status && hm_corpus_map(fd, corpus) != 0)
        status = hm_fail(err, HM_ENOMEM, "no memory for the corpus");
    close(fd);
    return status == HM_EINPUT ? no_words(job, err) : status;
}

/* Reads the text; place is where the cache goes, or NULL. */
static enum hm_status read_text(struct job *job, const char *place, struct hm_err *err)
{
    int spool = open_spool(place);
    if (spool < 0)
        return hm_fail(err, HM_ENOMEM, "no memory to put words aside: %s", strerror(errno));
    enum hm_status status =
        hm_text_read(&job->text, job->file, job->n_files, &job->options, spool, job->progress, err);
    if (!status)
        status = check_unchanged(job, err);
    return status;
}

/* A full disk must not end a run: what cannot be written there is kept in memory. *place becomes
 * NULL then. */
static enum hm_status build(struct job *job, const char **place, struct hm_corpus *corpus,
                            struct hm_err *err)
{
    enum hm_status status = read_text(job, *place, err);
    if (status == HM_EIO && *place) {
        *place = NULL;
        hm_text_close(&job->text);
        status = read_text(job, NULL, err);
    }
    if (status)
        return status;
    if (*place) {
        status = settle_in_cache(job, *place, corpus, err);
        if (!status || status == HM_ESTOPPED)
            return status;
        *place = NULL;
    }
    return settle_in_memory(job, corpus, err);
}

/* Builds unless another process does so first; *place becomes the cache used, or NULL. */
static enum hm_status build_once(struct job *job, const char **place, struct hm_corpus *corpus,
                                 struct hm_err *err)
{
    const char *writable;
    int damaged = 0;
    enum hm_status status = hm_cache_lock(&job->cache, job->progress, &writable, err);
    if (status)
        return status;
    *place = hm_corpus_cache_load(&job->cache, corpus, &damaged);
    corpus->from_cache = *place != NULL;
    if (!*place) {
        *place = writable;
        status = build(job, place, corpus, err);
        hm_text_close(&job->text);
    }
    hm_cache_unlock(&job->cache);
    return status;
}

static enum hm_status open_cached(struct job *job, struct hm_corpus *corpus, struct hm_err *err)
{
    int damaged = 0;
    enum hm_status status = HM_OK;
    const char *place = hm_corpus_cache_load(&job->cache, corpus, &damaged);
    if (damaged)
        hm_report(job->progress, "the cache is damaged: make it anew", 0, 0, "");
    if (place)
        corpus->from_cache = 1;
    else
        status = build_once(job, &place, corpus, err);
    if (!status && place)
        snprintf(corpus->cache_path, sizeof corpus->cache_path, "%s", place);
    corpus->cache_was_damaged = !status && damaged;
    return status;
}

enum hm_status hm_corpus_open(struct hm_corpus *corpus, const char *const *file, unsigned n_files,
                              const struct hm_corpus_options *options,
                              const struct hm_progress *progress, struct hm_err *err)
{
    assert(corpus && file && options);
    assert(!options->vocab || (options->vocab->n && !options->vocab_file));
    struct job job = {.file = file,
                      .n_files = n_files,
                      .options = *options,
                      .progress = progress,
                      .text = {.spool = -1}};
    *corpus = (struct hm_corpus){0};
    if (!options->min_count)
        job.options.min_count = options->vocab_file || options->vocab ? 1 : HM_CORPUS_MIN_COUNT;
    enum hm_status status = check_usage(&job, err);
    if (!status)
        status = hm_corpus_cache_find(&job.cache, file, n_files, &job.options, err);
    if (status)
        return status;
    if (options->no_cache)
        hm_cache_forbid(&job.cache);
    return open_cached(&job, corpus, err);
}

void hm_corpus_close(struct hm_corpus *corpus)
{
    if (corpus->map)
        munmap(corpus->map, corpus->map_bytes);
    *corpus = (struct hm_corpus){0};
}

void hm_corpus_remark(uint64_t n_invalid, uint64_t n_too_long,
                      void (*say)(void *context, const char *text), void *context)
{
    char text[128];
    if (n_invalid) {
        snprintf(text, sizeof text, "%llu bytes of the text are not UTF-8; each counts as U+FFFD",
                 (unsigned long long)n_invalid);
        say(context, text);
    }
    if (n_too_long) {
        snprintf(text, sizeof text, "%llu words of more than %d bytes are left out",
                 (unsigned long long)n_too_long, HM_WORD_BYTES_MAX);
        say(context, text);
    }
}

uint64_t hm_corpus_cut(const struct hm_corpus *corpus, uint64_t at)
{
    assert(at <= corpus->n_ids);
    uint64_t end =
        corpus->n_ids - at < HM_CORPUS_CUT_REACH ? corpus->n_ids : at + HM_CORPUS_CUT_REACH;
    for (uint64_t i = at ? at - 1 : end; i < end; i++)
        if (corpus->id[i] == corpus->vocab.n)
            return i + 1;
    return at;
}
