/* Rotary positions: what config.json says about them. */
#include <math.h>
#include <string.h>

#include "model/config_parse.h"

static const char *const kind_names[] = {
    [EQ_ROPE_PLAIN] = "default", [EQ_ROPE_LINEAR] = "linear", [EQ_ROPE_DYNAMIC] = "dynamic",
    [EQ_ROPE_LLAMA3] = "llama3", [EQ_ROPE_YARN] = "yarn",     [EQ_ROPE_LONG] = "longrope",
};
enum { KINDS = sizeof kind_names / sizeof *kind_names };
const char *eq_rope_name(eq_rope_kind kind) { return kind_names[kind]; }

enum {
    ALL = -1,
    SCALED = ALL & ~(1 << EQ_ROPE_PLAIN),
    L3 = 1 << EQ_ROPE_LLAMA3,
    YARN = 1 << EQ_ROPE_YARN,
    LONG = 1 << EQ_ROPE_LONG
};
static const struct {
    eq_key key;
    int kinds; /* in which it may stand */
} rope_keys[] = {
    {{"rope_type", EQ_KEY_READ}, ALL},
    {{"type", EQ_KEY_READ}, ALL},
    {{"rope_theta", EQ_KEY_READ}, ALL},
    {{"partial_rotary_factor", EQ_KEY_READ}, ALL},
    {{"factor", EQ_KEY_READ}, SCALED},
    {{"low_freq_factor", EQ_KEY_READ}, L3},
    {{"high_freq_factor", EQ_KEY_READ}, L3},
    {{"original_max_position_embeddings", EQ_KEY_READ}, L3 | YARN | LONG},
    {{"attention_factor", EQ_KEY_READ}, YARN | LONG},
    {{"beta_fast", EQ_KEY_READ}, YARN},
    {{"beta_slow", EQ_KEY_READ}, YARN},
    {{"mscale", EQ_KEY_READ}, YARN},
    {{"mscale_all_dim", EQ_KEY_READ}, YARN},
    {{"truncate", EQ_KEY_READ}, YARN},
    {{"short_factor", EQ_KEY_READ}, LONG},
    {{"long_factor", EQ_KEY_READ}, LONG},
    {{"llama_4_scaling_beta", EQ_KEY_READ}, YARN},
    /* transformers does not look at these */
    {{"attn_factor", EQ_KEY_FREE}, YARN},
    {{"finetuned", EQ_KEY_FREE}, YARN},
    {{"max_position_embeddings", EQ_KEY_FREE}, YARN},
};
enum { ROPE_KEYS = sizeof rope_keys / sizeof *rope_keys };

/* What is parsed into, and from. */
typedef struct {
    eq_rope_spec *spec;
    eq_config *c;
    const eq_family *f;
    const json_t *root; /* keys of config.json itself that say something, NULL: none do */
    const json_t *r;    /* rope_scaling, or of rope_parameters what is meant; NULL: neither */
    const char *where;
} job;

static eq_status check_keys(const job *j, eq_err *err) {
    eq_key keys[ROPE_KEYS];
    int64_t n = 0;
    for (int i = 0; i < ROPE_KEYS; i++)
        if (rope_keys[i].kinds & 1 << j->spec->kind) keys[n++] = rope_keys[i].key;
    return eq_keys_check(j->r, keys, n, j->where, err);
}

static eq_status parse_kind(const job *j, eq_err *err) {
    const char *name, *old;
    EQ_TRY(eq_json_str(j->r, "type", "default", &old, j->where, err));
    EQ_TRY(eq_json_str(j->r, "rope_type", old, &name, j->where, err));
    if (j->f->long_alias && (!strcmp(name, "su") || !strcmp(name, "yarn"))) name = "longrope";
    for (int k = 0; k < KINDS; k++)
        if (!strcmp(name, kind_names[k])) {
            j->spec->kind = (eq_rope_kind)k;
            return EQ_OK;
        }
    return eq_fail(err, EQ_EINPUT,
                   "%s: rope type: expected default, linear, dynamic, llama3, yarn or longrope, "
                   "found \"%s\"",
                   j->where, name);
}

