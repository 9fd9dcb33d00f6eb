/* See snapshot.h. Invariant: what is loaded was saved by the same run for the same block, whole. */
#include "train/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

enum { PIECE = 1 << 20 }; /* values on the host at once */
enum { PARTS = 3 * (5 * EQ_LINS + EQ_NORM_COUNT) };

typedef struct {
    char name[80];
    eq_mut m;
} part;

static int add(part *out, int n, const eq_param *p, const char *owner, const char *what) {
    const eq_mut all[] = {p->p, p->m, p->v};
    const char *const suffix[] = {"", "_m", "_v"};
    for (int a = 0; a < 3; a++) {
        if (!all[a].n) continue;
        snprintf(out[n].name, sizeof out->name, "%s.%s%s", owner, what, suffix[a]);
        out[n++].m = all[a];
    }
    return n;
}

/* Everything that training changes, in the order of the file. Returns how many. */
static int parts_of(const eq_student *st, part *out) {
    int n = 0;
    for (eq_lin l = 0; l < EQ_LINS; l++) {
        const char *name = eq_lin_of(st->cfg, l).name;
        n = add(out, n, &st->W[l], name, "W");
        n = add(out, n, &st->s[l], name, "s");
        n = add(out, n, &st->z[l], name, "z");
        n = add(out, n, &st->clip[l], name, "clip");
        n = add(out, n, &st->offset[l], name, "offset");
    }
    for (eq_norm k = 0; k < EQ_NORM_COUNT; k++)
        n = add(out, n, &st->norm[k], eq_norm_of(st->cfg, k).name, "weight");
    return n;
}

int64_t eq_snapshot_bytes(const eq_student *st) {
    part p[PARTS];
    int64_t bytes = 0;
    for (int i = parts_of(st, p) - 1; i >= 0; i--) bytes += 4 * p[i].m.n;
    return bytes;
}

/* "run": a digest, since the text may be long. */
static void identity(const eq_snapshot *s, char *run, char *block, size_t cap) {
    snprintf(run, cap, "%s", eq_hash_bytes(s->run, (int64_t)strlen(s->run)).hex);
    snprintf(block, cap, "%lld", (long long)s->block);
}

/* ---- out ------------------------------------------------------------------------------------- */

static eq_status put_student(const part *p, int n, eq_backend *be, eq_stw *w, float *piece,
                             eq_err *err) {
    for (int i = 0; i < n; i++)
        for (int64_t from = 0, k; from < p[i].m.n; from += k) {
            k = p[i].m.n - from < PIECE ? p[i].m.n - from : PIECE;
            be->download(be, piece, EQ_F32, eq_ro(eq_mut_at(p[i].m, from, k)));
            EQ_TRY(be->sync(be, err));
            EQ_TRY(eq_stw_put(w, piece, 4 * k, err));
        }
    return EQ_OK;
}

static eq_status put_all(const eq_snapshot *s, const eq_student *st, eq_stw *w, float *piece,
                         eq_err *err) {
    char run[40], block[40];
    part p[PARTS];
    int n = parts_of(st, p);
    int64_t words = s->at_bytes / 8;
    identity(s, run, block, sizeof run);
    EQ_TRY(eq_stw_meta(w, "run", run, err));
    EQ_TRY(eq_stw_meta(w, "block", block, err));
    EQ_TRY(eq_stw_tensor(w, "at", EQ_I64, 1, &words, err));
    for (int i = 0; i < n; i++) EQ_TRY(eq_stw_tensor(w, p[i].name, EQ_F32, 1, &p[i].m.n, err));
    EQ_TRY(eq_stw_begin(w, err));
    EQ_TRY(eq_stw_put(w, s->at, s->at_bytes, err));
    return put_student(p, n, st->be, w, piece, err);
}

eq_status eq_snapshot_save(const eq_snapshot *s, const eq_student *st, eq_err *err) {
    eq_stw *w = NULL;
    float *piece = eq_calloc(PIECE, sizeof *piece);
    if (!piece) return eq_nomem(err, "a piece of a block's state", PIECE * 4);
    eq_status r = eq_stw_new(&w, s->path, err);
    if (r == EQ_OK) {
        eq_stw_seal(w);
        r = put_all(s, st, w, piece, err);
        if (r == EQ_OK)
            r = eq_stw_end(w, err);
        else
            eq_stw_abort(w);
    }
    eq_free(piece);
    return r;
}

/* ---- in -------------------------------------------------------------------------------------- */

static bool is(const eq_st *file, const char *key, const char *want) {
    const char *have = eq_st_meta(file, key);
    return have && !strcmp(have, want);
}

static eq_status find(const eq_snapshot *s, const eq_st *file, const char *name, eq_dtype dt,
                      int64_t n, const eq_tensor **t, eq_err *err) {
    *t = eq_st_find(file, name);
    if (*t && (*t)->dt == dt && (*t)->n == n) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: expected %lld values, found %lld", s->path, name,
                   (long long)n, (long long)(*t ? (*t)->n : 0));
}

/* to NULL: only look. */
static eq_status get_all(const eq_snapshot *s, const eq_student *st, const eq_st *file,
                         eq_backend *to, eq_err *err) {
    char run[40], block[40];
    part p[PARTS];
    int n = parts_of(st, p);
    const eq_tensor *at, *t;
    identity(s, run, block, sizeof run);
    if (!is(file, "run", run) || !is(file, "block", block))
        return eq_fail(err, EQ_EINPUT, "%s: expected the state of block %s of this run", s->path,
                       block);
    EQ_TRY(find(s, file, "at", EQ_I64, s->at_bytes / 8, &at, err));
    for (int i = 0; i < n; i++) {
        EQ_TRY(find(s, file, p[i].name, EQ_F32, p[i].m.n, &t, err));
        if (to) to->upload(to, p[i].m, t->data, EQ_F32);
    }
    memcpy(s->at, at->data, (size_t)s->at_bytes);
    return to ? to->sync(to, err) : EQ_OK;
}

static eq_status read_file(const eq_snapshot *s, const eq_student *st, eq_backend *to,
                           eq_err *err) {
    eq_st *file;
    EQ_TRY(eq_st_open_sealed(&file, s->path, err));
    eq_status r = get_all(s, st, file, to, err);
    eq_st_close(file);
    return r;
}

eq_status eq_snapshot_load(const eq_snapshot *s, eq_student *st, eq_err *err) {
    st->stale = true;
    return read_file(s, st, st->be, err);
}
eq_status eq_snapshot_look(const eq_snapshot *s, const eq_student *st, eq_err *err) {
    return read_file(s, st, NULL, err);
}
