/* Reference: rotary position embedding in Hugging Face's pairing, element i with i + R/2 of the
 * R first of a head (GGUF's llama files pair neighbours; there the rows of q and k are permuted
 * instead).
 * Invariant: sign -1 is the transpose of sign +1, which is both the inverse and the derivative. */
#include "backend/hostmem.h"
#include "backend/ref/ref.h"

static void rope(eq_backend *be, eq_mut x, eq_view cos, eq_view sin, eq_view at_, int64_t B,
                 int64_t T, int64_t NH, int64_t HD, int64_t R, int sign) {
    (void)be;
    const int64_t half = R / 2, first = eq_host_at(at_);
    for (int64_t row = 0; row < B * T; row++)
        for (int64_t h = 0; h < NH; h++)
            for (int64_t i = 0; i < half; i++) {
                int64_t lo = (row * NH + h) * HD + i, hi = lo + half,
                        at = (first + row % T) * half + i;
                double a = eq_get(eq_ro(x), lo), b = eq_get(eq_ro(x), hi);
                double c = eq_get(cos, at), s = sign * eq_get(sin, at);
                eq_put(x, lo, a * c - b * s);
                eq_put(x, hi, b * c + a * s);
            }
}

void eq_ref_rope(eq_ops *ops) { ops->rope = rope; }
