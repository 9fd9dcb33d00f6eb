/* eqat — EfficientQAT (Chen et al., arXiv 2407.11062) as a C library.
 *
 *     eq_quantize_opts o;
 *     eq_quantize_opts_init(&o);                 // the paper's settings for 2 bits
 *     o.model = "Llama-3.2-1B";  o.out = "Llama-3.2-1B-w2g64";  o.data = "corpus.jsonl.zst";
 *     eq_err err = {0};
 *     if (eq_quantize(&o, NULL, NULL, &err) != EQ_OK) fprintf(stderr, "%s\n", err.msg);
 *
 * The library never prints, never exits and reads no environment variable. Everything it has to
 * say goes through an eq_observer; everything that can fail returns an eq_status and fills an
 * eq_err with one line that names the file, tensor or line, what was expected and what was
 * found. */
#ifndef EQAT_H
#define EQAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EQ_VERSION "0.1.0"

/* ---- status and errors ----------------------------------------------------------------------- */

typedef enum {
    EQ_OK = 0,
    EQ_EINPUT, /* a file, tensor, text or setting is not what it has to be */
    EQ_EIO,    /* the operating system refused: open, read, write, rename, disk full */
    EQ_ENOMEM, /* memory could not be had */
    EQ_EINTR,  /* stopped by request; state is saved, --resume goes on */
    EQ_EDEVICE /* the backend failed */
} eq_status;

typedef struct {
    eq_status status;
    char msg[1024]; /* one line, no newline at the end */
} eq_err;

/* ---- what a long job says while it runs ------------------------------------------------------ */

typedef struct {
    const char *phase;     /* "block-ap", "e2e-qp", "ppl", "stream", "tokenize", "write" */
    const char *part;      /* a part of it that is not the training itself: "pass", "validation" */
    int64_t block, blocks; /* current block and number of blocks; blocks == 0: not by block */
    int64_t done, total;   /* units of work (tokens where `tokens` is true, else bytes) */
    bool tokens;
    double loss; /* newest loss, NaN when there is none */
    double job; /* share of the whole job that is done, 0 to 1, by operation counts; 0: not known */
} eq_progress;

typedef struct {
    void *ctx;
    void (*progress)(void *ctx, const eq_progress *p); /* often; the observer limits the rate */
    void (*note)(void *ctx, const char *line);         /* a sentence for people, no newline */
    void (*event)(void *ctx, const char *json);        /* one JSON object for the run's log; the
                                                          first, "run", comes when everything that
                                                          can be refused has been looked at */
    const volatile int *stop; /* becomes non-zero: save, then return EQ_EINTR. May be NULL */
} eq_observer;

/* ---- settings shared by every command that computes ------------------------------------------ */

typedef enum { EQ_PREC_BF16, EQ_PREC_F32 } eq_precision;

typedef struct {
    int threads;         /* 0: one per core this process may use */
    const char *backend; /* "cpu" (default), "cuda" (libeqat-cuda.so, make cuda), "auto" (cuda where
                            it can be used, else cpu) or "ref"; "trace:", "finite:", "fenced:" wrap
                            it */
    const char *cpu_mask; /* highest instruction set: "sse2", "avx2", "avx512" or NULL for all */
    eq_precision precision;
    int64_t memory_limit;  /* bytes the job may use beside mapped files; 0: what the machine has */
    int64_t device_memory; /* bytes of the device it may use, where the backend is one; 0: all */
} eq_compute_opts;

/* Data, wherever this header takes it, is one name or several, one a line: a file, a folder (all
 * files below it whose kinds are known), a pattern ("web-?.jsonl") or "-" for standard
 * input, each with ":WEIGHT" behind it or none with it. Without weights all files are one set; with
 * weights, each name gives its share of the windows. Kinds: .txt (.raw) is one text, .jsonl
 * (.ndjson, .json) documents as objects in lines or in an array, each also .gz and .zst; .npy and
 * .bin are token ids. */
