/* Pre-tokenizers: Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit,
 * CharDelimiterSplit, FixedLength, UnicodeScripts, Sequence. Each becomes one to three steps. */
#include <string.h>

#include "base/mem.h"
#include "text/pretokenize_steps.h"
#include "text/spec.h"
#include "text/unicode.h"

/* The words of GPT-2 (Radford et al. 2019): contractions, letters, numbers, signs, white space. */
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static eq_status add(eq_pretokenizer *p, eq_pre_step **s, eq_pre_kind kind, eq_err *err) {
    eq_pre_step *grown = eq_realloc(p->steps, p->n + 1, sizeof *grown);
    *s = NULL;
    if (!grown) return eq_nomem(err, "a pre-tokenizer", (p->n + 1) * (int64_t)sizeof *grown);
    p->steps = grown;
    *s = grown + p->n++;
    memset(*s, 0, sizeof **s);
    (*s)->kind = kind;
    return EQ_OK;
}

static eq_status behavior(eq_split *out, const json_t *spec, const char *where, eq_err *err) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *s;
    int64_t n;
    EQ_TRY(eq_spec_text(spec, "behavior", &s, &n, where, err));
    for (int i = 0; i < 5; i++)
        if (!strcmp(s, names[i])) return *out = (eq_split)i, EQ_OK;
    return eq_spec_unsupported("split behavior", s, where, err);
}

static eq_status split(eq_pretokenizer *p, const json_t *spec, const char *where, eq_err *err) {
    eq_pre_step *s;
    EQ_TRY(eq_spec_known(spec, "type pattern behavior invert", where, err));
    EQ_TRY(add(p, &s, EQ_PRE_SPLIT, err));
    EQ_TRY(behavior(&s->split, spec, where, err));
    EQ_TRY(eq_spec_bool(spec, "invert", &s->invert, where, err));
    return eq_pattern_parse(&s->pattern, json_object_get(spec, "pattern"), where, err);
}

static eq_status byte_level(eq_pretokenizer *p, const json_t *spec, const char *where,
                            eq_err *err) {
    eq_pre_step *s;
    bool space, regex;
    EQ_TRY(eq_spec_known(spec, "type add_prefix_space trim_offsets use_regex", where, err));
    EQ_TRY(eq_spec_bool(spec, "add_prefix_space", &space, where, err));
    EQ_TRY(eq_json_bool(spec, "use_regex", true, &regex, where, err));
    if (space) EQ_TRY(add(p, &s, EQ_PRE_SPACE, err));
    if (regex) {
        EQ_TRY(add(p, &s, EQ_PRE_SPLIT, err));
        s->split = EQ_SPLIT_ISOLATED;
        EQ_TRY(eq_pattern_regex(&s->pattern, gpt2, where, err));
    }
    return add(p, &s, EQ_PRE_BYTES, err);
}

/* A split at one character. */
static eq_status at_char(eq_pretokenizer *p, const char *c, int64_t n, eq_split how,
                         const char *where, eq_err *err) {
    eq_pre_step *s;
    EQ_TRY(add(p, &s, EQ_PRE_SPLIT, err));
    s->split = how;
    json_t *pattern = json_pack("{s:s%}", "String", c, (size_t)n);
    if (!pattern) return eq_nomem(err, "a pre-tokenizer", n);
    eq_status st = eq_pattern_parse(&s->pattern, pattern, where, err);
    json_decref(pattern);
    return st;
}

static eq_status metaspace(eq_pretokenizer *p, const json_t *spec, const char *where, eq_err *err) {
    eq_pre_step *s;
    const char *mark, *scheme;
    int64_t n;
    bool prefix, cut;
    EQ_TRY(eq_spec_known(spec, "type replacement str_rep add_prefix_space prepend_scheme split",
                         where, err));
    EQ_TRY(eq_spec_char(spec, "replacement", &mark, &n, where, err));
    EQ_TRY(eq_json_str(spec, "prepend_scheme", "always", &scheme, where, err));
    EQ_TRY(eq_json_bool(spec, "add_prefix_space", true, &prefix, where, err));
    EQ_TRY(eq_json_bool(spec, "split", true, &cut, where, err));
    EQ_TRY(add(p, &s, EQ_PRE_METASPACE, err));
    memcpy(s->mark, mark, (size_t)n);
    if (!strcmp(scheme, "always"))
        s->prepend = EQ_PREPEND_ALWAYS;
    else if (!strcmp(scheme, "first"))
        s->prepend = EQ_PREPEND_FIRST;
    else if (!strcmp(scheme, "never"))
        s->prepend = EQ_PREPEND_NEVER;
    else
        return eq_spec_unsupported("Metaspace prepend_scheme", scheme, where, err);
    if (!prefix && s->prepend != EQ_PREPEND_NEVER)
        return eq_fail(
            err, EQ_EINPUT,
            "%s: Metaspace: \"add_prefix_space\" false: expected \"prepend_scheme\" never, "
            "found %s",
            where, scheme);
    return cut ? at_char(p, mark, n, EQ_SPLIT_WITH_NEXT, where, err) : EQ_OK;
}

