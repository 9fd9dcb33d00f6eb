/* Filters and tests. Invariant: one that is not in the tables, or is asked for something that is
 * not done here, is refused by name where it is reached. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/jinja/jinja_run.h"
#include "text/jinja/jinja_text.h"

eq_jv eq_jrun_arg(const eq_jargs *args, int i, const char *name) {
    for (int k = 0; k < args->n; k++)
        if (args->name[k].type == EQ_J_STR ? eq_j_is(args->name[k], name) : k == i)
            return args->v[k];
    return (eq_jv){0};
}

/* ---- tests ----------------------------------------------------------------------------------- */

static bool is_number(eq_jv v) {
    return v.type == EQ_J_INT || v.type == EQ_J_FLOAT || v.type == EQ_J_BOOL;
}

static bool ordered(eq_jrun *r, const char *op, eq_jv a, eq_jv b) {
    bool ok;
    int c = eq_j_order(a, b, &ok);
    if (!ok) eq_jrun_fail(r, "%s and %s have no order", eq_j_type_name(a), eq_j_type_name(b));
    return ok && (*op == 'l' ? c < 0 : c > 0);
}

static bool no_test(eq_jrun *r, eq_jv name, eq_jv v) {
    eq_jrun_fail(r, "the test \"%.*s\" of %s is not supported", (int)(name.n > 40 ? 40 : name.n),
                 name.u.s, eq_j_type_name(v));
    return false;
}

bool eq_jrun_test(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args) {
    eq_jv other = args->n ? args->v[0] : (eq_jv){0};
    const struct {
        const char *name;
        bool is;
    } types[] = {
        {"defined", v.type != EQ_J_UNDEF},
        {"undefined", v.type == EQ_J_UNDEF},
        {"none", v.type == EQ_J_NONE},
        {"string", v.type == EQ_J_STR},
        {"boolean", v.type == EQ_J_BOOL},
        {"integer", v.type == EQ_J_INT},
        {"float", v.type == EQ_J_FLOAT},
        {"number", is_number(v)},
        {"mapping", v.type == EQ_J_DICT && !v.u.dict->space},
        {"sequence",
         v.type == EQ_J_STR || v.type == EQ_J_LIST || (v.type == EQ_J_DICT && !v.u.dict->space)},
        {"iterable", v.type == EQ_J_STR || v.type == EQ_J_LIST || v.type == EQ_J_UNDEF ||
                         (v.type == EQ_J_DICT && !v.u.dict->space)},
        {"true", v.type == EQ_J_BOOL && v.u.b},
        {"false", v.type == EQ_J_BOOL && !v.u.b},
        {"callable", v.type == EQ_J_MACRO || v.type == EQ_J_FUNC},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types && !args->n; i++)
        if (eq_j_is(name, types[i].name)) return types[i].is;
    bool alone = !args->n && v.type == EQ_J_INT;
    if (alone && (eq_j_is(name, "odd") || eq_j_is(name, "even")))
        return (v.u.i % 2 != 0) == (*name.u.s == 'o');
    if (args->n != 1) return no_test(r, name, v);
    if (eq_j_is(name, "equalto") || eq_j_is(name, "eq")) return eq_j_equal(v, other);
    if (eq_j_is(name, "ne")) return !eq_j_equal(v, other);
    if (eq_j_is(name, "in")) return eq_jrun_in(r, v, other);
    if (eq_j_is(name, "lt") || eq_j_is(name, "gt")) return ordered(r, name.u.s, v, other);
    if (eq_j_is(name, "divisibleby") && v.type == EQ_J_INT && other.type == EQ_J_INT &&
        other.u.i > 0)
        return v.u.i % other.u.i == 0;
    return no_test(r, name, v);
}

/* ---- filters --------------------------------------------------------------------------------- */

static eq_jv length(eq_jrun *r, eq_jv v) {
    if (v.type == EQ_J_STR) return eq_j_int(eq_j_chars(v));
    if (v.type == EQ_J_LIST) return eq_j_int(v.u.list->n);
    if (v.type == EQ_J_DICT && !v.u.dict->space) return eq_j_int(v.u.dict->n);
    if (v.type == EQ_J_UNDEF) return eq_j_int(0);
    return eq_jrun_fail(r, "%s has no length", eq_j_type_name(v));
}

static eq_jv json(eq_jrun *r, eq_jv v, const eq_jargs *args) {
    eq_str s = {0};
    /* ensure_ascii is false anyhow */
    bool plain = args->n == 1 && eq_j_is(args->name[0], "ensure_ascii") && !eq_j_true(args->v[0]);
    if (args->n && !plain) return eq_jrun_fail(r, "\"tojson\" with arguments is not supported");
    if (!eq_j_put_json(&s, v)) {
        eq_str_free(&s);
        return eq_jrun_fail(r, "%s as JSON is not supported", eq_j_type_name(v));
    }
    return eq_jtext_keep(r, &s);
}

static eq_jv joined(eq_jrun *r, eq_jv v, const eq_jargs *args) {
    eq_jv gap = eq_jrun_arg(args, 0, "d"), list = eq_jrun_members(r, v);
    eq_jv attribute = eq_jrun_arg(args, 1, "attribute");
    eq_str s = {0};
    bool ok = true;
    for (int64_t i = 0; r->st == EQ_OK && ok && i < list.u.list->n; i++) {
        eq_jv one = list.u.list->v[i];
        if (attribute.type != EQ_J_UNDEF) one = eq_jrun_index(r, one, attribute);
        ok = (!i || eq_j_put(&s, gap)) && eq_j_put(&s, one);
    }
    if (ok && r->st == EQ_OK) return eq_jtext_keep(r, &s);
    eq_str_free(&s);
    return eq_jrun_fail(r, "\"join\" of what has no text");
}

