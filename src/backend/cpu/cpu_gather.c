/* Rows of a matrix, picked by number, some at a time on each thread. */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/par.h"

typedef struct {
    eq_mut y;
    eq_view x;
    const int32_t *index;
    int64_t rows, cols;
} gather_job;

static void gather_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const gather_job *j = ctx;
    int64_t per = eq_rows_per_item(j->rows, j->cols), end = eq_least((item + 1) * per, j->rows);
    int64_t row = j->cols * eq_dtype_size(j->y.dt);
    for (int64_t r = item * per; r < end; r++) {
        char *to = (char *)j->y.p + r * row;
        if (j->index[r] < 0)
            memset(to, 0, (size_t)row);
        else
            memcpy(to, (const char *)j->x.p + j->index[r] * row, (size_t)row);
    }
}

static void gather(eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows, int64_t cols) {
    (void)be;
    gather_job j = {.y = y, .x = x, .index = index.p, .rows = rows, .cols = cols};
    eq_par_for(eq_parts(rows, eq_rows_per_item(rows, cols)), gather_rows, &j);
}

void eq_cpu_gather(eq_ops *ops) { ops->gather = gather; }
