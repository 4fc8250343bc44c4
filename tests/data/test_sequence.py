"""Pictures as sequences of patches: their shape is kept, budgets hold, and the numbers are timm's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.source import SourceConfig
from mmcontrast.data.transforms.image import ImageTransform
from mmcontrast.data.transforms.sequence import cut, eval_patches, fitted_shape, padded
from mmcontrast.specs import ImageSpec, PatchSequence
from mmcontrast.towers import TOWERS
from mmcontrast.towers.timm_naflex import TimmNaFlex
from tests.fixtures import make_set

TOWER = TOWERS.get("timm_naflex").Config(width=24, depth=2, heads=2, patch=8, tokens=20)
SPEC = TOWER.input_spec()
SHAPES = ((40, 90), (300, 31), (8, 8), (120, 120))  # height, width


def photo(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def tower() -> TimmNaFlex:
    torch.manual_seed(0)
    built = TOWERS.build(TOWER).eval()
    assert isinstance(built, TimmNaFlex)
    return built


def test_sizes_are_those_of_timm() -> None:
    from timm.data.naflex_transforms import get_image_size_for_seq

    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(1, 4000, 2))
        patch, tokens = int(rng.choice([8, 14, 16])), int(rng.integers(1, 600))
        expected = get_image_size_for_seq((height, width), patch, tokens)[1]
        assert fitted_shape(height, width, patch=patch, tokens=tokens) == expected


def test_embeddings_equal_those_of_timms_transform_collator_and_model(tower: TimmNaFlex) -> None:
    from timm.data.naflex_dataset import NaFlexCollator
    from timm.data.naflex_transforms import Patchify, ResizeToSequence
    from torchvision.transforms import Compose, Normalize, ToTensor

    pictures, inner = [photo(*shape) for shape in SHAPES], cast(Any, tower.inner)
    theirs = Compose(
        [
            ResizeToSequence(patch_size=8, max_seq_len=20),
            ToTensor(),
            Normalize(inner.default_cfg["mean"], inner.default_cfg["std"]),
            Patchify(patch_size=8),
        ]
    )
    batch, _ = NaFlexCollator(max_seq_len=20)([(theirs(picture), 0) for picture in pictures])
    assert SPEC.sequence is not None
    mine = padded([eval_patches(picture, SPEC.sequence) for picture in pictures], SPEC.sequence)
    with torch.no_grad():
        expected, found = inner(batch), tower(mine).pooled
    assert torch.equal(mine["real"], batch["patch_valid"]) and torch.equal(mine["places"], batch["patch_coord"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found[0] - found[1]).abs().max() > 1e-3  # it looks at its input


def test_a_square_picture_is_the_same_as_its_patches(tower: TimmNaFlex) -> None:
    pixels = np.asarray(photo(32, 32)).transpose(2, 0, 1)
    assert SPEC.sequence is not None
    with torch.no_grad():
        whole = tower(torch.from_numpy(pixels.copy())[None]).pooled
        patches = tower(padded([cut(pixels, 8)], SPEC.sequence)).pooled
    torch.testing.assert_close(patches, whole, atol=1e-5, rtol=0)


def test_patch_dropout_leaves_out_its_share_in_training_alone() -> None:
    made = TOWERS.build(TOWERS.get("timm_naflex").Config(width=24, depth=1, heads=2, patch=8, patch_dropout=0.5))
    assert SPEC.sequence is not None
    seen: list[int] = []
    inner = cast(Any, made).inner
    inner.blocks[0].register_forward_hook(lambda _module, _inputs, out: seen.append(out.shape[1]))
    values = padded([eval_patches(photo(80, 80), SPEC.sequence)] * 2, SPEC.sequence)
    made.train()(values)
    made.eval()(values)
    assert [tokens - inner.num_prefix_tokens for tokens in seen] == [10, 20]


@pytest.fixture(scope="module")
def shapes_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set of wide and high JPEGs."""
    from data_pipelines.pack import Sample, write_shards
    from mmcontrast.data.manifest import ColumnSpec

    rows = []
    for number in range(16):
        stream = io.BytesIO()
        photo(*((40, 160), (150, 50))[number % 2]).save(stream, "JPEG")
        rows.append(
            Sample(key=f"{number:02d}", members={"jpg": stream.getvalue()}, info={"licence": "CC0", "source": "test"})
        )
    folder: Path = tmp_path_factory.mktemp("shapes") / "set"
    columns = {"image": ColumnSpec(modality="image", extension="jpg")}
    write_shards(rows, folder=folder, name="shapes", made_by={"job": "test"}, columns=columns)
    return str(folder)


def batches(manifest: str, sequence: PatchSequence, *, world_size: int = 1, workers: int = 0) -> list[list[Any]]:
    """Batches of each rank."""
    image = ImageTransform(ratio=(1.0, 1.0))
    config = DataConfig(sources={"set": SourceConfig(manifest=manifest, image=image)}, batch_rows=4, workers=workers)
    found = []
    for rank in range(world_size):
        specs = {"image": ImageSpec(size=32, sequence=sequence)}
        loader = Loader(config, seed=3, specs=specs, rank=rank, world_size=world_size)
        loader.seek(0, last=6)
        found.append([loaded.batch for loaded in loader])
    return found


def test_the_budget_changes_with_the_step_and_neither_order_nor_ranks(shapes_set: str) -> None:
    drawn = PatchSequence(patch=8, tokens=20, train_tokens=(6, 12, 20))
    [whole] = batches(shapes_set, drawn)
    [fixed] = batches(shapes_set, PatchSequence(patch=8, tokens=20))
    lengths = [batch.columns["image"].values["patches"].shape[1] for batch in whole]
    assert set(lengths) <= {6, 12, 20} and len(set(lengths)) > 1
    assert [batch.keys for batch in whole] == [batch.keys for batch in fixed]
    for first, second, both in zip(*batches(shapes_set, drawn, world_size=2), whole, strict=True):
        assert first.keys + second.keys == both.keys
        for name, values in both.columns["image"].values.items():
            parts = [batch.columns["image"].values[name] for batch in (first, second)]
            assert torch.equal(torch.cat(parts), values), name


def test_a_loading_process_brings_the_same_patches(shapes_set: str) -> None:
    sequence = PatchSequence(patch=8, tokens=20, train_tokens=(6, 20))
    [here], [there] = (batches(shapes_set, sequence, workers=workers) for workers in (0, 1))
    for one, other in zip(here, there, strict=True):
        for name, values in one.columns["image"].values.items():
            assert torch.equal(values, other.columns["image"].values[name])


def test_wide_pictures_give_wide_grids(shapes_set: str) -> None:
    [found] = batches(shapes_set, PatchSequence(patch=8, tokens=20))
    for batch in found:
        values = batch.columns["image"].values
        assert values["patches"].dtype == torch.uint8 and values["patches"].shape == (4, 20, 192)
        for key, places, real in zip(batch.keys, values["places"], values["real"], strict=True):
            rows, columns = (places[real].amax(0) + 1).tolist()
            assert int(real.sum()) == rows * columns <= 20
            assert (columns > rows) == (int(key[-2:]) % 2 == 0)  # even rows are wide


def test_rows_without_a_picture_are_absent(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "sounds", columns=("audio", "text"))
    config = DataConfig(sources={"set": SourceConfig(manifest=manifest)}, batch_rows=2, workers=0)
    assert SPEC.sequence is not None
    loader = Loader(config, seed=0, specs={"image": SPEC})
    loader.seek(0, last=1)
    column = next(loader).batch.columns["image"]
    assert not column.present.any() and column.values["patches"].shape == (0, 20, 192)
