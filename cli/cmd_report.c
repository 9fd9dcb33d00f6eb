/* eqat report: a page with plots, from the logs of runs. */
#include <stdio.h>

#include "base/mem.h"
#include "common_options.h"
#include "log.h"
#include "run_page.h"

typedef struct {
    cli_common common;
    char *logs;
    const char *out;
} report_args;

static const opt options[] = {
    {OPT_HEADING, .help = "options"},
    {OPT_REST, .name = "LOG", .at = offsetof(report_args, logs),
     .help = "logs that quantize or tune wrote (--log), each a part of the page"},
    {OPT_STR, 'o', "out", .arg = "FILE", .at = offsetof(report_args, out), .help = "page to write"},
    {OPT_FLAG, 'h', "help", .at = offsetof(report_args, common.help), .help = "this text"},
    {.kind = OPT_END},
};

static void init(void *args) { (void)args; }

static int run(void *arguments) {
    report_args *a = arguments;
    eq_err err = {0};
    if (!a->logs) return cli_usage("report", "no LOG given");
    if (!a->out) return cli_usage("report", "no page given: -o FILE");
    const cli_used used[] = {{"LOG", a->logs}, {0}};
    if (cli_check_own_file(a->out, "the page", used, &err) || run_page(a->logs, a->out, &err))
        return cli_fail(&err);
    return EXIT_DONE;
}

const cli_command cmd_report = {
    .name = "report",
    .summary = "a page with plots, from the logs of runs",
    .usage = "report LOG... -o FILE",
    .about =
        "One file of HTML that stands alone, readable offline, dark and light: losses of the\n"
        "blocks over their steps, training against validation block by block, the loss of the\n"
        "second phase, the error of each linear, and the figures as tables. Also of runs that\n"
        "are under way or were stopped.",
    .example = "  eqat report run.jsonl -o run.html",
    .options = options,
    .args_size = sizeof(report_args),
    .init = init,
    .run = run,
};
