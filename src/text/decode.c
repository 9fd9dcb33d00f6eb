/* Decoders: Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace, Sequence. Every step turns
 * one list of strings into another; at the end they are put together. */
#include "text/decode.h"

#include <string.h>

#include "base/mem.h"
#include "text/byte_char.h"
#include "text/pattern.h"
#include "text/spec.h"
#include "text/utf8.h"

typedef enum { REPLACE, BYTE_FALLBACK, FUSE, STRIP, BYTE_LEVEL, METASPACE } kind;

typedef struct {
    kind kind;
    eq_pattern *pattern; /* REPLACE */
    eq_str text;         /* REPLACE: the replacement; STRIP, METASPACE: the character */
    int64_t start, stop; /* STRIP: characters at most */
    bool drop_first;     /* METASPACE: the first token loses its marks */
} step;

struct eq_decoder {
    step *steps;
    int64_t n;
    bool spaces; /* no decoder at all */
};

/* ---- reading --------------------------------------------------------------------------------- */

static eq_status keep(step *s, const char *text, int64_t n, eq_err *err) {
    eq_str_put(&s->text, text, n);
    return s->text.oom ? eq_nomem(err, "a decoder", n) : EQ_OK;
}

static eq_status parse_replace(step *s, const json_t *spec, const char *where, eq_err *err) {
    const char *text;
    int64_t n;
    s->kind = REPLACE;
    EQ_TRY(eq_spec_known(spec, "type pattern content", where, err));
    EQ_TRY(eq_spec_text(spec, "content", &text, &n, where, err));
    EQ_TRY(keep(s, text, n, err));
    return eq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), where, err);
}

static eq_status parse_strip(step *s, const json_t *spec, const char *where, eq_err *err) {
    const char *text;
    int64_t n;
    s->kind = STRIP;
    EQ_TRY(eq_spec_known(spec, "type content start stop", where, err));
    EQ_TRY(eq_spec_char(spec, "content", &text, &n, where, err));
    EQ_TRY(eq_json_need_int(spec, "start", 0, INT32_MAX, &s->start, where, err));
    EQ_TRY(eq_json_need_int(spec, "stop", 0, INT32_MAX, &s->stop, where, err));
    return keep(s, text, n, err);
}

static eq_status parse_metaspace(step *s, const json_t *spec, const char *where, eq_err *err) {
    const char *text, *scheme;
    int64_t n;
    bool prefix;
    s->kind = METASPACE;
    EQ_TRY(eq_spec_known(spec, "type replacement str_rep add_prefix_space prepend_scheme split",
                         where, err));
    EQ_TRY(eq_spec_char(spec, "replacement", &text, &n, where, err));
    EQ_TRY(eq_json_str(spec, "prepend_scheme", "always", &scheme, where, err));
    EQ_TRY(eq_json_bool(spec, "add_prefix_space", true, &prefix, where, err));
    s->drop_first = strcmp(scheme, "never") != 0;
    if (s->drop_first && strcmp(scheme, "always") && strcmp(scheme, "first"))
        return eq_spec_unsupported("Metaspace prepend_scheme", scheme, where, err);
    if (!prefix && s->drop_first)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: Metaspace: \"add_prefix_space\" false: expected \"prepend_scheme\" never, "
            "found %s",
            where, scheme);
    return keep(s, text, n, err);
}

static eq_status parse_step(step *s, const json_t *spec, const char *type, const char *where,
                            eq_err *err) {
    if (!strcmp(type, "Replace")) return parse_replace(s, spec, where, err);
    if (!strcmp(type, "Strip")) return parse_strip(s, spec, where, err);
    if (!strcmp(type, "Metaspace")) return parse_metaspace(s, spec, where, err);
    if (!strcmp(type, "ByteLevel")) {
        s->kind = BYTE_LEVEL;
        return eq_spec_known(spec, "type add_prefix_space trim_offsets use_regex", where, err);
    }
    if (!strcmp(type, "ByteFallback"))
        s->kind = BYTE_FALLBACK;
    else if (!strcmp(type, "Fuse"))
        s->kind = FUSE;
    else
        return eq_spec_unsupported("decoder", type, where, err);
    return eq_spec_known(spec, "type", where, err);
}

