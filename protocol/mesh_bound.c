/* A bound on staleness: no node gets further ahead of the slowest than it says.
 *
 * How far two nodes have come is compared from the moment on that they count for each other: who
 * joins later is in step with everybody then, and so is who comes back, or goes on as another life.
 * A node announces that it is ready before anybody can count it, so of two nodes never each waits
 * for the other. What is compared are steps that are published and, of others, applied here (Ho and
 * others, More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server, NIPS
 * 2013, without the server). */
#include "protocol/mesh_state.h"

bool hm_member_trains(const struct member *member)
{
    return hm_member_live(member) && (member->phase == HM_READY || member->phase == HM_RUNNING);
}

static uint64_t own_steps(const struct hm_mesh *mesh)
{
    return mesh->stream[0]->link.steps;
}

static uint64_t steps_of(const struct hm_mesh *mesh, const struct member *member)
{
    const struct stream *stream = hm_mesh_stream(mesh, member->life);
    return stream ? stream->link.steps : 0;
}

/* Steps of which the member is ahead of this node; below 0: behind. */
static int64_t ahead(const struct hm_mesh *mesh, const struct member *member)
{
    return (int64_t)(steps_of(mesh, member) - own_steps(mesh)) - member->ahead_at_first;
}

void hm_mesh_count(struct hm_mesh *mesh, struct member *member)
{
    bool trains = hm_member_trains(member);
    if (trains == member->in_step)
        return;
    member->in_step = trains;
    mesh->n_live += trains ? 1u : -1u;
    if (trains && mesh->params.lead_max)
        member->ahead_at_first = (int64_t)(steps_of(mesh, member) - own_steps(mesh));
}

void hm_mesh_step_anew(struct hm_mesh *mesh)
{
    for (unsigned i = 0; i < mesh->n_slots && mesh->params.lead_max; i++)
        mesh->member[i].ahead_at_first =
            (int64_t)(steps_of(mesh, &mesh->member[i]) - own_steps(mesh));
}

uint64_t hm_mesh_steps_lead(const struct hm_mesh *mesh)
{
    int64_t slowest = 0;
    if (!mesh->params.lead_max || mesh->leaving)
        return UINT64_MAX;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (m->in_step && ahead(mesh, m) < slowest)
            slowest = ahead(mesh, m);
    }
    int64_t left = (int64_t)mesh->params.lead_max + slowest;
    return left > 0 ? (uint64_t)left : 0;
}

/* Whether what this stream brings next belongs to a round that this node has not yet taken its
 * gradient for, or to none, as what a node still owed behind the last one. */
bool hm_mesh_is_early(struct hm_mesh *mesh, const struct stream *stream)
{
    const struct member *m = hm_mesh_member_of(mesh, stream->link.from);
    return m && (m->in_step || m->phase >= HM_DONE) && mesh->phase >= HM_READY &&
           ahead(mesh, m) >= 0;
}
