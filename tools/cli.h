/* The command line: one table of flags for all subcommands, and the struct that they fill. */
#ifndef HM_TOOLS_CLI_H
#define HM_TOOLS_CLI_H

#include "node/faults.h"
#include "node/node.h"
#include "tools/config_file.h"

#include <stdio.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_UNCLEAN = 3,
    EXIT_PEERS = 4,
    EXIT_INTERRUPTED = 130
};

enum { ARGUMENTS_MAX = 64, LIST_MAX = 16 };

/* A flag that may be repeated. */
struct list {
    const char *at[LIST_MAX];
    unsigned n;
};

struct cli {
    struct hm_node_options node;
    unsigned n;                                 /* -n */
    const char *out;                            /* --out DIR */
    const char *to;                             /* --to FILE */
    const char *config;                         /* --config FILE */
    const struct config_entry *config_workload; /* what it says of the workload; NULL: nothing */
    int json, quiet, no_color;
    int key_add;                        /* keygen */
    const char *key_first, *key_revoke; /* keygen: fingerprints */
    int report_fd;                      /* internal: where a node of `run` reports; -1: nowhere */
    double wait;                        /* doctor: seconds; 0: the usual */
    double timeout;                     /* status, doctor: seconds; 0: the usual */
    const char *hosts, *ssh, *program;  /* run: --hosts and how they are reached */
    const char *http;                   /* --http [HOST:]PORT; NULL: no page */
    int pausable;                       /* internal: the launcher may let this node stand still */
    const char *score_every;            /* as given, and read by cli_curves */
    int node_curves;
    uint64_t trajectory; /* steps between points; 0: none */
    int rank_given, sync_sum;
    uint64_t rows;       /* synth */
    const char *weights; /* eval */
    int merge;           /* vocab */
    struct {             /* eval and similar, of word vectors */
        const char *analogies, *model;
        struct list pairs, plus, minus;
        unsigned restrict_vocab, top;
        int case_sensitive;
    } words;
    /* Work that takes a set time: as given, and read by cli_pace. */
    const char *step_time_text, *delay_text;
    struct hm_dist step_time, delay;
    struct hm_node_set step_time_nodes, delay_nodes;
    struct { /* sim */
        const char *latency, *faults, *trace, *replay, *topology, *serve;
        double bandwidth, drop, duplicate, reorder, target_cost;
    } sim;
    const struct command *command;
    const char *argument[ARGUMENTS_MAX]; /* what is left */
    unsigned n_arguments;
    const char *const *argv; /* flags as given, for passing on */
    int argc;
};

/* One subcommand. */
struct command {
    const char *name;
    const char *synopsis; /* after "hogmesh NAME" */
    const char *help;     /* one line */
    const char *examples; /* two lines, with what they do */
    const char *flags;    /* groups of flags it takes, one letter each; see cli.c */
    int takes_workload;
    int n_arguments; /* most that may be left when the flags are taken out; -1: any number */
    int (*main)(struct cli *cli);
};

/* Fills *cli from the arguments after the subcommand. Returns EXIT_DONE; or -1 after --help; or,
 * after a message on stderr, EXIT_USAGE, or EXIT_FAILED when the file of --config cannot be read or
 * has something in it that cannot be had. */
int cli_parse(struct cli *cli, const struct command *command, int argc, char **argv);

void cli_help(const struct command *command, FILE *out);

/* "hogmesh: text" on stderr, with the status' exit code. */
int cli_fail(enum hm_status status, const struct hm_err *err);

/* Reads --step-time and --delay and has nodes go by them. */
enum hm_status cli_pace(struct cli *cli, struct hm_err *err);

/* Reads --score-every and sees to it that what wants a folder has one, and that what is to be
 * measured can be. */
enum hm_status cli_curves(struct cli *cli, struct hm_err *err);

int cmd_run(struct cli *cli);
int cmd_sim(struct cli *cli);
int cmd_join(struct cli *cli);
int cmd_eval(struct cli *cli);
int cmd_export(struct cli *cli);
int cmd_inspect(struct cli *cli);
int cmd_synth(struct cli *cli);
int cmd_feed(struct cli *cli);
int cmd_keygen(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_doctor(struct cli *cli);
int cmd_vocab(struct cli *cli);
int cmd_similar(struct cli *cli);

/* hogmesh eval word2vec with --analogies or --pairs. */
int cmd_eval_words(struct cli *cli);

#endif
