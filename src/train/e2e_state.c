/* What E2E-QP saves. Three files, all atomic and with a checksum: the newest state (s, z, moments,
 * step, rate scale), the last good one under its own name, and the step under way, which belongs to
 * a state by step and rate scale.
 * Invariant: a file of another run, or a step of another state, is never gone on from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "train/e2e_job.h"

enum { PIECE = 1 << 20 }; /* values on the host at once */

typedef struct {
    char name[16];
    eq_lm_values v;
    int64_t n;
} array;
enum { ARRAYS = 3 * EQ_E2E_PARAM_COUNT };

static array array_of(const eq_e2e *j, const eq_lm_values *v) {
    return (array){.v = *v, .n = v->host ? j->lm->q.groups : v->m.n};
}

static int state_arrays(const eq_e2e *j, array *a) {
    int n = 0;
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++) {
        const eq_e2e_param *p = &j->par[k];
        const eq_lm_values *const all[] = {&p->p, &p->m, &p->v};
        for (int i = 0; p->m.m.n && i < 3; i++) {
            a[n] = array_of(j, all[i]);
            snprintf(a[n++].name, sizeof a->name, "%s%s", p->name,
                     (const char *[]){"", "_m", "_v"}[i]);
        }
    }
    return n;
}

static int sum_arrays(const eq_e2e *j, array *a) {
    int n = 0;
    for (int k = 0; k < EQ_E2E_PARAM_COUNT; k++) {
        const eq_e2e_param *p = &j->par[k];
        const eq_lm_values *const all[] = {&p->g, &p->part};
        for (int i = 0; i < 2; i++) {
            if (!all[i]->m.n) continue;
            a[n] = array_of(j, all[i]);
            snprintf(a[n++].name, sizeof a->name, "%s_%s", p->name, i ? "part" : "g");
        }
    }
    return n;
}

/* What the pieces to come still read: inputs [first, last] of blocks but for the embeddings, of the
 * teacher's pass the newest alone; the teacher's predictions; the gradient on its way down. */
typedef struct {
    int64_t first, last;
    bool taught, down;
} needed;
static needed needs(const eq_e2e *j) {
    int64_t L = j->lm->cfg->L, lessons = eq_e2e_lessons(j), p = j->at.piece - lessons;
    if (!j->at.B) return (needed){1, 0, false, false};
    if (p < 0) return (needed){j->at.piece ? j->at.piece : 1, j->at.piece, false, false};
    return (needed){1, p <= L ? p : 2 * L - p, lessons && p <= L, p > L};
}

/* ---- writing --------------------------------------------------------------------------------- */

static eq_status put(eq_e2e *j, eq_stw *w, eq_mut m, void *piece, eq_err *err) {
    int64_t size = eq_dtype_size(m.dt);
    for (int64_t from = 0, n; from < m.n; from += n) {
        n = m.n - from < PIECE ? m.n - from : PIECE;
        j->be->download(j->be, piece, m.dt, eq_ro(eq_mut_at(m, from, n)));
        EQ_TRY(j->be->sync(j->be, err));
        EQ_TRY(eq_stw_put(w, piece, size * n, err));
    }
    return EQ_OK;
}

static eq_status put_array(eq_e2e *j, eq_stw *w, const array *a, void *piece, eq_err *err) {
    return a->v.host ? eq_stw_put(w, a->v.host, 4 * a->n, err) : put(j, w, a->v.m, piece, err);
}

static void run_digest(const eq_e2e *j, char *out, size_t cap) {
    snprintf(out, cap, "%s", eq_hash_bytes(j->setup.run, (int64_t)strlen(j->setup.run)).hex);
}

static eq_status put_meta(const eq_e2e *j, eq_stw *w, eq_err *err) {
    const struct {
        const char *key;
        long long v;
    } whole[] = {{"step", j->step}, {"rollbacks", j->rollbacks}};
    char text[64];
    run_digest(j, text, sizeof text);
    EQ_TRY(eq_stw_meta(w, "run", text, err));
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%lld", whole[i].v);
        EQ_TRY(eq_stw_meta(w, whole[i].key, text, err));
    }
    snprintf(text, sizeof text, "%.17g", j->scale);
    return eq_stw_meta(w, "rate_scale", text, err);
}