/* How much of a head turns: said in config.json, in the object, or by the family. */
static eq_status parse_share(const job *j, eq_err *err) {
    const char *key = "partial_rotary_factor";
    double share = j->f->rotary > 0 ? j->f->rotary : 1, outer;
    EQ_TRY(eq_need_positive(j->root, key, share, &outer, j->where, err));
    EQ_TRY(eq_need_positive(j->r, key, outer, &share, j->where, err));
    if (share != outer && eq_json_get(j->root, key))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected one value, found %g and %g", j->where,
                       key, outer, share);
    if (share != 1 && j->f->rotary == 0)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected 1, found %g", j->where, key, share);
    j->spec->dim = (int64_t)((double)j->c->HD * share);
    if (share <= 1 && j->spec->dim >= 2 && j->spec->dim % 2 == 0) return EQ_OK;
    return eq_fail(
        err, EQ_EINPUT,
        "%s: \"%s\": expected an even number of a head's %lld elements, found %g of them", j->where,
        key, (long long)j->c->HD, share);
}

/* The length the frequencies were trained for; transformers lets the outer key win. */
static eq_status parse_original(const job *j, eq_err *err) {
    const char *key = "original_max_position_embeddings";
    int64_t *T = &j->spec->original_T;
    EQ_TRY(eq_json_int(j->r, key, j->c->T_max, 1, INT32_MAX, T, j->where, err));
    return eq_json_int(j->root, key, j->f->original_T ? j->f->original_T : *T, 1, INT32_MAX, T,
                       j->where, err);
}

static eq_status parse_llama3(const job *j, eq_err *err) {
    eq_rope_spec *s = j->spec;
    EQ_TRY(eq_need_positive(j->r, "low_freq_factor", 0, &s->low_freq, j->where, err));
    EQ_TRY(eq_need_positive(j->r, "high_freq_factor", 0, &s->high_freq, j->where, err));
    if (s->high_freq <= s->low_freq)
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"high_freq_factor\": expected more than low_freq_factor %g, found %g",
                       j->where, s->low_freq, s->high_freq);
    return parse_original(j, err);
}

/* ---- yarn --------------------------------------------------------------------------------------
 */

/* The pair of dimensions that turns `turns` times within the trained length (yarn, arXiv
 * 2309.00071, section 3.2). */
static double pair_of(const eq_rope_spec *s, double turns) {
    double length = (double)s->original_T / (turns * 2 * 3.14159265358979323846);
    return (double)s->dim * log(length) / (2 * log(s->theta));
}

static double entropy_scale(double factor, double m) {
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static eq_status parse_yarn_scale(const job *j, eq_err *err) {
    double m, m_all, factor = j->spec->factor, scale = entropy_scale(factor, 1);
    EQ_TRY(eq_json_num(j->r, "mscale", 0, &m, j->where, err));
    EQ_TRY(eq_json_num(j->r, "mscale_all_dim", 0, &m_all, j->where, err));
    if (m != 0 && m_all != 0) scale = entropy_scale(factor, m) / entropy_scale(factor, m_all);
    return eq_need_positive(j->r, "attention_factor", scale, &j->spec->scale, j->where, err);
}

static eq_status parse_query_scaling(const job *j, eq_err *err) {
    const char *key = "llama_4_scaling_beta";
    if (!j->f->query_scaling && eq_json_get(j->r, key))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected none for this model_type, found one",
                       j->where, key);
    if (!j->f->query_scaling) return EQ_OK;
    return eq_json_num(j->r, key, 0, &j->spec->query_beta, j->where, err);
}

static eq_status parse_yarn(const job *j, eq_err *err) {
    eq_rope_spec *s = j->spec;
    double fast, slow;
    bool truncate;
    EQ_TRY(parse_original(j, err));
    double ratio = (double)j->c->T_max / (double)s->original_T;
    EQ_TRY(eq_need_positive(j->r, "factor", ratio, &s->factor, j->where, err));
    EQ_TRY(eq_need_positive(j->r, "beta_fast", 32, &fast, j->where, err));
    EQ_TRY(eq_need_positive(j->r, "beta_slow", 1, &slow, j->where, err));
    EQ_TRY(eq_json_bool(j->r, "truncate", true, &truncate, j->where, err));
    EQ_TRY(parse_yarn_scale(j, err));
    EQ_TRY(parse_query_scaling(j, err));
    double low = pair_of(s, fast), high = pair_of(s, slow);
    if (truncate) low = floor(low), high = ceil(high);
    s->ramp_low = low > 0 ? low : 0;
    s->ramp_high = high < (double)(s->dim - 1) ? high : (double)(s->dim - 1);
    if (s->theta > 1 && isfinite(low) && isfinite(high)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT, "%s: rope type yarn: expected a rope_theta above 1, found %g",
                   j->where, s->theta);
}

