/* hogmesh: trains one set of parameters on many machines without a coordinator.
 *
 * A program brings its own parameters along, gets them back as plain arrays of float that the other
 * nodes' steps reach while it trains on them, and says how many examples it has been through. When
 * the run is over all nodes hold the same numbers to the bit.
 *
 *     #include <hogmesh.h>
 *     #include <stdio.h>
 *
 *     int main(int argc, char **argv)
 *     {
 *         struct hm_replica *mesh = NULL;
 *         struct hm_replica_result result;
 *         struct hm_err err;
 *         if (argc != 3) {
 *             fprintf(stderr, "usage: line 127.0.0.1:7000 127.0.0.1:7000 (the first node), then\n"
 *                             "       line 127.0.0.1:7002 127.0.0.1:7000\n");
 *             return 2;
 *         }
 *         if (hm_replica_new(&mesh, &err) || hm_replica_set(mesh, "bind", argv[1], &err) ||
 *             hm_replica_set(mesh, "peer", argv[2], &err) ||
 *             hm_replica_set(mesh, "expect", "2", &err) ||
 *             hm_replica_set(mesh, "steps", "20000", &err) ||
 *             hm_replica_add(mesh, "line", 1, (uint32_t[]){2}, NULL, &err) ||
 *             hm_replica_open(mesh, &err) || hm_replica_start(mesh, -1, &err))
 *             goto failed;
 *         float *w = hm_replica_weights(mesh, "line", NULL);
 *         for (unsigned i = 0; hm_replica_step(mesh, i > 0, -1) > 0; i++) {
 *             float x = (float)(i % 8) / 8, error = w[0] * x + w[1] - (2 * x + 1);
 *             w[0] -= .1f * error * x;
 *             w[1] -= .1f * error;
 *         }
 *         if (hm_replica_finish(mesh, -1, &result, sizeof result, &err))
 *             goto failed;
 *         printf("%.2f x + %.2f, model %s\n", w[0], w[1], result.hash);
 *         hm_replica_close(mesh);
 *         return 0;
 *     failed:
 *         fprintf(stderr, "line: %s\n", err.text);
 *         hm_replica_close(mesh);
 *         return 1;
 *     }
 *
 * The order of calls is new; set, on_log and add as often as need be; open; start; then the program
 * trains; finish; close. Functions that can fail return HM_OK (0) or what kind of failure it was,
 * and write a sentence for people into *err, which may be NULL.
 *
 * Threads. Any thread may call weights, touch, step, scale, status, checkpoint and stop, from start
 * on until close is called; stop may also be called while start waits. All other functions are for
 * one thread at a time. The protocol has a thread of its own, which the library starts.
 *
 * Weights are shared. While the run lasts the protocol's thread adds what others have learned, and
 * takes what this node is to publish. So add in place, `w[i] += u`, one number or one vector of
 * numbers at a time; whatever was added by others between reading a number and storing it is lost,
 * which costs next to nothing when that is a few nanoseconds, and everything when a computed copy
 * of the weights is stored back. Aligned floats are read and written as they are: no value is ever
 * half another. There is no order among them beyond that: a thread may see one number from before
 * another node's step, and the next one from after it, as may all nodes of a mesh. What a thread
 * has added before it calls step is part of what that step counts.
 *
 * Forks. A process that is forked has a replica's memory, but not its threads. There functions
 * return HM_EUSAGE, 0 or NULL, or do nothing (weights stay readable), close as well; the parent's
 * replica does not notice. It may make replicas of its own.
 *
 * The library reads no environment, installs no signal handlers, prints nothing, has no state
 * beside its replicas, and never ends the process. Its threads let no signal through, so that
 * handlers run in the program's own. One process may have several replicas. NULL in the place of a
 * replica, a name or a value is HM_EUSAGE, or nothing happens.
 */
#ifndef HOGMESH_H
#define HOGMESH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HM_VERSION_MAJOR  0
#define HM_VERSION_MINOR  1
#define HM_VERSION_PATCH  0
#define HM_VERSION_NUMBER (HM_VERSION_MAJOR * 1000000 + HM_VERSION_MINOR * 1000 + HM_VERSION_PATCH)

/* Of the library that runs: HM_VERSION_NUMBER of its header, and "0.1.0", which lives as long as
 * the program. Programs built for a version run with all later ones of the same soname. */
unsigned hm_version(void);
const char *hm_version_text(void);

#ifndef HM_SPARSE_STATUS_H /* the library's own files have them from there */
/* What a function returns: what kind of failure it was. */
enum hm_status {
    HM_OK = 0,
    HM_EIO,       /* a file or socket could not be read or written */
    HM_EINPUT,    /* the input was read and is wrong */
    HM_ECORRUPT,  /* bytes that fail their own check */
    HM_ENOMEM,    /* memory, or a stated limit, is exhausted */
    HM_EUSAGE,    /* the caller asked for something contradictory */
    HM_EREFUSED,  /* the mesh refuses this node, or this node the mesh */
    HM_ETIMEOUT,  /* something expected did not happen in time */
    HM_ESTOPPED,  /* stopped by request */
    HM_EDIVERGED, /* training went wrong: weights that are no numbers, or leap out of range */
};

