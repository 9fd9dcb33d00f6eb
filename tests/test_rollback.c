/* What is not finite (losses, masters, step sizes), forced by a backend that poisons one
 * operation's output: training goes back to the last good state, says to which step, and goes
 * on. */
#include <math.h>

#include <jansson.h>

#include "backend/wrap.h"
#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "tiny_model.h"
#include "train/block_ap.h"
#include "train/e2e_qp.h"
#include "train/rtn.h"

enum {
    T = 16,
    TRAIN = 8,
    VAL = 2,
    BATCH = 2,
    EPOCHS = 3,
    STEPS = TRAIN / BATCH
}; /* steps an epoch */

/* ---- what to poison -------------------------------------------------------------------------- */

static struct {
    eq_op_id op;
    int64_t step; /* of training; -1: nothing */
    bool from;    /* from that step on */
    int times;    /* at most */
} poison;
static int64_t next_step; /* the step under way, from the events */
static json_t *events;

static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)n;
    bool trains = op != EQ_OP_mse || args[2].n; /* not the validation loss */
    bool now = poison.from ? next_step >= poison.step : next_step == poison.step;
    if (poison.step < 0 || op != poison.op || !trains || !now || poison.times <= 0) return;
    float nan = NAN;
    poison.times--;
    w->in->upload(w->in,
                  eq_mut_at((eq_mut){(void *)(uintptr_t)args[1].p, args[1].n, args[1].dt}, 0, 1),
                  &nan, EQ_F32);
}

static void on_event(void *ctx, const char *line) {
    (void)ctx;
    json_t *v = json_loads(line, 0, NULL);
    assert_non_null(v);
    json_array_append_new(events, v);
    json_t *to = json_object_get(v, "to");
    const char *kind = json_string_value(json_object_get(v, "event"));
    if (to)
        next_step = json_integer_value(to);
    else if (strstr(kind, "step"))
        next_step = json_integer_value(json_object_get(v, "step")) + 1;
}
static int notes;
static void on_note(void *ctx, const char *line) { (void)ctx, (void)line, notes++; }
static const eq_observer observer = {.event = on_event, .note = on_note};

/* The nth event of a kind whose key has this value (NULL: any); NULL: none. */
static json_t *event(const char *kind, const char *key, int value, int nth) {
    size_t i;
    json_t *v;
    json_array_foreach(events, i, v) {
        if (strcmp(json_string_value(json_object_get(v, "event")), kind)) continue;
        if (key && json_integer_value(json_object_get(v, key)) != value) continue;
        if (!nth--) return v;
    }
    return NULL;
}
static int count(const char *kind) {
    int n = 0;
    while (event(kind, NULL, 0, n)) n++;
    return n;
}
static double number(const json_t *v, const char *key) {
    assert_non_null(v);
    return json_number_value(json_object_get(v, key));
}
static void rolled_back(int nth, int step, int to, double scale, bool last) {
    const json_t *v = event("rollback", NULL, 0, nth);
    assert_int_equal(number(v, "step"), step);
    assert_int_equal(number(v, "to"), to);
    assert_true(number(v, "rate_scale") == scale);
    assert_int_equal(json_is_true(json_object_get(v, "last")), last);
}

/* ---- a job on a tiny model ------------------------------------------------------------------- */

static char *model;
static eq_weights *src;
static eq_backend *be;
static eq_windows train, val;
static eq_err err;

