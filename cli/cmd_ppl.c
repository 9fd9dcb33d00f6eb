/* eqat ppl: perplexity by a named protocol (METHOD: WikiText-2, C4, or plain windows). */
#include <stdio.h>

#include "base/json.h"
#include "common_options.h"
#include "observer.h"
#include "output.h"
#include "protocol.h"

typedef struct {
    cli_common common;
    eq_ppl_opts o;
} ppl_args;

EQ_PROTOCOL_CALLS(ppl_args)

#define AT(field) offsetof(ppl_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "model and data"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_CALL, 0, "data", .arg = "FILE", .apply = plain,
     .help = "windows one after the other from a text, or the rows of an .npy"},
    {OPT_CALL, 0, "wikitext2", .arg = "FILE", .apply = wiki,
     .help = "the paper's WikiText-2 protocol; FILE is the raw test split"},
    {OPT_CALL, 0, "c4", .arg = "FILE", .apply = c4,
     .help = "the paper's C4 protocol; FILE is c4-validation.00000-of-00008 (.jsonl, .gz, .zst)"},
    {OPT_ENUM, 0, "bos", .arg = "auto|yes|no", .at = AT(bos),
     .help = "a BOS in front of every text; auto: as transformers 4 does for this model"},
    EQ_TEXT_ROWS(ppl_args, o.text),
    {OPT_I64, 0, "seqlen", NULL, "N", AT(seqlen), 2, 1 << 24,
     .fallback = "2048, or the model's context if shorter", .help = "tokens a window"},
    {OPT_I64, 0, "limit", NULL, "N", AT(limit), 1, BIG, .fallback = "all",
     .help = "windows at most"},
    {OPT_I64, 0, "batch-size", NULL, "N", AT(batch), 1, 1 << 20,
     .fallback = "as many as hold 8192 tokens", .help = "windows at once"},
    {OPT_FLAG, 0, "as-written", .at = AT(as_written),
     .help = "steps as fp16 and zero points as integers, as other runtimes read them; else as "
             "trained, of eqat.state where the folder has it"},
    {OPT_HEADING, .help = "running"},
    EQ_TALK_ROWS(ppl_args),
    EQ_COMMON_ROWS(ppl_args),
    EQ_COMPUTE_ROWS(ppl_args, o.compute),
    {.kind = OPT_END},
};

static void init(void *args) { eq_ppl_opts_init(&((ppl_args *)args)->o); }

static json_t *result_json(const ppl_args *a, const eq_ppl_result *r) {
    return json_pack(
        "{s:o, s:o, s:s, s:s?, s:o, s:I, s:I, s:I, s:o, s:o, s:o}", "ppl", cli_number(r->ppl),
        "nll", cli_number(r->nll), "protocol", cli_protocol_names[a->o.protocol], "steps",
        cli_steps_name(r->bits, r->fp32_steps), "bos", r->text ? json_boolean(r->bos) : json_null(),
        "windows", (json_int_t)r->windows, "seqlen", (json_int_t)r->seqlen, "targets",
        (json_int_t)r->targets, "seconds", cli_number(r->seconds), "model",
        eq_json_lossy(a->o.model), "data", eq_json_lossy(a->o.data));
}

static void print(const ppl_args *a, const eq_ppl_result *r) {
    const char *protocol = cli_protocol_names[a->o.protocol];
    const char *steps = cli_steps_name(r->bits, r->fp32_steps);
    char time[32];
    if (a->common.json)
        cli_print_json(result_json(a, r));
    else
        printf("ppl %.4f (%lld windows of %lld tokens, protocol %s%s, %s%s%s)\n", r->ppl,
               (long long)r->windows, (long long)r->seqlen, protocol,
               cli_bos_words(r->text, r->bos), steps ? steps : "full precision",
               steps ? " steps, " : ", ", cli_seconds(time, r->seconds));
}

static int run(void *arguments) {
    ppl_args *a = arguments;
    eq_err err = {0};
    eq_ppl_result res = {0};
    cli_observer c;
    if (!a->o.model) return cli_usage("ppl", "no MODEL given");
    if (!a->o.data) return cli_usage("ppl", "no text given: --data, --wikitext2 or --c4 FILE");
    const cli_used used[] = {{"MODEL", a->o.model}, {"the text", a->o.data}, {0}};
    if (cli_observer_open(&c, &a->common, used, false, &err)) return cli_fail(&err);
    eq_status st = eq_ppl(&a->o, &c.obs, &res, &err);
    st = cli_observer_close(&c, st, result_json(a, &res), &err);
    if (st == EQ_OK) print(a, &res);
    return cli_finish(&a->common, st, &err, NULL, c.begun);
}

const cli_command cmd_ppl = {
    .name = "ppl",
    .summary = "perplexity of a model, full precision or quantized",
    .usage = "ppl MODEL --data FILE | --wikitext2 FILE | --c4 FILE [options]",
    .about =
        "exp of the mean over windows of each window's mean cross-entropy. Numbers compare only\n"
        "between equal protocols and window lengths.",
    .example = "  eqat ppl Llama-3.2-1B-w2g64 --wikitext2 wiki.test.raw\n"
               "  eqat ppl Llama-3.2-1B --data own.txt --seqlen 1024 --json",
    .options = options,
    .args_size = sizeof(ppl_args),
    .init = init,
    .run = run,
};
