/* Rows of massive activations: which they are, and that the quantized stream of Block-AP takes
 * them, and them alone, from the full-precision one. */
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "tiny_train.h"
#include "train/block_job.h"
#include "train/sinks.h"

enum { T = 9, D = 4, FALSE_SINK = 3 };

/* Median row: power 4. Row 0: 100 times that and a little; row 5: 100 times; row 7: none; row 3 is
 * a sink in the quantized window alone. */
static void which_rows(void **state) {
    (void)state;
    static const float size[T] = {10.5f, 1, 1, 0.5f, 1, 10, 2, 0, 1};
    eq_err err = {0};
    for (int half = 0; half < 2; half++) {
        float full[T * D], own[T * D];
        uint16_t full16[T * D], own16[T * D];
        int64_t n;
        for (int i = 0; i < T * D; i++) {
            full[i] = size[i / D] * (i % 2 ? 1 : -1), own[i] = i / D == FALSE_SINK ? 20 : 3;
            full16[i] = eq_f32_to_bf16(full[i]), own16[i] = eq_f32_to_bf16(own[i]);
        }
        void *to = half ? (void *)own16 : own;
        const void *from = half ? (const void *)full16 : full;
        eq_dtype dt = half ? EQ_BF16 : EQ_F32;
        eq_mem_fail_nth(1);
        assert_int_equal(eq_sinks_copy(to, from, dt, T, D, &n, &err), EQ_ENOMEM);
        eq_mem_fail_nth(0);
        tiny_ok(eq_sinks_copy(to, from, dt, T, D, &n, &err), &err);
        assert_int_equal(n, 2);
        for (int i = 0; i < T * D; i++) {
            float want = i < D || i / D == FALSE_SINK ? full[i] : 3;
            assert_true((half ? eq_bf16_to_f32(own16[i]) : own[i]) == want);
        }
    }
}

/* Rows of window w that are the same in both streams, as bits. */
static int same_rows(const eq_block_ap *j, int64_t w) {
    int64_t row = j->cfg->D * eq_dtype_size(j->q.dt);
    const char *a = eq_stream_at(&j->q, w), *b = eq_stream_at(&j->fp, w);
    int n = 0;
    for (int64_t t = 0; t < j->T; t++)
        n |= (memcmp(a + t * row, b + t * row, (size_t)row) == 0) << t;
    return n;
}

static void streams(void **state) {
    (void)state;
    enum { WINDOWS = 3, ROW = 2 };
    for (int exact = 0; exact < 2; exact++) {
        eq_err err = {0};
        tiny_train_open("llama", "cpu");
        eq_windows w = tiny_windows(WINDOWS, 3), val = tiny_windows(1, 11);
        eq_block_ap_setup s = tiny_block_ap();
        eq_qblock out = tiny_qblock();
        eq_block_ap *job;
        s.ap.batch_size = 2, s.ap.epochs = 1, s.ap.exact_sinks = exact;
        tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &w, &val, NULL, &err), &err);
        for (int64_t i = 0; i < WINDOWS + 1; i++)
            for (int64_t c = 0; c < job->cfg->D; c++) {
                ((float *)eq_stream_at(&job->fp, i))[ROW * job->cfg->D + c] *= 1000;
                ((float *)eq_stream_at(&job->q, i))[ROW * job->cfg->D + c] *= 1000;
            }
        tiny_ok(eq_block_ap_train(job, 0, &out, NULL, &err), &err);
        tiny_ok(eq_block_ap_pass(job, 0, &out, &tiny_observer, &err), &err);
        for (int64_t i = 0; i < WINDOWS + 1; i++)
            assert_int_equal(same_rows(job, i), exact ? 1 << ROW : 0);
        assert_true(tiny_number(tiny_event("pass", 0), "sinks") == (exact ? WINDOWS + 1 : 0));
        eq_block_ap_close(job);
        eq_qblock_free(&out);
        eq_windows_free(&w), eq_windows_free(&val);
        tiny_train_close();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(which_rows), cmocka_unit_test(streams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
