/* See quantize_options.h. Names are those of the published tools where they have one. */
#include "quantize_options.h"

#include <stdio.h>
#include <string.h>

#include "common_options.h"

const char *cli_recipe_apply(void *args, const char *name) {
    return eq_recipe_set(&((quantize_args *)args)->o, name) ? NULL : "a recipe";
}

static const char *apply_scheme(void *args, const char *text) {
    return eq_scheme_set(&((quantize_args *)args)->o, text);
}

#define AT(field) offsetof(quantize_args, o.field)
const opt quantize_options[] = {
    {OPT_HEADING, .help = "model and data"},
    {OPT_POSITIONAL, .name = "MODEL", .at = AT(model), .help = "Hugging Face model folder"},
    {OPT_STR, 'o', "out", .arg = "DIR", .at = AT(out), .help = "folder to write, absent or empty"},
    EQ_TO_ROW,
    {OPT_LIST, 0, "data", .arg = "FILE", .at = AT(data), .help = "training text: " EQ_DATA_HELP},
    EQ_RECIPE_ROW,
    {OPT_LIST, 0, "val-data", .arg = "FILE", .at = AT(val_data), .fallback = "held out of --data",
     .help = "text of the validation loss"},
    {OPT_LIST, 0, "e2e-data", .arg = "FILE", .at = AT(qp.data), .fallback = "--data",
     .help = "text of the second phase"},
    {OPT_ENUM, 0, "bos", .arg = "auto|yes|no", .at = AT(bos),
     .help = "a BOS in front of every text; auto: as transformers 4 does for this model"},
    EQ_TEXT_ROWS(quantize_args, o.text),
    EQ_PACK_ROW(quantize_args, o.text),
    {OPT_HEADING, .help = "number format"},
    {OPT_INT, 0, "bits", "wbits", "N", AT(bits), 2, 4, .help = "of a weight: 2, 3 or 4"},
    {OPT_ONE_OF, 0, "group-size", NULL, "32|64|128|256|-1", AT(group_size),
     .help = "weights that share a step size and a zero point; -1: a whole row"},
    {OPT_CALL, 0, "scheme", .arg = "WnA16Gm[,PATTERN=..]", .apply = apply_scheme,
     .help =
         "both at once (W2A16G64, w3g128), and linears that differ: w2g64,down_proj=w4g64,"
         "layers.0=w3; a pattern is some parts of a name, * any text, the last that fits counts"},
    {OPT_ENUM, 0, "grid", .arg = "free|portable|q2_k|q4_k", .at = AT(grid),
     .help = "portable: zero points in the middle of the codes, which every runtime's symmetric "
             "types hold exactly. q2_k, q4_k: 2 and 4 bits as these types of GGUF, which every "
             "llama.cpp reads, hold them: 256 weights share a zero point, which is not trained, "
             "and steps are whole multiples of one number"},
    {OPT_HEADING, .help = "first phase, Block-AP: block by block, everything trained"},
    {OPT_ENUM, 0, "method", .arg = "block-ap|rtn|gptq|awq", .at = AT(method),
     .help = "rtn: round to nearest instead; with --data the second phase still follows (PEQA). "
             "gptq: round with GPTQ, which makes up for what rounding changes on the training "
             "windows. awq: round with AWQ's scales, folded into norms and linears, and clipped "
             "ranges, found on them"},
    {OPT_ENUM, 0, "start", .arg = "minmax|gptq|awq", .at = AT(ap.start),
     .help = "where a block's training begins: rounded, or as GPTQ or AWQ rounds it"},
    {OPT_ENUM, 0, "range", .arg = "minmax|mse", .at = AT(ap.range),
     .help = "what of a group's range its codes are spread over at first, rtn's and gptq's too: "
             "all of it, or the part with the least rounding errors (sum of their cubes). awq and "
             "--train clip find their own"},
    {OPT_I64, 0, "train-size", NULL, "N", AT(ap.train_size), 1, BIG, .help = "windows"},
    {OPT_I64, 0, "val-size", NULL, "N", AT(ap.val_size), 0, BIG,
     .help = "windows of the validation loss"},
    {OPT_I64, 0, "seqlen", NULL, "N", AT(ap.seqlen), 2, 1 << 24,
     .fallback = "2048, or the model's context if shorter", .help = "tokens a window"},
    {OPT_I64, 0, "batch-size", NULL, "N", AT(ap.batch_size), 1, 1 << 20, .help = "windows a step"},
    {OPT_INT, 0, "epochs", NULL, "N", AT(ap.epochs), 1, 10000, .help = "passes over the windows"},
    {OPT_NUM, 0, "quant-lr", NULL, "X", AT(ap.quant_lr), 0, 1, .fallback = "1e-4",
     .help = "AdamW rate of step sizes and zero points"},
    {OPT_NUM, 0, "weight-lr", NULL, "X", AT(ap.weight_lr), 0, 1,
     .fallback = "2e-5 at 2 bits, 1e-5 at 3 and 4", .help = "AdamW rate of weights and norms"},
    {OPT_NUM, 0, "clip-lr", NULL, "X", AT(ap.clip_lr), 0, 1, .fallback = "5e-3",
     .help = "AdamW rate of --train clip"},
    {OPT_NUM, 0, "round-lr", NULL, "X", AT(ap.round_lr), 0, 1,
     .fallback = "2 / the steps of a block", .help = "AdamW rate of --train round"},
    {OPT_NUM, 0, "min-lr-factor", NULL, "X", AT(ap.min_lr_factor), 1, 1e9,
     .help = "the cosine ends at the rate divided by this"},
    {OPT_SET, 0, "train", NULL, "s,z,w,norm,clip,round", AT(ap.train),
     .help =
         "what is trained. clip: shares of each group's least and largest weight, which s and z "
         "then follow from (OmniQuant); round: an offset in (-1, 1) of each weight before it is "
         "rounded, in w's place (AutoRound)"},
    {OPT_FLAG, 0, "exact-sinks", .at = AT(ap.exact_sinks),
     .help = "tokens of more than a hundred times the median power (attention sinks, such as a "
             "window's first) go from block to block as in full precision: what is wrong there no "
             "later block can mend"},
    {OPT_FLAG, 0, "keep-best", .at = AT(ap.keep_best),
     .help = "keep the epoch with the lowest validation loss"},
    {OPT_INT, 0, "early-stop", NULL, "N", AT(ap.early_stop), 0, 10000, .fallback = "never",
     .help = "end a block after N epochs without a lower validation loss"},
    {OPT_HEADING, .help = "second phase, E2E-QP: the whole model, step sizes trained"},
    {OPT_UNSET, 0, "no-e2e", .at = AT(e2e), .help = "leave it out"},
    EQ_E2E_ROWS(quantize_args, o.qp, "e2e-"),
    EQ_INSTRUCT_ROWS(quantize_args, o.instruct),
    {OPT_HEADING, .help = "running"},
    EQ_RATE_ROW(quantize_args),
    {OPT_U64, 0, "seed", .arg = "N", .at = AT(seed), .help = "of the windows that are drawn"},
    {OPT_FLAG, 0, "resume", .at = AT(resume), .help = "go on where a stopped run was"},
    {OPT_FLAG, 0, "dry-run", .at = AT(dry_run), .help = "check everything, write nothing"},
    {OPT_STR, 0, "work-dir", .arg = "DIR", .at = AT(work_dir), .fallback = "OUT.work",
     .help = "state for --resume"},
    {OPT_STR, 0, "cache-dir", .arg = "DIR", .at = AT(cache_dir),
     .fallback = "in the work folder when they are large",
     .help = "activations between blocks in mapped files here, kept until the blocks are done"},
    EQ_REPORT_ROW(quantize_args),
    EQ_TALK_ROWS(quantize_args),
    EQ_COMMON_ROWS(quantize_args),
    EQ_COMPUTE_ROWS(quantize_args, o.compute),
    {.kind = OPT_END},
};

