#!/usr/bin/env python3
"""What PyTorch reaches on this GPU, to hold eqat's figures against: copy, products of a Llama-2-7B block, attention,
AdamW, matrix-vector in fp16. usage: tools/peer_gpu.py [--tokens 4096]. Prints a line each."""
import argparse

import torch

COPIES = 8  # operands rotate, so that no product finds its own in the cache


def milliseconds(fn, calls=20, runs=5):
    """Median over runs of the mean of calls queued behind each other."""
    for i in range(3):
        fn(i)
    out = []
    for _ in range(runs):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for i in range(calls):
            fn(i)
        b.record()
        torch.cuda.synchronize()
        out.append(a.elapsed_time(b) / calls)
    return sorted(out)[runs // 2]


def rand(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=torch.float32).to(dtype)


def products(tokens):
    """Forward, dX and dW of the seven linears, each alone."""
    total, flop = 0.0, 0.0
    for out, inp, count in ((4096, 4096, 4), (11008, 4096, 2), (4096, 11008, 1)):
        x, w, dy = rand(tokens, inp), rand(out, inp), rand(tokens, out)
        t = [milliseconds(lambda i: x @ w.T), milliseconds(lambda i: dy @ w), milliseconds(lambda i: dy.T @ x)]
        one = 2 * tokens * out * inp
        print(f"products {tokens} x {out} x {inp}: forward {one / t[0] / 1e9:.0f}, dX {one / t[1] / 1e9:.0f}, "
              f"dW {one / t[2] / 1e9:.0f} TFLOP/s")
        total, flop = total + count * sum(t), flop + count * 3 * one
    print(f"products of a block at {tokens} tokens: {total:.2f} ms, {flop / total / 1e9:.0f} TFLOP/s")


def attention():
    q, k, v = (rand(2, 32, 2048, 128).requires_grad_() for _ in range(3))
    do = rand(2, 32, 2048, 128)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    fwd = milliseconds(lambda i: sdpa(q, k, v, is_causal=True))
    y = sdpa(q, k, v, is_causal=True)
    bwd = milliseconds(lambda i: torch.autograd.grad(y, (q, k, v), do, retain_graph=True))
    flop = 2 * 2 * 2048 * 2048 * 32 * 128
    print(f"attention 2 x 32 x 2048 x 128: forward {fwd:.3f} ms {flop / fwd / 1e9:.0f} TFLOP/s, "
          f"backward {bwd:.3f} ms {2.5 * flop / bwd / 1e9:.0f} TFLOP/s")


def adamw(n=202_000_000):
    p = torch.zeros(n, device="cuda", requires_grad=True)
    p.grad = rand(n, dtype=torch.float32)
    o = torch.optim.AdamW([p], lr=1e-5, fused=True)
    t = milliseconds(lambda i: o.step(), calls=5)
    print(f"fused AdamW of {n} weights: {t:.2f} ms, {28 * n / t / 1e6:.0f} GB/s")


def vectors():
    for out, inp in ((4096, 4096), (11008, 4096), (5120, 5120), (13824, 5120), (8192, 8192), (28672, 8192)):
        w, x = rand(COPIES, out, inp, dtype=torch.float16), rand(inp, dtype=torch.float16)
        t = milliseconds(lambda i: w[i % COPIES] @ x, calls=100)
        print(f"matrix-vector fp16 {out} x {inp}: {1e3 * t:.1f} us, {2 * out * inp / t / 1e6:.0f} GB/s")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tokens", type=int, default=4096)
    a = p.parse_args()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    x = torch.empty(1 << 28, device="cuda")
    y = torch.randn(1 << 28, device="cuda")
    t = milliseconds(lambda i: x.copy_(y))
    print(f"copy: {2 * 4 * x.numel() / t / 1e6:.0f} GB/s read + written")
    del x, y
    products(a.tokens)
    products(a.tokens // 2)
    attention()
    adamw()
    vectors()


main()