/* select, reject, selectattr, rejectattr: [attribute,] [test, [its argument]] */
static eq_jv chosen(eq_jrun *r, eq_jv v, const eq_jargs *args, bool attribute, bool keep) {
    eq_jv list = eq_jrun_members(r, v), out = eq_jrun_list(r);
    if (args->n < attribute) return eq_jrun_fail(r, "an attribute is missing");
    eq_jargs more = {.n = 0};
    for (int k = attribute + 1; k < args->n; k++) more.v[more.n++] = args->v[k];
    for (int64_t i = 0; r->st == EQ_OK && i < list.u.list->n; i++) {
        eq_jv one = list.u.list->v[i], of = one;
        if (attribute) of = eq_jrun_index(r, one, args->v[0]);
        bool is = args->n > attribute && r->st == EQ_OK
                      ? eq_jrun_test(r, args->v[attribute], of, &more)
                      : eq_j_true(of);
        if (is == keep) eq_jrun_put(r, out, one);
    }
    return out;
}

/* map(attribute="x") or map("filter") */
static eq_jv mapped(eq_jrun *r, eq_jv v, const eq_jargs *args) {
    eq_jv list = eq_jrun_members(r, v), out = eq_jrun_list(r);
    eq_jargs none = {.n = 0};
    bool attribute = args->n == 1 && eq_j_is(args->name[0], "attribute");
    if (args->n != 1 || args->v[0].type != EQ_J_STR || (!attribute && args->name[0].n))
        return eq_jrun_fail(r, "this form of \"map\" is not supported");
    for (int64_t i = 0; r->st == EQ_OK && i < list.u.list->n; i++)
        eq_jrun_put(r, out,
                    attribute ? eq_jrun_index(r, list.u.list->v[i], args->v[0])
                              : eq_jrun_filter(r, args->v[0], list.u.list->v[i], &none));
    return out;
}

static eq_jv reversed(eq_jrun *r, eq_jv v) {
    if (v.type == EQ_J_STR) return eq_jrun_fail(r, "a string from its end is not supported");
    eq_jv list = eq_jrun_members(r, v), out = eq_jrun_list(r);
    for (int64_t i = r->st == EQ_OK ? list.u.list->n : 0; i > 0; i--)
        eq_jrun_put(r, out, list.u.list->v[i - 1]);
    return out;
}

static eq_jv whole(eq_jrun *r, eq_jv v, const eq_jargs *args) {
    if (v.type == EQ_J_INT && !args->n) return v;
    if (v.type == EQ_J_BOOL && !args->n) return eq_j_int(v.u.b);
    return eq_jrun_fail(r, "\"int\" of %s is not supported", eq_j_type_name(v));
}

static eq_jv instead(eq_jv v, const eq_jargs *args) {
    bool falsy = eq_j_true(eq_jrun_arg(args, 1, "boolean"));
    if (v.type != EQ_J_UNDEF && !(falsy && !eq_j_true(v))) return v;
    eq_jv other = eq_jrun_arg(args, 0, "default_value");
    return other.type == EQ_J_UNDEF && !args->n ? eq_j_str("", 0) : other;
}

/* What makes no difference between a filter and a method. */
static eq_jv text_filter(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args) {
    eq_jv text = v.type == EQ_J_STR ? v : eq_jrun_join(r, v, eq_j_str("", 0));
    if (r->st != EQ_OK || eq_j_is(name, "string") || eq_j_is(name, "safe")) return text;
    if (eq_j_is(name, "trim")) return eq_j_strip(text, eq_jrun_arg(args, 0, "chars"), true, true);
    return eq_jrun_method(r, name, text, args);
}

eq_jv eq_jrun_filter(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args) {
    static const char *const texts[] = {"string", "safe",       "trim",    "upper",
                                        "lower",  "capitalize", "replace", NULL};
    eq_jv list;
    if (r->st != EQ_OK) return v;
    for (int i = 0; texts[i]; i++)
        if (eq_j_is(name, texts[i])) return text_filter(r, name, v, args);
    if (eq_j_is(name, "length") || eq_j_is(name, "count")) return length(r, v);
    if (eq_j_is(name, "default") || eq_j_is(name, "d")) return instead(v, args);
    if (eq_j_is(name, "tojson")) return json(r, v, args);
    if (eq_j_is(name, "join")) return joined(r, v, args);
    if (eq_j_is(name, "list")) return eq_jrun_members(r, v);
    if (eq_j_is(name, "int")) return whole(r, v, args);
    if (eq_j_is(name, "reverse")) return reversed(r, v);
    if (eq_j_is(name, "map")) return mapped(r, v, args);
    if (eq_j_is(name, "select") || eq_j_is(name, "reject"))
        return chosen(r, v, args, false, *name.u.s == 's');
    if (eq_j_is(name, "selectattr") || eq_j_is(name, "rejectattr"))
        return chosen(r, v, args, true, *name.u.s == 's');
    if (eq_j_is(name, "items") && v.type == EQ_J_DICT) return eq_jrun_method(r, name, v, args);
    if (eq_j_is(name, "first") || eq_j_is(name, "last")) {
        list = eq_jrun_members(r, v);
        int64_t n = r->st == EQ_OK ? list.u.list->n : 0;
        return n ? list.u.list->v[*name.u.s == 'f' ? 0 : n - 1] : (eq_jv){0};
    }
    return eq_jrun_fail(r, "the filter \"%.*s\" is not supported", (int)(name.n > 40 ? 40 : name.n),
                        name.u.s);
}