/* ---- options that change nothing ------------------------------------------------------------- */

/* --no-e2e switches a phase off in a command line that may have its settings; that is no mistake.
 */

static const eq_quantize_opts *of(const void *args) { return &((const quantize_args *)args)->o; }
static bool rtn(const void *args) { return of(args)->method == EQ_METHOD_RTN; }
static bool gptq(const void *args) { return of(args)->method == EQ_METHOD_GPTQ; }
static bool awq(const void *args) { return of(args)->method == EQ_METHOD_AWQ; }
static bool no_e2e(const void *args) { return !of(args)->e2e; }
static bool rtn_alone(const void *args) { return rtn(args) && no_e2e(args); }
static bool no_data(const void *args) {
    const eq_quantize_opts *o = of(args);
    return rtn(args) && !o->data && !o->qp.data && !o->instruct.data;
}
static bool no_rows(const void *args) { return !of(args)->instruct.data; }
static bool no_held_out(const void *args) { return !of(args)->instruct.val; }
static bool no_validation(const void *args) { return of(args)->ap.val_size == 0; }
static bool one_epoch(const void *args) { return of(args)->ap.epochs == 1; }
static bool no_steps(const void *args) { return !(of(args)->ap.train & (EQ_TRAIN_S | EQ_TRAIN_Z)); }
static bool no_weights(const void *args) {
    return !(of(args)->ap.train & (EQ_TRAIN_W | EQ_TRAIN_NORM));
}

