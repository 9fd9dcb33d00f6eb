/* See emu_faulty.cc. */
#ifndef EQ_TESTS_EMU_FAULTY_H
#define EQ_TESTS_EMU_FAULTY_H
#include "cuda_runtime.h"

typedef enum {
    EMU_LEFT_EARLY,
    EMU_OTHER_BARRIER,
    EMU_HALF_A_WARP,
    EMU_OUTSIDE_LANE,
    EMU_RACE,
    EMU_LEFTOVER,
    EMU_RIGHT
} emu_faulty;

#ifdef __cplusplus
extern "C" {
#endif
void emu_faulty_run(emu_faulty what, int *y, cudaStream_t s);
cudaError_t emu_too_much(int *y, cudaStream_t s);
#ifdef __cplusplus
}
#endif
#endif
