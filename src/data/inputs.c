/* See inputs.h. */
#include "data/inputs.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MOST = 64 }; /* files that are named one by one */

eq_status eq_inputs_add(eq_inputs *s, const char *path, eq_input **added, eq_err *err) {
    const char *slash = strrchr(path, '/');
    /* twice as many where their number is a power of two, which is when there is no more room */
    bool full = !(s->n & (s->n - 1));
    eq_input *p = full ? eq_realloc(s->p, s->n ? 2 * s->n : 1, sizeof *p) : s->p;
    char *name = eq_strdup(slash ? slash + 1 : path);
    if (p) s->p = p;
    if (!p || !name) {
        eq_free(name);
        return eq_nomem(err, path, 256);
    }
    p[s->n] = (eq_input){.name = name};
    *added = &p[s->n++];
    return EQ_OK;
}

static bool has(const eq_inputs *s, int64_t n, const eq_input *in) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(s->p[i].name, in->name) && !strcmp(s->p[i].sum.hex, in->sum.hex)) return true;
    return false;
}

eq_status eq_inputs_append(eq_inputs *s, const eq_inputs *more, eq_err *err) {
    int64_t n = s->n; /* those of one list are as they are */
    for (int64_t i = 0; i < more->n; i++) {
        if (has(s, n, &more->p[i])) continue;
        eq_input *to = NULL;
        EQ_TRY(eq_inputs_add(s, more->p[i].name, &to, err));
        char *name = to->name;
        *to = more->p[i];
        to->name = name;
    }
    return EQ_OK;
}

void eq_inputs_free(eq_inputs *s) {
    for (int64_t i = 0; i < s->n; i++) eq_free(s->p[i].name);
    eq_free(s->p);
    *s = (eq_inputs){0};
}

static json_t *one(const eq_input *in, bool counts) {
    json_t *o = json_pack("{s:I, s:s}", "bytes", (json_int_t)in->bytes, "sum", in->sum.hex);
    if (!o || !counts) return o;
    json_object_set_new(o, "tokens", json_integer(in->tokens));
    if (in->documents) json_object_set_new(o, "documents", json_integer(in->documents));
    if (in->skipped) json_object_set_new(o, "skipped", json_integer(in->skipped));
    return o;
}

/* A list too long to be read: one sum over it. */
static json_t *in_all(const eq_inputs *s, bool counts) {
    eq_hash *h = eq_hash_new();
    eq_input all = {.bytes = 0};
    char key[32];
    for (int64_t i = 0; h && i < s->n; i++) {
        const eq_input *in = &s->p[i];
        eq_hash_put(h, in->name, (int64_t)strlen(in->name) + 1);
        eq_hash_put(h, in->sum.hex, (int64_t)strlen(in->sum.hex));
        all.bytes += in->bytes, all.documents += in->documents;
        all.tokens += in->tokens, all.skipped += in->skipped;
    }
    if (!h) return NULL;
    all.sum = eq_hash_end(h);
    snprintf(key, sizeof key, "%lld files", (long long)s->n);
    return json_pack("{s:o}", key, one(&all, counts));
}

json_t *eq_inputs_json(const eq_inputs *s, bool counts) {
    if (s->n > MOST) return in_all(s, counts);
    json_t *all = s->n ? json_object() : NULL;
    for (int64_t i = 0; all && i < s->n; i++) {
        json_t *name = eq_json_lossy(s->p[i].name);
        const char *text = json_string_value(name);
        char key[600];
        snprintf(key, sizeof key, "%s", text ? text : "");
        for (int k = 2; json_object_get(all, key); k++)
            snprintf(key, sizeof key, "%s#%d", text ? text : "", k);
        bool put = text && !json_object_set_new(all, key, one(&s->p[i], counts));
        json_decref(name);
        if (put) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}
