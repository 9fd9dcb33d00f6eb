#!/usr/bin/env python3
"""EfficientQAT on the demo model in plain PyTorch: where the settings of `eqat demo` come from.

    prototype.py assets/demo [--windows 1024 --epochs 2 --quant-lr 5e-3 ...]

Prints the test perplexity of full precision, round-to-nearest, Block-AP and Block-AP + E2E-QP, with
the seconds each took, and a line of text from each. Written for reading, apart from the program.
"""

import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
import torch._inductor.config
from safetensors.torch import load_file
from tokenizers import Tokenizer

from train import CONTEXT as T, DIM, HEAD, HEADS, KV_HEADS, LAYERS, THETA, VOCAB, norm

NAMES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
ANGLE = torch.outer(torch.arange(float(T)), THETA ** (-torch.arange(0, HEAD, 2) / HEAD))
MASK = torch.ones(T, T, dtype=torch.bool).triu(1)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def block(x, weights, norm1, norm2):
    """x [B, L, D]; weights in the order of NAMES."""
    q, k, v, o, gate, up, down = (w.to(x.dtype) for w in weights)
    batch, length, _ = x.shape
    cos, sin = ANGLE[:length].cos().to(x.dtype), ANGLE[:length].sin().to(x.dtype)
    h = norm(x, norm1)
    heads = [F.linear(h, w).view(batch, length, -1, HEAD).transpose(1, 2) for w in (q, k, v)]
    q, k, v = rotate(heads[0], cos, sin), rotate(heads[1], cos, sin), heads[2]
    k, v = (y.repeat_interleave(HEADS // KV_HEADS, 1) for y in (k, v))
    scores = (q @ k.transpose(2, 3) * HEAD**-0.5).float()
    y = torch.softmax(scores.masked_fill(MASK[:length, :length], -math.inf), -1).to(x.dtype) @ v
    x = x + F.linear(y.transpose(1, 2).reshape(batch, length, -1), o)
    h = norm(x, norm2)
    return x + F.linear(F.silu(F.linear(h, gate)) * F.linear(h, up), down)


def straight(x, y):
    """The value of y, the gradient of x."""
    return x + (y - x).detach()


def start(w, group, top):
    """Min-max steps and zero points [out, in / group, 1]."""
    w = w.view(w.shape[0], -1, group)
    low, high = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
    s = ((high - low) / top).clamp(1e-4, 1e4)
    return s, (-(low / s).clamp(-1e4, 1e4)).round()


def integers(w, s, z, top):
    s, z = s.clamp(1e-4, 1e4), z.round().clamp(0, top)
    return ((w.view(w.shape[0], -1, w.shape[1] // s.shape[1]) / s).round() + z).clamp(0, top), z


def fake_quant(w, s, z, top):
    grouped = w.view(w.shape[0], -1, w.shape[1] // s.shape[1])
    s = straight(s, s.clamp(1e-4, 1e4))
    z = straight(z, z.round().clamp(0, top))
    t = grouped / s
    return ((straight(t, t.round()) + z).clamp(0, top) - z).mul(s).view_as(w)


class Lm:
    """weights[i], norms[i]: what block i computes with."""

    def __init__(self, folder):
        t = {k: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
        at = "model.layers.{}.{}.weight"
        self.embed, self.norm = t["model.embed_tokens.weight"], t["model.norm.weight"]
        self.weights = [[t[at.format(i, n)] for n in NAMES] for i in range(LAYERS)]
        self.norms = [[t[at.format(i, n)] for n in ("input_layernorm", "post_attention_layernorm")]
                      for i in range(LAYERS)]  # fmt: skip

    def logits(self, ids, weights=None, dtype=torch.float32, run=block):
        x = F.embedding(ids, self.embed).to(dtype)
        for w, n in zip(weights or self.weights, self.norms):
            x = run(x, w, *n)
        return F.linear(norm(x, self.norm), self.embed.to(dtype))

    @torch.no_grad()
    def ppl(self, ids):
        rows = torch.from_numpy(ids[: len(ids) // T * T].astype(np.int64)).view(-1, T)
        losses = []
        for x in rows.split(16):
            loss = F.cross_entropy(self.logits(x)[:, :-1].transpose(1, 2), x[:, 1:], reduction="none")
            losses.append(loss.mean(1))
        return math.exp(torch.cat(losses).mean())

    @torch.no_grad()
    def write(self, tok, prompt, count, seed=1):
        ids, rng = tok.encode(prompt).ids, torch.Generator().manual_seed(seed)
        for _ in range(count):
            p = torch.softmax(self.logits(torch.tensor([ids[-T:]]))[0, -1] / 0.6, -1)
            ids.append(int(torch.multinomial(p, 1, generator=rng)))
        return tok.decode(ids).replace("\n", " / ")


def cosine(step, steps, low):
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * step / steps))


def block_ap(lm, rows, valid, args):
    top, dtype = 2**args.bits - 1, getattr(torch, args.dtype)
    run = torch.compile(block)
    fake = torch.compile(fake_quant, dynamic=False)
    data = torch.cat((rows, valid))
    fp = F.embedding(data, lm.embed).to(dtype)
    student = fp.clone()
    through = lambda x, w, n: torch.cat([run(y, w, *n) for y in x.split(args.batch)])
    finals = []
    for i in range(LAYERS):
        with torch.no_grad():
            target = through(fp, lm.weights[i], lm.norms[i])
        masters = [w.clone().requires_grad_() for w in lm.weights[i]]
        norms = [n.clone().requires_grad_() for n in lm.norms[i]]
        params = [start(w, args.group, top) for w in lm.weights[i]]
        params = [(s.requires_grad_(), z.requires_grad_()) for s, z in params]
        adam = torch.optim.AdamW(
            [{"params": [p for sz in params for p in sz], "base": args.quant_lr},
             {"params": masters + norms, "base": args.weight_lr}],
            lr=0.0, betas=(0.9, 0.999), weight_decay=0.0, fused=True)  # fmt: skip
        quantized = lambda: [fake(w, s, z, top) for w, (s, z) in zip(masters, params)]
        steps, step, seen = args.epochs * (len(rows) // args.batch), 0, []
        for epoch in range(args.epochs):
            for at in range(0, len(rows), args.batch):
                for g in adam.param_groups:
                    g["lr"] = g["base"] * cosine(step, steps, 0.05)
                y = run(student[at : at + args.batch], quantized(), *norms)
                loss = (y.float() - target[at : at + args.batch].float()).square().mean()
                loss.backward()
                adam.step()
                adam.zero_grad()
                seen.append(loss.item())
                step += 1
            with torch.no_grad():
                w, n = quantized(), len(rows)
                held = (through(student[n:], w, norms).float() - target[n:].float()).square().mean()
            print(f"  block {i} epoch {epoch} first {seen[0]:.3e} last {np.mean(seen[-64:]):.3e} "
                  f"held-out {held:.3e}", flush=True)  # fmt: skip
        with torch.no_grad():
            final = []
            for w, (s, z) in zip(masters, params):
                s = s.half().float()
                final.append((s, *integers(w, s, z, top)))
            lm.weights[i] = [((q - z) * s).flatten(1) for s, q, z in final]
            lm.norms[i] = [n.detach() for n in norms]
            fp, student = target, through(student, lm.weights[i], lm.norms[i])
        finals.append(final)
    return finals


def e2e_qp(lm, finals, rows, args):
    dtype, run = getattr(torch, args.dtype), torch.compile(block)
    scales = [[s.clone().requires_grad_() for s, _, _ in f] for f in finals]
    adam = torch.optim.AdamW([s for f in scales for s in f], lr=0.0, weight_decay=0.0, fused=True)
    steps = args.e2e_epochs * (len(rows) // args.e2e_batch)
    warm = max(1, round(0.03 * steps))
    weights = lambda: [[((q - z) * s).flatten(1) for s, (_, q, z) in zip(a, f)]
                       for a, f in zip(scales, finals)]  # fmt: skip
    for step in range(steps):
        at = step * args.e2e_batch % (len(rows) // args.e2e_batch * args.e2e_batch)
        x = rows[at : at + args.e2e_batch]
        rate = (step + 1) / warm if step < warm else cosine(step - warm, steps - warm, 0.0)
        adam.param_groups[0]["lr"] = args.e2e_lr * rate
        logits = lm.logits(x, weights(), dtype, run).float()
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), x[:, 1:].reshape(-1))
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_([s for f in scales for s in f], args.clip)
        adam.step()
        adam.zero_grad()
        if step % max(1, steps // 8) == 0 or step + 1 == steps:
            print(f"  e2e step {step} loss {loss.item():.4f} gradient {size:.3f}", flush=True)
    with torch.no_grad():
        for f in scales:
            for s in f:
                s.copy_(s.half().float())
        lm.weights = weights()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="holds model/, train.txt, test.txt")
    for name, kind, value in (
        ("bits", int, 2), ("group", int, 64), ("windows", int, 1024), ("epochs", int, 2),
        ("batch", int, 4), ("quant-lr", float, 5e-3), ("weight-lr", float, 2e-3),
        ("e2e-batch", int, 8), ("e2e-epochs", int, 1), ("e2e-lr", float, 1e-3), ("clip", float, 0.3),
        ("dtype", str, "float32"), ("threads", int, 2), ("prompt", str, "In the year"),
    ):  # fmt: skip
        parser.add_argument("--" + name, type=kind, default=value)
    parser.add_argument("--rtn-only", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch._inductor.config.pattern_matcher = False
    tok = Tokenizer.from_file(os.path.join(args.folder, "model/tokenizer.json"))
    read = lambda n: np.array(tok.encode(open(os.path.join(args.folder, n)).read()).ids)
    test, text = read("test.txt"), read("train.txt")
    lm, began = Lm(os.path.join(args.folder, "model")), time.time()

    def report(name):
        nonlocal began
        took = time.time() - began
        print(f"{name:20s} ppl {lm.ppl(test):9.3f}  {took:6.1f} s  | {lm.write(tok, args.prompt, 48)}")
        began = time.time()

    report("full precision")
    original = lm.weights
    lm.weights = []
    for weights in original:
        pairs = [(w, start(w, args.group, 2**args.bits - 1)) for w in weights]
        lm.weights.append([fake_quant(w, s, z, 2**args.bits - 1) for w, (s, z) in pairs])
    report("round to nearest")
    if args.rtn_only:
        return
    lm.weights = original
    random.seed(2)
    first = int(len(text) * 0.9)
    at = [random.randint(0, first - T - 1) for _ in range(args.windows)]
    rows = torch.from_numpy(np.stack([text[i : i + T] for i in at]))
    at = [random.randint(first, len(text) - T - 1) for _ in range(32)]
    valid = torch.from_numpy(np.stack([text[i : i + T] for i in at]))
    finals = block_ap(lm, rows, valid, args)
    report("Block-AP")
    e2e_qp(lm, finals, torch.from_numpy(text[: len(text) // T * T]).view(-1, T), args)
    report("+ E2E-QP")


if __name__ == "__main__":
    main()
