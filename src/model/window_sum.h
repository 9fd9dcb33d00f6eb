/* THE order in which what belongs to the windows of a batch is added up: gradients, losses. The
 * batch is cut into at most 16 parts of ceil(batch / 16) windows, in order; a part's sum is the
 * chain over its windows, the total the chain over the parts, one rounding each time. What a window
 * gives does not depend on its neighbours (backend.h), so a step has the same bits for every
 * micro-batch, and for every number of machines that take whole parts. Up to 16 windows a part is
 * one window, and only the total exists. */
#ifndef EQ_MODEL_WINDOW_SUM_H
#define EQ_MODEL_WINDOW_SUM_H
#include <stdbool.h>
#include <stdint.h>

enum { EQ_SUM_PARTS = 16 };

/* Windows of a part; the last one may have fewer. */
static inline int64_t eq_part_windows(int64_t batch) {
    return (batch + EQ_SUM_PARTS - 1) / EQ_SUM_PARTS;
}
/* Windows that can be added to one sum without a break: of a part, or all where parts are single
 * windows. */
static inline int64_t eq_chain_windows(int64_t batch) {
    int64_t part = eq_part_windows(batch);
    return part > 1 ? part : batch;
}
/* Is window i the last one of its chain? */
static inline bool eq_chain_ends(int64_t i, int64_t batch) {
    return (i + 1) % eq_chain_windows(batch) == 0 || i + 1 == batch;
}
/* Numbers of n windows. */
static inline double eq_window_sum(const double *x, int64_t n) {
    double total = 0, part = 0;
    for (int64_t i = 0; i < n; i++) {
        part += x[i];
        if (eq_chain_ends(i, n)) total += part, part = 0;
    }
    return total;
}
#endif
