#include "tests/mesh_bed.h"

#include "protocol/text.h"
#include "sparse/layout_field.h"
#include "sparse/install.h"

#include <math.h>
#include <stdlib.h>

enum {
    ACTIONS_A_STEP_MAX = 3 * ACTIONS_MAX, /* of one event and of those that its actions bring */
    SHADOW_MAX = 1 << 30,                 /* the digest is linear below */
};

/* ---- what was said ---- */

struct bed_said *bed_said(void)
{
    static struct bed_said said;
    for (unsigned i = 0; i < said.n; i++)
        said.one[said.used[i]] = (struct bed_one){0};
    said.n = 0;
    said.damaged = false;
    return &said;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ b[i]) * 0x100000001B3u;
    return hm_mix(hash);
}

static void say(struct bed_said *said, const struct hm_delta_head *head,
                const struct hm_blob *payload)
{
    uint64_t hash = hash_bytes(1, head, sizeof *head); /* as decoded: its padding is zero */
    hash = hash_bytes(hash, payload ? payload->bytes : NULL, payload ? payload->n : 0);
    unsigned i = (unsigned)(hm_mix(head->stream + head->hi) % BED_SAID_MAX);
    for (; said->one[i].seq; i = (i + 1) % BED_SAID_MAX)
        if (said->one[i].stream == head->stream && said->one[i].seq == head->hi) {
            assert(said->one[i].hash == hash); /* else one delta has two contents */
            return;
        }
    if (said->n == BED_SAID_MAX / 2)
        return;
    said->one[i] = (struct bed_one){head->stream, hash, head->hi};
    said->used[said->n++] = i;
}

/* ---- what goes out ---- */

static void add_to_shadow(struct bed_node *node, const struct hm_delta *delta)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            node->shadow[(size_t)delta->block[i] * HM_BLOCK + j] += delta->q[i][j];
    node->touched = true;
}

static void check_spans(const struct hm_delta_head *head, const struct hm_blob *payload)
{
    static struct hm_span_entry span[HM_STREAMS_MAX];
    size_t n;
    assert(payload && head->vectors_n <= payload->n);
    int refused = hm_spans_decode(payload->bytes, head->vectors_n, span, HM_STREAMS_MAX, &n);
    assert(!refused);
}

/* An own delta: the next one, and it says what was extracted. */
static void check_published(struct bed_node *node, const struct hm_delta_head *head,
                            const struct hm_blob *payload)
{
    static uint8_t raw[HM_RAW_MAX];
    if (head->stream != node->own_life)
        node->own_seq = 0; /* a new life begins a new stream */
    node->own_life = head->stream;
    assert(head->lo == node->own_seq);
    node->own_seq = head->hi;
    check_spans(head, payload);
    int refused = hm_unpack(&hm_kernels_ref, &node->layout, head, payload->bytes + head->vectors_n,
                            payload->n - head->vectors_n, raw, &node->read);
    assert(!refused);
    if (!node->installed)
        add_to_shadow(node, &node->read);
}

static void check_beat(struct bed_node *node, const struct hm_header *header,
                       const struct hm_blob *payload)
{
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    size_t n_vv, n_peers;
    assert(payload);
    int refused = hm_beat_decode(payload->bytes, payload->n, vv, HM_STREAMS_MAX, &n_vv, peer,
                                 HM_PEERS_MAX, &n_peers);
    assert(!refused);
    if (header->life != node->beat_life)
        node->own_beat = 0; /* a new life counts anew */
    node->beat_life = header->life;
    assert(header->beat.number == node->own_beat + 1);
    node->own_beat++;
    for (size_t i = 0; i < n_peers; i++)
        assert(peer[i].life != hm_mesh_life(node->mesh));
}

