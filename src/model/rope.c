/* Rotary positions: the tables of cosines and sines. Frequencies and angles are fp32 as in
 * transformers: at position 4000 one fp32 step of a frequency is 1e-4 of a turn, so more precision
 * here would be a different model. */
#include <math.h>

#include "model/config.h"

/* theta^(2i / dim) in fp32: the double is rounded once, which is what a good powf returns. */
static float wavelength(float theta, int64_t i, int64_t dim) {
    float e = (float)(2 * i) / (float)dim;
    return (float)pow((double)theta, (double)e);
}

/* Llama 3.1: long waves slowed by `factor`, short ones kept, those between blended. */
static float llama3(const eq_rope_spec *r, float f) {
    float T = (float)r->original_T, factor = (float)r->factor;
    float low = (float)r->low_freq, span = (float)(r->high_freq - r->low_freq);
    float wave = (float)(2 * 3.14159265358979323846) / f;
    float long_wave = (float)((double)r->original_T / r->low_freq);
    float short_wave = (float)((double)r->original_T / r->high_freq);
    if (wave > long_wave) return f / factor;
    if (wave < short_wave) return f;
    float smooth = (T / wave - low) / span;
    return (1.0f - smooth) * f / factor + smooth * f;
}

/* yarn: short waves kept, long ones slowed by `factor`, those between blended by their place. */
static float yarn(const eq_rope_spec *r, float f, int64_t i) {
    double low = r->ramp_low, high = r->ramp_high;
    if (low == high) high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float kept = 1.0f - ramp, slowed = 1.0f / ((float)r->factor * (1.0f / f));
    return slowed * (1.0f - kept) + f * kept;
}

/* The base of "dynamic" beyond the trained context, in fp32 as transformers computes it there. */
static float dynamic_theta(const eq_config *c, const eq_rope_spec *r, int64_t text) {
    if (text <= c->T_max) return (float)r->theta;
    float grown = (float)r->factor * (float)text / (float)c->T_max - (float)(r->factor - 1);
    float power = (float)((double)r->dim / (double)(r->dim - 2));
    return (float)r->theta * (float)pow((double)grown, (double)power);
}

/* Pair i's angle at position 1. */
static float turn_of(const eq_rope_spec *r, float theta, int64_t text, int64_t i) {
    if (r->kind == EQ_ROPE_LONG) {
        float divisor = text > r->original_T ? r->long_factor[i] : r->short_factor[i];
        return 1.0f / (divisor * wavelength(theta, i, r->dim));
    }
    float f = 1.0f / wavelength(theta, i, r->dim);
    switch (r->kind) {
    case EQ_ROPE_LINEAR:
        return f / (float)r->factor;
    case EQ_ROPE_LLAMA3:
        return llama3(r, f);
    case EQ_ROPE_YARN:
        return yarn(r, f, i);
    default:
        return f;
    }
}

static bool same(const eq_config *c, const eq_rope_spec *r, int64_t a, int64_t b) {
    switch (r->kind) {
    case EQ_ROPE_LONG:
        return (a > r->original_T) == (b > r->original_T);
    case EQ_ROPE_DYNAMIC:
        return a == b || (a <= c->T_max && b <= c->T_max);
    default:
        return true;
    }
}
bool eq_rope_same(const eq_config *c, int64_t a, int64_t b) {
    return same(c, &c->rope, a, b) && (!c->two_ropes || same(c, &c->rope_sliding, a, b));
}

void eq_rope_tables(const eq_config *c, const eq_rope_spec *r, int64_t T, int64_t text, float *cos_,
                    float *sin_) {
    bool dynamic = r->kind == EQ_ROPE_DYNAMIC;
    float theta = dynamic ? dynamic_theta(c, r, text) : (float)r->theta, scale = (float)r->scale;
    int64_t half = r->dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float f = turn_of(r, theta, text, i);
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)((float)t * f);
            cos_[t * half + i] = (float)cos(angle) * scale;
            sin_[t * half + i] = (float)sin(angle) * scale;
        }
    }
}
