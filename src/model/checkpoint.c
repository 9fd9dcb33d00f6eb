/* Writing the project's checkpoint (FORMATS, "The project's own checkpoint"). Invariant: the output
 * folder appears whole, after everything in it was read back and compared, or not at all. */
#include "model/checkpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/checkpoint_parts.h"

eq_status eq_checkpoint_check(const eq_config *c, int bits, int64_t group, eq_err *err) {
    return eq_qblock_check(c, bits, group, err);
}

/* ---- where it goes --------------------------------------------------------------------------- */

/* Without slashes at the end; NULL when memory is out. */
static char *trimmed(const char *path) {
    char *p = eq_strdup(path);
    for (size_t n = p ? strlen(p) : 0; n > 1 && p[n - 1] == '/'; n--) p[n - 1] = 0;
    return p;
}

/* Cuts the last part off a path that is not empty, in place: "a/b" -> "a", "a" -> ".", "/a" ->
 * "/". */
static void to_parent(char *p) {
    char *slash = strrchr(p, '/');
    if (!slash)
        memcpy(p, ".", 2);
    else
        slash[slash == p] = 0;
}

/* Asks by doing: root is told that it may write where it cannot. */
static eq_status probe(const char *parent, const char *out, eq_err *err) {
    char *p = eq_sprintf("%s/.eqat-probe-%ld", parent, (long)getpid());
    if (!p) return eq_nomem(err, "a path", 256);
    eq_status st = EQ_OK;
    if (mkdir(p, 0777))
        st = eq_fail_errno(err, "%s: cannot create anything in %s", out, parent);
    else
        rmdir(p);
    eq_free(p);
    return st;
}

/* The nearest folder above that exists must take new entries. */
static eq_status check_parent(const char *out, eq_err *err) {
    char *p = trimmed(out);
    if (!p) return eq_nomem(err, "a path", (int64_t)strlen(out));
    do to_parent(p);
    while (!eq_exists(p) && strcmp(p, ".") && strcmp(p, "/"));
    eq_status st = eq_is_dir(p) ? probe(p, out, err)
                                : eq_fail(err, EQ_EINPUT, "%s: expected a folder, found a file", p);
    eq_free(p);
    return st;
}

eq_status eq_output_check(const char *out, const char *model, eq_err *err) {
    bool empty;
    if (!*out) return eq_fail(err, EQ_EINPUT, "expected an output folder, found an empty name");
    if (eq_same_file(out, model))
        return eq_fail(err, EQ_EINPUT, "%s: expected an output folder other than the model's", out);
    EQ_TRY(eq_dir_is_empty(out, &empty, err));
    if (!empty)
        return eq_fail(err, EQ_EINPUT, "%s: expected an absent or empty folder, found files in it",
                       out);
    return check_parent(out, err);
}

/* Whether the process that made a temporary folder OUT.tmp-PID is gone. */
static bool is_stale(const char *name, const char *head) {
    char *end;
    if (!eq_starts_with(name, head)) return false;
    long pid = strtol(name + strlen(head), &end, 10);
    return !*end && pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH;
}

static eq_status remove_stale_in(const char *parent, const char *head, eq_err *err) {
    eq_names names;
    EQ_TRY(eq_list_dir(parent, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        if (!is_stale(names.p[i], head)) continue;
        char *path = eq_path(parent, names.p[i]);
        st = path ? eq_remove_tree(path, err) : eq_nomem(err, "a path", 256);
        eq_free(path);
    }
    eq_names_free(&names);
    return st;
}

/* What runs that were killed while writing to OUT have left beside it. */
static eq_status remove_stale(const char *out, eq_err *err) {
    char *parent = eq_strdup(out), *head = eq_sprintf("%s.tmp-", out);
    eq_status st = EQ_OK;
    if (!parent || !head) {
        st = eq_nomem(err, "a path", 256);
    } else {
        const char *slash = strrchr(head, '/');
        to_parent(parent);
        if (eq_exists(parent)) st = remove_stale_in(parent, slash ? slash + 1 : head, err);
    }
    eq_free(parent), eq_free(head);
    return st;
}

/* ---- reading back ---------------------------------------------------------------------------- */

static eq_status same_bytes(const eq_tensor *now, const eq_tensor *was, eq_err *err) {
    if (now->dt == was->dt && now->bytes == was->bytes &&
        !memcmp(now->data, was->data, (size_t)was->bytes))
        return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: tensor %s: read back, it differs from %s", now->file,
                   now->name, was->file);
}

