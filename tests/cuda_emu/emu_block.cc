/* Runs the threads of one block as fibers, warp by warp. See cuda_runtime.h.
 * Invariant: a fiber gives way only in a barrier or an exchange of its warp, so what lies between
 * two of them is one uninterrupted piece, and the order of the pieces is the order of the lanes. */
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda_runtime.h"
#include "emu_inside.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ASAN(...) __VA_ARGS__
#else
#define ASAN(...)
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
int eq_emu_falling;

/* The variables of all kernels that are declared __shared__. */
extern "C" {
extern unsigned char __start_eq_shared[] __attribute__((weak));
extern unsigned char __stop_eq_shared[] __attribute__((weak));
/* Keeps the registers that a call keeps, on the stack it leaves, and goes on on the other. */
void eq_emu_switch(void **leave, void *enter);
}
asm(".text\n.globl eq_emu_switch\n.type eq_emu_switch,@function\neq_emu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size eq_emu_switch, .-eq_emu_switch\n");

namespace {
enum { STACK = 256 << 10, WARP = 32, MAX_THREADS = 1024, PATTERN = 0xa5, MAX_SHARED = 227 << 10 };
enum state { READY, AT_BLOCK, AT_WARP, DONE };

struct fiber {
    char *stack;
    void *sp;
    state st;
    const char *file; /* of the barrier it waits at */
    int line;
    unsigned mask;
    uint3 index;
    const void *shown; /* to the warp, while it waits there */
    void *fake;        /* AddressSanitizer's */
};

fiber fibers[MAX_THREADS];
int threads, current = -1;
void *scheduler;
ASAN(void *scheduler_fake; const void *scheduler_bottom; size_t scheduler_size;)
void (*body)(void *);
void *body_ctx;
unsigned char dynamic_shared[MAX_SHARED] __attribute__((aligned(1024)));
char fault[512];
bool stopped; /* by a fault: the launch is given up */
/* What each thread showed: two sets, as a lane may come to the next exchange before all have read.
 */
unsigned char shown[MAX_THREADS][2][128];
unsigned char turn[MAX_THREADS];
/* For the first lane of each mask, made when all its lanes wait: what they show. */
const void *shown_at[MAX_THREADS][WARP];

void to_scheduler(bool last) {
    fiber *f = &fibers[current];
    (void)last;
    ASAN(__sanitizer_start_switch_fiber(last ? nullptr : &f->fake, scheduler_bottom,
                                        scheduler_size));
    eq_emu_switch(&f->sp, scheduler);
    ASAN(__sanitizer_finish_switch_fiber(f->fake, &scheduler_bottom, &scheduler_size));
}

void first_steps() {
    ASAN(__sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size));
    body(body_ctx);
    fibers[current].st = DONE;
    to_scheduler(true);
    abort();
}

void resume(int t) {
    fiber *f = &fibers[t];
    current = t;
    threadIdx = f->index;
    ASAN(__sanitizer_start_switch_fiber(&scheduler_fake, f->stack, STACK));
    eq_emu_switch(&scheduler, f->sp);
    ASAN(__sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr));
    current = -1;
}

void reset(int t) {
    fiber *f = &fibers[t];
    if (!f->stack) {
        void *p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            fprintf(stderr, "emulation: no memory for a stack\n");
            abort();
        }
        f->stack = static_cast<char *>(p);
    }
    void **top = reinterpret_cast<void **>(f->stack + STACK) - 2;
    *top = reinterpret_cast<void *>(first_steps); /* where eq_emu_switch returns to */
    f->sp = top - 6;
    f->st = READY;
    f->fake = nullptr;
    turn[t] = 0;
    unsigned u = static_cast<unsigned>(t);
    f->index = {u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y};
}

void wait(state st, unsigned mask, const char *file, int line) {
    fiber *f = &fibers[current];
    f->st = st, f->mask = mask, f->file = file, f->line = line;
    to_scheduler(false);
}

/* The lanes that the mask of lane t names have all come to its barrier. */
bool complete(int t) {
    int base = t / WARP * WARP;
    for (int i = 0; i < WARP; i++) {
        if (!(fibers[t].mask >> i & 1)) continue;
        if (base + i >= threads) {
            eq_emu_fault_at(fibers[t].file, fibers[t].line,
                            "the mask names a lane that is not there");
            return false;
        }
        const fiber *o = &fibers[base + i];
        if (o->st != AT_WARP || o->mask != fibers[t].mask || o->line != fibers[t].line ||
            o->file != fibers[t].file) {
            eq_emu_fault_at(fibers[t].file, fibers[t].line,
                            "lanes of the mask did not come to this barrier of the warp");
            return false;
        }
    }
    return true;
}

