/* The emulated device itself: it finds the faults it is there for, and streams run late and in
 * order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "emu_faulty.h"

enum { N = 128 };
static cudaStream_t stream, other;
static int *device, y[N];

static cudaError_t run(emu_faulty what, int falling) {
    eq_emu_falling = falling;
    eq_emu_clear_fault();
    emu_faulty_run(what, device, stream);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    cudaMemcpyAsync(y, device, sizeof y, cudaMemcpyDeviceToHost, stream);
    return cudaStreamSynchronize(stream);
}

static void test_faults(void **state) {
    (void)state;
    static const struct {
        emu_faulty what;
        const char *said;
    } row[] = {
        {EMU_LEFT_EARLY, "a thread ended before a barrier that others wait at"},
        {EMU_OTHER_BARRIER, "threads of a block wait at different barriers"},
        {EMU_HALF_A_WARP, "lanes of the mask did not come to this barrier of the warp"},
        {EMU_OUTSIDE_LANE, "a value from a lane that takes no part"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int falling = 0; falling < 2; falling++) {
            assert_int_equal(run(row[i].what, falling), cudaErrorLaunchFailure);
            if (!strstr(eq_emu_fault(), row[i].said)) fail_msg("%s", eq_emu_fault());
            assert_non_null(strstr(eq_emu_fault(), "emu_faulty.cc:"));
        }
    /* Sticky, as a device's errors are. */
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    eq_emu_clear_fault();
    assert_int_equal(emu_too_much(device, stream), cudaErrorInvalidConfiguration);
}

static void test_right(void **state) {
    (void)state;
    for (int falling = 0; falling < 2; falling++) {
        if (run(EMU_RIGHT, falling)) fail_msg("%s", eq_emu_fault());
        for (int t = 0; t < 64; t++)
            assert_int_equal(y[t], 63 * 32 + 1000000 + 10000 * (t % 32 < 31 ? t % 32 + 1 : 31));
    }
}

static void test_races(void **state) {
    (void)state;
    int rising[64];
    assert_int_equal(run(EMU_RACE, 0), cudaSuccess);
    memcpy(rising, y, sizeof rising);
    assert_int_equal(run(EMU_RACE, 1), cudaSuccess);
    assert_memory_not_equal(rising, y, sizeof rising);
    assert_int_equal(run(EMU_LEFTOVER, 0), cudaSuccess);
    for (int i = 0; i < N; i++) assert_int_equal(y[i], (int)0xa5a5a5a5u);
}

static void test_streams(void **state) {
    (void)state;
    cudaEvent_t e;
    int source = 1, got = 0;
    void *a;
    assert_int_equal(cudaMalloc(&a, sizeof(int)), cudaSuccess);
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    /* A copy that is queued reads its source when it runs. */
    cudaMemcpyAsync(a, &source, sizeof source, cudaMemcpyHostToDevice, stream);
    cudaEventRecord(e, stream);
    source = 2;
    assert_int_equal(cudaEventQuery(e), cudaErrorNotReady);
    /* Another stream waits for it only where it was told to. */
    cudaMemcpyAsync(&got, a, sizeof got, cudaMemcpyDeviceToHost, other);
    cudaStreamSynchronize(other);
    assert_int_equal(got, -1); /* new memory */
    cudaStreamWaitEvent(other, e, 0);
    cudaMemcpyAsync(&got, a, sizeof got, cudaMemcpyDeviceToHost, other);
    cudaStreamSynchronize(other);
    assert_int_equal(got, 2);
    assert_int_equal(cudaEventQuery(e), cudaSuccess);
    cudaEventDestroy(e), cudaFree(a);
}

/* A graph runs what was recorded, as often as it is launched; what cannot be recorded spoils it. */
static void test_graphs(void **state) {
    (void)state;
    cudaGraph_t g;
    cudaGraphExec_t x;
    void *p;
    int64_t before = eq_emu_graph_launches();
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    emu_faulty_run(EMU_RIGHT, device, stream);
    assert_int_equal(cudaStreamEndCapture(stream, &g), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&x, g, 0), cudaSuccess);
    cudaGraphDestroy(g);
    for (int i = 0; i < 2; i++) {
        cudaMemsetAsync(device, 0, sizeof y, stream);
        if (i) cudaGraphLaunch(x, stream);
        cudaMemcpyAsync(y, device, sizeof y, cudaMemcpyDeviceToHost, stream);
        cudaStreamSynchronize(stream);
        assert_int_equal(y[0] != 0, i);
    }
    cudaGraphLaunch(x, stream);
    cudaGraphExecDestroy(x); /* what is queued still runs */
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
    assert_int_equal(eq_emu_graph_launches(), before + 2);
    for (int what = 0; what < 3; what++) {
        cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
        if (what == 0) assert_int_not_equal(cudaStreamSynchronize(stream), cudaSuccess);
        if (what == 1) assert_int_not_equal(cudaMalloc(&p, 1), cudaSuccess);
        if (what == 2) cudaMemcpyAsync(y, device, sizeof y, cudaMemcpyDeviceToHost, stream);
        assert_int_equal(cudaStreamEndCapture(stream, &g), cudaErrorStreamCaptureInvalidated);
        cudaGetLastError();
    }
}

static void test_memory(void **state) {
    (void)state;
    int64_t before = eq_emu_allocated();
    void *p;
    eq_emu_memory(before + 1000);
    assert_int_equal(cudaMalloc(&p, 1001), cudaErrorMemoryAllocation);
    cudaGetLastError();
    assert_int_equal(cudaMalloc(&p, 1000), cudaSuccess);
    assert_int_equal(eq_emu_allocated(), before + 1000);
    assert_int_equal(cudaFree(p), cudaSuccess);
    assert_int_equal(cudaFree(&before), cudaErrorInvalidValue);
    cudaGetLastError();
}

int main(void) {
#if defined(__SANITIZE_THREAD__)
    puts("SKIP the emulated device has fibers, which ThreadSanitizer does not follow");
    return 77;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults), cmocka_unit_test(test_right),
        cmocka_unit_test(test_races),  cmocka_unit_test(test_streams),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_graphs),
    };
    void *p;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    if (cudaMalloc(&p, sizeof y) != cudaSuccess) return 1;
    device = p;
    int rc = cmocka_run_group_tests_name("the emulated device", tests, NULL, NULL);
    cudaFree(p), cudaStreamDestroy(stream), cudaStreamDestroy(other);
    return rc;
}
