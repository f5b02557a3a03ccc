/* hogmesh run: starts N nodes on this host, shows how they do, and sums up. It takes no part in the
 * training: its children are exactly the nodes, and they would go on without it if it did not ask
 * them to end with it. */
#include "tools/run.h"
#include "tools/summary.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8 << 20, SEEDS_MAX = 8 };

#define GRACE_SECONDS    .5
#define PATIENCE_SECONDS 2.5

struct run run;

static void on_signal(int signal_number)
{
    (void)signal_number;
    run.interrupts++;
}

int child_lives(const struct child *child)
{
    return child->pid > 0 && !child->reaped;
}

int run_can_be_asked(const struct child *child)
{
    return child_lives(child) && child->begun && !child->paused && !child->leaving;
}

/* A node on another host hears a line, and the end of file; ssh itself is not to hear the signal.
 */
static void signal_far_child(struct child *child, int signal_number)
{
    if (signal_number == SIGINT && child->control >= 0 && write(child->control, "stop\n", 5) == 5)
        return;
    if (child->control >= 0)
        close(child->control);
    child->control = -1;
    if (signal_number == SIGKILL)
        kill(child->pid, SIGKILL);
}

static void signal_children(int signal_number)
{
    for (unsigned i = 0; i < run.n_children; i++)
        if (child_lives(&run.child[i]) && run.hosts.n)
            signal_far_child(&run.child[i], signal_number);
        else if (child_lives(&run.child[i]))
            kill(run.child[i].pid, signal_number);
}

/* ---- starting ---- */

static void add_text(char **argv, int *n, const char *flag, const char *value)
{
    argv[(*n)++] = strdup(flag);
    if (value)
        argv[(*n)++] = strdup(value);
}

/* How many of the arguments that begin here are the launcher's own and not for nodes. */
static int own_arguments(const char *const *argv)
{
    static const char *const valued[] = {"-n",      "--nodes", "--faults", "--http",
                                         "--hosts", "--ssh",   "--program"},
                             *const joined[] = {"--nodes=", "--faults=", "--http=",
                                                "--hosts=", "--ssh=",    "--program="};
    const char *a = *argv;
    for (unsigned i = 0; i < sizeof valued / sizeof valued[0]; i++)
        if (strcmp(a, valued[i]) == 0)
            return 2;
    for (unsigned i = 0; i < sizeof joined / sizeof joined[0]; i++)
        if (strncmp(a, joined[i], strlen(joined[i])) == 0)
            return 1;
    return (strncmp(a, "-n", 2) == 0 && a[2] >= '0' && a[2] <= '9') || strcmp(a, "--json") == 0;
}

/* Whom to ask: the first ones all ask the first, who comes late asks those that live. */
static void add_peers(const struct child *child, char **argv, int *n)
{
    int seeds = 0;
    for (unsigned i = 0; i < run.n_children && seeds < SEEDS_MAX; i++) {
        const struct child *other = &run.child[i];
        if (other == child || !other->endpoint[0])
            continue;
        if (child->late ? run_can_be_asked(other) : i == 0) {
            add_text(argv, n, "--peer", other->endpoint);
            seeds++;
        }
    }
}

/* What the plan says of a node's pace comes last: it overrides what the command says for all. */
static void add_pace(unsigned node, char **argv, int *n)
{
    char text[RUN_PACE_TEXT_MAX];
    if (run_faults_pace(node, RUN_STEP_TIME, text))
        add_text(argv, n, "--step-time", text);
    if (run_faults_pace(node, RUN_DELAY, text))
        add_text(argv, n, "--delay", text);
}

/* What its line says comes last: it overrides what the command says for all. */
static void add_host(const struct host *host, char **argv, int *n)
{
    add_text(argv, n, "--bind", host->address);
    for (unsigned i = 0; i < host->n_flags; i++)
        add_text(argv, n, host->flag[i], NULL);
}

/* The flags of a node: those of this command without its own ones, --out stays, plus what the
 * launcher decides. A node that comes late takes the part of the data of one of the first. */
