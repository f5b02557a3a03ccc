/* Word2Vec's steps: a run of words becomes blocks; each is prepared while the one before it is
 * computed, so that its rows are fetched by then. */
#include "models/word2vec.h"

#include <assert.h>
#include <string.h>

enum { METER_EVERY = 64 /* blocks, of which one is added so that losses show */ };

/* What a thread works in, each thing at a multiple of 64 bytes. */
struct room {
    void *kernels;
    struct hm_w2v_place *place; /* [2] */
    uint32_t *words, *noise;
    uint8_t *window; /* of each block */
    float *value;    /* slots of a metered block, or of a batch */
    uint32_t *row;
    uint64_t *blocks; /* that this thread has made */
};

static void *take(size_t *at, void *scratch, size_t bytes)
{
    uint8_t *from = (uint8_t *)scratch + *at;
    *at += (bytes + 63) / 64 * 64;
    return from;
}

static size_t blocks_of(size_t n)
{
    return (n + HM_W2V_INPUTS - 1) / HM_W2V_INPUTS;
}

/* Rows that a batch adds to. It has no more words than a shard, so at most three pieces, each of
 * which may end with a block that is not full. */
static size_t rows_of(const struct hm_w2v_model *w2v)
{
    const unsigned batch = w2v->base.batch;
    return hm_w2v_rows_of(&w2v->shape) * (blocks_of(batch) + (batch < 3 ? batch - 1 : 2));
}

/* Words of one step. */
static unsigned most_of(const struct hm_w2v_model *w2v)
{
    return w2v->base.batch > 1 ? w2v->base.batch : HM_W2V_CHUNK;
}

static struct room room_of(const struct hm_w2v_model *w2v, void *scratch, size_t *bytes)
{
    const struct hm_w2v_shape *s = &w2v->shape;
    const unsigned most = most_of(w2v);
    const size_t blocks = blocks_of(most), rows = rows_of(w2v);
    struct room r;
    size_t at = 0;
    r.kernels =
        take(&at, scratch, hm_w2v_scratch_bytes(s->padded, s->window, s->negative, s->centred));
    r.place = take(&at, scratch, 2 * sizeof *r.place);
    r.words = take(&at, scratch, hm_w2v_run_room(most, s->window) * sizeof *r.words);
    r.noise = take(&at, scratch, (blocks + 1) * hm_w2v_noise_of(s) * sizeof *r.noise);
    r.window = take(&at, scratch, blocks + 1);
    r.value = take(&at, scratch, rows * s->padded * sizeof *r.value);
    r.row = take(&at, scratch, rows * sizeof *r.row);
    r.blocks = take(&at, scratch, sizeof *r.blocks);
    *bytes = at;
    return r;
}

void hm_w2v_sizes(struct hm_w2v_model *w2v)
{
    struct hm_model *base = &w2v->base;
    base->chunk = most_of(w2v);
    base->state_floats = base->read_floats = 0;
    base->grad_max = rows_of(w2v) * w2v->shape.padded;
    room_of(w2v, NULL, &base->scratch_bytes);
}

/* ---- runs ---- */

/* Consecutive words of a text at consecutive positions of a shard. */
struct piece {
    const struct hm_w2v_text *text;
    uint64_t word, key;
    unsigned n;
};

/* The piece that begins at a position: up to the end of the shard or of the text. */
static struct piece piece_at(const struct hm_w2v_model *w2v, const struct hm_shard *shard,
                             uint64_t position, uint64_t n)
{
    const struct hm_w2v_text *text = shard->fed ? shard->fed : &w2v->text;
    const uint64_t all = text->n_words, in_shard = position % shard->n;
    struct piece piece = {text, (shard->begin + in_shard) % all,
                          hm_mix(shard->key + hm_mix(position / shard->n + 1)), 0};
    uint64_t left = shard->n - in_shard, to_end = all - piece.word;
    n = n < left ? n : left;
    piece.n = (unsigned)(n < to_end ? n : to_end);
    return piece;
}

/* Windows and negatives of all blocks of a run. */
static void draw(const struct hm_w2v_model *w2v, const struct piece *piece, size_t blocks,
                 struct room *r)
{
    struct hm_rng rng = hm_rng_seed(piece->key, piece->word);
    const size_t n = blocks * hm_w2v_noise_of(&w2v->shape);
    for (size_t i = 0; i < blocks; i++)
        r->window[i] = (uint8_t)(1 + hm_rng_below(&rng, w2v->shape.window));
    for (size_t i = 0; i < n; i++)
        r->noise[i] = hm_w2v_draw(&w2v->sampler, hm_rng_next(&rng));
}

