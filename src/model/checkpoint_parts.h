/* The parts of eq_checkpoint_write; only the checkpoint*.c files call these. All of them write into
 * the temporary folder `dir`. */
#ifndef EQ_MODEL_CHECKPOINT_PARTS_H
#define EQ_MODEL_CHECKPOINT_PARTS_H
#include "base/hash.h"
#include "model/checkpoint.h"

/* config.json with quantization_config, quantize_config.json, and every other side file of the base
 * folder byte for byte. */
eq_status eq_checkpoint_side_files(const eq_checkpoint *c, const char *dir, eq_err *err);

/* model*.safetensors, the index of several, EQ_STATE_NAME. sums [L]: what the blocks were made of,
 * see eq_checkpoint_sum. *bytes: of the model's tensor files. */
eq_status eq_checkpoint_tensors(const eq_checkpoint *c, const char *dir, const eq_observer *obs,
                                eq_digest *sums, int64_t *bytes, eq_err *err);

/* EQ_SUMS_NAME, of all files in dir. */
eq_status eq_checkpoint_put_sums(const char *dir, eq_err *err);

/* Integers, steps, zero points and norms of a block. */
eq_status eq_checkpoint_sum(const eq_qblock *b, const eq_config *c, eq_digest *sum, eq_err *err);
#endif
