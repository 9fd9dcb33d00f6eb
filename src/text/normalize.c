/* Normalizers: Prepend, Replace, NFC, NFD, NFKC, NFKD, Strip, StripAccents, Lowercase, Nmt,
 * ByteLevel, Precompiled, Sequence. Every step reads the last text and writes the other of two
 * buffers. Invariant: valid UTF-8 in, valid UTF-8 out. */
#include "text/normalize.h"

#include <string.h>

#include "base/mem.h"
#include "text/byte_char.h"
#include "text/charsmap.h"
#include "text/normal_form.h"
#include "text/pattern.h"
#include "text/spec.h"
#include "text/unicode.h"
#include "text/utf8.h"

typedef enum {
    PREPEND,
    REPLACE,
    FORM,
    STRIP,
    LOWERCASE,
    STRIP_ACCENTS,
    NMT,
    BYTE_LEVEL,
    PRECOMPILED
} kind;

typedef struct {
    kind kind;
    eq_str text; /* PREPEND: what; REPLACE: the replacement */
    eq_pattern *pattern;
    eq_form form;
    bool left, right;
    eq_charsmap *charsmap;
} step;

struct eq_normalizer {
    step *steps;
    int64_t n;
};

static eq_status get_text(step *s, const json_t *spec, const char *key, const char *where,
                          eq_err *err) {
    const char *text;
    int64_t n;
    EQ_TRY(eq_spec_text(spec, key, &text, &n, where, err));
    eq_str_put(&s->text, text, n);
    return s->text.oom ? eq_nomem(err, "a normalizer", n) : EQ_OK;
}

/* Those that have nothing but a type. */
static eq_status parse_simple(step *s, const json_t *spec, const char *type, const char *where,
                              eq_err *err) {
    static const struct {
        const char *name;
        kind kind;
        eq_form form;
    } known[] = {{"NFD", FORM, EQ_NFD},
                 {"NFC", FORM, EQ_NFC},
                 {"NFKD", FORM, EQ_NFKD},
                 {"NFKC", FORM, EQ_NFKC},
                 {"Lowercase", LOWERCASE, EQ_NFC},
                 {"StripAccents", STRIP_ACCENTS, EQ_NFC},
                 {"Nmt", NMT, EQ_NFC},
                 {"ByteLevel", BYTE_LEVEL, EQ_NFC}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(type, known[i].name)) {
            s->kind = known[i].kind, s->form = known[i].form;
            return eq_spec_known(spec, "type", where, err);
        }
    return eq_spec_unsupported("normalizer", type, where, err);
}

static eq_status parse_step(step *s, const json_t *spec, const char *type, const char *where,
                            eq_err *err) {
    if (!strcmp(type, "Prepend")) {
        s->kind = PREPEND;
        EQ_TRY(eq_spec_known(spec, "type prepend", where, err));
        return get_text(s, spec, "prepend", where, err);
    }
    if (!strcmp(type, "Replace")) {
        s->kind = REPLACE;
        EQ_TRY(eq_spec_known(spec, "type pattern content", where, err));
        EQ_TRY(get_text(s, spec, "content", where, err));
        return eq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), where, err);
    }
    if (!strcmp(type, "Strip")) {
        s->kind = STRIP;
        EQ_TRY(eq_spec_known(spec, "type strip_left strip_right", where, err));
        EQ_TRY(eq_spec_bool(spec, "strip_left", &s->left, where, err));
        return eq_spec_bool(spec, "strip_right", &s->right, where, err);
    }
    if (!strcmp(type, "Precompiled")) {
        const char *text;
        int64_t n;
        s->kind = PRECOMPILED;
        EQ_TRY(eq_spec_known(spec, "type precompiled_charsmap", where, err));
        EQ_TRY(eq_spec_text(spec, "precompiled_charsmap", &text, &n, where, err));
        return eq_charsmap_new(&s->charsmap, text, n, where, err);
    }
    return parse_simple(s, spec, type, where, err);
}

/* Appends the steps of spec; a Sequence appends those of its members. */
static eq_status parse(eq_normalizer *z, const json_t *spec, const char *where, eq_err *err) {
    const char *type;
    EQ_TRY(eq_spec_type(spec, "normalizer", &type, where, err));
    if (!strcmp(type, "Sequence")) {
        const json_t *list;
        EQ_TRY(eq_spec_known(spec, "type normalizers", where, err));
        EQ_TRY(eq_spec_array(spec, "normalizers", &list, where, err));
        for (size_t i = 0; i < json_array_size(list); i++)
            EQ_TRY(parse(z, json_array_get(list, i), where, err));
        return EQ_OK;
    }
    step *grown = eq_realloc(z->steps, z->n + 1, sizeof *grown);
    if (!grown) return eq_nomem(err, "a normalizer", (z->n + 1) * (int64_t)sizeof *grown);
    z->steps = grown;
    memset(grown + z->n, 0, sizeof *grown);
    return parse_step(grown + z->n++, spec, type, where, err);
}