bool cli_no_log(const void *args) { return !((const cli_common *)args)->log; }
static bool no_clip(const void *args) { return !(of(args)->ap.train & EQ_TRAIN_CLIP); }
static bool clip(const void *args) { return !rtn(args) && !gptq(args) && !no_clip(args); }
static bool awq_start(const void *args) { return of(args)->ap.start == EQ_START_AWQ; }
static bool no_round(const void *args) { return !(of(args)->ap.train & EQ_TRAIN_ROUND); }
static bool no_e2e_weights(const void *args) {
    return !(of(args)->qp.train & (EQ_TRAIN_W | EQ_TRAIN_NORM));
}

#define SECOND \
    "e2e-data e2e-train-size e2e-seqlen e2e-batch-size e2e-micro-batch e2e-epochs e2e-max-steps " \
    "e2e-lr " \
    "e2e-warmup " \
    "e2e-clip e2e-train e2e-weight-lr e2e-loss save-every"
#define NO_TRAINING \
    "val-size epochs quant-lr weight-lr clip-lr round-lr min-lr-factor train exact-sinks " \
    "keep-best early-stop " \
    "val-data start"
const opt_rule quantize_rules[] = {
    {NO_TRAINING " train-size seqlen batch-size cache-dir", rtn,
     "with --method rtn, which trains no blocks"},
    {NO_TRAINING, gptq, "with --method gptq, which trains no blocks"},
    {NO_TRAINING, awq, "with --method awq, which trains no blocks"},
    {"range", awq, "with --method awq, which clips ranges by itself"},
    {"range", awq_start, "with --start awq, which clips ranges by itself"},
    {"range", clip, "when --train names clip, which begins with whole ranges"},
    {"data", rtn_alone, "with --method rtn and --no-e2e, which train nothing"},
    {SECOND, no_data, "with --method rtn and no --data, which round alone"},
    EQ_INSTRUCT_RULES(no_rows, no_held_out),
    {"keep-best early-stop val-data", no_validation, "with --val-size 0"},
    {"keep-best early-stop", one_epoch, "with --epochs 1"},
    {"report", cli_no_log, "without --log, which it is made from"},
    {"quant-lr", no_steps, "when --train names neither s nor z"},
    {"weight-lr", no_weights, "when --train names neither w nor norm"},
    {"clip-lr", no_clip, "when --train does not name clip"},
    {"round-lr", no_round, "when --train does not name round"},
    {"e2e-weight-lr", no_e2e_weights, "when --e2e-train names neither w nor norm"},
    {0},
};

void quantize_args_init(void *args) { eq_quantize_opts_init(&((quantize_args *)args)->o); }

/* ---- recipes --------------------------------------------------------------------------------- */

/* Read out of the settings that a recipe leaves, so that the text cannot disagree with it. */
void cli_recipes_help(const opt *table) {
    enum { WIDTH = 96, INDENT = 10 };
    const char *name, *about;
    char text[128];
    printf("\nrecipes (--recipe NAME)\n");
    for (int i = 0; eq_recipe(i, &name, &about); i++) {
        quantize_args plain = {0}, with = {0};
        quantize_args_init(&plain), quantize_args_init(&with);
        eq_recipe_set(&with.o, name);
        printf("  %-*s%s\n", INDENT - 2, name, about);
        int column = 0;
        for (const opt *o = table; o->kind != OPT_END; o++) {
            if (o->kind <= OPT_POSITIONAL || !opt_differs(o, &plain, &with, text, sizeof text))
                continue;
            int n = (int)strlen(text);
            bool fresh = !column || column + 1 + n > WIDTH;
            if (fresh) printf("%s%*s", column ? "\n" : "", INDENT, "");
            column = fresh ? INDENT + n : column + 1 + n;
            printf("%s%s", fresh ? "" : " ", text);
        }
        if (column) putchar('\n');
    }
}
