/* Inside of the mesh: its state, shared by the files protocol/mesh*.c and nobody else. */
#ifndef HM_PROTOCOL_MESH_STATE_H
#define HM_PROTOCOL_MESH_STATE_H

#include "protocol/decoded.h"
#include "protocol/log.h"
#include "protocol/mesh.h"
#include "sparse/rng.h"

#include <stdbool.h>

/* Of a flush, in one message: that many full blocks fit into a payload beside the vectors. */
enum { PIECE_BLOCKS_MAX = 3500 };

enum {
    MEMBERS_MAX = HM_PEERS_MAX,
    SLOT_WORDS = MEMBERS_MAX / 64,
    SLOT_INDEX = 2 * MEMBERS_MAX, /* places to find a member's slot by its life */
    HELD_MAX = 64,                /* deltas held of one stream, waiting for a gap to close */
    HELD_BYTES_MAX = 16 << 20,    /* of all streams */
    BEATS_KEPT = 32,              /* own beats whose time is kept, for round-trip times */
    BEATS_OVERTAKEN = 1000,       /* a lower number than by so much is no old beat: the newest was
                                     damaged, and must not silence its sender for ever */
    BEAT_MIN_US = 250000,
    BEAT_MAX_US = 500000,
    BEAT_BUSY_US = 25000, /* between beats while the mesh gathers or agrees that it has ended */
    BEAT_SOON_US = 2000,  /* least distance of beats that answer a subscription or news of a peer */
    HELLO_PEERS = 64,     /* that an answer to HELLO names; beats name the others */
    GATHERING_PEERS = 128, /* that a beat names while the mesh gathers; more take turns */
    BEAT_PEERS = 8,        /* peers that a beat of a running mesh names besides the new ones */
    BEAT_FEW = 4,          /* both hold for so few peers and grow with their number: all hear all */
    EXIT_MAX_US = 5000000,
    PAUSE_US = 500000,       /* between ticks: the whole process stood still */
    JOIN_QUIET_US = 1000000, /* a joiner waits so long for peers that it was told of */
    ACTIONS_MAX = 8192,      /* of one event */
};

/* A tick may dial and greet every member with a note about it, and ask for every stream. */
_Static_assert(ACTIONS_MAX >= 3 * MEMBERS_MAX + HM_STREAMS_MAX + 64, "a tick's actions fit");

struct held {
    struct hm_delta_head head;
    struct hm_blob *payload;
};

/* One life's deltas, as far as they are known here. */
struct stream {
    struct hm_link link; /* life, label, seq applied, tallies */
    uint32_t flush;      /* flushes completely applied */
    uint16_t rank;       /* among all streams, by life: its place in the mesh's columns */
    uint64_t digest;     /* cumulative, after link.seq */
    uint32_t head;       /* highest seq that somebody may have */
    uint32_t join_goal;  /* what a joiner has to have before it takes part */
    uint32_t named;      /* highest seq given up as lost with its origin; 0: none */
    struct hm_log log;
    struct held *held; /* [HELD_MAX], allocated with the first gap */
    size_t n_held;
    uint64_t want_at;    /* 0: nothing wanted; else when to ask (again) */
    uint64_t want_since; /* when the gap was first seen */
    unsigned want_tries;
    uint64_t nohave[SLOT_WORDS]; /* bit per member slot that said NOHAVE since the gap opened */
    bool stuck;  /* all that have what is missing said so: logs do not help any more */
    bool former; /* of a life that this process had */
    uint32_t lost_from, lost_to; /* deltas after the first up to the second count as abandoned */
    uint32_t renounced; /* not 0: deltas from this on are void, their origin publishes them anew */
};

