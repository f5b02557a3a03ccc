/* Word vectors for other tools: word2vec's own formats. */
#include "models/word2vec.h"

#include "models/npy.h"
#include "models/vectors_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const struct hm_w2v_model *w2v;
    const uint32_t *b;
};

void hm_w2v_parts(const struct hm_model *model, struct hm_parts *parts)
{
    const struct hm_layout *layout = &hm_w2v_of(model)->layout;
    *parts = (struct hm_parts){0};
    for (unsigned t = 0; t < 2; t++)
        hm_parts_add(parts, t ? "out" : "in", 2,
                     (uint32_t[]){layout->tensor[t].rows, hm_w2v_of(model)->shape.dim});
}

static void row_of(const struct hm_w2v_model *w2v, const uint32_t *b, unsigned tensor, uint32_t row,
                   float *out)
{
    const struct hm_tensor *t = &w2v->layout.tensor[tensor];
    const uint32_t *from = b + hm_tensor_at(t) + (size_t)row * t->stride;
    const float grid = hm_exp2i(t->grid_exp);
    for (uint32_t k = 0; k < w2v->shape.dim; k++)
        out[k] = (float)(int32_t)from[k] * grid;
}

void hm_w2v_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    (void)steps;
    for (unsigned t = 0; t < 2; t++)
        for (uint32_t r = 0; r < w2v->layout.tensor[t].rows; r++, out += w2v->shape.dim)
            row_of(w2v, b, t, r, out);
}

enum hm_status hm_w2v_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    enum hm_status status = HM_OK;
    size_t number = 0;
    (void)steps;
    memset(b, 0, hm_layout_n(&w2v->layout) * sizeof *b);
    for (unsigned t = 0; t < 2; t++) {
        const struct hm_tensor *tensor = &w2v->layout.tensor[t];
        const double grid = ldexp(1, tensor->grid_exp);
        for (uint32_t r = 0; r < tensor->rows; r++)
            for (uint32_t k = 0; k < w2v->shape.dim && !status; k++, number++)
                status =
                    hm_parts_units(w[number], grid, number,
                                   &b[hm_tensor_at(tensor) + (size_t)r * tensor->stride + k], err);
    }
    return status;
}

static const char *word(const void *context, uint32_t i)
{
    const struct source *source = context;
    return hm_vocab_word(source->w2v->vocab, i);
}

static void vector(const void *context, uint32_t i, float *out)
{
    const struct source *source = context;
    row_of(source->w2v, source->b, 0, i, out);
}

/* Vectors of words of the vocabulary, to w; returns how many there are. */
static uint32_t take_vectors(const struct hm_w2v_model *w2v, const struct hm_vectors *vectors,
                             float *w)
{
    const size_t dim = vectors->dim;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w2v->vocab->n; i++) {
        uint32_t from = hm_words_find(&vectors->words, hm_vocab_word(w2v->vocab, i),
                                      hm_vocab_length(w2v->vocab, i));
        if (from == HM_WORD_NONE)
            continue;
        memcpy(w + i * dim, vectors->value + from * dim, dim * sizeof *w);
        n++;
    }
    return n;
}

enum hm_status hm_w2v_import(const struct hm_model *model, const char *path, float *w,
                             void (*say)(void *context, const char *text), void *context,
                             struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    struct hm_vectors vectors;
    char text[256];
    uint32_t n = 0;
    enum hm_status status = hm_vectors_read(&vectors, path, NULL, err);
    if (!status && vectors.dim != w2v->shape.dim)
        status = hm_fail(err, HM_EINPUT,
                         "%s: vectors of %u components; the model's have %u: give --dim %u", path,
                         vectors.dim, w2v->shape.dim, vectors.dim);
    if (!status && !w2v->vocab)
        status =
            hm_fail(err, HM_EUSAGE, "%s: the words are not known here; give --vocab FILE", path);
    if (!status)
        n = take_vectors(w2v, &vectors, w);
    if (!status && !n)
        status = hm_fail(err, HM_EINPUT,
                         "%s: none of the %u words of the vocabulary is among its %u; is it of "
                         "another language, or in another case (--lowercase)?",
                         path, w2v->vocab->n, vectors.n);
    if (!status && say && n < w2v->vocab->n) {
        snprintf(text, sizeof text,
                 "%u of the %u words of the vocabulary begin with their vectors of %.100s; the "
                 "others as without it",
                 n, w2v->vocab->n, path);
        say(context, text);
    }
    hm_vectors_close(&vectors);
    return status;
}

/* The vectors, a row for each word in the order of the vocabulary. */
static enum hm_status save_npy(const struct source *source, uint32_t n, const char *path,
                               struct hm_err *err)
{
    const uint32_t dim = source->w2v->shape.dim;
    float *w = malloc((size_t)n * dim * sizeof *w);
    if (!w)
        return hm_fail(err, HM_ENOMEM, "%s: no memory for %u vectors", path, n);
    for (uint32_t i = 0; i < n; i++)
        vector(source, i, w + (size_t)i * dim);
    enum hm_status status = hm_npy_write(path, w, n, dim, err);
    free(w);
    return status;
}

enum hm_status hm_w2v_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err)
{
    const struct source context = {hm_w2v_of(model), b};
    struct hm_vectors_source source = {
        .dim = context.w2v->shape.dim, .word = word, .vector = vector, .context = &context};
    (void)steps;
    const char *dot = strrchr(path, '.');
    int npy = dot && strcmp(dot, ".npy") == 0;
    if (!npy && !hm_vectors_can_write(path))
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; word2vec exports .bin, .txt and .npy",
                       path);
    if (npy)
        return save_npy(&context, context.w2v->layout.tensor[0].rows, path, err);
    if (!context.w2v->vocab)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: the words are not known here; give the mesh's --vocab FILE");
    source.n = context.w2v->vocab->n;
    return hm_vectors_write(&source, path, err);
}
