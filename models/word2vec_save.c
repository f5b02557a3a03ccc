/* Word vectors for other tools: word2vec's own formats. */
#include "models/word2vec.h"

#include "models/vectors_file.h"

#include <math.h>
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

enum hm_status hm_w2v_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err)
{
    const struct source context = {hm_w2v_of(model), b};
    struct hm_vectors_source source = {
        .dim = context.w2v->shape.dim, .word = word, .vector = vector, .context = &context};
    (void)steps;
    if (!hm_vectors_can_write(path))
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; word2vec exports .bin and .txt", path);
    if (!context.w2v->vocab)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: the words are not known here; give the mesh's --vocab FILE");
    source.n = context.w2v->vocab->n;
    return hm_vectors_write(&source, path, err);
}
