#include "tools/cli.h"

#include "node/units.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How a flag's text becomes a value of struct cli. */
enum kind {
    FILES_TRAIN,
    FILES_TEST,
    PEERS,
    FEEDS,
    TEXT,
    LABEL,
    POSITIVE,
    FRACTION,
    SECONDS,
    BYTES,
    COUNT,
    LONG_COUNT,
    LONG,
    FLAG,
    PARTITION,
    COMBINE,
    AMPLIFY,
    FLUSH,
    RANK,
    NUMBER,
    SCHEDULE,
    WARMUP,
    MOMENTUM,
    CLIP,
    PART,
    COMPENSATE,
    SAMPLE,
    BOUND,
    BITS,
    LIST,
};

struct flag {
    const char *name, *value, *help;
    /* d data, t text, o optimisation, m mesh, n keys of run and join, r run, w results, s synth, g
     * keygen, k kept state, c curves, u vocab, a analogies and pairs, b vectors, q similar, f
     * feed, F who is fed and watched, S status and doctor, D doctor, i
     * internal */
    char group;
    char letter; /* short form, or 0 */
    enum kind kind;
    size_t at; /* offset in struct cli */
};

#define AT(field) offsetof(struct cli, field)

static const struct flag flags[] = {
    {"train", "FILE",
     "training rows: svmlight text or LYRL2004 vectors, plain or .gz .bz2 .xz .zst; may be "
     "repeated",
     'd', 0, FILES_TRAIN, 0},
    {"test", "FILE", "rows to score on; may be repeated", 'd', 0, FILES_TEST, 0},
    {"data", "DIR",
     "lenet5: folder with IDX files (MNIST, Fashion-MNIST) or CIFAR-10 binary batches", 'd', 0,
     TEXT, AT(node.train.data)},
    {"topics", "FILE",
     "LYRL2004 topics (rcv1-v2.topics.qrels); the files are then LYRL2004 vectors", 'd', 0, TEXT,
     AT(node.train.topics)},
    {"topic", "NAME", "the positive topic (default CCAT), or the positive label in lists of labels",
     'd', 0, TEXT, AT(node.train.topic)},
    {"features", "N", "number of features (default: the largest met)", 'd', 0, COUNT,
     AT(node.train.n_features)},
    {"no-cache", NULL, "neither read nor write FILE.hmcache", 'd', 0, FLAG,
     AT(node.train.no_cache)},
    {"vocab", "FILE",
     "word2vec: words, their ids and counts from this file (hogmesh vocab); other words are left "
     "out",
     'd', 0, TEXT, AT(node.train.vocab)},
    {"min-count", "N",
     "word2vec: words that occur less often are left out (default 5; with --vocab 1)", 't', 0,
     LONG_COUNT, AT(node.train.min_count)},
    {"vocab-max", "N", "word2vec: keep the N most frequent words", 't', 0, COUNT,
     AT(node.train.vocab_max)},
    {"lowercase", NULL,
     "word2vec: words are runs of letters and digits, in lower case (default: what is between "
     "white space)",
     't', 0, FLAG, AT(node.train.lowercase)},
    {"init", "FILE",
     "begin with the weights of this file, the same on all nodes: word vectors (word2vec), "
     ".safetensors (lenet5), LIBLINEAR's model (svm), or .npy",
     'o', 0, TEXT, AT(node.train.init)},
    {"epochs", "E", "passes over the training rows, mesh-wide (default 5)", 'o', 0, POSITIVE,
     AT(node.train.epochs)},
    {"steps", "S", "examples to train on, mesh-wide", 'o', 0, LONG_COUNT, AT(node.train.steps)},
    {"seconds", "T", "training time", 'o', 0, POSITIVE, AT(node.train.seconds)},
    {"target-accuracy", "A", "stop when a node scores B at or above this fraction", 'o', 0,
     FRACTION, AT(node.target_accuracy)},
    {"lambda", "L", "regularisation: svm default 1e-4; weight decay: lenet5 default 0", 'o', 0,
     POSITIVE, AT(node.train.lambda)},
    {"lr", "ETA0", "first step size (default: svm chosen on the first 1,001 rows, lenet5 0.02)",
     'o', 0, POSITIVE, AT(node.train.lr)},
    {"batch", "B",
     "examples whose gradient is taken at the same weights (default: svm 1, lenet5 32)", 'o', 0,
     COUNT, AT(node.train.batch)},
    {"dim", "D", "word2vec: length of the vectors, 1 to 1000 (default 100)", 'o', 0, COUNT,
     AT(node.train.dim)},
    {"window", "W", "word2vec: most words on either side that count as context (default 5)", 'o', 0,
     COUNT, AT(node.train.window)},
    {"negative", "K", "word2vec: negatives of each pair (default 5)", 'o', 0, COUNT,
     AT(node.train.negative)},
    {"sample", "T",
     "word2vec: words that are more frequent than this are left out now and then; 0: none (default "
     "1e-4)",
     'o', 0, SAMPLE, AT(node.train.sample)},
    {"cbow", NULL, "word2vec: continuous bag of words (default: skip-gram)", 'o', 0, FLAG,
     AT(node.train.cbow)},
    {"hogbatch", NULL, "word2vec: negatives of each word's own (default: shared by 16 words)", 'o',
     0, FLAG, AT(node.train.hogbatch)},
    {"test-fraction", "P", "word2vec: part of the text that is held out to test on", 'o', 0,
     FRACTION, AT(node.train.test_fraction)},
    {"schedule", "constant|linear|step|cosine|inverse",
     "how the step size falls: linear (word2vec's default); step (lenet5's) x 0.4 at 50 %, 0.1 at "
     "80 % of the budget; inverse (svm's) 1 / (L (t0 + t))",
     'o', 0, SCHEDULE, AT(node.train.schedule)},
    {"warmup", "N",
     "examples, mesh-wide, over which the step size rises to its value (default 0: at once; lenet5 "
     "with --combine lookahead: a fifth of the budget)",
     'o', 0, WARMUP, AT(node.train.warmup)},
    {"momentum", "M", "heavy-ball momentum (default: svm none, lenet5 Nesterov's 0.9)", 'o', 0,
     MOMENTUM, AT(node.train.momentum)},
    {"nesterov", NULL, "Nesterov's momentum, 0.9 unless --momentum says otherwise", 'o', 0, FLAG,
     AT(node.train.nesterov)},
    {"clip", "C", "largest norm of a gradient (default: svm 0, no limit; lenet5 1)", 'o', 0, CLIP,
     AT(node.train.clip)},
    {"dropout", "P",
     "part that is left out: svm of a row's features, lenet5 of the outputs of fc1 and fc2 "
     "(default 0)",
     'o', 0, PART, AT(node.train.dropout)},
    {"compensate", "[adaptive:]L", "delay compensation with lambda L (arXiv 1609.08326)", 'o', 0,
     COMPENSATE, AT(node.train.compensate)},
    {"staleness-aware", NULL, "divide steps by the staleness of their gradients (arXiv 1511.05950)",
     'o', 0, FLAG, AT(node.train.staleness_aware)},
    {"seed", "N", "seed of everything drawn (default 0)", 'o', 0, LONG, AT(node.train.seed)},
    {"partition", "none|split|labels",
     "which rows a node trains on: all, its part, its labels (default none)", 'o', 0, PARTITION, 0},
    {"combine", "auto|sum|amplify|mean|hold|lookahead|saturate",
     "how nodes' steps add up (default auto)", 'o', 0, COMBINE, 0},
    {"amplify", "auto|L", "factor of the amplified walk (default: the number of live nodes)", 'o',
     0, AMPLIFY, 0},
    {"staleness-bound", "S",
     "batches of which a node may get ahead of the slowest; 0: synchronous rounds, each the mean "
     "of "
     "one gradient per node (default: no bound)",
     'o', 0, BOUND, AT(node.train.staleness_bound)},
    {"coarser", "BITS",
     "publish weights in units 2^BITS times as large: fewer bits of each, and what has moved by "
     "less "
     "than a unit waits",
     'o', 0, BITS, AT(node.train.coarser)},
    {"sync-sum", NULL, "with --staleness-bound 0: the sum of the gradients, not their mean", 'o', 0,
     FLAG, AT(sync_sum)},
    {"flush", "auto|20ms|step",
     "cadence of deltas (default auto); word2vec: of every row, the most frequent ones ten times "
     "as often",
     'm', 0, FLUSH, 0},
    {"bandwidth", "50MB", "cap on all bytes a node hands to its sockets a second", 'm', 0, BYTES,
     AT(node.bandwidth)},
    {"top", "PART",
     "publish only this part of the weights at a time, those that have moved most; the others wait "
     "and add up (default: all that has moved)",
     'm', 0, FRACTION, AT(node.top)},
    {"log-bytes", "256MB", "deltas a node keeps for repair", 'm', 0, LONG, AT(node.log_bytes)},
    {"threads", "T", "worker threads a node (default 1)", 'm', 't', COUNT, AT(node.train.threads)},
    {"isa", "auto|sse2|avx2|avx512|ref", "instruction set of the kernels", 'm', 0, TEXT,
     AT(node.train.isa)},
    {"config", "FILE",
     "training options from a file: lines NAME = VALUE or one JSON object; flags must not "
     "contradict",
     'm', 0, TEXT, AT(config)},
    {"key", "FILE",
     "encrypt all traffic and refuse whoever does not hold this key; see 'hogmesh keygen --help'",
     'n', 0, TEXT, AT(node.key)},
    {"step-time", "DIST[@NODES]",
     "what a batch takes at least: const:17ms, uniform:10ms,20ms, gauss:17ms,3ms, "
     "lognormal:200us,0.5, trace:FILE",
     'e', 0, TEXT, AT(step_time_text)},
    {"delay", "DIST[@NODES]", "between a gradient and its update; nodes as in 0,3-5 (default: all)",
     'e', 0, TEXT, AT(delay_text)},
    {"nodes", "N", "node processes (default 2)", 'r', 'n', COUNT, AT(n)},
    {"hosts", "FILE",
     "one node on each of these hosts, by ssh; lines [USER@]HOST [HOST:PORT] [flags of join]", 'r',
     0, TEXT, AT(hosts)},
    {"ssh", "COMMAND", "with --hosts: instead of 'ssh -o BatchMode=yes' (or HOGMESH_SSH)", 'r', 0,
     TEXT, AT(ssh)},
    {"program", "PATH", "with --hosts: hogmesh as it is called there (default hogmesh)", 'r', 0,
     TEXT, AT(program)},
    {"faults", "FILE",
     "carry out this fault plan (tools/FAULTS.md); times count from the first step", 'r', 0, TEXT,
     AT(sim.faults)},
    {"nodes", "N", "virtual nodes (default 2)", 'v', 'n', COUNT, AT(n)},
    {"speed", "R", "examples/s of a worker without --step-time (default: svm 20M, lenet5 50k)", 'v',
     0, POSITIVE, AT(node.speed)},
    {"latency", "DIST", "of a link, one way (default const:100us)", 'v', 0, TEXT, AT(sim.latency)},
    {"link-bandwidth", "125MB", "bytes/s of each link (default: no limit)", 'v', 0, BYTES,
     AT(sim.bandwidth)},
    {"drop", "P", "part of the messages that links lose", 'v', 0, FRACTION, AT(sim.drop)},
    {"duplicate", "P", "part that they deliver twice", 'v', 0, FRACTION, AT(sim.duplicate)},
    {"reorder", "P", "part that may overtake what was sent before", 'v', 0, FRACTION,
     AT(sim.reorder)},
    {"faults", "FILE", "a fault plan (JSON)", 'v', 0, TEXT, AT(sim.faults)},
    {"topology", "mesh|server",
     "server: one parameter vector, workers with stale copies (default mesh)", 'v', 0, TEXT,
     AT(sim.topology)},
    {"serve", "time|turns",
     "server: whose gradient comes next, the earliest or one worker after the other (default time)",
     'v', 0, TEXT, AT(sim.serve)},
    {"target-cost", "C", "stop when the objective on the training rows is at or below", 'v', 0,
     POSITIVE, AT(sim.target_cost)},
    {"trace", "FILE", "write what happened, one JSON object a line", 'v', 0, TEXT, AT(sim.trace)},
    {"replay", "FILE", "do again what such a file tells of, and compare", 'v', 0, TEXT,
     AT(sim.replay)},
    {"http", "[HOST:]PORT",
     "serve a page, /status.json and /metrics there (default host 127.0.0.1; port 0: any); run: "
     "its "
     "first node does",
     'F', 0, TEXT, AT(http)},
    {"feed", "HOST:PORT",
     "take the examples from the feeder there (hogmesh feed) instead of --train; may be repeated",
     'F', 0, FEEDS, 0},
    {"peer", "HOST:PORT", "address of any node of the mesh; may be repeated", 'j', 0, PEERS, 0},
    {"discover", "NAME[:PORT]",
     "find the nodes of the mesh NAME in the LAN, by UDP broadcast (port 7077); without --peer: "
     "join them, or found it",
     'j', 0, TEXT, AT(node.discover)},
    {"bind", "HOST:PORT", "where to listen (default 127.0.0.1, any port; PORT + 1 is taken too)",
     'j', 0, TEXT, AT(node.bind)},
    {"advertise", "HOST[:PORT]", "address that peers shall dial instead", 'j', 0, TEXT,
     AT(node.advertise)},
    {"expect", "N", "start when N nodes have heard each other (default 2; 1: train alone)", 'j', 0,
     COUNT, AT(node.expect)},
    {"join-timeout", "30s", "give up waiting for them after so long", 'j', 0, SECONDS,
     AT(node.join_timeout)},
    {"label", "NAME", "this node's name", 'j', 0, LABEL, 0},
    {"rank", "I/N", "part of the data that this node takes, I from 0", 'j', 0, RANK, 0},
    {"insecure", NULL, "without a key: allow traffic in clear beyond loopback", 'j', 0, FLAG,
     AT(node.insecure)},
    {"epochs", "E", "passes over the data (default 5; lenet5 10)", 'f', 0, POSITIVE,
     AT(node.train.epochs)},
    {"batch", "B", "most examples of a message (default: word2vec 8192 words, svm 512, lenet5 256)",
     'f', 0, COUNT, AT(node.train.batch)},
    {"test-fraction", "P", "word2vec: part of the text that is held back, to test on", 'f', 0,
     FRACTION, AT(node.train.test_fraction)},
    {"seed", "N", "seed of the order of batches (default 0)", 'f', 0, LONG, AT(node.train.seed)},
    {"threads", "T", "threads that read a text (default 1)", 'f', 't', COUNT,
     AT(node.train.threads)},
    {"bind", "HOST:PORT", "where to listen (default 127.0.0.1, any port; PORT + 1 is taken too)",
     'f', 0, TEXT, AT(node.bind)},
    {"advertise", "HOST[:PORT]", "address that trainers shall dial for batches instead", 'f', 0,
     TEXT, AT(node.advertise)},
    {"insecure", NULL, "without a key: allow traffic in clear beyond loopback", 'f', 0, FLAG,
     AT(node.insecure)},
    {"label", "NAME", "this feeder's name", 'f', 0, LABEL, 0},
    {"json", NULL, "print the summary as one JSON object, the last line of stdout", 'f', 0, FLAG,
     AT(json)},
    {"quiet", NULL, "no progress, no tables", 'f', 0, FLAG, AT(quiet)},
    {"out", "DIR", "keep the model, the summary and the learning curve there", 'w', 0, TEXT,
     AT(out)},
    {"checkpoint-every", "30s",
     "with --out, keep DIR/LABEL.ckpt that often, and when the run stops (0: only then)", 'k', 0,
     SECONDS, AT(node.checkpoint_every)},
    {"resume", NULL,
     "go on from DIR/LABEL.ckpt; --epochs, --steps or --seconds give a new budget, for all nodes",
     'k', 0, FLAG, AT(node.resume)},
    {"score-every", "10ms|50k",
     "score B that often, or after so many examples mesh-wide, for the curve (run and join: 500ms)",
     'c', 0, TEXT, AT(score_every)},
    {"node-curves", NULL,
     "with --out, keep DIR/curve-LABEL.jsonl: each node's own B, scored at its own vector", 'c', 0,
     FLAG, AT(node_curves)},
    {"trajectory", "50k",
     "with --out, keep each node's weights after every so many examples mesh-wide: "
     "DIR/trajectory-LABEL.npy",
     'c', 0, LONG_COUNT, AT(trajectory)},
    {"measure-staleness", "EVERY",
     "with --step-time or --delay, measure one of so many gradients where it is added: updates "
     "that came between, distance of the weights, cosine with a fresh gradient of the same batch",
     'c', 0, LONG_COUNT, AT(node.measure_staleness)},
    {"json", NULL, "print the summary as one JSON object, the last line of stdout", 'w', 0, FLAG,
     AT(json)},
    {"quiet", NULL, "no progress, no tables", 'w', 0, FLAG, AT(quiet)},
    {"to", "FILE", "where to write; the extension names the format", 'x', 0, TEXT, AT(to)},
    {"weights", "FILE.npy",
     "score each row of this array in place of the model: its weights in the order of trajectories "
     "and exports, float32; a JSON line for each",
     'a', 0, TEXT, AT(weights)},
    {"analogies", "FILE", "word2vec: questions in sections (questions-words.txt)", 'a', 0, TEXT,
     AT(words.analogies)},
    {"pairs", "FILE",
     "word2vec: word pairs and what people say of them (WordSim-353, SimLex-999, MEN); may be "
     "repeated",
     'a', 0, LIST, AT(words.pairs)},
    {"case-sensitive", NULL, "word2vec: do not compare words in upper case", 'a', 0, FLAG,
     AT(words.case_sensitive)},
    {"restrict-vocab", "N",
     "word2vec: only the first N words take part (default: eval 300000, similar all)", 'b', 0,
     COUNT, AT(words.restrict_vocab)},
    {"model", "DIR|FILE", "a folder written by --out, or word vectors (.bin, .txt)", 'q', 0, TEXT,
     AT(words.model)},
    {"plus", "WORD", "add this word; may be repeated", 'q', 0, LIST, AT(words.plus)},
    {"minus", "WORD", "take away this word; may be repeated", 'q', 0, LIST, AT(words.minus)},
    {"top", "N", "how many words (default 10)", 'q', 0, COUNT, AT(words.top)},
    {"json", NULL, "print one JSON object", 'q', 0, FLAG, AT(json)},
    {"quiet", NULL, "no progress", 'q', 0, FLAG, AT(quiet)},
    {"to", "FILE", "where to write the vocabulary, a line WORD COUNT for each word", 'u', 0, TEXT,
     AT(to)},
    {"merge", NULL, "the files are vocabularies, not texts: add up their counts", 'u', 0, FLAG,
     AT(merge)},
    {"threads", "T", "threads (default: all cores)", 'u', 't', COUNT, AT(node.train.threads)},
    {"quiet", NULL, "no progress", 'u', 0, FLAG, AT(quiet)},
    {"rows", "N", "training rows, images or lines (default 781265; 20000; 100000)", 's', 0,
     LONG_COUNT, AT(rows)},
    {"out", "DIR", "folder for the files", 's', 0, TEXT, AT(out)},
    {"seed", "N", "seed (default 1)", 's', 0, LONG, AT(node.train.seed)},
    {"threads", "T", "threads (default: all cores)", 's', 't', COUNT, AT(node.train.threads)},
    {"quiet", NULL, "no progress", 's', 0, FLAG, AT(quiet)},
    {"add", NULL, "put a new key last: it is understood from then on, and not used yet", 'g', 0,
     FLAG, AT(key_add)},
    {"first", "FINGERPRINT", "listen with this key of the file", 'g', 0, TEXT, AT(key_first)},
    {"revoke", "FINGERPRINT", "take this key out of the file", 'g', 0, TEXT, AT(key_revoke)},
    {"peer", "HOST:PORT", "a node, or a host where the doctor looks as well; may be repeated", 'D',
     0, PEERS, 0},
    {"bind", "HOST:PORT", "where a node of this host is going to listen", 'D', 0, TEXT,
     AT(node.bind)},
    {"advertise", "HOST[:PORT]", "address that peers shall dial instead", 'D', 0, TEXT,
     AT(node.advertise)},
    {"threads", "T", "worker threads that a node is going to have (default 1)", 'D', 't', COUNT,
     AT(node.train.threads)},
    {"out", "DIR", "where a node is going to keep its checkpoints", 'D', 0, TEXT, AT(out)},
    {"wait", "15s", "with --bind and --peer: for the doctor on the other side", 'D', 0, SECONDS,
     AT(wait)},
    {"key", "FILE", "key of the mesh; see 'hogmesh keygen --help'", 'S', 0, TEXT, AT(node.key)},
    {"insecure", NULL, "without a key: ask beyond loopback in clear", 'S', 0, FLAG,
     AT(node.insecure)},
    {"timeout", "5s", "give up after so long", 'S', 0, SECONDS, AT(timeout)},
    {"json", NULL, "print one JSON object", 'S', 0, FLAG, AT(json)},
    {"report-fd", "FD", NULL, 'i', 0, NUMBER, AT(report_fd)},
    {"pausable", NULL, NULL, 'i', 0, FLAG, AT(pausable)},
    {"local-nodes", "N", NULL, 'i', 0, COUNT, AT(node.local_nodes)},
};

