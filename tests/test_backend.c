/* Registry, arena, host memory and the three wrappers. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/wrap.h"
#include "base/mem.h"
#include "base/par.h"

enum { N = 3000 };

static eq_backend *open_or_fail(const char *spec) {
    eq_backend *be;
    eq_err err = {0};
    if (eq_backend_open(&be, spec, NULL, &err) != EQ_OK) fail_msg("%s: %s", spec, err.msg);
    return be;
}
static void refused(const char *spec, const char *mask, const char *message) {
    eq_backend *be;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    assert_int_equal(eq_backend_open(&be, spec, mask, &err), EQ_EINPUT);
    assert_string_equal(err.msg, message);
    assert_int_equal(eq_mem_current(), before);
}

static char said[256];
static void on_note(void *ctx, const char *line) {
    (void)ctx;
    snprintf(said, sizeof said, "%s", line);
}

static void test_registry(void **state) {
    (void)state;
    static const char *const known[] = {"cpu", "ref", "trace:cpu", "fenced:finite:trace:ref"};
    for (int i = 0; i < 4; i++) {
        eq_backend *be = open_or_fail(known[i]);
        assert_string_equal(be->name, known[i]);
        assert_non_null(be->kernels);
        be->close(be);
    }
    refused("gpu", NULL,
            "backend \"gpu\": expected auto, cpu, cuda or ref, with trace:, finite: or fenced: in "
            "front");
    refused("trace:", NULL,
            "backend \"trace:\": expected auto, cpu, cuda or ref, with trace:, finite: or fenced: "
            "in front");
    refused("finite:gpu", NULL,
            "backend \"finite:gpu\": expected auto, cpu, cuda or ref, with trace:, finite: or "
            "fenced: in front");
    refused(
        "cuda", NULL,
        "backend cuda: expected libeqat-cuda.so beside the program, in ../lib/eqat or where the "
        "loader looks (make cuda builds it): libeqat-cuda.so: cannot open shared object file: "
        "No such file or directory");
    /* This test has no library beside it. */
    const eq_observer obs = {.note = on_note};
    eq_compute_opts o = {.backend = "trace:auto"};
    eq_err err = {0};
    eq_backend *be;
    assert_int_equal(eq_backend_open_for(&be, &o, &obs, &err), EQ_OK);
    assert_string_equal(be->name, "trace:cpu");
    assert_non_null(strstr(said, "backend trace:auto: trace:cpu ("));
    be->close(be);
    o.device_memory = 1 << 20;
    assert_int_equal(eq_backend_open_for(&be, &o, &obs, &err), EQ_EINPUT);
    assert_string_equal(err.msg,
                        "device memory: expected a backend that is a device, found trace:cpu");
    refused("fenced:cpu", "avx9", "cpu mask \"avx9\": expected sse2, avx2 or avx512");
}

/* Every allocation on the way fails once: an error, nothing left, nothing crashed. */
static void test_no_memory(void **state) {
    (void)state;
    for (int64_t nth = 1;; nth++) {
        eq_backend *be = NULL;
        eq_err err = {0};
        int64_t before = eq_mem_current();
        eq_mem_fail_nth(nth);
        eq_status st = eq_backend_open(&be, "trace:finite:fenced:cpu", NULL, &err);
        eq_mem_fail_nth(0);
        if (st == EQ_OK) {
            assert_true(nth > 8);
            be->close(be);
            return;
        }
        assert_int_equal(st, EQ_ENOMEM);
        assert_true(strlen(err.msg) > 0);
        assert_int_equal(eq_mem_current(), before);
    }
}

static void bind_two(eq_arena *a, eq_mut *x, eq_mut *y) {
    *x = eq_take(a, EQ_F32, N);
    *y = eq_take(a, EQ_BF16, N);
}

