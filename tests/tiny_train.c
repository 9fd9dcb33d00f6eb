/* See tiny_train.h. */
#include "tiny_train.h"

#include "base/io.h"
#include "base/mem.h"

tiny_train tiny;

void tiny_ok(eq_status st, const eq_err *err) {
    if (st != EQ_OK) fail_msg("%s", err->msg);
}

static void on_event(void *ctx, const char *line) {
    (void)ctx;
    json_t *v = json_loads(line, 0, NULL);
    assert_non_null(v);
    json_array_append_new(tiny.events, v);
    if (tiny.on_event) tiny.on_event(json_string_value(json_object_get(v, "event")), v);
}
const eq_observer tiny_observer = {.event = on_event};

void tiny_train_open(const char *family, const char *backend) {
    eq_err err = {0};
    tiny.model = tiny_dir();
    tiny_write(tiny.model, tiny_config(family, false), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    tiny_ok(eq_weights_open(&tiny.src, tiny.model, &err), &err);
    tiny_ok(eq_backend_open(&tiny.be, backend, NULL, &err), &err);
    tiny_ok(eq_wrap_open(&tiny.be, "look:", &tiny.wrap, &err), &err);
    tiny.be->op.fq_step = eq_fq_step_plain; /* its parts are looked at */
    tiny.events = json_array();
}

void tiny_train_close(void) {
    tiny.be->close(tiny.be);
    eq_weights_close(tiny.src);
    tiny_remove(tiny.model);
    json_decref(tiny.events);
    tiny = (tiny_train){0};
}

void tiny_train_forget(void) { json_array_clear(tiny.events); }

eq_windows tiny_windows(int64_t n, int32_t first) {
    eq_windows w = {.ids = eq_calloc(n * TINY_T, sizeof(int32_t)), .n = n, .T = TINY_T};
    assert_non_null(w.ids);
    for (int64_t i = 0; i < n * TINY_T; i++) w.ids[i] = (int32_t)((first + i * i + i / 7) % 50);
    return w;
}

eq_block_ap_setup tiny_block_ap(void) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_block_ap_setup s = {.schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP),
                           .precision = EQ_PREC_F32,
                           .ap = o.ap,
                           .save_seconds = 600,
                           .work_dir = scratch_dir(),
                           .run = ""};
    s.ap.quant_lr = 1e-3, s.ap.weight_lr = 3e-4;
    return s;
}

eq_e2e_setup tiny_e2e(eq_qblock_source source, void *ctx) {
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    eq_e2e_setup s = {.schemes = EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP),
                      .precision = EQ_PREC_F32,
                      .qp = o.qp,
                      .source = source,
                      .ctx = ctx,
                      .save_seconds = 600,
                      .run = "",
                      .state_path = scratch_path("e2e.state")};
    s.qp.lr = 1e-3, s.qp.batch_size = s.qp.micro_batch = 4;
    return s;
}

void tiny_e2e_forget_state(void) {
    eq_err err = {0};
    tiny_ok(eq_remove_tree(scratch_path("e2e.state"), &err), &err);
    tiny_ok(eq_remove_tree(scratch_path("e2e.state.good"), &err), &err);
    tiny_ok(eq_remove_tree(scratch_path("e2e.state.step"), &err), &err);
}

eq_qblock tiny_qblock(void) {
    eq_err err = {0};
    eq_qblock b = {0};
    tiny_ok(eq_qblock_alloc(&b, &tiny.src->cfg, &EQ_ONE_SCHEME(TINY_BITS, TINY_GROUP), &err), &err);
    return b;
}

const json_t *tiny_event(const char *kind, int nth) {
    size_t i;
    json_t *v;
    int left = nth;
    json_array_foreach(tiny.events, i,
                       v) if (!strcmp(json_string_value(json_object_get(v, "event")), kind) &&
                              !left--) return v;
    fail_msg("no event %d of kind %s", nth, kind);
    return NULL;
}

int tiny_count(const char *kind) {
    size_t i;
    json_t *v;
    int n = 0;
    json_array_foreach(tiny.events, i, v) n +=
        !strcmp(json_string_value(json_object_get(v, "event")), kind);
    return n;
}

double tiny_number(const json_t *event, const char *key) {
    const json_t *v = json_object_get(event, key);
    if (!json_is_number(v)) fail_msg("an event without the number %s", key);
    return json_number_value(v);
}

float *tiny_floats(eq_arg from) {
    float *p = eq_calloc(from.n, sizeof *p);
    assert_non_null(p);
    tiny.wrap->in->download(tiny.wrap->in, p, EQ_F32, (eq_view){from.p, from.n, from.dt});
    assert_int_equal(tiny.wrap->in->sync(tiny.wrap->in, NULL), EQ_OK);
    return p;
}
