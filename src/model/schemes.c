/* See schemes.h. Invariant: the table is there only where two linears differ, so that what is
 * written for a model whose linears are alike does not depend on how that was said. */
#include "model/schemes.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/config_parse.h"
#include "quant/kgrid.h"
#include "quant/pack.h"
#include "quant/scheme.h"
#include "text/pattern.h"

static void name_of(char out[96], const eq_config *c, int64_t i, int l) {
    snprintf(out, 96, "model.layers.%lld.%s", (long long)i, eq_lin_of(c, (eq_lin)l).name);
}
/* In the model's files, where several may be rows of one tensor. */
static void file_name_of(char out[96], const eq_config *c, int64_t i, int l) {
    snprintf(out, 96, "model.layers.%lld.%s", (long long)i, eq_lin_of(c, (eq_lin)l).file);
}

/* ---- making ---------------------------------------------------------------------------------- */

static eq_status begin(eq_schemes *t, const eq_config *c, eq_scheme all, eq_err *err) {
    *t = (eq_schemes){.all = all, .at = eq_calloc(c->L * EQ_LINS, sizeof *t->at)};
    if (!t->at) return eq_nomem(err, "schemes", c->L * EQ_LINS * (int64_t)sizeof *t->at);
    for (int64_t k = 0; k < c->L * EQ_LINS; k++) t->at[k] = all;
    return EQ_OK;
}

static void end(eq_schemes *t, const eq_config *c) {
    for (int64_t k = 0; k < c->L * EQ_LINS; k++)
        if (!eq_scheme_same(t->at[k], t->all)) return;
    eq_schemes_free(t);
}

eq_status eq_schemes_copy(eq_schemes *t, const eq_schemes *from, const eq_config *c, eq_err *err) {
    *t = (eq_schemes){.all = from->all};
    if (!from->at) return EQ_OK;
    EQ_TRY(begin(t, c, from->all, err));
    memcpy(t->at, from->at, (size_t)(c->L * EQ_LINS) * sizeof *t->at);
    return EQ_OK;
}

void eq_schemes_free(eq_schemes *t) {
    eq_free(t->at);
    t->at = NULL;
}

static eq_status apply(eq_schemes *t, const eq_config *c, const eq_scheme_item *item, eq_err *err) {
    char name[96], file[96];
    int64_t fits = 0;
    const char *why = eq_scheme_item_refuses(item);
    if (why) return eq_fail(err, EQ_EINPUT, "scheme: expected %s", why);
    for (int64_t i = 0; i < c->L; i++)
        for (int l = 0; l < EQ_LINS; l++) {
            name_of(name, c, i, l), file_name_of(file, c, i, l);
            if (!eq_scheme_fits(item, name) && !eq_scheme_fits(item, file)) continue;
            eq_scheme *s = &t->at[i * EQ_LINS + l];
            *s = t->all, fits++;
            eq_scheme_read(s, item->scheme, item->scheme_n);
        }
    if (fits) return EQ_OK;
    name_of(name, c, c->L - 1, EQ_LINS - 1);
    return eq_fail(err, EQ_EINPUT,
                   "scheme: expected a pattern that fits a linear of this model (the last is "
                   "%s), found \"%.*s\"",
                   name, (int)item->pattern_n, item->pattern);
}

eq_status eq_schemes_make(eq_schemes *t, const eq_config *c, eq_scheme all, const char *others,
                          eq_err *err) {
    eq_scheme_item item;
    *t = (eq_schemes){.all = all};
    if (!others) return EQ_OK;
    EQ_TRY(begin(t, c, all, err));
    eq_status st = EQ_OK;
    while (st == EQ_OK && eq_scheme_next(&others, &item)) st = apply(t, c, &item, err);
    if (st == EQ_OK)
        end(t, c);
    else
        eq_schemes_free(t);
    return st;
}

