/* One peer: name, ports, key, version, distance, width of the way, clock; and the way back, where a
 * doctor is at work there too. */
#include "tools/doctor.h"

#include "node/ask.h"
#include "tools/screen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECT_MS = 3000,
    AGAIN_MS = 500,
    ECHOS = 9,
    LARGE = 1 << 20, /* bytes: the largest payload */
    LARGES = 4,      /* a running mesh is not to feel it */
};

static const double ANSWER_SECONDS = 5, SKEW_SECONDS = 1, SLOW_SECONDS = .2, NARROW_BYTES = 5e6;

/* ---- TCP ---- */

struct way {
    char host[256];
    unsigned port;
    struct sockaddr_in address;
    char own[INET_ADDRSTRLEN]; /* our end */
    int segment;               /* bytes of a packet's content that the two ends agreed on */
};

static bool find_host(struct doctor *doctor, const char *peer, struct way *way)
{
    char endpoint[HM_ENDPOINT_MAX + 1];
    struct hm_err err = {""};
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    if (hm_endpoint_parse(peer, endpoint, &err)) {
        doctor_say(doctor, BROKEN, peer, NULL, "%s", err.text);
        return false;
    }
    const char *colon = strrchr(endpoint, ':');
    snprintf(way->host, sizeof way->host, "%.*s", (int)(colon - endpoint - 6), endpoint + 6);
    way->port = (unsigned)atoi(colon + 1);
    int error = getaddrinfo(way->host, NULL, &hints, &found);
    if (error) {
        doctor_say(doctor, BROKEN, peer, "check the spelling, /etc/hosts and DNS, or give a number",
                   "there is no host '%s': %s", way->host, gai_strerror(error));
        return false;
    }
    memcpy(&way->address, found->ai_addr, sizeof way->address);
    freeaddrinfo(found);
    return true;
}

/* 0, or why not. */
static int connect_to(struct way *way, unsigned port)
{
    struct sockaddr_in address = way->address, own;
    socklen_t n = sizeof own, error_n = sizeof(int);
    int error = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    address.sin_port = htons((uint16_t)port);
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS)
        error = errno;
    struct pollfd wait = {fd, POLLOUT, 0};
    if (!error && poll(&wait, 1, CONNECT_MS) == 0)
        error = ETIMEDOUT;
    if (!error)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_n);
    if (!error && getsockname(fd, (struct sockaddr *)(void *)&own, &n) == 0)
        inet_ntop(AF_INET, &own.sin_addr, way->own, sizeof way->own);
    n = sizeof way->segment;
    if (!error)
        getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &way->segment, &n);
    close(fd);
    return error;
}

static bool say_unreachable(struct doctor *doctor, const char *peer, unsigned port, int error)
{
    const char *advice = error == ECONNREFUSED
                             ? "start the node (or the doctor) there with --bind and this port; if "
                               "it runs, it listens elsewhere, or a firewall refuses"
                         : error == ETIMEDOUT
                             ? "a firewall drops it, or the host is down: allow TCP to this port "
                               "and the next one there"
                             : "check cable, address, mask and route (ip addr, ip route get)";
    doctor_say(doctor, BROKEN, peer, advice, "TCP port %u: %s", port, strerror(error));
    return false;
}

/* Who is to be started by hand on the other side is waited for. */
static bool reach(struct doctor *doctor, const char *peer, struct way *way)
{
    double give_up = screen_now() + doctor->wait;
    int error;
    while ((error = connect_to(way, way->port)) != 0 && screen_now() < give_up)
        usleep(AGAIN_MS * 1000);
    if (error)
        return say_unreachable(doctor, peer, way->port, error);
    doctor_say(doctor, FINE, peer, NULL, "TCP port %u takes connections", way->port);
    doctor_interface(doctor, "way there", way->own);
    if (way->segment > 0 && way->segment < 1200)
        doctor_say(doctor, WARNING, peer,
                   "see the MTU of the interfaces at either end (ip link), and of tunnels between",
                   "packets carry %d bytes at most: an MTU on the way is small", way->segment);
    return true;
}

/* A node has two ports; where they are it tells who joins, as here. status NULL: it did not answer,
 * so the second is looked for where --bind PORT puts it. */
