/* See cxx_guard.h. The only C++ of the library. */
#include "backend/cpu/cxx_guard.h"

int eq_cxx_guard(int (*fn)(void *ctx), void *ctx, int thrown) {
    try {
        return fn(ctx);
    } catch (...) {
        return thrown;
    }
}
