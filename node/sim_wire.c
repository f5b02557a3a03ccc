/* The wires of the world, and the environment through which a driver sees them. */
#include "node/sim_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sim_node *of(struct hm_env *env)
{
    return (struct sim_node *)(void *)env;
}

/* ---- messages ---- */

static uint64_t hash_bytes(const uint8_t *bytes, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0; /* little-endian, wherever this runs */
        for (size_t k = i; k < n && k < i + 8; k++)
            word |= (uint64_t)bytes[k] << 8 * (k - i);
        hash = hm_mix(hash ^ word) + 0x9E3779B97F4A7C15u;
    }
    return hash;
}

static struct hm_sim_message *new_message(uint32_t from, enum hm_channel channel,
                                          const uint8_t *header, size_t header_n,
                                          struct hm_blob *payload, size_t room)
{
    struct hm_sim_message *message = hm_sim_must(malloc(sizeof *message + room));
    *message = (struct hm_sim_message){.n_owners = 1,
                                       .from = from,
                                       .channel = channel,
                                       .payload = hm_blob_share(payload),
                                       .header_n = header_n};
    memcpy(message->header, header, header_n);
    message->hash = hash_bytes(header, header_n);
    return message;
}

void hm_sim_drop(struct hm_sim_message *message)
{
    if (!message || --message->n_owners)
        return;
    hm_blob_drop(message->payload);
    free(message);
}

static void tell(struct hm_sim *sim, enum hm_sim_what what, uint32_t node, uint32_t peer,
                 const struct hm_sim_message *message)
{
    hm_sim_happen(sim, &(struct hm_sim_happening){
                           .what = what, .node = node, .peer = peer, .message = message});
}

/* ---- links ---- */

struct pair *hm_sim_pair(struct hm_sim *sim, uint32_t from, uint32_t to)
{
    struct sim_node *node = &sim->node[from];
    if (node->pair)
        return &node->pair[to];
    node->pair = hm_sim_must(calloc(sim->n_max, sizeof *node->pair));
    for (uint32_t i = 0; i < sim->n_max; i++)
        node->pair[i].rng = hm_rng_seed(sim->options.seed, hm_mix(((uint64_t)from << 32 | i) + 1));
    return &node->pair[to];
}

struct hm_sim_link *hm_sim_link(struct hm_sim *sim, uint32_t from, uint32_t to)
{
    struct pair *pair = hm_sim_pair(sim, from, to);
    if (!pair->own) {
        pair->own = hm_sim_must(malloc(sizeof *pair->own));
        *pair->own = sim->options.link;
    }
    return pair->own;
}

/* The link with what the fault plan says of it now. */
static struct hm_sim_link link_of(struct hm_sim *sim, uint32_t from, uint32_t to)
{
    struct pair *pair = hm_sim_pair(sim, from, to);
    struct hm_sim_link link = pair->own ? *pair->own : sim->options.link;
    if (!sim->options.faults)
        return link;
    uint64_t t = sim->train_us ? sim->now_us - sim->train_us : 0;
    if (!pair->now || t >= pair->now->until_us) {
        if (!pair->now)
            pair->now = hm_sim_must(malloc(sizeof *pair->now));
        *pair->now = hm_faults_link(sim->options.faults, from, to, t);
    }
    const struct hm_link_now *now = pair->now;
    if (now->latency)
        link.latency = *now->latency;
    if (now->bandwidth > 0)
        link.bandwidth = now->bandwidth;
    link.drop = now->drop > 0 ? now->drop : link.drop;
    link.duplicate = now->duplicate > 0 ? now->duplicate : link.duplicate;
    link.reorder = now->reorder > 0 ? now->reorder : link.reorder;
    link.cut |= now->cut && sim->train_us;
    return link;
}

static bool chance(struct pair *pair, double p)
{
    return p > 0 && hm_rng_unit(&pair->rng) < p;
}

