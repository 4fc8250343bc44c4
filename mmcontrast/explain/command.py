"""``mmcontrast explain``: which words of a caption belong to which places of a picture or a sound."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_command(commands: Any) -> None:
    """Add ``explain``."""
    add = commands.add_parser("explain", help="which words belong to which places of a picture or a sound")
    add.add_argument("checkpoint", help="a run folder, one checkpoint in it, an export, or a consolidated file")
    which = add.add_mutually_exclusive_group(required=True)
    which.add_argument("--image", type=Path, help="a picture")
    which.add_argument("--audio", type=Path, help="a sound, no longer than the tower's window")
    add.add_argument("--text", action="append", required=True, help="a caption; given twice, both are compared")
    add.add_argument("--steps", type=int, default=64, help="points of the integral; its error is printed")
    add.add_argument("--out", type=Path, default=Path("explanation"), help="folder of the json, the picture, the page")
    add.add_argument("--device", default="cpu", help="torch device")
    add.set_defaults(call=_explain)


def _explain(parsed: argparse.Namespace) -> int:
    from mmcontrast.errors import ConfigError
    from mmcontrast.explain.explanation import explain
    from mmcontrast.explain.picture import write

    if not 1 <= len(parsed.text) <= 2 or not all(text.strip() for text in parsed.text):
        raise ConfigError("--text: give one caption, or two to be compared; none of them empty.")
    if not 1 <= parsed.steps <= 1000:
        raise ConfigError(f"--steps: expected 1 to 1,000, got {parsed.steps}.")
    found = explain(
        parsed.checkpoint,
        modality="image" if parsed.image is not None else "audio",
        file=parsed.image or parsed.audio,
        texts=parsed.text,
        steps=parsed.steps,
        device=parsed.device,
    )
    for caption in found.captions:
        pair = caption.pair
        print(f"{caption.text}\n  score {pair.score:.4f} = {pair.total:.4f} attributed "
              f"+ {pair.references:.4f} of the references, integration error {pair.error:+.1e}")  # fmt: skip
        for word, mark, value in zip(caption.words, caption.changed, caption.of_words(), strict=True):
            print(f"  {'*' if mark else ' '} {word:<20} {value:+.4f}")
    for path in write(found, parsed.out):
        print(path)
    return 0
