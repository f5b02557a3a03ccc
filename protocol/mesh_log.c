/* The logs of deltas, kept within their budget. */
#include "protocol/mesh_state.h"

enum {
    RETAINED_US = 600000000,
    TRIM_US = 50000, /* between two times that everybody's acknowledgements are looked at */
    SPARE = 16, /* above its budget the log is cut to that part less: a cut looks at all streams */
};

/* Without memory the log begins anew behind the gap: what it does not hold, others do. */
void hm_mesh_log(struct hm_mesh *mesh, struct stream *stream, struct hm_log_entry *entry)
{
    if (entry && hm_log_append_entry(&stream->log, entry) == 0) {
        mesh->log_bytes += hm_log_entry_bytes(entry);
        return;
    }
    hm_log_entry_drop(entry);
    mesh->log_bytes -= stream->log.bytes;
    hm_log_fini(&stream->log);
}

/* Who has been silent for longer than that may come back, but logs do not wait for it. */
static bool retained(const struct hm_mesh *mesh, const struct member *m)
{
    return m->life && m->beat && !m->left && mesh->now_us - m->heard_us < RETAINED_US;
}

/* The lowest seq of a stream that some retained member has acknowledged. */
uint32_t hm_mesh_acknowledged(const struct hm_mesh *mesh, const struct stream *stream)
{
    uint32_t least = stream->link.seq;
    for (unsigned i = 0; i < mesh->n_slots; i++) {
        const struct member *m = &mesh->member[i];
        if (!retained(mesh, m))
            continue;
        const struct hm_vv_entry *entry = hm_vector_find(m->vector, stream->link.from);
        uint32_t seq = m->life == stream->link.from ? stream->link.seq : entry ? entry->seq : 0;
        least = seq < least ? seq : least;
    }
    return least;
}

static void drop_acknowledged(struct hm_mesh *mesh, struct stream *stream, uint64_t target)
{
    uint32_t upto = hm_mesh_acknowledged(mesh, stream);
    while (mesh->log_bytes > target && stream->log.n && hm_log_oldest(&stream->log) <= upto)
        mesh->log_bytes -= hm_log_drop_oldest(&stream->log);
}

/* What others' logs would take if none had more than `level` bytes. */
static uint64_t bytes_up_to(const struct hm_mesh *mesh, uint64_t level)
{
    uint64_t sum = 0;
    for (size_t i = 1; i < mesh->n_streams; i++)
        sum += mesh->stream[i]->log.bytes < level ? mesh->stream[i]->log.bytes : level;
    return sum;
}

/* The highest level at which they take no more than `room`. */
static uint64_t level_for(const struct hm_mesh *mesh, uint64_t room)
{
    uint64_t low = 0, high = room;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (bytes_up_to(mesh, middle) <= room)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void drop_down_to(struct hm_mesh *mesh, struct stream *stream, uint64_t bytes)
{
    while (stream->log.bytes > bytes)
        mesh->log_bytes -= hm_log_drop_oldest(&stream->log);
}

/* The longest logs lose their oldest deltas until all fit; the own one loses last: nobody else may
 * have it. */
static void cut(struct hm_mesh *mesh, uint64_t most)
{
    struct stream *own = mesh->stream[0];
    uint64_t level = level_for(mesh, most > own->log.bytes ? most - own->log.bytes : 0);
    for (size_t i = 1; i < mesh->n_streams; i++)
        drop_down_to(mesh, mesh->stream[i], level);
    drop_down_to(mesh, own, most);
}

/* Above half of the budget what every live member has acknowledged goes; above all of it, the
 * oldest of others. Below half everything stays: a late joiner can still be served from the log. */
void hm_mesh_trim(struct hm_mesh *mesh)
{
    uint64_t most = mesh->params.log_bytes_max, target = most / 2;
    if (mesh->log_bytes > target && mesh->now_us >= mesh->trim_due_us) {
        for (size_t i = 0; i < mesh->n_streams; i++)
            drop_acknowledged(mesh, mesh->stream[i], target);
        mesh->trim_due_us = mesh->now_us + TRIM_US * hm_mesh_crowd(mesh);
    }
    if (mesh->log_bytes > most)
        cut(mesh, most - most / SPARE);
}
