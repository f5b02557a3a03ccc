#include "protocol/decoded.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct hm_decoder {
    const struct hm_kernels *kernels;
    const struct hm_layout *layout;
    uint8_t *raw; /* [HM_RAW_MAX] scratch */
    unsigned n_places;
    struct hm_decoded_beat *beat; /* [n_places] */
    struct hm_decoded place[];
};

/* ---- vectors ---- */

struct hm_vector *hm_vector_share(struct hm_vector *vector)
{
    if (vector)
        vector->n_owners++;
    return vector;
}

void hm_vector_drop(struct hm_vector *vector)
{
    if (vector && --vector->n_owners == 0)
        free(vector);
}

const struct hm_vv_entry *hm_vector_find(const struct hm_vector *vector, uint64_t life)
{
    size_t lo = 0, hi = vector ? vector->n : 0;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (vector->entry[mid].life == life)
            return &vector->entry[mid];
        if (vector->entry[mid].life < life)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---- life ---- */

enum hm_status hm_decoder_open(struct hm_decoder **out, const struct hm_kernels *kernels,
                               const struct hm_layout *layout, unsigned n_places,
                               struct hm_err *err)
{
    assert(n_places >= 1);
    struct hm_decoder *d = calloc(1, sizeof *d + n_places * sizeof d->place[0]);
    if (!d || !(d->raw = malloc(HM_RAW_MAX)) || !(d->beat = calloc(n_places, sizeof *d->beat))) {
        if (d)
            free(d->raw);
        free(d);
        return hm_fail(err, HM_ENOMEM, "no memory to decode deltas");
    }
    d->kernels = kernels;
    d->layout = layout;
    d->n_places = n_places;
    *out = d;
    return HM_OK;
}

void hm_decoder_close(struct hm_decoder *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < d->n_places; i++) {
        struct hm_decoded *place = &d->place[i];
        hm_log_entry_drop(place->entry);
        free(place->start.life);
        free(place->start.steps);
        free(place->start.flush);
        free(place->span);
        hm_delta_fini(&place->delta);
        hm_blob_drop(d->beat[i].payload);
        hm_vector_drop(d->beat[i].vector);
        free(d->beat[i].peer);
    }
    free(d->beat);
    free(d->raw);
    free(d);
}

/* ---- one place ---- */

static int make_room(struct hm_decoded *place, size_t n, uint32_t n_blocks)
{
    if (place->delta.capacity < n_blocks) {
        hm_delta_fini(&place->delta);
        if (hm_delta_init(&place->delta, n_blocks, NULL))
            return -1;
    }
    if (place->start.room >= n)
        return 0;
    struct hm_starts *start = &place->start;
    start->room = 0;
    free(start->life);
    free(start->steps);
    free(start->flush);
    free(place->span);
    start->life = malloc(n * sizeof *start->life);
    start->steps = malloc(n * sizeof *start->steps);
    start->flush = malloc(n * sizeof *start->flush);
    place->span = malloc(n * sizeof *place->span);
    if (!start->life || !start->steps || !start->flush || !place->span)
        return -1;
    start->room = n;
    return 0;
}

static void take_columns(struct hm_decoded *place)
{
    struct hm_starts *start = &place->start;
    start->n = place->n_spans;
    for (size_t i = 0; i < place->n_spans; i++) {
        start->life[i] = place->span[i].life;
        start->steps[i] = place->span[i].steps_start;
        start->flush[i] = place->span[i].flush_start;
    }
}

static int fill(struct hm_decoder *d, struct hm_decoded *place)
{
    const struct hm_delta_head *head = &place->entry->head;
    size_t n = place->entry->payload->n;
    const uint8_t *bytes = place->entry->payload->bytes;
    struct hm_span_entry span[HM_STREAMS_MAX];
    if (head->vectors_n > n ||
        hm_spans_decode(bytes, head->vectors_n, span, HM_STREAMS_MAX, &place->n_spans) ||
        make_room(place, place->n_spans ? place->n_spans : 1, d->layout->n_blocks) ||
        hm_unpack(d->kernels, d->layout, head, bytes + head->vectors_n, n - head->vectors_n, d->raw,
                  &place->delta))
        return -1;
    memcpy(place->span, span, place->n_spans * sizeof span[0]);
    take_columns(place);
    place->digest = d->kernels->digest(&place->delta);
    return 0;
}