static void test_arena(void **state) {
    (void)state;
    eq_backend *be = open_or_fail("ref");
    eq_arena a = {0};
    eq_mut x, y;
    bind_two(&a, &x, &y);
    assert_null(x.p);
    assert_int_equal(a.used, (4 * N + 63) / 64 * 64 + (2 * N + 63) / 64 * 64);
    assert_int_equal(eq_arena_alloc(&a, be, "test", NULL), EQ_OK);
    int64_t size = a.size;
    bind_two(&a, &x, &y);
    assert_int_equal(a.used, size);
    assert_int_equal((uintptr_t)x.p % 64, 0);
    assert_int_equal((uintptr_t)y.p % 64, 0);
    assert_ptr_equal(y.p, (char *)x.p + (4 * N + 63) / 64 * 64);
    assert_int_equal(be->bytes, size);
    eq_view part = eq_view_at(eq_ro(eq_mut_at(y, 10, 20)), 5, 3);
    assert_ptr_equal(part.p, (const char *)y.p + 30);
    assert_int_equal(part.n, 3);
    eq_arena_free(&a);
    assert_int_equal(be->bytes, 0);
    assert_int_equal(be->peak, size);

    eq_err err = {0};
    eq_take(&a, EQ_F32, INT64_MAX / 2); /* 2^64 bytes and more stay an error, not a small number */
    eq_take(&a, EQ_F32, 100);
    assert_int_equal(eq_arena_alloc(&a, be, "a huge model", &err), EQ_ENOMEM);
    assert_string_equal(err.msg, "a huge model: size beyond 2^63 bytes");
    eq_arena_free(&a);
    be->close(be);
}

static eq_mut dev(eq_backend *be, eq_dtype dt, int64_t n) {
    eq_mut m = {be->alloc(be, n * eq_dtype_size(dt)), n, dt};
    assert_non_null(m.p);
    return m;
}

/* Upload and download convert, on every wrapper. */
static void test_copies(void **state) {
    (void)state;
    enum { MANY = 200001 }; /* more than one thread's piece */
    static const char *const specs[] = {"ref", "cpu", "trace:fenced:cpu"};
    for (int s = 0; s < 3; s++) {
        eq_backend *be = open_or_fail(specs[s]);
        double *host = eq_calloc(MANY, 8);
        eq_mut x = dev(be, EQ_BF16, MANY);
        for (int i = 0; i < MANY; i++) host[i] = i % 256;
        be->upload(be, x, host, EQ_F64);
        for (int i = 0; i < MANY; i++) host[i] = -1.0;
        be->download(be, host, EQ_F64, eq_ro(x));
        for (int i = 0; i < MANY; i++) assert_true(host[i] == i % 256);
        assert_int_equal(be->bytes, 2 * MANY);
        be->free_(be, x.p);
        be->free_(be, NULL);
        assert_int_equal(be->bytes, 0);
        assert_int_equal(be->peak, 2 * MANY);
        eq_free(host);
        be->close(be);
    }
}

static void test_trace(void **state) {
    (void)state;
    eq_backend *be = open_or_fail("finite:trace:ref");
    eq_mut x = dev(be, EQ_F32, N);
    for (int i = 0; i < 3; i++) EQ_DO(be, fill, x, 1.0f);
    EQ_DO(be, add, x, eq_ro(x), eq_ro(x));
    char *text = eq_backend_trace(be);
    assert_non_null(text);
    assert_non_null(strstr(text, "fill                   3 "));
    assert_non_null(strstr(text, "add                    1 "));
    assert_non_null(strstr(text, " 9000\n"));
    assert_null(strstr(text, "rope"));
    eq_free(text);
    be->free_(be, x.p);
    be->close(be);
    be = open_or_fail("finite:ref");
    assert_null(eq_backend_trace(be));
    be->close(be);
}

static void test_finite(void **state) {
    (void)state;
    eq_backend *be = open_or_fail("finite:cpu");
    eq_mut x = dev(be, EQ_F32, N), y = dev(be, EQ_BF16, N), total = dev(be, EQ_F64, 1);
    eq_err err = {0};
    float inf = INFINITY, nan = NAN;
    double zero = 0.0;
    EQ_DO(be, fill, x, 1.0f);
    be->upload(be, total, &zero, EQ_F64);
    EQ_DO(be, sumsq, total, eq_ro(x));
    assert_int_equal(be->sync(be, &err), EQ_OK);

    be->upload(be, eq_mut_at(x, 2999, 1), &inf, EQ_F32);
    EQ_DO(be, add, y, eq_ro(x), eq_ro(x));
    EQ_DO(be, cast, y, eq_ro(x)); /* the first one counts */
    assert_int_equal(be->sync(be, &err), EQ_EDEVICE);
    assert_string_equal(err.msg, "operation add: y[2999] of 3000 (BF16) is not finite");
    assert_int_equal(be->sync(be, &err), EQ_OK); /* told once */

    err = (eq_err){0};
    be->upload(be, eq_mut_at(x, 0, 1), &nan, EQ_F32);
    EQ_DO(be, sumsq, total, eq_ro(x));
    assert_int_equal(be->sync(be, &err), EQ_EDEVICE);
    assert_string_equal(err.msg, "operation sumsq: acc[0] of 1 (F64) is not finite");
    be->free_(be, x.p), be->free_(be, y.p), be->free_(be, total.p);
    be->close(be);
}

