"""Reads one export with its target's own loader; run by an interpreter that has no mmcontrast.

``python -I fresh_readers.py FORMAT EXPORT INPUTS OUT.npz``: INPUTS holds pictures (image/*.png), waveforms
(audio/*.npy) and captions.json.  What it does is what the exports' cards say.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np


def torch_export(folder: Path, inputs: Path) -> dict[str, Any]:
    """``torch.export.load``: graphs take pixels, samples and ids."""
    import torch

    def run(modality: str, value: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return graphs[modality](torch.from_numpy(value))[0].numpy()

    graphs = {path.stem: torch.export.load(path).module() for path in folder.glob("*.pt2")}
    return through_graphs(run, sorted(graphs), folder, inputs)


def onnx(folder: Path, inputs: Path) -> dict[str, Any]:
    """onnxruntime over the same inputs."""
    import onnxruntime

    sessions = {path.stem: onnxruntime.InferenceSession(path) for path in folder.glob("*.onnx")}

    def run(modality: str, value: np.ndarray) -> np.ndarray:
        session = sessions[modality]
        return session.run(None, {session.get_inputs()[0].name: value})[0][0]

    return through_graphs(run, sorted(sessions), folder, inputs)


def through_graphs(run: Any, modalities: list[str], folder: Path, inputs: Path) -> dict[str, Any]:
    values = {
        "image": [np.ascontiguousarray(np.array(each).transpose(2, 0, 1)) for each in pictures(inputs)],
        "audio": [np.load(path) for path in sorted((inputs / "audio").glob("*.npy"))],
        "text": [np.array(ids_of(each, folder)) for each in captions(inputs)],
    }
    return {name: np.stack([run(name, value[None]) for value in values[name]]) for name in modalities}


def ids_of(caption: str, folder: Path) -> list[int]:
    """A caption's ids by the very lines of the export's card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^import re, zlib\n(?:.*\n)*?ids = .*$", card, re.MULTILINE)
    names: dict[str, Any] = {"caption": caption}
    exec(lines, names)  # noqa: S102 (a card that this test has just had written)
    return names["ids"]


def open_clip(folder: Path, inputs: Path) -> dict[str, Any]:
    """``open_clip.create_model_and_transforms``."""
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode():
        text = model.eval().encode_text(tokenizer(captions(inputs)), normalize=True)
        image = model.encode_image(torch.stack([transform(each) for each in pictures(inputs)]), normalize=True)
    return {"image": image.numpy(), "text": text.numpy()}


def hf(folder: Path, inputs: Path) -> dict[str, Any]:
    """transformers' CLIP with its processor and tokenizer."""
    import torch
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor, tokenizer = AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        whole = model(
            **processor(pictures(inputs), return_tensors="pt"),
            **tokenizer(captions(inputs), padding=True, return_tensors="pt"),
        )
    return {"image": whole.image_embeds.numpy(), "text": whole.text_embeds.numpy()}


def sentence_transformers(folder: Path, inputs: Path) -> dict[str, Any]:
    """``SentenceTransformer``."""
    from sentence_transformers import SentenceTransformer

    return {"text": SentenceTransformer(str(folder), device="cpu").float().encode(captions(inputs))}


def timm(folder: Path, inputs: Path) -> dict[str, Any]:
    """``timm.create_model``."""
    import timm
    import torch
    from timm.data import create_transform, resolve_data_config

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().float()
    transform = create_transform(**resolve_data_config({}, model=model))
    with torch.inference_mode():
        image = model(torch.stack([transform(each) for each in pictures(inputs)]))
    return {"image": torch.nn.functional.normalize(image, dim=-1).numpy()}


def pictures(inputs: Path) -> list[Any]:
    from PIL import Image

    return [Image.open(path).convert("RGB") for path in sorted((inputs / "image").glob("*.png"))]


def captions(inputs: Path) -> list[str]:
    return json.loads((inputs / "captions.json").read_text(encoding="utf-8"))


READERS = {each.__name__: each for each in (torch_export, onnx, open_clip, hf, sentence_transformers, timm)}
READERS["onnx_quantized"] = onnx
PACKAGES = {
    "torch_export": "torch",
    "onnx": "onnxruntime",
    "onnx_quantized": "onnxruntime",
    "open_clip": "open_clip_torch",
    "hf": "transformers",
    "sentence_transformers": "sentence-transformers",
    "timm": "timm",
}

if __name__ == "__main__":
    assert importlib.util.find_spec("mmcontrast") is None, "this interpreter has mmcontrast"
    name, folder, inputs, out = sys.argv[1], *map(Path, sys.argv[2:])
    np.savez(out, **READERS[name](folder, inputs))
    print(f"{PACKAGES[name]} {importlib.metadata.version(PACKAGES[name])}")
