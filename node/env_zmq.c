/* Sockets: one XPUB that everybody subscribes to, one SUB that subscribes to everybody, one ROUTER
 * that answers, one DEALER per peer that asks. The one file that knows libzmq.
 *
 * With keys, XPUB and ROUTER are CURVE servers, SUB and DEALER clients, and a doorkeeper answers
 * libzmq's question (ZAP, RFC 27) whether a client may come in. The doorkeeper is a thread with
 * sockets of its own: a driver that loads data, extracts or waits for its workers would let
 * handshakes run into their time limit, and a monitor that nobody reads stops libzmq's own thread
 * (libzmq issue 3575). Every socket still belongs to one thread; driver and doorkeeper share
 * counters and lines of text, under a mutex. */
#include "node/env.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    HWM = 64,
    RECEIVE_HWM = 128, /* a full queue stalls the connection, and an error on a stalled one aborts
                          libzmq 4.3.4 */
    DEALER_HWM = 16,
    MESSAGE_BYTES_MAX = 2 << 20,
    TAIL = 2, /* bytes of a message that say how long its header is */
    KEEPALIVE_S = 10,
    HANDSHAKE_MS = 3000,
    RECONNECT_MS = 2, /* peers start together: the default of 100 costs a start-up of 200 ms */
    RECONNECT_MAX_MS = 2000,
    HANG_UPS = 3, /* in a row, during the handshake, before a peer is taken to refuse a key */
    LINES_MAX = 8,
    CURVE_OVERHEAD = 33, /* bytes that encryption adds to a frame: MAXMSGSIZE counts them too */
    DIAL_EVENTS = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                  ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    LISTENER_EVENTS = DIAL_EVENTS | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED,
};

_Static_assert(HM_HEADER_MAX + HM_PAYLOAD_MAX + TAIL + CURVE_OVERHEAD <= MESSAGE_BYTES_MAX,
               "the largest frame passes, encrypted too");

static const char zap_endpoint[] = "inproc://zeromq.zap.01", zap_domain[] = "hogmesh";

struct peer {
    void *dealer;
    void *monitor; /* of the dealer, until its first handshake is through; NULL */
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1]; /* pub: "" when not connected */
    unsigned key;                                            /* that it is dialled with */
    unsigned hang_ups;                                       /* in a row */
};

struct doorkeeper {
    pthread_t thread;
    int started;
    int end_fd;                  /* readable: end */
    void *zap;                   /* the thread's */
    void *monitor[HM_LISTENERS]; /* the thread's: of ROUTER and XPUB */
    pthread_mutex_t mutex;       /* of what follows */
    struct hm_strangers strangers;
    char line[LINES_MAX][HM_STRANGER_LINE_MAX + 1];
    unsigned n_lines;
};

struct zmq_env {
    struct hm_env base;
    void *context, *xpub, *sub, *router;
    int timer_fd, wake_fd;
    uint8_t routing_id[9]; /* 'n' and the life */
    struct peer peer[HM_PEERS_MAX];
    unsigned turn;    /* which socket is read next */
    unsigned n_slots; /* slots from here on have never been used */
    unsigned n_monitors;
    struct hm_keys keys;
    int insecure;
    enum hm_env_kind kind;
    struct doorkeeper door;
    zmq_msg_t letter, route; /* what was heard last */
    struct hm_blob *payload; /* of the message handed out last */
};

static struct zmq_env *of(struct hm_env *env)
{
    return (struct zmq_env *)(void *)env;
}

