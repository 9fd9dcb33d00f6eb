/* See svg_plot.h. Numbers in the file have two decimals: a hundredth of a pixel. */
#include "svg_plot.h"

#include <math.h>
#include <stdio.h>

/* A small box with large letters: on a phone it is shown at 0.8 of its size. */
enum { WIDTH = 460, HEIGHT = 300, LEFT = 58, RIGHT = 12, TOP = 12, BOTTOM = 44, LOOKS = 8 };

typedef struct {
    bool log;
    double lo, hi;   /* of the values, or of their logarithms to base 10 */
    double from, to; /* pixels */
} axis;

static bool shown(const axis *a, double v) { return isfinite(v) && (!a->log || v > 0); }
static double place(const axis *a, double v) {
    double t = ((a->log ? log10(v) : v) - a->lo) / (a->hi - a->lo);
    return a->from + (t < -0.05 ? -0.05 : t > 1.05 ? 1.05 : t) * (a->to - a->from);
}
static void widen(axis *a, double v) {
    if (a->log) v = log10(v);
    if (v < a->lo) a->lo = v;
    if (v > a->hi) a->hi = v;
}
/* Room around the values, and some where all are the same. */
static void settle(axis *a, double share) {
    double span = a->hi - a->lo;
    if (span <= 0) span = a->log ? 0.2 : a->hi ? fabs(a->hi) * 0.2 : 1;
    a->lo -= share * span, a->hi += share * span;
}

/* ---- ticks ----------------------------------------------------------------------------------- */

static void tick_text(char out[32], double v) {
    double size = fabs(v);
    if (size >= 1e5 || (size > 0 && size < 1e-3))
        snprintf(out, 32, "%.1e", v);
    else
        snprintf(out, 32, "%.5g", v);
}

static void put_tick(eq_str *s, const axis *a, double v, bool is_x) {
    char text[32];
    double at = place(a, v);
    tick_text(text, v);
    if (is_x)
        eq_str_printf(s,
                      "<path class=\"grid\" d=\"M%.2f %dV%d\"/><text x=\"%.2f\" y=\"%d\" "
                      "text-anchor=\"middle\">%s</text>\n",
                      at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 16, text);
    else
        eq_str_printf(s,
                      "<path class=\"grid\" d=\"M%d %.2fH%d\"/><text x=\"%d\" y=\"%.2f\" "
                      "text-anchor=\"end\">%s</text>\n",
                      LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4, text);
}

/* 1, 2 or 5 times a power of ten: the least step that gives no more than `most` of them. */
static double step_of(double span, int most) {
    double p = pow(10, floor(log10(span / most)));
    for (int k = 0; k < 3; k++)
        if (span / (p * (double[]){1, 2, 5}[k]) <= most) return p * (double[]){1, 2, 5}[k];
    return 10 * p;
}

static void log_ticks(eq_str *s, const axis *a, bool is_x) {
    double decades = a->hi - a->lo;
    int each = (int)ceil(decades / 6), first = (int)floor(a->lo);
    const double in_decade[] = {1, 2, 5};
    for (int d = first; d <= (int)ceil(a->hi); d++) {
        if ((d - first) % (each ? each : 1)) continue;
        for (int k = 0; k < (decades < 2 ? 3 : 1); k++) {
            double v = in_decade[k] * pow(10, d), at = log10(v);
            if (at >= a->lo && at <= a->hi) put_tick(s, a, v, is_x);
        }
    }
}

static void ticks(eq_str *s, const axis *a, bool is_x) {
    /* Within a decade 1, 2 and 5 are few, or lie outside. */
    if (a->log && a->hi - a->lo > 1) {
        log_ticks(s, a, is_x);
        return;
    }
    double lo = a->log ? pow(10, a->lo) : a->lo, hi = a->log ? pow(10, a->hi) : a->hi;
    double step = step_of(hi - lo, is_x ? 7 : 6);
    for (double k = ceil(lo / step); k * step <= hi && k < ceil(lo / step) + 20; k++)
        put_tick(s, a, k * step + 0.0, is_x); /* no -0 */
}

static void axes(eq_str *s, const svg_plot *p, const axis *x, const axis *y) {
    ticks(s, x, true), ticks(s, y, false);
    eq_str_printf(s, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM,
                  WIDTH - RIGHT);
    eq_str_printf(s, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2,
                  HEIGHT - 8);
    html_text(s, p->x);
    eq_str_printf(s,
                  "</text>\n<text transform=\"translate(13 %d) rotate(-90)\" "
                  "text-anchor=\"middle\">",
                  (TOP + HEIGHT - BOTTOM) / 2);
    html_text(s, p->y);
    eq_str_puts(s, "</text>\n");
}

