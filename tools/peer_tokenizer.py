#!/usr/bin/env python3
"""Compares eqat's tokenizer with Hugging Face `tokenizers`: ids (with and without special tokens),
decoded text, speed. Prints one line per tokenizer; exit 1 on any difference.

usage: peer_tokenizer.py [--shared ../shared] [--tool build/tokenize] [--only NAME]... [--docs N]
                         [--seed N] [--no-files] [--files] [--no-variants] [--models] [--golden FILE]

  texts: every file of SHARED/text (.jsonl: each text field), the vectors, and N adversarial documents
  tokenizers: SHARED/tokenizers, SHARED/models, Llama-3 made by make_llama3_tokenizer.py, and
  variants of them that reach every other feature (on documents, with --files on the texts too); --models:
  sentencepiece models trained here, and models without tokenizer.json (needs transformers, sentencepiece,
  tiktoken); --golden writes tests/golden/tokenizer.txt
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

import peer_tokenizer_variants as variants  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def open_peer(path):
    if os.path.exists(os.path.join(path, "tokenizer.json")):
        return Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    t = Tokenizer(models.BPE.from_file(os.path.join(path, "vocab.json"), os.path.join(path, "merges.txt")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|endoftext|>"])
    return t


def texts_of(shared):
    """{name: [document as bytes, ...]}"""
    out = {}
    for path in sorted(glob.glob(os.path.join(shared, "text", "*", "*"))):
        name = os.path.relpath(path, os.path.join(shared, "text"))
        data = open(path, "rb").read()
        if path.endswith(".jsonl"):
            out[name] = [json.loads(line)["text"].encode() for line in data.splitlines() if line]
        out[name + " (bytes)" if path.endswith(".jsonl") else name] = [data]
    for path in sorted(glob.glob(os.path.join(shared, "tokenizers", "vectors", "*.inp"))):
        items = open(path, "rb").read().split(b"\n__ggml_vocab_test__\n")
        out[os.path.basename(path)] = items
    return out


def ours(tool, path, docs, *flags):
    data = b"".join(b"%d\n%s" % (len(d), d) for d in docs)
    p = subprocess.run([tool, "-l", *flags, path], input=data, capture_output=True)
    if p.returncode:
        sys.exit(f"{path}: {p.stderr.decode()}")
    return p.stdout


def our_ids(tool, path, docs, special, *flags):
    raw = memoryview(ours(tool, path, docs, "-b", *(["-s"] if special else []), *flags)).cast("i")
    out, at = [], 0
    while at < len(raw):
        out.append(raw[at + 1:at + 1 + raw[at]].tolist())
        at += 1 + raw[at]
    return out


def our_text(tool, path, docs, skip):
    raw = ours(tool, path, docs, "-d", "-s", *(["-k"] if skip else []))
    out, at = [], 0
    while at < len(raw):
        nl = raw.index(b"\n", at)
        n = int(raw[at:nl])
        out.append(raw[nl + 1:nl + 1 + n].decode())
        at = nl + 1 + n
    return out


def compare(tool, path, peer, docs, label, fails):
    """Returns (ids compared, seconds of the peer's encoding)."""
    text = [d.decode("utf-8", "replace") for d in docs]
    t0 = time.process_time()
    plain = [peer.encode_batch_fast([t], add_special_tokens=False)[0] for t in text]
    spent = time.process_time() - t0
    total = 0
    for special in (False, True):
        mine = our_ids(tool, path, docs, special)
        for i in range(len(text)):
            want = (peer.post_process(plain[i]) if special else plain[i]).ids
            total += len(want)
            if i >= len(mine) or mine[i] != want:
                fails.append((label, "ids", special, docs[i][:200], want[:40], mine[i][:40]))
        if special:
            # in parts, as texts longer than memory come
            whole = [t.encode() for t in text]
            for size in (7, 4096):
                parts = our_ids(tool, path, whole, True, "-p", str(size))
                for i in range(len(text)):
                    if parts[i] != mine[i]:
                        fails.append((label, "parts", size, docs[i][:200], mine[i][:40], parts[i][:40]))
            for skip in (False, True):
                back = our_text(tool, path, docs, skip)
                for i in range(len(text)):
                    want = peer.decode(mine[i], skip_special_tokens=skip)
                    if back[i] != want:
                        fails.append((label, "decode", skip, docs[i][:200], want[:120], back[i][:120]))
    return total, spent


def rate(tool, path, docs):
    with tempfile.NamedTemporaryFile() as f:
        f.write(docs[0])
        f.flush()
        p = subprocess.run([tool, "-r", "3", path, f.name], capture_output=True, text=True)
    return float(p.stderr.split()[0])


def golden(path, found, texts):
    """A line for each (tokenizer, file): ids of the first LIMIT bytes, special tokens on."""
    limit = 200000
    files = ["wikitext2/wiki.valid.raw", "web/web.txt", "web/encyclopedia.txt", "novels/val.txt",
             "tinystories/train.jsonl (bytes)"]
    with open(path, "w") as f:
        f.write("# Written by tools/peer_tokenizer.py --golden: ids by Hugging Face `tokenizers` of the\n"
                f"# first {limit} bytes of files of ../shared/text (UTF-8 errors replaced), special tokens on.\n"
                "# tokenizer file bytes count crc32-of-little-endian-int32-ids\n")
        for name, where in found:
            peer = open_peer(where)
            for file in files:
                data = texts[file][0][:limit]
                ids = peer.encode_batch_fast([data.decode("utf-8", "replace")])[0].ids
                crc = zlib.crc32(b"".join(i.to_bytes(4, "little") for i in ids))
                f.write(f"{name} text/{file.split()[0]} {len(data)} {len(ids)} {crc:08x}\n")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shared", default="../shared")
    a.add_argument("--tool", default="build/tokenize")
    a.add_argument("--only", action="append", default=[])
    a.add_argument("--docs", type=int, default=3000)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--no-files", action="store_true")
    a.add_argument("--files", action="store_true")
    a.add_argument("--no-variants", action="store_true")
    a.add_argument("--models", action="store_true")
    a.add_argument("--golden")
    a = a.parse_args()

    def wanted(name):
        return not a.only or any(part in name for part in a.only)

    tmp = tempfile.TemporaryDirectory()
    llama3 = os.path.join(tmp.name, "llama3")
    subprocess.run([sys.executable, os.path.join(HERE, "make_llama3_tokenizer.py"),
                    os.path.join(a.shared, "tokenizers/llama3/tokenizer.model"),
                    os.path.join(llama3, "tokenizer.json")], check=True, stdout=subprocess.DEVNULL)
    found = []
    for d in sorted(glob.glob(os.path.join(a.shared, "tokenizers", "*")) +
                    glob.glob(os.path.join(a.shared, "models", "*"))):
        if os.path.exists(os.path.join(d, "tokenizer.json")) or os.path.exists(os.path.join(d, "merges.txt")):
            found.append((os.path.relpath(d, a.shared), d))
    texts = texts_of(a.shared)
    if a.golden:
        golden(a.golden, found, texts)
        return 0
    found.append(("llama3 (made)", llama3))
    made = [] if a.no_variants or a.models else variants.write(dict(found), tmp.name, wanted)
    failed = 0
    jobs = [(name, path, None) for name, path in found + made]
    if a.models:
        from peer_tokenizer_models import models
        jobs = list(models(a.shared, tmp.name))
    for name, path, peer in jobs:
        if not wanted(name):
            continue
        peer = peer or open_peer(path)
        fails, ids, count, size, spent = [], 0, 0, 0, 0.0
        use = {} if a.no_files or ((name, path) in made and not a.files) else dict(texts)
        use["adversarial"] = variants.documents(random.Random(a.seed), a.docs, peer)
        for label, docs in use.items():
            n, s = compare(a.tool, path, peer, docs, label, fails)
            ids, count, spent = ids + n, count + len(docs), spent + s
            size += sum(map(len, docs))
        speed = ""
        if "web/web.txt" in use:
            mine, hf = rate(a.tool, path, use["web/web.txt"]), size / 1e6 / spent
            speed = f", {mine:.1f} MB/s (web.txt) against {hf:.2f} (all texts), {mine / hf:.0f}x"
        print(f"{name}: {count} texts, {size / 1e6:.1f} MB, {ids} ids with and without special tokens, {len(fails)} differences{speed}",
              flush=True)
        for f in fails[:5]:
            print("   ", *map(repr, f), flush=True)
        failed += len(fails)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
