"""Material for peer_tokenizer.py: adversarial documents, and tokenizers that reach every feature."""
import json
import os

from tokenizers import Tokenizer

WORDS = ("the of and Hello World don't I'LL we'Ve it's 'S 'T x'd can't'll naive 3.14 1234567890 1,000 "
         "foo_bar http://a.b/c?d=e&f=g int main(void) {return 0;} == != <= >= -- --- ... ?! @#$%^&*() "
         "Straße ﬁne ﬀ ſ K 'ſ 'K İstanbul ı İ ÅÅ é é ñ ạ́ ạ́ Ω Ω café ΑΣ ὈΔΥΣΣΕΎΣ "
         "你好世界 我想在apple工作1314151天 東京 カタカナ ﾊﾝｶｸ ひらがな 한국어 가각 각 ไทยแลนด์ កាន់តែពិសេស "
         "नमस्ते क्षि ত্র العربية لا ﷺ עברית שָׁלוֹם 🦙 👨‍👩‍👧‍👦 🏳️‍🌈 😶‍🌫️ 🇩🇪 👍🏽 1️⃣ ½ ² ₃ Ⅷ ① ٣ ३ 𝟘 𝒜 𠀀 𪛖 "
         "a\u0301\u0323 a\u0323\u0301 \u0344 \u1e9b\u0323 \ufb1d \ufdfa ｆｕｌｌ \u00a0 \u2003 \u200b \u200d "
         "\u200e \u200f \u202e \u2028 \u2029 \u0085 \u180e \ufeff \ufffd \u3000 \u1680 ▁ ▁▁ ▁a a▁ Ġ Ċ <0x41> "
         "<unk> <s> </s> <|endoftext|> <|end|> [DAY]").split(" ")
GAPS = [" ", " ", " ", " ", "  ", "   ", "    ", " " * 8, " " * 23, " " * 24, " " * 25, " " * 60, "\n", "\n\n", "\r\n",
        "\r", "\t", "\t\t\t", " \n", "\n ", "\t \n \t", "", "", "", "", "\0", "\v", "\f", "\u00a0 ", " \u3000 "]
BROKEN = [b"\xff", b"\xfe\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa6", b"\xed\xa0\x80", b"\xf0\x80\x80\x80",
          b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\x80\x80\x80", b"\xe0\x80", b"\xf4\x90\x80\x80", b"\xe1\x80\xe2\xf0\x91"]
# Code points where the character data of the libraries differ, and their neighbours.
YOUNG = [0x897, 0x180E, 0x1C89, 0x1C8A, 0xA7CB, 0xA7DC, 0x2FFC, 0x31EF, 0x10D40, 0x10D50, 0x10D70, 0x10D69, 0x113C5,
         0x1123F, 0x11241, 0x116D0, 0x11DE0, 0x11F00, 0x11F50, 0x1CCF0, 0x1CC00, 0x1171E, 0x1D2C0, 0x1E030, 0x1E08F,
         0x1E4D0, 0x1E5F1, 0x1FAE9, 0x2EBF0, 0x31350, 0x323AF, 0x16EA0, 0x13439, 0x11930, 0x11935, 0x11938, 0x1DFA,
         0x7FD, 0x32FF, 0xA7F2, 0x1F16C, 0x1FBF0, 0x9FD, 0x2E52, 0x166D, 0x111C9, 0x105D2, 0x307, 0x16D63, 0x16D67]


def documents(rng, n, peer):
    added = [t.content for t in peer.get_added_tokens_decoder().values()] or ["<s>"]

    def piece():
        k = rng.random()
        if k < 0.55:
            return rng.choice(WORDS).encode()
        if k < 0.67:
            t = rng.choice(added)
            return rng.choice([t, t + t, t[:-1], t[1:], " " + t + " ", "\t" + t + "\n", "a" + t + "b", t + "."]).encode()
        if k < 0.75:
            return chr(rng.choice(YOUNG)).encode()
        if k < 0.83:
            c = rng.randrange(0x110000)
            return chr(c).encode() if not 0xD800 <= c < 0xE000 else b"?"
        if k < 0.88:
            return chr(rng.randrange(0x20, 0x3100)).encode()
        if k < 0.92:
            return rng.choice(BROKEN)
        if k < 0.95:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
        if k < 0.97:
            c = rng.choice(["a", "ab", "▁", " ", "\n", "1", "é", "你", "🦙", "=", "\u0301", "\u0323\u0301", "<unk>"])
            return (c * rng.randrange(1, 200)).encode()
        return str(rng.randrange(10 ** rng.randrange(1, 12))).encode()

    out = [b"", b" ", b"\n", b"\0", "▁".encode(), b"  a", b"a  "]
    while len(out) < n:
        parts = []
        for _ in range(rng.randrange(1, 30)):
            parts.append(piece())
            parts.append(rng.choice(GAPS).encode())
        out.append(b"".join(parts[:rng.randrange(1, len(parts) + 1)]))
    # Every word with and without a space, alone: short texts show what long ones hide.
    out += [w.encode() for w in WORDS] + [b" " + w.encode() for w in WORDS]
    return out


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
          r"|\s+(?!\S)|\s")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
            r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