static uint64_t now_us(struct hm_env *env)
{
    (void)env;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t processor_us(struct hm_env *env, const struct hm_driver_work *work)
{
    (void)env;
    (void)work;
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- sockets ---- */

static void set(void *socket, int option, int value)
{
    int rc = zmq_setsockopt(socket, option, &value, sizeof value);
    assert(rc == 0);
    (void)rc;
}

static void *open_socket(struct zmq_env *z, int type, int hwm)
{
    void *socket = zmq_socket(z->context, type);
    if (!socket)
        return NULL;
    int64_t bytes_max = MESSAGE_BYTES_MAX;
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    set(socket, ZMQ_SNDHWM, hwm);
    set(socket, ZMQ_RCVHWM, RECEIVE_HWM);
    set(socket, ZMQ_LINGER, 0);
    /* No ZMTP heartbeats: under back-pressure they are not read, time out, and cut healthy
     * connections (libzmq issues 3937 and 4841). Our own beats tell who lives, and silence is
     * answered by dialling anew. */
    set(socket, ZMQ_TCP_KEEPALIVE, 1);
    set(socket, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_S);
    set(socket, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_S);
    set(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set(socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    return socket;
}

static int more(void *socket)
{
    int value = 0;
    size_t n = sizeof value;
    return zmq_getsockopt(socket, ZMQ_RCVMORE, &value, &n) == 0 && value;
}

static void skip_rest(void *socket)
{
    while (more(socket)) {
        zmq_msg_t extra;
        zmq_msg_init(&extra);
        if (zmq_msg_recv(&extra, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&extra);
            return;
        }
        zmq_msg_close(&extra);
    }
}

/* zmq_poll has read the first frame of the SUB's next message, if there is one. libzmq 4.3.4 aborts
 * ("!_more", fq.cpp; libzmq issue 2163) when the connection that it came by is closed before the
 * others are read, and who publishes to us may send others. So that message is taken off first: it
 * is lost, as by a network. */
static void empty_hand(struct zmq_env *z)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, z->sub, ZMQ_DONTWAIT) >= 0) {
        z->base.n_dropped++;
        skip_rest(z->sub);
    }
    zmq_msg_close(&frame);
}

static int is_tcp(const char *endpoint)
{
    return strncmp(endpoint, "tcp://", 6) == 0;
}

int hm_endpoint_is_loopback(const char *endpoint)
{
    char host[HM_ENDPOINT_MAX + 1];
    const char *colon = strrchr(endpoint, ':');
    struct in_addr address;
    if (!is_tcp(endpoint) || colon < endpoint + 6)
        return 0;
    snprintf(host, sizeof host, "%.*s", (int)(colon - (endpoint + 6)), endpoint + 6);
    /* Nothing that starts with "127." but a literal address: it could be a name. */
    return strcmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

/* ---- monitors ---- */

/* A socket from which events of another can be read. Not to be closed before end_monitor. */
static void *begin_monitor(struct zmq_env *z, void *socket, int events)
{
    char name[64];
    snprintf(name, sizeof name, "inproc://monitor-%u", z->n_monitors++);
    void *monitor = zmq_socket(z->context, ZMQ_PAIR);
    if (!monitor)
        return NULL;
    set(monitor, ZMQ_LINGER, 0);
    if (zmq_socket_monitor(socket, name, events) == 0 && zmq_connect(monitor, name) == 0)
        return monitor;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(monitor);
    return NULL;
}

/* An event and its value; returns 0 when there is none. */
static int read_monitor(void *monitor, unsigned *event, uint32_t *value)
{
    uint8_t head[6];
    uint16_t number;
    char endpoint[256];
    if (zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT) != sizeof head)
        return 0;
    zmq_recv(monitor, endpoint, sizeof endpoint, 0); /* our own end: of no use */
    memcpy(&number, head, sizeof number);
    memcpy(value, head + sizeof number, sizeof *value);
    *event = number;
    return 1;
}

/* ---- dialling ---- */

static void end_dial_monitor(struct peer *peer)
{
    if (!peer->monitor)
        return;
    zmq_socket_monitor(peer->dealer, NULL, 0);
    zmq_close(peer->monitor);
    peer->monitor = NULL;
}

static void hang_up(struct zmq_env *z, struct peer *peer)
{
    end_dial_monitor(peer);
    if (peer->dealer)
        zmq_close(peer->dealer);
    if (peer->pub[0]) {
        empty_hand(z);
        zmq_disconnect(z->sub, peer->pub);
    }
    *peer = (struct peer){0};
}

/* The next connections of a socket prove this key, and ask for a peer that holds it. */
static void set_client(void *socket, const struct hm_key *key)
{
    int rc = zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, key->server_public, HM_KEY_BYTES) |
             zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key->client_public, HM_KEY_BYTES) |
             zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->client_secret, HM_KEY_BYTES);
    assert(rc == 0);
    (void)rc;
}

/* What a peer announces is dialled when it is TCP (nobody shall make us talk to our own inproc
 * endpoints), and when we have no key, on this host. */
static int may_dial(const struct zmq_env *z, const char *endpoint)
{
    return is_tcp(endpoint) && (z->keys.n || z->insecure || hm_endpoint_is_loopback(endpoint));
}

static void dial(struct zmq_env *z, unsigned slot, const char *rpc, const char *pub,
                 unsigned key_number)
{
    assert(slot < HM_PEERS_MAX);
    struct peer *peer = &z->peer[slot];
    z->n_slots = slot < z->n_slots ? z->n_slots : slot + 1;
    hang_up(z, peer);
    z->base.dial[slot] = HM_DIAL_FINE;
    peer->key = key_number;
    peer->dealer = open_socket(z, ZMQ_DEALER, DEALER_HWM);
    if (!peer->dealer)
        return;
    set(peer->dealer, ZMQ_IMMEDIATE, 1); /* no queue to a peer that is not there */
    zmq_setsockopt(peer->dealer, ZMQ_ROUTING_ID, z->routing_id, sizeof z->routing_id);
    if (z->keys.n) {
        set_client(peer->dealer, &z->keys.key[key_number]);
        set_client(z->sub, &z->keys.key[key_number]); /* of this connection, not of those before */
    }
    /* Within a mesh without keys all is in clear; only who joins it may meet somebody else. */
    if (z->keys.n || !pub[0])
        peer->monitor = begin_monitor(z, peer->dealer, DIAL_EVENTS);
    /* An endpoint that does not parse came from a peer: it stays undialled, the peer counts as
     * silent. */
    if (rpc[0] && (!may_dial(z, rpc) || zmq_connect(peer->dealer, rpc) != 0))
        z->base.n_dropped++;
    snprintf(peer->rpc, sizeof peer->rpc, "%s", rpc);
    if (pub[0] && may_dial(z, pub) && zmq_connect(z->sub, pub) == 0)
        snprintf(peer->pub, sizeof peer->pub, "%s", pub);
}

