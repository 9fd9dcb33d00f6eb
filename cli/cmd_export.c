/* eqat export: a quantized model as other runtimes read it. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "common_options.h"
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
    {OPT_WORD, 0, "to",
     .arg = "gguf|gptq|gptq-v1|gptq-sym|compressed-tensors|compressed-tensors-asym|awq|mlx|hf",
     .at = AT(to), .help = "the format"},
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

static json_t *result_json(const export_args *a, const eq_export_result *r) {
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:s, s:s, s:s, s:o}", "out",
                     eq_json_lossy(a->o.out), "to", a->o.to, "bytes", (json_int_t)r->bytes,
                     "weights", (json_int_t)r->weights, "different", (json_int_t)r->different,
                     "worst", cli_number(r->worst), "mean", cli_number(r->mean), "worst_at",
                     r->worst_at, "types", r->types, "reader", r->reader, "seconds",
                     cli_number(r->seconds));
}

static void print(const export_args *a, const eq_export_result *r) {
    char size[32], time[32];
    if (a->common.json) {
        cli_print_json(result_json(a, r));
        return;
    }
    printf("%s: %s, %s%s%s (%s)\n", a->o.out, a->o.to, cli_bytes(size, (double)r->bytes),
           *r->types ? ", " : "", r->types, cli_seconds(time, r->seconds));
    if (r->different)
        printf("%lld of %lld weights differ from the model's: by %.3g at most (%s), by %.3g on "
               "average\n",
               (long long)r->different, (long long)r->weights, r->worst, r->worst_at, r->mean);
    else
        printf("read back: all %lld weights are the model's\n", (long long)r->weights);
    if (*r->reader) printf("read by %s\n", r->reader);
}

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
    st = cli_observer_close(&c, st, result_json(a, &res), &err);
    if (st == EQ_OK) print(a, &res);
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
