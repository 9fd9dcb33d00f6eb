/* Any bytes as a chat template. What is accepted must render two turns or say why not in one line,
 * and do the same again; what is UTF-8 must stay so. */
#include "fuzz_main.h"
#include "text/jinja/jinja.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const eq_message m[] = {{"user", "a \xc3\xa9"}, {"assistant", "b"}};
    eq_jinja_input in = {m, 2, size % 2, "<s>", "</s>", NULL, NULL};
    const char *text = (const char *)data;
    eq_jinja *j;
    eq_err err = {0};
    int64_t before = eq_mem_current(), n = (int64_t)size;
    if (eq_utf8_valid(text, n) != n) return 0;
    if (eq_jinja_parse(&j, text, n, "template", &err) == EQ_OK) {
        eq_str a = {0}, b = {0};
        eq_spans spans = {0};
        eq_status st = eq_jinja_render(j, &in, &a, &spans, &err);
        if (st != EQ_OK) fuzz_check_error(&err);
        FUZZ_CHECK(st != EQ_OK || eq_utf8_valid(a.p, a.n) == a.n);
        FUZZ_CHECK(eq_jinja_render(j, &in, &b, NULL, NULL) == st || spans.n || eq_jinja_marks(j));
        FUZZ_CHECK(st != EQ_OK || (a.n == b.n && !memcmp(a.p, b.p, (size_t)a.n)));
        for (int64_t i = 0; i < spans.n; i++)
            FUZZ_CHECK(spans.p[i].from >= 0 && spans.p[i].from <= spans.p[i].to &&
                       spans.p[i].to <= a.n);
        eq_spans_free(&spans);
        eq_str_free(&a), eq_str_free(&b);
        eq_jinja_free(j);
    } else {
        fuzz_check_error(&err);
        FUZZ_CHECK(!j);
    }
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