static void ok(eq_status st) {
    if (st != EQ_OK) fail_msg("%s", err.msg);
}
static eq_windows windows(int64_t n, int32_t first) {
    eq_windows w = {.ids = eq_calloc(n * T, sizeof(int32_t)), .n = n, .T = T};
    for (int64_t i = 0; i < n * T; i++) w.ids[i] = (int32_t)((first + i * i) % 50);
    return w;
}
static int set_up(void **state) {
    (void)state;
    model = tiny_dir();
    tiny_write(model, tiny_config("llama", false), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    ok(eq_weights_open(&src, model, &err));
    ok(eq_backend_open(&be, "fenced:cpu", NULL, &err));
    eq_wrap *w;
    ok(eq_wrap_open(&be, "poison:", &w, &err));
    w->after = after;
    train = windows(TRAIN, 3), val = windows(VAL, 11);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    eq_windows_free(&train), eq_windows_free(&val);
    be->close(be);
    eq_weights_close(src);
    tiny_remove(model);
    json_decref(events);
    return 0;
}
static void begin(eq_op_id op, int64_t step, bool from, int times) {
    poison.op = op, poison.step = step, poison.from = from, poison.times = times;
    json_decref(events);
    events = json_array();
    next_step = notes = 0;
}

static void block(eq_qblock *out, int64_t n_val, bool keep_best) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_windows v = val;
    v.n = n_val;
    eq_block_ap_setup s = {.schemes = EQ_ONE_SCHEME(2, 32),
                           .precision = EQ_PREC_F32,
                           .ap = o.ap,
                           .save_seconds = 600,
                           .work_dir = scratch_dir(),
                           .run = ""};
    s.ap.batch_size = BATCH, s.ap.epochs = EPOCHS, s.ap.quant_lr = 1e-3, s.ap.weight_lr = 1e-3;
    s.ap.keep_best = keep_best;
    eq_block_ap *job;
    static bool warm; /* threads and products keep some memory from their first use on */
    int64_t memory = eq_mem_current();
    ok(eq_block_ap_open(&job, be, src, &s, &train, &v, &observer, &err));
    ok(eq_block_ap_train(job, 0, out, &observer, &err));
    ok(eq_block_ap_pass(job, 0, out, NULL, &err)); /* it is finished: its states go */
    eq_block_ap_close(job);
    if (warm) assert_int_equal(eq_mem_current(), memory);
    warm = true;
    bool empty;
    ok(eq_dir_is_empty(scratch_dir(), &empty, &err));
    assert_true(empty);
}
static eq_qblock room(void) {
    eq_qblock b = {0};
    ok(eq_qblock_alloc(&b, &src->cfg, &EQ_ONE_SCHEME(2, 32), &err));
    return b;
}
static bool same(const eq_qblock *a, const eq_qblock *b) {
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *p = &a->lin[l], *q = &b->lin[l];
        size_t groups = (size_t)(p->O * (p->I / p->G)) * 4,
               words = (size_t)(p->O * p->I * 2 / 32) * 4;
        if (memcmp(p->rows, q->rows, words) || memcmp(p->s, q->s, groups) ||
            memcmp(p->z, q->z, groups))
            return false;
    }
    return !memcmp(a->norm[0], b->norm[0], 64 * 4) && !memcmp(a->norm[1], b->norm[1], 64 * 4);
}

/* ---- Block-AP -------------------------------------------------------------------------------- */

/* Once, in the middle of the second epoch: the first epoch stays, the second begins again with the
 * same bits at half the rates. */
static void once(eq_op_id op, int64_t at, int reported, int64_t n_val) {
    eq_qblock b = room();
    begin(op, at, false, 1);
    block(&b, n_val, false);
    assert_int_equal(count("rollback"), 1);
    assert_int_equal(notes, 1);
    rolled_back(0, reported, STEPS, 0.5, false);
    assert_int_equal(count("block_epoch"), EPOCHS);
    const json_t *a = event("block_step", "step", STEPS, 0),
                 *again = event("block_step", "step", STEPS, 1);
    assert_true(number(a, "loss") == number(again, "loss"));
    assert_true(fabs(number(a, "quant_lr") / 2 - number(again, "quant_lr")) < 1e-9);
    assert_null(event("block_step", "step", 0, 1));
    assert_true(number(event("block_step", "step", EPOCHS * STEPS - 1, 0), "loss") <
                number(a, "loss") * 2);
    eq_qblock_free(&b);
}
static void test_loss(void **state) { (void)state, once(EQ_OP_mse, STEPS + 2, STEPS + 2, VAL); }
static void test_masters(void **state) {
    (void)state;
    once(EQ_OP_adamw, 2 * STEPS - 1, 2 * STEPS, VAL);
    once(EQ_OP_adamw, 2 * STEPS - 1, 2 * STEPS, 0);
}

