/* Methods of strings and mappings, and functions. */
#include <string.h>

#include "text/jinja/jinja_run.h"
#include "text/jinja/jinja_text.h"

typedef enum { AS_UPPER, AS_LOWER, AS_CAPITALIZED, AS_TITLE } letters;

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

/* Only of ASCII: what Python makes of other letters depends on its version of Unicode. */
static eq_jv cased(eq_jrun *r, eq_jv v, letters how) {
    eq_str s = {0};
    bool inside = false; /* of a word */
    for (int64_t i = 0; i < v.n; i++) {
        char c = v.u.s[i];
        if ((uint8_t)c >= 0x80) {
            eq_str_free(&s);
            return eq_jrun_fail(r,
                                "upper and lower case of letters beyond ASCII are not supported");
        }
        bool up =
            how == AS_UPPER || (how == AS_CAPITALIZED && i == 0) || (how == AS_TITLE && !inside);
        inside = is_upper(c) || is_lower(c);
        if (up && is_lower(c)) c = (char)(c - 32);
        if (!up && is_upper(c)) c = (char)(c + 32);
        eq_str_put(&s, &c, 1);
    }
    return eq_jtext_keep(r, &s);
}

static bool ends(eq_jv s, eq_jv with, bool at_start) {
    return with.n <= s.n &&
           !memcmp(at_start ? s.u.s : s.u.s + s.n - with.n, with.u.s, (size_t)with.n);
}

/* One string, or a tuple of them. */
static eq_jv has_end(eq_jrun *r, eq_jv s, eq_jv with, bool at_start) {
    if (with.type == EQ_J_STR) return eq_j_bool(ends(s, with, at_start));
    if (with.type != EQ_J_LIST) return eq_jrun_fail(r, "a string is missing");
    for (int64_t i = 0; i < with.u.list->n; i++)
        if (with.u.list->v[i].type == EQ_J_STR && ends(s, with.u.list->v[i], at_start))
            return eq_j_bool(true);
    return eq_j_bool(false);
}

static eq_jv split(eq_jrun *r, eq_jv s, eq_jv gap, eq_jv most) {
    eq_jv list = eq_jrun_list(r);
    int64_t max = most.type == EQ_J_INT && most.u.i >= 0 ? most.u.i : INT64_MAX, done = 0, n = 0;
    if (gap.type == EQ_J_NONE || gap.type == EQ_J_UNDEF) {
        if (max != INT64_MAX)
            return eq_jrun_fail(r, "\"split\" at white space with a number is not supported");
        for (s = eq_j_strip(s, gap, true, false); s.n && r->st == EQ_OK;) {
            int64_t end = 0;
            /* a word ends where the rest, stripped, is shorter */
            while (end < s.n) {
                eq_jv rest = eq_j_str(s.u.s + end, s.n - end);
                bool inside = ((uint8_t)*rest.u.s & 0xc0) == 0x80;
                if (!inside && eq_j_strip(rest, gap, true, false).n < rest.n) break;
                end++;
            }
            eq_jrun_put(r, list, eq_j_str(s.u.s, end));
            s = eq_j_strip(eq_j_str(s.u.s + end, s.n - end), gap, true, false);
        }
        return list;
    }
    if (gap.type != EQ_J_STR || !gap.n)
        return eq_jrun_fail(r, "\"split\" at %s", eq_j_type_name(gap));
    for (int64_t at; r->st == EQ_OK && n < max && (at = eq_j_find(s, gap, done)) >= 0; n++) {
        eq_jrun_put(r, list, eq_j_str(s.u.s + done, at - done));
        done = at + gap.n;
    }
    eq_jrun_put(r, list, eq_j_str(s.u.s + done, s.n - done));
    return list;
}

static eq_jv replace(eq_jrun *r, eq_jv s, eq_jv old, eq_jv new_, eq_jv most) {
    eq_str out = {0};
    int64_t max = most.type == EQ_J_INT && most.u.i >= 0 ? most.u.i : INT64_MAX, done = 0;
    if (old.type != EQ_J_STR || !old.n || new_.type != EQ_J_STR)
        return eq_jrun_fail(r, "\"replace\" of %s by %s is not supported", eq_j_type_name(old),
                            eq_j_type_name(new_));
    for (int64_t at; max > 0 && (at = eq_j_find(s, old, done)) >= 0; max--) {
        eq_str_put(&out, s.u.s + done, at - done);
        eq_str_put(&out, new_.u.s, new_.n);
        done = at + old.n;
    }
    eq_str_put(&out, s.u.s + done, s.n - done);
    return eq_jtext_keep(r, &out);
}

