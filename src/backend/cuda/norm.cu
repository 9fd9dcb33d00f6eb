/* RMSNorm, forward and backward, a group of threads per row.
 * Invariant: rows are summed in double and the parts of dw are cut by shape alone. */
#include "backend/cuda/sums.cuh"
#include "backend/cuda/typed.cuh"

enum { SHORT_ROW = 512, DW_PARTS = 64, DW_COLUMNS = 32 };

/* A row belongs to a warp when it is short (heads), else to a block. */
static int row_threads(int64_t D) { return D <= SHORT_ROW ? EQ_WARP : EQ_THREADS; }
static int64_t row_blocks(int64_t rows, int64_t D) {
    return eq_ceil_div(rows, EQ_THREADS / row_threads(D));
}

/* The row of this thread, and its place among the row's `per` threads. */
static __device__ __forceinline__ int64_t my_row(int per) {
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / per;
}
static __device__ __forceinline__ double row_sum(double v, int per) {
    return per == EQ_WARP ? eq_lanes_sum(v, EQ_WARP) : eq_block_sum(v);
}
static __device__ __forceinline__ eq_dev at_row(eq_dev x, int64_t row, int64_t D) {
    if (x.p) x.p = static_cast<char *>(x.p) + row * D * (x.dt == EQ_F32 ? 4 : 2);
    return x;
}

static __global__ void fwd_kernel(eq_dev y, float *rstd, eq_dev x, eq_dev w, int64_t rows,
                                  int64_t D, float eps, int per) {
    int64_t row = my_row(per), at = threadIdx.x % per;
    bool mine = row < rows;
    float v[EQ_UNIT], vw[EQ_UNIT];
    double sum = 0.0;
    x = at_row(x, row, D), y = at_row(y, row, D);
    for (int64_t c = at; mine && c * EQ_UNIT < D; c += per) {
        eq_read(v, x, c, D - c * EQ_UNIT);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) sum += (double)v[k] * (double)v[k];
    }
    sum = row_sum(sum, per);
    if (!mine) return;
    float r = (float)(1.0 / sqrt(sum / (double)D + (double)eps));
    if (at == 0) rstd[row] = r;
    for (int64_t c = at; c * EQ_UNIT < D; c += per) {
        int64_t left = D - c * EQ_UNIT;
        eq_raw rx = eq_fetch(x, c, left), rw = eq_fetch(w, c, left);
        eq_unpack(v, rx, x.dt), eq_unpack(vw, rw, w.dt);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) v[k] = v[k] * r * vw[k];
        eq_write(y, c, left, v);
    }
}

/* Operands whose rows begin between two units' boundaries are read an element at a time. */
static eq_dev row_operand(eq_view v, int64_t D) {
    eq_dev d = eq_dev_of(v);
    d.wide = d.wide && D % EQ_UNIT == 0;
    return d;
}
static eq_dev row_operand(eq_mut m, int64_t D) { return row_operand(eq_ro(m), D); }

static void rmsnorm_fwd(eq_backend *be, eq_mut y, eq_mut rstd, eq_view x, eq_view w, int64_t rows,
                        int64_t D, float eps) {
    EQ_RUN(be, "rmsnorm_fwd", fwd_kernel, row_blocks(rows, D), EQ_THREADS, row_operand(y, D),
           static_cast<float *>(rstd.p), row_operand(x, D), row_operand(w, D), rows, D, eps,
           row_threads(D));
}

/* part[p, d] = sum over the p-th band of rows of dy x rstd, each window of `rows` rows in `bands`
 * of them. A block has DW_COLUMNS columns, its threads DW_COLUMNS x EQ_THREADS / DW_COLUMNS. */
static __global__ void dw_kernel(float *part, eq_dev dy, eq_dev x, const float *rstd, int64_t rows,
                                 int64_t D, int64_t band, int64_t bands) {
    enum { LINES = EQ_THREADS / DW_COLUMNS };
    __shared__ float line[LINES][DW_COLUMNS];
    int col = threadIdx.x % DW_COLUMNS, mine = threadIdx.x / DW_COLUMNS;
    int64_t d = (int64_t)blockIdx.x * DW_COLUMNS + col;
    int64_t first = blockIdx.y / bands * rows, from = first + blockIdx.y % bands * band;
    int64_t to = from + band < first + rows ? from + band : first + rows;
    float sum = 0.0f;
    for (int64_t r = from + mine; d < D && r < to; r += LINES)
        sum += eq_get(dy, r * D + d) * eq_get(x, r * D + d) * rstd[r];
    line[mine][col] = sum;
    __syncthreads();
    if (mine || d >= D) return;
    for (int i = 1; i < LINES; i++) sum += line[i][col];
    part[blockIdx.y * D + d] = sum;
}
static __global__ void dw_total_kernel(float *dw, const float *part, int64_t D, int64_t bands,
                                       int64_t windows) {
    int64_t d = eq_unit();
    if (d >= D) return;
    float total = 0.0f;
    for (int64_t w = 0; w < windows; w++, part += bands * D) {
        double sum = 0.0;
        for (int64_t p = 0; p < bands; p++) sum += (double)part[p * D + d];
        total = w ? total + (float)sum : (float)sum;
    }
    dw[d] = total;
}

