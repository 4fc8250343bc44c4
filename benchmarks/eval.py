"""Retrieval of COCO's size beside clip_benchmark's own functions.

5,000 pictures and 25,000 captions in 512 dimensions, recall at 1, 5 and 10 both ways.  Each side runs in a process of
its own, so that its peak memory is its own.  Ours computes mAP, nDCG, MRR and true recall besides.  Before anything is
reported the recalls of both are compared.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.row import Row

PICTURES, EACH, DIM = 5_000, 5, 512


def measure() -> list[Row]:
    """Time both sides, each in its own process.

    Raises:
        RuntimeError: both sides do not find the same, so that a ratio would mean nothing.
    """
    ours, peer = _in_a_process("ours"), _in_a_process("peer")
    if any(abs(ours["recall"][name] - peer["recall"][name]) > 1e-6 for name in peer["recall"]):
        raise RuntimeError(f"recalls differ: {ours['recall']} and {peer['recall']}")
    setting = f"{PICTURES:,} pictures x {PICTURES * EACH:,} captions x {DIM}, R@1, 5, 10 both ways, recalls equal"
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


def _in_a_process(side: str) -> dict[str, Any]:
    """Run one side of retrieval and read what it prints."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.eval", side], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def embeddings() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, captions near their picture, and the captions' pictures."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(PICTURES, DIM, generator=generator)
    owner = torch.arange(PICTURES).repeat_interleave(EACH)
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
        for start in range(0, PICTURES, 64):
            rows = range(start, min(start + 64, PICTURES))
            yield pictures[start : start + 64], [[str(row * EACH + each) for each in range(EACH)] for row in rows]

    def tokenizer(texts: list[str]) -> Tensor:
        return captions[torch.tensor([int(text) for text in texts])]

    return dict(peer.evaluate(Given(), batches(), tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]))


def one_side(side: str) -> None:
    """Measure one side and print its seconds, peak memory and recalls as JSON."""
    data = embeddings()
    began = time.perf_counter()
    recall = our_recalls(*data) if side == "ours" else peer_recalls(*data)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "gigabytes": peak, "recall": recall}))


if __name__ == "__main__":
    one_side(sys.argv[1])
