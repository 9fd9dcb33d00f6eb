/* See scheme.h. */
#include "quant/scheme.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 256 }; /* bytes of a pattern or a name, far more than a model has */

bool eq_scheme_group_known(int64_t group) {
    static const int64_t known[] = {32, 64, 128, 256, -1};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (group == known[i]) return true;
    return false;
}

const char *eq_scheme_read(eq_scheme *s, const char *text, int64_t n) {
    static const char expected[] = "a scheme like W2A16G64 or w3g128";
    int bits, group = (int)s->group, used = 0;
    char lower[24];
    if (n <= 0 || n >= (int64_t)sizeof lower) return expected;
    for (int64_t i = 0; i < n; i++)
        lower[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 'a' - 'A' : text[i]);
    lower[n] = 0;
    if (sscanf(lower, "w%1d%n", &bits, &used) != 1) return expected;
    const char *rest = lower + used;
    if (!strncmp(rest, "a16", 3)) rest += 3; /* activations stay 16 bits wide */
    if (*rest) {
        used = 0;
        if (sscanf(rest, "g%5d%n", &group, &used) != 1 || rest[used]) return expected;
    }
    if (bits < 2 || bits > 4) return "2, 3 or 4 bits in the scheme";
    if (!eq_scheme_group_known(group)) return "groups of 32, 64, 128, 256 or -1 in the scheme";
    s->bits = bits, s->group = group;
    return NULL;
}

static const char *const grids[] = {"free", "portable", "q2_k", "q4_k"};
const char *eq_grid_name(eq_grid grid) { return grids[grid]; }
bool eq_grid_find(eq_grid *grid, const char *name) {
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
        if (!strcmp(grids[i], name)) return *grid = (eq_grid)i, true;
    return false;
}

void eq_scheme_name(char out[24], eq_scheme s) {
    snprintf(out, 24, "w%dg%d", s.bits, (int)s.group);
}

bool eq_scheme_next(const char **text, eq_scheme_item *item) {
    const char *from = *text;
    if (!from || !*from) return false;
    const char *end = strchr(from, ',');
    int64_t n = end ? end - from : (int64_t)strlen(from);
    const char *equals = memchr(from, '=', (size_t)n);
    *text = end ? end + 1 : from + n;
    item->pattern = from;
    item->pattern_n = equals ? equals - from : -1;
    item->scheme = equals ? equals + 1 : from;
    item->scheme_n = from + n - item->scheme;
    return true;
}

const char *eq_scheme_item_refuses(const eq_scheme_item *item) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.*";
    eq_scheme ignored = {.group = 64};
    if (item->pattern_n <= 0 || item->pattern_n > NAME - 5)
        return "PATTERN=SCHEME behind the comma, as in w2g64,down_proj=w4g64";
    for (int64_t i = 0; i < item->pattern_n; i++)
        if (!strchr(letters, item->pattern[i]) || !item->pattern[i])
            return "letters, digits, _ . and * in a pattern of the scheme";
    return eq_scheme_read(&ignored, item->scheme, item->scheme_n);
}

bool eq_scheme_fits(const eq_scheme_item *item, const char *name) {
    char glob[NAME], whole[NAME];
    snprintf(glob, sizeof glob, "*.%.*s.*", (int)item->pattern_n, item->pattern);
    snprintf(whole, sizeof whole, ".%s.", name);
    return !fnmatch(glob, whole, 0);
}

const char *eq_scheme_set(eq_quantize_opts *o, const char *text) {
    eq_scheme s = {.bits = o->bits, .group = o->group_size};
    eq_scheme_item item;
    const char *at = text, *rest = text, *why = NULL;
    if (!*text) return eq_scheme_read(&s, text, 0);
    if (eq_scheme_next(&at, &item) && item.pattern_n < 0) {
        why = eq_scheme_read(&s, item.scheme, item.scheme_n);
        rest = at;
    } else {
        at = text;
    }
    while (!why && eq_scheme_next(&at, &item)) why = eq_scheme_item_refuses(&item);
    if (why) return why;
    o->bits = s.bits, o->group_size = s.group;
    o->scheme = *rest ? rest : NULL;
    return NULL;
}
