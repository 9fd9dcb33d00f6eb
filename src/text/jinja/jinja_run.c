/* Running a template: names, expressions, calls of macros; statements are in jinja_statements.c.
 * Invariant: neither stack nor time can run out; how deep and how long a template may go is bounded
 * far above what any needs. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/jinja/jinja_text.h"

enum { MAX_STEPS = 20000000 };

eq_jv eq_jrun_fail(eq_jrun *r, const char *fmt, ...) {
    char what[300];
    va_list ap;
    if (r->st != EQ_OK) return (eq_jv){0};
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    for (char *c = what; *c; c++)
        if ((uint8_t)*c < 0x20) *c = ' ';
    r->st = eq_fail(r->err, EQ_EINPUT, "%s: line %d: %s", r->j->where, r->line, what);
    return (eq_jv){0};
}

eq_jv eq_jrun_no_room(eq_jrun *r) {
    if (r->st != EQ_OK) return (eq_jv){0};
    if (r->mem.limit)
        return eq_jrun_fail(r, "the template makes more values, or deeper ones, than any needs");
    r->st = eq_nomem(r->err, "a chat template", r->mem.total);
    return (eq_jv){0};
}

/* ---- values in the making -------------------------------------------------------------------- */

eq_jv eq_jrun_list(eq_jrun *r) {
    eq_jlist *l = eq_jarena_take(&r->mem, sizeof *l);
    return l ? (eq_jv){.type = EQ_J_LIST, .u.list = l} : eq_jrun_no_room(r);
}

void eq_jrun_put(eq_jrun *r, eq_jv list, eq_jv v) {
    if (r->st == EQ_OK && !eq_jlist_put(&r->mem, list.u.list, v)) eq_jrun_no_room(r);
}

eq_jv eq_jrun_dict(eq_jrun *r) {
    eq_jdict *d = eq_jarena_take(&r->mem, sizeof *d);
    return d ? (eq_jv){.type = EQ_J_DICT, .u.dict = d} : eq_jrun_no_room(r);
}

void eq_jrun_put_key(eq_jrun *r, eq_jv dict, eq_jv key, eq_jv value) {
    if (r->st == EQ_OK && !eq_jdict_put(&r->mem, dict.u.dict, key, value)) eq_jrun_no_room(r);
}

eq_jv eq_jtext_keep(eq_jrun *r, eq_str *s) {
    char *p = s->oom ? NULL : eq_jarena_take(&r->mem, s->n + 1);
    if (p && s->n) memcpy(p, s->p, (size_t)s->n);
    eq_jv v = p ? eq_j_str(p, s->n) : eq_jrun_no_room(r);
    eq_str_free(s);
    return v;
}

eq_jv eq_jrun_join(eq_jrun *r, eq_jv a, eq_jv b) {
    eq_str s = {0};
    eq_jv odd = eq_j_put(&s, a) ? b : a;
    if (eq_j_put(&s, odd)) return eq_jtext_keep(r, &s);
    eq_str_free(&s);
    return eq_jrun_fail(r, "%s as text is not supported", eq_j_type_name(odd));
}

eq_jv eq_jrun_capture(eq_jrun *r, const eq_jnode *body) {
    eq_str s = {0}, *was = r->out;
    r->out = &s, r->captures++;
    eq_jrun_body(r, body);
    r->out = was, r->captures--;
    return eq_jtext_keep(r, &s);
}

/* ---- names ----------------------------------------------------------------------------------- */

void eq_jrun_set(eq_jrun *r, eq_jframe *f, eq_jv name, eq_jv value) {
    if (r->st != EQ_OK) return;
    for (eq_jvar *v = f->vars; v; v = v->next)
        if (eq_j_equal(v->name, name)) {
            v->value = value;
            return;
        }
    eq_jvar *v = eq_jarena_take(&r->mem, sizeof *v);
    if (!v) {
        eq_jrun_no_room(r);
        return;
    }
    *v = (eq_jvar){name, value, f->vars};
    f->vars = v;
}

