"""data.limits and data.storage: what a config sets is what holds, and messages name fields that exist."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

import mmcontrast
from data_pipelines.pack import Sample, write_shards
from mmcontrast.config import flatten, parse, to_tree
from mmcontrast.data.indexing import index_set
from mmcontrast.data.limits import Limits
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.shards import LIMITED
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, MMContrastError, RunFolderError, ShardError
from mmcontrast.run import FREE_FIELDS, check
from mmcontrast.run_folder import open_run_folder
from mmcontrast.specs import InputSpec
from tests.data.test_loader import SPECS
from tests.fixtures import RATE, make_set
from tests.small_run import run_of


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sets")
    made = {
        "pictures": make_set(folder / "pictures", columns=("image", "text")),
        "sounds": make_set(folder / "sounds", columns=("audio", "text")),
        "photos": photos(folder / "photos"),
    }
    for name in ("pictures", "sounds"):
        index_set(made[name])
    return made


def photos(folder: Path) -> str:
    """A set of one JPEG of 64 x 48 pixels, over and over."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 20, 20)).save(stream, "JPEG")
    info = {"licence": "CC0-1.0", "source": "made up"}
    write_shards(
        [Sample(key=f"{row}", members={"jpg": stream.getvalue()}, info=info) for row in range(4)],
        folder=folder,
        name="photos",
        columns={"image": ColumnSpec(modality="image", extension="jpg")},
        made_by={"job": "tests"},
    )
    return str(folder)


def loader(manifest: str, column: str, *, source: dict[str, Any] | None = None, **fields: Any) -> Loader:
    """One column of a set, as a config of plain maps says."""
    sources = {"set": {"manifest": manifest, **(source or {})}}
    config = parse(DataConfig, {"sources": sources, "batch_rows": 4, "workers": 0, **fields})
    specs: dict[str, InputSpec] = {column: SPECS[column]}
    made = Loader(config, seed=0, specs=specs)
    made.seek(0, last=3)
    return made


@pytest.mark.parametrize(
    ("name", "column", "limits", "said"),
    [
        ("pictures", "image", {"image_pixels": 399}, "picture of 20 x 20 pixels is over the limit"),
        ("pictures", "image", {"image_side": 19}, "picture of 20 x 20 pixels is over the limit"),
        ("photos", "image", {"image_pixels": 64 * 48 - 1}, "picture of 64 x 48 pixels is over the limit"),
        ("photos", "image", {"image_side": 63}, "picture of 64 x 48 pixels is over the limit"),
        ("sounds", "audio", {"audio_amplitude": 0.4}, "sound reaches 0.5 times full scale"),
        ("sounds", "audio", {"audio_lowest_hz": RATE + 1}, "8000 Hz with 1 channels is outside the limits"),
        ("sounds", "audio", {"audio_highest_hz": RATE - 1}, "8000 Hz with 1 channels is outside the limits"),
        ("sounds", "text", {"caption_bytes": 9}, "a caption is longer than 9 bytes"),
        ("sounds", "text", {"json_bytes": 50}, "is over data.limits.json_bytes"),
        ("pictures", "image", {"member_bytes": 60}, "is over data.limits.member_bytes"),
    ],
)
def test_each_limit_of_a_config_changes_what_is_refused(
    sets: dict[str, str], name: str, column: str, limits: dict[str, float], said: str
) -> None:
    assert next(loader(sets[name], column)).bad == []
    with pytest.raises(ShardError, match=re.escape(said)):
        next(loader(sets[name], column, limits=limits))


def test_a_limit_of_a_config_may_be_raised_too(tmp_path: Path) -> None:
    info = {"captions": "a tone " * 2000, "licence": "CC0-1.0", "source": "made up"}
    write_shards(
        [Sample(key="long", members={}, info=info)],
        folder=tmp_path,
        name="long",
        columns={"text": ColumnSpec(modality="text", extension="json", field="captions")},
        made_by={"job": "tests"},
    )
    with pytest.raises(ShardError, match="longer than 8192 bytes"):
        next(loader(str(tmp_path), "text"))
    assert next(loader(str(tmp_path), "text", limits={"caption_bytes": 20_000})).bad == []


def test_a_source_may_refuse_shorter_captions_than_the_limit_but_not_allow_longer_ones(sets: dict[str, str]) -> None:
    for text, limits, most in (({"max_bytes": 9}, {}, 9), ({"max_bytes": 900}, {"caption_bytes": 9}, 9)):
        with pytest.raises(ShardError, match=f"longer than {most} bytes"):
            next(loader(sets["sounds"], "text", source={"text": text}, limits=limits))
    assert next(loader(sets["sounds"], "text", source={"text": {"max_bytes": 900}})).bad == []


