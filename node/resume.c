#include "node/node_state.h"
#include "node/saver.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Fields of the configuration that say when training ends. They may differ from the file's: the
 * first node's flags replace them, and the others take the mesh's. */
static const char *const budget_field[] = {"budget", "epochs", "seconds", "steps"};

static int is_budget(const char *name)
{
    for (unsigned i = 0; i < sizeof budget_field / sizeof budget_field[0]; i++)
        if (strcmp(name, budget_field[i]) == 0)
            return 1;
    return 0;
}

/* ---- reading ---- */

/* Whether a file of this workload and of these flags it is. */
static enum hm_status check_flags(const struct hm_node *node, struct hm_checkpoint *c,
                                  struct hm_err *err)
{
    const struct hm_model_ops *ops = node->model->ops;
    const char *workload = hm_fields_get(&c->config, "workload");
    if (!workload || strcmp(workload, ops->name) != 0)
        return hm_fail(err, HM_EREFUSED,
                       "field 'workload' is '%.31s' in the file, this node's '%s'",
                       workload ? workload : "", ops->name);
    enum hm_status status = ops->extend(node->model, &c->config, err);
    if (status)
        return status;
    struct hm_fields wishes = {0};
    ops->insist(node->model, &wishes);
    const struct hm_field *conflict = hm_config_conflict(&c->config, wishes.field, wishes.n);
    if (!conflict)
        return HM_OK;
    const char *ours = hm_fields_get(&c->config, conflict->name);
    return hm_fail(
        err, HM_EUSAGE,
        "field '%s' is '%.60s' in the file and '%.60s' by the flags; leave the flag away",
        conflict->name, ours ? ours : "(none)", conflict->value);
}

static enum hm_status read_one(struct hm_node *node, const char *path, struct hm_err *err)
{
    const struct hm_progress *progress = &node->options.progress;
    struct hm_checkpoint *c = &node->resumed->checkpoint;
    uint8_t *bytes;
    size_t n;
    enum hm_status status = hm_kept_read(path, progress, &bytes, &n, err);
    if (!status)
        status = hm_checkpoint_decode(bytes, n, progress, c, err);
    free(bytes);
    if (!status && (status = check_flags(node, c, err)) != HM_OK)
        hm_checkpoint_fini(c);
    return status ? hm_context(err, status, "%s", path) : HM_OK;
}

static void tell(struct hm_node *node, const char *path)
{
    struct hm_resumed *resumed = node->resumed;
    const struct hm_checkpoint *c = &resumed->checkpoint;
    uint64_t now = (uint64_t)time(NULL);
    resumed->found = 1;
    resumed->steps = hm_mesh_resume_steps(&c->mesh);
    node->report.resumed_steps = resumed->steps;
    hm_node_log(node, HM_NOTE_INFO, "going on from %s: %llu steps, taken %llu s ago", path,
                (unsigned long long)resumed->steps,
                (unsigned long long)(now > c->time_s ? now - c->time_s : 0));
}

/* The newest file will not do. */
static enum hm_status fall_back(struct hm_node *node, const char *path, enum hm_status status,
                                struct hm_err *err)
{
    char previous[HM_KEPT_PATH_MAX + 8];
    struct hm_err second = {""};
    snprintf(previous, sizeof previous, "%s.prev", path);
    int any = access(path, F_OK) == 0, any_previous = access(previous, F_OK) == 0;
    if (!any && !any_previous)
        return HM_OK; /* who founds the mesh cannot do without; who joins one can */
    if (any_previous && read_one(node, previous, &second) == HM_OK) {
        hm_node_log(node, HM_NOTE_WARNING, "%s; going on from the one before, %s", err->text,
                    previous);
        tell(node, previous);
        return HM_OK;
    }
    if (!any)
        *err = second;
    hm_node_log(node, HM_NOTE_ERROR, "%s", err->text);
    if (any_previous && any)
        hm_node_log(node, HM_NOTE_ERROR, "%s", second.text);
    if (status == HM_EUSAGE || status == HM_EREFUSED)
        return status;
    struct hm_err first = *err;
    return hm_fail(
        err, any ? status : HM_ECORRUPT,
        "%.700s; there is no older one to go on from: put another node's .ckpt in its place, "
        "or move it away and let this node join those that go on",
        first.text);
}

