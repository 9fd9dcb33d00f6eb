/* A wall between this program and the C++ inside oneDNN, whose C functions let std::bad_alloc out:
 * no C code could catch it and the program would abort. */
#ifndef EQ_CPU_CXX_GUARD_H
#define EQ_CPU_CXX_GUARD_H
#ifdef __cplusplus
extern "C" {
#endif
/* What fn(ctx) returns, or `thrown` when anything was thrown inside. */
int eq_cxx_guard(int (*fn)(void *ctx), void *ctx, int thrown);
#ifdef __cplusplus
}
#endif
#endif
