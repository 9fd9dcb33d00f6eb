/* Files: what is mapped, what a reader sees while a writer works, what a failed write leaves. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "scratch.h"

static void expect_content(const char *path, const char *want, int64_t n) {
    eq_map m;
    eq_err err = {0};
    if (eq_map_open(&m, path, &err) != EQ_OK) fail_msg("%s", err.msg);
    assert_int_equal(m.size, n);
    if (n) assert_memory_equal(m.data, want, (size_t)n);
    eq_map_close(&m);
}

static int64_t names_in(const char *dir) {
    eq_names n;
    assert_int_equal(eq_list_dir(dir, &n, NULL), EQ_OK);
    int64_t count = n.n;
    eq_names_free(&n);
    return count;
}

static void mapping(void **state) {
    (void)state;
    eq_map m;
    eq_err err = {0};
    expect_content(scratch_text("a", "abc"), "abc", 3);
    expect_content(scratch_text("empty", ""), "", 0);
    assert_int_equal(eq_map_open(&m, scratch_path("absent"), &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent", "No such file", NULL);
    err = (eq_err){0};
    assert_int_equal(eq_map_open(&m, scratch_dir(), &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "regular file", NULL);
}

static char *fresh_dir(const char *name) {
    char *dir = eq_strdup(scratch_path(name));
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
    return dir;
}

/* 3 MiB in pieces that straddle the buffer in every way. */
static eq_status write_pieces(const char *path, const char *bytes, int64_t n, eq_err *err) {
    eq_writer *w;
    EQ_TRY(eq_writer_open(&w, path, err));
    for (int64_t at = 0, k = 1; at < n; at += k, k = k * 3 + 1) {
        if (k > n - at) k = n - at;
        eq_status st = eq_writer_put(w, bytes + at, k, err);
        if (st != EQ_OK) {
            eq_writer_abort(w);
            return st;
        }
    }
    return eq_writer_commit(w, err);
}

static void writing(void **state) {
    (void)state;
    char *dir = fresh_dir("w"), *path = eq_path(dir, "f");
    enum { BYTES = 3 << 20 };
    char *bytes = eq_calloc(BYTES, 1);
    for (int i = 0; i < BYTES; i++) bytes[i] = (char)(i * 2654435761u >> 13);
    eq_err err = {0};
    assert_int_equal(eq_write_file(path, "old", 3, &err), EQ_OK);
    eq_map old;
    assert_int_equal(eq_map_open(&old, path, &err), EQ_OK);
    assert_int_equal(write_pieces(path, bytes, BYTES, &err), EQ_OK);
    assert_memory_equal(old.data, "old", 3); /* a mapped old version stays whole */
    eq_map_close(&old);
    expect_content(path, bytes, BYTES);
    assert_int_equal(names_in(dir), 1);
    char *copy = eq_path(dir, "copy");
    assert_int_equal(eq_copy_file(path, copy, &err), EQ_OK);
    expect_content(copy, bytes, BYTES);
    assert_false(eq_same_file(path, copy));
    assert_true(eq_same_file(path, path));
    eq_free(copy), eq_free(bytes), eq_free(path), eq_free(dir);
}

