/* What the tensors of a folder hold: whether all of it is finite, its fingerprint, and whether it
 * is still what was opened. Invariant: reading through touches every byte once, front to back, so
 * it takes as long as the disk does. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/observe.h"
#include "base/par.h"
#include "model/weights.h"

/* ---- finite numbers ------------------------------------------------------------------------- */

enum { PIECE = 1 << 16 }; /* elements an item looks at */
typedef struct {
    const eq_tensor *t;
    int64_t from, to;
    _Atomic int64_t first; /* smallest index found so far */
} finite_job;

/* The bits that are all set in NaN and infinity (which F8 has not) and in nothing else. */
static uint64_t exponent_bits(eq_dtype t) {
    switch (t) {
    case EQ_F32:
        return 0x7f800000u;
    case EQ_BF16:
        return 0x7f80u;
    case EQ_F16:
        return 0x7c00u;
    case EQ_F8:
        return 0x7fu;
    default:
        return 0x7ff0000000000000u;
    }
}

static bool bad_at(const eq_tensor *t, int64_t i) {
    uint64_t m = exponent_bits(t->dt), v;
    if (eq_dtype_size(t->dt) == 1)
        v = ((const uint8_t *)t->data)[i];
    else if (eq_dtype_size(t->dt) == 2)
        v = ((const uint16_t *)t->data)[i];
    else if (eq_dtype_size(t->dt) == 4)
        v = ((const uint32_t *)t->data)[i];
    else
        v = ((const uint64_t *)t->data)[i];
    return (v & m) == m;
}

/* Two plain loops that vectorise say whether a piece is worth a second look. */
static void finite_piece(void *ctx, int64_t item, int thread) {
    finite_job *j = ctx;
    int64_t from = j->from + item * PIECE, to = from + PIECE < j->to ? from + PIECE : j->to;
    uint32_t m = (uint32_t)exponent_bits(j->t->dt);
    unsigned any = 0;
    (void)thread;
    if (j->t->dt == EQ_F32)
        for (int64_t i = from; i < to; i++) any |= (((const uint32_t *)j->t->data)[i] & m) == m;
    else if (j->t->dt == EQ_BF16 || j->t->dt == EQ_F16)
        for (int64_t i = from; i < to; i++) any |= (((const uint16_t *)j->t->data)[i] & m) == m;
    else if (j->t->dt == EQ_F8)
        for (int64_t i = from; i < to; i++) any |= (((const uint8_t *)j->t->data)[i] & m) == m;
    else
        any = 1;
    if (!any) return;
    while (from < to && !bad_at(j->t, from)) from++;
    if (from == to) return;
    int64_t old = atomic_load(&j->first);
    while (from < old && !atomic_compare_exchange_weak(&j->first, &old, from)) {
    }
}

/* Elements [from, to). */
static eq_status check_finite(const eq_tensor *t, int64_t from, int64_t to, eq_err *err) {
    finite_job j = {t, from, to, INT64_MAX};
    eq_par_for((to - from + PIECE - 1) / PIECE, finite_piece, &j);
    int64_t i = atomic_load(&j.first);
    if (i == INT64_MAX) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: tensor %s: expected finite numbers, found %g at element %lld", t->file,
                   t->name, (double)eq_load(t->data, t->dt, i), (long long)i);
}

eq_status eq_tensor_check_finite(const eq_tensor *t, eq_err *err) {
    return check_finite(t, 0, t->n, err);
}

/* ---- every byte once ------------------------------------------------------------------------- */

enum { STRETCH = 1 << 24 }; /* elements between two looks at the observer */
typedef struct {
    const eq_observer *obs;
    eq_hash *h;
    bool look;           /* for numbers that are not finite */
    int64_t done, total; /* bytes */
} reader;

static bool is_float(eq_dtype t) {
    return t == EQ_F64 || t == EQ_F32 || t == EQ_F16 || t == EQ_BF16 || t == EQ_F8;
}

