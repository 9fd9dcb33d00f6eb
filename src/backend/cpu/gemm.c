/* Matrix products through oneDNN's matmul primitive (versions 2 and 3 of its C interface).
 * Invariant: a primitive, its memory objects and its scratchpad belong to one thread; nothing here
 * is shared between threads except the engine and the first error. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "backend/cpu/gemm.h"

#include <dnnl.h>
#include <dnnl_debug.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/cxx_guard.h"
#include "base/mem.h"

enum { THREADS = 512, SETS = 64, WAYS = 4, ARGS = 4 };
/* Depth of one widened piece, which bounds the copies. */
enum { WIDEN_K = 512 };
/* Of a primitive and its first run; and of the first run of all, which makes 6 MiB of kernels. */
enum { PRIMITIVE_ROOM = 4 << 20, KERNELS_ROOM = 16 << 20 };
static _Atomic bool kernels_made; /* oneDNN keeps them as long as the process lives */

typedef struct {
    int64_t M, N, K, ldc, lda, ldb;
    int32_t in, out, b_t, acc;
} shape_key;
_Static_assert(sizeof(shape_key) == 64, "compared as bytes: no padding");

typedef struct {
    shape_key key;
    dnnl_primitive_t run;
    dnnl_memory_t a, b, c, pad;
    int64_t pad_bytes;
    uint64_t used; /* time of the last use: the oldest of a set makes room */
} entry;

typedef struct {
    entry e[SETS][WAYS];
    dnnl_stream_t stream;
    uint64_t clock;
    char *pad, *wide;
    int64_t pad_bytes, wide_bytes;
} worker;

struct eq_gemm {
    dnnl_engine_t engine;
    const eq_kernels *k;
    bool native_bf16;
    worker *w[THREADS];
    _Atomic int failed; /* an eq_status, the first one */
    _Atomic int dnnl_failed;
};

/* ---- what differs between oneDNN 2 and 3 ----------------------------------------------------- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
static void layout_free(layout *l) {
    if (*l) dnnl_memory_desc_destroy(*l);
}
static dnnl_status_t layout_new(layout *l, int64_t rows, int64_t cols, int64_t row_step,
                                int64_t col_step, dnnl_data_type_t t) {
    return dnnl_memory_desc_create_with_strides(l, 2, (dnnl_dims_t){rows, cols}, t,
                                                (dnnl_dims_t){row_step, col_step});
}
static dnnl_status_t describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, layout *a, layout *b,
                              layout *c, dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, *a, *b, NULL, *c, attr);
}
static dnnl_status_t memory_new(dnnl_memory_t *m, layout *l, dnnl_engine_t engine) {
    return dnnl_memory_create(m, *l, engine, DNNL_MEMORY_NONE);
}
static dnnl_status_t pad_new(dnnl_memory_t *m, int64_t *bytes, const_dnnl_primitive_desc_t pd,
                             dnnl_engine_t engine) {
    const_dnnl_memory_desc_t l = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    *bytes = (int64_t)dnnl_memory_desc_get_size(l);
    return dnnl_memory_create(m, l, engine, DNNL_MEMORY_NONE);
}
static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}
#else
typedef dnnl_memory_desc_t layout;
static void layout_free(layout *l) { (void)l; }
static dnnl_status_t layout_new(layout *l, int64_t rows, int64_t cols, int64_t row_step,
                                int64_t col_step, dnnl_data_type_t t) {
    return dnnl_memory_desc_init_by_strides(l, 2, (dnnl_dims_t){rows, cols}, t,
                                            (dnnl_dims_t){row_step, col_step});
}
static dnnl_status_t describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, layout *a, layout *b,
                              layout *c, dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t d;
    dnnl_status_t st = dnnl_matmul_desc_init(&d, a, b, NULL, c);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &d, attr, engine, NULL) : st;
}
static dnnl_status_t memory_new(dnnl_memory_t *m, layout *l, dnnl_engine_t engine) {
    return dnnl_memory_create(m, l, engine, DNNL_MEMORY_NONE);
}
static dnnl_status_t pad_new(dnnl_memory_t *m, int64_t *bytes, const_dnnl_primitive_desc_t pd,
                             dnnl_engine_t engine) {
    const dnnl_memory_desc_t *l = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    *bytes = (int64_t)dnnl_memory_desc_get_size(l);
    return dnnl_memory_create(m, l, engine, DNNL_MEMORY_NONE);
}
static dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f); }
#endif

/* ---- errors ---------------------------------------------------------------------------------- */

