/* hogmesh doctor: findings, and who makes them. */
#ifndef HM_TOOLS_DOCTOR_H
#define HM_TOOLS_DOCTOR_H

#include "tools/cli.h"

#include <jansson.h>

enum finding { FINE, NOTE, WARNING, BROKEN, FINDINGS };

struct doctor {
    const struct cli *cli;
    int quiet;        /* 1: findings are printed at the end, as JSON */
    json_t *findings; /* [{level, about, text, advice}] */
    unsigned n[FINDINGS];
    struct listener *listener; /* NULL: not asked for, or it could not be bound */
    double wait;               /* seconds, for the doctor on the other side */
};

/* A finding about something, and what to do (NULL: nothing). */
void doctor_say(struct doctor *doctor, enum finding level, const char *about, const char *advice,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* doctor_host.c: processor, memory, limits, clock, key file, folder. */
void doctor_host(struct doctor *doctor);

/* The interface that has an address of this host ("HOST:PORT" or a host): which, and its MTU. */
void doctor_interface(struct doctor *doctor, const char *about, const char *address);

/* doctor_listen.c: listens where a node would, and answers who asks. What is to be tried of peers
 * is told, so that they know whether we reach them. Any thread. */
void doctor_listen(struct doctor *doctor);
void doctor_tell(struct doctor *doctor, const char *peer, const char *result);
const char *doctor_address(const struct doctor *doctor); /* "HOST:PORT" that peers dial; NULL */
void doctor_hang_up(struct doctor *doctor);

/* doctor_peer.c: one peer, from here and (by its own doctor) from there. */
void doctor_peer(struct doctor *doctor, const char *peer);

#endif
