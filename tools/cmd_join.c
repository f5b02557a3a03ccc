/* hogmesh join: one node of a mesh, in the foreground; also what `run` starts, then with a pipe to
 * report to. */
#include "tools/cli.h"
#include "tools/curve_file.h"
#include "tools/screen.h"
#include "tools/summary.h"
#include "tools/table.h"
#include "tools/watch.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct {
    struct cli *cli;
    struct screen screen;
    struct hm_node *node;
    struct watch *watch;                                    /* NULL: no page */
    struct table_meter speed, traffic, peer[HM_VIEW_PEERS]; /* of the live table */
    struct curve_file curve; /* the scorer's thread's while the node runs */
    volatile sig_atomic_t interrupts;
} self;

static void on_signal(int signal_number)
{
    (void)signal_number;
    if (self.interrupts++)
        _exit(EXIT_INTERRUPTED);
    /* Within a run the launcher stops the whole mesh; a node of one's own is taken out of it. */
    if (self.node)
        hm_node_stop(self.node, self.cli->report_fd < 0);
}

/* The launcher takes this node out of the run. */
static void on_leave(int signal_number)
{
    (void)signal_number;
    if (self.node)
        hm_node_stop(self.node, 1);
}

/* One JSON object a line to the launcher. A launcher that is gone is not waited for. */
static void report(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return;
    size_t n = strlen(text);
    text[n++] = '\n';
    for (size_t at = 0; at < n;) {
        ssize_t wrote = write(self.cli->report_fd, text + at, n - at);
        if (wrote < 0 && errno != EINTR)
            break;
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    free(text);
}

static void on_log(void *context, enum hm_note_level level, const char *text)
{
    (void)context;
    watch_log(self.watch, level, text);
    if (self.cli->report_fd >= 0)
        report(json_pack("{s:s, s:i, s:o}", "event", "log", "level", (int)level, "text",
                         summary_text(text)));
    else if (!self.cli->quiet || level == HM_NOTE_ERROR)
        screen_say(&self.screen, "hogmesh: %s", text);
}

static void on_bound(void *context, const char *endpoint)
{
    (void)context;
    if (self.cli->report_fd >= 0)
        report(json_pack("{s:s, s:s}", "event", "bound", "endpoint", endpoint));
    else if (!self.cli->quiet)
        screen_say(&self.screen, "hogmesh: listening; others join with --peer %s", endpoint + 6);
}

static struct table_head head_of(const struct hm_view *v)
{
    const struct hm_node_status *s = &v->status;
    double none = s->score.n ? 0 : NAN;
    return (struct table_head){.stage = s->stage,
                               .n_nodes = s->n_live,
                               .examples = (double)s->steps,
                               .budget = (double)s->budget,
                               .rate = self.speed.rate,
                               .seconds = s->seconds,
                               .limit = v->limit_seconds,
                               .accuracy = none + s->score.accuracy,
                               .loss = none + s->score.loss,
                               .cost = none + s->score.cost,
                               .staleness = s->staleness,
                               .lag = s->lag,
                               .repaired = (double)s->repaired,
                               .megabytes = self.traffic.rate};
}

static struct table_row row_of_peer(const struct hm_view *v, unsigned i)
{
    const struct hm_view_peer *peer = &v->peer[i];
    struct table_meter *meter = &self.peer[i];
    if (meter->id != peer->info.life)
        *meter = (struct table_meter){.id = peer->info.life};
    struct table_row row = {.state = hm_peer_state_name(peer->state),
                            .examples = (double)peer->steps,
                            .rate = table_measure(meter, v->status.seconds, (double)peer->steps),
                            .staleness = NAN,
                            .lag = peer->info.lag_flushes,
                            .repaired = NAN,
                            .megabytes = NAN};
    memcpy(row.label, peer->info.label, sizeof row.label);
    for (unsigned k = 0; k < v->n_links; k++)
        if (v->link[k].from == peer->info.life && v->link[k].n)
            row.staleness = v->link[k].sum / (double)v->link[k].n;
    return row;
}

static void show(void)
{
    static struct table_row row[1 + HM_VIEW_PEERS];
    static char text[32768];
    static struct hm_view v;
    unsigned n = 0, width, height;
    hm_node_look(self.node, &v);
    struct table_head head = head_of(&v);
    if (!self.screen.terminal) {
        table_line(&head, text, sizeof text);
        screen_frame(&self.screen, text);
        return;
    }
    row[n++] = (struct table_row){.state = "here",
                                  .examples = (double)v.status.own_steps,
                                  .rate = (double)v.status.own_rate,
                                  .staleness = head.staleness,
                                  .lag = head.lag,
                                  .repaired = head.repaired,
                                  .megabytes = head.megabytes};
    memcpy(row[0].label, v.label, sizeof row[0].label);
    for (unsigned i = 0; i < v.n_peers; i++)
        if (v.peer[i].state != HM_PEER_LEFT)
            row[n++] = row_of_peer(&v, i);
    screen_size(&width, &height);
    table_draw(&head, row, n, width, height, text, sizeof text);
    screen_frame(&self.screen, text);
}

static void on_status(void *context, const struct hm_node_status *s)
{
    (void)context;
    watch_look(self.watch, self.node);
    if (self.cli->report_fd < 0) {
        table_measure(&self.speed, s->seconds, (double)s->steps);
        table_measure(&self.traffic, s->seconds,
                      1e-6 * (double)(s->bytes_sent + s->bytes_received));
        if (screen_due(&self.screen))
            show();
        return;
    }
    report(json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:i, s:o, s:o, s:o, s:f, s:I, s:I, s:I}", "event",
        "status", "stage", s->stage, "steps", (json_int_t)s->steps, "budget", (json_int_t)s->budget,
        "own_steps", (json_int_t)s->own_steps, "rate", (json_int_t)s->own_rate, "seq",
        (json_int_t)s->seq, "seconds", s->seconds, "n_live", (int)s->n_live, "accuracy",
        hm_json_number(s->score.n ? s->score.accuracy : -1), "cost", hm_json_number(s->score.cost),
        "loss", hm_json_number(s->score.loss), "staleness", s->staleness, "lag", (json_int_t)s->lag,
        "repaired", (json_int_t)s->repaired, "bytes",
        (json_int_t)(s->bytes_sent + s->bytes_received)));
}

