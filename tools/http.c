/* One thread runs libmicrohttpd from a loop of its own: so it can hang up on who takes too long
 * over a request (libmicrohttpd ends idle connections, and who sends a byte now and then is never
 * idle), and ends at once. */
#include "tools/http.h"

#include "page.h" /* made by tools/embed.py */
#include "tools/screen.h"
#include "tools/watch.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    CONNECTION_BYTES = 16 << 10, /* for a request's header and the buffers of an answer */
    IDLE_SECONDS = 10,
    BACKLOG = 64,
    TURN_MS = 500,
    PATHS = 3,
    DOCUMENTS_A_SECOND = 2, /* however many ask */
};

static const double REQUEST_SECONDS = 10; /* from one request to the end of the next */
/* A page asks every second; who has it open shall see how it ended. */
static const double PAGE_SECONDS = 2.5, LINGER_SECONDS = 1.5;

struct visitor {
    int fd; /* -1: free */
    double since;
};

/* A document as it was last made. */
struct made {
    struct MHD_Response *response;
    double looked; /* the age of what it was made of */
};

struct http {
    struct watch *watch;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool started;
    int listen_fd, end_fd;
    bool loopback;
    char host[256]; /* as the user wrote it */
    /* Written by the thread, read by who closes: no other data hangs on them, so relaxed. */
    _Atomic double page_asked; /* when status.json was asked for; 0: never */
    atomic_bool end_told;
    /* The thread's own: */
    struct visitor visitor[CONNECTIONS_MAX];
    struct made made[PATHS];
    struct watch_state state;
    double looked; /* when it was copied; 0: not yet */
    uint64_t requests;
};

/* ---- who asks ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **own,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *http = context;
    struct visitor *visitor = *own;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (visitor)
            visitor->fd = -1;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (unsigned i = 0; info && i < CONNECTIONS_MAX; i++)
        if (http->visitor[i].fd < 0) {
            http->visitor[i] = (struct visitor){info->connect_fd, screen_now()};
            *own = &http->visitor[i];
            return;
        }
}

static void on_request(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visitor *visitor = info ? info->socket_context : NULL;
    if (visitor)
        visitor->since = screen_now();
}

static void hang_up_on_the_slow(struct http *http)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (http->visitor[i].fd >= 0 && screen_now() - http->visitor[i].since > REQUEST_SECONDS)
            shutdown(http->visitor[i].fd, SHUT_RDWR); /* libmicrohttpd sees it and closes */
}

/* A page of somebody else's may have its name resolve to 127.0.0.1 and then read us in the user's
 * browser (DNS rebinding); but the browser says which name it asked for. Who opens the server to a
 * network opens it to the browsers there, too, under whatever names it has. */
static bool is_meant(const struct http *http, const char *host)
{
    char name[256];
    if (!http->loopback)
        return true;
    if (!host || strlen(host) >= sizeof name)
        return false;
    strcpy(name, host);
    char *colon = strrchr(name, ':'), *bracket = strrchr(name, ']');
    if (colon && (!bracket || colon > bracket))
        *colon = 0;
    struct in_addr address;
    return strcasecmp(name, "localhost") == 0 || strcasecmp(name, http->host) == 0 ||
           strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

/* ---- answers ---- */

static void add_headers(struct MHD_Response *response, const char *type)
{
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, "Content-Security-Policy", page_policy);
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code,
                                   const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    add_headers(response, "text/plain; charset=utf-8");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static struct MHD_Response *make(struct http *http, unsigned which)
{
    static const char *const type[PATHS] = {"text/html; charset=utf-8", "application/json",
                                            "text/plain; version=0.0.4; charset=utf-8"};
    struct MHD_Response *response;
    if (which == 0)
        response = MHD_create_response_from_buffer(sizeof page, (void *)(uintptr_t)page,
                                                   MHD_RESPMEM_PERSISTENT);
    else {
        char *text =
            which == 1 ? watch_document(&http->state) : watch_metrics(&http->state, http->requests);
        response = text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
                        : NULL;
        if (!response)
            free(text);
    }
    if (response)
        add_headers(response, type[which]);
    return response;
}

/* However many ask: the node's threads find the copied state locked now and then at the most. */
static void look(struct http *http)
{
    double now = screen_now();
    if (http->looked > 0 && now - http->looked < 1. / DOCUMENTS_A_SECOND)
        return;
    watch_copy(http->watch, &http->state);
    http->looked = now;
}

/* The newest document; answers that are on their way keep those that they began with. */
static struct MHD_Response *document(struct http *http, unsigned which)
{
    struct made *made = &http->made[which];
    look(http);
    if (made->response && (which == 0 || made->looked == http->looked))
        return made->response;
    struct MHD_Response *response = make(http, which);
    if (!response)
        return made->response;
    if (made->response)
        MHD_destroy_response(made->response);
    *made = (struct made){response, http->looked};
    return response;
}

static void note_page(struct http *http)
{
    atomic_store_explicit(&http->page_asked, screen_now(), memory_order_relaxed);
    if (watch_has_ended(&http->state))
        atomic_store_explicit(&http->end_told, true, memory_order_relaxed);
}

static enum MHD_Result answer(struct http *http, struct MHD_Connection *connection, const char *url)
{
    static const char *const path[PATHS] = {"/", "/status.json", "/metrics"};
    for (unsigned i = 0; i < PATHS; i++)
        if (strcmp(url, path[i]) == 0) {
            struct MHD_Response *response = document(http, i);
            if (i == 1)
                note_page(http);
            return response ? MHD_queue_response(connection, MHD_HTTP_OK, response) : MHD_NO;
        }
    if (strcmp(url, "/healthz") == 0) {
        look(http);
        return watch_is_healthy(&http->state)
                   ? answer_text(connection, MHD_HTTP_OK, "ok\n")
                   : answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                                 "the node has stood still for 10 seconds\n");
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND,
                       "there are /, /status.json, /metrics and /healthz\n");
}

