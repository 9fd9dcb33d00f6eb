/* eqat import: a GGUF file as a folder that every command takes. */
#include <stdio.h>

#include "base/json.h"
#include "common_options.h"
#include "observer.h"
#include "output.h"

typedef struct {
    cli_common common;
    eq_import_opts o;
} import_args;

#define AT(field) offsetof(import_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "file and output"},
    {OPT_POSITIONAL, .name = "FILE", .at = AT(file), .help = "a .gguf"},
    {OPT_STR, 'o', "out", .arg = "DIR", .at = AT(out), .help = "folder to write, absent or empty"},
    {OPT_HEADING, .help = "running"},
    {OPT_INT, 0, "threads", .arg = "N", .at = AT(threads), .lo = 1, .hi = 512,
     .fallback = "one per core", .help = "the output does not depend on it"},
    EQ_TALK_ROWS(import_args),
    EQ_COMMON_ROWS(import_args),
    {.kind = OPT_END},
};

static void init(void *args) { eq_import_opts_init(&((import_args *)args)->o); }

static json_t *result_json(const import_args *a, const eq_import_result *r) {
    return json_pack("{s:o, s:i, s:I, s:I, s:o, s:b, s:o}", "out", eq_json_lossy(a->o.out), "bits",
                     r->bits, "group_size", (json_int_t)r->group_size, "weights",
                     (json_int_t)r->weights, "worst", cli_number(r->worst), "state", (int)r->state,
                     "seconds", cli_number(r->seconds));
}

static void print(const import_args *a, const eq_import_result *r) {
    char time[32];
    if (a->common.json) {
        cli_print_json(result_json(a, r));
        return;
    }
    printf("%s: %d bits, groups of %lld%s (%s)\n", a->o.out, r->bits, (long long)r->group_size,
           r->state ? ", exact steps and zero points in eqat.state" : "",
           cli_seconds(time, r->seconds));
    if (r->worst > 0)
        printf("read back: %lld weights are the file's, within %.1e of the largest of their row\n",
               (long long)r->weights, r->worst);
    else
        printf("read back: all %lld weights are the file's\n", (long long)r->weights);
}

static int run(void *arguments) {
    import_args *a = arguments;
    eq_err err = {0};
    eq_import_result res = {0};
    cli_observer c;
    if (!a->o.file) return cli_usage("import", "no FILE given");
    if (!a->o.out) return cli_usage("import", "no output given: -o DIR");
    const cli_used used[] = {{"FILE", a->o.file}, {"--out", a->o.out}, {0}};
    if (cli_observer_open(&c, &a->common, used, false, &err)) return cli_fail(&err);
    eq_status st = eq_import(&a->o, &c.obs, &res, &err);
    st = cli_observer_close(&c, st, result_json(a, &res), &err);
    if (st == EQ_OK) print(a, &res);
    return cli_finish(&a->common, st, &err, NULL, c.begun);
}

const cli_command cmd_import = {
    .name = "import",
    .summary = "a GGUF file as a folder that every command takes",
    .usage = "import FILE -o DIR [options]",
    .about =
        "Codes, steps and zero points stay what they are: Q4_0 becomes 4 bits in groups of 32,\n"
        "Q2_K 2 bits in groups of 16, types of five and six bits become codes of eight. Llama and\n"
        "Qwen architectures; config.json and tokenizer.json come from the file's metadata. What "
        "was\n"
        "written is read back and compared with the file.",
    .example = "  eqat import Llama-3.2-1B-Q4_0.gguf -o Llama-3.2-1B-q4\n"
               "  eqat tune Llama-3.2-1B-q4 --data own.jsonl -o Llama-own",
    .options = options,
    .args_size = sizeof(import_args),
    .init = init,
    .run = run,
};
