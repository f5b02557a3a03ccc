/* What happened, as a line of JSON. */
#include "node/sim.h"

#include <stdarg.h>
#include <stdio.h>

static const char *type_name(unsigned type)
{
    static const char *const name[] = {
        [HM_DELTA] = "DELTA",           [HM_BEAT] = "BEAT",
        [HM_HELLO] = "HELLO",           [HM_HELLO_OK] = "HELLO_OK",
        [HM_REJECT] = "REJECT",         [HM_WANT] = "WANT",
        [HM_NOHAVE] = "NOHAVE",         [HM_STATE_REQ] = "STATE_REQ",
        [HM_STATE_META] = "STATE_META", [HM_CHUNK_REQ] = "CHUNK_REQ",
        [HM_CHUNK] = "CHUNK",           [HM_YIELD] = "YIELD",
        [HM_LEAVE] = "LEAVE",           [HM_ASK] = "ASK",
        [HM_STATUS] = "STATUS",
    };
    return type < sizeof name / sizeof *name && name[type] ? name[type] : "?";
}

static size_t add(char *line, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static size_t add(char *line, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + at, HM_SIM_LINE_MAX - at, format, args);
    va_end(args);
    size_t end = at + (n > 0 ? (size_t)n : 0);
    return end < HM_SIM_LINE_MAX ? end : HM_SIM_LINE_MAX - 1;
}

static size_t add_message(char *line, size_t at, const struct hm_sim_message *message)
{
    struct hm_header header;
    size_t bytes = message->header_n + (message->payload ? message->payload->n : 0);
    if (hm_wire_decode(message->header, message->header_n, &header) != HM_WIRE_OK)
        header = (struct hm_header){0};
    at = add(line, at, ",\"type\":\"%s\"", type_name(header.type));
    if (header.type == HM_DELTA)
        at = add(line, at, ",\"stream\":\"%016llx\",\"seq\":%u",
                 (unsigned long long)header.delta.stream, header.delta.hi);
    if (header.type == HM_BEAT)
        at = add(line, at, ",\"beat\":%u", header.beat.number);
    return add(line, at, ",\"bytes\":%zu,\"hash\":\"%016llx\"", bytes,
               (unsigned long long)message->hash);
}

size_t hm_sim_line(const struct hm_sim_happening *h, char line[HM_SIM_LINE_MAX])
{
    size_t at = add(line, 0, "{\"us\":%llu,\"event\":\"%s\",\"node\":%u",
                    (unsigned long long)h->at_us, hm_sim_what_name(h->what), h->node);
    if (h->peer != UINT32_MAX)
        at = add(line, at, ",\"peer\":%u", h->peer);
    if (h->message)
        at = add_message(line, at, h->message);
    if (h->what == HM_SIM_UPDATED)
        at = add(line, at, ",\"staleness\":%llu", (unsigned long long)h->staleness);
    if (h->what == HM_SIM_ENDED || h->what == HM_SIM_SCORED || h->what == HM_SIM_UPDATED)
        at = add(line, at, ",\"steps\":%llu", (unsigned long long)h->steps);
    if (h->hash)
        at = add(line, at, ",\"model\":\"%s\"", h->hash);
    if (h->score)
        at = add(line, at, ",\"cost\":%.9g,\"accuracy\":%.9g", h->score->cost, h->score->accuracy);
    return add(line, at, "}");
}
