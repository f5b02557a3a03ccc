#include "protocol/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_LEAST = 8, ALLOCATION = 8 };

/* ---- entries ---- */

struct hm_log_entry *hm_log_entry_new(const struct hm_delta_head *head, struct hm_blob *payload)
{
    struct hm_log_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return NULL;
    atomic_init(&entry->n_owners, 1);
    entry->head = *head;
    entry->payload = payload;
    return entry;
}

struct hm_log_entry *hm_log_entry_share(struct hm_log_entry *entry)
{
    atomic_fetch_add_explicit(&entry->n_owners, 1, memory_order_relaxed);
    return entry;
}

void hm_log_entry_drop(struct hm_log_entry *entry)
{
    /* Acquire-release: whoever frees sees what the other owners have read. */
    if (!entry || atomic_fetch_sub_explicit(&entry->n_owners, 1, memory_order_acq_rel) != 1)
        return;
    hm_blob_drop(entry->payload);
    free(entry);
}

/* What the allocator takes for n bytes: in a log of small deltas a quarter of all. */
static uint64_t allocated(uint64_t n)
{
    return (n + ALLOCATION + 15) / 16 * 16;
}

uint64_t hm_log_entry_bytes(const struct hm_log_entry *entry)
{
    uint64_t payload = entry->payload ? allocated(sizeof *entry->payload + entry->payload->n) : 0;
    return allocated(sizeof *entry) + payload + 2 * sizeof entry; /* a ring may be half full */
}

/* ---- the ring ---- */

static struct hm_log_entry **at(const struct hm_log *log, uint32_t i)
{
    return &log->entry[(log->begin + i) & (log->capacity - 1)];
}

void hm_log_fini(struct hm_log *log)
{
    while (log->n)
        hm_log_drop_oldest(log);
    free(log->entry);
    *log = (struct hm_log){.steps_before = log->steps_before};
}

static int grow(struct hm_log *log)
{
    uint32_t capacity = log->capacity ? 2 * log->capacity : CAPACITY_LEAST;
    struct hm_log_entry **entry = malloc(capacity * sizeof *entry);
    if (!entry)
        return -1;
    for (uint32_t i = 0; i < log->n; i++)
        entry[i] = *at(log, i);
    free(log->entry);
    log->entry = entry;
    log->capacity = capacity;
    log->begin = 0;
    return 0;
}

int hm_log_append_entry(struct hm_log *log, struct hm_log_entry *entry)
{
    assert(!log->n || (*at(log, log->n - 1))->head.hi == entry->head.lo);
    if (log->n == log->capacity && grow(log))
        return -1;
    *at(log, log->n) = entry;
    log->bytes += hm_log_entry_bytes(entry);
    log->n++;
    return 0;
}

int hm_log_append(struct hm_log *log, const struct hm_delta_head *head, struct hm_blob *payload)
{
    struct hm_log_entry *entry = hm_log_entry_new(head, payload);
    if (!entry)
        return -1;
    int status = hm_log_append_entry(log, entry);
    if (status)
        free(entry);
    return status;
}

struct hm_log_entry *hm_log_get(const struct hm_log *log, uint32_t seq)
{
    uint32_t oldest = hm_log_oldest(log);
    if (!log->n || seq < oldest || seq - oldest >= log->n)
        return NULL;
    return *at(log, seq - oldest);
}

uint32_t hm_log_oldest(const struct hm_log *log)
{
    return log->n ? (*at(log, 0))->head.hi : 0;
}

uint64_t hm_log_drop_oldest(struct hm_log *log)
{
    if (!log->n)
        return 0;
    struct hm_log_entry *entry = *at(log, 0);
    uint64_t bytes = hm_log_entry_bytes(entry);
    log->steps_before = entry->head.steps;
    log->begin = (log->begin + 1) & (log->capacity - 1);
    log->n--;
    log->bytes -= bytes;
    hm_log_entry_drop(entry);
    return bytes;
}

uint64_t hm_log_drop_newest(struct hm_log *log)
{
    if (!log->n)
        return 0;
    struct hm_log_entry *entry = *at(log, log->n - 1);
    uint64_t bytes = hm_log_entry_bytes(entry);
    log->n--;
    log->bytes -= bytes;
    hm_log_entry_drop(entry);
    return bytes;
}
