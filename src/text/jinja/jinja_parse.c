/* Tokens to a tree: statements. Expressions are in jinja_expr.c. Invariant: nesting is bounded, so
 * neither parsing nor evaluation can run out of stack. */
#include <string.h>

#include "base/mem.h"
#include "text/jinja/jinja_parser.h"

eq_jnode *eq_jparse_fail(eq_jparser *p, const char *what) {
    if (p->st == EQ_OK)
        p->st = eq_fail(p->err, EQ_EINPUT, "%s: line %d: %s", p->where, p->t->line, what);
    return NULL;
}

eq_jnode *eq_jparse_node(eq_jparser *p, eq_jkind kind) {
    eq_jnode *n = p->st == EQ_OK ? eq_jarena_take(p->a, sizeof *n) : NULL;
    if (!n && p->st == EQ_OK) p->st = eq_jinja_no_room(p->a, p->where, p->err);
    if (n) n->kind = kind, n->line = p->t->line;
    return n;
}

bool eq_jparse_is(const eq_jparser *p, eq_jtok_kind kind, const char *text) {
    return p->t->kind == kind && p->t->n == (int64_t)strlen(text) &&
           !memcmp(p->t->s, text, (size_t)p->t->n);
}

bool eq_jparse_skip(eq_jparser *p, eq_jtok_kind kind, const char *text) {
    bool is = eq_jparse_is(p, kind, text);
    p->t += is;
    return is;
}

bool eq_jparse_expect(eq_jparser *p, eq_jtok_kind kind, const char *text) {
    if (p->st != EQ_OK) return false;
    if (eq_jparse_skip(p, kind, text)) return true;
    if (p->t->kind == EQ_JT_NAME || p->t->kind == EQ_JT_OP)
        p->st = eq_fail(p->err, EQ_EINPUT, "%s: line %d: expected \"%s\", found \"%.*s\"", p->where,
                        p->t->line, text, (int)(p->t->n > 40 ? 40 : p->t->n), p->t->s);
    else
        p->st = eq_fail(p->err, EQ_EINPUT, "%s: line %d: expected \"%s\", found something else",
                        p->where, p->t->line, text);
    return false;
}

bool eq_jparse_name(eq_jparser *p, eq_jv *name) {
    if (p->st != EQ_OK || p->t->kind != EQ_JT_NAME)
        return eq_jparse_fail(p, "expected a name"), false;
    *name = eq_j_str(p->t->s, p->t->n);
    p->t++;
    return true;
}

static bool skip_name(eq_jparser *p, const char *text) {
    return eq_jparse_skip(p, EQ_JT_NAME, text);
}

static void block_end(eq_jparser *p) {
    if (p->st != EQ_OK) return;
    if (p->t->kind != EQ_JT_BLOCK_END)
        eq_jparse_fail(p, "expected the end of the tag");
    else
        p->t++;
}

/* The statements up to one of the tags in `ends` (space-separated, NULL: the end of the text),
 * whose name is not yet read. */
static eq_jnode *body(eq_jparser *p, const char *ends);

static bool at_end(const eq_jparser *p, const char *ends) {
    if (p->t->kind != EQ_JT_BLOCK || p->t[1].kind != EQ_JT_NAME) return false;
    char name[32] = " ";
    if (p->t[1].n > 24) return false;
    memcpy(name + 1, p->t[1].s, (size_t)p->t[1].n);
    strcat(name, " ");
    return strstr(ends, name) != NULL;
}

/* A body and the tag that ends it. */
static eq_jnode *body_to(eq_jparser *p, const char *end) {
    char ends[40] = " ";
    strcat(strcat(ends, end), " ");
    eq_jnode *b = body(p, ends);
    if (p->st != EQ_OK) return NULL;
    p->t++;
    eq_jparse_expect(p, EQ_JT_NAME, end);
    block_end(p);
    return b;
}

