/* eqat export: a quantized model as other runtimes read it. */
#include <string.h>

#include "common_options.h"
#include "export_report.h"
#include "observer.h"
#include "output.h"

typedef struct {
    cli_common common;
    eq_export_opts o;
} export_args;

#define AT(field) offsetof(export_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and output"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model), .help = "quantized model folder"},
    {OPT_WORD, 0, "to", .arg = EQ_TO_WORDS, .at = AT(to), .help = "the format"},
    {OPT_STR, 'o', "out", .arg = "OUT", .at = AT(out),
     .help = "file (gguf) or folder to write, absent"},
    {OPT_FLAG, 0, "lossy", .at = AT(lossy),
     .help = "write the nearest of what the format does not hold exactly, and say how far it is "
             "off; else such models are refused"},
    {OPT_HEADING, .help = "one format's own"},
    {OPT_WORD, 0, "type", .arg = "q2_0|q2_k|q3_k|q4_0|q4_k|q4_1|q5_0|q8_0|f16|f32", .at = AT(type),
     .fallback = "for each tensor the smallest up to q8_0 that holds it exactly",
     .help = "gguf: of all linears"},
    {OPT_WORD, 0, "embeddings", .arg = "stored|f16|q8_0", .at = AT(embeddings),
     .fallback = "stored",
     .help = "gguf: type of embedding and head; what f16 and q8_0 change is said at the end"},
    {OPT_WORD, 0, "dtype", .arg = "f32|f16|bf16", .at = AT(dtype), .fallback = "f32",
     .help = "hf: of all tensors; f32 holds every quantized weight"},
    {OPT_HEADING, .help = "running"},
    {OPT_INT, 0, "threads", .arg = "N", .at = AT(threads), .lo = 1, .hi = 512,
     .fallback = "one per core", .help = "the output does not depend on it"},
    EQ_TALK_ROWS(export_args),
    EQ_COMMON_ROWS(export_args),
    {.kind = OPT_END},
};

/* Options of another format change nothing. */
static bool is_to(const void *args, const char *format) {
    const char *to = ((const export_args *)args)->o.to;
    return !to || !strcmp(to, format);
}
static bool no_gguf(const void *args) { return !is_to(args, "gguf"); }
static bool no_hf(const void *args) { return !is_to(args, "hf"); }
static const opt_rule rules[] = {
    {"type embeddings", no_gguf, "without --to gguf"}, {"dtype", no_hf, "without --to hf"}, {0}};

static void init(void *args) { eq_export_opts_init(&((export_args *)args)->o); }

static int run(void *arguments) {
    export_args *a = arguments;
    eq_err err = {0};
    eq_export_result res = {0};
    cli_observer c;
    if (!a->o.model) return cli_usage("export", "no MODEL given");
    if (!a->o.to) return cli_usage("export", "no format given: --to FORMAT");
    if (!a->o.out) return cli_usage("export", "no output given: -o OUT");
    const cli_used used[] = {{"MODEL", a->o.model}, {"--out", a->o.out}, {0}};
    if (cli_observer_open(&c, &a->common, used, false, &err)) return cli_fail(&err);
    eq_status st = eq_export(&a->o, &c.obs, &res, &err);
    st = cli_observer_close(&c, st, cli_export_json(&a->o, &res), &err);
    if (st == EQ_OK && a->common.json) cli_print_json(cli_export_json(&a->o, &res));
    if (st == EQ_OK && !a->common.json) cli_export_print(&a->o, &res);
    return cli_finish(&a->common, st, &err, NULL, c.begun);
}

const cli_command cmd_export = {
    .name = "export",
    .summary = "a quantized model as other runtimes read it (gguf, awq, ...)",
    .usage = "export MODEL --to FORMAT -o OUT [options]",
    .about = "  gguf                     llama.cpp, ollama, LM Studio\n"
             "  gptq                     GPTQ version 2: what quantize writes, without eqat.state\n"
             "  gptq-v1                  for readers that are older than version 2\n"
             "  gptq-sym                 symmetric (vLLM, SGLang): portable models\n"
             "  compressed-tensors       symmetric pack-quantized (vLLM): portable models\n"
             "  compressed-tensors-asym  the same with zero points: any model\n"
             "  awq                      GEMM layout: 4 bits, any zero point\n"
             "  mlx                      affine: portable models, and where z s is an fp16 number\n"
             "  hf                       the weights themselves, full precision\n"
             "\n"
             "The weights are those that GPTQ readers see: steps as fp16, whole zero points; "
             "trained zero\n"
             "points (--train z) are real numbers, which hf holds, and mlx where they fit. What "
             "was written\n"
             "is read back and every weight compared; what a format does not hold exactly is "
             "refused with\n"
             "the tensor's name, unless --lossy is given.",
    .example = "  eqat export Llama-3.2-1B-w2g64 --to gguf -o Llama-3.2-1B-w2g64.gguf\n"
               "  eqat export Llama-3.2-1B-w4g128 --to awq -o Llama-3.2-1B-AWQ",
    .options = options,
    .rules = rules,
    .args_size = sizeof(export_args),
    .init = init,
    .run = run,
};
