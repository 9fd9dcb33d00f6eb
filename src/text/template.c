/* TemplateProcessing, RobertaProcessing and BertProcessing (one id at each end), ByteLevel (moves
 * offsets only: nothing to do), Sequence. A template for one text holds the text once; what stands
 * before and behind it is all there is to know. */
#include "text/template.h"

#include <string.h>

#include "text/ids.h"
#include "text/spec.h"

/* One {"SpecialToken": {"id": name}}: its ids from the table of special tokens. */
static eq_status special(eq_ids *to, const json_t *name, const json_t *table, const char *where,
                         eq_err *err) {
    const char *key = json_string_value(name);
    const json_t *ids = json_object_get(key ? json_object_get(table, key) : NULL, "ids");
    if (!json_is_array(ids))
        return eq_fail(err, EQ_EINPUT,
                       "%s: TemplateProcessing: no ids for the special token \"%.80s\"", where,
                       key ? key : eq_json_type(name));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        int64_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= INT32_MAX)
            return eq_fail(err, EQ_EINPUT,
                           "%s: TemplateProcessing: \"%.80s\": expected ids from 0, found %s",
                           where, key, json_is_integer(id) ? "another integer" : eq_json_type(id));
        EQ_TRY(eq_ids_put(to, (int32_t)v, err));
    }
    return EQ_OK;
}

static eq_status read_template(const json_t *spec, eq_template *t, const char *where, eq_err *err) {
    const json_t *single, *table = json_object_get(spec, "special_tokens");
    int texts = 0;
    EQ_TRY(eq_spec_known(spec, "type single pair special_tokens", where, err));
    EQ_TRY(eq_spec_array(spec, "single", &single, where, err));
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *p = json_array_get(single, i), *text = json_object_get(p, "Sequence");
        const char *which = json_string_value(json_object_get(text, "id"));
        if (which && !strcmp(which, "A"))
            texts++;
        else if (json_object_get(p, "SpecialToken"))
            EQ_TRY(special(texts ? &t->after : &t->before,
                           json_object_get(json_object_get(p, "SpecialToken"), "id"), table, where,
                           err));
        else
            return eq_fail(
                err, EQ_EINPUT,
                "%s: TemplateProcessing: \"single\": expected Sequence A and SpecialTokens, "
                "found another member",
                where);
    }
    if (texts != 1)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: TemplateProcessing: \"single\": expected Sequence A once, found it %d times",
            where, texts);
    return EQ_OK;
}

/* ["</s>", 2] of "sep" or "cls". */
static eq_status one_id(eq_ids *to, const json_t *spec, const char *key, const char *where,
                        eq_err *err) {
    const json_t *pair = json_object_get(spec, key), *id = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= INT32_MAX)
        return eq_fail(err, EQ_EINPUT,
                       "%s: post-processor: \"%s\": expected a token and its id, found %s", where,
                       key, eq_json_type(pair));
    return eq_ids_put(to, (int32_t)json_integer_value(id), err);
}

static eq_status read_ends(const json_t *spec, eq_template *t, const char *where, eq_err *err) {
    EQ_TRY(eq_spec_known(spec, "type sep cls trim_offsets add_prefix_space", where, err));
    EQ_TRY(one_id(&t->before, spec, "cls", where, err));
    return one_id(&t->after, spec, "sep", where, err);
}

/* Puts `inner` inside of `outer`, which takes it over. */
static eq_status enclose(eq_template *outer, const eq_template *inner, eq_err *err) {
    for (int64_t i = 0; i < inner->before.n; i++)
        EQ_TRY(eq_ids_put(&outer->before, inner->before.p[i], err));
    int64_t n = inner->after.n;
    EQ_TRY(eq_ids_room(&outer->after, n, err));
    if (outer->after.n)
        memmove(outer->after.p + n, outer->after.p,
                (size_t)outer->after.n * sizeof *outer->after.p);
    if (n) memcpy(outer->after.p, inner->after.p, (size_t)n * sizeof *outer->after.p);
    outer->after.n += n;
    return EQ_OK;
}

static eq_status apply(eq_template *t, const json_t *spec, const char *where, eq_err *err) {
    const char *type;
    EQ_TRY(eq_spec_type(spec, "post-processor", &type, where, err));
    if (!strcmp(type, "ByteLevel"))
        return eq_spec_known(spec, "type add_prefix_space trim_offsets use_regex", where, err);
    if (!strcmp(type, "Sequence")) {
        const json_t *list;
        EQ_TRY(eq_spec_known(spec, "type processors", where, err));
        EQ_TRY(eq_spec_array(spec, "processors", &list, where, err));
        for (size_t i = 0; i < json_array_size(list); i++)
            EQ_TRY(apply(t, json_array_get(list, i), where, err));
        return EQ_OK;
    }
    bool ends = !strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing");
    if (!ends && strcmp(type, "TemplateProcessing"))
        return eq_spec_unsupported("post-processor", type, where, err);
    eq_template outer = {0};
    eq_status st =
        ends ? read_ends(spec, &outer, where, err) : read_template(spec, &outer, where, err);
    if (st == EQ_OK) st = enclose(&outer, t, err);
    if (st == EQ_OK) {
        eq_template_free(t);
        *t = outer;
    } else
        eq_template_free(&outer);
    return st;
}

eq_status eq_template_load(eq_template *t, const json_t *spec, const char *where, eq_err *err) {
    return spec && !json_is_null(spec) ? apply(t, spec, where, err) : EQ_OK;
}

void eq_template_free(eq_template *t) {
    eq_ids_free(&t->before);
    eq_ids_free(&t->after);
}
