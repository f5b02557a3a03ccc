/* hogmesh sim: virtual nodes in virtual time. What it prints is what `run` prints, and how fast the
 * world went. */
#include "node/sim_server.h"
#include "tools/cli.h"
#include "tools/curve_file.h"
#include "tools/screen.h"
#include "tools/summary.h"
#include "tools/trace.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_A_LOOK = 2048, LINKS_NODES_MAX = 64 };

static struct {
    struct cli *cli;
    struct screen screen;
    struct hm_sim_options options;
    struct hm_model *model;
    struct hm_sim *sim;       /* of a mesh, or */
    struct hm_server *server; /* of a server */
    struct hm_faults faults;
    struct trace trace;
    struct curve_file *curves; /* [HM_PEERS_MAX + 1] of nodes; NULL: not wanted */
    json_t *head;              /* of a replayed trace */
    double began;
    volatile sig_atomic_t interrupts;
    int told;
} self;

static void on_signal(int signal_number)
{
    (void)signal_number;
    self.interrupts++;
}

static void on_happening(void *context, const struct hm_sim *sim, const struct hm_sim_happening *h)
{
    (void)context;
    (void)sim;
    char line[HM_SIM_LINE_MAX];
    if (h->what == HM_SIM_SCORED) /* who looks changes nothing: traces are the same */
        return;
    hm_sim_line(h, line);
    trace_line(&self.trace, line);
}

/* A node that begins another life has another label, and with it another file. */
static void on_scored(void *context, uint32_t node, const struct hm_curve_point *point)
{
    (void)context;
    curve_file_add(&self.curves[node], self.cli->out, 0, point);
}

static void on_log(void *context, const struct hm_sim *sim, uint32_t node, enum hm_note_level level,
                   const char *text)
{
    (void)context;
    if (level == HM_NOTE_ERROR || (level == HM_NOTE_WARNING && !self.cli->quiet))
        screen_say(&self.screen, "hogmesh: %.6f s, node%u: %s",
                   (double)(hm_sim_now(sim) - HM_SIM_BORN_US) / 1e6, node, text);
}

/* ---- options ---- */

static enum hm_status read_link(const struct cli *cli, struct hm_err *err)
{
    const char *latency = cli->sim.latency ? cli->sim.latency : "const:100us";
    self.options.link = (struct hm_sim_link){.bandwidth = cli->sim.bandwidth,
                                             .drop = cli->sim.drop,
                                             .duplicate = cli->sim.duplicate,
                                             .reorder = cli->sim.reorder};
    enum hm_status status = hm_dist_parse(&self.options.link.latency, latency, "", err);
    return status ? hm_context(err, HM_EUSAGE, "--latency") : HM_OK;
}

static enum hm_status read_cadence(struct cli *cli, struct hm_err *err)
{
    struct hm_sim_options *o = &self.options;
    enum hm_status status = cli_curves(cli, err);
    if (status)
        return status;
    o->score_every = cli->node.score_every;
    o->score_every_steps = cli->node.score_every_steps;
    if (!cli->score_every && (cli->sim.target_cost > 0 || cli->node.target_accuracy > 0))
        o->score_every = .005;
    if (cli->node_curves && o->score_every <= 0 && !o->score_every_steps)
        return hm_fail(err, HM_EUSAGE, "--node-curves needs --score-every, such as 50k or 10ms");
    o->trajectory_dir = cli->trajectory ? cli->out : NULL;
    o->trajectory_every = cli->trajectory;
    if (!cli->node_curves)
        return HM_OK;
    o->scored = on_scored;
    self.curves = calloc(HM_PEERS_MAX + 1, sizeof *self.curves);
    return self.curves ? HM_OK : hm_fail(err, HM_ENOMEM, "no memory for curves");
}

static enum hm_status read_faults(const struct cli *cli, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    const json_t *plan = json_object_get(self.head, "plan");
    if (json_is_string(plan)) {
        const char *text = json_string_value(plan);
        status = hm_faults_parse(&self.faults, text, strlen(text), self.trace.path, "",
                                 self.options.n, err);
    } else if (cli->sim.faults) {
        status = hm_faults_open(&self.faults, cli->sim.faults, self.options.n, err);
    } else {
        return HM_OK;
    }
    self.options.faults = &self.faults;
    return status ? hm_context(err, HM_EUSAGE, "--faults") : HM_OK;
}