/* A peer: one life of a node, by the slot that its connections have. */
struct member {
    uint64_t life; /* 0: the slot is free */
    char label[HM_LABEL_MAX + 1];
    char rpc[HM_ENDPOINT_MAX + 1], pub[HM_ENDPOINT_MAX + 1];
    enum hm_phase phase;
    bool gone, left, left_clean, greeted, hears_us, refused;
    bool replaced;               /* another life has its address: it is over */
    bool same;                   /* its newest beat has our present vector */
    uint64_t added_us, heard_us; /* heard 0: never */
    uint64_t dial_us;            /* when to greet or re-dial next */
    unsigned dials;
    uint32_t beat; /* newest heard, and when */
    uint64_t beat_us;
    uint64_t slept_us; /* how long we stood still ourselves since then */
    uint64_t digest, steps;
    uint64_t left_digest;
    uint64_t rtt_us;          /* 0: unknown */
    uint32_t flush_acked;     /* own flushes it is known to have applied */
    struct hm_vector *vector; /* of its newest beat */
    uint64_t warned;          /* bits: notes already given about this peer */
    unsigned contradictions;  /* beats in a row whose digests are not ours at the same vector */
    unsigned clones;          /* beats in a row that know more of our stream than we do */
    bool damaged;             /* its replica is wrong: it is not listened to any more */
    bool hung_up;             /* its connections are closed for good */
    bool in_step;             /* it trains: counts as live, and for the bound on staleness */
    int64_t ahead_at_first;   /* steps that its stream had more than ours when it began to count */
};

/* ---- state transfer ---- */

enum {
    DECISIONS_MAX = 64,
    ASKERS_MAX = 8,
    AVOIDED_MAX = 8,
    FETCH_WINDOW = 4,
    FORMERS_MAX = 16,
};

/* A cut of B, as it is given out. */
struct snapshot {
    struct hm_blob *base; /* NULL: there is none */
    struct hm_vv_entry *vv;
    size_t n_vv;
    struct hm_blob *vector; /* vv as it goes out */
    struct hm_state_meta_head meta;
    uint64_t cut_us, used_us;
};

struct asker {
    uint8_t route[HM_ROUTE_MAX];
    size_t route_n;
    bool adopt;
};

/* Which of two nodes gives way, as the one with the higher life has decided. */
struct decision {
    uint64_t peer;
    bool made, we_void, they_void, peer_gives_way;
    uint64_t made_us;
};

enum fetch_step { FETCH_IDLE, FETCH_ASKED, FETCH_CHUNKS, FETCH_READY };

struct wanted_chunk {
    uint32_t chunk;
    unsigned tries; /* 0: the place is free */
    uint64_t due_us;
};

/* A snapshot that is being taken. */
struct fetch {
    uint64_t calm_us; /* since when nothing but another's state helps; 0: not so */
    enum fetch_step step;
    uint64_t server; /* its life */
    uint64_t due_us; /* when to look again */
    unsigned attempts, asks, n_bad;
    bool decide;   /* asked who gives way */
    bool yielding; /* it is we */
    struct hm_state_meta_head meta;
    struct hm_vv_entry *vv; /* [n_vv] of the snapshot, allocated with the first */
    size_t n_vv;
    uint32_t *base; /* [n] */
    uint8_t *got;   /* [meta.n_chunks] */
    uint32_t n_got, next;
    struct wanted_chunk window[FETCH_WINDOW];
    uint64_t heard_us; /* when the last chunk came */
    struct {
        uint64_t life, until_us;
    } avoid[AVOIDED_MAX];
    size_t n_avoided;
};

struct former {
    uint64_t life;
    uint32_t seq, renounced;
};

/* A vector of the past; is_now: nothing was applied since, and the columns are not filled in. */
struct mark {
    uint64_t steps[HM_STREAMS_MAX]; /* as `now` of a mesh */
    uint32_t flush[HM_STREAMS_MAX];
    bool is_now;
    uint64_t count; /* of a reader: gradients read and added; odd: one is under way */
};

struct hm_mesh {
    struct hm_mesh_params params;
    uint64_t fingerprint;
    struct hm_rng rng;
    uint64_t now_us, own_steps;
    uint64_t ticked_us;