static void check_greeting(const struct hm_blob *payload)
{
    static struct hm_field field[HM_FIELDS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    size_t n_fields, n_peers, n_bulk;
    const uint8_t *bulk;
    assert(payload);
    int refused = hm_hello_decode(payload->bytes, payload->n, field, HM_FIELDS_MAX, &n_fields, peer,
                                  HM_PEERS_MAX, &n_peers, &bulk, &n_bulk);
    assert(!refused);
}

static void check_sent(struct bed_node *node, const struct hm_action *action)
{
    struct hm_header header;
    enum hm_wire_error error = hm_wire_decode(action->header, action->header_n, &header);
    assert(error == HM_WIRE_OK);
    assert(header.fingerprint == hm_mesh_fingerprint(node->mesh));
    assert(!action->payload || action->payload->n <= HM_PAYLOAD_MAX);
    if (header.type == HM_DELTA) {
        if (!node->said->damaged || header.delta.stream == header.life)
            say(node->said, &header.delta, action->payload);
        if (action->type == HM_ACT_BROADCAST)
            check_published(node, &header.delta, action->payload);
    } else if (header.type == HM_BEAT) {
        check_beat(node, &header, action->payload);
    } else if (header.type == HM_HELLO || header.type == HM_HELLO_OK) {
        check_greeting(action->payload);
    }
    if (node->sent)
        node->sent(node, action, &header);
}

/* ---- the driver ---- */

static struct hm_event event_of(const struct bed_node *node, enum hm_event_type type)
{
    return (struct hm_event){
        .type = type, .now_us = node->now_us, .own_steps = node->steps - node->taken};
}

static void rescale(struct bed_node *node, float factor)
{
    for (size_t i = 0; i < node->weights.n; i++) {
        const struct hm_tensor *tensor =
            hm_layout_tensor_of(&node->layout, (uint32_t)(i / HM_BLOCK));
        float grid = hm_exp2i(tensor->grid_exp);
        float owed = hm_cell_get(&node->weights.w[i]) - (float)(int32_t)node->weights.b[i] * grid;
        if (owed != 0)
            hm_cell_add(&node->weights.w[i], factor * owed);
    }
}

static void extract(struct bed_node *node, const struct hm_action *action)
{
    struct hm_extract_stats stats = {0};
    uint64_t steps = node->steps - node->taken;
    node->installed = false;
    node->delta.n_blocks = node->delta.n_nonzero = 0;
    node->params.kernels->extract(&node->weights, 0, node->layout.n_blocks,
                                  &action->extract.publish, &node->delta, &stats);
    node->taken += steps;
    node->touched = true;
    if (action->extract.rescale != 0)
        rescale(node, action->extract.rescale);
    struct hm_event event = event_of(node, HM_EV_EXTRACTED);
    event.extracted.delta = &node->delta;
    event.extracted.steps = steps;
    event.extracted.stats = stats;
    event.extracted.cost_us = 10;
    if (action->extract.verify || stats.n_leaps)
        event.extracted.digest =
            node->params.kernels->digest_dense(node->weights.b, node->layout.n_blocks);
    hm_mesh_step(node->mesh, &event);
}

static void apply(struct bed_node *node, const struct hm_action *action)
{
    uint64_t n_sampled = 0, n_wiped = 0;
    add_to_shadow(node, action->delta);
    node->params.kernels->apply(action->delta, &node->weights, &n_sampled, &n_wiped);
    node->n_applied++;
    struct hm_event event = event_of(node, HM_EV_APPLIED);
    hm_mesh_step(node->mesh, &event);
}

static void retract(struct bed_node *node, const struct hm_action *action)
{
    hm_delta_retract(action->delta, node->weights.b);
    hm_weights_settle(&node->weights);
}

static void snapshot(struct bed_node *node)
{
    size_t bytes = node->weights.n * sizeof node->weights.b[0];
    struct hm_event event = event_of(node, HM_EV_SNAPSHOT);
    event.base = hm_blob_new(bytes);
    assert(event.base);
    memcpy(event.base->bytes, node->weights.b, bytes);
    hm_mesh_step(node->mesh, &event);
}

static void install(struct bed_node *node, const struct hm_action *action)
{
    uint64_t n_sampled = 0, n_wiped = 0;
    for (size_t i = 0; i < node->weights.n; i++)
        node->shadow[i] = (int32_t)action->base[i];
    hm_weights_install(node->params.kernels, &node->weights, action->base, &n_sampled, &n_wiped);
    node->touched = true;
    node->installed = true;
    struct hm_event event = event_of(node, HM_EV_INSTALLED);
    hm_mesh_step(node->mesh, &event);
}

static void tell_status(struct bed_node *node)
{
    struct hm_event event = event_of(node, HM_EV_STATUS);
    event.status = hm_blob_new(2);
    assert(event.status);
    memcpy(event.status->bytes, "{}", 2);
    hm_mesh_step(node->mesh, &event);
}

static void verify(struct bed_node *node)
{
    struct hm_event event = event_of(node, HM_EV_VERIFIED);
    event.digest = node->params.kernels->digest_dense(node->weights.b, node->layout.n_blocks);
    hm_mesh_step(node->mesh, &event);
}

static void act(struct bed_node *node, const struct hm_action *action)
{
    struct hm_event ended = event_of(node, HM_EV_WORK_ENDED);
    switch (action->type) {
    case HM_ACT_CONNECT:
        assert(action->slot < HM_PEERS_MAX);
        assert(hm_endpoint_ok(action->rpc, strlen(action->rpc)) && action->rpc[0]);
        assert(hm_endpoint_ok(action->pub, strlen(action->pub)) && action->pub[0]);
        break;
    case HM_ACT_DISCONNECT:
        assert(action->slot < HM_PEERS_MAX);
        break;
    case HM_ACT_SEND:
    case HM_ACT_REPLY:
    case HM_ACT_BROADCAST:
        check_sent(node, action);
        break;
    case HM_ACT_EXTRACT:
        extract(node, action);
        break;
    case HM_ACT_APPLY:
        apply(node, action);
        break;
    case HM_ACT_RETRACT:
        retract(node, action);
        break;
    case HM_ACT_SNAPSHOT:
        snapshot(node);
        break;
    case HM_ACT_INSTALL:
        install(node, action);
        break;
    case HM_ACT_VERIFY:
        verify(node);
        break;
    case HM_ACT_STATUS:
        tell_status(node);
        break;
    case HM_ACT_START:
        assert(!node->working);
        node->working = true;
        break;
    case HM_ACT_END_WORK:
        node->working = false;
        hm_mesh_step(node->mesh, &ended);
        break;
    case HM_ACT_NOTE:
        assert(hm_text_ok(action->note, strlen(action->note)));
        break;
    case HM_ACT_FINISH:
        node->ended = true;
        break;
    }
}

/* ---- what must hold ---- */

/* Without branches in the loop, which fuzzing would count one by one. */
static void check_base(struct bed_node *node)
{
    int64_t sizes = 0, apart = 0;
    int finite = 1;
    for (size_t i = 0; i < node->weights.n; i++) {
        apart |= (int64_t)(node->weights.b[i] ^ (uint32_t)node->shadow[i]);
        finite &= isfinite(hm_cell_get(&node->weights.w[i])) != 0;
        sizes |= llabs(node->shadow[i]);
    }
    assert(!apart && finite);
    if (sizes < SHADOW_MAX)
        assert(hm_mesh_digest(node->mesh) ==
               node->params.kernels->digest_dense(node->weights.b, node->layout.n_blocks));
}

/* The limits of held deltas and logs are kept, and the counts are those of what is there. */
static void check_limits(const struct bed_node *node)
{
    const struct hm_mesh *mesh = node->mesh;
    uint64_t held = 0, logged = 0, applied = 0;
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        assert(s->n_held <= HELD_MAX);
        for (size_t k = 0; k < s->n_held; k++)
            held += s->held[k].payload ? s->held[k].payload->n : 0;
        logged += s->log.bytes;
        applied += i ? s->link.seq : 0;
    }
    assert(mesh->held_bytes == held && held <= HELD_BYTES_MAX);
    assert(mesh->log_bytes == logged && logged <= mesh->params.log_bytes_max);
    assert(mesh->counters.applied == node->n_applied);
    if (!mesh->counters.renewals && !mesh->counters.snapshots_installed)
        assert(applied == node->n_before + node->n_applied);
    assert(mesh->stream[0]->link.seq == node->own_seq || hm_mesh_life(mesh) != node->own_life);
    assert(!mesh->applying && !mesh->extracting);
}

