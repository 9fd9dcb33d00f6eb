/* The AVX-512 kernels of packed products for a CPU without AVX-512. */
#include "isa_emu/avx512_words.h"
#define eq_lowbit_avx512vnni emu_lowbit_avx512vnni
#include "backend/cpu/lowbit_avx512vnni.c"
