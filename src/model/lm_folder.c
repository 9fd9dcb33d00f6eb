/* See lm_folder.h. */
#include "model/lm_folder.h"

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

eq_status eq_lm_open_folder(eq_lm **lm, eq_backend *be, const eq_weights *src, eq_precision prec,
                            bool as_written, int64_t B, int64_t T, eq_err *err) {
    reader r = {.src = src};
    eq_lm_opts o = {.B = B,
                    .T = T,
                    .ct = prec == EQ_PREC_F32 ? EQ_F32 : EQ_BF16,
                    .bits = src->cfg.bits,
                    .group = src->cfg.G,
                    .source = read_block,
                    .ctx = &r,
                    .as_written = as_written};
    eq_status st = eq_lm_open(lm, be, src, &o, err);
    eq_qblock_free(&r.b);
    return st;
}
