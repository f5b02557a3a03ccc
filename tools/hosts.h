/* The nodes of a `run --hosts`: on which machines they are started, and how. What is started by ssh
 * is `hogmesh join`, with a shell around it that passes on what the launcher writes to its stdin:
 * a line ends the training of the mesh, the end of file takes the node out of it, after 15 s by
 * force. So nothing stays behind when the launcher or the connection dies. */
#ifndef HM_TOOLS_HOSTS_H
#define HM_TOOLS_HOSTS_H

#include "node/node.h"

enum { HOST_FLAGS_MAX = 32, HOST_PORT = 7000 };

struct host {
    char target[256];                  /* what ssh is told: [USER@]HOST */
    char address[HM_ENDPOINT_MAX + 1]; /* where its node listens: HOST:PORT */
    char label[HM_LABEL_MAX + 1];      /* HOST, and -2, -3 ... where it comes again */
    char *flag[HOST_FLAGS_MAX];        /* more arguments of its node */
    unsigned n_flags;
};

struct hosts {
    struct host host[HM_NODES_MAX];
    unsigned n;
};

/* Reads lines "[USER@]HOST [HOST:PORT] [flags of join ...]"; what begins with # and empty lines say
 * nothing. Errors name file, line and what was expected. The texts stay until the process ends. */
enum hm_status hosts_read(struct hosts *hosts, const char *path, struct hm_err *err);

/* In a new process: becomes `ssh TARGET COMMAND`, where the command starts `program` with the
 * arguments argv[1] and on. `ssh` may have words of its own: "ssh -p 2222". Never returns. */
void host_become(const struct host *host, const char *ssh, const char *program, char **argv);

#endif
