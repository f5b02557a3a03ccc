#include "models/optimiser.h"

#include "sparse/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const schedule_name[] = {"constant", "linear", "step", "cosine", "inverse"};

enum {
    N_SCHEDULES = sizeof schedule_name / sizeof schedule_name[0],
    METERED = HM_BLOCK, /* weights of a step that are added by the metered add */
};

/* As word2vec has it. */
static const double LINEAR_LEAST = 1e-4;

const char *const hm_optimiser_fields[HM_OPTIMISER_FIELDS] = {
    "lr",         "schedule", "momentum",        "nesterov", "lambda", "clip",
    "compensate", "adaptive", "staleness_aware", "horizon",  "warmup"};

/* ---- configuration ---- */

static int find_schedule(const char *name, enum hm_schedule *schedule)
{
    for (unsigned i = 0; name && i < N_SCHEDULES; i++)
        if (strcmp(name, schedule_name[i]) == 0) {
            *schedule = (enum hm_schedule)i;
            return 1;
        }
    return 0;
}

/* Whether it is spread over the budget. */
static int is_spread(enum hm_schedule schedule)
{
    return schedule == HM_SCHEDULE_LINEAR || schedule == HM_SCHEDULE_STEP ||
           schedule == HM_SCHEDULE_COSINE;
}

void hm_optimiser_insist(const struct hm_train_options *o, struct hm_fields *fields)
{
    if (o->lr > 0)
        hm_fields_set(fields, "lr", "%.17g", o->lr);
    if (o->schedule)
        hm_fields_set(fields, "schedule", "%s", o->schedule);
    if (o->warmup_given)
        hm_fields_set(fields, "warmup", "%llu", (unsigned long long)o->warmup);
    if (o->momentum_given)
        hm_fields_set(fields, "momentum", "%.9g", o->momentum);
    if (o->momentum_given || o->nesterov)
        hm_fields_set(fields, "nesterov", "%d", o->nesterov);
    if (o->lambda > 0)
        hm_fields_set(fields, "lambda", "%.9g", o->lambda);
    if (o->clip_given)
        hm_fields_set(fields, "clip", "%.9g", o->clip);
    if (o->compensate_given) {
        hm_fields_set(fields, "compensate", "%.9g", o->compensate);
        hm_fields_set(fields, "adaptive", "%d", o->adaptive);
    }
    if (o->staleness_aware)
        hm_fields_set(fields, "staleness_aware", "1");
}

/* As whoever chose it would write it: .9f is 0.9, and who insists on 0.9 is not contradicted. */
static void set_float(struct hm_fields *config, const char *name, float x)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)x);
    hm_fields_set(config, name, strtof(text, NULL) == x ? "%.7g" : "%.9g", (double)x);
}

enum hm_status hm_optimiser_found(const struct hm_train_options *o,
                                  const struct hm_optimiser *usual, uint64_t budget,
                                  struct hm_fields *config, struct hm_err *err)
{
    enum hm_schedule usually = usual->schedule, schedule;
    if (!budget && is_spread(usually))
        usually = HM_SCHEDULE_CONSTANT;
    if (!find_schedule(o->schedule, &schedule))
        schedule = usually;
    if (!budget && is_spread(schedule))
        return hm_fail(err, HM_EUSAGE,
                       "--schedule %s is spread over a number of steps; give --epochs or --steps",
                       o->schedule);
    if (schedule == HM_SCHEDULE_INVERSE && !(usual->t0 > 0))
        return hm_fail(
            err, HM_EUSAGE,
            "--schedule inverse is the svm's; constant, linear, step or cosine is expected");
    hm_fields_set(config, "lr", "%.17g", usual->lr);
    hm_fields_set(config, "schedule", "%s", schedule_name[schedule]);
    hm_fields_set(config, "horizon", "%llu", (unsigned long long)budget);
    hm_fields_set(config, "warmup", "%.17g", usual->warmup);
    set_float(config, "momentum", usual->momentum);
    hm_fields_set(config, "nesterov", "%d", usual->nesterov);
    set_float(config, "lambda", usual->decay);
    set_float(config, "clip", usual->clip);
    set_float(config, "compensate", usual->compensate);
    hm_fields_set(config, "adaptive", "%d", usual->adaptive);
    hm_fields_set(config, "staleness_aware", "%d", usual->staleness_aware);
    hm_optimiser_insist(o, config);
    return HM_OK;
}

static enum hm_status get(const struct hm_fields *config, const char *name, double most, float *out,
                          struct hm_err *err)
{
    double x;
    enum hm_status status = hm_fields_number(config, name, 0, most, &x, err);
    *out = (float)x;
    return status;
}

static enum hm_status get_flag(const struct hm_fields *config, const char *name, int *out,
                               struct hm_err *err)
{
    double x;
    enum hm_status status = hm_fields_number(config, name, 0, 1, &x, err);
    *out = x > 0;
    return status;
}

static enum hm_status get_schedule(struct hm_optimiser *optimiser, const struct hm_fields *config,
                                   struct hm_err *err)
{
    const char *name = hm_fields_get(config, "schedule");
    enum hm_status status = hm_fields_number(config, "horizon", 0, 1e18, &optimiser->horizon, err);
    if (status)
        return status;
    if (!find_schedule(name, &optimiser->schedule))
        return hm_fail(
            err, HM_EINPUT,
            "field 'schedule' is '%.40s'; constant, linear, step, cosine or inverse is expected",
            name ? name : "");
    return optimiser->schedule == HM_SCHEDULE_INVERSE
               ? hm_fields_number(config, "t0", 1e-300, 1e300, &optimiser->t0, err)
               : HM_OK;
}

