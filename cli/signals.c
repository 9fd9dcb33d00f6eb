/* See signals.h. Invariant: the handler calls only what is safe in one. */
#include "signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "command.h"

volatile int cli_stop;

void cli_hold_streams(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", O_RDWR); /* takes the lowest number */
}

static void on_signal(int sig) {
    static const char first[] = "\neqat: stopping; once more to exit at once\n";
    if (cli_stop) {
        /* A closed terminal sends SIGHUP twice, through the kernel and through the shell; a limit
         * of CPU time sends SIGXCPU every second. */
        if (sig != SIGHUP && sig != SIGXCPU) _exit(EXIT_STOPPED);
        return;
    }
    cli_stop = 1;
    (void)!write(2, first, sizeof first - 1);
}

void cli_catch_signals(void) {
    static const int stop[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1};
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < sizeof stop / sizeof *stop; i++) {
        bool nohup =
            stop[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN;
        if (!nohup) sigaction(stop[i], &a, NULL);
    }
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

static void on_interrupt(int sig) {
    (void)sig;
    cli_stop = 1;
}

void cli_catch_interrupts(bool reading) {
    struct sigaction a = {.sa_handler = on_interrupt, .sa_flags = reading ? 0 : SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    a.sa_handler = SIG_IGN, a.sa_flags = 0;
    sigaction(SIGPIPE, &a, NULL);
    sigaction(SIGXFSZ, &a, NULL);
}
