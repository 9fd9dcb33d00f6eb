/* The rows. Shapes are chosen for edges: one row, one column, sizes that no vector width divides,
 * one token, windows of one and beyond T, whole-row groups, every head size of the known models.
 * Invariant: what d[] means is said in op_calls.c, above the function of the operation. */
#include "op_cases.h"

#define C(op, in, out, flavour, opt, ...) \
    {EQ_OP_##op, EQ_##in, EQ_##out, EQ_##flavour, opt, false, {__VA_ARGS__}},
#define BENCH(op, in, out, opt, ...) BENCH_OF(op, in, out, PLAIN, opt, __VA_ARGS__)
#define BENCH_OF(op, in, out, flavour, opt, ...) \
    {EQ_OP_##op, EQ_##in, EQ_##out, EQ_##flavour, opt, true, {__VA_ARGS__}},
/* both types in all four combinations; the same type twice; an F32 operand and either result */
#define ALL(op, flavour, opt, ...) \
    SAME(op, flavour, opt, __VA_ARGS__) \
    C(op, F32, BF16, flavour, opt, __VA_ARGS__) C(op, BF16, F32, flavour, opt, __VA_ARGS__)
#define SAME(op, flavour, opt, ...) \
    C(op, F32, F32, flavour, opt, __VA_ARGS__) C(op, BF16, BF16, flavour, opt, __VA_ARGS__)
#define TO_ANY(op, flavour, opt, ...) \
    C(op, F32, F32, flavour, opt, __VA_ARGS__) C(op, F32, BF16, flavour, opt, __VA_ARGS__)
#define BOTH16(op, flavour, ...) C(op, BF16, BF16, flavour, 0, __VA_ARGS__)
#define F32(op, flavour, opt, ...) C(op, F32, F32, flavour, opt, __VA_ARGS__)

#define PRODUCT_CASES(op) \
    ALL(op, PLAIN, 0, 1, 1, 1) \
    ALL(op, PLAIN, 0, 3, 5, 7) \
    ALL(op, PLAIN, 0, 1, 64, 32) \
    ALL(op, PLAIN, 0, 48, 64, 128) \
    ALL(op, PLAIN, 0, 259, 33, 65) \
    C(op, BF16, F32, PLAIN, 0, 33, 300, 270) \
    C(op, F32, F32, PLAIN, EQ_OPT_ACC, 17, 31, 64) \
    C(op, BF16, F32, PLAIN, EQ_OPT_ACC, 300, 16, 31) \
    C(op, BF16, F32, PLAIN, EQ_OPT_ACC, 1, 1, 3) \
    ALL(op, LARGE, 0, 16, 20, 40)

/* several windows of rows, M = windows * T; and of K for matmul_tn */
#define WINDOW_CASES(op) \
    ALL(op, PLAIN, 0, 15, 7, 9, 0, 5) \
    ALL(op, PLAIN, 0, 192, 70, 64, 0, 3) \
    C(op, F32, F32, PLAIN, EQ_OPT_ACC, 66, 40, 33, 0, 2) \
    C(op, BF16, F32, PLAIN, EQ_OPT_ACC, 34, 16, 31, 0, 17)

#define ATTENTION_CASES(op) \
    SAME(op, PLAIN, 0, 1, 1, 1, 1, 16, 0)  /* one token */ \
    SAME(op, PLAIN, 0, 2, 5, 4, 2, 16, 0)  /* two query heads a key head */ \
    SAME(op, PLAIN, 0, 1, 33, 4, 1, 64, 0) /* one key head for all */ \
    SAME(op, PLAIN, 0, 1, 70, 3, 3, 80, 0) \
    SAME(op, PLAIN, 0, 1, 130, 2, 1, 128, 0) \
    SAME(op, PLAIN, 0, 1, 40, 2, 2, 8, 0) \
    SAME(op, PLAIN, 0, 2, 19, 2, 1, 96, 0) \
    SAME(op, PLAIN, 0, 1, 9, 1, 1, 256, 0) \
    SAME(op, PLAIN, 0, 1, 270, 2, 1, 16, 0) \
    SAME(op, PLAIN, 0, 1, 50, 2, 2, 16, 7)   /* windows: within T, */ \
    SAME(op, PLAIN, 0, 2, 11, 2, 1, 64, 1)   /* only itself, */ \
    SAME(op, PLAIN, 0, 1, 20, 2, 1, 64, 20)  /* all of T, */ \
    SAME(op, PLAIN, 0, 1, 20, 2, 1, 64, 100) /* beyond T, */ \
    SAME(op, PLAIN, 0, 1, 200, 1, 1, 32, 70) /* across blocks of keys */ \
    SAME(op, LARGE, 0, 1, 37, 2, 1, 64, 0)   /* one-hot softmax */ \
    SAME(op, CONSTANT, 0, 1, 24, 2, 2, 64, 0) \
    BOTH16(op, PLAIN, 1, 300, 2, 1, 64, 0) /* several tiles of a GPU's kernels, */ \
    BOTH16(op, PLAIN, 1, 200, 4, 2, 80, 0) \
    BOTH16(op, PLAIN, 2, 140, 2, 1, 96, 0) \
    BOTH16(op, PLAIN, 1, 261, 2, 2, 128, 0) \
    BOTH16(op, PLAIN, 1, 150, 1, 1, 256, 0) \
    BOTH16(op, LARGE, 1, 150, 1, 1, 128, 0) \
    BOTH16(op, PLAIN, 1, 300, 1, 1, 64, 70) /* windows that begin within one */ \
    BOTH16(op, PLAIN, 1, 170, 1, 1, 80, 129) \
    BOTH16(op, PLAIN, 1, 200, 2, 1, 128, 33) \
    BOTH16(op, PLAIN, 1, 140, 1, 1, 256, 100) \
    SAME(op, PLAIN, EQ_OPT_CAP, 2, 19, 4, 2, 16, 0) /* capped scores */ \
    SAME(op, PLAIN, EQ_OPT_CAP, 1, 50, 2, 1, 24, 7) \
    SAME(op, LARGE, EQ_OPT_CAP, 1, 37, 2, 1, 64, 0) \
    C(op, BF16, BF16, PLAIN, EQ_OPT_CAP, 1, 140, 2, 1, 64, 0) \
    C(op, BF16, BF16, PLAIN, EQ_OPT_CAP, 1, 100, 1, 1, 128, 33) \
    C(op, BF16, BF16, PLAIN, EQ_OPT_CAP, 1, 100, 2, 1, 256, 0)

/* Keys before the queries: one query as in generation, a few, more than a block; places that are no
 * multiple of a tile; windows that begin before and behind the queries' own keys. */
#define PAST_CASES(op) \
    SAME(op, PLAIN, 0, 1, 1, 4, 2, 16, 0, 7) \
    SAME(op, PLAIN, 0, 1, 1, 6, 2, 64, 0, 300) \
    SAME(op, PLAIN, 0, 1, 3, 2, 1, 80, 0, 130) \
    SAME(op, PLAIN, 0, 1, 1, 2, 2, 64, 5, 200) \
    SAME(op, PLAIN, 0, 1, 8, 2, 1, 128, 140, 150) \
    SAME(op, LARGE, 0, 1, 2, 2, 1, 64, 0, 129) \
    SAME(op, PLAIN, 0, 1, 9, 3, 1, 16, 0, 1) \
    SAME(op, PLAIN, 0, 1, 20, 4, 2, 64, 0, 333) \
    SAME(op, PLAIN, 0, 1, 70, 2, 1, 32, 40, 45) \
    SAME(op, PLAIN, 0, 1, 17, 2, 2, 8, 30, 11) \
    SAME(op, PLAIN, EQ_OPT_CAP, 1, 1, 4, 2, 16, 0, 150) \
    BOTH16(op, PLAIN, 1, 150, 2, 1, 64, 0, 37) \
    BOTH16(op, PLAIN, 1, 40, 2, 1, 128, 0, 95) \
    BOTH16(op, PLAIN, 1, 33, 1, 1, 96, 50, 161) \
    BOTH16(op, LARGE, 1, 66, 1, 1, 64, 0, 63) \
    BOTH16(op, PLAIN, 1, 1, 8, 1, 64, 0, \
           190)                              /* one query, its keys in parts of a GPU's blocks: */ \
    BOTH16(op, PLAIN, 1, 1, 2, 2, 128, 0, 1) /* none of its own, */ \
    BOTH16(op, PLAIN, 1, 1, 2, 2, 80, 0, 63) \
    BOTH16(op, PLAIN, 1, 1, 3, 1, 96, 70, 333)  /* behind a window, */ \
    BOTH16(op, PLAIN, 1, 1, 18, 1, 128, 0, 257) /* more heads than a block takes */ \
    BOTH16(op, PLAIN, 1, 1, 2, 1, 256, 100, 129) \
    BOTH16(op, LARGE, 1, 1, 4, 1, 128, 0, 700)

/* O, I, G, bits, then nothing and the grid where it is not free; X(macro-able prefix) */
/* clang-format off */
#define QUANT_CASES(X) \
    X(PLAIN, 1, 32, 32, 2) X(PLAIN, 3, 64, 64, 3) X(PLAIN, 5, 256, 128, 4) \
    X(PLAIN, 7, 128, 32, 8) X(PLAIN, 4, 192, 192, 2) X(PLAIN, 9, 96, 96, 3) \
    X(PLAIN, 2, 160, 160, 4) X(PLAIN, 16, 512, 256, 2) X(PLAIN, 33, 320, 64, 2) \
    X(PLAIN, 130, 64, 32, 4) X(PLAIN, 3, 1376, 1376, 3) X(CONSTANT, 5, 64, 32, 2) \
    X(CONSTANT, 3, 192, 64, 3) X(CONSTANT, 2, 256, 128, 4) X(TIES, 6, 128, 64, 2) \
    X(TIES, 5, 128, 32, 3) X(TIES, 4, 256, 128, 4) X(CLIPPED, 8, 128, 32, 2) \
    X(CLIPPED, 5, 192, 64, 3) X(CLIPPED, 6, 256, 64, 4) X(LARGE, 4, 128, 64, 2) \
    X(LARGE, 4, 128, 32, 4) X(TINY, 4, 128, 64, 3) \
    X(PLAIN, 7, 172, 172, 2) X(CLIPPED, 5, 172, 172, 3) X(SMALL, 3, 90, 45, 4) /* no whole words */ \
    X(SMALL, 7, 192, 64, 2) X(SMALL, 5, 96, 32, 3) X(SMALL, 3, 1376, 1376, 4) X(SMALL, 6, 128, 64, 8)
/* clang-format on */

/* Where the grid decides: start, forward, backward, packing. */
/* clang-format off */
#define GRID_CASES(X) \
    X(PLAIN, 5, 128, 64, 2, 0, 1) X(PLAIN, 4, 192, 96, 3, 0, 1) X(PLAIN, 3, 256, 128, 4, 0, 1) \
    X(CONSTANT, 6, 64, 32, 2, 0, 1) X(TIES, 4, 128, 32, 3, 0, 1) X(CLIPPED, 6, 128, 64, 4, 0, 1) \
    X(LARGE, 4, 128, 32, 2, 0, 1) X(SMALL, 5, 96, 32, 3, 0, 1) X(TINY, 4, 128, 64, 2, 0, 1)
/* clang-format on */

/* Of those the grids of K types, whose groups share something in 256 weights. */
/* clang-format off */
#define K_CASES(X) \
    X(PLAIN, 5, 512, 64, 2, 0, 2) X(PLAIN, 3, 256, 32, 4, 0, 3) X(PLAIN, 2, 768, 256, 2, 0, 2) \
    X(PLAIN, 67, 256, 128, 4, 0, 3) X(CONSTANT, 6, 256, 64, 2, 0, 2) X(TIES, 4, 256, 32, 2, 0, 2) \
    X(CLIPPED, 6, 512, 64, 4, 0, 3) X(CLIPPED, 5, 256, 32, 2, 0, 2) X(LARGE, 4, 256, 64, 2, 0, 2) \
    X(SMALL, 5, 512, 32, 4, 0, 3) X(SMALL, 9, 512, 64, 2, 0, 2) X(TINY, 4, 256, 64, 4, 0, 3)
/* clang-format on */

#define Q_INIT(f, ...) F32(fq_init, f, 0, __VA_ARGS__)
#define Q_FWD(f, ...) TO_ANY(fq_fwd, f, 0, __VA_ARGS__)
#define Q_BWD(f, ...) F32(fq_bwd, f, 0, __VA_ARGS__) F32(fq_bwd, f, EQ_OPT_INPLACE, __VA_ARGS__)
#define Q_STEP(f, ...) TO_ANY(fq_step, f, 0, __VA_ARGS__)
#define Q_PACK(f, ...) F32(fq_pack, f, 0, __VA_ARGS__)
#define Q_CLIP(f, ...) F32(fq_clip, f, 0, __VA_ARGS__) F32(fq_clip_bwd, f, 0, __VA_ARGS__)
#define Q_OFFSET(f, ...) F32(fq_offset, f, 0, __VA_ARGS__) F32(fq_offset_bwd, f, 0, __VA_ARGS__)
#define Q_STEPS(f, ...) \
    F32(fq_steps, f, 0, __VA_ARGS__) \
    F32(fq_steps, f, EQ_OPT_INPLACE, __VA_ARGS__) F32(fq_steps, f, EQ_OPT_NO_SECOND, __VA_ARGS__)
#define Q_SHRINK(f, ...) F32(fq_shrink, f, 0, __VA_ARGS__)
#define Q_DEQ(f, ...) TO_ANY(dequant, f, 0, __VA_ARGS__)
#define Q_DEQ_BWD(f, ...) \
    C(dequant_bwd, F32, F32, f, 0, __VA_ARGS__) C(dequant_bwd, BF16, F32, f, 0, __VA_ARGS__)

#define Q_PREPARE(f, ...) F32(prepare_q, f, 0, __VA_ARGS__)
/* O, I, G, bits, rows: whole tiles of rows, parts of one, both; several rows of x and those left
 * over */
#define MATVEC_CASES(opt) \
    ALL(matvec_q, PLAIN, opt, 1, 32, 32, 8, 1) \
    ALL(matvec_q, PLAIN, opt, 17, 256, 64, 2, 1) \
    ALL(matvec_q, PLAIN, opt, 33, 320, 64, 2, 2) \
    SAME(matvec_q, PLAIN, opt, 16, 1536, 32, 2, 3) \
    SAME(matvec_q, PLAIN, opt, 5, 1024, 1024, 2, 8) \
    SAME(matvec_q, PLAIN, opt, 9, 128, 128, 3, 1) \
    ALL(matvec_q, PLAIN, opt, 20, 640, 64, 3, 2) \
    SAME(matvec_q, PLAIN, opt, 16, 1024, 32, 3, 5) \
    ALL(matvec_q, PLAIN, opt, 35, 384, 128, 4, 1) \
    SAME(matvec_q, PLAIN, opt, 16, 96, 32, 4, 8) \
    SAME(matvec_q, PLAIN, opt, 3, 192, 96, 4, 2) \
    SAME(matvec_q, PLAIN, opt, 6, 160, 160, 3, 9) \
    SAME(matvec_q, PLAIN, opt, 7, 172, 172, 3, 2) \
    SAME(matvec_q, PLAIN, opt, 2, 24576, 64, 2, 1) \
    SAME(matvec_q, PLAIN, opt, 32, 160, 160, 8, 7) \
    SAME(matvec_q, PLAIN, opt, 64, 64, 32, 4, 70) \
    SAME(matvec_q, PLAIN, opt, 37, 192, 64, 3, 66) \
    SAME(matvec_q, LARGE, opt, 16, 512, 64, 2, 4) \
    SAME(matvec_q, TINY, opt, 8, 256, 64, 4, 1) \
    SAME(matvec_q, CONSTANT, opt, 18, 128, 32, 4, 2)

enum {
    ACC = EQ_OPT_ACC,
    IN = EQ_OPT_INPLACE,
    NO1 = EQ_OPT_NO_FIRST,
    NO2 = EQ_OPT_NO_SECOND,
    NO3 = EQ_OPT_NO_THIRD,
    BACK = EQ_OPT_BACK,
    DECAY = EQ_OPT_DECAY,
    ACT8 = EQ_OPT_ACT8,
    CAP = EQ_OPT_CAP
};

const eq_op_case eq_op_cases[] = {
    /* clang-format off */
    TO_ANY(fill, PLAIN, 0, 1) TO_ANY(fill, PLAIN, 0, 1000) TO_ANY(fill, PLAIN, 0, 70001)
    BENCH(fill, F32, F32, 0, 1 << 23)

    ALL(cast, PLAIN, 0, 1) ALL(cast, PLAIN, 0, 1003) ALL(cast, PLAIN, 0, 70001)
    ALL(cast, SPECIAL, 0, 333) ALL(cast, TINY, 0, 100) ALL(cast, LARGE, 0, 100)
    C(cast, F16, F32, PLAIN, 0, 1003) C(cast, F16, BF16, PLAIN, 0, 77)
    C(cast, F16, F32, SPECIAL, 0, 333) C(cast, F16, BF16, SPECIAL, 0, 333)
    BENCH(cast, F32, BF16, 0, 1 << 23) BENCH(cast, BF16, F32, 0, 1 << 23)

    ALL(add, PLAIN, 0, 1) ALL(add, PLAIN, 0, 1003) ALL(add, PLAIN, IN, 1003)
    ALL(add, TINY, 0, 70001) ALL(add, LARGE, IN, 50)
    BENCH(add, F32, F32, 0, 1 << 23)

    ALL(bias_add, PLAIN, 0, 1, 1) ALL(bias_add, PLAIN, 0, 5, 77) ALL(bias_add, PLAIN, 0, 1, 128)
    ALL(bias_add, LARGE, 0, 130, 65)
    BENCH(bias_add, F32, BF16, 0, 2048, 4096)

    SAME(gather, PLAIN, 0, 1, 1, 1) SAME(gather, PLAIN, 0, 7, 5, 3) SAME(gather, SPECIAL, 0, 40, 64, 9)
    SAME(gather, PLAIN, 0, 300, 33, 500) SAME(gather, PLAIN, 0, 5000, 6, 70)
    SAME(put_rows, PLAIN, 0, 1, 1) SAME(put_rows, PLAIN, 0, 1, 64, 0, 0, 0, 0, 9) SAME(put_rows, SPECIAL, 0, 5, 33, 0, 0, 0, 0, 2)
    SAME(put_rows, PLAIN, 0, 300, 24, 0, 0, 0, 0, 70) BENCH(put_rows, BF16, BF16, 0, 8192, 1024, 0, 0, 0, 0, 64)
    BENCH(gather, BF16, BF16, 0, 8192, 1024, 2048)
    ALL(affine, PLAIN, 0, 1) ALL(affine, PLAIN, 0, 1003) SAME(affine, PLAIN, IN, 70001) ALL(affine, TINY, 0, 99)
    BENCH(affine, F32, BF16, 0, 1 << 23)
    ALL(softcap, PLAIN, 0, 1) ALL(softcap, PLAIN, 0, 1003) SAME(softcap, LARGE, IN, 70001) ALL(softcap, TINY, 0, 99)
    BENCH(softcap, F32, F32, 0, 1 << 23)
    ALL(center, PLAIN, 0, 1, 2) ALL(center, PLAIN, 0, 5, 77) ALL(center, PLAIN, 0, 3, 2050) SAME(center, PLAIN, IN, 130, 64)
    ALL(center, LARGE, 0, 40, 96)
    BENCH(center, F32, F32, 0, 2048, 4096)

    PRODUCT_CASES(matmul_nt) PRODUCT_CASES(matmul_nn) PRODUCT_CASES(matmul_tn)
    WINDOW_CASES(matmul_nt) WINDOW_CASES(matmul_nn)
    C(matmul_tn, F32, F32, PLAIN, 0, 33, 70, 129, 5) C(matmul_tn, BF16, F32, PLAIN, 0, 33, 70, 129, 31)
    C(matmul_tn, BF16, F32, PLAIN, ACC, 130, 65, 77, 600) C(matmul_tn, BF16, BF16, PLAIN, 0, 1, 9, 300, 8)
    C(matmul_tn, F32, F32, PLAIN, 0, 33, 70, 129, 5, 3) C(matmul_tn, BF16, F32, PLAIN, 0, 70, 33, 128, 31, 2)
    F32(matmul_nt, PLAIN, 0, 1030, 523, 3) F32(matmul_nn, PLAIN, 0, 1030, 523, 3) F32(matmul_nt, PLAIN, 0, 17, 5, 512)
    F32(matmul_tn, PLAIN, 0, 4101, 3, 512) C(matmul_tn, BF16, F32, PLAIN, ACC, 8200, 2, 5, 3) F32(matmul_tn, PLAIN, 0, 2050, 600, 3)
    C(matmul_tn, BF16, F32, PLAIN, ACC, 130, 65, 1400, 600, 2) C(matmul_tn, F32, F32, PLAIN, ACC, 17, 9, 85, 0, 17)
    BENCH(matmul_nt, BF16, BF16, 0, 2048, 4096, 4096) BENCH(matmul_nt, BF16, BF16, 0, 2048, 11008, 4096)
    BENCH(matmul_nt, F32, F32, 0, 2048, 4096, 4096)
    BENCH(matmul_nn, BF16, BF16, 0, 2048, 4096, 4096) BENCH(matmul_nn, BF16, BF16, 0, 2048, 4096, 11008)
    BENCH(matmul_tn, BF16, F32, 0, 4096, 4096, 2048) BENCH(matmul_tn, BF16, F32, 0, 1840, 4096, 2048, 9168)

    ALL(rmsnorm_fwd, PLAIN, 0, 1, 1) ALL(rmsnorm_fwd, PLAIN, 0, 5, 7) ALL(rmsnorm_fwd, PLAIN, 0, 1, 64)
    ALL(rmsnorm_fwd, PLAIN, 0, 300, 16) ALL(rmsnorm_fwd, PLAIN, 0, 3, 1037)
    ALL(rmsnorm_fwd, LARGE, 0, 4, 96) ALL(rmsnorm_fwd, TINY, 0, 4, 96) ALL(rmsnorm_fwd, CONSTANT, 0, 6, 64)
    BENCH(rmsnorm_fwd, F32, BF16, 0, 2048, 4096)

    ALL(rmsnorm_bwd, PLAIN, 0, 1, 1) ALL(rmsnorm_bwd, PLAIN, 0, 5, 7) ALL(rmsnorm_bwd, PLAIN, IN, 1, 64)
    ALL(rmsnorm_bwd, PLAIN, IN, 300, 16) ALL(rmsnorm_bwd, PLAIN, ACC, 3, 1037)
    ALL(rmsnorm_bwd, PLAIN, NO1, 70, 96) ALL(rmsnorm_bwd, PLAIN, NO2, 70, 96)
    ALL(rmsnorm_bwd, PLAIN, ACC | NO2, 9, 33) ALL(rmsnorm_bwd, LARGE, 0, 4, 96)
    ALL(rmsnorm_bwd, PLAIN, 0, 300, 33, 3) ALL(rmsnorm_bwd, PLAIN, ACC, 34, 600, 17) ALL(rmsnorm_bwd, PLAIN, NO1, 160, 16, 2)
    ALL(rmsnorm_bwd, TINY, IN, 4, 96) ALL(rmsnorm_bwd, CONSTANT, ACC, 6, 64)
    BENCH(rmsnorm_bwd, F32, F32, ACC, 2048, 4096)

    SAME(rope, PLAIN, 0, 1, 1, 1, 1, 2) SAME(rope, PLAIN, 0, 2, 5, 3, 1, 16) SAME(rope, PLAIN, BACK, 1, 33, 4, 1, 64)
    SAME(rope, PLAIN, BACK, 3, 7, 2, 1, 80) SAME(rope, LARGE, 0, 1, 20, 2, 1, 128) SAME(rope, PLAIN, 0, 2, 9, 1, 1, 22)
    SAME(rope, PLAIN, 0, 2, 5, 3, 1, 16, 4) SAME(rope, PLAIN, BACK, 1, 33, 2, 1, 80, 20) SAME(rope, PLAIN, 0, 1, 9, 2, 1, 128, 96)
    SAME(rope, PLAIN, 0, 1, 5, 3, 1, 16, 4, 11) SAME(rope, PLAIN, 0, 1, 1, 2, 1, 64, 0, 300)
    BENCH(rope, BF16, BF16, 0, 1, 2048, 32, 1, 128)

    ATTENTION_CASES(attn_fwd) PAST_CASES(attn_fwd) ATTENTION_CASES(attn_bwd)
    BENCH(attn_fwd, BF16, BF16, 0, 1, 2048, 32, 32, 128) BENCH(attn_bwd, BF16, BF16, 0, 1, 2048, 32, 32, 128)
    BENCH(attn_fwd, BF16, BF16, 0, 1, 1, 32, 32, 128, 0, 2047) BENCH(attn_fwd, F32, F32, 0, 1, 512, 16, 4, 64) BENCH(attn_bwd, F32, F32, 0, 1, 512, 16, 4, 64)

    ALL(glu_fwd, PLAIN, 0, 1003, 0, 1) ALL(glu_fwd, LARGE, 0, 999, 0, 1) ALL(glu_bwd, PLAIN, 0, 1003, 0, 1)
    ALL(glu_bwd, LARGE, 0, 999, 0, 1) SAME(glu_bwd, PLAIN, IN, 1003, 1, 1) ALL(glu_bwd, TINY, 0, 99, 0, 1)
    ALL(glu_fwd, PLAIN, 0, 1) ALL(glu_fwd, PLAIN, 0, 1003) ALL(glu_fwd, LARGE, 0, 70001) ALL(glu_fwd, TINY, 0, 99)
    BENCH(glu_fwd, BF16, BF16, 0, 2048 * 11008)
    ALL(glu_bwd, PLAIN, 0, 1) ALL(glu_bwd, PLAIN, 0, 1003) ALL(glu_bwd, LARGE, 0, 999) ALL(glu_bwd, TINY, 0, 99)
    SAME(glu_bwd, PLAIN, IN, 1003, 0) SAME(glu_bwd, PLAIN, IN, 70001, 1)
    BENCH(glu_bwd, BF16, BF16, IN, 2048 * 11008)

    ALL(mse, PLAIN, 0, 1) ALL(mse, PLAIN, 0, 1003) ALL(mse, PLAIN, NO1, 100003) ALL(mse, LARGE, 0, 77)
    ALL(mse, PLAIN, 0, 3003, 3) ALL(mse, PLAIN, NO1, 100000, 2)
    BENCH(mse, BF16, F32, 0, 2048 * 4096)

    TO_ANY(cross_entropy, PLAIN, 0, 1, 2) TO_ANY(cross_entropy, PLAIN, 0, 7, 1003) TO_ANY(cross_entropy, LARGE, 0, 5, 999)
    TO_ANY(cross_entropy, CONSTANT, 0, 4, 130) F32(cross_entropy, PLAIN, IN, 9, 32001) F32(cross_entropy, PLAIN, NO1, 65, 100)
    TO_ANY(cross_entropy, PLAIN, 0, 7, 1003, 9) F32(cross_entropy, PLAIN, IN, 9, 32001, 7) TO_ANY(cross_entropy, LARGE, 0, 5, 999, 400)
    BENCH(cross_entropy, F32, BF16, 0, 128, 128256)

    TO_ANY(divergence, PLAIN, 0, 1, 2) TO_ANY(divergence, PLAIN, 0, 7, 1003) TO_ANY(divergence, LARGE, 0, 5, 999)
    TO_ANY(divergence, CONSTANT, 0, 4, 130) F32(divergence, PLAIN, IN, 9, 32001) F32(divergence, PLAIN, NO1, 65, 100)
    TO_ANY(divergence, PLAIN, 0, 7, 1003, 9) F32(divergence, PLAIN, IN, 9, 32001, 7)
    BENCH(divergence, F32, BF16, 0, 128, 128256)

    QUANT_CASES(Q_INIT) GRID_CASES(Q_INIT) K_CASES(Q_INIT) BENCH(fq_init, F32, F32, 0, 4096, 4096, 64, 2)
    QUANT_CASES(Q_FWD) GRID_CASES(Q_FWD) K_CASES(Q_FWD) BENCH(fq_fwd, F32, BF16, 0, 4096, 4096, 64, 2)
    QUANT_CASES(Q_BWD) GRID_CASES(Q_BWD) K_CASES(Q_BWD) BENCH(fq_bwd, F32, F32, IN, 4096, 4096, 64, 2)
    F32(fq_bwd, CLIPPED, NO1, 6, 128, 64, 2) F32(fq_bwd, CLIPPED, NO2, 6, 128, 64, 3) F32(fq_bwd, CLIPPED, NO3, 6, 128, 64, 4)
    F32(fq_bwd, CLIPPED, NO2 | NO3, 6, 128, 64, 2) F32(fq_bwd, PLAIN, NO1 | NO3, 6, 128, 64, 2)
    QUANT_CASES(Q_STEP) GRID_CASES(Q_STEP) BENCH(fq_step, F32, BF16, 0, 4096, 4096, 64, 2)
    F32(fq_step, CLIPPED, NO1, 6, 128, 64, 2) F32(fq_step, CLIPPED, NO2, 6, 128, 64, 3) F32(fq_step, CLIPPED, NO3, 6, 128, 64, 4)
    F32(fq_step, CLIPPED, NO2 | NO3, 6, 128, 64, 2) F32(fq_step, PLAIN, NO1 | NO3, 6, 128, 64, 2)
    QUANT_CASES(Q_PACK) GRID_CASES(Q_PACK) K_CASES(Q_PACK) BENCH(fq_pack, F32, F32, 0, 4096, 4096, 64, 2) BENCH(fq_pack, F32, F32, 0, 4096, 4096, 128, 3)
    QUANT_CASES(Q_CLIP) GRID_CASES(Q_CLIP) BENCH(fq_clip, F32, F32, 0, 4096, 4096, 64, 2) BENCH(fq_clip_bwd, F32, F32, 0, 4096, 4096, 64, 2)
    QUANT_CASES(Q_OFFSET) F32(fq_offset_bwd, CLIPPED, IN, 6, 128, 64, 2) F32(fq_offset_bwd, PLAIN, IN | NO2, 33, 320, 64, 2)
    BENCH(fq_offset, F32, F32, 0, 4096, 4096, 64, 2) BENCH(fq_offset_bwd, F32, F32, IN, 4096, 4096, 64, 2)
    K_CASES(Q_STEPS) BENCH(fq_steps, F32, F32, 0, 4096, 4096, 64, 2, 0, 2) BENCH(fq_steps, F32, F32, 0, 4096, 4096, 64, 4, 0, 3)
    QUANT_CASES(Q_SHRINK) GRID_CASES(Q_SHRINK) K_CASES(Q_SHRINK) BENCH(fq_shrink, F32, F32, 0, 4096, 4096, 64, 2)
    QUANT_CASES(Q_DEQ) BENCH(dequant, F32, BF16, 0, 4096, 4096, 64, 2) BENCH(dequant, F32, BF16, 0, 4096, 4096, 128, 3)
    BENCH(dequant, F32, BF16, 0, 4096, 4096, 128, 4)
    QUANT_CASES(Q_PREPARE) BENCH(prepare_q, F32, F32, 0, 4096, 4096, 64, 2)
    MATVEC_CASES(0) MATVEC_CASES(ACT8)
    C(matvec_q, F32, F32, PLAIN, ACC, 33, 320, 64, 2, 5) C(matvec_q, BF16, F32, PLAIN, ACC | ACT8, 48, 320, 64, 4, 6)
    C(matvec_q, BF16, F32, PLAIN, ACC, 40, 128, 64, 2, 90) C(matvec_q, BF16, F32, PLAIN, ACC, 9, 128, 128, 3, 1) C(matvec_q, F32, F32, PLAIN, ACC | ACT8, 9, 128, 128, 8, 1)
    BENCH(matvec_q, BF16, BF16, 0, 4096, 4096, 64, 2, 1) BENCH(matvec_q, BF16, BF16, ACT8, 4096, 4096, 64, 2, 1)
    BENCH(matvec_q, BF16, BF16, ACT8, 4096, 4096, 128, 3, 1) BENCH(matvec_q, BF16, BF16, ACT8, 4096, 4096, 128, 4, 1)
    BENCH(matvec_q, BF16, BF16, 0, 4096, 4096, 128, 4, 8) BENCH(matvec_q, BF16, BF16, ACT8, 4096, 4096, 128, 4, 512)
    QUANT_CASES(Q_DEQ_BWD) BENCH(dequant_bwd, F32, F32, NO2, 4096, 4096, 64, 2)
    F32(dequant_bwd, PLAIN, NO1, 6, 128, 64, 2) F32(dequant_bwd, PLAIN, NO2, 6, 128, 64, 3)

    F32(adamw, PLAIN, 0, 1) F32(adamw, PLAIN, DECAY, 1003) F32(adamw, PLAIN, 0, 70001) F32(adamw, LARGE, DECAY, 99)
    F32(adamw, TINY, 0, 99) F32(adamw, CONSTANT, 0, 300) F32(adamw, DECAYED, 0, 1003)
    BENCH(adamw, F32, F32, 0, 4096 * 4096) BENCH_OF(adamw, F32, F32, DECAYED, 0, 4096 * 4096)

    SAME(sumsq, PLAIN, 0, 1) SAME(sumsq, PLAIN, 0, 1003) SAME(sumsq, PLAIN, 0, 200003) SAME(sumsq, LARGE, 0, 333)
    BENCH(sumsq, F32, F32, 0, 1 << 23)
    SAME(sum, PLAIN, 0, 1) SAME(sum, PLAIN, 0, 1003) SAME(sum, PLAIN, 0, 200003) SAME(sum, LARGE, 0, 333)
    BENCH(sum, F32, F32, 0, 1 << 23)
    /* clang-format on */
};
const int eq_op_case_count = sizeof eq_op_cases / sizeof *eq_op_cases;