static struct hm_w2v_run take_run(const struct hm_w2v_model *w2v, const struct piece *piece,
                                  struct room *r)
{
    struct hm_w2v_run run =
        hm_w2v_take(piece->text, &w2v->sampler, piece->key, piece->word, piece->n, 0,
                    piece->text->n_words, most_of(w2v), w2v->shape.window, r->words);
    draw(w2v, piece, blocks_of(run.n), r);
    return run;
}

static void prepare(const struct hm_w2v_model *w2v, const struct room *r, hm_cell *w,
                    const struct hm_w2v_run *run, size_t block, float rate,
                    struct hm_w2v_slots *slots)
{
    struct hm_w2v_tables tables = hm_w2v_tables_of(w2v, w);
    struct hm_w2v_draws draws = {r->window[block], r->noise + block * hm_w2v_noise_of(&w2v->shape)};
    hm_w2v_prepare(&r->place[block % 2], &w2v->shape, &tables, run, (unsigned)block * HM_W2V_INPUTS,
                   &draws, rate, slots);
}

/* ---- marks ---- */

static void mark(const struct hm_w2v_model *w2v, const struct hm_step *step, int out, uint32_t word)
{
    const struct hm_w2v_shape *s = &w2v->shape;
    const size_t table = hm_tensor_at(&w2v->layout.tensor[out]);
    if (word != HM_W2V_NO_WORD)
        hm_dirty_mark(step->dirty, table + (size_t)word * s->padded, s->dim);
}

/* The rows that a block has added to. */
static void mark_block(const struct hm_w2v_model *w2v, const struct room *r,
                       const struct hm_w2v_run *run, size_t block, const struct hm_step *step)
{
    const struct hm_w2v_shape *s = &w2v->shape;
    const int narrow_in = !s->cbow && !s->centred, window = r->window[block];
    const uint32_t *word = run->word + block * HM_W2V_INPUTS,
                   *noise = r->noise + block * hm_w2v_noise_of(s);
    const unsigned n_noise = s->centred ? hm_w2v_noise_of(s) : HM_W2V_UPDATED;
    for (int j = -window; step->dirty && j < HM_W2V_INPUTS + window; j++) {
        const int input = j >= 0 && j < HM_W2V_INPUTS;
        if (input || !narrow_in)
            mark(w2v, step, 0, word[j]);
        if (input || narrow_in)
            mark(w2v, step, 1, word[j]);
    }
    for (unsigned n = 0; step->dirty && n < n_noise; n++)
        mark(w2v, step, 1, noise[n]);
}

/* ---- in place ---- */

/* W -= rate times the gradient in slots, so that adds that wipe out another's show. */
static void add_metered(const struct hm_w2v_model *w2v, const struct hm_w2v_slots *slots,
                        float rate, struct hm_step *step)
{
    struct hm_w2v_tables tables = hm_w2v_tables_of(w2v, step->w);
    for (unsigned i = 0; i < slots->n; i++) {
        const size_t word = slots->row[i] & ~HM_W2V_OUT, padded = w2v->shape.padded;
        hm_cell *row = (slots->row[i] & HM_W2V_OUT ? tables.out : tables.in) + word * padded;
        const float *g = slots->value + i * padded;
        for (unsigned k = 0; k < w2v->shape.dim; k++)
            step->n_wiped += hm_cell_add_metered(row + k, -rate * g[k]);
        step->n_sampled += w2v->shape.dim;
    }
}

static void step_metered(const struct hm_w2v_model *w2v, const struct room *r,
                         const struct hm_w2v_run *run, size_t block, float rate,
                         struct hm_step *step)
{
    struct hm_w2v_slots slots = {r->value, r->row, 0};
    prepare(w2v, r, step->w, run, block, rate, &slots);
    w2v->kernels->block(&r->place[block % 2].block, r->kernels);
    add_metered(w2v, &slots, rate, step);
}

/* The rate of a block of so many: it falls within a chunk, too. */
static float rate_in(const struct hm_w2v_model *w2v, const struct hm_step *step, double done)
{
    return step->scale * (float)hm_w2v_rate(&w2v->base, step->t + done * (double)step->t_per_step);
}

