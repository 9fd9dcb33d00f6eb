/* The CPU backend inside: state, scratch memory, and reading any float type in pieces that stay in
 * the first-level cache. Work is cut into items by shape alone. */
#ifndef EQ_BACKEND_CPU_CPU_H
#define EQ_BACKEND_CPU_CPU_H
#include "backend/cpu/gemm.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/lowbit.h"
#include "backend/hostmem.h"

typedef struct {
    const eq_kernels *k;
    const eq_lowbit *lowbit;
    eq_gemm *gemm;
    eq_ops ref;    /* for shapes that the kernels do not take */
    char *scratch; /* grows to the largest that was asked for */
    int64_t scratch_bytes;
    eq_status (*host_sync)(eq_backend *be, eq_err *err);
    char kernels[192];
} eq_cpu;

static inline eq_cpu *eq_cpu_of(eq_backend *be) { return ((eq_host *)be->self)->own; }

/* Memory for one operation: `mine` bytes for every thread, thread t's at base + t * stride, and
 * `shared` bytes for all. Content undefined, valid until the next call. base NULL: out of memory,
 * noted for sync. Not inside eq_par_for. */
typedef struct {
    char *base, *shared;
    int64_t stride;
} eq_scratch;
eq_scratch eq_cpu_scratch(eq_backend *be, int64_t mine, int64_t shared);
static inline void *eq_scratch_of(eq_scratch s, int thread) { return s.base + thread * s.stride; }

/* Elements converted at once; most and least of them in one item of work, and items at least where
 * there is enough for that. */
enum { EQ_CHUNK = 1024, EQ_PIECE = 16 * EQ_CHUNK, EQ_LEAST_PIECE = 2 * EQ_CHUNK, EQ_ITEMS = 48 };

static inline int64_t eq_parts(int64_t n, int64_t part) { return (n + part - 1) / part; }
/* Elements of an item when there are n: whole chunks. */
static inline int64_t eq_piece(int64_t n) {
    int64_t even = eq_parts(eq_parts(n, EQ_ITEMS), EQ_CHUNK) * EQ_CHUNK;
    return even > EQ_PIECE ? EQ_PIECE : even < EQ_LEAST_PIECE ? EQ_LEAST_PIECE : even;
}
/* Rows of an item. */
static inline int64_t eq_rows_per_item(int64_t rows, int64_t cols) {
    int64_t piece = eq_piece(rows * cols);
    return cols < piece ? piece / (cols ? cols : 1) : 1;
}

/* Parts to cut each of n things into, at most `most` of them, so that there are some `least` items
 * and sixteen threads (or eight, four, two) come out even to a tenth. */
int64_t eq_even_parts(int64_t n, int64_t least, int64_t most);

static inline void *eq_elem(eq_mut m, int64_t at) { return (char *)m.p + at * eq_dtype_size(m.dt); }
/* Elements [at, at + n) as fp32: the array itself, or a copy in buf. */
const float *eq_chunk_in(const eq_kernels *k, eq_view v, int64_t at, int64_t n, float *buf);
/* Where to compute elements [at, ...): the array itself if it is fp32, else buf. */
static inline float *eq_chunk_at(eq_mut m, int64_t at, float *buf) {
    return m.dt == EQ_F32 ? (float *)m.p + at : buf;
}
/* Puts n elements computed at `from` into place; nothing to do if they were computed there. */
void eq_chunk_out(const eq_kernels *k, eq_mut m, int64_t at, int64_t n, const float *from);

/* Each fills the slots of its file. */
void eq_cpu_elementwise(eq_ops *ops);
void eq_cpu_gather(eq_ops *ops);
void eq_cpu_matmul(eq_ops *ops);
void eq_cpu_norm(eq_ops *ops);
void eq_cpu_attention(eq_ops *ops);
void eq_cpu_attention_bwd(eq_ops *ops);
void eq_cpu_loss(eq_ops *ops);
void eq_cpu_quantize(eq_ops *ops);
void eq_cpu_variants(eq_ops *ops);
/* fq_init on the grid of a K type, in cpu_variants.c. */
void eq_cpu_k_start(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q);
void eq_cpu_matvec(eq_ops *ops);
void eq_cpu_optim(eq_ops *ops);
#endif
