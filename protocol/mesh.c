#include "protocol/mesh_state.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- actions ---- */

struct hm_action *hm_mesh_act(struct hm_mesh *mesh, enum hm_action_type type)
{
    if (mesh->n_actions == mesh->actions_room) {
        size_t room = mesh->actions_room ? 2 * mesh->actions_room : 16;
        assert(room <= ACTIONS_MAX);
        struct hm_action *action = realloc(mesh->action, room * sizeof *action);
        assert(action); /* a few kilobytes; without them nothing can be said any more */
        mesh->action = action;
        mesh->actions_room = room;
    }
    struct hm_action *action = &mesh->action[mesh->n_actions++];
    memset(action, 0, sizeof *action);
    action->type = type;
    return action;
}

const struct hm_action *hm_mesh_next(struct hm_mesh *mesh)
{
    if (mesh->next_action) {
        struct hm_action *done = &mesh->action[mesh->next_action - 1];
        hm_blob_drop(done->payload);
        done->payload = NULL;
    }
    if (mesh->next_action < mesh->n_actions)
        return &mesh->action[mesh->next_action++];
    mesh->next_action = mesh->n_actions = 0;
    return NULL;
}

void hm_mesh_note(struct hm_mesh *mesh, enum hm_note_level level, const char *format, ...)
{
    struct hm_action *action = hm_mesh_act(mesh, HM_ACT_NOTE);
    action->level = level;
    va_list args;
    va_start(args, format);
    vsnprintf(action->note, sizeof action->note, format, args);
    va_end(args);
}

struct hm_header hm_mesh_header(const struct hm_mesh *mesh, enum hm_message_type type)
{
    return (struct hm_header){
        .type = (uint8_t)type, .fingerprint = mesh->fingerprint, .life = mesh->params.life};
}

/* Encodes header and payload into a new action; the caller says where to. Takes the payload's
 * ownership. */
static struct hm_action *message(struct hm_mesh *mesh, enum hm_action_type type,
                                 const struct hm_header *header, struct hm_blob *payload,
                                 size_t copies)
{
    struct hm_action *action = hm_mesh_act(mesh, type);
    action->header_n = hm_wire_encode(header, action->header);
    action->payload = payload;
    size_t bytes = (action->header_n + (payload ? payload->n : 0)) * copies;
    mesh->counters.bytes_sent += bytes;
    hm_mesh_spend(mesh, bytes);
    return action;
}

void hm_mesh_send(struct hm_mesh *mesh, unsigned slot, const struct hm_header *header,
                  struct hm_blob *payload)
{
    message(mesh, HM_ACT_SEND, header, payload, 1)->slot = slot;
}

void hm_mesh_reply(struct hm_mesh *mesh, const struct hm_event *request,
                   const struct hm_header *header, struct hm_blob *payload)
{
    struct hm_action *action = message(mesh, HM_ACT_REPLY, header, payload, 1);
    assert(request->message.route_n <= sizeof action->route);
    memcpy(action->route, request->message.route, request->message.route_n);
    action->route_n = request->message.route_n;
}

void hm_mesh_broadcast(struct hm_mesh *mesh, const struct hm_header *header,
                       struct hm_blob *payload)
{
    size_t copies = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        copies += hm_member_live(&mesh->member[i]);
    message(mesh, HM_ACT_BROADCAST, header, payload, copies);
}

void hm_mesh_finish(struct hm_mesh *mesh, enum hm_status status, const char *format, ...)
{
    if (mesh->finished)
        return;
    mesh->finished = true;
    mesh->result.status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(mesh->result.text, sizeof mesh->result.text, format, args);
    va_end(args);
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        uint32_t known = s->head > s->named ? s->head : s->named;
        mesh->result.lost += known > s->link.seq ? known - s->link.seq : 0;
        if (s->former && s->renounced && s->link.seq >= s->renounced)
            mesh->counters.doubled += s->link.seq - s->renounced + 1;
    }
    hm_mesh_act(mesh, HM_ACT_FINISH);
}

