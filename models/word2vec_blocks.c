#include "models/word2vec_blocks.h"

#include <assert.h>
#include <string.h>

enum { S = HM_W2V_INPUTS, N = HM_W2V_SHARED, U = HM_W2V_UPDATED, FILTER = 1024 /* bits */ };

unsigned hm_w2v_noise_of(const struct hm_w2v_shape *shape)
{
    return shape->centred ? S * shape->negative : N;
}

unsigned hm_w2v_rows_of(const struct hm_w2v_shape *shape)
{
    return 2 * S + 2 * shape->window + (shape->centred ? S * shape->negative : U);
}

/* ---- rows ---- */

/* What rows are looked up with. */
struct aim {
    const struct hm_w2v_shape *shape;
    const struct hm_w2v_tables *tables;
    struct hm_w2v_slots *slots;
};

/* Where adds to a word's row go. */
static hm_cell *target(const struct aim *aim, int out, uint32_t word)
{
    struct hm_w2v_slots *slots = aim->slots;
    const size_t padded = aim->shape->padded;
    if (!slots)
        return (out ? aim->tables->out : aim->tables->in) + word * padded;
    float *value = slots->value + slots->n * padded;
    memset(value, 0, padded * sizeof *value);
    slots->row[slots->n++] = word | (out ? HM_W2V_OUT : 0);
    return (hm_cell *)(void *)value;
}

/* Words of places -reach .. S + reach: to read, and to add to. */
static void aim_words(const struct aim *aim, int out, const uint32_t *word, unsigned window,
                      unsigned reach, const hm_cell **row, hm_cell **to)
{
    const hm_cell *table = out ? aim->tables->out : aim->tables->in;
    for (int j = -(int)reach; j < S + (int)reach; j++) {
        const int at = (int)window + j, is = word[j] != HM_W2V_NO_WORD;
        row[at] = is ? table + word[j] * (size_t)aim->shape->padded : NULL;
        to[at] = is ? target(aim, out, word[j]) : NULL;
    }
}

/* ---- windows ---- */

/* Is the whole band in one line, with all its inputs? */
static int whole(const struct hm_w2v_run *run, unsigned first, int window)
{
    return first + S <= run->n &&
           run->line[(int)first - window] == run->line[first + S - 1 + window];
}

static void mask_pairs(struct hm_w2v_place *place, const struct hm_w2v_run *run, unsigned first)
{
    struct hm_w2v_block *b = &place->block;
    const int window = (int)b->window;
    b->mask = place->mask;
    for (int i = 0; i < S; i++) {
        const uint32_t *line = run->line + first + i;
        float *mask = place->mask + i * 2 * window, count = 0;
        const int is = first + i < run->n;
        for (int m = 0; m < 2 * window; m++) {
            int off = m - window + (m >= window);
            mask[m] = is && line[off] == line[0];
            count += mask[m];
        }
        b->count[i] = count;
    }
}

/* ---- negatives ---- */

/* What an input's gradient by a negative has to be multiplied by: the part of its positives that
 * are another word. */
static float others(const struct hm_w2v_place *place, const uint32_t *word, unsigned i,
                    uint32_t noise)
{
    const struct hm_w2v_block *b = &place->block;
    const int window = (int)b->window;
    float same = 0;
    if (b->cbow)
        return word[i] != noise;
    for (int m = 0; m < 2 * window; m++)
        if (word[(int)i + m - window + (m >= window)] == noise)
            same += b->mask ? b->mask[i * 2 * window + m] : 1;
    return b->count[i] > 0 ? (b->count[i] - same) / b->count[i] : 1;
}

/* Most negatives are no word of the band: a filter tells that at once. */
static void fix_shared(struct hm_w2v_place *place, const uint32_t *word, const uint32_t *noise)
{
    struct hm_w2v_block *b = &place->block;
    const int reach = b->cbow ? 0 : (int)b->window;
    uint64_t filter[FILTER / 64] = {0};
    b->fix = place->fix;
    b->n_fixes = 0;
    for (int j = -reach; j < S + reach; j++)
        filter[word[j] % FILTER / 64] |= 1ull << word[j] % 64;
    for (unsigned n = 0; n < N; n++) {
        if (!(filter[noise[n] % FILTER / 64] >> noise[n] % 64 & 1))
            continue;
        for (unsigned i = 0; i < S; i++) {
            float factor = others(place, word, i, noise[n]);
            if (factor < 1)
                place->fix[b->n_fixes++] = (struct hm_w2v_fix){(uint16_t)i, (uint16_t)n, factor};
        }
    }
}

static void aim_shared(const struct aim *aim, struct hm_w2v_block *b, const uint32_t *noise)
{
    for (unsigned n = 0; n < N; n++)
        b->noise[n] = aim->tables->out + noise[n] * (size_t)b->padded;
    for (unsigned n = 0; n < U; n++)
        b->to_noise[n] = target(aim, 1, noise[n]);
}

static void aim_centred(const struct aim *aim, struct hm_w2v_block *b, const uint32_t *word,
                        const uint32_t *noise)
{
    for (unsigned i = 0; i < S; i++)
        for (unsigned n = i * b->negative; n < (i + 1) * b->negative; n++) {
            const int is = word[i] != HM_W2V_NO_WORD && noise[n] != word[i];
            b->noise[n] = is ? aim->tables->out + noise[n] * (size_t)b->padded : NULL;
            b->to_noise[n] = is ? target(aim, 1, noise[n]) : NULL;
        }
}

void hm_w2v_prepare(struct hm_w2v_place *place, const struct hm_w2v_shape *shape,
                    const struct hm_w2v_tables *tables, const struct hm_w2v_run *run,
                    unsigned first, const struct hm_w2v_draws *draws, float rate,
                    struct hm_w2v_slots *slots)
{
    const struct aim aim = {shape, tables, slots};
    const uint32_t *word = run->word + first;
    const int of_words = !shape->cbow && !shape->centred; /* the window's words are the outputs */
    struct hm_w2v_block *b = &place->block;
    assert(draws->window && draws->window <= shape->window);
    b->dim = shape->dim;
    b->padded = shape->padded;
    b->window = draws->window;
    b->negative = shape->negative;
    b->cbow = shape->cbow;
    b->centred = shape->centred;
    b->factor = slots ? -1 : rate;
    b->loss = NULL;
    b->next = NULL;
    b->mask = NULL;
    b->n_fixes = 0;
    if (whole(run, first, (int)b->window))
        for (unsigned i = 0; i < S; i++)
            b->count[i] = 2 * (float)b->window;
    else
        mask_pairs(place, run, first);
    for (unsigned i = 0; shape->cbow && i < S; i++)
        b->count[i] = b->count[i] > 0;
    aim_words(&aim, 0, word, b->window, of_words ? 0 : b->window, b->in, b->to_in);
    aim_words(&aim, 1, word, b->window, of_words ? b->window : 0, b->out, b->to_out);
    if (shape->centred) {
        aim_centred(&aim, b, word, draws->noise);
    } else {
        aim_shared(&aim, b, draws->noise);
        fix_shared(place, word, draws->noise);
    }
}
