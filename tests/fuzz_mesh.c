/* The protocol core among peers that say anything: one real node, and the input as a list of
 * events. Messages are mostly well-formed and near to what would be right, because what is far from
 * it ends at the decoders, which have targets of their own. mesh_bed.h lists what is checked. */
#include "tests/mesh_bed.h"

#include <math.h>
#include <stdlib.h>

enum {
    EVENTS_MAX = 400,
    N_LIVES = 8,
    OWN_LIFE = 0x1003,
    CROWD = 0x2000,
    LONG_LOG = 4500,
    STATES_AT_ONCE = 10
};

struct enemy {
    struct bed_node *node;
    struct fuzz fuzz;
    uint32_t beat[N_LIVES]; /* last number used */
    bool long_log;
};

/* ---- pieces of messages ---- */

/* Lives on both sides of the own one, the own one itself, and a crowd that fills every table. */
static uint64_t choose_life(struct enemy *enemy)
{
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    return kind < 0xe0 ? 0x1000u + kind % N_LIVES : CROWD + (kind & 31) * 16u;
}

static uint32_t clamp_seq(uint64_t seq, uint32_t least)
{
    return seq < least ? least : seq > HM_SEQ_MAX ? HM_SEQ_MAX : (uint32_t)seq;
}

static void put_label(char label[HM_LABEL_MAX + 1], uint64_t life)
{
    snprintf(label, HM_LABEL_MAX + 1, "peer%llx", (unsigned long long)life);
}

static void put_endpoints(struct enemy *enemy, uint64_t life, char *rpc, char *pub)
{
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    snprintf(rpc, HM_ENDPOINT_MAX + 1, "tcp://h:%llu", (unsigned long long)life + (kind == 0xfe));
    snprintf(pub, HM_ENDPOINT_MAX + 1, "tcp://h:%llu", (unsigned long long)life + 1);
    if (kind == 0xff)
        rpc[0] = 0;
    if (kind == 0xfd)
        pub[0] = 0;
}

static int by_life(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Sorts entries that begin with their life and drops those that repeat one; returns how many stay.
 */
static size_t in_order(void *entries, size_t n, size_t size)
{
    char *entry = entries;
    size_t kept = 0;
    if (n)
        qsort(entries, n, size, by_life);
    for (size_t i = 0; i < n; i++)
        if (!kept || by_life(entry + (kept - 1) * size, entry + i * size))
            memmove(entry + kept++ * size, entry + i * size, size);
    return kept;
}

static void distort(struct enemy *enemy, struct hm_vv_entry *entry)
{
    struct fuzz *fuzz = &enemy->fuzz;
    entry->seq = clamp_seq(fuzz_near(fuzz, entry->seq), 0);
    entry->flush = (uint32_t)fuzz_near(fuzz, entry->flush);
    entry->steps = fuzz_near(fuzz, entry->steps);
    entry->digest = fuzz_near(fuzz, entry->digest);
}

/* The node's own vector, changed in places; or a crowd of streams; or a few entries. */
static size_t make_vector(struct enemy *enemy, struct hm_vv_entry vv[HM_STREAMS_MAX])
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint8_t kind = fuzz_u8(fuzz);
    size_t n = kind & 1 ? 0 : hm_mesh_vector(enemy->node->mesh, vv);
    if ((kind & 6) == 2) {
        uint64_t first = CROWD + fuzz_u8(fuzz) * 16u;
        for (unsigned more = fuzz_u8(fuzz) % 128; more && n < HM_STREAMS_MAX; more--, n++)
            vv[n] = (struct hm_vv_entry){first + more, more, more, more, more};
    }
    for (unsigned more = kind >> 5; more && n < HM_STREAMS_MAX; more--, n++)
        vv[n] = (struct hm_vv_entry){.life = choose_life(enemy)};
    n = in_order(vv, n, sizeof vv[0]);
    if (kind & 8)
        for (size_t i = 0; i < n; i++)
            distort(enemy, &vv[i]);
    return n;
}

