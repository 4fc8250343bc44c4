"""Formats of other packages: each loads what it was given and computes the same; what it cannot hold, it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcontrast.errors import ExportError, MissingPackage
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.export import EXPORTS
from mmcontrast.export.parity import check
from mmcontrast.export.run_export import new_format, refuse
from tests.export.parts import OTHERS, QUICK, part_of, written

CLIP = ("open_clip_image", "open_clip_text")


@pytest.mark.parametrize("tower", [pytest.param(name, marks=pytest.mark.slow) for name in (*QUICK, *OTHERS)])
def test_onnx_holds_every_tower(tower: str, tmp_path: Path) -> None:
    part = part_of(tower, folder=tmp_path)
    export_format, read = written("onnx", part, tmp_path)
    assert check(export_format, part, read)


def test_onnx_in_int8_computes_what_the_rounded_weights_compute(tmp_path: Path) -> None:
    part = part_of("text_transformer", folder=tmp_path).stored_as("int8")
    export_format, read = written("onnx", part, tmp_path, "int8")
    assert check(export_format, part, read)


def test_a_quantized_graph_multiplies_integers_and_stays_near_the_model(tmp_path: Path) -> None:
    part = part_of("text_transformer", folder=tmp_path).stored_as("int8")
    export_format, read = written("onnx_quantized", part, tmp_path, "int8")
    assert check(export_format, part, read)
    (file,) = tmp_path.rglob("text.onnx")
    nodes = [node.op_type for node in pytest.importorskip("onnx").load(file).graph.node]
    assert "MatMulInteger" in nodes and not list(tmp_path.rglob("*.floats.onnx"))
    assert new_format("onnx-quantized").dtypes == ("int8",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "towers"),
    [
        ("open-clip", CLIP),
        ("hf", CLIP),
        ("hf", ("open_clip_image",)),
        ("hf", ("open_clip_text",)),
        ("sentence-transformers", ("open_clip_text",)),
        ("sentence-transformers", ("hugging_face_text",)),
    ],
)
def test_a_target_reads_the_towers_that_it_has(name: str, towers: tuple[str, ...], tmp_path: Path) -> None:
    part = part_of(*towers, folder=tmp_path)
    refuse(new_format(name), part)
    export_format, read = written(name, part, tmp_path)
    found = check(export_format, part, read)
    assert {each.modality for each in found if each.limit is not None} == set(part.modalities)


@pytest.mark.parametrize(
    "fields", [{"name": "resnet10t", "batch_norm": "frozen"}, {"name": "vit_tiny_patch16_224", "size": 32}]
)
def test_timm_reads_its_image_towers(fields: dict[str, Any], tmp_path: Path) -> None:
    part = part_of("timm_image", folder=tmp_path, **fields)
    refuse(new_format("timm"), part)
    export_format, read = written("timm", part, tmp_path)
    assert check(export_format, part, read)


@pytest.mark.parametrize(
    ("name", "towers", "message"),
    [
        ("open-clip", ("small_resnet", "open_clip_text"), "image: 'small_resnet' is no tower of open_clip's"),
        ("open-clip", ("open_clip_text",), "there is no image"),
        ("hf", ("htsat",), "audio: 'htsat' has no counterpart in transformers' CLIP"),
        ("timm", ("timm_image",), "its batch norms have become group norms"),
        ("sentence-transformers", ("text_transformer",), "would need code of its own"),
        ("sentence-transformers", ("small_resnet", "open_clip_text"), "It may hold: --tower text"),
    ],
)
def test_what_a_format_cannot_hold_is_said_with_those_that_can(
    name: str, towers: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as raised:
        refuse(new_format(name), part_of(*towers, folder=tmp_path))
    able = str(raised.value).splitlines()[-1]
    assert message in str(raised.value) and all(each in able for each in ("onnx", "safetensors", "torch-export"))


@pytest.mark.parametrize("name", ["onnx", "open_clip", "hf", "sentence_transformers", "timm"])
def test_a_missing_target_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcontrast.packages.find_spec", lambda package: None)
    export_format = new_format(name)
    with pytest.raises(MissingPackage, match="pip install 'mmcontrast"):
        export_format.check_packages()


def test_every_format_has_a_tolerance_and_says_what_it_holds() -> None:
    for name in EXPORTS.names():
        cls = EXPORTS.get(name)
        limit = 1e-3 if "fp32" in cls.dtypes else 5e-2  # integer products round activations as well
        assert 0 < cls.tolerance < limit and (cls.__doc__ or "").strip().endswith(".")


FRESH = """
import sys
sys.modules["mmcontrast"] = None  # importing it is an error from here on
import numpy as np, onnxruntime, open_clip, timm, torch, transformers
from sentence_transformers import SentenceTransformer
folder, texts = sys.argv[1], ["a red square", "two blue dogs on a beach"]
ids = torch.tensor([[5, 6, 7, 0], [9, 8, 0, 0]])
found = {}
with torch.inference_mode():
    found["torch_export"] = torch.export.load(folder + "/torch_export/text.pt2").module()(ids).numpy()
    found["onnx"] = onnxruntime.InferenceSession(folder + "/onnx/text.onnx").run(None, {"ids": ids.numpy()})[0]
    model, _, _ = open_clip.create_model_and_transforms("local-dir:" + folder + "/open_clip")
    tokenizer = open_clip.get_tokenizer("local-dir:" + folder + "/open_clip")
    found["open_clip"] = model.eval().encode_text(tokenizer(texts), normalize=True).numpy()
    clip = transformers.AutoModel.from_pretrained(folder + "/hf").eval()
    inputs = transformers.AutoTokenizer.from_pretrained(folder + "/hf")(texts, padding=True, return_tensors="pt")
    z = clip.text_projection(clip.text_model(**inputs).pooler_output)
    found["hf"] = torch.nn.functional.normalize(z, dim=-1).numpy()
    found["sentence_transformers"] = SentenceTransformer(folder + "/sentence_transformers", device="cpu").encode(texts)
    image = timm.create_model("local-dir:" + folder + "/timm", pretrained=True).eval()
    found["timm"] = image(torch.ones(1, 3, 32, 32)).numpy()
