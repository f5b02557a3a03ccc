#include "node/discover.h"

#include "node/env.h"
#include "protocol/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CALL_SEARCHING_US = 200000,
    CALL_US = 1000000,
    DATAGRAMS_A_TURN = 32, /* what floods the port waits in the system's queue, or is lost there */
    POINT_AGAIN_US = 5000000, /* the same node */
    FORGET_US = 20000000,     /* who has not called for so long */
    CLASHES_TOLD = 8,         /* whoever invents nodes fills no log with them */
};

struct neighbour {
    struct hm_announcement a;
    uint64_t heard_us, pointed_us;
    int told; /* that it cannot be had in this mesh, or that it has the same name */
};

struct hm_discover {
    int fd;
    uint16_t port; /* of this host's order */
    struct hm_announcement self;
    struct hm_announce_keys keys;
    int insecure, clone_told, full_told, forged_told, workload_told, clashes;
    uint64_t call_us; /* when to call out next */
    struct neighbour neighbour[HM_DISCOVER_MAX];
    unsigned n;
    void (*note)(void *context, enum hm_note_level level, const char *text);
    void *context;
};

__attribute__((format(printf, 3, 4))) static void
say(const struct hm_discover *d, enum hm_note_level level, const char *format, ...)
{
    char text[HM_NOTE_MAX + 1];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    d->note(d->context, level, text);
}

/* ---- opening ---- */

static enum hm_status parse(struct hm_discover *d, const char *where, struct hm_err *err)
{
    const char *colon = strchr(where, ':');
    size_t n = colon ? (size_t)(colon - where) : strlen(where);
    char *end = "";
    long port = colon ? strtol(colon + 1, &end, 10) : HM_DISCOVER_PORT;
    if (n > HM_LABEL_MAX || !hm_label_ok(where, n) || *end || port < 1 || port > 65535)
        return hm_fail(err, HM_EUSAGE,
                       "--discover '%.60s': expected NAME or NAME:PORT, the name of the mesh (1 to "
                       "%d printable characters without spaces, quotes and colons) and a UDP port",
                       where, HM_LABEL_MAX);
    memcpy(d->self.mesh, where, n);
    d->port = (uint16_t)port;
    return HM_OK;
}

/* Several nodes of one host listen at the same port; a broadcast reaches all of them. */
static enum hm_status open_socket(struct hm_discover *d, struct hm_err *err)
{
    const int on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(d->port)};
    d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0 || setsockopt(d->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        setsockopt(d->fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) ||
        bind(d->fd, (const struct sockaddr *)(const void *)&any, sizeof any))
        return hm_fail(err, HM_EIO,
                       "--discover: UDP port %u cannot be had: %s; choose another, the same on all "
                       "nodes, by --discover NAME:PORT",
                       d->port, strerror(errno));
    return HM_OK;
}

enum hm_status hm_discover_open(struct hm_discover **out, const struct hm_discover_options *o,
                                struct hm_err *err)
{
    *out = NULL;
    struct hm_discover *d = calloc(1, sizeof *d);
    if (!d)
        return hm_fail(err, HM_ENOMEM, "no memory to discover peers");
    d->fd = -1;
    d->insecure = o->insecure;
    d->note = o->note;
    d->context = o->context;
    d->self.life = o->life;
    snprintf(d->self.workload, sizeof d->self.workload, "%s", o->workload);
    snprintf(d->self.label, sizeof d->self.label, "%s", o->label);
    snprintf(d->self.rpc, sizeof d->self.rpc, "%s", o->rpc);
    snprintf(d->self.pub, sizeof d->self.pub, "%s", o->pub);
    if (o->keys)
        hm_announce_keys_of(&d->keys, o->keys);
    enum hm_status status = parse(d, o->where, err);
    if (!status)
        status = open_socket(d, err);
    if (status)
        hm_discover_close(d);
    else
        *out = d;
    return status;
}

void hm_discover_close(struct hm_discover *d)
{
    if (!d)
        return;
    if (d->fd >= 0)
        close(d->fd);
    sodium_memzero(&d->keys, sizeof d->keys);
    free(d);
}

