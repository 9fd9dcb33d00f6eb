/* The nth call of one function of the system fails, over whole toy runs: both phases with streams
 * in files, tune, perplexity. Whatever happens, the run ends with the bytes of an undisturbed one,
 * or with one line that says what failed, nothing half-written, no memory lost; then the same
 * settings with resume end in those bytes. They do, too, and nothing is left over, where the run
 * was killed right before such a call, the last rename and the removals behind it included.
 *
 * The linker leads the library's calls through here (--wrap, see the Makefile). Of each function a
 * few places are tried; with EQ_TEST_ALL every one (make check). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "tiny_train.h"

/* ---- calls that can be made to fail ------------------------------------------------------------
 */

/* clang-format off */
#define CALLS(X) \
    X(calloc, ENOMEM) X(write, ENOSPC) X(fsync, EIO) X(rename, EIO) X(open, EMFILE) X(mmap, ENOMEM) \
    X(mkdir, ENOSPC) X(opendir, EMFILE) X(readdir, EIO) X(ftruncate, ENOSPC) \
    X(posix_fallocate, ENOSPC) X(unlink, EIO) X(rmdir, EIO)
/* clang-format on */
typedef enum {
#define ID(name, code) CALL_##name,
    CALLS(ID)
#undef ID
        NONE
} call;
static const char *const names[] = {
#define NAME(name, code) #name,
    CALLS(NAME)
#undef NAME
};
static const int codes[] = {
#define CODE(name, code) code,
    CALLS(CODE)
#undef CODE
};
static _Atomic int chosen = NONE;
static _Atomic long seen, nth; /* nth 0: count only */
static bool kills;             /* instead of failing */

static bool fails(call c) {
    if (atomic_load(&chosen) != (int)c) return false;
    bool hit = atomic_fetch_add(&seen, 1) + 1 == atomic_load(&nth);
    if (hit && kills) kill(getpid(), SIGKILL);
    if (hit) errno = codes[c];
    return hit;
}
/* name, type, parameters, arguments, what it returns when it fails */
#define WRAP(name, type, params, args, bad) \
    type __real_##name params; \
    type __wrap_##name params; \
    type __wrap_##name params { return fails(CALL_##name) ? (bad) : __real_##name args; }
WRAP(calloc, void *, (size_t n, size_t size), (n, size), NULL)
WRAP(write, ssize_t, (int fd, const void *p, size_t n), (fd, p, n), -1)
WRAP(fsync, int, (int fd), (fd), -1)
WRAP(rename, int, (const char *a, const char *b), (a, b), -1)
WRAP(open, int, (const char *path, int flags, mode_t mode), (path, flags, mode), -1)
WRAP(mmap, void *, (void *p, size_t n, int prot, int flags, int fd, off_t at),
     (p, n, prot, flags, fd, at), MAP_FAILED)
WRAP(mkdir, int, (const char *path, mode_t mode), (path, mode), -1)
WRAP(opendir, DIR *, (const char *path), (path), NULL)
WRAP(readdir, struct dirent *, (DIR * d), (d), NULL)
WRAP(ftruncate, int, (int fd, off_t n), (fd, n), -1)
WRAP(posix_fallocate, int, (int fd, off_t at, off_t n), (fd, at, n), ENOSPC)
WRAP(unlink, int, (const char *path), (path), -1)
WRAP(rmdir, int, (const char *path), (path), -1)

/* ---- a run and what it leaves -------------------------------------------------------------------
 */

/* The folder of the runs, what is in it, ids, the folder that tune starts from. */
static char *dir, *out, *work, *cache, *data, *block_ap;

static char *in_dir(const char *name) {
    char *p = eq_path(dir, name);
    assert_non_null(p);
    return p;
}
static void remove_path(const char *name) {
    eq_err err = {0};
    char *p = in_dir(name);
    tiny_ok(eq_remove_tree(p, &err), &err);
    eq_free(p);
}
/* Names and bytes of all files of a folder. */
static eq_digest bytes_of(const char *folder) {
    eq_err err = {0};
    eq_names n;
    eq_hash *h = eq_hash_new();
    assert_non_null(h);
    tiny_ok(eq_list_dir(folder, &n, &err), &err);
    for (int64_t i = 0; i < n.n; i++) {
        eq_map m;
        char *p = eq_path(folder, n.p[i]);
        tiny_ok(eq_map_open(&m, p, &err), &err);
        eq_hash_put(h, n.p[i], (int64_t)strlen(n.p[i]));
        eq_hash_put(h, m.data, m.size);
        eq_map_close(&m);
        eq_free(p);
    }
    eq_names_free(&n);
    return eq_hash_end(h);
}

