/* The kernels for any x86-64. Invariant: reached only through the table. */
#define EQ_KERNEL_TABLE eq_kernels_base
#define EQ_KERNEL_NAME "sse2"
#include "backend/cpu/kernels_table.inc.h"
