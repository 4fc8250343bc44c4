"""The dynamic loss scale of fp16."""

from __future__ import annotations

from torch import Tensor, tensor

START, GROWTH_STEPS = 2.0**16, 2000


class LossScale:
    """Halved when gradients overflow, doubled after 2,000 updates without: always a power of two, so exact.

    One rule for every engine, so that its state goes from one to another.

    Source: Micikevicius et al. 2017, arXiv:1710.03740, section 3.2; the numbers are torch.amp.GradScaler's.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.value = START if enabled else 1.0
        self._good_steps = 0

    def update(self, *, finite: bool) -> None:
        """Learn how an update went."""
        if not self.enabled:
            return
        if not finite:
            self.value, self._good_steps = max(1.0, self.value / 2), 0
            return
        self._good_steps += 1
        if self._good_steps == GROWTH_STEPS:
            self.value, self._good_steps = self.value * 2, 0

    def state(self) -> dict[str, Tensor]:
        """Two numbers, for checkpoints; none when there is no scale."""
        return {"loss_scale": tensor([self.value, float(self._good_steps)])} if self.enabled else {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put a state back; without one the scale starts anew."""
        if self.enabled and "loss_scale" in state:
            self.value, self._good_steps = float(state["loss_scale"][0]), int(state["loss_scale"][1])
