/* See sample.h. Invariant: candidates are in falling order of logits, equals in rising order of
 * ids, and there is always one. */
#include "infer/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* Tokens this many nats below the most likely one are no candidates: all of a vocabulary together
 * would be drawn once in 10^8 tokens, and sorting them would take longer than a small model. */
#define NATS 30.0

typedef struct {
    int32_t id;
    float logit;
    double p;
} candidate;

struct eq_sampler {
    eq_sampling o;
    int64_t V;
    uint64_t drawn;
    uint8_t *seen;  /* [V] */
    candidate *all; /* [V] */
};

static eq_status check(const eq_sampling *o, eq_err *err) {
    if (!(o->temperature >= 0 && o->temperature <= 100))
        return eq_fail(err, EQ_EINPUT, "temperature: expected 0 to 100, found %g", o->temperature);
    if (o->top_k < 0)
        return eq_fail(err, EQ_EINPUT, "top_k: expected 0 or more, found %d", o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return eq_fail(err, EQ_EINPUT, "top_p: expected above 0, at most 1, found %g", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return eq_fail(err, EQ_EINPUT, "min_p: expected 0 to 1, found %g", o->min_p);
    if (!(o->repetition_penalty > 0 && o->repetition_penalty <= 100))
        return eq_fail(err, EQ_EINPUT,
                       "repetition_penalty: expected above 0, at most 100, found %g",
                       o->repetition_penalty);
    return EQ_OK;
}

eq_status eq_sampler_new(eq_sampler **out, const eq_sampling *o, int64_t V, eq_err *err) {
    *out = NULL;
    EQ_TRY(check(o, err));
    eq_sampler *s = eq_calloc(1, sizeof *s);
    if (s) *s = (eq_sampler){.o = *o, .V = V, .seen = eq_calloc(V, 1)};
    if (s) s->all = eq_calloc(V, sizeof *s->all);
    if (s && s->seen && s->all) {
        *out = s;
        return EQ_OK;
    }
    eq_sampler_free(s);
    return eq_nomem(err, "a vocabulary", V * (int64_t)sizeof(candidate));
}

void eq_sampler_free(eq_sampler *s) {
    if (!s) return;
    eq_free(s->seen), eq_free(s->all);
    eq_free(s);
}

void eq_sampler_saw(eq_sampler *s, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < s->V) s->seen[ids[i]] = 1;
}

void eq_sampler_forget(eq_sampler *s) {
    memset(s->seen, 0, (size_t)s->V);
    s->drawn = 0;
}

/* The most likely token, the first of equals; -1: a logit is not finite. */
static int64_t best_of(const float *logits, int64_t V) {
    int64_t best = 0;
    for (int64_t i = 0; i < V; i++) {
        if (!isfinite(logits[i])) return -1;
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

static void punish(const eq_sampler *s, float *logits) {
    float by = (float)s->o.repetition_penalty;
    if (by == 1.0f) return;
    for (int64_t i = 0; i < s->V; i++)
        if (s->seen[i]) logits[i] = logits[i] < 0 ? logits[i] * by : logits[i] / by;
}

static int falling(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int64_t candidates(eq_sampler *s, const float *logits, float top) {
    double T = s->o.temperature;
    int64_t n = 0;
    for (int64_t i = 0; i < s->V; i++) {
        double away = ((double)logits[i] - (double)top) / T;
        if (away >= -NATS) s->all[n++] = (candidate){(int32_t)i, logits[i], exp(away)};
    }
    qsort(s->all, (size_t)n, sizeof *s->all, falling);
    return n;
}

static double mass(const candidate *c, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += c[i].p;
    return sum;
}

/* How many of the n most likely ones stay. */
static int64_t keep(const eq_sampler *s, int64_t n) {
    const eq_sampling *o = &s->o;
    if (o->top_k && o->top_k < n) n = o->top_k;
    if (o->top_p < 1) {
        double all = mass(s->all, n), sum = 0;
        int64_t k = 0;
        while (k < n && sum < o->top_p * all) sum += s->all[k++].p;
        n = k;
    }
    while (n > 1 && s->all[n - 1].p < o->min_p * s->all[0].p) n--;
    return n;
}

eq_status eq_sampler_next(eq_sampler *s, float *logits, int32_t *id, eq_err *err) {
    uint64_t draw = s->drawn++;
    punish(s, logits);
    int64_t best = best_of(logits, s->V);
    if (best < 0)
        return eq_fail(err, EQ_EINPUT,
                       "logits: expected finite numbers, found others at token %llu",
                       (unsigned long long)draw);
    *id = (int32_t)best;
    if (s->o.temperature == 0) return EQ_OK;
    int64_t n = keep(s, candidates(s, logits, logits[best]));
    double u = eq_rand_unit(s->o.seed, draw) * mass(s->all, n), at = 0;
    for (int64_t i = 0; i < n; i++)
        if ((at += s->all[i].p) > u) {
            *id = s->all[i].id;
            break;
        }
    return EQ_OK;
}
