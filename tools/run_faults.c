/* A fault plan on real processes: signals to the nodes and processes started late, by the time
 * since training began. */
#include "tools/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How an event of the plan went. */
struct run_event {
    int settled;
    double done_at; /* seconds since training began; 0: was not done */
    char note[64];  /* why not, or what else */
};

#define ELSEWHERE "; 'hogmesh sim --faults' can"

/* ---- what cannot be done ---- */

static const char *impossible(enum hm_fault_type type)
{
    switch (type) {
    case HM_FAULT_CUT:
    case HM_FAULT_HEAL:
        return "processes of one host cannot be cut off from each other" ELSEWHERE
               ", and so can network namespaces (tests/test_namespaces.py)";
    case HM_FAULT_RESET:
        return "connections of processes cannot be broken from outside" ELSEWHERE;
    case HM_FAULT_FLIP:
        return "what processes send cannot be changed" ELSEWHERE;
    case HM_FAULT_CLOCK:
        return "the clock of a process cannot be set" ELSEWHERE;
    default:
        return NULL;
    }
}

static enum hm_status refuse_settings(struct hm_err *err)
{
    const struct hm_faults *plan = &run.faults;
    if (plan->n_links)
        return hm_faults_refuse(plan, HM_PART_LINKS, 0, err,
                                "links between processes cannot be changed" ELSEWHERE
                                ", and so can network namespaces (tests/test_namespaces.py)");
    for (size_t i = 0; i < plan->n_node_entries; i++)
        if (plan->node[i].speed > 0)
            return hm_faults_refuse(plan, HM_PART_NODES, i, err,
                                    "the speed of processes cannot be set" ELSEWHERE
                                    "; step_time can be set here, too");
    return HM_OK;
}

static enum hm_status refuse_events(struct hm_err *err)
{
    const struct hm_faults *plan = &run.faults;
    unsigned n = run.n;
    for (size_t i = 0; i < plan->n_events; i++) {
        const struct hm_fault_event *event = &plan->event[i];
        if (impossible(event->type))
            return hm_faults_refuse(plan, HM_PART_EVENTS, event->entry, err, "%s: %s",
                                    hm_fault_name(event->type), impossible(event->type));
        n += event->type == HM_FAULT_RESTART || event->type == HM_FAULT_JOIN;
        if (n > NODES_MAX)
            return hm_faults_refuse(plan, HM_PART_EVENTS, event->entry, err,
                                    "with this more than %d processes are started; expected fewer "
                                    "restarts and joins",
                                    NODES_MAX);
    }
    return HM_OK;
}

enum hm_status run_faults_open(struct hm_err *err)
{
    if (!run.cli->sim.faults)
        return HM_OK;
    enum hm_status status = hm_faults_open(&run.faults, run.cli->sim.faults, run.n, err);
    if (!status)
        status = refuse_settings(err);
    if (!status)
        status = refuse_events(err);
    if (!status && !(run.event = calloc(run.faults.n_events + 1, sizeof *run.event)))
        status = hm_fail(err, HM_ENOMEM, "no memory for a fault plan");
    return status == HM_EINPUT ? HM_EUSAGE : status;
}

/* ---- carrying out ---- */

int run_faults_pause(void)
{
    for (size_t i = 0; i < run.faults.n_events; i++)
        if (run.faults.event[i].type == HM_FAULT_PAUSE)
            return 1;
    return 0;
}

size_t run_faults_pace(unsigned node, enum run_pace which, char text[RUN_PACE_TEXT_MAX])
{
    static const char trace[] = "trace:";
    char dist[HM_DIST_TEXT_MAX];
    struct hm_node_pace pace = hm_faults_pace(&run.faults, node);
    const struct hm_dist *wanted = which == RUN_STEP_TIME ? pace.step_time : pace.delay;
    if (!wanted || !hm_dist_print(wanted, dist))
        return 0;
    /* Traces stand beside the plan; nodes look for them from the working directory. */
    const char *plan = run.cli->sim.faults, *slash = strrchr(plan, '/');
    const char *name = dist + sizeof trace - 1;
    if (wanted->kind != HM_DIST_TRACE || *name == '/' || !slash)
        return (size_t)snprintf(text, RUN_PACE_TEXT_MAX, "%s", dist);
    return (size_t)snprintf(text, RUN_PACE_TEXT_MAX, "%s%.*s/%s", trace, (int)(slash - plan), plan,
                            name);
}

/* The newest process of a node. */
static struct child *child_of(unsigned node)
{
    for (unsigned i = run.n_children; i-- > 0;)
        if (run.child[i].node == node)
            return &run.child[i];
    return NULL;
}

static int signal_child(struct child *child, int number)
{
    if (child && child_lives(child))
        return kill(child->pid, number);
    errno = ESRCH;
    return -1;
}

