/* Rotary positions: what config.json says about them, and the tables of cosines and sines.
 * Frequencies and angles are fp32 as in transformers: at position 4000 one fp32 step of a frequency
 * is 1e-4 of a turn, so more precision here would be a different model. */
#include <math.h>
#include <string.h>

#include "model/config_parse.h"

static const char *const kind_names[] = {
    [EQ_ROPE_PLAIN] = "default", [EQ_ROPE_LINEAR] = "linear", [EQ_ROPE_DYNAMIC] = "dynamic",
    [EQ_ROPE_LLAMA3] = "llama3", [EQ_ROPE_YARN] = "yarn",
};
enum { KINDS = sizeof kind_names / sizeof *kind_names };

enum {
    ALL = -1,
    SCALED = ALL & ~(1 << EQ_ROPE_PLAIN),
    L3 = 1 << EQ_ROPE_LLAMA3,
    YARN = 1 << EQ_ROPE_YARN
};
static const struct {
    eq_key key;
    int kinds; /* in which it may stand */
} rope_keys[] = {
    {{"rope_type", EQ_KEY_READ}, ALL},
    {{"type", EQ_KEY_READ}, ALL},
    {{"rope_theta", EQ_KEY_READ}, ALL},
    {{"partial_rotary_factor", EQ_KEY_ONE}, ALL},
    {{"factor", EQ_KEY_READ}, SCALED},
    {{"low_freq_factor", EQ_KEY_READ}, L3},
    {{"high_freq_factor", EQ_KEY_READ}, L3},
    {{"original_max_position_embeddings", EQ_KEY_READ}, L3 | YARN},
    {{"attention_factor", EQ_KEY_READ}, YARN},
    {{"beta_fast", EQ_KEY_READ}, YARN},
    {{"beta_slow", EQ_KEY_READ}, YARN},
    {{"mscale", EQ_KEY_READ}, YARN},
    {{"mscale_all_dim", EQ_KEY_READ}, YARN},
    {{"truncate", EQ_KEY_READ}, YARN},
    /* transformers does not look at these */
    {{"attn_factor", EQ_KEY_FREE}, YARN},
    {{"finetuned", EQ_KEY_FREE}, YARN},
};
enum { ROPE_KEYS = sizeof rope_keys / sizeof *rope_keys };

static eq_status check_keys(const json_t *r, eq_rope_kind kind, const char *where, eq_err *err) {
    eq_key keys[ROPE_KEYS];
    int64_t n = 0;
    for (int i = 0; i < ROPE_KEYS; i++)
        if (rope_keys[i].kinds & 1 << kind) keys[n++] = rope_keys[i].key;
    return eq_keys_check(r, keys, n, where, err);
}

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
                   "%s: rope type: expected default, linear, dynamic, llama3 or yarn, found \"%s\"",
                   where, name);
}

/* The length the frequencies were trained for; transformers lets the outer key win. */
static eq_status parse_original(eq_config *c, const json_t *root, const json_t *r,
                                const char *where, eq_err *err) {
    const char *key = "original_max_position_embeddings";
    int64_t *T = &c->rope.original_T;
    EQ_TRY(eq_json_int(r, key, c->T_max, 1, INT32_MAX, T, where, err));
    return eq_json_int(root, key, *T, 1, INT32_MAX, T, where, err);
}

static eq_status parse_llama3(eq_config *c, const json_t *root, const json_t *r, const char *where,
                              eq_err *err) {
    EQ_TRY(need_positive(r, "low_freq_factor", 0, &c->rope.low_freq, where, err));
    EQ_TRY(need_positive(r, "high_freq_factor", 0, &c->rope.high_freq, where, err));
    if (c->rope.high_freq <= c->rope.low_freq)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"high_freq_factor\": expected more than low_freq_factor %g, found %g",
                       where, c->rope.low_freq, c->rope.high_freq);
    return parse_original(c, root, r, where, err);
}

