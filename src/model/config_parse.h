/* The parts of config.json that have files of their own; only config.c calls these. */
#ifndef EQ_MODEL_CONFIG_PARSE_H
#define EQ_MODEL_CONFIG_PARSE_H
#include "base/json.h"
#include "model/config.h"

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
/* rope_theta, rope_scaling (to transformers 4) and rope_parameters (from 5 on) -> c->rope. */
eq_status eq_rope_parse(eq_config *c, const json_t *root, const char *where, eq_err *err);
/* quantization_config -> bits, G, gptq_v1; all zero where there is none. */
eq_status eq_gptq_parse(eq_config *c, const json_t *root, const char *where, eq_err *err);
#endif