enum hm_status hm_resume_load(struct hm_node *node, struct hm_err *err)
{
    const char *path = node->options.checkpoint_path;
    if (!node->options.resume)
        return HM_OK;
    if (!path)
        return hm_fail(err, HM_EUSAGE, "to resume, a checkpoint has to be named");
    node->resumed = calloc(1, sizeof *node->resumed);
    if (!node->resumed)
        return hm_fail(err, HM_ENOMEM, "no memory to resume");
    enum hm_status status = read_one(node, path, err);
    if (status == HM_ESTOPPED || status == HM_ENOMEM)
        return status;
    if (status)
        return fall_back(node, path, status, err);
    node->resumed->from_newest = 1;
    tell(node, path);
    return HM_OK;
}

/* ---- the configuration ---- */

enum hm_status hm_resume_found(struct hm_node *node, struct hm_err *err)
{
    const struct hm_checkpoint *c = &node->resumed->checkpoint;
    if (!node->resumed->found)
        return hm_fail(err, HM_EINPUT,
                       "%s: there is no such checkpoint, nor an older one, and the first node of a "
                       "mesh has to have one to resume it; check --out and --label, or start anew "
                       "without --resume",
                       node->options.checkpoint_path);
    node->config = c->config;
    node->bulk = c->bulk;
    node->bulk_n = c->bulk_n;
    enum hm_status status = node->model->ops->adopt(node->model, &node->config, node->bulk,
                                                    node->bulk_n, &node->layout, err);
    return status ? hm_context(err, status, "resume %s", node->options.checkpoint_path) : HM_OK;
}

void hm_resume_insist(const struct hm_node *node, struct hm_fields *wishes)
{
    const struct hm_fields *config = &node->resumed->checkpoint.config;
    for (size_t i = 0; i < config->n; i++)
        if (!is_budget(config->field[i].name))
            hm_fields_set(wishes, config->field[i].name, "%s", config->field[i].value);
}

/* The first field, of all but the budget, that `asked` has and `config` has otherwise. */
static const struct hm_field *differs(const struct hm_fields *config, const struct hm_fields *asked)
{
    for (size_t i = 0; i < asked->n; i++) {
        const struct hm_field *field = &asked->field[i];
        if (!is_budget(field->name) && hm_config_conflict(config, field, 1))
            return field;
    }
    return NULL;
}

enum hm_status hm_resume_check(const struct hm_node *node, struct hm_err *err)
{
    const struct hm_fields *ours = &node->resumed->checkpoint.config, *mesh = &node->config;
    if (!node->resumed->found) {
        hm_node_log(node, HM_NOTE_WARNING, "%s: there is no such checkpoint; this node joins anew",
                    node->options.checkpoint_path);
        return HM_OK;
    }
    const struct hm_field *field = differs(mesh, ours);
    if (!field)
        field = differs(ours, mesh);
    if (!field)
        return HM_OK;
    const char *there = hm_fields_get(mesh, field->name), *here = hm_fields_get(ours, field->name);
    return hm_fail(err, HM_EREFUSED,
                   "%s is of another mesh: field '%s' is '%.60s' in it and '%.60s' there; start "
                   "without --resume to join",
                   node->options.checkpoint_path, field->name, here ? here : "(none)",
                   there ? there : "(none)");
}

/* ---- the data ---- */

void hm_resume_shard(const struct hm_node *node, unsigned *rank, unsigned *ranks)
{
    const struct hm_resumed *resumed = node->resumed;
    if (!resumed || !resumed->found || node->options.rank >= 0 ||
        resumed->checkpoint.partition != node->options.train.partition ||
        resumed->checkpoint.rank >= resumed->checkpoint.ranks)
        return;
    *rank = resumed->checkpoint.rank;
    *ranks = resumed->checkpoint.ranks;
}

