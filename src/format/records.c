/* See records.h. Invariant: nothing of a file is skipped but a byte order mark at its start, blank
 * lines, and the space and commas between the elements of an array. */
#include "format/records.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

typedef enum { UNKNOWN, LINES, ARRAY, OVER } layout;

struct eq_records {
    char *name;
    eq_inflate *in;
    layout layout;
    const char *piece; /* what the stream gave and nobody has taken yet */
    int64_t left;
    eq_str buf;        /* a record that is not whole in one piece */
    int64_t now, line; /* lines: that of the next byte, that of the newest record */
    int64_t element;   /* of an array, from 1 */
    char where[64];
};

eq_status eq_records_open(eq_records **out, const eq_file *f, int64_t memory, eq_err *err) {
    *out = NULL;
    eq_records *r = eq_calloc(1, sizeof *r);
    if (!r) return eq_nomem(err, f->name, sizeof *r);
    r->now = 1, r->name = eq_strdup(f->name);
    eq_status st = r->name ? eq_inflate_open(&r->in, f, memory, err) : eq_nomem(err, f->name, 256);
    if (st != EQ_OK) {
        eq_records_close(r);
        return st;
    }
    *out = r;
    return EQ_OK;
}

void eq_records_close(eq_records *r) {
    if (!r) return;
    eq_inflate_close(r->in);
    eq_str_free(&r->buf);
    eq_free(r->name);
    eq_free(r);
}

int64_t eq_records_line(const eq_records *r) { return r->line; }
eq_inflate *eq_records_stream(eq_records *r) { return r->in; }

/* ---- bytes ----------------------------------------------------------------------------------- */

static eq_status fill(eq_records *r, eq_err *err) {
    if (r->left) return EQ_OK;
    return eq_inflate_next(r->in, &r->piece, &r->left, err);
}

static void take(eq_records *r, int64_t n) { r->piece += n, r->left -= n; }

static eq_status keep(eq_records *r, int64_t n, eq_err *err) {
    eq_str_put(&r->buf, r->piece, n);
    if (r->buf.oom) return eq_nomem(err, r->name, r->buf.n + n);
    take(r, n);
    return EQ_OK;
}

/* Comes to the next byte that is no space. */
static eq_status space(eq_records *r, eq_err *err) {
    for (;;) {
        EQ_TRY(fill(r, err));
        int64_t n = 0;
        for (; n < r->left && strchr(" \t\r\n", r->piece[n]) && r->piece[n]; n++)
            r->now += r->piece[n] == '\n';
        take(r, n);
        if (r->left || !n) return EQ_OK;
    }
}

