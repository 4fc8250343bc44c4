"""A run's embeddings as the sparse codes that its objective ``sparse_codes`` learned."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast import checkpoint
from mmcontrast.errors import NeedsError
from mmcontrast.evaluate.encoder import TowerEncoder, fitted
from mmcontrast.model import Model, spaces_of
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.sparse_codes import SparseCodes
from mmcontrast.run_folder import read_run_folder


class SparseEncoder(TowerEncoder):
    """Encodes to codes of unit length; they are compared by dot products, as embeddings on the sphere are."""

    def __init__(self, model: Model, objective: SparseCodes, *, device: str = "cpu") -> None:
        super().__init__(model, device=device)
        self.objective = objective.eval().to(device)

    @cached_property
    def identity(self) -> str:
        """Digest of all that :meth:`encode` depends on besides its items."""
        digest = hashlib.sha256(super().identity.encode())
        for name, value in sorted(self.objective.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Float[Tensor, "N L"]:
        """Encode items of one modality; see :meth:`TowerEncoder.encode`.

        Returns:
            float32 on the CPU, shape (N, latents), at most ``active`` numbers of a row not zero.
        """
        z = super().encode(modality, items, progress=progress)
        return self.objective.codes(z.to(self.device)).cpu()


def load_sparse_encoder(location: Path | str, *, device: str = "cpu") -> SparseEncoder:
    """Load the encoder and the codes of a run folder (its newest valid checkpoint), or of one checkpoint in it.

    Raises:
        NeedsError: the run has no objective ``sparse_codes``, or several.
        RunFolderError, CheckpointError: nothing usable is there.
    """
    path = checkpoint.find(Path(location))
    run = read_run_folder(path.parent.parent)
    found = [name for name, each in run.objectives.items() if each.registry_name == "sparse_codes"]
    if len(found) != 1:
        raise NeedsError(
            f"'{location}' has {len(found)} objectives 'sparse_codes' ({', '.join(run.objectives)}); codes need one."
        )
    state = checkpoint.load_model_state(path)
    model = fitted(Model(run.model), state, where=path)
    objective = OBJECTIVES.build(run.objectives[found[0]])
    objective.attach(spaces_of(model.geometry, run.model.dim, dict(model.towers.items())))
    start = f"objectives.{found[0]}."
    objective.load_state_dict(
        {name.removeprefix(start): each for name, each in state.items() if name.startswith(start)}
    )
    return SparseEncoder(model, objective, device=device)
