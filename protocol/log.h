/* The log of one stream: its newest deltas, kept so that anybody can ask for them again. */
#ifndef HM_PROTOCOL_LOG_H
#define HM_PROTOCOL_LOG_H

#include "protocol/blob.h"
#include "protocol/wire.h"

/* A delta as it was published. Immutable and counted: the virtual nodes of one process keep one
 * entry in the logs of all of them. */
struct hm_log_entry {
    atomic_uint n_owners;
    struct hm_delta_head head;
    struct hm_blob *payload; /* may be NULL */
};

/* An entry with one owner; takes one ownership of payload (on success). NULL without memory. */
struct hm_log_entry *hm_log_entry_new(const struct hm_delta_head *head, struct hm_blob *payload);
struct hm_log_entry *hm_log_entry_share(struct hm_log_entry *entry);
void hm_log_entry_drop(struct hm_log_entry *entry); /* NULL is fine */

/* A ring of consecutive deltas; zeroed memory is an empty log. */
struct hm_log {
    struct hm_log_entry **entry; /* [capacity], capacity a power of two or 0 */
    uint32_t capacity, begin, n;
    uint64_t bytes;        /* as hm_log_entry_bytes counts them */
    uint64_t steps_before; /* cumulative steps of the stream before the oldest entry */
};

/* What an entry counts against the budget of the logs. */
uint64_t hm_log_entry_bytes(const struct hm_log_entry *entry);

void hm_log_fini(struct hm_log *log);

/* Appends the delta after the newest one; takes one ownership of the entry, or of the payload (on
 * success). Returns 0, or -1 without memory. */
int hm_log_append_entry(struct hm_log *log, struct hm_log_entry *entry);
int hm_log_append(struct hm_log *log, const struct hm_delta_head *head, struct hm_blob *payload);

/* The entry whose hi is seq, or NULL. */
struct hm_log_entry *hm_log_get(const struct hm_log *log, uint32_t seq);

/* seq (hi) of the oldest entry, 0 when empty. */
uint32_t hm_log_oldest(const struct hm_log *log);

/* Drops the oldest entry and returns its bytes; 0 when empty. */
uint64_t hm_log_drop_oldest(struct hm_log *log);

/* The same with the newest, which another may follow. */
uint64_t hm_log_drop_newest(struct hm_log *log);

#endif