void hm_mesh_raise_stop(struct hm_mesh *mesh, const char *reason)
{
    if (mesh->stop)
        return;
    mesh->stop = true;
    snprintf(mesh->stop_reason, sizeof mesh->stop_reason, "%s", reason);
    mesh->beat_soon = true;
}

/* ---- events ---- */

static bool known_stranger(struct hm_mesh *mesh, uint64_t life)
{
    for (size_t i = 0; i < mesh->n_refused_lives; i++)
        if (mesh->refused_life[i] == life)
            return true;
    size_t room = sizeof mesh->refused_life / sizeof mesh->refused_life[0];
    if (mesh->n_refused_lives < room)
        mesh->refused_life[mesh->n_refused_lives++] = life;
    return false;
}

/* Messages of another configuration or version change nothing. HELLO is answered by what it
 * contradicts. */
static bool admissible(struct hm_mesh *mesh, const struct hm_header *header)
{
    if (header->life == mesh->params.life)
        return false; /* our own, by way of a peer list that names ourselves */
    if (header->type == HM_HELLO || header->type == HM_REJECT ||
        header->fingerprint == mesh->fingerprint)
        return true;
    mesh->counters.refused_fingerprint++;
    if (!known_stranger(mesh, header->life))
        hm_mesh_note(
            mesh, HM_NOTE_WARNING,
            "ignoring node %016llx: it trains another configuration (%016llx, not %016llx)",
            (unsigned long long)header->life, (unsigned long long)header->fingerprint,
            (unsigned long long)mesh->fingerprint);
    return false;
}

static void on_message(struct hm_mesh *mesh, const struct hm_event *event)
{
    struct hm_header header;
    size_t payload_n = event->message.payload ? event->message.payload->n : 0;
    mesh->counters.bytes_received += event->message.header_n + payload_n;
    switch (hm_wire_decode(event->message.header, event->message.header_n, &header)) {
    case HM_WIRE_OK:
        break;
    case HM_WIRE_BAD_VERSION:
        mesh->counters.refused_version++;
        if (header.type == HM_HELLO && event->message.channel == HM_CH_REQUEST)
            hm_mesh_on_other_version(mesh, event, &header, !known_stranger(mesh, header.life));
        return;
    default:
        mesh->counters.refused_malformed++;
        return;
    }
    if (payload_n > HM_PAYLOAD_MAX) {
        mesh->counters.refused_malformed++;
        return;
    }
    if (header.type == HM_ASK || header.type == HM_STATUS) { /* from strangers: no sign of life */
        if (header.type == HM_ASK && event->message.channel == HM_CH_REQUEST)
            hm_mesh_on_ask(mesh, event, &header);
        return;
    }
    if (!admissible(mesh, &header))
        return;
    const struct member *member = hm_mesh_member_of(mesh, header.life);
    if (member && member->damaged)
        return;
    hm_mesh_life_sign(mesh, header.life);
    switch (header.type) {
    case HM_DELTA:
        hm_mesh_on_delta(mesh, event, &header);
        break;
    case HM_BEAT:
        hm_mesh_on_beat(mesh, event, &header);
        break;
    case HM_HELLO:
        hm_mesh_on_hello(mesh, event, &header);
        break;
    case HM_HELLO_OK:
        hm_mesh_on_hello_ok(mesh, event, &header);
        break;
    case HM_REJECT:
        hm_mesh_on_reject(mesh, &header);
        break;
    case HM_WANT:
        hm_mesh_on_want(mesh, event, &header);
        break;
    case HM_NOHAVE:
        hm_mesh_on_nohave(mesh, &header);
        break;
    case HM_STATE_REQ:
        hm_mesh_on_state_req(mesh, event, &header);
        break;
    case HM_STATE_META:
        hm_mesh_on_state_meta(mesh, event, &header);
        break;
    case HM_CHUNK_REQ:
        hm_mesh_on_chunk_req(mesh, event, &header);
        break;
    case HM_CHUNK:
        hm_mesh_on_chunk(mesh, event, &header);
        break;
    case HM_YIELD:
        hm_mesh_on_yield(mesh, &header);
        break;
    case HM_LEAVE:
        hm_mesh_on_leave(mesh, &header);
        break;
    default:
        break;
    }
}

