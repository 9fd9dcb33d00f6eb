/* Forward passes over windows that share rows, and the likelihood of single tokens behind them:
 * what multiple choice needs. See lm.h. Invariant: no product is made for a row twice, and logits
 * only for rows that are asked for. */
#include "base/mem.h"
#include "base/par.h"
#include "model/lm.h"

/* The room of all places, as this batch uses it. */
static eq_block_shared in_use(const eq_lm *lm, const eq_lm_shared *s) {
    const eq_config *c = lm->cfg;
    int64_t n = s->B * s->T, wide = n * c->NH * c->HD, narrow = n * c->NKV * c->HD;
    return (eq_block_shared){.B = s->B,
                             .T = s->T,
                             .place = eq_mut_at(lm->shared.place, 0, n),
                             .row = eq_mut_at(lm->shared.row, 0, s->rows),
                             .q = eq_mut_at(lm->shared.q, 0, wide),
                             .k = eq_mut_at(lm->shared.k, 0, narrow),
                             .v = eq_mut_at(lm->shared.v, 0, narrow),
                             .o = eq_mut_at(lm->shared.o, 0, wide),
                             .lse = eq_mut_at(lm->shared.lse, 0, n * c->NH)};
}

eq_status eq_lm_forward_shared(eq_lm *lm, const eq_lm_shared *s, eq_err *err) {
    int32_t *row = eq_calloc(s->rows, sizeof *row);
    if (!row) return eq_nomem(err, "places of rows", 4 * s->rows);
    for (int64_t p = 0; p < s->B * s->T; p++)
        if (s->place[p] >= 0) row[s->place[p]] = (int32_t)p;
    eq_lm_embed(lm, s->ids, 1, s->rows);
    eq_block_shared shared = in_use(lm, s);
    lm->be->upload(lm->be, shared.place, s->place, EQ_I32);
    lm->be->upload(lm->be, shared.row, row, EQ_I32);
    lm->acts.shared = &shared;
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < lm->cfg->L && st == EQ_OK; i++) st = eq_lm_block_fwd(lm, i, err);
    lm->acts.shared = NULL;
    eq_free(row);
    return st;
}

/* ---- scores ---------------------------------------------------------------------------------- */

typedef struct {
    const float *logits;
    const int32_t *target;
    bool *first;
    int64_t V;
} first_job;
static void first_row(void *ctx, int64_t r, int thread) {
    (void)thread;
    const first_job *j = ctx;
    const float *x = j->logits + r * j->V;
    int64_t best = 0;
    for (int64_t i = 1; i < j->V; i++)
        if (x[i] > x[best]) best = i;
    j->first[r] = best == j->target[r];
}

/* Logits of n rows, at most lm->chunk, whose last hidden states are x. */
static void logits_of(eq_lm *lm, eq_view x, int64_t n) {
    int64_t D = lm->cfg->D, V = lm->cfg->V;
    eq_lm_norm(lm, x, n);
    eq_lm_head(lm, eq_mut_at(lm->logits, 0, n * V), eq_ro(eq_mut_at(lm->hn, 0, n * D)), n, n);
}

int64_t eq_lm_logit_rows(const eq_lm *lm) {
    int64_t rows = lm->acts.B * lm->acts.T;
    return lm->chunk < rows ? lm->chunk : rows;
}

eq_status eq_lm_logits(eq_lm *lm, int64_t row, int64_t n, float *logits, eq_err *err) {
    eq_backend *be = lm->be;
    int64_t D = lm->cfg->D, V = lm->cfg->V;
    logits_of(lm, eq_ro(eq_mut_at(lm->x[lm->cfg->L], row * D, n * D)), n);
    be->download(be, logits, EQ_F32, eq_ro(eq_mut_at(lm->logits, 0, n * V)));
    return be->sync(be, err);
}

/* n rows of the batch, at most lm->chunk: their logits and losses on the backend. */
static void score_rows(eq_lm *lm, const int32_t *row, const int32_t *target, int64_t n) {
    eq_backend *be = lm->be;
    int64_t L = lm->cfg->L, D = lm->cfg->D, V = lm->cfg->V;
    /* The input of the last block has been used up. */
    eq_mut x = eq_mut_at(lm->x[L - 1], 0, n * D);
    eq_mut picked = eq_mut_at(lm->picked, 0, n), targets = eq_mut_at(lm->targets, 0, n);
    be->upload(be, picked, row, EQ_I32);
    be->upload(be, targets, target, EQ_I32);
    EQ_DO(be, gather, x, eq_ro(lm->x[L]), eq_ro(picked), n, D);
    logits_of(lm, eq_ro(x), n);
    EQ_DO(be, cross_entropy, eq_mut_at(lm->losses, 0, n), EQ_NONE_MUT,
          eq_ro(eq_mut_at(lm->logits, 0, n * V)), eq_ro(targets), n, V, 0.0f, 0.0f);
}

eq_status eq_lm_score(eq_lm *lm, const int32_t *row, const int32_t *target, int64_t n, float *nll,
                      bool *first, eq_err *err) {
    eq_backend *be = lm->be;
    int64_t V = lm->cfg->V, chunk = eq_lm_logit_rows(lm);
    float *logits = first ? eq_calloc(chunk * V, sizeof *logits) : NULL;
    if (first && !logits) return eq_nomem(err, "logits", 4 * chunk * V);
    eq_status st = EQ_OK;
    for (int64_t i = 0, k; i < n && st == EQ_OK; i += k) {
        k = n - i < chunk ? n - i : chunk;
        score_rows(lm, row + i, target + i, k);
        be->download(be, nll + i, EQ_F32, eq_ro(eq_mut_at(lm->losses, 0, k)));
        if (first) be->download(be, logits, EQ_F32, eq_ro(eq_mut_at(lm->logits, 0, k * V)));
        st = be->sync(be, err);
        first_job j = {logits, target + i, first + i, V};
        if (first && st == EQ_OK) eq_par_for(k, first_row, &j);
    }
    eq_free(logits);
    return st;
}
