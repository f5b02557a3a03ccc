/* Strangers: whom a node with a key turned away, what they wanted, and what is said of it.
 *
 * libzmq tells of the connections to a listening socket as a stream of events: accepted and
 * disconnected with the file descriptor, the failed or successful handshake between them without
 * one. From these this file works out who was refused. It counts each refusal, and makes at most
 * one line of text for an address within HM_STRANGER_QUIET_US, whatever storm there is.
 *
 * No clock, no sockets: what happens is told. Not thread-safe.
 */
#ifndef HM_NODE_STRANGERS_H
#define HM_NODE_STRANGERS_H

#include <stddef.h>
#include <stdint.h>

enum hm_refusal {
    HM_REFUSED_KEY,     /* a CURVE handshake with a key that we do not hold */
    HM_REFUSED_PLAIN,   /* ZMTP without encryption */
    HM_REFUSED_GARBAGE, /* no ZMTP, or nothing in time */
    HM_BROKE_OFF, /* hung up during the handshake: a node without a key that saw ours first, or a
                     peer that ended; counted, not told */
    HM_REFUSALS
};

enum {
    HM_LISTENERS = 2,
    HM_STRANGER_ADDRESS = 47, /* bytes of an address as text */
    HM_STRANGER_LINE_MAX = 255,
    HM_STRANGER_QUIET_US = 10000000,
    HM_CONNECTIONS_MAX = 256, /* remembered of each listener */
    HM_STRANGERS_MAX = 64,    /* addresses; the rest is told as one */
};

struct hm_strangers {
    uint64_t n[HM_REFUSALS]; /* refused since the start */
    uint64_t handshake_us;   /* so long a handshake may take; set once */
    struct hm_connection {
        int fd; /* -1: free */
        int established;
        uint64_t since_us;
        char address[HM_STRANGER_ADDRESS + 1];
    } connection[HM_LISTENERS][HM_CONNECTIONS_MAX];
    int failed[HM_LISTENERS]; /* 1 + how the handshake failed whose disconnection comes next; 0 */
    struct hm_stranger {
        char address[HM_STRANGER_ADDRESS + 1];
        uint64_t said_us; /* 0: never */
        uint64_t n[HM_REFUSALS];
    } stranger[HM_STRANGERS_MAX + 1]; /* the last: all for whom there was no room */
    unsigned n_strangers;
};

void hm_strangers_init(struct hm_strangers *s, uint64_t handshake_us);

/* What a listener tells. address: as text, "" when it is not known any more. */
void hm_strangers_accepted(struct hm_strangers *s, unsigned listener, int fd, const char *address,
                           uint64_t now_us);
void hm_strangers_succeeded(struct hm_strangers *s, unsigned listener);
/* The disconnection comes next. */
void hm_strangers_failed(struct hm_strangers *s, unsigned listener, enum hm_refusal why);
void hm_strangers_disconnected(struct hm_strangers *s, unsigned listener, int fd, uint64_t now_us);

/* A refusal whose address is known at once. */
void hm_strangers_refused(struct hm_strangers *s, const char *address, enum hm_refusal why);

/* Writes the next line that is due; returns 1, or 0 when there is nothing to say now. */
int hm_strangers_line(struct hm_strangers *s, uint64_t now_us, char line[HM_STRANGER_LINE_MAX + 1]);

#endif
