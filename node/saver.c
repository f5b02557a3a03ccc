/* Takes checkpoints while a node trains. The driver copies, between two of its turns; a thread of
 * its own writes, for a disk may take its time and the protocol has none. A checkpoint that cannot
 * be written costs nothing but itself: training goes on, the files that are there stay. */
#include "node/saver.h"
#include "node/node_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LATE_US = 1000000,       /* how long after its time a save waits for a flush */
    MARK_LEAST_US = 5000000, /* between the vectors from which logs are kept */
    PHASES = 4,              /* nodes save at different moments, within a part of the interval */
    WARN_AGAIN_US = 60000000,
};

/* The driver fills the checkpoint while IDLE and sets WRITING; the thread writes and sets WRITTEN;
 * the driver looks at how it went and sets IDLE. Release and acquire: each finds what the other has
 * left. */
enum saver_state { IDLE, WRITING, WRITTEN };

struct hm_saver {
    char path[HM_KEPT_PATH_MAX + 1], previous[HM_KEPT_PATH_MAX + 8];
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    _Atomic int state;
    bool end; /* under mutex */

    struct hm_checkpoint checkpoint;
    enum hm_status status; /* of the last one, with its error and size */
    struct hm_err err;
    uint64_t bytes;

    /* The driver's. What stands under NAME when the first one is written is not always this run's
     * and whole; only then does it become NAME.prev. */
    bool keep_previous, drop_previous;
    uint64_t number, due_us, warned_us;
    uint32_t extracts_seen;
    bool stop_seen;
    bool asked; /* threads, for the states of their optimisers */
    struct hm_vv_entry
        *mark[2]; /* vectors of an earlier one that was written, and of that before */
    size_t n_mark[2];
    uint64_t marked_us;
};

/* ---- writing ---- */

static void write_one(struct hm_saver *saver)
{
    struct hm_kept_writer writer;
    struct hm_sink sink = {hm_kept_put, &writer};
    saver->err.text[0] = 0;
    hm_kept_begin(&writer, saver->path, HM_CHECKPOINT_KIND);
    enum hm_status status = hm_checkpoint_encode(&saver->checkpoint, &sink, &saver->err);
    saver->status =
        hm_kept_commit(&writer, status, saver->keep_previous ? saver->previous : NULL, &saver->err);
    saver->bytes = writer.n;
    if (!saver->status && saver->drop_previous)
        unlink(saver->previous);
}

static void *saver_main(void *argument)
{
    struct hm_saver *saver = argument;
    pthread_mutex_lock(&saver->mutex);
    while (!saver->end) {
        if (atomic_load_explicit(&saver->state, memory_order_acquire) != WRITING) {
            pthread_cond_wait(&saver->moved, &saver->mutex);
            continue;
        }
        pthread_mutex_unlock(&saver->mutex);
        write_one(saver);
        pthread_mutex_lock(&saver->mutex);
        atomic_store_explicit(&saver->state, WRITTEN, memory_order_release);
        pthread_cond_broadcast(&saver->moved);
    }
    pthread_mutex_unlock(&saver->mutex);
    return NULL;
}

/* ---- taking ---- */

/* Steps first: each that is counted is in W then, and in the copy. */
static enum hm_status take(struct hm_node *node, struct hm_err *err)
{
    struct hm_saver *saver = node->saver;
    struct hm_checkpoint *c = &saver->checkpoint;
    hm_combiner_release_all(&node->combiner); /* it is no part of what this node owes */
    c->life = hm_mesh_life(node->mesh);       /* a node that yields goes on as another */
    c->owed_steps = hm_node_settled(node) - node->taken;
    c->time_s = (uint64_t)time(NULL);
    c->number = ++saver->number;
    c->trained_us = node->trained_before_us;
    if (node->train_us) /* else the others had ended before it began */
        c->trained_us += hm_node_now(node) - node->train_us;
    c->cursor = atomic_load_explicit(&node->cursor, memory_order_relaxed);
    if (c->state)
        hm_states_copy(node, c->state);
    bool rounds = node->rounds.weights != NULL;
    if (rounds)
        hm_rounds_show(&node->rounds);
    enum hm_status status =
        hm_checkpoint_take(c, node->mesh, &node->weights, saver->mark[1], saver->n_mark[1], err);
    if (rounds)
        hm_weights_settle(&node->weights);
    return status;
}

static void warn(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    uint64_t now = hm_node_now(node);
    node->report.n_checkpoint_failures++;
    if (saver->warned_us && now - saver->warned_us < WARN_AGAIN_US)
        return;
    saver->warned_us = now;
    hm_node_log(node, HM_NOTE_WARNING, "no checkpoint: %s; training goes on, %s", saver->err.text,
                node->report.n_checkpoints || node->options.resume ? "the one before is kept"
                                                                   : "none is kept as yet");
}

