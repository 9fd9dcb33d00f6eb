/* The parts of the GGUF exporter; only export_gguf*.c call these. */
#ifndef EQ_EXPORT_GGUF_H
#define EQ_EXPORT_GGUF_H
#include "export/export_blocks.h"
#include "format/gguf.h"

/* Names of a block's tensors behind "blk.0.", without ".weight". */
extern const char *const eq_gguf_norms[EQ_NORM_COUNT], *const eq_gguf_linears[EQ_LINS];

/* How a family is called there, whether rows of q and k are permuted, and whether its tensors are
 * joined as in the family's own files. */
typedef struct {
    const char *family, *arch;
    bool permuted, joined;
} eq_gguf_arch;
/* NULL: not one that is written. */
const eq_gguf_arch *eq_gguf_arch_of(const eq_config *c);

const eq_gguf_arch *eq_gguf_arch_named(const char *arch); /* the first of that name */

/* Refuses by name what the format's model of this family does not compute. */
eq_status eq_gguf_check_model(const eq_export_job *x, eq_err *err);
/* general.* and {arch}.* */
void eq_gguf_put_model(eq_ggw *w, const eq_export_job *x, int file_type);
/* Llama 3's rope: the numbers that frequencies are divided by, [HD / 2]. */
bool eq_gguf_rope_factors(float *out, const eq_config *c);
/* Does a tensor of the file begin with this linear, and which: the linear's rows, or those of all
 * that are joined (eq_export_join_free). */
bool eq_gguf_leads(const eq_config *c, const eq_gguf_arch *a, eq_lin l);
const char *eq_gguf_linear_name(const eq_gguf_arch *a, eq_lin l);
eq_status eq_gguf_linear(eq_qlinear *t, const eq_qblock *b, const eq_config *c,
                         const eq_gguf_arch *a, eq_lin l, eq_err *err);

/* A pattern of words that llama.cpp has under a name: row i, false: there are no more. split: NULL
 * GPT-2's own, "digits", or the regex. */
bool eq_gguf_words(int i, const char **name, const char **split, bool *ignore_merges);

/* tokenizer.*: of the model's folder. Refuses by name what llama.cpp would tokenize otherwise. */
eq_status eq_gguf_put_tokenizer(eq_ggw *w, const eq_export_job *x, eq_err *err);

/* Of each linear [L][EQ_LINS], by o->type or the smallest that is exact. */
eq_status eq_gguf_choose(eq_ggml *types, eq_export_job *x, eq_err *err);

/* Refuses the first linear whose scheme allows numbers that no type holds. */
eq_status eq_gguf_choose_ahead(const eq_export_job *x, eq_err *err);

/* Row r of a file's matrix is row eq_gguf_source_row of the model's. */
int64_t eq_gguf_source_row(const eq_config *c, const eq_gguf_arch *a, eq_lin l, int64_t r);
int64_t eq_gguf_file_row(const eq_config *c, const eq_gguf_arch *a, eq_lin l, int64_t o);
#endif
