/* The work folder: whose it is, what makes a run another one, what is damaged, what stays behind.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "train/work.h"

static json_t *json(const char *text) {
    json_t *v;
    eq_err err = {0};
    if (eq_json_parse(&v, text, (int64_t)strlen(text), "test", &err) != EQ_OK)
        fail_msg("%s", err.msg);
    return v;
}

typedef struct {
    char *dir;
    json_t *first, *second;
    eq_identity who;
} fixture;
static fixture begin(const char *name) {
    fixture f = {.dir = eq_strdup(scratch_path(name)),
                 .first = json("{\"recipe\": {\"bits\": 2, \"lr\": 1e-05}, \"model\": \"a\"}"),
                 .second = json("{\"recipe\": {\"e2e_qp\": {\"lr\": 0.3}}}")};
    f.who = (eq_identity){f.first, f.second, "avx2, oneDNN 2.6.3"};
    return f;
}
static void end(fixture *f) { eq_free(f->dir), json_decref(f->first), json_decref(f->second); }

static void opens(eq_work *w, const fixture *f, bool resume) {
    eq_err err = {0};
    if (eq_work_open(w, f->dir, resume, &f->who, NULL, &err) != EQ_OK) fail_msg("%s", err.msg);
}
static void refuses(const fixture *f, bool resume, const char *why) {
    eq_work w;
    eq_err err = {0};
    eq_status st = eq_work_open(&w, f->dir, resume, &f->who, NULL, &err);
    if (st == EQ_OK) fail_msg("opened, expected: %s", why);
    check_error(&err, st, why, NULL);
}
static void put(const fixture *f, const char *name, const char *text) {
    char *path = eq_path(f->dir, name);
    assert_int_equal(eq_write_file(path, text, (int64_t)strlen(text), NULL), EQ_OK);
    eq_free(path);
}
static bool has(const fixture *f, const char *name) {
    char *path = eq_path(f->dir, name);
    bool yes = eq_exists(path);
    eq_free(path);
    return yes;
}
static void put_sealed(const fixture *f, const char *name) {
    char *path = eq_path(f->dir, name);
    eq_writer *w;
    assert_int_equal(eq_writer_open(&w, path, NULL), EQ_OK);
    assert_int_equal(eq_writer_seal(w, NULL), EQ_OK);
    assert_int_equal(eq_writer_put(w, "content", 7, NULL), EQ_OK);
    assert_int_equal(eq_writer_commit(w, NULL), EQ_OK);
    eq_free(path);
}

/* One run at a time, also where both have the same process number. */
static void one_run_at_a_time(void **state) {
    (void)state;
    fixture f = begin("w/lock");
    eq_work w;
    bool begun = true;
    assert_int_equal(eq_work_look(f.dir, true, &begun, NULL), EQ_OK);
    assert_false(begun || eq_exists(f.dir)); /* looking makes nothing */
    opens(&w, &f, false);
    refuses(&f, true, "found another run that uses it");
    refuses(&f, false, "found another run that uses it");
    eq_err err = {0};
    assert_int_equal(eq_work_look(f.dir, true, &begun, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "w/lock: ", "another run", NULL);
    eq_work_close(&w); /* as a kill does */
    refuses(&f, false, "holds an unfinished run; --resume");
    opens(&w, &f, true);
    assert_int_equal(eq_work_remove(&w, NULL), EQ_OK);
    assert_false(eq_exists(f.dir));
    eq_work_close(&w);
    end(&f);
}

static void what_makes_another_run(void **state) {
    (void)state;
    fixture f = begin("w/who"), other = begin("w/who");
    eq_work w;
    opens(&w, &f, false), eq_work_close(&w);
    json_object_set_new(other.first, "model", json_string("b"));
    refuses(&other, true, "run.json: cannot resume: model is \"a\" in that run and \"b\" now");
    json_object_set_new(other.first, "model", json_string("a"));
    other.who.kernels = "sse2, oneDNN 2.6.3";
    refuses(&other, true, "computes with \"avx2, oneDNN 2.6.3\", this one with \"sse2, oneDNN");
    other.who.kernels = f.who.kernels;
    /* phase two has not begun: its settings may change, it may even go */
    json_t *lr = json_object_get(json_object_get(other.second, "recipe"), "e2e_qp");
    json_object_set_new(lr, "lr", json_real(0.5));
    opens(&w, &other, true), eq_work_close(&w);
    other.who.second = NULL;
    opens(&w, &other, true), eq_work_close(&w);
    opens(&w, &f, true), eq_work_close(&w);
    put_sealed(&f, "e2e.safetensors.good");
    other.who.second = other.second;
    refuses(&other, true, "recipe.e2e_qp.lr is 0.29999999999999999 in that run and 0.5 now");
    opens(&w, &f, true), eq_work_close(&w);
    end(&f), end(&other);
}

/* Every bit of run.json, and every length. */
static void damage_of_run_json(void **state) {
    (void)state;
    fixture f = begin("w/bits");
    eq_work w;
    eq_map m;
    opens(&w, &f, false), eq_work_close(&w);
    char *path = eq_path(f.dir, "run.json"), text[2048];
    assert_int_equal(eq_map_open(&m, path, NULL), EQ_OK);
    int64_t n = m.size;
    assert_true(n < (int64_t)sizeof text);
    memcpy(text, m.data, (size_t)n);
    eq_map_close(&m);
    int refused = 0;
    for (int64_t bit = 0; bit < 8 * n; bit++) {
        eq_err err = {0};
        text[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(eq_write_file(path, text, n, NULL), EQ_OK);
        text[bit / 8] ^= (char)(1 << bit % 8);
        /* what is between the tokens of JSON means nothing */
        if (eq_work_compare(f.dir, &f.who, &err) == EQ_OK) continue;
        check_error(&err, err.status, "run.json", NULL);
        refused++;
    }
    assert_true(refused > 7 * n);
    for (int64_t size = 0; size < n - 1; size++) { /* the last byte may be a line end */
        assert_int_equal(eq_write_file(path, text, size, NULL), EQ_OK);
        assert_int_not_equal(eq_work_compare(f.dir, &f.who, NULL), EQ_OK);
    }
    eq_free(path), end(&f);
}

/* A later program may not know what it finds; one with the same work version goes on. */
static void versions(void **state) {
    (void)state;
    fixture f = begin("w/version");
    eq_err err = {0};
    json_t *run = json_pack("{s:i, s:s, s:b, s:O}", "version", EQ_WORK_VERSION + 1, "kernels",
                            f.who.kernels, "keep_dir", 0, "first", f.first);
    char *bare = eq_json_text(run, 0);
    json_object_set_new(run, "sum", json_string(eq_hash_bytes(bare, (int64_t)strlen(bare)).hex));
    char *text = eq_json_text(run, 2);
    assert_int_equal(eq_mkdir(f.dir, NULL), EQ_OK);
    put(&f, "run.json", text);
    assert_int_equal(eq_work_compare(f.dir, &f.who, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "run.json: expected a run of work version 2, found 3", NULL);
    put(&f, "run.json", "{\"eqat\": \"0.1.0\", \"recipe\": {}}"); /* of before the versions */
    refuses(&f, true, "expected a run of work version 2, found 0");
    json_decref(run), eq_free(bare), eq_free(text), end(&f);
}

/* Blocks are trained again; states of phase two fall back to the last whole one, or altogether. */
static void damaged_files(void **state) {
    (void)state;
    fixture f = begin("w/mend");
    eq_work w;
    static const char *const all[] = {"block-00000.safetensors", "block-00001.safetensors",
                                      "e2e.safetensors", "e2e.safetensors.good"};
    for (int bad = 0; bad < 4; bad++) {
        opens(&w, &f, bad > 0), eq_work_close(&w);
        for (int i = 0; i < 4; i++) put_sealed(&f, all[i]);
        put(&f, "block-00002.safetensors.tmp-abcd1234", "half"); /* of a kill */
        put(&f, all[bad], "damaged, and of another length than whatever was there before");
        opens(&w, &f, true);
        for (int i = 0; i < 4; i++)
            assert_int_equal(has(&f, all[i]), i != bad && !(bad == 3 && i == 2));
        assert_false(has(&f, "block-00002.safetensors.tmp-abcd1234"));
        assert_int_equal(eq_work_blocks(f.dir, 3), bad == 0 ? 0 : bad == 1 ? 1 : 2);
        assert_int_equal(eq_work_second_begun(f.dir), bad != 3);
        eq_work_close(&w);
    }
    char *cache;
    opens(&w, &f, true);
    assert_int_equal(eq_work_note_cache(&w, "/somewhere/else", NULL), EQ_OK);
    assert_int_equal(eq_work_cache(&w, &cache, NULL), EQ_OK);
    assert_string_equal(cache, "/somewhere/else");
    eq_free(cache);
    eq_work_close(&w);
    put(&f, "cache-dir", "/somewhere/els");
    opens(&w, &f, true);
    assert_int_equal(eq_work_cache(&w, &cache, NULL), EQ_OK);
    assert_null(cache);
    assert_int_equal(eq_work_remove(&w, NULL), EQ_OK);
    assert_false(eq_exists(f.dir));
    eq_work_close(&w), end(&f);
}

/* A run that could not begin leaves nothing. */
static void disk_full_at_the_start(void **state) {
    (void)state;
    fixture f = begin("w/full");
    eq_work w;
    eq_err err = {0};
    eq_io_fail_nth(1);
    assert_int_equal(eq_work_open(&w, f.dir, false, &f.who, NULL, &err), EQ_EIO);
    eq_io_fail_nth(0);
    check_error(&err, EQ_EIO, "run.json: cannot write", NULL);
    assert_false(eq_exists(f.dir));
    end(&f);
}

/* What is the user's stays: an empty folder, and files that are not the run's. */
static void what_stays(void **state) {
    (void)state;
    fixture f = begin("w/stays");
    eq_work w;
    assert_int_equal(eq_mkdir(f.dir, NULL), EQ_OK);
    opens(&w, &f, false), eq_work_close(&w);
    opens(&w, &f, true);
    put_sealed(&f, "block-00000.safetensors");
    assert_int_equal(eq_work_remove(&w, NULL), EQ_OK);
    bool empty;
    assert_int_equal(eq_dir_is_empty(f.dir, &empty, NULL), EQ_OK);
    assert_true(eq_is_dir(f.dir) && empty);
    eq_work_close(&w);
    assert_int_equal(rmdir(f.dir), 0);
    opens(&w, &f, false);
    put(&f, "notes.txt", "mine");
    assert_int_equal(eq_work_remove(&w, NULL), EQ_OK);
    assert_true(has(&f, "notes.txt") && !has(&f, "run.json") && !has(&f, "lock"));
    eq_work_close(&w);
    refuses(&f, true, "expected a work folder (with run.json) or an empty one");
    end(&f);
}

/* What a kill within the removal leaves beside a finished output. */
static void half_removed(void **state) {
    (void)state;
    fixture f = begin("w/half");
    eq_work w;
    eq_err err = {0};
    assert_int_equal(eq_work_clear(f.dir, true, &err), EQ_OK);
    assert_false(eq_exists(f.dir));
    opens(&w, &f, false);
    assert_int_equal(eq_work_clear(f.dir, true, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "another run that uses it", NULL);
    eq_work_close(&w);
    assert_int_equal(eq_work_clear(f.dir, true, &err), EQ_OK); /* a run that can go on */
    assert_true(has(&f, "run.json") && has(&f, "lock"));
    for (int folder = 0; folder < 2; folder++)
        for (int mine = 0; mine < 2; mine++) {
            assert_int_equal(eq_mkdir(f.dir, NULL), EQ_OK);
            put(&f, "run.json", ""), put(&f, "lock", "");
            char *run = eq_path(f.dir, "run.json"), *notes = eq_path(f.dir, "notes.txt");
            assert_int_equal(eq_remove_tree(run, NULL), EQ_OK);
            if (mine) put(&f, "notes.txt", "mine");
            assert_int_equal(eq_work_clear(f.dir, folder, &err), EQ_OK);
            assert_false(has(&f, "lock"));
            assert_int_equal(eq_is_dir(f.dir), mine || !folder);
            assert_int_equal(has(&f, "notes.txt"), mine);
            assert_int_equal(eq_remove_tree(f.dir, NULL), EQ_OK);
            eq_free(run), eq_free(notes);
        }
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_at_a_time),      cmocka_unit_test(what_makes_another_run),
        cmocka_unit_test(damage_of_run_json),     cmocka_unit_test(versions),
        cmocka_unit_test(damaged_files),          cmocka_unit_test(what_stays),
        cmocka_unit_test(disk_full_at_the_start), cmocka_unit_test(half_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
