/* A proxy between nodes that does to their connections what networks and strangers do: delay,
 * throttle, stall, reset, and put garbage between messages. One line of stdin is one command,
 * answered by one line of stdout:
 *
 *     node I HOST                         diallers with this address are node I (1 to 64)
 *     listen I HOST PORT THOST TPORT      connections to HOST:PORT go on to THOST:TPORT, which is
 * node I set D T delay MS JITTER_MS          for connections that node D dialled to node T; 0 is
 * any node, also a stranger set D T rate BYTES                  a second, each way; 0: no limit set
 * D T stall none|up|down|both     up: what the dialler sends waits; down: what the dialled one
 * sends set D T refuse 0|1                  new connections are reset do D T reset those that stand
 * are reset do D T garbage up|down N            N random bytes after the present message do D T
 * message up|down N            a message whose frame is well-formed with N random bytes do D T
 * oversize up|down 0           a frame that announces 2^40 bytes do D T truncate up|down N a frame
 * of N bytes that ends after half, and with it the connection do D T flip up|down 0               a
 * flipped bit in the body of the next delta seed N                              of the random bytes
 *     stats
 *
 * "do" answers how many connections it met. Ends at the end of stdin.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    NODES = 65, /* 0: any, or a stranger */
    RING = 1 << 20,
    INJECT_MAX = 1 << 14,
    MARKS = 256,
    LISTENERS = 2 * NODES,
    BURST = 16384,
    GREETING = 64, /* of ZMTP 3, before the first frame */
    FLIP_LEAST = 64,
    FLIP_LAST = 16, /* bytes of the payload, one of which is changed */
    TAIL = 2,       /* bytes of a message behind the payload */
};

enum { UP, DOWN };
enum injection { NOTHING, GARBAGE, MESSAGE, OVERSIZE, TRUNCATE, FLIP };

struct rule {
    uint64_t delay_us, jitter_us, rate;
    unsigned stall; /* bits 1 << UP, 1 << DOWN */
    bool refuse;
};

/* Where in the stream of frames the bytes that were read last stand. */
struct frames {
    uint64_t left; /* of the greeting, the frame's length field, or its body */
    enum { IN_GREETING, AT_FLAGS, IN_LENGTH, IN_BODY } state;
    uint8_t flags;
    uint64_t length;
    uint8_t head[5]; /* of the newest frame, to tell deltas */
    unsigned n_head;
};

struct mark {
    uint64_t due_us;
    size_t n;
};

/* One direction of a connection. */
struct pipe {
    uint8_t *ring; /* [RING], from the first byte on */
    size_t at, n;
    struct mark mark[MARKS]; /* what may leave when; only while there is a delay */
    unsigned mark_at, n_marks;
    uint64_t due_us; /* of the last mark */
    double tokens;
    uint64_t tokens_us;
    struct frames frames;
    enum injection inject;
    size_t inject_n;
    bool end; /* the source has ended, or is to: close when empty */
};

/* What epoll hands back: a side of a link, a listener, or stdin. */
struct source {
    int fd;
    struct link *link; /* NULL: a listener or stdin */
    uint32_t interest;
    unsigned target; /* of a listener */
    struct sockaddr_in to;
};

struct link {
    struct source side[2]; /* [UP]: the dialler, [DOWN]: the dialled */
    unsigned dialler, target;
    bool connecting, dead;
    struct pipe pipe[2];
    struct link *next;
};

