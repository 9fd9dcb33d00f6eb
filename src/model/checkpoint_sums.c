/* The sums of a written folder: by them a finished run is told from one that lost a file since. */
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/checkpoint_parts.h"

enum { HEX = sizeof((eq_digest *)0)->hex - 1, GAP = 2 };

eq_status eq_checkpoint_put_sums(const char *dir, eq_err *err) {
    eq_names names;
    eq_str text = {0};
    EQ_TRY(eq_list_dir(dir, &names, err));
    eq_status st = EQ_OK;
    for (int64_t i = 0; i < names.n && st == EQ_OK; i++) {
        eq_digest sum;
        char *path = eq_path(dir, names.p[i]);
        st = path ? eq_hash_file(path, &sum, err) : eq_nomem(err, "a path", 256);
        if (st == EQ_OK) eq_str_printf(&text, "%s  %s\n", sum.hex, names.p[i]);
        eq_free(path);
    }
    char *path = eq_path(dir, EQ_SUMS_NAME);
    if (st == EQ_OK && (!path || text.oom)) st = eq_nomem(err, "sums of files", text.n + 256);
    if (st == EQ_OK) st = eq_write_file(path, text.p, text.n, err);
    eq_free(path);
    eq_str_free(&text);
    eq_names_free(&names);
    return st;
}

/* One line: [line, end). */
static eq_status compare(const char *dir, const char *line, const char *end, eq_err *err) {
    if (end - line <= HEX + GAP)
        return eq_fail(err, EQ_EINPUT, "%s/%s: expected lines of a sum and a name", dir,
                       EQ_SUMS_NAME);
    char *path = eq_sprintf("%s/%.*s", dir, (int)(end - line - HEX - GAP), line + HEX + GAP);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_digest sum;
    eq_map m;
    eq_status st = eq_map_open(&m, path, err);
    if (st == EQ_OK) {
        sum = eq_hash_bytes(m.data, m.size);
        if (memcmp(sum.hex, line, HEX))
            st = eq_fail(err, EQ_EINPUT,
                         "%s: expected the file that was written (%.32s in %s), found %s of %lld "
                         "bytes",
                         path, line, EQ_SUMS_NAME, sum.hex, (long long)m.size);
    }
    eq_map_close(&m);
    eq_free(path);
    return st;
}

eq_status eq_checkpoint_compare_sums(const char *dir, eq_err *err) {
    char *path = eq_path(dir, EQ_SUMS_NAME);
    if (!path) return eq_nomem(err, "a path", 256);
    eq_map m;
    eq_status st = eq_map_open(&m, path, err);
    const char *p = (const char *)m.data, *end = p + m.size;
    while (st == EQ_OK && p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (!line_end) line_end = end;
        st = compare(dir, p, line_end, err);
        p = line_end + 1;
    }
    eq_map_close(&m);
    eq_free(path);
    return st;
}
