/* See rows.h. Invariant: of the text only a piece and the line it ends in are in memory. */
#include "data/rows.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct eq_row_joiner {
    char *name;
    bool documents, joined; /* rows are documents; nothing is to be done */
    bool begun;             /* a row was there */
    eq_str line, out;
};

/* Are there three newlines in a row? */
static eq_status find_blank_lines(bool *found, eq_corpus *c, eq_err *err) {
    int run = 0;
    for (const char *text = ""; text && !*found;) {
        int64_t n;
        EQ_TRY(eq_corpus_next(c, &text, &n, err));
        for (int64_t i = 0; i < n && !*found; i++) {
            run = text[i] == '\n' ? run + 1 : 0;
            *found = run == 3;
        }
    }
    return EQ_OK;
}

eq_status eq_row_joiner_open(eq_row_joiner **out, const eq_file *f, const eq_corpus_opts *o,
                             eq_err *err) {
    *out = NULL;
    eq_row_joiner *r = eq_calloc(1, sizeof *r);
    if (!r) return eq_nomem(err, f->name, sizeof *r);
    r->name = eq_strdup(f->name);
    eq_corpus *c = NULL;
    eq_status st = r->name ? eq_corpus_open(&c, f, o, err) : eq_nomem(err, "a name", 256);
    if (st == EQ_OK) r->documents = !eq_corpus_is_text(c);
    if (st == EQ_OK && !r->documents) st = find_blank_lines(&r->joined, c, err);
    eq_corpus_close(c);
    if (st != EQ_OK) {
        eq_row_joiner_close(r);
        return st;
    }
    *out = r;
    return EQ_OK;
}

static bool is_blank(const char *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\n') return false;
    return true;
}

static void put_row(eq_row_joiner *r, const char *row, int64_t n) {
    if (r->begun) eq_str_puts(&r->out, "\n\n");
    r->begun = true;
    if (r->documents || !is_blank(row, n)) eq_str_put(&r->out, row, n);
}

static void put_lines(eq_row_joiner *r, const char *text, int64_t n) {
    for (const char *end = text + n; text < end;) {
        const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl + 1 : end;
        eq_str_put(&r->line, text, stop - text);
        text = stop;
        if (!nl) break;
        put_row(r, r->line.p, r->line.n);
        r->line.n = 0;
    }
}

eq_status eq_row_joiner_put(eq_row_joiner *r, const char **text, int64_t *n, eq_err *err) {
    r->out.n = 0;
    if (r->joined)
        eq_str_put(&r->out, *text, *n);
    else if (r->documents && *text)
        put_row(r, *text, *n);
    else if (*text)
        put_lines(r, *text, *n);
    else if (r->line.n)
        put_row(r, r->line.p, r->line.n), r->line.n = 0;
    if (r->out.oom || r->line.oom) return eq_nomem(err, r->name, r->out.n + *n);
    *text = r->out.n ? r->out.p : "", *n = r->out.n;
    return EQ_OK;
}

void eq_row_joiner_close(eq_row_joiner *r) {
    if (!r) return;
    eq_str_free(&r->line);
    eq_str_free(&r->out);
    eq_free(r->name);
    eq_free(r);
}
