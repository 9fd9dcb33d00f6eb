/* Signals that are handled while products run: neither memory nor results may suffer. oneDNN's
 * kernels leave no room for a handler's frame; without a guard this program dies of a broken heap.
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>

#include "backend/backend.h"
#include "base/mem.h"
#include "scratch.h"

enum { M = 1024, N = 1024, K = 1024, TIMES = 40 };

static atomic_int handled; /* any thread may be the one that is interrupted */
static void on_alarm(int sig) { (void)sig, atomic_fetch_add(&handled, 1); }

static void products(void **state) {
    (void)state;
    eq_err err = {0};
    eq_backend *be;
    struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    assert_int_equal(eq_backend_open(&be, "cpu", NULL, &err), EQ_OK);
    sigaction(SIGALRM, &a, NULL);
    for (int dt = 0; dt < 2; dt++) {
        eq_dtype t = dt ? EQ_BF16 : EQ_F32;
        float *host = eq_calloc(M * K, sizeof *host), *first = eq_calloc(M * N, sizeof *first),
              *again = eq_calloc(M * N, sizeof *again);
        for (int64_t i = 0; i < M * K; i++) host[i] = (float)(i * 2654435761u >> 20 & 255) / 256;
        int64_t size = eq_dtype_size(t);
        eq_mut x = {be->alloc(be, M * K * size), M * K, t},
               w = {be->alloc(be, N * K * size), N * K, t},
               y = {be->alloc(be, M * N * 4), M * N, EQ_F32};
        be->upload(be, x, host, EQ_F32), be->upload(be, w, host, EQ_F32);
        EQ_DO(be, matmul_nt, y, eq_ro(x), eq_ro(w), M, N, K, M, 0);
        be->download(be, first, EQ_F32, eq_ro(y));
        handled = 0;
        setitimer(ITIMER_REAL, &often, NULL);
        for (int k = 0; k < TIMES; k++) {
            EQ_DO(be, matmul_nt, y, eq_ro(x), eq_ro(w), M, N, K, M, 0);
            be->download(be, again, EQ_F32, eq_ro(y));
            assert_memory_equal(first, again, M * N * 4);
        }
        setitimer(ITIMER_REAL, &never, NULL);
        assert_int_equal(be->sync(be, &err), EQ_OK);
        assert_true(handled > 20);
        be->free_(be, x.p), be->free_(be, w.p), be->free_(be, y.p);
        eq_free(host), eq_free(first), eq_free(again);
    }
    signal(SIGALRM, SIG_DFL);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
