/* Expressions, by precedence from "a if b else c" down to names, as Jinja has it: filters and tests
 * bind closer than every operator, `not` looser than comparisons, ~ closer than +. */
#include <string.h>

#include "text/jinja/jinja_parser.h"

static bool op(eq_jparser *p, const char *s) { return eq_jparse_skip(p, EQ_JT_OP, s); }
static bool word(eq_jparser *p, const char *s) { return eq_jparse_skip(p, EQ_JT_NAME, s); }

static eq_jnode *of(eq_jparser *p, eq_jkind kind, eq_jnode *a, eq_jnode *b) {
    eq_jnode *n = eq_jparse_node(p, kind);
    if (n) n->a = a, n->b = b;
    return n;
}

static eq_jnode *constant(eq_jparser *p, eq_jv v) {
    eq_jnode *n = eq_jparse_node(p, EQ_JN_CONST);
    if (n) n->value = v;
    return n;
}

/* Members up to `close`, which is read. dict: key and value in turn. */
static eq_jnode *members(eq_jparser *p, const char *close, bool dict) {
    eq_jnode *first = NULL, **to = &first;
    while (p->st == EQ_OK && !op(p, close)) {
        eq_jnode *n = eq_jparse_expression(p);
        if (!n) return NULL;
        *to = n, to = &n->next;
        if (dict) {
            if (!eq_jparse_expect(p, EQ_JT_OP, ":") || !(n = eq_jparse_expression(p))) return NULL;
            *to = n, to = &n->next;
        }
        if (!eq_jparse_is(p, EQ_JT_OP, close) && !eq_jparse_expect(p, EQ_JT_OP, ",")) return NULL;
    }
    return first;
}

/* Neighbouring strings are one. */
static eq_jnode *strings(eq_jparser *p) {
    int64_t n = 0;
    const eq_jtok *end = p->t;
    for (; end->kind == EQ_JT_STRING; end++) n += end->n;
    char *s = eq_jarena_take(p->a, n + 1);
    if (!s) {
        p->st = eq_jinja_no_room(p->a, p->where, p->err);
        return NULL;
    }
    for (n = 0; p->t < end; p->t++) {
        memcpy(s + n, p->t->s, (size_t)p->t->n);
        n += p->t->n;
    }
    return constant(p, eq_j_str(s, n));
}

static eq_jnode *name(eq_jparser *p) {
    if (word(p, "true") || word(p, "True")) return constant(p, eq_j_bool(true));
    if (word(p, "false") || word(p, "False")) return constant(p, eq_j_bool(false));
    if (word(p, "none") || word(p, "None")) return constant(p, eq_j_none());
    eq_jnode *n = eq_jparse_node(p, EQ_JN_NAME);
    if (n) eq_jparse_name(p, &n->name);
    return n;
}

static eq_jnode *primary(eq_jparser *p) {
    const eq_jtok *t = p->t;
    if (p->st != EQ_OK) return NULL;
    switch (t->kind) {
    case EQ_JT_NAME:
        return name(p);
    case EQ_JT_STRING:
        return strings(p);
    case EQ_JT_INT:
        p->t++;
        return constant(p, eq_j_int(t->i));
    case EQ_JT_FLOAT:
        p->t++;
        return constant(p, (eq_jv){.type = EQ_J_FLOAT, .u.f = t->f});
    default:
        break;
    }
    if (op(p, "[")) return of(p, EQ_JN_LIST, members(p, "]", false), NULL);
    if (op(p, "{")) return of(p, EQ_JN_DICT, members(p, "}", true), NULL);
    if (!op(p, "(")) return eq_jparse_fail(p, "expected an expression");
    if (op(p, ")")) return of(p, EQ_JN_LIST, NULL, NULL);
    eq_jnode *n = eq_jparse_tuple(p, true);
    eq_jparse_expect(p, EQ_JT_OP, ")");
    return n;
}

