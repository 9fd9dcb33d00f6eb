/* Template text to tokens. White space around tags follows Jinja with trim_blocks (the newline
 * behind a block or comment is dropped), lstrip_blocks (so is the indentation before one), and the
 * signs - and + in tags, which strip or keep. */
#include "text/jinja/jinja_lex.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

typedef struct {
    eq_jtoks *out;
    eq_jarena *a;
    const char *s; /* the text with \n alone */
    int64_t n, at;
    int line;
    int64_t counted;    /* bytes whose newlines are in `line` */
    bool line_starting; /* what was read last ended in a newline */
    int depth;          /* open brackets within the tag */
    const char *where;
    eq_err *err;
} lexer;

static eq_status fail(lexer *l, const char *what) {
    return eq_fail(l->err, EQ_EINPUT, "%s: line %d: %s", l->where, l->line, what);
}

eq_status eq_jinja_no_room(const eq_jarena *a, const char *where, eq_err *err) {
    if (!a->limit) return eq_nomem(err, "a chat template", a->total);
    return eq_fail(err, EQ_EINPUT, "%s: the template makes more or deeper values than any needs",
                   where);
}

static eq_status put(lexer *l, eq_jtok t) {
    for (; l->counted < l->at; l->counted++) l->line += l->s[l->counted] == '\n';
    t.line = l->line;
    if (l->out->n == l->out->cap) {
        int64_t cap = l->out->cap * 2 + 64;
        eq_jtok *p = eq_realloc(l->out->p, cap, sizeof *p);
        if (!p) return eq_nomem(l->err, "a chat template", cap * (int64_t)sizeof *p);
        l->out->p = p, l->out->cap = cap;
    }
    l->out->p[l->out->n++] = t;
    return EQ_OK;
}