/* All threads bring a stretch in from the disk, then it is hashed where it lies in memory. */
static eq_status read_tensor(reader *r, const eq_tensor *t, eq_err *err) {
    bool look = r->look && is_float(t->dt) && !eq_ends_with(t->name, "rotary_emb.inv_freq");
    int64_t size = eq_dtype_size(t->dt);
    for (int64_t from = 0, to; from < t->n; from = to) {
        to = t->n - from < STRETCH ? t->n : from + STRETCH;
        if (eq_stopped(r->obs)) return eq_fail(err, EQ_EINTR, "stopped on request");
        if (look) EQ_TRY(check_finite(t, from, to, err));
        eq_hash_put(r->h, (const char *)t->data + from * size, (to - from) * size);
        r->done += (to - from) * size;
        eq_progress p = {.phase = "read", .done = r->done, .total = r->total, .loss = NAN};
        eq_progress_say(r->obs, &p);
    }
    return EQ_OK;
}

/* The tensors of a file stand in the order of their data and cover it: see format/safetensors.c. */
static eq_status read_files(reader *r, const eq_st *st, eq_err *err) {
    int64_t at = 0, n = eq_st_count(st);
    for (int64_t f = 0; f < eq_st_files(st); f++) {
        const char *path;
        const uint8_t *data;
        int64_t size, tensors = 0;
        eq_st_file(st, f, &path, &data, &size);
        for (int64_t i = at; i < n && eq_st_at(st, i)->file == path; i++)
            tensors += eq_st_at(st, i)->bytes;
        eq_hash_put(r->h, &size, sizeof size);
        eq_hash_put(r->h, data, size - tensors);
        for (; at < n && eq_st_at(st, at)->file == path; at++)
            EQ_TRY(read_tensor(r, eq_st_at(st, at), err));
    }
    return EQ_OK;
}

static int64_t bytes_of(const eq_st *st) {
    int64_t bytes = 0;
    for (int64_t i = 0; st && i < eq_st_count(st); i++) bytes += eq_st_at(st, i)->bytes;
    return bytes;
}

/* look: at the numbers, too; else at the bytes alone. */
static eq_status fingerprint(const eq_weights *w, bool look, const eq_observer *obs, char hex[33],
                             eq_err *err) {
    reader r = {.obs = obs, .look = look, .total = bytes_of(w->st) + bytes_of(w->state)};
    if (!(r.h = eq_hash_new())) return eq_nomem(err, "a hash", 1024);
    eq_hash_put(r.h, &w->config.n, sizeof w->config.n);
    eq_hash_put(r.h, w->config.p, w->config.n);
    eq_status st = read_files(&r, w->st, err);
    if (st == EQ_OK && w->state) st = read_files(&r, w->state, err);
    memcpy(hex, eq_hash_end(r.h).hex, 33);
    return st;
}

eq_status eq_weights_read_through(eq_weights *w, const eq_observer *obs, char hex[33],
                                  eq_err *err) {
    EQ_TRY(fingerprint(w, true, obs, hex, err));
    memcpy(w->read, hex, sizeof w->read);
    return EQ_OK;
}

void eq_weights_drop(const eq_weights *w, int64_t block) {
    const eq_block_tensors *b = &w->blocks[block];
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_tensor *t[] = {b->qweight[l], b->qzeros[l], b->scales[l], b->g_idx[l]};
        for (int k = 0; k < 4; k++)
            if (t[k]) eq_st_drop(w->st, t[k]);
        if (b->state_s[l]) eq_st_drop(w->state, b->state_s[l]);
        if (b->state_z[l]) eq_st_drop(w->state, b->state_z[l]);
    }
}

static eq_status by_time(const eq_weights *w, eq_err *err) {
    EQ_TRY(eq_st_unchanged(w->st, err));
    return w->state ? eq_st_unchanged(w->state, err) : EQ_OK;
}

/* The times are taken before the bytes are read: what is written meanwhile shows the next time. */
eq_status eq_weights_unchanged(const eq_weights *w, eq_err *err) {
    eq_err why = {0};
    char hex[33];
    eq_status st = by_time(w, &why);
    bool whole = st == EQ_EINPUT && *w->read && eq_st_look_anew(w->st) &&
                 (!w->state || eq_st_look_anew(w->state));
    if (whole) EQ_TRY(fingerprint(w, false, NULL, hex, err));
    if (st == EQ_OK) return EQ_OK;
    if (!whole || strcmp(hex, w->read)) return eq_fail(err, st, "%s", why.msg);
    eq_st_accept(w->st);
    if (w->state) eq_st_accept(w->state);
    return EQ_OK;
}
