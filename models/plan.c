#include "models/plan.h"

#include <stdio.h>
#include <string.h>

static const char *const rule_name[] = {"sum", "amplify", "mean", "hold", "lookahead", "saturate"};

static void set_rule(const struct hm_train_options *o, struct hm_fields *fields)
{
    hm_fields_set(fields, "combine", "%s", rule_name[o->combine.rule]);
    hm_fields_set(fields, "amplify", "%.9g", (double)o->combine.amplify);
}

static void set_initial(const struct hm_train_options *o, struct hm_fields *fields)
{
    if (o->init)
        hm_fields_set(fields, "initial", "%s", o->init_hash);
}

static void set_bound(const struct hm_train_options *o, struct hm_fields *fields)
{
    if (o->staleness_bound_given)
        hm_fields_set(fields, "staleness_bound", "%.0f", o->staleness_bound);
}

static void set_coarser(const struct hm_train_options *o, struct hm_fields *fields)
{
    if (o->coarser)
        hm_fields_set(fields, "coarser", "%u", o->coarser);
}

void hm_plan_insist(const char *workload, const struct hm_train_options *o,
                    struct hm_fields *fields)
{
    hm_fields_set(fields, "workload", "%s", workload);
    if (o->epochs > 0)
        hm_fields_set(fields, "epochs", "%.17g", o->epochs);
    if (o->steps)
        hm_fields_set(fields, "steps", "%llu", (unsigned long long)o->steps);
    if (o->seed)
        hm_fields_set(fields, "seed", "%llu", (unsigned long long)o->seed);
    if (o->seconds > 0)
        hm_fields_set(fields, "seconds", "%.17g", o->seconds);
    if (o->batch)
        hm_fields_set(fields, "batch", "%u", o->batch);
    if (o->combine_given)
        set_rule(o, fields);
    set_bound(o, fields);
    set_initial(o, fields);
    set_coarser(o, fields);
}

static uint64_t set_budget(const struct hm_train_options *o, uint64_t n, double epochs_default,
                           struct hm_fields *config)
{
    double epochs = o->epochs > 0 ? o->epochs : o->steps || o->seconds > 0 ? 0 : epochs_default;
    uint64_t budget = (uint64_t)(epochs * (double)n);
    if (!budget || (o->steps && o->steps < budget))
        budget = o->steps;
    hm_fields_set(config, "budget", "%llu", (unsigned long long)budget);
    hm_fields_set(config, "epochs", "%.17g", epochs);
    hm_fields_set(config, "seconds", "%.17g", o->seconds);
    hm_fields_set(config, "steps", "%llu", (unsigned long long)o->steps);
    return budget;
}

uint64_t hm_plan_found(const char *workload, const struct hm_train_options *o, uint64_t n,
                       double epochs_default, unsigned batch, struct hm_fields *config)
{
    hm_fields_set(config, "workload", "%s", workload);
    hm_fields_set(config, "rows", "%llu", (unsigned long long)n);
    hm_fields_set(config, "batch", "%u", batch);
    hm_fields_set(config, "seed", "%llu", (unsigned long long)o->seed);
    set_rule(o, config);
    set_bound(o, config);
    set_initial(o, config);
    set_coarser(o, config);
    return set_budget(o, n, epochs_default, config);
}

/* Schedule and grids stay as they were: a run that goes on follows the curve that it began. */
enum hm_status hm_plan_extend(const struct hm_train_options *o, struct hm_fields *config,
                              struct hm_err *err)
{
    uint64_t n;
    if (!(o->epochs > 0) && !o->steps && !(o->seconds > 0))
        return HM_OK;
    enum hm_status status = hm_fields_u64(config, "rows", &n, err);
    if (!status)
        set_budget(o, n, 0, config);
    return status;
}

/* ---- adopting ---- */

