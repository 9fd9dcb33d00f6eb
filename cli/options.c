/* Parsing of command lines by table; see options.h. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/nearest.h"

/* ---- values ---------------------------------------------------------------------------------- */

static bool read_i64(const char *text, int64_t *out) {
    const char *digits = text + (*text == '-');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

static bool read_u64(const char *text, uint64_t *out) {
    if (!*text || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0;
}

/* strtod also knows "inf", "nan" and hexadecimal, which no setting means. */
static bool read_num(const char *text, double *out) {
    char *end;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

/* 6, 6k, 6M, 6g, 6GB, 6GiB: powers of 1024. */
static bool read_bytes(const char *text, double *out) {
    static const char units[] = "bkmgt";
    char number[32], unit[4] = "";
    size_t n = strspn(text, "0123456789.");
    if (!n || n >= sizeof number || strlen(text + n) >= sizeof unit) return false;
    memcpy(number, text, n);
    number[n] = 0;
    for (size_t i = 0; text[n + i]; i++) unit[i] = (char)(text[n + i] | 0x20); /* lower case */
    const char *u = strchr(units, unit[0] ? unit[0] : 'b');
    const char *rest = unit[0] ? unit + 1 : unit;
    if (!u || !read_num(number, out)) return false;
    if (*rest && (*u == 'b' || (strcmp(rest, "b") != 0 && strcmp(rest, "ib") != 0))) return false;
    *out *= ldexp(1, 10 * (int)(u - units));
    return true;
}

/* Index of the n-byte word in "a|b|c" (or "a,b,c"), -1: not there. */
static int word_index(const char *list, const char *word, size_t n) {
    for (int i = 0; *list; i++) {
        size_t m = strcspn(list, "|,");
        if (m == n && !memcmp(list, word, n)) return i;
        list += m + (list[m] != 0);
    }
    return -1;
}

static bool read_set(const char *list, const char *text, unsigned *out) {
    *out = 0;
    for (;;) {
        size_t n = strcspn(text, ",");
        int i = word_index(list, text, n);
        if (i < 0) return false;
        *out |= 1u << i;
        if (!text[n]) return true;
        text += n + 1;
    }
}

/* ---- storing --------------------------------------------------------------------------------- */

static eq_status wrong(const opt *o, const char *expected, const char *found, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "--%s: expected %s, found \"%s\"", o->name, expected, found);
}

/* One of the words of `arg` was expected. */
static eq_status wrong_word(const opt *o, const char *found, eq_err *err) {
    enum { MAX = 16, SIZE = 24 };
    char word[MAX][SIZE];
    const char *words[MAX + 1] = {NULL}, *at = o->arg;
    for (int i = 0; i < MAX && *at; i++) {
        size_t n = strcspn(at, "|");
        snprintf(word[i], SIZE, "%.*s", (int)n, at);
        words[i] = word[i];
        at += n + (at[n] != 0);
    }
    const char *near = eq_nearest(found, words);
    if (!near) return wrong(o, o->arg, found, err);
    return eq_fail(err, EQ_EINPUT, "--%s: expected %s, found \"%s\"; did you mean %s?", o->name,
                   o->arg, found, near);
}

static eq_status out_of_range(const opt *o, const char *what, const char *found, eq_err *err) {
    if (o->hi >= 1e15)
        return eq_fail(err, EQ_EINPUT, "--%s: expected %s of at least %.15g, found \"%s\"", o->name,
                       what, o->lo, found);
    return eq_fail(err, EQ_EINPUT, "--%s: expected %s from %.15g to %.15g, found \"%s\"", o->name,
                   what, o->lo, o->hi, found);
}

static eq_status store_number(const opt *o, void *at, const char *text, eq_err *err) {
    double num = 0;
    int64_t i = 0;
    bool whole = o->kind == OPT_INT || o->kind == OPT_I64;
    const char *what = whole                  ? "a whole number"
                       : o->kind == OPT_BYTES ? "a size (512M, 6G, 6GiB)"
                                              : "a number";
    bool ok = whole                  ? read_i64(text, &i)
              : o->kind == OPT_BYTES ? read_bytes(text, &num)
                                     : read_num(text, &num);
    if (whole) num = (double)i;
    if (!ok || num < o->lo || num > o->hi) return out_of_range(o, what, text, err);
    if (o->kind == OPT_INT)
        *(int *)at = (int)i;
    else if (o->kind == OPT_I64)
        *(int64_t *)at = i;
    else if (o->kind == OPT_BYTES)
        *(int64_t *)at = (int64_t)num;
    else
        *(double *)at = num;
    return EQ_OK;
}

static eq_status add_line(char **list, const char *text, eq_err *err) {
    char *more = *list ? eq_sprintf("%s\n%s", *list, text) : eq_strdup(text);
    if (!more) return eq_nomem(err, "a command line", 256);
    eq_free(*list);
    *list = more;
    return EQ_OK;
}

void opt_free(const opt *table, void *args) {
    for (const opt *o = table; o->kind != OPT_END; o++) {
        if (o->kind != OPT_LIST && o->kind != OPT_REST) continue;
        char **list = (char **)((char *)args + o->at);
        eq_free(*list);
        *list = NULL;
    }
}

static eq_status store(const opt *o, void *args, const char *text, eq_err *err) {
    void *at = (char *)args + o->at;
    int index = -1;
    int64_t number;
    const char *expected;
    bool number_list = o->kind == OPT_ONE_OF;
    if (o->kind == OPT_WORD || o->kind == OPT_ENUM || o->kind == OPT_BASE || number_list) {
        if ((index = word_index(o->arg, text, strlen(text))) < 0)
            return number_list ? wrong(o, o->arg, text, err) : wrong_word(o, text, err);
    }
    switch (o->kind) {
    case OPT_INT:
    case OPT_I64:
    case OPT_NUM:
    case OPT_BYTES:
        return store_number(o, at, text, err);
    case OPT_U64:
        return read_u64(text, at) ? EQ_OK : wrong(o, "a whole number", text, err);
    case OPT_ENUM:
        memcpy(at, &index, sizeof index);
        return EQ_OK;
    case OPT_ONE_OF:
        if (!read_i64(text, &number)) return wrong(o, o->arg, text, err);
        *(int64_t *)at = number;
        return EQ_OK;
    case OPT_SET:
        if (read_set(o->arg, text, at)) return EQ_OK;
        return eq_fail(err, EQ_EINPUT, "--%s: expected some of %s, found \"%s\"", o->name, o->arg,
                       text);
    case OPT_LIST:
        return add_line(at, text, err);
    case OPT_CALL:
    case OPT_BASE:
        expected = o->apply(args, text);
        return expected ? wrong(o, expected, text, err) : EQ_OK;
    default:
        *(const char **)at = text;
        return EQ_OK;
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

static const opt *find_long(const opt *table, const char *name, size_t n) {
    for (const opt *o = table; o->kind != OPT_END; o++) {
        if (o->kind <= OPT_POSITIONAL) continue;
        if (strlen(o->name) == n && !memcmp(o->name, name, n)) return o;
        if (o->alias && strlen(o->alias) == n && !memcmp(o->alias, name, n)) return o;
    }
    return NULL;
}

eq_status opt_store(const opt *table, void *args, const char *name, const char *value,
                    eq_err *err) {
    const opt *o = find_long(table, name, strlen(name));
    return o ? store(o, args, value, err) : eq_fail(err, EQ_EINPUT, "unknown option --%s", name);
}

static const opt *find_letter(const opt *table, char letter) {
    for (const opt *o = table; o->kind != OPT_END; o++)
        if (letter && o->letter == letter) return o;
    return NULL;
}

static const opt *find_positional(const opt *table, int index) {
    for (const opt *o = table; o->kind != OPT_END; o++) {
        if (o->kind == OPT_REST) return o;
        if (o->kind == OPT_POSITIONAL && index-- == 0) return o;
    }
    return NULL;
}

static eq_status unknown(const opt *table, const char *name, size_t n, eq_err *err) {
    enum { MAX = 128 };
    const char *names[MAX + 1];
    char word[64];
    int count = 0;
    for (const opt *o = table; o->kind != OPT_END && count + 1 < MAX; o++) {
        if (o->kind <= OPT_POSITIONAL) continue;
        names[count++] = o->name;
        if (o->alias) names[count++] = o->alias;
    }
    names[count] = NULL;
    if (n >= sizeof word) n = sizeof word - 1;
    memcpy(word, name, n);
    word[n] = 0;
    const char *near = eq_nearest(word, names);
    if (near) return eq_fail(err, EQ_EINPUT, "unknown option --%s; did you mean --%s?", word, near);
    return eq_fail(err, EQ_EINPUT, "unknown option --%s", word);
}

/* ---- the command line ------------------------------------------------------------------------ */

/* "-1" and "-" are values, "--data" behind "--out" is a forgotten one. */
static bool looks_like_option(const char *s) {
    return s[0] == '-' && s[1] && !(s[1] >= '0' && s[1] <= '9') && s[1] != '.';
}

typedef struct {
    const opt *table;
    void *args;
    cli_given *given;
    int argc, i; /* i: the argument under way */
    char **argv;
    bool base; /* only OPT_BASE rows are stored, else only the others */
} line;

static eq_status take(line *l, const opt *o, const char *inline_value, eq_err *err) {
    bool now = (o->kind == OPT_BASE) == l->base;
    l->given->bit[(o - l->table) / 64] |= (uint64_t)1 << (o - l->table) % 64;
    if (o->kind == OPT_FLAG || o->kind == OPT_UNSET) {
        if (inline_value)
            return eq_fail(err, EQ_EINPUT, "--%s takes no value, found \"%s\"", o->name,
                           inline_value);
        if (now) *(bool *)((char *)l->args + o->at) = o->kind == OPT_FLAG;
        return EQ_OK;
    }
    const char *value = inline_value;
    if (!value) {
        if (l->i + 1 >= l->argc || looks_like_option(l->argv[l->i + 1]))
            return eq_fail(err, EQ_EINPUT, "--%s needs a value (%s)", o->name, o->arg);
        value = l->argv[++l->i];
    }
    return now ? store(o, l->args, value, err) : EQ_OK;
}

/* -qv is -q -v; -oDIR is -o DIR. */
static eq_status take_letters(line *l, eq_err *err) {
    const char *whole = l->argv[l->i];
    for (const char *a = whole + 1; *a; a++) {
        const opt *o = find_letter(l->table, *a);
        if (!o && !whole[2]) return eq_fail(err, EQ_EINPUT, "unknown option %s", whole);
        if (!o) return eq_fail(err, EQ_EINPUT, "unknown option -%c in %s", *a, whole);
        bool flag = o->kind == OPT_FLAG || o->kind == OPT_UNSET;
        EQ_TRY(take(l, o, flag || !a[1] ? NULL : a + 1, err));
        if (!flag) break;
    }
    return EQ_OK;
}

/* ---- options that change nothing ------------------------------------------------------------- */

static bool in_list(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return true;
    return false;
}

static bool is_given(const opt *table, const opt *o, const cli_given *given) {
    return given->bit[(o - table) / 64] >> (o - table) % 64 & 1;
}

eq_status opt_check(const opt *table, const opt_rule *rules, const void *args,
                    const cli_given *given, eq_err *err) {
    for (const opt_rule *r = rules; r && r->names; r++) {
        if (!r->when(args)) continue;
        for (const opt *o = table; o->kind != OPT_END; o++)
            if (o->kind > OPT_POSITIONAL && is_given(table, o, given) && in_list(r->names, o->name))
                return eq_fail(err, EQ_EINPUT, "--%s has no effect %s", o->name, r->why);
    }
    return EQ_OK;
}

static eq_status take_argument(line *l, const char *a, int *positional, eq_err *err) {
    const opt *o = find_positional(l->table, (*positional)++);
    if (!o) return eq_fail(err, EQ_EINPUT, "unexpected argument \"%s\"", a);
    if (l->base) return EQ_OK;
    if (o->kind == OPT_REST) return add_line((char **)((char *)l->args + o->at), a, err);
    *(const char **)((char *)l->args + o->at) = a;
    return EQ_OK;
}

static eq_status parse(line *l, eq_err *err) {
    int positional = 0;
    bool options = true;
    for (l->i = 0; l->i < l->argc; l->i++) {
        const char *a = l->argv[l->i];
        if (options && !strcmp(a, "--")) {
            options = false;
        } else if (options && a[0] == '-' && a[1] == '-') {
            size_t n = strcspn(a + 2, "=");
            const opt *o = find_long(l->table, a + 2, n);
            if (!o) return unknown(l->table, a + 2, n, err);
            EQ_TRY(take(l, o, a[2 + n] ? a + 3 + n : NULL, err));
        } else if (options && a[0] == '-' && a[1]) {
            EQ_TRY(take_letters(l, err));
        } else {
            EQ_TRY(take_argument(l, a, &positional, err));
        }
    }
    return EQ_OK;
}

eq_status opt_parse(const opt *table, void *args, cli_given *given, int argc, char **argv,
                    eq_err *err) {
    line l = {.table = table, .args = args, .given = given, .argc = argc, .argv = argv};
    l.base = true;
    EQ_TRY(parse(&l, err));
    l.base = false;
    return parse(&l, err);
}
