/* Oniguruma (Ruby syntax) to PCRE2. What differs and is translated here: \d \w \b are Unicode sets
 * of their own, ^ and $ stand at lines, \v is one character, \p{Script} means the script and not
 * its extensions, X{n,m}+ repeats X{n,m}, groups never need to capture. What differs and is
 * refused: nested and intersected classes, multi-character case folding, back references, and the
 * rest. Invariant: what comes out means in PCRE2 what went in means in Oniguruma. */
#include <string.h>

#include "base/mem.h"
#include "text/pattern.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 100 };

typedef struct {
    int64_t open;    /* where in out the group begins; -1: nothing that can be repeated */
    bool fold;       /* (?i) is in force */
    bool empty, any; /* this alternative, any alternative before it, can match nothing */
} level;

typedef struct {
    const char *p, *end; /* what is left of the regex */
    eq_str *out;
    int64_t atom;    /* where in out the last quantifiable atom begins; -1: none */
    bool atom_empty; /* the atom can match nothing */
    bool was_empty;  /* so could the alternative in front of it */
    level level[MAX_DEPTH + 1], *at;
    uint32_t last; /* last literal, 0 after anything else: finds "ss" and its like under (?i) */
    const char *regex, *where;
    eq_err *err;
} trans;

/* \w in a class, and \w, \W, \b alone, which count six more signs of Latin-1 (superscripts and
 * fractions) as parts of words. */
#define CLASS_WORD \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{" \
    "1f169}" \
    "\\x{1f170}-\\x{1f189}"
#define WORD CLASS_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

