#!/usr/bin/env python3
"""Reading a prompt and generating, eqat beside llama.cpp: the same model, the same threads, in turns.

usage: tools/peer_speed.py MODEL WORK [--pairs w4g128:Q4_0,w4g128:Q4_K,w2g64:Q2_K] [--threads 2]
           [--prompt 512] [--tokens 64] [--rounds 5] [--processor-time] [--build build]

MODEL is a full-precision folder of the Llama family in bf16, or the name of a shape with random weights:
tinyllama-1.1b, smollm2-135m. WORK keeps the model, what eqat rounds of it (--method rtn) and GGUF files of
ggml's own quantizer (all linears in the one type, the head Q6_K where its rows allow that, else Q8_0), so
that a second call only measures. A round measures one side and then the other; a ratio is the median over
rounds of ours to theirs in one round, in brackets that of the fastest of all rounds. --processor-time
counts the seconds of processors instead, for a machine that others use, with --threads 1: where threads
wait for each other llama.cpp's count that time. A prompt is one batch; of what follows every token's
logits are fetched. Needs numpy and a llama.cpp (llama_lib.py)."""
import argparse
import ctypes as C
import glob
import json
import os
import statistics
import struct
import subprocess
import sys
import time

import numpy as np

from llama_lib import L, library, llama_load, quiet

