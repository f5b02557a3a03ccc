/* hogmesh inspect: a checkpoint. */
#include "tools/inspect.h"

#include "node/checkpoint.h"
#include "node/kept_file.h"
#include "node/node.h"
#include "protocol/config.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

static json_t *stream_json(const struct hm_resume_stream *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n_log; i++)
        bytes += s->log[i]->payload ? s->log[i]->payload->n : 0;
    return json_pack("{s:o, s:s, s:I, s:I, s:o, s:o, s:I, s:o, s:I}", "life",
                     inspect_hex64(s->at.life), "label", s->label, "seq", (json_int_t)s->at.seq,
                     "flush", (json_int_t)s->at.flush, "steps", inspect_u64(s->at.steps), "digest",
                     inspect_hex64(s->at.digest), "logged", (json_int_t)s->n_log, "logged_from",
                     s->n_log ? json_integer((json_int_t)s->log[0]->head.hi) : json_null(),
                     "logged_bytes", (json_int_t)bytes);
}

static json_t *owed_json(const struct hm_checkpoint *c)
{
    uint64_t n_nonzero = 0;
    double square = 0;
    for (size_t i = 0; i < hm_layout_n(&c->layout); i++) {
        n_nonzero += c->owed[i] != 0;
        square += (double)c->owed[i] * (double)c->owed[i];
    }
    return json_pack("{s:o, s:I, s:f, s:f}", "steps", inspect_u64(c->owed_steps), "nonzero",
                     (json_int_t)n_nonzero, "norm", sqrt(square), "divisor", (double)c->divisor);
}

/* The states of the workers' optimisers. */
static json_t *states_json(const struct hm_checkpoint *c)
{
    uint8_t digest[HM_HASH_BYTES];
    char hex[HM_HASH_HEX];
    struct hm_hash hash;
    size_t n = c->n_states * c->state_floats;
    double square = 0;
    if (!n)
        return json_null();
    hm_hash_init(&hash);
    hm_hash_update(&hash, c->state, n * sizeof *c->state);
    hm_hash_final(&hash, digest);
    hm_hash_hex(digest, hex);
    for (size_t i = 0; i < n; i++)
        square += (double)c->state[i] * (double)c->state[i];
    return json_pack("{s:i, s:I, s:f, s:s}", "threads", (int)c->n_states, "numbers",
                     (json_int_t)c->state_floats, "norm", sqrt(square), "hash", hex);
}

static json_t *position_json(const struct hm_checkpoint *c)
{
    static const char *const name[] = {"none", "split", "labels"};
    return json_pack("{s:s, s:i, s:i, s:o, s:o}", "partition",
                     c->partition < 3 ? name[c->partition] : "?", "rank", (int)c->rank, "ranks",
                     (int)c->ranks, "examples", inspect_u64(c->shard_n), "cursor",
                     inspect_u64(c->cursor));
}

static json_t *checkpoint_json(const struct hm_checkpoint *c, size_t bytes)
{
    char when[32] = "", hash[65];
    time_t seconds = (time_t)c->time_s;
    struct tm utc;
    if (gmtime_r(&seconds, &utc))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    uint64_t steps = hm_mesh_resume_steps(&c->mesh);
    hm_model_hash(&c->config, steps, c->b, hm_layout_n(&c->layout), hash);
    json_t *streams = json_array(), *json;
    for (size_t i = 0; i < c->mesh.n_streams; i++)
        json_array_append_new(streams, stream_json(&c->mesh.stream[i]));
    json = json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:f, s:I}", "kind", "checkpoint", "label",
                     c->label, "life", inspect_hex64(c->life), "taken", when, "number",
                     inspect_u64(c->number), "steps", inspect_u64(steps), "deltas",
                     inspect_u64(hm_mesh_resume_deltas(&c->mesh)), "trained_seconds",
                     (double)c->trained_us / 1e6, "bytes", (json_int_t)bytes);
    json_object_set_new(json, "fingerprint", inspect_hex64(hm_config_fingerprint(&c->config)));
    json_object_set_new(json, "config", inspect_config(&c->config));
    json_object_set_new(json, "bulk_bytes", json_integer((json_int_t)c->bulk_n));
    json_object_set_new(json, "optimiser", states_json(c));
    json_object_set_new(json, "tensors", inspect_tensors(&c->layout, c->b));
    json_object_set_new(json, "owed", owed_json(c));
    json_object_set_new(json, "data", position_json(c));
    json_object_set_new(json, "streams", streams);
    json_object_set_new(json, "model_hash", json_string(hash));
    return json;
}

enum hm_status inspect_checkpoint(const char *path, json_t **json, struct hm_err *err)
{
    struct hm_checkpoint checkpoint;
    uint8_t *bytes;
    size_t n;
    *json = NULL;
    enum hm_status status = hm_kept_read(path, NULL, &bytes, &n, err);
    if (!status)
        status = hm_checkpoint_decode(bytes, n, NULL, &checkpoint, err);
    free(bytes);
    if (status)
        return status;
    *json = checkpoint_json(&checkpoint, n);
    hm_checkpoint_fini(&checkpoint);
    return HM_OK;
}
