/* Viterbi's search as the peer does it: from left to right in double precision, a later way to a
 * place wins only when it is better, a character that no token of one character covers costs the
 * least score less 10, and unknown neighbours are one token.
 *
 * A long word is given out in parts: where no token that began before goes on, every way passes.
 * The sum goes on across such a place, so that roundings are those of the whole word.
 * Invariant: reach[k], the node for the place base + k, is valid for every place that some way
 * reaches. */
#include "text/unigram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/byte_char.h"
#include "text/spec.h"
#include "text/unigram_trie.h"
#include "text/utf8.h"
#include "text/word_cache.h"

enum { PART = 1 << 14 }; /* bytes of a long word before it is given out */

struct eq_unigram {
    eq_vocab vocab;
    double *score; /* [vocab.n] */
    eq_trie trie;
    double unk_score;
    int32_t unk; /* -1: none */
    bool bytes, byte_fallback;
    int32_t fallback[256]; /* "<0x00>" ... or -1 */
};

typedef struct {
    double score;
    int64_t from; /* -1: no way leads here */
    int32_t id;
} node;

struct eq_unigram_work {
    eq_word_cache cache;
    eq_ids ids;
    eq_str mapped; /* a word in the byte-level alphabet */
    node *reach;
    int64_t *ends; /* places of the best way, from its end */
    int64_t cap;
};

/* ---- reading --------------------------------------------------------------------------------- */

double eq_unigram_score(double score) {
    char s[40];
    int digits = 15;
    do snprintf(s, sizeof s, "%.*e", digits - 1, fabs(score));
    while (strtod(s, NULL) != fabs(score) && ++digits <= 17);
    if (digits == 15) return score; /* such are exact */
    int exponent = atoi(strchr(s, 'e') + 1) - (digits - 1);
    uint64_t whole = 0;
    for (const char *c = s; *c != 'e'; c++)
        if (*c != '.') whole = whole * 10 + (uint64_t)(*c - '0');
    if (abs(exponent) > 300) return score;
    snprintf(s, sizeof s, "1e%d", abs(exponent));
    double ten = strtod(s, NULL), f = exponent < 0 ? (double)whole / ten : (double)whole * ten;
    return score < 0 ? -f : f;
}

static eq_status load_scores(eq_unigram *u, const json_t *list, bool parsed, const char *where,
                             eq_err *err) {
    double least = INFINITY;
    u->score = eq_calloc(u->vocab.n, sizeof *u->score);
    if (!u->score) return eq_nomem(err, "the vocabulary", u->vocab.n * 8);
    for (int64_t i = 0; i < u->vocab.n; i++) {
        double s = json_number_value(json_array_get(json_array_get(list, (size_t)i), 1));
        if (!isfinite(s))
            return eq_fail(err, EQ_EINPUT, "%s: token %lld: its score is not finite", where,
                           (long long)i);
        u->score[i] = parsed ? eq_unigram_score(s) : s;
        if (u->score[i] < least) least = u->score[i];
    }
    u->unk_score = least - 10;
    return EQ_OK;
}

static eq_status load(eq_unigram *u, const json_t *model, bool parsed, const char *where,
                      eq_err *err) {
    const json_t *list = json_object_get(model, "vocab");
    int64_t unk;
    EQ_TRY(eq_spec_known(model, "type unk_id vocab byte_fallback", where, err));
    EQ_TRY(eq_json_bool(model, "byte_fallback", false, &u->byte_fallback, where, err));
    EQ_TRY(eq_vocab_load_list(&u->vocab, list, where, err));
    EQ_TRY(eq_json_int(model, "unk_id", -1, 0, INT32_MAX, &unk, where, err));
    if (unk >= u->vocab.n)
        return eq_fail(err, EQ_EINPUT, "%s: Unigram: unk_id %lld: expected less than %lld", where,
                       (long long)unk, (long long)u->vocab.n);
    u->unk = (int32_t)unk;
    EQ_TRY(load_scores(u, list, parsed, where, err));
    for (int i = 0; i < 256; i++) {
        char code[8];
        snprintf(code, sizeof code, "<0x%02X>", i);
        u->fallback[i] = eq_vocab_id(&u->vocab, code, 6);
    }
    return eq_trie_new(&u->trie, &u->vocab, err);
}

