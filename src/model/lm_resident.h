/* A model that generates: the weights of all blocks stay in the backend, those of a quantized model
 * packed as prepare_q lays them out, full-precision ones in the compute type; and with them the
 * keys and values of one sequence. Where the backend's hints have 8-bit activations (and the
 * compute type is bf16) packed linears meet those, and the head of their model is rounded to
 * 8 bits as runtimes hold it; in fp32 nothing is rounded. Used by lm.c alone. */
#ifndef EQ_MODEL_LM_RESIDENT_H
#define EQ_MODEL_LM_RESIDENT_H
#include "model/lm.h"

void eq_resident_bind(eq_lm *lm, eq_arena *a);
/* Uploads everything, a block at a time. */
eq_status eq_resident_fill(eq_lm *lm, eq_err *err);
/* lm->w and lm->acts become those of block i at its place in the sequence. */
void eq_resident_enter(eq_lm *lm, int64_t i);
/* From the embeddings in x[0] through all blocks; one token at a time where the backend has them as
 * one graph. */
eq_status eq_resident_forward(eq_lm *lm, eq_err *err);
void eq_resident_close(eq_lm *lm);
#endif
