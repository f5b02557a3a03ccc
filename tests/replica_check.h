/* What tests of the public interface, hogmesh.h, have in common. */
#ifndef HM_TESTS_REPLICA_CHECK_H
#define HM_TESTS_REPLICA_CHECK_H

#include "tests/temp_folder.h"

#include "node/hogmesh.h"

#include <stdatomic.h>
#include <time.h>

static inline void must(enum hm_status status, const struct hm_err *err)
{
    if (status)
        fail_msg("%s", err->text);
}

/* options: "name value" pairs, NULL at the end. */
static inline struct hm_replica *replica_of(const char *const *options)
{
    struct hm_replica *replica;
    struct hm_err err;
    must(hm_replica_new(&replica, &err), &err);
    for (; options && *options; options += 2)
        must(hm_replica_set(replica, options[0], options[1], &err), &err);
    return replica;
}

#define REPLICA(...) replica_of((const char *const[]){__VA_ARGS__, NULL})

static inline void join_mesh_of(struct hm_replica *replica, const struct hm_replica *first)
{
    struct hm_err err;
    if (first)
        must(hm_replica_set(replica, "peer", hm_replica_endpoint(first), &err), &err);
    must(hm_replica_open(replica, &err), &err);
}

/* Of a mesh that waits for two. */
static inline void start_two(struct hm_replica *first, struct hm_replica *second)
{
    struct hm_err err;
    join_mesh_of(first, NULL);
    join_mesh_of(second, first);
    assert_int_equal(hm_replica_start(first, 0, &err), HM_ETIMEOUT);
    assert_non_null(strstr(err.text, "not begun"));
    must(hm_replica_start(second, -1, &err), &err);
    must(hm_replica_start(first, -1, &err), &err);
}

static inline void finish(struct hm_replica *replica, struct hm_replica_result *result)
{
    struct hm_err err;
    must(hm_replica_finish(replica, -1, result, sizeof *result, &err), &err);
}

/* Weights are shared floats: what programs do with plain loads and stores, and tells
 * ThreadSanitizer so. */
static inline float get(float *w)
{
    return atomic_load_explicit((_Atomic float *)(void *)w, memory_order_relaxed);
}

static inline void put(float *w, float x)
{
    atomic_store_explicit((_Atomic float *)(void *)w, x, memory_order_relaxed);
}

static inline void add(float *w, float u)
{
    put(w, get(w) + u);
}

static inline void nap(void)
{
    struct timespec t = {0, 1000000};
    nanosleep(&t, NULL);
}

#endif
