/* Where a checkpoint may go, the temporary folder beside it, and what goes along from the model's
 * folder. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"
#include "model/checkpoint.h"
#include "model/checkpoint_parts.h"
#include "scratch.h"

static char *dir_of(const char *name) {
    char *dir = eq_strdup(scratch_path(name));
    assert_int_equal(eq_mkdir(dir, NULL), EQ_OK);
    return dir;
}

/* "" or a part of the message. */
static void out_is(const char *out, const char *model, const char *why) {
    eq_err err = {0};
    eq_status st = eq_output_check(out, model, &err);
    if (!*why && st != EQ_OK) fail_msg("%s: %s", out, err.msg);
    if (*why && st == EQ_OK) fail_msg("%s is taken", out);
    if (*why) check_error(&err, st, why, NULL);
}

static void places(void **state) {
    (void)state;
    char *model = dir_of("m"), *empty = dir_of("e"), *full = dir_of("f");
    scratch_text("f/x", "");
    char *link = eq_strdup(scratch_path("l")), *gone = eq_strdup(scratch_path("g"));
    assert_int_equal(symlink("e", link), 0);
    assert_int_equal(symlink("nowhere", gone), 0);
    out_is(empty, model, "");
    out_is(scratch_path("e//"), model, "");
    out_is(link, model, "");
    out_is(scratch_path("new"), model, "");
    out_is(scratch_path("new/"), model, "");
    out_is(scratch_path("a/b/c/"), model, "");
    out_is("", model, "empty name");
    out_is(model, model, "other than the model's");
    out_is(scratch_path("e/../m/"), model, "other than the model's");
    out_is(full, model, "found files in it");
    out_is(scratch_path("f/x"), model, "found a file");
    out_is(scratch_path("f/x/y"), model, "expected a folder");
    out_is(gone, model, "a link to nowhere");
    out_is("/proc/nothing", model, "cannot create anything in /proc");
    out_is(scratch_path("new/."), model, "the name of a folder");
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(empty), 0);
    out_is(".", model, "the current one");
    out_is("../e/", model, "the current one");
    assert_int_equal(chdir(here), 0);
    /* asking left nothing */
    eq_names n;
    assert_int_equal(eq_list_dir(empty, &n, NULL), EQ_OK);
    assert_int_equal(n.n, 0);
    eq_names_free(&n);
    assert_false(eq_exists(scratch_path("a")) || eq_exists(scratch_path("new")));
    eq_free(model), eq_free(empty), eq_free(full), eq_free(link), eq_free(gone);
}

static void names_of_places(void **state) {
    (void)state;
    char *empty = dir_of("e"), *link = eq_strdup(scratch_path("l2"));
    assert_int_equal(symlink("e", link), 0);
    char *real = eq_real_path(empty), *is = eq_output_path(link);
    assert_string_equal(is, real);
    eq_free(is);
    const char *const rows[][2] = {
        {"new", "new.work"}, {"new//", "new.work"}, {"a/b/", "a/b.work"}, {"./x", "./x.work"}};
    for (int i = 0; i < 4; i++) {
        is = eq_path_beside(rows[i][0], ".work");
        assert_string_equal(is, rows[i][1]);
        eq_free(is);
    }
    char *dots = eq_sprintf("%s/.", empty), *want = eq_sprintf("%s.work", real);
    is = eq_path_beside(dots, ".work");
    assert_string_equal(is, want);
    eq_free(is), eq_free(dots), eq_free(want), eq_free(real), eq_free(empty), eq_free(link);
}

/* A killed run's temporary folder goes, one of a living run stays, whatever their process numbers.
 */
static void stale_folders(void **state) {
    (void)state;
    eq_err err = {0};
    char *parent = dir_of("s"), *out = eq_path(parent, "out"), *first, *second, *third;
    int lock[3];
    assert_int_equal(eq_temporary_folder(out, &first, &lock[0], &err), EQ_OK);
    assert_int_equal(eq_temporary_folder(out, &second, &lock[1], &err), EQ_OK);
    assert_true(lock[0] >= 0 && lock[1] >= 0);
    assert_true(eq_exists(first) && eq_exists(second));
    assert_string_not_equal(first, second);
    char *other = eq_sprintf("%s.tmp-mine", out), *neighbour = eq_sprintf("%s2.tmp-00000000", out);
    assert_int_equal(eq_mkdir(other, NULL), EQ_OK);
    assert_int_equal(eq_mkdir(neighbour, NULL), EQ_OK);
    char *file = eq_path(first, "model.safetensors");
    assert_int_equal(eq_write_file(file, "half", 4, NULL), EQ_OK);
    close(lock[0]); /* as a kill does */
    assert_int_equal(eq_temporary_folder(out, &third, &lock[2], &err), EQ_OK);
    assert_false(eq_exists(first));
    assert_true(eq_exists(second) && eq_exists(third) && eq_exists(other) && eq_exists(neighbour));
    close(lock[1]), close(lock[2]);
    eq_free(parent), eq_free(out), eq_free(first), eq_free(second), eq_free(third);
    eq_free(other), eq_free(neighbour), eq_free(file);
}

static void note(void *ctx, const char *line) { snprintf(ctx, 512, "%s", line); }

static eq_status side_sums(const char *model, const eq_observer *obs, eq_err *err) {
    json_t *sums;
    eq_status st = eq_checkpoint_side_sums(&sums, model, obs, err);
    if (st == EQ_OK) {
        assert_int_equal(json_object_size(sums), 1);
        const char *hex = json_string_value(json_object_get(sums, "tokenizer.json"));
        assert_string_equal(hex, eq_hash_bytes("{}", 2).hex);
    }
    json_decref(sums);
    return st;
}

static void side_files(void **state) {
    (void)state;
    char said[512] = "", *model = dir_of("side"), *link = eq_path(model, "LICENSE");
    eq_observer obs = {.ctx = said, .note = note};
    eq_err err = {0};
    scratch_text("side/tokenizer.json", "{}");
    assert_int_equal(side_sums(model, &obs, &err), EQ_OK);
    assert_string_equal(said, "");
    scratch_text("side/README.md", "read by people"); /* no part of the sums */
    assert_int_equal(symlink("../../blobs/gone", link), 0);
    assert_int_equal(side_sums(model, &obs, &err), EQ_OK);
    assert_non_null(strstr(said, "LICENSE: a link to nowhere, left out"));
    char *self = eq_path(model, "self");
    assert_int_equal(symlink("self", self), 0);
    assert_int_equal(side_sums(model, &obs, &err), EQ_OK);
    assert_non_null(strstr(said, "self: a link to nowhere"));
    char *shut = eq_strdup(scratch_text("side/shut.json", "{}"));
    assert_int_equal(chmod(shut, 0), 0);
    if (geteuid()) { /* root reads it all the same */
        assert_int_equal(side_sums(model, &obs, &err), EQ_EIO);
        check_error(&err, EQ_EIO, "shut.json: cannot open", NULL);
    }
    eq_free(model), eq_free(link), eq_free(self), eq_free(shut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),
        cmocka_unit_test(names_of_places),
        cmocka_unit_test(stale_folders),
        cmocka_unit_test(side_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
