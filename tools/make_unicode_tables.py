#!/usr/bin/env python3
"""Writes src/text/unicode_tables.c: where the character data of Hugging Face `tokenizers` differs
from that of Unicode 14 (PCRE2 10.42, and Python 3.11 which stands in for it here).

usage: make_unicode_tables.py > src/text/unicode_tables.c     (needs `tokenizers`, Python 3.11, libutf8proc.so.2)

`tokenizers` holds five versions of the data: Oniguruma's (regexes), Rust's (lower case, digits),
unicode-normalization-alignments' (an old one), unicode_categories' (punctuation, older still) and
unicode-segmentation's (clusters, the youngest).
All facts are found by asking it about every code point.
"""
import ctypes
import struct
import sys
import unicodedata as ud

from tokenizers import Regex, normalizers, pre_tokenizers

assert ud.unidata_version == "14.0.0", "run it with Python 3.11"
CPS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CPS))
SCRIPTS = ["Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Hebrew", "Thai"]
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf "
              "Co Cn").split()


def members(regex):
    rest = set(normalizers.Replace(Regex(regex), "").normalize_str(ALL))
    return {c for c in CPS if chr(c) not in rest}


def utf8_len(c):
    return len(chr(c).encode())


def ranges(cps):
    out = []
    for c in sorted(cps):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, comment, rows, kind):
    print(f"\n/* {comment} */\nconst {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(hex(x) if x >= 0 else str(x) for x in row) + "},"
        if len(line + item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + f"\n}};\nconst int {name}_n = sizeof {name} / sizeof {name}[0];")


def newer():
    """Code points whose category changed after Unicode 14, each with an older stand-in."""
    script = {}
    for s in SCRIPTS:
        for c in members(r"\p{%s}" % s):
            script[c] = s
    now = {}
    for cat in CATEGORIES:
        for c in members(r"\p{%s}" % cat):
            now[c] = cat
    # The highest below the Hangul and emoji blocks: characters that no regex names one by one.
    old = {}
    for c in CPS:
        limit = 0xAC00 if utf8_len(c) == 3 else 0x30000 if script.get(c) == "Han" else 0x1F000
        if now[c] == ud.category(chr(c)) and now[c] != "Cn" and c < limit:
            old[now[c], utf8_len(c), script.get(c)] = c
    rows = []
    changed = [c for c in CPS if now[c] != ud.category(chr(c))] + [0x180E]
    for c in sorted(changed):
        stand = old[now[c], utf8_len(c), script.get(c)]
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == stand:
            rows[-1][1] = c
        else:
            rows.append([c, c, stand])
    return rows, set(changed) - {0x180E, 0x1171E}


def inert(new):
    """Marks and decomposable characters of Unicode 14 that the peer's normal forms leave alone."""
    nfd, nfkd = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
    out = set()
    for c in CPS:
        s = chr(c)
        if c in new:
            continue
        if ud.normalize("NFKD", s) != nfkd(s) or ud.normalize("NFD", s) != nfd(s):
            out.add(c)
            parts = ud.decomposition(s).split()
            if parts and not parts[0].startswith("<"):
                out.update(int(p, 16) for p in parts)
        elif ud.combining(s) and nfd(s) == s:
            after = nfd("x" + s + "\u0334")[1] != s
            before = nfd("x\u0345" + s)[1] == s
            if not after and not before:
                out.add(c)
    return ranges(out)


def lower(new):
    f, rows = normalizers.Lowercase().normalize_str, []
    for c in CPS:
        if f(chr(c)) == chr(c).lower():
            continue
        assert len(f(chr(c))) == 1
        d = ord(f(chr(c))) - c
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == d:
            rows[-1][1] = c
        else:
            rows.append([c, c, d])
    return rows


def joins():
    """Code points that join the letter before them in a cluster, where utf8proc does not know so: a table that
    makes "a" an "X" makes one of the whole cluster."""
    unit = [0] * 512
    unit[ord("a")] = ord("a") | (256 ^ ord("a")) << 10 | 1 << 8
    unit[256] = 1 << 31
    f = normalizers.Precompiled(struct.pack("<I512I", 2048, *unit) + b"X\0").normalize_str
    lib = ctypes.CDLL("libutf8proc.so.2")

    def known(c):
        state = ctypes.c_int(0)
        return not lib.utf8proc_grapheme_break_stateful(ord("a"), c, ctypes.byref(state)) & 1

    return ranges(c for c in CPS if c >= 0x80 and f("a" + chr(c)) == "X" and not known(c))


def main():
    rows, new = newer()
    stand = {c: r[2] for r in rows for c in range(r[0], r[1] + 1)}
    digit = pre_tokenizers.Digits(True).pre_tokenize_str
    punct = pre_tokenizers.Punctuation().pre_tokenize_str

    def alone(f):
        return {c for c in CPS if len(f("a" + chr(c) + "b")) == 3}

    numeric = alone(digit) ^ {c for c in CPS if ud.category(chr(stand.get(c, c)))[0] == "N"}
    odd = alone(punct) ^ {c for c in CPS if c not in new and
                          (ud.category(chr(c))[0] == "P" or chr(c) in "$+<=>^`|~")}
    marks = {c for c in CPS if c >= 0x80 and not normalizers.StripAccents().normalize_str(chr(c))} ^ {
        c for c in CPS if c not in stand and ud.category(chr(c))[0] == "M"}
    print("/* Written by tools/make_unicode_tables.py; not by hand. Where the character data of\n"
          " * Hugging Face `tokenizers` differs from Unicode 14. Every table is sorted by code point. */\n"
          '#include "text/unicode.h"')
    table("eq_uni_newer", "Younger than Unicode 14, or recategorised: {first, last, stand-in}: an older\n"
          " * character of the same category, script (of the " + ", ".join(SCRIPTS[:4]) + ",\n * " +
          ", ".join(SCRIPTS[4:]) + " ones) and length in UTF-8. U+180E is here because PCRE2 alone\n"
          " * counts it as white space.",
          rows, "eq_uni_map")
    table("eq_uni_inert", "Characters of Unicode 10 to 14 that the peer's normal forms do not know.",
          inert(new), "eq_uni_range")
    table("eq_uni_lower_more", "Lower case that Unicode 14 lacks: {first, last, distance}.", lower(new),
          "eq_uni_map")
    table("eq_uni_numeric_more", "Numbers (category N) of Unicode 17.", ranges(numeric), "eq_uni_range")
    table("eq_uni_punct_flip", "Where the peer's punctuation differs from category P and ASCII symbols.",
          ranges(odd), "eq_uni_range")
    table("eq_uni_mark_flip", "Where the peer's combining marks differ from category M.", ranges(marks), "eq_uni_range")
    table("eq_uni_joins_more", "What joins the letter before it in a cluster, though utf8proc 2.8 (Unicode 15) does\n"
          " * not know so.", joins(), "eq_uni_range")


if __name__ == "__main__":
    sys.exit(main())
