"""The prior: its schedule and way back by their formulas, and embeddings nearer to pictures than the text's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.downstream.base import Judged
from mmcontrast.downstream.diffusion_prior import DiffusionPrior
from mmcontrast.downstream.folder import read_head, write_head
from mmcontrast.downstream.schedule import denoised, kept_share, noised
from mmcontrast.errors import HeadError
from tests.downstream.made_up import MadeUpTowers

TOWERS = MadeUpTowers()


def learned(**fields: Any) -> DiffusionPrior:
    chosen = {"source": "0:120", "steps": 150, "batch_rows": 64, "lr": 3e-3, "sampling_steps": 8, **fields}
    return DiffusionPrior.learn(DiffusionPrior.Config(**chosen), TOWERS)


def test_the_schedule_is_the_papers() -> None:
    def f(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    times = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    assert kept_share(times).tolist() == pytest.approx([f(float(t)) / f(0.0) for t in times], abs=1e-6)
    clean, noise = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    share = kept_share(times)[2]
    assert torch.allclose(noised(clean, noise, times)[2], share.sqrt() * clean[2] + (1 - share).sqrt() * noise[2])


def test_the_way_back_ends_at_what_is_predicted_and_keeps_to_the_line_of_its_noise() -> None:
    clean, start = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    seen = []

    def predict(points: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append((points, time))
        return clean

    assert torch.allclose(denoised(predict, start, steps=5), clean, atol=1e-4)
    assert [float(time[0]) for _, time in seen] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    for points, time in seen[1:]:  # the same noise at every time, if the prediction never changes
        assert torch.allclose(points, noised(clean, start, time), atol=1e-3)


def test_a_prior_is_nearer_to_the_pictures_and_a_folder_gives_it_back(tmp_path: Path) -> None:
    head = learned()
    found = head.judge(TOWERS, Judged(source="3:60"))
    assert found["prior cosine"] > found["text cosine"] + 0.1 and found["rows"] == 60
    write_head(head, tmp_path / "head")
    read = read_head(tmp_path / "head")
    assert isinstance(read, DiffusionPrior) and read.about == head.about
    text = TOWERS.texts(["kind 1, number 5", "kind 2"])
    points = head.sampled(text)
    assert torch.equal(read.sampled(text), points) and torch.equal(learned().sampled(text), points)
    assert torch.allclose(points.norm(dim=1), torch.ones(2)) and not torch.equal(head.sampled(text, seed=1), points)
    with pytest.raises(HeadError, match="whose image tower is not that of"):
        head.judge(MadeUpTowers({"text": "t", "image": "other"}), Judged(source="3:60"))
    with pytest.raises(HeadError, match="has 20 pairs; 32 are the least"):
        learned(source="0:20")


def test_of_more_samples_one_nearer_to_the_text_is_kept_and_guidance_moves_them() -> None:
    text = TOWERS.texts([f"kind {number % 4}" for number in range(12)])
    one, many = (learned(steps=20, samples=count).sampled(text) for count in (1, 4))
    assert ((many * text).sum(dim=1) >= (one * text).sum(dim=1) - 1e-6).all()
    assert not torch.allclose(learned(steps=20, samples=1, guidance=3.0).sampled(text), one)
