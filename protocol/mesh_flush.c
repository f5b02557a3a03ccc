/* Publishing: when to flush, what becomes of the delta, how long it is kept. */
#include "protocol/mesh_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    INTERVAL_MIN_US = 100,
    INTERVAL_MAX_US = 2000000,
    RTT_LEAST_US = 200,
    RTT_MOST_US = 1000000,
    INTERVAL_ALONE_US = 10000, /* nobody listens: only B must be fresh enough to be scored */
    LAG_FLUSHES_MAX = 8,
    STARVED_US = 5000000, /* without a flush, for want of bandwidth, until that is said */
    CAP_LEAST = 1024,
    CAP_FIRST = 16384,
    CAP_INTERVALS = 4,
    CAP_PARTS = 4,
    FLUSHES_LEAST = 12, /* of each node in a run with a budget, however short: unflushed steps are
                           steps unseen */
    /* Of rules that publish rows in rotation: */
    PASSES_LEAST = 40, /* of all rows by each node in a run with a budget: with fewer, less is
                          learned */
    PASS_STEPS_LEAST = 10000,
    PASSES_LOADED = 25, /* also when that takes more of a core than it may */
    PASS_STEPS_MAX = 1000000,
    DELTA_PART = 8, /* of the model, in one delta */
    HOT_PARTS = 10, /* flushes, each with the most frequent rows, in one pass */
    HOT_LEAST_US = 1000,
};

static const double OVERHEAD = .12;      /* part of a core that publishing and receiving may take */
static const double OVERHEAD_EARLY = .5; /* while the interval still grows with the run */
static const double GROWTH =
    .2; /* of an interval's steps, all nodes together, to all that were made before */
static const double IO_SHARE =
    1.4; /* what the sockets' own thread adds to the driver's cost, about */
static const double LOAD_MOST = .3; /* part of a core of its own that rotation may take */
static const double PUBLISHED_MOST =
    25e6; /* bytes a second of own deltas, one copy, unless an interval is asked for */

_Static_assert(PIECE_BLOCKS_MAX * 259 + HM_SPANS_BOUND(HM_STREAMS_MAX) < HM_PAYLOAD_MAX,
               "a piece fits into a payload");

static void refill(const struct hm_mesh *mesh, struct allowance *a, double rate)
{
    a->tokens = fmin(a->tokens + (double)(mesh->now_us - a->us) * 1e-6 * rate, rate / 4);
    a->us = mesh->now_us;
}

static void refill_bandwidth(struct hm_mesh *mesh)
{
    refill(mesh, &mesh->bandwidth, (double)mesh->params.bandwidth);
}

/* When what is owed will be paid. */
static uint64_t paid_us(const struct hm_mesh *mesh, const struct allowance *a, double rate)
{
    return mesh->now_us + (uint64_t)(-a->tokens / rate * 1e6) + 100;
}

/* Rows are published in rotation: a cap leaves some for later. Alone a node publishes all it has,
 * as far as there is room in a delta. */
static bool rotates(const struct hm_mesh *mesh)
{
    return mesh->params.combine.rule == HM_RULE_SATURATE && hm_mesh_n_live(mesh) > 1;
}

static bool limits_own(const struct hm_mesh *mesh)
{
    return rotates(mesh) && !mesh->params.flush_us && !mesh->params.flush_step;
}

/* Bytes of own deltas a second: less where publishing takes its time from workers, as far as passes
 * become longer for it. */
static double own_rate(const struct hm_mesh *mesh)
{
    double longer = fmin(mesh->stretch, (double)PASSES_LEAST / PASSES_LOADED);
    return mesh->params.crowded ? PUBLISHED_MOST / longer : PUBLISHED_MOST;
}

static void refill_own(struct hm_mesh *mesh)
{
    refill(mesh, &mesh->own, own_rate(mesh));
}

/* Blocks of deltas that the caps leave room for now; never so many that the memory for one delta
 * counts beside the model's. */
