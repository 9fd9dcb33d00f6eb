/* See json.h. */
#include "base/json.h"

#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/observe.h"

static eq_status parse(json_t **out, const char *bytes, int64_t n, bool real, const char *where,
                       eq_err *err) {
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t e;
    *out = json_loadb(bytes, (size_t)n, flags, &e);
    if (!*out && real && json_error_code(&e) == json_error_numeric_overflow)
        *out = json_loadb(bytes, (size_t)n, flags | JSON_DECODE_INT_AS_REAL, &e);
    if (!*out)
        return eq_fail(err, EQ_EINPUT, "%s: line %d, column %d: not JSON: %s", where, e.line,
                       e.column, e.text);
    return EQ_OK;
}

eq_status eq_json_parse(json_t **out, const char *bytes, int64_t n, const char *where,
                        eq_err *err) {
    return parse(out, bytes, n, false, where, err);
}

static eq_status load(json_t **out, const char *path, bool real, eq_err *err) {
    eq_map m;
    *out = NULL;
    EQ_TRY(eq_map_open(&m, path, err));
    eq_status st = parse(out, (const char *)m.data, m.size, real, path, err);
    eq_map_close(&m);
    return st;
}

eq_status eq_json_load(json_t **out, const char *path, eq_err *err) {
    return load(out, path, false, err);
}

eq_status eq_json_load_real(json_t **out, const char *path, eq_err *err) {
    return load(out, path, true, err);
}

const json_t *eq_json_get(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

double eq_json_real(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *eq_json_type(const json_t *v) {
    if (!v) return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static eq_status wrong(const char *where, const char *key, const char *expected, const json_t *v,
                       eq_err *err) {
    return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected %s, found %s", where, key, expected,
                   eq_json_type(v));
}

eq_status eq_json_int(const json_t *o, const char *key, int64_t missing, int64_t lo, int64_t hi,
                      int64_t *out, const char *where, eq_err *err) {
    const json_t *v = eq_json_get(o, key);
    if (!v) {
        *out = missing;
        return EQ_OK;
    }
    if (!json_is_integer(v)) return wrong(where, key, "an integer", v, err);
    *out = json_integer_value(v);
    if (*out < lo || *out > hi)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected %lld to %lld, found %lld", where, key,
                       (long long)lo, (long long)hi, (long long)*out);
    return EQ_OK;
}

eq_status eq_json_need_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                           const char *where, eq_err *err) {
    if (!eq_json_get(o, key)) return wrong(where, key, "an integer", NULL, err);
    return eq_json_int(o, key, 0, lo, hi, out, where, err);
}

eq_status eq_json_num(const json_t *o, const char *key, double missing, double *out,
                      const char *where, eq_err *err) {
    const json_t *v = eq_json_get(o, key);
    if (v && !json_is_number(v)) return wrong(where, key, "a number", v, err);
    *out = v ? json_number_value(v) : missing;
    return EQ_OK;
}

eq_status eq_json_bool(const json_t *o, const char *key, bool missing, bool *out, const char *where,
                       eq_err *err) {
    const json_t *v = eq_json_get(o, key);
    if (v && !json_is_boolean(v)) return wrong(where, key, "a boolean", v, err);
    *out = v ? json_is_true(v) : missing;
    return EQ_OK;
}

eq_status eq_json_str(const json_t *o, const char *key, const char *missing, const char **out,
                      const char *where, eq_err *err) {
    const json_t *v = eq_json_get(o, key);
    if (v && !json_is_string(v)) return wrong(where, key, "a string", v, err);
    *out = v ? json_string_value(v) : missing;
    return EQ_OK;
}

/* Bytes of the UTF-8 sequence at s, 0: none. Overlong forms, surrogates and what lies above
 * U+10FFFF are none. */
static size_t utf8_length(const unsigned char *s) {
    size_t n = *s < 0x80 ? 1 : *s < 0xC2 ? 0 : *s < 0xE0 ? 2 : *s < 0xF0 ? 3 : *s < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (*s == 0xE0 && s[1] < 0xA0) return 0;
    if (*s == 0xED && s[1] > 0x9F) return 0;
    if (*s == 0xF0 && s[1] < 0x90) return 0;
    if (*s == 0xF4 && s[1] > 0x8F) return 0;
    return n;
}

json_t *eq_json_lossy(const char *bytes) {
    eq_str s = {0};
    while (*bytes) {
        size_t n = utf8_length((const unsigned char *)bytes);
        eq_str_put(&s, n ? bytes : "\xEF\xBF\xBD", n ? (int64_t)n : 3);
        bytes += n ? n : 1;
    }
    json_t *v = s.oom ? NULL : json_stringn(s.n ? s.p : "", (size_t)s.n);
    eq_str_free(&s);
    return v;
}

void eq_json_event(const eq_observer *obs, json_t *o) {
    char *text = o ? eq_json_text(o, 0) : NULL;
    if (text) eq_event_text(obs, text);
    eq_free(text);
    json_decref(o);
}

static int put(const char *bytes, size_t n, void *s) {
    eq_str_put(s, bytes, (int64_t)n);
    return ((eq_str *)s)->oom ? -1 : 0;
}

char *eq_json_text(const json_t *v, int indent) {
    eq_str s = {0};
    size_t flags = indent ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    if (json_dump_callback(v, put, &s, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) ||
        s.oom) {
        eq_str_free(&s);
        return NULL;
    }
    return s.p;
}

eq_status eq_json_write(const json_t *v, const char *dir, const char *name, eq_err *err) {
    char *path = eq_path(dir, name), *text = eq_json_text(v, 2);
    eq_status st = path && text ? eq_write_file(path, text, (int64_t)strlen(text), err)
                                : eq_nomem(err, name, 1 << 12);
    eq_free(path), eq_free(text);
    return st;
}
