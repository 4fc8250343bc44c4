"""``mmcontrast export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ExportError

EXAMPLES = """examples:
  mmcontrast export runs/quickstart towers/quickstart                     every tower, for mmcontrast.load
  mmcontrast export runs/quickstart towers/image --tower image --format onnx
  mmcontrast export runs/quickstart towers/text8 --tower text --format onnx --dtype int8
  mmcontrast export runs/clip towers/clip --tower image,text --format open-clip --licence CC-BY-4.0
  mmcontrast export runs/clip/checkpoints/step-00010000 towers/clip-hf --tower image,text --format hf
  mmcontrast list exports                                                 formats, and what each holds
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = (
        "Write towers for another package to load, and check that it computes the same. "
        "Nothing is left behind when it does not."
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a run folder (its newest valid checkpoint), one checkpoint in it, or an export"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to create; must not exist")
    parser.add_argument(
        "--tower", default="all", help="image, audio, text, several joined by commas, or all (default)"
    )
    parser.add_argument("--format", default="safetensors", help="see mmcontrast list exports (default: safetensors)")
    parser.add_argument("--dtype", default="fp32", help="fp32 (default), fp16, bf16 or int8 weights")
    parser.add_argument(
        "--weights", choices=["raw", "ema"], default="raw", help="of a run: as trained, or their moving average"
    )
    parser.add_argument("--licence", help="licence of the weights for the card, by its SPDX name")
    parser.set_defaults(call=_export)


def _export(parsed: argparse.Namespace) -> int:
    from mmcontrast.export.run_export import export
    from mmcontrast.exported.dtypes import DTYPES

    if parsed.dtype not in DTYPES:
        raise ExportError(f"--dtype: '{parsed.dtype}' is none of {', '.join(DTYPES)}.")
    done = export(
        parsed.checkpoint,
        parsed.out,
        to=parsed.format,
        towers=parsed.tower.split(","),
        dtype=parsed.dtype,
        weights=parsed.weights,
        licence=parsed.licence,
    )
    print(f"{done.folder}: read back by its target, beside the model")
    for each in done.parity:
        print(f"  {each.line()}")
    if done.loss:
        print(f"what {parsed.dtype} costs, beside the model in fp32")
        for each in done.loss:
            print(f"  {each.modality:<6} {each.what:<30} cosine loss {each.cosine_loss:.1e}")
    size = sum(file.stat().st_size for file in done.folder.rglob("*") if file.is_file())
    print(f"  {size / 2**20:.1f} MiB")
    return 0
