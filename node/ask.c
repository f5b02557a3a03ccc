#include "node/ask.h"

#include "node/greeting.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    TRY_US = 20000,
    AGAIN_US = 1000000,
    GREETING_MS = 1000,
    REMEMBERED = 64, /* questions: an answer to any of them will do, however late it comes */
};

struct hm_ask {
    struct hm_env *env;
    uint64_t life, number;
    uint64_t asked_us[REMEMBERED]; /* when; of question `number` at number % REMEMBERED */
    char rpc[HM_ENDPOINT_MAX + 1];
    const char *peer;
};

enum hm_status hm_ask_open(struct hm_ask **out, const struct hm_ask_options *options,
                           struct hm_err *err)
{
    struct hm_keys keys = {0};
    *out = NULL;
    struct hm_ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        return hm_fail(err, HM_ENOMEM, "no memory to ask");
    ask->peer = options->peer;
    while (!ask->life)
        if (getrandom(&ask->life, sizeof ask->life, 0) != sizeof ask->life)
            break;
    enum hm_status status = hm_endpoint_parse(options->peer, ask->rpc, err);
    if (!status && options->key)
        status = hm_keys_read(&keys, options->key, err);
    if (!status && !keys.n && !options->insecure && !hm_endpoint_is_loopback(ask->rpc))
        status = hm_fail(err, HM_EUSAGE,
                         "%s is beyond this host and there is no key: add --key FILE, the one of "
                         "the mesh, or on a network that you trust --insecure",
                         options->peer);
    if (!status)
        status = hm_env_zmq_open(&ask->env,
                                 &(struct hm_env_zmq_options){.kind = HM_ENV_TRAINER,
                                                              .life = ask->life,
                                                              .keys = &keys,
                                                              .insecure = options->insecure},
                                 err);
    hm_keys_wipe(&keys);
    if (status) {
        hm_ask_close(ask);
        return status;
    }
    struct hm_action action = {.type = HM_ACT_CONNECT, .slot = 0};
    memcpy(action.rpc, ask->rpc, sizeof action.rpc);
    ask->env->ops->carry_out(ask->env, &action);
    *out = ask;
    return HM_OK;
}

void hm_ask_close(struct hm_ask *ask)
{
    if (!ask)
        return;
    if (ask->env)
        ask->env->ops->close(ask->env, 0);
    free(ask);
}

static uint64_t now_us(const struct hm_ask *ask)
{
    return ask->env->ops->now_us(ask->env);
}

/* Whether it is on its way; who cannot be reached has not been asked. */
static bool send_question(struct hm_ask *ask, enum hm_question what, size_t n_padding)
{
    struct hm_header header = {.type = HM_ASK, .life = ask->life};
    header.ask.number = ask->number + 1;
    header.ask.what = (uint8_t)what;
    struct hm_action action = {.type = HM_ACT_SEND, .slot = 0};
    action.header_n = hm_wire_encode(&header, action.header);
    action.payload = n_padding ? hm_blob_new(n_padding) : NULL;
    if (action.payload)
        memset(action.payload->bytes, 0, n_padding);
    uint64_t dropped = ask->env->n_dropped;
    uint64_t now = now_us(ask); /* before: the answer may be here when this thread runs again */
    ask->env->ops->carry_out(ask->env, &action);
    hm_blob_drop(action.payload);
    if (ask->env->n_dropped != dropped)
        return false;
    ask->asked_us[++ask->number % REMEMBERED] = now;
    return true;
}

static bool is_answer(const struct hm_ask *ask, const struct hm_header *header, uint64_t first)
{
    uint64_t number = header->ask.number;
    return header->type == HM_STATUS && number >= first && number <= ask->number &&
           ask->number - number < REMEMBERED;
}

/* 1: the answer to one of the questions from `first` on is in *payload (borrowed until the next
 * call), 0: not yet, -1: it speaks another version. Who talks without end is not listened to
 * without end. */
static int hear(struct hm_ask *ask, uint64_t first, uint64_t until_us,
                const struct hm_blob **payload, double *seconds)
{
    struct hm_event event;
    ask->env->ops->wait(ask->env, until_us);
    do {
        struct hm_header header;
        if (!ask->env->ops->receive(ask->env, &event))
            return 0;
        if (event.type != HM_EV_MESSAGE || event.message.channel != HM_CH_ANSWER)
            continue;
        enum hm_wire_error error =
            hm_wire_decode(event.message.header, event.message.header_n, &header);
        if (error == HM_WIRE_BAD_VERSION)
            return -1;
        if (error != HM_WIRE_OK || !is_answer(ask, &header, first))
            continue;
        *payload = event.message.payload;
        *seconds = (double)(now_us(ask) - ask->asked_us[header.ask.number % REMEMBERED]) / 1e6;
        return 1;
    } while (now_us(ask) < until_us);
    return 0;
}

