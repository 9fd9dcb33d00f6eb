/* See lm_folder.h. */
#include "model/lm_folder.h"

#include "base/mem.h"

/* A quantized checkpoint's block i, kept until the next. */
typedef struct {
    const eq_weights *src;
    eq_qblock b;
} reader;
static eq_status read_block(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    reader *r = ctx;
    eq_qblock_free(&r->b);
    *b = &r->b;
    return eq_qblock_read(&r->b, r->src, i, err);
}

static eq_status check_memory(const eq_config *c, const eq_lm_opts *o, int64_t limit, eq_err *err) {
    int64_t need = eq_lm_bytes(c, o);
    if (need < 0) return eq_nomem(err, "a model", c->L * (int64_t)sizeof(eq_mut));
    need += eq_mem_current();
    if (!limit || need <= limit) return EQ_OK;
    return eq_fail(err, EQ_ENOMEM,
                   "%lld x %lld tokens need %.2f GiB, the limit is %.2f GiB: lower the windows at "
                   "once or their length",
                   (long long)o->B, (long long)o->T, (double)need / (1 << 30),
                   (double)limit / (1 << 30));
}

eq_status eq_lm_open_folder(eq_lm **lm, eq_backend *be, const eq_weights *src,
                            const eq_compute_opts *compute, bool as_written, int64_t B, int64_t T,
                            eq_err *err) {
    *lm = NULL;
    reader r = {.src = src};
    eq_lm_opts o = {.B = B,
                    .T = T,
                    .ct = compute->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16,
                    .bits = src->cfg.bits,
                    .group = src->cfg.G,
                    .hints = be->hints,
                    .source = read_block,
                    .ctx = &r,
                    .as_written = as_written};
    if (!be->device) EQ_TRY(check_memory(&src->cfg, &o, compute->memory_limit, err));
    eq_status st = eq_lm_open(lm, be, src, &o, err);
    eq_qblock_free(&r.b);
    return st;
}
