/* Limits of control groups, from made-up /proc and /sys of both versions of the interface. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/machine.h"
#include "base/mem.h"
#include "scratch.h"

static char *root;

static void put(const char *path, const char *text) {
    char full[4096];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++)
        *p = 0, mkdir(full, 0700), *p = '/';
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}
static int setup(void **state) {
    (void)state;
    root = eq_path(scratch_dir(), "machine");
    mkdir(root, 0700);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    eq_err err = {0};
    eq_remove_tree(root, &err);
    eq_free(root);
    return 0;
}

static const char v1_mount[] =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/my\\040memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
static const char v2_mount[] =
    "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

static void test_no_limit(void **state) {
    (void)state;
    assert_true(eq_cgroup_room(root) == INT64_MAX); /* no /proc at all */
    put("/proc/self/mountinfo", v2_mount);
    put("/proc/self/cgroup", "0::/user.slice/a\n");
    put("/sys/fs/cgroup/user.slice/a/memory.max", "max\n");
    assert_true(eq_cgroup_room(root) == INT64_MAX);
}

/* The group itself has no limit, the one above it has. */
static void test_nested_v2(void **state) {
    (void)state;
    put("/proc/self/mountinfo", v2_mount);
    put("/proc/self/cgroup", "0::/user.slice/a/b\n");
    put("/sys/fs/cgroup/user.slice/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/user.slice/a/memory.max", "1000000\n");
    put("/sys/fs/cgroup/user.slice/a/memory.current", "300000\n");
    put("/sys/fs/cgroup/user.slice/a/memory.stat",
        "anon 5\ninactive_file 50000\nactive_file 40000\n");
    assert_int_equal(eq_cgroup_room(root), 1000000 - (300000 - 90000));
    put("/sys/fs/cgroup/user.slice/a/b/memory.max", "5000\n");
    assert_int_equal(eq_cgroup_room(root), 5000);
    put("/sys/fs/cgroup/user.slice/a/memory.current", "2000000\n"); /* over its limit */
    assert_int_equal(eq_cgroup_room(root), 0);
}

static void test_v1(void **state) {
    (void)state;
    put("/proc/self/mountinfo", v1_mount);
    put("/proc/self/cgroup", "5:cpuacct,memory:/jobs/7\n3:cpu:/other\n0::/\n");
    put("/sys/fs/cgroup/my memory/jobs/7/memory.limit_in_bytes", "700000\n");
    put("/sys/fs/cgroup/my memory/jobs/7/memory.usage_in_bytes", "100000\n");
    put("/sys/fs/cgroup/my memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(eq_cgroup_room(root), 600000);
}

/* In a container the group's path belongs to another namespace; only the mount can be looked at. */
static void test_container(void **state) {
    (void)state;
    put("/proc/self/mountinfo", "9 8 0:1 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/memory.max", "4096\n");
    put("/proc/self/cgroup", "0::/../../elsewhere\n");
    assert_int_equal(eq_cgroup_room(root), 4096);
    put("/proc/self/cgroup", "0::/docker/abc\n");
    assert_int_equal(eq_cgroup_room(root), 4096);
    put("/proc/self/cgroup", "0::/docker/abc/in\n");
    put("/sys/fs/cgroup/in/memory.max", "4000\n");
    assert_int_equal(eq_cgroup_room(root), 4000);
}

static void test_this_machine(void **state) {
    (void)state;
    assert_true(eq_machine_memory() > 0 && eq_machine_memory() <= eq_cgroup_room(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested_v2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_v1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_container, setup, teardown),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
