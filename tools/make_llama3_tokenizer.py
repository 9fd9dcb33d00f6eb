#!/usr/bin/env python3
"""Makes a Hugging Face tokenizer.json of Llama-3's kind from tiktoken ranks, for tests.

usage: make_llama3_tokenizer.py TOKENIZER.MODEL [OUT/tokenizer.json]   (build/llama3/tokenizer.json)

A line of the ranks is "base64 rank". Every way to cut a token in two known tokens is a merge; those
of one token are ordered by their parts' ranks.
"""
import base64
import json
import os
import sys

REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
           "finetune_right_pad_id", "reserved_special_token_2", "start_header_id", "end_header_id",
           "eom_id", "eot_id", "python_tag"]


def byte_chars():
    own = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def main(path, out):
    char = byte_chars()
    ranks = {}
    for line in open(path, "rb"):
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)

    def name(token):
        return "".join(char[b] for b in token)

    merges = []
    for token in sorted(ranks, key=ranks.get):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        cuts = [c for c in cuts if c[0] in ranks and c[1] in ranks]
        merges += [[name(a), name(b)] for a, b in sorted(cuts, key=lambda c: (ranks[c[0]], ranks[c[1]]))]
    names = SPECIAL + [f"reserved_special_token_{i}" for i in range(3, 3 + 256 - len(SPECIAL))]
    first = len(ranks)
    added = [{"id": first + i, "content": f"<|{n}|>", "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": True} for i, n in enumerate(names)]
    bos = added[0]["content"]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    single = [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = single + [{"SpecialToken": {"id": bos, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False},
            level]},
        "post_processor": {"type": "Sequence", "processors": [
            dict(level, use_regex=True),
            {"type": "TemplateProcessing", "single": single, "pair": pair,
             "special_tokens": {bos: {"id": bos, "ids": [first], "tokens": [bos]}}}]},
        "decoder": dict(level, add_prefix_space=True, use_regex=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": True, "vocab": {name(t): r for t, r in ranks.items()},
                  "merges": merges},
    }
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    with open(out, "w", encoding="utf-8") as f:
        json.dump(spec, f, ensure_ascii=False)
    print(f"{out}: {len(ranks)} tokens, {len(merges)} merges, {len(added)} special tokens")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "build/llama3/tokenizer.json")
