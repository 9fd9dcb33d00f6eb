#!/usr/bin/env python3
"""Writes tests/golden/ops.safetensors: inputs, outputs and gradients of the operations by PyTorch's
autograd and optimizer. Inputs are fp32; what has no rounding decision is computed in fp64.

usage: tools/make_goldens.py [tests/golden]      needs torch, safetensors; prints the MANIFEST line"""
import hashlib
import sys

import torch
from safetensors.torch import save_file

SEED = 20240711
OUT = {}


def save(prefix, **tensors):
    for name, t in tensors.items():
        t = t.detach()
        OUT[f"{prefix}.{name}"] = (t.float() if t.is_floating_point() else t).contiguous().clone()


def rand(*shape):
    """fp32 numbers, in fp64, that require a gradient."""
    return torch.randn(*shape).double().requires_grad_()


def straight(x, y):
    """y in the forward pass, x in the backward pass."""
    return x + (y - x).detach()


def clamp(t, lo, hi):
    """Gradient 1 on both ends, as METHOD says; torch.clamp's own gradient there differs between versions."""
    return torch.where((t >= lo) & (t <= hi), t, t.clamp(lo, hi).detach())


def fake_quant(w, s, z, bits, group):
    """METHOD (1) (2) with the clamps and roundings of the training forward."""
    top = 2**bits - 1
    s = straight(s, s.clamp(1e-4, 1e4)).unsqueeze(-1)
    z = straight(z, z.round().clamp(0, top)).unsqueeze(-1)
    x = w.reshape(*s.shape[:2], group) / s
    t = straight(x, x.round()) + z
    return ((clamp(t, 0, top) - z) * s).reshape(w.shape)


def fake_quant_case(bits, out, inp, group):
    w = (0.02 * torch.randn(out, inp)).requires_grad_()
    wg = w.detach().reshape(out, inp // group, group)
    s = (wg.amax(-1) - wg.amin(-1)) / (2**bits - 1) * (0.4 + torch.rand(out, inp // group))
    z = -wg.amin(-1) / s + 0.7 * torch.randn_like(s)
    s[0, 0], z[1, 0], z[2, 0] = 2e-5, -1.7, 2**bits + 0.6  # beyond their clamps
    s.requires_grad_(), z.requires_grad_()
    d = torch.randn(out, inp)
    w_hat = fake_quant(w, s, z, bits, group)
    dw, ds, dz = torch.autograd.grad(w_hat, [w, s, z], d)
    save(f"fq{bits}", w=w, s=s, z=z, dw_hat=d, w_hat=w_hat, dw=dw, ds=ds, dz=dz)


def e2e_case(bits, out, inp, group):
    """E2E-QP's graph: (w_int - z) s with fixed integers."""
    q = torch.randint(0, 2**bits, (out, inp))
    s = (0.01 * torch.rand(out, inp // group)).double().requires_grad_()
    z = torch.randint(0, 2**bits, s.shape).double().requires_grad_()
    w_hat = ((q.double().reshape(*s.shape, group) - z.unsqueeze(-1)) * s.unsqueeze(-1)).reshape(out, inp)
    d = torch.randn(out, inp)
    ds, dz = torch.autograd.grad(w_hat, [s, z], d.double())
    save(f"dequant{bits}", q=q.to(torch.uint8), s=s, z=z, dw_hat=d, w_hat=w_hat, ds=ds, dz=dz)


def rmsnorm_case():
    x, w, d = rand(5, 24), rand(24), rand(5, 24)
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w
    dx, dw = torch.autograd.grad(y, [x, w], d)
    save("rmsnorm", x=x, w=w, dy=d, y=y, dx=dx, dw=dw)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * torch.cat([cos, cos], -1)[:, None] + turned * torch.cat([sin, sin], -1)[:, None]


def attention_case(name, window):
    B, T, NH, NKV, HD = 2, 7, 4, 2, 8
    angle = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, HD, 2) / HD))
    cos, sin = angle.cos().float().double(), angle.sin().float().double()
    q, k, v, d = rand(B, T, NH, HD), rand(B, T, NKV, HD), rand(B, T, NKV, HD), rand(B, T, NH, HD)
    qr, kr = rotate(q, cos, sin), rotate(k, cos, sin)
    rows, cols = torch.arange(T)[:, None], torch.arange(T)[None]
    mask = (cols <= rows) & ((cols > rows - window) if window else True)
    o = torch.nn.functional.scaled_dot_product_attention(
        qr.transpose(1, 2), kr.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, enable_gqa=True,
        scale=0.25).transpose(1, 2)
    dq, dk, dv = torch.autograd.grad(o, [q, k, v], d)
    save(name, cos=cos, sin=sin, q=q, k=k, v=v, do=d, qr=qr, kr=kr, o=o, dq=dq, dk=dk, dv=dv)


def elementwise_cases():
    g, u, d = rand(96), rand(96), rand(96)
    h = torch.nn.functional.silu(3 * g) * u
    dg, du = torch.autograd.grad(h, [g, u], d)
    save("swiglu", g=3 * g, u=u, dh=d, h=h, dg=dg / 3, du=du)
    y, t = rand(60), rand(60)
    loss = torch.nn.functional.mse_loss(y, t)
    save("mse", y=y, t=t, loss=loss.reshape(1), dy=torch.autograd.grad(loss, y)[0])
    logits, target = (4 * torch.randn(6, 19)).double().requires_grad_(), torch.tensor([3, -100, 0, 18, 7, -100])
    loss = torch.nn.functional.cross_entropy(logits, target, reduction="none", ignore_index=-100)
    target = target.clamp(min=-1).int()
    save("ce", logits=logits, target=target, loss=loss, dlogits=torch.autograd.grad(loss.sum() / 4, logits)[0])


def adamw_case(name, decay):
    p = torch.nn.Parameter(torch.randn(64))
    opt = torch.optim.AdamW([p], lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay, foreach=False)
    save(name, p0=p)
    for step in (1, 2, 3):
        p.grad = torch.randn(64) * 10.0 ** torch.randint(-6, 2, (64,))
        opt.step()
        state = opt.state[p]
        save(f"{name}.{step}", g=p.grad, p=p, m=state["exp_avg"], v=state["exp_avg_sq"])


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    torch.manual_seed(SEED)
    for bits, group in ((2, 64), (3, 32), (4, 128)):
        fake_quant_case(bits, 4, 256, group)
        e2e_case(bits, 3, 128, min(group, 64))
    rmsnorm_case()
    attention_case("attention", 0)
    attention_case("window", 3)
    elementwise_cases()
    adamw_case("adamw", 0.0)
    adamw_case("adamw_decay", 0.1)
    save_file(OUT, f"{folder}/ops.safetensors")
    digest = hashlib.sha256(open(f"{folder}/ops.safetensors", "rb").read()).hexdigest()
    print(f"ops.safetensors  tools/make_goldens.py  seed {SEED}  torch {torch.__version__}  sha256 {digest}")


main()
