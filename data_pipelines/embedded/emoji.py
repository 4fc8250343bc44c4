"""Pack emoji drawings with their names into three image-text sets, from npm tarballs.

Sets, each a folder of shards with a manifest: ``emoji-train`` (the training styles), ``emoji-unseen-style``
(the same concepts drawn by another hand) and ``emoji-unseen-concepts`` (families that never train, in a style
that trained and in the unseen one).  The same packages give the same bytes at every run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_pipelines.embedded.emoji_sources import (
    CONCEPTS_PACKAGE,
    STYLES,
    Concept,
    Icon,
    Style,
    read_concepts,
    read_icons,
)
from data_pipelines.embedded.families import HELD_OUT_FOLD, RESERVED_FOLD, fold, shuffle_order
from data_pipelines.embedded.rasterise import Rasteriser, resvg, svg_to_square, webp
from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec, Manifest
from mmcontrast.errors import ConfigError, MMContrastError, ShardError

TRAIN_STYLES = {
    "shipped": ("noto", "noto-v1", "twemoji"),
    "all": ("noto", "noto-v1", "twemoji", "emojione-v1", "fxemoji"),
}
UNSEEN_STYLE = "fluent-emoji-flat"
SEEN_STYLE = "noto"  # draws the unseen concepts once more, in a style that trained
SETS = ("emoji-train", "emoji-unseen-style", "emoji-unseen-concepts")
SIZE = 80  # pixels; leaves room for a random crop of 64 to 72
QUALITY = 85  # WebP
INFO_BYTES = 512  # a JSON member of one tar block; the last tags are left out to keep to it
ROWS_PER_SHARD = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One concept in one style, before it is drawn."""

    concept: Concept
    style: Style
    icon: Icon

    @property
    def key(self) -> str:
        """The row's key."""
        return f"{self.style.name}-{self.concept.hexcode}"


def pack_emoji(
    packages: Path,
    *,
    out: Path,
    vendors: str = "shipped",
    size: int = SIZE,
    quality: int = QUALITY,
    processes: int = 2,
    rasteriser: Rasteriser = resvg,
) -> dict[str, Manifest]:
    """Read the tarballs in ``packages`` and write the three sets under ``out``.

    Args:
        vendors: "shipped", or "all" for two more training styles whose drawings are not redistributed here.
        size: side of the square pictures in pixels.
        quality: WebP quality, 0 to 100.
        processes: 1 draws in this process.
        rasteriser: draws one SVG; a module-level function where ``processes`` is above 1.

    Raises:
        MissingPackage: a tarball or resvg-py is missing.
        ConfigError: ``vendors`` is "all" and ``out`` lies inside the package's own assets.
        ShardError: a tarball is damaged, or a set would be empty.
    """
    if vendors == "all" and {"mmcontrast", "assets"} <= set(out.resolve().parts):
        raise ConfigError(f"--vendors all holds CC-BY-SA drawings: --out '{out}' must lie outside mmcontrast/assets")
    styles = [STYLES[name] for name in (*TRAIN_STYLES[vendors], UNSEEN_STYLE)]
    drawings = read_drawings(packages, styles)
    draw = partial(draw_icon, size=size, quality=quality, rasteriser=rasteriser)
    pictures = list(_progress(_map([drawing.icon for drawing in drawings], draw, processes), total=len(drawings)))
    sets = split_rows(without_twins(list(zip(drawings, pictures, strict=True))))
    empty = [name for name, rows in sets.items() if not rows]
    if empty:
        raise ShardError(f"no row is left for {', '.join(empty)}: do the tarballs in '{packages}' hold the icons?")
    sources = {style.source: style.licence for style in styles}
    sources["@".join(CONCEPTS_PACKAGE)] = "MIT"
    made_by = {
        "job": "data_pipelines.embedded.emoji",
        "parameters": {"vendors": vendors, "size": size, "quality": quality, "extension": "webp"},
        "sources": sources,
    }
    return {
        name: write_shards(
            [to_sample(drawing, picture) for drawing, picture in rows],
            folder=out / name,
            name=name,
            columns={
                "image": ColumnSpec(modality="image", extension="webp"),
                "text": ColumnSpec(modality="text", extension="json", field="captions"),
            },
            labels={"concept": "concept", "caption": "caption", "group": "group", "style": "style"},
            made_by=made_by,
            rows_per_shard=ROWS_PER_SHARD,
        )
        for name, rows in sets.items()
    }


def read_drawings(packages: Path, styles: list[Style]) -> list[Drawing]:
    """Read what every style draws of the concepts outside the reserved fold, style by style."""
    concepts = [concept for concept in read_concepts(packages) if fold(concept.family) != RESERVED_FOLD]
    drawings = []
    for style in styles:
        icons = read_icons(packages, style, concepts)
        drawings += [
            Drawing(concept=concept, style=style, icon=icons[concept.hexcode])
            for concept in concepts
            if concept.hexcode in icons
        ]
        logger.info("%s draws %d of %d concepts", style.name, len(icons), len(concepts))
    return drawings