/* What is older than the last but one is kept only for those who lack it now. The others save at
 * other moments, so what they acknowledged since may be missing from their files; and where saves
 * follow each other closely a disk may hold up theirs for longer than two of ours take. */
static void move_marks(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    uint64_t now = hm_node_now(node);
    if (saver->mark[0] && now - saver->marked_us < MARK_LEAST_US)
        return;
    saver->marked_us = now;
    const struct hm_mesh_resume *mesh = &saver->checkpoint.mesh;
    struct hm_vv_entry *mark = malloc((mesh->n_streams + 1) * sizeof *mark);
    if (!mark)
        return; /* more is kept than need be */
    for (size_t i = 0; i < mesh->n_streams; i++)
        mark[i] = mesh->stream[i].at;
    free(saver->mark[1]);
    saver->mark[1] = saver->mark[0];
    saver->n_mark[1] = saver->n_mark[0];
    saver->mark[0] = mark;
    saver->n_mark[0] = mesh->n_streams;
}

static void collect(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    struct hm_node_report *report = &node->report;
    if (saver->status) {
        warn(node);
    } else {
        report->n_checkpoints++;
        report->checkpoint_bytes = saver->bytes;
        report->checkpoint_steps = hm_mesh_resume_steps(&saver->checkpoint.mesh);
        saver->keep_previous = true;
        saver->drop_previous = false;
        if (saver->warned_us)
            hm_node_log(node, HM_NOTE_WARNING, "%s: checkpoints can be written again", saver->path);
        saver->warned_us = 0;
        move_marks(node);
    }
    hm_mesh_resume_fini(&saver->checkpoint.mesh); /* logs are not to live longer for it */
    atomic_store_explicit(&saver->state, IDLE, memory_order_relaxed);
}

/* With a flush just published next to nothing is owed. A node that does not flush, for want of
 * bandwidth say, is saved with what it owes; a thread that is held up, with the state of its
 * optimiser that it gave last. */
static bool is_due(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    uint64_t now = hm_node_now(node);
    uint32_t extracts = atomic_load(&node->shared.extracts_done);
    bool flushed = extracts != saver->extracts_seen;
    saver->extracts_seen = extracts;
    if (!atomic_load(&node->shared.running) || node->ended)
        return false;
    if (atomic_load(&node->stop_wanted) && !saver->stop_seen) {
        saver->stop_seen = true; /* the end may take long, and a second request ends the process */
        return true;
    }
    if (atomic_load(&node->checkpoint_wanted) && atomic_exchange(&node->checkpoint_wanted, false))
        saver->due_us = now;
    if (!saver->due_us || now < saver->due_us)
        return false;
    if (!saver->asked)
        hm_states_ask(node);
    saver->asked = true;
    if (now > saver->due_us + LATE_US)
        return true;
    return hm_states_given(node) && (flushed || hm_node_settled(node) == node->taken);
}

static void set_due(struct hm_node *node)
{
    uint64_t every_us = (uint64_t)(node->options.checkpoint_every * 1e6);
    node->saver->due_us = every_us ? hm_node_now(node) + every_us : 0;
    node->saver->asked = false;
}

/* The first one comes earlier, by a part of the interval that is the node's own. */
static void set_first_due(struct hm_node *node)
{
    uint64_t every_us = (uint64_t)(node->options.checkpoint_every * 1e6);
    set_due(node);
    if (every_us)
        node->saver->due_us -= hm_mix(node->options.life) % (every_us / PHASES + 1);
}

void hm_saver_serve(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    if (!saver)
        return;
    int state = atomic_load_explicit(&saver->state, memory_order_acquire);
    if (state == WRITTEN)
        collect(node);
    if (!saver->due_us && !saver->number && node->train_us)
        set_first_due(node);
    if (state == WRITING || !is_due(node))
        return;
    set_due(node);
    saver->status = take(node, &saver->err);
    if (saver->status) {
        warn(node);
        return;
    }
    pthread_mutex_lock(&saver->mutex);
    atomic_store_explicit(&saver->state, WRITING, memory_order_release);
    pthread_cond_broadcast(&saver->moved);
    pthread_mutex_unlock(&saver->mutex);
}

/* ---- beginning and end ---- */

