/* See spm_model.h. Numbers of fields are those of sentencepiece_model.proto; a field that is left
 * out has the default that stands there. */
#include "text/spm_model.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "text/protobuf.h"
#include "text/utf8.h"

typedef struct {
    eq_spm *m;
    const char *path;
    eq_err *err;
} reader;

static eq_status broken(reader *r, const char *what) {
    return eq_fail(r->err, EQ_EINPUT, "%s: expected a sentencepiece model, found %s", r->path,
                   what);
}

static eq_status read_piece(reader *r, const eq_pb_field *in, eq_spm_piece *p) {
    eq_pb m = {in->bytes, in->bytes + in->n, false};
    eq_pb_field f;
    *p = (eq_spm_piece){.s = "", .type = EQ_SPM_NORMAL};
    while (eq_pb_next(&m, &f)) {
        if (f.number == 1 && f.kind == EQ_PB_BYTES) p->s = (const char *)f.bytes, p->n = f.n;
        if (f.number == 2 && f.kind == EQ_PB_32) p->score = eq_pb_float(&f);
        if (f.number == 3 && f.kind == EQ_PB_VARINT) p->type = (int)(f.value & 0xff);
    }
    if (m.broken) return broken(r, "a broken piece");
    if (p->type < EQ_SPM_NORMAL || p->type > EQ_SPM_BYTE)
        return broken(r, "a piece of an unknown type");
    if (!p->n || memchr(p->s, 0, (size_t)p->n) || eq_utf8_valid(p->s, p->n) != p->n)
        return broken(r, "a piece that is no text");
    return isfinite(p->score) ? EQ_OK : broken(r, "a score that is not finite");
}

static eq_status read_trainer(reader *r, const eq_pb_field *in) {
    eq_pb m = {in->bytes, in->bytes + in->n, false};
    eq_pb_field f;
    while (eq_pb_next(&m, &f)) {
        if (f.number == 3 && f.kind == EQ_PB_VARINT) {
            if (f.value != 1 && f.value != 2)
                return broken(r,
                              "a model of words or characters, which is neither Unigram nor BPE");
            r->m->bpe = f.value == 2;
        }
        if (f.number == 24 && f.kind == EQ_PB_VARINT && f.value)
            return broken(
                r, "spaces behind words (treat_whitespace_as_suffix), which is not supported");
        if (f.number == 35 && f.kind == EQ_PB_VARINT) r->m->byte_fallback = f.value != 0;
        if (f.number == 40 && f.kind == EQ_PB_VARINT) r->m->unk_id = (int64_t)(int32_t)f.value;
        if (f.number == 45 && f.kind == EQ_PB_BYTES)
            r->m->unk = (const char *)f.bytes, r->m->unk_n = f.n;
    }
    return m.broken ? broken(r, "a broken trainer_spec") : EQ_OK;
}

static eq_status read_normalizer(reader *r, const eq_pb_field *in) {
    eq_pb m = {in->bytes, in->bytes + in->n, false};
    eq_pb_field f;
    while (eq_pb_next(&m, &f)) {
        bool on = f.value != 0;
        if (f.number == 2 && f.kind == EQ_PB_BYTES && f.n)
            r->m->charsmap = (const char *)f.bytes, r->m->charsmap_n = f.n;
        if (f.number == 3 && f.kind == EQ_PB_VARINT) r->m->add_dummy_prefix = on;
        if (f.number == 4 && f.kind == EQ_PB_VARINT) r->m->remove_extra_whitespaces = on;
        if (f.number == 5 && f.kind == EQ_PB_VARINT) r->m->escape_whitespaces = on;
    }
    return m.broken ? broken(r, "a broken normalizer_spec") : EQ_OK;
}

static eq_status count_pieces(reader *r, int64_t *n) {
    eq_pb m = {r->m->map.data, r->m->map.data + r->m->map.size, false};
    eq_pb_field f;
    *n = 0;
    while (eq_pb_next(&m, &f)) *n += f.number == 1 && f.kind == EQ_PB_BYTES;
    if (m.broken) return broken(r, "another kind of file, or one that is cut");
    return *n ? EQ_OK : broken(r, "no pieces");
}

static eq_status load(reader *r) {
    eq_spm *s = r->m;
    eq_pb m = {s->map.data, s->map.data + s->map.size, false};
    eq_pb_field f;
    int64_t n;
    EQ_TRY(count_pieces(r, &n));
    if (!(s->piece = eq_calloc(n, sizeof *s->piece)))
        return eq_nomem(r->err, "a vocabulary", n * (int64_t)sizeof *s->piece);
    while (eq_pb_next(&m, &f)) {
        if (f.kind != EQ_PB_BYTES) continue;
        if (f.number == 1) EQ_TRY(read_piece(r, &f, s->piece + s->n++));
        if (f.number == 2) EQ_TRY(read_trainer(r, &f));
        if (f.number == 3) EQ_TRY(read_normalizer(r, &f));
    }
    if (s->unk_id < 0 || s->unk_id >= s->n) return broken(r, "an unk_id that is no piece");
    if (memchr(s->unk, 0, (size_t)s->unk_n) || eq_utf8_valid(s->unk, s->unk_n) != s->unk_n)
        return broken(r, "an unk_piece that is no text");
    return EQ_OK;
}

eq_status eq_spm_open(eq_spm *m, const char *path, eq_err *err) {
    *m = (eq_spm){.add_dummy_prefix = true,
                  .remove_extra_whitespaces = true,
                  .escape_whitespaces = true,
                  .unk = "<unk>",
                  .unk_n = 5};
    reader r = {m, path, err};
    eq_map map;
    EQ_TRY(eq_map_open(&map, path, err));
    m->map = map;
    eq_status st = load(&r);
    if (st != EQ_OK) eq_spm_close(m);
    return st;
}

void eq_spm_close(eq_spm *m) {
    if (m->map.data) eq_map_close(&m->map);
    eq_free(m->piece);
    *m = (eq_spm){0};
}
