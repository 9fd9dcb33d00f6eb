/* Operators on values, as Python has them: members, subscripts, slices, arithmetic. Integers beyond
 * 64 bits, which Python would make, are refused. */
#include <math.h>
#include <string.h>

#include "text/jinja/jinja_run.h"
#include "text/utf8.h"

eq_jv eq_jrun_members(eq_jrun *r, eq_jv v) {
    if (v.type == EQ_J_LIST) return v;
    eq_jv list = eq_jrun_list(r);
    if (v.type == EQ_J_DICT && !v.u.dict->space)
        for (int64_t i = 0; i < v.u.dict->n; i++) eq_jrun_put(r, list, v.u.dict->key[i]);
    else if (v.type == EQ_J_STR)
        for (int64_t i = 0, len; i < v.n; i += len) {
            uint32_t cp;
            len = eq_utf8_get(v.u.s + i, &cp);
            eq_jrun_put(r, list, eq_j_str(v.u.s + i, len));
        }
    else if (v.type != EQ_J_UNDEF)
        eq_jrun_fail(r, "%s has no members to go through", eq_j_type_name(v));
    return list;
}

bool eq_jrun_in(eq_jrun *r, eq_jv a, eq_jv b) {
    if (b.type == EQ_J_STR) {
        if (a.type == EQ_J_STR) return eq_j_find(b, a, 0) >= 0;
        eq_jrun_fail(r, "%s in a string", eq_j_type_name(a));
        return false;
    }
    if (b.type == EQ_J_DICT && !b.u.dict->space) return eq_jdict_get(b.u.dict, a) != NULL;
    eq_jv list = eq_jrun_members(r, b);
    for (int64_t i = 0; r->st == EQ_OK && i < list.u.list->n; i++)
        if (eq_j_equal(list.u.list->v[i], a)) return true;
    return false;
}

static bool whole(eq_jv v, int64_t *i) {
    if (v.type != EQ_J_INT && v.type != EQ_J_BOOL) return false;
    *i = v.type == EQ_J_INT ? v.u.i : v.u.b;
    return true;
}

eq_jv eq_jrun_index(eq_jrun *r, eq_jv a, eq_jv b) {
    int64_t i, n;
    if (r->st != EQ_OK) return a;
    if (a.type == EQ_J_UNDEF) {
        if (b.type == EQ_J_STR)
            return eq_jrun_fail(r, "member \"%.*s\" of nothing that is defined",
                                (int)(b.n > 60 ? 60 : b.n), b.u.s);
        return eq_jrun_fail(r, "a member of nothing that is defined");
    }
    if (a.type == EQ_J_DICT) {
        const eq_jv *v = eq_jdict_get(a.u.dict, b);
        return v ? *v : (eq_jv){0};
    }
    if ((a.type != EQ_J_LIST && a.type != EQ_J_STR) || !whole(b, &i)) return (eq_jv){0};
    n = a.type == EQ_J_LIST ? a.u.list->n : eq_j_chars(a);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return (eq_jv){0};
    return a.type == EQ_J_LIST ? a.u.list->v[i] : eq_j_part(a, i, 1);
}

/* An end of a slice, within 0 .. n. */
static bool bound(eq_jv v, int64_t n, int64_t missing, int64_t *out) {
    if (v.type == EQ_J_NONE) return *out = missing, true;
    if (!whole(v, out)) return false;
    if (*out < 0) *out = *out < -n ? 0 : *out + n;
    if (*out > n) *out = n;
    return true;
}