static eq_status parse(eq_decoder *d, const json_t *spec, const char *where, eq_err *err) {
    const char *type;
    EQ_TRY(eq_spec_type(spec, "decoder", &type, where, err));
    if (!strcmp(type, "Sequence")) {
        const json_t *list;
        EQ_TRY(eq_spec_known(spec, "type decoders", where, err));
        EQ_TRY(eq_spec_array(spec, "decoders", &list, where, err));
        for (size_t i = 0; i < json_array_size(list); i++)
            EQ_TRY(parse(d, json_array_get(list, i), where, err));
        return EQ_OK;
    }
    step *grown = eq_realloc(d->steps, d->n + 1, sizeof *grown);
    if (!grown) return eq_nomem(err, "a decoder", (d->n + 1) * (int64_t)sizeof *grown);
    d->steps = grown;
    memset(grown + d->n, 0, sizeof *grown);
    return parse_step(grown + d->n++, spec, type, where, err);
}

eq_status eq_decoder_new(eq_decoder **out, const json_t *spec, const char *where, eq_err *err) {
    eq_decoder *d = *out = eq_calloc(1, sizeof *d);
    if (!d) return eq_nomem(err, "a decoder", sizeof *d);
    d->spaces = !spec || json_is_null(spec);
    eq_status st = d->spaces ? EQ_OK : parse(d, spec, where, err);
    if (st != EQ_OK) {
        eq_decoder_free(d);
        *out = NULL;
    }
    return st;
}

void eq_decoder_free(eq_decoder *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) {
        eq_pattern_free(d->steps[i].pattern);
        eq_str_free(&d->steps[i].text);
    }
    eq_free(d->steps);
    eq_free(d);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Ends a string whose bytes have been put into p->bytes already. */
static eq_status close_piece(eq_pieces *p, eq_err *err) {
    if (p->n == p->cap) {
        int64_t cap = p->cap * 2 + 64;
        int64_t *end = eq_realloc(p->end, cap, sizeof *end);
        if (!end) return eq_nomem(err, "text", cap * 8);
        p->end = end, p->cap = cap;
    }
    p->end[p->n++] = p->bytes.n;
    return p->bytes.oom ? eq_nomem(err, "text", p->bytes.n) : EQ_OK;
}

eq_status eq_pieces_add(eq_pieces *p, const char *s, int64_t n, eq_err *err) {
    eq_str_put(&p->bytes, s, n);
    return close_piece(p, err);
}

void eq_pieces_free(eq_pieces *p) {
    eq_str_free(&p->bytes);
    eq_free(p->end);
    *p = (eq_pieces){0};
}

static const char *piece(const eq_pieces *p, int64_t i, int64_t *n) {
    int64_t from = i ? p->end[i - 1] : 0;
    *n = p->end[i] - from;
    return *n ? p->bytes.p + from : "";
}

static eq_status replace(const step *s, const char *t, int64_t n, eq_scan *scan, eq_pieces *out,
                         eq_err *err) {
    int64_t done = 0, start, end;
    bool found = n > 0;
    if (found) EQ_TRY(eq_scan_start(scan, s->pattern, t, n, err));
    while (found) {
        EQ_TRY(eq_scan_next(scan, &found, &start, &end, err));
        if (!found) break;
        eq_str_put(&out->bytes, t + done, start - done);
        eq_str_put(&out->bytes, s->text.p, s->text.n);
        done = end;
    }
    return eq_pieces_add(out, t + done, n - done, err);
}

/* Takes up to `start` of the character from the front and up to `stop` from the end. */
static eq_status strip(const step *s, const char *t, int64_t n, eq_pieces *out, eq_err *err) {
    int64_t c = s->text.n, lo = 0, hi = n;
    for (int64_t i = 0; i < s->start && hi - lo >= c && !memcmp(t + lo, s->text.p, (size_t)c); i++)
        lo += c;
    for (int64_t i = 0; i < s->stop && hi - lo >= c && !memcmp(t + hi - c, s->text.p, (size_t)c);
         i++)
        hi -= c;
    return eq_pieces_add(out, t + lo, hi - lo, err);
}

static eq_status metaspace(const step *s, const char *t, int64_t n, bool first, eq_pieces *out,
                           eq_err *err) {
    int64_t c = s->text.n, done = 0;
    for (int64_t i = 0; i + c <= n;) {
        if (memcmp(t + i, s->text.p, (size_t)c)) {
            i++;
            continue;
        }
        eq_str_put(&out->bytes, t + done, i - done);
        if (!(first && s->drop_first)) eq_str_put(&out->bytes, " ", 1);
        done = i += c;
    }
    return eq_pieces_add(out, t + done, n - done, err);
}