REGEXES = [QWEN2, GPT4O, CL100K, r"\w+|[^\w\s]+", r"\b", r"\B", r"^", r"$", r"^.", r".$", r".", r"a*", r"(?<=\s)\S",
           r"(?<!\S)\S+", r"\S+$", r"\d+", r"\D+", r"\W+", r"[\w]+", r"[^\w]", r"\p{Han}+", r"\P{Han}", r"\p{^L}",
           r"[\p{Latin}\p{Greek}]+", r"\p{Hiragana}|\p{Katakana}|\p{Hangul}", r"(?:a|b){2,3}", r"a{1,2}+", r"x{,2}y",
           r"[^\n]+", r"(?i)[a-z]+|k|S", r"(?i:the|s|k)", r"[\x20-\x7e]+", r"[^\x00-\x7f]+".replace("\\x00", "\\x01"),
           r"\x{1F999}|\u2581", r"\t|\v|\f|\r|\n", r"(?>a+)b|a", r"\s+?\n", r".*?\n", r"(a)(b)?", r"\A\s+|\s+\z",
           r"[\s\d]+", r"[\S]", r"[-a]|[a\-z]|[.\]]", r"{|}|\{2\}", r"\p{Cn}+", r"\p{C}", r"\p{Z}+|\p{Zs}", r"\p{M}+",
           r"\p{S}|\p{Sk}", r"\p{Nd}|\p{Nl}|\p{No}", r"\p{Lu}\p{Ll}*", r"\p{Lm}|\p{Lo}|\p{Lt}", r"\p{P}|\p{Pd}", r"",
           # classes in classes, intersections, ranges that cut through younger characters
           r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[a[bc]d]+", r"[^a[^b-z]]+", r"[\w&&[^a-m]]+", r"[^\s&&[^\n]]+", r"[a-z&&[b-y]&&[^k]]+",
           r"[[^a]&&[^b]]+", r"[\p{L}&&\p{Latin}]+", r"[^[a-c][x-z]]+", r"[一-龥ࠀ-一가-퟿]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
           r"[\u0800-\u4e00]+", r"[\u0800-\uffff]|\s+", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ\uA000-\U0001FFFF]+".replace("\\U0001FFFF", "\\x{1FFFF}")]