static uint64_t room_blocks(struct hm_mesh *mesh, bool final)
{
    double room = (double)mesh->params.layout->n_blocks / DELTA_PART,
           each = fmax(mesh->block_bytes, 1);
    unsigned copies = hm_mesh_n_live(mesh) - 1;
    if (!rotates(mesh) || mesh->leaving)
        return (uint64_t)room;
    if (mesh->params.bandwidth) {
        refill_bandwidth(mesh);
        room = fmin(room, mesh->bandwidth.tokens / (each * (copies ? copies : 1)));
    }
    if (limits_own(mesh) && !final) {
        refill_own(mesh);
        room = fmin(room, mesh->own.tokens / each);
    }
    return (uint64_t)fmax(room, 0);
}

void hm_mesh_spend(struct hm_mesh *mesh, size_t bytes)
{
    if (!mesh->params.bandwidth)
        return;
    refill_bandwidth(mesh);
    mesh->bandwidth.tokens -= (double)bytes;
}

/* Repair may run into debt by one burst, which own flushes then wait for: they would else spend all
 * there is. Once the training is over nothing new comes, and the end does not wait for a budget. */
bool hm_mesh_may_serve(struct hm_mesh *mesh)
{
    if (!mesh->params.bandwidth || mesh->phase != HM_RUNNING)
        return true;
    refill_bandwidth(mesh);
    return mesh->bandwidth.tokens > (double)mesh->params.bandwidth / -4;
}

/* ---- pacing ---- */

uint64_t hm_mesh_rtt_us(const struct hm_mesh *mesh)
{
    uint64_t rtt = RTT_LEAST_US;
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (hm_member_live(&mesh->member[i]) && mesh->member[i].rtt_us > rtt)
            rtt = mesh->member[i].rtt_us;
    return rtt;
}

/* One way to the farthest live peer, from the round trips of beats. */
static double delay_us(const struct hm_mesh *mesh)
{
    uint64_t rtt = hm_mesh_rtt_us(mesh);
    return .5 * (double)(rtt < RTT_MOST_US ? rtt : RTT_MOST_US);
}

uint64_t hm_mesh_delay_us(const struct hm_mesh *mesh)
{
    return (uint64_t)delay_us(mesh);
}

/* How long others do not see what was published here: by round trips, or, where receivers do not
 * keep up, by their acknowledgements, which come two ways after a flush and up to two flushes late.
 */
uint64_t hm_mesh_unseen_us(const struct hm_mesh *mesh)
{
    double sum = 0, n = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (!hm_member_live(m) || mesh->now_us - m->heard_us > 1000000)
            continue;
        double lag = (double)(mesh->flush - m->flush_acked);
        sum += lag > 2 ? lag - 2 : 0;
        n++;
    }
    double late = n > 0 ? sum / n * (double)mesh->interval_us / 2 : 0;
    return (uint64_t)fmax(delay_us(mesh), fmin(late, RTT_MOST_US));
}

/* These rules see what the others have not seen in another way, and want deltas as fresh as may be.
 */
static bool wants_every_step(const struct hm_mesh *mesh)
{
    enum hm_rule rule = mesh->params.combine.rule;
    return rule == HM_RULE_HOLD || rule == HM_RULE_LOOKAHEAD;
}

/* Back-pressure: when most peers that we hear are many flushes behind, flush less often; when they
 * keep up, come back step by step. The median, so that one slow or frozen peer never slows
 * everybody. */
static void feel_back_pressure(struct hm_mesh *mesh)
{
    unsigned n = 0, behind = 0;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (!hm_member_live(m) || mesh->now_us - m->heard_us > 1000000)
            continue;
        n++;
        behind += mesh->flush - m->flush_acked > LAG_FLUSHES_MAX;
    }
    if (2 * behind > n)
        mesh->slow_down = fmin(64, mesh->slow_down * 1.25);
    else
        mesh->slow_down = fmax(1, mesh->slow_down - .05);
}

