/* NumPy .npy (versions 1-3) of token ids. */
#ifndef EQ_FORMAT_NPY_H
#define EQ_FORMAT_NPY_H
#include "base/io.h"

/* Integers of 1, 2, 4 or 8 bytes, little-endian, C order: rows * cols of them lie at byte `at` and
 * end the file. 1-D: rows == 1 and is_2d false. */
typedef struct {
    int64_t rows, cols, at;
    int size;
    bool is_signed, is_2d;
} eq_npy_head;
eq_status eq_npy_read_head(eq_npy_head *h, const eq_map *m, const char *name, eq_err *err);
eq_status eq_npy_write(const char *path, const int32_t *ids, int64_t rows, int64_t cols, bool is_2d,
                       eq_err *err);
#endif
