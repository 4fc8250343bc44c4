"""Tokenizers beside graphs: their files, and the lines of Python that use them."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmcontrast.export.part import Part
from mmcontrast.exported.paths import TAKEN


def copy_tokenizer(part: Part, folder: Path) -> None:
    """Put the files of a Hugging Face tokenizer into ``folder/tokenizer``; the others need none."""
    if "text" not in part.modalities or part.text_spec().tokenizer.registry_name != "hugging_face":
        return
    (folder / "tokenizer").mkdir()
    for file in sorted(Path(part.text_spec().tokenizer.folder).iterdir()):
        if file.is_file() and file.suffix in TAKEN:
            shutil.copyfile(file, folder / "tokenizer" / file.name)


def ids_snippet(part: Part) -> list[str]:
    """How to turn a caption into the ids that a graph takes, without mmcontrast."""
    spec = part.text_spec()
    kind, length = spec.tokenizer.registry_name, spec.context_length
    if kind == "hashed_words":
        return _hashed_words(length, stem_letters=spec.tokenizer.stem_letters)
    if kind == "open_clip":
        return [
            "from open_clip.tokenizer import SimpleTokenizer",
            f"ids = SimpleTokenizer(context_length={length})([caption])  # zeros at the end may be cut off",
        ]
    return [
        "from transformers import AutoTokenizer",
        'tokenizer = AutoTokenizer.from_pretrained("tokenizer")',
        f'ids = tokenizer(caption, truncation=True, max_length={length})["input_ids"]',
        "ids = [each + 1 for each in ids]  # 0 is the padding",
    ]


def _hashed_words(length: int, *, stem_letters: int) -> list[str]:
    lines = ["import re, zlib", r'words = re.findall(r"\w+|[^\w\s]", caption.lower())' f"[:{length}]"]
    if stem_letters:
        parts = f'[word, word[:{stem_letters}] + "-"] if len(word) > {stem_letters} else [word]'
        lines.append(f"words = [part for word in words for part in ({parts})][:{length}]  # words and their stems")
    return [*lines, 'ids = [zlib.crc32(word.encode()) % (2**31 - 1) + 1 for word in words or [""]]']