static void push_line(struct zmq_env *z, const char *line)
{
    pthread_mutex_lock(&z->door.mutex);
    if (z->door.n_lines < LINES_MAX)
        snprintf(z->door.line[z->door.n_lines++], sizeof z->door.line[0], "%s", line);
    pthread_mutex_unlock(&z->door.mutex);
}

/* A peer does not take what it was dialled with. The next key is tried, and when there is none, we
 * say so. libzmq goes on trying with the last. */
static void not_taken(struct zmq_env *z, unsigned slot)
{
    struct peer *peer = &z->peer[slot];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1], line[HM_STRANGER_LINE_MAX + 1];
    if (peer->key + 1 < z->keys.n) {
        memcpy(rpc, peer->rpc, sizeof rpc);
        memcpy(pub, peer->pub, sizeof pub);
        dial(z, slot, rpc, pub, peer->key + 1);
        return;
    }
    if (!z->keys.n) {
        z->base.dial[slot] = HM_DIAL_HANGS_UP;
        return;
    }
    snprintf(line, sizeof line, "%s refuses %s of this node's key file", peer->rpc + 6,
             z->keys.n == 1 ? "the key" : "every key");
    if (peer->pub[0] && z->base.dial[slot] != HM_DIAL_KEY_REFUSED)
        push_line(z, line); /* whoever joins says it himself */
    z->base.dial[slot] = HM_DIAL_KEY_REFUSED;
}

/* What the handshake with a peer came to. A peer that cannot open our greeting hangs up without a
 * word; so does one that ends, but not several times. */
static void heed_dial(struct zmq_env *z, unsigned slot)
{
    struct peer *peer = &z->peer[slot];
    unsigned event;
    uint32_t value;
    while (peer->monitor && read_monitor(peer->monitor, &event, &value)) {
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            z->base.dial[slot] = HM_DIAL_FINE;
            end_dial_monitor(peer);
        } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
                   value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
            z->base.dial[slot] = z->keys.n ? HM_DIAL_PLAIN_PEER : HM_DIAL_KEY_WANTED;
        else if (event != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
                 ((value == EPIPE || value == ECONNRESET) && ++peer->hang_ups == HANG_UPS))
            not_taken(z, slot);
    }
}

/* ---- sending ---- */

/* Header, payload and tail in one frame. libzmq 4.3.4 loses its place in a message of several when
 * another connection of the socket ends while it is being read (fq.cpp, pipe_terminated): it aborts
 * or goes on with somebody else's. A frame is whole. */
static int send_letter(void *socket, const struct hm_action *action)
{
    size_t header_n = action->header_n, payload_n = action->payload ? action->payload->n : 0;
    zmq_msg_t letter;
    if (zmq_msg_init_size(&letter, header_n + payload_n + TAIL) != 0)
        return 0;
    uint8_t *bytes = zmq_msg_data(&letter);
    memcpy(bytes, action->header, header_n);
    if (payload_n)
        memcpy(bytes + header_n, action->payload->bytes, payload_n);
    bytes[header_n + payload_n] = (uint8_t)header_n;
    bytes[header_n + payload_n + 1] = (uint8_t)(header_n >> 8);
    if (zmq_msg_send(&letter, socket, ZMQ_DONTWAIT) >= 0)
        return 1;
    zmq_msg_close(&letter);
    return 0;
}

