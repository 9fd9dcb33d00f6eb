/* Documents out of text files; see corpus.h. Invariant: every document handed out is valid UTF-8
 * and whole; nothing of a file is skipped except blank lines between JSON objects. */
#include "format/corpus.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/inflate.h"

struct eq_corpus {
    char *path;
    eq_inflate *in;
    bool is_text, was_cr;
    const char *piece; /* what the stream gave and nobody has taken yet */
    int64_t left;
    int64_t taken; /* bytes of the stream before `piece` */
    eq_str buf;    /* a piece of text, or a line that spans pieces */
    char tail[4];  /* .txt: a character whose end lies in the next piece */
    int tail_n;
    json_t *object; /* owns the newest document of a .jsonl */
    int64_t line;   /* of the newest document, from 1 */
};

/* "x.jsonl" of "x.jsonl.gz": does the name end so, compression aside? */
static bool is_kind(const char *path, const char *kind) {
    char with[32];
    const char *const packed[] = {"", ".gz", ".zst"};
    for (int i = 0; i < 3; i++) {
        strcpy(with, kind);
        size_t n = strlen(path), m = strlen(strcat(with, packed[i]));
        if (n >= m && !strcasecmp(path + n - m, with)) return true;
    }
    return false;
}

eq_status eq_corpus_open(eq_corpus **out, const char *path, eq_err *err) {
    *out = NULL;
    bool is_text = is_kind(path, ".txt") || is_kind(path, ".raw");
    bool is_lines = is_kind(path, ".jsonl") || is_kind(path, ".ndjson") || is_kind(path, ".json");
    if (!is_text && !is_lines)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected a name ending in .txt, .raw, .jsonl, .ndjson or .json (one "
                       "object a line), each also with .gz or .zst behind it, or in .npy (token "
                       "ids)%s",
                       path,
                       is_kind(path, ".parquet") ? "; pandas makes a .jsonl of a .parquet: "
                                                   "to_json(orient=\"records\", lines=True)"
                                                 : "");
    eq_corpus *c = eq_calloc(1, sizeof *c);
    if (!c) return eq_nomem(err, path, sizeof *c);
    c->is_text = is_text;
    c->path = eq_strdup(path);
    eq_status st = c->path ? eq_inflate_open(&c->in, path, err) : eq_nomem(err, path, 256);
    if (st != EQ_OK) {
        eq_corpus_close(c);
        return st;
    }
    *out = c;
    return EQ_OK;
}

void eq_corpus_close(eq_corpus *c) {
    if (!c) return;
    eq_inflate_close(c->in);
    json_decref(c->object);
    eq_str_free(&c->buf);
    eq_free(c->path);
    eq_free(c);
}

static eq_status fill(eq_corpus *c, eq_err *err) {
    if (c->left) return EQ_OK;
    return eq_inflate_next(c->in, &c->piece, &c->left, err);
}

static void take(eq_corpus *c, int64_t n) { c->piece += n, c->left -= n, c->taken += n; }

static eq_status keep(eq_corpus *c, int64_t n, eq_err *err) {
    eq_str_put(&c->buf, c->piece, n);
    if (c->buf.oom) return eq_nomem(err, c->path, c->buf.n + n);
    take(c, n);
    return EQ_OK;
}

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

/* Can these bytes, which are no character, become one when more come? */
static bool is_begun(const char *p, int64_t n) {
    uint8_t lead = (uint8_t)p[0];
    int64_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || n >= need) return n == 0;
    for (int64_t i = 1; i < n; i++)
        if (((uint8_t)p[i] & 0xc0) != 0x80) return false;
    return true;
}

/* The next piece in whole characters; what is cut at its end waits in `tail`. */
static eq_status next_text(eq_corpus *c, const char **text, int64_t *n, eq_err *err) {
    c->line = 1;
    EQ_TRY(fill(c, err));
    if (!c->left && !c->tail_n) return EQ_OK;
    int64_t begin = c->taken - c->tail_n, len = c->left;
    c->buf.n = 0;
    eq_str_put(&c->buf, c->tail, c->tail_n);
    eq_str_put(&c->buf, c->piece, len);
    if (c->buf.oom) return eq_nomem(err, c->path, c->buf.n + len);
    take(c, len);
    int64_t good = utf8_valid_to(c->buf.p, c->buf.n), rest = c->buf.n - good;
    bool cut = len > 0 && rest < 4 && is_begun(c->buf.p + good, rest);
    if (rest && !cut)
        return eq_fail(err, EQ_EINPUT, "%s: byte %lld: expected UTF-8, found 0x%02x", c->path,
                       (long long)(begin + good), (unsigned char)c->buf.p[good]);
    memcpy(c->tail, c->buf.p + good, (size_t)rest);
    c->tail_n = (int)rest, c->buf.n = good;
    unix_lines(c);
    *text = c->buf.p, *n = c->buf.n;
    return EQ_OK;
}

