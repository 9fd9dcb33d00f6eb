/* The instructions of products on tensor cores: copies to shared memory, matrix fragments, mma;
 * each beside a scalar twin for the tests' CPU that follows the layouts of the PTX manual ("Matrix
 * Fragments for mma.m16n8k16", "ldmatrix").
 *
 * Letters: lane = 4 g + c. Of a product D[16, 8] = A[16, 16] B[16, 8] a lane holds
 *   A: rows g (a0, a2) and g + 8 (a1, a3), columns 2c, 2c+1 (a0, a1) and 2c+8, 2c+9 (a2, a3)
 *   B: column g, rows 2c, 2c+1 (b0) and 2c+8, 2c+9 (b1)
 *   D: row g (d0, d1) and row g + 8 (d2, d3), columns 2c, 2c+1.
 * Of two bf16 in one word the lower half comes first.
 * Invariant: nothing outside this file and ptx.cuh depends on which of the two is compiled. */
#ifndef EQ_BACKEND_CUDA_MMA_CUH
#define EQ_BACKEND_CUDA_MMA_CUH
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

#define EQ_INLINE static __device__ __forceinline__

EQ_INLINE int eq_lane(void) { return (int)(threadIdx.x & 31u); }
/* ---- shared memory --------------------------------------------------------------------------- */

/* Address within shared memory: plain arithmetic in bytes. */
#if EQ_PTX
typedef uint32_t eq_shared;
#else
typedef uintptr_t eq_shared;
#endif
EQ_INLINE eq_shared eq_shared_of(const void *p) {
#if EQ_PTX
    return (uint32_t)__cvta_generic_to_shared(p);
#else
    return (uintptr_t)p;
#endif
}
/* Copies to shared memory that go on while the thread does: nothing has arrived before
 * eq_copy_wait<n> (all but the thread's last n committed groups) and, for other threads' copies, a
 * barrier behind it. Where !wanted zeros are written and src is not read. The twins leave NaN until
 * the wait, so that a read too early shows. */
#if !EQ_PTX
struct emu_copy {
    void *dst;
    const void *src; /* NULL: zeros */
    int bytes, group;
};
struct emu_copies {
    emu_copy copy[512];
    int n, group;
};
inline emu_copies &emu_my_copies(void) {
    static emu_copies of_thread[1024];
    return of_thread[threadIdx.x];
}
inline void emu_copy_later(eq_shared dst, const void *src, int bytes, bool wanted) {
    emu_copies &q = emu_my_copies();
    memset((void *)dst, 0xff, (size_t)bytes);
    q.copy[q.n++] = {(void *)dst, wanted ? src : NULL, bytes, q.group};
}
#endif
EQ_INLINE void eq_copy16(eq_shared dst, const void *src, bool wanted) {
#if EQ_PTX
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src),
                 "r"(wanted ? 16 : 0)
                 : "memory");
#else
    emu_copy_later(dst, src, 16, wanted);
#endif
}
EQ_INLINE void eq_copy4(eq_shared dst, const void *src, bool wanted) {
#if EQ_PTX
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src),
                 "r"(wanted ? 4 : 0)
                 : "memory");
#else
    emu_copy_later(dst, src, 4, wanted);
#endif
}
EQ_INLINE void eq_copy_commit(void) {
#if EQ_PTX
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu_my_copies().group++;
#endif
}
template <int LEFT> EQ_INLINE void eq_copy_wait(void) {
#if EQ_PTX
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    emu_copies &q = emu_my_copies();
    int kept = 0;
    for (int i = 0; i < q.n; i++) {
        const emu_copy &c = q.copy[i];
        if (c.group >= q.group - LEFT)
            q.copy[kept++] = c;
        else if (c.src)
            memcpy(c.dst, c.src, (size_t)c.bytes);
        else
            memset(c.dst, 0, (size_t)c.bytes);
    }
    q.n = kept;
#endif
}

/* ---- matrix fragments; every lane calls ------------------------------------------------------ */

#if !EQ_PTX
template <typename V> inline const void *const *emu_show(const V &mine) {
    return eq_emu_warp_show(EQ_ALL_LANES, &mine, sizeof mine, __FILE__, __LINE__);
}
template <typename V> inline const V *emu_row(const void *shown) {
    return (const V *)*(const eq_shared *)shown;
}
#endif

/* Four 8 x 8 matrices of 16-bit elements: lane l gives the address of row l % 8 (16 bytes, aligned)
 * of matrix l / 8. r[i]: of matrix i, row g, columns 2c and 2c + 1. */
EQ_INLINE void eq_ldmatrix(uint32_t r[4], eq_shared row) {
#if EQ_PTX
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
#else
    const void *const *rows = emu_show(row);
    int g = eq_lane() >> 2, c = eq_lane() & 3;
    for (int i = 0; i < 4; i++) r[i] = emu_row<uint32_t>(rows[8 * i + g])[c];
#endif
}
/* The same, each matrix transposed: r[i]: rows 2c and 2c + 1 of column g. */
EQ_INLINE void eq_ldmatrix_trans(uint32_t r[4], eq_shared row) {
#if EQ_PTX
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
#else
    const void *const *rows = emu_show(row);
    int g = eq_lane() >> 2, c = eq_lane() & 3;
    for (int i = 0; i < 4; i++)
        r[i] = (uint32_t)emu_row<uint16_t>(rows[8 * i + 2 * c])[g] |
               (uint32_t)emu_row<uint16_t>(rows[8 * i + 2 * c + 1])[g] << 16;
#endif
}
/* d += a b, bf16 with sums in fp32. */
EQ_INLINE void eq_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
#if EQ_PTX
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    struct fragment {
        uint16_t a[8], b[4];
    } mine;
    memcpy(mine.a, a, 16);
    memcpy(mine.b, &b0, 4);
    memcpy(mine.b + 2, &b1, 4);
    const void *const *of = emu_show(mine);
    int g = eq_lane() >> 2, c = eq_lane() & 3;
    for (int i = 0; i < 4; i++) {
        int lower = i >> 1, column = 2 * c + (i & 1);
        for (int k = 0; k < 16; k++) {
            int pair = k % 8 / 2, late = k / 8, odd = k & 1;
            const fragment *row = (const fragment *)of[4 * g + pair];
            const fragment *col = (const fragment *)of[4 * column + pair];
            d[i] += eq_bf16_low(row->a[2 * (lower + 2 * late) + odd]) *
                    eq_bf16_low(col->b[2 * late + odd]);
        }
    }
#endif
}
#endif