/* What happened, where, and what to do: one sentence, NUL-terminated. */
struct hm_err {
    char text[1024];
};
#endif

/* This process's part in a mesh. */
struct hm_replica;

/* ---- before the run ---- */

/* A replica without parameters. The caller ends it with hm_replica_close; on failure *replica is
 * NULL. HM_ENOMEM. */
enum hm_status hm_replica_new(struct hm_replica **replica, struct hm_err *err);

/* Sets an option, by the name and in the form of the command line's flag (`hogmesh join --help`);
 * both texts are copied. Said again, an option replaces what it was. Before open, also after one
 * that has failed. HM_EUSAGE, saying what is expected, for an unknown name or a value that cannot
 * be.
 *
 *     peer HOST:PORT          any node of the mesh; again for others, 64 at most. Without one, or
 *                             where the first is this node itself, it founds the mesh
 *     bind HOST:PORT          where to listen (127.0.0.1, any port; PORT + 1 is taken too)
 *     advertise HOST[:PORT]   what peers shall dial instead
 *     key FILE                of `hogmesh keygen`: all traffic is encrypted. Without one, nothing
 *                             beyond loopback is bound or dialled unless
 *     insecure yes            says that the network can be trusted
 *     expect N                nodes, this one included, that are waited for before training (1)
 *     join-timeout 30s        and how long
 *     label NAME              of this node (host name and process id)
 *     steps N, seconds T      when the run ends: examples of all nodes together (or a thousandth
 *                             fewer), or time; neither: when somebody stops it
 *     batch N                 examples of a step, about (1); what staleness-bound counts in
 *     combine RULE            how the nodes' steps add up: mean (the default), sum, or amplify and
 *                             hold, see hm_replica_scale
 *     amplify L               with these two: the factor (the number of nodes)
 *     staleness-bound S       batches, at least 1, that a node may be ahead of the slowest (none)
 *     flush auto|20ms|step    how often deltas are published; step: after each call of step
 *     bandwidth 50MB          bytes a second that this node may send, at most
 *     log-bytes 256MB         deltas that it keeps for others' repairs
 *     local-nodes N           of the mesh on this host, to choose the former by (1)
 *     seed N                  of jitter; part of what nodes agree on (0)
 *     grid E                  of tensors that are added from now on: weights are published in whole
 *                             multiples of 2^E and stay within 2^(E + 22) (-16: within 64). What
 *                             is less than a multiple stays with this node until it adds up
 *     adopt yes               first values are the mesh's, whatever is given to hm_replica_add; the
 *                             first node sends up to 300,000 numbers. Without it, nodes that begin
 *                             with other values are refused
 *     marks yes               this node says where it adds, see hm_replica_touch
 *     checkpoint FILE         keeps a checkpoint there, and FILE.prev,
 *     checkpoint-every 30s    that often and when the run ends (0: only then)
 *     resume yes              goes on from it, as `hogmesh join --resume` does
 */
enum hm_status hm_replica_set(struct hm_replica *replica, const char *option, const char *value,
                              struct hm_err *err);

/* Hears what there is to say, a line at a time; level 0 tells, 1 warns, 2 is an error. Called from
 * the protocol's thread and from those that call open and start; must not call functions of this
 * replica but status, endpoint and stop. Without one nothing is heard. Before open. */
void hm_replica_on_log(struct hm_replica *replica,
                       void (*log)(void *context, int level, const char *text), void *context);

/* Adds a tensor of dim[0] x ... x dim[n_dims - 1] numbers, row by row without gaps; n_dims up to 8,
 * 0: one number. Names are 1 to 127 printable characters without spaces and quotes. initial
 * [product of dim] is copied, rounded to the grid; NULL: zeros. All nodes of a mesh add the same
 * names, shapes and grids in the same order, and unless they adopt them the same values; others are
 * refused, by fields 'parameters' and 'values'. Before open.
 *
 * HM_EUSAGE for name, shape or a number of tensors or weights that cannot be (16384, 2^31),
 * HM_EINPUT for a value that is not finite or beyond half of the grid's range. */
enum hm_status hm_replica_add(struct hm_replica *replica, const char *name, unsigned n_dims,
                              const uint32_t *dim, const float *initial, struct hm_err *err);

/* Binds, so that peers can find this node: from then on hm_replica_endpoint knows where. Joins
 * nobody yet. HM_EUSAGE, HM_EIO, HM_ENOMEM, and what a key file may be wrong in. */
enum hm_status hm_replica_open(struct hm_replica *replica, struct hm_err *err);

/* "HOST:PORT" for the peers of others; valid until close. After open. */
const char *hm_replica_endpoint(const struct hm_replica *replica);

/* Joins or founds the mesh, and waits until training begins: for `expect` nodes. Waits `seconds`,
 * and returns HM_ETIMEOUT when that is not enough: then it goes on in the background, and start is
 * called again to wait on. seconds < 0: as long as it takes. Any other failure is the end of the
 * replica: no answer within join-timeout (HM_ETIMEOUT as well; hm_replica_status has stage
 * "failed"), a configuration that contradicts this node's (HM_EREFUSED, naming the field), stop. */