/* Behind "(". */
static eq_jnode *arguments(eq_jparser *p) {
    eq_jnode *first = NULL, **to = &first;
    while (p->st == EQ_OK && !op(p, ")")) {
        eq_jv named = {0};
        if (p->t->kind == EQ_JT_NAME && p->t[1].kind == EQ_JT_OP && p->t[1].n == 1 &&
            *p->t[1].s == '=') {
            named = eq_j_str(p->t->s, p->t->n);
            p->t += 2;
        }
        eq_jnode *n = eq_jparse_expression(p);
        /* a list of arguments is a chain of nodes of its own: the expression's is not used */
        eq_jnode *link = n ? of(p, EQ_JN_CONST, n, NULL) : NULL;
        if (!link) return NULL;
        link->name = named;
        *to = link, to = &link->next;
        if (!eq_jparse_is(p, EQ_JT_OP, ")") && !eq_jparse_expect(p, EQ_JT_OP, ",")) return NULL;
    }
    return first;
}

/* Behind "[". */
static eq_jnode *subscript(eq_jparser *p, eq_jnode *a) {
    eq_jnode *part[3] = {NULL, NULL, NULL};
    int n = 0;
    bool slice = false;
    for (; n < 3; n++) {
        if (!eq_jparse_is(p, EQ_JT_OP, ":") && !eq_jparse_is(p, EQ_JT_OP, "]"))
            part[n] = eq_jparse_expression(p);
        if (!op(p, ":")) break;
        slice = true;
    }
    if (!eq_jparse_expect(p, EQ_JT_OP, "]")) return NULL;
    if (!slice && !part[0]) return eq_jparse_fail(p, "expected a subscript");
    eq_jnode *r = of(p, slice ? EQ_JN_SLICE : EQ_JN_INDEX, a, part[0]);
    if (r) r->c = part[1], r->d = part[2];
    return r;
}

static eq_jnode *postfix(eq_jparser *p, eq_jnode *n) {
    while (p->st == EQ_OK) {
        if (op(p, ".")) {
            if (p->t->kind == EQ_JT_INT) {
                n = of(p, EQ_JN_INDEX, n, constant(p, eq_j_int(p->t->i)));
                p->t++;
                continue;
            }
            n = of(p, EQ_JN_MEMBER, n, NULL);
            if (n) eq_jparse_name(p, &n->name);
        } else if (op(p, "["))
            n = subscript(p, n);
        else if (op(p, "("))
            n = of(p, EQ_JN_CALL, n, arguments(p));
        else
            break;
    }
    return n;
}

/* A test's one argument may stand without brackets: x is equalto "a". */
static eq_jnode *bare_argument(eq_jparser *p) {
    bool is = p->t->kind == EQ_JT_STRING || p->t->kind == EQ_JT_INT || p->t->kind == EQ_JT_FLOAT ||
              eq_jparse_is(p, EQ_JT_OP, "[") || eq_jparse_is(p, EQ_JT_OP, "{");
    bool operator_ = eq_jparse_is(p, EQ_JT_NAME, "else") || eq_jparse_is(p, EQ_JT_NAME, "or") ||
                     eq_jparse_is(p, EQ_JT_NAME, "and");
    if (!is && (p->t->kind != EQ_JT_NAME || operator_)) return NULL;
    if (eq_jparse_is(p, EQ_JT_NAME, "is")) return eq_jparse_fail(p, "a test of a test");
    return of(p, EQ_JN_CONST, postfix(p, primary(p)), NULL);
}

static eq_jnode *test(eq_jparser *p, eq_jnode *a) {
    bool negative = word(p, "not");
    eq_jnode *n = of(p, EQ_JN_TEST, a, NULL);
    if (!n || !eq_jparse_name(p, &n->name)) return NULL;
    n->b = op(p, "(") ? arguments(p) : bare_argument(p);
    return negative ? of(p, EQ_JN_NOT, n, NULL) : n;
}

static eq_jnode *filters(eq_jparser *p, eq_jnode *n) {
    while (p->st == EQ_OK) {
        if (op(p, "|")) {
            n = of(p, EQ_JN_FILTER, n, NULL);
            if (n && eq_jparse_name(p, &n->name) && op(p, "(")) n->b = arguments(p);
        } else if (word(p, "is"))
            n = test(p, n);
        else
            break;
    }
    return n;
}

static eq_jnode *unary(eq_jparser *p, bool with_filters) {
    if (p->st != EQ_OK) return NULL;
    if (++p->depth > EQ_JPARSE_DEPTH)
        return eq_jparse_fail(p, "nesting this deep is not supported");
    eq_jnode *n;
    if (op(p, "-"))
        n = of(p, EQ_JN_NEG, unary(p, false), NULL);
    else if (eq_jparse_is(p, EQ_JT_OP, "+"))
        n = eq_jparse_fail(p, "a sign + is not supported");
    else
        n = postfix(p, primary(p));
    if (with_filters) n = filters(p, n);
    p->depth--;
    return n;
}

