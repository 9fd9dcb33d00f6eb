/* eqat tune: E2E-QP alone, from a checkpoint of eqat. */
#include "common_options.h"
#include "job.h"

#define AT(field) offsetof(quantize_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and data"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model), .help = "quantized model folder"},
    {OPT_STR, 'o', "out", .arg = "DIR", .at = AT(out), .help = "folder to write, absent or empty"},
    EQ_TO_ROW,
    {OPT_LIST, 0, "data", "e2e-data", "FILE", AT(data), .help = "training text: " EQ_DATA_HELP},
    EQ_RECIPE_ROW,
    {OPT_ENUM, 0, "bos", .arg = "auto|yes|no", .at = AT(bos),
     .help = "a BOS in front of every text; auto: as transformers 4 does for this model"},
    EQ_TEXT_ROWS(quantize_args, o.text),
    EQ_PACK_ROW(quantize_args, o.text),
    {OPT_HEADING, .help = "training (every option also answers to its --e2e- name in quantize)"},
    EQ_E2E_ROWS(quantize_args, o.qp, ""),
    {OPT_STR, 0, "teacher", .arg = "DIR", .at = AT(qp.teacher),
     .fallback = "--loss kl and --train w need it",
     .help = "the full-precision model that MODEL was quantized from"},
    EQ_INSTRUCT_ROWS(quantize_args, o.instruct),
    {OPT_HEADING, .help = "running"},
    EQ_RATE_ROW(quantize_args),
    {OPT_FLAG, 0, "resume", .at = AT(resume), .help = "go on where a stopped run was"},
    {OPT_FLAG, 0, "dry-run", .at = AT(dry_run), .help = "check everything, write nothing"},
    {OPT_STR, 0, "work-dir", .arg = "DIR", .at = AT(work_dir), .fallback = "OUT.work",
     .help = "state for --resume"},
    EQ_REPORT_ROW(quantize_args),
    EQ_TALK_ROWS(quantize_args),
    EQ_COMMON_ROWS(quantize_args),
    EQ_COMPUTE_ROWS(quantize_args, o.compute),
    {.kind = OPT_END},
};

static const eq_quantize_opts *of(const void *args) { return &((const quantize_args *)args)->o; }
static bool no_rows(const void *args) { return !of(args)->instruct.data; }
static bool no_held_out(const void *args) { return !of(args)->instruct.val; }
static bool no_teacher(const void *args) { return !eq_has_teacher(of(args)); }
static bool no_weights(const void *args) {
    return !(of(args)->qp.train & (EQ_TRAIN_W | EQ_TRAIN_NORM));
}
static const opt_rule rules[] = {
    EQ_INSTRUCT_RULES(no_rows, no_held_out),
    {"teacher", no_teacher, "without --loss kl or w in --train"},
    {"weight-lr", no_weights, "when --train names neither w nor norm"},
    {"report", cli_no_log, "without --log, which it is made from"},
    {0},
};

static int run(void *arguments) {
    quantize_args *a = arguments;
    if (!a->o.model) return cli_usage("tune", "no MODEL given");
    if (!a->o.out) return cli_usage("tune", "no output given: -o DIR");
    if (!a->o.data && !a->o.instruct.data)
        return cli_usage("tune", "no training text given: --data FILE or --instruct FILE");
    return cli_job(a, eq_tune);
}

const cli_command cmd_tune = {
    .name = "tune",
    .summary = "the second phase (E2E-QP) alone, from a quantized folder",
    .usage = "tune MODEL --data FILE | --instruct FILE -o DIR [options]",
    .about =
        "Trains the step sizes of a quantized model end to end; the integers stay as they are.\n"
        "Bits and groups come from the model: a folder of eqat, or of GPTQ, AWQ (gemm) or\n"
        "compressed-tensors (pack-quantized), as other tools write them.",
    .example =
        "  eqat tune Llama-3.2-1B-w2g64 --data own.jsonl --train-size 512 -o Llama-own\n"
        "  eqat tune Llama-3.2-1B-w2g64 --instruct alpaca.json --batch-size 16 --max-steps 1000 "
        "-o Llama-it",
    .options = options,
    .rules = rules,
    .more_help = cli_recipes_help,
    .args_size = sizeof(quantize_args),
    .init = quantize_args_init,
    .run = run,
};
