#include "node/greeting.h"

#include "node/env.h"

#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Of a greeting of ZMTP 3: ten bytes of signature, the version, the mechanism. */
enum { VERSION_AT = 10, MECHANISM_AT = 12, GREETING_BYTES = MECHANISM_AT + HM_MECHANISM_MAX };

static int call(const char *endpoint, int timeout_ms)
{
    char host[256];
    const char *at = strncmp(endpoint, "tcp://", 6) == 0 ? endpoint + 6 : "";
    const char *colon = strrchr(at, ':');
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *address;
    struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    if (!colon ||
        (size_t)snprintf(host, sizeof host, "%.*s", (int)(colon - at), at) >= sizeof host ||
        getaddrinfo(host, colon + 1, &hints, &address) != 0)
        return -1;
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0);
    /* The limit for sending holds for connecting too. */
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
                    connect(fd, address->ai_addr, address->ai_addrlen) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(address);
    return fd;
}

int hm_greeting_mechanism(const char *endpoint, char mechanism[HM_MECHANISM_MAX + 1],
                          int timeout_ms)
{
    static const uint8_t ours[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3};
    uint8_t theirs[GREETING_BYTES];
    size_t n = 0;
    int fd = call(endpoint, timeout_ms);
    if (fd < 0)
        return 0;
    ssize_t got = send(fd, ours, sizeof ours, MSG_NOSIGNAL);
    while (got > 0 && n < sizeof theirs) {
        got = recv(fd, theirs + n, sizeof theirs - n, 0);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (n < sizeof theirs || theirs[0] != 0xff || theirs[VERSION_AT] < 3)
        return 0;
    memcpy(mechanism, theirs + MECHANISM_AT, HM_MECHANISM_MAX);
    mechanism[HM_MECHANISM_MAX] = 0;
    return 1;
}

const char *hm_dial_complaint(enum hm_dial dial)
{
    switch (dial) {
    case HM_DIAL_PLAIN_PEER:
        return "speaks without encryption: start it with --key too";
    case HM_DIAL_KEY_WANTED:
        return "wants a key: copy the key file of its mesh here and add --key FILE";
    case HM_DIAL_KEY_REFUSED:
        return "refuses this node's key: its mesh has another one, or this one was revoked; copy "
               "the key file of its mesh here";
    case HM_DIAL_HANGS_UP:
        return "hangs up at once: it may want a key (--key FILE), or be something else";
    default:
        return NULL;
    }
}
