/* The protocol as a state machine without input or output.
 *
 * Everything that can happen comes in as an event with the time in it; everything to do goes out as
 * actions. The same events give the same actions, byte for byte, so the machine runs under a real
 * clock and sockets, under a simulator and under a test's eyes alike. It never sees W: it says what
 * to extract and what to apply.
 *
 *     hm_mesh_step(mesh, &event);
 *     while ((action = hm_mesh_next(mesh))) carry it out;   // APPLY, EXTRACT
 * and some others answer with an event of their own, at once and in their order
 *
 * One thread at a time per mesh. The rules are written down in protocol/WIRE.md.
 */
#ifndef HM_PROTOCOL_MESH_H
#define HM_PROTOCOL_MESH_H

#include "protocol/blob.h"
#include "protocol/config.h"
#include "protocol/decoded.h"
#include "protocol/tally.h"
#include "protocol/wire.h"
#include "sparse/combine.h"

enum { HM_ROUTE_MAX = 16, HM_NOTE_MAX = 383 };

/* ---- what may happen ---- */

enum hm_event_type {
    HM_EV_TICK,       /* time has passed */
    HM_EV_MESSAGE,    /* header and payload arrived */
    HM_EV_SUBSCRIBED, /* somebody subscribed to our XPUB */
    HM_EV_APPLIED,    /* the APPLY action is done */
    HM_EV_EXTRACTED,  /* the EXTRACT action is done */
    HM_EV_SNAPSHOT,   /* the SNAPSHOT action is done */
    HM_EV_INSTALLED,  /* the INSTALL action is done */
    HM_EV_VERIFIED,   /* the VERIFY action is done */
    HM_EV_POINTED_AT, /* somebody of this mesh is said to be at an address, as peers' lists say it
                       */
    HM_EV_WORK_ENDED, /* after END_WORK: no worker touches W any more */
    HM_EV_STOP,       /* the user, or a score that is good enough, ends the run of the whole mesh */
    HM_EV_STATUS,     /* the STATUS action is done */
    HM_EV_LEAVE,      /* the user takes this node out; the others go on */
};

enum hm_channel {
    HM_CH_PUBLISHED, /* on our SUB socket */
    HM_CH_REQUEST,   /* on our ROUTER; answer with REPLY along `route` */
    HM_CH_ANSWER,    /* on one of our DEALERs */
};

struct hm_event {
    enum hm_event_type type;
    uint64_t now_us;         /* monotonic */
    uint64_t own_steps;      /* steps that workers have made since the last extract */
    const uint64_t *readers; /* [n_readers] gradients that each has begun to read W for, and added
                                to W: the sum, odd between the two. May be NULL for none */
    union {
        struct {
            enum hm_channel channel;
            const uint8_t *header; /* [header_n] */
            size_t header_n;
            struct hm_blob
                *payload; /* may be NULL for an empty frame; the mesh shares it if it keeps it */
            const uint8_t *route; /* [route_n] of a request: opaque, at most HM_ROUTE_MAX */
            size_t route_n;
        } message;
        struct {
            const struct hm_delta *delta; /* what was extracted and already added to B */
            uint64_t steps;               /* made since the last extract */
            uint64_t digest;  /* of all of B after it, when the action asked `verify` or there were
                                 leaps; else 0 */
            uint32_t cost_us; /* processor time of the protocol since the last extract: receiving,
                                 and this */
            struct hm_extract_stats stats;
            double rate;       /* learning rate in force, for reports; 0: unknown */
            const char *place; /* of the first number that is not finite, else of the first that
                                  leaps, as people call it; NULL: by the layout */
        } extracted;
        struct hm_blob *base;   /* of SNAPSHOT: B as it is, [n] uint32_t of this machine, which the
                                   mesh owns from now on; NULL without memory */
        struct hm_blob *status; /* of STATUS: what to answer, which the mesh owns from now on; NULL:
                                   nothing */
        uint64_t digest;        /* of VERIFIED: H(B) */
        const struct hm_peer_entry *peer; /* of POINTED_AT: label and endpoints by their rules */
        const char *reason;               /* of STOP and LEAVE */
    };
};

