/* The kernels for CPUs with AVX2 and FMA. Invariant: reached only through the table. */
#define EQ_KERNEL_TABLE eq_kernels_avx2
#define EQ_KERNEL_NAME "avx2"
#include "backend/cpu/kernels_table.inc.h"
