/* Classes of characters. Oniguruma's may hold classes and be intersections, PCRE2's may not. A
 * class among the members of one joins them where it is not negated; what is left becomes
 * alternatives, and lookaheads for all but the last part of an intersection. Invariant: whatever a
 * class becomes matches exactly one character. */
#include <string.h>

#include "base/mem.h"
#include "text/pattern_trans.h"
#include "text/utf8.h"

/* A class, or one part of an intersection. */
typedef struct {
    eq_str members; /* as between brackets */
    eq_str more;    /* alternatives besides, each with a | in front */
    bool negative;
} set;

static void set_free(set *s) {
    eq_str_free(&s->members);
    eq_str_free(&s->more);
}

static eq_status no_room(eq_trans *t, const eq_str *s) {
    return s->oom ? eq_nomem(t->err, "a regex", s->n) : EQ_OK;
}

static bool ascii_alnum(uint32_t c) {
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 0x80);
}

/* One member: a single character (*cp), or a set that is written out (*cp = UINT32_MAX). */
static eq_status member(eq_trans *t, uint32_t *cp) {
    if (*t->p != '\\') {
        t->p += eq_utf8_get(t->p, cp);
        return EQ_OK;
    }
    char c = t->p[1];
    if (!c) return eq_trans_refuse(t, "an unfinished escape");
    t->p += 2;
    EQ_TRY(eq_trans_code(t, c, cp));
    if (*cp != UINT32_MAX) return EQ_OK;
    /* Folding widens a class by what folds to its members: iota by U+0345, "ss" by U+00DF. */
    if (t->at->fold && strchr("SDwpP", c))
        return eq_trans_refuse(t, "this set in a class under (?i)");
    if (c == 'b') return *cp = 8, EQ_OK;
    if (c == 'p' || c == 'P') return eq_trans_property(t, c == 'P');
    const char *named = eq_trans_set_in_class(t, c);
    if (named) return eq_str_puts(t->out, named), EQ_OK;
    if ((uint8_t)c >= 0x80 || ascii_alnum((uint32_t)c))
        return eq_trans_refuse(t, "this escape in a class");
    *cp = (uint32_t)c;
    return EQ_OK;
}

/* A character, a range, or a set, to t->out. */
static eq_status member_or_range(eq_trans *t) {
    uint32_t lo = 0, hi;
    EQ_TRY(member(t, &lo));
    if (lo == UINT32_MAX)
        return t->p[0] == '-' && t->p[1] != ']'
                   ? eq_trans_refuse(t, "a range that begins with a set")
                   : EQ_OK;
    hi = lo;
    eq_trans_literal(t, lo);
    if (t->p[0] == '-' && t->p[1] && t->p[1] != ']' && !eq_starts_with(t->p + 1, "&&")) {
        t->p++;
        eq_str_puts(t->out, "-");
        if (*t->p == '[') return eq_trans_refuse(t, "a range that ends with a class");
        EQ_TRY(member(t, &hi));
        if (hi == UINT32_MAX) return eq_trans_refuse(t, "a range that ends with a set");
        eq_trans_literal(t, hi);
    }
    return eq_trans_range(t, lo, hi);
}

/* Appends what one character of the set matches. */
static void put_set(eq_str *out, const set *s) {
    if (!s->more.n) {
        eq_str_printf(out, "[%s%s]", s->negative ? "^" : "", s->members.p);
        return;
    }
    if (s->negative) eq_str_puts(out, "(?:(?!");
    if (s->members.n)
        eq_str_printf(out, "(?:[%s]%s)", s->members.p, s->more.p);
    else
        eq_str_printf(out, "(?:%s)", s->more.p + 1);
    if (s->negative) eq_str_puts(out, ")(?s:.))");
}

static eq_status class_(eq_trans *t, set *s);

/* A class among the members of `s`. */
static eq_status inner(eq_trans *t, set *s) {
    set in = {0};
    if (t->at == t->level + EQ_TRANS_DEPTH) return eq_trans_refuse(t, "nesting this deep");
    t->at[1] = *t->at, t->at++;
    eq_status st = class_(t, &in);
    t->at--;
    if (st == EQ_OK && !in.negative && !in.more.n)
        eq_str_put(&s->members, in.members.p, in.members.n);
    else if (st == EQ_OK) {
        eq_str_puts(&s->more, "|");
        put_set(&s->more, &in);
    }
    set_free(&in);
    return st;
}

/* Members up to "&&" or "]". */
static eq_status part(eq_trans *t, set *s) {
    eq_str *out = t->out;
    eq_status st = EQ_OK;
    eq_str_puts(&s->members, "");
    t->out = &s->members;
    while (t->p < t->end && *t->p != ']' && !eq_starts_with(t->p, "&&") && st == EQ_OK)
        st = *t->p == '[' ? inner(t, s) : member_or_range(t);
    t->out = out;
    if (st == EQ_OK) st = no_room(t, &s->members);
    if (st == EQ_OK) st = no_room(t, &s->more);
    if (st == EQ_OK && !s->members.n && !s->more.n)
        st = eq_trans_refuse(t, "an empty part of a class");
    return st;
}

/* Behind "&&": s becomes the intersection of itself and what follows. */
static eq_status intersect(eq_trans *t, set *s) {
    set next = {0};
    eq_str both = {0};
    bool negative = s->negative;
    s->negative = false;
    eq_status st = part(t, &next);
    if (st == EQ_OK) {
        eq_str_puts(&both, "|(?:(?=");
        put_set(&both, s);
        eq_str_puts(&both, ")");
        put_set(&both, &next);
        eq_str_puts(&both, ")");
        eq_str_free(&s->more);
        s->more = both, s->members.n = 0, s->negative = negative;
        st = no_room(t, &both);
    }
    set_free(&next);
    return st;
}

/* t->p at "[", then behind "]". */
static eq_status class_(eq_trans *t, set *s) {
    t->p++;
    if (*t->p == '^') s->negative = true, t->p++;
    if (*t->p == ']') return eq_trans_refuse(t, "a class that begins with ]");
    if (eq_starts_with(t->p, ":")) {
        const char *close = strstr(t->p, ":]");
        if (close) return eq_trans_refuse(t, "a class by its POSIX name");
    }
    EQ_TRY(part(t, s));
    while (eq_starts_with(t->p, "&&")) {
        t->p += 2;
        EQ_TRY(intersect(t, s));
    }
    if (t->p >= t->end) return eq_trans_refuse(t, "a class without ]");
    t->p++;
    return EQ_OK;
}

eq_status eq_trans_class(eq_trans *t) {
    set s = {0};
    eq_status st = class_(t, &s);
    if (st == EQ_OK) put_set(t->out, &s);
    set_free(&s);
    return st;
}
