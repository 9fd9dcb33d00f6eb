/* See job.h. */
#include "job.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "observer.h"
#include "output.h"
#include "run_page.h"

json_t *cli_job_result(const char *out, const eq_quantize_result *r) {
    return json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:o*}", "out", eq_json_lossy(out),
                     "bits_per_weight", cli_number(r->bits_per_weight), "bytes",
                     (json_int_t)r->bytes, "seconds_block_ap", cli_number(r->seconds_block_ap),
                     "seconds_e2e", cli_number(r->seconds_e2e), "seconds_write",
                     cli_number(r->seconds_write), "rollbacks", (json_int_t)r->rollbacks,
                     "blocks_untrained", (json_int_t)r->blocks_untrained, "work_left",
                     r->work_left.status != EQ_OK ? eq_json_lossy(r->work_left.msg) : NULL);
}

/* --to: what is exported behind the run. */
typedef struct {
    eq_export_opts o;
    char *out;  /* o.out */
    bool there; /* a run that was stopped behind it: exports appear whole */
    eq_export_result res;
} export_job;

static json_t *result_json(const char *out, const eq_quantize_result *r, const export_job *x) {
    json_t *o = cli_job_result(out, r);
    if (o && x->out && !x->there) json_object_set_new(o, "export", cli_export_json(&x->o, &x->res));
    return o;
}

static void print(const cli_common *common, const char *out, const eq_quantize_result *r,
                  const export_job *x) {
    char size[32], time[32];
    if (common->json) {
        cli_print_json(result_json(out, r, x));
        return;
    }
    printf("%s: %.2f bits per weight, %s (", out, r->bits_per_weight,
           cli_bytes(size, (double)r->bytes));
    /* A phase that was left out takes no time worth a word. */
    if (r->seconds_block_ap > 1e-3) printf("Block-AP %s, ", cli_seconds(time, r->seconds_block_ap));
    if (r->seconds_e2e > 1e-3) printf("E2E-QP %s, ", cli_seconds(time, r->seconds_e2e));
    printf("writing %s)\n", cli_seconds(time, r->seconds_write));
    if (x->out && !x->there) cli_export_print(&x->o, &x->res);
}

/* Also under -q: a result that is not what was asked for does not pass in silence. */
static void warn(const char *out, const eq_quantize_result *r) {
    if (r->work_left.status != EQ_OK)
        fprintf(stderr, "eqat: %s is whole, its work folder is still there: %s\n", out,
                r->work_left.msg);
    if (!r->rollbacks && !r->blocks_untrained) return;
    fprintf(stderr, "eqat: %s: losses that were not finite: %lld, each went back at half the rate",
            out, (long long)r->rollbacks);
    if (r->blocks_untrained)
        fprintf(stderr, "; blocks that stayed at round-to-nearest: %lld",
                (long long)r->blocks_untrained);
    fputc('\n', stderr);
}

static eq_status open_observer(cli_observer *c, const quantize_args *a, char *default_work,
                               eq_err *err) {
    const cli_used used[] = {{"MODEL", a->o.model},
                             {"--data", a->o.data},
                             {"--val-data", a->o.val_data},
                             {"--e2e-data", a->o.qp.data},
                             {"--instruct", a->o.instruct.data},
                             {"--instruct-val", a->o.instruct.val},
                             {"--out", a->o.out},
                             {"--work-dir", a->o.work_dir ? a->o.work_dir : default_work},
                             {"--cache-dir", a->o.cache_dir},
                             {0}};
    const cli_used log[] = {{"--log", a->common.log}, {0}};
    if (a->common.report) {
        EQ_TRY(cli_check_own_file(a->common.report, "the page", used, err));
        EQ_TRY(cli_check_own_file(a->common.report, "the page", log, err));
    }
    return cli_observer_open(c, &a->common, used, a->o.resume, err);
}

/* Of the log, however the run ended: a stopped one is looked at too. */
static void make_page(const cli_common *common, eq_status *st, eq_err *err) {
    eq_err why = {0};
    if (run_page(common->log, common->report, &why) == EQ_OK) return;
    if (*st != EQ_OK) return; /* the run's own error is what counts */
    *st = why.status;
    *err = why;
}

/* Looks whether the format could hold what the run will make. */
static eq_status look_ahead(export_job *x, const quantize_args *a, eq_err *err) {
    if (!a->to) return EQ_OK;
    eq_export_opts_init(&x->o);
    char *tail = strcmp(a->to, "gguf") ? eq_sprintf("-%s", a->to) : eq_strdup(".gguf");
    x->out = tail && a->o.out ? eq_path_beside(a->o.out, tail) : NULL;
    eq_free(tail);
    if (!x->out && a->o.out) return eq_nomem(err, "a path", 256);
    x->o.model = a->o.model, x->o.out = x->out, x->o.to = a->to;
    x->o.threads = a->o.compute.threads;
    x->there = a->o.resume && x->out && eq_exists(x->out);
    return x->there ? EQ_OK : eq_export_ahead(&x->o, &a->o, err);
}

eq_status cli_job_ahead(const quantize_args *a, eq_err *err) {
    export_job x = {0};
    eq_status st = look_ahead(&x, a, err);
    eq_free(x.out);
    return st;
}

static eq_status do_export(export_job *x, const quantize_args *a, const eq_observer *obs,
                           eq_err *err) {
    if (!x->out || x->there || a->o.dry_run) return EQ_OK;
    x->o.model = a->o.out;
    return eq_export(&x->o, obs, &x->res, err);
}

static int run_job(quantize_args *a, cli_job_fn run, export_job *x) {
    eq_err err = {0};
    eq_quantize_result res = {0};
    cli_observer c;
    if (a->o.dry_run) a->common.log = NULL; /* a dry run writes nothing, no log either */
    char *work = eq_path_beside(a->o.out, ".work");
    eq_status st = work ? look_ahead(x, a, &err) : eq_nomem(&err, "a path", 256);
    if (st == EQ_OK) st = open_observer(&c, a, work, &err);
    eq_free(work);
    if (st != EQ_OK) return cli_fail(&err);
    st = run(&a->o, &c.obs, &res, &err);
    if (st == EQ_OK) st = do_export(x, a, &c.obs, &err);
    st = cli_observer_close(&c, st, result_json(a->o.out, &res, x), &err);
    if (a->common.report && a->common.log && c.begun) make_page(&a->common, &st, &err);
    if (st == EQ_OK && !a->o.dry_run) {
        print(&a->common, a->o.out, &res, x);
        warn(a->o.out, &res);
    }
    return cli_finish(&a->common, st, &err, &a->o.resume, c.begun);
}

int cli_job(quantize_args *a, cli_job_fn run) {
    export_job x = {0};
    int code = run_job(a, run, &x);
    eq_free(x.out);
    return code;
}