static void post(struct hm_sim *sim, const struct hm_sim_link *link, struct hm_sim_message *message,
                 uint32_t to)
{
    struct sim_node *from = &sim->node[message->from];
    struct pair *pair = hm_sim_pair(sim, message->from, to);
    unsigned c = message->channel;
    if (pair->n[c] >= HM_SIM_HWM) {
        from->env.n_dropped++;
        tell(sim, HM_SIM_DROPPED, message->from, to, message);
        return;
    }
    uint64_t leaves = hm_sim_acting_us(from);
    if (link->bandwidth > 0) {
        uint64_t bytes = message->header_n + (message->payload ? message->payload->n : 0);
        if (pair->free_ns < leaves * 1000)
            pair->free_ns = leaves * 1000;
        pair->free_ns += (uint64_t)((double)bytes * 1e9 / link->bandwidth);
        leaves = (pair->free_ns + 999) / 1000;
    }
    uint64_t at = leaves + hm_dist_draw(&link->latency, &pair->rng, &pair->position);
    if (at < pair->last_us[c] && !chance(pair, link->reorder))
        at = pair->last_us[c];
    if (at > pair->last_us[c])
        pair->last_us[c] = at;
    pair->n[c]++;
    message->n_owners++;
    hm_sim_push(sim, (struct event){.at = at,
                                    .what = EV_ARRIVAL,
                                    .node = to,
                                    .epoch = sim->node[to].epoch,
                                    .message = message});
}

static void travel(struct hm_sim *sim, struct hm_sim_message *message, uint32_t to)
{
    struct hm_sim_link link = link_of(sim, message->from, to);
    struct pair *pair = hm_sim_pair(sim, message->from, to);
    if (link.cut || (link.sub_dead && message->channel == HM_CH_PUBLISHED) ||
        chance(pair, link.drop)) {
        tell(sim, HM_SIM_LOST, message->from, to, message);
        return;
    }
    post(sim, &link, message, to);
    if (chance(pair, link.duplicate))
        post(sim, &link, message, to);
}

/* With a filter each receiver has a message of its own. */
static void hand_over(struct hm_sim *sim, struct hm_sim_message *message, uint32_t to)
{
    const struct hm_sim_options *o = &sim->options;
    if (!o->filter) {
        travel(sim, message, to);
        return;
    }
    struct hm_sim_message *own = new_message(message->from, message->channel, message->header,
                                             message->header_n, message->payload, HM_HEADER_BOUND);
    if (o->filter(o->context, sim, own, to)) {
        assert(own->header_n <= HM_HEADER_BOUND);
        own->hash = hash_bytes(own->header, own->header_n);
        travel(sim, own, to);
    } else {
        tell(sim, HM_SIM_LOST, own->from, to, own);
    }
    hm_sim_drop(own);
}

/* Turns a bit of a payload in a copy of it. */
static void flip(struct sim_node *node, struct hm_sim_message *message)
{
    struct hm_header header;
    const struct hm_blob *payload = message->payload;
    if (!payload || !payload->n ||
        hm_wire_decode(message->header, message->header_n, &header) != HM_WIRE_OK ||
        header.type != HM_DELTA)
        return;
    struct hm_blob *copy = hm_sim_must(hm_blob_new(payload->n));
    memcpy(copy->bytes, payload->bytes, payload->n);
    uint32_t bit = hm_rng_below(&node->sim->rng, (uint32_t)payload->n * 8);
    copy->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    hm_blob_drop(message->payload);
    message->payload = copy;
    node->flips--;
    tell(node->sim, HM_SIM_FLIPPED, node->index, UINT32_MAX, NULL);
}

static struct hm_sim_message *message_of(struct sim_node *node, enum hm_channel channel,
                                         const struct hm_action *action, uint32_t to)
{
    struct hm_sim_message *message = new_message(
        node->index, channel, action->header, action->header_n, action->payload, action->header_n);
    if (node->flips)
        flip(node, message);
    tell(node->sim, HM_SIM_SENT, node->index, to, message);
    return message;
}

/* ---- connections ---- */

static uint64_t latency(struct hm_sim *sim, uint32_t from, uint32_t to)
{
    struct hm_sim_link link = link_of(sim, from, to);
    struct pair *pair = hm_sim_pair(sim, from, to);
    return hm_dist_draw(&link.latency, &pair->rng, &pair->position);
}

