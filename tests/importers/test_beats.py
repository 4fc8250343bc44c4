"""BEATs: the numbers of its own module, recorded because its code is in no registry, and files that it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mmcontrast
from mmcontrast.errors import CheckpointError
from mmcontrast.importers.run_import import Imported, import_checkpoint
from mmcontrast.towers.beats import buckets_of
from tests.importers.beats_file import FIELDS, SETTINGS, sounds, tiny_state, write_tiny

# The first four of 24 coordinates of unit vectors, printed by record_beats.py.
EXPECTED = [
    [-0.1199686, 0.2751138, 0.0865232, -0.1105939],
    [-0.1802078, 0.3201752, 0.0999530, -0.0941314],
    [-0.1433025, 0.2636919, 0.0701440, -0.1185362],
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    home = tmp_path_factory.mktemp("beats")
    return import_checkpoint(write_tiny(home), home / "ours", layout="beats", fields=FIELDS)


@pytest.mark.filterwarnings("ignore:sounds are longer")
def test_embeddings_are_those_recorded_from_beats(done: Imported) -> None:
    ours = mmcontrast.load(done.folder).encode(audio=sounds())
    torch.testing.assert_close(ours[:, :4], torch.tensor(EXPECTED), atol=1e-5, rtol=0)


def test_every_key_is_matched_or_left_out(done: Imported) -> None:
    keys = done.keys
    assert set(keys.matched) | set(keys.left_out) == set(tiny_state()) and keys.missing == keys.unexpected == []
    assert {"predictor.weight", "encoder.pos_conv.0.weight_g"} < set(keys.left_out)


def test_near_distances_have_a_bucket_each_and_far_ones_share() -> None:
    found = buckets_of(30, buckets=20, max_distance=15)
    # 5 exact ones on each side, then logarithmically up to 15 tokens; those after a query lie ten higher.
    assert found[:, 0].tolist()[:8] == [0, 1, 2, 3, 4, 5, 5, 6]
    assert found[29, 0] == found[14, 0] == 9 and found[0, 29] == 19
    assert found[0, 1:6].tolist() == [11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"deep_norm": False}, "deep_norm = False"),
        ({"activation_fn": "glu"}, "activation_fn = glu"),
        ({"table": 0}, "not the first layer's table"),
        ({"encoder.layers.0.fc1.bias": None}, "truncated"),
        ({"gamma": 0}, "have no place"),
        ({"cfg": None}, "no checkpoint of BEATs"),
    ],
)
def test_what_is_something_else_is_refused(changed: dict[str, object], expected: str, tmp_path: Path) -> None:
    state, settings = tiny_state(), {name: changed.get(name, value) for name, value in SETTINGS.items()}
    if "table" in changed:
        state["encoder.layers.1.self_attn.relative_attention_bias.weight"] += 1
    if "gamma" in changed:
        state["encoder.layers.0.gamma"] = torch.ones(1)
    state = {name: value for name, value in state.items() if name not in changed}
    file = tmp_path / "other.pt"
    torch.save({"model": state} if "cfg" in changed else {"cfg": settings, "model": state}, file)
    with pytest.raises(CheckpointError, match=expected):
        import_checkpoint(file, tmp_path / "ours", layout="beats", fields=FIELDS)
    assert not (tmp_path / "ours").exists()
