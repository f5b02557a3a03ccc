/* hogmesh status: asks a node how it and its mesh stand. */
#include "tools/cli.h"

#include "node/ask.h"
#include "tools/screen.h"

#include <math.h>
#include <string.h>

static const double TIMEOUT = 5;

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "-";
}

/* NaN: it is not there. */
static double number_of(const json_t *json, const char *name)
{
    json_t *value = json_object_get(json, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* What another machine says goes to a terminal: nothing but what is printed there. */
static void say(const char *text, int width)
{
    int n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        int control = *c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
        n += (*c & 0xc0) != 0x80;
        putchar(control ? '?' : *c);
        c += control && *c == 0xc2;
    }
    for (; n < width; n++)
        putchar(' ');
}

static void amount(double x, int width)
{
    char text[16] = "-";
    if (isfinite(x))
        screen_amount(text, x);
    printf("%*s", width, text);
}

static void fixed(double x, const char *format, int width)
{
    char text[32] = "-";
    if (isfinite(x))
        snprintf(text, sizeof text, format, x);
    printf("%*s", width, text);
}

static void show_node(const json_t *status)
{
    const json_t *node = json_object_get(status, "node"),
                 *training = json_object_get(status, "training");
    double steps = number_of(training, "steps"), budget = number_of(training, "budget"),
           left = number_of(training, "seconds_left"), accuracy = number_of(training, "accuracy");
    say(text_of(node, "label"), 0);
    printf(" of a mesh that trains ");
    say(text_of(node, "workload"), 0);
    printf(": ");
    say(text_of(node, "stage"), 0);
    printf(", ");
    amount(steps, 0);
    printf(" examples");
    if (budget > 0)
        printf(" (%.0f %%)", fmin(100 * steps / budget, 100));
    printf(" in ");
    fixed(number_of(training, "seconds"), "%.1f s", 0);
    if (left > 0) {
        printf(", ");
        fixed(left, "%.0f s left", 0);
    }
    if (isfinite(accuracy)) {
        fixed(100 * accuracy, ", accuracy %.2f %%", 0);
        fixed(number_of(training, "cost"), ", cost %.4f", 0);
    }
    printf("\nmesh ");
    say(text_of(node, "fingerprint"), 0);
    printf(", life ");
    say(text_of(node, "life"), 0);
    printf(", version ");
    say(text_of(status, "version"), 0);
    if (json_is_string(json_object_get(node, "key"))) {
        printf(", encrypted, key ");
        say(text_of(node, "key"), 0);
        putchar('\n');
    } else
        printf(", in clear\n");
}

static const json_t *link_of(const json_t *status, const char *life)
{
    size_t i;
    json_t *link;
    json_array_foreach(json_object_get(status, "links"), i,
                       link) if (strcmp(text_of(link, "life"), life) ==
                                 0) return json_object_get(link, "staleness");
    return NULL;
}

static void show_peers(const json_t *status)
{
    const json_t *node = json_object_get(status, "node"),
                 *training = json_object_get(status, "training");
    size_t i;
    json_t *peer;
    printf("\n%-20s %-8s %10s %5s %9s %9s %7s  %s\n", "node", "state", "examples", "lag",
           "staleness", "round trip", "heard", "address");
    say(text_of(node, "label"), 20);
    printf(" %-8s ", "asked");
    amount(number_of(training, "own_steps"), 10);
    printf(" %5s %9s %10s %7s  ", "-", "-", "-", "-");
    say(text_of(node, "address"), 0);
    putchar('\n');
    json_array_foreach(json_object_get(status, "peers"), i, peer)
    {
        say(text_of(peer, "label"), 20);
        putchar(' ');
        say(text_of(peer, "state"), 8);
        putchar(' ');
        amount(number_of(peer, "steps"), 10);
        fixed(number_of(peer, "lag_flushes"), "%.0f", 6);
        fixed(number_of(link_of(status, text_of(peer, "life")), "mean"), "%.1f", 10);
        fixed(1e3 * number_of(peer, "round_trip_seconds"), "%.1f ms", 11);
        fixed(number_of(peer, "silent_seconds"), "%.1f s", 8);
        printf("  ");
        say(text_of(peer, "address"), 0);
        putchar('\n');
    }
}

static void show_counters(const json_t *status)
{
    const json_t *c = json_object_get(status, "counters");
    static const char *const delta[] = {"published", "applied", "repaired", "abandoned"};
    printf("\ndeltas ");
    for (unsigned i = 0; i < sizeof delta / sizeof delta[0]; i++) {
        fixed(number_of(c, delta[i]), i ? ", %.0f" : " %.0f", 0);
        printf(" %s", delta[i]);
    }
    printf("\ntraffic ");
    fixed(number_of(c, "bytes_sent") / 1e6, "%.2f MB sent, ", 0);
    fixed(number_of(c, "bytes_received") / 1e6, "%.2f MB received\n", 0);
}

int cmd_status(struct cli *cli)
{
    struct hm_err err = {""};
    struct hm_ask *ask;
    json_t *status = NULL;
    if (cli->n_arguments != 1) {
        fprintf(stderr, "hogmesh status: the address of a node is missing, as in 'hogmesh status "
                        "127.0.0.1:7000'\n");
        return EXIT_USAGE;
    }
    enum hm_status failed = hm_ask_open(&ask,
                                        &(struct hm_ask_options){.peer = cli->argument[0],
                                                                 .key = cli->node.key,
                                                                 .insecure = cli->node.insecure},
                                        &err);
    if (!failed)
        failed = hm_ask(ask, 0, cli->timeout > 0 ? cli->timeout : TIMEOUT, &status, NULL, &err);
    hm_ask_close(ask);
    if (!failed && json_object_get(status, "doctor") && !json_object_get(status, "training")) {
        json_decref(status);
        failed = hm_fail(&err, HM_EREFUSED,
                         "%s is no node but a 'hogmesh doctor' at work; start the node there, or "
                         "ask again when it runs",
                         cli->argument[0]);
    }
    if (failed)
        return cli_fail(failed, &err);
    if (cli->json) {
        json_dumpf(status, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
    } else {
        show_node(status);
        show_peers(status);
        show_counters(status);
    }
    json_decref(status);
    return EXIT_DONE;
}