typedef struct {
    const char *field; /* of an object that holds the text, "a.b" through objects; NULL: "text" */
    const char *ids_dtype; /* of a .bin: "u16", "u32", "i32", "i64" */
    bool skip_bad;         /* objects without a text are counted and passed over */
    bool pack; /* documents joined by the end token to one text that is cut into windows */
} eq_text_opts;

/* Does a text begin with the model's BOS id? auto: as transformers 4 has it for the folder. */
typedef enum { EQ_BOS_AUTO, EQ_BOS_YES, EQ_BOS_NO } eq_bos;

/* What to train: bits of a set (Table 5 and 6 of the paper). CLIP: two numbers a group, shares of
 * its least and largest weight, which s and z follow from (OmniQuant), so without S, Z and W.
 * ROUND: an offset in (-1, 1) of every weight, in steps, before it is rounded (AutoRound), so
 * without W. */
enum {
    EQ_TRAIN_S = 1,
    EQ_TRAIN_Z = 2,
    EQ_TRAIN_W = 4,
    EQ_TRAIN_NORM = 8,
    EQ_TRAIN_CLIP = 16,
    EQ_TRAIN_ROUND = 32
};

/* block-ap trains blocks; rtn rounds to nearest; gptq rounds with what GPTQ makes up for, awq with
 * AWQ's scales and clipped ranges, both by the training windows, and train nothing. */
typedef enum { EQ_METHOD_BLOCK_AP, EQ_METHOD_RTN, EQ_METHOD_GPTQ, EQ_METHOD_AWQ } eq_method;
/* Where the training of a block begins: at the min-max grid, at GPTQ's integers on it, or at the
 * grid of AWQ's weights. */
typedef enum { EQ_START_MINMAX, EQ_START_GPTQ, EQ_START_AWQ } eq_start;
/* The range of a group that its codes are spread over at first: all of it, or as much as rounds its
 * weights with the least errors. */
typedef enum { EQ_RANGE_MINMAX, EQ_RANGE_MSE } eq_range;

/* Where zero points and steps may lie; of codes up to Q = 2^bits - 1. free: zero points from 0 to
 * Q, as in the paper. portable: at (Q - 1) / 2 or (Q + 1) / 2, which the symmetric types of every
 * runtime hold. q2_k, q4_k: 2 and 4 bits as GGUF's Q2_K and Q4_K have them: 256 weights of a row
 * share a zero point, and their groups' steps are whole multiples (to 15, to 63) of one number. */
typedef enum { EQ_GRID_FREE, EQ_GRID_PORTABLE, EQ_GRID_Q2_K, EQ_GRID_Q4_K } eq_grid;

/* Settings of Block-AP (paper section 3.2). Rates < 0: the paper's for the bits. */
typedef struct {
    int64_t train_size, val_size; /* windows */
    int64_t seqlen;               /* tokens a window; 0: 2048 or the model's context if shorter */
    int64_t batch_size;           /* windows a step */
    int epochs;
    double quant_lr, weight_lr; /* AdamW rates of s, z and of W, norms */
    double clip_lr, round_lr;   /* of CLIP and ROUND; < 0: 5e-3, and 2 / steps of a block */
    double min_lr_factor;       /* cosine ends at lr / this (20) */
    unsigned train;             /* set of EQ_TRAIN_* */
    eq_start start;
    eq_range range;   /* of rtn and gptq too; AWQ's and CLIP's are their own */
    bool exact_sinks; /* tokens of more than a hundred times the median power (attention sinks, such
                         as a window's first) go from block to block as in full precision */
    bool keep_best;   /* keep the epoch with the lowest validation loss */
    int early_stop;   /* stop after this many epochs without a better one; 0: never */
} eq_block_ap_opts;

/* What E2E-QP makes small: the cross-entropy of the next token (the paper's), or the divergence of
 * the model's predictions from those of the full-precision model, sum p log(p / q) a token. */
typedef enum { EQ_E2E_CE, EQ_E2E_KL } eq_e2e_loss;

