/* Any bytes: what jansson reads, the scanner reads the same way, and nothing makes it leave them.
 */
#include <jansson.h>

#include "base/str.h"
#include "format/json_scan.h"
#include "fuzz_main.h"

/* Every value within one that was read is read too. */
static void walk(eq_jscan v, int depth) {
    eq_jscan key, member;
    eq_str out = {0};
    FUZZ_CHECK(v.begin <= v.end && strcmp(eq_jscan_type(&v), "nothing") != 0);
    for (eq_jscan in = v; depth < 50 && eq_jscan_next(&in, &key, &member);) walk(member, depth + 1);
    if (!eq_jscan_text(&v, &out)) FUZZ_CHECK(v.why);
    eq_str_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data;
    eq_jscan s = eq_jscan_of(p, (int64_t)size), whole, member;
    bool good = eq_jscan_value(&s, &whole) && eq_jscan_end(&s);
    FUZZ_CHECK(s.at >= p && s.at <= p + size && (good || s.why));
    json_t *v = json_loadb(p, size, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    FUZZ_CHECK(good || !v);
    if (good) walk(whole, 0);
    const json_t *text = json_object_get(v, "text");
    eq_str out = {0};
    if (v && json_is_object(v)) FUZZ_CHECK(eq_jscan_find(whole, "text", &member) == (text != NULL));
    if (json_is_string(text)) {
        FUZZ_CHECK(eq_jscan_text(&member, &out) && out.n == (int64_t)json_string_length(text));
        FUZZ_CHECK(!out.n || !memcmp(out.p, json_string_value(text), (size_t)out.n));
    }
    eq_str_free(&out);
    json_decref(v);
    return 0;
}
