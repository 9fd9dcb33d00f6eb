/* What the machine still has for this process. */
#ifndef EQ_BASE_MACHINE_H
#define EQ_BASE_MACHINE_H
#include <stdbool.h>
#include <stdint.h>

int64_t eq_disk_free(const char *path); /* bytes, -1 unknown */
/* Bytes this process could still take, limits of its control groups included. */
int64_t eq_machine_memory(void);
/* Of these groups alone, INT64_MAX without a limit; the files of /proc and /sys are looked for
 * below prefix ("" for those of this machine). */
int64_t eq_cgroup_room(const char *prefix);
#endif