static void tick(struct hm_mesh *mesh)
{
    if (mesh->now_us - mesh->ticked_us > PAUSE_US)
        hm_mesh_slept(mesh, mesh->now_us - mesh->ticked_us);
    mesh->ticked_us = mesh->now_us;
    hm_mesh_tick_members(mesh);
    hm_mesh_tick_repair(mesh);
    hm_mesh_tick_snapshot(mesh);
    hm_mesh_tick_fetch(mesh);
    /* The phase may end the run: not while B is about to get what its vector lacks yet. */
    if (!mesh->applying && !mesh->extracting && !mesh->installing)
        hm_mesh_tick_phase(mesh);
    hm_mesh_tick_flush(mesh);
    hm_mesh_tick_sanity(mesh);
    if (mesh->now_us >= mesh->beat_due_us ||
        (mesh->beat_soon && mesh->now_us >= hm_mesh_beat_soon_us(mesh))) {
        hm_mesh_beat(mesh);
        hm_mesh_say_yield(mesh);
    }
}

void hm_mesh_step(struct hm_mesh *mesh, const struct hm_event *event)
{
    if (mesh->finished)
        return;
    mesh->now_us = event->now_us;
    hm_mesh_heed_readers(mesh, event->readers);
    mesh->own_steps = event->own_steps;
    switch (event->type) {
    case HM_EV_TICK:
        tick(mesh);
        break;
    case HM_EV_MESSAGE:
        on_message(mesh, event);
        break;
    case HM_EV_SUBSCRIBED:
        mesh->beat_soon = true;
        break;
    case HM_EV_APPLIED:
        hm_mesh_on_applied(mesh);
        break;
    case HM_EV_EXTRACTED:
        hm_mesh_on_extracted(mesh, event);
        break;
    case HM_EV_SNAPSHOT:
        hm_mesh_on_snapshot(mesh, event->base);
        break;
    case HM_EV_INSTALLED:
        hm_mesh_on_installed(mesh);
        break;
    case HM_EV_POINTED_AT:
        hm_mesh_member_add(mesh, event->peer, false);
        break;
    case HM_EV_WORK_ENDED:
        hm_mesh_on_work_ended(mesh);
        break;
    case HM_EV_STOP:
        hm_mesh_raise_stop(mesh, event->reason);
        break;
    case HM_EV_VERIFIED:
        hm_mesh_on_verified(mesh, event->digest);
        break;
    case HM_EV_STATUS:
        hm_mesh_on_status(mesh, event->status);
        break;
    case HM_EV_LEAVE:
        if (!mesh->leaving) {
            mesh->leaving = true;
            mesh->leaving_us = mesh->now_us;
            snprintf(mesh->stop_reason, sizeof mesh->stop_reason, "%s", event->reason);
        }
        break;
    }
}

uint64_t hm_mesh_wake_us(const struct hm_mesh *mesh, int busy)
{
    if (mesh->phase == HM_RUNNING && mesh->ending && !mesh->working &&
        !(mesh->drained && mesh->leaving))
        /* The final flush goes on until nothing is owed, then the phase changes. */
        return mesh->drained || mesh->final_due_us < mesh->now_us ? mesh->now_us
               : mesh->final_due_us < mesh->beat_due_us           ? mesh->final_due_us
                                                                  : mesh->beat_due_us;
    uint64_t wake = mesh->beat_due_us;
    uint64_t coarse = mesh->now_us + (mesh->phase == HM_RUNNING && mesh->working ? 50000 : 2000);
    uint64_t repair = hm_mesh_repair_wake_us(mesh);
    if (mesh->beat_soon && hm_mesh_beat_soon_us(mesh) < wake)
        wake = hm_mesh_beat_soon_us(mesh);
    if (coarse < wake)
        wake = coarse;
    if (repair < wake)
        wake = repair;
    if (hm_mesh_fetch_wake_us(mesh) < wake)
        wake = hm_mesh_fetch_wake_us(mesh);
    if (busy && mesh->working && !mesh->extracting && mesh->flush_due_us < wake)
        wake = mesh->flush_due_us;
    return wake;
}