/* Whom a late node can ask. */
static int somebody_works(void)
{
    for (unsigned i = 0; i < run.n_children; i++)
        if (run_can_be_asked(&run.child[i]))
            return 1;
    return 0;
}

static int carry_out(const struct hm_fault_event *event)
{
    struct child *child = child_of(event->node);
    int failed = 0;
    switch (event->type) {
    case HM_FAULT_PAUSE:
        failed = signal_child(child, SIGSTOP);
        if (!failed)
            child->paused = 1;
        return failed;
    case HM_FAULT_RESUME:
        failed = signal_child(child, SIGCONT);
        if (!failed)
            child->paused = 0;
        return failed;
    case HM_FAULT_KILL:
        return signal_child(child, SIGKILL);
    case HM_FAULT_LEAVE:
        failed = signal_child(child, SIGUSR1);
        if (!failed)
            child->leaving = 1;
        return failed;
    default: /* restart, join */
        if (!somebody_works()) {
            errno = ENOLINK;
            return -1;
        }
        return run_start(event->node, 1);
    }
}

static void settle(size_t i, int failed, const char *note)
{
    struct run_event *event = &run.event[i];
    event->settled = 1;
    if (!failed)
        event->done_at = screen_now() - run.began;
    snprintf(event->note, sizeof event->note, "%s", note);
}

static void do_one(size_t i)
{
    const struct hm_fault_event *event = &run.faults.event[i];
    char what[64];
    hm_fault_describe(event, what, sizeof what);
    errno = 0;
    int failed = carry_out(event);
    const char *why = errno == ESRCH     ? "it had ended"
                      : errno == ENOLINK ? "nobody works whom it could join"
                                         : strerror(errno);
    settle(i, failed, failed ? why : "");
    screen_say(&run.screen, "hogmesh: %.1f s: %s%s%s", screen_now() - run.began, what,
               failed ? ": " : "", failed ? why : "");
}

/* Whether all that live stand still, or came too late to find a mesh: nobody is left to wait for.
 */
static int nobody_works(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < run.n_children; i++) {
        const struct child *child = &run.child[i];
        if (!child_lives(child))
            continue;
        if (!child->paused && !(child->late && !child->begun))
            return 0;
        n++;
    }
    return n > 0;
}

static void end_the_rest(void)
{
    for (unsigned i = 0; i < run.n_children; i++) {
        struct child *child = &run.child[i];
        if (!child_lives(child) || child->given_up)
            continue;
        screen_say(&run.screen, "hogmesh: %s %s and all others have ended: %s", child->label,
                   child->paused ? "stands still" : "has not joined yet",
                   child->paused ? "killed" : "stopped");
        child->given_up = 1;
        kill(child->pid, child->paused ? SIGKILL : SIGTERM);
    }
}

static double due_at(size_t i)
{
    return run.began + (double)run.faults.event[i].at_us / 1e6;
}

void run_faults_serve(void)
{
    if (!run.event || !run.training || run.told)
        return;
    for (size_t i = 0; i < run.faults.n_events && due_at(i) <= screen_now(); i++) {
        if (run.event[i].settled)
            continue;
        if (run.over && run.faults.event[i].type != HM_FAULT_RESUME)
            settle(i, 1, "training had ended");
        else
            do_one(i);
    }
    if (nobody_works())
        end_the_rest();
}

int run_faults_wait_ms(int most)
{
    if (!run.event || !run.training || run.told)
        return most;
    for (size_t i = 0; i < run.faults.n_events; i++)
        if (!run.event[i].settled) {
            double ms = (due_at(i) - screen_now()) * 1e3;
            return ms >= most ? most : ms > 0 ? (int)ms + 1 : 0;
        }
    return most;
}

void run_faults_stop(void)
{
    for (unsigned i = 0; run.event && i < run.n_children; i++) {
        run.child[i].paused = 0;
        if (child_lives(&run.child[i]))
            kill(run.child[i].pid, SIGCONT);
    }
}

/* ---- afterwards ---- */

int run_faults_failed(void)
{
    for (unsigned i = 0; i < run.n_children; i++)
        if (run.child[i].late && run.child[i].failed[0] && !run.child[i].given_up)
            return 1;
    return 0;
}

json_t *run_faults_report(void)
{
    if (!run.event)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < run.faults.n_events; i++) {
        const struct hm_fault_event *event = &run.faults.event[i];
        const struct run_event *went = &run.event[i];
        json_array_append_new(
            list, json_pack("{s:f, s:s, s:i, s:b, s:f, s:s}", "at", (double)event->at_us / 1e6,
                            "do", hm_fault_name(event->type), "node", (int)event->node, "done",
                            went->done_at > 0, "done_at", went->done_at, "note",
                            went->settled ? went->note
                            : run.told    ? "stopped by request"
                                          : "training had ended"));
    }
    return list;
}