static void nothing_half_written(void **state) {
    (void)state;
    char *dir = fresh_dir("h"), *path = eq_path(dir, "f");
    assert_int_equal(eq_write_file(path, "old", 3, NULL), EQ_OK);
    eq_writer *w;
    assert_int_equal(eq_writer_open(&w, path, NULL), EQ_OK);
    assert_int_equal(eq_writer_put(w, "new", 3, NULL), EQ_OK);
    eq_writer_abort(w);
    eq_writer_abort(NULL);
    char big[4096] = "x";
    for (int64_t nth = 1;; nth++) { /* a full disk at every write */
        eq_err err = {0};
        eq_io_fail_nth(nth);
        eq_status st = write_pieces(path, big, sizeof big, &err);
        eq_io_fail_nth(0);
        assert_int_equal(names_in(dir), 1);
        if (st == EQ_OK) break;
        check_error(&err, EQ_EIO, path, "No space", NULL);
        expect_content(path, "old", 3);
    }
    expect_content(path, big, sizeof big);
    for (int64_t nth = 1;; nth++) { /* memory runs out at every place */
        eq_mem_fail_nth(nth);
        eq_err err = {0};
        eq_status st = eq_write_file(path, "mem", 3, &err);
        eq_mem_fail_nth(0);
        assert_int_equal(names_in(dir), 1);
        if (st == EQ_OK) break;
        check_error(&err, EQ_ENOMEM, NULL);
        assert_true(nth < 100);
    }
    eq_err err = {0};
    assert_int_equal(eq_write_file(scratch_path("no/such/dir/f"), "x", 1, &err), EQ_EIO);
    check_error(&err, EQ_EIO, "no/such/dir/f", NULL);
    eq_free(path), eq_free(dir);
}

static eq_status write_sealed(const char *path, const char *bytes, int64_t n, eq_err *err) {
    eq_writer *w;
    EQ_TRY(eq_writer_open(&w, path, err));
    eq_status st = eq_writer_seal(w, err);
    for (int64_t at = 0; at < n && st == EQ_OK; at += 100)
        st = eq_writer_put(w, bytes + at, n - at < 100 ? n - at : 100, err);
    if (st == EQ_OK) return eq_writer_commit(w, err);
    eq_writer_abort(w);
    return st;
}

