/* The parts of the GGUF importer; only import_gguf*.c call these. */
#ifndef EQ_EXPORT_IMPORT_GGUF_H
#define EQ_EXPORT_IMPORT_GGUF_H
#include "base/json.h"
#include "export/export_gguf.h"

typedef struct {
    const eq_import_opts *o;
    const eq_observer *obs;
    eq_gguf *g;
    const eq_gguf_arch *arch;
    int64_t V; /* rows of the embedding */
    eq_import_result res;
} eq_gguf_import;

/* Typed look-ups; a key that lacks, or is of another type, is an error in the need forms. */
eq_status eq_gguf_need_int(const eq_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out,
                           eq_err *err);
int64_t eq_gguf_int_or(const eq_gguf *g, const char *key, int64_t or_else);
bool eq_gguf_is(const eq_gguf *g, const char *key, const char *text);
/* {arch}.tail */
const char *eq_gguf_key_of(char out[96], const eq_gguf_import *x, const char *tail);

/* config.json as transformers has it, without quantization_config. */
eq_status eq_gguf_take_config(json_t **config, eq_gguf_import *x, eq_err *err);
/* tokenizer.json and tokenizer_config.json. */
eq_status eq_gguf_take_tokenizer(json_t **spec, json_t **config, const eq_gguf_import *x,
                                 eq_err *err);
/* model.safetensors and, where GPTQ tensors do not hold all, eqat.state; adds quantization_config.
 * cfg: of the config. */
eq_status eq_gguf_take_tensors(eq_gguf_import *x, const char *dir, const eq_config *cfg,
                               json_t *config, eq_err *err);
#endif
