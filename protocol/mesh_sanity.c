/* What is wrong with this node: training that diverges here, a base that is damaged. It publishes
 * nothing of it and leaves by itself; the others go on. */
#include "protocol/mesh_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* A stray NaN, of a flipped bit or a freak example, is set back to B and does not return. Training
 * that diverges makes new ones in every flush, or many. */
enum { NONFINITE_MAX = 16, NONFINITE_FLUSHES_MAX = 3 };

/* B is summed up anew so seldom that it takes less than half a percent of a core even in plain C.
 */
enum { VERIFY_US = 1000000, VERIFY_BLOCKS_MS = 100 /* blocks for each millisecond between */ };

/* Leaves as a user's request would have it, but at once without a last delta, and with an error. */
void hm_mesh_withdraw(struct hm_mesh *mesh, enum hm_status status, const char *format, ...)
{
    if (mesh->withdrawn)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(mesh->withdrawn_text, sizeof mesh->withdrawn_text, format, args);
    va_end(args);
    mesh->withdrawn = true;
    mesh->withdrawn_status = status;
    mesh->drained = true;
    if (!mesh->leaving)
        mesh->leaving_us = mesh->now_us;
    mesh->leaving = true;
    if (mesh->working)
        hm_mesh_act(mesh, HM_ACT_END_WORK);
    mesh->ending = true;
}

/* A damaged replica is to say so itself, before it agrees with nobody. */
void hm_mesh_tick_sanity(struct hm_mesh *mesh)
{
    if (mesh->phase != HM_RUNNING || !mesh->working || mesh->now_us < mesh->verify_due_us)
        return;
    uint64_t interval = (uint64_t)mesh->params.layout->n_blocks * 1000 / VERIFY_BLOCKS_MS;
    mesh->verify_due_us = mesh->now_us + (interval > VERIFY_US ? interval : VERIFY_US);
    hm_mesh_act(mesh, HM_ACT_VERIFY);
}

bool hm_mesh_check_base(struct hm_mesh *mesh, uint64_t digest, uint64_t expected)
{
    if (digest == expected)
        return true;
    hm_mesh_withdraw(
        mesh, HM_ECORRUPT,
        "node %s is damaged: this replica's base differs from the sum of the deltas it "
        "applied (digest %016llx, expected %016llx); memory or program is faulty; the "
        "others go on without it",
        mesh->params.label, (unsigned long long)digest, (unsigned long long)expected);
    return false;
}

enum { PLACE_BYTES = 320 };

/* "tensor 'v', row 0, column 17: 1e+30 where 0.25 is published, within 64"; the range where that is
 * what was left. */
static void describe(const struct hm_mesh *mesh, const struct hm_event *event,
                     const struct hm_offender *offender, char text[PLACE_BYTES])
{
    const struct hm_tensor *t =
        hm_layout_tensor_of(mesh->params.layout, (uint32_t)(offender->at / HM_BLOCK));
    const float grid = hm_exp2i(t->grid_exp);
    size_t at = offender->at - hm_tensor_at(t), n;
    if (event->extracted.place)
        n = (size_t)snprintf(text, PLACE_BYTES, "%s", event->extracted.place);
    else
        n = (size_t)snprintf(text, PLACE_BYTES, "tensor '%s', row %zu, column %zu", t->name,
                             at / t->stride, at % t->stride);
    if (n < PLACE_BYTES)
        n += (size_t)snprintf(text + n, PLACE_BYTES - n, ": %g where %g is published",
                              (double)offender->w, (double)((float)offender->b * grid));
    if (n < PLACE_BYTES && isfinite(offender->w))
        snprintf(text + n, PLACE_BYTES - n, ", within %g", (double)(HM_RANGE * grid));
}

static void diverged(struct hm_mesh *mesh, const struct hm_event *event)
{
    const struct hm_extract_stats *stats = &event->extracted.stats;
    char where[PLACE_BYTES], rate[48] = "";
    describe(mesh, event, stats->n_nonfinite ? &stats->first_nonfinite : &stats->first_leap, where);
    if (event->extracted.rate > 0)
        snprintf(rate, sizeof rate, ", learning rate %.6g", event->extracted.rate);
    hm_mesh_withdraw(
        mesh, HM_EDIVERGED,
        "training diverged on node %s: %s (step %llu%s); nothing of it was sent, the others go on "
        "without this node; look at its data or lower %s",
        mesh->params.label, where,
        (unsigned long long)(hm_mesh_steps(mesh) + event->extracted.steps), rate,
        event->extracted.place ? "its learning rate" : "--lr");
}

static void note_strays(struct hm_mesh *mesh, const struct hm_event *event)
{
    const struct hm_extract_stats *stats = &event->extracted.stats;
    char where[PLACE_BYTES];
    describe(mesh, event, &stats->first_nonfinite, where);
    hm_mesh_note(mesh, HM_NOTE_WARNING,
                 "%llu weights were not finite and were set back to what is published: %s",
                 (unsigned long long)stats->n_nonfinite, where);
}

/* False: what was extracted must not go out. A damaged base looks like a leap of the weights, so
 * that is looked into first. */
bool hm_mesh_sane(struct hm_mesh *mesh, const struct hm_event *event)
{
    const struct hm_extract_stats *stats = &event->extracted.stats;
    mesh->counters.nonfinite += stats->n_nonfinite;
    mesh->nonfinite_in_a_row = stats->n_nonfinite ? mesh->nonfinite_in_a_row + 1 : 0;
    bool too_many = mesh->counters.nonfinite > NONFINITE_MAX ||
                    mesh->nonfinite_in_a_row >= NONFINITE_FLUSHES_MAX;
    if (!mesh->withdrawn && !stats->n_leaps && !too_many) {
        if (stats->n_nonfinite)
            note_strays(mesh, event);
        return true;
    }
    const struct hm_delta *delta = event->extracted.delta;
    if (!stats->n_leaps ||
        hm_mesh_check_base(mesh, event->extracted.digest,
                           hm_mesh_digest(mesh) + mesh->params.kernels->digest(delta)))
        diverged(mesh, event);
    hm_mesh_act(mesh, HM_ACT_RETRACT)->delta = delta;
    return false;
}