static void check_questions(const struct bed_node *node)
{
    struct hm_mesh *mesh = node->mesh;
    assert(hm_mesh_n_live(mesh) <= HM_PEERS_MAX + 1);
    assert(hm_mesh_flush_interval_us(mesh) > 0);
    assert(hm_mesh_steps_cap(mesh) > 0);
    hm_mesh_wake_us(mesh, node->working);
    hm_mesh_is_first(mesh);
    /* Asking for the n-th looks through all: a few tell enough. */
    for (size_t i = 0; i < hm_mesh_n_members(mesh) && i < 4; i++) {
        struct hm_member_info info = hm_mesh_member(mesh, i, node->now_us);
        assert(info.life && info.life != hm_mesh_life(mesh));
        assert(info.silent_us <= node->now_us);
    }
}

static void check(struct bed_node *node)
{
    if (node->touched)
        check_base(node);
    node->touched = false;
    check_limits(node);
    check_questions(node);
}

/* ---- for the targets ---- */

void bed_step(struct bed_node *node, struct hm_event *event)
{
    unsigned n = 0;
    if (node->ended)
        return;
    event->now_us = node->now_us;
    event->own_steps = node->steps - node->taken;
    hm_mesh_step(node->mesh, event);
    for (const struct hm_action *action; (action = hm_mesh_next(node->mesh)); n++)
        act(node, action);
    assert(n <= ACTIONS_A_STEP_MAX);
    check(node);
}

void bed_tick(struct bed_node *node, uint64_t us)
{
    struct hm_event tick = {.type = HM_EV_TICK};
    node->now_us += us;
    bed_step(node, &tick);
}

void bed_work(struct bed_node *node, uint32_t coordinate, float units, uint64_t steps)
{
    if (!node->working || node->ended)
        return;
    uint32_t block = coordinate / HM_BLOCK % node->layout.n_blocks, lane = coordinate % HM_BLOCK;
    if (hm_layout_block_mask(&node->layout, block) >> lane & 1) {
        float grid = hm_exp2i(hm_layout_tensor_of(&node->layout, block)->grid_exp);
        hm_cell_add(&node->weights.w[block * HM_BLOCK + lane], units * grid);
    }
    node->steps += steps;
}