def draw_icon(icon: Icon, *, size: int, quality: int, rasteriser: Rasteriser) -> bytes:
    """Draw one icon and encode it."""
    return webp(svg_to_square(icon.svg, size, mirrored=icon.mirrored, rasteriser=rasteriser), quality)


def without_twins(rows: list[tuple[Drawing, bytes]]) -> list[tuple[Drawing, bytes]]:
    """Keep the first of the rows that hold the same picture.

    Two captions on one picture are false negatives in a batch, and a leak where one of them is held out.
    """
    seen: set[str] = set()
    kept = []
    for drawing, picture in rows:
        digest = hashlib.sha256(picture).hexdigest()
        if digest in seen:
            logger.debug("left out %s: the same picture as an earlier row", drawing.key)
            continue
        seen.add(digest)
        kept.append((drawing, picture))
    logger.info("left out %d rows whose picture an earlier row holds", len(rows) - len(kept))
    return kept


def split_rows(rows: list[tuple[Drawing, bytes]]) -> dict[str, list[tuple[Drawing, bytes]]]:
    """Divide rows over the three sets, each in a fixed order that does not follow style or group.

    A concept is in ``emoji-unseen-style`` only if some training style draws it, and in
    ``emoji-unseen-concepts`` only if both styles draw it: the two can then be compared.
    """
    by_style: dict[str, set[str]] = {}
    for drawing, _ in rows:
        by_style.setdefault(drawing.style.name, set()).add(drawing.concept.hexcode)
    trained = {code for style, codes in by_style.items() if style != UNSEEN_STYLE for code in codes}
    in_both = by_style.get(SEEN_STYLE, set()) & by_style.get(UNSEEN_STYLE, set())
    sets: dict[str, list[tuple[Drawing, bytes]]] = {name: [] for name in SETS}
    for drawing, picture in sorted(rows, key=lambda row: shuffle_order(row[0].key)):
        code, style, in_fold = drawing.concept.hexcode, drawing.style.name, fold(drawing.concept.family)
        if in_fold == RESERVED_FOLD:
            continue
        if in_fold == HELD_OUT_FOLD:
            if style in (SEEN_STYLE, UNSEEN_STYLE) and code in in_both:
                sets["emoji-unseen-concepts"].append((drawing, picture))
        elif style != UNSEEN_STYLE:
            sets["emoji-train"].append((drawing, picture))
        elif code in trained:
            sets["emoji-unseen-style"].append((drawing, picture))
    return sets


def to_sample(drawing: Drawing, picture: bytes) -> Sample:
    """Make the row: the picture, and a JSON member with as many tags as INFO_BYTES allow."""
    concept, tags = drawing.concept, list(drawing.concept.tags)
    while True:
        info: dict[str, Any] = {
            "caption": concept.caption,
            "captions": [concept.caption, *tags],
            "concept": concept.hexcode,
            "style": drawing.style.name,
            "group": concept.group,
            "subgroup": concept.subgroup,
            "family": concept.family,
            "licence": drawing.style.licence,
            "source": drawing.style.source,
        }
        num_bytes = len(json.dumps(info, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
        if num_bytes <= INFO_BYTES or not tags:
            return Sample(key=drawing.key, members={"webp": picture}, info=info)
        tags.pop()


def _map(icons: list[Icon], draw: partial[bytes], processes: int) -> Iterator[bytes]:
    if processes <= 1:
        yield from map(draw, icons)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(draw, icons, chunksize=32)  # in the order given, whichever process is done first


def _progress(pictures: Iterable[bytes], *, total: int, every: int = 500) -> Iterator[bytes]:
    for done, picture in enumerate(pictures, start=1):
        if done % every == 0 or done == total:
            logger.info("drew %d of %d pictures", done, total)
        yield picture


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.embedded.emoji",
        description="Pack emoji drawings and their names into image-text shards.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  python -m data_pipelines.embedded.emoji --packages packages --out mmcontrast/assets/quickstart\n"
        "  python -m data_pipelines.embedded.emoji --packages packages --vendors all --out data/emoji-all\n"
        "a missing tarball is named together with the npm command that gets it",
    )
    parser.add_argument("--packages", type=Path, required=True, help="folder of npm tarballs (NAME-VERSION.tgz)")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives the three sets")
    parser.add_argument(
        "--vendors",
        choices=sorted(TRAIN_STYLES),
        default="shipped",
        help="all: also train on emojione-v1 and fxemoji, which are not redistributed here (default: shipped)",
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that draw (default: 2)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        manifests = pack_emoji(options.packages, out=options.out, vendors=options.vendors, processes=options.processes)
    except MMContrastError as error:
        logger.error("error: %s", error)
        return 2
    for name, manifest in manifests.items():
        num_bytes = sum(shard.bytes for shard in manifest.shards)
        logger.info("%s: %d rows, %d bytes, %d shards", name, manifest.rows, num_bytes, len(manifest.shards))
    return 0


if __name__ == "__main__":
    sys.exit(main())
