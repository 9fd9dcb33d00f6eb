/* "fenced:" — host memory that behaves like a device's: unreadable except during operations and
 * copies, and then only in the pages of that call's arguments, views read-only. A touch from model
 * or training code is a segmentation fault; so is an operation that strays off its arguments.
 * Invariant: outside calls every page of every region is PROT_NONE. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "backend/wrap.h"
#include "base/mem.h"

typedef struct region {
    struct region *next;
    char *p;
    int64_t bytes, mapped; /* asked for; in whole pages, with one behind that never opens */
} region;
typedef struct {
    region *all;
    int64_t page;
} fence;

static region *find(const fence *f, const void *p, int64_t bytes) {
    const char *from = p;
    for (region *r = f->all; r; r = r->next)
        if (from >= r->p && from + bytes <= r->p + r->bytes) return r;
    return NULL;
}

/* The pages that hold [p, p + bytes). */
static bool protect(const fence *f, const void *p, int64_t bytes, int prot) {
    uintptr_t mask = (uintptr_t)f->page - 1, from = (uintptr_t)p & ~mask;
    uintptr_t to = ((uintptr_t)p + (uintptr_t)bytes + mask) & ~mask;
    return mprotect((void *)from, to - from, prot) == 0;
}

static void protect_args(eq_wrap *w, const eq_arg *args, int n, int kind, int prot) {
    for (int i = 0; i < n; i++) {
        if (args[i].kind != (unsigned)kind || !args[i].n) continue;
        if (!protect(w->own, args[i].p, args[i].n * eq_dtype_size(args[i].dt), prot))
            eq_wrap_error(w, EQ_EDEVICE, "fenced memory: mprotect failed");
    }
}

/* Views first: a page that holds a view and an output ends up writable. */
static bool before(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    for (int i = 0; i < n; i++) {
        if (args[i].kind == EQ_ARG_OTHER || !args[i].n) continue;
        if (find(w->own, args[i].p, args[i].n * eq_dtype_size(args[i].dt))) continue;
        eq_wrap_error(w, EQ_EDEVICE, "operation %s: argument %d is not backend memory",
                      eq_op_names[op], i);
        return false;
    }
    protect_args(w, args, n, EQ_ARG_VIEW, PROT_READ);
    protect_args(w, args, n, EQ_ARG_MUT, PROT_READ | PROT_WRITE);
    return true;
}

static void after(eq_wrap *w, eq_op_id op, const eq_arg *args, int n) {
    (void)op;
    protect_args(w, args, n, EQ_ARG_VIEW, PROT_NONE);
    protect_args(w, args, n, EQ_ARG_MUT, PROT_NONE);
}

static void *fenced_alloc(eq_backend *be, int64_t bytes) {
    fence *f = ((eq_wrap *)be->self)->own;
    int64_t mapped;
    region *r = eq_calloc(1, sizeof *r);
    if (!r || bytes < 0 || !eq_add(bytes, 2 * f->page - 1, &mapped)) {
        eq_free(r);
        return NULL;
    }
    mapped = mapped / f->page * f->page;
    void *p = mmap(NULL, (size_t)mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        eq_free(r);
        return NULL;
    }
    *r = (region){f->all, p, bytes, mapped};
    f->all = r;
    be->bytes += bytes;
    if (be->bytes > be->peak) be->peak = be->bytes;
    return p;
}

static void fenced_free(eq_backend *be, void *p) {
    fence *f = ((eq_wrap *)be->self)->own;
    for (region **at = &f->all; *at; at = &(*at)->next)
        if ((*at)->p == p) {
            region *r = *at;
            *at = r->next;
            be->bytes -= r->bytes;
            munmap(r->p, (size_t)r->mapped);
            eq_free(r);
            return;
        }
}

/* true: the copy may run on `p`, which is open until close_copy. */
static bool open_copy(eq_wrap *w, const char *what, const void *p, int64_t bytes) {
    if (!bytes) return true;
    if (find(w->own, p, bytes) && protect(w->own, p, bytes, PROT_READ | PROT_WRITE)) return true;
    eq_wrap_error(w, EQ_EDEVICE, "%s: the device side is not backend memory", what);
    return false;
}
static void close_copy(eq_wrap *w, const void *p, int64_t bytes) {
    if (bytes && !protect(w->own, p, bytes, PROT_NONE))
        eq_wrap_error(w, EQ_EDEVICE, "fenced memory: mprotect failed");
}

static void fenced_upload(eq_backend *be, eq_mut dst, const void *host, eq_dtype host_dt) {
    eq_wrap *w = be->self;
    int64_t bytes = dst.n * eq_dtype_size(dst.dt);
    if (!open_copy(w, "upload", dst.p, bytes)) return;
    w->in->upload(w->in, dst, host, host_dt);
    close_copy(w, dst.p, bytes);
}
static void fenced_download(eq_backend *be, void *host, eq_dtype host_dt, eq_view src) {
    eq_wrap *w = be->self;
    int64_t bytes = src.n * eq_dtype_size(src.dt);
    if (!open_copy(w, "download", src.p, bytes)) return;
    w->in->download(w->in, host, host_dt, src);
    close_copy(w, src.p, bytes);
}

static void free_fence(void *own) {
    fence *f = own;
    while (f->all) {
        region *r = f->all;
        f->all = r->next;
        munmap(r->p, (size_t)r->mapped);
        eq_free(r);
    }
    eq_free(f);
}

eq_status eq_fenced_wrap(eq_backend **be, eq_err *err) {
    if ((*be)->device)
        return eq_fail(err, EQ_EINPUT, "backend fenced:%s: expected one in host memory",
                       (*be)->name);
    fence *f = eq_calloc(1, sizeof *f);
    if (!f) return eq_nomem(err, "the fence", sizeof *f);
    eq_wrap *w;
    eq_status st = eq_wrap_open(be, "fenced:", &w, err);
    if (st != EQ_OK) {
        eq_free(f);
        return st;
    }
    f->page = sysconf(_SC_PAGESIZE);
    w->own = f;
    w->free_own = free_fence;
    w->before = before;
    w->after = after;
    (*be)->alloc = fenced_alloc;
    (*be)->free_ = fenced_free;
    (*be)->upload = (*be)->upload_ahead = fenced_upload;
    (*be)->download = (*be)->download_behind = fenced_download;
    return EQ_OK;
}