static size_t make_peers(struct enemy *enemy, struct hm_peer_entry peer[HM_PEERS_MAX])
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint8_t kind = fuzz_u8(fuzz);
    size_t n = kind & 0x40 ? kind & 0x80 ? HM_PEERS_MAX : 40 : kind & 7;
    for (size_t i = 0; i < n; i++) {
        struct hm_peer_entry *p = &peer[i];
        memset(p, 0, sizeof *p);
        p->life = kind & 0x40 ? CROWD + i * 16 : i ? choose_life(enemy) : OWN_LIFE;
        put_label(p->label, p->life);
        put_endpoints(enemy, p->life, p->rpc, p->pub);
        p->phase = fuzz_u8(fuzz) % HM_PHASES;
        p->gone = p->phase == 5;
        p->beat = (uint32_t)fuzz_near(fuzz, enemy->node->own_beat);
        p->age_us = (uint32_t)fuzz_number(fuzz);
    }
    return in_order(peer, n, sizeof peer[0]);
}

static size_t make_spans(struct enemy *enemy, struct hm_span_entry span[HM_STREAMS_MAX])
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint8_t kind = fuzz_u8(fuzz);
    size_t n = kind & 1 ? 0 : hm_mesh_spans(enemy->node->mesh, span);
    for (unsigned more = kind >> 4; more && n < HM_STREAMS_MAX; more--, n++) {
        span[n] = (struct hm_span_entry){.life = choose_life(enemy),
                                         .flush_start = (uint32_t)fuzz_number(fuzz),
                                         .steps_start = fuzz_number(fuzz)};
        span[n].flush_end = fuzz_u8(fuzz) ? UINT32_MAX : span[n].flush_start;
        span[n].steps_end = fuzz_u8(fuzz) ? UINT64_MAX : span[n].steps_start;
    }
    return in_order(span, n, sizeof span[0]);
}

static struct hm_blob *blob_of(const void *bytes, size_t n)
{
    struct hm_blob *blob = hm_blob_new(n);
    assert(blob);
    if (n)
        memcpy(blob->bytes, bytes, n);
    return blob;
}

/* ---- messages ---- */

/* Sends it as it is or, where the input says so, with some bytes changed on the way. */
static void deliver(struct enemy *enemy, enum hm_channel channel, struct hm_header *header,
                    const void *payload, size_t n)
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint8_t bytes[HM_HEADER_BOUND], damage = fuzz_u8(fuzz);
    size_t header_n = hm_wire_encode(header, bytes);
    struct hm_blob *blob = n || damage & 1 ? blob_of(payload, n) : NULL;
    if (damage >= 0xf0)
        bytes[fuzz_u8(fuzz) % header_n] ^= (uint8_t)(1u << fuzz_u8(fuzz) % 8);
    if (damage >= 0xe0 && damage < 0xf0 && n)
        blob->bytes[fuzz_uint(fuzz, 2) % n] ^= (uint8_t)(1u << fuzz_u8(fuzz) % 8);
    bed_receive(enemy->node, channel, bytes, header_n, blob, (uint8_t)header->life);
    hm_blob_drop(blob);
}

static struct hm_header header_of(struct enemy *enemy, enum hm_message_type type, uint64_t life)
{
    struct hm_header header;
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    memset(&header, 0, sizeof header);
    header.type = (uint8_t)type;
    header.life = life;
    header.fingerprint = kind < 0xf0   ? hm_mesh_fingerprint(enemy->node->mesh)
                         : kind < 0xf8 ? 0
                                       : kind;
    return header;
}

static enum hm_channel choose_channel(struct enemy *enemy)
{
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    return kind < 0x80 ? HM_CH_PUBLISHED : kind < 0xd0 ? HM_CH_ANSWER : HM_CH_REQUEST;
}