eq_status eq_schemes_by_name(eq_schemes *t, const eq_config *c, eq_scheme_fn fn, void *ctx,
                             eq_err *err) {
    eq_status st = begin(t, c, (eq_scheme){0}, err);
    for (int64_t k = 0; st == EQ_OK && k < c->L * EQ_LINS; k++) {
        char name[96];
        file_name_of(name, c, k / EQ_LINS, (int)(k % EQ_LINS));
        st = fn(ctx, name, &t->at[k], err);
    }
    if (st == EQ_OK)
        t->all = t->at[0], end(t, c);
    else
        eq_schemes_free(t);
    return st;
}

/* ---- "dynamic" ------------------------------------------------------------------------------- */

/* One key and what stands behind it. *s: the scheme of what fits. */
static eq_status read_rule(eq_scheme *s, const char *key, const json_t *v, const char *where,
                           eq_err *err) {
    static const eq_key keys[] = {
        {"bits", EQ_KEY_READ},         {"group_size", EQ_KEY_READ},    {"desc_act", EQ_KEY_OFF},
        {"adapter", EQ_KEY_OFF},       {"sym", EQ_KEY_FREE},           {"mse", EQ_KEY_FREE},
        {"damp_percent", EQ_KEY_FREE}, {"static_groups", EQ_KEY_FREE},
    };
    int64_t bits;
    char inside[512];
    snprintf(inside, sizeof inside, "%.240s: quantization_config: dynamic: %.200s", where, key);
    if (!json_is_object(v))
        return eq_fail(err, EQ_EINPUT, "%s: expected an object, found %s", inside, eq_json_type(v));
    if (!strncmp(key, "-:", 2))
        return eq_fail(err, EQ_EINPUT,
                       "%s: expected every linear of a block to be quantized, found one left out",
                       inside);
    EQ_TRY(eq_keys_check(v, keys, sizeof keys / sizeof *keys, inside, err));
    EQ_TRY(eq_json_int(v, "bits", s->bits, 2, 8, &bits, inside, err));
    EQ_TRY(eq_json_int(v, "group_size", s->group, -1, 1 << 22, &s->group, inside, err));
    s->bits = (int)bits;
    if (!eq_bits_known(s->bits) || !s->group)
        return eq_fail(err, EQ_EINPUT, "%s: expected 2, 3, 4 or 8 bits and groups, found w%dg%d",
                       inside, s->bits, (int)s->group);
    return EQ_OK;
}

static eq_status fits_regex(const eq_pattern *p, const char *name, bool *yes, eq_err *err) {
    eq_scan s = {0};
    int64_t from, to;
    eq_status st = eq_scan_start(&s, p, name, (int64_t)strlen(name), err);
    if (st == EQ_OK) st = eq_scan_next(&s, yes, &from, &to, err);
    eq_scan_free(&s);
    return st;
}

static eq_status open_regex(eq_pattern **p, const char *regex, const char *where, eq_err *err) {
    char *anchored = eq_sprintf("\\A(?:%s)", regex);
    if (!anchored) return eq_nomem(err, "a pattern", (int64_t)strlen(regex));
    eq_status st = eq_pattern_regex(p, anchored, where, err);
    eq_free(anchored);
    return st;
}

eq_status eq_schemes_fits(bool *yes, const char *regex, const char *name, const char *where,
                          eq_err *err) {
    eq_pattern *p;
    EQ_TRY(open_regex(&p, regex, where, err));
    eq_status st = fits_regex(p, name, yes, err);
    eq_pattern_free(p);
    return st;
}

/* Into every linear that fits and that no rule before this one has taken. */
static eq_status apply_regex(eq_schemes *t, bool *taken, const eq_config *c, const char *key,
                             eq_scheme s, const char *where, eq_err *err) {
    eq_pattern *p;
    EQ_TRY(open_regex(&p, !strncmp(key, "+:", 2) ? key + 2 : key, where, err));
    eq_status st = EQ_OK;
    for (int64_t k = 0; st == EQ_OK && k < c->L * EQ_LINS; k++) {
        char name[96];
        bool yes = false;
        if (taken[k]) continue;
        file_name_of(name, c, k / EQ_LINS, (int)(k % EQ_LINS));
        st = fits_regex(p, name, &yes, err);
        if (yes) t->at[k] = s, taken[k] = true;
    }
    eq_pattern_free(p);
    return st;
}

