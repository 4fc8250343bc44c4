"""Pack CC0 sound effects with captions written from their names: ``effects-train`` and ``effects-test``.

Reads Debian's sonic-pi-samples (each file's licence from the package's copyright file) and the sounds in the wheel of
PyPI's arcade (Kenney).  Numbered variants of one thing share a caption: the last of three or more goes to the test
set, so that the test asks for a thing that was heard, in a recording that was not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.embedded.families import shuffle_order
from data_pipelines.embedded.sound_files import RATE, encode_opus, faded
from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.decode import decode_audio
from mmcontrast.data.manifest import ColumnSpec, Manifest
from mmcontrast.errors import MMContrastError, ShardError

SECONDS = 2.0
SHORTEST_SECONDS = 0.1
CAPTIONS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "effects_captions.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One decoded sound with what its row says."""

    name: str
    caption: str
    wave: np.ndarray
    licence: str
    source: str


def cc0_files(copyright_text: str) -> set[str]:
    """Return the sample names that a Debian copyright file puts under CC0 in a stanza of their own."""
    names = set()
    for stanza in re.split(r"\n(?=Files:)", copyright_text):
        licence = re.search(r"^License: (.+)$", stanza, re.M)
        if licence and licence.group(1).strip().startswith("CC0"):
            names |= set(re.findall(r"etc/samples/(\w+)\.flac", stanza))
    return names


def read_sonic_pi(folder: Path, copyright_file: Path, *, source: str) -> Iterator[Effect]:
    """Yield the CC0 samples that have a caption.

    Raises:
        ShardError: the package is not there.
    """
    if not folder.is_dir() or not copyright_file.is_file():
        raise ShardError(f"no samples in '{folder}'. Install the Debian package 'sonic-pi-samples'.")
    free = cc0_files(copyright_file.read_text(encoding="utf-8"))
    for name, caption in CAPTIONS["sonic-pi"].items():
        path = folder / f"{name}.flac"
        if not path.is_file() or name not in free:
            print(f"  left out, not CC0 in a stanza of its own or missing: {name}", file=sys.stderr)
            continue
        wave = decode_audio(path.read_bytes(), key=name, sample_rate_hz=RATE, max_seconds=SECONDS)
        yield Effect(name=name, caption=caption, wave=wave, licence="CC0-1.0", source=source)


def read_arcade(wheel: Path, *, source: str) -> Iterator[Effect]:
    """Yield the sounds of arcade's wheel, one format of each.

    Raises:
        ShardError: the wheel is not there.
    """
    if not wheel.is_file():
        raise ShardError(f"no wheel at '{wheel}'. Fetch it with: pip download --no-deps arcade==3.3.3")
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(archive.namelist()):
            match = re.fullmatch(r"arcade/resources/assets/sounds/(([A-Za-z]+)\d*)\.wav", entry)
            if match and match.group(2) in CAPTIONS["arcade"]:
                content = archive.read(entry)
                wave = decode_audio(content, key=entry, sample_rate_hz=RATE, max_seconds=SECONDS)
                caption = CAPTIONS["arcade"][match.group(2)]
                yield Effect(name=match.group(1), caption=caption, wave=wave, licence="CC0-1.0", source=source)


def split(effects: list[Effect]) -> tuple[list[Effect], list[Effect]]:
    """Hold out the last recording of every caption that has at least three."""
    by_caption: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_caption[effect.caption].append(effect)
    held_out = {group[-1].name for group in by_caption.values() if len(group) >= 3}
    return (
        [effect for effect in effects if effect.name not in held_out],
        [effect for effect in effects if effect.name in held_out],
    )


def to_sample(effect: Effect) -> Sample:
    """Encode one effect as a row."""
    info = {
        "caption": effect.caption,
        "captions": [effect.caption],
        "kind": "effect",
        "name": effect.name,
        "licence": effect.licence,
        "source": effect.source,
    }
    wave = faded(effect.wave, samples=round(SECONDS * RATE))
    return Sample(key=f"effect-{effect.name}", members={"ogg": encode_opus(wave)}, info=info)


def pack(effects: list[Effect], *, out: Path, name: str) -> Manifest:
    """Write one set."""
    samples = sorted((to_sample(effect) for effect in effects), key=lambda sample: shuffle_order(sample.key))
    return write_shards(
        samples,
        folder=out / name,
        name=name,
        columns={
            "audio": ColumnSpec(modality="audio", extension="ogg"),
            "text": ColumnSpec(modality="text", extension="json", field="captions"),
        },
        labels={"caption": "caption"},
        made_by={
            "job": "data_pipelines.embedded.effects",
            "sample_rate_hz": RATE,
            "sources": sorted({effect.source for effect in effects}),
        },
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the job."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  pip download --no-deps arcade==3.3.3\n"
        "  python -m data_pipelines.embedded.effects --arcade arcade-3.3.3-py3-none-any.whl "
        "--out mmcontrast/assets/quickstart",
    )
    parser.add_argument("--samples", type=Path, default=Path("/usr/share/sonic-pi/samples"))
    parser.add_argument("--copyright", type=Path, default=Path("/usr/share/doc/sonic-pi-samples/copyright"))
    parser.add_argument("--arcade", type=Path, required=True, help="arcade's wheel")
    parser.add_argument("--out", type=Path, required=True)
    parsed: Any = parser.parse_args(arguments)
    try:
        effects = [
            *read_sonic_pi(parsed.samples, parsed.copyright, source="sonic-pi-samples 3.2.2~repack-8"),
            *read_arcade(parsed.arcade, source="arcade 3.3.3 (Kenney)"),
        ]
    except MMContrastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    effects = [effect for effect in effects if len(effect.wave) >= SHORTEST_SECONDS * RATE]
    train, test = split(effects)
    for manifest in (
        pack(train, out=parsed.out, name="effects-train"),
        pack(test, out=parsed.out, name="effects-test"),
    ):
        print(f"{manifest.name}: {manifest.rows} rows, {sum(shard.bytes for shard in manifest.shards):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
