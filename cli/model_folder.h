/* Looking at what was given as MODEL before the library does. */
#ifndef EQ_CLI_MODEL_FOLDER_H
#define EQ_CLI_MODEL_FOLDER_H
#include "eqat.h"

/* An error where it is a hub name or a folder of the hub's cache; everything else is the library's
 * to look at. */
eq_status cli_model_folder(const char *model, eq_err *err);

#endif