eq_status eq_normalizer_new(eq_normalizer **out, const json_t *spec, const char *where,
                            eq_err *err) {
    eq_normalizer *z = *out = eq_calloc(1, sizeof *z);
    if (!z) return eq_nomem(err, "a normalizer", sizeof *z);
    if (!spec || json_is_null(spec)) return EQ_OK;
    eq_status st = parse(z, spec, where, err);
    if (st != EQ_OK) {
        eq_normalizer_free(z);
        *out = NULL;
    }
    return st;
}

void eq_normalizer_free(eq_normalizer *z) {
    if (!z) return;
    for (int64_t i = 0; i < z->n; i++) {
        eq_str_free(&z->steps[i].text);
        eq_pattern_free(z->steps[i].pattern);
        eq_charsmap_free(z->steps[i].charsmap);
    }
    eq_free(z->steps);
    eq_free(z);
}

/* ---- running --------------------------------------------------------------------------------- */

static int64_t first_len(const char *s, int64_t n) {
    uint32_t cp;
    return n > 0 ? eq_utf8_get(s, &cp) : 0;
}

static void prepend(const step *s, eq_normal *w, eq_str *out) {
    eq_str_put(out, s->text.p, s->text.n);
    eq_str_put(out, w->text, w->n);
    if (w->head) w->head += s->text.n;
}

static eq_status replace(const step *s, eq_normal *w, eq_str *out, eq_err *err) {
    eq_scan scan = {0};
    int64_t done = 0, start, end, head = 0;
    bool found;
    eq_status st = eq_scan_start(&scan, s->pattern, w->text, w->n, err);
    while (st == EQ_OK && (st = eq_scan_next(&scan, &found, &start, &end, err)) == EQ_OK && found) {
        eq_str_put(out, w->text + done, start - done);
        if (done < w->head) head = out->n - (start > w->head ? start - w->head : 0);
        eq_str_put(out, s->text.p, s->text.n);
        /* New text stands where the last character that it replaces stood. */
        int64_t last = end > start ? eq_utf8_back(w->text, end) : end;
        if (w->head && last < w->head) head = out->n;
        done = end;
    }
    eq_str_put(out, w->text + done, w->n - done);
    if (done < w->head) head = out->n - (w->n - w->head);
    w->head = head;
    eq_scan_free(&scan);
    return st;
}

static void strip(const step *s, eq_normal *w, eq_str *out) {
    int64_t lo = 0, hi = w->n;
    uint32_t cp;
    while (s->left && lo < hi) {
        int len = eq_utf8_get(w->text + lo, &cp);
        if (!eq_uni_space(cp)) break;
        lo += len;
    }
    while (s->right && hi > lo) {
        int64_t back = eq_utf8_back(w->text, hi);
        eq_utf8_get(w->text + back, &cp);
        if (!eq_uni_space(cp)) break;
        hi = back;
    }
    eq_str_put(out, w->text + lo, hi - lo);
    w->head = w->head > lo ? w->head - lo : 0;
}

static void lowercase(eq_normal *w, eq_str *out) {
    uint32_t cp, low[2];
    for (int64_t i = 0; i < w->n;) {
        if ((uint8_t)w->text[i] < 0x80) {
            char c = w->text[i++];
            if (c >= 'A' && c <= 'Z') c = (char)(c + 32);
            eq_str_put(out, &c, 1);
            continue;
        }
        i += eq_utf8_get(w->text + i, &cp);
        for (int k = 0, n = eq_uni_lower(cp, low); k < n; k++) eq_utf8_append(out, low[k]);
    }
    if (w->head) w->head = first_len(out->p, out->n);
}

/* Calls for every character; `put` appends what becomes of it. */
static void each(eq_normal *w, eq_str *out, void (*put)(eq_str *, uint32_t, const char *, int)) {
    uint32_t cp;
    int64_t head = 0;
    for (int64_t i = 0, len; i < w->n; i += len) {
        len = eq_utf8_get(w->text + i, &cp);
        put(out, cp, w->text + i, (int)len);
        if (i < w->head) head = out->n;
    }
    w->head = head;
}