/* The next line without its newline, *line == NULL at the end of the file. Mostly it is handed out
 * where it lies; a line that ends in another piece is put together in `buf`. */
static eq_status next_line(eq_corpus *c, const char **line, int64_t *n, eq_err *err) {
    *line = NULL, *n = 0;
    c->buf.n = 0;
    EQ_TRY(fill(c, err));
    if (!c->left) return EQ_OK;
    c->line++;
    for (;;) {
        const char *end = memchr(c->piece, '\n', (size_t)c->left);
        int64_t k = end ? end - c->piece : c->left;
        if (end && !c->buf.n) {
            *line = c->piece, *n = k;
            take(c, k + 1);
            return EQ_OK;
        }
        EQ_TRY(keep(c, k, err));
        if (end)
            take(c, 1);
        else
            EQ_TRY(fill(c, err));
        if (end || !c->left) break;
    }
    *line = c->buf.p ? c->buf.p : "", *n = c->buf.n;
    return EQ_OK;
}

/* Editors on Windows put one in front of a file; JSON may not begin with it. */
static void skip_byte_order_mark(const eq_corpus *c, const char **line, int64_t *n) {
    if (c->line == 1 && *n >= 3 && !memcmp(*line, "\xef\xbb\xbf", 3)) *line += 3, *n -= 3;
}

/* Its first character that is no space, -1: there is none. */
static int first_char(const char *p, int64_t n) {
    while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r')) p++, n--;
    return n > 0 ? (unsigned char)*p : -1;
}

static eq_status read_object(eq_corpus *c, const char *line, int64_t n, eq_err *err) {
    json_error_t e;
    json_decref(c->object);
    c->object = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &e);
    /* integers of any size may stand beside the text */
    if (!c->object && json_error_code(&e) == json_error_numeric_overflow)
        c->object = json_loadb(line, (size_t)n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (first_char(line, n) == '[' && c->line == 1)
        return eq_fail(err, EQ_EINPUT,
                       "%s: line 1: expected one JSON object a line, found a JSON array (jq -c "
                       "'.[]' makes lines of it)",
                       c->path);
    if (!c->object)
        return eq_fail(err, EQ_EINPUT, "%s: line %lld: not JSON: byte %d: %s", c->path,
                       (long long)c->line, e.position, e.text);
    if (!json_is_object(c->object))
        return eq_fail(err, EQ_EINPUT, "%s: line %lld: expected a JSON object, found %s", c->path,
                       (long long)c->line, eq_json_type(c->object));
    const json_t *text = json_object_get(c->object, "text");
    if (!json_is_string(text))
        return eq_fail(err, EQ_EINPUT, "%s: line %lld: \"text\": expected a string, found %s",
                       c->path, (long long)c->line, eq_json_type(text));
    return EQ_OK;
}

eq_status eq_corpus_next(eq_corpus *c, const char **text, int64_t *n, eq_err *err) {
    *text = NULL, *n = 0;
    if (c->is_text) return next_text(c, text, n, err);
    const char *line;
    int64_t len;
    do {
        EQ_TRY(next_line(c, &line, &len, err));
        if (!line) return EQ_OK;
        skip_byte_order_mark(c, &line, &len);
    } while (first_char(line, len) < 0);
    EQ_TRY(read_object(c, line, len, err));
    const json_t *v = json_object_get(c->object, "text");
    *text = json_string_value(v), *n = (int64_t)json_string_length(v);
    return EQ_OK;
}

bool eq_corpus_is_text(const eq_corpus *c) { return c->is_text; }
int64_t eq_corpus_line(const eq_corpus *c) { return c->line; }

void eq_corpus_place(const eq_corpus *c, int64_t *at, int64_t *size) {
    eq_inflate_place(c->in, at, size);
}