/* From the thread that scores. */
static void on_scored(void *context, const struct hm_curve_point *point)
{
    (void)context;
    watch_scored(self.watch, point);
    if (self.cli->node_curves)
        curve_file_add(&self.curve, self.cli->out, self.cli->node.resume, point);
}

static int on_progress(void *context, const char *what, double done, double total, const char *unit)
{
    (void)context;
    watch_progress(self.watch, what, done, total);
    if (self.interrupts)
        return 1;
    return self.cli->report_fd >= 0 || self.cli->quiet
               ? 0
               : screen_progress(&self.screen, what, done, total, unit);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (self.cli->report_fd < 0)
        return;
    struct sigaction leave = {.sa_handler = on_leave};
    sigaction(SIGUSR1, &leave, NULL);
    /* No orphans when the launcher is killed. A node that stands still would never heed SIGTERM. */
    prctl(PR_SET_PDEATHSIG, self.cli->pausable ? SIGKILL : SIGTERM);
}

static void keep(const struct cli *cli, const json_t *summary, struct hm_err *err,
                 enum hm_status *status)
{
    char path[4096];
    const struct hm_node_report *r = hm_node_report(self.node);
    if (!cli->out || *status)
        return;
    snprintf(path, sizeof path, "%s/model.hm", cli->out);
    if (cli->report_fd < 0 || r->is_first)
        *status = hm_node_save(self.node, path, err);
    if (!*status && (cli->report_fd < 0 || r->is_first))
        *status = summary_keep(summary, r, cli->out, err);
}