static eq_jv string_method(eq_jrun *r, eq_jv name, eq_jv s, const eq_jargs *a) {
    eq_jv x = eq_jrun_arg(a, 0, "sep"), y = eq_jrun_arg(a, 1, "maxsplit");
    if (eq_j_is(name, "strip")) return eq_j_strip(s, x, true, true);
    if (eq_j_is(name, "lstrip")) return eq_j_strip(s, x, true, false);
    if (eq_j_is(name, "rstrip")) return eq_j_strip(s, x, false, true);
    if (eq_j_is(name, "startswith") && a->n == 1) return has_end(r, s, x, true);
    if (eq_j_is(name, "endswith") && a->n == 1) return has_end(r, s, x, false);
    if (eq_j_is(name, "split")) return split(r, s, x, y);
    if (eq_j_is(name, "replace")) return replace(r, s, x, y, eq_jrun_arg(a, 2, "count"));
    if (eq_j_is(name, "upper") && !a->n) return cased(r, s, AS_UPPER);
    if (eq_j_is(name, "lower") && !a->n) return cased(r, s, AS_LOWER);
    if (eq_j_is(name, "capitalize") && !a->n) return cased(r, s, AS_CAPITALIZED);
    if (eq_j_is(name, "title") && !a->n) return cased(r, s, AS_TITLE);
    if (eq_j_is(name, "find") && a->n == 1 && x.type == EQ_J_STR) {
        int64_t at = eq_j_find(s, x, 0);
        return eq_j_int(at < 0 ? -1 : eq_j_chars(eq_j_str(s.u.s, at)));
    }
    return eq_jrun_fail(r, "the method \"%.*s\" of a string is not supported",
                        (int)(name.n > 40 ? 40 : name.n), name.u.s);
}

static eq_jv dict_method(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *a) {
    const eq_jdict *d = v.u.dict;
    if (eq_j_is(name, "get") && !d->space && a->n) {
        const eq_jv *found = eq_jdict_get(d, a->v[0]);
        return found ? *found : a->n > 1 ? a->v[1] : eq_j_none();
    }
    bool keys = eq_j_is(name, "keys"), values = eq_j_is(name, "values");
    if (d->space || !(keys || values || eq_j_is(name, "items")))
        return eq_jrun_fail(r, "the method \"%.*s\" of a mapping is not supported",
                            (int)(name.n > 40 ? 40 : name.n), name.u.s);
    eq_jv list = eq_jrun_list(r);
    for (int64_t i = 0; i < d->n && r->st == EQ_OK; i++) {
        eq_jv one = keys ? d->key[i] : d->value[i];
        if (!keys && !values) {
            one = eq_jrun_list(r);
            eq_jrun_put(r, one, d->key[i]);
            eq_jrun_put(r, one, d->value[i]);
        }
        eq_jrun_put(r, list, one);
    }
    return list;
}

eq_jv eq_jrun_method(eq_jrun *r, eq_jv name, eq_jv v, const eq_jargs *args) {
    if (r->st != EQ_OK) return v;
    if (v.type == EQ_J_STR) return string_method(r, name, v, args);
    if (v.type == EQ_J_DICT) return dict_method(r, name, v, args);
    return eq_jrun_fail(r, "the method \"%.*s\" of %s is not supported",
                        (int)(name.n > 40 ? 40 : name.n), name.u.s, eq_j_type_name(v));
}

bool eq_jrun_has_method(eq_jv v, eq_jv name) {
    static const char *const of_string[] = {
        "strip", "lstrip",     "rstrip", "startswith", "endswith", "split", "replace", "upper",
        "lower", "capitalize", "title",  "find",       "format",   "join",  "count",   NULL};
    static const char *const of_dict[] = {"get", "keys",   "values", "items",
                                          "pop", "update", "copy",   NULL};
    const char *const *names = v.type == EQ_J_STR ? of_string : of_dict;
    if (v.type != EQ_J_STR && (v.type != EQ_J_DICT || v.u.dict->space)) return false;
    for (int i = 0; names[i]; i++)
        if (eq_j_is(name, names[i])) return true;
    return false;
}

/* ---- functions ------------------------------------------------------------------------------- */