static bool reach_announced(struct doctor *doctor, const char *peer, const struct way *way,
                            const json_t *status)
{
    static const char *const name[] = {"address", "publisher"};
    bool all = true;
    for (unsigned i = 0; i < 2; i++) {
        struct way to = *way;
        const char *told =
            json_string_value(json_object_get(json_object_get(status, "node"), name[i]));
        if (told && !find_host(doctor, told, &to))
            return false;
        if (!told)
            to.port = way->port + i;
        int error = connect_to(&to, to.port);
        if (error && told && strcmp(to.host, way->host) != 0) {
            doctor_say(doctor, BROKEN, peer,
                       "start it with --advertise and the address by which others reach it",
                       "it tells others to dial %s, and that is not reached from here: %s", told,
                       strerror(error));
            all = false;
        } else if (error)
            all = say_unreachable(doctor, peer, to.port, error);
        else if (i)
            doctor_say(doctor, FINE, peer, NULL, "so does its publisher's port %u", to.port);
    }
    return all;
}

/* ---- asking ---- */

static void say_version(struct doctor *doctor, const char *peer, struct hm_ask *ask,
                        const struct hm_err *err)
{
    unsigned version = hm_ask_version(ask, 1);
    if (version && version != HM_WIRE_VERSION)
        doctor_say(doctor, BROKEN, peer, "install the same version everywhere",
                   "it speaks version %u of the protocol, this program %d", version,
                   HM_WIRE_VERSION);
    else if (version)
        doctor_say(doctor, WARNING, peer, "install the same version everywhere",
                   "a node of the same protocol that does not answer questions: an older program");
    else
        doctor_say(doctor, BROKEN, peer, NULL, "%s", err->text);
}

static void compare(struct doctor *doctor, const char *peer, const json_t *status)
{
    const json_t *node = json_object_get(status, "node");
    const char *version = json_string_value(json_object_get(status, "version")),
               *fingerprint = json_string_value(json_object_get(node, "fingerprint")),
               *workload = json_string_value(json_object_get(node, "workload")),
               *stage = json_string_value(json_object_get(node, "stage"));
    if (version && strcmp(version, HM_VERSION) != 0)
        doctor_say(doctor, WARNING, peer, "install the same version everywhere",
                   "runs version %s, this is %s; the protocol is the same", version, HM_VERSION);
    if (json_object_get(status, "doctor"))
        doctor_say(doctor, FINE, peer, NULL, "a doctor is at work there");
    else
        doctor_say(doctor, FINE, peer, NULL, "a node that trains %s, stage %s, mesh %s",
                   workload ? workload : "?", stage ? stage : "?", fingerprint ? fingerprint : "?");
}

static void compare_clocks(struct doctor *doctor, const char *peer, const json_t *status,
                           double round_trip)
{
    struct timespec now;
    json_t *there = json_object_get(status, "time");
    clock_gettime(CLOCK_REALTIME, &now);
    if (!json_is_number(there))
        return;
    double skew = json_number_value(there) -
                  ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 - round_trip / 2);
    if (fabs(skew) > SKEW_SECONDS + round_trip)
        doctor_say(doctor, WARNING, peer, "set both by NTP (chrony)",
                   "its clock is %.1f s %s; the mesh does not go by clocks, but logs do",
                   fabs(skew), skew > 0 ? "ahead" : "behind");
    else
        doctor_say(doctor, FINE, peer, NULL, "clocks agree within %.2f s",
                   fmax(fabs(skew), round_trip / 2));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of some questions' times with so much in them; NaN when one is not answered. */
static double ask_often(struct hm_ask *ask, unsigned n, size_t bytes, struct hm_err *err)
{
    double seconds[ECHOS];
    for (unsigned i = 0; i < n; i++)
        if (hm_ask(ask, bytes, ANSWER_SECONDS, NULL, &seconds[i], err))
            return NAN;
    qsort(seconds, n, sizeof seconds[0], by_size);
    return seconds[n / 2];
}

/* Returns whether all questions came through; what got stuck blocks those that follow. */
static bool measure(struct doctor *doctor, const char *peer, struct hm_ask *ask)
{
    struct hm_err err = {""};
    double round_trip = ask_often(ask, ECHOS, 0, &err);
    if (isnan(round_trip)) {
        doctor_say(doctor, WARNING, peer,
                   "see whether the node or its host is overloaded (top there)",
                   "not every question is answered: %s", err.text);
        return false;
    }
    doctor_say(doctor, round_trip > SLOW_SECONDS ? WARNING : FINE, peer,
               round_trip > SLOW_SECONDS ? "staleness grows with it; nodes nearer to each other "
                                           "learn faster"
                                         : NULL,
               "round trip %.2f ms", 1e3 * round_trip);
    double large = ask_often(ask, LARGES, LARGE, &err);
    if (isnan(large)) {
        doctor_say(doctor, BROKEN, peer,
                   "an MTU on the way is smaller than the ends believe: ip link set dev INTERFACE "
                   "mtu 1400 on both, or let ICMP through",
                   "small messages come through, one of a megabyte does not");
        return false;
    }
    double rate = LARGE / fmax(large - round_trip, 1e-6);
    doctor_say(doctor, rate < NARROW_BYTES ? WARNING : FINE, peer,
               rate < NARROW_BYTES ? "give --bandwidth, so that deltas are made to fit" : NULL,
               "about %.0f MB/s to it", rate / 1e6);
    return true;
}

