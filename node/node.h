/* hogmesh: one node of a mesh that trains a model without a coordinator.
 *
 *     struct hm_node_options options = hm_node_defaults();
 *     options.train.train[options.train.n_train++] = "train.svm";
 *     options.workload = "svm";
 *     options.peer[options.n_peers++] = "127.0.0.1:7000";
 *     struct hm_node *node;
 *     struct hm_err err;
 *     if (hm_node_open(&node, &options, &err) || hm_node_run(node, &err))
 *         fprintf(stderr, "%s\n", err.text);
 *
 * The library reads no environment, installs no signal handlers, prints nothing and never exits:
 * what there is to say goes to the callbacks, from the thread that runs the node unless said
 * otherwise.
 */
#ifndef HM_NODE_NODE_H
#define HM_NODE_NODE_H

#include "models/model.h"
#include "node/currencies.h"
#include "node/dist.h"
#include "node/feed.h"
#include "node/keys.h"
#include "node/strangers.h"
#include "protocol/mesh.h"

enum {
    HM_SEEDS_MAX = 64,
    HM_CURVE_MAX = 4096,
    HM_NODES_MAX = 64, /* of a mesh of processes: everybody is connected with everybody */
};

enum hm_flush_mode { HM_FLUSH_AUTO, HM_FLUSH_EVERY, HM_FLUSH_STEP };

/* How a node stands while it runs. */
struct hm_node_status {
    const char *stage; /* "load", "join", "train", "agree", "done" */
    enum hm_phase phase;
    double seconds;               /* since training began here; 0 before */
    uint64_t steps, budget;       /* mesh-wide */
    uint64_t own_steps, own_rate; /* of this node; steps per second lately */
    unsigned n_live;
    struct hm_score score; /* newest; n = 0: none yet */
    double staleness;      /* mean, in flushes */
    uint32_t lag;          /* flushes that the slowest peer is behind */
    uint64_t seq;          /* deltas published */
    uint64_t repaired, bytes_sent, bytes_received;
};

/* One point of a learning curve. */
struct hm_curve_point {
    char label[HM_LABEL_MAX + 1]; /* of the node whose B it is */
    double seconds;               /* of training, virtual or real */
    uint64_t steps;               /* mesh-wide, of the vector that B stands at */
    uint64_t own_steps;           /* of these, the node's */
    struct hm_score score;
    double train_loss;     /* beside that of a test set, where it costs as little; else NaN */
    struct hm_norms norms; /* of the weights that B stands for */
    struct hm_currency_sums currencies; /* of a simulated world, since the point before; n 0: not
                                           measured */
};

struct hm_node_options {
    const char *workload;
    struct hm_train_options train;
    int rank; /* of this node among `ranks` for the partition; -1: by the order of lives at the
                 start */
    unsigned ranks;

    char label[HM_LABEL_MAX + 1]; /* empty: host name and process id */
    const char *bind, *advertise; /* "HOST:PORT"; bind NULL: 127.0.0.1, any port */
    const char *key; /* file of `hogmesh keygen`: all traffic is encrypted, and who does not hold
                        the key is refused. NULL: in clear, and then nothing beyond loopback is
                        bound, advertised or dialled, unless: */
    int insecure;    /* traffic in clear is fine beyond loopback */
    const char *peer[HM_SEEDS_MAX];
    unsigned n_peers;
    const char *discover; /* "NAME[:PORT]": peers are found in the LAN (node/discover.h); NULL: not
                           */
    const char *feed[HM_FEEDS_MAX]; /* "HOST:PORT" of feeders (feeder.h), which have the data then;
                                       all nodes of a mesh that are fed are given the same ones */
    unsigned n_feeds;
    unsigned expect;     /* nodes to wait for, this one included */
    double join_timeout; /* seconds */

    /* How long work takes at least, for experiments; it is taken up to then and counts after it.
     * With step_time or delay a worker takes the gradient of a batch, waits, and adds it. */
    double speed;                    /* examples a second of each worker; 0: as fast as it can */
    const struct hm_dist *step_time; /* of a batch; borrowed, NULL: none */
    const struct hm_dist *delay;     /* between a gradient and its update; the same */
    uint64_t measure_staleness;      /* of gradients that take such times one of so many is measured
                                        (node/currencies.h); 0: none */

    enum hm_flush_mode flush;
    double flush_interval; /* seconds, of HM_FLUSH_EVERY */
    double bandwidth;      /* bytes a second; 0: no limit */
    double top;           /* part of the weights that a flush publishes, those that have moved most;
                             0: all */
    uint64_t log_bytes;   /* 0: chosen from model, memory and nodes on this host */
    unsigned local_nodes; /* of the mesh on this host, for that choice; 0: virtual ones,
                             which take none of its time */
    double target_accuracy;     /* 0: none */
    double score_every;         /* seconds between scores for the curve; 0: no curve */
    double score_part;          /* of a core, which these may take at most; 0: a twentieth */
    uint64_t score_every_steps; /* mesh-wide steps between them, instead; 0: by time */
    double suspect, gone;       /* seconds of silence; 0: 2 and 8 */
    uint64_t life;              /* 0: random */

    const char *checkpoint_path; /* "DIR/NAME.ckpt", the one before is "DIR/NAME.ckpt.prev"; NULL:
                                    no checkpoints */
    double checkpoint_every;     /* seconds of training; 0: only when the run ends or is stopped */
    int resume;                  /* go on from checkpoint_path, as a new life (see hm_node_run) */

    const char *trajectory_path; /* "DIR/NAME": B is recorded in NAME.npy and NAME.jsonl (see
                                    node/trajectory.h); NULL: not */
    uint64_t trajectory_every;   /* mesh-wide steps between its points */

