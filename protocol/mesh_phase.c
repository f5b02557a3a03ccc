/* Start and end: JOINING, READY, RUNNING, DONE, QUIET, EXITING. */
#include "protocol/mesh_state.h"

#include <stdio.h>
#include <string.h>

enum { HUNDREDS = 100, LOOK_US = 100 };

void hm_mesh_enter(struct hm_mesh *mesh, enum hm_phase phase)
{
    if (mesh->phase == phase)
        return;
    mesh->phase = phase;
    hm_mesh_beat(mesh); /* at once: everybody waits for it */
}

/* ---- start ---- */

static bool caught_up(const struct hm_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_streams; i++)
        if (mesh->stream[i]->link.seq < mesh->stream[i]->head)
            return false;
    return true;
}

/* A joiner need not have all at one instant, which a lossy and busy mesh may never grant: what was
 * there when it had heard everybody is enough. */
static void mark_goal(struct hm_mesh *mesh)
{
    if (mesh->goal_marked)
        return;
    mesh->goal_marked = true;
    for (size_t i = 0; i < mesh->n_streams; i++)
        mesh->stream[i]->join_goal = mesh->stream[i]->head;
}

/* What an origin has renounced since is nobody's to wait for. */
static bool reached_goal(const struct hm_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_streams; i++) {
        const struct stream *s = mesh->stream[i];
        if (s->link.seq < s->join_goal && s->link.seq < s->head)
            return false;
    }
    return true;
}

struct census {
    unsigned heard, mutual, pending, ready, running;
};

static struct census census(const struct hm_mesh *mesh)
{
    struct census c = {0};
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (m->life && !m->heard_us && !m->gone && !m->left && !m->refused)
            c.pending++;
        if (!hm_member_live(m) || !m->beat)
            continue;
        c.heard++;
        c.mutual += m->hears_us;
        c.ready += m->phase >= HM_READY;
        c.running += m->phase >= HM_RUNNING;
    }
    return c;
}

static void names_heard(const struct hm_mesh *mesh, char *out, size_t room)
{
    size_t at = 0;
    out[0] = 0;
    for (unsigned i = 0; i < mesh->n_slots && at < room; i++)
        if (hm_member_live(&mesh->member[i]))
            at += (size_t)snprintf(out + at, room - at, " %s", mesh->member[i].label);
}

static void give_up_joining(struct hm_mesh *mesh, const struct census *c)
{
    char names[160];
    names_heard(mesh, names, sizeof names);
    double waited = (double)(mesh->now_us - mesh->opened_us) / 1e6;
    if (c->mutual + 1 >= mesh->params.expect)
        hm_mesh_finish(mesh, HM_ETIMEOUT,
                       "could not catch up with the mesh in %.0f s; the network loses too much, or "
                       "the mesh is "
                       "faster than this node",
                       waited);
    else if (!c->heard)
        hm_mesh_finish(mesh, HM_ETIMEOUT,
                       "found no other node in %.0f s (%u expected); check --peer and that they "
                       "run, or train alone with "
                       "--expect 1",
                       waited, mesh->params.expect);
    else
        hm_mesh_finish(mesh, HM_ETIMEOUT,
                       "only %u of %u expected nodes after %.0f s; heard:%s; start the others or "
                       "lower --expect",
                       c->mutual + 1, mesh->params.expect, waited, names);
}

static void join(struct hm_mesh *mesh)
{
    struct census c = census(mesh);
    uint64_t waited = mesh->now_us - mesh->opened_us;
    bool enough = c.mutual + 1 >= mesh->params.expect || (c.running && c.mutual == c.heard);
    bool quiet = !c.pending || waited > JOIN_QUIET_US;
    bool gathered = enough && c.mutual == c.heard && quiet;
    if (gathered)
        mark_goal(mesh);
    if (gathered && reached_goal(mesh)) {
        hm_mesh_step_anew(mesh); /* before anybody can count us */
        mesh->ready_us = mesh->now_us;
        hm_mesh_enter(mesh, HM_READY);
    } else if (waited > mesh->params.join_timeout_us)
        give_up_joining(mesh, &c);
}

/* Who has died since we heard all that were expected is no obstacle. In rounds the first one counts
 * like any other: that somebody runs says that all were ready, which we are then about to hear. */
static bool may_start(const struct hm_mesh *mesh)
{
    struct census c = census(mesh);
    bool patient = mesh->params.rounds && mesh->now_us - mesh->ready_us < JOIN_QUIET_US;
    return c.ready == c.heard || (c.running && !patient);
}

static void start(struct hm_mesh *mesh)
{
    if (!may_start(mesh))
        return;
    hm_mesh_enter(mesh, HM_RUNNING);
    mesh->combination = hm_combine(&mesh->params.combine, hm_mesh_n_live(mesh));
    hm_mesh_mark_start(mesh);
    if (mesh->stop || mesh->leaving) {
        mesh->ending = true; /* it was over before we began */
        return;
    }
    mesh->working = true;
    mesh->flush_last_us = mesh->now_us;
    hm_mesh_pace(mesh);
    hm_mesh_act(mesh, HM_ACT_START);
}

/* ---- end ---- */

/* Synchronous rounds end when everybody's part of the last one is here: what is learned is then the
 * same whoever hears it first. Else a thousandth is not worth another flush. */
static bool budget_used_up(const struct hm_mesh *mesh)
{
    uint64_t budget = mesh->params.budget_steps, steps = hm_mesh_steps(mesh);
    if (!mesh->params.rounds)
        steps += mesh->own_steps + budget / 1000;
    return budget && steps >= budget;
}