eq_status eq_schemes_from_dynamic(eq_schemes *t, const eq_config *c, eq_scheme all,
                                  const json_t *dynamic, const char *where, eq_err *err) {
    const char *key;
    json_t *v;
    EQ_TRY(begin(t, c, all, err));
    bool *taken = eq_calloc(c->L * EQ_LINS, sizeof *taken);
    eq_status st = taken ? EQ_OK : eq_nomem(err, "schemes", c->L * EQ_LINS);
    json_object_foreach((json_t *)(uintptr_t)dynamic, key, v) {
        eq_scheme s = all;
        if (st == EQ_OK) st = read_rule(&s, key, v, where, err);
        if (st == EQ_OK) st = apply_regex(t, taken, c, key, s, where, err);
    }
    eq_free(taken);
    if (st == EQ_OK)
        end(t, c);
    else
        eq_schemes_free(t);
    return st;
}

/* "0|3|5": the blocks in which linear l has the scheme s; "": none, ALL: in all. */
static const char ALL[] = "[0-9]+";
static void blocks_with(eq_str *out, const eq_schemes *t, const eq_config *c, int l, eq_scheme s) {
    int64_t n = 0;
    out->n = 0;
    for (int64_t i = 0; i < c->L; i++)
        if (eq_scheme_same(eq_scheme_at(t, i, (eq_lin)l), s))
            eq_str_printf(out, "%s%lld", n++ ? "|" : "", (long long)i);
    if (n < c->L) return;
    out->n = 0;
    eq_str_puts(out, ALL);
}

/* Was the scheme of linear l in block i met in a block before, or is it everybody's? */
static bool is_said(const eq_schemes *t, int64_t i, int l) {
    eq_scheme s = eq_scheme_at(t, i, (eq_lin)l);
    for (int64_t k = 0; k < i; k++)
        if (eq_scheme_same(eq_scheme_at(t, k, (eq_lin)l), s)) return true;
    return eq_scheme_same(s, t->all);
}

/* "self_attn.q_proj" as a regex; names have no other special letter. */
static void put_name(eq_str *out, const char *name) {
    for (; *name; name++) eq_str_printf(out, *name == '.' ? "\\%c" : "%c", *name);
}

json_t *eq_schemes_dynamic(const eq_schemes *t, const eq_config *c) {
    json_t *o = t->at ? json_object() : NULL;
    eq_str key = {0}, blocks = {0};
    for (int l = 0; o && l < EQ_LINS; l++)
        for (int64_t i = 0; i < c->L; i++) {
            eq_scheme s = eq_scheme_at(t, i, (eq_lin)l);
            if (is_said(t, i, l) || eq_lin_of(c, (eq_lin)l).first) continue;
            blocks_with(&blocks, t, c, l, s);
            key.n = 0;
            eq_str_printf(&key, "+:^model\\.layers\\.(%s)\\.", blocks.p ? blocks.p : "");
            put_name(&key, eq_lin_of(c, (eq_lin)l).file);
            eq_str_puts(&key, "$");
            if (!key.oom && !blocks.oom)
                json_object_set_new(
                    o, key.p,
                    json_pack("{s:i, s:I}", "bits", s.bits, "group_size", (json_int_t)s.group));
        }
    eq_str_free(&key), eq_str_free(&blocks);
    return o;
}

/* ---- what they come to ----------------------------------------------------------------------- */

/* What lies in one tensor is read with one scheme. */
static eq_status check_joined(const eq_schemes *t, const eq_config *c, int64_t i, int l,
                              eq_err *err) {
    eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
    for (int k = 0; k < l; k++) {
        eq_lin_spec other = eq_lin_of(c, (eq_lin)k);
        if (strcmp(other.file, s.file) ||
            eq_scheme_same(eq_scheme_at(t, i, (eq_lin)k), eq_scheme_at(t, i, (eq_lin)l)))
            continue;
        return eq_fail(err, EQ_EINPUT,
                       "model.layers.%lld.%s: expected the scheme of %s, which files of this model "
                       "join to one tensor (%s), found another",
                       (long long)i, s.name, other.name, s.file);
    }
    return EQ_OK;
}

