/* Oniguruma (Ruby syntax) to PCRE2. What differs and is translated here: \d \w \b are Unicode sets
 * of their own, ^ and $ stand at lines, \v is one character, \p{Script} means the script and not
 * its extensions, X{n,m}+ repeats X{n,m}, groups never need to capture. What differs and is
 * refused: multi-character case folding, back references, and the rest. Invariant: what comes out
 * means in PCRE2 what went in means in Oniguruma. */
#include <string.h>

#include "base/mem.h"
#include "text/pattern.h"
#include "text/pattern_trans.h"
#include "text/unicode.h"
#include "text/utf8.h"

typedef eq_trans trans;
typedef eq_trans_level level;

/* \w in a class, and \w, \W, \b alone, which count six more signs of Latin-1 (superscripts and
 * fractions) as parts of words. */
#define CLASS_WORD \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{" \
    "1f169}" \
    "\\x{1f170}-\\x{1f189}"
#define WORD CLASS_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

eq_status eq_trans_refuse(trans *t, const char *what) {
    return eq_fail(t->err, EQ_EINPUT,
                   "%s: regex \"%.200s\": %s is not supported (at character %lld)", t->where,
                   t->regex, what, (long long)(t->p - t->regex) + 1);
}

/* An atom begins here. */
static void begin_atom(trans *t, bool can_be_empty) {
    t->atom = t->out->n;
    t->atom_empty = can_be_empty;
    t->was_empty = t->at->empty;
    t->at->empty = t->at->empty && can_be_empty;
}

static void put(trans *t, const char *s) { eq_str_puts(t->out, s); }
static bool ascii_alnum(uint32_t c) {
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 0x80);
}

void eq_trans_literal(trans *t, uint32_t cp) {
    if (cp < 0x80 && (cp < 32 || cp == 127))
        eq_str_printf(t->out, "\\x{%x}", cp);
    else {
        if (cp < 0x80 && !ascii_alnum(cp)) put(t, "\\");
        eq_utf8_append(t->out, cp);
    }
}

/* Text is searched with stand-ins for young characters (pattern.c), so what a regex lists must hold
 * both a young character and its stand-in, or neither. */
static bool tells_apart(uint32_t lo, uint32_t hi) {
    for (int i = 0; i < eq_uni_newer_n; i++) {
        const eq_uni_map *m = eq_uni_newer + i;
        bool stand = lo <= (uint32_t)m->to && (uint32_t)m->to <= hi;
        bool all = lo <= m->lo && m->hi <= hi, none = hi < m->lo || lo > m->hi;
        if (stand ? !all : !none) return true;
    }
    return false;
}

eq_status eq_trans_range(trans *t, uint32_t lo, uint32_t hi) {
    if (t->at->fold && hi >= 0x80) return eq_trans_refuse(t, "a class beyond ASCII under (?i)");
    if (t->as_is || !tells_apart(lo, hi)) return EQ_OK;
    t->torn = true;
    return eq_trans_refuse(t, "a range that cuts through Unicode's newer characters");
}

/* A literal outside of a class. */
static eq_status literal(trans *t, uint32_t cp) {
    static const char *const folds[] = {"ss", "ff", "fi", "fl", "st"};
    if (!t->as_is && tells_apart(cp, cp)) {
        t->torn = true;
        return eq_trans_refuse(t, "a character younger than Unicode 14");
    }
    if (t->at->fold) {
        if (cp >= 0x80) return eq_trans_refuse(t, "a character beyond ASCII under (?i)");
        for (int i = 0; i < 5; i++)
            if ((t->last | 32) == (uint32_t)folds[i][0] && (cp | 32) == (uint32_t)folds[i][1])
                return eq_trans_refuse(t, "two letters that fold to one character under (?i)");
    }
    begin_atom(t, false);
    t->last = cp;
    eq_trans_literal(t, cp);
    return EQ_OK;
}

