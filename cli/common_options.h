/* Rows that several option tables share. T is the command's argument struct, `f` the place of the
 * settings in it. */
#ifndef EQ_CLI_COMMON_OPTIONS_H
#define EQ_CLI_COMMON_OPTIONS_H
#include "command.h"

#define BIG 4e18 /* no upper bound */

/* clang-format off */
#define EQ_COMMON_ROWS(T) \
    {OPT_FLAG, 0, "json", .at = offsetof(T, common.json), .help = "the result as one JSON object"}, \
    {OPT_FLAG, 'h', "help", .at = offsetof(T, common.help), .help = "this text"}

#define EQ_TEXT_ROWS(T, f) \
    {OPT_STR, 0, "text-field", .arg = "NAME", .at = offsetof(T, f.field), .fallback = "text", \
     .help = "member of a JSON object that holds the text; a.b goes through objects"}, \
    {OPT_FLAG, 0, "skip-bad", .at = offsetof(T, f.skip_bad), \
     .help = "pass over lines without a readable text, and say how many"}, \
    {OPT_WORD, 0, "ids-dtype", .arg = "u16|u32|i32|i64", .at = offsetof(T, f.ids_dtype), \
     .fallback = "a .bin needs it", .help = "integers of a .bin of token ids"}
/* See quantize_options.h. */
#define EQ_RECIPE_ROW \
    {OPT_BASE, 0, "recipe", .arg = "paper|light|best", .apply = cli_recipe_apply, \
     .fallback = "paper", .help = "settings to begin with, below; options beside it win over it"}
#define EQ_PACK_ROW(T, f) \
    {OPT_FLAG, 0, "pack", .at = offsetof(T, f.pack), \
     .help = "documents joined by the end token and cut into windows, so that short ones count too"}
#define EQ_INSTRUCT_ROWS(T, f) \
    {OPT_HEADING, .help = "instruction tuning in E2E-QP (the paper: --batch-size 16 --max-steps 10000)"}, \
    {OPT_LIST, 0, "instruct", .arg = "FILE", .at = offsetof(T, f.data), \
     .help = "rows: Alpaca (instruction, input, output) or chats (messages, conversations), .json or " \
             ".jsonl; beside text both as FILE:WEIGHT"}, \
    {OPT_LIST, 0, "instruct-val", .arg = "FILE", .at = offsetof(T, f.val), .fallback = "none", \
     .help = "held-out rows: the state with the lowest loss on them is the result"}, \
    {OPT_I64, 0, "eval-every", .arg = "N", .at = offsetof(T, f.eval_every), .lo = 1, .hi = BIG, \
     .help = "steps between two looks at the held-out loss"}, \
    {OPT_STR, 0, "chat-template", .arg = "NAME", .at = offsetof(T, f.chat_template), \
     .fallback = "the model's own; Alpaca rows: the paper's prompts", \
     .help = "for chats and Alpaca rows: own, chatml, llama-2, llama-3, mistral, ..., or a .jinja file"}, \
    {OPT_I64, 0, "source-limit", .arg = "N", .at = offsetof(T, f.source_limit), .lo = 1, \
     .hi = 1 << 24, .help = "tokens of an Alpaca row's prompt"}, \
    {OPT_I64, 0, "target-limit", .arg = "N", .at = offsetof(T, f.target_limit), .lo = 1, \
     .hi = 1 << 24, .help = "tokens of an Alpaca row's answer"}, \
    {OPT_FLAG, 0, "train-on-prompt", .at = offsetof(T, f.all), \
     .help = "loss on the prompts too, not on the answers alone"}
#define EQ_INSTRUCT_RULES(no_rows, no_held_out) \
    {"instruct-val chat-template source-limit target-limit train-on-prompt", no_rows, \
     "without --instruct"}, \
    {"eval-every", no_held_out, "without --instruct-val"}
#define EQ_DATA_HELP \
    "FILE, folder, 'pattern' or - (standard input); given again: more of the same set, or, as " \
    "FILE:WEIGHT, its share. .txt, .jsonl, .json (all also .gz, .zst); token ids: .npy, .bin"

#define EQ_REPORT_ROW(T) \
    {OPT_STR, 0, "report", .arg = "FILE", .at = offsetof(T, common.report), \
     .help = "make a page (.html) with plots of the log when the run ends; also: eqat report"}
#define EQ_TALK_ROWS(T) \
    {OPT_STR, 0, "log", .arg = "FILE", .at = offsetof(T, common.log), \
     .help = "write the run's events, one JSON object a line"}, \
    EQ_QUIET_ROWS(T)
#define EQ_QUIET_ROWS(T) \
    {OPT_NUM, 0, "progress-every", NULL, "SECONDS", offsetof(T, common.progress_every), 1, 86400, \
     .help = "between two lines of progress where stderr is no terminal"}, \
    {OPT_FLAG, 'q', "quiet", .at = offsetof(T, common.quiet), .help = "no notes, no progress"}, \
    {OPT_FLAG, 'v', "verbose", .at = offsetof(T, common.verbose), .help = "events on stderr too"}