static void subscribe(struct hm_sim *sim, uint32_t publisher, uint32_t who)
{
    struct sim_node *node = &sim->node[publisher];
    struct pair *pair = hm_sim_pair(sim, publisher, who);
    if (pair->subscribed)
        return;
    pair->subscribed = true;
    if (node->n_subscribers == node->subscribers_room) {
        node->subscribers_room = node->subscribers_room ? 2 * node->subscribers_room : 8;
        node->subscriber = hm_sim_must(
            realloc(node->subscriber, node->subscribers_room * sizeof *node->subscriber));
    }
    uint32_t i = node->n_subscribers++;
    for (; i && node->subscriber[i - 1] > who; i--)
        node->subscriber[i] = node->subscriber[i - 1];
    node->subscriber[i] = who;
}

static void unsubscribe(struct hm_sim *sim, uint32_t publisher, uint32_t who)
{
    struct sim_node *node = &sim->node[publisher], *other = &sim->node[who];
    if (!hm_sim_pair(sim, publisher, who)->subscribed)
        return;
    for (uint32_t i = 0; i < other->n_slots; i++)
        if (other->slot[i].up && other->slot[i].target == publisher)
            return; /* another connection to the same node */
    hm_sim_pair(sim, publisher, who)->subscribed = false;
    uint32_t i = 0;
    while (node->subscriber[i] != who)
        i++;
    memmove(node->subscriber + i, node->subscriber + i + 1,
            (--node->n_subscribers - i) * sizeof *node->subscriber);
}

static void dial_again(struct sim_node *node, uint32_t which, uint64_t after_us)
{
    struct slot *slot = &node->slot[which];
    hm_sim_push(node->sim, (struct event){.at = node->sim->now_us + after_us,
                                          .what = EV_CONNECT,
                                          .node = node->index,
                                          .epoch = node->epoch,
                                          .which = which,
                                          .generation = slot->generation});
}

static void close_slot(struct sim_node *node, uint32_t which)
{
    struct slot *slot = &node->slot[which];
    bool was_up = slot->up;
    uint32_t target = slot->target;
    *slot = (struct slot){.generation = slot->generation + 1};
    if (was_up)
        unsubscribe(node->sim, target, node->index);
}

static void dial(struct sim_node *node, const struct hm_action *action)
{
    struct hm_sim *sim = node->sim;
    uint32_t index, epoch;
    if (action->slot >= node->n_slots) {
        uint32_t n = action->slot + 8;
        node->slot = hm_sim_must(realloc(node->slot, n * sizeof *node->slot));
        memset(node->slot + node->n_slots, 0, (n - node->n_slots) * sizeof *node->slot);
        node->n_slots = n;
    }
    close_slot(node, action->slot);
    if (sscanf(action->rpc, "inproc://node%u.%u", &index, &epoch) != 2 || index >= sim->n_max)
        return;
    struct slot *slot = &node->slot[action->slot];
    slot->used = true;
    slot->target = index;
    slot->target_epoch = epoch;
    slot->backoff_us = RECONNECT_MIN_US;
    uint64_t trips = 2 * (latency(sim, node->index, index) + latency(sim, index, node->index));
    dial_again(node, action->slot, CONNECT_US + trips);
}

void hm_sim_connect(struct hm_sim *sim, const struct event *event)
{
    struct sim_node *node = &sim->node[event->node];
    struct slot *slot = &node->slot[event->which];
    if (!slot->used || slot->up || slot->generation != event->generation)
        return;
    struct sim_node *target = &sim->node[slot->target];
    if (!target->up || target->epoch != slot->target_epoch || target->paused || node->paused ||
        link_of(sim, node->index, target->index).cut ||
        link_of(sim, target->index, node->index).cut) {
        dial_again(node, event->which, slot->backoff_us);
        slot->backoff_us =
            slot->backoff_us * 2 < RECONNECT_MAX_US ? slot->backoff_us * 2 : RECONNECT_MAX_US;
        return;
    }
    struct pair *back = hm_sim_pair(sim, target->index, node->index);
    if (back->own)
        back->own->sub_dead = false;
    slot->up = true;
    subscribe(sim, target->index, node->index);
    tell(sim, HM_SIM_CONNECTED, node->index, target->index, NULL);
    hm_sim_push(sim, (struct event){.at = sim->now_us + latency(sim, node->index, target->index),
                                    .what = EV_ARRIVAL,
                                    .node = target->index,
                                    .epoch = target->epoch});
}

