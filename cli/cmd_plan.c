/* eqat plan: memory, disk and time of a quantize run before it starts. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "job.h"
#include "quantize_options.h"
#include "report.h"

/* What --to asks of the run, into the report. */
static eq_status add_export(char **report, const quantize_args *a, eq_err *err) {
    json_t *o = NULL;
    eq_err why = {0};
    if (!a->to || cli_job_ahead(a, &why) == EQ_OK) return EQ_OK;
    EQ_TRY(eq_json_parse(&o, *report, (int64_t)strlen(*report), "plan", err));
    if (json_is_null(json_object_get(o, "refused"))) {
        json_object_set_new(o, "fits", json_false());
        json_object_set_new(o, "refused", eq_json_lossy(why.msg));
        eq_free(*report);
        *report = eq_json_text(o, 2);
    }
    json_decref(o);
    return *report ? EQ_OK : eq_nomem(err, "the plan", 4096);
}

/* Why the run would be refused, eq_free it; NULL: it would not. */
static char *refused(const char *report) {
    json_t *o = NULL;
    eq_err ignored = {0};
    if (eq_json_parse(&o, report, (int64_t)strlen(report), "plan", &ignored) != EQ_OK) return NULL;
    const char *why = json_string_value(eq_json_get(o, "refused"));
    char *copy = why ? eq_strdup(why) : NULL;
    json_decref(o);
    return copy;
}

static int run(void *arguments) {
    quantize_args *a = arguments;
    eq_err err = {0};
    char *text = NULL;
    if (!a->o.model) return cli_usage("plan", "no MODEL given");
    if (eq_plan(&a->o, &text, &err)) return cli_fail(&err);
    if (add_export(&text, a, &err)) return cli_fail(&err);
    char *why = refused(text);
    int code = cli_report(text, a->common.json);
    if (why) {
        fprintf(stderr, "eqat: plan: quantize would refuse this: %s\n", why);
        code = EXIT_FAILED;
    }
    eq_free(why);
    return code;
}

const cli_command cmd_plan = {
    .name = "plan",
    .summary = "memory, disk and time of a quantize run, without running it",
    .usage = "plan MODEL [options of quantize]",
    .about =
        "Takes every option of quantize, so that `quantize` in a command line can be replaced by\n"
        "`plan`; data and output may be left out. Of MODEL only config.json is read, with --to "
        "gguf\n"
        "the tokenizer; nothing is written. Exit 1 when quantize would refuse the run: memory, "
        "disk,\n"
        "group size, output, a format that could not hold what it trains.",
    .example = "  eqat plan Llama-3.2-1B --recipe light\n"
               "  eqat plan Llama-2-70b --bits 2 --group-size 64 --train-size 4096",
    .options = quantize_options,
    .rules = quantize_rules,
    .more_help = cli_recipes_help,
    .args_size = sizeof(quantize_args),
    .init = quantize_args_init,
    .run = run,
};
