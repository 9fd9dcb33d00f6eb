/* See work.h. run.json holds the identity and a sum of itself; "lock" is locked as long as a run
 * uses the folder, which holds in containers too, where process numbers do not. */
#define _GNU_SOURCE
#include "train/work.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"

/* ---- names ----------------------------------------------------------------------------------- */

static const char state_name[] = "e2e.safetensors", cache_name[] = "cache-dir";

char *eq_work_block(const char *dir, int64_t i) {
    return eq_sprintf("%s/block-%05lld.safetensors", dir, (long long)i);
}

int64_t eq_work_blocks(const char *dir, int64_t L) {
    int64_t i = 0;
    for (bool done = true; done && i < L; i += done) {
        char *path = eq_work_block(dir, i);
        done = path && eq_exists(path);
        eq_free(path);
    }
    return i;
}

/* "e2e.safetensors" and what stands behind it: ".good", ... */
static bool is_state(const char *name) { return eq_starts_with(name, state_name); }
static bool is_block(const char *name) {
    return eq_starts_with(name, "block-") && eq_ends_with(name, ".safetensors");
}

/* The note of another folder, or what a kill left of it on its way there. */
static bool is_note(const char *name) {
    size_t n = strlen(cache_name);
    return !strncmp(name, cache_name, n) && (!name[n] || eq_starts_with(name + n, ".tmp-"));
}

/* Files of a run, other than run.json and lock. */
static bool is_own(const char *name) {
    return eq_starts_with(name, "block-") || is_state(name) || eq_starts_with(name, "stream-") ||
           is_note(name) || eq_starts_with(name, "run.json.tmp-");
}
static bool is_temporary(const char *name) {
    const char *at = strstr(name, ".tmp-");
    return at && is_own(name);
}
/* What is there before run.json is, and what a disk's own folder has. */
static bool is_harmless(const char *name) {
    return !strcmp(name, "lock") || eq_starts_with(name, "run.json.tmp-") ||
           !strcmp(name, "lost+found");
}

bool eq_work_second_begun(const char *dir) {
    eq_names in;
    bool yes = false;
    if (eq_list_dir(dir, &in, NULL) != EQ_OK) return false;
    for (int64_t i = 0; i < in.n; i++) yes |= is_state(in.p[i]) && !is_temporary(in.p[i]);
    eq_names_free(&in);
    return yes;
}

/* Calls fn for each name in the folder. */
typedef eq_status (*name_fn)(void *ctx, const char *path, const char *name, eq_err *err);
static eq_status each(const char *dir, name_fn fn, void *ctx, eq_err *err) {
    eq_names in;
    EQ_TRY(eq_list_dir(dir, &in, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < in.n && st == EQ_OK; i++) {
        char *path = eq_path(dir, in.p[i]);
        st = path ? fn(ctx, path, in.p[i], err) : eq_nomem(err, "a path", 256);
        eq_free(path);
    }
    eq_names_free(&in);
    return st;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static char *text_of(const json_t *v) { return v ? eq_json_text(v, 0) : eq_strdup("nothing"); }

static eq_status differ(const json_t *was, const json_t *is, const char *path, const char *file,
                        eq_err *err) {
    if (json_is_object(was) && json_is_object(is)) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)is, key, v) {
            char *sub = eq_sprintf("%s%s%s", path, *path ? "." : "", key);
            if (!sub) return eq_nomem(err, "a comparison", 256);
            eq_status st = differ(json_object_get(was, key), v, sub, file, err);
            eq_free(sub);
            EQ_TRY(st);
        }
        json_object_foreach((json_t *)(uintptr_t)was, key, v) {
            if (json_object_get(is, key)) continue;
            return eq_fail(err, EQ_EINPUT, "%s: cannot resume: %s%s%s is in that run and not now",
                           file, path, *path ? "." : "", key);
        }
        return EQ_OK;
    }
    if (json_equal(was, is)) return EQ_OK;
    char *a = text_of(was), *b = text_of(is);
    eq_status st =
        eq_fail(err, EQ_EINPUT, "%s: cannot resume: %s is %.200s in that run and %.200s now", file,
                path, a ? a : "?", b ? b : "?");
    eq_free(a), eq_free(b);
    return st;
}

eq_status eq_work_differ(const json_t *was, const json_t *is, const char *file, eq_err *err) {
    return differ(was, is, "", file, err);
}

