"""Pack Tux Paint's stamps into shards: picture, English caption, spoken caption and sound effect.

Read from the Debian package tuxpaint-stamps-default, at run time only: it is GPL-2 and is not redistributed here.
Rows are split by caption family into ``tuxpaint-train`` and ``tuxpaint-unseen-concepts``; a row without a spoken
caption or an effect lacks that member.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import logging
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from PIL import Image

from data_pipelines.embedded.families import HELD_OUT_FOLD, RESERVED_FOLD, family, fold, plain_words, shuffle_order
from data_pipelines.embedded.rasterise import OVERSAMPLING, Rasteriser, on_white_square, resvg, webp
from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec, Manifest
from mmcontrast.errors import MMContrastError, ShardError

PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("/usr/share/tuxpaint/stamps")
SHORTEST_SECONDS = 0.3  # shorter clips are clicks and cut-off files
CHARACTERS_PER_SECOND = (3.0, 30.0)  # outside it the clip does not say its text
COLUMNS = {
    "image": ColumnSpec(modality="image", extension="webp"),
    "text": ColumnSpec(modality="text", extension="json", field="captions"),
    "text.spoken": ColumnSpec(modality="text", extension="json", field="spoken_caption"),
    "audio.spoken": ColumnSpec(modality="audio", extension="spoken.ogg"),
    "audio.effect": ColumnSpec(modality="audio", extension="effect.ogg"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """One stamp as it lies in the package."""

    name: str  # path below the stamps folder without its extension
    caption: str  # English
    spoken_caption: str  # in the chosen language, or ""
    picture: Path
    spoken: Path | None
    effect: Path | None

    @property
    def family(self) -> str:
        """Captions of one family stay on one side of the split."""
        return stamp_family(self.caption)


def pack_tuxpaint(
    stamps_folder: Path,
    *,
    out: Path,
    language: str = "fr",
    size: int = 128,
    quality: int = 90,
    processes: int = 2,
    rasteriser: Rasteriser = resvg,
) -> dict[str, Manifest]:
    """Write the two sets under ``out``.

    Args:
        language: of the spoken captions, as the package names it ("fr", "es", "ru", "ro", "ca", "bg", "da").
        size: side of the square pictures in pixels.
        quality: WebP quality, 0 to 100.

    Raises:
        ShardError: the folder holds no stamps.
        MissingPackage: resvg-py is not installed.
    """
    stamps = [stamp for stamp in find_stamps(stamps_folder, language) if fold(stamp.family) != RESERVED_FOLD]
    stamps = drop_copies(stamps)
    version = package_version(stamps_folder)
    draw = partial(read_picture, size=size, quality=quality, rasteriser=rasteriser)
    samples = draw_stamps(stamps, draw, language=language, version=version, processes=processes)
    made_by = {
        "job": "data_pipelines.embedded.tuxpaint",
        "parameters": {"language": language, "size": size, "quality": quality},
        "sources": {f"{PACKAGE}@{version}": "GPL-2"},
    }
    return {
        name: write_shards(
            sorted(rows, key=lambda row: shuffle_order(row.key)),
            folder=out / name,
            name=name,
            columns=COLUMNS,
            labels={"group": "group"},
            made_by=made_by,
            rows_per_shard=200,
        )
        for name, rows in samples.items()
    }


def draw_stamps(
    stamps: list[Stamp],
    draw: Callable[[Path], bytes | None],
    *,
    language: str,
    version: str,
    processes: int,
) -> dict[str, list[Sample]]:
    """Make the rows of the two sets; a stamp without a picture to see is logged and left out."""
    samples: dict[str, list[Sample]] = {"tuxpaint-train": [], "tuxpaint-unseen-concepts": []}
    with ProcessPoolExecutor(max(1, processes)) as pool:
        pictures = pool.map(draw, [stamp.picture for stamp in stamps], chunksize=16)
        for done, (stamp, picture) in enumerate(zip(stamps, pictures, strict=True), start=1):
            if done % 200 == 0 or done == len(stamps):
                logger.info("read %d of %d stamps", done, len(stamps))
            if picture is None:
                logger.warning("left out %s: its picture cannot be drawn, or is blank on white", stamp.name)
                continue
            held_out = fold(stamp.family) == HELD_OUT_FOLD
            name = "tuxpaint-unseen-concepts" if held_out else "tuxpaint-train"
            samples[name].append(to_sample(stamp, picture, language=language, version=version))
    return samples


def stamp_family(caption: str) -> str:
    """Name the family of a caption, articles left out ("A red kangaroo." -> "red kangaroo")."""
    return family(" ".join(word for word in plain_words(caption) if word not in ("a", "an", "the")))


def find_stamps(folder: Path, language: str) -> list[Stamp]:
    """List the stamps that have a text and a picture, sorted by name.

    Raises:
        ShardError: there are none.
    """
    stamps = []
    for text_path in sorted(folder.rglob("*.txt")):
        lines = text_path.read_text(encoding="utf-8", errors="replace").splitlines()
        caption = lines[0].strip() if lines else ""
        base = text_path.with_suffix("")
        pictures = [path for path in (base.with_suffix(".svg"), base.with_suffix(".png")) if path.is_file()]
        if not caption or not pictures:
            continue
        translations = dict(line.split(".utf8=", 1) for line in lines[1:] if ".utf8=" in line)
        spoken_caption = translations.get(language, "").strip()
        spoken = base.with_name(f"{base.name}_desc_{language}.ogg")
        effect = base.with_suffix(".ogg")
        name = text_path.relative_to(folder).with_suffix("").as_posix()
        is_symbol = name.startswith("symbols/")  # there NAME.ogg says the letter or digit: not an effect
        stamps.append(
            Stamp(
                name=name,
                caption=caption,
                spoken_caption=spoken_caption,
                picture=pictures[0],
                spoken=spoken if spoken_caption and says_its_text(spoken, spoken_caption) else None,
                effect=effect if not is_symbol and (clip_seconds(effect) or 0.0) >= SHORTEST_SECONDS else None,
            )
        )
    if not stamps:
        raise ShardError(
            f"no stamps in '{folder}'. Install the package (apt-get install {PACKAGE}), or unpack it and name its "
            "usr/share/tuxpaint/stamps with --stamps."
        )
    return stamps


def clip_seconds(path: Path) -> float | None:
    """Length of a sound file, or None where there is none that can be read."""
    import soundfile

    if not path.is_file():
        return None
    try:
        return float(soundfile.info(str(path)).duration)
    except soundfile.LibsndfileError:
        logger.warning("left out %s: not a sound file that libsndfile reads", path)
        return None


def says_its_text(path: Path, text: str) -> bool:
    """Whether a clip is long enough, and neither too long nor too short for its text."""
    seconds = clip_seconds(path)
    if seconds is None or seconds < SHORTEST_SECONDS:
        return False
    return CHARACTERS_PER_SECOND[0] <= len(text) / seconds <= CHARACTERS_PER_SECOND[1]


def drop_copies(stamps: list[Stamp]) -> list[Stamp]:
    """Leave out media that lie in the package under several texts, and repeats of one picture and caption.

    A picture under two captions drops its stamps; a clip under two texts is dropped from its stamps.
    """

    def text_of(stamp: Stamp) -> str:
        return stamp.caption.lower()

    pictures = _texts_by_content(stamps, lambda stamp: stamp.picture, text_of)
    spoken = _texts_by_content(stamps, lambda stamp: stamp.spoken, lambda stamp: stamp.spoken_caption.lower())
    effects = _texts_by_content(stamps, lambda stamp: stamp.effect, text_of)
    kept, seen = [], set()
    for stamp in stamps:
        digest = _digest(stamp.picture)
        if len(pictures[digest]) > 1 or digest in seen:
            continue
        seen.add(digest)
        kept.append(
            Stamp(
                name=stamp.name,
                caption=stamp.caption,
                spoken_caption=stamp.spoken_caption,
                picture=stamp.picture,
                spoken=stamp.spoken if stamp.spoken and len(spoken[_digest(stamp.spoken)]) == 1 else None,
                effect=stamp.effect if stamp.effect and len(effects[_digest(stamp.effect)]) == 1 else None,
            )
        )
    logger.info("kept %d of %d stamps: the rest repeat a picture", len(kept), len(stamps))
    return kept


def _texts_by_content(
    stamps: list[Stamp], path_of: Callable[[Stamp], Path | None], text_of: Callable[[Stamp], str]
) -> dict[str, set[str]]:
    texts: dict[str, set[str]] = {}
    for stamp in stamps:
        path = path_of(stamp)
        if path is not None:
            texts.setdefault(_digest(path), set()).add(text_of(stamp))
    return texts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_picture(path: Path, *, size: int, quality: int, rasteriser: Rasteriser) -> bytes | None:
    """Draw a stamp on white, its empty margin cut off, and encode it; None where nothing can be seen."""
    try:
        if path.suffix == ".svg":
            svg = path.read_text(encoding="utf-8", errors="replace")
            content = rasteriser(svg, size * OVERSAMPLING)
        else:
            content = path.read_bytes()
        stamp = Image.open(io.BytesIO(content)).convert("RGBA")
    except (OSError, ValueError) as error:
        logger.debug("%s: %s", path, error)
        return None
    # Some stamps are a small drawing on an empty page, and some are white on nothing.
    inked = stamp.getchannel("A").getbbox()
    square = on_white_square(stamp.crop(inked), size) if inked else None
    if square is None or min(low for low, _ in cast("tuple[tuple[int, int], ...]", square.getextrema())) > 250:
        return None
    return webp(square, quality)


def to_sample(stamp: Stamp, picture: bytes, *, language: str, version: str) -> Sample:
    """Make one row; sound members are the package's own files."""
    members = {"webp": picture}
    if stamp.spoken is not None:
        members["spoken.ogg"] = stamp.spoken.read_bytes()
    if stamp.effect is not None:
        members["effect.ogg"] = stamp.effect.read_bytes()
    info = {
        "caption": stamp.caption,
        "captions": [stamp.caption],
        "group": stamp.name.split("/")[0],
        "family": stamp.family,
        "licence": "GPL-2",
        "source": f"{PACKAGE}@{version}",
        "path": stamp.name,
    }
    if stamp.spoken_caption:
        info |= {"spoken_caption": stamp.spoken_caption, "language": language}
    return Sample(key=re.sub(r"[^a-z0-9-]+", "_", f"tuxpaint-{stamp.name}".lower()), members=members, info=info)


