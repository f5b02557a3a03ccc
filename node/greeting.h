/* How a ZMTP peer wants to be talked to. libzmq hangs up on a peer with another mechanism, often
 * before that peer has seen why; a greeting that stops short of its own mechanism is answered. */
#ifndef HM_NODE_GREETING_H
#define HM_NODE_GREETING_H

enum { HM_MECHANISM_MAX = 20 };

/* Connects to "tcp://HOST:PORT" and reads the mechanism of the greeting: "NULL", "CURVE". Returns 0
 * when there is none within timeout_ms. Blocks. */
int hm_greeting_mechanism(const char *endpoint, char mechanism[HM_MECHANISM_MAX + 1],
                          int timeout_ms);

#endif
