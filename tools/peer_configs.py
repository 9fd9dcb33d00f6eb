#!/usr/bin/env python3
"""Random single changes of config.json, every family that transformers has, read by transformers and by eqat:
either may refuse a change; what both read must have the same loss. Prints each difference and the counts.

usage: tools/peer_configs.py [--count 500] [--seed 0] [--family NAME] [--verbose]   (EQAT=build/eqat)
needs torch, transformers, numpy; half a second a change"""
import argparse
import collections
import json
import math
import os
import random
import subprocess
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
import transformers

T, V = 32, 60
SHAPE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16, vocab_size=V, max_position_embeddings=48, tie_word_embeddings=False, bos_token_id=1,
             eos_token_id=2, pad_token_id=0)
MIX = ["sliding_attention", "full_attention", "sliding_attention"]
YARN = dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16)
FAMILIES = {
    "llama": {}, "mistral": dict(sliding_window=8), "qwen2": {}, "qwen3": {},
    "gemma": {},
    "gemma2": dict(sliding_window=8, query_pre_attn_scalar=20, attn_logit_softcapping=3.0,
                   final_logit_softcapping=4.0, layer_types=MIX),
    "gemma3_text": dict(sliding_window=8, query_pre_attn_scalar=20, layer_types=MIX),
    "phi3": dict(sliding_window=9), "smollm3": {},
    "granite": dict(embedding_multiplier=3.0, residual_multiplier=0.3, attention_multiplier=0.3, logits_scaling=2.0),
    "olmo2": {}, "olmo3": dict(sliding_window=8, layer_types=MIX), "stablelm": {},
    "ministral": dict(sliding_window=8, layer_types=MIX),
    "ministral3": dict(rope_parameters=dict(YARN, llama_4_scaling_beta=0.2)),
}
DROP = object()
LONG = dict(rope_type="longrope", factor=3.0, original_max_position_embeddings=16,
            short_factor=[1.0 + i / 8 for i in range(8)], long_factor=[1.0 + i for i in range(8)])
L3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
          original_max_position_embeddings=16)
ROPES = [None, {}, {"type": "default"}, {"rope_type": "default", "rope_theta": 300.0}, {"factor": 2.0},
         {"type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 3}, {"type": "linear"}, L3,
         {"type": "dynamic", "factor": 2.0}, YARN, dict(YARN, type="yarn"), dict(YARN, mscale=0.7, mscale_all_dim=0.5),
         dict(YARN, truncate=False), dict(YARN, beta_fast=16, beta_slow=2), dict(YARN, attention_factor=1.3), LONG,
         {"type": "su", **{k: v for k, v in LONG.items() if k != "rope_type"}}, dict(LONG, attention_factor=1.1),
         dict(LONG, long_factor=[1.0] * 7), {"rope_type": "default", "partial_rotary_factor": 0.5},
         {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 900.0},
          "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}},
         {"full_attention": YARN, "sliding_attention": {"rope_type": "default"}},
         {"full_attention": {"rope_type": "default"}}, {"rope_type": "3d"}, dict(YARN, llama_4_scaling_beta=0.1)]
VALUES = dict(
    rope_scaling=ROPES, rope_parameters=ROPES, rope_theta=[300.0, 10000, None, DROP, 0, "500", 1e6],
    rope_local_base_freq=[50.0, 10000.0], partial_rotary_factor=[1.0, 0.5, 0.25, 0.75, 0.3, None],
    original_max_position_embeddings=[16, 32, 4096], max_position_embeddings=[16, 24, 64, DROP, None],
    sliding_window=[None, 1, 4, 8, 31, 32, 100, 0, DROP], use_sliding_window=[True, False, None],
    max_window_layers=[0, 1, 2, 3, 28], layer_types=[None, MIX, MIX[::-1], ["full_attention"] * 3,
                                                     ["sliding_attention"] * 3, ["chunked_attention"] * 3, []],
    sliding_window_pattern=[1, 2, 3, 6], no_rope_layers=[[1, 1, 1], [0, 1, 0], [1, 0], None], no_rope_layer_interval=[
        1, 2, 3], rms_norm_eps=[1e-2, 1e-5, 0.0, None, DROP, "1e-5"], layer_norm_eps=[1e-2, DROP],
    hidden_act=["silu", "swish", "gelu", "gelu_pytorch_tanh", "relu", None, DROP],
    hidden_activation=["gelu_pytorch_tanh", "silu", "gelu", None, DROP],
    attention_bias=[True, False, None], mlp_bias=[True, False, None], use_qkv_bias=[True], bias=[True],
    qk_layernorm=[True], use_parallel_residual=[True], query_pre_attn_scalar=[16, 64, 7.5, DROP],
    attn_logit_softcapping=[None, 1.0, 50.0, DROP], final_logit_softcapping=[None, 1.0, 30.0, DROP],
    use_bidirectional_attention=[False, True, None], embedding_multiplier=[1.0, 7, DROP],
    residual_multiplier=[1.0, 0.5, DROP], attention_multiplier=[0.125, DROP], logits_scaling=[1.0, 8, DROP],
    logit_scale=[2.0], head_dim=[8, 16, 32, None, DROP], num_key_value_heads=[1, 2, 4, None, DROP, 3],
    num_attention_heads=[2, 4, 8], num_hidden_layers=[1, 2, 3, 4], hidden_size=[32, 64, 128],
    intermediate_size=[64, 96, DROP], vocab_size=[V, V + 1], tie_word_embeddings=[True, False, None, DROP],
    dtype=["float32", "float16", None, DROP], torch_dtype=["bfloat16"], eos_token_id=[[1, 2], None],
    pretraining_tp=[2], attention_dropout=[0.1], resid_pdrop=[0.1], hidden_dropout=[0.1], is_causal=[False],
    rope_interleaved=[True], use_cache=[False], is_decoder=[True], quantization_config=[None, {}],
    architectures=[None, [], ["LlamaModel"], DROP], transformers_version=["4.0.0"], auto_map=[{"AutoModel": "a--b"}],
    lm_head_bias=[False, True], full_attn_mod=[1, 2], qk_norm=[True], scale_emb=[12])


def make(family, where):
    config = transformers.AutoConfig.for_model(family, **{**SHAPE, **FAMILIES[family]})
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.2 if p.ndim > 1 else 0.2) + (1 if "norm" in name and not
                                                                          family.startswith("gemma") else 0))
    model.save_pretrained(where)
    return json.load(open(where + "/config.json"))


