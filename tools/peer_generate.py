#!/usr/bin/env python3
"""Greedy text of `eqat generate --exact` beside that of transformers in fp32, token for token.

usage: tools/peer_generate.py MODEL [QUANTIZED] [--tokens 200] [--build build]

MODEL is a full-precision folder; QUANTIZED, a folder that eqat wrote from it, is read by
transformers as full-precision weights (build/dequantize), by eqat as it is. Needs torch and
transformers. Exit 1 where a text differs; a model that ends its text before has ended it in both.
"""
import argparse
import json
import subprocess
import sys
import tempfile

PROMPTS = ["Once upon a time", "The capital of France is", "1, 2, 3, 4,", "She looked at the sea and"]


def ours(eqat, folder, prompt, n):
    cmd = [eqat, "generate", folder, "--prompt", prompt, "--max-tokens", str(n), "--exact", "--json"]
    return json.loads(subprocess.run(cmd, check=True, stdout=subprocess.PIPE).stdout)


def theirs(folder, tokenizer_folder, prompts, n):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tok = AutoTokenizer.from_pretrained(tokenizer_folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt in prompts:
        ids = tok(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, max_new_tokens=n, do_sample=False, repetition_penalty=1.0,
                                 attention_mask=torch.ones_like(ids), pad_token_id=0)
        new = out[0, ids.shape[1]:].tolist()
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        if new and new[-1] in ends:
            new = new[:-1]
        # Some folders call tokens special outside of tokenizer.json, which is what eqat goes by.
        texts = [tok.decode(ids[0].tolist() + new, skip_special_tokens=skip,
                            clean_up_tokenization_spaces=False) for skip in (True, False)]
        yield prompt, texts, len(new)


def compare(eqat, name, folder, full, tokenizer_folder, n):
    bad = 0
    for prompt, texts, count in theirs(full, tokenizer_folder, PROMPTS, n):
        r = ours(eqat, folder, prompt, n)
        same = r["text"] in texts and r["tokens"] == count
        bad += not same
        print(f"{name}: {prompt!r}: {count} tokens: {'the same' if same else 'DIFFERENT'}")
        if not same:
            print(f"  transformers: {texts[0]!r}\n  eqat ({r['tokens']}): {r['text']!r}")
    return bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("quantized", nargs="?")
    p.add_argument("--tokens", type=int, default=200)
    p.add_argument("--build", default="build")
    a = p.parse_args()
    eqat = f"{a.build}/eqat"
    bad = compare(eqat, "full precision", a.model, a.model, a.model, a.tokens)
    if a.quantized:
        with tempfile.TemporaryDirectory() as full:
            subprocess.run([f"{a.build}/dequantize", a.quantized, f"{full}/m"], check=True)
            bad += compare(eqat, "quantized", a.quantized, f"{full}/m", a.model, a.tokens)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
