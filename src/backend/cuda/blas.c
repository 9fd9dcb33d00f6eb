/* Products by cuBLASLt. It counts matrices by columns, so a row-major y = a b is its y^T = b^T a^T:
 * its first operand is our second.
 * Invariant: the algorithm of a product is the library's first choice for shape, types and
 * alignment, never a measured one, so it is the same in every run. */
#include <cublasLt.h>

#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

/* No kernel reads more than 16 bytes at once; what lies further apart must not choose the
 * algorithm, since the windows of a batch begin at different addresses. */
enum { WORKSPACE = 32 << 20, MAX_ALIGNMENT = 16 };

/* Everything that the choice of an algorithm depends on; without padding, as it is compared. */
typedef struct {
    int64_t M, N, K, lda, ldb, ldy, windows;
    int32_t in, out, a_turned, b_turned, whole; /* whole: K is not cut */
    uint32_t align_a, align_b, align_y;
} plan_key;

typedef struct plan plan;
struct plan {
    plan *next;
    plan_key key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, y; /* ours */
    cublasLtMatmulAlgo_t algo;
    bool together; /* the algorithm takes all windows at once */
};

struct eq_blas {
    cublasLtHandle_t handle;
    void *workspace;
    plan *plans; /* the newest use first */
};

eq_status eq_blas_open(eq_blas **out, eq_err *err) {
    eq_blas *b = eq_calloc(1, sizeof *b);
    if (!b) return eq_nomem(err, "cuBLASLt", sizeof *b);
    *out = b;
    cublasStatus_t s = cublasLtCreate(&b->handle);
    if (s != CUBLAS_STATUS_SUCCESS)
        return eq_fail(err, EQ_EDEVICE, "backend cuda: cuBLASLt: %s", cublasLtGetStatusString(s));
    if (cudaMalloc(&b->workspace, WORKSPACE) == cudaSuccess) return EQ_OK;
    return eq_fail(err, EQ_ENOMEM, "backend cuda: out of device memory: the workspace of products");
}

static void free_plan(plan *p) {
    if (p->product) cublasLtMatmulDescDestroy(p->product);
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->y) cublasLtMatrixLayoutDestroy(p->y);
    eq_free(p);
}

void eq_blas_close(eq_blas *b) {
    if (!b) return;
    for (plan *p = b->plans, *next; p; p = next) {
        next = p->next;
        free_plan(p);
    }
    if (b->workspace) cudaFree(b->workspace);
    if (b->handle) cublasLtDestroy(b->handle);
    eq_free(b);
}

/* ---- one product's plan ---------------------------------------------------------------------- */

static uint32_t alignment(const void *p) {
    uint32_t a = MAX_ALIGNMENT;
    while ((uintptr_t)p % a) a /= 2;
    return a;
}
static cudaDataType type_of(int32_t dt) { return dt == EQ_F32 ? CUDA_R_32F : CUDA_R_16BF; }

#define CHECK(call) \
    do { \
        cublasStatus_t check_ = (call); \
        if (check_ != CUBLAS_STATUS_SUCCESS) return check_; \
    } while (0)

/* The library's matrix: our row is its column. */
static cublasStatus_t layout(cublasLtMatrixLayout_t *l, int32_t dt, int64_t rows, int64_t cols,
                             int64_t ld) {
    return cublasLtMatrixLayoutCreate(l, type_of(dt), (uint64_t)cols, (uint64_t)rows, ld);
}

static cublasStatus_t describe(plan *p) {
    const plan_key *k = &p->key;
    cublasOperation_t ta = k->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N,
                      tb = k->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    CHECK(cublasLtMatmulDescCreate(&p->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &tb, sizeof tb));
    CHECK(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB, &ta, sizeof ta));
    CHECK(layout(&p->a, k->in, k->a_turned ? k->K : k->M, k->a_turned ? k->M : k->K, k->lda));
    CHECK(layout(&p->b, k->in, k->b_turned ? k->N : k->K, k->b_turned ? k->K : k->N, k->ldb));
    return layout(&p->y, k->out, k->M, k->N, k->ldy);
}

/* Sums of parts in the compute type only, and by an order of their own. A product that is added to
 * something is summed in one piece, so that it is complete before it is added; one of windows that
 * are added is so whether it comes first or not, so that its bits are those of the window. */
static cublasStatus_t prefer(cublasLtMatmulPreference_t pref, const plan_key *k) {
    uint64_t workspace = WORKSPACE;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    if (!k->whole) schemes |= CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    CHECK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &workspace, sizeof workspace));
    CHECK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                               &schemes, sizeof schemes));
    CHECK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                               &k->align_b, sizeof k->align_b));
    CHECK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                               &k->align_a, sizeof k->align_a));
    CHECK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                                               &k->align_y, sizeof k->align_y));
    return cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                                                &k->align_y, sizeof k->align_y);
}