/* What a child does; returns true when it died or ended with an error. */
static bool dies(void (*touch)(eq_backend *be, eq_mut x), eq_backend *be, eq_mut x) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        signal(SIGSEGV, SIG_DFL);
        touch(be, x);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}
static volatile float seen;
static void read_it(eq_backend *be, eq_mut x) {
    (void)be;
    seen = ((const float *)x.p)[7];
}
static void write_it(eq_backend *be, eq_mut x) {
    (void)be;
    ((float *)x.p)[7] = 1.0f;
}
static void read_after_op(eq_backend *be, eq_mut x) {
    EQ_DO(be, fill, x, 1.0f);
    read_it(be, x);
}
static void nothing(eq_backend *be, eq_mut x) { EQ_DO(be, fill, x, 1.0f); }

static void test_fenced(void **state) {
    (void)state;
    eq_par_threads(1); /* a child has no worker threads */
    eq_backend *be = open_or_fail("fenced:cpu");
    eq_mut x = dev(be, EQ_F32, N), far = dev(be, EQ_F32, N);
    float host[N];
    assert_true(dies(read_it, be, x));
    assert_true(dies(write_it, be, x));
    assert_true(dies(read_after_op, be, x));
    assert_false(dies(nothing, be, x));
    EQ_DO(be, fill, x, 2.0f);
    EQ_DO(be, add, far, eq_ro(x), eq_ro(x));
    be->download(be, host, EQ_F32, eq_ro(far));
    assert_true(host[0] == 4.0f && host[N - 1] == 4.0f);
    assert_int_equal(be->sync(be, NULL), EQ_OK);

    eq_err err = {0};
    eq_mut own = {host, N, EQ_F32}; /* host memory is not the backend's */
    EQ_DO(be, add, far, eq_ro(x), eq_ro(own));
    assert_int_equal(be->sync(be, &err), EQ_EDEVICE);
    assert_string_equal(err.msg, "operation add: argument 3 is not backend memory");
    err = (eq_err){0};
    eq_mut beyond = {x.p, N + 1, EQ_F32};
    EQ_DO(be, fill, beyond, 1.0f);
    assert_int_equal(be->sync(be, &err), EQ_EDEVICE);
    err = (eq_err){0};
    be->upload(be, own, host, EQ_F32);
    assert_int_equal(be->sync(be, &err), EQ_EDEVICE);
    assert_string_equal(err.msg, "upload: the device side is not backend memory");
    be->free_(be, far.p);
    be->close(be); /* frees what is left */
}

/* Operations cannot return an error: a scratch that cannot be had comes back from sync. */
static void test_scratch_error(void **state) {
    (void)state;
    eq_backend *be = open_or_fail("trace:ref");
    eq_mut x = dev(be, EQ_F32, 64), lse = dev(be, EQ_F32, 4);
    eq_err err = {0};
    EQ_DO(be, fill, x, 1.0f);
    eq_mem_fail_nth(1);
    EQ_DO(be, attn_fwd, x, lse, eq_ro(x), eq_ro(x), eq_ro(x), EQ_NONE_VIEW,
          (eq_attn_shape){.B = 1, .T = 4, .NH = 1, .NKV = 1, .HD = 16, .window = 0, .scale = 1.0f});
    eq_mem_fail_nth(0);
    assert_int_equal(be->sync(be, &err), EQ_ENOMEM);
    assert_int_equal(be->sync(be, &err), EQ_OK);
    be->free_(be, x.p), be->free_(be, lse.p);
    be->close(be);
}

static int tear_down(void **state) {
    (void)state;
    eq_par_shutdown();
    return eq_mem_current() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),      cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_arena),         cmocka_unit_test(test_copies),
        cmocka_unit_test(test_trace),         cmocka_unit_test(test_finite),
        cmocka_unit_test(test_scratch_error), cmocka_unit_test(test_fenced),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, tear_down);
}