/* A few coordinates, or none, or one as large as the codec knows. */
static void fill_delta(struct enemy *enemy, struct hm_delta *delta)
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint8_t kind = fuzz_u8(fuzz);
    delta->n_blocks = delta->n_nonzero = 0;
    for (uint32_t b = 0; b < enemy->node->layout.n_blocks; b++) {
        uint64_t mask = hm_layout_block_mask(&enemy->node->layout, b);
        if (!(kind >> b & 1))
            continue;
        unsigned lane = fuzz_u8(fuzz) % HM_BLOCK;
        int32_t q = kind & 0x80 ? 2 * HM_RANGE : 1 + fuzz_u8(fuzz);
        if (!(mask >> lane & 1))
            lane = 0;
        memset(delta->q[delta->n_blocks], 0, sizeof delta->q[0]);
        delta->q[delta->n_blocks][lane] = lane & 1 ? -q : q;
        delta->block[delta->n_blocks++] = b;
        delta->n_nonzero++;
    }
}

static void send_delta(struct enemy *enemy, uint64_t sender)
{
    static struct hm_delta delta;
    static uint8_t payload[1 << 16], scratch[1 << 14], body[1 << 14];
    static struct hm_span_entry span[HM_STREAMS_MAX];
    struct fuzz *fuzz = &enemy->fuzz;
    struct bed_node *node = enemy->node;
    if (!delta.capacity) {
        enum hm_status status = hm_delta_init(&delta, 16, NULL);
        assert(status == HM_OK);
    }
    uint64_t life = fuzz_u8(fuzz) & 1 ? choose_life(enemy) : sender;
    const struct stream *stream = hm_mesh_stream(node->mesh, life);
    struct hm_header header = header_of(enemy, HM_DELTA, sender);
    struct hm_delta_head *head = &header.delta;
    fill_delta(enemy, &delta);
    head->stream = life;
    head->hi = clamp_seq(fuzz_near(fuzz, (stream ? stream->link.seq : 0) + (uint64_t)1), 1);
    head->lo = head->hi - 1;
    head->flush = (uint32_t)fuzz_near(fuzz, (stream ? stream->flush : 0) + (uint64_t)1);
    head->flush += !head->flush;
    head->last_piece = fuzz_u8(fuzz) < 0xc0;
    head->digest = fuzz_near(fuzz, (stream ? stream->digest : 0) + hm_kernels_ref.digest(&delta));
    head->steps = fuzz_near(fuzz, (stream ? stream->link.steps : 0) + head->last_piece);
    head->n_nonzero = delta.n_nonzero;
    head->block = delta.n_blocks ? delta.block[0] : 0;
    head->n_blocks = delta.n_blocks ? delta.block[delta.n_blocks - 1] + 1 - head->block : 0;
    size_t n = hm_spans_encode(span, make_spans(enemy, span), payload);
    head->vectors_n = (uint32_t)n;
    size_t body_n = hm_pack(&hm_kernels_ref, &delta, head->block, head->n_blocks, body, scratch,
                            &head->encoding, &head->raw_n);
    memcpy(payload + n, body, body_n);
    head->check = hm_delta_check(head, payload, n + body_n); /* deliver() spoils it at times */
    deliver(enemy, choose_channel(enemy), &header, payload, n + body_n);
}

