/* The rules of quant/number.h and quant/kgrid.h for the device: the same text, compiled for both
 * sides, so that no second version of them exists. */
#ifndef EQ_BACKEND_CUDA_NUMBER_CUH
#define EQ_BACKEND_CUDA_NUMBER_CUH
/* What number.h includes comes first, so that only its own functions become the device's. */
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

#include "eqat.h"

#define inline __host__ __device__ inline
#include "quant/kgrid.h"
#include "quant/number.h"
#undef inline
#endif
