/* fp16 by hand (portable and exact); the rest is table look-up and loops. */
#include "base/num.h"

#include <assert.h>
#include <math.h>

static const struct { const char *name; int64_t size; } types[EQ_DTYPES] = {
    [EQ_F32] = {"F32", 4}, [EQ_BF16] = {"BF16", 2}, [EQ_F16] = {"F16", 2}, [EQ_U8] = {"U8", 1},
    [EQ_I32] = {"I32", 4}, [EQ_U32] = {"U32", 4},   [EQ_I64] = {"I64", 8}, [EQ_F64] = {"F64", 8},
};

int64_t eq_dtype_size(eq_dtype t) { return types[t].size; }
const char *eq_dtype_name(eq_dtype t) { return types[t].name; }

float eq_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    if (e == 31) return eq_bits_f32(sign | 0x7f800000u | m << 13);
    if (e) return eq_bits_f32(sign | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f;
    return sign ? -f : f;
}

uint16_t eq_f32_to_f16(float f) {
    uint32_t u = eq_f32_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to inf */
    if (a < 0x38800000u) { /* subnormal or zero: the sum with 2^-1 rounds at the right bit */
        float r = eq_bits_f32(a) + 0.5f;
        return (uint16_t)(sign | (eq_f32_bits(r) - 0x3f000000u));
    }
    uint32_t r = a + 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((r - 0x38000000u) >> 13));
}

float eq_load(const void *p, eq_dtype t, int64_t i) {
    switch (t) {
    case EQ_F32: return ((const float *)p)[i];
    case EQ_BF16: return eq_bf16_to_f32(((const uint16_t *)p)[i]);
    case EQ_F16: return eq_f16_to_f32(((const uint16_t *)p)[i]);
    case EQ_F64: return (float)((const double *)p)[i];
    default: assert(!"eq_load: not a float type"); return NAN;
    }
}

void eq_store(void *p, eq_dtype t, int64_t i, float v) {
    switch (t) {
    case EQ_F32: ((float *)p)[i] = v; break;
    case EQ_BF16: ((uint16_t *)p)[i] = eq_f32_to_bf16(v); break;
    case EQ_F16: ((uint16_t *)p)[i] = eq_f32_to_f16(v); break;
    case EQ_F64: ((double *)p)[i] = v; break;
    default: assert(!"eq_store: not a float type");
    }
}

void eq_convert(void *dst, eq_dtype dt, const void *src, eq_dtype st, int64_t n) {
    if (dt == st) {
        memcpy(dst, src, (size_t)(n * eq_dtype_size(dt)));
    } else if (dt == EQ_F32 && st == EQ_BF16) {
        for (int64_t i = 0; i < n; i++) ((float *)dst)[i] = eq_bf16_to_f32(((const uint16_t *)src)[i]);
    } else if (dt == EQ_BF16 && st == EQ_F32) {
        for (int64_t i = 0; i < n; i++) ((uint16_t *)dst)[i] = eq_f32_to_bf16(((const float *)src)[i]);
    } else {
        for (int64_t i = 0; i < n; i++) eq_store(dst, dt, i, eq_load(src, st, i));
    }
}
