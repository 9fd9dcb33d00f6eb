#!/usr/bin/env python3
"""Sets a GGUF file of `eqat export` beside the checkpoint it was made from, through llama.cpp:

1. it loads, with check_tensors;
2. llama.cpp's own dequantization of every linear equals the GPTQ tensors' products bit for bit;
3. token ids of texts equal those of build/tokenize;
4. perplexity over windows of these ids is within 1 % of `eqat ppl --as-written`;
5. it generates.

usage: tools/check_llama.py MODEL.gguf CHECKPOINT [TEXT ...]
needs numpy, safetensors and one of xllamacpp, llama-cpp-python (whose shared library is called through
ctypes; LLAMA_LIB=PATH names another). SEQLEN (256), WINDOWS (8), TEXT_BYTES (200000) of the environment."""
import ctypes as C
import glob
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open

from llama_lib import L, llama_load, quiet

T, WINDOWS, BYTES = (int(os.environ.get(k, d)) for k, d in (("SEQLEN", 256), ("WINDOWS", 8), ("TEXT_BYTES", 200000)))
BUILD = os.environ.get("BUILD", "build")


def gguf_tensors(path):
    """Names, types, shapes and places of the tensors: the format's own definition in a few lines."""
    f = open(path, "rb")
    read = lambda fmt: struct.unpack("<" + fmt, f.read(struct.calcsize("<" + fmt)))
    text = lambda: f.read(read("Q")[0]).decode()
    sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]

    def skip(kind):
        if kind == 8:
            f.seek(read("Q")[0], 1)
        elif kind == 9:
            kind, n = read("IQ")
            if kind == 8:
                for _ in range(n):
                    skip(8)
            else:
                f.seek(n * sizes[kind], 1)
        else:
            f.seek(sizes[kind], 1)

    _, _, n_tensors, n_keys = read("4sIQQ")
    for _ in range(n_keys):
        text()
        skip(read("I")[0])
    out = {}
    for _ in range(n_tensors):
        name, (ndim,) = text(), read("I")
        dims = read("Q" * ndim)
        out[name] = (dims, *read("IQ"))
    start = (f.tell() + 31) // 32 * 32
    return {k: (d, t, start + o) for k, (d, t, o) in out.items()}


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


# Families whose files join linears: phi3 is joined in GGUF too, internlm2 is not.
JOINED = {"phi3": {"self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"},
          "internlm2": {"attention.wqkv": "attn_q attn_k attn_v", "attention.wo": "attn_output", "feed_forward.w1": "ffn_gate",
                        "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down"}}


def parted(names, want, kv_heads, head):
    """The linears of a joined tensor, which internlm2 has key head by key head: its queries, itself, its values."""
    if " " not in names:
        return [(names, want)]
    by_head = want.reshape(kv_heads, -1, head, want.shape[1])
    parts = by_head[:, :-2], by_head[:, -2:-1], by_head[:, -1:]
    return [(n, p.reshape(-1, want.shape[1])) for n, p in zip(names.split(), parts)]


def unpack(words, bits):
    """[n, words] -> [n, values] of little-endian streams."""
    b = (words.view(np.uint32)[..., None] >> np.arange(32, dtype=np.uint32)) & 1
    b = b.reshape(words.shape[0], -1, bits)
    return (b << np.arange(bits, dtype=np.uint32)).sum(-1).astype(np.int32)


