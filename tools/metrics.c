/* Metrics in Prometheus' text format 0.0.4. Names and units are part of what the program promises:
 * dashboards and alerts go by them (tools/deploy/monitoring). */
#include "tools/watch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(FILE *out, double x)
{
    if (isnan(x))
        fputs("NaN\n", out);
    else if (isinf(x))
        fputs(x > 0 ? "+Inf\n" : "-Inf\n", out);
    else
        fprintf(out, "%.17g\n", x);
}

static void one(FILE *out, const char *name, const char *type, const char *help, double x)
{
    family(out, name, type, help);
    fprintf(out, "%s ", name);
    value(out, x);
}

/* A label's value: backslash, quote and line feed escaped. */
static void label(FILE *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            fputs("\\n", out);
        else
            fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

/* `peer` and `life`: two lives may have one name. */
static void of_origin(FILE *out, const char *name, const char *peer, uint64_t life,
                      const char *more)
{
    fprintf(out, "%s{peer=\"", name);
    label(out, peer);
    fprintf(out, "\",life=\"%016" PRIx64 "\"%s} ", life, more);
}

/* ---- the node ---- */

static void write_info(FILE *out, const struct hm_view *v)
{
    family(out, "hogmesh_build_info", "gauge", "The program; always 1.");
    fprintf(out, "hogmesh_build_info{version=\"%s\",protocol=\"%d\",isa=\"%s\"} 1\n", HM_VERSION,
            HM_WIRE_VERSION, v->isa ? v->isa : "");
    family(out, "hogmesh_node_info", "gauge", "The node; always 1.");
    fputs("hogmesh_node_info{node=\"", out);
    label(out, v->label);
    fprintf(out, "\",life=\"%016" PRIx64 "\",workload=\"%s\",fingerprint=\"%016" PRIx64 "\"} 1\n",
            v->life, v->workload ? v->workload : "", v->fingerprint);
}

static void write_stage(FILE *out, const char *stage)
{
    static const char *const name[] = {"load", "join", "train", "agree", "done", "failed"};
    family(out, "hogmesh_stage", "gauge", "What the node is at: 1 for one of the stages.");
    for (unsigned i = 0; i < sizeof name / sizeof name[0]; i++)
        fprintf(out, "hogmesh_stage{stage=\"%s\"} %d\n", name[i], strcmp(stage, name[i]) == 0);
}

static void write_training(FILE *out, const struct hm_view *v)
{
    const struct hm_node_status *s = &v->status;
    one(out, "hogmesh_training_duration_seconds", "gauge", "Time since training began here.",
        s->seconds);
    one(out, "hogmesh_mesh_examples_total", "counter",
        "Examples that all nodes have trained on, as far as known here.", (double)s->steps);
    one(out, "hogmesh_mesh_examples_budget", "gauge",
        "Examples after which training ends; 0: no limit.", (double)s->budget);
    one(out, "hogmesh_node_examples_total", "counter", "Examples that this node has trained on.",
        (double)s->own_steps);
    one(out, "hogmesh_flush_interval_seconds", "gauge", "Time between this node's deltas, now.",
        v->flush_seconds);
    if (s->score.n) {
        one(out, "hogmesh_accuracy_ratio", "gauge", "Newest accuracy of the model, from 0 to 1.",
            s->score.accuracy);
        one(out, "hogmesh_loss", "gauge", "Newest mean loss of the model.", s->score.loss);
        one(out, "hogmesh_cost", "gauge", "Newest objective: loss and regularisation.",
            s->score.cost);
    }
    one(out, "hogmesh_lag_flushes", "gauge",
        "Flushes of this node that its slowest live peer has not acknowledged.", s->lag);
}

static void write_counters(FILE *out, const struct hm_view *v)
{
    const struct hm_counters *c = &v->counters;
    const struct {
        const char *name, *help;
        uint64_t value;
    } counter[] = {
        {"hogmesh_deltas_published_total", "Deltas that this node has published.", c->published},
        {"hogmesh_deltas_applied_total", "Deltas of others that were applied.", c->applied},
        {"hogmesh_deltas_duplicate_total", "Deltas that came again, and were passed over.",
         c->duplicates},
        {"hogmesh_deltas_repaired_total", "Deltas that were missing and came when asked for.",
         c->repaired},
        {"hogmesh_deltas_held_total", "Deltas that came before those they follow.", c->held},
        {"hogmesh_deltas_covered_total", "Deltas that came with snapshots.", c->covered},
        {"hogmesh_deltas_abandoned_total", "Deltas given up for ever.", c->abandoned},
        {"hogmesh_deltas_orphaned_total", "Of these, deltas whose origin died.", c->orphaned},
        {"hogmesh_renewals_total", "Times that this node went on as another life.", c->renewals},
        {"hogmesh_peers_gone_total", "Peers that fell silent for good.", c->peers_gone},
        {"hogmesh_peers_damaged_total", "Peers excluded because their replicas are wrong.",
         c->peers_damaged},
        {"hogmesh_redials_total", "Times that a silent peer was dialled anew.", c->redials},
        {"hogmesh_snapshots_installed_total", "States taken over from peers.",
         c->snapshots_installed},
        {"hogmesh_nonfinite_weights_total", "Weights that were NaN or infinite and were set back.",
         c->nonfinite},
        {"hogmesh_messages_dropped_total", "Messages that full queues refused.", v->n_dropped},
        {"hogmesh_sent_bytes_total", "Bytes handed to sockets, all copies.", c->bytes_sent},
        {"hogmesh_received_bytes_total", "Bytes of messages that came.", c->bytes_received},
        {"hogmesh_published_bytes_total", "Bytes of own deltas, one copy.", c->bytes_published},
        {"hogmesh_status_answers_total", "Questions of `hogmesh status` and others answered.",
         c->asked},
        {"hogmesh_status_refusals_total", "Such questions that came too often.", c->asked_refused},
        {"hogmesh_checkpoints_total", "Checkpoints written.", v->n_checkpoints},
        {"hogmesh_checkpoint_failures_total", "Checkpoints that could not be written.",
         v->n_checkpoint_failures}};
    for (size_t i = 0; i < sizeof counter / sizeof counter[0]; i++)
        one(out, counter[i].name, "counter", counter[i].help, (double)counter[i].value);
}

static void write_refusals(FILE *out, const struct hm_view *v)
{
    const struct hm_counters *c = &v->counters;
    const struct {
        const char *reason;
        uint64_t value;
    } message[] = {{"malformed", c->refused_malformed}, {"fingerprint", c->refused_fingerprint},
                   {"version", c->refused_version},     {"digest", c->refused_digest},
                   {"overflow", c->refused_overflow},   {"hello", c->refused_hello}};
    static const char *const stranger[HM_REFUSALS] = {"key", "plain", "garbage", "broke_off"};
    family(out, "hogmesh_messages_refused_total", "counter", "Messages refused, by reason.");
    for (size_t i = 0; i < sizeof message / sizeof message[0]; i++)
        fprintf(out, "hogmesh_messages_refused_total{reason=\"%s\"} %" PRIu64 "\n",
                message[i].reason, message[i].value);
    family(out, "hogmesh_connections_refused_total", "counter",
           "Connections of strangers refused, by what was wrong with them.");
    for (unsigned i = 0; i < HM_REFUSALS; i++)
        fprintf(out, "hogmesh_connections_refused_total{reason=\"%s\"} %" PRIu64 "\n", stranger[i],
                v->refused[i]);
}

static void write_memory(FILE *out, const struct hm_view *v)
{
    one(out, "hogmesh_log_bytes", "gauge", "Bytes of deltas kept for repair.",
        (double)v->log_bytes);
    one(out, "hogmesh_log_limit_bytes", "gauge", "Most bytes of deltas that are kept.",
        (double)v->log_budget);
    one(out, "hogmesh_memory_bound_bytes", "gauge", "Most memory that the node is going to take.",
        (double)v->memory_bound);
}

/* In the thread that serves. */
static void write_watching(FILE *out, double look_seconds)
{
    static const char name[] = "hogmesh_watching_cpu_seconds_total";
    family(out, name, "counter",
           "Processor time of being watched: the node's thread puts in, the other answers.");
    fprintf(out, "%s{thread=\"node\"} %.9f\n%s{thread=\"http\"} %.9f\n", name, look_seconds, name,
            watch_cpu_seconds());
}

static void write_process(FILE *out, uint64_t requests)
{
    struct rusage usage;
    long pages = 0, resident = 0;
    getrusage(RUSAGE_SELF, &usage);
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm && fscanf(statm, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (statm)
        fclose(statm);
    one(out, "process_cpu_seconds_total", "counter", "Processor time of the node's process.",
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    one(out, "process_resident_memory_bytes", "gauge", "Memory of the node's process.",
        (double)resident * (double)sysconf(_SC_PAGESIZE));
    one(out, "hogmesh_http_requests_total", "counter", "HTTP requests answered.", (double)requests);
}

/* ---- its peers ---- */

static void write_states(FILE *out, const struct hm_view *v)
{
    unsigned n[HM_PEER_STATES] = {0};
    for (unsigned i = 0; i < v->n_peers; i++)
        n[v->peer[i].state]++;
    one(out, "hogmesh_nodes_live", "gauge", "Nodes that train, this one included.",
        v->status.n_live);
    family(out, "hogmesh_peers", "gauge", "Peers ever met, by how they stand.");
    for (unsigned i = 0; i < HM_PEER_STATES; i++)
        fprintf(out, "hogmesh_peers{state=\"%s\"} %u\n", hm_peer_state_name((enum hm_peer_state)i),
                n[i]);
}

enum of_peer { PEER_UP, PEER_EXAMPLES, PEER_LAG, PEER_SILENCE, PEER_ROUND_TRIP, OF_PEER };

static double peer_value(const struct hm_view_peer *peer, enum of_peer which)
{
    const struct hm_member_info *i = &peer->info;
    switch (which) {
    case PEER_UP:
        return peer->state == HM_PEER_LIVE;
    case PEER_EXAMPLES:
        return (double)peer->steps;
    case PEER_LAG:
        return i->lag_flushes;
    case PEER_SILENCE:
        return (double)i->silent_us / 1e6;
    default:
        return (double)i->rtt_us / 1e6;
    }
}

static void write_peers(FILE *out, const struct hm_view *v)
{
    static const struct {
        const char *name, *type, *help;
    } of[OF_PEER] = {
        [PEER_UP] = {"hogmesh_peer_up", "gauge", "1: the peer is heard."},
        [PEER_EXAMPLES] = {"hogmesh_peer_examples_total", "counter",
                           "Examples of the peer's that were applied here."},
        [PEER_LAG] = {"hogmesh_peer_lag_flushes", "gauge",
                      "Flushes of this node that the peer has not acknowledged."},
        [PEER_SILENCE] = {"hogmesh_peer_silence_seconds", "gauge",
                          "Time since the peer was last heard."},
        [PEER_ROUND_TRIP] = {"hogmesh_peer_round_trip_seconds", "gauge",
                             "To the peer and back, with what its answer waits there; 0: not known "
                             "yet."}};
    for (unsigned which = 0; which < OF_PEER; which++) {
        family(out, of[which].name, of[which].type, of[which].help);
        for (unsigned i = 0; i < v->n_peers; i++) {
            const struct hm_view_peer *peer = &v->peer[i];
            /* Who has left or gone for good has no lag and no silence that matters. */
            if (which >= PEER_LAG && (peer->state == HM_PEER_GONE || peer->state == HM_PEER_LEFT))
                continue;
            if (which == PEER_UP && peer->state == HM_PEER_LEFT)
                continue;
            of_origin(out, of[which].name, peer->info.label, peer->info.life, "");
            value(out, peer_value(peer, (enum of_peer)which));
        }
    }
}

static void write_staleness(FILE *out, const struct hm_view *v)
{
    static const char name[] = "hogmesh_link_staleness_flushes";
    char part[64], le[32];
    family(out, name, "histogram", "Staleness of a peer's deltas when they were applied here.");
    for (unsigned i = 0; i < v->n_links; i++) {
        const struct hm_view_link *l = &v->link[i];
        snprintf(part, sizeof part, "%s_bucket", name);
        for (unsigned k = 0; k < HM_VIEW_BOUNDS; k++) {
            snprintf(le, sizeof le, ",le=\"%" PRIu64 "\"", hm_view_bound[k]);
            of_origin(out, part, l->label, l->from, le);
            value(out, (double)l->below[k]);
        }
        of_origin(out, part, l->label, l->from, ",le=\"+Inf\"");
        value(out, (double)l->n);
        snprintf(part, sizeof part, "%s_sum", name);
        of_origin(out, part, l->label, l->from, "");
        value(out, l->sum);
        snprintf(part, sizeof part, "%s_count", name);
        of_origin(out, part, l->label, l->from, "");
        value(out, (double)l->n);
    }
}

char *watch_metrics(const struct watch_state *state, uint64_t requests)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return NULL;
    const struct hm_view *v = &state->view;
    write_info(out, v);
    write_stage(out, state->stage ? state->stage : state->published ? v->status.stage : "load");
    write_training(out, v);
    write_states(out, v);
    write_peers(out, v);
    write_staleness(out, v);
    write_counters(out, v);
    write_refusals(out, v);
    write_memory(out, v);
    write_process(out, requests);
    write_watching(out, state->look_seconds);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
