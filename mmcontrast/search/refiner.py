"""RECO: a query's point, refined by what a memory of pairs says about its neighbours.

Letters: B queries, K neighbours, D coordinates.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcontrast.errors import SearchError
from mmcontrast.exported.folder import HASHES, seal, verify
from mmcontrast.search.index import Index
from mmcontrast.search.memory import Memory

ABOUT, WEIGHTS = "refiner.json", "refiner.safetensors"
FORMAT, VERSION = "mmcontrast refiner", 1


@dataclass(frozen=True, kw_only=True)
class RefinerAbout:
    """What a refiner is made for."""

    pair: tuple[str, str]
    dim: int
    neighbours: int
    heads: int
    towers: dict[str, str]  # digests of the towers whose points it refines


class Fusion(nn.Module):
    """One transformer layer over a query and its neighbours' points of the other modality."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.kinds = nn.Parameter(0.02 * torch.randn(2, dim))  # of the query, of a neighbour
        self.layer = nn.TransformerEncoderLayer(dim, heads, dim_feedforward=2 * dim, dropout=0.0, batch_first=True)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, z: Float[Tensor, "B D"], points: Float[Tensor, "B K D"], real: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B D"]:
        """Refine unit vectors."""
        tokens = torch.cat([z[:, None] + self.kinds[0], points + self.kinds[1]], dim=1)  # (B, 1 + K, D)
        hidden = torch.cat([torch.zeros_like(real[:, :1]), ~real], dim=1)
        return normalize(z + self.out(self.layer(tokens, src_key_padding_mask=hidden)[:, 0]), dim=-1)


class Refiner(nn.Module):
    """A fusion for each modality of a pair.

    Source: Iscen et al. 2023 (RECO), arXiv:2306.07196, section 3: search in the query's own modality, fuse the other
    one.  Here the layer's output is added to the query through a matrix that starts at zero, so that an untrained
    refiner changes nothing; theirs replaces it.
    """

    def __init__(self, about: RefinerAbout) -> None:
        super().__init__()
        self.about = about
        self.fusions = nn.ModuleDict({name: Fusion(about.dim, heads=about.heads) for name in about.pair})

    def refined(self, memory: Memory, modality: str, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Points of one modality, refined by a memory.

        Raises:
            SearchError: the memory's points are of other towers.
        """
        for name in self.about.pair:
            if memory.index.about.towers.get(name) != self.about.towers[name]:
                raise SearchError(f"the refiner was made for another {name} tower than '{memory.index.folder}' has.")
        found = memory.neighbours(modality, z, count=self.about.neighbours)
        with torch.inference_mode():
            return self.fusions[modality](z, found.points, found.real)

    def write(self, folder: Path) -> None:
        """Write weights, what they are for, and digests into a new folder."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)
        tree = {"format": FORMAT, "version": VERSION, **asdict(self.about)}
        (folder / ABOUT).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
        seal(folder)


def read_refiner(folder: Path) -> Refiner:
    """Read what :meth:`Refiner.write` has written.

    Raises:
        SearchError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    problem = verify(folder) if (folder / HASHES).is_file() else f"it has no {HASHES}"
    if problem is not None:
        raise SearchError(f"refiner '{folder}': {problem}. Make it again: mmcontrast refine.")
    try:
        tree = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if (tree.pop("format"), tree.pop("version")) != (FORMAT, VERSION):
            raise SearchError(f"'{folder}/{ABOUT}' is no {FORMAT} of version {VERSION}.")
        refiner = Refiner(RefinerAbout(**tree | {"pair": tuple(tree["pair"])}))
        refiner.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise SearchError(f"refiner '{folder}': {ABOUT} or {WEIGHTS} does not read: {error}") from error
    return refiner.eval().requires_grad_(False)


def check_refinable(index: Index) -> None:
    """Refuse spaces that are not the sphere's.

    Raises:
        SearchError: coordinates cannot be added there.
    """
    if not index.geometry.dot_product:
        raise SearchError(f"a {type(index.geometry).__name__} space cannot be refined: its coordinates have no sums.")
