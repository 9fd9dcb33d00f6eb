#!/usr/bin/env python3
"""Writes tests/golden/models.txt: every model family and kind of rope as a tiny model of Hugging Face
transformers in fp32. Of each: its config.json, the mean loss of two windows, and of each block, given a
fixed input and output gradient, the size of its output and of every gradient by autograd, and what they
give when multiplied with fixed numbers. All numbers come from tensors' names (tests/tiny_model.c has the
same), so no tensor is stored. A new family is a row in CASES.

usage: tools/make_model_goldens.py [tests/golden]      needs torch, transformers"""
import hashlib
import json
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


class AsInternLM2:
    """InternLM2 from Llama: its weights by InternLM2's names, the heads of wqkv by groups (q ..., k, v)."""
    ENDS = {"model.embed_tokens.weight": "model.tok_embeddings.weight", "lm_head.weight": "output.weight"}
    NAMES = {"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
             "mlp.down_proj": "feed_forward.w2", "input_layernorm": "attention_norm",
             "post_attention_layernorm": "ffn_norm"}

    def __init__(self, config):
        NH, NKV = config["num_attention_heads"], config["num_key_value_heads"]
        self.HD, self.NKV, self.each = D // NH, NKV, NH // NKV
        self.kv = dict(q_proj=slice(0, self.each), k_proj=slice(self.each, self.each + 1),
                       v_proj=slice(self.each + 1, self.each + 2))

    def llama(self, config):
        keep = {k: v for k, v in config.items() if k not in ("bias", "model_type", "architectures")}
        return transformers.LlamaConfig(**keep, attention_bias=config["bias"], attn_implementation="eager")

    def name(self, name):
        """Ours of Llama's, and the heads of each group that it has of it."""
        if name in self.ENDS:
            return self.ENDS[name], None
        for old, new in self.NAMES.items():
            name = name.replace(old, new)
        for part, heads in self.kv.items():
            if part in name:
                return name.replace("self_attn." + part, "attention.wqkv"), heads
        return name, None

    def rows(self, whole, heads):
        by_group = whole.reshape(self.NKV, self.each + 2, self.HD, -1)
        return by_group[:, heads].reshape(-1, *whole.shape[1:])

    def fill(self, name, shape):
        new, heads = self.name(name)
        if heads is None:
            return weight(new, shape, False)
        return self.rows(weight(new, ((self.each + 2) * self.NKV * self.HD, *shape[1:]), False), heads)

    def join(self, grads):
        out = {}
        for name, g in grads.items():
            new, heads = self.name(name)
            if heads is None:
                out[new] = g
                continue
            whole = out.setdefault(new, torch.zeros((self.each + 2) * self.NKV * self.HD, *g.shape[1:]))
            whole.view(self.NKV, self.each + 2, self.HD, -1)[:, heads] = g.reshape(self.NKV, -1, self.HD,
                                                                                  g[0].numel())
        return out


def minicpm_as_granite(config):
    """MiniCPM (its published modeling_minicpm.py): what Granite spells otherwise."""
    c = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    return transformers.GraniteConfig(
        embedding_multiplier=c.pop("scale_emb"), residual_multiplier=c.pop("scale_depth") / L**0.5,
        logits_scaling=D / c.pop("dim_model_base"), attention_multiplier=(D // 4)**-0.5, **c,
        attn_implementation="eager")


def build(kind, config):
    if kind == "internlm2":
        own = AsInternLM2(config)
        return transformers.LlamaForCausalLM(own.llama(config)), own
    if kind == "minicpm":
        return transformers.GraniteForCausalLM(minicpm_as_granite(config)), None
    c = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    c._attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(c, attn_implementation="eager"), None


def say(out, what, t):
    t = t.detach().double().flatten()
    r = torch.from_numpy(numbers("probe." + what, t.numel())).double()
    out.append(f"{what} {t.norm().item():.9g} {(t @ r).item():.9g}")


def layer_lines(out, model, own, i):
    layer = model.model.layers[i]
    width = model.config.hidden_size
    x = torch.from_numpy(numbers("x", B * T * width)).reshape(B, T, width).requires_grad_()
    dy = torch.from_numpy(numbers("dy", B * T * width)).reshape(B, T, width)
    got = {}
    hooks = [layer.register_forward_pre_hook(lambda m, a, k: ((x, *a[1:]), k) if a else (a, dict(k, hidden_states=x)),
                                             with_kwargs=True),
             layer.register_forward_hook(lambda m, a, o: got.update(y=o[0] if isinstance(o, tuple) else o))]
    model(torch.zeros(B, T, dtype=torch.long), use_cache=False)
    for h in hooks:
        h.remove()
    params = dict(layer.named_parameters())
    grads = torch.autograd.grad(got["y"], [x, *params.values()], dy)
    out.append(f"layer {i}")
    say(out, "y", got["y"])
    say(out, "dx", grads[0])
    named = dict(zip(params, grads[1:]))
    for name, g in (own.join(named) if own else named).items():
        say(out, name, g)


def lines(name, kind, keys):
    config = {"model_type": kind, **SHAPE, **keys}
    if kind == "stablelm":
        config["num_attention_heads"], config["num_key_value_heads"] = 4, 2
    if kind == "internlm2":
        config["num_attention_heads"], config["num_key_value_heads"] = 4, 2
    torch.manual_seed(0)
    model, own = build(kind, dict(config))
    model = model.float().eval()
    plus_one = kind.startswith("gemma")
    with torch.no_grad():
        for n, p in model.named_parameters():
            full = n
            p.copy_(own.fill(full, p.shape) if own else weight(full, p.shape, plus_one))
    ids = torch.from_numpy((numbers("ids", B * T).astype(np.float64) + 1) * V / 2).long().reshape(B, T)
    logits = model(ids, use_cache=False).logits.double()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))
    out = [f"case {name}", "config " + json.dumps(config), f"loss {loss.item():.12g}"]
    for i in range(L):
        layer_lines(out, model, own, i)
    return out


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden"
    transformers.logging.set_verbosity_error()
    out = []
    for name, (kind, keys) in CASES.items():
        out += lines(name, kind, keys)
    text = "\n".join(out) + "\n"
    with open(f"{folder}/models.txt", "w") as f:
        f.write(text)
    print(f"models.txt  tools/make_model_goldens.py  torch {torch.__version__}  transformers {transformers.__version__}"
          f"  sha256 {hashlib.sha256(text.encode()).hexdigest()}")


main()
