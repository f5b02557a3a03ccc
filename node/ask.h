/* Asks a node how it and its mesh stand, without being one (protocol/WIRE.md, ASK). */
#ifndef HM_NODE_ASK_H
#define HM_NODE_ASK_H

#include "node/env.h"

#include <jansson.h>

struct hm_ask;

struct hm_ask_options {
    const char *peer; /* "HOST:PORT" */
    const char *key;  /* file; NULL: in clear */
    int insecure;     /* in clear beyond loopback, too */
};

/* Dials; returns at once. Errors: address, key file, or traffic in clear that nobody allowed. */
enum hm_status hm_ask_open(struct hm_ask **ask, const struct hm_ask_options *options,
                           struct hm_err *err);

/* Asks, again and again, until there is an answer or so many seconds have passed. *status (may be
 * NULL: a bare answer is asked for) is the caller's to json_decref; *seconds (may be NULL) from the
 * question that was answered to its answer, which came back with n_padding bytes, at most
 * HM_PAYLOAD_MAX, in the question. HM_ETIMEOUT, HM_EREFUSED (keys do not fit, another version),
 * HM_ECORRUPT: the text says what to do. */
enum hm_status hm_ask(struct hm_ask *ask, size_t n_padding, double timeout, json_t **status,
                      double *seconds, struct hm_err *err);

/* The version of the protocol that a peer speaks, also where it does not know of ASK: a greeting of
 * a version that there never was is refused by a message that tells. 0: no answer. It is logged
 * there. */
unsigned hm_ask_version(struct hm_ask *ask, double timeout);

void hm_ask_close(struct hm_ask *ask); /* NULL is fine */

#endif
