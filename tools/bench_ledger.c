/* What exactly-once, self-checking deltas cost beside sending them: numbers, vectors, digests,
 * staleness, logs and acknowledgements. A mesh without sockets hears seven peers; what packs,
 * unpacks, scans and adds is left out or subtracted, for that would be there anyway. */
#include "protocol/mesh.h"
#include "sparse/layout_field.h"
#include "tools/bench_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEERS = 7, ROUNDS = 60, TURN_US = 50000 };

struct peer {
    uint64_t life, digest, steps;
    uint32_t seq;
};

struct desk {
    struct walk walk;
    struct hm_fields config;
    struct hm_decoder *decoder;
    struct hm_mesh *mesh;
    struct hm_delta delta;
    struct peer peer[PEERS];
    uint64_t now_us;
    uint32_t beat;
    const struct hm_kernels *kernels;
};

/* Lets an event happen and answers what the mesh asks for; seconds that the mesh itself took. */
static double happen(struct desk *d, struct hm_event *event)
{
    event->now_us = d->now_us;
    double from = now();
    hm_mesh_step(d->mesh, event);
    for (const struct hm_action *a; (a = hm_mesh_next(d->mesh)) != NULL;)
        if (a->type == HM_ACT_APPLY)
            hm_mesh_step(d->mesh, &(struct hm_event){.type = HM_EV_APPLIED, .now_us = d->now_us});
    return now() - from;
}

static double hear(struct desk *d, const struct hm_header *header, struct hm_blob *payload)
{
    uint8_t bytes[HM_HEADER_BOUND];
    struct hm_event event = {.type = HM_EV_MESSAGE};
    event.message.channel = HM_CH_PUBLISHED;
    event.message.header = bytes;
    event.message.header_n = hm_wire_encode(header, bytes);
    event.message.payload = payload;
    return happen(d, &event);
}

/* ---- what peers send ---- */

static struct hm_header header_of(const struct desk *d, enum hm_message_type type, unsigned i)
{
    return (struct hm_header){.type = (uint8_t)type,
                              .fingerprint = hm_mesh_fingerprint(d->mesh),
                              .life = d->peer[i].life};
}

/* The newest delta of peer i, with the vectors of a mesh in full swing. */
static struct hm_blob *delta_of(struct desk *d, unsigned i, struct hm_header *header)
{
    struct peer *p = &d->peer[i];
    struct hm_span_entry span[PEERS];
    size_t n = 0;
    for (unsigned k = 0; k < PEERS; k++)
        if (d->peer[k].seq)
            span[n++] = (struct hm_span_entry){d->peer[k].life, d->peer[k].seq - 1, d->peer[k].seq,
                                               0, d->peer[k].steps};
    size_t bound = HM_SPANS_BOUND(n) + hm_pack_bound(d->delta.n_blocks, d->walk.layout.n_blocks);
    struct hm_blob *payload = hm_blob_new(bound);
    uint8_t *scratch = room(bound);
    struct hm_delta_head *head = &header->delta;
    *header = header_of(d, HM_DELTA, i);
    head->vectors_n = (uint32_t)hm_spans_encode(span, n, payload->bytes);
    n = head->vectors_n + hm_pack(d->kernels, &d->delta, 0, d->walk.layout.n_blocks,
                                  payload->bytes + head->vectors_n, scratch, &head->encoding,
                                  &head->raw_n);
    free(scratch);
    p->digest += d->kernels->digest(&d->delta);
    p->steps += d->walk.at;
    head->stream = p->life;
    head->lo = p->seq;
    head->hi = head->flush = ++p->seq;
    head->last_piece = 1;
    head->digest = p->digest;
    head->steps = p->steps;
    head->n_nonzero = d->delta.n_nonzero;
    head->n_blocks = d->walk.layout.n_blocks;
    head->check = hm_delta_check(head, payload->bytes, n);
    return hm_blob_shrink(payload, n);
}

static struct hm_blob *beat_of(struct desk *d, unsigned i, struct hm_header *header)
{
    struct hm_vv_entry vv[PEERS];
    struct hm_peer_entry peer[PEERS];
    *header = header_of(d, HM_BEAT, i);
    header->beat = (struct hm_beat_head){.number = d->beat, .phase = HM_RUNNING};
    snprintf(header->beat.label, sizeof header->beat.label, "peer%u", i);
    snprintf(header->beat.rpc, sizeof header->beat.rpc, "tcp://127.0.0.1:%u", 7000 + 2 * i);
    snprintf(header->beat.pub, sizeof header->beat.pub, "tcp://127.0.0.1:%u", 7001 + 2 * i);
    for (unsigned k = 0; k < PEERS; k++) {
        const struct peer *p = &d->peer[k];
        vv[k] = (struct hm_vv_entry){p->life, p->seq, p->seq, p->steps, p->digest};
        peer[k] = (struct hm_peer_entry){.life = p->life, .phase = HM_RUNNING};
        snprintf(peer[k].label, sizeof peer[k].label, "peer%u", k);
        snprintf(peer[k].rpc, sizeof peer[k].rpc, "tcp://127.0.0.1:%u", 7000 + 2 * k);
        snprintf(peer[k].pub, sizeof peer[k].pub, "tcp://127.0.0.1:%u", 7001 + 2 * k);
    }
    header->beat.digest = hm_mesh_digest(d->mesh);
    header->beat.steps = hm_mesh_steps(d->mesh);
    struct hm_blob *payload = hm_blob_new(HM_BEAT_BOUND(PEERS, PEERS));
    return hm_blob_shrink(payload, hm_beat_encode(vv, PEERS, peer, PEERS, payload->bytes));
}

