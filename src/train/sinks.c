/* See sinks.h. */
#include "train/sinks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"

enum { ROWS = 16, PIECE = 256 }; /* of an item; numbers at once */

static double power(const void *window, eq_dtype dt, int64_t row, int64_t D) {
    float x[PIECE];
    double sum = 0;
    for (int64_t at = 0; at < D; at += PIECE) {
        int64_t n = eq_least(PIECE, D - at);
        const char *from = (const char *)window + (row * D + at) * eq_dtype_size(dt);
        eq_convert(x, EQ_F32, from, dt, n);
        for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

typedef struct {
    const void *full, *own;
    double *full_power, *own_power; /* [T] */
    eq_dtype dt;
    int64_t T, D;
} power_job;
static void powers(void *ctx, int64_t item, int thread) {
    (void)thread;
    const power_job *j = ctx;
    for (int64_t t = item * ROWS; t < eq_least((item + 1) * ROWS, j->T); t++) {
        j->full_power[t] = power(j->full, j->dt, t, j->D);
        j->own_power[t] = power(j->own, j->dt, t, j->D);
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

eq_status eq_sinks_copy(void *quantized, const void *full, eq_dtype dt, int64_t T, int64_t D,
                        int64_t *n, eq_err *err) {
    double *full_power = eq_calloc(3 * T, sizeof *full_power);
    if (!full_power) return eq_nomem(err, "the powers of a window", 3 * T * 8);
    double *own_power = full_power + T, *sorted = own_power + T;
    power_job j = {full, quantized, full_power, own_power, dt, T, D};
    eq_par_for((T + ROWS - 1) / ROWS, powers, &j);
    memcpy(sorted, full_power, (size_t)T * sizeof *sorted);
    qsort(sorted, (size_t)T, sizeof *sorted, by_size);
    double most = EQ_SINK_RATIO * sorted[T / 2];
    int64_t row = D * eq_dtype_size(dt);
    *n = 0;
    for (int64_t t = 0; t < T; t++) {
        if (!(full_power[t] > most || own_power[t] > most)) continue;
        memcpy((char *)quantized + t * row, (const char *)full + t * row, (size_t)row);
        ++*n;
    }
    eq_free(full_power);
    return EQ_OK;
}
