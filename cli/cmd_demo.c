/* eqat demo: full precision, round-to-nearest, Block-AP and Block-AP + E2E-QP of the bundled model
 * in one table. Everything goes through include/eqat.h, so this is also an example of its use.
 * Invariant: without -o nothing is left behind, whatever happens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/observe.h"
#include "common_options.h"
#include "observer.h"
#include "output.h"

/* What the table is made with. Rates and windows suit a model of a million weights; the paper's
 * are for billions. */
static const struct {
    int bits;
    int64_t group;
    int64_t train_size, val_size, seqlen, batch;
    int epochs;
    double quant_lr, weight_lr;
    int64_t e2e_train_size, e2e_batch;
    double e2e_lr;
    int64_t ppl_windows;
    int tokens;
    const char *prompt;
} DEMO = {
    .bits = 2,
    .group = 64,
    .train_size = 512,
    .val_size = 16,
    .seqlen = 256,
    .batch = 4,
    .epochs = 2,
    .quant_lr = 5e-3,
    .weight_lr = 2e-3,
    .e2e_train_size = 512,
    .e2e_batch = 8,
    .e2e_lr = 1e-3,
    .ppl_windows = 100,
    .tokens = 40,
    .prompt = "How to make a",
};

typedef struct {
    cli_common common;
    const char *assets, *out;
    eq_compute_opts compute;
} demo_args;

static const opt options[] = {
    {OPT_HEADING, .help = "options"},
    {OPT_STR, 0, "assets", .arg = "DIR", .at = offsetof(demo_args, assets),
     .help = "folder with model/, train.* and test.txt"},
    {OPT_STR, 'o', "out", .arg = "DIR", .at = offsetof(demo_args, out),
     .fallback = "a temporary folder, removed at the end",
     .help = "keep the three quantized models here"},
    EQ_TALK_ROWS(demo_args),
    EQ_COMMON_ROWS(demo_args),
    EQ_COMPUTE_ROWS(demo_args, compute),
    {.kind = OPT_END},
};

static void init(void *arguments) {
    demo_args *a = arguments;
    eq_quantize_opts o;
    eq_quantize_opts_init(&o);
    a->compute = o.compute;
    a->assets = "assets/demo";
}

typedef struct {
    const char *method;
    char *folder; /* model of this row */
    eq_ppl_result ppl;
    double bits;    /* per weight of the linears */
    double seconds; /* spent on top of the row it starts from */
    int64_t bytes;  /* of the model's files */
    char *text;
} demo_row;
enum { FP, RTN, AP, E2E, ROWS };

typedef struct {
    const demo_args *args;
    char *model, *train, *test, *out;
    int lock; /* of the scratch folder; -1: none */
    demo_row row[ROWS];
    cli_observer obs;
} demo;

/* ---- steps ----------------------------------------------------------------------------------- */

/* assets/train.txt, train.jsonl.zst, ...: whichever ending it has. */
static eq_status find_train(demo *d, eq_err *err) {
    eq_names names;
    EQ_TRY(eq_list_dir(d->args->assets, &names, err));
    for (int64_t i = 0; i < names.n && !d->train; i++)
        if (!strncmp(names.p[i], "train.", 6)) d->train = eq_path(d->args->assets, names.p[i]);
    eq_names_free(&names);
    if (!d->train) return eq_fail(err, EQ_EINPUT, "%s: holds no train.* text", d->args->assets);
    return EQ_OK;
}

static eq_status scratch(demo *d, eq_err *err) {
    const char *tmp = getenv("TMPDIR");
    char *path = eq_path(tmp && *tmp ? tmp : "/tmp", "eqat-demo");
    eq_status st =
        path ? eq_temporary_folder(path, &d->out, &d->lock, err) : eq_nomem(err, "a path", 256);
    eq_free(path);
    return st;
}