    enum hm_phase phase;
    bool working;     /* START was given and WORK_ENDED has not come */
    bool ending;      /* END_WORK was given */
    bool drained;     /* the final flush has published everything */
    bool goal_marked; /* join_goal of the streams is set */
    bool leaving;     /* this node goes, the mesh stays */
    bool finished;
    bool stop;
    char stop_reason[HM_REASON_MAX + 1];
    uint64_t opened_us, ready_us, exiting_us, leaving_us;
    bool withdrawn; /* leaving because something is wrong here; publishes nothing any more */
    enum hm_status withdrawn_status;
    char withdrawn_text[HM_NOTE_MAX + 1];
    uint64_t nonfinite_in_a_row; /* flushes */
    uint64_t verify_due_us;

    struct stream *stream[HM_STREAMS_MAX]; /* [0] is the own one */
    size_t n_streams;
    uint16_t by_life[HM_STREAMS_MAX]; /* indexes of stream, lives ascending */
    struct columns { /* of all streams, lives ascending: what is applied, to be summed and compared
                        without a visit to each stream */
        uint64_t life[HM_STREAMS_MAX], steps[HM_STREAMS_MAX], digest[HM_STREAMS_MAX];
        uint32_t seq[HM_STREAMS_MAX], flush[HM_STREAMS_MAX];
    } now;
    struct mark start;   /* what the running accumulation started from */
    bool start_read;     /* that is, from where gradients in it were read */
    struct mark *reader; /* [n_readers] where gradients that are under way were read */
    struct member member[MEMBERS_MAX];
    unsigned n_slots;   /* slots from here on have never been used */
    unsigned n_members; /* slots that have a life */
    uint64_t
        look_due_us; /* before that a large mesh does not look whether all have gathered or agree */
    unsigned n_live; /* other nodes that train and live */
    uint64_t members_due_us, wants_due_us; /* before that no member, no want has anything to do */
    uint64_t slot_life[SLOT_INDEX]; /* a member's life, where its search begins or after it; 0: none
                                     */
    uint16_t slot_index[SLOT_INDEX];
    struct {
        uint8_t route[HM_ROUTE_MAX]; /* of who is being answered */
        size_t route_n;
        uint64_t number;
        uint64_t credit_us, since_us; /* for further answers: see mesh_ask.c */
    } ask;
    uint64_t refused_life[16]; /* strangers already warned about */
    size_t n_refused_lives;

    /* beats */
    uint32_t beat;
    uint64_t beat_due_us, beat_sent_us[BEATS_KEPT];
    bool beat_soon;

    /* flushing */
    uint32_t flush; /* own flushes published */
    uint64_t flush_due_us, flush_last_us, interval_us, clipped_in_a_row;
    uint64_t final_due_us; /* when a cap lets the final flush go on; 0: now */
    bool extracting, starved;
    struct hm_combination combination;
    double cost_us,
        rate; /* moving averages: the protocol's cost of an interval; own steps per second */
    double slow_down;   /* >= 1: factor on the interval because peers lag */
    double stretch;     /* the same because this thread has too much to do; of rules that rotate */
    struct allowance {  /* bytes, refilled at a rate, in bursts of a quarter second at most */
        double tokens;  /* may go negative: that much is owed */
        uint64_t us;    /* when they were refilled */
    } bandwidth, own;   /* of all that is sent; of own deltas, a copy of each */
    double block_bytes; /* of a block in own deltas */

    /* receiving */
    struct hm_decoder *decoder, *own_decoder;
    bool applying;
    uint64_t held_bytes, log_bytes;
    uint64_t trim_due_us; /* before that the logs are not searched for what all have */
    struct stream *applying_stream;
    struct hm_delta_head applying_head;

    /* state transfer */
    struct snapshot snapshot;
    struct asker asker[ASKERS_MAX];
    size_t n_askers;
    struct decision decision[DECISIONS_MAX];
    size_t n_decisions;
    struct fetch fetch;
    bool installing, renewing;
    uint8_t *chunk_scratch; /* [HM_RAW_MAX] with the first chunk */
    struct hm_delta chunk_delta;
    struct former former[FORMERS_MAX];
    size_t n_formers;

