#!/usr/bin/env python3
"""Writes tests/golden/block-FAMILY.safetensors: one transformer block of Hugging Face transformers in
fp32, its output and the gradient of every weight and of the input by autograd.

usage: tools/make_block_goldens.py [tests/golden]      needs torch, transformers, safetensors"""
import hashlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

SHAPE = dict(hidden_size=16, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=11, max_position_embeddings=64, rms_norm_eps=1e-5,
             attn_implementation="eager")
FAMILIES = {
    "llama": (LlamaConfig(**SHAPE), LlamaForCausalLM),
    "mistral": (MistralConfig(**SHAPE, sliding_window=3, head_dim=6), MistralForCausalLM),
    "qwen2": (Qwen2Config(**SHAPE), Qwen2ForCausalLM),
    "qwen3": (Qwen3Config(**SHAPE, head_dim=8), Qwen3ForCausalLM),
}
B, T, SEED = 2, 7, 1234


def golden(config, cls):
    torch.manual_seed(SEED)
    model = cls(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.4 if p.ndim > 1 else 0.3) + (1.0 if "norm" in name else 0.0))
    x = torch.randn(B, T, config.hidden_size, requires_grad=True)
    out = {}
    model.model.layers[0].register_forward_hook(lambda m, i, o: out.update(y=o[0] if isinstance(o, tuple) else o))
    model.model(inputs_embeds=x)  # the model's own masks and rotary angles
    y = out["y"]
    dy = torch.randn_like(y)
    layer = model.model.layers[0]
    names = [n for n, _ in layer.named_parameters()]
    grads = torch.autograd.grad(y, [x] + [p for _, p in layer.named_parameters()], dy)
    result = {"x": x, "y": y, "dy": dy, "dx": grads[0]}
    for name, p, g in zip(names, layer.parameters(), grads[1:]):
        result[name] = p
        result["grad." + name] = g
    return {k: v.detach().contiguous() for k, v in result.items()}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    for family, (config, cls) in FAMILIES.items():
        path = f"{folder}/block-{family}.safetensors"
        save_file(golden(config, cls), path)
        digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
        print(f"block-{family}.safetensors  tools/make_block_goldens.py  seed {SEED}  torch {torch.__version__}"
              f"  transformers {transformers.__version__}  sha256 {digest}")


main()
