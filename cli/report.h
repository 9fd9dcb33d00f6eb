/* A JSON description printed for people. */
#ifndef EQ_CLI_REPORT_H
#define EQ_CLI_REPORT_H
#include "command.h"

/* Prints the library's JSON text, as it is or for people: objects indented, arrays of objects as
 * tables with one column a key, "bytes" and "seconds" in readable units. Frees the text; returns
 * the exit code. */
int cli_report(char *json_text, bool as_json);

#endif
