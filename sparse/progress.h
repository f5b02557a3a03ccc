/* How long work tells its caller how far it is. The callee reports as often as it likes; the callee
 * neither reads a clock nor prints, the caller decides what to show. */
#ifndef HM_SPARSE_PROGRESS_H
#define HM_SPARSE_PROGRESS_H

struct hm_progress {
    /* Called from the thread that does the work, after each piece of it. `what` names the work
     * ("read train.svm"), done and total count `unit`s ("bytes"); total is 0 when it is not known.
     * Returns nonzero to ask for a stop: the callee gives up with HM_ESTOPPED as soon as it can. */
    int (*report)(void *context, const char *what, double done, double total, const char *unit);
    void *context;
};

static inline int hm_report(const struct hm_progress *progress, const char *what, double done,
                            double total, const char *unit)
{
    return progress && progress->report
               ? progress->report(progress->context, what, done, total, unit)
               : 0;
}

#endif
