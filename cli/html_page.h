/* A page that stands alone: one file, no script, nothing fetched, dark and light as the reader has
 * it, readable on a phone. It is also well-formed XML, so that any parser can look at it.
 * Invariant: whatever comes from files or a command line goes through html_text. */
#ifndef EQ_CLI_HTML_PAGE_H
#define EQ_CLI_HTML_PAGE_H
#include "base/str.h"

void html_open(eq_str *page, const char *title);
void html_close(eq_str *page);
/* Any bytes, with & < > " ' escaped and what no text holds (controls, bytes that are no UTF-8)
 * replaced. */
void html_text(eq_str *page, const char *text);

/* Cells of text, row after row; the first row is the head. Cells belong to the grid. */
typedef struct {
    int64_t columns, n; /* n: cells so far */
    int64_t cap;
    char **cell;
    bool oom;
} html_grid;
void html_cell(html_grid *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A number as people read it, "-" where it is not finite. */
void html_cell_number(html_grid *g, double x);
void html_grid_free(html_grid *g);
/* The grid as a table, numbers at the right, with a line above it (NULL: none). */
void html_table(eq_str *page, const html_grid *g, const char *caption);

/* "4.27", "0.0123", "1.2e+05"; "-" where it is not finite. */
const char *html_number(char out[32], double x);

/* Writes the page; EQ_ENOMEM where growing it has failed before. Frees it. */
eq_status html_write(eq_str *page, const char *path, eq_err *err);
#endif