def check_weights(path, folder):
    config = json.load(open(f"{folder}/config.json"))
    bits = config["quantization_config"]["bits"]
    st, data, infos = {}, np.memmap(path, np.uint8, "r"), gguf_tensors(path)
    for f in glob.glob(f"{folder}/*.safetensors"):
        with safe_open(f, "numpy") as all_of_it:
            parts = ("qweight", "qzeros", "scales")
            st.update({k: all_of_it.get_tensor(k) for k in all_of_it.keys() if k.endswith(parts)})
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config.get("num_key_value_heads", config["num_attention_heads"])}
    head = config.get("head_dim") or config["hidden_size"] // heads["attn_q"]
    compared, types, family = 0, {}, config["model_type"]

    def compare(layer, gg, want):
        nonlocal compared
        if gg in heads and family in ("llama", "mistral", "internlm2"):
            want = want.reshape(heads[gg], 2, -1, want.shape[1]).swapaxes(1, 2).reshape(want.shape)
        dims, number, at = infos[f"blk.{layer}.{gg}.weight"]
        assert dims == want.shape[::-1], (gg, dims)
        t = L.ggml_get_type_traits(number).contents
        raw = np.ascontiguousarray(data[at : at + want.size // t.block * t.bytes])
        got = np.empty(want.size, np.float32)
        if number == 0:
            got = raw.view(np.float32)
        else:
            t.to_float(raw.ctypes.data, got.ctypes.data, want.size)
        differ = int((got != want.ravel()).sum())
        assert differ == 0, f"blk.{layer}.{gg}: {differ} of {want.size} weights differ"
        compared += want.size
        types[t.name.decode()] = types.get(t.name.decode(), 0) + 1

    for layer in range(config["num_hidden_layers"]):
        for hf, names in JOINED.get(family, NAMES).items():
            p = f"model.layers.{layer}.{hf}."
            q = unpack(np.ascontiguousarray(st[p + "qweight"].T), bits)
            z = unpack(st[p + "qzeros"], bits).T
            s = st[p + "scales"].astype(np.float32).T
            group = q.shape[1] // s.shape[1]
            want = (q - np.repeat(z, group, 1)).astype(np.float32) * np.repeat(s, group, 1)
            for gg, part in parted(names, want, heads["attn_k"], head):
                compare(layer, gg, part)
    print(f"weights: {compared} of {sum(types.values())} linears ({types}) equal the checkpoint's bit for bit")


def load(path):
    model, ctx = llama_load(path, max(T, 64), 2, check=True)
    print("loaded with check_tensors")
    return model, ctx


def tokenize(vocab, text):
    out = (C.c_int32 * (len(text) + 16))()
    n = L.llama_tokenize(C.c_void_p(vocab), text, len(text), out, len(out), True, False)
    assert n >= 0
    return list(out[:n])


def tokens_of_eqat(folder, text):
    with tempfile.NamedTemporaryFile() as f:
        f.write(text), f.flush()
        raw = subprocess.run([f"{BUILD}/tokenize", "-sb", folder, f.name], check=True, capture_output=True).stdout
    return list(np.frombuffer(raw, np.int32)[1:])


def without_unknown(folder, lines):
    """Lines of characters that the vocabulary has: on others llama.cpp stops where byte tokens lack."""
    known = json.load(open(f"{folder}/tokenizer.json"))["model"]["vocab"]
    if "<0x41>" in known or "\u2581" not in known:
        return lines
    kept = [line for line in lines if all(c == " " or c in known for c in line)]
    print(f"no byte tokens: {len(lines) - len(kept)} of {len(lines)} lines have characters beside the vocabulary and are left out")
    return kept


def check_tokens(vocab, folder, files):
    ids = None
    for file in files:
        text = open(file, "rb").read(BYTES)
        lines = (text[: text.rfind(b"\n") + 1] or text).decode().split("\n")
        if file.endswith(".jsonl"):
            lines = "\n".join(json.loads(line)["text"] for line in lines if line).split("\n")
        text = "\n".join(without_unknown(folder, lines)).encode()
        a, b = tokenize(vocab, text), tokens_of_eqat(folder, text)
        first = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
        same = a == b
        print(f"tokens of {file}: {'the same' if same else 'DIFFERENT'} {len(a)}, {len(b)}" + ("" if same else f", from {first} on: {a[first - 2:first + 6]} {b[first - 2:first + 6]}"))
        ids = ids if ids and len(ids) >= T * WINDOWS else b
    return ids


def decode(ctx, ids, vocab_size):
    """Logits of every position."""
    L.llama_memory_clear(C.c_void_p(L.llama_get_memory(C.c_void_p(ctx))), True)
    b = L.llama_batch_init(len(ids), 0, 1)
    for i, t in enumerate(ids):
        b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(t), i, 1, 1
        b.seq_id[i][0] = 0
    b.n_tokens = len(ids)
    assert L.llama_decode(ctx, b) == 0
    out = np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(C.c_void_p(ctx), i), (vocab_size,)).copy() for i in range(len(ids))])
    L.llama_batch_free(b)
    return out


def check_perplexity(ctx, folder, ids, vocab_size):
    windows = min(WINDOWS, len(ids) // T)
    if not windows:
        return
    rows = np.array(ids[: windows * T], np.int32).reshape(windows, T)
    with tempfile.TemporaryDirectory() as d:
        np.save(f"{d}/w.npy", rows)
        run = subprocess.run([f"{BUILD}/eqat", "ppl", folder, "--data", f"{d}/w.npy", "--as-written", "--precision", "f32", "--json", "-q"],
                             check=True, capture_output=True, text=True).stdout
    ours, means = json.loads(run)["ppl"], []
    for row in rows:
        x = decode(ctx, row, vocab_size).astype(np.float64)
        x -= x.max(-1, keepdims=True)
        means.append((np.log(np.exp(x[:-1]).sum(-1)) - x[np.arange(T - 1), row[1:]]).mean())
    theirs = math.exp(np.mean(means))
    print(f"perplexity over {windows} windows of {T}: llama.cpp {theirs:.4f}, eqat {ours:.4f}, ratio {theirs / ours:.5f}"
          + ("" if abs(theirs / ours - 1) < 0.01 else "  NOT WITHIN 1 %"))


def generate(model, ctx, vocab, ids, vocab_size):
    row, text = [int(t) for t in ids[:12]], b""
    for _ in range(12):
        row.append(int(decode(ctx, row, vocab_size)[-1].argmax()))
    for t in row:
        buf = C.create_string_buffer(64)
        n = L.llama_token_to_piece(C.c_void_p(vocab), t, buf, 64, 0, True)
        text += buf.raw[: max(n, 0)]
    print("generates:", text.decode("utf-8", "replace")[:200])


path, folder, files = sys.argv[1], sys.argv[2], sys.argv[3:]
if "VERBOSE" not in os.environ:
    quiet()
check_weights(path, folder)
model, ctx = load(path)
vocab = L.llama_model_get_vocab(C.c_void_p(model))
size = L.llama_vocab_n_tokens(C.c_void_p(vocab))
ids = check_tokens(vocab, folder, files)
if ids:
    check_perplexity(ctx, folder, ids, size)
    generate(model, ctx, vocab, ids, size)