DEEPSEEK_LLM = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ]+",
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def spec_list():
    """(name, tokenizer to start from, changes)"""
    ms = {"type": "Metaspace", "replacement": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    out = []
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            m = dict(ms, prepend_scheme=scheme, split=cut)
            out.append((f"Metaspace {scheme} {cut}", "llama2", {"normalizer": None, "pre_tokenizer": m, "decoder": m}))
    first = dict(ms, prepend_scheme="first")
    for name, z in {"Strip": {"type": "Strip", "strip_left": True, "strip_right": True}, "NFKC": {"type": "NFKC"},
                    "x": {"type": "Replace", "pattern": {"Regex": "^[a-z]+|^ +"}, "content": "q"},
                    "p": {"type": "Prepend", "prepend": "ab"}}.items():
        out.append((f"Metaspace first after {name}", "llama2", {"normalizer": z, "pre_tokenizer": first}))
        out.append((f"Metaspace first after {name}, added tokens", "TinyStories",
                    {"normalizer": {"type": "Sequence", "normalizers": [z, replace]}, "pre_tokenizer": first}))
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        out.append((form, "llama2", {"normalizer": {"type": "Sequence", "normalizers": [
            {"type": form}, {"type": "Prepend", "prepend": "▁"}, replace]}}))
        out.append((form + " byte level", "olmo", {"normalizer": {"type": form}}))
    for left in (True, False):
        for right in (True, False):
            z = {"type": "Strip", "strip_left": left, "strip_right": right}
            out.append((f"Strip {left} {right}", "phi3", {"normalizer": {"type": "Sequence", "normalizers": [z, replace]}}))
    for pattern in ({"Regex": " {2,}"}, {"Regex": r"\s+"}, {"Regex": ""}, {"String": ""}, {"String": "aa"},
                    {"Regex": r"(?<=\w)'"}, {"String": "▁"}):
        out.append((f"Replace {pattern}", "llama2",
                    {"normalizer": {"type": "Replace", "pattern": pattern, "content": "é-"},
                     "decoder": {"type": "Replace", "pattern": pattern, "content": "<>"}}))
    for i, r in enumerate(REGEXES):
        b = BEHAVIORS[i % 5]
        out.append((f"Split {r[:40]} {b}", "dolma2",
                    {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r, b, i % 2 == 1), LEVEL]}}))
        out.append((f"Split {r[:40]} plain", "llama2", {"normalizer": replace, "pre_tokenizer": split(r)}))
    for b in BEHAVIORS:
        for invert in (True, False):
            for r, kind in ((r"\s+|\d", "Regex"), (" ", "String"), ("an", "String")):
                out.append((f"Split {b} {invert} {r}", "dolma2",
                            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r, b, invert, kind), LEVEL]}}))
        out.append((f"Punctuation {b}", "llama2", {"normalizer": None, "pre_tokenizer": {"type": "Punctuation", "behavior": b}}))
    for each in (True, False):
        out.append((f"Digits {each}", "llama2", {"normalizer": replace, "pre_tokenizer": {"type": "Digits", "individual_digits": each}}))
    for t in ("Whitespace", "WhitespaceSplit"):
        out.append((t, "llama2", {"normalizer": None, "pre_tokenizer": {"type": t}}))
    for t in ({"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 1}, {"type": "FixedLength", "length": 7}, {"type": "CharDelimiterSplit", "delimiter": "e"},
              {"type": "CharDelimiterSplit", "delimiter": "▁"}):
        out.append((json.dumps(t), "llama2", {"normalizer": replace, "pre_tokenizer": t}))
        out.append((json.dumps(t), "dolma2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [t, LEVEL]}}))
    for z in ("Nmt", "StripAccents", "ByteLevel"):
        out.append((z, "llama2", {"normalizer": {"type": "Sequence", "normalizers": [{"type": z}, replace]}}))
        out.append((z + " byte level", "olmo", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": z}]}}))
        out.append((z + " then Metaspace first", "llama2", {"normalizer": {"type": z}, "pre_tokenizer": first}))
    out.append(("DeepSeek LLM", "dolma2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r) for r in DEEPSEEK_LLM] + [
        {"type": "Digits", "individual_digits": True}, LEVEL]}}))
    out.append(("Gemma", "llama2", {"normalizer": replace, "pre_tokenizer": split(" ", "MergedWithPrevious", False, "String"),
                                    "decoder": {"type": "Sequence", "decoders": [
                                        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                        {"type": "ByteFallback"}, {"type": "Fuse"}]}}))
    out.append(("dropout 0", "olmo", {"model": {"dropout": 0.0}}))
    for p in ({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": False},
              {"type": "BertProcessing", "sep": ["b", 5], "cls": ["a", 4]}):
        out.append((p["type"], "olmo", {"post_processor": p}))
        out.append((p["type"] + " twice", "olmo", {"post_processor": {"type": "Sequence", "processors": [p, p]}}))
    out.append(("DeepSeek", "dolma2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r) for r in DEEPSEEK] + [LEVEL]}}))
    for space in (True, False):
        for regex in (True, False):
            out.append((f"ByteLevel {space} {regex}", "olmo",
                        {"pre_tokenizer": dict(LEVEL, add_prefix_space=space, use_regex=regex)}))
    out.append(("ByteLevel then Split", "olmo", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        dict(LEVEL, use_regex=True, add_prefix_space=True), split("[aĠ]+", "MergedWithNext"), {"type": "Digits", "individual_digits": True}]}}))
    out.append(("Qwen2", "dolma2", {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(QWEN2), LEVEL]}}))
    for d in ([{"type": "Fuse"}], [{"type": "ByteFallback"}], [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": "▁", "start": 1, "stop": 0}],
              [{"type": "Strip", "content": "e", "start": 1, "stop": 0}], []):
        out.append((f"decoder {json.dumps(d)}", "llama2", {"decoder": {"type": "Sequence", "decoders": d}}))
    out.append(("no decoder", "llama2", {"decoder": None}))
    out.append(("ByteLevel decoder of plain tokens", "llama2", {"decoder": LEVEL}))
    for fuse in (True, False):
        for fallback in (True, False):
            out.append((f"fuse {fuse} fallback {fallback}", "novels", {"model": {"fuse_unk": fuse, "byte_fallback": fallback}}))
    out.append(("no unk", "novels", {"model": {"unk_token": None, "byte_fallback": False}}))
    out.append(("fallback byte level", "olmo", {"model": {"byte_fallback": True, "fuse_unk": True, "unk_token": "a"}}))
    out.append(("ignore_merges plain", "llama2", {"model": {"ignore_merges": True}, "normalizer": None, "pre_tokenizer": ms}))
    out.append(("merges without ignore_merges", "llama3", {"model": {"ignore_merges": False}}))
    out.append(("template both ends", "llama3", {"post_processor": {"type": "Sequence", "processors": [
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "E", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
         "special_tokens": {"B": {"id": "B", "ids": [5, 6], "tokens": ["B", "B"]}, "E": {"id": "E", "ids": [7], "tokens": ["E"]}}}] * 2}}))
    return out


