/* See csv.h. */
#include "format/csv.h"

#include "base/mem.h"

/* Room for one more element of a growing list. */
static bool room(void *list, int64_t n, int64_t *cap, int64_t size) {
    if (n < *cap) return true;
    int64_t want = *cap < 64 ? 64 : *cap * 2;
    void **p = list, *q = eq_realloc(*p, want, size);
    if (!q) return false;
    *p = q, *cap = want;
    return true;
}

typedef struct {
    const char *p;
    int64_t n, at, line;
    const char *where;
} reader;

static bool at_line_end(const reader *r) { return r->p[r->at] == '\n' || r->p[r->at] == '\r'; }
/* Over one line end, of one or two characters. */
static void pass_line_end(reader *r) {
    bool two = r->p[r->at] == '\r' && r->at + 1 < r->n && r->p[r->at + 1] == '\n';
    r->at += two ? 2 : 1, r->line++;
}

/* From behind the opening quote to behind the closing one; a line end within stays as it is, as
 * csv.reader has it, and with it the hub's rows. */
static eq_status quoted(reader *r, eq_str *to, eq_err *err) {
    int64_t opened = r->line;
    while (r->at < r->n) {
        if (r->p[r->at] == '"') {
            if (r->at + 1 >= r->n || r->p[r->at + 1] != '"') return r->at++, EQ_OK;
            r->at++;
        } else if (at_line_end(r)) {
            int64_t from = r->at;
            pass_line_end(r);
            eq_str_put(to, r->p + from, r->at - from);
            continue;
        }
        eq_str_put(to, r->p + r->at++, 1);
    }
    return eq_fail(err, EQ_EINPUT, "%s: line %lld: expected a closing quote, found the end",
                   r->where, (long long)opened);
}

/* One field; *last: the row ends with it. */
static eq_status field(reader *r, eq_csv *c, bool *last, eq_err *err) {
    if (!room(&c->fields, c->n_fields, &c->cap_fields, sizeof *c->fields))
        return eq_nomem(err, r->where, c->cap_fields * 2 * (int64_t)sizeof *c->fields);
    int64_t at = c->text.n;
    if (r->at < r->n && r->p[r->at] == '"') {
        r->at++;
        EQ_TRY(quoted(r, &c->text, err));
    }
    int64_t from = r->at;
    while (r->at < r->n && r->p[r->at] != ',' && !at_line_end(r)) r->at++;
    eq_str_put(&c->text, r->p + from, r->at - from);
    c->fields[c->n_fields++] = (eq_csv_field){at, c->text.n - at};
    *last = r->at >= r->n || r->p[r->at] != ',';
    if (!*last)
        r->at++;
    else if (r->at < r->n)
        pass_line_end(r);
    return EQ_OK;
}

eq_status eq_csv_parse(eq_csv *c, const char *bytes, int64_t n, const char *where, eq_err *err) {
    reader r = {bytes, n, 0, 1, where};
    *c = (eq_csv){0};
    while (r.at < n) {
        if (at_line_end(&r)) {
            pass_line_end(&r);
            continue;
        }
        if (!room(&c->rows, c->n_rows, &c->cap_rows, sizeof *c->rows))
            return eq_nomem(err, where, c->cap_rows * 2 * (int64_t)sizeof *c->rows);
        eq_csv_row *row = &c->rows[c->n_rows++];
        *row = (eq_csv_row){r.line, c->n_fields, 0};
        for (bool last = false; !last;) EQ_TRY(field(&r, c, &last, err));
        row->count = c->n_fields - row->first;
    }
    return c->text.oom ? eq_nomem(err, where, n) : EQ_OK;
}

void eq_csv_free(eq_csv *c) {
    eq_str_free(&c->text);
    eq_free(c->fields), eq_free(c->rows);
    *c = (eq_csv){0};
}
