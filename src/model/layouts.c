/* See layouts.h (FORMATS, "GPTQ" and "AWQ, compressed-tensors"). */
#include "model/layouts.h"

#include <stddef.h>
#include <string.h>

#include "quant/pack.h"

#define SLOT(field) offsetof(eq_block_tensors, field)

/* ---- GPTQ ------------------------------------------------------------------------------------ */

static int gptq_parts(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits) {
    p[0] = (eq_layout_part){"qweight", SLOT(qweight), EQ_KIND_I32, I * bits / 32, O};
    p[1] = (eq_layout_part){"qzeros", SLOT(qzeros), EQ_KIND_I32, NG, O * bits / 32};
    p[2] = (eq_layout_part){"scales", SLOT(scales), EQ_KIND_FLOAT, NG, O};
    p[3] = (eq_layout_part){"g_idx", SLOT(g_idx), EQ_KIND_I32, -1, I};
    return 4;
}

static void gptq_rows(uint32_t *rows, const eq_tensor *codes, int64_t O, int64_t I, int bits) {
    eq_rows_from_gptq(rows, codes->data, O, I, bits);
}
static void gptq_zeros(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    eq_zeros_from_gptq(z, zeros->data, O, NG, bits);
}
static void gptq_zeros_words(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    eq_zeros_from_gptq(z, zeros->data, O, NG, bits);
    eq_zeros_plus_one(z, O, NG, bits);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static const char *rows_refuses(int64_t O, int64_t I, int64_t G, int bits) {
    (void)O;
    if (!eq_bits_known(bits)) return "expected 2, 3, 4 or 8 bits";
    return G <= 0 || I % G ? "the group size does not divide the inputs" : NULL;
}

static int rows_parts(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits) {
    p[0] = (eq_layout_part){"qweight", SLOT(qweight), EQ_KIND_U32, O, eq_pack_words(I, bits)};
    p[1] = (eq_layout_part){"qzeros", SLOT(qzeros), EQ_KIND_U8, O, NG};
    p[2] = (eq_layout_part){"scales", SLOT(scales), EQ_KIND_FLOAT, O, NG};
    return 3;
}

static void rows_rows(uint32_t *rows, const eq_tensor *codes, int64_t O, int64_t I, int bits) {
    (void)O, (void)I, (void)bits;
    memcpy(rows, codes->data, (size_t)codes->bytes);
}
static void rows_zeros(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    (void)O, (void)NG, (void)bits;
    memcpy(z, zeros->data, (size_t)zeros->bytes);
}

/* ---- AWQ ------------------------------------------------------------------------------------- */

static const char *awq_refuses(int64_t O, int64_t I, int64_t G, int bits) {
    if (bits != 4) return "AWQ holds 4 bits";
    if (O % 8) return "the outputs are not a multiple of 8";
    return rows_refuses(O, I, G, bits);
}

static int awq_parts(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits) {
    (void)bits;
    p[0] = (eq_layout_part){"qweight", SLOT(qweight), EQ_KIND_I32, I, O / 8};
    p[1] = (eq_layout_part){"qzeros", SLOT(qzeros), EQ_KIND_I32, NG, O / 8};
    p[2] = (eq_layout_part){"scales", SLOT(scales), EQ_KIND_FLOAT, NG, O};
    return 3;
}

static void awq_rows(uint32_t *rows, const eq_tensor *codes, int64_t O, int64_t I, int bits) {
    (void)bits;
    eq_rows_from_awq(rows, codes->data, O, I);
}
static void awq_zeros(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    (void)bits;
    eq_zeros_from_awq(z, zeros->data, O, NG);
}

/* ---- compressed-tensors ---------------------------------------------------------------------- */

static int ct_parts(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits) {
    p[0] = (eq_layout_part){"weight_packed", SLOT(qweight), EQ_KIND_I32, O, eq_pack_words(I, bits)};
    p[1] = (eq_layout_part){"weight_scale", SLOT(scales), EQ_KIND_FLOAT, O, NG};
    p[2] = (eq_layout_part){"weight_shape", SLOT(shape), EQ_KIND_I64, -1, 2};
    return 3;
}
static int ct_asym_parts(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits) {
    int n = ct_parts(p, O, I, NG, bits);
    p[n] = (eq_layout_part){"weight_zero_point", SLOT(qzeros), EQ_KIND_I32,
                            O / 32 * bits + (O % 32 * bits + 31) / 32, NG};
    return n + 1;
}

/* Codes are signed and stored with an offset of 2^(bits - 1), which is then the zero point. */
static void ct_zeros(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    (void)zeros;
    memset(z, 1 << (bits - 1), (size_t)(O * NG));
}
static void ct_asym_zeros(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits) {
    eq_zeros_from_streams(z, zeros->data, O, NG, bits);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const eq_layout_spec layouts[] = {
    [EQ_LAYOUT_GPTQ_V2] = {"gptq_v2", eq_gptq_refuses, gptq_parts, gptq_rows, gptq_zeros, 0, true},
    [EQ_LAYOUT_GPTQ_V1] = {"gptq", eq_gptq_refuses, gptq_parts, gptq_rows, gptq_zeros, 1, true},
    [EQ_LAYOUT_GPTQ_V1_WORDS] = {"gptq", eq_gptq_refuses, gptq_parts, gptq_rows, gptq_zeros_words,
                                 0, true},
    [EQ_LAYOUT_ROWS] = {"eqat", rows_refuses, rows_parts, rows_rows, rows_zeros, 0, false},
    [EQ_LAYOUT_AWQ] = {"awq", awq_refuses, awq_parts, awq_rows, awq_zeros, 0, true},
    [EQ_LAYOUT_CT_SYM] = {"compressed-tensors", rows_refuses, ct_parts, rows_rows, ct_zeros, 0,
                          false},
    [EQ_LAYOUT_CT_ASYM] = {"compressed-tensors", rows_refuses, ct_asym_parts, rows_rows,
                           ct_asym_zeros, 0, false},
};
_Static_assert(sizeof layouts / sizeof *layouts == EQ_LAYOUTS, "a row for each");

const eq_layout_spec *eq_layout_of(eq_layout l) { return &layouts[l]; }