/* ---- what there is to do ---- */

enum hm_action_type {
    HM_ACT_CONNECT,    /* dial `rpc` by the DEALER of `slot`, subscribe to `pub`; replaces what the
                          slot had */
    HM_ACT_DISCONNECT, /* close the slot's connections */
    HM_ACT_SEND,       /* to the DEALER of `slot` */
    HM_ACT_REPLY,      /* by the ROUTER along `route` */
    HM_ACT_BROADCAST,  /* by the XPUB */
    HM_ACT_EXTRACT,    /* make a delta of W - B, as `extract` says, and answer EXTRACTED */
    HM_ACT_RETRACT,    /* what was extracted last must not go out: take `delta` out of B again, and
                          W := B * grid. After END_WORK */
    HM_ACT_APPLY,      /* add `delta` to B and W, and answer APPLIED */
    HM_ACT_SNAPSHOT,   /* copy B at once and answer SNAPSHOT with the copy */
    HM_ACT_INSTALL,  /* W += (base - B) * grid, B = base (sparse/install.h), and answer INSTALLED */
    HM_ACT_VERIFY,   /* compute the digest of all of B and answer VERIFIED */
    HM_ACT_STATUS,   /* somebody asks how node and mesh stand: answer STATUS */
    HM_ACT_START,    /* workers may begin */
    HM_ACT_END_WORK, /* workers shall end; answer WORK_ENDED when they have */
    HM_ACT_NOTE,     /* something a person may want to know: `note` */
    HM_ACT_FINISH,   /* the run is over: see hm_mesh_result */
};

enum hm_note_level { HM_NOTE_INFO, HM_NOTE_WARNING, HM_NOTE_ERROR };

struct hm_action {
    enum hm_action_type type;
    unsigned slot;
    uint8_t header[HM_HEADER_BOUND];
    size_t header_n;
    struct hm_blob *payload; /* owned by the action until the next call of hm_mesh_next */
    uint8_t route[HM_ROUTE_MAX];
    size_t route_n;
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
    struct {
        struct hm_publish publish;
        float rescale; /* when not 0: afterwards W += rescale * (W - B * grid), for a change of the
                          divisor */
        int verify;    /* 1: report the digest of all of B */
        /* Of rules that publish rows in rotation: */
        uint64_t pass_steps;  /* own steps that a whole turn is to take; 0: all at once */
        uint64_t room_blocks; /* of a delta that there is room for: in memory, under caps */
    } extract;
    const struct hm_delta *delta; /* valid until APPLIED; of RETRACT: the one of EXTRACTED */
    uint64_t from;                /* of APPLY: the life whose delta it is */
    uint64_t steps;               /* of APPLY: that it stands for */
    int early; /* of APPLY: made after more steps than this node has published, counted as for
                  lead_max */
    const uint32_t *base; /* of INSTALL, [n]; valid until INSTALLED */
    enum hm_note_level level;
    char note[HM_NOTE_MAX + 1];
};

/* ---- what a mesh is made with ---- */

/* Safeguards that a test switches off to see that the tests notice. */
enum hm_without {
    HM_WITHOUT_REPAIR = 1,  /* nothing that is missing is asked for */
    HM_WITHOUT_DIGEST = 2,  /* deltas, snapshots and beats are believed */
    HM_WITHOUT_RENEWAL = 4, /* who yields goes on as the same life */
    HM_WITHOUT_ORDER = 8,   /* deltas are applied as they come */
    HM_WITHOUT_ARBITER = 16 /* of two whose logs do not meet each gives way */
};

struct hm_mesh_resume;

