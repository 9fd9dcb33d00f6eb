#!/usr/bin/env python3
"""Widens a Llama with zeros to the next sizes that 256 divides, so that rows have whole blocks of GGUF's K types:
channels, heads and inner neurons that add nothing; what it computes stays. For measuring grids on small models.

usage: tools/widen.py MODEL OUT
An added channel is 0 in every row of the embedding, so norms see the same sum of squares over more channels: their
weights and the eps under their root shrink to match. fp32. Needs numpy, torch (bf16), safetensors."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

model, out = sys.argv[1:]
config = json.load(open(f"{model}/config.json"))
D, F, NH = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
NKV, HD = config.get("num_key_value_heads", NH), config.get("head_dim") or D // NH
assert config["model_type"] == "llama" and not config.get("attention_bias") and not config.get("mlp_bias")


def up(n):
    return -(-n // 256) * 256


D2, F2, each = up(D), up(F), NH // NKV  # query heads of a key head
while each * NKV * HD % 256:
    each += 1


def pad(w, rows, cols):
    return torch.nn.functional.pad(w, (0, cols - w.shape[1], 0, rows - w.shape[0]))


def heads(w):  # rows of q: zero heads behind those of each key head
    w = w.reshape(NKV, NH // NKV * HD, -1)
    return torch.nn.functional.pad(w, (0, 0, 0, each * HD - w.shape[1])).reshape(NKV * each * HD, -1)


def widened(name, w):
    if name.endswith("norm.weight"):
        return torch.nn.functional.pad(w * (D / D2) ** 0.5, (0, D2 - D))
    if name.endswith("o_proj.weight"):
        return pad(heads(w.T).T.contiguous(), D2, NKV * each * HD)
    if name.endswith("q_proj.weight"):
        return pad(heads(w), NKV * each * HD, D2)
    if name.endswith("down_proj.weight"):
        return pad(w, D2, F2)
    if name.endswith(("gate_proj.weight", "up_proj.weight")):
        return pad(w, F2, D2)
    return pad(w, w.shape[0], D2)  # k, v, embedding, head


os.makedirs(out)
for f in os.listdir(model):
    if f.endswith((".json", ".model")) and f != "config.json" and "safetensors" not in f:
        shutil.copy(f"{model}/{f}", out)
tensors = {}
for f in sorted(os.listdir(model)):
    if f.endswith(".safetensors"):
        tensors |= {k: widened(k, v.float()).contiguous() for k, v in load_file(f"{model}/{f}").items()}
save_file(tensors, f"{out}/model.safetensors", {"format": "pt"})
config |= {"hidden_size": D2, "intermediate_size": F2, "num_attention_heads": NKV * each, "head_dim": HD,
           "rms_norm_eps": config["rms_norm_eps"] * D / D2, "torch_dtype": "float32"}
json.dump(config, open(f"{out}/config.json", "w"), indent=2)
