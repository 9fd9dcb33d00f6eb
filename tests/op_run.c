/* Guards, layout and comparison of the operation cases.
 * Invariant: every byte around and inside the buffers is accounted for: written, or unchanged. */
#include "op_run.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/mem.h"

enum { GUARD = 256, PAGE = 4096, GUARD_BYTE = 0x5a };

static int64_t size_of(const eq_case_buf *b) { return b->n * eq_dtype_size(b->dt); }
static bool is_input(const op_run *r, int i) {
    if (r->bufs[i].role != EQ_IN && r->bufs[i].role != EQ_DERIVED) return false;
    for (int k = 0; k < r->n; k++)
        if (r->bufs[k].on == i) return false;
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *host; /* image with guards */
    int64_t size, at;
    eq_mut all; /* the same on the backend, as bytes */
} image;

static void layout(image *m, const eq_case_buf *b, op_place place) {
    int64_t size = size_of(b), elt = eq_dtype_size(b->dt);
    if (place == OP_PAGE_END) {
        m->size = (GUARD + size + PAGE - 1) / PAGE * PAGE;
        m->at = m->size - size;
    } else {
        m->at = GUARD + (place == OP_SHIFTED ? elt : 0);
        m->size = m->at + size + GUARD;
    }
}

static void put(image *m, eq_backend *be, const eq_case_buf *b, const uint8_t *content,
                op_place place) {
    layout(m, b, place);
    m->host = eq_calloc(m->size, 1);
    void *p = be->alloc(be, m->size);
    assert_non_null(m->host);
    assert_non_null(p);
    memset(m->host, GUARD_BYTE, (size_t)m->size);
    memcpy(m->host + m->at, content, (size_t)size_of(b));
    m->all = (eq_mut){p, m->size, EQ_U8};
    be->upload(be, m->all, m->host, EQ_U8);
}

static void check_guards(const op_run *r, int i, const image *m) {
    char label[128];
    eq_case_label(r->c, label, sizeof label);
    for (int64_t k = 0; k < m->size; k++) {
        bool inside = k >= m->at && k < m->at + size_of(&r->bufs[i]);
        if (!inside && m->host[k] != GUARD_BYTE)
            fail_msg("%s: %s: byte %lld outside was written", label, r->bufs[i].name,
                     (long long)(k - m->at));
    }
    if (is_input(r, i) && memcmp(m->host + m->at, r->before[i], (size_t)size_of(&r->bufs[i])))
        fail_msg("%s: input %s was changed", label, r->bufs[i].name);
}

static void run_on(op_run *r, eq_backend *be, op_place place, bool prepare) {
    image im[EQ_CASE_BUFS] = {0};
    eq_mut mem[EQ_CASE_BUFS];
    eq_err err = {0};
    for (int i = 0; i < r->n; i++) {
        const eq_case_buf *b = &r->bufs[i];
        if (b->on < 0) put(&im[i], be, b, r->before[i], place);
        mem[i] = b->on >= 0 ? mem[b->on] : (eq_mut){(char *)im[i].all.p + im[i].at, b->n, b->dt};
    }
    if (prepare) {
        eq_case_prepare(be, r->c, mem);
    } else {
        eq_case_own(be, r->c, mem);
        eq_case_run(be, r->c, mem);
    }
    if (be->sync(be, &err) != EQ_OK) fail_msg("%s", err.msg);
    for (int i = 0; i < r->n; i++) {
        if (r->bufs[i].on >= 0) continue;
        be->download(be, im[i].host, EQ_U8, eq_ro(im[i].all));
        if (prepare && r->bufs[i].role == EQ_DERIVED)
            memcpy(r->before[i], im[i].host + im[i].at, (size_t)size_of(&r->bufs[i]));
        else
            check_guards(r, i, &im[i]);
        memcpy(r->after[i], im[i].host + im[i].at, (size_t)size_of(&r->bufs[i]));
        be->free_(be, im[i].all.p);
        eq_free(im[i].host);
    }
}

void op_run_inputs(op_run *r, const eq_op_case *c, eq_backend *be) {
    *r = (op_run){.c = c};
    r->n = eq_case_describe(c, r->bufs);
    for (int i = 0; i < r->n; i++) {
        if (r->bufs[i].on >= 0) continue;
        r->before[i] = eq_calloc(size_of(&r->bufs[i]), 1);
        r->after[i] = eq_calloc(size_of(&r->bufs[i]), 1);
        assert_non_null(r->after[i]);
        /* 0xff..ff is a NaN in every float type: what is not written cannot pass */
        memset(r->before[i], 0xff, (size_t)size_of(&r->bufs[i]));
        if (eq_case_filled(&r->bufs[i])) eq_case_fill(c, r->bufs, i, r->before[i]);
    }
    run_on(r, be, OP_ALIGNED, true);
}

void op_run_do(op_run *r, eq_backend *be, op_place place) { run_on(r, be, place, false); }

void op_run_free(op_run *r) {
    for (int i = 0; i < r->n; i++) eq_free(r->before[i]), eq_free(r->after[i]);
}

/* ---- comparison ------------------------------------------------------------------------------ */

static double element(const void *p, eq_dtype dt, int64_t i) {
    return dt == EQ_F64 ? ((const double *)p)[i] : (double)eq_load(p, dt, i);
}
static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* Squared error over squared size (at least `floor` an element), and no element further off than 8
 * root mean squares (or its own size) of that: a single wrong element of many shows, too. */
static bool close_enough(const void *got, const void *want, const eq_case_buf *b, char *why,
                         int len) {
    eq_dtype dt = b->dt;
    int64_t n = b->n;
    double tol = b->tolerance, e2 = 0.0, w2 = 0.0, least = (double)n * b->floor * b->floor;
    for (int64_t i = 0; i < n; i++) {
        double x = element(got, dt, i), y = element(want, dt, i);
        if (same(x, y) || (isfinite(x) && isfinite(y))) {
            if (isfinite(y)) e2 += (x - y) * (x - y), w2 += y * y;
            continue;
        }
        snprintf(why, (size_t)len, "[%lld] is %g, reference %g", (long long)i, x, y);
        return false;
    }
    if (w2 < least) w2 = least;
    double rms = sqrt(w2 / (double)n);
    for (int64_t i = 0; i < n; i++) {
        double x = element(got, dt, i), y = element(want, dt, i);
        if (same(x, y) || fabs(x - y) <= sqrt(tol) * (8.0 * rms + fabs(y))) continue;
        snprintf(why, (size_t)len, "[%lld] is %.9g, reference %.9g", (long long)i, x, y);
        return false;
    }
    if (e2 <= tol * w2) return true;
    snprintf(why, (size_t)len, "error %.3g of size, squared; %.3g is allowed", e2 / w2, tol);
    return false;
}

int op_run_compare(const op_run *got, const uint8_t *const want[EQ_CASE_BUFS], bool exact,
                   char *why, int len) {
    for (int i = 0; i < got->n; i++) {
        const eq_case_buf *b = &got->bufs[i];
        if ((b->role != EQ_OUT && b->role != EQ_INOUT) || b->tolerance < 0) continue;
        int at = b->on >= 0 ? b->on : i;
        bool ints = b->dt == EQ_U32;
        if (exact || ints) {
            if (!memcmp(got->after[at], want[at], (size_t)size_of(b))) continue;
            snprintf(why, (size_t)len, "other bytes");
            return i;
        }
        if (!close_enough(got->after[at], want[at], b, why, len)) return i;
    }
    return -1;
}
