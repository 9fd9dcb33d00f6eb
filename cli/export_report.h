/* What is said of a written export, by export and by quantize --to. */
#ifndef EQ_CLI_EXPORT_REPORT_H
#define EQ_CLI_EXPORT_REPORT_H
#include "base/json.h"

/* The formats, as --to has them. */
#define EQ_TO_WORDS \
    "gguf|gptq|gptq-v1|gptq-sym|compressed-tensors|compressed-tensors-asym|awq|mlx|hf"

json_t *cli_export_json(const eq_export_opts *o, const eq_export_result *r);
void cli_export_print(const eq_export_opts *o, const eq_export_result *r);

#endif