eq_status eq_unigram_new(eq_unigram **out, const json_t *model, bool bytes, bool parsed,
                         const char *where, eq_err *err) {
    eq_unigram *u = *out = eq_calloc(1, sizeof *u);
    if (!u) return eq_nomem(err, "a model", sizeof *u);
    u->bytes = bytes;
    eq_status st = load(u, model, parsed, where, err);
    if (st != EQ_OK) {
        eq_unigram_free(u);
        *out = NULL;
    }
    return st;
}

void eq_unigram_free(eq_unigram *u) {
    if (!u) return;
    eq_vocab_free(&u->vocab);
    eq_trie_free(&u->trie);
    eq_free(u->score);
    eq_free(u);
}

const eq_vocab *eq_unigram_vocab(const eq_unigram *u) { return &u->vocab; }

eq_unigram_work *eq_unigram_work_new(int64_t text_n) {
    eq_unigram_work *w = eq_calloc(1, sizeof *w);
    if (w && !eq_word_cache_new(&w->cache, text_n)) {
        eq_free(w);
        return NULL;
    }
    return w;
}

void eq_unigram_work_free(eq_unigram_work *w) {
    if (!w) return;
    eq_ids_free(&w->ids);
    eq_str_free(&w->mapped);
    eq_free(w->reach);
    eq_free(w->ends);
    eq_free(w->cache.slots);
    eq_free(w);
}

/* ---- the best way ---------------------------------------------------------------------------- */

typedef struct {
    const eq_unigram *u;
    eq_unigram_work *w;
    const char *s;
    int64_t n, base; /* reach[0] is the place `base` */
    int64_t unk;     /* where unknown text that is not yet given out begins; -1: none */
    eq_err *err;
} search;

static eq_status room(search *f, int64_t places) {
    eq_unigram_work *w = f->w;
    if (places <= w->cap) return EQ_OK;
    int64_t cap = places + places / 2;
    node *reach = eq_realloc(w->reach, cap, sizeof *reach);
    if (reach) w->reach = reach;
    int64_t *ends = reach ? eq_realloc(w->ends, cap, sizeof *ends) : NULL;
    if (!ends) return eq_nomem(f->err, "one long word", cap * (int64_t)sizeof *reach);
    w->ends = ends;
    for (int64_t i = w->cap; i < cap; i++) reach[i].from = -1;
    w->cap = cap;
    return EQ_OK;
}

static void offer(search *f, int64_t from, int64_t to, int32_t id, double score) {
    node *t = f->w->reach + (to - f->base);
    if (t->from < 0 || score > t->score) *t = (node){score, from, id};
}

/* Unknown text up to `end`: it may be a token as a whole, else its bytes may be. */
static eq_status put_unknown(search *f, int64_t end) {
    const eq_unigram *u = f->u;
    const uint8_t *b = (const uint8_t *)f->s + f->unk;
    int64_t n = end - f->unk;
    int32_t id = eq_vocab_id(&u->vocab, (const char *)b, n);
    f->unk = -1;
    if (id >= 0) return eq_ids_put(&f->w->ids, id, f->err);
    bool all = u->byte_fallback;
    for (int64_t i = 0; i < n && all; i++) all = u->fallback[b[i]] >= 0;
    if (!all) return eq_ids_put(&f->w->ids, u->unk, f->err);
    for (int64_t i = 0; i < n; i++) EQ_TRY(eq_ids_put(&f->w->ids, u->fallback[b[i]], f->err));
    return EQ_OK;
}

