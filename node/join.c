/* Before there is a mesh: a node founds the configuration, or asks its seeds for the one that
 * exists. */
#include "node/discover.h"
#include "node/greeting.h"
#include "node/node_state.h"
#include "node/saver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_EVERY_US = 100000, ASK_AGAIN_US = 1000000, GREETING_MS = 1000, SEARCH_MS = 50 };

static enum hm_status found(struct hm_node *node, struct hm_err *err)
{
    if (node->resumed)
        return hm_resume_found(node, err);
    enum hm_status status = node->model->ops->found(node->model, &node->config, err);
    if (status)
        return status;
    status = node->model->ops->adopt(node->model, &node->config, NULL, 0, &node->layout, err);
    node->bulk = node->model->ops->bulk(node->model, &node->bulk_n);
    return status;
}

/* Returns 1 when the question is on its way: it will be answered as soon as the peer can. */
static int ask(struct hm_node *node, unsigned slot)
{
    uint64_t dropped = node->env->n_dropped;
    struct hm_fields wishes = {0};
    node->model->ops->insist(node->model, &wishes);
    if (node->resumed)
        hm_resume_insist(node, &wishes);
    struct hm_header header = {.type = HM_HELLO, .life = node->options.life};
    snprintf(header.hello.label, sizeof header.hello.label, "%s", node->options.label);
    snprintf(header.hello.rpc, sizeof header.hello.rpc, "%s", node->env->rpc);
    snprintf(header.hello.pub, sizeof header.hello.pub, "%s", node->env->pub);
    struct hm_action action = {.type = HM_ACT_SEND, .slot = slot};
    action.header_n = hm_wire_encode(&header, action.header);
    action.payload = hm_blob_new(hm_hello_bound(wishes.field, wishes.n, 0, 0));
    if (!action.payload)
        return 0;
    size_t n = hm_hello_encode(wishes.field, wishes.n, NULL, 0, NULL, 0, action.payload->bytes);
    action.payload = hm_blob_shrink(action.payload, n);
    node->env->ops->carry_out(node->env, &action);
    hm_blob_drop(action.payload);
    return node->env->n_dropped == dropped;
}

static enum hm_status adopt(struct hm_node *node, const struct hm_header *header,
                            const struct hm_blob *payload, struct hm_err *err)
{
    struct hm_field field[HM_FIELDS_MAX];
    size_t n_fields, n_bulk;
    const uint8_t *bulk;
    node->peers = calloc(HM_PEERS_MAX, sizeof *node->peers);
    if (!node->peers)
        return hm_fail(err, HM_ENOMEM, "no memory to join");
    if (!payload || hm_hello_decode(payload->bytes, payload->n, field, HM_FIELDS_MAX, &n_fields,
                                    node->peers, HM_PEERS_MAX - 1, &node->n_peers, &bulk, &n_bulk))
        return hm_fail(err, HM_ECORRUPT, "node %s answered with a malformed configuration",
                       header->hello.label);
    enum hm_status status = hm_config_adopt(&node->config, field, n_fields, err);
    if (status)
        return status;
    if (hm_config_fingerprint(&node->config) != header->fingerprint)
        return hm_fail(err, HM_ECORRUPT,
                       "node %s's configuration does not have the fingerprint it names",
                       header->hello.label);
    node->bulk_owned = malloc(n_bulk ? n_bulk : 1);
    if (!node->bulk_owned)
        return hm_fail(err, HM_ENOMEM, "no memory to join");
    memcpy(node->bulk_owned, bulk, n_bulk);
    node->bulk = node->bulk_owned;
    node->bulk_n = n_bulk;
    struct hm_peer_entry *host = &node->peers[node->n_peers++];
    *host = (struct hm_peer_entry){.life = header->life};
    memcpy(host->label, header->hello.label, sizeof host->label);
    memcpy(host->rpc, header->hello.rpc, sizeof host->rpc);
    memcpy(host->pub, header->hello.pub, sizeof host->pub);
    if (node->resumed && (status = hm_resume_check(node, err)))
        return status;
    status = node->model->ops->adopt(node->model, &node->config, node->bulk, node->bulk_n,
                                     &node->layout, err);
    if (!n_bulk) /* none, or more than fits into a message */
        node->bulk = node->model->ops->bulk(node->model, &node->bulk_n);
    return status ? hm_context(err, status, "join the mesh of %s", host->label) : HM_OK;
}

