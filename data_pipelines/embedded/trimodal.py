"""Join pictures and sounds of the same thing into rows of three modalities: ``trimodal-train``, ``trimodal-test``.

Reads the packed emoji, instruments and effects, and a reviewed table that says which drawing is which sound.  Training
joins training styles with the training font; the test joins the unseen style with the unseen font and with held-out
effects.  Things whose drawing is held out are left out and named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipelines.embedded.families import shuffle_order
from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec, Manifest
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import MMContrastError

JOIN: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "trimodal_join.json").read_text(encoding="utf-8")
)
MEDIA = ("webp", "png", "ogg")


@dataclass(frozen=True)
class Clip:
    """One packed row: its media bytes and its JSON member."""

    media: bytes
    info: dict[str, Any]


def read_clips(folders: list[Path]) -> list[Clip]:
    """Read every row of some packed sets."""
    clips = []
    for folder in folders:
        shards = ShardSet(folder)
        for number in range(len(shards)):
            raw = shards[number]
            (media,) = (content for extension, content in raw.members.items() if extension in MEDIA)
            clips.append(Clip(media, raw.info()))
    return clips


def join(pictures: list[Clip], sounds: list[Clip], *, per_thing: int) -> list[Sample]:
    """Pair each thing's sounds with its pictures in turn, at most ``per_thing`` rows of each."""
    by_concept: dict[str, list[Clip]] = defaultdict(list)
    for picture in pictures:
        by_concept[picture.info["concept"]].append(picture)
    samples = []
    for thing, entry in JOIN.items():
        drawings = sorted(by_concept[entry["concept"]], key=lambda clip: str(clip.info["style"]))
        wanted = {*entry["instruments"], *entry["effects"]}
        chosen = [
            sound
            for sound in sounds
            if sound.info["kind"] != "sequence" and (sound.info.get("instrument") or sound.info.get("name")) in wanted
        ]
        if not drawings or not chosen:
            lacking = "drawing" if not drawings else "sound"
            print(f"  left out, no {lacking} in these sets: {thing}", file=sys.stderr)
            continue
        chosen = _in_turn(chosen)[:per_thing]
        samples += [
            _sample(thing, drawings[number % len(drawings)], sound, number) for number, sound in enumerate(chosen)
        ]
    return samples


def _in_turn(sounds: list[Clip]) -> list[Clip]:
    """Order sounds so that every instrument or effect comes once before any comes twice."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for sound in sorted(sounds, key=lambda clip: shuffle_order(json.dumps(clip.info, sort_keys=True))):
        groups[str(sound.info.get("instrument") or sound.info["caption"])].append(sound)
    longest = max(len(group) for group in groups.values())
    return [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]


def _sample(thing: str, picture: Clip, sound: Clip, number: int) -> Sample:
    plain = sound.info["captions"][1] if sound.info["kind"] == "single" else sound.info["caption"]
    info = {
        "caption": plain,
        "captions": [plain, picture.info["caption"]],
        "thing": thing,
        "concept": picture.info["concept"],
        "style": picture.info["style"],
        "sound": sound.info.get("instrument") or sound.info["name"],
        "licence": f"{picture.info['licence']} (image), {sound.info['licence']} (audio)",
        "source": f"{picture.info['source']} (image), {sound.info['source']} (audio)",
    }
    key = f"{thing.replace(' ', '-')}-{number:02d}"
    return Sample(key=key, members={"webp": picture.media, "ogg": sound.media}, info=info)


def pack(samples: list[Sample], *, out: Path, name: str, made_from: list[str]) -> Manifest:
    """Write one set."""
    return write_shards(
        sorted(samples, key=lambda sample: shuffle_order(sample.key)),
        folder=out / name,
        name=name,
        columns={
            "image": ColumnSpec(modality="image", extension="webp"),
            "audio": ColumnSpec(modality="audio", extension="ogg"),
            "text": ColumnSpec(modality="text", extension="json", field="captions"),
        },
        labels={"thing": "thing"},
        made_by={"job": "data_pipelines.embedded.trimodal", "made_from": made_from},
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the job."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m data_pipelines.embedded.trimodal --sets mmcontrast/assets/quickstart",
    )
    parser.add_argument("--sets", type=Path, required=True, help="folder of the packed sets; receives the joined ones")
    parser.add_argument("--train-rows", type=int, default=12, help="most training rows of one thing")
    parser.add_argument("--test-rows", type=int, default=6, help="most test rows of one thing")
    parsed: Any = parser.parse_args(arguments)
    plans = (
        ("trimodal-train", ["emoji-train"], ["instruments-train", "effects-train"], parsed.train_rows),
        ("trimodal-test", ["emoji-unseen-style"], ["instruments-unseen-font", "effects-test"], parsed.test_rows),
    )
    try:
        for name, pictures, sounds, rows in plans:
            print(f"{name}:", file=sys.stderr)
            samples = join(
                read_clips([parsed.sets / each for each in pictures]),
                read_clips([parsed.sets / each for each in sounds]),
                per_thing=rows,
            )
            manifest = pack(samples, out=parsed.sets, name=name, made_from=[*pictures, *sounds])
            print(f"{name}: {manifest.rows} rows, {sum(shard.bytes for shard in manifest.shards):,} bytes")
    except MMContrastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
