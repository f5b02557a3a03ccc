#include "models/model.h"

#include <string.h>

static const struct hm_model_ops *const workload[] = {&hm_svm, &hm_lenet5, &hm_word2vec};

const struct hm_model_ops *hm_workload_at(unsigned n)
{
    return n < sizeof workload / sizeof workload[0] ? workload[n] : NULL;
}

const struct hm_model_ops *hm_workload_find(const char *name)
{
    for (unsigned i = 0; hm_workload_at(i); i++)
        if (strcmp(workload[i]->name, name) == 0)
            return workload[i];
    return strcmp(hm_custom.name, name) == 0 ? &hm_custom : NULL;
}
