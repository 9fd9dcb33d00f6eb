#!/usr/bin/env python3
"""Instruction rows beside transformers: ids and labels of the first rows of a file.

usage: tools/peer_instruct.py BUILD MODEL FILE [--limit 64] [--template NAME.jinja] [--turns] [--all] [--length N]
       tools/peer_instruct.py --golden tests/golden/instruct.json MODEL

Alpaca rows by the prompts of the paper's source (METHOD section 4): source and target encoded without specials, BOS in
front of the one where the tokenizer itself puts one, EOS behind the other, each cut to its limit. Chats by
apply_chat_template; the assistant's part of a text is found by rendering the conversation up to each of its turns; white
space behind what ends a turn is not learned. The second form writes the golden of tests/test_instruct.c. Needs transformers.
"""
import argparse
import json
import subprocess
import sys

WITH = ("Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}"
        "\n\n### Response: ")
WITHOUT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request."
           "\n\n### Instruction:\n{instruction}\n\n### Response: ")
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def turns_of(row):
    turns = row.get("messages") or row.get("conversations")
    if turns:
        return [{"role": ROLES[t.get("from") or t["role"]], "content": t.get("value") or t["content"]} for t in turns]
    prompt = row["instruction"] + ("\n\n" + row["input"] if row.get("input") else "")
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": row["output"]}]


def alpaca(tok, row, a):
    prompt = (WITH if row.get("input") else WITHOUT).format(**{"input": "", **row})
    first = tok("").input_ids
    bos = tok.bos_token if first and tok.bos_token_id == first[0] else ""
    source = tok(bos + prompt, add_special_tokens=False).input_ids[:384]
    target = tok(row["output"] + tok.eos_token, add_special_tokens=False).input_ids[:128]
    return source + target, [int(a.all)] * len(source) + [1] * len(target)


def chat(tok, turns, a):
    render = lambda m, prompt: tok.apply_chat_template(m, tokenize=False, add_generation_prompt=prompt)
    text = render(turns, False)
    spans = []
    for i, t in enumerate(turns):
        if t["role"] == "assistant":
            before = render(turns[:i], True)
            behind = render(turns[: i + 1], False)
            common = len(before)
            while text[:common] != before[:common]:
                common -= 1
            end = len(behind)
            while text[:end] != behind[:end]:
                end -= 1
            spans.append((common, len(text[:end].rstrip())))
    e = tok(text, add_special_tokens=False, return_offsets_mapping=True)
    learn = [int(a.all or any(f < hi and t > lo for lo, hi in spans)) for f, t in e.offset_mapping]
    return e.input_ids, learn


def peer(tok, rows, a):
    for row in rows:
        if "instruction" in row and not row["output"].strip():
            continue
        ids, learn = (alpaca(tok, row, a) if "instruction" in row and not a.turns else chat(tok, turns_of(row), a))
        ids, learn = ids[: a.length], learn[: a.length]
        if any(learn[1:]):
            yield ids, learn


def load(a):
    from transformers import PreTrainedTokenizerFast  # tokenizer.json as it is
    tok = PreTrainedTokenizerFast.from_pretrained(a.model)
    if a.template:
        tok.chat_template = open(a.template, encoding="utf-8").read()
    return tok


def compare(a):
    tok, rows = load(a), json.load(open(a.file, encoding="utf-8"))
    ours = subprocess.run([f"{a.build}/instruct-ids", a.model, a.file, str(a.limit), a.template or "-",
                           "turns" if a.turns else "rows", "all" if a.all else "answer", str(a.length)],
                          check=True, capture_output=True, text=True).stdout.splitlines()
    bad = n = ids = learned = 0
    for line, (want, learn) in zip(ours, peer(tok, rows, a)):
        got = json.loads(line)
        n, ids, learned = n + 1, ids + len(want), learned + sum(learn)
        if got["ids"] != want or got["learn"] != learn:
            bad += 1
            at = next((i for i, (x, y) in enumerate(zip(zip(got["ids"], got["learn"]), zip(want, learn))) if x != y), -1)
            print(f"row {n}: differs at {at} of {len(want)} (ours {len(got['ids'])})")
    print(f"{n} rows, {ids} ids, {learned} learned: {bad} differ")
    return 1 if bad or n < min(a.limit, 1) else 0


ROWS = [
    {"instruction": "Say it twice.", "input": "Once upon a time", "output": "Once upon a time, once upon a time."},
    {"instruction": "Tell a story\nof a dog.", "input": "", "output": "There was a dog. He was happy."},
    {"instruction": "Count. " * 200, "output": "One two three. " * 60},
    {"messages": [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Who are you?"},
                  {"role": "assistant", "content": "A friend."}, {"role": "user", "content": " And now? "},
                  {"role": "assistant", "content": "Still a friend,\n\u00e9\u4e2d."}]},
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hello to you"}]},
]
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
          "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def golden(a):
    tok = load(a)
    tok.chat_template = CHATML
    if tok.eos_token is None:
        tok.eos_token = "<|endoftext|>"
    rows = []
    for turns, everything in ((False, False), (True, False), (False, True)):
        a.turns, a.all = turns, everything
        rows += [{"turns": turns, "all": everything, "row": r, "ids": i, "learn": l}
                 for r in ROWS for i, l in peer(tok, [r], a)]
    with open(a.golden, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")
    return 0


p = argparse.ArgumentParser(usage=__doc__)
p.add_argument("args", nargs="+")
p.add_argument("--golden")
p.add_argument("--limit", type=int, default=64)
p.add_argument("--template")
p.add_argument("--turns", action="store_true")
p.add_argument("--all", action="store_true")
p.add_argument("--length", type=int, default=1000000)
a = p.parse_args()
if a.golden:
    (a.model,) = a.args
    sys.exit(golden(a))
a.build, a.model, a.file = a.args
sys.exit(compare(a))
