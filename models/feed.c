#include "models/feed.h"

enum hm_status hm_feed_check(const char *workload, const struct hm_train_options *o,
                             struct hm_err *err)
{
    const char *flag = o->n_train             ? "--train"
                       : o->data              ? "--data"
                       : o->vocab             ? "--vocab"
                       : o->topics            ? "--topics"
                       : o->n_features        ? "--features"
                       : o->test_fraction > 0 ? "--test-fraction"
                       : o->partition         ? "--partition"
                                              : NULL;
    if (!flag)
        return HM_OK;
    return hm_fail(err, HM_EUSAGE,
                   "%s: %s is the feeder's to say; leave it away here, or leave --feed away",
                   workload, flag);
}