static void send_beat(struct enemy *enemy, uint64_t sender)
{
    static uint8_t payload[HM_BEAT_BOUND(HM_STREAMS_MAX, HM_PEERS_MAX)];
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    struct fuzz *fuzz = &enemy->fuzz;
    struct hm_header header = header_of(enemy, HM_BEAT, sender);
    struct hm_beat_head *beat = &header.beat;
    uint32_t *number = &enemy->beat[sender % N_LIVES],
             next = (uint32_t)fuzz_near(fuzz, *number + 1);
    *number = next ? next : 1;
    beat->number = *number;
    put_label(beat->label, sender);
    put_endpoints(enemy, sender, beat->rpc, beat->pub);
    uint8_t kind = fuzz_u8(fuzz);
    beat->phase = (uint8_t)((kind & 7) % HM_PHASES);
    beat->stop = kind >= 0xf0;
    snprintf(beat->stop_reason, sizeof beat->stop_reason, "%s", beat->stop ? "enough\n\xff" : "");
    beat->digest = fuzz_near(fuzz, hm_mesh_digest(enemy->node->mesh));
    beat->steps = fuzz_near(fuzz, hm_mesh_steps(enemy->node->mesh));
    beat->lag = (uint32_t)fuzz_number(fuzz);
    size_t n_vv = make_vector(enemy, vv), n_peers = make_peers(enemy, peer);
    size_t n = hm_beat_encode(vv, n_vv, peer, n_peers, payload);
    deliver(enemy, HM_CH_PUBLISHED, &header, payload, n);
}

/* What a joiner insists on: nothing, what we have, or another value of it. */
static size_t make_fields(struct enemy *enemy, struct hm_field *field)
{
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    if (!(kind & 3))
        return 0;
    field[0] = enemy->node->config.field[kind >> 2 & 1];
    if (kind & 1)
        memset(field[0].value, 'x', kind & 0x80 ? HM_FIELD_VALUE_MAX : 3);
    return 1;
}

static void send_hello(struct enemy *enemy, uint64_t sender, enum hm_message_type type)
{
    static uint8_t payload[HM_BEAT_BOUND(0, HM_PEERS_MAX) + (1 << 14)];
    static struct hm_field field[2];
    static struct hm_peer_entry peer[HM_PEERS_MAX];
    struct hm_header header = header_of(enemy, type, sender);
    put_label(header.hello.label, sender);
    put_endpoints(enemy, sender, header.hello.rpc, header.hello.pub);
    size_t n_fields = make_fields(enemy, field), n_peers = make_peers(enemy, peer);
    size_t n_bulk = fuzz_u8(&enemy->fuzz);
    static const uint8_t bulk[256];
    size_t n = hm_hello_encode(field, n_fields, peer, n_peers, bulk, n_bulk, payload);
    deliver(enemy, type == HM_HELLO ? HM_CH_REQUEST : HM_CH_ANSWER, &header, payload, n);
}

static void send_small(struct enemy *enemy, uint64_t sender, enum hm_message_type type)
{
    struct fuzz *fuzz = &enemy->fuzz;
    struct hm_header header = header_of(enemy, type, sender);
    uint64_t life = choose_life(enemy);
    const struct stream *stream = hm_mesh_stream(enemy->node->mesh, life);
    uint64_t seq = fuzz_near(fuzz, stream ? stream->link.seq : 0);
    switch (type) {
    case HM_WANT:
        header.want = (struct hm_want_head){life, clamp_seq(seq, 1), UINT32_MAX};
        header.want.bytes_max -= (uint32_t)fuzz_near(fuzz, 0);
        header.want.bytes_max += !header.want.bytes_max;
        break;
    case HM_NOHAVE:
        header.nohave = (struct hm_nohave_head){life, clamp_seq(seq, 0)};
        break;
    case HM_LEAVE:
        header.leave.seq = clamp_seq(seq, 0);
        header.leave.digest = fuzz_near(fuzz, hm_mesh_digest(enemy->node->mesh));
        header.leave.clean = fuzz_u8(fuzz) & 1;
        break;
    default:
        snprintf(header.reject.field, sizeof header.reject.field, "lambda");
        memset(header.reject.reason, 0xc3, HM_REASON_MAX);
        memset(header.reject.ours, 'o', HM_REASON_MAX);
        break;
    }
    deliver(enemy, type == HM_WANT ? HM_CH_REQUEST : choose_channel(enemy), &header, NULL, 0);
}

/* ---- state transfer and yielding ---- */

