#!/usr/bin/env python3
"""Every family and kind of rope beside transformers, computed afresh in fp32: the cases of make_model_goldens.py, and
each family with every kind of rope that it may have. Of each the largest difference, element by element and divided by
the largest element, of the loss, the blocks' outputs, their inputs' gradients, and the weights' gradients, on the
reference and on the CPU backend. Contexts go beyond the original length, windows are shorter than the text.
Exit 1 where a difference is above 1e-5.

usage: tools/peer_models.py [--only NAME]      (BLOCK=build/tests/test_block)
needs torch, transformers, numpy; two minutes"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import transformers

import make_model_goldens as goldens

COLUMNS = ("loss", "outputs", "input gradients", "weight gradients")
LIMIT = 1e-5


def ropes(pairs):
    short, long = [1.0, 1.1, 1.3, 1.5][:pairs], [1.5, 2.0, 4.0, 6.0][:pairs]
    return {
        "linear": dict(rope_type="linear", factor=2.5), "dynamic": dict(rope_type="dynamic", factor=2.0),
        "llama3": dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=16),
        "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=8),
        "longrope": dict(rope_type="longrope", factor=2.0, original_max_position_embeddings=16, short_factor=short,
                         long_factor=long)}


def cases():
    yield from goldens.CASES.items()
    for family, pairs in (("llama", 4), ("mistral", 4), ("qwen2", 2), ("qwen3", 4), ("gemma", 4), ("gemma2", 4), ("gemma3", 4),
                          ("smollm3", 4), ("granite", 4), ("olmo2", 4), ("olmo3", 4), ("stablelm", 2),
                          ("ministral", 4)):
        kind, own = goldens.CASES[family]
        for rope, keys in ropes(pairs).items():
            if f"{family}-{rope}" in goldens.CASES:
                continue
            c = {k: v for k, v in own.items() if k not in ("rope_theta", "rope_parameters", "partial_rotary_factor")}
            keys = dict(keys, rope_theta=500.0)
            if family == "stablelm":
                keys["partial_rotary_factor"] = 0.5
            c["rope_parameters"] = keys if family not in ("gemma3", "olmo3") else dict(
                full_attention=keys, sliding_attention=dict(rope_type="default", rope_theta=100.0))
            if rope == "dynamic":
                c["max_position_embeddings"] = 16
            yield f"{family}-{rope}", (kind, c)
    for family in ("internlm2", "minicpm"):  # as their own code spells it
        kind, own = goldens.CASES[family]
        yield f"{family}-linear", (kind, dict(own, rope_scaling=dict(type="linear", factor=2.5)))
        yield f"{family}-dynamic", (kind, dict(own, max_position_embeddings=16, rope_scaling=dict(
            type="dynamic", factor=2.0)))


def of_eqat(program, backend, name, config):
    """{(layer, tensor): values}; what it says where it does not read config"""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write(f"case {name}\nconfig {json.dumps(config)}\nloss 0\n" + "".join(f"layer {i}\n" for i in range(goldens.L)))
        f.flush()
        r = subprocess.run([program, f.name, backend], capture_output=True)
    if r.returncode:
        return r.stderr.decode()
    out, at = {}, 0
    while at < len(r.stdout):
        end = r.stdout.index(b"\n", at)
        _, layer, tensor, value, n = r.stdout[at:end].decode().split()
        at = end + 1 + 4 * int(n)
        out[int(layer), tensor] = np.frombuffer(r.stdout[end + 1:at], "<f4") if int(n) else np.array([float(value)])
    return out


def of_peer(config):
    model = goldens.build(config)
    out = {(0, "loss"): np.array([goldens.loss_of(model)])}
    for i in range(goldens.L):
        for tensor, t in goldens.layer_tensors(model, i).items():
            if not tensor.endswith(".bias"):  # they are not trained
                out[i, tensor] = t.detach().numpy().ravel()
    return out


def differences(want, got):
    """The largest of each column; norms in front of nothing have no gradient here and there"""
    assert set(want) == set(got), set(want) ^ set(got)
    worst = dict.fromkeys(COLUMNS, 0.0)
    for key, w in want.items():
        column = {"loss": "loss", "y": "outputs", "dx": "input gradients"}.get(key[1], "weight gradients")
        assert w.shape == got[key].shape, key
        d = np.abs(w.astype(np.float64) - got[key]).max() / np.abs(w).max()
        worst[column] = max(worst[column], d if d == d else np.inf)
    return worst


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="")
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    program = os.environ.get("BLOCK", "build/tests/test_block")
    bad = refused = shown = 0
    print(f"{'':22}" + "".join(f"{c:>18}" for c in COLUMNS))
    for name, (kind, keys) in cases():
        if a.only not in name:
            continue
        config, shown = goldens.full_config(kind, keys), shown + 1
        want, worst = of_peer(config), dict.fromkeys(COLUMNS, 0.0)
        for backend in ("ref", "fenced:cpu"):
            got = of_eqat(program, backend, name, config)
            if isinstance(got, str):
                print(f"{name:22}refused: {got.strip().splitlines()[0]}")
                refused += 1
                break
            for column, d in differences(want, got).items():
                worst[column] = max(worst[column], d)
        else:
            print(f"{name:22}" + "".join(f"{worst[c]:18.1e}" for c in COLUMNS), flush=True)
            bad += max(worst.values()) > LIMIT
    print(f"{shown} models, {refused} refused, {bad} beyond {LIMIT}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
