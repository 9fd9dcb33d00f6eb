#!/usr/bin/env python3
"""Writes the text of the demo: tales of an invented coast, made by program, one blank line between
tales.

    make_text.py --seed 1 --bytes 40000000 -o build/demo/text.txt

The same seed and size give the same bytes everywhere. See assets/demo/README.md for the seeds in
use.
"""

import argparse

import scenes as S
import tales_folk as F
import tales_things as T
import tales_time as Y
from teller import Teller

KINDS = (
    T.errand,
    T.market,
    T.lost,
    Y.chronicle,
    T.dispute,
    F.letter,
    Y.log,
    T.craft,
    Y.watch,
    Y.garden,
    F.fable,
    F.lesson,
    F.talk,
    F.feast,
    F.family,
    T.will,
    S.scene,
    S.scene,
)


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--seed", type=int, required=True)
    args.add_argument(
        "--bytes", type=int, required=True, help="stop after the tale that reaches this size"
    )
    args.add_argument("-o", "--output", required=True)
    args = args.parse_args()
    teller = Teller(args.seed)
    written = 0
    with open(args.output, "w", encoding="utf-8", newline="\n") as out:
        while written < args.bytes:
            tale = teller.pick(KINDS)(teller) + "\n\n"
            written += out.write(tale)


if __name__ == "__main__":
    main()
