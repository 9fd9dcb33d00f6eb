#!/usr/bin/env python3
"""Written folders beside transformers: each family of peer_configs.py as a tiny model, rounded to 4, 3 and 2 bits by
eqat, read again by transformers: from the copy that build/dequantize makes, whose loss has to be that of `eqat ppl`
within 1e-5, and, where GPTQModel and optimum are installed, the folder as it is. GPTQModel rounds (q - z) s and
biases to fp16, which moves the loss itself (last column), so there it has to be that of the copy with its linears in
fp16. Joined and renamed tensors, tied heads and every key of config.json come back that way. Prints a row a folder;
exit 1 where one differs or does not load.

usage: tools/peer_folders.py [--only NAME] [--bits 4,3,2]      (EQAT=build/eqat, DEQUANTIZE=build/dequantize)
needs torch, transformers; GPTQModel and optimum for the second column"""
import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
import transformers

import peer_configs as peer

LIMIT = 1e-5
READER = all(importlib.util.find_spec(m) for m in ("gptqmodel", "optimum"))


def loss(where, ids, half=False, **how):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        where, dtype=torch.float32, output_loading_info=True, attn_implementation="eager", **how)
    wrong = {k: info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[k]}
    if wrong:
        raise ValueError(f"{wrong}")
    with torch.no_grad():
        for name, m in model.named_modules():
            if half and isinstance(m, torch.nn.Linear) and name != "lm_head":
                m.half().float()
        each = [torch.nn.functional.cross_entropy(model(x[None]).logits[0, :-1].double(), x[1:]).item() for x in ids]
    return sum(each) / len(each)


def packed_loss(where, ids, bits):
    plain = transformers.GPTQConfig(bits=bits, backend="gptq_torch")  # the others round activations
    return loss(where, ids, device_map="cpu", quantization_config=plain)


def columns(want, out, plain, ids, bits):
    """Differences, and whether one is wrong."""
    d = [abs(loss(plain, ids) - want)]
    if READER:
        as_it_is = packed_loss(out, ids, bits)
        d += [abs(as_it_is - loss(plain, ids, half=True)), abs(as_it_is - want)]
    return [f"{want:.6f}"] + [f"{x:.1e}" for x in d], not max(d[:2]) <= LIMIT


def one(family, bits, tmp, ids):
    model, out, plain = (f"{tmp}/{n}" for n in ("model", "out", "plain"))
    for d in (model, out, plain):
        shutil.rmtree(d, ignore_errors=True)
    peer.make(family, model)
    program = os.environ.get("EQAT", "build/eqat")
    for line in ([program, "quantize", model, "--bits", str(bits), "--group-size", "32", "--method", "rtn", "-o", out, "-q"],
                 [os.environ.get("DEQUANTIZE", "build/dequantize"), out, plain]):
        r = subprocess.run(line, capture_output=True, text=True)
        if r.returncode:
            return [r.stderr.strip()], True
    np.save(tmp + "/ids.npy", ids.numpy().astype(np.int32))
    want, why = peer.by_eqat(program, out, tmp + "/ids.npy", "--as-written")
    if want is None:
        return [why], True
    try:
        return columns(want, out, plain, ids, bits)
    except Exception as e:
        return [f"{type(e).__name__}: {str(e).splitlines()[0][:90]}"], True


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="")
    p.add_argument("--bits", default="4,3,2")
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, peer.V, (2, peer.T)).astype(np.int32)).long()
    if not READER:
        print("SKIP folders as they are: no gptqmodel and optimum here")
    print(f"{'':20}{'loss':>10}{'dequantized':>14}{'as it is':>14}{'its fp16':>14}")
    bad = count = 0
    with tempfile.TemporaryDirectory() as tmp:
        for family in (f for f in peer.FAMILIES if a.only in f):
            for bits in map(int, a.bits.split(",")):
                texts, wrong = one(family, bits, tmp, ids)
                print(f"{family + f' w{bits}':20}{texts[0]:>10}" + "".join(f"{t:>14}" for t in texts[1:]), flush=True)
                bad, count = bad + wrong, count + 1
    print(f"{count} folders, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
