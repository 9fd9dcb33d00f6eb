#!/usr/bin/env python3
"""Quantizes a small full-precision folder by rounding, writes it as other tools do, and checks what eqat reads
of it: every weight of `eqat export --to hf` must be the one written, bit for bit.

usage: tools/make_foreign.py MODEL OUT KIND BITS GROUP [--sym | --zeros]
KIND: gptq (version 1 on whole words, signed as GPTQModel does), gptq_v2, awq (4 bits), compressed-tensors (packed
by the package itself). GROUP -1: whole rows. Steps are fp16; with --sym zero points are in the middle, with --zeros
every seventh row's are 0, which makes a bad model and tries what versions of GPTQ do with them. Needs numpy, torch, safetensors, for its kind compressed-tensors; BUILD names eqat's folder (build)."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

p = argparse.ArgumentParser()
p.add_argument("model"), p.add_argument("out"), p.add_argument("kind")
p.add_argument("bits", type=int), p.add_argument("group", type=int), p.add_argument("--sym", action="store_true"), p.add_argument("--zeros", action="store_true")
o = p.parse_args()
Q, HALF = 2**o.bits - 1, 2 ** (o.bits - 1)


def rounded(w):
    """[O, I] -> codes [O, I], zero points and fp16 steps [O, groups]"""
    O, I = w.shape
    g = w.float().reshape(O, -1, I if o.group < 0 else o.group)
    if o.sym:
        s = (2 * g.abs().amax(-1) / Q).clamp(min=1e-6).half()
        z = torch.full_like(s, HALF, dtype=torch.int32)
    else:
        lo, hi = g.amin(-1).clamp(max=0), g.amax(-1).clamp(min=0)
        s = ((hi - lo) / Q).clamp(min=1e-6).half()
        z = (-lo / s.float()).round().clamp(0, Q).int()
        z[::7] = 0 if o.zeros else z[::7]
    q = ((g / s.float()[..., None]).round() + z[..., None]).clamp(0, Q).int()
    return q.reshape(O, I), z, s


def words(v, axis):
    """32-bit words of little-endian streams along an axis"""
    v = np.moveaxis(v.numpy().astype(np.uint64), axis, -1)
    b = ((v[..., None] >> np.arange(o.bits, dtype=np.uint64)) & 1).reshape(*v.shape[:-1], -1, 32)
    w = (b << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(w, -1, axis)))


def gptq(q, z, s):
    zeros = words(z.T, 1)
    if o.kind == "gptq" and o.bits == 3:  # field by field
        zeros = words((z - 1).T, 1)
    elif o.kind == "gptq":
        zeros = zeros - sum(1 << i for i in range(0, 32, o.bits))
    I = q.shape[1]
    return {"qweight": words(q.T, 0), "qzeros": zeros, "scales": s.T.contiguous(),
            "g_idx": (torch.arange(I) // (I // s.shape[1])).int()}


def awq(q, z, s):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    shifts = torch.arange(0, 32, 4)
    pack = lambda t: (t.reshape(t.shape[0], -1, 8)[..., order].long() << shifts).sum(-1).to(torch.int64).remainder(2**32).numpy().astype(np.uint32).view(np.int32)
    return {"qweight": torch.from_numpy(pack(q.T)), "qzeros": torch.from_numpy(pack(z.T)), "scales": s.T.contiguous()}


def compressed(q, z, s):
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    parts = {"weight_packed": pack_to_int32((q - HALF).to(torch.int8), o.bits), "weight_scale": s,
             "weight_shape": torch.tensor(q.shape)}
    if not o.sym:
        parts["weight_zero_point"] = pack_to_int32((z - HALF).to(torch.int8), o.bits, packed_dim=0)
    return parts


def config():
    if o.kind == "awq":
        return {"quant_method": "awq", "bits": 4, "group_size": o.group, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    if o.kind == "compressed-tensors":
        w = {"num_bits": o.bits, "type": "int", "symmetric": o.sym, "strategy": "channel" if o.group < 0 else "group", "group_size": None if o.group < 0 else o.group,
             "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax", "observer_kwargs": {}}
        return {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": w, "input_activations": None, "output_activations": None}}}
    return {"bits": o.bits, "group_size": o.group, "desc_act": False, "sym": o.sym, "lm_head": False, "quant_method": "gptq", "checkpoint_format": o.kind,
            "pack_dtype": "int32", "meta": {"quantizer": ["gptqmodel:5.6.12"], "damp_percent": 0.05, "true_sequential": True}, "pack_impl": "cpu", "format": o.kind}


PACK = {"gptq": gptq, "gptq_v2": gptq, "awq": awq, "compressed-tensors": compressed}
os.makedirs(o.out)
tensors, want = {}, {}
for name, w in load_file(f"{o.model}/model.safetensors").items():
    if ".layers." not in name or w.ndim != 2:
        tensors[name] = w
        continue
    q, z, s = rounded(w)
    if o.kind == "gptq" and o.bits == 3:
        z = z.clamp(min=1)  # what version 1 has a place for
    for part, t in PACK[o.kind](q, z, s).items():
        tensors[f"{name.removesuffix('.weight')}.{part}"] = t.contiguous()
    G = q.shape[1] // s.shape[1]
    want[name] = (q.reshape(len(q), -1, G) - z[..., None]).float().mul(s.float()[..., None]).reshape(q.shape)
save_file(tensors, f"{o.out}/model.safetensors", {"format": "pt"})
for f in os.listdir(o.model):
    if f != "config.json" and not f.endswith(".safetensors"):
        shutil.copy(f"{o.model}/{f}", o.out)
json.dump({**json.load(open(f"{o.model}/config.json")), "quantization_config": config()}, open(f"{o.out}/config.json", "w"), indent=2)
with tempfile.TemporaryDirectory() as d:
    eqat = os.path.join(os.environ.get("BUILD", "build"), "eqat")
    subprocess.run([eqat, "export", o.out, "--to", "hf", "-o", f"{d}/hf", "-q"], check=True, stdout=subprocess.DEVNULL)
    got = load_file(f"{d}/hf/model.safetensors")
for name, w in want.items():
    if not torch.equal(got[name], w):
        sys.exit(f"{name}: {(got[name] != w).sum()} of {w.numel()} weights differ")
print(f"{o.out}: {o.kind}, {o.bits} bits, groups of {o.group}{', symmetric' if o.sym else ''}: all {sum(w.numel() for w in want.values())} weights are read as written")