static enum hm_status open_states(struct hm_node *node, struct hm_err *err)
{
    struct hm_checkpoint *c = &node->saver->checkpoint;
    size_t each = node->model->state_floats;
    if (!each)
        return HM_OK;
    c->state = malloc(node->n_workers * each * sizeof *c->state);
    if (!c->state)
        return hm_fail(err, HM_ENOMEM, "no memory for a copy of the optimiser's state");
    c->n_states = node->n_workers;
    c->state_floats = each;
    hm_states_copy(node, c->state);
    return hm_states_open(node, err);
}

static enum hm_status describe(struct hm_node *node, struct hm_err *err)
{
    struct hm_checkpoint *c = &node->saver->checkpoint;
    *c = (struct hm_checkpoint){.config = node->config,
                                .bulk_n = node->bulk_n,
                                .layout = node->layout,
                                .digest0 = node->digest0,
                                .partition = node->options.train.partition,
                                .rank = node->rank,
                                .ranks = node->ranks,
                                .shard_n = node->shard.n};
    memcpy(c->label, node->options.label, sizeof c->label);
    c->bulk = malloc(node->bulk_n + 1);
    if (!c->bulk)
        return hm_fail(err, HM_ENOMEM, "no memory for checkpoints");
    if (node->bulk_n)
        memcpy(c->bulk, node->bulk, node->bulk_n);
    return open_states(node, err);
}

/* What is there already: the checkpoint that this run goes on from, a damaged one, or that of
 * another run, which makes way. */
static void look_around(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    bool resumed = node->resumed && node->resumed->found;
    saver->keep_previous = resumed && node->resumed->from_newest;
    saver->drop_previous = !resumed;
    if (resumed && access(saver->path, F_OK) != 0)
        saver->keep_previous = true; /* nothing damaged is there that could take its place */
    hm_kept_clean(saver->path);
    hm_kept_clean(saver->previous);
    if (!node->options.resume && access(saver->path, F_OK) == 0)
        hm_node_log(node, HM_NOTE_WARNING,
                    "%s is of a former run and will be replaced; --resume would go on from it",
                    saver->path);
}

enum hm_status hm_saver_open(struct hm_node *node, struct hm_err *err)
{
    const char *path = node->options.checkpoint_path;
    if (!path)
        return HM_OK;
    if (strlen(path) > HM_KEPT_PATH_MAX)
        return hm_fail(err, HM_EUSAGE, "the name of the checkpoint is too long");
    struct hm_saver *saver = node->saver = calloc(1, sizeof *saver);
    if (!saver)
        return hm_fail(err, HM_ENOMEM, "no memory for checkpoints");
    snprintf(saver->path, sizeof saver->path, "%s", path);
    snprintf(saver->previous, sizeof saver->previous, "%s.prev", path);
    pthread_mutex_init(&saver->mutex, NULL);
    pthread_cond_init(&saver->moved, NULL);
    look_around(node);
    enum hm_status status = describe(node, err);
    if (status)
        return status;
    if (pthread_create(&saver->thread, NULL, saver_main, saver) != 0)
        return hm_fail(err, HM_ENOMEM, "cannot start the thread that writes checkpoints");
    saver->started = true;
    return HM_OK;
}

static void wait_for_thread(struct hm_saver *saver)
{
    pthread_mutex_lock(&saver->mutex);
    while (atomic_load_explicit(&saver->state, memory_order_acquire) == WRITING)
        pthread_cond_wait(&saver->moved, &saver->mutex);
    pthread_mutex_unlock(&saver->mutex);
}

void hm_saver_finish(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    bool begun = hm_mesh_phase(node->mesh) >= HM_RUNNING &&
                 !(node->resumed && node->resumed->checkpoint.owed);
    if (!saver)
        return;
    wait_for_thread(saver);
    if (atomic_load(&saver->state) == WRITTEN)
        collect(node);
    if (!begun)
        return; /* there is nothing that the file does not say, or more */
    saver->status = take(node, &saver->err);
    if (!saver->status)
        write_one(saver);
    saver->warned_us = 0;
    collect(node);
}

void hm_saver_close(struct hm_node *node)
{
    struct hm_saver *saver = node->saver;
    if (!saver)
        return;
    if (saver->started) {
        wait_for_thread(saver);
        pthread_mutex_lock(&saver->mutex);
        saver->end = true;
        pthread_cond_broadcast(&saver->moved);
        pthread_mutex_unlock(&saver->mutex);
        pthread_join(saver->thread, NULL);
    }
    hm_checkpoint_fini(&saver->checkpoint);
    free(saver->mark[0]);
    free(saver->mark[1]);
    pthread_mutex_destroy(&saver->mutex);
    pthread_cond_destroy(&saver->moved);
    free(saver);
    node->saver = NULL;
}
