#include "models/corpus_cache.h"

#include "models/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

_Static_assert(sizeof(struct hm_corpus_header) == 160, "the header has no padding");
_Static_assert(HM_CORPUS_FILES_MAX + 1 <= HM_CACHE_SOURCES_MAX, "and the vocabulary");
#define BYTE_ORDER_MARK 0x01020304u

#ifdef HM_SMALL_BUFFERS
enum { OUT_IDS = 16 };
#else
enum { OUT_IDS = 1 << 18 };
#endif

/* ---- what the cache must say ---- */

enum hm_status hm_corpus_cache_find(struct hm_cache *cache, const char *const *file,
                                    unsigned n_files, const struct hm_corpus_options *options,
                                    struct hm_err *err)
{
    uint64_t parameters[] = {HM_CORPUS_VERSION,
                             n_files,
                             options->min_count,
                             options->vocab_max,
                             options->lowercase != 0,
                             options->vocab_file != NULL,
                             options->vocab ? options->vocab->fingerprint : 0};
    struct hm_cache_key key = {.n_files = n_files,
                               .parameters = parameters,
                               .n_parameters = sizeof parameters,
                               .plain = n_files == 1 && !options->vocab_file && !options->vocab &&
                                        !options->lowercase && !options->vocab_max &&
                                        options->min_count == HM_CORPUS_MIN_COUNT};
    for (unsigned i = 0; i < n_files; i++)
        key.file[i] = file[i];
    if (options->vocab_file)
        key.file[key.n_files++] = options->vocab_file;
    return hm_cache_find(cache, &key, err);
}

/* ---- reading ---- */

static uint64_t header_hash(const struct hm_corpus_header *h)
{
    return XXH3_64bits(h, offsetof(struct hm_corpus_header, self));
}

static uint64_t aligned(uint64_t at)
{
    return (at + HM_CORPUS_ALIGN - 1) / HM_CORPUS_ALIGN * HM_CORPUS_ALIGN;
}

static void lay_out(const struct hm_corpus_header *h, struct hm_corpus_layout *layout)
{
    uint64_t bytes[HM_CORPUS_SECTIONS] = {8 * (uint64_t)h->n_vocab, 4 * ((uint64_t)h->n_vocab + 1),
                                          h->text_bytes, 4 * h->n_ids};
    layout->total = sizeof *h;
    for (int s = 0; s < HM_CORPUS_SECTIONS; s++) {
        layout->at[s] = aligned(layout->total);
        layout->bytes[s] = bytes[s];
        layout->total = layout->at[s] + bytes[s];
    }
}

int hm_corpus_layout(const struct hm_corpus_header *h, uint64_t file_bytes,
                     struct hm_corpus_layout *layout)
{
    if (h->n_ids > file_bytes || h->text_bytes > file_bytes || h->text_bytes > UINT32_MAX ||
        h->n_vocab < 1 || h->n_vocab > HM_WORDS_MAX || h->n_ids < 1)
        return -1;
    lay_out(h, layout);
    return layout->total == file_bytes ? 0 : -1;
}

/* Every id is one, and there are as many lines as the header says. */
static int ids_sound(const struct hm_corpus *corpus)
{
    uint32_t largest = 0, mark = corpus->vocab.n;
    uint64_t n_lines = 0;
    for (uint64_t i = 0; i < corpus->n_ids; i++) {
        largest = corpus->id[i] > largest ? corpus->id[i] : largest;
        n_lines += corpus->id[i] == mark;
    }
    return largest <= mark && n_lines == corpus->n_lines && corpus->id[corpus->n_ids - 1] == mark &&
           corpus->n_words == corpus->n_ids - n_lines;
}

/* What is mapped is what was written: no flipped bit can change a result or make an id leave its
 * array. */
