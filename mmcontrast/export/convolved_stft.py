"""Front ends without complex numbers: the Fourier transform as a convolution with sines and cosines.

Letters: F frequencies, N samples around a clip.
"""

from __future__ import annotations

import copy

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d

from mmcontrast.front_ends.base import FrontEnd


class ConvolvedFrontEnd(nn.Module):
    """What a front end computes, from operations that every runtime has and runs quickly.

    Relations: equal to the front end up to float32's rounding.
    """

    def __init__(self, inner: FrontEnd) -> None:
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.register_buffer("waves", inner.frame_rows()[:, None], persistent=False)  # (2F, 1, L)

    def forward(self, wave: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Compute spectrograms."""
        wave = wave.float()
        return self.inner.emptied(self.inner.finished(self.energies(self.inner.prepared(wave))), wave)

    def energies(self, prepared: Float[Tensor, "B N"]) -> Float[Tensor, "B F frames"]:
        """Squared magnitude of every frequency of every frame."""
        assert isinstance(self.waves, Tensor)
        before, after = self.inner.unread
        inside = prepared[:, None, before : prepared.shape[1] - after]
        real, imaginary = conv1d(inside, self.waves, stride=self.config.hop_samples).chunk(2, dim=1)
        return real * real + imaginary * imaginary


def without_complex_numbers(module: nn.Module) -> nn.Module:
    """A copy of a module in which every front end is a convolved one."""
    changed = copy.deepcopy(module)
    for parent in list(changed.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrontEnd):
                parent.add_module(name, ConvolvedFrontEnd(child).eval())
    return changed