/* Behind "if" or "elif". */
static eq_jnode *if_(eq_jparser *p) {
    eq_jnode *n = eq_jparse_node(p, EQ_JN_IF);
    if (!n) return NULL;
    n->a = eq_jparse_tuple(p, false);
    block_end(p);
    n->b = body(p, " elif else endif ");
    if (p->st != EQ_OK) return NULL;
    p->t++;
    if (skip_name(p, "elif")) {
        if (++p->depth > EQ_JPARSE_DEPTH)
            return eq_jparse_fail(p, "nesting this deep is not supported");
        n->c = if_(p);
        p->depth--;
        return n;
    }
    if (skip_name(p, "else")) {
        block_end(p);
        n->c = body_to(p, "endif");
        return n;
    }
    eq_jparse_expect(p, EQ_JT_NAME, "endif");
    block_end(p);
    return n;
}

/* Names (or, for `set`, name.member) with commas between them. */
static eq_jnode *targets(eq_jparser *p, bool members) {
    eq_jnode *first = NULL, **to = &first;
    bool paren = !members && eq_jparse_skip(p, EQ_JT_OP, "(");
    do {
        eq_jnode *n = eq_jparse_node(p, EQ_JN_NAME);
        if (!n || !eq_jparse_name(p, &n->name)) return NULL;
        if (members && eq_jparse_skip(p, EQ_JT_OP, ".")) {
            eq_jnode *m = eq_jparse_node(p, EQ_JN_MEMBER);
            if (!m || !eq_jparse_name(p, &m->name)) return NULL;
            m->a = n, n = m;
        }
        *to = n, to = &n->next;
    } while (eq_jparse_skip(p, EQ_JT_OP, ","));
    if (paren) eq_jparse_expect(p, EQ_JT_OP, ")");
    return first;
}

static eq_jnode *for_(eq_jparser *p) {
    eq_jnode *n = eq_jparse_node(p, EQ_JN_FOR);
    if (!n) return NULL;
    n->a = targets(p, false);
    eq_jparse_expect(p, EQ_JT_NAME, "in");
    n->b = eq_jparse_tuple(p, false);
    if (p->st == EQ_OK && skip_name(p, "if")) n->c = eq_jparse_expression(p);
    if (eq_jparse_is(p, EQ_JT_NAME, "recursive"))
        return eq_jparse_fail(p, "a recursive loop is not supported");
    block_end(p);
    p->loops++;
    n->d = body(p, " else endfor ");
    p->loops--;
    if (p->st != EQ_OK) return NULL;
    p->t++;
    if (skip_name(p, "else")) {
        block_end(p);
        n->e = body_to(p, "endfor");
        return n;
    }
    eq_jparse_expect(p, EQ_JT_NAME, "endfor");
    block_end(p);
    return n;
}

static eq_jnode *set(eq_jparser *p) {
    eq_jnode *n = eq_jparse_node(p, EQ_JN_SET);
    if (!n) return NULL;
    n->a = targets(p, true);
    if (p->st != EQ_OK) return NULL;
    if (eq_jparse_skip(p, EQ_JT_OP, "=")) {
        n->b = eq_jparse_tuple(p, true);
        block_end(p);
        return n;
    }
    if (n->a->next || n->a->kind != EQ_JN_NAME || p->t->kind != EQ_JT_BLOCK_END)
        return eq_jparse_fail(p, "this form of \"set\" is not supported");
    p->t++;
    n->kind = EQ_JN_SET_BLOCK;
    n->b = body_to(p, "endset");
    return n;
}

static eq_jnode *macro(eq_jparser *p) {
    eq_jnode *n = eq_jparse_node(p, EQ_JN_MACRO), **to = n ? &n->a : NULL;
    int loops = p->loops;
    if (!n || !eq_jparse_name(p, &n->name) || !eq_jparse_expect(p, EQ_JT_OP, "(")) return NULL;
    while (p->st == EQ_OK && !eq_jparse_skip(p, EQ_JT_OP, ")")) {
        eq_jnode *one = eq_jparse_node(p, EQ_JN_NAME);
        if (!one || !eq_jparse_name(p, &one->name)) return NULL;
        if (eq_jparse_skip(p, EQ_JT_OP, "=")) one->a = eq_jparse_expression(p);
        *to = one, to = &one->next;
        if (!eq_jparse_is(p, EQ_JT_OP, ")")) eq_jparse_expect(p, EQ_JT_OP, ",");
    }
    block_end(p);
    p->loops = 0;
    n->b = body_to(p, "endmacro");
    p->loops = loops;
    return n;
}

