#include "node/rounds.h"

#include "sparse/zeroed.h"

#include <stdlib.h>
#include <string.h>

enum hm_status hm_rounds_init(struct hm_rounds *rounds, struct hm_weights *weights,
                              struct hm_err *err)
{
    *rounds = (struct hm_rounds){.weights = weights};
    enum hm_status status = hm_weights_init(&rounds->own, &weights->layout, err);
    if (status)
        return status;
    memcpy(rounds->own.b, weights->b, weights->n * sizeof *weights->b);
    hm_weights_settle(&rounds->own);
    rounds->base = hm_zeroed(weights->n * sizeof *rounds->base);
    rounds->w = hm_zeroed(weights->n * sizeof *rounds->w);
    rounds->early = hm_zeroed(weights->n * sizeof *rounds->early);
    if (!rounds->base || !rounds->w || !rounds->early)
        return hm_fail(err, HM_ENOMEM, "no memory for synchronous rounds");
    memcpy(rounds->base, weights->b, weights->n * sizeof *rounds->base);
    rounds->based = true;
    return HM_OK;
}

void hm_rounds_fini(struct hm_rounds *rounds)
{
    if (rounds->weights)
        hm_weights_fini(&rounds->own);
    free(rounds->base);
    free(rounds->w);
    free(rounds->early);
    *rounds = (struct hm_rounds){0};
}

uint64_t hm_rounds_bytes(uint64_t n)
{
    return n * (sizeof(float) + 2 * sizeof(uint32_t) + sizeof(float) + sizeof(int32_t));
}

void hm_rounds_keep(struct hm_rounds *rounds, const struct hm_delta *delta, uint64_t steps)
{
    if (!rounds->weights)
        return;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            rounds->early[(size_t)delta->block[i] * HM_BLOCK + j] += delta->q[i][j];
    rounds->early_steps += steps;
    rounds->any_early = true;
}

void hm_rounds_close(struct hm_rounds *rounds)
{
    rounds->open = false;
    rounds->early_steps = 0;
    if (rounds->any_early)
        memset(rounds->early, 0, rounds->weights->n * sizeof *rounds->early);
    rounds->any_early = false;
}

void hm_rounds_end(struct hm_rounds *rounds)
{
    rounds->over = true;
}

void hm_rounds_forget(struct hm_rounds *rounds)
{
    hm_rounds_close(rounds);
    rounds->based = false;
}

/* A coordinate of the own weights, and where it is. */
struct place {
    size_t at;
    float grid, owed;
};

static void begin_round(struct hm_rounds *rounds, const struct place *place)
{
    uint32_t base = rounds->weights->b[place->at] - (uint32_t)rounds->early[place->at];
    float w = (float)(int32_t)base * place->grid;
    rounds->base[place->at] = base;
    hm_cell_set(&rounds->w[place->at], w);
    if (rounds->over)
        return;
    rounds->own.b[place->at] = base;
    hm_cell_set(&rounds->own.w[place->at], w + place->owed);
}

static void take(struct hm_rounds *rounds, const struct place *place)
{
    float w = (float)(int32_t)rounds->weights->b[place->at] * place->grid,
          beyond = hm_cell_get(&rounds->weights->w[place->at]) - w;
    if (beyond == 0)
        return;
    hm_cell_set(&rounds->weights->w[place->at], w);
    hm_cell_add(&rounds->own.w[place->at], beyond);
}

static void show(struct hm_rounds *rounds, const struct place *place)
{
    float w = (float)(int32_t)rounds->weights->b[place->at] * place->grid;
    hm_cell_set(&rounds->weights->w[place->at], w + place->owed);
}

static void for_each(struct hm_rounds *rounds,
                     void (*visit)(struct hm_rounds *rounds, const struct place *place))
{
    const struct hm_weights *own = &rounds->own;
    for (uint32_t t = 0; t < own->layout.n_tensors; t++) {
        const struct hm_tensor *tensor = &own->layout.tensor[t];
        struct place place = {.at = hm_tensor_at(tensor), .grid = hm_exp2i(tensor->grid_exp)};
        size_t end = place.at + (size_t)tensor->n_blocks * HM_BLOCK;
        for (; place.at < end; place.at++) {
            place.owed =
                hm_cell_get(&own->w[place.at]) - (float)(int32_t)own->b[place.at] * place.grid;
            visit(rounds, &place);
        }
    }
}

bool hm_rounds_open(struct hm_rounds *rounds, uint64_t steps, uint64_t own_steps)
{
    if (rounds->open)
        return false;
    rounds->open = rounds->based = true;
    rounds->steps = steps - rounds->early_steps;
    rounds->own_steps = own_steps;
    hm_rounds_take(rounds);
    for_each(rounds, begin_round);
    return true;
}

void hm_rounds_take(struct hm_rounds *rounds)
{
    for_each(rounds, take);
}

void hm_rounds_show(struct hm_rounds *rounds)
{
    for_each(rounds, show);
}
