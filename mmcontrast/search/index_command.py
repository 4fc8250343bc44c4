"""``mmcontrast index``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ConfigError

EXAMPLES = """examples:
  mmcontrast index embedded/photos --out index/photos
  mmcontrast index embedded/photos embedded/shards --out index/all --kind hnsw --dtype fp16
  mmcontrast index embedded/laion --out index/laion --kind ivf --dtype int8 --recall 0.98
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = "Index embedded sets of one model for mmcontrast search and explore."
    parser.add_argument("embeddings", nargs="+", type=Path, help="folders that mmcontrast embed has written")
    parser.add_argument("--out", required=True, type=Path, help="folder of the index")
    parser.add_argument("--kind", default="exact", help="exact; or, for millions: hnsw (a graph) or ivf (lists)")
    parser.add_argument("--dtype", default="fp32", help="what is kept of each number: fp32, fp16 or int8")
    parser.add_argument(
        "--recall", type=float, default=0.95, help="share of the 10 nearest that hnsw or ivf must find, as measured"
    )
    parser.set_defaults(call=_index)


def _index(parsed: argparse.Namespace) -> int:
    from mmcontrast.search.build import Job, build
    from mmcontrast.search.nearest import DTYPES, KINDS

    for name, known in (("kind", KINDS), ("dtype", DTYPES)):
        if getattr(parsed, name) not in known:
            raise ConfigError(f"--{name}: '{getattr(parsed, name)}' is none of {', '.join(known)}.")
    if not 0 < parsed.recall <= 1:
        raise ConfigError(f"--recall: {parsed.recall} is no share; expected more than 0, at most 1.")
    about = build(
        Job(
            embeddings=tuple(parsed.embeddings),
            out=parsed.out,
            kind=parsed.kind,
            dtype=parsed.dtype,
            recall=parsed.recall,
        )
    )
    print(f"{parsed.out}: {about.rows:,} rows of {len(about.sources)} sets, {about.kind}, {about.dtype}")
    for name, each in about.modalities.items():
        finds = f"finds {each.recall:.3f} of the 10 nearest when asked with {each.asked_with}"
        print(f"  {name:<6} {each.points:,} points of {about.dim} numbers; {finds}")
    print(f"  words  {'of the rows for hybrid search' if about.has_words else 'none: the rows have no texts'}")
    return 0