/* ---- run.json -------------------------------------------------------------------------------- */

static eq_digest sum_of(const json_t *run) {
    char *text = eq_json_text(run, 0);
    eq_digest d = eq_hash_bytes(text ? text : "", text ? (int64_t)strlen(text) : 0);
    eq_free(text);
    return d;
}

/* Whole, and as this program writes it. */
static eq_status load(json_t **out, const char *file, eq_err *err) {
    json_t *run;
    *out = NULL;
    EQ_TRY(eq_json_load(&run, file, err));
    json_t *sum = json_incref(json_object_get(run, "sum"));
    json_object_del(run, "sum");
    json_int_t version = json_integer_value(json_object_get(run, "version"));
    bool whole = json_is_string(sum) && !strcmp(json_string_value(sum), sum_of(run).hex);
    eq_status st = EQ_OK;
    if (!whole && (sum || version))
        st = eq_fail(err, EQ_EINPUT,
                     "%s: damaged: expected the checksum of its content, found another", file);
    else if (version != EQ_WORK_VERSION)
        st = eq_fail(err, EQ_EINPUT,
                     "%s: expected a run of work version %d, found %lld: only the program that "
                     "began it can go on",
                     file, EQ_WORK_VERSION, (long long)version);
    json_decref(sum);
    if (st == EQ_OK)
        *out = run;
    else
        json_decref(run);
    return st;
}

static eq_status save(const eq_work *w, const char *file, const eq_identity *who, eq_err *err) {
    json_t *run = json_pack("{s:i, s:s, s:b, s:O}", "version", EQ_WORK_VERSION, "kernels",
                            who->kernels, "keep_dir", w->keep_dir, "first", who->first);
    if (run && who->second) json_object_set(run, "second", (json_t *)(uintptr_t)who->second);
    if (run) json_object_set_new(run, "sum", json_string(sum_of(run).hex));
    char *text = run ? eq_json_text(run, 2) : NULL;
    json_decref(run);
    if (!text) return eq_nomem(err, "run.json", 4096);
    eq_status st = eq_write_file(file, text, (int64_t)strlen(text), err);
    eq_free(text);
    return st;
}

static eq_status compare(const json_t *was, const char *dir, const char *file,
                         const eq_identity *who, eq_err *err) {
    const char *kernels = json_string_value(json_object_get(was, "kernels"));
    EQ_TRY(eq_work_differ(json_object_get(was, "first"), who->first, file, err));
    if (!kernels || strcmp(kernels, who->kernels))
        return eq_fail(err, EQ_EINPUT,
                       "%s: cannot resume: that run computes with \"%s\", this one with \"%s\", "
                       "which gives other last bits: go on where those are (--backend, --cpu-mask "
                       "and the oneDNN installed choose), or remove %s and begin anew",
                       file, kernels ? kernels : "nothing", who->kernels, dir);
    if (!who->second || !eq_work_second_begun(dir)) return EQ_OK;
    return eq_work_differ(json_object_get(was, "second"), who->second, file, err);
}

eq_status eq_work_compare(const char *dir, const eq_identity *who, eq_err *err) {
    char *file = eq_path(dir, "run.json");
    json_t *was = NULL;
    eq_status st = file ? EQ_OK : eq_nomem(err, "a path", 256);
    if (file && eq_exists(file)) st = load(&was, file, err);
    if (was) st = compare(was, dir, file, who, err);
    json_decref(was);
    eq_free(file);
    return st;
}

/* ---- the lock -------------------------------------------------------------------------------- */

static eq_status in_use(const char *dir, eq_err *err) {
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected a work folder of this run alone, found another run that uses it",
                   dir);
}

/* For people who look at the folder. */
static eq_status note_use(int fd, int flags, const char *path, eq_err *err) {
    static const char text[] = "locked while a run uses this folder\n";
    if (!(flags & O_CREAT) || pwrite(fd, text, sizeof text - 1, 0) == sizeof text - 1) return EQ_OK;
    return eq_fail_errno(err, "%s: cannot write", path);
}

