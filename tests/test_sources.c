/* Windows of several data: files, folders, patterns, weights; documents that are packed. */
#include "tiny_docs.h"

/* Without weights many files are one. */
static void several_files(void **state) {
    (void)state;
    eq_windows a, b, c, d;
    eq_err err = {0};
    char names[512], folder[256];
    eq_window_opts o = opts(T);
    const char *one = put_docs("s.jsonl", DOCS);
    calibrate(&a, &b, one, NULL, 6, 4, &o);
    assert_int_equal(eq_mkdir(scratch_path("s"), NULL), EQ_OK);
    snprintf(folder, sizeof folder, "%s", scratch_path("s"));
    const char *first = put_some_docs("s/a.jsonl", 0, 25);
    snprintf(names, sizeof names, "%s\n%s", first, put_some_docs("s/b.jsonl.gz", 25, DOCS));
    scratch_text("s/LICENSE", "no data");
    const char *const same[] = {names, folder, scratch_path("s/*.j*")};
    for (int i = 0; i < 3; i++) {
        calibrate(&c, &d, same[i], NULL, 6, 4, &o);
        assert_string_equal(a.digest.hex, c.digest.hex);
        assert_string_equal(b.digest.hex, d.digest.hex);
        assert_int_equal(c.inputs.n, 2);
        assert_string_equal(c.inputs.p[0].name, "a.jsonl");
        assert_int_equal(c.inputs.p[0].documents, 25);
        eq_windows_free(&c), eq_windows_free(&d);
    }
    /* texts are one text; a text among documents is a document */
    scratch_text("s/c.txt", "text"), scratch_text("s/d.txt", "more");
    snprintf(names, sizeof names, "%s", scratch_path("s/?.txt"));
    o = opts(5);
    assert_int_equal(eq_windows_chunks(&c, names, 0, &o, &err), EQ_OK);
    assert_int_equal(c.n, 2); /* BOS t e x t, BOS m o r e */
    assert_true(c.ids[0] == BOS && c.ids[5] == BOS);
    eq_windows_free(&c);
    snprintf(names, sizeof names, "%s\n%s", scratch_path("s/c.txt"), scratch_path("s/a.jsonl"));
    calibrate(&c, &d, names, NULL, 6, 4, &o);
    assert_true(c.docs.of == 23 && d.docs.of == 3); /* of 26 */
    eq_windows_free(&a), eq_windows_free(&b), eq_windows_free(&c), eq_windows_free(&d);
}

/* Three to one: six windows and two, dealt evenly. */
static void weights(void **state) {
    (void)state;
    eq_windows a, b, w, v;
    eq_err err = {0};
    char names[512];
    eq_window_opts o = opts(T);
    const char *docs = put_docs("w.jsonl", DOCS), *rows = put_npy("w.npy", 9, T, true);
    calibrate(&a, &b, docs, NULL, 6, 3, &o);
    snprintf(names, sizeof names, "%s:3\n%s:1", docs, rows);
    calibrate(&w, &v, names, NULL, 8, 4, &o);
    assert_true(w.n == 8 && v.n == 4 && w.T == T);
    for (int i = 0, doc = 0, row = 0; i < 8; i++) {
        bool is_row = i == 2 || i == 6;
        for (int k = 0; k < T; k++)
            assert_int_equal(w.ids[i * T + k],
                             is_row ? (row * T + k) * 31 % VOCAB : a.ids[doc * T + k]);
        *(is_row ? &row : &doc) += 1;
    }
    assert_memory_equal(v.ids, b.ids, T * sizeof *v.ids);
    eq_windows_free(&w), eq_windows_free(&v);
    assert_int_equal(eq_windows_chunks(&w, names, 4, &o, &err), EQ_OK);
    assert_int_equal(w.n, 4);
    assert_int_equal(w.inputs.n, 2);
    eq_windows_free(&w);
    assert_int_equal(eq_windows_eval(&w, EQ_EVAL_WINDOWS, names, 0, &o, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, "w.jsonl", "no weight", NULL);
    snprintf(names, sizeof names, "%s:3\n%s", docs, rows);
    bad_calibration(names, NULL, 0, &o, "w.npy", "has no weight");
    /* a file of that very name comes first */
    calibrate(&w, &v, put_docs("n:2.jsonl", DOCS), NULL, 6, 3, &o);
    assert_string_equal(w.digest.hex, a.digest.hex);
    eq_windows_free(&a), eq_windows_free(&b), eq_windows_free(&w), eq_windows_free(&v);
}

/* All documents, each with its end behind it, cut into windows: every window once, none of them in
 * both sets. */
static void packed(void **state) {
    (void)state;
    enum { EOS = 7 };
    static int32_t all[DOCS * 100];
    int64_t n = 0;
    bool seen[DOCS * 100 / T] = {false};
    eq_windows a, b;
    eq_window_opts o = opts(T);
    o.pack = true, o.eos = EOS;
    const char *path = put_docs("p.jsonl", DOCS);
    for (int64_t i = 0; i < DOCS; i++) {
        for (int64_t k = 0; k <= doc_bytes(i); k++) all[n++] = doc_id(i, k);
        all[n++] = EOS;
    }
    int64_t have = n / T, nine = (int64_t)(0.9 * (double)have);
    calibrate(&a, &b, path, NULL, 1000, 1000, &o);
    assert_true(a.n == nine && b.n == have - nine);
    bool in_order = true;
    for (int64_t i = 0; i < have; i++) {
        const int32_t *ids = i < nine ? a.ids + i * T : b.ids + (i - nine) * T;
        int64_t k = 0;
        while (k < have && (seen[k] || memcmp(ids, all + k * T, T * sizeof *ids))) k++;
        assert_true(k < have && (k < nine) == (i < nine));
        seen[k] = true;
        in_order &= k == i;
    }
    assert_false(in_order);
    eq_windows_free(&a), eq_windows_free(&b);
    calibrate(&a, &b, path, path, 4, 6, &o); /* one for validation alone */
    assert_true(a.n == 4 && b.n == 6);
    eq_windows_free(&a), eq_windows_free(&b);
    bad_calibration(put_npy("p.npy", 30, T, true), NULL, 0, &o, "p.npy", "cannot be packed");
    bad_calibration(put_docs("p1.jsonl", 2), NULL, 2, &o, "p1.jsonl", "2 packed windows");
}

/* A name that memory is out for is not another name: the list is of a run's identity. */
static void list_without_memory(void **state) {
    (void)state;
    eq_inputs s = {0};
    eq_input *in;
    eq_err err = {0};
    assert_null(eq_inputs_json(&s, false));
    assert_int_equal(eq_inputs_add(&s, "folder/a.jsonl", &in, &err), EQ_OK);
    eq_mem_fail_nth(1);
    assert_null(eq_inputs_json(&s, true));
    eq_mem_fail_nth(0);
    json_t *all = eq_inputs_json(&s, true);
    assert_non_null(json_object_get(all, "a.jsonl"));
    json_decref(all);
    eq_inputs_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_files),
        cmocka_unit_test(list_without_memory),
        cmocka_unit_test(weights),
        cmocka_unit_test(packed),
    };
    return cmocka_run_group_tests(tests, make_tokenizer, free_tokenizer);
}