SHAPES = {
    "tinyllama-1.1b": "--like tinyllama-1.1b --dtype bf16",
    "smollm2-135m": "--family llama --hidden 576 --inner 1536 --layers 30 --heads 9 --kv-heads 3 --head-dim 64 "
                    "--vocab 49152 --context 8192 --tied --dtype bf16",
}
TYPES = {"F32": 0, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q6_K": 14, "Q2_0": 42}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def tensors(folder):
    """Names and bf16 values as 16-bit words."""
    for path in sorted(glob.glob(f"{folder}/*.safetensors")):
        data = np.memmap(path, np.uint8, "r")
        n = int(data[:8].view(np.uint64)[0])
        for name, t in json.loads(bytes(data[8 : 8 + n])).items():
            if name == "__metadata__":
                continue
            assert t["dtype"] == "BF16", f"{path}: {name}: expected BF16, found {t['dtype']}"
            a, b = t["data_offsets"]
            yield name, data[8 + n + a : 8 + n + b].view(np.uint16).reshape(t["shape"])


def packed(x, kind):
    """Rows of bf16 words as ggml's blocks."""
    x = np.ascontiguousarray((x.astype(np.uint32) << 16).view(np.float32))
    if kind == 0:
        return x.tobytes()
    t = L.ggml_get_type_traits(kind).contents
    if x.shape[1] % t.block:
        sys.exit(f"{t.name.decode()} does not take rows of {x.shape[1]}")
    out = np.empty(x.size // t.block * t.bytes, np.uint8)
    L.ggml_quantize_chunk(kind, x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], None)
    return out.tobytes()


def write_gguf(folder, path, kind):
    """The model without a vocabulary; rows of q and k stay in Hugging Face's order, so it says nothing
    of sense, at the speed at which it would."""
    c = json.load(open(f"{folder}/config.json"))
    heads, tied = c["num_attention_heads"], c.get("tie_word_embeddings", False)
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    keys = [("general.architecture", "llama"), ("tokenizer.ggml.model", "no_vocab"), ("llama.vocab_size", c["vocab_size"]),
            ("llama.context_length", c["max_position_embeddings"]), ("llama.embedding_length", c["hidden_size"]),
            ("llama.block_count", c["num_hidden_layers"]), ("llama.feed_forward_length", c["intermediate_size"]),
            ("llama.attention.head_count", heads), ("llama.attention.head_count_kv", c.get("num_key_value_heads", heads)),
            ("llama.attention.layer_norm_rms_epsilon", float(c["rms_norm_eps"])),
            ("llama.rope.dimension_count", c.get("head_dim") or c["hidden_size"] // heads)]
    infos, data, n = b"", [], 0
    for name, x in tensors(folder):
        name, of = gguf_name(name), kind
        if x.ndim == 1:
            of = TYPES["F32"]
        elif name == "output.weight" or name == "token_embd.weight":
            head = tied or name == "output.weight"
            of = TYPES["Q6_K" if head and x.shape[1] % 256 == 0 else "Q8_0"]
        raw = packed(x, of)
        infos += text(name) + struct.pack(f"<I{x.ndim}QIQ", x.ndim, *x.shape[::-1], of, n)
        raw += bytes(-len(raw) % 32)
        data.append(raw)
        n += len(raw)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(data), len(keys))
    for name, v in keys:
        head += text(name) + {str: lambda: struct.pack("<I", 8) + text(v), int: lambda: struct.pack("<II", 4, v),
                              float: lambda: struct.pack("<If", 6, v)}[type(v)]()
    head += infos
    with open(path + ".part", "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for raw in data:
            f.write(raw)
    os.rename(path + ".part", path)


def make(path, how):
    if not os.path.exists(path):
        how(path)
    return path


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Ours:
    def __init__(self, a, folder):
        self.work, self.first = f"{a.prompt} {a.tokens}\n", 2 if a.processor_time else 0
        self.p = subprocess.Popen([f"{a.build}/session-time", folder, str(a.prompt + a.tokens), str(a.threads)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self):
        self.p.stdin.write(self.work)
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            sys.exit("session-time has ended")
        return [float(x) for x in line.split()][self.first : self.first + 2]

    def close(self):
        self.p.stdin.close()
        self.p.wait()


class Theirs:
    def __init__(self, a, path):
        self.prompt, self.tokens = a.prompt, a.tokens
        self.now = time.process_time if a.processor_time else time.perf_counter
        self.model, self.ctx = llama_load(path, a.prompt + a.tokens, a.threads)
        self.batch = L.llama_batch_init(a.prompt, 0, 1)
        self.ids = np.random.default_rng(7).integers(3, 30000, a.prompt + a.tokens)

    def decode(self, at, n):
        b = self.batch
        for i in range(n):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(self.ids[at + i]), at + i, 1, i == n - 1
            b.seq_id[i][0] = 0
        b.n_tokens = n
        assert L.llama_decode(self.ctx, b) == 0
        L.llama_get_logits_ith(C.c_void_p(self.ctx), -1)

    def measure(self):
        L.llama_memory_clear(C.c_void_p(L.llama_get_memory(C.c_void_p(self.ctx))), True)
        begin = self.now()
        self.decode(0, self.prompt)
        middle = self.now()
        for i in range(self.tokens):
            self.decode(self.prompt + i, 1)
        return [middle - begin, self.now() - middle]

    def close(self):
        L.llama_batch_free(self.batch)
        L.llama_free(self.ctx)
        L.llama_model_free(self.model)


def compare(a, scheme, kind, ours, theirs):
    seen = []
    for r in range(a.rounds + 1):
        pair = []
        for side in (ours, theirs):
            time.sleep(0.1)  # until the other's threads sleep
            pair.append(side.measure())
        if r:  # the first warms up
            seen.append(pair)
    for i, (name, n) in enumerate((("prompt", a.prompt), ("generation", a.tokens))):
        o, t = (max(n / pair[side][i] for pair in seen) for side in (0, 1))
        ratio = statistics.median(pair[1][i] / pair[0][i] for pair in seen)
        print(f"  {scheme} and {kind}, {name}: at best {o:.1f} and {t:.1f} tokens/s, ratio {ratio:.2f} ({o / t:.2f})",
              flush=True)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("model")
    p.add_argument("work")
    p.add_argument("--pairs", default="w4g128:Q4_0,w4g128:Q4_K,w2g64:Q2_K")
    for name, n in (("threads", 2), ("prompt", 512), ("tokens", 64), ("rounds", 5)):
        p.add_argument(f"--{name}", type=int, default=n)
    p.add_argument("--processor-time", action="store_true")
    p.add_argument("--build", default="build")
    a = p.parse_args()
    if "VERBOSE" not in os.environ:
        quiet()
    os.makedirs(a.work, exist_ok=True)
    model = a.model
    if model in SHAPES:
        model = make(f"{a.work}/model", lambda path: run(f"{a.build}/make-model", path, *SHAPES[a.model].split()))
    print(f"{a.model}, {a.threads} threads, prompt of {a.prompt}, {a.tokens} tokens behind it{', time of processors' if a.processor_time else ''}; {os.path.basename(library())}:"
          f" {L.llama_print_system_info().decode()}", flush=True)
    for scheme, kind in (pair.split(":") for pair in a.pairs.split(",")):
        folder = make(f"{a.work}/{scheme}", lambda path: run(
            f"{a.build}/eqat", "quantize", model, "--method", "rtn", "--no-e2e", "--scheme", scheme, "-q", "-o", path))
        file = make(f"{a.work}/{kind}.gguf", lambda path: write_gguf(model, path, TYPES[kind]))
        sides = Ours(a, folder), Theirs(a, file)
        compare(a, scheme, kind, *sides)
        for side in sides:
            side.close()


if __name__ == "__main__":
    main()
