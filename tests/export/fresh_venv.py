"""Each export, at every type of weights, through its target in a virtual environment without mmcontrast.

Embeddings and zero-shot answers are compared with those of our own encoder with weights rounded alike.

python -m tests.export.fresh_venv                      makes the environment anew (several GB of packages)
python -m tests.export.fresh_venv --venv /tmp/targets  makes it there, or uses what is there
python -m tests.export.fresh_venv --run runs/quickstart  graphs of that run instead of a tiny one's
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import mmcontrast
from mmcontrast.config import parse
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.evaluate.collection import open_collection
from mmcontrast.export.embedder import Embedder
from mmcontrast.export.run_export import export, new_format
from mmcontrast.exported.dtypes import Dtype
from mmcontrast.run import Run
from mmcontrast.train import train
from tests.small_run import tree

PACKAGES = ("torch", "torchvision", "onnxruntime", "open_clip_torch", "transformers", "sentence-transformers", "timm")
ROWS = 24
LEAST_ROUNDED = 0.85  # share of zero-shot answers that may not change where products are rounded once more
CLIP = {"dim": 32, "towers": {"image": {"type": "open_clip_image", "name": "ViT-S-32-alt", "size": 64},
                              "text": {"type": "open_clip_text", "name": "ViT-S-32-alt"}}}  # fmt: skip
TIMM = {"dim": 32, "towers": {"image": {"type": "timm_image", "name": "vit_tiny_patch16_224", "size": 32},
                              "text": {"type": "text_transformer", "width": 32, "layers": 1, "heads": 2}}}  # fmt: skip
PICTURES, SOUNDS = "package:quickstart/trimodal-test", "package:quickstart/instruments-unseen-font"


@dataclass(frozen=True)
class Case:
    """One export: its format, the run that it is of, the towers in it."""

    to: str
    run: str
    towers: str


CASES = (
    Case("torch_export", "graphs", "all"),
    Case("onnx", "graphs", "all"),
    Case("onnx_quantized", "graphs", "text"),
    Case("open_clip", "clip", "all"),
    Case("hf", "clip", "all"),
    Case("sentence_transformers", "clip", "text"),
    Case("timm", "timm", "image"),
)


def main() -> int:
    """Export, read and compare every case; 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="folder of the environment, made if it is not there")
    parser.add_argument("--run", type=Path, help="a run with quickstart's towers, for the graphs")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        python = environment(parsed.venv or scratch / "venv")
        runs = {"graphs": parsed.run or trained(scratch, "graphs", None)}
        runs |= {each: trained(scratch, each, model) for each, model in (("clip", CLIP), ("timm", TIMM))}
        good = [
            compared(case, dtype, runs[case.run], python, scratch)
            for case in CASES
            for dtype in new_format(case.to).dtypes
        ]
    return 0 if all(good) else 1


def environment(folder: Path) -> Path:
    """The interpreter of an environment that has the targets and nothing of ours."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def trained(scratch: Path, name: str, model: dict[str, Any] | None) -> Path:
    """A run of a few steps on shipped sets: the quickstart's kinds of towers, or pictures and captions alone."""
    out = scratch / "runs" / name
    fields = tree({"pictures": PICTURES, "sounds": SOUNDS}, out, steps=6)
    for source in fields["data"]["sources"].values():
        del source["group"]
    fields["objectives"]["main"] = {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]]}
    fields["optimizer"]["lr"] = 1e-3 if model is None else 1e-4
    if model is not None:
        fields["model"] = model
        del fields["data"]["sources"]["sounds"]
        fields["objectives"]["main"]["pairs"] = [["image", "text"]]
    train(parse(Run, fields))
    return out


