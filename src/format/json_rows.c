/* See json_rows.h. */
#include "format/json_rows.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "format/inflate.h"

enum { WHERE = 768 };

eq_status eq_read_unpacked(const char *path, char **bytes, int64_t *n, eq_err *err) {
    eq_inflate *in;
    eq_str all = {0};
    *bytes = NULL, *n = 0;
    const eq_file f = eq_file_of(path);
    EQ_TRY(eq_inflate_open(&in, &f, 0, err));
    eq_status st = EQ_OK;
    for (const char *piece;;) {
        int64_t k;
        if ((st = eq_inflate_next(in, &piece, &k, err)) != EQ_OK || k == 0) break;
        eq_str_put(&all, piece, k);
    }
    eq_inflate_close(in);
    eq_str_put(&all, "", 0);
    if (st == EQ_OK && all.oom) st = eq_nomem(err, path, all.n);
    if (st != EQ_OK) {
        eq_str_free(&all);
        return st;
    }
    *bytes = all.p, *n = all.n;
    return EQ_OK;
}

static eq_status one(const json_t *row, const char *path, const char *what, int64_t number,
                     eq_json_row_fn fn, void *ctx, eq_err *err) {
    char where[WHERE];
    snprintf(where, sizeof where, "%.700s: %s %lld", path, what, (long long)number);
    if (!json_is_object(row))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", where,
                       eq_json_type(row));
    return fn(ctx, row, where, err);
}

/* An object a line; white space alone is no row. */
static eq_status by_line(const char *path, const char *p, int64_t n, eq_json_row_fn fn, void *ctx,
                         int64_t *rows, eq_err *err) {
    int64_t line = 1;
    for (int64_t at = 0, end; at < n; at = end + 1, line++) {
        const char *nl = memchr(p + at, '\n', (size_t)(n - at));
        end = nl ? nl - p : n;
        int64_t first = at;
        while (first < end && strchr(" \t\r", p[first])) first++;
        if (first == end) continue;
        char where[WHERE];
        json_t *row;
        snprintf(where, sizeof where, "%.700s: line %lld", path, (long long)line);
        json_error_t e;
        row = json_loadb(p + at, (size_t)(end - at), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
        if (!row)
            return eq_fail(err, EQ_EINPUT, "%s, column %d: not JSON: %s", where, e.column, e.text);
        eq_status st = one(row, path, "line", line, fn, ctx, err);
        json_decref(row);
        EQ_TRY(st);
        ++*rows;
    }
    return EQ_OK;
}

/* A list, or the viewer's object around one. */
static eq_status by_list(const char *path, const json_t *root, eq_json_row_fn fn, void *ctx,
                         int64_t *rows, eq_err *err) {
    bool viewer = json_is_object(root);
    const json_t *list = viewer ? json_object_get(root, "rows") : root;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        if (viewer) row = json_object_get(row, "row");
        EQ_TRY(one(row, path, "row", (int64_t)i + 1, fn, ctx, err));
        ++*rows;
    }
    return EQ_OK;
}

/* Is the file one JSON value, a list or a viewer's object? Then *root; else NULL. */
static eq_status whole(const char *path, const char *p, int64_t n, json_t **root, eq_err *err) {
    int64_t first = 0;
    *root = NULL;
    while (first < n && strchr(" \t\r\n", p[first])) first++;
    if (first == n || (p[first] != '[' && p[first] != '{')) return EQ_OK;
    if (p[first] == '[') return eq_json_parse(root, p, n, path, err);
    json_t *o = json_loadb(p, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (json_is_array(json_object_get(o, "rows")))
        *root = o;
    else
        json_decref(o);
    return EQ_OK;
}

eq_status eq_json_rows(const char *path, eq_json_row_fn fn, void *ctx, eq_err *err) {
    char *p;
    int64_t n, rows = 0;
    json_t *root = NULL;
    EQ_TRY(eq_read_unpacked(path, &p, &n, err));
    eq_status st = whole(path, p, n, &root, err);
    if (st == EQ_OK)
        st = root ? by_list(path, root, fn, ctx, &rows, err)
                  : by_line(path, p, n, fn, ctx, &rows, err);
    json_decref(root);
    eq_free(p);
    if (st == EQ_OK && !rows) st = eq_fail(err, EQ_EINPUT, "%s: expected rows, found none", path);
    return st;
}