/* The other side of each connection notices at once and dials again. */
static void break_slot(struct sim_node *node, uint32_t which, uint64_t after_us)
{
    struct slot *slot = &node->slot[which];
    slot->up = false;
    slot->generation++;
    slot->backoff_us = RECONNECT_MIN_US;
    unsubscribe(node->sim, slot->target, node->index);
    dial_again(node, which, after_us);
}

static void break_slots_to(struct sim_node *node, uint32_t target, uint64_t after_us)
{
    for (uint32_t i = 0; i < node->n_slots; i++)
        if (node->slot[i].up && node->slot[i].target == target)
            break_slot(node, i, after_us);
}

void hm_sim_reset(struct hm_sim *sim, uint32_t a, uint32_t b)
{
    tell(sim, HM_SIM_RESET, a, b, NULL);
    break_slots_to(&sim->node[a], b, CONNECT_US + hm_rng_below(&sim->rng, 20000));
    break_slots_to(&sim->node[b], a, CONNECT_US + hm_rng_below(&sim->rng, 20000));
}

void hm_sim_hang_up(struct sim_node *node)
{
    struct hm_sim *sim = node->sim;
    for (uint32_t i = 0; i < node->n_slots; i++)
        close_slot(node, i);
    while (node->n_subscribers)
        break_slots_to(&sim->node[node->subscriber[node->n_subscribers - 1]], node->index,
                       RECONNECT_MIN_US);
    for (uint32_t i = 0; i < sim->n_max; i++) /* what was on the way to it fills nothing any more */
        if (sim->node[i].pair)
            memset(sim->node[i].pair[node->index].n, 0, sizeof node->pair->n);
}

/* ---- hearing ---- */

void hm_sim_empty_inbox(struct sim_node *node)
{
    for (; node->inbox_n; node->inbox_n--)
        hm_sim_drop(node->inbox[node->inbox_at++ % node->inbox_room].message);
    hm_sim_drop(node->in_hand);
    node->in_hand = NULL;
    node->inbox_at = 0;
}

static void put(struct sim_node *node, struct hm_sim_message *message)
{
    if (node->inbox_n == node->inbox_room) {
        uint32_t room = node->inbox_room ? 2 * node->inbox_room : 16;
        struct letter *ring = hm_sim_must(malloc(room * sizeof *ring));
        for (uint32_t i = 0; i < node->inbox_n; i++)
            ring[i] = node->inbox[(node->inbox_at + i) % node->inbox_room];
        free(node->inbox);
        node->inbox = ring;
        node->inbox_at = 0;
        node->inbox_room = room;
    }
    node->inbox[(node->inbox_at + node->inbox_n++) % node->inbox_room].message = message;
}

/* Also for a paused node: its queues fill up. */
void hm_sim_arrive(struct hm_sim *sim, const struct event *event)
{
    struct sim_node *node = &sim->node[event->node];
    struct hm_sim_message *message = event->message;
    if (!node->up || event->epoch != node->epoch) {
        if (message)
            tell(sim, HM_SIM_DROPPED, message->from, node->index, message);
        hm_sim_drop(message);
        return;
    }
    put(node, message);
    if (!node->paused)
        hm_sim_wake(node, sim->now_us);
}

