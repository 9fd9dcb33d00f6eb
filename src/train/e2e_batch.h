/* The windows of a batch as the model takes them: as wide as the longest of the batch, whatever
 * goes through at once, so that no bit depends on the micro-batch. Windows without `learn` are as
 * wide as they are, and all of them counts. */
#ifndef EQ_TRAIN_E2E_BATCH_H
#define EQ_TRAIN_E2E_BATCH_H
#include "data/windows.h"

typedef struct {
    int32_t *ids;   /* [most, T]: room for windows that are narrower than they are stored */
    uint8_t *learn; /* the same */
} eq_e2e_room;
eq_status eq_e2e_room_open(eq_e2e_room *r, const eq_windows *w, int64_t most, eq_err *err);
void eq_e2e_room_close(eq_e2e_room *r);

/* Tokens a window of the batch [from, from + n). */
int64_t eq_e2e_width(const eq_windows *w, int64_t from, int64_t n);
/* Targets that carry loss in windows [from, from + n). */
int64_t eq_e2e_targets(const eq_windows *w, int64_t from, int64_t n);

typedef struct {
    const int32_t *ids;   /* [B, T] */
    const uint8_t *learn; /* NULL: all */
    int64_t B, T;
} eq_e2e_micro;
/* Windows [from, from + B), T wide, good until the next call. */
eq_e2e_micro eq_e2e_take(const eq_e2e_room *r, const eq_windows *w, int64_t from, int64_t B,
                         int64_t T);
#endif