/* Gives out the best way from base to `end`, and goes on from there. */
static eq_status give_out(search *f, int64_t end) {
    node *reach = f->w->reach;
    int64_t k = 0;
    for (int64_t at = end; at > f->base; at = reach[at - f->base].from) f->w->ends[k++] = at;
    for (int64_t from = f->base; k > 0; from = f->w->ends[k]) {
        int64_t to = f->w->ends[--k];
        int32_t id = reach[to - f->base].id;
        if (id == f->u->unk) {
            if (f->unk < 0) f->unk = from;
            continue;
        }
        if (f->unk >= 0) EQ_TRY(put_unknown(f, from));
        EQ_TRY(eq_ids_put(&f->w->ids, id, f->err));
    }
    double score = reach[end - f->base].score;
    for (int64_t at = f->base; at <= end; at++) reach[at - f->base].from = -1;
    f->base = end;
    reach[0].score = score;
    return EQ_OK;
}

/* All tokens that begin at `at`, and the unknown character; returns where the longest ends. */
static eq_status step(search *f, int64_t at, int64_t *longest) {
    const eq_unigram *u = f->u;
    uint32_t cp;
    int64_t end = at + eq_utf8_get(f->s + at, &cp);
    double score = f->w->reach[at - f->base].score;
    bool covered = false;
    int32_t place = 0;
    *longest = end;
    for (int64_t to = at; to < f->n;) {
        place = eq_trie_step(&u->trie, place, (uint8_t)f->s[to++]);
        if (!place) break;
        int32_t id = u->trie.id[place];
        if (id < 0) continue;
        if (to - f->base >= f->w->cap) EQ_TRY(room(f, to - f->base + 1));
        offer(f, at, to, id, u->score[id] + score);
        covered |= to == end;
        if (to > *longest) *longest = to;
    }
    if (covered) return EQ_OK;
    if (u->unk < 0)
        return eq_fail(f->err, EQ_EINPUT,
                       "the text needs an unknown token, which the model does not have");
    EQ_TRY(room(f, end - f->base + 1));
    offer(f, at, end, u->unk, u->unk_score + score);
    return EQ_OK;
}

static eq_status find(search *f) {
    int64_t reached = 0, longest;
    f->w->ids.n = 0;
    EQ_TRY(room(f, 64));
    f->w->reach[0] = (node){.from = -1};
    for (int64_t at = 0; at < f->n;) {
        uint32_t cp;
        if (at == reached && at - f->base > PART) EQ_TRY(give_out(f, at));
        EQ_TRY(step(f, at, &longest));
        if (longest > reached) reached = longest;
        at += eq_utf8_get(f->s + at, &cp);
    }
    EQ_TRY(give_out(f, f->n));
    return f->unk >= 0 ? put_unknown(f, f->n) : EQ_OK;
}

eq_status eq_unigram_word(const eq_unigram *u, eq_unigram_work *w, const char *word, int64_t n,
                          eq_ids *out, eq_err *err) {
    bool known;
    eq_cached_word *c = eq_word_cached(&w->cache, word, n, &known);
    if (known) return eq_ids_append(out, c->value, c->value_n, err);
    search f = {.u = u, .w = w, .s = word, .n = n, .unk = -1, .err = err};
    if (u->bytes) {
        w->mapped.n = 0;
        for (int64_t i = 0; i < n; i++)
            eq_utf8_append(&w->mapped, eq_byte_to_char((uint8_t)word[i]));
        if (w->mapped.oom) return eq_nomem(err, "a word", 2 * n);
        f.s = w->mapped.p, f.n = w->mapped.n;
    }
    eq_status st = find(&f);
    if (st != EQ_OK) { /* places of this word must not be there in the next one */
        for (int64_t i = 0; i < w->cap; i++) w->reach[i].from = -1;
        return st;
    }
    eq_word_keep(c, word, n, w->ids.p, w->ids.n);
    return eq_ids_append(out, w->ids.p, w->ids.n, err);
}