/* ---- the way back ---- */

static const char *reached_there(const json_t *status, const char *own)
{
    return json_string_value(
        json_object_get(json_object_get(json_object_get(status, "doctor"), "reached"), own));
}

static void look_back(struct doctor *doctor, const char *peer, struct hm_ask *ask)
{
    const char *own = doctor_address(doctor);
    double give_up = screen_now() + doctor->wait;
    char result[256] = "";
    bool is_doctor = true;
    while (own && is_doctor && screen_now() < give_up && strcmp(result, "yes") != 0) {
        struct hm_err err;
        json_t *status = NULL;
        if (hm_ask(ask, 0, 1, &status, NULL, &err) == HM_OK) {
            const char *text = reached_there(status, own);
            is_doctor = json_object_get(status, "doctor") != NULL;
            snprintf(result, sizeof result, "%s", text ? text : "");
        }
        json_decref(status);
        if (strcmp(result, "yes") != 0)
            usleep(AGAIN_MS * 1000);
    }
    if (strcmp(result, "yes") == 0)
        doctor_say(doctor, FINE, peer, NULL, "and it reaches this host at %s", own);
    else if (own && is_doctor && !result[0])
        doctor_say(doctor, NOTE, peer, "add --peer with this address to the doctor there",
                   "whether it reaches this host at %s it has not tried", own);
    else if (own && is_doctor)
        doctor_say(doctor, BROKEN, peer,
                   "allow TCP to this port and the next one in this host's firewall; see that the "
                   "address is one that the others reach (--advertise)",
                   "it does not reach this host at %s: %s", own, result);
    else
        doctor_say(doctor, NOTE, peer,
                   "run 'hogmesh doctor' with --bind and --peer on both hosts at the same time, "
                   "before the nodes",
                   "the way back has not been tried");
}

static enum hm_status open_ask(const struct doctor *doctor, const char *peer, struct hm_ask **ask,
                               struct hm_err *err)
{
    return hm_ask_open(ask,
                       &(struct hm_ask_options){.peer = peer,
                                                .key = doctor->cli->node.key,
                                                .insecure = doctor->cli->node.insecure},
                       err);
}

void doctor_peer(struct doctor *doctor, const char *peer)
{
    struct way way = {.port = 0};
    struct hm_err err = {""};
    struct hm_ask *ask = NULL;
    json_t *status = NULL;
    double round_trip = 0;
    doctor_tell(doctor, peer, "being tried");
    if (!find_host(doctor, peer, &way) || !reach(doctor, peer, &way)) {
        doctor_tell(doctor, peer, "no TCP connection");
        return;
    }
    if (open_ask(doctor, peer, &ask, &err)) {
        doctor_say(doctor, BROKEN, peer, NULL, "%s", err.text);
        doctor_tell(doctor, peer, "it was not asked");
        return;
    }
    enum hm_status failed = hm_ask(ask, 0, ANSWER_SECONDS, &status, &round_trip, &err);
    bool reached = reach_announced(doctor, peer, &way, status);
    doctor_tell(doctor, peer,
                failed     ? "no answer (keys and versions?)"
                : !reached ? "no connection to the publisher"
                           : "yes");
    if (failed == HM_ETIMEOUT) /* another version drops what it does not know */
        say_version(doctor, peer, ask, &err);
    else if (failed)
        doctor_say(doctor, BROKEN, peer, NULL, "%s", err.text);
    else {
        compare(doctor, peer, status);
        compare_clocks(doctor, peer, status, round_trip);
        if (!measure(doctor, peer, ask)) {
            hm_ask_close(ask);
            failed = open_ask(doctor, peer, &ask, &err);
        }
        if (!failed)
            look_back(doctor, peer, ask);
    }
    json_decref(status);
    hm_ask_close(ask);
}
