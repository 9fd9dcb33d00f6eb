/* A file that is cut while it is mapped, or a disk that fails under it, ends a program by SIGBUS.
 * Here it ends with a line that names the file; what a job has saved stays, so --resume goes on. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "command.h"

static void say(const char *text) {
    ssize_t ignored = write(2, text, strlen(text));
    (void)ignored;
}

static void on_bus_error(int sig, siginfo_t *info, void *context) {
    const char *path = eq_map_named(info->si_addr);
    (void)sig, (void)context;
    say("eqat: ");
    say(path ? path : "a mapped file");
    say(": cannot be read any more: it was cut while in use, or its disk failed\n");
    _exit(EXIT_FAILED);
}

void cli_catch_bus_errors(void) {
    struct sigaction a = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    sigaction(SIGBUS, &a, NULL);
}