eq_status eq_trans_property(trans *t, bool negative) {
    static const char *const categories = " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe "
                                          "Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc "
                                          "Cf Co Cn ";
    static const char *const scripts = " Han Hiragana Katakana Hangul Latin Greek Hebrew Thai ";
    static const char *const longs[][2] = {{"Letter", "L"},
                                           {"Mark", "M"},
                                           {"Number", "N"},
                                           {"Punctuation", "P"},
                                           {"Symbol", "S"},
                                           {"Separator", "Z"},
                                           {"Uppercase_Letter", "Lu"},
                                           {"Lowercase_Letter", "Ll"}};
    char name[32] = " ";
    if (t->as_is) return eq_trans_refuse(t, "a property beside such a character or range");
    const char *close = t->p < t->end && *t->p == '{' ? strchr(t->p, '}') : NULL;
    if (!close || close - t->p > 24) return eq_trans_refuse(t, "a property without {name}");
    const char *from = t->p + 1;
    if (*from == '^') negative = !negative, from++;
    memcpy(name + 1, from, (size_t)(close - from));
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++)
        if (!strcmp(name + 1, longs[i][0])) strcpy(name + 1, longs[i][1]);
    size_t n = strlen(name);
    memcpy(name + n, " ", 2);
    bool cat = n > 1 && strstr(categories, name), script = n > 1 && strstr(scripts, name);
    if ((!cat && !script) || memchr(name + 1, ' ', n - 1))
        return eq_trans_refuse(t, "this property");
    /* PCRE2 widens cased categories under (?i), Oniguruma does not. */
    if (t->at->fold && (script || (n == 3 && name[1] == 'L')))
        return eq_trans_refuse(t, "this property under (?i)");
    name[n] = 0;
    eq_str_printf(t->out, "\\%c{%s%s}", negative ? 'P' : 'p', script ? "sc:" : "", name + 1);
    t->p = close + 1;
    return EQ_OK;
}