struct hm_mesh_params {
    uint64_t life; /* random, never 0, never used before */
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1]; /* where peers reach us */
    const struct hm_fields *config;                          /* borrowed for the life of the mesh */
    const uint8_t *bulk; /* [bulk_n] what HELLO_OK brings beside the configuration; borrowed;
                            left out when it does not fit into a message */
    size_t bulk_n;
    const struct hm_layout *layout; /* borrowed */
    const struct hm_kernels *kernels;
    struct hm_decoder *decoder; /* shared by the meshes of one thread, borrowed; NULL: its own */
    uint64_t digest0;           /* H(B0) */
    struct hm_combine combine;
    unsigned expect;          /* nodes, this one included, to hear before training starts; >= 1 */
    uint64_t join_timeout_us; /* give up waiting for them after so long */
    uint64_t budget_steps;    /* mesh-wide; 0: no limit */
    uint64_t flush_us;        /* fixed interval; 0: adaptive */
    int flush_step;           /* 1: every batch is a delta */
    uint64_t lead_max;        /* steps, unpublished ones included, of which a node may get ahead of
                                 the slowest that trains; 0: no bound */
    int rounds; /* that is one batch, which is published at once: a budget ends with a round */
    uint64_t bandwidth;     /* bytes/s handed to sockets, all copies counted; 0: no limit */
    int crowded;            /* the thread that owns the mesh takes its time from workers */
    uint64_t log_bytes_max; /* of deltas kept for repair */
    uint64_t suspect_us,
        gone_us;           /* silence until a peer is re-dialled, and until it counts as dead */
    uint64_t seed;         /* of jitter and of further lives */
    uint32_t chunk_blocks; /* blocks in a chunk of a snapshot; 0: a good number */
    unsigned n_readers;    /* threads whose gradients take their time */
    uint32_t seq_max;      /* deltas of one life, then it goes on as another; 0: HM_SEQ_MAX */
    unsigned without;      /* enum hm_without; 0 but in tests of the tests */
    const struct hm_peer_entry *peer; /* [n_peers] known already, from HELLO_OK */
    size_t n_peers;
    const struct hm_mesh_resume *resume; /* of a former life (protocol/resume.h), with B of the
                                            same instant; NULL: none. Only read by hm_mesh_open */
};

/* ---- what can be asked ---- */

struct hm_counters {
    uint64_t published, pieces_empty; /* own deltas; of these without coordinates */
    uint64_t applied, duplicates, repaired, held;
    uint64_t covered;  /* deltas that came with snapshots */
    uint64_t undone;   /* others' deltas that an install took back; they come again, or are lost */
    uint64_t renewed;  /* own deltas published anew, in another life's stream */
    uint64_t renewals; /* lives begun besides the first */
    uint64_t abandoned,
        orphaned;     /* deltas given up for ever; of these others', whose origin died */
    uint64_t doubled; /* own deltas that the mesh has kept although they came anew as well: when two
                         sides gave way to each other at the same time. Known at the end */
    uint64_t snapshots_cut, snapshots_installed, snapshots_refused, chunks_served;
    uint64_t peers_damaged; /* excluded because their replicas are wrong */
    uint64_t refused_malformed, refused_fingerprint, refused_version, refused_digest,
        refused_overflow, refused_hello;
    uint64_t wants_sent, wants_served, nohaves;
    uint64_t bytes_sent, bytes_received; /* all copies, headers and payloads */
    uint64_t bytes_published;            /* own delta payloads and headers, one copy */
    uint64_t coordinates_sent;           /* non-zero, in own deltas */
    uint64_t blocks_sent;                /* blocks in the ranges of own deltas */
    uint64_t asked, asked_refused;       /* ASKs that were answered; that came too often */
    uint64_t redials, peers_gone;
    uint64_t residual_age; /* most flushes in a row that had to leave back what exceeds the dead
                              zone, or gave some row no turn */
    uint64_t nonfinite;    /* weights that were NaN or infinite and were set back to B */
};