def package_version(stamps_folder: Path) -> str:
    """Version of the package that the stamps come from, out of its changelog; "unknown" where that is missing."""
    path = stamps_folder.parents[1] / "doc" / PACKAGE / "changelog.Debian.gz"
    if not path.is_file():
        return "unknown"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        found = re.search(r"\(([^)]+)\)", stream.readline())
    return found.group(1) if found else "unknown"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.embedded.tuxpaint",
        description="Pack Tux Paint's stamps: picture, caption, spoken caption and sound effect.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  apt-get install tuxpaint-stamps-default\n"
        "  python -m data_pipelines.embedded.tuxpaint --out data/tuxpaint\n"
        "  python -m data_pipelines.embedded.tuxpaint --out data/tuxpaint-es --language es --size 224",
    )
    parser.add_argument("--stamps", type=Path, default=STAMPS, help=f"the stamps folder (default: {STAMPS})")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives the two sets")
    parser.add_argument("--language", default="fr", help="of the spoken captions: fr es ru ro ca bg da (default: fr)")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels (default: 128)")
    parser.add_argument("--processes", type=int, default=2, help="processes that draw (default: 2)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        manifests = pack_tuxpaint(
            options.stamps.resolve(),
            out=options.out,
            language=options.language,
            size=options.size,
            processes=options.processes,
        )
    except MMContrastError as error:
        logger.error("error: %s", error)
        return 2
    for name, manifest in manifests.items():
        num_bytes = sum(shard.bytes for shard in manifest.shards)
        logger.info("%s: %d rows, %d bytes, %d shards", name, manifest.rows, num_bytes, len(manifest.shards))
    return 0


if __name__ == "__main__":
    sys.exit(main())
