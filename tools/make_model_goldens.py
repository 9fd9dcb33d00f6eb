#!/usr/bin/env python3
"""Writes tests/golden/models.txt: every model family and kind of rope as a tiny model of Hugging Face
transformers in fp32 (two families that it lacks: of their published definition, see Published). Of each: its config.json, the mean loss of two windows, and of each block, given a
fixed input and output gradient, the size of its output and of every gradient by autograd, and what they
give when multiplied with fixed numbers. All numbers come from tensors' names (tests/tiny_model.c has the
same), so no tensor is stored. A new family is a row in CASES.

usage: tools/make_model_goldens.py [tests/golden]      needs torch, transformers"""
import hashlib
import json
import math
import sys

import numpy as np
import torch
import transformers

B, T, V, D, F, L = 2, 24, 13, 16, 24, 2
SHAPE = dict(hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=V, max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1,
             eos_token_id=2, pad_token_id=0)
ROPE = dict(rope_theta=500.0)
LONG = dict(rope_type="longrope", original_max_position_embeddings=16, short_factor=[1.0, 1.1, 1.3, 1.5],
            long_factor=[1.5, 2.0, 4.0, 6.0])
GEMMA = dict(head_dim=8, query_pre_attn_scalar=12, sliding_window=8, hidden_activation="gelu_pytorch_tanh")
TWO_HEADS = dict(num_attention_heads=2, num_key_value_heads=1)
CASES = {  # name: model_type, keys of config.json
    "llama": ("llama", dict(ROPE, attention_bias=True, mlp_bias=True, head_dim=8)),
    "llama-llama3": ("llama", dict(head_dim=8, rope_parameters=dict(
        rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16))),
    "llama-linear": ("llama", dict(head_dim=8, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.5))),
    "llama-dynamic": ("llama", dict(head_dim=8, max_position_embeddings=16, rope_parameters=dict(
        rope_type="dynamic", rope_theta=500.0, factor=2.0))),
    "llama-longrope": ("llama", dict(head_dim=8, rope_parameters=dict(LONG, rope_theta=500.0, factor=2.0))),
    "mistral": ("mistral", dict(ROPE, sliding_window=5, head_dim=8)),
    "qwen2": ("qwen2", dict(ROPE, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen3": ("qwen3", dict(ROPE, head_dim=8, use_sliding_window=True, sliding_window=6,
                            layer_types=["sliding_attention", "full_attention"])),
    "qwen3-yarn": ("qwen3", dict(head_dim=8, rope_parameters=dict(
        rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=8))),
    "gemma": ("gemma", dict(ROPE, head_dim=8, hidden_act="gelu", tie_word_embeddings=True, attention_bias=True)),
    "gemma2": ("gemma2", dict(GEMMA, **ROPE, tie_word_embeddings=True, attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    "gemma3": ("gemma3_text", dict(GEMMA, attention_bias=True, final_logit_softcapping=None, layer_types=[
        "sliding_attention", "full_attention"], rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=5000.0, factor=8.0),
            sliding_attention=dict(rope_type="default", rope_theta=100.0)))),
    "phi3-short": ("phi3", dict(TWO_HEADS, sliding_window=10, original_max_position_embeddings=24, rope_parameters=dict(
        LONG, rope_theta=500.0))),
    "phi3-long": ("phi3", dict(TWO_HEADS, original_max_position_embeddings=16, rope_parameters=dict(
        LONG, rope_theta=500.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.2, 1.4], long_factor=[2.0, 4.0, 5.0]))),
    "smollm3": ("smollm3", dict(ROPE, head_dim=8, no_rope_layers=[1, 0], use_sliding_window=True, sliding_window=8,
                                attention_bias=True)),
    "granite": ("granite", dict(ROPE, head_dim=8, embedding_multiplier=3.0, residual_multiplier=0.22,
                                attention_multiplier=0.4, logits_scaling=2.0)),
    "olmo2": ("olmo2", dict(ROPE, head_dim=8)),
    "olmo3": ("olmo3", dict(head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"],
                            rope_parameters=dict(
        full_attention=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=8,
                            attention_factor=1.2), sliding_attention=dict(rope_type="default", rope_theta=500.0)))),
    "internlm2": ("internlm2", dict(ROPE, bias=True)),
    "minicpm": ("minicpm", dict(ROPE, scale_emb=3, scale_depth=1.4, dim_model_base=8)),
    "minicpm-longrope": ("minicpm", dict(TWO_HEADS, **ROPE, scale_emb=3, scale_depth=1.4, dim_model_base=8, rope_scaling=dict(
        type="longrope", original_max_position_embeddings=24, short_factor=LONG["short_factor"],
        long_factor=LONG["long_factor"]))),
    "stablelm": ("stablelm", dict(ROPE, hidden_size=32, partial_rotary_factor=0.25, use_qkv_bias=True,
                                  layer_norm_eps=1e-5)),
    "ministral": ("ministral", dict(ROPE, head_dim=8, sliding_window=6,
                                    layer_types=["full_attention", "sliding_attention"])),
    "ministral3": ("ministral3", dict(head_dim=8, sliding_window=None, rope_parameters=dict(
        rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=8, mscale=1.0,
        mscale_all_dim=1.0, llama_4_scaling_beta=0.3))),
}


