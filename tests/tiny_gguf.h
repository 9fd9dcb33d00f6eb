/* Tiny quantized models with a tokenizer, exported to GGUF and read again: what tests of both ways
 * share. Everything lies in one folder (tg_at), removed by tg_end. */
#ifndef TESTS_TINY_GGUF_H
#define TESTS_TINY_GGUF_H
#include "export/export_gguf.h"
#include "tiny_quant.h"

enum { TG_V = 300 };
#define TG_FLAGS "'single_word': false, 'lstrip': false, 'rstrip': false"

int tg_begin(void **state); /* set-up and tear-down of a group of tests */
int tg_end(void **state);
const char *tg_at(const char *name);
const char *tg_config(const char *family, bool tied, const char *more);
void tg_bytes(const char *folder, const char *step, bool use_regex, const char *model,
              const char *more);
void tg_spm(const char *folder);
const char *tg_base(const char *name, const char *text);
const char *tg_quantized(const char *from, const tiny_quant *o);
eq_status tg_export(const char *type, const char *embeddings, bool lossy, eq_export_result *res,
                    eq_err *err);
eq_gguf *tg_exported(const char *type, const char *embeddings, bool lossy, eq_export_result *res);
int64_t tg_whole(const eq_gguf *g, const char *key);
double tg_real(const eq_gguf *g, const char *key);
void tg_text_is(const eq_gguf *g, const char *key, int64_t i, const char *want);
#endif