static void carry_out(struct hm_env *env, const struct hm_action *action)
{
    struct zmq_env *z = of(env);
    void *socket = z->xpub;
    int sent = 1;
    switch (action->type) {
    case HM_ACT_CONNECT:
        dial(z, action->slot, action->rpc, action->pub, 0);
        return;
    case HM_ACT_DISCONNECT:
        hang_up(z, &z->peer[action->slot]);
        return;
    case HM_ACT_SEND:
        socket = z->peer[action->slot].dealer;
        break;
    case HM_ACT_REPLY:
        socket = z->router;
        sent = zmq_send(socket, action->route, action->route_n, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0;
        break;
    default:
        break;
    }
    if (!socket || !sent || !send_letter(socket, action))
        env->n_dropped++;
}

/* ---- receiving ---- */

/* Where the header of a letter ends and the payload, which is copied, begins. 0: nowhere. */
static size_t open_letter(struct zmq_env *z)
{
    const uint8_t *bytes = zmq_msg_data(&z->letter);
    size_t n = zmq_msg_size(&z->letter);
    hm_blob_drop(z->payload);
    z->payload = NULL;
    if (n < TAIL)
        return 0;
    size_t header_n = (size_t)bytes[n - 2] | (size_t)bytes[n - 1] << 8;
    if (header_n > n - TAIL)
        return 0;
    size_t payload_n = n - TAIL - header_n;
    if (payload_n && (z->payload = hm_blob_new(payload_n)))
        memcpy(z->payload->bytes, bytes + header_n, payload_n);
    return header_n;
}

/* Reads [route] letter. Returns 1 with an event, 0 when the socket is empty, -1 for a message of
 * another shape, which is skipped. */
static int receive_from(struct zmq_env *z, void *socket, enum hm_channel channel,
                        struct hm_event *event)
{
    int request = channel == HM_CH_REQUEST;
    if (request) {
        if (zmq_msg_recv(&z->route, socket, ZMQ_DONTWAIT) < 0)
            return 0;
        if (!more(socket) || zmq_msg_size(&z->route) > HM_ROUTE_MAX) {
            skip_rest(socket);
            return -1;
        }
    }
    if (zmq_msg_recv(&z->letter, socket, ZMQ_DONTWAIT) < 0)
        return request ? -1 : 0;
    if (more(socket)) {
        skip_rest(socket);
        return -1;
    }
    size_t header_n = open_letter(z);
    if (!header_n)
        return -1;
    event->type = HM_EV_MESSAGE;
    event->message.channel = channel;
    event->message.header = zmq_msg_data(&z->letter);
    event->message.header_n = header_n;
    event->message.payload = z->payload;
    event->message.route = request ? zmq_msg_data(&z->route) : NULL;
    event->message.route_n = request ? zmq_msg_size(&z->route) : 0;
    return 1;
}

static int receive_subscription(struct zmq_env *z, struct hm_event *event)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    int n = zmq_msg_recv(&message, z->xpub, ZMQ_DONTWAIT);
    int subscribed = n >= 1 && *(const uint8_t *)zmq_msg_data(&message) == 1;
    zmq_msg_close(&message);
    skip_rest(z->xpub);
    if (n < 0)
        return 0;
    event->type = HM_EV_SUBSCRIBED;
    return subscribed ? 1 : -1;
}

static int receive_one(struct zmq_env *z, unsigned which, struct hm_event *event)
{
    switch (which) {
    case 0:
        return z->kind == HM_ENV_MESH ? receive_subscription(z, event) : 0;
    case 1:
        return receive_from(z, z->router, HM_CH_REQUEST, event);
    case 2:
        return z->base.deaf ? 0 : receive_from(z, z->sub, HM_CH_PUBLISHED, event);
    default:
        heed_dial(z, which - 3);
        return z->peer[which - 3].dealer
                   ? receive_from(z, z->peer[which - 3].dealer, HM_CH_ANSWER, event)
                   : 0;
    }
}

/* Reads one socket until it is empty, then goes to the next; done when a whole round found nothing.
 */
static int receive(struct hm_env *env, struct hm_event *event)
{
    struct zmq_env *z = of(env);
    const unsigned n = 3 + z->n_slots;
    for (unsigned empty = 0; empty < n;) {
        int got = receive_one(z, z->turn, event);
        if (got > 0)
            return 1;
        if (got < 0) {
            empty = 0;
            continue;
        }
        z->turn = (z->turn + 1) % n;
        empty++;
    }
    return 0;
}

