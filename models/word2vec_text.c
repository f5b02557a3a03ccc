#include "models/word2vec_text.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { STRIDE = 1024, SLACK = 64 /* ids behind a run that may be read */ };

/* ---- words by their number ---- */

enum hm_status hm_w2v_text_open(struct hm_w2v_text *text, const uint32_t *id, uint64_t n_ids,
                                uint32_t mark, struct hm_err *err)
{
    uint64_t *index = malloc(hm_w2v_text_index(n_ids) * sizeof *index);
    *text = (struct hm_w2v_text){0};
    if (!index)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for an index of %llu words",
                       (unsigned long long)n_ids);
    hm_w2v_text_place(text, id, n_ids, mark, index);
    return HM_OK;
}

size_t hm_w2v_text_index(uint64_t n_ids)
{
    return (size_t)(n_ids / STRIDE + 1);
}

void hm_w2v_text_place(struct hm_w2v_text *text, const uint32_t *id, uint64_t n_ids, uint32_t mark,
                       uint64_t *index)
{
    *text = (struct hm_w2v_text){.id = id, .n_ids = n_ids, .mark = mark, .at = index};
    for (uint64_t i = 0; i < n_ids; i++)
        if (id[i] != mark && text->n_words++ % STRIDE == 0)
            text->at[(text->n_words - 1) / STRIDE] = i;
}

void hm_w2v_text_close(struct hm_w2v_text *text)
{
    free(text->at);
    *text = (struct hm_w2v_text){0};
}

uint64_t hm_w2v_text_seek(const struct hm_w2v_text *text, uint64_t number)
{
    assert(number < text->n_words);
    uint64_t i = text->at[number / STRIDE];
    for (uint64_t left = number % STRIDE;; i++)
        if (text->id[i] != text->mark && left-- == 0)
            return i;
}

uint64_t hm_w2v_text_number(const struct hm_w2v_text *text, uint64_t at)
{
    uint64_t low = 0, high = (text->n_words + STRIDE - 1) / STRIDE; /* indexed words before `at` */
    while (low < high) {
        uint64_t mid = (low + high) / 2;
        if (text->at[mid] < at)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low)
        return 0;
    uint64_t number = (low - 1) * STRIDE;
    for (uint64_t i = text->at[low - 1]; i < at; i++)
        number += text->id[i] != text->mark;
    return number;
}

/* ---- chances ---- */

/* p of 1 as a limit of 32 random bits. */
static uint32_t limit_of(double p)
{
    return p >= 1 ? UINT32_MAX : (uint32_t)(p * 0x1p32);
}

static void fill_alone(struct hm_w2v_sampler *s, uint32_t i)
{
    s->alias[i] = (struct hm_w2v_alias){UINT32_MAX, i};
}

/* Walker's alias method: cells of equal weight, each shared by at most two words. Vose's way to
 * fill them. */
static void fill_alias(struct hm_w2v_sampler *s, double *weight, uint32_t *small, uint32_t *large)
{
    uint32_t n_small = 0, n_large = 0;
    for (uint32_t i = 0; i < s->n; i++)
        *(weight[i] < 1 ? &small[n_small++] : &large[n_large++]) = i;
    while (n_small && n_large) {
        uint32_t lean = small[--n_small], rich = large[n_large - 1];
        s->alias[lean] = (struct hm_w2v_alias){limit_of(weight[lean]), rich};
        weight[rich] -= 1 - weight[lean];
        if (weight[rich] < 1)
            small[n_small++] = large[--n_large];
    }
    while (n_small)
        fill_alone(s, small[--n_small]);
    while (n_large)
        fill_alone(s, large[--n_large]);
}

static void fill_keep(struct hm_w2v_sampler *s, const uint64_t *count, double sample)
{
    double total = 0;
    for (uint32_t i = 0; i < s->n; i++)
        total += (double)count[i];
    for (uint32_t i = 0; i < s->n; i++) {
        double f = (double)count[i] / total;
        s->keep[i] = sample > 0 ? limit_of((sqrt(f / sample) + 1) * sample / f) : UINT32_MAX;
    }
}

