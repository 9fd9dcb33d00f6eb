/* See awq.h. Rounding is tried on the host, row by row; the products E H are the backend's.
 * Invariant: a row's error is one sum, rows are added in order: threads do not show. */
#include "train/awq.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/par.h"
#include "quant/number.h"

enum { ROWS = 16 }; /* of an item */

/* ---- what rounding changes ------------------------------------------------------------------- */

/* A group as it will be read back: min-max, the step in fp16. */
static void round_group(float *out, const float *w, const eq_qshape *q) {
    float lo, hi, s, z, top = eq_q_max(q->bits);
    eq_ends(w, q->G, &lo, &hi);
    eq_minmax_start(lo, hi, q->bits, q->grid, &s, &z);
    s = eq_f16_to_f32(eq_f32_to_f16(s)), z = eq_z_used(z, q->bits, q->grid);
    for (int64_t i = 0; i < q->G; i++) out[i] = (eq_clampf(eq_code(w[i], s, z), 0, top) - z) * s;
}

static float largest(const float *w, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return most;
}

/* One try of a linear, or of one column of its groups: e [O, K] and its error by rows. */
typedef struct {
    const float *w; /* row o begins at w + o * q.I */
    eq_qshape q;
    int64_t K;          /* columns: I, or G for one group */
    const float *scale; /* [K]; NULL: none */
    float share;        /* clipped to this share of the group's largest */
    float *e, *y;       /* [O, K]: what rounding changes; it times h */
    double *error;      /* [O] */
} try;

static void change_row(const try *t, int64_t o, float *moved) {
    const float *w = t->w + o * t->q.I;
    float *e = t->e + o * t->K;
    for (int64_t g = 0; g < t->K; g += t->q.G) {
        float most = t->share < 1 ? t->share * largest(w + g, t->q.G) : INFINITY;
        for (int64_t i = g; i < g + t->q.G; i++)
            moved[i] = eq_clampf(t->scale ? w[i] * t->scale[i] : w[i], -most, most);
        round_group(e + g, moved + g, &t->q);
    }
    for (int64_t i = 0; i < t->K; i++) e[i] = (t->scale ? e[i] / t->scale[i] : e[i]) - w[i];
}
static eq_status change_rows(void *ctx, int64_t item, eq_err *err) {
    const try *t = ctx;
    int64_t end = (item + 1) * ROWS < t->q.O ? (item + 1) * ROWS : t->q.O;
    float *moved = eq_calloc(t->K, sizeof *moved);
    if (!moved) return eq_nomem(err, "a row", t->K * 4);
    for (int64_t o = item * ROWS; o < end; o++) change_row(t, o, moved);
    eq_free(moved);
    return EQ_OK;
}
static void sum_rows(void *ctx, int64_t item, int thread) {
    (void)thread;
    const try *t = ctx;
    int64_t end = (item + 1) * ROWS < t->q.O ? (item + 1) * ROWS : t->q.O;
    for (int64_t o = item * ROWS; o < end; o++) {
        const float *e = t->e + o * t->K, *y = t->y + o * t->K;
        double sum = 0;
        for (int64_t i = 0; i < t->K; i++) sum += (double)e[i] * (double)y[i];
        t->error[o] = sum;
    }
}

/* Room for tries of linears of up to O x I. */
typedef struct {
    eq_arena a;
    eq_mut e, y, h; /* h: of one group */
    float *e_host, *y_host, *h_host;
    double *error;
} room;
static void bind(room *r, int64_t n, int64_t group) {
    r->e = eq_take(&r->a, EQ_F32, n), r->y = eq_take(&r->a, EQ_F32, n);
    r->h = eq_take(&r->a, EQ_F32, group);
}
static eq_status open_room(room *r, eq_backend *be, int64_t O, int64_t K, int64_t group,
                           eq_err *err) {
    *r = (room){.a = {.hints = be->hints}};
    bind(r, O * K, group);
    EQ_TRY(eq_arena_alloc(&r->a, be, "a linear under AWQ", err));
    bind(r, O * K, group);
    r->e_host = eq_calloc(O * K, sizeof *r->e_host);
    r->y_host = eq_calloc(O * K, sizeof *r->y_host);
    r->h_host = eq_calloc(group ? group : 1, sizeof *r->h_host);
    r->error = eq_calloc(O, sizeof *r->error);
    bool all = r->e_host && r->y_host && r->h_host && r->error;
    return all ? EQ_OK : eq_nomem(err, "a linear under AWQ", 8 * O * K + 4 * group + 8 * O);
}
static void close_room(room *r) {
    eq_arena_free(&r->a);
    eq_free(r->e_host), eq_free(r->y_host), eq_free(r->h_host), eq_free(r->error);
}

int64_t eq_awq_bytes(int64_t O, int64_t I) { return 16 * O * I + 8 * O; }

