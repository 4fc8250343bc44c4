"""``mmcontrast refine``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcontrast.errors import ConfigError

EXAMPLES = """examples:
  mmcontrast refine index/captioned --out refiners/captioned
  mmcontrast search index/captioned --text "a dog" --refine refiners/captioned
  mmcontrast search index/photos --text "a dog" --refine refiners/captioned --memory index/captioned
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.description = (
        "Train what refines queries by their neighbours in an index of pairs (RECO), and measure it on held-out pairs."
    )
    parser.add_argument("index", type=Path, help="an index whose rows have both modalities")
    parser.add_argument("--out", required=True, type=Path, help="folder of the refiner")
    parser.add_argument("--pair", default="image,text", help="two modalities of the rows")
    parser.add_argument("--neighbours", type=int, default=16, help="rows that a query is refined by")
    parser.add_argument("--steps", type=int, default=300, help="updates of 256 pairs")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of weights, held-out pairs and batches")
    parser.set_defaults(call=_refine)


def _refine(parsed: argparse.Namespace) -> int:
    from mmcontrast.search.refine import Job, refine

    pair = tuple(parsed.pair.split(","))
    if len(pair) != 2 or pair[0] == pair[1]:
        raise ConfigError(f"--pair: '{parsed.pair}' is no pair; expected for example image,text.")
    if parsed.neighbours < 1 or parsed.steps < 0 or parsed.lr <= 0:
        raise ConfigError("--neighbours, --steps and --lr must be positive.")
    done = refine(
        Job(
            index=parsed.index, out=parsed.out, pair=(pair[0], pair[1]), neighbours=parsed.neighbours,
            steps=parsed.steps, lr=parsed.lr, seed=parsed.seed,
        )
    )  # fmt: skip
    print(f"{parsed.out}: recall at 1 of held-out pairs")
    for each in done:
        print(f"  asked with {each.asked_with:<6} {each.plain:.3f} plain, {each.refined:.3f} refined ({each.queries})")
    return 0
