/* Memory that ends under a product: an error of the backend, whether oneDNN would throw or crash.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/cpu/cxx_guard.h"
#include "base/par.h"

/* Bytes of address space this process has. */
static rlim_t address_space(void) {
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static float a[512 * 64], b[64 * 64], y[512 * 64];

/* The stack grows now: under the limit it could not, and that is another fault. */
static int use_stack(void) {
    volatile char room[1 << 20];
    for (size_t i = 0; i < sizeof room; i += 1024) room[i] = 1;
    return room[0];
}

/* Products of ever new shapes, each a kernel that oneDNN has to make, until one is refused. */
static int child(void) {
    enum { FAILED = 3, NEVER = 4, OTHER = 5 };
    eq_backend *be;
    eq_err err = {0};
    eq_par_threads(1);
    if (eq_backend_open(&be, "cpu", NULL, &err) != EQ_OK) return OTHER;
    use_stack();
    rlim_t now = address_space();
    struct rlimit limit = {now, now};
    if (!now || setrlimit(RLIMIT_AS, &limit)) return OTHER;
    while (malloc(64 << 10)) continue; /* what the heap still holds; small pieces are left */
    for (int64_t n = 1; n <= 512; n++) {
        EQ_DO(be, matmul_nt, (eq_mut){y, n * 64, EQ_F32}, (eq_view){a, n * 64, EQ_F32},
              (eq_view){b, 64 * 64, EQ_F32}, n, 64, 64, n, 0);
        eq_status st = be->sync(be, &err);
        if (st == EQ_ENOMEM) return FAILED;
        if (st != EQ_OK) return OTHER;
    }
    return NEVER;
}

/* The first products of a process with `more` bytes to go. */
static int beginner(rlim_t more) {
    enum { WELL = 0, REFUSED = 3, OTHER = 5 };
    eq_backend *be;
    eq_err err = {0};
    eq_par_threads(1);
    if (eq_backend_open(&be, "cpu", NULL, &err) != EQ_OK) return OTHER;
    use_stack();
    rlim_t now = address_space() + more;
    struct rlimit limit = {now, now};
    if (setrlimit(RLIMIT_AS, &limit)) return OTHER;
    for (int64_t n = 8; n <= 512; n *= 8)
        EQ_DO(be, matmul_nt, (eq_mut){y, n * 64, EQ_F32}, (eq_view){a, n * 64, EQ_F32},
              (eq_view){b, 64 * 64, EQ_F32}, n, 64, 64, n, 0);
    eq_status st = be->sync(be, &err);
    return st == EQ_OK ? WELL : st == EQ_ENOMEM ? REFUSED : OTHER;
}

/* Wherever memory ends: with some of it left the first product makes its kernel and the next one
 * does not, or the kernel is made and cannot be run. */
static void test_anywhere(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("SKIP out of memory in oneDNN: a sanitizer needs its own address space\n");
    skip();
#endif
    int ends[2] = {0};
    for (rlim_t more = 0; more < 24 << 20; more += 256 << 10) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) _exit(beginner(more));
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3))
            fail_msg("%lld bytes left: status %x", (long long)more, status);
        ends[WEXITSTATUS(status) == 0]++;
    }
    assert_true(ends[0] > 0);
}

static void test_refused(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("SKIP out of memory in oneDNN: a sanitizer needs its own address space\n");
    skip();
#endif
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(child());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
}

void *_Znwm(unsigned long bytes); /* C++'s operator new */
static int takes_too_much(void *ctx) { return _Znwm(*(unsigned long *)ctx) != NULL; }

static void test_thrown(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("SKIP what C++ throws: a sanitizer's operator new does not throw\n");
    skip();
#endif
    unsigned long much = 1ul << 62;
    assert_int_equal(eq_cxx_guard(takes_too_much, &much, 7), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_anywhere),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_thrown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