/* Settings of E2E-QP (paper section 3.3, METHOD section 3). */
typedef struct {
    const char *data;    /* NULL: the data of Block-AP, or instruction rows alone */
    int64_t train_size;  /* windows; 0: 4096, of instruction rows without weights all */
    int64_t seqlen;      /* 0: 4096 or the model's context if shorter */
    int64_t batch_size;  /* windows an update */
    int64_t micro_batch; /* windows held at once; the rest by gradient accumulation */
    int epochs;
    int64_t max_steps; /* updates, whatever the epochs; 0: as many as the epochs have */
    double lr;         /* < 0: the paper's for the bits */
    double warmup;     /* share of the steps */
    double clip;       /* global gradient norm; 0: none */
    double weight_lr;  /* of W and norms; < 0: the paper's of Block-AP for the bits */
    unsigned
        train; /* set of EQ_TRAIN_*: S and Z on fixed integers are the paper's; with W the
                  codes    are free: weights are kept in fp32 and fake-quantized as in Block-AP */
    eq_e2e_loss loss;
    const char *teacher; /* eq_tune with EQ_E2E_KL: folder of the full-precision model;
                            eq_quantize's is the model itself */
    int64_t save_every;  /* steps between two saved states, beside those by time */
} eq_e2e_opts;

/* Instruction tuning in E2E-QP: rows of Alpaca (instruction, input, output) and chats (ShareGPT's
 * conversations, messages), loss on the answers. The loss of a step is the sum over the targets of
 * its batch, divided by their number. */
typedef struct {
    const char *data;          /* .json, .jsonl, as in eq_text_opts; NULL: none */
    const char *val;           /* held-out rows; the state with the lowest loss there is the
                                  result. NULL: none, the last one is */
    const char *chat_template; /* NULL: the folder's own, and for Alpaca rows the prompts of
                                  the paper's source. Else for both: "own", a family's name,
                                  or a file that ends in .jinja */
    int64_t source_limit, target_limit; /* tokens of an Alpaca row's prompt and answer */
    bool all;                           /* loss on the prompts too */
    int64_t eval_every;                 /* steps between two looks at the held-out loss */
} eq_instruct_opts;

typedef struct {
    const char *model, *out;     /* Hugging Face folder in, folder out (empty or absent) */
    const char *data, *val_data; /* see eq_text_opts; val_data NULL: held out of data */
    const char *work_dir;        /* state for --resume; NULL: OUT.work beside the output */
    const char *cache_dir; /* activation streams in mapped files here, which outlive a killed run
                              until it is resumed; NULL: in memory, in work_dir if they are too
                              large for it or would take long to be made anew */
    bool resume, dry_run;
    eq_bos bos;          /* in front of every text of the data */
    eq_text_opts text;   /* of all data */
    double save_seconds; /* between two saved states within a block or a step: what a kill loses */
    eq_method method;
    int bits;           /* 2, 3, 4 */
    int64_t group_size; /* 32, 64, 128, 256, or -1: a whole row */
    const char *scheme; /* linears that are quantized otherwise: "PATTERN=w4g64,...". A pattern is
                           some parts in a row of a Hugging Face name ("down_proj", "layers.0",
                           "layers.1*.mlp"; * is any text), the last that fits counts. NULL: none */
    eq_grid grid;
    double rate_scale; /* the rates of s, z, W and norms in both phases are multiplied by it; 0: by
                          how far the model's groups of weights reach beside those of Llama-2-7B,
                          which the paper's rates are of */
    uint64_t seed;
    bool e2e; /* run the second phase */
    eq_block_ap_opts ap;
    eq_e2e_opts qp;
    eq_instruct_opts instruct;
    eq_compute_opts compute;
} eq_quantize_opts;

/* Fills the paper's settings (2 bits, groups of 64). */
void eq_quantize_opts_init(eq_quantize_opts *o);

/* Named settings of both phases: name and a line about recipe i = 0, 1, ...; false: there are no
 * more. Setting one takes the place of o->ap and o->qp (their data stays), so do it first. false:
 * there is none of that name, *o is as it was. */
bool eq_recipe(int i, const char **name, const char **about);
bool eq_recipe_set(eq_quantize_opts *o, const char *name);

/* Does the second phase, where there is one, look at the full-precision model: at its predictions,
 * or at the weights behind the codes? tune then needs o->qp.teacher. */
