/* Matrix-vector products of the paper's Table 10: packed weights beside bf16 ones, and both beside
 * the rate at which the same threads read memory.
 * Invariant: a round times every kind and a read once, on memory that no cache can hold; what is
 * printed are medians over rounds, so that all share what the machine does meanwhile. */
#include "bench_kernels.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "base/rng.h"
#include "bench_device.h"
#include "bench_read.h"
#include "quant/pack.h"

enum { ROUNDS = 200, LEAST_BYTES = 192 << 20 };
static const double budget = 3.0; /* seconds a shape */

/* ---- the kinds ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int bits; /* 16: bf16 */
    int64_t G;
    int act8;
} kinds[] = {{"bf16", 16, 0, 0},
             {"w2g64", 2, 64, 1},
             {"w3g128", 3, 128, 1},
             {"w4g128", 4, 128, 1},
             {"exact", 2, 64, 0}};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct {
    int64_t O, I;
} shape;

/* Copies of one matrix, as many as no cache holds. */
typedef struct {
    eq_qshape q;
    int64_t n, elements, groups, bytes; /* copies; words (bf16: weights), groups, bytes of one */
    eq_mut w, s, z;
    double t[ROUNDS];
} kind;

static void bind(kind *k, int i, shape s, eq_arena *a) {
    bool plain = kinds[i].bits == 16;
    k->q = (eq_qshape){.O = s.O, .I = s.I, .G = kinds[i].G, .bits = kinds[i].bits};
    k->elements = plain ? s.O * s.I : s.O * eq_pack_words(s.I, kinds[i].bits);
    k->groups = plain ? 0 : s.O * (s.I / kinds[i].G);
    k->bytes = plain ? 2 * k->elements : 4 * k->elements + 3 * k->groups;
    k->n = (LEAST_BYTES + k->bytes - 1) / k->bytes;
    k->w = eq_take(a, plain ? EQ_BF16 : EQ_U32, k->n * k->elements);
    k->s = eq_take(a, EQ_F16, k->n * k->groups);
    k->z = eq_take(a, EQ_U8, k->n * k->groups);
}

/* Any codes; bf16 weights of usual size. Host memory: this backend is one. */
static void fill(eq_backend *be, kind *k, int bits) {
    uint64_t *p = k->w.p, *to = p + k->w.n * eq_dtype_size(k->w.dt) / 8;
    for (uint64_t i = 0; p < to; i++)
        *p++ = bits == 16 ? (eq_rand_u64(1, i) & 0x807f807f807f807full) | 0x3c003c003c003c00ull
                          : eq_rand_u64(1, i);
    for (int64_t i = 0; i < k->s.n; i++) eq_store(k->s.p, EQ_F16, i, 0.01f);
    memset(k->z.p, 1, (size_t)k->z.n);
    for (int64_t c = 0; bits < 16 && c < k->n; c++)
        EQ_DO(be, prepare_q, eq_mut_at(k->w, c * k->elements, k->elements),
              eq_mut_at(k->s, c * k->groups, k->groups), eq_mut_at(k->z, c * k->groups, k->groups),
              k->q);
}

static void product(eq_backend *be, const kind *k, int i, int64_t round, eq_mut y, eq_view x) {
    int64_t c = round % k->n;
    eq_view w = eq_ro(eq_mut_at(k->w, c * k->elements, k->elements));
    if (kinds[i].bits == 16)
        EQ_DO(be, matmul_nt, y, x, w, 1, k->q.O, k->q.I, 1, 0);
    else
        EQ_DO(be, matvec_q, y, x, w, eq_ro(eq_mut_at(k->s, c * k->groups, k->groups)),
              eq_ro(eq_mut_at(k->z, c * k->groups, k->groups)), 1, k->q, kinds[i].act8, 0);
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_shape(FILE *out, shape s, kind k[KINDS], int rounds, double reads[ROUNDS]) {
    qsort(reads, (size_t)rounds, sizeof *reads, rising);
    double plain = 0, read = EQ_READ_BYTES / reads[rounds / 2];
    fprintf(out, "%5lld x %-5lld %5.1f GB/s", (long long)s.O, (long long)s.I, read * 1e-9);
    for (int i = 0; i < KINDS; i++) {
        qsort(k[i].t, (size_t)rounds, sizeof *k[i].t, rising);
        double t = k[i].t[rounds / 2], rate = (double)k[i].bytes / t;
        if (!i) plain = t;
        fprintf(out, "  %s %.0f us", kinds[i].name, t * 1e6);
        if (i) fprintf(out, " %.2f x", plain / t);
        fprintf(out, " (%.0f %%)", 100 * rate / read);
    }
    fputc('\n', out);
    fflush(out);
}

static eq_status run_shape(const eq_bench_opts *o, eq_backend *be, shape s, eq_bench_reader *reader,
                           eq_err *err) {
    static kind k[KINDS];
    double reads[ROUNDS];
    eq_arena a = {0};
    eq_mut x = {0}, y = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < KINDS; i++) bind(&k[i], i, s, &a);
        x = eq_take(&a, EQ_BF16, s.I), y = eq_take(&a, EQ_BF16, s.O);
        if (!pass) EQ_TRY(eq_arena_alloc(&a, be, "matrices", err));
    }
    for (int i = 0; i < KINDS; i++) fill(be, &k[i], kinds[i].bits);
    for (int64_t i = 0; i < s.I; i++) eq_store(x.p, EQ_BF16, i, eq_rand_normal(2, (uint64_t)i));
    double begin = eq_now();
    int rounds = 0;
    for (int r = -1; r < ROUNDS && (r < 3 || eq_now() - begin < budget); r++) {
        for (int i = 0; i < KINDS; i++) { /* the first round is not counted */
            double t = eq_now();
            product(be, &k[i], i, r + 1, y, eq_ro(x));
            if (r >= 0) k[i].t[r] = eq_now() - t;
        }
        double t = eq_bench_read(reader);
        if (r >= 0) reads[r] = t, rounds = r + 1;
    }
    eq_status st = be->sync(be, err);
    if (st == EQ_OK) print_shape(o->out, s, k, rounds, reads);
    eq_arena_free(&a);
    return st;
}

eq_status eq_bench_kernels(const eq_bench_opts *o, eq_bench_paths *p, eq_err *err) {
    static const shape shapes[] = {{4096, 4096},  {11008, 4096}, {4096, 11008}, {5120, 5120},
                                   {13824, 5120}, {8192, 8192},  {28672, 8192}};
    eq_backend *be;
    eq_bench_reader reader = {0};
    (void)p;
    EQ_TRY(eq_backend_open(&be, o->compute.backend, o->compute.cpu_mask, err));
    eq_status st = be->device ? eq_fail(err, EQ_EINPUT,
                                        "kernels: expected a backend of the CPU, found %s "
                                        "(device-bench times a device's)",
                                        be->name)
                              : EQ_OK;
    if (st == EQ_OK) st = eq_bench_reader_open(&reader, err);
    if (st == EQ_OK)
        fprintf(o->out,
                "products of packed weights and one row (%s); how fast memory was read meanwhile, "
                "in brackets the share of it; \"exact\": w2g64 in fp32\n",
                be->kernels ? be->kernels : be->name);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && st == EQ_OK; i++)
        st = run_shape(o, be, shapes[i], &reader, err);
    eq_bench_reader_close(&reader);
    be->close(be);
    return st;
}