static eq_status refuse(trans *t, const char *what) {
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

static void put_literal(trans *t, uint32_t cp) {
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

/* A literal outside of a class. */
static eq_status literal(trans *t, uint32_t cp) {
    static const char *const folds[] = {"ss", "ff", "fi", "fl", "st"};
    if (tells_apart(cp, cp)) return refuse(t, "a character younger than Unicode 14");
    if (t->at->fold) {
        if (cp >= 0x80) return refuse(t, "a character beyond ASCII under (?i)");
        for (int i = 0; i < 5; i++)
            if ((t->last | 32) == (uint32_t)folds[i][0] && (cp | 32) == (uint32_t)folds[i][1])
                return refuse(t, "two letters that fold to one character under (?i)");
    }
    begin_atom(t, false);
    t->last = cp;
    put_literal(t, cp);
    return EQ_OK;
}

static eq_status property(trans *t, bool negative) {
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
    const char *close = t->p < t->end && *t->p == '{' ? strchr(t->p, '}') : NULL;
    if (!close || close - t->p > 24) return refuse(t, "a property without {name}");
    const char *from = t->p + 1;
    if (*from == '^') negative = !negative, from++;
    memcpy(name + 1, from, (size_t)(close - from));
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++)
        if (!strcmp(name + 1, longs[i][0])) strcpy(name + 1, longs[i][1]);
    size_t n = strlen(name);
    memcpy(name + n, " ", 2);
    bool cat = n > 1 && strstr(categories, name), script = n > 1 && strstr(scripts, name);
    if ((!cat && !script) || memchr(name + 1, ' ', n - 1)) return refuse(t, "this property");
    /* PCRE2 widens cased categories under (?i), Oniguruma does not. */
    if (t->at->fold && (script || (n == 3 && name[1] == 'L')))
        return refuse(t, "this property under (?i)");
    name[n] = 0;
    eq_str_printf(t->out, "\\%c{%s%s}", negative ? 'P' : 'p', script ? "sc:" : "", name + 1);
    t->p = close + 1;
    return EQ_OK;
}

/* Reads the value of \x \u and of control escapes; *cp = UINT32_MAX when it is none of them. */
static eq_status code_escape(trans *t, char c, uint32_t *cp) {
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
    if (got == 0 || (c == 'u' && got < 4)) return refuse(t, "a malformed code point");
    if (braces && (t->p >= t->end || *t->p++ != '}')) return refuse(t, "a malformed code point");
    if (c == 'x' && !braces && v > 0x7f) return refuse(t, "a byte beyond ASCII");
    if (v == 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return refuse(t, "this code point");
    *cp = v;
    return EQ_OK;
}

/* Sets and what they are called: alone, in a class (NULL: cannot be said there). */
static const struct {
    char c;
    const char *alone, *in_class;
} sets[] = {{'s', "\\s", "\\s"},
            {'S', "\\S", "\\S"},
            {'d', "\\p{Nd}", "\\p{Nd}"},
            {'D', "\\P{Nd}", "\\P{Nd}"},
            {'w', "[" WORD "]", CLASS_WORD},
            {'W', "[^" WORD "]", NULL}};
enum { SETS = sizeof sets / sizeof *sets };

/* Places in the text and what they are called. */
static const struct {
    char c;
    const char *as;
} places[] = {{'A', "\\A"},
              {'z', "\\z"},
              {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"},
              {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"}};
enum { PLACES = sizeof places / sizeof *places };

/* One member of a class: a single character (*cp), or a set that is written out (*cp =
 * UINT32_MAX). */
static eq_status class_item(trans *t, uint32_t *cp) {
    if (*t->p == '[') return refuse(t, "a class in a class");
    if (t->p[0] == '&' && t->p[1] == '&') return refuse(t, "an intersection of classes");
    if (*t->p != '\\') {
        t->p += eq_utf8_get(t->p, cp);
        return EQ_OK;
    }
    char c = t->p[1];
    if (!c) return refuse(t, "an unfinished escape");
    t->p += 2;
    EQ_TRY(code_escape(t, c, cp));
    if (*cp != UINT32_MAX) return EQ_OK;
    /* Folding widens a class by what folds to its members: iota by U+0345, "ss" by U+00DF. */
    if (t->at->fold && strchr("SDwpP", c)) return refuse(t, "this set in a class under (?i)");
    if (c == 'b') return *cp = 8, EQ_OK;
    if (c == 'p' || c == 'P') return property(t, c == 'P');
    for (int i = 0; i < SETS; i++)
        if (c == sets[i].c && sets[i].in_class) return put(t, sets[i].in_class), EQ_OK;
    if ((uint8_t)c >= 0x80 || ascii_alnum((uint32_t)c)) return refuse(t, "this escape in a class");
    *cp = (uint32_t)c;
    return EQ_OK;
}

static eq_status check_range(trans *t, uint32_t lo, uint32_t hi) {
    if (t->at->fold && hi >= 0x80) return refuse(t, "a class beyond ASCII under (?i)");
    if (tells_apart(lo, hi))
        return refuse(t, "a range that cuts through Unicode's newer characters");
    return EQ_OK;
}

static eq_status class_(trans *t) {
    begin_atom(t, false);
    put(t, "[");
    t->p++;
    if (*t->p == '^') put(t, "^"), t->p++;
    if (*t->p == ']') return refuse(t, "a class that begins with ]");
    while (t->p < t->end && *t->p != ']') {
        uint32_t lo = 0, hi = 0;
        EQ_TRY(class_item(t, &lo));
        if (lo == UINT32_MAX) {
            if (t->p[0] == '-' && t->p[1] != ']')
                return refuse(t, "a range that begins with a set");
            continue;
        }
        hi = lo;
        put_literal(t, lo);
        if (t->p[0] == '-' && t->p[1] && t->p[1] != ']') {
            t->p++;
            put(t, "-");
            EQ_TRY(class_item(t, &hi));
            if (hi == UINT32_MAX) return refuse(t, "a range that ends with a set");
            put_literal(t, hi);
        }
        EQ_TRY(check_range(t, lo, hi));
    }
    if (t->p >= t->end) return refuse(t, "a class without ]");
    t->p++;
    put(t, "]");
    return EQ_OK;
}

static eq_status escape(trans *t) {
    char c = t->p[1];
    if (!c) return refuse(t, "an unfinished escape");
    t->p += 2;
    uint32_t cp;
    EQ_TRY(code_escape(t, c, &cp));
    if (cp != UINT32_MAX) return literal(t, cp);
    if ((uint8_t)c < 0x80 && !ascii_alnum((uint32_t)c)) return literal(t, (uint32_t)c);
    t->last = 0;
    for (int i = 0; i < PLACES; i++)
        if (c == places[i].c) return t->atom = -1, put(t, places[i].as), EQ_OK;
    begin_atom(t, false);
    if (c == 'p' || c == 'P') return property(t, c == 'P');
    for (int i = 0; i < SETS; i++)
        if (c == sets[i].c) return put(t, sets[i].alone), EQ_OK;
    return refuse(t, "this escape");
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
    if (t->at == t->level + MAX_DEPTH) return refuse(t, "nesting this deep");
    bool fold = t->at->fold, look = false;
    const char *as = "(?:";
    if (eq_starts_with(t->p, "(?")) {
        size_t i = 0, n = sizeof kinds / sizeof *kinds;
        while (i < n && !eq_starts_with(t->p, kinds[i].in)) i++;
        if (i == n) return refuse(t, "this kind of group");
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
    if (t->atom < 0) return refuse(t, "a quantifier without something to repeat");
    /* The engines disagree on when to stop repeating nothing. */
    if (c == '{' && t->atom_empty && (hi < 0 || hi > 1))
        return refuse(t, "a counted repetition of what can be empty");
    if (c == '?' || c == '*' || (c == '{' && lo == 0)) t->at->empty = t->was_empty;
    if (c == '{') {
        eq_str_printf(t->out, hi < 0 ? "{%ld,}" : lo == hi ? "{%ld}" : "{%ld,%ld}", lo, hi);
    } else
        eq_str_put(t->out, t->p++, 1);
    tail = t->p < t->end ? *t->p : 0;
    if (tail == '?' && c == '{' && lo == hi) return refuse(t, "{n}?");
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
    if (t->p < t->end && strchr("*+?", *t->p)) return refuse(t, "a quantifier of a quantifier");
    if (t->p < t->end && *t->p == '{' && interval(t, &lo, &hi))
        return refuse(t, "a quantifier of a quantifier");
    t->atom = -1, t->last = 0;
    return EQ_OK;
}

static eq_status group_close(trans *t) {
    if (t->at == t->level) return refuse(t, "an unmatched )");
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

eq_status eq_pattern_translate(eq_str *out, const char *regex, const char *where, eq_err *err) {
    trans t = {.p = regex,
               .end = regex + strlen(regex),
               .out = out,
               .atom = -1,
               .regex = regex,
               .where = where,
               .err = err};
    t.at = t.level;
    t.at->empty = true;
    if (eq_starts_with(regex, "(?i)")) {
        put(&t, "(?i)");
        t.at->fold = true;
        t.p += 4;
    }
    put(&t, ""); /* an empty regex is a string, too */
    while (t.p < t.end) {
        uint32_t cp;
        char c = *t.p;
        if (c == '\\')
            EQ_TRY(escape(&t));
        else if (c == '[') {
            t.last = 0;
            EQ_TRY(class_(&t));
        } else if (c == '(')
            EQ_TRY(group_open(&t));
        else if (c == ')')
            EQ_TRY(group_close(&t));
        else if (strchr("|.^$", c))
            simple(&t, c);
        else if (strchr("*+?{", c))
            EQ_TRY(quantifier(&t));
        else {
            t.p += eq_utf8_get(t.p, &cp);
            EQ_TRY(literal(&t, cp));
        }
    }
    if (t.at != t.level) return refuse(&t, "a group without )");
    return out->oom ? eq_nomem(err, "a regex", out->n) : EQ_OK;
}