/* Own steps in which all rows are gone through; more when peers lag or this thread does. */
static double pass_steps(const struct hm_mesh *mesh)
{
    unsigned n = hm_mesh_n_live(mesh);
    if (mesh->params.flush_us)
        return mesh->rate * (double)mesh->params.flush_us * 1e-6 * mesh->slow_down;
    double pass = PASS_STEPS_MAX;
    double each = (double)mesh->params.budget_steps / n; /* 0: nobody knows */
    double longest = each > 0 ? each / PASSES_LOADED : INFINITY;
    if (each > 0)
        pass = fmin(pass, each / PASSES_LEAST);
    /* The first steps change most. */
    pass = fmin(pass, fmax(GROWTH * (double)hm_mesh_steps(mesh) / n, PASS_STEPS_LEAST));
    pass = fmin(fmax(pass, 2 * delay_us(mesh) * 1e-6 * mesh->rate), PASS_STEPS_MAX);
    return fmin(pass * mesh->stretch, fmax(pass, longest)) * mesh->slow_down;
}

/* The most frequent rows go out several times in a pass, but not within two delays: closer than
 * that nodes answer to what they have not heard yet. */
static uint64_t rotation_us(const struct hm_mesh *mesh)
{
    double pass = mesh->params.flush_us ? (double)mesh->params.flush_us * mesh->slow_down
                  : mesh->rate > 0      ? pass_steps(mesh) / mesh->rate * 1e6
                                        : INTERVAL_ALONE_US;
    double interval = fmax(fmax(pass / HOT_PARTS, 2 * delay_us(mesh)), HOT_LEAST_US);
    return (uint64_t)fmin(fmax(fmin(interval, pass), INTERVAL_MIN_US), INTERVAL_MAX_US);
}

/* Where publishing and receiving take too much of a core, passes become longer. */
static void feel_load(struct hm_mesh *mesh, double elapsed_us)
{
    double load = elapsed_us > 0 ? IO_SHARE * mesh->cost_us / elapsed_us : 0;
    double most = mesh->params.crowded ? OVERHEAD : LOAD_MOST;
    if (load > most)
        mesh->stretch = fmin(64, mesh->stretch * fmin(1.25, sqrt(load / most)));
    else if (load < .8 * most)
        mesh->stretch = fmax(1, mesh->stretch * .99);
}

/* The interval P that serves the run best. A run of T1 on one node takes about (T1/N)(1 + C/P) + P
 * + delay on N, where C is what one flush and N - 1 receives cost; the best P is sqrt(T1 C / N).
 * Never so often that the protocol takes more than OVERHEAD of a core, nor within two delays of the
 * last: closer than that the amplified walk oscillates. */
static uint64_t interval_us(const struct hm_mesh *mesh)
{
    unsigned n = hm_mesh_n_live(mesh);
    if (rotates(mesh))
        return rotation_us(mesh);
    if (mesh->params.flush_us)
        return mesh->params.flush_us;
    double cost = IO_SHARE * mesh->cost_us;
    if (n == 1)
        return (uint64_t)fmin(fmax(INTERVAL_ALONE_US, cost / OVERHEAD), INTERVAL_MAX_US);
    double budget = mesh->params.budget_steps ? (double)mesh->params.budget_steps : mesh->rate * 60;
    double alone_us = mesh->rate > 0 ? budget / mesh->rate * 1e6 : 1e6;
    double best = sqrt(alone_us * cost / n);
    if (wants_every_step(mesh))
        return (uint64_t)fmin(fmax(cost / OVERHEAD * mesh->slow_down, INTERVAL_MIN_US),
                              INTERVAL_MAX_US);
    double least = 2 * delay_us(mesh);
    /* What the others have not seen is to be a small part of what has been done: a run begins with
     * short intervals, and the more others there are, the more it may cost. */
    double grown =
        mesh->rate > 0 ? GROWTH * (double)hm_mesh_steps(mesh) / n / mesh->rate * 1e6 : least;
    double most = mesh->params.budget_steps ? alone_us / n / FLUSHES_LEAST : INTERVAL_MAX_US;
    grown = fmax(grown, cost / fmin(OVERHEAD * (n - 1), OVERHEAD_EARLY));
    double interval =
        fmin(fmax(fmin(fmax(best, cost / OVERHEAD), grown), least), most) * mesh->slow_down;
    return (uint64_t)fmin(fmax(interval, INTERVAL_MIN_US), INTERVAL_MAX_US);
}

