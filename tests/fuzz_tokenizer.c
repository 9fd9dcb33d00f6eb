/* Any bytes up to the first NUL as tokenizer.json, those behind it as text. What opens must encode
 * any text or say why not, give ids that it can decode, and give the same ones again. */
#include "fuzz_main.h"
#include "text/tokenizer.h"

static void use(const eq_tokenizer *t, const char *text, int64_t n) {
    eq_ids ids = {0}, again = {0};
    eq_err err = {0};
    for (int special = 0; special < 2; special++) {
        ids.n = again.n = 0;
        if (eq_encode(t, &ids, text, n, special, &err) != EQ_OK) {
            fuzz_check_error(&err);
            FUZZ_CHECK(ids.n == 0);
            break;
        }
        FUZZ_CHECK(eq_encode(t, &again, text, n, special, &err) == EQ_OK);
        FUZZ_CHECK(ids.n == again.n &&
                   (!ids.n || !memcmp(ids.p, again.p, (size_t)ids.n * sizeof *ids.p)));
        for (int64_t i = 0; i < ids.n; i++)
            FUZZ_CHECK(ids.p[i] >= 0 && (special || ids.p[i] < eq_tokenizer_size(t)));
        char *back = eq_decode(t, ids.p, ids.n, special);
        FUZZ_CHECK(back);
        eq_free(back);
    }
    eq_ids_free(&ids);
    eq_ids_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json_n = nul ? (size_t)(nul - data) : size, at = nul ? json_n + 1 : 0;
    const char *path = fuzz_file("tokenizer.json", data, json_n);
    eq_tokenizer *t;
    eq_err err = {0};
    int64_t before = eq_mem_current();
    if (eq_tokenizer_open(&t, path, &err) == EQ_OK) {
        use(t, (const char *)data + at, (int64_t)(size - at));
        eq_tokenizer_close(t);
    } else {
        fuzz_check_error(&err);
        FUZZ_CHECK(!t);
    }
    FUZZ_CHECK(eq_mem_current() == before);
    return 0;
}
