/* The kernels for CPUs with AVX-512 F, BW, DQ and VL. Invariant: reached only through the table. */
#define EQ_KERNEL_TABLE eq_kernels_avx512
#define EQ_KERNEL_NAME "avx512"
#include "backend/cpu/kernels_table.inc.h"