static void wait_until(struct hm_env *env, uint64_t until_us)
{
    struct zmq_env *z = of(env);
    /* An absolute timer: zmq_poll's own time-out counts in milliseconds, flushes in fractions of
     * one. */
    uint64_t at = until_us ? until_us : 1;
    struct itimerspec when = {.it_value = {(time_t)(at / 1000000), (long)(at % 1000000) * 1000}};
    timerfd_settime(z->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    const zmq_pollitem_t always[] = {
        {NULL, z->timer_fd, ZMQ_POLLIN, 0}, {NULL, z->wake_fd, ZMQ_POLLIN, 0},
        {z->xpub, 0, ZMQ_POLLIN, 0},        {z->router, 0, ZMQ_POLLIN, 0},
        {z->sub, 0, ZMQ_POLLIN, 0},
    };
    enum { N_ALWAYS = sizeof always / sizeof always[0] };
    zmq_pollitem_t item[N_ALWAYS + 2 * HM_PEERS_MAX]; /* only those in use are written */
    memcpy(item, always, sizeof always);
    item[2].events = z->base.wants_room ? ZMQ_POLLOUT : item[2].events;
    item[4].events = z->base.deaf ? 0 : item[4].events;
    int n = N_ALWAYS;
    for (unsigned i = 0; i < z->n_slots; i++) {
        if (z->peer[i].dealer)
            item[n++] = (zmq_pollitem_t){z->peer[i].dealer, 0, ZMQ_POLLIN, 0};
        if (z->peer[i].monitor)
            item[n++] = (zmq_pollitem_t){z->peer[i].monitor, 0, ZMQ_POLLIN, 0};
    }
    if (zmq_poll(item, n, -1) < 0 && errno != EINTR)
        assert(!"zmq_poll refused our sockets");
    uint64_t count;
    if (item[1].revents && read(z->wake_fd, &count, sizeof count) < 0)
        assert(errno == EAGAIN || errno == EINTR);
}

static void wake(struct hm_env *env)
{
    uint64_t one = 1;
    ssize_t n = write(of(env)->wake_fd, &one, sizeof one);
    (void)n; /* only full when it is already awake */
}

/* ---- the doorkeeper ---- */

enum { ZAP_FRAMES = 7, ZAP_FRAME_MAX = 255 };

struct zap_frame {
    uint8_t bytes[ZAP_FRAME_MAX + 1]; /* NUL-terminated */
    size_t n;
};

/* Reads version, request id, domain, address, identity, mechanism, credentials. Returns 0 when no
 * question is there; *whole says whether it has this form. */
static int read_question(void *zap, struct zap_frame frame[ZAP_FRAMES], int *whole)
{
    int n = zmq_recv(zap, frame[0].bytes, ZAP_FRAME_MAX, ZMQ_DONTWAIT);
    if (n < 0)
        return 0;
    *whole = 1;
    for (int i = 0;; i++) {
        *whole &= n >= 0 && n <= ZAP_FRAME_MAX;
        frame[i].n = *whole ? (size_t)n : 0;
        frame[i].bytes[frame[i].n] = 0;
        if (!more(zap) || i + 1 == ZAP_FRAMES) {
            *whole &= i + 1 == ZAP_FRAMES && !more(zap);
            skip_rest(zap);
            return 1;
        }
        n = zmq_recv(zap, frame[i + 1].bytes, ZAP_FRAME_MAX, 0);
    }
}

/* In is who proves the key that we listen with. (Whoever asks has opened our greeting with it, so
 * this catches those who know its public half alone.) */
static int lets_in(const struct zmq_env *z, const struct zap_frame frame[ZAP_FRAMES])
{
    return strcmp((const char *)frame[0].bytes, "1.0") == 0 &&
           strcmp((const char *)frame[5].bytes, "CURVE") == 0 && frame[6].n == HM_KEY_BYTES &&
           memcmp(frame[6].bytes, z->keys.key[0].client_public, HM_KEY_BYTES) == 0;
}

static void answer_zap(struct zmq_env *z)
{
    struct zap_frame frame[ZAP_FRAMES];
    int whole;
    while (read_question(z->door.zap, frame, &whole)) {
        int in = whole && lets_in(z, frame);
        zmq_send(z->door.zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(z->door.zap, frame[1].bytes, frame[1].n, ZMQ_SNDMORE);
        zmq_send(z->door.zap, in ? "200" : "400", 3, ZMQ_SNDMORE);
        zmq_send(z->door.zap, in ? "OK" : "not a key of this mesh", in ? 2 : 22, ZMQ_SNDMORE);
        zmq_send(z->door.zap, "", 0, ZMQ_SNDMORE); /* user */
        zmq_send(z->door.zap, "", 0, 0);           /* metadata */
        if (in)
            continue;
        pthread_mutex_lock(&z->door.mutex);
        hm_strangers_refused(&z->door.strangers, (const char *)frame[3].bytes, HM_REFUSED_KEY);
        pthread_mutex_unlock(&z->door.mutex);
    }
}

/* Who is at the other end of a connection that libzmq accepted. It may be closed already, then
 * nobody knows. */
static void address_of(int fd, char *out, size_t room)
{
    struct sockaddr_in peer;
    socklen_t n = sizeof peer;
    out[0] = 0;
    if (getpeername(fd, (struct sockaddr *)(void *)&peer, &n) == 0 && peer.sin_family == AF_INET)
        inet_ntop(AF_INET, &peer.sin_addr, out, (socklen_t)room);
}

static enum hm_refusal refusal_of(unsigned event, uint32_t value)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        return HM_BROKE_OFF;
    return value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH ? HM_REFUSED_PLAIN
           : value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC    ? HM_REFUSED_KEY
                                                               : HM_REFUSED_GARBAGE;
}

static void heed_listener(struct zmq_env *z, unsigned listener)
{
    struct hm_strangers *strangers = &z->door.strangers;
    unsigned event;
    uint32_t value;
    while (read_monitor(z->door.monitor[listener], &event, &value)) {
        uint64_t now = now_us(&z->base);
        char address[HM_STRANGER_ADDRESS + 1];
        if (event == ZMQ_EVENT_ACCEPTED)
            address_of((int)value, address, sizeof address);
        pthread_mutex_lock(&z->door.mutex);
        if (event == ZMQ_EVENT_ACCEPTED)
            hm_strangers_accepted(strangers, listener, (int)value, address, now);
        else if (event == ZMQ_EVENT_DISCONNECTED)
            hm_strangers_disconnected(strangers, listener, (int)value, now);
        else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED || event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
            hm_strangers_succeeded(strangers, listener); /* of AUTH, answer_zap has told already */
        else
            hm_strangers_failed(strangers, listener, refusal_of(event, value));
        pthread_mutex_unlock(&z->door.mutex);
    }
}

/* Moves lines to where the driver takes them; what has no room is said later. Returns how many
 * there are. */
static unsigned write_lines(struct zmq_env *z)
{
    struct doorkeeper *door = &z->door;
    pthread_mutex_lock(&door->mutex);
    while (door->n_lines < LINES_MAX &&
           hm_strangers_line(&door->strangers, now_us(&z->base), door->line[door->n_lines]))
        door->n_lines++;
    unsigned n = door->n_lines;
    pthread_mutex_unlock(&door->mutex);
    return n;
}

static void *keep_door(void *env)
{
    struct zmq_env *z = env;
    struct doorkeeper *door = &z->door;
    zmq_pollitem_t item[] = {{NULL, door->end_fd, ZMQ_POLLIN, 0},
                             {door->zap, 0, ZMQ_POLLIN, 0},
                             {door->monitor[0], 0, ZMQ_POLLIN, 0},
                             {door->monitor[1], 0, ZMQ_POLLIN, 0}};
    while (!item[0].revents) {
        zmq_poll(item, 4, 1000); /* ends by itself too: for lines that were not due before */
        answer_zap(z);
        for (unsigned l = 0; l < HM_LISTENERS; l++)
            heed_listener(z, l);
        if (write_lines(z))
            z->base.ops->wake(&z->base);
    }
    zmq_close(door->zap);
    for (unsigned l = 0; l < HM_LISTENERS; l++)
        zmq_close(door->monitor[l]);
    return NULL;
}

static int note(struct hm_env *env, char text[HM_NOTE_MAX + 1])
{
    struct doorkeeper *door = &of(env)->door;
    pthread_mutex_lock(&door->mutex);
    int any = door->n_lines > 0;
    if (any) {
        snprintf(text, HM_NOTE_MAX + 1, "%s", door->line[0]);
        memmove(door->line[0], door->line[1], --door->n_lines * sizeof door->line[0]);
    }
    pthread_mutex_unlock(&door->mutex);
    return any;
}

static void refusals(struct hm_env *env, uint64_t *n)
{
    struct doorkeeper *door = &of(env)->door;
    pthread_mutex_lock(&door->mutex);
    memcpy(n, door->strangers.n, sizeof door->strangers.n);
    pthread_mutex_unlock(&door->mutex);
}

/* Before anything is bound: as long as nobody answers at zap_endpoint, libzmq lets everybody in. */
static enum hm_status open_door(struct zmq_env *z, struct hm_err *err)
{
    struct doorkeeper *door = &z->door;
    void *listener[HM_LISTENERS] = {z->router, z->xpub};
    for (unsigned l = 0; l < HM_LISTENERS; l++) {
        set(listener[l], ZMQ_CURVE_SERVER, 1);
        zmq_setsockopt(listener[l], ZMQ_CURVE_SECRETKEY, z->keys.key[0].server_secret,
                       HM_KEY_BYTES);
        zmq_setsockopt(listener[l], ZMQ_ZAP_DOMAIN, zap_domain, sizeof zap_domain - 1);
        door->monitor[l] = begin_monitor(z, listener[l], LISTENER_EVENTS);
    }
    door->zap = zmq_socket(z->context, ZMQ_REP);
    door->end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!door->monitor[0] || !door->monitor[1] || !door->zap || door->end_fd < 0 ||
        zmq_bind(door->zap, zap_endpoint) != 0)
        return hm_fail(err, HM_EIO, "cannot open sockets: %s (see ulimit -n)", zmq_strerror(errno));
    set(door->zap, ZMQ_LINGER, 0);
    door->started = pthread_create(&door->thread, NULL, keep_door, z) == 0;
    return door->started ? HM_OK : hm_fail(err, HM_EIO, "cannot start a thread");
}

