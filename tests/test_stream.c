/* Activation streams: passes in both directions, a kill at every point of a pass, files that are
 * not what they were. */
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "train/settings.h"
#include "train/stream.h"

enum { N = 7, B = 3, T = 4, D = 8, LEVELS = 5 };
static eq_err err;
static float table[16 * D];
static int32_t ids[N * T];

static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}
static eq_stream opened(const char *path, int64_t most) {
    eq_stream s = {.n = N, .B = B, .T = T, .D = D, .dt = EQ_F32};
    ok(eq_stream_open(&s, path, most, &err));
    return s;
}
static void embed(eq_stream *s) {
    eq_tensor t = {.name = "embed", .data = (const void *)table, .dt = EQ_F32, .n = 16 * D};
    for (int i = 0; i < 16 * D; i++) table[i] = (float)i;
    for (int i = 0; i < N * T; i++) ids[i] = i * 5 % 16;
    eq_windows a = {.ids = ids, .n = 5, .T = T}, b = {.ids = ids + 5 * T, .n = N - 5, .T = T};
    ok(eq_stream_embed(s, &a, &b, &t, 1, &err));
}
/* A block adds 1000 to everything; a window at level l has its embeddings plus 1000 l. */
static void check(const eq_stream *s, int64_t window, int64_t level) {
    const float *x = eq_stream_at(s, window);
    for (int t = 0; t < T; t++)
        for (int d = 0; d < D; d++) {
            float want = (float)(ids[window * T + t] * D + d + 1000 * level);
            if (x[t * D + d] != want)
                fail_msg("window %d at level %d: %g", (int)window, (int)level,
                         (double)x[t * D + d]);
        }
}
static void fill(const eq_stream_batch *b, bool torn) {
    for (int64_t i = 0; i < b->n * T * D; i++)
        ((float *)b->out)[i] = torn ? -7.0f : ((const float *)b->in)[i] + 1000;
}

static void pass_all(const char *path) {
    eq_stream s = opened(path, 0);
    assert_int_equal(eq_stream_level(&s), -1);
    embed(&s);
    for (int64_t level = 0; level < LEVELS; level++) {
        assert_int_equal(eq_stream_level(&s), level);
        for (int64_t w = 0; w < N; w++) check(&s, w, level);
        assert_ptr_equal((float *)eq_stream_at(&s, 0) + T * D, eq_stream_at(&s, 1));
        bool seen[N] = {false};
        while (eq_stream_level(&s) == level) {
            eq_stream_batch b = eq_stream_next(&s);
            assert_int_equal(b.from % B, 0); /* the same batches in either direction */
            assert_int_equal(b.n, N - b.from < B ? N - b.from : B);
            fill(&b, false);
            for (int64_t w = b.from; w < b.from + b.n; w++) seen[w] = true;
            eq_stream_passed(&s, &b);
        }
        for (int w = 0; w < N; w++) assert_true(seen[w]);
    }
    eq_stream_close(&s);
}
static void test_passes(void **state) {
    (void)state;
    pass_all(NULL);
    pass_all(scratch_path("whole.bin"));
    assert_true(eq_exists(scratch_path("whole.bin")));
    ok(eq_remove_tree(scratch_path("whole.bin"), &err));
}

/* Closed and opened again around every batch, with a torn output before each: nothing is lost. */
static void test_kills(void **state) {
    (void)state;
    const char *path = scratch_path("killed.bin");
    eq_stream s = opened(path, 0);
    embed(&s);
    for (int64_t step = 0; step < LEVELS * 3; step++) {
        eq_stream_batch b = eq_stream_next(&s);
        fill(&b, true);
        eq_stream_close(&s);
        s = opened(path, LEVELS);
        assert_int_equal(eq_stream_level(&s), step / 3);
        b = eq_stream_next(&s);
        for (int64_t w = b.from; w < b.from + b.n; w++) check(&s, w, step / 3);
        fill(&b, false);
        eq_stream_passed(&s, &b);
        for (int64_t w = b.from; w < b.from + b.n; w++) check(&s, w, step / 3 + 1);
    }
    for (int64_t w = 0; w < N; w++) check(&s, w, LEVELS);
    eq_stream_close(&s);
    ok(eq_remove_tree(path, &err));
}

