/* A view as JSON: what /status.json serves and what a node answers to STATUS_REQ. */
#include "node/view.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

json_t *hm_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *count(uint64_t x)
{
    return json_integer((json_int_t)x);
}

static json_t *hex(uint64_t x)
{
    return json_sprintf("%016" PRIx64, x);
}

/* Without "tcp://", as --peer takes it. */
static json_t *address(const char *endpoint)
{
    return endpoint[0] ? json_string(strchr(endpoint, '/') ? endpoint + 6 : endpoint) : json_null();
}

static const char *phase_name(enum hm_phase phase)
{
    static const char *const name[HM_PHASES] = {"joining", "ready", "running",
                                                "done",    "quiet", "exiting"};
    return (unsigned)phase < HM_PHASES ? name[phase] : "unknown";
}

const char *hm_peer_state_name(enum hm_peer_state state)
{
    static const char *const name[HM_PEER_STATES] = {"live", "silent", "gone", "left"};
    return name[state];
}

static json_t *of_self(const struct hm_view *v)
{
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:s, s:s, s:i, s:i, s:i, s:s?, s:o}", "label",
                     v->label, "life", hex(v->life), "stage", v->status.stage, "phase",
                     phase_name(v->status.phase), "address", address(v->rpc), "publisher",
                     address(v->pub), "workload", v->workload, "isa", v->isa, "threads",
                     (int)v->threads, "rank", (int)v->rank, "ranks", (int)v->ranks, "key",
                     v->key[0] ? v->key : NULL, "fingerprint",
                     v->fingerprint ? hex(v->fingerprint) : json_null());
}

static json_t *of_training(const struct hm_view *v)
{
    const struct hm_node_status *s = &v->status;
    double left = s->budget && s->steps && s->seconds > 0
                      ? s->seconds * ((double)s->budget / (double)s->steps - 1)
                      : NAN;
    if (v->limit_seconds > 0)
        left = fmin(left, v->limit_seconds - s->seconds);
    double none = s->score.n ? 0 : NAN;
    return json_pack(
        "{s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:s?}", "seconds", s->seconds,
        "steps", count(s->steps), "budget", s->budget ? count(s->budget) : json_null(),
        "limit_seconds", v->limit_seconds > 0 ? hm_json_number(v->limit_seconds) : json_null(),
        "seconds_left", hm_json_number(left > 0 || isnan(left) ? left : 0), "own_steps",
        count(s->own_steps), "own_rate", count(s->own_rate), "live", (int)s->n_live, "accuracy",
        hm_json_number(none + s->score.accuracy), "loss", hm_json_number(none + s->score.loss),
        "cost", hm_json_number(none + s->score.cost), "flush_seconds",
        hm_json_number(v->flush_seconds), "stopping", v->stopping ? v->stop_reason : NULL);
}

static json_t *of_peer(const struct hm_view_peer *peer)
{
    const struct hm_member_info *i = &peer->info;
    return json_pack(
        "{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "label", i->label, "life", hex(i->life),
        "state", hm_peer_state_name(peer->state), "phase", phase_name(i->phase), "address",
        address(i->rpc), "steps", count(peer->steps), "round_trip_seconds",
        i->rtt_us ? hm_json_number((double)i->rtt_us / 1e6) : json_null(), "silent_seconds",
        hm_json_number((double)i->silent_us / 1e6), "lag_flushes", count(i->lag_flushes));
}

static json_t *of_link(const struct hm_view_link *link)
{
    json_t *below = json_array();
    for (unsigned i = 0; i < HM_VIEW_BOUNDS; i++)
        json_array_append_new(below, count(link->below[i]));
    return json_pack("{s:s, s:o, s:o, s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o}}", "label", link->label,
                     "life", hex(link->from), "deltas", count(link->seq), "staleness", "n",
                     count(link->n), "mean",
                     hm_json_number(link->n ? link->sum / (double)link->n : NAN), "median",
                     count(link->median), "p95", count(link->p95), "max", count(link->max),
                     "mean_steps", hm_json_number(link->mean_steps), "below", below);
}

static json_t *of_counters(const struct hm_view *v)
{
    const struct hm_counters *c = &v->counters;
    static const char *const refusal[HM_REFUSALS] = {"key", "plain", "garbage", "broke_off"};
    json_t *json = json_object(), *strangers = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } entry[] = {{"published", c->published},
                 {"applied", c->applied},
                 {"duplicates", c->duplicates},
                 {"repaired", c->repaired},
                 {"held", c->held},
                 {"covered", c->covered},
                 {"undone", c->undone},
                 {"renewed", c->renewed},
                 {"renewals", c->renewals},
                 {"abandoned", c->abandoned},
                 {"orphaned", c->orphaned},
                 {"snapshots_cut", c->snapshots_cut},
                 {"snapshots_installed", c->snapshots_installed},
                 {"snapshots_refused", c->snapshots_refused},
                 {"peers_damaged", c->peers_damaged},
                 {"peers_gone", c->peers_gone},
                 {"redials", c->redials},
                 {"wants_sent", c->wants_sent},
                 {"wants_served", c->wants_served},
                 {"refused_malformed", c->refused_malformed},
                 {"refused_fingerprint", c->refused_fingerprint},
                 {"refused_version", c->refused_version},
                 {"refused_digest", c->refused_digest},
                 {"refused_overflow", c->refused_overflow},
                 {"refused_hello", c->refused_hello},
                 {"nonfinite", c->nonfinite},
                 {"asked", c->asked},
                 {"asked_refused", c->asked_refused},
                 {"dropped", v->n_dropped},
                 {"bytes_sent", c->bytes_sent},
                 {"bytes_received", c->bytes_received},
                 {"bytes_published", c->bytes_published},
                 {"checkpoints", v->n_checkpoints},
                 {"checkpoint_failures", v->n_checkpoint_failures}};
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++)
        json_object_set_new(json, entry[i].name, count(entry[i].value));
    for (unsigned i = 0; i < HM_REFUSALS; i++)
        json_object_set_new(strangers, refusal[i], count(v->refused[i]));
    json_object_set_new(json, "refused_connections", strangers);
    return json;
}

static json_t *of_config(const struct hm_fields *config)
{
    json_t *json = json_object();
    for (size_t i = 0; config && i < config->n; i++)
        json_object_set_new(json, config->field[i].name, json_string(config->field[i].value));
    return json;
}

json_t *hm_view_json(const struct hm_view *v)
{
    json_t *peers = json_array(), *links = json_array(), *bounds = json_array();
    for (unsigned i = 0; i < v->n_peers; i++)
        json_array_append_new(peers, of_peer(&v->peer[i]));
    for (unsigned i = 0; i < v->n_links; i++)
        json_array_append_new(links, of_link(&v->link[i]));
    for (unsigned i = 0; i < HM_VIEW_BOUNDS; i++)
        json_array_append_new(bounds, count(hm_view_bound[i]));
    return json_pack("{s:i, s:i, s:s, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o}",
                     "schema", 1, "protocol", HM_WIRE_VERSION, "version", HM_VERSION, "time",
                     v->time, "node", of_self(v), "training", of_training(v), "peers", peers,
                     "links", links, "staleness_bounds", bounds, "counters", of_counters(v),
                     "memory", "log_bytes", count(v->log_bytes), "log_budget", count(v->log_budget),
                     "bound", count(v->memory_bound), "config", of_config(v->config));
}
