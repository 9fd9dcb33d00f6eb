/* Instruction set detection. The compiler's runtime asks cpuid and, for the wide registers, XCR0:
 * a kernel that does not save zmm state must not see AVX-512 code.
 * Invariant: a level is reported only with every feature its files are compiled with. */
#include "backend/cpu/detect.h"

#include <cpuid.h>
#include <string.h>

static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* Leaf 7, subleaf 1; the registers are those of AVX2, which `highest` has asked for. */
bool eq_cpu_has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
bool eq_cpu_has_avx512vnni(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni");
}

static eq_cpu_level highest(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
        return EQ_CPU_SSE2;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? EQ_CPU_AVX512 : EQ_CPU_AVX2;
}

eq_status eq_cpu_detect(eq_cpu_level *level, const char *mask, eq_err *err) {
    static const char *const names[] = {"sse2", "avx2", "avx512"};
    *level = highest();
    if (!mask) return EQ_OK;
    for (int i = EQ_CPU_SSE2; i <= EQ_CPU_AVX512; i++) {
        if (strcmp(mask, names[i]) != 0) continue;
        if ((eq_cpu_level)i < *level) *level = (eq_cpu_level)i;
        return EQ_OK;
    }
    return eq_fail(err, EQ_EINPUT, "cpu mask \"%s\": expected sse2, avx2 or avx512", mask);
}
