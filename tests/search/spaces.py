"""Points in clusters, as embeddings lie, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
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


def write_embeddings(folder: Path, points: dict[str, Tensor], captions: list[str]) -> Path:
    """A folder as ``mmcontrast embed`` writes it, of one part; rows of zeros are absent."""
    from safetensors.torch import save_file

    dim = next(iter(points.values())).shape[1]
    about = {
        "source": {"name": "made up", "rows": len(captions), "manifest_sha256": "0", "licences": {}},
        "location": "nowhere",
        "model": "nowhere",
        "towers": {name: name for name in points},
        "geometry": {"type": "sphere"},
        "geometry_state": {},
        "modalities": sorted(points),
        "text_field": "caption",
        "dim": dim,
        "part_rows": len(captions),
    }
    folder.mkdir()
    (folder / "embeddings.json").write_text(json.dumps(about), encoding="utf-8")
    tensors = {f"{name}.present": z.any(dim=1) for name, z in points.items()}
    save_file(points | tensors, folder / "part-00000.safetensors")
    columns = {
        "key": [f"row-{row}" for row in range(len(captions))],
        "position": list(range(len(captions))),
        "fields": [json.dumps({"caption": caption}) for caption in captions],
        "error": [None] * len(captions),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "part-00000.parquet")
    return folder
