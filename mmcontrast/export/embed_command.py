"""``mmcontrast embed``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ConfigError

EXAMPLES = """examples:
  mmcontrast embed photos/ --model towers/quickstart --out embedded/photos
  mmcontrast embed shards/ --model runs/quickstart --out embedded/shards --modality image,text --processes 8
  mmcontrast embed esc50:ESC-50-master --model towers/quickstart --out embedded/esc50
the same command again goes on where it was
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = "Embed every row of shards or of a folder into safetensors and parquet, part by part."
    parser.add_argument("source", help="a manifest's folder, package:NAME, READER:FOLDER, or any folder of files")
    parser.add_argument("--model", required=True, help="an exported folder, a run folder or a checkpoint")
    parser.add_argument("--out", required=True, type=Path, help="folder of the embeddings")
    parser.add_argument("--modality", default="", help="image, audio, text, joined by commas; default: all in common")
    parser.add_argument("--text-field", help="field of a row that holds its text; default: caption, captions or text")
    parser.add_argument("--part-rows", type=int, default=4096, help="rows of a part, which is written whole")
    parser.add_argument("--batch-rows", type=int, default=64, help="rows encoded at a time")
    parser.add_argument(
        "--long", choices=["start", "center", "windows"], help="heard of sounds over the window; default: the tower's"
    )
    parser.add_argument("--device", default="cpu", help="torch device of the encoder")
    parser.add_argument("--processes", type=int, default=1, help="parts embedded at a time")
    parser.set_defaults(call=_embed)


def _embed(parsed: argparse.Namespace) -> int:
    from mmcontrast.export.embed import Job, embed

    for name in ("part_rows", "batch_rows", "processes"):
        if getattr(parsed, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: {getattr(parsed, name)} is no count.")
    done = embed(
        Job(
            source=parsed.source,
            model=parsed.model,
            out=parsed.out,
            modalities=tuple(name for name in parsed.modality.split(",") if name),
            text_field=parsed.text_field,
            part_rows=parsed.part_rows,
            batch_rows=parsed.batch_rows,
            long=parsed.long,
            device=parsed.device,
            processes=parsed.processes,
        )
    )
    print(f"{parsed.out}: {done.rows:,} rows in {done.parts:,} parts, {done.written:,} of them written now")
    if done.bad:
        print(f"{done.bad:,} rows of these could not be read in full: see the column error")
    return 0
