/* Statements: assignments, loops, conditions, marks. */
#include "base/mem.h"
#include "text/jinja/jinja_text.h"

static void assign(eq_jrun *r, const eq_jnode *target, eq_jv value) {
    if (target->kind == EQ_JN_NAME) {
        eq_jrun_set(r, r->frame, target->name, value);
        return;
    }
    eq_jv space = eq_jrun_eval(r, target->a);
    if (space.type == EQ_J_DICT && space.u.dict->space)
        eq_jrun_put_key(r, space, target->name, value);
    else
        eq_jrun_fail(r, "\"set\" of a member of what is no namespace");
}

/* One value to one target, or the members of a list to several. */
static void assign_all(eq_jrun *r, const eq_jnode *targets, eq_jv value) {
    if (!targets->next) {
        assign(r, targets, value);
        return;
    }
    eq_jv list = eq_jrun_members(r, value);
    int64_t i = 0;
    for (const eq_jnode *t = targets; t && r->st == EQ_OK; t = t->next, i++) {
        if (i >= list.u.list->n) break;
        assign(r, t, list.u.list->v[i]);
        if (!t->next && i + 1 == list.u.list->n) return;
    }
    eq_jrun_fail(r, "the number of values is not that of the names");
}

static eq_jv loop_state(eq_jrun *r, const eq_jlist *l, int64_t i) {
    eq_jv d = eq_jrun_dict(r);
    eq_jrun_put_key(r, d, eq_j_cstr("index0"), eq_j_int(i));
    eq_jrun_put_key(r, d, eq_j_cstr("index"), eq_j_int(i + 1));
    eq_jrun_put_key(r, d, eq_j_cstr("first"), eq_j_bool(i == 0));
    eq_jrun_put_key(r, d, eq_j_cstr("last"), eq_j_bool(i + 1 == l->n));
    eq_jrun_put_key(r, d, eq_j_cstr("length"), eq_j_int(l->n));
    eq_jrun_put_key(r, d, eq_j_cstr("revindex0"), eq_j_int(l->n - 1 - i));
    eq_jrun_put_key(r, d, eq_j_cstr("revindex"), eq_j_int(l->n - i));
    if (i > 0) eq_jrun_put_key(r, d, eq_j_cstr("previtem"), l->v[i - 1]);
    if (i + 1 < l->n) eq_jrun_put_key(r, d, eq_j_cstr("nextitem"), l->v[i + 1]);
    return d;
}

/* The members for which the loop's `if` holds. */
static eq_jv chosen(eq_jrun *r, const eq_jnode *n, eq_jv all) {
    eq_jv some = eq_jrun_list(r);
    for (int64_t i = 0; r->st == EQ_OK && i < all.u.list->n; i++) {
        eq_jframe f = {.up = r->frame};
        r->frame = &f;
        assign_all(r, n->a, all.u.list->v[i]);
        bool is = eq_j_true(eq_jrun_eval(r, n->c));
        r->frame = f.up;
        if (is) eq_jrun_put(r, some, all.u.list->v[i]);
    }
    return some;
}

static void for_(eq_jrun *r, const eq_jnode *n) {
    eq_jv list = eq_jrun_members(r, eq_jrun_eval(r, n->b));
    if (n->c && r->st == EQ_OK) list = chosen(r, n, list);
    if (r->st == EQ_OK && !list.u.list->n && n->e) eq_jrun_body(r, n->e);
    for (int64_t i = 0; r->st == EQ_OK && i < list.u.list->n; i++) {
        eq_jframe f = {.up = r->frame};
        r->frame = &f;
        eq_jrun_set(r, &f, eq_j_cstr("loop"), loop_state(r, list.u.list, i));
        assign_all(r, n->a, list.u.list->v[i]);
        eq_jrun_body(r, n->d);
        r->frame = f.up;
        bool ends = r->flow == EQ_JRUN_BREAK;
        r->flow = EQ_JRUN_ON;
        if (ends) break;
    }
}

static void generation(eq_jrun *r, const eq_jnode *n) {
    if (r->captures && r->spans) {
        eq_jrun_fail(r, "\"generation\" within a macro or a block set is not supported");
        return;
    }
    eq_span one = {r->out->n, 0};
    eq_jrun_body(r, n->a);
    one.to = r->out->n;
    if (r->spans && r->st == EQ_OK) r->st = eq_spans_put(r->spans, one, r->err);
}

static void statement(eq_jrun *r, const eq_jnode *n) {
    eq_jv v;
    switch (n->kind) {
    case EQ_JN_TEXT:
        eq_j_put(r->out, n->value);
        break;
    case EQ_JN_PRINT:
        v = eq_jrun_eval(r, n->a);
        if (r->st == EQ_OK && !eq_j_put(r->out, v))
            eq_jrun_fail(r, "%s as text is not supported", eq_j_type_name(v));
        break;
    case EQ_JN_IF:
        v = eq_jrun_eval(r, n->a);
        if (r->st == EQ_OK) eq_jrun_body(r, eq_j_true(v) ? n->b : n->c);
        break;
    case EQ_JN_FOR:
        for_(r, n);
        break;
    case EQ_JN_SET:
        assign_all(r, n->a, eq_jrun_eval(r, n->b));
        break;
    case EQ_JN_SET_BLOCK:
        assign(r, n->a, eq_jrun_capture(r, n->b));
        break;
    case EQ_JN_MACRO:
        eq_jrun_set(r, r->frame, n->name, (eq_jv){.type = EQ_J_MACRO, .u.macro = n});
        break;
    case EQ_JN_GENERATION:
        generation(r, n);
        break;
    case EQ_JN_BREAK:
        r->flow = EQ_JRUN_BREAK;
        break;
    case EQ_JN_CONTINUE:
        r->flow = EQ_JRUN_CONTINUE;
        break;
    default:
        break;
    }
    if (r->out->oom) r->st = eq_nomem(r->err, "a chat", r->out->n);
}

void eq_jrun_body(eq_jrun *r, const eq_jnode *n) {
    if (++r->depth > EQ_JRUN_DEPTH) eq_jrun_fail(r, "nesting this deep is not supported");
    for (; n && r->st == EQ_OK && r->flow == EQ_JRUN_ON; n = n->next) {
        r->line = n->line;
        statement(r, n);
        if (r->out->n > 1 << 28) eq_jrun_fail(r, "the text becomes larger than 256 MiB");
    }
    r->depth--;
}
