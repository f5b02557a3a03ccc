/* hogmesh feed: streams batches of a dataset to trainers that have none. */
#include "node/feeder.h"
#include "tools/cli.h"
#include "tools/screen.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct {
    const struct cli *cli;
    struct screen screen;
    struct hm_feeder *feeder;
    volatile sig_atomic_t interrupts;
} self;

static void on_signal(int signal_number)
{
    (void)signal_number;
    if (self.interrupts++)
        _exit(EXIT_INTERRUPTED);
    if (self.feeder)
        hm_feeder_stop(self.feeder);
}

static void on_log(void *context, enum hm_note_level level, const char *text)
{
    (void)context;
    if (!self.cli->quiet || level >= HM_NOTE_WARNING)
        screen_say(&self.screen, "hogmesh: %s", text);
}

static void on_bound(void *context, const char *endpoint)
{
    (void)context;
    if (!self.cli->quiet)
        screen_say(&self.screen, "hogmesh: waiting for trainers; they join with --feed %s",
                   endpoint + 6);
}

static void on_status(void *context, const struct hm_feeder_status *s)
{
    char line[300], examples[16], rate[16];
    (void)context;
    if (!screen_due(&self.screen))
        return;
    screen_amount(examples, (double)s->examples);
    screen_amount(rate, s->seconds > 0 ? (double)s->examples / s->seconds : 0);
    snprintf(line, sizeof line,
             "feed   %u trainers, %llu batches sent, %llu of them under way, %s examples (%s/s), "
             "%.0f %%\n",
             s->n_trainers, (unsigned long long)s->batches, (unsigned long long)s->under_way,
             examples, rate, 100. * (double)s->examples / (double)s->total);
    screen_frame(&self.screen, line);
}

static int on_progress(void *context, const char *what, double done, double total, const char *unit)
{
    (void)context;
    if (self.interrupts)
        return 1;
    return self.cli->quiet ? 0 : screen_progress(&self.screen, what, done, total, unit);
}

static json_t *summary_of(const struct hm_feeder_report *r)
{
    return json_pack(
        "{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, "
        "s:{s:I, s:I, s:I}}",
        "workload", self.cli->node.workload, "mode", "feed", "label", r->label, "complete",
        r->complete, "batches", (json_int_t)r->batches, "examples", (json_int_t)r->examples,
        "bytes", (json_int_t)r->bytes, "bytes_per_example",
        r->examples ? (double)r->bytes / (double)r->examples : 0, "received",
        (json_int_t)r->received, "lost", (json_int_t)r->lost, "most_under_way",
        (json_int_t)r->most_under_way, "trainers", (json_int_t)r->trainers, "gone",
        (json_int_t)r->gone, "waits", (json_int_t)r->waits, "waited_seconds", r->waited,
        "load_seconds", r->load_seconds, "seconds", r->seconds, "refused", "key",
        (json_int_t)r->refused[HM_REFUSED_KEY], "plain", (json_int_t)r->refused[HM_REFUSED_PLAIN],
        "garbage", (json_int_t)r->refused[HM_REFUSED_GARBAGE]);
}

static void print(const struct hm_feeder_report *r, FILE *out)
{
    const double examples = (double)r->examples, seconds = r->seconds;
    fprintf(out, "fed         %llu batches to %u trainers, %llu received, %llu lost: %s\n",
            (unsigned long long)r->batches, r->trainers, (unsigned long long)r->received,
            (unsigned long long)r->lost,
            r->complete ? "all that there was" : "stopped before the end");
    fprintf(out, "examples    %.0f, %.2f bytes each\n", examples,
            examples > 0 ? (double)r->bytes / examples : 0);
    fprintf(out,
            "time        %.3f s (%.2f million examples/s), of which %.3f s nobody had room (%llu "
            "times); %.3f s before\n",
            seconds, seconds > 0 ? examples / seconds / 1e6 : 0, r->waited,
            (unsigned long long)r->waits, r->load_seconds);
    fprintf(out, "under way   %llu batches at the most; %u trainers were gone\n",
            (unsigned long long)r->most_under_way, r->gone);
}

static void conclude(const struct cli *cli)
{
    const struct hm_feeder_report *report = hm_feeder_report(self.feeder);
    screen_frame(&self.screen, "");
    if (!cli->quiet)
        print(report, cli->json ? stderr : stdout);
    if (!cli->json)
        return;
    json_t *json = summary_of(report);
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

int cmd_feed(struct cli *cli)
{
    struct hm_err err = {""};
    struct hm_feeder_options options = {.workload = cli->node.workload,
                                        .train = cli->node.train,
                                        .bind = cli->node.bind,
                                        .advertise = cli->node.advertise,
                                        .key = cli->node.key,
                                        .insecure = cli->node.insecure,
                                        .progress = {on_progress, NULL},
                                        .log = on_log,
                                        .bound = on_bound,
                                        .status = on_status};
    memcpy(options.label, cli->node.label, sizeof options.label);
    self.cli = cli;
    self.screen = screen_open(cli->quiet);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    enum hm_status status = hm_feeder_open(&self.feeder, &options, &err);
    if (!status) {
        if (self.interrupts) /* while the data was mapped, when there was no feeder to stop */
            hm_feeder_stop(self.feeder);
        status = hm_feeder_run(self.feeder, &err);
        conclude(cli);
    }
    struct hm_feeder *feeder = self.feeder;
    self.feeder = NULL;
    hm_feeder_close(feeder);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}