static eq_status verify_block(const eq_checkpoint *c, const eq_weights *w, int64_t i, eq_qblock *b,
                              const eq_digest *wrote, eq_err *err) {
    eq_digest sum;
    EQ_TRY(eq_qblock_read(b, w, i, err));
    EQ_TRY(eq_checkpoint_sum(b, &w->cfg, &sum, err));
    if (memcmp(sum.hex, wrote->hex, sizeof sum.hex))
        return eq_fail(
            err, EQ_EINPUT,
            "%s: block %lld: read back, integers, steps, zero points or norms differ from "
            "what was written",
            w->dir, (long long)i);
    for (int l = 0; l < EQ_LINS; l++)
        if (w->blocks[i].bias[l])
            EQ_TRY(same_bytes(w->blocks[i].bias[l], c->base->blocks[i].bias[l], err));
    return EQ_OK;
}

/* Opens the folder as any reader does. eq_qblock_read finds out whether the trained steps and zero
 * points round to the stored ones; the sums, whether all bits came back. */
static eq_status verify(const eq_checkpoint *c, const char *dir, const eq_digest *sums,
                        eq_err *err) {
    eq_weights *w;
    eq_qblock b = {0};
    EQ_TRY(eq_weights_open(&w, dir, err));
    eq_status st = same_bytes(w->embed, c->base->embed, err);
    if (st == EQ_OK) st = same_bytes(w->head, c->base->head, err);
    if (st == EQ_OK) st = same_bytes(w->norm, c->base->norm, err);
    for (int64_t i = 0; i < w->cfg.L && st == EQ_OK; i++)
        st = verify_block(c, w, i, &b, &sums[i], err);
    eq_qblock_free(&b);
    eq_weights_close(w);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static eq_status fill(const eq_checkpoint *c, const char *dir, const eq_observer *obs,
                      int64_t *bytes, eq_err *err) {
    eq_digest *sums = eq_calloc(c->base->cfg.L, sizeof *sums);
    if (!sums) return eq_nomem(err, "checksums", c->base->cfg.L * (int64_t)sizeof *sums);
    eq_status st = eq_checkpoint_side_files(c, dir, err);
    if (st == EQ_OK) st = eq_checkpoint_tensors(c, dir, obs, sums, bytes, err);
    if (st == EQ_OK) st = verify(c, dir, sums, err);
    eq_free(sums);
    return st;
}

static eq_status write_at(const eq_checkpoint *c, const char *out, const char *tmp,
                          const eq_observer *obs, int64_t *bytes, eq_err *err) {
    eq_err ignored = {0};
    eq_status st = eq_remove_tree(tmp, err); /* of a killed run that had this process number */
    if (st == EQ_OK) st = eq_mkdir(tmp, err);
    if (st == EQ_OK) st = fill(c, tmp, obs, bytes, err);
    if (st == EQ_OK) {
        st = eq_rename_durable(tmp, out, err);
        /* renamed, but perhaps not on disk: the caller is told that there is no output */
        if (st != EQ_OK && !eq_exists(tmp)) eq_remove_tree(out, &ignored);
    }
    if (st != EQ_OK) eq_remove_tree(tmp, &ignored);
    return st;
}

eq_status eq_checkpoint_write(const eq_checkpoint *c, const char *out, const eq_observer *obs,
                              int64_t *bytes, eq_err *err) {
    int64_t written = 0;
    EQ_TRY(eq_checkpoint_check(&c->base->cfg, c->bits, c->group, err));
    EQ_TRY(eq_output_check(out, c->base->dir, err));
    char *path = trimmed(out), *tmp = NULL;
    if (path) tmp = eq_sprintf("%s.tmp-%ld", path, (long)getpid());
    eq_status st = EQ_OK;
    if (tmp) {
        st = remove_stale(path, err);
        if (st == EQ_OK) st = write_at(c, path, tmp, obs, &written, err);
    } else {
        st = eq_nomem(err, "a path", (int64_t)strlen(out));
    }
    eq_free(path), eq_free(tmp);
    if (st == EQ_OK && bytes) *bytes = written;
    return st;
}
