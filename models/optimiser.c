#include "models/optimiser.h"

#include <math.h>
#include <string.h>

static const char *const schedule_name[] = {"constant", "step", "cosine"};

const char *const hm_optimiser_fields[HM_OPTIMISER_FIELDS] = {
    "lr",         "schedule", "momentum",        "nesterov", "lambda", "clip",
    "compensate", "adaptive", "staleness_aware", "horizon",  "warmup"};

/* ---- configuration ---- */

void hm_optimiser_insist(const struct hm_train_options *o, struct hm_fields *fields)
{
    if (o->lr > 0)
        hm_fields_set(fields, "lr", "%.17g", o->lr);
    if (o->schedule)
        hm_fields_set(fields, "schedule", "%s", o->schedule);
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

enum hm_status hm_optimiser_found(const struct hm_train_options *o,
                                  const struct hm_optimiser *usual, uint64_t budget,
                                  struct hm_fields *config, struct hm_err *err)
{
    const char *schedule = schedule_name[budget ? usual->schedule : HM_SCHEDULE_CONSTANT];
    if (o->schedule && !budget && strcmp(o->schedule, schedule) != 0)
        return hm_fail(err, HM_EUSAGE,
                       "--schedule %s is spread over a number of steps; give --epochs or --steps",
                       o->schedule);
    hm_fields_set(config, "lr", "%.17g", usual->lr);
    hm_fields_set(config, "schedule", "%s", schedule);
    hm_fields_set(config, "horizon", "%llu", (unsigned long long)budget);
    hm_fields_set(config, "warmup", "%.17g", usual->warmup);
    hm_fields_set(config, "momentum", "%.9g", (double)usual->momentum);
    hm_fields_set(config, "nesterov", "%d", usual->nesterov);
    hm_fields_set(config, "lambda", "%.9g", (double)usual->decay);
    hm_fields_set(config, "clip", "%.9g", (double)usual->clip);
    hm_fields_set(config, "compensate", "%.9g", (double)usual->compensate);
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
    for (unsigned i = 0; i < sizeof schedule_name / sizeof schedule_name[0]; i++)
        if (name && strcmp(name, schedule_name[i]) == 0) {
            optimiser->schedule = (enum hm_schedule)i;
            return HM_OK;
        }
    return hm_fail(err, HM_EINPUT,
                   "field 'schedule' is '%.40s'; constant, step or cosine is expected",
                   name ? name : "");
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
    return o->lr * schedule_at(o->schedule, x) * fmax(risen, .01);
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
    dense->step(&step, g, read, w, velocity, state + (velocity ? n : 0), n);
}