/* t->error from t->w; h [K, K]. */
static eq_status attempt(eq_backend *be, room *r, try *t, eq_view h, eq_err *err) {
    int64_t O = t->q.O, K = t->K, items = (O + ROWS - 1) / ROWS;
    eq_mut e = eq_mut_at(r->e, 0, O * K), y = eq_mut_at(r->y, 0, O * K);
    t->e = r->e_host, t->y = r->y_host, t->error = r->error;
    EQ_TRY(eq_par_try(items, change_rows, t, err));
    be->upload(be, e, t->e, EQ_F32);
    EQ_DO(be, matmul_nn, y, eq_ro(e), h, O, K, K, O, 0);
    be->download(be, t->y, EQ_F32, eq_ro(y));
    EQ_TRY(be->sync(be, err));
    eq_par_for(items, sum_rows, t);
    return EQ_OK;
}

/* ---- scales ---------------------------------------------------------------------------------- */

static void scales(float *scale, const double *mean, int64_t I, double ratio) {
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < I; i++) {
        double s = fmax(pow(mean[i], ratio), 1e-4);
        least = fmin(least, s), most = fmax(most, s);
    }
    for (int64_t i = 0; i < I; i++)
        scale[i] = (float)(fmax(pow(mean[i], ratio), 1e-4) / sqrt(least * most));
}

static eq_status search(eq_backend *be, room *r, float *scale, eq_awq_choice *found,
                        const eq_awq_linear *l, int n, const double *mean, eq_view h, eq_err *err) {
    int64_t I = l[0].q.I;
    *found = (eq_awq_choice){.error = INFINITY};
    for (int k = 0; k < EQ_AWQ_RATIOS; k++) {
        double error = 0, ratio = (double)k / EQ_AWQ_RATIOS;
        scales(scale, mean, I, ratio);
        for (int m = 0; m < n; m++) {
            try t = {.w = l[m].w, .q = l[m].q, .K = I, .scale = scale, .share = 1};
            EQ_TRY(attempt(be, r, &t, h, err));
            for (int64_t o = 0; o < t.q.O; o++) error += t.error[o];
        }
        if (k == 0) found->rounded = error;
        if (error < found->error) found->error = error, found->ratio = ratio;
    }
    scales(scale, mean, I, found->ratio);
    return EQ_OK;
}

eq_status eq_awq_scale(eq_backend *be, float *scale, eq_awq_choice *found, const eq_awq_linear *l,
                       int n, const double *mean, eq_view h, eq_err *err) {
    int64_t O = 0;
    room r;
    for (int m = 0; m < n; m++)
        if (l[m].q.O > O) O = l[m].q.O;
    eq_status st = open_room(&r, be, O, l[0].q.I, 0, err);
    if (st == EQ_OK) st = search(be, &r, scale, found, l, n, mean, h, err);
    close_room(&r);
    return st;
}

/* ---- clipped ranges -------------------------------------------------------------------------- */

/* One column of groups: for each row the best share, which its weights then come within. */
static eq_status clip_column(eq_backend *be, room *r, float *w, eq_qshape q, const float *h,
                             double *best, float *share, eq_err *err) {
    int64_t G = q.G;
    for (int64_t i = 0; i < G; i++) memcpy(r->h_host + i * G, h + i * q.I, (size_t)G * sizeof *h);
    be->upload(be, r->h, r->h_host, EQ_F32);
    for (int k = 0; k < EQ_AWQ_CLIPS; k++) {
        try t = {.w = w, .q = q, .K = G, .share = 1 - (float)k / (2 * EQ_AWQ_CLIPS)};
        EQ_TRY(attempt(be, r, &t, eq_ro(r->h), err));
        for (int64_t o = 0; o < q.O; o++)
            if (k == 0 || t.error[o] < best[o]) best[o] = t.error[o], share[o] = t.share;
    }
    for (int64_t o = 0; o < q.O; o++) {
        float *row = w + o * q.I, most = share[o] * largest(row, G);
        for (int64_t i = 0; i < G; i++) row[i] = eq_clampf(row[i], -most, most);
    }
    return EQ_OK;
}

eq_status eq_awq_clip(eq_backend *be, float *w, eq_qshape q, const float *h, eq_err *err) {
    room r;
    double *best = eq_calloc(q.O, sizeof *best);
    float *share = eq_calloc(q.O, sizeof *share);
    eq_status st = open_room(&r, be, q.O, q.G, q.G * q.G, err);
    if (st == EQ_OK && (!best || !share)) st = eq_nomem(err, "a linear under AWQ", 12 * q.O);
    for (int64_t g = 0; g < q.I && st == EQ_OK; g += q.G)
        st = clip_column(be, &r, w + g, q, h + g * q.I + g, best, share, err);
    close_room(&r);
    eq_free(best), eq_free(share);
    return st;
}