static int hex(char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The byte that "<0x41>" stands for, or -1. */
static int fallback_byte(const char *t, int64_t n) {
    if (n != 6 || memcmp(t, "<0x", 3) || t[5] != '>') return -1;
    int a = t[3] == '+' ? 0 : hex(t[3]), b = hex(t[4]);
    return a < 0 || b < 0 ? -1 : a * 16 + b;
}

/* A row of bytes becomes its text when that is UTF-8, else one U+FFFD for each byte. */
static eq_status flush_bytes(eq_str *bytes, eq_pieces *out, eq_err *err) {
    int64_t n = bytes->n;
    if (bytes->oom) return eq_nomem(err, "text", n);
    bytes->n = 0;
    if (n == 0) return EQ_OK;
    if (eq_utf8_valid(bytes->p, n) == n) return eq_pieces_add(out, bytes->p, n, err);
    for (int64_t i = 0; i < n; i++) EQ_TRY(eq_pieces_add(out, "\xef\xbf\xbd", 3, err));
    return EQ_OK;
}

static eq_status byte_fallback(const eq_pieces *in, eq_pieces *out, eq_err *err) {
    eq_str bytes = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0, n; i < in->n && st == EQ_OK; i++) {
        const char *t = piece(in, i, &n);
        int b = fallback_byte(t, n);
        if (b >= 0) {
            eq_str_put(&bytes, &(char){(char)b}, 1);
            continue;
        }
        st = flush_bytes(&bytes, out, err);
        if (st == EQ_OK) st = eq_pieces_add(out, t, n, err);
    }
    if (st == EQ_OK) st = flush_bytes(&bytes, out, err);
    eq_str_free(&bytes);
    return st;
}

/* Appends the bytes that the token's characters stand for; a token with a character outside of the
 * alphabet stands for its own bytes. */
static void put_alphabet(eq_str *bytes, const char *t, int64_t n) {
    int64_t was = bytes->n;
    uint32_t cp;
    for (int64_t k = 0; k < n;) {
        k += eq_utf8_get(t + k, &cp);
        int b = eq_char_to_byte(cp);
        if (b < 0) {
            bytes->n = was;
            eq_str_put(bytes, t, n);
            return;
        }
        eq_str_put(bytes, &(char){(char)b}, 1);
    }
}

static eq_status byte_level(const eq_pieces *in, eq_pieces *out, eq_err *err) {
    eq_str bytes = {0};
    for (int64_t i = 0, n; i < in->n; i++) {
        const char *t = piece(in, i, &n);
        put_alphabet(&bytes, t, n);
    }
    bool oom = bytes.oom;
    if (!oom) eq_utf8_repair(&out->bytes, bytes.p, bytes.n);
    eq_str_free(&bytes);
    return oom ? eq_nomem(err, "text", in->bytes.n) : close_piece(out, err);
}

static eq_status run(const step *s, const eq_pieces *in, eq_pieces *out, eq_err *err) {
    if (s->kind == BYTE_FALLBACK) return byte_fallback(in, out, err);
    if (s->kind == BYTE_LEVEL) return byte_level(in, out, err);
    if (s->kind == FUSE) return eq_pieces_add(out, in->bytes.p, in->bytes.n, err);
    eq_scan scan = {0};
    eq_status st = EQ_OK;
    for (int64_t i = 0, n; i < in->n && st == EQ_OK; i++) {
        const char *t = piece(in, i, &n);
        if (s->kind == REPLACE)
            st = replace(s, t, n, &scan, out, err);
        else if (s->kind == STRIP)
            st = strip(s, t, n, out, err);
        else
            st = metaspace(s, t, n, i == 0, out, err);
    }
    eq_scan_free(&scan);
    return st;
}

eq_status eq_decoder_run(const eq_decoder *d, eq_pieces *p, eq_str *out, eq_err *err) {
    for (int64_t i = 0; i < d->n; i++) {
        eq_pieces next = {0};
        eq_status st = run(d->steps + i, p, &next, err);
        eq_pieces_free(p);
        *p = next;
        if (st != EQ_OK) return st;
    }
    for (int64_t i = 0, n; i < p->n; i++) {
        const char *t = piece(p, i, &n);
        if (d->spaces && i) eq_str_puts(out, " ");
        eq_str_put(out, t, n);
    }
    return out->oom ? eq_nomem(err, "text", p->bytes.n) : EQ_OK;
}
