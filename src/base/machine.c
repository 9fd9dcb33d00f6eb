/* What the machine still has: memory within the limits of control groups, disk.
 * A group's limit binds all groups below it, so every level from this process's group up to the
 * mount is looked at; version 1 and 2 of the interface may be there together. */
#define _GNU_SOURCE
#include "base/machine.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* A disk in memory has no more room than memory has, its group's limit included. */
int64_t eq_disk_free(const char *path) {
    struct statfs v;
    if (statfs(path, &v)) return -1;
    int64_t room = (int64_t)v.f_bavail * (int64_t)v.f_bsize;
    bool memory = v.f_type == TMPFS_MAGIC || v.f_type == RAMFS_MAGIC;
    int64_t most = memory ? eq_machine_memory() : room;
    return room < most ? room : most;
}

/* ---- control groups -------------------------------------------------------------------------- */

typedef struct {
    const char *limit, *usage; /* files of a group */
    const char *cache[2];      /* keys of memory.stat: what the kernel gives back by itself */
    char root[PATH_MAX], point[PATH_MAX]; /* the group that is mounted, and where; "": nowhere */
    char group[PATH_MAX];                 /* of this process; "": unknown */
} hierarchy;

static FILE *open_below(const char *prefix, const char *path) {
    char full[2 * PATH_MAX];
    int n = snprintf(full, sizeof full, "%s%s", prefix, path);
    return n > 0 && n < (int)sizeof full ? fopen(full, "re") : NULL;
}

/* A whole line without its newline; longer ones are passed over. */
static bool next_line(FILE *f, char *line, int size) {
    while (f && fgets(line, size, f)) {
        size_t n = strcspn(line, "\n");
        if (line[n] || feof(f)) return line[n] = 0, true;
        for (int c = 0; c != '\n' && c != EOF;) c = getc(f);
    }
    return false;
}

static bool listed(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (!strncmp(p, word, n) && (!p[n] || p[n] == ',')) return true;
    return false;
}

/* mountinfo writes blanks and the like as \ooo. */
static void unescape(char *s) {
    char *to = s;
    while (*s) {
        char octal[4] = {s[0] == '\\' ? s[1] : 0, s[1] ? s[2] : 0, s[1] && s[2] ? s[3] : 0, 0};
        bool code = strlen(octal) == 3 && strspn(octal, "01234567") == 3;
        *to++ = code ? (char)strtol(octal, NULL, 8) : *s;
        s += code ? 4 : 1;
    }
    *to = 0;
}

static void find_mounts(const char *prefix, hierarchy *v1, hierarchy *v2) {
    char line[4 * PATH_MAX], root[PATH_MAX], point[PATH_MAX], type[32], options[256];
    FILE *f = open_below(prefix, "/proc/self/mountinfo");
    while (next_line(f, line, sizeof line)) {
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2) continue;
        if (sscanf(rest, " - %31s %*s %255s", type, options) != 2) continue;
        hierarchy *h = !strcmp(type, "cgroup2")                               ? v2
                       : !strcmp(type, "cgroup") && listed(options, "memory") ? v1
                                                                              : NULL;
        if (!h || h->point[0]) continue;
        unescape(root), unescape(point);
        memcpy(h->root, root, sizeof root), memcpy(h->point, point, sizeof point);
    }
    if (f) fclose(f);
}

static void find_groups(const char *prefix, hierarchy *v1, hierarchy *v2) {
    char line[2 * PATH_MAX];
    FILE *f = open_below(prefix, "/proc/self/cgroup");
    while (next_line(f, line, sizeof line)) {
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group || strlen(group + 1) >= PATH_MAX) continue;
        *group++ = 0;
        hierarchy *h = !strncmp(line, "0:", 2) && !list[1] ? v2
                       : listed(list + 1, "memory")        ? v1
                                                           : NULL;
        if (h) strcpy(h->group, group);
    }
    if (f) fclose(f);
}

static int64_t number_in(const char *prefix, const char *folder, const char *name) {
    char path[2 * PATH_MAX];
    long long v = -1;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = n > 0 && n < (int)sizeof path ? open_below(prefix, path) : NULL;
    if (f && fscanf(f, "%lld", &v) != 1) v = -1; /* "max" */
    if (f) fclose(f);
    return v;
}

static int64_t cached(const char *prefix, const char *folder, const hierarchy *h) {
    char path[2 * PATH_MAX], line[256], key[128];
    long long v, sum = 0;
    int n = snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *f = n > 0 && n < (int)sizeof path ? open_below(prefix, path) : NULL;
    while (next_line(f, line, sizeof line))
        if (sscanf(line, "%127s %lld", key, &v) == 2 &&
            (!strcmp(key, h->cache[0]) || !strcmp(key, h->cache[1])))
            sum += v;
    if (f) fclose(f);
    return sum;
}

/* What may still be taken below the tightest limit; INT64_MAX: no limit. */
static int64_t room_in(const char *prefix, const hierarchy *h) {
    char folder[2 * PATH_MAX];
    size_t root = strcmp(h->root, "/") ? strlen(h->root) : 0, top = strlen(h->point);
    /* A group outside of what is mounted (another namespace's name for it): the mount itself. */
    bool inside = !strncmp(h->group, h->root, root) && strncmp(h->group, "/..", 3) != 0;
    int64_t best = INT64_MAX;
    if (!h->point[0] || !h->group[0]) return best;
    snprintf(folder, sizeof folder, "%s%s", h->point, inside ? h->group + root : "");
    for (;;) {
        int64_t limit = number_in(prefix, folder, h->limit);
        int64_t usage = number_in(prefix, folder, h->usage);
        if (limit >= 0) {
            int64_t taken = usage > 0 ? usage - cached(prefix, folder, h) : 0;
            int64_t room = limit - (taken > 0 ? taken : 0);
            if (room < best) best = room > 0 ? room : 0;
        }
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < top) return best;
        *slash = 0;
    }
}

int64_t eq_cgroup_room(const char *prefix) {
    hierarchy v1 = {.limit = "memory.limit_in_bytes",
                    .usage = "memory.usage_in_bytes",
                    .cache = {"total_inactive_file", "total_active_file"}};
    hierarchy v2 = {.limit = "memory.max",
                    .usage = "memory.current",
                    .cache = {"inactive_file", "active_file"}};
    find_mounts(prefix, &v1, &v2);
    find_groups(prefix, &v1, &v2);
    int64_t a = room_in(prefix, &v1), b = room_in(prefix, &v2);
    return a < b ? a : b;
}

int64_t eq_machine_memory(void) {
    int64_t best = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    long long kb;
    while (next_line(f, line, sizeof line))
        if (sscanf(line, "MemAvailable: %lld kB", &kb) == 1) best = (int64_t)kb << 10;
    if (f) fclose(f);
    int64_t room = eq_cgroup_room("");
    return room < best ? room : best;
}
