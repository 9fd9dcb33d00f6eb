#!/usr/bin/env python3
"""Sets `eqat eval` beside lm-evaluation-harness and transformers on the same files: every prompt byte
for byte, every log-likelihood, every prediction, every accuracy.

usage: tools/peer_eval.py EQAT MODEL TASK_DATA [--tasks LIST] [--limit N] [--shots N]
           [--harness 0.4.9.2|0.4.2] [--prompts] [--golden FILE] [-- more options of eqat]

With - for EQAT only the harness runs, on piqa/valid.jsonl with labels in its rows, and says how long it
took (eqat bench).

TASK_DATA holds the original files (piqa/valid.jsonl, mmlu/mmlu.zip, ...); nothing is downloaded: the
harness's own task definitions are given rows from these files. --prompts compares prompts alone, without
a model on the harness's side. --golden writes what the harness found, for tests/test_eval_goldens.c.
Needs lm_eval 0.4.13, torch and transformers; both sides compute in fp32. Exit 1 where they differ."""
import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SIMPLE = ["winogrande", "piqa", "hellaswag", "arc_easy", "arc_challenge", "lambada_openai"]


def rows_of(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def labels_of(path):
    with open(path) as f:
        return [int(x) for x in f.read().split()]


def simple_rows(task, data):
    """Rows with the hub's columns, which the harness's templates read."""
    if task == "winogrande":
        rows = rows_of(f"{data}/winogrande/dev.jsonl")
        assert [int(r["answer"]) for r in rows] == labels_of(f"{data}/winogrande/dev-labels.lst")
        return [{k: r[k] for k in ("sentence", "option1", "option2", "answer")} for r in rows]
    if task == "piqa":
        rows = rows_of(f"{data}/piqa/valid.jsonl")
        if "label" in rows[0]:
            return rows
        labels = labels_of(f"{data}/piqa/valid-labels.lst")
        return [dict(goal=r["goal"], sol1=r["sol1"], sol2=r["sol2"], label=l) for r, l in zip(rows, labels)]
    if task == "hellaswag":  # prepared rows: query, endings, label
        return [
            dict(query=r["query"], choices=r["endings"], label=int(r["label"]))
            for r in rows_of(f"{data}/hellaswag/hellaswag_val_1000.jsonl")
        ]
    if task.startswith("arc_"):
        name = "Easy" if task == "arc_easy" else "Challenge"
        return [
            dict(
                question=r["question"]["stem"],
                choices=dict(
                    text=[c["text"] for c in r["question"]["choices"]],
                    label=[c["label"] for c in r["question"]["choices"]],
                ),
                answerKey=r["answerKey"],
            )
            for r in rows_of(f"{data}/arc/ARC-{name}-Test.jsonl")
        ]
    assert task == "lambada_openai"
    rows = rows_of(f"{data}/lambada/lambada_openai.jsonl")
    return [dict(text=r["context"] + " " + r["continuation"]) for r in rows]


def bench(a):
    from lm_eval.models.huggingface import HFLM
    import torch

    if a.threads:
        torch.set_num_threads(a.threads)
    lm = HFLM(pretrained=a.model, tokenizer=tokenizer_of(a.model), dtype="float32", device="cpu", batch_size=a.batch)
    task = harness_tasks(["piqa"], a.task_data)["piqa"]
    flat = [r for t in requests_of(task, 0, 0) for r in t]
    lm.loglikelihood(flat[:8], disable_tqdm=True)
    began = time.time()
    lm.loglikelihood(flat, disable_tqdm=True)
    print(json.dumps({"seconds": time.time() - began}), flush=True)


def mmlu_rows(subject, split, data):
    with zipfile.ZipFile(f"{data}/mmlu/mmlu.zip") as z:
        text = z.read(f"data/{split}/{subject}_{split}.csv").decode("utf-8")
    rows = csv.reader(io.StringIO(text))
    return [dict(question=r[0], subject=subject, choices=r[1:5], answer="ABCD".index(r[5])) for r in rows]


def harness_tasks(names, data):
    """The harness's own definitions, with our rows for the hub's."""
    from datasets import Dataset
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    tasks = {}
    for name in names:
        spec = {}
        if name.startswith("mmlu_"):
            subject = name[5:]
            sets = {s: mmlu_rows(subject, s, data) for s in ("dev", "test")}
        else:
            sets = {s: simple_rows(name, data) for s in ("train", "validation", "test")}
        if name == "hellaswag":
            spec["process_docs"] = None
        spec["custom_dataset"] = lambda sets=sets, **_: {k: Dataset.from_list(v) for k, v in sets.items()}
        tasks[name] = manager._factory.build(manager._entry(name), overrides=spec, registry=manager._index)
    return tasks


def expand(names):
    from importlib.resources import files

    out = []
    for name in names.split(","):
        if name == "paper":
            out += ["winogrande", "piqa", "hellaswag", "arc_easy", "arc_challenge"]
        elif name == "mmlu":
            folder = files("lm_eval") / "tasks/mmlu/default"
            out += sorted(f.name[:-5] for f in folder.iterdir() if f.name.startswith("mmlu_"))
        else:
            out.append("lambada_openai" if name == "lambada" else name)
    return out


def eqat_samples(a, folder):
    path = f"{folder}/samples.jsonl"
    command = [a.eqat, "eval", a.model, "--tasks", a.tasks, "--task-data", a.task_data, "--precision", "f32"]
    command += ["--harness", a.harness, "--samples", path, "--json", "-q"] + a.more
    if a.limit:
        command += ["--limit", str(a.limit)]
    if a.shots:
        command += ["--num-fewshot", str(a.shots)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    print(f"eqat: {time.time() - began:.1f} s")
    samples = {}
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        samples.setdefault(row["task"], []).append(row)
    return samples, json.loads(done.stdout)


def requests_of(task, shots, limit):
    task.set_config(key="num_fewshot", value=shots if task.config.task.startswith("mmlu") else 0)
    task.build_all_requests(limit=limit or None, rank=0, world_size=1)
    by_doc = {}
    for r in task.instances:
        by_doc.setdefault(r.doc_id, []).append(r)
    return [by_doc[i] for i in sorted(by_doc)]


def tokenizer_of(model):
    """As the file says. transformers 5 makes Llama tokenizers anew, without an unknown token: what they do
    not know vanishes, where tokenizer.json and transformers 4 have an id for it."""
    from transformers import PreTrainedTokenizerFast

    config = json.load(open(f"{model}/tokenizer_config.json"))
    names = {k: config[k] for k in ("bos_token", "eos_token", "unk_token", "pad_token") if config.get(k)}
    names = {k: v["content"] if isinstance(v, dict) else v for k, v in names.items()}
    return PreTrainedTokenizerFast(tokenizer_file=f"{model}/tokenizer.json", **names)


class Count:
    prompts = worst = items = choices = 0
    differ = []


def compare_prompts(name, theirs, ours):
    if len(theirs) != len(ours):
        Count.differ.append(f"{name}: {len(theirs)} items, eqat has {len(ours)}")
    for i, (t, o) in enumerate(zip(theirs, ours)):
        for k, (r, mine) in enumerate(zip(t, o["arguments"])):
            Count.prompts += 1
            if list(r.args) != mine:
                Count.differ.append(f"{name}, item {i}, choice {k}: {list(r.args)!r}\n  eqat: {mine!r}")


def compare_scores(name, task, theirs, ours, lls):
    import numpy

    accs, norms = [], []
    for i, (t, o) in enumerate(zip(theirs, ours)):
        mine = o["resps"]
        got = [lls[id(r)] for r in t]
        metrics = task.process_results(t[0].doc, got if task.OUTPUT_TYPE == "multiple_choice" else got)
        Count.items += 1
        for k, ((ll, _), m) in enumerate(zip(got, mine)):
            Count.choices += 1
            Count.worst = max(Count.worst, abs(ll - m))
            if abs(ll - m) > 1e-3:
                Count.differ.append(f"{name}, item {i}, choice {k}: {ll:.6f}, eqat {m:.6f}")
        if int(numpy.argmax([x[0] for x in got])) != int(numpy.argmax(mine)):
            Count.differ.append(f"{name}, item {i}: {[x[0] for x in got]}, eqat {mine}: another prediction")
        for key, mean in (("acc", accs), ("acc_norm", norms)):
            if key in metrics:
                mean.append(float(metrics[key]))
                if float(metrics[key]) != float(o[key]):
                    Count.differ.append(f"{name}, item {i}: {key} {metrics[key]}, eqat {o[key]}")
    return {"acc": sum(accs) / len(accs), **({"acc_norm": sum(norms) / len(norms)} if norms else {})}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("eqat"), p.add_argument("model"), p.add_argument("task_data")
    p.add_argument("--tasks", default="paper,lambada,mmlu")
    p.add_argument("--limit", type=int, default=0)
    p.add_argument("--shots", type=int, default=0)
    p.add_argument("--harness", default="0.4.9.2")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--prompts", action="store_true")
    p.add_argument("--golden")
    argv, more = sys.argv[1:], []
    if "--" in argv:
        argv, more = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    a = p.parse_args(argv)
    a.more = more
    if a.eqat == "-":
        return bench(a)
    names = expand(a.tasks)
    with tempfile.TemporaryDirectory() as folder:
        ours, report = eqat_samples(a, folder)
    tasks = harness_tasks(names, a.task_data)
    theirs = {n: requests_of(tasks[n], a.shots, a.limit) for n in names}
    for n in names:
        compare_prompts(n, theirs[n], ours[n])
    print(f"{Count.prompts} prompts of {len(names)} tasks, {len(Count.differ)} differ")
    golden = []
    if not a.prompts:
        from lm_eval.models.huggingface import HFLM

        bos = {} if a.harness == "0.4.9.2" else {"add_bos_token": False}
        # torch's log_softmax in fp32 is off by 1e-3 over an answer of 40 tokens and a vocabulary of 49152
        lm = HFLM(pretrained=a.model, tokenizer=tokenizer_of(a.model), dtype="float32", device="cpu",
                  batch_size=a.batch, softmax_dtype="float64", **bos)
        flat = [r for n in names for t in theirs[n] for r in t]
        began = time.time()
        lls = {id(r): x for r, x in zip(flat, lm.loglikelihood(flat, disable_tqdm=True))}
        print(f"harness: {time.time() - began:.1f} s in loglikelihood")
        for n in names:
            got = compare_scores(n, tasks[n], theirs[n], ours[n], lls)
            for key, value in got.items():
                mine = report["results"][n][f"{key},none"]
                same = abs(mine - value) < 1e-12
                print(f"{n:40} {key:9} {value:.6f}  eqat {mine:.6f}{'' if same else '  DIFFERENT'}")
                if not same:
                    Count.differ.append(f"{n}: {key}")
            for i, t in enumerate(theirs[n]):
                golden.append(" ".join([n, str(i)] + [f"{lls[id(r)][0]:.4f}" for r in t]))
        print(f"{Count.items} items, {Count.choices} log-likelihoods, largest difference {Count.worst:.2e}")
    if a.golden:
        with open(a.golden, "w") as f:
            f.write("\n".join(golden) + "\n")
    for line in Count.differ[:20]:
        print(line)
    sys.exit(1 if Count.differ else 0)


if __name__ == "__main__":
    main()