/* While the doorkeeper still reads: a monitor without a reader stops libzmq. */
static void end_listener_monitors(struct zmq_env *z)
{
    if (z->door.monitor[0])
        zmq_socket_monitor(z->router, NULL, 0);
    if (z->door.monitor[1])
        zmq_socket_monitor(z->xpub, NULL, 0);
}

/* When no listener is open any more. */
static void close_door(struct zmq_env *z)
{
    struct doorkeeper *door = &z->door;
    uint64_t one = 1;
    if (door->started) {
        ssize_t n = write(door->end_fd, &one, sizeof one);
        (void)n;
        pthread_join(door->thread, NULL);
    } else {
        void *own[] = {door->zap, door->monitor[0], door->monitor[1]};
        for (unsigned i = 0; i < 3; i++)
            if (own[i])
                zmq_close(own[i]);
    }
    if (door->end_fd >= 0)
        close(door->end_fd);
    pthread_mutex_destroy(&door->mutex);
}

/* ---- addresses ---- */

enum hm_status hm_endpoint_parse(const char *text, char *endpoint, struct hm_err *err)
{
    const char *host = strncmp(text, "tcp://", 6) == 0 ? text + 6 : text;
    const char *colon = strrchr(host, ':');
    char *end;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    if (colon && memchr(host, ':', (size_t)(colon - host)))
        return hm_fail(err, HM_EUSAGE,
                       "'%.100s' is an address of IPv6, or none; nodes speak IPv4: give an address "
                       "such as 192.168.1.7:7000, or a name that has one",
                       text);
    if (!colon || colon == host || !colon[1] || *end || port < 0 || port > 65535 ||
        strlen(host) > HM_ENDPOINT_MAX - 6)
        return hm_fail(err, HM_EUSAGE,
                       "'%.100s' is not an address; expected HOST:PORT, such as 192.168.1.7:7000",
                       text);
    snprintf(endpoint, HM_ENDPOINT_MAX + 1, "tcp://%s", host);
    return HM_OK;
}

