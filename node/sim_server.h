/* The other topology: a server with one parameter vector, and m workers that compute gradients on
 * stale copies of it. For comparison with a mesh, with the same model, data order, delays and
 * seeds.
 *
 * A worker fetches the weights, takes the gradient of its next batch on them, and brings it after
 * its step time and delay (and the latency of the link there and back); the server adds it, and the
 * worker fetches again. Served by time, whoever comes first is served first. Served in turns,
 * update t is worker t mod m's, whoever else is ready: its gradient is m - 1 updates old. With one
 * worker both are sequential SGD.
 *
 * Worker k has the rows and the draws of node k of a mesh of m. One thread at a time.
 */
#ifndef HM_NODE_SIM_SERVER_H
#define HM_NODE_SIM_SERVER_H

#include "node/sim.h"

struct hm_server;

/* Of the options, faults, n_known, n_max, inspector and filter are not looked at; `n` is m, the
 * link one between the server and each worker, of which only the latency counts. Messages do not
 * exist: the observer is told of UPDATED, SCORED and ENDED. */
enum hm_status hm_server_open(struct hm_server **server, const struct hm_sim_options *options,
                              bool in_turns, struct hm_err *err);
void hm_server_close(struct hm_server *server); /* NULL is fine */

/* One update. False when the budget, the time or a target is reached. */
bool hm_server_step(struct hm_server *server);
void hm_server_stop(struct hm_server *server);

/* When all is over: the model hash, and the scores on both sets in the first worker's report. */
enum hm_status hm_server_conclude(struct hm_server *server, struct hm_err *err);

/* Writes the final model, as hm_node_save does. After hm_server_conclude, unless it diverged. */
enum hm_status hm_server_save(const struct hm_server *server, const char *path, struct hm_err *err);

uint64_t hm_server_now(const struct hm_server *server); /* as hm_sim_now */
uint64_t hm_server_updates(const struct hm_server *server);
uint64_t hm_server_steps(const struct hm_server *server, uint64_t *budget); /* examples */
uint64_t hm_server_hash(const struct hm_server *server); /* of all that has happened */
const struct hm_weights *hm_server_weights(const struct hm_server *server);
const struct hm_curve_point *hm_server_curve(const struct hm_server *server, size_t *n);
/* Each worker has done its part of a run that needs no agreement: steps, staleness (of its updates,
 * in updates), after hm_server_conclude the hash. */
const struct hm_node_report *hm_server_report(const struct hm_server *server, uint32_t worker);

#endif
