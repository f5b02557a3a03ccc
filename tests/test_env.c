/* The environment over sockets, where it has to be careful with libzmq. */
#include "node/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { TRIES = 20, WAIT_US = 2000000 };

static struct hm_env *open_env(uint64_t life)
{
    struct hm_env *env;
    struct hm_err err = {""};
    struct hm_env_zmq_options options = {.life = life, .bind = "127.0.0.1:0"};
    if (hm_env_zmq_open(&env, &options, &err))
        fail_msg("%s", err.text);
    return env;
}

static struct hm_action to_peer(enum hm_action_type type, const struct hm_env *peer)
{
    struct hm_action action = {.type = type, .slot = 3};
    snprintf(action.rpc, sizeof action.rpc, "%s", peer->rpc);
    snprintf(action.pub, sizeof action.pub, "%s", peer->pub);
    return action;
}

static void publish(struct hm_env *env)
{
    struct hm_action action = {.type = HM_ACT_BROADCAST, .header = {0x93, 1, 2}, .header_n = 3};
    action.payload = hm_blob_new(100);
    memset(action.payload->bytes, 7, 100);
    env->ops->carry_out(env, &action);
    hm_blob_drop(action.payload);
}

static int hear(struct hm_env *env, enum hm_event_type type)
{
    uint64_t end = env->ops->now_us(env) + WAIT_US;
    struct hm_event event;
    while (env->ops->now_us(env) < end) {
        if (env->ops->receive(env, &event)) {
            if (event.type == type)
                return 1;
        } else
            env->ops->wait(env, end);
    }
    return 0;
}

/* A peer that is hung up on, or dialled anew, while a message of its waits to be read. */
static void a_connection_closes_over_an_unread_message(void **state)
{
    (void)state;
    struct hm_env *a = open_env(1), *b = open_env(2);
    for (int i = 0; i < TRIES; i++) {
        struct hm_action connect = to_peer(HM_ACT_CONNECT, a),
                         hang_up = to_peer(HM_ACT_DISCONNECT, a);
        b->ops->carry_out(b, &connect);
        assert_true(hear(a, HM_EV_SUBSCRIBED));
        publish(a);
        publish(a);
        b->ops->wait(b, b->ops->now_us(b) + WAIT_US); /* looks at the message without reading it */
        b->ops->carry_out(b, i % 2 ? &hang_up : &connect);
        if (i % 2)
            b->ops->carry_out(b, &connect);
        assert_true(hear(a, HM_EV_SUBSCRIBED));
        publish(a);
        assert_true(hear(b, HM_EV_MESSAGE));
        b->ops->carry_out(b, &hang_up);
    }
    a->ops->close(a, 0);
    b->ops->close(b, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_closes_over_an_unread_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
