"""``mmcontrast import``."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  mmcontrast import ViT-B-32.safetensors --from open-clip --out towers/clip --set name=ViT-B-32
  mmcontrast import clip-vit-base-patch32/ --from hf-clip --out towers/clip
  mmcontrast import 630k-audioset-best.pt --from laion-clap --out towers/clap --set tokenizer=roberta-base/
  mmcontrast import 630k-audioset-best.pt --from laion-clap --out towers/htsat --tower audio
  mmcontrast list importers                                layouts, and what each reads
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = (
        "Write a checkpoint of others as a folder of ours, and run its own package beside it. "
        "Nothing is downloaded, and nothing is left behind when it does not fit."
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="their file, or the folder that holds it")
    parser.add_argument("--from", dest="layout", required=True, metavar="LAYOUT", help="see mmcontrast list importers")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to create; must not exist")
    parser.add_argument(
        "--tower", default="all", help="image, audio, text, several joined by commas, or all (default)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="key=value",
        help="a field of the layout, such as tokenizer=FOLDER",
    )
    parser.set_defaults(call=_import)


def _import(parsed: argparse.Namespace) -> int:
    from mmcontrast.config import apply_overrides
    from mmcontrast.importers.run_import import import_checkpoint

    done = import_checkpoint(
        parsed.path,
        parsed.out,
        layout=parsed.layout,
        towers=parsed.tower.split(","),
        fields=apply_overrides({}, parsed.set),
    )
    print(f"{done.folder}: imported from {done.layout}")
    for line in done.lines():
        print(f"  {line}")
    size = sum(file.stat().st_size for file in done.folder.rglob("*") if file.is_file())
    print(f"  {size / 2**20:.1f} MiB")
    return 0