eq_status eq_trans_code(trans *t, char c, uint32_t *cp) {
    static const char names[] = "nrtfvae", values[] = "\n\r\t\f\v\a\x1b";
    const char *named = strchr(names, c);
    *cp = UINT32_MAX;
    if (c && named) return *cp = (uint32_t)values[named - names], EQ_OK;
    if (c != 'x' && c != 'u') return EQ_OK;
    bool braces = c == 'x' && t->p < t->end && *t->p == '{';
    int want = braces ? 8 : c == 'u' ? 4 : 2, got = 0;
    uint32_t v = 0;
    for (t->p += braces; got < want && t->p < t->end; got++, t->p++) {
        char h = *t->p;
        int d = h >= '0' && h <= '9'                 ? h - '0'
                : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10
                                                     : -1;
        if (d < 0) break;
        v = v << 4 | (uint32_t)d;
    }
    if (got == 0 || (c == 'u' && got < 4)) return eq_trans_refuse(t, "a malformed code point");
    if (braces && (t->p >= t->end || *t->p++ != '}'))
        return eq_trans_refuse(t, "a malformed code point");
    if (c == 'x' && !braces && v > 0x7f) return eq_trans_refuse(t, "a byte beyond ASCII");
    if (v == 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return eq_trans_refuse(t, "this code point");
    *cp = v;
    return EQ_OK;
}

/* White space, said without the library's own tables. */
#define SPACES \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{205f}" \
    "\\x{3000}"

/* Sets and what they are called: alone, in a class (NULL: cannot be said there); and both where the
 * text is searched as it is. */
static const struct {
    char c;
    const char *alone, *in_class, *as_is, *as_is_in_class;
} sets[] = {{'s', "\\s", "\\s", "[" SPACES "]", SPACES}, {'S', "\\S", "\\S", "[^" SPACES "]", NULL},
            {'d', "\\p{Nd}", "\\p{Nd}", NULL, NULL},     {'D', "\\P{Nd}", "\\P{Nd}", NULL, NULL},
            {'w', "[" WORD "]", CLASS_WORD, NULL, NULL}, {'W', "[^" WORD "]", NULL, NULL, NULL}};
enum { SETS = sizeof sets / sizeof *sets };

const char *eq_trans_set_in_class(const trans *t, char c) {
    for (int i = 0; i < SETS; i++)
        if (c == sets[i].c) return t->as_is ? sets[i].as_is_in_class : sets[i].in_class;
    return NULL;
}

/* Places in the text and what they are called. */
static const struct {
    char c;
    const char *as;
} places[] = {{'A', "\\A"},
              {'z', "\\z"},
              {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"},
              {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"}};
enum { PLACES = sizeof places / sizeof *places };

static eq_status escape(trans *t) {
    char c = t->p[1];
    if (!c) return eq_trans_refuse(t, "an unfinished escape");
    t->p += 2;
    uint32_t cp;
    EQ_TRY(eq_trans_code(t, c, &cp));
    if (cp != UINT32_MAX) return literal(t, cp);
    if ((uint8_t)c < 0x80 && !ascii_alnum((uint32_t)c)) return literal(t, (uint32_t)c);
    t->last = 0;
    for (int i = 0; i < PLACES; i++)
        if (c == places[i].c) {
            if (t->as_is && (c == 'b' || c == 'B')) break;
            return t->atom = -1, put(t, places[i].as), EQ_OK;
        }
    begin_atom(t, false);
    if (c == 'p' || c == 'P') return eq_trans_property(t, c == 'P');
    for (int i = 0; i < SETS; i++)
        if (c == sets[i].c && (!t->as_is || sets[i].as_is))
            return put(t, t->as_is ? sets[i].as_is : sets[i].alone), EQ_OK;
    return eq_trans_refuse(t, "this escape");
}

static eq_status group_open(trans *t) {
    static const struct {
        const char *in, *out;
        int fold; /* 1 on, -1 off, 0 as outside */
        bool look;
    } kinds[] = {{"(?:", "(?:", 0, false},      {"(?i:", "(?i:", 1, false},
                 {"(?-i:", "(?-i:", -1, false}, {"(?>", "(?>", 0, false},
                 {"(?=", "(?=", 0, true},       {"(?!", "(?!", 0, true},
                 {"(?<=", "(?<=", 0, true},     {"(?<!", "(?<!", 0, true}};
    if (t->at == t->level + EQ_TRANS_DEPTH) return eq_trans_refuse(t, "nesting this deep");
    bool fold = t->at->fold, look = false;
    const char *as = "(?:";
    if (eq_starts_with(t->p, "(?")) {
        size_t i = 0, n = sizeof kinds / sizeof *kinds;
        while (i < n && !eq_starts_with(t->p, kinds[i].in)) i++;
        if (i == n) return eq_trans_refuse(t, "this kind of group");
        as = kinds[i].out, look = kinds[i].look;
        if (kinds[i].fold) fold = kinds[i].fold > 0;
        t->p += strlen(kinds[i].in);
    } else
        t->p++;
    *++t->at = (level){.open = look ? -1 : t->out->n, .fold = fold, .empty = true};
    t->atom = -1, t->last = 0;
    put(t, as);
    return EQ_OK;
}

/* {n} {n,} {n,m} {,m} at t->p: sets lo, hi (-1: open) and steps over it; false when it is none. */
static bool interval(trans *t, long *lo, long *hi) {
    const char *p = t->p + 1;
    int digits = 0, more = 0;
    *lo = 0, *hi = -1;
    for (; *p >= '0' && *p <= '9' && digits < 6; p++, digits++) *lo = *lo * 10 + (*p - '0');
    if (*p == ',') {
        long v = 0;
        for (p++; *p >= '0' && *p <= '9' && more < 6; p++, more++) v = v * 10 + (*p - '0');
        if (more) *hi = v;
        if (!more && !digits) return false;
    } else
        *hi = *lo;
    if (*p != '}' || (!digits && !more)) return false;
    t->p = p + 1;
    return true;
}

static eq_status quantifier(trans *t) {
    char c = *t->p, tail;
    long lo = 0, hi = -1;
    if (c == '{' && !interval(t, &lo, &hi)) {
        t->p++;
        return literal(t, '{');
    }
    if (t->atom < 0) return eq_trans_refuse(t, "a quantifier without something to repeat");
    /* The engines disagree on when to stop repeating nothing. */
    if (c == '{' && t->atom_empty && (hi < 0 || hi > 1))
        return eq_trans_refuse(t, "a counted repetition of what can be empty");
    if (c == '?' || c == '*' || (c == '{' && lo == 0)) t->at->empty = t->was_empty;
    if (c == '{') {
        eq_str_printf(t->out, hi < 0 ? "{%ld,}" : lo == hi ? "{%ld}" : "{%ld,%ld}", lo, hi);
    } else
        eq_str_put(t->out, t->p++, 1);
    tail = t->p < t->end ? *t->p : 0;
    if (tail == '?' && c == '{' && lo == hi) return eq_trans_refuse(t, "{n}?");
    if (tail == '?' || (tail == '+' && c != '{'))
        eq_str_put(t->out, t->p++, 1);
    else if (tail == '+') {
        /* Possessive in PCRE2, "once or more" here: X{n,m}+ becomes (?:X{n,m})+. */
        char *copy = t->out->oom ? NULL : eq_strdup(t->out->p + t->atom);
        if (!copy) return eq_nomem(t->err, "a regex", t->out->n);
        t->out->n = t->atom;
        eq_str_printf(t->out, "(?:%s)+", copy);
        eq_free(copy);
        t->p++;
    }
    if (t->p < t->end && strchr("*+?", *t->p))
        return eq_trans_refuse(t, "a quantifier of a quantifier");
    if (t->p < t->end && *t->p == '{' && interval(t, &lo, &hi))
        return eq_trans_refuse(t, "a quantifier of a quantifier");
    t->atom = -1, t->last = 0;
    return EQ_OK;
}

static eq_status group_close(trans *t) {
    if (t->at == t->level) return eq_trans_refuse(t, "an unmatched )");
    level was = *t->at--;
    bool empty = was.empty || was.any || was.open < 0;
    begin_atom(t, empty);
    t->atom = was.open;
    put(t, ")");
    t->p++, t->last = 0;
    return EQ_OK;
}

/* One of | . ^ $ */
static void simple(trans *t, char c) {
    t->last = 0;
    t->p++;
    if (c == '.')
        begin_atom(t, false);
    else
        t->atom = -1;
    if (c == '|') {
        t->at->any |= t->at->empty;
        t->at->empty = true;
    }
    eq_str_put(t->out, &c, 1);
}

static eq_status translate(trans *t) {
    t->at = t->level;
    t->at->empty = true;
    if (eq_starts_with(t->p, "(?i)")) {
        put(t, "(?i)");
        t->at->fold = true;
        t->p += 4;
    }
    put(t, ""); /* an empty regex is a string, too */
    while (t->p < t->end) {
        uint32_t cp;
        char c = *t->p;
        if (c == '\\')
            EQ_TRY(escape(t));
        else if (c == '[') {
            begin_atom(t, false);
            t->last = 0;
            EQ_TRY(eq_trans_class(t));
        } else if (c == '(')
            EQ_TRY(group_open(t));
        else if (c == ')')
            EQ_TRY(group_close(t));
        else if (strchr("|.^$", c))
            simple(t, c);
        else if (strchr("*+?{", c))
            EQ_TRY(quantifier(t));
        else {
            t->p += eq_utf8_get(t->p, &cp);
            EQ_TRY(literal(t, cp));
        }
    }
    if (t->at != t->level) return eq_trans_refuse(t, "a group without )");
    return t->out->oom ? eq_nomem(t->err, "a regex", t->out->n) : EQ_OK;
}

eq_status eq_pattern_translate(eq_str *out, const char *regex, bool *as_is, const char *where,
                               eq_err *err) {
    eq_err first = {0}, second = {0};
    trans t = {.p = regex,
               .end = regex + strlen(regex),
               .out = out,
               .atom = -1,
               .regex = regex,
               .where = where,
               .err = &first};
    trans again = t;
    eq_status st = translate(&t);
    *as_is = st == EQ_EINPUT && t.torn;
    if (*as_is) {
        /* Ranges that stand-ins tear apart: what names no property needs none. */
        out->n = 0;
        again.as_is = true, again.err = &second;
        if (translate(&again) == EQ_OK) return EQ_OK;
    }
    return st == EQ_OK ? EQ_OK : eq_fail(err, st, "%s", first.msg);
}