/* ---- the measurements ---- */

/* A receive: the mesh's turn with a delta that is decoded already, and of the decoding the vectors
 * and the digest. */
static void receive(struct desk *d, unsigned i, json_t *json)
{
    struct hm_header header;
    struct hm_blob *payload = delta_of(d, i, &header);
    struct hm_span_entry span[HM_STREAMS_MAX];
    size_t n;
    hm_decode(d->decoder, &header.delta, payload);
    double spent = hear(d, &header, payload), from = now();
    hm_spans_decode(payload->bytes, header.delta.vectors_n, span, HM_STREAMS_MAX, &n);
    volatile uint64_t digest = d->kernels->digest(&d->delta);
    (void)digest;
    add(json, "receive_us", (spent + now() - from) * 1e6);
    hm_blob_drop(payload);
}

static void beat(struct desk *d, unsigned i, json_t *json)
{
    struct hm_header header;
    struct hm_blob *payload = beat_of(d, i, &header);
    double spent = hear(d, &header, payload);
    if (json)
        add(json, "beat_us", spent * 1e6);
    hm_blob_drop(payload);
}

/* A flush without its scan and its packing. */
static void publish(struct desk *d, json_t *json)
{
    size_t bound = hm_pack_bound(d->delta.n_blocks, d->walk.layout.n_blocks);
    uint8_t *out = room(bound), *scratch = room(bound), encoding;
    uint32_t raw_n;
    hm_pack(d->kernels, &d->delta, 0, d->walk.layout.n_blocks, out, scratch, &encoding, &raw_n);
    double from = now();
    hm_pack(d->kernels, &d->delta, 0, d->walk.layout.n_blocks, out, scratch, &encoding, &raw_n);
    double packing = now() - from;
    struct hm_event event = {.type = HM_EV_EXTRACTED};
    event.extracted.delta = &d->delta;
    event.extracted.steps = d->walk.at;
    add(json, "publish_us", (happen(d, &event) - packing) * 1e6);
    free(out);
    free(scratch);
}

/* A turn in which nothing is due but, mostly, the own beat. */
static void tick(struct desk *d, json_t *json)
{
    struct hm_event event = {.type = HM_EV_TICK};
    double spent = happen(d, &event);
    if (json)
        add(json, "tick_us", spent * 1e6);
}

static void open_desk(struct desk *d, const char *train, uint64_t k)
{
    struct hm_err err;
    struct hm_publish how = {1, 1, 0};
    struct hm_extract_stats stats = {0};
    d->kernels = hm_kernels_find("auto");
    d->walk = walk_open(train);
    walk_restart(&d->walk);
    walk_on(&d->walk, k);
    must(hm_delta_init(&d->delta, d->walk.layout.n_blocks, &err), &err);
    d->kernels->extract(&d->walk.weights, 0, d->walk.layout.n_blocks, &how, &d->delta, &stats);
    hm_fields_set(&d->config, "workload", "svm");
    hm_fields_set_layout(&d->config, &d->walk.layout);
    must(hm_decoder_open(&d->decoder, d->kernels, &d->walk.layout, 1, &err), &err);
    struct hm_mesh_params params = {.life = 1,
                                    .config = &d->config,
                                    .layout = &d->walk.layout,
                                    .kernels = d->kernels,
                                    .decoder = d->decoder,
                                    .combine = {.rule = HM_RULE_SUM},
                                    .expect = 1,
                                    .log_bytes_max = (uint64_t)256 << 20,
                                    .suspect_us = 2000000,
                                    .gone_us = 8000000};
    memcpy(params.label, "bench", 6);
    memcpy(params.rpc, "tcp://127.0.0.1:1", 18);
    memcpy(params.pub, "tcp://127.0.0.1:2", 18);
    must(hm_mesh_open(&d->mesh, &params, d->now_us = 1000000, &err), &err);
    for (unsigned i = 0; i < PEERS; i++)
        d->peer[i].life = 100 + i;
    tick(d, NULL);
}

json_t *ledger(const char *train, uint64_t k)
{
    static struct desk desk;
    struct desk *d = &desk;
    json_t *json = json_pack("{s:i}", "peers", PEERS);
    open_desk(d, train, k);
    for (unsigned round = 0; round < ROUNDS; round++) {
        d->now_us += TURN_US;
        d->beat++;
        for (unsigned i = 0; i < PEERS; i++)
            receive(d, i, json);
        publish(d, json);
        for (unsigned i = 0; i < PEERS; i++)
            beat(d, i, json);
        tick(d, json);
    }
    const struct hm_counters *counters = hm_mesh_counters(d->mesh);
    if (counters->applied != ROUNDS * PEERS || counters->published != ROUNDS) {
        fprintf(stderr, "hogmesh-bench: the mesh did not take what it was sent\n");
        exit(1);
    }
    hm_mesh_close(d->mesh);
    hm_decoder_close(d->decoder);
    hm_delta_fini(&d->delta);
    walk_close(&d->walk);
    return json;
}