static struct {
    int epoll;
    struct rule rule[NODES][NODES];
    struct in_addr address[NODES];
    struct source listener[LISTENERS], input;
    unsigned n_listeners;
    struct link *links;
    bool untidy, timed; /* some links are dead; some bytes wait for their time */
    uint64_t random, accepted, refused, resets, injected, bytes[2], failed;
} self;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t random64(void)
{
    uint64_t x = self.random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- rules: the strictest of those that fit ---- */

static struct rule rule_of(const struct link *link)
{
    struct rule sum = {0};
    const struct rule *fit[] = {&self.rule[0][0], &self.rule[link->dialler][0],
                                &self.rule[0][link->target],
                                &self.rule[link->dialler][link->target]};
    for (unsigned i = 0; i < 4; i++) {
        const struct rule *r = fit[i];
        sum.delay_us = r->delay_us > sum.delay_us ? r->delay_us : sum.delay_us;
        sum.jitter_us = r->jitter_us > sum.jitter_us ? r->jitter_us : sum.jitter_us;
        sum.rate = r->rate && (!sum.rate || r->rate < sum.rate) ? r->rate : sum.rate;
        sum.stall |= r->stall;
        sum.refuse |= r->refuse;
    }
    return sum;
}

/* ---- bytes in ---- */

static void put(struct pipe *pipe, const uint8_t *bytes, size_t n)
{
    if (!pipe->ring && !(pipe->ring = malloc(RING)))
        abort();
    for (size_t done = 0; done < n;) {
        size_t end = (pipe->at + pipe->n) % RING, run = RING - end;
        run = run < n - done ? run : n - done;
        memcpy(pipe->ring + end, bytes + done, run);
        pipe->n += run;
        done += run;
    }
}

static void put_random(struct pipe *pipe, size_t n)
{
    uint8_t bytes[INJECT_MAX];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)random64();
    put(pipe, bytes, n);
}

static void put_frame_head(struct pipe *pipe, uint8_t flags, uint64_t n)
{
    uint8_t head[9] = {(uint8_t)(flags | 2)};
    for (int i = 0; i < 8; i++)
        head[1 + i] = (uint8_t)(n >> (56 - 8 * i));
    put(pipe, head, sizeof head);
}

static void inject(struct pipe *pipe)
{
    size_t n = pipe->inject_n;
    switch (pipe->inject) {
    case GARBAGE:
        put_random(pipe, n);
        break;
    case MESSAGE:
        put_frame_head(pipe, 0, n + TAIL);
        put_random(pipe, n);
        put(pipe, (uint8_t[TAIL]){(uint8_t)(n / 4), (uint8_t)(n / 4 >> 8)}, TAIL);
        break;
    case OVERSIZE:
        put_frame_head(pipe, 0, (uint64_t)1 << 40);
        break;
    case TRUNCATE:
        put_frame_head(pipe, 0, n);
        put_random(pipe, n / 2);
        pipe->end = true;
        break;
    default:
        return;
    }
    pipe->inject = NOTHING;
    self.injected++;
}

static bool between_messages(const struct frames *f)
{
    return f->state == AT_FLAGS && !(f->flags & 1);
}

static void frame_begins(struct frames *f, uint8_t flags)
{
    f->flags = flags;
    f->state = IN_LENGTH;
    f->left = flags & 2 ? 8 : 1;
    f->length = 0;
    f->n_head = 0;
}

static void body_begins(struct frames *f)
{
    f->state = f->length ? IN_BODY : AT_FLAGS;
    f->left = f->length;
}

/* A header is an array of up to 15 (one byte) or more (three) elements: version, type ... */
static bool delta_header(const struct frames *f)
{
    return (f->n_head == 5 && f->head[0] == 0xdc && f->head[4] == 1) ||
           (f->n_head >= 3 && f->head[0] >> 4 == 9 && f->head[2] == 1);
}

/* Follows the stream over some of [n] bytes, at most to the end of what it is in; returns how many.
 */
