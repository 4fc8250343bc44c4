"""Evaluation beside clip_benchmark's own functions, and embedding beside the tower's bare forward.

Retrieval: 5,000 pictures and 25,000 captions in 512 dimensions, recall at 1, 5 and 10 both ways.  Each side runs in a
process of its own, so that its peak memory is its own.  Ours computes mAP, nDCG, MRR and true recall besides.  The
classifier: 1,000 classes of 80 prompts through a text tower that is small on both sides, so that 80,000 prompts take
a minute or two on one core; and a twentieth of the classes through a real model's.  Throughput: pictures from their
files to embeddings, beside the same tower on the same pictures as ready tensors.  Before anything is reported the
results of both sides are compared.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.row import Row  # all else where it is used: a side of retrieval must not count it as its memory

NAME = "ViT-S-32-alt"
PICTURES, EACH, DIM = 5_000, 5, 512
CLASSES, PROMPTS = 1_000, 80
FEWER = 20  # of the classes, one in so many goes through the real model's tower
SMALL: dict[str, Any] = {  # in open_clip's words; the picture's side is not used
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SOURCE, TURNS = "package:quickstart/emoji-unseen-style", 3
CLOSE = 1e-5  # largest difference between both sides' classifiers, of coordinates of unit vectors


def measure(share: float = 1.0) -> list[Row]:
    """Time both sides of everything.

    Args:
        share: of pictures and of classes, where time is short.

    Raises:
        RuntimeError: both sides do not find the same, so that a ratio would mean nothing.
    """
    # First, while this process is small: a process that it starts counts its size as its own peak.
    sides = retrieval(max(10, round(share * PICTURES)))
    peer, model = _models()
    classes = max(1, round(share * CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        whole = classifier(*_small_models(Path(folder)), classes, tower="a text tower of 2 layers of width 64")
    return [
        *sides,
        whole,
        classifier(peer, model, max(1, classes // FEWER), tower=f"the text tower of {NAME}"),
        throughput(model),
    ]


def retrieval(pictures: int) -> list[Row]:
    """Recall both ways, each side in its own process."""
    ours, peer = _in_a_process("ours", pictures), _in_a_process("peer", pictures)
    if any(abs(ours["recall"][name] - peer["recall"][name]) > 1e-6 for name in peer["recall"]):
        raise RuntimeError(f"recalls differ: {ours['recall']} and {peer['recall']}")
    setting = f"{pictures:,} pictures x {pictures * EACH:,} captions x {DIM}, R@1, 5, 10 both ways, recalls equal"
    return [
        Row(
            name="retrieval time",
            ours=ours["seconds"],
            peer=peer["seconds"],
            ratio=peer["seconds"] / ours["seconds"],
            unit="s",
            setting=setting,
        ),
        Row(
            name="retrieval peak memory of the process",
            ours=ours["gigabytes"],
            peer=peer["gigabytes"],
            ratio=peer["gigabytes"] / ours["gigabytes"],
            unit="GB",
            setting=setting,
        ),
    ]


def _models() -> tuple[Any, Any]:
    """open_clip's model with random weights, and ours with the same."""
    import open_clip

    from benchmarks.step import our_engine

    torch.manual_seed(0)
    peer = open_clip.create_model(NAME).eval()
    return peer, our_engine(peer, compiled=False).model.eval()


def _small_models(folder: Path) -> tuple[Any, Any]:
    """A small open_clip model with random weights, and our text tower with the same."""
    from open_clip.model import CLIP

    from mmcontrast.heads.identity import Identity
    from mmcontrast.model import Model, ModelConfig
    from mmcontrast.towers.open_clip_text import OpenCLIPText

    torch.manual_seed(0)
    peer = CLIP(**SMALL).eval()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL}), encoding="utf-8")
    config = ModelConfig(
        dim=SMALL["embed_dim"],
        towers={"text": OpenCLIPText.Config(folder=folder)},
        heads={"text": Identity.Config()},
    )
    model = Model(config).eval()
    towers: Any = model.towers
    towers["text"].inner.load_state_dict(
        {key: value for key, value in peer.state_dict().items() if not key.startswith(("visual.", "logit"))},
        strict=False,
    )
    return peer, model


