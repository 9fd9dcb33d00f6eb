/* Running the steps depth first: every part that a step makes goes through all later steps before
 * the step makes its next part, so no list of parts is ever held. */
#include "text/pretokenize.h"

#include <string.h>

#include "base/mem.h"
#include "text/byte_char.h"
#include "text/pretokenize_steps.h"
#include "text/unicode.h"
#include "text/utf8.h"

struct eq_pretok_work {
    struct {
        eq_scan scan;
        eq_str buf;
    } * step;
    int64_t n;
    bool goes_on;
    eq_word_fn fn;
    void *ctx;
};

eq_pretok_work *eq_pretok_work_new(const eq_pretokenizer *p) {
    eq_pretok_work *w = eq_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->n = p->n;
    w->step = eq_calloc(p->n, sizeof *w->step);
    if (!w->step) {
        eq_free(w);
        return NULL;
    }
    return w;
}

void eq_pretok_work_free(eq_pretok_work *w) {
    if (!w) return;
    for (int64_t i = 0; i < w->n; i++) {
        eq_scan_free(&w->step[i].scan);
        eq_str_free(&w->step[i].buf);
    }
    eq_free(w->step);
    eq_free(w);
}

/* A text on its way through step k. */
typedef struct {
    const eq_pretokenizer *p;
    eq_pretok_work *w;
    int64_t k;
    const char *text;
    int64_t n, head;
} span;

static eq_status run(const span *s, eq_err *err);