static size_t follow(struct pipe *pipe, uint8_t *bytes, size_t n)
{
    struct frames *f = &pipe->frames;
    size_t used = f->left < n ? (size_t)f->left : n;
    switch (f->state) {
    case IN_GREETING:
        f->left -= used;
        if (!f->left)
            f->state = AT_FLAGS;
        return used;
    case AT_FLAGS:
        frame_begins(f, bytes[0]);
        return 1;
    case IN_LENGTH:
        f->length = f->length << 8 | bytes[0];
        if (!--f->left)
            body_begins(f);
        return 1;
    default:
        for (size_t i = 0; i < used && f->n_head < sizeof f->head; i++)
            f->head[f->n_head++] = bytes[i];
        f->left -= used;
        if (!f->left) {
            if (pipe->inject == FLIP && delta_header(f) && f->length >= FLIP_LEAST &&
                used > FLIP_LAST + TAIL) {
                bytes[used - TAIL - 1 - random64() % FLIP_LAST] ^= (uint8_t)(1u << random64() % 8);
                pipe->inject = NOTHING;
                self.injected++;
            }
            f->state = AT_FLAGS;
        }
        return used;
    }
}

static void take_in(struct pipe *pipe, uint8_t *bytes, size_t n, const struct rule *rule)
{
    size_t before = pipe->n;
    for (size_t done = 0; done < n && !pipe->end;) {
        if (pipe->inject && pipe->inject != FLIP && between_messages(&pipe->frames))
            inject(pipe);
        size_t used = follow(pipe, bytes + done, n - done);
        put(pipe, bytes + done, used);
        done += used;
    }
    if (pipe->inject && pipe->inject != FLIP && between_messages(&pipe->frames))
        inject(pipe);
    if (!rule->delay_us && !rule->jitter_us && !pipe->n_marks)
        return;
    uint64_t due = now_us() + rule->delay_us + (rule->jitter_us ? random64() % rule->jitter_us : 0);
    pipe->due_us = due > pipe->due_us ? due : pipe->due_us;
    pipe->mark[(pipe->mark_at + pipe->n_marks++) % MARKS] =
        (struct mark){pipe->due_us, pipe->n - before};
    self.timed = true;
}

/* ---- bytes out ---- */

/* How many of the bytes in the ring may leave now. Bytes without a mark came before there was a
 * delay. */
static size_t may_leave(struct pipe *pipe, const struct rule *rule, uint64_t now)
{
    size_t marked = 0, due = 0;
    for (unsigned i = 0; i < pipe->n_marks; i++) {
        const struct mark *m = &pipe->mark[(pipe->mark_at + i) % MARKS];
        marked += m->n;
        due += m->due_us <= now ? m->n : 0;
    }
    size_t n = pipe->n - marked + due;
    if (!rule->rate)
        return n;
    pipe->tokens += (double)(now - pipe->tokens_us) * 1e-6 * (double)rule->rate;
    pipe->tokens = pipe->tokens < BURST ? pipe->tokens : BURST;
    pipe->tokens_us = now;
    return pipe->tokens < 1 ? 0 : pipe->tokens < (double)n ? (size_t)pipe->tokens : n;
}

static void left(struct pipe *pipe, size_t n)
{
    size_t marked = 0;
    for (unsigned i = 0; i < pipe->n_marks; i++)
        marked += pipe->mark[(pipe->mark_at + i) % MARKS].n;
    size_t unmarked = pipe->n - marked, rest = n > unmarked ? n - unmarked : 0;
    while (rest) {
        struct mark *m = &pipe->mark[pipe->mark_at];
        size_t part = m->n < rest ? m->n : rest;
        m->n -= part;
        rest -= part;
        if (!m->n) {
            pipe->mark_at = (pipe->mark_at + 1) % MARKS;
            pipe->n_marks--;
        }
    }
    pipe->n -= n;
    pipe->at =
        pipe->n ? (pipe->at + n) % RING : 0; /* an empty one begins anew: few pages are touched */
    pipe->tokens -= (double)n;
}

/* ---- links ---- */

static void watch(struct source *source, uint32_t interest)
{
    if (source->interest == interest)
        return;
    source->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = source};
    epoll_ctl(self.epoll, EPOLL_CTL_MOD, source->fd, &event);
}

static void add(struct source *source, uint32_t interest)
{
    source->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = source};
    if (epoll_ctl(self.epoll, EPOLL_CTL_ADD, source->fd, &event) != 0)
        abort();
}

