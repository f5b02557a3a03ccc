/* Questions of people and programs that watch: they need be no members, so what they may cost is
 * bounded. Each answer costs some of a credit that time earns. */
#include "protocol/mesh_state.h"

#include <assert.h>
#include <string.h>

enum {
    CREDIT_MAX_US = 1000000,
    STATE_COST_US = 100000, /* ten answers a second */
    ECHO_COST_US = 2000,    /* five hundred */
};

static bool affordable(struct hm_mesh *mesh, uint64_t cost_us)
{
    uint64_t earned = mesh->now_us - mesh->ask.since_us;
    uint64_t room = CREDIT_MAX_US - mesh->ask.credit_us;
    mesh->ask.credit_us += earned < room ? earned : room;
    mesh->ask.since_us = mesh->now_us;
    if (mesh->ask.credit_us < cost_us)
        return false;
    mesh->ask.credit_us -= cost_us;
    return true;
}

static void answer(struct hm_mesh *mesh, enum hm_question what, struct hm_blob *payload)
{
    struct hm_event request = {.type = HM_EV_MESSAGE};
    struct hm_header header = {.type = HM_STATUS,
                               .fingerprint = mesh->fingerprint,
                               .life = mesh->params.life,
                               .ask = {mesh->ask.number, (uint8_t)what}};
    request.message.route = mesh->ask.route;
    request.message.route_n = mesh->ask.route_n;
    hm_mesh_reply(mesh, &request, &header, payload);
    mesh->counters.asked++;
}

/* The payload says nothing: it may be there to measure how long it takes. */
void hm_mesh_on_ask(struct hm_mesh *mesh, const struct hm_event *event,
                    const struct hm_header *header)
{
    bool state = header->ask.what == HM_ASK_STATE;
    if (!affordable(mesh, state ? STATE_COST_US : ECHO_COST_US)) {
        mesh->counters.asked_refused++;
        return;
    }
    mesh->ask.number = header->ask.number;
    mesh->ask.route_n = event->message.route_n;
    assert(mesh->ask.route_n <= sizeof mesh->ask.route);
    memcpy(mesh->ask.route, event->message.route, mesh->ask.route_n);
    if (state)
        hm_mesh_act(mesh, HM_ACT_STATUS);
    else
        answer(mesh, HM_ASK_ECHO, NULL);
}

void hm_mesh_on_status(struct hm_mesh *mesh, struct hm_blob *status)
{
    if (status)
        answer(mesh, HM_ASK_STATE, status);
}
