/* The layout of lowbit.h on whole linears. */
#ifndef EQ_BACKEND_CPU_CPU_LOWBIT_H
#define EQ_BACKEND_CPU_CPU_LOWBIT_H
#include "backend/cpu/cpu.h"

void eq_cpu_prepare_q(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_qshape qs);
/* A tile's weights as numbers, rows [16, I]. */
void eq_lowbit_dequant(const eq_kernels *k, float *to, const eq_tile_in *t, int bits);
#endif