static int first_address(char *out, size_t room)
{
    struct ifaddrs *all;
    int found = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (struct ifaddrs *a = all; a && !found; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && (a->ifa_flags & IFF_UP) &&
            !(a->ifa_flags & IFF_LOOPBACK))
            found = inet_ntop(AF_INET,
                              &((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr,
                              out, (socklen_t)room) != NULL;
    freeifaddrs(all);
    return found;
}

static enum hm_status bind_socket(void *socket, const char *endpoint, struct hm_err *err)
{
    if (zmq_bind(socket, endpoint) == 0)
        return HM_OK;
    int e = errno;
    if (e == EADDRINUSE)
        return hm_fail(err, HM_EIO,
                       "%s is in use by another process; choose another with --bind HOST:PORT, or "
                       "port 0 for any",
                       endpoint + 6);
    if (e == EADDRNOTAVAIL || e == ENODEV)
        return hm_fail(
            err, HM_EIO,
            "%s is not an address of this machine; see 'ip addr', or use --bind 0.0.0.0:PORT",
            endpoint + 6);
    return hm_fail(err, HM_EIO, "cannot bind %s: %s", endpoint + 6, zmq_strerror(e));
}

/* The bound endpoint with the host that peers shall dial. */
static enum hm_status advertised(void *socket, const char *advertise, char *out, struct hm_err *err)
{
    char bound[256];
    size_t n = sizeof bound;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &n);
    const char *port = strrchr(bound, ':') + 1;
    char host[HM_ENDPOINT_MAX + 1];
    snprintf(host, sizeof host, "%.*s", (int)(port - 1 - (bound + 6)), bound + 6);
    if (advertise)
        snprintf(host, sizeof host, "%s", advertise);
    else if (strcmp(host, "0.0.0.0") == 0 && !first_address(host, sizeof host))
        return hm_fail(
            err, HM_EIO,
            "this machine has no network address to advertise; give one with --advertise HOST");
    if ((size_t)snprintf(out, HM_ENDPOINT_MAX + 1, "tcp://%s:%s", host, port) > HM_ENDPOINT_MAX)
        return hm_fail(err, HM_EUSAGE, "the address to advertise is longer than %d bytes",
                       HM_ENDPOINT_MAX);
    return HM_OK;
}

enum hm_status hm_env_refuse_clear(struct hm_err *err, const char *flag, const char *text)
{
    return hm_fail(
        err, HM_EUSAGE,
        "%s %.100s reaches beyond this host and there is no key, so traffic would be in "
        "clear: make a key with 'hogmesh keygen mesh.key', copy it to all nodes and start "
        "them with --key mesh.key (or, on a network that you trust, add --insecure)",
        flag, text);
}

/* Without a key nobody beyond this host is to be reached, whatever way leads there. */
static enum hm_status check_beyond(const struct zmq_env *z, const char *flag, const char *text,
                                   const char *endpoint, struct hm_err *err)
{
    if (z->keys.n || z->insecure || hm_endpoint_is_loopback(endpoint))
        return HM_OK;
    return hm_env_refuse_clear(err, flag, text);
}

static enum hm_status bind_both(struct zmq_env *z, const char *bind, const char *advertise,
                                struct hm_err *err)
{
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 8], host[HM_ENDPOINT_MAX + 1] = "";
    enum hm_status status = hm_endpoint_parse(bind, rpc, err);
    if (status)
        return hm_context(err, status, "--bind");
    if ((status = check_beyond(z, "--bind", bind, rpc, err)))
        return status;
    char *colon = strrchr(rpc, ':');
    int port = atoi(colon + 1), advertised_port = 0;
    if (port)
        snprintf(pub, sizeof pub, "%.*s:%d", (int)(colon - rpc), rpc, port + 1);
    else
        snprintf(pub, sizeof pub, "%.*s:*", (int)(colon - rpc), rpc);
    if (!port)
        snprintf(rpc, sizeof rpc, "%.*s:*", (int)(strrchr(pub, ':') - pub), pub);
    if ((status = bind_socket(z->router, rpc, err)) || (status = bind_socket(z->xpub, pub, err)))
        return status;
    if (advertise) {
        snprintf(host, sizeof host, "%s", advertise);
        char *port_text = strrchr(host, ':');
        if (port_text) {
            advertised_port = atoi(port_text + 1);
            *port_text = 0;
        }
    }
    if ((status = advertised(z->router, advertise ? host : NULL, z->base.rpc, err)) ||
        (status = advertised(z->xpub, advertise ? host : NULL, z->base.pub, err)))
        return status;
    if (advertise && (status = check_beyond(z, "--advertise", advertise, z->base.rpc, err)))
        return status;
    if (advertised_port) { /* behind a forwarded pair of ports */
        snprintf(z->base.rpc, sizeof z->base.rpc, "tcp://%.100s:%d", host, advertised_port);
        snprintf(z->base.pub, sizeof z->base.pub, "tcp://%.100s:%d", host, advertised_port + 1);
    }
    return HM_OK;
}

