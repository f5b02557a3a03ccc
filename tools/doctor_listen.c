/* Listens where a node would, as a thread that answers ASK: what we reach, for the doctor on the
 * other side. */
#include "tools/doctor.h"

#include "node/env.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURN_US = 200000 };

struct listener {
    struct hm_env *env; /* the thread's, but for wake */
    pthread_t thread;
    atomic_bool end;
    pthread_mutex_t mutex; /* of reached */
    json_t *reached;       /* {"HOST:PORT": "yes" or what is wrong} */
};

static struct hm_blob *describe(struct listener *l)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&l->mutex);
    json_t *json = json_pack(
        "{s:i, s:i, s:s, s:f, s:{s:O}, s:{s:s, s:s}}", "schema", 1, "protocol", HM_WIRE_VERSION,
        "version", HM_VERSION, "time", (double)now.tv_sec + (double)now.tv_nsec * 1e-9, "doctor",
        "reached", l->reached, "node", "address", l->env->rpc + 6, "publisher", l->env->pub + 6);
    size_t n = json_dumpb(json, NULL, 0, JSON_COMPACT);
    struct hm_blob *blob = n ? hm_blob_new(n) : NULL;
    if (blob)
        json_dumpb(json, (char *)blob->bytes, n, JSON_COMPACT);
    json_decref(json);
    pthread_mutex_unlock(&l->mutex);
    return blob;
}

static void answer(struct listener *l, const struct hm_event *event)
{
    struct hm_header header;
    if (event->type != HM_EV_MESSAGE || event->message.channel != HM_CH_REQUEST ||
        hm_wire_decode(event->message.header, event->message.header_n, &header) != HM_WIRE_OK ||
        header.type != HM_ASK)
        return;
    struct hm_action action = {.type = HM_ACT_REPLY, .route_n = event->message.route_n};
    memcpy(action.route, event->message.route, event->message.route_n);
    header.type = HM_STATUS;
    header.life = 1;
    action.header_n = hm_wire_encode(&header, action.header);
    action.payload = header.ask.what == HM_ASK_STATE ? describe(l) : NULL;
    l->env->ops->carry_out(l->env, &action);
    hm_blob_drop(action.payload);
}

static void *listen_on(void *argument)
{
    struct listener *l = argument;
    struct hm_event event;
    while (!atomic_load(&l->end)) {
        while (l->env->ops->receive(l->env, &event))
            answer(l, &event);
        l->env->ops->wait(l->env, l->env->ops->now_us(l->env) + TURN_US);
    }
    return NULL;
}

void doctor_listen(struct doctor *doctor)
{
    const struct hm_node_options *o = &doctor->cli->node;
    struct hm_err err = {""};
    struct hm_keys keys = {0};
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    if (o->key && hm_keys_read(&keys, o->key, &err)) { /* which was said */
        free(l);
        return;
    }
    enum hm_status status = hm_env_zmq_open(&l->env,
                                            &(struct hm_env_zmq_options){.kind = HM_ENV_MESH,
                                                                         .life = 1,
                                                                         .bind = o->bind,
                                                                         .advertise = o->advertise,
                                                                         .keys = &keys,
                                                                         .insecure = o->insecure},
                                            &err);
    hm_keys_wipe(&keys);
    if (status) {
        doctor_say(doctor, BROKEN, "listening", NULL, "%s", err.text);
        free(l);
        return;
    }
    pthread_mutex_init(&l->mutex, NULL);
    l->reached = json_object();
    doctor->listener = l;
    doctor_say(doctor, FINE, "listening", NULL, "at %s; peers dial %s and the port after it",
               o->bind, l->env->rpc + 6);
    doctor_interface(doctor, "own address", l->env->rpc + 6);
    if (pthread_create(&l->thread, NULL, listen_on, l) != 0)
        abort();
}

void doctor_tell(struct doctor *doctor, const char *peer, const char *result)
{
    struct listener *l = doctor->listener;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    json_object_set_new(l->reached, peer, json_string(result));
    pthread_mutex_unlock(&l->mutex);
}

const char *doctor_address(const struct doctor *doctor)
{
    return doctor->listener ? doctor->listener->env->rpc + 6 : NULL;
}

void doctor_hang_up(struct doctor *doctor)
{
    struct listener *l = doctor->listener;
    if (!l)
        return;
    atomic_store(&l->end, true);
    l->env->ops->wake(l->env);
    pthread_join(l->thread, NULL);
    l->env->ops->close(l->env, 0);
    pthread_mutex_destroy(&l->mutex);
    json_decref(l->reached);
    free(l);
    doctor->listener = NULL;
}
