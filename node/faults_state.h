/* What the files that read fault plans share. Each entry of a plan is read by a table of fields
 * into a struct that has room for all of them (faults_entry.c), then becomes a link, a node or
 * events (faults_read.c); what only the whole of the events can show is found at the end
 * (faults_story.c). */
#ifndef HM_NODE_FAULTS_STATE_H
#define HM_NODE_FAULTS_STATE_H

#include "node/faults.h"
#include "node/quote.h"

#include <jansson.h>
#include <stdarg.h>

enum { HM_FAULT_PARTS = 3 };

/* The file, for messages. */
struct hm_fault_text {
    char *name;
    size_t at[HM_FAULT_PARTS]; /* which member of the plan is its "links", "nodes", "events" */
    uint32_t *cut;             /* [n_cuts] events that are a cut or a heal, in their order */
    size_t n_cuts, n;
    char text[]; /* [n] */
};

const char *hm_fault_part_name(enum hm_faults_part part);
const char *hm_flip_name(enum hm_fault_what what);

/* ---- reading ---- */

enum hm_fault_field {
    HM_F_COMMENT,
    HM_F_FROM,
    HM_F_TO,
    HM_F_SINCE,
    HM_F_UNTIL,
    HM_F_LATENCY,
    HM_F_BANDWIDTH,
    HM_F_DROP,
    HM_F_DUPLICATE,
    HM_F_REORDER,
    HM_F_NODE,
    HM_F_SPEED,
    HM_F_STEP_TIME,
    HM_F_DELAY,
    HM_F_AT,
    HM_F_DO,
    HM_F_FOR,
    HM_F_RESTART_AFTER,
    HM_F_ONE_WAY,
    HM_F_WHAT,
    HM_F_BY,
    HM_F_COUNT,
    HM_F_FIELDS,
    HM_F_NONE = -1
};

#define HM_F_BIT(field) (1u << (field))
#define HM_F_LINK_SETTINGS                                                                         \
    (HM_F_BIT(HM_F_LATENCY) | HM_F_BIT(HM_F_BANDWIDTH) | HM_F_BIT(HM_F_DROP) |                     \
     HM_F_BIT(HM_F_DUPLICATE) | HM_F_BIT(HM_F_REORDER))
#define HM_F_NODE_SETTINGS (HM_F_BIT(HM_F_SPEED) | HM_F_BIT(HM_F_STEP_TIME) | HM_F_BIT(HM_F_DELAY))
#define HM_F_LINKS         (HM_F_BIT(HM_F_FROM) | HM_F_BIT(HM_F_TO))

/* An entry as the file has it. */
struct hm_fault_entry {
    unsigned given;              /* bits of fields */
    size_t ordinal[HM_F_FIELDS]; /* which member of the entry a given field is */
    struct hm_node_set from, to, nodes;
    struct hm_dist latency, step_time, delay;
    uint64_t since_us, until_us, at_us, for_us, restart_after_us;
    double bandwidth, drop, duplicate, reorder, speed;
    enum hm_fault_type type;
    enum hm_fault_what what;
    int64_t jump_us;
    uint32_t count;
    bool one_way;
};

/* Where the reader stands, and what it fills. Members of objects are counted as the file has them:
 * the parser keeps their order. */
struct hm_fault_reader {
    struct hm_faults *faults;
    struct hm_fault_text *text;
    const char *folder;
    struct hm_err *err;
    uint32_t n_nodes_ever;
    enum hm_faults_part part;
    size_t entry; /* of the part */
    size_t room;  /* of events */
};

/* "events[3].for" */
struct hm_fault_place_name {
    char text[160];
};

/* What a message is about; field NULL: the entry as a whole. */
struct hm_fault_place_name hm_fault_where(const struct hm_fault_reader *r, const char *field);

/* Reads the members of an entry that its part knows; what was read of it is the caller's to close
 * also after a failure. */
enum hm_status hm_fault_entry_read(struct hm_fault_reader *r, json_t *json,
                                   struct hm_fault_entry *entry);
void hm_fault_entry_fini(struct hm_fault_entry *entry);

/* "at, do and node", for a message. */
void hm_fault_list_fields(unsigned bits, char *text, size_t room);

const char *hm_fault_field_name(enum hm_fault_field field);

/* "'2 parsec'", "2", "a list": what a value is, for a message. */
struct hm_quote hm_fault_met(const json_t *json);

/* Fails with "FILE:LINE:COLUMN: " and the text, about the value that path[depth] leads to; key: its
 * name. */
enum hm_status hm_fault_fail_at(struct hm_fault_reader *r, const size_t *path, unsigned depth,
                                int key, const char *format, va_list args);

/* The same about the k-th member of the entry; HM_F_NONE: about the entry as a whole. */
enum hm_status hm_fault_fail(struct hm_fault_reader *r, long k, int key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds an event. */
enum hm_status hm_fault_push(struct hm_fault_reader *r, const struct hm_fault_event *event);

/* Sorts the events, adds the ends of cuts, numbers who joins, and fails when what is done to a node
 * contradicts what was done before. */
enum hm_status hm_fault_story(struct hm_fault_reader *r);

#endif
