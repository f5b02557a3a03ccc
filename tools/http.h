/* The HTTP server of a node. GET and HEAD of
 *
 *     /              the page
 *     /status.json   what it shows
 *     /metrics       the same for Prometheus
 *     /healthz       "ok", or 503 when the node stands still
 *
 * by one thread that yields to all others; connections, time, and memory are limited, so whoever
 * comes takes a little of one processor at the most. The one file that knows libmicrohttpd is
 * http.c.
 */
#ifndef HM_TOOLS_HTTP_H
#define HM_TOOLS_HTTP_H

#include "sparse/status.h"

#include <stddef.h>

struct http;
struct watch;

/* Listens at "[HOST:]PORT" (127.0.0.1; port 0: any free one), fills url [room] with
 * "http://HOST:PORT/". The watch outlives the server. */
enum hm_status http_open(struct http **http, struct watch *watch, const char *at, char *url,
                         size_t room, struct hm_err *err);
/* Where a page is looking on it waits, a second and a half at most, until that has the end. NULL is
 * fine. */
void http_close(struct http *http);

#endif
