/* See snapshot.h. Invariant: the file has no name from the moment it exists, so whatever ends the
 * program ends the file. */
#define _GNU_SOURCE
#include "train/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

enum { PIECE = 1 << 20 }; /* values on the host at once */
enum { PARTS = 3 * (3 * EQ_LINS + EQ_NORM_COUNT) };

/* Everything that training changes, in the order of the file. Returns how many. */
static int parts_of(const eq_student *st, eq_mut *out) {
    int n = 0;
    const eq_param *const lists[] = {st->W, st->s, st->z, st->norm};
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < (k < 3 ? (int)EQ_LINS : (int)EQ_NORM_COUNT); i++) {
            const eq_param *p = &lists[k][i];
            const eq_mut part[] = {p->p, p->m, p->v};
            for (int a = 0; a < 3; a++)
                if (part[a].n) out[n++] = part[a];
        }
    return n;
}

int64_t eq_snapshot_bytes(const eq_student *st) {
    eq_mut part[PARTS];
    int64_t bytes = 0;
    for (int i = parts_of(st, part) - 1; i >= 0; i--) bytes += 4 * part[i].n;
    return bytes;
}

static eq_status create(eq_snapshot *s, eq_err *err) {
    char *path = eq_sprintf("%s/last-good-XXXXXX", s->dir);
    if (!path) return eq_nomem(err, "a path", 256);
    s->fd = mkostemp(path, O_CLOEXEC);
    eq_status st = s->fd < 0 ? eq_fail_errno(err, "%s: cannot create", path) : EQ_OK;
    if (st == EQ_OK) unlink(path);
    s->kept = st == EQ_OK;
    eq_free(path);
    return st;
}

/* All n bytes at `at`, or false with errno. */
static bool transfer(int fd, bool out, char *p, int64_t n, int64_t at) {
    while (n > 0) {
        ssize_t k = out ? pwrite(fd, p, (size_t)n, at) : pread(fd, p, (size_t)n, at);
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = EIO;
        if (k <= 0) return false;
        p += k, n -= k, at += k;
    }
    return true;
}

/* The student to the file, or back, piece by piece. */
static eq_status copy(const eq_snapshot *s, const eq_student *st, bool out, float *piece,
                      eq_err *err) {
    eq_backend *be = st->be;
    eq_mut part[PARTS];
    int64_t at = 0;
    int parts = parts_of(st, part);
    for (int i = 0; i < parts; i++)
        for (int64_t from = 0, n; from < part[i].n; from += n, at += 4 * n) {
            n = part[i].n - from < PIECE ? part[i].n - from : PIECE;
            eq_mut m = eq_mut_at(part[i], from, n);
            if (out) be->download(be, piece, EQ_F32, eq_ro(m));
            if (out) EQ_TRY(be->sync(be, err));
            if (!transfer(s->fd, out, (char *)piece, 4 * n, at))
                return eq_fail_errno(err, "%s: cannot %s the last good state of the block", s->dir,
                                     out ? "write" : "read");
            if (!out) be->upload(be, m, piece, EQ_F32);
            if (!out) EQ_TRY(be->sync(be, err)); /* the piece is used again */
        }
    return EQ_OK;
}

static eq_status move(const eq_snapshot *s, const eq_student *st, bool out, eq_err *err) {
    float *piece = eq_calloc(PIECE, sizeof *piece);
    if (!piece) return eq_nomem(err, "a piece of the last good state", PIECE * 4);
    eq_status r = copy(s, st, out, piece, err);
    eq_free(piece);
    return r;
}

eq_status eq_snapshot_keep(eq_snapshot *s, const eq_student *st, eq_err *err) {
    if (!s->kept) EQ_TRY(create(s, err));
    s->step = st->step;
    return move(s, st, true, err);
}

eq_status eq_snapshot_restore(const eq_snapshot *s, eq_student *st, eq_err *err) {
    st->step = s->step;
    return move(s, st, false, err);
}

void eq_snapshot_drop(eq_snapshot *s) {
    if (s->kept) close(s->fd);
    s->kept = false;
}
