#!/usr/bin/env python3
"""Writes src/text/unicode_scripts.c: the script of every code point as the pre-tokenizer UnicodeScripts of
Hugging Face `tokenizers` sees it.

usage: make_script_table.py > src/text/unicode_scripts.c     (needs `tokenizers`)

It is asked: a text is cut between two characters of different scripts, and never at one of no script.
"""
from tokenizers import pre_tokenizers

CUT = pre_tokenizers.UnicodeScripts().pre_tokenize_str


def pieces(s):
    return len(CUT(s))


def main():
    cps = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    some = [c for c in cps if pieces("a" + chr(c) + "a") == 3 or pieces("一" + chr(c) + "一") == 3]
    runs, at = [], 0
    for text, _ in CUT("".join(map(chr, some))):
        part = some[at:at + len(text)]
        at += len(text)
        runs.append(part)
    known, rows = [], []
    for part in runs:
        c = chr(part[0])
        script = next((i for i, k in enumerate(known) if pieces(k + c) == 1), None)
        if script is None:
            script = len(known)
            known.append(c)
        for c in part:
            if rows and rows[-1][1] == c - 1 and rows[-1][2] == script:
                rows[-1][1] = c
            else:
                rows.append([c, c, script])
    print("/* Written by tools/make_script_table.py; not by hand. {first, last, script}, sorted; a script is a number,\n"
          " * which of them it is does not matter. What is not here has none. */\n"
          '#include "text/unicode.h"\n\nconst eq_uni_map eq_uni_scripts[] = {')
    line = "   "
    for r in rows:
        item = " {0x%x, 0x%x, %d}," % tuple(r)
        if len(line + item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};\nconst int eq_uni_scripts_n = sizeof eq_uni_scripts / sizeof eq_uni_scripts[0];")


if __name__ == "__main__":
    main()
