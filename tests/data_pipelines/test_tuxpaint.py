"""The stamps job, on a made-up folder of stamps."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_pipelines.embedded import tuxpaint
from data_pipelines.embedded.families import HELD_OUT_FOLD, RESERVED_FOLD, fold
from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import ShardError


def write_clip(path: Path, seconds: float, pitch: int) -> None:
    times = np.arange(int(8000 * seconds)) / 8000
    soundfile.write(str(path), 0.1 * np.sin(2 * np.pi * pitch * times), 8000)


def write_stamp(
    folder: Path, name: str, caption: str, *, shade: int, spoken: float = 0.0, effect: float = 0.0
) -> None:
    base = folder / name
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".txt").write_text(f"{caption}\nfr.utf8=Une chose nommée {shade}.\n", encoding="utf-8")
    picture = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    picture.paste((shade, 0, 0, 255), (5, 5, 15, 15))
    picture.save(base.with_suffix(".png"))
    if spoken:
        write_clip(base.with_name(f"{base.name}_desc_fr.ogg"), spoken, 200 + shade)
    if effect:
        write_clip(base.with_suffix(".ogg"), effect, 900 + shade)


@pytest.fixture
def stamps_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "tuxpaint" / "stamps"
    for index in range(40):
        write_stamp(folder, f"animals/creature{index}", f"A creature {index}.", shade=index + 1)
    return folder


def test_clips_that_do_not_say_their_text_are_left_out(tmp_path: Path) -> None:
    write_stamp(tmp_path, "food/good", "A good one.", shade=1, spoken=2.0, effect=0.5)
    write_stamp(tmp_path, "food/short", "A short one.", shade=2, spoken=0.2, effect=0.2)
    write_stamp(tmp_path, "food/slow", "A slow one.", shade=3, spoken=30.0)
    write_stamp(tmp_path, "symbols/letter", "The letter B.", shade=4, effect=0.5)
    found = {stamp.name: stamp for stamp in tuxpaint.find_stamps(tmp_path, "fr")}
    kept = {name: (stamp.spoken is not None, stamp.effect is not None) for name, stamp in found.items()}
    assert kept == {
        "food/good": (True, True),
        "food/short": (False, False),
        "food/slow": (False, False),
        "symbols/letter": (False, False),
    }


def test_one_content_under_two_texts_is_dropped_and_a_repeat_is_kept_once(tmp_path: Path) -> None:
    write_stamp(tmp_path, "food/a", "An apple.", shade=1)
    write_stamp(tmp_path, "food/b", "A pear.", shade=1)
    write_stamp(tmp_path, "food/c", "A plum.", shade=2)
    write_stamp(tmp_path, "food/d", "A plum.", shade=2)
    write_stamp(tmp_path, "food/e", "A fig.", shade=3, effect=0.5)
    write_stamp(tmp_path, "food/f", "A date.", shade=4)
    (tmp_path / "food/f.ogg").write_bytes((tmp_path / "food/e.ogg").read_bytes())
    kept = tuxpaint.drop_copies(tuxpaint.find_stamps(tmp_path, "fr"))
    assert [(stamp.name, stamp.effect) for stamp in kept] == [("food/c", None), ("food/e", None), ("food/f", None)]


def test_the_sets_split_by_family_and_repeat_byte_for_byte(stamps_folder: Path, tmp_path: Path) -> None:
    digests = []
    for run in ("one", "two"):
        out = tmp_path / run
        manifests = tuxpaint.pack_tuxpaint(stamps_folder, out=out, size=16, processes=1)
        digests.append({str(path.relative_to(out)): file_sha256(path) for path in out.rglob("*") if path.is_file()})
    assert digests[0] == digests[1]
    for name, manifest in manifests.items():
        with tarfile.open(out / name / manifest.shards[0].path) as tar:
            infos = [
                json.load(tar.extractfile(entry) or pytest.fail()) for entry in tar if entry.name.endswith("json")
            ]
        folds = {fold(info["family"]) for info in infos}
        assert folds == {HELD_OUT_FOLD} if name.endswith("unseen-concepts") else not folds & {0, RESERVED_FOLD}
        assert all(info["licence"] == "GPL-2" and info["source"] for info in infos)


def test_a_white_or_empty_picture_is_left_out(tmp_path: Path) -> None:
    for name, colour in (("white", (255, 255, 255, 255)), ("clear", (0, 0, 0, 0))):
        Image.new("RGBA", (8, 8), colour).save(tmp_path / f"{name}.png")
        path = tmp_path / f"{name}.png"
        assert tuxpaint.read_picture(path, size=8, quality=90, rasteriser=lambda svg, pixels: b"") is None


def test_families_ignore_articles() -> None:
    assert tuxpaint.stamp_family("A red kangaroo.") == tuxpaint.stamp_family("The red kangaroo") == "red kangaroo"


def test_an_empty_folder_is_an_error_that_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="apt-get install tuxpaint-stamps-default"):
        tuxpaint.find_stamps(tmp_path, "fr")
    assert tuxpaint.main(["--stamps", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
