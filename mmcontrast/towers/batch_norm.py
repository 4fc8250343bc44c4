"""What to do with batch norm, which lets the rows of a batch touch each other."""

from __future__ import annotations

from typing import Literal

from torch import nn

BatchNormPolicy = Literal["group", "frozen"]


def replace_batch_norm(module: nn.Module, policy: BatchNormPolicy) -> None:
    """Replace every 2-d batch norm below ``module``.

    A tower runs on the present rows of a batch alone, in chunks, on several ranks: statistics over rows would differ
    with each of these.  ``group`` trains in its place a group norm of 32 channels a group or fewer; ``frozen`` keeps
    the stored statistics and trains the gain and bias, for pretrained weights.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if policy == "frozen":
                child.train = lambda mode=True, norm=child: norm  # type: ignore[method-assign, assignment, misc]
                child.eval()
            else:
                setattr(module, name, _GroupNormLike(child))
        else:
            replace_batch_norm(child, policy)


class _GroupNormLike(nn.Module):
    """Group norm with the extra activation and drop that timm folds into its batch norms."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        channels = int(norm.num_features)  # type: ignore[arg-type]
        groups = next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0)
        self.norm = nn.GroupNorm(groups, channels)
        self.drop = getattr(norm, "drop", None) or nn.Identity()
        self.act = getattr(norm, "act", None) or nn.Identity()

    def forward(self, x):  # type: ignore[no-untyped-def]
        """Normalise, drop, activate."""
        return self.act(self.drop(self.norm(x)))
