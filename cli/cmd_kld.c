/* eqat kld: how far a model's predictions are from another's, usually the full-precision one's. */
#include <stdio.h>

#include "base/json.h"
#include "common_options.h"
#include "observer.h"
#include "output.h"
#include "protocol.h"

typedef struct {
    cli_common common;
    eq_kld_opts o;
} kld_args;

EQ_PROTOCOL_CALLS(kld_args)

#define AT(field) offsetof(kld_args, o.field)
static const opt options[] = {
    {OPT_HEADING, .help = "models and data"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model),
     .help = "model folder, full precision or quantized"},
    {OPT_STR, 0, "reference", .arg = "MODEL", .at = AT(reference),
     .help = "the folder it is compared with, usually the full-precision model it was made from"},
    {OPT_CALL, 0, "data", .arg = "FILE", .apply = plain,
     .help = "windows one after the other from a text, or the rows of an .npy"},
    {OPT_CALL, 0, "wikitext2", .arg = "FILE", .apply = wiki,
     .help = "the windows of the paper's WikiText-2 protocol; FILE is the raw test split"},
    {OPT_CALL, 0, "c4", .arg = "FILE", .apply = c4,
     .help = "the windows of the paper's C4 protocol; FILE is c4-validation.00000-of-00008"},
    {OPT_ENUM, 0, "bos", .arg = "auto|yes|no", .at = AT(bos),
     .help = "a BOS in front of every text; auto: as transformers 4 does for the reference"},
    EQ_TEXT_ROWS(kld_args, o.text),
    {OPT_I64, 0, "seqlen", NULL, "N", AT(seqlen), 2, 1 << 24,
     .fallback = "2048, or the model's context if shorter", .help = "tokens a window"},
    {OPT_I64, 0, "limit", NULL, "N", AT(limit), 1, BIG, .fallback = "all",
     .help = "windows at most"},
    {OPT_I64, 0, "batch-size", NULL, "N", AT(batch), 1, 1 << 20,
     .fallback = "as many as hold 4096 tokens", .help = "windows at once"},
    {OPT_FLAG, 0, "as-written", .at = AT(as_written),
     .help = "steps as fp16 and zero points as integers, as other runtimes read them; else as "
             "trained, of eqat.state where the folder has it"},
    {OPT_HEADING, .help = "running"},
    EQ_TALK_ROWS(kld_args),
    EQ_COMMON_ROWS(kld_args),
    EQ_COMPUTE_ROWS(kld_args, o.compute),
    {.kind = OPT_END},
};

static void init(void *args) { eq_kld_opts_init(&((kld_args *)args)->o); }

/* THE list of what is reported: X(key, value, for people). */
#define FIGURES(X) \
    X("kl_mean", r->kl, "KL divergence, mean") \
    X("kl_mean_stderr", r->kl_err, "    +-") \
    X("kl_median", r->median, "    median") \
    X("kl_p90", r->p90, "    90 %") \
    X("kl_p99", r->p99, "    99 %") \
    X("kl_p99.9", r->p999, "    99.9 %") \
    X("kl_max", r->max, "    largest") \
    X("same_top", r->same_top, "same likeliest token, share") \
    X("same_top_stderr", r->same_top_err, "    +-") \
    X("rms_dp", r->rms_dp, "change of p(target), root mean square") \
    X("mean_dp", r->mean_dp, "    mean") \
    X("ppl", r->ppl, "perplexity") \
    X("ppl_reference", r->ppl_reference, "    of the reference") \
    X("ppl_ratio", r->ratio, "    ratio") \
    X("ppl_ratio_stderr", r->ratio_err, "    +-")

static json_t *result_json(const kld_args *a, const eq_kld_result *r) {
    json_t *o = json_object();
#define PUT(key, value, label) json_object_set_new(o, key, cli_number(value));
    FIGURES(PUT)
#undef PUT
    json_t *more = json_pack(
        "{s:s, s:s?, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "protocol",
        cli_protocol_names[a->o.protocol], "steps", cli_steps_name(r->bits, r->fp32_steps), "bos",
        r->text ? json_boolean(r->bos) : json_null(), "windows", (json_int_t)r->windows, "seqlen",
        (json_int_t)r->seqlen, "targets", (json_int_t)r->targets, "seconds", cli_number(r->seconds),
        "model", eq_json_lossy(a->o.model), "reference", eq_json_lossy(a->o.reference), "data",
        eq_json_lossy(a->o.data));
    json_object_update(o, more);
    json_decref(more);
    return o;
}

static void print(const kld_args *a, const eq_kld_result *r) {
    const char *steps = cli_steps_name(r->bits, r->fp32_steps);
    char time[32];
    if (a->common.json) {
        cli_print_json(result_json(a, r));
        return;
    }
#define LINE(key, value, label) printf("%-40s %12.6g\n", label, value);
    FIGURES(LINE)
#undef LINE
    printf("%lld targets of %lld windows of %lld tokens, protocol %s%s, %s%s, %s\n",
           (long long)r->targets, (long long)r->windows, (long long)r->seqlen,
           cli_protocol_names[a->o.protocol], cli_bos_words(r->text, r->bos),
           steps ? steps : "full precision", steps ? " steps" : "", cli_seconds(time, r->seconds));
}

static int run(void *arguments) {
    kld_args *a = arguments;
    eq_err err = {0};
    eq_kld_result res = {0};
    cli_observer c;
    if (!a->o.model) return cli_usage("kld", "no MODEL given");
    if (!a->o.reference) return cli_usage("kld", "nothing to compare with: --reference MODEL");
    if (!a->o.data) return cli_usage("kld", "no text given: --data, --wikitext2 or --c4 FILE");
    const cli_used used[] = {
        {"MODEL", a->o.model}, {"--reference", a->o.reference}, {"the text", a->o.data}, {0}};
    if (cli_observer_open(&c, &a->common, used, false, &err)) return cli_fail(&err);
    eq_status st = eq_kld(&a->o, &c.obs, &res, &err);
    st = cli_observer_close(&c, st, result_json(a, &res), &err);
    if (st == EQ_OK) print(a, &res);
    return cli_finish(&a->common, st, &err, NULL, c.begun);
}

const cli_command cmd_kld = {
    .name = "kld",
    .summary = "how far a model's predictions are from another's",
    .usage = "kld MODEL --reference MODEL --data FILE | --wikitext2 FILE | --c4 FILE [options]",
    .about =
        "Kullback-Leibler divergence from the reference's next-token distribution to the model's,\n"
        "in nats, over all targets of the windows; how often both find the same token likeliest;\n"
        "the change of the target's probability; the ratio of the perplexities.",
    .example = "  eqat kld Llama-3.2-1B-w2g64 --reference Llama-3.2-1B --wikitext2 wiki.test.raw",
    .options = options,
    .args_size = sizeof(kld_args),
    .init = init,
    .run = run,
};
