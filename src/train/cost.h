/* What a run costs, counted before it begins: operations and host memory of each phase, from the
 * tables that allocate and METHOD section 8. plan prints it, quantize refuses by it, and the share
 * of a job that is done is weighted by it. */
#ifndef EQ_TRAIN_COST_H
#define EQ_TRAIN_COST_H
#include "train/settings.h"

typedef struct {
    bool ap, e2e; /* the phases that run */
    int64_t ap_T, e2e_T, train, val, e2e_windows;
    int threads;
} eq_run_shape;

typedef struct {
    /* Bytes of host memory beside mapped files that the process takes at most while a phase runs:
     * training state, activations, streams in memory, windows, scratch of the operations, and what
     * any program takes. e2e includes writing the output, which is done with the trained state at
     * hand. */
    int64_t ap_memory, e2e_memory, memory; /* memory: of the whole run */
    int64_t ap_device, e2e_device; /* bytes of the device, where the backend is one; else 0 */
    int64_t e2e_device_least;      /* the same with all on the host that can be (eq_e2e_least) */
    int64_t streams;               /* both activation streams */
    bool streams_on_disk;
    double ap_flop, e2e_flop;       /* of products */
    double ap_touched, e2e_touched; /* weights that element-wise operations of training pass over */
} eq_run_cost;

/* dir: where streams would lie, for the room there; NULL: not looked at. */
eq_run_cost eq_run_cost_of(const eq_settings *s, const eq_config *c, const eq_run_shape *r,
                           const char *dir);
/* The shape as far as settings say it, every window there. */
eq_run_shape eq_run_shape_of(const eq_settings *s, bool ap);
json_t *eq_run_cost_json(const eq_run_cost *cost); /* for the log */
/* EQ_ENOMEM with advice when a phase does not fit into s->memory, or into the device's as far as it
 * is given. */
eq_status eq_run_cost_check(const eq_run_cost *cost, const eq_settings *s, const eq_run_shape *r,
                            eq_err *err);
#endif