static int receive(struct hm_env *env, struct hm_event *event)
{
    struct sim_node *node = of(env);
    hm_sim_drop(node->in_hand);
    node->in_hand = NULL;
    if (!node->inbox_n)
        return 0;
    struct hm_sim_message *message = node->inbox[node->inbox_at].message;
    node->inbox_at = (node->inbox_at + 1) % node->inbox_room;
    node->inbox_n--;
    if (!message) {
        *event = (struct hm_event){.type = HM_EV_SUBSCRIBED};
        return 1;
    }
    struct sim_node *from = &node->sim->node[message->from];
    uint32_t *n = &hm_sim_pair(node->sim, message->from, node->index)->n[message->channel];
    *n -= *n > 0;
    memcpy(node->route, &message->from, sizeof message->from);
    memcpy(node->route + sizeof message->from, &from->epoch, sizeof from->epoch);
    bool request = message->channel == HM_CH_REQUEST;
    *event = (struct hm_event){.type = HM_EV_MESSAGE,
                               .message = {.channel = message->channel,
                                           .header = message->header,
                                           .header_n = message->header_n,
                                           .payload = message->payload,
                                           .route = request ? node->route : NULL,
                                           .route_n = request ? sizeof node->route : 0}};
    node->in_hand = message;
    tell(node->sim, HM_SIM_HEARD, node->index, message->from, message);
    return 1;
}

/* ---- the environment ---- */

static uint64_t now_us(struct hm_env *env)
{
    const struct sim_node *node = of(env);
    return node->sim->now_us + (uint64_t)node->clock_us;
}

static uint64_t processor_us(struct hm_env *env, const struct hm_driver_work *work)
{
    (void)env;
    return hm_sim_reckon_ns(work) / 1000;
}

static void publish(struct sim_node *node, const struct hm_action *action)
{
    if (!node->n_subscribers)
        return;
    struct hm_sim_message *message = message_of(node, HM_CH_PUBLISHED, action, UINT32_MAX);
    for (uint32_t i = 0; i < node->n_subscribers; i++)
        hand_over(node->sim, message, node->subscriber[i]);
    hm_sim_drop(message);
}

static void send_to(struct sim_node *node, enum hm_channel channel, const struct hm_action *action,
                    uint32_t to)
{
    struct hm_sim_message *message = message_of(node, channel, action, to);
    hand_over(node->sim, message, to);
    hm_sim_drop(message);
}

static void carry_out(struct hm_env *env, const struct hm_action *action)
{
    struct sim_node *node = of(env);
    struct hm_sim *sim = node->sim;
    uint32_t to, epoch;
    switch (action->type) {
    case HM_ACT_CONNECT:
        dial(node, action);
        return;
    case HM_ACT_DISCONNECT:
        if (action->slot < node->n_slots)
            close_slot(node, action->slot);
        return;
    case HM_ACT_SEND:
        if (action->slot < node->n_slots && node->slot[action->slot].up)
            send_to(node, HM_CH_REQUEST, action, node->slot[action->slot].target);
        else
            env->n_dropped++;
        return;
    case HM_ACT_REPLY:
        assert(action->route_n == sizeof node->route);
        memcpy(&to, action->route, sizeof to);
        memcpy(&epoch, action->route + sizeof to, sizeof epoch);
        if (sim->node[to].epoch == epoch && hm_sim_pair(sim, node->index, to)->subscribed)
            send_to(node, HM_CH_ANSWER, action, to);
        else
            env->n_dropped++;
        return;
    case HM_ACT_BROADCAST:
        publish(node, action);
        return;
    default:
        return;
    }
}

static void wait_until(struct hm_env *env, uint64_t until_us)
{
    (void)env;
    (void)until_us;
    assert(!"nobody waits in the simulator");
}

static void wake(struct hm_env *env)
{
    struct sim_node *node = of(env);
    hm_sim_wake(node, node->sim->now_us);
}

static void close_env(struct hm_env *env, int linger_ms)
{
    (void)env; /* the world's */
    (void)linger_ms;
}

const struct hm_env_ops hm_sim_env_ops = {.now_us = now_us,
                                          .processor_us = processor_us,
                                          .carry_out = carry_out,
                                          .receive = receive,
                                          .wait = wait_until,
                                          .wake = wake,
                                          .close = close_env};
