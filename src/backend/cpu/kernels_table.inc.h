/* All kernels and the table of them. The including file names the table (EQ_KERNEL_TABLE) and the
 * instruction set (EQ_KERNEL_NAME) and is compiled for it.
 * Invariant: only the table has external linkage, so the linker can never choose a wide version of
 * a function for a CPU without it. */
#include "backend/cpu/kernels_convert.inc.h"
#include "backend/cpu/kernels_elementwise.inc.h"
#include "backend/cpu/kernels_quant.inc.h"
#include "backend/cpu/kernels_reduce.inc.h"

#ifdef EQ_KERNEL_TABLE
#define EQ_KERNEL_ENTRY(type, name, params) .name = k_##name,
const eq_kernels EQ_KERNEL_TABLE = {EQ_KERNEL_NAME, EQ_KERNELS(EQ_KERNEL_ENTRY)};
#endif