def added_variants():
    """Added tokens with every combination of their switches."""
    out = []
    for k in range(16):
        flags = {"single_word": k & 1 > 0, "lstrip": k & 2 > 0, "rstrip": k & 4 > 0, "normalized": k & 8 > 0}
        texts = ["[DAY]", "the", "a b", "  ", "é", "ÅÅ", "<|x|>", "<|x|>y", "1", "foo", "ſ"]
        out.append((f"added {flags}", flags, texts))
    return out


def write(found, tmp, wanted):
    """wanted: says of a name whether it is"""
    def base(name):
        path = next(p for n, p in found.items() if name in n)
        return json.load(open(os.path.join(path, "tokenizer.json"), encoding="utf-8"))

    cache, out = {}, []

    def save(name, spec):
        d = os.path.join(tmp, str(len(out)))
        os.makedirs(d)
        text = json.dumps(spec, ensure_ascii=False)
        try:
            Tokenizer.from_str(text)
        except Exception as e:  # noqa: BLE001
            print(f"variant {name}: the peer refuses it: {e}")
            return
        open(os.path.join(d, "tokenizer.json"), "w", encoding="utf-8").write(text)
        out.append(("variant: " + name, d))

    for name, start, changes in (s for s in spec_list() if wanted("variant: " + s[0])):
        spec = json.loads(cache.setdefault(start, json.dumps(base(start))))
        for key, value in changes.items():
            if key == "model":
                spec["model"].update(value)
            else:
                spec[key] = value
        save(name, spec)
    for start, z in (("llama2", "Lowercase"), ("olmo", "NFKC"), ("llama2", None)):
        for name, flags, texts in added_variants():
            if not wanted(f"variant: {start} {z} {name}"):
                continue
            spec = json.loads(cache.setdefault(start, json.dumps(base(start))))
            if z and start == "llama2":
                spec["normalizer"]["normalizers"].insert(0, {"type": z})
            elif z:
                spec["normalizer"] = {"type": z}
            vocab = spec["model"]["vocab"]
            have = {t["content"] for t in spec["added_tokens"]}
            n = max(max((t["id"] for t in spec["added_tokens"]), default=-1) + 1, len(vocab))
            for i, text in enumerate(t for t in texts if t not in have):
                if text in vocab:
                    at = vocab[text]
                else:
                    at, n = n, n + 1
                spec["added_tokens"].append({"id": at, "content": text, **flags, "special": i % 2 == 0})
            save(f"{start} {z} {name}", spec)
    return out
