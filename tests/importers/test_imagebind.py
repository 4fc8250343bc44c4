"""ImageBind: the numbers of its own modules, recorded because its package is in no registry, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import conv3d

import mmcontrast
from mmcontrast.cli import main
from mmcontrast.errors import CheckpointError
from mmcontrast.exported import read_exported
from mmcontrast.importers.layouts.imagebind import STEM
from mmcontrast.importers.run_import import Imported, import_checkpoint
from tests.importers.imagebind_file import FIELDS, WIDTH, asked, sounds, tiny_state, write_tiny

# The first four of twelve coordinates of unit vectors, printed by record_imagebind.py.
EXPECTED = {
    "image": [
        [0.4279616, 0.2582941, 0.2956066, -0.0034670],
        [0.4273360, 0.2588668, 0.2957099, -0.0058616],
    ],
    "audio": [
        [0.0116489, 0.4151195, 0.4170242, 0.1344035],
        [0.0869508, 0.2453902, 0.5956799, 0.1021572],
        [-0.0023228, 0.4667853, 0.3542350, 0.1628833],
    ],
    "text": [
        [-0.1569507, -0.0076684, 0.4516176, 0.1752980],
        [0.2367206, 0.4517407, 0.4175459, 0.4265668],
        [0.0405976, 0.0403743, 0.4342600, 0.3136800],
    ],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    home = tmp_path_factory.mktemp("imagebind")
    return import_checkpoint(write_tiny(home), home / "ours", layout="imagebind", fields=FIELDS)


@pytest.mark.parametrize("modality", list(EXPECTED))
@pytest.mark.filterwarnings("ignore:sounds are longer")
def test_embeddings_are_those_recorded_from_imagebind(modality: str, done: Imported) -> None:
    items: Any = asked()[modality]
    ours = mmcontrast.load(done.folder).encode(**{modality: items})
    torch.testing.assert_close(ours[:, :4], torch.tensor(EXPECTED[modality]), atol=1e-5, rtol=0)


def test_every_key_is_matched_or_left_out_by_modality(done: Imported) -> None:
    keys, theirs = done.keys, tiny_state()
    assert set(keys.matched) | set(keys.left_out) == set(theirs) and keys.missing == keys.unexpected == []
    for name in ("depth", "thermal", "imu"):
        found = [key for key, why in keys.left_out.items() if why.startswith(name)]
        assert found == [key for key in theirs if f".{name}." in key]
        assert any(line.startswith(f"left out   {len(found)}:") and name in line for line in keys.lines())
    assert done.logit_scale == pytest.approx(np.log(1 / 0.07), abs=1e-6)
    assert "CC-BY-NC" in "\n".join(done.notes) and "by 20;" in "\n".join(done.notes)


def test_filters_summed_over_time_are_the_filters_of_a_picture_shown_twice(done: Imported) -> None:
    filters = tiny_state()[STEM]
    picture = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    theirs = conv3d(picture[:, :, None].expand(-1, -1, 2, -1, -1), filters, stride=(2, 14, 14))[:, :, 0]
    own = read_exported(done.folder).state["towers.image.inner.conv1.weight"]
    torch.testing.assert_close(torch.nn.functional.conv2d(picture, own, stride=14), theirs, atol=1e-5, rtol=0)


def test_a_sound_is_heard_in_three_windows_and_a_short_one_is_not_silence(done: Imported) -> None:
    encoder = mmcontrast.load(done.folder)
    whole, short, _ = sounds()
    with pytest.warns(UserWarning, match="mean of the embeddings of 3 windows"):
        twice = encoder.encode(audio=[np.concatenate([whole, whole])])
    silent = np.concatenate([short, np.zeros(len(whole) - len(short), np.float32)])
    alone, followed = encoder.encode(audio=[short]), encoder.encode(audio=[silent])
    assert (twice - encoder.encode(audio=[whole])).abs().max() > 1e-3
    assert (alone - followed).abs().max() > 1e-2


def test_one_tower_alone_and_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tiny_state()
    file = write_tiny(tmp_path)
    sets = [f"--set={key}={value}" for key, value in FIELDS.items()]
    command = ["import", str(file), "--from", "imagebind", "--tower", "audio", "--out"]
    assert main([*command, str(tmp_path / "sound"), *sets]) == 0
    assert "of a tower that was not asked for" in capsys.readouterr().out
    assert set(read_exported(tmp_path / "sound").config.towers) == {"audio"}
    for name, broken in {
        "no checkpoint of ImageBind": {"head.weight": torch.zeros(2)},
        "truncated": {key: value for key, value in state.items() if "heads.text" not in key},
        "have no place": state | {"modality_trunks.audio.blocks.0.gamma": torch.ones(WIDTH)},
    }.items():
        torch.save(broken, file)
        with pytest.raises(CheckpointError, match=name):
            import_checkpoint(file, tmp_path / "ours", layout="imagebind", towers=["audio"], fields=FIELDS)
        assert not (tmp_path / "ours").exists()