/* For good: five times half the rate, then what the first epoch left, not the start. */
static void test_no_rate_helps(void **state) {
    (void)state;
    eq_qblock five = room(), first = room(), rtn = room();
    begin(EQ_OP_mse, STEPS + 2, false, 1000);
    block(&five, VAL, false);
    assert_int_equal(count("rollback"), 6);
    for (int i = 0; i < 5; i++) rolled_back(i, STEPS + 2, STEPS, ldexp(0.5, -i), false);
    rolled_back(5, STEPS + 2, STEPS, ldexp(1, -5), true);
    assert_int_equal(count("block_epoch"), 1);
    /* A first step that fails will fail at every rate: no second try. */
    for (int keep_best = 0; keep_best < 2; keep_best++) {
        begin(EQ_OP_mse, STEPS, true, 1000);
        block(&first, VAL, keep_best);
        assert_int_equal(count("rollback"), 1);
        rolled_back(0, STEPS, STEPS, 1, true);
        assert_true(same(&five, &first));
    }
    begin(EQ_OP_mse, 0, true, 1000);
    block(&rtn, VAL, false);
    rolled_back(0, 0, 0, 1, true);
    assert_false(same(&five, &rtn));
    /* At its start a block is rounded to nearest. */
    eq_qblock start = room();
    ok(eq_rtn_block(be, src, 0, EQ_RANGE_MINMAX, &start, &err));
    assert_memory_equal(start.lin[0].s, rtn.lin[0].s, 64 * 2 * 4);
    eq_qblock_free(&five), eq_qblock_free(&first), eq_qblock_free(&rtn), eq_qblock_free(&start);
}

/* ---- E2E-QP ---------------------------------------------------------------------------------- */

static eq_qblock rounded;
static eq_status source(void *ctx, int64_t i, const eq_qblock **b, eq_err *e) {
    (void)ctx;
    *b = &rounded;
    return eq_rtn_block(be, src, i, EQ_RANGE_MINMAX, &rounded, e);
}

/* Sixteen steps, saved every second, good ones every eighth. The last block's steps go to s; *left:
 * kept for another call. */
static void e2e(eq_op_id op, int64_t step, bool from, int times, float *s, bool keep) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_e2e_setup set = {.schemes = EQ_ONE_SCHEME(2, 32),
                        .precision = EQ_PREC_F32,
                        .qp = o.qp,
                        .source = source,
                        .save_seconds = 600,
                        .run = "",
                        .state_path = scratch_path("e2e.safetensors")};
    set.qp.batch_size = 2, set.qp.micro_batch = 2, set.qp.epochs = 4, set.qp.save_every = 2,
    set.qp.lr = 1e-3;
    eq_e2e *job;
    begin(op, step, from, times);
    ok(eq_e2e_open(&job, be, src, &set, T, &err));
    ok(eq_e2e_run(job, &train, &observer, &err));
    ok(eq_e2e_apply(job, 1, &rounded, &err));
    memcpy(s, rounded.lin[EQ_LIN_DOWN].s, 64 * 3 * sizeof *s);
    for (int i = 0; i < 64 * 3; i++) assert_true(isfinite(s[i]));
    eq_e2e_close(job);
    if (!keep) ok(eq_remove_tree(scratch_path("e2e.safetensors"), &err));
    if (!keep) ok(eq_remove_tree(scratch_path("e2e.safetensors.good"), &err));
}

