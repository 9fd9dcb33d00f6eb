/* Reference: rows of a matrix, picked by number.
 * Invariant: bits are moved, never converted. */
#include <string.h>

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

void eq_ref_gather(eq_ops *ops) { ops->gather = gather; }
