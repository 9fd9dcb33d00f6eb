/* The memory of E2E-QP: what a parameter has beside it, on the device or on the host; sizes for the
 * plan, from the same table. See e2e_job.h.
 * Invariant: where it lies changes no byte of the result. */
#include <string.h>

#include "base/mem.h"
#include "base/observe.h"
#include "model/schemes.h"
#include "train/e2e_job.h"

enum { MICRO_TOKENS = 4096, ARRAYS = 4 };

static eq_lm_opts lm_opts(const eq_e2e_setup *s, int64_t T) {
    return (eq_lm_opts){.B = s->qp.micro_batch,
                        .T = T,
                        .backward = true,
                        .taught = s->qp.loss == EQ_E2E_KL,
                        .masters = s->qp.train & EQ_TRAIN_W,
                        .teacher = s->teacher,
                        .schemes = s->schemes,
                        .ct = s->precision == EQ_PREC_F32 ? EQ_F32 : EQ_BF16,
                        .hints = s->hints,
                        .source = s->source,
                        .z_on_host = s->on_host,
                        .ctx = s->ctx};
}

static eq_lm_values *array_of(eq_e2e_param *p, int i) {
    eq_lm_values *const all[ARRAYS] = {&p->m, &p->v, &p->g, &p->part};
    return all[i];
}
/* Elements of array i beside parameter k, in the model. */
static int64_t count(const eq_e2e_setup *s, eq_lm_counts c, int k, int i) {
#define EQ_N(id, bit, name, at, count) s->qp.train &EQ_TRAIN_##bit ? c.count : 0,
    const int64_t all[] = {EQ_E2E_PARAMS(EQ_N)};
#undef EQ_N
    bool parts = eq_chain_windows(s->qp.batch_size) < s->qp.batch_size;
    return i < 3 || parts ? all[k] : 0;
}
static bool lies_on_host(const eq_e2e_setup *s, int k) { return s->on_host && eq_e2e_by_groups(k); }

/* block: groups of one at most. */
static void bind(eq_e2e *j, eq_arena *a, eq_lm_counts c, int64_t block) {
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++)
        for (int i = 0; i < ARRAYS; i++) {
            int64_t n = count(&j->setup, c, k, i);
            array_of(&j->par[k], i)->m =
                eq_take(a, EQ_F32, n && lies_on_host(&j->setup, k) ? block : n);
        }
    j->total = eq_take(a, EQ_F64, 1);
}

/* ---- a job's --------------------------------------------------------------------------------- */

static eq_status take_host(eq_e2e *j, eq_lm_counts c, eq_err *err) {
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++)
        for (int i = 0; i < ARRAYS && lies_on_host(&j->setup, k); i++) {
            int64_t n = count(&j->setup, c, k, i);
            eq_lm_values *v = array_of(&j->par[k], i);
            if (n && !(v->host = eq_calloc(n, sizeof *v->host)))
                return eq_nomem(err, "moments and gradients on the host", 4 * n);
        }
    return EQ_OK;
}

static void clear(eq_e2e *j, int from, int to) {
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++)
        for (int i = from; i < to; i++) {
            const eq_lm_values *v = array_of(&j->par[k], i);
            if (v->host) memset(v->host, 0, (size_t)j->lm->q.groups * sizeof *v->host);
            if (!v->host && v->m.n) EQ_DO(j->be, fill, v->m, 0.0f);
        }
}
void eq_e2e_clear_gradients(eq_e2e *j) { clear(j, 2, ARRAYS); }