static eq_status write_arrays(eq_e2e *j, eq_stw *w, void *piece, eq_err *err) {
    array a[ARRAYS];
    int n = state_arrays(j, a);
    for (int i = 0; i < n; i++) EQ_TRY(eq_stw_tensor(w, a[i].name, EQ_F32, 1, &a[i].n, err));
    EQ_TRY(eq_stw_begin(w, err));
    for (int i = 0; i < n; i++) EQ_TRY(put_array(j, w, &a[i], piece, err));
    return EQ_OK;
}

static eq_status write_state(eq_e2e *j, eq_stw *w, void *piece, eq_err *err) {
    EQ_TRY(put_meta(j, w, err));
    return write_arrays(j, w, piece, err);
}

static eq_status write_best(eq_e2e *j, eq_stw *w, void *piece, eq_err *err) {
    char text[64];
    snprintf(text, sizeof text, "%.17g", j->best);
    EQ_TRY(put_meta(j, w, err));
    EQ_TRY(eq_stw_meta(w, "held_out", text, err));
    return write_arrays(j, w, piece, err);
}

static eq_status declare_step(const eq_e2e *j, eq_stw *w, const array *a, int n, eq_err *err) {
    const eq_lm *lm = j->lm;
    int64_t words = sizeof j->at / 8;
    char name[24];
    EQ_TRY(put_meta(j, w, err));
    EQ_TRY(eq_stw_tensor(w, "at", EQ_I64, 1, &words, err));
    EQ_TRY(eq_stw_tensor(w, "losses", EQ_F64, 1, &j->at.n, err));
    for (int i = 0; i < n; i++) EQ_TRY(eq_stw_tensor(w, a[i].name, EQ_F32, 1, &a[i].n, err));
    needed q = needs(j);
    for (int64_t i = q.first; i <= q.last; i++) {
        snprintf(name, sizeof name, "x%lld", (long long)i);
        EQ_TRY(eq_stw_tensor(w, name, lm->st, 1, &lm->x[i].n, err));
    }
    if (q.taught) EQ_TRY(eq_stw_tensor(w, "teacher", lm->opts.ct, 1, &lm->teacher_hn.n, err));
    return q.down ? eq_stw_tensor(w, "dy", EQ_F32, 1, &lm->dy.n, err) : EQ_OK;
}

static eq_status write_step(eq_e2e *j, eq_stw *w, void *piece, eq_err *err) {
    array a[ARRAYS];
    int n = sum_arrays(j, a);
    EQ_TRY(declare_step(j, w, a, n, err));
    EQ_TRY(eq_stw_begin(w, err));
    EQ_TRY(eq_stw_put(w, &j->at, sizeof j->at, err));
    EQ_TRY(eq_stw_put(w, j->nll, 8 * j->at.n, err));
    for (int i = 0; i < n; i++) EQ_TRY(put_array(j, w, &a[i], piece, err));
    needed q = needs(j);
    for (int64_t i = q.first; i <= q.last; i++) EQ_TRY(put(j, w, j->lm->x[i], piece, err));
    if (q.taught) EQ_TRY(put(j, w, j->lm->teacher_hn, piece, err));
    return q.down ? put(j, w, j->lm->dy, piece, err) : EQ_OK;
}

static eq_status write_file(eq_e2e *j, const char *path,
                            eq_status (*write)(eq_e2e *j, eq_stw *w, void *piece, eq_err *err),
                            eq_err *err) {
    eq_stw *w = NULL;
    /* What steps on another model's embeddings have led to is not kept. */
    EQ_TRY(eq_weights_unchanged(j->lm->src, err));
    if (j->setup.teacher) EQ_TRY(eq_weights_unchanged(j->setup.teacher, err));
    void *piece = eq_calloc(PIECE, sizeof(float));
    if (!piece) return eq_nomem(err, "a piece of the state to save", PIECE * 4);
    eq_status st = eq_stw_new(&w, path, err);
    if (st == EQ_OK) {
        eq_stw_seal(w);
        st = write(j, w, piece, err);
        if (st == EQ_OK)
            st = eq_stw_end(w, err);
        else
            eq_stw_abort(w);
    }
    eq_free(piece);
    if (st == EQ_OK) j->saved = eq_now();
    return st;
}