enum { N_FLAGS = sizeof flags / sizeof flags[0], THREADS_MAX = 256 };

static int bad(const struct flag *flag, const char *text, const char *expected)
{
    fprintf(stderr, "hogmesh: --%s '%s': %s is expected\n", flag->name, text, expected);
    return EXIT_USAGE;
}

static int real(const char *text, double *out, const char **rest)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    *rest = end;
    return end != text && isfinite(*out) && !errno;
}

static int parse_seconds(const char *text, double *seconds)
{
    if (!hm_units_duration(text, 1e6, seconds) || *seconds < 0)
        return 0;
    *seconds /= 1e6;
    return 1;
}

static int parse_scaled(const char *text, double *out)
{
    return hm_units_amount(text, out) && *out >= 0;
}

static int add(const char **list, unsigned *n, unsigned room, const struct flag *flag,
               const char *text)
{
    if (*n == room)
        return bad(flag, text, "fewer of them");
    list[(*n)++] = text;
    return EXIT_DONE;
}

static int set_label(struct cli *cli, const struct flag *flag, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~' || strchr("\"'\\", text[i]))
            n = 0;
    if (!n || n > HM_LABEL_MAX)
        return bad(flag, text, "a name of 1 to 31 printable characters without spaces or quotes");
    memcpy(cli->node.label, text, n + 1);
    return EXIT_DONE;
}