/* Hands [lo, hi) of the span to the next step; empty parts vanish. */
static eq_status emit(const span *s, int64_t lo, int64_t hi, eq_err *err) {
    if (lo >= hi) return EQ_OK;
    span next = {s->p, s->w, s->k + 1, s->text + lo, hi - lo, s->head > lo ? s->head - lo : 0};
    return run(&next, err);
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* Parts arrive in order, matches and what lies between them; `how` says what becomes of them. */
typedef struct {
    const span *s;
    eq_split how;
    bool invert, pending, pending_match, was_match;
    int64_t lo, hi; /* the pending part */
} splitter;

static eq_status flush(splitter *c, eq_err *err) {
    if (!c->pending) return EQ_OK;
    c->pending = false;
    return emit(c->s, c->lo, c->hi, err);
}

static eq_status part(splitter *c, int64_t lo, int64_t hi, bool match, eq_err *err) {
    match = match != c->invert;
    bool join = false;
    switch (c->how) {
    case EQ_SPLIT_REMOVED:
        return match ? EQ_OK : emit(c->s, lo, hi, err);
    case EQ_SPLIT_ISOLATED:
        return emit(c->s, lo, hi, err);
    case EQ_SPLIT_CONTIGUOUS:
        join = match == c->was_match;
        break;
    case EQ_SPLIT_WITH_PREVIOUS:
        join = match && !c->was_match;
        break;
    case EQ_SPLIT_WITH_NEXT:
        join = !match && c->pending_match;
        break;
    }
    c->was_match = match;
    if (join && c->pending) {
        c->hi = hi;
        c->pending_match = false;
        return EQ_OK;
    }
    EQ_TRY(flush(c, err));
    c->lo = lo, c->hi = hi, c->pending = true, c->pending_match = match;
    return EQ_OK;
}

static eq_status split(const span *s, const eq_pre_step *step, eq_err *err) {
    splitter c = {.s = s, .how = step->split, .invert = step->invert};
    eq_scan *scan = &s->w->step[s->k].scan;
    int64_t done = 0, start, end;
    bool found;
    EQ_TRY(eq_scan_start(scan, step->pattern, s->text, s->n, err));
    for (;;) {
        EQ_TRY(eq_scan_next(scan, &found, &start, &end, err));
        if (!found) break;
        if (start > done) EQ_TRY(part(&c, done, start, false, err));
        EQ_TRY(part(&c, start, end, true, err));
        done = end;
    }
    if (done < s->n) EQ_TRY(part(&c, done, s->n, false, err));
    return flush(&c, err);
}

static eq_status split_chars(const span *s, const eq_pre_step *step, eq_err *err) {
    splitter c = {.s = s, .how = step->split};
    int64_t done = 0;
    uint32_t cp;
    for (int64_t i = 0, len; i < s->n; i += len) {
        len = eq_utf8_get(s->text + i, &cp);
        if (!step->in_set(cp)) continue;
        if (i > done) EQ_TRY(part(&c, done, i, false, err));
        EQ_TRY(part(&c, i, i + len, true, err));
        done = i + len;
    }
    if (done < s->n) EQ_TRY(part(&c, done, s->n, false, err));
    return flush(&c, err);
}

/* As the peer does it: what stands in front of the first character with a script vanishes. */
static eq_status split_scripts(const span *s, eq_err *err) {
    int64_t from = -1;
    int was = -1;
    uint32_t cp;
    for (int64_t i = 0, len; i < s->n; i += len) {
        len = eq_utf8_get(s->text + i, &cp);
        int script = eq_uni_script(cp);
        if (script < 0 || script == was) continue;
        if (from >= 0) EQ_TRY(emit(s, from, i, err));
        from = i, was = script;
    }
    return from < 0 ? EQ_OK : emit(s, from, s->n, err);
}

static eq_status split_length(const span *s, const eq_pre_step *step, eq_err *err) {
    uint32_t cp;
    for (int64_t i = 0, from = 0; i < s->n; from = i) {
        for (int64_t k = 0; k < step->length && i < s->n; k++) i += eq_utf8_get(s->text + i, &cp);
        EQ_TRY(emit(s, from, i, err));
    }
    return EQ_OK;
}

static eq_status split_words(const span *s, eq_err *err) {
    enum { SPACE, WORD, OTHER } was = SPACE, now;
    int64_t from = 0;
    uint32_t cp;
    for (int64_t i = 0, len; i < s->n; i += len) {
        len = eq_utf8_get(s->text + i, &cp);
        now = eq_uni_space(cp) ? SPACE : eq_uni_word(cp) ? WORD : OTHER;
        if (now == was) continue;
        if (was != SPACE) EQ_TRY(emit(s, from, i, err));
        from = i, was = now;
    }
    return was == SPACE ? EQ_OK : emit(s, from, s->n, err);
}

/* ---- rewriting ------------------------------------------------------------------------------- */

/* The rewritten text goes on through the next step. */
static eq_status rewritten(const span *s, const eq_str *buf, int64_t head, eq_err *err) {
    if (buf->oom) return eq_nomem(err, "text", s->n);
    span next = {s->p, s->w, s->k, buf->p, buf->n, head};
    return emit(&next, 0, buf->n, err);
}

static eq_status put_space(const span *s, eq_err *err) {
    if (s->text[0] == ' ') return emit(s, 0, s->n, err);
    eq_str *buf = &s->w->step[s->k].buf;
    buf->n = 0;
    eq_str_put(buf, " ", 1);
    eq_str_put(buf, s->text, s->n);
    return rewritten(s, buf, s->head ? s->head + 1 : 0, err);
}

static eq_status metaspace(const span *s, const eq_pre_step *step, eq_err *err) {
    eq_str *buf = &s->w->step[s->k].buf;
    int64_t mark_n = (int64_t)strlen(step->mark), head = s->head, done = 0;
    bool marked =
        s->text[0] == ' ' || (s->n >= mark_n && !memcmp(s->text, step->mark, (size_t)mark_n));
    buf->n = 0;
    if (!marked && !s->w->goes_on &&
        (step->prepend == EQ_PREPEND_ALWAYS || (step->prepend == EQ_PREPEND_FIRST && head))) {
        eq_str_put(buf, step->mark, mark_n);
        if (head) head += mark_n;
    }
    while (done < s->n) {
        const char *sp = memchr(s->text + done, ' ', (size_t)(s->n - done));
        int64_t at = sp ? sp - s->text : s->n;
        eq_str_put(buf, s->text + done, at - done);
        if (sp) eq_str_put(buf, step->mark, mark_n);
        if (sp && at < s->head) head += mark_n - 1;
        done = at + 1;
    }
    return rewritten(s, buf, head, err);
}

static eq_status to_byte_chars(const span *s, eq_err *err) {
    eq_str *buf = &s->w->step[s->k].buf;
    buf->n = 0;
    for (int64_t i = 0; i < s->n; i++) eq_utf8_append(buf, eq_byte_to_char((uint8_t)s->text[i]));
    uint32_t cp;
    int64_t head = s->head ? eq_utf8_get(s->text, &cp) * 2 : 0;
    return rewritten(s, buf, head, err);
}

static eq_status run(const span *s, eq_err *err) {
    const eq_pretokenizer *p = s->p;
    if (s->k == p->n) return s->w->fn(s->w->ctx, s->text, s->n, err);
    const eq_pre_step *step = p->steps + s->k;
    switch (step->kind) {
    case EQ_PRE_SPLIT:
        return split(s, step, err);
    case EQ_PRE_CHARS:
        return split_chars(s, step, err);
    case EQ_PRE_SCRIPTS:
        return split_scripts(s, err);
    case EQ_PRE_LENGTH:
        return split_length(s, step, err);
    case EQ_PRE_WORDS:
        return split_words(s, err);
    case EQ_PRE_SPACE:
        return put_space(s, err);
    case EQ_PRE_METASPACE:
        return metaspace(s, step, err);
    case EQ_PRE_BYTES:
        break;
    }
    return s->k == p->n - 1 ? emit(s, 0, s->n, err) : to_byte_chars(s, err);
}

eq_status eq_pretokenize(const eq_pretokenizer *p, eq_pretok_work *w, const char *text, int64_t n,
                         int64_t head, bool goes_on, eq_word_fn fn, void *ctx, eq_err *err) {
    span s = {p, w, 0, text, n, head};
    w->fn = fn, w->ctx = ctx, w->goes_on = goes_on;
    return n > 0 ? run(&s, err) : EQ_OK;
}

/* ---- a text in parts ------------------------------------------------------------------------- */

/* A step whose parts depend on nothing but the text between their ends. */
static bool is_free(eq_split how) { return how == EQ_SPLIT_ISOLATED || how == EQ_SPLIT_REMOVED; }

bool eq_pretokenizer_empty(const eq_pretokenizer *p) { return p->n == 0; }

bool eq_pretokenizer_metaspace(const eq_pretokenizer *p, uint32_t *mark, bool *cut) {
    if (p->n < 1 || p->n > 2 || p->steps[0].kind != EQ_PRE_METASPACE) return false;
    const char *text = p->steps[0].mark;
    eq_utf8_get(text, mark);
    *cut = p->n == 2;
    return p->n == 1 ||
           (p->steps[1].kind == EQ_PRE_SPLIT && eq_pattern_is(p->steps[1].pattern, text) &&
            p->steps[1].split == EQ_SPLIT_WITH_NEXT && !p->steps[1].invert);
}

/* Single characters are cut out first if at all; then a pattern decides, and what is behind it sees
 * whole parts. A beginning of the text is no special place for any step. */
bool eq_pretokenizer_local(const eq_pretokenizer *p) {
    int64_t k = 0;
    while (k < p->n && p->steps[k].kind == EQ_PRE_CHARS && is_free(p->steps[k].split)) k++;
    if (k == p->n) return p->n == 0;
    if (p->steps[k].kind != EQ_PRE_SPLIT || !is_free(p->steps[k].split) ||
        !eq_pattern_local(p->steps[k].pattern))
        return false;
    for (; k < p->n; k++)
        if (p->steps[k].kind == EQ_PRE_METASPACE) return false;
    return true;
}

/* Emits what is certain of the span, whose end is not the text's; *done: its length. */
static eq_status run_open(const span *s, int64_t *done, eq_err *err) {
    const eq_pre_step *step = s->p->steps + s->k;
    splitter c = {.s = s, .how = step->split, .invert = step->invert};
    *done = 0;
    if (step->kind == EQ_PRE_CHARS) {
        uint32_t cp;
        for (int64_t i = 0, len; i < s->n; i += len) {
            len = eq_utf8_get(s->text + i, &cp);
            if (!step->in_set(cp)) continue;
            if (i > *done) EQ_TRY(part(&c, *done, i, false, err));
            EQ_TRY(part(&c, i, i + len, true, err));
            *done = i + len;
        }
        span rest = {s->p, s->w, s->k + 1, s->text + *done, s->n - *done, 0};
        int64_t more = 0;
        if (rest.n > 0) EQ_TRY(run_open(&rest, &more, err));
        *done += more;
        return EQ_OK;
    }
    eq_scan *scan = &s->w->step[s->k].scan;
    int64_t start, end;
    bool found;
    EQ_TRY(eq_scan_start(scan, step->pattern, s->text, s->n, err));
    scan->more = true;
    for (;;) {
        EQ_TRY(eq_scan_next(scan, &found, &start, &end, err));
        if (!found) return EQ_OK;
        if (start > *done) EQ_TRY(part(&c, *done, start, false, err));
        EQ_TRY(part(&c, start, end, true, err));
        *done = end;
    }
}

eq_status eq_pretokenize_more(const eq_pretokenizer *p, eq_pretok_work *w, const char *text,
                              int64_t n, int64_t *used, eq_word_fn fn, void *ctx, eq_err *err) {
    span s = {p, w, 0, text, n, 0};
    w->fn = fn, w->ctx = ctx, w->goes_on = false;
    *used = 0;
    return n > 0 ? run_open(&s, used, err) : EQ_OK;
}