/* ---- longrope ----------------------------------------------------------------------------------
 */

static eq_status parse_divisors(float *out, const job *j, const char *key, eq_err *err) {
    const json_t *v = eq_json_get(j->r, key);
    int64_t n = j->spec->dim / 2;
    if (!json_is_array(v) || (int64_t)json_array_size(v) != n)
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected %lld numbers, found %s of %lld",
                       j->where, key, (long long)n, v ? eq_json_type(v) : "nothing",
                       (long long)json_array_size(v));
    for (int64_t i = 0; i < n; i++) {
        double d = json_number_value(json_array_get(v, (size_t)i)); /* 0: no number */
        if (!(d > 0 && d < 1e12))
            return eq_fail(err, EQ_EINPUT,
                           "%s: \"%s\": expected positive numbers, found another value at %lld",
                           j->where, key, (long long)i);
        out[i] = (float)d;
    }
    return EQ_OK;
}

static eq_status parse_long(const job *j, eq_err *err) {
    eq_rope_spec *s = j->spec;
    EQ_TRY(parse_original(j, err));
    double T = (double)s->original_T;
    EQ_TRY(eq_need_positive(j->r, "factor", (double)j->c->T_max / T, &s->factor, j->where, err));
    double scale = s->factor > 1 && T > 1 ? sqrt(1 + log(s->factor) / log(T)) : 1;
    EQ_TRY(eq_need_positive(j->r, "attention_factor", scale, &s->scale, j->where, err));
    EQ_TRY(parse_divisors(s->short_factor, j, "short_factor", err));
    EQ_TRY(parse_divisors(s->long_factor, j, "long_factor", err));
    if (j->f->long_whole && j->c->T_max > s->original_T)
        memcpy(s->short_factor, s->long_factor, sizeof s->short_factor);
    return EQ_OK;
}

/* ---- one object --------------------------------------------------------------------------------
 */

static eq_status parse_one(const job *j, eq_err *err) {
    eq_rope_spec *s = j->spec;
    s->kind = EQ_ROPE_PLAIN, s->scale = 1;
    EQ_TRY(parse_share(j, err));
    if (!j->r) return EQ_OK;
    EQ_TRY(parse_kind(j, err));
    EQ_TRY(check_keys(j, err));
    if (s->kind == EQ_ROPE_PLAIN) return EQ_OK;
    if (s->kind == EQ_ROPE_YARN) return parse_yarn(j, err);
    if (s->kind == EQ_ROPE_LONG) return parse_long(j, err);
    EQ_TRY(eq_need_positive(j->r, "factor", 0, &s->factor, j->where, err));
    if (s->kind == EQ_ROPE_DYNAMIC && s->dim <= 2)
        return eq_fail(err, EQ_EINPUT,
                       "%s: rope type dynamic: expected more than 2 elements to turn, found %lld",
                       j->where, (long long)s->dim);
    return s->kind == EQ_ROPE_LLAMA3 ? parse_llama3(j, err) : EQ_OK;
}

/* theta: of config.json or the object, `missing` where neither says it. */
static eq_status parse_theta(const job *j, const char *outer_key, double missing, eq_err *err) {
    double outer;
    EQ_TRY(eq_need_positive(j->root, outer_key, missing, &outer, j->where, err));
    EQ_TRY(eq_need_positive(j->r, "rope_theta", outer, &j->spec->theta, j->where, err));
    if (j->spec->theta != outer && eq_json_get(j->root, outer_key))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected one value, found %g and %g", j->where,
                       outer_key, outer, j->spec->theta);
    return EQ_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

/* rope_scaling or rope_parameters; an empty one is none. */
static eq_status object_of(const json_t **r, const json_t *root, const char *key, const char *where,
                           eq_err *err) {
    *r = eq_json_get(root, key);
    if (*r && !json_is_object(*r))
        return eq_fail(err, EQ_EINPUT, "%s: \"%s\": expected an object, found %s", where, key,
                       eq_json_type(*r));
    if (json_object_size(*r) == 0) *r = NULL;
    return EQ_OK;
}