static int set_flush(struct cli *cli, const struct flag *flag, const char *text)
{
    if (strcmp(text, "step") == 0)
        cli->node.flush = HM_FLUSH_STEP;
    else if (strcmp(text, "auto") == 0)
        cli->node.flush = HM_FLUSH_AUTO;
    else if (parse_seconds(text, &cli->node.flush_interval) && cli->node.flush_interval >= 1e-4)
        cli->node.flush = HM_FLUSH_EVERY;
    else
        return bad(flag, text, "auto, step, or a time such as 20ms");
    return EXIT_DONE;
}

static int set_choice(struct cli *cli, const struct flag *flag, const char *text)
{
    static const char *const partitions[] = {"none", "split", "labels"},
                             *const rules[] = {"sum",  "amplify",   "mean",
                                               "hold", "lookahead", "saturate"};
    for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (flag->kind == PARTITION && i < 3 && strcmp(text, partitions[i]) == 0) {
            cli->node.train.partition = (enum hm_partition)i;
            return EXIT_DONE;
        } else if (flag->kind == COMBINE && strcmp(text, rules[i]) == 0) {
            cli->node.train.combine.rule = (enum hm_rule)i;
            cli->node.train.combine_given = 1;
            return EXIT_DONE;
        }
    if (flag->kind == COMBINE && strcmp(text, "auto") == 0)
        return EXIT_DONE;
    return bad(flag, text, flag->value);
}