/* A choice of two words. */
static enum hm_status check_word(const char *flag, const char *text, const char *a, const char *b,
                                 struct hm_err *err)
{
    if (!text || strcmp(text, a) == 0 || strcmp(text, b) == 0)
        return HM_OK;
    return hm_fail(err, HM_EUSAGE, "--%s '%s': %s or %s is expected", flag, text, a, b);
}

static bool is_server(const struct cli *cli)
{
    return cli->sim.topology && strcmp(cli->sim.topology, "server") == 0;
}

static enum hm_status check_topology(const struct cli *cli, struct hm_err *err)
{
    enum hm_status status = check_word("topology", cli->sim.topology, "mesh", "server", err);
    if (!status)
        status = check_word("serve", cli->sim.serve, "time", "turns", err);
    if (status)
        return status;
    bool server = is_server(cli);
    if (cli->sim.serve && !server)
        return hm_fail(err, HM_EUSAGE, "--serve is about --topology server");
    if (server && cli->node.train.staleness_bound_given)
        return hm_fail(
            err, HM_EUSAGE,
            "--staleness-bound is about meshes: a server waits for nobody; leave it away, "
            "or --topology server");
    if (server && (cli->sim.faults || cli->sim.drop > 0 || cli->sim.duplicate > 0 ||
                   cli->sim.reorder > 0 || cli->sim.bandwidth > 0))
        return hm_fail(err, HM_EUSAGE,
                       "--topology server has links that only take time (--latency); faults, "
                       "losses and bandwidth are for meshes");
    if (server && cli->node.top > 0)
        return hm_fail(err, HM_EUSAGE,
                       "--topology server is sent whole gradients; --top is for meshes");
    if (server && cli->node.train.combine_given && cli->node.train.combine.rule != HM_RULE_SUM)
        return hm_fail(err, HM_EUSAGE,
                       "--topology server adds all steps up in one place; --combine and --amplify "
                       "are for meshes");
    return HM_OK;
}

static enum hm_status read_options(struct cli *cli, struct hm_err *err)
{
    struct hm_sim_options *o = &self.options;
    enum hm_status status = cli_pace(cli, err);
    if (!status)
        status = check_topology(cli, err);
    if (status)
        return status;
    o->n = cli->n ? cli->n : 2;
    if (is_server(cli) && !cli->node.train.combine_given) {
        cli->node.train.combine.rule = HM_RULE_SUM; /* steps add up in one place */
        cli->node.train.combine_given = 1;
    }
    o->seed = cli->node.train.seed;
    cli->node.train.nodes = o->n;
    if (cli->node.speed <= 0)
        cli->node.speed = hm_workload_find(cli->node.workload)->speed;
    o->node = cli->node;
    o->step_time_nodes = cli->step_time_text ? &cli->step_time_nodes : NULL;
    o->delay_nodes = cli->delay_text ? &cli->delay_nodes : NULL;
    o->target_cost = cli->sim.target_cost;
    o->target_accuracy = cli->node.target_accuracy;
    o->log = on_log;
    if (self.trace.in || cli->sim.trace)
        o->observe = on_happening;
    if ((status = read_link(cli, err)) || (status = read_cadence(cli, err)))
        return status;
    return read_faults(cli, err);
}

/* ---- traces ---- */

/* Flags that say how to run, not what: they are not recorded. */
static int is_private(const char *flag, int *takes_value)
{
    static const struct {
        const char *name;
        int value;
    } names[] = {
        {"--json", 0}, {"--quiet", 0},       {"--trace", 1},      {"--out", 1},
        {"--isa", 1},  {"--node-curves", 0}, {"--trajectory", 1}, {"--measure-staleness", 1}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(flag, names[i].name, n) == 0 && (!flag[n] || flag[n] == '=')) {
            *takes_value = names[i].value && !flag[n];
            return 1;
        }
    }
    return 0;
}

static json_t *recorded_arguments(const struct cli *cli)
{
    json_t *arguments = json_array();
    for (int i = 0, value; i < cli->argc; i++)
        if (is_private(cli->argv[i], &value))
            i += value;
        else
            json_array_append_new(arguments, json_string(cli->argv[i]));
    return arguments;
}