    uint64_t suspect; /* life whose beats contradict this replica */

    /* sending */
    uint8_t *packed;    /* scratch of hm_pack */
    size_t packed_room; /* for a piece */

    struct hm_action *action; /* [ACTIONS_MAX], grown as needed */
    size_t n_actions, next_action, actions_room;

    struct hm_counters counters;
    struct hm_result result;
};

/* mesh.c: actions */
struct hm_action *hm_mesh_act(struct hm_mesh *mesh, enum hm_action_type type);
void hm_mesh_note(struct hm_mesh *mesh, enum hm_note_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct hm_header hm_mesh_header(const struct hm_mesh *mesh, enum hm_message_type type);
void hm_mesh_send(struct hm_mesh *mesh, unsigned slot, const struct hm_header *header,
                  struct hm_blob *payload);
void hm_mesh_reply(struct hm_mesh *mesh, const struct hm_event *request,
                   const struct hm_header *header, struct hm_blob *payload);
void hm_mesh_broadcast(struct hm_mesh *mesh, const struct hm_header *header,
                       struct hm_blob *payload);
void hm_mesh_finish(struct hm_mesh *mesh, enum hm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void hm_mesh_raise_stop(struct hm_mesh *mesh, const char *reason);

/* mesh_vector.c: streams and vectors */
struct stream *hm_mesh_stream(const struct hm_mesh *mesh, uint64_t life); /* NULL when unknown */
/* How much of what somebody has of a stream is worth having: without what is void, unless such is
 * here already. */
uint32_t hm_mesh_sound(const struct stream *s, uint32_t seq);
struct stream *hm_mesh_stream_make(struct hm_mesh *mesh,
                                   uint64_t life); /* NULL when there is no room */
size_t hm_mesh_vector(const struct hm_mesh *mesh, struct hm_vv_entry *vv /* [HM_STREAMS_MAX] */);
void hm_mesh_show_progress(
    struct hm_mesh *mesh,
    const struct stream *stream); /* after its seq, flush, steps or digest have changed */
bool hm_mesh_same_vector(const struct hm_mesh *mesh, const struct hm_vector *vector);
void hm_mesh_measure_staleness(struct hm_mesh *mesh, struct stream *stream,
                               const struct hm_starts *start);

/* mesh_start.c */
bool hm_mesh_starts_open(struct hm_mesh *mesh);
void hm_mesh_starts_close(struct hm_mesh *mesh);
void hm_mesh_starts_insert(struct hm_mesh *mesh, size_t i); /* a column, before those from i on */
void hm_mesh_starts_keep(struct hm_mesh *mesh);             /* before `now` changes */
void hm_mesh_heed_readers(struct hm_mesh *mesh, const uint64_t *count); /* of an event */
void hm_mesh_mark_start(struct hm_mesh *mesh); /* the next accumulation begins */
void hm_mesh_mark_idle(struct hm_mesh *mesh);  /* it has not begun yet, if nothing was read */
void hm_mesh_start_at_most_now(struct hm_mesh *mesh,
                               const struct stream *stream); /* after a stream has fallen back */
void hm_mesh_start_at_now(struct hm_mesh *mesh, const struct stream *stream);
size_t hm_mesh_spans(const struct hm_mesh *mesh, struct hm_span_entry *span /* [HM_STREAMS_MAX] */);

/* mesh_members.c: who is there */
void hm_mesh_on_hello(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header);
void hm_mesh_on_other_version(struct hm_mesh *mesh, const struct hm_event *event,
                              const struct hm_header *header, bool first);
void hm_mesh_on_hello_ok(struct hm_mesh *mesh, const struct hm_event *event,
                         const struct hm_header *header);
void hm_mesh_on_reject(struct hm_mesh *mesh, const struct hm_header *header);
void hm_mesh_on_beat(struct hm_mesh *mesh, const struct hm_event *event,
                     const struct hm_header *header);
void hm_mesh_on_leave(struct hm_mesh *mesh, const struct hm_header *header);
void hm_mesh_life_sign(struct hm_mesh *mesh, uint64_t life);
struct member *hm_mesh_member_of(struct hm_mesh *mesh, uint64_t life);
struct member *hm_mesh_member_add(struct hm_mesh *mesh, const struct hm_peer_entry *peer,
                                  bool direct);
bool hm_member_live(
    const struct member *member); /* counts in decisions: known, heard, neither gone nor left */
void hm_mesh_tick_members(struct hm_mesh *mesh);

/* This node has stood still for so long. */
void hm_mesh_slept(struct hm_mesh *mesh, uint64_t us);
void hm_mesh_beat(struct hm_mesh *mesh);
uint64_t hm_mesh_crowd(const struct hm_mesh *mesh); /* 1 for a few members; grows with them */
uint64_t
hm_mesh_beat_soon_us(const struct hm_mesh *mesh); /* when the next beat may go out of turn */

/* mesh_flush.c: publishing */
void hm_mesh_tick_flush(struct hm_mesh *mesh);
void hm_mesh_pace(struct hm_mesh *mesh); /* says when the next flush is due */
void hm_mesh_on_extracted(struct hm_mesh *mesh, const struct hm_event *event);
void hm_mesh_feel_lag(struct hm_mesh *mesh, struct member *member,
                      const struct hm_decoded *decoded);
void hm_mesh_spend(struct hm_mesh *mesh, size_t bytes);
uint64_t hm_mesh_rtt_us(const struct hm_mesh *mesh); /* of the farthest live peer */
bool hm_mesh_may_serve(struct hm_mesh *mesh);

/* mesh_log.c: what is kept for repair */
void hm_mesh_log(struct hm_mesh *mesh, struct stream *stream,
                 struct hm_log_entry *entry); /* takes its ownership; NULL: no memory */
void hm_mesh_trim(struct hm_mesh *mesh);
uint32_t hm_mesh_acknowledged(const struct hm_mesh *mesh,
                              const struct stream *stream); /* by all who live */

/* mesh_bound.c: how far ahead of the slowest a node may get */
bool hm_member_trains(const struct member *member); /* or is about to */
void hm_mesh_count(struct hm_mesh *mesh,
                   struct member *member);    /* after it has come, gone, or changed its phase */
void hm_mesh_step_anew(struct hm_mesh *mesh); /* this node is in step with all, now */
bool hm_mesh_is_early(struct hm_mesh *mesh, const struct stream *stream);

/* mesh_sanity.c: what is wrong with this node */
void hm_mesh_tick_sanity(struct hm_mesh *mesh);
bool hm_mesh_sane(struct hm_mesh *mesh, const struct hm_event *extracted);
bool hm_mesh_check_base(struct hm_mesh *mesh, uint64_t digest, uint64_t expected);
void hm_mesh_withdraw(struct hm_mesh *mesh, enum hm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* mesh_receive.c: deltas of others */
void hm_mesh_on_delta(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header);
void hm_mesh_on_applied(struct hm_mesh *mesh);
void hm_mesh_drop_held(struct hm_mesh *mesh, struct stream *stream);

/* mesh_repair.c: gaps */
void hm_mesh_want(struct hm_mesh *mesh, struct stream *stream, uint64_t delay_us);
uint64_t hm_mesh_patience_us(const struct hm_mesh *mesh);
void hm_mesh_answered(struct hm_mesh *mesh, struct stream *stream);
void hm_mesh_on_want(struct hm_mesh *mesh, const struct hm_event *event,
                     const struct hm_header *header);
void hm_mesh_on_nohave(struct hm_mesh *mesh, const struct hm_header *header);
void hm_mesh_tick_repair(struct hm_mesh *mesh);
uint64_t hm_mesh_repair_wake_us(const struct hm_mesh *mesh);

/* mesh_resume.c: begins with what a former life wrote down */
enum hm_status hm_mesh_begin_from(struct hm_mesh *mesh, const struct hm_mesh_resume *resume,
                                  struct hm_err *err);

void hm_mesh_apply_next_held(struct hm_mesh *mesh); /* mesh_receive.c */
bool hm_mesh_hold(struct hm_mesh *mesh, struct stream *stream, const struct hm_delta_head *head,
                  struct hm_blob *payload);
/* mesh_members.c, too */
void hm_mesh_hang_up(struct hm_mesh *mesh,
                     struct member *member); /* it has left, or shall be let go */
void hm_mesh_succeed(struct hm_mesh *mesh, struct member *member, uint64_t life);
void hm_mesh_on_verified(struct hm_mesh *mesh, uint64_t digest);

/* mesh_ask.c: answering who asks how we are */
void hm_mesh_on_ask(struct hm_mesh *mesh, const struct hm_event *event,
                    const struct hm_header *header);
void hm_mesh_on_status(struct hm_mesh *mesh, struct hm_blob *status);

/* mesh_snapshot.c: giving the state away */
void hm_mesh_on_state_req(struct hm_mesh *mesh, const struct hm_event *event,
                          const struct hm_header *header);
void hm_mesh_on_snapshot(struct hm_mesh *mesh, struct hm_blob *base);
void hm_mesh_on_chunk_req(struct hm_mesh *mesh, const struct hm_event *event,
                          const struct hm_header *header);
void hm_mesh_tick_snapshot(struct hm_mesh *mesh);
void hm_mesh_drop_snapshot(struct hm_mesh *mesh);
bool hm_mesh_needs_void_gone(const struct hm_mesh *mesh);
bool hm_mesh_holds_void(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n);
bool hm_mesh_peer_gives_way(struct hm_mesh *mesh, uint64_t peer, const struct hm_vv_entry *vv,
                            size_t n);

/* mesh_fetch.c: taking another's */
void hm_mesh_on_state_meta(struct hm_mesh *mesh, const struct hm_event *event,
                           const struct hm_header *header);
void hm_mesh_on_chunk(struct hm_mesh *mesh, const struct hm_event *event,
                      const struct hm_header *header);
bool hm_mesh_keeps_calm(struct hm_mesh *mesh);
void hm_mesh_tick_fetch(struct hm_mesh *mesh);
uint64_t hm_mesh_fetch_wake_us(const struct hm_mesh *mesh);
bool hm_mesh_fetches(const struct hm_mesh *mesh, const struct stream *stream);
void hm_mesh_stop_fetching(struct hm_mesh *mesh, uint64_t pause_us);
const struct hm_vv_entry *hm_mesh_entry(const struct hm_vv_entry *vv, size_t n, uint64_t life);
int hm_mesh_chunk_room(struct hm_mesh *mesh, uint32_t n_blocks); /* 0, or -1 without memory */

/* mesh_install.c: adopting it, and going on as another life */
bool hm_mesh_would_lose(const struct hm_mesh *mesh, const struct hm_vv_entry *vv, size_t n);
void hm_mesh_install(struct hm_mesh *mesh);
void hm_mesh_on_installed(struct hm_mesh *mesh);
bool hm_mesh_renew(struct hm_mesh *mesh,
                   uint32_t renounced);     /* false: no room in the vector, nothing has changed */
void hm_mesh_no_room(struct hm_mesh *mesh); /* which ends this node */
void hm_mesh_regain(struct hm_mesh *mesh, struct stream *s, uint32_t seq);
void hm_mesh_say_yield(struct hm_mesh *mesh);
void hm_mesh_on_yield(struct hm_mesh *mesh, const struct hm_header *header);

/* mesh_phase.c: start and end */
void hm_mesh_tick_phase(struct hm_mesh *mesh);
void hm_mesh_on_work_ended(struct hm_mesh *mesh);
void hm_mesh_enter(struct hm_mesh *mesh, enum hm_phase phase);

#endif
