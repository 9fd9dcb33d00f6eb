/* Results on stdout. */
#ifndef EQ_CLI_OUTPUT_H
#define EQ_CLI_OUTPUT_H
#include <jansson.h>

#include "command.h"

/* Takes the object over, prints it on one line. */
void cli_print_json(json_t *object);
/* A JSON number, null where it is not finite (JSON has no infinity). */
json_t *cli_number(double x);

#endif
