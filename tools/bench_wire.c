/* What encryption costs on the way: the sockets of two processes, with a key and without. */
#include "tools/bench_walk.h"

#include "node/env.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TURNS = 200,
    PAUSE_US = 2000,
    REPEATED = 5,
    TRIES = 50,
    MESSAGES = 1000,
    WINDOW = 16,
    ACK_EVERY = 8
};

/* Of both sides: what a message is. The time stands behind it. */
enum { READY = 'r', TIMED = 't', STREAMED = 's', END = 'e' };

struct place {
    struct hm_env *env;
    struct hm_action action;
    struct hm_event event;
};

static struct place place_open(const char *key)
{
    struct place p = {.env = NULL};
    struct hm_keys keys = {0};
    struct hm_err err;
    if (strcmp(key, "-") != 0)
        must(hm_keys_read(&keys, key, &err), &err);
    struct hm_env_zmq_options options = {
        .life = (uint64_t)getpid(), .bind = "127.0.0.1:0", .keys = &keys};
    must(hm_env_zmq_open(&p.env, &options, &err), &err);
    hm_keys_wipe(&keys);
    return p;
}

/* Returns 0 when a queue was full or the peer is not there yet. */
static int send(struct place *p, enum hm_action_type type, char what, double time,
                struct hm_blob *payload)
{
    uint64_t dropped = p->env->n_dropped;
    p->action.type = type;
    p->action.header[0] = (uint8_t)what;
    memcpy(p->action.header + 1, &time, sizeof time);
    p->action.header_n = 1 + sizeof time;
    p->action.payload = payload;
    p->env->ops->carry_out(p->env, &p->action);
    return p->env->n_dropped == dropped;
}

/* Waits for a message and returns what it is; *sent is when it was sent. 0: nothing came for a
 * second. A publisher learns with a delay what has been taken from its queues, so that now and then
 * it drops a message though they have room. */
static char receive(struct place *p, double *sent)
{
    uint64_t give_up = p->env->ops->now_us(p->env) + 1000000;
    while (p->env->ops->now_us(p->env) < give_up) {
        while (p->env->ops->receive(p->env, &p->event))
            if (p->event.type == HM_EV_MESSAGE && p->event.message.header_n == 1 + sizeof *sent) {
                memcpy(sent, p->event.message.header + 1, sizeof *sent);
                return (char)p->event.message.header[0];
            }
        p->env->ops->wait(p->env, give_up);
    }
    return 0;
}

/* The other process: says that it is there, tells of timed messages how long they took, and of
 * every eighth of a stream that it came. */
static void answer(int from, const char *key)
{
    struct place p = place_open(key);
    double sent;
    char what = 0;
    if (read(from, &p.action.rpc, sizeof p.action.rpc) != sizeof p.action.rpc ||
        read(from, &p.action.pub, sizeof p.action.pub) != sizeof p.action.pub)
        exit(1);
    p.action.type = HM_ACT_CONNECT;
    p.env->ops->carry_out(p.env, &p.action);
    while (!send(&p, HM_ACT_SEND, READY, 0, NULL))
        p.env->ops->wait(p.env, p.env->ops->now_us(p.env) + 1000);
    for (unsigned streamed = 0; what != END;) {
        what = receive(&p, &sent);
        if (what == TIMED)
            send(&p, HM_ACT_SEND, TIMED, now() - sent, NULL);
        if (what == STREAMED && ++streamed % ACK_EVERY == 0)
            send(&p, HM_ACT_SEND, STREAMED, 0, NULL);
    }
    p.env->ops->close(p.env, 0);
}

/* One at a time, with a pause as between flushes: what the driver spends on sending, and how long
 * until the other driver has it. */
static void time_messages(struct place *p, struct hm_blob *payload, json_t *json)
{
    for (int i = 0; i < TURNS; i++) {
        double took, begun, sent;
        do {
            begun = now();
            send(p, HM_ACT_BROADCAST, TIMED, begun, payload);
            sent = now();
        } while (receive(p, &took) != TIMED);
        add(json, "send_us", 1e6 * (sent - begun));
        add(json, "receive_us", 1e6 * took);
        usleep(PAUSE_US);
    }
}

/* As many as go. False: one was lost, and nothing has been measured. */
static bool stream(struct place *p, struct hm_blob *payload, json_t *json)
{
    double unused, begun = now();
    for (int sent = 0, acked = 0; acked < MESSAGES;) {
        while (sent < MESSAGES && sent - acked < WINDOW)
            sent += send(p, HM_ACT_BROADCAST, STREAMED, 0, payload);
        if (receive(p, &unused) != STREAMED)
            return false;
        acked += ACK_EVERY;
    }
    add(json, "bytes_per_second", MESSAGES * (double)payload->n / (now() - begun));
    return true;
}

/* KEYFILE is a key file, or - for none. */
json_t *wire(const char *key, uint64_t bytes)
{
    int to_child[2];
    if (bytes > HM_PAYLOAD_MAX || pipe(to_child) != 0)
        return NULL;
    pid_t child = fork(); /* before there is a thread */
    if (child == 0) {
        answer(to_child[0], key);
        exit(0);
    }
    json_t *json = json_pack("{s:I}", "bytes", (json_int_t)bytes);
    struct place p = place_open(key);
    struct hm_blob *payload = hm_blob_new(bytes);
    for (uint64_t i = 0; i < bytes; i++)
        payload->bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    double unused;
    if (write(to_child[1], p.env->rpc, sizeof p.env->rpc) < 0 ||
        write(to_child[1], p.env->pub, sizeof p.env->pub) < 0)
        return NULL;
    while (receive(&p, &unused) != READY) {
    }
    usleep(100000); /* its subscription comes over another connection */
    time_messages(&p, payload, json);
    for (int measured = 0, tried = 0; measured < REPEATED && tried < TRIES; tried++)
        measured += stream(&p, payload, json);
    while (waitpid(child, NULL, WNOHANG) == 0) {
        send(&p, HM_ACT_BROADCAST, END, 0, NULL);
        usleep(PAUSE_US);
    }
    p.env->ops->close(p.env, 0);
    hm_blob_drop(payload);
    return json;
}
