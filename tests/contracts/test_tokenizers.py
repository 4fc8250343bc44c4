"""Laws that every registered tokenizer keeps."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.errors import ConfigError
from mmcontrast.tokenizers import TOKENIZERS
from tests.contracts.examples import bert_folder, piece_model

TEXTS = {
    "empty": "",
    "spaces": " \n\t ",
    "plain": "a red square, and a dog",
    "accents": "naïve café, Ærøskøbing",
    "other scripts": "猫が座っている кошка قطة",
    "emoji": "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{DOG FACE}",
    "lone surrogate": "a \ud800 b",
    "null": "a\x00b",
    "long": "word " * 500,
}


def build(name: str, folder: Path) -> Any:
    """A tokenizer of this name; one without an example fails."""
    fields: dict[str, dict[str, Any]] = {
        "hashed_words": {},
        "open_clip": {},
        "hugging_face": {"folder": bert_folder(folder)},
        "sentence_piece": {"file": piece_model(folder)},
    }
    assert name in fields, f"add '{name}' to tests/contracts/test_tokenizers.py"
    return TOKENIZERS.build(TOKENIZERS.get(name).Config(**fields[name]))


@pytest.mark.parametrize("name", TOKENIZERS.names())
def test_ids_are_bounded_and_the_same_each_time(name: str, tmp_path: Path) -> None:
    one, two = build(name, tmp_path / "one"), build(name, tmp_path / "two")
    for text in TEXTS.values():
        for context_length in (1, 2, 16):
            ids = one.encode(text, context_length=context_length)
            assert 1 <= len(ids) <= context_length
            assert all(0 <= each < 2**31 for each in ids)
            assert ids[-1] != one.pad_id  # a trailing padding id could not be told from padding
            for other in (one, two):
                assert ids == other.encode(text, context_length=context_length)


@pytest.mark.parametrize("name", TOKENIZERS.names())
@pytest.mark.parametrize("unit", ["word ", "w", "!?", "\n", "猫"])
def test_a_megabyte_of_text_takes_no_time(name: str, unit: str, tmp_path: Path) -> None:
    tokenizer = build(name, tmp_path)
    tokenizer.encode("warm up", context_length=77)
    start = time.process_time()
    assert len(tokenizer.encode(unit * 1_000_000, context_length=77)) <= 77
    assert time.process_time() - start < 1.0  # seconds; milliseconds in practice


@pytest.mark.parametrize("name", TOKENIZERS.names())
def test_different_words_differ(name: str, tmp_path: Path) -> None:
    tokenizer = build(name, tmp_path)
    assert tokenizer.encode("word3", context_length=8) != tokenizer.encode("word4", context_length=8)


def test_an_endless_word_of_byte_pairs_takes_no_time(tmp_path: Path) -> None:
    generator = random.Random(0)
    word = "".join(generator.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(100_000))
    tokenizer = build("open_clip", tmp_path)
    start = time.process_time()
    assert len(tokenizer.encode(word, context_length=77)) == 77
    assert time.process_time() - start < 2.0  # the square of 2,464 letters; of all letters it would be minutes


def test_byte_pairs_are_the_packages_own_and_it_is_not_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from mmcontrast.tokenizers import TOKENIZERS\n"
        "ids = TOKENIZERS.build(TOKENIZERS.get('open_clip').Config()).encode('plain words', context_length=9)\n"
        "assert 'open_clip' not in sys.modules and 'torchvision' not in sys.modules; print(ids)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    from open_clip.tokenizer import SimpleTokenizer

    theirs, ours = SimpleTokenizer(), build("open_clip", tmp_path)
    assert json.loads(said.stdout) == [theirs.sot_token_id, *theirs.encode("plain words"), theirs.eot_token_id]
    draw = random.Random(0)
    scripts = [(32, 127), (32, 127), (97, 123), (160, 0x2000), (0x3000, 0xD000)]
    letters = [
        "".join(chr(draw.randrange(*draw.choice(scripts))) for _ in range(draw.randrange(1, 40))) for _ in range(200)
    ]
    for text in [*letters, "I'll DON'T we've", "<END_OF_TEXT> <start_of_text>", "aaaa aaaaa ababab", "\u00c3\u00a9"]:
        expected = [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]
        assert ours.encode(text, context_length=1000) == expected


def test_a_suffix_stands_after_every_text_and_stays_where_one_is_cut(tmp_path: Path) -> None:
    cls = TOKENIZERS.get("hugging_face")
    tokenizer = TOKENIZERS.build(cls.Config(folder=bert_folder(tmp_path), suffix=" word9"))
    for words, length, expected in (
        ("word3 word4", 8, [3, 4, 9]),
        ("word3 word4", 3, [3, 4, 9]),
        ("word3 word4 word5 word6", 3, [3, 4, 9]),
        ("word3 word4", 1, [9]),
        ("", 8, [9]),
    ):
        assert tokenizer.encode(words, context_length=length) == [each + 1 for each in expected]


def test_hashed_words_keep_their_numbers(tmp_path: Path) -> None:
    # Trained embeddings are rows of these hashes: a change breaks every checkpoint.
    ids = build("hashed_words", tmp_path).encode("A Dog, barks!", context_length=16)
    assert ids == [1_756_872_261, 19_675_519, 1_624_933_232, 1_044_016_516, 510_394_325]


def test_stems_follow_the_longer_words(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS.build(TOKENIZERS.get("hashed_words").Config(stem_letters=4))
    mermaid, merman = (tokenizer.encode(word, context_length=8) for word in ("mermaid", "merman"))
    assert mermaid[0] != merman[0] and mermaid[1] == merman[1]
    plain = build("hashed_words", tmp_path).encode("a goat", context_length=8)
    assert tokenizer.encode("a goat", context_length=8) == plain  # no word is longer than a stem
    assert tokenizer.encode("mermaid merman", context_length=3) == [*mermaid, merman[0]]


def test_sentence_pieces_are_the_models_shifted_by_one(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    file = piece_model(tmp_path)
    inner = SentencePieceProcessor(model_file=str(file))
    config = TOKENIZERS.get("sentence_piece").Config
    text = "Word3 and word14 of a red square"
    plain = [each + 1 for each in inner.encode(text)]
    encode = TOKENIZERS.build(config(file=file)).encode
    assert encode(text, context_length=64) == [*plain, inner.eos_id() + 1]
    assert encode(text, context_length=4) == [*plain[:3], inner.eos_id() + 1]
    both = TOKENIZERS.build(config(file=file, start=True, end=False, lower_case=True))
    lower = [each + 1 for each in inner.encode(text.lower())]
    assert both.encode(text, context_length=64) == [inner.bos_id() + 1, *lower]


def test_a_file_that_is_no_piece_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"not a model")
    for name in ("bad.model", "absent.model"):
        with pytest.raises(ConfigError, match=name):
            TOKENIZERS.build(TOKENIZERS.get("sentence_piece").Config(file=tmp_path / name))