static cublasStatus_t choose(const eq_blas *b, plan *p) {
    cublasLtMatmulPreference_t pref;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    CHECK(describe(p));
    CHECK(cublasLtMatmulPreferenceCreate(&pref));
    cublasStatus_t s = prefer(pref, &p->key);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(b->handle, p->product, p->b, p->a, p->y, p->y, pref, 1,
                                           &best, &found);
    cublasLtMatmulPreferenceDestroy(pref);
    if (s == CUBLAS_STATUS_SUCCESS && !found) s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (s == CUBLAS_STATUS_SUCCESS) p->algo = best.algo;
    return s;
}

static cublasStatus_t windows_of(cublasLtMatrixLayout_t l, int64_t n, int64_t stride) {
    int32_t count = (int32_t)n;
    CHECK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                           sizeof count));
    return cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                            sizeof stride);
}

/* The algorithm is that of one window, so that a window has the same bits in any company. Can it do
 * all of them in one call? */
static cublasStatus_t join(const eq_blas *b, plan *p, int64_t n) {
    const plan_key *k = &p->key;
    cublasLtMatmulHeuristicResult_t fit;
    CHECK(windows_of(p->a, n, n > 1 ? k->M * k->lda : 0));
    CHECK(windows_of(p->b, n, 0));
    CHECK(windows_of(p->y, n, n > 1 ? k->M * k->ldy : 0));
    return n > 1 ? cublasLtMatmulAlgoCheck(b->handle, p->product, p->b, p->a, p->y, p->y, &p->algo,
                                           &fit)
                 : CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t choose_for_windows(const eq_blas *b, plan *p) {
    CHECK(choose(b, p));
    p->together = p->key.windows > 1 && join(b, p, p->key.windows) == CUBLAS_STATUS_SUCCESS;
    return p->together ? CUBLAS_STATUS_SUCCESS : join(b, p, 1);
}

/* The plan of a product, made when it is new; NULL: noted. */
static const plan *plan_of(eq_backend *be, const plan_key *key) {
    eq_blas *b = eq_cuda_of(be)->blas;
    for (plan **at = &b->plans, *p; (p = *at); at = &p->next) {
        if (memcmp(&p->key, key, sizeof *key) != 0) continue;
        *at = p->next;
        p->next = b->plans;
        return b->plans = p;
    }
    plan *p = eq_calloc(1, sizeof *p);
    if (!p) {
        eq_cuda_error(be, EQ_ENOMEM, "out of memory: a product's plan");
        return NULL;
    }
    p->key = *key;
    cublasStatus_t s = choose_for_windows(b, p);
    if (s != CUBLAS_STATUS_SUCCESS) {
        eq_cuda_error(be, EQ_EDEVICE, "cuBLASLt, no product of %lld x %lld x %lld: %s",
                      (long long)key->M, (long long)key->N, (long long)key->K,
                      cublasLtGetStatusString(s));
        free_plan(p);
        return NULL;
    }
    p->next = b->plans;
    return b->plans = p;
}

static const void *behind(const void *p, int64_t elements, int32_t dt) {
    return (const char *)p + elements * eq_dtype_size((eq_dtype)dt);
}

void eq_blas_product(eq_backend *be, eq_mut y, eq_view a, eq_view b, eq_product q) {
    eq_cuda *c = eq_cuda_of(be);
    int64_t windows = q.windows > 1 ? q.windows : 1;
    plan_key key = {.M = q.M,
                    .N = q.N,
                    .K = q.K,
                    .lda = q.lda,
                    .ldb = q.ldb,
                    .ldy = q.ldy,
                    .windows = windows,
                    .in = (int32_t)a.dt,
                    .out = (int32_t)y.dt,
                    .a_turned = q.a_turned,
                    .b_turned = q.b_turned,
                    .whole = q.acc || q.a_turned,
                    .align_a = alignment(a.p),
                    .align_b = alignment(b.p),
                    .align_y = alignment(y.p)};
    const plan *p = plan_of(be, &key);
    if (!p) return;
    float one = 1.0f, keep = q.acc ? 1.0f : 0.0f;
    for (int64_t w = 0; w < (p->together ? 1 : windows); w++) {
        const void *pa = behind(a.p, w * q.M * q.lda, key.in);
        void *py = (void *)(uintptr_t)behind(y.p, w * q.M * q.ldy, key.out);
        cublasStatus_t s =
            cublasLtMatmul(c->blas->handle, p->product, &one, b.p, p->b, pa, p->a, &keep, py, p->y,
                           py, p->y, &p->algo, c->blas->workspace, WORKSPACE, c->stream);
        if (s != CUBLAS_STATUS_SUCCESS)
            eq_cuda_error(be, EQ_EDEVICE, "cuBLASLt, product of %lld x %lld x %lld: %s",
                          (long long)q.M, (long long)q.N, (long long)q.K,
                          cublasLtGetStatusString(s));
    }
}
