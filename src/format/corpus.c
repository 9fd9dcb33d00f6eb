/* Documents out of text files; see corpus.h. Invariant: every document handed out is valid UTF-8
 * and whole; nothing of a file is passed over unless it was asked for, and then it is counted. */
#include "format/corpus.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "format/records.h"

struct eq_corpus {
    char *name;
    eq_corpus_opts o;
    eq_records *records; /* of a .jsonl */
    eq_inflate *in;      /* the file's bytes, also those of the records */
    bool begun, was_cr;
    int64_t taken; /* .txt: bytes of the text before `buf` */
    eq_str buf;    /* a piece of a .txt; the text of an object */
    char tail[4];  /* .txt: a character whose end lies in the next piece */
    int tail_n;
    int64_t skipped;
    eq_err first; /* of those */
};

static eq_status open_in(eq_corpus *c, const eq_file *f, eq_err *err) {
    if (f->kind == EQ_FILE_TEXT) return eq_inflate_open(&c->in, f, c->o.memory, err);
    EQ_TRY(eq_records_open(&c->records, f, c->o.memory, err));
    c->in = eq_records_stream(c->records);
    return EQ_OK;
}

eq_status eq_corpus_open(eq_corpus **out, const eq_file *f, const eq_corpus_opts *o, eq_err *err) {
    *out = NULL;
    EQ_TRY(eq_file_known(f, err));
    if (!eq_file_is_text(f))
        return eq_fail(err, EQ_EINPUT, "%s: expected text, found token ids", f->name);
    eq_corpus *c = eq_calloc(1, sizeof *c);
    if (!c) return eq_nomem(err, f->name, sizeof *c);
    if (o) c->o = *o;
    if (!c->o.field) c->o.field = "text";
    c->name = eq_strdup(f->name);
    eq_status st = c->name ? open_in(c, f, err) : eq_nomem(err, f->name, 256);
    if (st != EQ_OK) {
        eq_corpus_close(c);
        return st;
    }
    *out = c;
    return EQ_OK;
}

void eq_corpus_close(eq_corpus *c) {
    if (!c) return;
    if (!c->records) eq_inflate_close(c->in);
    eq_records_close(c->records);
    eq_str_free(&c->buf);
    eq_free(c->name);
    eq_free(c);
}

/* ---- one text -------------------------------------------------------------------------------- */

/* First byte that is not UTF-8, or n. */
static int64_t utf8_valid_to(const char *p, int64_t n) {
    int64_t i = 0;
    while (i < n) {
        utf8proc_int32_t cp;
        if (p[i] >= 0) {
            i++;
            continue;
        }
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)p + i, n - i, &cp);
        if (k < 1) return i;
        i += k;
    }
    return n;
}

/* \r\n and \r become \n, as reading in text mode makes them; a pair may lie in two pieces. */
static void unix_lines(eq_corpus *c) {
    int64_t to = 0;
    if (!c->was_cr && !memchr(c->buf.p, '\r', (size_t)c->buf.n)) return;
    for (int64_t i = 0; i < c->buf.n; i++) {
        char b = c->buf.p[i];
        if (!(b == '\n' && c->was_cr)) c->buf.p[to++] = b == '\r' ? '\n' : b;
        c->was_cr = b == '\r';
    }
    c->buf.n = to;
}

/* Editors on Windows put a byte order mark in front of a file; it is no part of the text. */
static void drop_mark(eq_corpus *c) {
    if (c->begun || !c->buf.n) return;
    c->begun = true;
    if (c->buf.n < 3 || memcmp(c->buf.p, "\xef\xbb\xbf", 3)) return;
    c->buf.n -= 3;
    memmove(c->buf.p, c->buf.p + 3, (size_t)c->buf.n);
}

/* Can these bytes, which are no character, become one when more come? */
static bool is_begun(const char *p, int64_t n) {
    uint8_t lead = (uint8_t)p[0];
    int64_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || n >= need) return n == 0;
    for (int64_t i = 1; i < n; i++)
        if (((uint8_t)p[i] & 0xc0) != 0x80) return false;
    return true;
}

static eq_status not_utf8(const eq_corpus *c, int64_t at, const char *p, int64_t n, eq_err *err) {
    bool wide = at == 0 && n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2));
    return eq_fail(err, EQ_EINPUT, "%s: byte %lld: expected UTF-8, found 0x%02x%s", c->name,
                   (long long)at, (unsigned char)*p,
                   wide ? ", the mark of UTF-16 (iconv -f UTF-16 -t UTF-8)" : "");
}

