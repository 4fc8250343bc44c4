"""What every objective offers, and the small pieces that contrastive ones share.

Letters: B rows on this rank, G rows on all ranks, K keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcontrast import comm
from mmcontrast.types import Embeddings, Needs, Terms

Similarity = Callable[[Tensor, Tensor], Tensor]  # (A, D), (B, D) -> (A, B)

MAX_LOGIT_SCALE = math.log(100.0)  # Radford et al. 2021, section 2.5: logits are scaled by at most 100


@dataclass(frozen=True)
class Spaces:
    """Sizes of the model that an objective's own weights depend on."""

    dim: int  # width of the shared embedding
    widths: Mapping[str, int]  # modality -> width of its tower's pooled features
    token_widths: Mapping[str, int] = field(default_factory=dict)  # modality -> width of its tower's tokens
    teacher_dim: int | None = None  # width of the teacher's embedding; None without a teacher
    similarity: Similarity | None = None  # the geometry's; None: the dot product
    curvature: Callable[[], Tensor] | None = None  # the geometry's, of shape (1,); None where space is flat


class Objective(nn.Module):
    """``Embeddings -> Terms``.  Sees no tower, no rank and no batch; declares what it reads.

    The mean over ranks of the loss it returns is the loss of the global batch.  ``forward`` has no side effects,
    for it may run twice; state moves in :meth:`after_step`.
    """

    any_geometry: ClassVar[bool] = False  # it compares as the geometry does; others by dot products
    learns_alone: ClassVar[bool] = False  # its own weights are worth a run in which every tower and head is frozen

    class Config:
        """Fields of the objective; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def needs(self) -> Needs:
        """Columns and labels that ``forward`` reads."""
        raise NotImplementedError

    def attach(self, spaces: Spaces) -> None:
        """Build weights and buffers whose size depends on the model; called once, before the optimizer exists."""

    def forward(self, emb: Embeddings) -> Terms:
        """Return the loss of this rank's share of the batch."""
        raise NotImplementedError

    def after_step(self, emb: Embeddings) -> None:
        """Move state (queues, averages) once an update is done; nothing by default.

        Args:
            emb: this rank's rows of the update (of its last part, where a step accumulates several), without graph.
                State must come out the same on every rank: gather what it is made of.
        """

    def problems(self, batch_rows: int) -> list[str]:
        """What cannot work with this many rows in a global batch, as sentences; nothing by default."""
        return []


class _ClampThrough(torch.autograd.Function):
    """Clamp whose gradient passes when descent would move the value back inside."""

    @staticmethod
    def forward(ctx, value: Tensor, low: float, high: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(value)
        ctx.low, ctx.high = low, high
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (value,) = ctx.saved_tensors
        # Descent moves against the gradient: a positive one lowers the value.
        blocked = ((value > ctx.high) & (grad < 0)) | ((value < ctx.low) & (grad > 0))
        return grad.masked_fill(blocked, 0.0), None, None


class LogitScale(nn.Module):
    """A learned logit scale exp(s), s clamped in the forward to [0, ln 100]: 1 / temperature.

    The parameter has shape (1,): ZeRO cannot hold 0-dimensional parameters, and clamping ``.data`` has no effect
    under ZeRO 1 and 3.
    """

    def __init__(self, *, temperature: float, learned: bool = True, max_log: float = MAX_LOGIT_SCALE) -> None:
        super().__init__()
        self.max_log = max_log
        self.log = nn.Parameter(torch.tensor([math.log(1 / temperature)]), requires_grad=learned)

    def forward(self) -> Float[Tensor, 1]:
        """Return the scale to multiply similarities with."""
        return _ClampThrough.apply(self.log.float(), 0.0, self.max_log).exp()


def refuse_one_column(pair: tuple[str, str]) -> None:
    """Say so when a config pairs a column with itself.

    Raises:
        ValueError: both names are the same.
    """
    if pair[0] == pair[1]:
        raise ValueError("pair must be two different columns.")


def own_columns(rows: int, device: torch.device) -> Int[Tensor, " B"]:
    """Positions of this rank's rows among the gathered ones."""
    return torch.arange(rows, device=device) + comm.rank() * rows


def masked_cross_entropy(
    logits: Float[Tensor, "B K"],
    targets: Int[Tensor, " B"],
    allowed: Bool[Tensor, "B K"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " B"]:
    """Cross entropy of each row over its allowed keys; the target is always allowed.

    Label smoothing spreads its mass over the allowed keys alone.
    """
    own = torch.zeros_like(allowed).scatter_(1, targets[:, None], True)
    allowed = allowed | own
    logits = logits.float().masked_fill(~allowed, -torch.inf)
    hard = cross_entropy(logits, targets, reduction="none")
    if label_smoothing == 0.0:
        return hard
    log_probability = logits.log_softmax(dim=1).masked_fill(~allowed, 0.0)
    even = -log_probability.sum(dim=1) / allowed.sum(dim=1)
    return (1 - label_smoothing) * hard + label_smoothing * even
