/* See bench_read.h. */
#include "bench_read.h"

#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"

enum { ALL_BYTES = 256 << 20, PIECE = 1 << 18, PIECES = EQ_READ_BYTES / PIECE };

typedef struct {
    const uint64_t *from;
    uint64_t sum[PIECES];
} read_job;

static void read_piece(void *ctx, int64_t i, int thread) {
    read_job *j = ctx;
    (void)thread;
    const uint64_t *p = j->from + i * (PIECE / 8);
    uint64_t s[16] = {0};
    for (int k = 0; k < PIECE / 8; k += 16)
        for (int l = 0; l < 16; l++) s[l] += p[k + l];
    for (int l = 1; l < 16; l++) s[0] += s[l];
    j->sum[i] = s[0];
}

eq_status eq_bench_reader_open(eq_bench_reader *r, eq_err *err) {
    *r = (eq_bench_reader){.from = eq_calloc(ALL_BYTES, 1)};
    if (!r->from) return eq_nomem(err, "reading", ALL_BYTES);
    eq_mem_large(r->from, ALL_BYTES); /* as the weights lie */
    for (int64_t i = 0; i < ALL_BYTES / 8; i++) r->from[i] = (uint64_t)i;
    return EQ_OK;
}
void eq_bench_reader_close(eq_bench_reader *r) { eq_free(r->from); }

double eq_bench_read(eq_bench_reader *r) {
    read_job j;
    j.from = r->from + r->at / 8;
    r->at = (r->at + EQ_READ_BYTES) % ALL_BYTES;
    double t = eq_now();
    eq_par_for(PIECES, read_piece, &j);
    t = eq_now() - t;
    volatile uint64_t seen = j.sum[0]; /* so that nothing is left out */
    (void)seen;
    return t;
}