def classifier(peer: Any, model: Any, classes: int, *, tower: str) -> Row:
    """One point a class from all of its prompts, tokens included."""
    import open_clip
    from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier

    from mmcontrast.evaluate.bench import Bench
    from mmcontrast.evaluate.classifier import class_points
    from mmcontrast.evaluate.encoder import TowerEncoder
    from mmcontrast.evaluate.names import PromptSet

    names = [f"thing number {number}" for number in range(classes)]
    templates = [f"a photo of a {{}}, seen {number} times" for number in range(PROMPTS)]
    began = time.perf_counter()
    ours = class_points(Bench(TowerEncoder(model)), PromptSet("own", tuple(templates)), names)["trained"]
    middle = time.perf_counter()
    asked = [template.replace("{}", "{c}") for template in templates]
    theirs = zero_shot_classifier(peer, open_clip.get_tokenizer(NAME), names, asked, "cpu", amp=False)
    seconds = middle - began, time.perf_counter() - middle
    difference = float((ours - theirs.T).abs().max())
    if difference > CLOSE:
        raise RuntimeError(f"classifiers differ by {difference:.2g}")
    return Row(
        name="zero-shot classifier",
        ours=classes * PROMPTS / seconds[0],
        peer=classes * PROMPTS / seconds[1],
        ratio=seconds[1] / seconds[0],
        unit="prompts/s",
        setting=f"{classes:,} classes x {PROMPTS} prompts, {tower}, fp32, equal to {difference:.1e}",
    )


def throughput(model: Any) -> Row:
    """Embeddings from files beside bare forwards on ready tensors, in turns."""
    from mmcontrast.data.transforms.image import eval_image
    from mmcontrast.evaluate.bench import Bench
    from mmcontrast.evaluate.encoder import TowerEncoder
    from mmcontrast.specs import ImageSpec

    encoder = TowerEncoder(model)
    rows = Bench(encoder).rows(SOURCE, {})
    spec = encoder.specs["image"]
    assert isinstance(spec, ImageSpec)
    pixels = [
        torch.from_numpy(eval_image(rows.decode(item, "image", sample_rate_hz=None), size=spec.size))
        for item in rows.items
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        began = time.perf_counter()
        _, found = Bench(encoder, workers=2).media(SOURCE, {}, "image")
        middle = time.perf_counter()
        with torch.inference_mode():
            bare = [model.encode("image", torch.stack(pixels[at : at + 128])) for at in range(0, len(pixels), 128)]
        times[0].append(middle - began)
        times[1].append(time.perf_counter() - middle)
        if not torch.equal(found["trained"], torch.cat(bare)):
            raise RuntimeError("embeddings differ")
    seconds = statistics.median(times[0]), statistics.median(times[1])
    return Row(
        name="embedding from files, against the bare forward",
        ours=len(pixels) / seconds[0],
        peer=len(pixels) / seconds[1],
        ratio=seconds[1] / seconds[0],
        unit="pictures/s",
        setting=f"{len(pixels):,} drawings as PNG, image tower of {NAME}, fp32, 2 decoding threads, embeddings equal",
    )


def _in_a_process(side: str, pictures: int) -> dict[str, Any]:
    """Run one side of retrieval and read what it prints."""
    command = [sys.executable, "-m", "benchmarks.eval", side, str(pictures)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def embeddings(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, captions near their picture, and the captions' pictures."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(count, DIM, generator=generator)
    owner = torch.arange(count).repeat_interleave(EACH)
    captions = pictures[owner] + 5 * torch.randn(len(owner), DIM, generator=generator)
    return torch.nn.functional.normalize(pictures, dim=1), torch.nn.functional.normalize(captions, dim=1), owner


def our_recalls(pictures: Tensor, captions: Tensor, owner: Tensor) -> dict[str, float]:
    """Every retrieval metric, both ways."""
    from mmcontrast.evaluate.metrics.retrieval import retrieve

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return a @ b.T

    numbers = torch.arange(len(pictures))
    to_image = retrieve(captions, pictures, owner, numbers, similarity=similarity).summary()
    to_text = retrieve(pictures, captions, numbers, owner, similarity=similarity).summary()
    return {f"image_retrieval_recall@{k}": to_image[f"R@{k}"] for k in (1, 5, 10)} | {
        f"text_retrieval_recall@{k}": to_text[f"R@{k}"] for k in (1, 5, 10)
    }


def peer_recalls(pictures: Tensor, captions: Tensor, owner: Tensor) -> dict[str, float]:
    """clip_benchmark's own evaluation, fed with embeddings in place of a model."""
    from clip_benchmark.metrics import zeroshot_retrieval as peer

    class Given:
        def encode_image(self, rows: Tensor) -> Tensor:
            return rows

        def encode_text(self, rows: Tensor) -> Tensor:
            return rows

    def batches() -> Any:
        for start in range(0, len(pictures), 64):
            rows = range(start, min(start + 64, len(pictures)))
            yield pictures[start : start + 64], [[str(row * EACH + each) for each in range(EACH)] for row in rows]

    def tokenizer(texts: list[str]) -> Tensor:
        return captions[torch.tensor([int(text) for text in texts])]

    return dict(peer.evaluate(Given(), batches(), tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]))


def one_side(side: str, pictures: int) -> None:
    """Measure one side and print its seconds, peak memory and recalls as JSON."""
    data = embeddings(pictures)
    began = time.perf_counter()
    recall = our_recalls(*data) if side == "ours" else peer_recalls(*data)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "gigabytes": peak, "recall": recall}))


if __name__ == "__main__":
    one_side(sys.argv[1], int(sys.argv[2]))
