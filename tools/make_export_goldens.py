#!/usr/bin/env python3
"""Writes tests/golden/export.safetensors: one small linear in every format that eqat exports, made by
the formats' own tools where they can be had, else from the formats' definitions in numpy. Codes, steps and
zero points are in the file too, so that the test needs nothing else.

usage: tools/make_export_goldens.py [tests/golden]
needs numpy, safetensors; compressed-tensors and torch for its part, gguf to read blocks back, mlx for its
part. What is not installed is said and made by definition. Prints the MANIFEST line."""
import hashlib
import sys

import numpy as np
from safetensors.numpy import save_file

OUT_DIR = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
O, I, SEED = 32, 256, 9
tensors, used = {}, []
rng = np.random.default_rng(SEED)


def linear(name, bits, group, zeros):
    top, half = 2**bits - 1, 2 ** (bits - 1)
    q = rng.integers(0, top + 1, (O, I)).astype(np.uint8)
    s = (0.001 + 0.02 * rng.random((O, I // group))).astype(np.float16)
    z = {"portable": half - rng.integers(0, 2, s.shape), "free": rng.integers(0, top + 1, s.shape)}[zeros].astype(np.uint8)
    tensors[f"{name}.q"], tensors[f"{name}.s"], tensors[f"{name}.z"] = q, s, z
    return q, s, z


def put(name, **parts):
    for part, a in parts.items():
        tensors[f"{name}.{part}"] = np.ascontiguousarray(a)


def stream(values, bits, axis):
    """Little-endian bit stream in 32-bit words along an axis, the last word filled with zeros."""
    v = np.moveaxis(values.astype(np.uint64), axis, -1)
    n = v.shape[-1]
    b = ((v[..., None] >> np.arange(bits, dtype=np.uint64)) & 1).reshape(*v.shape[:-1], n * bits)
    b = np.concatenate([b, np.zeros((*b.shape[:-1], -b.shape[-1] % 32), b.dtype)], -1).reshape(*b.shape[:-1], -1, 32)
    words = (b << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)
    return np.moveaxis(words, -1, axis)


def symmetric(q, s, z, bits):
    """z = 2^(bits - 1) everywhere: codes reversed and steps negated where it was one less."""
    turn = z != 2 ** (bits - 1)
    wide = np.repeat(turn, q.shape[1] // z.shape[1], 1)
    return np.where(wide, 2**bits - 1 - q, q), np.where(turn, -s, s), np.full_like(z, 2 ** (bits - 1))


def gptq(name, q, s, z, bits, minus):
    put(name, qweight=stream(q, bits, 1).T, qzeros=stream((z - minus).T, bits, 1), scales=s.T,
        g_idx=(np.arange(I) // (I // s.shape[1])).astype(np.int32))


def compressed(name, q, s, z, bits, asym):
    """compressed-tensors packs signed codes; ours count from 0."""
    parts = {"weight_scale": s, "weight_shape": np.array([O, I], np.int64)}
    try:
        import torch
        from compressed_tensors import __version__
        from compressed_tensors.compressors import pack_quantized as _  # noqa: F401
        from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
        used.append(f"compressed-tensors {__version__}")
        pack = lambda a, **k: pack_to_int32(torch.from_numpy((a.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8)), bits, **k).numpy()
        parts["weight_packed"] = pack(q)
        if asym:
            parts["weight_zero_point"] = pack(z, packed_dim=0)
    except ImportError as e:
        used.append(f"compressed-tensors by definition ({e.name})")
        parts["weight_packed"] = stream(q, bits, 1)
        if asym:
            parts["weight_zero_point"] = stream(z, bits, 0)
    put(name, **parts)


def awq(name, q, s, z):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    words = lambda a: (a.reshape(a.shape[0], -1, 8)[..., order].astype(np.uint64) << (4 * np.arange(8, dtype=np.uint64))).sum(-1).astype(np.uint32).view(np.int32)
    put(name, qweight=words(q.T), qzeros=words(z.T), scales=s.T)


def mlx(name, q, s, z, bits):
    q, s, z = symmetric(q, s, z, bits)  # z s is then a power of two times s
    packed, beta = stream(q, bits, 1).view(np.uint32), (-z.astype(np.float32) * s.astype(np.float32)).astype(np.float16)
    want = ((q.astype(np.float32) - np.repeat(z, I // s.shape[1], 1)) * np.repeat(s.astype(np.float32), I // s.shape[1], 1))
    try:
        import mlx.core as mx
        got = mx.dequantize(mx.array(packed), mx.array(s.astype(np.float32)), mx.array(beta.astype(np.float32)), I // s.shape[1], bits)
        assert (np.array(got) == want).all()
        used.append(f"mlx {mx.__version__}")
    except ImportError as e:
        used.append(f"mlx by definition ({e.name})")


def blocks(name, q, s, z, qtype):
    """Blocks of GGUF by their definition, read back by gguf's own code where it has the type."""
    G = I // s.shape[1]
    t = q.astype(np.int32) - np.repeat(z.astype(np.int32), G, 1)
    w = t * np.repeat(s.astype(np.float32), G, 1)
    half = lambda a: np.ascontiguousarray(a.astype(np.float16)).view(np.uint8)
    n, off = {"Q4_0": (32, 8), "Q2_0": (64, 1), "Q5_0": (32, 16)}[qtype]
    d = s.astype(np.float32)[:, np.arange(I // n) * n // G]
    t = t.reshape(O, I // n, n)
    lo, hi = {"Q4_0": (-8, 7), "Q2_0": (-1, 2), "Q5_0": (-16, 15)}[qtype]
    turn = (t.min(-1) < lo) | (t.max(-1) > hi)
    t, d = np.where(turn[..., None], -t, t), np.where(turn, -d, d)
    assert t.min() >= lo and t.max() <= hi
    c = (t + off).astype(np.uint8)
    if qtype == "Q2_0":
        body = (c.reshape(O, -1, 16, 4) << np.array([0, 2, 4, 6], np.uint8)).sum(-1).astype(np.uint8)
    else:
        body = (c[..., :16] & 15) | (c[..., 16:] & 15) << 4
    if qtype == "Q5_0":
        high = np.packbits(c >> 4, axis=-1, bitorder="little")
        body = np.concatenate([high, body], -1)
    out = np.concatenate([half(d[..., None]), body], -1).reshape(O, -1)
    try:
        import gguf
        if hasattr(gguf.GGMLQuantizationType, qtype):
            back = gguf.quants.dequantize(out, getattr(gguf.GGMLQuantizationType, qtype))
            assert (back == w).all()
            used.append("gguf")
    except ImportError as e:
        used.append(f"no {e.name}")
    put(name, blocks=out)


for bits in (2, 3, 4):
    q, s, z = linear(f"portable{bits}", bits, 64, "portable")
    sym = symmetric(q, s, z, bits)
    gptq(f"portable{bits}.gptq-sym", *sym, bits, 1)
    compressed(f"portable{bits}.compressed-tensors", *sym, bits, False)
    mlx(f"portable{bits}.mlx", q, s, z, bits)
    # groups stay as they are where zero point times step is an fp16 number
    product = z.astype(np.float32) * s.astype(np.float32)
    keep = product.astype(np.float16).astype(np.float32) == product
    mixed_q = np.where(np.repeat(keep, 64, 1), q, 2**bits - 1 - q)
    mixed_s, mixed_z = np.where(keep, s, -s), np.where(keep, z, 2**bits - 1 - z)
    put(f"portable{bits}.mlx", weight=stream(mixed_q, bits, 1).view(np.uint32), scales=mixed_s,
        biases=(-mixed_z.astype(np.float32) * mixed_s.astype(np.float32)).astype(np.float16))
    blocks(f"portable{bits}.{'q2_0' if bits == 2 else 'q4_0'}", q, s, z, "Q2_0" if bits == 2 else "Q4_0")
    q, s, z = linear(f"free{bits}", bits, 64, "free")
    gptq(f"free{bits}.gptq", q, s, z, bits, 0)
    zero = z == 0
    gptq(f"free{bits}.gptq-v1", np.where(np.repeat(zero, 64, 1), 2**bits - 1 - q, q), np.where(zero, -s, s),
         np.where(zero, 2**bits - 1, z), bits, 1)
    compressed(f"free{bits}.compressed-tensors-asym", q, s, z, bits, True)
    if bits == 4:
        awq("free4.awq", q, s, z)
    blocks(f"free{bits}.{'q5_0' if bits == 4 else 'q4_0'}", q, s, z, "Q5_0" if bits == 4 else "Q4_0")

path = f"{OUT_DIR}/export.safetensors"
save_file(tensors, path)
digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
print(f"export.safetensors  tools/make_export_goldens.py  seed {SEED}  numpy {np.__version__}  {', '.join(dict.fromkeys(used))}  sha256 {digest}")
