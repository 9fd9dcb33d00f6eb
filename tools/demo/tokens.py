"""The demo's tokenizer: sentencepiece-type BPE with byte fallback, written as Hugging Face
tokenizer.json.

Merges are learned inside words, digits one by one, and applied without a pre-tokenizer, as the
converted Llama tokenizers do; a line feed has no entry and goes through the byte <0x0A>.
"""

import json

import numpy as np
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SPACE = "\u2581"
SPECIALS = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{b:02X}>" for b in range(256))
GAP = "\n\n"


def train(text_path, sample, size):
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    word = Regex(SPACE + r"?\p{L}+|" + SPACE + r"?\d|" + SPACE + r"?[^\p{L}\d\s]")
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Split(word, "isolated")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS + BYTES), show_progress=False
    )
    with open(text_path, encoding="utf-8") as f:
        tok.train_from_iterator(f.read(sample).split(GAP), trainer)
    tok.pre_tokenizer = None
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tok.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    spec = json.loads(tok.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["content"] in SPECIALS]
    model = spec["model"]
    model["merges"] = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return json.dumps(spec, ensure_ascii=False, indent=1) + "\n"


def stream(tok, text):
    """The ids of the text as one call would give them (one <s>), but encoded tale by tale in
    parallel."""
    tales = text.split(GAP)
    first = tok.encode(tales[0]).ids
    # A tale in the middle follows a gap: encode it with the gap and drop the prepended space.
    rest = tok.encode_batch([GAP + tale for tale in tales[1:]], add_special_tokens=False)
    return np.concatenate(
        [np.array(first, np.uint16)] + [np.array(e.ids[1:], np.uint16) for e in rest]
    )
