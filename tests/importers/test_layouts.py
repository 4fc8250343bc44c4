"""Every layout: the peer's own numbers, every key accounted for, and the same file again where we write it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import mmcontrast
from mmcontrast.export.parity import CAPTIONS, pictures
from mmcontrast.export.run_export import export
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.fitting import whole_map
from mmcontrast.importers.run_import import new_importer
from tests.importers.conftest import Make
from tests.importers.peers import PEERS, tensors


def test_every_layout_is_tested_here() -> None:
    assert {name.replace("_", "-") for name in IMPORTERS.names()} == {name.partition(" ")[0] for name in PEERS}


# Cnn14 has one size in msclap: 80 million weights.
SLOW = ("ms-clap of 2022", "laion-clap with fused spectrograms", "laion-clap with channels")
MARKED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in PEERS]


@pytest.mark.parametrize("layout", MARKED)
def test_an_import_accounts_for_every_key_and_computes_what_its_peer_computes(layout: str, imported: Make) -> None:
    peer, done = imported(layout)
    keys, theirs = done.keys, tensors(peer.path)
    assert set(keys.matched) | set(keys.left_out) == set(theirs) and not set(keys.matched) & set(keys.left_out)
    assert keys.missing == keys.unexpected == []
    judged = [each for each in done.parity if each.limit is not None]
    assert {each.modality for each in judged} == set(peer.modalities)
    assert all(each.largest <= 1e-5 for each in judged), "\n".join(done.lines())
    encoder = mmcontrast.load(done.folder)
    assert encoder.modalities == peer.modalities
    assert "keys" in (done.folder / "README.md").read_text(encoding="utf-8")


def pixels(picture: Image.Image, mean: Any, std: Any) -> torch.Tensor:
    """A picture of the tower's size as its model reads it, by hand."""
    from torchvision.transforms.functional import pil_to_tensor

    return (pil_to_tensor(picture)[None] / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@pytest.mark.parametrize("layout", ["timm", "open-clip", "hf-clip", "hf-siglip"])
@torch.inference_mode()
def test_an_imported_image_tower_is_the_peers_module_on_the_same_pixels(layout: str, imported: Make) -> None:
    peer, done = imported(layout)
    (picture,) = pictures((32, 32))
    named = {
        "timm": ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
        "open-clip": ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
        "hf-clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        "hf-siglip": ((0.5,) * 3, (0.5,) * 3),
    }
    x = pixels(picture, *named[layout])
    if layout == "timm":
        expected = peer.model(x)
    elif layout == "open-clip":
        expected = peer.model.encode_image(x)
    else:
        found = peer.model.get_image_features(pixel_values=x)
        expected = found if isinstance(found, torch.Tensor) else found.pooler_output
    ours = mmcontrast.load(done.folder).encode(image=[picture])
    torch.testing.assert_close(ours, normalize(expected, dim=-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["hf-siglip"])
@torch.inference_mode()
def test_siglips_captions_are_read_at_their_full_length(layout: str, imported: Make) -> None:
    from transformers import AutoTokenizer

    peer, done = imported(layout)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(peer.path))
    texts = [text for text in CAPTIONS if text]
    ids = [tokenizer(text)["input_ids"][:16] for text in texts]
    filled = torch.tensor([each + [1] * (16 - len(each)) for each in ids])
    found = peer.model.get_text_features(input_ids=filled)
    expected = found if isinstance(found, torch.Tensor) else found.pooler_output
    ours = mmcontrast.load(done.folder).encode(text=texts)
    torch.testing.assert_close(ours, normalize(expected, dim=-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["timm", "open-clip", pytest.param("hf-clip", marks=pytest.mark.slow)])
def test_what_we_export_again_has_the_same_keys_and_bytes(layout: str, imported: Make, tmp_path: Path) -> None:
    peer, done = imported(layout)
    assert peer.export is not None
    export(done.folder, tmp_path / "again", to=peer.export)
    theirs, again = tensors(peer.path), tensors(tmp_path / "again")
    assert again.keys() == theirs.keys()
    different = [name for name, value in theirs.items() if not torch.equal(value, again[name])]
    assert different == []


def test_a_file_by_name_is_the_same_as_its_folder(imported: Make, tmp_path: Path) -> None:
    from mmcontrast.importers.run_import import import_checkpoint

    peer, done = imported("timm")
    fields = {"name": "resnet10t.some_weights", "size": 32}
    bare = import_checkpoint(peer.file(), tmp_path / "bare", layout="timm", fields=fields)
    assert bare.parity and len(bare.keys.left_out) == 2
    model = json.loads((bare.folder / "model.json").read_text(encoding="utf-8"))["model"]
    assert model["towers"]["image"]["name"] == "resnet10t" and model["towers"]["image"]["mean"] is None
    assert model["heads"]["image"] == {"type": "identity"} and model["dim"] == 512
    theirs = {name: value for name, value in tensors(done.folder).items() if name.startswith("towers.")}
    ours = tensors(bare.folder)
    assert ours.keys() == theirs.keys() and all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_the_temperature_of_a_pair_is_kept(imported: Make) -> None:
    peer, done = imported("hf-siglip")
    with torch.no_grad():
        assert done.logit_scale == float(peer.model.logit_scale) and done.logit_bias == float(peer.model.logit_bias)


@pytest.mark.parametrize("layout", MARKED)
def test_names_go_there_and_back(layout: str, imported: Make, tmp_path: Path) -> None:
    peer, done = imported(layout)
    importer = new_importer(peer.layout, peer.fields)
    draft = importer.read(peer.path, importer.modalities, tmp_path)
    key_map = whole_map(draft)
    mapped = key_map.to_ours({name: draft.state[name] for name in done.keys.matched})
    assert mapped.unknown == mapped.incomplete == []
    again = key_map.to_theirs(mapped.state)
    assert again.keys() == set(done.keys.matched)
    assert all(torch.equal(value, draft.state[name]) for name, value in again.items())
