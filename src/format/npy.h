/* NumPy .npy (versions 1-3): token ids. */
#ifndef EQ_FORMAT_NPY_H
#define EQ_FORMAT_NPY_H
#include "base/err.h"

typedef struct {
    int32_t *ids;
    int64_t rows, cols; /* 1-D: rows == 1 and is_2d false */
    bool is_2d;
} eq_npy;
/* Integer types of 1, 2, 4, 8 bytes, little-endian, C order; values in [0, 2^31). eq_npy_free. */
eq_status eq_npy_read(eq_npy *out, const char *path, eq_err *err);
void eq_npy_free(eq_npy *n);
eq_status eq_npy_write(const char *path, const int32_t *ids, int64_t rows, int64_t cols, bool is_2d,
                       eq_err *err);
#endif