/* ---- life ---- */

static bool allocate(struct hm_mesh *mesh)
{
    uint32_t n_blocks = mesh->params.layout->n_blocks;
    mesh->decoder = mesh->params.decoder;
    if (!mesh->decoder) {
        if (hm_decoder_open(&mesh->own_decoder, mesh->params.kernels, mesh->params.layout, 1, NULL))
            return false;
        mesh->decoder = mesh->own_decoder;
    }
    mesh->packed_room =
        hm_pack_bound(n_blocks < PIECE_BLOCKS_MAX ? n_blocks : PIECE_BLOCKS_MAX, n_blocks);
    mesh->packed = malloc(mesh->packed_room);
    return mesh->packed && hm_mesh_starts_open(mesh) &&
           hm_mesh_stream_make(mesh, mesh->params.life);
}

enum hm_status hm_mesh_open(struct hm_mesh **out, const struct hm_mesh_params *params,
                            uint64_t now_us, struct hm_err *err)
{
    assert(params->life);
    assert(params->expect >= 1);
    struct hm_mesh *mesh = calloc(1, sizeof *mesh);
    if (!mesh)
        return hm_fail(err, HM_ENOMEM, "mesh: no memory");
    mesh->params = *params;
    if (hm_hello_bound(params->config->field, params->config->n, HELLO_PEERS, params->bulk_n) >
        HM_PAYLOAD_MAX)
        mesh->params.bulk_n = 0; /* joiners have to have it */
    mesh->fingerprint = hm_config_fingerprint(params->config);
    mesh->rng = hm_rng_seed(params->seed, params->life);
    mesh->now_us = mesh->opened_us = mesh->ticked_us = mesh->bandwidth.us = mesh->own.us = now_us;
    mesh->beat_due_us = now_us;
    mesh->wants_due_us = UINT64_MAX;
    mesh->slow_down = mesh->stretch = 1;
    mesh->interval_us = params->flush_us ? params->flush_us : 1000;
    mesh->cost_us = 60 + 30 * (params->expect - 1);
    mesh->combination = hm_combine(&params->combine, params->expect);
    mesh->bandwidth.tokens = (double)params->bandwidth / 4;
    if (!allocate(mesh)) {
        hm_mesh_close(mesh);
        return hm_fail(err, HM_ENOMEM, "mesh: no memory for a model of %u blocks",
                       params->layout->n_blocks);
    }
    snprintf(mesh->stream[0]->link.label, sizeof mesh->stream[0]->link.label, "%s", params->label);
    enum hm_status status = params->resume ? hm_mesh_begin_from(mesh, params->resume, err) : HM_OK;
    mesh->params.resume = NULL;
    if (status) {
        hm_mesh_close(mesh);
        return status;
    }
    for (size_t i = 0; i < params->n_peers; i++)
        if (params->peer[i].life != params->life && !params->peer[i].gone)
            hm_mesh_member_add(mesh, &params->peer[i], false);
    *out = mesh;
    return HM_OK;
}

static void close_stream(struct stream *stream)
{
    for (size_t i = 0; i < stream->n_held; i++)
        hm_blob_drop(stream->held[i].payload);
    hm_log_fini(&stream->log);
    hm_tally_fini(&stream->link.flushes);
    hm_tally_fini(&stream->link.step);
    free(stream->held);
    free(stream);
}

void hm_mesh_close(struct hm_mesh *mesh)
{
    if (!mesh)
        return;
    for (size_t i = 0; i < mesh->n_actions; i++)
        hm_blob_drop(mesh->action[i].payload);
    for (size_t i = 0; i < mesh->n_streams; i++)
        close_stream(mesh->stream[i]);
    for (unsigned i = 0; i < mesh->n_slots; i++)
        hm_vector_drop(mesh->member[i].vector);
    hm_decoder_close(mesh->own_decoder);
    hm_mesh_drop_snapshot(mesh);
    hm_mesh_stop_fetching(mesh, 0);
    free(mesh->fetch.vv);
    free(mesh->chunk_scratch);
    hm_delta_fini(&mesh->chunk_delta);
    free(mesh->action);
    free(mesh->packed);
    hm_mesh_starts_close(mesh);
    free(mesh);
}

