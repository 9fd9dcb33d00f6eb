/* See spec.h. */
#include "text/spec.h"

#include <string.h>

#include "text/utf8.h"

static eq_status expected(const json_t *spec, const char *key, const char *what, const char *where,
                          eq_err *err) {
    const char *type = json_string_value(json_object_get(spec, "type"));
    return eq_fail(err, EQ_EINPUT, "%s: %s: \"%s\": expected %s, found %s", where,
                   type ? type : "tokenizer", key, what, eq_json_type(json_object_get(spec, key)));
}

eq_status eq_spec_type(const json_t *spec, const char *part, const char **type, const char *where,
                       eq_err *err) {
    if (!json_is_object(spec))
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected an object, found %s", where, part,
                       eq_json_type(spec));
    *type = json_string_value(json_object_get(spec, "type"));
    if (!*type)
        return eq_fail(err, EQ_EINPUT, "%s: %s: expected a \"type\", found none", where, part);
    return EQ_OK;
}

eq_status eq_spec_known(const json_t *spec, const char *known, const char *where, eq_err *err) {
    for (void *it = json_object_iter((json_t *)spec); it;
         it = json_object_iter_next((json_t *)spec, it)) {
        const char *key = json_object_iter_key(it);
        size_t n = strlen(key);
        const char *at = n ? strstr(known, key) : NULL;
        while (at && !((at == known || at[-1] == ' ') && (!at[n] || at[n] == ' ')))
            at = strstr(at + 1, key);
        if (at) continue;
        const char *type = json_string_value(json_object_get(spec, "type"));
        return eq_fail(err, EQ_EINPUT, "%s: %s: the member \"%.80s\" is not known", where,
                       type ? type : "tokenizer", key);
    }
    return EQ_OK;
}

eq_status eq_spec_unsupported(const char *part, const char *type, const char *where, eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: the %s \"%.80s\" is not supported", where, part, type);
}

eq_status eq_spec_text(const json_t *spec, const char *key, const char **s, int64_t *n,
                       const char *where, eq_err *err) {
    const json_t *v = json_object_get(spec, key);
    if (!json_is_string(v)) return expected(spec, key, "a string", where, err);
    *s = json_string_value(v);
    *n = (int64_t)json_string_length(v);
    return EQ_OK;
}

eq_status eq_spec_char(const json_t *spec, const char *key, const char **s, int64_t *n,
                       const char *where, eq_err *err) {
    uint32_t cp = 0;
    EQ_TRY(eq_spec_text(spec, key, s, n, where, err));
    if (*n == 0 || eq_utf8_get(*s, &cp) != *n || cp == 0)
        return expected(spec, key, "one character", where, err);
    return EQ_OK;
}

eq_status eq_spec_bool(const json_t *spec, const char *key, bool *out, const char *where,
                       eq_err *err) {
    const json_t *v = json_object_get(spec, key);
    if (!json_is_boolean(v)) return expected(spec, key, "true or false", where, err);
    *out = json_is_true(v);
    return EQ_OK;
}

eq_status eq_spec_array(const json_t *spec, const char *key, const json_t **out, const char *where,
                        eq_err *err) {
    *out = json_object_get(spec, key);
    if (!json_is_array(*out)) return expected(spec, key, "an array", where, err);
    return EQ_OK;
}
