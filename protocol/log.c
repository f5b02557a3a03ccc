#include "protocol/log.h"

#include <assert.h>
#include <stdlib.h>

static struct hm_log_entry *at(const struct hm_log *log, size_t i)
{
    return &log->entry[(log->begin + i) & (log->capacity - 1)];
}

static uint64_t payload_n(const struct hm_log_entry *entry)
{
    return entry->payload ? entry->payload->n : 0;
}

void hm_log_fini(struct hm_log *log)
{
    while (log->n)
        hm_log_drop_oldest(log);
    free(log->entry);
    *log = (struct hm_log){0};
}

static int grow(struct hm_log *log)
{
    size_t capacity = log->capacity ? 2 * log->capacity : 16;
    struct hm_log_entry *entry = malloc(capacity * sizeof *entry);
    if (!entry)
        return -1;
    for (size_t i = 0; i < log->n; i++)
        entry[i] = *at(log, i);
    free(log->entry);
    log->entry = entry;
    log->capacity = capacity;
    log->begin = 0;
    return 0;
}

int hm_log_append(struct hm_log *log, const struct hm_delta_head *head, struct hm_blob *payload)
{
    assert(!log->n || at(log, log->n - 1)->head.hi == head->lo);
    if (log->n == log->capacity && grow(log))
        return -1;
    *at(log, log->n) = (struct hm_log_entry){*head, payload};
    log->bytes += payload_n(at(log, log->n));
    log->n++;
    return 0;
}

const struct hm_log_entry *hm_log_get(const struct hm_log *log, uint32_t seq)
{
    uint32_t oldest = hm_log_oldest(log);
    if (!log->n || seq < oldest || seq - oldest >= log->n)
        return NULL;
    return at(log, seq - oldest);
}

uint32_t hm_log_oldest(const struct hm_log *log)
{
    return log->n ? at(log, 0)->head.hi : 0;
}

uint64_t hm_log_drop_oldest(struct hm_log *log)
{
    if (!log->n)
        return 0;
    struct hm_log_entry *entry = at(log, 0);
    uint64_t bytes = payload_n(entry);
    hm_blob_drop(entry->payload);
    log->begin = (log->begin + 1) & (log->capacity - 1);
    log->n--;
    log->bytes -= bytes;
    return bytes;
}