/* Operators of one level, from the left. */
static eq_jnode *level(eq_jparser *p, int k) {
    static const char *const ops[3][4] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}};
    if (k == 3) {
        eq_jnode *n = unary(p, true);
        return eq_jparse_is(p, EQ_JT_OP, "**") ? eq_jparse_fail(p, "** is not supported") : n;
    }
    eq_jnode *left = level(p, k + 1);
    for (bool more = true; more && p->st == EQ_OK;) {
        more = false;
        for (int i = 0; i < 4 && ops[k][i] && !more; i++)
            if (op(p, ops[k][i])) {
                left = of(p, EQ_JN_BINARY, left, level(p, k + 1));
                if (left) left->name = eq_j_cstr(ops[k][i]);
                more = true;
            }
    }
    return left;
}

static const char *comparison(eq_jparser *p) {
    static const char *const ops[] = {"==", "!=", "<=", ">=", "<", ">"};
    for (int i = 0; i < 6; i++)
        if (op(p, ops[i])) return ops[i];
    if (word(p, "in")) return "in";
    if (eq_jparse_is(p, EQ_JT_NAME, "not") && p->t[1].kind == EQ_JT_NAME && p->t[1].n == 2 &&
        !memcmp(p->t[1].s, "in", 2))
        return p->t += 2, "not in";
    return NULL;
}

static eq_jnode *compare(eq_jparser *p) {
    eq_jnode *left = level(p, 0), **to = NULL;
    for (const char *c; p->st == EQ_OK && (c = comparison(p));) {
        if (!to) {
            left = of(p, EQ_JN_COMPARE, left, NULL);
            if (!left) return NULL;
            to = &left->b;
        }
        eq_jnode *n = of(p, EQ_JN_COMPARE, level(p, 0), NULL);
        if (!n) return NULL;
        n->name = eq_j_cstr(c);
        *to = n, to = &n->next;
    }
    return left;
}

static eq_jnode *not_(eq_jparser *p) {
    if (!word(p, "not")) return compare(p);
    if (++p->depth > EQ_JPARSE_DEPTH)
        return eq_jparse_fail(p, "nesting this deep is not supported");
    eq_jnode *n = of(p, EQ_JN_NOT, not_(p), NULL);
    p->depth--;
    return n;
}

static eq_jnode *and_(eq_jparser *p) {
    eq_jnode *n = not_(p);
    while (p->st == EQ_OK && word(p, "and")) n = of(p, EQ_JN_AND, n, not_(p));
    return n;
}

static eq_jnode *or_(eq_jparser *p) {
    eq_jnode *n = and_(p);
    while (p->st == EQ_OK && word(p, "or")) n = of(p, EQ_JN_OR, n, and_(p));
    return n;
}

eq_jnode *eq_jparse_expression(eq_jparser *p) {
    eq_jnode *n = or_(p);
    while (p->st == EQ_OK && word(p, "if")) {
        eq_jnode *r = of(p, EQ_JN_CHOICE, n, or_(p));
        if (!r) return NULL;
        if (word(p, "else")) {
            if (++p->depth > EQ_JPARSE_DEPTH)
                return eq_jparse_fail(p, "nesting this deep is not supported");
            r->c = eq_jparse_expression(p);
            p->depth--;
        }
        n = r;
    }
    return n;
}

eq_jnode *eq_jparse_tuple(eq_jparser *p, bool choice) {
    eq_jnode *n = choice ? eq_jparse_expression(p) : or_(p), **to;
    if (p->st != EQ_OK || !eq_jparse_is(p, EQ_JT_OP, ",")) return n;
    eq_jnode *tuple = of(p, EQ_JN_LIST, n, NULL);
    to = &n->next;
    while (p->st == EQ_OK && op(p, ",")) {
        bool ends = p->t->kind == EQ_JT_PRINT_END || p->t->kind == EQ_JT_BLOCK_END ||
                    eq_jparse_is(p, EQ_JT_OP, ")");
        if (ends) break;
        if (!(n = choice ? eq_jparse_expression(p) : or_(p))) return NULL;
        *to = n, to = &n->next;
    }
    return tuple;
}