static eq_jv look_up(eq_jrun *r, eq_jv name) {
    for (const eq_jframe *f = r->frame; f; f = f->up)
        for (const eq_jvar *v = f->vars; v; v = v->next)
            if (eq_j_equal(v->name, name)) return v->value;
    return eq_jrun_has_function(name) ? (eq_jv){.type = EQ_J_FUNC} : (eq_jv){0};
}

/* ---- expressions ----------------------------------------------------------------------------- */

static eq_jargs arguments(eq_jrun *r, const eq_jnode *n) {
    eq_jargs a = {.n = 0};
    for (; n && r->st == EQ_OK; n = n->next) {
        if (a.n == EQ_JARGS) {
            eq_jrun_fail(r, "more than %d arguments are not supported", EQ_JARGS);
            break;
        }
        a.name[a.n] = n->name;
        a.v[a.n++] = eq_jrun_eval(r, n->a);
    }
    return a;
}

/* A macro sees its parameters and the variables of the whole template. */
static eq_jv call_macro(eq_jrun *r, const eq_jnode *m, const eq_jargs *args) {
    eq_jframe f = {.up = &r->top}, *was = r->frame;
    int i = 0, taken = 0;
    r->frame = &f;
    for (const eq_jnode *p = m->a; p && r->st == EQ_OK; p = p->next, i++) {
        char name[64];
        if (p->name.n >= (int64_t)sizeof name) {
            eq_jrun_fail(r, "a parameter's name this long is not supported");
            break;
        }
        memcpy(name, p->name.u.s, (size_t)p->name.n);
        name[p->name.n] = 0;
        eq_jv v = eq_jrun_arg(args, i, name);
        taken += v.type != EQ_J_UNDEF;
        if (v.type == EQ_J_UNDEF && p->a) v = eq_jrun_eval(r, p->a);
        eq_jrun_set(r, &f, p->name, v);
    }
    int given = 0;
    for (int k = 0; k < args->n; k++) given += args->v[k].type != EQ_J_UNDEF;
    if (given > taken) eq_jrun_fail(r, "a macro is called with arguments that it does not take");
    eq_jv v = r->st == EQ_OK ? eq_jrun_capture(r, m->b) : (eq_jv){0};
    r->frame = was;
    return v;
}

static eq_jv call(eq_jrun *r, const eq_jnode *n) {
    const eq_jnode *f = n->a;
    eq_jv self = f->kind == EQ_JN_MEMBER ? eq_jrun_eval(r, f->a) : (eq_jv){0};
    eq_jv v = f->kind == EQ_JN_MEMBER ? (eq_jv){0} : eq_jrun_eval(r, f);
    eq_jargs args = arguments(r, n->b);
    if (r->st != EQ_OK) return v;
    if (f->kind == EQ_JN_MEMBER) return eq_jrun_method(r, f->name, self, &args);
    if (v.type == EQ_J_MACRO) return call_macro(r, v.u.macro, &args);
    if (v.type == EQ_J_FUNC && f->kind == EQ_JN_NAME) return eq_jrun_function(r, f->name, &args);
    if (f->kind == EQ_JN_NAME)
        return eq_jrun_fail(r, "\"%.*s\" is no function that is known",
                            (int)(f->name.n > 60 ? 60 : f->name.n), f->name.u.s);
    return eq_jrun_fail(r, "a call of %s", eq_j_type_name(v));
}

static eq_jv compare(eq_jrun *r, const eq_jnode *n) {
    eq_jv left = eq_jrun_eval(r, n->a);
    for (const eq_jnode *c = n->b; c && r->st == EQ_OK; c = c->next) {
        eq_jv right = eq_jrun_eval(r, c->a);
        const char *op = c->name.u.s;
        bool ok = true, is;
        if (r->st != EQ_OK) break;
        if (!strcmp(op, "in") || !strcmp(op, "not in"))
            is = eq_jrun_in(r, left, right) == (*op == 'i');
        else if (!strcmp(op, "==") || !strcmp(op, "!="))
            is = eq_j_equal(left, right) == (*op == '=');
        else {
            int c3 = eq_j_order(left, right, &ok);
            is = (*op == '<' && c3 < 0) || (*op == '>' && c3 > 0) || (op[1] == '=' && c3 == 0);
        }
        if (!ok)
            return eq_jrun_fail(r, "%s and %s have no order", eq_j_type_name(left),
                                eq_j_type_name(right));
        if (!is) return eq_j_bool(false);
        left = right;
    }
    return eq_j_bool(true);
}