static void node_arguments(const struct cli *cli, const struct child *child, char **argv)
{
    int n = 0, own;
    char text[64];
    add_text(argv, &n, "hogmesh", NULL);
    add_text(argv, &n, "join", cli->node.workload);
    for (int k = 0; k < cli->argc; k += own ? own : 1)
        if (!(own = own_arguments(cli->argv + k)))
            add_text(argv, &n, cli->argv[k], NULL);
    snprintf(text, sizeof text, "%u", run.n);
    add_text(argv, &n, "--expect", text);
    if (!run.hosts.n)
        add_text(argv, &n, "--local-nodes", text);
    snprintf(text, sizeof text, "%u/%u", child->node % run.n, run.n);
    add_text(argv, &n, "--rank", text);
    add_text(argv, &n, "--label", child->label);
    snprintf(text, sizeof text, "%d", run.hosts.n ? STDOUT_FILENO : child->report_fd);
    add_text(argv, &n, "--report-fd", text);
    if (cli->http && child->node == 0) /* all see the whole mesh: one page is enough */
        add_text(argv, &n, "--http", cli->http);
    if (run_faults_pause())
        add_text(argv, &n, "--pausable", NULL);
    add_peers(child, argv, &n);
    add_pace(child->node, argv, &n);
    if (run.hosts.n)
        add_host(&run.hosts.host[child->node], argv, &n);
    argv[n] = NULL;
}

/* When every thread of every node can have a processor to itself, each node gets its own: otherwise
 * the kernel now and then puts two workers on one processor while a protocol thread runs on the
 * other. More nodes than that are left to it. */
static void take_own_processors(const struct cli *cli, unsigned i)
{
    cpu_set_t allowed, own;
    unsigned threads = cli->node.train.threads, seen = 0;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        run.n * threads > (unsigned)CPU_COUNT(&allowed))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            if (seen / threads == i)
                CPU_SET(cpu, &own);
            seen++;
        }
    sched_setaffinity(0, sizeof own, &own);
}

/* In the new process. A Ctrl-C on the terminal reaches the launcher alone, which passes it on once:
 * hence the process group. */
static void become_node(const struct cli *cli, const struct child *child, char **argv)
{
    setpgid(0, 0);
    for (unsigned k = 0; k < run.n_children; k++) {
        if (run.child[k].fd >= 0)
            close(run.child[k].fd);
        if (run.child[k].control >= 0)
            close(run.child[k].control);
    }
    if (run.hosts.n)
        host_become(&run.hosts.host[child->node], cli->ssh, cli->program, argv);
    take_own_processors(cli, child->node);
    execv("/proc/self/exe", argv);
    _exit(127);
}

int run_start(unsigned node, int late)
{
    const struct cli *cli = run.cli;
    struct child *child = &run.child[run.n_children];
    int pipe_fd[2], control[2] = {-1, -1};
    char **argv = calloc((size_t)cli->argc + 40 + 2 * SEEDS_MAX + HOST_FLAGS_MAX, sizeof *argv);
    if (!argv || pipe(pipe_fd) != 0 || (run.hosts.n && pipe(control) != 0)) {
        free(argv);
        return -1;
    }
    *child = (struct child){.fd = pipe_fd[0],
                            .report_fd = pipe_fd[1],
                            .control = control[1],
                            .node = node,
                            .late = late};
    snprintf(child->label, sizeof child->label, "node%u", node);
    if (run.hosts.n)
        memcpy(child->label, run.hosts.host[node].label, sizeof child->label);
    node_arguments(cli, child, argv);
    run.n_children++;
    fflush(NULL);
    child->pid = fork();
    if (child->pid == 0 && run.hosts.n) {
        dup2(control[0], STDIN_FILENO);
        dup2(pipe_fd[1], STDOUT_FILENO);
        close(control[0]);
        close(pipe_fd[1]);
    }
    if (child->pid == 0)
        become_node(cli, child, argv);
    close(pipe_fd[1]);
    if (control[0] >= 0)
        close(control[0]);
    for (char **a = argv; *a; a++)
        free(*a);
    free(argv);
    if (child->pid > 0)
        return 0;
    close(child->fd);
    run.n_children--;
    return -1;
}

/* ---- listening ---- */