/* Ids of snapshots: the one that the node fetches, that which it gives out, or any. */
static uint64_t choose_id(struct enemy *enemy)
{
    const struct hm_mesh *mesh = enemy->node->mesh;
    uint64_t id = mesh->fetch.step >= FETCH_CHUNKS ? mesh->fetch.meta.id : mesh->snapshot.meta.id;
    id = fuzz_near(&enemy->fuzz, id);
    return id ? id : 1;
}

static void send_state(struct enemy *enemy, uint64_t sender, enum hm_message_type type)
{
    static uint8_t payload[HM_VECTOR_BOUND(HM_STREAMS_MAX)];
    static struct hm_vv_entry vv[HM_STREAMS_MAX];
    struct fuzz *fuzz = &enemy->fuzz;
    struct hm_header header = header_of(enemy, type, sender);
    if (type == HM_STATE_META && fuzz_u8(fuzz) < 0xe0 && enemy->node->mesh->fetch.server)
        header.life = enemy->node->mesh->fetch.server;
    if (type == HM_STATE_REQ) {
        header.state_req.decide = fuzz_u8(fuzz) & 1;
    } else {
        struct hm_state_meta_head *meta = &header.state_meta;
        meta->verdict = fuzz_u8(fuzz) % HM_VERDICTS;
        if (meta->verdict <= HM_STATE_ADOPT) {
            uint32_t n_blocks = enemy->node->layout.n_blocks;
            meta->id = fuzz_near(fuzz, 0); /* 0: the right one */
            meta->digest = fuzz_near(fuzz, hm_mesh_digest(enemy->node->mesh));
            meta->steps = fuzz_near(fuzz, hm_mesh_steps(enemy->node->mesh));
            meta->chunk_blocks = 1 + fuzz_u8(fuzz) % (2 * n_blocks);
            uint64_t right = (n_blocks - 1) / meta->chunk_blocks + 1;
            uint64_t n_chunks = fuzz_near(fuzz, right), most = HM_BLOCKS_MAX / meta->chunk_blocks;
            meta->n_chunks = (uint32_t)(n_chunks && n_chunks <= most ? n_chunks : most);
        }
    }
    size_t n = hm_vector_encode(vv, make_vector(enemy, vv), payload);
    if (type == HM_STATE_META && header.state_meta.verdict <= HM_STATE_ADOPT &&
        !header.state_meta.id)
        header.state_meta.id = hm_snapshot_id(payload, n);
    deliver(enemy, type == HM_STATE_REQ ? HM_CH_REQUEST : HM_CH_ANSWER, &header, payload, n);
}

static void send_chunk(struct enemy *enemy, uint64_t sender)
{
    static uint8_t body[1 << 14], scratch[1 << 14];
    static struct hm_delta delta;
    struct fuzz *fuzz = &enemy->fuzz;
    const struct bed_node *node = enemy->node;
    if (fuzz_u8(fuzz) < 0xe0 && node->mesh->fetch.server)
        sender = node->mesh->fetch.server;
    struct hm_header header = header_of(enemy, HM_CHUNK, sender);
    if (!delta.capacity) {
        enum hm_status status = hm_delta_init(&delta, 64, NULL);
        assert(status == HM_OK);
    }
    const struct fetch *fetch = &node->mesh->fetch;
    uint32_t all = node->layout.n_blocks,
             size = fetch->meta.chunk_blocks ? fetch->meta.chunk_blocks : 1;
    uint32_t chunk = (uint32_t)fuzz_near(fuzz, fetch->next ? fetch->next - 1 : 0) % 16;
    uint32_t block = chunk * size % all;
    uint32_t n_blocks = size < all - block ? size : all - block;
    long n = hm_pack_chunk(&hm_kernels_ref, node->weights.b, block, n_blocks, body, scratch, &delta,
                           &header.chunk);
    header.chunk.id = choose_id(enemy);
    header.chunk.chunk = chunk;
    if (n >= 0)
        deliver(enemy, HM_CH_ANSWER, &header, body, (size_t)n);
}