def test_windows_come_from_the_seconds_that_the_limit_leaves(sets: dict[str, str]) -> None:
    """Clips of half a second, windows of a quarter: with a limit of a quarter there is one window."""

    def heard(crop: str, **fields: Any) -> np.ndarray:
        made = next(loader(sets["sounds"], "audio", source={"audio": {"crop": crop}}, **fields))
        return made.batch.columns["audio"].values.numpy()

    assert np.array_equal(heard("random", limits={"audio_seconds": 0.25}), heard("start"))
    assert not np.array_equal(heard("random"), heard("start"))


def test_a_set_without_an_index_says_which_limit_its_members_are_over(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set", columns=("image", "text"))
    with pytest.raises(ShardError, match=r"20 x member_too_large. Raise data\.limits\.member_bytes"):
        loader(manifest, "image", limits={"member_bytes": 60, "json_bytes": 1000})


def test_the_schemes_of_a_config_are_the_ones_that_are_opened(tmp_path: Path, sets: dict[str, str]) -> None:
    for path in Path(sets["pictures"]).iterdir():
        fsspec.filesystem("memory").pipe(f"/schemes/{path.name}", path.read_bytes())
    storage = {"schemes": ["memory"], "cache": str(tmp_path / "cache")}
    there = {**sets, "pictures": "memory://schemes"}
    with pytest.raises(ConfigError, match=r"sources\.pictures: .*not one of http.*Add it to data\.storage\.schemes"):
        check(run_of(there, tmp_path / "run"))
    run = run_of(there, tmp_path / "run")
    data = {**to_tree(run)["data"], "storage": storage}
    check(run_of(there, tmp_path / "run", data=data))
    ours, theirs = loader("memory://schemes", "image", storage=storage), loader(sets["pictures"], "image")
    for remote, local in zip(ours, theirs, strict=True):
        assert remote.batch.columns["image"].values.equal(local.batch.columns["image"].values)
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 3


@pytest.mark.parametrize("policy", ["fail", "substitute"])
def test_a_shard_that_goes_away_ends_the_run_or_is_replaced_as_the_config_says(
    tmp_path: Path, sets: dict[str, str], policy: str
) -> None:
    folder = Path(shutil.copytree(sets["pictures"], tmp_path / "set"))
    storage = {"on_shard_error": policy, "retries": 1, "backoff_seconds": 0}
    rows = loader(str(folder), "image", storage=storage)
    (folder / "pictures-000001.tar").unlink()
    if policy == "fail":
        with pytest.raises(ShardError, match=r"Tried 2 time.*data\.storage\.on_shard_error=substitute"):
            list(rows)
        return
    loaded = list(rows)
    keys = [key for each in loaded for key in each.batch.keys]
    assert len(keys) == 12 and not [key for key in keys if "000001.tar" in key]
    bad = [row for each in loaded for row in each.bad]
    assert bad and {(row.shard, row.cause, row.lasting) for row in bad} == {
        ("pictures-000001.tar", "shard_unreadable", False)
    }


def test_messages_and_pages_name_fields_that_exist() -> None:
    data = {f"data.{name}" for name in _fields("limits", Limits) | _fields("storage", Storage)}
    package = Path(mmcontrast.__file__).parent
    texts = [*package.rglob("*.py"), *(package.parent / "docs").glob("*.md")]
    named = {
        found for path in texts for found in re.findall(r"\bdata\.(?:limits|storage)\.\w+", path.read_text("utf-8"))
    }
    assert {"data.storage.schemes", "data.storage.on_shard_error", "data.storage.cache_bytes"} <= named <= data
    assert {f"data.limits.{limit}" for limit in LIMITED.values()} <= data


def _fields(name: str, of: type) -> set[str]:
    assert {field.name: field.type for field in dataclasses.fields(DataConfig)}[name] == of.__name__
    return {f"{name}.{field.name}" for field in dataclasses.fields(of)}


def test_a_run_goes_on_with_other_storage_but_not_with_other_limits(tmp_path: Path, sets: dict[str, str]) -> None:
    run = run_of(sets, tmp_path / "run")
    tree = to_tree(run)
    known = flatten(tree)
    plain = [free for free in FREE_FIELDS if "*" not in free]
    assert all(any(key == free or key.startswith(f"{free}.") for key in known) for free in plain)
    open_run_folder(run)

    def again(**data: Any) -> None:
        open_run_folder(run_of(sets, tmp_path / "run", data={**tree["data"], **data}))

    again(storage={"cache": str(tmp_path), "schemes": ["s3"], "retries": 9, "on_shard_error": "substitute"})
    with pytest.raises(RunFolderError, match=r"data\.limits\.image_pixels: 40000000 there, 100 here"):
        again(limits={"image_pixels": 100})
    with pytest.raises(RunFolderError, match=r"data\.storage\.check_crc32: True there, False here"):
        again(storage={"check_crc32": False})


def test_a_limit_of_no_sense_is_refused_by_its_name() -> None:
    with pytest.raises(MMContrastError, match=r"(?s)limits\.image_pixels: .*storage\.on_shard_error: "):
        tree = {"limits": {"image_pixels": 0}, "storage": {"on_shard_error": "ignore"}}
        parse(DataConfig, {"sources": {}, "batch_rows": 1, **tree})