/* EQ_OK with *fd -1: gone meanwhile. A file system without locks gives them to everybody. */
static eq_status try_lock(const char *path, const char *dir, int flags, int *fd, eq_err *err) {
    struct stat here, there;
    do *fd = open(path, flags | O_CLOEXEC, 0666);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0)
        return errno == ENOENT ? EQ_OK : eq_fail_errno(err, "%s: cannot open the lock", path);
    bool busy = flock(*fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    bool same = !fstat(*fd, &here) && !stat(path, &there) && here.st_ino == there.st_ino &&
                here.st_dev == there.st_dev;
    if (!busy && same) return note_use(*fd, flags, path, err);
    close(*fd);
    *fd = -1;
    return busy ? in_use(dir, err) : EQ_OK;
}

static eq_status take_lock(eq_work *w, eq_err *err) {
    char *path = eq_path(w->dir, "lock");
    eq_status st = path ? EQ_OK : eq_nomem(err, "a path", 256);
    while (st == EQ_OK && w->lock < 0) { /* a run that ends takes folder and lock away */
        st = eq_mkdir(w->dir, err);
        if (st == EQ_OK) st = try_lock(path, w->dir, O_RDWR | O_CREAT, &w->lock, err);
    }
    eq_free(path);
    return st;
}

/* ---- opening --------------------------------------------------------------------------------- */

static eq_status refuse_foreign(void *ctx, const char *path, const char *name, eq_err *err) {
    (void)path;
    if (is_harmless(name)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: expected a work folder (with run.json) or an empty one, found other files",
                   (const char *)ctx);
}

static eq_status look(const char *dir, const char *file, const char *lock, bool resume, bool *begun,
                      eq_err *err) {
    int fd = -1;
    if (!eq_exists(dir) && !eq_is_dangling(dir)) return EQ_OK;
    if (!eq_is_dir(dir)) return eq_fail(err, EQ_EINPUT, "%s: expected a folder", dir);
    EQ_TRY(try_lock(lock, dir, O_RDONLY, &fd, err));
    if (fd >= 0) close(fd);
    *begun = eq_exists(file);
    if (!*begun) return each(dir, refuse_foreign, (void *)(uintptr_t)dir, err);
    if (resume) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: holds an unfinished run; --resume goes on with it, or remove the folder",
                   dir);
}

eq_status eq_work_look(const char *dir, bool resume, bool *begun, eq_err *err) {
    char *file = eq_path(dir, "run.json"), *lock = eq_path(dir, "lock");
    *begun = false;
    eq_status st =
        file && lock ? look(dir, file, lock, resume, begun, err) : eq_nomem(err, "a path", 256);
    eq_free(file), eq_free(lock);
    return st;
}

/* A damaged block is trained again, from the states of phase two back to the last whole one; of the
 * last good state itself the phase begins anew, since it could not go back to it any more, and of
 * the best one, since nobody knows any more which it was. */
static eq_status mend(void *ctx, const char *path, const char *name, eq_err *err) {
    eq_map m;
    eq_err why = {0};
    bool cache = !strcmp(name, cache_name);
    if (is_temporary(name)) return eq_remove_tree(path, err);
    if (!is_block(name) && !is_state(name) && !cache) return EQ_OK;
    if (is_state(name) && !eq_exists(path)) return EQ_OK; /* gone with another one */
    eq_status st = eq_map_open_sealed(&m, path, &why);
    eq_map_close(&m);
    if (st == EQ_OK) return EQ_OK;
    if (st != EQ_EINPUT) return eq_fail(err, st, "%s", why.msg);
    eq_note(ctx, "%s; %s", why.msg,
            cache ? "streams in the folder it named stay there" : "it is made again");
    EQ_TRY(eq_remove_tree(path, err));
    int n = (int)(strlen(path) - strlen(".good"));
    if (!is_state(name) || (!eq_ends_with(path, ".good") && !eq_ends_with(path, ".best")))
        return EQ_OK;
    char *newest = eq_sprintf("%.*s", n, path), *good = eq_sprintf("%.*s.good", n, path);
    st = newest && good ? eq_remove_tree(newest, err) : eq_nomem(err, "a path", 256);
    if (st == EQ_OK) st = eq_remove_tree(good, err);
    eq_free(newest), eq_free(good);
    return st;
}

