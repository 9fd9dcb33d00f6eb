"""Material for peer_tokenizer.py: sentencepiece models trained on ../shared/text, as tokenizer.json and alone,
and tiktoken's ranks alone. Yields (name, folder, the peer's tokenizer)."""
import base64
import json
import os

import sentencepiece
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

MARK = "▁"


def train(shared, tmp, name, **options):
    prefix = os.path.join(tmp, name)
    sentencepiece.SentencePieceTrainer.train(
        input=os.path.join(shared, "text/wikitext2/wiki.valid.raw") + "," + os.path.join(shared, "text/web/web.txt"),
        model_prefix=prefix, input_sentence_size=20000, shuffle_input_sentence=False, num_threads=2, minloglevel=2,
        hard_vocab_limit=False, **options)
    m = import_protobuf().ModelProto()
    m.ParseFromString(open(prefix + ".model", "rb").read())
    return prefix + ".model", m


def folder(tmp, name, files):
    d = os.path.join(tmp, "made", name.replace(" ", "_"))
    os.makedirs(d)
    for file, content in files.items():
        mode = "wb" if isinstance(content, bytes) else "w"
        with open(os.path.join(d, file), mode) as f:
            f.write(content if isinstance(content, (bytes, str)) else json.dumps(content, ensure_ascii=False))
    return d


def unigram_spec(m, fallback, normalizers, pre):
    def token(i, special):
        return {"id": i, "content": m.pieces[i].piece, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": special}

    charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()}
    z = [charsmap if n == "charsmap" else n for n in normalizers]
    meta = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [token(i, True) for i in range(3)],
            "normalizer": {"type": "Sequence", "normalizers": z} if z else None,
            "pre_tokenizer": pre and {"type": "Sequence", "pretokenizers": [meta if p == "meta" else p for p in pre]},
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
            "decoder": meta,
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": fallback,
                      "vocab": [[p.piece, p.score] for p in m.pieces]}}


def unigrams(shared, tmp):
    right = {"type": "Strip", "strip_left": False, "strip_right": True}
    runs = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": MARK}
    white = {"type": "WhitespaceSplit"}
    for rule in ("nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf", "nfkc"):
        path, m = train(shared, tmp, "uni-" + rule, vocab_size=4000, model_type="unigram", normalization_rule_name=rule,
                        byte_fallback=rule == "nfkc", character_coverage=0.9995)
        kinds = [("T5", False, ["charsmap"], [white, "meta"]), ("whole text", True, ["charsmap", right, runs], ["meta"]),
                 ("no charsmap", rule == "nfkc", [{"type": "Nmt"}, {"type": "NFKC"}], ["meta"]),
                 ("one word", rule == "nfkc", [{"type": "Replace", "pattern": {"String": " "}, "content": MARK}], None)]
        for kind, fallback, z, pre in kinds:
            spec = unigram_spec(m, fallback, z, pre)
            d = folder(tmp, f"Unigram {rule} {kind}", {"tokenizer.json": spec})
            yield f"Unigram {rule}, {kind}", d, Tokenizer.from_file(os.path.join(d, "tokenizer.json"))
        # the peer knows no class here and follows the model's own settings
        d = folder(tmp, f"alone {rule}", {"tokenizer.model": open(path, "rb").read(),
                                          "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}})
        yield f"Unigram {rule}, alone", d, AutoTokenizer.from_pretrained(d)._tokenizer


def alone(shared, tmp):
    # the classes as transformers 4 converted them, whose files these are; 5 ranks merges in another order
    for name in ("llama2", "mistral"):
        raw = open(os.path.join(shared, "tokenizers", name, "tokenizer.model"), "rb").read()
        spec = json.load(open(os.path.join(shared, "tokenizers", name, "tokenizer.json"), encoding="utf-8"))
        for t in spec["added_tokens"]:
            t["normalized"] = False
        config = {"tokenizer_class": "LlamaTokenizer"}
        d = folder(tmp, name + " legacy", {"tokenizer.model": raw, "tokenizer_config.json": config})
        yield f"{name} alone, legacy", d, Tokenizer.from_str(json.dumps(spec))
        spec.update(normalizer=None, pre_tokenizer={"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first",
                                                    "split": False})
        d = folder(tmp, name, {"tokenizer.model": raw, "tokenizer_config.json": dict(config, legacy=False)})
        yield f"{name} alone", d, Tokenizer.from_str(json.dumps(spec))
        d = folder(tmp, name + " plain", {"tokenizer.model": raw,
                                          "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}})
        yield f"{name} alone, no class", d, AutoTokenizer.from_pretrained(d)._tokenizer
    for i, options in enumerate((dict(byte_fallback=True, user_defined_symbols=["<u>", "ab.c", "\n"], split_digits=True),
                                 dict(add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity"),
                                 dict(normalization_rule_name="nmt_nfkc_cf"))):
        path, _ = train(shared, tmp, f"bpe{i}", vocab_size=3000, model_type="bpe", **options)
        raw = open(path, "rb").read()
        d = folder(tmp, f"bpe {i}", {"tokenizer.model": raw, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}})
        yield f"BPE model {i}, alone", d, AutoTokenizer.from_pretrained(d)._tokenizer
    raw = open(os.path.join(shared, "tokenizers/llama3/tokenizer.model"), "rb").read()
    n = raw.count(b"\n")
    added = {str(n + i): {"content": t, "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
             for i, t in enumerate(("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))}
    d = folder(tmp, "tiktoken", {"tokenizer.model": raw, "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added}})
    yield "tiktoken alone", d, AutoTokenizer.from_pretrained(d)._tokenizer


def models(shared, tmp):
    yield from alone(shared, tmp)
    yield from unigrams(shared, tmp)

