/* The language of chat templates: as much of Jinja as they use, set up as transformers does it
 * (trim_blocks, lstrip_blocks, one newline at the end dropped, `generation` blocks, loop controls).
 * What is not known is refused with its line when it is parsed or reached, never guessed. */
#ifndef EQ_TEXT_JINJA_H
#define EQ_TEXT_JINJA_H
#include "base/str.h"

typedef struct {
    const char *role, *content; /* NUL-terminated UTF-8 */
} eq_message;

typedef struct {
    int64_t from, to; /* bytes [from, to) */
} eq_span;
typedef struct {
    eq_span *p;
    int64_t n, cap;
} eq_spans;
eq_status eq_spans_put(eq_spans *s, eq_span one, eq_err *err);
void eq_spans_free(eq_spans *s);

/* What a template is rendered with; tokens that are NULL are undefined in it. */
typedef struct {
    const eq_message *messages;
    int64_t n;
    bool add_generation_prompt;
    const char *bos_token, *eos_token, *unk_token, *pad_token;
} eq_jinja_input;

typedef struct eq_jinja eq_jinja;

/* text: valid UTF-8; `where` names it in messages. */
eq_status eq_jinja_parse(eq_jinja **out, const char *text, int64_t n, const char *where,
                         eq_err *err);
void eq_jinja_free(eq_jinja *j);
bool eq_jinja_marks(const eq_jinja *j); /* has `generation` blocks */

/* Appends the text to out; spans (NULL allowed): what lies in `generation` blocks. Keeps no state:
 * any number of threads may render one template. */
eq_status eq_jinja_render(const eq_jinja *j, const eq_jinja_input *in, eq_str *out, eq_spans *spans,
                          eq_err *err);
#endif
