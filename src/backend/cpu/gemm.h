/* One matrix product on the calling thread, by oneDNN. The only file that knows oneDNN; its
 * primitives are kept per thread and shape, so calls from different threads never meet. */
#ifndef EQ_BACKEND_CPU_GEMM_H
#define EQ_BACKEND_CPU_GEMM_H
#include "backend/cpu/detect.h"
#include "backend/cpu/kernels.h"

typedef struct eq_gemm eq_gemm;

/* c[M, N] (+)= a[M, K] b, rows ld* elements apart; b is [K, N], or [N, K] if b_t. a and b are of
 * type `in` (F32, BF16), c of type `out`; acc (add to c) needs out F32. */
typedef struct {
    void *c;
    const void *a, *b;
    int64_t M, N, K, ldc, lda, ldb;
    eq_dtype in, out;
    bool b_t, acc;
} eq_product;

/* Limits oneDNN to `level` if it has not run yet in this process. native_bf16 false: bf16 operands
 * are widened to fp32 first, which is also what happens where oneDNN has no bf16 product. */
eq_status eq_gemm_open(eq_gemm **g, eq_cpu_level level, const eq_kernels *k, bool native_bf16,
                       eq_err *err);
void eq_gemm_close(eq_gemm *g);
/* From inside eq_par_for, which keeps oneDNN to one thread; `thread` as it gives it. */
void eq_gemm_run(eq_gemm *g, int thread, const eq_product *p);
/* The first failure since the last call, then forgotten. */
eq_status eq_gemm_error(eq_gemm *g, eq_err *err);
bool eq_gemm_native_bf16(const eq_gemm *g);
const char *eq_gemm_version(char out[32]); /* "oneDNN 2.6.3" */
const char *eq_gemm_mode(char out[64]);    /* its instruction set in force, and how exact fp32 is */
#endif
