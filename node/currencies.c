#include "node/currencies.h"

#include "node/node_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tallies are exact up to 128 units, and reach 2^41 of them. */
const double hm_currency_unit[HM_CURRENCIES] = {
    [HM_CURRENCY_UPDATES] = 0x1p-10,  [HM_CURRENCY_DISTANCE] = 0x1p-20,
    [HM_CURRENCY_RELATIVE] = 0x1p-30, [HM_CURRENCY_TOUCHED] = 0x1p-30,
    [HM_CURRENCY_IN_STEPS] = 0x1p-20, [HM_CURRENCY_TURN] = 0x1p-30,
};

struct hm_gauge {
    uint64_t every, count;
    bool measures; /* the gradient under way */
    uint64_t others;
    size_t n;
    float *w;             /* [n] as it was read */
    float *stale, *fresh; /* [n] steps, 0 between two measurements */
    struct hm_step step;
    struct hm_grad grad;
    struct hm_currencies all;
    struct hm_currency_sums recent;
};

void hm_currencies_merge(struct hm_currencies *into, const struct hm_currencies *other)
{
    into->n += other->n;
    into->n_zero += other->n_zero;
    for (unsigned i = 0; i < HM_CURRENCIES; i++)
        hm_tally_merge(&into->tally[i], &other->tally[i]);
}

void hm_currencies_fini(struct hm_currencies *currencies)
{
    for (unsigned i = 0; i < HM_CURRENCIES; i++)
        hm_tally_fini(&currencies->tally[i]);
    *currencies = (struct hm_currencies){0};
}

enum hm_status hm_gauge_open(struct hm_gauge **out, const struct hm_model *model, size_t n,
                             uint64_t every, struct hm_err *err)
{
    struct hm_gauge *gauge = *out = calloc(1, sizeof *gauge);
    if (gauge) {
        gauge->every = every;
        gauge->n = n;
        gauge->w = calloc(n, sizeof *gauge->w);
        gauge->stale = calloc(n, sizeof *gauge->stale);
        gauge->fresh = calloc(n, sizeof *gauge->fresh);
        if (gauge->w && gauge->stale && gauge->fresh &&
            !hm_step_open(&gauge->step, model, NULL, err) &&
            !hm_grad_open(&gauge->grad, model, err))
            return HM_OK;
    }
    hm_gauge_close(gauge);
    *out = NULL;
    return hm_fail(err, HM_ENOMEM, "no memory to measure staleness");
}

uint64_t hm_gauge_bytes(const struct hm_model *model, size_t n)
{
    return 3 * n * sizeof(float) + model->scratch_bytes + model->state_floats * sizeof(float) +
           model->grad_max * (sizeof(struct hm_span) + sizeof(float));
}

void hm_gauge_close(struct hm_gauge *gauge)
{
    if (!gauge)
        return;
    hm_currencies_fini(&gauge->all);
    hm_grad_close(&gauge->grad);
    hm_step_close(&gauge->step);
    free(gauge->w);
    free(gauge->stale);
    free(gauge->fresh);
    free(gauge);
}

void hm_gauge_read(struct hm_gauge *gauge, const hm_cell *w, uint64_t others)
{
    if (!gauge)
        return;
    /* Not the first of each: what begins is less stale than what goes on. */
    gauge->measures = gauge->count++ % gauge->every == gauge->every / 2;
    gauge->others = others;
    for (size_t i = 0; gauge->measures && i < gauge->n; i++)
        gauge->w[i] = hm_cell_get(&w[i]);
}

/* Spans may meet a coordinate again: what they come to there is the sum. */
static void spread(const struct hm_grad *grad, float *out)
{
    const float *g = grad->value;
    for (uint32_t i = 0; i < grad->n_spans; i++)
        for (uint32_t k = 0; k < grad->span[i].n; k++)
            out[grad->span[i].at + k] += grad->span[i].rate * *g++;
}

/* Squares of lengths, and what they are of. */
struct lengths {
    double w, moved;                 /* over all coordinates */
    double w_touched, moved_touched; /* over those that the gradient touches */
    double stale, fresh, dot;
};

