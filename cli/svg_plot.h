/* Plots as SVG in a page: lines and marks over one pair of axes, each linear or logarithmic, with a
 * legend and the figures beside it. Series differ by colour and by mark. */
#ifndef EQ_CLI_SVG_PLOT_H
#define EQ_CLI_SVG_PLOT_H
#include "html_page.h"
#include "run_log.h"

typedef struct {
    const char *name;   /* for the legend; NULL: goes on with the look of the one before */
    const run_point *p; /* what is not finite, or below 0 on a logarithmic axis, is left out */
    int64_t n;
    bool line, marks;
    bool level; /* one value, p[0].y, for every x */
} plot_series;

typedef struct {
    const char *title, *x, *y; /* of the axes */
    bool log_x, log_y;
    const plot_series *series;
    int64_t n;
    const char *about; /* below it; NULL: nothing */
} svg_plot;

/* A figure: the plot, its legend, and the grid as its table. Nothing where no series has a point
 * that can be shown. */
void svg_figure(eq_str *page, const svg_plot *p, const html_grid *figures);
#endif
