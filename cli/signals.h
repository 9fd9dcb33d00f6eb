/* Signals and standard streams. */
#ifndef EQ_CLI_SIGNALS_H
#define EQ_CLI_SIGNALS_H
#include <stdbool.h>

/* Opens /dev/null in place of a standard stream that the caller closed: the next file opened would
 * get its number, and progress would land in it. First thing in main. */
void cli_hold_streams(void);
/* From here on SIGINT, SIGTERM, SIGHUP, SIGXCPU and SIGUSR1 set cli_stop; a second SIGINT, SIGTERM
 * or SIGUSR1 ends the program at once. A pipe or a file that takes no more is an error of the
 * write. */
void cli_catch_signals(void);
extern volatile int cli_stop;
/* For a conversation: SIGINT sets cli_stop, however often. reading: it ends a read that waits, too.
 */
void cli_catch_interrupts(bool reading);

#endif