/* A flipped bit anywhere, and any other length, is seen. */
static void seals(void **state) {
    (void)state;
    char bytes[333], *path = eq_strdup(scratch_path("sealed"));
    for (int i = 0; i < 333; i++) bytes[i] = (char)(i * i);
    for (int64_t n = 0; n <= 333; n += 333) {
        eq_err err = {0};
        eq_map m, raw;
        assert_int_equal(write_sealed(path, bytes, n, &err), EQ_OK);
        assert_int_equal(eq_map_open_sealed(&m, path, &err), EQ_OK);
        assert_int_equal(m.size, n);
        assert_memory_equal(m.data, bytes, (size_t)n);
        eq_map_close(&m);
        assert_int_equal(eq_map_open(&raw, path, &err), EQ_OK);
        char copy[512];
        memcpy(copy, raw.data, (size_t)raw.size);
        char *bad = eq_strdup(scratch_path("bad"));
        for (int64_t bit = 0; bit < 8 * raw.size; bit++) {
            copy[bit / 8] ^= (char)(1 << bit % 8);
            assert_int_equal(eq_write_file(bad, copy, raw.size, NULL), EQ_OK);
            err = (eq_err){0};
            assert_int_equal(eq_map_open_sealed(&m, bad, &err), EQ_EINPUT);
            check_error(&err, EQ_EINPUT, "bad", "damaged", "checksum", NULL);
            copy[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (int64_t size = 0; size < raw.size; size++) {
            assert_int_equal(eq_write_file(bad, copy, size, NULL), EQ_OK);
            assert_int_equal(eq_map_open_sealed(&m, bad, NULL), EQ_EINPUT);
        }
        eq_free(bad);
        eq_map_close(&raw);
    }
    for (int64_t nth = 1;; nth++) { /* memory runs out at every place */
        eq_mem_fail_nth(nth);
        eq_err err = {0};
        eq_status st = write_sealed(path, "mem", 3, &err);
        eq_mem_fail_nth(0);
        if (st == EQ_OK) break;
        check_error(&err, EQ_ENOMEM, NULL);
    }
    eq_free(path);
}

static void folders(void **state) {
    (void)state;
    char *dir = eq_strdup(scratch_path("d/e/f"));
    eq_err err = {0};
    bool empty = false;
    assert_int_equal(eq_dir_is_empty(dir, &empty, &err), EQ_OK);
    assert_true(empty && !eq_exists(dir));
    assert_int_equal(eq_mkdir(dir, &err), EQ_OK);
    assert_int_equal(eq_mkdir(dir, &err), EQ_OK);
    assert_true(eq_is_dir(dir) && eq_exists(dir));
    char *file = eq_path(dir, "z"), *other = eq_path(dir, "a");
    assert_int_equal(eq_write_file(file, "", 0, &err), EQ_OK);
    assert_int_equal(eq_write_file(other, "", 0, &err), EQ_OK);
    assert_int_equal(eq_dir_is_empty(dir, &empty, &err), EQ_OK);
    assert_true(!empty && !eq_is_dir(file));
    eq_names n;
    assert_int_equal(eq_list_dir(dir, &n, &err), EQ_OK);
    assert_int_equal(n.n, 2);
    assert_string_equal(n.p[0], "a");
    assert_string_equal(n.p[1], "z");
    eq_names_free(&n);
    assert_int_equal(eq_rename_durable(file, other, &err), EQ_OK);
    assert_int_equal(names_in(dir), 1);
    assert_int_equal(eq_dir_is_empty(other, &empty, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "folder", NULL);
    err = (eq_err){0};
    char *below_file = eq_path(other, "x");
    assert_int_equal(eq_mkdir(below_file, &err), EQ_EIO);
    assert_int_equal(eq_remove_tree(scratch_path("d"), NULL), EQ_OK);
    assert_false(eq_exists(scratch_path("d")));
    assert_int_equal(eq_remove_tree(scratch_path("d"), NULL), EQ_OK); /* gone is fine */
    assert_true(eq_disk_free(scratch_dir()) > 0 && eq_machine_memory() > 0);
    eq_free(below_file), eq_free(file), eq_free(other), eq_free(dir);
}

/* Two writers of one file do not meet: each has a temporary file of its own, the last one wins. */
static void temporary_names(void **state) {
    (void)state;
    char *dir = fresh_dir("t"), *path = eq_path(dir, "f"), *seen[64];
    eq_writer *w[2];
    for (int i = 0; i < 64; i++) {
        seen[i] = eq_temporary(path);
        assert_int_equal(strlen(seen[i]), strlen(path) + strlen(".tmp-") + EQ_TEMPORARY);
        for (int k = 0; k < i; k++) assert_string_not_equal(seen[i], seen[k]);
    }
    for (int i = 0; i < 64; i++) eq_free(seen[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(eq_writer_open(&w[i], path, NULL), EQ_OK);
        assert_int_equal(eq_writer_put(w[i], i ? "two" : "one", 3, NULL), EQ_OK);
    }
    assert_int_equal(names_in(dir), 2);
    assert_int_equal(eq_writer_commit(w[1], NULL), EQ_OK);
    expect_content(path, "two", 3);
    assert_int_equal(eq_writer_commit(w[0], NULL), EQ_OK);
    expect_content(path, "one", 3);
    assert_int_equal(names_in(dir), 1);
    eq_free(path), eq_free(dir);
}

/* What is written to under a map is seen, what takes its name is not the mapped file. */
static void changed_under_a_map(void **state) {
    (void)state;
    eq_map m, other;
    eq_err err = {0};
    char *path = eq_strdup(scratch_text("c", "abc"));
    assert_int_equal(eq_map_open(&m, path, &err), EQ_OK);
    assert_int_equal(eq_map_unchanged(&m, path, &err), EQ_OK);
    assert_string_equal(eq_map_named(m.data + 2), path);
    assert_null(eq_map_named(m.data + 3));
    assert_int_equal(eq_write_file(path, "new", 3, &err), EQ_OK);
    assert_int_equal(eq_map_unchanged(&m, path, &err), EQ_OK);
    assert_int_equal(eq_map_open(&other, path, &err), EQ_OK);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fputs("abcd", f), fclose(f);
    assert_int_equal(eq_map_unchanged(&other, path, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, path, "written to", "4 bytes, were 3", NULL);
    const uint8_t *at = m.data;
    eq_map_close(&m), eq_map_close(&other);
    assert_null(eq_map_named(at));
    eq_map_close(&m); /* twice is harmless */
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(eq_map_open(&m, path, NULL), EQ_OK);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_int_equal(eq_map_unchanged(&m, path, NULL), EQ_EINPUT);
    assert_true(eq_map_look_anew(&m)); /* the bytes may be the same: who looks at them decides */
    assert_int_equal(eq_map_unchanged(&m, path, NULL), EQ_EINPUT);
    eq_map_accept(&m);
    assert_int_equal(eq_map_unchanged(&m, path, NULL), EQ_OK);
    assert_int_equal(truncate(path, 3), 0);
    assert_false(eq_map_look_anew(&m));
    eq_map_close(&m);
    /* many maps: those without a name are maps all the same */
    eq_map *all = eq_calloc(700, sizeof *all);
    for (int i = 0; i < 700; i++) assert_int_equal(eq_map_open(&all[i], path, NULL), EQ_OK);
    for (int i = 0; i < 700; i++) eq_map_close(&all[i]);
    eq_free(all), eq_free(path);
}

static void where_paths_lead(void **state) {
    (void)state;
    char *dir = fresh_dir("p/q"), *link = eq_strdup(scratch_path("link")),
         *real = eq_real_path(dir);
    char *nowhere = eq_strdup(scratch_path("nowhere")), *up = eq_path(dir, "../../p//");
    assert_int_equal(symlink("p/q", link), 0);
    assert_int_equal(symlink("gone", nowhere), 0);
    const char *const rest[] = {"", "/", "//", "/new", "/new/er//"};
    const char *const want[] = {"", "", "", "/new", "/new/er"};
    for (int i = 0; i < 5; i++) {
        char *path = eq_sprintf("%s%s", link, rest[i]), *is = eq_real_path(path);
        char *expected = eq_sprintf("%s%s", real, want[i]);
        assert_string_equal(is, expected);
        assert_true(eq_lies_in(path, dir) && eq_lies_in(path, up));
        assert_false(eq_lies_in(up, path));
        eq_free(path), eq_free(is), eq_free(expected);
    }
    char *neighbour = eq_sprintf("%s2", dir), *root = eq_real_path("/no-such-thing");
    assert_false(eq_lies_in(neighbour, dir));
    assert_true(eq_lies_in(dir, "/"));
    assert_string_equal(root, "/no-such-thing");
    assert_true(eq_is_dangling(nowhere) && !eq_is_dangling(link) && !eq_is_dangling(dir));
    assert_true(eq_is_mount_point("/proc") && !eq_is_mount_point(dir));
    assert_int_equal(eq_dir_takes_entries(dir, "x", NULL), EQ_OK);
    char *left = eq_path(dir, ".eqat-probe");
    assert_int_equal(eq_mkdir(left, NULL), EQ_OK);
    assert_int_equal(eq_dir_takes_entries(dir, "x", NULL), EQ_OK);
    eq_err err = {0};
    assert_int_equal(eq_dir_takes_entries("/proc", "x", &err), EQ_EIO);
    check_error(&err, EQ_EIO, "x: cannot create anything in /proc", NULL);
    eq_free(dir), eq_free(link), eq_free(real), eq_free(nowhere), eq_free(up);
    eq_free(neighbour), eq_free(root), eq_free(left);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping),
        cmocka_unit_test(writing),
        cmocka_unit_test(nothing_half_written),
        cmocka_unit_test(seals),
        cmocka_unit_test(folders),
        cmocka_unit_test(temporary_names),
        cmocka_unit_test(changed_under_a_map),
        cmocka_unit_test(where_paths_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