typedef enum { QUANTIZE, TUNE, PPL } job;
static const char *const jobs[] = {"quantize", "tune", "ppl"};
static double ppl;
static eq_quantize_result result;

static eq_status run(job j, bool resume, eq_err *err) {
    eq_status st;
    if (j == PPL) {
        eq_ppl_opts o;
        eq_ppl_result r = {0};
        eq_ppl_opts_init(&o);
        o.model = block_ap, o.data = data, o.seqlen = TINY_T, o.limit = 4, o.compute.threads = 2;
        st = eq_ppl(&o, NULL, &r, err);
        ppl = r.ppl;
    } else {
        eq_quantize_opts o;
        eq_quantize_opts_init(&o);
        o.model = j == TUNE ? block_ap : tiny.model, o.out = out, o.data = o.qp.data = data;
        o.cache_dir = j == TUNE ? NULL : cache, o.resume = resume, o.group_size = 32;
        o.ap.train_size = 6, o.ap.val_size = 2, o.ap.seqlen = TINY_T;
        o.qp.train_size = 4, o.qp.seqlen = TINY_T, o.qp.batch_size = 2, o.qp.save_every = 1;
        o.compute.threads = 2;
        result = (eq_quantize_result){0};
        st = j == TUNE ? eq_tune(&o, NULL, &result, err) : eq_quantize(&o, NULL, &result, err);
    }
    return st;
}
static void clean(void) { remove_path("out"), remove_path("out.work"), remove_path("cache"); }

/* Nothing but the output, the work folder and the cache, and in them no file under way. */
static const char *left_over(const char *folder, int depth) {
    static char name[512];
    eq_names n;
    const char *found = NULL;
    if (!eq_is_dir(folder) || eq_list_dir(folder, &n, NULL) != EQ_OK) return NULL;
    for (int64_t i = 0; i < n.n && !found; i++) {
        char *p = eq_path(folder, n.p[i]);
        bool known = depth || !strcmp(n.p[i], "out") || !strcmp(n.p[i], "out.work") ||
                     !strcmp(n.p[i], "cache");
        if (!known || strstr(n.p[i], "tmp") || strstr(n.p[i], "probe"))
            snprintf(name, sizeof name, "%s", p), found = name;
        else
            found = left_over(p, depth + 1);
        eq_free(p);
    }
    eq_names_free(&n);
    return found;
}

/* ---- the sweep --------------------------------------------------------------------------------
 */

static int tries, bad, passed, killed, kept;
static void broken(job j, call c, long n, const char *what, const char *more) {
    printf("%s, %s number %ld: %s%s\n", jobs[j], names[c], n, what, more);
    bad++;
}
static bool complete(job j, const eq_digest *want, double want_ppl) {
    if (j == PPL) return ppl == want_ppl;
    bool same = eq_exists(out);
    if (same) {
        eq_digest got = bytes_of(out);
        same = !strcmp(got.hex, want->hex);
    }
    return same;
}
static void one_fault(job j, call c, long n, const eq_digest *want, double want_ppl) {
    eq_err err = {0}, later = {0};
    int64_t memory = eq_mem_current();
    tries++;
    atomic_store(&seen, 0), atomic_store(&nth, n), atomic_store(&chosen, c);
    eq_status st = run(j, false, &err);
    atomic_store(&chosen, NONE);
    if (eq_mem_current() != memory) broken(j, c, n, "memory is lost", "");
    if (st == EQ_OK) {
        passed++;
        if (!complete(j, want, want_ppl)) broken(j, c, n, "no error, and other bytes", "");
        /* a whole output is a success, what could not be tidied up is said */
        bool left = j != PPL && eq_is_dir(work), said = j != PPL && result.work_left.msg[0];
        if (left != said)
            broken(j, c, n, "the work folder: ", left ? "left, not said" : "said, not left");
        kept += said;
    } else {
        if (!err.msg[0] || strchr(err.msg, '\n')) broken(j, c, n, "not one line: ", err.msg);
        if (j != PPL && eq_exists(out) && !complete(j, want, want_ppl))
            broken(j, c, n, "half an output: ", err.msg);
        /* where removing fails, something is left */
        const char *left = c == CALL_unlink || c == CALL_rmdir ? NULL : left_over(dir, 0);
        if (left) broken(j, c, n, "left behind: ", left);
        if (run(j, true, &later) != EQ_OK)
            broken(j, c, n, "then, resumed: ", later.msg);
        else if (!complete(j, want, want_ppl))
            broken(j, c, n, "then, resumed: other bytes after ", err.msg);
    }
    clean();
}