static enum hm_status begin_trace(const struct cli *cli, struct hm_err *err)
{
    if (!cli->sim.trace)
        return HM_OK;
    char *plan = self.options.faults ? hm_faults_write(self.options.faults) : NULL;
    json_t *head =
        json_pack("{s:i, s:s, s:s, s:s, s:o, s:s*}", "hogmesh_trace", 1, "version", HM_VERSION,
                  "workload", cli->node.workload, "isa",
                  hm_kernels_find(cli->node.train.isa ? cli->node.train.isa : "auto")->name,
                  "arguments", recorded_arguments(cli), "plan", plan);
    enum hm_status status = trace_write(&self.trace, cli->sim.trace, head, err);
    json_decref(head);
    free(plan);
    return status;
}

/* Takes the flags from the trace, but for those that say where results go. */
static enum hm_status begin_replay(struct cli *cli, struct hm_err *err)
{
    static struct cli recorded;
    static char *argv[256] = {"sim"};
    enum hm_status status = trace_read(&self.trace, cli->sim.replay, &self.head, err);
    if (status)
        return status;
    const json_t *arguments = json_object_get(self.head, "arguments");
    const char *isa = json_string_value(json_object_get(self.head, "isa"));
    int argc = 1;
    for (size_t i = 0; i < json_array_size(arguments) && argc < 255; i++)
        argv[argc++] = (char *)(uintptr_t)json_string_value(json_array_get(arguments, i));
    if (!isa || cli_parse(&recorded, cli->command, argc, argv) != EXIT_DONE)
        return hm_fail(err, HM_EINPUT, "--replay %s: its flags are not those of this version",
                       cli->sim.replay);
    recorded.node.workload = cli->node.workload;
    recorded.node.train.isa = isa;
    recorded.json = cli->json;
    recorded.quiet = cli->quiet;
    recorded.out = cli->out;
    recorded.node_curves = cli->node_curves;
    recorded.trajectory = cli->trajectory;
    recorded.node.measure_staleness = cli->node.measure_staleness;
    /* Unless the cadence decides when the run ends. */
    if (!recorded.score_every && recorded.sim.target_cost <= 0 &&
        recorded.node.target_accuracy <= 0)
        recorded.score_every = cli->score_every;
    recorded.command = cli->command;
    *cli = recorded;
    return HM_OK;
}

static uint64_t world_now(void)
{
    return self.server ? hm_server_now(self.server) : hm_sim_now(self.sim);
}

static uint64_t world_hash(void)
{
    return self.server ? hm_server_hash(self.server) : hm_sim_hash(self.sim);
}

static void end_trace(void)
{
    char line[HM_SIM_LINE_MAX];
    snprintf(line, sizeof line, "{\"us\":%llu,\"event\":\"end\",\"hash\":\"%016llx\"}",
             (unsigned long long)world_now(), (unsigned long long)world_hash());
    trace_line(&self.trace, line);
}

/* ---- running ---- */

static void show_progress(void)
{
    uint64_t budget, steps = self.server ? hm_server_steps(self.server, &budget)
                                         : hm_sim_steps(self.sim, &budget);
    double seconds = self.cli->node.train.seconds;
    if (budget)
        screen_progress(&self.screen, "simulate", (double)steps, (double)budget, "examples");
    else
        screen_progress(&self.screen, "simulate", (double)(world_now() - HM_SIM_BORN_US) / 1e6,
                        seconds, "virtual seconds");
}

static void heed_interrupts(void)
{
    if (self.interrupts <= self.told || self.told)
        return;
    self.told = 1;
    screen_say(&self.screen, "hogmesh: stopping the mesh; once more to leave at once");
    if (self.server)
        hm_server_stop(self.server);
    for (uint32_t i = 0; self.sim && i < hm_sim_n(self.sim); i++)
        hm_sim_stop(self.sim, i);
}

static bool world_step(void)
{
    return self.server ? hm_server_step(self.server) : hm_sim_step(self.sim);
}

static void simulate(void)
{
    self.began = screen_now();
    for (unsigned n = 1; world_step() && self.interrupts < 2; n++) {
        if (n % EVENTS_A_LOOK)
            continue;
        show_progress();
        heed_interrupts();
    }
    screen_frame(&self.screen, "");
}

/* ---- the summary ---- */

/* In a large mesh links are too many to list: a node's are taken together. */
static void merge_links(struct hm_node_report *report, struct hm_link *all)
{
    *all = (struct hm_link){.label = "*"};
    for (size_t i = 0; i < report->n_links; i++) {
        hm_tally_merge(&all->flushes, &report->link[i].flushes);
        hm_tally_merge(&all->step, &report->link[i].step);
        all->seq += report->link[i].seq;
    }
    report->link = all;
    report->n_links = 1;
}