void hm_resume_cursor(struct hm_node *node)
{
    const struct hm_resumed *resumed = node->resumed;
    if (!resumed || !resumed->found)
        return;
    const struct hm_checkpoint *c = &resumed->checkpoint;
    if (c->partition == node->options.train.partition && c->rank == node->rank &&
        c->ranks == node->ranks && c->shard_n == node->shard.n)
        atomic_store(&node->cursor, node->cursor_first = c->cursor);
    else
        hm_node_log(
            node, HM_NOTE_INFO,
            "the examples are others than when the checkpoint was taken; beginning with the "
            "first");
}

/* ---- weights and mesh ---- */

/* What is left of a time budget. */
static void shorten(struct hm_node *node, uint64_t trained_us)
{
    double left = node->model->seconds - (double)trained_us / 1e6;
    if (node->model->seconds > 0)
        node->model->seconds = left > 1e-6 ? left : 1e-6;
    node->trained_before_us = trained_us;
}

enum hm_status hm_resume_install(struct hm_node *node, struct hm_mesh_params *params,
                                 struct hm_err *err)
{
    struct hm_resumed *resumed = node->resumed;
    if (!resumed || !resumed->found)
        return HM_OK;
    struct hm_checkpoint *c = &resumed->checkpoint;
    if (node->model->initial[0]) /* of the file, which is not needed any more */
        node->digest0 = params->digest0 = c->digest0;
    if (c->digest0 != params->digest0)
        return hm_fail(
            err, HM_EREFUSED,
            "%s began with other weights than this program begins with; it is of another "
            "version",
            node->options.checkpoint_path);
    hm_checkpoint_install(c, &node->weights);
    shorten(node, c->trained_us);
    params->resume = &c->mesh;
    return HM_OK;
}

/* The logs are the mesh's now, to keep as long as it wants. */
void hm_resume_installed(struct hm_node *node)
{
    if (!node->resumed || !node->resumed->found)
        return;
    hm_mesh_resume_drop_logs(&node->resumed->checkpoint.mesh);
    free(node->resumed->checkpoint.b);
    node->resumed->checkpoint.b = NULL;
}

/* Without them workers begin at rest, as after a pause that was long enough to forget. */
void hm_resume_states(struct hm_node *node)
{
    if (!node->resumed || !node->resumed->found)
        return;
    struct hm_checkpoint *c = &node->resumed->checkpoint;
    size_t each = node->model->state_floats;
    if (c->n_states == node->n_workers && c->state_floats == each)
        for (unsigned i = 0; i < node->n_workers; i++)
            memcpy(node->worker[i].step.state, c->state + i * each, each * sizeof *c->state);
    else if (c->n_states || each)
        hm_node_log(node, HM_NOTE_WARNING,
                    "%s has velocities of %u threads, %zu numbers each; here are %u with %zu: "
                    "they begin with none",
                    node->options.checkpoint_path, c->n_states, c->state_floats, node->n_workers,
                    each);
    free(c->state);
    c->state = NULL;
    c->n_states = 0;
}

void hm_resume_hand_over(struct hm_node *node)
{
    if (!node->resumed || !node->resumed->checkpoint.owed)
        return;
    int dropped;
    uint64_t steps =
        hm_checkpoint_hand_over(&node->resumed->checkpoint, node->mesh, &node->weights, &dropped);
    hm_dirty_mark_all(&node->combiner.dirty);
    /* No worker runs yet: they count on from here. */
    struct worker *worker = &node->worker[0];
    atomic_fetch_add(&worker->steps, steps);
    atomic_fetch_add(&worker->settled, steps);
    if (dropped)
        hm_node_log(node, HM_NOTE_INFO,
                    "what the former life owed at the checkpoint was published after it");
}

void hm_resume_close(struct hm_node *node)
{
    if (node->resumed)
        hm_checkpoint_fini(&node->resumed->checkpoint);
    free(node->resumed);
    node->resumed = NULL;
}