static int is_sound(const struct hm_corpus_header *h, const struct hm_corpus_layout *layout,
                    const struct hm_corpus *corpus)
{
    const uint8_t *base = corpus->map;
    for (int s = 0; s < HM_CORPUS_SECTIONS; s++)
        if (XXH3_64bits(base + layout->at[s], layout->bytes[s]) != h->checksum[s])
            return 0;
    return hm_vocab_sound(&corpus->vocab, h->text_bytes) &&
           hm_vocab_fingerprint(&corpus->vocab) == h->vocab_fingerprint && ids_sound(corpus);
}

static void view(const struct hm_corpus_header *h, const struct hm_corpus_layout *layout,
                 const uint8_t *base, struct hm_corpus *corpus)
{
    *corpus = (struct hm_corpus){
        .vocab = {.n = h->n_vocab,
                  .count = (const void *)(base + layout->at[HM_CORPUS_COUNT]),
                  .start = (const void *)(base + layout->at[HM_CORPUS_START]),
                  .text = (const void *)(base + layout->at[HM_CORPUS_TEXT]),
                  .total = h->total,
                  .fingerprint = h->vocab_fingerprint},
        .id = (const void *)(base + layout->at[HM_CORPUS_ID]),
        .n_ids = h->n_ids,
        .n_words = h->n_words,
        .n_lines = h->n_lines,
        .n_tokens = h->n_tokens,
        .n_bytes = h->n_bytes,
        .n_invalid = h->n_invalid,
        .n_too_long = h->n_too_long,
        .map = (void *)(uintptr_t)base,
        .map_bytes = layout->total,
    };
}

static int map_corpus(int fd, const struct hm_corpus_header *h, struct hm_corpus *corpus)
{
    struct hm_corpus_layout layout;
    struct stat st;
    if (fstat(fd, &st) != 0 || hm_corpus_layout(h, (uint64_t)st.st_size, &layout) != 0)
        return -1;
    const uint8_t *base = mmap(NULL, layout.total, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    view(h, &layout, base, corpus);
    if (is_sound(h, &layout, corpus))
        return 0;
    hm_corpus_close(corpus);
    return -1;
}

static int get_header(int fd, struct hm_corpus_header *h)
{
    return pread(fd, h, sizeof *h, 0) == (ssize_t)sizeof *h &&
           memcmp(h->magic, HM_CORPUS_MAGIC, 8) == 0 && h->version == HM_CORPUS_VERSION &&
           h->byte_order == BYTE_ORDER_MARK;
}

int hm_corpus_map(int fd, struct hm_corpus *corpus)
{
    struct hm_corpus_header h;
    return get_header(fd, &h) && h.self == header_hash(&h) ? map_corpus(fd, &h, corpus) : -1;
}

static int load(const struct hm_cache *cache, const char *place, struct hm_corpus *corpus,
                int *damaged)
{
    struct hm_corpus_header h;
    int fd = open(place, O_RDONLY | O_CLOEXEC), bad = -1;
    if (fd < 0)
        return -1;
    if (get_header(fd, &h)) {
        int whole = h.self == header_hash(&h);
        if (whole && memcmp(h.fingerprint, cache->fingerprint, sizeof h.fingerprint) == 0)
            bad = map_corpus(fd, &h, corpus);
        *damaged |=
            !whole || (bad && memcmp(h.fingerprint, cache->fingerprint, sizeof h.fingerprint) == 0);
    }
    close(fd);
    return bad;
}

const char *hm_corpus_cache_load(const struct hm_cache *cache, struct hm_corpus *corpus,
                                 int *damaged)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++)
        if (cache->place[i][0] && load(cache, cache->place[i], corpus, damaged) == 0)
            return cache->place[i];
    return NULL;
}

/* ---- writing ---- */

struct writer {
    int fd;
    uint32_t mark;
    uint64_t n_ids, n_lines;
    XXH3_state_t *hash;
    size_t held;
    uint32_t id[OUT_IDS];
};

static enum hm_status flush(struct writer *writer, struct hm_err *err)
{
    size_t n = writer->held;
    writer->held = 0;
    XXH3_64bits_update(writer->hash, writer->id, 4 * n);
    return hm_file_put(writer->fd, writer->id, 4 * n, err);
}