/* ---- life ---- */

static void close_env(struct hm_env *env, int linger_ms)
{
    struct zmq_env *z = of(env);
    for (unsigned i = 0; i < z->n_slots; i++) {
        end_dial_monitor(&z->peer[i]);
        if (z->peer[i].dealer && z->kind == HM_ENV_TRAINER) /* it holds a goodbye */
            set(z->peer[i].dealer, ZMQ_LINGER, linger_ms);
        if (z->peer[i].dealer)
            zmq_close(z->peer[i].dealer);
    }
    end_listener_monitors(z);
    /* Only the publisher lingers: it holds our LEAVE. A request to a peer that has gone would be
     * waited for in vain. */
    if (z->xpub)
        set(z->xpub, ZMQ_LINGER, linger_ms);
    void *rest[] = {z->xpub, z->router, z->sub};
    for (unsigned i = 0; i < 3; i++)
        if (rest[i])
            zmq_close(rest[i]);
    close_door(z);
    zmq_msg_close(&z->letter);
    zmq_msg_close(&z->route);
    hm_blob_drop(z->payload);
    if (z->context)
        zmq_ctx_term(z->context);
    if (z->timer_fd >= 0)
        close(z->timer_fd);
    if (z->wake_fd >= 0)
        close(z->wake_fd);
    hm_keys_wipe(&z->keys);
    free(z);
}

static const struct hm_env_ops zmq_ops = {.now_us = now_us,
                                          .processor_us = processor_us,
                                          .carry_out = carry_out,
                                          .receive = receive,
                                          .wait = wait_until,
                                          .wake = wake,
                                          .close = close_env,
                                          .note = note,
                                          .refusals = refusals};

static enum hm_status open_sockets(struct zmq_env *z, struct hm_err *err)
{
    z->context = zmq_ctx_new();
    const int feeds = z->kind == HM_ENV_FEEDER, is_fed = z->kind == HM_ENV_TRAINER;
    z->xpub = z->context ? open_socket(z, feeds ? ZMQ_PUSH : ZMQ_XPUB, feeds ? HM_FEED_QUEUE : HWM)
                         : NULL;
    z->sub = z->context ? open_socket(z, is_fed ? ZMQ_PULL : ZMQ_SUB, HWM) : NULL;
    z->router = z->context ? open_socket(z, ZMQ_ROUTER, HWM) : NULL;
    z->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    z->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!z->xpub || !z->sub || !z->router || z->timer_fd < 0 || z->wake_fd < 0)
        return hm_fail(err, HM_EIO, "cannot open sockets: %s (see ulimit -n)", zmq_strerror(errno));
    if (feeds)
        set(z->xpub, ZMQ_SNDBUF, HM_FEED_SYSTEM_BYTES);
    else
        set(z->xpub, ZMQ_XPUB_VERBOSE,
            1); /* a repeated subscription shows too: it is answered by a beat */
    set(z->router, ZMQ_ROUTER_MANDATORY, 1);
    set(z->router, ZMQ_ROUTER_HANDOVER, 1); /* a peer that re-dials keeps its name */
    if (is_fed) {
        set(z->sub, ZMQ_RCVHWM, HM_FEED_QUEUE);
        set(z->sub, ZMQ_RCVBUF, HM_FEED_SYSTEM_BYTES);
    } else
        zmq_setsockopt(z->sub, ZMQ_SUBSCRIBE, "", 0);
    return HM_OK;
}

enum hm_status hm_env_zmq_open(struct hm_env **env, const struct hm_env_zmq_options *options,
                               struct hm_err *err)
{
    struct zmq_env *z = calloc(1, sizeof *z);
    if (!z)
        return hm_fail(err, HM_ENOMEM, "no memory for sockets");
    z->base.ops = &zmq_ops;
    z->timer_fd = z->wake_fd = z->door.end_fd = -1;
    z->insecure = options->insecure;
    z->kind = options->kind;
    if (options->keys)
        z->keys = *options->keys;
    pthread_mutex_init(&z->door.mutex, NULL);
    /* A little less than the limit: we hear of a connection after it has begun. */
    hm_strangers_init(&z->door.strangers, (uint64_t)HANDSHAKE_MS * 900);
    zmq_msg_init(&z->letter);
    zmq_msg_init(&z->route);
    z->routing_id[0] = 'n';
    for (int i = 0; i < 8; i++)
        z->routing_id[1 + i] = (uint8_t)(options->life >> (8 * i));
    enum hm_status status = open_sockets(z, err);
    if (!status && z->keys.n && z->kind != HM_ENV_TRAINER)
        status = open_door(z, err);
    if (!status && z->kind != HM_ENV_TRAINER)
        status = bind_both(z, options->bind, options->advertise, err);
    if (status) {
        close_env(&z->base, 0);
        return status;
    }
    *env = &z->base;
    return HM_OK;
}