static json_t *report_of(uint32_t index)
{
    struct hm_node_report report = *hm_node_report(hm_sim_node(self.sim, index));
    struct hm_link all = {0};
    if (self.options.n > LINKS_NODES_MAX)
        merge_links(&report, &all);
    json_t *json = summary_of_node(&report);
    if (report.status || (hm_sim_has_left(self.sim, index) && !report.clean))
        json_object_set_new(json, "hash", json_null()); /* no part of what was agreed */
    hm_tally_fini(&all.flushes);
    hm_tally_fini(&all.step);
    return json;
}

static json_t *worker_reports(void)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < self.options.n; i++)
        json_array_append_new(nodes, summary_of_node(hm_server_report(self.server, i)));
    return nodes;
}

static json_t *reports(void)
{
    if (self.server)
        return worker_reports();
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < hm_sim_n(self.sim); i++) {
        if (hm_sim_node(self.sim, i) && !hm_sim_is_up(self.sim, i))
            json_array_append_new(nodes, report_of(i));
    }
    for (size_t i = 0; i < hm_sim_n_dead(self.sim); i++) {
        const struct hm_sim_dead *dead = hm_sim_dead(self.sim, i);
        char life[17];
        snprintf(life, sizeof life, "%016llx", (unsigned long long)dead->life);
        json_array_append_new(
            nodes, json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:n, s:b, s:s}", "label", dead->label,
                             "life", life, "pid", 0, "steps", (json_int_t)dead->steps, "examples",
                             (json_int_t)dead->steps, "own_seq", (json_int_t)dead->seq, "hash",
                             "clean", 0, "ended", "killed by plan"));
    }
    return nodes;
}

static json_t *curve_json(void)
{
    size_t n;
    const struct hm_curve_point *point =
        self.server ? hm_server_curve(self.server, &n) : hm_sim_curve(self.sim, &n);
    json_t *curve = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(curve, curve_point_json(&point[i]));
    return curve;
}

static json_t *world_json(double wall)
{
    char hash[17];
    uint64_t events = self.server ? hm_server_updates(self.server) : hm_sim_events(self.sim);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)world_hash());
    return json_pack("{s:f, s:I, s:f, s:f, s:s}", "virtual_seconds",
                     (double)(world_now() - HM_SIM_BORN_US) / 1e6, "events", (json_int_t)events,
                     "events_per_second", wall > 0 ? (double)events / wall : 0., "wall_seconds",
                     wall, "trace_hash", hash);
}

static enum hm_status keep(const struct cli *cli, const json_t *summary, struct hm_node *scored,
                           struct hm_err *err)
{
    char path[4096];
    const struct hm_node_report *report = self.server ? hm_server_report(self.server, 0)
                                          : scored    ? hm_node_report(scored)
                                                      : NULL;
    enum hm_status status = HM_OK;
    if (!cli->out || !report)
        return HM_OK;
    snprintf(path, sizeof path, "%s/model.hm", cli->out);
    if (!self.server)
        status = hm_node_save(scored, path, err);
    else if (report->clean)
        status = hm_server_save(self.server, path, err);
    return status ? status : summary_keep(summary, report, cli->out, err);
}

static void print(const struct cli *cli, json_t *summary)
{
    const json_t *sim = json_object_get(summary, "sim");
    FILE *out = cli->json ? stderr : stdout;
    if (!cli->quiet && json_is_string(json_object_get(summary, "model_hash"))) {
        summary_print(summary, out);
        fprintf(out,
                "simulated   %.3f virtual seconds, %.0f events, %.2f s (%.0f events/s), trace %s\n",
                json_number_value(json_object_get(sim, "virtual_seconds")),
                (double)json_integer_value(json_object_get(sim, "events")),
                json_number_value(json_object_get(sim, "wall_seconds")),
                json_number_value(json_object_get(sim, "events_per_second")),
                json_string_value(json_object_get(sim, "trace_hash")));
    }
    if (!cli->json)
        return;
    json_dumpf(summary, stdout, JSON_COMPACT);
    putchar('\n');
}