/* What a kill leaves is as of the last call that changed a file: right before each of these is
 * everywhere. */
static bool changes_files(call c) {
    return c == CALL_write || c == CALL_fsync || c == CALL_rename || c == CALL_mkdir ||
           c == CALL_ftruncate || c == CALL_posix_fallocate || c == CALL_unlink || c == CALL_rmdir;
}
static void one_kill(job j, call c, long n, const eq_digest *want) {
    eq_err err = {0};
    int status;
    eq_par_shutdown(); /* a child has no threads but its own */
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        kills = true;
        atomic_store(&seen, 0), atomic_store(&nth, n), atomic_store(&chosen, c);
        _exit(run(j, false, &err) != EQ_OK);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        killed++;
    else
        broken(j, c, n, "was not killed", "");
    if (run(j, true, &err) != EQ_OK)
        broken(j, c, n, "killed there, then, resumed: ", err.msg);
    else if (!complete(j, want, 0))
        broken(j, c, n, "killed there, then, resumed: other bytes", "");
    remove_path("out");
    eq_names left;
    assert_int_equal(eq_list_dir(dir, &left, NULL), EQ_OK);
    for (int64_t i = 0; i < left.n; i++)
        if (strcmp(left.p[i], "cache"))
            broken(j, c, n, "killed there, resumed, then left: ", left.p[i]);
    eq_names_free(&left);
    clean();
}

static void sweep(job j) {
    eq_err err = {0};
    eq_digest want = {0};
    long most = getenv("EQ_TEST_ALL") ? 1 << 20 : 6;
    for (int i = 0; i < 2;
         i++) { /* threads and products keep some memory from their first use on */
        clean();
        tiny_ok(run(j, false, &err), &err);
    }
    if (j != PPL) want = bytes_of(out);
    double want_ppl = ppl;
    clean();
    for (int c = 0; c < NONE; c++) {
        atomic_store(&seen, 0), atomic_store(&nth, 0), atomic_store(&chosen, c);
        tiny_ok(run(j, false, &err), &err);
        atomic_store(&chosen, NONE);
        clean();
        long calls = atomic_load(&seen), step = (calls + most - 1) / most;
        for (long n = 1 + step / 2; n <= calls; n += step)
            one_fault(j, (call)c, n, &want, want_ppl);
        if (j == PPL || !changes_files((call)c)) continue;
        for (long n = 1 + step / 2; n <= calls; n += step) one_kill(j, (call)c, n, &want);
        if (c == CALL_rename || c == CALL_rmdir) /* the output into its place, the work away */
            one_kill(j, (call)c, calls, &want);
    }
}

static void whole_runs(void **state) {
    (void)state;
    eq_err err = {0};
    eq_quantize_opts o;
    char npy[128 + 400] = "\x93NUMPY\x01\x00\x76\x00";
    assert_int_equal(snprintf(npy + 10, 119, "%-117s\n",
                              "{'descr': '|u1', 'fortran_order': False, 'shape': (400,), }"),
                     118);
    for (int i = 0; i < 400; i++) npy[128 + i] = (char)((i * i + i / 9) % 50);
    data = eq_strdup(scratch_file("d.npy", npy, sizeof npy));
    block_ap = eq_strdup(scratch_path("start"));
    eq_quantize_opts_init(&o);
    o.model = tiny.model, o.out = block_ap, o.method = EQ_METHOD_RTN, o.e2e = false,
    o.group_size = 32;
    tiny_ok(eq_quantize(&o, NULL, NULL, &err), &err);
    dir = tiny_dir(), out = in_dir("out"), work = in_dir("out.work"), cache = in_dir("cache");
    sweep(QUANTIZE), sweep(TUNE), sweep(PPL);
    tiny_remove(dir);
    eq_free(out), eq_free(work), eq_free(cache), eq_free(data), eq_free(block_ap);
    printf("%d faults, %d of them without harm, %d kills, %d bad\n", tries, passed, killed, bad);
    assert_int_equal(bad, 0);
    assert_true(tries > 50 && passed < tries / 2 && killed > 50 && kept > 3);
}

static int set_up(void **state) {
    (void)state;
    tiny_train_open("llama", "cpu");
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    tiny_train_close();
    return 0;
}
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_runs)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