bool eq_has_teacher(const eq_quantize_opts *o);

/* "w2g64", "W3A16G128", "w2g64,down_proj=w4g64": bits and group_size as the first part says, scheme
 * the rest, which stays in `text`. NULL, or what was expected (then *o is as it was). */
const char *eq_scheme_set(eq_quantize_opts *o, const char *text);

typedef struct {
    double seconds_block_ap, seconds_e2e, seconds_write;
    double bits_per_weight; /* of all quantized linears: N + (N + 16) / g */
    int64_t bytes;          /* of the written model */
    int64_t rollbacks;      /* losses that were not finite, in both phases */
    int64_t
        blocks_untrained; /* of these none of the epochs held: they stayed at round-to-nearest */
    /* status other than EQ_OK: the output is whole, but its work folder could not be removed, and
     * why */
    eq_err work_left;
} eq_quantize_result;

/* Runs both phases and writes a GPTQ v2 checkpoint. `res` may be NULL. */
eq_status eq_quantize(const eq_quantize_opts *o, const eq_observer *obs, eq_quantize_result *res,
                      eq_err *err);

/* E2E-QP alone, from a checkpoint of eqat (o->model). Bits, groups and grid come from there. */
eq_status eq_tune(const eq_quantize_opts *o, const eq_observer *obs, eq_quantize_result *res,
                  eq_err *err);

/* ---- perplexity ------------------------------------------------------------------------------ */

typedef enum { EQ_PPL_WINDOWS, EQ_PPL_WIKITEXT2, EQ_PPL_C4 } eq_ppl_protocol;

typedef struct {
    const char *model, *data;
    eq_ppl_protocol protocol;
    int64_t seqlen; /* 0: 2048 or the model's context if shorter */
    int64_t limit;  /* windows at most; 0: all */
    int64_t batch;  /* windows at once */
    eq_bos bos;     /* in front of every text of the data */
    eq_text_opts text;
    bool as_written; /* fp16 steps and whole zero points, as other runtimes read them; else those of
                        eqat.state where the folder has them */
    eq_compute_opts compute;
} eq_ppl_opts;

typedef struct {
    int bits; /* of the folder's weights, of most of them if they differ; 0: full precision */
    bool fp32_steps; /* of a quantized folder: the trained steps were used */
    bool text, bos;  /* the data was text; each text began with a BOS */
    double ppl, nll; /* nll: mean over windows of the window's mean, nats a token */
    int64_t windows, seqlen, targets;
    double seconds;
} eq_ppl_result;

void eq_ppl_opts_init(eq_ppl_opts *o);
eq_status eq_ppl(const eq_ppl_opts *o, const eq_observer *obs, eq_ppl_result *res, eq_err *err);

/* ---- distance from another model ------------------------------------------------------------- */

typedef struct {
    const char *model, *reference; /* two folders of one vocabulary; the second is what is right */
    const char *data;
    eq_ppl_protocol protocol;
    int64_t seqlen, limit, batch; /* as in eq_ppl_opts */
    eq_bos bos;
    eq_text_opts text;
    bool as_written;
    eq_compute_opts compute;
} eq_kld_opts;

/* Over all targets: D = sum p log(p / q), p of the reference, in nats; d = q(target) - p(target).
 * Errors are standard errors of a mean over targets. */
typedef struct {
    double kl, kl_err, median, p90, p99, p999, max;
    double same_top, same_top_err; /* share of targets where both find the same token likeliest */
    double rms_dp, mean_dp;        /* of d */
    double ppl, ppl_reference, ratio, ratio_err;
    int64_t windows, seqlen, targets;
    int bits;                   /* of the model's weights; 0: full precision */
    bool fp32_steps, text, bos; /* as in eq_ppl_result */
    double seconds;
} eq_kld_result;

void eq_kld_opts_init(eq_kld_opts *o);
eq_status eq_kld(const eq_kld_opts *o, const eq_observer *obs, eq_kld_result *res, eq_err *err);

/* Frees a text that a function of this header returned. NULL is allowed. */
void eq_text_free(char *text);

/* ---- multiple choice (METHOD section 6) ------------------------------------------------------ */