void hm_mesh_pace(struct hm_mesh *mesh)
{
    mesh->interval_us = interval_us(mesh);
    mesh->flush_due_us = mesh->now_us + mesh->interval_us;
}

/* Steps that the others have not seen are to stay few, also when the protocol thread does not get
 * its turn: workers stop at so many, and that is a flush. */
uint64_t hm_mesh_steps_cap(const struct hm_mesh *mesh)
{
    unsigned n = hm_mesh_n_live(mesh);
    if (n == 1)
        return UINT64_MAX;
    double cap = CAP_INTERVALS * mesh->rate * (double)hm_mesh_flush_interval_us(mesh) / 1e6;
    if (mesh->rate <= 0)
        cap = CAP_FIRST;
    if (mesh->params.budget_steps)
        cap = fmin(cap, (double)mesh->params.budget_steps / (CAP_PARTS * n));
    uint64_t lead = hm_mesh_steps_lead(mesh);
    cap = fmax(cap, CAP_LEAST);
    return cap < (double)lead ? (uint64_t)cap : lead;
}

/* With the budget nearly used up, as far as one can tell, nobody should wait for a timer. */
static bool budget_in_reach(const struct hm_mesh *mesh)
{
    uint64_t guess = hm_mesh_steps(mesh) + hm_mesh_n_live(mesh) * mesh->own_steps;
    return mesh->params.budget_steps && guess >= mesh->params.budget_steps;
}

static void extract(struct hm_mesh *mesh, bool final)
{
    struct hm_combination next = hm_combine(&mesh->params.combine, hm_mesh_n_live(mesh));
    struct hm_action *action = hm_mesh_act(mesh, HM_ACT_EXTRACT);
    action->extract.publish = (struct hm_publish){mesh->combination.divisor, !final, 0};
    if (next.divisor != mesh->combination.divisor && !final)
        action->extract.rescale = next.divisor / mesh->combination.divisor - 1;
    action->extract.verify = final;
    action->extract.pass_steps =
        rotates(mesh) && !mesh->params.flush_step ? (uint64_t)pass_steps(mesh) : 0;
    action->extract.room_blocks = room_blocks(mesh, final);
    if (!final)
        mesh->combination =
            next; /* workers see it after this flush, which is computed with the old one */
    mesh->extracting = true;
}

/* A budget that beats alone use up is a mistake that nobody would notice: nothing is ever sent. */
static void note_starved(struct hm_mesh *mesh)
{
    uint64_t waited = mesh->now_us - mesh->flush_last_us;
    if (mesh->starved || waited < STARVED_US)
        return;
    mesh->starved = true;
    hm_mesh_note(
        mesh, HM_NOTE_WARNING,
        "nothing could be published for %.1f s: %llu bytes a second are too few, beats and "
        "repair use them up; raise --bandwidth",
        (double)waited / 1e6, (unsigned long long)mesh->params.bandwidth);
}

/* Where rows go out in rotation, what is left at the end is much, and keeps to the cap as well. */
static bool final_fits(struct hm_mesh *mesh)
{
    mesh->final_due_us = 0;
    if (!rotates(mesh) || !mesh->params.bandwidth || mesh->leaving)
        return true;
    refill_bandwidth(mesh);
    if (mesh->bandwidth.tokens < 0)
        mesh->final_due_us = paid_us(mesh, &mesh->bandwidth, (double)mesh->params.bandwidth);
    return mesh->bandwidth.tokens >= 0;
}