/* ---- series ---------------------------------------------------------------------------------- */

/* Eight shapes for eight colours. */
static void mark(eq_str *s, int look, double x, double y) {
    static const char *const shape[LOOKS] = {"m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
                                             "m-4 -4h8v8h-8z",
                                             "m0 -5l5 9h-10z",
                                             "m0 -5l5 5l-5 5l-5 -5z",
                                             "m0 5l5 -9h-10z",
                                             "m-4 -4l8 8m0 -8l-8 8",
                                             "m-5 0h10m-5 -5v10",
                                             "m-5 -2h10v4h-10z"};
    eq_str_printf(s, "<path class=\"mark k%d\" d=\"M%.2f %.2f%s\"/>\n", look, x, y, shape[look]);
}

static void put_series(eq_str *s, const plot_series *k, int look, const axis *x, const axis *y) {
    if (k->level) {
        if (k->n && shown(y, k->p->y))
            eq_str_printf(s, "<path class=\"level k%d\" d=\"M%d %.2fH%d\"/>\n", look, LEFT,
                          place(y, k->p->y), WIDTH - RIGHT);
        return;
    }
    bool open = false;
    for (int64_t i = 0; k->line && i < k->n; i++) {
        if (!shown(x, k->p[i].x) || !shown(y, k->p[i].y)) continue;
        if (!open)
            eq_str_printf(s, "<path class=\"%s k%d\" d=\"", k->n > 60 ? "thin" : "curve", look);
        eq_str_printf(s, "%s%.2f %.2f", open ? "L" : "M", place(x, k->p[i].x), place(y, k->p[i].y));
        open = true;
    }
    if (open) eq_str_puts(s, "\"/>\n");
    for (int64_t i = 0; k->marks && i < k->n; i++)
        if (shown(x, k->p[i].x) && shown(y, k->p[i].y))
            mark(s, look, place(x, k->p[i].x), place(y, k->p[i].y));
}

static void legend(eq_str *s, const svg_plot *p) {
    int look = -1;
    eq_str_puts(s, "<ul class=\"legend\">");
    for (int64_t i = 0; i < p->n; i++) {
        const plot_series *k = &p->series[i];
        if (!k->name) continue;
        look = (look + 1) % LOOKS;
        if (!k->n) continue;
        eq_str_puts(s, "<li><svg viewBox=\"0 0 28 14\" aria-hidden=\"true\">");
        if (k->line || k->level)
            eq_str_printf(s, "<path class=\"%s k%d\" d=\"M1 7H27\"/>", k->level ? "level" : "curve",
                          look);
        if (k->marks) mark(s, look, 14, 7);
        eq_str_puts(s, "</svg>");
        html_text(s, k->name);
        eq_str_puts(s, "</li>");
    }
    eq_str_puts(s, "</ul>\n");
}

/* false: no point can be shown. */
static bool fit(const svg_plot *p, axis *x, axis *y) {
    for (int64_t i = 0; i < p->n; i++) {
        const plot_series *k = &p->series[i];
        for (int64_t j = 0; j < k->n; j++) {
            if (!shown(y, k->p[j].y) || (!k->level && !shown(x, k->p[j].x))) continue;
            widen(y, k->p[j].y);
            if (!k->level) widen(x, k->p[j].x);
        }
    }
    if (!(x->lo <= x->hi && y->lo <= y->hi)) return false;
    settle(x, 0.03), settle(y, 0.06);
    return true;
}

void svg_figure(eq_str *page, const svg_plot *p, const html_grid *figures) {
    axis x = {p->log_x, INFINITY, -INFINITY, LEFT, WIDTH - RIGHT};
    axis y = {p->log_y, INFINITY, -INFINITY, HEIGHT - BOTTOM, TOP};
    if (!fit(p, &x, &y)) return;
    eq_str_puts(page, "<h2>");
    html_text(page, p->title);
    eq_str_puts(page, "</h2>\n<figure>\n<div>");
    eq_str_printf(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    html_text(page, p->title);
    eq_str_puts(page, "\" xmlns=\"http://www.w3.org/2000/svg\">\n");
    axes(page, p, &x, &y);
    int look = -1;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->series[i].name || look < 0) look = (look + 1) % LOOKS;
        put_series(page, &p->series[i], look, &x, &y);
    }
    eq_str_puts(page, "</svg>\n");
    legend(page, p);
    eq_str_puts(page, "</div>\n<div class=\"figures\" tabindex=\"0\">");
    html_table(page, figures, NULL);
    eq_str_puts(page, "</div>\n");
    if (p->about) {
        eq_str_puts(page, "<figcaption>");
        html_text(page, p->about);
        eq_str_puts(page, "</figcaption>\n");
    }
    eq_str_puts(page, "</figure>\n");
}