unsigned hm_ask_version(struct hm_ask *ask, double timeout)
{
    struct hm_header header = {.type = HM_HELLO, .life = ask->life};
    snprintf(header.hello.label, sizeof header.hello.label, "doctor");
    struct hm_action action = {.type = HM_ACT_SEND, .slot = 0};
    action.header_n = hm_wire_encode(&header, action.header);
    assert(action.header[1] == HM_WIRE_VERSION); /* behind the array's head */
    action.header[1] = 0;
    uint64_t give_up = now_us(ask) + (uint64_t)(timeout * 1e6);
    ask->env->ops->carry_out(ask->env, &action);
    while (now_us(ask) < give_up) {
        struct hm_event event;
        ask->env->ops->wait(ask->env, give_up);
        while (now_us(ask) < give_up && ask->env->ops->receive(ask->env, &event))
            if (event.type == HM_EV_MESSAGE && event.message.header_n > 2 &&
                event.message.header[1] < 0x80)
                return event.message.header[1];
    }
    return 0;
}

static enum hm_status read_state(const struct hm_ask *ask, const struct hm_blob *payload,
                                 json_t **status, struct hm_err *err)
{
    json_t *json = payload ? json_loadb((const char *)payload->bytes, payload->n, 0, NULL) : NULL;
    if (json && json_is_object(json)) {
        *status = json;
        return HM_OK;
    }
    json_decref(json);
    return hm_fail(err, HM_ECORRUPT, "%s answered with something that is no JSON object",
                   ask->peer);
}

/* What is known of why nobody answers; HM_OK: nothing, wait. */
static enum hm_status complaint(struct hm_ask *ask, struct hm_err *err)
{
    char mechanism[HM_MECHANISM_MAX + 1];
    enum hm_dial dial = ask->env->dial[0];
    if (dial == HM_DIAL_FINE)
        return HM_OK;
    if (hm_greeting_mechanism(ask->rpc, mechanism, GREETING_MS)) {
        if (dial == HM_DIAL_KEY_REFUSED && strcmp(mechanism, "NULL") == 0)
            dial = HM_DIAL_PLAIN_PEER;
        if (dial == HM_DIAL_HANGS_UP && strcmp(mechanism, "CURVE") == 0)
            dial = HM_DIAL_KEY_WANTED;
    }
    const char *what = hm_dial_complaint(dial);
    return hm_fail(err, HM_EREFUSED, "%s %s", ask->peer, what ? what : "hangs up");
}

static enum hm_status unanswered(const struct hm_ask *ask, bool sent, double timeout,
                                 struct hm_err *err)
{
    if (sent)
        return hm_fail(err, HM_ETIMEOUT,
                       "%s takes connections and does not answer within %.0f s: it may still be "
                       "reading its data or looking for peers, or stand still, or be no node; try "
                       "again, and look at its log",
                       ask->peer, timeout);
    return hm_fail(err, HM_ETIMEOUT,
                   "%s takes no connection within %.0f s; check that a node runs there, the port "
                   "(that of --bind), and the firewall",
                   ask->peer, timeout);
}

enum hm_status hm_ask(struct hm_ask *ask, size_t n_padding, double timeout, json_t **status,
                      double *seconds, struct hm_err *err)
{
    uint64_t give_up = now_us(ask) + (uint64_t)(timeout * 1e6), again = 0;
    const uint64_t first = ask->number + 1;
    const struct hm_blob *payload;
    double took;
    while (now_us(ask) < give_up) {
        if (now_us(ask) >= again) {
            bool going = send_question(ask, status ? HM_ASK_STATE : HM_ASK_ECHO, n_padding);
            again = now_us(ask) + (going ? AGAIN_US : TRY_US);
        }
        int heard = hear(ask, first, again < give_up ? again : give_up, &payload, &took);
        if (heard < 0)
            return hm_fail(err, HM_EREFUSED,
                           "%s speaks another version of the protocol than this program (%d); "
                           "install the same version everywhere",
                           ask->peer, HM_WIRE_VERSION);
        if (heard && seconds)
            *seconds = took;
        if (heard)
            return status ? read_state(ask, payload, status, err) : HM_OK;
        enum hm_status refused = complaint(ask, err);
        if (refused)
            return refused;
    }
    return unanswered(ask, ask->number >= first, timeout, err);
}