static double real_of_status(const struct child *child, const char *name)
{
    json_t *value = json_object_get(child->status, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* When training began, and whether it is over for a node that does not just leave. */
static void note_stage(struct child *child, const json_t *status)
{
    const char *stage = json_string_value(json_object_get(status, "stage"));
    if (!stage || strcmp(stage, "join") == 0)
        return;
    if (!run.training)
        run.began = screen_now() - json_number_value(json_object_get(status, "seconds"));
    run.training = child->begun = 1;
    run.over |= !child->leaving && strcmp(stage, "train") != 0;
}

/* What another machine serves to itself alone is to be brought here. */
static void say_page(const struct child *child, const char *url)
{
    const char *port = url ? strrchr(url, ':') : NULL;
    if (!port)
        return;
    if (!run.hosts.n)
        screen_say(&run.screen, "hogmesh: watch it at %s", url);
    else if (strncmp(url, "http://127.", 11) == 0)
        screen_say(&run.screen,
                   "hogmesh: watch it at %s of %s, on that machine; 'ssh -L %d:127.0.0.1:%d %s' "
                   "brings it to this one",
                   url, child->label, atoi(port + 1), atoi(port + 1),
                   run.hosts.host[child->node].target);
    else
        screen_say(&run.screen, "hogmesh: watch it at %s of %s", url, child->label);
}

static void take_report(struct child *child, json_t *json)
{
    const char *event = json_string_value(json_object_get(json, "event"));
    if (!event)
        return;
    if (strcmp(event, "bound") == 0)
        snprintf(child->endpoint, sizeof child->endpoint, "%s",
                 json_string_value(json_object_get(json, "endpoint")));
    if (strcmp(event, "page") == 0 && !run.cli->quiet)
        say_page(child, json_string_value(json_object_get(json, "url")));
    if (strcmp(event, "log") == 0 &&
        json_integer_value(json_object_get(json, "level")) >= HM_NOTE_WARNING)
        screen_say(&run.screen, "hogmesh: %s: %s", child->label,
                   json_string_value(json_object_get(json, "text")));
    if (strcmp(event, "status") == 0) {
        note_stage(child, json);
        json_decref(child->status);
        child->status = json_incref(json);
        table_measure(&child->traffic, real_of_status(child, "seconds"),
                      1e-6 * real_of_status(child, "bytes"));
    }
    if (strcmp(event, "end") == 0) {
        run.training = 1;
        run.over |= !child->leaving;
        json_decref(child->end);
        child->end = json_incref(json);
    }
    if (strcmp(event, "failed") == 0) {
        json_t *error = json_object_get(json, "error");
        const char *text = json_is_string(error) ? json_string_value(error) : "no reason given";
        int status = (int)json_integer_value(json_object_get(json, "status"));
        snprintf(child->failed, sizeof child->failed, "%s", text);
        if (!run.failed_status || (strcmp(run.failed_text, text) != 0 && status != HM_ESTOPPED))
            screen_say(&run.screen, "hogmesh: %s: %s", child->label, text);
        if (run.failed_status)
            return;
        run.failed_status = status;
        snprintf(run.failed_text, sizeof run.failed_text, "%s", text);
    }
}

static void take_lines(struct child *child)
{
    char *from = child->line, *end = child->line + child->n, *newline;
    while ((newline = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        json_t *json = json_loadb(from, (size_t)(newline - from), 0, NULL);
        if (json)
            take_report(child, json);
        json_decref(json);
        from = newline + 1;
    }
    child->n = (size_t)(end - from);
    memmove(child->line, from, child->n);
}

static void listen_to(struct child *child)
{
    if (child->room - child->n < 65536 && child->room < LINE_MAX_BYTES) {
        child->room = child->room ? 2 * child->room : 131072;
        child->line = realloc(child->line, child->room);
        if (!child->line)
            abort();
    }
    ssize_t got = read(child->fd, child->line + child->n, child->room - child->n);
    if (got > 0) {
        child->n += (size_t)got;
        take_lines(child);
    } else if (got == 0 || errno != EINTR) {
        close(child->fd);
        child->fd = -1;
    }
}

/* ssh says why it could not connect, but not everything that it starts says anything. */
static void note_far_end(struct child *child)
{
    int code = WIFEXITED(child->exit_status) ? WEXITSTATUS(child->exit_status) : -1;
    struct pollfd left = {child->fd, POLLIN, 0};
    if (child->control >= 0)
        close(child->control);
    child->control = -1;
    while (child->fd >= 0 && poll(&left, 1, 0) > 0)
        listen_to(child);
    if (child->fd >= 0) /* somebody else holds it */
        close(child->fd);
    child->fd = -1;
    if (code == 0 || child->end || child->failed[0] || run.hopeless || run.told > 1)
        return;
    const char *why = code == 255 ? "ssh failed: does 'ssh' log in there without a password?"
                      : code == 127
                          ? "the program is not there: install it, or name it by --program"
                          : "it ended without a word";
    snprintf(child->failed, sizeof child->failed, "host %s: %s (status %d)",
             run.hosts.host[child->node].target, why, code);
    screen_say(&run.screen, "hogmesh: %s%s", child->failed,
               run.training ? "; the others go on" : "");
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < run.n_children; i++) {
            struct child *child = &run.child[i];
            if (child->pid != pid)
                continue;
            child->reaped = 1;
            child->exit_status = status;
            if (WIFSIGNALED(status) && !run.hosts.n)
                screen_say(&run.screen, "hogmesh: %s (pid %d) died of signal %d (%s)%s",
                           child->label, (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
                           run.training ? "; the others go on" : "");
            if (run.hosts.n)
                note_far_end(child);
            if (!run.hopeless_since)
                run.hopeless_since = screen_now();
        }
}

/* The nodes wait for each other before they train, so when one is lost before that the others wait
 * in vain. Their word that they train may still be on its way when a node's end is seen. */
static void give_up_hope(void)
{
    /* Those who look for each other heed no stop before their time-out. */
    if (run.hopeless && screen_now() - run.hopeless_since > PATIENCE_SECONDS)
        signal_children(SIGKILL);
    if (run.training || run.told || !run.hopeless_since ||
        screen_now() - run.hopeless_since < GRACE_SECONDS)
        return;
    screen_say(&run.screen, "hogmesh: a node was lost before training began; stopping the others");
    if (!run.failed_status)
        run.failed_status = HM_EIO;
    run.told = run.hopeless = 1;
    signal_children(SIGTERM);
}

/* ---- showing ---- */

static json_int_t of_status(const struct child *child, const char *name)
{
    return json_integer_value(json_object_get(child->status, name));
}

static struct table_row row_of(const struct child *c)
{
    const char *stage =
        c->reaped ? "ended" : json_string_value(json_object_get(c->status, "stage"));
    struct table_row row = {.state = stage ? stage : "load",
                            .examples = real_of_status(c, "own_steps"),
                            .rate = c->reaped ? NAN : real_of_status(c, "rate"),
                            .staleness = real_of_status(c, "staleness"),
                            .lag = real_of_status(c, "lag"),
                            .repaired = real_of_status(c, "repaired"),
                            .megabytes = c->traffic.begun ? c->traffic.rate : NAN};
    memcpy(row.label, c->label, sizeof row.label);
    return row;
}

static double larger(double a, double b)
{
    return isnan(a) || b > a ? b : a;
}

static double added(double a, double b)
{
    return isnan(a) ? b : isnan(b) ? a : a + b;
}

/* Of the mesh: what most of its nodes know. */
static void add_to_head(struct table_head *head, const struct child *c, const struct table_row *row)
{
    head->n_nodes += child_lives(c) != 0;
    head->examples = larger(head->examples, real_of_status(c, "steps"));
    head->budget = larger(head->budget, real_of_status(c, "budget"));
    head->seconds = larger(head->seconds, real_of_status(c, "seconds"));
    head->rate = added(head->rate, row->rate);
    head->staleness = larger(head->staleness, row->staleness);
    head->lag = larger(head->lag, row->lag);
    head->repaired = added(head->repaired, row->repaired);
    head->megabytes = added(head->megabytes, row->megabytes);
    if (real_of_status(c, "accuracy") >= 0 && isnan(head->accuracy)) { /* one node scores for all */
        head->accuracy = real_of_status(c, "accuracy");
        head->loss = real_of_status(c, "loss");
        head->cost = real_of_status(c, "cost");
    }
    if (child_lives(c))
        head->stage = row->state;
}

static void show(void)
{
    static struct table_row row[NODES_MAX];
    static char text[NODES_MAX * 160 + 1024];
    unsigned width, height;
    struct table_head head = {.stage = "ended",
                              .examples = NAN,
                              .limit = run.cli->node.train.seconds,
                              .rate = NAN,
                              .accuracy = NAN,
                              .loss = NAN,
                              .cost = NAN,
                              .staleness = NAN,
                              .lag = NAN,
                              .repaired = NAN,
                              .megabytes = NAN};
    for (unsigned i = 0; i < run.n_children; i++) {
        row[i] = row_of(&run.child[i]);
        add_to_head(&head, &run.child[i], &row[i]);
    }
    screen_size(&width, &height);
    if (run.screen.terminal)
        table_draw(&head, row, run.n_children, width, height, text, sizeof text);
    else
        table_line(&head, text, sizeof text);
    screen_frame(&run.screen, text);
}

/* ---- the loop ---- */

static void heed_interrupts(void)
{
    if (run.interrupts > run.told && run.told < 2) {
        run.told++;
        run_faults_stop();
        screen_say(&run.screen, run.told == 1
                                    ? "hogmesh: stopping the mesh; once more to leave at once"
                                    : "hogmesh: leaving at once");
        signal_children(run.told == 1 ? SIGINT : SIGKILL);
    }
}

/* Serves the pipes until `done` says so. */
static void serve(int (*done)(void))
{
    while (!done()) {
        struct pollfd poll_fd[NODES_MAX];
        nfds_t n = 0;
        for (unsigned i = 0; i < run.n_children; i++)
            if (run.child[i].pid > 0 && run.child[i].fd >= 0)
                poll_fd[n++] = (struct pollfd){run.child[i].fd, POLLIN, 0};
        int ready = poll(poll_fd, n, run_faults_wait_ms(n ? 100 : 5));
        for (unsigned i = 0; ready > 0 && i < run.n_children; i++)
            for (nfds_t k = 0; k < n; k++)
                if (run.child[i].fd == poll_fd[k].fd && poll_fd[k].revents) {
                    listen_to(&run.child[i]);
                    break;
                }
        reap();
        run_faults_serve();
        give_up_hope();
        heed_interrupts();
        if (screen_due(&run.screen))
            show();
    }
}

static int first_bound(void)
{
    return run.child[0].endpoint[0] || run.child[0].fd < 0 || run.interrupts > 1;
}

static int all_ended(void)
{
    for (unsigned i = 0; i < run.n_children; i++)
        if (run.child[i].pid > 0 && (run.child[i].fd >= 0 || !run.child[i].reaped))
            return 0;
    return 1;
}

static json_t *reports(void)
{
    json_t *nodes = json_array();
    for (unsigned i = 0; i < run.n_children; i++) {
        struct child *c = &run.child[i];
        if (c->end) {
            if (c->leaving && !json_is_true(json_object_get(c->end, "clean")))
                json_object_set_new(c->end, "hash", json_null()); /* no part of what was agreed */
            json_array_append(nodes, c->end);
            continue;
        }
        char ended[sizeof c->failed] = "failed";
        if (c->failed[0])
            memcpy(ended, c->failed, sizeof ended);
        if (c->reaped && WIFSIGNALED(c->exit_status))
            snprintf(ended, sizeof ended, "died of signal %d", WTERMSIG(c->exit_status));
        json_array_append_new(
            nodes, json_pack("{s:s, s:i, s:I, s:I, s:I, s:n, s:b, s:s}", "label", c->label, "pid",
                             (int)c->pid, "steps", (json_int_t)of_status(c, "own_steps"),
                             "examples", (json_int_t)of_status(c, "own_steps"), "own_seq",
                             (json_int_t)of_status(c, "seq"), "hash", "clean", 0, "ended", ended));
    }
    return nodes;
}

static int conclude(const struct cli *cli)
{
    struct hm_err err = {""};
    json_t *nodes = reports();
    json_t *summary = summary_of_run(cli, "run", nodes), *faults = run_faults_report();
    json_decref(nodes);
    if (faults)
        json_object_set_new(summary, "faults", faults);
    if (run_faults_failed())
        json_object_set_new(summary, "clean", json_false());
    int agreed = json_is_true(json_object_get(summary, "clean")) &&
                 json_is_true(json_object_get(summary, "equal_hashes"));
    int any = json_is_string(json_object_get(summary, "model_hash"));
    enum hm_status kept = any && cli->out ? summary_keep(summary, NULL, cli->out, &err) : HM_OK;
    if (!kept)
        kept = summary_outputs(json_object_get(summary, "per_node"), &err);
    if (kept)
        fprintf(stderr, "hogmesh: %s\n", err.text);
    if (any && !cli->quiet)
        summary_print(summary, cli->json ? stderr : stdout);
    if (cli->json) {
        json_dumpf(summary, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(summary);
    if (run.told > 1)
        return EXIT_INTERRUPTED;
    if (!any && run.failed_status)
        return run.failed_status == HM_EUSAGE                                         ? EXIT_USAGE
               : run.failed_status == HM_EREFUSED || run.failed_status == HM_ETIMEOUT ? EXIT_PEERS
                                                                                      : EXIT_FAILED;
    if (agreed && kept)
        return EXIT_FAILED;
    return agreed ? EXIT_DONE : any ? EXIT_UNCLEAN : EXIT_FAILED;
}

static void start_all(void)
{
    if (run_start(0, 0) == 0)
        serve(first_bound);
    for (unsigned i = 1; run.child[0].endpoint[0] && i < run.n; i++)
        if (run_start(i, 0) != 0) {
            fprintf(stderr, "hogmesh: cannot start node %u: %s\n", i, strerror(errno));
            signal_children(SIGTERM);
            break;
        }
}

/* How many nodes have left a checkpoint: node0 and on. */
static unsigned count_checkpoints(const char *folder)
{
    char path[4200];
    for (unsigned n = 0; n < NODES_MAX; n++) {
        snprintf(path, sizeof path, "%s/node%u.ckpt", folder, n);
        if (access(path, F_OK) == 0)
            continue;
        snprintf(path, sizeof path, "%s/node%u.ckpt.prev", folder, n);
        if (access(path, F_OK) != 0)
            return n;
    }
    return NODES_MAX;
}

static enum hm_status open_hosts(struct cli *cli, struct hm_err *err)
{
    if (!cli->hosts)
        return HM_OK;
    if (cli->sim.faults)
        return hm_fail(err, HM_EUSAGE, "--faults is for the nodes of this host, not for --hosts");
    enum hm_status status = hosts_read(&run.hosts, cli->hosts, err);
    if (!status && cli->n && cli->n != run.hosts.n)
        return hm_fail(err, HM_EUSAGE, "-n %u, but %s names %u hosts; leave -n away", cli->n,
                       cli->hosts, run.hosts.n);
    run.n = run.hosts.n;
    if (!cli->ssh)
        cli->ssh = getenv("HOGMESH_SSH");
    if (!cli->ssh || !cli->ssh[0])
        cli->ssh = "ssh -o BatchMode=yes";
    if (!cli->program)
        cli->program = "hogmesh";
    signal(SIGPIPE, SIG_IGN); /* of a connection that is gone */
    return status;
}

int cmd_run(struct cli *cli)
{
    struct hm_err err;
    run.cli = cli;
    run.screen = screen_open(cli->quiet);
    if (cli->node.resume && !cli->out) {
        fprintf(stderr, "hogmesh run: --resume needs --out DIR, where the checkpoints are\n");
        return EXIT_USAGE;
    }
    if (cli->node.resume && !cli->n)
        cli->n = count_checkpoints(cli->out);
    run.n = cli->n ? cli->n : 2;
    enum hm_status status = open_hosts(cli, &err);
    if (!status)
        status = cli_curves(cli, &err);
    if (!status)
        status = run_faults_open(&err);
    if (!status && cli->out)
        status = make_directory(cli->out, &err);
    if (status)
        return cli_fail(status, &err);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    start_all();
    serve(all_ended);
    screen_frame(&run.screen, "");
    return conclude(cli);
}
