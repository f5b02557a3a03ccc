/* Finding each other in a LAN: nodes that are given the same name call out where they are, by UDP
 * broadcast on every interface, and listen.
 *
 * A convenience beside the list of peers: who hears nobody founds the mesh, and who is alone in
 * that learns later of the others, whose mesh becomes one with its own where the configurations are
 * the same, and is reported where they are not. Nothing that is heard is believed but as advice on
 * whom to dial; with a key only who holds it is heard at all.
 *
 *     hm_discover_open(&d, &options, &err);
 *     while (...) hm_discover_turn(d, now_us, 0);            before there is a mesh
 *     n = hm_discover_seeds(d, peer, room);                  none: found it
 *     hm_discover_turn(d, now_us, fingerprint);              from then on, and:
 *     while (hm_discover_next(d, now_us, &entry)) ...        dial these
 *
 * Not thread-safe: the driver's alone. Never blocks. */
#ifndef HM_NODE_DISCOVER_H
#define HM_NODE_DISCOVER_H

#include "node/announce.h"
#include "protocol/mesh.h"

enum {
    HM_DISCOVER_PORT = 7077,
    HM_DISCOVER_SEARCH_US = 1500000, /* how long a node listens before it founds a mesh */
    HM_DISCOVER_MAX = 64,            /* nodes that are kept in mind; what is more is not heard */
};

struct hm_discover;

struct hm_discover_options {
    const char *where;    /* "NAME" or "NAME:PORT" */
    const char *workload; /* borrowed, as all of these, for the call alone */
    const char *label, *rpc, *pub;
    uint64_t life;
    const struct hm_keys *keys; /* NULL or none in it: no key */
    int insecure;               /* without a key: who is not on this host is heard, too */
    void (*note)(void *context, enum hm_note_level level, const char *text);
    void *context;
};

/* HM_EUSAGE for a name that is none; HM_EIO when the port cannot be had. */
enum hm_status hm_discover_open(struct hm_discover **out, const struct hm_discover_options *options,
                                struct hm_err *err);

/* Hears what has come and calls out when it is time. `fingerprint` of the own configuration, 0
 * while there is none. */
void hm_discover_turn(struct hm_discover *d, uint64_t now_us, uint64_t fingerprint);

/* Waits for a datagram, at most so long. */
void hm_discover_wait(struct hm_discover *d, int ms);

/* Whether somebody has a mesh already: there is no need to search on. */
int hm_discover_has_mesh(const struct hm_discover *d);

/* Whom to ask for the configuration: who has one; else, of those that search like this node, all,
 * unless this node's life is the lowest: then it is to found the mesh, and the answer is 0. The
 * texts live as long as *d. Returns how many, at most `room`. */
unsigned hm_discover_seeds(const struct hm_discover *d, const char **peer, unsigned room);

/* Somebody of this mesh that the others may not know of, each at most every few seconds. Returns 0
 * when there is nobody. */
int hm_discover_next(struct hm_discover *d, uint64_t now_us, struct hm_peer_entry *entry);

void hm_discover_close(struct hm_discover *d); /* NULL is fine */

#endif
