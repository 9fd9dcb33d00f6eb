/* See sources.h. Invariant: the same names give the same files in the same order: by bytes, never
 * by locale or by how a disk lists them. */
#define _GNU_SOURCE
#include "data/sources.h"

#include <ctype.h>
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"

static void file_free(eq_file *f) {
    if (f->name != f->path) return; /* standard input: constants */
    eq_free((char *)(uintptr_t)f->path);
}

void eq_source_free(eq_source *s) {
    for (int64_t i = 0; i < s->n; i++) file_free(&s->file[i]);
    eq_free(s->file), eq_free(s->name);
    *s = (eq_source){0};
}

void eq_sources_close(eq_sources *s) {
    for (int64_t i = 0; i < s->n; i++) eq_source_free(&s->p[i]);
    eq_free(s->p);
    *s = (eq_sources){0};
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Takes what f points to over. */
static eq_status add_file(eq_source *s, eq_file f, eq_err *err) {
    eq_status st = eq_file_known(&f, err);
    if (st == EQ_OK && s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 8;
        eq_file *p = eq_realloc(s->file, cap, sizeof *p);
        if (p)
            s->file = p, s->cap = cap;
        else
            st = eq_nomem(err, f.name, cap * (int64_t)sizeof *p);
    }
    if (st != EQ_OK) {
        file_free(&f);
        return st;
    }
    s->file[s->n++] = f;
    s->documents |= f.kind == EQ_FILE_JSON;
    return EQ_OK;
}

static eq_status add_path(eq_source *s, char *path, eq_err *err) {
    return path ? add_file(s, eq_file_of(path), err) : eq_nomem(err, "a path", 256);
}

/* Files below a folder; what is of no known kind, and what begins with a dot, is no data. */
static eq_status add_folder(eq_source *s, const char *dir, int depth, eq_err *err) {
    eq_names names;
    if (depth > 32) return eq_fail(err, EQ_EINPUT, "%s: folders nested too deeply", dir);
    EQ_TRY(eq_list_dir(dir, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        char *path = *names.p[i] == '.' ? NULL : eq_path(dir, names.p[i]);
        if (path && eq_is_dir(path))
            st = add_folder(s, path, depth + 1, err);
        else if (path && eq_file_of(path).kind != EQ_FILE_UNKNOWN)
            st = add_path(s, path, err), path = NULL;
        else if (!path && *names.p[i] != '.')
            st = eq_nomem(err, "a path", 256);
        eq_free(path);
    }
    eq_names_free(&names);
    return st;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static eq_status add_any(eq_source *s, const char *path, eq_err *err) {
    return eq_is_dir(path) ? add_folder(s, path, 0, err) : add_path(s, eq_strdup(path), err);
}

static eq_status add_pattern(eq_source *s, const char *pattern, eq_err *err) {
    glob_t g = {0};
    int r = glob(pattern, GLOB_NOSORT, NULL, &g);
    eq_status st = r == GLOB_NOSPACE ? eq_nomem(err, pattern, 4096)
                   : r ? eq_fail(err, EQ_EINPUT, "%s: no file fits this pattern", pattern)
                       : EQ_OK;
    if (st == EQ_OK) qsort(g.gl_pathv, g.gl_pathc, sizeof *g.gl_pathv, by_bytes);
    int64_t before = s->n;
    for (size_t i = 0; i < g.gl_pathc && st == EQ_OK; i++)
        if (eq_is_dir(g.gl_pathv[i]) || eq_file_of(g.gl_pathv[i]).kind != EQ_FILE_UNKNOWN)
            st = add_any(s, g.gl_pathv[i], err);
    if (st == EQ_OK && s->n == before) { /* what it fits is no data: the first of it says so */
        eq_file f = eq_file_of(g.gl_pathv[0]);
        st = eq_file_known(&f, err);
    }
    globfree(&g);
    return st;
}

static eq_status fill(eq_source *s, const char *path, bool look, eq_err *err) {
    eq_file in;
    int64_t before = s->n;
    if (look && !strcmp(path, "-")) return EQ_OK;
    if (!strcmp(path, "-")) {
        EQ_TRY(eq_file_stdin(&in, err));
        return add_file(s, in, err);
    }
    if (!eq_exists(path) && strpbrk(path, "*?["))
        EQ_TRY(add_pattern(s, path, err));
    else
        EQ_TRY(add_any(s, path, err));
    if (s->n > before) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: no data file in this folder (.txt, .jsonl, .npy, ...)",
                   path);
}

/* ---- names and weights ----------------------------------------------------------------------- */

/* "PATH:0.7": cuts it at the colon. A file of that very name is no weighted one. */
static bool cut_weight(char *spec, double *weight) {
    char *colon = strrchr(spec, ':'), *end;
    if (!colon || !colon[1] || eq_exists(spec)) return false;
    if (strspn(colon + 1, "0123456789.eE+-") != strlen(colon + 1)) return false;
    *weight = strtod(colon + 1, &end);
    if (*end) return false;
    *colon = 0;
    return true;
}

static eq_status name_it(eq_source *s, eq_err *err) {
    if (!s->n) return EQ_OK;
    if (s->n == 1)
        s->name = eq_strdup(s->file[0].name);
    else
        s->name = eq_sprintf("%s and %lld more", s->file[0].name, (long long)s->n - 1);
    return s->name ? EQ_OK : eq_nomem(err, "a name", 256);
}

static eq_status add_spec(eq_sources *all, char *spec, bool look, eq_err *err) {
    double weight = 1;
    bool weighted = cut_weight(spec, &weight), first = !all->n;
    if (!*spec) return eq_fail(err, EQ_EINPUT, "data: expected a file, found an empty name");
    if (!first && weighted != all->weighted)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: %s weight, unlike the data before it: expected all with weights or none", spec,
            weighted ? "has a" : "has no");
    if (!(weight > 0 && isfinite(weight)))
        return eq_fail(err, EQ_EINPUT, "%s: weight: expected a number above 0, found %g", spec,
                       weight);
    all->weighted = weighted;
    if (first || weighted) {
        eq_source *p = eq_realloc(all->p, all->n + 1, sizeof *p);
        if (!p) return eq_nomem(err, "a list of data", (all->n + 1) * (int64_t)sizeof *p);
        all->p = p;
        p[all->n++] = (eq_source){.weight = weight};
    }
    return fill(&all->p[all->n - 1], spec, look, err);
}

/* look: standard input is left alone. */
static eq_status open_all(eq_sources *s, const char *data, bool look, eq_err *err) {
    *s = (eq_sources){0};
    eq_status st = EQ_OK;
    for (const char *at = data; at && st == EQ_OK;) {
        int n = (int)strcspn(at, "\n");
        char *spec = eq_sprintf("%.*s", n, at);
        st = spec ? add_spec(s, spec, look, err) : eq_nomem(err, "a path", n);
        eq_free(spec);
        at = at[n] ? at + n + 1 : NULL;
    }
    for (int64_t i = 0; i < s->n && st == EQ_OK; i++) st = name_it(&s->p[i], err);
    if (st != EQ_OK) eq_sources_close(s);
    return st;
}

eq_status eq_sources_open(eq_sources *s, const char *data, eq_err *err) {
    return open_all(s, data, false, err);
}

double *eq_sources_weights(const eq_sources *s) {
    double *w = eq_calloc(s->n, sizeof *w);
    for (int64_t i = 0; w && i < s->n; i++) w[i] = s->p[i].weight;
    return w;
}

/* Text packs to about a quarter. */
double eq_data_text_bytes(const char *data) {
    eq_sources s;
    double bytes = 0;
    if (!data || open_all(&s, data, true, NULL) != EQ_OK) return 0;
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t k = 0; k < s.p[i].n; k++) {
            const eq_file *f = &s.p[i].file[k];
            struct stat st;
            if (!eq_file_is_text(f) || stat(f->path, &st)) continue;
            bytes += (double)st.st_size * (f->packing == EQ_PACKED_NOT ? 1 : 4);
        }
    eq_sources_close(&s);
    return bytes;
}

eq_status eq_data_is_text(bool *is_text, const char *data, eq_err *err) {
    eq_sources s;
    *is_text = false;
    if (!data) return EQ_OK;
    EQ_TRY(eq_sources_open(&s, data, err));
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t k = 0; k < s.p[i].n; k++) *is_text |= eq_file_is_text(&s.p[i].file[k]);
    eq_sources_close(&s);
    return EQ_OK;
}