void hm_mesh_tick_flush(struct hm_mesh *mesh)
{
    if (mesh->phase != HM_RUNNING || mesh->extracting || mesh->installing || mesh->finished)
        return;
    if (mesh->ending && !mesh->working && !mesh->drained) {
        if (final_fits(mesh))
            extract(mesh, true);
        return;
    }
    if (!mesh->working)
        return;
    if (!mesh->own_steps) {
        if (mesh->now_us >= mesh->flush_due_us)
            mesh->flush_due_us = mesh->now_us + mesh->interval_us;
        return;
    }
    bool due = mesh->params.flush_step || mesh->now_us >= mesh->flush_due_us ||
               budget_in_reach(mesh) || mesh->own_steps >= hm_mesh_steps_cap(mesh);
    if (due && mesh->params.bandwidth) {
        refill_bandwidth(mesh);
        if (mesh->bandwidth.tokens < 0) {
            note_starved(mesh);
            mesh->flush_due_us = paid_us(mesh, &mesh->bandwidth, (double)mesh->params.bandwidth);
        }
        due = mesh->bandwidth.tokens >= 0;
    }
    if (due && limits_own(mesh)) {
        refill_own(mesh);
        if (mesh->own.tokens < 0)
            mesh->flush_due_us = paid_us(mesh, &mesh->own, own_rate(mesh));
        due = mesh->own.tokens >= 0;
    }
    if (due && hm_mesh_keeps_calm(mesh))
        mesh->flush_due_us = mesh->now_us + mesh->interval_us;
    else if (due)
        extract(mesh, false);
}

/* ---- the delta goes out ---- */

static struct hm_blob *payload_of(struct hm_mesh *mesh, const struct hm_delta *piece,
                                  struct hm_delta_head *head)
{
    struct hm_span_entry span[HM_STREAMS_MAX];
    size_t n_spans = hm_mesh_spans(mesh, span);
    assert(hm_pack_bound(piece->n_blocks, head->n_blocks) <= mesh->packed_room);
    struct hm_blob *payload =
        hm_blob_new(HM_SPANS_BOUND(n_spans) + hm_pack_bound(piece->n_blocks, head->n_blocks));
    assert(payload);
    head->vectors_n = (uint32_t)hm_spans_encode(span, n_spans, payload->bytes);
    size_t n = head->vectors_n;
    if (piece->n_blocks)
        n += hm_pack(mesh->params.kernels, piece, head->block, head->n_blocks, payload->bytes + n,
                     mesh->packed, &head->encoding, &head->raw_n);
    return hm_blob_shrink(payload, n);
}

static void publish_piece(struct hm_mesh *mesh, const struct hm_delta *piece, uint64_t steps,
                          bool last)
{
    struct stream *own = mesh->stream[0];
    struct hm_header header = hm_mesh_header(mesh, HM_DELTA);
    struct hm_delta_head *head = &header.delta;
    head->stream = mesh->params.life;
    head->lo = own->link.seq;
    head->hi = own->link.seq + 1;
    head->flush = mesh->flush + 1;
    head->last_piece = last;
    head->digest = own->digest + mesh->params.kernels->digest(piece);
    head->steps = own->link.steps + (last ? steps : 0);
    head->n_nonzero = piece->n_nonzero;
    head->block = piece->n_blocks ? piece->block[0] : 0;
    head->n_blocks = piece->n_blocks ? piece->block[piece->n_blocks - 1] + 1 - head->block : 0;
    struct hm_blob *payload = payload_of(mesh, piece, head);
    head->check = hm_delta_check(head, payload->bytes, payload->n);

    own->link.seq = own->head = head->hi;
    own->digest = head->digest;
    own->link.steps = head->steps;
    hm_mesh_show_progress(mesh, own);
    hm_mesh_log(mesh, own, hm_log_entry_new(head, hm_blob_share(payload)));
    mesh->counters.published++;
    mesh->counters.pieces_empty += piece->n_blocks == 0;
    mesh->counters.coordinates_sent += piece->n_nonzero;
    mesh->counters.blocks_sent += head->n_blocks;
    mesh->counters.bytes_published += payload->n;
    mesh->own.tokens -= (double)payload->n;
    if (piece->n_blocks)
        mesh->block_bytes += .1 * ((double)payload->n / piece->n_blocks - mesh->block_bytes);
    hm_mesh_broadcast(mesh, &header, payload);
}

/* A life has so many deltas, then it goes on as another, as if it yielded: nothing is renounced.
 * False: there is no room for another. */