/* dx = r w dy - x r^3 / D sum(dy w x), in double: the two terms nearly cancel where a row is short
 * or dy is along x. */
static __global__ void dx_kernel(eq_dev dx, eq_dev dy, eq_dev x, eq_dev w, const float *rstd,
                                 int64_t rows, int64_t D, int acc, int per) {
    int64_t row = my_row(per), at = threadIdx.x % per;
    bool mine = row < rows;
    float vd[EQ_UNIT], vx[EQ_UNIT], vw[EQ_UNIT], old[EQ_UNIT];
    double dot = 0.0;
    dx = at_row(dx, row, D), dy = at_row(dy, row, D), x = at_row(x, row, D);
    for (int64_t c = at; mine && c * EQ_UNIT < D; c += per) {
        int64_t left = D - c * EQ_UNIT;
        eq_raw rd = eq_fetch(dy, c, left), rx = eq_fetch(x, c, left), rw = eq_fetch(w, c, left);
        eq_unpack(vd, rd, dy.dt), eq_unpack(vx, rx, x.dt), eq_unpack(vw, rw, w.dt);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) dot += (double)vd[k] * (double)vw[k] * (double)vx[k];
    }
    dot = row_sum(dot, per);
    if (!mine) return;
    double r = (double)rstd[row], back = r * r * r / (double)D * dot;
    for (int64_t c = at; c * EQ_UNIT < D; c += per) {
        int64_t left = D - c * EQ_UNIT;
        eq_raw rd = eq_fetch(dy, c, left), rx = eq_fetch(x, c, left), rw = eq_fetch(w, c, left);
        if (acc) eq_read(old, dx, c, left);
        eq_unpack(vd, rd, dy.dt), eq_unpack(vx, rx, x.dt), eq_unpack(vw, rw, w.dt);
#pragma unroll
        for (int k = 0; k < EQ_UNIT; k++) {
            double g = r * (double)vw[k] * (double)vd[k] - back * (double)vx[k];
            vd[k] = (float)(acc ? (double)old[k] + g : g);
        }
        eq_write(dx, c, left, vd);
    }
}

static void weight_grad(eq_backend *be, eq_mut dw, eq_view dy, eq_view x, eq_view rstd,
                        int64_t rows, int64_t D, int64_t per) {
    int64_t band = eq_ceil_div(per, DW_PARTS), bands = eq_ceil_div(per, band);
    int64_t windows = rows / per, parts = windows * bands;
    float *part = static_cast<float *>(eq_cuda_scratch(be, parts * D * (int64_t)sizeof(float)));
    if (!part) return;
    EQ_LAUNCH(dw_kernel, dim3((unsigned)eq_ceil_div(D, DW_COLUMNS), (unsigned)parts),
              dim3(EQ_THREADS), 0, eq_cuda_of(be)->stream, part, eq_dev_of(dy), eq_dev_of(x),
              static_cast<const float *>(rstd.p), per, D, band, bands);
    eq_cuda_launched(be, "rmsnorm_bwd");
    EQ_RUN(be, "rmsnorm_bwd", dw_total_kernel, eq_ceil_div(D, EQ_THREADS), EQ_THREADS,
           static_cast<float *>(dw.p), part, D, bands, windows);
}

/* dw first: dx may lie on dy. */
static void rmsnorm_bwd(eq_backend *be, eq_mut dx, eq_mut dw, eq_view dy, eq_view x, eq_view w,
                        eq_view rstd, int64_t rows, int64_t D, int64_t per, int acc) {
    if (dw.n) weight_grad(be, dw, dy, x, rstd, rows, D, per);
    if (!dx.n) return;
    EQ_RUN(be, "rmsnorm_bwd", dx_kernel, row_blocks(rows, D), EQ_THREADS, row_operand(dx, D),
           row_operand(dy, D), row_operand(x, D), row_operand(w, D),
           static_cast<const float *>(rstd.p), rows, D, acc, row_threads(D));
}

void eq_cuda_norm(eq_ops *ops) {
    ops->rmsnorm_fwd = rmsnorm_fwd;
    ops->rmsnorm_bwd = rmsnorm_bwd;
}
