#!/usr/bin/env python3
"""Writes tests/golden/awq.safetensors: AWQ's scales, clipped shares and integers for two linears that share an input,
by a plain statement of the method in numpy: the outputs themselves are compared, in double, input by input.

usage: tools/make_awq_golden.py [tests/golden]      needs numpy, safetensors; prints the MANIFEST line"""
import hashlib
import sys

import numpy as np
from safetensors.numpy import save_file

SEED, OUTPUTS, I, N = 11, (24, 16), 208, 180
rng = np.random.default_rng(SEED)
f32 = np.float32


def rounded(w, bits, group):
    """METHOD section 1, min-max, steps as fp16 holds them: the values and the integers."""
    w = w.reshape(w.shape[0], -1, group)
    lo, hi = w.min(-1, keepdims=True), w.max(-1, keepdims=True)
    s = np.clip((hi - lo) / f32(2**bits - 1), f32(1e-4), f32(1e4))
    z = np.clip(np.rint(-lo / s), 0, 2**bits - 1).astype(f32)
    s = s.astype(np.float16).astype(f32)
    q = np.clip(np.rint(w / s) + z, 0, 2**bits - 1).astype(f32)
    return ((q - z) * s).reshape(w.shape[0], -1), q.reshape(w.shape[0], -1)


def scales(mean, ratio):
    s = np.maximum(mean**ratio, 1e-4)
    return (s / np.sqrt(s.max() * s.min())).astype(f32)


def clear(errors, axis=0):
    """The least, which no other comes near."""
    ordered = np.sort(errors, axis)
    gap = np.take(ordered, 1, axis) - np.take(ordered, 0, axis)
    assert (gap > 1e-5 * np.take(ordered, 0, axis)).all(), "a near tie: take another seed"
    return np.argmin(errors, axis)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    mix = np.eye(I) + 0.3 * rng.standard_normal((I, I)) / np.sqrt(I)
    x = rng.standard_normal((N, I)) @ mix * np.exp(0.9 * rng.standard_normal(I)) * 12
    x = np.clip(np.rint(x), -127, 127)
    x[:, 5] = 0  # an input that is always 0
    ws = [(0.05 * rng.standard_normal((o, I)) * np.exp(0.2 * rng.standard_normal((o, 1)))).astype(np.float16) for o in OUTPUTS]
    out = {"x": (x + 128).astype(np.uint8), "w0": ws[0], "w1": ws[1]}
    mean = np.abs(x).mean(0)
    for bits, group in ((2, 16), (3, 104), (4, 208)):
        errors = []
        for k in range(20):
            s = scales(mean, k / 20)
            err = 0
            for w in ws:
                w = w.astype(f32)
                e = rounded(w * s, bits, group)[0] / s - w
                err += ((x @ e.astype(np.float64).T) ** 2).sum()
            errors.append(err)
        best = int(clear(np.array(errors)))
        s = scales(mean, best / 20)
        w, xs = ws[0].astype(f32) * s, x / s.astype(np.float64)
        most = np.abs(w.reshape(OUTPUTS[0], -1, group)).max(-1, keepdims=True)
        tries = []
        for k in range(10):
            held = w.reshape(OUTPUTS[0], -1, group)
            m = f32(1 - f32(k) / f32(20)) * most
            e = rounded(np.clip(held, -m, m).reshape(w.shape), bits, group)[0] - w
            parts = (xs[:, None, :] * e.astype(np.float64)[None]).reshape(N, OUTPUTS[0], -1, group).sum(-1)
            tries.append((parts**2).sum(0))
        share = clear(np.array(tries))
        m = (f32(1) - share.astype(f32) / f32(20))[..., None] * most
        codes = rounded(np.clip(w.reshape(OUTPUTS[0], -1, group), -m, m).reshape(w.shape), bits, group)[1]
        out |= {f"scale{bits}": s, f"ratio{bits}": np.array([best], np.uint8), f"codes{bits}": codes.astype(np.uint8)}
        print(f"{bits} bits: ratio {best}/20, error {errors[best] / errors[0]:.3f} of rounding's; "
              f"{np.mean(share > 0):.2f} of the groups clipped", file=sys.stderr)
    path = f"{folder}/awq.safetensors"
    save_file(out, path)
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
    print(f"awq.safetensors  tools/make_awq_golden.py  seed {SEED}  numpy {np.__version__}  sha256 {digest}")


if __name__ == "__main__":
    main()
