/* How a linear is quantized, and the words people use for it: "w2g64". */
#ifndef EQ_QUANT_SCHEME_H
#define EQ_QUANT_SCHEME_H
#include "base/err.h"

typedef struct {
    int bits;      /* 0: not quantized */
    int64_t group; /* weights of a row that share a step and a zero point; -1: the whole row */
    eq_grid grid;
} eq_scheme;

/* Of the linears of a model: see eq_scheme_at (model/weights.h) and model/schemes.h. Who holds a
 * copy does not own the table. */
typedef struct {
    eq_scheme all; /* where nothing else is said */
    eq_scheme *at; /* [blocks, linears of a block]; NULL: all are alike */
} eq_schemes;
#define EQ_ONE_SCHEME(n, g) ((eq_schemes){.all = {.bits = (n), .group = (g)}})

static inline bool eq_scheme_same(eq_scheme a, eq_scheme b) {
    return a.bits == b.bits && a.group == b.group && a.grid == b.grid;
}

/* "w3", "W2A16G64", "w4g-1" of n bytes: bits, and the group where it is given; the rest stays.
 * NULL, or what was expected. */
const char *eq_scheme_read(eq_scheme *s, const char *text, int64_t n);
/* "free", "portable", ... as options and files spell them. */
const char *eq_grid_name(eq_grid grid);
bool eq_grid_find(eq_grid *grid, const char *name);
/* "w2g64" */
void eq_scheme_name(char out[24], eq_scheme s);
/* The group sizes that can be trained. */
bool eq_scheme_group_known(int64_t group);

/* Of "w2g64,PATTERN=w4,..." everything behind the first comma: the next item from *text on, which
 * is moved behind it. false: there is none. */
typedef struct {
    const char *pattern, *scheme;
    int64_t pattern_n, scheme_n; /* pattern_n < 0: the item has no '=' */
} eq_scheme_item;
bool eq_scheme_next(const char **text, eq_scheme_item *item);
/* Is the item well-formed? NULL, or what was expected. */
const char *eq_scheme_item_refuses(const eq_scheme_item *item);
/* A pattern is some parts in a row of a name whose parts are joined by dots; * is any text. */
bool eq_scheme_fits(const eq_scheme_item *item, const char *name);
#endif
