/* Causal grouped-query attention. */
#include "backend/cuda/launch.cuh"

void eq_cuda_attention(eq_ops *ops) {
    ops->attn_fwd = nullptr;
    ops->attn_bwd = nullptr;
}
