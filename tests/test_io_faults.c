/* Calls that a signal cuts off are made again, and an error in the middle of a folder is not its
 * end. The calls of the C library that are meant here are defined by this program, which the
 * library's calls then reach. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"

static struct {
    int nth, code, calls; /* the nth call from now fails with this errno; 0: none */
} bad_open, bad_fsync, bad_write, bad_readdir;

static bool fails(int *nth, int *calls, int code) {
    ++*calls;
    if (!*nth || --*nth) return false;
    errno = code;
    return true;
}
#define FAILS(what) fails(&(what).nth, &(what).calls, (what).code)

int open(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
    mode_t mode = makes ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (FAILS(bad_open)) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int fsync(int fd) { return FAILS(bad_fsync) ? -1 : (int)syscall(SYS_fsync, fd); }
ssize_t write(int fd, const void *bytes, size_t n) {
    return FAILS(bad_write) ? -1 : (ssize_t)syscall(SYS_write, fd, bytes, n);
}
struct dirent *readdir(DIR *d) {
    static struct dirent *(*real)(DIR *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    return FAILS(bad_readdir) ? NULL : real(d);
}

static void expect(const char *path, const char *want) {
    eq_map m;
    assert_int_equal(eq_map_open(&m, path, NULL), EQ_OK);
    assert_int_equal(m.size, strlen(want));
    assert_memory_equal(m.data, want, strlen(want));
    eq_map_close(&m);
}

static void interrupted(void **state) {
    (void)state;
    char *path = eq_strdup(scratch_path("i"));
    for (int nth = 1; nth <= 3; nth++) {
        eq_err err = {0};
        bad_open.nth = bad_fsync.nth = bad_write.nth = nth;
        bad_open.code = bad_fsync.code = bad_write.code = EINTR;
        bad_open.calls = bad_fsync.calls = 0;
        eq_status st = eq_write_file(path, "text", 4, &err);
        if (st != EQ_OK) fail_msg("%s", err.msg);
        assert_true(bad_open.calls >= 2 && bad_fsync.calls >= 2);
        expect(path, "text");
    }
    bad_open.nth = bad_fsync.nth = bad_write.nth = 0;
    eq_free(path);
}

static void another_error_is_one(void **state) {
    (void)state;
    char *path = eq_strdup(scratch_path("i"));
    eq_err err = {0};
    bad_fsync.nth = 1, bad_fsync.code = EIO;
    assert_int_equal(eq_write_file(path, "more", 4, &err), EQ_EIO);
    check_error(&err, EQ_EIO, path, "Input/output error", NULL);
    bad_fsync.nth = 0;
    expect(path, "text");
    eq_free(path);
}

static void folder_cut_off(void **state) {
    (void)state;
    scratch_text("a", ""), scratch_text("b", "");
    eq_names n;
    assert_int_equal(eq_list_dir(scratch_dir(), &n, NULL), EQ_OK);
    int64_t all = n.n;
    eq_names_free(&n);
    bad_readdir.code = EIO;
    for (int64_t nth = 1; nth <= all + 3; nth++) { /* ".", ".." and the end are calls too */
        eq_err err = {0};
        bad_readdir.nth = (int)nth;
        assert_int_equal(eq_list_dir(scratch_dir(), &n, &err), EQ_EIO);
        check_error(&err, EQ_EIO, scratch_dir(), "Input/output error", NULL);
        assert_null(n.p);
    }
    bad_readdir.nth = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted),
        cmocka_unit_test(another_error_is_one),
        cmocka_unit_test(folder_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
