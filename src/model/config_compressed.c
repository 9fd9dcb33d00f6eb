/* quantization_config of compressed-tensors (llm-compressor, vLLM), pack-quantized weights alone:
 * activations, caches and transforms that are quantized would be another forward pass. Groups name
 * their linears by "Linear", by name or by a regex; what says it more closely counts. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "model/config_parse.h"
#include "model/schemes.h"
#include "quant/pack.h"

static const eq_key root_keys[] = {
    {"quant_method", EQ_KEY_READ},
    {"format", EQ_KEY_READ},
    {"config_groups", EQ_KEY_READ},
    {"quantization_status", EQ_KEY_READ},
    {"ignore", EQ_KEY_READ},
    {"sparsity_config", EQ_KEY_READ},
    {"kv_cache_scheme", EQ_KEY_OFF},
    {"transform_config", EQ_KEY_OFF},
    {"moe_sparsity_config", EQ_KEY_OFF},
    {"global_compression_ratio", EQ_KEY_FREE},
    {"version", EQ_KEY_FREE},
};
static const eq_key group_keys[] = {
    {"targets", EQ_KEY_READ},          {"weights", EQ_KEY_READ},           {"format", EQ_KEY_READ},
    {"input_activations", EQ_KEY_OFF}, {"output_activations", EQ_KEY_OFF},
};
static const eq_key weight_keys[] =
    {
        {"num_bits", EQ_KEY_READ},    {"type", EQ_KEY_READ},
        {"symmetric", EQ_KEY_READ},   {"strategy", EQ_KEY_READ},
        {"group_size", EQ_KEY_READ},  {"actorder", EQ_KEY_READ},
        {"dynamic", EQ_KEY_OFF},      {"block_structure", EQ_KEY_OFF},
        {"observer", EQ_KEY_FREE},    {"observer_kwargs", EQ_KEY_FREE},
        {"scale_dtype", EQ_KEY_FREE}, /* scales have the type they are stored in */
        {"zp_dtype", EQ_KEY_FREE},
};
#define COUNT(a) (int64_t)(sizeof(a) / sizeof *(a))

typedef struct {
    const json_t *targets;
    eq_scheme scheme;
    bool symmetric;
    const char *key;
} group;
enum { GROUPS_MAX = 64 };

typedef struct {
    const char *where;
    group g[GROUPS_MAX];
    int n;
    const json_t *ignore;
    const group *first; /* that a linear has */
} groups;

/* ---- one group ------------------------------------------------------------------------------- */

/* Columns that were reordered while codes were found lie as ever ("weight", "static"); a group for
 * each of them would need an index. */
static eq_status check_order(const json_t *w, const char *inside, eq_err *err) {
    const json_t *v = eq_json_get(w, "actorder");
    const char *s = json_string_value(v);
    if (!v || json_is_false(v) || (s && (!strcmp(s, "weight") || !strcmp(s, "static"))))
        return EQ_OK;
    return eq_fail(
        err, EQ_EINPUT,
        "%s: \"actorder\": expected null, \"weight\" or \"static\", found %s (activation "
        "order of groups is not supported)",
        inside, s ? s : eq_json_type(v));
}

static eq_status read_size(eq_scheme *s, const json_t *w, const char *inside, eq_err *err) {
    const char *strategy;
    EQ_TRY(eq_json_int(w, "group_size", -1, -1, 1 << 22, &s->group, inside, err));
    EQ_TRY(eq_json_str(w, "strategy", s->group > 0 ? "group" : "channel", &strategy, inside, err));
    bool grouped = !strcmp(strategy, "group");
    if ((!grouped && strcmp(strategy, "channel")) || (grouped && s->group < 1))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected \"strategy\" \"group\" with a \"group_size\", or \"channel\", "
                       "found \"%s\", %lld",
                       inside, strategy, (long long)s->group);
    if (!grouped) s->group = -1;
    return EQ_OK;
}

static eq_status read_weights(group *g, const json_t *w, const char *inside, eq_err *err) {
    int64_t bits;
    if (!json_is_object(w))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", inside, eq_json_type(w));
    EQ_TRY(eq_keys_check(w, weight_keys, COUNT(weight_keys), inside, err));
    EQ_TRY(eq_need_word(w, "type", "int", "int", inside, err));
    EQ_TRY(eq_json_need_int(w, "num_bits", 1, 64, &bits, inside, err));
    if (!eq_bits_known((int)bits))
        return eq_fail(err, EQ_EINPUT, "%s: \"num_bits\": expected 2, 3, 4 or 8, found %d", inside,
                       (int)bits);
    g->scheme.bits = (int)bits;
    EQ_TRY(eq_json_bool(w, "symmetric", true, &g->symmetric, inside, err));
    EQ_TRY(check_order(w, inside, err));
    return read_size(&g->scheme, w, inside, err);
}