static eq_status char_set(eq_pretokenizer *p, bool (*in_set)(uint32_t), eq_split how, eq_err *err) {
    eq_pre_step *s;
    EQ_TRY(add(p, &s, EQ_PRE_CHARS, err));
    s->in_set = in_set;
    s->split = how;
    return EQ_OK;
}

static eq_status parse(eq_pretokenizer *p, const json_t *spec, const char *where, eq_err *err);

static eq_status sequence(eq_pretokenizer *p, const json_t *spec, const char *where, eq_err *err) {
    const json_t *list;
    EQ_TRY(eq_spec_known(spec, "type pretokenizers", where, err));
    EQ_TRY(eq_spec_array(spec, "pretokenizers", &list, where, err));
    for (size_t i = 0; i < json_array_size(list); i++)
        EQ_TRY(parse(p, json_array_get(list, i), where, err));
    return EQ_OK;
}

static eq_status parse(eq_pretokenizer *p, const json_t *spec, const char *where, eq_err *err) {
    const char *type;
    eq_pre_step *s;
    EQ_TRY(eq_spec_type(spec, "pre-tokenizer", &type, where, err));
    if (!strcmp(type, "Sequence")) return sequence(p, spec, where, err);
    if (!strcmp(type, "Split")) return split(p, spec, where, err);
    if (!strcmp(type, "ByteLevel")) return byte_level(p, spec, where, err);
    if (!strcmp(type, "Metaspace")) return metaspace(p, spec, where, err);
    if (!strcmp(type, "Digits")) {
        bool each;
        EQ_TRY(eq_spec_known(spec, "type individual_digits", where, err));
        EQ_TRY(eq_spec_bool(spec, "individual_digits", &each, where, err));
        return char_set(p, eq_uni_numeric, each ? EQ_SPLIT_ISOLATED : EQ_SPLIT_CONTIGUOUS, err);
    }
    if (!strcmp(type, "Punctuation")) {
        eq_split how = EQ_SPLIT_ISOLATED;
        EQ_TRY(eq_spec_known(spec, "type behavior", where, err));
        if (eq_json_get(spec, "behavior")) EQ_TRY(behavior(&how, spec, where, err));
        return char_set(p, eq_uni_punct, how, err);
    }
    if (!strcmp(type, "CharDelimiterSplit")) {
        const char *c;
        int64_t n;
        EQ_TRY(eq_spec_known(spec, "type delimiter", where, err));
        EQ_TRY(eq_spec_char(spec, "delimiter", &c, &n, where, err));
        return at_char(p, c, n, EQ_SPLIT_REMOVED, where, err);
    }
    if (!strcmp(type, "FixedLength")) {
        EQ_TRY(eq_spec_known(spec, "type length", where, err));
        EQ_TRY(add(p, &s, EQ_PRE_LENGTH, err));
        return eq_json_need_int(spec, "length", 1, INT32_MAX, &s->length, where, err);
    }
    if (!strcmp(type, "WhitespaceSplit") || !strcmp(type, "Whitespace") ||
        !strcmp(type, "UnicodeScripts"))
        EQ_TRY(eq_spec_known(spec, "type", where, err));
    if (!strcmp(type, "WhitespaceSplit")) return char_set(p, eq_uni_space, EQ_SPLIT_REMOVED, err);
    if (!strcmp(type, "UnicodeScripts")) return add(p, &s, EQ_PRE_SCRIPTS, err);
    if (!strcmp(type, "Whitespace")) return add(p, &s, EQ_PRE_WORDS, err);
    return eq_spec_unsupported("pre-tokenizer", type, where, err);
}

eq_status eq_pretokenizer_new(eq_pretokenizer **out, const json_t *spec, const char *where,
                              eq_err *err) {
    eq_pretokenizer *p = *out = eq_calloc(1, sizeof *p);
    if (!p) return eq_nomem(err, "a pre-tokenizer", sizeof *p);
    if (!spec || json_is_null(spec)) return EQ_OK;
    eq_status st = parse(p, spec, where, err);
    if (st != EQ_OK) {
        eq_pretokenizer_free(p);
        *out = NULL;
    }
    return st;
}

void eq_pretokenizer_free(eq_pretokenizer *p) {
    if (!p) return;
    for (int64_t i = 0; i < p->n; i++) eq_pattern_free(p->steps[i].pattern);
    eq_free(p->steps);
    eq_free(p);
}

bool eq_pretokenizer_bytes(const eq_pretokenizer *p) {
    return p->n > 0 && p->steps[p->n - 1].kind == EQ_PRE_BYTES;
}