static enum hm_status refused(const struct hm_node *node, const struct hm_header *header,
                              struct hm_err *err)
{
    const struct hm_reject_head *r = &header->reject;
    const char *what_to_do = "leave the flag away to adopt the mesh's, or start all nodes with the "
                             "same";
    if (node->resumed && node->resumed->found)
        what_to_do = "the checkpoint of this node, or a flag, is of another mesh: start it without "
                     "--resume to join this one";
    return hm_fail(err, HM_EREFUSED,
                   "the mesh refuses this node: field '%s' is '%s' here and '%s' there; %s",
                   r->field, r->yours, r->ours, what_to_do);
}

/* The endpoint of the seed in a slot, and what the user called it: the peers without this node
 * itself, see dial_seeds. */
static const char *seed_at(const struct hm_node *node, unsigned slot,
                           char endpoint[HM_ENDPOINT_MAX + 1])
{
    for (unsigned i = 0; i < node->options.n_peers; i++)
        if (hm_endpoint_parse(node->options.peer[i], endpoint, NULL) == HM_OK &&
            strcmp(endpoint, node->env->rpc) != 0 && !slot--)
            return node->options.peer[i];
    return "";
}

/* Asks a seed that hangs up on us whether it encrypts: its libzmq does not get round to telling. */
static void look_closer(struct hm_node *node, unsigned slot)
{
    char endpoint[HM_ENDPOINT_MAX + 1], mechanism[HM_MECHANISM_MAX + 1];
    enum hm_dial *dial = &node->env->dial[slot];
    seed_at(node, slot, endpoint);
    if (!hm_greeting_mechanism(endpoint, mechanism, GREETING_MS))
        return;
    if (*dial == HM_DIAL_KEY_REFUSED && strcmp(mechanism, "NULL") == 0)
        *dial = HM_DIAL_PLAIN_PEER;
    if (*dial == HM_DIAL_HANGS_UP && strcmp(mechanism, "CURVE") == 0)
        *dial = HM_DIAL_KEY_WANTED;
}

/* Whether no seed will ever answer: keys do not fit. */
static int hopeless(const struct hm_node *node, unsigned n_seeds)
{
    for (unsigned i = 0; i < n_seeds; i++)
        if (node->env->dial[i] == HM_DIAL_FINE || node->env->dial[i] == HM_DIAL_HANGS_UP)
            return 0;
    return n_seeds > 0;
}

/* Waits for one answer. *answered is set when the question is settled, either way. */
static enum hm_status listen(struct hm_node *node, unsigned n_seeds, uint64_t until_us,
                             int *answered, struct hm_err *err)
{
    struct hm_event event;
    while (!*answered && hm_node_now(node) < until_us && !atomic_load(&node->stop_wanted) &&
           !hopeless(node, n_seeds)) {
        node->env->ops->wait(node->env, until_us);
        hm_node_tell_notes(node);
        while (!*answered && node->env->ops->receive(node->env, &event)) {
            struct hm_header header;
            if (event.type != HM_EV_MESSAGE || event.message.channel != HM_CH_ANSWER)
                continue; /* others may greet us: they will again, when we can answer */
            switch (hm_wire_decode(event.message.header, event.message.header_n, &header)) {
            case HM_WIRE_BAD_VERSION:
                return hm_fail(
                    err, HM_EREFUSED,
                    "the mesh speaks another version of the protocol than this program (%d); "
                    "install the same version everywhere",
                    HM_WIRE_VERSION);
            case HM_WIRE_OK:
                break;
            default:
                continue;
            }
            *answered = header.type == HM_HELLO_OK || header.type == HM_REJECT;
            if (header.type == HM_HELLO_OK)
                return adopt(node, &header, event.message.payload, err);
            if (header.type == HM_REJECT)
                return refused(node, &header, err);
        }
    }
    return HM_OK;
}