static int set_amplify(struct cli *cli, const struct flag *flag, const char *text)
{
    double x = 0;
    const char *rest = "";
    if (strcmp(text, "auto") != 0 && (!real(text, &x, &rest) || *rest || x < 1 || x > 1e6))
        return bad(flag, text, "auto or a factor from 1 to 1e6");
    cli->node.train.combine.amplify = (float)x;
    cli->node.train.combine.rule = HM_RULE_AMPLIFY;
    cli->node.train.combine_given = 1;
    return EXIT_DONE;
}

static int set_schedule(struct cli *cli, const struct flag *flag, const char *text)
{
    static const char *const schedule[] = {"constant", "linear", "step", "cosine", "inverse"};
    for (unsigned i = 0; i < sizeof schedule / sizeof schedule[0]; i++)
        if (strcmp(text, schedule[i]) == 0) {
            cli->node.train.schedule = schedule[i];
            return EXIT_DONE;
        }
    return bad(flag, text, flag->value);
}

/* Options of which 0 is a value, too. */
static int set_optimiser(struct cli *cli, const struct flag *flag, const char *text)
{
    struct hm_train_options *train = &cli->node.train;
    const char *rest = "", *number = text;
    double x = 0;
    int adaptive = flag->kind == COMPENSATE && strncmp(text, "adaptive:", 9) == 0;
    if (adaptive)
        number += 9;
    int ok = real(number, &x, &rest) && !*rest && x >= 0;
    if (flag->kind == MOMENTUM && (!ok || x >= 1))
        return bad(flag, text, "a number from 0 up to, but not, 1");
    if (flag->kind == PART && (!ok || x > .9))
        return bad(flag, text, "a fraction from 0 to 0.9");
    if (flag->kind == SAMPLE && (!ok || x > 1))
        return bad(flag, text, "a fraction from 0 to 1");
    if (!ok || x > 1e6)
        return bad(flag, text, "a number from 0 to 1e6");
    *(double *)(void *)((char *)cli + flag->at) = x;
    train->momentum_given |= flag->kind == MOMENTUM;
    train->clip_given |= flag->kind == CLIP;
    train->sample_given |= flag->kind == SAMPLE;
    train->compensate_given |= flag->kind == COMPENSATE;
    if (flag->kind == COMPENSATE)
        train->adaptive = adaptive;
    return EXIT_DONE;
}

