/* The parts of config.json that have files of their own; only config*.c and rope*.c call these. */
#ifndef EQ_MODEL_CONFIG_PARSE_H
#define EQ_MODEL_CONFIG_PARSE_H
#include "base/json.h"
#include "model/config.h"

/* ---- the families: families.c ------------------------------------------------------------------
 */

typedef enum { EQ_NEVER, EQ_ALWAYS, EQ_BY_KEY } eq_has;
/* Which layers slide, where layer_types does not say: none; all, by sliding_window; from
 * max_window_layers on, by use_sliding_window; all but each window_every-th; those without rope, by
 * use_sliding_window. */
typedef enum {
    EQ_SLIDE_NEVER,
    EQ_SLIDE_ALL,
    EQ_SLIDE_BY_FLAG,
    EQ_SLIDE_PATTERN,
    EQ_SLIDE_NO_ROPE
} eq_slide;

/* A row of the table. Fields that are left out are Llama's. */
typedef struct {
    const char *name, *architecture; /* model_type, architectures[0] */
    eq_files files;
    /* the block */
    eq_norm_place norms;
    bool norm_plus_one, norm_center;
    eq_qk_norm qk_norm;
    eq_has qkv_bias, o_bias, mlp_bias; /* by bias_key, mlp_bias */
    /* keys that it spells in its own way, NULL: as Llama does */
    const char *bias_key, *act_key, *eps_key;
    bool gelu_is_tanh; /* "gelu" is an older spelling of its form with tanh */
    /* layers */
    eq_slide slide;
    int64_t window, window_every;
    bool types_decide;     /* layer_types is read, not only checked */
    bool ropes_by_type;    /* rope_parameters by layer type; rope_scaling is that of full layers */
    const char *local_key; /* theta of layers that slide, in old files */
    bool query_scaling;    /* rope_parameters says how queries grow with their position */
    bool long_alias;       /* "su" and "yarn" are longrope's older names */
    bool long_whole;       /* its longrope goes by the context it was made for, not by the text */
    /* what config.json may leave out */
    const char *act;
    int64_t NKV, HD, T_max;                   /* 0: NH, D / NH */
    int64_t original_T;                       /* 0: T_max */
    double eps, theta, theta_sliding, rotary; /* rotary: the share of a head that turns, 0: all */
    bool tied, own_bias; /* own_bias: what bias_key is where it is not written */
    /* the rest of its arithmetic, from keys of its own; NULL: none. */
    eq_status (*scales)(eq_config *c, const json_t *root, const char *where, eq_err *err);
} eq_family;

extern const eq_family eq_families[];
extern const int eq_family_count;

/* ---- keys: config_keys.c -----------------------------------------------------------------------
 */

/* What may stand behind a key of config.json. */
typedef enum {
    EQ_KEY_READ, /* the program reads it and checks it where it does */
    EQ_KEY_FREE, /* says nothing about the arithmetic of a forward pass */
    EQ_KEY_OFF,  /* null, false, zero or empty: anything else changes the arithmetic */
    EQ_KEY_ONE   /* null or 1, for the same reason */
} eq_key_rule;
typedef struct {
    const char *name;
    eq_key_rule rule;
} eq_key;

/* Every key of o must be in the table and obey its rule; null and names that begin with "_"
 * pass. */
eq_status eq_keys_check(const json_t *o, const eq_key *keys, int64_t n, const char *where,
                        eq_err *err);
/* The same of all of config.json, by the table of keys that the family's models know. */
eq_status eq_config_check_keys(const json_t *root, const eq_family *f, const char *where,
                               eq_err *err);
eq_status eq_need_positive(const json_t *o, const char *key, double missing, double *out,
                           const char *where, eq_err *err);

/* ---- parts -------------------------------------------------------------------------------------
 */

/* rope_theta, rope_scaling (to transformers 4) and rope_parameters (from 5 on) -> c->rope and its
 * kin; after the layers are known. */
eq_status eq_rope_parse(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                        eq_err *err);
/* sliding_window, layer_types and the like, no_rope_layers -> c->window, c->layer. */
eq_status eq_layers_parse(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                          eq_err *err);
/* quantization_config -> schemes, layout, fp8; all zero where there is none. Needs the shapes. */
eq_status eq_quant_parse(eq_config *c, const json_t *root, const char *where, eq_err *err);

/* ---- parts of quantization_config: config_quant*.c, config_compressed.c ------------------------
 */

/* By quant_method; q is the object, `inside` names it in messages. */
eq_status eq_awq_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                       eq_err *err);
eq_status eq_compressed_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                              eq_err *err);
eq_status eq_fp8_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                       eq_err *err);
/* "bits" and "group_size". */
eq_status eq_need_scheme(eq_scheme *s, const json_t *q, const char *where, eq_err *err);
/* A text that may only be `word`; `missing` stands for an absent one, NULL: it may lack. */
eq_status eq_need_word(const json_t *q, const char *key, const char *missing, const char *word,
                       const char *where, eq_err *err);
#endif
