#include "tools/cli.h"

#include <stdbool.h>
#include <string.h>

static const struct command commands[] = {
    {"run", "WORKLOAD -n N [flags]", "N node processes on this host, live table, summary",
     "hogmesh run svm -n 4 --train train.svm --test test.svm       train on four nodes of this "
     "host\n"
     "hogmesh run svm -n 2 -t 2 --train train.svm --epochs 1 --json | tail -1 | jq .test\n"
     "hogmesh run svm --train train.svm --out out --resume --epochs 20      goes on where a run "
     "with "
     "--out out stopped",
     "dtomenrwkcF", 1, 0, cmd_run},
    {"join", "WORKLOAD [--peer HOST:PORT ...] [flags]", "one node of a mesh, in the foreground",
     "hogmesh join svm --train train.svm --expect 2 --bind 192.168.1.7:7000 --key mesh.key    the "
     "first node\n"
     "hogmesh join svm --train train.svm --peer 192.168.1.7:7000 --bind 192.168.1.8:7000 --key "
     "mesh.key    another",
     "dtomenjwkcF", 1, 0, cmd_join},
    {"sim", "WORKLOAD -n N [flags]",
     "N virtual nodes in one process, virtual time, seeded, repeatable",
     "hogmesh sim svm -n 64 --train train.svm --latency lognormal:200us,0.5 --drop 0.01    a large "
     "mesh on a bad network\n"
     "hogmesh sim svm -n 8 --train train.svm --batch 32 --step-time const:17ms --delay "
     "const:90ms@3    with one slow node",
     "dtomevwc", 1, 0, cmd_sim},
    {"eval", "WORKLOAD DIR|FILE.hm|FILE.ckpt|VECTORS --test FILE", "scores a saved model",
     "hogmesh eval svm out --test test.svm               accuracy and cost of the model in out/\n"
     "hogmesh eval word2vec out --analogies questions-words.txt --pairs SimLex-999.txt",
     "dtwmab", 1, 1, cmd_eval},
    {"export", "WORKLOAD DIR|FILE.hm|FILE.ckpt --to FILE", "writes a saved model for other tools",
     "hogmesh export svm out --to rcv1.model             a LIBLINEAR model: liblinear-predict "
     "test.svm rcv1.model out.txt\n"
     "hogmesh export svm out --to rcv1.npy               the same weights for numpy",
     "x", 1, 1, cmd_export},
    {"inspect", "FILE ...", "decodes messages, caches, models and checkpoints to JSON",
     "hogmesh inspect out/model.hm                       configuration, steps and norms of a "
     "model\n"
     "hogmesh inspect train.svm.hmcache                  what a cache holds",
     "", 0, -1, cmd_inspect},
    {"synth", "WORKLOAD --out DIR [--rows N]",
     "makes a dataset: shaped like RCV1, small images, a text with analogies",
     "hogmesh synth svm --out data                       781,265 training rows, 23,149 test rows\n"
     "hogmesh synth lenet5 --out images                  20,000 training images, 4,000 test "
     "images\n"
     "hogmesh synth word2vec --out text                  100,000 lines, analogy questions, word "
     "pairs",
     "s", 1, 0, cmd_synth},
    {"vocab", "FILE ... --to FILE [--min-count N] [--lowercase] [--merge]",
     "counts the words of texts, or adds up what was counted of shards",
     "hogmesh vocab text.txt.xz --to vocab.txt           words that occur 5 times or more\n"
     "hogmesh vocab --merge a.vocab b.vocab --to vocab.txt    counted with --min-count 1: nodes "
     "with "
     "different shards\n"
     "                                                   train with --vocab vocab.txt",
     "tu", 0, ARGUMENTS_MAX, cmd_vocab},
    {"similar", "WORD [--plus WORD] [--minus WORD] --model DIR|FILE",
     "the words nearest to a word, or to a sum of words",
     "hogmesh similar berlin --model out                 nearest words and their cosines\n"
     "hogmesh similar berlin --minus germany --plus france --model vectors.bin    Berlin - Germany "
     "+ France",
     "bq", 0, ARGUMENTS_MAX, cmd_similar},
    {"feed", "WORKLOAD [flags]", "streams batches of a dataset to trainers that have none",
     "hogmesh feed word2vec --train text.txt --bind 192.168.1.6:7100 --key mesh.key    one machine "
     "has the text\n"
     "hogmesh join word2vec --feed 192.168.1.6:7100 --bind 192.168.1.7:7000 --key mesh.key    "
     "others train on it",
     "dtfn", 1, 0, cmd_feed},
    {"status", "HOST:PORT [--key FILE] [--json]",
     "asks any node how it and its mesh stand; changes nothing there",
     "hogmesh status 192.168.1.7:7000 --key mesh.key     nodes, steps, accuracy, lag, staleness, "
     "repairs\n"
     "hogmesh status 127.0.0.1:7000 --json | jq .training",
     "S", 0, 1, cmd_status},
    {"doctor", "[--bind HOST:PORT] [--peer HOST:PORT ...] [--key FILE] [--json]",
     "finds out what is wrong with this host, its network and its peers, and says what to do",
     "hogmesh doctor -t 4 --out out                      this host alone\n"
     "hogmesh doctor --bind 192.168.1.7:7000 --peer 192.168.1.8:7000 --key mesh.key    both ways, "
     "with the same\n"
     "                                                   the other way round on 192.168.1.8 at the "
     "same time",
     "SD", 0, 0, cmd_doctor},
    {"keygen", "FILE [--add | --first FINGERPRINT | --revoke FINGERPRINT]",
     "makes a mesh key file, or changes the keys in it",
     "hogmesh keygen mesh.key                            a new key; copy the file to all nodes, "
     "start "
     "them with --key mesh.key\n"
     "hogmesh keygen mesh.key --add                      first step of changing it: see below\n\n"
     "A node listens with the first key of its file, and dials with each in turn. Whoever holds "
     "none "
     "of a node's\nkeys is refused. Between two runs, replace the file on all nodes. To change the "
     "key of a mesh that goes on,\ntake three steps, each on all nodes (copy the file, restart the "
     "node) before the next: --add a key, make it\nthe --first, --revoke the old one. What was "
     "revoked opens nothing from then on. Nodes read the file when they\nstart.",
     "g", 0, 1, cmd_keygen},
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void overview(FILE *out)
{
    fputs("hogmesh trains models on many machines without a coordinator.\n\n"
          "hogmesh run svm -n 4 --train train.svm --test test.svm\n"
          "hogmesh join svm --train shard2.svm --peer 192.168.1.7:7000 --bind 192.168.1.8:7000 "
          "--key mesh.key\n\n",
          out);
    for (unsigned i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\nWorkloads:\n", out);
    for (unsigned i = 0; hm_workload_at(i); i++)
        fprintf(out, "  %-8s %s\n", hm_workload_at(i)->name, hm_workload_at(i)->help);
    fputs("\n'hogmesh COMMAND --help' lists a command's flags.\n", out);
}

/* What a program has trained by itself (hogmesh.h) can be exported here, and no more. */
static bool is_workload(const struct command *command, const char *name)
{
    for (unsigned i = 0; hm_workload_at(i); i++)
        if (strcmp(hm_workload_at(i)->name, name) == 0)
            return true;
    return command->main == cmd_export && strcmp(hm_custom.name, name) == 0;
}

static int dispatch(const struct command *command, int argc, char **argv)
{
    struct cli cli;
    int first = 1;
    const char *workload = NULL;
    if (command->takes_workload && argc > 1 && argv[1][0] != '-') {
        workload = argv[1];
        first = 2;
    }
    int status = cli_parse(&cli, command, argc - first + 1, argv + first - 1);
    if (status)
        return status < 0 ? EXIT_DONE : status;
    if (command->takes_workload && (!workload || !is_workload(command, workload))) {
        fprintf(stderr, "hogmesh %s: %s%s; known are:", command->name,
                workload ? "unknown workload " : "a workload is missing", workload ? workload : "");
        for (unsigned i = 0; hm_workload_at(i); i++)
            fprintf(stderr, " %s", hm_workload_at(i)->name);
        fprintf(stderr, "\n");
        return EXIT_USAGE;
    }
    if (cli.config_workload && strcmp(cli.config_workload->value, workload) != 0)
        return config_refuse(cli.config, cli.config_workload, "the command trains '%s'", workload);
    cli.node.workload = workload;
    cli.command = command;
    cli.argv = (const char *const *)argv + first;
    cli.argc = argc - first;
    if (cli.node.train.topics && !cli.node.train.topic)
        cli.node.train.topic = "CCAT";
    return command->main(&cli);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        overview(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("hogmesh " HM_VERSION);
        return EXIT_DONE;
    }
    for (unsigned i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return dispatch(&commands[i], argc - 1, argv + 1);
    fprintf(stderr, "hogmesh: '%s' is not a command; see 'hogmesh --help'\n", argv[1]);
    return EXIT_USAGE;
}