static enum hm_status conclude(const struct cli *cli, enum hm_status status, struct hm_err *err)
{
    json_t *node = summary_of_node(hm_node_report(self.node));
    struct hm_err curve_err = {""};
    if (curve_file_close(&self.curve, &curve_err))
        json_object_set_new(node, "output_error", summary_text(curve_err.text));
    if (cli->report_fd >= 0) {
        keep(cli, NULL, err, &status);
        json_object_set_new(node, "event", json_string(status ? "failed" : "end"));
        json_object_set_new(node, "status", json_integer(status));
        json_object_set_new(node, "error", summary_text(err->text));
        report(node);
        return status;
    }
    if (status) {
        json_decref(node);
        return status;
    }
    json_t *nodes = json_array();
    json_array_append_new(nodes, node);
    json_t *summary = summary_of_run(cli, "join", nodes);
    json_decref(nodes);
    keep(cli, summary, err, &status);
    if (!status)
        status = summary_outputs(json_object_get(summary, "per_node"), err);
    if (!cli->quiet)
        summary_print(summary, cli->json ? stderr : stdout);
    if (cli->json) {
        json_dumpf(summary, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(summary);
    return status;
}

/* This node's own part of --step-time and --delay. */
static enum hm_status take_pace(struct cli *cli, struct hm_err *err)
{
    enum hm_status status = cli_pace(cli, err);
    if (status)
        return status;
    bool all = (!cli->step_time_text || hm_node_set_is_all(&cli->step_time_nodes)) &&
               (!cli->delay_text || hm_node_set_is_all(&cli->delay_nodes));
    if (cli->node.rank < 0 && !all)
        return hm_fail(err, HM_EUSAGE,
                       "--step-time and --delay name nodes, but this one has no number; add "
                       "--rank I/N");
    uint32_t rank = cli->node.rank < 0 ? 0 : (uint32_t)cli->node.rank;
    if (!hm_node_set_has(&cli->step_time_nodes, rank))
        cli->node.step_time = NULL;
    if (!hm_node_set_has(&cli->delay_nodes, rank))
        cli->node.delay = NULL;
    return HM_OK;
}

/* Without a name of one's own: that of the one checkpoint that is there. */
static enum hm_status find_label(struct cli *cli, struct hm_err *err)
{
    unsigned n = 0;
    char *label = cli->node.label;
    DIR *dir = opendir(cli->out);
    if (!dir)
        return hm_fail(err, HM_EIO, "%s: %s", cli->out, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *dot = strstr(entry->d_name, ".ckpt");
        size_t length = dot ? (size_t)(dot - entry->d_name) : 0;
        bool kept = dot && (strcmp(dot, ".ckpt") == 0 || strcmp(dot, ".ckpt.prev") == 0);
        if (!kept || !length || length > HM_LABEL_MAX)
            continue;
        n += strncmp(label, entry->d_name, length) != 0 || label[length];
        snprintf(label, sizeof cli->node.label, "%.*s", (int)length, entry->d_name);
    }
    closedir(dir);
    if (n == 1)
        return HM_OK;
    if (n)
        return hm_fail(err, HM_EUSAGE,
                       "%s has the checkpoints of several nodes; --label says which to go on from",
                       cli->out);
    return hm_fail(err, HM_EUSAGE,
                   "%s has no checkpoint to go on from; check --out, or leave --resume away",
                   cli->out);
}

/* DIR/LABEL.ckpt, and DIR/trajectory-LABEL */
static enum hm_status name_files(struct cli *cli, struct hm_err *err)
{
    static char path[4200], trajectory[4200];
    if (!cli->out && cli->node.resume)
        return hm_fail(err, HM_EUSAGE, "--resume needs --out DIR, where the checkpoint is");
    if (!cli->out)
        return HM_OK;
    enum hm_status status = HM_OK;
    if (!cli->node.label[0] && cli->node.resume)
        status = find_label(cli, err);
    else if (!cli->node.label[0])
        hm_node_default_label(cli->node.label);
    snprintf(path, sizeof path, "%s/%s.ckpt", cli->out, cli->node.label);
    cli->node.checkpoint_path = path;
    if (!cli->trajectory)
        return status;
    snprintf(trajectory, sizeof trajectory, "%s/trajectory-%s", cli->out, cli->node.label);
    cli->node.trajectory_path = trajectory;
    cli->node.trajectory_every = cli->trajectory;
    return status;
}

/* The curve of the mesh is drawn by one of the nodes of a run: the others would draw nearly the
 * same. */
static enum hm_status choose_curves(struct cli *cli, struct hm_err *err)
{
    struct hm_node_options *o = &cli->node;
    enum hm_status status = cli_curves(cli, err);
    bool of_mesh = (!cli->quiet || cli->out || cli->http) && (cli->report_fd < 0 || o->rank <= 0);
    if (!of_mesh && !cli->node_curves)
        o->score_every_steps = 0;
    if (!of_mesh && !cli->node_curves)
        o->score_every = 0;
    else if (!cli->score_every)
        o->score_every = .5;
    if (of_mesh && !cli->score_every && cli->quiet && !cli->out) { /* for the page alone */
        o->score_every = 5;
        o->score_part = .004;
    }
    if (cli->node_curves || cli->http)
        o->scored = on_scored;
    return status;
}

/* Where the node can be watched; before its data is read, which may take long. */
static enum hm_status open_watch(const struct cli *cli, struct hm_err *err)
{
    enum hm_status status = cli->http ? watch_open(&self.watch, cli->http, err) : HM_OK;
    if (!self.watch)
        return status;
    if (cli->report_fd >= 0)
        report(json_pack("{s:s, s:s}", "event", "page", "url", self.watch->url));
    else
        screen_say(&self.screen, "hogmesh: watch it at %s", self.watch->url);
    return status;
}

int cmd_join(struct cli *cli)
{
    struct hm_err err = {""};
    self.cli = cli;
    self.screen = screen_open(cli->quiet || cli->report_fd >= 0);
    enum hm_status status = take_pace(cli, &err);
    if (status)
        return cli_fail(status, &err);
    catch_signals();
    cli->node.log = on_log;
    cli->node.bound = on_bound;
    cli->node.status = on_status;
    cli->node.progress = (struct hm_progress){on_progress, NULL};
    cli->node.train.nodes = cli->node.expect;
    status = choose_curves(cli, &err);
    if (!status && cli->out)
        status = make_directory(cli->out, &err);
    if (!status)
        status = name_files(cli, &err);
    if (!status)
        status = open_watch(cli, &err);
    if (!status)
        status = hm_node_open(&self.node, &cli->node, &err);
    if (!status) {
        if (self.interrupts) /* while the data was mapped, when there was no node to stop */
            hm_node_stop(self.node, cli->report_fd < 0);
        status = hm_node_run(self.node, &err);
        status = conclude(cli, status, &err);
        watch_end(self.watch, status, err.text);
    } else if (cli->report_fd >= 0)
        report(json_pack("{s:s, s:i, s:o}", "event", "failed", "status", (int)status, "error",
                         summary_text(err.text)));
    watch_close(self.watch);
    struct hm_node *node = self.node;
    self.node = NULL;
    hm_node_close(node);
    return status && cli->report_fd < 0 ? cli_fail(status, &err) : status ? EXIT_FAILED : EXIT_DONE;
}