static struct lengths lengths_of(const struct hm_gauge *gauge, const hm_cell *at)
{
    struct lengths l = {0};
    for (size_t i = 0; i < gauge->n; i++) {
        double w = (double)hm_cell_get(&at[i]), moved = w - (double)gauge->w[i],
               stale = (double)gauge->stale[i], fresh = (double)gauge->fresh[i];
        l.w += w * w;
        l.moved += moved * moved;
        l.stale += stale * stale;
        l.fresh += fresh * fresh;
        l.dot += stale * fresh;
        if (stale != 0) {
            l.w_touched += w * w;
            l.moved_touched += moved * moved;
        }
    }
    return l;
}

static double ratio(double a, double b)
{
    return b > 0 ? sqrt(a / b) : 0;
}

/* Equal gradients come to 0 exactly: the root of a square is what was squared. */
static double turn_of(const struct lengths *l)
{
    double cosine = l->stale > 0 && l->fresh > 0 ? l->dot / sqrt(l->stale * l->fresh) : 0;
    return 1 - fmin(fmax(cosine, -1), 1);
}

static void note(struct hm_gauge *gauge, enum hm_currency currency, double x)
{
    hm_tally_add(&gauge->all.tally[currency],
                 (uint64_t)llround(fmin(x / hm_currency_unit[currency], 0x1p62)));
}

static void note_all(struct hm_gauge *gauge, const struct lengths *l, double updates, float scale)
{
    const double relative = ratio(l->moved, l->w), turn = turn_of(l);
    struct hm_currency_sums *recent = &gauge->recent;
    gauge->all.n++;
    recent->n++;
    recent->updates += updates;
    recent->relative += relative;
    note(gauge, HM_CURRENCY_UPDATES, updates);
    note(gauge, HM_CURRENCY_DISTANCE, sqrt(l->moved));
    note(gauge, HM_CURRENCY_RELATIVE, relative);
    if (l->stale > 0) {
        const double step = (double)scale * (double)scale * l->stale;
        note(gauge, HM_CURRENCY_TOUCHED, ratio(l->moved_touched, l->w_touched));
        note(gauge, HM_CURRENCY_IN_STEPS, ratio(l->moved, step));
    }
    if (!(l->stale > 0) && !(l->fresh > 0)) {
        gauge->all.n_zero++;
        return;
    }
    recent->n_turn++;
    recent->turn += turn;
    note(gauge, HM_CURRENCY_TURN, turn);
}

void hm_gauge_add(struct hm_gauge *gauge, const struct hm_model *model,
                  const struct hm_shard *shard, const struct hm_step *step,
                  const struct hm_grad *stale, uint64_t others)
{
    if (!gauge || !gauge->measures)
        return;
    struct hm_step own = *step;
    own.scratch = gauge->step.scratch;
    own.state = gauge->step.state;
    own.ahead = NULL;
    own.read = NULL;
    own.dirty = NULL;
    gauge->grad.n_spans = gauge->grad.n_values = 0;
    model->ops->grad(model, shard, &own, &gauge->grad);
    spread(stale, gauge->stale);
    spread(&gauge->grad, gauge->fresh);
    struct lengths l = lengths_of(gauge, step->w);
    memset(gauge->stale, 0, gauge->n * sizeof *gauge->stale);
    memset(gauge->fresh, 0, gauge->n * sizeof *gauge->fresh);
    double updates = others > gauge->others ? (double)(others - gauge->others) / model->batch : 0;
    if (isfinite(l.w) && isfinite(l.moved) && isfinite(l.stale) && isfinite(l.fresh))
        note_all(gauge, &l, updates, step->scale); /* what diverges has no measure */
    gauge->measures = false;
}

const struct hm_currencies *hm_gauge_currencies(const struct hm_gauge *gauge)
{
    return &gauge->all;
}

void hm_gauge_take(struct hm_gauge *gauge, struct hm_currency_sums *sums)
{
    if (!gauge)
        return;
    sums->n += gauge->recent.n;
    sums->n_turn += gauge->recent.n_turn;
    sums->updates += gauge->recent.updates;
    sums->relative += gauge->recent.relative;
    sums->turn += gauge->recent.turn;
    gauge->recent = (struct hm_currency_sums){0};
}
