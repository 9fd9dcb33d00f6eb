/* How quantized linears lie in files: a row for each layout says which tensors there are, of which
 * type and shape, and how codes and zero points are unpacked. Checks, reading and names follow from
 * it. */
#ifndef EQ_MODEL_LAYOUTS_H
#define EQ_MODEL_LAYOUTS_H
#include "model/weights.h"

typedef enum {
    EQ_KIND_FLOAT,
    EQ_KIND_I32,
    EQ_KIND_F32,
    EQ_KIND_F8,
    EQ_KIND_U32,
    EQ_KIND_U8,
    EQ_KIND_I64
} eq_kind;

/* A tensor of a linear of O outputs and I inputs in NG groups. */
typedef struct {
    const char *name; /* behind the linear's */
    size_t slot;      /* its place in eq_block_tensors, an array over linears */
    eq_kind kind;
    int64_t rows, cols; /* rows < 0: one dimension */
} eq_layout_part;
enum { EQ_LAYOUT_PARTS = 4 };

typedef struct {
    const char *name; /* as quantization_config has it */
    /* NULL, or why no file of this layout holds the shape. */
    const char *(*refuses)(int64_t O, int64_t I, int64_t G, int bits);
    int (*parts)(eq_layout_part *p, int64_t O, int64_t I, int64_t NG, int bits); /* how many */
    /* codes -> rows of quant/pack.h; zeros (NULL where the layout has none) -> z [O, NG] */
    void (*rows)(uint32_t *rows, const eq_tensor *codes, int64_t O, int64_t I, int bits);
    void (*zeros)(uint8_t *z, const eq_tensor *zeros, int64_t O, int64_t NG, int bits);
    int plus;    /* what stored zero points lack */
    bool turned; /* steps are [NG, O], else [O, NG] */
} eq_layout_spec;

const eq_layout_spec *eq_layout_of(eq_layout l);
#endif