np.savez(folder + "/found.npz", **found)
"""


@pytest.mark.slow
def test_exports_load_and_agree_in_a_process_that_has_no_mmcontrast(tmp_path: Path) -> None:
    small = part_of("text_transformer", folder=tmp_path)
    clip = part_of(*CLIP, folder=tmp_path)
    text = part_of("open_clip_text", folder=tmp_path)
    image = part_of("timm_image", folder=tmp_path, name="vit_tiny_patch16_224", size=32)
    parts = {"torch_export": small, "onnx": small, "open_clip": clip, "hf": clip, "sentence_transformers": text}
    for name, part in {**parts, "timm": image}.items():
        (tmp_path / name).mkdir()
        new_format(name).write(part, tmp_path / name, dtype="fp32")
    command = [sys.executable, "-I", "-c", FRESH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    ids = torch.tensor([[5, 6, 7, 0], [9, 8, 0, 0]])
    captions = ["a red square", "two blue dogs on a beach"]
    pixels = torch.ones(1, 3, 32, 32) * image.tower("image").std / 255 + image.tower("image").mean / 255
    expected = {
        "torch_export": small.model.encode("text", ids),
        "onnx": small.model.encode("text", ids),
        "open_clip": TowerEncoder(clip.model).encode("text", captions),
        "hf": TowerEncoder(clip.model).encode("text", captions),
        "sentence_transformers": TowerEncoder(text.model).encode("text", captions),
        "timm": image.head("image")(image.tower("image")(255 * pixels).pooled),
    }
    for name, z in expected.items():
        assert np.allclose(found[name], z.numpy(), atol=1e-5), name


def test_only_what_rounds_a_product_anew_may_be_further_off_at_fewer_bits() -> None:
    assert new_format("open-clip").limit("fp32") == new_format("open-clip").tolerance == 1e-5
    assert new_format("open-clip").limit("fp16") == 5e-4 and new_format("hf").limit("bf16") == 4e-3
    assert new_format("timm").limit("bf16") == new_format("timm").tolerance
    assert new_format("onnx").limit("int8") == new_format("onnx").tolerance