    struct hm_progress progress; /* of loading */
    void (*log)(void *context, enum hm_note_level level, const char *text);
    void (*bound)(void *context, const char *endpoint); /* once peers can reach this node */
    void (*scored)(void *context,
                   const struct hm_curve_point *point); /* from the thread that scores */
    void (*status)(void *context,
                   const struct hm_node_status *status); /* four times a second while it runs */
    void *context;
};

/* How it went; valid until hm_node_close. */
struct hm_node_report {
    enum hm_status status;
    int clean;
    char text[HM_NOTE_MAX + 1]; /* why it ended */
    char label[HM_LABEL_MAX + 1];
    uint64_t life;
    char model_hash[65];       /* hex; of configuration, steps and B */
    uint64_t steps, own_steps; /* S that belongs to the model; of this node */
    uint64_t start_us, first_step_us, last_apply_us, end_us; /* monotonic clock of this host */
    double load_seconds, join_seconds, train_seconds, agree_seconds, score_seconds;
    struct hm_counters counters;
    uint64_t vector_seq; /* sum of the final vector: deltas published by anybody */
    uint64_t own_seq;
    uint64_t lost, n_dropped;
    uint64_t refused[HM_REFUSALS];       /* connections of strangers, by what was wrong with them */
    char key[HM_FINGERPRINT_DIGITS + 1]; /* fingerprint of the key in use; empty: none */
    uint64_t n_sampled, n_wiped;         /* of the adds; race_loss = wiped / sampled */
    double
        residual_norm; /* of W - B * grid before the final flush, in grid units, root mean square */
    struct hm_tally staleness, staleness_steps;
    struct hm_currencies currencies; /* n 0: not measured */
    size_t n_links;
    const struct hm_link *link;  /* [n_links] of other origins */
    struct hm_score test, train; /* n = 0: not scored here */
    unsigned n_classes;          /* of the table; 0: no workload of classes, or not scored here */
    uint64_t confusion[HM_CLASSES_MAX][HM_CLASSES_MAX]; /* of the test set, as in hm_model_ops */
    size_t n_curve;
    const struct hm_curve_point *curve;
    const char *isa;
    int is_first;
    uint64_t n_checkpoints, n_checkpoint_failures; /* written; not written, for a reason logged */
    uint64_t checkpoint_bytes, checkpoint_steps;   /* of the last one; its mesh-wide steps */
    uint64_t resumed_steps;       /* of the checkpoint that this node went on from; 0: of none */
    uint64_t n_trajectory;        /* points recorded */
    struct hm_err trajectory_err; /* why there are no more; empty: there are */
    uint64_t memory_bound; /* bytes: model, log budget, held deltas, queues (see README, G9) */
    uint64_t log_bytes, log_budget;
    struct hm_feed_report feed; /* n_feeders 0: the data was the node's own */
};

struct hm_node;

struct hm_node_options hm_node_defaults(void);

/* The label of a node that was given none: host name and process id. */
void hm_node_default_label(char label[HM_LABEL_MAX + 1]);

/* Loads the data and gets ready; the node joins nobody yet. Options are copied, strings borrowed
 * until close. On failure *node is NULL. */
enum hm_status hm_node_open(struct hm_node **node, const struct hm_node_options *options,
                            struct hm_err *err);

/* Joins or founds the mesh, trains, agrees, scores. Blocks until the run is over. HM_OK when the
 * node ended as it should: CLEAN, or by hm_node_stop(leave). Call once.
 *
 * With options.resume it goes on from its checkpoint, which decides the configuration: explicit
 * options that contradict it are refused (HM_EUSAGE), naming the field. Only when training ends may
 * change: epochs, steps and seconds of the node that founds the mesh anew replace the former ones,
 * and the others take the mesh's. A joiner whose checkpoint is of another mesh is refused
 * (HM_EREFUSED). A checkpoint that is damaged or foreign is left aside for the one before, with a
 * warning; when there is none either, HM_ECORRUPT or HM_EINPUT. Without any file a joiner joins
 * anew, with a warning; a founder fails with HM_EINPUT. */
enum hm_status hm_node_run(struct hm_node *node, struct hm_err *err);

/* Asks for an end: of the whole mesh, or (leave) of this node only. Any thread, and signal
 * handlers. */
void hm_node_stop(struct hm_node *node, int leave);

const struct hm_node_report *hm_node_report(const struct hm_node *node);

/* Writes the final model so that hm_model_file_open finds all it needs. After hm_node_run. */
enum hm_status hm_node_save(const struct hm_node *node, const char *path, struct hm_err *err);

void hm_node_close(struct hm_node *node); /* NULL is fine */

/* ---- models in files ---- */

/* A model as hm_node_save wrote it: configuration, bulk data, steps and B. */
struct hm_model_file {
    struct hm_fields config;
    uint64_t steps;
    struct hm_layout layout;
    uint32_t *b; /* [hm_layout_n] */
    uint8_t *bulk;
    size_t bulk_n;
    char model_hash[65];
};

/* The hash that every node prints, of configuration, steps and B [n]: 64 digits and NUL. */
void hm_model_hash(const struct hm_fields *config, uint64_t steps, const uint32_t *b, size_t n,
                   char hex[65]);

/* Writes such a file. bulk [bulk_n], b [n]. */
enum hm_status hm_model_file_write(const char *path, const struct hm_fields *config,
                                   const uint8_t *bulk, size_t bulk_n, uint64_t steps,
                                   const uint32_t *b, size_t n, struct hm_err *err);

/* Reads and checks a file, a model or a checkpoint; HM_ECORRUPT when it is not what was written.
 * Close it also after a failure. */
enum hm_status hm_model_file_open(struct hm_model_file *file, const char *path, struct hm_err *err);
void hm_model_file_close(struct hm_model_file *file);

#endif