def compared(case: Case, dtype: Dtype, run: Path, python: Path, scratch: Path) -> bool:
    """Export one case, read it elsewhere, and print how far it is off; whether that is near enough."""
    inputs, ours = scratch / "inputs" / case.run, scratch / "ours" / f"{case.run}-{dtype}.npz"
    if not ours.exists():
        ours.parent.mkdir(exist_ok=True)
        np.savez(ours, **our_vectors(run, dtype, inputs, scratch / "ours" / f"{case.run}-{dtype}"))
    folder, out = scratch / "exports" / f"{case.to}-{dtype}", scratch / f"{case.to}-{dtype}.npz"
    export(run, folder, to=case.to, towers=[case.towers], dtype=dtype)
    script = Path(__file__).with_name("fresh_readers.py")
    offline = {"PATH": os.environ["PATH"], "HOME": str(scratch), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-I", script, case.to, folder, inputs, out],
        cwd=scratch, env=offline, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"{case.to} {dtype}: {done.stderr[-2000:]}", flush=True)
        return False
    expected, found = dict(np.load(ours)), dict(np.load(out))
    largest = {name: float(np.abs(found[name] - expected[name]).max()) for name in found}
    tolerance = new_format(case.to).limit(dtype)
    asked = answers(expected)
    same = sum(one == other for one, other in zip(asked, answers(expected | found), strict=True))
    said = ", ".join(f"{name} {value:.1e}" for name, value in largest.items())
    shot = f"{same} of {len(asked)} zero-shot answers the same ({ROWS} captions)"
    read = f"{case.to:<22}{dtype:<6}{done.stdout.strip():<28}"
    print(f"{read} largest difference: {said} (limit {tolerance:.0e}); {shot}", flush=True)
    # Products in whole numbers round activations too, and heads folded into projections are rounded anew: an answer
    # that was near to another may turn, the more so of towers that were trained for a few steps.
    rounds = case.to == "onnx_quantized" or (new_format(case.to).folds and dtype != "fp32")
    least = LEAST_ROUNDED if rounds else 1.0
    return same >= least * len(asked) and max(largest.values()) <= tolerance


def our_vectors(run: Path, dtype: Dtype, inputs: Path, rounded: Path) -> dict[str, np.ndarray]:
    """What our encoder makes of the inputs, with weights as a type stores them; writes the inputs if need be."""
    export(run, rounded, dtype=dtype)
    encoder = mmcontrast.load(rounded, device="cpu")
    if not inputs.exists():
        write_inputs(encoder, inputs)
    images = [Image.open(path).convert("RGB") for path in sorted((inputs / "image").glob("*.png"))]
    captions = json.loads((inputs / "captions.json").read_text(encoding="utf-8"))
    found = {"image": encoder.encode(image=images), "text": encoder.encode(text=captions)}
    if "audio" in encoder.modalities:
        found["audio"] = encoder.encode(audio=[np.load(path) for path in sorted((inputs / "audio").glob("*.npy"))])
    return {name: z.numpy() for name, z in found.items()}


def write_inputs(encoder: Embedder, inputs: Path) -> None:
    """Write pictures of the tower's size, sounds at its rate, and captions."""
    (inputs / "image").mkdir(parents=True)
    (inputs / "audio").mkdir()
    rows, size = open_collection(PICTURES), encoder.encoder.spec("image").size
    for row in range(ROWS):
        picture = decode_image(rows.content(row, "image"), key=rows.key(row))
        picture.resize((size, size), Image.BICUBIC).save(inputs / "image" / f"{row:03d}.png")
    captions = [rows.info(row)["captions"][0] for row in range(ROWS)]
    (inputs / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    if "audio" in encoder.modalities:
        sounds, rate = open_collection(SOUNDS), encoder.sample_rate_hz
        for row in range(ROWS):
            wave = decode_audio(sounds.content(row, "audio"), key=sounds.key(row), sample_rate_hz=rate)
            np.save(inputs / "audio" / f"{row:03d}.npy", wave)


def answers(vectors: dict[str, np.ndarray]) -> list[int]:
    """The nearest caption of every picture and sound."""
    media = [torch.from_numpy(vectors[name]) for name in ("image", "audio") if name in vectors]
    return (torch.cat(media) @ torch.from_numpy(vectors["text"]).T).argmax(dim=1).tolist()


if __name__ == "__main__":
    sys.exit(main())