eq_status eq_e2e_save(eq_e2e *j, const char *path, eq_err *err) {
    EQ_TRY(write_file(j, path, write_state, err));
    *(strcmp(path, j->good) ? &j->newest : &j->proven) = j->step;
    return EQ_OK;
}

eq_status eq_e2e_save_best(eq_e2e *j, eq_err *err) {
    double saved = j->saved; /* nothing of the steps is saved by it */
    EQ_TRY(write_file(j, j->best_path, write_best, err));
    j->saved = saved;
    return EQ_OK;
}

eq_status eq_e2e_save_place(eq_e2e *j, eq_err *err) {
    if (j->newest != j->step && j->proven != j->step)
        EQ_TRY(eq_e2e_save(j, j->setup.state_path, err));
    if (!j->at.done && !j->at.piece) return EQ_OK;
    return write_file(j, j->step_path, write_step, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Tensor `name` of n values; NULL: err says what is there. */
static const eq_tensor *tensor_of(const eq_st *st, const char *path, const char *name, int64_t n,
                                  eq_dtype dt, eq_err *err) {
    const eq_tensor *t = eq_st_find(st, name);
    if (t && t->dt == dt && t->n == n) return t;
    eq_fail(err, EQ_EINPUT, "%s: expected tensor %s with %lld %s values, found %lld", path, name,
            (long long)n, eq_dtype_name(dt), (long long)(t ? t->n : 0));
    return NULL;
}

static eq_status get(eq_e2e *j, const eq_st *st, const char *path, const char *name, eq_mut to,
                     eq_err *err) {
    const eq_tensor *t = tensor_of(st, path, name, to.n, to.dt, err);
    if (!t) return EQ_EINPUT;
    j->be->upload(j->be, to, t->data, t->dt);
    return EQ_OK;
}

static eq_status get_array(eq_e2e *j, const eq_st *st, const char *path, const array *a,
                           eq_err *err) {
    if (!a->v.host) return get(j, st, path, a->name, a->v.m, err);
    const eq_tensor *t = tensor_of(st, path, a->name, a->n, EQ_F32, err);
    if (!t) return EQ_EINPUT;
    memcpy(a->v.host, t->data, (size_t)t->bytes);
    j->lm->q.z_of = -1; /* it may be z */
    return EQ_OK;
}

typedef struct {
    int64_t step, rollbacks;
    double scale;
} meta;
static eq_status get_meta(const eq_e2e *j, const eq_st *st, const char *path, meta *m,
                          eq_err *err) {
    const char *run = eq_st_meta(st, "run"), *step = eq_st_meta(st, "step"),
               *scale = eq_st_meta(st, "rate_scale"), *rollbacks = eq_st_meta(st, "rollbacks");
    char want[64];
    run_digest(j, want, sizeof want);
    if (!run || !step || !scale || !rollbacks)
        return eq_fail(err, EQ_EINPUT, "%s: expected metadata run, step, rate_scale and rollbacks",
                       path);
    if (strcmp(run, want))
        return eq_fail(err, EQ_EINPUT, "%s: expected a state of this run, found another run's",
                       path);
    *m = (meta){strtoll(step, NULL, 10), strtoll(rollbacks, NULL, 10), strtod(scale, NULL)};
    return EQ_OK;
}

static eq_status read_state(eq_e2e *j, const eq_st *st, const char *path, eq_err *err) {
    array a[ARRAYS];
    meta m;
    int n = state_arrays(j, a);
    EQ_TRY(get_meta(j, st, path, &m, err));
    for (int i = 0; i < n; i++) EQ_TRY(get_array(j, st, path, &a[i], err));
    j->step = m.step, j->rollbacks = m.rollbacks, j->scale = m.scale;
    j->at = (eq_e2e_place){0};
    return j->be->sync(j->be, err);
}

eq_status eq_e2e_load(eq_e2e *j, const char *path, eq_err *err) {
    eq_st *st;
    EQ_TRY(eq_st_open_sealed(&st, path, err));
    j->whole = false;
    eq_status s = read_state(j, st, path, err);
    eq_st_close(st);
    if (s != EQ_OK) return s;
    j->whole = true;
    *(strcmp(path, j->good) ? &j->newest : &j->proven) = j->step;
    return EQ_OK;
}

static eq_status read_best(eq_e2e *j, const eq_st *st, bool arrays, int64_t *step, double *loss,
                           eq_err *err) {
    array a[ARRAYS];
    meta m;
    const char *held_out = eq_st_meta(st, "held_out");
    EQ_TRY(get_meta(j, st, j->best_path, &m, err));
    if (!held_out) return eq_fail(err, EQ_EINPUT, "%s: expected metadata held_out", j->best_path);
    *step = m.step, *loss = strtod(held_out, NULL);
    int n = state_arrays(j, a);
    for (int i = 0; arrays && i < n; i++) EQ_TRY(get_array(j, st, j->best_path, &a[i], err));
    return j->be->sync(j->be, err);
}

eq_status eq_e2e_load_best(eq_e2e *j, bool arrays, int64_t *step, double *loss, eq_err *err) {
    eq_st *st;
    EQ_TRY(eq_st_open_sealed(&st, j->best_path, err));
    eq_status s = read_best(j, st, arrays, step, loss, err);
    eq_st_close(st);
    return s;
}

/* *at: the file's place, when it is one of this state that this job has room for. */
static eq_status read_place(const eq_e2e *j, const eq_windows *w, const eq_st *st, bool *fits,
                            eq_e2e_place *at, eq_err *err) {
    meta m;
    int64_t n;
    eq_e2e_batch(j, w, &n);
    EQ_TRY(get_meta(j, st, j->step_path, &m, err));
    const eq_tensor *t = eq_st_find(st, "at"), *losses = eq_st_find(st, "losses");
    if (!t || t->bytes != (int64_t)sizeof *at || !losses || losses->n != n)
        return eq_fail(err, EQ_EINPUT, "%s: expected a place and %lld losses", j->step_path,
                       (long long)n);
    memcpy(at, t->data, sizeof *at);
    *fits = m.step == j->step && m.scale == j->scale && at->B <= j->setup.qp.micro_batch;
    if (*fits) memcpy(j->nll, losses->data, (size_t)losses->bytes);
    return EQ_OK;
}

static eq_status read_step(eq_e2e *j, const eq_windows *w, const eq_st *st, eq_err *err) {
    array a[ARRAYS];
    eq_e2e_place at = {0};
    int64_t n, from = eq_e2e_batch(j, w, &n);
    bool fits = false;
    char name[24];
    EQ_TRY(read_place(j, w, st, &fits, &at, err));
    if (!fits) return EQ_OK;
    if (at.B) {
        eq_e2e_micro m = eq_e2e_take(&j->room, w, from + at.done, at.B, eq_e2e_width(w, from, n));
        eq_lm_embed(j->lm, m.ids, m.B, m.T);
    }
    j->at = at;
    int arrays = sum_arrays(j, a);
    for (int i = 0; i < arrays; i++) EQ_TRY(get_array(j, st, j->step_path, &a[i], err));
    needed q = needs(j);
    for (int64_t i = q.first; i <= q.last; i++) {
        snprintf(name, sizeof name, "x%lld", (long long)i);
        EQ_TRY(get(j, st, j->step_path, name, j->lm->x[i], err));
    }
    if (q.taught) EQ_TRY(get(j, st, j->step_path, "teacher", j->lm->teacher_hn, err));
    j->lm->taught = q.taught;
    if (q.down) EQ_TRY(get(j, st, j->step_path, "dy", j->lm->dy, err));
    return j->be->sync(j->be, err);
}

eq_status eq_e2e_load_place(eq_e2e *j, const eq_windows *w, const eq_observer *obs, eq_err *err) {
    eq_st *st;
    eq_err why = {0};
    if (!eq_exists(j->step_path)) return EQ_OK;
    eq_status s = eq_st_open_sealed(&st, j->step_path, &why);
    if (s == EQ_OK) {
        s = read_step(j, w, st, &why);
        eq_st_close(st);
    }
    if (s == EQ_OK) {
        if (j->at.n)
            eq_note(obs, "E2E-QP goes on within step %lld, behind %lld of its %lld windows",
                    (long long)j->step, (long long)j->at.done, (long long)j->at.n);
        return EQ_OK;
    }
    j->at = (eq_e2e_place){0};
    if (s != EQ_EINPUT) return eq_fail(err, s, "%s", why.msg);
    eq_note(obs, "%s; step %lld begins anew", why.msg, (long long)j->step);
    return EQ_OK;
}