#define EQ_COMPUTE_ROWS(T, f) \
    {OPT_HEADING, .help = "computing"}, \
    {OPT_ENUM, 0, "precision", .arg = "bf16|f32", .at = offsetof(T, f.precision), \
     .help = "of products and activations; what is trained is kept in fp32"}, \
    {OPT_INT, 0, "threads", .arg = "N", .at = offsetof(T, f.threads), .lo = 1, .hi = 512, \
     .fallback = "one per core", .help = "results do not depend on it"}, \
    {OPT_STR, 0, "backend", .arg = "NAME", .at = offsetof(T, f.backend), \
     .help = "cpu, cuda, auto (cuda where it works), or ref (slow, obvious); " \
             "trace:cpu times operations, finite:cpu stops at the first NaN"}, \
    {OPT_WORD, 0, "cpu-mask", .arg = "sse2|avx2|avx512", .at = offsetof(T, f.cpu_mask), \
     .fallback = "what the CPU has", .help = "highest instruction set to use"}, \
    {OPT_BYTES, 0, "memory-limit", .arg = "SIZE", .at = offsetof(T, f.memory_limit), \
     .lo = 1 << 20, .hi = BIG, .fallback = "what the machine has", \
     .help = "memory the job may use beside mapped files: 512M, 6g, 6GB, 6GiB (powers of 1024)"}, \
    {OPT_BYTES, 0, "device-memory", .arg = "SIZE", .at = offsetof(T, f.device_memory), \
     .lo = 1 << 20, .hi = BIG, .fallback = "what the device has", \
     .help = "memory of the device the job may use (--backend cuda)"}

#define EQ_RATE_ROW(T) \
    {OPT_NUM, 0, "rate-scale", NULL, "X", offsetof(T, o.rate_scale), 0, 1e6, \
     .help = "rates of s, z, w and norm times this; 0: as large as the model's weights are beside " \
             "those of Llama-2-7B, which the paper's rates are of"}

/* P is "e2e-" or "" and goes in front of the names; every row also answers to its e2e- name. */
#define EQ_E2E_ROWS(T, f, P) \
    {OPT_I64, 0, P "train-size", "e2e-train-size", "N", offsetof(T, f.train_size), 1, BIG, \
     .fallback = "4096; of instruction rows without weights all", .help = "windows"}, \
    {OPT_I64, 0, P "seqlen", "e2e-seqlen", "N", offsetof(T, f.seqlen), 2, 1 << 24, \
     .fallback = "4096, or the model's context if shorter", .help = "tokens a window"}, \
    {OPT_I64, 0, P "batch-size", "e2e-batch-size", "N", offsetof(T, f.batch_size), 1, 1 << 20, \
     .help = "windows an update"}, \
    {OPT_I64, 0, P "micro-batch", "e2e-micro-batch", "N", offsetof(T, f.micro_batch), 1, 1 << 20, \
     .fallback = "as many as hold 4096 tokens", \
     .help = "windows in memory at once; gradients accumulate over the batch"}, \
    {OPT_INT, 0, P "epochs", "e2e-epochs", "N", offsetof(T, f.epochs), 1, 10000, \
     .help = "passes over the windows"}, \
    {OPT_I64, 0, P "max-steps", "e2e-max-steps", "N", offsetof(T, f.max_steps), 1, BIG, \
     .fallback = "what the epochs have", .help = "updates, whatever the epochs"}, \
    {OPT_NUM, 0, P "lr", "e2e-lr", "X", offsetof(T, f.lr), 0, 1, \
     .fallback = "2e-5 at 2 bits, 1e-5 at 3 and 4", .help = "AdamW rate"}, \
    {OPT_NUM, 0, P "warmup", "e2e-warmup", "X", offsetof(T, f.warmup), 0, 1, \
     .help = "share of the steps with a rising rate; a cosine to 0 follows"}, \
    {OPT_NUM, 0, P "clip", "e2e-clip", "X", offsetof(T, f.clip), 0, 1e9, \
     .help = "global gradient norm; 0: no clipping"}, \
    {OPT_NUM, 0, P "weight-lr", "e2e-weight-lr", "X", offsetof(T, f.weight_lr), 0, 1, \
     .fallback = "2e-5 at 2 bits, 1e-5 at 3 and 4", .help = "AdamW rate of w and norm"}, \
    {OPT_SET, 0, P "train", "e2e-train", "s,z,w,norm", offsetof(T, f.train), \
     .help = "what is trained: step sizes, zero points (real numbers then, which GPTQ tensors hold " \
             "rounded), the weights behind the integers (which are then free, 16 bytes of memory a " \
             "weight), the norms' weights"}, \
    {OPT_ENUM, 0, P "loss", "e2e-loss", "ce|kl", offsetof(T, f.loss), \
     .help = "ce: cross-entropy of the next token, as the paper; kl: divergence from the predictions " \
             "of the full-precision model, a quarter more work"}, \
    {OPT_I64, 0, "save-every", .arg = "N", .at = offsetof(T, f.save_every), .lo = 1, .hi = BIG, \
     .help = "steps between two saved states, beside those saved by time"}, \
    {OPT_NUM, 0, "save-seconds", .arg = "X", .at = offsetof(T, o.save_seconds), .lo = 0, \
     .hi = 1e9, .help = "between two saved states within a block or a step (for --resume)"}
/* clang-format on */

#endif