/* The next piece in whole characters; what is cut at its end waits in `tail`. */
static eq_status next_text(eq_corpus *c, const char **text, int64_t *n, eq_err *err) {
    const char *piece;
    int64_t len;
    EQ_TRY(eq_inflate_next(c->in, &piece, &len, err));
    if (!len && !c->tail_n) return EQ_OK;
    int64_t begin = c->taken - c->tail_n;
    c->buf.n = 0;
    eq_str_put(&c->buf, c->tail, c->tail_n);
    eq_str_put(&c->buf, piece, len);
    if (c->buf.oom) return eq_nomem(err, c->name, c->buf.n + len);
    c->taken += len;
    int64_t good = utf8_valid_to(c->buf.p, c->buf.n), rest = c->buf.n - good;
    bool cut = len > 0 && rest < 4 && is_begun(c->buf.p + good, rest);
    if (rest && !cut) return not_utf8(c, begin + good, c->buf.p + good, rest, err);
    memcpy(c->tail, c->buf.p + good, (size_t)rest);
    c->tail_n = (int)rest, c->buf.n = good;
    drop_mark(c);
    unix_lines(c);
    *text = c->buf.p, *n = c->buf.n;
    return EQ_OK;
}

/* ---- objects --------------------------------------------------------------------------------- */

/* Which members hold strings: what --text-field can name. */
static void put_names(eq_str *s, eq_jscan object) {
    eq_jscan key, v;
    for (int n = 0; n < 8 && eq_jscan_next(&object, &key, &v);) {
        if (*v.at != '"' || key.end - key.at > 40) continue;
        eq_str_puts(s, n++ ? ", " : "; strings in it: ");
        eq_str_put(s, key.at, key.end - key.at);
    }
    if (s->n) eq_str_puts(s, " (--text-field)");
}

static eq_status no_text(const eq_corpus *c, eq_jscan object, const eq_jscan *v, eq_err *err) {
    eq_str names = {0};
    if (!v->at) put_names(&names, object);
    eq_status st = eq_fail(err, EQ_EINPUT, "%s: %s: \"%s\": expected a string, found %s%s", c->name,
                           eq_records_where(c->records), c->o.field, eq_jscan_type(v),
                           names.n && !names.oom ? names.p : "");
    eq_str_free(&names);
    return st;
}

static eq_status read_object(eq_corpus *c, eq_jscan object, eq_err *err) {
    eq_jscan v;
    EQ_TRY(eq_records_object(c->records, &object, err));
    eq_jscan_find(object, c->o.field, &v);
    if (!v.at || *v.at != '"') return no_text(c, object, &v, err);
    c->buf.n = 0;
    bool good = eq_jscan_text(&v, &c->buf);
    if (c->buf.oom) return eq_nomem(err, c->name, object.end - object.at);
    if (good) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: %s: \"%s\": %s", c->name, eq_records_where(c->records),
                   c->o.field, v.why);
}

eq_status eq_corpus_next(eq_corpus *c, const char **text, int64_t *n, eq_err *err) {
    *text = NULL, *n = 0;
    if (!c->records) return next_text(c, text, n, err);
    for (;;) {
        eq_jscan object;
        eq_err why = {0};
        EQ_TRY(eq_records_next(c->records, &object, err));
        if (!object.at) return EQ_OK;
        eq_status st = read_object(c, object, &why);
        if (st == EQ_OK) break;
        if (!c->o.skip_bad || st != EQ_EINPUT) return eq_fail(err, st, "%s", why.msg);
        if (!c->skipped++) c->first = why;
    }
    *text = c->buf.p ? c->buf.p : "", *n = c->buf.n;
    return EQ_OK;
}

bool eq_corpus_is_text(const eq_corpus *c) { return !c->records; }
int64_t eq_corpus_line(const eq_corpus *c) { return c->records ? eq_records_line(c->records) : 1; }
int64_t eq_corpus_skipped(const eq_corpus *c, const char **why) {
    *why = c->first.msg;
    return c->skipped;
}
void eq_corpus_place(const eq_corpus *c, int64_t *at, int64_t *size) {
    eq_inflate_place(c->in, at, size);
}
eq_digest eq_corpus_sum(eq_corpus *c) { return eq_inflate_sum(c->in); }
