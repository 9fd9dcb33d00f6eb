/* What a page says of one run, from its log alone. */
#ifndef EQ_CLI_RUN_PAGE_H
#define EQ_CLI_RUN_PAGE_H
#include "html_page.h"
#include "run_log.h"

/* What was run, with what, how long; then losses of the blocks, their validation gap, the loss of
 * the second phase and the error of each linear, as far as the log has them; the settings. */
void run_sections(eq_str *page, const run_log *l);
/* The same without the first part. */
void run_plots(eq_str *page, const run_log *l);
/* Mean over the blocks of the error of each linear: name, value. eq_free it; NULL: not said. */
typedef struct {
    char name[32];
    double sum;
    int64_t n;
} run_linear;
run_linear *run_linear_means(const run_log *l, int64_t *n);

/* A page of one or several logs (paths, one a line), written to `path`. */
eq_status run_page(const char *logs, const char *path, eq_err *err);
#endif