/* One kind of newline; one at the very end is dropped. */
static eq_status take_text(lexer *l, const char *text, int64_t n) {
    char *s = eq_jarena_take(l->a, n + 1);
    if (!s) return eq_jinja_no_room(l->a, l->where, l->err);
    for (int64_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n') continue;
        s[l->n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (l->n && s[l->n - 1] == '\n') l->n--;
    s[l->n] = 0;
    l->s = s;
    return EQ_OK;
}

static const char *strip_right(const char *from, const char *to) {
    return from + eq_j_strip(eq_j_str(from, to - from), eq_j_none(), false, true).n;
}

static bool blank(const char *from, const char *to) { return strip_right(from, to) == from; }

/* Text up to a tag that begins at `tag` with this sign. */
static eq_status text_before(lexer *l, int64_t tag, char sign, bool print) {
    const char *from = l->s + l->at, *to = l->s + tag, *row = to;
    if (sign == '-')
        to = strip_right(from, to);
    else if (sign != '+' && !print) {
        while (row > from && row[-1] != '\n') row--;
        if ((row > from || l->line_starting) && blank(row, to)) to = row;
    }
    if (to == from) return EQ_OK;
    return put(l, (eq_jtok){.kind = EQ_JT_TEXT, .s = from, .n = to - from});
}

/* Steps over white space behind "-%}". */
static void skip_space(lexer *l) {
    eq_jv rest = eq_j_str(l->s + l->at, l->n - l->at);
    l->at += rest.n - eq_j_strip(rest, eq_j_none(), true, false).n;
}

/* The end of a tag is at `end` (its two characters); sign: the character in front of them. */
static void close_tag(lexer *l, int64_t end, char sign, bool print) {
    l->at = end + 2;
    if (sign == '-')
        skip_space(l);
    else if (sign != '+' && !print && l->at < l->n && l->s[l->at] == '\n')
        l->at++;
    l->line_starting = l->s[l->at - 1] == '\n';
}

static eq_status comment(lexer *l) {
    const char *end = strstr(l->s + l->at, "#}");
    if (!end) return fail(l, "a comment without its end");
    int64_t at = end - l->s;
    close_tag(l, at, at > l->at ? l->s[at - 1] : 0, false);
    return EQ_OK;
}

/* ---- inside of a tag ------------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

/* \x41 \u0041 \U00000041: `digits` of them at l->at. */
static eq_status hex_escape(lexer *l, int digits, uint32_t *cp) {
    *cp = 0;
    for (int i = 0; i < digits; i++, l->at++) {
        char c = l->s[l->at];
        int d = is_digit(c)                          ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0) return fail(l, "a malformed escape in a string");
        *cp = *cp << 4 | (uint32_t)d;
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
        return fail(l, "an escape in a string that is no character");
    return EQ_OK;
}

/* Behind the backslash. What Python does not know keeps its backslash. */
static eq_status escape(lexer *l, char *out, int64_t *n) {
    static const char names[] = "nrtabfv\\'\"", values[] = "\n\r\t\a\b\f\v\\'\"";
    char c = l->s[l->at++];
    const char *named = c ? strchr(names, c) : NULL;
    uint32_t cp;
    if (named) return out[(*n)++] = values[named - names], EQ_OK;
    if (c == '\n') return EQ_OK;
    if (c == 'N' || is_digit(c)) return fail(l, "this escape in a string is not supported");
    if (c == 'x' || c == 'u' || c == 'U') {
        EQ_TRY(hex_escape(l, c == 'x' ? 2 : c == 'u' ? 4 : 8, &cp));
        *n += eq_utf8_put(cp, out + *n);
        return EQ_OK;
    }
    out[(*n)++] = '\\';
    l->at--;
    return EQ_OK;
}

static eq_status string(lexer *l) {
    char quote = l->s[l->at++];
    int64_t end = l->at, n = 0;
    while (end < l->n && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->n) return fail(l, "a string without its end");
    /* an escape is never shorter than what it stands for */
    char *out = eq_jarena_take(l->a, end - l->at + 1);
    if (!out) return eq_jinja_no_room(l->a, l->where, l->err);
    while (l->at < end) {
        char c = l->s[l->at++];
        if (c != '\\')
            out[n++] = c;
        else
            EQ_TRY(escape(l, out, &n));
    }
    l->at = end + 1;
    return put(l, (eq_jtok){.kind = EQ_JT_STRING, .s = out, .n = n});
}

static eq_status number(lexer *l) {
    const eq_jtok *last = l->out->p + l->out->n - 1;
    bool member = last->kind == EQ_JT_OP && last->n == 1 && *last->s == '.';
    char digits[40];
    int64_t n = 0, from = l->at;
    bool real = false;
    while (is_digit(l->s[l->at])) l->at++;
    if (!member && l->s[l->at] == '.' && is_digit(l->s[l->at + 1])) {
        real = true;
        for (l->at++; is_digit(l->s[l->at]);) l->at++;
    }
    const char *e = l->s + l->at;
    if (!member && *e == 'e' && is_digit(e[1 + (e[1] == '+' || e[1] == '-')])) {
        real = true;
        for (l->at += 2; is_digit(l->s[l->at]);) l->at++;
    }
    if (is_name(l->s[l->at]) || l->at - from >= 19 + 20 * real)
        return fail(l, "this way to write a number is not supported");
    for (n = 0; n < l->at - from; n++) digits[n] = l->s[from + n];
    digits[n] = 0;
    if (n > 1 && !real && digits[0] == '0') return fail(l, "a number with a leading 0");
    if (real) return put(l, (eq_jtok){.kind = EQ_JT_FLOAT, .f = strtod(digits, NULL)});
    return put(l, (eq_jtok){.kind = EQ_JT_INT, .i = strtoll(digits, NULL, 10)});
}

static eq_status operator_(lexer *l) {
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    const char *s = l->s + l->at;
    int64_t n = 1;
    for (int i = 0; i < 6; i++)
        if (eq_starts_with(s, two[i])) n = 2;
    if (!*s || !strchr("+-*/%~[](){}<>=.:|,;!", *s) || (n == 1 && *s == '!'))
        return fail(l, "a character that is no part of an expression");
    if (n == 1 && strchr("([{", *s)) l->depth++;
    if (n == 1 && strchr(")]}", *s) && l->depth-- == 0) return fail(l, "an unmatched bracket");
    l->at += n;
    return put(l, (eq_jtok){.kind = EQ_JT_OP, .s = s, .n = n});
}

static eq_status tag(lexer *l, bool print) {
    const char *close = print ? "}}" : "%}";
    l->depth = 0;
    for (;;) {
        while (l->at < l->n && strchr(" \t\n\r\f\v", l->s[l->at])) l->at++;
        if (l->at >= l->n) return fail(l, "a tag without its end");
        const char *s = l->s + l->at;
        bool sign = *s == '-' || (*s == '+' && !print);
        if (!l->depth && eq_starts_with(s + sign, close)) {
            EQ_TRY(put(l, (eq_jtok){.kind = print ? EQ_JT_PRINT_END : EQ_JT_BLOCK_END}));
            close_tag(l, l->at + sign, sign ? *s : 0, print);
            return EQ_OK;
        }
        if (is_digit(*s))
            EQ_TRY(number(l));
        else if (is_name(*s)) {
            int64_t from = l->at;
            while (is_name(l->s[l->at])) l->at++;
            EQ_TRY(put(l, (eq_jtok){.kind = EQ_JT_NAME, .s = s, .n = l->at - from}));
        } else if (*s == '"' || *s == '\'')
            EQ_TRY(string(l));
        else
            EQ_TRY(operator_(l));
    }
}

/* The next {{, {% or {#; the end of the text when there is none. */
static int64_t next_tag(const lexer *l) {
    for (int64_t i = l->at; i + 1 < l->n; i++)
        if (l->s[i] == '{' && l->s[i + 1] && strchr("{%#", l->s[i + 1])) return i;
    return l->n;
}

static eq_status lex(lexer *l) {
    l->line = 1, l->line_starting = true;
    while (l->at < l->n) {
        int64_t at = next_tag(l);
        if (at == l->n)
            return put(l, (eq_jtok){.kind = EQ_JT_TEXT, .s = l->s + l->at, .n = at - l->at});
        char kind = l->s[at + 1], sign = l->s[at + 2];
        EQ_TRY(text_before(l, at, sign, kind == '{'));
        l->at = at + 2 + (sign == '-' || sign == '+');
        if (kind == '#') {
            EQ_TRY(comment(l));
            continue;
        }
        EQ_TRY(put(l, (eq_jtok){.kind = kind == '{' ? EQ_JT_PRINT : EQ_JT_BLOCK}));
        EQ_TRY(tag(l, kind == '{'));
    }
    return EQ_OK;
}

eq_status eq_jinja_lex(eq_jtoks *toks, eq_jarena *a, const char *text, int64_t n, const char *where,
                       eq_err *err) {
    lexer l = {.out = toks, .a = a, .where = where, .err = err};
    if (memchr(text, 0, (size_t)n))
        return eq_fail(err, EQ_EINPUT, "%s: a template holds a NUL character", where);
    EQ_TRY(take_text(&l, text, n));
    EQ_TRY(lex(&l));
    return put(&l, (eq_jtok){.kind = EQ_JT_END});
}
