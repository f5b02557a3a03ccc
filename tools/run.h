/* What the launcher of a run keeps of its nodes, and the carrying out of a fault plan on them. */
#ifndef HM_TOOLS_RUN_H
#define HM_TOOLS_RUN_H

#include "node/faults.h"
#include "tools/cli.h"
#include "tools/hosts.h"
#include "tools/screen.h"
#include "tools/table.h"

#include <jansson.h>
#include <signal.h>
#include <sys/types.h>

enum { NODES_MAX = HM_NODES_MAX };

/* One process. A node that a plan kills and starts again is two of them with one label. */
struct child {
    pid_t pid;
    int fd;        /* reports come here; -1 at the end */
    int report_fd; /* and go in there, in the process itself */
    int control;   /* of a node on another host: what is written here reaches it; else -1 */
    int reaped, exit_status;
    unsigned node; /* its number */
    char label[HM_LABEL_MAX + 1];
    char endpoint[HM_ENDPOINT_MAX + 1]; /* where it is reached; empty: not known yet */
    char *line;                         /* unfinished line */
    size_t n, room;
    struct table_meter traffic;
    json_t *status, *end; /* newest status; final report */
    char failed[1024];    /* why it ended without one */
    int late;             /* the plan started it */
    int begun;            /* it trains, or has */
    int paused, leaving;  /* the plan told it so */
    int given_up;         /* it came too late to find a mesh */
};

struct run {
    struct cli *cli;
    struct screen screen;
    struct child child[NODES_MAX]; /* [n_children], as they were started */
    unsigned n, n_children;        /* nodes at the start; processes so far */
    volatile sig_atomic_t interrupts;
    int told;
    int training;          /* a node has begun */
    double began;          /* when */
    int over;              /* a node that stays has ended its training */
    int hopeless;          /* then they were told to stop */
    double hopeless_since; /* when a node was lost before any had begun; 0: none */
    int failed_status;     /* of the first node that failed */
    char failed_text[1024];
    struct hosts hosts; /* n 0: all nodes are on this one */
    struct hm_faults faults;
    struct run_event *event; /* [faults.n_events] */
};

extern struct run run;

/* Starts the process of a node: one of the first ones, or (late) one that joins those that live.
 * Returns 0, or -1 with errno. */
int run_start(unsigned node, int late);

int child_lives(const struct child *child);

/* Whether a late node may be told to join by way of this one. */
int run_can_be_asked(const struct child *child);

/* ---- tools/run_faults.c ---- */

/* Reads the plan of --faults, if there is one, and refuses what cannot be done to processes of one
 * host. */
enum hm_status run_faults_open(struct hm_err *err);

/* Whether the plan pauses nodes. */
int run_faults_pause(void);

enum run_pace { RUN_STEP_TIME, RUN_DELAY };
enum { RUN_PACE_TEXT_MAX = 2 * HM_DIST_TEXT_MAX };

/* The distribution that the plan gives a node, as --step-time or --delay takes it; its length, 0:
 * the plan does not say. */
size_t run_faults_pace(unsigned node, enum run_pace which, char text[RUN_PACE_TEXT_MAX]);

/* Carries out what is due. */
void run_faults_serve(void);

/* Milliseconds until something is due, at most `most`. */
int run_faults_wait_ms(int most);

/* Carries out nothing more and lets paused nodes go on; before the mesh is told to stop. */
void run_faults_stop(void);

/* What the plan did, for the summary; NULL without a plan. */
json_t *run_faults_report(void);

/* Whether a node that the plan started has failed. */
int run_faults_failed(void);

#endif
