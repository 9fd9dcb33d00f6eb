/* Documents out of text files; see corpus.h. Invariant: every document handed out is valid UTF-8
 * and whole; nothing of a file is skipped except blank lines between JSON objects. */
#include "format/corpus.h"

#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "format/inflate.h"

struct eq_corpus {
    char *path;
    eq_inflate *in;
    bool is_text, ended;
    const char *piece; /* what the stream gave and nobody has taken yet */
    int64_t left;
    int64_t taken;    /* bytes of the stream before `piece` */
    eq_str buf;       /* the text, or a line that spans pieces */
    json_t *object;   /* owns the newest document of a .jsonl */
    int64_t line, at; /* of the newest document: number from 1, first byte */
};

/* "x.jsonl" of "x.jsonl.gz": does the name end so, compression aside? */
static bool is_kind(const char *path, const char *kind) {
    char with[32];
    const char *const packed[] = {"", ".gz", ".zst"};
    for (int i = 0; i < 3; i++) {
        strcpy(with, kind);
        if (eq_ends_with(path, strcat(with, packed[i]))) return true;
    }
    return false;
}

eq_status eq_corpus_open(eq_corpus **out, const char *path, eq_err *err) {
    *out = NULL;
    bool is_text = is_kind(path, ".txt") || is_kind(path, ".raw");
    if (!is_text && !is_kind(path, ".jsonl") && !is_kind(path, ".json"))
        return eq_fail(
            err, EQ_EINPUT,
            "%s: expected a name ending in .txt, .raw, .jsonl or .json (one object a line), "
            "each also with .gz or .zst behind it",
            path);
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

static eq_status next_text(eq_corpus *c, const char **text, int64_t *n, eq_err *err) {
    if (c->ended) return EQ_OK;
    c->ended = true, c->line = 1;
    EQ_TRY(fill(c, err));
    const char *p = c->piece;
    int64_t len = c->left;
    if (!eq_inflate_is_plain(c->in)) {
        while (c->left) {
            EQ_TRY(keep(c, c->left, err));
            EQ_TRY(fill(c, err));
        }
        p = c->buf.n ? c->buf.p : "", len = c->buf.n;
    }
    int64_t good = utf8_valid_to(p, len);
    if (good < len)
        return eq_fail(err, EQ_EINPUT, "%s: byte %lld: expected UTF-8, found 0x%02x", c->path,
                       (long long)good, (unsigned char)p[good]);
    *text = p, *n = len;
    return EQ_OK;
}

/* The next line without its newline, *line == NULL at the end of the file. Mostly it is handed out
 * where it lies; a line that ends in another piece is put together in `buf`. */
static eq_status next_line(eq_corpus *c, const char **line, int64_t *n, eq_err *err) {
    *line = NULL, *n = 0;
    c->buf.n = 0;
    EQ_TRY(fill(c, err));
    if (!c->left) return EQ_OK;
    c->line++, c->at = c->taken;
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

static bool is_blank(const char *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') return false;
    return true;
}

static eq_status read_object(eq_corpus *c, const char *line, int64_t n, eq_err *err) {
    json_error_t e;
    json_decref(c->object);
    c->object = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &e);
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
    } while (is_blank(line, len));
    EQ_TRY(read_object(c, line, len, err));
    const json_t *v = json_object_get(c->object, "text");
    *text = json_string_value(v), *n = (int64_t)json_string_length(v);
    return EQ_OK;
}

bool eq_corpus_is_text(const eq_corpus *c) { return c->is_text; }
int64_t eq_corpus_line(const eq_corpus *c) { return c->line; }

bool eq_corpus_can_seek(const eq_corpus *c) { return !c->is_text && eq_inflate_is_plain(c->in); }
int64_t eq_corpus_tell(const eq_corpus *c) { return c->at; }

void eq_corpus_seek(eq_corpus *c, int64_t at, int64_t line) {
    eq_inflate_seek(c->in, at);
    c->left = 0, c->taken = at, c->line = line - 1;
}