enum hm_status hm_w2v_sampler_open(struct hm_w2v_sampler *s, const uint64_t *count, uint32_t n,
                                   double sample, struct hm_err *err)
{
    *s = (struct hm_w2v_sampler){.n = n};
    s->keep = malloc(n * sizeof *s->keep);
    s->alias = malloc(n * sizeof *s->alias);
    double *weight = malloc(n * sizeof *weight), sum = 0;
    uint32_t *cells = malloc(2 * (size_t)n * sizeof *cells);
    enum hm_status status = HM_OK;
    if (s->keep && s->alias && weight && cells) {
        for (uint32_t i = 0; i < n; i++) /* count^(3/4), by roots that are the same everywhere */
            sum += weight[i] = sqrt((double)count[i]) * sqrt(sqrt((double)count[i]));
        for (uint32_t i = 0; i < n; i++)
            weight[i] *= n / sum;
        fill_alias(s, weight, cells, cells + n);
        fill_keep(s, count, sample);
    } else {
        hm_w2v_sampler_close(s);
        status = hm_fail(err, HM_ENOMEM, "word2vec: no memory to draw from %u words", n);
    }
    free(weight);
    free(cells);
    return status;
}

void hm_w2v_sampler_close(struct hm_w2v_sampler *s)
{
    free(s->keep);
    free(s->alias);
    *s = (struct hm_w2v_sampler){0};
}

/* ---- runs ---- */

static size_t side(unsigned most, unsigned reach)
{
    return (size_t)most + 2 * reach + SLACK;
}

size_t hm_w2v_run_room(unsigned most, unsigned reach)
{
    return 2 * side(most, reach);
}

/* Kept words before id[at], which is word `number`, of its line, which is line 0, down to word
 * `first`: into word[-1], word[-2], ... */
static void take_before(const struct hm_w2v_text *text, const struct hm_w2v_sampler *sampler,
                        uint64_t key, uint64_t at, uint64_t number, uint64_t first, int reach,
                        struct hm_w2v_run *run)
{
    int taken = 0;
    while (taken < reach && number > first && text->id[--at] != text->mark)
        if (hm_w2v_keeps(sampler, key, --number, text->id[at])) {
            run->word[-++taken] = text->id[at];
            run->line[-taken] = 0;
        }
    for (int i = taken + 1; i <= reach; i++) {
        run->word[-i] = HM_W2V_NO_WORD;
        run->line[-i] = UINT32_MAX - 1; /* another than any word's */
    }
}

static void take_behind(const struct hm_w2v_text *text, const struct hm_w2v_sampler *sampler,
                        uint64_t key, uint64_t at, uint64_t number, uint64_t end, uint32_t line,
                        unsigned reach, struct hm_w2v_run *run)
{
    unsigned taken = 0;
    for (; taken < reach && number < end && text->id[at] != text->mark; at++, number++)
        if (hm_w2v_keeps(sampler, key, number, text->id[at])) {
            run->word[run->n + taken] = text->id[at];
            run->line[run->n + taken++] = line;
        }
    for (unsigned i = taken; i < reach + SLACK; i++) {
        run->word[run->n + i] = HM_W2V_NO_WORD;
        run->line[run->n + i] = UINT32_MAX;
    }
}

struct hm_w2v_run hm_w2v_take(const struct hm_w2v_text *text, const struct hm_w2v_sampler *sampler,
                              uint64_t key, uint64_t from, unsigned n, uint64_t first, uint64_t end,
                              unsigned most, unsigned reach, uint32_t *room)
{
    struct hm_w2v_run run = {0, room + reach, room + side(most, reach) + reach};
    assert(n && n <= most && first <= from && from + n <= end && end <= text->n_words);
    const uint64_t begin = hm_w2v_text_seek(text, from);
    uint64_t at = begin, number = from;
    uint32_t line = 0;
    while (number < from + n) {
        const uint32_t word = text->id[at++];
        if (word == text->mark) {
            line++;
            continue;
        }
        run.word[run.n] = word;
        run.line[run.n] = line;
        run.n += (unsigned)hm_w2v_keeps(sampler, key, number++, word);
    }
    take_behind(text, sampler, key, at, number, end, line, reach, &run);
    take_before(text, sampler, key, begin, from, first, (int)reach, &run);
    return run;
}