void bed_receive(struct bed_node *node, enum hm_channel channel, const uint8_t *header,
                 size_t header_n, struct hm_blob *payload, uint8_t from)
{
    uint8_t route[2] = {'n', from};
    bool asked = channel == HM_CH_REQUEST;
    struct hm_event event = {.type = HM_EV_MESSAGE,
                             .message = {.channel = channel,
                                         .header = header,
                                         .header_n = header_n,
                                         .payload = payload,
                                         .route = asked ? route : NULL,
                                         .route_n = asked ? sizeof route : 0}};
    bed_step(node, &event);
}

/* ---- open and close ---- */

static void choose(struct hm_mesh_params *params, struct fuzz *fuzz)
{
    static const uint64_t logs[] = {16 << 20, 4000, 300, 0}, budgets[] = {0, 1000000, 1000, 1},
                          bandwidths[] = {0, 0, 100000, 1}, flushes[] = {0, 0, 1000, 100000};
    uint8_t a = fuzz_u8(fuzz), b = fuzz_u8(fuzz);
    params->log_bytes_max = logs[a & 3];
    params->budget_steps = budgets[a >> 2 & 3];
    params->bandwidth = bandwidths[a >> 4 & 3];
    params->flush_us = flushes[a >> 6];
    params->combine.rule = (enum hm_rule)((b & 3) % 3);
    params->combine.amplify = b & 4 ? 3.5f : 0;
    params->flush_step = b >> 3 & 1;
    params->seed = b >> 4;
    params->chunk_blocks = b >> 4 & 3;
    params->seq_max = b >> 6 == 3 ? 5 : 0;
}

static void open_model(struct bed_node *node)
{
    int failed = hm_layout_add(&node->layout, "v", 1, 200, -10, NULL) ||
                 hm_layout_add(&node->layout, "m", 5, 20, -12, NULL) ||
                 hm_weights_init(&node->weights, &node->layout, NULL) ||
                 hm_delta_init(&node->delta, node->layout.n_blocks, NULL) ||
                 hm_delta_init(&node->read, node->layout.n_blocks, NULL);
    assert(!failed);
    node->shadow = calloc(node->weights.n, sizeof *node->shadow);
    assert(node->shadow);
    hm_fields_set_layout(&node->config, &node->layout);
    hm_fields_set(&node->config, "workload", "fuzz");
}

void bed_open(struct bed_node *node, uint64_t life, unsigned expect, struct fuzz *fuzz,
              struct bed_said *said)
{
    memset(node, 0, sizeof *node);
    node->said = said;
    node->now_us = 1000000;
    open_model(node);
    node->params = (struct hm_mesh_params){.life = life,
                                           .config = &node->config,
                                           .bulk = (const uint8_t *)"bulk",
                                           .bulk_n = 4,
                                           .layout = &node->layout,
                                           .kernels = hm_kernels_at(0),
                                           .expect = expect,
                                           .join_timeout_us = 30000000,
                                           .suspect_us = 2000000,
                                           .gone_us = 8000000};
    choose(&node->params, fuzz);
    snprintf(node->params.label, sizeof node->params.label, "node%llx", (unsigned long long)life);
    snprintf(node->params.rpc, sizeof node->params.rpc, "inproc://r%llx", (unsigned long long)life);
    snprintf(node->params.pub, sizeof node->params.pub, "inproc://p%llx", (unsigned long long)life);
    struct hm_err err = {""};
    enum hm_status status = hm_mesh_open(&node->mesh, &node->params, node->now_us, &err);
    assert(status == HM_OK);
}

static void grow_old(struct hm_mesh *mesh, struct stream *stream)
{
    stream->link.seq = stream->head = stream->flush = HM_SEQ_MAX - 3;
    stream->link.steps = (uint64_t)1 << 62;
    hm_mesh_show_progress(mesh, stream);
}

void bed_grow_old(struct bed_node *node, uint64_t peer)
{
    struct hm_mesh *mesh = node->mesh;
    struct stream *stream = hm_mesh_stream_make(mesh, peer);
    assert(stream && stream != mesh->stream[0]);
    grow_old(mesh, mesh->stream[0]);
    grow_old(mesh, stream);
    mesh->flush = mesh->stream[0]->flush;
    node->own_seq = mesh->stream[0]->link.seq;
    node->own_life = hm_mesh_life(mesh);
    node->n_before = stream->link.seq;
}

void bed_close(struct bed_node *node)
{
    hm_mesh_close(node->mesh);
    hm_weights_fini(&node->weights);
    hm_delta_fini(&node->delta);
    hm_delta_fini(&node->read);
    free(node->shadow);
}