static eq_jnode *jump(eq_jparser *p, eq_jkind kind) {
    eq_jnode *n = eq_jparse_node(p, kind);
    if (!p->loops) return eq_jparse_fail(p, "\"break\" or \"continue\" outside of a loop");
    block_end(p);
    return n;
}

static eq_jnode *statement(eq_jparser *p) {
    if (skip_name(p, "if")) return if_(p);
    if (skip_name(p, "for")) return for_(p);
    if (skip_name(p, "set")) return set(p);
    if (skip_name(p, "macro")) return macro(p);
    if (skip_name(p, "break")) return jump(p, EQ_JN_BREAK);
    if (skip_name(p, "continue")) return jump(p, EQ_JN_CONTINUE);
    if (skip_name(p, "generation")) {
        eq_jnode *n = eq_jparse_node(p, EQ_JN_GENERATION);
        block_end(p);
        if (n) n->a = body_to(p, "endgeneration");
        p->marks = true;
        return n;
    }
    if (p->t->kind != EQ_JT_NAME) return eq_jparse_fail(p, "expected the name of a statement");
    p->st = eq_fail(p->err, EQ_EINPUT, "%s: line %d: the statement \"%.*s\" is not supported",
                    p->where, p->t->line, (int)(p->t->n > 40 ? 40 : p->t->n), p->t->s);
    return NULL;
}

static eq_jnode *one(eq_jparser *p) {
    eq_jnode *n;
    switch (p->t->kind) {
    case EQ_JT_TEXT:
        if (!(n = eq_jparse_node(p, EQ_JN_TEXT))) return NULL;
        n->value = eq_j_str(p->t->s, p->t->n);
        p->t++;
        return n;
    case EQ_JT_PRINT:
        p->t++;
        if (!(n = eq_jparse_node(p, EQ_JN_PRINT))) return NULL;
        n->a = eq_jparse_tuple(p, true);
        if (p->st == EQ_OK && p->t->kind != EQ_JT_PRINT_END)
            return eq_jparse_fail(p, "expected }}");
        p->t++;
        return n;
    case EQ_JT_BLOCK:
        p->t++;
        return statement(p);
    default:
        return eq_jparse_fail(p, "a tag is missing");
    }
}

static eq_jnode *body(eq_jparser *p, const char *ends) {
    eq_jnode *first = NULL, **to = &first;
    if (p->st != EQ_OK) return NULL;
    if (++p->depth > EQ_JPARSE_DEPTH)
        return eq_jparse_fail(p, "nesting this deep is not supported");
    while (p->st == EQ_OK && !(ends && at_end(p, ends))) {
        if (p->t->kind == EQ_JT_END) {
            if (ends) eq_jparse_fail(p, "the template ends within a block");
            break;
        }
        eq_jnode *n = one(p);
        if (!n) break;
        *to = n, to = &n->next;
    }
    p->depth--;
    return first;
}

eq_status eq_jinja_parse(eq_jinja **out, const char *text, int64_t n, const char *where,
                         eq_err *err) {
    eq_jtoks toks = {0};
    eq_jinja *j = *out = eq_calloc(1, sizeof *j);
    if (!j || !(j->where = eq_strdup(where))) {
        eq_jinja_free(j);
        *out = NULL;
        return eq_nomem(err, "a chat template", n);
    }
    eq_jparser p = {.a = &j->mem, .where = where, .err = err};
    p.st = eq_jinja_lex(&toks, &j->mem, text, n, where, err);
    if (p.st == EQ_OK) {
        p.t = toks.p;
        j->body = body(&p, NULL);
        j->marks = p.marks;
    }
    eq_free(toks.p);
    if (p.st != EQ_OK) {
        eq_jinja_free(j);
        *out = NULL;
    }
    return p.st;
}

void eq_jinja_free(eq_jinja *j) {
    if (!j) return;
    eq_jarena_free(&j->mem);
    eq_free(j->where);
    eq_free(j);
}

bool eq_jinja_marks(const eq_jinja *j) { return j->marks; }
