/* The rows of the table, one for each format. */
#ifndef EQ_EXPORT_FORMATS_H
#define EQ_EXPORT_FORMATS_H
#include "export/export.h"

extern const eq_format eq_format_gptq, eq_format_gptq_v1, eq_format_gptq_sym, eq_format_ct,
    eq_format_ct_asym, eq_format_awq, eq_format_mlx, eq_format_gguf, eq_format_hf;
#endif