/* ---- calling out ---- */

static void send_to(const struct hm_discover *d, uint32_t address, const uint8_t *bytes, size_t n)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(d->port)};
    to.sin_addr.s_addr = address;
    /* An interface that is down, or a full queue: the next call may get through. */
    (void)!sendto(d->fd, bytes, n, MSG_NOSIGNAL, (const struct sockaddr *)(const void *)&to,
                  sizeof to);
}

static uint32_t ipv4(const struct sockaddr *address)
{
    return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
}

/* By every interface, each time anew: they come and go. Who is reached on this host alone calls
 * nobody beyond it. */
static void call_out(const struct hm_discover *d)
{
    uint8_t bytes[HM_ANNOUNCE_MAX];
    size_t n = hm_announce_encode(&d->self, &d->keys, bytes);
    struct ifaddrs *all;
    send_to(d, htonl(0x7fffffff), bytes, n); /* 127.255.255.255: the nodes of this host */
    if (hm_endpoint_is_loopback(d->self.rpc) || getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *a = all; a; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && a->ifa_netmask &&
            (a->ifa_flags & IFF_UP) && (a->ifa_flags & IFF_BROADCAST))
            send_to(d, ipv4(a->ifa_addr) | ~ipv4(a->ifa_netmask), bytes, n);
    freeifaddrs(all);
}

/* ---- hearing ---- */

static struct neighbour *place_of(struct hm_discover *d, uint64_t life, uint64_t now_us)
{
    for (unsigned i = 0; i < d->n; i++)
        if (d->neighbour[i].a.life == life)
            return &d->neighbour[i];
    for (unsigned i = 0; i < d->n; i++)
        if (now_us - d->neighbour[i].heard_us > FORGET_US) {
            d->neighbour[i] = (struct neighbour){0};
            return &d->neighbour[i];
        }
    return d->n < HM_DISCOVER_MAX ? &d->neighbour[d->n++] : NULL;
}

/* Machines are copied with all that is on them, running programs too. */
static void meet_clone(struct hm_discover *d, const struct hm_announcement *a)
{
    if (strcmp(a->rpc, d->self.rpc) == 0 || d->clone_told)
        return; /* the own call */
    d->clone_told = 1;
    say(d, HM_NOTE_ERROR,
        "discovery: node %s at %s goes by the same number as this one: was the machine copied "
        "while "
        "the program ran? Start one of the two anew",
        a->label, a->rpc + 6);
}

/* Whether one more node that is at odds with this one is reported. */
static int tell_clash(struct hm_discover *d)
{
    if (d->clashes++ == CLASHES_TOLD)
        say(d, HM_NOTE_WARNING, "discovery: more such nodes call here; they are not reported");
    return d->clashes <= CLASHES_TOLD;
}

static void keep(struct hm_discover *d, const struct hm_announcement *a, uint64_t now_us)
{
    struct neighbour *one = place_of(d, a->life, now_us);
    if (!one) {
        if (!d->full_told++)
            say(d, HM_NOTE_WARNING,
                "discovery: more than %d nodes call here; the others are not listened to",
                HM_DISCOVER_MAX);
        return;
    }
    int is_new = !one->heard_us;
    one->a = *a;
    one->heard_us = now_us;
    if (is_new && strcmp(a->label, d->self.label) == 0 && tell_clash(d))
        say(d, HM_NOTE_WARNING,
            "discovery: the node at %s is called %s, too; --label gives each a name of its own",
            a->rpc + 6, a->label);
}

/* Two meshes of the same name that are not one, and never will be. */
static void tell_apart(struct hm_discover *d)
{
    for (unsigned i = 0; i < d->n && d->self.fingerprint; i++) {
        struct neighbour *one = &d->neighbour[i];
        if (one->told || !one->a.fingerprint || one->a.fingerprint == d->self.fingerprint)
            continue;
        one->told = 1;
        if (!tell_clash(d))
            continue;
        say(d, HM_NOTE_WARNING,
            "discovery: node %s at %s is of another mesh that is called %s, too, with another "
            "configuration: they stay apart. To have one, stop one of them and start it again, or "
            "give it another name",
            one->a.label, one->a.rpc + 6, d->self.mesh);
    }
}