static void send_chunk_req(struct enemy *enemy, uint64_t sender)
{
    struct hm_header header = header_of(enemy, HM_CHUNK_REQ, sender);
    header.chunk_req.id = choose_id(enemy);
    header.chunk_req.chunk =
        (uint32_t)fuzz_near(&enemy->fuzz, fuzz_u8(&enemy->fuzz) % 8) & 0xffffff;
    deliver(enemy, HM_CH_REQUEST, &header, NULL, 0);
}

static void send_yield(struct enemy *enemy, uint64_t sender)
{
    struct fuzz *fuzz = &enemy->fuzz;
    struct hm_header header = header_of(enemy, HM_YIELD, sender);
    const struct stream *stream = hm_mesh_stream(enemy->node->mesh, sender);
    header.yield.successor = choose_life(enemy);
    header.yield.seq = clamp_seq(fuzz_near(fuzz, stream ? stream->link.seq : 0), 0);
    uint64_t from = fuzz_near(fuzz, header.yield.seq + (uint64_t)1);
    header.yield.renounced =
        from > header.yield.seq && from <= HM_SEQ_MAX ? (uint32_t)from : HM_SEQ_MAX + 1;
    if (header.yield.successor != sender)
        deliver(enemy, HM_CH_PUBLISHED, &header, NULL, 0);
}

/* Of a stranger: questions, one or more than are answered, and answers that nobody waits for. They
 * are no sign of life, make nobody a member, and change no weights. */
static void send_ask(struct enemy *enemy)
{
    static const uint8_t padding[64];
    struct fuzz *fuzz = &enemy->fuzz;
    const struct hm_mesh *mesh = enemy->node->mesh;
    uint64_t stranger = choose_life(enemy), digest = hm_mesh_digest(mesh);
    uint8_t kind = fuzz_u8(fuzz);
    size_t n_members = hm_mesh_n_members(mesh);
    struct hm_header header = header_of(enemy, kind & 1 ? HM_STATUS : HM_ASK, stranger);
    header.ask.number = fuzz_number(fuzz);
    header.ask.what = kind & 2 ? HM_ASK_STATE : HM_ASK_ECHO;
    enum hm_channel channel = kind & 4 ? choose_channel(enemy) : HM_CH_REQUEST;
    uint64_t asked = mesh->counters.asked, heard = asked + mesh->counters.asked_refused;
    unsigned n = kind & 0x80 ? 12 : 1;
    for (unsigned i = 0; i < n; i++)
        deliver(enemy, channel, &header, padding, kind >> 2 & 31);
    assert(mesh->counters.asked + mesh->counters.asked_refused <= heard + n);
    assert(header.ask.what != HM_ASK_STATE || mesh->counters.asked <= asked + STATES_AT_ONCE);
    assert(hm_mesh_n_members(mesh) == n_members && hm_mesh_digest(mesh) == digest);
}

static void send_raw(struct enemy *enemy)
{
    struct fuzz *fuzz = &enemy->fuzz;
    enum hm_channel channel = choose_channel(enemy);
    size_t header_n = fuzz_u8(fuzz), payload_n = fuzz_u8(fuzz);
    uint8_t header[UINT8_MAX] = {0};
    header_n = header_n < fuzz_left(fuzz) ? header_n : fuzz_left(fuzz);
    if (header_n)
        memcpy(header, fuzz->at, header_n);
    fuzz->at += header_n;
    payload_n = payload_n < fuzz_left(fuzz) ? payload_n : fuzz_left(fuzz);
    struct hm_blob *blob = blob_of(fuzz->at, payload_n);
    fuzz->at += payload_n;
    bed_receive(enemy->node, channel, header, header_n, blob, 7);
    hm_blob_drop(blob);
}