static eq_jv negated(eq_jrun *r, eq_jv v) {
    if (v.type == EQ_J_FLOAT) return v.u.f = -v.u.f, v;
    return eq_jrun_binary(r, "-", eq_j_int(0), v);
}

static eq_jv member(eq_jrun *r, const eq_jnode *n) {
    eq_jv v = eq_jrun_eval(r, n->a);
    if (r->st == EQ_OK && eq_jrun_has_method(v, n->name))
        return eq_jrun_fail(r, "a method that is not called is not supported");
    return eq_jrun_index(r, v, n->name);
}

static eq_jv collection(eq_jrun *r, const eq_jnode *n) {
    bool dict = n->kind == EQ_JN_DICT;
    eq_jv v = dict ? eq_jrun_dict(r) : eq_jrun_list(r);
    for (const eq_jnode *m = n->a; m && r->st == EQ_OK; m = m->next) {
        eq_jv one = eq_jrun_eval(r, m);
        if (!dict)
            eq_jrun_put(r, v, one);
        else {
            m = m->next;
            eq_jrun_put_key(r, v, one, eq_jrun_eval(r, m));
        }
    }
    return v;
}

static eq_jv binary(eq_jrun *r, const eq_jnode *n) {
    eq_jv v = eq_jrun_eval(r, n->a), w = eq_jrun_eval(r, n->b);
    const eq_jnode *odd = v.type == EQ_J_UNDEF ? n->a : w.type == EQ_J_UNDEF ? n->b : NULL;
    if (odd && odd->kind == EQ_JN_NAME && *n->name.u.s != '~')
        return eq_jrun_fail(r, "\"%.*s\" is not defined",
                            (int)(odd->name.n > 60 ? 60 : odd->name.n), odd->name.u.s);
    return eq_jrun_binary(r, n->name.u.s, v, w);
}

static eq_jv optional(eq_jrun *r, const eq_jnode *n) {
    return n ? eq_jrun_eval(r, n) : eq_j_none();
}

static eq_jv evaluate(eq_jrun *r, const eq_jnode *n) {
    eq_jv v, w;
    eq_jargs args;
    switch (n->kind) {
    case EQ_JN_CONST:
        return n->value;
    case EQ_JN_NAME:
        return look_up(r, n->name);
    case EQ_JN_LIST:
    case EQ_JN_DICT:
        return collection(r, n);
    case EQ_JN_MEMBER:
        return member(r, n);
    case EQ_JN_INDEX:
        v = eq_jrun_eval(r, n->a), w = eq_jrun_eval(r, n->b);
        return eq_jrun_index(r, v, w);
    case EQ_JN_SLICE:
        v = eq_jrun_eval(r, n->a), w = optional(r, n->b);
        return eq_jrun_slice(r, v, w, optional(r, n->c), optional(r, n->d));
    case EQ_JN_CALL:
        return call(r, n);
    case EQ_JN_FILTER:
        v = eq_jrun_eval(r, n->a), args = arguments(r, n->b);
        return r->st == EQ_OK ? eq_jrun_filter(r, n->name, v, &args) : v;
    case EQ_JN_TEST:
        v = eq_jrun_eval(r, n->a), args = arguments(r, n->b);
        return r->st == EQ_OK ? eq_j_bool(eq_jrun_test(r, n->name, v, &args)) : v;
    case EQ_JN_NOT:
        return eq_j_bool(!eq_j_true(eq_jrun_eval(r, n->a)));
    case EQ_JN_NEG:
        return negated(r, eq_jrun_eval(r, n->a));
    case EQ_JN_AND:
        v = eq_jrun_eval(r, n->a);
        return eq_j_true(v) ? eq_jrun_eval(r, n->b) : v;
    case EQ_JN_OR:
        v = eq_jrun_eval(r, n->a);
        return eq_j_true(v) || r->st != EQ_OK ? v : eq_jrun_eval(r, n->b);
    case EQ_JN_CHOICE:
        v = eq_jrun_eval(r, n->b);
        if (r->st != EQ_OK) return v;
        return eq_j_true(v) ? eq_jrun_eval(r, n->a) : n->c ? eq_jrun_eval(r, n->c) : (eq_jv){0};
    case EQ_JN_COMPARE:
        return compare(r, n);
    case EQ_JN_BINARY:
        return binary(r, n);
    default:
        return (eq_jv){0};
    }
}

