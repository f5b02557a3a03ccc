/* The queue of events: a heap of four children a place, which is half as deep as one of two and
 * goes through fewer cache lines. */
#include "node/sim_state.h"

#include <assert.h>
#include <stdlib.h>

enum { CHILDREN = 4 };

static inline bool sooner(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void hm_sim_push(struct hm_sim *sim, struct event event)
{
    if (sim->n_heap == sim->heap_room) {
        sim->heap_room = sim->heap_room ? 2 * sim->heap_room : 1024;
        sim->heap = hm_sim_must(realloc(sim->heap, sim->heap_room * sizeof event));
    }
    assert(event.at >= sim->now_us);
    event.order = sim->order++;
    size_t i = sim->n_heap++;
    for (size_t parent; i && sooner(&event, &sim->heap[parent = (i - 1) / CHILDREN]); i = parent)
        sim->heap[i] = sim->heap[parent];
    sim->heap[i] = event;
}

struct event hm_sim_pop(struct hm_sim *sim)
{
    struct event first = sim->heap[0], last = sim->heap[--sim->n_heap];
    size_t i = 0, n = sim->n_heap;
    for (size_t child; (child = CHILDREN * i + 1) < n;) {
        size_t least = child, end = child + CHILDREN < n ? child + CHILDREN : n;
        for (size_t k = child + 1; k < end; k++)
            if (sooner(&sim->heap[k], &sim->heap[least]))
                least = k;
        if (!sooner(&sim->heap[least], &last))
            break;
        sim->heap[i] = sim->heap[least];
        i = least;
    }
    sim->heap[i] = last;
    return first;
}

void hm_sim_queue_close(struct hm_sim *sim)
{
    for (size_t i = 0; i < sim->n_heap; i++)
        hm_sim_drop(sim->heap[i].message);
    free(sim->heap);
}