/* All lanes of lane t's mask wait, and t is the first of them. */
void collect(int t) {
    int base = t / WARP * WARP;
    for (int i = 0; i < WARP; i++)
        shown_at[t][i] = fibers[t].mask >> i & 1 ? shown[base + i][turn[base + i]] : nullptr;
}

/* Until each thread of the warp is done or waits for the block. */
void run_warp(int from) {
    int n = threads - from < WARP ? threads - from : WARP;
    for (bool again = true; again && !stopped;) {
        for (int i = 0; i < n && !stopped; i++) {
            int t = from + (eq_emu_falling ? n - 1 - i : i);
            if (fibers[t].st == READY) resume(t);
        }
        again = false;
        bool open[WARP];
        for (int i = 0; i < n && !stopped; i++)
            open[i] = fibers[from + i].st == AT_WARP && complete(from + i);
        for (int i = 0; i < n && !stopped; i++)
            if (open[i]) {
                if (__builtin_ctz(fibers[from + i].mask) == i) collect(from + i);
                fibers[from + i].st = READY, again = true;
            }
    }
}

void end_of_round(bool *over) {
    int done = 0, first = -1;
    for (int t = 0; t < threads; t++) {
        if (fibers[t].st == DONE) {
            done++;
            continue;
        }
        if (first < 0) first = t;
        if (fibers[t].line != fibers[first].line || fibers[t].file != fibers[first].file)
            eq_emu_fault_at(fibers[t].file, fibers[t].line,
                            "threads of a block wait at different barriers");
    }
    *over = done == threads;
    if (!*over && done)
        eq_emu_fault_at(fibers[first].file, fibers[first].line,
                        "a thread ended before a barrier that others wait at");
    for (int t = 0; t < threads; t++)
        if (fibers[t].st == AT_BLOCK) fibers[t].st = READY;
}

__attribute__((no_sanitize("address"))) void fill_shared(size_t dynamic) {
    for (unsigned char *p = __start_eq_shared; p < __stop_eq_shared; p++) *p = PATTERN;
    memset(dynamic_shared, PATTERN, dynamic);
}

void run_block(size_t shared) {
    threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
    fill_shared(shared);
    for (int t = 0; t < threads; t++) reset(t);
    int warps = (threads + WARP - 1) / WARP;
    for (bool over = false; !over && !stopped;) {
        for (int w = 0; w < warps && !stopped; w++)
            run_warp((eq_emu_falling ? warps - 1 - w : w) * WARP);
        if (!stopped) end_of_round(&over);
    }
}
} // namespace

void eq_emu_run(dim3 grid, dim3 block, size_t shared, void (*fn)(void *), void *ctx) {
    int64_t n = static_cast<int64_t>(grid.x) * grid.y * grid.z;
    gridDim = grid, blockDim = block, body = fn, body_ctx = ctx;
    for (int64_t i = 0; i < n && !stopped; i++) {
        int64_t b = eq_emu_falling ? n - 1 - i : i;
        blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / grid.x / grid.y)};
        run_block(shared);
    }
}

/* ---- from inside a kernel -------------------------------------------------------------------- */

void eq_emu_fault_at(const char *file, int line, const char *what) {
    if (!stopped)
        snprintf(fault, sizeof fault, "%s:%d: %s (block %u, thread %u)", file, line, what,
                 blockIdx.x, current >= 0 ? static_cast<unsigned>(current) : 0u);
    stopped = true;
    if (current >= 0) to_scheduler(true); /* never comes back */
}
void eq_emu_block_barrier(const char *file, int line) { wait(AT_BLOCK, 0, file, line); }
void eq_emu_warp_barrier(unsigned mask, const char *file, int line) {
    if (!(mask >> eq_emu_lane() & 1)) eq_emu_fault_at(file, line, "a lane outside its own mask");
    wait(AT_WARP, mask, file, line);
}
int eq_emu_lane(void) { return current % WARP; }
unsigned char *eq_emu_dynamic_shared(void) { return dynamic_shared; }

const void *const *eq_emu_warp_show(unsigned mask, const void *mine, int bytes, const char *file,
                                    int line) {
    int me = current, base = me / WARP * WARP, k = turn[me] ^= 1;
    if (bytes > static_cast<int>(sizeof shown[0][0]))
        eq_emu_fault_at(file, line, "more than an exchange takes");
    memcpy(shown[me][k], mine, static_cast<size_t>(bytes));
    eq_emu_warp_barrier(mask, file, line);
    return shown_at[base + __builtin_ctz(mask)];
}

extern "C" const char *eq_emu_fault(void) { return fault; }
extern "C" void eq_emu_clear_fault(void) {
    fault[0] = '\0';
    stopped = false;
    cudaGetLastError();
}
bool eq_emu_stopped(void) { return stopped; }