/* Which lm-evaluation-harness a number compares with: since 0.4.9.2 a text has in front what the
 * tokenizer puts there (a BOS), up to then nothing. */
typedef enum { EQ_HARNESS_0_4_9_2, EQ_HARNESS_0_4_2 } eq_harness;

typedef struct {
    const char *model;
    const char *tasks;     /* "piqa,mmlu", "paper" (the paper's five), "arc_easy=FILE" */
    const char *task_data; /* the folder that holds their files; NULL: every task names its own */
    eq_harness harness;
    int fewshot;          /* examples in front of each question of mmlu */
    int64_t limit;        /* the first items of each task; 0: all */
    int64_t batch_tokens; /* at once */
    const char *samples;  /* a file that gets one JSON object an item; NULL: none */
    bool as_written;      /* as in eq_ppl_opts */
    eq_compute_opts compute;
} eq_eval_opts;

void eq_eval_opts_init(eq_eval_opts *o);
/* *json: results, groups, n-shot, n-samples and so on, laid out as lm-evaluation-harness does;
 * eq_text_free it. */
eq_status eq_eval(const eq_eval_opts *o, const eq_observer *obs, char **json, eq_err *err);

/* ---- generation ------------------------------------------------------------------------------ */

/* How the next token is drawn. */
typedef struct {
    double temperature;        /* 0: the most likely token each time, the first of equals */
    int top_k;                 /* from that many most likely ones; 0: all */
    double top_p;              /* from the fewest that together have this probability; 1: all */
    double min_p;              /* from those with at least this share of the most likely one's */
    double repetition_penalty; /* logits of tokens that were there are divided by it where positive,
                                  multiplied where negative; 1: none */
    uint64_t seed;
} eq_sampling;
void eq_sampling_init(eq_sampling *s); /* greedy */

typedef struct {
    const char *model, *prompt;
    int max_tokens;  /* to add */
    int64_t context; /* tokens of prompt and continuation at most; 0: the model's */
    eq_sampling sampling;
    const char *const *stops; /* texts that end it, and are left out */
    int stop_count;
    void (*text)(void *ctx, const char *piece); /* text as it comes, whole characters; NULL: not
                                                   wanted */
    void *text_ctx;
    eq_compute_opts compute; /* precision f32: exactly the model's numbers; bf16: on the CPU packed
                                linears meet activations of 8 bits */
} eq_generate_opts;

/* Why a text ended: the model, a stop text, max_tokens, the context, the observer's stop flag. */
typedef enum { EQ_END_TOKEN, EQ_END_STOP, EQ_END_LENGTH, EQ_END_CONTEXT, EQ_END_ASKED } eq_text_end;

typedef struct {
    char *text;                     /* prompt and continuation; eq_text_free it */
    int64_t prompt_tokens, tokens;  /* read (of a conversation, what is new of it), added */
    double prompt_seconds, seconds; /* until the prompt was read, from there on */
    eq_text_end end;
} eq_generate_result;

void eq_generate_opts_init(eq_generate_opts *o);
/* obs may be NULL; its stop flag ends the text, which is no error. */
eq_status eq_generate(const eq_generate_opts *o, const eq_observer *obs, eq_generate_result *res,
                      eq_err *err);

/* ---- conversation ---------------------------------------------------------------------------- */

typedef struct {
    const char *model;
    const char *template_name; /* a family ("chatml", "llama-3", ...) or a .jinja file; NULL: the
                                  model's own, which has to be there */
    const char *system;        /* NULL: what the template says by itself */
    int max_tokens;            /* of one answer */
    int64_t context;           /* tokens of the conversation; 0: 4096, or the model's if shorter */
    eq_sampling sampling;
    void (*text)(void *ctx, const char *piece); /* as in eq_generate_opts: of the answer alone */
    void *text_ctx;
    eq_compute_opts compute;
} eq_talk_opts;

