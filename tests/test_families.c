/* Every family from a folder through both phases into a folder again: the losses fall, the written
 * folder opens under the family's own names with every bit that was trained, and computes. */
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/config_parse.h"
#include "model/weights.h"
#include "tiny_train.h"

enum { IDS = 1024 };
static char *data;

/* Per block: the first loss of its training and the last; then those of the whole model. */
static struct { double first, last; } losses[8];
static int blocks;

static void on_event(void *ctx, const char *line) {
    (void)ctx;
    json_t *v = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(v, "event"));
    bool block = kind && !strcmp(kind, "block_step"), whole = kind && !strcmp(kind, "e2e_step");
    int i = block ? (int)json_integer_value(json_object_get(v, "block")) : 7;
    if (block && i >= blocks) blocks = i + 1;
    if (block || whole) {
        double loss = json_number_value(json_object_get(v, "loss"));
        if (losses[i].first == 0) losses[i].first = loss;
        losses[i].last = loss;
    }
    json_decref(v);
}

static eq_status train(const char *model, const char *out, eq_err *err) {
    const eq_observer obs = {.event = on_event};
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    o.model = model, o.out = out, o.data = o.qp.data = data, o.bits = 3, o.group_size = 32;
    o.ap.train_size = 8, o.ap.val_size = 2, o.ap.seqlen = TINY_T, o.ap.batch_size = 4;
    o.ap.epochs = 4, o.ap.quant_lr = 3e-3, o.ap.weight_lr = 3e-3;
    o.qp.train_size = 8, o.qp.seqlen = TINY_T, o.qp.batch_size = 8, o.qp.epochs = 6, o.qp.lr = 1e-2;
    o.compute.precision = EQ_PREC_F32;
    memset(losses, 0, sizeof losses), blocks = 0;
    return eq_quantize(&o, &obs, NULL, err);
}

static double nll_of(const char *model, bool as_written) {
    eq_err err = {0};
    eq_ppl_opts o;
    eq_ppl_result r = {0};
    eq_ppl_opts_init(&o);
    o.model = model, o.data = data, o.seqlen = TINY_T, o.limit = 8, o.as_written = as_written;
    o.compute.precision = EQ_PREC_F32;
    tiny_ok(eq_ppl(&o, NULL, &r, &err), &err);
    return r.nll;
}

/* The names of the folder's tensors are those of the model's, with a linear's parts for its weight.
 */
static void same_names(const char *family, const char *model, const char *out) {
    eq_err err = {0};
    eq_st *was, *is;
    tiny_ok(eq_st_open(&was, model, &err), &err);
    tiny_ok(eq_st_open(&is, out, &err), &err);
    int64_t packed = 0;
    for (int64_t i = 0; i < eq_st_count(was); i++) {
        char name[128];
        snprintf(name, sizeof name, "%s", eq_st_at(was, i)->name);
        if (eq_st_find(is, name)) continue;
        char *dot = strrchr(name, '.');
        snprintf(dot, sizeof name - (size_t)(dot - name), ".qweight");
        if (!eq_st_find(is, name)) fail_msg("%s: no %s in the written folder", family, name);
        packed++;
    }
    assert_int_equal(eq_st_count(is), eq_st_count(was) + 3 * packed);
    eq_st_close(was), eq_st_close(is);
}

static void one(const char *family, bool tied) {
    eq_err err = {0};
    char *dir = tiny_dir(), *model = tiny_path(dir, "model"), *out = tiny_path(dir, "out");
    tiny_ok(eq_mkdir(model, &err), &err);
    tiny_write(model, tiny_config(family, tied), &(tiny_opts){.dt = EQ_F32, .seed = 5});
    if (train(model, out, &err) != EQ_OK) fail_msg("%s: %s", family, err.msg);
    for (int i = 0; i < blocks; i++)
        if (!(losses[i].last < losses[i].first))
            fail_msg("%s: the loss of block %d went from %g to %g", family, i, losses[i].first,
                     losses[i].last);
    if (!(losses[7].last < losses[7].first))
        fail_msg("%s: the model's loss went from %g to %g", family, losses[7].first,
                 losses[7].last);
    same_names(family, model, out);
    double fp32 = nll_of(out, false), written = nll_of(out, true), full = nll_of(model, false);
    if (!(fp32 < full && fabs(fp32 - written) < 0.02))
        fail_msg("%s: %g, as written %g, before training %g", family, fp32, written, full);
    eq_free(model), eq_free(out);
    tiny_remove(dir);
}

static void every_family(void **state) {
    (void)state;
    char npy[128 + IDS] = "\x93NUMPY\x01\x00\x76\x00";
    assert_int_equal(snprintf(npy + 10, 119, "%-117s\n",
                              "{'descr': '|u1', 'fortran_order': False, 'shape': (1024,), }"),
                     118);
    for (int i = 0; i < IDS; i++) npy[128 + i] = (char)((i * i + i / 9) % 50);
    data = eq_strdup(scratch_file("d.npy", npy, sizeof npy));
    for (int i = 0; i < eq_family_count; i++) one(eq_families[i].name, i % 2);
    eq_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