static int set_bound(struct cli *cli, const struct flag *flag, const char *text)
{
    double x = 0;
    const char *rest = "";
    if (!real(text, &x, &rest) || *rest || x < 0 || x > 1e9 || x != floor(x))
        return bad(flag, text, "a whole number of batches, 0 for synchronous rounds,");
    cli->node.train.staleness_bound = x;
    cli->node.train.staleness_bound_given = 1;
    return EXIT_DONE;
}

static int set_rank(struct cli *cli, const struct flag *flag, const char *text)
{
    unsigned rank, ranks;
    int used = 0;
    if (sscanf(text, "%u/%u%n", &rank, &ranks, &used) != 2 || text[used] || rank >= ranks ||
        ranks > 65536)
        return bad(flag, text, "I/N with I from 0 to N - 1");
    cli->node.rank = (int)rank;
    cli->node.ranks = ranks;
    return EXIT_DONE;
}

static int set_number(struct cli *cli, const struct flag *flag, const char *text)
{
    char *at = (char *)cli + flag->at;
    double x;
    int ok = flag->kind == SECONDS ? parse_seconds(text, &x) : parse_scaled(text, &x);
    switch (flag->kind) {
    case POSITIVE:
        if (!ok || x <= 0)
            return bad(flag, text, "a number above 0");
        break;
    case FRACTION:
        if (!ok || x <= 0 || x > 1)
            return bad(flag, text, "a fraction above 0 and up to 1, such as 0.95,");
        break;
    case SECONDS:
        if (!ok)
            return bad(flag, text, "a time such as 30s or 200ms");
        break;
    case BYTES:
        if (!ok || x <= 0)
            return bad(flag, text, "an amount such as 50MB");
        break;
    case COUNT:
    case NUMBER:
        if (!ok || x != floor(x) || x > 2e9 || (flag->kind == COUNT && x < 1))
            return bad(flag, text,
                       flag->kind == COUNT ? "a whole number from 1 on" : "a whole number");
        *(unsigned *)(void *)at = (unsigned)x;
        return EXIT_DONE;
    case BITS:
        if (!ok || x != floor(x) || x < 1 || x > 16)
            return bad(flag, text, "a whole number from 1 to 16");
        *(unsigned *)(void *)at = (unsigned)x;
        return EXIT_DONE;
    case WARMUP:
    case LONG:
    case LONG_COUNT:
        if (!ok || x != floor(x) || x > 9e15 || (flag->kind == LONG_COUNT && x < 1))
            return bad(flag, text,
                       flag->kind == LONG_COUNT ? "a whole number from 1 on" : "a whole number");
        *(uint64_t *)(void *)at = (uint64_t)x;
        cli->node.train.warmup_given |= flag->kind == WARMUP;
        return EXIT_DONE;
    default:
        break;
    }
    *(double *)(void *)at = x;
    return EXIT_DONE;
}