static void fail(eq_gemm *g, eq_status status, int dnnl) {
    int none = EQ_OK;
    if (dnnl == dnnl_out_of_memory) status = EQ_ENOMEM;
    if (atomic_compare_exchange_strong(&g->failed, &none, (int)status))
        atomic_store(&g->dnnl_failed, dnnl);
}

eq_status eq_gemm_error(eq_gemm *g, eq_err *err) {
    eq_status st = (eq_status)atomic_exchange(&g->failed, EQ_OK);
    if (st == EQ_OK) return EQ_OK;
    if (st == EQ_ENOMEM) return eq_fail(err, st, "out of memory: scratch of a matrix product");
    return eq_fail(err, st, "oneDNN: a matrix product failed with status %d",
                   atomic_load(&g->dnnl_failed));
}

/* *p has at least `bytes` afterwards, content undefined. */
static bool grow(eq_gemm *g, char **p, int64_t *have, int64_t bytes) {
    if (bytes <= *have) return true;
    eq_free(*p);
    *p = eq_calloc(bytes, 1);
    *have = *p ? bytes : 0;
    if (!*p) fail(g, EQ_ENOMEM, 0);
    return *p != NULL;
}

/* ---- primitives ------------------------------------------------------------------------------ */

static dnnl_data_type_t type_of(int32_t t) { return t == EQ_BF16 ? dnnl_bf16 : dnnl_f32; }

static void entry_free(entry *e) {
    if (e->run) dnnl_primitive_destroy(e->run);
    dnnl_memory_t m[] = {e->a, e->b, e->c, e->pad};
    for (int i = 0; i < ARGS; i++)
        if (m[i]) dnnl_memory_destroy(m[i]);
    memset(e, 0, sizeof *e);
}

static dnnl_status_t attributes(dnnl_primitive_attr_t *attr, bool acc) {
    dnnl_status_t st = dnnl_primitive_attr_create(attr);
    if (st == dnnl_success)
        st = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (st != dnnl_success || !acc) return st;
    dnnl_post_ops_t ops = NULL;
    st = dnnl_post_ops_create(&ops);
    if (st == dnnl_success) st = append_sum(ops);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return st;
}

/* On failure *e holds what was made so far. */
static dnnl_status_t entry_fill(entry *e, dnnl_engine_t engine, const shape_key *k) {
    layout a = {0}, b = {0}, c = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t st = attributes(&attr, k->acc);
    if (st == dnnl_success) st = layout_new(&a, k->M, k->K, k->lda, 1, type_of(k->in));
    if (st == dnnl_success)
        st = layout_new(&b, k->K, k->N, k->b_t ? 1 : k->ldb, k->b_t ? k->ldb : 1, type_of(k->in));
    if (st == dnnl_success) st = layout_new(&c, k->M, k->N, k->ldc, 1, type_of(k->out));
    if (st == dnnl_success) st = describe(&pd, engine, &a, &b, &c, attr);
    if (st == dnnl_success) st = dnnl_primitive_create(&e->run, pd);
    if (st == dnnl_success) st = memory_new(&e->a, &a, engine);
    if (st == dnnl_success) st = memory_new(&e->b, &b, engine);
    if (st == dnnl_success) st = memory_new(&e->c, &c, engine);
    if (st == dnnl_success) st = pad_new(&e->pad, &e->pad_bytes, pd, engine);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    layout_free(&a), layout_free(&b), layout_free(&c);
    e->key = *k;
    return st;
}
typedef struct {
    entry *e;
    dnnl_engine_t engine;
    const shape_key *k;
} filling;
/* oneDNN 2.6 reads behind a null pointer where some of its own memory cannot be had, and nothing
 * can be caught there: so a few times what a primitive takes must be free before one is made, and
 * before it first runs, since some kernels are made only then. */