static bool equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

/* The first key of a that b does not say in the same words; the type has two names. */
static const char *first_other(const json_t *a, const json_t *b) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)a, key, v) {
        const json_t *w = eq_json_get(b, key);
        if (!w && !strcmp(key, "type")) w = eq_json_get(b, "rope_type");
        if (!w && !strcmp(key, "rope_type")) w = eq_json_get(b, "type");
        if (json_is_null(v) || !strcmp(key, "rope_theta")) continue;
        if (!w || !equal(v, w)) return key;
    }
    return NULL;
}

static eq_status parse_flat(job *j, const json_t *scaling, const json_t *parameters, eq_err *err) {
    const char *other = NULL;
    double missing = j->f->theta > 0 ? j->f->theta : 10000;
    j->r = scaling ? scaling : parameters;
    if (scaling && parameters) {
        other = first_other(scaling, parameters);
        if (!other) other = first_other(parameters, scaling);
    }
    EQ_TRY(parse_theta(j, "rope_theta", missing, err));
    if (scaling && parameters && !other) {
        double theta;
        EQ_TRY(eq_need_positive(parameters, "rope_theta", j->spec->theta, &theta, j->where, err));
        if (theta != j->spec->theta) other = "rope_theta";
    }
    if (other)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected \"rope_scaling\" and \"rope_parameters\" to say the same, "
                       "found another \"%s\"",
                       j->where, other);
    return parse_one(j, err);
}

/* transformers 5 has one object for the layers that slide and one for the others; before, scaling
 * was for the others alone. */
static eq_status parse_by_type(job *j, const json_t *scaling, const json_t *parameters,
                               eq_err *err) {
    static const eq_key types[] = {{"full_attention", EQ_KEY_READ},
                                   {"sliding_attention", EQ_KEY_READ}};
    const json_t *root = j->root;
    const char *long_key = "original_max_position_embeddings";
    if (scaling && parameters)
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected one of \"rope_scaling\" and \"rope_parameters\", found both",
                       j->where);
    if (eq_json_get(root, long_key))
        return eq_fail(err, EQ_EINPUT,
                       "%s: \"%s\": expected none outside of rope_parameters, found "
                       "one",
                       j->where, long_key);
    EQ_TRY(eq_keys_check(parameters, types, 2, j->where, err));
    EQ_TRY(object_of(&j->r, parameters, "full_attention", j->where, err));
    if (scaling) j->r = scaling;
    EQ_TRY(parse_theta(j, "rope_theta", j->f->theta, err));
    EQ_TRY(parse_one(j, err));
    job sliding = *j;
    sliding.spec = &j->c->rope_sliding;
    EQ_TRY(object_of(&sliding.r, parameters, "sliding_attention", j->where, err));
    if (!j->f->local_key) /* versions of transformers differ in what rope_theta means for it */
        sliding.root = sliding.r ? NULL : root;
    EQ_TRY(parse_theta(&sliding, j->f->local_key ? j->f->local_key : "rope_theta",
                       j->f->theta_sliding, err));
    if (!j->f->local_key && !sliding.r && sliding.spec->theta != j->f->theta_sliding)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: \"rope_theta\": expected %g, or rope_parameters for each kind of layer, "
            "found %g",
            j->where, j->f->theta_sliding, sliding.spec->theta);
    return parse_one(&sliding, err);
}

eq_status eq_rope_parse(eq_config *c, const eq_family *f, const json_t *root, const char *where,
                        eq_err *err) {
    const json_t *scaling, *parameters;
    job j = {.spec = &c->rope, .c = c, .f = f, .root = root, .where = where};
    EQ_TRY(object_of(&scaling, root, "rope_scaling", where, err));
    EQ_TRY(object_of(&parameters, root, "rope_parameters", where, err));
    c->two_ropes = f->ropes_by_type;
    if (f->query_scaling && !parameters)
        return eq_fail(err, EQ_EINPUT, "%s: \"rope_parameters\": expected them, found none", where);
    return f->ropes_by_type ? parse_by_type(&j, scaling, parameters, err)
                            : parse_flat(&j, scaling, parameters, err);
}