/* ---- questions ---- */

enum hm_phase hm_mesh_phase(const struct hm_mesh *mesh)
{
    return mesh->phase;
}

uint64_t hm_mesh_life(const struct hm_mesh *mesh)
{
    return mesh->params.life;
}

uint64_t hm_mesh_fingerprint(const struct hm_mesh *mesh)
{
    return mesh->fingerprint;
}

uint64_t hm_mesh_steps(const struct hm_mesh *mesh)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < mesh->n_streams; i++)
        steps += mesh->now.steps[i];
    return steps;
}

uint64_t hm_mesh_own_published_steps(const struct hm_mesh *mesh)
{
    return mesh->stream[0]->link.steps;
}

uint64_t hm_mesh_digest(const struct hm_mesh *mesh)
{
    uint64_t digest = mesh->params.digest0;
    for (size_t i = 0; i < mesh->n_streams; i++)
        digest += mesh->now.digest[i];
    return digest;
}

struct hm_combination hm_mesh_combination(const struct hm_mesh *mesh)
{
    return mesh->combination;
}

unsigned hm_mesh_n_live(const struct hm_mesh *mesh)
{
    return 1 + mesh->n_live;
}

int hm_mesh_stopping(const struct hm_mesh *mesh, const char **reason)
{
    if (reason)
        *reason = mesh->stop_reason;
    return mesh->stop || mesh->leaving;
}

uint64_t hm_mesh_flush_interval_us(const struct hm_mesh *mesh)
{
    uint64_t planned =
        mesh->flush_due_us > mesh->flush_last_us ? mesh->flush_due_us - mesh->flush_last_us : 0;
    return planned > mesh->interval_us
               ? planned
               : mesh->interval_us; /* a bandwidth budget may put a flush off */
}

uint64_t hm_mesh_log_bytes(const struct hm_mesh *mesh)
{
    return mesh->log_bytes;
}

const struct hm_counters *hm_mesh_counters(const struct hm_mesh *mesh)
{
    return &mesh->counters;
}

const struct hm_result *hm_mesh_result(const struct hm_mesh *mesh)
{
    return &mesh->result;
}

size_t hm_mesh_n_streams(const struct hm_mesh *mesh)
{
    return mesh->n_streams;
}

const struct hm_link *hm_mesh_link(struct hm_mesh *mesh, size_t index)
{
    assert(index < mesh->n_streams);
    return &mesh->stream[index]->link;
}

static const struct member *nth_member(const struct hm_mesh *mesh, size_t index)
{
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (mesh->member[i].life && index-- == 0)
            return &mesh->member[i];
    return NULL;
}

size_t hm_mesh_n_members(const struct hm_mesh *mesh)
{
    size_t n = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        n += mesh->member[i].life != 0;
    return n;
}

struct hm_member_info hm_mesh_member(const struct hm_mesh *mesh, size_t index, uint64_t now_us)
{
    const struct member *member = nth_member(mesh, index);
    assert(member);
    struct hm_member_info info = {
        .life = member->life,
        .phase = member->phase,
        .gone = member->gone,
        .left = member->left,
        .silent_us = now_us - (member->heard_us ? member->heard_us : member->added_us),
        .rtt_us = member->rtt_us,
        .lag_flushes = mesh->flush - member->flush_acked};
    memcpy(info.label, member->label, sizeof info.label);
    memcpy(info.rpc, member->rpc, sizeof info.rpc);
    return info;
}

int hm_mesh_is_first(const struct hm_mesh *mesh)
{
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        bool ended = m->life &&
                     ((m->left && m->left_clean) || (hm_member_live(m) && m->phase == HM_EXITING));
        int order = ended ? strcmp(m->label, mesh->params.label) : 1;
        if (order < 0 || (order == 0 && m->life < mesh->params.life))
            return 0;
    }
    return 1;
}