static bool renew_used_up(struct hm_mesh *mesh, uint32_t n_blocks)
{
    uint32_t most = mesh->params.seq_max ? mesh->params.seq_max : HM_SEQ_MAX;
    return (uint64_t)mesh->stream[0]->link.seq + n_blocks / PIECE_BLOCKS_MAX < most ||
           hm_mesh_renew(mesh, HM_SEQ_MAX + 1);
}

static void publish(struct hm_mesh *mesh, const struct hm_delta *delta, uint64_t steps)
{
    uint32_t from = 0;
    if (!renew_used_up(mesh, delta->n_blocks)) {
        hm_mesh_act(mesh, HM_ACT_RETRACT)->delta = delta;
        hm_mesh_no_room(mesh);
        return;
    }
    do {
        uint32_t to =
            delta->n_blocks - from > PIECE_BLOCKS_MAX ? from + PIECE_BLOCKS_MAX : delta->n_blocks;
        struct hm_delta piece = hm_delta_slice(delta, from, to);
        publish_piece(mesh, &piece, steps, to == delta->n_blocks);
        from = to;
    } while (from < delta->n_blocks);
    mesh->flush++;
    mesh->stream[0]->flush = mesh->flush;
    hm_mesh_show_progress(mesh, mesh->stream[0]);
}

static void note_clipped(struct hm_mesh *mesh, const struct hm_extract_stats *stats)
{
    /* Every flush scans every coordinate, so only what is clipped can stay back for longer than the
     * dead zone (and what is not among the largest, where those alone are published). */
    mesh->clipped_in_a_row = stats->n_clipped ? mesh->clipped_in_a_row + 1 : 0;
    if (mesh->clipped_in_a_row > mesh->counters.residual_age)
        mesh->counters.residual_age = mesh->clipped_in_a_row;
    if (stats->oldest > mesh->counters.residual_age)
        mesh->counters.residual_age = stats->oldest;
    if (stats->n_clipped)
        hm_mesh_raise_stop(mesh,
                           "schedule exhausted: weights have reached the range of their grid");
}

void hm_mesh_on_extracted(struct hm_mesh *mesh, const struct hm_event *event)
{
    uint64_t steps = event->extracted.steps;
    const struct hm_delta *delta = event->extracted.delta;
    mesh->extracting = false;
    if (!hm_mesh_sane(mesh, event))
        return;
    note_clipped(mesh, &event->extracted.stats);
    bool final = mesh->ending && !mesh->working;
    if (final && !delta->n_blocks && !steps && !event->extracted.stats.more) {
        mesh->drained = true;
        hm_mesh_check_base(mesh, event->extracted.digest, hm_mesh_digest(mesh));
        return;
    }
    if (delta->n_blocks || steps)
        publish(mesh, delta, steps);
    hm_mesh_mark_start(mesh);
    if (final && event->extracted.stats.n_clipped)
        mesh->drained =
            true; /* what the range does not hold stays behind, and is reported as residual */
    double elapsed_us = (double)(mesh->now_us - mesh->flush_last_us);
    if (mesh->flush_last_us && elapsed_us > 0 && steps)
        mesh->rate += (mesh->rate > 0 ? .2 : 1) * ((double)steps / elapsed_us * 1e6 - mesh->rate);
    mesh->flush_last_us = mesh->now_us;
    mesh->cost_us += .2 * (event->extracted.cost_us - mesh->cost_us);
    feel_back_pressure(mesh);
    feel_load(mesh, elapsed_us);
    hm_mesh_pace(mesh);
    hm_mesh_trim(mesh);
}

/* A delta of `member` tells which of our flushes it had applied: fresher than any beat. */
void hm_mesh_feel_lag(struct hm_mesh *mesh, struct member *member, const struct hm_decoded *decoded)
{
    size_t lo = 0, hi = decoded->start.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (decoded->start.life[mid] < mesh->params.life)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == decoded->start.n || decoded->start.life[lo] != mesh->params.life)
        return;
    uint32_t end = decoded->span[lo].flush_end;
    if (end > member->flush_acked && end <= mesh->flush)
        member->flush_acked = end;
}
