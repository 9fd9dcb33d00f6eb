/* Host memory: checked products, zeroed 64-byte aligned blocks, counted, failing on request.
 * Every allocation of the library goes through here, so a test can make the nth one fail. */
#ifndef EQ_BASE_MEM_H
#define EQ_BASE_MEM_H
#include "base/err.h"

/* *out = a * b; false on overflow or negative operands. */
bool eq_mul(int64_t a, int64_t b, int64_t *out);
bool eq_add(int64_t a, int64_t b, int64_t *out);

/* Zeroed, 64-byte aligned, n * size bytes; NULL when it overflows or cannot be had. n == 0 gives a
 * valid pointer. Free with eq_free (NULL allowed). */
void *eq_calloc(int64_t n, int64_t size);
void eq_free(void *p);
/* Grows to n * size, keeps the old content, new bytes undefined. NULL: old block still valid. */
void *eq_realloc(void *p, int64_t n, int64_t size);
char *eq_strdup(const char *s);
/* eq_calloc copy of a formatted string (eq_free it). */
char *eq_sprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

eq_status eq_nomem(eq_err *err, const char *what, int64_t bytes);

/* Asks for large pages under a large block from eq_calloc that nothing was written to yet and all
 * of which will be: whoever streams through it looks up a five-hundredth of the addresses. */
void eq_mem_large(void *p, int64_t bytes);
/* Gives the system back what the heap keeps of freed blocks: many small ones leave megabytes. */
void eq_mem_give_back(void);

int64_t eq_mem_current(void);
int64_t eq_mem_peak(void); /* high-water mark of this module since the last reset */
void eq_mem_peak_reset(void);
/* Tests: the nth eq_calloc / eq_realloc from now fails (once). 0 disarms. */
void eq_mem_fail_nth(int64_t n);
#endif