static eq_jv refuse(eq_jrun *r, const eq_jargs *a) {
    eq_jv m = a->n ? a->v[0] : eq_j_none();
    if (m.type != EQ_J_STR) m = eq_j_cstr("no reason given");
    return eq_jrun_fail(r, "the template refuses these messages: %.*s",
                        (int)(m.n > 200 ? 200 : m.n), m.u.s);
}

static eq_jv range(eq_jrun *r, const eq_jargs *a) {
    enum { MOST = 100000 }; /* Jinja's own limit */
    int64_t v[3] = {0, 0, 1};
    for (int i = 0; i < a->n; i++) {
        if (i > 2 || a->v[i].type != EQ_J_INT)
            return eq_jrun_fail(r, "\"range\" of what is no integer");
        v[i] = a->v[i].u.i;
    }
    if (a->n == 1) v[1] = v[0], v[0] = 0;
    if (!a->n || !v[2]) return eq_jrun_fail(r, "\"range\" without an end, or with a step of 0");
    eq_jv list = eq_jrun_list(r);
    for (int64_t i = v[0]; r->st == EQ_OK && (v[2] > 0 ? i < v[1] : i > v[1]);) {
        if (list.u.list->n == MOST) return eq_jrun_fail(r, "\"range\" of more than %d", MOST);
        eq_jrun_put(r, list, eq_j_int(i));
        if (__builtin_add_overflow(i, v[2], &i)) break;
    }
    return list;
}

/* namespace(...) and dict(...): named arguments, in front of them a mapping. */
static eq_jv mapping(eq_jrun *r, const eq_jargs *a, bool space) {
    eq_jv d = eq_jrun_dict(r);
    for (int i = 0; i < a->n && r->st == EQ_OK; i++) {
        eq_jv v = a->v[i];
        if (a->name[i].type == EQ_J_STR)
            eq_jrun_put_key(r, d, a->name[i], v);
        else if (v.type == EQ_J_DICT && !v.u.dict->space)
            for (int64_t k = 0; k < v.u.dict->n; k++)
                eq_jrun_put_key(r, d, v.u.dict->key[k], v.u.dict->value[k]);
        else
            return eq_jrun_fail(r, "a mapping is made of named arguments");
    }
    if (r->st == EQ_OK) d.u.dict->space = space;
    return d;
}

/* The day is the one that stands in Llama 3's template, whatever day it is: a run can be repeated.
 */
static eq_jv day(eq_jrun *r, const eq_jargs *a) {
    static const struct {
        const char *format, *is;
    } parts[] = {{"%-d", "26"},  {"%d", "26"},   {"%-m", "7"}, {"%m", "07"},     {"%b", "Jul"},
                 {"%B", "July"}, {"%Y", "2024"}, {"%y", "24"}, {"%A", "Friday"}, {"%a", "Fri"},
                 {"%H", "00"},   {"%M", "00"},   {"%S", "00"}};
    eq_str out = {0};
    eq_jv f = a->n == 1 ? a->v[0] : eq_j_none();
    size_t k = 0, n = sizeof parts / sizeof *parts;
    if (f.type != EQ_J_STR) return eq_jrun_fail(r, "\"strftime_now\" takes one string");
    for (int64_t i = 0; i < f.n && k < n; i++) {
        if (f.u.s[i] != '%') {
            eq_str_put(&out, f.u.s + i, 1);
            continue;
        }
        for (k = 0; k < n; k++) {
            int64_t len = (int64_t)strlen(parts[k].format);
            if (i + len > f.n || memcmp(f.u.s + i, parts[k].format, (size_t)len)) continue;
            eq_str_puts(&out, parts[k].is);
            i += len - 1;
            break;
        }
    }
    if (k < n) return eq_jtext_keep(r, &out);
    eq_str_free(&out);
    return eq_jrun_fail(r, "this format of \"strftime_now\" is not supported");
}

bool eq_jrun_has_function(eq_jv name) {
    return eq_j_is(name, "raise_exception") || eq_j_is(name, "range") ||
           eq_j_is(name, "namespace") || eq_j_is(name, "dict") || eq_j_is(name, "strftime_now");
}

eq_jv eq_jrun_function(eq_jrun *r, eq_jv name, const eq_jargs *args) {
    if (eq_j_is(name, "raise_exception")) return refuse(r, args);
    if (eq_j_is(name, "range")) return range(r, args);
    if (eq_j_is(name, "strftime_now")) return day(r, args);
    return mapping(r, args, eq_j_is(name, "namespace"));
}
