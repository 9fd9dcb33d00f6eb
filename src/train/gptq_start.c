/* A block's start by GPTQ (gptq.h) in place of rounding: Hessians of what its linears take in, on
 * the training windows of the quantized stream, through the full-precision block; then one linear
 * after the other. The masters become the weights as they were when they were rounded, so that the
 * block begins, or with no epoch ends, with GPTQ's integers, and training moves them from there. */
#include "base/mem.h"
#include "base/observe.h"
#include "quant/kgrid.h"
#include "quant/pack.h"
#include "train/block_inputs.h"
#include "train/gptq.h"
#include "train/hessian.h"

int64_t eq_gptq_start_bytes(const eq_config *c) {
    /* a Hessian in double, its factor, a linear turned and not */
    int64_t I = c->F > c->D ? c->F : c->D;
    return eq_block_inputs_bytes(c) + 12 * I * I + 12 * c->F * c->D;
}

/* ---- linears --------------------------------------------------------------------------------- */

typedef struct {
    float *u;
    bool *dead;
    double damp;
} factor;

static eq_status factor_of(factor *f, eq_backend *be, eq_mut h, int64_t I, eq_err *err) {
    double *host = eq_calloc(I * I, sizeof *host);
    f->u = eq_calloc(I * I, sizeof *f->u);
    f->dead = eq_calloc(I, sizeof *f->dead);
    eq_status st = host && f->u && f->dead ? EQ_OK : eq_nomem(err, "a Hessian", 12 * I * I);
    if (st == EQ_OK) {
        be->download(be, host, EQ_F64, eq_ro(h));
        st = be->sync(be, err);
    }
    if (st == EQ_OK) st = eq_hessian_factor(f->u, f->dead, host, I, EQ_GPTQ_DAMP, &f->damp, err);
    eq_free(host);
    return st;
}

/* s [groups] and z [groups] behind it as a finished block has them: used, and the steps in fp16. */
static eq_status grid(eq_student *st, eq_lin l, float *s, int64_t groups, eq_err *err) {
    eq_backend *be = st->be;
    eq_qshape q = eq_student_shape(st, l);
    eq_mut rows = eq_mut_at(st->rows, 0, q.O * eq_pack_words(q.I, q.bits));
    if (eq_k_grid(q.grid)) EQ_DO(be, fq_steps, st->s[l].p, eq_ro(st->s[l].p), eq_ro(st->W[l].p), q);
    EQ_DO(be, fq_pack, rows, st->s[l].p, st->z[l].p, eq_ro(st->W[l].p), q);
    be->download(be, s, EQ_F32, eq_ro(st->s[l].p));
    be->download(be, s + groups, EQ_F32, eq_ro(st->z[l].p));
    EQ_TRY(be->sync(be, err));
    for (int64_t g = 0; g < groups; g++) s[g] = eq_f16_to_f32(eq_f32_to_f16(s[g]));
    return EQ_OK;
}

static eq_status one_linear(eq_block_ap *j, eq_lin l, const factor *f, eq_err *err) {
    eq_backend *be = j->be;
    eq_student *st = &j->student;
    eq_qshape q = eq_student_shape(st, l);
    int64_t groups = q.O * (q.I / q.G);
    float *w = eq_calloc(q.O * q.I, sizeof *w), *s = eq_calloc(2 * groups, sizeof *s);
    eq_status r = w && s ? EQ_OK : eq_nomem(err, "a linear under GPTQ", 4 * q.O * q.I);
    if (r == EQ_OK) r = grid(st, l, s, groups, err);
    if (r == EQ_OK) {
        be->download(be, w, EQ_F32, eq_ro(st->W[l].p));
        r = be->sync(be, err);
    }
    if (r == EQ_OK) r = eq_gptq_linear(be, w, s, s + groups, f->u, f->dead, q, err);
    if (r == EQ_OK) {
        be->upload(be, st->W[l].p, w, EQ_F32);
        be->upload(be, st->s[l].p, s, EQ_F32);
        be->upload(be, st->z[l].p, s + groups, EQ_F32);
        r = be->sync(be, err);
    }
    eq_free(w), eq_free(s);
    return r;
}

static eq_status linears(eq_block_ap *j, int64_t i, eq_mut h, int64_t I, const eq_lin *l, int n,
                         const eq_observer *obs, eq_err *err) {
    factor f = {0};
    eq_status st = factor_of(&f, j->be, h, I, err);
    if (st == EQ_OK && f.damp > EQ_GPTQ_DAMP)
        eq_note(obs, "block %lld: GPTQ's Hessian of %s needed damping of %g times its mean",
                (long long)i, eq_lin_of(j->cfg, l[0]).name, f.damp);
    for (int k = 0; k < n && st == EQ_OK; k++) {
        if (eq_stopped(obs)) st = eq_fail(err, EQ_EINTR, "stopped on request");
        if (st == EQ_OK) st = one_linear(j, l[k], &f, err);
    }
    eq_free(f.u), eq_free(f.dead);
    return st;
}

static eq_status solve(eq_block_ap *j, int64_t i, const eq_block_inputs *x, const eq_observer *obs,
                       eq_err *err) {
    for (eq_in k = 0; k < EQ_INS; k++) {
        eq_in_spec in = eq_in_of(j->cfg, k);
        EQ_TRY(linears(j, i, x->h[k], in.I, in.lin, in.n, obs, err));
    }
    return EQ_OK;
}

eq_status eq_block_job_gptq(eq_block_ap *j, int64_t i, const eq_observer *obs, eq_err *err) {
    eq_block_inputs x;
    eq_status st = eq_block_inputs_open(&x, j->be, j->cfg, false, "the Hessians of a block", err);
    if (st == EQ_OK) st = eq_block_inputs_gather(j, i, &x, obs, err);
    if (st == EQ_OK) st = eq_student_start(&j->student, j->src, i, err);
    if (st == EQ_OK) st = solve(j, i, &x, obs, err);
    eq_block_inputs_close(&x);
    return st;
}
