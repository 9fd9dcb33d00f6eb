/* eqat compare, from inside: one model, several schemes and methods, one table. A cell is a scheme
 * and a method; it has a folder with its model, a log beside it, and its figures in results.json,
 * which is written whenever one of them is known. Invariant: a figure that is in results.json is
 * not computed again, and was computed with the settings that stand there. */
#ifndef EQ_CLI_COMPARE_H
#define EQ_CLI_COMPARE_H
#include <jansson.h>

#include "html_page.h"
#include "quantize_options.h"

typedef struct {
    quantize_args q; /* first, so that its options' rows are this command's too */
    const char *schemes, *methods, *train_variants, *e2e_variants;
    const char *text[3]; /* of perplexity, by eq_ppl_protocol */
    int64_t ppl_seqlen, ppl_limit;
    bool as_written;
    eq_eval_opts tasks; /* what is not asked for there is not used */
} compare_args;

/* A row of the list of methods. */
typedef struct {
    const char *name, *about;
    eq_method method;
    bool e2e;
    const char *from; /* E2E-QP goes on from the folder of this method, where it is asked for too */
    bool trains_blocks;
} compare_method;
extern const compare_method compare_methods[];
extern const int compare_method_count;

typedef struct {
    char name[256]; /* of its folder: "w2g64-both" */
    char scheme[24];
    const compare_method *method;
    char train[64], e2e_train[64]; /* variants as given, "": as the options say */
    unsigned train_set, e2e_set;   /* the same, read */
    int64_t from;                  /* the cell that E2E-QP goes on from; -1: none */
} compare_cell;

typedef struct {
    const compare_args *args;
    const opt *options; /* of the command */
    compare_cell *cell;
    int64_t n;
    json_t *results; /* results.json */
    bool begun;
} compare_job;

/* The cells of a command line: EQ_EINPUT names what is not known, with what may have been meant. */
eq_status compare_cells(compare_job *j, eq_err *err);
/* eq_free it; NULL: memory is out. */
char *compare_path(const compare_job *j, const char *name, const char *tail);

/* Makes OUT or, with --resume, reads what is there; computes what is missing, cell by cell. */
eq_status compare_run(compare_job *j, eq_err *err);
json_t *compare_cell_results(const compare_job *j, const char *name); /* NULL: none yet */

/* The rows of the comparison as far as they are known, the model in full precision first. */
void compare_grid(const compare_job *j, html_grid *g);
void compare_print(const html_grid *g);
eq_status compare_page(const compare_job *j, const char *path, eq_err *err);

/* "full-precision", also its name in results.json. */
#define COMPARE_FULL "full-precision"
#endif
