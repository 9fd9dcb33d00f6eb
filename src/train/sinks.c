/* See sinks.h. */
#include "train/sinks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static double power(const void *window, eq_dtype dt, int64_t row, int64_t D) {
    double sum = 0;
    for (int64_t i = row * D; i < (row + 1) * D; i++) {
        double x = dt == EQ_F32 ? (double)((const float *)window)[i]
                                : (double)eq_bf16_to_f32(((const uint16_t *)window)[i]);
        sum += x * x;
    }
    return sum;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

eq_status eq_sinks_copy(void *quantized, const void *full, eq_dtype dt, int64_t T, int64_t D,
                        int64_t *n, eq_err *err) {
    double *of = eq_calloc(2 * T, sizeof *of), *sorted = of + T;
    int64_t row = D * eq_dtype_size(dt);
    if (!of) return eq_nomem(err, "the powers of a window", 2 * T * (int64_t)sizeof *of);
    for (int64_t t = 0; t < T; t++) of[t] = sorted[t] = power(full, dt, t, D);
    qsort(sorted, (size_t)T, sizeof *sorted, by_size);
    *n = 0;
    for (int64_t t = 0; t < T; t++) {
        double most = EQ_SINK_RATIO * sorted[T / 2];
        if (!(of[t] > most || power(quantized, dt, t, D) > most)) continue;
        memcpy((char *)quantized + t * row, (const char *)full + t * row, (size_t)row);
        ++*n;
    }
    eq_free(of);
    return EQ_OK;
}
