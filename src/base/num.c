/* Arrays of number types: table look-up and loops. */
#include "base/num.h"

#include <assert.h>
#include <math.h>

static const struct {
    const char *name;
    int64_t size;
} types[EQ_DTYPES] = {
    [EQ_F32] = {"F32", 4}, [EQ_BF16] = {"BF16", 2}, [EQ_F16] = {"F16", 2},
    [EQ_U8] = {"U8", 1},   [EQ_I32] = {"I32", 4},   [EQ_U32] = {"U32", 4},
    [EQ_I64] = {"I64", 8}, [EQ_F64] = {"F64", 8},   [EQ_F8] = {"F8_E4M3", 1},
};

int64_t eq_dtype_size(eq_dtype t) { return types[t].size; }
const char *eq_dtype_name(eq_dtype t) { return types[t].name; }

float eq_f8_to_f32(uint8_t b) {
    int e = b >> 3 & 15, f = b & 7;
    if ((b & 0x7f) == 0x7f) return NAN;
    float v = e ? ldexpf((float)(8 + f), e - 10) : ldexpf((float)f, -9);
    return b & 0x80 ? -v : v;
}

float eq_load(const void *p, eq_dtype t, int64_t i) {
    switch (t) {
    case EQ_F32:
        return ((const float *)p)[i];
    case EQ_BF16:
        return eq_bf16_to_f32(((const uint16_t *)p)[i]);
    case EQ_F16:
        return eq_f16_to_f32(((const uint16_t *)p)[i]);
    case EQ_F8:
        return eq_f8_to_f32(((const uint8_t *)p)[i]);
    case EQ_F64:
        return (float)((const double *)p)[i];
    default:
        assert(!"eq_load: not a float type");
        return NAN;
    }
}

void eq_store(void *p, eq_dtype t, int64_t i, float v) {
    switch (t) {
    case EQ_F32:
        ((float *)p)[i] = v;
        break;
    case EQ_BF16:
        ((uint16_t *)p)[i] = eq_f32_to_bf16(v);
        break;
    case EQ_F16:
        ((uint16_t *)p)[i] = eq_f32_to_f16(v);
        break;
    case EQ_F64:
        ((double *)p)[i] = v;
        break;
    default:
        assert(!"eq_store: not a float type");
    }
}

#define EQ_LOOP(to, from, f) \
    for (int64_t i = 0; i < n; i++) ((to *)dst)[i] = f(((const from *)src)[i])

void eq_convert(void *dst, eq_dtype dt, const void *src, eq_dtype st, int64_t n) {
    if (dt == st)
        memcpy(dst, src, (size_t)(n * eq_dtype_size(dt)));
    else if (dt == EQ_F32 && st == EQ_BF16)
        EQ_LOOP(float, uint16_t, eq_bf16_to_f32);
    else if (dt == EQ_BF16 && st == EQ_F32)
        EQ_LOOP(uint16_t, float, eq_f32_to_bf16);
    else if (dt == EQ_F32 && st == EQ_F16)
        EQ_LOOP(float, uint16_t, eq_f16_to_f32);
    else if (dt == EQ_F16 && st == EQ_F32)
        EQ_LOOP(uint16_t, float, eq_f32_to_f16);
    else
        for (int64_t i = 0; i < n; i++) eq_store(dst, dt, i, eq_load(src, st, i));
}
