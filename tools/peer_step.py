#!/usr/bin/env python3
"""The training steps of `eqat bench` in PyTorch (bf16 autocast, fp32 masters), for comparison.

usage: tools/peer_step.py block-ap|e2e-qp [--tokens 2048] [--hidden 4096] [--inner 11008] [--heads 32]
                          [--group 64] [--steps 3] [--threads N] [--batch 1] [--device cuda [--compile]]
                          [--recompute]
prints one JSON line: seconds a step (best of the CPU, mean of a device behind the first third), peak MiB
(resident, or of the device). Needs torch and transformers."""
import argparse
import json
import resource
import time

import torch
import torch.utils.checkpoint
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

Q = 3  # 2 bits


class Straight(torch.autograd.Function):
    """Rounds forward, passes the gradient backward."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


def straight_clamp(x, lo, hi):
    return x + (x.clamp(lo, hi) - x).detach()


class FakeQuantLinear(torch.nn.Module):
    """Equations (1) and (2) with trainable weight, s and z."""

    def __init__(self, linear, group):
        super().__init__()
        self.group, self.weight = group, linear.weight
        w = linear.weight.detach().view(-1, group)
        lo, hi = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
        s = ((hi - lo) / Q).clamp(1e-4, 1e4)
        self.s = torch.nn.Parameter(s)
        self.z = torch.nn.Parameter((-(lo / s)).round())

    def forward(self, x):
        w = self.weight.view(-1, self.group)
        s, z = straight_clamp(self.s, 1e-4, 1e4), straight_clamp(Straight.apply(self.z), 0, Q)
        w_int = (Straight.apply(w / s) + z).clamp(0, Q)
        return torch.nn.functional.linear(x, ((w_int - z) * s).view_as(self.weight))


class PackedLinear(torch.nn.Module):
    """Equation (2) with fixed integers, s trained; integers as uint8, four times our size."""

    def __init__(self, linear, group):
        super().__init__()
        self.shape, self.group = linear.weight.shape, group
        n, on = linear.weight.numel() // group, linear.weight.device
        self.register_buffer("w_int", torch.randint(0, 4, (n, group), dtype=torch.uint8, device=on))
        self.s = torch.nn.Parameter(torch.full((n, 1), 0.01, device=on))
        self.z = 2

    def forward(self, x):
        return torch.nn.functional.linear(x, ((self.w_int.to(self.s.dtype) - self.z) * self.s).view(self.shape))


def swap(module, kind, group):
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            setattr(module, name, kind(child, group))
        else:
            swap(child, kind, group)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("phase", choices=["block-ap", "e2e-qp"])
    for name, value in dict(tokens=2048, hidden=4096, inner=11008, heads=32, group=64, steps=3, threads=0, batch=1).items():
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--device", default="cpu")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--recompute", action="store_true", help="the layer runs again on the way back, as E2E-QP does it")
    a = p.parse_args()
    gpu = a.device != "cpu"
    if a.threads:
        torch.set_num_threads(a.threads)
    config = LlamaConfig(hidden_size=a.hidden, intermediate_size=a.inner, num_attention_heads=a.heads,
                         num_key_value_heads=a.heads, num_hidden_layers=1, attn_implementation="sdpa")
    torch.manual_seed(0)
    layer = LlamaDecoderLayer(config, 0).float().to(a.device)
    ap = a.phase == "block-ap"
    swap(layer, FakeQuantLinear if ap else PackedLinear, a.group)
    trained = list(layer.parameters()) if ap else [q for n, q in layer.named_parameters() if n.endswith(".s")]
    for q in layer.parameters():
        q.requires_grad_(any(q is t for t in trained))
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0, fused=gpu)
    stream = torch.bfloat16 if gpu else torch.float32
    x = torch.randn(a.batch, a.tokens, a.hidden, device=a.device, dtype=stream, requires_grad=not ap)
    target = torch.randn(a.batch, a.tokens, a.hidden, device=a.device, dtype=stream)
    rotary = LlamaRotaryEmbedding(config).to(a.device)(x, torch.arange(a.tokens, device=a.device)[None])

    def block(x):
        with torch.autocast(a.device, torch.bfloat16):
            y = layer(x, position_embeddings=rotary)
            return y[0] if isinstance(y, tuple) else y

    def forward():
        y = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if a.recompute else block(x)
        return torch.nn.functional.mse_loss(y.float(), target.float())

    if a.compile:
        forward = torch.compile(forward)
    times = []
    for _ in range(a.steps):
        start = time.perf_counter()
        forward().backward()
        optimizer.step()
        optimizer.zero_grad()
        x.grad = None  # or it would be added to
        if gpu and len(times) + 1 in (a.steps // 3, a.steps):  # queued work is waited for there alone
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    seconds = sum(times[a.steps // 3:]) / (a.steps - a.steps // 3) if gpu else min(times)
    peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peer": f"torch {torch.__version__}", "phase": a.phase, "seconds": seconds, "peak_mib": peak}))


main()