static void damaged(const char *path, int64_t at) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    fputc(c ^ 1, f);
    assert_int_equal(fclose(f), 0);
}
/* Level 1, two batches into the next pass. */
static void begun(const char *path) {
    eq_stream s = opened(path, LEVELS);
    embed(&s);
    for (int i = 0; i < 5; i++) {
        eq_stream_batch b = eq_stream_next(&s);
        fill(&b, false);
        eq_stream_passed(&s, &b);
    }
    eq_stream_close(&s);
}
static void level(const char *path, int64_t most, int64_t want) {
    eq_stream s = opened(path, most);
    assert_int_equal(eq_stream_level(&s), want);
    eq_stream_close(&s); /* removes a file without windows */
    assert_int_equal(eq_exists(path), want >= 0);
}
static void test_distrust(void **state) {
    (void)state;
    const char *path = scratch_path("old.bin");
    const int64_t window = T * D * 4, head = 4096;
    begun(path);
    level(path, 2, 1);
    level(path, 1, -1); /* beyond what is finished */
    /* windows 3 .. 6 are at level 2 behind B free slots, 0 .. 2 at level 1 from slot 0; 3 .. 5 are
     * free */
    for (int i = 0; i < N + B; i++) {
        begun(path);
        damaged(path, head + i * window + 5);
        level(path, 2, i >= B && i < 2 * B ? 1 : -1);
    }
    begun(path);
    damaged(path, 0); /* the mark */
    level(path, 2, -1);
    begun(path);
    damaged(path, 9); /* how far it is */
    level(path, 2, -1);
    begun(path);
    assert_int_equal(truncate(path, head + window), 0);
    level(path, 2, -1);
    ok(eq_remove_tree(path, &err));
}

static void test_refused(void **state) {
    (void)state;
    const char *path = scratch_path("one.bin");
    int64_t memory = eq_mem_current();
    eq_stream s = opened(path, 0), other = {.n = N, .B = B, .T = T, .D = D, .dt = EQ_F32};
    embed(&s);
    assert_int_equal(eq_stream_open(&other, path, 0, &err), EQ_EINPUT);
    check_error(&err, EQ_EINPUT, path, "another run", NULL);
    err = (eq_err){0};
    eq_stream_close(&s);
    assert_true(eq_exists(path));
    other = (eq_stream){.n = N, .B = B, .T = T, .D = INT64_MAX / 2, .dt = EQ_F32};
    assert_int_equal(eq_stream_open(&other, NULL, 0, &err), EQ_ENOMEM);
    err = (eq_err){0};
    other = (eq_stream){.n = N, .B = B, .T = T, .D = D, .dt = EQ_F32};
    assert_int_equal(eq_stream_open(&other, scratch_path("absent/x.bin"), 0, &err), EQ_EIO);
    check_error(&err, EQ_EIO, "absent/x.bin", "cannot create", NULL);
    assert_int_equal(eq_mem_current(), memory);
}

/* In memory as long as making them anew is a matter of minutes. */
static void test_place(void **state) {
    (void)state;
    eq_settings s = {.memory = 1000};
    eq_config c = {.L = 32, .D = 4096, .F = 11008, .NH = 32, .NKV = 32, .HD = 128};
    assert_false(eq_settings_streams_on_disk(&s, &c, 600, 400, 2048, NULL));
    assert_true(eq_settings_streams_on_disk(&s, &c, 600, 401, 2048, NULL));
    assert_true(eq_settings_streams_on_disk(&s, &c, 600, 400, 4096, NULL)); /* 1e14 FLOP */
    assert_true(eq_settings_streams_on_disk(&s, &c, 600, 400, 4096, scratch_dir()));
    s.memory = INT64_MAX;
    assert_false(eq_settings_streams_on_disk(&s, &c, 0, INT64_MAX / 2, 4096, scratch_dir()));
    s.o.cache_dir = "x";
    assert_true(eq_settings_streams_on_disk(&s, &c, 600, 400, 2048, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),   cmocka_unit_test(test_kills),
        cmocka_unit_test(test_distrust), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
