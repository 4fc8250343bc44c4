"""SigLIP against its formula in plain loops, and against open_clip's loss."""

from __future__ import annotations

import math

import pytest
import torch

from mmcontrast.objectives.siglip import SigLIP
from tests.objectives.test_infonce import embeddings


@pytest.mark.parametrize("absent", [0.0, 0.4])
def test_loss_is_the_formula(absent: float) -> None:
    emb = embeddings(7, seed=3, absent=absent)
    image, text = emb["image"], emb["text"]
    total, both = 0.0, 0
    for i in range(7):
        both += int(image.present[i] and text.present[i])
        for j in range(7):
            if image.present[i] and text.present[j]:
                logit = 10.0 * float(image.z[i].double() @ text.z[j].double()) - 10.0
                total += math.log1p(math.exp(-logit if i == j else logit))
    loss = SigLIP(SigLIP.Config())(emb).loss
    assert float(loss) == pytest.approx(total / both, abs=1e-5)


def test_it_is_open_clips_loss() -> None:
    loss_module = pytest.importorskip("open_clip.loss")
    emb = embeddings(12, seed=4)
    ours = SigLIP(SigLIP.Config())(emb).loss
    theirs = loss_module.SigLipLoss()(
        emb["image"].z, emb["text"].z, torch.tensor(10.0), logit_bias=torch.tensor(-10.0)
    )
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)
    ours_grad = torch.autograd.grad(ours, emb["text"].z)[0]
    theirs_grad = torch.autograd.grad(theirs, emb["text"].z)[0]
    torch.testing.assert_close(ours_grad, theirs_grad, atol=1e-6, rtol=1e-5)
