"""``mmcontrast widths``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ConfigError
from mmcontrast.packages import check_installed

EXAMPLES = """examples:
  mmcontrast widths package:quickstart/emoji-unseen-style --model runs/quickstart
  mmcontrast widths embedded/test --fit embedded/train --sparse 8,16,32 --out widths/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = (
        "What shorter (truncated, PCA), coarser (int8, binary) and sparser embeddings cost: accuracy of text queries, "
        "bytes of an embedding, queries a second."
    )
    parser.add_argument("source", help="rows with texts: embeddings, or anything that mmcontrast embed reads")
    parser.add_argument("--model", type=Path, help="a run, a checkpoint or an export; default: the embeddings'")
    parser.add_argument("--modality", default="image", choices=["image", "audio"], help="what is looked for")
    parser.add_argument("--widths", default="", help="coordinates kept, joined by commas; default: halves")
    parser.add_argument("--sparse", default="", metavar="ACTIVE", help="latents of sparse codes, joined by commas")
    parser.add_argument("--fit", metavar="SOURCE", help="other rows, that PCA and sparse codes learn from")
    parser.add_argument("--corpus-rows", type=int, default=100_000, help="rows searched when speed is measured")
    parser.add_argument("--device", default="cpu", help="torch device of the towers")
    parser.add_argument("--out", type=Path, help="folder of widths.json and report.html; default: the table alone")
    parser.set_defaults(call=_widths)


def _widths(parsed: argparse.Namespace) -> int:
    from mmcontrast.widths.measure import Job, measure
    from mmcontrast.widths.report import as_text, write_report

    check_installed(["faiss"], who="widths", extra="search")
    if parsed.corpus_rows < 1:
        raise ConfigError(f"--corpus-rows: {parsed.corpus_rows} is no count.")
    job = Job(
        source=parsed.source,
        model=parsed.model,
        modality=parsed.modality,
        widths=_numbers("--widths", parsed.widths),
        active=_numbers("--sparse", parsed.sparse),
        fit=parsed.fit,
        corpus_rows=parsed.corpus_rows,
        device=parsed.device,
    )
    measured = measure(job)
    print("\n".join(as_text(measured)))
    if parsed.out is not None:
        print(f"report  {write_report(measured, parsed.out, about=f'{parsed.source}, {parsed.modality}.')}")
    return 0


def _numbers(flag: str, given: str) -> tuple[int, ...]:
    words = [word for word in given.split(",") if word]
    bad = [word for word in words if not word.isdigit() or int(word) < 1]
    if bad:
        raise ConfigError(f"{flag}: '{bad[0]}' is no count; expected for example 16,64,256.")
    return tuple(int(word) for word in words)
