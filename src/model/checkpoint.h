/* Writing the project's checkpoint: a Hugging Face folder with GPTQ v2 tensors, or with packed rows
 * where GPTQ's words cannot hold the model (eq_layout), plus EQ_STATE_NAME
 * with fp32 steps and real zero points and EQ_SUMS_NAME with a sum of every file. Everything lands
 * in a temporary folder beside the target, is read back and compared, then renamed. */
#ifndef EQ_MODEL_CHECKPOINT_H
#define EQ_MODEL_CHECKPOINT_H
#include "base/json.h"
#include "model/qblock.h"

/* Gives block i, valid until the next call (so that 70B models need not be in memory at once). */
typedef eq_status (*eq_qblock_source)(void *ctx, int64_t i, const eq_qblock **b, eq_err *err);

typedef struct {
    const eq_weights *base; /* where embeddings, head, biases and side files come from */
    eq_schemes schemes;
    eq_qblock_source source;
    void *ctx;
    const char *recipe; /* JSON text: settings, seed, fingerprints, version; kept in metadata */
    const json_t *side_files;     /* as by eq_checkpoint_side_sums; others are refused. NULL: any */
    int64_t rollbacks, untrained; /* see eq_quantize_result; kept in metadata */
    int64_t shard_bytes;          /* start a new file beyond this; 0: 5 GB */
} eq_checkpoint;

/* out: an absent or empty folder. Tensors that are not quantized keep their bytes; norms that
 * differ from the base's are written as F32. Every linear is re-read and compared bit for bit. */
eq_status eq_checkpoint_write(const eq_checkpoint *c, const char *out, const eq_observer *obs,
                              int64_t *bytes, eq_err *err);
/* How it will be written: GPTQ v2 where that holds every linear, else in rows, and *why (may be
 * NULL) names the first that it does not hold. */
eq_layout eq_checkpoint_layout(const eq_config *c, const eq_schemes *t, eq_err *why);
/* Of what goes along beside the tensors, {name: XXH3-128 in hex} of the files that loaders read
 * (tokenizer, settings, templates, code); a link to nowhere is left out, with a note. EQ_EIO: a
 * file, one of the others too, cannot be read. EQ_EINTR: stopped. */
eq_status eq_checkpoint_side_sums(json_t **sums, const char *model, const eq_observer *obs,
                                  eq_err *err);

/* Copies every file of the model's folder but those of weights and config.json into dir, byte for
 * byte. */
eq_status eq_checkpoint_copy_side_files(const char *model, const char *dir, eq_err *err);

/* Lines of "XXH3-128 in hex, two spaces, name", as xxh128sum -c reads them. */
#define EQ_SUMS_NAME "eqat.sums"
/* Every file of a written folder is there as it was written, or the first that is not is named. */
eq_status eq_checkpoint_compare_sums(const char *dir, eq_err *err);

/* out is an absent or empty folder that a rename can replace, its parent is writable, and it is not
 * `model`. Changes nothing. */
eq_status eq_output_check(const char *out, const char *model, eq_err *err);
/* The nearest folder above that exists must take new entries; `what` begins the message. */
eq_status eq_output_check_parent(const char *path, const char *what, eq_err *err);
/* The name that the finished folder gets: links followed, no slash at the end (eq_free it). */
char *eq_output_path(const char *out);
#endif