static bool has_room(void) {
    size_t n = atomic_load(&kernels_made) ? PRIMITIVE_ROOM : KERNELS_ROOM;
    void *room = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return false;
    munmap(room, n);
    return true;
}
static int fill_entry(void *ctx) {
    const filling *f = ctx;
    return has_room() ? (int)entry_fill(f->e, f->engine, f->k) : dnnl_out_of_memory;
}
static dnnl_status_t entry_new(entry *e, dnnl_engine_t engine, const shape_key *k) {
    filling f = {e, engine, k};
    return (dnnl_status_t)eq_cxx_guard(fill_entry, &f, dnnl_out_of_memory);
}

static uint64_t hash(const shape_key *k) {
    const int64_t part[] = {
        k->M, k->N, k->K, k->ldc, k->lda, k->ldb, k->in | k->out << 4 | k->b_t << 8 | k->acc << 9};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        h = (h ^ (uint64_t)part[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    return h;
}

static entry *entry_of(eq_gemm *g, worker *w, const shape_key *k) {
    entry *set = w->e[hash(k) % SETS], *oldest = set;
    for (entry *e = set; e < set + WAYS; e++) {
        if (e->run && !memcmp(&e->key, k, sizeof *k)) return e;
        if (e->used < oldest->used) oldest = e;
    }
    entry_free(oldest);
    dnnl_status_t st = entry_new(oldest, g->engine, k);
    if (st == dnnl_success) return oldest;
    entry_free(oldest);
    fail(g, EQ_EDEVICE, (int)st);
    return NULL;
}

typedef struct {
    dnnl_stream_t *stream;
    dnnl_engine_t *engine; /* made when no stream is asked for */
} beginning;
static int begin(void *ctx) {
    const beginning *b = ctx;
    if (!b->stream) return (int)dnnl_engine_create(b->engine, dnnl_cpu, 0);
    return (int)dnnl_stream_create(b->stream, *b->engine, dnnl_stream_default_flags);
}

static worker *worker_of(eq_gemm *g, int thread) {
    worker *w = g->w[thread];
    if (w) return w;
    w = eq_calloc(1, sizeof *w);
    if (!w) {
        fail(g, EQ_ENOMEM, 0);
        return NULL;
    }
    beginning b = {&w->stream, &g->engine};
    int st = eq_cxx_guard(begin, &b, dnnl_out_of_memory);
    if (st != dnnl_success) {
        eq_free(w);
        fail(g, EQ_EDEVICE, st);
        return NULL;
    }
    return g->w[thread] = w;
}

/* ---- running --------------------------------------------------------------------------------- */

/* oneDNN's generated kernels of some CPUs (seen: 2.6.3, fp32 at AVX2) use the stack pointer in a
 * way that leaves no room for a signal's frame: a handler that runs in their middle writes into
 * their work space and what lies before it. So none runs there; what an instruction itself raises
 * still does. */
typedef struct {
    dnnl_primitive_t run;
    dnnl_stream_t stream;
    const dnnl_exec_arg_t *args;
    void *const *data;
} execution;
static int do_execute(void *ctx) {
    const execution *x = ctx;
    dnnl_status_t st = dnnl_success;
    for (int i = 0; i < ARGS && st == dnnl_success; i++)
        st = dnnl_memory_set_data_handle(x->args[i].memory, x->data[i]);
    if (st == dnnl_success) st = dnnl_primitive_execute(x->run, x->stream, ARGS, x->args);
    return (int)(st == dnnl_success ? dnnl_stream_wait(x->stream) : st);
}
static dnnl_status_t execute(execution x) {
    static const int raised[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof raised / sizeof *raised; i++) sigdelset(&all, raised[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    dnnl_status_t st = (dnnl_status_t)eq_cxx_guard(do_execute, &x, dnnl_out_of_memory);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

static void run(eq_gemm *g, worker *w, const eq_product *p) {
    shape_key key = {p->M,   p->N,  p->K, p->ldc, p->lda, p->ldb, (int32_t)p->in, (int32_t)p->out,
                     p->b_t, p->acc};
    entry *e = entry_of(g, w, &key);
    if (!e || !grow(g, &w->pad, &w->pad_bytes, e->pad_bytes)) return;
    if (!e->used && !has_room()) {
        fail(g, EQ_ENOMEM, 0);
        return;
    }
    e->used = ++w->clock;
    const dnnl_exec_arg_t args[ARGS] = {{DNNL_ARG_SRC, e->a},
                                        {DNNL_ARG_WEIGHTS, e->b},
                                        {DNNL_ARG_DST, e->c},
                                        {DNNL_ARG_SCRATCHPAD, e->pad}};
    void *const data[ARGS] = {(void *)p->a, (void *)p->b, p->c, w->pad};
    dnnl_status_t st = execute((execution){e->run, w->stream, args, data});
    if (st == dnnl_success)
        atomic_store(&kernels_made, true);
    else
        fail(g, EQ_EDEVICE, (int)st);
}

static void widen(const eq_kernels *k, float *to, const uint16_t *from, int64_t ld, int64_t rows,
                  int64_t cols) {
    for (int64_t r = 0; r < rows; r++) k->f32_from_bf16(to + r * cols, from + r * ld, cols);
}

/* a's columns and b's rows from k0 on, n of them, as fp32: copies in `to` where they are bf16. */
static void widen_piece(const eq_kernels *k, eq_product *piece, float *to, const eq_product *p,
                        int64_t k0, int64_t n) {
    int64_t size = eq_dtype_size(p->in), b0 = p->b_t ? k0 : k0 * p->ldb;
    int64_t b_rows = p->b_t ? p->N : n, b_cols = p->b_t ? n : p->N;
    piece->a = (const char *)p->a + k0 * size;
    piece->b = (const char *)p->b + b0 * size;
    piece->K = n;
    if (p->in == EQ_F32) return;
    widen(k, to, piece->a, p->lda, p->M, n);
    widen(k, to + p->M * n, piece->b, p->ldb, b_rows, b_cols);
    piece->a = to, piece->lda = n;
    piece->b = to + p->M * n, piece->ldb = b_cols;
}

/* In fp32, where oneDNN cannot take the types as they are: a bf16 result is rounded once, at the
 * end; bf16 operands are widened a piece of K at a time, in rising order. */
static void run_widened(eq_gemm *g, worker *w, const eq_product *p) {
    int64_t step = p->in == EQ_BF16 ? WIDEN_K : p->K, sum = p->out == EQ_BF16 ? p->M * p->N : 0;
    if (step > p->K) step = p->K;
    int64_t copies = p->in == EQ_BF16 ? step * (p->M + p->N) : 0;
    if (!grow(g, &w->wide, &w->wide_bytes, 4 * (copies + sum))) return;
    float *wide = (float *)(void *)w->wide, *c = wide + copies;
    eq_product piece = *p;
    piece.in = piece.out = EQ_F32;
    if (sum) piece.c = c, piece.ldc = p->N;
    for (int64_t k0 = 0; k0 < p->K; k0 += step) {
        widen_piece(g->k, &piece, wide, p, k0, p->K - k0 < step ? p->K - k0 : step);
        piece.acc = k0 > 0 || p->acc;
        run(g, w, &piece);
    }
    for (int64_t r = 0; r < p->M && sum; r++)
        g->k->bf16_from_f32((uint16_t *)p->c + r * p->ldc, c + r * p->N, p->N);
}

void eq_gemm_run(eq_gemm *g, int thread, const eq_product *p) {
    if (p->M <= 0 || p->N <= 0) return;
    if (p->K <= 0) {
        for (int64_t r = 0; r < p->M && !p->acc; r++)
            memset((char *)p->c + r * p->ldc * eq_dtype_size(p->out), 0,
                   (size_t)(p->N * eq_dtype_size(p->out)));
        return;
    }
    worker *w = worker_of(g, thread);
    if (!w) return;
    if (p->in == EQ_BF16 ? !g->native_bf16 : p->out == EQ_BF16)
        run_widened(g, w, p);
    else
        run(g, w, p);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Has effect once in a process and only before oneDNN is first used; later it is refused, and the
 * limit of the first backend stays. */
static void limit_isa(eq_cpu_level level) {
    if (level == EQ_CPU_SSE2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    if (level == EQ_CPU_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
}

static dnnl_status_t try_bf16(dnnl_engine_t engine) {
    entry e = {0};
    shape_key k = {64, 64, 64, 64, 64, 64, EQ_BF16, EQ_F32, 1, 1};
    dnnl_status_t st = entry_new(&e, engine, &k);
    entry_free(&e);
    return st;
}

eq_status eq_gemm_open(eq_gemm **out, eq_cpu_level level, const eq_kernels *k, bool native_bf16,
                       eq_err *err) {
    eq_gemm *g = eq_calloc(1, sizeof *g);
    void *frame;
    if (!g) return eq_nomem(err, "matrix products", sizeof *g);
    backtrace(&frame, 1); /* opens what unwinding needs, which without memory ends the program */
    limit_isa(level);
    beginning b = {NULL, &g->engine};
    int st = eq_cxx_guard(begin, &b, dnnl_out_of_memory);
    if (st != dnnl_success) {
        eq_free(g);
        return eq_fail(err, EQ_EDEVICE, "oneDNN: no CPU engine, status %d", st);
    }
    dnnl_status_t bf16 = level >= EQ_CPU_AVX512 ? try_bf16(g->engine) : dnnl_unimplemented;
    if (bf16 == dnnl_out_of_memory) {
        eq_gemm_close(g);
        return eq_nomem(err, "matrix products", 0);
    }
    g->k = k;
    g->native_bf16 = native_bf16 && bf16 == dnnl_success;
    *out = g;
    return EQ_OK;
}

void eq_gemm_close(eq_gemm *g) {
    if (!g) return;
    for (int t = 0; t < THREADS; t++) {
        worker *w = g->w[t];
        if (!w) continue;
        for (int i = 0; i < SETS * WAYS; i++) entry_free(&w->e[i / WAYS][i % WAYS]);
        dnnl_stream_destroy(w->stream);
        eq_free(w->pad);
        eq_free(w->wide);
        eq_free(w);
    }
    dnnl_engine_destroy(g->engine);
    eq_free(g);
}

bool eq_gemm_native_bf16(const eq_gemm *g) { return g->native_bf16; }
const char *eq_gemm_version(char out[32]) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(out, 32, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return out;
}

static const char *behind(const char *text, const char *head) {
    size_t n = strlen(head);
    return strncmp(text, head, n) ? text : text + n;
}

/* ONEDNN_MAX_CPU_ISA and ONEDNN_DEFAULT_FPMATH_MODE change what oneDNN computes. */
const char *eq_gemm_mode(char out[64]) {
    dnnl_fpmath_mode_t mode = dnnl_fpmath_mode_strict;
    const char *isa = behind(dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa()), "cpu_isa_");
    dnnl_get_default_fpmath_mode(&mode);
    if (mode == dnnl_fpmath_mode_strict)
        snprintf(out, 64, "%s", isa);
    else
        snprintf(out, 64, "%s, fp32 as %s", isa,
                 behind(dnnl_fpmath_mode2str(mode), "fpmath_mode_"));
    return out;
}