eq_jv eq_jrun_eval(eq_jrun *r, const eq_jnode *n) {
    if (r->st != EQ_OK) return (eq_jv){0};
    if (++r->steps > MAX_STEPS)
        return eq_jrun_fail(r, "the template runs for longer than any needs");
    if (++r->depth > EQ_JRUN_DEPTH) eq_jrun_fail(r, "nesting this deep is not supported");
    eq_jv v = r->st == EQ_OK ? evaluate(r, n) : (eq_jv){0};
    r->depth--;
    return v;
}

/* ---- a whole rendering ----------------------------------------------------------------------- */

static void set_token(eq_jrun *r, const char *name, const char *token) {
    if (token) eq_jrun_set(r, &r->top, eq_j_cstr(name), eq_j_cstr(token));
}

static void set_input(eq_jrun *r, const eq_jinja_input *in) {
    eq_jv list = eq_jrun_list(r);
    for (int64_t i = 0; i < in->n && r->st == EQ_OK; i++) {
        eq_jv m = eq_jrun_dict(r);
        eq_jrun_put_key(r, m, eq_j_cstr("role"), eq_j_cstr(in->messages[i].role));
        eq_jrun_put_key(r, m, eq_j_cstr("content"), eq_j_cstr(in->messages[i].content));
        eq_jrun_put(r, list, m);
    }
    eq_jrun_set(r, &r->top, eq_j_cstr("messages"), list);
    eq_jrun_set(r, &r->top, eq_j_cstr("add_generation_prompt"),
                eq_j_bool(in->add_generation_prompt));
    eq_jrun_set(r, &r->top, eq_j_cstr("tools"), eq_j_none());
    eq_jrun_set(r, &r->top, eq_j_cstr("documents"), eq_j_none());
    set_token(r, "bos_token", in->bos_token);
    set_token(r, "eos_token", in->eos_token);
    set_token(r, "unk_token", in->unk_token);
    set_token(r, "pad_token", in->pad_token);
}

eq_status eq_jinja_render(const eq_jinja *j, const eq_jinja_input *in, eq_str *out, eq_spans *spans,
                          eq_err *err) {
    eq_jrun r = {.j = j, .out = out, .spans = spans, .err = err};
    int64_t was = out->n, had = spans ? spans->n : 0;
    r.frame = &r.top;
    eq_str_put(out, "", 0);
    set_input(&r, in);
    eq_jrun_body(&r, j->body);
    if (r.st == EQ_OK && out->oom) r.st = eq_nomem(err, "a chat", out->n);
    eq_jarena_free(&r.mem);
    if (r.st != EQ_OK) {
        out->n = was;
        if (spans) spans->n = had;
    }
    return r.st;
}

eq_status eq_spans_put(eq_spans *s, eq_span one, eq_err *err) {
    if (s->n == s->cap) {
        int64_t cap = s->cap * 2 + 8;
        eq_span *p = eq_realloc(s->p, cap, sizeof *p);
        if (!p) return eq_nomem(err, "a chat", cap * (int64_t)sizeof *p);
        s->p = p, s->cap = cap;
    }
    s->p[s->n++] = one;
    return EQ_OK;
}

void eq_spans_free(eq_spans *s) {
    eq_free(s->p);
    *s = (eq_spans){0};
}