static enum MHD_Result on_header(void *context, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_n, void **own)
{
    (void)version;
    (void)upload;
    struct http *http = context;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (*upload_n || MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length") ||
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding"))
        return answer_text(connection, MHD_HTTP_CONTENT_TOO_LARGE, "a request has no body\n");
    if (!*own) { /* the header alone: whoever is answered now is hung up on */
        *own = http;
        return MHD_YES;
    }
    on_request(connection);
    http->requests++;
    if (!is_meant(http, MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host")))
        return answer_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                           "this page is for this machine alone, and given out under no other name "
                           "than localhost; start the node with --http 0.0.0.0:PORT to have it "
                           "under others\n");
    return answer(http, connection, url);
}

/* ---- the thread ---- */

static void *serve(void *argument)
{
    struct http *http = argument;
    pthread_setname_np(pthread_self(), "http");
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
    int epoll_fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    struct pollfd fd[] = {{http->end_fd, POLLIN, 0}, {epoll_fd, POLLIN, 0}};
    for (;;) {
        MHD_UNSIGNED_LONG_LONG wanted;
        int wait = MHD_get_timeout(http->daemon, &wanted) == MHD_YES && wanted < TURN_MS
                       ? (int)wanted
                       : TURN_MS;
        poll(fd, 2, wait);
        if (fd[0].revents)
            return NULL;
        MHD_run(http->daemon);
        hang_up_on_the_slow(http);
    }
}

static enum hm_status start_thread(struct http *http, struct hm_err *err)
{
    sigset_t all, before; /* signals are for the thread that runs the node */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    http->started = pthread_create(&http->thread, NULL, serve, http) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return http->started ? HM_OK : hm_fail(err, HM_EIO, "cannot start a thread");
}

/* ---- life ---- */

/* 0, or why not. */
static int listen_at(struct http *http, const struct addrinfo *address)
{
    int one = 1;
    http->listen_fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return http->listen_fd >= 0 &&
                   setsockopt(http->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                   bind(http->listen_fd, address->ai_addr, address->ai_addrlen) == 0 &&
                   listen(http->listen_fd, BACKLOG) == 0
               ? 0
               : errno;
}

static const char *advice(int error)
{
    return error == EADDRINUSE
               ? "the port is in use by another process; choose another, or 0 for any"
           : error == EADDRNOTAVAIL || error == EAFNOSUPPORT
               ? "that is not an address of this machine; see 'ip addr', or use 0.0.0.0:PORT"
           : error == EACCES ? "ports below 1024 are the administrator's; choose a higher one"
                             : strerror(error);
}

/* "PORT", "HOST:PORT" or "[ADDRESS]:PORT". */
static enum hm_status parse(struct http *http, const char *at, const char **port,
                            struct hm_err *err)
{
    const char *colon = strrchr(at, ':');
    char *end;
    *port = colon ? colon + 1 : at;
    long number = strtol(*port, &end, 10);
    size_t n = colon ? (size_t)(colon - at) : 0;
    if (memchr(at, ':', n) && (at[0] != '[' || at[n - 1] != ']'))
        return hm_fail(err, HM_EUSAGE,
                       "--http '%.100s': an address of IPv6 stands in brackets, as in [::1]:8080",
                       at);
    if (!**port || *end || number < 0 || number > 65535 || **port == '-' || **port == '+' ||
        (colon && !n) || n >= sizeof http->host)
        return hm_fail(err, HM_EUSAGE,
                       "--http '%.100s': a port such as 8080, or an address such as "
                       "192.168.1.7:8080, is expected",
                       at);
    snprintf(http->host, sizeof http->host, "%.*s", (int)n, at);
    if (!n)
        strcpy(http->host, "127.0.0.1");
    return HM_OK;
}

static bool is_loopback(const struct in6_addr *a)
{
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

/* Who listens at all addresses of the machine is found by its name. */
static void say_where(struct http *http, char *url, size_t room)
{
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    char name[65];
    getsockname(http->listen_fd, (struct sockaddr *)(void *)&bound, &n);
    const struct sockaddr_in *v4 = (const void *)&bound;
    const struct sockaddr_in6 *v6 = (const void *)&bound;
    bool is_v4 = bound.ss_family == AF_INET;
    bool any = is_v4 ? v4->sin_addr.s_addr == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
    http->loopback = is_v4 ? ntohl(v4->sin_addr.s_addr) >> 24 == 127 : is_loopback(&v6->sin6_addr);
    const char *host = any && gethostname(name, sizeof name) == 0 ? name : http->host;
    snprintf(url, room, "http://%s:%u/", host, ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
}

static enum hm_status open_socket(struct http *http, const char *at, char *url, size_t room,
                                  struct hm_err *err)
{
    const char *port;
    char host[256];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *address;
    enum hm_status status = parse(http, at, &port, err);
    if (status)
        return status;
    bool brackets = http->host[0] == '[';
    snprintf(host, sizeof host, "%.*s", (int)strlen(http->host) - 2 * brackets,
             http->host + brackets);
    int error = getaddrinfo(host, port, &hints, &address);
    if (error)
        return hm_fail(err, HM_EUSAGE,
                       "--http %s: '%s' is not the name of a host (%s); give an address of this "
                       "machine, or the port alone",
                       at, host, gai_strerror(error));
    error = listen_at(http, address);
    freeaddrinfo(address);
    if (error)
        return hm_fail(err, HM_EIO, "--http %s: %s", at, advice(error));
    say_where(http, url, room);
    return HM_OK;
}

enum hm_status http_open(struct http **out, struct watch *watch, const char *at, char *url,
                         size_t room, struct hm_err *err)
{
    *out = NULL;
    struct http *http = calloc(1, sizeof *http);
    if (!http)
        return hm_fail(err, HM_ENOMEM, "no memory to serve HTTP");
    http->watch = watch;
    http->listen_fd = -1;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        http->visitor[i].fd = -1;
    http->end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum hm_status status = open_socket(http, at, url, room, err);
    if (!status) {
        http->daemon = MHD_start_daemon(
            MHD_USE_EPOLL, 0, NULL, NULL, on_header, http, MHD_OPTION_LISTEN_SOCKET,
            http->listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_NOTIFY_CONNECTION,
            on_connection, http, MHD_OPTION_END);
        status = http->daemon ? start_thread(http, err)
                              : hm_fail(err, HM_EIO, "--http %s: %s", at, strerror(errno));
    }
    if (status)
        http_close(http);
    else
        *out = http;
    return status;
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 50000000}, NULL);
}

static void let_the_page_hear(const struct http *http)
{
    double began = screen_now();
    double asked = atomic_load_explicit(&http->page_asked, memory_order_relaxed);
    if (!asked || began - asked > PAGE_SECONDS)
        return;
    while (!atomic_load_explicit(&http->end_told, memory_order_relaxed) &&
           screen_now() - began < LINGER_SECONDS)
        nap();
    nap(); /* what was queued goes out */
}

void http_close(struct http *http)
{
    if (!http)
        return;
    uint64_t one = 1;
    if (http->started) {
        let_the_page_hear(http);
        ssize_t n = write(http->end_fd, &one, sizeof one);
        assert(n == sizeof one);
        (void)n;
        pthread_join(http->thread, NULL);
    }
    if (http->daemon)
        MHD_stop_daemon(http->daemon); /* closes the listening socket too */
    else if (http->listen_fd >= 0)
        close(http->listen_fd);
    for (unsigned i = 0; i < PATHS; i++)
        if (http->made[i].response)
            MHD_destroy_response(http->made[i].response);
    if (http->end_fd >= 0)
        close(http->end_fd);
    free(http);
}
