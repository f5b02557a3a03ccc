/* How the steps of N nodes add up: the combination rules.
 *
 * A node walks locally, publishes part of its walk and hears the parts of others with delay. A rule
 * says by how much a local step is scaled and by what the walk is divided when it is published:
 *
 * - sum: every node's steps count fully. Right with few nodes and no delay; unstable with delay,
 *   because N nodes walk the same gap unseen by each other.
 * - amplify: a local step is taken L times as long and published divided by L, so the node sees in
 *   its own walk a stand-in for what the others do unseen. L = live nodes ("amplify auto"). The
 *   default of the SVM.
 * - mean: plain local steps, published divided by N: the average of the walks. Stable and slow.
 * - hold: as amplify, but the amplified part of what was published stays in W until the others have
 *   it: for steps that are published one by one, or nearly (node/combiner.h).
 * - saturate: plain steps; of every row a few directions that relax within a flush are published
 *   divided by up to N, all others in full (models/saturate.h): for tables of word vectors.
 * - lookahead: plain steps, of gradients that are taken where the peers' last deltas point to (the
 *   same file): for nodes that see different labels.
 *
 * Receivers add every delta unchanged, whatever the rule: anything else would make replicas differ.
 */
#ifndef HM_SPARSE_COMBINE_H
#define HM_SPARSE_COMBINE_H

enum hm_rule {
    HM_RULE_SUM,
    HM_RULE_AMPLIFY,
    HM_RULE_MEAN,
    HM_RULE_HOLD,
    HM_RULE_LOOKAHEAD,
    HM_RULE_SATURATE
};

struct hm_combine {
    enum hm_rule rule;
    float amplify; /* L of HM_RULE_AMPLIFY; 0: the number of live training nodes */
};

/* What the rule says for n_live training nodes. */
struct hm_combination {
    float step;    /* factor on a local step */
    float divisor; /* the published delta is (W - B * grid) / divisor; also: mesh-wide steps per own
                      unflushed step */
};

static inline struct hm_combination hm_combine(const struct hm_combine *combine, unsigned n_live)
{
    float n = n_live ? (float)n_live : 1.0f;
    float amplify = combine->amplify > 0 ? combine->amplify : n;
    switch (combine->rule) {
    case HM_RULE_SUM:
    case HM_RULE_LOOKAHEAD:
    case HM_RULE_SATURATE:
        return (struct hm_combination){1.0f, 1.0f};
    case HM_RULE_MEAN:
        return (struct hm_combination){1.0f, n};
    case HM_RULE_AMPLIFY:
    case HM_RULE_HOLD:
        break;
    }
    return (struct hm_combination){amplify, amplify};
}

#endif