/* The pair of dimensions that turns `turns` times within the trained length (yarn, arXiv
 * 2309.00071, section 3.2). */
static double pair_of(const eq_config *c, double turns) {
    double length = (double)c->rope.original_T / (turns * 2 * 3.14159265358979323846);
    return (double)c->HD * log(length) / (2 * log(c->rope.theta));
}

static double entropy_scale(double factor, double m) {
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static eq_status parse_yarn(eq_config *c, const json_t *root, const json_t *r, const char *where,
                            eq_err *err) {
    double fast, slow, m, m_all;
    bool truncate;
    EQ_TRY(parse_original(c, root, r, where, err));
    double ratio = (double)c->T_max / (double)c->rope.original_T;
    EQ_TRY(need_positive(r, "factor", ratio, &c->rope.factor, where, err));
    EQ_TRY(need_positive(r, "beta_fast", 32, &fast, where, err));
    EQ_TRY(need_positive(r, "beta_slow", 1, &slow, where, err));
    EQ_TRY(eq_json_num(r, "mscale", 0, &m, where, err));
    EQ_TRY(eq_json_num(r, "mscale_all_dim", 0, &m_all, where, err));
    EQ_TRY(eq_json_bool(r, "truncate", true, &truncate, where, err));
    double scale = entropy_scale(c->rope.factor, 1);
    if (m != 0 && m_all != 0)
        scale = entropy_scale(c->rope.factor, m) / entropy_scale(c->rope.factor, m_all);
    EQ_TRY(need_positive(r, "attention_factor", scale, &c->rope.scale, where, err));
    double low = pair_of(c, fast), high = pair_of(c, slow);
    if (truncate) low = floor(low), high = ceil(high);
    c->rope.ramp_low = low > 0 ? low : 0;
    c->rope.ramp_high = high < (double)(c->HD - 1) ? high : (double)(c->HD - 1);
    if (c->rope.theta > 1 && isfinite(low) && isfinite(high)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: rope type yarn: expected a rope_theta above 1, found %g",
                   where, c->rope.theta);
}

static eq_status parse_scaling(eq_config *c, const json_t *root, const json_t *r, const char *where,
                               eq_err *err) {
    EQ_TRY(parse_kind(c, r, where, err));
    EQ_TRY(check_keys(r, c->rope.kind, where, err));
    if (c->rope.kind == EQ_ROPE_PLAIN) return EQ_OK;
    if (c->rope.kind == EQ_ROPE_YARN) return parse_yarn(c, root, r, where, err);
    EQ_TRY(need_positive(r, "factor", 0, &c->rope.factor, where, err));
    if (c->rope.kind == EQ_ROPE_DYNAMIC && c->HD <= 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: rope type dynamic: expected a head_dim above 2, found %lld", where,
                       (long long)c->HD);
    return c->rope.kind == EQ_ROPE_LLAMA3 ? parse_llama3(c, root, r, where, err) : EQ_OK;
}

eq_status eq_rope_parse(eq_config *c, const json_t *root, const char *where, eq_err *err) {
    const json_t *r = eq_json_get(root, "rope_parameters");
    const json_t *old = eq_json_get(root, "rope_scaling");
    double outer;
    c->rope.kind = EQ_ROPE_PLAIN, c->rope.scale = 1;
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

/* yarn: short waves kept, long ones slowed by `factor`, those between blended by their place. */
static float yarn(const eq_config *c, float f, int64_t i) {
    double low = c->rope.ramp_low, high = c->rope.ramp_high;
    if (low == high) high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float kept = 1.0f - ramp, slowed = 1.0f / ((float)c->rope.factor * (1.0f / f));
    return slowed * (1.0f - kept) + f * kept;
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
        if (c->rope.kind == EQ_ROPE_YARN) f = yarn(c, f, i);
        float scale = (float)c->rope.scale;
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)((float)t * f);
            cos_[t * half + i] = (float)cos(angle) * scale;
            sin_[t * half + i] = (float)sin(angle) * scale;
        }
    }
}