static enum hm_status put_ids(void *context, const uint32_t *id, size_t n, struct hm_err *err)
{
    struct writer *writer = context;
    enum hm_status status = HM_OK;
    writer->n_ids += n;
    for (size_t i = 0; i < n; i++)
        writer->n_lines += id[i] == writer->mark;
    while (n && !status) {
        size_t room = OUT_IDS - writer->held, some = n < room ? n : room;
        memcpy(writer->id + writer->held, id, some * sizeof *id);
        writer->held += some;
        id += some;
        n -= some;
        if (writer->held == OUT_IDS)
            status = flush(writer, err);
    }
    return status;
}

static enum hm_status seek(int fd, uint64_t at, struct hm_err *err)
{
    return lseek(fd, (off_t)at, SEEK_SET) < 0 ? hm_fail(err, HM_EIO, "%s", strerror(errno)) : HM_OK;
}

static enum hm_status put_vocab(const struct hm_vocab *vocab, struct hm_corpus_header *h,
                                const struct hm_corpus_layout *layout, int fd, struct hm_err *err)
{
    const void *from[HM_CORPUS_ID] = {vocab->count, vocab->start, vocab->text};
    enum hm_status status = HM_OK;
    for (int s = 0; s < HM_CORPUS_ID && !status; s++) {
        h->checksum[s] = XXH3_64bits(from[s], layout->bytes[s]);
        status = seek(fd, layout->at[s], err);
        if (!status)
            status = hm_file_put(fd, from[s], layout->bytes[s], err);
    }
    return status;
}

static enum hm_status put_header(struct hm_corpus_header *h, int fd, struct hm_err *err)
{
    h->self = header_hash(h);
    enum hm_status status = seek(fd, 0, err);
    return status ? status : hm_file_put(fd, h, sizeof *h, err);
}

static struct hm_corpus_header header_of(const struct hm_text *text, const uint64_t fingerprint[2])
{
    struct hm_corpus_header h = {
        .magic = HM_CORPUS_MAGIC,
        .version = HM_CORPUS_VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .fingerprint = {fingerprint[0], fingerprint[1]},
        .n_tokens = text->n_tokens,
        .n_bytes = text->n_bytes,
        .n_invalid = text->n_invalid,
        .n_too_long = text->n_too_long,
        .total = text->vocab.total,
        .vocab_fingerprint = text->vocab.fingerprint,
        .text_bytes = text->vocab.start[text->vocab.n],
        .n_vocab = text->vocab.n,
    };
    return h;
}

enum hm_status hm_corpus_write(const struct hm_text *text, const uint64_t fingerprint[2], int fd,
                               const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_corpus_header h = header_of(text, fingerprint);
    struct hm_corpus_layout layout;
    struct writer *writer = calloc(1, sizeof *writer);
    if (writer)
        writer->hash = XXH3_createState();
    enum hm_status status =
        writer && writer->hash ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    lay_out(&h, &layout); /* the ids come last, so that their number need not be known */
    if (!status)
        status = put_vocab(&text->vocab, &h, &layout, fd, err);
    if (!status)
        status = seek(fd, layout.at[HM_CORPUS_ID], err);
    if (!status) {
        writer->fd = fd;
        writer->mark = text->vocab.n;
        XXH3_64bits_reset(writer->hash);
        status = hm_text_ids(text, put_ids, writer, progress, err);
    }
    if (!status)
        status = flush(writer, err);
    if (!status && !writer->n_ids)
        status = hm_fail(err, HM_EINPUT, "no word of the vocabulary");
    if (!status) {
        h.n_ids = writer->n_ids;
        h.n_lines = writer->n_lines;
        h.n_words = h.n_ids - h.n_lines;
        h.checksum[HM_CORPUS_ID] = XXH3_64bits_digest(writer->hash);
        status = put_header(&h, fd, err);
    }
    if (writer)
        XXH3_freeState(writer->hash);
    free(writer);
    return status;
}