def by_peer(where, ids):
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            where, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
        if any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")):
            return None
        with torch.no_grad():
            each = [torch.nn.functional.cross_entropy(model(x[None]).logits[0, :-1].double(), x[1:]).item() for x in ids]
        return sum(each) / len(each)
    except Exception:
        return None


def by_eqat(program, where, npy, *more):
    r = subprocess.run([program, "ppl", where, "--data", npy, "--seqlen", str(T), "--precision", "f32", "--json", "-q",
                        *more], capture_output=True, text=True)
    return (json.loads(r.stdout)["nll"], "") if r.returncode == 0 else (None, r.stderr.strip())


def changes(rng, count, base):
    """Three in four of keys that the family's own config.json has, or of rope and windows."""
    for _ in range(count):
        family = rng.choice(list(base))
        own = [k for k in VALUES if k in base[family] or "rope" in k or "window" in k or "rotary" in k]
        key = rng.choice(own if rng.random() < 0.75 else list(VALUES))
        yield family, key, rng.choice(VALUES[key])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--count", type=int, default=500)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--family")
    p.add_argument("--verbose", action="store_true")
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    program, rng = os.environ.get("EQAT", "build/eqat"), random.Random(a.seed)
    count = collections.Counter()
    with tempfile.TemporaryDirectory() as tmp:
        ids = torch.from_numpy(np.random.default_rng(a.seed).integers(3, V, (2, T)).astype(np.int32)).long()
        np.save(tmp + "/ids.npy", ids.numpy().astype(np.int32))
        families = [a.family] if a.family else list(FAMILIES)
        base = {f: make(f, f"{tmp}/{f}") for f in families}
        todo = [(f, None, DROP) for f in families] + list(changes(rng, a.count, base))
        for family, key, value in todo:
            where, c = f"{tmp}/{family}", dict(base[family])
            c.pop(key, None)
            if value is not DROP:
                c[key] = value
            json.dump(c, open(where + "/config.json", "w"))
            want, (got, why) = by_peer(where, ids), by_eqat(program, where, tmp + "/ids.npy")
            same = want is not None and got is not None and abs(got - want) <= 1e-5 * want
            kind = ("same" if same else "both refuse" if want is None and got is None else "only eqat reads"
                    if want is None else "only transformers reads" if got is None else "DIFFER")
            count[kind] += 1
            if kind == "DIFFER" or (a.verbose and kind != "same") or (key is None and kind != "same"):
                print(kind, family, key, "left out" if value is DROP else value, want, got, why[-160:], flush=True)
    print(dict(count))


if __name__ == "__main__":
    main()
