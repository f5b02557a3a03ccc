#include "node/strangers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void hm_strangers_init(struct hm_strangers *s, uint64_t handshake_us)
{
    memset(s, 0, sizeof *s);
    s->handshake_us = handshake_us;
    for (unsigned l = 0; l < HM_LISTENERS; l++)
        for (unsigned i = 0; i < HM_CONNECTIONS_MAX; i++)
            s->connection[l][i].fd = -1;
}

/* ---- connections ---- */

static struct hm_connection *find(struct hm_strangers *s, unsigned listener, int fd)
{
    assert(listener < HM_LISTENERS);
    for (unsigned i = 0; i < HM_CONNECTIONS_MAX; i++)
        if (s->connection[listener][i].fd == fd)
            return &s->connection[listener][i];
    return NULL;
}

static struct hm_connection *oldest(struct hm_strangers *s, unsigned listener, int handshaking)
{
    struct hm_connection *best = NULL;
    for (unsigned i = 0; i < HM_CONNECTIONS_MAX; i++) {
        struct hm_connection *c = &s->connection[listener][i];
        if (c->fd >= 0 && (!handshaking || !c->established) &&
            (!best || c->since_us < best->since_us))
            best = c;
    }
    return best;
}

void hm_strangers_accepted(struct hm_strangers *s, unsigned listener, int fd, const char *address,
                           uint64_t now_us)
{
    struct hm_connection *c = find(s, listener, fd);
    c = c ? c : find(s, listener, -1);
    c = c ? c : oldest(s, listener, 0);
    *c = (struct hm_connection){.fd = fd, .since_us = now_us};
    snprintf(c->address, sizeof c->address, "%s", address);
}

void hm_strangers_succeeded(struct hm_strangers *s, unsigned listener)
{
    /* Of which connection is not told. Most likely it is the one that waits longest; when it was
     * another, the handshake's time limit puts it right in hm_strangers_disconnected. */
    struct hm_connection *c = oldest(s, listener, 1);
    if (c)
        c->established = 1;
}

void hm_strangers_failed(struct hm_strangers *s, unsigned listener, enum hm_refusal why)
{
    assert(listener < HM_LISTENERS);
    s->failed[listener] = 1 + (int)why;
}

void hm_strangers_disconnected(struct hm_strangers *s, unsigned listener, int fd, uint64_t now_us)
{
    struct hm_connection *c = find(s, listener, fd);
    int failed = s->failed[listener], in_time = c && now_us - c->since_us < s->handshake_us;
    s->failed[listener] = 0;
    /* Who says nothing until the time is up is hung up on too. */
    if (failed == 1 + HM_BROKE_OFF && !in_time)
        failed = 1 + HM_REFUSED_GARBAGE;
    /* ZMTP 1.0, and so every text that is no ZMTP, is hung up on without a failed handshake. */
    else if (!failed && in_time && !c->established)
        failed = 1 + HM_REFUSED_GARBAGE;
    if (failed)
        hm_strangers_refused(s, c ? c->address : "", (enum hm_refusal)(failed - 1));
    if (c)
        c->fd = -1;
}

/* ---- refusals ---- */

static struct hm_stranger *entry(struct hm_strangers *s, const char *address)
{
    for (unsigned i = 0; i < s->n_strangers; i++)
        if (strcmp(s->stranger[i].address, address) == 0)
            return &s->stranger[i];
    if (s->n_strangers == HM_STRANGERS_MAX)
        return &s->stranger[HM_STRANGERS_MAX];
    struct hm_stranger *new = &s->stranger[s->n_strangers++];
    snprintf(new->address, sizeof new->address, "%s", address);
    return new;
}

void hm_strangers_refused(struct hm_strangers *s, const char *address, enum hm_refusal why)
{
    assert((unsigned)why < HM_REFUSALS);
    s->n[why]++;
    if (why != HM_BROKE_OFF)
        entry(s, address)->n[why]++;
}

static size_t tell(const struct hm_stranger *stranger, char *line, size_t room)
{
    static const char *const what[HM_REFUSALS] = {"with a key that is not ours",
                                                  "without encryption",
                                                  "with something that is no hogmesh", ""};
    int at = 0;
    for (unsigned i = 0; i < HM_REFUSALS; i++)
        if (stranger->n[i])
            at += snprintf(line + at, room - (size_t)at, "%s%llu %s", at ? ", " : "",
                           (unsigned long long)stranger->n[i], what[i]);
    return (size_t)at;
}

static int quiet(const struct hm_stranger *stranger, uint64_t now_us)
{
    return stranger->said_us && now_us - stranger->said_us < HM_STRANGER_QUIET_US;
}

/* Makes room: of whom all is said, and long ago. */
static void forget(struct hm_strangers *s, uint64_t now_us)
{
    for (unsigned i = 0; i < s->n_strangers;) {
        struct hm_stranger *stranger = &s->stranger[i];
        int all_said = stranger->said_us && !quiet(stranger, now_us);
        for (unsigned k = 0; k < HM_REFUSALS; k++)
            all_said &= stranger->n[k] == 0;
        if (!all_said) {
            i++;
            continue;
        }
        *stranger = s->stranger[--s->n_strangers];
        s->stranger[s->n_strangers] = (struct hm_stranger){0};
    }
}

int hm_strangers_line(struct hm_strangers *s, uint64_t now_us, char line[HM_STRANGER_LINE_MAX + 1])
{
    forget(s, now_us);
    for (unsigned i = 0; i <= HM_STRANGERS_MAX; i++) {
        struct hm_stranger *stranger = &s->stranger[i];
        char counts[160];
        if (quiet(stranger, now_us) || !tell(stranger, counts, sizeof counts))
            continue;
        snprintf(line, HM_STRANGER_LINE_MAX + 1, "refused connections from %s: %s",
                 i == HM_STRANGERS_MAX  ? "more addresses"
                 : stranger->address[0] ? stranger->address
                                        : "an address that is not known any more",
                 counts);
        stranger->said_us = now_us;
        memset(stranger->n, 0, sizeof stranger->n);
        return 1;
    }
    return 0;
}
