/* See html_page.h. */
#include "html_page.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"

/* Colours of series (Okabe and Ito's, which the colour-blind can tell apart) as variables, so that
 * a plot is drawn once for both grounds. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--soft:#5c5c5c;--line:#d8d8d8;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#007a5a;--c3:#b0528c;--c4:#8a6500;--c5:#2f7fb5;--c6:#555;"
    "--c7:#a02020}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#16181b;--fg:#e8e8e8;--soft:#a5a5a5;"
    "--line:#3a3d42;--c0:#56b4e9;--c1:#f0803c;--c2:#35c79b;--c3:#e39ac4;--c4:#e6b422;--c5:#9cd3f5;"
    "--c6:#bbb;--c7:#ff8a80}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.2rem;margin:2rem 0 .5rem}\n"
    "p,li{max-width:48rem}p.soft,figcaption{color:var(--soft)}\n"
    ".wide{overflow-x:auto}p.soft{margin:.5rem 0}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.875rem}\n"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:left;"
    "white-space:nowrap;overflow-wrap:normal}\n"
    "th.n,td.n{text-align:right}td.w{white-space:normal;overflow-wrap:anywhere;min-width:12rem}"
    ".facts th,.facts td{white-space:normal;overflow-wrap:anywhere;min-width:5rem}\n"
    "figure{margin:1rem 0;display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);"
    "gap:.25rem 1.5rem;align-items:start}\n"
    "figure>.figures{max-height:24rem;overflow:auto}\n"
    "figcaption{grid-column:1/-1;font-size:.875rem}\n"
    "@media (max-width:50rem){figure{grid-template-columns:minmax(0,1fr)}"
    "figure>.figures{max-height:16rem}}\n"
    "svg{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}\n"
    "svg text{fill:var(--soft)}svg .axis{stroke:var(--soft);fill:none}"
    "svg .grid{stroke:var(--line);fill:none}\n"
    "svg .mark{stroke-width:1.5;fill:var(--bg)}svg .thin{stroke-width:1;fill:none}"
    "svg .curve{stroke-width:1.75;fill:none;stroke-linejoin:round}"
    "svg .level{stroke-width:1.5;stroke-dasharray:5 4;fill:none}\n"
    ".k0{stroke:var(--c0)}.k1{stroke:var(--c1)}.k2{stroke:var(--c2)}.k3{stroke:var(--c3)}"
    ".k4{stroke:var(--c4)}.k5{stroke:var(--c5)}.k6{stroke:var(--c6)}.k7{stroke:var(--c7)}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:0 1rem;margin:.25rem 0;padding:0;"
    "font-size:.875rem}.legend svg{display:inline-block;width:1.75rem;height:.875rem;"
    "vertical-align:-.1em;margin-right:.35rem}\n"
    "details{margin:.75rem 0}summary{cursor:pointer}pre{white-space:pre-wrap;font-size:.8125rem}\n";

void html_open(eq_str *page, const char *title) {
    eq_str_puts(page, "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
                      "<head>\n<meta charset=\"utf-8\"/>\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'\"/>\n<title>");
    html_text(page, title);
    eq_str_printf(page, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
    html_text(page, title);
    eq_str_puts(page, "</h1>\n");
}

void html_close(eq_str *page) { eq_str_puts(page, "</body>\n</html>\n"); }

static void put_escaped(eq_str *page, const char *s) {
    static const char *const entity[] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"};
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        const char *e = c < sizeof entity / sizeof *entity ? entity[c] : NULL;
        if (e)
            eq_str_puts(page, e);
        else if ((c < 32 && c != '\n') || c == 127)
            eq_str_puts(page, "\xef\xbf\xbd");
        else
            eq_str_put(page, s, 1);
    }
}

void html_text(eq_str *page, const char *text) {
    json_t *clean = eq_json_lossy(text); /* only what is UTF-8 */
    const char *s = json_string_value(clean);
    if (s)
        put_escaped(page, s);
    else
        page->oom = true;
    json_decref(clean);
}

/* ---- tables ---------------------------------------------------------------------------------- */

const char *html_number(char out[32], double x) {
    if (!isfinite(x))
        snprintf(out, 32, "-");
    else if (x != 0 && (fabs(x) >= 1e6 || fabs(x) < 1e-3))
        snprintf(out, 32, "%.3g", x);
    else
        snprintf(out, 32, "%.*f",
                 fabs(x) >= 1e4   ? 0
                 : fabs(x) >= 100 ? 1
                 : fabs(x) >= 1   ? 2
                                  : 4,
                 x);
    return out;
}

void html_cell(html_grid *g, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (g->n == g->cap && !g->oom) {
        int64_t cap = g->cap ? 2 * g->cap : 64;
        char **p = eq_realloc(g->cell, cap, sizeof *p);
        g->oom = !p;
        if (p) g->cell = p, g->cap = cap;
    }
    char *copy = g->oom ? NULL : eq_strdup(text);
    if (copy)
        g->cell[g->n++] = copy;
    else
        g->oom = true;
}

void html_cell_number(html_grid *g, double x) {
    char text[32];
    html_cell(g, "%s", html_number(text, x));
}

void html_grid_free(html_grid *g) {
    for (int64_t i = 0; i < g->n; i++) eq_free(g->cell[i]);
    eq_free(g->cell);
    *g = (html_grid){0};
}

/* Every cell below the head is a number or missing, and not all are missing. */
static bool is_numbers(const html_grid *g, int64_t column) {
    bool any = false;
    for (int64_t i = g->columns + column; i < g->n; i += g->columns) {
        const char *s = g->cell[i];
        if (!strcmp(s, "-")) continue;
        if (!*s || strspn(s, "0123456789.+-e") != strlen(s)) return false;
        any = true;
    }
    return any;
}

void html_table(eq_str *page, const html_grid *g, const char *caption) {
    if (g->oom) page->oom = true;
    if (g->oom || !g->columns) return;
    if (caption) {
        eq_str_puts(page, "<p class=\"soft\">");
        html_text(page, caption);
        eq_str_puts(page, "</p>\n");
    }
    eq_str_printf(page, "<div class=\"wide\"><table%s>", g->columns == 2 ? " class=\"facts\"" : "");
    for (int64_t i = 0; i < g->n; i++) {
        int64_t column = i % g->columns;
        bool head = i < g->columns, right = is_numbers(g, column);
        const char *tag = head ? "th scope=\"col\"" : column ? "td" : "th scope=\"row\"";
        const char *class = right                              ? " class=\"n\""
                            : !head && strlen(g->cell[i]) > 48 ? " class=\"w\""
                                                               : "";
        if (!column) eq_str_puts(page, head ? "<thead><tr>" : "<tr>");
        eq_str_printf(page, "<%s%s>", tag, class);
        html_text(page, g->cell[i]);
        eq_str_printf(page, "</%.2s>", tag);
        if (column + 1 == g->columns)
            eq_str_puts(page, head ? "</tr></thead>\n<tbody>" : "</tr>\n");
    }
    eq_str_puts(page, "</tbody></table></div>\n");
}

eq_status html_write(eq_str *page, const char *path, eq_err *err) {
    eq_status st = page->oom || !page->p ? eq_nomem(err, "a page", page->n)
                                         : eq_write_file(path, page->p, page->n, err);
    eq_str_free(page);
    return st;
}
