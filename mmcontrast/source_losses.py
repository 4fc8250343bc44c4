"""The mean loss of each source's rows since the last line of the log."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from mmcontrast import comm
from mmcontrast.types import Terms


class SourceLosses:
    """Sums on the device, without waiting for it, until they are asked for.

    Batches of one source count with their loss.  Batches that mix sources count with the losses of their rows, where
    objectives give them (:class:`mmcontrast.types.RowLosses`); they are then each weighted by ``weight``.
    """

    def __init__(self, names: Sequence[str], *, per_step: bool, device: torch.device) -> None:
        """Begin with nothing.

        Args:
            names: sources, in the order of the numbers that rows carry.
            per_step: every global batch is of one source.
        """
        self.names, self.per_step = tuple(names), per_step
        self._sums = torch.zeros(2, len(self.names), device=device)  # losses, rows

    def add(self, terms: Terms, sources: Int[Tensor, " B"]) -> None:
        """Count one batch.

        Args:
            sources: number of each row's source, of this rank.
        """
        if not self.per_step and terms.rows is None:
            return
        sources = sources.to(self._sums.device, non_blocking=True)
        if self.per_step:
            counted = torch.ones(len(sources), device=self._sums.device)
            values = terms.loss.detach().float().expand(len(sources))
        else:
            assert terms.rows is not None
            counted = terms.rows.counted.float()
            values = terms.rows.values.float().masked_fill(~terms.rows.counted, 0.0)
        self._sums.index_add_(1, sources, torch.stack([values * counted, counted]))

    def taken(self) -> dict[str, float]:
        """Means over all ranks by ``source_loss/NAME``, and begin anew; collective."""
        losses, rows = comm.all_sum(self._sums).tolist()
        self._sums.zero_()
        return {
            f"source_loss/{name}": loss / count
            for name, loss, count in zip(self.names, losses, rows, strict=True)
            if count > 0
        }