static enum hm_status adopt_rule(struct hm_model *model, const struct hm_fields *config,
                                 struct hm_err *err)
{
    const char *name = hm_fields_get(config, "combine");
    double amplify;
    enum hm_status status = hm_fields_number(config, "amplify", 0, 1e6, &amplify, err);
    if (status)
        return status;
    if (amplify > 0 && amplify < 1)
        return hm_fail(err, HM_EINPUT,
                       "field 'amplify' is %g; 0 (live nodes) or at least 1 is expected", amplify);
    for (unsigned i = 0; i < sizeof rule_name / sizeof rule_name[0]; i++)
        if (name && strcmp(name, rule_name[i]) == 0) {
            model->combine = (struct hm_combine){(enum hm_rule)i, (float)amplify};
            if (model->combine.rule == HM_RULE_SATURATE && !model->ops->met)
                return hm_fail(err, HM_EUSAGE,
                               "field 'combine' is 'saturate', which is for word2vec; %s has sum, "
                               "amplify, mean, hold and lookahead",
                               model->ops->name);
            return HM_OK;
        }
    return hm_fail(err, HM_EINPUT,
                   "field 'combine' is '%.40s'; sum, amplify, mean, hold, lookahead or "
                   "saturate is expected",
                   name ? name : "");
}

/* A mesh without this field has no bound. */
static enum hm_status adopt_bound(struct hm_model *model, const struct hm_fields *config,
                                  struct hm_err *err)
{
    double bound = -1;
    enum hm_status status = hm_fields_get(config, "staleness_bound")
                                ? hm_fields_number(config, "staleness_bound", 0, 1e9, &bound, err)
                                : HM_OK;
    if (!status && bound == 0 && model->combine.rule != HM_RULE_MEAN &&
        model->combine.rule != HM_RULE_SUM)
        return hm_fail(
            err, HM_EINPUT,
            "field 'staleness_bound' is 0: synchronous rounds have the mean or the sum of "
            "the nodes' gradients, no other combination");
    model->staleness_bound = (int64_t)bound;
    return status;
}

/* A mesh without this field draws its first weights. */
static void adopt_initial(struct hm_model *model, const struct hm_fields *config)
{
    const char *initial = hm_fields_get(config, "initial");
    snprintf(model->initial, sizeof model->initial, "%s", initial ? initial : "");
}

static int is_among(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return 1;
    return 0;
}

static enum hm_status check_fields(const struct hm_fields *config, const char *const *own,
                                   size_t n_own, struct hm_err *err)
{
    static const char *const known[] = {
        "amplify", "batch", "initial", "budget", "coarser",         "combine", "epochs",
        "initial", "rows",  "seconds", "seed",   "staleness_bound", "steps",   "workload"};
    for (size_t i = 0; i < config->n; i++) {
        const char *name = config->field[i].name;
        if (!is_among(name, known, sizeof known / sizeof known[0]) && !is_among(name, own, n_own))
            return hm_fail(err, HM_EREFUSED,
                           "field '%s' (%.60s): this program does not know it; install the mesh's "
                           "version",
                           name, config->field[i].value);
    }
    return HM_OK;
}

enum hm_status hm_plan_adopt(const char *workload, const struct hm_fields *config,
                             const char *const *own, size_t n_own, unsigned batch_max,
                             struct hm_model *model, uint64_t *seed, struct hm_err *err)
{
    const char *theirs = hm_fields_get(config, "workload");
    double batch;
    enum hm_status status;
    if (!theirs || strcmp(theirs, workload) != 0)
        return hm_fail(err, HM_EREFUSED, "field 'workload': the mesh trains '%.31s', this node %s",
                       theirs ? theirs : "?", workload);
    if ((status = check_fields(config, own, n_own, err)) ||
        (status = hm_fields_number(config, "batch", 1, batch_max, &batch, err)) ||
        (status = hm_fields_u64(config, "budget", &model->budget_steps, err)) ||
        (status = hm_fields_u64(config, "seed", seed, err)) ||
        (status = hm_fields_number(config, "seconds", 0, 1e12, &model->seconds, err)) ||
        (status = adopt_rule(model, config, err)) || (status = adopt_bound(model, config, err)))
        return status;
    adopt_initial(model, config);
    model->batch = (unsigned)batch;
    return HM_OK;
}