static int set(struct cli *cli, const struct flag *flag, const char *text)
{
    struct hm_train_options *train = &cli->node.train;
    switch (flag->kind) {
    case FILES_TRAIN:
        return add(train->train, &train->n_train, HM_FILES_MAX, flag, text);
    case FILES_TEST:
        return add(train->test, &train->n_test, HM_FILES_MAX, flag, text);
    case LIST: {
        struct list *list = (struct list *)(void *)((char *)cli + flag->at);
        return add(list->at, &list->n, LIST_MAX, flag, text);
    }
    case PEERS:
        return add(cli->node.peer, &cli->node.n_peers, HM_SEEDS_MAX, flag, text);
    case FEEDS:
        return add(cli->node.feed, &cli->node.n_feeds, HM_FEEDS_MAX, flag, text);
    case TEXT:
        *(const char **)(void *)((char *)cli + flag->at) = text;
        return EXIT_DONE;
    case FLAG:
        *(int *)(void *)((char *)cli + flag->at) = 1;
        return EXIT_DONE;
    case LABEL:
        return set_label(cli, flag, text);
    case FLUSH:
        return set_flush(cli, flag, text);
    case PARTITION:
    case COMBINE:
        return set_choice(cli, flag, text);
    case AMPLIFY:
        return set_amplify(cli, flag, text);
    case RANK:
        return set_rank(cli, flag, text);
    case SCHEDULE:
        return set_schedule(cli, flag, text);
    case MOMENTUM:
    case CLIP:
    case PART:
    case SAMPLE:
    case COMPENSATE:
        return set_optimiser(cli, flag, text);
    case BOUND:
        return set_bound(cli, flag, text);
    default:
        return set_number(cli, flag, text);
    }
}