static enum hm_status unanswered(const struct hm_node *node, unsigned n_seeds, struct hm_err *err)
{
    char seeds[400], complaints[500] = "", endpoint[HM_ENDPOINT_MAX + 1];
    size_t at = 0, end = 0;
    for (unsigned i = 0; i < node->options.n_peers && at < sizeof seeds; i++)
        at += (size_t)snprintf(seeds + at, sizeof seeds - at, " %s", node->options.peer[i]);
    for (unsigned slot = 0; slot < n_seeds && end < sizeof complaints; slot++) {
        const char *what = hm_dial_complaint(node->env->dial[slot]);
        if (what)
            end += (size_t)snprintf(complaints + end, sizeof complaints - end, "%s%s %s",
                                    end ? "; " : "", seed_at(node, slot, endpoint), what);
    }
    if (hopeless(node, n_seeds))
        return hm_fail(err, HM_EREFUSED, "%s", complaints);
    return hm_fail(err, HM_ETIMEOUT,
                   "no peer answered within %.0f s:%s; check that a node runs there, the port, and "
                   "the firewall%s%s",
                   node->options.join_timeout, seeds, end ? "; " : "", complaints);
}

static enum hm_status ask_around(struct hm_node *node, unsigned n_seeds, struct hm_err *err)
{
    uint64_t give_up = hm_node_now(node) + (uint64_t)(node->options.join_timeout * 1e6);
    int answered = 0;
    enum hm_status status = HM_OK;
    enum hm_dial dial[HM_SEEDS_MAX] = {HM_DIAL_FINE}; /* as far as we have looked into it */
    /* Sockets refuse what is sent before the connection stands: try often until one has taken the
     * question. */
    for (uint64_t every = 2000; !status && !answered;
         every = every * 2 < ASK_EVERY_US ? every * 2 : ASK_EVERY_US) {
        int asked = 0;
        if (atomic_load(&node->stop_wanted))
            return hm_fail(err, HM_ESTOPPED, "stopped before a peer answered");
        for (unsigned i = 0; i < n_seeds; i++) {
            asked += ask(node, i);
            if (node->env->dial[i] != dial[i] && node->env->dial[i] >= HM_DIAL_KEY_REFUSED)
                look_closer(node, i);
            dial[i] = node->env->dial[i];
        }
        if (hm_node_now(node) >= give_up || hopeless(node, n_seeds))
            return unanswered(node, n_seeds, err);
        status = listen(node, n_seeds, hm_node_now(node) + (asked ? ASK_AGAIN_US : every),
                        &answered, err);
    }
    return status;
}

/* Dials the seeds, leaving out this node itself, so that all nodes may be given the same list:
 * whoever is first in it founds the mesh. */
static enum hm_status dial_seeds(struct hm_node *node, unsigned *n_seeds, int *first,
                                 struct hm_err *err)
{
    *n_seeds = 0;
    *first = node->options.n_peers == 0;
    for (unsigned i = 0; i < node->options.n_peers; i++) {
        struct hm_action action = {.type = HM_ACT_CONNECT, .slot = *n_seeds};
        enum hm_status status = hm_endpoint_parse(node->options.peer[i], action.rpc, err);
        if (status)
            return hm_context(err, status, "--peer");
        if (strcmp(action.rpc, node->env->rpc) == 0) {
            *first |= i == 0;
            continue;
        }
        node->env->ops->carry_out(node->env, &action);
        ++*n_seeds;
    }
    return HM_OK;
}

/* Peers that call out in the LAN, where none are named. */
static void search(struct hm_node *node)
{
    struct hm_node_options *o = &node->options;
    if (!node->discover || o->n_peers)
        return;
    uint64_t until_us = hm_node_now(node) + HM_DISCOVER_SEARCH_US;
    while (hm_node_now(node) < until_us && !hm_discover_has_mesh(node->discover) &&
           !atomic_load(&node->stop_wanted)) {
        hm_discover_turn(node->discover, hm_node_now(node), 0);
        hm_discover_wait(node->discover, SEARCH_MS);
    }
    o->n_peers = hm_discover_seeds(node->discover, o->peer, HM_SEEDS_MAX);
    if (o->n_peers)
        hm_node_log(node, HM_NOTE_INFO, "discovery: %u nodes are there, such as %s", o->n_peers,
                    o->peer[0] + 6);
    else
        hm_node_log(node, HM_NOTE_INFO, "discovery: nobody has begun; this node founds the mesh");
}

enum hm_status hm_node_configure(struct hm_node *node, struct hm_err *err)
{
    search(node);
    unsigned n_seeds;
    int first;
    enum hm_status status = dial_seeds(node, &n_seeds, &first, err);
    if (status)
        return status;
    status = first ? found(node, err) : ask_around(node, n_seeds, err);
    for (unsigned i = 0; i < n_seeds; i++)
        node->env->ops->carry_out(node->env,
                                  &(struct hm_action){.type = HM_ACT_DISCONNECT, .slot = i});
    return status;
}