eq_jv eq_jrun_slice(eq_jrun *r, eq_jv a, eq_jv from, eq_jv to, eq_jv step) {
    int64_t lo, hi, by = 1;
    if (r->st != EQ_OK) return a;
    if (a.type != EQ_J_LIST && a.type != EQ_J_STR)
        return eq_jrun_fail(r, "a slice of %s", eq_j_type_name(a));
    int64_t n = a.type == EQ_J_LIST ? a.u.list->n : eq_j_chars(a);
    bool back = whole(step, &by) && by == -1;
    if (step.type != EQ_J_NONE && by != 1 &&
        !(back && from.type == to.type && to.type == EQ_J_NONE))
        return eq_jrun_fail(r, "a slice with this step is not supported");
    if (!bound(from, n, 0, &lo) || !bound(to, n, n, &hi))
        return eq_jrun_fail(r, "a slice by %s", eq_j_type_name(bound(from, n, 0, &lo) ? to : from));
    if (hi < lo) hi = lo;
    if (a.type == EQ_J_STR && !back) return eq_j_part(a, lo, hi - lo);
    if (a.type == EQ_J_STR) return eq_jrun_fail(r, "a string from its end is not supported");
    eq_jv list = eq_jrun_list(r);
    for (int64_t i = lo; i < hi && r->st == EQ_OK; i++)
        eq_jrun_put(r, list, a.u.list->v[back ? lo + hi - 1 - i : i]);
    return list;
}

static eq_jv integers(eq_jrun *r, const char *op, int64_t a, int64_t b) {
    int64_t v = 0;
    bool over = false;
    if (*op == '+')
        over = __builtin_add_overflow(a, b, &v);
    else if (*op == '-')
        over = __builtin_sub_overflow(a, b, &v);
    else if (*op == '*')
        over = __builtin_mul_overflow(a, b, &v);
    else if (b == 0)
        return eq_jrun_fail(r, "a division by 0");
    else if (!strcmp(op, "/"))
        return (eq_jv){.type = EQ_J_FLOAT, .u.f = (double)a / (double)b};
    else if (b == -1) {
        if (*op == '/') over = __builtin_sub_overflow((int64_t)0, a, &v);
    } else {
        /* Python rounds down, the remainder has the divisor's sign */
        int64_t q = a / b, m = a % b;
        if (m && (m < 0) != (b < 0)) q--, m += b;
        v = *op == '%' ? m : q;
    }
    return over ? eq_jrun_fail(r, "an integer beyond 64 bits") : eq_j_int(v);
}

static eq_jv reals(eq_jrun *r, const char *op, double a, double b) {
    double v = 0;
    if (*op == '+')
        v = a + b;
    else if (*op == '-')
        v = a - b;
    else if (*op == '*')
        v = a * b;
    else if (b == 0)
        return eq_jrun_fail(r, "a division by 0");
    else if (!strcmp(op, "/"))
        v = a / b;
    else
        return eq_jrun_fail(r, "%s of numbers that are no integers is not supported", op);
    return (eq_jv){.type = EQ_J_FLOAT, .u.f = v};
}

static bool real(eq_jv v, double *f) {
    int64_t i = 0;
    if (v.type == EQ_J_FLOAT) return *f = v.u.f, true;
    return whole(v, &i) ? (*f = (double)i, true) : false;
}

eq_jv eq_jrun_binary(eq_jrun *r, const char *op, eq_jv a, eq_jv b) {
    int64_t i = 0, k = 0;
    double f = 0, g = 0;
    if (r->st != EQ_OK) return a;
    if (*op == '~') return eq_jrun_join(r, a, b);
    if (whole(a, &i) && whole(b, &k)) return integers(r, op, i, k);
    if (real(a, &f) && real(b, &g)) return reals(r, op, f, g);
    if (*op == '+' && a.type == EQ_J_STR && b.type == EQ_J_STR) return eq_jrun_join(r, a, b);
    if (*op == '+' && a.type == EQ_J_LIST && b.type == EQ_J_LIST) {
        eq_jv list = eq_jrun_list(r);
        for (int64_t n = 0; n < a.u.list->n; n++) eq_jrun_put(r, list, a.u.list->v[n]);
        for (int64_t n = 0; n < b.u.list->n; n++) eq_jrun_put(r, list, b.u.list->v[n]);
        return list;
    }
    return eq_jrun_fail(r, "%s %s %s is not supported", eq_j_type_name(a), op, eq_j_type_name(b));
}
