/* Training jobs of both phases on a tiny model, behind a backend that lets a test look at every
 * operation, and the events they sent. One at a time a program. */
#ifndef TESTS_TINY_TRAIN_H
#define TESTS_TINY_TRAIN_H
#include <jansson.h>

#include "backend/wrap.h"
#include "scratch.h"
#include "tiny_model.h"
#include "train/block_ap.h"
#include "train/e2e_qp.h"

enum { TINY_T = 16, TINY_GROUP = 32, TINY_BITS = 2 };

typedef struct {
    char *model;
    eq_weights *src;
    eq_backend *be;
    eq_wrap *wrap;  /* its hooks are the test's */
    json_t *events; /* of the jobs since tiny_train_forget */
    void (*on_event)(const char *kind, const json_t *event); /* as it comes; may be NULL */
} tiny_train;
extern tiny_train tiny;

/* Opens a tiny model of this family on a backend; fails the test where that cannot be. */
void tiny_train_open(const char *family, const char *backend);
void tiny_train_close(void);
void tiny_train_forget(void); /* the events */
extern const eq_observer tiny_observer;

/* n windows of TINY_T ids that depend on `first`; eq_windows_free them. */
eq_windows tiny_windows(int64_t n, int32_t first);
/* Small jobs in F32 with every rate > 0; the caller changes what it is about. */
eq_block_ap_setup tiny_block_ap(void);
eq_e2e_setup tiny_e2e(eq_qblock_source source, void *ctx);
void tiny_e2e_forget_state(void); /* the next job begins anew */
eq_qblock tiny_qblock(void);      /* room for one; eq_qblock_free it */

/* The nth event of a kind, its number under a key; both fail the test where there is none. */
const json_t *tiny_event(const char *kind, int nth);
int tiny_count(const char *kind);
double tiny_number(const json_t *event, const char *key);
/* Backend memory as floats, n of them; eq_free it. */
float *tiny_floats(eq_arg from);
void tiny_ok(eq_status st, const eq_err *err);
#endif