static void run(struct hm_mesh *mesh)
{
    if (budget_used_up(mesh))
        hm_mesh_raise_stop(mesh, "budget used up");
    if ((mesh->stop || mesh->leaving) && !mesh->ending) {
        mesh->ending = true;
        if (mesh->working)
            hm_mesh_act(mesh, HM_ACT_END_WORK);
    }
    if (mesh->drained && !mesh->leaving)
        hm_mesh_enter(mesh, HM_DONE);
}

void hm_mesh_on_work_ended(struct hm_mesh *mesh)
{
    mesh->working = false;
    mesh->ending = true;
}

/* Whether every live member shows at least `phase` with our vector and digest. Members that have
 * not yet begun count: they see the stop and come along. */
static bool all_at(const struct hm_mesh *mesh, enum hm_phase phase)
{
    uint64_t digest = hm_mesh_digest(mesh);
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (hm_member_live(m) &&
            (m->phase < phase || m->digest != digest || !hm_mesh_same_vector(mesh, m->vector)))
            return false;
    }
    return caught_up(mesh);
}

static bool all_left(const struct hm_mesh *mesh)
{
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (hm_member_live(&mesh->member[i]))
            return false;
    return true;
}

static void say_leave(struct hm_mesh *mesh, bool clean)
{
    struct hm_header header = hm_mesh_header(mesh, HM_LEAVE);
    header.leave = (struct hm_leave_head){mesh->stream[0]->link.seq, hm_mesh_digest(mesh), clean};
    hm_mesh_broadcast(mesh, &header, NULL);
}

/* Somebody has ended with another model than this one: of the same deltas, which cannot be, or of
 * others, when each of us took the other for dead. */
static void disagree(struct hm_mesh *mesh, const struct member *m)
{
    if (hm_mesh_same_vector(mesh, m->vector))
        hm_mesh_finish(mesh, HM_ECORRUPT,
                       "node %s ended with another model, made of the same deltas", m->label);
    else
        hm_mesh_finish(mesh, HM_ETIMEOUT,
                       "node %s ended apart from this one, with another model: they had not heard "
                       "each other for so long that each took the other for dead; check the "
                       "network between them",
                       m->label);
}

static void conclude(struct hm_mesh *mesh)
{
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (m->life && m->left && m->left_clean && m->left_digest != hm_mesh_digest(mesh)) {
            disagree(mesh, m);
            return;
        }
    }
    mesh->result.clean = 1;
    hm_mesh_finish(mesh, HM_OK, "%s", mesh->stop_reason);
}

static void end(struct hm_mesh *mesh)
{
    if (mesh->phase == HM_DONE && all_at(mesh, HM_DONE))
        hm_mesh_enter(mesh, HM_QUIET);
    if (mesh->phase == HM_QUIET && all_at(mesh, HM_QUIET)) {
        mesh->exiting_us = mesh->now_us;
        hm_mesh_enter(mesh, HM_EXITING);
        say_leave(mesh, true);
    }
    if (mesh->phase >= HM_QUIET && !all_at(mesh, HM_DONE))
        hm_mesh_enter(mesh, HM_DONE); /* somebody came, or a vector moved: agree again */
    if (mesh->phase == HM_EXITING &&
        (all_left(mesh) || mesh->now_us - mesh->exiting_us > EXIT_MAX_US))
        conclude(mesh);
}

static bool acknowledged_by_all(const struct hm_mesh *mesh)
{
    for (unsigned i = 0; i < mesh->n_slots; i++)
        if (hm_member_live(&mesh->member[i]) && mesh->member[i].flush_acked < mesh->flush)
            return false;
    return true;
}

/* What nobody has acknowledged when this node goes is lost, as far as anybody knows. */
static void count_owed(struct hm_mesh *mesh)
{
    uint32_t most = 0, seq = mesh->stream[0]->link.seq;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        const struct hm_vv_entry *e = m->life ? hm_vector_find(m->vector, mesh->params.life) : NULL;
        most = e && e->seq > most && e->seq <= seq ? e->seq : most;
        if (hm_member_live(m) && m->flush_acked == mesh->flush)
            most = seq;
    }
    mesh->counters.abandoned += seq - most;
    if (mesh->phase == HM_RUNNING && !mesh->drained && mesh->own_steps)
        mesh->counters.abandoned++; /* the flush that it owes */
}

/* A node that leaves hands over what it owes and waits until everybody has it, or two seconds. */
static void leave(struct hm_mesh *mesh)
{
    bool owed = mesh->phase == HM_RUNNING && !mesh->drained;
    if (mesh->now_us - mesh->leaving_us < 2000000 && (owed || !acknowledged_by_all(mesh)))
        return;
    count_owed(mesh);
    say_leave(mesh, false);
    if (mesh->withdrawn)
        hm_mesh_finish(mesh, mesh->withdrawn_status, "%s", mesh->withdrawn_text);
    else
        hm_mesh_finish(mesh, HM_OK, "%s", mesh->stop_reason);
}

/* Whether it is time to look at all members: in a mesh of hundreds not in every turn. */
static bool may_look(struct hm_mesh *mesh)
{
    if (mesh->now_us < mesh->look_due_us)
        return false;
    if (mesh->n_members > HUNDREDS)
        mesh->look_due_us = mesh->now_us + LOOK_US * hm_mesh_crowd(mesh);
    return true;
}

void hm_mesh_tick_phase(struct hm_mesh *mesh)
{
    if (mesh->phase != HM_RUNNING && !may_look(mesh))
        return;
    if (mesh->phase == HM_JOINING)
        join(mesh);
    if (mesh->phase == HM_READY)
        start(mesh);
    if (mesh->phase == HM_RUNNING)
        run(mesh);
    if (mesh->phase >= HM_DONE && !mesh->withdrawn)
        end(mesh);
    if (mesh->leaving && !mesh->finished)
        leave(mesh);
}
