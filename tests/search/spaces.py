"""Points in clusters, as embeddings lie, without a model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmcontrast.geometry.base import Geometry
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.search.build import fill
from mmcontrast.search.nearest import Dtype, Kind, Nearest
from mmcontrast.search.points import Points

SPHERE = Sphere(Sphere.Config())


def clustered(geometry: Geometry, count: int, *, dim: int = 16, seed: int = 0) -> Tensor:
    """Points around 12 centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, dim, generator=torch.Generator().manual_seed(9))
    chosen = torch.randint(0, 12, (count,), generator=generator)
    return geometry.project(0.6 * centres[chosen] + 0.4 * torch.randn(count, dim, generator=generator))


def indexed(values: Tensor, *, geometry: Geometry = SPHERE, kind: Kind = "exact", dtype: Dtype = "fp32") -> Points:
    """The points with a filled finder."""
    stored = values.numpy().astype(np.float32 if dtype == "fp32" else np.float16)
    length = geometry.inner_keys(values[:1]).shape[1]
    finder = Nearest.empty(kind=kind, dtype=dtype, length=length, count=len(values))
    points = Points(geometry, stored, np.arange(len(values)), finder, width=0)
    fill(points)
    return points