static int offered(const struct flag *flag, const struct command *command)
{
    return flag->group == 'i' || strchr(command->flags, flag->group) != NULL;
}

static int too_many(const char *what, unsigned n, unsigned most)
{
    fprintf(stderr, "hogmesh: %u %s are more than can be had; the most are %u\n", n, what, most);
    return EXIT_USAGE;
}

/* Synchronous rounds settle how gradients are combined and when they are published. */
static int settle_rounds(struct cli *cli)
{
    struct hm_train_options *train = &cli->node.train;
    enum hm_rule rule = cli->sync_sum ? HM_RULE_SUM : HM_RULE_MEAN;
    bool rounds = train->staleness_bound_given && train->staleness_bound == 0;
    const char *wrong = NULL;
    if (cli->sync_sum && !rounds)
        wrong = "--sync-sum is about --staleness-bound 0";
    else if (rounds && train->combine_given && train->combine.rule != rule)
        wrong = "--staleness-bound 0 takes the mean of the gradients, or their sum (--sync-sum); "
                "leave --combine and --amplify away";
    else if (rounds && (cli->node.flush == HM_FLUSH_EVERY))
        wrong = "--staleness-bound 0 publishes every step; leave --flush away";
    if (wrong) {
        fprintf(stderr, "hogmesh: %s\n", wrong);
        return EXIT_USAGE;
    }
    if (rounds) {
        train->combine = (struct hm_combine){.rule = rule};
        train->combine_given = 1;
    }
    return EXIT_DONE;
}

static const struct flag *training_flag(const char *name)
{
    for (int i = 0; i < N_FLAGS; i++)
        if (flags[i].group == 'o' && strcmp(flags[i].name, name) == 0)
            return &flags[i];
    return NULL;
}

/* What an entry of --config says, as if it had been given as a flag. */
static int take_entry(struct cli *cli, const struct config_entry *entry, const char *const *given)
{
    const struct flag *flag = training_flag(entry->name);
    if (strcmp(entry->name, "workload") == 0) {
        cli->config_workload = entry;
        return EXIT_DONE;
    }
    if (!flag)
        return config_refuse(cli->config, entry, "is no training option; see --help");
    struct cli with = *cli;
    int status = set(&with, flag, entry->value);
    if (status) {
        config_refuse(cli->config, entry, "see above");
        return EXIT_FAILED;
    }
    if (given[flag - flags] && memcmp(&with, cli, sizeof with) != 0)
        return config_refuse(cli->config, entry, "the flag --%s says '%s'", flag->name,
                             given[flag - flags]);
    *cli = with;
    return EXIT_DONE;
}

static int take_config(struct cli *cli, const char *const *given)
{
    struct config_entry *entry;
    unsigned n;
    int status = config_read(cli->config, &entry, &n);
    for (unsigned i = 0; !status && i < n; i++)
        status = take_entry(cli, &entry[i], given);
    return status;
}

enum hm_status cli_pace(struct cli *cli, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    if (cli->step_time_text)
        status = hm_dist_parse_nodes(&cli->step_time, &cli->step_time_nodes, cli->step_time_text,
                                     "", err);
    if (status)
        return hm_context(err, HM_EUSAGE, "--step-time");
    if (cli->delay_text)
        status = hm_dist_parse_nodes(&cli->delay, &cli->delay_nodes, cli->delay_text, "", err);
    if (status)
        return hm_context(err, HM_EUSAGE, "--delay");
    cli->node.step_time = &cli->step_time;
    cli->node.delay = &cli->delay;
    return HM_OK;
}

/* "10ms" or "50k". */
static enum hm_status read_cadence(struct cli *cli, struct hm_err *err)
{
    const char *text = cli->score_every;
    size_t n = text ? strlen(text) : 0;
    double x;
    if (!text)
        return HM_OK;
    if (n && strchr("smh", text[n - 1]) && parse_seconds(text, &x) && x > 0)
        cli->node.score_every = x;
    else if (parse_scaled(text, &x) && x >= 1 && x < 1e18)
        cli->node.score_every_steps = (uint64_t)x;
    else
        return hm_fail(err, HM_EUSAGE,
                       "--score-every '%s': a time such as 10ms or a number of examples such as "
                       "50k is expected",
                       text);
    return HM_OK;
}

