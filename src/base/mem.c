/* Counted host memory. A 64-byte head in front of every block holds its size. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HEAD = 64, LARGE_PAGE = 2 << 20, LARGE = 32 << 20 };

static _Atomic int64_t current, peak, fail_nth;

bool eq_mul(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}
bool eq_add(int64_t a, int64_t b, int64_t *out) {
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

static void count(int64_t delta) {
    int64_t now = atomic_fetch_add(&current, delta) + delta, old = atomic_load(&peak);
    while (now > old && !atomic_compare_exchange_weak(&peak, &old, now)) {
    }
}

static bool must_fail(void) {
    return atomic_load(&fail_nth) > 0 && atomic_fetch_sub(&fail_nth, 1) == 1;
}

void *eq_calloc(int64_t n, int64_t size) {
    int64_t bytes, total;
    if (must_fail() || !eq_mul(n, size, &bytes) || !eq_add(bytes, 2 * HEAD, &total)) return NULL;
    total = total / HEAD * HEAD;
    /* Large blocks come zeroed from the system: calloc knows, memset would touch every page. */
    char *raw = calloc(1, (size_t)total + HEAD);
    if (!raw) return NULL;
    char *p = raw + HEAD - ((uintptr_t)raw & (HEAD - 1));
    if ((size_t)(p - raw) < 2 * sizeof(void *)) p += HEAD;
    ((void **)p)[-1] = raw;
    ((int64_t *)p)[-2] = bytes;
    count(bytes);
    return p;
}

void eq_free(void *p) {
    if (!p) return;
    count(-((int64_t *)p)[-2]);
    free(((void **)p)[-1]);
}

void eq_text_free(char *text) { eq_free(text); }

void *eq_realloc(void *p, int64_t n, int64_t size) {
    void *q = eq_calloc(n, size);
    if (!q) return NULL;
    if (p) {
        int64_t old = ((int64_t *)p)[-2], new_ = n * size;
        memcpy(q, p, (size_t)(old < new_ ? old : new_));
        eq_free(p);
    }
    return q;
}

char *eq_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = eq_calloc((int64_t)n, 1);
    if (p) memcpy(p, s, n);
    return p;
}

char *eq_sprintf(const char *fmt, ...) {
    va_list ap, aq;
    va_start(ap, fmt);
    va_copy(aq, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : eq_calloc(n + 1, 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, aq);
    va_end(aq);
    return p;
}

eq_status eq_nomem(eq_err *err, const char *what, int64_t bytes) {
    return eq_fail(err, EQ_ENOMEM, "out of memory: %s needs %.1f MiB more", what,
                   (double)bytes / (1 << 20));
}

void eq_mem_large(void *p, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t from = ((uintptr_t)p + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    uintptr_t to = ((uintptr_t)p + (uintptr_t)bytes) / LARGE_PAGE * LARGE_PAGE;
    if (bytes < LARGE) return;
    madvise((void *)from, to - from, MADV_HUGEPAGE); /* where there are none it is as it was */
#endif
}

void eq_mem_give_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

int64_t eq_mem_current(void) { return atomic_load(&current); }
int64_t eq_mem_peak(void) { return atomic_load(&peak); }
void eq_mem_peak_reset(void) { atomic_store(&peak, atomic_load(&current)); }
void eq_mem_fail_nth(int64_t n) { atomic_store(&fail_nth, n); }
