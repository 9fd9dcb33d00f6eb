/* eqat quantize: both phases of the paper, a Hugging Face folder in, a packed one out. */
#include "job.h"

static int run(void *arguments) {
    quantize_args *a = arguments;
    if (!a->o.model) return cli_usage("quantize", "no MODEL given");
    if (!a->o.out) return cli_usage("quantize", "no output given: -o DIR");
    if (!a->o.data && a->o.method != EQ_METHOD_RTN)
        return cli_usage("quantize", "no training text given: --data FILE");
    return cli_job(a, eq_quantize);
}

const cli_command cmd_quantize = {
    .name = "quantize",
    .summary = "a model folder in, a 2-, 3- or 4-bit folder out",
    .usage = "quantize MODEL --data FILE -o DIR [options]",
    .about =
        "Trains a quantized copy of a model in two phases, Block-AP and E2E-QP, and writes it as\n"
        "a Hugging Face folder with GPTQ v2 tensors. Defaults are the paper's.",
    .example = "  eqat quantize Llama-3.2-1B --recipe light --data corpus.jsonl.zst -o "
               "Llama-3.2-1B-w2g64\n"
               "  eqat quantize Llama-3.2-1B --scheme w4g128 --method rtn -o Llama-rtn\n"
               "  eqat quantize Llama-3.2-1B --scheme w4g128 --method gptq --no-e2e --data "
               "corpus.jsonl --train-size 128 -o Llama-gptq",
    .options = quantize_options,
    .rules = quantize_rules,
    .more_help = cli_recipes_help,
    .args_size = sizeof(quantize_args),
    .init = quantize_args_init,
    .run = run,
};