eq_status eq_e2e_take_memory(eq_e2e *j, const eq_weights *src, int64_t T, eq_err *err) {
    eq_lm_opts o = lm_opts(&j->setup, T);
    EQ_TRY(eq_lm_open(&j->lm, j->be, src, &o, err));
    const eq_lm_quant *q = &j->lm->q;
    eq_lm_counts n = eq_lm_count(j->lm->cfg, &j->setup.schemes);
    bind(j, &j->arena, n, q->most);
    EQ_TRY(eq_arena_alloc(&j->arena, j->be, "the moments of E2E-QP", err));
    bind(j, &j->arena, n, q->most);
    EQ_TRY(take_host(j, n, err));
#define EQ_NAME(id, bit, text, at, count) \
    j->par[EQ_E2E_##id].name = text, j->par[EQ_E2E_##id].p.m = q->at;
    EQ_E2E_PARAMS(EQ_NAME)
#undef EQ_NAME
    j->par[EQ_E2E_Z].p.host = q->z_host;
    clear(j, 0, 2);
    return EQ_OK;
}

void eq_e2e_free_memory(eq_e2e *j) {
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++)
        for (int i = 0; i < ARRAYS; i++) eq_free(array_of(&j->par[k], i)->host);
    eq_arena_free(&j->arena);
    eq_lm_close(j->lm);
}

/* ---- less of a device ------------------------------------------------------------------------ */

eq_e2e_setup eq_e2e_least(const eq_e2e_setup *s) {
    eq_e2e_setup least = *s;
    least.qp.micro_batch = 1, least.on_host = !(s->qp.train & EQ_TRAIN_W);
    return least;
}

/* False: there is nothing left to try. */
static bool give_way(eq_e2e_setup *s, const char *why, const eq_observer *obs) {
    if (s->qp.micro_batch > 1) {
        s->qp.micro_batch /= 2;
        eq_note(obs, "%s: going on with %lld windows at once", why, (long long)s->qp.micro_batch);
        return true;
    }
    if (s->on_host || !eq_e2e_least(s).on_host) return false;
    s->on_host = true;
    eq_note(obs, "%s: going on with moments, gradients and zero points on the host", why);
    return true;
}

eq_status eq_e2e_open_within(eq_e2e **out, eq_backend *be, const eq_weights *src, eq_e2e_setup *s,
                             int64_t T, const eq_observer *obs, eq_err *err) {
    for (;;) {
        eq_err why = {0};
        eq_status st = eq_e2e_open(out, be, src, s, T, &why);
        if (st == EQ_OK) return EQ_OK;
        if (st != EQ_ENOMEM || !be->device || !give_way(s, why.msg, obs))
            return eq_fail(err, st, "%s", why.msg);
    }
}

/* ---- sizes ----------------------------------------------------------------------------------- */

int64_t eq_e2e_micro_batch(int64_t batch, int64_t T) {
    int64_t m = MICRO_TOKENS / T;
    return m < 1 ? 1 : m < batch ? m : batch;
}

int64_t eq_e2e_bytes(const eq_config *c, const eq_e2e_setup *s, int64_t T) {
    eq_e2e j = {.setup = *s};
    eq_arena a = {0};
    eq_lm_opts o = lm_opts(s, T);
    bind(&j, &a, eq_lm_count(c, &s->schemes), eq_schemes_count(&s->schemes, c).most_groups);
    return eq_lm_bytes(c, &o) + a.used;
}

int64_t eq_e2e_host_bytes(const eq_config *c, const eq_e2e_setup *s) {
    eq_lm_counts n = eq_lm_count(c, &s->schemes);
    int64_t all = n.groups; /* z */
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++)
        for (int i = 0; i < ARRAYS; i++) all += lies_on_host(s, k) ? count(s, n, k, i) : 0;
    return s->on_host ? 4 * all : 0;
}

/* Two states, with held-out data the best one too, and one that is being written; a step and
 * another that is. */
int64_t eq_e2e_disk_bytes(const eq_config *c, const eq_e2e_setup *s, int64_t T) {
    eq_lm_counts n = eq_lm_count(c, &s->schemes);
    int64_t rows = s->qp.micro_batch * T * c->D, state = 0, sums = 0;
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++) {
        state += 4 * 3 * count(s, n, k, 0);
        for (int i = 2; i < ARRAYS; i++) sums += 4 * count(s, n, k, i);
    }
    int64_t kept = c->L + (s->qp.loss == EQ_E2E_KL);
    int64_t step = sums + rows * (kept * eq_dtype_size(lm_opts(s, T).ct) + 4);
    return (s->val ? 4 : 3) * state + 2 * step;
}
