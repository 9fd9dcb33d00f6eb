/* The vocabulary of a model: strings to ids and back. */
#ifndef EQ_TEXT_VOCAB_H
#define EQ_TEXT_VOCAB_H
#include <jansson.h>

#include "base/err.h"

typedef struct {
    int64_t n;      /* entries */
    char *bytes;    /* all strings, end to end */
    int64_t *off;   /* [n + 1] */
    int32_t *id;    /* [n] */
    int32_t *by_id; /* [n] entries in order of their ids */
    struct eq_vocab_slot *slots;
    uint64_t mask;
} eq_vocab;

/* {"token": id, ...}; v is zeroed. Two tokens with one id are an error. */
eq_status eq_vocab_load(eq_vocab *v, const json_t *object, const char *where, eq_err *err);
/* [["token", score], ...]: ids count from 0; of equal tokens the last one is found. */
eq_status eq_vocab_load_list(eq_vocab *v, const json_t *list, const char *where, eq_err *err);
void eq_vocab_free(eq_vocab *v);

int32_t eq_vocab_id(const eq_vocab *v, const char *s, int64_t n);     /* -1: absent */
int32_t eq_vocab_char(const eq_vocab *v, uint32_t cp);                /* of a one-character token */
const char *eq_vocab_text(const eq_vocab *v, int32_t id, int64_t *n); /* NULL: absent */
int64_t eq_vocab_end(const eq_vocab *v);                              /* largest id + 1 */
#endif
