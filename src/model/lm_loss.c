/* From the last block's output to losses and their gradient: final norm, head, cross-entropy or the
 * divergence from a teacher's predictions. See lm.h. Invariant: logits of a few rows exist at once,
 * and a row meets the same rows of its window in every product. */
#include "base/mem.h"
#include "model/lm.h"

/* Row r of window b predicts the token behind it where that is learned; the last row of a window
 * predicts nothing. */
static void next_tokens(int32_t *targets, const int32_t *ids, const uint8_t *learn, int64_t B,
                        int64_t T) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0, r = b * T; t < T; t++, r++)
            targets[r] = t + 1 < T && (!learn || learn[r + 1]) ? ids[r + 1] : -1;
}

void eq_lm_head(const eq_lm *lm, eq_mut logits, eq_view hn, int64_t n, int64_t T) {
    const eq_packed *p = &lm->res.head;
    if (p->q.n)
        EQ_DO(lm->be, matvec_q, logits, hn, eq_ro(p->q), eq_ro(p->s), eq_ro(p->z), n, p->shape, 1,
              0);
    else
        EQ_DO(lm->be, matmul_nt, logits, hn, eq_ro(lm->head), n, lm->cfg->V, lm->cfg->D, T, 0);
    float cap = (float)lm->cfg->logit_cap;
    if (cap > 0) EQ_DO(lm->be, softcap, logits, eq_ro(logits), cap);
}

/* Losses of n rows from row r on, and the gradient of their logits. */
static void row_losses(eq_lm *lm, eq_mut dlogits, eq_mut logits, int64_t r, int64_t n, int64_t T,
                       float scale) {
    int64_t D = lm->cfg->D, V = lm->cfg->V;
    eq_mut losses = eq_mut_at(lm->losses, r, n);
    eq_view targets = eq_ro(eq_mut_at(lm->targets, r, n));
    float cap = (float)lm->cfg->logit_cap;
    if (!lm->taught) {
        EQ_DO(lm->be, cross_entropy, losses, dlogits, eq_ro(logits), targets, n, V, scale, cap);
        return;
    }
    eq_mut teacher = eq_mut_at(lm->teacher_logits, 0, n * V);
    eq_lm_head(lm, teacher, eq_ro(eq_mut_at(lm->teacher_hn, r * D, n * D)), n, T);
    EQ_DO(lm->be, divergence, losses, dlogits, eq_ro(logits), eq_ro(teacher), targets, n, V, scale,
          cap);
}

/* Rows [r, r + n) through the head: losses, and the gradient of the normed rows added to lm->dy. */
static void head_chunk(eq_lm *lm, int64_t r, int64_t n, int64_t T, float scale) {
    eq_backend *be = lm->be;
    int64_t D = lm->cfg->D, V = lm->cfg->V;
    if (T > n) T = n;
    eq_view hn = eq_ro(eq_mut_at(lm->hn, r * D, n * D));
    eq_mut logits = eq_mut_at(lm->logits, 0, n * V);
    eq_mut dlogits = scale > 0 ? eq_mut_at(lm->dlogits, 0, n * V) : EQ_NONE_MUT;
    eq_lm_head(lm, logits, hn, n, T);
    row_losses(lm, dlogits, logits, r, n, T, scale);
    if (scale <= 0) return;
    eq_mut dhn = eq_mut_at(lm->dhn, 0, n * D);
    EQ_DO(be, matmul_nn, dhn, eq_ro(dlogits), eq_ro(lm->head), n, D, V, T, 0);
    eq_mut dy = eq_mut_at(lm->dy, r * D, n * D);
    EQ_DO(be, rmsnorm_bwd, dy, EQ_NONE_MUT, eq_ro(dhn), eq_ro(eq_mut_at(lm->xc, r * D, n * D)),
          eq_ro(lm->norm), eq_ro(eq_mut_at(lm->rstd, r, n)), n, D, n, 0);
    if (lm->cfg->norm_center) EQ_DO(be, center, dy, eq_ro(dy), n, D);
}

/* All windows through the head. A chunk never holds the end of one window and the beginning of the
 * next, so that a window's rows always meet in the same products. */
static void head(eq_lm *lm, int64_t B, int64_t T, float scale) {
    int64_t span = lm->chunk < T ? T : B * T;
    for (int64_t from = 0; from < B * T; from += span)
        for (int64_t r = 0, n; r < span; r += n) {
            n = span - r < lm->chunk ? span - r : lm->chunk;
            head_chunk(lm, from + r, n, T, scale);
        }
}

void eq_lm_norm(eq_lm *lm, eq_view x, int64_t rows) {
    const eq_config *c = lm->cfg;
    eq_mut hn = eq_mut_at(lm->hn, 0, rows * c->D), rstd = eq_mut_at(lm->rstd, 0, rows);
    if (c->norm_center) {
        eq_mut xc = eq_mut_at(lm->xc, 0, rows * c->D);
        EQ_DO(lm->be, center, xc, x, rows, c->D);
        x = eq_ro(xc);
    }
    EQ_DO(lm->be, rmsnorm_fwd, hn, rstd, x, eq_ro(lm->norm), rows, c->D, (float)c->eps);
    if (c->norm_center) EQ_DO(lm->be, bias_add, hn, eq_ro(lm->norm_bias), rows, c->D);
}

eq_status eq_lm_loss_of(eq_lm *lm, const int32_t *ids, const uint8_t *learn, int64_t B, int64_t T,
                        float scale, double *nll, eq_err *err) {
    eq_backend *be = lm->be;
    int64_t N = B * T;
    float *host = eq_calloc(N, sizeof *host);
    if (!host) return eq_nomem(err, "losses", 4 * N);
    next_tokens((int32_t *)host, ids, learn, B, T);
    be->upload(be, lm->targets, host, EQ_I32);
    eq_lm_norm(lm, eq_ro(lm->x[lm->cfg->L]), N);
    head(lm, B, T, scale);
    lm->taught = false;
    be->download(be, host, EQ_F32, eq_ro(lm->losses));
    eq_status st = be->sync(be, err);
    for (int64_t b = 0; b < B; b++) {
        double sum = 0;
        for (int64_t t = 0; t + 1 < T; t++) sum += host[b * T + t];
        nll[b] = sum;
    }
    eq_free(host);
    return st;
}

eq_status eq_lm_loss(eq_lm *lm, const int32_t *ids, int64_t B, int64_t T, float scale, double *nll,
                     eq_err *err) {
    EQ_TRY(eq_lm_loss_of(lm, ids, NULL, B, T, scale, nll, err));
    for (int64_t b = 0; b < B; b++) nll[b] /= (double)(T - 1);
    return EQ_OK;
}