enum hm_status hm_replica_start(struct hm_replica *replica, double seconds, struct hm_err *err);

/* ---- training ---- */

/* The numbers of a tensor, shared with the mesh (see above): 64-byte aligned, row by row without
 * gaps; *n (may be NULL) is how many. The same address from start until close; numbers beyond them
 * must not be touched. NULL before start, or when no tensor has this name. */
float *hm_replica_weights(const struct hm_replica *replica, const char *name, size_t *n);

/* This thread has added to numbers from[0 .. n) of a tensor. With `marks`, a flush looks at what
 * was touched since the last one, instead of at the whole model: worth while where few of many
 * numbers change. Every add must be followed by a touch, before the next step; what is forgotten
 * goes out many flushes later. NULL: everything has been touched. Numbers that are not among the
 * weights are left out. Without `marks`: nothing happens. */
void hm_replica_touch(struct hm_replica *replica, const float *from, size_t n);

/* This thread has trained on so many more examples (0 at first) and wants to go on. Waits while it
 * has to: until what was made is published (`flush step`), or the slowest node is near enough
 * (`staleness-bound`), or it shows whether the budget is used up; no longer than `seconds` (< 0: as
 * long as it takes).
 *
 * 1: go on. 0: the run is over, or has not begun; what is added to the weights from then on is left
 * out, here as everywhere. -1: `seconds` have passed; call again with 0 examples. */
int hm_replica_step(struct hm_replica *replica, uint64_t examples, double seconds);

/* By what a thread multiplies what it adds: 1, but with `amplify` and `hold` the factor by which
 * this node's own walk stands in for what the others do unseen, which changes with their number. */
float hm_replica_scale(const struct hm_replica *replica);

/* How a replica stands, a quarter of a second ago at the most. Later versions append to it. */
struct hm_replica_status {
    char stage[16];               /* "new", "open", "join", "train", "agree", "done",
                                     "failed" */
    uint64_t steps, budget;       /* examples of all nodes: made, as far as known here; until
                                     the run ends, 0: no such budget */
    uint64_t own_steps, own_rate; /* of this node: made; a second, lately */
    uint64_t published, repaired; /* deltas: own; that had to be asked for again */
    uint64_t bytes_sent, bytes_received;
    double seconds;   /* of training */
    double staleness; /* of what others publish when it is applied here: flushes,
                         mean */
    uint32_t n_live;  /* nodes that train */
    uint32_t lag;     /* flushes that the slowest of them is behind this one */
};

/* Fills the first `size` bytes, sizeof *status. */
void hm_replica_status(const struct hm_replica *replica, struct hm_replica_status *status,
                       size_t size);

/* Has a checkpoint taken soon, besides those that `checkpoint-every` brings; it is written in the
 * background. HM_EUSAGE without the option `checkpoint`. */
enum hm_status hm_replica_checkpoint(struct hm_replica *replica, struct hm_err *err);

/* Asks for an end: of the whole mesh, or with `leave` of this node's part in it, after it has
 * handed over what it owes. Returns at once; steps return 0 soon. Also from signal handlers.
 * Nothing happens before open. */
void hm_replica_stop(struct hm_replica *replica, int leave);

/* ---- the end ---- */

/* How it went. Later versions append to it. */
struct hm_replica_result {
    char hash[72];  /* 64 hexadecimal digits, of configuration, steps and weights: the same on every
                       node, unless this one has left */
    char text[512]; /* why it ended */
    uint64_t steps, own_steps; /* examples: that the weights contain; of these, this node's */
    uint64_t lost;             /* deltas that are in no node's weights, as of nodes that died */
    double seconds;            /* of training */
    int32_t clean;             /* 1: all that was there to the end agree */
};

/* Waits for the end of the run, which the budget brings, or stop, here or elsewhere: `seconds` at
 * the most (< 0: as long as it takes), HM_ETIMEOUT when that is not enough. No thread trains any
 * more when this is called. Afterwards the weights are the model's, the same on all nodes, and
 * private: they may be changed. HM_OK, with `size` bytes of *result (sizeof *result; NULL: none);
 * or what ended the run: HM_EDIVERGED, HM_EREFUSED, and others. May be called again. */
enum hm_status hm_replica_finish(struct hm_replica *replica, double seconds,
                                 struct hm_replica_result *result, size_t size, struct hm_err *err);

/* Writes the model, complete or not at all: FILE.hm (for `hogmesh inspect` and `export custom`),
 * FILE.safetensors (names and shapes as they were added), or FILE.npy (all numbers in a row). After
 * finish. HM_EUSAGE, HM_EIO, HM_ENOMEM. */
enum hm_status hm_replica_save(const struct hm_replica *replica, const char *path,
                               struct hm_err *err);

/* Leaves the mesh, if it is still in one, and frees everything, weights included; no thread uses
 * them any more. NULL is fine. */
void hm_replica_close(struct hm_replica *replica);

#ifdef __cplusplus
}
#endif

#endif
