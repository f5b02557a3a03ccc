#include "models/synth_svm.h"

#include "models/synth_model.h"
#include "models/whole_file.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS_MAX = 64,
    BLOCK_ROWS =
        256, /* about 300 KB of text: stays in the second-level cache until it is written */
    FIELD_BYTES_MAX = 24,
    PATH_BYTES_MAX = 4096,
    ROW_BYTES_MAX = 4 + HM_SYNTH_TOKENS_MAX * FIELD_BYTES_MAX,
};

/* ---- text ---- */

static char *put_number(char *to, unsigned n)
{
    char digits[10];
    int k = 0;
    do
        digits[k++] = (char)('0' + n % 10);
    while (n /= 10);
    while (k)
        *to++ = digits[--k];
    return to;
}

/* Writes value in (1e-9, 1] with 6 significant digits, rounded half up: scaling is one product, so
 * it is the same everywhere. */
static char *put_value(char *to, double value)
{
    static const double power[] = {1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    int zeros = 0;
    while (value * power[zeros] < 99999.5)
        zeros++;
    unsigned digits = (unsigned)(value * power[zeros] + 0.5);
    if (digits ==
        1000000) { /* only the value 1 gets here: the loop stops at 99999.5, which is rounded up */
        *to++ = '1';
        return to;
    }
    *to++ = '0';
    *to++ = '.';
    for (int i = 0; i < zeros; i++)
        *to++ = '0';
    for (int i = 5; i >= 0; i--, digits /= 10)
        to[i] = (char)('0' + digits % 10);
    return to + 6;
}

static char *put_document(char *to, const struct hm_synth_document *document)
{
    *to++ = document->label > 0 ? '+' : '-';
    *to++ = '1';
    for (unsigned i = 0; i < document->n; i++) {
        *to++ = ' ';
        to = put_number(to, document->feature[i] + 1u);
        *to++ = ':';
        to = put_value(to, document->value[i]);
    }
    *to++ = '\n';
    return to;
}

/* ---- blocks made by threads, written in order ---- */

/* A ring of blocks. Workers claim numbers in order, the writer takes them in order; all fields
 * under the mutex except a claimed block's text and length, which belong to its worker until
 * `ready`, then to the writer. */
struct press {
    const struct hm_synth_model *model;
    uint64_t first_row, end_row, n_blocks;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t claimed, written; /* blocks */
    int stop;
    unsigned n_slots, n_threads;
    pthread_t thread[THREADS_MAX];
    struct press_slot {
        char *text; /* [BLOCK_ROWS * ROW_BYTES_MAX] */
        size_t length;
        int ready;
    } slot[2 * THREADS_MAX];
};

static void print_block(const struct press *press, uint64_t block,
                        struct hm_synth_document *document, struct press_slot *slot)
{
    uint64_t from = press->first_row + block * BLOCK_ROWS;
    uint64_t to = from + BLOCK_ROWS < press->end_row ? from + BLOCK_ROWS : press->end_row;
    char *p = slot->text;
    for (uint64_t row = from; row < to; row++) {
        hm_synth_draw(press->model, row, document);
        p = put_document(p, document);
    }
    slot->length = (size_t)(p - slot->text);
}

/* Waits for a free slot and claims the next block; 0 when there is none left. */
static int claim(struct press *press, uint64_t *block)
{
    pthread_mutex_lock(&press->mutex);
    while (!press->stop && press->claimed < press->n_blocks &&
           press->claimed >= press->written + press->n_slots)
        pthread_cond_wait(&press->changed, &press->mutex);
    int got = !press->stop && press->claimed < press->n_blocks;
    *block = press->claimed;
    press->claimed += (uint64_t)got;
    pthread_mutex_unlock(&press->mutex);
    return got;
}

static void set_ready(struct press *press, struct press_slot *slot)
{
    pthread_mutex_lock(&press->mutex);
    slot->ready = 1;
    pthread_cond_broadcast(&press->changed);
    pthread_mutex_unlock(&press->mutex);
}

static void stop(struct press *press)
{
    pthread_mutex_lock(&press->mutex);
    press->stop = 1;
    pthread_cond_broadcast(&press->changed);
    pthread_mutex_unlock(&press->mutex);
}

static void *work(void *argument)
{
    struct press *press = argument;
    struct hm_synth_document *document = calloc(1, sizeof *document);
    uint64_t block;
    if (!document)
        stop(press);
    while (document && claim(press, &block)) {
        struct press_slot *slot = &press->slot[block % press->n_slots];
        print_block(press, block, document, slot);
        set_ready(press, slot);
    }
    free(document);
    return NULL;
}

/* Waits for the next block in order; NULL when a worker had to give up. */
static struct press_slot *await(struct press *press, uint64_t block)
{
    struct press_slot *slot = &press->slot[block % press->n_slots];
    pthread_mutex_lock(&press->mutex);
    while (!slot->ready && !press->stop)
        pthread_cond_wait(&press->changed, &press->mutex);
    int ready = slot->ready;
    pthread_mutex_unlock(&press->mutex);
    return ready ? slot : NULL;
}

static void release(struct press *press, struct press_slot *slot)
{
    pthread_mutex_lock(&press->mutex);
    slot->ready = 0;
    press->written++;
    pthread_cond_broadcast(&press->changed);
    pthread_mutex_unlock(&press->mutex);
}

static enum hm_status write_all(int fd, const char *text, size_t n, struct hm_err *err)
{
    while (n) {
        ssize_t done = write(fd, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return hm_fail(err, HM_EIO, "%s", strerror(errno));
        text += done;
        n -= (size_t)done;
    }
    return HM_OK;
}

static enum hm_status write_blocks(struct press *press, int fd, const char *what,
                                   const struct hm_progress *progress, struct hm_err *err)
{
    uint64_t n_rows = press->end_row - press->first_row;
    for (uint64_t block = 0; block < press->n_blocks; block++) {
        struct press_slot *slot = await(press, block);
        if (!slot)
            return hm_fail(err, HM_ENOMEM, "out of memory");
        enum hm_status status = write_all(fd, slot->text, slot->length, err);
        release(press, slot);
        if (status != HM_OK)
            return status;
        uint64_t done = (block + 1) * BLOCK_ROWS;
        if (hm_report(progress, what, (double)(done < n_rows ? done : n_rows), (double)n_rows,
                      "rows"))
            return hm_fail(err, HM_ESTOPPED, "stopped");
    }
    return HM_OK;
}

static enum hm_status start(struct press *press, unsigned threads, struct hm_err *err)
{
    press->n_slots = 2 * threads;
    for (unsigned i = 0; i < press->n_slots; i++) {
        press->slot[i].text = malloc((size_t)BLOCK_ROWS * ROW_BYTES_MAX);
        if (!press->slot[i].text)
            return hm_fail(err, HM_ENOMEM, "out of memory");
    }
    while (press->n_threads < threads &&
           pthread_create(&press->thread[press->n_threads], NULL, work, press) == 0)
        press->n_threads++;
    return press->n_threads ? HM_OK : hm_fail(err, HM_ENOMEM, "no thread could be started");
}

static void finish(struct press *press)
{
    stop(press);
    for (unsigned i = 0; i < press->n_threads; i++)
        pthread_join(press->thread[i], NULL);
    for (unsigned i = 0; i < press->n_slots; i++)
        free(press->slot[i].text);
    pthread_cond_destroy(&press->changed);
    pthread_mutex_destroy(&press->mutex);
}

struct part {
    const char *name;
    uint64_t first_row, end_row;
};

static enum hm_status print(const struct hm_synth_model *model, const struct part *part,
                            unsigned threads, int fd, const struct hm_progress *progress,
                            struct hm_err *err)
{
    char what[64];
    struct press *press = calloc(1, sizeof *press);
    if (!press)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    press->model = model;
    press->first_row = part->first_row;
    press->end_row = part->end_row;
    press->n_blocks = (part->end_row - part->first_row + BLOCK_ROWS - 1) / BLOCK_ROWS;
    pthread_mutex_init(&press->mutex, NULL);
    pthread_cond_init(&press->changed, NULL);
    snprintf(what, sizeof what, "write %s", part->name);
    enum hm_status status = start(press, threads, err);
    if (status == HM_OK)
        status = write_blocks(press, fd, what, progress, err);
    finish(press);
    free(press);
    return status;
}

/* ---- files ---- */

/* What write_part gives to its callback. */
struct print_job {
    const struct hm_synth_model *model;
    const struct part *part;
    unsigned threads;
    const struct hm_progress *progress;
};

static enum hm_status print_job(void *context, int fd, struct hm_err *err)
{
    const struct print_job *job = context;
    return print(job->model, job->part, job->threads, fd, job->progress, err);
}

enum hm_status hm_synth_svm_write(const struct hm_synth_svm *synth, const char *dir,
                                  const struct hm_progress *progress, struct hm_err *err)
{
    assert(synth && dir);
    struct hm_synth_model model;
    unsigned threads = synth->threads < 1             ? 1
                       : synth->threads > THREADS_MAX ? THREADS_MAX
                                                      : synth->threads;
    uint64_t train = synth->train_rows, all = train + synth->test_rows;
    if (train == 0 || all < train)
        return hm_fail(err, HM_EUSAGE,
                       "%llu training rows and %llu test rows: at least 1 to train on is needed",
                       (unsigned long long)train, (unsigned long long)synth->test_rows);
    if (hm_report(progress, "make topics", 0, 1, "model"))
        return hm_fail(err, HM_ESTOPPED, "stopped");
    enum hm_status status = hm_folder_make(dir, err);
    if (status == HM_OK)
        status = hm_synth_model_init(&model, synth->seed, err);
    if (status != HM_OK)
        return status;
    struct part part[2] = {{"train.svm", 0, train}, {"test.svm", train, all}};
    for (int i = 0; i < 2 && status == HM_OK; i++) {
        struct print_job job = {&model, &part[i], threads, progress};
        char path[PATH_BYTES_MAX];
        snprintf(path, sizeof path, "%s/%s", dir, part[i].name);
        if (part[i].end_row > part[i].first_row)
            status = hm_whole_file(path, print_job, &job, err);
    }
    hm_synth_model_fini(&model);
    return status;
}
