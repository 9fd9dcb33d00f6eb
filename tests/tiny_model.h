/* Small random models in Hugging Face form, made on the spot for tests of model folders. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H
#include "model/weights.h"

typedef struct {
    eq_dtype dt; /* EQ_F32 is 0 */
    uint64_t seed;
    bool only_head;        /* a tied matrix stored as lm_head.weight */
    bool both;             /* ... or under both names */
    int shards;            /* 0, 1: one file */
    const char *leave_out; /* a tensor that is not written */
    const char *bad_shape; /* a tensor with one row more */
    const char *extra;     /* a tensor that no model has, [2] */
    const char *nan;       /* a tensor whose last element is NaN */
    const char *huge;      /* a tensor whose elements are 1e38 times what they were */
    bool no_prefix;        /* names without "model." */
    bool fp8;              /* linears in fp8, with the block scales that the config says */
    bool golden;           /* the numbers of tiny_golden, as tools/make_model_goldens.py has them */
} tiny_opts;

/* Number i of a tensor in [-1, 1), by its name alone. */
float tiny_golden(const char *name, int64_t i);
/* A new temporary folder; tiny_remove deletes it. */
char *tiny_dir(void);
void tiny_remove(char *dir);
char *tiny_path(const char *dir, const char *name); /* free with eq_free */
/* These abort the test program where they cannot. */
void tiny_text(const char *dir, const char *name, const char *text);
void tiny_write(const char *dir, const char *config, const tiny_opts *o);
/* The model of a tiny_dir rounded to so many bits in groups of 32, in a new one; dir is gone. */
char *tiny_rounded(char *dir, int bits);

/* Two blocks, D 64, F 96, 4 heads over 2, V 50, of any family, with all that sets it apart. */
const char *tiny_config(const char *family, bool tied);
#endif
