#!/usr/bin/env python3
"""Writes tests/golden/gptq.safetensors: GPTQ's integers for a given matrix and Hessian, by a plain
statement of the method in numpy, double precision: every column in turn, the inverse taken whole and
factored, no runs of columns, no lazy products.

usage: tools/make_gptq_golden.py [tests/golden]      needs numpy, safetensors; prints the MANIFEST line"""
import hashlib
import sys

import numpy as np
from safetensors.numpy import save_file

SEED, O, I, N, DAMP = 7, 24, 208, 180, 0.01
rng = np.random.default_rng(SEED)


def steps(w, bits, group):
    """METHOD section 1: min-max, the step as fp16 holds it, the zero point an integer within its range."""
    w = w.reshape(w.shape[0], -1, group)
    lo, hi = w.min(-1), w.max(-1)
    s = ((hi - lo) / np.float32(2**bits - 1)).astype(np.float32)
    z = np.rint(-lo / s)
    return s.astype(np.float16).astype(np.float64), np.clip(z, 0, 2**bits - 1).astype(np.float64)


def gptq(w, s, z, h, bits, group):
    w, h = w.astype(np.float64).copy(), h.copy()
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    h += np.eye(len(h)) * DAMP * np.mean(np.diag(h))
    u = np.linalg.cholesky(np.linalg.inv(h)).T  # upper: inverse = u^T u
    codes = np.zeros(w.shape, np.uint8)
    for i in range(w.shape[1]):
        g = i // group
        q = np.clip(np.rint(w[:, i] / s[:, g]) + z[:, g], 0, 2**bits - 1)
        codes[:, i] = q
        err = (w[:, i] - (q - z[:, g]) * s[:, g]) / u[i, i]
        w[:, i + 1 :] -= np.outer(err, u[i, i + 1 :])
    return codes


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    mix = np.eye(I) + 0.4 * rng.standard_normal((I, I)) / np.sqrt(I)
    x = np.clip(np.rint(rng.standard_normal((N, I)) @ mix * 24), -127, 127)
    x[:, 5] = 0  # an input that is always 0
    x[:, 9] = np.clip(x[:, 9] * 5, -127, 127)  # and a large one
    w = (0.05 * rng.standard_normal((O, I))).astype(np.float16)
    out = {"x": (x + 128).astype(np.uint8), "w": w}
    h = x.T @ x
    for bits, group in ((2, 16), (3, 104), (4, 208)):
        s, z = steps(w.astype(np.float32), bits, group)
        rounded = np.clip(np.rint(w.astype(np.float64) / np.repeat(s, group, 1)) + np.repeat(z, group, 1), 0, 2**bits - 1)
        codes = gptq(w, s, z, h, bits, group)
        out[f"codes{bits}"] = codes
        d = {}
        for name, c in (("gptq", codes), ("rtn", rounded)):
            e = (c - np.repeat(z, group, 1)) * np.repeat(s, group, 1) - w.astype(np.float64)
            d[name] = np.trace(e @ h @ e.T)
        print(f"{bits} bits: error of the outputs {d['gptq'] / d['rtn']:.3f} of rounding's, "
              f"{np.mean(codes != rounded):.3f} of the codes differ", file=sys.stderr)
    path = f"{folder}/gptq.safetensors"
    save_file(out, path)
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
    print(f"gptq.safetensors  tools/make_gptq_golden.py  seed {SEED}  numpy {np.__version__}  sha256 {digest}")


if __name__ == "__main__":
    main()