static void hear(struct hm_discover *d, const uint8_t *bytes, size_t n, uint64_t now_us)
{
    struct hm_announcement a;
    switch (hm_announce_decode(bytes, n, &d->keys, &a)) {
    case HM_ANNOUNCE_FOREIGN:
        return;
    case HM_ANNOUNCE_FORGED:
        if (!d->forged_told++)
            say(d, HM_NOTE_WARNING,
                "discovery: somebody calls here who does not hold this node's key (or calls with "
                "one, where this node has none); not listened to");
        return;
    case HM_ANNOUNCE_OK:
        break;
    }
    if (strcmp(a.mesh, d->self.mesh) != 0 || strncmp(a.rpc, "tcp://", 6) != 0)
        return;
    if (!d->keys.n && !d->insecure && !hm_endpoint_is_loopback(a.rpc))
        return;
    if (a.life == d->self.life) {
        meet_clone(d, &a);
    } else if (strcmp(a.workload, d->self.workload) != 0) {
        if (!d->workload_told++)
            say(d, HM_NOTE_WARNING,
                "discovery: node %s at %s trains %s under the name %s, this node %s; give one of "
                "them another name",
                a.label, a.rpc + 6, a.workload, d->self.mesh, d->self.workload);
    } else if (strcmp(a.rpc, d->self.rpc) != 0) { /* else a former life of this node */
        keep(d, &a, now_us);
    }
}

void hm_discover_turn(struct hm_discover *d, uint64_t now_us, uint64_t fingerprint)
{
    uint8_t bytes[HM_ANNOUNCE_MAX + 1]; /* one more shows what is too long */
    if (fingerprint != d->self.fingerprint) {
        d->self.fingerprint = fingerprint;
        d->call_us = 0;
    }
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        ssize_t n = recv(d->fd, bytes, sizeof bytes, 0);
        if (n < 0)
            break;
        hear(d, bytes, (size_t)n, now_us);
    }
    tell_apart(d);
    if (now_us < d->call_us)
        return;
    d->call_us = now_us + (fingerprint ? CALL_US : CALL_SEARCHING_US);
    call_out(d);
}

void hm_discover_wait(struct hm_discover *d, int ms)
{
    struct pollfd poller = {.fd = d->fd, .events = POLLIN};
    poll(&poller, 1, ms);
}

/* ---- whom to ask, whom to dial ---- */

int hm_discover_has_mesh(const struct hm_discover *d)
{
    for (unsigned i = 0; i < d->n; i++)
        if (d->neighbour[i].a.fingerprint)
            return 1;
    return 0;
}

unsigned hm_discover_seeds(const struct hm_discover *d, const char **peer, unsigned room)
{
    unsigned n = 0;
    int has_mesh = hm_discover_has_mesh(d), lowest = 1;
    for (unsigned i = 0; i < d->n; i++)
        lowest &= d->self.life < d->neighbour[i].a.life;
    for (unsigned i = 0; i < d->n && n < room && (has_mesh || !lowest); i++)
        if (!has_mesh || d->neighbour[i].a.fingerprint)
            peer[n++] = d->neighbour[i].a.rpc;
    return n;
}

int hm_discover_next(struct hm_discover *d, uint64_t now_us, struct hm_peer_entry *entry)
{
    for (unsigned i = 0; i < d->n; i++) {
        struct neighbour *one = &d->neighbour[i];
        if (one->a.fingerprint != d->self.fingerprint || one->heard_us <= one->pointed_us ||
            (one->pointed_us && now_us - one->pointed_us < POINT_AGAIN_US))
            continue;
        one->pointed_us = now_us;
        *entry = (struct hm_peer_entry){.life = one->a.life};
        memcpy(entry->label, one->a.label, sizeof entry->label);
        memcpy(entry->rpc, one->a.rpc, sizeof entry->rpc);
        memcpy(entry->pub, one->a.pub, sizeof entry->pub);
        return 1;
    }
    return 0;
}
