/* What differs from layer to layer: windows and rope, from the many ways in which config.json says
 * it. Invariant: a layer slides only where there is a window. */
#include <string.h>

#include "model/config_parse.h"

int64_t eq_layer_window(const eq_config *c, int64_t i) {
    return c->layer[i] & EQ_LAYER_SLIDING ? c->window : 0;
}

const eq_rope_spec *eq_layer_rope(const eq_config *c, int64_t i) {
    if (c->layer[i] & EQ_LAYER_NO_ROPE) return NULL;
    return c->two_ropes && c->layer[i] & EQ_LAYER_SLIDING ? &c->rope_sliding : &c->rope;
}

/* ---- rope or none ------------------------------------------------------------------------------
 */

static eq_status parse_no_rope(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const json_t *list = eq_json_get(root, "no_rope_layers");
    int64_t every;
    EQ_TRY(eq_json_int(root, "no_rope_layer_interval", 4, 1, EQ_MAX_LAYERS, &every, where, err));
    if (list && (!json_is_array(list) || (int64_t)json_array_size(list) < c->L))
        return eq_fail(
            err, EQ_EINPUT,
            "%s: \"no_rope_layers\": expected an array of %lld numbers, found %s of %lld", where,
            (long long)c->L, eq_json_type(list), (long long)json_array_size(list));
    for (int64_t i = 0; i < c->L; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        if (list &&
            !(json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < 2))
            return eq_fail(err, EQ_EINPUT,
                           "%s: \"no_rope_layers\": expected 0 or 1 for every layer, found another "
                           "value at layer %lld",
                           where, (long long)i);
        /* 1 is a layer with rope, whatever the key's name says */
        bool has = list ? json_integer_value(v) != 0 : (i + 1) % every != 0;
        if (!has) c->layer[i] |= EQ_LAYER_NO_ROPE;
    }
    return EQ_OK;
}

/* ---- windows -----------------------------------------------------------------------------------
 */

typedef struct {
    bool use;      /* use_sliding_window */
    int64_t first; /* max_window_layers */
    int64_t every; /* each every-th layer does not slide */
} slide_keys;

static eq_status parse_slide_keys(eq_config *c, slide_keys *k, const eq_family *f,
                                  const json_t *root, const char *where, eq_err *err) {
    bool said = json_object_get(root, "sliding_window") != NULL;
    EQ_TRY(eq_json_int(root, "sliding_window", said ? 0 : f->window, 1, INT32_MAX, &c->window,
                       where, err));
    EQ_TRY(eq_json_bool(root, "use_sliding_window", false, &k->use, where, err));
    EQ_TRY(eq_json_int(root, "sliding_window_pattern", f->window_every, 1, EQ_MAX_LAYERS, &k->every,
                       where, err));
    k->first = 0;
    if (f->slide == EQ_SLIDE_BY_FLAG)
        EQ_TRY(eq_json_int(root, "max_window_layers", 28, 0, INT32_MAX, &k->first, where, err));
    if (f->slide == EQ_SLIDE_NEVER && k->use)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"use_sliding_window\": expected false for model_type %s, found true",
                       where, f->name);
    if (f->slide == EQ_SLIDE_NEVER && c->window)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"sliding_window\": expected none for model_type %s, found %lld", where,
                       f->name, (long long)c->window);
    if ((f->slide == EQ_SLIDE_BY_FLAG || f->slide == EQ_SLIDE_NO_ROPE) && !k->use) c->window = 0;
    return EQ_OK;
}

static bool slides(const eq_config *c, const eq_family *f, const slide_keys *k, int64_t i) {
    if (!c->window) return false;
    switch (f->slide) {
    case EQ_SLIDE_ALL:
        return true;
    case EQ_SLIDE_BY_FLAG:
        return i >= k->first;
    case EQ_SLIDE_PATTERN:
        return (i + 1) % k->every != 0;
    case EQ_SLIDE_NO_ROPE:
        return c->layer[i] & EQ_LAYER_NO_ROPE;
    default:
        return false;
    }
}

/* layer_types decides where the family's models look at it; else it must say what they do. */
static eq_status parse_type(bool *slide, const eq_config *c, const eq_family *f,
                            const json_t *types, int64_t i, const char *where, eq_err *err) {
    const char *s = json_string_value(json_array_get(types, (size_t)i));
    bool sliding = s && !strcmp(s, "sliding_attention"), full = s && !strcmp(s, "full_attention");
    bool any = f->types_decide && c->window;
    if (any ? sliding || full : *slide ? sliding : full) {
        *slide = sliding;
        return EQ_OK;
    }
    return eq_fail(err, EQ_EINPUT, "%s: \"layer_types\": expected %s for layer %lld, found %s",
                   where,
                   any      ? "full_attention or sliding_attention"
                   : *slide ? "sliding_attention"
                            : "full_attention",
                   (long long)i, s ? s : "no name");
}

eq_status eq_layers_parse(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                          eq_err *err) {
    const json_t *types = eq_json_get(root, "layer_types");
    slide_keys k;
    bool any = false;
    if (f->slide == EQ_SLIDE_NO_ROPE) EQ_TRY(parse_no_rope(c, root, where, err));
    EQ_TRY(parse_slide_keys(c, &k, f, root, where, err));
    if (types && (!json_is_array(types) || (int64_t)json_array_size(types) != c->L))
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"layer_types\": expected an array of %lld names, found %s of %lld",
                       where, (long long)c->L, eq_json_type(types),
                       (long long)json_array_size(types));
    for (int64_t i = 0; i < c->L; i++) {
        bool slide = slides(c, f, &k, i);
        if (types) EQ_TRY(parse_type(&slide, c, f, types, i, where, err));
        if (slide) c->layer[i] |= EQ_LAYER_SLIDING;
        any |= slide;
    }
    if (!any) c->window = 0;
    return EQ_OK;
}
