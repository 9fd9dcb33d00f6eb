/* A built string becomes a value. */
#ifndef EQ_TEXT_JINJA_TEXT_H
#define EQ_TEXT_JINJA_TEXT_H
#include "text/jinja/jinja_run.h"

/* A copy in the arena; frees s. */
eq_jv eq_jtext_keep(eq_jrun *r, eq_str *s);
#endif