struct hm_link {
    uint64_t from; /* life of the origin */
    char label[HM_LABEL_MAX + 1];
    uint32_t seq; /* deltas applied */
    uint64_t steps;
    struct hm_tally flushes, step; /* staleness of its deltas when applied here */
};

struct hm_member_info {
    uint64_t life;
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1]; /* where it is reached */
    enum hm_phase phase;
    int gone, left;
    uint64_t silent_us, rtt_us;
    uint32_t lag_flushes; /* own flushes it has not acknowledged */
};

struct hm_result {
    enum hm_status status; /* HM_OK: CLEAN */
    int clean;
    char text[HM_NOTE_MAX + 1]; /* why not */
    uint64_t lost;              /* deltas known to be published and in no final vector here */
};

struct hm_mesh;

enum hm_status hm_mesh_open(struct hm_mesh **mesh, const struct hm_mesh_params *params,
                            uint64_t now_us, struct hm_err *err);
void hm_mesh_close(struct hm_mesh *mesh);

/* Lets one event happen; its actions are then to be taken from hm_mesh_next until it returns NULL.
 */
void hm_mesh_step(struct hm_mesh *mesh, const struct hm_event *event);

/* The next action, valid until the next call on this mesh; NULL when there is none. */
const struct hm_action *hm_mesh_next(struct hm_mesh *mesh);

/* When the mesh wants a TICK at the latest, given that workers have (busy) or have not made steps.
 */
uint64_t hm_mesh_wake_us(const struct hm_mesh *mesh, int busy);

enum hm_phase hm_mesh_phase(const struct hm_mesh *mesh);
uint64_t hm_mesh_life(const struct hm_mesh *mesh); /* now: a node that yields goes on as another */
uint64_t hm_mesh_fingerprint(const struct hm_mesh *mesh);
uint64_t hm_mesh_steps(const struct hm_mesh *mesh); /* mesh-wide, published and applied here */
uint64_t hm_mesh_own_published_steps(const struct hm_mesh *mesh);
uint64_t hm_mesh_digest(const struct hm_mesh *mesh); /* H(B) that the vector promises */
struct hm_combination
hm_mesh_combination(const struct hm_mesh *mesh);     /* in force for workers now */
unsigned hm_mesh_n_live(const struct hm_mesh *mesh); /* training nodes, this one included */
int hm_mesh_stopping(const struct hm_mesh *mesh, const char **reason);
uint64_t hm_mesh_flush_interval_us(const struct hm_mesh *mesh);
uint64_t hm_mesh_delay_us(const struct hm_mesh *mesh); /* one way to the farthest live peer */
uint64_t hm_mesh_unseen_us(
    const struct hm_mesh *mesh); /* what was published before that has reached the others, about */
uint64_t hm_mesh_steps_cap(
    const struct hm_mesh *mesh); /* own unflushed steps at which workers wait for a flush */
uint64_t hm_mesh_steps_lead(
    const struct hm_mesh *mesh); /* own unflushed steps that lead_max allows; UINT64_MAX: any */
uint64_t hm_mesh_log_bytes(const struct hm_mesh *mesh);
const struct hm_counters *hm_mesh_counters(const struct hm_mesh *mesh);
const struct hm_result *hm_mesh_result(const struct hm_mesh *mesh);

/* Streams known here (one per life that published), the own one included; index < the count. The
 * view is valid until the next call. */
size_t hm_mesh_n_streams(const struct hm_mesh *mesh);
const struct hm_link *hm_mesh_link(struct hm_mesh *mesh, size_t index);
size_t hm_mesh_n_members(const struct hm_mesh *mesh);
struct hm_member_info hm_mesh_member(const struct hm_mesh *mesh, size_t index, uint64_t now_us);

/* 1 when this node's label sorts first among those that ended CLEAN in its view: it does what one
 * node should. */
int hm_mesh_is_first(const struct hm_mesh *mesh);

#endif
