/* Reference: the number format of the paper (METHOD section 1) in training, at the end of Block-AP
 * and in E2E-QP. The scalar rules are quant/number.h's, the bits quant/pack.h's.
 * Invariant: weight i of row o belongs to group o * (I / G) + i / G of s and z. */
#include "backend/hostmem.h"
#include "backend/ref/ref.h"
#include "base/mem.h"
#include "quant/act8.h"
#include "quant/kgrid.h"
#include "quant/pack.h"

enum { CHUNK = 32 }; /* values between two word boundaries of a packed row, at every width */

static int64_t groups(const eq_qshape *q) { return q->O * (q->I / q->G); }

/* Codes of a row from input c on that are packed at once, and the word they begin at. */
static int64_t chunk_at(const eq_qshape *q, int64_t c) {
    return q->I - c < CHUNK ? q->I - c : CHUNK;
}
static int64_t word_at(const eq_qshape *q, int64_t o, int64_t c) {
    return o * eq_pack_words(q->I, q->bits) + c / CHUNK * q->bits;
}

static void k_start(eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    int64_t n = EQ_K_WEIGHTS / q.G; /* groups that share a zero point */
    for (int64_t g = 0; g < groups(&q); g += n)
        eq_k_start((float *)s.p + g, (float *)z.p + g, (const float *)w.p + g * q.G, (int)n,
                   q.grid);
}

static void fq_init(eq_backend *be, eq_mut s, eq_mut z, eq_view w, eq_qshape q) {
    (void)be;
    const float *wp = w.p;
    if (eq_k_grid(q.grid)) {
        k_start(s, z, w, q);
        return;
    }
    for (int64_t g = 0; g < groups(&q); g++) {
        float lo, hi;
        eq_ends(wp + g * q.G, q.G, &lo, &hi);
        eq_minmax_start(lo, hi, q.bits, q.grid, (float *)s.p + g, (float *)z.p + g);
    }
}

static void fq_fwd(eq_backend *be, eq_mut w_hat, eq_view w, eq_view s, eq_view z, eq_qshape q) {
    (void)be;
    for (int64_t g = 0; g < groups(&q); g++) {
        float su = eq_s_used_by(((const float *)s.p)[g], (const float *)w.p + g * q.G, q.G);
        float zu = eq_z_used(((const float *)z.p)[g], q.bits, q.grid);
        for (int64_t i = g * q.G; i < (g + 1) * q.G; i++) {
            float t = eq_code(((const float *)w.p)[i], su, zu);
            eq_store(w_hat.p, w_hat.dt, i, (eq_clampf(t, 0.0f, eq_q_max(q.bits)) - zu) * su);
        }
    }
}

/* One group of METHOD's table. dw may lie on dw_hat: each element is read before it is written. */
static void fq_bwd_group(float *dw, double *ds, double *dz, const float *dw_hat, const float *w,
                         float su, float zu, const eq_qshape *q) {
    float top = eq_q_max(q->bits);
    *ds = *dz = 0.0;
    for (int64_t i = 0; i < q->G; i++) {
        float d = dw_hat[i], x = w[i] / su, t = eq_code(w[i], su, zu);
        bool inside = t >= 0.0f && t <= top;
        *ds += (double)d * (inside ? (double)rintf(x) - x : t < 0.0f ? -zu : top - zu);
        *dz += inside ? 0.0 : -(double)su * d;
        if (dw) dw[i] = inside ? d : 0.0f;
    }
}

static void fq_bwd(eq_backend *be, eq_mut dw, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view w,
                   eq_view s, eq_view z, eq_qshape q) {
    (void)be;
    for (int64_t g = 0; g < groups(&q); g++) {
        double gs, gz;
        fq_bwd_group(dw.n ? (float *)dw.p + g * q.G : NULL, &gs, &gz,
                     (const float *)dw_hat.p + g * q.G, (const float *)w.p + g * q.G,
                     eq_s_used_by(((const float *)s.p)[g], (const float *)w.p + g * q.G, q.G),
                     eq_z_used(((const float *)z.p)[g], q.bits, q.grid), &q);
        if (ds.n) eq_put(ds, g, gs);
        if (dz.n) eq_put(dz, g, gz);
    }
}

/* The codes come from the step as it will be read back, so s goes to fp16 first. */
static void fq_pack(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_view w, eq_qshape qs) {
    (void)be;
    float *sp = s.p, *zp = z.p;
    for (int64_t g = 0; g < groups(&qs); g++) {
        sp[g] = eq_s_used_by(sp[g], (const float *)w.p + g * qs.G, qs.G);
        zp[g] = eq_z_used(zp[g], qs.bits, qs.grid);
    }
    for (int64_t o = 0; o < qs.O; o++)
        for (int64_t c = 0; c < qs.I; c += CHUNK) {
            uint8_t code[CHUNK];
            int64_t n = chunk_at(&qs, c), at = o * qs.I + c;
            for (int64_t i = 0; i < n; i++) {
                int64_t g = (at + i) / qs.G;
                float t = eq_code(((const float *)w.p)[at + i], sp[g], zp[g]);
                code[i] = (uint8_t)eq_clampf(t, 0.0f, eq_q_max(qs.bits));
            }
            eq_pack_row((uint32_t *)q.p + word_at(&qs, o, c), code, n, qs.bits);
        }
}