static void end(struct link *link, bool reset)
{
    if (link->dead)
        return;
    self.untidy = link->dead = true; /* freed after this round of events: some may still name it */
    for (int side = 0; side < 2; side++) {
        if (link->side[side].fd < 0)
            continue;
        struct linger at_once = {1, 0};
        if (reset)
            setsockopt(link->side[side].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(link->side[side].fd);
        link->side[side].fd = -1;
    }
}

/* Sends what may go and sets what is waited for. `dir` is the direction, its source the side of the
 * same number. */
static void push(struct link *link, int dir)
{
    struct pipe *pipe = &link->pipe[dir];
    struct rule rule = rule_of(link);
    struct source *to = &link->side[!dir];
    if (link->dead || link->connecting)
        return;
    self.timed |= rule.rate && pipe->n;
    while (pipe->n && !(rule.stall & 1u << dir)) {
        size_t n = may_leave(pipe, &rule, now_us()), run = RING - pipe->at;
        n = n < run ? n : run;
        if (!n)
            break;
        ssize_t sent = send(to->fd, pipe->ring + pipe->at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            end(link, true);
            return;
        }
        if (sent <= 0)
            break;
        self.bytes[dir] += (uint64_t)sent;
        left(pipe, (size_t)sent);
    }
    if (pipe->end && !pipe->n)
        end(link, false);
}

static void attend(struct link *link)
{
    if (link->dead)
        return;
    struct rule rule = rule_of(link);
    uint64_t now = now_us();
    for (int side = 0; side < 2; side++) {
        struct pipe *in = &link->pipe[side], *out = &link->pipe[!side];
        bool room = in->n < RING / 2 && in->n_marks < MARKS - 1 && !in->end;
        uint32_t interest = room && !(rule.stall & 1u << side) && !link->connecting ? EPOLLIN : 0;
        bool leaves = out->n && !(rule.stall & 1u << !side) && may_leave(out, &rule, now);
        if ((link->connecting && side == DOWN) || (leaves && !link->connecting))
            interest |= EPOLLOUT;
        watch(&link->side[side], interest);
    }
}

static void hear(struct link *link, int side)
{
    struct pipe *pipe = &link->pipe[side];
    struct rule rule = rule_of(link);
    uint8_t bytes[1 << 16];
    ssize_t n = recv(link->side[side].fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        take_in(pipe, bytes, (size_t)n, &rule);
    else if (n == 0)
        pipe->end = true;
    else if (errno != EAGAIN && errno != EINTR)
        end(link, true);
    push(link, side);
}

static void connected(struct link *link)
{
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(link->side[DOWN].fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        self.failed++;
        end(link, true);
        return;
    }
    link->connecting = false;
    push(link, UP);
}

static void happen(struct source *source, uint32_t events)
{
    struct link *link = source->link;
    int side = source == &link->side[DOWN];
    if (link->dead)
        return;
    if (link->connecting && side == DOWN)
        connected(link);
    else if (events & EPOLLIN)
        hear(link, side);
    else if (events & (EPOLLERR | EPOLLHUP))
        end(link, true);
    else if (events & EPOLLOUT)
        push(link, !side);
    attend(link);
}

/* ---- listeners ---- */

static unsigned node_at(struct in_addr address)
{
    for (unsigned i = 1; i < NODES; i++)
        if (self.address[i].s_addr == address.s_addr && address.s_addr)
            return i;
    return 0;
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void accept_one(const struct source *listener)
{
    struct sockaddr_in from = {0};
    socklen_t n = sizeof from;
    int fd = accept4(listener->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    link->dialler = node_at(from.sin_addr);
    link->target = listener->target;
    link->side[UP] = (struct source){.fd = fd, .link = link};
    link->side[DOWN] = (struct source){.fd = -1, .link = link};
    link->pipe[UP].frames.left = link->pipe[DOWN].frames.left = GREETING;
    link->next = self.links;
    self.links = link;
    if (rule_of(link).refuse) {
        self.refused++;
        end(link, true);
        return;
    }
    self.accepted++;
    link->connecting = true;
    link->side[DOWN].fd = open_socket();
    int rc = link->side[DOWN].fd < 0
                 ? -1
                 : connect(link->side[DOWN].fd, (const struct sockaddr *)&listener->to,
                           sizeof listener->to);
    if (rc != 0 && errno != EINPROGRESS) {
        self.failed++;
        end(link, true);
        return;
    }
    add(&link->side[UP], 0);
    add(&link->side[DOWN], EPOLLOUT);
}

static const char *listen_at(unsigned target, const char *host, int port, const char *to,
                             int to_port)
{
    if (self.n_listeners == LISTENERS)
        return "error too many listeners";
    struct source *source = &self.listener[self.n_listeners];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    source->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)to_port)};
    source->target = target;
    source->fd = open_socket();
    int one = 1;
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1 ||
        inet_pton(AF_INET, to, &source->to.sin_addr) != 1)
        return "error not an IPv4 address";
    setsockopt(source->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(source->fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        listen(source->fd, 256) != 0)
        return "error cannot listen there";
    add(source, EPOLLIN);
    self.n_listeners++;
    return "ok";
}

/* ---- commands ---- */

static bool meets(const struct link *link, unsigned dialler, unsigned target)
{
    return !link->dead && (!dialler || link->dialler == dialler) &&
           (!target || link->target == target);
}

static const char *set_rule(unsigned dialler, unsigned target, const char *what)
{
    struct rule *rule = &self.rule[dialler][target];
    unsigned long long a, b;
    char word[8];
    if (sscanf(what, "delay %llu %llu", &a, &b) == 2) {
        rule->delay_us = a * 1000;
        rule->jitter_us = b * 1000;
    } else if (sscanf(what, "rate %llu", &a) == 1)
        rule->rate = a;
    else if (sscanf(what, "refuse %llu", &a) == 1)
        rule->refuse = a != 0;
    else if (sscanf(what, "stall %7s", word) == 1)
        rule->stall = strcmp(word, "up") == 0     ? 1u << UP
                      : strcmp(word, "down") == 0 ? 1u << DOWN
                      : strcmp(word, "both") == 0 ? 3u
                                                  : 0;
    else
        return "error unknown rule";
    for (struct link *link = self.links; link; link = link->next)
        if (meets(link, dialler, target)) {
            push(link, UP);
            push(link, DOWN);
            attend(link);
        }
    return "ok";
}

static enum injection injection_of(const char *word)
{
    static const char *const name[] = {"", "garbage", "message", "oversize", "truncate", "flip"};
    for (unsigned i = 1; i < sizeof name / sizeof name[0]; i++)
        if (strcmp(word, name[i]) == 0)
            return (enum injection)i;
    return NOTHING;
}

static void strike(struct link *link, int dir, enum injection injection, size_t n)
{
    struct pipe *pipe = &link->pipe[dir];
    if (injection == NOTHING) {
        self.resets++;
        end(link, true);
        return;
    }
    pipe->inject = injection;
    pipe->inject_n = n < INJECT_MAX / 2 ? n : INJECT_MAX / 2;
    uint8_t none[1];
    struct rule rule = rule_of(link);
    take_in(pipe, none, 0, &rule); /* at once when it is quiet */
    push(link, dir);
    attend(link);
}

static void act(unsigned dialler, unsigned target, const char *what, char *answer, size_t room)
{
    char word[16] = "", way[8] = "up";
    unsigned long n = 0, met = 0;
    sscanf(what, "%15s %7s %lu", word, way, &n);
    enum injection injection = injection_of(word);
    if (injection == NOTHING && strcmp(word, "reset") != 0) {
        snprintf(answer, room, "error unknown act");
        return;
    }
    for (struct link *link = self.links; link; link = link->next)
        if (meets(link, dialler, target)) {
            met++;
            strike(link, strcmp(way, "down") == 0 ? DOWN : UP, injection, n);
        }
    snprintf(answer, room, "ok %lu", met);
}

static void tell(char *answer, size_t room)
{
    unsigned n = 0;
    for (struct link *link = self.links; link; link = link->next)
        n += !link->dead;
    snprintf(answer, room,
             "{\"links\": %u, \"accepted\": %llu, \"refused\": %llu, \"failed\": %llu, \"resets\": "
             "%llu, \"injected\": %llu, \"up\": %llu, \"down\": %llu}",
             n, (unsigned long long)self.accepted, (unsigned long long)self.refused,
             (unsigned long long)self.failed, (unsigned long long)self.resets,
             (unsigned long long)self.injected, (unsigned long long)self.bytes[UP],
             (unsigned long long)self.bytes[DOWN]);
}

static void obey(const char *line)
{
    char answer[400] = "error unknown command", host[64], to[64];
    unsigned a, b;
    int port, to_port, at = 0;
    unsigned long long seed;
    if (sscanf(line, "node %u %63s", &a, host) == 2 && a < NODES &&
        inet_pton(AF_INET, host, &self.address[a]) == 1)
        snprintf(answer, sizeof answer, "ok");
    else if (sscanf(line, "listen %u %63s %d %63s %d", &a, host, &port, to, &to_port) == 5 &&
             a < NODES)
        snprintf(answer, sizeof answer, "%s", listen_at(a, host, port, to, to_port));
    else if (sscanf(line, "set %u %u %n", &a, &b, &at) == 2 && at && a < NODES && b < NODES)
        snprintf(answer, sizeof answer, "%s", set_rule(a, b, line + at));
    else if (sscanf(line, "do %u %u %n", &a, &b, &at) == 2 && at && a < NODES && b < NODES)
        act(a, b, line + at, answer, sizeof answer);
    else if (sscanf(line, "seed %llu", &seed) == 1) {
        self.random = seed;
        snprintf(answer, sizeof answer, "ok");
    } else if (strncmp(line, "stats", 5) == 0)
        tell(answer, sizeof answer);
    puts(answer);
    fflush(stdout);
}

/* Returns false at the end of stdin. */
static bool obey_all(void)
{
    static char text[4096];
    static size_t n;
    ssize_t got = read(self.input.fd, text + n, sizeof text - 1 - n);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    n += (size_t)got;
    text[n] = 0;
    for (char *end; (end = memchr(text, '\n', n)) != NULL;) {
        *end = 0;
        obey(text);
        n -= (size_t)(end + 1 - text);
        memmove(text, end + 1, n + 1);
    }
    return n < sizeof text - 1;
}

/* ---- turns ---- */

/* Frees who is dead, sends what has become due; returns how long to wait in ms. */
static int sweep(void)
{
    int wait = -1;
    if (!self.untidy && !self.timed)
        return wait;
    self.untidy = self.timed = false;
    for (struct link **at = &self.links; *at;) {
        struct link *link = *at;
        if (link->dead) {
            *at = link->next;
            free(link->pipe[UP].ring);
            free(link->pipe[DOWN].ring);
            free(link);
            continue;
        }
        struct rule rule = rule_of(link);
        for (int dir = 0; dir < 2; dir++)
            if (link->pipe[dir].n && (link->pipe[dir].n_marks || rule.rate)) {
                push(link, dir);
                attend(link);
                wait = 1;
                self.timed = true;
            }
        at = &link->next;
    }
    return wait;
}

int main(void)
{
    self.epoll = epoll_create1(EPOLL_CLOEXEC);
    self.input.fd = STDIN_FILENO;
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    add(&self.input, EPOLLIN);
    for (;;) {
        struct epoll_event event[256];
        int n = epoll_wait(self.epoll, event, 256, sweep());
        for (int i = 0; i < n; i++) {
            struct source *source = event[i].data.ptr;
            if (source == &self.input) {
                if (!obey_all())
                    return 0;
            } else if (source->link)
                happen(source, event[i].events);
            else
                accept_one(source);
        }
    }
}
