/* The paper's number format (METHOD section 1), on scalars. Everything that quantizes, in any
 * backend, computes what these few functions say. */
#ifndef EQ_QUANT_NUMBER_H
#define EQ_QUANT_NUMBER_H
#include <math.h>
#include <stdint.h>

#define EQ_S_MIN 1e-4f
#define EQ_S_MAX 1e4f

static inline float eq_clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
static inline float eq_q_max(int bits) { return (float)((1 << bits) - 1); }
/* s' and z' of the training forward; both clamps and the rounding pass gradients straight. */
static inline float eq_s_used(float s) { return eq_clampf(s, EQ_S_MIN, EQ_S_MAX); }
static inline float eq_z_used(float z, int bits) {
    return eq_clampf(rintf(z), 0.0f, eq_q_max(bits));
}
/* t = round(w / s') + z'; w_int = clamp(t, 0, Q) (1); w_hat = (w_int - z') s' (2). A true division:
 * a product with 1/s' lands on other integers. */
static inline float eq_code(float w, float s, float z) { return rintf(w / s) + z; }

/* The min-max start of one group. */
static inline void eq_minmax_start(float lo, float hi, int bits, float *s, float *z) {
    *s = eq_s_used((hi - lo) / eq_q_max(bits));
    *z = rintf(-eq_clampf(lo / *s, -1e4f, 1e4f));
}

/* Bits per weight of an N-bit format with groups of g: N + (N + 16) / g (paper, appendix E). */
static inline double eq_bits_per_weight(int bits, int64_t g) {
    return bits + (double)(bits + 16) / (double)g;
}
#endif
