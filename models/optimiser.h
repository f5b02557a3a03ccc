/* How gradients become steps: learning rate and schedule, momentum, weight decay, clipping, what is
 * done about delays. Part of the configuration: fields "lr", "schedule", "momentum", "nesterov",
 * "lambda" (weight decay), "warmup", "clip", "compensate", "adaptive", "staleness_aware"; with the
 * inverse schedule also "t0", which the workload sets.
 *
 * The rate of a step is lr times the schedule's factor at its mesh-wide time, divided by the
 * staleness if that is asked for: the updates that reached W between reading it and adding to it,
 * as they count where the step is made (Zhang and others, Staleness-aware Async-SGD, arXiv
 * 1511.05950).
 */
#ifndef HM_MODELS_OPTIMISER_H
#define HM_MODELS_OPTIMISER_H

#include "models/dense.h"
#include "models/model.h"

enum hm_schedule {
    HM_SCHEDULE_CONSTANT,
    HM_SCHEDULE_LINEAR,  /* from 1 to a ten-thousandth */
    HM_SCHEDULE_STEP,    /* 0.4 from half of the budget on, 0.1 from four fifths on */
    HM_SCHEDULE_COSINE,  /* half a cosine from 1 to 0 */
    HM_SCHEDULE_INVERSE, /* 1 / (lambda (t0 + t)), whatever lr is: for what is strongly convex */
};

struct hm_optimiser {
    double lr, horizon; /* horizon: mesh-wide steps that the schedule is spread over */
    enum hm_schedule schedule;
    double t0;     /* of the inverse schedule; 0: the workload has no use for that */
    double warmup; /* mesh-wide steps over which the rate rises to its value; 0: at once */
    float momentum, decay, clip; /* clip: largest norm of a gradient; 0: no limit */
    int nesterov;
    float compensate; /* lambda of delay compensation; 0: none */
    int adaptive, staleness_aware;
    struct {
        size_t at; /* weights from here on, a multiple of 64; 0: there are none */
        float rate;
    } apart; /* they do not decay, and learn at so many times the rate */
};

/* Of the fields, those that explicit options fix. */
void hm_optimiser_insist(const struct hm_train_options *options, struct hm_fields *fields);

/* Sets all of them but t0: what options say, and `usual` where they say nothing. budget 0: there is
 * none, and nothing can be spread over it (HM_EUSAGE when that was asked for). */
enum hm_status hm_optimiser_found(const struct hm_train_options *options,
                                  const struct hm_optimiser *usual, uint64_t budget,
                                  struct hm_fields *config, struct hm_err *err);
enum hm_status hm_optimiser_adopt(struct hm_optimiser *optimiser, const struct hm_fields *config,
                                  struct hm_err *err);

/* The names of the fields. */
extern const char *const hm_optimiser_fields[];
enum { HM_OPTIMISER_FIELDS = 11 };

double hm_optimiser_rate(const struct hm_optimiser *optimiser, double t);

/* Floats that it keeps for each thread, for a model of n: zeroed at the start. */
size_t hm_optimiser_state(const struct hm_optimiser *optimiser, size_t n);

/* A step of all n weights by gradient g, taken at `read` (NULL unless compensate). rate is
 * hm_optimiser_rate when the gradient was taken; scale the combination's. */
void hm_optimiser_step(const struct hm_optimiser *optimiser, const struct hm_dense *dense,
                       const float *g, const float *read, double rate, float scale,
                       double staleness, hm_cell *w, float *state, size_t n);

/* The same with scale, staleness, weights and state of a worker's step. Some of the adds are
 * metered. */
void hm_optimiser_add(const struct hm_optimiser *optimiser, const struct hm_dense *dense,
                      const float *g, const float *read, double rate, struct hm_step *step,
                      size_t n);

#endif