static eq_status prepare(demo *d, eq_err *err) {
    static const char *const folder[ROWS] = {NULL, "rtn", "block-ap", "block-ap-e2e-qp"};
    static const char *const method[ROWS] = {"full precision", "round to nearest", "Block-AP",
                                             "Block-AP + E2E-QP"};
    bool empty;
    d->model = eq_path(d->args->assets, "model");
    d->test = eq_path(d->args->assets, "test.txt");
    EQ_TRY(find_train(d, err));
    if (d->args->out) {
        EQ_TRY(eq_dir_is_empty(d->args->out, &empty, err));
        if (!empty)
            return eq_fail(err, EQ_EINPUT, "%s: expected an empty or absent folder", d->args->out);
        EQ_TRY(eq_mkdir(d->args->out, err));
        d->out = eq_strdup(d->args->out);
    } else {
        EQ_TRY(scratch(d, err));
    }
    if (!d->model || !d->test || !d->out) return eq_nomem(err, "a path", 256);
    for (int i = 0; i < ROWS; i++) {
        d->row[i].method = method[i];
        d->row[i].folder = folder[i] ? eq_path(d->out, folder[i]) : eq_strdup(d->model);
        if (!d->row[i].folder) return eq_nomem(err, "a path", 256);
    }
    return EQ_OK;
}

static void settings(const demo *d, int row, eq_quantize_opts *o) {
    eq_quantize_opts_init(o);
    o->model = row == E2E ? d->row[AP].folder : d->model;
    o->out = d->row[row].folder;
    o->data = d->train;
    o->method = row == RTN ? EQ_METHOD_RTN : EQ_METHOD_BLOCK_AP;
    o->bits = DEMO.bits;
    o->group_size = DEMO.group;
    o->e2e = false; /* the second phase is a row of its own */
    o->ap.train_size = DEMO.train_size;
    o->ap.val_size = DEMO.val_size;
    o->ap.seqlen = DEMO.seqlen;
    o->ap.batch_size = DEMO.batch;
    o->ap.epochs = DEMO.epochs;
    o->ap.quant_lr = DEMO.quant_lr;
    o->ap.weight_lr = DEMO.weight_lr;
    o->qp.train_size = DEMO.e2e_train_size;
    o->qp.seqlen = DEMO.seqlen;
    o->qp.batch_size = DEMO.e2e_batch;
    o->qp.lr = DEMO.e2e_lr;
    o->compute = d->args->compute;
}

/* Size and bits of the model that is there from the start. */
static eq_status look(demo_row *r, eq_err *err) {
    char *text;
    json_t *o;
    EQ_TRY(eq_inspect(r->folder, false, &text, err));
    eq_status st = eq_json_parse(&o, text, (int64_t)strlen(text), "inspect", err);
    eq_text_free(text);
    EQ_TRY(st);
    const json_t *files = eq_json_get(o, "files");
    r->bytes = json_integer_value(eq_json_get(files, "tensor_bytes"));
    r->bits = json_number_value(eq_json_get(files, "bits_per_parameter"));
    json_decref(o);
    return EQ_OK;
}

static eq_status make(demo *d, int row, eq_err *err) {
    demo_row *r = &d->row[row];
    eq_quantize_opts o;
    eq_quantize_result res = {0};
    if (row == FP) return look(r, err);
    settings(d, row, &o);
    double began = eq_now();
    if (row == E2E)
        EQ_TRY(eq_tune(&o, &d->obs.obs, &res, err));
    else
        EQ_TRY(eq_quantize(&o, &d->obs.obs, &res, err));
    r->seconds = eq_now() - began;
    r->bytes = res.bytes;
    r->bits = res.bits_per_weight;
    return EQ_OK;
}

