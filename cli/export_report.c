/* See export_report.h. */
#include "export_report.h"

#include <stdio.h>

#include "output.h"

json_t *cli_export_json(const eq_export_opts *o, const eq_export_result *r) {
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:s, s:s, s:s, s:o}", "out",
                     eq_json_lossy(o->out), "to", o->to, "bytes", (json_int_t)r->bytes, "weights",
                     (json_int_t)r->weights, "different", (json_int_t)r->different, "worst",
                     cli_number(r->worst), "mean", cli_number(r->mean), "worst_at", r->worst_at,
                     "types", r->types, "reader", r->reader, "seconds", cli_number(r->seconds));
}

void cli_export_print(const eq_export_opts *o, const eq_export_result *r) {
    char size[32], time[32];
    printf("%s: %s, %s%s%s (%s)\n", o->out, o->to, cli_bytes(size, (double)r->bytes),
           *r->types ? ", " : "", r->types, cli_seconds(time, r->seconds));
    if (r->different)
        printf("%lld of %lld weights differ from the model's: by %.3g at most (%s), by %.3g on "
               "average\n",
               (long long)r->different, (long long)r->weights, r->worst, r->worst_at, r->mean);
    else
        printf("read back: all %lld weights are the model's\n", (long long)r->weights);
    if (*r->reader) printf("read by %s\n", r->reader);
}