enum hm_status hm_optimiser_adopt(struct hm_optimiser *optimiser, const struct hm_fields *config,
                                  struct hm_err *err)
{
    struct hm_optimiser o = {0};
    enum hm_status status;
    if ((status = hm_fields_number(config, "lr", 1e-30, 1e30, &o.lr, err)) ||
        (status = get_schedule(&o, config, err)) ||
        (status = hm_fields_number(config, "warmup", 0, 1e18, &o.warmup, err)) ||
        (status = get(config, "momentum", .999999, &o.momentum, err)) ||
        (status = get_flag(config, "nesterov", &o.nesterov, err)) ||
        (status = get(config, "lambda", 1e6, &o.decay, err)) ||
        (status = get(config, "clip", 1e30, &o.clip, err)) ||
        (status = get(config, "compensate", 1e6, &o.compensate, err)) ||
        (status = get_flag(config, "adaptive", &o.adaptive, err)) ||
        (status = get_flag(config, "staleness_aware", &o.staleness_aware, err)))
        return status;
    if (o.schedule == HM_SCHEDULE_INVERSE && !(o.decay > 0))
        return hm_fail(err, HM_EINPUT,
                       "field 'lambda' is %g; the inverse schedule needs one above 0",
                       (double)o.decay);
    *optimiser = o;
    return HM_OK;
}

/* ---- steps ---- */

/* cos(pi x) for 0 <= x <= 1 with the same bits everywhere: Taylor's series around the nearer end.
 */
static double cos_pi(double x)
{
    double near = x > .5 ? 1 - x : x, y = 3.14159265358979311600 * near, sum = 1;
    for (int k = 20; k > 0; k -= 2)
        sum = 1 - sum * y * y / (k * (k - 1));
    return x > .5 ? -sum : sum;
}

static double schedule_at(enum hm_schedule schedule, double x)
{
    switch (schedule) {
    case HM_SCHEDULE_LINEAR:
        return fmax(1 - x, LINEAR_LEAST);
    case HM_SCHEDULE_STEP:
        return x < .5 ? 1 : x < .8 ? .4 : .1;
    case HM_SCHEDULE_COSINE:
        return .5 * (1 + cos_pi(x));
    default:
        return 1;
    }
}

double hm_optimiser_rate(const struct hm_optimiser *o, double t)
{
    double risen = o->warmup > 0 ? fmin(t / o->warmup, 1) : 1;
    double x = o->horizon > 0 ? fmin(t / o->horizon, 1) : 0;
    double rate = o->schedule == HM_SCHEDULE_INVERSE ? 1 / ((double)o->decay * (o->t0 + t))
                                                     : o->lr * schedule_at(o->schedule, x);
    return rate * fmax(risen, .01);
}

size_t hm_optimiser_state(const struct hm_optimiser *o, size_t n)
{
    return (o->momentum > 0 ? n : 0) + (o->compensate > 0 && o->adaptive ? n : 0);
}

void hm_optimiser_step(const struct hm_optimiser *o, const struct hm_dense *dense, const float *g,
                       const float *read, double rate, float scale, double staleness, hm_cell *w,
                       float *state, size_t n)
{
    double norm = o->clip > 0 ? sqrt(dense->square_sum(g, n)) : 0;
    if (o->staleness_aware && staleness > 1)
        rate /= staleness;
    struct hm_dense_step step = {.rate = (float)rate * scale,
                                 .momentum = o->momentum,
                                 .nesterov = o->nesterov,
                                 .decay = o->decay,
                                 .clip = norm > (double)o->clip ? o->clip / (float)norm : 1,
                                 .lambda = read ? o->compensate : 0,
                                 .adaptive = o->adaptive};
    float *velocity = o->momentum > 0 ? state : NULL;
    float *square = step.lambda > 0 && o->adaptive ? state + (velocity ? n : 0) : NULL;
    size_t at = o->apart.at ? o->apart.at : n;
    dense->step(&step, g, read, w, velocity, square, at);
    if (at == n)
        return;
    step.rate *= o->apart.rate;
    step.decay = 0;
    dense->step(&step, g + at, read ? read + at : NULL, w + at, velocity ? velocity + at : NULL,
                square ? square + at : NULL, n - at);
}

/* Nothing is added to some of the weights that the step has moved, by the metered add: it meets
 * others' adds as often as a plain one does. */
static void meter(struct hm_step *step, const float *g, size_t n)
{
    size_t at = hm_mix(step->from) % (n / METERED) * METERED;
    for (size_t i = at; i < at + METERED; i++)
        if (g[i] != 0) {
            step->n_wiped += hm_cell_add_metered(step->w + i, 0);
            step->n_sampled++;
        }
}

void hm_optimiser_add(const struct hm_optimiser *o, const struct hm_dense *dense, const float *g,
                      const float *read, double rate, struct hm_step *step, size_t n)
{
    hm_optimiser_step(o, dense, g, read, rate, step->scale, step->staleness, step->w, step->state,
                      n);
    meter(step, g, n);
}
