/* Rotary positions: what config.json says about them, and the tables of cosines and sines.
 * Frequencies and angles are fp32 as in transformers: at position 4000 one fp32 step of a frequency
 * is 1e-4 of a turn, so more precision here would be a different model. */
#include <math.h>
#include <string.h>

#include "model/config_parse.h"

static const char *const kind_names[] = {
    [EQ_ROPE_PLAIN] = "default",
    [EQ_ROPE_LINEAR] = "linear",
    [EQ_ROPE_DYNAMIC] = "dynamic",
    [EQ_ROPE_LLAMA3] = "llama3",
};
enum { KINDS = sizeof kind_names / sizeof *kind_names };

static const eq_key rope_keys[] = {
    /* the first 4 stand in every kind, the next in all but "default", the rest in "llama3" */
    {"rope_type", EQ_KEY_READ},        {"type", EQ_KEY_READ},
    {"rope_theta", EQ_KEY_READ},       {"partial_rotary_factor", EQ_KEY_ONE},
    {"factor", EQ_KEY_READ},           {"low_freq_factor", EQ_KEY_READ},
    {"high_freq_factor", EQ_KEY_READ}, {"original_max_position_embeddings", EQ_KEY_READ},
};
static const int64_t rope_keys_of[KINDS] = {4, 5, 5, 8};

static eq_status need_positive(const json_t *o, const char *key, double missing, double *out,
                               const char *where, eq_err *err) {
    EQ_TRY(eq_json_num(o, key, missing, out, where, err));
    if (!(*out > 0 && *out <= 1e12))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected a positive number, found %g", where,
                       key, *out);
    return EQ_OK;
}

static eq_status parse_kind(eq_config *c, const json_t *r, const char *where, eq_err *err) {
    const char *name, *old;
    EQ_TRY(eq_json_str(r, "type", "default", &old, where, err));
    EQ_TRY(eq_json_str(r, "rope_type", old, &name, where, err));
    for (int k = 0; k < KINDS; k++)
        if (!strcmp(name, kind_names[k])) {
            c->rope.kind = (eq_rope_kind)k;
            return EQ_OK;
        }
    return eq_fail(err, EQ_EINPUT,
                   "%s: rope type: expected default, linear, dynamic or llama3, found \"%s\"",
                   where, name);
}

static eq_status parse_scaling(eq_config *c, const json_t *root, const json_t *r, const char *where,
                               eq_err *err) {
    EQ_TRY(parse_kind(c, r, where, err));
    EQ_TRY(eq_keys_check(r, rope_keys, rope_keys_of[c->rope.kind], where, err));
    if (c->rope.kind == EQ_ROPE_PLAIN) return EQ_OK;
    EQ_TRY(need_positive(r, "factor", 0, &c->rope.factor, where, err));
    if (c->rope.kind == EQ_ROPE_DYNAMIC && c->HD <= 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: rope type dynamic: expected a head_dim above 2, found %lld", where,
                       (long long)c->HD);
    if (c->rope.kind != EQ_ROPE_LLAMA3) return EQ_OK;
    EQ_TRY(need_positive(r, "low_freq_factor", 0, &c->rope.low_freq, where, err));
    EQ_TRY(need_positive(r, "high_freq_factor", 0, &c->rope.high_freq, where, err));
    if (c->rope.high_freq <= c->rope.low_freq)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"high_freq_factor\": expected more than low_freq_factor %g, found %g",
                       where, c->rope.low_freq, c->rope.high_freq);
    EQ_TRY(eq_json_int(r, "original_max_position_embeddings", c->T_max, 1, INT32_MAX,
                       &c->rope.original_T, where, err));
    /* transformers lets the outer key win */
    return eq_json_int(root, "original_max_position_embeddings", c->rope.original_T, 1, INT32_MAX,
                       &c->rope.original_T, where, err);
}

eq_status eq_rope_parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const json_t *r = eq_json_get(root, "rope_parameters");
    const json_t *old = eq_json_get(root, "rope_scaling");
    double outer;
    c->rope.kind = EQ_ROPE_PLAIN;
    if (r && old)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected one of \"rope_scaling\" and \"rope_parameters\", found both",
                       where);
    if (!r) r = old;
    if (r && !json_is_object(r))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected an object, found %s", where,
                       old ? "rope_scaling" : "rope_parameters", eq_json_type(r));
    EQ_TRY(need_positive(root, "rope_theta", 10000.0, &outer, where, err));
    EQ_TRY(need_positive(r, "rope_theta", outer, &c->rope.theta, where, err));
    if (c->rope.theta != outer && eq_json_get(root, "rope_theta"))
        return eq_fail(err, EQ_EINPUT, "%s: \"rope_theta\": expected one value, found %g and %g",
                       where, outer, c->rope.theta);
    return r ? parse_scaling(c, root, r, where, err) : EQ_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* theta^(2i / HD) in fp32: the double is rounded once, which is what a good powf returns. */
static float frequency(float theta, int64_t i, int64_t HD) {
    float e = (float)(2 * i) / (float)HD;
    return 1.0f / (float)pow((double)theta, (double)e);
}

/* Llama 3.1: long waves slowed by `factor`, short ones kept, those between blended. */
static float llama3(const eq_config *c, float f) {
    float T = (float)c->rope.original_T, factor = (float)c->rope.factor;
    float low = (float)c->rope.low_freq, span = (float)(c->rope.high_freq - c->rope.low_freq);
    float wave = (float)(2 * 3.14159265358979323846) / f;
    float long_wave = (float)((double)c->rope.original_T / c->rope.low_freq);
    float short_wave = (float)((double)c->rope.original_T / c->rope.high_freq);
    if (wave > long_wave) return f / factor;
    if (wave < short_wave) return f;
    float smooth = (T / wave - low) / span;
    return (1.0f - smooth) * f / factor + smooth * f;
}

/* The base of "dynamic" beyond the trained context, in fp32 as transformers computes it there. */
static float dynamic_theta(const eq_config *c, int64_t T) {
    if (T <= c->T_max) return (float)c->rope.theta;
    float grown = (float)c->rope.factor * (float)T / (float)c->T_max - (float)(c->rope.factor - 1);
    float power = (float)((double)c->HD / (double)(c->HD - 2));
    return (float)c->rope.theta * (float)pow((double)grown, (double)power);
}

void eq_rope_tables(const eq_config *c, int64_t T, float *cos_, float *sin_) {
    bool dynamic = c->rope.kind == EQ_ROPE_DYNAMIC;
    float theta = dynamic ? dynamic_theta(c, T) : (float)c->rope.theta;
    int64_t half = c->HD / 2;
    for (int64_t i = 0; i < half; i++) {
        float f = frequency(theta, i, c->HD);
        if (c->rope.kind == EQ_ROPE_LINEAR) f /= (float)c->rope.factor;
        if (c->rope.kind == EQ_ROPE_LLAMA3) f = llama3(c, f);
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)((float)t * f);
            cos_[t * half + i] = (float)cos(angle);
            sin_[t * half + i] = (float)sin(angle);
        }
    }
}
