/* E2E-QP with moments, gradients and zero points on the host: the same bytes as with all of them in
 * the backend's memory, in states, losses and results, whichever of both began a run; taken where
 * a device has no other room; what the plan counts for the paper's largest model. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "tiny_train.h"
#include "train/cost.h"
#include "train/rtn.h"

enum { BLOCKS = 2, WINDOWS = 20, MOST = 8 };
static eq_qblock start[BLOCKS];
static eq_err err;
static eq_status give(void *ctx, int64_t i, const eq_qblock **b, eq_err *e) {
    (void)ctx, (void)e;
    *b = &start[i];
    return EQ_OK;
}

typedef struct {
    double loss[MOST], norm[MOST];
    eq_qblock block[BLOCKS];
    char *state;
    int64_t bytes;
} outcome;

/* 20 windows a step are added up in parts. */
static eq_e2e_setup setup(unsigned train, bool on_host) {
    eq_e2e_setup s = tiny_e2e(give, NULL);
    s.qp.train = train, s.qp.batch_size = WINDOWS, s.qp.micro_batch = 3, s.qp.epochs = 3;
    s.on_host = on_host;
    return s;
}

static volatile int stop;
static int stop_behind;
static void on_event(const char *kind, const json_t *event) {
    (void)event;
    if (!strcmp(kind, "e2e_step") && --stop_behind == 0) stop = 1;
}

/* steps: the job is stopped behind these and another one goes on from its state, on the other side.
 */
static outcome run(unsigned train, bool on_host, int64_t steps) {
    outcome o = {0};
    eq_windows w = tiny_windows(WINDOWS, 5);
    tiny_train_forget(), tiny_e2e_forget_state();
    stop_behind = (int)steps, tiny.on_event = on_event;
    for (int part = steps ? 0 : 1; part < 2; part++, stop = 0) {
        eq_e2e *job;
        eq_observer obs = tiny_observer;
        eq_e2e_setup s = setup(train, part ? on_host : !on_host);
        int64_t before = tiny.be->bytes;
        obs.stop = &stop;
        tiny_ok(eq_e2e_open(&job, tiny.be, tiny.src, &s, TINY_T, &err), &err);
        assert_int_equal(tiny.be->bytes - before, eq_e2e_bytes(&tiny.src->cfg, &s, TINY_T));
        eq_status st = eq_e2e_run(job, &w, &obs, &err);
        assert_int_equal(st, part ? EQ_OK : EQ_EINTR);
        for (int i = 0; part && i < BLOCKS; i++) {
            o.block[i] = tiny_qblock();
            tiny_ok(eq_e2e_apply(job, i, &o.block[i], &err), &err);
        }
        eq_e2e_close(job);
    }
    for (int i = 0; i < tiny_count("e2e_step"); i++) {
        o.loss[i] = tiny_number(tiny_event("e2e_step", i), "loss");
        o.norm[i] = tiny_number(tiny_event("e2e_step", i), "grad_norm");
    }
    eq_map m;
    tiny_ok(eq_map_open(&m, scratch_path("e2e.state"), &err), &err);
    o.bytes = m.size, o.state = eq_calloc(m.size, 1);
    assert_non_null(o.state);
    memcpy(o.state, m.data, (size_t)m.size);
    eq_map_close(&m);
    eq_windows_free(&w);
    return o;
}

static void same(outcome *a, outcome *b) {
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->norm, b->norm, sizeof a->norm);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->state, b->state, (size_t)a->bytes);
    for (int i = 0; i < BLOCKS; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            const eq_qlinear *p = &a->block[i].lin[l], *q = &b->block[i].lin[l];
            size_t bytes = (size_t)(p->O * (p->I / p->G)) * sizeof(float);
            assert_memory_equal(p->s, q->s, bytes);
            assert_memory_equal(p->z, q->z, bytes);
        }
}
static void drop(outcome *o) {
    for (int i = 0; i < BLOCKS; i++) eq_qblock_free(&o->block[i]);
    eq_free(o->state);
}

static void test_bytes(void **state) {
    (void)state;
    static const unsigned train[] = {EQ_TRAIN_S, EQ_TRAIN_S | EQ_TRAIN_Z};
    for (int t = 0; t < 2; t++) {
        outcome here = run(train[t], false, 0);
        assert_true(here.norm[2] > 0);
        for (int way = 0; way < 3; way++) {
            outcome there = run(train[t], way < 2, way);
            same(&here, &there);
            drop(&there);
        }
        drop(&here);
    }
}