/* Why there is no model at all. */
static void say_what_failed(void)
{
    if (self.server)
        fprintf(stderr, "hogmesh: %s\n", hm_server_report(self.server, 0)->text);
    for (uint32_t i = 0; !self.server && i < hm_sim_n(self.sim); i++) {
        struct hm_node *node = hm_sim_node(self.sim, i);
        if (node && !hm_sim_is_up(self.sim, i) && hm_node_report(node)->status)
            fprintf(stderr, "hogmesh: %s\n", hm_node_report(node)->text);
    }
}

/* Whether all that was to be written beside the model is. */
static enum hm_status check_outputs(const json_t *summary, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (uint32_t i = 0; self.curves && i <= HM_PEERS_MAX && !status; i++)
        status = curve_file_close(&self.curves[i], err);
    return status ? status : summary_outputs(json_object_get(summary, "per_node"), err);
}

static int conclude(struct cli *cli)
{
    struct hm_err err = {""};
    struct hm_node *scored = NULL;
    double wall = screen_now() - self.began;
    enum hm_status status = self.server ? hm_server_conclude(self.server, &err)
                                        : hm_sim_conclude(self.sim, &scored, &err);
    end_trace();
    json_t *nodes = reports();
    json_t *summary = summary_of_run(cli, "sim", nodes);
    json_decref(nodes);
    json_object_set_new(summary, "sim", world_json(wall));
    if (self.options.score_every > 0 || self.options.score_every_steps)
        json_object_set_new(summary, "curve", curve_json());
    int agreed = json_is_true(json_object_get(summary, "clean")) &&
                 json_is_true(json_object_get(summary, "equal_hashes"));
    int any = json_is_string(json_object_get(summary, "model_hash"));
    if (!any)
        say_what_failed();
    if (!status)
        status = keep(cli, summary, scored, &err);
    if (!status)
        status = check_outputs(summary, &err);
    print(cli, summary);
    json_decref(summary);
    struct hm_err trace_err = {""};
    enum hm_status compared = trace_close(&self.trace, &trace_err);
    if (status || compared) {
        cli_fail(status ? status : compared, status ? &err : &trace_err);
        return EXIT_FAILED;
    }
    if (self.interrupts > 1)
        return EXIT_INTERRUPTED;
    return agreed ? EXIT_DONE : any ? EXIT_UNCLEAN : EXIT_FAILED;
}

static enum hm_status open_world(struct cli *cli, struct hm_err *err)
{
    const struct hm_model_ops *ops = hm_workload_find(cli->node.workload);
    enum hm_status status = cli->out ? make_directory(cli->out, err) : HM_OK;
    if (!status && cli->sim.replay)
        status = begin_replay(cli, err);
    if (!status)
        status = read_options(cli, err);
    if (!status)
        status = begin_trace(cli, err);
    if (!status)
        status = ops->open(&self.model, &cli->node.train, &cli->node.progress, err);
    if (!status && ops->remark && !cli->quiet)
        ops->remark(self.model, screen_remark, &self.screen);
    self.options.model = self.model;
    if (status)
        return status;
    self.options.score_set =
        cli->sim.target_cost > 0 || !self.model->n_test ? HM_TRAIN_SET : HM_TEST_SET;
    if (is_server(cli))
        return hm_server_open(&self.server, &self.options,
                              cli->sim.serve && strcmp(cli->sim.serve, "turns") == 0, err);
    status = hm_sim_open(&self.sim, &self.options, err);
    return status ? status : hm_sim_start_all(self.sim, err);
}

static void close_world(struct cli *cli)
{
    hm_sim_close(self.sim);
    hm_server_close(self.server);
    if (self.model)
        self.model->ops->close(self.model);
    hm_faults_close(&self.faults);
    hm_dist_fini(&self.options.link.latency);
    hm_dist_fini(&cli->step_time);
    hm_dist_fini(&cli->delay);
    hm_node_set_fini(&cli->step_time_nodes);
    hm_node_set_fini(&cli->delay_nodes);
    json_decref(self.head);
    free(self.curves);
}

int cmd_sim(struct cli *cli)
{
    struct hm_err err = {""};
    self.cli = cli;
    self.screen = screen_open(cli->quiet);
    cli->node.progress = (struct hm_progress){cli->quiet ? NULL : screen_progress, &self.screen};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    enum hm_status status = open_world(cli, &err);
    int code;
    if (status) {
        code = cli_fail(status, &err);
    } else {
        simulate();
        code = conclude(cli);
    }
    close_world(cli);
    return code;
}
