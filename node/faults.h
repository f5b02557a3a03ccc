/* A fault plan: what goes wrong in a mesh, when, and how its links and nodes are. A JSON file that
 * the simulator carries out in virtual time and `hogmesh run` on processes, as far as that can be
 * done there; tools/FAULTS.md describes the format.
 *
 * Reading checks everything: the mesh starts with a plan that makes sense, or not at all. What
 * comes out are sorted arrays of plain structs; times are microseconds since training began. Nodes
 * are numbered from 0 in the order in which they were started; the first that joins later is number
 * N.
 */
#ifndef HM_NODE_FAULTS_H
#define HM_NODE_FAULTS_H

#include "node/dist.h"

#define HM_FAULTS_FOREVER UINT64_MAX

enum { HM_FAULTS_BYTES_MAX = 1 << 20 }; /* of a plan */

/* Links, nodes, events once lists are written out: of each. */
#ifdef HM_SMALL_BUFFERS /* for fuzzing, where a plan is a kilobyte */
enum { HM_FAULTS_ENTRIES_MAX = 1 << 8 };
#else
enum { HM_FAULTS_ENTRIES_MAX = 1 << 16 };
#endif

/* How messages from some nodes to some others fare, for a time. */
struct hm_fault_link {
    struct hm_node_set from, to;
    uint64_t since_us, until_us;     /* until: not any more; HM_FAULTS_FOREVER */
    unsigned sets;                   /* which of the following: bits 1 << HM_LINK_... */
    struct hm_dist latency;          /* one way, of a message */
    double bandwidth;                /* bytes a second */
    double drop, duplicate, reorder; /* probabilities, of a message */
};

enum { HM_LINK_LATENCY, HM_LINK_BANDWIDTH, HM_LINK_DROP, HM_LINK_DUPLICATE, HM_LINK_REORDER };

/* How some nodes work. */
struct hm_fault_node {
    struct hm_node_set nodes;
    double speed;             /* examples a second; 0: not said */
    struct hm_dist step_time; /* of a batch; NONE: not said */
    struct hm_dist delay;     /* between gradient and update; NONE: not said */
};

enum hm_fault_type {
    HM_FAULT_CUT_ENDS, /* the end of a cut that said for how long; comes before what else is at that
                          time */
    HM_FAULT_PAUSE,    /* node stands still, its connections stay */
    HM_FAULT_RESUME,   /* also the end of a pause that said for how long */
    HM_FAULT_KILL,     /* node is gone without a word */
    HM_FAULT_RESTART,  /* a killed node comes back as a new life */
    HM_FAULT_LEAVE,    /* node takes itself out */
    HM_FAULT_JOIN,     /* a new node */
    HM_FAULT_CUT,      /* messages from `from` to `to` are lost */
    HM_FAULT_HEAL,     /* ends all cuts of these links */
    HM_FAULT_RESET,    /* connections between `from` and `to` break; they may be made again */
    HM_FAULT_FLIP,     /* one bit of the next delta or snapshot that node sends */
    HM_FAULT_CLOCK,    /* node's clock jumps */
    HM_FAULT_TYPES,
};

enum hm_fault_what { HM_FLIP_DELTA, HM_FLIP_SNAPSHOT };

struct hm_fault_event {
    uint64_t at_us;
    enum hm_fault_type type;
    uint32_t node;                       /* the one meant; 0 where links are */
    const struct hm_node_set *from, *to; /* of cut, its end, heal, reset; else NULL */
    bool one_way;                        /* cut, its end, heal: only messages from `from` to `to` */
    uint64_t until_us;                   /* cut: when it ends by itself; HM_FAULTS_FOREVER */
    enum hm_fault_what what;             /* flip */
    int64_t jump_us;                     /* clock: forward or back */
    uint32_t entry;                      /* of "events" in the file, for messages */
    uint32_t order;                      /* of sorting */
};

struct hm_fault_text; /* the file, for messages */

struct hm_faults {
    uint32_t n_nodes;             /* at the start */
    uint32_t n_joins;             /* nodes n_nodes to n_nodes + n_joins - 1 come later */
    struct hm_fault_link *link;   /* [n_links], as in the file: a later one overrides */
    struct hm_fault_node *node;   /* [n_node_entries], as in the file: a later one overrides */
    struct hm_fault_event *event; /* [n_events], by time; at one time as in the file */
    size_t n_links, n_node_entries, n_events;
    struct hm_node_set *set; /* of the events, [n_sets] */
    size_t n_sets;
    struct hm_fault_text *text;
};

/* Reads and checks a plan for a mesh that starts with n_nodes. A mistake is HM_EINPUT with
 * "FILE:LINE:COLUMN: FIELD: what was met; what is expected"; HM_EIO, HM_ENOMEM. On failure *faults
 * is empty; close it in any case. Traces are looked for beside the plan. */
enum hm_status hm_faults_open(struct hm_faults *faults, const char *path, uint32_t n_nodes,
                              struct hm_err *err);

/* The same for a plan [n] in memory; `name` stands for the file in messages. folder: see
 * hm_dist_parse. */
enum hm_status hm_faults_parse(struct hm_faults *faults, const char *plan, size_t n,
                               const char *name, const char *folder, uint32_t n_nodes,
                               struct hm_err *err);

void hm_faults_close(struct hm_faults *faults); /* leaves zeros; zeros are fine */

/* How a link is at a time. */
struct hm_link_now {
    const struct hm_dist *latency; /* NULL: not said */
    double bandwidth;              /* 0: not said */
    double drop, duplicate, reorder;
    bool cut;
    uint64_t until_us; /* it stays so until then, or longer; HM_FAULTS_FOREVER */
};
struct hm_link_now hm_faults_link(const struct hm_faults *faults, uint32_t from, uint32_t to,
                                  uint64_t now_us);

/* How a node works. Distributions are NULL and speed 0 when the plan does not say. */
struct hm_node_pace {
    double speed;
    const struct hm_dist *step_time, *delay;
};
struct hm_node_pace hm_faults_pace(const struct hm_faults *faults, uint32_t node);

/* "kill", as in the file. */
const char *hm_fault_name(enum hm_fault_type type);

/* "cut from 0-1 to 2 for 1s", without the time at which it happens; cut off at the end of the room.
 */
void hm_fault_describe(const struct hm_fault_event *event, char *text, size_t room);

enum hm_faults_part { HM_PART_LINKS, HM_PART_NODES, HM_PART_EVENTS };

/* For who carries a plan out and cannot do a part of it: writes "FILE:LINE:COLUMN: events[3]: TEXT"
 * to err and returns HM_EUSAGE. `entry` counts as in the file: the index of a link or node entry,
 * `entry` of an event. */
enum hm_status hm_faults_refuse(const struct hm_faults *faults, enum hm_faults_part part,
                                size_t entry, struct hm_err *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The plan as JSON that parses to an equal plan: lists written out, sorted. To be freed; NULL when
 * there is no memory. */
char *hm_faults_write(const struct hm_faults *faults);

#endif