/* ---- a device without room ------------------------------------------------------------------- */

static char said[512];
static void on_note(void *ctx, const char *line) {
    (void)ctx;
    snprintf(said, sizeof said, "%s", line);
}

static void test_room(void **state) {
    (void)state;
    const eq_observer obs = {.note = on_note};
    eq_e2e *job;
    eq_e2e_setup s = setup(EQ_TRAIN_S, false), least = s;
    least.qp.micro_batch = 1, least.on_host = true;
    int64_t groups = 0;
    for (int l = 0; l < EQ_LINS; l++) {
        const eq_qlinear *q = &start[0].lin[l];
        groups += BLOCKS * q->O * (q->I / q->G);
    }
    assert_int_equal(eq_e2e_host_bytes(&tiny.src->cfg, &least), 4 * 5 * groups);
    assert_int_equal(eq_e2e_host_bytes(&tiny.src->cfg, &s), 0);
    tiny_e2e_forget_state();
    tiny.be->device = true;
    tiny.be->limit = tiny.be->bytes + eq_e2e_bytes(&tiny.src->cfg, &least, TINY_T);
    tiny_ok(eq_e2e_open_within(&job, tiny.be, tiny.src, &s, TINY_T, &obs, &err), &err);
    assert_true(s.on_host && s.qp.micro_batch == 1);
    assert_non_null(strstr(said, "out of device memory"));
    assert_non_null(strstr(said, "moments, gradients and zero points on the host"));
    eq_e2e_close(job);
    tiny.be->device = false, tiny.be->limit = 0;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Llama-2-70B w2g64 with the paper's settings, in the memory that the paper prints (Table 7). */
static void test_largest(void **state) {
    (void)state;
    char *dir = tiny_dir();
    eq_config c;
    eq_settings set;
    eq_quantize_opts o;
    tiny_text(dir, "config.json",
              "{\"model_type\": \"llama\", \"hidden_size\": 8192, \"intermediate_size\": 28672,\n"
              " \"num_hidden_layers\": 80, \"num_attention_heads\": 64,\n"
              " \"num_key_value_heads\": 8, \"vocab_size\": 32000, \"rms_norm_eps\": 1e-05,\n"
              " \"max_position_embeddings\": 4096, \"torch_dtype\": \"float16\"}");
    tiny_ok(eq_config_load(&c, dir, &err), &err);
    eq_quantize_opts_init(&o);
    o.model = dir, o.bits = 2, o.group_size = 64, o.compute.backend = "cuda";
    o.compute.memory_limit = INT64_C(1) << 40;
    for (int pass = 0; pass < 2; pass++) {
        tiny_ok(eq_settings_resolve(&set, &o, &c, false, NULL, &err), &err);
        eq_run_shape r = eq_run_shape_of(&set, true);
        eq_run_cost cost = eq_run_cost_of(&set, &c, &r, NULL);
        print_message("70B: Block-AP %.2f GB, E2E-QP %.2f GB, at least %.2f GB; host %.1f GB\n",
                      (double)cost.ap_device * 1e-9, (double)cost.e2e_device * 1e-9,
                      (double)cost.e2e_device_least * 1e-9, (double)cost.e2e_memory * 1e-9);
        assert_true(cost.ap_device < INT64_C(29900000000));
        assert_true(cost.e2e_device_least < INT64_C(34200000000));
        assert_true(cost.e2e_device > cost.e2e_device_least);
        assert_int_equal(eq_run_cost_check(&cost, &set, &r, &err), EQ_OK);
        /* s is 4 bytes of 64 weights; so are z, two moments, the gradient and its part. */
        assert_true((cost.e2e_memory > INT64_C(21000000000)) == (pass == 1));
        o.compute.device_memory = INT64_C(34200000000);
        eq_settings_free(&set);
    }
    eq_config_free(&c);
    tiny_remove(dir);
}

static int set_up(void **state) {
    (void)state;
    tiny_train_open("qwen3", "cpu");
    for (int i = 0; i < BLOCKS; i++) {
        start[i] = tiny_qblock();
        if (eq_rtn_block(tiny.be, tiny.src, i, EQ_RANGE_MINMAX, &start[i], &err) != EQ_OK)
            return -1;
    }
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < BLOCKS; i++) eq_qblock_free(&start[i]);
    tiny_train_close();
    eq_par_shutdown();
    return eq_mem_current() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_room),
                                       cmocka_unit_test(test_largest)};
    return cmocka_run_group_tests_name("E2E-QP on the host", tests, set_up, tear_down);
}
