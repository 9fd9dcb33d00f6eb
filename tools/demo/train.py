#!/usr/bin/env python3
"""Trains the demo model: a Llama of 1.3 M parameters on the text of make_text.py, on one CPU core.

    train.py build/demo                  text.txt, valid.txt -> tokenizer.json, checkpoint.pt
    train.py build/demo --export FOLDER  checkpoint.pt -> a Hugging Face folder in bf16

It goes on from checkpoint.pt where there is one.

The model is small for its text, and its matrices are trained with Muon, without weight decay: a
matrix that learned in every direction at once bears rounding to 2 bits less well. In short trials
with 4 layers rounding doubled the perplexity after 250 steps of Adam; after 500 of Muon it was 7
times as high.

Needs torch, tokenizers, safetensors, numpy. Every step draws its windows from its own number, so an
interrupted training gives the same model as one that was not (on the same machine and torch).
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch._inductor.config
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

import tokens

VOCAB, DIM, INNER, LAYERS, HEADS, KV_HEADS, HEAD, CONTEXT = 1024, 128, 384, 6, 4, 2, 32, 256
EPS, THETA = 1e-5, 10000.0


def norm(x, weight):
    return F.rms_norm(x, (DIM,), weight.to(x.dtype), EPS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.Parameter(torch.ones(DIM)), nn.Parameter(torch.ones(DIM))
        deep = 0.02 / math.sqrt(2 * LAYERS)
        self.qkv = nn.Parameter(torch.randn((HEADS + 2 * KV_HEADS) * HEAD, DIM) * 0.02)
        self.o = nn.Parameter(torch.randn(DIM, HEADS * HEAD) * deep)
        self.gate_up = nn.Parameter(torch.randn(2 * INNER, DIM) * 0.02)
        self.down = nn.Parameter(torch.randn(DIM, INNER) * deep)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        qkv = F.linear(norm(x, self.norm1), self.qkv.to(x.dtype)).view(batch, length, -1, HEAD)
        qk, v = qkv[:, :, : HEADS + KV_HEADS], qkv[:, :, HEADS + KV_HEADS :].transpose(1, 2)
        a, b = qk[..., : HEAD // 2], qk[..., HEAD // 2 :]
        qk = torch.cat((a * cos - b * sin, b * cos + a * sin), -1).transpose(1, 2)
        k = qk[:, HEADS:].repeat_interleave(HEADS // KV_HEADS, 1)
        v = v.repeat_interleave(HEADS // KV_HEADS, 1)
        # Written out, and kept so by pattern_matcher = False: the backward pass of torch's CPU
        # flash attention takes half of the whole step.
        scores = (qk[:, :HEADS] @ k.transpose(2, 3)) * HEAD**-0.5
        scores = scores.float().masked_fill(mask, float("-inf"))
        y = torch.softmax(scores, -1).to(x.dtype) @ v
        x = x + F.linear(y.transpose(1, 2).reshape(batch, length, -1), self.o.to(x.dtype))
        gate, up = F.linear(norm(x, self.norm2), self.gate_up.to(x.dtype)).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down.to(x.dtype))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Parameter(torch.randn(VOCAB, DIM) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.Parameter(torch.ones(DIM))
        angle = torch.outer(
            torch.arange(float(CONTEXT)), THETA ** (-torch.arange(0, HEAD, 2) / HEAD)
        )
        self.register_buffer("cos", angle.cos()[:, None, :], persistent=False)
        self.register_buffer("sin", angle.sin()[:, None, :], persistent=False)

        mask = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, ids, targets):
        embed = self.embed.to(torch.bfloat16)
        x = F.embedding(ids, embed)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin, self.mask)
        logits = F.linear(norm(x, self.norm), embed)
        return F.cross_entropy(logits.float().view(-1, VOCAB), targets.reshape(-1))


def load_ids(folder, name):
    cache = os.path.join(folder, name + ".ids.npy")
    if not os.path.exists(cache):
        tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        with open(os.path.join(folder, name + ".txt"), encoding="utf-8") as f:
            np.save(cache, tokens.stream(tok, f.read()))
    return np.load(cache)


def starts_of_tales(ids):
    feed = ids == 3 + 0x0A
    starts = np.flatnonzero(feed[:-1] & feed[1:]) + 2
    return starts[starts < len(ids) - CONTEXT]


def windows(ids, starts, step, batch):
    """Half of the rows start anywhere, half with <s> at the first word of a tale: the ways a model
    is used."""
    rng = np.random.Generator(np.random.PCG64([2024, step]))
    rows = []
    for i in range(batch):
        if i % 2:
            at = starts[rng.integers(len(starts))]
            rows.append(np.concatenate([[1], ids[at : at + CONTEXT]]))
        else:
            at = rng.integers(len(ids) - CONTEXT)
            rows.append(ids[at : at + CONTEXT + 1])
    rows = torch.from_numpy(np.stack(rows).astype(np.int64))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def validation_loss(model, ids, batch):
    rows = len(ids) // CONTEXT // batch * batch
    ids = torch.from_numpy(ids[: rows * CONTEXT + 1].astype(np.int64))
    x, y = ids[:-1].view(rows, CONTEXT), ids[1:].view(rows, CONTEXT)
    with torch.no_grad():
        return float(
            np.mean(
                [model(x[i : i + batch], y[i : i + batch]).item() for i in range(0, rows, batch)]
            )
        )


def rate(step, args):
    """Up, level, down: with a level stretch the number of steps may be settled while it trains."""
    return min(1.0, (step + 1) / args.warmup, (args.steps - step) / args.decay)


def orthogonal(g):
    """g with all its singular values near 1: the quintic Newton-Schulz iteration of Muon (Jordan
    and others, 2024)."""
    x = g / (g.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal."""

    def __init__(self, matrices):
        super().__init__(matrices, {"lr": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.mul_(0.95).add_(p.grad)
                update = orthogonal(p.grad + 0.95 * momentum)
                p.sub_(update, alpha=group["lr"] * math.sqrt(max(1.0, p.shape[0] / p.shape[1])))


def prepare(args):
    tokenizer = os.path.join(args.folder, "tokenizer.json")
    if not os.path.exists(tokenizer):
        with open(tokenizer, "w", encoding="utf-8") as f:
            f.write(tokens.train(os.path.join(args.folder, "text.txt"), 4_000_000, VOCAB))
    load_ids(args.folder, "text")
    load_ids(args.folder, "valid")


def train(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    ids, held_out = load_ids(args.folder, "text"), load_ids(args.folder, "valid")
    starts = starts_of_tales(ids)
    model = Model()
    matrices = [p for b in model.blocks for p in b.parameters() if p.dim() == 2]
    others = [p for b in model.blocks for p in b.parameters() if p.dim() == 1]
    others += [model.embed, model.norm]
    optimizers = {
        "muon": (Muon(matrices), args.muon_lr),
        "adam": (torch.optim.Adam(others, betas=(0.9, 0.98), eps=1e-8, fused=True), args.lr),
    }
    path, first = os.path.join(args.folder, "checkpoint.pt"), 0
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        for name, (optimizer, _) in optimizers.items():
            optimizer.load_state_dict(saved[name])
        first = saved["step"]
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, {len(ids)} tokens, {len(starts)} tales, from {first}", flush=True)
    torch._inductor.config.pattern_matcher = False
    run = torch.compile(model)
    begun = saved_at = time.time()
    total = 0.0
    for step in range(first, args.steps):
        loss = run(*windows(ids, starts, step, args.batch))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, lr in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr * rate(step, args)
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
        if (step + 1) % 50 == 0:
            took = time.time() - begun
            speed = (step + 1 - first) * args.batch * CONTEXT / took
            print(f"step {step + 1} loss {total / 50:.4f} {speed:.0f} tokens/s", flush=True)
            total = 0.0
        last = step + 1 == args.steps
        if last or (step + 1) % 500 == 0:
            loss = validation_loss(run, held_out, args.batch)
            print(f"step {step + 1} validation {loss:.4f}", flush=True)
        if last or time.time() - saved_at > 180:
            state = {name: optimizer.state_dict() for name, (optimizer, _) in optimizers.items()}
            torch.save({"model": model.state_dict(), "step": step + 1, **state}, path + ".new")
            os.replace(path + ".new", path)
            saved_at = time.time()


def tensors_of(state):
    out = {"model.embed_tokens.weight": state["embed"], "model.norm.weight": state["norm"]}
    for i in range(LAYERS):
        get = lambda name: state[f"blocks.{i}.{name}"]
        q, k, v = get("qkv").split((HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD))
        gate, up = get("gate_up").chunk(2)
        parts = {
            "input_layernorm": get("norm1"),
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": get("o"),
            "post_attention_layernorm": get("norm2"),
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": get("down"),
        }
        out.update({f"model.layers.{i}.{name}.weight": w for name, w in parts.items()})
    return {name: w.to(torch.bfloat16).contiguous() for name, w in out.items()}


def export(folder, out):
    os.makedirs(out, exist_ok=True)
    saved = torch.load(os.path.join(folder, "checkpoint.pt"), map_location="cpu")
    save_file(
        tensors_of(saved["model"]),
        os.path.join(out, "model.safetensors"),
        metadata={"format": "pt"},
    )
    with open(os.path.join(folder, "tokenizer.json"), "rb") as f, open(
        os.path.join(out, "tokenizer.json"), "wb"
    ) as g:
        g.write(f.read())
    files = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "head_dim": HEAD,
            "hidden_act": "silu",
            "hidden_size": DIM,
            "initializer_range": 0.02,
            "intermediate_size": INNER,
            "max_position_embeddings": CONTEXT,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": KV_HEADS,
            "rms_norm_eps": EPS,
            "rope_scaling": None,
            "rope_theta": THETA,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": VOCAB,
        },
        "generation_config.json": {
            "bos_token_id": 1,
            "eos_token_id": 2,
            "do_sample": True,
            "temperature": 0.7,
            "max_length": CONTEXT,
        },
        "tokenizer_config.json": {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "model_max_length": CONTEXT,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
        },
    }
    for name, content in files.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            f.write(json.dumps(content, indent=2) + "\n")
    print(f"{out}: step {saved['step']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--export", metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--muon-lr", type=float, default=0.02, help="of the blocks' matrices")
    parser.add_argument("--lr", type=float, default=6e-3, help="of embedding and norms (Adam)")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--decay", type=int, default=450, help="steps of the final descent")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.export:
        export(args.folder, args.export)
    else:
        prepare(args)
        train(args)


if __name__ == "__main__":
    main()
