/* Which instruction set the kernels may use on this CPU. */
#ifndef EQ_BACKEND_CPU_DETECT_H
#define EQ_BACKEND_CPU_DETECT_H
#include "base/err.h"

typedef enum { EQ_CPU_SSE2, EQ_CPU_AVX2, EQ_CPU_AVX512 } eq_cpu_level;

/* The highest level that CPU and operating system support, at most `mask` ("sse2", "avx2",
 * "avx512"; NULL: no limit). An unknown mask is an error. */
eq_status eq_cpu_detect(eq_cpu_level *level, const char *mask, eq_err *err);
/* Dot products of bytes, in 256-bit vectors (AVX-VNNI) and in 512-bit ones. */
bool eq_cpu_has_avxvnni(void);
bool eq_cpu_has_avx512vnni(void);
#endif