/* The CHUNK of codes of row o that input c lies in. */
static void read_codes(uint8_t code[CHUNK], eq_view q, int64_t o, int64_t c, const eq_qshape *qs) {
    c = c / CHUNK * CHUNK;
    eq_unpack_row(code, (const uint32_t *)q.p + word_at(qs, o, c), chunk_at(qs, c), qs->bits);
}

static void dequant(eq_backend *be, eq_mut w_hat, eq_view q, eq_view s, eq_view z, eq_qshape qs) {
    (void)be;
    uint8_t code[CHUNK];
    for (int64_t o = 0; o < qs.O; o++)
        for (int64_t i = 0; i < qs.I; i++) {
            int64_t at = o * qs.I + i, g = at / qs.G;
            float su = ((const float *)s.p)[g], zu = ((const float *)z.p)[g];
            if (i % CHUNK == 0) read_codes(code, q, o, i, &qs);
            eq_store(w_hat.p, w_hat.dt, at, ((float)code[i % CHUNK] - zu) * su);
        }
}

/* The layout of a row is its own here. */
static void prepare_q(eq_backend *be, eq_mut q, eq_mut s, eq_mut z, eq_qshape qs) {
    (void)be, (void)q, (void)s, (void)z, (void)qs;
}

typedef struct {
    eq_view q, s, z;
    eq_qshape qs;
} packed;
/* w_int - z */
static int number(const packed *p, int64_t at) {
    uint8_t code[CHUNK];
    int64_t i = at % p->qs.I;
    read_codes(code, p->q, at / p->qs.I, i, &p->qs);
    return code[i % CHUNK] - ((const uint8_t *)p->z.p)[at / p->qs.G];
}
static double dot_row(const packed *p, eq_view x, int64_t r, int64_t o) {
    double sum = 0.0;
    for (int64_t i = 0; i < p->qs.I; i++) {
        int64_t at = o * p->qs.I + i;
        sum += number(p, at) * eq_get(p->s, at / p->qs.G) * eq_get(x, r * p->qs.I + i);
    }
    return sum;
}
/* In fp32, group by group: the very bits that quant/act8.h asks of every backend. */
static float dot_row8(const packed *p, const int8_t *x, const float *step, int64_t o) {
    float sum = 0.0f;
    for (int64_t g = 0; g < p->qs.I / p->qs.G; g++) {
        int64_t at = o * p->qs.I + g * p->qs.G;
        int64_t whole = 0;
        for (int64_t i = 0; i < p->qs.G; i++) whole += number(p, at + i) * x[g * p->qs.G + i];
        sum = eq_act8_add(sum, whole, (float)eq_get(p->s, at / p->qs.G), step[g]);
    }
    return sum;
}

static void matvec_q(eq_backend *be, eq_mut y, eq_view x, eq_view q, eq_view s, eq_view z,
                     int64_t rows, eq_qshape qs, int act8, int acc) {
    packed p = {q, s, z, qs};
    float *row = eq_host_scratch(be, 3 * qs.I, sizeof *row), *step = row + qs.I;
    int8_t *code = (int8_t *)(step + qs.I);
    for (int64_t r = 0; row && r < rows; r++) {
        for (int64_t i = 0; i < qs.I; i++) row[i] = (float)eq_get(x, r * qs.I + i);
        for (int64_t g = 0; act8 && g < qs.I / qs.G; g++)
            step[g] = eq_act8(code + g * qs.G, row + g * qs.G, qs.G);
        for (int64_t o = 0; o < qs.O; o++) {
            double sum = act8 ? (double)dot_row8(&p, code, step, o) : dot_row(&p, x, r, o);
            eq_put(y, r * qs.O + o, sum + (acc ? eq_get(eq_ro(y), r * qs.O + o) : 0.0));
        }
    }
    eq_free(row);
}

static void dequant_bwd(eq_backend *be, eq_mut ds, eq_mut dz, eq_view dw_hat, eq_view q, eq_view s,
                        eq_view z, eq_qshape qs) {
    (void)be;
    for (int64_t g = 0; g < groups(&qs); g++) {
        double gs = 0.0, gz = 0.0, su = eq_get(s, g), zu = eq_get(z, g);
        for (int64_t at = g * qs.G; at < (g + 1) * qs.G; at++) {
            uint8_t code[CHUNK];
            int64_t i = at % qs.I;
            read_codes(code, q, at / qs.I, i, &qs);
            gs += ((double)code[i % CHUNK] - zu) * eq_get(dw_hat, at);
            gz -= su * eq_get(dw_hat, at);
        }
        if (ds.n) ((float *)ds.p)[g] += (float)gs;
        if (dz.n) ((float *)dz.p)[g] += (float)gz;
    }
}

void eq_ref_quantize(eq_ops *ops) {
    ops->fq_init = fq_init;
    ops->fq_fwd = fq_fwd;
    ops->fq_bwd = fq_bwd;
    ops->fq_pack = fq_pack;
    ops->dequant = dequant;
    ops->prepare_q = prepare_q;
    ops->matvec_q = matvec_q;
    ops->dequant_bwd = dequant_bwd;
}