static eq_status open_in(eq_work *w, const char *file, bool resume, const eq_identity *who,
                         const eq_observer *obs, eq_err *err) {
    bool begun, empty;
    json_t *was = NULL;
    EQ_TRY(eq_work_look(w->dir, resume, &begun, err));
    EQ_TRY(eq_dir_is_empty(w->dir, &empty, err));
    w->keep_dir = empty && eq_exists(w->dir);
    EQ_TRY(take_lock(w, err));
    if (!eq_exists(file)) {
        eq_status st = save(w, file, who, err);
        if (st != EQ_OK) eq_work_remove(w, NULL); /* nothing was begun */
        return st;
    }
    EQ_TRY(load(&was, file, err));
    w->keep_dir = json_is_true(json_object_get(was, "keep_dir"));
    eq_status st = compare(was, w->dir, file, who, err);
    bool same = json_equal(json_object_get(was, "second"), who->second);
    json_decref(was);
    EQ_TRY(st);
    if (!same) EQ_TRY(save(w, file, who, err));
    return each(w->dir, mend, (void *)(uintptr_t)obs, err);
}

eq_status eq_work_open(eq_work *w, const char *dir, bool resume, const eq_identity *who,
                       const eq_observer *obs, eq_err *err) {
    *w = (eq_work){.dir = eq_strdup(dir),
                   .state = eq_path(dir, state_name),
                   .first = eq_json_text(who->first, 0),
                   .lock = -1};
    char *file = eq_path(dir, "run.json"), *second = text_of(who->second);
    if (w->first && second) w->all = eq_sprintf("%s %s", w->first, second);
    eq_free(second);
    eq_status st = w->dir && w->state && w->all && file ? open_in(w, file, resume, who, obs, err)
                                                        : eq_nomem(err, "the work folder", 4096);
    eq_free(file);
    if (st != EQ_OK) eq_work_close(w);
    return st;
}

void eq_work_close(eq_work *w) {
    if (w->dir && w->lock >= 0) close(w->lock);
    eq_free(w->dir), eq_free(w->state), eq_free(w->first), eq_free(w->all);
    *w = (eq_work){.lock = -1};
}

static eq_status remove_own(void *ctx, const char *path, const char *name, eq_err *err) {
    (void)ctx;
    return is_own(name) ? eq_remove_tree(path, err) : EQ_OK;
}

/* run.json goes behind all it speaks of, the lock last. */
eq_status eq_work_remove(eq_work *w, eq_err *err) {
    EQ_TRY(each(w->dir, remove_own, NULL, err));
    static const char *const last[] = {"run.json", "lock"};
    for (int i = 0; i < 2; i++) {
        char *path = eq_path(w->dir, last[i]);
        eq_status st = path ? eq_remove_tree(path, err) : eq_nomem(err, "a path", 256);
        eq_free(path);
        EQ_TRY(st);
    }
    if (w->keep_dir || !rmdir(w->dir) || errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY)
        return EQ_OK;
    return eq_fail_errno(err, "%s: cannot remove", w->dir);
}

eq_status eq_work_clear(const char *dir, bool folder, eq_err *err) {
    if (!eq_is_dir(dir)) return EQ_OK;
    eq_work w = {.dir = eq_strdup(dir), .lock = -1, .keep_dir = !folder};
    char *file = eq_path(dir, "run.json");
    eq_status st = w.dir && file ? take_lock(&w, err) : eq_nomem(err, "a path", 256);
    if (st == EQ_OK && !eq_exists(file)) st = eq_work_remove(&w, err); /* no run began meanwhile */
    eq_free(file);
    eq_work_close(&w);
    return st;
}

/* ---- streams elsewhere ----------------------------------------------------------------------- */

eq_status eq_work_cache(const eq_work *w, char **dir, eq_err *err) {
    *dir = NULL;
    char *path = eq_path(w->dir, cache_name);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_map m = {0};
    eq_status st = eq_exists(path) ? eq_map_open_sealed(&m, path, err) : EQ_OK;
    if (m.size && !(*dir = eq_sprintf("%.*s", (int)m.size, (const char *)m.data)))
        st = eq_nomem(err, "a path", m.size);
    eq_map_close(&m);
    eq_free(path);
    return st;
}

eq_status eq_work_note_cache(const eq_work *w, const char *dir, eq_err *err) {
    char *path = eq_path(w->dir, cache_name);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_writer *f;
    eq_status st = eq_writer_open(&f, path, err);
    eq_free(path);
    EQ_TRY(st);
    st = eq_writer_seal(f, err);
    if (st == EQ_OK) st = eq_writer_put(f, dir, (int64_t)strlen(dir), err);
    if (st == EQ_OK) return eq_writer_commit(f, err);
    eq_writer_abort(f);
    return st;
}
