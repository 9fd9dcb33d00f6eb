/* Backends that keep a block's fake-quantized weights (eq_hints.keep_weights): the same bytes as
 * where they are made for every use, also behind a roll-back to the block's start and to a saved
 * state. */
#include <math.h>

#include "base/mem.h"
#include "base/par.h"
#include "tiny_train.h"
#include "train/rtn.h"

enum { BLOCKS = 2 };
static int losses, poisoned[2]; /* training losses so far; which ones become NaN, once each */

static void after(eq_wrap *w, eq_op_id op, const eq_arg *a, int n) {
    (void)n;
    float nan = NAN;
    if (op != EQ_OP_mse || !a[2].n) return;
    losses++;
    if (losses != poisoned[0] && losses != poisoned[1]) return;
    w->in->upload(w->in, (eq_mut){(void *)(uintptr_t)a[1].p, 1, EQ_F32}, &nan, EQ_F32);
}

static void train(eq_qblock *block, const eq_hints *hints) {
    eq_err err = {0};
    eq_block_ap *job;
    eq_block_ap_setup s = tiny_block_ap();
    eq_windows windows = tiny_windows(6, 3), val = tiny_windows(2, 11);
    int64_t before = tiny.be->bytes;
    s.ap.batch_size = 2, s.ap.epochs = 2, s.precision = EQ_PREC_BF16, s.hints = hints;
    tiny.be->hints = hints, losses = 0;
    tiny_ok(eq_block_ap_open(&job, tiny.be, tiny.src, &s, &windows, &val, &tiny_observer, &err),
            &err);
    assert_int_equal(tiny.be->bytes - before, eq_block_ap_bytes(&tiny.src->cfg, &s, TINY_T));
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = tiny_qblock();
        tiny_ok(eq_block_ap_train(job, i, &block[i], &tiny_observer, &err), &err);
        tiny_ok(eq_block_ap_pass(job, i, &block[i], &tiny_observer, &err), &err);
    }
    eq_block_ap_close(job);
    eq_windows_free(&windows), eq_windows_free(&val);
}

static void same(const eq_qblock *a, const eq_qblock *b) {
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *p = &a->lin[l], *q = &b->lin[l];
        size_t groups = (size_t)(p->O * (p->I / p->G));
        assert_memory_equal(p->rows, q->rows, (size_t)(p->O * p->I / 8 * TINY_BITS));
        assert_memory_equal(p->s, q->s, groups * sizeof(float));
        assert_memory_equal(p->z, q->z, groups * sizeof(float));
    }
}

static void test_kept(void **state) {
    (void)state;
    eq_hints keep = eq_host_hints;
    eq_qblock made[BLOCKS], kept[BLOCKS];
    keep.keep_weights = keep.ahead = true, keep.dw_elements = 1 << 20, keep.dw_step = 64;
    for (int rolls_back = 0; rolls_back < 2; rolls_back++) {
        poisoned[0] = rolls_back ? 2 : 0; /* in the first epoch; in the second of the next block */
        poisoned[1] = rolls_back ? 12 : 0;
        tiny_train_forget();
        train(made, NULL);
        train(kept, &keep);
        assert_int_equal(tiny_count("rollback"), rolls_back ? 4 : 0);
        for (int i = 0; i < BLOCKS; i++) {
            same(&made[i], &kept[i]);
            eq_qblock_free(&made[i]), eq_qblock_free(&kept[i]);
        }
    }
}

/* ---- a device that has not room for everything ------------------------------------------------
 */

static eq_qblock rounded[BLOCKS];
static eq_status give(void *ctx, int64_t i, const eq_qblock **b, eq_err *err) {
    (void)ctx, (void)err;
    *b = &rounded[i];
    return EQ_OK;
}
static char said[256];
static void on_note(void *ctx, const char *line) {
    (void)ctx;
    snprintf(said, sizeof said, "%s", line);
}

static void test_less_room(void **state) {
    (void)state;
    eq_err err = {0};
    eq_e2e *job;
    eq_e2e_setup s = tiny_e2e(give, NULL), half = s;
    const eq_observer obs = {.note = on_note};
    tiny.be->hints = NULL;
    for (int i = 0; i < BLOCKS; i++) {
        rounded[i] = tiny_qblock();
        tiny_ok(eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &rounded[i], &err), &err);
    }
    tiny_e2e_forget_state();
    half.qp.micro_batch = 2;
    int64_t room = eq_e2e_bytes(&tiny.src->cfg, &half, TINY_T);
    assert_true(room < eq_e2e_bytes(&tiny.src->cfg, &s, TINY_T));
    tiny.be->device = true;
    tiny.be->limit = tiny.be->bytes + room;
    tiny_ok(eq_e2e_open_within(&job, tiny.be, tiny.src, &s, TINY_T, &obs, &err), &err);
    assert_int_equal(s.qp.micro_batch, 2);
    assert_non_null(strstr(said, "out of device memory: the activations needs"));
    assert_non_null(strstr(said, "going on with 2 windows at once"));
    eq_e2e_close(job);
    tiny.be->limit = tiny.be->bytes + 1000;
    assert_int_equal(eq_e2e_open_within(&job, tiny.be, tiny.src, &s, TINY_T, &obs, &err),
                     EQ_ENOMEM);
    assert_non_null(strstr(err.msg, "out of device memory: the model needs"));
    assert_int_equal(s.qp.micro_batch, 1);
    tiny.be->device = false, tiny.be->limit = 0;
    for (int i = 0; i < BLOCKS; i++) eq_qblock_free(&rounded[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kept),
                                       cmocka_unit_test(test_less_room)};
    tiny_train_open("qwen3", "cpu");
    tiny.wrap->after = after;
    int rc = cmocka_run_group_tests_name("kept weights", tests, NULL, NULL);
    tiny_train_close();
    eq_par_shutdown();
    return rc;
}
