/* See job.h. */
#include "job.h"

#include <stdio.h>

#include "observer.h"
#include "output.h"

static void print(const cli_common *common, const char *out, const eq_quantize_result *r) {
    char size[32], time[32];
    if (common->json) {
        cli_print_json(json_pack("{s:s, s:o, s:I, s:o, s:o, s:o}", "out", out, "bits_per_weight",
                                 cli_number(r->bits_per_weight), "bytes", (json_int_t)r->bytes,
                                 "seconds_block_ap", cli_number(r->seconds_block_ap), "seconds_e2e",
                                 cli_number(r->seconds_e2e), "seconds_write",
                                 cli_number(r->seconds_write)));
        return;
    }
    printf("%s: %.2f bits per weight, %s (", out, r->bits_per_weight,
           cli_bytes(size, (double)r->bytes));
    /* A phase that was left out takes no time worth a word. */
    if (r->seconds_block_ap > 1e-3) printf("Block-AP %s, ", cli_seconds(time, r->seconds_block_ap));
    if (r->seconds_e2e > 1e-3) printf("E2E-QP %s, ", cli_seconds(time, r->seconds_e2e));
    printf("writing %s)\n", cli_seconds(time, r->seconds_write));
}

int cli_job(quantize_args *a, cli_job_fn run) {
    eq_err err = {0};
    eq_quantize_result res = {0};
    cli_observer c;
    if (a->o.dry_run) a->common.log = NULL; /* a dry run writes nothing, no log either */
    if (cli_observer_open(&c, &a->common, a->o.resume, &err)) return cli_fail(&err);
    eq_status st = run(&a->o, &c.obs, &res, &err);
    cli_observer_close(&c, &err);
    if (st == EQ_OK) st = err.status;
    if (st == EQ_OK && !a->o.dry_run) print(&a->common, a->o.out, &res);
    return cli_finish(&a->common, st, &err, true);
}