/* ---- all of them ---- */

static size_t place_of(const struct hm_decoder *d, const struct hm_blob *payload)
{
    uint64_t x = (uint64_t)(uintptr_t)payload * 0x9E3779B97F4A7C15u;
    return (x >> 32) % d->n_places;
}

static int same_head(const struct hm_delta_head *a, const struct hm_delta_head *b)
{
    return a->block == b->block && a->n_blocks == b->n_blocks && a->n_nonzero == b->n_nonzero &&
           a->raw_n == b->raw_n && a->vectors_n == b->vectors_n && a->encoding == b->encoding &&
           a->stream == b->stream && a->lo == b->lo && a->hi == b->hi && a->flush == b->flush &&
           a->last_piece == b->last_piece && a->digest == b->digest && a->steps == b->steps &&
           a->check == b->check;
}

/* The share that a place holds keeps the address from being used for another payload. */
static struct hm_decoded *look_up(struct hm_decoder *d, const struct hm_delta_head *head,
                                  struct hm_blob *payload)
{
    if (!payload)
        return NULL;
    struct hm_decoded *place = &d->place[place_of(d, payload)];
    if (place->entry && place->entry->payload == payload && same_head(&place->entry->head, head))
        return place;
    hm_log_entry_drop(place->entry);
    place->entry = hm_log_entry_new(head, payload);
    if (!place->entry)
        return NULL;
    hm_blob_share(payload);
    place->intact = hm_delta_check(head, payload->bytes, payload->n) == head->check;
    place->unpacked = 0;
    return place;
}

static const struct hm_decoded *unpacked(struct hm_decoder *d, struct hm_decoded *place)
{
    if (!place->unpacked)
        place->malformed = fill(d, place) != 0;
    place->unpacked = 1;
    return place->malformed ? NULL : place;
}

int hm_decode_intact(struct hm_decoder *d, const struct hm_delta_head *head,
                     struct hm_blob *payload)
{
    const struct hm_decoded *place = look_up(d, head, payload);
    return place && place->intact;
}

const struct hm_decoded *hm_decode(struct hm_decoder *d, const struct hm_delta_head *head,
                                   struct hm_blob *payload)
{
    struct hm_decoded *place = look_up(d, head, payload);
    return place && place->intact ? unpacked(d, place) : NULL;
}

const struct hm_decoded *hm_decode_anyway(struct hm_decoder *d, const struct hm_delta_head *head,
                                          struct hm_blob *payload)
{
    struct hm_decoded *place = look_up(d, head, payload);
    return place ? unpacked(d, place) : NULL;
}

static int fill_beat(struct hm_decoded_beat *beat)
{
    struct hm_vv_entry vv[HM_STREAMS_MAX];
    struct hm_peer_entry peer[HM_PEERS_MAX];
    size_t n_vv;
    if (hm_beat_decode(beat->payload->bytes, beat->payload->n, vv, HM_STREAMS_MAX, &n_vv, peer,
                       HM_PEERS_MAX, &beat->n_peers))
        return -1;
    struct hm_vector *vector = malloc(sizeof *vector + n_vv * sizeof vv[0]);
    beat->peer = malloc((beat->n_peers ? beat->n_peers : 1) * sizeof peer[0]);
    if (!vector || !beat->peer) {
        free(vector);
        return -1;
    }
    vector->n_owners = 1;
    vector->n = n_vv;
    memcpy(vector->entry, vv, n_vv * sizeof vv[0]);
    memcpy(beat->peer, peer, beat->n_peers * sizeof peer[0]);
    beat->vector = vector;
    return 0;
}

const struct hm_decoded_beat *hm_decode_beat(struct hm_decoder *d, struct hm_blob *payload)
{
    if (!payload)
        return NULL;
    struct hm_decoded_beat *beat = &d->beat[place_of(d, payload)];
    if (beat->payload != payload) {
        hm_blob_drop(beat->payload);
        hm_vector_drop(beat->vector);
        free(beat->peer);
        *beat = (struct hm_decoded_beat){.payload = hm_blob_share(payload)};
        if (fill_beat(beat))
            return NULL;
    }
    return beat->vector ? beat : NULL;
}
