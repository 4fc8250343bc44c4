"""The shipped emoji shards, and the job that makes them, on a made-up package."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_pipelines.embedded import emoji
from data_pipelines.embedded.emoji_sources import (
    STYLES,
    Concept,
    Icon,
    match_names,
    plain_hexcode,
    read_concepts,
    resolve_icon,
    useful_tags,
)
from data_pipelines.embedded.families import HELD_OUT_FOLD, RESERVED_FOLD, family, fold, squeezed
from data_pipelines.embedded.rasterise import on_white_square
from mmcontrast.data.manifest import Manifest, file_sha256, read_manifest
from mmcontrast.errors import ConfigError, MissingPackage, ShardError

QUICKSTART = Path(__file__).parents[2] / "mmcontrast" / "assets" / "quickstart"
LARGEST_BYTES = 17_000_000

Row = tuple[str, dict[str, Any], bytes]  # key, info, picture


def read_rows(folder: Path, manifest: Manifest) -> list[Row]:
    members: dict[str, dict[str, bytes]] = {}
    for shard in manifest.shards:
        with tarfile.open(folder / shard.path) as tar:
            for entry in tar:
                stream = tar.extractfile(entry)
                assert stream is not None
                key, extension = entry.name.split(".")
                members.setdefault(key, {})[extension] = stream.read()
    return [(key, json.loads(member["json"]), member["webp"]) for key, member in members.items()]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Manifest]:
    return {name: read_manifest(QUICKSTART / name) for name in emoji.SETS}


@pytest.fixture(scope="module")
def rows(manifests: dict[str, Manifest]) -> dict[str, list[Row]]:
    return {name: read_rows(QUICKSTART / name, manifest) for name, manifest in manifests.items()}


def column(rows: list[Row], name: str) -> set[Any]:
    return {info[name] for _, info, _ in rows}


# --- the shipped shards


def test_manifests_tell_the_truth(manifests: dict[str, Manifest], rows: dict[str, list[Row]]) -> None:
    for name, manifest in manifests.items():
        assert manifest.rows == len(rows[name])
        assert sum(manifest.licences.values()) == manifest.rows
        for shard in manifest.shards:
            path = QUICKSTART / name / shard.path
            assert (path.stat().st_size, file_sha256(path)) == (shard.bytes, shard.sha256)
        for label in manifest.labels.values():
            assert set(label.classes) == column(rows[name], label.field)


def test_the_sets_keep_to_their_size(manifests: dict[str, Manifest]) -> None:
    assert sum(shard.bytes for manifest in manifests.values() for shard in manifest.shards) <= LARGEST_BYTES


def test_every_picture_decodes_to_the_stated_size(manifests: dict[str, Manifest], rows: dict[str, list[Row]]) -> None:
    for name, manifest in manifests.items():
        size = manifest.made_by["parameters"]["size"]
        for key, _, picture in rows[name]:
            image = Image.open(io.BytesIO(picture))
            image.load()
            assert (image.size, image.mode, image.format) == ((size, size), "RGB", "WEBP"), key


def test_every_row_names_a_style_with_its_licence_and_source(rows: dict[str, list[Row]]) -> None:
    for _, info, _ in (row for own in rows.values() for row in own):
        style = STYLES[info["style"]]
        assert (info["licence"], info["source"]) == (style.licence, style.source)


def test_held_out_families_do_not_train_and_reserved_ones_are_nowhere(rows: dict[str, list[Row]]) -> None:
    folds = {name: {fold(one) for one in column(own, "family")} for name, own in rows.items()}
    assert folds["emoji-unseen-concepts"] == {HELD_OUT_FOLD}
    for name in ("emoji-train", "emoji-unseen-style"):
        assert not folds[name] & {HELD_OUT_FOLD, RESERVED_FOLD}
    assert not column(rows["emoji-train"], "family") & column(rows["emoji-unseen-concepts"], "family")
    for _, info, _ in (row for own in rows.values() for row in own):
        assert info["family"] == family(info["caption"])


def test_styles_are_where_they_belong(rows: dict[str, list[Row]]) -> None:
    assert column(rows["emoji-train"], "style") == set(emoji.TRAIN_STYLES["shipped"])
    assert column(rows["emoji-unseen-style"], "style") == {emoji.UNSEEN_STYLE}
    assert column(rows["emoji-unseen-style"], "concept") <= column(rows["emoji-train"], "concept")
    by_style = [
        {info["concept"] for _, info, _ in rows["emoji-unseen-concepts"] if info["style"] == style}
        for style in (emoji.SEEN_STYLE, emoji.UNSEEN_STYLE)
    ]
    assert by_style[0] == by_style[1]
    assert {"flags", "component"}.isdisjoint(set().union(*(column(own, "group") for own in rows.values())))


def test_a_concept_has_one_caption_and_a_caption_one_concept(rows: dict[str, list[Row]]) -> None:
    captions: dict[str, set[str]] = {}
    for _, info, _ in (row for own in rows.values() for row in own):
        captions.setdefault(info["concept"], set()).add(info["caption"])
        assert info["captions"][0] == info["caption"]
    assert all(len(own) == 1 for own in captions.values())
    names = [squeezed(own.pop()) for own in captions.values()]
    assert len(set(names)) == len(names)
    for _, info, _ in (row for own in rows.values() for row in own):
        assert not {squeezed(tag) for tag in info["captions"][1:]} & set(names), "a tag is another concept's name"


def test_no_picture_occurs_twice(rows: dict[str, list[Row]]) -> None:
    pictures = [hashlib.sha256(picture).digest() for own in rows.values() for _, _, picture in own]
    assert len(set(pictures)) == len(pictures)


def test_neighbours_in_train_are_not_sorted_by_style(rows: dict[str, list[Row]]) -> None:
    styles = [info["style"] for _, info, _ in rows["emoji-train"]]
    changes = sum(one != other for one, other in zip(styles, styles[1:], strict=False))
    assert changes > len(styles) / 2


def test_attribution_names_every_source(manifests: dict[str, Manifest]) -> None:
    text = (QUICKSTART / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for manifest in manifests.values():
        for source, licence in manifest.made_by["sources"].items():
            package, _, version = source.rpartition("@")
            assert f"{package} {version}" in text
            assert licence in text


# --- the parts of the job


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("man judge", "judge"),
        ("judge", "judge"),
        ("woman walking: facing right", "walking"),
        ("family: man, woman, girl, boy", "family"),
        ("man", "person"),
        ("merman", "merperson"),
        ("piñata", "pinata"),
        ("nine o’clock", "nine oclock"),
    ],
)
def test_family(caption: str, expected: str) -> None:
    assert family(caption) == expected


def test_fold_is_sha1_modulo_ten() -> None:
    assert [fold(name) for name in ("judge", "cat", "walking")] == [
        int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 for name in ("judge", "cat", "walking")
    ]


def concept(hexcode: str, caption: str, unicode_name: str = "") -> Concept:
    return Concept(
        hexcode=hexcode, caption=caption, tags=(), unicode_name=unicode_name, group="objects", subgroup="tool"
    )


def test_plain_hexcode_drops_the_variation_selector() -> None:
    assert plain_hexcode("1F636-200D-1F32B-FE0F") == "1f636-200d-1f32b"


def test_names_match_by_letters_and_digits_and_one_drawing_goes_to_one_concept() -> None:
    concepts = [
        concept("1", "cricket"),
        concept("2", "cricket game"),
        concept("3", "bullseye", "DIRECT HIT"),
        concept("4", "1st place medal"),
        concept("5", "nothing like it"),
    ]
    icons: dict[str, Any] = {"cricket-game": {}, "direct-hit": {}, "1st-place-medal": {}}
    matched = match_names(concepts, icons=icons, aliases={"cricket": {"parent": "cricket-game"}})
    assert matched == {"2": "cricket-game", "3": "direct-hit", "4": "1st-place-medal"}


def test_aliases_follow_their_parents_and_mirror() -> None:
    icons = {
        "width": 32,
        "height": 32,
        "icons": {"left": {"body": "<g/>", "height": 16}},
        "aliases": {"right": {"parent": "left", "hFlip": True}, "east": {"parent": "right"}, "gone": {"parent": "x"}},
    }
    east = resolve_icon(icons, "east")
    assert east is not None and east.mirrored and 'viewBox="0 0 32 16"' in east.svg
    assert resolve_icon(icons, "gone") is None
    with pytest.raises(ShardError, match="points to itself"):
        resolve_icon({"icons": {}, "aliases": {"a": {"parent": "b"}, "b": {"parent": "a"}}}, "a")


def test_useful_tags_name_no_other_concept_and_are_not_common() -> None:
    common = [["face", f"tag {index}"] for index in range(20)]
    captions = [f"caption {index}" for index in range(20)]
    kept = useful_tags([["Caption 1", "!", *common[0]], *common[1:]], captions)
    assert kept[:2] == [("tag 0",), ("tag 1",)]


def test_a_picture_is_centred_on_white() -> None:
    square = on_white_square(Image.new("RGBA", (40, 20), (255, 0, 0, 255)), 20)
    assert square.size == (20, 20)
    assert [square.getpixel((10, y)) for y in (0, 10, 19)] == [(255, 255, 255), (255, 0, 0), (255, 255, 255)]
    clear = on_white_square(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 4)
    assert clear.getcolors() == [(16, (255, 255, 255))]


# --- the whole job, on made-up packages


def write_package(folder: Path, name: str, members: dict[str, Any]) -> None:
    with tarfile.open(folder / name, "w:gz") as tar:
        for member, content in members.items():
            text = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    names = [f"thing {index}" for index in range(60)]
    data: list[dict[str, Any]] = [
        {"label": name, "hexcode": f"1F{index:03X}", "tags": [f"tag {index}"], "group": 7, "subgroup": 78}
        for index, name in enumerate(names)
    ]
    data.append({"label": "flag: nowhere", "hexcode": "1FFFF", "group": 9, "subgroup": 97})
    groups = {"groups": {"7": "objects", "9": "flags"}, "subgroups": {"78": "tool", "97": "flag"}}
    write_package(
        folder,
        "emojibase-data-17.0.0.tgz",
        {"en/data.json": data, "meta/groups.json": groups, "meta/unicode-names.json": {}},
    )
    for style in (*emoji.TRAIN_STYLES["shipped"], emoji.UNSEEN_STYLE):
        icons = {name.replace(" ", "-"): {"body": f"<g id='{style} {name}'/>"} for name in names}
        chars = {row["hexcode"].lower(): row["label"].replace(" ", "-") for row in data}
        write_package(
            folder,
            f"iconify-json-{style}-{STYLES[style].version}.tgz",
            {"icons.json": {"width": 16, "height": 16, "icons": icons}, "chars.json": chars},
        )
    return folder


def checkers(svg: str, pixels: int) -> bytes:
    """Stand in for the SVG renderer: a picture that depends on every letter of the SVG."""
    digest = hashlib.sha256(svg.encode()).digest()[:16]
    stream = io.BytesIO()
    Image.frombytes("L", (4, 4), digest).resize((pixels, pixels), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def test_two_runs_give_the_same_bytes_with_one_process_or_two(packages: Path, tmp_path: Path) -> None:
    digests = []
    for run, processes in (("one", 1), ("two", 2)):
        out = tmp_path / run
        emoji.pack_emoji(packages, out=out, size=16, processes=processes, rasteriser=checkers)
        digests.append(
            {str(path.relative_to(out)): file_sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


def test_the_made_up_sets_split_by_fold(packages: Path, tmp_path: Path) -> None:
    made = emoji.pack_emoji(packages, out=tmp_path / "out", size=16, processes=1, rasteriser=checkers)
    folds = [fold(one.family) for one in read_concepts(packages)]
    num_held_out = folds.count(HELD_OUT_FOLD)
    num_trained = len(folds) - num_held_out - folds.count(RESERVED_FOLD)
    assert len(folds) == 60 and num_held_out > 0
    assert [made[name].rows for name in emoji.SETS] == [3 * num_trained, num_trained, 2 * num_held_out]


def test_equal_drawings_are_packed_once() -> None:
    drawings = [
        emoji.Drawing(concept=concept(code, f"thing {code}"), style=STYLES["noto"], icon=Icon(svg="", mirrored=False))
        for code in "abc"
    ]
    kept = emoji.without_twins([(drawings[0], b"one"), (drawings[1], b"two"), (drawings[2], b"one")])
    assert [drawing.key for drawing, _ in kept] == ["noto-a", "noto-b"]


def test_an_empty_set_is_refused_before_anything_is_written(packages: Path, tmp_path: Path) -> None:
    def same(svg: str, pixels: int) -> bytes:
        return checkers(svg.split("thing")[1], pixels)  # every style draws alike: only the first one's rows are left

    with pytest.raises(ShardError, match="emoji-unseen-style"):
        emoji.pack_emoji(packages, out=tmp_path / "out", size=16, processes=1, rasteriser=same)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_command(
    packages: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (packages / "iconify-json-twemoji-1.2.5.tgz").unlink()
    with pytest.raises(MissingPackage, match="npm pack @iconify-json/twemoji@1.2.5"):
        emoji.pack_emoji(packages, out=tmp_path / "out", processes=1, rasteriser=checkers)
    assert emoji.main(["--packages", str(packages), "--out", str(tmp_path / "out")]) == 2
    assert "npm pack @iconify-json/twemoji@1.2.5" in caplog.text


def test_a_damaged_package_is_named(packages: Path) -> None:
    (packages / "emojibase-data-17.0.0.tgz").write_bytes(b"not a tarball")
    with pytest.raises(ShardError, match="emojibase-data-17.0.0.tgz"):
        read_concepts(packages)


def test_all_vendors_are_never_written_into_the_assets(packages: Path) -> None:
    with pytest.raises(ConfigError, match="must lie outside"):
        emoji.pack_emoji(packages, out=QUICKSTART, vendors="all", rasteriser=checkers)
