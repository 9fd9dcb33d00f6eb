#!/usr/bin/env python3
"""Sets --method gptq beside GPTQModel (PyPI) on the CPU: the same windows of a text, both folders' perplexity by eqat.

usage: tools/peer_gptq.py EQAT MODEL TRAIN.txt WIKITEXT2.raw [--schemes w4g64,w3g64] [--windows 64] [--seqlen 512]
                          [--limit 32] [--threads 1]
needs gptqmodel, transformers, torch, numpy; a quarter of an hour for a 135M model on two cores. GPTQModel runs twice: with
steps fixed before the first column, as eqat has them, and with its own defaults but for zero points (sym=False)."""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np


def windows(model, text, n, length):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(model)
    ids = tok(open(text, encoding="utf-8").read(), add_special_tokens=False)["input_ids"]
    pick = random.Random(2)
    starts = [pick.randint(0, len(ids) - length - 1) for _ in range(n)]
    return np.array([ids[s : s + length] for s in starts], np.int32)


def run(args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(args)}: {done.stderr}")
    return done.stdout


def ppl(a, folder):
    out = run([a.eqat, "ppl", folder, "--wikitext2", a.test, "--limit", str(a.limit), "--as-written", "--json", "-q",
               "--threads", str(a.threads)])
    return json.loads(out)["ppl"]


def gptqmodel(a, bits, group, ids, out, **more):
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # its default, one, is refused on machines of two cores
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization.config import FORMAT, GPTQConfig

    c = GPTQConfig(bits=bits, group_size=group, sym=False, desc_act=False, format=FORMAT.GPTQ_V2, damp_percent=0.01,
                   offload_to_disk=False, **more)
    m = GPTQModel.load(a.model, c, device="cpu")
    m.quantize([r.tolist() for r in ids], batch_size=1, backend=BACKEND.TORCH)
    m.save(out)


def main():
    p = argparse.ArgumentParser()
    for name in ("eqat", "model", "train", "test"):
        p.add_argument(name)
    p.add_argument("--schemes", default="w4g64,w3g64")
    for name, value in (("windows", 64), ("seqlen", 512), ("limit", 32), ("threads", 1)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    for name in ("eqat", "model", "train", "test"):
        setattr(a, name, os.path.abspath(getattr(a, name)))
    with tempfile.TemporaryDirectory() as dir:
        os.chdir(dir)  # GPTQModel leaves a log where it runs
        ids = windows(a.model, a.train, a.windows, a.seqlen)
        np.save(f"{dir}/windows.npy", ids)
        print(f"full precision {ppl(a, a.model):.3f}", flush=True)
        for scheme in a.schemes.split(","):
            bits, group = (int(x) for x in scheme[1:].split("g"))
            common = ["-o", f"{dir}/{scheme}", "--bits", str(bits), "--group-size", str(group), "--no-e2e", "-q"]
            for method in ("rtn", "gptq", "awq"):
                more = [] if method == "rtn" else ["--data", f"{dir}/windows.npy", "--train-size", str(a.windows),
                                                   "--seqlen", str(a.seqlen), "--threads", str(a.threads), "--precision", "f32"]
                t = time.time()
                run([a.eqat, "quantize", a.model, "--method", method, *common[:1], f"{dir}/{scheme}-{method}", *common[2:], *more])
                print(f"{scheme} eqat {method} {ppl(a, f'{dir}/{scheme}-{method}'):.3f} ({time.time() - t:.0f} s)", flush=True)
            for name, more in (("static groups", dict(static_groups=True, act_group_aware=False)), ("defaults", {})):
                t, out = time.time(), f"{dir}/{scheme}-{name.split()[0]}"
                gptqmodel(a, bits, group, ids, out, **more)
                print(f"{scheme} GPTQModel, {name} {ppl(a, out):.3f} ({time.time() - t:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