/* What the grid of a K type needs of a linear; name: who it is, scheme: q as a word. */
static eq_status check_grid(const char *name, int64_t I, eq_scheme q, const char *scheme,
                            eq_err *err) {
    const char *grid = eq_grid_name(q.grid);
    if (!eq_k_grid(q.grid)) return EQ_OK;
    if (q.bits != eq_k_bits(q.grid))
        return eq_fail(err, EQ_EINPUT, "%s: the grid %s expects %d bits, found %s", name, grid,
                       eq_k_bits(q.grid), scheme);
    if (I % EQ_K_WEIGHTS)
        return eq_fail(err, EQ_EINPUT, "%s: the grid %s expects inputs that %d divides, found %lld",
                       name, grid, EQ_K_WEIGHTS, (long long)I);
    if (q.group > 0 && eq_k_fits(I, q.group)) return EQ_OK;
    return eq_fail(err, EQ_EINPUT,
                   "%s: the grid %s expects groups of 32, 64, 128 or 256 weights, found %s", name,
                   grid, scheme);
}

eq_status eq_schemes_check(const eq_schemes *t, const eq_config *c, eq_err *err) {
    for (int64_t i = 0; i < (t->at ? c->L : 1); i++)
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
            eq_scheme q = eq_scheme_at(t, i, (eq_lin)l);
            char block[24] = "*", scheme[24], name[96];
            if (t->at) snprintf(block, sizeof block, "%lld", (long long)i);
            snprintf(name, sizeof name, "model.layers.%s.%s", block, s.name);
            eq_scheme_name(scheme, q);
            if (!eq_bits_known(q.bits))
                return eq_fail(err, EQ_EINPUT, "%s: expected 2, 3, 4 or 8 bits, found %s", name,
                               scheme);
            EQ_TRY(check_joined(t, c, i, l, err));
            EQ_TRY(check_grid(name, s.I, q, scheme, err));
            if (q.group && q.group >= -1 && s.I % eq_group(q.group, s.I) == 0) continue;
            return eq_fail(err, EQ_EINPUT,
                           "%s [%lld, %lld]: expected inputs that the groups of %s divide, found "
                           "%lld",
                           name, (long long)s.O, (long long)s.I, scheme, (long long)s.I);
        }
    return EQ_OK;
}

void eq_schemes_words(eq_str *out, const eq_schemes *t, const eq_config *c) {
    char name[24];
    eq_str blocks = {0};
    eq_scheme_name(name, t->all);
    eq_str_puts(out, name);
    for (int l = 0; t->at && l < EQ_LINS; l++)
        for (int64_t i = 0; i < c->L; i++) {
            eq_scheme s = eq_scheme_at(t, i, (eq_lin)l);
            const char *lin = eq_lin_of(c, (eq_lin)l).name;
            if (eq_scheme_same(s, t->all)) continue;
            eq_scheme_name(name, s);
            blocks_with(&blocks, t, c, l, s);
            if (!blocks.oom && !strcmp(blocks.p, ALL)) {
                eq_str_printf(out, ",%s=%s", lin, name);
                break;
            }
            eq_str_printf(out, ",%lld.%s=%s", (long long)i, lin, name);
        }
    eq_str_free(&blocks);
}

eq_schemes_size eq_schemes_count(const eq_schemes *t, const eq_config *c) {
    eq_schemes_size n = {0};
    for (int64_t i = 0; i < c->L; i++) {
        int64_t before = n.groups;
        for (int l = 0; l < EQ_LINS; l++) {
            eq_lin_spec s = eq_lin_of(c, (eq_lin)l);
            eq_scheme q = eq_scheme_at(t, i, (eq_lin)l);
            int64_t G = eq_group(q.group, s.I);
            n.words += s.O * eq_pack_words(s.I, q.bits);
            n.groups += s.O * (s.I / G);
            n.bits += (double)(s.O * s.I) * eq_bits_per_weight(q.bits, G);
        }
        if (n.groups - before > n.most_groups) n.most_groups = n.groups - before;
    }
    n.bits /= (double)eq_config_linear_params(c);
    return n;
}
