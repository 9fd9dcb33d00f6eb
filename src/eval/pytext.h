/* What Python's str methods do to UTF-8, since prompts are defined by programs that call them. */
#ifndef EQ_EVAL_PYTEXT_H
#define EQ_EVAL_PYTEXT_H
#include "base/str.h"

typedef struct {
    const char *p;
    int64_t n;
} eq_text;

eq_text eq_py_strip(eq_text t);
eq_text eq_py_rstrip(eq_text t);
int64_t eq_py_len(eq_text t);                  /* characters */
void eq_py_capitalize(eq_str *out, eq_text t); /* the first in title case, the rest in lower case */
void eq_py_replace(eq_str *out, eq_text t, const char *from, const char *to);
/* re.sub(r"\[.*?\]", "", t) */
void eq_py_drop_brackets(eq_str *out, eq_text t);
#endif