static void send_one(struct enemy *enemy)
{
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    uint64_t sender = choose_life(enemy);
    switch (kind % 24) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        send_delta(enemy, sender);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        send_beat(enemy, sender);
        break;
    case 9:
        send_hello(enemy, sender, HM_HELLO);
        break;
    case 10:
        send_hello(enemy, sender, HM_HELLO_OK);
        break;
    case 11:
        send_small(enemy, sender, HM_WANT);
        break;
    case 12:
        send_small(enemy, sender, HM_NOHAVE);
        break;
    case 13:
        send_small(enemy, sender, HM_LEAVE);
        break;
    case 14:
        send_small(enemy, sender, HM_REJECT);
        break;
    case 15:
    case 16:
        send_state(enemy, sender, HM_STATE_REQ);
        break;
    case 17:
    case 18:
        send_state(enemy, sender, HM_STATE_META);
        break;
    case 19:
        send_chunk_req(enemy, sender);
        break;
    case 20:
    case 21:
        send_chunk(enemy, sender);
        break;
    case 22:
        send_yield(enemy, sender);
        break;
    default:
        send_raw(enemy);
        break;
    }
}

/* ---- what else happens ---- */

static void work(struct enemy *enemy)
{
    struct fuzz *fuzz = &enemy->fuzz;
    uint32_t coordinate = fuzz_u8(fuzz) * 2;
    uint8_t kind = fuzz_u8(fuzz);
    float units = kind < 0xf0 ? (float)kind - 100.25f : ldexpf(1, kind - 0xe0);
    bed_work(enemy->node, coordinate, units, kind & 1 ? 1 : fuzz_number(fuzz) >> 20);
}

/* Many small deltas, so that logs are long: a few of them in any input, thousands in one whose
 * first byte asks for it, once. */
static void work_long(struct enemy *enemy)
{
    unsigned n = fuzz_u8(&enemy->fuzz) % 32;
    if (enemy->long_log)
        n = LONG_LOG;
    enemy->long_log = false;
    for (; n; n--) {
        bed_work(enemy->node, n % 200, 4, 1);
        bed_tick(enemy->node, 200000);
    }
}

static void happen(struct enemy *enemy)
{
    static const uint32_t pause[] = {100, 5000, 60000, 300000, 1000000, 3000000, 9000000, 60000000};
    struct hm_event event = {.type = HM_EV_SUBSCRIBED};
    uint8_t kind = fuzz_u8(&enemy->fuzz);
    if (kind < 0x90) {
        send_one(enemy);
    } else if (kind < 0xc0) {
        bed_tick(enemy->node, pause[kind & 7]);
    } else if (kind < 0xe0) {
        work(enemy);
        bed_tick(enemy->node, pause[kind & 3]);
    } else if (kind < 0xf0) {
        bed_step(enemy->node, &event);
    } else if (kind == 0xf7) {
        send_ask(enemy);
    } else if (kind < 0xf8) {
        bed_tick(enemy->node, fuzz_number(&enemy->fuzz) >> 8);
    } else if (kind < 0xfa) {
        work_long(enemy);
    } else {
        event.type = kind & 1 ? HM_EV_STOP : HM_EV_LEAVE;
        event.reason = "by request";
        bed_step(enemy->node, &event);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bed_node node;
    struct enemy enemy = {.node = &node, .fuzz = fuzz_of(data, size)};
    uint8_t expect = fuzz_u8(&enemy.fuzz);
    enemy.long_log = expect == 0xf9;
    bed_open(&node, OWN_LIFE, 1 + expect % 3, &enemy.fuzz, bed_said());
    if (expect >= 0xfa)
        bed_grow_old(&node, 0x1001);
    for (unsigned i = 0; i < EVENTS_MAX && fuzz_left(&enemy.fuzz) && !node.ended; i++)
        happen(&enemy);
    bed_close(&node);
    return 0;
}
