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
    if (o->context)
        return eq_fail(
            err, EQ_ENOMEM,
            "the model and a context of %lld tokens need %.2f GiB, the limit is %.2f GiB: "
            "lower the context",
            (long long)o->context, (double)need / (1 << 30), (double)limit / (1 << 30));
    return eq_fail(err, EQ_ENOMEM,
                   "%lld x %lld tokens need %.2f GiB, the limit is %.2f GiB: lower the windows at "
                   "once or their length",
                   (long long)o->B, (long long)o->T, (double)need / (1 << 30),
                   (double)limit / (1 << 30));
}

static eq_status open_as(eq_lm **lm, eq_backend *be, const eq_weights *src,
                         const eq_compute_opts *compute, bool as_written, eq_lm_opts o,
                         eq_err *err) {
    *lm = NULL;
    reader r = {.src = src};
    o.ct = compute->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16;
    o.schemes = src->cfg.schemes;
    o.hints = be->hints;
    o.source = read_block, o.ctx = &r;
    o.as_written = as_written;
    if (!be->device) EQ_TRY(check_memory(&src->cfg, &o, compute->memory_limit, err));
    eq_status st = eq_lm_open(lm, be, src, &o, err);
    eq_qblock_free(&r.b);
    return st;
}

eq_status eq_lm_open_folder(eq_lm **lm, eq_backend *be, const eq_weights *src,
                            const eq_compute_opts *compute, bool as_written, int64_t B, int64_t T,
                            eq_err *err) {
    return open_as(lm, be, src, compute, as_written, (eq_lm_opts){.B = B, .T = T}, err);
}

eq_status eq_lm_open_shared(eq_lm **lm, eq_backend *be, const eq_weights *src,
                            const eq_compute_opts *compute, bool as_written, int64_t rows,
                            int64_t places, int64_t longest, eq_err *err) {
    eq_lm_opts o = {.B = 1, .T = rows, .places = places, .longest = longest};
    return open_as(lm, be, src, compute, as_written, o, err);
}

eq_status eq_lm_open_context(eq_lm **lm, eq_backend *be, const eq_weights *src,
                             const eq_compute_opts *compute, int64_t T, int64_t context,
                             eq_err *err) {
    eq_lm_opts o = {.B = 1, .T = T, .context = context};
    return open_as(lm, be, src, compute, true, o, err);
}
