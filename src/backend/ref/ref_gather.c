/* Reference: rows of a matrix, picked by number; rows put into a matrix.
 * Invariant: bits are moved, never converted. */
#include <string.h>

#include "backend/hostmem.h"
#include "backend/ref/ref.h"

static void gather(eq_backend *be, eq_mut y, eq_view x, eq_view index, int64_t rows, int64_t cols) {
    (void)be;
    int64_t row = cols * eq_dtype_size(y.dt);
    for (int64_t r = 0; r < rows; r++) {
        int32_t from = ((const int32_t *)index.p)[r];
        if (from < 0)
            memset((char *)y.p + r * row, 0, (size_t)row);
        else
            memcpy((char *)y.p + r * row, (const char *)x.p + from * row, (size_t)row);
    }
}

static void put_rows(eq_backend *be, eq_mut y, eq_view x, eq_view at, int64_t rows, int64_t cols) {
    (void)be;
    int64_t row = cols * eq_dtype_size(y.dt);
    if (rows) memcpy((char *)y.p + eq_host_at(at) * row, x.p, (size_t)(rows * row));
}

void eq_ref_gather(eq_ops *ops) { ops->gather = gather, ops->put_rows = put_rows; }