/* A gradient that is added as it is read is never stale. */
static enum hm_status check_measures(const struct cli *cli, struct hm_err *err)
{
    const struct hm_train_options *train = &cli->node.train;
    bool takes_time = cli->step_time_text || cli->delay_text || cli->sim.faults ||
                      (train->staleness_bound_given && train->staleness_bound == 0) ||
                      (cli->sim.topology && strcmp(cli->sim.topology, "server") == 0);
    if (!cli->node.measure_staleness || takes_time)
        return HM_OK;
    return hm_fail(err, HM_EUSAGE,
                   "--measure-staleness: without --step-time or --delay gradients are added as "
                   "they are read; say what they take, such as --step-time const:17ms");
}

enum hm_status cli_curves(struct cli *cli, struct hm_err *err)
{
    enum hm_status status = read_cadence(cli, err);
    if (!status && (cli->node_curves || cli->trajectory) && !cli->out)
        status = hm_fail(err, HM_EUSAGE, "--%s writes files; say by --out DIR where to",
                         cli->node_curves ? "node-curves" : "trajectory");
    return status ? status : check_measures(cli, err);
}

int cli_parse(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct option option[N_FLAGS + 2] = {0};
    char letters[2 * N_FLAGS + 3] = ":h";
    size_t n_letters = 2;
    int n = 0, code, which[N_FLAGS];
    *cli = (struct cli){.node = hm_node_defaults(), .report_fd = -1};
    cli->node.expect = 2;
    for (int i = 0; i < N_FLAGS; i++) {
        if (!offered(&flags[i], command))
            continue;
        which[n] = i;
        option[n++] = (struct option){
            flags[i].name, flags[i].value ? required_argument : no_argument, NULL, 256 + i};
        if (flags[i].letter) {
            letters[n_letters++] = flags[i].letter;
            letters[n_letters++] = ':';
        }
    }
    letters[n_letters] = 0;
    option[n] = (struct option){"help", no_argument, NULL, 'h'};
    optind = 1;
    opterr = 0;
    const char *given[N_FLAGS] = {0};
    while ((code = getopt_long(argc, argv, letters, option, NULL)) != -1) {
        if (code == 'h') {
            cli_help(command, stdout);
            return -1;
        }
        if (code == ':' || code == '?') {
            fprintf(stderr, "hogmesh %s: %s %s; see 'hogmesh %s --help'\n", command->name,
                    argv[optind - 1],
                    code == ':' ? "needs a value" : "is not a flag of this command", command->name);
            return EXIT_USAGE;
        }
        for (int i = 0; code < 256 && i < n; i++)
            if (flags[which[i]].letter == code)
                code = 256 + which[i];
        int status = set(cli, &flags[code - 256], optarg);
        if (status)
            return status;
        given[code - 256] = optarg;
    }
    if (cli->config) {
        int status = take_config(cli, given);
        if (status)
            return status;
    }
    for (; optind < argc; optind++) {
        if (cli->n_arguments == (unsigned)command->n_arguments) {
            fprintf(stderr, "hogmesh %s: '%s' is one argument too many; see 'hogmesh %s --help'\n",
                    command->name, argv[optind], command->name);
            return EXIT_USAGE;
        }
        if (cli->n_arguments < ARGUMENTS_MAX)
            cli->argument[cli->n_arguments++] = argv[optind];
    }
    if (settle_rounds(cli))
        return EXIT_USAGE;
    if (cli->node.train.threads > THREADS_MAX)
        return too_many("threads", cli->node.train.threads, THREADS_MAX);
    unsigned nodes_max = strchr(command->flags, 'v') ? HM_PEERS_MAX : HM_NODES_MAX;
    if (cli->n > nodes_max || cli->node.expect > nodes_max)
        return too_many("nodes", cli->n ? cli->n : cli->node.expect, nodes_max);
    return EXIT_DONE;
}

void cli_help(const struct command *command, FILE *out)
{
    fprintf(out, "%s\n\nhogmesh %s %s\n    %s\n\n", command->examples, command->name,
            command->synopsis, command->help);
    for (int i = 0; i < N_FLAGS; i++) {
        const struct flag *f = &flags[i];
        if (!f->help || !offered(f, command))
            continue;
        char left[64], letter[8] = "";
        if (f->letter)
            snprintf(letter, sizeof letter, "-%c, ", f->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, f->name, f->value ? " " : "",
                 f->value ? f->value : "");
        fprintf(out, "  %-34s %s\n", left, f->help);
    }
    fprintf(out, "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 the nodes did not agree, 4 "
                 "peers missing or refusing, "
                 "130 interrupted twice.\n");
}

int cli_fail(enum hm_status status, const struct hm_err *err)
{
    fprintf(stderr, "hogmesh: %s\n", err->text);
    switch (status) {
    case HM_OK:
        return EXIT_DONE;
    case HM_EUSAGE:
        return EXIT_USAGE;
    case HM_EREFUSED:
    case HM_ETIMEOUT:
        return EXIT_PEERS;
    case HM_ECORRUPT:
        return EXIT_UNCLEAN;
    default:
        return EXIT_FAILED;
    }
}