def numbers(name, n):
    """Numbers in [-1, 1) by name, as tiny_golden of tests/tiny_model.c."""
    u = 2166136261
    for c in name.encode():
        u = (u ^ c) * 16777619 & 0xffffffff
    u = np.uint32(u) + np.arange(n, dtype=np.uint32) * np.uint32(0x9e3779b1)
    u = (u ^ u >> 16) * np.uint32(0x85ebca6b)
    u = (u ^ u >> 13) * np.uint32(0xc2b2ae35)
    u ^= u >> 16
    return (u >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def weight(name, shape, plus_one):
    v = torch.from_numpy(numbers(name, int(np.prod(shape)))).reshape(shape)
    if len(shape) > 1:
        return v if "embed" in name else 0.5 * v
    return 1 + 0.25 * v if name.endswith(".weight") and not plus_one else 0.25 * v


class Published:
    """InternLM2 and MiniCPM, for which transformers has no class, as their published definitions say (modeling_
    internlm2.py, modeling_minicpm.py): a block of RMSNorm, attention over turned queries and keys, RMSNorm, a gated MLP.
    InternLM2 joins q, k and v by group: its query heads, its key head, its value head. MiniCPM scales embeddings, what
    a branch adds, and what the head reads."""

    def __init__(self, kind, c):
        self.c, self.joined = c, kind == "internlm2"
        self.NH, self.NKV = c["num_attention_heads"], c["num_key_value_heads"]
        self.width, self.HD = c["hidden_size"], c["hidden_size"] // self.NH
        wide, narrow, D, F = self.NH * self.HD, self.NKV * self.HD, self.width, c["intermediate_size"]
        if self.joined:
            self.names = dict(o="attention.wo", gate="feed_forward.w1", up="feed_forward.w3", down="feed_forward.w2",
                              att_norm="attention_norm", mlp_norm="ffn_norm", qkv="attention.wqkv")
            self.embed, self.head, qkv = "model.tok_embeddings", "output", dict(qkv=(wide + 2 * narrow, D))
        else:
            self.names = dict({n: "self_attn." + n + "_proj" for n in "qkvo"}, **{n: "mlp." + n + "_proj" for n in (
                "gate", "up", "down")}, att_norm="input_layernorm", mlp_norm="post_attention_layernorm")
            self.embed, self.head, qkv = "model.embed_tokens", "lm_head", dict(q=(wide, D), k=(narrow, D), v=(narrow, D))
        block = dict(qkv, o=(D, wide), gate=(F, D), up=(F, D), down=(D, F), att_norm=(D,), mlp_norm=(D,))
        shapes = {self.embed + ".weight": (V, D), self.head + ".weight": (V, D), "model.norm.weight": (D,)}
        for i in range(L):
            for part, shape in block.items():
                shapes[f"model.layers.{i}.{self.names[part]}.weight"] = shape
                if c.get("bias") and part in ("qkv", "o"):
                    shapes[f"model.layers.{i}.{self.names[part]}.bias"] = shape[:1]
        self.p = {name: torch.zeros(shape).requires_grad_() for name, shape in shapes.items()}

    def named_parameters(self):
        return self.p.items()

    def of_layer(self, i):
        start = f"model.layers.{i}."
        return {n.removeprefix(start): p for n, p in self.p.items() if n.startswith(start)}

    def norm(self, x, w):
        return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"]))

    def qkv(self, linear, h):
        """[B, heads, T, HD] each"""
        if not self.joined:
            return [linear(part, h).unflatten(-1, (-1, self.HD)).transpose(1, 2) for part in "qkv"]
        each = self.NH // self.NKV
        groups = linear("qkv", h).unflatten(-1, (self.NKV, each + 2, self.HD)).permute(0, 2, 3, 1, 4)
        return groups[:, :, :each].flatten(1, 2), groups[:, :, each], groups[:, :, each + 1]

    def turned(self, x):
        """MiniCPM's tables are made for the whole context when the model is, so that decides for longrope."""
        half, rope, most = self.HD // 2, self.c.get("rope_scaling", {}), self.c["max_position_embeddings"]
        at, kind, base, scale = torch.arange(T).float(), rope.get("type"), self.c["rope_theta"], 1
        if kind == "linear":
            at = at / rope["factor"]
        if kind == "dynamic" and T > most:
            base *= (rope["factor"] * T / most - (rope["factor"] - 1)) ** (self.HD / (self.HD - 2))
        f = 1 / base ** (torch.arange(half).float() / half)
        if kind == "longrope":
            original = rope["original_max_position_embeddings"]
            f = f / torch.tensor(rope["long_factor" if max(T, most) > original else "short_factor"])
            scale = (1 + math.log(most / original) / math.log(original)) ** 0.5
        angle = at[:, None] * f
        cos, sin, a, b = angle.cos() * scale, angle.sin() * scale, x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def layer(self, i, x):
        p = self.of_layer(i)

        def linear(part, h):
            return torch.nn.functional.linear(h, p[self.names[part] + ".weight"], p.get(self.names[part] + ".bias"))

        scale = self.c["scale_depth"] / L**0.5 if not self.joined else 1
        q, k, v = self.qkv(linear, self.norm(x, p[self.names["att_norm"] + ".weight"]))
        k, v = (t.repeat_interleave(self.NH // self.NKV, 1) for t in (self.turned(k), v))
        scores = self.turned(q) @ k.transpose(2, 3) / self.HD**0.5
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        x = x + scale * linear("o", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        h = self.norm(x, p[self.names["mlp_norm"] + ".weight"])
        return x + scale * linear("down", torch.nn.functional.silu(linear("gate", h)) * linear("up", h))

    def logits(self, ids):
        x = self.p[self.embed + ".weight"][ids] * (1 if self.joined else self.c["scale_emb"])
        for i in range(L):
            x = self.layer(i, x)
        x = self.norm(x, self.p["model.norm.weight"])
        return (x if self.joined else x / (self.width / self.c["dim_model_base"])) @ self.p[self.head + ".weight"].T


class Theirs:
    """A model of transformers."""

    def __init__(self, kind, config):
        c = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
        c._attn_implementation = "eager"
        self.model = transformers.AutoModelForCausalLM.from_config(c, attn_implementation="eager").float().eval()
        self.width = c.hidden_size

    def named_parameters(self):
        return self.model.named_parameters()

    def of_layer(self, i):
        return dict(self.model.model.layers[i].named_parameters())

    def layer(self, i, x):
        layer, got = self.model.model.layers[i], {}
        hooks = [layer.register_forward_pre_hook(lambda m, a, k: ((x, *a[1:]), k) if a else (a, dict(k, hidden_states=x)),
                                                 with_kwargs=True),
                 layer.register_forward_hook(lambda m, a, o: got.update(y=o[0] if isinstance(o, tuple) else o))]
        self.model(torch.zeros(B, T, dtype=torch.long), use_cache=False)
        for h in hooks:
            h.remove()
        return got["y"]

    def logits(self, ids):
        return self.model(ids, use_cache=False).logits


def build(config):
    kind = config["model_type"]
    torch.manual_seed(0)
    model = (Published if kind in ("internlm2", "minicpm") else Theirs)(kind, config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weight(name, p.shape, kind.startswith("gemma")))
    return model


def say(out, what, t):
    t = t.detach().double().flatten()
    r = torch.from_numpy(numbers("probe." + what, t.numel())).double()
    out.append(f"{what} {t.norm().item():.9g} {(t @ r).item():.9g}")


def full_config(kind, keys):
    return {"model_type": kind, **SHAPE, **keys}


def loss_of(model):
    ids = torch.from_numpy((numbers("ids", B * T).astype(np.float64) + 1) * V / 2).long().reshape(B, T)
    logits = model.logits(ids).double()
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1)).item()


def layer_tensors(model, i):
    """{name: the block's output, its input's gradient and that of every parameter}"""
    x = torch.from_numpy(numbers("x", B * T * model.width)).reshape(B, T, model.width).requires_grad_()
    dy = torch.from_numpy(numbers("dy", B * T * model.width)).reshape(B, T, model.width)
    y, params = model.layer(i, x), model.of_layer(i)
    grads = torch.autograd.grad(y, [x, *params.values()], dy)
    return {"y": y, "dx": grads[0], **dict(zip(params, grads[1:]))}


def lines(name, config, model):
    out = [f"case {name}", "config " + json.dumps(config), f"loss {loss_of(model):.12g}"]
    for i in range(L):
        out.append(f"layer {i}")
        for what, t in layer_tensors(model, i).items():
            say(out, what, t)
    return out


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    transformers.logging.set_verbosity_error()
    out = []
    for name, (kind, keys) in CASES.items():
        config = full_config(kind, keys)
        out += lines(name, config, build(config))
    text = "\n".join(out) + "\n"
    with open(f"{folder}/models.txt", "w") as f:
        f.write(text)
    print(f"models.txt  tools/make_model_goldens.py  torch {torch.__version__}  transformers {transformers.__version__}"
          f"  sha256 {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
