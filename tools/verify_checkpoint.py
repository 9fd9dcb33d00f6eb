#!/usr/bin/env python3
"""Reads a quantized folder with nothing but numpy and safetensors, by the definition of the GPTQ
format (or of eqat's packed rows), and compares every weight bit for bit with what build/dequantize makes of the same folder.

usage: tools/verify_checkpoint.py FOLDER DEQUANTIZED [--transformers]
       tools/verify_checkpoint.py FOLDER EXPORT

EXPORT is what eqat export made of FOLDER: GPTQ of any version, compressed-tensors or AWQ. Its integers
minus zero points and its steps are unpacked by the format's own package (compressed-tensors) or as its
readers do it in torch (GPTQModel's torch kernel, AutoAWQ), and must be the folder's, a group turned
round or not.

--transformers also loads DEQUANTIZED as a plain model in transformers and, where a GPTQ reader is
installed, FOLDER as it is, and compares the logits of both.
"""
import argparse, json, os, re, sys

import numpy as np
from safetensors import safe_open


def tensors(folder):
    """name -> open file, the files the index names (or the only one)"""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        files = sorted(set(json.load(open(index))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    out = {}
    for f in files:
        h = safe_open(os.path.join(folder, f), framework="pt")  # numpy has no bfloat16
        out.update({name: h for name in h.keys()})
    return out


def stream(words, bits, count, axis):
    """Values of `bits` bits from 32-bit words: a little-endian bit stream along `axis`."""
    w = np.moveaxis(words.astype(np.uint32), axis, 0)
    b = (w[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1  # [words, 32, other]
    b = b.reshape(-1, b.shape[2])[: count * bits].reshape(count, bits, -1)
    v = (b << np.arange(bits, dtype=np.uint32)[None, :, None]).sum(1).astype(np.int64)
    return np.moveaxis(v, 0, axis)


def scheme(q, name):
    """The rules of one linear: as GPTQModel reads "dynamic", the first that fits"""
    for pattern, rule in q.get("dynamic", {}).items():
        if re.match(pattern.removeprefix("+:"), name):
            return {**q, **rule}
    return q


def dequantize(t, name, q, n_in):
    q = scheme(q, name)
    bits = q["bits"]
    get = lambda part: t[f"{name}.{part}"].get_tensor(f"{name}.{part}").numpy()
    qweight, qzeros, scales = get("qweight"), get("qzeros"), get("scales")
    group = q["group_size"] if q["group_size"] > 0 else n_in
    if q["quant_method"] == "eqat":  # rows as they are
        w, at = stream(qweight, bits, n_in, 1), np.arange(n_in) // group
        return (w - qzeros.astype(np.int64)[:, at]).astype(np.float32) * scales.astype(np.float32)[:, at]
    g_idx, n_out = get("g_idx"), qweight.shape[1]
    assert g_idx.shape == (n_in,), name
    assert (g_idx == np.arange(n_in) // group).all(), name
    assert scales.dtype == np.float16 and scales.shape == (n_in // group, n_out), name
    w = stream(qweight, bits, n_in, 0)   # [in, out]
    z = stream(qzeros, bits, n_out, 1)   # [in / group, out]
    if q.get("checkpoint_format", "gptq") == "gptq":
        z = z + 1
    return ((w - z[g_idx]).astype(np.float32) * scales.astype(np.float32)[g_idx]).T


def compare(folder, plain):
    q = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    assert q == json.load(open(os.path.join(folder, "quantize_config.json")))
    a, b = tensors(folder), tensors(plain)
    linears = others = weights = 0
    for name, h in b.items():
        have = h.get_tensor(name)
        module = name.removesuffix(".weight")
        if module + ".qweight" in a:
            want = dequantize(a, module, q, have.shape[1])
            same = np.array_equal(want.view(np.uint32), have.numpy().view(np.uint32))
            # -0.0 and 0.0 are told apart on purpose: (q - z) is never -0
            linears, weights = linears + 1, weights + want.size
        else:
            same = bool((a[name].get_tensor(name).float() == have.float()).all())
            others += 1
        if not same:
            sys.exit(f"{name}: the two differ")
    rest = set(a) - {n for n in a if n.rsplit(".", 1)[1] in ("qweight", "qzeros", "scales", "g_idx")}
    if rest - set(b):
        sys.exit(f"only in {folder}: {sorted(rest - set(b))[:3]}")
    print(f"{linears} linears ({weights} weights) and {others} other tensors are equal bit for bit")


def unpack_gptq(get, q, O, I):
    """GPTQModel's torch kernel: v1 to v2 on whole words, then shifts; 3 bits as streams"""
    import torch

    bits, words, zeros = q["bits"], get("qweight"), get("qzeros")
    v1 = q["checkpoint_format"] == "gptq"
    if bits == 3:
        return (torch.from_numpy(stream(words.numpy(), 3, I, 0)).T,
                torch.from_numpy(stream(zeros.numpy(), 3, O, 1)).T + v1, get("scales").T)
    if v1:
        zeros = zeros + sum(1 << i for i in range(0, 32, bits))
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    w = (words[:, None, :] >> shifts[None, :, None]) & (2**bits - 1)
    z = (zeros[:, :, None] >> shifts) & (2**bits - 1)
    return w.reshape(I, O).T.long(), z.reshape(zeros.shape[0], O).T.long(), get("scales").T


def unpack_compressed(get, q, O, I):
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    w = next(iter(q["config_groups"].values()))["weights"]
    bits, steps = w["num_bits"], get("weight_scale")
    assert get("weight_shape").tolist() == [O, I]
    codes = unpack_from_int32(get("weight_packed"), bits, (O, I)).long()
    zeros = codes.new_zeros(()).expand(steps.shape)
    if not w["symmetric"]:
        zeros = unpack_from_int32(get("weight_zero_point"), bits, tuple(steps.shape), 0).long()
    return codes, zeros, steps


def unpack_awq(get, q, O, I):
    """AutoAWQ: nibbles by shifts, then its order undone"""
    import torch

    shifts, order = torch.arange(0, 32, 4, dtype=torch.int32), [0, 4, 1, 5, 2, 6, 3, 7]
    nibbles = lambda t: ((t[:, :, None] >> shifts) & 15)[:, :, order].reshape(t.shape[0], -1).T.long()
    return nibbles(get("qweight")), nibbles(get("qzeros")), get("scales").T


UNPACK = {"gptq": unpack_gptq, "compressed-tensors": unpack_compressed, "awq": unpack_awq}


def compare_readers(folder, export):
    import torch

    own = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    q = json.load(open(os.path.join(export, "config.json")))["quantization_config"]
    a, b = tensors(folder), tensors(export)
    linears = weights = turned = groups = 0
    for name in sorted(n.removesuffix(".qweight") for n in a if n.endswith(".qweight")):
        get = lambda t, n=name: (lambda part: t[f"{n}.{part}"].get_tensor(f"{n}.{part}"))
        I, O = len(get(a)("g_idx")), get(a)("scales").shape[1]
        scheme_of = scheme(own, name)
        w, z, s = unpack_gptq(get(a), {**scheme_of, "checkpoint_format": "gptq_v2"}, O, I)
        W, Z, S = UNPACK[q["quant_method"]](get(b), scheme(q, name), O, I)
        G = I // s.shape[1]
        t, T = (w.reshape(O, -1, G) - z[:, :, None]), (W.reshape(O, -1, G) - Z[:, :, None])
        same = (t == T).all(-1) & (s == S)
        other = (t == -T).all(-1) & (s == -S)
        if not bool((same | other).all()):
            sys.exit(f"{name}: {int((~(same | other)).sum())} groups differ")
        linears, weights, groups = linears + 1, weights + w.numel(), groups + s.numel()
        turned += int((other & ~same).sum())
    for name, h in a.items():
        if name.rsplit(".", 1)[1] in ("qweight", "qzeros", "scales", "g_idx"):
            continue
        assert torch.equal(h.get_tensor(name), b[name].get_tensor(name)), name
    print(f"{export} ({q['quant_method']}): integers and steps of {linears} linears ({weights} weights) are the folder's, "
          f"{turned} of {groups} groups turned round")


def logits(folder, **kw):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, **kw).eval()
    ids = torch.arange(3, 35)[None] % model.config.vocab_size
    with torch.no_grad():
        return model(ids).logits.float()


def with_transformers(folder, plain):
    import torch

    want = logits(plain, dtype=torch.float32)
    print(f"transformers loads {plain}: logits {tuple(want.shape)}, finite {bool(want.isfinite().all())}")
    try:
        import gptqmodel  # noqa: F401
        from transformers import GPTQConfig
    except ImportError:
        print("SKIP reading the GPTQ folder itself: no gptqmodel here")
        return
    bits = json.load(open(os.path.join(folder, "quantize_config.json")))["bits"]
    plain_kernel = GPTQConfig(bits=bits, backend="gptq_torch")  # the others round activations
    got = logits(folder, dtype=torch.float32, device_map="cpu", quantization_config=plain_kernel)
    worst = ((got - want).abs().max() / want.abs().max()).item()
    print(f"transformers + GPTQ reader loads {folder}: worst difference {worst:.2e} of the largest logit")
    if not worst < 1e-3:
        sys.exit("the GPTQ reader sees another model")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("folder"), p.add_argument("dequantized")
    p.add_argument("--transformers", action="store_true")
    o = p.parse_args()
    if "quantization_config" in json.load(open(os.path.join(o.dequantized, "config.json"))):
        compare_readers(o.folder, o.dequantized)
        sys.exit()
    compare(o.folder, o.dequantized)
    if o.transformers:
        with_transformers(o.folder, o.dequantized)
