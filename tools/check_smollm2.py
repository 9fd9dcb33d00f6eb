#!/usr/bin/env python3
"""SmolLM2-135M at w2g64 beside an independent PyTorch run: block losses of eqat against the expected ones.

usage: check_smollm2.py REFERENCE MODEL OUT [--eqat build/eqat] [-- OPTIONS OF quantize]   quantizes (an hour)
       check_smollm2.py REFERENCE --log FILE                                              judges the log of a run

REFERENCE holds train.npy, val.npy, e2e.npy and expected.jsonl. Of blocks 0 to 10 the training and the validation
loss of every epoch must lie within 1 % (bf16). From block 11 on one position of every window holds nearly all of
the stream's power and bf16 rounds it by 64 and more; those, and first losses, which hang on one batch, are shown
and not judged. The log may end early: what it has is judged, and what it lacks of blocks 0 to 10 fails.
"""
import argparse
import json
import os
import subprocess
import sys

JUDGED, TOLERANCE = range(11), 0.01
SETTINGS = ("--bits 2 --group-size 64 --batch-size 2 --epochs 2 --quant-lr 5e-4 --weight-lr 1e-4 --e2e-batch-size 16 "
            "--e2e-lr 1e-4 --seqlen 512 --e2e-seqlen 512").split()


def lines(path):
    """JSON objects of a file; a line that a kill has cut is the last one and left out."""
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                yield json.loads(line)
            except ValueError:
                if line.endswith("\n"):
                    sys.exit(f"{path}: line {number}: expected a JSON object")


def quantize(a):
    file = lambda name: os.path.join(a.reference, name)
    log = a.out.rstrip("/") + ".jsonl"
    command = [a.eqat, "quantize", a.model, "--data", file("train.npy"), "--val-data", file("val.npy"), "--e2e-data",
               file("e2e.npy"), "-o", a.out, *SETTINGS, "--log", log, *a.options]
    print(" ".join(command), flush=True)
    if subprocess.run(command, check=False).returncode:
        sys.exit("quantize failed; the same command with -- --resume goes on")
    return log


def losses(events):
    """(block, epoch) -> event; of a resumed run the last one counts."""
    return {(e["block"], e["epoch"]): e for e in events if e.get("event") == "block_epoch"}


def judge(expected, got):
    missing, misses, worst = [], 0, 0.0
    print(f"{'block epoch':12} {'loss':6} {'expected':>12} {'eqat':>12} {'off':>9}")
    for want in expected:
        if want["event"] != "block":
            continue
        at = want["block"], want["epoch"]
        e = got.get(at)
        if e is None:
            missing += [at] if at[0] in JUDGED else []
            continue
        for key in "first", "train", "val":
            value = e[f"{key}_loss"]
            value = float("nan") if value is None else value
            off = abs(value - want[key]) / want[key]
            judged = at[0] in JUDGED and key != "first"
            bad = judged and not off <= TOLERANCE
            misses += bad
            worst = max(worst, off) if judged else worst
            print(f"{at[0]:5} {at[1]:5}  {key:6} {want[key]:12.6g} {value:12.6g} "
                  f"{100 * off:7.2f} %{'' if judged else '  not judged'}{'  <--' if bad else ''}")
    for block, epoch in missing:
        print(f"{block:5} {epoch:5}  not in the log")
    print(f"blocks 0 to 10: {misses} of the train and val losses beyond {100 * TOLERANCE:g} %, worst {100 * worst:.2f} %, "
          f"{len(missing)} epochs missing")
    return misses == 0 and not missing


def main():
    argv, options = sys.argv[1:], []
    if "--" in argv:
        argv, options = argv[:argv.index("--")], argv[argv.index("--") + 1:]
    p = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    p.add_argument("reference")
    p.add_argument("model", nargs="?")
    p.add_argument("out", nargs="?")
    p.add_argument("--log")
    p.add_argument("--eqat", default="build/eqat")
    a = p.parse_args(argv)
    a.options = options
    if bool(a.log) == bool(a.model and a.out):
        p.error("expected MODEL and OUT, or --log")
    log = a.log or quantize(a)
    if not os.path.isfile(log):
        sys.exit(f"{log}: no such log")
    expected = list(lines(os.path.join(a.reference, "expected.jsonl")))
    sys.exit(0 if judge(expected, losses(lines(log))) else 1)


if __name__ == "__main__":
    main()