static void step_in_place(const struct hm_w2v_model *w2v, const struct piece *piece, double done,
                          struct room *r, struct hm_step *step)
{
    struct hm_w2v_run run = take_run(w2v, piece, r);
    const size_t n = blocks_of(run.n);
    if (n)
        prepare(w2v, r, step->w, &run, 0, rate_in(w2v, step, done), NULL);
    for (size_t i = 0; i < n; i++) {
        struct hm_w2v_block *now = &r->place[i % 2].block, *next = &r->place[(i + 1) % 2].block;
        double then = done + (double)piece->n * (double)(i + 1) / (double)n;
        if (i + 1 < n)
            prepare(w2v, r, step->w, &run, i + 1, rate_in(w2v, step, then), NULL);
        now->next = i + 1 < n ? next : NULL;
        if (++*r->blocks % METER_EVERY == 0)
            step_metered(w2v, r, &run, i, now->factor, step);
        else
            w2v->kernels->block(now, r->kernels);
        mark_block(w2v, r, &run, i, step);
    }
}

/* ---- gradients ---- */

/* Gradients of a piece's blocks, into slots; adds up the loss. */
static void grade_piece(const struct hm_w2v_model *w2v, const struct piece *piece, struct room *r,
                        hm_cell *w, struct hm_w2v_slots *slots, double *loss)
{
    struct hm_w2v_run run = take_run(w2v, piece, r);
    for (size_t i = 0; i < blocks_of(run.n); i++) {
        prepare(w2v, r, w, &run, i, 0, slots);
        r->place[i % 2].block.loss = loss;
        w2v->kernels->block(&r->place[i % 2].block, r->kernels);
    }
}

/* All at the same weights: the step's words, as pieces of their shard. */
static void grade(const struct hm_w2v_model *w2v, const struct hm_shard *shard,
                  const struct hm_step *step, struct room *r, struct hm_w2v_slots *slots,
                  double *loss)
{
    for (uint64_t done = 0; done < step->n;) {
        struct piece piece = piece_at(w2v, shard, step->from + done, step->n - done);
        grade_piece(w2v, &piece, r, step->w, slots, loss);
        done += piece.n;
    }
}

void hm_w2v_grad(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    size_t bytes;
    struct room r = room_of(w2v, step->scratch, &bytes);
    struct hm_w2v_slots slots = {grad->value + grad->n_values, r.row, 0};
    const float rate = (float)hm_w2v_rate(model, step->t);
    const uint32_t padded = w2v->shape.padded, out = (uint32_t)hm_tensor_at(&w2v->layout.tensor[1]);
    grade(w2v, shard, step, &r, &slots, &grad->loss);
    for (unsigned i = 0; i < slots.n; i++) {
        uint32_t word = r.row[i] & ~HM_W2V_OUT;
        grad->span[grad->n_spans++] =
            (struct hm_span){word * padded + (r.row[i] & HM_W2V_OUT ? out : 0), padded, rate};
    }
    grad->n_values += slots.n * padded;
}

/* A batch: all of it is read before any of it is added. */
static void step_batch(const struct hm_w2v_model *w2v, const struct hm_shard *shard, struct room *r,
                       struct hm_step *step)
{
    struct hm_w2v_slots slots = {r->value, r->row, 0};
    struct hm_w2v_tables tables = hm_w2v_tables_of(w2v, step->w);
    const float rate = step->scale * (float)hm_w2v_rate(&w2v->base, step->t);
    const size_t padded = w2v->shape.padded;
    double loss = 0;
    grade(w2v, shard, step, r, &slots, &loss);
    for (unsigned i = 0; i < slots.n; i++) {
        struct hm_w2v_slots one = {slots.value + i * padded, slots.row + i, 1};
        const size_t word = slots.row[i] & ~HM_W2V_OUT;
        hm_cell *row = (slots.row[i] & HM_W2V_OUT ? tables.out : tables.in) + word * padded;
        if (++*r->blocks % METER_EVERY == 0)
            add_metered(w2v, &one, rate, step);
        else
            for (unsigned k = 0; k < padded; k++)
                hm_cell_add(row + k, -rate * one.value[k]);
        if (step->dirty)
            mark(w2v, step, (slots.row[i] & HM_W2V_OUT) != 0, (uint32_t)word);
    }
}

void hm_w2v_step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    size_t bytes;
    struct room r = room_of(w2v, step->scratch, &bytes);
    assert(step->n <= model->chunk);
    if (model->batch > 1) {
        step_batch(w2v, shard, &r, step);
        return;
    }
    for (uint64_t done = 0; done < step->n;) {
        struct piece piece = piece_at(w2v, shard, step->from + done, step->n - done);
        step_in_place(w2v, &piece, (double)done, &r, step);
        done += piece.n;
    }
}