/* Past a byte order mark and space: lines, or one array? */
static eq_status begin(eq_records *r, eq_err *err) {
    static const char mark[] = "\xef\xbb\xbf";
    for (int i = 0; i < 3; i++) {
        EQ_TRY(fill(r, err));
        if (!r->left || *r->piece != mark[i]) {
            if (i) return eq_fail(err, EQ_EINPUT, "%s: line 1: not JSON: byte 0", r->name);
            break;
        }
        take(r, 1);
    }
    EQ_TRY(space(r, err));
    r->layout = r->left && *r->piece == '[' ? ARRAY : LINES;
    if (r->layout == ARRAY) take(r, 1);
    return EQ_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* The next line without its newline; *line NULL at the end. Mostly it is given where it lies; one
 * that ends in another piece is put together. */
static eq_status next_line(eq_records *r, const char **line, int64_t *n, eq_err *err) {
    *line = NULL, *n = 0;
    r->buf.n = 0;
    EQ_TRY(fill(r, err));
    if (!r->left) return EQ_OK;
    r->line = r->now++;
    for (;;) {
        const char *end = memchr(r->piece, '\n', (size_t)r->left);
        int64_t k = end ? end - r->piece : r->left;
        if (end && !r->buf.n) {
            *line = r->piece, *n = k;
            take(r, k + 1);
            return EQ_OK;
        }
        EQ_TRY(keep(r, k, err));
        if (end)
            take(r, 1);
        else
            EQ_TRY(fill(r, err));
        if (end || !r->left) break;
    }
    *line = r->buf.p ? r->buf.p : "", *n = r->buf.n;
    return EQ_OK;
}

static bool is_blank(const char *p, int64_t n) {
    while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r')) p++, n--;
    return n <= 0;
}

static eq_status next_of_lines(eq_records *r, eq_jscan *object, eq_err *err) {
    const char *line;
    int64_t n;
    do {
        EQ_TRY(next_line(r, &line, &n, err));
        if (!line) return EQ_OK;
    } while (is_blank(line, n));
    *object = eq_jscan_of(line, n);
    snprintf(r->where, sizeof r->where, "line %lld", (long long)r->line);
    return EQ_OK;
}

/* ---- elements -------------------------------------------------------------------------------- */

static eq_status broken(eq_records *r, const char *what, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: line %lld: %s", r->name, (long long)r->now, what);
}

typedef struct {
    int64_t depth;
    bool string, escaped, begun;
} nesting;

/* Bytes of the piece that belong to the element; *over: it ends before the first that does not. */
static int64_t element_bytes(eq_records *r, nesting *b, bool *over) {
    int64_t i = 0;
    for (; i < r->left && !*over; i++) {
        char c = r->piece[i];
        if (c == '\n') r->now++;
        if (b->string) {
            bool ends = c == '"' && !b->escaped;
            b->escaped = c == '\\' && !b->escaped;
            if (ends) b->string = false;
            *over = ends && !b->depth;
        } else if (c == '"') {
            b->string = true;
        } else if (c == '{' || c == '[') {
            b->depth++;
        } else if ((c == '}' || c == ']') && b->depth) {
            *over = --b->depth == 0;
        } else if (!b->depth && (c == ',' || c == ']' || c == ' ' || c == '\n' || c == '\r')) {
            *over = true; /* behind a number or a word */
            if (c == '\n') r->now--;
            return i;
        }
    }
    return i;
}

static eq_status take_element(eq_records *r, eq_err *err) {
    nesting b = {0};
    bool over = false;
    r->buf.n = 0;
    while (!over) {
        EQ_TRY(fill(r, err));
        if (!r->left) return broken(r, "the array ends within an element: the file is cut", err);
        EQ_TRY(keep(r, element_bytes(r, &b, &over), err));
    }
    return EQ_OK;
}

static eq_status close_array(eq_records *r, eq_err *err) {
    take(r, 1);
    EQ_TRY(space(r, err));
    if (r->left) return broken(r, "expected nothing behind the array", err);
    r->layout = OVER;
    return EQ_OK;
}

static eq_status next_of_array(eq_records *r, eq_jscan *object, eq_err *err) {
    EQ_TRY(space(r, err));
    if (r->left && *r->piece == ']') return close_array(r, err);
    if (r->element && r->left) {
        if (*r->piece != ',') return broken(r, "expected ',' or ']' behind an element", err);
        take(r, 1);
        EQ_TRY(space(r, err));
    }
    if (!r->left) return broken(r, "the array has no end: the file is cut", err);
    if (*r->piece == ',' || *r->piece == ']')
        return broken(r, "expected an element of the array", err);
    r->line = r->now, r->element++;
    EQ_TRY(take_element(r, err));
    *object = eq_jscan_of(r->buf.p, r->buf.n);
    snprintf(r->where, sizeof r->where, "element %lld (line %lld)", (long long)r->element,
             (long long)r->line);
    return EQ_OK;
}

eq_status eq_records_next(eq_records *r, eq_jscan *object, eq_err *err) {
    *object = (eq_jscan){0};
    if (r->layout == UNKNOWN) EQ_TRY(begin(r, err));
    if (r->layout == LINES) return next_of_lines(r, object, err);
    return r->layout == ARRAY ? next_of_array(r, object, err) : EQ_OK;
}

/* ---- what is in one -------------------------------------------------------------------------- */

const char *eq_records_where(const eq_records *r) { return r->where; }

eq_status eq_records_object(const eq_records *r, eq_jscan *object, eq_err *err) {
    eq_jscan s = *object, whole = {0};
    if (!eq_jscan_value(&s, &whole) || !eq_jscan_end(&s))
        return eq_fail(err, EQ_EINPUT, "%s: %s: not JSON: byte %lld: %s", r->name, r->where,
                       (long long)(s.at - s.begin), s.why);
    if (*whole.at != '{')
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected a JSON object, found %s", r->name,
                       r->where, eq_jscan_type(&whole));
    *object = whole;
    return EQ_OK;
}
