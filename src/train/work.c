/* See work.h. */
#include "train/work.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"

static char *text_of(const json_t *v) { return v ? eq_json_text(v, 0) : eq_strdup("nothing"); }

/* The first difference between two values of run.json, by path. */
static eq_status compare(const json_t *was, const json_t *is, const char *path, const char *file,
                         eq_err *err) {
    if (json_is_object(was) && json_is_object(is)) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)is, key, v) {
            char *sub = eq_sprintf("%s%s%s", path, *path ? "." : "", key);
            if (!sub) return eq_nomem(err, "a comparison", 256);
            eq_status st = compare(json_object_get(was, key), v, sub, file, err);
            eq_free(sub);
            EQ_TRY(st);
        }
        return json_object_size(was) == json_object_size(is)
                   ? EQ_OK
                   : eq_fail(err, EQ_EINPUT, "%s: %s: settings of another run", file, path);
    }
    if (json_equal(was, is)) return EQ_OK;
    char *a = text_of(was), *b = text_of(is);
    eq_status st =
        eq_fail(err, EQ_EINPUT, "%s: cannot resume: %s is %.200s in that run and %.200s now", file,
                path, a ? a : "?", b ? b : "?");
    eq_free(a), eq_free(b);
    return st;
}

static eq_status check(const char *file, const json_t *run, eq_err *err) {
    json_t *was;
    EQ_TRY(eq_json_load(&was, file, err));
    eq_status st = compare(was, run, "", file, err);
    json_decref(was);
    return st;
}

/* Absent or empty; what a run left that was killed while it wrote run.json goes. */
static eq_status empty_folder(const char *dir, eq_err *err) {
    eq_names in = {0};
    eq_status st = eq_exists(dir) ? eq_list_dir(dir, &in, err) : EQ_OK;
    for (int64_t i = 0; i < in.n && st == EQ_OK; i++) {
        char *path = eq_path(dir, in.p[i]);
        if (!path)
            st = eq_nomem(err, "a path", 256);
        else if (!strncmp(in.p[i], "run.json.tmp-", 13))
            st = eq_remove_tree(path, err);
        else
            st = eq_fail(
                err, EQ_EINPUT,
                "%s: expected a work folder (with run.json) or an empty one, found other files",
                dir);
        eq_free(path);
    }
    eq_names_free(&in);
    return st;
}

static eq_status open_in(eq_work *w, const char *file, bool resume, const json_t *run,
                         eq_err *err) {
    if (!eq_exists(file)) {
        EQ_TRY(empty_folder(w->dir, err));
        EQ_TRY(eq_mkdir(w->dir, err));
        return eq_write_file(file, w->run, (int64_t)strlen(w->run), err);
    }
    if (!resume)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: holds an unfinished run; --resume goes on with it, or remove the folder", w->dir);
    return check(file, run, err);
}

eq_status eq_work_open(eq_work *w, const char *dir, bool resume, const json_t *run, eq_err *err) {
    *w = (eq_work){.dir = eq_strdup(dir),
                   .state = eq_path(dir, "e2e.safetensors"),
                   .run = eq_json_text(run, 2)};
    char *file = eq_path(dir, "run.json");
    eq_status st = w->dir && w->state && w->run && file ? open_in(w, file, resume, run, err)
                                                        : eq_nomem(err, "the work folder", 4096);
    eq_free(file);
    if (st != EQ_OK) eq_work_close(w);
    return st;
}

void eq_work_close(eq_work *w) {
    eq_free(w->dir), eq_free(w->state), eq_free(w->run);
    *w = (eq_work){0};
}

char *eq_work_block(const eq_work *w, int64_t i) {
    return eq_sprintf("%s/block-%05lld.safetensors", w->dir, (long long)i);
}

eq_status eq_work_cache(const eq_work *w, char **dir, eq_err *err) {
    *dir = NULL;
    char *path = eq_path(w->dir, "cache-dir");
    if (!path) return eq_nomem(err, "a path", 256);
    eq_map m = {0};
    eq_status st = eq_exists(path) ? eq_map_open(&m, path, err) : EQ_OK;
    if (m.size && !(*dir = eq_sprintf("%.*s", (int)m.size, (const char *)m.data)))
        st = eq_nomem(err, "a path", m.size);
    eq_map_close(&m);
    eq_free(path);
    return st;
}

eq_status eq_work_note_cache(const eq_work *w, const char *dir, eq_err *err) {
    char *path = eq_path(w->dir, "cache-dir");
    if (!path) return eq_nomem(err, "a path", 256);
    eq_status st = eq_write_file(path, dir, (int64_t)strlen(dir), err);
    eq_free(path);
    return st;
}
