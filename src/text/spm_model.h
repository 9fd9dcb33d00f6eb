/* A sentencepiece model, as its file has it. */
#ifndef EQ_TEXT_SPM_MODEL_H
#define EQ_TEXT_SPM_MODEL_H
#include "base/io.h"

typedef enum {
    EQ_SPM_NORMAL = 1,
    EQ_SPM_UNKNOWN,
    EQ_SPM_CONTROL,
    EQ_SPM_USER,
    EQ_SPM_UNUSED,
    EQ_SPM_BYTE
} eq_spm_type;

typedef struct {
    const char *s; /* n bytes of UTF-8, in the file */
    int64_t n;
    float score;
    int type; /* eq_spm_type */
} eq_spm_piece;

typedef struct {
    eq_map map;
    eq_spm_piece *piece; /* [n] */
    int64_t n;
    bool bpe; /* else Unigram */
    bool byte_fallback, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    int64_t unk_id;
    const char *unk, *charsmap; /* in the file; charsmap NULL: none */
    int64_t unk_n, charsmap_n;
} eq_spm;

/* m is zeroed. */
eq_status eq_spm_open(eq_spm *m, const char *path, eq_err *err);
void eq_spm_close(eq_spm *m);
#endif