static void test_e2e(void **state) {
    (void)state;
    static float whole[64 * 3], s[64 * 3], again[64 * 3];
    rounded = room();
    e2e(EQ_OP_mse, -1, false, 0, whole, false);
    assert_int_equal(count("rollback"), 0);
    assert_int_equal(count("e2e_step"), 16);
    /* a loss; then a step size whose harm the next loss shows, just behind the good state and
     * later, then at the end */
    const int at[][3] = {{EQ_OP_cross_entropy, 9, 9},
                         {EQ_OP_adamw, 8, 9},
                         {EQ_OP_adamw, 11, 12},
                         {EQ_OP_adamw, 15, 16}};
    const int to = 8;
    for (int i = 0; i < 4; i++) {
        e2e((eq_op_id)at[i][0], at[i][1], false, 1, s, false);
        assert_int_equal(count("rollback"), 1);
        rolled_back(0, at[i][2], to, 0.5, false);
        const json_t *a = event("e2e_step", "step", to, 0), *b = event("e2e_step", "step", to, 1);
        assert_true(number(a, "loss") == number(b, "loss"));
        assert_true(fabs(number(a, "lr") / 2 - number(b, "lr")) < 1e-9);
        assert_int_equal(number(event("e2e_step", "step", 15, i == 3), "step"), 15);
        assert_memory_not_equal(whole, s, sizeof s);
    }
    /* For good: the state of step 8 is the result, also of a run that is resumed behind it. */
    e2e(EQ_OP_cross_entropy, 9, false, 1000, s, true);
    assert_int_equal(count("rollback"), 6);
    rolled_back(5, 9, 8, ldexp(1, -5), true);
    e2e(EQ_OP_mse, -1, false, 0, again, false);
    assert_int_equal(count("e2e_step"), 0);
    assert_memory_equal(s, again, sizeof s);
    /* A start that is not finite is kept at once. */
    e2e(EQ_OP_cross_entropy, 0, true, 1000, s, false);
    rolled_back(0, 0, 0, 1, true);
    assert_int_equal(count("rollback"), 1);
    eq_qblock_free(&rounded);
}

/* ---- a whole run at rates beyond all reason -------------------------------------------------- */

static void test_absurd_rates(void **state) {
    (void)state;
    char npy[128 + 2000] = "\x93NUMPY\x01\x00\x76\x00";
    int n = snprintf(npy + 10, 119, "%-117s\n",
                     "{'descr': '|u1', 'fortran_order': False, 'shape': (2000,), }");
    assert_int_equal(n, 118);
    for (int i = 0; i < 2000; i++) npy[128 + i] = (char)(i * i % 50);
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    o.model = model, o.data = scratch_file("d.npy", npy, sizeof npy), o.out = scratch_path("out");
    o.compute.precision = EQ_PREC_F32;
    o.ap.train_size = 8, o.ap.val_size = 2, o.ap.seqlen = 16;
    o.ap.weight_lr = o.ap.quant_lr = o.qp.lr = 1e38;
    o.group_size = 32, o.qp.train_size = 8, o.qp.seqlen = 16, o.qp.batch_size = 2, o.qp.clip = 0;
    begin(EQ_OP_mse, -1, false, 0);
    ok(eq_quantize(&o, &observer, NULL, &err));
    assert_true(count("rollback") > 2);
    eq_ppl_opts p;
    eq_ppl_result r;
    eq_ppl_opts_init(&p);
    p.model = o.out, p.data = o.data, p.seqlen = 16, p.limit = 8;
    ok(eq_ppl(&p, NULL, &r, &err)); /* reading refuses what is not finite */
    assert_true(isfinite(r.ppl) && r.ppl < 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),          cmocka_unit_test(test_masters),
        cmocka_unit_test(test_no_rate_helps), cmocka_unit_test(test_e2e),
        cmocka_unit_test(test_absurd_rates),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