static eq_status read_group(groups *all, const char *key, const json_t *v, eq_err *err) {
    char inside[512], weights[560];
    group *g = &all->g[all->n];
    snprintf(inside, sizeof inside, "%.240s: quantization_config: config_groups: %.200s",
             all->where, key);
    snprintf(weights, sizeof weights, "%s: weights", inside);
    if (all->n == GROUPS_MAX)
        return eq_fail(err, EQ_EINPUT, "%s: expected at most %d groups", inside, GROUPS_MAX);
    if (!json_is_object(v))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", inside, eq_json_type(v));
    EQ_TRY(eq_keys_check(v, group_keys, COUNT(group_keys), inside, err));
    EQ_TRY(eq_need_word(v, "format", "pack-quantized", "pack-quantized", inside, err));
    *g = (group){.key = key, .targets = eq_json_get(v, "targets")};
    if (!json_is_array(g->targets))
        return eq_fail(err, EQ_EINPUT, "%s: \"targets\": expected an array, found %s", inside,
                       g->targets ? eq_json_type(g->targets) : "nothing");
    all->n++;
    return read_weights(g, eq_json_get(v, "weights"), weights, err);
}

/* ---- a linear's group ------------------------------------------------------------------------ */

/* 2: a target of the list names the linear, 1: its class, 0: none. */
static eq_status rank_of(int *rank, const json_t *targets, const char *name, const char *where,
                         eq_err *err) {
    size_t i;
    json_t *v;
    *rank = 0;
    json_array_foreach((json_t *)(uintptr_t)targets, i, v) {
        const char *s = json_string_value(v);
        bool yes = s && !strcmp(s, name);
        if (!s)
            return eq_fail(err, EQ_EINPUT,
                           "%s: quantization_config: expected names of linears, found %s", where,
                           eq_json_type(v));
        if (eq_starts_with(s, "re:")) EQ_TRY(eq_schemes_fits(&yes, s + 3, name, where, err));
        if (yes) *rank = 2;
        if (!*rank && !strcmp(s, "Linear")) *rank = 1;
    }
    return EQ_OK;
}

static eq_status find_group(void *ctx, const char *name, eq_scheme *s, eq_err *err) {
    groups *all = ctx;
    const group *found = NULL;
    int best = 0, rank;
    EQ_TRY(rank_of(&rank, all->ignore, name, all->where, err));
    for (int k = 0; k < all->n && !rank; k++) {
        int r;
        EQ_TRY(rank_of(&r, all->g[k].targets, name, all->where, err));
        if (r > best) best = r, found = &all->g[k];
    }
    if (!found)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config: expected every linear of a block to be quantized, "
                       "found %s %s",
                       all->where, name, rank ? "ignored" : "in none of config_groups");
    if (!all->first) all->first = found;
    if (found->symmetric != all->first->symmetric)
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config: expected groups that are all symmetric or none of "
                       "them, found %s and %s to differ",
                       all->where, all->first->key, found->key);
    *s = found->scheme;
    return EQ_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Zeros may be stored as any other number, so only the dense form is read. */
static eq_status check_sparsity(const json_t *q, const char *where, eq_err *err) {
    const json_t *v = eq_json_get(q, "sparsity_config");
    if (!v || (json_is_object(v) && !json_object_size(v))) return EQ_OK;
    return eq_need_word(v, "format", "nothing", "dense", where, err);
}

/* Several formats in a file stand with their groups. */
static eq_status check_format(const json_t *q, const char *where, eq_err *err) {
    const char *format;
    EQ_TRY(eq_json_str(q, "format", "nothing", &format, where, err));
    if (strcmp(format, "mixed-precision"))
        EQ_TRY(eq_need_word(q, "format", "nothing", "pack-quantized", where, err));
    return eq_need_word(q, "quantization_status", "compressed", "compressed", where, err);
}

eq_status eq_compressed_parse(eq_config *c, const json_t *q, const char *where, const char *inside,
                              eq_err *err) {
    groups all = {.where = where, .ignore = eq_json_get(q, "ignore")};
    json_t *list = json_object_get(q, "config_groups"), *v;
    const char *key;
    EQ_TRY(check_format(q, where, err));
    EQ_TRY(eq_keys_check(q, root_keys, COUNT(root_keys), inside, err));
    EQ_TRY(check_sparsity(q, where, err));
    if (!json_is_object(list) || !json_object_size(list))
        return eq_fail(err, EQ_EINPUT,
                       "%s: quantization_config \"config_groups\": expected an object of groups, "
                       "found %s",
                       where, list ? eq_json_type(list) : "nothing");
    json_object_foreach(list, key, v) EQ_TRY(read_group(&all, key, v, err));
    EQ_TRY(eq_schemes_by_name(&c->schemes, c, find_group, &all, err));
    c->layout = all.first->symmetric ? EQ_LAYOUT_CT_SYM : EQ_LAYOUT_CT_ASYM;
    return EQ_OK;
}
