#include "node/feed_buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum hm_status hm_feed_buffer_open(struct hm_feed_buffer *buffer, unsigned n, size_t slot_bytes,
                                   struct hm_err *err)
{
    assert(n && n <= HM_FEED_SLOTS_MAX);
    assert(slot_bytes % 64 == 0);
    *buffer = (struct hm_feed_buffer){.n = n, .n_free = n};
    pthread_mutex_init(&buffer->mutex, NULL);
    buffer->slot = calloc(n, sizeof *buffer->slot);
    buffer->memory = aligned_alloc(64, n * slot_bytes);
    if (!buffer->slot || !buffer->memory)
        return hm_fail(err, HM_ENOMEM, "no memory for %u batches of %zu bytes", n, slot_bytes);
    for (unsigned i = n; i--;) {
        buffer->slot[i].memory = (uint8_t *)buffer->memory + i * slot_bytes;
        buffer->slot[i].next = buffer->free;
        buffer->free = &buffer->slot[i];
    }
    return HM_OK;
}

void hm_feed_buffer_close(struct hm_feed_buffer *buffer)
{
    if (!buffer->n)
        return;
    free(buffer->slot);
    free(buffer->memory);
    pthread_mutex_destroy(&buffer->mutex);
    *buffer = (struct hm_feed_buffer){0};
}

struct hm_feed_slot *hm_feed_buffer_room(struct hm_feed_buffer *buffer)
{
    pthread_mutex_lock(&buffer->mutex);
    struct hm_feed_slot *slot = buffer->free;
    pthread_mutex_unlock(&buffer->mutex);
    return slot;
}

/* Others only put slots in front of the free ones, so the slot may lie further back by now. */
void hm_feed_buffer_push(struct hm_feed_buffer *buffer, struct hm_feed_slot *slot)
{
    pthread_mutex_lock(&buffer->mutex);
    struct hm_feed_slot **at = &buffer->free;
    while (*at != slot)
        at = &(*at)->next;
    *at = slot->next;
    slot->next = NULL;
    if (buffer->last)
        buffer->last->next = slot;
    else
        buffer->first = slot;
    buffer->last = slot;
    buffer->n_free--;
    buffer->n_filled++;
    pthread_mutex_unlock(&buffer->mutex);
}

struct hm_feed_slot *hm_feed_buffer_take(struct hm_feed_buffer *buffer)
{
    pthread_mutex_lock(&buffer->mutex);
    struct hm_feed_slot *slot = buffer->first;
    if (slot) {
        buffer->first = slot->next;
        buffer->last = buffer->first ? buffer->last : NULL;
        buffer->n_filled--;
    }
    pthread_mutex_unlock(&buffer->mutex);
    return slot;
}

void hm_feed_buffer_give_back(struct hm_feed_buffer *buffer, struct hm_feed_slot *slot)
{
    pthread_mutex_lock(&buffer->mutex);
    slot->next = buffer->free;
    buffer->free = slot;
    buffer->n_free++;
    pthread_mutex_unlock(&buffer->mutex);
}

int hm_feed_buffer_is_idle(struct hm_feed_buffer *buffer)
{
    pthread_mutex_lock(&buffer->mutex);
    const int idle = buffer->n_free == buffer->n;
    pthread_mutex_unlock(&buffer->mutex);
    return idle;
}
