/* Formats that are a Hugging Face folder of safetensors: everything but how a linear is laid out is
 * one code. */
#ifndef EQ_EXPORT_FOLDER_H
#define EQ_EXPORT_FOLDER_H
#include "export/export.h"

/* Writes all of the folder and compares it, by the format's parts, pack, values and config. */
eq_status eq_export_folder(eq_export_job *x, const char *dir, eq_err *err);

/* Bits and group (-1: whole rows) if all linears have the same; false: they differ. */
bool eq_export_uniform(const eq_weights *w, int *bits, int64_t *group);
#endif