static eq_status measure(demo *d, int row, eq_err *err) {
    demo_row *r = &d->row[row];
    eq_ppl_opts p;
    eq_generate_opts g;
    eq_ppl_opts_init(&p);
    p.model = r->folder;
    p.data = d->test;
    p.as_written = true; /* what other runtimes will see */
    p.seqlen = DEMO.seqlen;
    p.limit = DEMO.ppl_windows;
    p.compute = d->args->compute;
    EQ_TRY(eq_ppl(&p, &d->obs.obs, &r->ppl, err));
    eq_generate_opts_init(&g);
    g.model = r->folder;
    g.prompt = DEMO.prompt;
    g.max_tokens = DEMO.tokens;
    g.compute = d->args->compute;
    eq_generate_result text;
    EQ_TRY(eq_generate(&g, NULL, &text, err));
    r->text = text.text;
    return EQ_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_rows(const demo *d) {
    printf("%-18s %10s %16s %8s %8s\n", "method", "ppl", "bits per weight", "MiB", "seconds");
    for (int i = 0; i < ROWS; i++) {
        const demo_row *r = &d->row[i];
        printf("%-18s %10.2f %16.2f %8.2f %8.1f\n", r->method, r->ppl.ppl, r->bits,
               (double)r->bytes / (1 << 20), r->seconds);
    }
    putchar('\n');
    for (int i = 0; i < ROWS; i++) {
        printf("%s:\n  ", d->row[i].method);
        for (const char *c = d->row[i].text; *c; c++) putchar(*c == '\n' ? ' ' : *c);
        putchar('\n');
    }
    if (d->args->out) printf("\nmodels: %s\n", d->out);
}

static void print_json(const demo *d) {
    json_t *rows = json_array();
    for (int i = 0; i < ROWS; i++) {
        const demo_row *r = &d->row[i];
        json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:I, s:o, s:s}", "method", r->method,
                                              "ppl", cli_number(r->ppl.ppl), "bits_per_weight",
                                              cli_number(r->bits), "bytes", (json_int_t)r->bytes,
                                              "seconds", cli_number(r->seconds), "text", r->text));
    }
    cli_print_json(json_pack("{s:o}", "rows", rows));
}

static void clean(demo *d) {
    if (d->out && !d->args->out) eq_remove_tree(d->out, NULL);
    if (d->lock >= 0) close(d->lock);
    eq_free(d->model), eq_free(d->train), eq_free(d->test), eq_free(d->out);
    for (int i = 0; i < ROWS; i++) {
        eq_free(d->row[i].folder);
        eq_text_free(d->row[i].text);
    }
}

static eq_status steps(demo *d, eq_err *err) {
    const cli_used used[] = {{"--assets", d->args->assets}, {"--out", d->args->out}, {0}};
    EQ_TRY(cli_observer_open(&d->obs, &d->args->common, used, false, err));
    EQ_TRY(prepare(d, err));
    for (int i = 0; i < ROWS; i++) {
        eq_note(&d->obs.obs, "%s", d->row[i].method);
        EQ_TRY(make(d, i, err));
        EQ_TRY(measure(d, i, err));
    }
    return EQ_OK;
}

static int run(void *arguments) {
    demo d = {.args = arguments, .lock = -1};
    eq_err err = {0};
    eq_status st = steps(&d, &err);
    if (d.obs.common) st = cli_observer_close(&d.obs, st, NULL, &err);
    if (st == EQ_OK && d.args->common.json)
        print_json(&d);
    else if (st == EQ_OK)
        print_rows(&d);
    clean(&d);
    return cli_finish(&d.args->common, st, &err, NULL, d.obs.begun);
}

const cli_command cmd_demo = {
    .name = "demo",
    .summary = "the bundled model at 2 bits: one table, one generated line each",
    .usage = "demo [--assets DIR] [-o DIR]",
    .about =
        "Full precision, round to nearest, Block-AP and Block-AP + E2E-QP of a small model that\n"
        "comes with the source.",
    .example = "  eqat demo --assets assets/demo",
    .options = options,
    .args_size = sizeof(demo_args),
    .init = init,
    .run = run,
};