static void put_unless_mark(eq_str *out, uint32_t cp, const char *s, int len) {
    if (!eq_uni_mark(cp)) eq_str_put(out, s, len);
}

/* Control characters go, what looks like white space becomes a space. */
static void put_nmt(eq_str *out, uint32_t cp, const char *s, int len) {
    static const uint16_t spaces[] = {0x09,   0x0a,   0x0c,   0x0d,   0x1680,
                                      0x200b, 0x200c, 0x200d, 0x200e, 0x200f,
                                      0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (cp == spaces[i]) {
            eq_str_put(out, " ", 1);
            return;
        }
    bool control = (cp >= 1 && cp < 0x20) || cp == 0x7f || cp == 0x8f || cp == 0x9f;
    if (!control) eq_str_put(out, s, len);
}

static void put_bytes(eq_str *out, uint32_t cp, const char *s, int len) {
    (void)cp;
    for (int i = 0; i < len; i++) eq_utf8_append(out, eq_byte_to_char((uint8_t)s[i]));
}

static eq_status precompiled(const step *s, eq_normal *w, eq_str *out, eq_err *err) {
    int64_t head;
    EQ_TRY(eq_charsmap_run(s->charsmap, out, w->text, w->n, &head, err));
    if (w->head) w->head = head > 0 ? head : first_len(out->p, out->n);
    return EQ_OK;
}

static eq_status run(const step *s, eq_normal *w, eq_str *out, bool goes_on, eq_err *err) {
    switch (s->kind) {
    case PREPEND:
        if (goes_on)
            eq_str_put(out, w->text, w->n);
        else
            prepend(s, w, out);
        break;
    case REPLACE:
        EQ_TRY(replace(s, w, out, err));
        break;
    case FORM:
        EQ_TRY(eq_normal_form(out, w->text, w->n, s->form, err));
        if (w->head) w->head = first_len(out->p, out->n);
        break;
    case STRIP:
        strip(s, w, out);
        break;
    case LOWERCASE:
        lowercase(w, out);
        break;
    case STRIP_ACCENTS:
        each(w, out, put_unless_mark);
        break;
    case NMT:
        each(w, out, put_nmt);
        break;
    case BYTE_LEVEL:
        each(w, out, put_bytes);
        break;
    case PRECOMPILED:
        EQ_TRY(precompiled(s, w, out, err));
        break;
    }
    return out->oom ? eq_nomem(err, "text", w->n) : EQ_OK;
}

bool eq_normalizer_empty(const eq_normalizer *z) { return z->n == 0; }

bool eq_normalizer_local(const eq_normalizer *z) {
    for (int64_t i = 0; i < z->n; i++)
        if (z->steps[i].kind == STRIP || (z->steps[i].kind == PRECOMPILED && i) ||
            (z->steps[i].kind == REPLACE && !eq_pattern_byte(z->steps[i].pattern)))
            return false;
    return true;
}

/* Composition and clusters join a character with those before it, but never an ASCII letter or
 * digit, as long as no earlier step makes something else of it. */
int64_t eq_normalizer_cut(const eq_normalizer *z, const char *s, int64_t n) {
    bool forms = false, clusters = z->n && z->steps[0].kind == PRECOMPILED;
    for (int64_t i = 0; i < z->n; i++) forms |= z->steps[i].kind == FORM;
    if (!forms && !clusters) return n;
    while (n > 0) {
        char c = s[--n];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        for (int64_t i = 0; i < z->n && plain; i++)
            plain = z->steps[i].kind != REPLACE || eq_pattern_byte(z->steps[i].pattern) != c;
        if (clusters && n > 0) plain &= (uint8_t)s[n - 1] < 0x80 && s[n - 1] != '\r';
        if (plain) return n;
    }
    return 0;
}

eq_status eq_normalize(const eq_normalizer *z, eq_normal *w, const char *s, int64_t n, bool first,
                       bool goes_on, eq_err *err) {
    w->text = s, w->n = n;
    w->head = first ? first_len(s, n) : 0;
    for (int64_t i = 0; i < z->n && w->n > 0; i++) {
        eq_str *out = w->text == w->a.p ? &w->b : &w->a;
        out->n = 0;
        EQ_TRY(run(z->steps + i, w, out, goes_on, err));
        w->text = out->p, w->n = out->n;
    }
    return EQ_OK;
}

void eq_normal_free(eq_normal *w) {
    eq_str_free(&w->a);
    eq_str_free(&w->b);
}