typedef struct eq_talk eq_talk;
void eq_talk_opts_init(eq_talk_opts *o);
/* The texts of o are used as long as the conversation is open. */
eq_status eq_talk_open(eq_talk **t, const eq_talk_opts *o, eq_err *err);
void eq_talk_close(eq_talk *t);                 /* NULL allowed */
const char *eq_talk_template(const eq_talk *t); /* the family, or where the template comes from */
/* A message and the answer to it, res->text. After an error the message was not said. The
 * observer's stop flag ends the answer, which is kept as far as it came. */
eq_status eq_talk_say(eq_talk *t, const char *text, const eq_observer *obs, eq_generate_result *res,
                      eq_err *err);
void eq_talk_forget(eq_talk *t); /* all but the system prompt */

/* ---- formats of other runtimes --------------------------------------------------------------- */

typedef struct {
    const char *model, *out; /* quantized folder in; an absent file (gguf) or folder out */
    const char *to;          /* a name of eq_export_format */
    bool lossy;             /* what the format does not hold exactly is written as near as it can */
    const char *type;       /* gguf: of the linears ("q4_0"); NULL: the smallest that is exact */
    const char *embeddings; /* gguf: of embedding and head: "stored" (NULL), "f16", "q8_0" */
    const char *dtype;      /* hf: "f32" (NULL), "f16", "bf16" */
    int threads;
} eq_export_opts;

typedef struct {
    int64_t bytes;
    int64_t weights, different; /* compared with the model's; only lossy ones differ */
    double worst, mean;         /* |difference| of one weight */
    char worst_at[96];          /* the tensor */
    char types[128];            /* gguf: tensors of each type */
    char reader[128];           /* the oldest program that reads it, where that matters */
    double seconds;
} eq_export_result;

void eq_export_opts_init(eq_export_opts *o);
/* Writes the model as other runtimes read it: its steps as fp16 and whole zero points (what GPTQ
 * readers see, not eqat.state). What was written is read back and every weight compared. `res` may
 * be NULL. */
eq_status eq_export(const eq_export_opts *o, const eq_observer *obs, eq_export_result *res,
                    eq_err *err);
/* Before eq_quantize, or eq_tune where o->model is quantized: whether its output could be exported
 * to o->to and put at o->out (NULL: anywhere). Shapes, schemes, zero points that the grid allows (a
 * quantized model's own), architecture and tokenizer are looked at. */
eq_status eq_export_ahead(const eq_export_opts *o, const eq_quantize_opts *q, eq_err *err);
/* Name and a line about format i = 0, 1, ...; false: there are no more. */
bool eq_export_format(int i, const char **name, const char **about);

typedef struct {
    const char *file, *out; /* a GGUF file in, an absent or empty folder out */
    int threads;
} eq_import_opts;

typedef struct {
    int bits; /* of most linears */
    int64_t group_size;
    int64_t weights; /* compared with the file's */
    double worst;    /* |difference| by the largest weight of its row: 0, or what fp32 rounds where
                        zero points are real numbers */
    bool state;      /* eqat.state holds what GPTQ tensors do not */
    double seconds;
} eq_import_result;

void eq_import_opts_init(eq_import_opts *o);
/* A GGUF file of a Llama or Qwen, tokenizer included, as a folder that every command of this
 * program takes. `res` may be NULL. */
eq_status eq_import(const eq_import_opts *o, const eq_observer *obs, eq_import_result *res,
                    eq_err *err);

/* ---- the program and the machine ------------------------------------------------------------- */

/* *json: compiler, oneDNN version, instruction set, CPU, cores this process may use,
 * memory in bytes; eq_text_free it. */
eq_status eq_about(char **json, eq_err *err);

/* ---- looking at a model, planning a run ------------------------------------------------------ */

/* *json: architecture, tensors, bits per weight, sizes; eq_text_free it. */
eq_status eq_inspect(const char *model, bool tensors, char **json, eq_err *err);

/* *json: RAM, disk and time of a run, from the tables that allocate, and whether eq_quantize would
 * refuse it ("fits", "refused": why, or null). The folder o->model needs only a config.json.
 * Nothing is read beside it, nothing is written; o->data and o->out may be NULL. */
eq_status eq_plan(const eq_quantize_opts *o, char **json, eq_err *err);

#ifdef __cplusplus
}
#endif

#endif
