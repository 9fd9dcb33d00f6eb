/* eqat plan: memory, disk and time of a quantize run before it starts. */
#include "quantize_options.h"
#include "report.h"

static int run(void *arguments) {
    quantize_args *a = arguments;
    eq_err err = {0};
    char *text = NULL;
    if (!a->o.model) return cli_usage("plan", "no MODEL given");
    if (eq_plan(&a->o, &text, &err)) return cli_fail(&err);
    return cli_report(text, a->common.json);
}

const cli_command cmd_plan = {
    .name = "plan",
    .summary = "memory, disk and time of a quantize run, without running it",
    .usage = "plan MODEL [options of quantize]",
    .about =
        "Takes every option of quantize, so that `quantize` in a command line can be replaced by\n"
        "`plan`. Of MODEL only config.json is read; nothing is written.",
    .example = "  eqat plan Llama-2-70b --bits 2 --group-size 64 --train-size 4096",
    .options = quantize_options,
    .rules = quantize_rules,
    .args_size = sizeof(quantize_args),
    .init = quantize_args_init,
    .run = run,
};
